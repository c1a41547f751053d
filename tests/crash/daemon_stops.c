/* daemon_stops.c - the daemon is stopped again and again while it works, and killed at one of its stops.
 *
 *   calls    it stops before and after every system call. Between two it changes shared memory, which `stores` looks
 *            at, and its own, which dies with it.
 *   stores   it stops before every instruction that writes to the topic's memory (chase.h says how). After each that
 *            changed it a copy is recovered and checked, as after a death there; then, in other runs, it really dies
 *            there: its files then are as it left them, with what the kernel was still writing.
 *   preempt  before such an instruction a publisher makes a whole call, then the daemon goes on, or is dead. What it
 *            reads between two of them, and what may come between those, crash_ring interrupts. */
#include "tests/crash/chase.h"
#include "tests/crash/work.h"
#include "tests/support/pause.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define QUICK_KILLS 4 /* deaths of each case */
#define NEVER UINT64_MAX

enum mode { CALLS, STORES, BETWEEN };

struct pursuit {
    enum mode mode;
    struct trial *t;
    const struct work *w;
    struct chase chase;
    uint64_t stop_at, stops;
    bool dies; /* at that stop */
    pid_t guest;
    bool guest_done;
    const char *wrong;
};

static bool
is_dead_guest(const struct pursuit *p)
{
    return p->w->after == DIES;
}

static struct stepper *
caller(const struct pursuit *p)
{
    return &stage_guest(&p->t->b, p->w->c.who)->proc;
}

static void
look_at_guest(struct pursuit *p)
{
    if (!p->guest_done)
        p->guest_done = stepper_poll(caller(p)) != STEPPER_ASLEEP;
}

/* --- stops ---------------------------------------------------------------------------------------------- */

/* What others would find if the daemon died now. The guest is let do first what it does without the daemon: who is in the
 * middle of something cannot be judged. */
static void
judge(struct pursuit *p)
{
    time_t until = time(NULL) + TRIAL_PATIENCE_S;

    while (!p->guest_done && stepper_letter(p->guest) != 'S' && time(NULL) <= until) {
        pause_briefly();
        look_at_guest(p);
    }
    p->wrong = trial_judge(p->t, is_dead_guest(p) ? 1u << p->w->c.who : 0);
}

/* Takes an instruction that writes: whether it has changed something. */
static bool
take_store(struct pursuit *p)
{
    struct trial *t = p->t;

    stage_copy(&t->b, t->last);
    if (!chase_store(&p->chase)) {
        p->wrong = "it died of itself";
        return false;
    }
    if (stage_is_as(&t->b, t->last))
        return false;
    if (p->stop_at == NEVER) {
        t->r.figures.states++;
        judge(p);
    }
    return true;
}

/* A publisher's whole call, while the daemon stands before an instruction that writes. */
static void
interrupt(struct pursuit *p)
{
    const struct call one = {.publishes = true, .n = 1, .len = {8}};
    int r = trial_do(p->t, P1, guest_send, &one);

    p->t->r.figures.schedules++;
    if (r && r != -EAGAIN)
        p->wrong = leat_strerror(r);
}

static bool
counts(struct pursuit *p, enum chase_stop stop)
{
    if (p->mode == CALLS)
        return stop == CHASE_CALL;
    return stop == CHASE_STORE && (p->mode == BETWEEN || take_store(p));
}

/* Whether the daemon is to be killed at this stop. */
static bool
is_the_stop(struct pursuit *p, enum chase_stop stop)
{
    if (!counts(p, stop))
        return false;
    p->stops++;
    if (p->mode == BETWEEN && p->stops == p->stop_at)
        interrupt(p);
    if (p->stops == p->stop_at && p->dies)
        return true;
    if (p->mode == BETWEEN && !chase_store(&p->chase))
        p->wrong = "it died of itself";
    return false;
}

/* Follows the daemon until it is to be killed (true) or has done its work; it is then let go. One that does not come to
 * an end is killed as well. */
static bool
follow(struct pursuit *p)
{
    time_t until = time(NULL) + TRIAL_PATIENCE_S;

    while (!p->wrong) {
        enum chase_stop stop = chase_poll(&p->chase);
        look_at_guest(p);
        if (stop == CHASE_ENDED || (stop != CHASE_NOTHING && is_the_stop(p, stop)))
            return true;
        if (stop != CHASE_NOTHING) {
            chase_on(&p->chase);
        } else if (p->chase.idle && p->guest_done && work_is_done(p->t, p->w, p->guest)) {
            chase_let_go(&p->chase);
            return false;
        } else {
            pause_briefly();
        }
        if (time(NULL) > until)
            p->wrong = "the daemon does not do its part";
    }
    return true;
}

static bool
kill_and_start(struct pursuit *p)
{
    struct trial *t = p->t;

    stage_kill_daemon(&t->b);
    t->r.figures.kills++;
    if (p->wrong)
        return work_complain(t, p->stops, p->wrong);
    return stage_start_daemon(&t->b, NULL) ||
           work_complain(t, p->stops, "it cannot be started again");
}

/* --- a work ------------------------------------------------------------------------------------------------- */

/* Does the work and kills the daemon at its stop `k`; *ret_stops: how many there were. */
static bool
work_and_kill(struct pursuit *p, uint64_t k, uint64_t *ret_stops)
{
    struct trial *t = p->t;
    const struct work *w = p->w;

    p->stop_at = k;
    p->stops = 0;
    p->guest_done = is_dead_guest(p);
    if (!work_prepare(t, w))
        return false;
    if (!chase_seize(&p->chase, &t->b, p->chase.stores))
        return trial_complain(t, 0, "the daemon cannot be traced");
    p->guest = caller(p)->pid;
    if (is_dead_guest(p))
        work_die(t, w);
    else
        stepper_go(stage_tell(&t->b, w->c.who, w->c.fn, &w->c.call));
    chase_on(&p->chase);
    if (follow(p) && !kill_and_start(p))
        return false;
    if (!p->guest_done && stepper_await(caller(p)) != STEPPER_DONE)
        return work_complain(t, k, "the guest's call does not return");
    trial_note(t, w->c.who);
    *ret_stops = p->stops;
    return (w->after != DIES || trial_await_settled(t, p->guest)) && work_go_on(t, w, k);
}

/* --- a disk that is late ---------------------------------------------------------------------------------------- */

/* What was acknowledged before it was durable is saved once it is, although nobody says so again. The daemon is stopped for
 * longer than the pause between two looks at what was acknowledged, with the flush under way. */
static bool
late_disk(struct trial *t)
{
    const struct work *w = &works[work_count - 1];
    uint32_t rounds = t->r.full ? 50 : 5;

    for (uint32_t i = 0; i < rounds; i++) {
        time_t until = time(NULL) + TRIAL_PATIENCE_S;
        if (!work_prepare(t, w) || trial_send(t, P0, 'i') || !trial_drain(t) ||
            stage_do(&t->b, S0, guest_ack, NULL))
            return work_complain(t, 0, "nothing can be acknowledged");
        (void)kill(t->b.daemon, SIGSTOP);
        (void)poll(NULL, 0, 120 + (int)run_random(&t->r, 40));
        (void)kill(t->b.daemon, SIGCONT);
        while (!work_is_done(t, w, stage_guest(&t->b, S0)->proc.pid)) {
            if (time(NULL) > until)
                return work_complain(t, 0,
                                     "what was acknowledged is not saved when the disk is late");
            pause_briefly();
        }
    }
    t->r.figures.cases++;
    printf("  %-40s %5" PRIu32 " rounds\n", "acknowledge, the disk is late", rounds);
    return true;
}

/* --- its start ------------------------------------------------------------------------------------------------ */

static bool
is_ready(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

/* Follows a daemon that starts: true when it is to be killed, false when it serves. */
static bool
follow_start(struct pursuit *p, int ready)
{
    while (!p->wrong) {
        enum chase_stop stop = chase_poll(&p->chase);
        if (stop == CHASE_NOTHING) {
            pause_briefly();
            continue;
        }
        if (stop == CHASE_ENDED)
            p->wrong = "it died of itself";
        else if (is_the_stop(p, stop))
            return true;
        if (!p->wrong && is_ready(ready) && !p->chase.inside) {
            chase_leave(&p->chase);
            return false;
        }
        chase_on(&p->chase);
    }
    return true;
}

/* Starts the daemon and kills it at its stop `stop_at`: whether another serves now. */
static bool
start_and_kill(struct pursuit *p)
{
    bool kill;
    int ready;

    if (!stage_fork_daemon(&p->t->b, chase_traced, NULL, &ready))
        return false;
    if (!chase_begin(&p->chase, &p->t->b, p->chase.stores))
        p->wrong = "the daemon cannot be traced";
    chase_on(&p->chase);
    kill = follow_start(p, ready);
    (void)close(ready);
    return !kill || kill_and_start(p);
}

/* The daemon dies; so does a publisher, in the midst of a batch, when nobody is there to see it. */
static bool
one_start(struct pursuit *p, uint64_t k, uint64_t *ret_stops)
{
    struct trial *t = p->t;
    const struct work *w = p->w;

    p->stop_at = k;
    p->stops = 0;
    p->guest_done = true;
    if (!work_prepare(t, w))
        return false;
    p->guest = caller(p)->pid;
    stage_kill_daemon(&t->b);
    work_die(t, w);
    trial_note(t, w->c.who);
    if (!start_and_kill(p))
        return false;
    *ret_stops = p->stops;
    return (trial_await_settled(t, p->guest) || work_complain(t, k, "in its start")) &&
           work_go_on(t, w, k);
}

/* --- all ----------------------------------------------------------------------------------------------------- */

/* Tries stops: all, or a sample of `most`. Of the many calls of a start the long form takes one of two or three.
 * *ret_all: how many stops there are. */
static bool
try_stops(struct pursuit *p, bool is_start, uint64_t most, uint64_t *ret_all)
{
    bool (*one)(struct pursuit *, uint64_t, uint64_t *) = is_start ? one_start : work_and_kill;
    struct run *r = &p->t->r;
    uint64_t all = 0, stops, stride = r->full && is_start && p->mode == CALLS ? 4 : 1;

    p->dies = true;
    if (!one(p, NEVER, &all))
        return false;
    for (uint64_t i = 1; i <= (r->full ? all : shm_min(all, most));
         i += 1 + run_random(r, stride)) {
        uint64_t k = r->full ? i : 1 + run_random(r, all);
        p->dies = p->mode != BETWEEN || run_random(r, 2);
        if (!one(p, k, &stops))
            return false;
        p->dies = !p->dies;
        if (p->mode == BETWEEN && r->full && !one(p, k, &stops))
            return false;
    }
    *ret_all = all;
    return true;
}

static bool
try_case(struct pursuit *p, bool is_start)
{
    struct figures *f = &p->t->r.figures;
    uint64_t all, kills = f->kills, schedules = f->schedules;
    char name[80];

    if (!try_stops(p, is_start, is_start ? 3 * QUICK_KILLS : QUICK_KILLS, &all))
        return false;
    f->cases++;
    f->points += all;
    (void)snprintf(name, sizeof name, "%s%s", is_start ? "start after a " : "", p->w->scene.name);
    printf("  %-44s %5" PRIu64 " stops %5" PRIu64 " kills %5" PRIu64 " schedules\n", name, all,
           f->kills - kills, f->schedules - schedules);
    return true;
}

static bool
stops_form(struct trial *t, const char *part, enum mode mode)
{
    for (size_t i = 0; i < work_count; i++) {
        struct pursuit p = {
            .mode = mode, .t = t, .w = &works[i], .chase = {.stores = mode != CALLS}};
        if (strstr(works[i].scene.name, part) && !try_case(&p, false))
            return false;
        if (strstr("start", part) && works[i].after == DIES && !try_case(&p, true))
            return false;
    }
    return true;
}

bool
calls_form(struct trial *t, const char *part)
{
    if (strstr("acknowledge, the disk is late", part) && !late_disk(t))
        return false;
    return stops_form(t, part, CALLS);
}

bool
stores_form(struct trial *t, const char *part)
{
    return stops_form(t, part, STORES);
}

bool
between_form(struct trial *t, const char *part)
{
    return stops_form(t, part, BETWEEN);
}
