/* The connection: daemons that die and come back, forks, private daemons. */
#include "tests/unit/client/bus.h"

#include <pthread.h>

#include "client/client.h"
#include "tests/support/limits.h"

static void
test_topics(void **state)
{
    struct bus *b = *state;
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    struct leat_topic_info info;

    o.depth = 100;
    o.slot_size = 128;
    assert_int_equal(leat_topic_create(b->bus, "conn.topic", &o), 0);
    assert_int_equal(leat_topic_create(b->bus, "conn.topic", &o), 0);
    o.slot_size = 256;
    assert_int_equal(leat_topic_create(b->bus, "conn.topic", &o), -EEXIST);
    assert_non_null(strstr(leat_error(b->bus), "slot_size"));
    assert_int_equal(leat_topic_info(b->bus, "conn.topic", &info), 0);
    assert_int_equal(info.depth, 128);
    assert_int_equal(info.slot_size, 128);
    assert_int_equal(info.inline_max, 96);
    assert_int_equal(info.first, 1);
    assert_int_equal(info.tail, 1);
    assert_int_equal(info.state, LEAT_TOPIC_OK);
    assert_int_equal(leat_topic_remove(b->bus, "conn.topic"), 0);
    assert_int_equal(leat_topic_remove(b->bus, "conn.topic"), -ENOENT);
    assert_int_equal(leat_topic_info(b->bus, "conn.topic", &info), -ENOENT);
    o.slot_size = 77;
    assert_int_equal(leat_topic_create(b->bus, "conn.topic", &o), -EINVAL);
    o = (struct leat_topic_options)LEAT_TOPIC_OPTIONS_INIT;
    o.durability = 9;
    assert_int_equal(leat_topic_create(b->bus, "conn.topic", &o), -EINVAL);
    o.durability = 0;
    o.retention_ns = -1;
    assert_int_equal(leat_topic_create(b->bus, "conn.topic", &o), -EINVAL);
    o.retention_ns = 0;
    o.flags = 16;
    assert_int_equal(leat_topic_create(b->bus, "conn.topic", &o), -E2BIG);
    assert_int_equal(leat_topic_create(b->bus, "-x", NULL), -EINVAL);
    assert_int_equal(leat_topic_create(NULL, "x", NULL), -EINVAL);
    assert_int_equal(leat_topic_info(b->bus, "x", NULL), -EINVAL);
    assert_int_equal(leat_topic_remove(NULL, "x"), -EINVAL);
}

static void
test_create_flag(void **state)
{
    struct bus *b = *state;
    struct leat_pub_options po = LEAT_PUB_OPTIONS_INIT;
    struct leat_sub_options so = LEAT_SUB_OPTIONS_INIT;
    leat_pub *p;
    leat_sub *s;

    po.flags = LEAT_CREATE;
    so.flags = LEAT_CREATE;
    assert_int_equal(leat_pub_open(b->bus, "conn.made.p", &po, &p), 0);
    assert_int_equal(leat_sub_open(b->bus, "conn.made.s", &so, &s), 0);
    leat_pub_close(p);
    leat_sub_close(s);
}

/* The data path does not notice; what needs the daemon says so, and works again by itself. */
static void
test_daemon_returns(void **state)
{
    struct bus *b = *state;
    struct leat_topic_info info;
    leat_sub *s, *other = NULL;
    leat_pub *p;

    bus_topic(b, "conn.return", 64, LEAT_MEMORY);
    p = bus_pub(b, "conn.return", 0);
    s = bus_sub(b, "conn.return", LEAT_GATING, LEAT_LATEST);
    for (unsigned round = 0; round < 3; round++) {
        bus_kill(b, round ? SIGTERM : SIGKILL);
        for (uint64_t n = 0; n < 200; n++) {
            bus_send(p, n, 100);
            bus_expect(s, n, 100);
        }
        assert_int_equal(leat_topic_info(b->bus, "conn.return", &info), -ECONNREFUSED);
        assert_non_null(strstr(leat_error(b->bus), b->path));
        bus_launch(b);
        assert_int_equal(leat_topic_info(b->bus, "conn.return", &info), 0);
        assert_int_equal(info.publishers, 1);
        assert_int_equal(info.subscribers, 1);
        assert_int_equal(info.tail, 1 + 200 * (round + 1));
        assert_int_equal(leat_sub_open(b->bus, "conn.return", NULL, &other), 0);
        other = leat_sub_close(other);
    }
    leat_sub_close(s);
    leat_pub_close(p);
}

/* The bell of a log writer whose daemon was another when the publisher attached. */
static void
test_ring_reconnects(void **state)
{
    struct bus *b = *state;
    leat_pub *p;
    uint64_t seq;

    bus_topic(b, "conn.ring", 64, LEAT_DISK);
    p = bus_pub(b, "conn.ring", 0);
    for (unsigned round = 0; round < 3; round++) {
        bus_kill(b, SIGKILL);
        bus_launch(b);
        /* More than a ring: it goes on only if the log does. */
        for (uint64_t n = 0; n < 200; n++)
            seq = bus_send(p, n, 100);
        assert_int_equal(leat_pub_wait_durable(p, seq, 10000000000), 0);
    }
    leat_pub_close(p);
}

/* What is closed while nobody is there to be told is told later: a gating cursor must not hold
 * publishers for ever. */
static void
test_closed_while_away(void **state)
{
    struct bus *b = *state;
    struct leat_topic_info info;
    leat_sub *s;
    leat_pub *p, *closed;

    bus_topic(b, "conn.grave", 16, LEAT_MEMORY);
    p = bus_pub(b, "conn.grave", 0);
    closed = bus_pub(b, "conn.grave", 0);
    s = bus_sub(b, "conn.grave", LEAT_GATING, LEAT_LATEST);
    bus_kill(b, SIGKILL);
    leat_sub_close(s);
    leat_pub_close(closed);
    bus_launch(b);
    for (uint64_t n = 0; n < 100; n++)
        bus_send(p, n, 16);
    assert_int_equal(leat_topic_info(b->bus, "conn.grave", &info), 0);
    assert_int_equal(info.subscribers, 0);
    assert_int_equal(info.publishers, 1);
    leat_pub_close(p);
}

/* Another bus of this process, for what one program does to itself. */
static leat_bus *
second_bus(const struct bus *b, int64_t timeout_ns)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    leat_bus *second;

    o.path = b->path;
    o.timeout_ns = timeout_ns;
    assert_int_equal(leat_open(&o, &second), 0);
    return second;
}

/* Nobody is left behind who would hold `p` back: neither publishers nor cursors. */
static void
expect_alone(struct bus *b, const char *topic, leat_pub *p)
{
    struct leat_topic_info info;

    for (uint64_t n = 0; n < 100; n++)
        bus_send(p, n, 16);
    assert_int_equal(leat_topic_info(b->bus, topic, &info), 0);
    assert_int_equal(info.subscribers, 0);
    assert_int_equal(info.publishers, 1);
    leat_pub_close(p);
}

/* The whole bus is closed while nobody is there to be told, and the process lives on: nobody ever tells. */
static void
test_left_while_away(void **state)
{
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    struct bus *b = *state;
    leat_bus *second;
    leat_pub *p, *closed;
    leat_sub *s;

    bus_topic(b, "conn.left", 16, LEAT_MEMORY);
    p = bus_pub(b, "conn.left", 0);
    second = second_bus(b, 0);
    assert_int_equal(leat_pub_open(second, "conn.left", NULL, &closed), 0);
    o.kind = LEAT_GATING;
    assert_int_equal(leat_sub_open(second, "conn.left", &o, &s), 0);
    bus_kill(b, SIGKILL);
    leat_close(second);
    bus_launch(b);
    expect_alone(b, "conn.left", p);
}

/* What was handed out and could not be taken is nobody's; what could not be told is told later. */
static void
test_without_descriptors(void **state)
{
    struct leat_sub_options gating = LEAT_SUB_OPTIONS_INIT, named = LEAT_SUB_OPTIONS_INIT;
    struct bus *b = *state;
    leat_sub *s, *none;
    leat_pub *p, *disk;

    bus_topic(b, "conn.fds", 16, LEAT_MEMORY);
    bus_topic(b, "conn.fds.disk", 16, LEAT_DISK);
    p = bus_pub(b, "conn.fds", 0);
    disk = bus_pub(b, "conn.fds.disk", 0);
    gating.kind = LEAT_GATING;
    named.name = "me";
    for (int left = 0; left < 2; left++) {
        assert_true(limits_take_descriptors(left));
        for (int i = 0; i < 3; i++)
            assert_int_equal(leat_sub_open(b->bus, "conn.fds", &gating, &none), -EMFILE);
        assert_int_equal(leat_sub_open(b->bus, "conn.fds.disk", &named, &none), -EMFILE);
        /* Who is open already does not notice. */
        for (uint64_t n = 0; n < 100; n++)
            bus_send(disk, n, 16);
        assert_int_equal(leat_pub_wait_durable(disk, 100 * ((uint64_t)left + 1), 10000000000), 0);
        assert_true(limits_free_descriptors());
    }
    leat_pub_close(disk);
    assert_int_equal(leat_sub_open(b->bus, "conn.fds.disk", &named, &s), 0);
    leat_sub_close(s);

    s = bus_sub(b, "conn.fds", LEAT_GATING, LEAT_LATEST);
    bus_kill(b, SIGKILL);
    bus_launch(b);
    assert_true(limits_take_descriptors(0));
    leat_sub_close(s);
    assert_true(limits_free_descriptors());
    assert_int_equal(b->bus->grave_count, 1);
    assert_int_equal(leat_topic_remove(b->bus, "conn.fds.disk"), 0);
    expect_alone(b, "conn.fds", p);
}

/* More than a session's answers have room for. */
static void
test_many_closed_while_away(void **state)
{
    enum { MANY = 120 };
    struct bus *b = *state;
    leat_sub *s[MANY];
    leat_pub *p;

    bus_topic(b, "conn.graves", 16, LEAT_MEMORY);
    p = bus_pub(b, "conn.graves", 0);
    for (int i = 0; i < MANY; i++)
        s[i] = bus_sub(b, "conn.graves", LEAT_GATING, LEAT_LATEST);
    bus_kill(b, SIGKILL);
    for (int i = 0; i < MANY; i++)
        leat_sub_close(s[i]);
    bus_launch(b);
    assert_int_equal(leat_topic_create(b->bus, "conn.graves", NULL), 0);
    expect_alone(b, "conn.graves", p);
}

/* The daemon is stopped; who gives up waiting for what he asked for, and leaves, is not given it when it goes on. */
static void
test_gave_up(void **state)
{
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    struct bus *b = *state;
    struct leat_topic_info info;
    leat_bus *second;
    leat_pub *p, *lost;
    leat_sub *s;

    bus_topic(b, "conn.gave.up", 16, LEAT_MEMORY);
    p = bus_pub(b, "conn.gave.up", 0);
    second = second_bus(b, 50000000);
    assert_int_equal(kill(b->daemon, SIGSTOP), 0);
    o.kind = LEAT_GATING;
    assert_int_equal(leat_sub_open(second, "conn.gave.up", &o, &s), -ETIMEDOUT);
    assert_int_equal(leat_pub_open(second, "conn.gave.up", NULL, &lost), -ETIMEDOUT);
    leat_close(second);
    assert_int_equal(kill(b->daemon, SIGCONT), 0);
    /* A few turns of the daemon's, so that it has read all that was asked. */
    for (int i = 0; i < 4; i++)
        assert_int_equal(leat_topic_info(b->bus, "conn.gave.up", &info), 0);
    expect_alone(b, "conn.gave.up", p);
}

static void
test_fork(void **state)
{
    struct bus *b = *state;
    struct leat_topic_info info;
    struct leat_loan loan = {0};
    struct leat_msg m;
    leat_pub *p;
    leat_sub *s;
    int status;
    pid_t child;

    bus_topic(b, "conn.fork", 64, LEAT_MEMORY);
    p = bus_pub(b, "conn.fork", 0);
    s = bus_sub(b, "conn.fork", LEAT_LIVE, LEAT_LATEST);
    assert_true(leat_sub_fd(s) >= 0);
    bus_send(p, 1, 16);
    child = fork();
    if (!child) {
        int bad = 0;
        struct leat_position to = {0};
        leat_pub *np;
        leat_sub *ns;
        bad |= leat_pub_send(p, "x", 1, NULL) != -ECHILD;
        bad |= leat_pub_loan(p, 1, &loan) != -ECHILD;
        bad |= leat_pub_wait_durable(p, 1, 0) != -ECHILD;
        bad |= leat_sub_receive(s, &m) != -ECHILD;
        bad |= leat_sub_receive_many(s, &m, 1) != -ECHILD;
        bad |= leat_sub_wait(s, 0) != -ECHILD;
        bad |= leat_sub_fd(s) != -ECHILD;
        bad |= leat_sub_seek(s, &to) != -ECHILD;
        bad |= leat_topic_info(b->bus, "conn.fork", &info) != -ECHILD;
        bad |= leat_pub_open(b->bus, "conn.fork", NULL, &np) != -ECHILD;
        bad |= leat_sub_open(b->bus, "conn.fork", NULL, &ns) != -ECHILD;
        bad |= strcmp(leat_error(b->bus), leat_strerror(-ECHILD)) != 0;
        b->bus = leat_close(b->bus);
        /* It opens its own. */
        bus_open(b);
        bad |= leat_topic_info(b->bus, "conn.fork", &info) != 0;
        b->bus = leat_close(b->bus);
        _exit(bad);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    /* The parent's are as they were. */
    bus_expect(s, 1, 16);
    bus_send(p, 2, 16);
    bus_expect(s, 2, 16);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void *
open_and_close(void *arg)
{
    struct bus *b = arg;

    for (unsigned i = 0; i < 50; i++) {
        struct leat_topic_info info;
        leat_sub *s = NULL;
        if (leat_sub_open(b->bus, "conn.many", NULL, &s) ||
            leat_topic_info(b->bus, "conn.many", &info))
            return arg;
        leat_sub_close(s);
    }
    return NULL;
}

static void
test_threads(void **state)
{
    struct bus *b = *state;
    pthread_t thread[4];
    void *failed;

    bus_topic(b, "conn.many", 64, LEAT_MEMORY);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, open_and_close, b), 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(thread[i], &failed), 0);
        assert_null(failed);
    }
}

static void
test_stopped_daemon(void **state)
{
    struct bus *b = *state;
    struct leat_options o = LEAT_OPTIONS_INIT;
    struct leat_topic_info info;
    leat_bus *bus;

    bus_topic(b, "conn.stopped", 64, LEAT_MEMORY);
    o.path = b->path;
    o.timeout_ns = 50000000;
    assert_int_equal(leat_open(&o, &bus), 0);
    assert_int_equal(kill(b->daemon, SIGSTOP), 0);
    assert_int_equal(leat_topic_info(bus, "conn.stopped", &info), -ETIMEDOUT);
    assert_non_null(strstr(leat_error(bus), "timeout_ns"));
    assert_int_equal(kill(b->daemon, SIGCONT), 0);
    /* The late answer is not taken for another's. */
    do
        info.depth = 0;
    while (leat_topic_info(bus, "conn.stopped", &info) == -ETIMEDOUT);
    assert_int_equal(info.depth, 64);
    leat_close(bus);
}

/* A subscription that was given up before the daemon came to it is nobody's: it holds no publisher
 * and no name. */
static void
test_given_up(void **state)
{
    struct bus *b = *state;
    struct leat_sub_options gating = LEAT_SUB_OPTIONS_INIT, named = LEAT_SUB_OPTIONS_INIT;
    struct leat_options o = LEAT_OPTIONS_INIT;
    struct leat_topic_info info;
    leat_sub *s = NULL;
    leat_bus *bus;
    int tries = 0, r;

    bus_topic(b, "conn.given", 16, LEAT_MEMORY);
    bus_topic(b, "conn.named", 16, LEAT_DISK);
    o.path = b->path;
    o.timeout_ns = 50000000;
    assert_int_equal(leat_open(&o, &bus), 0);
    gating.kind = LEAT_GATING;
    named.name = "n";
    assert_int_equal(kill(b->daemon, SIGSTOP), 0);
    assert_int_equal(leat_sub_open(bus, "conn.given", &gating, &s), -ETIMEDOUT);
    assert_int_equal(leat_sub_open(bus, "conn.named", &named, &s), -ETIMEDOUT);
    assert_int_equal(kill(b->daemon, SIGCONT), 0);
    do
        r = leat_sub_open(bus, "conn.named", &named, &s);
    while ((r == -ETIMEDOUT || r == -EBUSY) && ++tries < 100);
    assert_int_equal(r, 0);
    assert_int_equal(leat_topic_info(b->bus, "conn.given", &info), 0);
    assert_int_equal(info.subscribers, 0);
    leat_sub_close(s);
    leat_close(bus);
}

/* How many processes have this bus's socket on their command line. */
static unsigned
daemons_of(const char *path, pid_t *ret_pid)
{
    char name[300], text[1024];
    const struct dirent *e;
    unsigned count = 0;
    DIR *d = opendir("/proc");

    while (d && (e = readdir(d))) {
        ssize_t n;
        int fd;
        if (e->d_name[0] < '1' || e->d_name[0] > '9')
            continue;
        (void)snprintf(name, sizeof name, "/proc/%.200s/cmdline", e->d_name);
        fd = open(name, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
        if (fd >= 0)
            close(fd);
        if (n <= 0 || !memmem(text, (size_t)n, path, strlen(path)))
            continue;
        count++;
        *ret_pid = (pid_t)strtol(e->d_name, NULL, 10);
    }
    if (d)
        closedir(d);
    return count;
}

static void *
autostart(void *arg)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    leat_bus *bus = NULL;

    o.path = arg;
    o.flags = LEAT_AUTOSTART;
    o.timeout_ns = 20000000000;
    if (leat_open(&o, &bus)) {
        print_error("%s\n", leat_error(NULL));
        return NULL;
    }
    return bus;
}

/* Several start a private daemon at once: one lives, all reach it. */
static void
test_autostart(void **state)
{
    struct bus *b = *state;
    struct bus private = {.daemon = 0};
    struct leat_topic_info info;
    pthread_t thread[4];
    void *bus[4];
    pid_t pid = 0;

    (void)snprintf(private.path, sizeof private.path, "%s/private", b->folder);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, autostart, private.path), 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(thread[i], &bus[i]), 0);
        assert_non_null(bus[i]);
    }
    private.bus = bus[0];
    bus_topic(&private, "conn.private", 16, LEAT_MEMORY);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(leat_topic_info(bus[i], "conn.private", &info), 0);
    while (daemons_of(private.path, &pid) != 1)
        (void)poll(NULL, 0, 5);
    /* Nobody's child: no zombie of ours is left. */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), 0);
    assert_int_equal(kill(pid, SIGTERM), 0);
    while (daemons_of(private.path, &pid))
        (void)poll(NULL, 0, 5);
    for (unsigned i = 0; i < 4; i++)
        leat_close(bus[i]);
    bus_forget_memory(&private);
}

/* A bus that another daemon serves, which is away for a moment, is not taken over by a private one. */
static void
test_autostart_in_anothers_place(void **state)
{
    struct bus *b = *state;
    struct leat_options o = LEAT_OPTIONS_INIT;
    char path[128], lock[160];
    leat_bus *bus = NULL;
    pid_t pid;
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/away", b->folder);
    (void)snprintf(lock, sizeof lock, "%s.lock", path);
    f = fopen(lock, "we");
    assert_non_null(f);
    assert_true(fprintf(f, "pid 1\nstore %s\nprefix x\n", b->store) > 0);
    assert_int_equal(fclose(f), 0);
    o.path = path;
    o.flags = LEAT_AUTOSTART;
    assert_int_equal(leat_open(&o, &bus), -ECONNREFUSED);
    assert_int_equal(daemons_of(path, &pid), 0);
}

static void
test_autostart_without_program(void **state)
{
    struct bus *b = *state;
    const char *leatd = getenv("LEATD");
    char *kept = leatd ? strdup(leatd) : NULL, path[128];
    struct leat_options o = LEAT_OPTIONS_INIT;
    leat_bus *bus = NULL;

    (void)snprintf(path, sizeof path, "%s/none", b->folder);
    o.path = path;
    o.flags = LEAT_AUTOSTART;
    assert_int_equal(setenv("LEATD", "/nowhere/leatd", 1), 0);
    assert_int_equal(leat_open(&o, &bus), -ENOENT);
    assert_non_null(strstr(leat_error(NULL), "leatd"));
    assert_int_equal(kept ? setenv("LEATD", kept, 1) : unsetenv("LEATD"), 0);
    free(kept);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_topics),
        cmocka_unit_test(test_create_flag),
        cmocka_unit_test(test_daemon_returns),
        cmocka_unit_test(test_ring_reconnects),
        cmocka_unit_test(test_closed_while_away),
        cmocka_unit_test(test_left_while_away),
        cmocka_unit_test(test_without_descriptors),
        cmocka_unit_test(test_many_closed_while_away),
        cmocka_unit_test(test_gave_up),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_stopped_daemon),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_autostart),
        cmocka_unit_test(test_autostart_in_anothers_place),
        cmocka_unit_test(test_autostart_without_program),
    };

    return cmocka_run_group_tests(tests, bus_setup, bus_teardown);
}
