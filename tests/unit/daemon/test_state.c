/* A topic's state: written with its reason, seen by sleepers, and final where it is final. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "daemon/state.h"

static struct ring_view view;
static void *data, *control;

static int
setup(void **state)
{
    struct ring_geometry geo = {.depth = 8,
                                .lane_size = 4096,
                                .slot_size = 64,
                                .max_publishers = 1,
                                .max_cursors = 1,
                                .origin = 1};
    const struct ring_identity who = {.name = "a", .topic_id = 1};
    struct ring_maps maps;
    const char *what;
    uint32_t version;

    (void)state;
    if (ring_plan(&geo, &what))
        return -1;
    data = aligned_alloc(4096, geo.data_size);
    control = aligned_alloc(4096, geo.control_size);
    if (!data || !control)
        return -1;
    ring_format(data, control, &geo, &who);
    maps = (struct ring_maps){data, control, geo.data_size, geo.control_size};
    return ring_join(&view, &maps, &version);
}

static int
teardown(void **state)
{
    (void)state;
    free(data);
    free(control);
    return 0;
}

static void
all_sleepers_are_woken(void **state)
{
    struct ring_control *c = ring_control(&view);
    uint32_t sleep = shm_event_arm(&c->sleep), space = shm_event_arm(&c->space);
    uint32_t durable = shm_event_arm(&c->durable_wait);

    (void)state;
    state_set(&view, RING_TOPIC_DISK_FULL, "no room");
    assert_int_equal(state_get(&view), RING_TOPIC_DISK_FULL);
    assert_string_equal(ring_daemon(&view)->reason, "no room");
    assert_int_equal(shm_event_wait(&c->sleep, sleep, 0), 0);
    assert_int_equal(shm_event_wait(&c->space, space, 0), 0);
    assert_int_equal(shm_event_wait(&c->durable_wait, durable, 0), 0);
}

static void
the_same_again_wakes_nobody(void **state)
{
    struct ring_control *c = ring_control(&view);
    uint32_t before;

    (void)state;
    state_set(&view, RING_TOPIC_DISK_FULL, "no room");
    before = atom_load_relaxed(&c->sleep);
    state_set(&view, RING_TOPIC_DISK_FULL, "no room");
    assert_int_equal(atom_load_relaxed(&c->sleep), before);
    state_set(&view, RING_TOPIC_DISK_FULL, "still none");
    assert_int_not_equal(atom_load_relaxed(&c->sleep), before);
    state_set(&view, RING_TOPIC_OK, "");
    assert_int_equal(state_get(&view), RING_TOPIC_OK);
    assert_string_equal(ring_daemon(&view)->reason, "");
}

static void
some_are_final(void **state)
{
    (void)state;
    state_set(&view, RING_TOPIC_DAMAGED, "broken");
    state_set(&view, RING_TOPIC_OK, "");
    state_set(&view, RING_TOPIC_DISK_FULL, "x");
    assert_int_equal(state_get(&view), RING_TOPIC_DAMAGED);
    assert_string_equal(ring_daemon(&view)->reason, "broken");
    state_set(&view, RING_TOPIC_REMOVED, "gone");
    state_set(&view, RING_TOPIC_DAMAGED, "broken");
    assert_int_equal(state_get(&view), RING_TOPIC_REMOVED);
}

static void
a_long_reason_is_cut_and_an_unknown_state_is_damage(void **state)
{
    char reason[600];

    (void)state;
    memset(reason, 'x', sizeof reason - 1);
    reason[sizeof reason - 1] = '\0';
    state_set(&view, RING_TOPIC_LOG_FAILED, reason);
    assert_int_equal(strlen(ring_daemon(&view)->reason), 255);
    atom_store_relaxed(&ring_daemon(&view)->state, 99);
    assert_int_equal(state_get(&view), RING_TOPIC_DAMAGED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_sleepers_are_woken, setup, teardown),
        cmocka_unit_test_setup_teardown(the_same_again_wakes_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(some_are_final, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_reason_is_cut_and_an_unknown_state_is_damage, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
