/* What recovery makes of what it finds: clean stops, kills at named places and at any time, tails
 * that are torn, files that are damaged, missing, foreign, or newer than this code. */
#include "tests/unit/daemon/store_fixture.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/uio.h>

#include "shm/testpoint.h"

#define DEPTH 256
#define LANE (1u << 20)
#define SEGMENT (2u << 20)

static const struct rig_options uring = {
    .want = "io_uring", .parent = "/var/tmp", .depth = DEPTH, .lane = LANE, .segment = SEGMENT};
static const struct rig_options block = {
    .want = "block", .parent = "/dev/shm", .depth = DEPTH, .lane = LANE, .segment = SEGMENT};
static const struct rig_options fake = {
    .want = "fake", .parent = "/dev/shm", .depth = DEPTH, .lane = LANE, .segment = SEGMENT};

/* --- help -------------------------------------------------------------------------------- */

static uint32_t
some_length(const struct rig *rig)
{
    uint64_t x = mix(rig->seed + rig->next);

    return (uint32_t)(x % 8 ? (x >> 8) % 2000 : (x >> 8) % 60000);
}

static void
publish_some(struct rig *rig, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        rig_publish(rig, some_length(rig));
}

/* The daemon stops without a word; the loop and storage of the next one are there. */
static void
stop(struct rig *rig)
{
    rig_unplug(rig);
    assert_int_equal(rig_power(rig), 0);
}

static int
open_segment(const struct rig *rig, uint64_t first, int flags)
{
    char name[LOG_NAME_ROOM];
    int dir = rig_dir(rig), fd;

    log_segment_name(first, name);
    fd = openat(dir, name, flags | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(dir);
    return fd;
}

static uint64_t
last_segment(const struct rig *rig)
{
    uint64_t seg[512];
    unsigned n = rig_segments(rig, seg, 512);

    assert_true(n > 0);
    return seg[n - 1];
}

static void
remove_behind(const struct rig *rig, uint64_t first)
{
    int dir = rig_dir(rig);
    char name[LOG_NAME_ROOM];

    while (last_segment(rig) > first) {
        log_segment_name(last_segment(rig), name);
        assert_int_equal(unlinkat(dir, name, 0), 0);
    }
    close(dir);
}

static void
rename_in(const struct rig *rig, const char *from, const char *to)
{
    int dir = rig_dir(rig);

    assert_int_equal(renameat(dir, from, dir, to), 0);
    close(dir);
}

static bool
exists(const struct rig *rig, const char *name)
{
    int dir = rig_dir(rig), r = faccessat(dir, name, F_OK, 0);

    close(dir);
    return !r;
}

static void
make_file(const struct rig *rig, const char *name, const void *data, size_t len)
{
    int dir = rig_dir(rig), fd = openat(dir, name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    close(fd);
    close(dir);
}

/* It goes on where it was: what comes next is behind what was there, and all can be read. */
static void
goes_on(struct rig *rig, uint64_t first)
{
    rig_reboot(rig);
    publish_some(rig, 50);
    rig_wait_durable(rig, rig->next - 1);
    assert_int_equal(rig_read(rig, first).next, rig->next);
}

static void
refuses(struct rig *rig, int error)
{
    char why[STORE_WHY] = "";

    assert_int_equal(rig_recover(rig, why), error);
    assert_true(why[0]);
    rig->store = NULL;
}

/* --- clean ------------------------------------------------------------------------------- */

static void
nothing_is_not_a_topic(void **state)
{
    struct rig *rig = rig_new(*state);

    refuses(rig, -ENOENT);
    assert_int_equal(mkdirat(rig->f.dir, RIG_TOPIC, 0700), 0);
    refuses(rig, -ENOENT);
    rig_end(rig);
}

static void
goes_on_after_each_stop(void **state)
{
    struct rig *rig = rig_start(*state);
    uint64_t last = 0;

    for (uint32_t round = 0; round < 12; round++) {
        publish_some(rig, round * 37);
        rig_wait_durable(rig, rig->next - 1);
        last = rig->next;
        stop(rig);
        rig_reboot(rig);
        assert_int_equal(rig->next, last);
        assert_int_equal(store_first(rig->store), 1);
    }
    stop(rig);
    goes_on(rig, 1);
    rig_end(rig);
}

/* The ring is still there: the next daemon goes on with it. */
static void
adopts_the_living_ring(void **state)
{
    struct rig *rig = rig_start(*state);
    char why[STORE_WHY] = "";

    publish_some(rig, 300);
    rig_wait_durable(rig, 250);
    stop(rig);
    while (rig->next < 301 + 20)
        if (ring_publish_may(&rig->pub, 1, 100) == 1) {
            struct ring_out out = {.data = "", .len = 0, .key = rig->next * 3};
            uint64_t seq;
            assert_int_equal(ring_publish(&rig->pub, &out, 1, 1000 + rig->next, &seq), 0);
            rig->next++;
        }
    assert_int_equal(rig_recover(rig, why), 0);
    assert_true(store_next(rig->store) > 250);
    assert_int_equal(rig_attach(rig), 0);
    publish_some(rig, 300);
    rig_wait_durable(rig, rig->next - 1);
    assert_int_equal(rig_read(rig, 1).next, rig->next);
    rig_end(rig);
}

static void
floors_survive(void **state)
{
    struct rig *rig = rig_start(*state);
    uint64_t floor;

    publish_some(rig, 20);
    rig_wait_durable(rig, 20);
    assert_int_equal(store_floor_set(rig->store, "alpha", 7), 0);
    assert_int_equal(store_floor_set(rig->store, "beta", 21), 0);
    assert_int_equal(store_floor_set(rig->store, "gone", 3), 0);
    assert_int_equal(store_floor_set(rig->store, "early", 100), 0);
    store_drain(rig->store, rig_drained, rig);
    for (unsigned i = 0; i < 3; i++) {
        while (!rig->drained)
            rig_turn(rig);
        rig->drained = 0;
        if (i == 0)
            assert_int_equal(store_floor_remove(rig->store, "gone"), 0);
        else
            assert_int_equal(store_floor_set(rig->store, "alpha", 7 + i), 0);
        store_drain(rig->store, rig_drained, rig);
    }
    while (!rig->drained)
        rig_turn(rig);
    stop(rig);
    rig_reboot(rig);
    assert_int_equal(store_floor_get(rig->store, "alpha", &floor), 0);
    assert_int_equal(floor, 9);
    assert_int_equal(store_floor_saved(rig->store, "alpha"), 9);
    assert_int_equal(store_floor_get(rig->store, "beta", &floor), 0);
    assert_int_equal(floor, 21);
    assert_int_equal(store_floor_get(rig->store, "gone", &floor), -ENOENT);
    /* It had seen what did not survive: these numbers will be given again. */
    assert_int_equal(store_floor_get(rig->store, "early", &floor), 0);
    assert_int_equal(floor, 21);
    rig_end(rig);
}

static void
save_floor(struct rig *rig, uint64_t floor)
{
    assert_int_equal(store_floor_set(rig->store, "alpha", floor), 0);
    store_drain(rig->store, rig_drained, rig);
    for (rig->drained = 0; !rig->drained;)
        rig_turn(rig);
}

/* A name that began behind what survived: before the first of those numbers is given out again, the
 * disk knows that it has not seen it. */
static void
a_floor_is_taken_back_at_once(void **state)
{
    struct rig *rig = rig_start(*state);
    uint64_t floor;

    publish_some(rig, 20);
    save_floor(rig, 100);
    stop(rig);
    rig_reboot(rig);
    assert_int_equal(store_floor_saved(rig->store, "alpha"), 21);
    publish_some(rig, 200);
    rig_wait_durable(rig, 220);
    stop(rig);
    rig_reboot(rig);
    assert_int_equal(store_floor_get(rig->store, "alpha", &floor), 0);
    assert_int_equal(floor, 21);
    rig_end(rig);
}

/* What is in the ring is not lost: who has seen it does not get it again. */
static void
a_floor_in_the_ring_stays(void **state)
{
    struct rig *rig = rig_start(*state);
    char why[STORE_WHY] = "";
    uint64_t floor;

    publish_some(rig, 20);
    save_floor(rig, 31);
    stop(rig);
    while (rig->next < 41) {
        struct ring_out out = {.data = "", .len = 0, .key = rig->next * 3};
        uint64_t seq;
        assert_int_equal(ring_publish(&rig->pub, &out, 1, 1000 + rig->next, &seq), 0);
        rig->next++;
    }
    assert_int_equal(rig_recover(rig, why), 0);
    assert_int_equal(store_next(rig->store), 21);
    assert_int_equal(rig_attach(rig), 0);
    assert_int_equal(store_floor_get(rig->store, "alpha", &floor), 0);
    assert_int_equal(floor, 31);
    rig_end(rig);
}

static int
one_durable_write(struct fake *disk, const struct io_req *req)
{
    return req->verb == IO_WRITE && disk->budget-- <= 0 ? -EIO : 0;
}

/* A name is removed and made again, and the power goes between the two records. */
static void
a_name_is_there_once(void **state)
{
    struct rig *rig = rig_start(*state);
    uint32_t index = 0;
    const char *name;
    uint64_t floor;

    publish_some(rig, 20);
    rig_wait_durable(rig, 20);
    assert_int_equal(store_floor_set(rig->store, "first", 1), 0);
    save_floor(rig, 15);
    assert_int_equal(store_floor_remove(rig->store, "first"), 0);
    save_floor(rig, 16);
    rig_fake(rig)->judge = one_durable_write;
    rig_fake(rig)->budget = 1;
    assert_int_equal(store_floor_remove(rig->store, "alpha"), 0);
    save_floor(rig, 5);
    stop(rig);
    rig_reboot(rig);
    while (store_floor_next(rig->store, &index, &name, &floor))
        assert_int_equal(floor, 5);
    assert_true(rig->store->floors.list[1].state != FLOOR_USED);
    rig_end(rig);
}

/* The newer copy torn: the older one counts. Both: nobody guesses. */
static void
floors_have_two_copies(void **state)
{
    struct rig *rig = rig_start(*state);
    unsigned char junk[512];
    uint64_t floor;
    uint8_t copy;
    int dir, fd;

    assert_int_equal(store_floor_set(rig->store, "alpha", 1), 0);
    for (uint64_t i = 2; i < 5; i++) {
        store_drain(rig->store, rig_drained, rig);
        for (rig->drained = 0; !rig->drained;)
            rig_turn(rig);
        if (i < 4)
            assert_int_equal(store_floor_set(rig->store, "alpha", i), 0);
    }
    copy = rig->store->floors.list[0].copy;
    /* Numbers above the log's end are not believed; so let there be some. */
    publish_some(rig, 10);
    rig_wait_durable(rig, 10);
    stop(rig);
    memset(junk, 0x5a, sizeof junk);
    dir = rig_dir(rig);
    fd = openat(dir, "cursors", O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, junk, sizeof junk, LOG_BLOCK * (1l + copy)), sizeof junk);
    rig_reboot(rig);
    assert_int_equal(store_floor_get(rig->store, "alpha", &floor), 0);
    assert_int_equal(floor, 2);
    stop(rig);
    assert_int_equal(pwrite(fd, junk, sizeof junk, LOG_BLOCK * (1l + !copy)), sizeof junk);
    refuses(rig, -EBADMSG);
    assert_int_equal(ftruncate(fd, 100), 0);
    refuses(rig, -EBADMSG);
    close(fd);
    close(dir);
    rig_end(rig);
}

static int
fail_write(struct fake *disk, const struct io_req *req)
{
    return req->verb == IO_WRITE && disk->budget-- > 0 ? -EIO : 0;
}

/* The cursors file that is made in place of a missing one is there whole or not at all. */
static void
a_missing_cursors_file_is_made_anew(void **state)
{
    struct rig *rig = rig_start(*state);
    int dir = rig_dir(rig);

    publish_some(rig, 10);
    rig_wait_durable(rig, 10);
    stop(rig);
    assert_int_equal(unlinkat(dir, "cursors", 0), 0);
    close(dir);
    rig_fake(rig)->judge = fail_write;
    rig_fake(rig)->budget = 1;
    refuses(rig, -EIO);
    assert_false(exists(rig, "cursors"));
    goes_on(rig, 1);
    assert_true(exists(rig, "cursors"));
    rig_end(rig);
}

/* --- torn and damaged -------------------------------------------------------------------- */

#define BATCHES_MAX 4096

struct image {
    unsigned char *bytes;
    uint64_t first;
    struct log_batch batch[BATCHES_MAX];
    uint64_t offset[BATCHES_MAX];
    unsigned n;
    uint64_t end;
};

/* A segment as it is, and what a walk sees in it. */
static struct image *
take_image(const struct rig *rig, uint64_t first)
{
    struct image *m = calloc(1, sizeof *m);
    unsigned char *buf = malloc(LOG_BATCH_MAX);
    int fd = open_segment(rig, first, O_RDONLY);
    struct log_source source = log_fd_source(&fd);
    struct log_segment_header h;
    struct log_walk w;

    assert_true(m && buf);
    m->first = first;
    m->bytes = malloc(SEGMENT);
    assert_non_null(m->bytes);
    assert_int_equal(pread(fd, m->bytes, SEGMENT, 0), SEGMENT);
    assert_int_equal(log_segment_check(&source, &h), 0);
    log_walk_begin(&w, &source, &h, buf);
    while (log_walk_next(&w) == 1) {
        assert_true(m->n < BATCHES_MAX);
        m->batch[m->n] = w.batch;
        m->offset[m->n++] = w.batch_offset;
    }
    m->end = w.offset;
    free(buf);
    close(fd);
    return m;
}

static void
put_image(const struct rig *rig, const struct image *m)
{
    int fd = open_segment(rig, m->first, O_WRONLY | O_CREAT);

    assert_int_equal(ftruncate(fd, SEGMENT), 0);
    assert_int_equal(pwrite(fd, m->bytes, SEGMENT, 0), SEGMENT);
    close(fd);
}

/* Nothing but zeros from there on. */
static void
cut_segment(const struct rig *rig, uint64_t first, uint64_t at)
{
    int fd = open_segment(rig, first, O_WRONLY);
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(ftruncate(fd, (off_t)at), 0);
    assert_int_equal(ftruncate(fd, st.st_size), 0);
    close(fd);
}

static struct image *
drop_image(struct image *m)
{
    free(m->bytes);
    free(m);
    return NULL;
}

/* The batch that byte `at` belongs to; n when it is behind all. Pads belong to none. */
static unsigned
batch_of(const struct image *m, uint64_t at)
{
    unsigned k = 0;

    while (k < m->n && at >= m->offset[k] + m->batch[k].bytes)
        k++;
    return k < m->n && at < m->offset[k] ? m->n : k;
}

/* Does a batch behind k say that k was durable? */
static bool
is_witnessed(const struct image *m, unsigned k)
{
    for (unsigned j = k + 1; j < m->n; j++)
        if (m->batch[j].durable >= m->batch[k].first)
            return true;
    return false;
}

/* Small batches, until so many of them stand in one segment, the last. */
static void
fill_last_segment(struct rig *rig, unsigned batches)
{
    uint64_t first = 0;

    for (unsigned n = 0; n < batches; n++) {
        publish_some(rig, 3);
        rig_wait_durable(rig, rig->next - 1);
        if (store__seg_last(rig->store)->first != first)
            n = 0;
        first = store__seg_last(rig->store)->first;
    }
}

/* A log of two segments or more; the last has small batches and some that were in flight together. */
static struct rig *
make_log(const struct rig_options *o)
{
    struct rig *rig = rig_start(o);

    publish_some(rig, 500);
    rig_wait_durable(rig, rig->next - 1);
    for (unsigned i = 0; i < 30; i++) {
        publish_some(rig, 3);
        rig_wait_durable(rig, rig->next - 1);
    }
    for (unsigned i = 0; i < 30; i++)
        rig_publish(rig, 20000);
    rig_wait_durable(rig, rig->next - 1);
    fill_last_segment(rig, 12);
    stop(rig);
    return rig;
}

static void
a_file_cut_short_is_a_torn_tail(void **state)
{
    struct rig *rig = make_log(*state);
    struct image *m = take_image(rig, last_segment(rig));
    uint64_t after;

    assert_true(m->n > 10);
    for (unsigned i = 0; i < 60; i++) {
        uint64_t at = LOG_BLOCK + mix(rig->seed + i) % (m->end - LOG_BLOCK);
        unsigned k = 0;
        int fd;
        while (k < m->n && m->offset[k] + m->batch[k].bytes <= at)
            k++;
        put_image(rig, m);
        fd = open_segment(rig, m->first, O_WRONLY);
        assert_int_equal(ftruncate(fd, (off_t)at), 0);
        close(fd);
        after = k < m->n ? m->batch[k].first : m->batch[m->n - 1].first + m->batch[m->n - 1].count;
        rig_reboot(rig);
        assert_int_equal(rig->next, after);
        assert_int_equal(rig_read(rig, 1).next, after);
        if (i % 8 == 0) {
            publish_some(rig, 20);
            rig_wait_durable(rig, rig->next - 1);
            assert_int_equal(rig_read(rig, 1).next, rig->next);
        }
        stop(rig);
        remove_behind(rig, m->first);
    }
    m = drop_image(m);
    rig_end(rig);
}

/* Bytes that changed: torn if nobody says that they had been durable, else damage, and then nothing
 * is touched. */
static void
changed_bytes_are_torn_or_damage(void **state)
{
    struct rig *rig = make_log(*state);
    struct image *m = take_image(rig, last_segment(rig));
    unsigned char *now = malloc(SEGMENT);
    unsigned torn = 0, damaged = 0;

    assert_non_null(now);
    for (unsigned i = 0; i < 120; i++) {
        uint64_t x = mix(rig->seed + i), at = LOG_BLOCK + (x >> 8) % (m->end - LOG_BLOCK);
        unsigned k = batch_of(m, at);
        int fd;
        if (i % 3 == 0) {
            k = m->n - 1;
            at = m->offset[k] + (x >> 8) % m->batch[k].bytes;
        }
        if (k == m->n)
            continue;
        put_image(rig, m);
        fd = open_segment(rig, m->first, O_RDWR);
        now[0] = m->bytes[at] ^ (unsigned char)(1 << x % 8);
        assert_int_equal(pwrite(fd, now, 1, (off_t)at), 1);
        if (is_witnessed(m, k)) {
            refuses(rig, -EBADMSG);
            assert_int_equal(pread(fd, now, SEGMENT, 0), SEGMENT);
            now[at] ^= (unsigned char)(1 << x % 8);
            assert_memory_equal(now, m->bytes, SEGMENT);
            damaged++;
        } else {
            rig_reboot(rig);
            assert_int_equal(rig->next, m->batch[k].first);
            assert_int_equal(rig_read(rig, 1).next, m->batch[k].first);
            torn++;
            stop(rig);
            /* Cut once, and clean the next time. */
            rig_reboot(rig);
            assert_int_equal(rig->next, m->batch[k].first);
            stop(rig);
        }
        close(fd);
    }
    print_message("%u torn, %u damaged\n", torn, damaged);
    assert_true(torn > 10 && damaged > 10);
    free(now);
    m = drop_image(m);
    rig_end(rig);
}

/* --- what cannot be read ----------------------------------------------------------------- */

/* A range of a file that the disk cannot give any more. */
static struct {
    ino_t ino; /* 0: there is none */
    uint64_t from, to;
} spoilt;

static void
spoil(int fd, uint64_t from, uint64_t to)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    spoilt.ino = st.st_ino;
    spoilt.from = from;
    spoilt.to = to;
}

static void
unspoil(void)
{
    spoilt.ino = 0;
}

/* Stands before the C library's. Reads up to the range, as a disk does. */
ssize_t
pread(int fd, void *buf, size_t len, off_t off)
{
    struct iovec v = {.iov_base = buf, .iov_len = len};
    uint64_t at = (uint64_t)off;
    struct stat st;

    if (spoilt.ino && at < spoilt.to && at + len > spoilt.from && !fstat(fd, &st) &&
        st.st_ino == spoilt.ino) {
        if (at >= spoilt.from) {
            errno = EIO;
            return -1;
        }
        v.iov_len = spoilt.from - at;
    }
    return preadv(fd, &v, 1, off);
}

static void
spoil_copy(const struct rig *rig, uint32_t record, uint32_t copy)
{
    int dir = rig_dir(rig), fd = openat(dir, "cursors", O_RDONLY | O_CLOEXEC);
    uint64_t at = LOG_BLOCK * (1ul + 2 * record + copy);

    assert_true(fd >= 0);
    spoil(fd, at, at + LOG_BLOCK);
    close(fd);
    close(dir);
}

static uint64_t
floor_of(const struct rig *rig, const char *name)
{
    uint64_t floor = 0;

    (void)store_floor_get(rig->store, name, &floor);
    return floor;
}

/* The other copy counts, whichever it is; and it is the bad one that is written the next time. */
static void
a_copy_of_a_floor_cannot_be_read(void **state)
{
    for (uint8_t newer = 0; newer < 2; newer++) {
        struct rig *rig = rig_start(*state);
        uint8_t copy;

        publish_some(rig, 20);
        rig_wait_durable(rig, 20);
        assert_int_equal(store_floor_set(rig->store, "beta", 7), 0);
        for (uint64_t floor = 2; floor < 5; floor++)
            save_floor(rig, floor);
        copy = rig->store->floors.list[1].copy;
        assert_string_equal(rig->store->floors.list[1].name, "alpha");
        stop(rig);
        spoil_copy(rig, 1, newer ? copy : !copy);
        rig_reboot(rig);
        assert_int_equal(floor_of(rig, "alpha"), newer ? 3 : 4);
        assert_int_equal(floor_of(rig, "beta"), 7);
        save_floor(rig, 9);
        unspoil();
        stop(rig);
        rig_reboot(rig);
        assert_int_equal(floor_of(rig, "alpha"), 9);
        assert_int_equal(floor_of(rig, "beta"), 7);
        rig_end(rig);
    }
}

/* What cannot be read may be all that is there of a name: it is waited for, and is no damage. */
static void
a_name_is_not_forgotten_unread(void **state)
{
    struct rig *rig = rig_start(*state);
    char why[STORE_WHY] = "";
    uint8_t copy;

    publish_some(rig, 20);
    save_floor(rig, 5);
    copy = rig->store->floors.list[0].copy;
    stop(rig);
    spoil_copy(rig, 0, copy);
    assert_int_equal(rig_recover(rig, why), -EIO);
    assert_non_null(strstr(why, "record 0"));
    unspoil();
    rig_reboot(rig);
    assert_int_equal(floor_of(rig, "alpha"), 5);
    /* Another name in the place of one that was removed. */
    assert_int_equal(store_floor_remove(rig->store, "alpha"), 0);
    store_drain(rig->store, rig_drained, rig);
    for (rig->drained = 0; !rig->drained;)
        rig_turn(rig);
    save_floor(rig, 6);
    assert_int_equal(rig->store->floors.cnt, 1);
    copy = rig->store->floors.list[0].copy;
    stop(rig);
    spoil_copy(rig, 0, copy);
    refuses(rig, -EIO);
    spoilt.from = 0;
    spoilt.to = UINT64_MAX;
    refuses(rig, -EIO);
    unspoil();
    rig_reboot(rig);
    assert_int_equal(floor_of(rig, "alpha"), 6);
    rig_end(rig);
}

/* A name was removed and made again, behind what it had; its removal cannot be read. */
static void
a_removal_cannot_be_read(void **state)
{
    struct rig *rig = rig_start(*state);
    uint32_t index = 0, names = 0;
    const char *name;
    uint64_t floor;
    uint8_t copy;

    publish_some(rig, 20);
    rig_wait_durable(rig, 20);
    save_floor(rig, 15);
    save_floor(rig, 16);
    assert_int_equal(store_floor_remove(rig->store, "alpha"), 0);
    save_floor(rig, 5);
    assert_int_equal(rig->store->floors.cnt, 2);
    copy = rig->store->floors.list[0].copy;
    stop(rig);
    spoil_copy(rig, 0, copy);
    rig_reboot(rig);
    while (store_floor_next(rig->store, &index, &name, &floor))
        names++;
    assert_int_equal(names, 1);
    assert_int_equal(floor_of(rig, "alpha"), 5);
    save_floor(rig, 8);
    unspoil();
    stop(rig);
    rig_reboot(rig);
    assert_int_equal(floor_of(rig, "alpha"), 8);
    assert_int_equal(rig->store->floors.list[0].state, FLOOR_FREE);
    rig_end(rig);
}

/* --- what the page cache alone has --------------------------------------------------------- */

/* A range of a file of which a former daemon's sync has failed: its pages pass for written, until they are dropped. */
static struct {
    ino_t ino; /* 0: there is none */
    uint64_t from, to;
    unsigned syncs; /* that the file has seen */
} phantom;

static int
count_syncs(struct fake *disk, const struct io_req *req)
{
    struct stat st;

    (void)disk;
    if (req->verb == IO_SYNC && !fstat(req->fd, &st) && st.st_ino == phantom.ino)
        phantom.syncs++;
    return 0;
}

/* Stands before the C library's: what is dropped reads as the disk has it, which is zeros here. */
int
posix_fadvise(int fd, off_t offset, off_t len, int advice)
{
    static const unsigned char zeros[LOG_BLOCK];
    char path[32];
    struct stat st;
    int file;

    if (advice != POSIX_FADV_DONTNEED || offset || len || fstat(fd, &st) ||
        st.st_ino != phantom.ino)
        return 0;
    assert_true(phantom.syncs > 0);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    file = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(file >= 0);
    for (uint64_t at = phantom.from, n; at < phantom.to; at += n) {
        n = shm_min(sizeof zeros, phantom.to - at);
        assert_int_equal(pwrite(file, zeros, n, (off_t)at), n);
    }
    close(file);
    phantom.ino = 0;
    return 0;
}

static void
haunt(struct rig *rig, int fd, uint64_t from, uint64_t to)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    close(fd);
    phantom.ino = st.st_ino;
    phantom.from = from;
    phantom.to = to;
    phantom.syncs = 0;
    rig_fake(rig)->judge = count_syncs;
}

/* Be it the last batch, or a segment of which not even the header has reached the disk. */
static void
the_page_cache_is_not_believed(void **state)
{
    for (unsigned header = 0; header < 2; header++) {
        struct rig *rig = make_log(*state);
        struct image *m = take_image(rig, last_segment(rig));
        uint64_t next = header ? m->first : m->batch[m->n - 1].first;
        char why[STORE_WHY] = "";

        haunt(rig, open_segment(rig, m->first, O_RDONLY), header ? 0 : m->offset[m->n - 1],
              SEGMENT);
        assert_int_equal(rig_recover(rig, why), 0);
        assert_int_equal(store_next(rig->store), next);
        drop_image(m);
        rig_end(rig);
    }
}

static void
a_floor_in_the_page_cache_is_not_believed(void **state)
{
    struct rig *rig = rig_start(*state);
    uint64_t floor;
    uint8_t copy;
    int dir = rig_dir(rig);

    publish_some(rig, 10);
    rig_wait_durable(rig, 10);
    save_floor(rig, 2);
    save_floor(rig, 3);
    copy = rig->store->floors.list[0].copy;
    stop(rig);
    haunt(rig, openat(dir, "cursors", O_RDONLY | O_CLOEXEC), LOG_BLOCK * (1ul + copy),
          LOG_BLOCK * (2ul + copy));
    close(dir);
    rig_reboot(rig);
    assert_int_equal(store_floor_get(rig->store, "alpha", &floor), 0);
    assert_int_equal(floor, 2);
    rig_end(rig);
}

static void
a_message_without_its_end_begins_anew(void **state)
{
    struct rig_options o = *(const struct rig_options *)*state;
    unsigned char *buf = malloc(LOG_BATCH_MAX);
    struct log_segment_header h;
    struct log_source source;
    struct log_walk w;
    struct rig *rig;
    int fd;

    o.lane = 8u << 20;
    rig = rig_start(&o);
    rig_publish(rig, 10);
    rig_wait_durable(rig, 1);
    rig_publish(rig, 3u << 20);
    rig_wait_durable(rig, 2);
    stop(rig);
    fd = open_segment(rig, 1, O_RDWR);
    source = log_fd_source(&fd);
    assert_int_equal(log_segment_check(&source, &h), 0);
    log_walk_begin(&w, &source, &h, buf);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(log_walk_next(&w), 1);
    assert_true(w.chain.partial > 0);
    assert_int_equal(ftruncate(fd, (off_t)w.offset), 0);
    close(fd);
    free(buf);
    rig_reboot(rig);
    assert_int_equal(rig->next, 2);
    rig_publish(rig, 3u << 20);
    rig_publish(rig, 10);
    rig_wait_durable(rig, 3);
    assert_int_equal(rig_read(rig, 1).messages, 3);
    stop(rig);
    goes_on(rig, 1);
    rig_end(rig);
}

/* A log whose last segment begins with a message of pieces, and has no more than two of them. */
static struct rig *
make_pieces(const struct rig_options *options)
{
    struct rig_options o = *options;
    struct image *m;
    struct rig *rig;

    o.lane = 8u << 20;
    rig = rig_start(&o);
    for (unsigned i = 0; i < 10; i++)
        rig_publish(rig, 100000);
    rig_publish(rig, 4u << 20);
    rig_wait_durable(rig, 11);
    stop(rig);
    assert_int_equal(last_segment(rig), 11);
    m = take_image(rig, 11);
    assert_true(m->n > 3);
    cut_segment(rig, 11, m->offset[2]);
    m = drop_image(m);
    return rig;
}

/* There is no room for the message behind its pieces: it begins anew, in a file that takes the name of the one it had. */
static void
pieces_make_way(void **state)
{
    struct rig *rig = make_pieces(*state);
    uint64_t seg[512];

    for (unsigned i = 0; i < 2; i++) {
        rig_reboot(rig);
        assert_int_equal(rig->next, 11);
        assert_int_equal(rig->store->seg_cnt, 2);
        assert_true(rig->store->segs[1].end > LOG_BLOCK);
        if (!i)
            stop(rig);
    }
    rig_publish(rig, 4u << 20);
    rig_publish(rig, 10);
    rig_wait_durable(rig, 12);
    assert_int_equal(rig->store->seg_cnt, rig_segments(rig, seg, 512));
    assert_int_equal(rig->store->bytes, rig->store->segs[0].end + rig->store->segs[1].end);
    stop(rig);
    goes_on(rig, 1);
    rig_end(rig);
}

/* The power takes the new file's name before it is durable, and the old file is there again: with its pieces, and beside it
 * the new one without a name. */
static void
pieces_come_back(void **state)
{
    struct rig *rig = make_pieces(*state);
    int old = open_segment(rig, 11, O_RDONLY);
    char name[LOG_NAME_ROOM];
    unsigned char *bytes;
    struct stat st;

    rig_reboot(rig);
    rig_publish(rig, 4u << 20);
    rig_wait_durable(rig, 11);
    stop(rig);
    assert_int_equal(fstat(old, &st), 0);
    assert_int_equal(st.st_nlink, 0);
    log_segment_name(11, name);
    rename_in(rig, name, "spare-777.seg");
    bytes = malloc((size_t)st.st_size);
    assert_non_null(bytes);
    assert_int_equal(pread(old, bytes, (size_t)st.st_size, 0), st.st_size);
    make_file(rig, name, bytes, (size_t)st.st_size);
    free(bytes);
    close(old);
    rig_reboot(rig);
    assert_int_equal(rig->next, 11);
    assert_false(exists(rig, "spare-777.seg"));
    rig_publish(rig, 4u << 20);
    rig_wait_durable(rig, 11);
    stop(rig);
    /* Or nothing of the new one but the name is durable: the log ends where it ended before either of them. */
    cut_segment(rig, 11, 0);
    rig_reboot(rig);
    assert_int_equal(rig->next, 11);
    rig_publish(rig, 4u << 20);
    rig_wait_durable(rig, 11);
    assert_int_equal(rig_read(rig, 1).next, 12);
    stop(rig);
    goes_on(rig, 1);
    rig_end(rig);
}

/* --- files ------------------------------------------------------------------------------- */

static void
a_missing_segment_is_damage(void **state)
{
    struct rig *rig = rig_start(*state);
    uint64_t seg[512];
    char name[LOG_NAME_ROOM];
    unsigned n;

    publish_some(rig, 3000);
    rig_wait_durable(rig, rig->next - 1);
    stop(rig);
    n = rig_segments(rig, seg, 512);
    assert_true(n >= 4);
    log_segment_name(seg[1], name);
    rename_in(rig, name, "away");
    refuses(rig, -EBADMSG);
    /* With something else in its place. */
    make_file(rig, name, "nonsense", 8);
    refuses(rig, -EBADMSG);
    rename_in(rig, "away", name);
    /* The oldest may go: retention does that. */
    log_segment_name(seg[0], name);
    rename_in(rig, name, "away");
    rig_reboot(rig);
    assert_int_equal(store_first(rig->store), seg[1]);
    assert_int_equal(rig_read(rig, seg[1]).next, rig->next);
    rig_end(rig);
}

static void
index_files_are_not_needed(void **state)
{
    struct rig *rig = rig_start(*state);
    uint64_t seg[512];
    char name[LOG_NAME_ROOM];
    unsigned n;
    int dir;

    publish_some(rig, 2000);
    rig_wait_durable(rig, rig->next - 1);
    stop(rig);
    n = rig_segments(rig, seg, 512);
    dir = rig_dir(rig);
    for (unsigned i = 0; i + 1 < n; i++) {
        log_index_name(seg[i], name);
        if (i % 2)
            (void)unlinkat(dir, name, 0);
        else
            make_file(rig, name, "LEATIDX1 or so", 14);
    }
    make_file(rig, "00000000000000777777.idx", "x", 1);
    goes_on(rig, 1);
    for (unsigned i = 0; i + 1 < n; i++) {
        log_index_name(seg[i], name);
        assert_true(exists(rig, name));
    }
    assert_false(exists(rig, "00000000000000777777.idx"));
    close(dir);
    rig_end(rig);
}

/* A segment that was closed is the last one again when the one after it was never begun. */
static void
index_of_the_open_segment_goes(void **state)
{
    struct rig *rig = rig_start(*state);
    uint64_t seg[512];
    char name[LOG_NAME_ROOM];
    unsigned n;

    publish_some(rig, 300);
    rig_wait_durable(rig, rig->next - 1);
    stop(rig);
    n = rig_segments(rig, seg, 512);
    log_index_name(seg[n - 1], name);
    make_file(rig, name, "LEATIDX1 or so", 14);
    rig_reboot(rig);
    assert_false(exists(rig, name));
    rig_end(rig);
}

/* The power took the name of the last segment: it is a spare again, and may not come back as what follows. */
static void
a_spare_that_was_a_segment_goes(void **state)
{
    struct rig *rig = rig_start(*state);
    uint64_t seg[512];
    char name[LOG_NAME_ROOM];
    unsigned n;

    publish_some(rig, 2000);
    rig_wait_durable(rig, rig->next - 1);
    stop(rig);
    n = rig_segments(rig, seg, 512);
    assert_true(n > 1);
    log_segment_name(seg[n - 1], name);
    rename_in(rig, name, "spare-777.seg");
    rig_reboot(rig);
    assert_int_equal(store_next(rig->store), seg[n - 1]);
    assert_false(exists(rig, "spare-777.seg"));
    rig_end(rig);
}

/* What of a segment's first write is there, when the power took its name. */
enum remains {
    HEADER_ALONE,
    BATCH_ALONE,
    BATCH_UNDER_OLD_HEADER,
    BOTH_UNREADABLE,
    NOTHING, /* from here on it is a spare that can do no harm */
    OLD_ONES,
    REMAINS
};

static void
leave_remains(struct rig *rig, uint64_t first, enum remains what)
{
    static const unsigned char zeros[LOG_BATCH_MAX];
    static unsigned char old[LOG_BATCH_MAX];
    int fd = open_segment(rig, first, O_RDWR), oldest = open_segment(rig, 1, O_RDONLY);
    bool batch = what == BATCH_ALONE || what == BATCH_UNDER_OLD_HEADER;

    assert_int_equal(pread(oldest, old, sizeof old, 0), sizeof old);
    if (what == BATCH_ALONE || what == NOTHING)
        assert_int_equal(pwrite(fd, zeros, LOG_BLOCK, 0), LOG_BLOCK);
    if (what == BATCH_UNDER_OLD_HEADER || what == OLD_ONES)
        assert_int_equal(pwrite(fd, old, LOG_BLOCK, 0), LOG_BLOCK);
    if (what == OLD_ONES)
        assert_int_equal(pwrite(fd, old, sizeof old, 0), sizeof old);
    else if (!batch && what != BOTH_UNREADABLE)
        assert_int_equal(pwrite(fd, zeros, sizeof zeros, LOG_BLOCK), sizeof zeros);
    if (what == BOTH_UNREADABLE)
        spoil(fd, 0, 2ul * LOG_BLOCK);
    close(fd);
    close(oldest);
}

static void
a_spare_that_may_be_believed_goes(void **state)
{
    for (enum remains what = HEADER_ALONE; what < REMAINS; what++) {
        struct rig *rig = rig_start(*state);
        char name[LOG_NAME_ROOM], why[STORE_WHY] = "";
        uint64_t last;

        publish_some(rig, 2000);
        rig_wait_durable(rig, rig->next - 1);
        stop(rig);
        last = last_segment(rig);
        assert_true(last > 1);
        leave_remains(rig, last, what);
        log_segment_name(last, name);
        rename_in(rig, name, "spare-0777.seg");
        assert_int_equal(rig_recover(rig, why), 0);
        assert_int_equal(store_next(rig->store), last);
        assert_true(exists(rig, "spare-0777.seg") == (what >= NOTHING));
        unspoil();
        rig_end(rig);
    }
}

static void
foreign_files_are_left_alone(void **state)
{
    struct rig *rig = make_log(*state);
    static const unsigned char zeros[2 * LOG_BLOCK];

    make_file(rig, "notes.txt", "hello", 5);
    make_file(rig, "123.seg", "hello", 5);
    make_file(rig, "spare-x", "hello", 5);
    make_file(rig, "spare-9.seg", "hello", 5);
    make_file(rig, "00000000000000000000.seg", "", 0);
    /* Begun by nobody: the power went when it had its name. */
    make_file(rig, "00000000000000900000.seg", zeros, sizeof zeros);
    make_file(rig, "00000000000000900001.seg", "", 0);
    goes_on(rig, 1);
    assert_true(exists(rig, "notes.txt"));
    assert_true(exists(rig, "123.seg"));
    assert_true(exists(rig, "spare-x"));
    assert_true(exists(rig, "00000000000000000000.seg"));
    assert_false(exists(rig, "spare-9.seg"));
    assert_false(exists(rig, "00000000000000900000.seg"));
    assert_false(exists(rig, "00000000000000900001.seg"));
    rig_end(rig);
}

static void
a_header_that_is_gone(void **state)
{
    struct rig *rig = make_log(*state);
    uint64_t last = last_segment(rig), seg[512];
    static const unsigned char zeros[LOG_BLOCK];
    int fd = open_segment(rig, last, O_RDWR);

    assert_int_equal(pwrite(fd, zeros, sizeof zeros, 0), sizeof zeros);
    close(fd);
    refuses(rig, -EBADMSG);
    assert_int_equal(last_segment(rig), last);
    /* Nor is one in the middle overlooked. */
    assert_true(rig_segments(rig, seg, 512) >= 2);
    rig_end(rig);
}

static void
newer_versions_are_refused(void **state)
{
    struct rig *rig = make_log(*state);
    char why[STORE_WHY] = "";
    uint32_t version = LOG_VERSION + 6;
    int dir = rig_dir(rig), fd = open_segment(rig, last_segment(rig), O_RDWR);
    uint64_t before[512], after[512];
    unsigned n = rig_segments(rig, before, 512);

    assert_int_equal(pwrite(fd, &version, 4, 8), 4);
    assert_int_equal(rig_recover(rig, why), -EPROTONOSUPPORT);
    assert_non_null(strstr(why, "version 7"));
    assert_non_null(strstr(why, "version 1"));
    version = LOG_VERSION;
    assert_int_equal(pwrite(fd, &version, 4, 8), 4);
    close(fd);
    fd = openat(dir, "topic", O_RDWR | O_CLOEXEC);
    version = LOG_VERSION + 1;
    assert_int_equal(pwrite(fd, &version, 4, 8), 4);
    refuses(rig, -EPROTONOSUPPORT);
    version = LOG_VERSION;
    assert_int_equal(pwrite(fd, &version, 4, 8), 4);
    assert_int_equal(pwrite(fd, &version, 4, 40), 4);
    refuses(rig, -EBADMSG);
    assert_int_equal(rig_segments(rig, after, 512), n);
    assert_memory_equal(before, after, n * sizeof *before);
    close(fd);
    close(dir);
    rig_end(rig);
}

static int
lock(int fd, short type)
{
    struct flock all = {.l_type = type, .l_whence = SEEK_SET};

    return fcntl(fd, F_OFD_SETLK, &all);
}

/* A write of the dead daemon that lands while the next one starts: the lock makes it wait. */
static void
waits_for_the_last_writes(void **state)
{
    struct rig *rig = make_log(*state);
    struct image *m = take_image(rig, last_segment(rig));
    uint64_t at = m->offset[m->n - 1], want = m->batch[m->n - 1].first + m->batch[m->n - 1].count;
    int ready[2], fd = open_segment(rig, m->first, O_RDWR);
    char byte = 0;
    pid_t pid;
    int status;

    assert_int_equal(ftruncate(fd, (off_t)at), 0);
    close(fd);
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        fd = open_segment(rig, m->first, O_RDWR);
        CHILD_CHECK(!lock(fd, F_WRLCK));
        CHILD_CHECK(write(ready[1], &byte, 1) == 1);
        (void)poll(NULL, 0, 100);
        CHILD_CHECK(pwrite(fd, m->bytes + at, SEGMENT - at, (off_t)at) == (ssize_t)(SEGMENT - at));
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    rig_reboot(rig);
    assert_int_equal(rig->next, want);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(ready[0]);
    close(ready[1]);
    m = drop_image(m);
    rig_end(rig);
}

/* Who does not want to wait is told at once that there are such writes. */
static void
writes_under_way_need_not_be_waited_for(void **state)
{
    struct rig *rig = make_log(*state);
    uint64_t last = last_segment(rig), next = rig->next;
    char why[STORE_WHY] = "";
    int fd = open_segment(rig, last, O_RDWR);

    assert_int_equal(lock(fd, F_WRLCK), 0);
    assert_int_equal(store_recover(&rig->env, RIG_TOPIC, 0, why, &rig->store), -EBUSY);
    assert_true(why[0]);
    rig->store = NULL;
    close(fd);
    rig_reboot(rig);
    assert_int_equal(rig->next, next);
    assert_int_equal(last_segment(rig), last);
    rig_end(rig);
}

/* What a subscriber can do with the descriptor that it was handed: all kinds of locks. */
static int
reader_of(const struct rig *rig, uint64_t first)
{
    int fd = open_segment(rig, first, O_RDONLY);

    assert_int_equal(lock(fd, F_WRLCK), -1);
    assert_int_equal(lock(fd, F_RDLCK), 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    return fd;
}

/* The next daemon starts at once, and what it writes is under a lock, which is to say in a file of its own. */
static void
goes_on_beside_a_reader(struct rig *rig, int reader, uint64_t next)
{
    uint64_t begun = loop_clock(), first;
    struct stat read, written;
    int fd;

    rig_reboot(rig);
    assert_true(loop_clock() - begun < STORE_PATIENCE_NS / 2);
    assert_int_equal(rig->next, next);
    publish_some(rig, 50);
    rig_wait_durable(rig, rig->next - 1);
    first = store__seg_last(rig->store)->first;
    assert_true(first >= next);
    fd = open_segment(rig, first, O_RDWR);
    assert_int_equal(fstat(fd, &written), 0);
    assert_int_equal(fstat(reader, &read), 0);
    assert_true(written.st_ino != read.st_ino);
    assert_int_equal(lock(fd, F_RDLCK), -1);
    close(fd);
    assert_int_equal(rig_read(rig, 1).next, rig->next);
    stop(rig);
    goes_on(rig, 1);
    stop(rig);
    goes_on(rig, 1);
    close(reader);
}

/* Readers lock the last segment as soon as the daemon is dead: whole; torn; without a batch. */
static void
a_readers_lock_holds_up_nobody(void **state)
{
    static const unsigned char zeros[SEGMENT];

    for (int how = 0; how < 3; how++) {
        struct rig *rig = make_log(*state);
        struct image *m = take_image(rig, last_segment(rig));
        uint64_t at = how == 1 ? m->offset[m->n - 1] + 64 : how == 2 ? LOG_BLOCK : SEGMENT;
        uint64_t next = how == 1 ? m->batch[m->n - 1].first : how == 2 ? m->first : rig->next;
        int fd = open_segment(rig, m->first, O_RDWR);

        assert_int_equal(pwrite(fd, zeros, SEGMENT - at, (off_t)at), (ssize_t)(SEGMENT - at));
        close(fd);
        goes_on_beside_a_reader(rig, reader_of(rig, m->first), next);
        drop_image(m);
        rig_end(rig);
    }
}

/* ... or with the beginning of a message, behind others or alone. */
static void
a_reader_locks_a_message_without_its_end(void **state)
{
    static const unsigned char zeros[1 << 20];
    struct rig_options o = *(const struct rig_options *)*state;

    o.lane = 8u << 20;
    for (unsigned before = 0; before < 2; before++) {
        struct rig *rig = rig_start(&o);
        unsigned char *buf = malloc(LOG_BATCH_MAX);
        struct log_segment_header h;
        struct log_source source;
        struct log_walk w;
        int fd;

        for (unsigned i = 0; i < before; i++) {
            rig_publish(rig, 10);
            rig_wait_durable(rig, 1);
        }
        rig_publish(rig, 3u << 20);
        rig_wait_durable(rig, rig->next - 1);
        stop(rig);
        fd = open_segment(rig, 1, O_RDWR);
        source = log_fd_source(&fd);
        assert_int_equal(log_segment_check(&source, &h), 0);
        log_walk_begin(&w, &source, &h, buf);
        for (unsigned i = 0; i < before + 2; i++)
            assert_int_equal(log_walk_next(&w), 1);
        assert_true(w.chain.partial > 0);
        for (uint64_t at = w.offset; at < h.size; at += sizeof zeros)
            assert_true(pwrite(fd, zeros, shm_min(sizeof zeros, h.size - at), (off_t)at) > 0);
        close(fd);
        free(buf);
        goes_on_beside_a_reader(rig, reader_of(rig, 1), before + 1);
        rig_end(rig);
    }
}

/* --- after a disk that failed ------------------------------------------------------------ */

/* Durable writes that fail, although all of the bytes reach the file. */
static int
land_and_fail(struct fake *disk, const struct io_req *req)
{
    if (req->verb != IO_WRITE || !(req->flags & IO_DURABLE) || disk->budget-- <= 0)
        return 0;
    assert_int_equal(fake_do(req), req->len);
    return -EIO;
}

/* Segments that were given up are followed by others that begin before they end: the chain decides. */
static void
given_up_segments_are_passed(void **state)
{
    struct rig *rig = rig_start(*state);

    for (unsigned round = 0; round < 10; round++) {
        publish_some(rig, 40);
        rig_wait_durable(rig, rig->next - 1);
        rig_fake(rig)->judge = land_and_fail;
        rig_fake(rig)->budget = 1 + round % 2;
        publish_some(rig, 40);
        rig_wait_durable(rig, rig->next - 1);
    }
    assert_true(rig->store->seg_cnt > 10);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t next = rig->next;
        stop(rig);
        rig_reboot(rig);
        assert_int_equal(rig->next, next);
    }
    assert_int_equal(rig_read(rig, 1).next, rig->next);
    rig_end(rig);
}

/* The power goes before the new file has anything: the one that was given up is the last again, with
 * whatever did reach it. */
static void
a_given_up_segment_is_the_last_again(void **state)
{
    struct rig *rig = rig_start(*state);
    uint64_t durable, last;
    int fd;

    publish_some(rig, 40);
    rig_wait_durable(rig, 40);
    durable = rig_durable(rig);
    rig_fake(rig)->judge = land_and_fail;
    rig_fake(rig)->budget = 1;
    publish_some(rig, 40);
    rig_wait_durable(rig, 80);
    stop(rig);
    last = last_segment(rig);
    assert_int_equal(last, durable + 1);
    fd = open_segment(rig, last, O_RDWR);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(ftruncate(fd, SEGMENT), 0);
    close(fd);
    rig_reboot(rig);
    assert_true(rig->next > durable + 1);
    assert_int_equal(last_segment(rig), 1);
    assert_int_equal(rig_read(rig, 1).next, rig->next);
    stop(rig);
    goes_on(rig, 1);
    rig_end(rig);
}

/* --- killed ------------------------------------------------------------------------------ */

#if defined(LEAT_TESTPOINTS)
static struct {
    char name[64];
    unsigned long left;
} kill_at;

static void
maybe_die(const char *name)
{
    if (!strcmp(name, kill_at.name) && !--kill_at.left)
        (void)kill(getpid(), SIGKILL);
}
#endif

/* The daemon's life in a child: recovers or creates, and writes what it publishes itself, until it is
 * killed. Exit code 0: it was not, and has written `until` messages more. */
static void
child_life(struct rig *rig, bool fresh, uint64_t until)
{
    const struct store_events events = {.user = rig};
    char why[STORE_WHY] = "";
    uint64_t deadline = loop_clock() + RIG_PATIENCE_NS;

    CHILD_CHECK(!rig_power(rig));
#if defined(LEAT_TESTPOINTS)
    shm_testpoint_hook = kill_at.name[0] ? maybe_die : NULL;
#endif
    if (fresh)
        CHILD_CHECK(!store_create(&rig->env, &rig->topic, &rig->store));
    else
        CHILD_CHECK(!rig_recover(rig, why));
    CHILD_CHECK(!store_attach(rig->store, &rig->view, &events, why));
    CHILD_CHECK(!ring_publisher_join(&rig->pub, &rig->view, 0, rig->pieces, false));
    rig->next = rig_tail(rig);
    until += rig->next;
    while (rig->next < until || rig_durable(rig) + 1 < rig->next) {
        CHILD_CHECK(loop_clock() < deadline);
        for (unsigned i = 0; i < 40 && rig->next < until; i++)
            if (rig_try(rig, some_length(rig)))
                break;
        (void)shm_event_arm(&ring_control(&rig->view)->space);
        store_look(rig->store);
        CHILD_CHECK(!store_floor_set(rig->store, "alpha", rig_durable(rig)));
        io_flush(rig->f.io);
        (void)loop_turn(rig->loop, loop_clock() + 1000000);
    }
    _exit(0);
}

static pid_t
start_child(struct rig *rig, bool fresh, uint64_t until)
{
    pid_t pid;

    (void)fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        rig_living = NULL;
        child_life(rig, fresh, until);
    }
    return pid;
}

/* Everything that was durable is there, the bytes are right, floors are not ahead. With the ring that
 * is still there, or with a new one. */
static void
check_survivor(struct rig *rig, bool reboot)
{
    uint64_t durable = rig_durable(rig), tail = rig_tail(rig), floor, aborted, scratch[8];
    char why[STORE_WHY] = "";
    int r;

    assert_int_equal(rig_power(rig), 0);
    r = rig_recover(rig, why);
    if (r)
        print_message("store_recover: %s\n", why);
    assert_int_equal(r, 0);
    assert_true(store_next(rig->store) > durable);
    assert_true(store_next(rig->store) <= tail);
    if (!store_floor_get(rig->store, "alpha", &floor))
        assert_true(floor <= durable);
    if (reboot) {
        rig_ring(rig, store_next(rig->store));
    } else {
        ring_entry_kill(&rig->view, 0);
        assert_int_equal(ring_settle(&rig->view, scratch, &aborted), 0);
        assert_in_range(aborted, 0, 1); /* the death may have come inside a claim */
        rig->aborted[tail - 1] = aborted;
        ring_entry_free(&rig->view, 0);
    }
    assert_int_equal(rig_attach(rig), 0);
    rig_publisher(rig);
    rig->next = rig_tail(rig);
    publish_some(rig, 20);
    rig_wait_durable(rig, rig->next - 1);
    assert_int_equal(rig_read(rig, store_first(rig->store)).next, rig->next);
    rig_unplug(rig);
}

/* A topic that a child is going to make: the ring is shared with it. */
static struct rig *
rig_for_child(const struct rig_options *o)
{
    struct rig *rig = rig_new(o);

    rig_unplug(rig);
    rig_ring(rig, 1);
    return rig;
}

static bool
wait_for_death(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        return true;
    }
    assert_int_equal(WEXITSTATUS(status), 0);
    return false;
}

static void
killed_at_any_time(void **state)
{
    struct rig_options o = *(const struct rig_options *)*state;
    struct rig *rig;
    bool fresh = true;

    o.retention = 16u << 20;
    rig = rig_for_child(&o);
    for (unsigned i = 0; i < 12; i++) {
        uint64_t goal = rig_durable(rig) + mix(rig->seed + i) % 3000;
        uint64_t deadline = loop_clock() + RIG_PATIENCE_NS;
        pid_t pid = start_child(rig, fresh, 100000);
        while (rig_durable(rig) < goal && loop_clock() < deadline)
            shm_pause();
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_true(wait_for_death(pid));
        if (fresh && !rig_durable(rig) && faccessat(rig->f.dir, RIG_TOPIC, F_OK, 0))
            continue;
        fresh = false;
        check_survivor(rig, i % 2);
    }
    rig_end(rig);
}

#if defined(LEAT_TESTPOINTS)

static bool
is_ours(const char *name)
{
    static const char *const areas[] = {"flush.", "spare.",   "retire.", "store.",
                                        "floor.", "recover.", "index.",  "state."};

    for (unsigned i = 0; i < sizeof areas / sizeof *areas; i++)
        if (!strncmp(name, areas[i], strlen(areas[i])))
            return true;
    return false;
}

/* Two daemons, one after the other, each killed at that passage if it comes there; after each one the
 * next goes on. Returns how many were killed. */
static unsigned
two_lives(const struct rig_options *o, const char *name, unsigned long passage)
{
    struct rig *rig = rig_for_child(o);
    unsigned kills = 0;

    for (unsigned lives = 0; lives < 2; lives++) {
        bool fresh = faccessat(rig->f.dir, RIG_TOPIC, F_OK, 0) != 0;
        (void)snprintf(kill_at.name, sizeof kill_at.name, "%s", name);
        kill_at.left = passage;
        kills += wait_for_death(start_child(rig, fresh, lives ? 500 : 8000));
        kill_at.name[0] = '\0';
        if (!faccessat(rig->f.dir, RIG_TOPIC, F_OK, 0))
            check_survivor(rig, (passage + lives) % 2);
    }
    rig_end(rig);
    return kills;
}

static void
killed_at_each_step(void **state)
{
    static const unsigned long passages[] = {1, 6, 2, 9, 30};
    const unsigned times = getenv("LEAT_FULL") ? 5 : 2;
    struct rig_options o = *(const struct rig_options *)*state;
    const char *const *names = shm_testpoint_names();
    unsigned kills = 0, points = 0;

    o.retention = 16u << 20;
    for (unsigned i = 0; names[i]; i++) {
        points += is_ours(names[i]);
        for (unsigned k = 0; is_ours(names[i]) && k < times; k++)
            kills += two_lives(&o, names[i], passages[k]);
    }
    print_message("%u points, %u kills\n", points, kills);
    assert_true(kills > points);
}

#else

static void
killed_at_each_step(void **state)
{
    (void)state;
    io_skip("this build has no test points");
}

#endif

#define WITH(test, o)                                                                              \
    {                                                                                              \
#test " " #o, test, NULL, rig_teardown, (void *)(uintptr_t) & (o)                          \
    }
#define BOTH(test) WITH(test, uring), WITH(test, block)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(nothing_is_not_a_topic),
        BOTH(goes_on_after_each_stop),
        BOTH(adopts_the_living_ring),
        BOTH(floors_survive),
        BOTH(a_floor_is_taken_back_at_once),
        BOTH(a_floor_in_the_ring_stays),
        WITH(a_name_is_there_once, fake),
        WITH(floors_have_two_copies, fake),
        WITH(a_copy_of_a_floor_cannot_be_read, fake),
        WITH(a_name_is_not_forgotten_unread, fake),
        WITH(a_removal_cannot_be_read, fake),
        WITH(a_missing_cursors_file_is_made_anew, fake),
        WITH(a_file_cut_short_is_a_torn_tail, fake),
        WITH(a_file_cut_short_is_a_torn_tail, block),
        WITH(changed_bytes_are_torn_or_damage, uring),
        WITH(changed_bytes_are_torn_or_damage, block),
        WITH(the_page_cache_is_not_believed, fake),
        WITH(a_floor_in_the_page_cache_is_not_believed, fake),
        BOTH(a_message_without_its_end_begins_anew),
        WITH(pieces_make_way, fake),
        WITH(pieces_come_back, fake),
        WITH(a_missing_segment_is_damage, fake),
        WITH(index_files_are_not_needed, fake),
        WITH(index_of_the_open_segment_goes, fake),
        WITH(a_spare_that_was_a_segment_goes, fake),
        WITH(a_spare_that_may_be_believed_goes, fake),
        WITH(foreign_files_are_left_alone, fake),
        WITH(a_header_that_is_gone, fake),
        WITH(newer_versions_are_refused, fake),
        BOTH(waits_for_the_last_writes),
        WITH(writes_under_way_need_not_be_waited_for, fake),
        WITH(a_readers_lock_holds_up_nobody, fake),
        WITH(a_readers_lock_holds_up_nobody, uring),
        BOTH(a_reader_locks_a_message_without_its_end),
        WITH(given_up_segments_are_passed, fake),
        WITH(a_given_up_segment_is_the_last_again, fake),
        BOTH(killed_at_any_time),
        BOTH(killed_at_each_step),
    };
    int failed;

    report_to(-1);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return failed ? failed : skips ? 77 : 0;
}
