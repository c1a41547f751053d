#include "tests/stress/stress_body.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/pause.h"

/* Looks before a sleep: enough that both ways of waiting are taken. */
#define LOOKS 20

__attribute__((format(printf, 3, 4))) static void
complain(struct stress *s, struct stress_worker *w, const char *format, ...)
{
    va_list args;

    if (atom_load_relaxed(&w->failed))
        return;
    va_start(args, format);
    (void)vsnprintf(w->text, sizeof w->text, format, args);
    va_end(args);
    atom_store_release(&w->failed, 1);
    atom_store_release(&s->shared->stop, 1);
    shm_event_bump(&ring_control(&s->f.view)->sleep);
    shm_event_bump(&ring_control(&s->f.view)->space);
}

static bool
is_stopped(const struct stress *s)
{
    return atom_load_acquire(&s->shared->stop) != 0;
}

int
stress_make(struct stress *s, const struct stress_plan *plan, uint64_t room)
{
    struct ring_geometry g = fixture_geometry();
    int r;

    *s = (struct stress){.plan = *plan, .seed = fixture_seed()};
    g.depth = plan->depth;
    g.lane_size = plan->lane_size;
    g.slot_size = plan->slot_size;
    g.when_full = (uint32_t)plan->when_full;
    g.max_publishers = STRESS_WORKERS;
    g.max_cursors = STRESS_WORKERS;
    g.barrier = shm_event_register() ? SHM_BARRIER_BOTH : SHM_BARRIER_SLEEPER;
    r = fixture_make(&s->f, &g);
    if (r)
        return r;
    s->shared_size = sizeof *s->shared + room * sizeof(atom_u64);
    s->shared =
        mmap(NULL, s->shared_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s->shared == MAP_FAILED) {
        fixture_destroy(&s->f);
        return -ENOMEM;
    }
    s->shared->seen_room = room;
    for (uint32_t i = 0; i < plan->publishers; i++)
        fixture_entry(&s->f, i);
    for (uint32_t i = 0; i < plan->readers; i++)
        (void)fixture_reader(&s->f, i,
                             plan->when_full == RING_BLOCK ? RING_KIND_GATING : RING_KIND_LIVE, 1);
    return 0;
}

void
stress_destroy(struct stress *s)
{
    munmap(s->shared, s->shared_size);
    fixture_destroy(&s->f);
}

/* --- publishing ------------------------------------------------------------------------------- */

static void
wake_after(struct ring_publisher *p, uint64_t last)
{
    if (ring_publish_due(p, last) & RING_DUE_WAKE)
        shm_event_wake(&p->control->sleep);
}

/* Nothing could be published: looks again for a while, then sleeps until a reader has made room. */
static void
wait_for_room(struct stress *s, struct ring_publisher *p, struct stress_worker *w, uint64_t looks)
{
    atom_u32 *word = &p->control->space;
    uint32_t v;

    if (looks < LOOKS) {
        pause_briefly();
        return;
    }
    v = shm_event_arm(word);
    (void)shm_event_barrier((enum shm_barrier)s->f.view.geo.barrier);
    if (is_stopped(s) || ring_publish_may(p, s->plan.batch_max, s->plan.len_max) == 1)
        return;
    atom_add_relaxed(&w->waits, 1);
    if (shm_event_wait(word, v, LIMIT_SLEEP_NS) == -ETIMEDOUT)
        atom_add_relaxed(&w->timeouts, 1);
}

/* Most are small, some are as long as they may be. */
static uint32_t
some_len(const struct stress *s, struct prng *rng)
{
    uint64_t most = prng_below(rng, 8) ? 40 : s->plan.len_max;

    return (uint32_t)prng_below(rng, shm_min(most, s->plan.len_max) + 1);
}

static uint32_t
some_batch(const struct stress *s, struct prng *rng, uint64_t left, uint32_t *lens)
{
    uint32_t n = prng_below(rng, 3) ? 1 : 1 + (uint32_t)prng_below(rng, s->plan.batch_max);

    n = (uint32_t)shm_min(n, left);
    for (uint32_t i = 0; i < n; i++)
        lens[i] = some_len(s, rng);
    return n;
}

void
stress_publish(struct stress *s, uint16_t index, uint32_t life, uint64_t messages)
{
    struct stress_worker *w = &s->shared->publishers[index];
    struct prng rng = {s->seed + index * 1000003ull + life};
    uint64_t base = (uint64_t)life << STRESS_LIFE_BITS, sent = 0, seq;
    uint64_t most = messages ? messages : (1ull << STRESS_LIFE_BITS) - FIXTURE_BATCH;
    struct ring_publisher p;
    uint32_t lens[FIXTURE_BATCH];
    int r = fixture_publisher_join(&s->f.view, index, &p);

    if (r) {
        complain(s, w, "publisher %u cannot join: %d", index, r);
        return;
    }
    while (sent < most && !is_stopped(s)) {
        uint32_t n = some_batch(s, &rng, most - sent, lens);
        uint64_t looks = 0;
        while ((r = fixture_send_many(&p, base + sent, lens, n, &seq)) == -EAGAIN && !is_stopped(s))
            wait_for_room(s, &p, w, looks++);
        if (r && !is_stopped(s))
            complain(s, w, "publisher %u: message %llu: %d", index, (unsigned long long)sent, r);
        if (r)
            break;
        sent += n;
        atom_store_release(&s->shared->acked[index][life], sent);
        atom_add_relaxed(&w->done, n);
        wake_after(&p, seq + n - 1);
        /* Who waits for nobody would be through before readers have begun. */
        if (s->plan.when_full == RING_OVERWRITE && !prng_below(&rng, 64))
            pause_briefly();
    }
    fixture_publisher_drop(&p);
}

/* --- receiving -------------------------------------------------------------------------------- */

struct receiver {
    struct stress *s;
    struct stress_worker *w;
    struct ring_reader reader;
    struct prng rng;
    bool gates;
    bool is_first; /* keeps the tally of what was given */
    uint64_t released;
    uint64_t pseq[STRESS_WORKERS]; /* of each publisher, the next */
    uint64_t last_seq;             /* of the message before, and its type */
    uint32_t last_type;
    unsigned char copy[1u << 16];
};

static void
release(struct receiver *c)
{
    struct ring_control *control = ring_control(&c->s->f.view);

    if (c->released == c->reader.next)
        return;
    c->released = c->reader.next;
    if (c->s->f.view.geo.barrier == SHM_BARRIER_BOTH)
        atom_store_seq(&c->reader.line->pos, c->reader.next);
    else
        atom_store_release(&c->reader.line->pos, c->reader.next);
    atom_compiler_barrier();
    if (shm_event_claim(&control->space))
        shm_event_wake(&control->space);
}

/* The same message for everybody at the same place. */
static bool
is_as_seen(struct receiver *c, const struct ring_msg *msg)
{
    struct stress_shared *h = c->s->shared;
    uint64_t at = msg->seq - c->s->f.view.geo.origin;

    if (at >= h->seen_room)
        return true;
    if (!atom_load_relaxed(&h->seen[at]) && atom_cas_seq(&h->seen[at], 0, msg->key + 1))
        return true;
    return atom_load_relaxed(&h->seen[at]) == msg->key + 1;
}

/* The next of its publisher's, none left out where nothing was lost; or the first of the next life. */
static bool
is_next_of_publisher(struct receiver *c, const struct ring_msg *msg)
{
    uint64_t *want = &c->pseq[msg->publisher], pseq = pattern_pseq(msg->key);
    uint64_t life = pseq >> STRESS_LIFE_BITS, was = *want >> STRESS_LIFE_BITS;
    bool is_start = !(pseq & ((1u << STRESS_LIFE_BITS) - 1)) && life > was;

    if (c->gates ? pseq != *want && !is_start && *want != UINT64_MAX
                 : pseq < *want && *want != UINT64_MAX)
        return false;
    *want = pseq + 1;
    if (c->is_first)
        atom_add_relaxed(&c->s->shared->got[msg->publisher][life % STRESS_LIVES], 1);
    return true;
}

/* A batch stands together: behind message i of n comes i + 1, at the next place, until n are there. Where something was
 * lost (last_type is 0) it may begin anywhere. */
static bool
is_in_its_batch(struct receiver *c, const struct ring_msg *msg)
{
    uint32_t n = c->last_type >> 8, i = c->last_type & 255;
    bool good = !n || (msg->type & 255) == 0;

    if (n && i + 1 < n)
        good = msg->seq == c->last_seq + 1 && msg->type == c->last_type + 1;
    c->last_seq = msg->seq;
    c->last_type = msg->type;
    return good;
}

static void
check_message(struct receiver *c, const struct ring_msg *msg, const unsigned char *bytes)
{
    const char *wrong = NULL;
    uint64_t hash = atom_load_relaxed(&c->w->hash);

    if (!pattern_is(bytes, msg->key, msg->len))
        wrong = "bytes are not what was sent";
    else if (pattern_publisher(msg->key) != msg->publisher)
        wrong = "publisher is not who sent it";
    else if (!is_next_of_publisher(c, msg))
        wrong = "not the publisher's next";
    else if (!is_in_its_batch(c, msg))
        wrong = "a batch is torn";
    else if (!is_as_seen(c, msg))
        wrong = "another reader saw another message here";
    if (wrong)
        complain(c->s, c->w, "seq %llu, publisher %u, its %llx, len %u, type %x: %s",
                 (unsigned long long)msg->seq, msg->publisher,
                 (unsigned long long)pattern_pseq(msg->key), msg->len, msg->type, wrong);
    hash = (hash ^ msg->seq) * 0x100000001b3ull;
    hash = (hash ^ msg->key) * 0x100000001b3ull;
    atom_store_relaxed(&c->w->hash, hash);
    atom_store_relaxed(&c->w->done, atom_load_relaxed(&c->w->done) + 1);
}

static void
take_message(struct receiver *c, const struct ring_msg *msg)
{
    const struct ring_view *v = &c->reader.view;

    if (c->gates) {
        check_message(c, msg, msg->data);
        if (ring_validate(v, msg))
            complain(c->s, c->w, "seq %llu was overwritten under a cursor that gates",
                     (unsigned long long)msg->seq);
        if (!prng_below(&c->rng, 8))
            release(c);
        return;
    }
    if (ring_copy(v, msg, c->copy)) {
        atom_add_relaxed(&c->w->stale, 1);
        c->last_type = 0;
        return;
    }
    check_message(c, msg, c->copy);
    atom_store_release(&c->reader.line->pos, c->reader.next);
}

static void
take_gap(struct receiver *c, const struct ring_msg *msg)
{
    if (c->gates)
        complain(c->s, c->w, "a gap of %llu at %llu under a cursor that gates",
                 (unsigned long long)msg->lost, (unsigned long long)msg->first);
    if (msg->first + msg->lost != c->reader.next || !msg->lost)
        complain(c->s, c->w, "a gap that does not end where the reader stands");
    atom_add_relaxed(&c->w->lost, msg->lost);
    c->last_type = 0;
}

/* Nothing is there: gives up what is held, looks again for a while, then sleeps. */
static int
wait_for_message(struct receiver *c, uint64_t looks, struct ring_msg *ret)
{
    atom_u32 *word = &ring_control(&c->s->f.view)->sleep;
    uint32_t v;
    int x;

    if (c->gates)
        release(c);
    if (looks < LOOKS) {
        pause_briefly();
        return RING_NONE;
    }
    v = shm_event_arm(word);
    (void)shm_event_barrier((enum shm_barrier)c->s->f.view.geo.barrier);
    x = ring_receive(&c->reader, ret);
    if (x != RING_NONE || is_stopped(c->s) ||
        c->reader.next == atom_load_acquire(&c->s->shared->end))
        return x;
    atom_add_relaxed(&c->w->waits, 1);
    if (shm_event_wait(word, v, LIMIT_SLEEP_NS) == -ETIMEDOUT)
        atom_add_relaxed(&c->w->timeouts, 1);
    return RING_NONE;
}

static struct receiver *
make_receiver(struct stress *s, uint32_t index, uint64_t from, bool gates)
{
    struct receiver *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->s = s;
    c->w = &s->shared->readers[index];
    c->gates = gates;
    c->is_first = index == 0;
    c->rng.state = s->seed + index;
    c->reader = (struct ring_reader){.view = s->f.view, .line = ring_cursor(&s->f.view, index)};
    ring_reader_set(&c->reader, from);
    c->released = from;
    /* One that begins later does not know where each publisher is. */
    for (uint32_t i = 0; i < STRESS_WORKERS; i++)
        c->pseq[i] = from == s->f.view.geo.origin ? 0 : UINT64_MAX;
    return c;
}

void
stress_receive(struct stress *s, uint32_t index, uint64_t from, bool gates)
{
    struct receiver *c = make_receiver(s, index, from, gates);
    struct ring_msg msg;
    uint64_t looks = 0;

    if (!c)
        return;
    while (!is_stopped(s) && c->reader.next != atom_load_acquire(&s->shared->end)) {
        int x = ring_receive(&c->reader, &msg);
        if (x == RING_NONE)
            x = wait_for_message(c, looks++, &msg);
        if (x == RING_NONE)
            continue;
        looks = 0;
        if (x == RING_MESSAGE)
            take_message(c, &msg);
        else if (x == RING_GAP)
            take_gap(c, &msg);
        else
            complain(s, c->w, "receive at %llu: %d", (unsigned long long)c->reader.next, x);
    }
    release(c);
    free(c);
}

/* --- running ---------------------------------------------------------------------------------- */

static bool
none_failed(const struct stress_worker *w, uint32_t n, const char *who)
{
    bool good = true;

    for (uint32_t i = 0; i < n; i++) {
        if (!atom_load_acquire(&w[i].failed))
            continue;
        (void)printf("%s %u: %s\n", who, i, w[i].text);
        good = false;
    }
    return good;
}

static bool
counts_are_right(const struct stress *s)
{
    const struct stress_worker *w = s->shared->readers;
    uint64_t published = s->plan.messages * s->plan.publishers;
    bool good = true, lossless = s->plan.when_full == RING_BLOCK;

    for (uint32_t i = 0; i < s->plan.readers; i++) {
        uint64_t done = atom_load_relaxed(&w[i].done), lost = atom_load_relaxed(&w[i].lost),
                 stale = atom_load_relaxed(&w[i].stale);
        (void)printf("reader %u: %llu delivered, %llu in gaps, %llu stale; slept %llu times, %llu "
                     "to the end\n",
                     i, (unsigned long long)done, (unsigned long long)lost,
                     (unsigned long long)stale, (unsigned long long)atom_load_relaxed(&w[i].waits),
                     (unsigned long long)atom_load_relaxed(&w[i].timeouts));
        good &= done + lost + stale == published && (!lossless || done == published);
        good &= !lossless || atom_load_relaxed(&w[i].hash) == atom_load_relaxed(&w[0].hash);
    }
    if (!good)
        (void)printf("%llu were published\n", (unsigned long long)published);
    return good;
}

bool
stress_passed(const struct stress *s)
{
    struct ring_report report;
    bool good = none_failed(s->shared->publishers, STRESS_WORKERS, "publisher");

    good &= none_failed(s->shared->readers, STRESS_WORKERS, "reader");
    if (ring_check(&s->f.view, &report)) {
        (void)printf("check: %s at %llu\n", report.what, (unsigned long long)report.where);
        good = false;
    }
    if (report.busy || report.missing || report.intents) {
        (void)printf("left: %llu busy, %llu missing, %u intents\n", (unsigned long long)report.busy,
                     (unsigned long long)report.missing, report.intents);
        good = false;
    }
    return good;
}

void
stress_tell_the_end(struct stress *s)
{
    atom_store_release(&s->shared->end, atom_load_acquire(ring_tail(&s->f.view)));
    shm_event_bump(&ring_control(&s->f.view)->sleep);
}

static uint64_t
all_published(const struct stress_plan *plan)
{
    return plan->messages * plan->publishers;
}

struct start {
    struct stress *s;
    uint32_t index;
};

static void *
publisher_thread(void *arg)
{
    const struct start *a = arg;

    stress_publish(a->s, (uint16_t)a->index, 0, a->s->plan.messages);
    return NULL;
}

static void *
reader_thread(void *arg)
{
    const struct start *a = arg;

    stress_receive(a->s, a->index, a->s->f.view.geo.origin, a->s->plan.when_full == RING_BLOCK);
    return NULL;
}

bool
stress_threads(const struct stress_plan *plan)
{
    pthread_t publishers[STRESS_WORKERS], readers[STRESS_WORKERS];
    struct start starts[STRESS_WORKERS];
    struct stress s;
    bool good;

    if (stress_make(&s, plan, all_published(plan)))
        return false;
    for (uint32_t i = 0; i < STRESS_WORKERS; i++)
        starts[i] = (struct start){&s, i};
    for (uint32_t i = 0; i < plan->readers; i++)
        if (pthread_create(&readers[i], NULL, reader_thread, &starts[i]))
            abort();
    for (uint32_t i = 0; i < plan->publishers; i++)
        if (pthread_create(&publishers[i], NULL, publisher_thread, &starts[i]))
            abort();
    for (uint32_t i = 0; i < plan->publishers; i++)
        (void)pthread_join(publishers[i], NULL);
    stress_tell_the_end(&s);
    for (uint32_t i = 0; i < plan->readers; i++)
        (void)pthread_join(readers[i], NULL);
    good = stress_passed(&s) && counts_are_right(&s);
    stress_destroy(&s);
    return good;
}

pid_t
stress_fork(struct stress *s, void (*body)(struct stress *s, uint32_t index, uint64_t arg),
            uint32_t index, uint64_t arg)
{
    pid_t parent = getpid(), pid;

    (void)fflush(NULL);
    pid = fork();
    if (pid)
        return pid;
    /* None outlives the test, however that ends. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
        _exit(1);
    if (s->f.view.geo.barrier == SHM_BARRIER_SLEEPER && shm_event_register())
        _exit(2);
    body(s, index, arg);
    _exit(0);
}

static void
publisher_process(struct stress *s, uint32_t index, uint64_t messages)
{
    stress_publish(s, (uint16_t)index, 0, messages);
}

static void
reader_process(struct stress *s, uint32_t index, uint64_t gates)
{
    stress_receive(s, index, s->f.view.geo.origin, gates != 0);
}

static bool
ended_well(pid_t pid)
{
    int status;

    if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status))
        return true;
    (void)printf("a worker ended with status %d\n", status);
    return false;
}

bool
stress_processes(const struct stress_plan *plan)
{
    pid_t publishers[STRESS_WORKERS], readers[STRESS_WORKERS];
    struct stress s;
    bool good = true;

    if (stress_make(&s, plan, all_published(plan)))
        return false;
    for (uint32_t i = 0; i < plan->readers; i++)
        readers[i] = stress_fork(&s, reader_process, i, plan->when_full == RING_BLOCK);
    for (uint32_t i = 0; i < plan->publishers; i++)
        publishers[i] = stress_fork(&s, publisher_process, i, plan->messages);
    for (uint32_t i = 0; i < plan->publishers; i++)
        good &= ended_well(publishers[i]);
    stress_tell_the_end(&s);
    for (uint32_t i = 0; i < plan->readers; i++)
        good &= ended_well(readers[i]);
    good &= stress_passed(&s) && counts_are_right(&s);
    stress_destroy(&s);
    return good;
}
