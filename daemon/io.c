#include "daemon/io.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/io_impl.h"

/* --- lists and the life of a request ----------------------------------------------------- */

void
io__append(struct io_list *list, struct io_req *req)
{
    req->next = NULL;
    if (list->head)
        list->tail->next = req;
    else
        list->head = req;
    list->tail = req;
}

struct io_req *
io__pop(struct io_list *list)
{
    struct io_req *req = list->head;

    if (req)
        list->head = req->next;
    return req;
}

/* An unfinished request goes on before others begin, so that it is not overtaken for ever. */
static void
prepend(struct io_list *list, struct io_req *req)
{
    req->next = list->head;
    if (!list->head)
        list->tail = req;
    list->head = req;
}

struct io_req *
io__take(struct io *io)
{
    struct io_req *req;

    if (io->begun >= io->depth)
        return NULL;
    req = io__pop(&io->waiting);
    if (req)
        io->begun++;
    return req;
}

void
io__give_back(struct io *io, struct io_req *req)
{
    assert(io->begun > 0);
    io->begun--;
    prepend(&io->waiting, req);
}

bool
io__settled(struct io_req *req, int64_t res)
{
    uint32_t rest = req->len - req->moved;

    if (req->verb != IO_WRITE) {
        req->res = (int32_t)res;
        return true;
    }
    /* A sync is not made again: the kernel tells of a lost page once. A write brings its pages
     * along. */
    if ((res == -EINTR || res == -EAGAIN) && req->tries < IO_TRIES) {
        req->tries++;
        return false;
    }
    if (res < 0) {
        req->res = (int32_t)res;
        return true;
    }
    /* Nothing written and no error would be tried for ever; more than was asked for is nonsense. */
    if (res == 0 || res > rest) {
        req->res = -EIO;
        return true;
    }
    req->tries = 0;
    req->moved += (uint32_t)res;
    if (req->moved < req->len)
        return false;
    req->res = (int32_t)req->len;
    return true;
}

void
io__finish(struct io *io, struct io_req *req)
{
    assert(io->begun > 0);
    io->begun--;
    io__append(&io->finished, req);
}

void
io__result(struct io *io, struct io_req *req, int64_t res)
{
    if (io__settled(req, res))
        io__finish(io, req);
    else
        io__give_back(io, req);
}

static bool
makes_sense(const struct io_req *req)
{
    switch (req->verb) {
    case IO_WRITE:
        return req->buf && req->len > 0 && req->len <= IO_WRITE_MAX &&
               shm_within(req->off, req->len, INT64_MAX);
    case IO_SYNC:
        return true;
    case IO_REMOVE:
        return req->name && req->name[0];
    }
    return false;
}

void
io_submit(struct io *io, struct io_req *req)
{
    assert(req->done);
    req->res = 0;
    req->moved = 0;
    req->tries = 0;
    req->step = 0;
    io->pending++;
    if (makes_sense(req)) {
        io__append(&io->waiting, req);
    } else {
        req->res = -EINVAL;
        io__append(&io->finished, req);
    }
}

void
io_flush(struct io *io)
{
    io->ops->begin(io);
    /* Some are finished without ever being begun; the loop has to come back for them. */
    if (io->finished.head)
        io__poke(io);
}

unsigned
io_reap(struct io *io)
{
    struct io_list now;
    struct io_req *req;
    unsigned n = 0;

    io->ops->collect(io);
    /* Only what is there now: a done() whose new request fails at once must not keep us here for
     * ever. */
    now = io->finished;
    io->finished = (struct io_list){0};
    while ((req = io__pop(&now))) {
        io->pending--;
        n++;
        req->done(req);
    }
    io_flush(io);
    return n;
}

void
io_drain(struct io *io)
{
    struct pollfd p = {.fd = io->event_fd, .events = POLLIN};

    io_flush(io);
    while (io->pending) {
        (void)poll(&p, 1, -1);
        io_reap(io);
    }
}

unsigned
io_pending(const struct io *io)
{
    return io->pending;
}

/* --- the event descriptor ---------------------------------------------------------------- */

int
io_event_fd(const struct io *io)
{
    return io->event_fd;
}

void
io__poke(const struct io *io)
{
    /* It fails only when the counter is full, and then the descriptor is readable as it should
     * be. */
    (void)eventfd_write(io->event_fd, 1);
}

void
io__hush(const struct io *io)
{
    eventfd_t n;

    (void)eventfd_read(io->event_fd, &n);
}

/* --- staging buffers --------------------------------------------------------------------- */

static uint8_t *
buf_at(const struct io *io, unsigned idx)
{
    return io->pool + (size_t)idx * IO_BUF_SIZE;
}

static void
buf_first_use(struct io *io, unsigned idx)
{
    int r;

    io->buf_tried |= 1ull << idx;
    if (!io->ops->buf_register)
        return;
    r = io->ops->buf_register(io, idx);
    if (!r)
        io->buf_registered |= 1ull << idx;
    else if (io->buf_tried == io->buf_registered + (1ull << idx))
        io__note(io, "not every staging buffer can be registered (RLIMIT_MEMLOCK?)", r);
}

void *
io_buf_get(struct io *io)
{
    unsigned idx;

    if (!io->buf_free)
        return NULL;
    idx = (unsigned)__builtin_ctzll(io->buf_free);
    io->buf_free &= ~(1ull << idx);
    if (!(io->buf_tried >> idx & 1))
        buf_first_use(io, idx);
    return buf_at(io, idx);
}

void
io_buf_put(struct io *io, void *buf)
{
    size_t off = (size_t)((uint8_t *)buf - io->pool);
    unsigned idx = (unsigned)(off / IO_BUF_SIZE);

    assert(off % IO_BUF_SIZE == 0 && idx < io->buf_cnt && !(io->buf_free >> idx & 1));
    io->buf_free |= 1ull << idx;
}

unsigned
io_buf_left(const struct io *io)
{
    return (unsigned)__builtin_popcountll(io->buf_free);
}

int
io__buf_index(const struct io *io, const void *at, uint32_t len)
{
    uintptr_t off = (uintptr_t)at - (uintptr_t)io->pool;
    unsigned idx;

    if (off >= (uintptr_t)io->buf_cnt * IO_BUF_SIZE)
        return -1;
    idx = (unsigned)(off / IO_BUF_SIZE);
    if (!(io->buf_registered >> idx & 1) || !shm_within(off % IO_BUF_SIZE, len, IO_BUF_SIZE))
        return -1;
    return (int)idx;
}

/* --- open and close ---------------------------------------------------------------------- */

int
io__init(struct io *io, const struct io_ops *ops, const struct io_options *options)
{
    void *pool;

    io->ops = ops;
    io->depth = options->depth;
    io->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (io->event_fd < 0)
        return -errno;
    pool = mmap(NULL, (size_t)options->bufs * IO_BUF_SIZE, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pool == MAP_FAILED)
        return -errno;
    io->pool = pool;
    io->buf_cnt = options->bufs;
    io->buf_free = UINT64_MAX >> (64 - options->bufs);
    return 0;
}

void
io__fini(struct io *io)
{
    if (io->pool)
        munmap(io->pool, (size_t)io->buf_cnt * IO_BUF_SIZE);
    if (io->event_fd >= 0)
        close(io->event_fd);
    io->pool = NULL;
    io->event_fd = -1;
}

void
io__note(struct io *io, const char *text, int error)
{
    size_t len = strlen(io->why);

    (void)snprintf(io->why + len, sizeof(io->why) - len, "%s%s%s%s", len ? "; " : "", text,
                   error ? ": " : "", error ? strerror(-error) : "");
}

int
io_open(const struct io_options *options, struct io **ret)
{
    struct io_options full = options ? *options : (struct io_options){0};
    char reason[IO_REASON];
    int r;

    full.want = full.want ? full.want : "auto";
    full.depth = full.depth ? full.depth : IO_DEPTH_DEFAULT;
    full.bufs = full.bufs ? full.bufs : IO_BUFS_DEFAULT;
    if (full.depth > IO_DEPTH_MAX || full.bufs > IO_BUFS_MAX)
        return -EINVAL;
    if (!strcmp(full.want, "block"))
        return io__block_open(&full, "asked for", ret);
    if (!strcmp(full.want, "io_uring")) {
        (void)snprintf(reason, sizeof(reason), "asked for");
        return io__uring_open(&full, reason, ret);
    }
    if (strcmp(full.want, "auto"))
        return -EINVAL;
    (void)snprintf(reason, sizeof(reason), "the kernel offers it");
    r = io__uring_open(&full, reason, ret);
    return r ? io__block_open(&full, reason, ret) : 0;
}

struct io *
io_close(struct io *io)
{
    if (io) {
        io_drain(io);
        io->ops->stop(io);
    }
    return NULL;
}

const char *
io_name(const struct io *io)
{
    return io->ops->name;
}

const char *
io_why(const struct io *io)
{
    return io->why;
}

/* --- the quick verbs --------------------------------------------------------------------- */

int
io_file_open(struct io *io, int dirfd, const char *name, uint32_t flags, struct io_file *ret)
{
    return io->ops->file_open(io, dirfd, name, flags, ret);
}

void
io_file_close(struct io *io, int fd)
{
    io->ops->file_close(io, fd);
}

int
io_make_directory(struct io *io, int dirfd, const char *name)
{
    return io->ops->make_directory(io, dirfd, name);
}

int
io_allocate(struct io *io, int fd, uint64_t size)
{
    return io->ops->allocate(io, fd, size);
}

int
io_rename(struct io *io, int dirfd, const char *from, const char *to)
{
    return io->ops->rename(io, dirfd, from, to);
}
