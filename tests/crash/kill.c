/* kill.c - one call, killed after every number of instructions. */
#include "tests/crash/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define POINTS_MAX 65536

/* Which of the states of shared memory stood after each number of instructions. */
struct course {
    uint32_t points, states;
    uint32_t state_of[POINTS_MAX];
};

static bool
complain_at(const struct run *r, uint64_t n, const char *what)
{
    char where[64];

    (void)snprintf(where, sizeof where, "killed after %" PRIu64 " instructions", n);
    return run_complain(r, where, what);
}

/* Recovers a copy of memory as it is now, and looks at it; memory is as before afterwards. */
static bool
try_death(struct run *r, uint64_t n)
{
    const char *bad;

    run_save(r, r->mid);
    r->truth = r->walked;
    bad = run_judge(r, 1u << r->tc->a.who);
    run_load(r, r->mid);
    /* What readers have seen stays seen. */
    if (!bad)
        bad = verify_look(r->w, &r->walked);
    return bad ? complain_at(r, n, bad) : true;
}

/* Steps through the call. Where shared memory is as it was before, so is what a death there leaves. */
static bool
walk(struct run *r, struct course *c)
{
    uint64_t size = world_shared_size(r->w);
    struct stepper *s = run_begin(r, &r->tc->a);
    unsigned char *last = r->inner;
    enum stepper_verdict v = STEPPER_ON;

    r->walked = r->base;
    c->points = 0;
    c->states = 0;
    while (v == STEPPER_ON && c->points < POINTS_MAX) {
        if (!c->states || memcmp(last, world_shared(r->w), size)) {
            memcpy(last, world_shared(r->w), size);
            c->states++;
            if (!try_death(r, c->points))
                return false;
        }
        c->state_of[c->points++] = c->states;
        v = stepper_step(s);
    }
    r->figures.points += c->points;
    r->figures.states += c->states;
    return v == STEPPER_DONE || complain_at(r, c->points, "the call does not return");
}

/* Kills a real process after n instructions. Memory must be what the walk said, and another process goes on. */
static bool
kill_one(struct run *r, const struct course *c, uint32_t n)
{
    static const struct plan next = {
        .who = P1, .fn = call_send, .call = {.publishes = true, .n = 1, .len = {8}}};
    uint64_t size = world_shared_size(r->w);
    struct stepper *s;
    uint32_t states = 1;

    run_reset(r);
    s = run_begin(r, &r->tc->a);
    memcpy(r->inner, world_shared(r->w), size);
    for (uint32_t i = 0; i < n; i++) {
        if (stepper_step(s) != STEPPER_ON)
            return complain_at(r, i, "the call ends earlier than before");
        if (!memcmp(r->inner, world_shared(r->w), size))
            continue;
        memcpy(r->inner, world_shared(r->w), size);
        states++;
    }
    stepper_kill(s);
    r->figures.kills++;
    if (states != c->state_of[n] || memcmp(r->inner, world_shared(r->w), size))
        return complain_at(r, n, "a real death leaves another memory than the step");
    if (r->tc->a.who != P1 && r->tc->never_held) {
        r->w->actors[P1].call = next.call;
        world_number(r->w, &r->w->actors[P1]);
        if (stepper_finish(run_begin(r, &next)) != STEPPER_DONE || r->w->actors[P1].call.result)
            return complain_at(r, n, "the next publisher cannot go on");
    }
    return true;
}

static bool
kill_some(struct run *r, const struct course *c)
{
    uint32_t sample = r->full ? 40 : 3;

    for (uint32_t i = 0; i < sample; i++) {
        uint32_t n = (uint32_t)run_random(r, c->points);
        const char *bad;
        if (!kill_one(r, c, n))
            return false;
        bad = run_judge(r, 1u << r->tc->a.who);
        if (bad)
            return complain_at(r, n, bad);
    }
    return true;
}

/* The call to its end, with nobody dead; its own answer was part of the case. */
static bool
finish(struct run *r)
{
    const char *bad;

    r->truth = r->walked;
    bad = run_judge(r, 0);
    return bad ? run_complain(r, "after the call", bad) : true;
}

static bool
kill_case(struct run *r, const struct test_case *tc)
{
    static struct course course;
    uint64_t points = r->figures.points, states = r->figures.states;
    uint32_t starts = 0;

    for (; run_prepare(r, tc, starts); starts++) {
        if (!walk(r, &course) || !finish(r) || !kill_some(r, &course))
            return false;
        /* In the quick form every third state that the victim left is enough. */
        if (!r->full && tc->victim[0])
            starts += 2;
    }
    r->figures.cases++;
    printf("  %-52s %6" PRIu64 " points %5" PRIu64 " states\n", tc->name,
           r->figures.points - points, r->figures.states - states);
    return starts || run_complain(r, "start", "no victim can be made");
}

bool
kill_all(struct run *r, const struct test_case *cases, const char *part)
{
    for (const struct test_case *tc = cases; tc->name; tc++)
        if (strstr(tc->name, part) && !kill_case(r, tc))
            return false;
    return true;
}
