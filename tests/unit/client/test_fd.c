/* The descriptor of a subscription in poll and epoll: by io_uring, and, in a second run that is
 * denied it, by the thread. */
#include "tests/unit/client/bus.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "tests/support/limits.h"

static bool
is_readable(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int r;

    do
        r = poll(&p, 1, timeout_ms);
    while (r < 0 && errno == EINTR);
    return r == 1 && p.revents & POLLIN;
}

/* Receives until there is nothing; how many there were. */
static uint64_t
drain(leat_sub *s, uint64_t next)
{
    struct leat_msg m;
    uint64_t got = 0;
    int r;

    while ((r = leat_sub_receive(s, &m)) == 1) {
        assert_int_equal(m.seq, next + got);
        assert_int_equal(leat_sub_release(s, &m), 0);
        got++;
    }
    assert_int_equal(r, 0);
    return got;
}

static void
test_readable(void **state)
{
    struct bus *b = *state;
    uint64_t next = 1;
    leat_sub *s;
    leat_pub *p;
    int fd;

    bus_topic(b, "fd.readable", 64, LEAT_MEMORY);
    p = bus_pub(b, "fd.readable", 0);
    s = bus_sub(b, "fd.readable", LEAT_LIVE, LEAT_LATEST);
    fd = leat_sub_fd(s);
    assert_true(fd >= 0);
    assert_int_equal(leat_sub_fd(s), fd);
    /* Whoever polls begins by receiving. */
    assert_true(is_readable(fd, 0));
    assert_int_equal(drain(s, next), 0);
    assert_false(is_readable(fd, 0));
    for (unsigned round = 0; round < 50; round++) {
        for (unsigned i = 0; i <= round % 3; i++)
            bus_send(p, 1, 16);
        assert_true(is_readable(fd, 10000));
        /* One of several is taken: it stays readable. */
        if (round % 3) {
            assert_true(is_readable(fd, 0));
            bus_expect(s, 1, 16);
            next++;
            assert_true(is_readable(fd, 10000));
        }
        next += drain(s, next);
        assert_false(is_readable(fd, 0));
    }
    leat_sub_close(s);
    leat_pub_close(p);
}

struct sender {
    leat_pub *p;
    uint64_t n;
    bool pauses;
};

static void *
send_run(void *arg)
{
    const struct sender *w = arg;

    for (uint64_t n = 1; n <= w->n; n++) {
        if (leat_pub_send(w->p, &n, sizeof n, NULL))
            return arg;
        if (w->pauses && n % 64 == 0)
            (void)poll(NULL, 0, 1);
    }
    return NULL;
}

/* No message is left unseen, however the publisher's steps fall against the arming. */
static void
test_epoll_loop(void **state)
{
    struct bus *b = *state;
    struct epoll_event event = {.events = EPOLLIN};
    struct sender w = {.n = 20000};
    uint64_t next = 1;
    pthread_t thread;
    void *failed;
    leat_sub *s;
    int epoll;

    bus_topic(b, "fd.epoll", 1024, LEAT_MEMORY);
    for (unsigned round = 0; round < 2; round++) {
        w.pauses = round;
        w.p = bus_pub(b, "fd.epoll", 0);
        s = bus_sub(b, "fd.epoll", LEAT_GATING, LEAT_LATEST);
        epoll = epoll_create1(EPOLL_CLOEXEC);
        assert_true(epoll >= 0);
        assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, leat_sub_fd(s), &event), 0);
        assert_int_equal(pthread_create(&thread, NULL, send_run, &w), 0);
        while (next <= w.n * (round + 1)) {
            int r = epoll_wait(epoll, &event, 1, 10000);
            assert_true(r == 1 || (r < 0 && errno == EINTR));
            next += drain(s, next);
        }
        assert_int_equal(pthread_join(thread, &failed), 0);
        assert_null(failed);
        close(epoll);
        leat_sub_close(s);
        leat_pub_close(w.p);
    }
}

/* The subscription may be handed from thread to thread. */
static void *
receive_elsewhere(void *arg)
{
    leat_sub *s = arg;
    struct leat_msg m;
    int r = leat_sub_receive(s, &m);

    if (r == 1)
        (void)leat_sub_release(s, &m);
    return r == 1 && leat_sub_receive(s, &m) == 0 ? NULL : arg;
}

static void
test_other_thread(void **state)
{
    struct bus *b = *state;
    pthread_t thread;
    void *failed;
    leat_sub *s;
    leat_pub *p;
    int fd;

    bus_topic(b, "fd.thread", 64, LEAT_MEMORY);
    p = bus_pub(b, "fd.thread", 0);
    s = bus_sub(b, "fd.thread", LEAT_LIVE, LEAT_LATEST);
    fd = leat_sub_fd(s);
    assert_int_equal(drain(s, 1), 0);
    for (unsigned i = 0; i < 5; i++) {
        bus_send(p, 1, 16);
        assert_true(is_readable(fd, 10000));
        assert_int_equal(pthread_create(&thread, NULL, receive_elsewhere, s), 0);
        assert_int_equal(pthread_join(thread, &failed), 0);
        assert_null(failed);
    }
    bus_send(p, 1, 16);
    assert_true(is_readable(fd, 10000));
    assert_int_equal(drain(s, 6), 1);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void *
open_elsewhere(void *arg)
{
    (void)leat_sub_fd(arg);
    return NULL;
}

/* Another thread made it, and there are no means to make it anew: what can be had takes its place, once. */
static void
test_without_means(void **state)
{
    struct bus *b = *state;
    struct leat_msg m;
    pthread_t thread;
    leat_sub *s;
    leat_pub *p;
    int fd;

    bus_topic(b, "fd.means", 64, LEAT_MEMORY);
    p = bus_pub(b, "fd.means", 0);
    s = bus_sub(b, "fd.means", LEAT_LIVE, LEAT_LATEST);
    assert_int_equal(pthread_create(&thread, NULL, open_elsewhere, s), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    fd = leat_sub_fd(s);
    assert_true(fd >= 0);
    assert_true(limits_take_descriptors(-1)); /* not even for the one that is given up */
    for (uint64_t n = 1; n <= 5; n++) {
        assert_int_equal(leat_sub_receive(s, &m), 0);
        bus_send(p, n, 16);
        assert_true(is_readable(fd, 10000));
        assert_int_equal(bus_expect(s, n, 16), n);
    }
    assert_true(limits_free_descriptors());
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
test_durable_only(void **state)
{
    struct bus *b = *state;
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    leat_sub *s;
    leat_pub *p;
    int fd;

    bus_topic(b, "fd.disk", 64, LEAT_DISK);
    p = bus_pub(b, "fd.disk", 0);
    o.kind = LEAT_DURABLE;
    o.durable_only = 1;
    assert_int_equal(leat_sub_open(b->bus, "fd.disk", &o, &s), 0);
    fd = leat_sub_fd(s);
    assert_int_equal(drain(s, 1), 0);
    for (uint64_t n = 1; n <= 20; n++) {
        bus_send(p, n, 16);
        assert_true(is_readable(fd, 10000));
        if (drain(s, n))
            continue;
        assert_true(is_readable(fd, 10000));
        assert_int_equal(drain(s, n), 1);
    }
    leat_sub_close(s);
    leat_pub_close(p);
}

/* Going back at a release makes something to receive, without anybody publishing. */
static void
test_stale(void **state)
{
    struct bus *b = *state;
    uint64_t next = 2;
    struct leat_msg held;
    leat_sub *s;
    leat_pub *p;
    int fd;

    bus_topic(b, "fd.stale", 64, LEAT_DISK);
    p = bus_pub(b, "fd.stale", 0);
    s = bus_sub(b, "fd.stale", LEAT_DURABLE, LEAT_LATEST);
    fd = leat_sub_fd(s);
    bus_send(p, 1, 16);
    assert_int_equal(leat_sub_receive(s, &held), 1);
    for (uint64_t n = 2; n <= 300; n++)
        bus_send(p, n, 16);
    while (next <= 300) {
        assert_true(is_readable(fd, 10000));
        next += drain(s, next);
    }
    assert_false(is_readable(fd, 0));
    assert_int_equal(leat_sub_release(s, &held), -ESTALE);
    assert_true(is_readable(fd, 0));
    for (next = 1; next <= 300;) {
        assert_true(is_readable(fd, 10000));
        next += drain(s, next);
    }
    leat_sub_close(s);
    leat_pub_close(p);
}

/* A reader of the log goes on when the daemon is back, without anybody calling. */
static void
test_daemon_away(void **state)
{
    struct bus *b = *state;
    uint64_t next = 1;
    leat_sub *s;
    leat_pub *p;
    int fd;

    bus_topic(b, "fd.away", 64, LEAT_DISK);
    p = bus_pub(b, "fd.away", 0);
    for (uint64_t n = 1; n <= 300; n++)
        bus_send(p, n, 16);
    assert_int_equal(leat_pub_wait_durable(p, 300, 10000000000), 0);
    s = bus_sub(b, "fd.away", LEAT_DURABLE, LEAT_EARLIEST);
    fd = leat_sub_fd(s);
    bus_kill(b, SIGKILL);
    assert_int_equal(drain(s, next), 0);
    bus_launch(b);
    while (next <= 300) {
        assert_true(is_readable(fd, 10000));
        next += drain(s, next);
    }
    leat_sub_close(s);
    leat_pub_close(p);
}

static int
deny_io_uring(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (EPERM & SECCOMP_RET_DATA)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        return -errno;
    return 0;
}

static int
run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_readable),     cmocka_unit_test(test_epoll_loop),
        cmocka_unit_test(test_other_thread), cmocka_unit_test(test_without_means),
        cmocka_unit_test(test_durable_only), cmocka_unit_test(test_stale),
        cmocka_unit_test(test_daemon_away),
    };

    return cmocka_run_group_tests(tests, bus_setup, bus_teardown);
}

int
main(void)
{
    int status = 0;
    pid_t child = fork();

    if (!child)
        exit(deny_io_uring() || run() ? 1 : 0);
    if (child < 0 || waitpid(child, &status, 0) != child || status)
        return 1;
    return run();
}
