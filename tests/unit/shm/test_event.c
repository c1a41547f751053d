/* Sleeping and waking: who has to wake whom, that nobody sleeps past a change, and that a death leaves nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shm/event.h"
#include "tests/support/fixture.h"
#include "tests/support/pause.h"

#define LONG_NS 60000000000ll

struct shared {
    atom_u32 word;
    atom_u64 value;
    atom_u64 seen;
};

static struct shared *
share(void)
{
    struct shared *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(s != MAP_FAILED);
    return s;
}

static void
nobody_is_woken_who_does_not_sleep(void **state)
{
    atom_u32 word = 0;

    (void)state;
    assert_false(shm_event_claim(&word));
    assert_int_equal(atom_load_relaxed(&word), 0);
}

static void
one_of_many_wakers_claims(void **state)
{
    atom_u32 word = 40;
    uint32_t v = shm_event_arm(&word);

    (void)state;
    assert_int_equal(v, 41);
    assert_int_equal(shm_event_arm(&word), 41);
    assert_true(shm_event_claim(&word));
    assert_int_equal(atom_load_relaxed(&word), 42);
    assert_false(shm_event_claim(&word));
    assert_int_equal(shm_event_wait(&word, v, LONG_NS), 0);
}

static void
the_word_wraps(void **state)
{
    atom_u32 word = UINT32_MAX - 1;

    (void)state;
    assert_int_equal(shm_event_arm(&word), UINT32_MAX);
    assert_true(shm_event_claim(&word));
    assert_int_equal(atom_load_relaxed(&word), 0);
    atom_store_relaxed(&word, UINT32_MAX);
    shm_event_bump(&word);
    assert_int_equal(atom_load_relaxed(&word), 0);
}

static void
a_bump_moves_the_word_armed_or_not(void **state)
{
    atom_u32 word = 6;

    (void)state;
    shm_event_bump(&word);
    assert_int_equal(atom_load_relaxed(&word), 8);
    (void)shm_event_arm(&word);
    shm_event_bump(&word);
    assert_int_equal(atom_load_relaxed(&word), 10);
}

static void
a_wait_ends_in_time(void **state)
{
    atom_u32 word = 0;
    uint32_t v = shm_event_arm(&word);
    struct timespec a, b;

    (void)state;
    clock_gettime(CLOCK_MONOTONIC, &a);
    assert_int_equal(shm_event_wait(&word, v, 3000000), -ETIMEDOUT);
    clock_gettime(CLOCK_MONOTONIC, &b);
    assert_true((b.tv_sec - a.tv_sec) * 1000000000ll + b.tv_nsec - a.tv_nsec >= 3000000);
    assert_int_equal(shm_event_wait(&word, v, 0), -ETIMEDOUT);
    assert_int_equal(shm_event_wait(&word, v + 1, LONG_NS), 0);
}

static void
on_signal(int number)
{
    (void)number;
}

static void
a_signal_ends_a_wait(void **state)
{
    struct shared *s = share();
    struct sigaction act = {.sa_handler = on_signal};
    pid_t parent = getpid(), child;
    uint32_t v = shm_event_arm(&s->word);

    (void)state;
    assert_int_equal(sigaction(SIGUSR1, &act, NULL), 0);
    child = fork();
    assert_true(child >= 0);
    if (!child) {
        /* Until it is heard: the first ones may come before the wait begins. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (!atom_load_acquire(&s->seen)) {
            kill(parent, SIGUSR1);
            pause_briefly();
        }
        _exit(0);
    }
    assert_int_equal(shm_event_wait(&s->word, v, LONG_NS), -EINTR);
    atom_store_release(&s->seen, 1);
    while (waitpid(child, NULL, 0) != child)
        assert_int_equal(errno, EINTR);
    munmap(s, 4096);
}

static void
a_read_only_word_can_be_slept_on(void **state)
{
    struct shared *s = share();
    uint32_t v = shm_event_arm(&s->word);

    (void)state;
    assert_int_equal(mprotect(s, 4096, PROT_READ), 0);
    assert_int_equal(shm_event_wait(&s->word, v, 1000000), -ETIMEDOUT);
    shm_event_wake(&s->word);
    munmap(s, 4096);
}

static void
both_barriers_are_there(void **state)
{
    (void)state;
    assert_int_equal(shm_event_barrier(SHM_BARRIER_BOTH), 0);
    if (shm_event_register())
        skip();
    assert_int_equal(shm_event_register(), 0);
    assert_int_equal(shm_event_barrier(SHM_BARRIER_SLEEPER), 0);
}

/* The sleeper's half of the table in event.h. Each number the waker stores is waited for. */
static void
sleep_through(struct shared *s, enum shm_barrier mode, uint64_t n)
{
    for (uint64_t want = 1; want <= n; want++) {
        while (atom_load_acquire(&s->value) < want) {
            uint32_t v = shm_event_arm(&s->word);
            if (shm_event_barrier(mode))
                abort();
            if (atom_load_acquire(&s->value) < want)
                (void)shm_event_wait(&s->word, v, LONG_NS);
        }
        atom_store_release(&s->seen, want);
    }
}

/* The waker goes on when the sleeper has seen: a lost wake-up stops both for a minute, and the test's time runs out. */
static void
wake_through(struct shared *s, enum shm_barrier mode, uint64_t n)
{
    for (uint64_t i = 1; i <= n; i++) {
        if (mode == SHM_BARRIER_BOTH)
            atom_store_seq(&s->value, i);
        else
            atom_store_release(&s->value, i);
        atom_compiler_barrier();
        if (shm_event_claim(&s->word))
            shm_event_wake(&s->word);
        while (atom_load_acquire(&s->seen) < i)
            pause_briefly();
    }
}

static void
no_wake_up_is_lost(enum shm_barrier mode)
{
    struct shared *s = share();
    uint64_t n = fixture_is_full() ? 200000 : 20000;
    int status;
    pid_t child;

    assert_int_equal(mode == SHM_BARRIER_BOTH ? 0 : shm_event_register(), 0);
    child = fork();
    assert_true(child >= 0);
    if (!child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (mode == SHM_BARRIER_SLEEPER && shm_event_register())
            _exit(2);
        sleep_through(s, mode, n);
        _exit(0);
    }
    wake_through(s, mode, n);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    munmap(s, 4096);
}

static void
no_wake_up_is_lost_when_both_pay(void **state)
{
    (void)state;
    no_wake_up_is_lost(SHM_BARRIER_BOTH);
}

static void
no_wake_up_is_lost_when_the_sleeper_pays(void **state)
{
    (void)state;
    if (shm_event_register())
        skip();
    no_wake_up_is_lost(SHM_BARRIER_SLEEPER);
}

static void *
wait_once(void *arg)
{
    struct shared *s = arg;
    uint32_t v = shm_event_arm(&s->word);

    atom_add_relaxed(&s->seen, 1);
    while (atom_load_relaxed(&s->word) == v)
        (void)shm_event_wait(&s->word, v, LONG_NS);
    return NULL;
}

static void
one_wake_up_wakes_all(void **state)
{
    struct shared *s = share();
    pthread_t threads[8];

    (void)state;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_once, s), 0);
    while (atom_load_relaxed(&s->seen) < 8)
        pause_briefly();
    assert_true(shm_event_claim(&s->word));
    shm_event_wake(&s->word);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    munmap(s, 4096);
}

/* A sleeper that is killed leaves the armed bit, which costs one useless wake-up and no more; a waker that is
 * killed between claim and wake is mended by a bump. */
static void
the_dead_leave_nothing_that_matters(void **state)
{
    struct shared *s = share();
    pthread_t sleeper;
    pid_t child = fork();

    (void)state;
    assert_true(child >= 0);
    if (!child) {
        (void)wait_once(s);
        _exit(0);
    }
    while (atom_load_relaxed(&s->seen) < 1)
        pause_briefly();
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_true(shm_event_claim(&s->word));
    assert_false(shm_event_claim(&s->word));

    assert_int_equal(pthread_create(&sleeper, NULL, wait_once, s), 0);
    while (atom_load_relaxed(&s->seen) < 2)
        pause_briefly();
    shm_event_bump(&s->word);
    assert_int_equal(pthread_join(sleeper, NULL), 0);
    munmap(s, 4096);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_woken_who_does_not_sleep),
        cmocka_unit_test(one_of_many_wakers_claims),
        cmocka_unit_test(the_word_wraps),
        cmocka_unit_test(a_bump_moves_the_word_armed_or_not),
        cmocka_unit_test(a_wait_ends_in_time),
        cmocka_unit_test(a_signal_ends_a_wait),
        cmocka_unit_test(a_read_only_word_can_be_slept_on),
        cmocka_unit_test(both_barriers_are_there),
        cmocka_unit_test(no_wake_up_is_lost_when_both_pay),
        cmocka_unit_test(no_wake_up_is_lost_when_the_sleeper_pays),
        cmocka_unit_test(one_wake_up_wakes_all),
        cmocka_unit_test(the_dead_leave_nothing_that_matters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
