#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/store_impl.h"

const unsigned char *
store__zeros(void)
{
    static _Alignas(IO_ALIGN) unsigned char zeros[STORE_ZEROS];

    return zeros;
}

uint64_t
store__realtime(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- requests ---------------------------------------------------------------------------- */

void
store__submit(struct store *s, struct io_req *req, void (*done)(struct io_req *req))
{
    req->user = s;
    req->done = done;
    s->busy++;
    io_submit(s->env.io, req);
}

struct store *
store__landed(struct io_req *req)
{
    struct store *s = req->user;

    s->busy--;
    if (!s->closing)
        loop_defer(s->env.loop, &s->task);
    return s;
}

static void
turn(struct io *io)
{
    struct pollfd p = {.fd = io_event_fd(io), .events = POLLIN};

    io_flush(io);
    (void)poll(&p, 1, -1);
    (void)io_reap(io);
}

void
store__settle(struct store *s)
{
    while (s->busy)
        turn(s->env.io);
}

static void
noted(struct io_req *req)
{
    bool *done = req->user;

    *done = true;
}

int
store__run(struct io *io, struct io_req *req)
{
    bool done = false;

    req->user = &done;
    req->done = noted;
    io_submit(io, req);
    while (!done)
        turn(io);
    return req->res < 0 ? req->res : 0;
}

int
store__sync(struct io *io, int fd)
{
    struct io_req req = {.verb = IO_SYNC, .fd = fd};

    return store__run(io, &req);
}

/* A sync that fails leaves pages that pass for written, and says so once: when the daemon that was told has died, the next
 * one's sync succeeds, and the pages still show what never reached the disk. */
int
store__from_disk(struct io *io, int fd)
{
    int r = store__sync(io, fd);

    if (!r)
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    return r;
}

int
store__remove(struct io *io, int dir, const char *name, uint32_t flags)
{
    struct io_req req = {.verb = IO_REMOVE, .fd = dir, .name = name, .flags = flags};

    return store__run(io, &req);
}

int
store__put(struct io *io, int dir, const char *name, const void *data, uint32_t len)
{
    struct io_req req = {.verb = IO_WRITE, .buf = data, .len = len};
    struct io_file file;
    int r = io_file_open(io, dir, name, IO_OPEN_CREATE | IO_OPEN_TRUNCATE, &file);

    if (r)
        return r;
    req.fd = file.fd;
    r = store__run(io, &req);
    if (!r)
        r = store__sync(io, file.fd);
    io_file_close(io, file.fd);
    return r;
}

/* --- files ------------------------------------------------------------------------------- */

/* One more try before `until_ns`? */
static bool
may_wait(uint64_t until_ns)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    if (loop_clock() >= until_ns)
        return false;
    (void)nanosleep(&pause, NULL);
    return true;
}

int
store__lock_directory(int fd, uint64_t until_ns)
{
    while (flock(fd, LOCK_EX | LOCK_NB)) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return -errno;
        if (!may_wait(until_ns))
            return -EBUSY;
    }
    return 0;
}

/* What would keep a reader from locking is a writer's lock, and nothing else. */
int
store__fence(int fd, uint64_t until_ns)
{
    for (;;) {
        struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
        if (fcntl(fd, F_OFD_GETLK, &lock))
            return -errno;
        if (lock.l_type == F_UNLCK)
            return 0;
        if (!may_wait(until_ns))
            return -EBUSY;
    }
}

/* Nobody begins to write here but who has the lock of the directory, which is us: what is in the way once no writer is, is a
 * reader. */
static int
lock_file(int fd, uint64_t until_ns)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int r = store__fence(fd, until_ns);

    if (r || !fcntl(fd, F_OFD_SETLK, &lock))
        return r;
    return errno == EACCES ? -EAGAIN : -errno;
}

int
store__open(struct store *s, const char *name, uint32_t flags, struct store_file *ret)
{
    struct io_file file;
    struct stat st;
    int r = io_file_open(s->env.io, s->dir, name, flags | IO_OPEN_DIRECT, &file);

    if (r)
        return r;
    r = lock_file(file.fd, s->wait_until_ns);
    if (!r && fstat(file.fd, &st))
        r = -errno;
    if (r) {
        io_file_close(s->env.io, file.fd);
        return r;
    }
    *ret = (struct store_file){.fd = file.fd, .size = (uint64_t)st.st_size};
    return 0;
}

void
store__close(struct store *s, struct store_file *file)
{
    if (file->fd >= 0)
        io_file_close(s->env.io, file->fd);
    *file = (struct store_file){.fd = -1};
}

int
store__open_read(const struct store *s, const char *name)
{
    int fd = openat(s->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}
