#include "daemon/watch.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "daemon/process.h"
#include "daemon/reap.h"
#include "daemon/report.h"
#include "daemon/state.h"
#include "shm/name.h"
#include "shm/testpoint.h"

/* --- floors ----------------------------------------------------------------------------------- */

/* All below `acked` is done with, as far as it is on stable storage. */
static void
raise_floor(struct topic *t, const char *name, uint64_t acked)
{
    uint64_t durable, floor, now = 0;
    int r;

    durable = atom_load_acquire(&ring_daemon(&t->memory.view)->durable); /* acquire: DURABLE */
    floor = shm_min(acked, durable + 1);
    if (!store_floor_get(t->store, name, &now) && floor <= now)
        return;
    r = store_floor_set(t->store, name, floor);
    if (r)
        report_error("topic %s: the floor %" PRIu64 " of subscription %s cannot be saved: %s",
                     t->name, floor, name, report_error_text(r));
}

void
watch_save_floor(struct topic *t, uint32_t cursor)
{
    const struct topic_seat *seat = &t->cursors[cursor];

    if (!seat->name || !t->store || t->standing != TOPIC_SERVING)
        return;
    raise_floor(t, seat->name,
                atom_load_acquire(&ring_cursor(&t->memory.view, cursor)->acked)); /* acquire: ACK */
}

bool
watch_name_of(const struct topic *t, uint32_t cursor, char ret[LIMIT_SUB_NAME + 1])
{
    memcpy(ret, ring_cursor(&t->memory.view, cursor)->name, LIMIT_SUB_NAME);
    ret[LIMIT_SUB_NAME] = '\0';
    return t->store && ret[0] && !shm_sub_name_check(ret);
}

void
watch_inherit_floor(struct topic *t, uint32_t cursor)
{
    const struct ring_cursor *line = ring_cursor(&t->memory.view, cursor);
    uint64_t acked = atom_load_acquire(&line->acked); /* acquire: ACK */
    char name[LIMIT_SUB_NAME + 1];

    if (acked && watch_name_of(t, cursor, name))
        raise_floor(t, name, acked);
}

bool
watch_is_owed(const struct topic *t, uint32_t cursor)
{
    char name[LIMIT_SUB_NAME + 1];
    uint64_t floor;

    return watch_name_of(t, cursor, name) && !store_floor_get(t->store, name, &floor) &&
           store_floor_saved(t->store, name) < floor;
}

void
watch_saved(struct topic *t)
{
    for (uint32_t i = 0; i < t->memory.view.geo.max_cursors; i++)
        if (t->cursors[i].name)
            atom_store_relaxed(&ring_cursor(&t->memory.view, i)->saved,
                               store_floor_saved(t->store, t->cursors[i].name));
}

/* Whether a named cursor has acknowledged more than is known. What waits for the disk is news too: nobody rings when it becomes
 * durable. */
static bool
has_news(const struct topic *t)
{
    const struct ring_view *v = &t->memory.view;
    uint64_t tail = atom_load_acquire(ring_tail(v)); /* acquire: CLAIM */

    for (uint32_t i = 0; i < v->geo.max_cursors; i++) {
        uint64_t acked, now = 0;
        if (!t->cursors[i].name)
            continue;
        acked = atom_load_acquire(&ring_cursor(v, i)->acked); /* acquire: ACK */
        if (!store_floor_get(t->store, t->cursors[i].name, &now) && shm_min(acked, tail) > now)
            return true;
    }
    return false;
}

/* From here on the first subscriber whose floor moves rings; what moved before that is found by the look after the
 * barrier. */
static void
arm_acks(struct topic *t)
{
    struct ring_control *c = ring_control(&t->memory.view);

    atom_store_seq(&c->ack_bell, 1); /* seq: BELL */
    TESTPOINT("watch.ack_armed");
    if (shm_event_barrier((enum shm_barrier)t->memory.view.geo.barrier) || has_news(t))
        loop_set_by(t->bus->loop, &t->acks, loop_now(t->bus->loop) + WATCH_ACKS_NS);
}

static void
save_floors(struct topic *t)
{
    for (uint32_t i = 0; i < t->memory.view.geo.max_cursors; i++)
        watch_save_floor(t, i);
}

static void
on_acks(struct loop_timer *timer)
{
    struct topic *t = timer->user;

    save_floors(t);
    arm_acks(t);
}

/* A rung bell is armed again after a pause, so that floors cost at most one write in that time. */
static void
look_at_acks(struct topic *t)
{
    struct ring_control *c = ring_control(&t->memory.view);

    if (!t->store || loop_is_set(&t->acks) || atom_load_seq(&c->ack_bell)) /* seq: BELL */
        return;
    save_floors(t);
    loop_set(t->bus->loop, &t->acks, loop_now(t->bus->loop) + WATCH_ACKS_NS);
}

/* --- laggards --------------------------------------------------------------------------------- */

static bool
somebody_waits(const struct ring_view *v)
{
    for (uint32_t i = 0; i < v->geo.max_publishers; i++)
        if (atom_load_relaxed(&ring_line(v, i)->blocked_ns))
            return true;
    return false;
}

static void
evict(struct topic *t, uint32_t i)
{
    const struct topic_seat *seat = &t->cursors[i];
    struct ring_view *v = &t->memory.view;

    report_warning("topic %s: subscriber %u (pid %u) held publishers back at %" PRIu64
                   " for more than lag = %" PRIu64 " ms, and was evicted",
                   t->name, i, seat->process ? seat->process->pid : 0, t->gate_pos,
                   v->geo.lag_ns / 1000000);
    ring_cursor_evict(v, i);
    TESTPOINT("watch.evicted");
    state_bump(v);
}

/* Whether there is something for a cursor at its place. One that has had all there is waits itself: for a publisher that was
 * stopped in its claim, or while it was said to wait. */
static bool
is_behind(const struct ring_view *v, uint64_t pos)
{
    struct ring_msg m;

    return ring_peek(v, pos, &m) != RING_NONE;
}

/* A cursor that gates and was never handed out is forged: every subscriber can write the state words. Nothing is said, because
 * it can do so as often as it likes. */
static void
look_for_forgery(struct topic *t)
{
    struct ring_view *v = &t->memory.view;
    uint32_t who;

    if (t->store || v->geo.when_full != RING_BLOCK)
        return;
    (void)ring_gate(v, &who);
    if (who == UINT32_MAX || t->cursors[who].process)
        return;
    ring_cursor_free(v, who);
    state_bump(v);
}

/* The clock runs while a publisher waits and what holds it does not pass the highest place it was seen at, by the daemon's own
 * clock: going back and forth is no progress, and neither is handing the place on to another cursor. */
static void
look_at_lag(struct topic *t)
{
    const struct ring_view *v = &t->memory.view;
    uint64_t now = loop_now(t->bus->loop), pos;
    uint32_t who;

    if (!v->geo.lag_ns || v->geo.when_full != RING_BLOCK || t->store)
        return;
    pos = ring_gate(v, &who);
    if (who == UINT32_MAX || t->cursors[who].kind != RING_KIND_GATING || !somebody_waits(v) ||
        !is_behind(v, pos)) {
        t->gate_since_ns = 0;
        loop_cancel(t->bus->loop, &t->lag);
        return;
    }
    if (!t->gate_since_ns || pos > t->gate_pos) {
        t->gate_since_ns = now;
        t->gate_pos = pos;
    } else if (now - t->gate_since_ns >= v->geo.lag_ns) {
        evict(t, who);
        t->gate_since_ns = 0;
        return;
    }
    loop_set(t->bus->loop, &t->lag, t->gate_since_ns + v->geo.lag_ns);
}

static void
on_lag(struct loop_timer *timer)
{
    look_at_lag(timer->user);
}

/* --- damage ----------------------------------------------------------------------------------- */

/* The tail is never beyond the limit that some publisher was promised. The tail is read first: limits only rise
 * above what was claimed under them. */
static bool
tail_is_possible(const struct ring_view *v)
{
    uint64_t tail = atom_load_acquire(ring_tail(v)); /* acquire: CLAIM */

    if (tail < v->geo.origin || tail >> 60)
        return false;
    for (uint32_t i = 0; i < v->geo.max_publishers; i++)
        if (tail <= atom_load_seq(&ring_line(v, i)->limit)) /* seq: ATTACH */
            return true;
    return false;
}

static bool
is_sound(struct topic *t)
{
    bool possible = tail_is_possible(&t->memory.view);

    if (memory_is_hit(&t->memory))
        topic_quarantine(t, MEMORY_TRUNCATED);
    else if (!possible)
        topic_quarantine(t, "its tail is beyond what any publisher was promised");
    return t->standing == TOPIC_SERVING;
}

void
watch_door(struct topic *t)
{
    const char *what = t->mapped && t->standing == TOPIC_SERVING ? memory_check(&t->memory) : NULL;

    if (what)
        topic_quarantine(t, "%s", what);
}

/* --- the task --------------------------------------------------------------------------------- */

static void
look(struct loop_task *task)
{
    struct topic *t = task->user;

    if (t->mapped && t->standing == TOPIC_SERVING && is_sound(t)) {
        if (t->store)
            store_look(t->store);
        look_at_acks(t);
        look_for_forgery(t);
        look_at_lag(t);
        return;
    }
    t->store = store_close(t->store);
    loop_cancel(t->bus->loop, &t->acks);
    loop_cancel(t->bus->loop, &t->lag);
    loop_cancel(t->bus->loop, &t->settle);
}

static void
on_settle(struct loop_timer *timer)
{
    reap_settle(timer->user);
}

void
watch_init(struct topic *t)
{
    t->look = (struct loop_task){.run = look, .user = t};
    t->acks = (struct loop_timer){.fire = on_acks, .user = t};
    t->lag = (struct loop_timer){.fire = on_lag, .user = t};
    t->settle = (struct loop_timer){.fire = on_settle, .user = t};
}

void
watch_begin(struct topic *t)
{
    if (t->store) {
        /* A former daemon may have died after it had saved a floor and before it said so. */
        watch_saved(t);
        arm_acks(t);
    }
    watch_ask(t);
}

void
watch_ask(struct topic *t)
{
    loop_defer(t->bus->loop, &t->look);
}

void
watch_end(struct topic *t)
{
    loop_undefer(t->bus->loop, &t->look);
    loop_cancel(t->bus->loop, &t->acks);
    loop_cancel(t->bus->loop, &t->lag);
    loop_cancel(t->bus->loop, &t->settle);
}
