/* What only the system calls can show: this program's own pwritev2, fsync and fdatasync take the place of libc's; writes
 * can be short, interrupted or refused, syncs can fail. */
#include "daemon/io_impl.h"
#include "tests/unit/daemon/io_fixture.h"

#include <sys/syscall.h>
#include <sys/uio.h>

#define BLOCK ((size_t)4096)

/* Set while nothing is in flight; the mutex of the layer carries it to the worker. */
static struct {
    size_t most;    /* writes are cut to this; 0: not */
    unsigned fail;  /* so many calls fail ... */
    int error;      /* ... with this; 0: they write nothing */
    unsigned calls; /* seen */
    unsigned durable;
    int sync_error; /* of fsync and fdatasync; 0: they work */
    unsigned syncs;
} fault;

/* To the linker its name is pwritev2. */
ssize_t faulty_write(int fd, const struct iovec *iov, int cnt, off_t off,
                     int flags) __asm__("pwritev2");

ssize_t
faulty_write(int fd, const struct iovec *iov, int cnt, off_t off, int flags)
{
    struct iovec cut = iov[0];

    fault.calls++;
    fault.durable += !!(flags & RWF_DSYNC);
    if (fault.fail) {
        fault.fail--;
        errno = fault.error;
        return fault.error ? -1 : 0;
    }
    if (fault.most && cut.iov_len > fault.most)
        cut.iov_len = fault.most;
    return syscall(SYS_pwritev2, fd, &cut, cnt, (unsigned long)off, 0ul, flags);
}

int faulty_fsync(int fd) __asm__("fsync");
int faulty_fdatasync(int fd) __asm__("fdatasync");

static int
faulty_sync(long call, int fd)
{
    fault.syncs++;
    errno = fault.sync_error;
    return fault.sync_error ? -1 : (int)syscall(call, fd);
}

int
faulty_fsync(int fd)
{
    return faulty_sync(SYS_fsync, fd);
}

int
faulty_fdatasync(int fd)
{
    return faulty_sync(SYS_fdatasync, fd);
}

struct state {
    struct io_fixture f;
    struct io_file file;
    uint8_t *buf;
};

static int
setup(void **state)
{
    static const struct io_options options = {.want = "block"};
    static struct state s;

    memset(&fault, 0, sizeof(fault));
    memset(&s, 0, sizeof(s));
    *state = &s;
    if (io_make_dir(&s.f, "/var/tmp") || io_open(&options, &s.f.io))
        return -1;
    s.buf = io_buf_get(s.f.io);
    io_fill(s.buf, 16 * BLOCK, 3);
    if (io_file_open(s.f.io, s.f.dir, "a", IO_OPEN_CREATE, &s.file))
        return -1;
    s.f.io->sync_after = false;
    return 0;
}

static int
teardown(void **state)
{
    struct state *s = *state;

    io_file_close(s->f.io, s->file.fd);
    io_close(s->f.io);
    io_drop_dir(&s->f);
    return 0;
}

static int32_t
write_durably(struct state *s, uint32_t len)
{
    struct io_req req = io_write_req(s->file.fd, s->buf, len, BLOCK);

    req.flags = IO_DURABLE;
    io_run(s->f.io, &req);
    return req.res;
}

static void
short_writes_are_continued(void **state)
{
    struct state *s = *state;

    fault.most = 1000;
    assert_int_equal(write_durably(s, 16 * BLOCK), 16 * BLOCK);
    /* Every piece is durable, not the last alone. */
    assert_int_equal(fault.calls, (16 * BLOCK + 999) / 1000);
    assert_int_equal(fault.durable, fault.calls);
    io_assert_content(s->f.dir, "a", s->buf, 16 * BLOCK, BLOCK);
}

static void
writing_nothing_is_an_error(void **state)
{
    struct state *s = *state;

    fault.fail = 1;
    assert_int_equal(write_durably(s, BLOCK), -EIO);
    assert_int_equal(fault.calls, 1);
}

static void
errors_are_not_retried(void **state)
{
    static const int errors[] = {EIO, ENOSPC, EDQUOT, EROFS};
    struct state *s = *state;
    unsigned i;

    for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        fault.fail = 1;
        fault.error = errors[i];
        fault.calls = 0;
        assert_int_equal(write_durably(s, BLOCK), -errors[i]);
        assert_int_equal(fault.calls, 1);
    }
}

static void
interruptions_are(void **state)
{
    struct state *s = *state;

    fault.fail = 3;
    fault.error = EINTR;
    assert_int_equal(write_durably(s, BLOCK), BLOCK);
    assert_int_equal(fault.calls, 4);
    io_assert_content(s->f.dir, "a", s->buf, BLOCK, BLOCK);
}

static void
without_dsync_it_syncs(void **state)
{
    static const int errors[] = {EOPNOTSUPP, ENOSYS, EINVAL, EPERM};
    struct state *s = *state;
    unsigned i;

    for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        assert_null(strstr(io_why(s->f.io), "RWF_DSYNC"));
        fault.fail = 1;
        fault.error = errors[i];
        fault.calls = 0;
        assert_int_equal(write_durably(s, 16 * BLOCK), 16 * BLOCK);
        io_assert_content(s->f.dir, "a", s->buf, 16 * BLOCK, BLOCK);
        assert_true(io_dirty_pages(s->file.fd) <= 0);
        assert_non_null(strstr(io_why(s->f.io), "RWF_DSYNC is refused"));
        assert_non_null(strstr(io_why(s->f.io), strerror(errors[i])));
        /* It is asked once. */
        assert_int_equal(write_durably(s, BLOCK), BLOCK);
        assert_int_equal(fault.calls, 1);
        assert_true(io_dirty_pages(s->file.fd) <= 0);
        assert_int_equal(teardown(state), 0);
        assert_int_equal(setup(state), 0);
        s = *state;
    }
}

/* An error that is not about the flag leaves the flag in use. */
static void
a_bad_request_is_not_a_refusal(void **state)
{
    struct state *s = *state;
    struct io_req req;

    fault.fail = 1;
    fault.error = EINVAL;
    req = io_write_req(s->f.dir, s->buf, BLOCK, 0);
    req.flags = IO_DURABLE;
    io_run(s->f.io, &req);
    assert_int_equal(req.res, -EBADF);
    assert_null(strstr(io_why(s->f.io), "RWF_DSYNC"));
    assert_int_equal(write_durably(s, BLOCK), BLOCK);
    assert_int_equal(fault.durable, 2);
}

/* What a sync did not confirm is not durable, and is not asked for again: a second sync would say that all is well, of
 * pages the kernel has given up. */
static void
a_failed_sync_fails_what_it_was_for(void **state)
{
    struct state *s = *state;
    struct io_req req = {.verb = IO_SYNC, .fd = s->f.dir};

    fault.sync_error = EIO;
    io_run(s->f.io, &req);
    assert_int_equal(req.res, -EIO);
    assert_int_equal(fault.syncs, 1);
    fault.fail = 1;
    fault.error = EOPNOTSUPP;
    assert_int_equal(write_durably(s, BLOCK), -EIO);
    assert_int_equal(fault.syncs, 2);
    fault.sync_error = 0;
    fault.fail = 1;
    assert_int_equal(write_durably(s, BLOCK), BLOCK);
    assert_int_equal(fault.syncs, 3);
}

static void
what_may_be_forgotten_is_synced(void **state)
{
    struct state *s = *state;

    s->f.io->sync_after = true;
    assert_int_equal(write_durably(s, BLOCK), BLOCK);
    assert_int_equal(fault.durable, 0);
    assert_int_equal(fault.syncs, 1);
    io_assert_content(s->f.dir, "a", s->buf, BLOCK, BLOCK);
    fault.sync_error = EIO;
    assert_int_equal(write_durably(s, BLOCK), -EIO);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(short_writes_are_continued, setup, teardown),
        cmocka_unit_test_setup_teardown(writing_nothing_is_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_are_not_retried, setup, teardown),
        cmocka_unit_test_setup_teardown(interruptions_are, setup, teardown),
        cmocka_unit_test_setup_teardown(without_dsync_it_syncs, setup, teardown),
        cmocka_unit_test_setup_teardown(what_may_be_forgotten_is_synced, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_request_is_not_a_refusal, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_sync_fails_what_it_was_for, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
