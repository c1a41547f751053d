/* Planning, formatting and joining: the bounds of each field, an empty ring at any origin, and that nothing is joined
 * whose header does not say exactly what is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "ring/ring.h"
#include "tests/support/fixture.h"

static const char *
plan(struct ring_geometry g)
{
    const char *what = NULL;
    struct ring_geometry before = g;
    int r = ring_plan(&g, &what);

    assert_int_equal(r, what ? -EINVAL : 0);
    if (what)
        assert_memory_equal(&g, &before, sizeof g);
    return what ? what : "good";
}

static void
field_bounds(size_t at, size_t size, const uint64_t *values, size_t good, const char *name)
{
    for (size_t i = 0; values[i] != 424242; i++) {
        struct ring_geometry g = fixture_geometry();
        uint32_t narrow = (uint32_t)values[i];
        memcpy((char *)&g + at, size == 4 ? (void *)&narrow : (void *)(uintptr_t)&values[i], size);
        if (strcmp(plan(g), i < good ? "good" : name) != 0)
            fail_msg("%s = %llu: %s", name, (unsigned long long)values[i], plan(g));
    }
}

/* The first `good` values pass, the others are refused with the field's name. */
#define BOUNDS(field, good, ...)                                                                   \
    field_bounds(offsetof(struct ring_geometry, field), sizeof((struct ring_geometry *)0)->field,  \
                 (const uint64_t[]){__VA_ARGS__, 424242}, good, #field)

static void
every_field_has_bounds(void **state)
{
    (void)state;
    BOUNDS(depth, 3, 8, 1024, 1u << 24, 0, 1, 4, 7, 9, 24, 1u << 25, UINT64_MAX, 1ull << 63);
    BOUNDS(lane_size, 2, 4096, 4ull << 30, 0, 2048, 4095, 4097, 12288, 8ull << 30, 1ull << 63);
    BOUNDS(slot_size, 3, 64, 128, 256, 0, 32, 63, 96, 192, 512, UINT32_MAX);
    BOUNDS(max_publishers, 2, 1, 4096, 0, 4097, UINT32_MAX);
    BOUNDS(max_cursors, 2, 1, 4096, 0, 4097, UINT32_MAX);
    BOUNDS(barrier, 2, 0, 1, 2, UINT32_MAX);
    BOUNDS(durability, 2, 0, 1, 2, UINT32_MAX);
    BOUNDS(when_full, 2, 0, 1, 2, UINT32_MAX);
    BOUNDS(timestamps, 3, 0, 1, 2, 3, UINT32_MAX);
    BOUNDS(mode, 3, 0, 0600, 0777, 01000, UINT32_MAX);
    BOUNDS(retain_until_acked, 2, 0, 1, 2);
    BOUNDS(flags, 1, 0, 1, UINT32_MAX);
    BOUNDS(origin, 4, 1, 1ull << 32, 1ull << 59, (1ull << 60) - 1, 0, 1ull << 60, UINT64_MAX);
}

static void
a_log_cannot_be_overwritten(void **state)
{
    struct ring_geometry g = fixture_geometry();

    (void)state;
    g.durability = RING_DISK;
    assert_string_equal(plan(g), "good");
    g.when_full = RING_OVERWRITE;
    assert_string_equal(plan(g), "when_full");
}

/* All parts are inside, aligned, in order and apart, for the smallest and the largest of each. */
static void
parts_do_not_overlap(void **state)
{
    static const uint64_t depths[] = {8, 1u << 24}, lanes[] = {4096, 4ull << 30};
    static const uint32_t slots[] = {64, 256}, many[] = {1, 4096};
    const char *what;

    (void)state;
    for (unsigned i = 0; i < 32; i++) {
        struct ring_geometry g = fixture_geometry();
        g.depth = depths[i & 1];
        g.lane_size = lanes[i >> 1 & 1];
        g.slot_size = slots[i >> 2 & 1];
        g.max_publishers = many[i >> 3 & 1];
        g.max_cursors = many[i >> 4 & 1];
        assert_int_equal(ring_plan(&g, &what), 0);
        assert_true(g.entries >= RING_DAEMON_AT + sizeof(struct ring_daemon));
        assert_true(g.tail >= g.entries + g.max_publishers * sizeof(struct ring_entry));
        assert_true(g.lines >= g.tail + SHM_APART && g.lines % SHM_APART == 0);
        assert_true(g.slots >= g.lines + g.max_publishers * sizeof(struct ring_line));
        assert_true(g.lanes >= g.slots + g.depth * g.slot_size);
        assert_int_equal(g.data_size, g.lanes + g.max_publishers * g.lane_size);
        assert_int_equal((g.tail | g.slots | g.lanes | g.data_size) % SHM_PAGE, 0);
        assert_true(g.states >= RING_CONTROL_AT + sizeof(struct ring_control));
        assert_true(g.cursors >= g.states + (uint64_t)g.max_cursors * 8 &&
                    g.cursors % SHM_APART == 0);
        assert_true(g.control_size >= g.cursors + g.max_cursors * sizeof(struct ring_cursor));
        assert_int_equal(g.control_size % SHM_PAGE, 0);
    }
}

/* Whatever the memory held before: an empty ring that goes on at its origin. */
static void
an_empty_ring_begins_at_its_origin(void **state)
{
    static const uint64_t origins[] = {
        1, 2, 16, 17, (1ull << 32) - 3, 1ull << 59, 1000, 1ull << 48, (1ull << 60) - 1};
    const struct ring_identity who = {.name = "again", .topic_id = 3};
    struct ring_report report;
    struct ring_msg msg;

    (void)state;
    for (size_t i = 0; i < sizeof origins / sizeof *origins; i++) {
        struct ring_geometry g = fixture_geometry();
        struct fixture f;
        uint32_t version;
        g.origin = origins[i];
        assert_int_equal(fixture_make(&f, &g), 0);
        memset(f.maps.data, (int)(0x11 * i), f.view.geo.data_size);
        memset(f.maps.control, (int)(0x11 * i), f.view.geo.control_size);
        ring_format(f.maps.data, f.maps.control, &f.view.geo, &who);
        assert_int_equal(ring_join(&f.view, &f.maps, &version), 0);
        assert_int_equal(ring_check(&f.view, &report), 0);
        assert_int_equal(report.tail, origins[i]);
        assert_int_equal(report.oldest, origins[i]);
        assert_int_equal(report.committed + report.aborted + report.busy + report.missing, 0);
        assert_int_equal(ring_oldest(&f.view), origins[i]);
        assert_int_equal(atom_load_relaxed(&ring_daemon(&f.view)->durable), origins[i] - 1);
        for (uint64_t q = origins[i]; q < origins[i] + g.depth; q++)
            assert_int_equal(ring_peek(&f.view, q, &msg), RING_NONE);
        fixture_destroy(&f);
    }
}

static struct fixture f;
static uint32_t version;

static int
setup(void **state)
{
    struct ring_geometry g = fixture_geometry();

    (void)state;
    version = 999;
    return fixture_make(&f, &g);
}

static int
teardown(void **state)
{
    (void)state;
    fixture_destroy(&f);
    return 0;
}

static void
a_view_is_what_was_formatted(void **state)
{
    struct ring_view v;
    struct ring_maps maps = f.maps;

    (void)state;
    assert_int_equal(ring_join(&v, &maps, &version), 0);
    assert_int_equal(v.mask, 15);
    assert_int_equal(v.shift, 6);
    assert_memory_equal(&v.geo, &f.view.geo, sizeof v.geo);
    assert_string_equal(ring_header(&v)->name, "fixture");
    assert_int_equal(ring_inline_max(&v), 32);
    assert_int_equal(ring_payload_max(&v), 2048);
    maps.control = NULL;
    maps.control_size = 0;
    assert_int_equal(ring_join(&v, &maps, &version), 0);
    assert_null(v.control);
}

static void
nobody_joins_what_is_destroyed(void **state)
{
    struct ring_view v = {.mask = 4711};

    (void)state;
    ring_destroy(&f.view);
    assert_int_equal(ring_join(&v, &f.maps, &version), -EBADMSG);
    assert_int_equal(v.mask, 4711);
    assert_int_equal(version, 999);
}

static void
sizes_must_be_as_mapped(void **state)
{
    const struct ring_maps good = f.maps;
    static const int64_t off[] = {-1, 1, -4096, 4096};
    struct ring_view v;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct ring_maps m = good;
        m.data_size += (uint64_t)off[i];
        assert_int_equal(ring_join(&v, &m, &version), -EBADMSG);
        m = good;
        m.control_size += (uint64_t)off[i];
        assert_int_equal(ring_join(&v, &m, &version), -EBADMSG);
    }
    for (uint64_t size = 0; size < RING_DAEMON_AT + sizeof(struct ring_daemon); size += 8) {
        struct ring_maps m = good;
        m.data_size = size;
        ((struct shm_header *)good.data)->size = size;
        assert_int_equal(ring_join(&v, &m, &version), -EBADMSG);
    }
}

static void
both_objects_are_of_one_topic(void **state)
{
    struct ring_maps m = f.maps;
    struct ring_view v;

    (void)state;
    ((struct shm_header *)f.maps.control)->topic_id++;
    assert_int_equal(ring_join(&v, &m, &version), -EBADMSG);
    ((struct shm_header *)f.maps.control)->topic_id--;
    assert_int_equal(ring_join(&v, &m, &version), 0);
    m.data = f.maps.control;
    m.data_size = f.maps.control_size;
    assert_int_equal(ring_join(&v, &m, &version), -EBADMSG);
}

static void
another_version_is_named(void **state)
{
    struct ring_view v;

    (void)state;
    ((struct shm_header *)f.maps.control)->version = 77;
    assert_int_equal(ring_join(&v, &f.maps, &version), -EPROTONOSUPPORT);
    assert_int_equal(version, 77);
}

/* Every bit of the geometry is either believed because another geometry is possible with it (and then all sizes still
 * fit the maps), or refused. */
static void
no_changed_bit_leads_outside(void **state)
{
    unsigned char *at = (unsigned char *)f.maps.data + RING_GEOMETRY_AT;
    struct ring_view v;

    (void)state;
    for (size_t bit = 0; bit < 8 * sizeof(struct ring_geometry); bit++) {
        at[bit / 8] ^= (unsigned char)(1u << bit % 8);
        if (ring_join(&v, &f.maps, &version) == 0) {
            assert_int_equal(v.geo.data_size, f.maps.data_size);
            assert_int_equal(v.geo.control_size, f.maps.control_size);
            assert_int_equal(v.geo.lanes, f.view.geo.lanes);
            assert_int_equal(v.geo.slots, f.view.geo.slots);
            assert_int_equal(v.geo.depth, f.view.geo.depth);
        }
        at[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    assert_int_equal(ring_join(&v, &f.maps, &version), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_has_bounds),
        cmocka_unit_test(a_log_cannot_be_overwritten),
        cmocka_unit_test(parts_do_not_overlap),
        cmocka_unit_test(an_empty_ring_begins_at_its_origin),
        cmocka_unit_test_setup_teardown(a_view_is_what_was_formatted, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_joins_what_is_destroyed, setup, teardown),
        cmocka_unit_test_setup_teardown(sizes_must_be_as_mapped, setup, teardown),
        cmocka_unit_test_setup_teardown(both_objects_are_of_one_topic, setup, teardown),
        cmocka_unit_test_setup_teardown(another_version_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(no_changed_bit_leads_outside, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
