/* Who a process is, and when it is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/process.h"

/* A child that lives until it is killed. */
static pid_t
start_child(void)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            (void)pause();
    }
    return pid;
}

static int
is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0);
}

static void
a_process_has_one_start(void **state)
{
    uint64_t a, b, child;
    pid_t pid = start_child();

    (void)state;
    assert_int_equal(shm_process_start(getpid(), &a), 0);
    assert_int_equal(shm_process_start(getpid(), &b), 0);
    assert_true(a > 0 && a == b);
    assert_int_equal(shm_process_start(pid, &child), 0);
    assert_true(child >= a);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    child = 4711;
    assert_int_equal(shm_process_start(pid, &child), -ESRCH);
    assert_int_equal(child, 4711);
}

static void
a_name_with_parentheses_does_not_hide_the_start(void **state)
{
    static const char *const names[] = {"a) R 1 2 3", "((((", "))) (((", " ", "x) S ("};
    uint64_t before, now;

    (void)state;
    assert_int_equal(shm_process_start(getpid(), &before), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(prctl(PR_SET_NAME, names[i]), 0);
        assert_int_equal(shm_process_start(getpid(), &now), 0);
        assert_int_equal(now, before);
    }
}

static void
the_boot_id_is_the_kernels(void **state)
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    char text[64] = "", want[64] = "";
    uint8_t id[16];
    size_t n = 0;

    (void)state;
    assert_non_null(f);
    assert_non_null(fgets(text, sizeof text, f));
    (void)fclose(f);
    assert_int_equal(shm_process_boot_id(id), 0);
    for (const char *c = text; *c; c++)
        if (*c != '-' && *c != '\n')
            want[n++] = *c;
    assert_int_equal(n, 32);
    for (size_t i = 0; i < 16; i++) {
        char two[3];
        (void)snprintf(two, sizeof two, "%02x", (unsigned)id[i]);
        assert_memory_equal(two, want + 2 * i, 2);
    }
}

static void
a_pidfd_tells_of_the_death(void **state)
{
    pid_t pid = start_child();
    uint64_t start;
    int fd = -1;
    struct pollfd p;

    (void)state;
    assert_int_equal(shm_process_start(pid, &start), 0);
    assert_int_equal(shm_process_pidfd(pid, start, &fd), 0);
    assert_int_equal(is_readable(fd), 0);
    kill(pid, SIGKILL);
    p = (struct pollfd){.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 60000), 1);
    /* A zombie is dead, but its pid is still its own. */
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(is_readable(fd), 1);
    close(fd);
    fd = -7;
    assert_int_equal(shm_process_pidfd(pid, start, &fd), -ESRCH);
    assert_int_equal(fd, -7);
}

static void
a_pid_of_somebody_else_is_refused(void **state)
{
    uint64_t start;
    int fd = -7;

    (void)state;
    assert_int_equal(shm_process_start(getpid(), &start), 0);
    assert_int_equal(shm_process_pidfd(getpid(), start + 1, &fd), -ESRCH);
    assert_int_equal(fd, -7);
    assert_true(shm_process_pidfd(0, start, &fd) < 0);
    assert_true(shm_process_pidfd(-1, start, &fd) < 0);
    assert_int_equal(fd, -7);
}

static void *
tell_and_stay(void *to)
{
    pid_t id = (pid_t)syscall(SYS_gettid);

    if (write(*(const int *)to, &id, sizeof id) != sizeof id)
        return NULL;
    for (;;)
        (void)pause();
}

/* The pid of one who died may be the id of a thread by now. */
static void
a_thread_is_no_process(void **state)
{
    pthread_t thread;
    uint64_t start;
    pid_t id;
    int ends[2], fd = -7;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pthread_create(&thread, NULL, tell_and_stay, &ends[1]), 0);
    assert_int_equal(read(ends[0], &id, sizeof id), sizeof id);
    assert_int_equal(shm_process_start(id, &start), 0);
    assert_int_equal(shm_process_pidfd(id, start, &fd), -ESRCH);
    assert_int_equal(fd, -7);
    assert_int_equal(pthread_cancel(thread), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    close(ends[0]);
    close(ends[1]);
}

static void
a_stopped_process_is_not_dead(void **state)
{
    pid_t pid = start_child();
    uint64_t start;
    int fd = -1, status;

    (void)state;
    assert_int_equal(shm_process_start(pid, &start), 0);
    assert_int_equal(shm_process_pidfd(pid, start, &fd), 0);
    kill(pid, SIGSTOP);
    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(is_readable(fd), 0);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(is_readable(fd), 1);
    close(fd);
}

/* As a service of another user sees it: 0 what was to be seen, 77 no way to see it. */
static int
look_from_behind(const char *hidepid, pid_t pid, pid_t gone)
{
    uint64_t start = 4711;
    int fd = -1;

    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("proc", "/proc", "proc", 0, hidepid) || setgroups(0, NULL) ||
        setresgid(12345, 12345, 12345) || setresuid(12345, 12345, 12345))
        return 77;
    if (shm_process_start(pid, &start) != -EACCES || start != 4711)
        return 1;
    if (shm_process_start(gone, &start) != -ESRCH || shm_process_start(getpid(), &start))
        return 2;
    if (shm_process_pidfd(gone, 1, &fd) != -ESRCH)
        return 3;
    if (shm_process_pidfd(pid, 1, &fd) || is_readable(fd))
        return 4;
    return kill(getppid(), 0) && errno == EPERM ? 0 : 5;
}

static void
who_is_hidden_is_not_dead(void **state)
{
    static const char *const ways[] = {"hidepid=1", "hidepid=2"};
    pid_t pid = start_child(), gone = start_child(), looker;
    int status;

    (void)state;
    kill(gone, SIGKILL);
    assert_int_equal(waitpid(gone, NULL, 0), gone);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        looker = fork();
        assert_true(looker >= 0);
        if (!looker)
            _exit(look_from_behind(ways[i], pid, gone));
        assert_int_equal(waitpid(looker, &status, 0), looker);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
            print_message("skipped %s: /proc cannot be mounted anew here\n", ways[i]);
        else
            assert_int_equal(WEXITSTATUS(status), 0);
    }
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_has_one_start),
        cmocka_unit_test(a_name_with_parentheses_does_not_hide_the_start),
        cmocka_unit_test(the_boot_id_is_the_kernels),
        cmocka_unit_test(a_pidfd_tells_of_the_death),
        cmocka_unit_test(a_pid_of_somebody_else_is_refused),
        cmocka_unit_test(a_thread_is_no_process),
        cmocka_unit_test(a_stopped_process_is_not_dead),
        cmocka_unit_test(who_is_hidden_is_not_dead),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
