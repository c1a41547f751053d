/* daemon_stops.c - the daemon is stopped again and again while it works, and killed at one of its stops.
 *
 *   calls    it stops before and after every system call. Between two it changes shared memory, which `stores` looks
 *            at, and its own, which dies with it.
 *   stores   it stops before every instruction that writes to the topic's memory (chase.h says how). After each that
 *            changed it a copy is recovered and checked, as after a death there; then, in other runs, it really dies
 *            there: its files then are as it left them, with what the kernel was still writing. */
#include "tests/crash/chase.h"
#include "tests/crash/work.h"

#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define QUICK_KILLS 4 /* deaths of each case */
#define NEVER UINT64_MAX

struct pursuit {
    struct trial *t;
    const struct work *w;
    struct chase chase;
    uint64_t kill_at, stops;
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
        (void)sched_yield();
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
    if (p->kill_at == NEVER) {
        t->r.figures.states++;
        judge(p);
    }
    return true;
}

/* Whether the daemon is to be killed at this stop. */
static bool
is_the_stop(struct pursuit *p, enum chase_stop stop)
{
    bool counts = p->chase.stores ? stop == CHASE_STORE && take_store(p) : stop == CHASE_CALL;

    return counts && ++p->stops == p->kill_at;
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
            (void)sched_yield();
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

    p->kill_at = k;
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

static bool
stops_of_work(struct pursuit *p)
{
    struct trial *t = p->t;
    uint64_t all = 0, stops, kills = 0, k = 0;

    if (!work_and_kill(p, NEVER, &all))
        return false;
    while (t->r.full ? k < all : kills < shm_min(all, QUICK_KILLS)) {
        k = t->r.full ? k + 1 : 1 + run_random(&t->r, all);
        if (!work_and_kill(p, k, &stops))
            return false;
        kills++;
    }
    t->r.figures.cases++;
    t->r.figures.points += all;
    printf("  %-40s %5" PRIu64 " stops %5" PRIu64 " kills\n", p->w->scene.name, all, kills);
    return true;
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
            (void)sched_yield();
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
            (void)sched_yield();
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

/* Starts the daemon and kills it at its stop `kill_at`: whether another serves now. */
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

    p->kill_at = k;
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

static bool
stops_of_start(struct pursuit *p)
{
    struct trial *t = p->t;
    uint64_t all = 0, stops, kills = 0, k = 0, stride = p->chase.stores ? 1 : 4;

    if (!one_start(p, NEVER, &all))
        return false;
    while (t->r.full ? k < all : kills < shm_min(all, 3 * QUICK_KILLS)) {
        k = t->r.full ? k + 1 + run_random(&t->r, stride) : 1 + run_random(&t->r, all);
        if (!one_start(p, k, &stops))
            return false;
        kills++;
    }
    t->r.figures.cases++;
    t->r.figures.points += all;
    printf("  start after a %-26s %5" PRIu64 " stops %5" PRIu64 " kills\n", p->w->scene.name, all,
           kills);
    return true;
}

static bool
stops_form(struct trial *t, const char *part, bool stores)
{
    for (size_t i = 0; i < work_count; i++) {
        struct pursuit p = {.t = t, .w = &works[i], .chase = {.stores = stores}};
        if (strstr(works[i].scene.name, part) && !stops_of_work(&p))
            return false;
    }
    for (size_t i = 0; i < work_count && strstr("start", part); i++) {
        struct pursuit p = {.t = t, .w = &works[i], .chase = {.stores = stores}};
        if (works[i].after == DIES && !stops_of_start(&p))
            return false;
    }
    return true;
}

bool
calls_form(struct trial *t, const char *part)
{
    if (strstr("acknowledge, the disk is late", part) && !late_disk(t))
        return false;
    return stops_form(t, part, false);
}

bool
stores_form(struct trial *t, const char *part)
{
    return stops_form(t, part, true);
}
