/* Who may do what: the first class that fits decides, as for files; and the kernel's word on who is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/access.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* What the kernel says when it is asked for a pidfd; 0: the truth. */
static int no_pidfd;

int
getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict len)
{
    if (level == SOL_SOCKET && name == SO_PEERPIDFD && no_pidfd) {
        errno = no_pidfd;
        return -1;
    }
    return (int)syscall(SYS_getsockopt, fd, level, name, value, len);
}

static void
the_first_class_that_fits_decides(void **state)
{
    uint32_t groups[] = {50, 60};
    struct access_who who = {.uid = 10, .gid = 40, .groups = groups, .group_count = 2};
    static const struct {
        struct access_rule rule;
        uint32_t want;
        bool may;
    } cases[] = {
        {{10, 1, 0600}, ACCESS_SUBSCRIBE, true},
        {{10, 1, 0600}, ACCESS_PUBLISH, true},
        {{10, 1, 0400}, ACCESS_PUBLISH, false},
        {{10, 40, 0066}, ACCESS_SUBSCRIBE, false},
        {{11, 40, 0640}, ACCESS_SUBSCRIBE, true},
        {{11, 40, 0640}, ACCESS_PUBLISH, false},
        {{11, 60, 0620}, ACCESS_PUBLISH, true},
        {{11, 50, 0604}, ACCESS_SUBSCRIBE, false},
        {{11, 41, 0604}, ACCESS_SUBSCRIBE, true},
        {{11, 41, 0602}, ACCESS_PUBLISH, true},
        {{11, 41, 0660}, ACCESS_PUBLISH, false},
        {{11, 41, 0004}, ACCESS_SUBSCRIBE | ACCESS_PUBLISH, false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (access_may(&who, &cases[i].rule, cases[i].want) != cases[i].may)
            fail_msg("case %zu", i);
    assert_false(access_is_master(&who));
    who.uid = 0;
    assert_true(access_may(&who, &(struct access_rule){11, 41, 0}, ACCESS_PUBLISH));
    who.uid = geteuid();
    assert_true(access_may(&who, &(struct access_rule){11, 41, 0}, ACCESS_PUBLISH));
}

static void
the_kernel_says_who(void **state)
{
    struct access_who who;
    int s[2], pidfd;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
    assert_int_equal(access_read(s[0], &who, &pidfd), 0);
    assert_int_equal(who.pid, getpid());
    assert_int_equal(who.uid, geteuid());
    assert_int_equal(who.gid, getegid());
    assert_true(access_in_group(&who, getegid()));
    assert_false(access_in_group(&who, 3999999999u));
    if (pidfd >= 0)
        close(pidfd);
    access_free(&who);
    assert_int_equal(who.group_count, 0);
    close(s[0]);
    close(s[1]);
}

/* Kernels have had several words for a peer that was waited for. By its pid another process would be found. */
static void
a_peer_that_is_gone_is_not_looked_for_by_pid(void **state)
{
    static const struct {
        int said, result;
    } cases[] = {{ENOPROTOOPT, 0}, {ESRCH, -ESRCH}, {EINVAL, -ESRCH}, {EMFILE, -EMFILE}};
    struct access_who who;
    int s[2], pidfd;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pidfd = 12345;
        no_pidfd = cases[i].said;
        assert_int_equal(access_read(s[0], &who, &pidfd), cases[i].result);
        assert_int_equal(pidfd, cases[i].result ? 12345 : -1);
        if (!cases[i].result)
            access_free(&who);
    }
    no_pidfd = 0;
    close(s[0]);
    close(s[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_class_that_fits_decides),
        cmocka_unit_test(the_kernel_says_who),
        cmocka_unit_test(a_peer_that_is_gone_is_not_looked_for_by_pid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
