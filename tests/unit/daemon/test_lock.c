/* Lock files: one holder, who says who it is, and none when it is gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/lock.h"

static char path[64], why[WHY_ROOM];

static int
setup(void **state)
{
    int fd;

    (void)state;
    (void)snprintf(path, sizeof path, "/tmp/leat-lock.XXXXXX");
    fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    return unlink(path);
}

static void
there_is_one_holder(void **state)
{
    char text[80];
    int fd, other, pid;

    (void)state;
    assert_int_equal(lock_holder(path, &pid), -ESRCH);
    assert_int_equal(lock_take(path, "thing x", &fd, why), 0);
    (void)snprintf(text, sizeof text, "pid %d\nmore\n", (int)getpid());
    assert_int_equal(lock_write(fd, text), 0);
    assert_int_equal(lock_take(path, "thing x", &other, why), -EBUSY);
    (void)snprintf(text, sizeof text, "another leatd (pid %d) serves thing x", (int)getpid());
    assert_string_equal(why, text);
    assert_int_equal(lock_holder(path, &pid), 0);
    assert_int_equal(pid, getpid());
    assert_int_equal(lock_write(fd, "x"), 0);
    assert_int_equal(lock_holder(path, &pid), -EBADMSG);
    close(fd);
    assert_int_equal(lock_holder(path, &pid), -ESRCH);
    assert_int_equal(lock_take(path, "thing x", &fd, why), 0);
    close(fd);
}

/* A process that has ended may still have its files closed: as here, where a child has the lock and we said that it is
 * one that has ended. It lets go after longer than a living holder would get. */
static void
a_dead_holder_gets_more_time(void **state)
{
    struct timespec late = {.tv_nsec = 500000000};
    char text[40];
    pid_t ended, holder;
    int fd, other;

    (void)state;
    assert_int_equal(lock_take(path, "thing", &fd, why), 0);
    (void)fflush(NULL);
    ended = fork();
    assert_true(ended >= 0);
    if (!ended)
        _exit(0);
    assert_int_equal(waitpid(ended, NULL, 0), ended);
    (void)snprintf(text, sizeof text, "pid %d\n", (int)ended);
    assert_int_equal(lock_write(fd, text), 0);
    holder = fork();
    assert_true(holder >= 0);
    if (!holder) {
        (void)ppoll(NULL, 0, &late, NULL);
        _exit(0);
    }
    close(fd);
    assert_int_equal(lock_take(path, "thing", &other, why), 0);
    assert_int_equal(waitpid(holder, NULL, 0), holder);
    close(other);
}

static void
what_it_says_is_not_believed_blindly(void **state)
{
    static const char *const texts[] = {"", "pid", "pid x\n", "pid -4\n", "pid 99999999999\n"};
    int fd, pid;

    (void)state;
    assert_int_equal(lock_take(path, "thing", &fd, why), 0);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(lock_write(fd, texts[i]), 0);
        assert_int_equal(lock_holder(path, &pid), -EBADMSG);
    }
    close(fd);
}

/* Whoever waited for a lock that was given up for good has the one that stands there now, and not the file that went. */
static void
a_removed_lock_is_nobodys(void **state)
{
    int fd, pid, taken[2];
    pid_t waiter;
    char byte;

    (void)state;
    assert_int_equal(pipe2(taken, O_CLOEXEC), 0);
    assert_int_equal(lock_take(path, "thing", &fd, why), 0);
    (void)fflush(NULL);
    waiter = fork();
    assert_true(waiter >= 0);
    if (!waiter) {
        close(fd);
        while (lock_take(path, "thing", &fd, why))
            ;
        (void)!write(taken[1], "", 1);
        for (;;)
            (void)pause();
    }
    lock_remove(path, &fd);
    assert_int_equal(fd, -1);
    assert_int_equal(read(taken[0], &byte, 1), 1);
    assert_int_equal(lock_holder(path, &pid), -EBADMSG); /* somebody, who has written nothing */
    assert_int_equal(kill(waiter, SIGKILL), 0);
    assert_int_equal(waitpid(waiter, NULL, 0), waiter);
    close(taken[0]);
    close(taken[1]);
}

static void
no_link_is_followed(void **state)
{
    char link[80];
    int fd;

    (void)state;
    (void)snprintf(link, sizeof link, "%s.l", path);
    assert_int_equal(symlink(path, link), 0);
    assert_int_equal(lock_take(link, "thing", &fd, why), -ELOOP);
    assert_non_null(strstr(why, link));
    assert_int_equal(unlink(link), 0);
    assert_int_equal(lock_take("/nowhere/at/all", "thing", &fd, why), -ENOENT);
}

/* In a sticky directory anybody can put one there and have it locked: that keeps a daemon from starting, but he is named. */
static void
another_users_file_is_no_lock(void **state)
{
    int fd;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(path, 12345, 12345), 0);
    assert_int_equal(lock_take(path, "thing", &fd, why), -EPERM);
    assert_non_null(strstr(why, path));
    assert_non_null(strstr(why, "user 12345"));
}

/* Nor can he have root stop a process that is not his. */
static void
another_users_file_names_nobody_of_ours(void **state)
{
    int fd, pid = 0;
    char text[32];

    (void)state;
    if (geteuid() != 0)
        skip();
    (void)snprintf(text, sizeof text, "pid %d\n", (int)getpid());
    assert_int_equal(lock_take(path, "thing", &fd, why), 0);
    assert_int_equal(lock_write(fd, text), 0);
    assert_int_equal(lock_holder(path, &pid), 0);
    assert_int_equal(pid, getpid());
    assert_int_equal(chown(path, 12345, 12345), 0);
    assert_int_equal(lock_holder(path, &pid), -EPERM);
    close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(there_is_one_holder, setup, teardown),
        cmocka_unit_test_setup_teardown(what_it_says_is_not_believed_blindly, setup, teardown),
        cmocka_unit_test_setup_teardown(a_dead_holder_gets_more_time, setup, teardown),
        cmocka_unit_test_setup_teardown(a_removed_lock_is_nobodys, setup, teardown),
        cmocka_unit_test_setup_teardown(no_link_is_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(another_users_file_is_no_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(another_users_file_names_nobody_of_ours, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
