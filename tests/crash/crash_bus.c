/* crash_bus.c - publishers and subscribers of a real daemon, killed after every instruction of every call of the library.
 *
 *   crash_bus kill [PART]      the calls of the cases whose name contains PART: after every instruction a copy of the
 *                              topic's memory is recovered and checked; a sample of real deaths shows that the
 *                              daemon does the same, and that the others go on
 *   crash_bus preempt [PART]   two guests: one takes k instructions, the other makes its whole call, the first goes on
 *
 * LEAT_FULL=1 takes the long form, LEAT_SEED the seed of the sample. */
#include "tests/crash/trial.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#define STRIDE 128 /* at most so many instructions between two schedules of the quick form */

struct bus_case {
    struct scene scene;
    struct bus_call c;
    int want;      /* its result */
    bool is_first; /* the guest has to open what it is about to open */
};

/* Two guests that interrupt each other, in both orders. */
struct bus_pair {
    struct scene scene;
    struct bus_call calls[2];
};

static uint64_t slowest_next_ns, slowest_settled_ns;

#define SCENE(n, t, k, s, p)                                                                       \
    {                                                                                              \
        .name = (n), .topic = (t), .kind = (k), .sub = (s), .past = (p)                            \
    }
#define MEMORY(name, past) SCENE(name, "memory", LEAT_GATING, NULL, past)
#define LOSSY(name, past) SCENE(name, "lossy", LEAT_LIVE, NULL, past)
#define DISK(name, past) SCENE(name, "disk", LEAT_DURABLE, "crash", past)

#define PUB(p, f, count, ...)                                                                      \
    {                                                                                              \
        .who = (p), .fn = (f), .call = {.publishes = true, .n = (count), .len = {__VA_ARGS__} }    \
    }
#define LOANS(p, count, size)                                                                      \
    {                                                                                              \
        .who = (p), .fn = guest_commit, .call = {                                                  \
            .publishes = true,                                                                     \
            .n = 1,                                                                                \
            .rounds = (count),                                                                     \
            .len = {size}                                                                          \
        }                                                                                          \
    }
#define SUB(f, count)                                                                              \
    {                                                                                              \
        .who = S0, .fn = (f), .call = {.n = (count) }                                              \
    }

static const struct bus_case bus_cases[] = {
    {MEMORY("send", "iI"), PUB(P0, guest_send, 1, 8), 0, false},
    {MEMORY("send, in the lane", "iI"), PUB(P0, guest_send, 1, 100), 0, false},
    {MEMORY("send many", "iI"), PUB(P0, guest_send, 3, 8, 40, 9), 0, false},
    {MEMORY("send, ring full", "bBii"), PUB(P0, guest_send, 1, 8), -EAGAIN, false},
    {MEMORY("send, lane reclaimed", "hdhdhdhd"), PUB(P0, guest_send, 1, 1000), 0, false},
    {LOSSY("send many, lossy", "bBihh"), PUB(P0, guest_send, 3, 8, 900, 9), 0, false},
    {DISK("send, on disk", "iId"), PUB(P0, guest_send, 1, 8), 0, false},
    {DISK("send many, on disk", "iId"), PUB(P0, guest_send, 3, 8, 40, 9), 0, false},
    {MEMORY("loan and commit", "i"), LOANS(P0, 2, 100), 0, false},
    {MEMORY("loan and commit, short", "i"), LOANS(P0, 1, 5), 0, false},
    {MEMORY("loan and abort", "iI"), PUB(P0, guest_abort, 1, 100), 0, false},
    {MEMORY("open a publisher", "iI"), PUB(P0, guest_open_pub, 0, 0), 0, true},
    {MEMORY("close a publisher", "iIl"), PUB(P0, guest_close_pub, 0, 0), 0, false},
    {MEMORY("receive and release", "iBl"), SUB(guest_receive, 4), 0, false},
    {LOSSY("receive, live", "iBl"), SUB(guest_receive, 4), 0, false},
    {DISK("receive, on disk", "iBl"), SUB(guest_receive, 2), 0, false},
    {DISK("acknowledge", "iBd"), SUB(guest_ack, 0), 0, false},
    {MEMORY("wait, a message is there", "i"), SUB(guest_wait, 0), 0, false},
    {MEMORY("wait to the end", "id"), SUB(guest_wait, 0), 0, false},
    {MEMORY("seek", "iB"), SUB(guest_seek, 0), 0, false},
    {MEMORY("open a gating subscriber", "iI"), SUB(guest_open_sub, 0), 0, true},
    {DISK("open a named subscriber", "iI"), SUB(guest_open_sub, 0), 0, true},
    {MEMORY("close a subscriber", "iI"), SUB(guest_close_sub, 0), 0, false},
    {DISK("close a named subscriber", "iI"), SUB(guest_close_sub, 0), 0, false},
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

/* --- every instruction -------------------------------------------------------------------------------- */

/* Nothing is left of the case before. */
static bool
prepare(struct trial *t, const struct bus_case *bc)
{
    void (*close)(void *) = bc->c.who == S0 ? guest_close_sub : guest_close_pub;

    if (!stage_leave(&t->b) || !trial_enter(t, &bc->scene))
        return trial_complain(t, 0, "the guests cannot enter");
    return !bc->is_first || !trial_do(t, bc->c.who, close, NULL);
}

static struct stepper *
begin(struct trial *t, const struct bus_call *c)
{
    struct call call = c->call;

    /* A seek goes back to what was read last, or to the beginning, which is not there any more. */
    if (c->fn == guest_seek)
        call.pos = stage_guest(&t->b, S0)->last;
    return stage_tell(&t->b, c->who, c->fn, &call);
}

static bool
walk(struct trial *t, const struct bus_case *bc, uint64_t *ret_points)
{
    struct stepper *s = begin(t, &bc->c);
    enum stepper_verdict v = STEPPER_ON;
    uint64_t n = 0, states = 0;

    for (; v == STEPPER_ON; n++) {
        if (!states || !stage_is_as(&t->b, t->last)) {
            const char *bad;
            stage_copy(&t->b, t->last);
            states++;
            bad = trial_judge(t, 1u << bc->c.who);
            if (bad)
                return trial_complain(t, n, bad);
        }
        v = stepper_step(s);
    }
    t->r.figures.points += n;
    t->r.figures.states += states;
    *ret_points = n;
    if (v != STEPPER_DONE)
        return trial_complain(t, n, "the call does not return");
    if (stage_guest(&t->b, bc->c.who)->call.result != bc->want)
        return trial_complain(t, n, leat_strerror(stage_guest(&t->b, bc->c.who)->call.result));
    return true;
}

/* --- real deaths ---------------------------------------------------------------------------------------- */

/* P1 publishes, S0 reads, as often as it takes. */
static bool
others_go_on(struct trial *t, int64_t since)
{
    const struct call one = {.publishes = true, .n = 1, .len = {8}};
    time_t until = time(NULL) + TRIAL_PATIENCE_S;
    int r = -EAGAIN;

    while (r == -EAGAIN && time(NULL) <= until) {
        const struct guest *s = stage_guest(&t->b, S0);
        r = trial_do(t, P1, guest_send, &one);
        if (s->proc.pid && s->sub && !trial_drain(t))
            return trial_complain(t, 0, "a subscriber cannot go on after a death");
    }
    slowest_next_ns = shm_max(slowest_next_ns, (uint64_t)(trial_now_ns() - since));
    return !r || trial_complain(t, 0, "a publisher cannot go on after a death");
}

static bool
kill_one(struct trial *t, const struct bus_case *bc, uint64_t n)
{
    enum stepper_verdict v = STEPPER_ON;
    struct stepper *s;
    const char *bad;
    int64_t since;
    pid_t pid;

    if (!prepare(t, bc))
        return false;
    s = begin(t, &bc->c);
    for (uint64_t i = 0; i < n && v == STEPPER_ON; i++)
        v = stepper_step(s);
    pid = s->pid;
    since = trial_now_ns();
    stepper_kill(s);
    trial_note(t, bc->c.who);
    t->r.figures.kills++;
    if (!others_go_on(t, since) || !trial_await_settled(t, pid))
        return trial_complain(t, n, "and that was after so many instructions");
    slowest_settled_ns = shm_max(slowest_settled_ns, (uint64_t)(trial_now_ns() - since));
    bad = trial_judge(t, 0);
    if (bad)
        return trial_complain(t, n, bad);
    return bc->c.who == S0 || bc->is_first || (trial_drain(t) && trial_audit(t));
}

static bool
kill_case(struct trial *t, const struct bus_case *bc)
{
    uint64_t points = 0, states = t->r.figures.states;
    uint32_t sample = t->r.full ? 40 : 2;

    if (!prepare(t, bc) || !walk(t, bc, &points))
        return false;
    for (uint32_t i = 0; i < sample; i++)
        if (!kill_one(t, bc, run_random(&t->r, points)))
            return false;
    t->r.figures.cases++;
    printf("  %-40s %7" PRIu64 " points %5" PRIu64 " states\n", bc->scene.name, points,
           t->r.figures.states - states);
    return true;
}

static bool
kill_form(struct trial *t, const char *part)
{
    for (size_t i = 0; i < sizeof bus_cases / sizeof *bus_cases; i++)
        if (strstr(bus_cases[i].scene.name, part) && !kill_case(t, &bus_cases[i]))
            return false;
    printf("after a real death: the next publish was made %.1f ms later at most, nothing was left "
           "%.1f "
           "ms later at most\n",
           (double)slowest_next_ns / 1e6, (double)slowest_settled_ns / 1e6);
    return true;
}

/* --- two guests ------------------------------------------------------------------------------------------- */

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
    struct stepper *b = begin(d->t, d->b);
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
    a = begin(t, d->a);
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

static bool
preempt_form(struct trial *t, const char *part)
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
    good = strcmp(form, "preempt") ? kill_form(&t, part) : preempt_form(&t, part);
    if (!good)
        stage_log(&t.b);
    run_summary(&t.r, form);
    trial_close(&t);
    return !good;
}
