/* Threads over one mapping: publishers wait for nobody, readers lose and are told. Payloads stand in the slots: bytes of a
 * lane that are overwritten while they are read are a race that is meant, and no sanitizer can tell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/stress/stress_body.h"

static void
threads_are_told_what_they_lose(void **state)
{
    struct stress_plan p = {
        .publishers = 3,
        .readers = 4,
        .when_full = RING_OVERWRITE,
        .messages = fixture_is_full() ? 2000000 : 80000,
        .depth = 1024,
        .lane_size = 4096,
        .slot_size = 64,
        .len_max = 32,
        .batch_max = 16,
    };

    (void)state;
    assert_true(stress_threads(&p));
    p.depth = 8;
    p.batch_max = 4;
    p.slot_size = 256;
    p.len_max = 224;
    assert_true(stress_threads(&p));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_are_told_what_they_lose),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
