/* The beginning of a party, its end, and the audit. */
#include "tests/support/party.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/support/party_impl.h"

const struct party_account *
party_account(const struct party_sub *sub)
{
    return &sub->account[atom_load_seq(&sub->which)];
}

struct party_reader
party_reader(const struct party_plan *plan, uint32_t i)
{
    return i < PARTY_SUBSCRIBERS
               ? plan->reader[i]
               : (struct party_reader){.kind = LEAT_DURABLE, .durable_only = true};
}

bool
party_is_lossless(const struct party_plan *plan, uint32_t i)
{
    struct party_reader r = party_reader(plan, i);

    if (r.kind != LEAT_DURABLE)
        return r.kind == LEAT_GATING;
    return plan->retention_bytes == PARTY_WHOLE &&
           (!plan->retention_ns || (r.named && plan->retain_until_acked));
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* What all subscribers have had so far. */
static uint64_t
progress(const struct host *h)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i <= PARTY_SUBSCRIBERS; i++)
        sum += party_account(&h->p->sub[i])->next + atom_load_relaxed(&h->p->sub[i].repeated);
    return sum;
}

static void
say_where(struct host *h, const char *what)
{
    char where[256] = "";
    size_t used = 0;

    for (uint32_t i = 0; i < h->p->plan.subscribers && used < sizeof where; i++) {
        const struct party_sub *sub = &h->p->sub[i];
        used += (size_t)snprintf(where + used, sizeof where - used, " %u at %llu%s;", i,
                                 (unsigned long long)party_account(sub)->next,
                                 atom_load_seq(&sub->done) ? " done" : "");
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
        party_look_after(h);
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
publishers_gone(const struct host *h)
{
    for (uint32_t i = 0; i < h->p->plan.publishers; i++)
        if (h->publisher[i].pid > 0)
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

static bool
fresh_done(const struct host *h)
{
    return atom_load_seq(&h->p->sub[PARTY_SUBSCRIBERS].done) != 0;
}

/* --- the topic -------------------------------------------------------------------------------- */

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
    o.retention_ns = (int64_t)plan->retention_ns;
    o.retain_until_acked = plan->retain_until_acked;
    r = leat_topic_create(bus, PARTY_TOPIC, &o);
    if (r)
        party_fail(h->p, "%s", leat_error(bus));
    leat_close(bus);
    return r;
}

static bool
ask(struct host *h, struct leat_topic_info *ret)
{
    leat_bus *bus = NULL;
    int r = party_open(h->p, &bus);

    if (!r)
        r = leat_topic_info(bus, PARTY_TOPIC, ret);
    if (r)
        party_fail(h->p, "asking for the topic: %s", leat_strerror(r));
    leat_close(bus);
    return !r;
}

/* --- the audit -------------------------------------------------------------------------------- */

static void
audit_cursor(struct host *h, uint32_t i, uint64_t end)
{
    struct party *p = h->p;
    const struct party_account *a = party_account(&p->sub[i]);
    struct party_figures *f = h->figures;

    f->received += a->received + atom_load_relaxed(&p->sub[i].received);
    f->gone += a->gone + atom_load_relaxed(&p->sub[i].gone);
    f->repeated += atom_load_relaxed(&p->sub[i].repeated);
    f->cursors += atom_load_relaxed(&p->sub[i].cursors);
    f->pause_ns = shm_max(f->pause_ns, atom_load_relaxed(&p->sub[i].pause_ns));
    if (a->from + a->received + a->gone + a->aborted != end)
        party_fail(p,
                   "subscriber %u: began at %llu, received %llu + gone %llu + aborted %llu, but "
                   "the end is %llu",
                   i, (unsigned long long)a->from, (unsigned long long)a->received,
                   (unsigned long long)a->gone, (unsigned long long)a->aborted,
                   (unsigned long long)end);
}

/* All who had everything have seen the same. */
static void
audit_order(struct host *h, uint32_t i, uint64_t *hash)
{
    const struct party_account *a = party_account(&h->p->sub[i]);

    if (a->from != 1 || a->gone)
        return;
    if (*hash && a->hash != *hash)
        party_fail(h->p, "subscriber %u saw another order", i);
    *hash = a->hash;
}

/* Every number was given to a message whose publisher was told so, or by a call that its publisher's death left unanswered. */
static void
audit_numbers(struct host *h, uint64_t end)
{
    struct party *p = h->p;
    uint64_t told = 0, unanswered = 0;

    for (uint32_t i = 0; i < h->lives; i++) {
        told += atom_load_seq(&p->committed[i]);
        unanswered += atom_load_seq(&p->trying[i]);
    }
    h->figures->published = told;
    if (told > end - 1 || end - 1 - told > unanswered)
        party_fail(
            p,
            "%llu messages were published, and up to %llu unanswered, but there are %llu numbers",
            (unsigned long long)told, (unsigned long long)unanswered,
            (unsigned long long)(end - 1));
    for (uint64_t seq = 1; seq < end && seq < PARTY_NUMBERS; seq++)
        h->figures->aborted += atom_load_relaxed(&p->known[seq]) == PARTY_ABORTED;
    if (h->figures->aborted > unanswered)
        party_fail(p, "%llu numbers were aborted, but only %llu can have been",
                   (unsigned long long)h->figures->aborted, (unsigned long long)unanswered);
    if (!told)
        party_fail(p, "nothing was published");
}

/* Where the log begins: the lowest of its segments' names. */
static uint64_t
log_first(const struct host *h)
{
    uint64_t first = UINT64_MAX;
    const struct dirent *e;
    char path[160];
    DIR *d;

    (void)snprintf(path, sizeof path, "%s/" PARTY_TOPIC, h->p->store);
    d = opendir(path);
    while (d && (e = readdir(d))) {
        const char *dot = strrchr(e->d_name, '.');
        if (dot && !strcmp(dot, ".seg") && e->d_name[0] >= '0' && e->d_name[0] <= '9')
            first = shm_min(first, strtoull(e->d_name, NULL, 10));
    }
    if (d)
        (void)closedir(d);
    return first;
}

/* A durable one is told that something is gone only when the log has it no longer; its file may take a moment to go. The fresh
 * reader also begins no later than the log: the ring may reach back further, but with payloads that have been overtaken. */
static bool
gone_is_gone(const struct host *h)
{
    uint64_t first = log_first(h);

    for (uint32_t i = 0; i <= PARTY_SUBSCRIBERS; i++) {
        const struct party_account *a = party_account(&h->p->sub[i]);
        if (party_reader(&h->p->plan, i).kind == LEAT_DURABLE && a->gone_until > first)
            return false;
    }
    return party_account(&h->p->sub[PARTY_SUBSCRIBERS])->from <= first;
}

/* --- the log, once more ----------------------------------------------------------------------- */

static void
purge(const struct host *h)
{
    const char *const argv[] = {party_leatd(), "--socket", h->p->bus, "--stop", "--purge", NULL};

    (void)party_tool(h, argv);
}

/* The daemon is killed, and comes back with the rings; ends in good order, and sometimes comes back without them, as after a
 * reboot. */
static bool
come_back(struct host *h)
{
    const char *tool = getenv("LEAT_CLI");
    const char *const verify[] = {tool ? tool : "leat", "verify", PARTY_TOPIC, NULL};
    int status;

    party_stop_daemon(h, SIGKILL);
    if (party_start_daemon(h))
        return false;
    party_stop_daemon(h, SIGTERM);
    status = party_tool(h, verify);
    if (status)
        party_fail(h->p, "leat verify: status %d (see %s/leatd.log)", status, h->dir);
    if (prng_below(&h->random, 2))
        purge(h);
    return !atom_load_relaxed(&h->p->failed) && !party_start_daemon(h);
}

/* A fresh reader has everything that the log still has, and only from there, byte for byte. */
static void
read_again(struct host *h, uint64_t hash)
{
    struct party *p = h->p;
    const struct party_account *a;
    struct leat_topic_info info;
    uint64_t end = atom_load_seq(&p->end);

    if (!come_back(h) || !ask(h, &info))
        return;
    /* Aborted numbers at the very end have left no trace in the log. */
    for (uint64_t seq = info.tail; seq < end; seq++)
        if (!party_know(p, seq, PARTY_ABORTED))
            party_fail(p, "message %llu is gone after the restart", (unsigned long long)seq);
    atom_store_seq(&p->end, info.tail);
    party_start_subscriber(h, PARTY_SUBSCRIBERS);
    if (!wait_for(h, fresh_done, "the fresh reader is not at the end"))
        return;
    a = party_account(&p->sub[PARTY_SUBSCRIBERS]);
    h->figures->reread = a->received;
    if (a->from < info.first)
        party_fail(p, "the fresh reader began at %llu, and the oldest is %llu",
                   (unsigned long long)a->from, (unsigned long long)info.first);
    if (!wait_for(h, gone_is_gone, "the fresh reader did not get what the log has"))
        return;
    audit_order(h, PARTY_SUBSCRIBERS, &hash);
}

/* --- all of it -------------------------------------------------------------------------------- */

static void
audit(struct host *h)
{
    struct party *p = h->p;
    uint64_t hash = 0, end = atom_load_seq(&p->end);

    for (uint32_t i = 0; i < p->plan.subscribers; i++) {
        audit_cursor(h, i, end);
        audit_order(h, i, &hash);
    }
    audit_numbers(h, end);
    if (p->plan.pause_most_ns && (h->figures->pause_ns > p->plan.pause_most_ns ||
                                  atom_load_relaxed(&p->slowest_ns) > p->plan.pause_most_ns))
        party_fail(p, "the data path stood still for %.1f s",
                   (double)shm_max(h->figures->pause_ns, atom_load_relaxed(&p->slowest_ns)) / 1e9);
    if (p->plan.durability == LEAT_DISK && !atom_load_relaxed(&p->failed) &&
        wait_for(h, gone_is_gone, "a subscriber was told of a gap that the log still has"))
        read_again(h, hash);
}

static void
happen(struct host *h)
{
    struct leat_topic_info info;

    party_mount(h);
    if (party_start_daemon(h) || make_topic(h))
        return;
    for (uint32_t i = 0; i < h->p->plan.subscribers; i++)
        party_start_subscriber(h, i);
    if (!wait_for(h, all_attached, "not all subscribers are attached"))
        return;
    atom_store_seq(&h->p->begun, 1);
    for (uint32_t i = 0; i < h->p->plan.publishers; i++)
        party_start_publisher(h, i);
    party_let_happen(h);
    party_empty_disk(h);
    atom_store_seq(&h->p->stop, 1);
    if (!wait_for(h, publishers_gone, "not all publishers have ended") || !ask(h, &info))
        return;
    atom_store_seq(&h->p->end, info.tail);
    if (wait_for(h, all_done, "not all subscribers are at the end"))
        audit(h);
}

static void
clean_up(struct host *h)
{
    bool failed = atom_load_relaxed(&h->p->failed) != 0;
    char command[128];

    for (uint32_t i = 0; i < PARTY_PUBLISHERS; i++)
        party_end_guest(&h->publisher[i], SIGKILL);
    for (uint32_t i = 0; i <= PARTY_SUBSCRIBERS; i++)
        party_end_guest(&h->subscriber[i], failed ? SIGKILL : 0);
    purge(h);
    party_stop_daemon(h, SIGKILL);
    party_unmount(h);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", h->dir);
    /* What a failed one wrote is kept for who looks into it. */
    if (failed)
        (void)fprintf(stderr, "party: kept %s\n", h->dir);
    else if (system(command))
        (void)fprintf(stderr, "party: could not remove %s\n", h->dir);
}

int
party_run(const struct party_plan *plan, struct party_figures *ret, char why[PARTY_WHY])
{
    static struct host h;
    const char *place = getenv("TMPDIR");
    int r;

    h = (struct host){.figures = ret, .random = {plan->seed}};
    memset(ret, 0, sizeof *ret);
    h.p = mmap(NULL, sizeof *h.p, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    (void)snprintf(h.dir, sizeof h.dir, "%s/leat-party.XXXXXX", place ? place : "/var/tmp");
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
    ret->refused = atom_load_relaxed(&h.p->refused);
    r = atom_load_relaxed(&h.p->failed) ? -1 : 0;
    (void)snprintf(why, PARTY_WHY, "%s", h.p->why);
    (void)munmap(h.p, sizeof *h.p);
    return r;
}
