/* Publishing. The steps and their order are those of tests/model/claim.pml:
 *
 *   flow     room before the limit, and every slot to be claimed is final for one lap ago
 *   intent   {seq, n} in the own line                              release: INTENT
 *   claim    CAS tail: seq -> seq + n
 *   stamp    last slot to first: BUSY, fields, INNER ... COMMITTED  release: COMMIT
 *   clear    intent = 0                                            release: INTENT_CLEAR
 *
 * A death between claim and the last stamp leaves slots that nobody's living intent covers: the orphan rule
 * (ring_orphan.c) makes them ABORTED. The intent is never left standing by one who waits. */
#include "ring/ring_private.h"

#include <errno.h>

/* Cursors come and seek rarely; only one that means harm moves the epoch at every look. */
#define REFRESHES 16

uint64_t
ring_publisher_room(const struct ring_view *v)
{
    return v->geo.depth * 2;
}

/* What the next owner goes on from: both words read once. */
static bool
line_is_sound(uint64_t head, uint64_t reclaimed)
{
    return reclaimed <= head && head % 64 == 0 && head <= UINT64_MAX / 2;
}

bool
ring_line_check(const struct ring_view *v, uint32_t index)
{
    const struct ring_line *l = ring_line(v, index);

    return line_is_sound(atom_load_relaxed(&l->lane_head), atom_load_relaxed(&l->reclaimed));
}

int
ring_publisher_join(struct ring_publisher *p, const struct ring_view *v, uint16_t index,
                    struct ring_piece *pieces, bool fenced)
{
    uint64_t head, reclaimed, tail;

    if (index >= v->geo.max_publishers || !v->control)
        return -EINVAL;
    *p = (struct ring_publisher){.view = *v,
                                 .line = ring_line(v, index),
                                 .tail = ring_tail(v),
                                 .control = ring_control(v),
                                 .lane = ring_lane(v, index),
                                 .pieces = pieces,
                                 .pieces_mask = ring_publisher_room(v) - 1,
                                 .index = index,
                                 .fenced = fenced || v->geo.barrier == SHM_BARRIER_BOTH};
    head = atom_load_relaxed(&p->line->lane_head);
    reclaimed = atom_load_relaxed(&p->line->reclaimed);
    tail = atom_load_acquire(p->tail); /* acquire: CLAIM */
    if (!line_is_sound(head, reclaimed))
        return -EBADMSG;
    p->lane_head = head;
    p->lane_low = head;
    if (reclaimed < head) {
        /* What the former owner's messages use is one piece that ends with the order as it is now. */
        p->lane_low = shm_max(reclaimed, head - shm_min(head, v->geo.lane_size));
        p->pieces[0] = (struct ring_piece){.end = head, .seq = tail - 1};
        p->piece_next = 1;
    }
    p->shown = shm_min(atom_load_seq(&p->line->limit), tail + v->geo.depth); /* seq: ATTACH */
    p->published = atom_load_relaxed(&p->line->published);
    p->bytes = atom_load_relaxed(&p->line->bytes);
    ring__refresh(p);
    return 0;
}

void
ring__refresh(struct ring_publisher *p)
{
    for (int i = 0; i < REFRESHES; i++) {
        uint64_t epoch = atom_load_seq(&p->control->cursor_epoch); /* seq: ATTACH */
        uint64_t gate = ring_gate(&p->view, NULL), limit = gate + p->view.geo.depth;

        TESTPOINT("ring.gate");
        p->shown = shm_max(p->shown, limit);
        atom_store_seq(&p->line->limit, p->shown); /* seq: ATTACH */
        TESTPOINT("ring.limit");
        /* A cursor that came meanwhile either is in this scan or reads the limit just stored. */
        if (atom_load_seq(&p->control->cursor_epoch) == epoch) { /* seq: ATTACH */
            p->gate = gate;
            p->limit = limit;
            return;
        }
    }
    p->limit = 0;
}

/* 0: all n slots are free for the claim; -EAGAIN: somebody a lap ago has not finished; 1: one is taken already, so
 * `seq` is no longer the tail, or the ring contradicts itself. */
static int
slots_are_free(const struct ring_publisher *p, uint64_t seq, uint32_t n)
{
    uint64_t depth = p->view.geo.depth;

    for (uint32_t i = 0; i < n; i++) {
        uint64_t stamp =
            atom_load_acquire(&ring_slot(&p->view, seq + i)->stamp); /* acquire: COMMIT */
        int64_t diff = ring_stamp_diff(stamp, seq + i - depth);
        if (SHM_LIKELY(ring_diff_is_final(diff)))
            continue;
        return diff <= RING_BUSY ? -EAGAIN : 1;
    }
    return 0;
}

/* Whether a claim of n at seq would go past the limit. Signed, so that no tail is too large to be refused. */
static bool
is_past(const struct ring_publisher *p, uint64_t seq, uint32_t n)
{
    return (int64_t)(p->limit - seq) < (int64_t)n;
}

/* The cached limit is reached: 0 when there is more room by now, -EAGAIN, or -EBADMSG: the tail cannot be true. */
static int
look_for_room(struct ring_publisher *p, uint64_t seq, uint32_t n)
{
    ring__refresh(p);
    if (seq < p->view.geo.origin || seq >> 60) {
        p->limit = 0;
        return -EBADMSG;
    }
    return is_past(p, seq, n) ? -EAGAIN : 0;
}

/* What stands between the tail and a claim of n: 0, -EAGAIN, -EBADMSG. */
static int
flow(struct ring_publisher *p, uint64_t *ret_seq, uint32_t n)
{
    for (;;) {
        uint64_t seq = atom_load_acquire(p->tail); /* acquire: CLAIM */
        int r = SHM_UNLIKELY(is_past(p, seq, n)) ? look_for_room(p, seq, n) : 0;
        if (SHM_UNLIKELY(r))
            return r;
        r = slots_are_free(p, seq, n);
        if (SHM_UNLIKELY(r == 1)) {
            if (atom_load_acquire(p->tail) == seq) /* acquire: CLAIM */
                return -EBADMSG;
            continue;
        }
        *ret_seq = seq;
        return r;
    }
}

static int
claim(struct ring_publisher *p, uint32_t n, uint64_t time_ns, uint64_t *ret_seq)
{
    struct ring_line *line = p->line;

    for (;;) {
        uint64_t seq;
        int r = flow(p, &seq, n);
        if (r)
            return r;
        atom_store_relaxed(&line->intent_ns, time_ns);
        atom_store_release(&line->intent, ring_intent_pack(seq, n)); /* release: INTENT */
        TESTPOINT("ring.intent");
        *ret_seq = seq;
        if (SHM_LIKELY(atom_cas_acq_rel(p->tail, seq, seq + n))) /* release: CLAIM */
            break;
        atom_store_release(&line->intent, 0); /* release: INTENT_CLEAR */
        TESTPOINT("ring.withdrawn");
    }
    TESTPOINT("ring.claimed");
    return 0;
}

static void
stamp(struct ring_publisher *p, uint64_t seq, const struct ring_out *out, uint64_t time_ns,
      uint32_t state)
{
    struct ring_slot *s = ring_slot(&p->view, seq);

    /* After the claim: whoever sees it looks at the tail again (slots_are_free, overrun). */
    atom_store_before_writes(&s->stamp, ring_stamp(seq, RING_BUSY)); /* release: CLAIM */
    TESTPOINT("ring.busy");
    atom_store_relaxed(&s->time_ns, time_ns);
    atom_store_relaxed(&s->key, out->key);
    atom_store_relaxed(&s->meta, ring__meta(out->len, out->type, p->index));
    if (out->span)
        atom_store_relaxed(&s->payload[0], out->span->pos);
    else
        atom_copy_in(s->payload, out->data, out->len);
    if (SHM_UNLIKELY(p->fenced && state == RING_COMMITTED))
        atom_store_seq(&s->stamp, ring_stamp(seq, state)); /* release: COMMIT; seq: SLEEP */
    else
        atom_store_release(&s->stamp, ring_stamp(seq, state)); /* release: COMMIT */
    TESTPOINT("ring.stamped");
}

/* The lines of a slot that will be written soon; a payload inline has at most its first two worth asking for. */
static inline void
prefetch(const struct ring_view *v, uint64_t seq)
{
    const char *at = (const char *)ring_slot(v, seq);

    shm_prefetch_write(at);
    if (v->geo.slot_size > SHM_LINE)
        shm_prefetch_write(at + SHM_LINE);
}

/* Whether all n can be published at all, before anything is claimed. */
static bool
are_sound(const struct ring_publisher *p, const struct ring_out *out, uint32_t n)
{
    uint32_t inline_max = ring_inline_max(&p->view);

    if (SHM_UNLIKELY(!n || n > p->view.geo.depth / 2 || n > LIMIT_BATCH))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (SHM_UNLIKELY((out[i].len > inline_max) != (out[i].span != NULL)))
            return false;
    return true;
}

int
ring_publish(struct ring_publisher *p, const struct ring_out *out, uint32_t n, uint64_t time_ns,
             uint64_t *ret_first)
{
    uint64_t seq;
    int r;

    if (!are_sound(p, out, n))
        return -EINVAL;
    r = claim(p, n, time_ns, &seq);
    if (SHM_UNLIKELY(r))
        return r;
    for (uint32_t i = n; i-- > 0;) {
        if (out[i].span)
            p->pieces[out[i].span->piece & p->pieces_mask].seq = seq + i;
        p->bytes += out[i].len;
        stamp(p, seq + i, &out[i], time_ns, i ? RING_INNER : RING_COMMITTED);
    }
    atom_store_release(&p->line->intent, 0); /* release: INTENT_CLEAR */
    TESTPOINT("ring.cleared");
    p->published += n;
    atom_store_relaxed(&p->line->published, p->published);
    atom_store_relaxed(&p->line->bytes, p->bytes);
    for (uint32_t i = 0; i < n; i++)
        prefetch(&p->view, seq + n + RING_AHEAD + i);
    *ret_first = seq;
    return 0;
}

unsigned
ring_publish_due(struct ring_publisher *p, uint64_t last)
{
    struct ring_control *c = p->control;
    unsigned due = 0;
    uint64_t bell;

    /* Either the stamp was a seq_cst store, or whoever arms these words pays with a membarrier. */
    atom_compiler_barrier();
    if (SHM_UNLIKELY(shm_event_claim(&c->sleep)))
        due |= RING_DUE_WAKE;
    bell = atom_load_seq(&c->bell_seq); /* seq: BELL */
    if (SHM_UNLIKELY(last >= bell && bell != RING_BELL_OFF) &&
        atom_cas_seq(&c->bell_seq, bell, RING_BELL_OFF)) /* seq: BELL */
        due |= RING_DUE_BELL;
    if (due)
        TESTPOINT("ring.due");
    return due;
}

int
ring_publish_may(struct ring_publisher *p, uint32_t n, uint64_t lane)
{
    uint64_t seq;
    int r = flow(p, &seq, n);

    if (r)
        return r == -EAGAIN ? 0 : r;
    return !lane || ring__lane_fits(p, lane);
}
