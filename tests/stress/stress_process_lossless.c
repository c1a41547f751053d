/* Processes: 3 publish, 4 gate, payloads of all sizes in slots and lanes. Nothing is lost, and all see one order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/stress/stress_body.h"

static void
processes_lose_nothing(void **state)
{
    struct stress_plan p = {
        .publishers = 3,
        .readers = 4,
        .when_full = RING_BLOCK,
        .messages = fixture_is_full() ? 2000000 : 100000,
        .depth = 256,
        .lane_size = 1u << 19,
        .slot_size = 64,
        .len_max = 8000,
        .batch_max = 32,
    };

    (void)state;
    assert_true(stress_processes(&p));
    p.depth = 8;
    p.lane_size = 8192;
    p.slot_size = 128;
    p.len_max = 900;
    p.batch_max = 4;
    p.messages /= 4;
    assert_true(stress_processes(&p));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processes_lose_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
