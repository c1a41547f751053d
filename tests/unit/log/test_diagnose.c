/* What the end of a walk means: the end, a torn tail, or damage that a later batch bears witness
 * to. */
#include "tests/unit/log/fixture.h"

/* Twenty batches of one message each, written one at a time: each knows all before it to be
 * durable. The last `in_flight` ones were issued before any of them was durable. Offsets go to
 * at[]. */
static void
history(struct writer *w, uint64_t at[20], uint32_t in_flight, uint32_t len)
{
    writer_open(w, 1, 0, false);
    for (uint32_t i = 0; i < 20; i++) {
        if (i <= 20 - in_flight)
            w->durable = i;
        at[i] = writer_batch(w, 1, len);
    }
}

static void
zeros_are_the_end(void **state)
{
    struct writer w = {0};
    struct log_diagnosis d;
    uint64_t at[20];

    (void)state;
    history(&w, at, 0, 100);
    d = diagnose(&w.m);
    assert_int_equal(d.end, LOG_END_CLEAN);
    assert_int_equal(d.offset, w.at);
    assert_true(d.bytes == 0 && d.witness == 0 && d.durable == 0);
    w.at = LOG_BLOCK;
    memset(w.m.bytes + LOG_BLOCK, 0, LOG_SEGMENT_MIN - LOG_BLOCK);
    d = diagnose(&w.m);
    assert_int_equal(d.end, LOG_END_CLEAN);
    assert_int_equal(d.offset, LOG_BLOCK);
    writer_close(&w);
}

/* One byte of batch k is wrong. Batch k + 1 knew batch k to be durable; of the last one nobody
 * knew. */
static void
flip(struct writer *w, const uint64_t at[20], uint32_t k, uint64_t i)
{
    struct log_diagnosis d;

    w->m.bytes[i] ^= 0x10;
    d = diagnose(&w->m);
    w->m.bytes[i] ^= 0x10;
    assert_int_equal(d.offset, at[k]);
    assert_int_equal(d.bytes, shm_max(i + 1, w->at - 100 % 8) - at[k]);
    assert_int_equal(d.end, k < 19 ? LOG_END_DAMAGE : LOG_END_TORN);
    assert_int_equal(d.witness, k < 19 ? at[k + 1] : 0);
    assert_int_equal(d.durable, k < 19 ? k + 1 : 0);
}

/* Every flip in every batch but the last is damage; in the last one it looks like a torn write. */
static void
flips_with_a_witness_are_damage(void **state)
{
    struct writer w = {0};
    uint64_t at[20];

    (void)state;
    history(&w, at, 0, 100);
    for (uint32_t k = 0; k < 20; k++) {
        uint64_t end = k < 19 ? at[k + 1] : w.at;

        for (uint64_t i = at[k]; i < end; i += k % 3 ? 7 : 1)
            flip(&w, at, k, i);
    }
    writer_close(&w);
}

static void
lost_batch_with_a_witness_is_damage(void **state)
{
    struct writer w = {0};
    struct log_diagnosis d;
    uint64_t at[20];

    (void)state;
    history(&w, at, 0, 5000);
    memset(w.m.bytes + at[3], 0, at[7] - at[3]);
    d = diagnose(&w.m);
    assert_int_equal(d.end, LOG_END_DAMAGE);
    assert_int_equal(d.offset, at[3]);
    assert_int_equal(d.witness, at[7]);
    assert_int_equal(d.durable, 7);
    memset(w.m.bytes + at[3], 0, at[19] - at[3]);
    d = diagnose(&w.m);
    assert_int_equal(d.end, LOG_END_DAMAGE);
    assert_int_equal(d.witness, at[19]);
    writer_close(&w);
}

/* Of batches in flight together any may be lost, and those behind bear no witness: nobody was
 * told. */
static void
batches_in_flight_are_no_witness(void **state)
{
    struct writer w = {0};
    struct log_diagnosis d;
    uint64_t at[20];

    (void)state;
    history(&w, at, 4, 5000);
    for (uint32_t lost = 16; lost < 20; lost++) {
        unsigned char *copy = malloc(LOG_SEGMENT_MIN);
        struct memory m = {.bytes = copy, .size = LOG_SEGMENT_MIN};

        assert_non_null(copy);
        memcpy(copy, w.m.bytes, LOG_SEGMENT_MIN);
        memset(copy + at[lost], 0, (lost < 19 ? at[lost + 1] : w.at) - at[lost]);
        d = diagnose(&m);
        assert_int_equal(d.offset, at[lost]);
        assert_int_equal(d.end, lost < 19 ? LOG_END_TORN : LOG_END_CLEAN);
        free(copy);
    }
    /* One step back, the batch before them is known durable to all four. */
    w.m.bytes[at[15]] ^= 1;
    d = diagnose(&w.m);
    assert_int_equal(d.end, LOG_END_DAMAGE);
    assert_int_equal(d.witness, at[16]);
    writer_close(&w);
}

/* Cut at k, written on with other messages: what is left of the flush of then does not fit, is no
 * witness, and is not taken for new. */
static void
leftovers_of_a_cut_do_not_fit(void **state)
{
    struct writer w = {0};
    struct log_diagnosis d;
    struct log_chain cut = {0};
    uint64_t at = 0;

    (void)state;
    writer_open(&w, 1, 0, false);
    for (uint32_t i = 0; i < 8; i++) {
        w.durable = shm_min(i, 4);
        if (i == 4) {
            cut = w.chain;
            at = w.at;
        }
        (void)writer_batch(&w, 1, 100);
    }
    for (uint32_t n = 1; n <= 4; n++) {
        w.chain = cut;
        w.at = at;
        w.time_ns = 5000 + n;
        for (uint32_t i = 0; i < n; i++) {
            w.durable = 4 + i;
            (void)writer_batch(&w, 1, 100);
        }
        d = diagnose(&w.m);
        assert_int_equal(d.offset, w.at);
        assert_int_equal(d.end, n < 4 ? LOG_END_TORN : LOG_END_CLEAN);
        assert_int_equal(d.witness, 0);
    }
    writer_close(&w);
}

/* --- witnesses ------------------------------------------------------------------------------- */

/* A short history that lost its third batch, and one batch more that stands at `at`, changed by
 * `change`. */
enum change { AS_IT_IS, OTHER_TOPIC, KNOWS_LESS, KNOWS_ITSELF, TOO_OLD, BAD_HASH, NOT_ALIGNED };

static struct log_diagnosis
witness_at(uint64_t at, uint32_t len, enum change change)
{
    struct writer w = {0};
    struct log_diagnosis d;

    writer_open(&w, 1, 0, false);
    (void)writer_batch(&w, 1, 100);
    (void)writer_batch(&w, 1, 100);
    w.chain.next = change == TOO_OLD ? 2 : 50;
    w.chain.topic_id += change == OTHER_TOPIC;
    w.durable = change == KNOWS_LESS ? 2 : change == KNOWS_ITSELF ? 50 : 49;
    w.at = at;
    (void)writer_batch(&w, 1, len);
    if (change == BAD_HASH)
        w.m.bytes[at + 200] ^= 1;
    if (change == NOT_ALIGNED)
        memmove(w.m.bytes + at + 4, w.m.bytes + at, w.at - at);
    d = diagnose(&w.m);
    writer_close(&w);
    return d;
}

static void
witness_may_stand_anywhere(void **state)
{
    const uint64_t begin = LOG_BLOCK + 2 * 224, window = begin + LOG_BATCH_MAX;
    struct log_diagnosis d;

    (void)state;
    for (uint64_t at = begin; at < begin + 600; at += 8) {
        d = witness_at(at, 100, AS_IT_IS);
        assert_int_equal(d.offset, begin);
        assert_int_equal(d.end, LOG_END_DAMAGE);
        assert_int_equal(d.witness, at);
        assert_int_equal(d.durable, 49);
    }
    for (uint64_t at = window - 400; at < window + 200; at += 8)
        assert_int_equal(witness_at(at, 100, AS_IT_IS).witness, at);
    for (uint64_t at = begin; at < window + 50000; at += 8ull * 7919)
        assert_int_equal(witness_at(at, 900000, AS_IT_IS).witness, at);
    assert_int_equal(witness_at(LOG_SEGMENT_MIN - 120, 0, AS_IT_IS).witness, LOG_SEGMENT_MIN - 120);
}

static void
false_witness_is_not_heard(void **state)
{
    const uint64_t at = LOG_BLOCK + 10000 / 8 * 8;

    (void)state;
    assert_int_equal(witness_at(at, 5000, AS_IT_IS).end, LOG_END_DAMAGE);
    assert_int_equal(witness_at(at, 5000, OTHER_TOPIC).end, LOG_END_CLEAN);
    assert_int_equal(witness_at(at, 5000, TOO_OLD).end, LOG_END_CLEAN);
    assert_int_equal(witness_at(at, 5000, KNOWS_LESS).end, LOG_END_TORN);
    assert_int_equal(witness_at(at, 5000, KNOWS_ITSELF).end, LOG_END_TORN);
    assert_int_equal(witness_at(at, 5000, BAD_HASH).end, LOG_END_TORN);
    assert_int_equal(witness_at(at, 5000, NOT_ALIGNED).end, LOG_END_TORN);
}

/* Headers that no check of their own would let pass are not looked into, wherever the file ends. */
static void
broken_witness_is_not_heard(void **state)
{
    const struct log_batch good = {
        .magic = LOG_BATCH_MAGIC,
        .version = LOG_VERSION,
        .topic_id = TOPIC_ID,
        .first = 50,
        .bytes = 80,
        .durable = 49,
    };
    const uint32_t lengths[] = {0, 8, 72, 76, 84, LOG_BATCH_MAX + 8, UINT32_MAX - 7, UINT32_MAX};
    struct writer w = {0};
    const uint64_t at = 2ull * LOG_BLOCK;
    unsigned char *place;
    struct log_batch b;

    (void)state;
    writer_open(&w, 1, 0, false);
    place = w.m.bytes + at;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        b = good;
        b.bytes = lengths[i];
        memcpy(place, &b, sizeof b);
        assert_int_equal(diagnose(&w.m).end, LOG_END_TORN);
    }
    for (int i = 0; i < 4; i++) {
        b = good;
        b.pad = i == 1 ? LOG_BLOCK - 80 : i == 2 ? 8 : i == 3 ? 2 * LOG_BLOCK - 80 : 0;
        memcpy(place, &b, sizeof b);
        reseal(place);
        assert_int_equal(diagnose(&w.m).end, i < 2 ? LOG_END_DAMAGE : LOG_END_TORN);
    }
    b = good; /* whole by its header, but the file has been cut off */
    b.bytes = 8000;
    memcpy(place, &b, sizeof b);
    reseal(place);
    w.m.size = at + 4000;
    assert_int_equal(diagnose(&w.m).end, LOG_END_TORN);
    writer_close(&w);
}

/* Bytes that claim to be one large witness after the other cost bounded work, and the doubt keeps
 * everything. */
static void
deceit_costs_bounded_work(void **state)
{
    struct writer w = {0};
    struct log_diagnosis d;

    (void)state;
    writer_open(&w, 1, 0, false);
    (void)writer_batch(&w, 1, 100);
    for (uint64_t at = w.at; at + sizeof(struct log_batch) <= LOG_SEGMENT_MIN; at += 80) {
        uint64_t room = shm_min(LOG_SEGMENT_MIN - at, LOG_BATCH_MAX) & ~7ull;
        struct log_batch b = {
            .magic = LOG_BATCH_MAGIC,
            .version = LOG_VERSION,
            .topic_id = TOPIC_ID,
            .first = 1000,
            .bytes = (uint32_t)room,
            .durable = 999,
        };

        memcpy(w.m.bytes + at, &b, sizeof b);
    }
    w.m.moved = 0;
    d = diagnose(&w.m);
    assert_int_equal(d.end, LOG_END_DAMAGE);
    assert_true(w.m.moved < 20ull * LOG_SEGMENT_MIN);
    writer_close(&w);
}

/* --- recycled files -------------------------------------------------------------------------- */

/* Fills a segment with a history of small or large batches from `first` on, then begins a new one
 * over it. */
static void
recycle(struct writer *w, uint32_t len, bool told)
{
    uint64_t next;

    memset(w->m.bytes ? w->m.bytes : (unsigned char[1]){0}, 0, w->m.bytes ? w->m.size : 0);
    writer_open(w, 1, 0, false);
    while (w->at + 2ull * len + 3ull * LOG_BLOCK < w->m.size) {
        w->durable = w->chain.next - 1;
        (void)writer_batch(w, 2, len);
    }
    next = w->chain.next;
    writer_open(w, next, w->chain.hash, told);
    w->durable = next - 1;
}

static void
recycled_file_ends_cleanly(void **state)
{
    const uint32_t lens[] = {0, 8, 100, 3000, 100000};
    struct writer w = {0};

    (void)state;
    for (uint32_t i = 0; i < 2 * 5; i++) {
        recycle(&w, lens[i % 5], i / 5);
        for (uint32_t k = 0; k < 40; k++) {
            struct log_diagnosis d = diagnose(&w.m);

            assert_int_equal(d.offset, w.at);
            assert_int_equal(d.end, LOG_END_CLEAN);
            assert_int_equal(d.witness, 0);
            assert_true(d.bytes > 0);
            (void)writer_batch(&w, 1 + k % 3, 60 * k);
            w.durable = w.chain.next - 1;
        }
    }
    writer_close(&w);
}

/* The header alone says it, when no old batch is left whole. */
static void
recycled_file_is_told_by_its_header(void **state)
{
    struct writer w = {0};

    (void)state;
    for (int told = 0; told < 2; told++) {
        writer_open(&w, 1, 0, told);
        memset(w.m.bytes + LOG_BLOCK + 100, 0x5a, 5000);
        assert_int_equal(diagnose(&w.m).end, told ? LOG_END_CLEAN : LOG_END_TORN);
        assert_int_equal(diagnose(&w.m).bytes, 5100);
    }
    writer_close(&w);
}

/* The old bytes hide neither a torn batch nor damage. */
static void
recycled_file_is_diagnosed(void **state)
{
    struct writer w = {0};
    struct log_diagnosis d;
    uint64_t at;

    (void)state;
    recycle(&w, 100, true);
    (void)writer_batch(&w, 1, 1000);
    at = writer_batch(&w, 1, 1000);
    w.m.bytes[at + 500] ^= 1;
    d = diagnose(&w.m);
    assert_int_equal(d.offset, at);
    assert_int_equal(d.end, LOG_END_TORN);
    w.durable = w.chain.next - 1;
    (void)writer_batch(&w, 1, 1000);
    d = diagnose(&w.m);
    assert_int_equal(d.offset, at);
    assert_int_equal(d.end, LOG_END_DAMAGE);
    assert_int_equal(d.durable, w.durable);
    writer_close(&w);
}

/* --- torn writes ----------------------------------------------------------------------------- */

/* Writes the sectors of mask of the last batch over what was there; the others stay as they were.
 */
static void
tear(struct memory *m, const unsigned char *new, uint64_t from, uint32_t mask)
{
    for (uint32_t i = 0; mask >> i; i++) {
        if (mask >> i & 1)
            memcpy(m->bytes + from + (size_t)i * SECTOR, new + from + (size_t)i *SECTOR, SECTOR);
    }
}

/* A write of up to 8 sectors that ends anywhere in between: all subsets, on a fresh and on a
 * recycled file. The batch is there whole or not at all, nothing before it suffers, and it is
 * never called damage. */
static void
every_torn_write_is_seen(void **state)
{
    const uint32_t lens[] = {10, 300, 1500, 3300};
    unsigned char *old = malloc(LOG_SEGMENT_MIN), *torn = malloc(LOG_SEGMENT_MIN);
    struct memory m = {.bytes = torn, .size = LOG_SEGMENT_MIN};
    struct writer w = {0};
    uint32_t whole = 0;

    (void)state;
    assert_non_null(old);
    assert_non_null(torn);
    for (uint32_t c = 0; c < 8; c++) {
        uint64_t at, from;
        uint32_t sectors;

        recycle(&w, 100, true);
        if (c % 2)
            memset(w.m.bytes + LOG_BLOCK, 0, LOG_SEGMENT_MIN - LOG_BLOCK);
        (void)writer_batch(&w, 2, 100);
        memcpy(old, w.m.bytes, LOG_SEGMENT_MIN);
        w.durable = w.chain.next - 1;
        at = writer_batch(&w, 1, lens[c / 2]);
        from = at / SECTOR * SECTOR;
        sectors = (uint32_t)((w.at - from + SECTOR - 1) / SECTOR);
        for (uint32_t mask = 0; mask < 1u << sectors; mask++) {
            bool same;
            struct log_diagnosis d;

            memcpy(torn, old, w.at + LOG_BLOCK);
            memcpy(torn + w.at + LOG_BLOCK, old + w.at + LOG_BLOCK,
                   LOG_SEGMENT_MIN - w.at - LOG_BLOCK);
            tear(&m, w.m.bytes, from, mask);
            same = !memcmp(torn + at, w.m.bytes + at, w.at - at);
            d = diagnose(&m);
            assert_int_equal(d.offset, same ? w.at : at);
            assert_int_not_equal(d.end, LOG_END_DAMAGE);
            if (!same && (mask & 1) && at % SECTOR <= SECTOR - sizeof(struct log_batch))
                assert_int_equal(d.end, LOG_END_TORN);
            whole += same;
        }
    }
    assert_true(whole >= 8);
    free(old);
    free(torn);
    writer_close(&w);
}

/* Without the batch's first sector, a fresh file still shows that something was being written. */
static void
torn_middle_shows_in_a_fresh_file(void **state)
{
    struct writer w = {0};
    uint64_t at;

    (void)state;
    writer_open(&w, 1, 0, false);
    at = writer_batch(&w, 1, 3000);
    memset(w.m.bytes + at, 0, SECTOR);
    assert_int_equal(diagnose(&w.m).end, LOG_END_TORN);
    assert_int_equal(diagnose(&w.m).bytes, w.at - at);
    writer_close(&w);
}

/* Arbitrary bytes behind the end, on any kind of segment: an answer, and never damage. */
static void
garbage_is_never_damage(void **state)
{
    struct writer w = {0};

    (void)state;
    rng_begin("garbage_is_never_damage");
    for (int round = 0; round < 20; round++) {
        uint64_t from, n;
        struct log_diagnosis d;

        writer_open(&w, 1, 0, round % 2);
        (void)writer_batch(&w, 1, 100);
        from = w.at + rng_below(20000);
        n = rng_below(LOG_SEGMENT_MIN - 100000);
        for (uint64_t i = 0; i < n; i++)
            w.m.bytes[from + i] = (unsigned char)rng();
        for (int i = 0; i < 50 && n > 8; i++) {
            const uint32_t magic = LOG_BATCH_MAGIC;

            memcpy(w.m.bytes + from / 8 * 8 + 8ull * rng_below((uint32_t)n / 8), &magic, 4);
        }
        memcpy(w.m.bytes + LOG_BLOCK, w.buf, w.e.used);
        d = diagnose(&w.m);
        assert_int_equal(d.offset, w.at);
        assert_int_not_equal(d.end, LOG_END_DAMAGE);
        memset(w.m.bytes + LOG_BLOCK, 0, LOG_SEGMENT_MIN - LOG_BLOCK);
    }
    writer_close(&w);
}

static enum log_end
diagnose_file(struct memory *m, uint64_t first, uint64_t size)
{
    const struct log_segment_header named = {.topic_id = TOPIC_ID, .first = first, .size = size};
    struct log_source s = memory_source(m);
    struct log_diagnosis d;

    assert_int_equal(log_segment_diagnose(&s, &named, walk_buf, &d), 0);
    return d.end;
}

/* Without its header a segment is known by what its batches say of each other. */
static void
file_without_a_header_was_begun_or_not(void **state)
{
    struct writer w = {0};
    uint64_t at[20];

    (void)state;
    history(&w, at, 0, 100);
    memset(w.m.bytes, 0x5a, LOG_BLOCK);
    assert_int_equal(diagnose_file(&w.m, 1, LOG_SEGMENT_MIN), LOG_END_DAMAGE);
    assert_int_equal(diagnose_file(&w.m, 1, LOG_SEGMENT_MIN - 3), LOG_END_DAMAGE);
    assert_int_equal(diagnose_file(&w.m, 1, UINT64_MAX), LOG_END_DAMAGE);
    /* Old batches under a new name, no room for a batch, and zeros. */
    assert_int_not_equal(diagnose_file(&w.m, 21, LOG_SEGMENT_MIN), LOG_END_DAMAGE);
    assert_int_equal(diagnose_file(&w.m, 1, LOG_BLOCK), LOG_END_CLEAN);
    assert_int_equal(diagnose_file(&w.m, 1, 0), LOG_END_CLEAN);
    memset(w.m.bytes, 0, LOG_SEGMENT_MIN);
    assert_int_equal(diagnose_file(&w.m, 1, LOG_SEGMENT_MIN), LOG_END_CLEAN);
    writer_close(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeros_are_the_end),
        cmocka_unit_test(flips_with_a_witness_are_damage),
        cmocka_unit_test(lost_batch_with_a_witness_is_damage),
        cmocka_unit_test(batches_in_flight_are_no_witness),
        cmocka_unit_test(leftovers_of_a_cut_do_not_fit),
        cmocka_unit_test(witness_may_stand_anywhere),
        cmocka_unit_test(false_witness_is_not_heard),
        cmocka_unit_test(broken_witness_is_not_heard),
        cmocka_unit_test(deceit_costs_bounded_work),
        cmocka_unit_test(recycled_file_ends_cleanly),
        cmocka_unit_test(recycled_file_is_told_by_its_header),
        cmocka_unit_test(recycled_file_is_diagnosed),
        cmocka_unit_test(every_torn_write_is_seen),
        cmocka_unit_test(torn_middle_shows_in_a_fresh_file),
        cmocka_unit_test(garbage_is_never_damage),
        cmocka_unit_test(file_without_a_header_was_begun_or_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
