/* Publishing through the library, against a real daemon. */
#include "tests/unit/client/bus.h"

#include <pthread.h>

static void
test_small_and_large(void **state)
{
    static const size_t lens[] = {8, 31, 32, 33, 64, 100, 4096, 32767, 32768};
    struct bus *b = *state;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "pub.small", 64, LEAT_MEMORY);
    p = bus_pub(b, "pub.small", 0);
    s = bus_sub(b, "pub.small", LEAT_LIVE, LEAT_LATEST);
    for (uint64_t n = 0; n < sizeof lens / sizeof *lens; n++) {
        assert_int_equal(bus_send(p, n, lens[n]), n + 1);
        assert_int_equal(bus_expect(s, n, lens[n]), n + 1);
    }
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
test_empty_payload(void **state)
{
    struct bus *b = *state;
    struct leat_msg m;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "pub.empty", 64, LEAT_MEMORY);
    p = bus_pub(b, "pub.empty", 0);
    s = bus_sub(b, "pub.empty", LEAT_LIVE, LEAT_LATEST);
    assert_int_equal(leat_pub_send(p, NULL, 0, NULL), 0);
    assert_int_equal(leat_sub_receive(s, &m), 1);
    assert_int_equal(m.len, 0);
    assert_int_equal(leat_sub_release(s, &m), 0);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
test_key_type_time(void **state)
{
    struct bus *b = *state;
    struct leat_out out = {.data = "x", .len = 1, .key = 0x1122334455667788, .type = 0xabcd};
    struct leat_msg m;
    struct timespec ts;
    leat_sub *s;
    leat_pub *p;
    uint64_t now;

    bus_topic(b, "pub.key", 64, LEAT_MEMORY);
    p = bus_pub(b, "pub.key", 0);
    s = bus_sub(b, "pub.key", LEAT_LIVE, LEAT_LATEST);
    (void)clock_gettime(CLOCK_REALTIME_COARSE, &ts);
    now = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
    assert_int_equal(leat_pub_send_keyed(p, &out, NULL), 0);
    assert_int_equal(leat_sub_receive(s, &m), 1);
    assert_int_equal(m.key, out.key);
    assert_int_equal(m.type, out.type);
    assert_int_equal(m.attempts, 1);
    assert_true(m.time_ns >= now && m.time_ns < now + 1000000000);
    assert_int_equal(leat_sub_release(s, &m), 0);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
test_too_large(void **state)
{
    struct bus *b = *state;
    struct leat_loan loan = {.cap = 77};
    char *big = calloc(1, 40000);
    leat_pub *p;

    bus_topic(b, "pub.big", 64, LEAT_MEMORY);
    p = bus_pub(b, "pub.big", 0);
    assert_int_equal(leat_pub_send(p, big, 32769, NULL), -EMSGSIZE);
    assert_non_null(strstr(leat_error(b->bus), "payload_max"));
    assert_int_equal(leat_pub_loan(p, 32769, &loan), -EMSGSIZE);
    assert_int_equal(loan.cap, 77); /* untouched */
    leat_pub_close(p);
    free(big);
}

static void
test_loans(void **state)
{
    struct bus *b = *state;
    struct leat_loan a, c, again;
    struct leat_msg m;
    leat_sub *s;
    leat_pub *p;
    uint64_t seq;

    bus_topic(b, "pub.loan", 64, LEAT_MEMORY);
    p = bus_pub(b, "pub.loan", 0);
    s = bus_sub(b, "pub.loan", LEAT_LIVE, LEAT_LATEST);
    assert_int_equal(leat_pub_loan(p, 1000, &a), 0);
    assert_int_equal(leat_pub_loan(p, 2000, &c), 0);
    assert_int_equal(a.cap, 1000);
    bus_payload(a.data, 1000, 1);
    bus_payload(c.data, 500, 2);
    c.key = 5;
    again = c;
    /* The place in the order is the commit's. */
    assert_int_equal(leat_pub_commit(p, &c, 2001, &seq), -EMSGSIZE);
    assert_int_equal(leat_pub_commit(p, &c, 500, &seq), 0);
    assert_int_equal(seq, 1);
    assert_int_equal(leat_pub_commit(p, &again, 500, &seq), -EINVAL);
    assert_int_equal(leat_pub_commit(p, &c, 500, &seq), -EINVAL);
    assert_int_equal(leat_pub_commit(p, &a, 1000, &seq), 0);
    assert_int_equal(seq, 2);
    assert_int_equal(leat_sub_receive(s, &m), 1);
    assert_int_equal(m.key, 5);
    assert_true(m.len == 500 && bus_payload_is(m.data, 500, 2));
    assert_int_equal(leat_sub_release(s, &m), 0);
    assert_int_equal(bus_expect(s, 1, 1000), 2);
    /* One that is committed short enough stands in the slot. */
    assert_int_equal(leat_pub_loan(p, 1000, &a), 0);
    bus_payload(a.data, 20, 9);
    assert_int_equal(leat_pub_commit(p, &a, 20, NULL), 0);
    assert_int_equal(bus_expect(s, 9, 20), 3);
    assert_int_equal(leat_pub_loan(p, 1000, &a), 0);
    leat_pub_abort(p, &a);
    assert_null(a.data);
    leat_pub_abort(p, &a);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
test_lane_is_reused(void **state)
{
    struct bus *b = *state;
    struct leat_pub_stat stat;
    leat_sub *s;
    leat_pub *p;

    bus_topic(b, "pub.lane", 16, LEAT_MEMORY);
    p = bus_pub(b, "pub.lane", 0);
    s = bus_sub(b, "pub.lane", LEAT_GATING, LEAT_LATEST);
    for (uint64_t n = 0; n < 1000; n++) {
        size_t len = 33 + n * 37 % 20000;
        bus_send(p, n, len);
        bus_expect(s, n, len);
    }
    assert_int_equal(leat_pub_stat(p, &stat), 0);
    assert_int_equal(stat.published, 1000);
    assert_int_equal(stat.last_seq, 1000);
    assert_true(stat.lane_used <= 65536);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
test_lane_full(void **state)
{
    struct bus *b = *state;
    struct leat_loan loan[3];
    leat_pub *p;

    bus_topic(b, "pub.lanefull", 16, LEAT_MEMORY);
    p = bus_pub(b, "pub.lanefull", LEAT_NO_WAIT);
    assert_int_equal(leat_pub_loan(p, 32768, &loan[0]), 0);
    assert_int_equal(leat_pub_loan(p, 32768, &loan[1]), 0);
    assert_int_equal(leat_pub_loan(p, 64, &loan[2]), -EAGAIN);
    assert_non_null(strstr(leat_error(b->bus), "lane_size"));
    leat_pub_abort(p, &loan[0]);
    assert_int_equal(leat_pub_loan(p, 64, &loan[2]), 0);
    leat_pub_close(p);
}

static void
test_full(void **state)
{
    struct bus *b = *state;
    leat_sub *s;
    leat_pub *p;
    int64_t before;

    bus_topic(b, "pub.full", 16, LEAT_MEMORY);
    s = bus_sub(b, "pub.full", LEAT_GATING, LEAT_LATEST);
    p = bus_pub(b, "pub.full", LEAT_NO_WAIT);
    for (uint64_t n = 0; n < 16; n++)
        bus_send(p, n, 8);
    assert_int_equal(leat_pub_send(p, "x", 1, NULL), -EAGAIN);
    assert_non_null(strstr(leat_error(b->bus), "16 messages behind"));
    leat_pub_close(p);
    p = bus_pub(b, "pub.full", 30000000);
    before = bus_now();
    assert_int_equal(leat_pub_send(p, "x", 1, NULL), -EAGAIN);
    assert_true(bus_now() - before >= 30000000);
    assert_int_equal(bus_expect(s, 0, 8), 1);
    assert_int_equal(leat_sub_wait(s, 0), 1);
    assert_int_equal(bus_expect(s, 1, 8), 2);
    bus_send(p, 99, 8);
    leat_pub_close(p);
    leat_sub_close(s);
}

struct blocked {
    leat_pub *p;
    int result;
};

static void *
send_one(void *arg)
{
    struct blocked *w = arg;

    w->result = leat_pub_send(w->p, "x", 1, NULL);
    return NULL;
}

/* A publisher that sleeps for space is woken by the first release, whatever else it would have to
 * wait for. */
static void
test_space_wakes(void **state)
{
    struct bus *b = *state;
    struct blocked w = {.result = 1};
    struct leat_topic_info info;
    uint32_t index = 0;
    struct leat_inspect_pub seen = {0};
    leat_inspect *i;
    pthread_t thread;
    leat_sub *s;

    bus_topic(b, "pub.space", 1024, LEAT_MEMORY);
    s = bus_sub(b, "pub.space", LEAT_GATING, LEAT_LATEST);
    w.p = bus_pub(b, "pub.space", 0);
    for (uint64_t n = 0; n < 1024; n++)
        bus_send(w.p, n, 8);
    assert_int_equal(leat_inspect_open(b->path, &i), 0);
    assert_int_equal(pthread_create(&thread, NULL, send_one, &w), 0);
    while (!seen.blocked_since_ns) {
        index = 0;
        assert_int_equal(leat_inspect_pub(i, "pub.space", &index, &seen), 1);
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(bus_expect(s, 0, 8), 1);
    /* What the next call tells is seen. */
    assert_int_equal(leat_sub_wait(s, 0), 1);
    for (uint64_t n = 1; n < 128; n++)
        bus_expect(s, n, 8);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(w.result, 0);
    assert_int_equal(leat_topic_info(b->bus, "pub.space", &info), 0);
    assert_int_equal(info.tail, 1026);
    leat_inspect_close(i);
    leat_pub_close(w.p);
    leat_sub_close(s);
}

static void
test_many(void **state)
{
    struct bus *b = *state;
    struct leat_out out[32] = {0};
    unsigned char data[32][256];
    leat_sub *s;
    leat_pub *p;
    uint64_t first = 0;

    bus_topic(b, "pub.many", 64, LEAT_MEMORY);
    p = bus_pub(b, "pub.many", LEAT_NO_WAIT);
    s = bus_sub(b, "pub.many", LEAT_GATING, LEAT_LATEST);
    for (unsigned i = 0; i < 32; i++) {
        bus_payload(data[i], 8 + i * 7, i);
        out[i] = (struct leat_out){.data = data[i], .len = 8 + i * 7, .key = i};
    }
    assert_int_equal(leat_pub_send_many(p, out, 32, &first), 0);
    assert_int_equal(first, 1);
    assert_int_equal(leat_pub_send_many(p, out, 32, &first), 0);
    /* All or none: the ring has no room. */
    assert_int_equal(leat_pub_send_many(p, out, 2, &first), -EAGAIN);
    assert_int_equal(first, 33);
    for (unsigned n = 0; n < 64; n++)
        assert_int_equal(bus_expect(s, n % 32, 8 + n % 32 * 7), n + 1);
    assert_int_equal(leat_pub_send_many(p, out, 33, NULL), -EINVAL);
    assert_int_equal(leat_pub_send_many(p, out, 0, NULL), -EINVAL);
    out[3].data = NULL;
    assert_int_equal(leat_pub_send_many(p, out, 32, NULL), -EINVAL);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
test_many_too_large(void **state)
{
    struct bus *b = *state;
    char *big = calloc(1, 32768);
    struct leat_out out[3] = {
        {.data = big, .len = 32768}, {.data = big, .len = 32768}, {.data = big, .len = 100}};
    leat_pub *p;

    bus_topic(b, "pub.manybig", 64, LEAT_MEMORY);
    p = bus_pub(b, "pub.manybig", 0);
    assert_int_equal(leat_pub_send_many(p, out, 3, NULL), -EMSGSIZE);
    assert_int_equal(leat_pub_send_many(p, out, 1, NULL), 0);
    leat_pub_close(p);
    free(big);
}

static void
test_durable(void **state)
{
    struct bus *b = *state;
    leat_pub *p;
    uint64_t seq = 0;

    bus_topic(b, "pub.disk", 64, LEAT_DISK);
    p = bus_pub(b, "pub.disk", 0);
    for (uint64_t n = 0; n < 300; n++)
        seq = bus_send(p, n, 8 + n);
    assert_int_equal(leat_pub_wait_durable(p, seq, 10000000000), 0);
    assert_int_equal(leat_pub_wait_durable(p, seq + 1, 0), -ETIMEDOUT);
    assert_int_equal(leat_pub_wait_durable(p, seq + 1, 20000000), -ETIMEDOUT);
    leat_pub_close(p);
    bus_topic(b, "pub.memory", 64, LEAT_MEMORY);
    p = bus_pub(b, "pub.memory", 0);
    assert_int_equal(leat_pub_wait_durable(p, 1, 0), -EOPNOTSUPP);
    leat_pub_close(p);
}

static void
test_removed(void **state)
{
    struct bus *b = *state;
    leat_pub *p;

    bus_topic(b, "pub.removed", 64, LEAT_MEMORY);
    p = bus_pub(b, "pub.removed", 0);
    bus_send(p, 1, 8);
    assert_int_equal(leat_topic_remove(b->bus, "pub.removed"), 0);
    assert_int_equal(leat_pub_send(p, "x", 1, NULL), -EIDRM);
    leat_pub_close(p);
}

static void
test_places_run_out(void **state)
{
    struct bus *b = *state;
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    leat_pub *p[3] = {NULL, NULL, NULL};

    o.depth = 16;
    o.max_publishers = 2;
    assert_int_equal(leat_topic_create(b->bus, "pub.two", &o), 0);
    assert_int_equal(leat_pub_open(b->bus, "pub.two", NULL, &p[0]), 0);
    assert_int_equal(leat_pub_open(b->bus, "pub.two", NULL, &p[1]), 0);
    assert_int_equal(leat_pub_open(b->bus, "pub.two", NULL, &p[2]), -EBUSY);
    assert_null(p[2]);
    assert_non_null(strstr(leat_error(b->bus), "max_publishers"));
    p[0] = leat_pub_close(p[0]);
    assert_int_equal(leat_pub_open(b->bus, "pub.two", NULL, &p[2]), 0);
    leat_pub_close(p[1]);
    leat_pub_close(p[2]);
}

static void
test_bad_arguments(void **state)
{
    struct bus *b = *state;
    struct leat_pub_options o = LEAT_PUB_OPTIONS_INIT;
    struct leat_loan loan = {0};
    struct leat_pub_stat stat;
    leat_pub *p = NULL;

    assert_int_equal(leat_pub_open(NULL, "x", NULL, &p), -EINVAL);
    assert_int_equal(leat_pub_open(b->bus, "x", NULL, NULL), -EINVAL);
    assert_int_equal(leat_pub_open(b->bus, NULL, NULL, &p), -EINVAL);
    assert_int_equal(leat_pub_open(b->bus, "a/b", NULL, &p), -EINVAL);
    assert_int_equal(leat_pub_open(b->bus, "pub.absent", NULL, &p), -ENOENT);
    o.flags = 0x80;
    assert_int_equal(leat_pub_open(b->bus, "pub.absent", &o, &p), -E2BIG);
    assert_null(p);
    bus_topic(b, "pub.args", 16, LEAT_MEMORY);
    p = bus_pub(b, "pub.args", 0);
    assert_int_equal(leat_pub_send(NULL, "x", 1, NULL), -EINVAL);
    assert_int_equal(leat_pub_send(p, NULL, 1, NULL), -EINVAL);
    assert_int_equal(leat_pub_send_keyed(p, NULL, NULL), -EINVAL);
    assert_int_equal(leat_pub_send_many(p, NULL, 1, NULL), -EINVAL);
    assert_int_equal(leat_pub_loan(p, 1, NULL), -EINVAL);
    assert_int_equal(leat_pub_loan(NULL, 1, &loan), -EINVAL);
    assert_int_equal(leat_pub_commit(p, NULL, 0, NULL), -EINVAL);
    assert_int_equal(leat_pub_commit(p, &loan, 0, NULL), -EINVAL);
    leat_pub_abort(NULL, &loan);
    leat_pub_abort(p, NULL);
    leat_pub_abort(p, &loan);
    assert_int_equal(leat_pub_stat(p, NULL), -EINVAL);
    assert_int_equal(leat_pub_stat(NULL, &stat), -EINVAL);
    assert_int_equal(leat_pub_wait_durable(NULL, 1, 0), -EINVAL);
    assert_null(leat_pub_close(NULL));
    leat_pub_close(p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_and_large), cmocka_unit_test(test_empty_payload),
        cmocka_unit_test(test_key_type_time),   cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_loans),           cmocka_unit_test(test_lane_is_reused),
        cmocka_unit_test(test_lane_full),       cmocka_unit_test(test_full),
        cmocka_unit_test(test_space_wakes),     cmocka_unit_test(test_many),
        cmocka_unit_test(test_many_too_large),  cmocka_unit_test(test_durable),
        cmocka_unit_test(test_removed),         cmocka_unit_test(test_places_run_out),
        cmocka_unit_test(test_bad_arguments),
    };

    return cmocka_run_group_tests(tests, bus_setup, bus_teardown);
}
