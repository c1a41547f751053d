/* The guard of a chosen prefix, in a directory where anybody may have been first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/bus.h"
#include "daemon/lock.h"
#include "daemon/prefix.h"
#include "daemon/report.h"
#include "shm/name.h"

#define STRANGER 12345

static char prefix[LIMIT_SHM_PREFIX], guard[100], other[120], why[WHY_ROOM];

static int
setup(void **state)
{
    (void)state;
    report_to(-1);
    (void)snprintf(prefix, sizeof prefix, "unit-%d", (int)getpid());
    (void)snprintf(guard, sizeof guard, "/dev/shm/%s" BUS_GUARD, prefix);
    (void)snprintf(other, sizeof other, "%s.other", guard);
    return 0;
}

static int
teardown(void **state)
{
    char command[160];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf %s*", guard);
    return system(command);
}

static void
a_guard_has_one_holder_and_goes_with_it(void **state)
{
    int fd, second;

    (void)state;
    assert_int_equal(prefix_take(prefix, true, &fd, why), 0);
    assert_int_equal(prefix_take(prefix, true, &second, why), -EBUSY);
    assert_non_null(strstr(why, prefix));
    prefix_give_up(prefix, &fd);
    assert_int_equal(fd, -1);
    assert_int_equal(access(guard, F_OK), -1);
}

/* Calls prefix_take as a user who is not root, in a child that has made nothing there. */
static int
take_as(uid_t uid, char text[WHY_ROOM])
{
    struct {
        int r;
        char why[WHY_ROOM];
    } said;
    int pipes[2];
    pid_t child;

    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    (void)fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (!child) {
        int fd;
        said.r = setresuid(uid, uid, uid) ? -ENOSYS : prefix_take(prefix, true, &fd, said.why);
        (void)!write(pipes[1], &said, sizeof said);
        _exit(0);
    }
    close(pipes[1]);
    assert_int_equal(read(pipes[0], &said, sizeof said), sizeof said);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close(pipes[0]);
    memcpy(text, said.why, WHY_ROOM);
    return said.r;
}

/* What stands there is his, and locked as long as he likes. */
static int
of_a_stranger(mode_t type)
{
    int fd = -1;

    if (type == S_IFDIR) {
        assert_int_equal(mkdir(guard, 0700), 0);
        (void)snprintf(why, sizeof why, "%s/x", guard);
        assert_int_equal(mkdir(why, 0700), 0);
    } else if (type == S_IFLNK) {
        assert_int_equal(symlink(other, guard), 0);
    } else if (type == S_IFIFO) {
        assert_int_equal(mkfifo(guard, 0666), 0);
    } else {
        fd = open(guard, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        assert_true(fd >= 0);
        assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
        assert_int_equal(lock_write(fd, "pid 1\n"), 0);
    }
    assert_int_equal(lchown(guard, STRANGER, STRANGER), 0);
    return fd;
}

static void
a_strangers_guard_is_not_believed(void **state)
{
    static const mode_t types[] = {S_IFREG, S_IFIFO, S_IFLNK, S_IFDIR};
    struct stat st;
    char word[40];
    int fd, his;

    (void)state;
    if (geteuid() != 0)
        skip();
    (void)alarm(60);
    (void)snprintf(word, sizeof word, "user %d", STRANGER);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        his = of_a_stranger(types[i]);
        /* Who only wants to purge does not know that nobody serves it. */
        assert_int_equal(prefix_take(prefix, false, &fd, why), -EPERM);
        assert_non_null(strstr(why, guard));
        assert_non_null(strstr(why, word));
        /* One who may not take it away says whose it is. */
        assert_int_equal(take_as(STRANGER + 1, why), -EPERM);
        assert_non_null(strstr(why, guard));
        assert_non_null(strstr(why, word));
        assert_int_equal(prefix_take(prefix, true, &fd, why), 0);
        assert_int_equal(lstat(guard, &st), 0);
        assert_true(S_ISREG(st.st_mode));
        assert_int_equal(st.st_uid, 0);
        assert_int_equal(access(other, F_OK), -1);
        prefix_give_up(prefix, &fd);
        if (his >= 0)
            close(his);
    }
    (void)alarm(0);
}

/* A guard that is held by a process of its owner is that of a living daemon, and its rings are not to be taken away. */
static void
a_living_daemon_of_another_user_is_left_alone(void **state)
{
    int ready[2], fd;
    pid_t child;
    char byte;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    child = fork();
    assert_true(child >= 0);
    if (!child) {
        char text[64];
        (void)snprintf(text, sizeof text, "pid %d\n", (int)getpid());
        if (setresuid(STRANGER, STRANGER, STRANGER) || prefix_take(prefix, true, &fd, why) ||
            lock_write(fd, text) || write(ready[1], "", 1) != 1)
            _exit(1);
        (void)alarm(60);
        pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(prefix_take(prefix, true, &fd, why), -EBUSY);
    assert_int_equal(access(guard, F_OK), 0);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(prefix_take(prefix, true, &fd, why), 0);
    prefix_give_up(prefix, &fd);
    close(ready[0]);
}

/* Of ours, or of root, and still no lock: nothing is waited for, followed or written to. */
static void
what_is_no_file_of_its_own_is_refused(void **state)
{
    int fd;

    (void)state;
    (void)alarm(60);
    assert_int_equal(mkfifo(guard, 0600), 0);
    assert_int_equal(prefix_take(prefix, true, &fd, why), -EINVAL);
    assert_non_null(strstr(why, guard));
    assert_int_equal(unlink(guard), 0);
    fd = open(other, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(symlink(other, guard), 0);
    assert_int_equal(prefix_take(prefix, true, &fd, why), -ELOOP);
    assert_non_null(strstr(why, guard));
    assert_int_equal(unlink(guard), 0);
    assert_int_equal(link(other, guard), 0);
    assert_int_equal(prefix_take(prefix, true, &fd, why), -EPERM);
    assert_non_null(strstr(why, "other names"));
    (void)alarm(0);
}

static void
a_sockets_prefix_comes_from_its_real_place(void **state)
{
    char direct[LIMIT_SHM_PREFIX], dotted[LIMIT_SHM_PREFIX], expected[LIMIT_SHM_PREFIX];

    (void)state;
    shm_name_prefix("/dev/shm/bus", expected);
    assert_int_equal(prefix_of_socket("/dev/shm/bus", direct), 0);
    assert_int_equal(prefix_of_socket("/dev/./shm//bus", dotted), 0);
    assert_string_equal(direct, expected);
    assert_string_equal(dotted, expected);
    assert_int_equal(prefix_of_socket("/nowhere/at/all/bus", direct), -ENOENT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_guard_has_one_holder_and_goes_with_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_strangers_guard_is_not_believed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_living_daemon_of_another_user_is_left_alone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_no_file_of_its_own_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sockets_prefix_comes_from_its_real_place, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
