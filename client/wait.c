/* Waiting for a message: polling first, because a sleep and a wake-up cost tens of microseconds,
 * then sleeping on the topic's word. */
#include "client/client.h"

#include "shm/testpoint.h"

#define SPIN_NS 30000ll /* of polling before a sleep */
#define BARE_POLLS                                                                                 \
    512u /* without a pause between them: what answers at once answers within these */
#define CLOCK_EVERY 64u    /* polls between two looks at the clock */
#define AWAY_NS 1000ll     /* how long a reader looks away from a writer that streams */
#define PATIENCE_FIRST 16u /* waits of one message each before it is tried */
#define PATIENCE_MOST 4096u
#define STALLED_NS 20000000ll /* a sleep while the log cannot be asked for */
#define NO_BARRIER_NS 1000000ll

/* --- looking ---------------------------------------------------------------------------------- */

bool
leat__ring_ready(const struct ring_view *v, uint64_t *next, bool durable_only)
{
    struct ring_msg m;

    for (uint64_t steps = 0; steps <= v->geo.depth; steps++) {
        uint64_t stamp = atom_load_acquire(&ring_slot(v, *next)->stamp); /* acquire: COMMIT */
        int64_t diff = ring_stamp_diff(stamp, *next);
        if (durable_only &&
            *next > atom_load_acquire(&ring_daemon(v)->durable)) /* acquire: DURABLE */
            return false;
        if (diff == RING_INNER)
            return ring_peek(v, *next, &m) != RING_NONE; /* is its batch in? */
        if (diff != RING_ABORTED)
            return diff > RING_BUSY || (diff == RING_EMPTY && *next < v->geo.origin);
        *next += 1;
    }
    return false;
}

int
leat__sub_ready(struct leat_sub *s)
{
    int r;

    if (s->gap_lost)
        return 1;
    r = leat__sub_may(s);
    if (r)
        return r;
    while (s->from_log) {
        r = leat__replay_ready(s);
        if (r != LEAT__TAKE_RING)
            return r == LEAT__AGAIN ? 1 : r;
        leat__enter_ring(s);
    }
    return leat__ring_ready(&s->map.view, &s->ring.next, s->durable_only);
}

/* --- polling ---------------------------------------------------------------------------------- */

/* Whether the n-th message from here stands in the ring already. */
static bool
is_ahead(const struct leat_sub *s, uint64_t n)
{
    uint64_t seq = s->ring.next + n;

    return ring_stamp_is_message(atom_load_acquire(&ring_slot(&s->map.view, seq)->stamp),
                                 seq); /* acquire: COMMIT */
}

/* A reader on the writer's heels takes the very line that is being written, and both crawl. When
 * messages stream in it is faster to look away for a microsecond and find a batch; when they come
 * one by one, as in a dialogue, to look at once. Which of the two it is shows in what is there
 * after having looked away; that is tried rarely, and more rarely each time it did not pay. */
static void
look_away(struct leat_sub *s)
{
    int64_t until;

    if (!s->patience)
        s->patience = PATIENCE_FIRST;
    if (!s->streams) {
        s->hot = s->received - s->seen <= 2 ? s->hot + 1 : 0;
        if (s->hot < s->patience)
            return;
        s->hot = 0;
    }
    until = leat__now() + AWAY_NS;
    do
        for (int i = 0; i < 8; i++)
            shm_pause();
    while (leat__now() < until);
    s->streams = is_ahead(s, 3);
    if (s->streams)
        s->patience = PATIENCE_FIRST;
    else if (s->patience < PATIENCE_MOST)
        s->patience *= 2;
}

/* Polls until something is there (1), the deadline (0), or an error. */
static int
poll_until(struct leat_sub *s, int64_t deadline)
{
    for (uint32_t polls = 1;; polls++) {
        int r = leat__sub_ready(s);
        if (r)
            return r;
        if (polls > BARE_POLLS)
            shm_pause();
        if (polls % CLOCK_EVERY)
            continue;
        if (leat__left(deadline, 1) <= 0)
            return 0;
        r = leat__topic_state(s->bus, &s->map);
        if (r)
            return r;
    }
}

/* --- sleeping --------------------------------------------------------------------------------- */

static int64_t
least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* One bounded sleep: 1 when something came before it, 0, or an error. */
static int
sleep_once(struct leat_sub *s, int64_t left)
{
    struct ring_control *c = ring_control(&s->map.view);
    atom_u32 *word = s->durable_only ? &c->durable_wait : &c->sleep;
    uint32_t v = shm_event_arm(word);
    int r;

    TESTPOINT("sub.armed");
    if (shm_event_barrier((enum shm_barrier)s->map.view.geo.barrier))
        left = least(left, NO_BARRIER_NS);
    r = leat__sub_ready(s);
    if (!r)
        r = leat__topic_state(s->bus, &s->map);
    if (r)
        return r;
    if (s->durable_only)
        (void)leat__ring(s->bus, s->map.topic_id);
    if (s->from_log)
        left = least(left, STALLED_NS);
    leat__sub_post(s);
    s->waits++;
    (void)shm_event_wait(word, v, left);
    TESTPOINT("sub.awake");
    return 0;
}

static int
sleep_until(struct leat_sub *s, int64_t deadline)
{
    for (;;) {
        int64_t left = leat__left(deadline, LIMIT_SLEEP_NS);
        int r = leat__sub_ready(s);
        if (r || left <= 0)
            return r;
        r = sleep_once(s, left);
        if (r)
            return r;
    }
}

/* After the topic's end the last message may still be there. */
static int
concluded(struct leat_sub *s, int r)
{
    if (r != -EIDRM)
        return r;
    return leat__sub_ready(s) == 1 ? 1 : r;
}

int
leat_sub_wait(leat_sub *sub, int64_t timeout_ns)
{
    int64_t deadline, spin;
    int r;

    if (!sub)
        return -EINVAL;
    if (!leat__alive(sub->life))
        return -ECHILD;
    if (sub->wait != LEAT_WAIT_SLEEP && timeout_ns)
        look_away(sub);
    sub->seen = sub->received;
    r = leat__sub_ready(sub);
    if (r)
        return r;
    leat__sub_post(sub);
    if (!timeout_ns)
        return concluded(sub, leat__topic_state(sub->bus, &sub->map));
    deadline = leat__deadline(timeout_ns);
    if (sub->wait == LEAT_WAIT_SPIN)
        return concluded(sub, poll_until(sub, deadline));
    if (sub->wait == LEAT_WAIT_ADAPTIVE && !sub->bus->alone) {
        spin = leat__deadline(SPIN_NS);
        r = poll_until(sub, spin < deadline ? spin : deadline);
        if (r)
            return concluded(sub, r);
    }
    return concluded(sub, sleep_until(sub, deadline));
}
