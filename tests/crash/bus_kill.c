/* bus_kill.c - a guest of a real daemon, killed after every instruction of its call.
 *
 * The others go on within 50 ms of a death: that is what leat promises, on a machine that lets them. This one may be at
 * other work, and then nobody can say whose a delay is. So what took longer is done again at the same instruction: a
 * fault is there again, noise is not. It counts as a fault when the fastest of ATTEMPTS took longer than BOUND_NS and ten
 * times what the machine kept a plain process waiting at worst: about so many hand-overs lie between a death and the next
 * message that is received. */
#include "tests/crash/bus.h"
#include "tests/crash/yardstick.h"
#include "tests/support/pause.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define BOUND_NS 50000000u
#define ATTEMPTS 5
#define HAND_OVERS 10
#define BRIEF_NS 100000000 /* one is stepped slowly: this is a look, a sleep or two, and the end */

struct bus_case {
    struct scene scene;
    struct bus_call c;
    struct bus_call asleep; /* of another guest, who waits in it when the call begins */
    int want;               /* the call's result */
    bool is_first;          /* the guest has to open what it is about to open */
};

/* How long others had to wait after deaths. */
static struct {
    struct yardstick machine;
    uint64_t slowest_ns, settled_ns;
    uint32_t late; /* took longer than BOUND_NS */
} after;

#define WAITING(name, past, p0, p1, s0)                                                            \
    {                                                                                              \
        (name), "memory", LEAT_GATING, NULL, (past),                                               \
        {                                                                                          \
            (p0), (p1), (s0)                                                                       \
        }                                                                                          \
    }

static const struct bus_case bus_cases[] = {
    {MEMORY("send", "iI"), .c = PUB(P0, guest_send, 1, 8)},
    {MEMORY("send, in the lane", "iI"), .c = PUB(P0, guest_send, 1, 100)},
    {MEMORY("send many", "iI"), .c = PUB(P0, guest_send, 3, 8, 40, 9)},
    {MEMORY("send, ring full", "bBii"), .c = PUB(P0, guest_send, 1, 8), .want = -EAGAIN},
    {MEMORY("send, lane reclaimed", "hdhdhdhd"), .c = PUB(P0, guest_send, 1, 1000)},
    {LOSSY("send many, lossy", "bBihh"), .c = PUB(P0, guest_send, 3, 8, 900, 9)},
    {WAITING("send, ring full, it waits", "bBii", BRIEF_NS, 0, 0), .c = PUB(P0, guest_send, 1, 8),
     .want = -EAGAIN},
    {WAITING("send, wakes a sleeper", "d", 0, 0, LONG_WAIT_NS), .c = PUB(P0, guest_send, 1, 8),
     .asleep = SUB(guest_wait, 0)},
    {WAITING("send many, wakes a sleeper", "d", 0, 0, LONG_WAIT_NS),
     .c = PUB(P0, guest_send, 3, 8, 900, 9), .asleep = SUB(guest_wait, 0)},
    {WAITING("receive, wakes a publisher", "bBii", 0, LONG_WAIT_NS, 0), .c = SUB(guest_receive, 2),
     .asleep = PUB(P1, guest_send, 1, 8)},
    {WAITING("close a subscriber, a publisher waits", "bBii", 0, LONG_WAIT_NS, 0),
     .c = SUB(guest_close_sub, 0), .asleep = PUB(P1, guest_send, 1, 8)},
    {DISK("send, on disk", "iId"), .c = PUB(P0, guest_send, 1, 8)},
    {DISK("send many, on disk", "iId"), .c = PUB(P0, guest_send, 3, 8, 40, 9)},
    {MEMORY("loan and commit", "i"), .c = LOANS(P0, 2, 100)},
    {MEMORY("loan and commit, short", "i"), .c = LOANS(P0, 1, 5)},
    {LOSSY("loan and commit, lane wraps", "l"), .c = LOANS(P0, 4, 1000)},
    {MEMORY("loan and abort", "iI"), .c = PUB(P0, guest_abort, 1, 100)},
    {MEMORY("open a publisher", "iI"), .c = PUB(P0, guest_open_pub, 0, 0), .is_first = true},
    {MEMORY("close a publisher", "iIl"), .c = PUB(P0, guest_close_pub, 0, 0)},
    {MEMORY("receive and release", "iBl"), .c = SUB(guest_receive, 4)},
    {LOSSY("receive, live", "iBl"), .c = SUB(guest_receive, 4)},
    {DISK("receive, on disk", "iBl"), .c = SUB(guest_receive, 2)},
    {DISK("acknowledge", "iBd"), .c = SUB(guest_ack, 0)},
    {MEMORY("wait, a message is there", "i"), .c = SUB(guest_wait, 0)},
    {MEMORY("wait to the end", "id"), .c = SUB(guest_wait, 0)},
    {MEMORY("seek", "iB"), .c = SUB(guest_seek, 0)},
    {MEMORY("open a gating subscriber", "iI"), .c = SUB(guest_open_sub, 0), .is_first = true},
    {DISK("open a named subscriber", "iI"), .c = SUB(guest_open_sub, 0), .is_first = true},
    {MEMORY("close a subscriber", "iI"), .c = SUB(guest_close_sub, 0)},
    {DISK("close a named subscriber", "iI"), .c = SUB(guest_close_sub, 0)},
};

/* --- every instruction -------------------------------------------------------------------------------- */

/* Nothing is left of the case before. */
static bool
prepare(struct trial *t, const struct bus_case *bc)
{
    void (*close)(void *) = bc->c.who == S0 ? guest_close_sub : guest_close_pub;

    if (!stage_leave(&t->b) || !trial_enter(t, &bc->scene))
        return trial_complain(t, 0, "the guests cannot enter");
    if (bc->asleep.fn && stepper_settle(bus_begin(t, &bc->asleep)) != STEPPER_ASLEEP)
        return trial_complain(t, 0, "who was to wait does not");
    return !bc->is_first || !trial_do(t, bc->c.who, close, NULL);
}

/* Who was woken is let do what it can: nobody can judge what is in the making. */
static void
hush(struct trial *t, const struct bus_case *bc)
{
    struct stepper *s;

    if (!bc->asleep.fn)
        return;
    s = &stage_guest(&t->b, bc->asleep.who)->proc;
    while (s->asleep && stepper_letter(s->pid) != 'S' && stepper_letter(s->pid) != 't')
        pause_briefly();
}

/* Who waited has got what it waited for. */
static bool
wake(struct trial *t, const struct bus_case *bc, uint64_t n)
{
    const struct bus_call *c = &bc->asleep;
    const struct guest *g;

    if (!c->fn)
        return true;
    g = stage_guest(&t->b, c->who);
    if (stepper_finish(&stage_guest(&t->b, c->who)->proc) != STEPPER_DONE)
        return trial_complain(t, n, "a sleeper does not return");
    trial_note(t, c->who);
    if (g->call.result || (c->fn == guest_wait && g->call.slept != 1))
        return trial_complain(t, n, "a sleeper was not woken");
    return true;
}

static bool
walk(struct trial *t, const struct bus_case *bc, uint64_t *ret_points)
{
    struct stepper *s = bus_begin(t, &bc->c);
    enum stepper_verdict v = STEPPER_ON;
    uint64_t n = 0, states = 0;

    for (; v == STEPPER_ON; n++) {
        hush(t, bc);
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
    return wake(t, bc, n);
}

/* --- real deaths ---------------------------------------------------------------------------------------- */

/* S0 reads, P1 publishes, as often as it takes. */
static bool
others_go_on(struct trial *t, const struct bus_case *bc, uint64_t n)
{
    const struct call one = {.publishes = true, .n = 1, .len = {8}};
    const struct guest *s = stage_guest(&t->b, S0);
    time_t until = time(NULL) + TRIAL_PATIENCE_S;
    bool woken = bc->asleep.who != S0 && wake(t, bc, n), reads;
    int r = -EAGAIN;

    if (!woken && bc->asleep.who != S0)
        return false;
    while (r == -EAGAIN && time(NULL) <= until) {
        r = trial_do(t, P1, guest_send, &one);
        if (!woken && !wake(t, bc, n))
            return false;
        woken = true;
        reads = s->proc.pid && s->sub;
        if (reads && !trial_drain(t))
            return trial_complain(t, n, "a subscriber cannot go on after a death");
    }
    return !r || trial_complain(t, n, "a publisher cannot go on after a death");
}

/* How long it took until the others had gone on in *ret_took. */
static bool
kill_one(struct trial *t, const struct bus_case *bc, uint64_t n, uint64_t *ret_took)
{
    enum stepper_verdict v = STEPPER_ON;
    struct stepper *s;
    const char *bad;
    int64_t since;
    pid_t pid;

    if (!prepare(t, bc))
        return false;
    s = bus_begin(t, &bc->c);
    for (uint64_t i = 0; i < n && v == STEPPER_ON; i++)
        v = stepper_step(s);
    pid = s->pid;
    since = trial_now_ns();
    stepper_kill(s);
    trial_note(t, bc->c.who);
    t->r.figures.kills++;
    if (!others_go_on(t, bc, n))
        return false;
    *ret_took = (uint64_t)(trial_now_ns() - since);
    if (!trial_await_settled(t, pid))
        return trial_complain(t, n, "and that was after so many instructions");
    after.settled_ns = shm_max(after.settled_ns, (uint64_t)(trial_now_ns() - since));
    bad = trial_judge(t, 0);
    if (bad)
        return trial_complain(t, n, bad);
    return bc->c.who == S0 || bc->is_first || (trial_drain(t) && trial_audit(t));
}

static bool
kill_at(struct trial *t, const struct bus_case *bc, uint64_t n)
{
    uint64_t fastest = UINT64_MAX, took;

    for (int i = 0; i < ATTEMPTS && fastest > BOUND_NS; i++) {
        if (!kill_one(t, bc, n, &took))
            return false;
        after.late += took > BOUND_NS;
        after.slowest_ns = shm_max(after.slowest_ns, took);
        fastest = shm_min(fastest, took);
    }
    return fastest <= BOUND_NS + HAND_OVERS * atom_load_relaxed(after.machine.worst_ns) ||
           trial_complain(t, n, "the others go on late, each time");
}

/* Where somebody has to be woken every instruction matters: the long form takes them all, of long calls a thousand. */
static bool
kill_case(struct trial *t, const struct bus_case *bc)
{
    uint64_t points = 0, states = t->r.figures.states, kills = t->r.figures.kills;
    uint64_t sample = t->r.full ? 40 : 2;

    if (!prepare(t, bc) || !walk(t, bc, &points))
        return false;
    if (bc->asleep.fn)
        sample = t->r.full ? shm_min(points, 1000) : 4;
    for (uint64_t i = 0; i < sample; i++)
        if (!kill_at(t, bc, sample == points ? i : run_random(&t->r, points)))
            return false;
    t->r.figures.cases++;
    printf("  %-40s %7" PRIu64 " points %5" PRIu64 " states %5" PRIu64 " kills\n", bc->scene.name,
           points, t->r.figures.states - states, t->r.figures.kills - kills);
    return true;
}

static void
tell_how_late(const struct trial *t)
{
    printf("after a death the others went on %.1f ms later at most, %" PRIu32 " of %" PRIu64
           " times later than %u ms; nothing was left %.1f ms later at most; the machine kept a "
           "plain process waiting for %.1f ms at most\n",
           (double)after.slowest_ns / 1e6, after.late, t->r.figures.kills, BOUND_NS / 1000000,
           (double)after.settled_ns / 1e6, (double)atom_load_relaxed(after.machine.worst_ns) / 1e6);
}

bool
bus_kill(struct trial *t, const char *part)
{
    bool good = yardstick_open(&after.machine);

    for (size_t i = 0; good && i < sizeof bus_cases / sizeof *bus_cases; i++)
        if (strstr(bus_cases[i].scene.name, part))
            good = kill_case(t, &bus_cases[i]);
    if (after.machine.pid > 0)
        tell_how_late(t);
    yardstick_close(&after.machine);
    return good;
}
