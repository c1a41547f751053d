/* Both implementations, on a disk and in memory, through one set of tests. */
#include "tests/unit/daemon/io_fixture.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "daemon/io_impl.h"

#define BLOCK ((size_t)4096)

struct variant {
    const char *want;
    const char *parent;
    bool disk; /* has a page cache to be written back from */
    struct io_fixture f;
};

static struct variant variants[] = {
    {.want = "io_uring", .parent = "/var/tmp", .disk = true},
    {.want = "io_uring", .parent = "/dev/shm"},
    {.want = "block", .parent = "/var/tmp", .disk = true},
    {.want = "block", .parent = "/dev/shm"},
};

static struct io *
open_with(const char *want, uint32_t depth, uint32_t bufs)
{
    const struct io_options options = {.want = want, .depth = depth, .bufs = bufs};
    struct io *io;

    return io_open(&options, &io) ? NULL : io;
}

static struct io_file
open_file(struct variant *v, const char *name, uint32_t flags)
{
    struct io_file file;

    assert_int_equal(io_file_open(v->f.io, v->f.dir, name, flags | IO_OPEN_CREATE, &file), 0);
    return file;
}

static int
setup(void **state)
{
    struct variant *v = *state;

    if (io_make_dir(&v->f, v->parent))
        return -1;
    v->f.io = open_with(v->want, 4, 3);
    return 0;
}

static int
teardown(void **state)
{
    struct variant *v = *state;

    v->f.io = io_close(v->f.io);
    io_drop_dir(&v->f);
    return 0;
}

static struct variant *
ready(void **state)
{
    struct variant *v = *state;

    if (!v->f.io && !strcmp(v->want, "io_uring"))
        io_skip("io_uring is not available here");
    assert_non_null(v->f.io);
    return v;
}

static void
says_which_and_why(void **state)
{
    struct variant *v = ready(state);

    assert_string_equal(io_name(v->f.io), v->want);
    assert_non_null(strstr(io_why(v->f.io), "asked for"));
    assert_int_equal(strncmp(io_why(v->f.io), v->want, strlen(v->want)), 0);
}

static void
write_lands_at_its_place(void **state)
{
    static const uint32_t lens[] = {BLOCK, 64 * 1024, IO_BUF_SIZE};
    struct variant *v = ready(state);
    struct io_file file = open_file(v, "a", IO_OPEN_DIRECT);
    uint8_t *buf = io_buf_get(v->f.io);
    uint64_t off = BLOCK;
    struct io_req req;
    unsigned i;

    for (i = 0; i < 3; i++) {
        io_fill(buf, lens[i], i);
        req = io_write_req(file.fd, buf, lens[i], off);
        req.flags = i & 1 ? 0 : IO_DURABLE;
        io_run(v->f.io, &req);
        assert_int_equal(req.res, lens[i]);
        io_assert_content(v->f.dir, "a", buf, lens[i], off);
        off += lens[i];
    }
    io_buf_put(v->f.io, buf);
    io_file_close(v->f.io, file.fd);
}

/* A part of a staging buffer, memory that is not one, and memory that begins in one and leaves
 * it. */
static void
any_memory_can_be_written(void **state)
{
    struct variant *v = ready(state);
    struct io_file file = open_file(v, "a", 0);
    uint8_t *first = io_buf_get(v->f.io), *second = io_buf_get(v->f.io);
    uint8_t own[1000];
    struct io_req req;

    io_fill(first, IO_BUF_SIZE, 1);
    io_fill(second, IO_BUF_SIZE, 2);
    io_fill(own, sizeof(own), 3);
    req = io_write_req(file.fd, first + 777, 5000, 13);
    io_run(v->f.io, &req);
    assert_int_equal(req.res, 5000);
    io_assert_content(v->f.dir, "a", first + 777, 5000, 13);
    req = io_write_req(file.fd, own, sizeof(own), 99);
    io_run(v->f.io, &req);
    assert_int_equal(req.res, sizeof(own));
    io_assert_content(v->f.dir, "a", own, sizeof(own), 99);
    assert_ptr_equal(first + IO_BUF_SIZE, second);
    req = io_write_req(file.fd, second - 100, 200, 50000);
    io_run(v->f.io, &req);
    assert_int_equal(req.res, 200);
    io_assert_content(v->f.dir, "a", second - 100, 200, 50000);
    io_buf_put(v->f.io, first);
    io_buf_put(v->f.io, second);
    io_file_close(v->f.io, file.fd);
}

/* Far more requests than the depth (4), all submitted before the first flush. */
static void
many_in_flight(void **state)
{
    enum { N = 200 };
    struct variant *v = ready(state);
    struct io_file file = open_file(v, "a", 0);
    uint8_t *bytes = malloc(N * BLOCK);
    struct io_req req[N];
    unsigned i, reaped = 0, count = 0;

    assert_non_null(bytes);
    io_fill(bytes, N * BLOCK, 7);
    for (i = 0; i < N; i++) {
        req[i] = io_write_req(file.fd, bytes + i * BLOCK, BLOCK, i * BLOCK);
        req[i].flags = i % 8 ? 0 : IO_DURABLE;
        req[i].user = &count;
        io_submit(v->f.io, &req[i]);
        assert_int_equal(io_pending(v->f.io), i + 1);
    }
    assert_int_equal(io_reap(v->f.io), 0);
    while (reaped < N) {
        assert_int_equal(io_readable(v->f.io, IO_PATIENCE_MS), 1);
        /* None, when all that came were writes that now wait for their sync. */
        i = io_reap(v->f.io);
        assert_in_range(i, 0, N - reaped);
        reaped += i;
        assert_int_equal(io_pending(v->f.io), N - reaped);
        assert_in_range(v->f.io->begun, 0, 4);
    }
    assert_int_equal(count, N);
    for (i = 0; i < N; i++)
        assert_int_equal(req[i].res, BLOCK);
    io_assert_content(v->f.dir, "a", bytes, N * BLOCK, 0);
    io_file_close(v->f.io, file.fd);
    free(bytes);
}

struct chain {
    struct io *io;
    unsigned left;
};

static void
again(struct io_req *req)
{
    struct chain *chain = req->user;

    if (chain->left-- > 1) {
        req->off += BLOCK;
        io_submit(chain->io, req);
    }
}

static void
done_may_submit_again(void **state)
{
    struct variant *v = ready(state);
    struct io_file file = open_file(v, "a", 0);
    struct chain chain = {v->f.io, 20};
    uint8_t bytes[BLOCK];
    struct io_req req;

    io_fill(bytes, BLOCK, 5);
    req = io_write_req(file.fd, bytes, BLOCK, 0);
    req.done = again;
    req.user = &chain;
    io_submit(v->f.io, &req);
    io_drain(v->f.io);
    assert_int_equal(chain.left, 0);
    io_assert_content(v->f.dir, "a", bytes, BLOCK, 19 * BLOCK);
    /* Requests that fail at once are given back in a later reap, never in an endless one. */
    chain.left = 3;
    req.len = 0;
    io_submit(v->f.io, &req);
    io_flush(v->f.io);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(io_readable(v->f.io, 0), 1);
        assert_int_equal(io_reap(v->f.io), 1);
        assert_int_equal(req.res, -EINVAL);
    }
    assert_int_equal(io_readable(v->f.io, 0), 0);
    io_file_close(v->f.io, file.fd);
}

/* Something to do need not be the end of it: a request that the device had no place for is begun anew by io_reap. */
static void
reap_one(struct io *io)
{
    unsigned n;

    do {
        assert_int_equal(io_readable(io, IO_PATIENCE_MS), 1);
        n = io_reap(io);
    } while (!n);
    assert_int_equal(n, 1);
}

static void
event_fd_is_readable_exactly_when_something_is_done(void **state)
{
    struct variant *v = ready(state);
    struct io_file file = open_file(v, "a", IO_OPEN_DIRECT);
    uint8_t *buf = io_buf_get(v->f.io);
    unsigned round, count = 0;
    struct io_req req;

    memset(buf, 1, BLOCK);
    for (round = 0; round < 100; round++) {
        req = io_write_req(file.fd, buf, BLOCK, (round % 16) * BLOCK);
        req.user = &count;
        if (round % 10 == 9)
            req.verb = IO_SYNC;
        assert_int_equal(io_readable(v->f.io, 0), 0);
        io_submit(v->f.io, &req);
        assert_int_equal(io_readable(v->f.io, 0), 0);
        io_flush(v->f.io);
        reap_one(v->f.io);
        assert_int_equal(count, round + 1);
    }
    assert_int_equal(io_readable(v->f.io, 20), 0);
    assert_int_equal(io_reap(v->f.io), 0);
    io_buf_put(v->f.io, buf);
    io_file_close(v->f.io, file.fd);
}

static void
sync_and_remove(void **state)
{
    struct variant *v = ready(state);
    struct io_file file = open_file(v, "a", 0);
    struct io_req req = {.verb = IO_SYNC, .fd = file.fd};

    io_run(v->f.io, &req);
    assert_int_equal(req.res, 0);
    req.fd = v->f.dir;
    io_run(v->f.io, &req);
    assert_int_equal(req.res, 0);
    io_file_close(v->f.io, file.fd);

    req = (struct io_req){.verb = IO_REMOVE, .fd = v->f.dir, .name = "a"};
    io_run(v->f.io, &req);
    assert_int_equal(req.res, 0);
    assert_int_equal(faccessat(v->f.dir, "a", F_OK, 0), -1);
    io_run(v->f.io, &req);
    assert_int_equal(req.res, -ENOENT);

    assert_int_equal(io_make_directory(v->f.io, v->f.dir, "d"), 0);
    assert_int_equal(io_make_directory(v->f.io, v->f.dir, "d"), -EEXIST);
    req.name = "d";
    io_run(v->f.io, &req);
    assert_int_equal(req.res, -EISDIR);
    req.flags = IO_DIRECTORY;
    io_run(v->f.io, &req);
    assert_int_equal(req.res, 0);
    assert_int_equal(faccessat(v->f.dir, "d", F_OK, 0), -1);
}

static void
errors_come_back_in_res(void **state)
{
    struct variant *v = ready(state);
    uint8_t byte = 0;
    struct io_req req = io_write_req(-1, &byte, 1, 0);

    io_run(v->f.io, &req);
    assert_int_equal(req.res, -EBADF);
    req.flags = IO_DURABLE;
    io_run(v->f.io, &req);
    assert_int_equal(req.res, -EBADF);
    req.verb = IO_SYNC;
    io_run(v->f.io, &req);
    assert_int_equal(req.res, -EBADF);
    req = (struct io_req){.verb = IO_REMOVE, .fd = -1, .name = "a"};
    io_run(v->f.io, &req);
    assert_int_equal(req.res, -EBADF);
    req = io_write_req(v->f.dir, &byte, 1, 0);
    io_run(v->f.io, &req);
    assert_int_equal(req.res, -EBADF);
}

static void
nonsense_is_refused(void **state)
{
    struct variant *v = ready(state);
    uint8_t byte = 0;
    const struct io_req bad[] = {
        io_write_req(1, &byte, 0, 0),
        io_write_req(1, NULL, 1, 0),
        io_write_req(1, &byte, IO_WRITE_MAX + 1, 0),
        io_write_req(1, &byte, 1, INT64_MAX),
        io_write_req(1, &byte, 2, UINT64_MAX),
        {.verb = IO_REMOVE, .fd = v->f.dir},
        {.verb = IO_REMOVE, .fd = v->f.dir, .name = ""},
        {.fd = v->f.dir},
        {.verb = 77, .fd = v->f.dir},
    };
    struct io_req req;
    unsigned i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        req = bad[i];
        io_run(v->f.io, &req);
        assert_int_equal(req.res, -EINVAL);
    }
}

/* The file size limit cuts a write in the middle: a short write, and its continuation fails. */
static void
short_write_then_error(void **state)
{
    struct variant *v = ready(state);
    struct io_file file = open_file(v, "a", 0);
    uint8_t *buf = io_buf_get(v->f.io);
    struct rlimit before, limit;
    struct io_req req;
    struct stat st;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = (struct rlimit){6 * BLOCK, before.rlim_max};
    io_fill(buf, 8 * BLOCK, 1);
    req = io_write_req(file.fd, buf, 8 * BLOCK, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    io_run(v->f.io, &req);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(req.res, -EFBIG);
    assert_int_equal(fstat(file.fd, &st), 0);
    assert_int_equal(st.st_size, 6 * BLOCK);
    io_assert_content(v->f.dir, "a", buf, 6 * BLOCK, 0);
    io_buf_put(v->f.io, buf);
    io_file_close(v->f.io, file.fd);
}

static void
durable_means_written_back(void **state)
{
    struct variant *v = ready(state);
    struct io_file file = open_file(v, "a", 0);
    struct io_req req, many[4];
    uint8_t bytes[4 * BLOCK];
    unsigned i, count = 0;

    if (!v->disk || io_dirty_pages(file.fd) < 0) {
        io_file_close(v->f.io, file.fd);
        if (v->disk)
            io_skip("no cachestat in this kernel");
        return;
    }
    io_fill(bytes, sizeof(bytes), 1);
    req = io_write_req(file.fd, bytes, sizeof(bytes), 0);
    io_run(v->f.io, &req);
    assert_int_equal(io_dirty_pages(file.fd), 4);
    req = (struct io_req){.verb = IO_SYNC, .fd = file.fd};
    io_run(v->f.io, &req);
    assert_int_equal(io_dirty_pages(file.fd), 0);
    for (i = 0; i < 4; i++) {
        v->f.io->sync_after = i & 1;
        req = io_write_req(file.fd, bytes, sizeof(bytes), i * (2 * BLOCK));
        req.flags = IO_DURABLE;
        io_run(v->f.io, &req);
        assert_int_equal(req.res, sizeof(bytes));
        assert_int_equal(io_dirty_pages(file.fd), 0);
    }
    for (i = 0; i < 4; i++) {
        many[i] = io_write_req(file.fd, bytes, sizeof(bytes), i * (4 * BLOCK));
        many[i].flags = IO_DURABLE;
        many[i].user = &count;
        io_submit(v->f.io, &many[i]);
    }
    io_drain(v->f.io);
    assert_int_equal(count, 4);
    assert_int_equal(io_dirty_pages(file.fd), 0);
    io_file_close(v->f.io, file.fd);
}

static bool
takes_direct(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDWR | O_DIRECT | O_CLOEXEC);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void
direct_where_it_can_be(void **state)
{
    struct variant *v = ready(state);
    struct io_file file = open_file(v, "a", IO_OPEN_DIRECT);
    uint8_t *buf = io_buf_get(v->f.io);
    struct io_req req = io_write_req(file.fd, buf, BLOCK, 0);

    assert_int_equal(!!(fcntl(file.fd, F_GETFL) & O_DIRECT), file.direct);
    print_message("%s in %s: direct %d\n", v->want, v->parent, file.direct);
    if (v->disk)
        assert_int_equal(file.direct, takes_direct(v->f.dir, "a"));
    io_fill(buf, BLOCK, 1);
    req.flags = IO_DURABLE;
    io_run(v->f.io, &req);
    assert_int_equal(req.res, BLOCK);
    io_assert_content(v->f.dir, "a", buf, BLOCK, 0);
    if (file.direct && v->disk && io_dirty_pages(file.fd) >= 0) {
        req.flags = 0;
        io_run(v->f.io, &req);
        assert_int_equal(io_dirty_pages(file.fd), 0);
    }
    io_file_close(v->f.io, file.fd);
    file = open_file(v, "b", 0);
    assert_false(file.direct);
    io_file_close(v->f.io, file.fd);
    /* A file system that is known to refuse: the open succeeds without. */
    assert_int_equal(io_file_open(v->f.io, AT_FDCWD, "/proc/self/comm", IO_OPEN_DIRECT, &file), 0);
    assert_false(file.direct);
    assert_int_equal(write(file.fd, "test_io", 7), 7);
    /* And no device tells what becomes of its writes. */
    assert_true(v->f.io->sync_after);
    io_file_close(v->f.io, file.fd);
    io_buf_put(v->f.io, buf);
}

static void
open_flags_are_kept(void **state)
{
    struct variant *v = ready(state);
    struct io_file file = {-7, true};
    struct stat st;

    assert_int_equal(io_file_open(v->f.io, v->f.dir, "a", 0, &file), -ENOENT);
    assert_int_equal(file.fd, -7);
    file = open_file(v, "a", IO_OPEN_EXCLUSIVE);
    assert_int_equal(fstat(file.fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_true(fcntl(file.fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(write(file.fd, "x", 1), 1);
    io_file_close(v->f.io, file.fd);
    assert_int_equal(
        io_file_open(v->f.io, v->f.dir, "a", IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE, &file), -EEXIST);
    file = open_file(v, "a", 0);
    assert_int_equal(fstat(file.fd, &st), 0);
    assert_int_equal(st.st_size, 1);
    io_file_close(v->f.io, file.fd);
    file = open_file(v, "a", IO_OPEN_TRUNCATE);
    assert_int_equal(fstat(file.fd, &st), 0);
    assert_int_equal(st.st_size, 0);
    io_file_close(v->f.io, file.fd);
    assert_int_equal(symlinkat("a", v->f.dir, "link"), 0);
    assert_int_equal(io_file_open(v->f.io, v->f.dir, "link", 0, &file), -ELOOP);
    assert_int_equal(io_file_open(v->f.io, v->f.dir, "a", IO_OPEN_DIRECTORY, &file), -ENOTDIR);
    assert_int_equal(io_file_open(v->f.io, v->f.dir, ".", IO_OPEN_DIRECTORY, &file), 0);
    io_file_close(v->f.io, file.fd);
}

static void
allocate_and_rename(void **state)
{
    struct variant *v = ready(state);
    struct io_file file = open_file(v, "new", 0);
    struct stat st;

    assert_int_equal(io_allocate(v->f.io, file.fd, 0), -EINVAL);
    assert_int_equal(io_allocate(v->f.io, file.fd, UINT64_MAX), -EINVAL);
    assert_int_equal(io_allocate(v->f.io, -1, 1), -EBADF);
    assert_int_equal(io_allocate(v->f.io, file.fd, 256 * BLOCK), 0);
    assert_int_equal(fstat(file.fd, &st), 0);
    assert_int_equal(st.st_size, 256 * BLOCK);
    assert_true((size_t)st.st_blocks * 512 >= 256 * BLOCK);
    io_file_close(v->f.io, file.fd);
    io_file_close(v->f.io, open_file(v, "old", 0).fd);
    assert_int_equal(io_rename(v->f.io, v->f.dir, "new", "old"), 0);
    assert_int_equal(io_rename(v->f.io, v->f.dir, "new", "old"), -ENOENT);
    assert_int_equal(fstatat(v->f.dir, "old", &st, 0), 0);
    assert_int_equal(st.st_size, 256 * BLOCK);
}

static void
buffers_run_out_and_come_back(void **state)
{
    struct variant *v = ready(state);
    uint8_t *buf[3];
    unsigned i;

    for (i = 0; i < 3; i++) {
        buf[i] = io_buf_get(v->f.io);
        assert_non_null(buf[i]);
        assert_int_equal((uintptr_t)buf[i] % IO_ALIGN, 0);
    }
    assert_null(io_buf_get(v->f.io));
    for (i = 0; i < 3; i++)
        memset(buf[i], (int)i + 1, IO_BUF_SIZE);
    for (i = 0; i < 3; i++) {
        assert_int_equal(buf[i][0], i + 1);
        assert_int_equal(buf[i][IO_BUF_SIZE - 1], i + 1);
    }
    io_buf_put(v->f.io, buf[1]);
    assert_ptr_equal(io_buf_get(v->f.io), buf[1]);
    assert_null(io_buf_get(v->f.io));
    for (i = 0; i < 3; i++)
        io_buf_put(v->f.io, buf[i]);
    assert_ptr_equal(io_buf_get(v->f.io), buf[0]);
    io_buf_put(v->f.io, buf[0]);
}

static unsigned
resident_pages(const struct io *io)
{
    static unsigned char in_core[IO_BUFS_MAX * (IO_BUF_SIZE / BLOCK)];
    size_t i, pages = io->buf_cnt * (IO_BUF_SIZE / BLOCK);
    unsigned n = 0;

    assert_int_equal(mincore(io->pool, pages * BLOCK, in_core), 0);
    for (i = 0; i < pages; i++)
        n += in_core[i] & 1;
    return n;
}

static void
buffers_cost_nothing_until_taken(void **state)
{
    struct variant *v = ready(state);
    struct io *io = open_with(v->want, 0, IO_BUFS_MAX);
    const unsigned one = IO_BUF_SIZE / BLOCK, huge = 512;
    void *buf;

    assert_non_null(io);
    assert_int_equal(resident_pages(io), 0);
    buf = io_buf_get(io);
    assert_non_null(buf);
    memset(buf, 1, IO_BUF_SIZE);
    assert_in_range(resident_pages(io), one, 2 * huge);
    io_buf_put(io, buf);
    io_close(io);
}

static unsigned
open_descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void
close_finishes_everything(void **state)
{
    struct variant *v = ready(state);
    struct io_file file = open_file(v, "a", 0);
    unsigned i, count = 0, before = open_descriptors();
    struct io *io = open_with(v->want, 2, 1);
    uint8_t bytes[BLOCK] = {1};
    struct io_req req[10];

    assert_non_null(io);
    for (i = 0; i < 10; i++) {
        req[i] = io_write_req(file.fd, bytes, BLOCK, i * BLOCK);
        req[i].user = &count;
        io_submit(io, &req[i]);
    }
    assert_null(io_close(io));
    assert_int_equal(count, 10);
    assert_int_equal(open_descriptors(), before);
    io_file_close(v->f.io, file.fd);
}

static bool
put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return ok;
}

/* A user name space of one's own brings the right to mount, once one's user and group are in it. */
static bool
become_root(void)
{
    char uid[32], gid[32];

    (void)snprintf(uid, sizeof(uid), "0 %u 1", (unsigned)geteuid());
    (void)snprintf(gid, sizeof(gid), "0 %u 1", (unsigned)getegid());
    return !unshare(CLONE_NEWUSER | CLONE_NEWNS) && put("/proc/self/uid_map", uid) &&
           put("/proc/self/setgroups", "deny") && put("/proc/self/gid_map", gid);
}

/* In name spaces of its own, so that the mount goes with the process, whoever runs the tests. */
static bool
mount_small(const char *path)
{
    if (unshare(CLONE_NEWNS) && !become_root())
        return false;
    return !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
           !mount("leat-test", path, "tmpfs", 0, "size=1m");
}

static void
fill_small_disk(struct io_fixture *f, const char *want)
{
    struct io_file file;
    unsigned count = 0;
    struct io_req req;
    struct io *io;
    int dir;

    if (!mount_small(f->path))
        _exit(CHILD_SKIPS);
    io = open_with(want, 0, 0);
    CHILD_CHECK(io);
    dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHILD_CHECK(dir >= 0);
    CHILD_CHECK(!io_file_open(io, dir, "a", IO_OPEN_CREATE, &file));
    CHILD_CHECK(io_allocate(io, file.fd, 2u << 20) == -ENOSPC);
    req = io_write_req(file.fd, io_buf_get(io), IO_BUF_SIZE, 0);
    req.user = &count;
    io_submit(io, &req);
    io_drain(io);
    CHILD_CHECK(count == 1 && req.res == -ENOSPC);
    /* There is room again. */
    CHILD_CHECK(!ftruncate(file.fd, 0));
    req.len = 512 * 1024;
    req.flags = IO_DURABLE;
    io_submit(io, &req);
    io_drain(io);
    CHILD_CHECK(count == 2 && req.res == 512 * 1024);
    io_close(io);
}

static void
fill_by_uring(struct io_fixture *f)
{
    fill_small_disk(f, "io_uring");
}

static void
fill_by_block(struct io_fixture *f)
{
    fill_small_disk(f, "block");
}

static void
full_disk(void **state)
{
    struct variant *v = ready(state);
    int code;

    if (!v->disk)
        return;
    /* A process with threads is not forked. */
    v->f.io = io_close(v->f.io);
    code = io_in_child(strcmp(v->want, "block") ? fill_by_uring : fill_by_block, &v->f);
    if (code == CHILD_SKIPS)
        io_skip("no right to mount a small file system");
    assert_int_equal(code, 0);
}

static void
options_are_checked(void **state)
{
    struct io_options options = {.want = "tape"};
    struct io *io = NULL;

    (void)state;
    assert_int_equal(io_open(&options, &io), -EINVAL);
    options = (struct io_options){.depth = IO_DEPTH_MAX + 1};
    assert_int_equal(io_open(&options, &io), -EINVAL);
    options = (struct io_options){.bufs = IO_BUFS_MAX + 1};
    assert_int_equal(io_open(&options, &io), -EINVAL);
    assert_null(io);
    assert_null(io_close(NULL));
    assert_int_equal(io_open(NULL, &io), 0);
    print_message("%s\n", io_why(io));
    io_close(io);
}

static void
attempts_are_accounted(void **state)
{
    struct io_req req = io_write_req(0, "", 100, 0);
    unsigned i;

    (void)state;
    assert_false(io__settled(&req, 40));
    assert_false(io__settled(&req, -EINTR));
    assert_int_equal(req.moved, 40);
    assert_true(io__settled(&req, 60));
    assert_int_equal(req.res, 100);

    req = io_write_req(0, "", 100, 0);
    assert_true(io__settled(&req, 0));
    assert_int_equal(req.res, -EIO);
    req = io_write_req(0, "", 100, 0);
    assert_false(io__settled(&req, 99));
    assert_true(io__settled(&req, 2));
    assert_int_equal(req.res, -EIO);

    req = io_write_req(0, "", 100, 0);
    for (i = 0; i < IO_TRIES; i++)
        assert_false(io__settled(&req, i & 1 ? -EINTR : -EAGAIN));
    assert_true(io__settled(&req, -EAGAIN));
    assert_int_equal(req.res, -EAGAIN);

    req = (struct io_req){.verb = IO_SYNC};
    assert_true(io__settled(&req, -EINTR));
    assert_int_equal(req.res, -EINTR);
    req = (struct io_req){.verb = IO_SYNC};
    assert_true(io__settled(&req, 0));
    assert_int_equal(req.res, 0);
}

#define BODY(f)                                                                                    \
    {                                                                                              \
#f, f                                                                                      \
    }
static const struct {
    const char *name;
    CMUnitTestFunction run;
} bodies[] = {
    BODY(says_which_and_why),
    BODY(write_lands_at_its_place),
    BODY(any_memory_can_be_written),
    BODY(many_in_flight),
    BODY(done_may_submit_again),
    BODY(event_fd_is_readable_exactly_when_something_is_done),
    BODY(sync_and_remove),
    BODY(errors_come_back_in_res),
    BODY(nonsense_is_refused),
    BODY(short_write_then_error),
    BODY(durable_means_written_back),
    BODY(direct_where_it_can_be),
    BODY(open_flags_are_kept),
    BODY(allocate_and_rename),
    BODY(buffers_run_out_and_come_back),
    BODY(buffers_cost_nothing_until_taken),
    BODY(close_finishes_everything),
    BODY(full_disk),
};

int
main(void)
{
    enum { BODIES = sizeof(bodies) / sizeof(bodies[0]), VARIANTS = 4 };
    static char names[BODIES * VARIANTS][96];
    struct CMUnitTest tests[BODIES * VARIANTS + 2] = {
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(attempts_are_accounted),
    };
    unsigned i, j, n = 2;
    int failed;

    (void)signal(SIGXFSZ, SIG_IGN);
    for (i = 0; i < VARIANTS; i++) {
        for (j = 0; j < BODIES; j++, n++) {
            (void)snprintf(names[n - 2], sizeof(names[0]), "%s, %s in %s", bodies[j].name,
                           variants[i].want, variants[i].parent);
            tests[n] = (struct CMUnitTest){.name = names[n - 2],
                                           .test_func = bodies[j].run,
                                           .setup_func = setup,
                                           .teardown_func = teardown,
                                           .initial_state = &variants[i]};
        }
    }
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed)
        return failed;
    return skips ? 77 : 0;
}
