/* Processes: 3 publish and wait for nobody, 4 read what they can. Every byte that is taken for a message is one, and
 * published = delivered + told as lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/stress/stress_body.h"

static void
processes_are_told_what_they_lose(void **state)
{
    struct stress_plan p = {
        .publishers = 3,
        .readers = 4,
        .when_full = RING_OVERWRITE,
        .messages = fixture_is_full() ? 4000000 : 300000,
        .depth = 1024,
        .lane_size = 1u << 19,
        .slot_size = 64,
        .len_max = 8000,
        .batch_max = 32,
    };

    (void)state;
    assert_true(stress_processes(&p));
    p.depth = 8;
    p.lane_size = 8192;
    p.len_max = 900;
    p.batch_max = 4;
    assert_true(stress_processes(&p));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processes_are_told_what_they_lose),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
