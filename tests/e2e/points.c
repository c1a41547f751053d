/* points.c - killed, or stopped, at every named point that a process at work passes.
 *
 *     points kill|stop [NAME]
 *
 * A daemon, two publishers and two subscribers work on one topic, in memory or on disk. First nothing happens to them but one death of
 * the daemon, and the points that each of them passes are written down. Then, for each of those points and each kind of process, the same
 * again, and at that point it kills itself (or stops itself). The others go on; what was killed is started again; one
 * more publisher comes late. In the end both subscribers have seen the same messages, in the same order: all of every publisher that
 * finished, and of the killed one's first life all it was told were committed.
 *
 * While somebody is stopped: a bystander's topic is not affected, publishers commit all they have (the ring has room), the inspector names the
 * stopped process and since when its claim is open, and so does the tool, in words; readers stand before an open claim and no further, and
 * what a stopped subscriber gates is held up in its name; nobody is taken for dead. In the long form a stop takes two seconds more.
 *
 * Exits 0, 1 with the reason, 77 in a build without test points. */
#include "tests/e2e/points.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/bus.h"
#include "daemon/memory.h"
#include "daemon/report.h"
#include "shm/name.h"
#include "shm/testpoint.h"

#if defined(LEAT_TESTPOINTS)

#define PATIENCE_NS 60000000000ull
#define TIMEOUT_NS 300000000 /* of one question of the driver */
#define BYSTANDER "bystander"
#define TOOL_ROOM 65536
#define DWELL_MS 2000

struct driver {
    struct world *w;
    pid_t daemon, publisher[POINTS_LIVES], subscriber[2];
    bool published[POINTS_LIVES], over[2], ended; /* exited well */
    bool again;                                   /* the first subscriber had an accident */
    pid_t lost;                                   /* dies in a claim, for the daemon to settle */
    leat_bus *bus;                                /* of the bystander */
    leat_pub *pub;
    leat_sub *sub;
};

/* In a child: the world and its own role. */
static struct {
    struct world *w;
    enum role role;
    bool armed;
} self;

static void
on_point(const char *name)
{
    struct world *w = self.w;
    uint32_t i = 0;

    while (w->names[i] && strcmp(w->names[i], name) != 0)
        i++;
    (void)atom_add_seq(&w->passed[self.role][i], 1);
    if (!self.armed || w->role != self.role || w->name != i || atom_load_seq(&w->fired))
        return;
    if (atom_add_seq(&w->hits, 1) + 1 != w->nth)
        return;
    atom_store_seq(&w->fired, 1);
    (void)kill(getpid(), w->signal);
}

static pid_t
begin(struct driver *d, enum role role, bool armed)
{
    pid_t pid;

    (void)fflush(NULL);
    pid = fork();
    if (pid)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    self.w = d->w;
    self.role = role;
    self.armed = armed;
    shm_testpoint_hook = on_point;
    return 0;
}

/* --- the guests ------------------------------------------------------------------------------- */

static int
serve(struct world *w)
{
    char text[160], error[CONFIG_ERROR] = "", why[WHY_ROOM] = "";
    struct config c;
    struct bus *bus;
    FILE *f;
    int r;

    (void)snprintf(text, sizeof text, "%s/leatd.log", w->dir);
    report_to(open(text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    (void)snprintf(text, sizeof text, "%s/leat.conf", w->dir);
    f = fopen(text, "we");
    if (!f)
        return points_fail(w, "%s: %s", text, strerror(errno));
    (void)fprintf(f,
                  "[bus]\nsocket = %s\nstore = %s/store\n[topic *]\ncreate = yes\ndepth = 64\n"
                  "[topic " POINTS_TOPIC "]\ndurability = %s\ndepth = %llu\nlane_size = 64K\n"
                  "retention_bytes = 1M\n",
                  w->bus, w->dir, w->disk ? "disk" : "memory", (unsigned long long)w->depth);
    r = fclose(f);
    if (!r)
        r = config_init(&c, false);
    if (!r)
        r = config_load(&c, text, true, error);
    if (!r)
        r = bus_open(&c, &bus, why);
    if (r)
        return points_fail(w, "the daemon: %s%s", error, why);
    atom_store_seq(&w->ready, 1);
    r = bus_run(bus);
    bus_close(bus);
    return r ? 1 : 0;
}

static void
start_daemon(struct driver *d)
{
    atom_store_seq(&d->w->ready, 0);
    d->daemon = begin(d, DAEMON, true);
    if (!d->daemon)
        _exit(serve(d->w));
}

static void
start_publisher(struct driver *d, uint32_t life)
{
    d->publisher[life] = begin(d, PUBLISHER, life == 0);
    if (!d->publisher[life])
        _exit(points_publish(d->w, life));
}

static void
start_subscriber(struct driver *d, uint32_t i)
{
    d->subscriber[i] = begin(d, SUBSCRIBER, i == 0);
    if (!d->subscriber[i])
        _exit(points_subscribe(d->w, i, i == 0 && d->again));
}

/* --- while somebody is stopped ---------------------------------------------------------------- */

static bool
wait_for_count(struct world *w, const atom_u64 *at, uint64_t count, const char *what)
{
    uint64_t until = points_now_ns() + PATIENCE_NS;

    while (atom_load_seq(at) < count) {
        if (atom_load_seq(&w->failed))
            return false;
        if (points_now_ns() > until) {
            (void)points_fail(w, "while it was stopped %s", what);
            return false;
        }
        points_breathe();
    }
    return true;
}

static void
watch_bystander(struct driver *d)
{
    struct leat_msg m;

    for (uint32_t i = 0; d->sub && i < 20; i++) {
        uint64_t seq = 0;
        int r = leat_pub_send(d->pub, &i, sizeof i, &seq);
        if (!r && (r = leat_sub_wait(d->sub, 10000000000)) == 1)
            r = leat_sub_receive(d->sub, &m);
        if (r != 1 || m.seq != seq || memcmp(m.data, &i, sizeof i) != 0 ||
            leat_sub_release(d->sub, &m)) {
            (void)points_fail(d->w, "the bystander noticed: %d %s", r, leat_error(d->bus));
            return;
        }
    }
}

/* Where the ring has room, nobody has to wait for anybody who is stopped. */
static void
watch_others(struct driver *d)
{
    struct world *w = d->w;

    if (w->depth < 128 || !atom_load_seq(&w->publishing[1]))
        return;
    if (!wait_for_count(w, &w->committed[1], POINTS_COUNT, "the second publisher did not go on"))
        return;
    if (w->role == PUBLISHER || !atom_load_seq(&w->publishing[0]) ||
        !atom_load_seq(&w->subscribed[1]))
        return;
    if (wait_for_count(w, &w->committed[0], POINTS_COUNT, "the first publisher did not go on"))
        (void)wait_for_count(w, &w->at[1], 2 * POINTS_COUNT,
                             "the second subscriber did not receive all");
}

static bool
is_claimed(const char *name)
{
    return !strcmp(name, "ring.claimed") || !strcmp(name, "ring.busy");
}

static bool
is_in_claim(const char *name)
{
    return !strcmp(name, "ring.intent") || is_claimed(name);
}

static void
dwell(uint32_t ms)
{
    uint64_t until = points_now_ns() + ms * 1000000ull;

    while (points_now_ns() < until)
        points_breathe();
}

/* What `leat ring` prints about the topic; "" when it has nothing to say. */
static void
run_tool(struct world *w, const char *option, char text[TOOL_ROOM])
{
    const char *leat = getenv("LEAT_CLI");
    char command[400];
    size_t n = 0;
    FILE *f;

    (void)snprintf(command, sizeof command, "%s ring -b %s %s " POINTS_TOPIC " 2>/dev/null",
                   leat ? leat : "leat", w->bus, option);
    f = popen(command, "re");
    if (f)
        n = fread(text, 1, TOOL_ROOM - 1, f);
    text[n] = '\0';
    if (f && pclose(f))
        text[0] = '\0';
}

/* The tool says it, in its picture and to programs, at least after a while: others are still coming up to where they will stand. */
static void
hear(struct world *w, const char *words, bool (*is_over)(const struct world *))
{
    char text[TOOL_ROOM];
    uint64_t until = points_now_ns() + PATIENCE_NS;

    do {
        run_tool(w, "", text);
        if (strstr(text, words))
            run_tool(w, "--json", text);
        if (strstr(text, words)) {
            w->heard++;
            return;
        }
        points_breathe();
    } while (!(is_over && is_over(w)) && points_now_ns() < until);
    if (!is_over || !is_over(w))
        (void)points_fail(w, "leat ring does not say '%s', but:\n%s", words, text);
}

static bool
have_committed(const struct world *w)
{
    return atom_load_seq(&w->committed[0]) >= POINTS_COUNT &&
           atom_load_seq(&w->committed[1]) >= POINTS_COUNT;
}

/* Readers come up to an open claim, and stand there. */
static void
watch_readers(struct driver *d, const struct leat_inspect_pub *p)
{
    struct world *w = d->w;
    char words[80];

    if (!wait_for_count(w, &w->at[1], p->intent_seq, "a reader did not come up to the claim"))
        return;
    (void)snprintf(words, sizeof words, "by publisher %u (pid %u, points, stopped)", p->index,
                   p->pid);
    hear(w, words, NULL);
    dwell(w->dwell_ms);
    if (atom_load_seq(&w->at[1]) != p->intent_seq)
        (void)points_fail(w, "a reader stands at %llu, behind a claim at %llu that is open",
                          (unsigned long long)atom_load_seq(&w->at[1]),
                          (unsigned long long)p->intent_seq);
}

/* Who, and since when. */
static void
look_at(struct driver *d, pid_t pid)
{
    struct world *w = d->w;
    struct leat_inspect_pub p = {.pid = 0};
    struct leat_inspect_sub s = {.pid = 0};
    leat_inspect *in;
    uint32_t i = 0;
    int r = leat_inspect_open(w->bus, &in);

    while (!r && leat_inspect_pub(in, POINTS_TOPIC, &i, &p) == 1 && p.pid != (uint32_t)pid)
        ;
    for (i = 0; !r && leat_inspect_sub(in, POINTS_TOPIC, &i, &s) == 1 && s.pid != (uint32_t)pid;)
        ;
    if (r)
        (void)points_fail(w, "inspect: %s", leat_strerror(r));
    else if (w->role == PUBLISHER && atom_load_seq(&w->publishing[0]) &&
             (p.pid != (uint32_t)pid || !p.alive || !p.since_ns))
        (void)points_fail(w, "the inspector does not show the stopped publisher %d", pid);
    else if (w->role == PUBLISHER && is_in_claim(w->names[w->name]) &&
             (!p.intent_count || !p.intent_since_ns))
        (void)points_fail(w, "the inspector does not show since when a claim is open");
    else if (w->role == SUBSCRIBER && atom_load_seq(&w->subscribed[0]) &&
             (s.pid != (uint32_t)pid || !s.since_ns))
        (void)points_fail(w, "the inspector does not show the stopped subscriber %d", pid);
    leat_inspect_close(in);
    if (r || atom_load_seq(&w->failed))
        return;
    if (w->role == PUBLISHER && is_claimed(w->names[w->name]))
        watch_readers(d, &p);
    else if (w->role == SUBSCRIBER && !w->disk && w->depth < 128 &&
             atom_load_seq(&w->subscribed[0]) && atom_load_seq(&w->publishing[0]) &&
             atom_load_seq(&w->publishing[1])) {
        char words[64];
        (void)snprintf(words, sizeof words, "pid %d, gating, stopped)", pid);
        hear(w, words, have_committed);
    }
}

/* It may have been stopped before it said in the topic's memory who it is. */
static void
look_at_daemon(struct driver *d)
{
    char text[TOOL_ROOM];

    run_tool(d->w, "", text);
    if (*text && !strstr(text, " is stopped") && !strstr(text, " is not running"))
        (void)points_fail(d->w, "leat ring does not say that the daemon is stopped, but:\n%s",
                          text);
    d->w->heard += *text != '\0';
}

static void
on_stop(struct driver *d, pid_t pid)
{
    watch_bystander(d);
    watch_others(d);
    /* A daemon may have been stopped before its lock says where its memory is; one that leaves takes its place with it. */
    if (d->w->role == DAEMON)
        look_at_daemon(d);
    else if (!d->published[0])
        look_at(d, pid);
    dwell(d->w->dwell_ms);
    (void)kill(pid, SIGCONT);
}

/* --- keeping everybody running ---------------------------------------------------------------- */

static bool
is_accident(const struct world *w, int status, enum role role)
{
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && w->role == role;
}

static void
bad_end(struct world *w, const char *who, uint32_t i, int status)
{
    (void)points_fail(w, "%s %u ended with status %x", who, i, (unsigned)status);
}

static void
on_end(struct driver *d, pid_t pid, int status)
{
    struct world *w = d->w;

    if (pid == d->daemon) {
        d->ended = !status;
        if (is_accident(w, status, DAEMON))
            start_daemon(d);
        else if (status)
            bad_end(w, "daemon", 0, status);
    }
    if (pid == d->lost)
        d->lost = -1;
    for (uint32_t i = 0; i < POINTS_LIVES; i++) {
        if (pid != d->publisher[i])
            continue;
        d->published[i] = true;
        if (is_accident(w, status, PUBLISHER) && !i)
            start_publisher(d, 2);
        else if (status)
            bad_end(w, "publisher", i, status);
    }
    for (uint32_t i = 0; i < 2; i++) {
        if (pid != d->subscriber[i])
            continue;
        d->over[i] = !status;
        if (is_accident(w, status, SUBSCRIBER) && !i) {
            d->again = true;
            start_subscriber(d, 0);
        } else if (status) {
            bad_end(w, "subscriber", i, status);
        }
    }
}

static void
tend(struct driver *d)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
        if (WIFSTOPPED(status))
            on_stop(d, pid);
        else
            on_end(d, pid, status);
    }
}

static bool
wait_until(struct driver *d, bool (*is)(const struct driver *), const char *what)
{
    uint64_t until = points_now_ns() + PATIENCE_NS;

    while (!is(d)) {
        tend(d);
        if (atom_load_seq(&d->w->failed))
            return false;
        if (points_now_ns() > until) {
            (void)points_fail(d->w, "after a minute: %s", what);
            return false;
        }
        points_breathe();
    }
    return true;
}

static bool
is_ready(const struct driver *d)
{
    return atom_load_seq(&d->w->ready);
}

static bool
are_subscribed(const struct driver *d)
{
    return atom_load_seq(&d->w->subscribed[0]) && atom_load_seq(&d->w->subscribed[1]);
}

static bool
have_published(const struct driver *d)
{
    return d->published[0] && d->published[1] && (!d->publisher[2] || d->published[2]);
}

static bool
has_come_late(const struct driver *d)
{
    return d->published[3];
}

static bool
has_lost(const struct driver *d)
{
    return d->lost < 0;
}

static bool
are_over(const struct driver *d)
{
    return d->over[0] && d->over[1];
}

static bool
has_ended(const struct driver *d)
{
    return d->ended;
}

/* --- the driver's own questions --------------------------------------------------------------- */

/* Calls until it does not fail for what will pass; looks after the others in between. */
static int
insist(struct driver *d, int (*call)(struct driver *))
{
    uint64_t until = points_now_ns() + PATIENCE_NS;
    int r;

    while (points_is_passing(r = call(d)) && points_now_ns() < until &&
           !atom_load_seq(&d->w->failed)) {
        tend(d);
        points_breathe();
    }
    return r;
}

static int
open_bus(struct driver *d)
{
    struct leat_options o = LEAT_OPTIONS_INIT;

    o.path = d->w->bus;
    o.timeout_ns = TIMEOUT_NS;
    return leat_open(&o, &d->bus);
}

static int
open_pub(struct driver *d)
{
    struct leat_pub_options o = LEAT_PUB_OPTIONS_INIT;

    o.flags = LEAT_CREATE;
    return leat_pub_open(d->bus, BYSTANDER, &o, &d->pub);
}

static int
open_sub(struct driver *d)
{
    return leat_sub_open(d->bus, BYSTANDER, NULL, &d->sub);
}

static int
find_end(struct driver *d)
{
    struct leat_topic_info info;
    int r = leat_topic_info(d->bus, POINTS_TOPIC, &info);

    if (!r)
        atom_store_seq(&d->w->end, info.tail);
    return r;
}

static int
remove_topic(struct driver *d)
{
    int r = leat_topic_remove(d->bus, POINTS_TOPIC);

    /* Asked twice, when the answer to the first was lost. */
    return r == -ENOENT ? 0 : r;
}

/* --- the end ---------------------------------------------------------------------------------- */

static void
check_life(struct driver *d, uint32_t life, uint64_t have)
{
    struct world *w = d->w;
    uint64_t least = atom_load_seq(&w->committed[life]),
             most = least + atom_load_seq(&w->trying[life]);

    if (have < least || have > most)
        (void)points_fail(w, "of publisher %u's %llu to %llu messages %llu were received", life,
                          (unsigned long long)least, (unsigned long long)most,
                          (unsigned long long)have);
}

static void
check_order(struct driver *d)
{
    struct world *w = d->w;
    uint64_t have[POINTS_LIVES] = {0}, end = atom_load_seq(&w->end);
    bool part = d->again && !w->disk; /* its cursor ended with it: the second life saw the rest */

    for (uint64_t seq = 1; seq < end && seq < POINTS_SEQS; seq++) {
        uint64_t word = atom_load_seq(&w->seen[1][seq]), other = atom_load_seq(&w->seen[0][seq]);
        uint32_t life = (uint32_t)(word >> 32);
        if (word != other && !(part && !other))
            (void)points_fail(w, "message %llu: one saw %llx, the other %llx",
                              (unsigned long long)seq, (unsigned long long)other,
                              (unsigned long long)word);
        if (!word)
            continue;
        have[life]++;
        if ((uint32_t)word != have[life])
            (void)points_fail(w, "message %llu is publisher %u's number %u, not %llu",
                              (unsigned long long)seq, life, (uint32_t)word,
                              (unsigned long long)have[life]);
        if (part && life == 3 && !other)
            (void)points_fail(w, "the restarted subscriber did not see message %llu",
                              (unsigned long long)seq);
    }
    for (uint32_t life = 0; life < POINTS_LIVES; life++)
        check_life(d, life, have[life]);
}

static void
remove_one(void *user, const char *name)
{
    memory_remove(user, name);
}

static void
end(pid_t *pid)
{
    if (*pid <= 0)
        return;
    (void)kill(*pid, SIGKILL);
    (void)waitpid(*pid, NULL, 0);
    *pid = 0;
}

static void
clean_up(struct driver *d)
{
    char prefix[LIMIT_SHM_PREFIX], command[256];

    d->sub = leat_sub_close(d->sub);
    d->pub = leat_pub_close(d->pub);
    d->bus = leat_close(d->bus);
    for (uint32_t i = 0; i < POINTS_LIVES; i++)
        if (!d->published[i])
            end(&d->publisher[i]);
    for (uint32_t i = 0; i < 2; i++)
        if (!d->over[i])
            end(&d->subscriber[i]);
    if (!d->ended)
        end(&d->daemon);
    shm_name_prefix(d->w->bus, prefix);
    (void)memory_list(prefix, remove_one, prefix);
    (void)snprintf(command, sizeof command, "%s%s/leatd.log; rm -rf '%s'",
                   atom_load_seq(&d->w->failed) ? "cat " : ": ", d->w->dir, d->w->dir);
    if (system(command))
        (void)fprintf(stderr, "could not remove %s\n", d->w->dir);
}

/* --- one run ---------------------------------------------------------------------------------- */

static bool
bring_up(struct driver *d)
{
    int r;

    start_daemon(d);
    if (!wait_until(d, is_ready, "no daemon"))
        return false;
    r = insist(d, open_bus);
    if (!r)
        r = insist(d, open_pub);
    if (!r)
        r = insist(d, open_sub);
    if (r)
        (void)points_fail(d->w, "the bystander: %s", leat_strerror(r));
    if (r)
        return false;
    start_subscriber(d, 0);
    start_subscriber(d, 1);
    return wait_until(d, are_subscribed, "not all are subscribed");
}

/* A daemon that has not had its accident dies now, so that what it does when it starts again is reached. */
static void
change_daemon(struct driver *d)
{
    if (d->w->role != DAEMON || atom_load_seq(&d->w->fired))
        return;
    (void)kill(d->daemon, SIGKILL);
    atom_store_seq(&d->w->ready, 0);
    (void)wait_until(d, is_ready, "no second daemon");
}

static void
die_claimed(const char *name)
{
    if (!strcmp(name, "ring.claimed"))
        (void)kill(getpid(), SIGKILL);
}

/* A daemon that is to be stopped sees somebody die inside a claim, so that what it does then is reached. */
static void
lose_somebody(struct driver *d)
{
    if (d->w->role != DAEMON || d->w->signal == SIGKILL)
        return;
    d->lost = begin(d, PUBLISHER, false);
    if (!d->lost) {
        shm_testpoint_hook = die_claimed;
        _exit(points_publish(d->w, POINTS_LIVES - 1));
    }
    (void)wait_until(d, has_lost, "nobody died in a claim");
}

static void
happen(struct driver *d)
{
    int r;

    if (!bring_up(d))
        return;
    start_publisher(d, 0);
    start_publisher(d, 1);
    if (!wait_until(d, have_published, "not all have published"))
        return;
    lose_somebody(d);
    change_daemon(d);
    start_publisher(d, 3);
    if (!wait_until(d, has_come_late, "nobody could come late"))
        return;
    r = insist(d, find_end);
    if (r) {
        (void)points_fail(d->w, "asking for the end: %s", leat_strerror(r));
        return;
    }
    if (!wait_until(d, are_over, "not all have received all"))
        return;
    check_order(d);
    r = insist(d, remove_topic);
    if (r)
        (void)points_fail(d->w, "removing the topic: %s", leat_strerror(r));
    for (int i = 0; i < 2 && !d->ended && wait_until(d, is_ready, "no daemon to stop"); i++) {
        pid_t was = d->daemon;
        (void)kill(was, SIGTERM);
        while (!d->ended && d->daemon == was && !atom_load_seq(&d->w->failed)) {
            tend(d);
            points_breathe();
        }
    }
    (void)wait_until(d, has_ended, "the daemon does not end");
}

/* Where nobody died the daemon must have settled nothing. */
static void
look_for_verdicts(struct world *w)
{
    char text[160];
    FILE *f;

    (void)snprintf(text, sizeof text, "%s/leatd.log", w->dir);
    f = fopen(text, "re");
    while (f && fgets(text, sizeof text, f))
        if (strstr(text, "never came to be") || strstr(text, "evicted"))
            (void)points_fail(w, "somebody who was only stopped was taken for dead: %s", text);
    if (f)
        (void)fclose(f);
}

/* One run of the whole: 0, or 1 after saying why. */
static int
run(struct world *w)
{
    static const char *const roles[] = {"daemon", "publisher", "subscriber"};
    struct driver d = {.w = w};
    const char *name = w->name == POINTS_NONE ? "no point" : w->names[w->name];

    (void)snprintf(w->dir, sizeof w->dir, "/tmp/leat-points.XXXXXX");
    if (!mkdtemp(w->dir))
        return points_fail(w, "%s: %s", w->dir, strerror(errno));
    (void)snprintf(w->bus, sizeof w->bus, "%s/bus", w->dir);
    happen(&d);
    if (w->signal == SIGSTOP && w->role != DAEMON)
        look_for_verdicts(w);
    clean_up(&d);
    if (!atom_load_seq(&w->failed))
        return 0;
    printf("FAILED: %s at %s, %s, depth %llu, passage %u: %s\n", roles[w->role], name,
           w->disk ? "disk" : "memory", (unsigned long long)w->depth, w->nth, w->why);
    return 1;
}

/* --- all -------------------------------------------------------------------------------------- */

struct plan {
    const char *only;
    int signal;
    bool full;
    uint32_t runs, fired, heard;
};

static void
reset(struct world *w, bool disk, uint64_t depth)
{
    const char *const *names = w->names;

    memset(w, 0, sizeof *w);
    w->names = names;
    w->disk = disk;
    w->depth = depth;
    w->name = POINTS_NONE;
    w->nth = 1;
}

static int
run_point(struct world *w, struct plan *p, enum role role, uint32_t name)
{
    int r;

    w->role = role;
    w->name = name;
    w->signal = p->signal;
    w->dwell_ms = p->full && p->signal == SIGSTOP ? DWELL_MS : 0;
    r = run(w);
    p->runs++;
    p->heard += w->heard;
    p->fired += atom_load_seq(&w->fired) != 0;
    return r;
}

static bool done[ROLES][POINTS_NAMES];

static void
print_rest(const char *const *names)
{
    const char *between = "not passed by these processes: ";

    for (uint32_t i = 0; names[i]; i++) {
        if (done[DAEMON][i] || done[PUBLISHER][i] || done[SUBSCRIBER][i])
            continue;
        printf("%s%s", between, names[i]);
        between = ", ";
    }
    printf("\n");
}

/* All points of one world: which are passed is found first. In the quick form a point that is passed in several worlds has
 * its accident in one of them: `done` keeps which had. */
static int
run_world(struct world *w, struct plan *p, bool disk, uint64_t depth)
{
    static uint64_t passed[ROLES][POINTS_NAMES];

    reset(w, disk, depth);
    w->role = DAEMON;
    w->signal = p->signal;
    if (run(w))
        return 1;
    for (uint32_t role = 0; role < ROLES; role++)
        for (uint32_t i = 0; i < POINTS_NAMES; i++)
            passed[role][i] = atom_load_seq(&w->passed[role][i]);
    for (uint32_t role = 0; role < ROLES; role++)
        for (uint32_t i = 0; w->names[i]; i++) {
            if (!passed[role][i] || (!p->full && done[role][i]) ||
                (p->only && strcmp(p->only, w->names[i]) != 0))
                continue;
            reset(w, disk, depth);
            /* Not only the first time: a later passage finds others at work. */
            w->nth = done[role][i] && passed[role][i] > 3 ? 3 : 1;
            done[role][i] = true;
            if (run_point(w, p, (enum role)role, i))
                return 1;
        }
    return 0;
}

int
main(int argc, char **argv)
{
    static const struct {
        bool disk;
        uint64_t depth;
    } worlds[] = {{true, 512}, {false, 512}, {false, 16}, {true, 16}};
    struct plan p = {.signal = argc > 1 && !strcmp(argv[1], "stop") ? SIGSTOP : SIGKILL,
                     .only = argc > 2 ? argv[2] : NULL,
                     .full = getenv("LEAT_FULL") != NULL};
    struct world *w =
        mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (w == MAP_FAILED)
        return 1;
    w->names = shm_testpoint_names();
    for (size_t i = 0; i < sizeof worlds / sizeof *worlds; i++)
        if (run_world(w, &p, worlds[i].disk, worlds[i].depth))
            return 1;
    if (!p.only)
        print_rest(w->names);
    printf("%u runs, in %u of them somebody was %s\n", p.runs, p.fired,
           p.signal == SIGSTOP ? "stopped and went on" : "killed");
    if (p.signal == SIGSTOP)
        printf("leat ring said %u times who it was\n", p.heard);
    return p.fired ? 0 : 1;
}

#else

int
main(void)
{
    printf("this build has no test points\n");
    return 77;
}

#endif
