/* What the tool says of a process: how it is, and never that one is dead that it cannot see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/process.h"
#include "tests/support/pause.h"
#include "tools/facts.h"

/* Stands before the C library's: /proc as it is mounted with hidepid=2, for one process. */
static pid_t hidden;

int
open(const char *path, int flags, ...)
{
    char stat[64];

    (void)snprintf(stat, sizeof stat, "/proc/%d/stat", (int)hidden);
    if (hidden && !strcmp(path, stat)) {
        errno = ENOENT;
        return -1;
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0);
}

static void
a_process_is_as_it_is(void **state)
{
    pid_t pid = fork();

    (void)state;
    if (!pid)
        for (;;)
            pause();
    assert_true(pid > 0);
    assert_string_equal(facts_process((uint32_t)pid), "running");
    hidden = pid;
    assert_string_equal(facts_process((uint32_t)pid), "hidden");
    hidden = 0;
    kill(pid, SIGSTOP);
    assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
    assert_string_equal(facts_process((uint32_t)pid), "stopped");
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    hidden = pid;
    assert_string_equal(facts_process((uint32_t)pid), "dead");
    hidden = 0;
    assert_string_equal(facts_process((uint32_t)pid), "dead");
    assert_string_equal(facts_process(UINT32_MAX), "dead");
}

static void *
live_on(void *arg)
{
    for (;;)
        pause();
    return arg;
}

static char
letter_of(pid_t pid)
{
    char text[SHM_PROCESS_STAT];
    const char *state;

    return shm_process_stat(pid, text, &state) ? '?' : *state;
}

/* Its first thread has ended, and another goes on. */
static void
a_process_lives_with_its_last_thread(void **state)
{
    pid_t pid = fork();
    pthread_t other;

    (void)state;
    if (!pid) {
        if (pthread_create(&other, NULL, live_on, NULL))
            _exit(1);
        pthread_exit(NULL);
    }
    assert_true(pid > 0);
    while (letter_of(pid) != 'Z')
        pause_briefly();
    assert_string_equal(facts_process((uint32_t)pid), "running");
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_is_as_it_is),
        cmocka_unit_test(a_process_lives_with_its_last_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
