/* daemon_points.c - the daemon kills itself at every named point that it passes, once. */
#include "tests/crash/work.h"

#include "shm/testpoint.h"
#include "tests/support/pause.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#if defined(LEAT_TESTPOINTS)

#define QUICK_POINTS 16

/* The work, while the daemon may die of itself. */
static bool
work_with_point(struct trial *t, const struct work *w, uint64_t k)
{
    struct stepper *s = &stage_guest(&t->b, w->c.who)->proc;
    time_t until = time(NULL) + TRIAL_PATIENCE_S;
    bool done = w->after == DIES;
    pid_t guest = s->pid;

    if (done)
        work_die(t, w);
    else
        stepper_go(stage_tell(&t->b, w->c.who, w->c.fn, &w->c.call));
    while (!done || !work_is_done(t, w, guest) || !stage_daemon_rests(&t->b)) {
        if (!done)
            done = stepper_poll(s) != STEPPER_ASLEEP;
        if (!stage_tend(&t->b))
            return work_complain(t, k, "it cannot be started again");
        if (time(NULL) > until)
            return work_complain(
                t, k, done ? "the daemon does not do its part" : "the call does not return");
        pause_briefly();
    }
    trial_note(t, w->c.who);
    return work_go_on(t, w, k);
}

/* A daemon that is to die at a point is started over what a former one left, and works until it has died. */
static bool
one_point(struct trial *t, const char *name, bool *ret_died)
{
    uint32_t deaths = t->b.deaths;

    if (!work_prepare(t, &works[0]) || stage_reopen(&t->b, P0))
        return false;
    stage_kill_daemon(&t->b);
    (void)stage_start_daemon(&t->b, name);
    if (!stage_tend(&t->b))
        return false;
    for (size_t i = 0; i < work_count && t->b.deaths == deaths; i++)
        if (!work_prepare(t, &works[i]) || !work_with_point(t, &works[i], i))
            return work_complain(t, i, name);
    *ret_died = t->b.deaths != deaths;
    t->r.figures.kills += *ret_died;
    if (!*ret_died) {
        stage_kill_daemon(&t->b);
        return stage_start_daemon(&t->b, NULL);
    }
    return work_prepare(t, &works[0]) && work_with_point(t, &works[0], 0);
}

bool
points_form(struct trial *t, const char *part)
{
    const char *const *names = shm_testpoint_names();
    int all = 0, passed = 0, tried = 0;
    bool died = false;

    while (names[all])
        all++;
    for (int i = 0; i < all; i++) {
        if (work_is_guests(names[i]) || !strstr(names[i], part) ||
            (!t->r.full && run_random(&t->r, (uint64_t)all) >= QUICK_POINTS))
            continue;
        if (t->r.full)
            printf("  %s\n", names[i]);
        if (!one_point(t, names[i], &died))
            return false;
        tried++;
        passed += died;
        if (!died)
            printf("  never passed here: %s\n", names[i]);
    }
    t->r.figures.cases += (uint64_t)tried;
    printf("  %d named points tried, at %d of which the daemon died\n", tried, passed);
    return true;
}

#else

bool
points_form(struct trial *t, const char *part)
{
    (void)t;
    (void)part;
    return true;
}

#endif
