/* io_impl.h - what an implementation of storage provides and what it is given. Only io*.c and the
 * simulator of the tests include this.
 *
 * An implementation embeds struct io as its first member, calls io__init on it, and moves
 * requests:
 *
 *     waiting --io__take--> begun --io__result--> finished, or back to waiting if there is more
 *
 * Lists, counts and buffers are touched on the owner's thread only. */
#ifndef DAEMON_IO_IMPL_H
#define DAEMON_IO_IMPL_H

#include <stddef.h>
#include <sys/types.h>

#include "daemon/io.h"

/* How often a call that was interrupted or would have blocked is made again, without progress. */
#define IO_TRIES 16

/* First in, first out, linked through io_req.next. An empty list is all zeroes. */
struct io_list {
    struct io_req *head;
    struct io_req *tail;
};

struct io_ops {
    const char *name;

    /* The quick verbs, as in io.h; most take the io__file_ functions below. */
    int (*file_open)(struct io *io, int dirfd, const char *name, uint32_t flags,
                     struct io_file *ret);
    void (*file_close)(struct io *io, int fd);
    int (*make_directory)(struct io *io, int dirfd, const char *name);
    int (*allocate)(struct io *io, int fd, uint64_t size);
    int (*rename)(struct io *io, int dirfd, const char *from, const char *to);

    /* Takes requests with io__take until it returns NULL, and begins them. */
    void (*begin)(struct io *io);

    /* Empties the event descriptor, then passes every completion there is to io__result or
     * io__finish. What completes after the descriptor was emptied for the last time leaves it
     * readable. */
    void (*collect)(struct io *io);

    /* Registers the buffer with the kernel. May be NULL. 0 or a negative errno. */
    int (*buf_register)(struct io *io, unsigned idx);

    /* Ends the implementation and frees the object; nothing is pending. Calls io__fini. */
    void (*stop)(struct io *io);
};

struct io {
    const struct io_ops *ops;
    struct io_list waiting;  /* submitted, not begun */
    struct io_list finished; /* res is set, done() has not run */
    unsigned depth;          /* begun is at most this */
    unsigned begun;          /* begun, not finished */
    unsigned pending;        /* submitted, done() has not run */
    int event_fd;
    bool sync_after; /* a durable write is written and then synced (io__file_flushes) */
    dev_t device;    /* of the file opened last, of which that is known */

    uint8_t *pool; /* buf_cnt buffers of IO_BUF_SIZE; untouched pages cost nothing */
    unsigned buf_cnt;
    uint64_t buf_free;       /* one bit per buffer: nobody has it */
    uint64_t buf_tried;      /* ... it has been taken once, so registering has been tried */
    uint64_t buf_registered; /* ... the kernel knows it */

    char why[320];
};

/* io__init fills in a zeroed struct io: the event descriptor and the address space of the pool. The
 * options are complete and within bounds. -ENOMEM, -EMFILE. io__fini undoes it, also half done. */
int io__init(struct io *io, const struct io_ops *ops, const struct io_options *options);
void io__fini(struct io *io);

/* The implementations. reason: why this one, or why not the other; on failure of io__uring_open,
 * reason says what was refused. */
#define IO_REASON 160
int io__uring_open(const struct io_options *options, char reason[IO_REASON], struct io **ret);
int io__block_open(const struct io_options *options, const char *reason, struct io **ret);

void io__append(struct io_list *list, struct io_req *req);
struct io_req *io__pop(struct io_list *list);

/* io__take gives the next request to begin, or NULL: none waits, or depth requests are begun.
 * io__give_back undoes it. */
struct io_req *io__take(struct io *io);
void io__give_back(struct io *io, struct io_req *req);

/* io__settled accounts one attempt at req, with what the call returned. True: res is set, it is
 * over. False: there is more to do, from io__rest on. Touches nothing but req, so a worker may
 * call it. */
bool io__settled(struct io_req *req, int64_t res);

/* What is left to be written. */
static inline const uint8_t *
io__rest(const struct io_req *req)
{
    return (const uint8_t *)req->buf + req->moved;
}

/* io__finish passes on a begun request whose res is set. io__result is io__settled, and then
 * finishes it or lets it wait for another attempt. */
void io__finish(struct io *io, struct io_req *req);
void io__result(struct io *io, struct io_req *req, int64_t res);

/* io__poke makes the event descriptor readable, io__hush empties it. */
void io__poke(const struct io *io);
void io__hush(const struct io *io);

/* io__buf_index is the number of the registered buffer in which all of [at, at + len) lies, or
 * -1. */
int io__buf_index(const struct io *io, const void *at, uint32_t len);

/* io__note adds a sentence to io_why. */
void io__note(struct io *io, const char *text, int error);

int io__file_open(struct io *io, int dirfd, const char *name, uint32_t flags, struct io_file *ret);
void io__file_close(struct io *io, int fd);
int io__file_make_directory(struct io *io, int dirfd, const char *name);
int io__file_allocate(struct io *io, int fd, uint64_t size);
int io__file_rename(struct io *io, int dirfd, const char *from, const char *to);

/* io__file_flushes says whether a durable write to fd ends with a flush of its device's cache: 1
 * yes, 0 no (no such cache, or writes that pass it), negative: the device does not tell. */
int io__file_flushes(int fd);

#endif
