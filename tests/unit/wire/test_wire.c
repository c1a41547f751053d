/* Every request's shape, every field's bounds, and what the two functions that touch sockets do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wire/wire.h"

static union wire_any
request(enum wire_type type)
{
    union wire_any p;

    memset(&p, 0xa5, sizeof p);
    wire_begin(&p, wire_request_size((uint16_t)type), type, 7);
    if (type == WIRE_HELLO)
        p.hello.oldest = p.hello.newest = WIRE_VERSION;
    if (type == WIRE_LOG_OPEN)
        p.position.start = WIRE_AT_SEQ;
    return p;
}

static void
begin_fills_the_header(void **state)
{
    union wire_any p = request(WIRE_SUB_OPEN);

    (void)state;
    assert_int_equal(p.h.size, sizeof p.sub_open);
    assert_int_equal(p.h.version, WIRE_VERSION);
    assert_int_equal(p.h.type, WIRE_SUB_OPEN);
    assert_int_equal(p.h.id, 7);
    assert_int_equal(p.h.status, 0);
    assert_int_equal(p.sub_open.kind, 0);
    assert_int_equal(p.sub_open.topic[207], 0);
}

static void
every_request_has_one_size(void **state)
{
    (void)state;
    assert_int_equal(wire_request_size(0), 0);
    assert_int_equal(wire_request_size(WIRE_TYPES), 0);
    assert_int_equal(wire_request_size(UINT16_MAX), 0);
    for (uint16_t type = 1; type < WIRE_TYPES; type++) {
        union wire_any p = request(type);
        uint32_t size = wire_request_size(type);

        assert_in_range(size, sizeof(struct wire_header), sizeof p);
        assert_int_equal(wire_check_request(&p, size), 0);
        for (uint32_t len = 0; len <= sizeof p; len++) {
            if (len == size)
                continue;
            assert_int_equal(wire_check_request(&p, len), -EBADMSG);
            p.h.size = len;
            assert_int_equal(wire_check_request(&p, len), -EBADMSG);
            p.h.size = size;
        }
    }
}

static void
a_request_of_another_version_is_told_apart(void **state)
{
    union wire_any p = request(WIRE_HELLO);

    (void)state;
    p.h.version = WIRE_VERSION + 1;
    assert_int_equal(wire_check_request(&p, p.h.size), -EPROTONOSUPPORT);
    p.h.version = WIRE_VERSION;
    p.h.status = -1;
    assert_int_equal(wire_check_request(&p, p.h.size), -EBADMSG);
    p.h.status = 0;
    p.h.type = WIRE_TYPES;
    assert_int_equal(wire_check_request(&p, p.h.size), -EBADMSG);
}

static void
strings_have_an_end(void **state)
{
    static const struct {
        enum wire_type type;
        size_t at, room;
    } fields[] = {
        {WIRE_TOPIC_CREATE, offsetof(struct wire_topic, name), 208},
        {WIRE_TOPIC_REMOVE, offsetof(struct wire_topic, name), 208},
        {WIRE_TOPIC_INFO, offsetof(struct wire_topic, name), 208},
        {WIRE_PUB_OPEN, offsetof(struct wire_topic, name), 208},
        {WIRE_SUB_OPEN, offsetof(struct wire_sub_open, topic), 208},
        {WIRE_SUB_OPEN, offsetof(struct wire_sub_open, name), 64},
        {WIRE_SUB_REMOVE, offsetof(struct wire_sub_remove, topic), 208},
        {WIRE_SUB_REMOVE, offsetof(struct wire_sub_remove, name), 64},
    };

    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        union wire_any p = request(fields[i].type);
        char *field = (char *)&p + fields[i].at;

        memset(field, 'x', fields[i].room - 1);
        assert_int_equal(wire_check_request(&p, p.h.size), 0);
        field[fields[i].room - 1] = 'x';
        assert_int_equal(wire_check_request(&p, p.h.size), -EBADMSG);
    }
}

/* A 32-bit field that takes values up to `max` and no other. */
static void
numbers_have_bounds(void **state)
{
    static const struct {
        enum wire_type type;
        size_t at;
        uint32_t max;
    } fields[] = {
        {WIRE_HELLO, offsetof(struct wire_hello, reserved), 0},
        {WIRE_TOPIC_CREATE, offsetof(struct wire_topic, options.durability), 1},
        {WIRE_TOPIC_CREATE, offsetof(struct wire_topic, options.when_full), 1},
        {WIRE_TOPIC_CREATE, offsetof(struct wire_topic, options.timestamps), 2},
        {WIRE_TOPIC_CREATE, offsetof(struct wire_topic, options.retain_until_acked), 1},
        {WIRE_TOPIC_CREATE, offsetof(struct wire_topic, options.given), 15},
        {WIRE_TOPIC_CREATE, offsetof(struct wire_topic, options.reserved), 0},
        {WIRE_TOPIC_REMOVE, offsetof(struct wire_topic, options.mode), 0},
        {WIRE_TOPIC_INFO, offsetof(struct wire_topic, options.depth), 0},
        {WIRE_PUB_OPEN, offsetof(struct wire_topic, options.given), 0},
        {WIRE_SUB_OPEN, offsetof(struct wire_sub_open, kind), 2},
        {WIRE_SUB_OPEN, offsetof(struct wire_sub_open, start), WIRE_LAST_N},
        {WIRE_PUB_CLOSE, offsetof(struct wire_handle, reserved), 0},
        {WIRE_SUB_CLOSE, offsetof(struct wire_handle, reserved), 0},
        {WIRE_LOG_OPEN, offsetof(struct wire_position, reserved), 0},
        {WIRE_POSITION, offsetof(struct wire_position, start), WIRE_LAST_N},
        {WIRE_POSITION, offsetof(struct wire_position, reserved), 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        union wire_any p = request(fields[i].type);
        uint32_t bad[] = {fields[i].max + 1, UINT32_MAX};

        memcpy((char *)&p + fields[i].at, &fields[i].max, 4);
        assert_int_equal(wire_check_request(&p, p.h.size), 0);
        for (size_t b = 0; b < 2; b++) {
            memcpy((char *)&p + fields[i].at, &bad[b], 4);
            assert_int_equal(wire_check_request(&p, p.h.size), -EBADMSG);
        }
    }
}

static void
hello_names_a_range(void **state)
{
    union wire_any p = request(WIRE_HELLO);

    (void)state;
    p.hello.newest = 9;
    assert_int_equal(wire_check_request(&p, p.h.size), 0);
    p.hello.oldest = 10;
    assert_int_equal(wire_check_request(&p, p.h.size), -EBADMSG);
    p.hello.oldest = 0;
    assert_int_equal(wire_check_request(&p, p.h.size), -EBADMSG);
}

static void
an_answer_is_checked(void **state)
{
    union wire_any p;
    uint32_t size = sizeof p.answer;

    (void)state;
    wire_begin(&p, size, WIRE_PUB_OPEN, 3);
    assert_int_equal(wire_check_answer(&p, size, WIRE_PUB_OPEN, 3), 0);
    assert_int_equal(wire_check_answer(&p, size, WIRE_PUB_OPEN, 4), -EAGAIN);
    assert_int_equal(wire_check_answer(&p, size, WIRE_SUB_OPEN, 3), -EBADMSG);
    assert_int_equal(wire_check_answer(&p, size - 1, WIRE_PUB_OPEN, 3), -EBADMSG);
    assert_int_equal(wire_check_answer(&p, 3, WIRE_PUB_OPEN, 3), -EBADMSG);
    p.answer.h.status = -ENOENT;
    assert_int_equal(wire_check_answer(&p, size, WIRE_PUB_OPEN, 3), 0);
    p.answer.h.status = 1;
    assert_int_equal(wire_check_answer(&p, size, WIRE_PUB_OPEN, 3), -EBADMSG);
    p.answer.h.status = 0;
    p.answer.fds = WIRE_FDS_MAX + 1;
    assert_int_equal(wire_check_answer(&p, size, WIRE_PUB_OPEN, 3), -EBADMSG);
    p.answer.fds = 0;
    memset(p.answer.text, 'x', WIRE_TEXT);
    assert_int_equal(wire_check_answer(&p, size, WIRE_PUB_OPEN, 3), -EBADMSG);
    p.answer.text[WIRE_TEXT - 1] = 0;
    p.answer.h.version = 2;
    assert_int_equal(wire_check_answer(&p, size, WIRE_PUB_OPEN, 3), -EPROTONOSUPPORT);
    p.answer.h.version = 1;
    p.answer.h.type = WIRE_TYPES;
    assert_int_equal(wire_check_answer(&p, size, WIRE_PUB_OPEN, 3), -EBADMSG);
}

static unsigned
open_descriptors(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void
packets_cross_with_descriptors(void **state)
{
    union wire_any p, got;
    int s[2], pipes[2], fds[WIRE_FDS_MAX];
    char byte = 0;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, s), 0);
    assert_int_equal(pipe(pipes), 0);
    wire_begin(&p, sizeof p.answer, WIRE_PUB_OPEN, 3);
    p.answer.fds = 2;
    assert_int_equal(wire_send(s[0], &p, pipes, 2, 0), 0);
    assert_int_equal(wire_receive(s[1], &got, fds, 0), sizeof p.answer);
    assert_memory_equal(&got.answer, &p.answer, sizeof p.answer);
    assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(write(fds[1], "!", 1), 1);
    assert_int_equal(read(pipes[0], &byte, 1), 1);
    assert_int_equal(byte, '!');
    close(fds[0]);
    close(fds[1]);

    p = request(WIRE_RING);
    assert_int_equal(wire_send(s[0], &p, NULL, 0, 0), 0);
    assert_int_equal(wire_receive(s[1], &got, fds, 0), sizeof p.ring);
    assert_int_equal(fds[0], -1);
    assert_int_equal(fds[1], -1);
    assert_int_equal(wire_receive(s[1], &got, fds, 0), -EAGAIN);
    assert_int_equal(wire_send(s[0], &p, pipes, 3, 0), -EINVAL);
    close(s[0]);
    assert_int_equal(wire_receive(s[1], &got, fds, 0), 0);
    assert_int_equal(wire_send(s[1], &p, NULL, 0, 0), -EPIPE);
    close(s[1]);
    close(pipes[0]);
    close(pipes[1]);
}

static void
a_packet_too_long_leaves_nothing(void **state)
{
    union {
        char bytes[sizeof(union wire_any) + 8];
        struct wire_header h;
    } p = {.bytes = {0}};
    union wire_any got = {.h = {.id = 99}};
    int s[2], fds[WIRE_FDS_MAX] = {-7, -7};
    unsigned before;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
    before = open_descriptors();
    p.h.size = sizeof p;
    assert_int_equal(wire_send(s[0], &p, s, 2, 0), 0);
    assert_int_equal(wire_receive(s[1], &got, fds, 0), -EBADMSG);
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(fds[0], -7);
    assert_int_equal(got.h.id, 99);
    close(s[0]);
    close(s[1]);
}

static void
more_descriptors_than_any_packet_has_are_refused(void **state)
{
    char control[CMSG_SPACE(5 * sizeof(int))] = {0}, byte = 'x';
    struct iovec part = {&byte, 1};
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    union wire_any got;
    int s[2], fds[WIRE_FDS_MAX], many[5];
    unsigned before;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
    for (int i = 0; i < 5; i++)
        many[i] = s[0];
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof many);
    memcpy(CMSG_DATA(c), many, sizeof many);
    before = open_descriptors();
    assert_int_equal(sendmsg(s[0], &msg, 0), 1);
    assert_int_equal(wire_receive(s[1], &got, fds, 0), 1);
    assert_int_equal(fds[0], -1);
    assert_int_equal(fds[1], -1);
    assert_int_equal(open_descriptors(), before);
    close(s[0]);
    close(s[1]);
}

static void
descriptors_nobody_wants_are_never_taken(void **state)
{
    union wire_any p = request(WIRE_RING), got;
    unsigned before;
    int s[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
    before = open_descriptors();
    assert_int_equal(wire_send(s[0], &p, s, 2, 0), 0);
    assert_int_equal(wire_receive(s[1], &got, NULL, 0), sizeof p.ring);
    assert_int_equal(wire_send(s[0], &p, NULL, 0, 0), 0);
    assert_int_equal(wire_receive(s[1], &got, NULL, 0), sizeof p.ring);
    assert_int_equal(open_descriptors(), before);
    close(s[0]);
    close(s[1]);
}

struct place {
    char dir[64], path[128];
};

static int
make_place(void **state)
{
    static struct place p;

    (void)snprintf(p.dir, sizeof p.dir, "/tmp/leat-wire.XXXXXX");
    if (!mkdtemp(p.dir))
        return -1;
    (void)snprintf(p.path, sizeof p.path, "%s/bus", p.dir);
    *state = &p;
    return 0;
}

static int
drop_place(void **state)
{
    struct place *p = *state;

    (void)unlink(p->path);
    return rmdir(p->dir);
}

static void
two_ends_meet(void **state)
{
    struct place *p = *state;
    struct stat st;
    union wire_any packet = request(WIRE_HELLO), got;
    int listener, client, server, fds[WIRE_FDS_MAX];

    assert_int_equal(wire_connect(p->path, &client), -ENOENT);
    assert_int_equal(wire_listen(p->path, 0640, &listener), 0);
    assert_int_equal(stat(p->path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_true(fcntl(listener, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(listener, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(wire_connect(p->path, &client), 0);
    assert_true(fcntl(client, F_GETFL) & O_NONBLOCK);
    server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(server >= 0);
    assert_int_equal(wire_send(client, &packet, NULL, 0, MSG_DONTWAIT), 0);
    assert_int_equal(wire_receive(server, &got, fds, 0), sizeof packet.hello);
    close(server);
    close(client);
    close(listener);
}

static void
only_a_dead_socket_is_replaced(void **state)
{
    struct place *p = *state;
    int first, second, fd;

    assert_int_equal(wire_listen(p->path, 0600, &first), 0);
    assert_int_equal(wire_listen(p->path, 0600, &second), -EADDRINUSE);
    close(first);
    assert_int_equal(wire_listen(p->path, 0600, &second), 0);
    close(second);
    assert_int_equal(wire_connect(p->path, &second), -ECONNREFUSED);
    assert_int_equal(unlink(p->path), 0);

    fd = open(p->path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(wire_listen(p->path, 0600, &second), -EADDRINUSE);
}

static void
paths_have_a_limit(void **state)
{
    char path[120];
    int s;

    (void)state;
    memset(path, 'x', sizeof path);
    path[108] = 0;
    assert_int_equal(wire_connect(path, &s), -ENAMETOOLONG);
    assert_int_equal(wire_listen(path, 0600, &s), -ENAMETOOLONG);
    assert_int_equal(wire_connect("", &s), -EINVAL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begin_fills_the_header),
        cmocka_unit_test(every_request_has_one_size),
        cmocka_unit_test(a_request_of_another_version_is_told_apart),
        cmocka_unit_test(strings_have_an_end),
        cmocka_unit_test(numbers_have_bounds),
        cmocka_unit_test(hello_names_a_range),
        cmocka_unit_test(an_answer_is_checked),
        cmocka_unit_test(packets_cross_with_descriptors),
        cmocka_unit_test(a_packet_too_long_leaves_nothing),
        cmocka_unit_test(more_descriptors_than_any_packet_has_are_refused),
        cmocka_unit_test(descriptors_nobody_wants_are_never_taken),
        cmocka_unit_test_setup_teardown(two_ends_meet, make_place, drop_place),
        cmocka_unit_test_setup_teardown(only_a_dead_socket_is_replaced, make_place, drop_place),
        cmocka_unit_test(paths_have_a_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
