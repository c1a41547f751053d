/* What is looked after in a topic that works: laggards, floors, damage. */
#include "tests/unit/daemon/bus_fixture.h"

#include "daemon/state.h"
#include "daemon/watch.h"

/* --- laggards --- */

static void
a_laggard_is_evicted_after_its_time(void **state)
{
    struct wire_answer gate, other;
    struct topic *t;
    struct pen pen;
    uint64_t since;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\ndepth = 8\nlag = 50ms\n");
    t = topic("a");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    pen = pen_of(t, answer.index);
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_GATING, WIRE_LATEST), 0);
    gate = answer;
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_GATING, WIRE_LATEST), 0);
    other = answer;
    while (!pen_write(&pen, 1))
        ;
    atom_store_release(&ring_cursor(&t->memory.view, other.index)->pos, 9);
    /* Full, but nobody waits: no clock runs. */
    ring_topic(c, t->id);
    turn();
    turn();
    assert_false(loop_is_set(&t->lag));
    atom_store_relaxed(&ring_line(&t->memory.view, 0)->blocked_ns, 1);
    since = loop_clock();
    ring_topic(c, t->id);
    TURN_UNTIL(loop_is_set(&t->lag));
    TURN_UNTIL(ring_cursor_state_of(atom_load_relaxed(
                   ring_cursor_word(&t->memory.view, gate.index))) == RING_CURSOR_EVICTED);
    assert_true(loop_clock() - since >= 50000000);
    assert_int_equal(pen_write(&pen, 1), 0);
    assert_int_equal(
        ring_cursor_state_of(atom_load_relaxed(ring_cursor_word(&t->memory.view, other.index))),
        RING_CURSOR_LIVE);
    /* The seat is its owner's until it closes or dies. */
    assert_non_null(t->cursors[gate.index].process);
    assert_int_equal(ask_close(c, WIRE_SUB_CLOSE, &gate), 0);
    free(pen.pieces);
    close(c);
}

static void
who_moves_or_is_not_waited_for_is_left_alone(void **state)
{
    struct topic *t;
    struct pen pen;
    uint64_t first;
    uint32_t i;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\ndepth = 8\nlag = 1h\n");
    t = topic("a");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    pen = pen_of(t, answer.index);
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_GATING, WIRE_LATEST), 0);
    i = answer.index;
    while (!pen_write(&pen, 1))
        ;
    atom_store_relaxed(&ring_line(&t->memory.view, 0)->blocked_ns, 1);
    ring_topic(c, t->id);
    TURN_UNTIL(loop_is_set(&t->lag));
    first = t->gate_since_ns;
    /* It has moved: the clock begins anew. */
    atom_store_release(&ring_cursor(&t->memory.view, i)->pos, 2);
    ring_topic(c, t->id);
    TURN_UNTIL(t->gate_pos == 2);
    assert_true(t->gate_since_ns >= first);
    atom_store_relaxed(&ring_line(&t->memory.view, 0)->blocked_ns, 0);
    ring_topic(c, t->id);
    TURN_UNTIL(!loop_is_set(&t->lag));
    free(pen.pieces);
    close(c);
}

/* Who goes back a place and forth again holds publishers as long as one who stands still. */
static void
going_back_and_forth_is_no_progress(void **state)
{
    struct topic *t;
    struct pen pen;
    uint64_t since;
    uint32_t i;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\ndepth = 8\nlag = 1h\n");
    t = topic("a");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    pen = pen_of(t, answer.index);
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_GATING, WIRE_LATEST), 0);
    i = answer.index;
    while (!pen_write(&pen, 1))
        ;
    atom_store_release(&ring_cursor(&t->memory.view, i)->pos, 3);
    atom_store_relaxed(&ring_line(&t->memory.view, 0)->blocked_ns, 1);
    ring_topic(c, t->id);
    TURN_UNTIL(loop_is_set(&t->lag));
    since = t->gate_since_ns;
    for (uint64_t pos = 2; pos <= 3; pos++) {
        atom_store_release(&ring_cursor(&t->memory.view, i)->pos, pos);
        ring_topic(c, t->id);
        turn();
        turn();
        assert_int_equal(t->gate_since_ns, since);
    }
    free(pen.pieces);
    close(c);
}

/* A publisher that was stopped while it waited still says that it waits, and one that was stopped in its claim leaves a place
 * that nobody can read: neither is the fault of who has read all there is. */
static void
who_has_read_all_is_no_laggard(void **state)
{
    atom_u64 *word;
    struct topic *t;
    struct pen pen;
    uint32_t i;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\ndepth = 8\nlag = 1ms\n");
    t = topic("a");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    pen = pen_of(t, answer.index);
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_GATING, WIRE_LATEST), 0);
    i = answer.index;
    word = ring_cursor_word(&t->memory.view, i);
    while (!pen_write(&pen, 1))
        ;
    atom_store_relaxed(&ring_line(&t->memory.view, 0)->blocked_ns, 1);
    atom_store_release(&ring_cursor(&t->memory.view, i)->pos, 9);
    ring_topic(c, t->id);
    turn();
    turn();
    assert_false(loop_is_set(&t->lag));
    /* Claimed, and not stamped. */
    atom_store_seq(&ring_line(&t->memory.view, 0)->limit, 17);
    atom_store_release(&ring_line(&t->memory.view, 0)->intent, ring_intent_pack(9, 1));
    atom_store_release(ring_tail(&t->memory.view), 10);
    ring_topic(c, t->id);
    turn();
    turn();
    assert_false(loop_is_set(&t->lag));
    assert_int_equal(ring_cursor_state_of(atom_load_relaxed(word)), RING_CURSOR_LIVE);
    atom_store_release(&ring_slot(&t->memory.view, 9)->stamp, ring_stamp(9, RING_COMMITTED));
    ring_topic(c, t->id);
    TURN_UNTIL(ring_cursor_state_of(atom_load_relaxed(word)) == RING_CURSOR_EVICTED);
    free(pen.pieces);
    close(c);
}

/* The state words are every subscriber's to write. */
static void
a_forged_cursor_holds_nobody(void **state)
{
    atom_u64 *word;
    struct topic *t;
    struct pen pen;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\ndepth = 8\n");
    t = topic("a");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    pen = pen_of(t, answer.index);
    word = ring_cursor_word(&t->memory.view, 5);
    atom_store_release(word, RING_KIND_GATING << 4 | RING_CURSOR_LIVE);
    while (!pen_write(&pen, 1))
        ;
    ring_topic(c, t->id);
    TURN_UNTIL(ring_cursor_state_of(atom_load_relaxed(word)) == RING_CURSOR_FREE);
    assert_int_equal(pen_write(&pen, 1), 0);
    free(pen.pieces);
    close(c);
}

/* --- floors --- */

static void
acknowledged_floors_are_saved_and_the_bell_armed_again(void **state)
{
    struct ring_control *control;
    struct ring_cursor *line;
    struct topic *t;
    struct pen pen;
    int c;

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\n");
    t = topic("d");
    control = ring_control(&t->memory.view);
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "d", NULL), 0);
    pen = pen_of(t, answer.index);
    assert_int_equal(ask_sub(c, "d", "n", RING_KIND_DURABLE, WIRE_EARLIEST), 0);
    line = ring_cursor(&t->memory.view, answer.index);
    for (int i = 0; i < 5; i++)
        assert_int_equal(pen_write(&pen, 1), 0);
    ring_topic(c, t->id);
    TURN_UNTIL(atom_load_relaxed(&ring_daemon(&t->memory.view)->durable) == 5);
    assert_int_equal(atom_load_relaxed(&control->ack_bell), 1);
    /* As a subscriber does: its floor, then the bell if it is armed. */
    atom_store_release(&line->acked, 4);
    atom_store_relaxed(&control->ack_bell, 0);
    ring_topic(c, t->id);
    TURN_UNTIL(atom_load_relaxed(&line->saved) == 4);
    TURN_UNTIL(atom_load_relaxed(&control->ack_bell) == 1);
    /* One that moved without ringing, while the bell was not armed, is found too. */
    atom_store_relaxed(&control->ack_bell, 0);
    ring_topic(c, t->id);
    TURN_UNTIL(loop_is_set(&t->acks));
    atom_store_release(&line->acked, 5);
    TURN_UNTIL(atom_load_relaxed(&line->saved) == 5);
    /* A floor ahead of what is durable is a lie, and saved as far as it is true. */
    atom_store_release(&line->acked, 1000);
    atom_store_relaxed(&control->ack_bell, 0);
    ring_topic(c, t->id);
    TURN_UNTIL(atom_load_relaxed(&line->saved) == 6);
    TURN_UNTIL(atom_load_relaxed(&control->ack_bell) == 1 && !loop_is_set(&t->acks));
    free(pen.pieces);
    close(c);
}

/* --- damage --- */

static void
a_tail_beyond_all_limits_is_damage(void **state)
{
    struct topic *t, *other;
    struct pen pen;
    int c;

    (void)state;
    bus_start("[topic ?]\ncreate = yes\n");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "b", NULL), 0);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    t = topic("a");
    other = topic("b");
    pen = pen_of(t, answer.index);
    assert_int_equal(pen_write(&pen, 1), 0);
    ring_topic(c, t->id);
    turn();
    turn();
    assert_int_equal(t->standing, TOPIC_SERVING);
    atom_store_relaxed(ring_tail(&t->memory.view), 5000);
    ring_topic(c, t->id);
    TURN_UNTIL(t->standing == TOPIC_DAMAGED);
    assert_int_equal(state_get(&t->memory.view), RING_TOPIC_DAMAGED);
    ring_topic(c, other->id);
    turn();
    turn();
    assert_int_equal(other->standing, TOPIC_SERVING);
    free(pen.pieces);
    close(c);
}

/* A publisher holds a writable descriptor, and truncates it. */
static void
a_truncated_ring_poisons_its_topic_only(void **state)
{
    union wire_any p = pub_packet("a");
    struct topic *t;
    int c, fds[WIRE_FDS_MAX];

    (void)state;
    bus_start("[topic ?]\ncreate = yes\n");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "b", NULL), 0);
    assert_int_equal(ask_raw(c, &p, &answer, fds), 0);
    t = topic("a");
    assert_int_equal(ftruncate(fds[0], 4096), 0);
    ring_topic(c, t->id);
    TURN_UNTIL(t->standing == TOPIC_DAMAGED);
    assert_non_null(strstr(t->why, "truncated"));
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), -EBADMSG);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "b", NULL), 0);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_REMOVE, "a", NULL), 0);
    close(fds[0]);
    close(fds[1]);
    close(c);
}

static void
a_truncated_control_object_too(void **state)
{
    union wire_any p = sub_packet("a", NULL, RING_KIND_LIVE);
    struct wire_answer sub;
    struct topic *t;
    int c, fds[WIRE_FDS_MAX];

    (void)state;
    bus_start("[topic ?]\ncreate = yes\n");
    c = client_open();
    assert_int_equal(ask_raw(c, &p, &answer, fds), 0);
    sub = answer;
    t = topic("a");
    assert_int_equal(ftruncate(fds[1], 0), 0);
    assert_int_equal(ask_close(c, WIRE_SUB_CLOSE, &sub), 0);
    TURN_UNTIL(t->standing == TOPIC_DAMAGED);
    close(fds[0]);
    close(fds[1]);
    close(c);
}

/* Who comes in is not handed what he could not make sense of. */
static void
damage_is_noticed_at_the_door(void **state)
{
    static const char *const reasons[] = {"truncated", "truncated", "larger", "headers"};
    struct topic *t;
    char rule[64];
    int c;

    (void)state;
    bus_start("[topic *]\ncreate = yes\n");
    c = client_open();
    for (unsigned i = 0; i < 4; i++) {
        (void)snprintf(rule, sizeof rule, "t%u", i);
        assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, rule, NULL), 0);
        t = topic(rule);
        if (i < 3)
            assert_int_equal(ftruncate(i == 1 ? t->memory.control : t->memory.data_rw,
                                       (off_t)t->memory.data_range.size * (i == 2 ? 2 : 0)),
                             0);
        else
            t->memory.data_range.base[RING_GEOMETRY_AT] ^= 1;
        if (i % 2)
            assert_int_equal(ask_sub(c, rule, NULL, RING_KIND_LIVE, WIRE_LATEST), -EBADMSG);
        else
            assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, rule, NULL), -EBADMSG);
        if (!strstr(answer.text, reasons[i]))
            fail_msg("case %u: %s", i, answer.text);
        assert_int_equal(t->standing, TOPIC_DAMAGED);
    }
    close(c);
}

/* Every subscriber can write the control object's header: it says again what it has to before somebody else joins. */
static void
a_header_that_anybody_can_write_is_no_damage(void **state)
{
    int c;

    (void)state;
    bus_start("[topic *]\ncreate = yes\n");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    topic("a")->memory.control_range.base[8] ^= 1;
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_LIVE, WIRE_LATEST), 0);
    assert_int_equal(topic("a")->memory.control_range.base[8], SHM_VERSION);
    close(c);
}

/* An idle bus with topics, publishers and subscribers makes no wake-ups. */
static void
nothing_is_set_when_nothing_happens(void **state)
{
    struct topic *t;
    uint64_t until;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\nlag = 1ms\n[topic d]\ndeclare = yes\ndurability = disk\n");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_GATING, WIRE_LATEST), 0);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "d", NULL), 0);
    assert_int_equal(ask_sub(c, "d", "n", RING_KIND_DURABLE, WIRE_LATEST), 0);
    /* Once what is begun is done, a turn ends by its own limit alone. */
    until = loop_clock() + PATIENCE_NS;
    do {
        uint64_t end = loop_clock() + 100000000;
        assert_int_equal(loop_turn(fix.bus->loop, end), 0);
        if (loop_clock() >= end)
            break;
    } while (loop_clock() < until);
    assert_true(loop_clock() < until);
    for (t = fix.bus->topics; t; t = t->next) {
        assert_false(loop_is_set(&t->acks));
        assert_false(loop_is_set(&t->lag));
        assert_false(loop_is_set(&t->settle));
        assert_false(t->look.queued);
    }
    close(c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_laggard_is_evicted_after_its_time, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(who_moves_or_is_not_waited_for_is_left_alone, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(going_back_and_forth_is_no_progress, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_forged_cursor_holds_nobody, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(who_has_read_all_is_no_laggard, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(acknowledged_floors_are_saved_and_the_bell_armed_again,
                                        bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(a_tail_beyond_all_limits_is_damage, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_truncated_ring_poisons_its_topic_only, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_truncated_control_object_too, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(damage_is_noticed_at_the_door, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(a_header_that_anybody_can_write_is_no_damage, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(nothing_is_set_when_nothing_happens, bus_setup,
                                        bus_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
