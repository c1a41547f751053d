/* leat's side of each measurement, through the public library, and the verb itself. */
#include "tools/bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/process.h"

#define MIB (1ull << 20)

int verb_bench(int argc, char **argv);

/* --- ends ------------------------------------------------------------------------------------- */

struct end {
    leat_bus *bus;
    leat_pub *pub;
    leat_sub *sub;
};

static int
complain(struct bench_shared *shared, leat_bus *bus, int r)
{
    (void)snprintf(shared->what, sizeof shared->what, "%s", bus ? leat_error(bus) : "no bus");
    return r;
}

static int
open_end(struct end *e, struct bench_shared *shared, const char *bus, const char *publish,
         const char *subscribe)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    struct leat_sub_options so = LEAT_SUB_OPTIONS_INIT;
    int r;

    o.path = bus;
    so.kind = LEAT_GATING;
    so.wait = LEAT_WAIT_SPIN;
    r = leat_open(&o, &e->bus);
    if (!r && publish)
        r = leat_pub_open(e->bus, publish, NULL, &e->pub);
    if (!r && subscribe)
        r = leat_sub_open(e->bus, subscribe, &so, &e->sub);
    return r ? complain(shared, e->bus, r) : 0;
}

/* Polls until there is a message, reads its first word and gives it back. */
static int
take(leat_sub *sub, uint64_t *ret_word)
{
    struct leat_msg m;
    int r;

    while (!(r = leat_sub_receive(sub, &m)))
        shm_pause();
    if (r != 1)
        return r < 0 ? r : -EBADMSG;
    memcpy(ret_word, m.data, sizeof *ret_word);
    return leat_sub_release(sub, &m);
}

static void
path_of(char *to, size_t room, const char *topic, const char *suffix)
{
    (void)snprintf(to, room, "%s%s", topic, suffix);
}

/* --- pingpong --------------------------------------------------------------------------------- */

static int
leat_ping(struct bench_shared *shared, const struct bench_job *job)
{
    uint64_t n = job->count, message[64] = {0}, word = 0;
    double *sample = malloc(n * sizeof *sample), scale = bench_tick_ns() / 2;
    char there[64], back[64];
    struct end e = {0};
    int r;

    path_of(there, sizeof there, job->topic, ".there");
    path_of(back, sizeof back, job->topic, ".back");
    r = sample ? open_end(&e, shared, job->bus, there, back) : -ENOMEM;
    bench_meet(shared);
    for (uint64_t i = 1; !r && i <= n; i++) {
        uint64_t start = bench_tick();
        message[0] = i;
        r = leat_pub_send(e.pub, message, job->size, NULL);
        if (!r)
            r = take(e.sub, &word);
        sample[i - 1] = (double)(bench_tick() - start) * scale;
        if (!r && word != i)
            r = -EBADMSG;
    }
    if (!r) {
        shared->figure = bench_quantile(sample, n, 0.5);
        shared->p99 = bench_quantile(sample, n, 0.99);
    }
    free(sample);
    leat_close(e.bus);
    return r;
}

static int
leat_pong(struct bench_shared *shared, const struct bench_job *job)
{
    uint64_t message[64] = {0};
    char there[64], back[64];
    struct end e = {0};
    int r;

    path_of(there, sizeof there, job->topic, ".there");
    path_of(back, sizeof back, job->topic, ".back");
    r = open_end(&e, shared, job->bus, back, there);
    bench_meet(shared);
    for (uint64_t i = 1; !r && i <= job->count; i++) {
        r = take(e.sub, &message[0]);
        if (!r)
            r = leat_pub_send(e.pub, message, job->size, NULL);
    }
    leat_close(e.bus);
    return r;
}

/* --- throughput: variant is how many messages share a claim ------------------------------------ */

#define MANY 64

static int
leat_flood(struct bench_shared *shared, const struct bench_job *job)
{
    uint64_t message[512] = {0};
    struct leat_out out[MANY];
    unsigned batch = (unsigned)job->variant;
    struct end e = {0};
    int r = open_end(&e, shared, job->bus, job->topic, NULL);

    for (unsigned i = 0; i < MANY; i++)
        out[i] = (struct leat_out){.data = message, .len = job->size};
    bench_meet(shared);
    for (uint64_t i = 0; !r && i < job->count; i += batch) {
        message[0] = i;
        r = batch == 1 ? leat_pub_send(e.pub, message, job->size, NULL)
                       : leat_pub_send_many(e.pub, out, batch, NULL);
    }
    leat_close(e.bus);
    return r;
}

static int
leat_drain(struct bench_shared *shared, const struct bench_job *job)
{
    struct leat_msg m[MANY];
    struct end e = {0};
    uint64_t start, got = 0, next = 0, bad = 0;
    int r = open_end(&e, shared, job->bus, NULL, job->topic);

    bench_meet(shared);
    start = bench_tick();
    while (r >= 0 && got < job->count) {
        r = leat_sub_receive_many(e.sub, m, MANY);
        if (!r)
            r = leat_sub_wait(e.sub, -1) - 1;
        for (int i = 0; i < r; i++) {
            uint64_t word;
            memcpy(&word, m[i].data, sizeof word);
            bad += word > got + (uint64_t)i || (next && m[i].seq != next);
            next = m[i].seq + 1;
            (void)leat_sub_release(e.sub, &m[i]);
        }
        got += r > 0 ? (uint64_t)r : 0;
    }
    shared->figure = (double)got / ((double)(bench_tick() - start) * bench_tick_ns()) * 1e3;
    leat_close(e.bus);
    return r < 0 ? r : bad ? -EBADMSG : 0;
}

/* --- what one publish costs: variant is how many idle subscribers the topic has ---------------- */

static int
leat_publish_cost(struct bench_shared *shared, const struct bench_job *job)
{
    uint64_t message[8] = {0}, start;
    struct end e = {0};
    int r = open_end(&e, shared, job->bus, job->topic, NULL);

    bench_meet(shared);
    start = bench_tick();
    for (uint64_t i = 0; !r && i < job->count; i++)
        r = leat_pub_send(e.pub, message, job->size, NULL);
    shared->figure = (double)(bench_tick() - start) * bench_tick_ns() / (double)job->count;
    atom_store_relaxed(&shared->done, 1);
    leat_close(e.bus);
    return r;
}

static int
leat_bystanders(struct bench_shared *shared, const struct bench_job *job)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    leat_bus *bus = NULL;
    leat_sub *sub;
    int r;

    o.path = job->bus;
    r = leat_open(&o, &bus);
    for (int i = 0; !r && i < job->variant; i++)
        r = leat_sub_open(bus, job->topic, NULL, &sub);
    if (r)
        (void)complain(shared, bus, r);
    bench_meet(shared);
    while (!r && !atom_load_relaxed(&shared->done) && !atom_load_relaxed(&shared->failed))
        (void)usleep(1000);
    leat_close(bus);
    return r;
}

static int
leat_loan_cost(struct bench_shared *shared, const struct bench_job *job)
{
    struct leat_loan loan;
    struct end e = {0};
    uint64_t start;
    int r = open_end(&e, shared, job->bus, job->topic, NULL);

    start = bench_tick();
    for (uint64_t i = 0; !r && i < job->count; i++) {
        r = leat_pub_loan(e.pub, job->size, &loan);
        if (!r)
            r = leat_pub_commit(e.pub, &loan, job->size, NULL);
    }
    shared->figure = (double)(bench_tick() - start) * bench_tick_ns() / (double)job->count;
    leat_close(e.bus);
    return r;
}

/* --- durable ---------------------------------------------------------------------------------- */

static int
leat_durable(struct bench_shared *shared, const struct bench_job *job)
{
    struct end e = {0};
    unsigned char *message = calloc(1, job->size);
    uint64_t start, seq = 0;
    int r = message ? open_end(&e, shared, job->bus, job->topic, NULL) : -ENOMEM;

    start = bench_tick();
    for (uint64_t i = 0; !r && i < job->count; i++)
        r = leat_pub_send(e.pub, message, job->size, &seq);
    if (!r)
        r = leat_pub_wait_durable(e.pub, seq, 60000000000);
    shared->figure =
        (double)(job->count * job->size) / ((double)(bench_tick() - start) * bench_tick_ns()) * 1e3;
    if (r)
        (void)complain(shared, e.bus, r);
    leat_close(e.bus);
    free(message);
    return r;
}

/* --- the tests -------------------------------------------------------------------------------- */

struct bench {
    const struct bench_options *options;
    char bus[PATH_MAX + 8];
    char leatd[PATH_MAX];
    pid_t daemon;
    leat_bus *handle;
};

static uint64_t
or_else(uint64_t given, uint64_t own)
{
    return given ? given : own;
}

static int
make_topic(struct bench *b, const char *name, const struct leat_topic_options *o)
{
    int r = leat_topic_create(b->handle, name, o);

    if (r)
        (void)fprintf(stderr, "leat bench: %s\n", leat_error(b->handle));
    return r;
}

static uint32_t
slot_for(uint64_t size)
{
    return size <= 32 ? 64 : size <= 96 ? 128 : 256;
}

static int
pingpong(struct bench *b)
{
    static const uint64_t sizes[] = {32, 64};
    int r = 0;

    for (int i = 0; !r && i < (b->options->size ? 1 : 2); i++) {
        uint64_t size = or_else(b->options->size, sizes[i]);
        struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
        struct bench_row row = {.test = "pingpong", .unit = "ns", .size = size, .goal = 1.4};
        struct bench_job floor = {
            {bench_floor_ping, bench_floor_pong}, b->options, b->bus, "", 0, 8, 0};
        struct bench_job leat = {
            {leat_ping, leat_pong}, b->options, b->bus, i ? "p1" : "p0", 0, size, 0};

        floor.count = leat.count = or_else(b->options->count, 200000);
        o.slot_size = slot_for(size);
        row.floor_name = "bare line";
        r = make_topic(b, i ? "p1.there" : "p0.there", &o);
        if (!r)
            r = make_topic(b, i ? "p1.back" : "p0.back", &o);
        if (!r)
            r = bench_interleave(&row, &floor, &leat);
        if (!r)
            bench_print(&row, b->options);
    }
    return r;
}

static int
throughput(struct bench *b)
{
    static const int batches[] = {1, 16};
    uint64_t size = or_else(b->options->size, 64);
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    int r;

    o.slot_size = slot_for(size);
    r = size > 4096 ? -EINVAL : make_topic(b, "flood", &o);
    for (int i = 0; !r && i < 2; i++) {
        struct bench_row row = {.unit = "M/s", .size = size, .higher_is_better = 1};
        struct bench_job floor = {
            {bench_floor_ring_write, bench_floor_ring_read}, b->options, b->bus, "", 0, size, 0};
        struct bench_job leat = {
            {leat_flood, leat_drain}, b->options, b->bus, "flood", 0, size, batches[i]};

        row.test = i ? "through/16" : "throughput";
        row.floor_name = "bare ring";
        floor.count = leat.count = or_else(b->options->count, 4000000) / 16 * 16;
        if (!bench_arena(4096 * shm_align(8 + size, SHM_LINE)))
            return -ENOMEM;
        r = bench_interleave(&row, &floor, &leat);
        if (!r)
            bench_print(&row, b->options);
    }
    return r;
}

static int
fanout(struct bench *b)
{
    uint64_t size = or_else(b->options->size, 32);
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    struct bench_row row = {.test = "fanout", .unit = "ns", .size = size, .goal = 1.1};
    struct bench_job one = {
        {leat_publish_cost, leat_bystanders}, b->options, b->bus, "fan1", 0, size, 1};
    struct bench_job many = {
        {leat_publish_cost, leat_bystanders}, b->options, b->bus, "fan64", 0, size, 64};
    int r;

    one.count = many.count = or_else(b->options->count, 4000000);
    o.slot_size = slot_for(size);
    row.floor_name = "with 1 idle sub";
    r = make_topic(b, "fan1", &o);
    if (!r)
        r = make_topic(b, "fan64", &o);
    if (!r)
        r = bench_interleave(&row, &one, &many);
    if (!r)
        bench_print(&row, b->options);
    return r;
}

static int
loan(struct bench *b)
{
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    struct bench_row row = {.test = "loan", .unit = "ns", .size = MIB, .goal = 1.2};
    struct bench_job small = {
        {leat_loan_cost, bench_nobody}, b->options, b->bus, "loan", 0, 1024, 0};
    struct bench_job large = {
        {leat_loan_cost, bench_nobody}, b->options, b->bus, "loan", 0, MIB, 0};
    int r;

    small.count = large.count = or_else(b->options->count, 1000000);
    o.lane_size = 64 * MIB;
    row.floor_name = "of 1 KiB";
    r = make_topic(b, "loan", &o);
    if (!r)
        r = bench_interleave(&row, &small, &large);
    if (!r)
        bench_print(&row, b->options);
    return r;
}

static int
durable(struct bench *b)
{
    uint64_t size = or_else(b->options->size, 1024);
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    struct bench_row row = {
        .test = "durable", .unit = "MB/s", .size = size, .higher_is_better = 1, .goal = 0.8};
    struct bench_job floor = {{bench_floor_disk, bench_nobody}, b->options, b->bus, "", 0, size, 0};
    struct bench_job leat = {
        {leat_durable, bench_nobody}, b->options, b->bus, "durable", 0, size, 0};
    double unused, unused99;
    int r;

    floor.count = leat.count = or_else(b->options->count, 256 * MIB / size);
    o.durability = LEAT_DISK;
    o.depth = 8192;
    o.lane_size = 8 * MIB;
    o.slot_size = slot_for(size);
    o.retention_bytes = 512 * MIB;
    row.floor_name = "bare O_DIRECT writer";
    r = make_topic(b, "durable", &o);
    /* Until retention begins to recycle segments, as it does for ever after. */
    for (int i = 0; !r && i < 3; i++)
        r = bench_measure(&leat, &unused, &unused99);
    if (!r)
        r = bench_interleave(&row, &floor, &leat);
    if (!r)
        bench_print(&row, b->options);
    return r;
}

/* --- idle ------------------------------------------------------------------------------------- */

static long
ticks_of(pid_t pid)
{
    unsigned long user = 0, system = 0;
    char text[SHM_PROCESS_STAT];
    const char *at;

    if (shm_process_stat(pid, text, &at) ||
        sscanf(at, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return -1;
    return (long)(user + system);
}

static void
wait_for(pid_t pid)
{
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static int
sleeper(const struct bench *b)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    leat_bus *bus;
    leat_sub *sub;
    int r;

    o.path = b->bus;
    r = leat_open(&o, &bus);
    if (!r)
        r = leat_sub_open(bus, "idle", NULL, &sub);
    while (!r)
        r = leat_sub_wait(sub, -1);
    return 1;
}

static int
idle(struct bench *b)
{
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    long before[2], after[2];
    int r = make_topic(b, "idle", &o);
    pid_t child, parent = getpid();

    if (r)
        return r;
    (void)fflush(NULL);
    child = fork();
    if (child < 0)
        return -errno;
    if (!child) {
        bench_child(parent);
        _exit(sleeper(b));
    }
    (void)sleep(1);
    before[0] = ticks_of(b->daemon);
    before[1] = ticks_of(child);
    (void)sleep(5);
    after[0] = ticks_of(b->daemon);
    after[1] = ticks_of(child);
    (void)kill(child, SIGKILL);
    wait_for(child);
    if (bench_interrupted())
        return -EINTR;
    if (b->options->json)
        printf("{\"test\":\"idle\",\"seconds\":5,\"daemon_ticks\":%ld,\"subscriber_ticks\":%ld}\n",
               after[0] - before[0], after[1] - before[1]);
    else
        printf("%-11s over 5 s: daemon %ld ticks, sleeping subscriber %ld ticks  goal 0: %s\n",
               "idle", after[0] - before[0], after[1] - before[1],
               after[0] == before[0] && after[1] == before[1] ? "met" : "missed");
    return before[0] < 0 || after[1] < 0 ? -ESRCH : 0;
}

/* --- the verb --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int (*run)(struct bench *);
} tests[] = {{"pingpong", pingpong}, {"throughput", throughput}, {"fanout", fanout},
             {"loan", loan},         {"durable", durable},       {"idle", idle}};

static void
usage(FILE *to)
{
    (void)fputs(
        "usage: leat bench [TEST...] [options]\n"
        "Measures leat between two pinned processes, in turn with the floor of this machine.\n"
        "tests: pingpong throughput fanout loan durable idle   (default: all)\n"
        "  -r, --rounds N     rounds of floor and leat, of which medians are printed (7)\n"
        "  -n, --count N      messages a round\n"
        "  -s, --size BYTES   of a message\n"
        "  -c, --cpus A,B     the two processors (0,1)\n"
        "  -d, --dir DIR      where the private daemon keeps its log (/var/tmp)\n"
        "      --json         one JSON object a line\n",
        to);
}

/* $LEATD, or the one beside this program, or the one in PATH. */
static void
find_leatd(struct bench *b)
{
    const char *named = getenv("LEATD");
    ssize_t n = readlink("/proc/self/exe", b->leatd, sizeof b->leatd - 8);
    char *slash;

    b->leatd[n > 0 ? n : 0] = '\0';
    slash = strrchr(b->leatd, '/');
    if (slash)
        memcpy(slash + 1, "leatd", sizeof "leatd");
    if (named)
        (void)snprintf(b->leatd, sizeof b->leatd, "%s", named);
    else if (access(b->leatd, X_OK))
        memcpy(b->leatd, "leatd", sizeof "leatd");
}

/* 0 once it serves, else -1. */
static int
start_daemon(struct bench *b, const char *dir)
{
    char store[PATH_MAX + 16], fd[16], go;
    pid_t parent = getpid();
    int ready[2];
    ssize_t n;

    if (pipe2(ready, O_CLOEXEC))
        return -1;
    find_leatd(b);
    (void)snprintf(b->bus, sizeof b->bus, "%s/bus", dir);
    (void)snprintf(store, sizeof store, "%s/store", dir);
    (void)snprintf(fd, sizeof fd, "%d", ready[1]);
    b->daemon = fork();
    if (!b->daemon) {
        (void)fcntl(ready[1], F_SETFD, 0); /* this one goes along */
        /* Out of the terminal's reach, so that an interrupted benchmark still cleans up after itself; but not left over
         * by one that was killed. */
        (void)setsid();
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
            _exit(1);
        (void)execlp(b->leatd, "leatd", "--socket", b->bus, "--store", store, "--ready-fd", fd,
                     (char *)NULL);
        _exit(127);
    }
    (void)close(ready[1]);
    n = b->daemon > 0 ? read(ready[0], &go, 1) : 0;
    (void)close(ready[0]);
    return n == 1 ? 0 : -1;
}

/* Runs a command that cleans up, whoever asks us to end now, and waits for it. */
static void
run(const char *const argv[])
{
    pid_t pid = fork();

    if (!pid) {
        (void)signal(SIGINT, SIG_IGN);
        (void)signal(SIGTERM, SIG_IGN);
        (void)signal(SIGHUP, SIG_IGN);
        (void)execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    wait_for(pid);
}

static int
run_named(struct bench *b, const char *name)
{
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (!strcmp(name, tests[i].name))
            return tests[i].run(b);
    (void)fprintf(stderr, "leat bench: no test '%s'\n", name);
    return -EINVAL;
}

static int
run_all(struct bench *b, char **names, int n)
{
    int r = 0;

    for (int i = 0; !r && i < n; i++)
        r = run_named(b, names[i]);
    for (size_t i = 0; !r && !n && i < sizeof tests / sizeof *tests; i++)
        r = tests[i].run(b);
    if (r)
        (void)fprintf(stderr, "leat bench: %s\n", leat_strerror(r));
    return r ? 1 : 0;
}

static int
with_daemon(struct bench *b, char *dir, char **names, int n)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    int r;

    if (start_daemon(b, dir)) {
        if (!bench_interrupted())
            (void)fprintf(
                stderr,
                "leat bench: leatd did not start (looked in $LEATD, beside leat, in PATH)\n");
        if (b->daemon > 0)
            (void)kill(b->daemon, SIGTERM);
        wait_for(b->daemon);
        return 1;
    }
    o.path = b->bus;
    r = leat_open(&o, &b->handle);
    if (r)
        (void)fprintf(stderr, "leat bench: %s: %s\n", b->bus, leat_strerror(r));
    else
        r = run_all(b, names, n);
    leat_close(b->handle);
    run((const char *[]){b->leatd, "--socket", b->bus, "--stop", "--purge", NULL});
    wait_for(b->daemon);
    return r ? 1 : 0;
}

int
verb_bench(int argc, char **argv)
{
    static const struct option longs[] = {{"rounds", 1, NULL, 'r'}, {"count", 1, NULL, 'n'},
                                          {"size", 1, NULL, 's'},   {"cpus", 1, NULL, 'c'},
                                          {"dir", 1, NULL, 'd'},    {"json", 0, NULL, 'j'},
                                          {"help", 0, NULL, 'h'},   {NULL, 0, NULL, 0}};
    struct bench_options o = {.rounds = 7, .cpu = {0, 1}, .dir = "/var/tmp"};
    struct bench b = {.options = &o};
    char dir[PATH_MAX];
    int c, r;

    while ((c = getopt_long(argc, argv, "r:n:s:c:d:h", longs, NULL)) != -1) {
        if (c == 'r')
            o.rounds = (int)strtol(optarg, NULL, 10);
        else if (c == 'n')
            o.count = strtoull(optarg, NULL, 10);
        else if (c == 's')
            o.size = strtoull(optarg, NULL, 10);
        else if (c == 'd')
            o.dir = optarg;
        else if (c == 'j')
            o.json = 1;
        else if (c == 'c' && sscanf(optarg, "%d,%d", &o.cpu[0], &o.cpu[1]) == 2)
            continue;
        else
            return usage(c == 'h' ? stdout : stderr), c == 'h' ? 0 : 2;
    }
    if (o.rounds < 1 || o.rounds > BENCH_ROUNDS_MAX ||
        (o.size && (o.size < 8 || o.size > 1u << 20))) {
        (void)fprintf(stderr, "leat bench: rounds go from 1 to %d, sizes from 8 to 1048576\n",
                      BENCH_ROUNDS_MAX);
        return 2;
    }
    bench_interrupts();
    (void)snprintf(dir, sizeof dir, "%s/leat-bench.XXXXXX", o.dir);
    if (!mkdtemp(dir)) {
        (void)fprintf(stderr, "leat bench: %s: %s\n", dir, strerror(errno));
        return 1;
    }
    o.dir = dir;
    r = with_daemon(&b, dir, argv + optind, argc - optind);
    run((const char *[]){"rm", "-rf", "--", dir, NULL});
    return r;
}
