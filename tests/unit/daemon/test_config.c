/* The configuration: every key, every refusal with its line, the order of files and rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/config.h"
#include "ring/ring.h"

static char dir[64], main_file[100], error[CONFIG_ERROR];
static struct config config;

static void
put(const char *name, const char *text)
{
    char path[200];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void
drop(const char *name)
{
    char path[200];

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    (void)unlink(path);
}

static int
load(const char *text)
{
    config_free(&config);
    assert_int_equal(config_init(&config, false), 0);
    error[0] = '\0';
    put("leat.conf", text);
    return config_load(&config, main_file, true, error);
}

static int
setup(void **state)
{
    char conf_d[100];

    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/leat-config.XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    (void)snprintf(main_file, sizeof main_file, "%s/leat.conf", dir);
    (void)snprintf(conf_d, sizeof conf_d, "%s/conf.d", dir);
    return mkdir(conf_d, 0700);
}

static int
teardown(void **state)
{
    (void)state;
    config_free(&config);
    drop("leat.conf");
    drop("conf.d/10-a.conf");
    drop("conf.d/20-b.conf");
    drop("conf.d/ignored.txt");
    (void)snprintf(main_file, sizeof main_file, "%s/conf.d", dir);
    (void)rmdir(main_file);
    return rmdir(dir);
}

static void
an_empty_file_is_all_defaults(void **state)
{
    struct config_topic t;

    (void)state;
    assert_int_equal(load(""), 0);
    assert_string_equal(config.socket, "/run/leat/bus");
    assert_string_equal(config.store, "/var/lib/leat");
    assert_string_equal(config.io, "auto");
    assert_int_equal(config.mode, 0666);
    assert_int_equal(config_resolve(&config, "any", &t), 0);
    assert_int_equal(t.depth, 4096);
    assert_int_equal(t.slot_size, 64);
    assert_int_equal(t.lane_size, 4 << 20);
    assert_int_equal(t.max_publishers, 16);
    assert_int_equal(t.max_subscribers, 128);
    assert_int_equal(t.mode, 0600);
    assert_int_equal(t.retention_bytes, 1 << 30);
    assert_int_equal(t.create, 0);
}

static void
every_key_is_understood(void **state)
{
    struct config_topic t;

    (void)state;
    assert_int_equal(load("# a comment\n"
                          "[bus]\n"
                          "socket = /tmp/s\n"
                          "store=/tmp/st ; another\n"
                          "prefix = my-bus\n"
                          "io = block\n"
                          "  mode = 0660\n"
                          "membarrier = off\n"
                          "keep = no\n"
                          "user_sessions = 7\n"
                          "user_topics = 0\n"
                          "user_shm = 2M\n"
                          "user_seats = 5\n"
                          "\n"
                          "[topic orders.*]\n"
                          "depth = 64K\n"
                          "slot_size = 128\n"
                          "lane_size = 1M\n"
                          "max_publishers = 3\n"
                          "max_subscribers = 4\n"
                          "durability = disk\n"
                          "when_full = block\n"
                          "retention_bytes = 2G\n"
                          "retention_ns = 7d\n"
                          "retain_until_acked = yes\n"
                          "mode = 0640\n"
                          "owner = 12\n"
                          "group = root\n"
                          "timestamps = precise\n"
                          "lag = 250ms\n"
                          "create = yes\n"
                          "declare = no\n"),
                     0);
    assert_string_equal(config.socket, "/tmp/s");
    assert_string_equal(config.store, "/tmp/st");
    assert_string_equal(config.prefix, "my-bus");
    assert_string_equal(config.io, "block");
    assert_int_equal(config.mode, 0660);
    assert_int_equal(config.membarrier, 0);
    assert_int_equal(config.keep, 0);
    assert_int_equal(config.user_sessions, 7);
    assert_int_equal(config.user_topics, 0);
    assert_int_equal(config.user_shm, 2 << 20);
    assert_int_equal(config.user_seats, 5);
    assert_int_equal(config_resolve(&config, "orders.new", &t), (1u << CONFIG_FIELDS) - 1);
    assert_int_equal(t.depth, 65536);
    assert_int_equal(t.slot_size, 128);
    assert_int_equal(t.lane_size, 1 << 20);
    assert_int_equal(t.max_publishers, 3);
    assert_int_equal(t.max_subscribers, 4);
    assert_int_equal(t.durability, RING_DISK);
    assert_int_equal(t.when_full, RING_BLOCK);
    assert_int_equal(t.retention_bytes, 2ull << 30);
    assert_int_equal(t.retention_ns, 7ull * 86400 * 1000000000);
    assert_int_equal(t.retain_until_acked, 1);
    assert_int_equal(t.mode, 0640);
    assert_int_equal(t.owner, 12);
    assert_int_equal(t.group, 0);
    assert_int_equal(t.timestamps, RING_TIME_PRECISE);
    assert_int_equal(t.lag_ns, 250000000);
    assert_int_equal(t.create, 1);
    assert_int_equal(t.declare, 0);
    assert_int_equal(config_resolve(&config, "order", &t), 0);
}

static void
mistakes_name_file_line_and_what_is_allowed(void **state)
{
    static const struct {
        const char *text, *place, *word, *allowed;
    } cases[] = {
        {"[bus]\nsock = /x\n", ":2: ", "'sock'", "socket"},
        {"[bus]\n\nsocket = x\n", ":3: ", "'x'", "absolute path"},
        {"[bus]\nio = fast\n", ":2: ", "'fast'", "auto, io_uring, block"},
        {"[bus]\nprefix = a.b\n", ":2: ", "'a.b'", "A-Z"},
        {"[bus]\nprefix = leat-85944171f73967e8\n",
         ":2: ", "prefix cannot be 'leat-85944171f73967e8'", "a socket's path"},
        {"[bus]\nmode = 0999\n", ":2: ", "'0999'", "777"},
        {"[bus]\nmode = 01777\n", ":2: ", "'01777'", "777"},
        {"[bus]\nuser_shm = 5X\n", ":2: ", "'5X'", "K, M, G or T"},
        {"[buss]\n", ":1: ", "[buss]", "[topic PATTERN]"},
        {"[topic]\n", ":1: ", "''", "pattern"},
        {"[topic a/b]\n", ":1: ", "'a/b'", "A-Z"},
        {"[topicx]\n", ":1: ", "[topicx]", "[bus]"},
        {"[bus\n", ":1: ", "", "[bus]"},
        {"[bus] x = 1\n", ":1: ", "", "alone on its line"},
        {"x = 1\n", ":1: ", "'x'", "[bus]"},
        {"[bus]\nwhat\n", ":2: ", "", "key = value"},
        {"[topic a]\ndepth = 7\n", ":2: ", "'7'", "from 8 to 16777216"},
        {"[topic a]\ndepth = 16777217\n", ":2: ", "'16777217'", "from 8"},
        {"[topic a]\ndepth = -8\n", ":2: ", "'-8'", "from 8"},
        {"[topic a]\ndepth = 8 9\n", ":2: ", "'8 9'", "from 8"},
        {"[topic a]\ndepth = 99999999999999999999\n", ":2: ", "99999", "from 8"},
        {"[topic a]\nretention_bytes = 99999999T\n", ":2: ", "99999999T", "from 0"},
        {"[topic a]\nslot_size = 65\n", ":2: ", "'65'", "64, 128, 256"},
        {"[topic a]\nlane_size = 4095\n", ":2: ", "'4095'", "from 4096"},
        {"[topic a]\nmax_publishers = 0\n", ":2: ", "'0'", "from 1"},
        {"[topic a]\nmax_subscribers = 4096\n", ":2: ", "'4096'", "to 4095"},
        {"[topic a]\nlag = 5\n", ":2: ", "'5'", "ns, us, ms"},
        {"[topic a]\nlag = 5 s\n", ":2: ", "'5 s'", "ns, us, ms"},
        {"[topic a]\nlag = 5y\n", ":2: ", "'5y'", "ns, us, ms"},
        {"[topic a]\nowner = no-such-user-here\n", ":2: ", "no-such", "user"},
        {"[topic a]\ngroup = 4294967295\n", ":2: ", "4294967295", "group"},
        {"[topic a]\ncreate = maybe\n", ":2: ", "'maybe'", "yes, no"},
        {"[topic a.*]\ndeclare = yes\n", ":2: ", "a.*", "pattern"},
        {"[topic a.]\ndeclare = yes\n", ":2: ", "a.", "dots"},
        {"[topic a]\nsocket = /x\n", ":2: ", "'socket'", "depth"},
        {"[bus]\ndepth = 8\n", ":2: ", "'depth'", "socket"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (load(cases[i].text) != -EINVAL)
            fail_msg("accepted: %s", cases[i].text);
        if (strncmp(error, main_file, strlen(main_file)) != 0 ||
            strncmp(error + strlen(main_file), cases[i].place, strlen(cases[i].place)) != 0 ||
            !strstr(error, cases[i].word) || !strstr(error, cases[i].allowed))
            fail_msg("%s says: %s", cases[i].text, error);
    }
}

static void
a_line_has_a_limit_and_no_zero(void **state)
{
    char text[400], path[200];
    FILE *f;

    (void)state;
    (void)snprintf(text, sizeof text, "[bus]\n# %0240d\n", 1);
    assert_int_equal(load(text), -EINVAL);
    assert_non_null(strstr(error, ":2: "));
    (void)snprintf(text, sizeof text, "[topic %0200d]\ndepth = 8\n", 1);
    assert_int_equal(load(text), -EINVAL);
    (void)snprintf(text, sizeof text, "[topic %0180d]\ndepth = 8", 1);
    assert_int_equal(load(text), 0);
    assert_int_equal(strlen(config.rules[0].pattern), 180);
    assert_int_equal(config.rules[0].topic.depth, 8);

    (void)snprintf(path, sizeof path, "%s/leat.conf", dir);
    f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite("[bus]\nio\0 = x\n", 1, 14, f), 14);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(config_load(&config, main_file, true, error), -EINVAL);
}

static void
later_rules_and_files_win_key_by_key(void **state)
{
    struct config_topic t;

    (void)state;
    put("conf.d/20-b.conf", "[topic *.x]\ndepth = 32\n[bus]\nio = block\n");
    put("conf.d/10-a.conf", "[topic a.*]\ndepth = 16\nslot_size = 256\n[bus]\nio = io_uring\n");
    put("conf.d/ignored.txt", "nonsense\n");
    assert_int_equal(load("[topic *]\ndepth = 8\nmax_publishers = 2\n"), 0);
    assert_string_equal(config.io, "block");
    assert_int_equal(config.rule_count, 3);
    (void)config_resolve(&config, "a.x", &t);
    assert_int_equal(t.depth, 32);
    assert_int_equal(t.slot_size, 256);
    assert_int_equal(t.max_publishers, 2);
    (void)config_resolve(&config, "a.y", &t);
    assert_int_equal(t.depth, 16);
    (void)config_resolve(&config, "b.y", &t);
    assert_int_equal(t.depth, 8);
    assert_int_equal(t.slot_size, 64);
    put("conf.d/20-b.conf", "[bus]\n\nbad\n");
    assert_int_equal(load(""), -EINVAL);
    assert_non_null(strstr(error, "20-b.conf:3: "));
    drop("conf.d/10-a.conf");
    drop("conf.d/20-b.conf");
}

static void
a_missing_file_matters_when_it_was_named(void **state)
{
    (void)state;
    config_free(&config);
    assert_int_equal(config_init(&config, false), 0);
    drop("leat.conf");
    assert_int_equal(config_load(&config, main_file, false, error), 0);
    assert_int_equal(config_load(&config, main_file, true, error), -ENOENT);
    assert_non_null(strstr(error, main_file));
}

static void
what_is_printed_loads_to_the_same(void **state)
{
    static const char text[] = "[bus]\nuser_shm = 3K\nprefix = p\nsocket = /s\n"
                               "[topic a.*]\nlag = 2ms\nretention_ns = 0\nmode = 0604\n"
                               "slot_size = 256\ndurability = disk\ncreate = yes\n";
    struct config_topic was, is;
    char path[200];
    FILE *f;

    (void)state;
    assert_int_equal(load(text), 0);
    (void)config_resolve(&config, "a.b", &was);
    (void)snprintf(path, sizeof path, "%s/leat.conf", dir);
    f = fopen(path, "we");
    assert_non_null(f);
    config_print(&config, f);
    assert_int_equal(fclose(f), 0);
    config_free(&config);
    assert_int_equal(config_init(&config, false), 0);
    if (config_load(&config, main_file, true, error))
        fail_msg("%s", error);
    assert_int_equal(config.user_shm, 3072);
    assert_string_equal(config.prefix, "p");
    (void)config_resolve(&config, "a.b", &is);
    assert_memory_equal(&is, &was, sizeof is);
}

static void
options_set_single_keys(void **state)
{
    (void)state;
    assert_int_equal(load(""), 0);
    assert_int_equal(config_set(&config, "socket", "/elsewhere", error), 0);
    assert_string_equal(config.socket, "/elsewhere");
    assert_int_equal(config_set(&config, "socket", "relative", error), -EINVAL);
    assert_non_null(strstr(error, "absolute"));
    assert_string_equal(config.socket, "/elsewhere");
    assert_int_equal(config_set(&config, "nope", "1", error), -EINVAL);
}

static void
a_user_has_places_of_his_own(void **state)
{
    char path[CONFIG_PATH], longest[200];

    (void)state;
    assert_int_equal(setenv("XDG_RUNTIME_DIR", "/run/user/7", 1), 0);
    assert_int_equal(setenv("XDG_STATE_HOME", "/state", 1), 0);
    assert_int_equal(setenv("XDG_CONFIG_HOME", "/config", 1), 0);
    config_free(&config);
    assert_int_equal(config_init(&config, true), 0);
    assert_string_equal(config.socket, "/run/user/7/leat/bus");
    assert_string_equal(config.store, "/state/leat");
    assert_int_equal(config.mode, 0600);
    config_default_path(true, path);
    assert_string_equal(path, "/config/leat/leat.conf");
    assert_int_equal(unsetenv("XDG_RUNTIME_DIR"), 0);
    assert_int_equal(unsetenv("XDG_STATE_HOME"), 0);
    assert_int_equal(setenv("HOME", "/home/me", 1), 0);
    assert_int_equal(config_init(&config, true), 0);
    (void)snprintf(path, sizeof path, "/tmp/leat-%u/bus", (unsigned)getuid());
    assert_string_equal(config.socket, path);
    assert_string_equal(config.store, "/home/me/.local/state/leat");
    memset(longest, 'x', sizeof longest - 1);
    longest[0] = '/';
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(setenv("XDG_RUNTIME_DIR", longest, 1), 0);
    assert_int_equal(config_init(&config, true), -ENAMETOOLONG);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_is_all_defaults),
        cmocka_unit_test(every_key_is_understood),
        cmocka_unit_test(mistakes_name_file_line_and_what_is_allowed),
        cmocka_unit_test(a_line_has_a_limit_and_no_zero),
        cmocka_unit_test(later_rules_and_files_win_key_by_key),
        cmocka_unit_test(a_missing_file_matters_when_it_was_named),
        cmocka_unit_test(what_is_printed_loads_to_the_same),
        cmocka_unit_test(options_set_single_keys),
        cmocka_unit_test(a_user_has_places_of_his_own),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
