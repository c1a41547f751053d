/* crash_ring.c - one publisher, subscriber or daemon is killed after every instruction of every call on the ring, and
 * any two of them interrupt each other everywhere.
 *
 *   crash_ring kill [PART]              every number of instructions, in cases whose name contains PART
 *   crash_ring preempt [PART]           every preemption
 *   crash_ring points [PART]            two real deaths at every pair of named points
 *   crash_ring mutant kill|preempt PART   succeeds when it finds a fault: the ring has been given one
 *
 * LEAT_FULL=1 takes the long form, LEAT_SEED the seed of all that is drawn by lot. */
#include "tests/crash/run.h"

#include <stdio.h>
#include <string.h>

static bool
run_form(struct run *r, const char *form, const char *part)
{
    if (!strcmp(form, "preempt"))
        return preempt_all(r, preempt_cases, part);
    if (!strcmp(form, "points"))
        return points_all(r, preempt_cases, part);
    return format_all(r, part) && kill_all(r, kill_cases, part);
}

int
main(int argc, char **argv)
{
    bool is_mutant = argc > 1 && !strcmp(argv[1], "mutant"), good;
    const char *form = argc > 1 + is_mutant ? argv[1 + is_mutant] : "kill";
    const char *part = argc > 2 + is_mutant ? argv[2 + is_mutant] : "";
    struct run r;
    int x;

#if !defined(LEAT_TESTPOINTS)
    if (!strcmp(form, "points")) {
        printf("skipped: this build has no named points\n");
        return 77;
    }
#endif
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    x = run_open(&r);
    if (x)
        return x;
    r.full |= is_mutant && !strcmp(form, "preempt");
    good = run_form(&r, form, part);
    run_summary(&r, form);
    run_close(&r);
    if (is_mutant && good)
        printf("FAILED: the fault in this ring was not found\n");
    return is_mutant ? good : !good;
}
