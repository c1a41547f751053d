/* A store as its topic sees it: making and removing, segments for readers, floors, a clean stop. */
#include "tests/unit/daemon/store_fixture.h"

#define DEPTH 256
#define LANE (1u << 20)
#define SEGMENT (2u << 20)

static const struct rig_options uring = {
    .want = "io_uring", .parent = "/var/tmp", .depth = DEPTH, .lane = LANE, .segment = SEGMENT};
static const struct rig_options block = {
    .want = "block", .parent = "/dev/shm", .depth = DEPTH, .lane = LANE, .segment = SEGMENT};
static const struct rig_options fake = {
    .want = "fake", .parent = "/dev/shm", .depth = DEPTH, .lane = LANE, .segment = SEGMENT};

static unsigned
entries(int fd)
{
    DIR *d = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct dirent *e;
    unsigned n = 0;

    assert_non_null(d);
    while ((e = readdir(d)))
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void
creates_once(void **state)
{
    struct rig *rig = rig_start(*state);
    struct store *other;
    int dir = rig_dir(rig);

    assert_int_equal(store_create(&rig->env, &rig->topic, &other), -EEXIST);
    io_drain(rig->f.io);
    assert_int_equal(entries(rig->f.dir), 1);
    assert_int_equal(faccessat(dir, "topic", F_OK, 0), 0);
    assert_int_equal(faccessat(dir, "cursors", F_OK, 0), 0);
    assert_int_equal(store_first(rig->store), 1);
    assert_int_equal(store_next(rig->store), 1);
    assert_string_equal(store_topic(rig->store)->name, RIG_TOPIC);
    close(dir);
    rig_end(rig);
}

static void
leaves_nothing_when_it_fails(void **state)
{
    struct rig *rig = rig_new(*state);
    struct store *s = NULL;

    rig_fake(rig)->allocate_error = -ENOSPC;
    assert_int_equal(store_create(&rig->env, &rig->topic, &s), -ENOSPC);
    assert_null(s);
    io_drain(rig->f.io);
    assert_int_equal(entries(rig->f.dir), 0);
    rig_fake(rig)->allocate_error = 0;
    rig->topic.lane_size = 4ull << 30;
    assert_int_equal(store_create(&rig->env, &rig->topic, &s), -EMSGSIZE);
    rig->topic.lane_size = LANE;
    rig->topic.name[0] = '\0';
    assert_int_equal(store_create(&rig->env, &rig->topic, &s), -EINVAL);
    assert_int_equal(entries(rig->f.dir), 0);
    rig_end(rig);
}

static void
goes_away(void **state)
{
    struct rig *rig = rig_start(*state);

    for (uint32_t i = 0; i < 3000; i++)
        rig_publish(rig, 1000);
    rig_wait_durable(rig, 3000);
    assert_int_equal(store_destroy(rig->store), 0);
    rig->store = NULL;
    assert_int_equal(faccessat(rig->f.dir, RIG_TOPIC, F_OK, 0), -1);
    io_drain(rig->f.io);
    assert_int_equal(entries(rig->f.dir), 0);
    /* What a daemon left that was killed in between. */
    assert_int_equal(mkdirat(rig->f.dir, "rig~gone-000000000000001f", 0700), 0);
    assert_int_equal(mkdirat(rig->f.dir, "rig~new-0000000000000020", 0700), 0);
    assert_int_equal(mkdirat(rig->f.dir, "rig", 0700), 0);
    assert_int_equal(mkdirat(rig->f.dir, "rig~new-copy", 0700), 0);
    close(openat(rig->f.dir, "rig~gone-000000000000001f/topic", O_CREAT | O_WRONLY | O_CLOEXEC,
                 0600));
    assert_int_equal(store_sweep(&rig->env), 0);
    io_drain(rig->f.io);
    assert_int_equal(entries(rig->f.dir), 2);
    rig_wipe(rig->f.dir, "rig~new-copy");
    assert_int_equal(store_discard(&rig->env, "rig"), 0);
    assert_int_equal(store_discard(&rig->env, "rig"), -ENOENT);
    io_drain(rig->f.io);
    assert_int_equal(entries(rig->f.dir), 0);
    rig_end(rig);
}

/* --- segments ---------------------------------------------------------------------------- */

/* Begins where the store says and must meet seq in this segment. */
static void
meets(const struct rig *rig, const struct store_segment *seg, uint64_t seq)
{
    unsigned char *buf = malloc(LOG_BATCH_MAX);
    const struct log_index_entry entry = {
        .seq = seg->seq, .offset = seg->offset, .hash = seg->hash};
    struct log_source source = log_fd_source(&seg->fd);
    struct log_segment_header h;
    struct log_walk w;

    assert_non_null(buf);
    assert_int_equal(log_segment_check(&source, &h), 0);
    assert_int_equal(h.first, seg->first);
    assert_int_equal(h.size, seg->size);
    assert_int_equal(h.topic_id, rig->topic.topic_id);
    assert_true(seg->seq <= seq);
    assert_int_equal(fcntl(seg->fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    log_walk_begin(&w, &source, &h, buf);
    log_walk_at(&w, &entry);
    while (w.chain.next <= seq)
        assert_int_equal(log_walk_next(&w), 1);
    /* It was not far. */
    assert_true(w.offset - seg->offset <= LOG_INDEX_EVERY + 2 * LOG_BATCH_MAX);
    free(buf);
}

static void
look_up_all(struct rig *rig, uint64_t last)
{
    struct store_segment seg;
    uint64_t before = 0;

    for (uint64_t seq = 1; seq <= last; seq += 1 + last / 97) {
        assert_int_equal(store_open_segment(rig->store, seq, &seg), 0);
        assert_true(seg.first <= seq && (!seg.next || seq < seg.next));
        assert_true(seg.first >= before);
        before = seg.first;
        meets(rig, &seg, seq);
        close(seg.fd);
    }
    assert_int_equal(store_open_segment(rig->store, last + 1000, &seg), 0);
    assert_int_equal(seg.next, 0);
    close(seg.fd);
    assert_int_equal(store_open_segment(rig->store, 0, &seg), 0);
    assert_int_equal(seg.first, 1);
    close(seg.fd);
}

static void
finds_numbers(void **state)
{
    struct rig *rig = rig_start(*state);
    struct store_segment seg;
    uint64_t segs[64];
    unsigned n, made = 0;
    int dir = rig_dir(rig);

    assert_int_equal(store_open_segment(rig->store, 1, &seg), -ENOENT);
    for (uint32_t i = 0; i < 9000; i++)
        rig_publish(rig, 1000);
    rig_wait_durable(rig, 9000);
    look_up_all(rig, 9000);
    /* Without index files, and with wrong ones: they are made anew. */
    n = rig_segments(rig, segs, 64);
    assert_true(n >= 4);
    for (unsigned i = 0; i < n; i++) {
        char name[LOG_NAME_ROOM];
        log_index_name(segs[i], name);
        if (i % 2)
            (void)unlinkat(dir, name, 0);
        else if (!faccessat(dir, name, F_OK, 0))
            assert_int_equal(renameat(dir, name, dir, "moved"), 0);
    }
    look_up_all(rig, 9000);
    io_drain(rig->f.io);
    for (unsigned i = 0; i + 1 < n; i++) {
        char name[LOG_NAME_ROOM];
        log_index_name(segs[i], name);
        made += !faccessat(dir, name, F_OK, 0);
    }
    assert_true(made > 0);
    close(dir);
    rig_end(rig);
}

static void
finds_times(void **state)
{
    struct rig *rig = rig_start(*state);
    uint64_t mark[8], seq, last = 0;

    assert_int_equal(store_seq_at(rig->store, store__realtime(), &seq), 0);
    assert_int_equal(seq, 1);
    for (unsigned i = 0; i < 8; i++) {
        for (uint32_t k = 0; k < 1000; k++)
            rig_publish(rig, 1000);
        rig_wait_durable(rig, rig->next - 1);
        mark[i] = store__realtime();
    }
    assert_int_equal(store_seq_at(rig->store, 1, &seq), 0);
    assert_int_equal(seq, 1);
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(store_seq_at(rig->store, mark[i], &seq), 0);
        /* Whatever was published since the mark stands behind it, and little before. */
        assert_true(seq <= (i + 1) * 1000 + 1);
        assert_true(seq + 1300 >= (i + 1) * 1000);
        assert_true(seq >= last);
        last = seq;
    }
    rig_end(rig);
}

/* --- floors ------------------------------------------------------------------------------ */

static bool
floor_is_saved(struct rig *rig, uint64_t floor)
{
    return store_floor_saved(rig->store, "alpha") >= floor;
}

static void
floors_move_forward(void **state)
{
    struct rig *rig = rig_start(*state);
    struct store *s = rig->store;
    char long_name[70];
    uint64_t floor;

    assert_int_equal(store_floor_get(s, "alpha", &floor), -ENOENT);
    assert_int_equal(store_floor_saved(s, "alpha"), 0);
    assert_int_equal(store_floor_set(s, "alpha", 5), 0);
    assert_int_equal(store_floor_set(s, "alpha", 3), 0);
    assert_int_equal(store_floor_get(s, "alpha", &floor), 0);
    assert_int_equal(floor, 5);
    assert_int_equal(store_floor_saved(s, "alpha"), 0);
    rig_wait(rig, floor_is_saved, 5);
    assert_int_equal(rig->saved, 1);
    memset(long_name, 'x', sizeof long_name);
    long_name[64] = '\0';
    assert_int_equal(store_floor_set(s, long_name, 1), -EINVAL);
    assert_int_equal(store_floor_set(s, "", 1), -EINVAL);
    assert_int_equal(store_floor_remove(s, "beta"), -ENOENT);
    rig_end(rig);
}

static void
floors_are_saved_together(void **state)
{
    struct rig *rig = rig_start(*state);
    unsigned before;

    rig_wait(rig, is_idle, 0);
    before = rig_fake(rig)->writes;
    for (uint64_t i = 1; i <= 1000; i++)
        assert_int_equal(store_floor_set(rig->store, "alpha", i), 0);
    rig_wait(rig, floor_is_saved, 1000);
    assert_int_equal(rig_fake(rig)->writes, before + 1);
    assert_false(loop_is_set(&rig->store->floors.timer));
    rig_end(rig);
}

static int
fail_all(struct fake *disk, const struct io_req *req)
{
    return req->verb == IO_WRITE && disk->budget-- > 0 ? -EIO : 0;
}

static void
a_floor_is_saved_again(void **state)
{
    struct rig *rig = rig_start(*state);
    struct fake *disk = rig_fake(rig);

    rig_wait(rig, is_idle, 0);
    assert_int_equal(store_floor_set(rig->store, "alpha", 7), 0);
    rig_wait(rig, floor_is_saved, 7);
    disk->judge = fail_all;
    disk->budget = 1;
    assert_int_equal(store_floor_set(rig->store, "alpha", 9), 0);
    rig_wait(rig, floor_is_saved, 9);
    assert_true(disk->budget < 0);
    rig_end(rig);
}

static bool
all_saved(struct rig *rig, uint64_t arg)
{
    (void)arg;
    return store__floors_saved(rig->store);
}

static bool
is_drained(struct rig *rig, uint64_t times)
{
    return rig->drained >= times;
}

/* Both copies of the first record stand on bad blocks. */
static int
fail_first_record(struct fake *disk, const struct io_req *req)
{
    (void)disk;
    return req->verb == IO_WRITE && req->fd == rig_living->store->floors.file.fd &&
                   req->off < 3 * LOG_BLOCK
               ? -EIO
               : 0;
}

static void
a_bad_block_stops_no_other_floor(void **state)
{
    struct rig *rig = rig_start(*state);
    struct fake *disk = rig_fake(rig);
    const char *const names[] = {"alpha", "beta", "gamma"};

    rig_wait(rig, is_idle, 0);
    disk->judge = fail_first_record;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(store_floor_set(rig->store, names[i], 5), 0);
    rig_wait(rig, all_saved, 0);
    assert_int_equal(store_floor_saved(rig->store, "beta"), 5);
    assert_int_equal(store_floor_saved(rig->store, "gamma"), 5);
    assert_int_equal(store_floor_saved(rig->store, "alpha"), 0);
    /* Nor does a removal, which goes first; but the name that was made again waits for it. */
    assert_int_equal(store_floor_remove(rig->store, "alpha"), 0);
    assert_int_equal(store_floor_set(rig->store, "alpha", 2), 0);
    assert_int_equal(store_floor_set(rig->store, "gamma", 6), 0);
    store_drain(rig->store, rig_drained, rig);
    rig_wait(rig, is_drained, 1);
    assert_int_equal(store_floor_saved(rig->store, "gamma"), 6);
    assert_int_equal(store_floor_saved(rig->store, "alpha"), 0);
    disk->judge = NULL;
    rig_wait(rig, floor_is_saved, 2);
    rig_end(rig);
}

/* Names come and go; a place is used again when the disk knows that it is free. */
static void
floors_of_many_names(void **state)
{
    struct rig *rig = rig_start(*state);
    uint64_t floor, sum = 0;
    uint32_t index = 0, n = 0;
    const char *text;
    char name[16];

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 40; i++) {
            (void)snprintf(name, sizeof name, "name-%u", i);
            assert_int_equal(store_floor_set(rig->store, name, i + 1 + round), 0);
        }
        rig_wait(rig, all_saved, 0);
        for (unsigned i = 0; i < 40; i += 2) {
            (void)snprintf(name, sizeof name, "name-%u", i);
            assert_int_equal(store_floor_remove(rig->store, name), 0);
            assert_int_equal(store_floor_get(rig->store, name, &floor), -ENOENT);
        }
        rig_wait(rig, all_saved, 0);
    }
    while (store_floor_next(rig->store, &index, &text, &floor)) {
        n++;
        sum += floor;
    }
    assert_int_equal(n, 20);
    assert_int_equal(sum, 20 * 20 + 20 + 2 * 20);
    assert_int_equal(rig->store->floors.cnt, 40);
    rig_end(rig);
}

static void
floors_have_a_limit(void **state)
{
    struct rig *rig = rig_start(*state);
    char name[16];

    for (unsigned i = 0; i < LIMIT_CURSORS; i++) {
        (void)snprintf(name, sizeof name, "%u", i);
        assert_int_equal(store_floor_set(rig->store, name, 1), 0);
    }
    assert_int_equal(store_floor_set(rig->store, "more", 1), -ENOSPC);
    rig_end(rig);
}

/* --- a clean stop ------------------------------------------------------------------------ */

static void
drains(void **state)
{
    struct rig *rig = rig_start(*state);

    for (uint32_t i = 0; i < 200; i++)
        rig_publish(rig, 10);
    assert_int_equal(store_floor_set(rig->store, "alpha", 50), 0);
    store_drain(rig->store, rig_drained, rig);
    rig_wait(rig, is_drained, 1);
    assert_int_equal(rig_durable(rig), 200);
    assert_int_equal(store_floor_saved(rig->store, "alpha"), 50);
    /* Nothing to do: at once. */
    store_drain(rig->store, rig_drained, rig);
    rig_wait(rig, is_drained, 2);
    assert_int_equal(rig_read(rig, 1).next, 201);
    rig_end(rig);
}

static void
drains_without_a_disk(void **state)
{
    struct rig *rig = rig_start(*state);
    struct fake *disk = rig_fake(rig);

    rig_publish(rig, 10);
    rig_wait_durable(rig, 1);
    disk->judge = fail_all;
    disk->budget = 1000000;
    rig_publish(rig, 10);
    assert_int_equal(store_floor_set(rig->store, "alpha", 2), 0);
    store_drain(rig->store, rig_drained, rig);
    rig_wait(rig, is_drained, 1);
    assert_int_equal(rig_durable(rig), 1);
    rig_end(rig);
}

static void
another_ring_is_refused(void **state)
{
    struct rig *rig = rig_start(*state);
    char why[STORE_WHY];

    for (uint32_t i = 0; i < 10; i++)
        rig_publish(rig, 10);
    rig_wait_durable(rig, 10);
    rig->store = store_close(rig->store);
    assert_int_equal(rig_recover(rig, why), 0);
    rig_ring(rig, 5); /* too old */
    assert_int_equal(rig_attach(rig), -EBADMSG);
    rig_ring(rig, 20); /* a gap */
    assert_int_equal(rig_attach(rig), -EBADMSG);
    rig_ring(rig, 11);
    atom_store_relaxed(&ring_daemon(&rig->view)->durable, 11);
    assert_int_equal(rig_attach(rig), -EBADMSG);
    rig->topic.topic_id++;
    rig_ring(rig, 11);
    assert_int_equal(rig_attach(rig), -EBADMSG);
    rig->topic.topic_id--;
    rig_ring(rig, 11);
    assert_int_equal(rig_attach(rig), 0);
    rig_publisher(rig);
    rig_publish(rig, 10);
    rig_wait_durable(rig, 11);
    rig_end(rig);
}

#define WITH(test, o)                                                                              \
    {                                                                                              \
#test " " #o, test, NULL, rig_teardown, (void *)(uintptr_t) & (o)                          \
    }
#define BOTH(test) WITH(test, uring), WITH(test, block)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(creates_once),
        WITH(leaves_nothing_when_it_fails, fake),
        BOTH(goes_away),
        BOTH(finds_numbers),
        BOTH(finds_times),
        BOTH(floors_move_forward),
        WITH(floors_are_saved_together, fake),
        WITH(a_floor_is_saved_again, fake),
        WITH(a_bad_block_stops_no_other_floor, fake),
        BOTH(floors_of_many_names),
        WITH(floors_have_a_limit, fake),
        BOTH(drains),
        WITH(drains_without_a_disk, fake),
        WITH(another_ring_is_refused, fake),
    };
    int failed;

    report_to(-1);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? failed : skips ? 77 : 0;
}
