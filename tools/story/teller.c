/* The teller: starts everybody, kills whom the story kills, waits, and prints what was measured. */
#include "tools/story/story.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct teller {
    const struct story_options *o;
    const char *self;
    char dir[4096], bus[4160];
    struct story *s;
    uint64_t start_ns;
    pid_t daemon, publisher, service[STORY_SERVICES];
    double daemon_back_ms, daemon_durable_ms;
    int failed;
};

static struct teller *running;

/* Nobody outlives the teller. */
static void
end_all(void)
{
    struct teller *t = running;

    for (int i = 0; i < STORY_SERVICES; i++)
        if (t->service[i] > 0)
            (void)kill(t->service[i], SIGKILL);
    if (t->publisher > 0)
        (void)kill(t->publisher, SIGKILL);
    if (t->daemon > 0)
        (void)kill(t->daemon, SIGKILL);
}

static void
interrupted(int number)
{
    end_all();
    _exit(128 + number);
}

__attribute__((format(printf, 2, 3))) static void
say(const struct teller *t, const char *format, ...)
{
    va_list args;

    printf("%7.3f s  ", (double)(story_now_ns() - t->start_ns) / 1e9);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    printf("\n");
    (void)fflush(stdout);
}

static void
fail(struct teller *t, const char *what)
{
    say(t, "FAILED: %s", what);
    t->failed = 1;
}

static pid_t
start(const char *const argv[])
{
    pid_t pid = fork();

    if (!pid) {
        (void)execv(argv[0], (char *const *)argv);
        (void)fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    return pid;
}

/* Starts the daemon and waits until it serves: 0 or -1. */
static int
start_daemon(struct teller *t)
{
    char store[4200], fd[16], byte;
    int ready[2];
    ssize_t n;

    if (pipe(ready))
        return -1;
    (void)fcntl(ready[0], F_SETFD, FD_CLOEXEC);
    (void)snprintf(store, sizeof store, "%s/store", t->dir);
    (void)snprintf(fd, sizeof fd, "%d", ready[1]);
    t->daemon = start((const char *[]){t->o->leatd, "--socket", t->bus, "--store", store,
                                       "--ready-fd", fd, NULL});
    (void)close(ready[1]);
    n = read(ready[0], &byte, 1);
    (void)close(ready[0]);
    return n == 1 ? 0 : -1;
}

static void
start_service(struct teller *t, int i)
{
    char journal[4200], name[16], index[16];

    (void)snprintf(journal, sizeof journal, "%s/S%d.journal", t->dir, i + 1);
    (void)snprintf(name, sizeof name, "S%d", i + 1);
    (void)snprintf(index, sizeof index, "%d", i);
    atom_store_relaxed(&t->s->service[i].started_ns, story_now_ns());
    atom_store_relaxed(&t->s->service[i].serving_ns, 0);
    t->service[i] = start((const char *[]){t->self, "--serve", t->bus, name, index, journal, NULL});
}

static void
start_publisher(struct teller *t)
{
    char rate[32];

    (void)snprintf(rate, sizeof rate, "%llu", (unsigned long long)t->o->rate);
    t->publisher = start((const char *[]){t->self, "--publish", t->bus, t->o->input, rate, NULL});
}

static void
kill_hard(pid_t *pid)
{
    (void)kill(*pid, SIGKILL);
    (void)waitpid(*pid, NULL, 0);
    *pid = 0;
}

static int
make_topic(struct teller *t)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    struct leat_topic_options topic = LEAT_TOPIC_OPTIONS_INIT;
    leat_bus *bus = NULL;
    int r;

    o.path = t->bus;
    topic.durability = LEAT_DISK;
    /* Deep enough to hold what comes while the daemon is dead. */
    topic.depth = 1u << 17;
    topic.slot_size = 128;
    topic.lane_size = 32u << 20;
    r = leat_open(&o, &bus);
    if (!r)
        r = leat_topic_create(bus, STORY_TOPIC, &topic);
    if (r)
        (void)fprintf(stderr, "demo: %s\n", bus ? leat_error(bus) : leat_strerror(r));
    leat_close(bus);
    return r;
}

static int
ask_durable(struct teller *t, uint64_t *ret)
{
    struct leat_topic_info info;
    leat_inspect *i;
    int r = leat_inspect_open(t->bus, &i);

    if (r)
        return r;
    r = leat_inspect_topic(i, STORY_TOPIC, &info);
    if (!r)
        *ret = info.durable;
    leat_inspect_close(i);
    return r;
}

/* Sleeps until a moment of the story, or returns early when the publisher has ended (a short pipe). */
static void
until(const struct teller *t, double share)
{
    uint64_t due = t->start_ns + (uint64_t)(share * t->o->seconds * 1e9);
    struct timespec nap = {0, 1000000};

    while (story_now_ns() < due && !atom_load_acquire(&t->s->finished)) /* acquire: STORY */
        (void)nanosleep(&nap, NULL);
}

/* Waits for a condition on the figures, at most `seconds`. */
static int
await(bool (*is)(struct teller *), struct teller *t, double seconds)
{
    uint64_t end = story_now_ns() + (uint64_t)(seconds * 1e9);
    struct timespec nap = {0, 200000};

    while (!is(t)) {
        if (story_now_ns() > end)
            return -ETIMEDOUT;
        (void)nanosleep(&nap, NULL);
    }
    return 0;
}

static bool
all_serving(struct teller *t)
{
    for (int i = 0; i < STORY_SERVICES; i++)
        if (!atom_load_relaxed(&t->s->service[i].serving_ns))
            return false;
    return true;
}

static bool
all_done(struct teller *t)
{
    for (int i = 0; i < STORY_SERVICES; i++)
        if (!atom_load_acquire(&t->s->service[i].done)) /* acquire: STORY */
            return false;
    return true;
}

static bool
has_finished(struct teller *t)
{
    return atom_load_acquire(&t->s->finished); /* acquire: STORY */
}

static uint64_t durable_before;

static bool
durable_moves(struct teller *t)
{
    uint64_t now = 0;

    return !ask_durable(t, &now) && now > durable_before;
}

static void
bring_daemon_back(struct teller *t)
{
    uint64_t from;

    (void)ask_durable(t, &durable_before);
    from = story_now_ns();
    if (start_daemon(t)) {
        fail(t, "the daemon did not come back");
        return;
    }
    t->daemon_back_ms = (double)(story_now_ns() - from) / 1e6;
    if (await(durable_moves, t, 10))
        fail(t, "the new daemon wrote nothing to disk within 10 s");
    t->daemon_durable_ms = (double)(story_now_ns() - from) / 1e6;
    say(t, "daemon serves again (pid %d); the lines it missed are on disk", (int)t->daemon);
}

static void
act(struct teller *t)
{
    struct story *s = t->s;
    pid_t was;

    start_publisher(t);
    say(t, "publisher streams %s, %llu lines a second, to four services", t->o->input,
        (unsigned long long)t->o->rate);
    if (await(all_serving, t, 10))
        fail(t, "not all services wrote a line within 10 s");
    say(t, "all is well: S1 to S4 write down what they receive");

    until(t, 0.3);
    was = t->service[3];
    kill_hard(&t->service[3]);
    atom_store_relaxed(&s->phase, PHASE_SERVICE_DEAD);
    say(t, "kill -9 S4 (pid %d)", (int)was);

    until(t, 0.5);
    was = t->daemon;
    kill_hard(&t->daemon);
    atom_store_relaxed(&s->phase, PHASE_DAEMON_DEAD);
    say(t, "kill -9 leatd (pid %d); publisher and services go on", (int)was);

    until(t, 0.7);
    bring_daemon_back(t);
    atom_store_relaxed(&s->phase, PHASE_BACK);
    start_service(t, 3);
    say(t, "S4 is started again (pid %d)", (int)t->service[3]);

    until(t, 1.0);
    atom_store_relaxed(&s->stop, 1);
    if (await(has_finished, t, 15))
        fail(t, "the publisher did not finish");
    say(t, "publisher has sent its last line; waiting for the services");
    if (await(all_done, t, 30))
        fail(t, "a service did not get to the end within 30 s");
}

static void
print_latency(const struct teller *t, const char *when, enum story_phase p)
{
    const struct story_latency *l = &t->s->latency[p];

    printf("  %-28s %9llu  %9.2f  %9.2f  %9.2f\n", when, (unsigned long long)l->n, l->p50 / 1e3,
           l->p99 / 1e3, l->p999 / 1e3);
}

static void
print_table(struct teller *t)
{
    struct story *s = t->s;
    uint64_t published = atom_load_relaxed(&s->published), hash = atom_load_relaxed(&s->hash);

    printf("\n%-12s %11s %8s %12s   %-16s\n", "", "lines", "lost", "redelivered", "checksum");
    printf("%-12s %11llu %8s %12s   %016llx\n", "published", (unsigned long long)published, "", "",
           (unsigned long long)hash);
    for (int i = 0; i < STORY_SERVICES; i++) {
        const struct story_service *v = &s->service[i];
        uint64_t got = atom_load_relaxed(&v->received), h = atom_load_relaxed(&v->hash);
        long long lost = (long long)published - (long long)got;
        bool good = !lost && h == hash && !atom_load_relaxed(&v->gaps);
        printf("S%d %-9s %11llu %8lld %12llu   %016llx %s\n", i + 1, i == 3 ? "(killed)" : "",
               (unsigned long long)got, lost,
               (unsigned long long)atom_load_relaxed(&v->redelivered), (unsigned long long)h,
               good ? "equal" : "DIFFERS");
        t->failed |= !good;
    }
    printf("\n  %-28s %9s  %9s  %9s  %9s\n", "send time (us)", "sends", "p50", "p99", "p99.9");
    print_latency(t, "while all was well", PHASE_WELL);
    print_latency(t, "while S4 was dead", PHASE_SERVICE_DEAD);
    print_latency(t, "while the daemon was dead", PHASE_DAEMON_DEAD);
    print_latency(t, "after both were back", PHASE_BACK);
    printf("\n  daemon: answers %.1f ms after its start, writes to disk again after %.1f ms\n",
           t->daemon_back_ms, t->daemon_durable_ms);
    printf("  S4: writes its first new line %.1f ms after its start\n",
           (double)(atom_load_relaxed(&s->service[3].serving_ns) -
                    atom_load_relaxed(&s->service[3].started_ns)) /
               1e6);
    printf("  longest single send: %.1f ms\n", (double)atom_load_relaxed(&s->slowest_ns) / 1e6);
    for (int p = PHASE_WELL; p < PHASES; p++)
        if (!s->latency[p].n) {
            printf("\nThe input ended before the story did: give a longer one.\n");
            t->failed = 1;
            break;
        }
    printf("\n%s\n", t->failed ? "NOT as promised."
                               : "As promised: nothing lost, nothing twice, nothing out of order.");
}

static int
prepare(struct teller *t)
{
    int fd;

    (void)snprintf(t->dir, sizeof t->dir, "%s/leat-demo.XXXXXX", t->o->dir);
    if (!mkdtemp(t->dir)) {
        (void)fprintf(stderr, "demo: %s: %s\n", t->dir, strerror(errno));
        return -1;
    }
    (void)snprintf(t->bus, sizeof t->bus, "%s/bus", t->dir);
    fd = memfd_create("leat-demo", 0);
    if (fd < 0 || ftruncate(fd, sizeof(struct story)) || dup2(fd, STORY_FIGURES_FD) < 0)
        return -1;
    if (fd != STORY_FIGURES_FD)
        (void)close(fd);
    t->s = story_figures();
    t->start_ns = story_now_ns();
    return 0;
}

static void
clean_up(struct teller *t)
{
    pid_t pid;

    for (int i = 0; i < STORY_SERVICES; i++)
        if (t->service[i] > 0)
            (void)waitpid(t->service[i], NULL, 0);
    if (t->publisher > 0)
        (void)waitpid(t->publisher, NULL, 0);
    pid = start((const char *[]){t->o->leatd, "--socket", t->bus, "--stop", "--purge", NULL});
    (void)waitpid(pid, NULL, 0);
    if (t->daemon > 0)
        (void)waitpid(t->daemon, NULL, 0);
    pid = start((const char *[]){"/bin/rm", "-rf", "--", t->dir, NULL});
    (void)waitpid(pid, NULL, 0);
}

int
story_tell(const struct story_options *options, const char *self)
{
    static struct teller t;

    t.o = options;
    t.self = self;
    running = &t;
    if (prepare(&t))
        return 1;
    (void)signal(SIGINT, interrupted);
    (void)signal(SIGTERM, interrupted);
    if (start_daemon(&t) || make_topic(&t)) {
        end_all();
        (void)fprintf(stderr, "demo: %s did not start or could not make the topic\n",
                      options->leatd);
        return 1;
    }
    say(&t, "leatd serves (pid %d), topic %s is kept on disk", (int)t.daemon, STORY_TOPIC);
    for (int i = 0; i < STORY_SERVICES; i++)
        start_service(&t, i);
    act(&t);
    if (t.failed)
        end_all();
    print_table(&t);
    clean_up(&t);
    return t.failed;
}
