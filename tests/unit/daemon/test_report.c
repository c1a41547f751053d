/* Reports: one line each, limited, clean, and never blocking. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/report.h"

static int ends[2];
static char said[1 << 17];

static int
setup(void **state)
{
    (void)state;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
        return -1;
    report_to(ends[1]);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    report_to(-1);
    close(ends[0]);
    close(ends[1]);
    return 0;
}

static const char *
heard(void)
{
    size_t len = 0;
    ssize_t n;

    while ((n = read(ends[0], said + len, sizeof said - 1 - len)) > 0)
        len += (size_t)n;
    said[len] = '\0';
    return said;
}

static unsigned
lines(const char *text)
{
    unsigned n = 0;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void
a_line_has_a_level(void **state)
{
    (void)state;
    report_error("topic %s: %d", "a", 1);
    assert_string_equal(heard(), "leatd: error: topic a: 1\n");
    report_warning("w");
    assert_string_equal(heard(), "leatd: warning: w\n");
    report_note("n");
    assert_string_equal(heard(), "leatd: n\n");
    report_quiet();
    report_note("n");
    assert_string_equal(heard(), "");
    report_warning("w");
    assert_string_equal(heard(), "leatd: warning: w\n");
}

static void
a_name_cannot_forge_a_line(void **state)
{
    (void)state;
    report_error("topic '%s'", "a\nleatd: error: forged\x1b[31m\x7f");
    assert_string_equal(heard(), "leatd: error: topic 'a?leatd: error: forged?[31m?'\n");
}

static void
the_same_message_is_limited_and_others_are_not(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++)
        report_error("number %d", i);
    report_error("another");
    (void)heard();
    assert_int_equal(lines(said), REPORT_BURST + 1);
    assert_non_null(strstr(said, "number 9\n"));
    assert_null(strstr(said, "number 10\n"));
    assert_non_null(strstr(said, "another\n"));
}

static void
a_long_one_is_cut_to_a_line(void **state)
{
    char text[4000];

    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    report_error("%s", text);
    (void)heard();
    assert_int_equal(lines(said), 1);
    assert_true(strlen(said) < REPORT_LINE);
}

/* Formats of their own, so that the limit does not come first. */
static void
a_full_pipe_does_not_stop_it(void **state)
{
    char filler[4096] = {0};
    int blocking = fcntl(ends[1], F_GETFL) & ~O_NONBLOCK;

    (void)state;
    while (write(ends[1], filler, sizeof filler) > 0)
        ;
    assert_int_equal(fcntl(ends[1], F_SETFL, blocking), 0);
    report_error("lost one");
    report_error("lost two");
    (void)heard();
    report_error("heard again");
    assert_string_equal(heard(),
                        "leatd: error: heard again (2 lines lost: standard error was full)\n");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_line_has_a_level, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_cannot_forge_a_line, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_message_is_limited_and_others_are_not, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_long_one_is_cut_to_a_line, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_pipe_does_not_stop_it, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
