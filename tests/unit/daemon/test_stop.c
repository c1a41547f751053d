/* Purging: what nobody serves goes, and nothing else. */
#include "tests/unit/daemon/bus_fixture.h"

#include "daemon/state.h"
#include "daemon/stop.h"

static char chosen[LIMIT_SHM_PREFIX];

static void
count_one(void *user, const char *name)
{
    (void)name;
    ++*(unsigned *)user;
}

static unsigned
count(const char *prefix)
{
    unsigned n = 0;

    assert_int_equal(memory_list(prefix, count_one, &n), 0);
    return n;
}

/* A bus of another socket, whose store is its own. */
static struct config
other(const char *socket, const char *prefix)
{
    struct config c;

    assert_int_equal(config_init(&c, false), 0);
    (void)snprintf(c.socket, sizeof c.socket, "%s/%s", fix.dir, socket);
    (void)snprintf(c.store, sizeof c.store, "%s/store2", fix.dir);
    (void)snprintf(c.prefix, sizeof c.prefix, "%s", prefix);
    return c;
}

/* Has served there once, and was stopped. */
static void
serve_once(const char *socket, const char *prefix)
{
    struct config c = other(socket, prefix);
    char why[WHY_ROOM];
    struct bus *bus;

    if (bus_open(&c, &bus, why))
        fail_msg("%s", why);
    bus_close(bus);
}

static void
start_chosen(void)
{
    char rules[120];

    (void)snprintf(chosen, sizeof chosen, "unit-%d", (int)getpid());
    (void)snprintf(rules, sizeof rules, "prefix = %s\n[topic m]\ndeclare = yes\n", chosen);
    bus_start(rules);
}

static void
what_another_socket_serves_is_not_purged(void **state)
{
    struct config c;
    char guard[64];

    (void)state;
    (void)snprintf(chosen, sizeof chosen, "unit-%d", (int)getpid());
    (void)snprintf(guard, sizeof guard, "/dev/shm/%s" BUS_GUARD, chosen);
    serve_once("bus2", chosen);
    start_chosen();
    c = other("bus2", chosen);
    assert_int_equal(stop_daemon(&c, true), -EBUSY);
    assert_int_equal(count(chosen), 1);
    assert_int_equal(state_get(&topic("m")->memory.view), RING_TOPIC_OK);
    assert_int_equal(access(guard, F_OK), 0);
    bus_die();
    assert_int_equal(count(chosen), 1);
    assert_int_equal(stop_daemon(&c, true), 0);
    assert_int_equal(count(chosen), 0);
    assert_int_equal(access(guard, F_OK), -1);
}

/* The guard of a directory that was moved speaks of the path that it had. */
static void
what_another_path_serves_is_not_purged(void **state)
{
    struct config c = other("bus2", "");
    char command[200];

    (void)state;
    bus_start("[topic m]\ndeclare = yes\n");
    assert_int_equal(stop_daemon(&c, true), 0); /* nobody has ever served there */
    (void)snprintf(command, sizeof command, "cd '%s' && cp bus" BUS_GUARD " bus2" BUS_GUARD,
                   fix.dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(stop_daemon(&c, true), -EBUSY);
    assert_int_equal(count(fix.bus->prefix), 1);
    assert_int_equal(state_get(&topic("m")->memory.view), RING_TOPIC_OK);
}

static void
what_nobody_serves_is_purged(void **state)
{
    char prefix[LIMIT_SHM_PREFIX];
    struct config c;

    (void)state;
    bus_start("[topic m]\ndeclare = yes\n");
    memcpy(prefix, fix.bus->prefix, sizeof prefix);
    bus_die();
    assert_int_equal(count(prefix), 1);
    c = other("bus", "");
    assert_int_equal(stop_daemon(&c, false), -ESRCH);
    assert_int_equal(count(prefix), 1);
    assert_int_equal(stop_daemon(&c, true), 0);
    assert_int_equal(count(prefix), 0);
}

/* Neither stopped nor purged; and where nobody has served nothing is left that keeps its user out. */
static void
anothers_bus_is_not_purged(void **state)
{
    char guard[CONFIG_SOCKET + 16];
    struct config c = other("bus2", "");

    (void)state;
    bus_start("[topic m]\ndeclare = yes\n");
    (void)snprintf(guard, sizeof guard, "%s" BUS_GUARD, c.socket);
    assert_int_equal(stop_daemon(&c, true), 0);
    assert_int_equal(access(guard, F_OK), -1);
    if (geteuid() != 0)
        skip();
    c = other("bus", "");
    (void)snprintf(guard, sizeof guard, "%s" BUS_GUARD, c.socket);
    assert_int_equal(chown(guard, 12345, 12345), 0);
    assert_int_equal(stop_daemon(&c, true), -EPERM);
    assert_int_equal(count(fix.bus->prefix), 1);
    assert_int_equal(chown(guard, 0, 0), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_another_socket_serves_is_not_purged, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(what_another_path_serves_is_not_purged, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(what_nobody_serves_is_purged, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(anothers_bus_is_not_purged, bus_setup, bus_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
