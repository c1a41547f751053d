/* Options of other versions, and where a bus is. No daemon. */
#include "tests/unit/client/bus.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "client/client.h"

struct known {
    uint32_t size;
    uint32_t flags;
    uint64_t value;
};

struct newer {
    struct known known;
    uint64_t more;
};

static void
test_null_is_defaults(void **state)
{
    struct known got = {.size = 9, .flags = 9, .value = 9};

    (void)state;
    assert_int_equal(leat__options(&got, sizeof got, NULL), 0);
    assert_int_equal(got.size, sizeof got);
    assert_int_equal(got.flags, 0);
    assert_int_equal(got.value, 0);
}

static void
test_older_is_filled(void **state)
{
    const struct known given = {.size = 8, .flags = 3, .value = 77};
    struct known got = {.value = 9};

    (void)state;
    assert_int_equal(leat__options(&got, sizeof got, &given), 0);
    assert_int_equal(got.flags, 3);
    assert_int_equal(got.value, 0); /* beyond what the caller knows */
    assert_int_equal(got.size, sizeof got);
}

static void
test_newer(void **state)
{
    struct newer given = {.known = {.size = sizeof given, .flags = 1, .value = 5}};
    struct known got = {.value = 9};

    (void)state;
    assert_int_equal(leat__options(&got, sizeof got, &given), 0);
    assert_int_equal(got.value, 5);
    given.more = 1;
    got.value = 9;
    assert_int_equal(leat__options(&got, sizeof got, &given), -E2BIG);
    assert_int_equal(got.value, 9); /* untouched */
    given.known.size = UINT32_MAX;
    assert_int_equal(leat__options(&got, sizeof got, &given), -E2BIG);
}

static void
test_no_size(void **state)
{
    struct known given = {0}, got;

    (void)state;
    for (given.size = 0; given.size < 8; given.size++)
        assert_int_equal(leat__options(&got, sizeof got, &given), -EINVAL);
}

/* The public calls that take options refuse those, each. */
static void
test_calls_refuse(void **state)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    leat_bus *bus = NULL;

    (void)state;
    assert_int_equal(leat_open(NULL, NULL), -EINVAL);
    o.size = 0;
    assert_int_equal(leat_open(&o, &bus), -EINVAL);
    o.size = sizeof o;
    o.flags = 0x100;
    assert_int_equal(leat_open(&o, &bus), -E2BIG);
    assert_null(bus);
    assert_non_null(strstr(leat_error(NULL), "leat_options"));
}

static void
test_given_path(void **state)
{
    char path[LEAT__PATH], expected[LEAT__PATH], here[128], too_long[LEAT__PATH + 1];
    bool mine = true;

    (void)state;
    assert_int_equal(leat__bus_path("/a/b", path, &mine), 0);
    assert_string_equal(path, "/a/b");
    assert_false(mine);
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(leat__bus_path("c", path, &mine), 0);
    (void)snprintf(expected, sizeof expected, "%s/c", here);
    assert_string_equal(path, expected);
    memset(too_long, 'x', LEAT__PATH);
    too_long[0] = '/';
    too_long[LEAT__PATH] = '\0';
    assert_int_equal(leat__bus_path(too_long, path, &mine), -ENAMETOOLONG);
}

static void
test_environment(void **state)
{
    char path[LEAT__PATH];
    bool mine = true;

    (void)state;
    assert_int_equal(setenv("LEAT_BUS", "/from/environment", 1), 0);
    assert_int_equal(leat__bus_path(NULL, path, &mine), 0);
    assert_string_equal(path, "/from/environment");
    assert_false(mine);
    assert_int_equal(unsetenv("LEAT_BUS"), 0);
    assert_int_equal(setenv("XDG_RUNTIME_DIR", "/nowhere/at/all", 1), 0);
    assert_int_equal(leat__user_path(path), 0);
    assert_string_equal(path, "/nowhere/at/all/leat/bus");
    /* A relative one is not believed. */
    assert_int_equal(setenv("XDG_RUNTIME_DIR", "relative", 1), 0);
    assert_int_equal(leat__user_path(path), 0);
    assert_int_equal(strncmp(path, "/tmp/leat-", 10), 0);
    assert_int_equal(unsetenv("XDG_RUNTIME_DIR"), 0);
}

static void
test_nobody_there(void **state)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char folder[] = "/tmp/leat-client.XXXXXX";
    leat_bus *bus = NULL;
    char path[64];
    int s;

    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/bus", folder);
    o.path = path;
    assert_int_equal(leat_open(&o, &bus), -ENOENT);
    assert_non_null(strstr(leat_error(NULL), path));
    assert_non_null(strstr(leat_error(NULL), "LEAT_AUTOSTART"));
    /* A socket that nobody listens on. */
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(leat_open(&o, &bus), -ECONNREFUSED);
    assert_null(bus);
    assert_null(leat_close(NULL));
    close(s);
    bus_remove(folder);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_null_is_defaults),
        cmocka_unit_test(test_older_is_filled),
        cmocka_unit_test(test_newer),
        cmocka_unit_test(test_no_size),
        cmocka_unit_test(test_calls_refuse),
        cmocka_unit_test(test_given_path),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_nobody_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
