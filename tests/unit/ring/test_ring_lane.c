/* Lanes: where payloads stand, when their bytes are used again, and who inherits them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "ring/ring.h"
#include "tests/support/fixture.h"

#define HELD 64

static struct fixture f;
static struct ring_publisher pub;

static int
setup(void **state)
{
    struct ring_geometry g = fixture_geometry();

    (void)state;
    g.depth = 64;
    return fixture_make(&f, &g) || fixture_publisher(&f, 0, &pub);
}

static int
setup_overwrite(void **state)
{
    struct ring_geometry g = fixture_geometry();

    (void)state;
    g.depth = 64;
    g.when_full = RING_OVERWRITE;
    return fixture_make(&f, &g) || fixture_publisher(&f, 0, &pub);
}

static int
teardown(void **state)
{
    struct ring_report report;
    int r = ring_check(&f.view, &report);

    (void)state;
    fixture_publisher_drop(&pub);
    fixture_destroy(&f);
    return r;
}

static void
receive_one(struct ring_reader *r, uint64_t pseq, uint32_t len)
{
    struct ring_msg msg;

    assert_int_equal(ring_receive(r, &msg), RING_MESSAGE);
    assert_int_equal(msg.key, pattern_key(pub.index, pseq));
    assert_int_equal(msg.len, len);
    assert_true(pattern_is(msg.data, msg.key, msg.len));
    assert_int_equal(ring_validate(&r->view, &msg), 0);
}

/* The owner of entry 0 is gone; somebody else gets entry and lane. */
static void
change_owner(void)
{
    uint64_t aborted;

    fixture_publisher_drop(&pub);
    ring_entry_kill(&f.view, 0);
    assert_int_equal(fixture_settle(&f, &aborted), 0);
    ring_entry_free(&f.view, 0);
    assert_int_equal(fixture_publisher(&f, 0, &pub), 0);
}

static void
a_payload_is_half_a_lane_at_most(void **state)
{
    struct ring_span span = {.pos = 4711};
    uint64_t max = ring_payload_max(&f.view);

    (void)state;
    assert_int_equal(max, 2048);
    assert_int_equal(ring_reserve(&pub, max + 1, &span), -EMSGSIZE);
    assert_int_equal(ring_reserve(&pub, UINT64_MAX, &span), -EMSGSIZE);
    assert_int_equal(ring_reserve(&pub, 1ull << 32, &span), -EMSGSIZE);
    assert_int_equal(span.pos, 4711);
    assert_int_equal(ring_reserve(&pub, max, &span), 0);
    ring_abandon(&pub, &span);
}

/* The longest fits an empty lane wherever its head is. */
static void
the_longest_fits_an_empty_lane_anywhere(void **state)
{
    struct ring_span span;

    (void)state;
    for (uint64_t head = 0; head < 12288; head += 64) {
        assert_int_equal(ring_reserve(&pub, 2048, &span), 0);
        assert_true((span.pos & 4095) <= 2048);
        ring_abandon(&pub, &span);
        assert_int_equal(ring_reserve(&pub, 64, &span), 0);
        ring_abandon(&pub, &span);
    }
}

static void
spans_are_apart(void **state)
{
    struct prng rng = {fixture_seed()};
    struct ring_span held[HELD];
    uint64_t lens[HELD];
    unsigned n = 0, full = 0;

    (void)state;
    for (int step = 0; step < 20000; step++) {
        uint64_t len = prng_below(&rng, prng_below(&rng, 10) ? 300 : 2049);
        int r = n < HELD ? ring_reserve(&pub, len, &held[n]) : -EAGAIN;
        if (r == 0) {
            uint64_t off = held[n].pos & 4095;
            assert_ptr_equal(held[n].data, ring_lane(&f.view, 0) + off);
            assert_int_equal(off % 64, 0);
            assert_true(off + len <= 4096);
            memset(held[n].data, (int)(n + 1), len);
            lens[n++] = len;
            continue;
        }
        assert_int_equal(r, -EAGAIN);
        full++;
        /* In any order; what is given up in the middle comes back with what is before it. */
        while (n && prng_below(&rng, 5)) {
            uint64_t i = prng_below(&rng, n);
            for (uint64_t k = 0; k < lens[i]; k++)
                assert_int_equal(held[i].data[k], held[i].data[0]);
            ring_abandon(&pub, &held[i]);
            held[i] = held[--n];
            lens[i] = lens[n];
        }
    }
    assert_true(full > 100);
    while (n)
        ring_abandon(&pub, &held[--n]);
    assert_int_equal(ring_reserve(&pub, 2048, &held[0]), 0);
}

/* As many pieces as there is memory to remember them, then no more; all come back. */
static void
pieces_have_an_end(void **state)
{
    struct ring_geometry g = fixture_geometry();
    struct ring_span spans[32], one;
    struct fixture small;
    struct ring_publisher p;

    (void)state;
    assert_int_equal(fixture_make(&small, &g), 0);
    assert_int_equal(fixture_publisher(&small, 0, &p), 0);
    for (int lap = 0; lap < 5; lap++) {
        for (int i = 0; i < 32; i++)
            assert_int_equal(ring_reserve(&p, 0, &spans[i]), 0);
        assert_int_equal(ring_reserve(&p, 0, &one), -EAGAIN);
        assert_int_equal(ring_publish_may(&p, 1, 1), 0);
        for (int i = 31; i >= 0; i--)
            ring_abandon(&p, &spans[i]);
        assert_int_equal(ring_publish_may(&p, 1, 1), 1);
    }
    fixture_publisher_drop(&p);
    fixture_destroy(&small);
}

/* A full lane holds the publisher until the cursor has passed, and only it. */
static void
a_gating_cursor_keeps_its_bytes(void **state)
{
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    uint64_t seq, sent = 0, got = 0;

    (void)state;
    for (int lap = 0; lap < 50; lap++) {
        int x;
        while ((x = fixture_send(&pub, sent, 500, &seq)) == 0)
            sent++;
        assert_int_equal(x, -EAGAIN);
        assert_true(sent - got >= 7 && sent - got <= 8);
        assert_int_equal(ring_publish_may(&pub, 1, 500), 0);
        assert_int_equal(ring_publish_may(&pub, 1, 0), 1);
        receive_one(&r, got++, 500);
        assert_int_equal(fixture_send(&pub, sent, 500, &seq), -EAGAIN);
        receive_one(&r, got++, 500);
        fixture_release(&r);
        assert_int_equal(ring_publish_may(&pub, 1, 500), 1);
    }
}

static void
every_byte_survives_many_laps(void **state)
{
    struct prng rng = {fixture_seed()};
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    uint32_t lens[4096] = {0};
    uint64_t seq, sent = 0, got = 0;

    (void)state;
    while (got < 20000) {
        uint32_t len = (uint32_t)prng_below(&rng, 1u << prng_below(&rng, 12));
        if (prng_below(&rng, 3) && fixture_send(&pub, sent, len, &seq) == 0) {
            assert_int_equal(seq, sent + 1);
            lens[sent++ % 4096] = len;
        } else if (got < sent) {
            receive_one(&r, got, lens[got % 4096]);
            got++;
            if (prng_below(&rng, 2))
                fixture_release(&r);
        } else {
            fixture_release(&r);
        }
    }
}

/* A span may be held for any time; what others of the same publisher do meanwhile goes past it. */
static void
a_held_span_keeps_its_bytes(void **state)
{
    struct ring_span span;
    struct ring_out out = {.span = &span, .len = 100, .key = pattern_key(0, 999)};
    struct ring_reader r;
    uint64_t seq, sent = 0;

    (void)state;
    assert_int_equal(ring_reserve(&pub, 100, &span), 0);
    pattern_fill(span.data, out.key, 100);
    for (int lap = 0; lap < 1000; lap++)
        if (!fixture_send(&pub, sent, 333, &seq))
            sent++;
    assert_true(sent > 5 && sent < 13);
    r = fixture_reader(&f, 0, RING_KIND_GATING, sent + 1);
    assert_int_equal(ring_publish(&pub, &out, 1, 3, &seq), 0);
    receive_one(&r, 999, 100);
    fixture_release(&r);
    assert_int_equal(fixture_send(&pub, sent, 2000, &seq), 0);
}

/* Overwriting: the position is given up before the bytes are, so what is read is right or known to be wrong. */
static void
lost_bytes_are_told(void **state)
{
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_LIVE, 1);
    uint64_t seq, lost = 0, got = 0;
    unsigned char copy[2048];
    struct ring_msg held, msg;

    (void)state;
    assert_int_equal(fixture_send(&pub, 0, 600, &seq), 0);
    assert_int_equal(ring_receive(&r, &held), RING_MESSAGE);
    assert_int_equal(ring_copy(&f.view, &held, copy), 0);
    assert_true(pattern_is(copy, held.key, 600));
    for (uint64_t k = 1; k <= 20; k++)
        assert_int_equal(fixture_send(&pub, k, 600, &seq), 0);
    assert_int_equal(ring_stamp_seq(atom_load_relaxed(&ring_slot(&f.view, held.seq)->stamp)),
                     held.seq);
    assert_int_equal(ring_validate(&f.view, &held), -ESTALE);
    assert_int_equal(ring_copy(&f.view, &held, copy), -ESTALE);
    for (;;) {
        int x = ring_receive(&r, &msg);
        if (x == RING_NONE)
            break;
        if (x == RING_GAP) {
            assert_int_equal(msg.first, 2 + lost);
            lost += msg.lost;
            assert_int_equal(ring_peek(&f.view, msg.first, &msg), RING_GAP);
            continue;
        }
        assert_int_equal(x, RING_MESSAGE);
        assert_true(pattern_is(msg.data, msg.key, msg.len));
        got++;
    }
    assert_int_equal(lost + got, 20);
    assert_true(got >= 4 && got <= 6);
}

/* I6: the new owner goes on behind the old one's bytes, and waits for whoever still reads them. */
static void
an_heir_keeps_the_dead_ones_bytes(void **state)
{
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    uint64_t seq, sent = 0, got = 0, by_heir = 0;

    (void)state;
    for (int owner = 0; owner < 40; owner++) {
        while (fixture_send(&pub, sent, 300 + (uint32_t)owner, &seq) == 0)
            sent++;
        change_owner();
        assert_int_equal(fixture_send(&pub, sent, 300, &seq), -EAGAIN);
        /* Even when a part has been read: what the old owner did is one piece. */
        while (got < sent) {
            receive_one(&r, got++, 300 + (uint32_t)owner);
            fixture_release(&r);
            if (got < sent)
                assert_int_equal(ring_publish_may(&pub, 1, 2048), 0);
        }
        assert_int_equal(ring_publish_may(&pub, 1, 2048), 1);
        by_heir++;
    }
    assert_true(by_heir == 40 && got > 400);
}

/* A part of the lane is free: the heir may use that part at once. */
static void
an_heir_uses_what_is_free(void **state)
{
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    uint64_t seq;

    (void)state;
    assert_int_equal(fixture_send(&pub, 0, 1000, &seq), 0);
    change_owner();
    assert_int_equal(fixture_send(&pub, 1, 1000, &seq), 0);
    assert_int_equal(fixture_send(&pub, 2, 1000, &seq), 0);
    assert_int_equal(fixture_send(&pub, 3, 1000, &seq), 0);
    assert_int_equal(fixture_send(&pub, 4, 1000, &seq), -EAGAIN);
    for (uint64_t k = 0; k < 4; k++)
        receive_one(&r, k, 1000);
    fixture_release(&r);
    assert_int_equal(fixture_send(&pub, 4, 1000, &seq), 0);
}

/* The dead one had given out a span that was never published: nobody refers to it. */
static void
an_heir_begins_behind_a_lost_span(void **state)
{
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    struct ring_span lost, next;
    uint64_t seq;

    (void)state;
    assert_int_equal(ring_reserve(&pub, 1500, &lost), 0);
    change_owner();
    assert_int_equal(ring_reserve(&pub, 1500, &next), 0);
    assert_true(next.pos >= lost.pos + 1500);
    ring_abandon(&pub, &next);
    assert_int_equal(fixture_send(&pub, 0, 2000, &seq), 0);
    receive_one(&r, 0, 2000);
}

/* In an overwriting topic nothing waits, and a reader of the dead one's bytes is told. */
static void
an_heir_that_overwrites_tells(void **state)
{
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_LIVE, 1);
    struct ring_msg held, msg;
    uint64_t seq;

    (void)state;
    for (uint64_t k = 0; k < 3; k++)
        assert_int_equal(fixture_send(&pub, k, 1000, &seq), 0);
    assert_int_equal(ring_receive(&r, &held), RING_MESSAGE);
    change_owner();
    assert_int_equal(ring_validate(&f.view, &held), 0);
    assert_true(pattern_is(held.data, held.key, held.len));
    for (uint64_t k = 3; k < 5; k++)
        assert_int_equal(fixture_send(&pub, k, 1500, &seq), 0);
    assert_int_equal(ring_validate(&f.view, &held), -ESTALE);
    assert_int_equal(ring_receive(&r, &msg), RING_GAP);
    assert_int_equal(msg.first, 2);
}

static void
positions_that_cannot_be_are_refused(void **state)
{
    static const uint64_t bad[][2] = {
        {64, 128},                       /* reclaimed above head */
        {65, 0},                         /* head not aligned */
        {UINT64_MAX - 63, 0},            /* head about to wrap */
        {(1ull << 63) + 64, 1ull << 63}, /* the same, plausible otherwise */
        {0, UINT64_MAX},
    };
    struct ring_piece pieces[128];
    struct ring_publisher p;
    struct ring_line *line = ring_line(&f.view, 2);

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        atom_store_relaxed(&line->lane_head, bad[i][0]);
        atom_store_relaxed(&line->reclaimed, bad[i][1]);
        assert_int_equal(ring_publisher_join(&p, &f.view, 2, pieces, false), -EBADMSG);
    }
    /* In use: more than there is. Then it is the whole lane. */
    atom_store_relaxed(&line->lane_head, 1ull << 40);
    atom_store_relaxed(&line->reclaimed, 64);
    assert_int_equal(ring_publisher_join(&p, &f.view, 2, pieces, false), 0);
    assert_int_equal(p.lane_low, (1ull << 40) - 4096);
    atom_store_relaxed(&line->lane_head, 0);
    atom_store_relaxed(&line->reclaimed, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_payload_is_half_a_lane_at_most, setup, teardown),
        cmocka_unit_test_setup_teardown(the_longest_fits_an_empty_lane_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(spans_are_apart, setup, teardown),
        cmocka_unit_test(pieces_have_an_end),
        cmocka_unit_test_setup_teardown(a_gating_cursor_keeps_its_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(every_byte_survives_many_laps, setup, teardown),
        cmocka_unit_test_setup_teardown(a_held_span_keeps_its_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(lost_bytes_are_told, setup_overwrite, teardown),
        cmocka_unit_test_setup_teardown(an_heir_keeps_the_dead_ones_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(an_heir_uses_what_is_free, setup, teardown),
        cmocka_unit_test_setup_teardown(an_heir_begins_behind_a_lost_span, setup, teardown),
        cmocka_unit_test_setup_teardown(an_heir_that_overwrites_tells, setup_overwrite, teardown),
        cmocka_unit_test_setup_teardown(positions_that_cannot_be_are_refused, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
