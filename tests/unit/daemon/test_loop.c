/* The loop: order, removal from within callbacks, timers against a sorted list, and sleeping without end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "daemon/loop.h"

#define PATIENCE_NS 10000000000ull

static struct loop *loop;
static char said[256];

static int
setup(void **state)
{
    (void)state;
    said[0] = '\0';
    return loop_open(&loop);
}

static int
teardown(void **state)
{
    (void)state;
    loop = loop_close(loop);
    return 0;
}

static void
say(const char *word)
{
    size_t len = strlen(said);

    (void)snprintf(said + len, sizeof said - len, "%s ", word);
}

/* --- sources --- */

static int pipes[2][2];
static struct loop_source sources[2];

static void
open_pipes(void)
{
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pipe2(pipes[i], O_CLOEXEC | O_NONBLOCK), 0);
        assert_int_equal(write(pipes[i][1], "x", 1), 1);
    }
}

static void
close_pipes(void)
{
    for (int i = 0; i < 2; i++) {
        close(pipes[i][0]);
        close(pipes[i][1]);
    }
}

static void
read_and_say(struct loop_source *source, uint32_t events)
{
    char byte;

    assert_true(events & EPOLLIN);
    assert_int_equal(read(source->fd, &byte, 1), 1);
    say(source->user);
}

static void
remove_the_other(struct loop_source *source, uint32_t events)
{
    struct loop_source *other = source == &sources[0] ? &sources[1] : &sources[0];

    (void)events;
    say(source->user);
    loop_remove(loop, other);
    loop_remove(loop, source);
    memset(other, 0xa5, sizeof *other);
}

static void
a_ready_source_is_told(void **state)
{
    (void)state;
    open_pipes();
    sources[0] =
        (struct loop_source){.fd = pipes[0][0], .ready = read_and_say, .user = (char[]){"a"}};
    assert_int_equal(loop_add(loop, &sources[0], EPOLLIN), 0);
    assert_int_equal(loop_turn(loop, UINT64_MAX), 0);
    assert_int_equal(loop_turn(loop, 0), 0);
    assert_string_equal(said, "a ");
    assert_int_equal(loop_change(loop, &sources[0], EPOLLOUT), 0);
    assert_int_equal(write(pipes[0][1], "x", 1), 1);
    assert_int_equal(loop_turn(loop, 0), 0);
    assert_string_equal(said, "a ");
    loop_remove(loop, &sources[0]);
    loop_remove(loop, &sources[0]);
    close_pipes();
}

static void
a_source_removed_in_the_same_turn_is_not_told(void **state)
{
    (void)state;
    open_pipes();
    sources[0] =
        (struct loop_source){.fd = pipes[0][0], .ready = remove_the_other, .user = (char[]){"x"}};
    sources[1] =
        (struct loop_source){.fd = pipes[1][0], .ready = remove_the_other, .user = (char[]){"x"}};
    assert_int_equal(loop_add(loop, &sources[0], EPOLLIN), 0);
    assert_int_equal(loop_add(loop, &sources[1], EPOLLIN), 0);
    assert_int_equal(loop_turn(loop, UINT64_MAX), 0);
    assert_int_equal(loop_turn(loop, 0), 0);
    assert_string_equal(said, "x ");
    close_pipes();
}

/* --- timers --- */

#define TIMERS 500

static struct loop_timer timers[TIMERS];
static uint64_t last_ns;
static unsigned fired;

static void
fire_in_order(struct loop_timer *timer)
{
    uint64_t at = *(uint64_t *)timer->user;

    assert_true(at >= last_ns);
    assert_false(loop_is_set(timer));
    last_ns = at;
    fired++;
}

static void
timers_fire_in_order(void **state)
{
    static uint64_t at[TIMERS];
    unsigned seed = (unsigned)loop_clock(), x = seed, cancelled = 0;

    (void)state;
    print_message("seed %u\n", seed);
    last_ns = fired = 0;
    for (unsigned i = 0; i < 4 * TIMERS; i++) {
        struct loop_timer *t = &timers[i % TIMERS];
        x = x * 1664525u + 1013904223u;
        at[i % TIMERS] = loop_clock() - (x >> 8);
        *t = i < TIMERS ? (struct loop_timer){.fire = fire_in_order, .user = &at[i]} : *t;
        loop_set(loop, t, at[i % TIMERS]);
    }
    for (unsigned i = 0; i < TIMERS; i += 3, cancelled++) {
        loop_cancel(loop, &timers[i]);
        loop_cancel(loop, &timers[i]);
    }
    assert_int_equal(loop_turn(loop, UINT64_MAX), 0);
    assert_int_equal(fired, TIMERS - cancelled);
}

static void
fire_and_cancel(struct loop_timer *timer)
{
    say("fired");
    if (timer->user)
        loop_cancel(loop, timer->user);
}

static void
a_timer_cancelled_by_an_earlier_one_stays_silent(void **state)
{
    struct loop_timer late = {.fire = fire_and_cancel};
    struct loop_timer early = {.fire = fire_and_cancel, .user = &late};

    (void)state;
    loop_set(loop, &late, 2);
    loop_set(loop, &early, 1);
    assert_int_equal(loop_turn(loop, 0), 0);
    assert_string_equal(said, "fired ");
    assert_false(loop_is_set(&late));
}

static void
set_by_only_moves_forward(void **state)
{
    struct loop_timer t = {.fire = fire_and_cancel};
    uint64_t now = loop_clock();

    (void)state;
    loop_set_by(loop, &t, now + PATIENCE_NS);
    loop_set_by(loop, &t, now + 2 * PATIENCE_NS);
    assert_int_equal(t.at_ns, now + PATIENCE_NS);
    loop_set_by(loop, &t, now + 1000000);
    assert_int_equal(loop_turn(loop, UINT64_MAX), 0);
    assert_true(loop_clock() >= now + 1000000);
    assert_string_equal(said, "fired ");
}

/* --- tasks --- */

static struct loop_task tasks[3];

static void
run_again(struct loop_task *task)
{
    say(task->user);
    if (task == &tasks[0])
        loop_defer(loop, &tasks[0]);
    if (task == &tasks[1])
        loop_undefer(loop, &tasks[2]);
}

static void
tasks_run_once_a_turn(void **state)
{
    static char names[][2] = {"a", "b", "c"};

    (void)state;
    for (int i = 0; i < 3; i++) {
        tasks[i] = (struct loop_task){.run = run_again, .user = names[i]};
        loop_defer(loop, &tasks[i]);
        loop_defer(loop, &tasks[i]);
    }
    assert_int_equal(loop_turn(loop, UINT64_MAX), 0);
    assert_string_equal(said, "a b ");
    assert_int_equal(loop_turn(loop, UINT64_MAX), 0);
    assert_string_equal(said, "a b a ");
    loop_undefer(loop, &tasks[0]);
}

static void
count_turns(void *user)
{
    if (++*(int *)user == 3)
        loop_stop(loop, 42);
}

static void
keep_going(struct loop_task *task)
{
    loop_defer(loop, task);
}

static void
run_ends_with_what_stop_says(void **state)
{
    struct loop_task task = {.run = keep_going};
    int turns = 0;

    (void)state;
    loop_hook(loop, count_turns, &turns);
    loop_defer(loop, &task);
    assert_int_equal(loop_run(loop), 42);
    assert_int_equal(turns, 3);
}

/* A timer that was cancelled leaves nothing armed behind that would wake an idle loop. */
static void
idle_means_no_wake_up(void **state)
{
    struct loop_timer t = {.fire = fire_and_cancel};
    int turns = 0;

    (void)state;
    loop_set(loop, &t, loop_clock() + 2000000);
    assert_int_equal(loop_turn(loop, 0), 0);
    loop_cancel(loop, &t);
    assert_int_equal(loop_turn(loop, 0), 0);
    loop_hook(loop, count_turns, &turns);
    /* Were the timerfd still armed, this turn would end by it, and early. */
    last_ns = loop_clock() + 20000000;
    assert_int_equal(loop_turn(loop, last_ns), 0);
    assert_true(loop_clock() >= last_ns);
    assert_string_equal(said, "");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_ready_source_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_source_removed_in_the_same_turn_is_not_told, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(timers_fire_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_timer_cancelled_by_an_earlier_one_stays_silent, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(set_by_only_moves_forward, setup, teardown),
        cmocka_unit_test_setup_teardown(tasks_run_once_a_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(run_ends_with_what_stop_says, setup, teardown),
        cmocka_unit_test_setup_teardown(idle_means_no_wake_up, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
