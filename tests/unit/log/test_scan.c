/* From bytes back to batches: what is believed, where a walk ends, and what its end means. */
#include <fcntl.h>

#include "tests/unit/log/fixture.h"

/* --- a second reader, from docs/format.md alone ---------------------------------------------- */

static uint64_t
get(const unsigned char *p, int bytes)
{
    uint64_t v = 0;

    while (bytes--)
        v = v << 8 | p[bytes];
    return v;
}

/* Rule 5 for one record: *open is how much of a message (number *number, in all *whole) has been
 * begun. */
struct second {
    uint64_t number, open, whole;
    uint64_t low;
    bool any;
};

static bool
second_record(struct second *s, const unsigned char *r, const unsigned char *before, uint64_t end)
{
    uint64_t seq = get(r, 8), len = get(r + 24, 4), total = get(r + 28, 4), off = get(r + 32, 4);

    if (off + len > total || (total && !len))
        return false;
    if (s->open) {
        if (seq != s->number || off != s->open || total != s->whole)
            return false;
        if (before && (memcmp(r, before, 24) || memcmp(r + 36, before + 36, 4)))
            return false;
    } else if (off || seq < s->low) {
        return false;
    }
    s->number = seq;
    s->open = off + len == total ? 0 : off + len;
    s->whole = total;
    s->low = seq + 1;
    return s->open ? seq <= end : seq < end;
}

/* Is [b, b + size) a valid batch, found by itself? Rules 1 (without the place), 4 and 5. */
static bool
second_batch(const unsigned char *b, uint64_t size)
{
    uint64_t first = get(b + 16, 8), end = first + get(b + 24, 4), bytes = get(b + 32, 4);
    uint64_t pad = get(b + 36, 4), at = 80, n = 0, partial = get(b + 72, 4);
    struct second s = {.number = first, .open = partial, .low = first};
    const unsigned char *before = NULL;
    unsigned char *copy;
    bool same;

    if (get(b, 4) != 0x4842544c || get(b + 4, 4) != 1 || get(b + 8, 8) != TOPIC_ID || bytes < 80 ||
        bytes % 8 || bytes > size || pad >= 4096 || pad % 8 || bytes + pad > 1 << 20 || !first ||
        end < first)
        return false;
    copy = malloc(bytes);
    assert_non_null(copy);
    memcpy(copy, b, bytes);
    memset(copy + 64, 0, 8);
    same = XXH3_64bits(copy, bytes) == get(b + 64, 8);
    free(copy);
    if (!same)
        return false;
    if (bytes >= 120)
        s.whole = get(b + 80 + 28, 4);
    for (; at < bytes; n++) {
        uint64_t len, i;

        if (bytes - at < 40)
            return false;
        len = get(b + at + 24, 4);
        if ((len + 7) / 8 * 8 > bytes - at - 40 || !second_record(&s, b + at, before, end))
            return false;
        for (i = len; i < (len + 7) / 8 * 8; i++) {
            if (b[at + 40 + i])
                return false;
        }
        before = b + at;
        at += 40 + (len + 7) / 8 * 8;
    }
    if (n != get(b + 28, 4) || (!n && partial))
        return false;
    return !n || !s.open || s.number == end;
}

/* --- one batch ------------------------------------------------------------------------------- */

/* Three messages, a hole, seven bytes of padding: as much as a small batch can have. */
static uint32_t
small_batch(struct writer *w)
{
    writer_open(w, 5, 0x7777, false);
    w->durable = 4;
    writer_begin(w);
    writer_add(w, 5, 1);
    writer_add(w, 6, 0);
    writer_add(w, 8, 17);
    log_batch_skip(&w->e, 10);
    (void)writer_end(w);
    return w->e.used;
}

static void
every_flip_in_a_batch_is_seen(void **state)
{
    struct log_chain chain = {.topic_id = TOPIC_ID, .next = 5, .hash = 0x7777}, any = chain;
    struct writer w = {0};
    uint32_t n = small_batch(&w);
    unsigned char *b = w.m.bytes + LOG_BLOCK;
    struct log_batch header;

    (void)state;
    any.next = 0;
    assert_int_equal(log_batch_check(b, n, &chain, &header), 0);
    assert_int_equal(header.first, 5);
    for (uint32_t i = 0; i < n; i++) {
        for (unsigned x = 1; x < 256; x++) {
            memset(&header, 0xcc, sizeof header);
            b[i] = (unsigned char)(b[i] ^ x);
            assert_int_not_equal(log_batch_check(b, n, &chain, &header), 0);
            assert_int_not_equal(log_batch_check(b, n, &any, &header), 0);
            assert_int_equal(header.magic, 0xcccccccc);
            b[i] = (unsigned char)(b[i] ^ x);
        }
    }
    assert_int_equal(log_batch_check(b, n, &any, &header), 0);
    writer_close(&w);
}

static void
verdicts_on_a_batch(void **state)
{
    struct log_chain chain = {.topic_id = TOPIC_ID, .next = 5, .hash = 0x7777}, c;
    struct writer w = {0};
    uint32_t n = small_batch(&w);
    unsigned char *b = w.m.bytes + LOG_BLOCK, zeros[200] = {0};
    struct log_batch h;

    (void)state;
    for (uint32_t size = 0; size < n; size++)
        assert_int_equal(log_batch_check(b, size, &chain, &h), size < 80 ? -ENODATA : -EBADMSG);
    assert_int_equal(log_batch_check(zeros, sizeof zeros, &chain, &h), -ENODATA);
    c = chain;
    c.next = 6;
    assert_int_equal(log_batch_check(b, n, &c, &h), -ENODATA);
    c.next = 4;
    assert_int_equal(log_batch_check(b, n, &c, &h), -ENODATA);
    c = chain;
    c.hash++;
    assert_int_equal(log_batch_check(b, n, &c, &h), -ENODATA);
    c.next = 0;
    assert_int_equal(log_batch_check(b, n, &c, &h), 0);
    c.topic_id++;
    assert_int_equal(log_batch_check(b, n, &c, &h), -ENODATA);
    b[n - 1] ^= 1;
    assert_int_equal(log_batch_check(b, n, &chain, &h), -EBADMSG);
    writer_close(&w);
}

/* What a writer that does not know the rules may have hashed: each is refused though its hash is
 * right. */
static void
each_rule_is_asked(void **state)
{
    const struct {
        uint32_t at;
        int bytes;
        uint64_t value;
        const char *what;
    } wrong[] = {
        {4, 4, 2, "version"},
        {16, 8, 6, "first above the first record"},
        {16, 8, 0, "first 0"},
        {24, 4, 3, "count before the last record"},
        {24, 4, 0, "count 0"},
        {28, 4, 2, "records too few"},
        {28, 4, 4, "records too many"},
        {28, 4, UINT32_MAX, "records of an overflow"},
        {32, 4, 0, "no bytes"},
        {32, 4, 72, "bytes below a header"},
        {32, 4, 120, "bytes that cut a record's payload"},
        {32, 4, 160, "bytes that cut a record"},
        {32, 4, UINT32_MAX - 7, "bytes beyond all"},
        {32, 4, 226, "bytes not aligned"},
        {36, 4, 4096, "a block of pad"},
        {36, 4, 12, "pad not aligned"},
        {72, 4, 1, "partial without a piece"},
        {80, 8, 4, "a number before first"},
        {80, 8, 6, "a number twice"},
        {80, 8, 7, "numbers that descend"},
        {80 + 24, 4, 9, "a length that swallows the next record"},
        {80 + 24, 4, 0, "bytes where padding should be"},
        {80 + 24, 4, UINT32_MAX, "a length of an overflow"},
        {80 + 28, 4, 2, "a message never whole"},
        {80 + 28, 4, 0, "less in all than here"},
        {80 + 32, 4, 1, "an offset without the bytes before"},
        {80 + 40 + 1, 1, 1, "padding not zero"},
        {168 + 24, 4, 24, "a last length beyond the end by padding"},
        {168 + 24, 4, 25, "a last length beyond the end"},
        {168 + 0, 8, 10, "a number behind the range"},
    };
    struct log_chain any = {.topic_id = TOPIC_ID};
    struct writer w = {0};
    uint32_t n = small_batch(&w);
    unsigned char *b = w.m.bytes + LOG_BLOCK, *copy = malloc(2ull * LOG_BATCH_MAX);
    struct log_batch h;

    (void)state;
    assert_non_null(copy);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        memset(copy, 0, 2ull * LOG_BATCH_MAX);
        memcpy(copy, b, n);
        memcpy(copy + wrong[i].at, &wrong[i].value, (size_t)wrong[i].bytes);
        if (wrong[i].at != 32 || wrong[i].value < LOG_BATCH_MAX)
            reseal(copy);
        if (log_batch_check(copy, 2ull * LOG_BATCH_MAX, &any, &h) != -EBADMSG)
            fail_msg("not refused: %s", wrong[i].what);
    }
    free(copy);
    writer_close(&w);
}

/* Three batches that together use all there is: pieces at the end, pieces at the beginning,
 * nothing. */
static uint64_t
a_base(struct writer *w, int which)
{
    writer_begin(w);
    if (which == 0) {
        writer_add(w, 5, 3);
        writer_add(w, 7, 8);
        assert_int_equal(writer_piece(w, 8, 0, 8, 40), 0);
        assert_int_equal(writer_piece(w, 8, 8, 8, 40), 0);
        assert_int_equal(writer_piece(w, 8, 16, 24, 40), 0);
        assert_int_equal(writer_piece(w, 9, 0, 8, 40), 0);
    } else if (which == 1) {
        assert_int_equal(writer_piece(w, 9, 8, 8, 40), 0);
        assert_int_equal(writer_piece(w, 9, 16, 24, 40), 0);
        writer_add(w, 10, 9);
        assert_int_equal(writer_piece(w, 12, 0, 8, 40), 0);
    } else {
        log_batch_skip(&w->e, 20);
    }
    return writer_end(w);
}

/* Fields changed at random and hashed anew: the check and the second reader agree on each. */
static void
second_reader_agrees(void **state)
{
    struct log_chain any = {.topic_id = TOPIC_ID};
    struct writer w = {0};
    uint32_t valid = 0, invalid = 0;
    unsigned char copy[600];
    struct log_batch h;

    (void)state;
    rng_begin("second_reader_agrees");
    writer_open(&w, 5, 0, false);
    for (int round = 0; round < 300000; round++) {
        static uint64_t at[3];
        static uint32_t len[3];
        int which = round < 3 ? round : (int)rng_below(3), changes = 1 + (int)rng_below(3);

        if (round < 3) {
            at[which] = a_base(&w, which);
            len[which] = w.e.used;
            assert_true(len[which] <= sizeof copy);
        }
        memcpy(copy, w.m.bytes + at[which], len[which]);
        while (changes--) {
            uint32_t field = rng_below(len[which] / 2) * 2;
            uint16_t value;

            memcpy(&value, copy + field, 2);
            value = (uint16_t)(value + rng_below(19) - 9);
            memcpy(copy + field, &value, 2);
        }
        if (get(copy + 32, 4) >= 80 && get(copy + 32, 4) <= len[which])
            reseal(copy);
        if (second_batch(copy, len[which])) {
            valid++;
            assert_int_equal(log_batch_check(copy, len[which], &any, &h), 0);
        } else {
            invalid++;
            assert_int_not_equal(log_batch_check(copy, len[which], &any, &h), 0);
        }
    }
    assert_true(valid > 1000 && invalid > 1000);
    writer_close(&w);
}

/* The ends of the number range, where arithmetic wraps. */
static void
numbers_have_an_end(void **state)
{
    const struct {
        uint64_t first;
        uint32_t count;
        int expected;
    } cases[] = {
        {1, 0, 0},
        {0, 0, -EBADMSG},
        {0, 5, -EBADMSG},
        {UINT64_MAX - 5, 5, 0},
        {UINT64_MAX - 5, 6, -EBADMSG},
        {UINT64_MAX, 0, 0},
        {UINT64_MAX, UINT32_MAX, -EBADMSG},
    };
    struct log_chain any = {.topic_id = TOPIC_ID};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct log_batch b = {
            .magic = LOG_BATCH_MAGIC,
            .version = LOG_VERSION,
            .topic_id = TOPIC_ID,
            .first = cases[i].first,
            .count = cases[i].count,
            .bytes = sizeof b,
        };

        reseal((unsigned char *)&b);
        assert_int_equal(log_batch_check(&b, sizeof b, &any, &b), cases[i].expected);
    }
}

static void
empty_batch_is_valid(void **state)
{
    struct writer w = {0};
    struct log_walk walk;
    uint32_t n;

    (void)state;
    writer_open(&w, 5, 0, false);
    w.durable = 4;
    (void)writer_batch(&w, 0, 0);
    (void)writer_batch(&w, 2, 8);
    writer_begin(&w);
    log_batch_skip(&w.e, 100);
    (void)writer_end(&w);
    assert_int_equal(walk_all(&walk, &w.m, &n), 0);
    assert_int_equal(n, 3);
    assert_int_equal(walk.chain.next, 100);
    writer_close(&w);
}

/* --- the segment's header -------------------------------------------------------------------- */

static void
every_flip_in_a_segment_header_is_seen(void **state)
{
    struct writer w = {0};
    struct log_source s = memory_source(&w.m);
    struct log_segment_header h;

    (void)state;
    writer_open(&w, 5, 9, true);
    assert_int_equal(log_segment_check(&s, &h), 0);
    assert_true(h.first == 5 && h.previous == 9 && h.size == LOG_SEGMENT_MIN);
    assert_int_equal(h.compatible, LOG_SEGMENT_RECYCLED);
    assert_string_equal(h.topic, "a.topic");
    for (uint32_t i = 0; i < LOG_BLOCK; i++) {
        for (int bit = 0; bit < 8; bit++) {
            w.m.bytes[i] = (unsigned char)(w.m.bytes[i] ^ 1 << bit);
            assert_int_not_equal(log_segment_check(&s, &h), 0);
            w.m.bytes[i] = (unsigned char)(w.m.bytes[i] ^ 1 << bit);
        }
    }
    for (w.m.size = 0; w.m.size < LOG_BLOCK; w.m.size++)
        assert_int_equal(log_segment_check(&s, &h), -EBADMSG);
    assert_int_equal(log_segment_check(&s, &h), 0);
    w.m.error = -EIO;
    assert_int_equal(log_segment_check(&s, &h), -EIO);
    writer_close(&w);
}

static void
reseal_segment(unsigned char *bytes, const struct log_segment_header *h)
{
    struct log_segment_header sealed = *h;

    sealed.hash = 0;
    sealed.hash = XXH3_64bits(&sealed, sizeof sealed);
    memcpy(bytes, &sealed, sizeof sealed);
}

static void
segment_fields_are_checked(void **state)
{
    struct writer w = {0};
    struct log_source s = memory_source(&w.m);
    struct log_segment_header good, h;

    (void)state;
    writer_open(&w, 5, 9, false);
    assert_int_equal(log_segment_check(&s, &good), 0);
    for (int i = 0; i < 10; i++) {
        int expected = i < 3 ? -EPROTONOSUPPORT : -EBADMSG;

        h = good;
        h.version += i == 0 ? 1 : 0;
        h.version -= i == 1 ? 1 : 0;
        h.incompatible = i == 2 ? 4 : 0;
        h.first = i == 3 ? 0 : h.first;
        h.size = i == 4   ? LOG_SEGMENT_MIN - LOG_BLOCK
                 : i == 5 ? (uint64_t)LOG_SEGMENT_MAX + LOG_BLOCK
                 : i == 6 ? LOG_SEGMENT_MIN + 8
                          : h.size;
        memset(h.topic, i == 7 ? 'x' : h.topic[0], i == 7 ? sizeof h.topic : 1);
        h.topic[0] = (char)(i == 8 ? 0 : h.topic[0]);
        h.topic[100] = i == 9 ? 'x' : h.topic[100];
        reseal_segment(w.m.bytes, &h);
        assert_int_equal(log_segment_check(&s, &h), expected);
    }
    h = good;
    h.version = 9;
    memcpy(w.m.bytes, &h, sizeof h);
    memset(&h, 0, sizeof h);
    assert_int_equal(log_segment_check(&s, &h), -EPROTONOSUPPORT);
    assert_int_equal(h.version, 9);
    writer_close(&w);
}

/* --- walks ----------------------------------------------------------------------------------- */

/* Cut off at every length, a segment gives exactly the batches that are whole. */
static void
truncation_at_every_length(void **state)
{
    struct writer w = {0};
    uint64_t ends[8], used;
    struct log_walk walk;

    (void)state;
    writer_open(&w, 1, 0, false);
    for (uint32_t i = 0; i < 8; i++) {
        (void)writer_batch(&w, i, 11 * i);
        ends[i] = w.at;
    }
    used = w.at;
    for (w.m.size = LOG_BLOCK; w.m.size <= used; w.m.size++) {
        struct log_diagnosis d;
        uint32_t whole = 0, n;
        int r = walk_all(&walk, &w.m, &n);

        while (whole < 8 && ends[whole] <= w.m.size)
            whole++;
        assert_int_equal(n, whole);
        assert_true(r == 0 || r == -EBADMSG);
        assert_int_equal(log_walk_diagnose(&walk, &d), 0);
        assert_int_equal(d.offset, whole ? ends[whole - 1] : LOG_BLOCK);
        assert_int_equal(d.end, d.bytes ? LOG_END_TORN : LOG_END_CLEAN);
        assert_true(d.offset + d.bytes <= w.m.size);
    }
    writer_close(&w);
}

/* Reads of a few bytes at a time, and errors, go through. */
static void
source_may_be_slow_or_fail(void **state)
{
    struct writer w = {0};
    struct log_walk walk;
    struct log_diagnosis d;
    uint32_t n;

    (void)state;
    writer_open(&w, 1, 0, false);
    for (int i = 0; i < 5; i++)
        (void)writer_batch(&w, 3, 20000);
    for (w.m.at_most = 4093; w.m.at_most < 4100; w.m.at_most++) {
        assert_int_equal(walk_all(&walk, &w.m, &n), 0);
        assert_int_equal(n, 5);
    }
    w.m.at_most = 0;
    walk_open(&walk, &w.m);
    assert_int_equal(log_walk_next(&walk), 1);
    w.m.error = -EIO;
    assert_int_equal(log_walk_next(&walk), -EIO);
    assert_int_equal(log_walk_diagnose(&walk, &d), -EIO);
    w.m.error = 0;
    assert_int_equal(log_walk_next(&walk), 1);
    assert_int_equal(walk.batch.first, 4);
    writer_close(&w);
}

static void
files_are_read(void **state)
{
    char path[] = "/tmp/leat-test-scan.XXXXXX";
    struct writer w = {0};
    struct log_segment_header h;
    struct log_source s;
    struct log_walk walk;
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    writer_open(&w, 1, 0, false);
    (void)writer_batch(&w, 3, 100);
    (void)writer_batch(&w, 3, 100000);
    assert_int_equal(pwrite(fd, w.m.bytes, w.at, 0), w.at);
    s = log_fd_source(&fd);
    assert_int_equal(log_segment_check(&s, &h), 0);
    log_walk_begin(&walk, &s, &h, walk_buf);
    assert_int_equal(log_walk_next(&walk), 1);
    assert_int_equal(log_walk_next(&walk), 1);
    assert_int_equal(log_walk_next(&walk), 0);
    assert_int_equal(walk.chain.next, 7);
    close(fd);
    assert_int_equal(log_segment_check(&s, &h), -EBADF);
    writer_close(&w);
}

static void
wrong_places_end_a_walk(void **state)
{
    const uint64_t offsets[] = {
        0, 8, LOG_BLOCK - 8, LOG_BLOCK + 4, UINT64_MAX, UINT64_MAX - 7, LOG_SEGMENT_MIN + 8};
    struct writer w = {0};
    struct log_index_entry entry = {.seq = 4};
    struct log_walk walk;
    struct log_batch second;

    (void)state;
    writer_open(&w, 1, 0, false);
    (void)writer_batch(&w, 3, 100);
    entry.offset = writer_batch(&w, 3, 100);
    memcpy(&second, w.m.bytes + entry.offset, sizeof second);
    entry.hash = second.previous;
    walk_open(&walk, &w.m);
    log_walk_at(&walk, &entry);
    assert_int_equal(log_walk_next(&walk), 1);
    assert_int_equal(walk.batch.first, 4);
    assert_int_equal(walk.batch_offset, entry.offset);
    entry.hash++;
    log_walk_at(&walk, &entry);
    assert_int_equal(log_walk_next(&walk), 0);
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        entry.offset = offsets[i];
        log_walk_at(&walk, &entry);
        assert_int_equal(log_walk_next(&walk), -EBADMSG);
    }
    entry.offset = LOG_SEGMENT_MIN - 8;
    log_walk_at(&walk, &entry);
    assert_int_equal(log_walk_next(&walk), 0);
    writer_close(&w);
}

/* The place of a batch and of its pad is part of rule 1. */
static void
batches_fit_the_segment(void **state)
{
    struct writer w = {0};
    struct log_walk walk;
    struct log_batch b;
    uint32_t n;

    (void)state;
    writer_open(&w, 1, 0, false);
    (void)writer_batch(&w, 1, 100000);
    assert_int_equal(walk_all(&walk, &w.m, &n), 0);
    assert_int_equal(n, 1);
    memcpy(&b, w.m.bytes + LOG_BLOCK, sizeof b);
    assert_int_not_equal(b.pad, 0);
    b.pad -= 8;
    memcpy(w.m.bytes + LOG_BLOCK, &b, sizeof b);
    reseal(w.m.bytes + LOG_BLOCK);
    assert_int_equal(walk_all(&walk, &w.m, &n), -EBADMSG);
    b.pad = 0;
    memcpy(w.m.bytes + LOG_BLOCK, &b, sizeof b);
    reseal(w.m.bytes + LOG_BLOCK);
    assert_int_equal(walk_all(&walk, &w.m, &n), 0);
    assert_int_equal(n, 1);
    walk_open(&walk, &w.m);
    walk.size = LOG_BLOCK + b.bytes - 8;
    assert_int_equal(log_walk_next(&walk), -EBADMSG);
    writer_close(&w);
}

/* A message of 3 pieces in 3 batches, with the batch in the middle taken from another message of
 * the same number: never put together. */
static void
pieces_of_two_messages_do_not_mix(void **state)
{
    struct writer w = {0};
    struct log_walk walk;
    unsigned char *b, saved[120];
    uint32_t n, value;
    uint64_t at;

    (void)state;
    writer_open(&w, 1, 0, false);
    writer_begin(&w);
    assert_int_equal(writer_piece(&w, 1, 0, 100, 300), 0);
    (void)writer_end(&w);
    writer_begin(&w);
    assert_int_equal(writer_piece(&w, 1, 100, 100, 300), 0);
    at = writer_end(&w);
    assert_int_equal(walk_all(&walk, &w.m, &n), 0);
    assert_int_equal(n, 2);
    assert_true(walk.chain.partial == 200 && walk.chain.total == 300);

    b = w.m.bytes + at;
    for (int i = 0; i < 4; i++) {
        uint32_t fields[2] = {i == 0 || i == 3 ? 72 : 80 + 28, i == 2 ? 80 + 28 : 80 + 32};

        memcpy(saved, b, sizeof saved);
        for (int k = i == 3 ? 0 : i % 2; k < 2; k++) {
            memcpy(&value, b + fields[k], 4);
            value += 8;
            memcpy(b + fields[k], &value, 4);
        }
        reseal(b);
        assert_int_equal(walk_all(&walk, &w.m, &n), -EBADMSG);
        assert_int_equal(n, 1);
        memcpy(b, saved, sizeof saved);
    }
    assert_int_equal(walk_all(&walk, &w.m, &n), 0);

    (void)writer_batch(&w, 0, 0); /* a note in the middle of a message, which then goes on */
    writer_begin(&w);
    assert_int_equal(writer_piece(&w, 1, 200, 100, 300), 0);
    (void)writer_end(&w);
    assert_int_equal(walk_all(&walk, &w.m, &n), 0);
    assert_int_equal(n, 4);
    assert_true(walk.chain.partial == 0 && walk.chain.next == 2);
    writer_close(&w);
}

static void
segment_begins_with_a_whole_message(void **state)
{
    struct writer w = {0};
    struct log_walk walk;
    uint32_t n;

    (void)state;
    writer_open(&w, 9, 0, false);
    w.chain.partial = 100;
    w.chain.total = 200;
    writer_begin(&w);
    assert_int_equal(writer_piece(&w, 9, 100, 100, 200), 0);
    (void)writer_end(&w);
    assert_int_equal(walk_all(&walk, &w.m, &n), -EBADMSG);
    writer_close(&w);
}

/* --- at random ------------------------------------------------------------------------------- */

struct expected {
    uint64_t seq;
    uint32_t total;
};

struct run {
    struct writer w;
    struct expected list[4096];
    uint32_t messages, batches;
    uint64_t seq;
};

/* Adds one message, or a hole, or a message that is taken back; ends the batch where it is full or
 * by chance. False when the segment has no room for more. */
static bool
run_step(struct run *run)
{
    const uint32_t sizes[] = {0, 1, 7, 8, 9, 32, 33, 4096, 65000, 300000, 1 << 20};
    struct writer *w = &run->w;
    uint32_t total = sizes[rng_below(11)], done = 0;
    struct log_encoder before = w->e;
    bool full;

    total = rng_below(2) ? total : rng_below(total + 1);
    if (run->messages == 4096 ||
        w->at + w->e.used + 2ull * LOG_BLOCK + log_message_bound(total, LOG_BATCH_MAX) > w->m.size)
        return false;
    run->seq += rng_below(8) ? 0 : rng_below(5);
    if (!rng_below(10) && writer_piece(w, run->seq, 0, total, total) == 0) {
        log_batch_undo(&w->e, &before);
        return true;
    }
    do {
        uint32_t n = (uint32_t)shm_min(total - done, log_batch_room(&w->e));

        if (n > 1 && !rng_below(3))
            n = 1 + rng_below(n);
        full = (total && !n) || writer_piece(w, run->seq, done, n, total) == -ENOSPC;
        if (full || !rng_below(20)) {
            (void)writer_end(w);
            run->batches++;
            writer_begin(w);
        }
        done = w->e.open;
    } while (w->e.next != run->seq + 1);
    run->list[run->messages++] = (struct expected){run->seq++, total};
    return true;
}

/* The record is the next piece of message n, of which `seen` bytes have been seen. */
static void
verify_piece(const struct expected *message, uint32_t seen, const struct log_record *r,
             const unsigned char *payload)
{
    assert_int_equal(r->seq, message->seq);
    assert_int_equal(r->total, message->total);
    assert_int_equal(r->offset, seen);
    assert_true(r->time_ns == r->seq * 10 && r->key == (r->seq ^ 0xabcd));
    assert_true(r->type == (uint16_t)(r->seq * 3) && r->publisher == r->seq % 7);
    for (uint32_t i = 0; i < r->len; i++) {
        if (payload[i] != content(r->seq, (uint64_t)r->offset + i))
            fail_msg("message %llu differs at %u", (unsigned long long)r->seq, r->offset + i);
    }
}

/* Reads all messages of a segment back and compares; pieces are put together. */
static void
run_verify(struct run *run)
{
    struct log_cursor_in_batch c;
    const unsigned char *payload;
    uint32_t n = 0, seen = 0, batches = 0;
    struct log_record r;
    struct log_walk walk;

    walk_open(&walk, &run->w.m);
    while (log_walk_next(&walk) == 1) {
        assert_true(second_batch(run->w.m.bytes + walk.batch_offset, walk.batch.bytes));
        batches++;
        log_records_begin(&c, walk.buf);
        while (log_records_next(&c, &r, &payload)) {
            assert_true(n < run->messages);
            verify_piece(&run->list[n], seen, &r, payload);
            seen = r.offset + r.len;
            n += seen == r.total;
            seen = seen == r.total ? 0 : seen;
        }
    }
    assert_int_equal(n, run->messages);
    assert_int_equal(batches, run->batches);
    assert_int_equal(walk.offset, run->w.at);
    assert_int_equal(walk.chain.next, run->w.chain.next);
    assert_int_equal(walk.chain.hash, run->w.chain.hash);
    assert_int_equal(walk.chain.partial, 0);
    assert_int_equal(diagnose(&run->w.m).end, LOG_END_CLEAN);
}

static void
random_messages_round_trip(void **state)
{
    static struct run run;

    (void)state;
    rng_begin("random_messages_round_trip");
    for (int round = 0; round < 40; round++) {
        run.messages = run.batches = 0;
        run.seq = 1 + rng_below(1000);
        writer_open(&run.w, run.seq, rng(), false);
        memset(run.w.m.bytes + LOG_BLOCK, 0, LOG_SEGMENT_MIN - LOG_BLOCK);
        writer_begin(&run.w);
        for (int misses = 0; misses < 20;)
            misses += !run_step(&run);
        (void)writer_end(&run.w);
        run.batches++;
        assert_true(run.messages > 0);
        run_verify(&run);
    }
    writer_close(&run.w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_flip_in_a_batch_is_seen),
        cmocka_unit_test(verdicts_on_a_batch),
        cmocka_unit_test(each_rule_is_asked),
        cmocka_unit_test(second_reader_agrees),
        cmocka_unit_test(numbers_have_an_end),
        cmocka_unit_test(empty_batch_is_valid),
        cmocka_unit_test(every_flip_in_a_segment_header_is_seen),
        cmocka_unit_test(segment_fields_are_checked),
        cmocka_unit_test(truncation_at_every_length),
        cmocka_unit_test(source_may_be_slow_or_fail),
        cmocka_unit_test(files_are_read),
        cmocka_unit_test(wrong_places_end_a_walk),
        cmocka_unit_test(batches_fit_the_segment),
        cmocka_unit_test(pieces_of_two_messages_do_not_mix),
        cmocka_unit_test(segment_begins_with_a_whole_message),
        cmocka_unit_test(random_messages_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
