/* daemon_pairs.c - a publisher dies at one named point and the daemon at another: while it serves and finds the death, or
 * when it starts and finds what the publisher has left. */
#include "tests/crash/work.h"

#include "shm/testpoint.h"
#include "tests/support/pause.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if defined(LEAT_TESTPOINTS)

#define QUICK_PAIRS 24

/* Where the daemon comes to its point. */
enum meeting { NEVER_THERE, AT_START, AT_DEATH };

struct couple {
    struct trial *t;
    const struct work *w;
    const char *name;   /* the daemon's point */
    uint32_t nth;       /* the publisher's: which of those it passes; 0: none */
    uint32_t nth_count; /* how many there are */
};

/* In a guest: whose call it is. */
static struct guest *passing;

static void
pass(const char *name)
{
    (void)snprintf(passing->passed, sizeof passing->passed, "%s", name);
    if (++passing->passages == passing->stop_at)
        (void)kill(getpid(), SIGSTOP);
}

static void
send_to_point(void *guest)
{
    passing = guest;
    passing->passages = 0;
    shm_testpoint_hook = pass;
    guest_send(guest);
    shm_testpoint_hook = NULL;
}

static bool
complain(const struct couple *c, const char *what)
{
    const struct guest *g = stage_guest(&c->t->b, P0);
    char where[256];

    (void)snprintf(where, sizeof where, "publisher dead at point %" PRIu32 " (%s), daemon at %s",
                   c->nth, g->passed, c->name);
    return run_complain(&c->t->r, where, what);
}

/* The publisher dies at its point, or at the end of its call: whether it rings, or finds room, is not the same each time. */
static bool
die_at_point(const struct couple *c)
{
    struct guest *g = stage_guest(&c->t->b, P0);
    enum stepper_verdict v;

    g->stop_at = c->nth;
    v = stepper_finish(stage_tell(&c->t->b, P0, send_to_point, &c->w->c.call));
    if (v != STEPPER_FAULT && v != STEPPER_DONE)
        return complain(c, "its call does not return");
    stepper_kill(&g->proc);
    trial_note(c->t, P0);
    c->t->r.figures.kills++;
    return true;
}

static bool
count_points(struct couple *c)
{
    struct guest *g = stage_guest(&c->t->b, P0);
    time_t until = time(NULL) + TRIAL_PATIENCE_S;
    int r;

    if (!work_prepare(c->t, c->w))
        return false;
    g->stop_at = 0;
    do
        r = trial_do(c->t, P0, send_to_point, &c->w->c.call);
    while (r == -EAGAIN && time(NULL) <= until);
    c->nth_count = g->passages;
    return !r || complain(c, "it cannot send");
}

/* Waits until all that the publisher had has been taken back, by whatever daemon. */
static bool
await(const struct couple *c, pid_t pid)
{
    time_t until = time(NULL) + TRIAL_PATIENCE_S;

    while (!stage_settled(&c->t->b, pid) || !stage_daemon_rests(&c->t->b)) {
        if (!stage_tend(&c->t->b))
            return complain(c, "it cannot be started again");
        if (time(NULL) > until)
            return complain(c, "something is left behind");
        pause_briefly();
    }
    return true;
}

/* Both die: the publisher while a daemon serves that is to die, or before such a one starts. *ret_met: where it did. */
static bool
one_pair(const struct couple *c, bool daemon_is_there, enum meeting *ret_met)
{
    struct trial *t = c->t;
    uint32_t deaths;
    pid_t pid;

    if (!work_prepare(t, c->w))
        return false;
    pid = stage_guest(&t->b, P0)->pid;
    stage_kill_daemon(&t->b);
    if (!daemon_is_there && !die_at_point(c))
        return false;
    deaths = t->b.deaths;
    (void)stage_start_daemon(&t->b, c->name);
    if (!stage_tend(&t->b))
        return complain(c, "it cannot be started again");
    *ret_met = t->b.deaths != deaths ? AT_START : NEVER_THERE;
    if (daemon_is_there && !die_at_point(c))
        return false;
    if (!await(c, pid))
        return false;
    if (*ret_met == NEVER_THERE && t->b.deaths != deaths)
        *ret_met = AT_DEATH;
    t->r.figures.kills += *ret_met != NEVER_THERE;
    t->r.figures.schedules++;
    return work_go_on(t, c->w, c->nth) || complain(c, "and that was with both dead");
}

/* One point of the daemon and all, or some, of the publisher's. The first pair says where the daemon comes to it. */
static bool
pairs_of_point(struct couple *c, uint32_t *ret_tried)
{
    struct run *r = &c->t->r;
    enum meeting there, met;

    *ret_tried = 0;
    c->nth = 1 + (uint32_t)run_random(r, c->nth_count);
    if (!one_pair(c, true, &there))
        return false;
    if (there == NEVER_THERE)
        return true;
    for (uint32_t i = 1; i <= (r->full ? c->nth_count : 1); i++, ++*ret_tried) {
        c->nth = r->full ? i : 1 + (uint32_t)run_random(r, c->nth_count);
        if (!one_pair(c, there == AT_DEATH, &met))
            return false;
    }
    return true;
}

static bool
pairs_of_work(struct trial *t, const struct work *w, const char *part)
{
    const char *const *names = shm_testpoint_names();
    struct couple c = {.t = t, .w = w, .name = "none"};
    uint32_t points = 0, pairs = 0, all = 0, tried;

    while (names[all])
        all++;
    if (!count_points(&c))
        return false;
    for (uint32_t i = 0; i < all; i++) {
        c.name = names[i];
        if (work_is_guests(names[i]) || !strstr(names[i], part) ||
            (!t->r.full && run_random(&t->r, all) >= QUICK_PAIRS))
            continue;
        if (!pairs_of_point(&c, &tried))
            return false;
        points += tried > 0;
        pairs += tried;
    }
    t->r.figures.cases++;
    printf("  %-40s %3" PRIu32 " points of the publisher, %3" PRIu32 " of the daemon, %4" PRIu32
           " pairs\n",
           w->scene.name, c.nth_count, points, pairs);
    return true;
}

bool
pairs_form(struct trial *t, const char *part)
{
    for (size_t i = 0; i < work_count; i++)
        if (works[i].after == DIES && works[i].c.who == P0 && !pairs_of_work(t, &works[i], part))
            return false;
    return true;
}

#else

bool
pairs_form(struct trial *t, const char *part)
{
    (void)t;
    (void)part;
    return true;
}

#endif
