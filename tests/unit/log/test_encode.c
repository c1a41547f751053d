/* From messages to batches: what stands in the buffer, and what is refused. */
#include "tests/unit/log/fixture.h"

static void
begin_refuses_little_room(void **state)
{
    _Alignas(8) unsigned char buf[LOG_BLOCK + 8];
    struct log_chain chain = {.topic_id = TOPIC_ID, .next = 1};
    struct log_encoder e;

    (void)state;
    assert_int_equal(log_batch_begin(&e, &chain, buf, LOG_BLOCK - 1), -EINVAL);
    assert_int_equal(log_batch_begin(&e, &chain, buf + 4, LOG_BLOCK), -EINVAL);
    assert_int_equal(log_batch_begin(&e, &chain, buf, LOG_BLOCK), 0);
    assert_int_equal(e.used, sizeof(struct log_batch));
}

/* One message of each size: header, record, payload and the zeros behind it, byte by byte. */
static void
sizes_round_trip(void **state)
{
    const uint32_t sizes[] = {0,  1,   7,    8,     9,     15,    24,      32,
                              96, 224, 4096, 65000, 65408, 65416, 1 << 19, (1u << 20) - 5000};
    struct writer w = {0};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint32_t len = sizes[i], padded = (uint32_t)shm_align(len, 8);
        struct log_record r;
        struct log_batch b;

        memset(&w.e, 0, sizeof w.e);
        writer_open(&w, 77, 3, false);
        memset(w.buf, 0xee, LOG_BATCH_MAX);
        (void)writer_batch(&w, 1, len);
        memcpy(&b, w.buf, sizeof b);
        memcpy(&r, w.buf + sizeof b, sizeof r);
        assert_int_equal(b.magic, LOG_BATCH_MAGIC);
        assert_int_equal(b.version, LOG_VERSION);
        assert_int_equal(b.topic_id, TOPIC_ID);
        assert_int_equal(b.first, 77);
        assert_int_equal(b.count, 1);
        assert_int_equal(b.records, 1);
        assert_int_equal(b.bytes, sizeof b + sizeof r + padded);
        assert_int_equal(b.previous, 3);
        assert_int_equal(b.partial, 0);
        assert_int_equal(b.reserved, 0);
        assert_int_equal(r.seq, 77);
        assert_int_equal(r.time_ns, 770);
        assert_int_equal(r.key, 77 ^ 0xabcd);
        assert_int_equal(r.len, len);
        assert_int_equal(r.total, len);
        assert_int_equal(r.offset, 0);
        assert_int_equal(r.type, 231);
        assert_int_equal(r.publisher, 0);
        for (uint32_t k = 0; k < padded; k++)
            assert_int_equal(w.buf[sizeof b + sizeof r + k], k < len ? content(77, k) : 0);
        reseal(w.buf);
        assert_memory_equal(w.buf, &b, sizeof b);
        assert_int_equal(w.chain.next, 78);
        assert_int_equal(w.chain.hash, b.hash);
    }
    writer_close(&w);
}

static void
payload_is_copied_when_given(void **state)
{
    struct writer w = {0};
    struct log_piece p = {.seq = 1, .data = "hello", .len = 5, .total = 5};

    (void)state;
    writer_open(&w, 1, 0, false);
    memset(w.buf, 0xee, LOG_BLOCK);
    writer_begin(&w);
    assert_int_equal(log_batch_add(&w.e, &p, NULL), 0);
    assert_memory_equal(w.buf + 120, "hello\0\0\0", 8);
    writer_close(&w);
}

static void
holes_are_counted(void **state)
{
    struct writer w = {0};
    struct log_batch b;

    (void)state;
    writer_open(&w, 10, 0, false);
    writer_begin(&w);
    log_batch_skip(&w.e, 12); /* 10, 11 */
    writer_add(&w, 12, 8);
    writer_add(&w, 15, 8); /* 13, 14 */
    log_batch_skip(&w.e, 14);
    assert_int_equal(w.e.next, 16);
    log_batch_skip(&w.e, 20); /* 16 to 19 */
    (void)writer_end(&w);
    memcpy(&b, w.buf, sizeof b);
    assert_int_equal(b.first, 10);
    assert_int_equal(b.count, 10);
    assert_int_equal(b.records, 2);
    assert_int_equal(w.chain.next, 20);

    writer_begin(&w);
    log_batch_skip(&w.e, UINT64_MAX);
    assert_int_equal(w.e.next, 20ull + UINT32_MAX);
    (void)writer_end(&w);
    memcpy(&b, w.buf, sizeof b);
    assert_int_equal(b.count, UINT32_MAX);
    assert_int_equal(b.records, 0);
    writer_close(&w);
}

static void
wrong_pieces_are_refused(void **state)
{
    struct writer w = {0};
    struct log_encoder before;

    (void)state;
    writer_open(&w, 10, 0, false);
    writer_begin(&w);
    writer_add(&w, 11, 8);
    before = w.e;
    assert_int_equal(writer_piece(&w, 11, 0, 8, 8), -EINVAL);  /* a number twice */
    assert_int_equal(writer_piece(&w, 12, 8, 8, 16), -EINVAL); /* without its beginning */
    assert_int_equal(writer_piece(&w, 12, 0, 8, 7), -EINVAL);  /* more than the whole */
    assert_int_equal(writer_piece(&w, 12, 0, 0, 7), -EINVAL);  /* a piece of nothing */
    assert_int_equal(writer_piece(&w, 12, UINT32_MAX, 8, UINT32_MAX), -EINVAL);
    assert_int_equal(writer_piece(&w, 10ull + UINT32_MAX, 0, 8, 8), -ERANGE);
    assert_memory_equal(&before, &w.e, sizeof before);
    assert_int_equal(writer_piece(&w, 12, 0, 8, 24), 0);
    before = w.e;
    assert_int_equal(writer_piece(&w, 13, 0, 8, 8), -EINVAL);   /* inside a message */
    assert_int_equal(writer_piece(&w, 12, 0, 8, 24), -EINVAL);  /* begun twice */
    assert_int_equal(writer_piece(&w, 12, 16, 8, 24), -EINVAL); /* a piece left out */
    assert_int_equal(writer_piece(&w, 12, 8, 8, 32), -EINVAL);  /* another total */
    assert_int_equal(writer_piece(&w, 13, 8, 8, 24), -EINVAL);  /* another number */
    log_batch_skip(&w.e, 20);
    assert_memory_equal(&before, &w.e, sizeof before);
    assert_int_equal(writer_piece(&w, 12, 8, 8, 24), 0);
    assert_int_equal(w.e.next, 12);
    assert_int_equal(writer_piece(&w, 12, 16, 8, 24), 0);
    assert_int_equal(w.e.next, 13);
    writer_close(&w);
}

static void
numbers_do_not_overflow(void **state)
{
    struct writer w = {0};

    (void)state;
    writer_open(&w, UINT64_MAX - 2, 0, false);
    writer_begin(&w);
    writer_add(&w, UINT64_MAX - 1, 8);
    assert_int_equal(writer_piece(&w, UINT64_MAX, 0, 8, 8), -ERANGE);
    log_batch_skip(&w.e, UINT64_MAX);
    assert_int_equal(w.e.next, UINT64_MAX);
    writer_close(&w);
}

static void
undo_leaves_nothing(void **state)
{
    struct writer w = {0}, clean = {0};
    struct log_encoder before;

    (void)state;
    writer_open(&w, 1, 0, false);
    writer_open(&clean, 1, 0, false);
    writer_begin(&w);
    writer_begin(&clean);
    writer_add(&w, 1, 20);
    writer_add(&clean, 1, 20);
    before = w.e;
    writer_add(&w, 2, 3000);
    log_batch_undo(&w.e, &before);
    writer_add(&w, 3, 7);
    writer_add(&clean, 3, 7);
    (void)writer_end(&w);
    (void)writer_end(&clean);
    assert_int_equal(w.chain.hash, clean.chain.hash);
    assert_memory_equal(w.m.bytes, clean.m.bytes, w.m.size);
    writer_close(&w);
    writer_close(&clean);
}

/* What log_batch_room promises is taken, a byte more than fits with its alignment is not, and
 * nothing is ever written behind the room. */
static void
room_is_exact(void **state)
{
    const uint32_t rooms[] = {LOG_BLOCK,      LOG_BLOCK + 100,   65528,
                              LOG_PAD_FROM,   LOG_PAD_FROM + 8,  68 << 10,
                              (68 << 10) + 9, 256 << 10,         LOG_BATCH_MAX - 8,
                              LOG_BATCH_MAX,  LOG_BATCH_MAX + 64};
    struct log_chain chain = {.topic_id = TOPIC_ID, .next = 1};
    struct writer w = {.buf = aligned_alloc(LOG_BLOCK, LOG_BATCH_MAX + LOG_BLOCK)};

    (void)state;
    assert_non_null(w.buf);
    for (size_t i = 0; i < sizeof rooms / sizeof rooms[0]; i++) {
        for (uint32_t at = LOG_BLOCK; at < 2 * LOG_BLOCK; at += 1000) {
            uint32_t room, used, limit = (uint32_t)shm_min(rooms[i], LOG_BATCH_MAX);

            chain.next = 1;
            memset(w.buf, 0xee, LOG_BATCH_MAX + LOG_BLOCK);
            assert_int_equal(log_batch_begin(&w.e, &chain, w.buf, rooms[i]), 0);
            writer_add(&w, 1, 1000 + at % 7);
            room = log_batch_room(&w.e);
            assert_int_equal(room % 8, 0);
            assert_int_equal(writer_piece(&w, 2, 0, room + 1, room + 1), -ENOSPC);
            assert_int_equal(writer_piece(&w, 2, 0, room, room), 0);
            assert_int_equal(log_batch_room(&w.e), 0);
            assert_int_equal(writer_piece(&w, 3, 0, 1, 1), -ENOSPC);
            used = log_batch_end(&w.e, &chain, at & ~7u, 0, 0);
            assert_true(used <= limit);
            assert_true(used + 2 * LOG_BLOCK > limit);
            for (uint32_t k = limit; k < LOG_BATCH_MAX + LOG_BLOCK; k++)
                assert_int_equal(w.buf[k], 0xee);
        }
    }
    free(w.buf);
}

static void
empty_message_takes_the_last_bytes(void **state)
{
    struct writer w = {0};
    uint32_t n = 1;

    (void)state;
    writer_open(&w, 1, 0, false);
    assert_int_equal(log_batch_begin(&w.e, &w.chain, w.buf, LOG_BLOCK), 0);
    while (writer_piece(&w, n, 0, 0, 0) == 0)
        n++;
    assert_int_equal(n - 1, (LOG_BLOCK - 80) / 40);
    assert_int_equal(log_batch_room(&w.e), 0);
    writer_close(&w);
}

/* From LOG_PAD_FROM on a batch ends on a block, wherever it begins; below it has no pad. */
static void
pad_follows_the_rule(void **state)
{
    struct writer w = {0};

    (void)state;
    writer_open(&w, 1, 0, false);
    for (uint32_t bytes = LOG_PAD_FROM - 16; bytes <= LOG_PAD_FROM + LOG_BLOCK + 16; bytes += 8) {
        for (uint64_t at = LOG_BLOCK; at <= 2ull * LOG_BLOCK; at += 8ull * (1 + bytes % 97)) {
            struct log_batch b;
            uint32_t n;

            writer_begin(&w);
            memset(w.buf + bytes, 0xee, LOG_BLOCK);
            writer_add(&w, w.e.next, bytes - 120);
            n = log_batch_end(&w.e, &w.chain, at, 0, 0);
            memcpy(&b, w.buf, sizeof b);
            assert_int_equal(b.bytes, bytes);
            assert_int_equal(n, b.bytes + b.pad);
            assert_true(b.pad < LOG_BLOCK);
            if (bytes < LOG_PAD_FROM)
                assert_int_equal(b.pad, 0);
            else
                assert_int_equal((at + n) % LOG_BLOCK, 0);
            for (uint32_t i = 0; i < b.pad; i++)
                assert_int_equal(w.buf[bytes + i], 0);
            assert_int_equal(w.buf[bytes + b.pad], 0xee);
        }
    }
    writer_close(&w);
}

static void
time_never_goes_back(void **state)
{
    const uint64_t times[] = {500, 400, 501, 0, 502};
    const uint64_t expected[] = {500, 500, 501, 501, 502};
    struct writer w = {0};

    (void)state;
    writer_open(&w, 1, 0, false);
    for (size_t i = 0; i < 5; i++) {
        struct log_batch b;

        w.time_ns = times[i];
        (void)writer_batch(&w, 1, 8);
        memcpy(&b, w.buf, sizeof b);
        assert_int_equal(b.time_ns, expected[i]);
        assert_int_equal(w.chain.time_ns, expected[i]);
    }
    writer_close(&w);
}

/* A message of several batches: `partial` says at each how far it is, `count` leaves it out until
 * it is whole. */
static void
pieces_go_on_over_batches(void **state)
{
    struct writer w = {0};
    struct log_batch b;

    (void)state;
    writer_open(&w, 1, 0, false);
    writer_begin(&w);
    writer_add(&w, 1, 8);
    assert_int_equal(writer_piece(&w, 2, 0, 100, 250), 0);
    (void)writer_end(&w);
    memcpy(&b, w.buf, sizeof b);
    assert_true(b.first == 1 && b.count == 1 && b.records == 2 && b.partial == 0);
    assert_true(w.chain.next == 2 && w.chain.partial == 100 && w.chain.total == 250);

    writer_begin(&w);
    assert_int_equal(writer_piece(&w, 2, 96, 100, 250), -EINVAL);
    assert_int_equal(writer_piece(&w, 2, 100, 100, 250), 0);
    (void)writer_end(&w);
    memcpy(&b, w.buf, sizeof b);
    assert_true(b.first == 2 && b.count == 0 && b.records == 1 && b.partial == 100);

    writer_begin(&w); /* a note of what is durable, in the middle of a message */
    (void)writer_end(&w);
    memcpy(&b, w.buf, sizeof b);
    assert_true(b.first == 2 && b.count == 0 && b.records == 0 && b.partial == 0);
    assert_true(w.chain.partial == 200);

    writer_begin(&w);
    assert_int_equal(writer_piece(&w, 2, 200, 50, 250), 0);
    writer_add(&w, 3, 1);
    (void)writer_end(&w);
    memcpy(&b, w.buf, sizeof b);
    assert_true(b.first == 2 && b.count == 2 && b.records == 2 && b.partial == 200);
    assert_true(w.chain.next == 4 && w.chain.partial == 0 && w.chain.total == 0);
    writer_close(&w);
}

static void
message_begins_anew(void **state)
{
    struct writer w = {0};
    struct log_batch b;

    (void)state;
    writer_open(&w, 1, 0, false);
    writer_begin(&w);
    assert_int_equal(writer_piece(&w, 1, 0, 100, 250), 0);
    (void)writer_end(&w);

    writer_begin(&w);
    writer_add(&w, 1, 30); /* the same number, another message */
    (void)writer_end(&w);
    memcpy(&b, w.buf, sizeof b);
    assert_true(b.first == 1 && b.count == 1 && b.partial == 0);
    assert_true(w.chain.partial == 0);

    writer_begin(&w);
    assert_int_equal(writer_piece(&w, 2, 0, 100, 250), 0);
    (void)writer_end(&w);
    writer_begin(&w);
    log_batch_skip(&w.e, 3); /* or it never was one */
    assert_int_equal(writer_piece(&w, 3, 100, 150, 250), -EINVAL);
    (void)writer_end(&w);
    memcpy(&b, w.buf, sizeof b);
    assert_true(b.first == 2 && b.count == 1 && b.records == 0);
    assert_true(w.chain.next == 3 && w.chain.partial == 0);
    writer_close(&w);
}

/* Adds message 2 of `total` bytes to the batch at `at` and to those behind it, as a writer does;
 * returns the end of the last one. */
static uint64_t
cut_up(struct writer *w, uint32_t total, uint32_t room, uint64_t at)
{
    struct log_piece p = {.seq = 2, .total = total};
    void *to;

    while (p.offset < total) {
        p.len = (uint32_t)shm_min(total - p.offset, log_batch_room(&w->e));
        if (p.len) {
            assert_int_equal(log_batch_add(&w->e, &p, &to), 0);
            p.offset += p.len;
            continue;
        }
        at += log_batch_end(&w->e, &w->chain, at, 0, 0);
        assert_int_equal(log_batch_begin(&w->e, &w->chain, w->buf, room), 0);
    }
    return at + log_batch_end(&w->e, &w->chain, at, 0, 0);
}

/* The bound holds from any place in a batch and in a block. */
static void
message_bound_holds(void **state)
{
    struct writer w = {0};

    (void)state;
    rng_begin("message_bound_holds");
    writer_open(&w, 1, 0, false);
    for (int i = 0; i < 300; i++) {
        uint32_t room = LOG_BLOCK + rng_below(i % 2 ? 1 << 17 : LOG_BATCH_MAX);
        uint32_t total = rng_below(1 + rng_below(4u << 20));
        uint64_t at = LOG_BLOCK + 8ull * rng_below(512), began;

        w.chain = (struct log_chain){.topic_id = TOPIC_ID, .next = 1};
        assert_int_equal(log_batch_begin(&w.e, &w.chain, w.buf, room), 0);
        writer_add(&w, 1, rng_below(log_batch_room(&w.e)));
        began = at + w.e.used;
        assert_true(cut_up(&w, total, room, at) - began <= log_message_bound(total, room));
    }
    writer_close(&w);
}

static void
names_parse_back(void **state)
{
    const uint64_t numbers[] = {0, 1, 42, 1ull << 32, UINT64_MAX - 1, UINT64_MAX};
    const char *bad[] = {"",
                         "1.seg",
                         "0000000000000000001.seg",
                         "000000000000000000001.seg",
                         "00000000000000000001.idx",
                         "00000000000000000001.seg2",
                         "00000000000000000001",
                         "0000000000000000000a.seg",
                         "18446744073709551616.seg",
                         "99999999999999999999.seg",
                         "-0000000000000000001.seg",
                         " 0000000000000000001.seg",
                         "spare-1.seg"};
    char name[LOG_NAME_ROOM];
    uint64_t n = 7;

    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        log_segment_name(numbers[i], name);
        assert_int_equal(strlen(name), 24);
        assert_int_equal(log_segment_parse(name, &n), 0);
        assert_int_equal(n, numbers[i]);
        log_index_name(numbers[i], name);
        assert_string_equal(name + 20, ".idx");
        assert_int_equal(log_segment_parse(name, &n), -EINVAL);
    }
    n = 7;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(log_segment_parse(bad[i], &n), -EINVAL);
    assert_int_equal(n, 7);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begin_refuses_little_room),
        cmocka_unit_test(sizes_round_trip),
        cmocka_unit_test(payload_is_copied_when_given),
        cmocka_unit_test(holes_are_counted),
        cmocka_unit_test(wrong_pieces_are_refused),
        cmocka_unit_test(numbers_do_not_overflow),
        cmocka_unit_test(undo_leaves_nothing),
        cmocka_unit_test(room_is_exact),
        cmocka_unit_test(empty_message_takes_the_last_bytes),
        cmocka_unit_test(pad_follows_the_rule),
        cmocka_unit_test(time_never_goes_back),
        cmocka_unit_test(pieces_go_on_over_batches),
        cmocka_unit_test(message_begins_anew),
        cmocka_unit_test(message_bound_holds),
        cmocka_unit_test(names_parse_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
