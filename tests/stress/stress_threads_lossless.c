/* Threads over one mapping, where the thread sanitizer sees everything: 3 publish, 4 gate, nothing may be lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/stress/stress_body.h"

static struct stress_plan
plan(void)
{
    return (struct stress_plan){
        .publishers = 3,
        .readers = 4,
        .when_full = RING_BLOCK,
        .messages = fixture_is_full() ? 1000000 : 30000,
        .depth = 64,
        .lane_size = 1u << 16,
        .slot_size = 64,
        .len_max = 2000,
        .batch_max = 16,
    };
}

static void
threads_lose_nothing(void **state)
{
    struct stress_plan p = plan();

    (void)state;
    assert_true(stress_threads(&p));
}

/* The smallest ring there is: publishers meet readers at every step. */
static void
threads_lose_nothing_in_the_smallest_ring(void **state)
{
    struct stress_plan p = plan();

    (void)state;
    p.depth = 8;
    p.lane_size = 4096;
    p.len_max = 500;
    p.batch_max = 4;
    p.messages /= 2;
    assert_true(stress_threads(&p));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_lose_nothing),
        cmocka_unit_test(threads_lose_nothing_in_the_smallest_ring),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
