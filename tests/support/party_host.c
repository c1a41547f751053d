/* The processes of a party, and what happens to them and to the disk. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/party_impl.h"

/* For a daemon that ends. It drains for 10 s at most; a killed one is there until its writes are done, which a busy disk may take
 * its time for. */
#define PATIENCE_NS 120000000000u

volatile sig_atomic_t party_leaving;

/* --- small things ----------------------------------------------------------------------------- */

void
party_breathe(void)
{
    (void)poll(NULL, 0, 1);
}

uint64_t
party_now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void
party_fail(struct party *p, const char *format, ...)
{
    va_list args;

    if (atom_add_seq(&p->failed, 1))
        return;
    va_start(args, format);
    (void)vsnprintf(p->why, sizeof p->why, format, args);
    va_end(args);
}

bool
party_is_passing(int r)
{
    return r == -ECONNREFUSED || r == -ENOENT || r == -ECONNRESET || r == -ETIMEDOUT ||
           r == -EBUSY || r == -EPIPE;
}

int
party_open(struct party *p, leat_bus **ret)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    uint64_t end = party_now_ns() + PATIENCE_NS;
    int r;

    o.path = p->bus;
    while (party_is_passing(r = leat_open(&o, ret)) && party_now_ns() < end)
        party_breathe();
    return r;
}

/* --- the daemon ------------------------------------------------------------------------------- */

const char *
party_leatd(void)
{
    const char *path = getenv("LEATD");

    return path ? path : "leatd";
}

static void
log_to(const struct host *h, int fd)
{
    char log[96];
    int out;

    (void)snprintf(log, sizeof log, "%s/leatd.log", h->dir);
    out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (out >= 0)
        (void)dup2(out, fd);
}

int
party_start_daemon(struct host *h)
{
    const char *io = h->p->plan.io ? h->p->plan.io : "auto";
    uint64_t start = party_now_ns();
    char byte, fd[16];
    int ready[2];
    ssize_t n;

    if (pipe(ready))
        return -errno;
    (void)snprintf(fd, sizeof fd, "%d", ready[1]);
    (void)fflush(NULL);
    h->daemon = fork();
    if (!h->daemon) {
        (void)close(ready[0]);
        log_to(h, 2);
        (void)execlp(party_leatd(), "leatd", "--socket", h->p->bus, "--store", h->p->store, "--io",
                     io, "--ready-fd", fd, (char *)NULL);
        _exit(127);
    }
    (void)close(ready[1]);
    do
        n = read(ready[0], &byte, 1);
    while (n < 0 && errno == EINTR);
    (void)close(ready[0]);
    h->figures->back_ns = shm_max(h->figures->back_ns, party_now_ns() - start);
    if (n == 1)
        return 0;
    party_fail(h->p, "leatd did not start (see %s/leatd.log)", h->dir);
    return -ESRCH;
}

void
party_stop_daemon(struct host *h, int signal_number)
{
    uint64_t until = party_now_ns() + PATIENCE_NS;
    pid_t gone = 0;
    int status = 0;

    if (h->daemon <= 0)
        return;
    (void)kill(h->daemon, signal_number);
    while (!(gone = waitpid(h->daemon, &status, WNOHANG)) && party_now_ns() < until)
        party_breathe();
    if (!gone) {
        party_fail(h->p, "leatd did not end in 120 s after signal %d", signal_number);
        (void)kill(h->daemon, SIGKILL);
        (void)waitpid(h->daemon, NULL, 0);
    } else if (signal_number != SIGKILL && status) {
        party_fail(h->p, "leatd ended with wait status 0x%x", (unsigned)status);
    }
    h->daemon = 0;
}

int
party_tool(const struct host *h, const char *const argv[])
{
    int status = -1;
    pid_t pid;

    (void)fflush(NULL);
    pid = fork();
    if (!pid) {
        log_to(h, 1);
        log_to(h, 2);
        (void)setenv("LEAT_BUS", h->p->bus, 1);
        (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    if (pid > 0)
        (void)waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* --- guests ----------------------------------------------------------------------------------- */

static void
leave(int signal_number)
{
    (void)signal_number;
    party_leaving = 1;
}

static struct party_guest
start_guest(int (*be)(struct party *, uint32_t), struct party *p, uint32_t which)
{
    struct sigaction action = {.sa_handler = leave};
    struct party_guest g = {0};

    (void)sigaction(PARTY_LEAVE, &action, NULL);
    (void)fflush(NULL);
    g.pid = fork();
    if (!g.pid)
        _exit(be(p, which));
    return g;
}

void
party_start_publisher(struct host *h, uint32_t i)
{
    h->publisher[i] = start_guest(party_publish, h->p, h->lives++);
}

void
party_start_subscriber(struct host *h, uint32_t i)
{
    h->subscriber[i] = start_guest(party_subscribe, h->p, i);
}

void
party_end_guest(struct party_guest *g, int signal_number)
{
    if (g->pid > 0) {
        (void)kill(g->pid, signal_number);
        (void)waitpid(g->pid, NULL, 0);
    }
    *g = (struct party_guest){0};
}

/* Whether he has ended; then he has no pid any more. */
static bool
has_ended(struct host *h, struct party_guest *g, const char *what, uint32_t i)
{
    int status = 0;

    if (g->pid <= 0 || waitpid(g->pid, &status, WNOHANG) != g->pid)
        return false;
    if (status)
        party_fail(h->p, "%s %u ended with wait status 0x%x", what, i, (unsigned)status);
    g->pid = 0;
    return true;
}

void
party_look_after(struct host *h)
{
    struct party *p = h->p;
    int status = 0;

    for (uint32_t i = 0; i < p->plan.publishers; i++) {
        struct party_guest *g = &h->publisher[i];
        if (!has_ended(h, g, "publisher", i) || atom_load_seq(&p->stop))
            continue;
        if (g->leaving && h->lives < PARTY_LIVES)
            party_start_publisher(h, i);
        else if (!g->leaving)
            party_fail(p, "publisher %u ended by himself", i);
    }
    for (uint32_t i = 0; i <= PARTY_SUBSCRIBERS; i++) {
        struct party_guest *g = &h->subscriber[i];
        if (!has_ended(h, g, "subscriber", i) || atom_load_seq(&p->sub[i].done))
            continue;
        if (g->leaving)
            party_start_subscriber(h, i);
        else
            party_fail(p, "subscriber %u ended by itself", i);
    }
    if (h->daemon > 0 && waitpid(h->daemon, &status, WNOHANG) == h->daemon) {
        h->daemon = 0;
        party_fail(p, "leatd ended by itself with wait status 0x%x", (unsigned)status);
    }
}

/* --- the disk --------------------------------------------------------------------------------- */

/* Everything of this process' own: others do not see it, and it is gone when we are. */
void
party_mount(struct host *h)
{
    static bool apart;
    char options[64];

    if (!h->p->plan.store_bytes)
        return;
    if (!apart)
        apart = !unshare(CLONE_NEWNS) && !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL);
    (void)snprintf(options, sizeof options, "mode=0700,size=%llu",
                   (unsigned long long)h->p->plan.store_bytes);
    h->mounted = apart && !mkdir(h->p->store, 0700) &&
                 !mount("none", h->p->store, "tmpfs", MS_NOSUID | MS_NODEV, options);
    h->figures->unmounted = !h->mounted;
}

void
party_unmount(struct host *h)
{
    char command[400];

    if (!h->mounted)
        return;
    (void)snprintf(command, sizeof command, "cp -a '%s' '%s.kept'", h->p->store, h->p->store);
    if (atom_load_relaxed(&h->p->failed) && system(command))
        (void)fprintf(stderr, "party: could not copy %s\n", h->p->store);
    (void)umount2(h->p->store, MNT_DETACH);
    h->mounted = false;
}

static void
ballast_name(const struct host *h, char name[160])
{
    (void)snprintf(name, 160, "%s/.ballast", h->p->store);
}

static void
count_full(struct host *h)
{
    struct leat_topic_info info;
    leat_bus *bus = NULL;

    if (!party_open(h->p, &bus) && !leat_topic_info(bus, PARTY_TOPIC, &info))
        h->figures->full += info.state == LEAT_TOPIC_DISK_FULL;
    leat_close(bus);
}

void
party_empty_disk(struct host *h)
{
    char name[160];

    if (!h->full)
        return;
    count_full(h);
    ballast_name(h, name);
    (void)unlink(name);
    h->full = false;
}

/* To the brim, but for what a small write may still find. */
static void
fill_disk(struct host *h)
{
    struct statvfs s;
    char name[160];
    uint64_t room;
    int fd;

    ballast_name(h, name);
    fd = statvfs(h->p->store, &s) ? -1 : open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    room = (uint64_t)s.f_bavail * s.f_frsize;
    room -= shm_min(room, prng_below(&h->random, 4) ? 0 : prng_below(&h->random, 1 << 20));
    if (room)
        (void)posix_fallocate(fd, 0, (off_t)room);
    (void)close(fd);
    h->figures->fills++;
    h->full = true;
}

/* --- what happens ----------------------------------------------------------------------------- */

static bool
in_good_order(struct host *h)
{
    bool yes = prng_below(&h->random, 100) < h->p->plan.orderly;

    h->figures->ends += yes;
    return yes;
}

static void
restart_daemon(struct host *h)
{
    bool orderly = in_good_order(h);

    party_stop_daemon(h, orderly ? SIGTERM : SIGKILL);
    h->figures->daemons += !orderly;
    (void)party_start_daemon(h);
}

/* One who was asked to leave may take his time; he may also be killed while he is about it. */
static bool
has_left(struct host *h, struct party_guest *g)
{
    if (in_good_order(h)) {
        g->leaving = true;
        (void)kill(g->pid, PARTY_LEAVE);
        return false;
    }
    party_end_guest(g, SIGKILL);
    return true;
}

static void
restart_publisher(struct host *h)
{
    uint32_t i = (uint32_t)prng_below(&h->random, h->p->plan.publishers);

    if (h->lives == PARTY_LIVES || h->publisher[i].pid <= 0 || !has_left(h, &h->publisher[i]))
        return;
    h->figures->publishers++;
    party_start_publisher(h, i);
}

static void
restart_subscriber(struct host *h)
{
    uint32_t i = (uint32_t)prng_below(&h->random, h->p->plan.subscribers);

    if (h->subscriber[i].pid <= 0 || !has_left(h, &h->subscriber[i]))
        return;
    h->figures->subscribers++;
    party_start_subscriber(h, i);
}

/* Somebody is stopped for up to 50 ms. */
static void
stop_somebody(struct host *h)
{
    const struct party_plan *plan = &h->p->plan;
    uint32_t i = (uint32_t)prng_below(&h->random, plan->publishers + plan->subscribers + 1);
    uint64_t until = party_now_ns() + 1000000 * prng_below(&h->random, 50);
    pid_t pid = i < plan->publishers                       ? h->publisher[i].pid
                : i < plan->publishers + plan->subscribers ? h->subscriber[i - plan->publishers].pid
                                                           : h->daemon;

    if (pid <= 0)
        return;
    (void)kill(pid, SIGSTOP);
    while (party_now_ns() < until)
        party_breathe();
    (void)kill(pid, SIGCONT);
    h->figures->stops++;
}

static void
turn_disk(struct host *h)
{
    if (!h->mounted)
        return;
    if (h->full)
        party_empty_disk(h);
    else
        fill_disk(h);
}

/* Each kind of accident at its own pace, with some chance in it. */
struct accident {
    void (*happen)(struct host *);
    uint32_t every_ms;
    uint64_t due_ns;
};

void
party_let_happen(struct host *h)
{
    const struct party_plan *plan = &h->p->plan;
    struct accident all[] = {{restart_daemon, plan->daemon_ms, 0},
                             {restart_publisher, plan->publisher_ms, 0},
                             {restart_subscriber, plan->subscriber_ms, 0},
                             {stop_somebody, plan->stop_ms, 0},
                             {turn_disk, plan->disk_ms, 0}};
    uint64_t start = party_now_ns(), now = start;

    while ((double)(now - start) < plan->seconds * 1e9 && !atom_load_relaxed(&h->p->failed)) {
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
            struct accident *a = &all[i];
            if (!a->every_ms || now < a->due_ns)
                continue;
            if (a->due_ns)
                a->happen(h);
            a->due_ns =
                now + 500000ull * a->every_ms + prng_below(&h->random, 1000000ull * a->every_ms);
        }
        party_look_after(h);
        party_breathe();
        now = party_now_ns();
    }
}
