/* Storage by ordinary system calls on one worker thread, in the order of submission. The owner
 * hands a request over under the mutex and gets it back under the mutex; in between it is the
 * worker's. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "daemon/io_impl.h"

struct io_block {
    struct io io;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t more; /* todo is no longer empty, or stop is set */
    struct io_list todo;
    struct io_list done;
    bool stop;
    int dsync_refused; /* written by the worker: the errno with which RWF_DSYNC was refused, or 0 */
    bool refusal_noted;
};

static bool
is_refusal(int error)
{
    return error == EOPNOTSUPP || error == ENOSYS || error == EINVAL || error == EPERM;
}

/* Where io->sync_after says so, a durable write is written and then synced, its step is not 0. RWF_DSYNC may be refused where a plain write is not (an old file system, a seccomp filter).
 * Only when the plain write then succeeds was it the flag that was refused. */
static int64_t
write_some(struct io_block *block, const struct io_req *req)
{
    struct iovec iov = {(void *)(uintptr_t)io__rest(req), req->len - req->moved};
    off_t off = (off_t)(req->off + req->moved);
    int refused = block->dsync_refused;
    bool durable = req->flags & IO_DURABLE;
    ssize_t n;

    if (durable && !refused && !req->step) {
        n = pwritev2(req->fd, &iov, 1, off, RWF_DSYNC);
        if (n >= 0)
            return n;
        if (!is_refusal(errno))
            return -errno;
        refused = errno;
    }
    n = pwrite(req->fd, iov.iov_base, iov.iov_len, off);
    if (n < 0)
        return -errno;
    if (durable && fdatasync(req->fd))
        return -errno;
    if (durable)
        block->dsync_refused = refused;
    return n;
}

static int64_t
attempt(struct io_block *block, const struct io_req *req)
{
    int flags;

    switch (req->verb) {
    case IO_WRITE:
        return write_some(block, req);
    case IO_SYNC:
        return fsync(req->fd) ? -errno : 0;
    case IO_REMOVE:
        flags = req->flags & IO_DIRECTORY ? AT_REMOVEDIR : 0;
        return unlinkat(req->fd, req->name, flags) ? -errno : 0;
    }
    return -EINVAL;
}

/* The descriptor is written and emptied under the mutex, together with the list: so it is readable
 * exactly while there is something in the list. */
static void
hand_back(struct io_block *block, struct io_req *req)
{
    if (!block->done.head)
        io__poke(&block->io);
    io__append(&block->done, req);
}

static void *
work(void *arg)
{
    struct io_block *block = arg;
    struct io_req *req;

    pthread_mutex_lock(&block->mutex);
    while (!block->stop) {
        req = io__pop(&block->todo);
        if (!req) {
            pthread_cond_wait(&block->more, &block->mutex);
            continue;
        }
        pthread_mutex_unlock(&block->mutex);
        while (!io__settled(req, attempt(block, req)))
            ;
        pthread_mutex_lock(&block->mutex);
        hand_back(block, req);
    }
    pthread_mutex_unlock(&block->mutex);
    return NULL;
}

static void
block_begin(struct io *io)
{
    struct io_block *block = (struct io_block *)io;
    struct io_req *req = io__take(io);

    if (!req)
        return;
    pthread_mutex_lock(&block->mutex);
    for (; req; req = io__take(io)) {
        req->step = io->sync_after;
        io__append(&block->todo, req);
    }
    pthread_cond_signal(&block->more);
    pthread_mutex_unlock(&block->mutex);
}

static void
block_collect(struct io *io)
{
    struct io_block *block = (struct io_block *)io;
    struct io_list done;
    struct io_req *req;
    int refused;

    pthread_mutex_lock(&block->mutex);
    io__hush(io);
    done = block->done;
    block->done = (struct io_list){0};
    refused = done.head ? block->dsync_refused : 0;
    pthread_mutex_unlock(&block->mutex);
    while ((req = io__pop(&done)))
        io__finish(io, req);
    if (refused && !block->refusal_noted) {
        block->refusal_noted = true;
        io__note(io, "durable writes by pwrite and fdatasync, RWF_DSYNC is refused", -refused);
    }
}

static void
block_stop(struct io *io)
{
    struct io_block *block = (struct io_block *)io;

    pthread_mutex_lock(&block->mutex);
    block->stop = true;
    pthread_cond_signal(&block->more);
    pthread_mutex_unlock(&block->mutex);
    pthread_join(block->thread, NULL);
    pthread_cond_destroy(&block->more);
    pthread_mutex_destroy(&block->mutex);
    io__fini(io);
    free(block);
}

static const struct io_ops block_ops = {
    .name = "block",
    .file_open = io__file_open,
    .file_close = io__file_close,
    .make_directory = io__file_make_directory,
    .allocate = io__file_allocate,
    .rename = io__file_rename,
    .begin = block_begin,
    .collect = block_collect,
    .stop = block_stop,
};

/* Signals are the owner's business: the worker is born with all of them blocked. */
static int
start_worker(struct io_block *block)
{
    sigset_t all, before;
    int r;

    sigfillset(&all);
    r = -pthread_sigmask(SIG_SETMASK, &all, &before);
    if (r)
        return r;
    r = -pthread_create(&block->thread, NULL, work, block);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!r)
        (void)pthread_setname_np(block->thread, "leatd-storage");
    return r;
}

int
io__block_open(const struct io_options *options, const char *reason, struct io **ret)
{
    struct io_block *block = calloc(1, sizeof(*block));
    int r;

    if (!block)
        return -ENOMEM;
    r = io__init(&block->io, &block_ops, options);
    if (r)
        goto out_io;
    /* glibc's never fail; others may. */
    r = -pthread_mutex_init(&block->mutex, NULL);
    if (r)
        goto out_io;
    r = -pthread_cond_init(&block->more, NULL);
    if (r)
        goto out_mutex;
    r = start_worker(block);
    if (r)
        goto out_cond;
    (void)snprintf(block->io.why, sizeof(block->io.why), "block (system calls on a thread): %s",
                   reason);
    *ret = &block->io;
    return 0;
out_cond:
    pthread_cond_destroy(&block->more);
out_mutex:
    pthread_mutex_destroy(&block->mutex);
out_io:
    io__fini(&block->io);
    free(block);
    return r;
}
