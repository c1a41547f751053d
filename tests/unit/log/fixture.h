/* fixture.h - segments in memory for the tests of log/: a writer that encodes into one, a reader
 * that is written from docs/format.md alone, and numbers from a seed that is printed. */
#ifndef TESTS_UNIT_LOG_FIXTURE_H
#define TESTS_UNIT_LOG_FIXTURE_H

/* cmocka wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "log/scan.h"

#define TOPIC_ID 0x1122334455667788ull
#define SECTOR 512u

static uint64_t rng_state;

__attribute__((unused)) static uint64_t
rng(void)
{
    uint64_t z = rng_state += 0x9e3779b97f4a7c15ull;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

__attribute__((unused)) static uint32_t
rng_below(uint32_t n)
{
    return (uint32_t)(rng() % n);
}

/* LEAT_SEED repeats a run. */
__attribute__((unused)) static void
rng_begin(const char *test)
{
    const char *given = getenv("LEAT_SEED");

    rng_state = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
    if (given)
        rng_state = strtoull(given, NULL, 0);
    print_message("%s: LEAT_SEED=0x%llx\n", test, (unsigned long long)rng_state);
}

/* --- a segment in memory --------------------------------------------------------------------- */

struct memory {
    unsigned char *bytes;
    uint64_t size;    /* of the file: may be less than what its header says */
    uint32_t at_most; /* bytes of one read; 0: any */
    int error;        /* every read fails with it */
    uint64_t reads, moved;
};

__attribute__((unused)) static int64_t
memory_read(void *user, void *buf, uint32_t len, uint64_t off)
{
    struct memory *m = user;
    uint64_t n;

    if (m->error)
        return m->error;
    if (off >= m->size)
        return 0;
    n = shm_min(len, m->size - off);
    if (m->at_most)
        n = shm_min(n, m->at_most);
    memcpy(buf, m->bytes + off, n);
    m->reads++;
    m->moved += n;
    return (int64_t)n;
}

__attribute__((unused)) static struct log_source
memory_source(struct memory *m)
{
    return (struct log_source){.read = memory_read, .user = m};
}

/* What message `seq` says at byte i. */
__attribute__((unused)) static unsigned char
content(uint64_t seq, uint64_t i)
{
    return (unsigned char)((seq * 131 + i * 7 + (i >> 8) * 31) ^ seq >> 5);
}

/* --- a writer -------------------------------------------------------------------------------- */

struct writer {
    struct memory m;
    struct log_chain chain;
    struct log_encoder e;
    uint64_t at;
    uint64_t durable, time_ns;
    unsigned char *buf;
};

__attribute__((unused)) static void
writer_open(struct writer *w, uint64_t first, uint64_t previous, bool recycled)
{
    struct log_segment_info info = {
        .topic_id = TOPIC_ID,
        .first = first,
        .previous = previous,
        .size = LOG_SEGMENT_MIN,
        .created_ns = 1234,
        .topic = "a.topic",
        .recycled = recycled,
    };

    if (!w->m.bytes)
        w->m.bytes = calloc(1, LOG_SEGMENT_MIN);
    if (!w->buf)
        w->buf = aligned_alloc(LOG_BLOCK, LOG_BATCH_MAX);
    assert_non_null(w->m.bytes);
    assert_non_null(w->buf);
    w->m.size = LOG_SEGMENT_MIN;
    log_segment_begin(w->m.bytes, &info);
    w->chain = (struct log_chain){.topic_id = TOPIC_ID, .next = first, .hash = previous};
    w->at = LOG_BLOCK;
    w->time_ns = 1000;
}

__attribute__((unused)) static void
writer_close(struct writer *w)
{
    free(w->m.bytes);
    free(w->buf);
}

__attribute__((unused)) static void
writer_begin(struct writer *w)
{
    assert_int_equal(log_batch_begin(&w->e, &w->chain, w->buf, LOG_BATCH_MAX), 0);
}

/* Adds bytes [offset, offset + len) of message `seq`. */
__attribute__((unused)) static int
writer_piece(struct writer *w, uint64_t seq, uint32_t offset, uint32_t len, uint32_t total)
{
    struct log_piece p = {
        .seq = seq,
        .time_ns = seq * 10,
        .key = seq ^ 0xabcd,
        .len = len,
        .total = total,
        .offset = offset,
        .type = (uint16_t)(seq * 3),
        .publisher = (uint16_t)(seq % 7),
    };
    void *to = NULL;
    int r = log_batch_add(&w->e, &p, &to);

    if (r)
        return r;
    for (uint32_t i = 0; i < len; i++)
        ((unsigned char *)to)[i] = content(seq, (uint64_t)offset + i);
    return 0;
}

__attribute__((unused)) static void
writer_add(struct writer *w, uint64_t seq, uint32_t len)
{
    assert_int_equal(writer_piece(w, seq, 0, len, len), 0);
}

/* Ends the batch, puts it into the segment, and returns its offset. */
__attribute__((unused)) static uint64_t
writer_end(struct writer *w)
{
    uint64_t at = w->at;
    uint32_t n = log_batch_end(&w->e, &w->chain, at, w->durable, w->time_ns++);

    assert_true(n <= LOG_BATCH_MAX && at + n <= w->m.size);
    memcpy(w->m.bytes + at, w->buf, n);
    w->at += n;
    return at;
}

/* One batch of `n` messages of `len` bytes each. */
__attribute__((unused)) static uint64_t
writer_batch(struct writer *w, uint32_t n, uint32_t len)
{
    writer_begin(w);
    for (uint32_t i = 0; i < n; i++)
        writer_add(w, w->e.next, len);
    return writer_end(w);
}

/* --- a walk over it -------------------------------------------------------------------------- */

__attribute__((unused)) static unsigned char walk_buf[LOG_BATCH_MAX];

/* Stands before the first batch of m. */
__attribute__((unused)) static void
walk_open(struct log_walk *walk, struct memory *m)
{
    struct log_source s = memory_source(m);
    struct log_segment_header h;

    assert_int_equal(log_segment_check(&s, &h), 0);
    log_walk_begin(walk, &s, &h, walk_buf);
}

/* Walks to the end; returns what ended it, and how many batches there were. */
__attribute__((unused)) static int
walk_all(struct log_walk *walk, struct memory *m, uint32_t *ret_batches)
{
    int r;

    walk_open(walk, m);
    *ret_batches = 0;
    while ((r = log_walk_next(walk)) == 1)
        ++*ret_batches;
    return r;
}

__attribute__((unused)) static struct log_diagnosis
diagnose(struct memory *m)
{
    struct log_diagnosis d;
    struct log_walk walk;
    uint32_t n;

    (void)walk_all(&walk, m, &n);
    assert_int_equal(log_walk_diagnose(&walk, &d), 0);
    return d;
}

/* The hash of a batch, by the letter of the format: one piece of memory with zeros in the field. */
__attribute__((unused)) static void
reseal(unsigned char *batch)
{
    struct log_batch b;

    memcpy(&b, batch, sizeof b);
    b.hash = 0;
    memcpy(batch, &b, sizeof b);
    b.hash = XXH3_64bits(batch, b.bytes);
    memcpy(batch, &b, sizeof b);
}

#endif
