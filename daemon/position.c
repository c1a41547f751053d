#include "daemon/position.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "log/scan.h"

/* A walk that looks for a time reads at most so many batches: an index entry stands at every 128 KiB or batch. */
#define BATCHES_MAX 64

uint64_t
position_oldest(const struct topic *t)
{
    uint64_t oldest = ring_oldest(&t->memory.view);

    return t->store ? shm_min(oldest, store_first(t->store)) : oldest;
}

/* The first message at or after `seq`, below `end`, that the ring holds: its number, or `end`. */
static uint64_t
next_message(const struct ring_view *v, uint64_t seq, uint64_t end, uint64_t *ret_time)
{
    struct ring_msg m;

    for (; seq < end; seq++)
        if (ring_glance(v, seq, &m) == RING_MESSAGE) {
            *ret_time = m.time_ns;
            return seq;
        }
    return end;
}

/* The oldest number the ring can hold when `end` is its tail. Not what ring_oldest says, which takes a tail of its own: whoever
 * makes the two differ would have the daemon walk for ever. */
static uint64_t
oldest_before(const struct ring_view *v, uint64_t end)
{
    return end > v->geo.origin + v->geo.depth ? end - v->geo.depth : v->geo.origin;
}

/* Times ascend but for what publishers that claim at the same moment differ by: found by halving, then what stands
 * just before is looked at one by one. */
static uint64_t
find_in_ring(const struct ring_view *v, uint64_t time_ns)
{
    uint64_t end = atom_load_acquire(ring_tail(v)); /* acquire: CLAIM */
    uint64_t oldest = oldest_before(v, end), low = oldest, high = end, at;

    while (low < high) {
        uint64_t mid = low + (high - low) / 2, seen = 0, seq = next_message(v, mid, high, &seen);
        if (seq == high || seen >= time_ns)
            high = mid;
        else
            low = seq + 1;
    }
    for (at = low; at > oldest && low - at < 2ull * v->geo.max_publishers; at--) {
        uint64_t seen = 0;
        if (next_message(v, at - 1, at, &seen) < at && seen >= time_ns)
            low = at - 1;
    }
    return low;
}

/* Looks through the batch in the walk: 1 and the first record's number not before the time, or 0. */
static int
find_in_batch(const struct log_walk *w, uint64_t time_ns, uint64_t *ret_seq)
{
    struct log_cursor_in_batch c;
    struct log_record record;
    const unsigned char *payload;

    log_records_begin(&c, w->buf);
    while (log_records_next(&c, &record, &payload))
        if (record.time_ns >= time_ns) {
            *ret_seq = record.seq;
            return 1;
        }
    return 0;
}

/* From a batch of the log that is early enough on: the number found, or that of where the walk had to stop. */
static int
walk_for_time(const struct store_segment *segment, void *buf, uint64_t time_ns, uint64_t *ret_seq)
{
    const struct log_source source = log_fd_source(&segment->fd);
    const struct log_index_entry entry = {
        .seq = segment->seq, .offset = segment->offset, .hash = segment->hash};
    struct log_segment_header header;
    struct log_walk w;
    uint64_t seq = segment->seq;
    int r = log_segment_check(&source, &header);

    if (r)
        return r;
    log_walk_begin(&w, &source, &header, buf);
    log_walk_at(&w, &entry);
    for (int i = 0; i < BATCHES_MAX; i++) {
        /* What stands behind the beginning of the next segment was given up. */
        if ((segment->next && w.chain.next >= segment->next) || log_walk_next(&w) != 1)
            break;
        if (find_in_batch(&w, time_ns, &seq))
            break;
        seq = w.batch.first + w.batch.count;
    }
    *ret_seq = seq;
    return 0;
}

static int
find_in_log(struct topic *t, uint64_t time_ns, uint64_t *ret_seq)
{
    struct store_segment segment;
    void *buf;
    uint64_t seq;
    int r = store_seq_at(t->store, time_ns, &seq);

    if (!r)
        r = store_open_segment(t->store, seq, &segment);
    if (r)
        return r;
    buf = malloc(LOG_BATCH_MAX);
    r = buf ? walk_for_time(&segment, buf, time_ns, ret_seq) : -ENOMEM;
    free(buf);
    close(segment.fd);
    return r;
}

static int
find_time(struct topic *t, uint64_t time_ns, uint64_t *ret_seq)
{
    const struct ring_view *v = &t->memory.view;
    uint64_t end = atom_load_acquire(ring_tail(v)); /* acquire: CLAIM */
    uint64_t oldest = oldest_before(v, end), seen = UINT64_MAX;
    int r;

    /* The ring knows the answer when what it holds begins before that time. */
    (void)next_message(v, oldest, end, &seen);
    if (t->store && store_first(t->store) < oldest && seen >= time_ns) {
        r = find_in_log(t, time_ns, ret_seq);
        return r == -ENOENT ? (*ret_seq = oldest, 0) : r;
    }
    *ret_seq = find_in_ring(v, time_ns);
    return 0;
}

int
position_find(struct topic *t, enum wire_start start, uint64_t value, uint64_t *ret_seq)
{
    uint64_t tail = atom_load_acquire(ring_tail(&t->memory.view)); /* acquire: CLAIM */
    uint64_t oldest = position_oldest(t), seq = tail;
    int r = 0;

    switch (start) {
    case WIRE_LATEST:
        break;
    case WIRE_EARLIEST:
        seq = oldest;
        break;
    case WIRE_AT_SEQ:
        seq = value;
        break;
    case WIRE_LAST_N:
        seq = tail - shm_min(value, tail);
        break;
    case WIRE_AT_TIME:
        r = find_time(t, value, &seq);
        break;
    default:
        return -EINVAL;
    }
    if (r)
        return r;
    *ret_seq = shm_min(shm_max(seq, oldest), tail);
    return 0;
}
