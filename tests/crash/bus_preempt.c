/* bus_preempt.c - two guests of a real daemon interrupt each other: A takes k instructions, B makes its whole call, or waits
 * in it, then A goes on, or is dead. Instead of a call of B's there may be the daemon's pass over what B, dead in a
 * claim, has left. (What interrupts the daemon: daemon_stops.c.) */
#include "tests/crash/bus.h"
#include "tests/support/pause.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

/* At most so many instructions lie between two schedules of the quick form, and of one that looks again and again for
 * room; the long form takes one of so many of the latter. */
#define STRIDE 128
#define WAIT_STRIDE 8192
#define WAIT_STRIDE_FULL 64

/* Two calls, in both orders, unless the second dies: then it is the daemon who comes between. */
struct bus_pair {
    struct scene scene;
    struct bus_call calls[2];
    bool second_dies;
};

static const struct bus_pair bus_pairs[] = {
    {MEMORY("send / send", "d"), .calls = {PUB(P0, guest_send, 1, 8), PUB(P1, guest_send, 1, 40)}},
    {MEMORY("send many / send many", "d"),
     .calls = {PUB(P0, guest_send, 2, 8, 40), PUB(P1, guest_send, 3, 9, 10, 33)}},
    {LOSSY("loan / send, lossy", "d"),
     .calls = {LOANS(P0, 1, 100), PUB(P1, guest_send, 2, 8, 900)}},
    {MEMORY("send / receive", "dI"),
     .calls = {PUB(P0, guest_send, 2, 8, 40), SUB(guest_receive, 3)}},
    {DISK("send / receive, on disk", "dI"),
     .calls = {PUB(P0, guest_send, 1, 8), SUB(guest_receive, 3)}},
    {MEMORY("send / wait", "d"), .calls = {PUB(P0, guest_send, 1, 8), SUB(guest_wait, 0)}},
    {DISK("send / wait, on disk", "d"), .calls = {PUB(P0, guest_send, 1, 8), SUB(guest_wait, 0)}},
    {.scene =
         {"send, ring full / receive", "memory", LEAT_GATING, NULL, "bBii", {LONG_WAIT_NS, 0, 0}},
     .calls = {PUB(P0, guest_send, 1, 8), SUB(guest_receive, 2)}},
    {DISK("durable / durable", "d"),
     .calls = {PUB(P0, guest_durable, 1, 8), PUB(P1, guest_durable, 1, 40)}},
    {MEMORY("send / open a gating subscriber", "iI"),
     .calls = {PUB(P0, guest_send, 2, 8, 40), SUB(guest_open_sub, 0)}},
    {MEMORY("send / close a gating subscriber", "iI"),
     .calls = {PUB(P0, guest_send, 2, 8, 40), SUB(guest_close_sub, 0)}},
    {.scene = {"send / the orphan pass", "memory", LEAT_GATING, NULL, "iI", {0}},
     .calls = {PUB(P0, guest_send, 2, 8, 40), PUB(P1, guest_send, 3, 8, 9, 10)},
     .second_dies = true},
    {.scene = {"receive / the orphan pass", "memory", LEAT_GATING, NULL, "iI", {0}},
     .calls = {SUB(guest_receive, 4), PUB(P1, guest_send, 3, 8, 9, 10)},
     .second_dies = true},
};

struct duel {
    struct trial *t;
    const struct bus_pair *pair;
    const struct bus_call *a, *b;
    struct stepper *pa, *pb;
    uint64_t k;
    bool ended; /* A took fewer than k instructions */
    bool last;  /* that, or it was about to sleep: a larger k makes no difference */
    bool b_sleeps;
};

/* --- beginning --------------------------------------------------------------------------------------------- */

static bool
is_moving(const struct bus_pair *p)
{
    return p->calls[1].fn == guest_open_sub || p->calls[1].fn == guest_close_sub;
}

static bool
enter(struct duel *d)
{
    struct trial *t = d->t;

    /* A subscriber that has been opened anew knows nothing of what was sent before. */
    if (is_moving(d->pair) && stage_guest(&t->b, S0)->proc.pid) {
        if (stage_reopen(&t->b, S0))
            return trial_complain(t, d->k, "a subscriber cannot open again");
        t->first_id = t->b.next_id;
        t->last_seq = 0;
    }
    if (!trial_enter(t, &d->pair->scene))
        return false;
    /* Whoever waits here gets something: a time-out would only say that the machine was busy. */
    stage_guest(&t->b, S0)->timeout_ns = LONG_WAIT_NS;
    return d->pair->calls[1].fn != guest_open_sub || !trial_do(t, S0, guest_close_sub, NULL);
}

/* Takes B to where it has claimed places and stamped none. */
static bool
claim(struct duel *d)
{
    struct ring_view v;
    uint64_t tail;

    if (!stage_view(&d->t->b, &v))
        return false;
    tail = atom_load_relaxed(ring_tail(&v));
    d->pb = bus_begin(d->t, d->b);
    while (atom_load_relaxed(ring_tail(&v)) == tail)
        if (stepper_step(d->pb) != STEPPER_ON)
            return trial_complain(d->t, d->k, "the second claims nothing");
    return true;
}

static bool
may_wait(const struct duel *d, const struct bus_call *c)
{
    return c->fn == guest_wait || c->fn == guest_durable || d->pair->scene.wait_ns[c->who];
}

static void
take_k(struct duel *d)
{
    d->ended = false;
    for (uint64_t i = 0; i < d->k && !d->last; i++) {
        d->last = may_wait(d, d->a) && stepper_asks(d->pa) == SYS_futex;
        d->ended = !d->last && stepper_step(d->pa) != STEPPER_ON;
        d->last |= d->ended;
    }
}

/* --- between -------------------------------------------------------------------------------------------------- */

/* Whether the daemon still takes a dead publisher for a living one. */
static bool
is_unnoticed(const struct trial *t, pid_t pid)
{
    struct ring_view v;

    if (!stage_view(&t->b, &v))
        return false;
    for (uint32_t i = 0; i < v.geo.max_publishers; i++)
        if (ring_entry(&v, i)->pid == (uint32_t)pid &&
            atom_load_acquire(&ring_entry(&v, i)->state) == RING_ENTRY_LIVE) /* acquire: ENTRY */
            return true;
    return false;
}

/* B dies in its claim, and the daemon does what it can while A stands still. */
static bool
pass(struct duel *d)
{
    time_t until = time(NULL) + TRIAL_PATIENCE_S;
    pid_t pid = d->pb->pid;

    stepper_kill(d->pb);
    d->t->r.figures.kills++;
    while (is_unnoticed(d->t, pid) || !stage_daemon_rests(&d->t->b)) {
        if (time(NULL) > until)
            return trial_complain(d->t, d->k, "the daemon does not notice a death");
        pause_briefly();
    }
    return true;
}

static bool
run_b(struct duel *d)
{
    enum stepper_verdict v;

    d->b_sleeps = false;
    if (d->pair->second_dies)
        return pass(d);
    d->pb = bus_begin(d->t, d->b);
    v = may_wait(d, d->b) ? stepper_settle(d->pb) : stepper_finish(d->pb);
    d->b_sleeps = v == STEPPER_ASLEEP;
    return v == STEPPER_DONE || d->b_sleeps ||
           trial_complain(d->t, d->k, "the second does not return");
}

/* What would be if A were dead now. */
static bool
judge(const struct duel *d)
{
    uint32_t dead = 1u << d->a->who | (d->pair->second_dies ? 1u << d->b->who : 0);
    const char *bad = d->ended ? NULL : trial_judge(d->t, dead);

    return !bad || trial_complain(d->t, d->k, bad);
}

/* --- end -------------------------------------------------------------------------------------------------------- */

/* Who waited has got what he waited for. */
static bool
check_wait(const struct duel *d, const struct bus_call *c)
{
    const struct guest *g = stage_guest(&d->t->b, c->who);

    return c->fn != guest_wait || g->call.slept == 1 ||
           trial_complain(d->t, d->k, "a sleeper was not woken");
}

static bool
go_on(struct duel *d)
{
    if (!d->ended && stepper_finish(d->pa) != STEPPER_DONE)
        return trial_complain(d->t, d->k, "the first does not return");
    trial_note(d->t, d->a->who);
    if (d->b_sleeps && stepper_finish(d->pb) != STEPPER_DONE)
        return trial_complain(d->t, d->k, "the sleeper does not return");
    return check_wait(d, d->a) && check_wait(d, d->b);
}

static bool
die(struct duel *d)
{
    struct trial *t = d->t;
    pid_t pid = d->pa->pid;

    stepper_kill(d->pa);
    t->r.figures.kills++;
    trial_note(t, d->a->who);
    /* One who waits for a message gets it from somebody else, one who waits for room has it when the dead one is gone. */
    if (d->b_sleeps && d->b->fn == guest_wait && trial_send(t, P1, 'i'))
        return trial_complain(t, d->k, "another publisher cannot go on");
    if (d->b_sleeps && stepper_finish(d->pb) != STEPPER_DONE)
        return trial_complain(t, d->k, "the sleeper does not return");
    return check_wait(d, d->b) && trial_await_settled(t, pid);
}

/* What both sent and received is written down; then all that S0 has not read yet. */
static bool
write_down(struct duel *d)
{
    struct trial *t = d->t;
    const struct guest *s = stage_guest(&t->b, S0);

    trial_note(t, d->b->who);
    if (is_moving(d->pair) || !s->proc.pid)
        return true;
    return trial_seen(t) && trial_drain(t) && trial_audit(t);
}

static bool
one_schedule(struct duel *d, bool dies)
{
    struct trial *t = d->t;
    const char *bad;
    pid_t dead = 0;

    if (!enter(d) || (d->pair->second_dies && !claim(d)))
        return false;
    if (d->pair->second_dies)
        dead = d->pb->pid;
    d->pa = bus_begin(t, d->a);
    take_k(d);
    if (!run_b(d) || !judge(d))
        return false;
    if (!(dies && !d->ended ? die(d) : go_on(d)))
        return false;
    if (dead && !trial_await_settled(t, dead))
        return false;
    t->r.figures.schedules++;
    bad = trial_judge(t, 0);
    return bad ? trial_complain(t, d->k, bad) : write_down(d);
}

/* The quick form has A go on here and die there; the long one has it go on everywhere and die in one place of four: what its
 * death leaves is judged everywhere. */
static bool
both_endings(struct duel *d)
{
    struct run *r = &d->t->r;

    if (!r->full)
        return one_schedule(d, run_random(r, 2));
    return one_schedule(d, false) && (run_random(r, 4) || one_schedule(d, true));
}

static bool
one_order(struct trial *t, const struct bus_pair *pair, int first)
{
    struct duel d = {.t = t, .pair = pair, .a = &pair->calls[first], .b = &pair->calls[!first]};
    bool is_long = pair->scene.wait_ns[d.a->who];
    uint64_t stride = is_long ? WAIT_STRIDE : STRIDE;

    if (t->r.full)
        stride = is_long ? WAIT_STRIDE_FULL : 1;
    d.k = run_random(&t->r, stride);
    while (!d.last) {
        if (!both_endings(&d))
            return false;
        d.k += 1 + run_random(&t->r, stride);
    }
    return true;
}

bool
bus_preempt(struct trial *t, const char *part)
{
    for (size_t i = 0; i < sizeof bus_pairs / sizeof *bus_pairs; i++) {
        const struct bus_pair *p = &bus_pairs[i];
        uint64_t schedules = t->r.figures.schedules, kills = t->r.figures.kills;
        if (!strstr(p->scene.name, part))
            continue;
        if (!stage_leave(&t->b) || !one_order(t, p, 0) || (!p->second_dies && !one_order(t, p, 1)))
            return false;
        t->r.figures.cases++;
        printf("  %-40s %6" PRIu64 " schedules %6" PRIu64 " kills\n", p->scene.name,
               t->r.figures.schedules - schedules, t->r.figures.kills - kills);
    }
    return true;
}
