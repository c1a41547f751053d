/* hostile.c - clients that mean harm, against a real daemon, as another user where the test is run by root.
 *
 * Two neighbours, a publisher and a subscriber, use a topic in memory and one on disk all the time. Beside them one attacker after the other does its
 * worst (hostile_attacks.c: over the socket; hostile_scribble.c: in the shared memory of a topic that it may publish to). After each of them
 * the daemon lives, with as many descriptors as before and no more memory; the neighbours have lost nothing and go on; somebody new
 * is served. A topic that was ruined is quarantined, and `leat info` says why. Who used it is told, and neither crashes nor hangs; where the
 * memory itself is gone, SIGBUS is the kernel's word.
 *
 * Prints the seed (LEAT_SEED). Exits 0, or 1 with the reason. */
#include "tests/e2e/hostile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_NS 30000000000
#define PATIENCE_TICKS 30000 /* milliseconds */
#define ROUNDS 3
#define ROUNDS_FULL 30
#define SLACK_KB 8192 /* the daemon's memory may differ by, however much is done to it */

struct stage {
    struct hostile *h;
    char dir[64];
    pid_t daemon, neighbours;
    leat_bus *bus;
    uint32_t descriptors; /* of the daemon, when nobody attacks */
    uint64_t memory_kb;   /* its own, without what it shares */
    uint32_t victims, quarantined;
};

int
hostile_fail(struct hostile *h, const char *format, ...)
{
    va_list args;

    if (atom_add_seq(&h->failed, 1))
        return 1;
    va_start(args, format);
    (void)vsnprintf(h->why, sizeof h->why, format, args);
    va_end(args);
    return 1;
}

static uint64_t
now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void
breathe(void)
{
    (void)poll(NULL, 0, 1);
}

static pid_t
begin(void)
{
    pid_t pid;

    (void)fflush(NULL);
    pid = fork();
    if (!pid)
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

/* --- the neighbours --------------------------------------------------------------------------- */

struct neighbour {
    leat_pub *pub;
    leat_sub *sub;
    uint64_t next;
};

static int
move_in(leat_bus *bus, const char *topic, struct neighbour *n)
{
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    int r = leat_pub_open(bus, topic, NULL, &n->pub);

    o.kind = strstr(topic, "disk") ? LEAT_DURABLE : LEAT_GATING;
    n->next = 1;
    return r ? r : leat_sub_open(bus, topic, &o, &n->sub);
}

/* One message from the one to the other, the next in order. */
static int
cross(struct hostile *h, struct neighbour *n, bool durable)
{
    uint64_t began = now_ns(), took, seq = 0;
    struct leat_msg m;
    int r;

    HOSTILE_MUST(h, leat_pub_send(n->pub, &n->next, sizeof n->next, &seq) == 0);
    HOSTILE_MUST(h, seq == n->next);
    r = leat_sub_wait(n->sub, PATIENCE_NS);
    HOSTILE_MUST(h, r == 1 && leat_sub_receive(n->sub, &m) == 1);
    HOSTILE_MUST(h, m.seq == seq && m.len == sizeof seq && !memcmp(m.data, &seq, sizeof seq));
    HOSTILE_MUST(h, leat_sub_release(n->sub, &m) == 0);
    if (durable)
        HOSTILE_MUST(h, leat_pub_wait_durable(n->pub, seq, PATIENCE_NS) == 0);
    n->next++;
    took = now_ns() - began;
    if (!durable && took > atom_load_seq(&h->worst_ns))
        atom_store_seq(&h->worst_ns, took);
    (void)atom_add_seq(&h->crossed, 1);
    return 0;
}

static int
live_next_door(struct hostile *h)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    struct neighbour memory, disk;
    leat_bus *bus;

    o.path = h->bus;
    HOSTILE_MUST(h, leat_open(&o, &bus) == 0);
    HOSTILE_MUST(h, move_in(bus, "innocent", &memory) == 0);
    HOSTILE_MUST(h, move_in(bus, "innocent.disk", &disk) == 0);
    for (;;) {
        if (cross(h, &memory, false) || cross(h, &disk, true))
            return 1;
        breathe();
    }
}

/* --- the daemon ------------------------------------------------------------------------------- */

static void
write_config(const struct stage *s, const char *path)
{
    FILE *f = fopen(path, "we");

    if (!f)
        return;
    (void)fprintf(f,
                  "[bus]\nsocket = %s\nstore = %s\nmode = 0666\nuser_sessions = %d\n"
                  "user_topics = %d\nuser_shm = 4M\nuser_seats = %d\n"
                  "[topic *]\ndepth = 64\nlane_size = 64K\nmax_publishers = 4\n"
                  "max_subscribers = 8\n[topic open.*]\ncreate = yes\n"
                  "[topic closed]\ndeclare = yes\ndurability = disk\nmode = 0600\n"
                  "[topic innocent]\ndeclare = yes\n"
                  "[topic innocent.disk]\ndeclare = yes\ndurability = disk\n"
                  "[topic shared]\ndeclare = yes\nmode = 0666\n",
                  s->h->bus, s->h->store, HOSTILE_SESSIONS, HOSTILE_TOPICS, HOSTILE_SEATS);
    (void)fclose(f);
}

static int
start_daemon(struct stage *s)
{
    const char *leatd = getenv("LEATD");
    char config[96], fd[16], log[96], byte;
    int ready[2], out;

    (void)snprintf(config, sizeof config, "%s/leat.conf", s->dir);
    (void)snprintf(log, sizeof log, "%s/leatd.log", s->dir);
    write_config(s, config);
    HOSTILE_MUST(s->h, leatd && pipe(ready) == 0);
    s->daemon = begin();
    if (!s->daemon) {
        (void)close(ready[0]);
        out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        (void)dup2(out, 2);
        (void)snprintf(fd, sizeof fd, "%d", ready[1]);
        (void)execl(leatd, "leatd", "--config", config, "--ready-fd", fd, (char *)NULL);
        _exit(127);
    }
    (void)close(ready[1]);
    HOSTILE_MUST(s->h, read(ready[0], &byte, 1) == 1);
    (void)close(ready[0]);
    s->h->daemon = s->daemon;
    return 0;
}

static uint32_t
count_descriptors(pid_t pid)
{
    char path[32];
    uint32_t n = 0;
    DIR *d;

    (void)snprintf(path, sizeof path, "/proc/%d/fd", pid);
    d = opendir(path);
    while (d && readdir(d))
        n++;
    if (d)
        (void)closedir(d);
    return n;
}

/* Of its own memory; what it shares are topics, that come and go. */
static uint64_t
memory_kb(pid_t pid)
{
    unsigned long long kb = 0;
    char text[128];
    FILE *f;

    (void)snprintf(text, sizeof text, "/proc/%d/status", pid);
    f = fopen(text, "re");
    while (f && fgets(text, sizeof text, f))
        if (sscanf(text, "RssAnon: %llu", &kb) == 1)
            break;
    if (f)
        (void)fclose(f);
    return kb;
}

/* --- after each attack ------------------------------------------------------------------------ */

static int
look_around(struct stage *s, const char *after)
{
    uint64_t crossed = atom_load_seq(&s->h->crossed), kb;
    struct leat_topic_info info;
    int ticks = 0, status;

    HOSTILE_MUST(s->h, leat_topic_info(s->bus, "innocent", &info) == 0);
    HOSTILE_MUST(s->h, info.state == LEAT_TOPIC_OK && info.publishers == 1);
    while (atom_load_seq(&s->h->crossed) < crossed + 20 ||
           count_descriptors(s->daemon) > s->descriptors) {
        if (atom_load_seq(&s->h->failed))
            return 1;
        if (waitpid(s->daemon, &status, WNOHANG)) {
            s->daemon = 0;
            return hostile_fail(s->h, "after %s the daemon is dead", after);
        }
        if (++ticks > PATIENCE_TICKS)
            return hostile_fail(s->h, "after %s: %llu messages crossed, %u descriptors, not %u",
                                after,
                                (unsigned long long)(atom_load_seq(&s->h->crossed) - crossed),
                                count_descriptors(s->daemon), s->descriptors);
        breathe();
    }
    kb = memory_kb(s->daemon);
    if (kb > s->memory_kb + SLACK_KB)
        return hostile_fail(s->h, "after %s the daemon has %llu KiB of its own, not %llu", after,
                            (unsigned long long)kb, (unsigned long long)s->memory_kb);
    return 0;
}

static void
become_stranger(const struct hostile *h)
{
    if (h->root && (setgroups(0, NULL) || setresgid(HOSTILE_UID, HOSTILE_UID, HOSTILE_UID) ||
                    setresuid(HOSTILE_UID, HOSTILE_UID, HOSTILE_UID)))
        _exit(1);
}

static int
attack(struct stage *s, const struct attack *a)
{
    uint64_t crossed = atom_load_seq(&s->h->crossed), began = now_ns(), took;
    int status;
    pid_t pid;

    atom_store_seq(&s->h->worst_ns, 0);
    pid = begin();
    if (!pid) {
        become_stranger(s->h);
        _exit(a->run(s->h));
    }
    HOSTILE_MUST(s->h, waitpid(pid, &status, 0) == pid);
    took = now_ns() - began;
    printf("%-48s %5llu ms, meanwhile the neighbours' %5llu messages took %4llu us at most\n",
           a->name, (unsigned long long)took / 1000000,
           (unsigned long long)(atom_load_seq(&s->h->crossed) - crossed),
           (unsigned long long)atom_load_seq(&s->h->worst_ns) / 1000);
    /* No more than once a second, on a machine that has better to do. */
    if (atom_load_seq(&s->h->crossed) - crossed < took / 1000000000)
        return hostile_fail(s->h, "%s: the neighbours came to a stop", a->name);
    if (status)
        return hostile_fail(s->h, "%s: the attacker ended with status %x", a->name,
                            (unsigned)status);
    return look_around(s, a->name);
}

/* --- ruined topics ---------------------------------------------------------------------------- */

static int
make_victim(struct stage *s, const char *name, bool disk, uint32_t mode)
{
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    leat_pub *pub;
    char bytes[500];

    o.mode = mode;
    o.durability = disk ? LEAT_DISK : LEAT_MEMORY;
    HOSTILE_MUST(s->h, leat_topic_create(s->bus, name, &o) == 0);
    HOSTILE_MUST(s->h, leat_pub_open(s->bus, name, NULL, &pub) == 0);
    memset(bytes, 'v', sizeof bytes);
    for (uint32_t i = 1; i < 40; i++)
        HOSTILE_MUST(s->h, leat_pub_send(pub, bytes, i % 2 ? 10 : sizeof bytes, NULL) == 0);
    leat_pub_close(pub);
    return 0;
}

/* The operator looks, and reads the same. */
static int
shows_reason(struct stage *s, const char *name, enum harm harm)
{
    /* What each certain harm is called, in enum harm's order. */
    static const char *const reasons[] = {"truncated", "truncated", "larger",
                                          "header",    "tail",      "tail"};
    const char *leat = getenv("LEAT_CLI"), *reason = harm <= HARM_TAIL_BACK ? reasons[harm] : "";
    char text[4096] = "", command[300];
    size_t n = 0;
    FILE *f;

    (void)snprintf(command, sizeof command, "%s info -b %s %s 2>&1", leat ? leat : "leat",
                   s->h->bus, name);
    f = popen(command, "re");
    if (f)
        n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    if (f)
        (void)pclose(f);
    if (strstr(text, "damaged") && strstr(text, reason))
        return 0;
    return hostile_fail(s->h, "harm %d: leat info does not say 'damaged' and '%s', but: %s", harm,
                        reason, text);
}

/* Whoever comes to a ruined topic is told; some harm leaves it usable, which is fine as well. */
static int
visit(struct stage *s, const char *name, enum harm harm)
{
    bool certain = harm <= HARM_TAIL_BACK;
    leat_pub *pub;
    int r = 0;

    for (int ticks = 0; ticks < PATIENCE_TICKS; ticks++) {
        r = leat_pub_open(s->bus, name, NULL, &pub);
        if (!r)
            leat_pub_close(pub);
        if (!certain || r == -EBADMSG)
            break;
        breathe();
    }
    if (r == -EBADMSG && !strstr(leat_error(s->bus), "quarantined"))
        return hostile_fail(s->h, "harm %d: no reason is named: %s", harm, leat_error(s->bus));
    if (certain && r != -EBADMSG)
        return hostile_fail(s->h, "harm %d: the topic is not quarantined: %d", harm, r);
    if (r == -EBADMSG && shows_reason(s, name, harm))
        return 1;
    s->quarantined += r == -EBADMSG;
    if (r && r != -EBADMSG && r != -EBUSY)
        return hostile_fail(s->h, "harm %d: %d %s", harm, r, leat_error(s->bus));
    return 0;
}

/* Who uses the topic while it is ruined: whatever becomes of it, he is told, or goes on. */
static int
live_there(struct hostile *h, const char *name)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    struct leat_pub_options po = LEAT_PUB_OPTIONS_INIT;
    struct leat_msg m;
    char bytes[500] = "tenant";
    leat_bus *bus;
    leat_pub *pub;
    leat_sub *sub;
    int r, q;

    o.path = h->bus;
    po.timeout_ns = 5000000;
    if (leat_open(&o, &bus) || leat_pub_open(bus, name, &po, &pub) ||
        leat_sub_open(bus, name, NULL, &sub))
        return 1;
    (void)atom_add_seq(&h->settled, 1);
    for (uint32_t i = 0; !atom_load_seq(&h->moved); i++) {
        r = leat_pub_send(pub, bytes, i % 2 ? 10 : sizeof bytes, NULL);
        q = leat_sub_receive(sub, &m);
        if (q == 1)
            (void)leat_sub_release(sub, &m);
        if (r && q < 0)
            break;
        if (r || !q)
            breathe();
    }
    leat_close(bus);
    return 0;
}

static int
move_tenant_in(struct stage *s, const char *name, pid_t *ret)
{
    pid_t pid;
    int ticks = 0;

    atom_store_seq(&s->h->moved, 0);
    atom_store_seq(&s->h->settled, 0);
    pid = begin();
    if (!pid) {
        /* Memory that was truncated ends it as it ends anybody, sanitizer or not. */
        (void)signal(SIGBUS, SIG_DFL);
        _exit(live_there(s->h, name));
    }
    *ret = pid;
    while (!atom_load_seq(&s->h->settled)) {
        HOSTILE_MUST(s->h, ++ticks < PATIENCE_TICKS);
        breathe();
    }
    return 0;
}

static int
move_tenant_out(struct stage *s, pid_t pid, enum harm harm)
{
    bool gone = harm == HARM_TRUNCATE_DATA || harm == HARM_TRUNCATE_CONTROL;
    int status = 0, ticks = 0;
    pid_t r;

    atom_store_seq(&s->h->moved, 1);
    while (!(r = waitpid(pid, &status, WNOHANG))) {
        if (++ticks > PATIENCE_TICKS)
            return hostile_fail(s->h, "harm %d: who used the topic hangs", harm);
        breathe();
    }
    if (r != pid || (status && !(gone && WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS)))
        return hostile_fail(s->h, "harm %d: who used the topic ended with status %x", harm,
                            (unsigned)status);
    return 0;
}

static int
ruin(struct stage *s, enum harm harm, bool disk)
{
    char name[32], what[64];
    int status, r;
    pid_t pid, tenant;

    (void)snprintf(name, sizeof name, "victim.%u", s->victims++);
    (void)snprintf(what, sizeof what, "harm %d to a topic %s", harm,
                   disk ? "on disk" : "in memory");
    if (make_victim(s, name, disk, 0666) || move_tenant_in(s, name, &tenant))
        return 1;
    s->h->seed++;
    pid = begin();
    if (!pid) {
        become_stranger(s->h);
        _exit(hostile_scribble(s->h, name, harm));
    }
    HOSTILE_MUST(s->h, waitpid(pid, &status, 0) == pid);
    HOSTILE_MUST(s->h, WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    if (visit(s, name, harm) || move_tenant_out(s, tenant, harm))
        return 1;
    r = leat_topic_remove(s->bus, name);
    /* What is left of a damaged log is not thrown away. */
    HOSTILE_MUST(s->h, r == 0 || (disk && r == -EBADMSG));
    if (r)
        s->descriptors += 3;
    return look_around(s, what);
}

/* --- all -------------------------------------------------------------------------------------- */

static int
prepare(struct stage *s)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    struct leat_topic_info info;
    int ticks = 0;

    (void)snprintf(s->dir, sizeof s->dir, "/tmp/leat-hostile.XXXXXX");
    HOSTILE_MUST(s->h, mkdtemp(s->dir) && !chmod(s->dir, 0711));
    (void)snprintf(s->h->bus, sizeof s->h->bus, "%s/bus", s->dir);
    (void)snprintf(s->h->store, sizeof s->h->store, "%s/store", s->dir);
    if (start_daemon(s))
        return 1;
    o.path = s->h->bus;
    o.timeout_ns = PATIENCE_NS;
    HOSTILE_MUST(s->h, leat_open(&o, &s->bus) == 0);
    HOSTILE_MUST(s->h, leat_topic_info(s->bus, "closed", &info) == 0);
    s->h->closed_id = info.topic_id;
    s->neighbours = begin();
    if (!s->neighbours)
        _exit(live_next_door(s->h));
    while (atom_load_seq(&s->h->crossed) < 10 && !atom_load_seq(&s->h->failed)) {
        HOSTILE_MUST(s->h, ++ticks < PATIENCE_TICKS);
        breathe();
    }
    return 0;
}

/* A closed topic that its owner's program has ruined. */
static int
ruin_closed(struct stage *s)
{
    static const char name[] = "closed.ruined";
    struct leat_topic_info info;
    int status;
    pid_t pid;

    if (make_victim(s, name, false, 0600))
        return 1;
    HOSTILE_MUST(s->h, leat_topic_info(s->bus, name, &info) == 0);
    s->h->ruined_id = info.topic_id;
    pid = begin();
    if (!pid)
        _exit(hostile_scribble(s->h, name, HARM_TAIL_AHEAD));
    HOSTILE_MUST(s->h, waitpid(pid, &status, 0) == pid);
    return visit(s, name, HARM_TAIL_AHEAD);
}

static int
happen(struct stage *s)
{
    uint32_t rounds = fixture_is_full() ? ROUNDS_FULL : ROUNDS;

    if (prepare(s) || ruin_closed(s))
        return 1;
    s->descriptors = count_descriptors(s->daemon);
    s->memory_kb = memory_kb(s->daemon);
    for (const struct attack *a = hostile_attacks; a->name; a++) {
        if (a->stranger && !s->h->root) {
            printf("left out, as only root can become somebody else: %s\n", a->name);
            continue;
        }
        if (attack(s, a))
            return 1;
    }
    for (uint32_t i = 0; i < rounds * HARM_KINDS; i++)
        if (ruin(s, (enum harm)(i % HARM_KINDS), false) ||
            ruin(s, (enum harm)(i % HARM_KINDS), true))
            return 1;
    return 0;
}

static int
end(pid_t pid, int signal)
{
    int status = 0;

    if (pid <= 0)
        return 0;
    (void)kill(pid, signal);
    (void)waitpid(pid, &status, 0);
    return status;
}

static void
clean_up(struct stage *s)
{
    char command[512];
    const char *log;
    int status;

    leat_close(s->bus);
    (void)end(s->neighbours, SIGKILL);
    status = end(s->daemon, SIGTERM);
    if (status)
        (void)hostile_fail(s->h, "the daemon ended with status %x", (unsigned)status);
    log = atom_load_seq(&s->h->failed) ? "tail -20" : ": ";
    (void)snprintf(command, sizeof command,
                   "%s %s/leatd.log; %s --socket %s --store %s --stop --purge 2>/dev/null;"
                   " rm -rf '%s'",
                   log, s->dir, getenv("LEATD"), s->h->bus, s->h->store, s->dir);
    if (system(command))
        (void)fprintf(stderr, "could not remove %s\n", s->dir);
}

int
main(void)
{
    struct stage s = {.victims = 0};

    s.h = mmap(NULL, sizeof *s.h, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s.h == MAP_FAILED)
        return 1;
    s.h->seed = fixture_seed();
    s.h->root = geteuid() == 0;
    (void)happen(&s);
    printf("%llu messages crossed, %u topics were ruined, %u of them quarantined; the daemon's own "
           "memory: "
           "%llu KiB before, %llu after\n",
           (unsigned long long)atom_load_seq(&s.h->crossed), s.victims, s.quarantined,
           (unsigned long long)s.memory_kb, (unsigned long long)memory_kb(s.daemon));
    clean_up(&s);
    if (!atom_load_seq(&s.h->failed))
        return 0;
    printf("FAILED: %s\n", s.h->why);
    return 1;
}
