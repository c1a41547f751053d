/* Deaths: what a killed process had comes back, its half-done claims are settled, sleepers wake. */
#include "tests/unit/daemon/bus_fixture.h"

#include "daemon/process.h"

static uint32_t
word(const atom_u32 *w)
{
    return atom_load_relaxed(w);
}

static void
a_death_frees_everything_everywhere(void **state)
{
    union wire_any p[] = {pub_packet("a"), sub_packet("a", NULL, RING_KIND_GATING),
                          pub_packet("b")};
    struct wire_answer said[4];
    struct child child;
    struct ring_control *c;
    struct topic *a;
    uint32_t sleep, space;

    (void)state;
    bus_start("[topic ?]\ncreate = yes\n");
    child = child_start(p, 3);
    for (int i = 0; i < 4; i++)
        assert_int_equal(child_says(&child, &said[i]), 0);
    a = topic("a");
    c = ring_control(&a->memory.view);
    sleep = word(&c->sleep);
    space = word(&c->space);
    assert_int_equal(atom_load_relaxed(&ring_entry(&a->memory.view, said[1].index)->state),
                     RING_ENTRY_LIVE);
    assert_non_null(fix.bus->processes);
    child_kill(&child);
    TURN_UNTIL(!fix.bus->processes);
    assert_int_equal(atom_load_relaxed(&ring_entry(&a->memory.view, said[1].index)->state),
                     RING_ENTRY_FREE);
    assert_int_equal(
        ring_cursor_state_of(atom_load_relaxed(ring_cursor_word(&a->memory.view, said[2].index))),
        RING_CURSOR_FREE);
    assert_null(a->publishers[said[1].index].process);
    assert_false(a->publishers[said[1].index].dying);
    assert_null(topic("b")->publishers[said[3].index].process);
    assert_int_not_equal(word(&c->sleep), sleep);
    assert_int_not_equal(word(&c->space), space);
    assert_null(fix.bus->sessions);
}

/* A socket that closes is no death. */
static void
a_hang_up_frees_nothing(void **state)
{
    struct wire_answer pub;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    pub = answer;
    assert_int_equal(ring_entry_claim(&topic("a")->memory.view, pub.index, pub.generation), 0);
    close(c);
    TURN_UNTIL(!fix.bus->sessions);
    assert_non_null(topic("a")->publishers[pub.index].process);
    c = client_open();
    assert_int_equal(ask_close(c, WIRE_PUB_CLOSE, &pub), 0);
    close(c);
    TURN_UNTIL(!fix.bus->processes);
}

/* What a publisher leaves that dies between its claim and the last stamp. */
static void
leave_a_hole(struct topic *t, uint32_t index, uint32_t n)
{
    uint64_t tail = atom_load_relaxed(ring_tail(&t->memory.view));

    atom_store_relaxed(&ring_line(&t->memory.view, index)->limit, tail + n);
    atom_store_relaxed(&ring_line(&t->memory.view, index)->intent, ring_intent_pack(tail, n));
    atom_store_relaxed(ring_tail(&t->memory.view), tail + n);
}

/* Whoever stopped waiting for his answer and hung up does not know what he has; another session of his does not matter. */
static void
what_was_never_claimed_goes_with_its_session(void **state)
{
    struct wire_answer pub, sub;
    struct topic *t;
    int c, other;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    t = topic("a");
    c = client_open();
    other = client_open();
    assert_int_equal(ask_topic(other, WIRE_PUB_OPEN, "a", NULL), 0);
    pub = answer;
    assert_int_equal(ask_sub(other, "a", NULL, RING_KIND_GATING, WIRE_LATEST), 0);
    sub = answer;
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_GATING, WIRE_LATEST), 0);
    close(c);
    TURN_UNTIL(!t->publishers[1].process && !t->publishers[1].dying);
    assert_null(t->cursors[1].process);
    assert_int_equal(ring_entry_claim(&t->memory.view, 1, 1), -ESTALE);
    assert_int_equal(ring_entry_claim(&t->memory.view, pub.index, pub.generation), 0);
    assert_int_equal(ring_cursor_claim(&t->memory.view, sub.index, sub.generation), 0);
    close(other);
    TURN_UNTIL(!fix.bus->sessions);
    assert_non_null(t->publishers[pub.index].process);
    assert_non_null(t->cursors[sub.index].process);
}

static void
a_hole_is_aborted_and_the_others_go_on(void **state)
{
    union wire_any p = pub_packet("a");
    struct wire_answer dead;
    struct ring_reader reader = {.next = 1};
    struct ring_msg m;
    struct child child;
    struct topic *t;
    struct pen pen;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    t = topic("a");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    pen = pen_of(t, answer.index);
    child = child_start(&p, 1);
    assert_int_equal(child_says(&child, &dead), 0);
    assert_int_equal(child_says(&child, &dead), 0);
    leave_a_hole(t, dead.index, 3);
    assert_int_equal(pen_write(&pen, 1), 0);
    reader.view = t->memory.view;
    assert_int_equal(ring_receive(&reader, &m), RING_NONE);
    child_kill(&child);
    TURN_UNTIL(atom_load_relaxed(&ring_entry(&t->memory.view, dead.index)->state) ==
               RING_ENTRY_FREE);
    assert_int_equal(ring_receive(&reader, &m), RING_MESSAGE);
    assert_int_equal(m.seq, 4);
    assert_int_equal(atom_load_relaxed(&ring_line(&t->memory.view, dead.index)->intent), 0);
    free(pen.pieces);
    close(c);
}

/* A living publisher that was stopped inside its claim: the dead one's seat waits for it, by timer. */
static void
the_dead_wait_for_the_slow(void **state)
{
    union wire_any p = pub_packet("a");
    struct wire_answer dead;
    struct child child;
    struct topic *t;
    uint32_t slow;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    t = topic("a");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    slow = answer.index;
    child = child_start(&p, 1);
    assert_int_equal(child_says(&child, &dead), 0);
    assert_int_equal(child_says(&child, &dead), 0);
    leave_a_hole(t, slow, 1);
    leave_a_hole(t, dead.index, 1);
    child_kill(&child);
    TURN_UNTIL(loop_is_set(&t->settle));
    assert_int_equal(ring_stamp_state(atom_load_relaxed(&ring_slot(&t->memory.view, 2)->stamp)),
                     RING_ABORTED);
    assert_true(t->publishers[dead.index].dying);
    assert_int_equal(atom_load_relaxed(&ring_entry(&t->memory.view, dead.index)->state),
                     RING_ENTRY_DEAD);
    atom_store_relaxed(&ring_slot(&t->memory.view, 1)->stamp, ring_stamp(1, RING_COMMITTED));
    atom_store_relaxed(&ring_line(&t->memory.view, slow)->intent, 0);
    TURN_UNTIL(!t->publishers[dead.index].dying);
    assert_false(loop_is_set(&t->settle));
    close(c);
}

static void
a_close_in_the_middle_of_a_claim_is_settled_too(void **state)
{
    struct wire_answer pub;
    struct topic *t;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    t = topic("a");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    leave_a_hole(t, answer.index, 2);
    pub = answer;
    assert_int_equal(ask_close(c, WIRE_PUB_CLOSE, &pub), 0);
    for (uint64_t seq = 1; seq <= 2; seq++)
        assert_int_equal(
            ring_stamp_state(atom_load_relaxed(&ring_slot(&t->memory.view, seq)->stamp)),
            RING_ABORTED);
    close(c);
}

static void
a_tail_that_cannot_be_is_quarantined_at_death(void **state)
{
    union wire_any p = pub_packet("a");
    struct wire_answer dead;
    struct child child;
    struct topic *t;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    t = topic("a");
    child = child_start(&p, 1);
    assert_int_equal(child_says(&child, &dead), 0);
    assert_int_equal(child_says(&child, &dead), 0);
    atom_store_relaxed(ring_tail(&t->memory.view), 1ull << 62);
    child_kill(&child);
    TURN_UNTIL(t->standing == TOPIC_DAMAGED);
    TURN_UNTIL(!fix.bus->processes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_death_frees_everything_everywhere, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_hang_up_frees_nothing, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(what_was_never_claimed_goes_with_its_session, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_hole_is_aborted_and_the_others_go_on, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(the_dead_wait_for_the_slow, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(a_close_in_the_middle_of_a_claim_is_settled_too, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_tail_that_cannot_be_is_quarantined_at_death, bus_setup,
                                        bus_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
