/* crash_daemon.c - the daemon is killed while it works for guests, who go on, and goes on itself when it is started again.
 *
 *   crash_daemon calls [PART]    before and after every system call of what it does for the cases whose name contains
 *                                PART, and of its start
 *   crash_daemon stores [PART]   after every instruction of the same that changes shared memory
 *   crash_daemon preempt [PART]  a publisher makes a call before such an instruction; the daemon goes on or dies
 *   crash_daemon points [PART]   at every named point that it passes, once
 *   crash_daemon pairs [PART]    the same, and a publisher at every one of its own
 *   crash_daemon mutant FORM PART   succeeds when it finds a fault: the daemon has been given one
 *
 * The quick form takes a sample of the deaths, LEAT_FULL=1 all; LEAT_SEED is the seed of the sample. */
#include "tests/crash/work.h"

#include <stdio.h>
#include <string.h>

/* Whether a fault shows depends also on when others look, which is chance: one in thirty rounds finds nothing. */
#define MUTANT_ROUNDS 5

static bool
run_form(struct trial *t, const char *form, const char *part)
{
    if (!strcmp(form, "points"))
        return points_form(t, part);
    if (!strcmp(form, "pairs"))
        return pairs_form(t, part);
    if (!strcmp(form, "stores"))
        return stores_form(t, part);
    return strcmp(form, "preempt") ? calls_form(t, part) : between_form(t, part);
}

int
main(int argc, char **argv)
{
    bool is_mutant = argc > 1 && !strcmp(argv[1], "mutant"), good;
    const char *form = argc > 1 + is_mutant ? argv[1 + is_mutant] : "calls";
    const char *part = argc > 2 + is_mutant ? argv[2 + is_mutant] : "";
    static struct trial t;
    int x;

#if !defined(LEAT_TESTPOINTS)
    if (!strcmp(form, "points") || !strcmp(form, "pairs")) {
        printf("skipped: this build has no named points\n");
        return 77;
    }
#endif
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    x = trial_open(&t);
    if (x)
        return x;
    t.r.full |= is_mutant;
    good = run_form(&t, form, part);
    for (int i = 1; is_mutant && good && i < MUTANT_ROUNDS; i++)
        good = run_form(&t, form, part);
    if (!good)
        stage_log(&t.b);
    run_summary(&t.r, form);
    trial_close(&t);
    if (is_mutant && good)
        printf("FAILED: the fault of this daemon was not found\n");
    return is_mutant ? good : !good;
}
