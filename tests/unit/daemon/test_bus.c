/* Starting and stopping: one daemon per socket and per store, places checked, a clean stop drains. */
#include "tests/unit/daemon/bus_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "daemon/lock.h"
#include "daemon/state.h"
#include "shm/testpoint.h"

static int
second(const char *socket, const char *store, char why[WHY_ROOM])
{
    struct config c;
    struct bus *bus;

    assert_int_equal(config_init(&c, false), 0);
    (void)snprintf(c.socket, sizeof c.socket, "%s/%s", fix.dir, socket);
    (void)snprintf(c.store, sizeof c.store, "%s/%s", fix.dir, store);
    return bus_open(&c, &bus, why);
}

/* Which directories were synced: this one stands before the C library's. */
static char synced[16][128];
static unsigned synced_cnt;

int
fsync(int fd)
{
    char path[32];
    ssize_t n;

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (synced_cnt < 16) {
        n = readlink(path, synced[synced_cnt], sizeof *synced - 1);
        synced[synced_cnt++][n < 0 ? 0 : n] = '\0';
    }
    return (int)syscall(SYS_fsync, fd);
}

static bool
was_synced(const char *path)
{
    for (unsigned i = 0; i < synced_cnt; i++)
        if (!strcmp(synced[i], path))
            return true;
    return false;
}

/* A power cut must not take the store's own name away. */
static void
a_new_store_is_there_for_good(void **state)
{
    char made[100];

    (void)state;
    synced_cnt = 0;
    bus_start("");
    assert_true(was_synced(fix.dir));
    (void)snprintf(made, sizeof made, "%s/store", fix.dir);
    assert_true(was_synced(made));
}

static void
a_second_daemon_says_who_is_there(void **state)
{
    char why[WHY_ROOM], pid[20];

    (void)state;
    bus_start("");
    (void)snprintf(pid, sizeof pid, "pid %d", (int)getpid());
    assert_int_equal(second("bus", "store2", why), -EBUSY);
    assert_non_null(strstr(why, pid));
    assert_non_null(strstr(why, "socket"));
    assert_int_equal(second("bus2", "store", why), -EBUSY);
    assert_non_null(strstr(why, pid));
    assert_non_null(strstr(why, "store"));
    close(client_open());
}

static void
the_lock_file_says_what_an_inspector_needs(void **state)
{
    char path[100], text[600], line[300];
    struct stat st;
    ssize_t n;
    FILE *f;
    int pid;

    (void)state;
    bus_start("");
    (void)snprintf(path, sizeof path, "%s/bus.lock", fix.dir);
    f = fopen(path, "re");
    assert_non_null(f);
    n = (ssize_t)fread(text, 1, sizeof text - 1, f);
    assert_true(n > 0);
    text[n] = '\0';
    assert_int_equal(fclose(f), 0);
    (void)snprintf(line, sizeof line, "pid %d\nstore %s/store\nprefix %s\n", (int)getpid(), fix.dir,
                   fix.bus->prefix);
    assert_non_null(strstr(text, line));
    assert_non_null(strstr(text, "incarnation "));
    /* Whoever may read it cannot keep a daemon from starting. */
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644);
    (void)snprintf(path, sizeof path, "%s/bus" BUS_GUARD, fix.dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(lock_holder(path, &pid), 0);
    assert_int_equal(pid, getpid());
    bus_die();
    assert_int_equal(lock_holder(path, &pid), -ESRCH);
    (void)snprintf(path, sizeof path, "%s/none.lock", fix.dir);
    assert_int_equal(lock_holder(path, &pid), -ENOENT);
}

static void
a_place_anybody_may_write_to_is_refused(void **state)
{
    (void)state;
    assert_int_equal(chmod(fix.dir, 0777), 0);
    assert_int_equal(bus_try(""), -EPERM);
    assert_non_null(strstr(fix.why, "anybody"));
    assert_int_equal(chmod(fix.dir, 01777), 0);
    assert_int_equal(bus_try(""), 0);
    bus_die();
    if (geteuid() == 0) {
        assert_int_equal(chown(fix.dir, 12345, 12345), 0);
        assert_int_equal(bus_try(""), -EPERM);
        assert_non_null(strstr(fix.why, "12345"));
        assert_int_equal(chown(fix.dir, 0, 0), 0);
    }
}

static void
a_store_of_another_user_is_refused(void **state)
{
    char store[100];

    (void)state;
    (void)snprintf(store, sizeof store, "%s/store", fix.dir);
    assert_int_equal(mkdir(store, 0700), 0);
    for (mode_t sticky = 0; sticky <= 01000; sticky += 01000) {
        assert_int_equal(chmod(store, 0777 | sticky), 0);
        assert_int_equal(bus_try(""), -EPERM);
        assert_non_null(strstr(fix.why, store));
    }
    assert_int_equal(chmod(store, 0700), 0);
    if (geteuid() == 0) {
        assert_int_equal(chown(store, 12345, 12345), 0);
        assert_int_equal(bus_try(""), -EPERM);
        assert_non_null(strstr(fix.why, "12345"));
        assert_int_equal(chown(store, 0, 0), 0);
    }
    assert_int_equal(bus_try(""), 0);
}

/* A link of ours to what others may write to is no better. */
static void
a_store_behind_a_link_is_looked_at(void **state)
{
    char command[256];

    (void)state;
    (void)snprintf(command, sizeof command,
                   "cd '%s' && mkdir there && chmod 1777 there && ln -s there store", fix.dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(bus_try(""), -EPERM);
    assert_non_null(strstr(fix.why, "anybody"));
    (void)snprintf(command, sizeof command, "chmod 0700 '%s/there'", fix.dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(bus_try(""), 0);
}

/* With somebody at its other end and without: neither waited for nor written to. */
static void
a_fifo_in_place_of_a_lock_file_is_refused(void **state)
{
    char path[100];
    int pid, reader;

    (void)state;
    (void)snprintf(path, sizeof path, "%s/bus.lock", fix.dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    (void)alarm(60);
    assert_int_equal(bus_try(""), -ENXIO);
    assert_non_null(strstr(fix.why, "lock file"));
    assert_int_equal(lock_holder(path, &pid), -ESRCH);
    reader = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    assert_true(reader >= 0);
    assert_int_equal(bus_try(""), -EINVAL);
    (void)alarm(0);
    close(reader);
}

static void
what_cannot_be_is_said(void **state)
{
    char path[100];
    FILE *f;

    (void)state;
    (void)snprintf(path, sizeof path, "%s/store", fix.dir);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    assert_int_not_equal(bus_try(""), 0);
    assert_non_null(strstr(fix.why, path));
    assert_int_equal(unlink(path), 0);
    (void)snprintf(path, sizeof path, "%s/bus", fix.dir);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(bus_try(""), -EADDRINUSE);
    assert_non_null(strstr(fix.why, path));
}

static void
a_declared_topic_that_cannot_be_does_not_stop_the_others(void **state)
{
    (void)state;
    bus_start("[topic a]\ndeclare = yes\ndurability = disk\nwhen_full = overwrite\n"
              "[topic b]\ndeclare = yes\n");
    assert_null(topic_by_name(fix.bus, "a"));
    assert_non_null(topic_by_name(fix.bus, "b"));
}

static void
a_clean_stop_drains_and_keeps_the_rings(void **state)
{
    struct topic *t;
    struct pen pen;
    char path[100];
    int c;

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\n[topic m]\ndeclare = yes\n");
    t = topic("d");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "d", NULL), 0);
    pen = pen_of(t, answer.index);
    for (int i = 0; i < 100; i++)
        assert_int_equal(pen_write(&pen, 1), 0);
    free(pen.pieces);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    assert_int_equal(bus_run(fix.bus), 0);
    assert_int_equal(atom_load_relaxed(&ring_daemon(&t->memory.view)->durable), 100);
    (void)snprintf(path, sizeof path, "%s/bus", fix.dir);
    assert_int_equal(access(path, F_OK), -1);
    bus_die();
    close(c);
    bus_start("");
    assert_non_null(topic_by_name(fix.bus, "m"));
    assert_int_equal(atom_load_relaxed(ring_tail(&topic("d")->memory.view)), 101);
}

/* A log that is closed while the stop waits for it is not waited for. */
static void
a_stop_does_not_wait_for_what_is_gone(void **state)
{
    struct topic *t;
    struct pen pen;
    int c;

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\n");
    t = topic("d");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "d", NULL), 0);
    pen = pen_of(t, answer.index);
    for (int i = 0; i < 100; i++)
        assert_int_equal(pen_write(&pen, 1), 0);
    free(pen.pieces);
    close(c);
    assert_int_equal(kill(getpid(), SIGTERM), 0);
    TURN_UNTIL(fix.bus->stopping);
    topic_quarantine(t, "test");
    assert_int_equal(bus_run(fix.bus), 0);
    assert_int_equal(fix.bus->draining, 0);
}

#if defined(LEAT_TESTPOINTS)
static void
stop_at_adoption(const char *name)
{
    if (!strcmp(name, "adopt.done"))
        assert_int_equal(kill(getpid(), SIGTERM), 0);
}

static void
a_stop_that_comes_while_it_starts_is_not_lost(void **state)
{
    char path[100];

    (void)state;
    shm_testpoint_hook = stop_at_adoption;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\n");
    shm_testpoint_hook = NULL;
    assert_false(fix.bus->stopping);
    assert_int_equal(bus_run(fix.bus), 0);
    assert_true(fix.bus->stopping);
    assert_int_equal(fix.bus->draining, 0);
    (void)snprintf(path, sizeof path, "%s/bus", fix.dir);
    assert_int_equal(access(path, F_OK), -1);
}
#endif

static void
keep_no_ends_the_rings_too(void **state)
{
    struct ring_maps maps = {.control = NULL};
    union wire_any p = sub_packet("m", NULL, RING_KIND_LIVE);
    struct ring_view view;
    uint32_t version;
    int c, fds[WIRE_FDS_MAX];

    (void)state;
    bus_start("keep = no\n[topic m]\ndeclare = yes\n");
    c = client_open();
    assert_int_equal(ask_raw(c, &p, &answer, fds), 0);
    assert_int_equal(shm_segment_size(fds[0], &maps.data_size), 0);
    assert_int_equal(shm_segment_map(fds[0], maps.data_size, &maps.data), 0);
    assert_int_equal(ring_join(&view, &maps, &version), 0);
    assert_int_equal(kill(getpid(), SIGINT), 0);
    assert_int_equal(bus_run(fix.bus), 0);
    bus_die();
    assert_int_equal(state_get(&view), RING_TOPIC_REMOVED);
    bus_start("");
    assert_null(topic_by_name(fix.bus, "m"));
    shm_segment_unmap(maps.data, maps.data_size);
    close(fds[0]);
    close(fds[1]);
    close(c);
}

static void
paths_that_are_one_place_are_one_bus(void **state)
{
    char command[200], prefix[LIMIT_SHM_PREFIX], why[WHY_ROOM];

    (void)state;
    bus_start("");
    memcpy(prefix, fix.bus->prefix, sizeof prefix);
    (void)snprintf(command, sizeof command, "ln -s . '%s/link'", fix.dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(second("link/bus", "store2", why), -EBUSY);
    bus_die();
    bus_start("");
    assert_string_equal(fix.bus->prefix, prefix);
}

static void
a_prefix_is_one_bus_too(void **state)
{
    char path[64], why[WHY_ROOM];
    struct config c;
    struct bus *bus;

    (void)state;
    (void)snprintf(path, sizeof path, "/dev/shm/unit-%d" BUS_GUARD, (int)getpid());
    assert_int_equal(config_init(&c, false), 0);
    (void)snprintf(c.socket, sizeof c.socket, "%s/bus2", fix.dir);
    (void)snprintf(c.store, sizeof c.store, "%s/store2", fix.dir);
    (void)snprintf(c.prefix, sizeof c.prefix, "unit-%d", (int)getpid());
    assert_int_equal(bus_open(&c, &bus, why), 0);
    (void)snprintf(why, sizeof why, "prefix = unit-%d\n", (int)getpid());
    assert_int_equal(bus_try(why), -EBUSY);
    assert_non_null(strstr(fix.why, "prefix unit-"));
    bus_close(bus);
    bus_start(why);
    bus_die();
    assert_int_equal(access(path, F_OK), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] =
    { cmocka_unit_test_setup_teardown(a_new_store_is_there_for_good, bus_setup, bus_teardown),
      cmocka_unit_test_setup_teardown(a_second_daemon_says_who_is_there, bus_setup, bus_teardown),
      cmocka_unit_test_setup_teardown(the_lock_file_says_what_an_inspector_needs, bus_setup,
                                      bus_teardown),
      cmocka_unit_test_setup_teardown(a_place_anybody_may_write_to_is_refused, bus_setup,
                                      bus_teardown),
      cmocka_unit_test_setup_teardown(a_store_of_another_user_is_refused, bus_setup, bus_teardown),
      cmocka_unit_test_setup_teardown(a_store_behind_a_link_is_looked_at, bus_setup, bus_teardown),
      cmocka_unit_test_setup_teardown(a_fifo_in_place_of_a_lock_file_is_refused, bus_setup,
                                      bus_teardown),
      cmocka_unit_test_setup_teardown(what_cannot_be_is_said, bus_setup, bus_teardown),
      cmocka_unit_test_setup_teardown(a_declared_topic_that_cannot_be_does_not_stop_the_others,
                                      bus_setup, bus_teardown),
      cmocka_unit_test_setup_teardown(a_clean_stop_drains_and_keeps_the_rings, bus_setup,
                                      bus_teardown),
      cmocka_unit_test_setup_teardown(a_stop_does_not_wait_for_what_is_gone, bus_setup,
                                      bus_teardown),
#if defined(LEAT_TESTPOINTS)
      cmocka_unit_test_setup_teardown(a_stop_that_comes_while_it_starts_is_not_lost, bus_setup,
                                      bus_teardown),
#endif
      cmocka_unit_test_setup_teardown(keep_no_ends_the_rings_too, bus_setup, bus_teardown),
      cmocka_unit_test_setup_teardown(paths_that_are_one_place_are_one_bus, bus_setup,
                                      bus_teardown),
      cmocka_unit_test_setup_teardown(a_prefix_is_one_bus_too, bus_setup, bus_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
