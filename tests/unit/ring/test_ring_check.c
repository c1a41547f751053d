/* The check: good rings pass at every step of their life, each contradiction is named; and whatever stands in shared
 * memory, every call comes to an end, stays inside, and says something that can be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring/ring.h"
#include "shm/testpoint.h"
#include "tests/support/fixture.h"

static struct fixture f;
static struct ring_publisher pub;

static int
setup(void **state)
{
    struct ring_geometry g = fixture_geometry();

    (void)state;
    return fixture_make(&f, &g) || fixture_publisher(&f, 0, &pub);
}

static int
teardown(void **state)
{
    (void)state;
    fixture_publisher_drop(&pub);
    fixture_destroy(&f);
    return 0;
}

static struct ring_report
good(void)
{
    struct ring_report r = {.what = "never looked"};

    if (ring_check(&f.view, &r))
        fail_msg("%s at %llu", r.what, (unsigned long long)r.where);
    assert_null(r.what);
    return r;
}

static void
bad(uint64_t where)
{
    struct ring_report r = {0};

    assert_int_equal(ring_check(&f.view, &r), -EBADMSG);
    assert_non_null(r.what);
    assert_int_equal(r.where, where);
}

static void
send(uint64_t first, uint64_t n, uint32_t len)
{
    uint64_t seq;

    for (uint64_t k = first; k < first + n; k++)
        assert_int_equal(fixture_send(&pub, k, len, &seq), 0);
}

static void
a_report_counts(void **state)
{
    struct ring_report r = good();

    (void)state;
    assert_true(r.tail == 1 && r.oldest == 1 && r.publishers == 1 && !r.cursors && !r.intents);
    send(0, 10, 100);
    r = good();
    assert_true(r.tail == 11 && r.oldest == 1 && r.committed == 10 && !r.aborted);
    send(10, 30, 100);
    fixture_entry(&f, 2);
    (void)fixture_reader(&f, 1, RING_KIND_LIVE, 7);
    (void)fixture_reader(&f, 2, RING_KIND_GATING, 41);
    ring_cursor_evict(&f.view, 2);
    r = good();
    assert_true(r.tail == 41 && r.oldest == 25 && r.committed == 16);
    assert_true(r.publishers == 2 && r.cursors == 2 && r.intents == 0);
    atom_store_relaxed(&ring_slot(&f.view, 30)->stamp, ring_stamp(30, RING_ABORTED));
    atom_store_relaxed(&ring_slot(&f.view, 31)->stamp, ring_stamp(31, RING_BUSY));
    atom_store_relaxed(&ring_slot(&f.view, 32)->stamp, ring_stamp(16, RING_INNER));
    atom_store_relaxed(&ring_line(&f.view, 2)->intent, ring_intent_pack(31, 2));
    r = good();
    assert_true(r.committed == 13 && r.aborted == 1 && r.busy == 1 && r.missing == 1);
    assert_int_equal(r.intents, 1);
}

/* One who only looks at messages has no control object. */
static void
the_control_may_be_missing(void **state)
{
    struct ring_report r;

    (void)state;
    send(0, 20, 8);
    f.view.control = NULL;
    assert_int_equal(ring_check(&f.view, &r), 0);
    assert_int_equal(r.committed, 16);
}

static void
each_contradiction_is_named(void **state)
{
    atom_u64 *stamp;
    struct ring_slot *s;

    (void)state;
    send(0, 40, 100);
    s = ring_slot(&f.view, 33);
    stamp = &s->stamp;

#define WRONG(word, value, where)                                                                  \
    do {                                                                                           \
        uint64_t before_ = atom_load_relaxed(word);                                                \
        atom_store_relaxed(word, value);                                                           \
        bad(where);                                                                                \
        atom_store_relaxed(word, before_);                                                         \
        (void)good();                                                                              \
    } while (0)

    WRONG(&ring_entry(&f.view, 3)->state, 3, 3);
    WRONG(&ring_entry(&f.view, 2)->state, UINT64_MAX, 2);
    WRONG(&ring_line(&f.view, 1)->intent, ring_intent_pack(40, 9), 1);
    WRONG(&ring_line(&f.view, 1)->intent, 77, 1);
    WRONG(&ring_line(&f.view, 3)->limit, 41 + 17, 41 + 17);
    WRONG(ring_cursor_word(&f.view, 2), 3, 2);
    WRONG(ring_cursor_word(&f.view, 3), RING_CURSOR_LIVE | 4 << 4, 3);
    WRONG(ring_tail(&f.view), 0, 0);
    WRONG(ring_tail(&f.view), 1ull << 60, 1ull << 60);
    WRONG(stamp, ring_stamp(33, RING_EMPTY), 33);
    WRONG(stamp, ring_stamp(33, 5), 33);
    WRONG(stamp, ring_stamp(17, RING_BUSY), 33);
    WRONG(stamp, ring_stamp(1, RING_COMMITTED), 33);
    WRONG(stamp, ring_stamp(34, RING_COMMITTED), 33);
    WRONG(stamp, ring_stamp(49, RING_BUSY), 33);
    WRONG(stamp, 0, 33);
    WRONG(&s->meta, UINT64_MAX, 33);
    WRONG(&s->meta, (uint64_t)8 << 32 | 9, 33);
    WRONG(&s->payload[0], 7, 33);
#undef WRONG
}

static void
a_cursor_ahead_is_named(void **state)
{
    (void)state;
    send(0, 10, 8);
    (void)fixture_reader(&f, 2, RING_KIND_LIVE, 11);
    (void)good();
    atom_store_relaxed(&ring_cursor(&f.view, 2)->pos, 12);
    bad(12);
    ring_cursor_free(&f.view, 2);
    (void)good();
}

#if defined(LEAT_TESTPOINTS)

static unsigned looks;

static void
look(const char *name)
{
    (void)name;
    looks++;
    (void)good();
}

/* No step of anybody's shows a contradiction. */
static void
a_running_ring_is_good_at_every_step(void **state)
{
    static const uint32_t lens[8] = {8, 600, 0, 8, 300, 8, 8, 100};
    struct ring_reader r;
    uint64_t seq, aborted, pos = 1;
    struct ring_msg msg;

    (void)state;
    looks = 0;
    shm_testpoint_hook = look;
    r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    for (uint64_t k = 0; k < 40; k++) {
        assert_int_equal(fixture_send_many(&pub, k * 8, lens, 1 + k % 8, &seq), 0);
        while (ring_receive(&r, &msg) == RING_MESSAGE)
            fixture_release(&r);
        ring_cursor_seek(&f.view, 0, &pos);
        pos = r.next;
        ring_cursor_seek(&f.view, 0, &pos);
    }
    ring_entry_kill(&f.view, 0);
    assert_int_equal(fixture_settle(&f, &aborted), 0);
    ring_entry_free(&f.view, 0);
    ring_cursor_evict(&f.view, 0);
    ring_cursor_free(&f.view, 0);
    shm_testpoint_hook = NULL;
    assert_true(looks > 500);
}

#endif

/* --- whatever stands there -------------------------------------------------------------------- */

static struct prng rng;

/* Words that are wrong in ways that matter: near what was there, near the edges, or anything. */
static uint64_t
some_word(uint64_t was)
{
    switch (prng_below(&rng, 8)) {
    case 0:
        return was + prng_below(&rng, 33) - 16;
    case 1:
        return was ^ 1ull << prng_below(&rng, 64);
    case 2:
        return prng_below(&rng, 2) ? 0 : UINT64_MAX;
    case 3:
        return ring_stamp(prng_below(&rng, 64), (uint32_t)prng_below(&rng, 8));
    case 4:
        return 1ull << prng_below(&rng, 64);
    case 5:
        return was + ((prng_below(&rng, 5) - 2) * 16 << 3);
    case 6:
        return prng_below(&rng, 100);
    default:
        return prng_next(&rng);
    }
}

/* The words that a client may write: all but what the daemon alone has mapped writable. */
static void
scribble(unsigned n)
{
    struct ring_geometry *g = &f.view.geo;

    while (n--) {
        bool control = !prng_below(&rng, 4);
        unsigned char *base = control ? f.view.control : f.view.data;
        uint64_t from = control ? RING_CONTROL_AT : g->tail;
        uint64_t to = control ? g->control_size : prng_below(&rng, 3) ? g->lanes : g->data_size;
        atom_u64 *word = (atom_u64 *)(void *)(base + from + prng_below(&rng, (to - from) / 8) * 8);
        atom_store_relaxed(word, some_word(atom_load_relaxed(word)));
    }
}

static void
scribble_where_it_hurts(void)
{
    atom_u64 *words[] = {
        ring_tail(&f.view),
        &ring_line(&f.view, (uint32_t)prng_below(&rng, 4))->intent,
        &ring_line(&f.view, (uint32_t)prng_below(&rng, 4))->limit,
        &ring_line(&f.view, (uint32_t)prng_below(&rng, 4))->lane_head,
        &ring_line(&f.view, (uint32_t)prng_below(&rng, 4))->reclaimed,
        ring_cursor_word(&f.view, (uint32_t)prng_below(&rng, 4)),
        &ring_cursor(&f.view, (uint32_t)prng_below(&rng, 4))->pos,
        &ring_slot(&f.view, prng_below(&rng, 16))->stamp,
        &ring_slot(&f.view, prng_below(&rng, 16))->stamp,
        &ring_slot(&f.view, prng_below(&rng, 16))->meta,
        &ring_slot(&f.view, prng_below(&rng, 16))->payload[0],
    };
    atom_u64 *word = words[prng_below(&rng, sizeof words / sizeof *words)];

    atom_store_relaxed(word, some_word(atom_load_relaxed(word)));
}

static uint64_t sum;

/* Every byte that a verdict offers is touched. */
static void
touch(const struct ring_msg *msg)
{
    unsigned char copy[4096];

    assert_true(msg->len <= ring_payload_max(&f.view));
    assert_true(msg->publisher < f.view.geo.max_publishers);
    for (uint32_t i = 0; i < msg->len; i++)
        sum += msg->data[i];
    assert_in_range(-ring_copy(&f.view, msg, copy), 0, ESTALE);
}

static void
receive_for_a_while(uint64_t from)
{
    struct ring_reader r = {.view = f.view};
    struct ring_msg msg;

    ring_reader_set(&r, from);
    for (int i = 0; i < 64; i++) {
        uint64_t before = r.next;
        int x = ring_receive(&r, &msg);
        if (x == RING_NONE || x == -EBADMSG)
            return;
        assert_true(r.next > before);
        if (x == RING_GAP) {
            assert_true(msg.lost && msg.first + msg.lost == r.next);
            continue;
        }
        assert_int_equal(x, RING_MESSAGE);
        assert_int_equal(msg.seq + 1, r.next);
        touch(&msg);
    }
}

static void
publish_for_a_while(void)
{
    struct ring_publisher p;
    uint64_t seq;

    for (uint64_t k = 0; k < 20; k++) {
        int x = fixture_send(&pub, k, k & 1 ? 8 : 700, &seq);
        assert_true(x == 0 || x == -EAGAIN || x == -EBADMSG);
        assert_in_range(ring_publish_may(&pub, 3, 300) + EBADMSG, 0, EBADMSG + 1);
    }
    (void)ring_publish_due(&pub, seq);
    if (fixture_publisher_join(&f.view, (uint16_t)prng_below(&rng, 4), &p) == 0) {
        int x = fixture_send(&p, 1, 900, &seq);
        assert_true(x == 0 || x == -EAGAIN || x == -EBADMSG);
        fixture_publisher_drop(&p);
    }
}

static void
do_everything(void)
{
    struct ring_owner owner = {.pid = 1, .name = "x"};
    struct ring_report report;
    struct ring_msg msg;
    uint32_t version, who;
    uint64_t aborted, pos = prng_below(&rng, 64), gate;
    struct ring_view v;
    int x = ring_check(&f.view, &report);

    assert_true(x == 0 || (x == -EBADMSG && report.what));
    assert_true(report.committed + report.aborted + report.busy + report.missing <= 16);
    for (uint64_t q = 0; q < 64; q++)
        if (ring_peek(&f.view, q, &msg) == RING_MESSAGE)
            touch(&msg);
    receive_for_a_while(prng_below(&rng, 64));
    receive_for_a_while(atom_load_relaxed(ring_tail(&f.view)) - prng_below(&rng, 20));
    receive_for_a_while(prng_next(&rng));
    gate = ring_gate(&f.view, &who);
    assert_true(who == UINT32_MAX || who < 4);
    sum += gate + ring_oldest(&f.view);
    publish_for_a_while();
    ring_cursor_attach(&f.view, (uint32_t)prng_below(&rng, 4), RING_KIND_GATING, &owner, &pos);
    ring_cursor_seek(&f.view, (uint32_t)prng_below(&rng, 4), &pos);
    ring_entry_kill(&f.view, (uint32_t)prng_below(&rng, 4));
    x = ring_settle(&f.view, f.scratch, &aborted);
    assert_true(x == 0 || x == 1 || x == -EBADMSG);
    assert_true(x < 0 || aborted <= 16);
    publish_for_a_while();
    assert_int_equal(ring_join(&v, &f.maps, &version), 0);
}

/* Not one bad word leads outside, round and round, or to an assertion. What it may do is hold this topic up. */
static void
anything_may_stand_there(void **state)
{
    uint64_t n = fixture_is_full() ? 40000 : 3000;

    (void)state;
    rng.state = fixture_seed();
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(setup(NULL), 0);
        if (prng_below(&rng, 2))
            (void)fixture_reader(&f, 1, RING_KIND_GATING, 1);
        for (uint64_t k = prng_below(&rng, 40), seq; k; k--)
            (void)fixture_send(&pub, k, (uint32_t)prng_below(&rng, 500), &seq);
        switch (prng_below(&rng, 3)) {
        case 0:
            scribble((unsigned)prng_below(&rng, 2000));
            break;
        case 1:
            scribble_where_it_hurts();
            break;
        default:
            for (uint64_t k = prng_below(&rng, 20); k; k--)
                scribble_where_it_hurts();
        }
        do_everything();
        (void)teardown(NULL);
    }
    print_message("%llu rings\n", (unsigned long long)n);
}

/* The daemon's pages too, as an inspector may find them in a damaged copy. */
static void
nothing_is_believed_before_it_is_checked(void **state)
{
    uint64_t n = fixture_is_full() ? 40000 : 3000, joined = 0;
    uint32_t version;
    struct ring_view v;

    (void)state;
    rng.state = fixture_seed();
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(setup(NULL), 0);
        for (uint64_t k = prng_below(&rng, 40), seq; k; k--)
            (void)fixture_send(&pub, k, (uint32_t)prng_below(&rng, 500), &seq);
        for (uint64_t k = 1 + prng_below(&rng, 3); k; k--) {
            bool control = prng_below(&rng, 2);
            unsigned char *base = control ? f.maps.control : f.maps.data;
            uint64_t size = control ? f.maps.control_size : f.maps.data_size;
            uint64_t at =
                prng_below(&rng, prng_below(&rng, 2) ? 128 : shm_min(size, 12288) / 8) * 8;
            uint64_t word;
            memcpy(&word, base + at, 8);
            word = some_word(word);
            memcpy(base + at, &word, 8);
        }
        if (ring_join(&v, &f.maps, &version) == 0) {
            f.view = v;
            joined++;
            do_everything();
        }
        (void)teardown(NULL);
    }
    assert_true(joined && joined < n);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_report_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(the_control_may_be_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(each_contradiction_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cursor_ahead_is_named, setup, teardown),
#if defined(LEAT_TESTPOINTS)
        cmocka_unit_test_setup_teardown(a_running_ring_is_good_at_every_step, setup, teardown),
#endif
        cmocka_unit_test(anything_may_stand_there),
        cmocka_unit_test(nothing_is_believed_before_it_is_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
