#include "tests/support/party.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/fixture.h"

struct host {
    struct party *p;
    struct party_figures *figures;
    struct prng random;
    char dir[64];
    pid_t daemon, publisher[PARTY_PUBLISHERS], subscriber[PARTY_SUBSCRIBERS];
    uint32_t lives;
};

/* --- processes -------------------------------------------------------------------------------- */

static const char *
leatd(void)
{
    const char *path = getenv("LEATD");

    return path ? path : "leatd";
}

static void
run_leatd(const struct host *h, int ready)
{
    char fd[16], log[96];
    const char *io = h->p->plan.io ? h->p->plan.io : "auto";
    int out;

    (void)snprintf(fd, sizeof fd, "%d", ready);
    (void)snprintf(log, sizeof log, "%s/leatd.log", h->dir);
    out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (out >= 0)
        (void)dup2(out, 2);
    (void)execlp(leatd(), "leatd", "--socket", h->p->bus, "--store", h->p->store, "--io", io,
                 "--ready-fd", fd, (char *)NULL);
    _exit(127);
}

static int
start_daemon(struct host *h)
{
    int ready[2];
    char byte;
    ssize_t n;

    if (pipe(ready))
        return -errno;
    h->daemon = fork();
    if (!h->daemon) {
        (void)close(ready[0]);
        run_leatd(h, ready[1]);
    }
    (void)close(ready[1]);
    do
        n = read(ready[0], &byte, 1);
    while (n < 0 && errno == EINTR);
    (void)close(ready[0]);
    if (n == 1)
        return 0;
    party_fail(h->p, "leatd did not start (see %s/leatd.log)", h->dir);
    return -ESRCH;
}

static void
purge(const struct host *h)
{
    pid_t pid = fork();
    int out;

    if (!pid) {
        out = open("/dev/null", O_WRONLY);
        if (out >= 0)
            (void)dup2(out, 2);
        (void)execlp(leatd(), "leatd", "--socket", h->p->bus, "--stop", "--purge", (char *)NULL);
        _exit(127);
    }
    if (pid > 0)
        (void)waitpid(pid, NULL, 0);
}

static void
start_publisher(struct host *h, uint32_t i)
{
    uint32_t life = h->lives++;

    (void)fflush(NULL);
    h->publisher[i] = fork();
    if (!h->publisher[i])
        _exit(party_publish(h->p, life));
}

static void
start_subscriber(struct host *h, uint32_t i)
{
    (void)fflush(NULL);
    h->subscriber[i] = fork();
    if (!h->subscriber[i])
        _exit(party_subscribe(h->p, i));
}

static void
end(pid_t *pid, int signal_number)
{
    if (*pid <= 0)
        return;
    (void)kill(*pid, signal_number);
    (void)waitpid(*pid, NULL, 0);
    *pid = 0;
}

/* --- what happens ----------------------------------------------------------------------------- */

static void
kill_daemon(struct host *h)
{
    end(&h->daemon, SIGKILL);
    h->figures->daemons++;
    (void)start_daemon(h);
}

static void
kill_publisher(struct host *h)
{
    uint32_t i = (uint32_t)prng_below(&h->random, h->p->plan.publishers);

    if (h->lives == PARTY_LIVES)
        return;
    end(&h->publisher[i], SIGKILL);
    h->figures->publishers++;
    start_publisher(h, i);
}

static void
kill_subscriber(struct host *h)
{
    uint32_t i = (uint32_t)prng_below(&h->random, h->p->plan.subscribers);

    end(&h->subscriber[i], SIGKILL);
    h->figures->subscribers++;
    start_subscriber(h, i);
}

/* Somebody rests for up to 50 ms. */
static void
stop_somebody(struct host *h)
{
    const struct party_plan *plan = &h->p->plan;
    uint32_t i = (uint32_t)prng_below(&h->random, plan->publishers + plan->subscribers + 1);
    uint64_t until = party_now_ns() + 1000000 * prng_below(&h->random, 50);
    pid_t pid = i < plan->publishers                       ? h->publisher[i]
                : i < plan->publishers + plan->subscribers ? h->subscriber[i - plan->publishers]
                                                           : h->daemon;

    (void)kill(pid, SIGSTOP);
    while (party_now_ns() < until)
        party_breathe();
    (void)kill(pid, SIGCONT);
    h->figures->stops++;
}

/* Each kind of accident at its own pace, with some chance in it. */
struct accident {
    void (*happen)(struct host *);
    uint32_t every_ms;
    uint64_t due_ns;
};

static void
let_happen(struct host *h)
{
    const struct party_plan *plan = &h->p->plan;
    struct accident all[] = {{kill_daemon, plan->daemon_ms, 0},
                             {kill_publisher, plan->publisher_ms, 0},
                             {kill_subscriber, plan->subscriber_ms, 0},
                             {stop_somebody, plan->stop_ms, 0}};
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
        party_breathe();
        now = party_now_ns();
    }
}

/* --- beginning and end ------------------------------------------------------------------------ */

static int
make_topic(struct host *h)
{
    const struct party_plan *plan = &h->p->plan;
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    leat_bus *bus;
    int r = party_open(h->p, &bus);

    if (r)
        return r;
    o.durability = plan->durability;
    o.when_full = plan->when_full;
    o.depth = plan->depth;
    o.lane_size = plan->lane_size;
    o.retention_bytes = plan->retention_bytes;
    r = leat_topic_create(bus, PARTY_TOPIC, &o);
    if (r)
        party_fail(h->p, "%s", leat_error(bus));
    leat_close(bus);
    return r;
}

/* What all subscribers have had so far. */
static uint64_t
progress(const struct host *h)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < h->p->plan.subscribers; i++) {
        const struct party_sub *sub = &h->p->sub[i];
        const struct party_progress *at = &sub->progress[atom_load_seq(&sub->which)];
        sum += at->received + at->lost + atom_load_relaxed(&sub->repeated);
    }
    return sum;
}

static void
say_where(struct host *h, const char *what)
{
    char where[256] = "";
    size_t used = 0;

    for (uint32_t i = 0; i < h->p->plan.subscribers && used < sizeof where; i++) {
        const struct party_sub *sub = &h->p->sub[i];
        const struct party_progress *at = &sub->progress[atom_load_seq(&sub->which)];
        used +=
            (size_t)snprintf(where + used, sizeof where - used, " %u at %llu%s;", i,
                             (unsigned long long)at->seq, atom_load_seq(&sub->done) ? " done" : "");
    }
    party_fail(h->p, "for a minute nothing moved, and %s (the end is %llu):%s", what,
               (unsigned long long)atom_load_seq(&h->p->end), where);
}

/* Waits as long as there is progress, and a minute longer. */
static bool
wait_for(struct host *h, bool (*is)(const struct host *), const char *what)
{
    uint64_t last = 0, until = 0;

    while (!is(h)) {
        uint64_t now = progress(h);
        if (atom_load_relaxed(&h->p->failed))
            return false;
        if (now != last || !until)
            until = party_now_ns() + 60000000000u;
        last = now;
        if (party_now_ns() > until) {
            say_where(h, what);
            return false;
        }
        party_breathe();
    }
    return true;
}

static bool
all_attached(const struct host *h)
{
    for (uint32_t i = 0; i < h->p->plan.subscribers; i++)
        if (!atom_load_seq(&h->p->sub[i].attached))
            return false;
    return true;
}

static bool
all_done(const struct host *h)
{
    for (uint32_t i = 0; i < h->p->plan.subscribers; i++)
        if (!atom_load_seq(&h->p->sub[i].done))
            return false;
    return true;
}

static void
find_end(struct host *h)
{
    struct leat_topic_info info;
    leat_bus *bus;
    int r = party_open(h->p, &bus);

    if (!r)
        r = leat_topic_info(bus, PARTY_TOPIC, &info);
    if (r)
        party_fail(h->p, "asking for the end: %s", leat_strerror(r));
    else
        atom_store_seq(&h->p->end, info.tail);
    leat_close(bus);
}

static void
audit(struct host *h)
{
    struct party *p = h->p;
    struct party_figures *f = h->figures;
    uint64_t least = 0, most = 0, hash = 0;

    for (uint32_t i = 0; i < h->lives; i++) {
        least += atom_load_seq(&p->committed[i]);
        most += atom_load_seq(&p->committed[i]) + atom_load_seq(&p->trying[i]);
    }
    f->published = least;
    for (uint32_t i = 0; i < p->plan.subscribers && !atom_load_relaxed(&p->failed); i++) {
        const struct party_progress *at = &p->sub[i].progress[atom_load_seq(&p->sub[i].which)];
        uint64_t all = at->received + at->lost;
        f->received += at->received;
        f->lost += at->lost;
        f->repeated += atom_load_relaxed(&p->sub[i].repeated);
        /* Gaps count numbers, and some numbers were aborted: they may be told as gone too. */
        if (all < least || (p->plan.kind != LEAT_LIVE && all > most))
            party_fail(p, "subscriber %u: received %llu + gone %llu, but published %llu to %llu", i,
                       (unsigned long long)at->received, (unsigned long long)at->lost,
                       (unsigned long long)least, (unsigned long long)most);
        if (p->plan.kind != LEAT_LIVE && i && at->hash != hash)
            party_fail(p, "subscribers 0 and %u saw different orders", i);
        hash = at->hash;
    }
    if (!least)
        party_fail(p, "nothing was published");
}

static void
happen(struct host *h)
{
    if (start_daemon(h) || make_topic(h))
        return;
    for (uint32_t i = 0; i < h->p->plan.subscribers; i++)
        start_subscriber(h, i);
    if (!wait_for(h, all_attached, "not all subscribers are attached"))
        return;
    for (uint32_t i = 0; i < h->p->plan.publishers; i++)
        start_publisher(h, i);
    let_happen(h);
    atom_store_seq(&h->p->stop, 1);
    for (uint32_t i = 0; i < h->p->plan.publishers; i++)
        (void)waitpid(h->publisher[i], NULL, 0), h->publisher[i] = 0;
    if (atom_load_relaxed(&h->p->failed))
        return;
    find_end(h);
    if (wait_for(h, all_done, "not all subscribers are at the end"))
        audit(h);
}

static void
clean_up(struct host *h)
{
    char command[128];

    for (uint32_t i = 0; i < PARTY_PUBLISHERS; i++)
        end(&h->publisher[i], SIGKILL);
    for (uint32_t i = 0; i < PARTY_SUBSCRIBERS; i++)
        end(&h->subscriber[i], atom_load_relaxed(&h->p->failed) ? SIGKILL : 0);
    purge(h);
    end(&h->daemon, SIGKILL);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", h->dir);
    /* What a failed one wrote is kept for who looks into it. */
    if (!atom_load_relaxed(&h->p->failed) && system(command))
        (void)fprintf(stderr, "party: could not remove %s\n", h->dir);
}

int
party_run(const struct party_plan *plan, struct party_figures *ret, char why[PARTY_WHY])
{
    static struct host h;
    int r;

    h = (struct host){.figures = ret, .random = {plan->seed}};
    memset(ret, 0, sizeof *ret);
    h.p = mmap(NULL, sizeof *h.p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    (void)snprintf(h.dir, sizeof h.dir, "/var/tmp/leat-party.XXXXXX");
    if (h.p == MAP_FAILED || !mkdtemp(h.dir)) {
        (void)snprintf(why, PARTY_WHY, "%s: %s", h.dir, strerror(errno));
        return -1;
    }
    h.p->plan = *plan;
    (void)snprintf(h.p->bus, sizeof h.p->bus, "%s/bus", h.dir);
    (void)snprintf(h.p->store, sizeof h.p->store, "%s/store", h.dir);
    happen(&h);
    clean_up(&h);
    ret->slowest_send_ns = atom_load_relaxed(&h.p->slowest_ns);
    r = atom_load_relaxed(&h.p->failed) ? -1 : 0;
    (void)snprintf(why, PARTY_WHY, "%s", h.p->why);
    (void)munmap(h.p, sizeof *h.p);
    return r;
}
