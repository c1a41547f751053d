/* Where to begin: by number, count, time; in a ring, in a log, and where both hold a part. */
#include "tests/unit/daemon/bus_fixture.h"

#include "daemon/position.h"

static uint64_t
find(const char *name, enum wire_start start, uint64_t value)
{
    uint64_t seq = 0;

    assert_int_equal(position_find(topic(name), start, value, &seq), 0);
    return seq;
}

/* Opens a publisher and writes n messages of times 10, 20, 30, ... */
static struct pen
write_times(int c, const char *name, int n)
{
    struct pen pen;

    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, name, NULL), 0);
    pen = pen_of(topic(name), answer.index);
    for (int i = 1; i <= n; i++)
        TURN_UNTIL(!pen_write(&pen, 10u * (unsigned)i) || (ring_topic(c, topic(name)->id), 0));
    return pen;
}

static void
in_a_ring(void **state)
{
    struct pen pen;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\ndepth = 64\nwhen_full = overwrite\n");
    assert_int_equal(find("a", WIRE_EARLIEST, 0), 1);
    assert_int_equal(find("a", WIRE_LATEST, 0), 1);
    assert_int_equal(find("a", WIRE_AT_TIME, 5), 1);
    c = client_open();
    pen = write_times(c, "a", 100);
    assert_int_equal(find("a", WIRE_LATEST, 0), 101);
    assert_int_equal(find("a", WIRE_EARLIEST, 0), 37);
    assert_int_equal(find("a", WIRE_AT_SEQ, 50), 50);
    assert_int_equal(find("a", WIRE_AT_SEQ, 3), 37);
    assert_int_equal(find("a", WIRE_AT_SEQ, UINT64_MAX), 101);
    assert_int_equal(find("a", WIRE_LAST_N, 0), 101);
    assert_int_equal(find("a", WIRE_LAST_N, 10), 91);
    assert_int_equal(find("a", WIRE_LAST_N, UINT64_MAX), 37);
    assert_int_equal(find("a", WIRE_AT_TIME, 0), 37);
    assert_int_equal(find("a", WIRE_AT_TIME, 370), 37);
    assert_int_equal(find("a", WIRE_AT_TIME, 371), 38);
    for (uint64_t i = 38; i <= 100; i++)
        assert_int_equal(find("a", WIRE_AT_TIME, 10 * i - 5), i);
    assert_int_equal(find("a", WIRE_AT_TIME, 1001), 101);
    free(pen.pieces);
    close(c);
}

/* Two publishers that claimed one after the other may bear times the other way round. */
static void
times_a_little_out_of_order(void **state)
{
    static const uint64_t times[] = {10, 20, 40, 30, 50, 60};
    struct pen pen;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    pen = pen_of(topic("a"), answer.index);
    for (int i = 0; i < 6; i++)
        assert_int_equal(pen_write(&pen, times[i]), 0);
    assert_int_equal(find("a", WIRE_AT_TIME, 35), 3);
    assert_int_equal(find("a", WIRE_AT_TIME, 30), 3);
    assert_int_equal(find("a", WIRE_AT_TIME, 41), 5);
    free(pen.pieces);
    close(c);
}

static void
aborted_places_are_stepped_over(void **state)
{
    struct topic *t;
    struct pen pen;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    c = client_open();
    pen = write_times(c, "a", 40);
    t = topic("a");
    for (uint64_t seq = 10; seq <= 30; seq++)
        atom_store_relaxed(&ring_slot(&t->memory.view, seq)->stamp, ring_stamp(seq, RING_ABORTED));
    assert_int_equal(find("a", WIRE_AT_TIME, 90), 9);
    /* Any of the aborted will do: the next message is 31 for all of them. */
    assert_in_range(find("a", WIRE_AT_TIME, 200), 10, 31);
    assert_int_equal(find("a", WIRE_AT_TIME, 311), 32);
    free(pen.pieces);
    close(c);
}

/* Every slot says that it is inside a batch, and none that it begins one: to walk back for the beginning at each look would
 * take minutes. */
static void
a_hostile_ring_costs_one_look_a_slot(void **state)
{
    struct topic *t;
    uint64_t depth;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\ndepth = 1048576\n");
    t = topic("a");
    depth = t->memory.view.geo.depth;
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    for (uint64_t seq = 1; seq <= depth; seq++) {
        struct ring_slot *s = ring_slot(&t->memory.view, seq);
        atom_store_relaxed(&s->time_ns, seq & (seq - 1) ? 10 : 0);
        atom_store_relaxed(&s->stamp, ring_stamp(seq, RING_INNER));
    }
    atom_store_relaxed(&ring_slot(&t->memory.view, 1)->stamp, ring_stamp(1, RING_ABORTED));
    atom_store_relaxed(ring_tail(&t->memory.view), depth + 1);
    assert_int_equal(find("a", WIRE_AT_TIME, 11), depth + 1);
    assert_in_range(find("a", WIRE_AT_TIME, 10), 1, depth);
    close(c);
}

static void
in_a_log_and_in_its_ring(void **state)
{
    struct topic *t;
    struct pen pen;
    int c;

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndepth = 64\ndurability = disk\n");
    t = topic("d");
    c = client_open();
    pen = write_times(c, "d", 1000);
    ring_topic(c, t->id);
    TURN_UNTIL(atom_load_relaxed(&ring_daemon(&t->memory.view)->durable) == 1000);
    assert_int_equal(position_oldest(t), 1);
    assert_int_equal(find("d", WIRE_EARLIEST, 0), 1);
    assert_int_equal(find("d", WIRE_AT_SEQ, 7), 7);
    assert_int_equal(find("d", WIRE_LAST_N, 900), 101);
    assert_int_equal(find("d", WIRE_AT_TIME, 9995), 1000);
    assert_int_equal(find("d", WIRE_AT_TIME, 10001), 1001);
    free(pen.pieces);
    close(c);
}

static int
ask_position(int c, uint64_t id, enum wire_start start, uint64_t value)
{
    union wire_any p;

    wire_begin(&p, sizeof p.position, WIRE_POSITION, 0);
    p.position.topic_id = id;
    p.position.start = start;
    p.position.value = value;
    return ask_raw(c, &p, &answer, NULL);
}

static void
asked_over_the_wire(void **state)
{
    struct pen pen;
    int c;

    (void)state;
    bus_start("[topic ?]\ncreate = yes\ntimestamps = off\n[topic a]\ntimestamps = precise\n");
    c = client_open();
    pen = write_times(c, "a", 10);
    assert_int_equal(ask_position(c, topic("a")->id, WIRE_AT_TIME, 55), 0);
    assert_int_equal(answer.seq, 6);
    assert_int_equal(ask_position(c, topic("a")->id, WIRE_LAST_N, 3), 0);
    assert_int_equal(answer.seq, 8);
    assert_int_equal(ask_position(c, topic("a")->id + 1, WIRE_LAST_N, 3), -ENOENT);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "b", NULL), 0);
    assert_int_equal(ask_position(c, topic("b")->id, WIRE_AT_TIME, 55), -EINVAL);
    assert_non_null(strstr(answer.text, "timestamps"));
    assert_int_equal(ask_sub(c, "b", NULL, RING_KIND_LIVE, WIRE_AT_TIME), -EINVAL);
    free(pen.pieces);
    close(c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(in_a_ring, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(times_a_little_out_of_order, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(aborted_places_are_stepped_over, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(a_hostile_ring_costs_one_look_a_slot, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(in_a_log_and_in_its_ring, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(asked_over_the_wire, bus_setup, bus_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
