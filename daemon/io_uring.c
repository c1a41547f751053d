/* Storage by io_uring. The kernel is probed, never assumed: flags, operations, buffers, and that a
 * completion which the kernel prepares on its own makes the event descriptor readable. */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "daemon/io_impl.h"

#define CQE_BATCH 32

/* Where a durable write stands that is written and then synced (choose_step). */
enum step { STEP_WHOLE = 0, STEP_THEN_SYNC, STEP_SYNC };

struct io_ring {
    struct io io;
    struct io_uring uring;
    int broken;      /* entering the kernel failed with this, for good; 0 while all is well */
    int table;       /* of registered buffers: 0 not asked for yet, 1 there, or why it is refused */
    bool can_remove; /* IORING_OP_UNLINKAT */
    struct io_list written; /* durable writes that wait for a sync */
    struct io_req
        *syncing[IO_DEPTH_MAX]; /* one per file: waits for its sync, with those it covers */
    unsigned syncing_cnt;
};

/* From the best to what every kernel has. Deferred: completions are prepared only when we ask, so
 * they interrupt nothing (6.1); cooperative: at our next system call (5.19). */
static const struct mode {
    unsigned flags;
    const char *text;
} modes[] = {
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
         IORING_SETUP_SUBMIT_ALL,
     "deferred completions"},
    {IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
     "cooperative completions"},
    {0, "no setup flags"},
};

/* --- requests into the ring -------------------------------------------------------------- */

/* RWF_DSYNC makes a write durable in one request. But where the device has a cache to be flushed,
 * the kernel does that on a worker thread for each write, and on a machine whose processors are
 * all busy it waits for its turn: 4 ms were measured instead of 0.1. And some file systems forget
 * it. There a durable write is written, and then synced: a sync that begins after a write has completed covers it, so one
 * covers all that completed while the one before was under way. */
static void
choose_step(const struct io *io, struct io_req *req)
{
    if (req->flags & IO_DURABLE && io->sync_after)
        req->step = STEP_THEN_SYNC;
}

static void
prepare_write(struct io_ring *ring, struct io_uring_sqe *sqe, struct io_req *req)
{
    const uint8_t *at = io__rest(req);
    uint32_t len = req->len - req->moved;
    uint64_t off = req->off + req->moved;
    int idx = io__buf_index(&ring->io, at, len);

    choose_step(&ring->io, req);
    if (idx >= 0)
        io_uring_prep_write_fixed(sqe, req->fd, at, len, off, idx);
    else
        io_uring_prep_write(sqe, req->fd, at, len, off);
    if (req->flags & IO_DURABLE && req->step == STEP_WHOLE)
        sqe->rw_flags = RWF_DSYNC;
}

static void
prepare(struct io_ring *ring, struct io_uring_sqe *sqe, struct io_req *req)
{
    switch (req->verb) {
    case IO_WRITE:
        if (req->step == STEP_SYNC)
            io_uring_prep_fsync(sqe, req->fd, IORING_FSYNC_DATASYNC);
        else
            prepare_write(ring, sqe, req);
        break;
    case IO_SYNC:
        io_uring_prep_fsync(sqe, req->fd, 0);
        break;
    case IO_REMOVE:
        io_uring_prep_unlinkat(sqe, req->fd, req->name,
                               req->flags & IO_DIRECTORY ? AT_REMOVEDIR : 0);
        break;
    }
    io_uring_sqe_set_data(sqe, req);
}

/* For kernels without IORING_OP_UNLINKAT (before 5.11): the loop waits for it. */
static void
remove_now(struct io_ring *ring, struct io_req *req)
{
    int flags = req->flags & IO_DIRECTORY ? AT_REMOVEDIR : 0;

    io__result(&ring->io, req, unlinkat(req->fd, req->name, flags) ? -errno : 0);
}

/* --- one sync for many writes ------------------------------------------------------------ */

static unsigned
find_syncing(const struct io_ring *ring, int fd)
{
    unsigned i = 0;

    while (i < ring->syncing_cnt && ring->syncing[i]->fd != fd)
        i++;
    return i;
}

/* Gives a sync to each file that has written and unsynced requests and no sync under way. */
static void
start_syncs(struct io_ring *ring)
{
    const unsigned begun = ring->syncing_cnt;
    struct io_list later = {NULL, NULL};
    struct io_req *req;
    unsigned i;

    while ((req = io__pop(&ring->written))) {
        i = find_syncing(ring, req->fd);
        if (i < begun) {
            io__append(&later, req);
        } else if (i < ring->syncing_cnt) {
            req->next = ring->syncing[i]->covered;
            ring->syncing[i]->covered = req;
        } else {
            req->covered = NULL;
            ring->syncing[ring->syncing_cnt++] = req;
        }
    }
    ring->written = later;
    for (i = begun; i < ring->syncing_cnt; i++) {
        ring->syncing[i]->step = STEP_SYNC;
        io__give_back(&ring->io, ring->syncing[i]);
    }
}

/* A sync has ended: so have the writes it covers. */
static void
synced(struct io_ring *ring, struct io_req *leader, int64_t res)
{
    struct io_req *req = leader->covered, *next;
    unsigned i = find_syncing(ring, leader->fd);

    ring->syncing[i] = ring->syncing[--ring->syncing_cnt];
    leader->res = res < 0 ? (int32_t)res : (int32_t)leader->len;
    io__finish(&ring->io, leader);
    for (; req; req = next) {
        next = req->next;
        req->res = res < 0 ? (int32_t)res : (int32_t)req->len;
        io__finish(&ring->io, req);
    }
}

/* A begun request has failed as a whole. */
static void
conclude(struct io_ring *ring, struct io_req *req, int error)
{
    if (req->step == STEP_SYNC)
        synced(ring, req, error);
    else
        io__result(&ring->io, req, error);
}

/* --- beginning --------------------------------------------------------------------------- */

/* True: it is in the ring, or finished. False: the ring is full. */
static bool
begin_one(struct io_ring *ring, struct io_req *req)
{
    struct io_uring_sqe *sqe;

    if (ring->broken) {
        conclude(ring, req, ring->broken);
        return true;
    }
    if (req->verb == IO_REMOVE && !ring->can_remove) {
        remove_now(ring, req);
        return true;
    }
    sqe = io_uring_get_sqe(&ring->uring);
    if (!sqe)
        return false;
    prepare(ring, sqe, req);
    return true;
}

static bool
is_passing(int error)
{
    return error == -EAGAIN || error == -EBUSY || error == -EINTR || error == -ENOMEM;
}

/* The kernel will not take what is in the submission ring, now or ever: those requests are
 * finished with its answer, and the entries are made harmless, since they cannot be taken out. */
static void
break_ring(struct io_ring *ring, int error)
{
    struct io_uring_sq *sq = &ring->uring.sq;
    unsigned cnt = io_uring_sq_ready(&ring->uring);
    struct io_uring_sqe *sqe;
    struct io_req *req;
    unsigned i;

    ring->broken = error;
    io__note(&ring->io, "io_uring stopped working", error);
    for (i = 0; i < cnt; i++) {
        sqe = &sq->sqes[(sq->sqe_tail - cnt + i) & *sq->kring_mask];
        req = (struct io_req *)(uintptr_t)sqe->user_data;
        io_uring_prep_nop(sqe);
        io_uring_sqe_set_data(sqe, NULL);
        if (req)
            conclude(ring, req, error);
    }
}

static void
enter(struct io_ring *ring)
{
    int r = 1;

    if (ring->broken)
        return;
    while (r > 0 && io_uring_sq_ready(&ring->uring)) {
        r = io_uring_submit(&ring->uring);
        if (r == -EINTR)
            r = 1;
    }
    if (r < 0 && !is_passing(r)) {
        break_ring(ring, r);
        return;
    }
    /* Short of memory, say. If something is in flight its completion brings us back, else we come
     * at once. */
    if (r <= 0 && io_uring_sq_ready(&ring->uring) >= ring->io.begun)
        io__poke(&ring->io);
}

static void
ring_begin(struct io *io)
{
    struct io_ring *ring = (struct io_ring *)io;
    struct io_req *req;

    while ((req = io__take(io))) {
        if (!begin_one(ring, req)) {
            io__give_back(io, req);
            break;
        }
    }
    enter(ring);
}

/* --- completions ------------------------------------------------------------------------- */

static void
completed(struct io_ring *ring, struct io_req *req, int32_t res)
{
    if (req->step == STEP_SYNC) {
        synced(ring, req, res);
    } else if (!io__settled(req, res)) {
        io__give_back(&ring->io, req);
    } else if (req->step == STEP_THEN_SYNC && req->res >= 0) {
        io__append(&ring->written, req);
    } else {
        io__finish(&ring->io, req);
    }
}

static unsigned
take_completions(struct io_ring *ring)
{
    struct io_uring_cqe *cqes[CQE_BATCH];
    unsigned i, n, sum = 0;
    struct io_req *req;

    while ((n = io_uring_peek_batch_cqe(&ring->uring, cqes, CQE_BATCH))) {
        for (i = 0; i < n; i++) {
            req = io_uring_cqe_get_data(cqes[i]);
            if (req)
                completed(ring, req, cqes[i]->res);
        }
        io_uring_cq_advance(&ring->uring, n);
        sum += n;
    }
    start_syncs(ring);
    return sum;
}

/* Looking runs the work that the kernel has deferred, and that makes the descriptor readable once
 * more. So it is emptied before each look, until one finds nothing: then it is readable only for
 * what came later. */
static void
ring_collect(struct io *io)
{
    struct io_ring *ring = (struct io_ring *)io;

    do {
        io__hush(io);
    } while (take_completions(ring));
}

/* --- buffers ----------------------------------------------------------------------------- */

/* The table is made empty, and each buffer is entered when it is first used: registering pins
 * memory. */
static int
ring_buf_register(struct io *io, unsigned idx)
{
    struct io_ring *ring = (struct io_ring *)io;
    struct iovec iov = {io->pool + (size_t)idx * IO_BUF_SIZE, IO_BUF_SIZE};
    __u64 tag = 0;
    int r;

    if (!ring->table) {
        r = io_uring_register_buffers_sparse(&ring->uring, io->buf_cnt);
        ring->table = r ? r : 1;
    }
    if (ring->table < 0)
        return ring->table;
    r = io_uring_register_buffers_update_tag(&ring->uring, idx, &iov, &tag, 1);
    if (r < 0)
        return r;
    return r == 1 ? 0 : -EIO;
}

/* --- open and close ---------------------------------------------------------------------- */

static int
probe_operations(struct io_ring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(&ring->uring);
    bool enough;

    if (!probe)
        return -ENOTSUP;
    enough = io_uring_opcode_supported(probe, IORING_OP_WRITE) &&
             io_uring_opcode_supported(probe, IORING_OP_WRITE_FIXED) &&
             io_uring_opcode_supported(probe, IORING_OP_FSYNC) &&
             io_uring_opcode_supported(probe, IORING_OP_TIMEOUT);
    ring->can_remove = io_uring_opcode_supported(probe, IORING_OP_UNLINKAT);
    io_uring_free_probe(probe);
    return enough ? 0 : -ENOTSUP;
}

/* A timer is completed by an interrupt, as a write is. Its completion must reach the descriptor
 * and then us. */
static int
trial(struct io_ring *ring)
{
    struct __kernel_timespec soon = {.tv_nsec = 1};
    struct pollfd p = {.fd = ring->io.event_fd, .events = POLLIN};
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    int r;

    if (!sqe)
        return -ENOTSUP;
    io_uring_prep_timeout(sqe, &soon, 0, 0);
    io_uring_sqe_set_data(sqe, NULL);
    r = io_uring_submit(&ring->uring);
    if (r < 0)
        return r;
    do {
        r = poll(&p, 1, 1000);
    } while (r < 0 && errno == EINTR);
    if (r != 1)
        return -ENOTSUP;
    io__hush(&ring->io);
    if (take_completions(ring) != 1)
        return -ENOTSUP;
    ring_collect(&ring->io);
    return 0;
}

static int
open_mode(struct io_ring *ring, const struct mode *mode, const char **ret_step)
{
    struct io_uring_params params = {.flags = mode->flags};
    int r;

    *ret_step = "io_uring_setup";
    r = io_uring_queue_init_params(ring->io.depth, &ring->uring, &params);
    if (r)
        return r;
    *ret_step = "registering an eventfd with io_uring";
    r = io_uring_register_eventfd(&ring->uring, ring->io.event_fd);
    if (r)
        goto out;
    *ret_step = "looking for io_uring operations";
    r = probe_operations(ring);
    if (r)
        goto out;
    *ret_step = "trying io_uring";
    r = trial(ring);
out:
    if (r) {
        io_uring_queue_exit(&ring->uring);
        io__hush(&ring->io);
    }
    return r;
}

static void
ring_stop(struct io *io)
{
    struct io_ring *ring = (struct io_ring *)io;

    io_uring_queue_exit(&ring->uring);
    io__fini(io);
    free(ring);
}

static const struct io_ops ring_ops = {
    .name = "io_uring",
    .file_open = io__file_open,
    .file_close = io__file_close,
    .make_directory = io__file_make_directory,
    .allocate = io__file_allocate,
    .rename = io__file_rename,
    .begin = ring_begin,
    .collect = ring_collect,
    .buf_register = ring_buf_register,
    .stop = ring_stop,
};

int
io__uring_open(const struct io_options *options, char reason[IO_REASON], struct io **ret)
{
    struct io_ring *ring = calloc(1, sizeof(*ring));
    const char *step = "making a pool of buffers";
    unsigned i;
    int r;

    if (!ring)
        return -ENOMEM;
    r = io__init(&ring->io, &ring_ops, options);
    if (r)
        goto out;
    /* -EINVAL is a kernel that does not know a flag, -ENOTSUP one that did not keep a promise. */
    for (i = 0, r = -EINVAL; i < sizeof(modes) / sizeof(modes[0]); i++) {
        r = open_mode(ring, &modes[i], &step);
        if (r != -EINVAL && r != -ENOTSUP)
            break;
    }
    if (r)
        goto out;
    (void)snprintf(ring->io.why, sizeof(ring->io.why), "io_uring (%s): %s", modes[i].text, reason);
    *ret = &ring->io;
    return 0;
out:
    (void)snprintf(reason, IO_REASON, "no io_uring, %s: %s%s", step, strerror(-r),
                   r == -ENOMEM ? " (RLIMIT_MEMLOCK?)" : "");
    io__fini(&ring->io);
    free(ring);
    return r;
}
