/* The instrument of the other tests: named places that can be listed, hooked, and armed from outside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/testpoint.h"

#if defined(LEAT_TESTPOINTS)

#define PASSAGES 5

/* What the armed program does: five times past the place, a byte for each. */
static int
walk(int out)
{
    for (int i = 0; i < PASSAGES; i++) {
        TESTPOINT("test.walk");
        if (write(out, "x", 1) != 1)
            return 1;
    }
    TESTPOINT("test.end");
    return 0;
}

/* Runs this program again, armed; returns how it ended, and how far it came. When it stops it is sent on. */
static int
run_armed(const char *arms, size_t *ret_passed, int *ret_stops)
{
    int fds[2], status;
    char buf[64];
    pid_t pid;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        char fd[16];
        (void)snprintf(fd, sizeof fd, "%d", fds[1]);
        (void)fcntl(fds[1], F_SETFD, 0);
        setenv("LEAT_TESTPOINT", arms, 1);
        execl("/proc/self/exe", "test_testpoint", "walk", fd, (char *)NULL);
        _exit(126);
    }
    close(fds[1]);
    *ret_stops = 0;
    for (;;) {
        assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
        if (!WIFSTOPPED(status))
            break;
        (*ret_stops)++;
        kill(pid, SIGCONT);
    }
    *ret_passed = (size_t)read(fds[0], buf, sizeof buf);
    close(fds[0]);
    return status;
}

static void
an_armed_place_kills(void **state)
{
    size_t passed;
    int stops, status = run_armed("test.walk=kill", &passed, &stops);

    (void)state;
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(passed, 0);
    status = run_armed("test.walk:3=kill", &passed, &stops);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(passed, 2);
    status = run_armed("test.walk:6=kill", &passed, &stops);
    assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
    assert_int_equal(passed, PASSAGES);
}

static void
an_armed_place_stops(void **state)
{
    size_t passed;
    int stops, status = run_armed("test.walk:2=stop,test.end=stop", &passed, &stops);

    (void)state;
    assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
    assert_int_equal(passed, PASSAGES);
    assert_int_equal(stops, 2);
    status = run_armed("test.walk:4=stop,test.end=kill", &passed, &stops);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(stops, 1);
}

static void
nothing_armed_is_nothing(void **state)
{
    static const char *const arms[] = {"",    "test.walk", "other.place=kill",
                                       ",,,", "=kill",     ":=kill"};
    size_t passed;
    int stops;

    (void)state;
    for (size_t i = 0; i < sizeof arms / sizeof *arms; i++) {
        int status = run_armed(arms[i], &passed, &stops);
        assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
        assert_int_equal(passed, PASSAGES);
    }
}

static void
each_name_is_listed_once(void **state)
{
    const char *const *names = shm_testpoint_names();
    size_t found = 0;

    (void)state;
    TESTPOINT("test.twice");
    TESTPOINT("test.twice");
    for (size_t i = 0; names[i]; i++) {
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(names[i], names[k]);
        found += !strcmp(names[i], "test.twice") || !strcmp(names[i], "test.walk") ||
                 !strcmp(names[i], "shm.started");
    }
    assert_int_equal(found, 3);
}

static int hits;

static void
count_hits(const char *name)
{
    hits += !strcmp(name, "test.hook");
}

static void
a_hook_hears_every_passage(void **state)
{
    (void)state;
    assert_null(shm_testpoint_hook);
    TESTPOINT("test.hook");
    shm_testpoint_hook = count_hits;
    TESTPOINT("test.hook");
    TESTPOINT("test.hook");
    shm_testpoint_hook = NULL;
    TESTPOINT("test.hook");
    assert_int_equal(hits, 2);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_armed_place_kills),       cmocka_unit_test(an_armed_place_stops),
        cmocka_unit_test(nothing_armed_is_nothing),   cmocka_unit_test(each_name_is_listed_once),
        cmocka_unit_test(a_hook_hears_every_passage),
    };

    if (argc == 3)
        return walk((int)strtol(argv[2], NULL, 10));
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int
main(void)
{
    (void)puts("skipped: this build has no test points");
    return 77;
}

#endif
