/* The sparse index: what gets an entry, what is found, and that a doubtful file is not believed. */
#include "log/index.h"
#include "tests/unit/log/fixture.h"

/* A batch as log_index_note sees it. */
static struct log_batch
a_batch(uint64_t first, uint64_t time_ns)
{
    return (struct log_batch){
        .first = first, .count = 1, .records = 1, .time_ns = time_ns, .previous = first * 1000};
}

static void
entries_keep_their_distance(void **state)
{
    struct log_index_entry entries[64];
    struct log_index x = {.entries = entries, .room = 64};
    uint64_t offset = LOG_BLOCK;

    (void)state;
    for (uint64_t i = 0; i < 400; i++, offset += 10000) {
        struct log_batch b = a_batch(1 + i, 50 + i);

        log_index_note(&x, &b, offset);
    }
    assert_int_equal(entries[0].offset, LOG_BLOCK);
    assert_int_equal(x.header.entries, (400 * 10000 - 1) / 140000 + 1);
    for (uint32_t i = 0; i < x.header.entries; i++) {
        assert_int_equal(entries[i].offset, LOG_BLOCK + i * 140000);
        assert_int_equal(entries[i].seq, 1 + i * 14);
        assert_int_equal(entries[i].time_ns, 50 + i * 14);
        assert_int_equal(entries[i].hash, 1000 * (1 + i * 14));
    }
}

static void
batches_one_cannot_begin_at_get_none(void **state)
{
    struct log_index_entry entries[8];
    struct log_index x = {.entries = entries, .room = 8, .every = 8};
    struct log_batch b = a_batch(5, 1);

    (void)state;
    b.partial = 8;
    log_index_note(&x, &b, LOG_BLOCK);
    assert_int_equal(x.header.entries, 0);
    b.partial = 0;
    log_index_note(&x, &b, 2ull * LOG_BLOCK);
    /* The same number once more: a note, or a message begun anew. */
    log_index_note(&x, &b, 3ull * LOG_BLOCK);
    assert_int_equal(x.header.entries, 1);
    assert_int_equal(entries[0].offset, 2 * LOG_BLOCK);
}

/* However little room there is, the index spans the segment, and any batch is near an entry. */
static void
every_second_is_dropped_when_full(void **state)
{
    (void)state;
    for (uint32_t room = 0; room < 40; room++) {
        struct log_index_entry *entries = calloc(room ? room : 1, sizeof *entries);
        struct log_index x = {.entries = entries, .room = room, .every = 4096};
        uint64_t n = 1000;

        assert_non_null(entries);
        for (uint64_t i = 0; i < n; i++) {
            struct log_batch b = a_batch(1 + i, i);

            log_index_note(&x, &b, LOG_BLOCK * (1 + i));
            assert_true(x.header.entries <= room);
        }
        if (room >= 2) {
            assert_int_equal(entries[0].seq, 1);
            assert_true(x.header.entries >= room / 2);
            assert_true(x.every <= 2 * (n * LOG_BLOCK / (room / 2)));
        }
        for (uint32_t i = 1; i < x.header.entries; i++)
            assert_int_equal(entries[i].offset - entries[i - 1].offset, x.every);
        for (uint64_t i = 0; i < n && room >= 2; i++) {
            const struct log_index_entry *e = log_index_seq(&x, 1 + i);

            assert_non_null(e);
            assert_true(e->seq <= 1 + i && (1 + i - e->seq) * LOG_BLOCK < 2 * x.every);
        }
        free(entries);
    }
}

static void
look_ups_are_exact(void **state)
{
    struct log_index_entry entries[] = {
        {.seq = 10, .time_ns = 100}, {.seq = 20, .time_ns = 200}, {.seq = 30, .time_ns = 200},
        {.seq = 40, .time_ns = 200}, {.seq = 50, .time_ns = 300},
    };
    struct log_index x = {.entries = entries, .header.entries = 5};

    (void)state;
    for (uint64_t seq = 0; seq < 70; seq++) {
        const struct log_index_entry *expected = NULL;

        for (int i = 0; i < 5; i++)
            expected = entries[i].seq <= seq ? &entries[i] : expected;
        assert_ptr_equal(log_index_seq(&x, seq), expected);
    }
    for (uint64_t t = 0; t < 400; t++) {
        const struct log_index_entry *expected = NULL;

        for (int i = 0; i < 5; i++)
            expected = entries[i].time_ns < t ? &entries[i] : expected;
        assert_ptr_equal(log_index_time(&x, t), expected);
    }
    assert_ptr_equal(log_index_seq(&x, UINT64_MAX), &entries[4]);
    assert_ptr_equal(log_index_time(&x, UINT64_MAX), &entries[4]);
    x.header.entries = 0;
    assert_null(log_index_seq(&x, UINT64_MAX));
    assert_null(log_index_time(&x, UINT64_MAX));
}

/* --- files ----------------------------------------------------------------------------------- */

#define FILE_ENTRIES 5

/* An index file of a segment that begins with 7. */
static uint64_t
a_file(unsigned char *file)
{
    struct log_index_entry entries[FILE_ENTRIES];
    struct log_index x = {.entries = entries, .room = FILE_ENTRIES, .every = 8};
    struct log_index_info info = {
        .topic_id = TOPIC_ID, .first = 7, .next = 100, .end = 90000, .last_hash = 0x99};

    for (uint64_t i = 0; i < FILE_ENTRIES; i++) {
        struct log_batch b = a_batch(7 + i * 3, 50 + i);

        log_index_note(&x, &b, LOG_BLOCK * (1 + i));
    }
    log_index_seal(&x, &info);
    memcpy(file, &x.header, sizeof x.header);
    memcpy(file + sizeof x.header, entries, sizeof entries);
    return sizeof x.header + sizeof entries;
}

static void
every_flip_in_a_file_is_seen(void **state)
{
    _Alignas(8) unsigned char file[LOG_BLOCK] = {0};
    uint64_t size = a_file(file);
    struct log_index x;

    (void)state;
    assert_int_equal(log_index_check(file, size, TOPIC_ID, 7), 0);
    assert_int_equal(log_index_check(file, sizeof file, TOPIC_ID, 7), 0);
    assert_int_equal(log_index_check(file, size, TOPIC_ID + 1, 7), -EBADMSG);
    assert_int_equal(log_index_check(file, size, TOPIC_ID, 8), -EBADMSG);
    for (uint64_t n = 0; n < size; n++)
        assert_int_equal(log_index_check(file, n, TOPIC_ID, 7), -EBADMSG);
    for (uint64_t i = 0; i < size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            file[i] = (unsigned char)(file[i] ^ 1 << bit);
            assert_int_not_equal(log_index_check(file, size, TOPIC_ID, 7), 0);
            assert_int_not_equal(log_index_check(file, sizeof file, TOPIC_ID, 7), 0);
            file[i] = (unsigned char)(file[i] ^ 1 << bit);
        }
    }
    log_index_view(&x, file);
    assert_int_equal(x.header.entries, FILE_ENTRIES);
    assert_int_equal(x.header.next, 100);
    assert_int_equal(x.header.end, 90000);
    assert_int_equal(x.header.last_hash, 0x99);
    assert_int_equal(log_index_seq(&x, 12)->offset, 2 * LOG_BLOCK);
    assert_null(log_index_seq(&x, 6));
}

/* Hashed, but wrong: no entry may lead out of the segment or break the search. */
static void
entries_are_checked(void **state)
{
    const struct {
        uint32_t at;
        int bytes;
        uint64_t value;
        int expected;
        const char *what;
    } wrong[] = {
        {8, 4, 2, -EPROTONOSUPPORT, "version"},
        {12, 4, 6, 0, "zeros behind counted as an entry"},
        {12, 4, UINT32_MAX, 0, "entries beyond the file"},
        {32, 8, 6, 0, "next below first"},
        {32, 8, 19, 0, "an entry at next"},
        {40, 8, 8, 0, "end in the header"},
        {40, 8, 5ull * LOG_BLOCK, 0, "an entry at the end"},
        {40, 8, (uint64_t)LOG_SEGMENT_MAX + 8, 0, "end beyond any segment"},
        {64, 8, 6, 0, "an entry before first"},
        {96, 8, 7, 0, "a number twice"},
        {96, 8, 200, 0, "a number beyond next"},
        {96 + 8, 8, 49, 0, "time that goes back"},
        {96 + 16, 8, LOG_BLOCK, 0, "an offset twice"},
        {96 + 16, 8, 2 * LOG_BLOCK + 4, 0, "an offset not aligned"},
        {64 + 16, 8, 0, 0, "an offset in the header"},
        {192 + 16, 8, 1ull << 40, 0, "an offset beyond the end"},
    };
    _Alignas(8) unsigned char file[LOG_BLOCK];

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        int expected = wrong[i].expected ? wrong[i].expected : -EBADMSG;
        struct log_index_header h;

        memset(file, 0, sizeof file);
        (void)a_file(file);
        memcpy(file + wrong[i].at, &wrong[i].value, (size_t)wrong[i].bytes);
        memset(file + offsetof(struct log_index_header, hash), 0, 8);
        memcpy(&h, file, sizeof h);
        if (h.entries <= 6)
            h.hash = XXH3_64bits(file, sizeof h + h.entries * sizeof(struct log_index_entry));
        memcpy(file, &h, sizeof h);
        if (log_index_check(file, sizeof file, TOPIC_ID, 7) != expected)
            fail_msg("believed: %s", wrong[i].what);
    }
}

/* Without entries there is still a header to believe. */
static void
empty_index_is_checked(void **state)
{
    struct log_index x = {0};
    struct log_index_info info = {
        .topic_id = TOPIC_ID, .first = 7, .next = 7, .end = LOG_BLOCK, .last_hash = 3};

    (void)state;
    log_index_seal(&x, &info);
    assert_int_equal(log_index_check(&x.header, sizeof x.header, TOPIC_ID, 7), 0);
    info.next = 6;
    log_index_seal(&x, &info);
    assert_int_equal(log_index_check(&x.header, sizeof x.header, TOPIC_ID, 7), -EBADMSG);
    info.next = 7;
    info.end = LOG_BLOCK - 8;
    log_index_seal(&x, &info);
    assert_int_equal(log_index_check(&x.header, sizeof x.header, TOPIC_ID, 7), -EBADMSG);
}

/* A walk may begin at any entry of a real segment, large messages in it or not, and ends where one
 * from its start does. */
static void
walks_begin_at_entries(void **state)
{
    struct log_index_entry entries[100];
    struct log_index x = {.entries = entries, .room = 100, .every = 20000};
    struct writer w = {0};
    struct log_walk walk;
    uint64_t last;
    uint32_t n;

    (void)state;
    rng_begin("walks_begin_at_entries");
    writer_open(&w, 1, 0, false);
    for (uint32_t k = 0; k < 60; k++) {
        uint32_t total = rng_below(90000), done = 0;

        (void)writer_batch(&w, 1 + rng_below(3), rng_below(8000));
        for (uint64_t seq = w.chain.next; k % 4 == 0 && total && done < total; done = w.e.open) {
            writer_begin(&w);
            n = (uint32_t)shm_min(total - done, 1 + rng_below(30000));
            assert_int_equal(writer_piece(&w, seq, done, n, total), 0);
            (void)writer_end(&w);
            if (!w.e.open)
                break;
        }
    }
    walk_open(&walk, &w.m);
    while (log_walk_next(&walk) == 1)
        log_index_note(&x, &walk.batch, walk.batch_offset);
    last = walk.chain.hash;
    assert_int_equal(last, w.chain.hash);
    assert_true(x.header.entries > 5);
    for (uint32_t i = 0; i < x.header.entries; i++) {
        log_walk_at(&walk, &entries[i]);
        assert_int_equal(log_walk_next(&walk), 1);
        assert_int_equal(walk.batch.first, entries[i].seq);
        while (log_walk_next(&walk) == 1)
            ;
        assert_int_equal(walk.chain.hash, last);
        assert_int_equal(walk.offset, w.at);
    }
    writer_close(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_keep_their_distance),
        cmocka_unit_test(batches_one_cannot_begin_at_get_none),
        cmocka_unit_test(every_second_is_dropped_when_full),
        cmocka_unit_test(look_ups_are_exact),
        cmocka_unit_test(every_flip_in_a_file_is_seen),
        cmocka_unit_test(entries_are_checked),
        cmocka_unit_test(empty_index_is_checked),
        cmocka_unit_test(walks_begin_at_entries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
