/* Publishers and cursors: handed out, run out, closed by their owner only; kinds, names and places to begin. */
#include "tests/unit/daemon/bus_fixture.h"

#include "daemon/state.h"

static void
publishers_run_out_and_come_back(void **state)
{
    struct wire_answer first, second;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\nmax_publishers = 2\n");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    first = answer;
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    second = answer;
    assert_int_not_equal(first.index, second.index);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), -EBUSY);
    assert_non_null(strstr(answer.text, "max_publishers"));
    assert_int_equal(ask_close(c, WIRE_PUB_CLOSE, &first), 0);
    assert_int_equal(ask_close(c, WIRE_PUB_CLOSE, &first), -ENOENT);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    assert_int_equal(answer.index, first.index);
    assert_int_not_equal(answer.generation, first.generation);
    assert_int_equal(ask_close(c, WIRE_PUB_CLOSE, &first), -ENOENT);
    second.index = 999;
    assert_int_equal(ask_close(c, WIRE_PUB_CLOSE, &second), -ENOENT);
    second.topic_id++;
    assert_int_equal(ask_close(c, WIRE_PUB_CLOSE, &second), -ENOENT);
    close(c);
}

static void
an_entry_says_whose_it_is(void **state)
{
    const struct ring_entry *e;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    e = ring_entry(&topic("a")->memory.view, answer.index);
    assert_int_equal(atom_load_relaxed(&e->state), RING_ENTRY_LIVE);
    assert_int_equal(e->pid, getpid());
    assert_int_equal(e->uid, getuid());
    assert_int_equal(e->start, fix.bus->start);
    assert_int_equal(atom_load_relaxed(&e->lane), 1);
    assert_int_equal(topic("a")->lanes, 1);
    close(c);
}

static void
another_process_cannot_close_it(void **state)
{
    union wire_any p[] = {pub_packet("a"), sub_packet("a", NULL, RING_KIND_GATING)};
    struct wire_answer pub, sub;
    struct child other;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    other = child_start(p, 2);
    assert_int_equal(child_says(&other, &pub), 0);
    assert_int_equal(child_says(&other, &pub), 0);
    assert_int_equal(child_says(&other, &sub), 0);
    c = client_open();
    assert_int_equal(ask_close(c, WIRE_PUB_CLOSE, &pub), -ENOENT);
    assert_non_null(strstr(answer.text, "not yours"));
    assert_int_equal(ask_close(c, WIRE_SUB_CLOSE, &sub), -ENOENT);
    child_kill(&other);
    close(c);
}

static void
cursors_run_out_and_come_back(void **state)
{
    struct wire_answer first;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\nmax_subscribers = 2\n"
              "[topic d]\ndeclare = yes\nmax_subscribers = 1\ndurability = disk\n");
    c = client_open();
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_LIVE, WIRE_LATEST), 0);
    first = answer;
    assert_int_equal(answer.seq, 1);
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_GATING, WIRE_LATEST), 0);
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_LIVE, WIRE_LATEST), -EBUSY);
    assert_non_null(strstr(answer.text, "all 2 subscribers"));
    assert_int_equal(ask_close(c, WIRE_SUB_CLOSE, &first), 0);
    assert_int_equal(ask_close(c, WIRE_SUB_CLOSE, &first), -ENOENT);
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_LIVE, WIRE_LATEST), 0);
    assert_int_equal(answer.index, first.index);
    assert_int_not_equal(answer.generation, first.generation);
    /* The log writer's cursor is not one of theirs. */
    assert_int_equal(ask_sub(c, "d", NULL, RING_KIND_LIVE, WIRE_LATEST), 0);
    assert_int_equal(answer.index, 1);
    assert_int_equal(ask_sub(c, "d", NULL, RING_KIND_LIVE, WIRE_LATEST), -EBUSY);
    assert_non_null(strstr(answer.text, "all 1 subscribers"));
    close(c);
}

static void
a_topic_offers_kinds(void **state)
{
    static const struct {
        const char *topic, *name;
        uint32_t kind;
        int result;
        const char *words;
    } cases[] = {
        {"m", NULL, RING_KIND_LIVE, 0, ""},
        {"m", NULL, RING_KIND_GATING, 0, ""},
        {"m", NULL, RING_KIND_DURABLE, -EINVAL, "live and gating"},
        {"m", "n", RING_KIND_LIVE, -EINVAL, "durability = memory"},
        {"o", NULL, RING_KIND_LIVE, 0, ""},
        {"o", NULL, RING_KIND_GATING, -EINVAL, "overwrites"},
        {"o", NULL, RING_KIND_DURABLE, -EINVAL, "only live"},
        {"d", NULL, RING_KIND_LIVE, 0, ""},
        {"d", NULL, RING_KIND_GATING, -EINVAL, "live and durable"},
        {"d", NULL, RING_KIND_DURABLE, 0, ""},
        {"d", "n1", RING_KIND_LIVE, 0, ""},
        {"d", "n2", RING_KIND_DURABLE, 0, ""},
        {"d", "n3", RING_KIND_GATING, -EINVAL, "live and durable"},
        {"d", "a b", RING_KIND_DURABLE, -EINVAL, "a b"},
    };
    int c;

    (void)state;
    bus_start("[topic m]\ndeclare = yes\n[topic o]\ndeclare = yes\nwhen_full = overwrite\n"
              "[topic d]\ndeclare = yes\ndurability = disk\n");
    c = client_open();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int r = ask_sub(c, cases[i].topic, cases[i].name, cases[i].kind, WIRE_LATEST);
        if (r != cases[i].result || !strstr(answer.text, cases[i].words))
            fail_msg("case %zu: %d %s", i, r, answer.text);
    }
    /* A name makes a live one durable. */
    for (uint32_t i = 0; i < topic("d")->memory.view.geo.max_cursors; i++)
        if (topic("d")->cursors[i].name)
            assert_int_equal(topic("d")->cursors[i].kind, RING_KIND_DURABLE);
    close(c);
}

static void
a_name_is_one_process_at_a_time(void **state)
{
    union wire_any p = sub_packet("d", "name", RING_KIND_DURABLE);
    struct wire_answer sub;
    struct child other;
    char pid[20];
    int c;

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\n");
    other = child_start(&p, 1);
    assert_int_equal(child_says(&other, &sub), 0);
    assert_int_equal(child_says(&other, &sub), 0);
    c = client_open();
    assert_int_equal(ask_sub(c, "d", "name", RING_KIND_DURABLE, WIRE_EARLIEST), -EBUSY);
    (void)snprintf(pid, sizeof pid, "%d", (int)other.pid);
    assert_non_null(strstr(answer.text, pid));
    assert_int_equal(ask_sub(c, "d", "another", RING_KIND_DURABLE, WIRE_EARLIEST), 0);
    child_kill(&other);
    TURN_UNTIL(!topic("d")->cursors[sub.index].process);
    assert_int_equal(ask_sub(c, "d", "name", RING_KIND_DURABLE, WIRE_EARLIEST), 0);
    close(c);
}

static int
ask_remove(int c, const char *name)
{
    union wire_any p;

    wire_begin(&p, sizeof p.sub_remove, WIRE_SUB_REMOVE, 0);
    memcpy(p.sub_remove.topic, "d", 2);
    memcpy(p.sub_remove.name, name, strlen(name) + 1);
    return ask_raw(c, &p, &answer, NULL);
}

static void
a_name_goes_on_where_it_was(void **state)
{
    struct topic *t;
    struct pen pen;
    struct wire_answer sub;
    int c;

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\n");
    t = topic("d");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "d", NULL), 0);
    pen = pen_of(t, answer.index);
    for (int i = 0; i < 10; i++)
        assert_int_equal(pen_write(&pen, 1), 0);
    assert_int_equal(ask_sub(c, "d", "n", RING_KIND_DURABLE, WIRE_EARLIEST), 0);
    assert_int_equal(answer.seq, 1);
    assert_int_equal(answer.floor, 1);
    sub = answer;
    ring_topic(c, t->id);
    TURN_UNTIL(atom_load_relaxed(&ring_daemon(&t->memory.view)->durable) == 10);
    atom_store_release(&ring_cursor(&t->memory.view, sub.index)->acked, 7);
    assert_int_equal(ask_remove(c, "n"), -EBUSY);
    assert_int_equal(ask_close(c, WIRE_SUB_CLOSE, &sub), 0);
    assert_int_equal(ask_sub(c, "d", "n", RING_KIND_DURABLE, WIRE_EARLIEST), 0);
    assert_int_equal(answer.seq, 7);
    assert_int_equal(answer.floor, 7);
    sub = answer;
    assert_int_equal(ask_close(c, WIRE_SUB_CLOSE, &sub), 0);
    assert_int_equal(ask_remove(c, "n"), 0);
    assert_int_equal(ask_remove(c, "n"), -ENOENT);
    assert_int_equal(ask_remove(c, "a b"), -EINVAL);
    assert_int_equal(ask_sub(c, "d", "n", RING_KIND_DURABLE, WIRE_LATEST), 0);
    assert_int_equal(answer.seq, 11);
    free(pen.pieces);
    close(c);
}

static void
a_quarantined_topic_lets_nobody_in(void **state)
{
    struct wire_answer pub;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    pub = answer;
    topic_quarantine(topic("a"), "a %s", "test");
    topic_quarantine(topic("a"), "another");
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), -EBADMSG);
    assert_non_null(strstr(answer.text, "a test"));
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_LIVE, WIRE_LATEST), -EBADMSG);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "a", NULL), -EBADMSG);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_INFO, "a", NULL), 0);
    assert_int_equal(state_get(&topic("a")->memory.view), RING_TOPIC_DAMAGED);
    assert_string_equal(ring_daemon(&topic("a")->memory.view)->reason, "a test");
    assert_int_equal(ask_close(c, WIRE_PUB_CLOSE, &pub), 0);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_REMOVE, "a", NULL), 0);
    close(c);
}

static void
a_ruined_line_is_handed_to_nobody(void **state)
{
    struct ring_line *line;
    struct wire_answer pub;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    pub = answer;
    line = ring_line(&topic("a")->memory.view, pub.index);
    atom_store_relaxed(&line->reclaimed, atom_load_relaxed(&line->lane_head) + 64);
    assert_int_equal(ask_close(c, WIRE_PUB_CLOSE, &pub), 0);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), -EBADMSG);
    assert_non_null(strstr(answer.text, "quarantined: the line of publisher 0"));
    close(c);
}

/* Those that were closed and wait for a claim that stays open are its last owner's still. */
static void
a_users_seats_are_counted_until_they_are_free(void **state)
{
    struct wire_answer pub[2];
    struct topic *t;
    uint64_t intent = ring_intent_pack(1, 1);
    int c;

    (void)state;
    bus_start("user_seats = 2\n[topic a]\ndeclare = yes\nmax_publishers = 8\nmode = 0666\n");
    t = topic("a");
    c = client_open();
    fix.bus->sessions->who.uid = t->access.uid + 12345;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
        pub[i] = answer;
    }
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), -EDQUOT);
    atom_store_relaxed(&ring_line(&t->memory.view, pub[0].index)->limit, 2);
    atom_store_relaxed(&ring_line(&t->memory.view, pub[0].index)->intent, intent);
    atom_store_relaxed(ring_tail(&t->memory.view), 2);
    assert_int_equal(ask_close(c, WIRE_PUB_CLOSE, &pub[1]), 0);
    assert_true(t->publishers[pub[1].index].dying);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), -EDQUOT);
    assert_non_null(strstr(answer.text, "has 2 publishers; [bus] user_seats"));
    assert_int_equal(ask_close(c, WIRE_PUB_CLOSE, &pub[0]), 0);
    assert_false(t->publishers[pub[1].index].dying);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    close(c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(publishers_run_out_and_come_back, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(an_entry_says_whose_it_is, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(another_process_cannot_close_it, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(cursors_run_out_and_come_back, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(a_topic_offers_kinds, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(a_name_is_one_process_at_a_time, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(a_name_goes_on_where_it_was, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(a_quarantined_topic_lets_nobody_in, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_ruined_line_is_handed_to_nobody, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(a_users_seats_are_counted_until_they_are_free, bus_setup,
                                        bus_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
