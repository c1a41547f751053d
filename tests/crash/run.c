#include "tests/crash/run.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static uint64_t
chosen_seed(void)
{
    const char *text = getenv("LEAT_SEED");
    struct timespec ts;

    if (text)
        return strtoull(text, NULL, 0);
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000003 ^ (uint64_t)ts.tv_nsec;
}

int
run_open(struct run *ret)
{
    struct run r = {.w = world_map(), .seed = chosen_seed()};
    struct shape usual = {0};

    if (!r.w)
        return 1;
    world_build(r.w, &usual);
    r.start = malloc(r.w->size);
    r.mid = malloc(r.w->size);
    r.inner = malloc(r.w->size);
    if (!r.start || !r.mid || !r.inner)
        return 1;
    stepper_pin();
    for (int i = 0; i < WORLD_ACTORS; i++) {
        int x = stepper_start(&r.procs[i]);
        if (x) {
            printf("skipped: ptrace is not allowed here: %s\n", strerror(-x));
            return 77;
        }
    }
    r.random = r.seed | 1;
    r.full = getenv("LEAT_FULL") && !strcmp(getenv("LEAT_FULL"), "1");
    printf("seed %" PRIu64 ", %s form\n", r.seed, r.full ? "full" : "quick");
    *ret = r;
    return 0;
}

void
run_close(struct run *r)
{
    for (int i = 0; i < WORLD_ACTORS; i++)
        stepper_kill(&r->procs[i]);
    free(r->start);
    free(r->mid);
    free(r->inner);
}

uint64_t
run_random(struct run *r, uint64_t n)
{
    r->random ^= r->random << 13;
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    return (r->random >> 11) % n;
}

void
run_save(const struct run *r, unsigned char *image)
{
    memcpy(image, r->w, r->w->size);
}

void
run_load(struct run *r, const unsigned char *image)
{
    memcpy(r->w, image, r->w->size);
}

void
run_reset(struct run *r)
{
    run_load(r, r->start);
    r->truth = r->base;
}

struct stepper *
run_begin(struct run *r, const struct plan *plan)
{
    struct actor *a = &r->w->actors[plan->who];
    struct stepper *s = &r->procs[plan->who];

    if (!s->pid && stepper_start(s))
        abort();
    stepper_call(s, plan->fn, a, world_stack(a));
    return s;
}

const uint32_t *
run_lens(char letter)
{
    static const uint32_t one[WORLD_BATCH] = {8}, lane[WORLD_BATCH] = {40},
                          most[WORLD_BATCH] = {1000}, batch[WORLD_BATCH] = {8, 9, 10},
                          mixed[WORLD_BATCH] = {8, 40, 32};

    switch (letter) {
    case 'i':
        return one;
    case 'l':
        return lane;
    case 'h':
        return most;
    case 'b':
        return batch;
    case 'm':
        return mixed;
    default:
        return NULL;
    }
}

static void
set_call(struct run *r, const struct plan *plan)
{
    if (!plan->fn)
        return;
    r->w->actors[plan->who].call = plan->call;
    world_number(r->w, &r->w->actors[plan->who]);
}

/* Kills P2 in the midst of a publish, in the state `number` of those that leave a place claimed and not cleared. */
static bool
kill_victim(struct run *r, const uint32_t *lens, uint32_t number)
{
    struct plan plan = {.who = P2, .fn = call_send, .call = {.publishes = true}};
    uint64_t tail = atom_load_relaxed(ring_tail(&r->w->view)), size = world_shared_size(r->w);
    struct actor *a = &r->w->actors[P2];
    struct stepper *s;
    bool intended = false;

    for (; plan.call.n < WORLD_BATCH && lens[plan.call.n]; plan.call.n++)
        plan.call.len[plan.call.n] = lens[plan.call.n];
    set_call(r, &plan);
    s = run_begin(r, &plan);
    memcpy(r->mid, world_shared(r->w), size);
    for (uint32_t states = 0;;) {
        if (stepper_step(s) != STEPPER_ON)
            return false;
        if (!memcmp(r->mid, world_shared(r->w), size))
            continue;
        memcpy(r->mid, world_shared(r->w), size);
        if (atom_load_relaxed(ring_tail(&r->w->view)) == tail)
            continue;
        if (atom_load_relaxed(&ring_line(&r->w->view, a->index)->intent))
            intended = true;
        else if (intended)
            return false;
        if (states++ == number)
            return true;
    }
}

/* P2 leaves a batch of aborted places behind, and has a follower. */
static bool
follow(struct run *r)
{
    bool open;

    return kill_victim(r, run_lens('b'), 3) && !verify_recover(r->w, 1u << P2, &open) &&
           !world_join(&r->w->actors[P2], r->w->actors[P2].index);
}

static bool
leave(struct run *r)
{
    bool open;

    if (verify_publish(r->w, &r->base, P2, run_lens('h')) ||
        verify_publish(r->w, &r->base, P2, run_lens('l')) || verify_recover(r->w, 1u << P2, &open))
        return false;
    r->w->actors[P2].publishes = false;
    r->w->actors[P2].alive = true;
    return true;
}

/* One letter of a past. */
static bool
happen(struct run *r, char c)
{
    struct actor *s = &r->w->actors[S0];
    struct ring_control *control = ring_control(&r->w->view);
    const uint32_t *lens = run_lens((char)(c | 0x20));

    if (lens)
        return !verify_publish(r->w, &r->base, c & 0x20 ? P0 : P1, lens);
    switch (c) {
    case 'd':
        return !verify_drain(r->w, &r->base, s) && !verify_drain(r->w, &r->base, &r->w->actors[S1]);
    case 'r':
        s->call = (struct call){.n = 1};
        call_receive(s);
        s->seen_count = 0;
        s->told = s->reader.next;
        return true;
    case 'a':
        return shm_event_arm(&control->sleep) & 1;
    case 'g':
        atom_store_seq(&control->bell_seq, atom_load_relaxed(ring_tail(&r->w->view)) + 1);
        return true;
    case 'e':
        ring_cursor_evict(&r->w->view, s->index);
        return true;
    case 'x':
        return follow(r);
    case 'q':
        return leave(r);
    default:
        return false;
    }
}

bool
run_prepare(struct run *r, const struct test_case *tc, uint32_t number)
{
    r->tc = tc;
    r->dead = 0;
    world_build(r->w, &tc->shape);
    truth_start(&r->base, r->w);
    for (const char *c = tc->past; *c; c++)
        if (!happen(r, *c))
            abort();
    if (!tc->victim[0] && number)
        return false;
    if (tc->victim[0]) {
        if (!kill_victim(r, tc->victim, number))
            return false;
        r->dead = 1u << P2;
    }
    set_call(r, &tc->a);
    set_call(r, &tc->b);
    run_save(r, r->start);
    run_reset(r);
    return true;
}

const char *
run_judge(struct run *r, uint32_t dead)
{
    struct world *w = r->w;
    bool open = false;
    const char *bad = verify_look(w, &r->truth);

    if (!bad && (dead | r->dead))
        bad = verify_recover(w, dead | r->dead, &open);
    if (!bad && open)
        bad = "a living publisher is said to be at work, and none is";
    if (!bad)
        bad = verify_quiet(w, &r->truth);
    return bad ? bad : verify_go_on(w, &r->truth);
}

bool
run_complain(const struct run *r, const char *where, const char *what)
{
    printf("FAILED: %s: %s: %s\n", r->tc ? r->tc->name : "format", where, what);
    return false;
}

void
run_summary(const struct run *r, const char *form)
{
    const struct figures *f = &r->figures;

    printf("%s: %" PRIu64 " cases, %" PRIu64 " points (%" PRIu64
           " states of memory recovered), %" PRIu64 " real kills, %" PRIu64
           " schedules, seed %" PRIu64 "\n",
           form, f->cases, f->points, f->states, f->kills, f->schedules, r->seed);
}
