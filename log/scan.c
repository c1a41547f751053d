#include "log/scan.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "log/log_private.h"

#define HEADER sizeof(struct log_batch)
#define RECORD sizeof(struct log_record)

/* What a walk reads at first of a batch whose length it does not know: small ones take one read. */
#define READ_AHEAD (32u << 10)

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

int64_t
log__read_all(const struct log_source *s, unsigned char *buf, uint32_t len, uint64_t off)
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
    int64_t n = log__read_all(s, block, sizeof block, 0);

    if (n < 0)
        return (int)n;
    if (n < (int64_t)sizeof h)
        return -EBADMSG;
    memcpy(&h, block, sizeof h);
    if (h.magic != LOG_SEGMENT_MAGIC)
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

bool
log__batch_begins(const struct log_batch *b, const struct log_chain *chain)
{
    if (b->magic != LOG_BATCH_MAGIC || b->topic_id != chain->topic_id)
        return false;
    return !chain->next || (b->first == chain->next && b->previous == chain->hash);
}

bool
log__batch_sane(const struct log_batch *b)
{
    return b->version == LOG_VERSION && b->bytes >= HEADER && b->bytes % 8 == 0 &&
           b->pad < LOG_BLOCK && b->pad % 8 == 0 && b->bytes <= LOG_BATCH_MAX - b->pad &&
           b->records <= (b->bytes - HEADER) / RECORD && b->first &&
           b->first <= UINT64_MAX - b->count;
}

bool
log__batch_fits(const struct log_batch *b, uint64_t off, uint64_t size)
{
    uint64_t len = (uint64_t)b->bytes + b->pad;

    return shm_within(off, len, size) && (!b->pad || (off + len) % LOG_BLOCK == 0);
}

bool
log__batch_hash_ok(const void *buf, const struct log_batch *b)
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

    if (!log__batch_hash_ok(buf, b))
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
    if (!log__batch_begins(&b, chain))
        return -ENODATA;
    if (!log__batch_sane(&b) || b.bytes > size)
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
    n = log__read_all(&w->source, w->buf, (uint32_t)shm_min(w->size - w->offset, READ_AHEAD),
                      w->offset);
    if (n < (int64_t)HEADER)
        return n < 0 ? (int)n : 0;
    memcpy(&b, w->buf, HEADER);
    if (!log__batch_begins(&b, &w->chain))
        return 0;
    if (!log__batch_sane(&b) || !log__batch_fits(&b, w->offset, w->size))
        return -EBADMSG;
    if (b.bytes > n) {
        more =
            log__read_all(&w->source, w->buf + n, b.bytes - (uint32_t)n, w->offset + (uint64_t)n);
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
