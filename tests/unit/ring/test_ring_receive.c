/* Receiving: the order, what is lost and how exactly that is said, what is stepped over, and what is a contradiction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "ring/ring.h"
#include "tests/support/fixture.h"

static struct fixture f;
static struct ring_publisher pub;

static void
begin(const struct ring_geometry *geo)
{
    assert_int_equal(fixture_make(&f, geo), 0);
    assert_int_equal(fixture_publisher(&f, 0, &pub), 0);
}

static void
end(void)
{
    fixture_publisher_drop(&pub);
    fixture_destroy(&f);
}

static int
setup(void **state)
{
    struct ring_geometry g = fixture_geometry();

    (void)state;
    begin(&g);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    end();
    return 0;
}

static void
send(uint64_t first, uint64_t n)
{
    uint64_t seq;

    for (uint64_t k = first; k < first + n; k++)
        assert_int_equal(fixture_send(&pub, k, 16, &seq), 0);
}

static atom_u64 *
stamp_of(uint64_t seq)
{
    return &ring_slot(&f.view, seq)->stamp;
}

static void
set(uint64_t seq, uint32_t state)
{
    atom_store_release(stamp_of(seq), ring_stamp(seq, state));
}

/* A message claimed by hand, of publisher 0, in any state. */
static void
claim_by_hand(uint64_t seq, uint32_t state)
{
    struct ring_slot *s = ring_slot(&f.view, seq);

    atom_store_release(ring_tail(&f.view), seq + 1);
    atom_store_relaxed(&s->meta, (uint64_t)8 << 32);
    atom_store_relaxed(&s->key, seq * 3);
    atom_store_relaxed(&s->payload[0], seq * 5);
    set(seq, state);
}

static int
receive_from(uint64_t seq, struct ring_msg *ret)
{
    struct ring_reader r = {.view = f.view};

    ring_reader_set(&r, seq);
    return ring_receive(&r, ret);
}

static void
nothing_comes_before_it_is_there(void **state)
{
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_LIVE, 1);
    struct ring_msg msg = {.seq = 4711};

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(ring_receive(&r, &msg), RING_NONE);
    assert_int_equal(r.next, 1);
    send(0, 1);
    assert_int_equal(ring_receive(&r, &msg), RING_MESSAGE);
    assert_int_equal(msg.seq, 1);
    assert_int_equal(ring_receive(&r, &msg), RING_NONE);
    assert_int_equal(r.next, 2);
    claim_by_hand(2, RING_BUSY);
    assert_int_equal(ring_receive(&r, &msg), RING_NONE);
    assert_int_equal(ring_peek(&f.view, 2, &msg), RING_NONE);
    set(2, RING_COMMITTED);
    assert_int_equal(ring_peek(&f.view, 2, &msg), RING_MESSAGE);
    assert_int_equal(ring_receive(&r, &msg), RING_MESSAGE);
    assert_int_equal(msg.key, 6);
    assert_int_equal(ring_peek(&f.view, 3, &msg), RING_NONE);
}

/* A reader that has not moved while `lag` were published from `origin` on. */
static void
one_lags(uint64_t origin, uint64_t lag)
{
    struct ring_geometry g = fixture_geometry();
    struct ring_reader r;
    struct ring_msg msg;
    uint64_t next = origin, lost = 0;
    int x;

    g.origin = origin;
    begin(&g);
    r = fixture_reader(&f, 0, RING_KIND_LIVE, origin);
    send(0, lag);
    assert_int_equal(ring_peek(&f.view, origin, &msg), lag > 16 ? RING_GAP : RING_MESSAGE);
    while ((x = ring_receive(&r, &msg)) == RING_GAP) {
        assert_int_equal(msg.first, origin + lost);
        assert_true(msg.lost);
        lost += msg.lost;
        assert_int_equal(r.next, origin + lost);
    }
    assert_int_equal(lost, lag > 16 ? lag - 16 : 0);
    for (next += lost; next < origin + lag; next++) {
        assert_int_equal(x, RING_MESSAGE);
        assert_int_equal(msg.seq, next);
        assert_int_equal(pattern_pseq(msg.key), next - origin);
        x = ring_receive(&r, &msg);
    }
    assert_int_equal(x, RING_NONE);
    end();
}

/* However far behind: what is gone is told without a hole and not one too many, then comes all that is there. */
static void
gaps_are_exact_for_every_lag(void **state)
{
    static const uint64_t origins[] = {1, 16, (1ull << 32) - 7, 1ull << 59};

    (void)state;
    for (unsigned o = 0; o < 4; o++)
        for (uint64_t lag = 1; lag <= 70; lag++)
            one_lags(origins[o], lag);
}

struct tally {
    uint64_t delivered, lost, last;
};

/* Looks at up to n places. */
static void
receive_some(struct ring_reader *r, struct tally *t, uint64_t n)
{
    struct ring_msg msg;

    for (; n; n--) {
        int x = ring_receive(r, &msg);
        if (x == RING_NONE)
            return;
        if (x == RING_GAP) {
            assert_int_equal(msg.first, t->last + 1);
            t->lost += msg.lost;
            t->last += msg.lost;
            continue;
        }
        assert_int_equal(x, RING_MESSAGE);
        assert_int_equal(msg.seq, t->last + 1);
        assert_int_equal(pattern_pseq(msg.key), t->last);
        assert_true(pattern_is(msg.data, msg.key, msg.len));
        t->delivered++;
        t->last = msg.seq;
    }
}

/* I8: at any time, published = delivered + told as lost + still held. */
static void
published_is_delivered_and_lost_and_held(void **state)
{
    struct prng rng = {fixture_seed()};
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_LIVE, 1);
    struct tally t = {0};
    uint64_t sent = 0;

    (void)state;
    for (int step = 0; step < 20000; step++) {
        uint64_t n = prng_below(&rng, prng_below(&rng, 20) ? 6 : 60);
        send(sent, n);
        sent += n;
        receive_some(&r, &t, prng_below(&rng, 8));
        assert_int_equal(r.next, t.last + 1);
        assert_int_equal(t.delivered + t.lost + (sent + 1 - r.next), sent);
    }
    assert_true(t.delivered > 1000 && t.lost > 1000);
}

static void
a_message_that_was_overwritten_is_stale(void **state)
{
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_LIVE, 1);
    unsigned char copy[32];
    struct ring_msg msg;

    (void)state;
    send(0, 16);
    assert_int_equal(ring_receive(&r, &msg), RING_MESSAGE);
    assert_int_equal(ring_copy(&f.view, &msg, copy), 0);
    assert_true(pattern_is(copy, msg.key, msg.len));
    send(16, 1);
    assert_int_equal(ring_validate(&f.view, &msg), -ESTALE);
    assert_int_equal(ring_copy(&f.view, &msg, copy), -ESTALE);
    assert_int_equal(ring_receive(&r, &msg), RING_MESSAGE);
    /* Being written is enough. */
    atom_store_release(stamp_of(18), ring_stamp(18, RING_BUSY));
    assert_int_equal(ring_validate(&f.view, &msg), -ESTALE);
}

/* The slot is in use for a later message that is not finished: the gap is known all the same. */
static void
an_unfinished_lap_is_a_gap(void **state)
{
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_LIVE, 1);
    struct ring_msg msg;

    (void)state;
    send(0, 16);
    claim_by_hand(17, RING_BUSY);
    assert_int_equal(ring_receive(&r, &msg), RING_GAP);
    assert_int_equal(msg.first, 1);
    assert_int_equal(msg.lost, 1);
    for (uint64_t k = 2; k <= 16; k++) {
        assert_int_equal(ring_receive(&r, &msg), RING_MESSAGE);
        assert_int_equal(msg.seq, k);
    }
    assert_int_equal(ring_receive(&r, &msg), RING_NONE);
    assert_int_equal(r.next, 17);
}

static void
aborted_places_are_stepped_over(void **state)
{
    (void)state;
    for (uint64_t run = 1; run <= 16; run++) {
        struct ring_geometry g = fixture_geometry();
        struct ring_reader r;
        struct ring_msg msg;
        begin(&g);
        r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
        for (uint64_t q = 1; q <= run; q++) {
            claim_by_hand(q, RING_ABORTED);
            assert_int_equal(ring_peek(&f.view, q, &msg), RING_GAP);
        }
        if (run < 16) {
            claim_by_hand(run + 1, RING_COMMITTED);
            assert_int_equal(ring_receive(&r, &msg), RING_MESSAGE);
            assert_int_equal(msg.seq, run + 1);
        }
        assert_int_equal(ring_receive(&r, &msg), RING_NONE);
        assert_int_equal(r.next, run < 16 ? run + 2 : 17);
        end();
    }
}

/* Nothing is older than the origin: from wherever it is looked for, that is one gap, unless the look is a lap too
 * early to tell. */
static void
what_is_before_the_origin_is_one_gap(void **state)
{
    (void)state;
    for (uint64_t sent = 0; sent < 40; sent++) {
        struct ring_geometry g = fixture_geometry();
        g.origin = 1000;
        begin(&g);
        send(0, sent);
        for (uint64_t from = 0; from < 1000; from += from < 950 ? 50 : 1) {
            struct ring_reader r = {.view = f.view};
            struct ring_msg msg;
            ring_reader_set(&r, from);
            assert_int_equal(ring_receive(&r, &msg), RING_GAP);
            assert_int_equal(msg.first, from);
            assert_int_equal(r.next, from + msg.lost);
            assert_true(r.next == 1000 || (r.next > 1000 && sent > 16));
        }
        end();
    }
}

/* Set down inside a batch that is not decided, a reader waits for the batch, not for its part. */
static void
half_a_batch_is_nobodys(void **state)
{
    struct ring_msg msg;

    (void)state;
    send(0, 2);
    for (uint64_t q = 3; q <= 8; q++)
        claim_by_hand(q, q < 5 ? RING_BUSY : RING_INNER);
    atom_store_release(stamp_of(3), ring_stamp(3 - (uint64_t)16, RING_EMPTY));
    for (uint64_t q = 3; q <= 8; q++) {
        assert_int_equal(receive_from(q, &msg), RING_NONE);
        assert_int_equal(ring_peek(&f.view, q, &msg), RING_NONE);
    }
    set(4, RING_INNER);
    set(3, RING_BUSY);
    for (uint64_t q = 3; q <= 8; q++)
        assert_int_equal(receive_from(q, &msg), RING_NONE);
    set(3, RING_COMMITTED);
    for (uint64_t q = 3; q <= 8; q++) {
        assert_int_equal(receive_from(q, &msg), RING_MESSAGE);
        assert_int_equal(msg.seq, q);
        assert_int_equal(ring_peek(&f.view, q, &msg), RING_MESSAGE);
    }
}

/* Once it has passed one place, a reader in order asks no more. */
static void
who_comes_in_order_sees_the_batch(void **state)
{
    struct ring_reader r = {.view = f.view};
    struct ring_msg msg;

    (void)state;
    claim_by_hand(1, RING_COMMITTED);
    for (uint64_t q = 2; q <= 8; q++)
        claim_by_hand(q, RING_INNER);
    ring_reader_set(&r, 4);
    assert_int_equal(ring_receive(&r, &msg), RING_MESSAGE);
    set(1, RING_BUSY);
    assert_int_equal(ring_receive(&r, &msg), RING_MESSAGE);
    assert_int_equal(msg.seq, 5);
    ring_reader_set(&r, 6);
    assert_int_equal(ring_receive(&r, &msg), RING_NONE);
}

/* The first slot is in use for a newer message: it was final, so the rest is what it says it is. */
static void
a_batch_whose_first_is_lapped_counts(void **state)
{
    uint32_t lens[8] = {0};
    struct ring_msg msg;
    uint64_t seq;

    (void)state;
    assert_int_equal(fixture_send_many(&pub, 0, lens, 8, &seq), 0);
    send(8, 8);
    for (uint64_t lapped = 1; lapped <= 6; lapped++) {
        send(15 + lapped, 1);
        for (uint64_t q = lapped + 1; q <= 8; q++) {
            assert_int_equal(receive_from(q, &msg), RING_MESSAGE);
            assert_int_equal(msg.seq, q);
        }
    }
}

static void
a_batch_cut_off_is_stepped_over(void **state)
{
    struct ring_msg msg;

    (void)state;
    for (uint64_t q = 1; q <= 6; q++)
        claim_by_hand(q, RING_ABORTED);
    claim_by_hand(7, RING_COMMITTED);
    for (uint64_t q = 1; q <= 6; q++) {
        assert_int_equal(receive_from(q, &msg), RING_MESSAGE);
        assert_int_equal(msg.seq, 7);
    }
    /* Inner behind aborted, and inner without end, cannot be. */
    set(6, RING_INNER);
    assert_int_equal(receive_from(6, &msg), -EBADMSG);
    assert_int_equal(ring_peek(&f.view, 6, &msg), -EBADMSG);
    for (uint64_t q = 1; q <= 16; q++)
        claim_by_hand(q, RING_INNER);
    assert_int_equal(receive_from(16, &msg), -EBADMSG);
}

static void
bad_slots_are_contradictions(void **state)
{
    struct ring_slot *s = ring_slot(&f.view, 1);
    static const struct {
        uint64_t len, publisher, pos;
        int verdict;
    } cases[] = {
        {8, 0, 0, RING_MESSAGE},
        {8, 3, 0, RING_MESSAGE},
        {8, 4, 0, -EBADMSG},
        {8, 65535, 0, -EBADMSG},
        {32, 0, UINT64_MAX, RING_MESSAGE},
        {33, 0, 0, RING_MESSAGE},
        {33, 0, 1, -EBADMSG},
        {33, 0, 63, -EBADMSG},
        {33, 0, 4096 - 64, RING_MESSAGE},
        {65, 0, 4096 - 64, -EBADMSG},
        {64, 0, 4096 - 64, RING_MESSAGE},
        {2048, 0, 2048, RING_MESSAGE},
        {2048, 0, 2048 + 64, -EBADMSG},
        {2049, 0, 0, -EBADMSG},
        {UINT32_MAX, 0, 0, -EBADMSG},
        {100, 4, 0, -EBADMSG},
        /* Its lane was never reserved: to touch it could be a SIGBUS. */
        {100, 2, 0, -EBADMSG},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ring_reader r = {.view = f.view};
        struct ring_report report;
        struct ring_msg msg;
        ring_reader_set(&r, 1);
        claim_by_hand(1, RING_COMMITTED);
        atom_store_relaxed(&s->meta, cases[i].len << 32 | cases[i].publisher);
        atom_store_relaxed(&s->payload[0], cases[i].pos);
        assert_int_equal(ring_receive(&r, &msg), cases[i].verdict);
        assert_int_equal(ring_peek(&f.view, 1, &msg), cases[i].verdict);
        assert_int_equal(ring_check(&f.view, &report), cases[i].verdict < 0 ? -EBADMSG : 0);
        assert_int_equal(r.next, cases[i].verdict < 0 ? 1 : 2);
    }
}

static void
bad_stamps_are_contradictions(void **state)
{
    struct ring_msg msg;

    (void)state;
    send(0, 20);
    for (uint32_t s = 5; s < 8; s++) {
        set(10, s);
        assert_int_equal(receive_from(10, &msg), -EBADMSG);
    }
    set(10, RING_EMPTY);
    assert_int_equal(receive_from(10, &msg), -EBADMSG);
    /* A sequence number that does not belong to this slot. */
    atom_store_release(stamp_of(10), ring_stamp(10 + 17, RING_COMMITTED));
    assert_int_equal(receive_from(10, &msg), -EBADMSG);
    /* One that the tail has not reached. */
    atom_store_release(stamp_of(10), ring_stamp(10 + 16, RING_COMMITTED));
    assert_int_equal(receive_from(10, &msg), -EBADMSG);
    atom_store_release(stamp_of(10), ring_stamp(10 + (1ull << 50), RING_COMMITTED));
    assert_int_equal(receive_from(10, &msg), -EBADMSG);
}

/* For the same bytes a peek says what a receive says. */
static void
peek_and_receive_agree(void **state)
{
    struct prng rng = {fixture_seed()};

    (void)state;
    send(0, 40);
    for (int i = 0; i < 20000; i++) {
        uint64_t q = 25 + prng_below(&rng, 20), at = 25 + prng_below(&rng, 20);
        struct ring_msg a = {0}, b = {0};
        int x, y;
        atom_store_relaxed(stamp_of(at), ring_stamp(at + 16 * prng_below(&rng, 3) - 16,
                                                    (uint32_t)prng_below(&rng, 8)));
        x = receive_from(q, &a);
        y = ring_peek(&f.view, q, &b);
        if (y == RING_MESSAGE)
            assert_true(x == RING_MESSAGE && a.seq == q && a.data == b.data);
        if (x == RING_MESSAGE && a.seq == q)
            assert_int_equal(y, RING_MESSAGE);
        if (x == RING_NONE && ring_stamp_diff(atom_load_relaxed(stamp_of(q)), q) != RING_ABORTED)
            assert_int_equal(y, RING_NONE);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_comes_before_it_is_there, setup, teardown),
        cmocka_unit_test(gaps_are_exact_for_every_lag),
        cmocka_unit_test_setup_teardown(published_is_delivered_and_lost_and_held, setup, teardown),
        cmocka_unit_test_setup_teardown(a_message_that_was_overwritten_is_stale, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unfinished_lap_is_a_gap, setup, teardown),
        cmocka_unit_test(aborted_places_are_stepped_over),
        cmocka_unit_test(what_is_before_the_origin_is_one_gap),
        cmocka_unit_test_setup_teardown(half_a_batch_is_nobodys, setup, teardown),
        cmocka_unit_test_setup_teardown(who_comes_in_order_sees_the_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_whose_first_is_lapped_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_cut_off_is_stepped_over, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_slots_are_contradictions, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_stamps_are_contradictions, setup, teardown),
        cmocka_unit_test_setup_teardown(peek_and_receive_agree, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
