#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "tools/feed.h"

#define NOW 1896091200000000000ull

static void
a_position_is(const char *text, uint32_t start, uint64_t value)
{
    struct leat_position p = {0};

    assert_int_equal(feed_position(text, NOW, &p), 0);
    assert_int_equal(p.start, start);
    assert_true(p.value == value);
}

static void
positions_are_read(void **state)
{
    (void)state;
    a_position_is("latest", LEAT_LATEST, 0);
    a_position_is("earliest", LEAT_EARLIEST, 0);
    a_position_is("17", LEAT_AT_SEQ, 17);
    a_position_is("last:5", LEAT_LAST_N, 5);
    a_position_is("-5m", LEAT_AT_TIME, NOW - 300000000000ull);
    a_position_is("time:-5m", LEAT_AT_TIME, NOW - 300000000000ull);
    a_position_is("-10000w", LEAT_AT_TIME, 0);
    a_position_is("time:2030-01-31T12:00:00Z", LEAT_AT_TIME, NOW);
}

static void
bad_ones_are_refused(void **state)
{
    static const char *const bad[] = {"",    "newest", "last:",    "last:-1", "-",
                                      "-5q", "time:",  "time:now", "1x",      "+1"};
    struct leat_position p = {.start = 9};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(feed_position(bad[i], NOW, &p), -EINVAL);
    assert_int_equal(p.start, 9);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions_are_read),
        cmocka_unit_test(bad_ones_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
