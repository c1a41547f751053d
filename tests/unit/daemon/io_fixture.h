/* io_fixture.h - what the tests of the three io files share: a directory, a layer, requests that
 * count, and children whose verdict is their exit code. */
#ifndef TESTS_UNIT_DAEMON_IO_FIXTURE_H
#define TESTS_UNIT_DAEMON_IO_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/io.h"

/* A disk is sometimes slow, but not this slow. */
#define IO_PATIENCE_MS 60000

/* In a child: no cmocka, the parent reads the exit code. */
#define CHILD_CHECK(x) child_check(!!(x), __FILE__, __LINE__, #x)
#define CHILD_SKIPS 77

struct io_fixture {
    struct io *io;
    char path[64];
    int dir;
};

static int skips;

static inline void
child_check(bool ok, const char *file, int line, const char *text)
{
    if (!ok) {
        (void)fprintf(stderr, "child: %s:%d: %s\n", file, line, text);
        _exit(1);
    }
}

static inline void
io_skip(const char *why)
{
    print_message("skipped: %s\n", why);
    skips++;
    skip();
}

static inline void
count_done(struct io_req *req)
{
    unsigned *count = req->user;

    (*count)++;
}

static inline struct io_req
io_write_req(int fd, const void *buf, uint32_t len, uint64_t off)
{
    return (struct io_req){
        .verb = IO_WRITE, .fd = fd, .buf = buf, .len = len, .off = off, .done = count_done};
}

/* Hands one request over and waits for it; the result is in req->res. */
static inline void
io_run(struct io *io, struct io_req *req)
{
    unsigned count = 0;

    req->user = &count;
    req->done = count_done;
    io_submit(io, req);
    io_drain(io);
    assert_int_equal(count, 1);
}

static inline int
io_readable(const struct io *io, int timeout_ms)
{
    struct pollfd p = {.fd = io_event_fd(io), .events = POLLIN};

    return poll(&p, 1, timeout_ms);
}

/* The same bytes for the same seed, different for different ones. */
static inline void
io_fill(uint8_t *buf, size_t len, uint32_t seed)
{
    uint32_t x = seed * 2654435761u + 1;
    size_t i;

    for (i = 0; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        buf[i] = (uint8_t)(x >> 24);
    }
}

static inline void
io_assert_content(int dir, const char *name, const uint8_t *want, size_t len, uint64_t off)
{
    uint8_t *got = malloc(len);
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);

    assert_non_null(got);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, got, len, (off_t)off), (ssize_t)len);
    assert_memory_equal(got, want, len);
    close(fd);
    free(got);
}

/* What the page cache holds for a file, and has not written yet (cachestat, Linux 6.5). */
static inline int
io_dirty_pages(int fd)
{
    struct {
        uint64_t off, len;
    } range = {0, 0};
    struct {
        uint64_t cached, dirty, writeback, evicted, recently_evicted;
    } stat;

    if (syscall(451 /* cachestat */, fd, &range, &stat, 0))
        return -errno;
    return (int)(stat.dirty + stat.writeback);
}

static inline int
io_make_dir(struct io_fixture *f, const char *parent)
{
    (void)snprintf(f->path, sizeof(f->path), "%s/leat-io.XXXXXX", parent);
    if (!mkdtemp(f->path))
        return -1;
    f->dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return f->dir < 0 ? -1 : 0;
}

/* Removes the directory and the files in it; the tests make no deeper trees. */
static inline void
io_drop_dir(struct io_fixture *f)
{
    DIR *d = fdopendir(f->dir);
    struct dirent *e;

    while (d && (e = readdir(d))) {
        if (unlinkat(dirfd(d), e->d_name, 0))
            (void)unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
    }
    if (d)
        closedir(d);
    (void)rmdir(f->path);
}

/* Runs body in a child and gives its exit code; a child that dies of a signal is a failure. */
static inline int
io_in_child(void (*body)(struct io_fixture *f), struct io_fixture *f)
{
    pid_t pid;
    int status;

    (void)fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        body(f);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#endif
