/* What a verb says on standard error is one line, whatever the text is made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"

static const struct cli_verb verb = {.name = "test", .operands = "", .summary = ""};

/* What was written to standard error since begin(). */
static int saved, caught;

static void
begin(void)
{
    char path[] = "/tmp/leat-test-cli.XXXXXX";

    caught = mkstemp(path);
    assert_true(caught >= 0);
    (void)unlink(path);
    saved = dup(STDERR_FILENO);
    assert_true(saved >= 0 && dup2(caught, STDERR_FILENO) >= 0);
}

static void
end(char ret[2000])
{
    ssize_t n;

    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    (void)close(saved);
    n = pread(caught, ret, 1999, 0);
    (void)close(caught);
    assert_true(n >= 0);
    ret[n] = 0;
}

static void
others_texts_do_not_speak_to_the_terminal(void **state)
{
    const struct cli c = {.verb = &verb};
    char text[2000];

    (void)state;
    begin();
    assert_int_equal(
        cli_error(&c, "%s: %s", "orders", "\033]0;title\a\nleat test: all is well\x9b"),
        CLI_FAILED);
    cli_note(&c, "\r%s", "\x7f");
    assert_int_equal(cli_usage(&c, "option '%s'", "\033[2J"), CLI_USAGE);
    end(text);
    assert_string_equal(text, "leat test: orders: ?]0;title??leat test: all is well?\n"
                              "leat test: ??\n"
                              "leat test: option '?[2J' (try 'leat test --help')\n");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_texts_do_not_speak_to_the_terminal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
