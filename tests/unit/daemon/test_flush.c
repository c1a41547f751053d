/* The log writer, from a real ring to real files. */
#include "tests/unit/daemon/store_fixture.h"

#define SMALL_DEPTH 256
#define LANE (1u << 20)
#define SEGMENT (2u << 20)

static const struct rig_options uring = {.want = "io_uring",
                                         .parent = "/var/tmp",
                                         .depth = SMALL_DEPTH,
                                         .lane = LANE,
                                         .segment = SEGMENT};
static const struct rig_options block = {
    .want = "block", .parent = "/dev/shm", .depth = SMALL_DEPTH, .lane = LANE, .segment = SEGMENT};
static const struct rig_options fake = {
    .want = "fake", .parent = "/dev/shm", .depth = SMALL_DEPTH, .lane = LANE, .segment = SEGMENT};

static uint64_t
flushes(const struct rig *rig)
{
    return atom_load_relaxed(&ring_daemon(&rig->view)->flushes);
}

static void
a_waiter_is_served_at_once(void **state)
{
    struct rig *rig = rig_start(*state);
    struct logbook b;

    rig_publish(rig, 5);
    rig_wait_durable(rig, 1);
    assert_int_equal(atom_load_relaxed(&ring_cursor(&rig->view, 0)->pos), 2);
    assert_false(atom_load_relaxed(&ring_control(&rig->view)->durable_wait) & 1);
    assert_int_equal(flushes(rig), 1);
    b = rig_read(rig, 1);
    assert_int_equal(b.next, 2);
    rig_end(rig);
}

static void
without_a_waiter_the_interval_ends(void **state)
{
    struct rig *rig = rig_start(*state);
    uint64_t begun;

    rig_wait(rig, is_idle, 0);
    begun = loop_clock();
    rig_publish(rig, 5);
    rig_publish(rig, 6);
    assert_true(loop_is_set(&rig->store->flush.timer));
    rig_wait(rig, is_durable, 2);
    assert_true(loop_clock() - begun >= FLUSH_INTERVAL_NS);
    assert_int_equal(flushes(rig), 1);
    rig_end(rig);
}

static void
enough_bytes_need_no_interval(void **state)
{
    struct rig *rig = rig_start(*state);

    rig_wait(rig, is_idle, 0);
    /* The writer has to learn how long messages are. */
    for (int i = 0; i < 20; i++) {
        rig_publish(rig, 20000);
        rig_wait_durable(rig, rig->next - 1);
    }
    rig_wait(rig, is_idle, 0);
    rig->store->flush.timer.fire = NULL; /* would be a crash */
    while (rig_durable(rig) < 21) {
        assert_true(rig->next < 80);
        rig_publish(rig, 20000);
        io_flush(rig->f.io);
        (void)io_reap(rig->f.io);
        store_look(rig->store);
    }
    loop_cancel(rig->loop, &rig->store->flush.timer);
    rig_end(rig);
}

static void
an_idle_writer_sleeps(void **state)
{
    struct rig *rig = rig_start(*state);

    rig_publish(rig, 5);
    rig_wait_durable(rig, 1);
    rig_wait(rig, is_idle, 0);
    assert_int_equal(atom_load_relaxed(&ring_control(&rig->view)->bell_seq), 2);
    assert_false(loop_is_set(&rig->store->flush.timer));
    assert_false(loop_is_set(&rig->store->retry));
    assert_int_equal(io_pending(rig->f.io), 0);
    /* One bell, whoever comes first. */
    rig_publish(rig, 5);
    assert_int_not_equal(atom_load_relaxed(&ring_control(&rig->view)->bell_seq), 2);
    rig_end(rig);
}

/* What arrives while a write is in flight goes with the next one, together. */
static void
commits_in_groups(void **state)
{
    struct rig *rig = rig_start(*state);
    uint64_t before;

    rig_publish(rig, 5);
    rig_wait_durable(rig, 1);
    before = flushes(rig);
    for (int i = 0; i < 100; i++) {
        rig_publish(rig, 25);
        (void)shm_event_arm(&ring_control(&rig->view)->durable_wait);
        store_look(rig->store);
    }
    rig_wait_durable(rig, 101);
    assert_in_range(flushes(rig) - before, 1, 2);
    assert_int_equal(rig_read(rig, 1).next, 102);
    rig_end(rig);
}

/* Each small batch rewrites the block it shares; what is durable stays byte for byte. */
static void
small_batches_share_blocks(void **state)
{
    struct rig *rig = rig_start(*state);
    unsigned char *before = calloc(1, SEGMENT), *after = calloc(1, SEGMENT);
    int dir = rig_dir(rig), fd;
    uint64_t end = 0;

    assert_true(before && after);
    for (uint32_t i = 0; i < 300; i++) {
        rig_publish(rig, (uint32_t)(mix(rig->seed + i) % 700));
        rig_wait_durable(rig, rig->next - 1);
        fd = openat(dir, "00000000000000000001.seg", O_RDONLY | O_CLOEXEC);
        assert_int_equal(pread(fd, after, SEGMENT, 0), SEGMENT);
        close(fd);
        assert_memory_equal(before, after, end);
        end = rig->store->flush.end;
        memcpy(before, after, end);
    }
    assert_true(end > 10ull * LOG_BLOCK);
    assert_int_equal(rig_read(rig, 1).next, 301);
    close(dir);
    free(before);
    free(after);
    rig_end(rig);
}

static void
rolls_over_many_segments(void **state)
{
    struct rig *rig = rig_start(*state);
    uint32_t longest = LANE / 4;
    struct logbook b;

    for (uint32_t i = 0; i < 6000; i++) {
        uint64_t x = mix(rig->seed + i);
        rig_publish(rig, (uint32_t)(x % 16    ? (x >> 8) % 3000
                                    : x % 256 ? (x >> 8) % 20000
                                              : (x >> 8) % longest));
    }
    rig_wait_durable(rig, 6000);
    b = rig_read(rig, 1);
    assert_int_equal(b.next, 6001);
    assert_int_equal(b.messages, 6000);
    assert_true(b.segments >= 5);
    assert_true(b.batches < 6000 / 4);
    assert_int_equal(atom_load_relaxed(&ring_daemon(&rig->view)->log_first), 1);
    rig_end(rig);
}

static void
long_messages_go_in_pieces(void **state)
{
    struct rig_options o = *(const struct rig_options *)*state;
    struct rig *rig;
    struct logbook b;

    o.lane = 8u << 20;
    rig = rig_start(&o);
    for (uint32_t i = 0; i < 12; i++) {
        rig_publish(rig, 100);
        rig_publish(rig, (4u << 20) - i * 300007);
        rig_publish(rig, 1u << 20);
    }
    rig_wait_durable(rig, 36);
    b = rig_read(rig, 1);
    assert_int_equal(b.messages, 36);
    assert_true(b.pieces > 24);
    assert_true(b.segments > 2);
    rig_end(rig);
}

static void
aborted_places_are_stepped_over(void **state)
{
    struct rig *rig = rig_start(*state);
    struct logbook b;

    rig_abort(rig, 1);
    rig_publish(rig, 10);
    rig_abort(rig, 3);
    rig_publish(rig, 10);
    rig_publish(rig, 2000);
    rig_abort(rig, 2);
    rig_wait_durable(rig, 9);
    rig_publish(rig, 10);
    rig_wait_durable(rig, 10);
    b = rig_read(rig, 1);
    assert_int_equal(b.next, 11);
    assert_int_equal(b.messages, 4);
    rig_end(rig);
}

/* A place that somebody has claimed and not finished holds up what is behind it, no more. */
static void
an_unfinished_place_is_waited_for(void **state)
{
    struct rig *rig = rig_start(*state);
    uint64_t aborted, scratch[8];

    rig_publish(rig, 10);
    rig->aborted[2] = true;
    atom_store_relaxed(ring_tail(&rig->view), 3);
    rig->next = 3;
    rig_publish(rig, 10);
    rig_wait_durable(rig, 1);
    rig_wait(rig, is_idle, 0);
    assert_int_equal(rig_durable(rig), 1);
    assert_int_equal(atom_load_relaxed(&ring_control(&rig->view)->bell_seq), 2);
    assert_int_equal(ring_settle(&rig->view, scratch, &aborted), 0);
    store_look(rig->store);
    rig_wait(rig, is_durable, 3);
    assert_int_equal(rig_read(rig, 1).messages, 2);
    rig_end(rig);
}

static uint64_t
disk_use(const struct rig *rig)
{
    int dir = rig_dir(rig);
    DIR *d = fdopendir(dir);
    struct dirent *e;
    struct stat st;
    uint64_t sum = 0;

    while ((e = readdir(d)))
        if (!fstatat(dir, e->d_name, &st, 0) && S_ISREG(st.st_mode))
            sum += (uint64_t)st.st_size;
    closedir(d);
    return sum;
}

static void
retention_by_size_recycles(void **state)
{
    struct rig_options o = *(const struct rig_options *)*state;
    struct rig *rig;
    struct logbook b;
    uint64_t first;

    o.retention = 16u << 20;
    o.segment = 0;
    rig = rig_start(&o);
    for (uint32_t i = 0; i < 40000; i++)
        rig_publish(rig, 1000 + i % 100);
    rig_wait_durable(rig, 40000);
    rig_wait(rig, is_idle, 0);
    first = store_first(rig->store);
    assert_true(first > 20000);
    assert_int_equal(first, atom_load_relaxed(&ring_daemon(&rig->view)->log_first));
    assert_true(atom_load_relaxed(&ring_daemon(&rig->view)->log_bytes) <= o.retention);
    assert_true(disk_use(rig) <= o.retention + 3ull * SEGMENT);
    b = rig_read(rig, first);
    assert_int_equal(b.next, 40001);
    assert_true(b.recycled > 0);
    assert_true(rig_first(rig) <= first);
    rig_end(rig);
}

/* A segment that a reader has keeps its bytes after it is gone. */
static void
what_was_handed_out_is_not_recycled(void **state)
{
    struct rig_options o = *(const struct rig_options *)*state;
    unsigned char *buf = malloc(LOG_BATCH_MAX);
    struct log_segment_header h;
    struct store_segment seg;
    struct log_source source;
    struct log_walk w;
    struct stat st;
    struct rig *rig;

    o.retention = 16u << 20;
    o.segment = 0;
    rig = rig_start(&o);
    for (uint32_t i = 0; i < 4000; i++)
        rig_publish(rig, 1000);
    rig_wait_durable(rig, 4000);
    assert_int_equal(store_open_segment(rig->store, 1, &seg), 0);
    assert_int_equal(seg.first, 1);
    assert_true(seg.next > 1);
    for (uint32_t i = 0; i < 36000; i++)
        rig_publish(rig, 1000);
    rig_wait_durable(rig, 40000);
    rig_wait(rig, is_idle, 0);
    assert_true(store_first(rig->store) > seg.next);
    assert_int_equal(fstat(seg.fd, &st), 0);
    assert_int_equal(st.st_nlink, 0);
    source = log_fd_source(&seg.fd);
    assert_int_equal(log_segment_check(&source, &h), 0);
    log_walk_begin(&w, &source, &h, buf);
    while (log_walk_next(&w) == 1)
        ;
    assert_int_equal(w.chain.next, seg.next);
    close(seg.fd);
    free(buf);
    rig_end(rig);
}

static bool
has_expired(struct rig *rig, uint64_t first)
{
    return store_first(rig->store) > first;
}

static void
retention_by_age(void **state)
{
    struct rig *rig = rig_new(*state);

    rig->topic.retention_ns = 200000000;
    rig->topic.retain_until_acked = 1;
    assert_int_equal(store_create(&rig->env, &rig->topic, &rig->store), 0);
    rig_ring(rig, 1);
    assert_int_equal(rig_attach(rig), 0);
    rig_publisher(rig);
    assert_int_equal(store_floor_set(rig->store, "slow", 1), 0);
    for (uint32_t i = 0; i < 3000; i++)
        rig_publish(rig, 2000);
    rig_wait_durable(rig, 3000);
    /* A name that has not seen them keeps them. */
    assert_false(store_floor_set(rig->store, "slow", 1));
    rig_wait(rig, is_idle, 0);
    for (uint64_t until = loop_clock() + 300000000; loop_clock() < until;)
        rig_turn(rig);
    assert_int_equal(store_first(rig->store), 1);
    assert_int_equal(store_floor_set(rig->store, "slow", 3001), 0);
    store_look(rig->store);
    rig_wait(rig, has_expired, 1);
    rig_wait(rig, is_idle, 0);
    assert_true(rig->store->seg_cnt == 1);
    assert_int_equal(rig_read(rig, store_first(rig->store)).next, 3001);
    rig_end(rig);
}

/* The second segment's first write does not come back. */
static int
hold_second_segment(struct fake *disk, const struct io_req *req)
{
    return req->verb == IO_WRITE && req->flags & IO_DURABLE && !req->off && disk->budget-- <= 0;
}

/* The numbers go on where the log ends: without a message on the disk nobody would know where. */
static void
retention_leaves_a_message(void **state)
{
    struct rig_options o = *(const struct rig_options *)*state;
    struct rig *rig;
    uint64_t first;

    o.retention = 1u << 20;
    rig = rig_new(&o);
    rig_fake(rig)->judge = hold_second_segment;
    rig_fake(rig)->budget = 1;
    assert_int_equal(store_create(&rig->env, &rig->topic, &rig->store), 0);
    rig_ring(rig, 1);
    assert_int_equal(rig_attach(rig), 0);
    rig_publisher(rig);
    while (!rig_fake(rig)->held.head) {
        if (!rig_try(rig, 10000))
            continue;
        (void)shm_event_arm(&ring_control(&rig->view)->space);
        store_look(rig->store);
        rig_turn(rig);
    }
    first = rig_first(rig);
    fake_release(rig_fake(rig));
    rig_fake(rig)->judge = NULL;
    assert_int_equal(first, 1);
    rig_wait(rig, has_expired, 1);
    rig_wait(rig, is_idle, 0);
    assert_int_equal(rig_read(rig, store_first(rig->store)).next, rig->next);
    rig_end(rig);
}

/* The oldest segment cannot be removed for a while. */
static int
fail_first_removal(struct fake *disk, const struct io_req *req)
{
    return req->verb == IO_REMOVE && strstr(req->name, ".seg") && disk->budget-- > 0 ? -EIO : 0;
}

static bool
is_within(struct rig *rig, uint64_t retention)
{
    return atom_load_relaxed(&ring_daemon(&rig->view)->log_bytes) <= retention;
}

/* One segment after the other, or one would be missing in the middle. */
static void
retention_waits_for_a_segment_that_stays(void **state)
{
    struct rig_options o = *(const struct rig_options *)*state;
    struct store_segment seg;
    char why[STORE_WHY] = "";
    struct rig *rig;

    o.retention = 8u << 20;
    rig = rig_start(&o);
    rig_fake(rig)->judge = fail_first_removal;
    rig_fake(rig)->budget = 1;
    rig_publish(rig, 1000);
    rig_wait_durable(rig, 1);
    assert_int_equal(store_open_segment(rig->store, 1, &seg), 0);
    close(seg.fd);
    for (uint32_t i = 0; i < 20000; i++)
        rig_publish(rig, 1000);
    rig_wait_durable(rig, rig->next - 1);
    rig_unplug(rig);
    assert_int_equal(rig_power(rig), 0);
    assert_int_equal(rig_recover(rig, why), 0);
    assert_int_equal(rig_attach(rig), 0);
    rig_wait(rig, is_within, o.retention);
    assert_int_equal(rig_read(rig, store_first(rig->store)).next, rig->next);
    rig_end(rig);
}

/* --- a disk that misbehaves -------------------------------------------------------------- */

/* `budget` durable writes to segments fail, after that all is well. */
static int
fail_durable(struct fake *disk, const struct io_req *req)
{
    if (req->verb != IO_WRITE || !(req->flags & IO_DURABLE) || disk->budget <= 0)
        return 0;
    disk->budget--;
    return disk->error;
}

static void
fill_some(struct rig *rig, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        rig_publish(rig, (uint32_t)(mix(rig->seed + rig->next) % 4000));
}

static void
a_failed_write_goes_to_a_new_file(void **state)
{
    struct rig *rig = rig_start(*state);
    struct fake *disk = rig_fake(rig);
    struct logbook b;
    uint64_t errors;

    fill_some(rig, 500);
    rig_wait_durable(rig, 500);
    disk->judge = fail_durable;
    disk->error = -EIO;
    for (unsigned round = 0; round < 20; round++) {
        disk->budget = 1 + round % 2;
        fill_some(rig, 150);
        rig_wait_durable(rig, rig->next - 1);
        assert_int_equal(rig_state(rig), RING_TOPIC_OK);
    }
    errors = atom_load_relaxed(&ring_daemon(&rig->view)->log_errors);
    assert_true(errors >= 20);
    b = rig_read(rig, 1);
    assert_int_equal(b.next, rig->next);
    assert_true(b.segments >= 20);
    rig_end(rig);
}

/* --- a message in pieces, none of them the last ------------------------------------------- */

/* What is not a batch of pieces passes; of those `budget` do, and then one fails. */
static int
fail_one_piece(struct fake *disk, const struct io_req *req)
{
    if (req->verb != IO_WRITE || !(req->flags & IO_DURABLE) || req->len < LOG_BATCH_MAX / 2)
        return 0;
    return disk->budget-- == 0 ? -EIO : 0;
}

/* A segment that begins with message 11, of which the first `pieces` pieces become durable. */
static struct rig *
rig_with_pieces(const struct rig_options *options, uint64_t retention, int pieces)
{
    struct rig_options o = *options;
    struct rig *rig;

    o.lane = 8u << 20;
    o.retention = retention;
    rig = rig_start(&o);
    for (unsigned i = 0; i < 10; i++)
        rig_publish(rig, 100000);
    rig_wait_durable(rig, 10);
    rig_fake(rig)->judge = fail_one_piece;
    rig_fake(rig)->budget = pieces;
    rig_publish(rig, 4u << 20);
    rig_wait_durable(rig, 11);
    assert_true(rig_fake(rig)->budget < 0);
    assert_int_equal(atom_load_relaxed(&ring_daemon(&rig->view)->log_errors), 1);
    return rig;
}

/* A name for each segment in the list, and the bytes are theirs. */
static void
list_is_right(struct rig *rig)
{
    uint64_t seg[64], bytes = 0;
    unsigned n = rig_segments(rig, seg, 64);

    assert_int_equal(rig->store->seg_cnt, n);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(rig->store->segs[i].first, seg[i]);
        bytes += rig->store->segs[i].end;
    }
    assert_int_equal(rig->store->bytes, bytes);
}

/* The new file has the name of the old one, which is gone: it follows what the old one followed. */
static void
pieces_that_failed_are_followed_by_nothing(void **state)
{
    for (int pieces = 0; pieces < 4; pieces++) {
        struct rig *rig = rig_with_pieces(*state, 0, pieces);
        char why[STORE_WHY] = "";

        rig_publish(rig, 10);
        rig_wait_durable(rig, 12);
        list_is_right(rig);
        assert_int_equal(rig_read(rig, 1).next, 13);
        rig_unplug(rig);
        assert_int_equal(rig_power(rig), 0);
        assert_int_equal(rig_recover(rig, why), 0);
        assert_int_equal(store_next(rig->store), 13);
        list_is_right(rig);
        rig_end(rig);
    }
}

/* What retention removes by its name is not the file that has taken it. */
static void
retention_leaves_the_open_segment(void **state)
{
    struct rig *rig = rig_with_pieces(*state, 6u << 20, 3);
    int i;

    for (i = 0; i < 30; i++) {
        rig_turn(rig);
        store_look(rig->store);
    }
    rig_publish(rig, 10);
    rig_wait_durable(rig, 12);
    list_is_right(rig);
    assert_int_equal(rig_read(rig, store_first(rig->store)).next, 13);
    rig_end(rig);
}

static int
hold_second_piece(struct fake *disk, const struct io_req *req)
{
    if (req->verb != IO_WRITE || !(req->flags & IO_DURABLE) || req->len < LOG_BATCH_MAX / 2)
        return 0;
    return disk->budget-- <= 0;
}

static bool
has_a_piece(struct rig *rig, uint64_t arg)
{
    (void)arg;
    return rig_fake(rig)->held.head && store__seg_last(rig->store)->end > LOG_BLOCK;
}

/* Pieces are not a message: the file they stand in may make way for one that is not begun yet, and nobody would know the
 * number then. */
static void
retention_leaves_more_than_pieces(void **state)
{
    struct rig_options o = *(const struct rig_options *)*state;
    struct rig *rig;
    uint64_t first;

    o.lane = 8u << 20;
    o.retention = 1u << 20;
    rig = rig_start(&o);
    for (unsigned i = 0; i < 10; i++)
        rig_publish(rig, 100000);
    rig_wait_durable(rig, 10);
    rig_fake(rig)->judge = hold_second_piece;
    rig_fake(rig)->budget = 1;
    rig_publish(rig, 4u << 20);
    store_look(rig->store);
    rig_wait(rig, has_a_piece, 0);
    store_look(rig->store);
    first = rig_first(rig);
    rig_fake(rig)->judge = NULL;
    while (rig_fake(rig)->held.head)
        fake_release(rig_fake(rig));
    assert_int_equal(first, 1);
    rig_wait(rig, has_expired, 1);
    assert_int_equal(rig_read(rig, store_first(rig->store)).next, 12);
    rig_end(rig);
}

/* --- a disk that misbehaves for longer ---------------------------------------------------- */

static bool
has_spare_trouble(struct rig *rig, uint64_t arg)
{
    (void)arg;
    return rig->store->spare.error != 0;
}

/* Two that wait for a second, one begun after the other: each is come back to. */
static void
each_wait_ends(void **state)
{
    struct rig *rig = rig_start(*state);
    struct fake *disk = rig_fake(rig);
    uint64_t later;

    rig_wait(rig, is_idle, 0);
    disk->allocate_error = -ENOSPC;
    while (!has_spare_trouble(rig, 0))
        fill_some(rig, 1);
    rig_wait_durable(rig, rig->next - 1);
    disk->allocate_error = 0;
    for (later = loop_clock() + 300000000; loop_clock() < later;)
        rig_turn(rig);
    disk->judge = fail_durable;
    disk->error = -ENOSPC;
    disk->budget = 1;
    rig_publish(rig, 10);
    rig_wait(rig, is_durable, rig->next - 1);
    assert_true(disk->budget == 0);
    rig_end(rig);
}

static bool
has_state(struct rig *rig, uint64_t what)
{
    return rig_state(rig) == what;
}

static void
three_failed_files_are_said(void **state)
{
    struct rig *rig = rig_start(*state);
    struct fake *disk = rig_fake(rig);

    fill_some(rig, 50);
    rig_wait_durable(rig, 50);
    disk->judge = fail_durable;
    disk->error = -EIO;
    disk->budget = 1000000;
    rig_publish(rig, 10);
    (void)shm_event_arm(&ring_control(&rig->view)->durable_wait);
    store_look(rig->store);
    rig_wait(rig, has_state, RING_TOPIC_LOG_FAILED);
    assert_int_equal(atom_load_relaxed(&ring_daemon(&rig->view)->log_errors), FLUSH_FILES_MAX);
    assert_non_null(strstr(ring_daemon(&rig->view)->reason, "3 log files"));
    assert_int_equal(rig_durable(rig), 50);
    /* Publishers are held back by the ring alone. */
    while (rig_try(rig, 10) == 0)
        ;
    assert_int_equal(rig->next, 51 + SMALL_DEPTH);
    disk->budget = 0;
    rig_wait(rig, has_state, RING_TOPIC_OK);
    rig_wait_durable(rig, rig->next - 1);
    assert_int_equal(rig_read(rig, 1).next, rig->next);
    rig_end(rig);
}

static void
a_full_disk_is_said(void **state)
{
    struct rig *rig = rig_start(*state);
    struct fake *disk = rig_fake(rig);

    fill_some(rig, 50);
    rig_wait_durable(rig, 50);
    disk->allocate_error = -ENOSPC;
    while (rig_state(rig) == RING_TOPIC_OK) {
        assert_true(rig->next < 5000);
        if (rig_try(rig, 3000)) {
            (void)shm_event_arm(&ring_control(&rig->view)->space);
            store_look(rig->store);
            rig_turn(rig);
        }
    }
    assert_int_equal(rig_state(rig), RING_TOPIC_DISK_FULL);
    assert_true(rig_durable(rig) > 500);
    disk->allocate_error = 0;
    rig_wait(rig, has_state, RING_TOPIC_OK);
    rig_wait_durable(rig, rig->next - 1);
    assert_int_equal(rig_read(rig, 1).next, rig->next);
    rig_end(rig);
}

static int
fail_dir_sync(struct fake *disk, const struct io_req *req)
{
    if (req->verb != IO_SYNC || req->fd != disk->dir || disk->budget <= 0)
        return 0;
    disk->budget--;
    return -EIO;
}

/* A segment whose name may be lost holds nothing that is durable. */
static void
a_name_that_cannot_be_synced(void **state)
{
    struct rig *rig = rig_start(*state);
    struct fake *disk = rig_fake(rig);

    rig_wait(rig, is_idle, 0);
    disk->dir = rig->store->dir;
    disk->judge = fail_dir_sync;
    disk->budget = 1;
    rig_publish(rig, 10);
    rig_wait_durable(rig, 1);
    assert_int_equal(disk->budget, 0);
    assert_int_equal(atom_load_relaxed(&ring_daemon(&rig->view)->log_errors), 1);
    assert_int_equal(rig_read(rig, 1).next, 2);
    rig_end(rig);
}

static int
hold_durable(struct fake *disk, const struct io_req *req)
{
    return req->verb == IO_WRITE && (req->flags & IO_DURABLE) && disk->budget-- > 0;
}

/* Large batches go side by side; the watermark waits for the first. */
static void
durable_advances_in_order(void **state)
{
    struct rig *rig = rig_start(*state);
    struct fake *disk = rig_fake(rig);

    rig_publish(rig, 10);
    rig_wait_durable(rig, 1);
    disk->judge = hold_durable;
    disk->budget = 1;
    /* The first batch of these begins inside a block and ends on one. */
    for (int i = 0; i < 40; i++)
        assert_int_equal(rig_try(rig, 10000), 0);
    (void)shm_event_arm(&ring_control(&rig->view)->durable_wait);
    store_look(rig->store);
    io_flush(rig->f.io);
    for (int i = 0; i < 40; i++)
        assert_int_equal(rig_try(rig, 10000), 0);
    store_look(rig->store);
    /* A batch a turn: the loop comes back for the second by itself. */
    for (int i = 0; i < 5; i++)
        (void)loop_turn(rig->loop, loop_clock());
    assert_int_equal(rig_durable(rig), 1);
    assert_in_range(rig->store->flush.count, 2, FLUSH_BATCHES);
    assert_false(rig->store->flush.batch[rig->store->flush.head % FLUSH_BATCHES].finished);
    assert_true(rig->store->flush.batch[(rig->store->flush.head + 1) % FLUSH_BATCHES].finished);
    fake_release(disk);
    rig_wait_durable(rig, 81);
    assert_int_equal(rig_read(rig, 1).next, 82);
    rig_end(rig);
}

/* A busy topic leaves buffers to the others; one that gets none asks again soon. */
static void
buffers_are_shared(void **state)
{
    struct rig *rig = rig_start(*state);
    struct fake *disk = rig_fake(rig);
    const uint64_t all = disk->io.buf_free;

    rig_publish(rig, 10);
    rig_wait_durable(rig, 1);
    rig_wait(rig, is_idle, 0);
    disk->judge = hold_durable;
    disk->budget = 100;
    disk->io.buf_free = (1u << (FLUSH_BUFS_LEFT + 2)) - 1;
    for (int i = 0; i < 90; i++) {
        assert_int_equal(rig_try(rig, 10000), 0);
        if (i % 30 == 29) {
            (void)shm_event_arm(&ring_control(&rig->view)->durable_wait);
            store_look(rig->store);
        }
    }
    assert_int_equal(rig->store->flush.count, 2);
    assert_int_equal(io_buf_left(rig->f.io), FLUSH_BUFS_LEFT);
    disk->budget = 0;
    while (disk->held.head)
        fake_release(disk);
    rig_wait_durable(rig, 91);
    rig_wait(rig, is_idle, 0);
    disk->io.buf_free = 0;
    rig_publish(rig, 10);
    (void)shm_event_arm(&ring_control(&rig->view)->durable_wait);
    store_look(rig->store);
    assert_int_equal(rig->store->verdict, FLUSH_BUFFER);
    assert_true(loop_is_set(&rig->store->flush.timer));
    disk->io.buf_free = all;
    rig_wait(rig, is_durable, 92);
    assert_int_equal(rig_read(rig, 1).next, 93);
    rig_end(rig);
}

static void
a_torn_ring_is_damage(void **state)
{
    struct rig *rig = rig_start(*state);

    rig_publish(rig, 10);
    rig_wait_durable(rig, 1);
    /* A stamp of another lap where the second message must be. */
    atom_store_relaxed(&ring_slot(&rig->view, 2)->stamp,
                       ring_stamp(2 + 8 * SMALL_DEPTH, RING_COMMITTED));
    store_look(rig->store);
    rig_wait(rig, has_state, RING_TOPIC_DAMAGED);
    for (int i = 0; i < 3; i++)
        (void)loop_turn(rig->loop, 0);
    assert_int_equal(rig->damaged, 1);
    assert_int_equal(rig_durable(rig), 1);
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
        BOTH(a_waiter_is_served_at_once),
        BOTH(without_a_waiter_the_interval_ends),
        BOTH(enough_bytes_need_no_interval),
        BOTH(an_idle_writer_sleeps),
        WITH(commits_in_groups, fake),
        BOTH(small_batches_share_blocks),
        BOTH(rolls_over_many_segments),
        BOTH(long_messages_go_in_pieces),
        BOTH(aborted_places_are_stepped_over),
        BOTH(an_unfinished_place_is_waited_for),
        BOTH(retention_by_size_recycles),
        BOTH(what_was_handed_out_is_not_recycled),
        BOTH(retention_by_age),
        WITH(retention_leaves_a_message, fake),
        WITH(retention_waits_for_a_segment_that_stays, fake),
        WITH(a_failed_write_goes_to_a_new_file, fake),
        WITH(pieces_that_failed_are_followed_by_nothing, fake),
        WITH(retention_leaves_the_open_segment, fake),
        WITH(retention_leaves_more_than_pieces, fake),
        WITH(three_failed_files_are_said, fake),
        WITH(each_wait_ends, fake),
        WITH(a_full_disk_is_said, fake),
        WITH(a_name_that_cannot_be_synced, fake),
        WITH(durable_advances_in_order, fake),
        WITH(buffers_are_shared, fake),
        WITH(a_torn_ring_is_damage, fake),
    };
    int failed;

    report_to(-1);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? failed : skips ? 77 : 0;
}
