/* Sessions: HELLO first, malformed packets, floods, clients that never read, descriptors that run out. */
#include "tests/unit/daemon/bus_fixture.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "daemon/process.h"

/* Stands before the C library's: as a kernel that counts too many descriptors on their way. */
static bool too_many;

ssize_t
sendmsg(int fd, const struct msghdr *msg, int flags)
{
    if (too_many && msg->msg_controllen) {
        errno = ETOOMANYREFS;
        return -1;
    }
    return syscall(SYS_sendmsg, fd, msg, flags);
}

static int
connect_only(void)
{
    char path[100];
    int c;

    (void)snprintf(path, sizeof path, "%s/bus", fix.dir);
    assert_int_equal(wire_connect(path, &c), 0);
    return c;
}

static void
hello_comes_first_and_agrees_on_a_version(void **state)
{
    union wire_any p;
    int c;

    (void)state;
    bus_start("");
    c = connect_only();
    assert_int_equal(ask_topic(c, WIRE_TOPIC_INFO, "a", NULL), -EPROTO);
    wire_begin(&p, sizeof p.hello, WIRE_HELLO, 0);
    p.hello.oldest = 2;
    p.hello.newest = 9;
    assert_int_equal(ask_raw(c, &p, &answer, NULL), -EPROTONOSUPPORT);
    assert_non_null(strstr(answer.text, "2 to 9"));
    assert_int_equal(ask_topic(c, WIRE_TOPIC_INFO, "a", NULL), -EPROTO);
    p.hello.oldest = 1;
    assert_int_equal(ask_raw(c, &p, &answer, NULL), 0);
    assert_int_equal(answer.protocol, 1);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_INFO, "a", NULL), -ENOENT);
    close(c);
}

/* Every type, every length, random bytes: an answer or an end, and the bus goes on. */
static void
malformed_packets_hurt_nobody(void **state)
{
    unsigned seed = (unsigned)loop_clock(), x = seed;
    unsigned char bytes[sizeof(union wire_any) + 40];
    int good, bad;

    (void)state;
    print_message("seed %u\n", seed);
    bus_start("[topic a]\ndeclare = yes\n");
    good = client_open();
    bad = client_open();
    for (unsigned i = 0; i < 3000; i++) {
        struct wire_header *h = (void *)bytes;
        size_t len;
        for (size_t k = 0; k < sizeof bytes; k++) {
            x = x * 1664525u + 1013904223u;
            bytes[k] = (unsigned char)(i % 3 ? (x >> 24) : 0);
        }
        h->type = (uint16_t)(i % (WIRE_TYPES + 2));
        h->version = (uint16_t)(i % 7 ? WIRE_VERSION : x >> 16);
        h->status = 0;
        len = i % 2 ? wire_request_size(h->type) : x % sizeof bytes;
        h->size = (uint32_t)(i % 5 ? len : x);
        if (send(bad, bytes, len, MSG_NOSIGNAL) < 0) {
            close(bad);
            bad = client_open();
        }
        turn();
        while (recv(bad, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
            ;
    }
    assert_int_equal(ask_topic(good, WIRE_TOPIC_INFO, "a", NULL), 0);
    close(bad);
    close(good);
}

static void
refusals_say_what_is_wrong(void **state)
{
    union wire_any p, got;
    int c, fds[WIRE_FDS_MAX];

    (void)state;
    bus_start("");
    c = client_open();
    wire_begin(&p, sizeof p.position, WIRE_LOG_OPEN, 5);
    assert_int_equal(wire_send(c, &p, NULL, 0, 0), 0);
    turn_until_readable(c);
    assert_int_equal(wire_receive(c, &got, fds, 0), sizeof got.answer);
    assert_int_equal(got.h.id, 5);
    assert_int_equal(got.h.status, -EBADMSG);
    assert_non_null(strstr(got.answer.text, "malformed"));
    p.h.version = 3;
    assert_int_equal(wire_send(c, &p, NULL, 0, 0), 0);
    turn_until_readable(c);
    assert_int_equal(wire_receive(c, &got, fds, 0), sizeof got.answer);
    assert_int_equal(got.h.status, -EPROTONOSUPPORT);
    assert_non_null(strstr(got.answer.text, "version 3"));
    close(c);
}

static unsigned
open_descriptors(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void
descriptors_sent_to_it_are_closed(void **state)
{
    union wire_any p;
    unsigned before;
    int c, two[2];

    (void)state;
    bus_start("");
    c = client_open();
    two[0] = two[1] = c;
    before = open_descriptors();
    wire_begin(&p, sizeof p.ring, WIRE_RING, 0);
    for (int i = 0; i < 10; i++)
        assert_int_equal(wire_send(c, &p, two, 2, 0), 0);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_INFO, "a", NULL), -ENOENT);
    assert_int_equal(open_descriptors(), before);
    close(c);
}

static void
who_never_reads_is_cut(void **state)
{
    union wire_any p;
    unsigned sent = 0, before;
    int c, other;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    other = client_open();
    before = open_descriptors();
    c = client_open();
    wire_begin(&p, sizeof p.topic, WIRE_TOPIC_INFO, 1);
    memcpy(p.topic.name, "a", 2);
    while (fix.bus->session_count == 2) {
        int r = wire_send(c, &p, NULL, 0, MSG_DONTWAIT);
        assert_true(!r || r == -EAGAIN || r == -EPIPE);
        sent += !r;
        assert_true(sent < 100000);
        turn();
    }
    assert_true(sent > SESSION_QUEUE);
    assert_int_equal(ask_topic(other, WIRE_TOPIC_INFO, "a", NULL), 0);
    close(c);
    assert_int_equal(open_descriptors(), before);
    close(other);
}

static void
who_reads_late_gets_everything_in_order(void **state)
{
    union wire_any p, got;
    int c, fds[WIRE_FDS_MAX];
    uint32_t sent = 0, full = 0;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    c = client_open();
    wire_begin(&p, sizeof p.topic, WIRE_TOPIC_INFO, 0);
    memcpy(p.topic.name, "a", 2);
    /* Until answers wait in the daemon, but fewer than would cut it. */
    while (full < SESSION_QUEUE / 2) {
        p.h.id = 1000 + sent;
        sent += !wire_send(c, &p, NULL, 0, MSG_DONTWAIT);
        turn();
        assert_non_null(fix.bus->sessions);
        full = fix.bus->sessions->queue_count;
    }
    for (uint32_t i = 0; i < sent; i++) {
        turn_until_readable(c);
        assert_int_equal(wire_receive(c, &got, fds, 0), sizeof got.answer);
        assert_int_equal(got.h.id, 1000 + i);
        assert_int_equal(got.answer.fds, 2);
        assert_true(fds[0] >= 0 && fds[1] >= 0);
        close(fds[0]);
        close(fds[1]);
    }
    assert_int_equal(fix.bus->sessions->queue_count, 0);
    close(c);
}

/* Descriptors that one does not take are held in its socket and in the daemon: few. */
static void
who_does_not_read_holds_few_descriptors(void **state)
{
    union wire_any p, got;
    int c, fds[WIRE_FDS_MAX], there = 0;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    c = client_open();
    wire_begin(&p, sizeof p.topic, WIRE_TOPIC_INFO, 1);
    memcpy(p.topic.name, "a", 2);
    while (fix.bus->sessions->queue_count < 2) {
        assert_int_equal(wire_send(c, &p, NULL, 0, 0), 0);
        turn();
    }
    while (wire_receive(c, &got, fds, MSG_DONTWAIT) > 0) {
        close(fds[0]);
        close(fds[1]);
        there++;
    }
    assert_in_range(there, 1, 16);
    close(c);
}

/* That others do not take theirs is no fault of this one: it waits. */
static void
too_many_descriptors_on_their_way_are_waited_for(void **state)
{
    union wire_any p, got;
    int c, fds[WIRE_FDS_MAX];

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    c = client_open();
    wire_begin(&p, sizeof p.topic, WIRE_TOPIC_INFO, 1);
    memcpy(p.topic.name, "a", 2);
    too_many = true;
    for (uint32_t i = 1; i <= 2; i++) {
        p.h.id = i;
        assert_int_equal(wire_send(c, &p, NULL, 0, 0), 0);
        TURN_UNTIL(!fix.bus->sessions || fix.bus->sessions->queue_count == i);
        assert_non_null(fix.bus->sessions);
    }
    /* Nobody says when it is over; until then the loop sleeps. */
    TURN_UNTIL(fix.bus->sessions->source.events == EPOLLIN);
    assert_true(loop_is_set(&fix.bus->send_again));
    too_many = false;
    for (uint32_t i = 1; i <= 2; i++) {
        turn_until_readable(c);
        assert_int_equal(wire_receive(c, &got, fds, 0), sizeof got.answer);
        assert_int_equal(got.h.id, i);
        assert_int_equal(got.answer.fds, 2);
        close(fds[0]);
        close(fds[1]);
    }
    TURN_UNTIL(!fix.bus->sessions->queue_count);
    close(c);
}

/* One that floods is served a bounded number of packets a turn. */
static void
a_flood_leaves_room_for_others(void **state)
{
    union wire_any p;
    int flood, other, r = 0;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    flood = client_open();
    other = client_open();
    wire_begin(&p, sizeof p.ring, WIRE_RING, 0);
    while (!r)
        r = wire_send(flood, &p, NULL, 0, MSG_DONTWAIT);
    assert_int_equal(r, -EAGAIN);
    wire_begin(&p, sizeof p.topic, WIRE_TOPIC_INFO, 9);
    memcpy(p.topic.name, "a", 2);
    assert_int_equal(wire_send(other, &p, NULL, 0, 0), 0);
    turn();
    {
        struct pollfd ready = {.fd = other, .events = POLLIN};
        assert_int_equal(poll(&ready, 1, 0), 1);
    }
    close(flood);
    close(other);
}

/* Making a large topic takes the daemon far longer than a session may have in a turn. */
static void
who_asks_for_much_is_served_once_a_turn(void **state)
{
    static const char *const names[] = {"a", "b"};
    union wire_any p;
    int c;

    (void)state;
    bus_start("");
    c = client_open();
    for (int i = 0; i < 2; i++) {
        wire_begin(&p, sizeof p.topic, WIRE_TOPIC_CREATE, 1);
        memcpy(p.topic.name, names[i], 2);
        p.topic.options =
            (struct wire_options){.given = WIRE_GIVEN_RULE, .depth = 1 << 17, .slot_size = 256};
        assert_int_equal(wire_send(c, &p, NULL, 0, 0), 0);
    }
    turn();
    assert_non_null(topic_by_name(fix.bus, "a"));
    assert_null(topic_by_name(fix.bus, "b"));
    turn();
    assert_non_null(topic_by_name(fix.bus, "b"));
    close(c);
}

static void
without_descriptors_it_refuses_and_recovers(void **state)
{
    struct rlimit limit, was;
    int c[64], n = 0, last;

    (void)state;
    bus_start("");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    limit = was;
    limit.rlim_cur = open_descriptors() + 20;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    while (n < 64) {
        char path[100];
        (void)snprintf(path, sizeof path, "%s/bus", fix.dir);
        if (wire_connect(path, &c[n]))
            break;
        n++;
        turn();
    }
    for (int i = 0; i < 50; i++)
        turn();
    while (n)
        close(c[--n]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    TURN_UNTIL(!fix.bus->sessions);
    assert_true(fix.bus->spare_fd >= 0);
    last = client_open();
    close(last);
}

/* Somebody else took the one that was given up: who waits is left waiting, and the loop sleeps meanwhile. */
static void
without_a_spare_descriptor_it_waits(void **state)
{
    struct rlimit limit, was;
    int waiting;
    uint64_t until;

    (void)state;
    bus_start("");
    waiting = connect_only();
    close(fix.bus->spare_fd);
    fix.bus->spare_fd = -1;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    limit = was;
    limit.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    turn();
    assert_true(loop_is_set(&fix.bus->accept_again));
    until = fix.bus->accept_again.at_ns;
    turn();
    assert_true(!fix.bus->listener.events || loop_clock() >= until);
    TURN_UNTIL(fix.bus->accept_again.at_ns > until);
    assert_null(fix.bus->sessions);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    TURN_UNTIL(fix.bus->sessions && fix.bus->spare_fd >= 0);
    close(waiting);
}

/* The kernel's word on who connected: the user at that moment. */
static int
connect_as(uid_t uid)
{
    int c;

    assert_int_equal(seteuid(uid), 0);
    c = connect_only();
    assert_int_equal(seteuid(0), 0);
    return c;
}

static void
a_user_has_so_many_sessions(void **state)
{
    union wire_any p;
    int c[4], extra, more;
    char byte;

    (void)state;
    if (geteuid() != 0) {
        print_message("skipped: only root can connect as somebody else\n");
        skip();
    }
    assert_int_equal(chmod(fix.dir, 0711), 0);
    bus_start("user_sessions = 4\n");
    for (int i = 0; i < 4; i++)
        c[i] = connect_as(12345);
    TURN_UNTIL(fix.bus->session_count == 4);
    assert_int_equal(fix.bus->sessions->who.uid, 12345);
    /* One more is told why, what comes on top is not listened to. */
    extra = connect_as(12345);
    TURN_UNTIL(fix.bus->session_count == 5);
    more = connect_as(12345);
    turn_until_readable(more);
    assert_int_equal(recv(more, &byte, 1, MSG_DONTWAIT), 0);
    close(more);
    wire_begin(&p, sizeof p.hello, WIRE_HELLO, 1);
    p.hello.oldest = p.hello.newest = WIRE_VERSION;
    assert_int_equal(ask_raw(extra, &p, &answer, NULL), -EDQUOT);
    assert_non_null(strstr(answer.text, "user_sessions"));
    TURN_UNTIL(fix.bus->session_count == 4);
    assert_int_equal(recv(extra, &byte, 1, MSG_DONTWAIT), 0);
    close(extra);
    extra = connect_as(54321);
    TURN_UNTIL(fix.bus->session_count == 5);
    close(extra);
    /* The daemon's own user and root are not counted. */
    extra = client_open();
    close(extra);
    for (int i = 0; i < 4; i++)
        close(c[i]);
}

static void
a_process_counts_its_sessions(void **state)
{
    int a, b;

    (void)state;
    bus_start("");
    a = client_open();
    b = client_open();
    assert_non_null(fix.bus->processes);
    assert_null(fix.bus->processes->next);
    assert_int_equal(fix.bus->processes->holds, 2);
    close(a);
    TURN_UNTIL(fix.bus->session_count == 1);
    assert_int_equal(fix.bus->processes->holds, 1);
    close(b);
    TURN_UNTIL(!fix.bus->processes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hello_comes_first_and_agrees_on_a_version, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(malformed_packets_hurt_nobody, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(refusals_say_what_is_wrong, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(descriptors_sent_to_it_are_closed, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(who_never_reads_is_cut, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(who_reads_late_gets_everything_in_order, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(who_does_not_read_holds_few_descriptors, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(too_many_descriptors_on_their_way_are_waited_for, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_flood_leaves_room_for_others, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(who_asks_for_much_is_served_once_a_turn, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(without_descriptors_it_refuses_and_recovers, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(without_a_spare_descriptor_it_waits, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_user_has_so_many_sessions, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(a_process_counts_its_sessions, bus_setup, bus_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
