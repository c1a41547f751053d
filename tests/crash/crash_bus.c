/* crash_bus.c - publishers and subscribers of a real daemon, killed after every instruction of every call of the library.
 *
 *   crash_bus kill [PART]      the calls of the cases whose name contains PART: after every instruction a copy of the
 *                              topic's memory is recovered and checked; a sample of real deaths shows that the
 *                              daemon does the same, and that the others go on
 *   crash_bus preempt [PART]   two guests: one takes k instructions, the other makes its whole call, the first goes on
 *
 * LEAT_FULL=1 takes the long form, LEAT_SEED the seed of the sample. */
#include "tests/crash/bus.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#define PATIENCE_S 20
#define STRIDE 128 /* at most so many instructions between two schedules of the quick form */

struct bus_case {
    const char *name, *topic;
    uint32_t kind;    /* of S0 */
    const char *sub;  /* its name */
    const char *past; /* letters as in run.h; those of publishers, and d */
    enum world_actor who;
    void (*fn)(void *);
    struct call call;
    int want;      /* its result */
    bool is_first; /* the guest has to open what it is about to open */
};

struct trial {
    struct run r;
    struct bus b;
    const struct bus_case *bc;
    struct test_case tc;
    unsigned char *last;
    uint64_t slowest_next_ns, slowest_settled_ns;
};

#define PUB(f, count, ...)                                                                         \
    .who = P0, .fn = (f), .call = {.publishes = true, .n = (count), .len = {__VA_ARGS__}}
#define SUB(f, ...) .who = S0, .fn = (f), .call = {__VA_ARGS__}

#define CASE(n, t, k, s, p, ...)                                                                   \
    {                                                                                              \
        .name = (n), .topic = (t), .kind = (k), .sub = (s), .past = (p), __VA_ARGS__               \
    }
static const struct bus_case bus_cases[] = {
    CASE("send", "memory", LEAT_GATING, NULL, "iI", PUB(guest_send, 1, 8)),
    CASE("send, in the lane", "memory", LEAT_GATING, NULL, "iI", PUB(guest_send, 1, 100)),
    CASE("send many", "memory", LEAT_GATING, NULL, "iI", PUB(guest_send, 3, 8, 40, 9)),
    CASE("send, ring full", "memory", LEAT_GATING, NULL, "bBii", PUB(guest_send, 1, 8),
         .want = -EAGAIN),
    CASE("send, lane reclaimed", "memory", LEAT_GATING, NULL, "hdhdhdhd", PUB(guest_send, 1, 1000)),
    CASE("send many, lossy", "lossy", LEAT_LIVE, NULL, "bBihh", PUB(guest_send, 3, 8, 900, 9)),
    CASE("send, on disk", "disk", LEAT_DURABLE, "crash", "iId", PUB(guest_send, 1, 8)),
    CASE("send many, on disk", "disk", LEAT_DURABLE, "crash", "iId", PUB(guest_send, 3, 8, 40, 9)),
    CASE("loan and commit", "memory", LEAT_GATING, NULL, "i", .who = P0, .fn = guest_commit,
         .call = {.publishes = true, .n = 1, .rounds = 2, .len = {100}}),
    CASE("loan and commit, short", "memory", LEAT_GATING, NULL, "i", .who = P0, .fn = guest_commit,
         .call = {.publishes = true, .n = 1, .rounds = 1, .len = {5}}),
    CASE("loan and abort", "memory", LEAT_GATING, NULL, "iI", PUB(guest_abort, 1, 100)),
    CASE("open a publisher", "memory", LEAT_GATING, NULL, "iI", PUB(guest_open_pub, 0, 0),
         .is_first = true),
    CASE("close a publisher", "memory", LEAT_GATING, NULL, "iIl", PUB(guest_close_pub, 0, 0)),
    CASE("receive and release", "memory", LEAT_GATING, NULL, "iBl", SUB(guest_receive, .n = 4)),
    CASE("receive, live", "lossy", LEAT_LIVE, NULL, "iBl", SUB(guest_receive, .n = 4)),
    CASE("receive, on disk", "disk", LEAT_DURABLE, "crash", "iBl", SUB(guest_receive, .n = 2)),
    CASE("acknowledge", "disk", LEAT_DURABLE, "crash", "iBd", SUB(guest_ack, .n = 0)),
    CASE("wait, a message is there", "memory", LEAT_GATING, NULL, "i", SUB(guest_wait, .n = 0)),
    CASE("wait to the end", "memory", LEAT_GATING, NULL, "id", SUB(guest_wait, .n = 0)),
    CASE("seek", "memory", LEAT_GATING, NULL, "iB", SUB(guest_seek, .n = 0)),
    CASE("open a gating subscriber", "memory", LEAT_GATING, NULL, "iI", SUB(guest_open_sub, .n = 0),
         .is_first = true),
    CASE("open a named subscriber", "disk", LEAT_DURABLE, "crash", "iI",
         SUB(guest_open_sub, .n = 0), .is_first = true),
    CASE("close a subscriber", "memory", LEAT_GATING, NULL, "iI", SUB(guest_close_sub, .n = 0)),
    CASE("close a named subscriber", "disk", LEAT_DURABLE, "crash", "iI",
         SUB(guest_close_sub, .n = 0)),
    {0},
};

/* Two guests that interrupt each other, in both orders. */
struct bus_call {
    enum world_actor who;
    void (*fn)(void *);
    struct call call;
};

struct bus_pair {
    const char *name, *topic;
    uint32_t kind;
    const char *sub, *past;
    struct bus_call calls[2];
};

#define SEND(p, count, ...)                                                                        \
    {                                                                                              \
        .who = (p), .fn = guest_send, .call = {                                                    \
            .publishes = true,                                                                     \
            .n = (count),                                                                          \
            .len = {__VA_ARGS__}                                                                   \
        }                                                                                          \
    }
#define LOAN(p, size)                                                                              \
    {                                                                                              \
        .who = (p), .fn = guest_commit, .call = {                                                  \
            .publishes = true,                                                                     \
            .n = 1,                                                                                \
            .rounds = 1,                                                                           \
            .len = {size}                                                                          \
        }                                                                                          \
    }
#define READ                                                                                       \
    {                                                                                              \
        .who = S0, .fn = guest_receive, .call = {.n = 3 }                                          \
    }
#define WAIT                                                                                       \
    {                                                                                              \
        .who = S0, .fn = guest_wait                                                                \
    }

static const struct bus_pair pairs[] = {
    {"send / send", "memory", LEAT_GATING, NULL, "d", {SEND(P0, 1, 8), SEND(P1, 1, 40)}},
    {"send many / send many",
     "memory",
     LEAT_GATING,
     NULL,
     "d",
     {SEND(P0, 2, 8, 40), SEND(P1, 3, 9, 10, 33)}},
    {"loan / send, lossy", "lossy", LEAT_LIVE, NULL, "d", {LOAN(P0, 100), SEND(P1, 2, 8, 900)}},
    {"send / receive", "memory", LEAT_GATING, NULL, "dI", {SEND(P0, 2, 8, 40), READ}},
    {"send / receive, on disk", "disk", LEAT_DURABLE, "crash", "dI", {SEND(P0, 1, 8), READ}},
    {"send / wait", "memory", LEAT_GATING, NULL, "d", {SEND(P0, 1, 8), WAIT}},
    {"send / wait, on disk", "disk", LEAT_DURABLE, "crash", "d", {SEND(P0, 1, 8), WAIT}},
    {.name = NULL},
};

static int64_t
now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static bool
complain(const struct trial *t, uint64_t n, const char *what)
{
    char where[64];

    (void)snprintf(where, sizeof where, "after %" PRIu64 " instructions", n);
    return run_complain(&t->r, where, what);
}

/* --- where a case starts ---------------------------------------------------------------------------- */

/* S0 reads all there is; false: it is told something else than messages and gaps. */
static bool
drain(struct trial *t)
{
    const struct call all = {.n = WORLD_SEEN};

    for (int i = 0; i < 64; i++) {
        if (bus_do(&t->b, S0, guest_receive, &all))
            return false;
        if (!bus_guest(&t->b, S0)->seen_count)
            return true;
    }
    return false;
}

static bool
happen(struct trial *t, char c)
{
    const uint32_t *lens = run_lens((char)(c | 0x20));
    struct call call = {.publishes = true};
    int r = -EAGAIN;

    if (c == 'd')
        return drain(t);
    for (; call.n < WORLD_BATCH && lens[call.n]; call.n++)
        call.len[call.n] = lens[call.n];
    /* On disk there is room again when the daemon has written. */
    for (time_t until = time(NULL) + PATIENCE_S; r == -EAGAIN && time(NULL) <= until;)
        r = bus_do(&t->b, c & 0x20 ? P0 : P1, guest_send, &call);
    return !r;
}

static bool
remember(struct trial *t, const char *past)
{
    for (const char *c = past; *c; c++)
        if (!happen(t, *c))
            return complain(t, 0, "what has to come before does not");
    return true;
}

/* Nothing is left of the case before, S0 has read all, then what came before this one. */
static bool
prepare(struct trial *t)
{
    const struct bus_case *bc = t->bc;

    if (!bus_leave(&t->b) || !bus_use(&t->b, bc->topic, bc->kind, bc->sub) || !drain(t))
        return complain(t, 0, "the guests cannot enter");
    if (!remember(t, bc->past))
        return false;
    if (bc->is_first &&
        bus_do(&t->b, bc->who, bc->who == S0 ? guest_close_sub : guest_close_pub, NULL))
        return complain(t, 0, "what has to come before does not");
    return true;
}

static struct stepper *
begin(struct trial *t)
{
    struct call call = t->bc->call;

    /* A seek goes back as far as the ring goes, or nearly. */
    if (t->bc->fn == guest_seek)
        call.pos = bus_guest(&t->b, S0)->last;
    return bus_tell(&t->b, t->bc->who, t->bc->fn, &call);
}

/* --- every instruction -------------------------------------------------------------------------------- */

/* The actors in `dead` die in a copy of memory as it is now. */
static const char *
judge(struct trial *t, uint32_t dead)
{
    struct run *r = &t->r;

    if (!bus_import(&t->b, r->w, dead))
        return "a copy of the topic cannot be joined";
    truth_start(&r->truth, r->w);
    r->truth.origin = ring_oldest(&r->w->view);
    return run_judge(r, dead);
}

static bool
walk(struct trial *t, uint64_t *ret_points)
{
    struct stepper *s = begin(t);
    enum stepper_verdict v = STEPPER_ON;
    uint64_t n = 0, states = 0;

    for (; v == STEPPER_ON; n++) {
        if (!states || !bus_is_as(&t->b, t->last)) {
            const char *bad;
            bus_copy(&t->b, t->last);
            states++;
            bad = judge(t, 1u << t->bc->who);
            if (bad)
                return complain(t, n, bad);
        }
        v = stepper_step(s);
    }
    t->r.figures.points += n;
    t->r.figures.states += states;
    *ret_points = n;
    if (v != STEPPER_DONE)
        return complain(t, n, "the call does not return");
    if (bus_guest(&t->b, t->bc->who)->call.result != t->bc->want)
        return complain(t, n, leat_strerror(bus_guest(&t->b, t->bc->who)->call.result));
    return true;
}

/* --- real deaths ---------------------------------------------------------------------------------------- */

/* P1 publishes, S0 reads, as often as it takes; with no time-out of its own. */
static bool
others_go_on(struct trial *t, int64_t since)
{
    const struct call one = {.publishes = true, .n = 1, .len = {8}};
    time_t until = time(NULL) + PATIENCE_S;
    int r = -EAGAIN;

    while (r == -EAGAIN && time(NULL) <= until) {
        r = bus_do(&t->b, P1, guest_send, &one);
        if (bus_guest(&t->b, S0)->proc.pid && bus_guest(&t->b, S0)->sub && !drain(t))
            return complain(t, 0, "a subscriber cannot go on after a death");
    }
    t->slowest_next_ns = shm_max(t->slowest_next_ns, (uint64_t)(now_ns() - since));
    return !r || complain(t, 0, "a publisher cannot go on after a death");
}

static bool
kill_one(struct trial *t, uint64_t n)
{
    struct stepper *s;
    int64_t since;
    const char *bad;
    pid_t pid;

    if (!prepare(t))
        return false;
    s = begin(t);
    for (uint64_t i = 0; i < n; i++)
        if (stepper_step(s) != STEPPER_ON)
            break;
    pid = s->pid;
    since = now_ns();
    stepper_kill(s);
    t->r.figures.kills++;
    if (!others_go_on(t, since))
        return false;
    while (!bus_settled(&t->b, pid))
        if (now_ns() - since > PATIENCE_S * 1000000000ll)
            return complain(t, n, "the daemon leaves something behind");
        else
            (void)sched_yield();
    t->slowest_settled_ns = shm_max(t->slowest_settled_ns, (uint64_t)(now_ns() - since));
    bad = judge(t, 0);
    return bad ? complain(t, n, bad) : true;
}

static bool
kill_case(struct trial *t)
{
    uint64_t points = 0, states = t->r.figures.states;
    uint32_t sample = t->r.full ? 40 : 2;

    if (!prepare(t) || !walk(t, &points))
        return false;
    for (uint32_t i = 0; i < sample; i++)
        if (!kill_one(t, run_random(&t->r, points)))
            return false;
    t->r.figures.cases++;
    printf("  %-40s %7" PRIu64 " points %5" PRIu64 " states\n", t->bc->name, points,
           t->r.figures.states - states);
    return true;
}

static bool
kill_form(struct trial *t, const char *part)
{
    for (t->bc = bus_cases; t->bc->name; t->bc++) {
        t->tc.name = t->bc->name;
        if (strstr(t->bc->name, part) && !kill_case(t))
            return false;
    }
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

static struct stepper *
tell(struct duel *d, const struct bus_call *c)
{
    return bus_tell(&d->t->b, c->who, c->fn, &c->call);
}

/* Who waited has got what he waited for. */
static bool
check_wait(const struct duel *d, const struct bus_call *c)
{
    const struct guest *g = bus_guest(&d->t->b, c->who);

    return c->fn != guest_wait || g->call.slept == 1 ||
           complain(d->t, d->k, "a sleeper was not woken");
}

/* Both to their ends: B first, then A; B may have to wait for A. */
static bool
both_to_the_end(struct duel *d, struct stepper *a)
{
    struct stepper *b = tell(d, d->b);
    enum stepper_verdict v = d->b->fn == guest_wait ? stepper_settle(b) : stepper_finish(b);

    if (v != STEPPER_DONE && v != STEPPER_ASLEEP)
        return complain(d->t, d->k, "the second does not return");
    if (!d->ended && stepper_finish(a) != STEPPER_DONE)
        return complain(d->t, d->k, "the first does not return");
    if (v == STEPPER_ASLEEP && stepper_finish(b) != STEPPER_DONE)
        return complain(d->t, d->k, "the sleeper does not return");
    return check_wait(d, d->a) && check_wait(d, d->b);
}

static bool
one_schedule(struct duel *d)
{
    struct trial *t = d->t;
    const char *bad;
    struct stepper *a;

    if (!bus_use(&t->b, d->pair->topic, d->pair->kind, d->pair->sub) || !remember(t, d->pair->past))
        return false;
    a = tell(d, d->a);
    d->ended = false;
    for (uint64_t i = 0; i < d->k && !d->last; i++) {
        d->last = d->a->fn == guest_wait && stepper_asks(a) == SYS_futex;
        d->ended = !d->last && stepper_step(a) != STEPPER_ON;
        d->last |= d->ended;
    }
    if (!both_to_the_end(d, a))
        return false;
    t->r.figures.schedules++;
    bad = judge(t, 0);
    return bad ? complain(t, d->k, bad) : true;
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
    for (const struct bus_pair *p = pairs; p->name; p++) {
        uint64_t schedules = t->r.figures.schedules;
        t->tc.name = p->name;
        if (!strstr(p->name, part))
            continue;
        if (!bus_leave(&t->b) || !one_order(t, p, 0) || !one_order(t, p, 1))
            return false;
        t->r.figures.cases++;
        printf("  %-40s %6" PRIu64 " schedules\n", p->name, t->r.figures.schedules - schedules);
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
    x = run_open(&t.r);
    if (x)
        return x;
    t.r.tc = &t.tc;
    t.tc.name = "bus";
    t.last = malloc(1 << 20);
    good = t.last && bus_open(&t.b) &&
           (strcmp(form, "preempt") ? kill_form(&t, part) : preempt_form(&t, part));
    printf("%s: %" PRIu64 " cases, %" PRIu64 " points (%" PRIu64
           " states of memory recovered), %" PRIu64 " real kills, %" PRIu64
           " schedules, seed %" PRIu64 "\n",
           form, t.r.figures.cases, t.r.figures.points, t.r.figures.states, t.r.figures.kills,
           t.r.figures.schedules, t.r.seed);
    printf("after a real death: the next publish came %.1f ms later at most, all was cleaned up "
           "%.1f ms later at most\n",
           (double)t.slowest_next_ns / 1e6, (double)t.slowest_settled_ns / 1e6);
    bus_close(&t.b);
    run_close(&t.r);
    return !good;
}
