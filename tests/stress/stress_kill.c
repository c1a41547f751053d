/* Publishers are killed at random while they publish, three at a time, and one that reads along; this process does what the
 * daemon does: it buries them and starts others in their place. No message that was acknowledged is lost, no batch
 * is torn, all readers see one order, and nobody waits for the dead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shm/testpoint.h"
#include "tests/stress/stress_body.h"
#include "tests/support/pause.h"

#define PUBLISHERS 3
#define READERS 2 /* gate from the first message to the last */
#define VISITOR 2 /* a cursor that comes and goes, and gates while it is there */
#define PATIENCE_S 60

struct daemon {
    struct stress s;
    struct prng rng;
    pid_t publishers[PUBLISHERS];
    uint32_t lives[PUBLISHERS];
    pid_t readers[READERS];
    pid_t visitor;
    uint64_t deaths, aborted, visits, held_up;
    bool unsettled; /* somebody died, and a pass is due */
    const char *wrong;
};

static struct daemon d;

#if defined(LEAT_TESTPOINTS)
static uint64_t steps_left, stop_at;

/* Stops, and later kills itself between two steps of a publish, where a signal from outside seldom hits. */
static void
hurt_oneself(const char *name)
{
    (void)name;
    if (!--steps_left)
        (void)kill(getpid(), SIGKILL);
    if (steps_left == stop_at)
        (void)kill(getpid(), SIGSTOP);
}
#endif

static void
live(struct stress *s, uint32_t index, uint64_t life)
{
#if defined(LEAT_TESTPOINTS)
    struct prng rng = {s->seed ^ (life << 8 | index)};
    steps_left = 1 + prng_below(&rng, prng_below(&rng, 2) ? 200 : 20000);
    stop_at = steps_left - prng_below(&rng, steps_left);
    shm_testpoint_hook = hurt_oneself;
#endif
    stress_publish(s, (uint16_t)index, (uint32_t)life, 0);
}

static void
receive(struct stress *s, uint32_t index, uint64_t from)
{
    stress_receive(s, index, from, true);
}

static void
start_publisher(uint32_t i)
{
    fixture_entry(&d.s.f, i);
    d.publishers[i] = stress_fork(&d.s, live, i, d.lives[i]);
}

/* It begins anywhere that the ring can still hold, while publishers run. */
static void
start_visitor(void)
{
    uint64_t oldest = ring_oldest(&d.s.f.view), tail = atom_load_acquire(ring_tail(&d.s.f.view));
    uint64_t from = oldest + (tail > oldest ? prng_below(&d.rng, tail - oldest + 1) : 0);

    from = fixture_reader(&d.s.f, VISITOR, RING_KIND_GATING, from).next;
    d.visitor = stress_fork(&d.s, receive, VISITOR, from);
    d.visits++;
}

static void
wake_all(void)
{
    shm_event_bump(&ring_control(&d.s.f.view)->sleep);
    shm_event_bump(&ring_control(&d.s.f.view)->space);
}

/* One pass. When it says that no place is open, those that were dead before it are buried, and others live on in their
 * entries. */
static void
settle(bool go_on)
{
    uint64_t aborted = 0;
    int r = ring_settle(&d.s.f.view, d.s.f.scratch, &aborted);

    if (r < 0)
        d.wrong = "the tail cannot be true";
    d.aborted += r < 0 ? 0 : aborted;
    d.held_up += r == 1;
    wake_all();
    for (uint32_t i = 0; r == 0 && i < PUBLISHERS; i++) {
        if (d.publishers[i])
            continue;
        ring_entry_free(&d.s.f.view, i);
        d.deaths++;
        d.lives[i]++;
        if (go_on)
            start_publisher(i);
    }
    d.unsettled = r == 1;
}

/* Whoever it was that died. */
static void
notice(pid_t pid)
{
    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        if (d.publishers[i] == pid) {
            ring_entry_kill(&d.s.f.view, i);
            d.publishers[i] = 0;
            d.unsettled = true;
            return;
        }
    }
    if (pid != d.visitor) {
        d.wrong = "a reader ended before the end";
        return;
    }
    ring_cursor_free(&d.s.f.view, VISITOR);
    wake_all();
    start_visitor();
}

/* While `slow` stands still, wherever that is, another dies and the passes are made; then it goes on: it was slow, not
 * dead, and what it was at is its own. */
static void
kill_beside(pid_t slow, uint32_t who)
{
    pid_t pid = d.publishers[who];

    if (pid && pid != slow) {
        (void)kill(pid, SIGKILL);
        if (waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOWAIT) == 0)
            ring_entry_kill(&d.s.f.view, who);
        for (int i = 0; i < 3; i++)
            settle(true);
    }
    (void)kill(slow, SIGCONT);
}

static void
kill_somebody(void)
{
    uint32_t who = (uint32_t)prng_below(&d.rng, PUBLISHERS + 1);
    pid_t slow = prng_below(&d.rng, 3) ? 0 : d.publishers[(who + 1) % PUBLISHERS];

    if (who == PUBLISHERS) {
        (void)kill(d.visitor, SIGKILL);
    } else if (slow) {
        (void)kill(slow, SIGSTOP);
        kill_beside(slow, who);
    } else if (d.publishers[who]) {
        (void)kill(d.publishers[who], SIGKILL);
    }
}

static uint64_t
all_done(void)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < PUBLISHERS; i++)
        sum += atom_load_relaxed(&d.s.shared->publishers[i].done);
    return sum;
}

static int64_t
now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec;
}

static void
run(uint64_t deaths)
{
    uint64_t next = 0, seen = 0;
    int64_t since = now_s();

    while (d.deaths < deaths && !d.wrong && !atom_load_acquire(&d.s.shared->stop)) {
        int status = 0;
        pid_t pid = waitpid(-1, &status, WNOHANG | WUNTRACED);
        uint64_t done = all_done();
        if (pid > 0 && WIFSTOPPED(status))
            kill_beside(pid, (uint32_t)prng_below(&d.rng, PUBLISHERS));
        else if (pid > 0)
            notice(pid);
        else if (d.unsettled)
            settle(true);
        if (done != seen || pid > 0) {
            seen = done;
            since = now_s();
        }
        if (now_s() - since > PATIENCE_S)
            d.wrong = "nobody goes on";
        if (done >= next) {
            next = done + prng_below(&d.rng, 2000);
            kill_somebody();
        } else if (pid <= 0) {
            pause_briefly();
        }
    }
}

static void
end_all(void)
{
    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        pid_t pid = d.publishers[i];
        if (!pid)
            continue;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        notice(pid);
    }
    settle(false);
    if (d.unsettled)
        d.wrong = "a place is open though nobody lives";
    (void)kill(d.visitor, SIGKILL);
    (void)waitpid(d.visitor, NULL, 0);
    ring_cursor_free(&d.s.f.view, VISITOR);
    stress_tell_the_end(&d.s);
    wake_all();
    for (uint32_t i = 0; i < READERS; i++) {
        int status = 0;
        if (waitpid(d.readers[i], &status, 0) == d.readers[i] && status)
            d.wrong = "a reader did not end well";
    }
}

/* Of each life all that was acknowledged has arrived, and both readers saw the same. */
static bool
nothing_is_lost(void)
{
    const struct stress_shared *h = d.s.shared;
    bool good = atom_load_relaxed(&h->readers[0].hash) == atom_load_relaxed(&h->readers[1].hash);
    uint64_t more = 0;

    for (uint32_t i = 0; i < PUBLISHERS; i++) {
        for (uint32_t life = 0; life < d.lives[i]; life++) {
            uint64_t acked = atom_load_relaxed(&h->acked[i][life]);
            uint64_t got = atom_load_relaxed(&h->got[i][life]);
            more += got > acked;
            if (got >= acked)
                continue;
            (void)printf("publisher %u, life %u: %llu acknowledged, %llu arrived\n", i, life,
                         (unsigned long long)acked, (unsigned long long)got);
            good = false;
        }
    }
    (void)printf(
        "%llu deaths, %llu messages, %llu places aborted, %llu lives ended between commit and "
        "acknowledgement, %llu passes held up, %llu visitors\n",
        (unsigned long long)d.deaths, (unsigned long long)atom_load_relaxed(&h->readers[0].done),
        (unsigned long long)d.aborted, (unsigned long long)more, (unsigned long long)d.held_up,
        (unsigned long long)d.visits);
    return good;
}

static void
the_dead_take_nothing_with_them(void **state)
{
    const struct stress_plan plan = {
        .publishers = 0,
        .readers = READERS,
        .when_full = RING_BLOCK,
        .depth = 64,
        .lane_size = 1u << 16,
        .slot_size = 64,
        .len_max = 2000,
        .batch_max = 16,
    };

    (void)state;
    assert_int_equal(stress_make(&d.s, &plan, 4000000), 0);
    d.rng.state = d.s.seed;
    for (uint32_t i = 0; i < READERS; i++)
        d.readers[i] = stress_fork(&d.s, receive, i, 1);
    for (uint32_t i = 0; i < PUBLISHERS; i++)
        start_publisher(i);
    start_visitor();
    run(fixture_is_full() ? 8000 : 1000);
    end_all();
    if (d.wrong)
        print_message("%s\n", d.wrong);
    assert_true(stress_passed(&d.s));
    assert_true(nothing_is_lost());
    assert_null(d.wrong);
    stress_destroy(&d.s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_dead_take_nothing_with_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
