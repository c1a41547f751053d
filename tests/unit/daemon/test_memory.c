/* The two objects of a topic: made, mapped, reserved, listed; and a /dev/shm that is too small. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/memory.h"
#include "shm/name.h"
#include "shm/segment.h"

static char prefix[LIMIT_SHM_PREFIX], why[WHY_ROOM];
static struct ring_geometry geo;
static struct ring_identity who = {
    .name = "a.b", .topic_id = 77, .created_ns = 5, .boot_id = "boot"};

static int
setup(void **state)
{
    const char *what;

    (void)state;
    (void)snprintf(prefix, sizeof prefix, "leat-unit-%d", (int)getpid());
    geo = (struct ring_geometry){.depth = 64,
                                 .lane_size = 1 << 16,
                                 .slot_size = 64,
                                 .max_publishers = 4,
                                 .max_cursors = 4,
                                 .origin = 1};
    return ring_plan(&geo, &what);
}

static void
remove_one(void *user, const char *name)
{
    (void)user;
    memory_remove(prefix, name);
}

static int
teardown(void **state)
{
    (void)state;
    return memory_list(prefix, remove_one, NULL);
}

static uint64_t
blocks_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

static void
what_is_made_can_be_adopted(void **state)
{
    struct memory m, again;

    (void)state;
    assert_int_equal(memory_create(prefix, &geo, &who, &m, why), 0);
    assert_int_equal(memory_create(prefix, &geo, &who, &again, why), -EEXIST);
    assert_int_equal(m.view.geo.depth, 64);
    atom_store_relaxed(ring_tail(&m.view), 5);
    assert_int_equal(memory_adopt(prefix, "a.b", who.boot_id, &again, why), 0);
    assert_int_equal(atom_load_relaxed(ring_tail(&again.view)), 5);
    assert_int_equal(ring_header(&again.view)->topic_id, 77);
    atom_store_relaxed(ring_tail(&again.view), 6);
    assert_int_equal(atom_load_relaxed(ring_tail(&m.view)), 6);
    memory_close(&again);
    memory_close(&m);
    memory_close(&m);
    assert_int_equal(memory_adopt(prefix, "a.c", who.boot_id, &again, why), -ENOENT);
}

static void
lanes_cost_nothing_until_reserved(void **state)
{
    struct memory m;
    uint64_t before;

    (void)state;
    assert_int_equal(memory_create(prefix, &geo, &who, &m, why), 0);
    before = blocks_of(m.data_rw);
    assert_int_equal(before, geo.lanes);
    assert_int_equal(memory_reserve_lane(&m, 2), 0);
    assert_int_equal(memory_reserve_lane(&m, 2), 0);
    assert_int_equal(blocks_of(m.data_rw), before + geo.lane_size);
    assert_int_equal(memory_bytes(&geo, 1), blocks_of(m.data_rw) + blocks_of(m.control));
    memory_close(&m);
}

static unsigned found;

static void
count_one(void *user, const char *name)
{
    assert_string_equal(name, user);
    found++;
}

static void
only_this_prefix_is_listed(void **state)
{
    struct memory m, other;
    char longer[LIMIT_SHM_PREFIX + 1], name[] = "a.b";

    (void)state;
    (void)snprintf(longer, sizeof longer, "%sx", prefix);
    assert_int_equal(memory_create(prefix, &geo, &who, &m, why), 0);
    assert_int_equal(memory_create(longer, &geo, &who, &other, why), 0);
    found = 0;
    assert_int_equal(memory_list(prefix, count_one, name), 0);
    assert_int_equal(found, 1);
    memory_close(&other);
    memory_remove(longer, "a.b");
    memory_close(&m);
}

/* In a child with a /dev/shm of its own: 77 when it may not have one. */
static int
in_little_room(void)
{
    char name[SHM_NAME_ROOM];
    struct memory m;
    int fd;

    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=128k"))
        return 77;
    /* The ring fits, two lanes do not. */
    if (memory_create(prefix, &geo, &who, &m, why))
        return 1;
    if (memory_reserve_lane(&m, 0) || memory_reserve_lane(&m, 1) != -ENOSPC)
        return 2;
    memory_close(&m);
    memory_remove(prefix, "a.b");
    /* A ring that does not fit leaves nothing, and says how much it wanted. */
    geo.depth = 4096;
    if (ring_plan(&geo, &(const char *){NULL}))
        return 3;
    if (memory_create(prefix, &geo, &who, &m, why) != -ENOSPC)
        return 4;
    if (!strstr(why, "needs 2") || !strstr(why, "lane_size") || !strstr(why, "left"))
        return 5;
    for (int kind = SHM_KIND_DATA; kind <= SHM_KIND_CONTROL; kind++) {
        shm_name_object(prefix, "a.b", (enum shm_kind)kind, name);
        if (shm_segment_open(name, false, &fd, &(uint64_t){0}) != -ENOENT)
            return 6;
    }
    return 0;
}

static void
too_little_room_is_said_with_numbers(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    (void)fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid)
        _exit(in_little_room());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("skipped: no mount name space of its own is allowed here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_made_can_be_adopted, setup, teardown),
        cmocka_unit_test_setup_teardown(lanes_cost_nothing_until_reserved, setup, teardown),
        cmocka_unit_test_setup_teardown(only_this_prefix_is_listed, setup, teardown),
        cmocka_unit_test_setup_teardown(too_little_room_is_said_with_numbers, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
