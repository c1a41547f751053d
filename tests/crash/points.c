/* points.c - two actors are killed, each by its own hand, at every pair of named points that they pass. */
#include "tests/crash/run.h"

#include "shm/testpoint.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if defined(LEAT_TESTPOINTS)

#define NAMES_MAX 256

/* In the process that makes the call: whose it is. */
static struct actor *passing;

static void
pass(const char *name)
{
    struct actor *a = passing;

    (void)snprintf(a->passed, sizeof a->passed, "%s", name);
    if (++a->passages == a->stop_at)
        (void)kill(getpid(), SIGSTOP);
}

static void
call_to_point(void *actor)
{
    passing = actor;
    shm_testpoint_hook = pass;
    passing->passages = 0;
    passing->call_at(actor);
    shm_testpoint_hook = NULL;
}

struct names {
    const char *const *all;
    bool passed[NAMES_MAX];
};

static void
note_name(struct names *n, const char *name)
{
    for (int i = 0; n->all[i] && i < NAMES_MAX; i++)
        if (!strcmp(n->all[i], name))
            n->passed[i] = true;
}

/* Runs a call to its passage `stop_at` of a named point: STEPPER_FAULT is the stop there. */
static enum stepper_verdict
run_to_point(struct run *r, const struct plan *plan, uint32_t stop_at)
{
    struct plan wrapped = {.who = plan->who, .fn = call_to_point};
    struct actor *a = &r->w->actors[plan->who];

    a->call_at = plan->fn;
    a->stop_at = stop_at;
    return stepper_finish(run_begin(r, &wrapped));
}

static bool
complain(const struct run *r, uint32_t i, uint32_t j, const char *what)
{
    const struct test_case *tc = r->tc;
    char where[256];

    (void)snprintf(where, sizeof where, "dead at points %" PRIu32 " (%s) and %" PRIu32 " (%s)", i,
                   r->w->actors[tc->a.who].passed, j, r->w->actors[tc->b.who].passed);
    return run_complain(r, where, what);
}

/* Both die, a at its point i, b at its point j; with a recovery between, or with one for both. False when
 * something is wrong; *ret_b says whether b came to its point. */
static bool
kill_both(struct run *r, uint32_t i, uint32_t j, bool between, bool *ret_b)
{
    uint32_t a = 1u << r->tc->a.who, b = 1u << r->tc->b.who, dead = a | b;
    const char *bad = NULL;
    bool open;

    run_reset(r);
    if (run_to_point(r, &r->tc->a, i) != STEPPER_FAULT)
        return complain(r, i, j, "a does not come there");
    if (between) {
        stepper_kill(&r->procs[r->tc->a.who]);
        bad = verify_recover(r->w, a | r->dead, &open);
    }
    *ret_b = run_to_point(r, &r->tc->b, j) == STEPPER_FAULT;
    if (!*ret_b)
        dead = a;
    stepper_kill(&r->procs[r->tc->a.who]);
    if (*ret_b)
        stepper_kill(&r->procs[r->tc->b.who]);
    r->figures.kills += 1 + *ret_b;
    r->figures.schedules++;
    if (!bad)
        bad = run_judge(r, dead);
    return bad ? complain(r, i, j, bad) : true;
}

/* All points of the call when it is alone. */
static uint32_t
count_points(struct run *r, const struct plan *plan, struct names *names)
{
    uint32_t i = 1;

    for (;; i++) {
        run_reset(r);
        if (run_to_point(r, plan, i) != STEPPER_FAULT)
            return i - 1;
        note_name(names, r->w->actors[plan->who].passed);
        stepper_kill(&r->procs[plan->who]);
    }
}

static bool
points_start(struct run *r, struct names *names)
{
    uint32_t points = count_points(r, &r->tc->a, names);
    bool more;

    (void)count_points(r, &r->tc->b, names);
    for (uint32_t i = 1; i <= points; i++) {
        more = true;
        for (uint32_t j = 1; more; j++) {
            if (!kill_both(r, i, j, (i + j) % 2, &more))
                return false;
            if (r->full && !kill_both(r, i, j, !((i + j) % 2), &more))
                return false;
            note_name(names, r->w->actors[r->tc->b.who].passed);
        }
    }
    return true;
}

static void
print_names(const struct names *names)
{
    const char *comma = "  never passed here: ";
    int passed = 0, all = 0;

    for (; names->all[all] && all < NAMES_MAX; all++)
        passed += names->passed[all];
    printf("  %d of %d named points\n", passed, all);
    for (int i = 0; i < all; i++)
        if (!names->passed[i]) {
            printf("%s%s", comma, names->all[i]);
            comma = ", ";
        }
    if (passed < all)
        printf("\n");
}

bool
points_all(struct run *r, const struct test_case *cases, const char *part)
{
    struct names names = {.all = shm_testpoint_names()};

    for (const struct test_case *tc = cases; tc->name; tc++) {
        uint64_t schedules = r->figures.schedules;
        uint32_t starts = 0;
        if (!strstr(tc->name, part) || tc->a.fn == call_sleep || tc->b.fn == call_sleep)
            continue;
        for (; run_prepare(r, tc, starts); starts++) {
            if (!points_start(r, &names))
                return false;
            if (tc->victim[0])
                starts += r->full ? 3 : 11;
        }
        r->figures.cases++;
        printf("  %-52s %6" PRIu64 " pairs\n", tc->name, r->figures.schedules - schedules);
    }
    print_names(&names);
    return true;
}

#else

bool
points_all(struct run *r, const struct test_case *cases, const char *part)
{
    (void)r;
    (void)cases;
    (void)part;
    return true;
}

#endif
