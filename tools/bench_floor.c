/* The floors: the least that this machine can do at this moment, with no safety at all. */
#include "tools/bench.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* --- a bare cache line, there and back -------------------------------------------------------- */

int
bench_floor_ping(struct bench_shared *shared, const struct bench_job *job)
{
    uint64_t n = job->count;
    double *sample = malloc(n * sizeof *sample), scale = bench_tick_ns() / 2;

    if (!sample)
        return -ENOMEM;
    bench_meet(shared);
    for (uint64_t i = 1; i <= n; i++) {
        uint64_t start = bench_tick();
        atom_store_release(&shared->line[0][0], i);         /* release: BENCH_LINE */
        while (atom_load_acquire(&shared->line[1][0]) != i) /* acquire: BENCH_LINE */
            shm_pause();
        sample[i - 1] = (double)(bench_tick() - start) * scale;
    }
    shared->figure = bench_quantile(sample, n, 0.5);
    shared->p99 = bench_quantile(sample, n, 0.99);
    free(sample);
    return 0;
}

int
bench_floor_pong(struct bench_shared *shared, const struct bench_job *job)
{
    bench_meet(shared);
    for (uint64_t i = 1; i <= job->count; i++) {
        while (atom_load_acquire(&shared->line[0][0]) != i) /* acquire: BENCH_LINE */
            shm_pause();
        atom_store_release(&shared->line[1][0], i); /* release: BENCH_LINE */
    }
    return 0;
}

/* --- a bare ring: one writer, one reader, a stamp in each slot, nothing else ------------------ */

#define BARE_SLOTS 4096

static unsigned char *arena;

void *
bench_arena(uint64_t size)
{
    void *p =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    return arena = p == MAP_FAILED ? NULL : p;
}

static atom_u64 *
bare_slot(const struct bench_job *job, uint64_t i)
{
    return (atom_u64 *)(void *)(arena + (i % BARE_SLOTS) * shm_align(8 + job->size, SHM_LINE));
}

int
bench_floor_ring_write(struct bench_shared *shared, const struct bench_job *job)
{
    uint64_t seen = 0, message[512] = {0};

    bench_meet(shared);
    for (uint64_t i = 0; i < job->count; i++) {
        atom_u64 *slot = bare_slot(job, i);
        while (i - seen >= BARE_SLOTS) {
            seen = atom_load_acquire(&shared->line[1][0]); /* acquire: BENCH_LINE */
            shm_pause();
        }
        message[0] = i;
        atom_copy_in(slot + 1, message, job->size);
        atom_store_release(slot, i + 1); /* release: BENCH_LINE */
    }
    return 0;
}

int
bench_floor_ring_read(struct bench_shared *shared, const struct bench_job *job)
{
    uint64_t start, sum = 0;

    bench_meet(shared);
    start = bench_tick();
    for (uint64_t i = 0; i < job->count; i++) {
        atom_u64 *slot = bare_slot(job, i);
        while (atom_load_acquire(slot) != i + 1) {      /* acquire: BENCH_LINE */
            atom_store_release(&shared->line[1][0], i); /* release: BENCH_LINE */
            shm_pause();
        }
        sum += atom_load_relaxed(slot + 1);
        if (i % 32 == 0)
            atom_store_release(&shared->line[1][0], i); /* release: BENCH_LINE */
    }
    shared->figure = (double)job->count / ((double)(bench_tick() - start) * bench_tick_ns()) * 1e3;
    return sum == job->count * (job->count - 1) / 2 ? 0 : -EBADMSG;
}

/* --- a copy of the same bytes ------------------------------------------------------------------ */

int
bench_floor_copy(struct bench_shared *shared, const struct bench_job *job)
{
    unsigned char *from = malloc(job->size), *to = malloc(job->size);
    uint64_t start;

    if (!from || !to) {
        free(from);
        free(to);
        return -ENOMEM;
    }
    memset(from, 1, job->size);
    memset(to, 2, job->size);
    start = bench_tick();
    for (uint64_t i = 0; i < job->count; i++) {
        memcpy(to, from, job->size);
        from[i % job->size] = to[(i * 7) % job->size];
    }
    shared->figure = (double)(bench_tick() - start) * bench_tick_ns() / (double)job->count;
    free(from);
    free(to);
    return 0;
}

int
bench_nobody(struct bench_shared *shared, const struct bench_job *job)
{
    (void)shared, (void)job;
    return 0;
}

/* --- a bare durable writer: io_uring, O_DIRECT, RWF_DSYNC, 1 MiB at a time, four in flight ---- */

#define DISK_CHUNK (1u << 20)
#define DISK_DEPTH 4

struct disk {
    struct io_uring ring;
    unsigned char *buf;
    int fd;
    uint64_t bytes, issued, done;
    unsigned flight;
};

static int
disk_open(struct disk *d, const struct bench_job *job)
{
    char path[4096];

    (void)snprintf(path, sizeof path, "%s/floor", job->options->dir);
    d->bytes = shm_align(job->count * job->size, DISK_CHUNK);
    d->fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    if (d->fd < 0)
        d->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (d->fd < 0)
        return -errno;
    (void)unlink(path);
    d->buf = mmap(NULL, DISK_CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (d->buf == MAP_FAILED)
        return -ENOMEM;
    memset(d->buf, 'x', DISK_CHUNK);
    /* Written once before, as leat's segments are. */
    for (uint64_t off = 0; off < d->bytes; off += DISK_CHUNK)
        if (pwrite(d->fd, d->buf, DISK_CHUNK, (off_t)off) != DISK_CHUNK)
            return -EIO;
    if (fsync(d->fd))
        return -errno;
    return io_uring_queue_init(DISK_DEPTH * 2, &d->ring, 0);
}

static int
disk_step(struct disk *d)
{
    struct io_uring_cqe *cqe;
    int r;

    while (d->flight < DISK_DEPTH && d->issued < d->bytes) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&d->ring);
        io_uring_prep_write(sqe, d->fd, d->buf, DISK_CHUNK, d->issued);
        sqe->rw_flags = RWF_DSYNC;
        d->issued += DISK_CHUNK;
        d->flight++;
    }
    r = io_uring_submit_and_wait(&d->ring, 1);
    if (r < 0)
        return r;
    while (!io_uring_peek_cqe(&d->ring, &cqe)) {
        r = cqe->res;
        io_uring_cqe_seen(&d->ring, cqe);
        if (r != DISK_CHUNK)
            return r < 0 ? r : -EIO;
        d->flight--;
        d->done += DISK_CHUNK;
    }
    return 0;
}

int
bench_floor_disk(struct bench_shared *shared, const struct bench_job *job)
{
    struct disk d = {0};
    uint64_t start;
    int r = disk_open(&d, job);

    if (r)
        return r;
    start = bench_tick();
    while (!r && d.done < d.bytes)
        r = disk_step(&d);
    shared->figure = (double)d.bytes / ((double)(bench_tick() - start) * bench_tick_ns()) * 1e3;
    io_uring_queue_exit(&d.ring);
    close(d.fd);
    return r;
}
