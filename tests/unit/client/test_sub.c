/* Subscribing through the library, against a real daemon. */
#include "tests/unit/client/bus.h"

#include <pthread.h>

#include "client/client.h"

static struct leat_position
at(uint32_t start, uint64_t value)
{
    return (struct leat_position){.start = start, .value = value};
}

static void
test_starts(void **state)
{
    struct bus *b = *state;
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    leat_sub *s = NULL;
    leat_pub *p;

    bus_topic(b, "sub.start", 64, LEAT_MEMORY);
    p = bus_pub(b, "sub.start", 0);
    for (uint64_t n = 1; n <= 100; n++)
        bus_send(p, n, 16);
    s = bus_sub(b, "sub.start", LEAT_LIVE, LEAT_EARLIEST);
    assert_int_equal(bus_expect(s, 37, 16), 37);
    leat_sub_close(s);
    o.start = LEAT_AT_SEQ;
    o.start_value = 50;
    assert_int_equal(leat_sub_open(b->bus, "sub.start", &o, &s), 0);
    assert_int_equal(bus_expect(s, 50, 16), 50);
    leat_sub_close(s);
    o.start = LEAT_LAST_N;
    o.start_value = 3;
    assert_int_equal(leat_sub_open(b->bus, "sub.start", &o, &s), 0);
    assert_int_equal(bus_expect(s, 98, 16), 98);
    leat_sub_close(s);
    s = bus_sub(b, "sub.start", LEAT_LIVE, LEAT_LATEST);
    assert_int_equal(leat_sub_wait(s, 0), 0);
    bus_send(p, 101, 16);
    assert_int_equal(bus_expect(s, 101, 16), 101);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
test_gap(void **state)
{
    struct bus *b = *state;
    struct leat_sub_stat stat;
    struct leat_msg m, many[8];
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "sub.gap", 16, LEAT_MEMORY);
    p = bus_pub(b, "sub.gap", 0);
    s = bus_sub(b, "sub.gap", LEAT_LIVE, LEAT_LATEST);
    for (uint64_t n = 1; n <= 40; n++)
        bus_send(p, n, 16);
    assert_int_equal(leat_sub_wait(s, 0), 1);
    assert_int_equal(leat_sub_receive(s, &m), LEAT_GAP);
    assert_int_equal(m.first, 1);
    assert_int_equal(m.lost, 24);
    assert_int_equal(leat_sub_release(s, &m), -EINVAL);
    assert_int_equal(leat_sub_receive_many(s, many, 8), 8);
    for (uint64_t n = 0; n < 8; n++) {
        assert_int_equal(many[n].seq, 25 + n);
        assert_int_equal(leat_sub_release(s, &many[n]), 0);
    }
    for (uint64_t n = 33; n <= 40; n++)
        bus_expect(s, n, 16);
    assert_int_equal(leat_sub_stat(s, &stat), 0);
    assert_int_equal(stat.received + stat.lost, 40);
    assert_int_equal(stat.lag, 0);
    assert_int_equal(stat.held, 0);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* A gap that is met after some messages is told by the next call. */
static void
test_gap_behind_messages(void **state)
{
    struct bus *b = *state;
    struct leat_msg m[16];
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "sub.gap2", 16, LEAT_MEMORY);
    p = bus_pub(b, "sub.gap2", 0);
    s = bus_sub(b, "sub.gap2", LEAT_LIVE, LEAT_LATEST);
    for (uint64_t n = 1; n <= 16; n++)
        bus_send(p, n, 16);
    assert_int_equal(leat_sub_receive_many(s, m, 4), 4);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(leat_sub_release(s, &m[i]), 0);
    for (uint64_t n = 17; n <= 30; n++)
        bus_send(p, n, 16);
    for (uint64_t n = 31; n <= 36; n++)
        bus_send(p, n, 16);
    assert_int_equal(leat_sub_receive_many(s, m, 16), 1);
    assert_int_equal(m[0].first, 5);
    assert_int_equal(m[0].lost, 16);
    assert_int_equal(m[0].type, LEAT_GAP);
    assert_int_equal(leat_sub_receive_many(s, m, 16), 16);
    assert_int_equal(m[15].seq, 36);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(leat_sub_release(s, &m[i]), 0);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
test_stale(void **state)
{
    struct bus *b = *state;
    struct leat_sub_stat stat;
    struct leat_msg m;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "sub.stale", 16, LEAT_MEMORY);
    p = bus_pub(b, "sub.stale", 0);
    s = bus_sub(b, "sub.stale", LEAT_LIVE, LEAT_LATEST);
    bus_send(p, 1, 16);
    assert_int_equal(leat_sub_receive(s, &m), 1);
    for (uint64_t n = 2; n <= 17; n++)
        bus_send(p, n, 16);
    assert_int_equal(leat_sub_release(s, &m), -ESTALE);
    assert_int_equal(leat_sub_release(s, &m), -EINVAL);
    assert_int_equal(leat_sub_stat(s, &stat), 0);
    assert_int_equal(stat.stale, 1);
    assert_int_equal(stat.lost, 1);
    assert_int_equal(stat.received, 0);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* A lane's bytes may be gone although the slot still stands. */
static void
test_stale_lane(void **state)
{
    struct bus *b = *state;
    struct leat_msg m;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "sub.lane", 1024, LEAT_MEMORY);
    p = bus_pub(b, "sub.lane", 0);
    s = bus_sub(b, "sub.lane", LEAT_LIVE, LEAT_LATEST);
    bus_send(p, 1, 30000);
    assert_int_equal(leat_sub_receive(s, &m), 1);
    for (uint64_t n = 2; n <= 5; n++)
        bus_send(p, n, 30000);
    assert_int_equal(leat_sub_release(s, &m), -ESTALE);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* Held messages of a gating cursor, released in any order, hold publishers back until the oldest is
 * done. */
static void
test_gating_holds(void **state)
{
    struct bus *b = *state;
    struct leat_msg m[16];
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "sub.gating", 16, LEAT_MEMORY);
    p = bus_pub(b, "sub.gating", LEAT_NO_WAIT);
    s = bus_sub(b, "sub.gating", LEAT_GATING, LEAT_LATEST);
    for (uint64_t n = 1; n <= 16; n++)
        bus_send(p, n, 16);
    assert_int_equal(leat_sub_receive_many(s, m, 16), 16);
    for (unsigned i = 15; i > 0; i--)
        assert_int_equal(leat_sub_release(s, &m[i]), 0);
    assert_int_equal(leat_sub_receive(s, &m[1]), 0);
    assert_int_equal(leat_pub_send(p, "x", 1, NULL), -EAGAIN);
    assert_true(bus_payload_is(m[0].data, 16, 1));
    assert_int_equal(leat_sub_release(s, &m[0]), 0);
    assert_int_equal(leat_sub_receive(s, &m[1]), 0);
    for (uint64_t n = 17; n <= 32; n++)
        bus_send(p, n, 16);
    for (uint64_t n = 17; n <= 32; n++)
        bus_expect(s, n, 16);
    leat_sub_close(s);
    /* One that is closed holds nobody. */
    for (uint64_t n = 0; n < 100; n++)
        bus_send(p, n, 16);
    leat_pub_close(p);
}

static void
test_too_many_held(void **state)
{
    struct bus *b = *state;
    struct leat_msg m[16], one;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "sub.held", 16, LEAT_MEMORY);
    p = bus_pub(b, "sub.held", 0);
    s = bus_sub(b, "sub.held", LEAT_LIVE, LEAT_LATEST);
    for (uint64_t n = 1; n <= 16; n++)
        bus_send(p, n, 16);
    assert_int_equal(leat_sub_receive_many(s, m, 16), 16);
    assert_int_equal(leat_sub_receive(s, &one), -ENOBUFS);
    assert_non_null(strstr(leat_error(b->bus), "depth"));
    assert_int_equal(leat_sub_wait(s, 0), -ENOBUFS);
    assert_int_equal(leat_sub_release(s, &m[7]), 0);
    assert_int_equal(leat_sub_receive(s, &one), 0);
    for (unsigned i = 0; i < 16; i++)
        if (i != 7)
            assert_int_equal(leat_sub_release(s, &m[i]), 0);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
test_evicted(void **state)
{
    struct bus *b = *state;
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    struct leat_position to = at(LEAT_EARLIEST, 0);
    struct leat_msg held, m;
    leat_sub *s;
    leat_pub *p;
    int r;

    o.depth = 16;
    o.lag_ns = 20000000;
    assert_int_equal(leat_topic_create(b->bus, "sub.evict", &o), 0);
    p = bus_pub(b, "sub.evict", 10000000000);
    s = bus_sub(b, "sub.evict", LEAT_GATING, LEAT_LATEST);
    bus_send(p, 1, 16);
    assert_int_equal(leat_sub_receive(s, &held), 1);
    for (uint64_t n = 2; n <= 20; n++)
        bus_send(p, n, 16);
    r = leat_sub_wait(s, 0);
    assert_int_equal(r, -ESTALE);
    assert_non_null(strstr(leat_error(b->bus), "lag_ns"));
    assert_int_equal(leat_sub_receive(s, &m), -ESTALE);
    assert_int_equal(leat_sub_seek(s, &to), -EBUSY);
    assert_int_equal(leat_sub_release(s, &held), -ESTALE);
    assert_int_equal(leat_sub_seek(s, &to), 0);
    r = leat_sub_receive(s, &m);
    assert_int_equal(r, 1);
    assert_true(m.seq >= 5 && m.seq <= 20);
    assert_true(bus_payload_is(m.data, m.len, m.seq));
    assert_int_equal(leat_sub_release(s, &m), 0);
    for (uint64_t n = m.seq + 1; n <= 20; n++)
        bus_expect(s, n, 16);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* A publisher that waits finds what was released, also if no other call comes for long. */
static void
test_waiting_publishers_find_a_release(void **state)
{
    struct bus *b = *state;
    struct ring_control *c;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "sub.release", 256, LEAT_MEMORY);
    p = bus_pub(b, "sub.release", LEAT_NO_WAIT);
    s = bus_sub(b, "sub.release", LEAT_GATING, LEAT_LATEST);
    for (uint64_t n = 1; n <= 3; n++)
        bus_send(p, n, 16);
    c = ring_control(&s->map.view);
    assert_true(s->owed_most > 3);
    (void)shm_event_arm(&c->space);
    for (uint64_t n = 1; n <= 3; n++) {
        /* As if they had been woken just now. */
        s->posted_ns = leat__now() + 1000000000;
        bus_expect(s, n, 16);
        assert_int_equal(atom_load_relaxed(&s->ring.line->pos), n + 1);
        assert_true(atom_load_relaxed(&c->space) & 1u);
    }
    leat_sub_close(s);
    leat_pub_close(p);
}

/* Who has no message to come is told of its eviction all the same. */
static void
test_evicted_with_nothing_to_come(void **state)
{
    struct bus *b = *state;
    struct leat_msg m;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "sub.evict.idle", 64, LEAT_MEMORY);
    p = bus_pub(b, "sub.evict.idle", LEAT_NO_WAIT);
    s = bus_sub(b, "sub.evict.idle", LEAT_GATING, LEAT_LATEST);
    bus_send(p, 1, 16);
    bus_expect(s, 1, 16);
    ring_cursor_evict(&s->map.view, (uint32_t)(s->ring.line - ring_cursor(&s->map.view, 0)));
    assert_int_equal(leat_sub_receive(s, &m), -ESTALE);
    assert_int_equal(leat_sub_receive_many(s, &m, 1), -ESTALE);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
test_seek(void **state)
{
    struct bus *b = *state;
    struct leat_position to;
    struct leat_msg held;
    leat_sub *s;
    leat_pub *p;

    for (uint32_t kind = LEAT_LIVE; kind <= LEAT_GATING; kind++) {
        const char *topic = kind ? "sub.seek.gating" : "sub.seek.live";
        bus_topic(b, topic, 64, LEAT_MEMORY);
        p = bus_pub(b, topic, LEAT_NO_WAIT);
        s = bus_sub(b, topic, kind, LEAT_LATEST);
        for (uint64_t n = 1; n <= 40; n++)
            bus_send(p, n, 16);
        to = at(LEAT_AT_SEQ, 30);
        assert_int_equal(leat_sub_seek(s, &to), 0);
        assert_int_equal(leat_sub_receive(s, &held), 1);
        assert_int_equal(held.seq, 30);
        to = at(LEAT_LAST_N, 5);
        assert_int_equal(leat_sub_seek(s, &to), 0);
        bus_expect(s, 36, 16);
        to = at(LEAT_AT_SEQ, 30);
        assert_int_equal(leat_sub_seek(s, &to), 0);
        bus_expect(s, 30, 16); /* also while it is held */
        assert_true(bus_payload_is(held.data, held.len, 30));
        assert_int_equal(leat_sub_release(s, &held), 0);
        bus_expect(s, 31, 16);
        to = at(LEAT_LATEST, 0);
        assert_int_equal(leat_sub_seek(s, &to), 0);
        assert_int_equal(leat_sub_wait(s, 0), 0);
        to = at(LEAT_AT_SEQ, 1000);
        assert_int_equal(leat_sub_seek(s, &to), 0);
        bus_send(p, 41, 16);
        bus_expect(s, 41, 16);
        to = at(9, 0);
        assert_int_equal(leat_sub_seek(s, &to), -EINVAL);
        leat_sub_close(s);
        leat_pub_close(p);
    }
}

static void
test_seek_time(void **state)
{
    struct bus *b = *state;
    struct leat_position to;
    struct leat_msg m;
    uint64_t time_ns;
    leat_sub *s;
    leat_pub *p;
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;

    o.depth = 64;
    o.timestamps = LEAT_TIME_PRECISE;
    assert_int_equal(leat_topic_create(b->bus, "sub.time", &o), 0);
    p = bus_pub(b, "sub.time", 0);
    s = bus_sub(b, "sub.time", LEAT_LIVE, LEAT_LATEST);
    for (uint64_t n = 1; n <= 20; n++)
        bus_send(p, n, 16);
    to = at(LEAT_AT_SEQ, 10);
    assert_int_equal(leat_sub_seek(s, &to), 0);
    assert_int_equal(leat_sub_receive(s, &m), 1);
    time_ns = m.time_ns;
    assert_int_equal(leat_sub_release(s, &m), 0);
    to = at(LEAT_AT_TIME, time_ns);
    assert_int_equal(leat_sub_seek(s, &to), 0);
    assert_int_equal(leat_sub_receive(s, &m), 1);
    assert_true(m.time_ns >= time_ns && m.seq <= 10);
    assert_int_equal(leat_sub_release(s, &m), 0);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
test_named(void **state)
{
    struct bus *b = *state;
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    struct leat_sub_stat stat;
    leat_sub *s, *other = NULL;
    leat_pub *p;

    bus_topic(b, "sub.named", 64, LEAT_DISK);
    p = bus_pub(b, "sub.named", 0);
    o.name = "service";
    o.start = LEAT_EARLIEST;
    assert_int_equal(leat_sub_open(b->bus, "sub.named", &o, &s), 0);
    assert_int_equal(leat_sub_open(b->bus, "sub.named", &o, &other), -EBUSY);
    assert_null(other);
    for (uint64_t n = 1; n <= 10; n++)
        bus_send(p, n, 16);
    for (uint64_t n = 1; n <= 8; n++)
        bus_expect(s, n, 16);
    assert_int_equal(leat_sub_ack(s, 9), -EINVAL);
    assert_int_equal(leat_sub_ack(s, 0), -EINVAL);
    assert_int_equal(leat_sub_ack(s, 5), 0);
    assert_int_equal(leat_sub_ack(s, 3), 0);
    assert_int_equal(leat_sub_stat(s, &stat), 0);
    assert_int_equal(stat.acked, 6);
    /* A floor is never ahead of what is on disk. */
    assert_int_equal(leat_pub_wait_durable(p, 10, 10000000000), 0);
    leat_sub_close(s);
    assert_int_equal(leat_sub_open(b->bus, "sub.named", &o, &s), 0);
    bus_expect(s, 6, 16);
    leat_sub_close(s);
    assert_int_equal(leat_sub_remove(b->bus, "sub.named", "service"), 0);
    assert_int_equal(leat_sub_remove(b->bus, "sub.named", "service"), -ENOENT);
    s = bus_sub(b, "sub.named", LEAT_DURABLE, LEAT_LATEST);
    assert_int_equal(leat_sub_ack(s, 1), -EINVAL);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
test_durable_only(void **state)
{
    struct bus *b = *state;
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    struct leat_topic_info info;
    struct leat_msg m;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "sub.donly", 1024, LEAT_DISK);
    p = bus_pub(b, "sub.donly", 0);
    o.kind = LEAT_DURABLE;
    o.durable_only = 1;
    assert_int_equal(leat_sub_open(b->bus, "sub.donly", &o, &s), 0);
    for (uint64_t n = 1; n <= 200; n++) {
        bus_send(p, n, 16);
        assert_int_equal(leat_sub_wait(s, 10000000000), 1);
        assert_int_equal(leat_sub_receive(s, &m), 1);
        assert_int_equal(leat_topic_info(b->bus, "sub.donly", &info), 0);
        assert_true(info.durable >= m.seq);
        assert_int_equal(leat_sub_release(s, &m), 0);
    }
    leat_sub_close(s);
    bus_topic(b, "sub.donly.memory", 16, LEAT_MEMORY);
    o.kind = LEAT_LIVE;
    assert_int_equal(leat_sub_open(b->bus, "sub.donly.memory", &o, &s), -EINVAL);
    leat_pub_close(p);
}

struct sender {
    leat_pub *p;
    uint64_t from, to;
    int64_t pause_ns;
};

/* A pause that ends by the clock paces a sender; nothing is concluded from it. */
static void *
send_slowly(void *arg)
{
    const struct sender *w = arg;

    for (uint64_t n = w->from; n <= w->to; n++) {
        int64_t until = bus_now() + w->pause_ns;
        while (bus_now() < until)
            (void)poll(NULL, 0, 1);
        bus_send(w->p, n, 16);
    }
    return NULL;
}

static void
test_wait(void **state)
{
    struct bus *b = *state;
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    struct leat_sub_stat stat;
    pthread_t thread;
    leat_sub *s;

    bus_topic(b, "sub.wait", 64, LEAT_MEMORY);
    for (o.wait = LEAT_WAIT_ADAPTIVE; o.wait <= LEAT_WAIT_SLEEP; o.wait++) {
        struct sender w = {
            .p = bus_pub(b, "sub.wait", 0), .from = 1, .to = 10, .pause_ns = 3000000};
        int64_t before = bus_now();
        assert_int_equal(leat_sub_open(b->bus, "sub.wait", &o, &s), 0);
        assert_int_equal(leat_sub_wait(s, 20000000), 0);
        assert_true(bus_now() - before >= 20000000);
        assert_int_equal(pthread_create(&thread, NULL, send_slowly, &w), 0);
        for (uint64_t n = 1; n <= 10; n++)
            bus_expect(s, n, 16);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(leat_sub_stat(s, &stat), 0);
        assert_int_equal(stat.received, 10);
        assert_true(o.wait == LEAT_WAIT_SPIN ? !stat.waits : stat.waits > 0);
        leat_sub_close(s);
        leat_pub_close(w.p);
    }
}

static void
test_removed(void **state)
{
    struct bus *b = *state;
    struct leat_msg m;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "sub.removed", 64, LEAT_MEMORY);
    p = bus_pub(b, "sub.removed", 0);
    s = bus_sub(b, "sub.removed", LEAT_GATING, LEAT_LATEST);
    for (uint64_t n = 1; n <= 3; n++)
        bus_send(p, n, 16);
    assert_int_equal(leat_topic_remove(b->bus, "sub.removed"), 0);
    for (uint64_t n = 1; n <= 3; n++)
        bus_expect(s, n, 16);
    assert_int_equal(leat_sub_receive(s, &m), -EIDRM);
    assert_int_equal(leat_sub_wait(s, -1), -EIDRM);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* What a subscriber can write is the control object, never a message. */
static void
test_read_only(void **state)
{
    struct bus *b = *state;
    pid_t child;
    leat_sub *s;
    leat_pub *p;
    struct leat_msg m;
    int status;

    bus_topic(b, "sub.ro", 64, LEAT_MEMORY);
    p = bus_pub(b, "sub.ro", 0);
    bus_send(p, 1, 16);
    child = fork();
    if (!child) {
        leat_bus *bus;
        struct leat_options o = LEAT_OPTIONS_INIT;
        struct leat_sub_options so = LEAT_SUB_OPTIONS_INIT;
        o.path = b->path;
        so.start = LEAT_EARLIEST;
        (void)signal(SIGSEGV, SIG_DFL);
        if (leat_open(&o, &bus) || leat_sub_open(bus, "sub.ro", &so, &s) ||
            leat_sub_receive(s, &m) != 1)
            _exit(1);
        *(char *)(uintptr_t)m.data = 'x';
        _exit(2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    leat_pub_close(p);
}

/* A position that somebody else moved in shared memory is told as a gap at worst: the reader has
 * its own. */
static void
test_private_position(void **state)
{
    struct bus *b = *state;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "sub.private", 64, LEAT_MEMORY);
    p = bus_pub(b, "sub.private", LEAT_NO_WAIT);
    s = bus_sub(b, "sub.private", LEAT_GATING, LEAT_LATEST);
    for (uint64_t n = 1; n <= 10; n++)
        bus_send(p, n, 16);
    atom_store_relaxed(&s->ring.line->pos, 9);
    for (uint64_t n = 1; n <= 10; n++)
        bus_expect(s, n, 16);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* One that has read everything and finds its shared position moved back by somebody puts it right: it would hold the
 * publishers for ever. */
static void
test_position_put_right(void **state)
{
    struct bus *b = *state;
    leat_pub *p;
    leat_sub *s;
    struct leat_msg m;

    bus_topic(b, "sub.right", 8, LEAT_MEMORY);
    p = bus_pub(b, "sub.right", LEAT_NO_WAIT);
    s = bus_sub(b, "sub.right", LEAT_GATING, LEAT_LATEST);
    for (uint64_t n = 0; n < 8; n++) {
        bus_send(p, n, 16);
        bus_expect(s, n, 16);
    }
    assert_int_equal(leat_sub_receive(s, &m), 0);
    atom_store_relaxed(&s->ring.line->pos, 1);
    assert_int_equal(leat_pub_send(p, "x", 1, NULL), -EAGAIN);
    assert_int_equal(leat_sub_wait(s, 1000000), 0);
    assert_int_equal(leat_pub_send(p, "x", 1, NULL), 0);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
test_bad_arguments(void **state)
{
    struct bus *b = *state;
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    struct leat_position to = at(LEAT_LATEST, 0);
    struct leat_sub_stat stat;
    struct leat_msg m = {0};
    leat_sub *s = NULL;

    bus_topic(b, "sub.args", 16, LEAT_MEMORY);
    bus_topic(b, "sub.args.disk", 16, LEAT_DISK);
    assert_int_equal(leat_sub_open(NULL, "x", NULL, &s), -EINVAL);
    assert_int_equal(leat_sub_open(b->bus, "sub.args", NULL, NULL), -EINVAL);
    assert_int_equal(leat_sub_open(b->bus, "", NULL, &s), -EINVAL);
    assert_int_equal(leat_sub_open(b->bus, "sub.absent", NULL, &s), -ENOENT);
    o.kind = 7;
    assert_int_equal(leat_sub_open(b->bus, "sub.args", &o, &s), -EINVAL);
    o.kind = LEAT_DURABLE;
    assert_int_equal(leat_sub_open(b->bus, "sub.args", &o, &s), -EINVAL);
    o.kind = LEAT_GATING;
    assert_int_equal(leat_sub_open(b->bus, "sub.args.disk", &o, &s), -EINVAL);
    o.name = "n";
    assert_int_equal(leat_sub_open(b->bus, "sub.args.disk", &o, &s), -EINVAL);
    o.kind = LEAT_LIVE;
    assert_int_equal(leat_sub_open(b->bus, "sub.args", &o, &s), -EINVAL);
    o.name = "no/name";
    assert_int_equal(leat_sub_open(b->bus, "sub.args.disk", &o, &s), -EINVAL);
    o.name = NULL;
    o.flags = 64;
    assert_int_equal(leat_sub_open(b->bus, "sub.args", &o, &s), -E2BIG);
    assert_null(s);
    s = bus_sub(b, "sub.args", LEAT_LIVE, LEAT_LATEST);
    assert_int_equal(leat_sub_receive(NULL, &m), -EINVAL);
    assert_int_equal(leat_sub_receive(s, NULL), -EINVAL);
    assert_int_equal(leat_sub_receive_many(s, &m, 0), -EINVAL);
    assert_int_equal(leat_sub_receive_many(s, NULL, 1), -EINVAL);
    assert_int_equal(leat_sub_release(s, NULL), -EINVAL);
    assert_int_equal(leat_sub_release(NULL, &m), -EINVAL);
    assert_int_equal(leat_sub_release(s, &m), -EINVAL);
    assert_int_equal(leat_sub_wait(NULL, 0), -EINVAL);
    assert_int_equal(leat_sub_fd(NULL), -EINVAL);
    assert_int_equal(leat_sub_seek(s, NULL), -EINVAL);
    assert_int_equal(leat_sub_seek(NULL, &to), -EINVAL);
    assert_int_equal(leat_sub_ack(NULL, 1), -EINVAL);
    assert_int_equal(leat_sub_stat(s, NULL), -EINVAL);
    assert_int_equal(leat_sub_stat(NULL, &stat), -EINVAL);
    assert_int_equal(leat_sub_remove(b->bus, "sub.args", NULL), -EINVAL);
    assert_null(leat_sub_close(NULL));
    leat_sub_close(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts),
        cmocka_unit_test(test_gap),
        cmocka_unit_test(test_gap_behind_messages),
        cmocka_unit_test(test_stale),
        cmocka_unit_test(test_stale_lane),
        cmocka_unit_test(test_gating_holds),
        cmocka_unit_test(test_too_many_held),
        cmocka_unit_test(test_evicted),
        cmocka_unit_test(test_waiting_publishers_find_a_release),
        cmocka_unit_test(test_evicted_with_nothing_to_come),
        cmocka_unit_test(test_seek),
        cmocka_unit_test(test_seek_time),
        cmocka_unit_test(test_named),
        cmocka_unit_test(test_durable_only),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_removed),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_private_position),
        cmocka_unit_test(test_position_put_right),
        cmocka_unit_test(test_bad_arguments),
    };

    return cmocka_run_group_tests(tests, bus_setup, bus_teardown);
}
