/* Subscribing. A message that stands ready in the ring costs: one load for fork, one compare
 * (plain_until, which stands for everything that would need thought), the ring's receive, and for a
 * gating cursor one load of its own state. The reader's position is private; what stands in shared
 * memory is only told to others. */
#include "client/client.h"

#include <stdlib.h>
#include <string.h>

#include "shm/name.h"
#include "shm/testpoint.h"

#define IN_RING 1 /* token[1] of a message that stands in shared memory; else it is its block */
#define TURNS 64  /* between ring and log in one call */
#define POST_NS 1000000 /* waiting publishers are woken for a few slots once in so long */

/* --- telling others --------------------------------------------------------------------------- */

/* Wakes publishers that wait for space: not for every few slots, because a wake-up costs more than
 * a message. */
static void
wake_publishers(struct leat_sub *s, bool now)
{
    struct ring_control *c = ring_control(&s->map.view);

    if (!now && s->posted - s->woke < s->map.view.geo.depth / 8)
        return;
    if (SHM_LIKELY(!shm_event_claim(&c->space)))
        return;
    TESTPOINT("sub.space_claimed");
    s->woke = s->posted;
    shm_event_wake(&c->space);
}

static void
post(struct leat_sub *s, bool now)
{
    struct ring_cursor *line = s->ring.line;
    uint64_t pos = s->gating && s->held ? s->floor : s->ring.next;

    if (!s->attached)
        return;
    s->owed = 0;
    atom_store_relaxed(&line->received, s->received);
    atom_store_relaxed(&line->lost, s->lost);
    atom_store_relaxed(&line->stale, s->stale);
    atom_store_relaxed(&line->waits, s->waits);
    /* Another subscriber can write there: what it moved is put right, or publishers would be held for ever by one who has
     * read everything. */
    if (pos != s->posted || atom_load_relaxed(&line->pos) != pos) {
        s->posted = pos;
        leat__store_look(s->fenced, &line->pos, pos);
        TESTPOINT("sub.posted");
    }
    if (s->gating)
        wake_publishers(s, now);
}

void
leat__sub_post(struct leat_sub *s)
{
    post(s, true);
}

/* After a release. A publisher that waits finds the place at once, however few slots it is about: this
 * may be the last call for long, and who stands still is evicted. Being woken, which is dear, it can
 * have once in POST_NS; it looks by itself, too. */
static inline void
owe(struct leat_sub *s)
{
    if (SHM_UNLIKELY(++s->owed >= s->owed_most)) {
        post(s, false);
    } else if (s->gating &&
               SHM_UNLIKELY(atom_load_relaxed(&ring_control(&s->map.view)->space) & 1u)) {
        int64_t now = leat__now();
        bool wake = now - s->posted_ns >= POST_NS;
        if (wake)
            s->posted_ns = now;
        post(s, wake);
    }
}

/* --- verdicts --------------------------------------------------------------------------------- */

static inline bool
is_evicted(const struct leat_sub *s)
{
    return SHM_UNLIKELY(atom_load_relaxed(s->word_at) != atom_load_relaxed(&s->word));
}

static int
evicted(struct leat_sub *s)
{
    s->plain_until = 0;
    return leat__fail(s->bus, -ESTALE,
                      "the gating subscriber of topic '%s' was evicted at %llu: it held publishers "
                      "back for longer "
                      "than lag_ns %llu; leat_sub_seek goes on",
                      s->map.name, (unsigned long long)s->ring.next,
                      (unsigned long long)s->map.view.geo.lag_ns);
}

static int
too_many(struct leat_sub *s)
{
    return leat__fail(
        s->bus, -ENOBUFS,
        "topic '%s': %llu messages are held; none may be %llu (its depth) behind the next",
        s->map.name, (unsigned long long)s->held, (unsigned long long)s->map.view.geo.depth);
}

int
leat__sub_may(struct leat_sub *s)
{
    if (is_evicted(s))
        return evicted(s);
    return s->held >= s->map.view.geo.depth ? too_many(s) : 0;
}

/* Neither the ring nor the log has anything. Tells others how far this reader is, and looks whether
 * the topic goes on: 0, LEAT__AGAIN, or an error. One that was evicted is told so also when nothing
 * comes. */
static int
nothing(struct leat_sub *s)
{
    uint64_t next = s->ring.next;
    int r;

    if (is_evicted(s))
        return evicted(s);
    post(s, true);
    r = leat__topic_state(s->bus, &s->map);
    if (!r)
        return s->fd ? leat__fd_arm(s) : 0;
    /* One more may have come just before the topic was removed. */
    return r == -EIDRM && leat__ring_ready(&s->map.view, &next, s->durable_only) ? LEAT__AGAIN : r;
}

/* --- giving messages out ---------------------------------------------------------------------- */

static inline void
deliver(struct leat_sub *s, const struct ring_msg *m, struct leat_msg *ret)
{
    bool again = m->seq < s->again_until;

    if (s->gating) {
        if (!s->held)
            s->floor = m->seq;
        s->counts[m->seq & s->map.view.mask]++;
    }
    s->held++;
    s->received += !again;
    ret->data = m->data;
    ret->len = m->len;
    ret->seq = m->seq;
    ret->key = m->key;
    ret->time_ns = m->time_ns;
    ret->first = 0;
    ret->lost = 0;
    ret->type = m->type;
    ret->publisher = m->publisher;
    ret->attempts = 1u + again;
    ret->token[0] = m->lane_pos;
    ret->token[1] = IN_RING;
}

/* How much of the gap has never been told: one that went back has counted what it meets a second time. */
static uint64_t
news_of_gap(const struct leat_sub *s)
{
    return s->gap_lost -
           shm_min(s->gap_lost, s->again_until - shm_min(s->gap_first, s->again_until));
}

static int
give_gap(struct leat_sub *s, struct leat_msg *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->first = s->gap_first;
    ret->lost = s->gap_lost;
    s->lost += news_of_gap(s);
    s->gap_lost = 0;
    return LEAT_GAP;
}

/* --- ring or log ------------------------------------------------------------------------------ */

/* With a retention that is smaller than the ring, the log begins behind the ring's oldest messages. */
static bool
is_in_log(const struct leat_sub *s)
{
    uint64_t first = atom_load_relaxed(&ring_daemon(&s->map.view)->log_first);

    return s->ring.next >= shm_max(first, s->log_from);
}

bool
leat__should_leave_ring(const struct leat_sub *s)
{
    uint64_t depth = s->map.view.geo.depth, oldest = ring_oldest(&s->map.view);
    bool full = oldest > s->map.view.geo.origin;

    /* What is not durable yet stands in the ring alone, and cannot be overwritten there. */
    return !s->log_gone && s->ring.next < oldest + (full && is_in_log(s) ? depth / 4 : 0) &&
           s->ring.next <=
               atom_load_acquire(&ring_daemon(&s->map.view)->durable); /* acquire: DURABLE */
}

bool
leat__should_take_ring(const struct leat_sub *s)
{
    uint64_t depth = s->map.view.geo.depth, oldest = ring_oldest(&s->map.view);
    bool full = oldest > s->map.view.geo.origin;

    return s->ring.next >= s->log_until &&
           s->ring.next >= oldest + (full && is_in_log(s) ? depth / 2 : 0);
}

void
leat__enter_ring(struct leat_sub *s)
{
    leat__replay_stop(s);
    ring_reader_set(&s->ring, s->ring.next);
    s->from_log = false;
    s->plain_until = 0;
}

/* How far messages may be taken from the ring without further thought; false: not even one. */
static bool
allow(struct leat_sub *s)
{
    uint64_t next = s->ring.next, depth = s->map.view.geo.depth, until, durable;

    until = next + (depth - s->held);
    if (s->gating && s->held)
        until = shm_min(until, s->floor + depth);
    if (s->durable)
        until = shm_min(until, next + depth / 8);
    if (s->durable_only) {
        durable = atom_load_acquire(&ring_daemon(&s->map.view)->durable); /* acquire: DURABLE */
        until = shm_min(until, durable + 1);
    }
    s->plain_until = until;
    return until > next;
}

/* The slots behind a gap have mostly been overtaken too, by one message each: it is told as one. */
static void
widen_gap(struct leat_sub *s)
{
    struct ring_msg m;

    for (uint64_t steps = 0; steps < s->map.view.geo.depth; steps++) {
        if (ring_glance(&s->map.view, s->ring.next, &m) != RING_GAP)
            return;
        if (ring_receive(&s->ring, &m) != RING_GAP || m.first != s->gap_first + s->gap_lost) {
            /* An aborted place, or it has changed: whatever stands there is looked at again. */
            s->ring.next = shm_min(s->ring.next, s->gap_first + s->gap_lost);
            return;
        }
        s->gap_lost += m.lost;
    }
}

/* What the ring said other than "a message, and it is yours". */
static int
judge(struct leat_sub *s, int verdict, const struct ring_msg *m)
{
    if (verdict == RING_NONE)
        return nothing(s);
    if (verdict < 0)
        return leat__fail(s->bus, verdict, "topic '%s': its ring contradicts itself at %llu",
                          s->map.name, (unsigned long long)s->ring.next);
    s->plain_until = 0;
    if (verdict == RING_MESSAGE) {
        s->ring.next = m->seq;
        return LEAT__AGAIN;
    }
    if (is_evicted(s) || (s->durable && !s->log_gone)) {
        s->ring.next = m->first;
        s->from_log = s->durable;
        /* Lanes that are small for their ring lose payloads before the ring loses its slots: half of what is
         * left is read from the log before the ring is tried again. */
        s->log_until =
            m->first + m->lost +
            (atom_load_acquire(ring_tail(&s->map.view)) - m->first) / 2; /* acquire: CLAIM */
        return LEAT__AGAIN;
    }
    s->gap_first = m->first;
    s->gap_lost = m->lost;
    widen_gap(s);
    return LEAT__AGAIN;
}

static int
from_ring(struct leat_sub *s, struct leat_msg *ret)
{
    uint64_t next = s->ring.next;
    struct ring_msg m;
    int r;

    if (s->durable && leat__should_leave_ring(s)) {
        s->from_log = true;
        return LEAT__AGAIN;
    }
    if (!allow(s))
        return s->gating && leat__ring_ready(&s->map.view, &next, false) ? too_many(s) : nothing(s);
    r = ring_receive(&s->ring, &m);
    if (r != RING_MESSAGE || m.seq >= s->plain_until)
        return judge(s, r, &m);
    deliver(s, &m, ret);
    return 1;
}

static int
from_log(struct leat_sub *s, struct leat_msg *ret)
{
    int r = leat__replay_take(s, ret);

    if (r == LEAT__TAKE_RING) {
        leat__enter_ring(s);
        return LEAT__AGAIN;
    }
    return r ? r : nothing(s);
}

/* Receives for one for whom the ring's next message is not simply the next. */
static int __attribute__((noinline)) receive_thinking(struct leat_sub *s, struct leat_msg *ret)
{
    for (int turn = 0; turn < TURNS; turn++) {
        int r;
        if (s->gap_lost)
            return give_gap(s, ret);
        r = leat__sub_may(s);
        if (r)
            return r;
        r = s->from_log ? from_log(s, ret) : from_ring(s, ret);
        if (r != LEAT__AGAIN)
            return r;
    }
    if (s->fd)
        leat__fd_poke(s);
    return 0;
}

static inline int
receive(struct leat_sub *s, struct leat_msg *ret)
{
    struct ring_msg m;
    int r;

    if (SHM_UNLIKELY(s->ring.next >= s->plain_until))
        return receive_thinking(s, ret);
    r = ring_receive(&s->ring, &m);
    if (SHM_LIKELY(r == RING_MESSAGE && m.seq < s->plain_until && !is_evicted(s))) {
        deliver(s, &m, ret);
        return 1;
    }
    r = judge(s, r, &m);
    return SHM_LIKELY(r != LEAT__AGAIN) ? r : receive_thinking(s, ret);
}

int
leat_sub_receive(leat_sub *sub, struct leat_msg *ret)
{
    if (SHM_UNLIKELY(!sub || !ret))
        return -EINVAL;
    if (SHM_UNLIKELY(!leat__alive(sub->life)))
        return -ECHILD;
    return receive(sub, ret);
}

int
leat_sub_receive_many(leat_sub *sub, struct leat_msg *ret, unsigned n)
{
    unsigned got = 0;
    int r = 1;

    if (SHM_UNLIKELY(!sub || !ret || !n || n > INT32_MAX))
        return -EINVAL;
    if (SHM_UNLIKELY(!leat__alive(sub->life)))
        return -ECHILD;
    for (; got < n; got++) {
        r = receive(sub, &ret[got]);
        if (r != 1)
            break;
    }
    if (r == LEAT_GAP && got) {
        /* A gap comes alone: it is the next call's. */
        sub->gap_first = ret[got].first;
        sub->gap_lost = ret[got].lost;
        sub->lost -= news_of_gap(sub);
        sub->plain_until = 0;
    } else if (r == LEAT_GAP) {
        ret[0].type = LEAT_GAP;
        return 1;
    }
    return got ? (int)got : r;
}

/* --- release ---------------------------------------------------------------------------------- */

/* The floor goes up to the first that is held. If none is in a whole lap none is at all, and a hostile ring can have led the reader
 * further ahead than could be counted. */
static void
let_go(struct leat_sub *s, uint64_t seq)
{
    uint64_t mask = s->map.view.mask, lap = s->floor + mask;

    s->counts[seq & mask]--;
    while (s->floor < s->ring.next && !s->counts[s->floor & mask])
        s->floor = s->floor < lap ? s->floor + 1 : s->ring.next;
}

/* What was read was not the message. A durable reader goes back to it, unless it was moved since, others have lost it. A gap that was to be told lies behind
 * the message: what is gone is found once more from there on. */
static int __attribute__((noinline)) stale(struct leat_sub *s, uint64_t seq)
{
    uint64_t next = leat__sub_next(s);

    s->stale++;
    if (!s->durable || seq < s->since) {
        s->lost++;
        s->received--;
    } else if (seq < next) {
        s->high = shm_max(s->high, next);
        s->again_until = shm_max(s->again_until, next);
        s->ring.next = seq;
        s->gap_lost = 0;
        s->plain_until = 0;
        s->from_log = true;
        leat__replay_stop(s);
        if (s->fd)
            leat__fd_poke(s);
    }
    return leat__fail(s->bus, -ESTALE,
                      "message %llu of topic '%s' was overwritten while it was held (depth %llu)",
                      (unsigned long long)seq, s->map.name,
                      (unsigned long long)s->map.view.geo.depth);
}

static inline int
release_ring(struct leat_sub *s, struct leat_msg *msg)
{
    struct ring_msg m = {.seq = msg->seq, .lane_pos = msg->token[0], .publisher = msg->publisher};
    int r;

    if (SHM_UNLIKELY(!s->held || (s->gating && !s->counts[m.seq & s->map.view.mask])))
        return -EINVAL;
    r = ring_validate(&s->map.view, &m);
    TESTPOINT("sub.validated");
    msg->token[1] = 0;
    s->held--;
    if (s->gating)
        let_go(s, m.seq);
    if (SHM_UNLIKELY(r))
        r = stale(s, m.seq);
    owe(s);
    return r;
}

int
leat_sub_release(leat_sub *sub, struct leat_msg *msg)
{
    if (SHM_UNLIKELY(!sub || !msg))
        return -EINVAL;
    if (SHM_UNLIKELY(!leat__alive(sub->life)))
        return -ECHILD;
    if (SHM_LIKELY(msg->token[1] == IN_RING))
        return release_ring(sub, msg);
    if (!msg->token[1] || !sub->held)
        return leat__fail(sub->bus, -EINVAL, "the message is not held: a gap, or released before");
    leat__block_put((struct leat__block *)(uintptr_t)msg->token[1]);
    msg->token[1] = 0;
    sub->held--;
    owe(sub);
    return 0;
}

/* --- acknowledge ------------------------------------------------------------------------------ */

int
leat_sub_ack(leat_sub *sub, uint64_t seq)
{
    struct ring_control *c;

    if (!sub)
        return -EINVAL;
    if (!leat__alive(sub->life))
        return -ECHILD;
    if (!sub->named)
        return leat__fail(sub->bus, -EINVAL,
                          "the subscription of topic '%s' has no name: nothing is kept of it",
                          sub->map.name);
    if (!seq || seq >= shm_max(sub->high, leat__sub_next(sub)))
        return leat__fail(sub->bus, -EINVAL, "message %llu of topic '%s' has not been received yet",
                          (unsigned long long)seq, sub->map.name);
    if (seq < sub->acked)
        return 0;
    sub->acked = seq + 1;
    leat__store_look(sub->fenced, &sub->ring.line->acked, sub->acked);
    TESTPOINT("sub.acked");
    c = ring_control(&sub->map.view);
    if (atom_load_seq(&c->ack_bell) == 1 && atom_cas32_seq(&c->ack_bell, 1, 0)) { /* seq: BELL */
        TESTPOINT("sub.ack_bell");
        (void)leat__ring(sub->bus, sub->map.topic_id);
    }
    return 0;
}

int
leat_sub_stat(leat_sub *sub, struct leat_sub_stat *ret)
{
    uint64_t tail, durable, next;

    if (!sub || !ret)
        return -EINVAL;
    if (!leat__alive(sub->life))
        return -ECHILD;
    tail = atom_load_acquire(ring_tail(&sub->map.view));                /* acquire: CLAIM */
    durable = atom_load_acquire(&ring_daemon(&sub->map.view)->durable); /* acquire: DURABLE */
    next = leat__sub_next(sub);
    *ret = (struct leat_sub_stat){
        .received = sub->received,
        .lost = sub->lost,
        .stale = sub->stale,
        .waits = sub->waits,
        .next = next,
        .acked = sub->acked,
        .lag = tail > next ? tail - next : 0,
        .from_log = sub->from_log,
        .held = (uint32_t)sub->held,
    };
    if (sub->map.view.geo.durability == RING_DISK && tail > durable + 1)
        ret->durable_lag = tail - 1 - durable;
    return 0;
}
