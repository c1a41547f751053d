/* crash_bus.c - publishers and subscribers of a real daemon, killed after every instruction of every call of the library.
 *
 *   crash_bus kill [PART]      the calls of the cases whose name contains PART: after every instruction a copy of the
 *                              topic's memory is recovered and checked; a sample of real deaths shows that the
 *                              daemon does the same, and that the others go on
 *   crash_bus preempt [PART]   two guests: one takes k instructions, the other makes its whole call, or the daemon
 *                              its pass over a dead one's claim; then the first goes on, or is dead
 *
 * LEAT_FULL=1 takes the long form, LEAT_SEED the seed of the sample. */
#include "tests/crash/bus.h"

#include <stdio.h>
#include <string.h>

struct stepper *
bus_begin(struct trial *t, const struct bus_call *c)
{
    struct call call = c->call;

    /* A seek goes back to what was read last, or to the beginning, which is not there any more. */
    if (c->fn == guest_seek)
        call.pos = stage_guest(&t->b, S0)->last;
    return stage_tell(&t->b, c->who, c->fn, &call);
}

int
main(int argc, char **argv)
{
    const char *form = argc > 1 ? argv[1] : "kill", *part = argc > 2 ? argv[2] : "";
    static struct trial t;
    bool good;
    int x;

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    x = trial_open(&t);
    if (x)
        return x;
    good = strcmp(form, "preempt") ? bus_kill(&t, part) : bus_preempt(&t, part);
    if (!good)
        stage_log(&t.b);
    run_summary(&t.r, form);
    trial_close(&t);
    return !good;
}
