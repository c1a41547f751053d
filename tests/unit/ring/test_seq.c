/* Stamps: the arithmetic on both sides of every boundary, modulo 2^64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ring/ring.h"
#include "tests/support/fixture.h"

static const uint64_t places[] = {
    1,
    2,
    7,
    8,
    9,
    (1ull << 32) - 1,
    1ull << 32,
    1ull << 47,
    1ull << 48,
    1ull << 59,
    (1ull << 60) - 1,
};
#define PLACES (sizeof places / sizeof *places)

static void
a_stamp_gives_back_what_it_was_made_of(void **state)
{
    (void)state;
    for (size_t i = 0; i < PLACES; i++) {
        for (uint32_t s = 0; s < 8; s++) {
            uint64_t stamp = ring_stamp(places[i], s);
            assert_int_equal(ring_stamp_seq(stamp), places[i]);
            assert_int_equal(ring_stamp_state(stamp), s);
            assert_int_equal(ring_stamp_diff(stamp, places[i]), s);
        }
    }
}

static void
the_difference_tells_the_laps_apart(void **state)
{
    (void)state;
    for (size_t i = 0; i < PLACES * 5; i++) {
        uint64_t place = places[i / 5];
        uint32_t s = (uint32_t)(i % 5);
        for (uint64_t depth = 8; depth <= 1u << 24; depth *= 2) {
            assert_true(ring_stamp_diff(ring_stamp(place - depth, s), place) < 0);
            assert_true(ring_stamp_diff(ring_stamp(place + depth, s), place) > 7);
        }
    }
}

static void
a_message_is_committed_or_inner_of_this_lap(void **state)
{
    (void)state;
    for (size_t i = 0; i < PLACES; i++) {
        for (uint32_t s = 0; s < 8; s++) {
            bool is = s == RING_COMMITTED || s == RING_INNER;
            assert_int_equal(ring_stamp_is_message(ring_stamp(places[i], s), places[i]), is);
            assert_false(ring_stamp_is_message(ring_stamp(places[i] - 8, s), places[i]));
            assert_false(ring_stamp_is_message(ring_stamp(places[i] + 8, s), places[i]));
            assert_false(ring_stamp_is_message(ring_stamp(places[i] + 1, s), places[i]));
        }
    }
}

static void
all_but_busy_is_final(void **state)
{
    (void)state;
    for (int64_t diff = -64; diff < 64; diff++)
        assert_int_equal(ring_diff_is_final(diff), diff == RING_EMPTY || diff == RING_COMMITTED ||
                                                       diff == RING_INNER || diff == RING_ABORTED);
}

/* One lap before the first sequence number is far below zero, and nothing has to know. */
static void
the_lap_before_the_first_wraps(void **state)
{
    (void)state;
    for (uint64_t depth = 8; depth <= 1u << 24; depth *= 2) {
        uint64_t stamp = ring_stamp(1 - depth, RING_EMPTY);
        assert_true(ring_stamp_diff(stamp, 1) < 0);
        assert_int_equal(ring_stamp_diff(stamp, 1 - depth), RING_EMPTY);
    }
}

static void
an_intent_gives_back_what_it_was_made_of(void **state)
{
    struct prng rng = {fixture_seed()};

    (void)state;
    for (size_t i = 0; i < PLACES; i++) {
        for (int k = 0; k < 1000; k++) {
            uint32_t n = 1 + (uint32_t)prng_below(&rng, LIMIT_BATCH);
            uint64_t away = prng_below(&rng, k < 500 ? 1u << 25 : 1ull << 46), seq = places[i];
            uint64_t w = ring_intent_pack(seq, n);
            assert_int_equal(ring_intent_count(w), n);
            assert_int_equal(ring_intent_seq(w, seq + away), seq);
            if (away < seq)
                assert_int_equal(ring_intent_seq(w, seq - away), seq);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stamp_gives_back_what_it_was_made_of),
        cmocka_unit_test(the_difference_tells_the_laps_apart),
        cmocka_unit_test(a_message_is_committed_or_inner_of_this_lap),
        cmocka_unit_test(all_but_busy_is_final),
        cmocka_unit_test(the_lap_before_the_first_wraps),
        cmocka_unit_test(an_intent_gives_back_what_it_was_made_of),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
