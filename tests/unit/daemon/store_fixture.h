/* store_fixture.h - a topic for the tests of store, flush and recover: a ring in memory, a loop, a
 * directory, a publisher whose messages can be told from their number, and a reader of the log that
 * knows nothing but log/. */
#ifndef TESTS_UNIT_DAEMON_STORE_FIXTURE_H
#define TESTS_UNIT_DAEMON_STORE_FIXTURE_H

#include "tests/unit/daemon/io_fixture.h"

#include <inttypes.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>

#include "daemon/io_impl.h"
#include "daemon/report.h"
#include "daemon/store_impl.h"
#include "log/scan.h"
#include "tests/support/fixture.h"

#define RIG_PATIENCE_NS 120000000000ull
#define RIG_TOPIC "rig"

struct rig_options {
    const char *want; /* of io_open; "fake": the one below */
    struct io *(*make_io)(int store_dirfd, const char *topic); /* instead, unless NULL */
    const char *parent;
    uint64_t depth, lane, segment, retention;
};

struct rig {
    struct rig_options o;
    struct io_fixture f;
    struct loop *loop;
    struct loop_source source;
    struct store_env env;
    struct log_topic topic;
    struct store *store;
    unsigned char *data, *control;
    struct ring_view view;
    struct ring_publisher pub;
    struct ring_piece *pieces;
    uint64_t next; /* number of the next message, the test's own count */
    bool *aborted; /* by number, where the test made it so */
    uint64_t seed;
    unsigned saved, drained, damaged;
};

static struct rig *rig_living;

/* --- storage that fails on demand -------------------------------------------------------- */

/* Everything happens at once, when it is begun, unless `judge` says that it fails (negative), or
 * that it is held back (1) until fake_release. */
struct fake {
    struct io io;
    int (*judge)(struct fake *fake, const struct io_req *req);
    int allocate_error;
    unsigned writes, syncs, removes, renames;
    int budget; /* for judges */
    int error;
    int dir;
    struct io_list held;
};

static inline int64_t
fake_do(const struct io_req *req)
{
    ssize_t n;

    switch (req->verb) {
    case IO_WRITE:
        n = pwrite(req->fd, io__rest(req), req->len - req->moved, (off_t)(req->off + req->moved));
        return n < 0 ? -errno : n;
    case IO_SYNC:
        return 0;
    case IO_REMOVE:
        return unlinkat(req->fd, req->name, req->flags & IO_DIRECTORY ? AT_REMOVEDIR : 0) ? -errno
                                                                                          : 0;
    }
    return -EINVAL;
}

static inline void
fake_begin(struct io *io)
{
    struct fake *fake = (struct fake *)io;
    struct io_req *req;

    while ((req = io__take(io))) {
        int verdict = fake->judge ? fake->judge(fake, req) : 0;
        fake->writes += req->verb == IO_WRITE;
        fake->syncs += req->verb == IO_SYNC;
        fake->removes += req->verb == IO_REMOVE;
        if (verdict > 0)
            io__append(&fake->held, req);
        else
            io__result(io, req, verdict ? verdict : fake_do(req));
    }
    if (io->finished.head)
        io__poke(io);
}

/* Lets the oldest that is held back happen. */
static inline void
fake_release(struct fake *fake)
{
    struct io_req *req = io__pop(&fake->held);

    io__result(&fake->io, req, fake_do(req));
    io__poke(&fake->io);
}

static inline void
fake_collect(struct io *io)
{
    io__hush(io);
}

static inline void
fake_stop(struct io *io)
{
    io__fini(io);
    free(io);
}

static inline int
fake_allocate(struct io *io, int fd, uint64_t size)
{
    struct fake *fake = (struct fake *)io;

    return fake->allocate_error ? fake->allocate_error : io__file_allocate(io, fd, size);
}

static inline struct io *
fake_open(void)
{
    static const struct io_ops ops = {
        .name = "fake",
        .file_open = io__file_open,
        .file_close = io__file_close,
        .make_directory = io__file_make_directory,
        .allocate = fake_allocate,
        .rename = io__file_rename,
        .begin = fake_begin,
        .collect = fake_collect,
        .stop = fake_stop,
    };
    const struct io_options options = {.depth = IO_DEPTH_DEFAULT, .bufs = IO_BUFS_DEFAULT};
    struct fake *fake = calloc(1, sizeof *fake);

    assert_non_null(fake);
    assert_int_equal(io__init(&fake->io, &ops, &options), 0);
    return &fake->io;
}

static inline struct fake *
rig_fake(struct rig *rig)
{
    return (struct fake *)rig->f.io;
}

/* --- messages ---------------------------------------------------------------------------- */

static inline uint64_t
mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

/* The bytes of message seq. */
static inline void
rig_content(const struct rig *rig, uint64_t seq, unsigned char *buf, size_t len)
{
    uint64_t x = mix(rig->seed ^ seq);

    for (size_t i = 0; i < len; i += 8, x = x * 6364136223846793005ull + 1442695040888963407ull)
        memcpy(buf + i, &x, len - i < 8 ? len - i : 8);
}

static inline uint64_t
rig_tail(const struct rig *rig)
{
    return atom_load_relaxed(ring_tail(&rig->view));
}

static inline uint64_t
rig_durable(const struct rig *rig)
{
    return atom_load_relaxed(&ring_daemon(&rig->view)->durable);
}

static inline uint64_t
rig_state(const struct rig *rig)
{
    return atom_load_relaxed(&ring_daemon(&rig->view)->state);
}

/* Publishes one message, if there is room; rings as a client would. */
static inline int
rig_try(struct rig *rig, uint32_t len)
{
    struct ring_span span;
    struct ring_out out = {.len = len, .key = rig->next * 3, .type = (uint16_t)len};
    unsigned char small[256];
    uint64_t seq;
    int r = 0;

    rig_content(rig, rig->next, small, len <= sizeof small ? len : 0);
    out.data = small;
    if (len > ring_inline_max(&rig->view)) {
        r = ring_reserve(&rig->pub, len, &span);
        if (r)
            return r;
        rig_content(rig, rig->next, span.data, len);
        out.span = &span;
    }
    r = ring_publish(&rig->pub, &out, 1, 1000 + rig->next, &seq);
    if (r && out.span)
        ring_abandon(&rig->pub, &span);
    if (r)
        return r;
    rig->next++;
    if (ring_publish_due(&rig->pub, seq) & RING_DUE_BELL)
        store_look(rig->store);
    return seq + 1 == rig->next ? 0 : -EBADMSG;
}

static inline void
rig_turn(struct rig *rig)
{
    (void)loop_turn(rig->loop, loop_clock() + 100000000);
}

/* Publishes; waits for room as a client would. */
static inline void
rig_publish(struct rig *rig, uint32_t len)
{
    uint64_t until = loop_clock() + RIG_PATIENCE_NS;
    int r;

    while ((r = rig_try(rig, len)) == -EAGAIN) {
        (void)shm_event_arm(&ring_control(&rig->view)->space);
        store_look(rig->store);
        io_flush(rig->f.io);
        rig_turn(rig);
        assert_true(loop_clock() < until);
    }
    assert_int_equal(r, 0);
}

/* A place that was claimed by one who died. */
static inline void
rig_abort(struct rig *rig, uint32_t n)
{
    uint64_t aborted, scratch[8];

    for (uint32_t i = 0; i < n; i++)
        rig->aborted[rig->next + i] = true;
    atom_store_relaxed(ring_tail(&rig->view), rig->next + n);
    assert_int_equal(ring_settle(&rig->view, scratch, &aborted), 0);
    assert_int_equal(aborted, n);
    rig->next += n;
    store_look(rig->store);
}

static inline void
rig_wait(struct rig *rig, bool (*ready)(struct rig *rig, uint64_t arg), uint64_t arg)
{
    uint64_t until = loop_clock() + RIG_PATIENCE_NS;

    io_flush(rig->f.io);
    while (!ready(rig, arg)) {
        rig_turn(rig);
        assert_true(loop_clock() < until);
    }
}

static inline bool
is_durable(struct rig *rig, uint64_t seq)
{
    return rig_durable(rig) >= seq;
}

/* As leat_pub_wait_durable does it. */
static inline void
rig_wait_durable(struct rig *rig, uint64_t seq)
{
    if (rig_durable(rig) >= seq)
        return;
    (void)shm_event_arm(&ring_control(&rig->view)->durable_wait);
    store_look(rig->store);
    rig_wait(rig, is_durable, seq);
}

static inline bool
is_idle(struct rig *rig, uint64_t arg)
{
    (void)arg;
    return store_is_idle(rig->store);
}

/* --- life -------------------------------------------------------------------------------- */

static inline void
rig_ready(struct loop_source *source, uint32_t events)
{
    struct rig *rig = source->user;

    (void)events;
    (void)io_reap(rig->f.io);
}

static inline void
rig_hook(void *user)
{
    struct rig *rig = user;

    io_flush(rig->f.io);
}

static inline void
rig_saved(void *user)
{
    ((struct rig *)user)->saved++;
}

static inline void
rig_drained(void *user)
{
    ((struct rig *)user)->drained++;
}

static inline void
rig_damaged(void *user, const char *reason)
{
    (void)reason;
    ((struct rig *)user)->damaged++;
}

/* A loop and storage in the directory that is there. */
static inline int
rig_power(struct rig *rig)
{
    const struct io_options options = {.want = rig->o.want};

    if (rig->o.make_io)
        rig->f.io = rig->o.make_io(rig->f.dir, RIG_TOPIC);
    else if (!strcmp(rig->o.want, "fake"))
        rig->f.io = fake_open();
    else if (io_open(&options, &rig->f.io))
        return -1;
    if (loop_open(&rig->loop))
        return -1;
    rig->source =
        (struct loop_source){.fd = io_event_fd(rig->f.io), .ready = rig_ready, .user = rig};
    if (loop_add(rig->loop, &rig->source, EPOLLIN))
        return -1;
    loop_hook(rig->loop, rig_hook, rig);
    rig->env = (struct store_env){.loop = rig->loop,
                                  .io = rig->f.io,
                                  .store_dirfd = rig->f.dir,
                                  .segment_bytes = rig->o.segment};
    return 0;
}

static inline void
rig_describe(struct rig *rig)
{
    rig->topic = (struct log_topic){.magic = LOG_TOPIC_MAGIC,
                                    .version = LOG_VERSION,
                                    .topic_id = 0x7091c,
                                    .depth = rig->o.depth,
                                    .lane_size = rig->o.lane,
                                    .slot_size = 64,
                                    .max_publishers = 4,
                                    .max_cursors = 8,
                                    .retention_bytes = rig->o.retention,
                                    .name = RIG_TOPIC};
}

/* Shared with children, as a ring is. */
static inline unsigned char *
rig_memory(uint64_t size)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(at != MAP_FAILED);
    return at;
}

static inline void
rig_drop_ring(struct rig *rig)
{
    if (rig->data)
        (void)munmap(rig->data, rig->view.geo.data_size);
    if (rig->control)
        (void)munmap(rig->control, rig->view.geo.control_size);
    free(rig->pieces);
    rig->data = rig->control = NULL;
    rig->pieces = NULL;
}

/* A fresh ring that begins at `origin`. */
static inline void
rig_ring(struct rig *rig, uint64_t origin)
{
    struct ring_geometry geo = {.depth = rig->o.depth,
                                .lane_size = rig->o.lane,
                                .slot_size = 64,
                                .max_publishers = 4,
                                .max_cursors = 8,
                                .durability = RING_DISK,
                                .origin = origin};
    const struct ring_identity who = {.name = RIG_TOPIC, .topic_id = rig->topic.topic_id};
    const struct ring_owner owner = {.pid = (uint32_t)getpid()};
    struct ring_maps maps;
    const char *what;
    uint32_t version;

    assert_int_equal(ring_plan(&geo, &what), 0);
    rig_drop_ring(rig);
    rig->data = rig_memory(geo.data_size);
    rig->control = rig_memory(geo.control_size);
    ring_format(rig->data, rig->control, &geo, &who);
    maps = (struct ring_maps){rig->data, rig->control, geo.data_size, geo.control_size};
    assert_int_equal(ring_join(&rig->view, &maps, &version), 0);
    ring_entry_take(&rig->view, 0, &owner);
    atom_store_relaxed(&ring_entry(&rig->view, 0)->lane, 1);
    rig->pieces = calloc(ring_publisher_room(&rig->view), sizeof *rig->pieces);
    assert_non_null(rig->pieces);
    rig->next = origin;
}

static inline void
rig_publisher(struct rig *rig)
{
    assert_int_equal(ring_publisher_join(&rig->pub, &rig->view, 0, rig->pieces, false), 0);
}

static inline int
rig_attach(struct rig *rig)
{
    const struct store_events events = {.saved = rig_saved, .damaged = rig_damaged, .user = rig};
    char why[STORE_WHY] = "";
    int r = store_attach(rig->store, &rig->view, &events, why);

    if (r)
        print_message("store_attach: %s\n", why);
    return r;
}

static inline int
rig_recover(struct rig *rig, char why[STORE_WHY])
{
    return store_recover(&rig->env, RIG_TOPIC, STORE_PATIENCE_NS, why, &rig->store);
}

/* The machine was off: recovers the log and begins a new ring behind it. */
static inline void
rig_reboot(struct rig *rig)
{
    char why[STORE_WHY] = "";
    int r = rig_recover(rig, why);

    if (r)
        print_message("store_recover: %s\n", why);
    assert_int_equal(r, 0);
    rig_ring(rig, store_next(rig->store));
    assert_int_equal(rig_attach(rig), 0);
    rig_publisher(rig);
}

static inline struct rig *
rig_new(const struct rig_options *options)
{
    struct rig *rig = calloc(1, sizeof *rig);

    assert_non_null(rig);
    rig_living = rig;
    rig->o = *options;
    rig->seed = fixture_seed();
    rig->aborted = calloc(1 << 20, 1);
    assert_non_null(rig->aborted);
    assert_int_equal(io_make_dir(&rig->f, rig->o.parent), 0);
    rig_describe(rig);
    if (rig_power(rig))
        io_skip("io_uring is not available here");
    return rig;
}

static inline struct rig *
rig_start(const struct rig_options *options)
{
    struct rig *rig = rig_new(options);

    assert_int_equal(store_create(&rig->env, &rig->topic, &rig->store), 0);
    rig_ring(rig, 1);
    assert_int_equal(rig_attach(rig), 0);
    rig_publisher(rig);
    return rig;
}

static inline void
rig_unplug(struct rig *rig)
{
    rig->store = store_close(rig->store);
    loop_remove(rig->loop, &rig->source);
    rig->f.io = io_close(rig->f.io);
    rig->loop = loop_close(rig->loop);
}

static inline void
rig_wipe(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    while (d && (e = readdir(d)))
        (void)unlinkat(fd, e->d_name, 0);
    if (d)
        closedir(d);
    (void)unlinkat(parent, name, AT_REMOVEDIR);
}

static inline void
rig_end(struct rig *rig)
{
    DIR *d;
    struct dirent *e;

    if (rig->f.io)
        rig_unplug(rig);
    d = fdopendir(openat(rig->f.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    while (d && (e = readdir(d)))
        if (e->d_name[0] != '.')
            rig_wipe(rig->f.dir, e->d_name);
    if (d)
        closedir(d);
    io_drop_dir(&rig->f);
    rig_drop_ring(rig);
    free(rig->aborted);
    free(rig);
    rig_living = NULL;
}

/* After a test that failed in the middle. */
static inline int
rig_teardown(void **state)
{
    (void)state;
    if (rig_living)
        rig_end(rig_living);
    return 0;
}

static inline int
rig_dir(const struct rig *rig)
{
    int fd = openat(rig->f.dir, RIG_TOPIC, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

/* --- reading back ------------------------------------------------------------------------ */

struct logbook {
    const struct rig *rig;
    uint64_t next; /* number expected */
    uint64_t messages, batches, segments, pieces, recycled;
    unsigned char *whole; /* a message that is being put together */
    uint32_t have, total;
};

/* Message numbers are dense but for the aborted ones, and the bytes are those that were published. */
static inline void
logbook_message(struct logbook *b, const struct log_record *r)
{
    unsigned char *want = malloc(r->total + 8u);

    assert_non_null(want);
    while (b->rig->aborted[b->next])
        b->next++;
    assert_int_equal(r->seq, b->next);
    assert_int_equal(r->key, r->seq * 3);
    assert_int_equal(r->type, (uint16_t)r->total);
    assert_int_equal(r->time_ns, 1000 + r->seq);
    rig_content(b->rig, r->seq, want, r->total);
    assert_memory_equal(want, b->whole, r->total);
    free(want);
    b->next++;
    b->messages++;
}

static inline void
logbook_record(struct logbook *b, const struct log_record *r, const unsigned char *payload)
{
    if (!r->offset) {
        b->have = 0;
        b->total = r->total;
        assert_true(r->total <= b->rig->o.lane);
    }
    assert_int_equal(r->offset, b->have);
    assert_int_equal(r->total, b->total);
    memcpy(b->whole + b->have, payload, r->len);
    b->have += r->len;
    b->pieces += r->len < r->total;
    if (b->have == b->total)
        logbook_message(b, r);
}

static inline void
logbook_segment(struct logbook *b, int dir, uint64_t first, uint64_t next)
{
    unsigned char *buf = malloc(LOG_BATCH_MAX);
    struct log_cursor_in_batch c;
    struct log_segment_header h;
    const unsigned char *payload;
    struct log_source source;
    struct log_record record;
    char name[LOG_NAME_ROOM];
    struct log_walk w;
    int fd;

    log_segment_name(first, name);
    fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    source = log_fd_source(&fd);
    assert_int_equal(log_segment_check(&source, &h), 0);
    assert_int_equal(h.first, first);
    b->recycled += h.compatible & LOG_SEGMENT_RECYCLED;
    b->segments++;
    log_walk_begin(&w, &source, &h, buf);
    while (w.chain.next < next && log_walk_next(&w) == 1) {
        b->batches++;
        log_records_begin(&c, buf);
        while (log_records_next(&c, &record, &payload))
            logbook_record(b, &record, payload);
    }
    if (next != UINT64_MAX)
        assert_int_equal(w.chain.next, next);
    free(buf);
    close(fd);
}

static inline int
by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static inline unsigned
rig_segments(const struct rig *rig, uint64_t *ret, unsigned room)
{
    int dir = rig_dir(rig);
    DIR *d = fdopendir(dir);
    struct dirent *e;
    unsigned n = 0;

    assert_non_null(d);
    while ((e = readdir(d)))
        if (strlen(e->d_name) == 24 && !log_segment_parse(e->d_name, &ret[n]))
            assert_true(++n < room);
    closedir(d);
    qsort(ret, n, sizeof *ret, by_number);
    return n;
}

/* Reads all there is and checks it, from message `first` on; returns what it met. next is behind the
 * last one. */
static inline struct logbook
rig_read(const struct rig *rig, uint64_t first)
{
    struct logbook b = {.rig = rig, .next = first};
    uint64_t seg[512];
    unsigned n = rig_segments(rig, seg, 512), i = 0;
    int dir = rig_dir(rig);

    b.whole = malloc(rig->o.lane);
    if (!b.whole)
        return b;
    while (i + 1 < n && seg[i + 1] <= first)
        i++;
    for (; i < n; i++)
        logbook_segment(&b, dir, seg[i], i + 1 < n ? seg[i + 1] : UINT64_MAX);
    free(b.whole);
    b.whole = NULL;
    while (rig->aborted[b.next])
        b.next++;
    close(dir);
    return b;
}

/* The first number that is in the log's files. */
static inline uint64_t
rig_first(const struct rig *rig)
{
    uint64_t seg[512];

    return rig_segments(rig, seg, 512) ? seg[0] : 0;
}

#endif
