#include "log/index.h"

#include <errno.h>
#include <string.h>

#include "log/log_private.h"

/* Keeps every second entry, the first one among them. */
static void
index_thin(struct log_index *x)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < x->header.entries; i += 2)
        x->entries[kept++] = x->entries[i];
    x->header.entries = kept;
    x->every *= 2;
}

void
log_index_note(struct log_index *x, const struct log_batch *batch, uint64_t offset)
{
    const struct log_index_entry *last;

    if (!x->every)
        x->every = LOG_INDEX_EVERY;
    /* One without records and numbers may stand inside a message. */
    if (batch->partial || (!batch->records && !batch->count) || x->room < 2)
        return;
    if (x->header.entries == x->room)
        index_thin(x);
    if (x->header.entries) {
        last = &x->entries[x->header.entries - 1];
        if (offset < last->offset + x->every || batch->first <= last->seq)
            return;
    }
    x->entries[x->header.entries++] = (struct log_index_entry){
        .seq = batch->first,
        .time_ns = batch->time_ns,
        .offset = offset,
        .hash = batch->previous,
    };
}

void
log_index_seal(struct log_index *x, const struct log_index_info *info)
{
    x->header = (struct log_index_header){
        .magic = LOG_INDEX_MAGIC,
        .version = LOG_VERSION,
        .entries = x->header.entries,
        .topic_id = info->topic_id,
        .first = info->first,
        .next = info->next,
        .end = info->end,
        .last_hash = info->last_hash,
    };
    x->header.hash = log__hash_two(&x->header, sizeof x->header, x->entries,
                                   x->header.entries * sizeof *x->entries);
}

/* May entry e follow `last` (NULL: it is the first)? */
static bool
entry_ok(const struct log_index_entry *e, const struct log_index_entry *last,
         const struct log_index_header *h)
{
    if (e->seq < h->first || e->seq >= h->next || e->offset % 8 || e->offset < LOG_BLOCK ||
        e->offset >= h->end)
        return false;
    return !last || (e->seq > last->seq && e->offset > last->offset && e->time_ns >= last->time_ns);
}

int
log_index_check(const void *file, uint64_t size, uint64_t topic_id, uint64_t first)
{
    const unsigned char *at = file;
    struct log_index_header h;
    struct log_index_entry e, last;

    if (size < sizeof h)
        return -EBADMSG;
    memcpy(&h, at, sizeof h);
    if (h.magic != LOG_INDEX_MAGIC)
        return -EBADMSG;
    if (h.version != LOG_VERSION)
        return -EPROTONOSUPPORT;
    if (h.topic_id != topic_id || h.first != first || h.next < first || h.end < LOG_BLOCK ||
        h.end > LOG_SEGMENT_MAX || h.entries > (size - sizeof h) / sizeof e)
        return -EBADMSG;
    if (h.hash != log__hash_zeroed(at, sizeof h + h.entries * sizeof e,
                                   offsetof(struct log_index_header, hash)))
        return -EBADMSG;
    for (uint32_t i = 0; i < h.entries; i++) {
        memcpy(&e, at + sizeof h + i * sizeof e, sizeof e);
        if (!entry_ok(&e, i ? &last : NULL, &h))
            return -EBADMSG;
        last = e;
    }
    return 0;
}

void
log_index_view(struct log_index *ret, void *file)
{
    unsigned char *at = file;

    *ret = (struct log_index){.entries = (void *)(at + sizeof ret->header)};
    memcpy(&ret->header, at, sizeof ret->header);
}

/* How many entries have a number up to the value, or a time below it. */
static uint32_t
entries_before(const struct log_index *x, uint64_t value, bool by_time)
{
    uint32_t low = 0, high = x->header.entries;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct log_index_entry *e = &x->entries[middle];

        if (by_time ? e->time_ns < value : e->seq <= value)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct log_index_entry *
log_index_seq(const struct log_index *x, uint64_t seq)
{
    uint32_t n = entries_before(x, seq, false);

    return n ? &x->entries[n - 1] : NULL;
}

const struct log_index_entry *
log_index_time(const struct log_index *x, uint64_t time_ns)
{
    uint32_t n = entries_before(x, time_ns, true);

    return n ? &x->entries[n - 1] : NULL;
}
