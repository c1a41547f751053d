/* Reading the log and changing over to the ring, against a real daemon. */
#include "tests/unit/client/bus.h"

#include "client/client.h"
#include "log/encode.h"
#include "tests/support/limits.h"

/* Lengths of all kinds: inline, in the lane, and so that batches end everywhere. */
static size_t
length_of(uint64_t n)
{
    static const size_t lens[] = {8, 20, 32, 33, 100, 500, 3000, 9000};

    return lens[n * 2654435761u % (sizeof lens / sizeof *lens)];
}

static void
send_run(leat_pub *p, uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n <= to; n++)
        assert_int_equal(bus_send(p, n, length_of(n)), n);
}

static void
expect_run(leat_sub *s, uint64_t from, uint64_t to)
{
    for (uint64_t n = from; n <= to; n++)
        assert_int_equal(bus_expect(s, n, length_of(n)), n);
}

static uint32_t
is_from_log(leat_sub *s)
{
    struct leat_sub_stat stat;

    assert_int_equal(leat_sub_stat(s, &stat), 0);
    return stat.from_log;
}

/* From the first message on, long gone from the ring, to the newest. */
static void
test_from_the_beginning(void **state)
{
    struct bus *b = *state;
    struct leat_sub_stat stat;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "log.begin", 64, LEAT_DISK);
    p = bus_pub(b, "log.begin", 0);
    send_run(p, 1, 5000);
    s = bus_sub(b, "log.begin", LEAT_DURABLE, LEAT_EARLIEST);
    assert_int_equal(is_from_log(s), 1);
    expect_run(s, 1, 5000);
    assert_int_equal(leat_sub_wait(s, 0), 0);
    assert_int_equal(is_from_log(s), 0);
    send_run(p, 5001, 5010);
    expect_run(s, 5001, 5010);
    assert_int_equal(leat_sub_stat(s, &stat), 0);
    assert_int_equal(stat.received, 5010);
    assert_int_equal(stat.lost, 0);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* A reader that is overtaken, again and again, gets everything once. */
static void
test_in_and_out(void **state)
{
    struct bus *b = *state;
    uint64_t sent = 0, got = 0;
    leat_sub *s;
    leat_pub *p;
    unsigned from_log = 0;

    bus_topic(b, "log.inout", 64, LEAT_DISK);
    p = bus_pub(b, "log.inout", 0);
    s = bus_sub(b, "log.inout", LEAT_DURABLE, LEAT_LATEST);
    for (unsigned round = 0; round < 40; round++) {
        uint64_t more = round % 3 ? 200 : 10;
        send_run(p, sent + 1, sent + more);
        sent += more;
        expect_run(s, got + 1, sent - 3);
        got = sent - 3;
        from_log += is_from_log(s);
    }
    expect_run(s, got + 1, sent);
    assert_true(from_log > 0);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
test_middle(void **state)
{
    struct bus *b = *state;
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    struct leat_position to = {.start = LEAT_AT_SEQ, .value = 1234};
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "log.middle", 64, LEAT_DISK);
    p = bus_pub(b, "log.middle", 0);
    send_run(p, 1, 4000);
    o.kind = LEAT_DURABLE;
    o.start = LEAT_AT_SEQ;
    o.start_value = 2777;
    assert_int_equal(leat_sub_open(b->bus, "log.middle", &o, &s), 0);
    expect_run(s, 2777, 2800);
    assert_int_equal(leat_sub_seek(s, &to), 0);
    expect_run(s, 1234, 4000);
    to.value = 1;
    assert_int_equal(leat_sub_seek(s, &to), 0);
    expect_run(s, 1, 10);
    to.start = LEAT_LATEST;
    assert_int_equal(leat_sub_seek(s, &to), 0);
    assert_int_equal(leat_sub_wait(s, 0), 0);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* Sends what is longer than a slot until the log has lost all that is below `seq`; the last number. */
static uint64_t
send_until_lost(const leat_sub *s, leat_pub *p, uint64_t sent, uint64_t seq)
{
    while (atom_load_relaxed(&ring_daemon(&s->map.view)->log_first) < seq) {
        sent++;
        assert_int_equal(bus_send(p, sent, 200), sent);
        assert_int_equal(leat_pub_wait_durable(p, sent, 10000000000), 0);
    }
    return sent;
}

/* The log keeps less than the ring: nothing is lost that either of them has. */
static void
test_short_retention(void **state)
{
    struct bus *b = *state;
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    struct leat_position to = {.start = LEAT_AT_SEQ};
    const uint64_t depth = 65536;
    uint64_t sent = depth;
    struct leat_msg m;
    leat_sub *s;
    leat_pub *p;

    o.depth = depth;
    o.slot_size = 256;
    o.lane_size = 65536;
    o.durability = LEAT_DISK;
    o.retention_bytes = 1u << 20;
    assert_int_equal(leat_topic_create(b->bus, "log.short", &o), 0);
    p = bus_pub(b, "log.short", 0);
    s = bus_sub(b, "log.short", LEAT_DURABLE, LEAT_LATEST);
    for (uint64_t n = 1; n <= sent; n++)
        assert_int_equal(bus_send(p, n, 200), n);
    /* The ring has begun to go round, and the log begins in the middle of it. */
    sent++;
    assert_int_equal(bus_send(p, sent, 200), sent);
    sent = send_until_lost(s, p, sent, depth / 2);
    assert_int_equal(leat_sub_receive(s, &m), LEAT_GAP);
    assert_int_equal(m.first + m.lost, ring_oldest(&s->map.view));
    to.value = sent - depth + 10;
    assert_true(to.value < atom_load_relaxed(&ring_daemon(&s->map.view)->log_first));
    assert_int_equal(leat_sub_seek(s, &to), 0);
    for (uint64_t n = to.value; n <= sent; n++)
        assert_int_equal(bus_expect(s, n, 200), n);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* Messages from the log stay as they are while held, whatever is read meanwhile. */
static void
test_held(void **state)
{
    struct bus *b = *state;
    struct leat_msg m[50];
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "log.held", 64, LEAT_DISK);
    p = bus_pub(b, "log.held", 0);
    send_run(p, 1, 3000);
    s = bus_sub(b, "log.held", LEAT_DURABLE, LEAT_EARLIEST);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(leat_sub_wait(s, 10000000000), 1);
        assert_int_equal(leat_sub_receive(s, &m[i]), 1);
        for (uint64_t n = m[i].seq + 1; n < m[i].seq + 40; n++)
            bus_expect(s, n, length_of(n));
    }
    for (unsigned i = 0; i < 50; i++) {
        assert_true(bus_payload_is(m[i].data, m[i].len, m[i].seq));
        if (i % 2)
            assert_int_equal(leat_sub_release(s, &m[i]), 0);
    }
    /* What is not released is freed with the subscription. */
    leat_sub_close(s);
    leat_pub_close(p);
}

/* A message longer than a batch stands in pieces. */
static void
test_pieces(void **state)
{
    static const size_t lens[] = {100, 5000000, 20, 1048576, 3000000, 1048496, 1048456, 7, 4000000};
    const unsigned count = sizeof lens / sizeof *lens;
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    struct bus *b = *state;
    leat_sub *s;
    leat_pub *p;

    o.depth = 8;
    o.lane_size = 16 << 20;
    o.durability = LEAT_DISK;
    assert_int_equal(leat_topic_create(b->bus, "log.pieces", &o), 0);
    p = bus_pub(b, "log.pieces", 0);
    for (uint64_t n = 0; n < 2 * count; n++)
        bus_send(p, n, lens[n % count] < 8 ? 8 : lens[n % count]);
    for (uint64_t n = 0; n < 40; n++)
        bus_send(p, n, 8);
    s = bus_sub(b, "log.pieces", LEAT_DURABLE, LEAT_EARLIEST);
    for (uint64_t n = 0; n < 2 * count; n++)
        bus_expect(s, n, lens[n % count] < 8 ? 8 : lens[n % count]);
    for (uint64_t n = 0; n < 40; n++)
        bus_expect(s, n, 8);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* Overwritten while it was held: a durable reader is given it again. */
static void
test_stale_comes_again(void **state)
{
    struct bus *b = *state;
    struct leat_sub_stat stat;
    struct leat_msg m[3];
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "log.stale", 64, LEAT_DISK);
    p = bus_pub(b, "log.stale", 0);
    s = bus_sub(b, "log.stale", LEAT_DURABLE, LEAT_LATEST);
    send_run(p, 1, 3);
    assert_int_equal(leat_sub_receive_many(s, m, 3), 3);
    send_run(p, 4, 300);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(leat_sub_release(s, &m[i]), -ESTALE);
    assert_int_equal(leat_sub_receive(s, &m[0]), 1);
    assert_int_equal(m[0].seq, 1);
    assert_int_equal(m[0].attempts, 2);
    assert_true(bus_payload_is(m[0].data, m[0].len, 1));
    assert_int_equal(leat_sub_release(s, &m[0]), 0);
    expect_run(s, 2, 300);
    assert_int_equal(leat_sub_stat(s, &stat), 0);
    assert_int_equal(stat.stale, 3);
    assert_int_equal(stat.received, 300);
    assert_int_equal(stat.lost, 0);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* It goes back while a gap is still to be told: what is gone is told from where it stands then. */
static void
test_stale_before_a_gap(void **state)
{
    struct bus *b = *state;
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    uint64_t sent, next = 4;
    struct leat_msg held[3], m;
    struct leat_sub_stat stat;
    leat_sub *s;
    leat_pub *p;

    o.depth = 64;
    o.lane_size = 65536;
    o.durability = LEAT_DISK;
    o.retention_bytes = 1u << 20;
    assert_int_equal(leat_topic_create(b->bus, "log.stalegap", &o), 0);
    p = bus_pub(b, "log.stalegap", 0);
    s = bus_sub(b, "log.stalegap", LEAT_DURABLE, LEAT_LATEST);
    send_run(p, 1, 3);
    assert_int_equal(leat_sub_receive_many(s, held, 3), 3);
    for (sent = 4; sent <= 300; sent++)
        assert_int_equal(bus_send(p, sent, 200), sent);
    sent--;
    assert_int_equal(bus_expect(s, next, 200), next);
    assert_int_equal(is_from_log(s), 1);
    /* The segment that it reads has lost its name, and the next one too. */
    sent = send_until_lost(s, p, sent, sent);
    sent = send_until_lost(s, p, sent, sent + 1);
    while (!s->gap_lost) {
        next++;
        assert_int_equal(bus_expect(s, next, 200), next);
        assert_int_equal(leat_sub_wait(s, 10000000000), 1);
    }
    assert_int_equal(leat_sub_stat(s, &stat), 0);
    assert_int_equal(stat.next, next + 1);
    assert_int_equal(leat_sub_release(s, &held[1]), -ESTALE);
    assert_int_equal(leat_sub_release(s, &held[0]), -ESTALE);
    assert_int_equal(leat_sub_wait(s, 10000000000), 1);
    assert_int_equal(leat_sub_release(s, &held[2]), -ESTALE);
    assert_int_equal(leat_sub_receive(s, &m), LEAT_GAP);
    assert_int_equal(m.first, 1);
    assert_true(m.lost > next);
    for (next = m.first + m.lost; next <= sent; next++)
        assert_int_equal(bus_expect(s, next, 200), next);
    assert_int_equal(leat_sub_stat(s, &stat), 0);
    assert_int_equal(stat.received + stat.lost, sent);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* What was held when the reader was moved is lost to it, and moves it back no more. */
static void
test_stale_before_a_seek(void **state)
{
    struct leat_position newest = {.start = LEAT_LATEST};
    struct bus *b = *state;
    struct leat_sub_stat stat;
    struct leat_msg held, m;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "log.staleseek", 64, LEAT_DISK);
    p = bus_pub(b, "log.staleseek", 0);
    s = bus_sub(b, "log.staleseek", LEAT_DURABLE, LEAT_LATEST);
    send_run(p, 1, 1);
    assert_int_equal(leat_sub_receive(s, &held), 1);
    send_run(p, 2, 300);
    assert_int_equal(leat_sub_seek(s, &newest), 0);
    assert_int_equal(leat_sub_release(s, &held), -ESTALE);
    assert_int_equal(leat_sub_receive(s, &m), 0);
    assert_int_equal(leat_sub_stat(s, &stat), 0);
    assert_int_equal(stat.next, 301);
    assert_int_equal(stat.received, 0);
    assert_int_equal(stat.lost, 1);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* The lane, the log and the ring each reach less far back: what is gone is told in few pieces. */
static void
test_log_shorter_than_ring(void **state)
{
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    struct bus *b = *state;
    uint64_t sent = 0, first, next = 1;
    unsigned gaps = 0;
    struct leat_msg m;
    leat_sub *s;
    leat_pub *p;

    o.depth = 16384;
    o.lane_size = 65536;
    o.durability = LEAT_DISK;
    o.retention_bytes = 1u << 20;
    assert_int_equal(leat_topic_create(b->bus, "log.lanes", &o), 0);
    p = bus_pub(b, "log.lanes", 0);
    s = bus_sub(b, "log.lanes", LEAT_DURABLE, LEAT_LATEST);
    do {
        sent++;
        assert_int_equal(bus_send(p, sent, 200), sent);
        if (sent % 500 == 0)
            assert_int_equal(leat_pub_wait_durable(p, sent, 10000000000), 0);
        first = atom_load_relaxed(&ring_daemon(&s->map.view)->log_first);
    } while (first < 4000);
    assert_int_equal(leat_pub_wait_durable(p, sent, 10000000000), 0);
    while (next <= sent) {
        assert_int_equal(leat_sub_wait(s, 10000000000), 1);
        if (leat_sub_receive(s, &m) == LEAT_GAP) {
            assert_int_equal(m.first, next);
            next += m.lost;
            gaps++;
            continue;
        }
        assert_int_equal(m.seq, next);
        assert_int_equal(leat_sub_release(s, &m), 0);
        next++;
    }
    assert_in_range(gaps, 1, 20);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* Place 2 was aborted, place 1's payload is gone, the log begins later than both: one message is lost. */
static void
test_aborted_before_a_short_log(void **state)
{
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    struct bus *b = *state;
    uint64_t sent = 0, first;
    struct leat_msg m;
    struct leat_sub_stat stat;
    leat_sub *s;
    leat_pub *p;

    o.depth = 16384;
    o.slot_size = 256;
    o.lane_size = 65536;
    o.durability = LEAT_DISK;
    o.retention_bytes = 1u << 20;
    assert_int_equal(leat_topic_create(b->bus, "log.aborted", &o), 0);
    p = bus_pub(b, "log.aborted", 0);
    s = bus_sub(b, "log.aborted", LEAT_DURABLE, LEAT_LATEST);
    assert_int_equal(bus_send(p, ++sent, 4000), 1);
    do {
        sent++;
        assert_int_equal(bus_send(p, sent, sent % 50 ? 200 : 4000), sent);
        if (sent % 500 == 0)
            assert_int_equal(leat_pub_wait_durable(p, sent, 10000000000), 0);
        first = atom_load_relaxed(&ring_daemon(&s->map.view)->log_first);
    } while (first < 100);
    assert_int_equal(leat_pub_wait_durable(p, sent, 10000000000), 0);
    assert_in_range(sent, 1, 16000);
    assert_true(atom_load_relaxed(&ring_line(&s->map.view, 0)->reclaimed) > 0);
    /* as the orphan rule leaves it */
    atom_store_release(&ring_slot(&p->map.view, 2)->stamp, ring_stamp(2, RING_ABORTED));
    assert_int_equal(leat_sub_wait(s, 10000000000), 1);
    assert_int_equal(leat_sub_receive(s, &m), LEAT_GAP);
    assert_int_equal(leat_sub_stat(s, &stat), 0);
    assert_int_equal(m.first, 1);
    assert_int_equal(m.lost, 1);
    assert_int_equal(leat_sub_wait(s, 10000000000), 1);
    assert_int_equal(leat_sub_receive(s, &m), 1);
    assert_int_equal(m.seq, 3);
    leat_sub_release(s, &m);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* A segment that cannot be used is said to be bad each time, and read as soon as it is good. */
static void
test_damaged_header(void **state)
{
    struct bus *b = *state;
    struct leat_msg m;
    unsigned char byte;
    char path[200];
    leat_sub *s;
    leat_pub *p;
    int fd;

    bus_topic(b, "log.header", 64, LEAT_DISK);
    p = bus_pub(b, "log.header", 0);
    send_run(p, 1, 500);
    assert_int_equal(leat_pub_wait_durable(p, 500, 10000000000), 0);
    (void)snprintf(path, sizeof path, "%s/log.header/%020d.seg", b->store, 1);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, 16), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 16), 1);
    s = bus_sub(b, "log.header", LEAT_DURABLE, LEAT_EARLIEST);
    for (int i = 0; i < 3; i++)
        assert_int_equal(leat_sub_receive(s, &m), -EBADMSG);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 16), 1);
    close(fd);
    expect_run(s, 1, 500);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* No memory for a message that is put together from pieces: it comes when there is. */
static void
test_no_memory_for_pieces(void **state)
{
    const char *sanitized = getenv("LEAT_SANITIZED");
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    struct bus *b = *state;
    struct leat_msg m;
    leat_sub *s;
    leat_pub *p;

    if (sanitized && *sanitized)
        skip(); /* its memory cannot be limited */
    o.depth = 8;
    o.lane_size = 32u << 20;
    o.durability = LEAT_DISK;
    assert_int_equal(leat_topic_create(b->bus, "log.nomem", &o), 0);
    p = bus_pub(b, "log.nomem", 0);
    assert_int_equal(bus_send(p, 1, 8), 1);
    assert_int_equal(bus_send(p, 2, 15000000), 2);
    for (uint64_t n = 3; n <= 60; n++)
        assert_int_equal(bus_send(p, n, 8), n);
    assert_int_equal(leat_pub_wait_durable(p, 60, 10000000000), 0);
    s = bus_sub(b, "log.nomem", LEAT_DURABLE, LEAT_EARLIEST);
    assert_int_equal(bus_expect(s, 1, 8), 1);
    assert_true(limits_take_memory(3u << 20));
    assert_int_equal(leat_sub_receive(s, &m), -ENOMEM);
    assert_true(limits_free_memory());
    assert_int_equal(bus_expect(s, 2, 15000000), 2);
    assert_int_equal(bus_expect(s, 3, 8), 3);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* Without the daemon a reader of the log has nothing, and goes on by itself when it is back. */
static void
test_daemon_away(void **state)
{
    struct bus *b = *state;
    struct leat_msg m;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "log.away", 64, LEAT_DISK);
    p = bus_pub(b, "log.away", 0);
    send_run(p, 1, 1000);
    assert_int_equal(leat_pub_wait_durable(p, 1000, 10000000000), 0);
    s = bus_sub(b, "log.away", LEAT_DURABLE, LEAT_EARLIEST);
    bus_kill(b, SIGKILL);
    assert_int_equal(leat_sub_receive(s, &m), 0);
    assert_int_equal(leat_sub_wait(s, 0), 0);
    assert_int_equal(leat_sub_wait(s, 50000000), 0);
    /* The ring takes what fits it, daemon or not. */
    send_run(p, 1001, 1010);
    bus_launch(b);
    expect_run(s, 1, 1010);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* After the shared memory is gone: the ring is empty, and all there was is in the log. */
static void
test_after_reboot(void **state)
{
    struct bus *b = *state;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "log.reboot", 64, LEAT_DISK);
    p = bus_pub(b, "log.reboot", 0);
    send_run(p, 1, 700);
    assert_int_equal(leat_pub_wait_durable(p, 700, 10000000000), 0);
    leat_pub_close(p);
    b->bus = leat_close(b->bus);
    bus_kill(b, SIGKILL);
    bus_forget_memory(b);
    bus_launch(b);
    bus_open(b);
    s = bus_sub(b, "log.reboot", LEAT_DURABLE, LEAT_EARLIEST);
    p = bus_pub(b, "log.reboot", 0);
    send_run(p, 701, 720);
    expect_run(s, 1, 720);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
segments(const struct bus *b, const char *topic, void (*each)(const char *path))
{
    char folder[256], path[600];
    const struct dirent *e;
    uint64_t first;
    DIR *d;

    (void)snprintf(folder, sizeof folder, "%s/%s", b->store, topic);
    d = opendir(folder);
    assert_non_null(d);
    while ((e = readdir(d))) {
        if (log_segment_parse(e->d_name, &first))
            continue;
        (void)snprintf(path, sizeof path, "%s/%.255s", folder, e->d_name);
        each(path);
    }
    closedir(d);
}

static uint64_t damage_at;

static void
damage(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    char byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)damage_at), 1);
    byte = (char)(byte ^ 1);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)damage_at), 1);
    close(fd);
}

static void
test_damaged_batch(void **state)
{
    struct bus *b = *state;
    struct leat_msg m;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "log.damaged", 64, LEAT_DISK);
    p = bus_pub(b, "log.damaged", 0);
    send_run(p, 1, 500);
    assert_int_equal(leat_pub_wait_durable(p, 500, 10000000000), 0);
    damage_at = LOG_BLOCK + 200;
    segments(b, "log.damaged", damage);
    s = bus_sub(b, "log.damaged", LEAT_DURABLE, LEAT_EARLIEST);
    assert_int_equal(leat_sub_receive(s, &m), -EBADMSG);
    assert_non_null(strstr(leat_error(b->bus), "log.damaged"));
    assert_int_equal(leat_sub_wait(s, 1000000000), -EBADMSG);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* Adds a batch to a segment, and begins the next one before it: as if its write had failed when its
 * bytes were there, and the power had gone when the next file had a header. */
static void
give_up(const char *folder)
{
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = openat(dir, "00000000000000000001.seg", O_RDWR | O_CLOEXEC);
    struct log_source source = log_fd_source(&fd);
    struct log_segment_info info = {.topic = "log.given_up"};
    unsigned char *buf = malloc(LOG_BATCH_MAX);
    struct log_segment_header h;
    struct log_encoder e;
    struct log_walk w;
    struct log_chain chain;
    char name[LOG_NAME_ROOM];
    uint32_t len;

    assert_non_null(buf);
    assert_int_equal(log_segment_check(&source, &h), 0);
    log_walk_begin(&w, &source, &h, buf);
    while (log_walk_next(&w) == 1)
        ;
    chain = w.chain;
    assert_int_equal(log_batch_begin(&e, &chain, buf, LOG_BATCH_MAX), 0);
    for (uint64_t n = 0; n < 5; n++) {
        const struct log_piece p = {
            .seq = w.chain.next + n, .len = 9, .total = 9, .data = "never was"};
        assert_int_equal(log_batch_add(&e, &p, NULL), 0);
    }
    len = log_batch_end(&e, &chain, w.offset, w.chain.next - 1, w.chain.time_ns);
    assert_int_equal(pwrite(fd, buf, len, (off_t)w.offset), len);
    close(fd);
    info.topic_id = h.topic_id;
    info.first = w.chain.next;
    info.previous = w.chain.hash;
    info.size = h.size;
    log_segment_begin(buf, &info);
    log_segment_name(info.first, name);
    fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, buf, LOG_BLOCK, 0), LOG_BLOCK);
    assert_int_equal(ftruncate(fd, (off_t)h.size), 0);
    close(fd);
    close(dir);
    free(buf);
}

/* What stands in a segment behind the beginning of the next one is nobody's: its numbers were given
 * to others. */
static void
test_given_up(void **state)
{
    struct bus *b = *state;
    char folder[256];
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "log.given_up", 64, LEAT_DISK);
    p = bus_pub(b, "log.given_up", 0);
    send_run(p, 1, 500);
    assert_int_equal(leat_pub_wait_durable(p, 500, 10000000000), 0);
    leat_pub_close(p);
    b->bus = leat_close(b->bus);
    bus_kill(b, SIGKILL);
    bus_forget_memory(b);
    (void)snprintf(folder, sizeof folder, "%s/log.given_up", b->store);
    give_up(folder);
    bus_launch(b);
    bus_open(b);
    p = bus_pub(b, "log.given_up", 0);
    send_run(p, 501, 900);
    assert_int_equal(leat_pub_wait_durable(p, 900, 10000000000), 0);
    s = bus_sub(b, "log.given_up", LEAT_DURABLE, LEAT_EARLIEST);
    expect_run(s, 1, 900);
    leat_sub_close(s);
    leat_pub_close(p);
}

/* What stands before the damage is walked over at each look, and must not keep the reader looking for ever. */
static void
test_damaged_later(void **state)
{
    struct bus *b = *state;
    struct leat_msg m;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "log.later", 64, LEAT_DISK);
    p = bus_pub(b, "log.later", 0);
    send_run(p, 1, 1);
    assert_int_equal(leat_pub_wait_durable(p, 1, 10000000000), 0);
    send_run(p, 2, 500);
    assert_int_equal(leat_pub_wait_durable(p, 500, 10000000000), 0);
    damage_at = LOG_BLOCK + sizeof(struct log_batch) + sizeof(struct log_record) +
                shm_align(length_of(1), 8) + 200;
    segments(b, "log.later", damage);
    s = bus_sub(b, "log.later", LEAT_DURABLE, LEAT_EARLIEST);
    expect_run(s, 1, 1);
    assert_int_equal(leat_sub_receive(s, &m), -EBADMSG);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
test_removed(void **state)
{
    struct bus *b = *state;
    uint64_t next, got = 0;
    int r;
    struct leat_msg m;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "log.removed", 64, LEAT_DISK);
    p = bus_pub(b, "log.removed", 0);
    send_run(p, 1, 500);
    assert_int_equal(leat_pub_wait_durable(p, 500, 10000000000), 0);
    s = bus_sub(b, "log.removed", LEAT_DURABLE, LEAT_EARLIEST);
    assert_int_equal(leat_topic_remove(b->bus, "log.removed"), 0);
    /* The log went with it: what is gone is told, what the ring has is read. */
    assert_int_equal(leat_sub_receive(s, &m), LEAT_GAP);
    assert_int_equal(m.first, 1);
    for (next = 1 + m.lost; next <= 500;) {
        r = leat_sub_receive(s, &m);
        if (r == LEAT_GAP) {
            /* The slot stood, its bytes in the lane did not. */
            assert_int_equal(m.first, next);
            next += m.lost;
            continue;
        }
        assert_int_equal(r, 1);
        assert_int_equal(m.seq, next++);
        assert_true(bus_payload_is(m.data, m.len, m.seq));
        assert_int_equal(leat_sub_release(s, &m), 0);
        got++;
    }
    assert_true(got > 0);
    assert_int_equal(next, 501);
    assert_int_equal(leat_sub_receive(s, &m), -EIDRM);
    leat_sub_close(s);
    leat_pub_close(p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_the_beginning),
        cmocka_unit_test(test_in_and_out),
        cmocka_unit_test(test_middle),
        cmocka_unit_test(test_short_retention),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_stale_comes_again),
        cmocka_unit_test(test_stale_before_a_gap),
        cmocka_unit_test(test_stale_before_a_seek),
        cmocka_unit_test(test_log_shorter_than_ring),
        cmocka_unit_test(test_aborted_before_a_short_log),
        cmocka_unit_test(test_damaged_header),
        cmocka_unit_test(test_no_memory_for_pieces),
        cmocka_unit_test(test_daemon_away),
        cmocka_unit_test(test_after_reboot),
        cmocka_unit_test(test_damaged_batch),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_damaged_later),
        cmocka_unit_test(test_removed),
    };

    return cmocka_run_group_tests(tests, bus_setup, bus_teardown);
}
