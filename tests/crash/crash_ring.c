/* crash_ring.c - one publisher, subscriber or daemon is killed after every instruction of every call on the ring, and
 * any two of them interrupt each other everywhere.
 *
 *   crash_ring kill      every number of instructions
 *   crash_ring preempt   every preemption
 *   crash_ring mutant    both; succeeds when one of them finds a fault (the ring has been given one)
 *
 * LEAT_FULL=1 takes the long form, LEAT_SEED the seed of the sample of real deaths. */
#include "tests/crash/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static bool
kill_form(struct run *r)
{
    return format_all(r) && kill_all(r, kill_cases);
}

static bool
preempt_form(struct run *r)
{
    return preempt_all(r, preempt_cases);
}

int
main(int argc, char **argv)
{
    const char *form = argc > 1 ? argv[1] : "kill";
    bool mutant = !strcmp(form, "mutant"), good = true;
    struct run r;
    int x;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    x = run_open(&r);
    if (x)
        return x;
    if (mutant || !strcmp(form, "kill"))
        good = kill_form(&r);
    if (good && (mutant || !strcmp(form, "preempt")))
        good = preempt_form(&r);
    printf("%s: %" PRIu64 " cases, %" PRIu64 " points (%" PRIu64
           " states of memory recovered), %" PRIu64 " real kills, %" PRIu64
           " schedules, seed %" PRIu64 "\n",
           form, r.figures.cases, r.figures.points, r.figures.states, r.figures.kills,
           r.figures.schedules, r.seed);
    run_close(&r);
    if (mutant && good)
        printf("FAILED: the fault in this ring was not found\n");
    return mutant ? good : !good;
}
