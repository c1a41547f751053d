/* leat bench: processes, rounds, medians. The measured things are in bench_floor.c and bench_leat.c. */
#include "tools/bench.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

uint64_t
bench_tick(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
#endif
}

static double
clock_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

double
bench_tick_ns(void)
{
    static double ns;

    if (ns <= 0) {
        double c0 = clock_ns(), c1 = c0;
        uint64_t t0 = bench_tick();
        while (c1 - c0 < 2e7)
            c1 = clock_ns();
        ns = (c1 - c0) / (double)(bench_tick() - t0);
    }
    return ns;
}

void
bench_meet(struct bench_shared *shared)
{
    (void)bench_tick_ns();
    (void)atomic_fetch_add(&shared->ready, 1);
    while (atom_load_relaxed(&shared->ready) < 2 && !atom_load_relaxed(&shared->failed))
        shm_pause();
}

static int
ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double
bench_quantile(double *values, size_t n, double q)
{
    size_t i = (size_t)((double)n * q);

    qsort(values, n, sizeof *values, ascending);
    return values[i < n ? i : n - 1];
}

/* --- processes -------------------------------------------------------------------------------- */

static const int endings[] = {SIGINT, SIGTERM, SIGHUP};
#define ENDINGS (sizeof endings / sizeof *endings)

static volatile sig_atomic_t interrupted;

static void
on_signal(int signal)
{
    (void)signal;
    interrupted = 1;
}

void
bench_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_signal}, was; /* no restart: waits end with it */

    (void)sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < ENDINGS; i++)
        if (!sigaction(endings[i], NULL, &was) && was.sa_handler != SIG_IGN) /* as nohup wants it */
            (void)sigaction(endings[i], &action, NULL);
}

bool
bench_interrupted(void)
{
    return interrupted != 0;
}

void
bench_child(pid_t parent)
{
    struct sigaction was;

    for (size_t i = 0; i < ENDINGS; i++)
        if (!sigaction(endings[i], NULL, &was) && was.sa_handler == on_signal)
            (void)signal(endings[i], SIG_DFL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
}

static void
run_role(struct bench_shared *shared, const struct bench_job *job, int role)
{
    cpu_set_t set;
    int r;

    CPU_ZERO(&set);
    CPU_SET((size_t)job->options->cpu[role], &set);
    (void)sched_setaffinity(0, sizeof set, &set);
    r = job->role[role](shared, job);
    if (r) {
        atom_store_relaxed(&shared->failed, 1);
        (void)fprintf(stderr, "leat bench: %s: %s\n",
                      shared->what[0] ? shared->what : "a process failed", leat_strerror(r));
    }
    _exit(r ? 1 : 0);
}

/* Waits for both: 0, or -1 when one of them, or anybody else, ended badly. Roles wait for each other without an end: the
 * one that is left over is killed. */
static int
await(struct bench_shared *shared, pid_t child[2])
{
    int status, bad = 0;

    while (child[0] > 0 || child[1] > 0) {
        pid_t pid = waitpid(-1, &status, 0);
        bool ours = pid > 0 && (pid == child[0] || pid == child[1]);
        if (ours)
            child[pid == child[1]] = 0;
        if (ours && !status)
            continue;
        if (pid < 0 && errno == EINTR && !interrupted)
            continue;
        bad = -1;
        atom_store_relaxed(&shared->failed, 1);
        for (int i = 0; i < 2; i++)
            if (child[i] > 0)
                (void)kill(child[i], SIGKILL);
        if (pid < 0 && errno != EINTR)
            break;
    }
    return bad;
}

int
bench_measure(const struct bench_job *job, double *ret, double *ret_p99)
{
    struct bench_shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child[2], parent = getpid();
    int bad = 0;

    if (shared == MAP_FAILED)
        return -errno;
    (void)fflush(NULL);
    for (int i = 0; i < 2; i++) {
        child[i] = fork();
        if (!child[i]) {
            bench_child(parent);
            run_role(shared, job, i);
        }
        if (child[i] < 0)
            bad = -1;
    }
    for (int i = 0; bad && i < 2; i++)
        if (child[i] > 0)
            (void)kill(child[i], SIGKILL);
    bad |= await(shared, child);
    *ret = shared->figure;
    *ret_p99 = shared->p99;
    (void)munmap(shared, sizeof *shared);
    return interrupted ? -EINTR : bad ? -EIO : 0;
}

int
bench_interleave(struct bench_row *row, const struct bench_job *floor, const struct bench_job *leat)
{
    double unused;

    row->rounds = leat->options->rounds;
    for (int i = 0; i < row->rounds; i++) {
        int r = bench_measure(floor, &row->floor[i], &unused);
        if (!r)
            r = bench_measure(leat, &row->leat[i], &row->p99[i]);
        if (r)
            return r;
    }
    return 0;
}

void
bench_print(const struct bench_row *row, const struct bench_options *options)
{
    double ratio[BENCH_ROUNDS_MAX], floor[BENCH_ROUNDS_MAX], leat[BENCH_ROUNDS_MAX];
    size_t n = (size_t)row->rounds;
    double f, l, r;
    const char *verdict = "";

    for (size_t i = 0; i < n; i++) {
        floor[i] = row->floor[i];
        leat[i] = row->leat[i];
        ratio[i] = leat[i] / floor[i];
    }
    f = bench_quantile(floor, n, 0.5);
    l = bench_quantile(leat, n, 0.5);
    r = bench_quantile(ratio, n, 0.5);
    if (row->goal > 0)
        verdict = (row->higher_is_better ? r >= row->goal : r <= row->goal) ? "met" : "missed";
    if (options->json) {
        printf("{\"test\":\"%s\",\"size\":%llu,\"unit\":\"%s\",\"leat\":%.3f,\"leat_min\":%.3f,"
               "\"leat_max\":%.3f,\"floor\":%.3f,\"floor_is\":\"%s\",\"ratio\":%.3f,"
               "\"goal\":%.2f,\"rounds\":%zu}\n",
               row->test, (unsigned long long)row->size, row->unit, l, leat[0], leat[n - 1], f,
               row->floor_name, r, row->goal, n);
    } else {
        printf("%-11s %8llu B  leat %9.2f %-6s (%.2f..%.2f)  %s %9.2f  ratio %5.2f", row->test,
               (unsigned long long)row->size, l, row->unit, leat[0], leat[n - 1], row->floor_name,
               f, r);
        if (row->goal > 0)
            printf("  goal %s %.2f: %s", row->higher_is_better ? ">=" : "<=", row->goal, verdict);
        printf("\n");
    }
    (void)fflush(stdout);
}
