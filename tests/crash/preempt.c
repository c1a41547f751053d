/* preempt.c - two calls of two processes, interleaved.
 *
 * Once:  A takes k instructions, B makes its whole call (or until it waits), then A goes on, or is dead.
 *        Or it goes on and is dead later.
 * Twice: A takes k, B takes j, then either goes on first, or is dead, with and without a recovery between.
 *
 * For all k and j at which the next instruction touches what they share: elsewhere two instructions can change
 * places and nobody sees it. The full form takes all k once, whatever they touch. */
#include "tests/crash/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#define POINTS_MAX 8192
#define SPOTS_MAX 512
/* At about how many places A and B are preempted twice in the quick form. */
#define QUICK 16
/* At one of so many places of A it goes on after B and is killed later. */
#define LATER 16

/* The instructions of a call when it is alone, and which of them touch shared memory. */
struct trace {
    uint32_t points, touch_count;
    uint64_t at[POINTS_MAX];
    bool touches[POINTS_MAX];
};

/* B, about to touch shared memory. */
struct spot {
    uint32_t j;
    struct stepper_state at;
    unsigned char *image;
};

struct pair {
    struct run *r;
    const struct plan *a, *b;
    struct trace along_a, along_b;
    uint32_t k, j;
    bool overslept; /* A has slept to its end before B began */
    struct stepper_state at_a;
    uint32_t spot_count;
    const struct spot *spot;
};

static struct spot spots[SPOTS_MAX];

static bool
complain(const struct pair *p, const char *then, const char *what)
{
    char where[128];

    (void)snprintf(where, sizeof where,
                   "actor %d takes %" PRIu32 ", actor %d takes %" PRIu32 ", %s", (int)p->a->who,
                   p->k, (int)p->b->who, p->j, then);
    return run_complain(p->r, where, what);
}

/* How much of what they share matters: the lanes only where somebody reads them. */
static uint64_t
watched(const struct pair *p)
{
    bool reads = p->a->fn == call_receive || p->b->fn == call_receive || p->a->fn == call_sleep ||
                 p->b->fn == call_sleep;

    return reads ? world_shared_size(p->r->w) : world_words_size(p->r->w);
}

/* Watches a call from the start of the case to its end. */
static bool
watch(struct pair *p, const struct plan *plan, struct trace *ret)
{
    enum stepper_verdict v = STEPPER_ON;
    struct stepper *s;
    uint32_t i = 0;

    run_reset(p->r);
    s = run_begin(p->r, plan);
    ret->touch_count = 0;
    for (; v == STEPPER_ON && i < POINTS_MAX; i++) {
        ret->at[i] = s->at;
        v = stepper_watch(s, world_shared(p->r->w), watched(p), &ret->touches[i]);
        ret->touch_count += ret->touches[i];
    }
    ret->points = i;
    return v == STEPPER_DONE || complain(p, "alone", "it does not return");
}

/* The next place after `from` where the call touches shared memory. */
static uint32_t
next_touch(const struct trace *t, uint32_t from)
{
    do
        from++;
    while (from < t->points && !t->touches[from]);
    return from;
}

/* Lets a process that stands at instruction `from` of a call that goes as in the trace go on to `to`; false: it goes another
 * way. */
static bool
advance(struct stepper *s, const struct trace *t, uint32_t from, uint32_t to)
{
    uint32_t i = from;

    if (to >= t->points)
        return false;
    while (i < to && t->at[i] != t->at[to])
        i++;
    if (i == to && to - from > 3)
        return stepper_run_to(s, t->at[to]) == STEPPER_ON;
    for (i = from; i < to; i++)
        if (stepper_step(s) != STEPPER_ON || s->at != t->at[i + 1])
            return false;
    return true;
}

static struct stepper *
process(const struct pair *p, const struct plan *plan)
{
    return &p->r->procs[plan->who];
}

/* Lets a call that may be asleep go to its end. */
static bool
end(const struct pair *p, const struct plan *plan)
{
    return stepper_finish(process(p, plan)) == STEPPER_DONE;
}

/* A sleeper whose message was there before it lay down, or that was woken, did not sleep to the end. */
static const char *
check_sleep(const struct pair *p, const struct plan *plan)
{
    const struct call *c = &p->r->w->actors[plan->who].call;

    return plan->fn == call_sleep && c->done && c->slept ? "a sleeper was not woken" : NULL;
}

static bool
judge(const struct pair *p, const char *then, uint32_t dead)
{
    const char *bad = NULL;

    if (!(dead >> p->a->who & 1) && !p->overslept)
        bad = check_sleep(p, p->a);
    if (!bad && !(dead >> p->b->who & 1))
        bad = check_sleep(p, p->b);
    if (!bad)
        bad = run_judge(p->r, dead);
    p->r->figures.schedules++;
    return bad ? complain(p, then, bad) : true;
}

/* --- once ---------------------------------------------------------------------------------------- */

/* Readers may look at any time; what they see then stays so. */
static bool
look_between(const struct pair *p, const char *then)
{
    const char *bad = verify_look(p->r->w, &p->r->truth);

    return bad ? complain(p, then, bad) : true;
}

/* B's whole call, or until it sleeps, while A stands still. */
static bool
run_b(struct pair *p, enum stepper_verdict *ret)
{
    struct stepper *b = run_begin(p->r, p->b);
    const struct call *c = &p->r->w->actors[p->b->who].call;

    *ret = p->b->fn == call_sleep ? stepper_settle(b) : stepper_finish(b);
    if (*ret != STEPPER_DONE && *ret != STEPPER_ASLEEP)
        return complain(p, "b to its end", "it does not return");
    if (*ret == STEPPER_DONE && p->r->tc->never_held && c->result < 0)
        return complain(p, "b to its end", "it is held up");
    return look_between(p, "b");
}

static bool
a_goes_on(struct pair *p)
{
    enum stepper_verdict v;

    if (!run_b(p, &v))
        return false;
    stepper_load(process(p, p->a), &p->at_a);
    if (!end(p, p->a) || (v == STEPPER_ASLEEP && !end(p, p->b)))
        return complain(p, "b, a", "it does not return");
    return judge(p, "b, a", 0);
}

static bool
a_is_dead(struct pair *p)
{
    enum stepper_verdict v;
    const char *bad;
    bool open;

    if (!run_b(p, &v))
        return false;
    if (v == STEPPER_ASLEEP) {
        /* The daemon wakes all after a death. */
        bad = verify_recover(p->r->w, 1u << p->a->who, &open);
        if (bad || !end(p, p->b))
            return complain(p, "b, a dead", bad ? bad : "a sleeper stays asleep");
    }
    return judge(p, "b, a dead", 1u << p->a->who);
}

/* B's whole call, then A goes on and dies later: after every change that it makes. */
static bool
a_dies_later(struct pair *p)
{
    struct run *r = p->r;
    struct stepper *a = process(p, p->a);
    uint64_t size = world_shared_size(r->w);
    enum stepper_verdict v;
    bool good = true;

    if (!run_b(p, &v))
        return false;
    r->walked = r->truth;
    stepper_load(a, &p->at_a);
    for (p->j = 1; good && stepper_step(a) == STEPPER_ON; p->j++) {
        if (p->j > 1 && !memcmp(r->inner + r->w->shared, world_shared(r->w), size))
            continue;
        run_save(r, r->inner);
        good = judge(p, "b, a goes on and is dead", 1u << p->a->who);
        run_load(r, r->inner);
        r->truth = r->walked;
    }
    p->j = 0;
    return good;
}

static bool
once_here(struct pair *p, struct stepper *a)
{
    struct run *r = p->r;
    bool good;

    run_save(r, r->mid);
    stepper_save(a, &p->at_a);
    good = a_goes_on(p);
    run_load(r, r->mid);
    r->truth = r->base;
    good = good && a_is_dead(p);
    run_load(r, r->mid);
    r->truth = r->base;
    /* How A goes on depends on B only where A looks. */
    if (good && p->b->fn != call_sleep && p->along_a.touches[p->k] &&
        (r->full || !run_random(r, LATER))) {
        good = a_dies_later(p);
        run_load(r, r->mid);
        r->truth = r->base;
    }
    stepper_load(a, &p->at_a);
    p->overslept |= p->a->fn == call_sleep && stepper_asks(a) == SYS_futex;
    return good;
}

/* The number of instructions after which A is looked at next. */
static uint32_t
next_k(const struct pair *p, uint32_t k)
{
    return p->r->full ? k + 1 : next_touch(&p->along_a, k);
}

static bool
once(struct pair *p)
{
    struct stepper *a;
    bool good = true;
    uint32_t next;

    run_reset(p->r);
    a = run_begin(p->r, p->a);
    p->j = 0;
    for (p->k = 0; good && p->k < p->along_a.points; p->k = next) {
        good = once_here(p, a);
        next = next_k(p, p->k);
        if (good && next < p->along_a.points && !advance(a, &p->along_a, p->k, next))
            return complain(p, "alone", "it goes another way than before");
    }
    return good;
}

/* --- twice --------------------------------------------------------------------------------------- */

enum ending { A_B, B_A, A_ONLY, B_ONLY, NEITHER, B_AFTER, ENDINGS };
static const char *const ending_names[] = {"a, b",      "b, a",      "a, b dead",
                                           "b, a dead", "both dead", "a dead, recovery, b"};

static bool
go(struct pair *p, const struct plan *plan, const struct stepper_state *at)
{
    stepper_load(process(p, plan), at);
    if (!end(p, plan))
        return complain(p, "one of them to its end", "it does not return");
    return look_between(p, "one of them to its end");
}

static bool
finish(struct pair *p, enum ending e)
{
    struct run *r = p->r;
    uint32_t a = 1u << p->a->who, b = 1u << p->b->who, dead = 0;
    const char *bad = NULL;
    bool good = true, open;

    if (e == B_AFTER)
        bad = verify_recover(r->w, a | r->dead, &open);
    if (bad)
        return complain(p, ending_names[e], bad);
    if (e == A_B || e == A_ONLY)
        good = go(p, p->a, &p->at_a);
    if (good && (e == A_B || e == B_A || e == B_ONLY || e == B_AFTER))
        good = go(p, p->b, &p->spot->at);
    if (good && e == B_A)
        good = go(p, p->a, &p->at_a);
    if (!good)
        return false;
    if (e == B_ONLY || e == NEITHER || e == B_AFTER)
        dead |= a;
    if (e == A_ONLY || e == NEITHER)
        dead |= b;
    return judge(p, ending_names[e], dead);
}

static void
take_from_mid(struct run *r, void *at, uint64_t len)
{
    memcpy(at, r->mid + ((unsigned char *)at - (unsigned char *)r->w), len);
}

/* Memory when A stands at k and B at the spot. */
static void
go_to_spot(struct pair *p)
{
    struct world *w = p->r->w;
    struct actor *a = &w->actors[p->a->who];

    run_load(p->r, p->spot->image);
    take_from_mid(p->r, a, sizeof *a);
    if (a->publishes)
        take_from_mid(p->r, ring_lane(&w->view, a->index), w->view.geo.lane_size);
    p->r->truth = p->r->base;
}

/* All endings from here; in the quick form one of the orders and one of the deaths, by turns. */
static bool
endings(struct pair *p)
{
    bool good = true;

    for (int e = 0; good && e < ENDINGS; e++) {
        uint32_t turn = p->k + p->j, first = e < A_ONLY ? 0 : A_ONLY,
                 count = e < A_ONLY ? A_ONLY : ENDINGS - A_ONLY;
        if (!p->r->full && turn % count != (uint32_t)e - first)
            continue;
        go_to_spot(p);
        good = finish(p, (enum ending)e);
    }
    return good;
}

/* Memory and B as they are now may become a spot. */
static void
mark(struct pair *p, const struct stepper *b, uint32_t j)
{
    struct spot *spot = &spots[p->spot_count];

    if (!spot->image && !(spot->image = malloc(p->r->w->size)))
        abort();
    spot->j = j;
    run_save(p->r, spot->image);
    stepper_save(b, &spot->at);
}

/* Whether the call goes to its end as in the trace. */
static bool
ends_as_known(struct stepper *s, const struct trace *t, uint32_t from)
{
    enum stepper_verdict v = STEPPER_ON;

    for (; v == STEPPER_ON && from < t->points && s->at == t->at[from]; from++)
        v = stepper_step(s);
    return v == STEPPER_DONE && from == t->points;
}

/* Watches B from its last spot on. */
static bool
watch_on(struct pair *p, struct stepper *b)
{
    enum stepper_verdict v = STEPPER_ON;
    bool touches;

    for (uint32_t j = p->j; v == STEPPER_ON && p->spot_count < SPOTS_MAX; j++) {
        mark(p, b, j);
        v = stepper_watch(b, world_shared(p->r->w), watched(p), &touches);
        p->spot_count += touches;
    }
    return v == STEPPER_DONE;
}

/* Takes B through its call from memory `mid` and keeps each state before it touches shared memory. As long as it takes
 * the way that it takes alone, the places are known; then it has to be watched. */
static bool
find_spots(struct pair *p)
{
    const struct trace *t = &p->along_b;
    struct stepper *b;
    uint32_t at = 0, to = t->touches[0] ? 0 : next_touch(t, 0);

    run_load(p->r, p->r->mid);
    b = run_begin(p->r, p->b);
    p->spot_count = 0;
    p->j = 0;
    mark(p, b, 0);
    while (p->spot_count < SPOTS_MAX - 1 && advance(b, t, at, to)) {
        p->j = to;
        mark(p, b, to);
        p->spot_count++;
        at = to;
        to = next_touch(t, to);
    }
    if (to >= t->points && ends_as_known(b, t, at))
        return true;
    if (p->spot_count)
        p->spot_count--;
    run_load(p->r, spots[p->spot_count].image);
    stepper_load(b, &spots[p->spot_count].at);
    return watch_on(p, b);
}

/* A stands at k: memory is `mid`. Where it is as at the k before, B does the same as there. */
static bool
all_of_b(struct pair *p)
{
    struct run *r = p->r;
    uint64_t size = watched(p), stride;
    const unsigned char *shared = r->mid + r->w->shared;

    if (!p->spot_count || memcmp(r->inner, shared, size)) {
        memcpy(r->inner, shared, size);
        if (!find_spots(p))
            return complain(p, "b to its end", "it does not return");
    }
    stride = p->r->full ? 1 : 1 + p->spot_count / QUICK;
    for (uint32_t i = 0; i < p->spot_count; i++) {
        if ((i + p->k) % stride)
            continue;
        p->spot = &spots[i];
        p->j = p->spot->j;
        if (!endings(p))
            return false;
    }
    return true;
}

static bool
twice_here(struct pair *p, struct stepper *a)
{
    struct run *r = p->r;
    bool good;

    run_save(r, r->mid);
    stepper_save(a, &p->at_a);
    good = all_of_b(p);
    run_load(r, r->mid);
    r->truth = r->base;
    stepper_load(a, &p->at_a);
    return good;
}

static bool
twice(struct pair *p)
{
    const struct trace *t = &p->along_a;
    uint64_t stride = p->r->full ? 1 : 1 + t->touch_count / QUICK;
    uint64_t turn = run_random(p->r, stride);
    struct stepper *a;
    uint32_t next;

    run_reset(p->r);
    a = run_begin(p->r, p->a);
    p->spot_count = 0;
    p->k = 0;
    for (next = t->touches[0] ? 0 : next_touch(t, 0); next < t->points;
         next = next_touch(t, next)) {
        if (turn++ % stride)
            continue;
        if (!advance(a, t, p->k, next))
            return complain(p, "alone", "it goes another way than before");
        p->k = next;
        if (!twice_here(p, a))
            return false;
    }
    return true;
}

/* --- pairs --------------------------------------------------------------------------------------- */

/* Who is stepped cannot be let sleep on: the other would have to run meanwhile. So sleepers are preempted once. */
static bool
one_order(struct pair *p)
{
    p->overslept = false;
    return once(p) &&
           (p->r->tc->only_once || p->a->fn == call_sleep || p->b->fn == call_sleep || twice(p));
}

static void
swap(struct pair *p)
{
    static struct trace along;
    const struct plan *plan = p->a;

    along = p->along_a;
    p->along_a = p->along_b;
    p->along_b = along;
    p->a = p->b;
    p->b = plan;
}

static bool
preempt_start(struct run *r)
{
    static struct pair p;
    bool good;

    p.r = r;
    p.a = &r->tc->a;
    p.b = &r->tc->b;
    p.k = 0;
    p.j = 0;
    if (!watch(&p, p.a, &p.along_a) || !watch(&p, p.b, &p.along_b))
        return false;
    good = one_order(&p);
    swap(&p);
    return good && one_order(&p);
}

static bool
preempt_case(struct run *r, const struct test_case *tc)
{
    uint64_t schedules = r->figures.schedules;
    uint32_t starts = 0;

    for (; run_prepare(r, tc, starts); starts++) {
        if (!preempt_start(r))
            return false;
        if (tc->victim[0])
            starts += r->full ? 3 : 11;
    }
    r->figures.cases++;
    printf("  %-52s %6" PRIu64 " schedules\n", tc->name, r->figures.schedules - schedules);
    return starts || run_complain(r, "start", "no victim can be made");
}

bool
preempt_all(struct run *r, const struct test_case *cases, const char *part)
{
    for (const struct test_case *tc = cases; tc->name; tc++)
        if (strstr(tc->name, part) && !preempt_case(r, tc))
            return false;
    return true;
}
