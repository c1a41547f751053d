/* Topics: made as asked for and by rule, compared, refused, removed; and who may do which. */
#include "tests/unit/daemon/bus_fixture.h"

#include "daemon/state.h"

static const struct wire_options by_rule = {.given = WIRE_GIVEN_RULE};

static void
made_with_defaults_and_there(void **state)
{
    int c;

    (void)state;
    bus_start("");
    c = client_open();
    assert_int_equal(answer.pid, getpid());
    assert_int_equal(answer.incarnation, fix.bus->incarnation);
    assert_int_equal(answer.bus_id, fix.bus->id);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_INFO, "a", NULL), -ENOENT);
    assert_string_equal(answer.text, "there is no topic a");
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "a", NULL), 0);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "a", NULL), 0);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_INFO, "a", NULL), 0);
    assert_int_equal(answer.fds, 2);
    assert_int_equal(answer.topic_id, topic("a")->id);
    assert_ptr_equal(topic_by_id(fix.bus, answer.topic_id, NULL), topic("a"));
    assert_int_equal(topic("a")->memory.view.geo.depth, 4096);
    assert_int_equal(topic("a")->memory.view.geo.uid, geteuid());
    close(c);
}

static void
what_is_handed_out_is_what_may_be_done(void **state)
{
    union wire_any p = pub_packet("a");
    int c, fds[WIRE_FDS_MAX];
    struct topic *t;
    void *map;

    (void)state;
    bus_start("");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "a", NULL), 0);
    t = topic("a");
    assert_int_equal(ask_raw(c, &p, &answer, fds), 0);
    map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_memory_equal(map, t->memory.data_range.base, 4096);
    munmap(map, 4096);
    close(fds[0]);
    close(fds[1]);
    p = sub_packet("a", NULL, RING_KIND_LIVE);
    assert_int_equal(ask_raw(c, &p, &answer, fds), 0);
    map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fds[0], 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    assert_int_equal(mprotect(map, 4096, PROT_READ | PROT_WRITE), -1);
    munmap(map, 4096);
    assert_ptr_equal(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fds[0], 0), MAP_FAILED);
    map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    munmap(map, 4096);
    close(fds[0]);
    close(fds[1]);
    close(c);
}

static void
sizes_are_rounded_up_and_compared(void **state)
{
    struct wire_options o = by_rule;
    int c;

    (void)state;
    bus_start("[topic r.*]\ndepth = 16\nwhen_full = overwrite\nmode = 0644\n");
    c = client_open();
    o.depth = 1000;
    o.lane_size = 5000;
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "r.a", &o), 0);
    assert_int_equal(topic("r.a")->memory.view.geo.depth, 1024);
    assert_int_equal(topic("r.a")->memory.view.geo.lane_size, 8192);
    assert_int_equal(topic("r.a")->memory.view.geo.when_full, RING_OVERWRITE);
    assert_int_equal(topic("r.a")->memory.view.geo.mode, 0644);
    o.depth = 1024;
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "r.a", &o), 0);
    o.depth = 1025;
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "r.a", &o), -EEXIST);
    assert_non_null(strstr(answer.text, "depth"));
    assert_non_null(strstr(answer.text, "1024"));
    o = (struct wire_options){.given = 0}; /* durability memory, when_full block, and so meant */
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "r.a", &o), -EEXIST);
    assert_non_null(strstr(answer.text, "when_full"));
    o = (struct wire_options){.given = WIRE_GIVEN_RULE | WIRE_GIVEN_MODE};
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "r.a", &o), -EEXIST);
    assert_non_null(strstr(answer.text, "mode"));
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "r.a", &by_rule), 0);
    /* Subscribers are counted without the log writer, whatever the rule would make of it now. */
    o = (struct wire_options){.given = WIRE_GIVEN_RULE, .durability = RING_DISK, .max_cursors = 9};
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "d", &o), 0);
    o.durability = 0;
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "d", &o), 0);
    o.max_cursors = 10;
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "d", &o), -EEXIST);
    close(c);
}

static void
refused(int c, const char *name, const struct wire_options *o, const char *words)
{
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, name, o), -EINVAL);
    if (!strstr(answer.text, words))
        fail_msg("%s", answer.text);
    assert_null(topic_by_name(fix.bus, name));
}

static void
what_cannot_be_is_refused_with_its_limit(void **state)
{
    int c;

    (void)state;
    bus_start("");
    c = client_open();
    refused(c, "a..b", &by_rule, "dots");
    refused(c, "", &by_rule, "empty");
    refused(c, "a/b", &by_rule, "character");
    refused(c, "a", &(struct wire_options){.given = 8, .depth = 1ull << 40}, "16777216");
    refused(c, "a", &(struct wire_options){.given = 8, .depth = UINT64_MAX}, "16777216");
    refused(c, "a", &(struct wire_options){.given = 8, .slot_size = 65}, "64, 128 or 256");
    refused(c, "a", &(struct wire_options){.given = 8, .lane_size = 1}, "4096");
    refused(c, "a", &(struct wire_options){.given = 8, .max_publishers = 5000}, "4096");
    refused(c, "a", &(struct wire_options){.given = 8, .max_cursors = UINT32_MAX}, "4095");
    refused(c, "a", &(struct wire_options){.given = 8, .mode = 01000}, "0777");
    refused(c, "a", &(struct wire_options){.durability = 1, .when_full = 1}, "overwrite");
    close(c);
}

static void
a_removed_topic_ends_for_everybody(void **state)
{
    struct ring_view view;
    struct ring_maps maps;
    union wire_any p = sub_packet("a", NULL, RING_KIND_LIVE);
    int c, fds[WIRE_FDS_MAX];
    uint32_t version;

    (void)state;
    bus_start("");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "a", NULL), 0);
    assert_int_equal(ask_raw(c, &p, &answer, fds), 0);
    assert_int_equal(shm_segment_size(fds[0], &maps.data_size), 0);
    assert_int_equal(shm_segment_map(fds[0], maps.data_size, &maps.data), 0);
    maps.control = NULL;
    maps.control_size = 0;
    assert_int_equal(ring_join(&view, &maps, &version), 0);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_REMOVE, "a", NULL), 0);
    assert_null(topic_by_name(fix.bus, "a"));
    assert_int_equal(state_get(&view), RING_TOPIC_REMOVED);
    assert_int_equal(ring_join(&view, &maps, &version), -EBADMSG);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_REMOVE, "a", NULL), -ENOENT);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "a", NULL), 0);
    shm_segment_unmap(maps.data, maps.data_size);
    close(fds[0]);
    close(fds[1]);
    close(c);
}

static void
a_rule_lets_use_make_a_topic(void **state)
{
    int c;

    (void)state;
    bus_start("[topic auto.*]\ncreate = yes\ndepth = 32\n[topic there]\ndeclare = yes\ndepth = 64\n"
              "mode = 0666\n");
    assert_int_equal(topic("there")->memory.view.geo.depth, 64);
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "other", NULL), -ENOENT);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "auto.x", NULL), 0);
    assert_int_equal(topic("auto.x")->memory.view.geo.depth, 32);
    assert_int_equal(ask_sub(c, "auto.y", NULL, RING_KIND_LIVE, WIRE_LATEST), 0);
    assert_int_equal(ask_sub(c, "auto..", NULL, RING_KIND_LIVE, WIRE_LATEST), -EINVAL);
    close(c);
}

/* --- another user ------------------------------------------------------------------------------ */

#define STRANGER 12345

static void
owned_by(const char *name, uint32_t uid, uint32_t gid, uint32_t mode)
{
    struct topic *t = topic(name);

    t->access = (struct access_rule){.uid = uid, .gid = gid, .mode = mode};
}

/* Asks as a user of no rights: the session's own idea of who that is gets replaced. */
static int
client_as(uint32_t uid, uint32_t gid)
{
    int c = client_open();

    assert_non_null(fix.bus->sessions);
    fix.bus->sessions->who.uid = uid;
    fix.bus->sessions->who.gid = gid;
    fix.bus->sessions->who.group_count = 0;
    return c;
}

static void
a_stranger_gets_what_the_mode_says(void **state)
{
    int root, c;

    (void)state;
    bus_start("[topic open.*]\ncreate = yes\n");
    root = client_open();
    assert_int_equal(ask_topic(root, WIRE_TOPIC_CREATE, "a", NULL), 0);
    c = client_as(STRANGER, STRANGER);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "b", NULL), -EACCES);
    assert_non_null(strstr(answer.text, "create = yes"));
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "a", NULL), -EACCES);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_REMOVE, "a", NULL), -EACCES);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_INFO, "a", NULL), -EACCES);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), -EACCES);
    assert_non_null(strstr(answer.text, "0600"));
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_LIVE, WIRE_LATEST), -EACCES);
    owned_by("a", 0, 0, 0604);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), -EACCES);
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_LIVE, WIRE_LATEST), 0);
    owned_by("a", 0, STRANGER, 0620);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_LIVE, WIRE_LATEST), -EACCES);
    owned_by("a", STRANGER, 0, 0077);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), -EACCES);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_REMOVE, "a", NULL), 0);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "open.a", NULL), 0);
    assert_int_equal(topic("open.a")->access.uid, STRANGER);
    assert_int_equal(
        ask_topic(c, WIRE_TOPIC_CREATE, "open.b", &(struct wire_options){.given = 8, .uid = 7}),
        -EACCES);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "open.b",
                               &(struct wire_options){.given = 8 | WIRE_GIVEN_GID}),
                     -EACCES);
    close(c);
    close(root);
}

static void
a_user_has_limits(void **state)
{
    char name[20];
    int c;

    (void)state;
    bus_start("user_topics = 3\nuser_shm = 9M\n[topic *]\ncreate = yes\n");
    c = client_as(STRANGER, STRANGER);
    for (int i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, name, NULL), 0);
    }
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "t3", NULL), -EDQUOT);
    assert_non_null(strstr(answer.text, "user_topics"));
    /* Two lanes of 4 MiB fit beside three small rings, a third does not. */
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "t0", NULL), 0);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "t1", NULL), 0);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "t0", NULL), -EDQUOT);
    assert_non_null(strstr(answer.text, "user_shm"));
    assert_int_equal(ask_topic(c, WIRE_TOPIC_REMOVE, "t2", NULL), 0);
    assert_int_equal(
        ask_topic(c, WIRE_TOPIC_CREATE, "t3", &(struct wire_options){.given = 8, .depth = 1 << 16}),
        -EDQUOT);
    assert_non_null(strstr(answer.text, "user_shm"));
    close(c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(made_with_defaults_and_there, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(what_is_handed_out_is_what_may_be_done, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(sizes_are_rounded_up_and_compared, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_is_refused_with_its_limit, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_removed_topic_ends_for_everybody, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_rule_lets_use_make_a_topic, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(a_stranger_gets_what_the_mode_says, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_user_has_limits, bus_setup, bus_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
