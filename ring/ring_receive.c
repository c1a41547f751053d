/* Receiving. A reader polls the stamp of the slot it waits for and touches nothing that publishers share. What it
 * reads may be overwritten at any time unless its cursor gates: fields are believed after the stamp has been
 * seen unchanged behind them, the payload after ring_validate. Checked: tests/model/lossy.pml. */
#include "ring/ring_private.h"

#include <errno.h>

bool
ring__meta_is_sound(const struct ring_view *v, uint64_t meta, uint64_t lane_pos)
{
    uint32_t len = (uint32_t)(meta >> 32), publisher = meta & 0xffff;

    if (len <= ring_inline_max(v))
        return publisher < v->geo.max_publishers;
    return publisher < v->geo.max_publishers && len <= ring_payload_max(v) && !(lane_pos % 64) &&
           shm_within(lane_pos & (v->geo.lane_size - 1), len, v->geo.lane_size) &&
           atom_load_acquire(&ring_entry(v, publisher)->lane) == 1; /* acquire: LANE */
}

/* Fills *ret from a slot whose stamp says that it holds a message: 1; 0 when it changed meanwhile; -ESTALE when the
 * lane's bytes are gone; -EBADMSG. */
static int
read_slot(const struct ring_view *v, uint64_t seq, uint64_t stamp, struct ring_msg *ret)
{
    struct ring_slot *s = ring_slot(v, seq);
    uint64_t meta = atom_load_relaxed(&s->meta), pos = atom_load_relaxed(&s->payload[0]);
    struct ring_msg m = {.seq = seq,
                         .time_ns = atom_load_relaxed(&s->time_ns),
                         .key = atom_load_relaxed(&s->key),
                         .lane_pos = UINT64_MAX,
                         .len = (uint32_t)(meta >> 32),
                         .type = (uint16_t)(meta >> 16),
                         .publisher = (uint16_t)meta};

    if (SHM_UNLIKELY(atom_load_after_reads(&s->stamp) != stamp))
        return 0;
    if (SHM_UNLIKELY(!ring__meta_is_sound(v, meta, pos)))
        return -EBADMSG;
    m.data = (const unsigned char *)s->payload;
    if (m.len > ring_inline_max(v)) {
        m.lane_pos = pos;
        m.data = ring_lane(v, m.publisher) + (pos & (v->geo.lane_size - 1));
        if (atom_load_after_reads(&ring_line(v, m.publisher)->reclaimed) > pos) {
            *ret = m;
            return -ESTALE;
        }
    }
    *ret = m;
    return 1;
}

/* The numbers [first, next) are gone from the ring. */
static int
gap(struct ring_reader *r, uint64_t next, struct ring_msg *ret)
{
    ret->data = NULL;
    ret->len = 0;
    ret->seq = r->next;
    ret->first = r->next;
    ret->lost = next - r->next;
    /* The place behind a gap is the first of its batch, or follows one whose first slot was final. */
    r->landed = false;
    r->next = next;
    return RING_GAP;
}

/* The slot holds a later lap than the reader wants. Everything before that lap's predecessor is gone; the stamp says
 * which, the tail only has to agree. */
static int
overrun(struct ring_reader *r, uint64_t stamp, struct ring_msg *ret)
{
    const struct ring_view *v = &r->view;
    uint64_t there = ring_stamp_seq(stamp);

    /* A stamp whose number is out of range would lead where stamps wrap, and the reader backwards. */
    if (((there - r->next) & v->mask) || there <= r->next || there >> 60 ||
        there >= atom_load_acquire(ring_tail(v))) /* acquire: CLAIM */
        return -EBADMSG;
    return gap(r, shm_max(there - v->geo.depth + 1, v->geo.origin), ret);
}

/* Whether the INNER message at `seq` belongs to a batch that is in the order. A reader that came from below knows: it has seen
 * the first slot. One that was set down here looks back for it: 1 it is, 0 not yet, -EAGAIN look at `seq` again, -EBADMSG. */
static int
batch_is_in(const struct ring_view *v, uint64_t seq)
{
    int64_t diff = RING_INNER;

    for (uint64_t q = seq - 1; diff == RING_INNER && seq - q < v->geo.depth; q--) {
        uint64_t stamp = atom_load_acquire(&ring_slot(v, q)->stamp); /* acquire: COMMIT */
        diff = ring_stamp_diff(stamp, q);
    }
    if (diff < 0 || diff == RING_BUSY)
        return 0;
    /* COMMITTED, or lapped: the first slot was final, and the batch in the order, unless the daemon has aborted
     * it and ours by now. */
    /* acquire: COMMIT */
    if (atom_load_acquire(&ring_slot(v, seq)->stamp) != ring_stamp(seq, RING_INNER))
        return -EAGAIN;
    return diff == RING_COMMITTED || diff > 7 ? 1 : -EBADMSG;
}

void
ring_reader_set(struct ring_reader *r, uint64_t next)
{
    /* Numbers end at 2^60; a wild one, a scribbled tail perhaps, must not come near where stamps wrap. */
    r->next = shm_min(next, (1ull << 60) - 2ull * LIMIT_DEPTH_MAX);
    r->landed = true;
}

/* The place says that it holds a message: what ring_receive answers, or -EAGAIN: it has changed, look again. */
static int
take_message(struct ring_reader *r, uint64_t stamp, struct ring_msg *ret)
{
    uint64_t seq = r->next;
    int x;

    if (SHM_UNLIKELY(r->landed) && ring_stamp_state(stamp) == RING_INNER) {
        x = batch_is_in(&r->view, seq);
        if (x != 1)
            return x ? x : RING_NONE;
    }
    x = read_slot(&r->view, seq, stamp, ret);
    if (SHM_LIKELY(x == 1)) {
        r->landed = false;
        r->next = seq + 1;
        return RING_MESSAGE;
    }
    if (x == -ESTALE)
        return gap(r, seq + 1, ret);
    return x ? x : -EAGAIN;
}

int
ring_receive(struct ring_reader *r, struct ring_msg *ret)
{
    const struct ring_view *v = &r->view;

    for (uint64_t steps = 0; steps <= v->geo.depth; steps++) {
        uint64_t seq = r->next;
        uint64_t stamp = atom_load_acquire(&ring_slot(v, seq)->stamp); /* acquire: COMMIT */
        int64_t diff;
        if (SHM_LIKELY(ring_stamp_is_message(stamp, seq))) {
            int x = take_message(r, stamp, ret);
            if (SHM_LIKELY(x != -EAGAIN))
                return x;
            /* A walk back costs, so that a place that never stands still holds nobody for long. */
            steps += r->landed ? v->geo.depth / 8 : 0;
            continue;
        }
        diff = ring_stamp_diff(stamp, seq);
        if (diff < 0 || diff == RING_BUSY)
            return RING_NONE;
        if (diff == RING_EMPTY)
            return seq < v->geo.origin ? gap(r, v->geo.origin, ret) : -EBADMSG;
        if (diff > 7)
            return overrun(r, stamp, ret);
        if (diff != RING_ABORTED)
            return -EBADMSG;
        r->landed = false;
        r->next = seq + 1;
    }
    return RING_NONE;
}

/* What stands at a place whose stamp was read. */
static int
look(const struct ring_view *v, uint64_t seq, uint64_t stamp, struct ring_msg *ret)
{
    int64_t diff = ring_stamp_diff(stamp, seq);
    int x;

    if (!ring_stamp_is_message(stamp, seq))
        return diff < 0 || diff == RING_BUSY ? RING_NONE : RING_GAP;
    x = read_slot(v, seq, stamp, ret);
    return x == 1 ? RING_MESSAGE : x == -EBADMSG ? x : x ? RING_GAP : RING_NONE;
}

int
ring_peek(const struct ring_view *v, uint64_t seq, struct ring_msg *ret)
{
    uint64_t stamp = atom_load_acquire(&ring_slot(v, seq)->stamp); /* acquire: COMMIT */

    if (stamp == ring_stamp(seq, RING_INNER)) {
        int x = batch_is_in(v, seq);
        if (x != 1)
            return x == -EAGAIN ? RING_GAP : x;
    }
    return look(v, seq, stamp, ret);
}

int
ring_glance(const struct ring_view *v, uint64_t seq, struct ring_msg *ret)
{
    uint64_t stamp = atom_load_acquire(&ring_slot(v, seq)->stamp); /* acquire: COMMIT */

    return look(v, seq, stamp, ret);
}

int
ring_validate(const struct ring_view *v, const struct ring_msg *msg)
{
    uint64_t stamp = atom_load_after_reads(&ring_slot(v, msg->seq)->stamp);

    if (SHM_UNLIKELY(!ring_stamp_is_message(stamp, msg->seq)))
        return -ESTALE;
    if (msg->lane_pos != UINT64_MAX &&
        atom_load_relaxed(&ring_line(v, msg->publisher)->reclaimed) > msg->lane_pos)
        return -ESTALE;
    return 0;
}

int
ring_copy(const struct ring_view *v, const struct ring_msg *msg, void *to)
{
#if !defined(ATOM_TSAN)
    /* Large payloads at memcpy's speed: what a race may do to them ring_validate finds, as for one who reads in place. */
    if (msg->lane_pos != UINT64_MAX) {
        memcpy(to, msg->data, msg->len);
        return ring_validate(v, msg);
    }
#endif
    atom_copy_out(to, (const atom_u64 *)(const void *)msg->data, msg->len);
    return ring_validate(v, msg);
}

uint64_t
ring_oldest(const struct ring_view *v)
{
    uint64_t tail = atom_load_acquire(ring_tail(v)), depth = v->geo.depth; /* acquire: CLAIM */

    return tail > v->geo.origin + depth ? tail - depth : v->geo.origin;
}
