#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "tools/units.h"

#define SECOND 1000000000ull

static void
sizes_are_read(void **state)
{
    static const struct {
        const char *text;
        uint64_t want;
    } good[] = {
        {"0", 0},
        {"4096", 4096},
        {"64K", 65536},
        {"64k", 65536},
        {"4M", 4u << 20},
        {"4MiB", 4u << 20},
        {"4 MiB", 4u << 20},
        {"4mb", 4u << 20},
        {"1G", 1u << 30},
        {"2T", 2ull << 40},
        {"512B", 512},
        {"18446744073709551615", UINT64_MAX},
    };
    static const char *const bad[] = {"",    "K",    "-1",   "4Q", "4MM",
                                      "4iB", "0x10", "1.5G", " 4", "4 "};
    uint64_t n = 7;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(units_parse_size(good[i].text, &n), 0);
        assert_true(n == good[i].want);
    }
    n = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(units_parse_size(bad[i], &n), -EINVAL);
    assert_int_equal(units_parse_size("18446744073709551616", &n), -ERANGE);
    assert_int_equal(units_parse_size("16777216T", &n), -ERANGE);
    assert_true(n == 7);
}

static void
counts_are_whole_numbers(void **state)
{
    uint64_t n = 7;

    (void)state;
    assert_int_equal(units_parse_count("12", &n), 0);
    assert_true(n == 12);
    assert_int_equal(units_parse_count("12K", &n), -EINVAL);
    assert_int_equal(units_parse_count("-1", &n), -EINVAL);
    assert_int_equal(units_parse_count("", &n), -EINVAL);
    assert_int_equal(units_parse_count("99999999999999999999", &n), -ERANGE);
    assert_true(n == 12);
}

static void
times_are_read(void **state)
{
    static const struct {
        const char *text;
        uint64_t want;
    } good[] = {
        {"0", 0},
        {"5", 5 * SECOND},
        {"1.5", 1500000000},
        {"250ms", 250000000},
        {"3us", 3000},
        {"7ns", 7},
        {"2m", 120 * SECOND},
        {"2min", 120 * SECOND},
        {"1h", 3600 * SECOND},
        {"1h30m", 5400 * SECOND},
        {"7d", 604800 * SECOND},
        {"1w", 604800 * SECOND},
        {"0.5h", 1800 * SECOND},
        {"1m0.25s", 60250000000},
    };
    static const char *const bad[] = {"", "s", "-5", "5x", "5 s", "1h30", ".5", "5s,"};
    int64_t ns = 7;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(units_parse_time(good[i].text, &ns), 0);
        assert_true((uint64_t)ns == good[i].want);
    }
    ns = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(units_parse_time(bad[i], &ns), -EINVAL);
    assert_int_equal(units_parse_time("999999999999w", &ns), -ERANGE);
    assert_int_equal(units_parse_time("15000w15000w", &ns), -ERANGE);
    assert_true(ns == 7);
}

static void
rates_are_read(void **state)
{
    double hz = 7;

    (void)state;
    assert_int_equal(units_parse_rate("1000", &hz), 0);
    assert_true(hz == 1000);
    assert_int_equal(units_parse_rate("10k/s", &hz), 0);
    assert_true(hz == 10000);
    assert_int_equal(units_parse_rate("30/m", &hz), 0);
    assert_true(hz == 0.5);
    assert_int_equal(units_parse_rate("0.5/s", &hz), 0);
    assert_int_equal(units_parse_rate("0", &hz), -EINVAL);
    assert_int_equal(units_parse_rate("-1", &hz), -EINVAL);
    assert_int_equal(units_parse_rate("fast", &hz), -EINVAL);
    assert_int_equal(units_parse_rate("5/d", &hz), -EINVAL);
    assert_int_equal(units_parse_rate("1e999", &hz), -EINVAL);
    assert_true(hz == 0.5);
}

static void
dates_are_read(void **state)
{
    static const struct {
        const char *text;
        uint64_t seconds, rest;
    } good[] = {
        {"1970-01-02T00:00:00Z", 86400, 0},
        {"2030-01-31T12:00:00Z", 1896091200, 0},
        {"2030-01-31 12:00:00Z", 1896091200, 0},
        {"2030-01-31T12:00Z", 1896091200, 0},
        {"2030-01-31T12:00:00.25Z", 1896091200, 250000000},
        {"2030-01-31T12:00:00.123456789Z", 1896091200, 123456789},
        {"2030-01-31T14:00:00+02:00", 1896091200, 0},
        {"2030-01-31T07:30:00-0430", 1896091200, 0},
        {"2030-01-31T17:30:00", 1896091200, 0}, /* local, see below */
        {"2030-01-31", 1896048000 - 19800, 0},
    };
    static const char *const bad[] = {"",
                                      "today",
                                      "2030-13-01",
                                      "2030-01-31T",
                                      "2030-01-31T12:00:00X",
                                      "2030-01-31T12:00:00+25:00",
                                      "2030-01-31T12:00:00+1",
                                      "1960-01-01T00:00:00Z"};
    uint64_t ns = 7;

    (void)state;
    assert_int_equal(setenv("TZ", "IST-5:30", 1), 0);
    tzset();
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(units_parse_date(good[i].text, &ns), 0);
        assert_true(ns == good[i].seconds * SECOND + good[i].rest);
    }
    ns = 7;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(units_parse_date(bad[i], &ns), -EINVAL);
    assert_true(ns == 7);
}

static void
a_date_comes_back_as_it_was(void **state)
{
    struct units_text room;
    uint64_t ns = 1896091200ull * SECOND + 123456789, back;

    (void)state;
    assert_string_equal(units_date(ns, &room), "2030-01-31T12:00:00.123456789Z");
    assert_int_equal(units_parse_date(room.text, &back), 0);
    assert_true(back == ns);
    assert_non_null(units_date(UINT64_MAX, &room));
}

static void
values_are_written(void **state)
{
    struct units_text room;

    (void)state;
    assert_string_equal(units_size(0, &room), "0 B");
    assert_string_equal(units_size(1023, &room), "1023 B");
    assert_string_equal(units_size(1024, &room), "1.0 KiB");
    assert_string_equal(units_size(1536, &room), "1.5 KiB");
    assert_string_equal(units_size(200 << 10, &room), "200 KiB");
    assert_string_equal(units_size((1 << 20) - 1, &room), "1.0 MiB");
    assert_string_equal(units_size(UINT64_MAX, &room), "16.0 EiB");
    assert_string_equal(units_time(0, &room), "0 ns");
    assert_string_equal(units_time(999, &room), "999 ns");
    assert_string_equal(units_time(1500, &room), "1.5 us");
    assert_string_equal(units_time(250000000, &room), "250 ms");
    assert_string_equal(units_time(3200000000, &room), "3.2 s");
    assert_string_equal(units_time(90 * SECOND, &room), "1 m 30 s");
    assert_string_equal(units_time(3700 * SECOND, &room), "1 h 1 m");
    assert_string_equal(units_time(187200 * SECOND, &room), "2 d 4 h");
    assert_string_equal(units_rate(0, &room), "0");
    assert_string_equal(units_rate(1.5, &room), "1.5");
    assert_string_equal(units_rate(9999, &room), "9999");
    assert_string_equal(units_rate(12345, &room), "12.3 k");
    assert_string_equal(units_rate(60e6, &room), "60.0 M");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read),     cmocka_unit_test(counts_are_whole_numbers),
        cmocka_unit_test(times_are_read),     cmocka_unit_test(rates_are_read),
        cmocka_unit_test(dates_are_read),     cmocka_unit_test(a_date_comes_back_as_it_was),
        cmocka_unit_test(values_are_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
