/* bus_fixture.h - a daemon inside the test program, in a directory and with shared memory of its own, driven turn by turn;
 * clients that speak the protocol to it, from this process and from children. */
#ifndef TESTS_UNIT_DAEMON_BUS_FIXTURE_H
#define TESTS_UNIT_DAEMON_BUS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/bus.h"
#include "daemon/memory.h"
#include "daemon/report.h"
#include "daemon/session.h"
#include "daemon/topic.h"
#include "shm/name.h"
#include "shm/segment.h"
#include "wire/wire.h"

/* Nothing here takes long; a machine may. */
#define PATIENCE_NS 30000000000ull

struct fixture {
    char dir[64];
    struct bus *bus;
    uint32_t ids;
    char why[WHY_ROOM];
};

static struct fixture fix;

/* The rest of the test's words are wrappers around fix. */
static inline int
bus_try(const char *rules)
{
    struct config c;
    char path[200], error[CONFIG_ERROR] = "";
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/leat.conf", fix.dir);
    f = fopen(path, "we");
    assert_non_null(f);
    (void)fprintf(f, "[bus]\nsocket = %s/bus\nstore = %s/store\n%s", fix.dir, fix.dir, rules);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(config_init(&c, false), 0);
    if (config_load(&c, path, true, error))
        fail_msg("%s", error);
    return bus_open(&c, &fix.bus, fix.why);
}

static inline void
bus_start(const char *rules)
{
    if (bus_try(rules))
        fail_msg("%s", fix.why);
}

/* As kill -9 would leave it: nothing is drained, the socket's file stays. */
static inline void
bus_die(void)
{
    fix.bus = bus_close(fix.bus);
}

static inline void
remove_one(void *user, const char *name)
{
    memory_remove(user, name);
}

static inline int
bus_setup(void **state)
{
    (void)state;
    report_to(-1);
    (void)snprintf(fix.dir, sizeof fix.dir, "/tmp/leat-unit.XXXXXX");
    fix.bus = NULL;
    fix.why[0] = '\0';
    return mkdtemp(fix.dir) ? 0 : -1;
}

static inline int
bus_teardown(void **state)
{
    char command[160], prefix[LIMIT_SHM_PREFIX], path[100];

    (void)state;
    bus_die();
    (void)snprintf(path, sizeof path, "%s/bus", fix.dir);
    shm_name_prefix(path, prefix);
    (void)memory_list(prefix, remove_one, prefix);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", fix.dir);
    return system(command);
}

static inline void
turn(void)
{
    assert_int_equal(loop_turn(fix.bus->loop, 0), 0);
}

/* Turns until the descriptor is readable. */
static inline void
turn_until_readable(int fd)
{
    uint64_t until = loop_clock() + PATIENCE_NS;
    struct pollfd p = {.fd = fd, .events = POLLIN};

    while (poll(&p, 1, 0) == 0) {
        assert_true(loop_clock() < until);
        assert_int_equal(loop_turn(fix.bus->loop, loop_clock() + 2000000), 0);
    }
}

#define TURN_UNTIL(condition)                                                                      \
    do {                                                                                           \
        uint64_t patience_ = loop_clock() + PATIENCE_NS;                                           \
        while (!(condition)) {                                                                     \
            assert_true(loop_clock() < patience_);                                                 \
            assert_int_equal(loop_turn(fix.bus->loop, loop_clock() + 2000000), 0);                 \
        }                                                                                          \
    } while (0)

/* --- a client in this process ----------------------------------------------------------------- */

static inline int
ask_raw(int client, union wire_any *packet, struct wire_answer *ret, int fds[WIRE_FDS_MAX])
{
    union wire_any got;
    int n, own[WIRE_FDS_MAX] = {-1, -1};

    packet->h.id = ++fix.ids;
    assert_int_equal(wire_send(client, packet, NULL, 0, 0), 0);
    turn_until_readable(client);
    n = wire_receive(client, &got, own, 0);
    assert_int_equal(wire_check_answer(&got, (size_t)n, packet->h.type, packet->h.id), 0);
    *ret = got.answer;
    for (int i = 0; i < WIRE_FDS_MAX; i++) {
        assert_true((own[i] >= 0) == (i < (int)got.answer.fds));
        if (fds)
            fds[i] = own[i];
        else if (own[i] >= 0)
            close(own[i]);
    }
    return got.answer.h.status;
}

static struct wire_answer answer; /* of the last question */

static inline int
client_open(void)
{
    char path[100];
    union wire_any p;
    int client;

    (void)snprintf(path, sizeof path, "%s/bus", fix.dir);
    assert_int_equal(wire_connect(path, &client), 0);
    wire_begin(&p, sizeof p.hello, WIRE_HELLO, 0);
    p.hello.oldest = p.hello.newest = WIRE_VERSION;
    assert_int_equal(ask_raw(client, &p, &answer, NULL), 0);
    return client;
}

/* TOPIC_CREATE, TOPIC_REMOVE, TOPIC_INFO, PUB_OPEN */
static inline int
ask_topic(int client, enum wire_type type, const char *name, const struct wire_options *options)
{
    union wire_any p;

    wire_begin(&p, sizeof p.topic, type, 0);
    memcpy(p.topic.name, name, strlen(name) + 1);
    if (options)
        p.topic.options = *options;
    else if (type == WIRE_TOPIC_CREATE)
        p.topic.options.given = WIRE_GIVEN_RULE;
    return ask_raw(client, &p, &answer, NULL);
}

static inline int
ask_sub(int client, const char *topic, const char *name, uint32_t kind, enum wire_start start)
{
    union wire_any p;

    wire_begin(&p, sizeof p.sub_open, WIRE_SUB_OPEN, 0);
    memcpy(p.sub_open.topic, topic, strlen(topic) + 1);
    if (name)
        memcpy(p.sub_open.name, name, strlen(name) + 1);
    p.sub_open.kind = kind;
    p.sub_open.start = start;
    return ask_raw(client, &p, &answer, NULL);
}

/* PUB_CLOSE, SUB_CLOSE of what `of` answered. */
static inline int
ask_close(int client, enum wire_type type, const struct wire_answer *of)
{
    union wire_any p;

    wire_begin(&p, sizeof p.handle, type, 0);
    p.handle.topic_id = of->topic_id;
    p.handle.generation = of->generation;
    p.handle.index = of->index;
    return ask_raw(client, &p, &answer, NULL);
}

static inline void
ring_topic(int client, uint64_t topic_id)
{
    union wire_any p;

    wire_begin(&p, sizeof p.ring, WIRE_RING, 0);
    p.ring.topic_id = topic_id;
    assert_int_equal(wire_send(client, &p, NULL, 0, 0), 0);
}

static inline struct topic *
topic(const char *name)
{
    struct topic *t = topic_by_name(fix.bus, name);

    assert_non_null(t);
    return t;
}

/* --- publishing without a client library ------------------------------------------------------- */

struct pen {
    struct ring_publisher p;
    struct ring_piece *pieces;
};

/* Writes as publisher `index`, through the daemon's own maps: inline messages only. */
static inline struct pen
pen_of(struct topic *t, uint32_t index)
{
    struct pen pen = {.pieces = calloc(ring_publisher_room(&t->memory.view), sizeof *pen.pieces)};

    assert_non_null(pen.pieces);
    assert_int_equal(
        ring_publisher_join(&pen.p, &t->memory.view, (uint16_t)index, pen.pieces, true), 0);
    return pen;
}

static inline int
pen_write(struct pen *pen, uint64_t time_ns)
{
    const struct ring_out out = {.data = "hello", .len = 5};
    uint64_t seq;

    return ring_publish(&pen->p, &out, 1, time_ns, &seq);
}

/* --- clients that die -------------------------------------------------------------------------- */

/* A child that speaks to the bus and then waits to be killed. In a child nothing is asserted: a wrong step
 * ends it, and the parent, which waits for its word, sees the end of the pipe. */
struct child {
    pid_t pid;
    int words; /* what it says, one struct wire_answer for each question */
};

static inline void
child_ask(int client, union wire_any *p, uint32_t id, int words)
{
    struct pollfd ready = {.fd = client, .events = POLLIN};
    union wire_any got;
    int fds[WIRE_FDS_MAX];

    p->h.id = id;
    if (wire_send(client, p, NULL, 0, 0) || poll(&ready, 1, -1) != 1 ||
        wire_receive(client, &got, fds, 0) != sizeof got.answer ||
        write(words, &got.answer, sizeof got.answer) != sizeof got.answer)
        _exit(1);
}

/* Starts a child that opens each of `n` packets (PUB_OPEN, SUB_OPEN) in turn. */
static inline struct child
child_start(union wire_any *packets, unsigned n)
{
    int words[2];
    struct child c;

    assert_int_equal(pipe(words), 0);
    (void)fflush(NULL);
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (!c.pid) {
        char path[100];
        union wire_any hello;
        int client;

        (void)snprintf(path, sizeof path, "%s/bus", fix.dir);
        /* The daemon's locks must not live on in a child of the program that plays it. */
        if (dup2(words[1], 3) != 3 || close_range(4, ~0u, 0))
            _exit(1);
        words[1] = 3;
        /* A test that fails leaves nobody behind. */
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (wire_connect(path, &client))
            _exit(1);
        wire_begin(&hello, sizeof hello.hello, WIRE_HELLO, 0);
        hello.hello.oldest = hello.hello.newest = WIRE_VERSION;
        child_ask(client, &hello, 1, words[1]);
        for (unsigned i = 0; i < n; i++)
            child_ask(client, &packets[i], i + 2, words[1]);
        for (;;)
            (void)pause();
    }
    close(words[1]);
    c.words = words[0];
    return c;
}

static inline int
child_says(const struct child *c, struct wire_answer *ret)
{
    turn_until_readable(c->words);
    assert_int_equal(read(c->words, ret, sizeof *ret), sizeof *ret);
    return ret->h.status;
}

static inline void
child_kill(struct child *c)
{
    assert_int_equal(kill(c->pid, SIGKILL), 0);
    assert_int_equal(waitpid(c->pid, NULL, 0), c->pid);
    close(c->words);
}

static inline union wire_any
pub_packet(const char *name)
{
    union wire_any p;

    wire_begin(&p, sizeof p.topic, WIRE_PUB_OPEN, 0);
    memcpy(p.topic.name, name, strlen(name) + 1);
    return p;
}

static inline union wire_any
sub_packet(const char *name, const char *sub, uint32_t kind)
{
    union wire_any p;

    wire_begin(&p, sizeof p.sub_open, WIRE_SUB_OPEN, 0);
    memcpy(p.sub_open.topic, name, strlen(name) + 1);
    if (sub)
        memcpy(p.sub_open.name, sub, strlen(sub) + 1);
    p.sub_open.kind = kind;
    return p;
}

#endif
