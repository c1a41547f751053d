#include "log/scan.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "log/log_private.h"

#define HEADER sizeof(struct log_batch)
#define RECORD sizeof(struct log_record)

/* What a walk reads at first of a batch whose length it does not know: small ones take one read. */
#define READ_AHEAD (32u << 10)

/* How often log_walk_diagnose may hash each byte. Bytes that look like a header but are none are
 * there only by the intent of a publisher; this keeps them from costing more than a few times a
 * plain scan. */
#define HASH_TIMES 4

static int64_t
fd_read(void *user, void *buf, uint32_t len, uint64_t off)
{
    const int *fd = user;
    ssize_t n;

    if (off > INT64_MAX)
        return -EINVAL;
    do {
        n = pread(*fd, buf, len, (off_t)off);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

struct log_source
log_fd_source(const int *fd)
{
    return (struct log_source){.read = fd_read, .user = (void *)(uintptr_t)fd};
}

/* Reads until len bytes are there or the source ends. */
static int64_t
read_all(const struct log_source *s, unsigned char *buf, uint32_t len, uint64_t off)
{
    uint32_t have = 0;

    while (have < len) {
        int64_t n = s->read(s->user, buf + have, len - have, off + have);

        if (n < 0)
            return n;
        if (!n || n > len - have)
            break;
        have += (uint32_t)n;
    }
    return have;
}

int
log_segment_check(const struct log_source *s, struct log_segment_header *ret)
{
    unsigned char block[LOG_BLOCK];
    struct log_segment_header h;
    int64_t n = read_all(s, block, sizeof block, 0);

    if (n < 0)
        return (int)n;
    memcpy(&h, block, sizeof h);
    if (n < (int64_t)sizeof h || h.magic != LOG_SEGMENT_MAGIC)
        return -EBADMSG;
    if (h.version != LOG_VERSION || h.incompatible) {
        *ret = h;
        return -EPROTONOSUPPORT;
    }
    if (n < LOG_BLOCK || !log__is_zero(block + sizeof h, sizeof block - sizeof h) ||
        h.hash != log__hash_zeroed(&h, sizeof h, offsetof(struct log_segment_header, hash)))
        return -EBADMSG;
    if (!h.first || h.size < LOG_SEGMENT_MIN || h.size > LOG_SEGMENT_MAX || h.size % LOG_BLOCK ||
        !log__name_ok(h.topic, sizeof h.topic))
        return -EBADMSG;
    *ret = h;
    return 0;
}

/* --- one batch -------------------------------------------------------------------------------- */

/* Does a batch of this chain begin here? What else may stand here are zeros, the middle or the
 * beginning of an old batch, or nothing of ours at all. */
static bool
batch_begins(const struct log_batch *b, const struct log_chain *chain)
{
    if (b->magic != LOG_BATCH_MAGIC || b->topic_id != chain->topic_id)
        return false;
    return !chain->next || (b->first == chain->next && b->previous == chain->hash);
}

/* Rule 1 without the place: everything in the header that can be wrong by itself. */
static bool
batch_sane(const struct log_batch *b)
{
    return b->version == LOG_VERSION && b->bytes >= HEADER && b->bytes % 8 == 0 &&
           b->pad < LOG_BLOCK && b->pad % 8 == 0 && b->bytes <= LOG_BATCH_MAX - b->pad &&
           b->records <= (b->bytes - HEADER) / RECORD && b->first &&
           b->first <= UINT64_MAX - b->count;
}

/* Rule 1, the place: at `off` of a segment of `size` bytes. */
static bool
batch_fits(const struct log_batch *b, uint64_t off, uint64_t size)
{
    uint64_t len = (uint64_t)b->bytes + b->pad;

    return shm_within(off, len, size) && (!b->pad || (off + len) % LOG_BLOCK == 0);
}

static bool
batch_hash_ok(const void *buf, const struct log_batch *b)
{
    return b->hash == log__hash_zeroed(buf, b->bytes, offsetof(struct log_batch, hash));
}

/* A message that has been begun and is not whole: `partial` bytes of `total` so far. 0: none. */
struct open_message {
    uint32_t partial, total;
};

/* May record r stand where it does? `last` is the record before in this batch, or NULL; `open` the
 * message that r is inside of. */
static bool
record_follows(const struct log_record *r, const struct log_record *last, const struct log_batch *b,
               const struct open_message *open)
{
    uint64_t end = b->first + b->count;
    uint64_t behind = (uint64_t)r->offset + r->len;

    if (behind > r->total || (!r->len && r->total))
        return false;
    if (behind < r->total ? r->seq > end : r->seq >= end)
        return false;
    if (!open->partial)
        return !r->offset && r->seq >= (last ? last->seq + 1 : b->first);
    if (r->offset != open->partial || r->total != open->total)
        return false;
    if (!last)
        return r->seq == b->first;
    return r->seq == last->seq && r->time_ns == last->time_ns && r->key == last->key &&
           r->type == last->type && r->publisher == last->publisher;
}

/* Rule 5. *open is the message the batch begins inside of, and comes back as the one that it ends
 * inside of. */
static bool
records_ok(const unsigned char *buf, const struct log_batch *b, struct open_message *open)
{
    struct log_record r, last = {0};
    uint64_t at = HEADER;
    uint32_t n = 0;

    while (at < b->bytes) {
        uint64_t padded;

        if (b->bytes - at < RECORD)
            return false;
        memcpy(&r, buf + at, RECORD);
        at += RECORD;
        padded = shm_align(r.len, 8);
        if (padded > b->bytes - at || !log__is_zero(buf + at + r.len, padded - r.len))
            return false;
        if (!record_follows(&r, n ? &last : NULL, b, open))
            return false;
        at += padded;
        open->partial = r.offset + r.len < r.total ? r.offset + r.len : 0;
        open->total = open->partial ? r.total : 0;
        last = r;
        n++;
    }
    return n == b->records && (!open->partial || !n || last.seq == b->first + b->count);
}

/* Rules 4 and 5 of a batch that is sane and all in memory; *ret is the message it ends inside of.
 */
static int
batch_body_check(const unsigned char *buf, const struct log_batch *b, const struct log_chain *chain,
                 struct open_message *ret)
{
    struct open_message open = {.partial = b->partial};

    if (!batch_hash_ok(buf, b))
        return -EBADMSG;
    if (!b->records) {
        /* Nothing but numbers that were aborted, or not even that: then a message goes on behind
         * it. */
        if (b->bytes != HEADER || b->partial)
            return -EBADMSG;
        *ret = (struct open_message){b->count ? 0 : chain->partial, b->count ? 0 : chain->total};
        return 0;
    }
    if (open.partial && chain->next) {
        if (open.partial != chain->partial)
            return -EBADMSG;
        open.total = chain->total;
    } else if (open.partial) {
        memcpy(&open.total, buf + HEADER + offsetof(struct log_record, total), sizeof open.total);
    }
    if (!records_ok(buf, b, &open))
        return -EBADMSG;
    *ret = open;
    return 0;
}

int
log_batch_check(const void *buf, uint64_t size, const struct log_chain *chain,
                struct log_batch *ret)
{
    struct open_message open;
    struct log_batch b;
    int r;

    if (size < HEADER)
        return -ENODATA;
    memcpy(&b, buf, HEADER);
    if (!batch_begins(&b, chain))
        return -ENODATA;
    if (!batch_sane(&b) || b.bytes > size)
        return -EBADMSG;
    r = batch_body_check(buf, &b, chain, &open);
    if (!r)
        *ret = b;
    return r;
}

void
log_records_begin(struct log_cursor_in_batch *c, const void *batch)
{
    const unsigned char *at = batch;
    uint32_t bytes;

    memcpy(&bytes, at + offsetof(struct log_batch, bytes), sizeof bytes);
    c->at = at + HEADER;
    c->end = at + shm_max(bytes, HEADER);
}

int
log_records_next(struct log_cursor_in_batch *c, struct log_record *ret_header,
                 const unsigned char **ret_payload)
{
    uint64_t left = (uint64_t)(c->end - c->at);
    struct log_record r;

    if (left < RECORD)
        return 0;
    memcpy(&r, c->at, RECORD);
    if (shm_align(r.len, 8) > left - RECORD)
        return 0;
    *ret_header = r;
    *ret_payload = c->at + RECORD;
    c->at += RECORD + shm_align(r.len, 8);
    return 1;
}

/* --- a walk ----------------------------------------------------------------------------------- */

void
log_walk_begin(struct log_walk *w, const struct log_source *s, const struct log_segment_header *h,
               void *buf)
{
    *w = (struct log_walk){
        .source = *s,
        .chain = {.topic_id = h->topic_id, .next = h->first, .hash = h->previous},
        .offset = LOG_BLOCK,
        .size = h->size,
        .buf = buf,
        .recycled = (h->compatible & LOG_SEGMENT_RECYCLED) != 0,
    };
}

void
log_walk_at(struct log_walk *w, const struct log_index_entry *entry)
{
    w->chain.next = entry->seq;
    w->chain.hash = entry->hash;
    w->chain.time_ns = 0;
    w->chain.partial = 0;
    w->chain.total = 0;
    w->offset = entry->offset;
}

int
log_walk_next(struct log_walk *w)
{
    struct open_message open;
    struct log_batch b;
    int64_t n, more;
    int r;

    if (w->offset % 8 || w->offset < LOG_BLOCK || w->offset > w->size || !w->chain.next)
        return -EBADMSG;
    n = read_all(&w->source, w->buf, (uint32_t)shm_min(w->size - w->offset, READ_AHEAD), w->offset);
    if (n < (int64_t)HEADER)
        return n < 0 ? (int)n : 0;
    memcpy(&b, w->buf, HEADER);
    if (!batch_begins(&b, &w->chain))
        return 0;
    if (!batch_sane(&b) || !batch_fits(&b, w->offset, w->size))
        return -EBADMSG;
    if (b.bytes > n) {
        more = read_all(&w->source, w->buf + n, b.bytes - (uint32_t)n, w->offset + (uint64_t)n);
        if (more != b.bytes - n)
            return more < 0 ? (int)more : -EBADMSG;
    }
    r = batch_body_check(w->buf, &b, &w->chain, &open);
    if (r)
        return r;
    w->batch = b;
    w->batch_offset = w->offset;
    w->offset += (uint64_t)b.bytes + b.pad;
    w->chain.next = b.first + b.count;
    w->chain.hash = b.hash;
    w->chain.time_ns = b.time_ns;
    w->chain.partial = open.partial;
    w->chain.total = open.total;
    return 1;
}

/* --- what a walk's end means ------------------------------------------------------------------ */

struct search {
    const struct log_walk *walk;
    uint64_t budget; /* bytes that may still be hashed */
    uint64_t pos; /* the window: bytes [pos, pos + len) of the segment stand in the walk's buffer */
    uint32_t len;
    bool old; /* a header was seen that is from before the walk's end, or from another topic */
    struct log_diagnosis found;
};

/* What a header found somewhere behind the end is. */
enum find { FIND_NOTHING, FIND_OLD, FIND_CLAIM };

static enum find
search_judge(const struct search *s, const struct log_batch *b, uint64_t off)
{
    const struct log_walk *w = s->walk;

    if (b->magic != LOG_BATCH_MAGIC || !batch_sane(b) || !batch_fits(b, off, w->size))
        return FIND_NOTHING;
    if (b->topic_id != w->chain.topic_id || b->first < w->chain.next)
        return FIND_OLD;
    /* A batch is issued before it is durable: one that says otherwise was never written by us. */
    return b->durable >= w->chain.next && b->durable < b->first ? FIND_CLAIM : FIND_NOTHING;
}

static int
search_load(struct search *s, uint64_t pos)
{
    const struct log_walk *w = s->walk;
    uint32_t len = (uint32_t)shm_min(w->size - pos, LOG_BATCH_MAX);
    int64_t n = read_all(&w->source, w->buf, len, pos);

    if (n < 0)
        return (int)n;
    s->pos = pos;
    s->len = (uint32_t)n;
    return 0;
}

/* Is the claim at index i of the window true? 1, 0, or the source's error. The window may move so
 * that it begins with the batch. A claim that there is no budget left to look into is believed:
 * nothing is cut then. */
static int
search_believe(struct search *s, uint32_t i, const struct log_batch *b)
{
    const unsigned char *at = s->walk->buf + i;

    if (s->budget < b->bytes)
        return 1;
    s->budget -= b->bytes;
    if (b->bytes > s->len - i) {
        int r = search_load(s, s->pos + i);

        if (r < 0)
            return r;
        if (b->bytes > s->len)
            return 0;
        at = s->walk->buf;
    }
    return batch_hash_ok(at, b);
}

/* Looks through the window for a witness: 1 found, 0, or an error. When the window moved,
 * *ret_next is where to go on in the segment; else it is the first place whose header would not
 * lie in the window. */
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

        memcpy(&magic, s->walk->buf + i, sizeof magic);
        if (SHM_LIKELY(magic != LOG_BATCH_MAGIC))
            continue;
        memcpy(&b, s->walk->buf + i, HEADER);
        find = search_judge(s, &b, off);
        s->old |= find == FIND_OLD;
        if (find != FIND_CLAIM || s->found.witness)
            continue;
        r = search_believe(s, i, &b);
        if (r < 0)
            return r;
        if (r) {
            s->found.witness = off;
            s->found.durable = b.durable;
        }
        i = (uint32_t)(off - s->pos);
    }
    *ret_next = s->pos + i;
    return 0;
}

/* Notes where the window's last byte that is not zero stands. */
static void
search_extent(struct search *s)
{
    uint32_t n = s->len;

    while (n && !s->walk->buf[n - 1])
        n--;
    if (n)
        s->found.bytes = shm_max(s->found.bytes, s->pos + n - s->walk->offset);
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
    return batch_begins(&b, &s->walk->chain);
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
    s.budget = HASH_TIMES * (w->size - w->offset) + LOG_BATCH_MAX;
    for (;;) {
        r = search_load(&s, next);
        if (r < 0)
            return r;
        if (next == w->offset)
            begun = search_begun(&s);
        search_extent(&s);
        if (s.len < HEADER)
            break;
        r = search_window(&s, &next);
        if (r < 0)
            return r;
        search_extent(&s);
    }
    if (s.found.witness)
        s.found.end = LOG_END_DAMAGE;
    else if (begun || (s.found.bytes && !w->recycled && !s.old))
        s.found.end = LOG_END_TORN;
    *ret = s.found;
    return 0;
}
