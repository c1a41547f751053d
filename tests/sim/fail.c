/* fail.c - the disk beneath a real leatd misbehaves, and behaves again.
 *
 *     sim_fail [TEXT]         only the troubles that have this in their name
 *
 * For each kind of trouble and each kind of storage: a publisher and a named subscriber work; the trouble begins (faults.h). While it lasts the topic is in the state
 * that it should be in, and says so; `durable` stands still, the publisher is held back and does not fail. In every other run leatd is killed
 * meanwhile and started again. The trouble ends, all goes on by itself; and then the whole log is read back and compared byte
 * for byte, by a new named subscription and by the tool, before and after another death of leatd. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/base.h"
#include "tests/sim/faults.h"
#include "tests/sim/work.h"
#include "tests/support/party.h"

#define PATIENCE_NS 60000000000ull
#define OUT WORLD "/out"

static const struct trouble {
    const char *name, *match;
    uint64_t writes, syncs, dir_syncs, shorts, delay_ms;
    bool full, no_allocate;
    uint32_t state; /* that it leads to and that lasts; 0: none */
    bool floors;    /* floors cannot be saved */
} troubles[] = {
    {.name = "a write fails", .match = "/t/0", .writes = 1},
    {.name = "two writes fail", .match = "/t/0", .writes = 2},
    {.name = "every write fails",
     .match = ".seg",
     .writes = FAULTS_EVER,
     .state = LEAT_TOPIC_LOG_FAILED},
    {.name = "a sync fails", .match = "/t/0", .syncs = 1},
    {.name = "every sync fails",
     .match = ".seg",
     .syncs = FAULTS_EVER,
     .state = LEAT_TOPIC_LOG_FAILED},
    {.name = "every sync of a directory fails",
     .match = "/t/0",
     .writes = 1,
     .dir_syncs = FAULTS_EVER,
     .state = LEAT_TOPIC_LOG_FAILED},
    {.name = "writes are short", .match = ".seg", .shorts = 40},
    {.name = "the disk is slow", .match = "", .delay_ms = 20},
    {.name = "the disk is full",
     .match = "/t/0",
     .writes = 2,
     .full = true,
     .state = LEAT_TOPIC_DISK_FULL},
    {.name = "the disk is full and reserves nothing",
     .match = "/t/0",
     .writes = 2,
     .full = true,
     .no_allocate = true,
     .state = LEAT_TOPIC_DISK_FULL},
    {.name = "floors cannot be saved", .match = "cursors", .writes = FAULTS_EVER, .floors = true},
};

struct stand {
    struct work *w;
    struct faults *f;
    const char *io;
    pid_t server, daemon, publisher, subscriber;
    uint64_t runs, hits;
};

/* --- what can be waited for ------------------------------------------------------------------- */

struct view {
    struct leat_topic_info info;
    bool held_back; /* a publisher waits */
    uint64_t saved;
};

static bool
look(struct view *ret)
{
    struct leat_inspect_pub pub;
    struct leat_inspect_sub sub;
    leat_inspect *i;
    uint32_t index = 0;
    int r;

    memset(ret, 0, sizeof *ret);
    if (leat_inspect_open(WORLD "/bus", &i))
        return false;
    r = leat_inspect_topic(i, WORK_TOPIC, &ret->info);
    while (!r && leat_inspect_pub(i, WORK_TOPIC, &index, &pub) == 1)
        ret->held_back |= pub.blocked_since_ns != 0;
    for (index = 0; !r && leat_inspect_sub(i, WORK_TOPIC, &index, &sub) == 1;)
        if (!strcmp(sub.name, WORK_NAME))
            ret->saved = sub.saved;
    (void)leat_inspect_close(i);
    return !r;
}

static bool
is_alive(struct stand *s, pid_t *pid, const char *who)
{
    int status;

    if (!*pid || !waitpid(*pid, &status, WNOHANG))
        return true;
    work_fail(s->w, "%s ended", who);
    *pid = 0;
    return false;
}

/* Until the topic looks like that. */
static bool
until(struct stand *s, bool (*is)(struct stand *, const struct view *, uint64_t), uint64_t what,
      const char *text)
{
    uint64_t end = party_now_ns() + PATIENCE_NS;
    struct view v = {.saved = 0};

    while (party_now_ns() < end && !atom_load_seq(&s->w->failed)) {
        if (look(&v) && is(s, &v, what))
            return true;
        if (!is_alive(s, &s->publisher, "the publisher") ||
            !is_alive(s, &s->subscriber, "the subscriber") || !is_alive(s, &s->daemon, "leatd"))
            return false;
        party_breathe();
    }
    work_fail(s->w, "it never came true that %s (state %u: %s; durable %llu, tail %llu)", text,
              v.info.state, v.info.reason, (unsigned long long)v.info.durable,
              (unsigned long long)v.info.tail);
    return false;
}

static bool
is_state(struct stand *s, const struct view *v, uint64_t what)
{
    (void)s;
    return v->info.state == what && (!what || v->info.reason[0]);
}

static bool
is_held_back(struct stand *s, const struct view *v, uint64_t what)
{
    (void)s;
    (void)what;
    return v->held_back;
}

static bool
is_durable(struct stand *s, const struct view *v, uint64_t what)
{
    (void)s;
    return !v->info.state && v->info.durable >= what;
}

static bool
is_saved(struct stand *s, const struct view *v, uint64_t what)
{
    (void)s;
    return v->saved > what;
}

static bool
is_hit(struct stand *s, const struct view *v, uint64_t what)
{
    (void)v;
    return atom_load_seq(&s->f->hits) >= what;
}

static bool
is_acked(struct stand *s, const struct view *v, uint64_t what)
{
    (void)v;
    return atom_load_seq(&s->w->acked) > what;
}

/* --- one trouble ------------------------------------------------------------------------------ */

static void
begin(struct stand *s, const struct trouble *t)
{
    struct faults *f = s->f;

    (void)snprintf(f->match, sizeof f->match, "%s", t->match);
    atom_store_seq(&f->hits, 0);
    atom_store_seq(&f->no_allocate, t->no_allocate);
    if (t->full)
        atom_store_seq(&f->budget, 100000);
    atom_store_seq(&f->delay_ms, t->delay_ms);
    atom_store_seq(&f->shorts, t->shorts);
    atom_store_seq(&f->dir_syncs, t->dir_syncs);
    atom_store_seq(&f->syncs, t->syncs);
    atom_store_seq(&f->writes, t->writes);
}

/* Does the tool say so, too? */
static void
check_tool(struct stand *s, uint32_t state)
{
    const char *const json[] = {"info", WORK_TOPIC, "--json", NULL};
    const char *const text[] = {"info", WORK_TOPIC, NULL};
    const char *name = state == LEAT_TOPIC_DISK_FULL ? "disk full" : "log failed";
    char grep[96];

    (void)snprintf(grep, sizeof grep, "grep -q '%s' " OUT, name);
    if (work_tool(s->w, OUT, json) || system(grep))
        work_fail(s->w, "leat info --json does not say '%s'", name);
    if (work_tool(s->w, OUT, text) || system(grep))
        work_fail(s->w, "leat info does not say '%s'", name);
}

/* The state is there, and nothing moves. */
static bool
stands_still(struct stand *s, const struct trouble *t)
{
    struct view before, after;

    if (!until(s, is_state, t->state, "the state is named") ||
        !until(s, is_held_back, 0, "the publisher is held back") || !look(&before))
        return false;
    check_tool(s, t->state);
    if (!look(&after) || after.info.durable != before.info.durable)
        work_fail(s->w, "durable moved from %" PRIu64 " to %" PRIu64 " on a disk that has failed",
                  before.info.durable, after.info.durable);
    return !atom_load_seq(&s->w->failed);
}

static bool
suffer(struct stand *s, const struct trouble *t)
{
    struct view v;
    uint64_t hits;

    if (t->state)
        return stands_still(s, t);
    if (t->floors) {
        if (!until(s, is_hit, 1, "a floor failed") || !look(&v))
            return false;
        return until(s, is_acked, atom_load_seq(&s->w->acked), "more was acknowledged") &&
               v.saved <= atom_load_seq(&s->w->acked);
    }
    hits = t->delay_ms ? 20 : t->writes + t->syncs + t->shorts;
    return until(s, is_hit, hits, "the trouble was met");
}

static void
check_record(struct stand *s)
{
    if (atom_load_seq(&s->f->again))
        work_fail(s->w, "a segment was written again where a write had failed");
}

/* A new leatd cannot know which writes of the old one had failed. */
static bool
restart(struct stand *s)
{
    world_kill(&s->daemon);
    check_record(s);
    faults_forgive(s->f);
    if (work_daemon(s->w, s->io, &s->daemon))
        return true;
    work_fail(s->w, "leatd did not start");
    return false;
}

static bool
resume(struct stand *s, const struct trouble *t)
{
    struct view v;
    uint64_t sent;

    sent = look(&v) ? v.info.tail : 0;
    return until(s, is_durable, sent + 50, "it goes on by itself") &&
           (!t->floors || until(s, is_saved, v.saved, "the floor is saved"));
}

/* --- afterwards ------------------------------------------------------------------------------- */

static bool
ends_well(struct stand *s, pid_t *pid, const char *who)
{
    int status = world_ended(pid, 60000);

    if (status)
        work_fail(s->w, "%s ended with %d", who, status);
    return !status;
}

static void
check_cat(struct stand *s)
{
    const char *const cat[] = {"cat", WORK_TOPIC, "-F", "%o %k\\n", NULL};
    unsigned long long seq, key;
    uint64_t next = 1;
    FILE *out;

    if (work_tool(s->w, OUT, cat)) {
        work_fail(s->w, "leat cat failed");
        return;
    }
    out = fopen(OUT, "re");
    while (out && fscanf(out, "%llu %llu", &seq, &key) == 2) {
        for (; next < seq && next < WORK_BOOK && !atom_load_seq(&s->w->book[next]); next++)
            ;
        if (next != seq || (seq < WORK_BOOK && atom_load_seq(&s->w->book[seq]) != key))
            work_fail(s->w, "leat cat has %llx at %llu", key, seq);
        next = seq + 1;
    }
    if (out)
        (void)fclose(out);
    if (next <= atom_load_seq(&s->w->durable))
        work_fail(s->w, "leat cat ends before %" PRIu64, next);
}

static bool
check_all(struct stand *s)
{
    const char *const verify[] = {"verify", "-q", WORK_TOPIC, NULL};

    work_note_facts(s->w);
    if (!work_done(s->w, work_audit, "the audit"))
        return false;
    if (work_tool(s->w, WORLD "/verify", verify))
        work_fail(s->w, "leat verify is not content");
    check_cat(s);
    return !atom_load_seq(&s->w->failed);
}

/* Each run has a topic of its own, so that there is not more to be read back than it wrote. */
static bool
make_room(struct stand *s)
{
    const char *const rm[] = {"rm", WORK_TOPIC, NULL};

    atom_store_seq(&s->w->stop, 0);
    if (!atom_load_seq(&s->w->created))
        return true;
    if (work_tool(s->w, OUT, rm)) {
        work_fail(s->w, "the topic cannot be removed");
        return false;
    }
    work_forget(s->w);
    return true;
}

static bool
run(struct stand *s, const struct trouble *t, bool die)
{
    struct work *w = s->w;
    struct view v;

    if (!make_room(s))
        return false;
    s->publisher = work_guest(w, work_publish);
    s->subscriber = work_guest(w, work_subscribe);
    if (!until(s, is_acked, atom_load_seq(&w->acked), "the work begins") || !look(&v) ||
        !until(s, is_durable, v.info.tail + 20, "the log is written"))
        return false;
    begin(s, t);
    if (!suffer(s, t))
        return false;
    /* Killed, and started again in the middle of it: what it finds is no damage. */
    if (die && !restart(s))
        return false;
    faults_clear(s->f);
    if (!resume(s, t))
        return false;
    /* Recovery begins anew each time, and reads again what it wrote. */
    if (die)
        faults_forgive(s->f);
    atom_store_seq(&w->stop, 1);
    if (!ends_well(s, &s->publisher, "the publisher"))
        return false;
    atom_store_seq(&w->stop, 2);
    if (!ends_well(s, &s->subscriber, "the subscriber") || !check_all(s) || !restart(s) ||
        !check_all(s))
        return false;
    s->runs++;
    s->hits += atom_load_seq(&s->f->hits);
    check_record(s);
    if (atom_load_seq(&s->f->unsure))
        work_fail(w, "%" PRIu64 " writes to segments were never synced",
                  atom_load_seq(&s->f->unsure));
    return !atom_load_seq(&w->failed);
}

static const char *only;

/* What the kernel forgets matters where one call fails; the long form has all the rest of it, too. */
static bool
is_for(const struct stand *s, const struct trouble *t)
{
    if (only && !strstr(t->name, only))
        return false;
    if (!s->f->forgets)
        return true;
    return !t->shorts && (fixture_is_full() || t->writes + t->syncs == 1);
}

static void
run_each(struct stand *s)
{
    for (size_t i = 0; i < sizeof troubles / sizeof *troubles; i++) {
        const struct trouble *t = &troubles[i];
        if (!is_for(s, t))
            continue;
        for (int die = 0; die < 2; die++)
            if (!run(s, t, die)) {
                printf("%s, %s, %s%s\n", s->io, t->name, die ? "killed" : "not killed",
                       s->f->forgets ? ", forgets" : "");
                return;
            }
    }
}

static void
run_all(struct stand *s, const char *io, bool forgets)
{
    s->io = io;
    if (faults_open(forgets, &s->f, &s->server))
        work_fail(s->w, "no file system in user space can be had");
    else if (!work_daemon(s->w, io, &s->daemon))
        work_fail(s->w, "leatd did not start");
    else
        run_each(s);
    world_kill(&s->publisher);
    world_kill(&s->subscriber);
    world_kill(&s->daemon);
    faults_close(&s->server);
}

static int
inside(void)
{
    static struct stand s;
    bool full = fixture_is_full();

    s.w = work_new(FAULTS_AT);
    s.w->depth = 64;
    s.w->lane_size = 256 << 10;
    s.w->pace_ms = 1;
    s.w->hurry = true;
    (void)fixture_seed();
    for (unsigned i = 0; i < (full ? 8u : 4u) && !atom_load_seq(&s.w->failed); i++)
        run_all(&s, i & 1 ? "block" : "io_uring", i & 2);
    printf("%" PRIu64 " runs, %" PRIu64 " calls went wrong, %" PRIu64 " messages\n", s.runs, s.hits,
           atom_load_seq(&s.w->sent));
    if (!atom_load_seq(&s.w->failed))
        return 0;
    printf("FAILED: %s\n", s.w->why);
    work_show(s.w);
    return 1;
}

int
main(int argc, char **argv)
{
    only = argc > 1 ? argv[1] : NULL;
    return world_has("/dev/fuse") ? world_run(inside) : 77;
}
