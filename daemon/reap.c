#include "daemon/reap.h"

#include <inttypes.h>
#include <stdlib.h>

#include "daemon/process.h"
#include "daemon/report.h"
#include "daemon/state.h"
#include "daemon/watch.h"
#include "shm/testpoint.h"

/* While a publisher that lives is at work on an old slot, the pass is made again after this long, and after twice as long each
 * time: the claim takes nanoseconds, unless its owner was stopped, and then it may take hours. */
#define SETTLE_WAIT_NS 1000000ull
#define SETTLE_WAIT_MAX_NS 1000000000ull

static void
free_the_dead(struct topic *t)
{
    for (uint32_t i = 0; i < t->memory.view.geo.max_publishers; i++) {
        struct topic_seat *seat = &t->publishers[i];
        if (!seat->dying)
            continue;
        ring_entry_free(&t->memory.view, i);
        seat->dying = false;
        TESTPOINT("reap.entry_free");
    }
}

void
reap_settle(struct topic *t)
{
    struct ring_view *v = &t->memory.view;
    uint64_t aborted = 0;
    int r;

    if (t->standing != TOPIC_SERVING)
        return;
    r = ring_settle(v, t->scratch, &aborted);
    if (memory_is_hit(&t->memory)) {
        watch_ask(t);
        return;
    }
    if (r < 0) {
        topic_quarantine(t, "its tail or a slot is out of range after a death");
        return;
    }
    if (aborted) {
        TESTPOINT("reap.aborted");
        report_note("topic %s: %" PRIu64 " messages of dead publishers never came to be", t->name,
                    aborted);
    }
    if (r) {
        t->settle_wait_ns =
            shm_min(shm_max(t->settle_wait_ns * 2, SETTLE_WAIT_NS), SETTLE_WAIT_MAX_NS);
        loop_set(t->bus->loop, &t->settle, loop_now(t->bus->loop) + t->settle_wait_ns);
    } else {
        t->settle_wait_ns = 0;
        loop_cancel(t->bus->loop, &t->settle);
        free_the_dead(t);
    }
    state_bump(v);
    watch_ask(t);
}

void
reap_publisher(struct topic *t, uint32_t i)
{
    struct topic_seat *seat = &t->publishers[i];

    seat->process = process_drop(seat->process);
    seat->dying = true;
    ring_entry_kill(&t->memory.view, i);
    TESTPOINT("reap.entry_dead");
}

void
reap_cursor(struct topic *t, uint32_t i)
{
    struct topic_seat *seat = &t->cursors[i];

    if (seat->name)
        watch_save_floor(t, i);
    ring_cursor_free(&t->memory.view, i);
    TESTPOINT("reap.cursor_free");
    seat->process = process_drop(seat->process);
    free(seat->name);
    seat->name = NULL;
}

/* Who goes: a process, or a session with what was not claimed of all that it was told of. */
struct leaver {
    struct bus *bus;
    const struct process *process; /* NULL: a session */
    uint64_t session;
};

static bool
is_left(const struct topic_seat *seat, const struct leaver *l)
{
    return l->process ? seat->process == l->process : seat->process && seat->session == l->session;
}

static void
reap_topic(struct topic *t, const struct leaver *l)
{
    struct ring_view *v = &t->memory.view;
    bool publisher = false, cursor = false;

    for (uint32_t i = 0; i < v->geo.max_publishers; i++)
        if (is_left(&t->publishers[i], l) && (l->process || ring_entry_forsake(v, i))) {
            reap_publisher(t, i);
            publisher = true;
        }
    for (uint32_t i = 0; i < v->geo.max_cursors; i++)
        if (is_left(&t->cursors[i], l) && (l->process || ring_cursor_forsake(v, i))) {
            reap_cursor(t, i);
            cursor = true;
        }
    if (publisher)
        reap_settle(t);
    else if (cursor)
        state_bump(v);
    if (publisher || cursor)
        watch_ask(t);
}

static void
reap(const struct leaver *l)
{
    for (struct topic *t = l->bus->topics; t; t = t->next)
        if (t->mapped)
            reap_topic(t, l);
}

void
reap_session(struct bus *bus, uint64_t session)
{
    const struct leaver l = {bus, NULL, session};

    reap(&l);
}

void
reap_process(struct process *p)
{
    const struct leaver l = {p->bus, p, 0};

    reap(&l);
    TESTPOINT("reap.done");
}
