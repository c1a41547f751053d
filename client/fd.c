/* A descriptor that is readable while there is something to receive: an eventfd that the kernel
 * signals when the topic's word changes. Best by an io_uring futex wait with the eventfd registered
 * (the ring's own descriptor in epoll would give EINTR at every wake-up); where that is not to be
 * had, by a thread that waits and signals and does nothing else. */
#include "client/client.h"

#include <liburing.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "shm/testpoint.h"

/* What liburing 2.3 does not know yet (kernel 6.7, include/uapi/linux/io_uring.h and futex.h). */
#define OP_FUTEX_WAIT 51
#define FUTEX_SIZE_U32 2
#define FUTEX_ANY 0xffffffffull

/* A waker that is stopped between claiming a wake-up and delivering it costs at most this. Longer
 * than other sleeps, because each end of it is a wake-up of the user's own loop, for nothing. */
#define BOUND_NS 1000000000ll
/* One that waits for the daemon to hand out a segment looks again after this time. */
#define STALLED_NS 100000000ll

struct leat__fd {
    int event;
    bool by_ring, threaded; /* neither: there was no means for either, and it is tried again */
    uint32_t ends;          /* of the wait in the kernel and of its bound, to be taken yet */
    struct io_uring ring;
    struct __kernel_timespec bound;
    /* The thread. It owns what `go` hands to it until it clears `busy`. */
    pthread_t thread;
    atom_u32 go, busy, stop;
    const struct ring_view *view;
    const atom_u32 *word;
    uint32_t value;
    uint64_t next;
    bool durable_only;
};

static void
signal_event(const struct leat__fd *f)
{
    uint64_t one = 1;

    (void)!write(f->event, &one, sizeof one);
}

static void
drain_event(const struct leat__fd *f)
{
    uint64_t count;

    (void)!read(f->event, &count, sizeof count);
}

/* --- by io_uring ------------------------------------------------------------------------------ */

static bool
knows_futex(struct io_uring *ring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    bool knows = probe && io_uring_opcode_supported(probe, OP_FUTEX_WAIT);

    io_uring_free_probe(probe);
    return knows;
}

static int
ring_open(struct leat__fd *f)
{
    int r;

    f->by_ring = false;
    f->ends = 0;
    r = io_uring_queue_init(4, &f->ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (r)
        return r;
    r = knows_futex(&f->ring) ? io_uring_ring_dontfork(&f->ring) : -ENOSYS;
    if (!r)
        r = io_uring_register_eventfd(&f->ring, f->event);
    if (r)
        io_uring_queue_exit(&f->ring);
    f->by_ring = !r;
    return r;
}

/* Takes what has completed: 0 or a negative errno. The wait and its bound end together, and both
 * ends are taken together: the kernel signals the eventfd only for work that is the first in its
 * list, so what is left there would swallow the next signal. */
static int
ring_reap(struct leat__fd *f)
{
    struct io_uring_cqe *cqe;
    int r = io_uring_get_events(&f->ring);

    while (r >= 0 || r == -EINTR) {
        r = f->ends == 1 ? io_uring_wait_cqe(&f->ring, &cqe) : io_uring_peek_cqe(&f->ring, &cqe);
        if (r)
            continue;
        f->ends--;
        io_uring_cqe_seen(&f->ring, cqe);
    }
    return r == -EAGAIN ? 0 : r;
}

static int
ring_submit(struct leat__fd *f, const struct leat_sub *s, const atom_u32 *word, uint32_t value)
{
    struct io_uring_sqe *wait = io_uring_get_sqe(&f->ring), *bound = io_uring_get_sqe(&f->ring);
    int r;

    if (!wait || !bound)
        return -EBUSY;
    memset(wait, 0, sizeof *wait);
    wait->opcode = OP_FUTEX_WAIT;
    wait->fd = FUTEX_SIZE_U32;
    wait->flags = IOSQE_IO_LINK;
    wait->addr = (uintptr_t)word;
    wait->off = value;
    wait->addr3 = FUTEX_ANY;
    f->bound =
        (struct __kernel_timespec){.tv_sec = (s->from_log ? STALLED_NS : BOUND_NS) / 1000000000,
                                   .tv_nsec = (s->from_log ? STALLED_NS : BOUND_NS) % 1000000000};
    io_uring_prep_link_timeout(bound, &f->bound, 0);
    do
        r = io_uring_submit(&f->ring);
    while (r == -EINTR);
    if (r < 0)
        return r;
    f->ends = 2;
    return 0;
}

/* Nothing signalled is left over, and what is signalled from now on makes the descriptor readable.
 * A completion that came between the first look and the emptying is found by the second. */
static int
ring_quiet(struct leat__fd *f)
{
    int r = ring_reap(f);

    drain_event(f);
    if (r || !f->ends)
        return r;
    r = ring_reap(f);
    if (!f->ends)
        drain_event(f);
    return r;
}

/* --- by a thread ------------------------------------------------------------------------------ */

/* Waits until the word is another, or, because a wake-up may be stuck in a stopped process, until
 * there is something to read. */
static void
watch_word(struct leat__fd *f)
{
    while (!atom_load_acquire(&f->stop)) { /* acquire: FD_GO */
        uint64_t next = f->next;
        if (shm_event_wait(f->word, f->value, LIMIT_SLEEP_NS) == 0 ||
            leat__ring_ready(f->view, &next, f->durable_only))
            return;
    }
}

static void *
watch(void *arg)
{
    struct leat__fd *f = arg;
    uint32_t served = 0;

    while (!atom_load_acquire(&f->stop)) {       /* acquire: FD_GO */
        uint32_t go = atom_load_acquire(&f->go); /* acquire: FD_GO */
        if (go == served) {
            (void)shm_event_wait(&f->go, served, 3600ll * 1000000000);
            continue;
        }
        served = go;
        watch_word(f);
        atom_store_release(&f->busy, 0); /* release: FD_DONE */
        signal_event(f);
    }
    return NULL;
}

static int
thread_open(struct leat__fd *f)
{
    sigset_t all, before;
    int r;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&f->thread, NULL, watch, f);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    f->threaded = !r;
    return -r;
}

static void
thread_go(struct leat__fd *f)
{
    atom_store_release(&f->go, atom_load_relaxed(&f->go) + 1); /* release: FD_GO */
    shm_event_wake(&f->go);
}

static void
thread_arm(struct leat__fd *f, const struct leat_sub *s, const atom_u32 *word, uint32_t value)
{
    if (atom_load_acquire(&f->busy)) /* acquire: FD_DONE */
        return;
    f->view = &s->map.view;
    f->word = word;
    f->value = value;
    f->next = s->ring.next;
    f->durable_only = s->durable_only;
    atom_store_relaxed(&f->busy, 1);
    thread_go(f);
}

static void
thread_close(struct leat__fd *f, struct leat_sub *s)
{
    struct ring_control *c = ring_control(&s->map.view);

    atom_store_release(&f->stop, 1); /* release: FD_GO */
    thread_go(f);
    shm_event_bump(s->durable_only ? &c->durable_wait : &c->sleep);
    (void)pthread_join(f->thread, NULL);
}

/* --- both ------------------------------------------------------------------------------------- */

/* The ring may have been made by a thread that does not use the subscription any more: then this
 * one makes its own. */
static int
ring_again(struct leat__fd *f)
{
    int r;

    io_uring_queue_exit(&f->ring);
    r = ring_open(f);
    return r ? thread_open(f) : 0;
}

static int
wait_for(struct leat__fd *f, const struct leat_sub *s, const atom_u32 *word, uint32_t value)
{
    int r;

    if (f->by_ring) {
        r = f->ends ? 0 : ring_submit(f, s, word, value);
        if (!r)
            return 0;
        r = ring_again(f);
        if (r)
            return r;
    }
    if (f->by_ring)
        return ring_submit(f, s, word, value);
    r = f->threaded ? 0 : thread_open(f);
    if (r)
        return r;
    thread_arm(f, s, word, value);
    return 0;
}

int
leat__fd_arm(struct leat_sub *s)
{
    struct ring_control *c = ring_control(&s->map.view);
    atom_u32 *word = s->durable_only ? &c->durable_wait : &c->sleep;
    struct leat__fd *f = s->fd;
    uint64_t next = s->ring.next;
    uint32_t v;
    int r = 0;

    if (f->by_ring)
        r = ring_quiet(f);
    else
        drain_event(f);
    if (r) {
        r = ring_again(f);
        drain_event(f);
    }
    v = shm_event_arm(word);
    TESTPOINT("fd.armed");
    if (!r)
        r = wait_for(f, s, word, v);
    if (r) {
        leat__fd_poke(s);
        return leat__fail(s->bus, r, "leat_sub_fd cannot wait: %s", leat_strerror(r));
    }
    r = shm_event_barrier((enum shm_barrier)s->map.view.geo.barrier);
    if (s->durable_only)
        (void)leat__ring(s->bus, s->map.topic_id);
    if (!s->from_log && leat__ring_ready(&s->map.view, &next, s->durable_only)) {
        leat__fd_poke(s);
        return LEAT__AGAIN;
    }
    /* Without the barrier a wake-up may be missed: whoever polls then finds the descriptor always
     * readable. */
    if (r)
        leat__fd_poke(s);
    return 0;
}

void
leat__fd_poke(struct leat_sub *s)
{
    signal_event(s->fd);
}

int
leat_sub_fd(leat_sub *sub)
{
    struct leat__fd *f;
    int r;

    if (!sub)
        return -EINVAL;
    if (!leat__alive(sub->life))
        return -ECHILD;
    if (sub->fd)
        return sub->fd->event;
    f = leat__new(sizeof *f);
    if (!f)
        return leat__fail(sub->bus, -ENOMEM, "no memory for a descriptor");
    /* Readable at first, so that whoever polls begins by receiving. */
    f->event = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    r = f->event < 0 ? -errno : ring_open(f);
    if (r && f->event >= 0)
        r = thread_open(f);
    if (r) {
        if (f->event >= 0)
            close(f->event);
        free(f);
        return leat__fail(sub->bus, r, "leat_sub_fd: %s", leat_strerror(r));
    }
    sub->fd = f;
    return f->event;
}

void
leat__fd_close(struct leat_sub *s)
{
    struct leat__fd *f = s->fd;
    bool alive = leat__alive(s->life);

    if (!f)
        return;
    s->fd = NULL;
    /* In a forked child there is no thread, and the ring's maps were not inherited. */
    if (f->by_ring && alive)
        io_uring_queue_exit(&f->ring);
    else if (f->by_ring)
        close(f->ring.ring_fd);
    else if (f->threaded && alive)
        thread_close(f, s);
    close(f->event);
    free(f);
}
