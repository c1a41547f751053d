/* bench.h - leat bench: leat's figures beside this machine's floor, taken in turn in the same run.
 *
 * A figure without its floor says nothing on a shared machine whose cores sit near or far from each other
 * from minute to minute. So every test runs in rounds; each round measures the floor, then leat, in real processes
 * pinned to two processors; what is printed are both medians and the median of the rounds' ratios.
 */
#ifndef TOOLS_BENCH_H
#define TOOLS_BENCH_H

#include <stdbool.h>
#include <sys/types.h>

#include "leat.h"
#include "shm/atomic.h"
#include "shm/base.h"

#define BENCH_ROUNDS_MAX 99

struct bench_options {
    int rounds;
    int cpu[2];
    uint64_t count;  /* messages a round; 0: the test's own choice */
    uint64_t size;   /* bytes of a message; 0: the test's own */
    const char *dir; /* where a private daemon keeps its files */
    int json;
};

/* What the processes of one measurement share. */
struct bench_shared {
    atom_u32 ready; /* how many stand at the start */
    atom_u32 go;
    atom_u32 done;
    atom_u32 failed;
    uint8_t apart0[112];
    atom_u64 line[2][16]; /* the bare cache lines, one each way, a pair of lines apart */
    double figure;        /* of the process that measures */
    double p99;
    char what[200]; /* why a process failed */
};

/* One measurement: two roles in two pinned processes. `run` returns 0, or a negative errno. */
struct bench_job {
    int (*role[2])(struct bench_shared *, const struct bench_job *);
    const struct bench_options *options;
    const char *bus; /* socket of the private daemon */
    const char *topic;
    uint64_t count, size;
    int variant;
};

/* bench_measure runs a job once: 0 and its figure, or a negative errno after a line on stderr. */
int bench_measure(const struct bench_job *job, double *ret, double *ret_p99);

/* A row of the result: floor and leat interleaved. */
struct bench_row {
    const char *test, *unit, *floor_name;
    uint64_t size;
    int rounds, higher_is_better;
    double floor[BENCH_ROUNDS_MAX], leat[BENCH_ROUNDS_MAX], p99[BENCH_ROUNDS_MAX];
    double goal; /* of the ratio; 0: none */
};

/* bench_interrupts makes SIGINT, SIGTERM and SIGHUP set a flag: whoever is asked to end still cleans up after himself.
 * bench_child is for a process of ours right after the fork: a signal ends it, and so does the end of its parent. */
void bench_interrupts(void);
bool bench_interrupted(void);
void bench_child(pid_t parent);

/* bench_interleave fills a row by running both jobs in turn. */
int bench_interleave(struct bench_row *row, const struct bench_job *floor,
                     const struct bench_job *leat);
void bench_print(const struct bench_row *row, const struct bench_options *options);

/* Time stamps of a single core's work: cheap, and converted once. */
uint64_t bench_tick(void);
double bench_tick_ns(void);

/* The floors. */
int bench_floor_ping(struct bench_shared *, const struct bench_job *);
int bench_floor_pong(struct bench_shared *, const struct bench_job *);
int bench_floor_ring_write(struct bench_shared *, const struct bench_job *);
int bench_floor_ring_read(struct bench_shared *, const struct bench_job *);
int bench_floor_copy(struct bench_shared *, const struct bench_job *);
int bench_floor_disk(struct bench_shared *, const struct bench_job *);
int bench_nobody(struct bench_shared *, const struct bench_job *);

/* Both ends meet here before the clock starts. */
void bench_meet(struct bench_shared *shared);

/* Sorts and picks. */
double bench_quantile(double *values, size_t n, double q);

/* Memory that both processes of a floor share; made before the fork, gone after. */
void *bench_arena(uint64_t size);

#endif
