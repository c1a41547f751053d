/* bus_preempt.c - two guests of a real daemon interrupt each other. */
#include "tests/crash/bus.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#define STRIDE 128 /* at most so many instructions between two schedules of the quick form */

/* Two calls, in both orders. */
struct bus_pair {
    struct scene scene;
    struct bus_call calls[2];
};

static const struct bus_pair bus_pairs[] = {
    {MEMORY("send / send", "d"), {PUB(P0, guest_send, 1, 8), PUB(P1, guest_send, 1, 40)}},
    {MEMORY("send many / send many", "d"),
     {PUB(P0, guest_send, 2, 8, 40), PUB(P1, guest_send, 3, 9, 10, 33)}},
    {LOSSY("loan / send, lossy", "d"), {LOANS(P0, 1, 100), PUB(P1, guest_send, 2, 8, 900)}},
    {MEMORY("send / receive", "dI"), {PUB(P0, guest_send, 2, 8, 40), SUB(guest_receive, 3)}},
    {DISK("send / receive, on disk", "dI"), {PUB(P0, guest_send, 1, 8), SUB(guest_receive, 3)}},
    {MEMORY("send / wait", "d"), {PUB(P0, guest_send, 1, 8), SUB(guest_wait, 0)}},
    {DISK("send / wait, on disk", "d"), {PUB(P0, guest_send, 1, 8), SUB(guest_wait, 0)}},
};

struct duel {
    struct trial *t;
    const struct bus_pair *pair;
    const struct bus_call *a, *b;
    uint64_t k;
    bool ended; /* A took fewer than k instructions */
    bool last;  /* that, or it was about to sleep: a larger k makes no difference */
};

/* Who waited has got what he waited for. */
static bool
check_wait(const struct duel *d, const struct bus_call *c)
{
    const struct guest *g = stage_guest(&d->t->b, c->who);

    return c->fn != guest_wait || g->call.slept == 1 ||
           trial_complain(d->t, d->k, "a sleeper was not woken");
}

/* Both to their ends: B first, then A; B may have to wait for A. */
static bool
both_to_the_end(struct duel *d, struct stepper *a)
{
    struct stepper *b = bus_begin(d->t, d->b);
    enum stepper_verdict v = d->b->fn == guest_wait ? stepper_settle(b) : stepper_finish(b);

    if (v != STEPPER_DONE && v != STEPPER_ASLEEP)
        return trial_complain(d->t, d->k, "the second does not return");
    if (!d->ended && stepper_finish(a) != STEPPER_DONE)
        return trial_complain(d->t, d->k, "the first does not return");
    if (v == STEPPER_ASLEEP && stepper_finish(b) != STEPPER_DONE)
        return trial_complain(d->t, d->k, "the sleeper does not return");
    return check_wait(d, d->a) && check_wait(d, d->b);
}

/* What both sent and received is written down; then all that S0 has not read yet. */
static bool
write_down(struct duel *d)
{
    struct trial *t = d->t;

    trial_note(t, d->a->who);
    trial_note(t, d->b->who);
    return trial_seen(t) && trial_drain(t) && trial_audit(t);
}

static bool
one_schedule(struct duel *d)
{
    struct trial *t = d->t;
    const char *bad;
    struct stepper *a;

    if (!trial_enter(t, &d->pair->scene))
        return false;
    a = bus_begin(t, d->a);
    d->ended = false;
    for (uint64_t i = 0; i < d->k && !d->last; i++) {
        d->last = d->a->fn == guest_wait && stepper_asks(a) == SYS_futex;
        d->ended = !d->last && stepper_step(a) != STEPPER_ON;
        d->last |= d->ended;
    }
    if (!both_to_the_end(d, a))
        return false;
    t->r.figures.schedules++;
    bad = trial_judge(t, 0);
    return bad ? trial_complain(t, d->k, bad) : write_down(d);
}

static bool
one_order(struct trial *t, const struct bus_pair *pair, int first)
{
    struct duel d = {.t = t, .pair = pair, .a = &pair->calls[first], .b = &pair->calls[!first]};

    if (!t->r.full)
        d.k = run_random(&t->r, STRIDE);
    while (!d.last) {
        if (!one_schedule(&d))
            return false;
        d.k += t->r.full ? 1 : 1 + run_random(&t->r, STRIDE);
    }
    return true;
}

bool
bus_preempt(struct trial *t, const char *part)
{
    for (size_t i = 0; i < sizeof bus_pairs / sizeof *bus_pairs; i++) {
        const struct bus_pair *p = &bus_pairs[i];
        uint64_t schedules = t->r.figures.schedules;
        if (!strstr(p->scene.name, part))
            continue;
        if (!stage_leave(&t->b) || !one_order(t, p, 0) || !one_order(t, p, 1))
            return false;
        t->r.figures.cases++;
        printf("  %-40s %6" PRIu64 " schedules\n", p->scene.name,
               t->r.figures.schedules - schedules);
    }
    return true;
}
