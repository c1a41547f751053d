#include <errno.h>
#include <string.h>

#include "log/log_private.h"

#define HEADER sizeof(struct log_batch)

/* How often log_walk_diagnose may hash each byte in search of a witness, and again of old batches.
 * Bytes that look like a header but are none are there only by the intent of a publisher; this
 * keeps them from costing more than a few times a plain scan. */
#define HASH_TIMES 4

struct search {
    const struct log_walk *walk;
    uint64_t budget[2]; /* bytes that may still be hashed, for FIND_OLD and FIND_CLAIM */
    uint64_t pos; /* the window: bytes [pos, pos + len) of the segment are in the walk's buffer */
    uint32_t len;
    uint32_t used; /* of them: behind the last byte that is not zero */
    bool old;      /* a batch was found that is older than the walk's end, or of another topic */
    struct log_diagnosis found;
};

/* What a header found somewhere behind the end is. */
enum find { FIND_OLD = 0, FIND_CLAIM = 1, FIND_NOTHING = 2 };

static enum find
search_judge(const struct search *s, const struct log_batch *b, uint64_t off)
{
    const struct log_walk *w = s->walk;

    if (b->magic != LOG_BATCH_MAGIC || !log__batch_sane(b) || !log__batch_fits(b, off, w->size))
        return FIND_NOTHING;
    if (b->topic_id != w->chain.topic_id || b->first < w->chain.next)
        return FIND_OLD;
    /* A batch is issued before it is durable: one that says otherwise was never written by us. */
    return b->durable >= w->chain.next && b->durable < b->first ? FIND_CLAIM : FIND_NOTHING;
}

/* Notes where the window's last byte that is not zero stands. */
static void
search_extent(struct search *s)
{
    const unsigned char *buf = s->walk->buf;
    uint32_t n = s->len;

    while (n >= LOG_BLOCK && log__is_zero(buf + n - LOG_BLOCK, LOG_BLOCK))
        n -= LOG_BLOCK;
    while (n && !buf[n - 1])
        n--;
    s->used = n;
    if (n)
        s->found.bytes = shm_max(s->found.bytes, s->pos + n - s->walk->offset);
}

static int
search_load(struct search *s, uint64_t pos)
{
    const struct log_walk *w = s->walk;
    uint32_t len = (uint32_t)shm_min(w->size - pos, LOG_BATCH_MAX);
    int64_t n = log__read_all(&w->source, w->buf, len, pos);

    if (n < 0)
        return (int)n;
    s->pos = pos;
    s->len = (uint32_t)n;
    search_extent(s);
    return 0;
}

/* Is what was found at index i of the window a batch, by its hash? 1, 0, or the source's error. The
 * window may move so that it begins with it. When there is no budget left to look, a claim is
 * believed, so that nothing is cut, and an old batch is not. */
static int
search_believe(struct search *s, uint32_t i, const struct log_batch *b, enum find find)
{
    const unsigned char *at = s->walk->buf + i;

    if (s->budget[find] < b->bytes)
        return find == FIND_CLAIM;
    s->budget[find] -= b->bytes;
    if (b->bytes > s->len - i) {
        int r = search_load(s, s->pos + i);

        if (r < 0)
            return r;
        if (b->bytes > s->len)
            return 0;
        at = s->walk->buf;
    }
    return log__batch_hash_ok(at, b);
}

/* Looks through the window for a witness, and moves it where one does not lie in it whole. Where to
 * go on is *ret_next: the first place whose header is not in the window. */
static int
search_window(struct search *s, uint64_t *ret_next)
{
    uint32_t i;

    for (i = 0; i + HEADER <= s->len; i += 8) {
        uint64_t off = s->pos + i;
        uint32_t magic;
        struct log_batch b;
        enum find find;
        int r;

        if (i >= s->used) {
            i = (uint32_t)(s->len - HEADER) & ~7u;
            continue;
        }
        memcpy(&magic, s->walk->buf + i, sizeof magic);
        if (SHM_LIKELY(magic != LOG_BATCH_MAGIC))
            continue;
        memcpy(&b, s->walk->buf + i, HEADER);
        find = search_judge(s, &b, off);
        if (find == FIND_NOTHING || (find == FIND_OLD ? s->old : s->found.witness != 0))
            continue;
        r = search_believe(s, i, &b, find);
        if (r < 0)
            return r;
        if (r && find == FIND_OLD)
            s->old = true;
        if (r && find == FIND_CLAIM) {
            s->found.witness = off;
            s->found.durable = b.durable;
        }
        i = (uint32_t)(off - s->pos);
    }
    *ret_next = s->pos + i;
    return 0;
}

/* Does a batch of the chain begin at the walk's end? It is not valid, or the walk would have gone
 * on. */
static bool
search_begun(const struct search *s)
{
    struct log_batch b;

    if (s->len < HEADER)
        return false;
    memcpy(&b, s->walk->buf, HEADER);
    return log__batch_begins(&b, &s->walk->chain);
}

int
log_walk_diagnose(const struct log_walk *w, struct log_diagnosis *ret)
{
    struct search s = {.walk = w, .found = {.offset = w->offset}};
    uint64_t next = w->offset;
    bool begun = false;
    int r;

    if (w->offset % 8 || w->offset > w->size)
        return -EBADMSG;
    s.budget[FIND_CLAIM] = HASH_TIMES * (w->size - w->offset) + LOG_BATCH_MAX;
    s.budget[FIND_OLD] = s.budget[FIND_CLAIM];
    for (;;) {
        r = search_load(&s, next);
        if (r < 0)
            return r;
        if (next == w->offset)
            begun = search_begun(&s);
        if (s.len < HEADER)
            break;
        r = search_window(&s, &next);
        if (r < 0)
            return r;
    }
    if (s.found.witness)
        s.found.end = LOG_END_DAMAGE;
    else if (begun || (s.found.bytes && !w->recycled && !s.old))
        s.found.end = LOG_END_TORN;
    *ret = s.found;
    return 0;
}

int
log_segment_diagnose(const struct log_source *s, const struct log_segment_header *named, void *buf,
                     struct log_diagnosis *ret)
{
    struct log_segment_header h = *named;
    struct log_walk w;

    h.size = shm_min(h.size, LOG_SEGMENT_MAX) & ~7ull;
    if (h.size <= LOG_BLOCK) {
        *ret = (struct log_diagnosis){.end = LOG_END_CLEAN};
        return 0;
    }
    log_walk_begin(&w, s, &h, buf);
    return log_walk_diagnose(&w, ret);
}
