/* io.h - storage: everything the daemon does to files goes through here.
 *
 * The verbs that take time are asynchronous: write, sync, remove. A request is the caller's
 * memory; it is handed over with io_submit, begun by io_flush, and comes back in io_reap, which
 * runs its done(). The verbs that are quick are synchronous: open, make a directory, allocate,
 * rename, close. Reading is not here: who reads (recovery, the inspector) uses pread on a
 * descriptor.
 *
 *     submitted --io_flush--> begun --kernel, worker--> finished --io_reap, done()--> the caller's
 *
 * - The event descriptor is readable when io_reap has something to do; the daemon's loop waits
 *   for it.
 * - Requests in flight are in no order. Who needs an order submits the second from the done() of
 *   the first.
 * - Any number may be submitted: what exceeds the depth waits in a list made of the requests
 *   themselves. Nothing is dropped, and nothing is allocated after io_open.
 * - A write is whole or failed: short writes are continued, so `res` is `len` or a negative
 *   errno, and after an error the content of the range is unknown. Nothing that failed is
 *   retried; only a write that was interrupted, or would have had to wait, is made again a few
 *   times.
 *
 * Two implementations, chosen when it is opened: io_uring, and pwritev2 on one worker thread. A
 * third one, which loses and tears writes, belongs to the tests (io_impl.h says what one has to
 * provide).
 *
 * Threads: one struct io belongs to the thread that opened it, every call and every done()
 * included. It does not survive fork. A process that writes files should ignore SIGXFSZ, so that
 * a file size limit becomes -EFBIG instead of its end. */
#ifndef DAEMON_IO_H
#define DAEMON_IO_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/base.h"

/* What O_DIRECT wants of addresses, offsets and lengths, on every device we know of. */
#define IO_ALIGN SHM_PAGE

/* A staging buffer: the longest batch (1 MiB) and a block on either side of it. */
#define IO_BUF_SIZE ((1u << 20) + 2 * IO_ALIGN)

/* One write, in bytes; Linux itself stops at 2 GiB less a page. */
#define IO_WRITE_MAX (1u << 30)

/* Defaults and bounds of struct io_options. 64 is more than the daemon has batches; a disk queue is
 * rarely longer. Eight buffers of 1 MiB keep a fast disk busy, and three topics as busy as that leave
 * some for the others; one that was never taken costs nothing. A bit mask holds 64. */
#define IO_DEPTH_DEFAULT 64
#define IO_DEPTH_MAX 4096
#define IO_BUFS_DEFAULT 32
#define IO_BUFS_MAX 64

struct io;

enum io_verb {
    IO_WRITE = 1, /* len bytes from buf to offset off of fd */
    IO_SYNC,      /* fsync of fd, a file or a directory */
    IO_REMOVE, /* unlink name in the directory fd; close the file first, or close does the work */
};

#define IO_DURABLE (1u << 0)   /* IO_WRITE: done means on stable storage */
#define IO_DIRECTORY (1u << 1) /* IO_REMOVE: name is an empty directory */

/* One request. The caller zeroes it and fills the first part; from io_submit until done() it, the
 * bytes at buf and the text at name stay where they are and are not changed. In done() the
 * request is the caller's again: it may be submitted anew or freed. */
struct io_req {
    enum io_verb verb;
    int fd;
    uint32_t flags;
    uint32_t len;
    uint64_t off;
    const void *buf;
    const char *name;
    void (*done)(struct io_req *req);
    void *user;

    int32_t res; /* set before done(): bytes written, 0 for the other verbs, or a negative errno */

    /* Private to the implementation. */
    uint32_t moved;
    uint16_t tries;
    uint16_t step;
    struct io_req *next;
    struct io_req *covered; /* by the sync that this one waits for */
};

struct io_options {
    const char *want; /* "auto" (or NULL), "io_uring", "block" */
    uint32_t depth;   /* requests begun at once; 0: the default */
    uint32_t bufs;    /* staging buffers; 0: the default */
};

/* io_open makes a storage layer. options may be NULL. "auto" takes io_uring if the kernel allows it
 * and it passes a trial, else "block"; io_why says what was found. Call it on the thread that will
 * use it. -EINVAL: unknown name or a bound exceeded. "io_uring" where it is denied: what the kernel
 * said (-EPERM, -ENOSYS, ...), -ENOTSUP when a needed operation is missing or the trial failed.
 * -ENOMEM, -EMFILE, -EAGAIN (no thread). */
int io_open(const struct io_options *options, struct io **ret);

/* io_close waits until every request is done (running done()), then frees. NULL is fine; returns
 * NULL. */
struct io *io_close(struct io *io);

/* io_name is "io_uring" or "block"; io_why is a line for the operator: which one is in use, why,
 * and what it has to do without. The text may change while running; it lives as long as io. */
const char *io_name(const struct io *io);
const char *io_why(const struct io *io);

/* --- quick verbs: done when they return. 0 or the negative errno of the call. ------------ */

#define IO_OPEN_CREATE (1u << 0)    /* make it (mode 0600) if there is none */
#define IO_OPEN_EXCLUSIVE (1u << 1) /* with IO_OPEN_CREATE: -EEXIST if there is one */
#define IO_OPEN_TRUNCATE (1u << 2)
#define IO_OPEN_DIRECT (1u << 3)    /* past the page cache, where the file system can */
#define IO_OPEN_DIRECTORY (1u << 4) /* a directory, for IO_SYNC, IO_REMOVE and as a dirfd */

struct io_file {
    int fd;
    bool direct; /* O_DIRECT is in force: addresses, offsets, lengths are multiples of IO_ALIGN */
};

/* io_file_open opens name in dirfd (or AT_FDCWD) for reading and writing, a directory for
 * reading, never through a final symbolic link, closed on exec. O_DIRECT that is refused, that
 * the file system would not really do, or that wants coarser alignment than IO_ALIGN is left out,
 * and ret->direct says so. */
int io_file_open(struct io *io, int dirfd, const char *name, uint32_t flags, struct io_file *ret);

/* io_file_close closes; not while requests on fd are in flight. */
void io_file_close(struct io *io, int fd);

/* io_make_directory makes name (mode 0700) in dirfd. -EEXIST. */
int io_make_directory(struct io *io, int dirfd, const char *name);

/* io_allocate makes fd at least size bytes long, with the space reserved. Where the file system
 * cannot reserve, the file only gets its length: whoever needs certainty writes zeros over it.
 * -ENOSPC, -EFBIG. */
int io_allocate(struct io *io, int fd, uint64_t size);

/* io_rename renames inside one directory and replaces `to` if there is one, at one instant. It is
 * durable once dirfd has been synced. */
int io_rename(struct io *io, int dirfd, const char *from, const char *to);

/* --- requests ---------------------------------------------------------------------------- */

/* io_submit queues a request; it never fails and never blocks. A request that makes no sense (no
 * length, longer than IO_WRITE_MAX, no name, unknown verb) comes back with -EINVAL like any other
 * error. May be called from done(). Nothing begins before io_flush or the end of io_reap. */
void io_submit(struct io *io, struct io_req *req);

/* io_flush begins what was submitted, in one entry into the kernel. */
void io_flush(struct io *io);

/* io_event_fd is readable (poll, epoll, level-triggered) when io_reap has something to do, and
 * only then. It belongs to io; nobody else reads from it. */
int io_event_fd(const struct io *io);

/* io_reap runs done() of everything that has finished, begins what waits or was submitted
 * meanwhile, and returns how many were done. Never blocks. Not from done(). */
unsigned io_reap(struct io *io);

/* io_pending counts requests submitted whose done() has not been called. */
unsigned io_pending(const struct io *io);

/* io_drain flushes, waits and reaps until nothing is pending: blocks, for start and stop only. */
void io_drain(struct io *io);

/* --- staging buffers --------------------------------------------------------------------- */

/* io_buf_get hands out a buffer of IO_BUF_SIZE bytes, aligned to IO_ALIGN, with whatever content
 * was left in it; NULL when all are out. Never blocks on anything but memory: a buffer costs none
 * until first taken, and those with the lowest addresses are taken first. With io_uring it is
 * registered the first time, and a write from it needs no mapping; where the kernel refuses
 * (RLIMIT_MEMLOCK) it is written like any other memory, and io_why says so. */
void *io_buf_get(struct io *io);

/* io_buf_put gives it back; not while a write from it is in flight. */
void io_buf_put(struct io *io, void *buf);

/* io_buf_left counts those that io_buf_get could hand out now. */
unsigned io_buf_left(const struct io *io);

#endif
