/* bus.h - a real daemon in a folder of its own, for the tests of the client library. */
#ifndef TESTS_UNIT_CLIENT_BUS_H
#define TESTS_UNIT_CLIENT_BUS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <leat.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shm/name.h"

struct bus {
    char folder[64], path[96], store[96];
    pid_t daemon;
    leat_bus *bus;
};

/* bus_launch starts the daemon and waits until it serves. */
static inline void
bus_launch(struct bus *b)
{
    const char *leatd = getenv("LEATD");
    char ready[16], byte;
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    b->daemon = fork();
    assert_true(b->daemon >= 0);
    if (!b->daemon) {
        close(ends[0]);
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM); /* if the test is stopped from outside */
        (void)snprintf(ready, sizeof ready, "%d", ends[1]);
        (void)execl(leatd ? leatd : "leatd", "leatd", "--socket", b->path, "--store", b->store,
                    "--quiet", "--ready-fd", ready, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
}

static inline void
bus_kill(struct bus *b, int sig)
{
    if (b->daemon <= 0)
        return;
    assert_int_equal(kill(b->daemon, sig), 0);
    assert_int_equal(waitpid(b->daemon, NULL, 0), b->daemon);
    b->daemon = 0;
}

/* A file, or a folder with files and folders of files in it. */
static inline void
bus_remove(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *e;
    char name[512];

    while (d && (e = readdir(d))) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        (void)snprintf(name, sizeof name, "%.255s/%.255s", path, e->d_name);
        if (unlink(name))
            bus_remove(name);
    }
    if (d)
        closedir(d);
    (void)rmdir(path);
}

static inline void
bus_forget_memory(const struct bus *b)
{
    char prefix[LIMIT_SHM_PREFIX], name[512];
    const struct dirent *e;
    DIR *d = opendir("/dev/shm");

    shm_name_prefix(b->path, prefix);
    while (d && (e = readdir(d)))
        if (!strncmp(e->d_name, prefix, strlen(prefix))) {
            (void)snprintf(name, sizeof name, "/dev/shm/%.255s", e->d_name);
            (void)unlink(name);
        }
    if (d)
        closedir(d);
}

static inline void
bus_open(struct bus *b)
{
    struct leat_options o = LEAT_OPTIONS_INIT;

    o.path = b->path;
    assert_int_equal(leat_open(&o, &b->bus), 0);
}

/* A cmocka setup and its teardown: a daemon, and a bus open on it. */
static inline int
bus_setup(void **state)
{
    static struct bus b;

    memset(&b, 0, sizeof b);
    (void)snprintf(b.folder, sizeof b.folder, "/tmp/leat-client.XXXXXX");
    assert_non_null(mkdtemp(b.folder));
    (void)snprintf(b.path, sizeof b.path, "%s/bus", b.folder);
    (void)snprintf(b.store, sizeof b.store, "%s/store", b.folder);
    assert_int_equal(mkdir(b.store, 0700), 0);
    bus_launch(&b);
    bus_open(&b);
    *state = &b;
    return 0;
}

static inline int
bus_teardown(void **state)
{
    struct bus *b = *state;

    b->bus = leat_close(b->bus);
    bus_kill(b, SIGTERM);
    bus_forget_memory(b);
    bus_remove(b->folder);
    return 0;
}

/* --- topics, publishers, subscribers ---------------------------------------------------------- */

static inline void
bus_topic(struct bus *b, const char *name, uint64_t depth, uint32_t durability)
{
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    int r;

    o.depth = depth;
    o.lane_size = 65536;
    o.durability = durability;
    r = leat_topic_create(b->bus, name, &o);
    if (r)
        print_error("%s\n", leat_error(b->bus));
    assert_int_equal(r, 0);
}

static inline leat_pub *
bus_pub(struct bus *b, const char *topic, int64_t timeout_ns)
{
    struct leat_pub_options o = LEAT_PUB_OPTIONS_INIT;
    leat_pub *p = NULL;
    int r;

    o.timeout_ns = timeout_ns;
    r = leat_pub_open(b->bus, topic, &o, &p);
    if (r)
        print_error("%s\n", leat_error(b->bus));
    assert_int_equal(r, 0);
    return p;
}

static inline leat_sub *
bus_sub(struct bus *b, const char *topic, uint32_t kind, uint32_t start)
{
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    leat_sub *s = NULL;
    int r;

    o.kind = kind;
    o.start = start;
    r = leat_sub_open(b->bus, topic, &o, &s);
    if (r)
        print_error("%s\n", leat_error(b->bus));
    assert_int_equal(r, 0);
    return s;
}

/* bus_payload fills a payload that says its number, of any length from 8 on. */
static inline void
bus_payload(unsigned char *to, size_t len, uint64_t n)
{
    memcpy(to, &n, 8);
    for (size_t i = 8; i < len; i++)
        to[i] = (unsigned char)(n * 31 + i * 7 + len);
}

static inline bool
bus_payload_is(const unsigned char *at, size_t len, uint64_t n)
{
    if (len < 8 || memcmp(at, &n, 8) != 0)
        return false;
    for (size_t i = 8; i < len; i++)
        if (at[i] != (unsigned char)(n * 31 + i * 7 + len))
            return false;
    return true;
}

/* bus_send publishes message n of `len` bytes; its number in the order. */
static inline uint64_t
bus_send(leat_pub *p, uint64_t n, size_t len)
{
    unsigned char *data = malloc(len);
    uint64_t seq = 0;

    assert_non_null(data);
    bus_payload(data, len, n);
    assert_int_equal(leat_pub_send(p, data, len, &seq), 0);
    free(data);
    return seq;
}

/* bus_expect receives message n, waiting for it, checks and releases it. */
static inline uint64_t
bus_expect(leat_sub *s, uint64_t n, size_t len)
{
    struct leat_msg m = {0};
    uint64_t seq;
    int r;

    while (!(r = leat_sub_receive(s, &m)))
        assert_int_equal(leat_sub_wait(s, 10000000000), 1);
    assert_int_equal(r, 1);
    assert_int_equal(m.len, len);
    assert_true(bus_payload_is(m.data, m.len, n));
    seq = m.seq;
    assert_int_equal(leat_sub_release(s, &m), 0);
    return seq;
}

static inline int64_t
bus_now(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

#endif
