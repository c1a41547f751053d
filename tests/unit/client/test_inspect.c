/* Looking from outside: at a live bus, at a dead one, at copies; and at memory that is full of
 * lies. */
#include "tests/unit/client/bus.h"

#include "client/client.h"
#include "tests/support/fixture.h"

static leat_inspect *
inspect(const char *path)
{
    leat_inspect *i = NULL;
    int r = leat_inspect_open(path, &i);

    if (r)
        print_error("%s\n", leat_error(NULL));
    assert_int_equal(r, 0);
    return i;
}

/* Reads message n; the result of leat_inspect_read. */
static int
read_one(leat_inspect *i, const char *topic, uint64_t n, uint64_t *ret_next)
{
    static unsigned char room[70000];
    struct leat_inspect_msg m = {.seq = n};
    int r = leat_inspect_read(i, topic, room, sizeof room, &m);

    *ret_next = m.seq;
    if (r == 1) {
        assert_int_equal(m.seq, n);
        assert_true(bus_payload_is(room, m.len, n));
    }
    return r;
}

static void
copy_file(const char *from, const char *to)
{
    static char buf[65536];
    int in = open(from, O_RDONLY | O_CLOEXEC),
        out = open(to, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n;

    assert_true(in >= 0 && out >= 0);
    while ((n = read(in, buf, sizeof buf)) > 0)
        assert_int_equal(write(out, buf, (size_t)n), n);
    close(in);
    close(out);
}

static void
test_names(void **state)
{
    static const char *const names[] = {"in.a", "in.b", "in.c"};
    struct bus *b = *state;
    char name[201] = "";
    leat_inspect *i;

    bus_topic(b, "in.b", 16, LEAT_DISK);
    bus_topic(b, "in.c", 16, LEAT_MEMORY);
    bus_topic(b, "in.a", 16, LEAT_MEMORY);
    i = inspect(b->path);
    for (unsigned n = 0; n < 3; n++) {
        assert_int_equal(leat_inspect_next(i, name), 1);
        assert_string_equal(name, names[n]);
    }
    assert_int_equal(leat_inspect_next(i, name), 0);
    leat_inspect_close(i);
}

static void
test_facts(void **state)
{
    struct bus *b = *state;
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    struct leat_inspect_pub pub;
    struct leat_inspect_sub sub;
    struct leat_topic_info info;
    uint32_t index = 0;
    leat_inspect *i;
    leat_pub *p;
    leat_sub *s, *named;

    bus_topic(b, "in.facts", 64, LEAT_DISK);
    p = bus_pub(b, "in.facts", 0);
    s = bus_sub(b, "in.facts", LEAT_LIVE, LEAT_LATEST);
    o.name = "service";
    assert_int_equal(leat_sub_open(b->bus, "in.facts", &o, &named), 0);
    for (uint64_t n = 1; n <= 20; n++)
        bus_send(p, n, 100);
    for (uint64_t n = 1; n <= 5; n++)
        bus_expect(s, n, 100);
    assert_int_equal(leat_sub_receive_many(s, &(struct leat_msg){0}, 1), 1);
    (void)leat_sub_wait(s, 0);
    i = inspect(b->path);
    assert_int_equal(leat_inspect_topic(i, "in.facts", &info), 0);
    assert_int_equal(info.tail, 21);
    assert_int_equal(info.depth, 64);
    assert_int_equal(info.publishers, 1);
    assert_int_equal(info.subscribers, 2);
    assert_int_equal(info.durability, LEAT_DISK);
    assert_int_equal(leat_inspect_pub(i, "in.facts", &index, &pub), 1);
    assert_int_equal(pub.pid, getpid());
    assert_int_equal(pub.alive, 1);
    assert_int_equal(pub.published, 20);
    assert_int_equal(pub.bytes, 2000);
    assert_int_equal(pub.intent_count, 0);
    assert_int_equal(leat_inspect_pub(i, "in.facts", &index, &pub), 0);
    index = 0;
    assert_int_equal(leat_inspect_sub(i, "in.facts", &index, &sub), 1);
    assert_int_equal(sub.log_writer, 1);
    assert_int_equal(leat_inspect_sub(i, "in.facts", &index, &sub), 1);
    assert_int_equal(sub.pid, getpid());
    assert_int_equal(sub.kind, LEAT_LIVE);
    assert_int_equal(leat_inspect_sub(i, "in.facts", &index, &sub), 1);
    assert_string_equal(sub.name, "service");
    assert_int_equal(sub.kind, LEAT_DURABLE);
    assert_int_equal(sub.lag, 20);
    assert_int_equal(sub.lag_bytes, 2000);
    assert_int_equal(leat_inspect_sub(i, "in.facts", &index, &sub), 0);
    /* One that nobody has open stands in the store. */
    assert_int_equal(leat_pub_wait_durable(p, 20, 10000000000), 0);
    for (uint64_t n = 1; n <= 7; n++)
        bus_expect(named, n, 100);
    assert_int_equal(leat_sub_ack(named, 7), 0);
    leat_sub_close(named);
    do {
        index = 0;
        while (leat_inspect_sub(i, "in.facts", &index, &sub) == 1 &&
               strcmp(sub.name, "service") != 0)
            ;
        (void)poll(NULL, 0, 5);
    } while (strcmp(sub.name, "service") != 0 || sub.acked != 8);
    assert_int_equal(sub.pid, 0);
    assert_int_equal(sub.lag, 13);
    leat_inspect_close(i);
    leat_sub_close(s);
    leat_pub_close(p);
}

static void
expect_all(leat_inspect *i, const char *topic, uint64_t first, uint64_t last)
{
    uint64_t next;

    for (uint64_t n = first; n <= last; n++)
        assert_int_equal(read_one(i, topic, n, &next), 1);
    assert_int_equal(read_one(i, topic, last + 1, &next), 0);
    assert_int_equal(next, last + 1);
    /* In any order. */
    for (uint64_t n = first; n <= last; n++)
        assert_int_equal(read_one(i, topic, first + (n * 7919) % (last + 1 - first), &next), 1);
}

/* Copies of the memory in a folder. */
static void
look_at_copies(const struct bus *b)
{
    char from[256], to[256], copies[80], prefix[LIMIT_SHM_PREFIX];
    struct leat_inspect_pub pub;
    uint32_t index = 0;
    leat_inspect *i;

    (void)snprintf(copies, sizeof copies, "%s/copies", b->folder);
    assert_int_equal(mkdir(copies, 0700), 0);
    shm_name_prefix(b->path, prefix);
    (void)snprintf(from, sizeof from, "/dev/shm/%s.in.ring.data", prefix);
    (void)snprintf(to, sizeof to, "%s/%s.in.ring.data", copies, prefix);
    copy_file(from, to);
    (void)snprintf(from, sizeof from, "/dev/shm/%s.in.ring.control", prefix);
    (void)snprintf(to, sizeof to, "%s/%s.in.ring.control", copies, prefix);
    copy_file(from, to);
    i = inspect(copies);
    expect_all(i, "in.ring", 37, 100);
    assert_int_equal(leat_inspect_pub(i, "in.ring", &index, &pub), 1);
    assert_int_equal(pub.alive, 0);
    leat_inspect_close(i);
}

static void
test_messages_alive_and_dead(void **state)
{
    struct bus *b = *state;
    struct leat_topic_info info;
    struct leat_inspect_msg m = {.seq = 1};
    struct leat_inspect_pub pub;
    char small[4];
    uint32_t index = 0;
    uint64_t next;
    leat_inspect *i;
    leat_pub *p;

    bus_topic(b, "in.read", 64, LEAT_DISK);
    bus_topic(b, "in.ring", 64, LEAT_MEMORY);
    p = bus_pub(b, "in.read", 0);
    for (uint64_t n = 1; n <= 500; n++)
        bus_send(p, n, 8 + n % 3000);
    assert_int_equal(leat_pub_wait_durable(p, 500, 10000000000), 0);
    leat_pub_close(p);
    p = bus_pub(b, "in.ring", 0);
    for (uint64_t n = 1; n <= 100; n++)
        bus_send(p, n, 16);
    i = inspect(b->path);
    expect_all(i, "in.read", 1, 500);
    assert_int_equal(leat_inspect_read(i, "in.read", small, sizeof small, &m), -ENOBUFS);
    assert_int_equal(m.seq, 1); /* untouched */
    assert_int_equal(read_one(i, "in.ring", 3, &next), 0);
    assert_int_equal(next, 37);
    expect_all(i, "in.ring", 37, 100);
    /* The daemon dies: the same again. */
    bus_kill(b, SIGKILL);
    expect_all(i, "in.read", 1, 500);
    leat_inspect_close(i);
    i = inspect(b->path);
    expect_all(i, "in.ring", 37, 100);
    expect_all(i, "in.read", 1, 500);
    assert_int_equal(leat_inspect_pub(i, "in.ring", &index, &pub), 1);
    leat_inspect_close(i);
    look_at_copies(b);
    /* After a reboot there is the store alone. */
    leat_pub_close(p);
    b->bus = leat_close(b->bus);
    bus_forget_memory(b);
    i = inspect(b->path);
    assert_int_equal(leat_inspect_topic(i, "in.read", &info), 0);
    assert_int_equal(info.tail, 501);
    assert_int_equal(info.durable, 500);
    assert_int_equal(info.first, 1);
    assert_int_equal(leat_inspect_topic(i, "in.ring", &info), -ENOENT);
    expect_all(i, "in.read", 1, 500);
    leat_inspect_close(i);
    i = inspect(b->store);
    expect_all(i, "in.read", 1, 500);
    leat_inspect_close(i);
    bus_launch(b);
    bus_open(b);
}

/* Publishes messages n + 1 to n + 300, on disk; they get the numbers from 1 on. */
static void
fill_again(struct bus *b, const char *topic, uint64_t n)
{
    leat_pub *p;

    bus_topic(b, topic, 16, LEAT_DISK);
    p = bus_pub(b, topic, 0);
    for (uint64_t k = 1; k <= 300; k++)
        assert_int_equal(bus_send(p, n + k, 100), k);
    assert_int_equal(leat_pub_wait_durable(p, 300, 10000000000), 0);
    leat_pub_close(p);
}

static void
expect_one(leat_inspect *i, const char *topic, uint64_t seq, uint64_t n)
{
    unsigned char room[200];
    struct leat_inspect_msg m = {.seq = seq};

    assert_int_equal(leat_inspect_read(i, topic, room, sizeof room, &m), 1);
    assert_int_equal(m.seq, seq);
    assert_true(bus_payload_is(room, m.len, n));
}

/* A topic that was removed and made anew has nothing of the old one, in memory or in the log. */
static void
test_made_anew(void **state)
{
    struct bus *b = *state;
    struct leat_inspect_msg m = {.seq = 10};
    leat_inspect *live, *store;
    char room[200];

    fill_again(b, "in.anew", 0);
    live = inspect(b->path);
    store = inspect(b->store);
    for (unsigned round = 1; round <= 3; round++) {
        expect_one(live, "in.anew", 10, 1000 * (round - 1) + 10);
        expect_one(store, "in.anew", 10, 1000 * (round - 1) + 10);
        assert_int_equal(leat_topic_remove(b->bus, "in.anew"), 0);
        if (round == 2) { /* looked for while it is not there */
            assert_int_equal(leat_inspect_read(live, "in.anew", room, sizeof room, &m), -ENOENT);
            assert_int_equal(leat_inspect_read(store, "in.anew", room, sizeof room, &m), -ENOENT);
        }
        fill_again(b, "in.anew", 1000 * round);
        for (uint64_t n = 10; n <= 300; n += 29) {
            expect_one(live, "in.anew", n, 1000 * round + n);
            expect_one(store, "in.anew", n, 1000 * round + n);
        }
    }
    leat_inspect_close(live);
    leat_inspect_close(store);
}

/* A segment that was given up, and the one that took its name and goes on where it ended. */
static void
test_replaced_segment(void **state)
{
    char store[100], from[256], to[256], fresh[256], room[200];
    struct leat_inspect_msg m = {.seq = 301};
    struct bus *b = *state;
    leat_inspect *i;
    leat_pub *p;

    (void)snprintf(store, sizeof store, "%s/given-up", b->folder);
    assert_int_equal(mkdir(store, 0700), 0);
    (void)snprintf(to, sizeof to, "%s/in.replaced", store);
    assert_int_equal(mkdir(to, 0700), 0);
    fill_again(b, "in.replaced", 0);
    (void)snprintf(from, sizeof from, "%s/in.replaced/topic", b->store);
    (void)snprintf(to, sizeof to, "%s/in.replaced/topic", store);
    copy_file(from, to);
    (void)snprintf(from, sizeof from, "%s/in.replaced/%020d.seg", b->store, 1);
    (void)snprintf(to, sizeof to, "%s/in.replaced/%020d.seg", store, 1);
    copy_file(from, to);
    i = inspect(store);
    expect_one(i, "in.replaced", 300, 300);
    assert_int_equal(leat_inspect_read(i, "in.replaced", room, sizeof room, &m), 0);
    p = bus_pub(b, "in.replaced", 0);
    for (uint64_t n = 301; n <= 310; n++)
        assert_int_equal(bus_send(p, n, 100), n);
    assert_int_equal(leat_pub_wait_durable(p, 310, 10000000000), 0);
    leat_pub_close(p);
    (void)snprintf(fresh, sizeof fresh, "%s/snapshot", store);
    assert_int_equal(link(to, fresh), 0); /* as cp -al has it */
    (void)snprintf(fresh, sizeof fresh, "%s/fresh", store);
    copy_file(from, fresh);
    assert_int_equal(rename(fresh, to), 0);
    expect_one(i, "in.replaced", 301, 301);
    leat_inspect_close(i);
}

static void
test_bad_arguments(void **state)
{
    struct bus *b = *state;
    struct leat_topic_info info;
    struct leat_inspect_pub pub;
    struct leat_inspect_sub sub;
    struct leat_inspect_msg m = {0};
    char name[201] = "", path[128];
    uint32_t index = 0;
    leat_inspect *i = NULL;
    int fd;

    assert_int_equal(leat_inspect_open(b->path, NULL), -EINVAL);
    assert_int_equal(leat_inspect_open("/nowhere/bus", &i), -ENOENT);
    assert_non_null(strstr(leat_error(NULL), "/nowhere/bus"));
    (void)snprintf(path, sizeof path, "%s/file", b->folder);
    fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    close(fd);
    assert_int_equal(leat_inspect_open(path, &i), -ENOENT);
    assert_null(i);
    i = inspect(b->path);
    assert_int_equal(leat_inspect_next(NULL, name), -EINVAL);
    assert_int_equal(leat_inspect_next(i, NULL), -EINVAL);
    assert_int_equal(leat_inspect_topic(i, "absent", &info), -ENOENT);
    assert_non_null(strstr(leat_inspect_error(i), "absent"));
    assert_int_equal(leat_inspect_topic(i, NULL, &info), -EINVAL);
    assert_int_equal(leat_inspect_topic(i, "../x", &info), -EINVAL);
    assert_int_equal(leat_inspect_topic(i, "absent", NULL), -EINVAL);
    assert_int_equal(leat_inspect_pub(i, "absent", &index, &pub), -ENOENT);
    assert_int_equal(leat_inspect_pub(i, "absent", NULL, &pub), -EINVAL);
    assert_int_equal(leat_inspect_sub(i, "absent", &index, &sub), -ENOENT);
    assert_int_equal(leat_inspect_sub(NULL, "absent", &index, &sub), -EINVAL);
    assert_int_equal(leat_inspect_read(i, "absent", NULL, 1, &m), -EINVAL);
    assert_int_equal(leat_inspect_read(i, "absent", NULL, 0, NULL), -EINVAL);
    assert_null(leat_inspect_close(NULL));
    leat_inspect_close(i);
}

/* Everything that can be asked of a topic, whatever the answers. */
static void
ask_everything(leat_inspect *i, const char *topic)
{
    static unsigned char room[70000];
    struct leat_topic_info info;
    struct leat_inspect_pub pub;
    struct leat_inspect_sub sub;
    uint32_t index;

    (void)leat_inspect_topic(i, topic, &info);
    for (index = 0; leat_inspect_pub(i, topic, &index, &pub) == 1;)
        ;
    for (index = 0; leat_inspect_sub(i, topic, &index, &sub) == 1;)
        ;
    for (uint64_t n = 0; n < 70; n++) {
        struct leat_inspect_msg m = {.seq = n};
        (void)leat_inspect_read(i, topic, room, sizeof room, &m);
    }
}

/* Bytes of a copy are changed at random: no crash, no loop without end; names that lead nowhere are
 * no topics. */
static void
test_lies(void **state)
{
    struct prng rng = {.state = fixture_seed()};
    unsigned rounds = fixture_is_full() ? 3000 : 300;
    struct bus *b = *state;
    char from[256], data[200], control[200], copies[80], prefix[LIMIT_SHM_PREFIX];
    struct stat st;
    leat_pub *p;
    leat_sub *s;

    bus_topic(b, "in.lies", 16, LEAT_MEMORY);
    p = bus_pub(b, "in.lies", 0);
    s = bus_sub(b, "in.lies", LEAT_LIVE, LEAT_LATEST);
    for (uint64_t n = 1; n <= 40; n++)
        bus_send(p, n, 8 + n);
    (void)snprintf(copies, sizeof copies, "%s/lies", b->folder);
    assert_int_equal(mkdir(copies, 0700), 0);
    shm_name_prefix(b->path, prefix);
    (void)snprintf(data, sizeof data, "%s/x.data", copies);
    (void)snprintf(control, sizeof control, "%s/x.control", copies);
    for (unsigned round = 0; round < rounds; round++) {
        leat_inspect *i;
        unsigned changes = 1 + (unsigned)prng_below(&rng, 8);
        (void)snprintf(from, sizeof from, "/dev/shm/%s.in.lies.data", prefix);
        copy_file(from, data);
        (void)snprintf(from, sizeof from, "/dev/shm/%s.in.lies.control", prefix);
        copy_file(from, control);
        for (unsigned c = 0; c < changes; c++) {
            bool in_control = prng_below(&rng, 3) == 0;
            int fd = open(in_control ? control : data, O_RDWR | O_CLOEXEC);
            uint64_t word = prng_below(&rng, 2) ? prng_next(&rng) : prng_below(&rng, 65536);
            assert_int_equal(fstat(fd, &st), 0);
            /* What is interesting stands before the lanes. */
            assert_int_equal(
                pwrite(fd, &word, 8,
                       (off_t)prng_below(&rng, shm_min((uint64_t)st.st_size, 16384) / 8) * 8),
                8);
            close(fd);
        }
        if (prng_below(&rng, 20) == 0)
            assert_int_equal(truncate(data, (off_t)prng_below(&rng, 20000)), 0);
        i = inspect(copies);
        ask_everything(i, "in.lies");
        leat_inspect_close(i);
    }
    leat_sub_close(s);
    leat_pub_close(p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_messages_alive_and_dead),
        cmocka_unit_test(test_made_anew),
        cmocka_unit_test(test_replaced_segment),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_lies),
    };

    return cmocka_run_group_tests(tests, bus_setup, bus_teardown);
}
