/* What only io_uring can show: denied, denied later, buffers that may not be registered, and
 * completions that come in pieces. What changes a process for good is done in a child. */
#include "tests/unit/daemon/io_fixture.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "daemon/io_impl.h"

#define BLOCK ((size_t)4096)
#define NOBODY 65534

#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCH AUDIT_ARCH_AARCH64
#else
#error "the name of this machine for seccomp is missing"
#endif

static const struct io_options asked = {.want = "io_uring"};

/* From now on this system call answers -error in this process, as in a container. */
static int
deny(unsigned nr, unsigned error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCH, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int
setup(void **state)
{
    static struct io_fixture f;

    *state = &f;
    return io_make_dir(&f, "/var/tmp");
}

static int
teardown(void **state)
{
    io_drop_dir(*state);
    return 0;
}

static void
need_uring(void)
{
    struct io *io;

    if (io_open(&asked, &io))
        io_skip("io_uring is not available here");
    io_close(io);
}

/* --- denied ------------------------------------------------------------------------------ */

static void
child_denied(struct io_fixture *f)
{
    uint8_t bytes[BLOCK] = {1}, got[BLOCK] = {0};
    struct io_file file;
    struct io_req req;
    unsigned count = 0;
    struct io *io = NULL;

    CHILD_CHECK(!deny(SYS_io_uring_setup, EPERM));
    CHILD_CHECK(io_open(&asked, &io) == -EPERM && !io);
    CHILD_CHECK(!io_open(NULL, &io));
    CHILD_CHECK(!strcmp(io_name(io), "block"));
    CHILD_CHECK(strstr(io_why(io), "io_uring_setup: Operation not permitted"));
    CHILD_CHECK(!io_file_open(io, f->dir, "a", IO_OPEN_CREATE, &file));
    req = io_write_req(file.fd, bytes, BLOCK, 0);
    req.flags = IO_DURABLE;
    req.user = &count;
    io_submit(io, &req);
    io_drain(io);
    CHILD_CHECK(count == 1 && req.res == (int32_t)BLOCK);
    CHILD_CHECK(pread(file.fd, got, BLOCK, 0) == (ssize_t)BLOCK && !memcmp(got, bytes, BLOCK));
    io_close(io);
}

static void
denied_it_falls_back_and_says_so(void **state)
{
    assert_int_equal(io_in_child(child_denied, *state), 0);
}

/* Setting up is allowed, entering is not: the trial finds out. */
static void
child_cannot_enter(struct io_fixture *f)
{
    struct io *io = NULL;

    (void)f;
    CHILD_CHECK(!deny(SYS_io_uring_enter, EPERM));
    CHILD_CHECK(io_open(&asked, &io) == -EPERM && !io);
    CHILD_CHECK(!io_open(NULL, &io));
    CHILD_CHECK(!strcmp(io_name(io), "block"));
    CHILD_CHECK(strstr(io_why(io), "trying io_uring: Operation not permitted"));
    io_close(io);
}

static void
the_trial_finds_a_ring_that_does_not_work(void **state)
{
    need_uring();
    assert_int_equal(io_in_child(child_cannot_enter, *state), 0);
}

/* --- denied later ------------------------------------------------------------------------ */

static void
reap_all(struct io *io)
{
    while (io_pending(io)) {
        CHILD_CHECK(io_readable(io, IO_PATIENCE_MS) == 1);
        io_reap(io);
    }
    CHILD_CHECK(io_readable(io, 0) == 0);
}

static void
child_loses_the_ring(struct io_fixture *f)
{
    enum { N = 20 };
    static const struct io_options options = {.want = "io_uring", .depth = 4};
    uint8_t bytes[BLOCK] = {1};
    struct io_req req[N];
    unsigned i, count = 0, denied = 0;
    struct io *io;

    CHILD_CHECK(!io_open(&options, &io));
    CHILD_CHECK(!deny(SYS_io_uring_enter, EPERM));
    for (i = 0; i < N; i++) {
        req[i] = io_write_req(f->dir, bytes, BLOCK, i * BLOCK);
        req[i].user = &count;
        io_submit(io, &req[i]);
    }
    io_flush(io);
    reap_all(io);
    for (i = 0; i < N; i++)
        denied += req[i].res == -EPERM;
    CHILD_CHECK(count == N && denied == N);
    CHILD_CHECK(strstr(io_why(io), "stopped working: Operation not permitted"));
    io_close(io);
}

static void
a_ring_that_breaks_fails_every_request(void **state)
{
    need_uring();
    assert_int_equal(io_in_child(child_loses_the_ring, *state), 0);
}

/* --- buffers ----------------------------------------------------------------------------- */

static void
child_without_memlock(struct io_fixture *f)
{
    /* Room for the ring, which newer kernels count as well, and for no buffer. */
    static const struct rlimit little = {IO_BUF_SIZE / 2, IO_BUF_SIZE / 2};
    uint8_t *one, *two;
    int fd = openat(f->dir, "a", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct io_req req;
    unsigned count = 0;
    struct io *io;

    CHILD_CHECK(fd >= 0);
    CHILD_CHECK(!setrlimit(RLIMIT_MEMLOCK, &little));
    /* Root may pin what it likes, until it is nobody. */
    CHILD_CHECK(geteuid() || !setresuid(NOBODY, NOBODY, NOBODY));
    CHILD_CHECK(!io_open(&asked, &io));
    CHILD_CHECK(!strstr(io_why(io), "registered"));
    one = io_buf_get(io);
    two = io_buf_get(io);
    CHILD_CHECK(one && two && io__buf_index(io, one, BLOCK) == -1);
    CHILD_CHECK(strstr(io_why(io), "registered") && strstr(io_why(io), "RLIMIT_MEMLOCK"));
    CHILD_CHECK(!strstr(strstr(io_why(io), "registered") + 1, "registered"));
    req = io_write_req(fd, two, IO_BUF_SIZE, 0);
    req.flags = IO_DURABLE;
    req.user = &count;
    io_submit(io, &req);
    io_drain(io);
    CHILD_CHECK(count == 1 && req.res == (int32_t)IO_BUF_SIZE);
    io_close(io);
}

static void
buffers_that_may_not_be_registered(void **state)
{
    need_uring();
    assert_int_equal(io_in_child(child_without_memlock, *state), 0);
}

static void
buffers_are_registered(void **state)
{
    uint8_t *one, *two;
    struct io *io;

    (void)state;
    need_uring();
    if (geteuid())
        io_skip("only root is sure to be allowed to register buffers");
    assert_int_equal(io_open(&asked, &io), 0);
    one = io_buf_get(io);
    two = io_buf_get(io);
    assert_int_equal(io__buf_index(io, one, IO_BUF_SIZE), 0);
    assert_int_equal(io__buf_index(io, two, IO_BUF_SIZE), 1);
    assert_int_equal(io__buf_index(io, two + 100, BLOCK), 1);
    assert_int_equal(io__buf_index(io, two - 1, 2), -1);
    assert_int_equal(io__buf_index(io, one - 1, 1), -1);
    assert_int_equal(io__buf_index(io, one + 1, IO_BUF_SIZE), -1);
    assert_int_equal(io__buf_index(io, two + IO_BUF_SIZE, 1), -1); /* not taken yet */
    assert_int_equal(io__buf_index(io, &io, 1), -1);
    assert_null(strstr(io_why(io), "registered"));
    io_close(io);
}

/* --- completions in pieces --------------------------------------------------------------- */

/* A pipe takes what it has room for: the kernel reports short writes, and the layer goes on with
 * the rest. */
static void
short_writes_are_continued(void **state)
{
    enum { LEN = 1 << 20 };
    uint8_t *want = malloc(LEN), *got = malloc(LEN);
    struct io_req req;
    size_t have = 0;
    unsigned count = 0, early = 0;
    struct io *io;
    int p[2];

    (void)state;
    need_uring();
    assert_true(want && got);
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    assert_int_equal(io_open(&asked, &io), 0);
    io_fill(want, LEN, 9);
    req = io_write_req(p[1], want, LEN, 0);
    req.user = &count;
    io_submit(io, &req);
    io_flush(io);
    while (have < LEN) {
        struct pollfd poll_for[2] = {{p[0], POLLIN, 0}, {io_event_fd(io), POLLIN, 0}};
        ssize_t n;

        assert_true(poll(poll_for, 2, IO_PATIENCE_MS) > 0);
        if (poll_for[1].revents)
            early += io_reap(io) + (req.moved > 0 && req.moved < LEN);
        if (!poll_for[0].revents)
            continue;
        n = read(p[0], got + have, LEN - have);
        assert_true(n > 0);
        have += (size_t)n;
    }
    io_drain(io);
    assert_true(early > 0); /* it did come in pieces */
    assert_int_equal(count, 1);
    assert_int_equal(req.res, LEN);
    assert_memory_equal(got, want, LEN);
    io_close(io);
    close(p[0]);
    close(p[1]);
    free(want);
    free(got);
}

/* --- durable in two steps ---------------------------------------------------------------------- */

/* A pipe can be written but not synced, and so shows which way a write took. */
static void
durable_writes_are_synced(void **state)
{
    struct io_req req[2];
    unsigned count = 0;
    struct io *io;
    int p[2];

    (void)state;
    need_uring();
    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    assert_int_equal(io_open(&asked, &io), 0);
    io->sync_after = true;
    req[0] = io_write_req(p[1], "abcd", 4, 0);
    io_run(io, &req[0]);
    assert_int_equal(req[0].res, 4);
    req[0].flags = IO_DURABLE;
    io_run(io, &req[0]);
    assert_int_equal(req[0].res, -EINVAL);
    io->sync_after = false;
    io_run(io, &req[0]);
    assert_int_equal(req[0].res, 4);
    /* Several share their syncs, and what a sync says is said of each. */
    io->sync_after = true;
    req[0].user = &count;
    req[1] = req[0];
    io_submit(io, &req[0]);
    io_submit(io, &req[1]);
    io_drain(io);
    assert_int_equal(count, 2);
    assert_int_equal(req[0].res, -EINVAL);
    assert_int_equal(req[1].res, -EINVAL);
    io_close(io);
    close(p[0]);
    close(p[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(denied_it_falls_back_and_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(the_trial_finds_a_ring_that_does_not_work, setup, teardown),
        cmocka_unit_test_setup_teardown(a_ring_that_breaks_fails_every_request, setup, teardown),
        cmocka_unit_test_setup_teardown(buffers_that_may_not_be_registered, setup, teardown),
        cmocka_unit_test(buffers_are_registered),
        cmocka_unit_test(short_writes_are_continued),
        cmocka_unit_test(durable_writes_are_synced),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    if (failed)
        return failed;
    return skips ? 77 : 0;
}
