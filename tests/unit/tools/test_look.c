/* The picture of a ring against rings that are known slot by slot, and against bytes that mean nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "tests/support/fixture.h"
#include "tools/look.h"

struct ring {
    struct fixture f;
    struct ring_publisher p;
    struct look *look;
};

static void
begin(struct ring *r)
{
    struct ring_geometry geo = fixture_geometry();

    assert_int_equal(fixture_make(&r->f, &geo), 0);
    assert_int_equal(fixture_publisher(&r->f, 0, &r->p), 0);
    r->look = calloc(1, sizeof *r->look);
    assert_non_null(r->look);
}

static void
end(struct ring *r)
{
    fixture_publisher_drop(&r->p);
    fixture_destroy(&r->f);
    free(r->look);
}

static void
send(struct ring *r, unsigned n)
{
    uint64_t seq;

    for (unsigned i = 0; i < n; i++)
        assert_int_equal(fixture_send(&r->p, i, 8, &seq), 0);
}

static void
counts_are(const struct look *l, uint64_t messages, uint64_t flight, uint64_t aborted,
           uint64_t empty)
{
    assert_int_equal(l->all.messages, messages);
    assert_int_equal(l->all.flight, flight);
    assert_int_equal(l->all.aborted, aborted);
    assert_int_equal(l->all.empty, empty);
    assert_int_equal(l->all.bad, 0);
    assert_null(l->damage);
}

/* Cells cover [low, low + depth) without a hole, and their counts add up. */
static void
cells_add_up(const struct look *l)
{
    uint64_t at = l->low, sum = 0;

    for (unsigned i = 0; i < l->cells; i++) {
        const struct look_cell *c = &l->cell[i];
        assert_int_equal(c->first, at);
        assert_int_equal(c->messages + c->flight + c->aborted + c->empty + c->bad, c->slots);
        at += c->slots;
        sum += c->slots;
    }
    assert_int_equal(sum, l->all.slots);
}

static void
an_empty_ring_and_a_full_one(void **state)
{
    struct ring r;

    (void)state;
    begin(&r);
    for (unsigned n = 0; n < 40; n++) {
        for (unsigned cells = 1; cells < 20; cells += 3) {
            look_take(&r.f.view, cells, r.look);
            assert_int_equal(r.look->cells, cells < 16 ? cells : 16);
            assert_int_equal(r.look->tail, n + 1);
            assert_int_equal(r.look->low, n > 16 ? n - 15 : 1);
            counts_are(r.look, n < 16 ? n : 16, 0, 0, n < 16 ? 16 - n : 0);
            cells_add_up(r.look);
        }
        send(&r, 1);
    }
    end(&r);
}

static void
claims_in_flight_and_aborted(void **state)
{
    struct ring r;
    atom_u64 *tail;
    uint64_t aborted;

    (void)state;
    begin(&r);
    send(&r, 20);
    tail = ring_tail(&r.f.view);
    /* A publisher has claimed three places and stamped the last of them. */
    atom_store_relaxed(&ring_line(&r.f.view, 0)->intent, ring_intent_pack(21, 3));
    atom_store_relaxed(tail, 24);
    atom_store_relaxed(&ring_slot(&r.f.view, 23)->stamp, ring_stamp(23, RING_BUSY));
    look_take(&r.f.view, 16, r.look);
    counts_are(r.look, 13, 3, 0, 0);
    assert_int_equal(r.look->flights, 3);
    assert_int_equal(r.look->flight[0].seq, 21);
    assert_false(r.look->flight[0].stamped);
    assert_int_equal(r.look->flight[2].seq, 23);
    assert_true(r.look->flight[2].stamped);
    /* It dies, and the daemon settles what it left. */
    ring_entry_kill(&r.f.view, 0);
    assert_int_equal(fixture_settle(&r.f, &aborted), 0);
    assert_int_equal(aborted, 3);
    look_take(&r.f.view, 16, r.look);
    counts_are(r.look, 13, 0, 3, 0);
    assert_int_equal(r.look->flights, 0);
    end(&r);
}

static void
a_cursor_at_the_gate(void **state)
{
    struct ring r;
    struct ring_reader reader;
    struct ring_msg m;

    (void)state;
    begin(&r);
    reader = fixture_reader(&r.f, 2, RING_KIND_GATING, 1);
    send(&r, 16);
    look_take(&r.f.view, 16, r.look);
    assert_int_equal(r.look->gate, 1);
    assert_int_equal(r.look->gate_who, 2);
    assert_int_equal(ring_receive(&reader, &m), RING_MESSAGE);
    fixture_release(&reader);
    look_take(&r.f.view, 16, r.look);
    assert_int_equal(r.look->gate, 2);
    assert_int_equal(look_cell_of(r.look, r.look->gate), 1);
    assert_int_equal(look_cell_of(r.look, 0), 0);
    assert_int_equal(look_cell_of(r.look, UINT64_MAX), 15);
    ring_cursor_free(&r.f.view, 2);
    look_take(&r.f.view, 16, r.look);
    assert_int_equal(r.look->gate_who, UINT32_MAX);
    end(&r);
}

static void
damage_is_named(void **state)
{
    struct ring r;

    (void)state;
    begin(&r);
    send(&r, 20);
    atom_store_relaxed(&ring_slot(&r.f.view, 12)->stamp, ring_stamp(12, 6));
    look_take(&r.f.view, 16, r.look);
    assert_non_null(r.look->damage);
    assert_int_equal(r.look->all.bad, 1);
    atom_store_relaxed(&ring_slot(&r.f.view, 12)->stamp, ring_stamp(12 + 16 * 7, RING_COMMITTED));
    look_take(&r.f.view, 16, r.look);
    assert_int_equal(r.look->all.bad, 1);
    atom_store_relaxed(ring_tail(&r.f.view), 1ull << 61);
    look_take(&r.f.view, 16, r.look);
    assert_non_null(r.look->damage);
    assert_int_equal(r.look->cells, 0);
    end(&r);
}

static void
one_slot(void **state)
{
    struct look_raw raw;
    struct ring r;
    uint64_t seq, lane_pos;

    (void)state;
    begin(&r);
    assert_int_equal(fixture_send(&r.p, 1, 20, &seq), 0);
    assert_int_equal(fixture_send(&r.p, 2, 500, &seq), 0);
    look_raw(&r.f.view, seq, &raw);
    assert_int_equal(raw.stamp, ring_stamp(seq, RING_COMMITTED));
    assert_int_equal(raw.meta >> 32, 500);
    assert_int_equal(raw.key, pattern_key(0, 2));
    assert_true(raw.sound && raw.lane_offset && !raw.torn);
    lane_pos = raw.lane_pos;
    assert_true(pattern_is(r.f.view.data + raw.lane_offset, raw.key, 500));
    look_raw(&r.f.view, seq - 1, &raw);
    assert_true(raw.sound && !raw.lane_offset);
    assert_true(pattern_is(raw.bytes + RING_SLOT_HEADER, raw.key, 20));
    /* A place in the lane where no message begins. */
    for (uint64_t off = 1; off < 64; off++) {
        atom_store_relaxed(&ring_slot(&r.f.view, seq)->payload[0], lane_pos + off);
        look_raw(&r.f.view, seq, &raw);
        assert_false(raw.sound);
    }
    /* A length that cannot be. */
    atom_store_relaxed(&ring_slot(&r.f.view, seq)->meta, UINT64_MAX);
    look_raw(&r.f.view, seq, &raw);
    assert_false(raw.sound);
    assert_int_equal(raw.lane_offset, 0);
    end(&r);
}

/* Whatever stands in shared memory, a look ends, stays inside, and is JSON. */
static void
any_bytes(void **state)
{
    struct prng prng = {fixture_seed()};
    struct look_raw raw;
    struct ring r;
    json_t *o;
    char *text;

    (void)state;
    begin(&r);
    for (int round = 0; round < 300; round++) {
        uint64_t *words = (uint64_t *)(void *)r.f.view.data, last = r.f.view.geo.lanes / 8;
        for (uint64_t i = RING_DAEMON_AT / 8; i < last; i++)
            if (prng_below(&prng, 4) == 0)
                words[i] = prng_below(&prng, 2) ? prng_next(&prng) : prng_below(&prng, 400);
        words = (uint64_t *)(void *)r.f.view.control;
        for (uint64_t i = RING_CONTROL_AT / 8; i < r.f.view.geo.control_size / 8; i++)
            words[i] = prng_below(&prng, 3) ? prng_below(&prng, 64) : prng_next(&prng);
        look_take(&r.f.view, 1 + (unsigned)prng_below(&prng, 100), r.look);
        assert_true(r.look->cells <= 16);
        o = look_json(r.look);
        text = json_dumps(o, 0);
        assert_non_null(text);
        free(text);
        json_decref(o);
        look_raw(&r.f.view, prng_next(&prng), &raw);
        if (raw.sound && raw.lane_offset)
            assert_true(shm_within(raw.lane_offset, raw.meta >> 32, r.f.view.geo.data_size));
    }
    end(&r);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_ring_and_a_full_one),
        cmocka_unit_test(claims_in_flight_and_aborted),
        cmocka_unit_test(a_cursor_at_the_gate),
        cmocka_unit_test(damage_is_named),
        cmocka_unit_test(one_slot),
        cmocka_unit_test(any_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
