/* Publishing: where messages go, when there is no room, and that nothing has happened then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "ring/ring.h"
#include "shm/testpoint.h"
#include "tests/support/fixture.h"

static struct fixture f;
static struct ring_publisher pub, other;

static void
begin(const struct ring_geometry *geo)
{
    assert_int_equal(fixture_make(&f, geo), 0);
    assert_int_equal(fixture_publisher(&f, 0, &pub), 0);
    assert_int_equal(fixture_publisher(&f, 1, &other), 0);
}

static void
end(void)
{
    struct ring_report report;

    if (ring_check(&f.view, &report))
        fail_msg("%s (%llu)", report.what, (unsigned long long)report.where);
    assert_int_equal(report.intents, 0);
    fixture_publisher_drop(&pub);
    fixture_publisher_drop(&other);
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

/* What must be as before when a publish was refused. */
struct image {
    uint64_t tail, intent;
    uint64_t stamps[16];
};

static struct image
look(void)
{
    struct image i = {.tail = atom_load_relaxed(ring_tail(&f.view)),
                      .intent = atom_load_relaxed(&pub.line->intent)};

    for (uint64_t q = 0; q < 16; q++)
        i.stamps[q] = atom_load_relaxed(&ring_slot(&f.view, q)->stamp);
    return i;
}

static void
refused(const struct ring_out *out, uint32_t n, int with)
{
    struct image before = look(), after;
    uint64_t first = 4711;

    assert_int_equal(ring_publish(&pub, out, n, 5, &first), with);
    after = look();
    assert_memory_equal(&before, &after, sizeof before);
    assert_int_equal(first, 4711);
    assert_int_equal(after.intent, 0);
}

static void
expect(struct ring_reader *r, uint64_t seq, uint32_t publisher, uint64_t pseq)
{
    struct ring_msg msg;

    assert_int_equal(ring_receive(r, &msg), RING_MESSAGE);
    assert_int_equal(msg.seq, seq);
    assert_int_equal(msg.publisher, publisher);
    assert_int_equal(msg.key, pattern_key(publisher, pseq));
    assert_int_equal(msg.time_ns, 1000 + pseq);
    assert_int_equal(msg.type, 1 << 8);
    assert_true(pattern_is(msg.data, msg.key, msg.len));
    assert_int_equal(ring_validate(&r->view, &msg), 0);
}

/* Several laps from every kind of beginning: numbers are dense, and every message is what was sent. */
static void
numbers_are_dense_from_any_origin(void **state)
{
    static const uint64_t origins[] = {1, 15, 16, (1ull << 32) - 5, (1ull << 48) - 5, 1ull << 59};

    (void)state;
    for (size_t i = 0; i < sizeof origins / sizeof *origins; i++) {
        struct ring_geometry g = fixture_geometry();
        struct ring_reader r;
        uint64_t seq;
        g.origin = origins[i];
        begin(&g);
        r = fixture_reader(&f, 0, RING_KIND_GATING, origins[i]);
        for (uint64_t k = 0; k < 100; k++) {
            struct ring_publisher *p = k & 1 ? &other : &pub;
            assert_int_equal(fixture_send(p, k, (uint32_t)(k * 7 % 200), &seq), 0);
            assert_int_equal(seq, origins[i] + k);
            expect(&r, seq, p->index, k);
            fixture_release(&r);
        }
        end();
    }
}

static void
every_length_fits_every_slot(void **state)
{
    (void)state;
    for (uint32_t size = 64; size <= 256; size *= 2) {
        struct ring_geometry g = fixture_geometry();
        struct ring_reader r;
        uint64_t seq;
        g.slot_size = size;
        begin(&g);
        r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
        assert_int_equal(ring_inline_max(&f.view), size - 32);
        for (uint32_t len = 0; len <= size + 64; len++) {
            assert_int_equal(fixture_send(&pub, len, len, &seq), 0);
            expect(&r, seq, 0, len);
            fixture_release(&r);
        }
        end();
    }
}

/* A batch of n stands in adjacent places, all of it, and says which is the first. */
static void
send_and_expect(struct ring_reader *r, uint64_t pseq, uint64_t want, uint32_t n)
{
    uint32_t lens[8];
    uint64_t seq;

    for (uint32_t i = 0; i < n; i++)
        lens[i] = (uint32_t)(pseq + i) % 3 * 40;
    assert_int_equal(fixture_send_many(&pub, pseq, lens, n, &seq), 0);
    assert_int_equal(seq, want);
    for (uint32_t i = 0; i < n; i++) {
        struct ring_msg msg;
        assert_int_equal(ring_stamp_state(atom_load_relaxed(&ring_slot(&f.view, seq + i)->stamp)),
                         i ? RING_INNER : RING_COMMITTED);
        assert_int_equal(ring_receive(r, &msg), RING_MESSAGE);
        assert_int_equal(msg.seq, seq + i);
        assert_int_equal(msg.key, pattern_key(0, pseq + i));
        assert_int_equal(msg.type, n << 8 | i);
        assert_int_equal(msg.len, lens[i]);
        assert_true(pattern_is(msg.data, msg.key, msg.len));
    }
    fixture_release(r);
}

/* All batches from one to half the ring, at every place of the ring. */
static void
batches_are_adjacent(void **state)
{
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    uint64_t pseq = 0;

    (void)state;
    for (uint32_t k = 0; k < 160; k++) {
        uint32_t n = 1 + k % 8;
        send_and_expect(&r, pseq, pseq + 1, n);
        pseq += n;
    }
}

static void
what_cannot_be_published_is_refused(void **state)
{
    struct ring_out out[9] = {0};
    unsigned char bytes[64] = {0};
    struct ring_span span;

    (void)state;
    for (int i = 0; i < 9; i++)
        out[i].data = bytes;
    refused(out, 0, -EINVAL);
    refused(out, 9, -EINVAL);
    refused(out, UINT32_MAX, -EINVAL);
    out[7].len = 33;
    refused(out, 8, -EINVAL);
    out[7].len = UINT32_MAX;
    refused(out, 8, -EINVAL);
    assert_int_equal(ring_reserve(&pub, 40, &span), 0);
    out[7].len = 32;
    out[7].span = &span;
    refused(out, 8, -EINVAL);
    ring_abandon(&pub, &span);
}

static void
a_batch_is_65535_at_most(void **state)
{
    struct ring_geometry g = fixture_geometry();
    static struct ring_out out[65537];
    uint64_t seq;

    (void)state;
    g.depth = 1u << 18;
    begin(&g);
    assert_int_equal(ring_publish(&pub, out, LIMIT_BATCH + 1, 5, &seq), -EINVAL);
    assert_int_equal(ring_publish(&pub, out, LIMIT_BATCH, 5, &seq), 0);
    assert_int_equal(seq, 1);
    assert_int_equal(ring_publish(&pub, out, LIMIT_BATCH, 5, &seq), 0);
    assert_int_equal(seq, 65536);
    end();
}

/* A gating cursor lets exactly the ring through; each place it gives up lets one more through. */
static void
a_gating_cursor_holds(void **state)
{
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    struct ring_out out[8] = {0};
    uint64_t seq;

    (void)state;
    for (uint64_t k = 0; k < 16; k++) {
        assert_int_equal(ring_publish_may(&pub, 1, 0), 1);
        assert_int_equal(fixture_send(&pub, k, 0, &seq), 0);
    }
    for (uint64_t k = 16; k < 80; k++) {
        refused(out, 1, -EAGAIN);
        assert_int_equal(ring_publish_may(&pub, 1, 0), 0);
        expect(&r, k - 15, 0, k - 16);
        refused(out, 1, -EAGAIN);
        fixture_release(&r);
        assert_int_equal(ring_publish_may(&other, 1, 0), 1);
        assert_int_equal(ring_publish_may(&pub, 1, 0), 1);
        assert_int_equal(ring_publish_may(&pub, 2, 0), 0);
        assert_int_equal(fixture_send(&pub, k, 0, &seq), 0);
    }
}

static void
a_batch_waits_for_all_of_its_room(void **state)
{
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    struct ring_out out[8] = {0};
    struct ring_msg msg;
    uint64_t seq;

    (void)state;
    assert_int_equal(ring_publish(&pub, out, 8, 5, &seq), 0);
    assert_int_equal(ring_publish(&pub, out, 1, 5, &seq), 0);
    refused(out, 8, -EAGAIN);
    assert_int_equal(ring_publish(&pub, out, 7, 5, &seq), 0);
    for (uint32_t n = 1; n <= 8; n++) {
        refused(out, n, -EAGAIN);
        assert_int_equal(ring_receive(&r, &msg), RING_MESSAGE);
        fixture_release(&r);
    }
    assert_int_equal(ring_publish(&pub, out, 8, 5, &seq), 0);
    assert_int_equal(seq, 17);
}

static void
cursors_that_do_not_gate_hold_nobody(void **state)
{
    struct ring_reader a = fixture_reader(&f, 0, RING_KIND_LIVE, 1);
    struct ring_reader b = fixture_reader(&f, 1, RING_KIND_DURABLE, 1);
    uint64_t seq;

    (void)state;
    for (uint64_t k = 0; k < 100; k++)
        assert_int_equal(fixture_send(&pub, k, 100, &seq), 0);
    assert_true(a.next == 1 && b.next == 1);
}

static void
overwriting_waits_for_nobody(void **state)
{
    struct ring_geometry g = fixture_geometry();
    uint64_t seq;

    (void)state;
    g.when_full = RING_OVERWRITE;
    begin(&g);
    (void)fixture_reader(&f, 0, RING_KIND_GATING, 1);
    for (uint64_t k = 0; k < 100; k++)
        assert_int_equal(fixture_send(&pub, k, 500, &seq), 0);
    assert_int_equal(seq, 100);
    end();
}

/* Somebody is still writing one lap ago, in any of the slots wanted: wait, without an intent. */
static void
a_busy_slot_one_lap_ago_holds(void **state)
{
    static const uint32_t finals[] = {RING_COMMITTED, RING_INNER, RING_ABORTED};
    struct ring_out out[8] = {0};
    uint64_t tail = 17, seq;

    (void)state;
    assert_int_equal(ring_publish(&pub, out, 8, 5, &seq), 0);
    assert_int_equal(ring_publish(&pub, out, 8, 5, &seq), 0);
    for (uint32_t n = 1; n <= 8; n++) {
        for (uint32_t at = 0; at < n; at++) {
            atom_u64 *stamp = &ring_slot(&f.view, tail + at)->stamp;
            uint64_t before = atom_load_relaxed(stamp);
            atom_store_relaxed(stamp, ring_stamp(tail + at - 16, RING_BUSY));
            refused(out, n, -EAGAIN);
            assert_int_equal(ring_publish_may(&pub, n, 0), 0);
            /* Not even claimed by then: two laps behind. */
            atom_store_relaxed(stamp, ring_stamp(tail + at - 32, RING_COMMITTED));
            refused(out, n, -EAGAIN);
            atom_store_relaxed(stamp, before);
        }
        atom_store_relaxed(&ring_slot(&f.view, tail)->stamp, ring_stamp(tail - 16, finals[n % 3]));
        assert_int_equal(ring_publish(&pub, out, n, 5, &seq), 0);
        assert_int_equal(seq, tail);
        tail += n;
    }
}

static void
a_slot_ahead_of_the_tail_is_a_contradiction(void **state)
{
    static const uint32_t all[] = {RING_EMPTY, RING_BUSY, RING_COMMITTED, RING_INNER, RING_ABORTED};
    struct ring_out out[4] = {0};
    atom_u64 *stamp = &ring_slot(&f.view, 3)->stamp;
    uint64_t before = atom_load_relaxed(stamp);

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        atom_store_relaxed(stamp, ring_stamp(3, all[i]));
        refused(out, 4, -EBADMSG);
        assert_int_equal(ring_publish_may(&pub, 4, 0), -EBADMSG);
        atom_store_relaxed(stamp, ring_stamp(3 + 16, all[i]));
        refused(out, 4, -EBADMSG);
    }
    for (uint32_t s = 5; s < 8; s++) {
        atom_store_relaxed(stamp, ring_stamp(3 - (uint64_t)16, s));
        refused(out, 4, -EBADMSG);
    }
    atom_store_relaxed(stamp, before);
}

/* A tail that cannot be true never moves on, whatever the cached limit says. */
static void
a_wild_tail_is_refused(void **state)
{
    static const uint64_t tails[] = {0,          UINT64_MAX, UINT64_MAX - 3,  1ull << 63,
                                     1ull << 61, 1ull << 60, (1ull << 61) + 9};
    struct ring_out out[4] = {0};
    uint64_t seq;

    (void)state;
    for (int k = 0; k < 8; k++)
        assert_int_equal(ring_publish(&pub, out, 1, 5, &seq), 0);
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        atom_store_relaxed(ring_tail(&f.view), tails[i]);
        refused(out, 4, -EBADMSG);
        assert_int_equal(ring_publish_may(&pub, 4, 0), -EBADMSG);
    }
    /* Moved back: the slots know better. Moved on: they are not free, and nothing is claimed. */
    atom_store_relaxed(ring_tail(&f.view), 3);
    refused(out, 4, -EBADMSG);
    atom_store_relaxed(ring_tail(&f.view), 9 + 160);
    refused(out, 4, -EAGAIN);
    atom_store_relaxed(ring_tail(&f.view), 9);
    atom_store_relaxed(&pub.line->limit, 9 + 16);
}

static void
a_line_counts(void **state)
{
    uint64_t seq;
    uint32_t lens[3] = {10, 0, 300};

    (void)state;
    assert_int_equal(fixture_send(&pub, 0, 32, &seq), 0);
    assert_int_equal(fixture_send_many(&pub, 1, lens, 3, &seq), 0);
    assert_int_equal(atom_load_relaxed(&pub.line->published), 4);
    assert_int_equal(atom_load_relaxed(&pub.line->bytes), 342);
    fixture_publisher_drop(&pub);
    ring_entry_kill(&f.view, 0);
    ring_entry_free(&f.view, 0);
    assert_int_equal(fixture_publisher(&f, 0, &pub), 0);
    assert_int_equal(fixture_send(&pub, 4, 8, &seq), 0);
    assert_int_equal(atom_load_relaxed(&pub.line->published), 5);
    assert_int_equal(atom_load_relaxed(&pub.line->bytes), 350);
}

static void
who_sleeps_is_woken_once(void **state)
{
    struct ring_control *c = ring_control(&f.view);

    (void)state;
    assert_int_equal(ring_publish_due(&pub, 5), 0);
    (void)shm_event_arm(&c->sleep);
    assert_int_equal(ring_publish_due(&pub, 5), RING_DUE_WAKE);
    assert_int_equal(ring_publish_due(&other, 6), 0);
}

static void
the_bell_is_rung_once_from_its_number_on(void **state)
{
    struct ring_control *c = ring_control(&f.view);

    (void)state;
    atom_store_seq(&c->bell_seq, 10);
    assert_int_equal(ring_publish_due(&pub, 9), 0);
    assert_int_equal(ring_publish_due(&pub, 10), RING_DUE_BELL);
    assert_int_equal(ring_publish_due(&pub, 11), 0);
    assert_int_equal(ring_publish_due(&pub, UINT64_MAX), 0);
    atom_store_seq(&c->bell_seq, 0);
    (void)shm_event_arm(&c->sleep);
    assert_int_equal(ring_publish_due(&other, 12), RING_DUE_BELL | RING_DUE_WAKE);
    assert_int_equal(atom_load_relaxed(&c->bell_seq), RING_BELL_OFF);
}

static void
only_a_publisher_can_join(void **state)
{
    struct ring_piece pieces[32];
    struct ring_publisher p;
    struct ring_view v = f.view;

    (void)state;
    assert_int_equal(ring_publisher_room(&f.view), 32);
    assert_int_equal(ring_publisher_join(&p, &v, 4, pieces, false), -EINVAL);
    assert_int_equal(ring_publisher_join(&p, &v, UINT16_MAX, pieces, false), -EINVAL);
    v.control = NULL;
    assert_int_equal(ring_publisher_join(&p, &v, 2, pieces, false), -EINVAL);
}

static void
a_fenced_publisher_publishes_the_same(void **state)
{
    struct ring_geometry g = fixture_geometry();
    struct ring_reader r;
    uint64_t seq;

    (void)state;
    g.barrier = SHM_BARRIER_BOTH;
    begin(&g);
    assert_true(pub.fenced);
    r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    assert_int_equal(fixture_send(&pub, 3, 20, &seq), 0);
    expect(&r, 1, 0, 3);
    end();
}

#if defined(LEAT_TESTPOINTS)

static const char *wanted;
static unsigned hits;
static uint64_t other_seq;

/* Another publisher is faster between our intent and our claim. */
static void
overtake(const char *name)
{
    if (strcmp(name, wanted) != 0 || hits++ >= 3)
        return;
    shm_testpoint_hook = NULL;
    if (fixture_send(&other, hits, 8, &other_seq))
        other_seq = 0;
    shm_testpoint_hook = overtake;
}

static void
a_lost_claim_is_tried_again(void **state)
{
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    uint64_t seq;

    (void)state;
    hits = 0;
    wanted = "ring.intent";
    shm_testpoint_hook = overtake;
    assert_int_equal(fixture_send(&pub, 7, 8, &seq), 0);
    shm_testpoint_hook = NULL;
    assert_int_equal(hits, 4);
    assert_int_equal(other_seq, 3);
    assert_int_equal(seq, 4);
    for (uint64_t k = 1; k <= 3; k++)
        expect(&r, k, 1, k);
    expect(&r, 4, 0, 7);
}

static void
fill_up(const char *name)
{
    if (strcmp(name, "ring.intent") != 0)
        return;
    shm_testpoint_hook = NULL;
    while (fixture_send(&other, 0, 8, &other_seq) == 0)
        ;
}

/* It lost its claim and finds no room: who waits has no intent standing. */
static void
a_lost_claim_leaves_no_intent(void **state)
{
    struct ring_out out[1] = {0};
    uint64_t seq;

    (void)state;
    (void)fixture_reader(&f, 0, RING_KIND_GATING, 1);
    shm_testpoint_hook = fill_up;
    assert_int_equal(ring_publish(&pub, out, 1, 5, &seq), -EAGAIN);
    shm_testpoint_hook = NULL;
    assert_int_equal(other_seq, 16);
    assert_int_equal(atom_load_relaxed(&pub.line->intent), 0);
    assert_int_equal(atom_load_relaxed(ring_tail(&f.view)), 17);
}

static uint64_t seen_busy, seen_intent;

/* While any slot of the claim is unfinished the intent covers all of them. */
static void
watch_intent(const char *name)
{
    uint64_t intent = atom_load_relaxed(&pub.line->intent);

    if (!strcmp(name, "ring.busy")) {
        seen_busy++;
        seen_intent += intent == ring_intent_pack(1, 5);
    }
    if (!strcmp(name, "ring.cleared"))
        seen_intent += intent == 0;
}

static void
the_intent_stands_while_slots_are_open(void **state)
{
    struct ring_out out[5] = {0};
    uint64_t seq;

    (void)state;
    seen_busy = seen_intent = 0;
    shm_testpoint_hook = watch_intent;
    assert_int_equal(ring_publish(&pub, out, 5, 1, &seq), 0);
    shm_testpoint_hook = NULL;
    assert_int_equal(seen_busy, 5);
    assert_int_equal(seen_intent, 6);
}

static void
move_epoch(const char *name)
{
    if (!strcmp(name, "ring.limit"))
        atom_add_seq(&ring_control(&f.view)->cursor_epoch, 1);
    hits += !strcmp(name, "ring.limit");
}

/* One that means harm moves the epoch at every look: no endless loop, no limit that is not sure. */
static void
an_epoch_that_never_stands_still_holds(void **state)
{
    struct ring_out out[1] = {0};
    uint64_t seq;

    (void)state;
    for (int k = 0; k < 16; k++)
        assert_int_equal(ring_publish(&pub, out, 1, 5, &seq), 0);
    hits = 0;
    shm_testpoint_hook = move_epoch;
    refused(out, 1, -EAGAIN);
    refused(out, 1, -EAGAIN);
    shm_testpoint_hook = NULL;
    assert_in_range(hits, 2, 1000);
    assert_int_equal(ring_publish(&pub, out, 1, 5, &seq), 0);
    assert_int_equal(seq, 17);
}

#endif

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_dense_from_any_origin),
        cmocka_unit_test(every_length_fits_every_slot),
        cmocka_unit_test_setup_teardown(batches_are_adjacent, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_published_is_refused, setup, teardown),
        cmocka_unit_test(a_batch_is_65535_at_most),
        cmocka_unit_test_setup_teardown(a_gating_cursor_holds, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_waits_for_all_of_its_room, setup, teardown),
        cmocka_unit_test_setup_teardown(cursors_that_do_not_gate_hold_nobody, setup, teardown),
        cmocka_unit_test(overwriting_waits_for_nobody),
        cmocka_unit_test_setup_teardown(a_busy_slot_one_lap_ago_holds, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slot_ahead_of_the_tail_is_a_contradiction, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_wild_tail_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_line_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(who_sleeps_is_woken_once, setup, teardown),
        cmocka_unit_test_setup_teardown(the_bell_is_rung_once_from_its_number_on, setup, teardown),
        cmocka_unit_test_setup_teardown(only_a_publisher_can_join, setup, teardown),
        cmocka_unit_test(a_fenced_publisher_publishes_the_same),
#if defined(LEAT_TESTPOINTS)
        cmocka_unit_test_setup_teardown(a_lost_claim_is_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_claim_leaves_no_intent, setup, teardown),
        cmocka_unit_test_setup_teardown(the_intent_stands_while_slots_are_open, setup, teardown),
        cmocka_unit_test_setup_teardown(an_epoch_that_never_stands_still_holds, setup, teardown),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
