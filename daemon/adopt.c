#include "daemon/adopt.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/process.h"
#include "daemon/reap.h"
#include "daemon/report.h"
#include "daemon/state.h"
#include "daemon/watch.h"
#include "shm/name.h"
#include "shm/testpoint.h"

/* A log is tried again after this long, and after twice as long each time: each try reads the last segment. */
#define ADOPT_RETRY_NS 1000000000ull
#define ADOPT_RETRY_MAX_NS 30000000000ull

/* The first error that makes the whole start pointless; what concerns one topic only sets that topic aside. */
struct adoption {
    struct bus *bus;
    int error;
};

static void
set_aside(struct topic *t, enum topic_standing standing, const char *why)
{
    if (standing == TOPIC_DAMAGED) {
        topic_quarantine(t, "%s", why);
        return;
    }
    t->standing = standing;
    (void)snprintf(t->why, sizeof t->why, "%s", why);
    report_error("%s; left as it is", why);
}

/* --- seats ------------------------------------------------------------------------------------ */

/* Gives a seat back to its owner, or says that the owner is dead (1). */
static int
seat(struct topic *t, struct topic_seat *s, uint32_t pid, uint64_t start)
{
    int r = process_of_record(t->bus, pid, start, &s->process);

    return r == -ESRCH ? 1 : r;
}

static int
adopt_publishers(struct topic *t)
{
    struct ring_view *v = &t->memory.view;

    for (uint32_t i = 0; i < v->geo.max_publishers; i++) {
        const struct ring_entry *e = ring_entry(v, i);
        struct topic_seat *s = &t->publishers[i];
        uint64_t state = atom_load_acquire(&e->state); /* acquire: ENTRY */
        int r = 0;

        s->lane = atom_load_acquire(&e->lane) != 0; /* acquire: LANE */
        t->lanes += s->lane;
        if (s->lane && memory_reserve_lane(&t->memory, i)) {
            topic_quarantine(t, "its shared memory speaks of lanes that there is no room for");
            return 0;
        }
        s->generation = e->generation;
        s->uid = e->uid;
        if (state == RING_ENTRY_FREE)
            continue;
        if (state != RING_ENTRY_DEAD)
            r = seat(t, s, e->pid, e->start);
        if (r < 0)
            return r;
        if (r || state == RING_ENTRY_DEAD)
            reap_publisher(t, i);
    }
    return 0;
}

static int
adopt_name(struct topic *t, uint32_t cursor)
{
    char name[LIMIT_SUB_NAME + 1];

    if (!watch_name_of(t, cursor, name))
        return 0;
    t->cursors[cursor].name = strdup(name);
    return t->cursors[cursor].name ? 0 : -ENOMEM;
}

static int
adopt_cursors(struct topic *t)
{
    struct ring_view *v = &t->memory.view;

    for (uint32_t i = 0; i < v->geo.max_cursors; i++) {
        const struct ring_cursor *line = ring_cursor(v, i);
        struct topic_seat *s = &t->cursors[i];
        uint64_t word;
        int r;

        if (s->kind == RING_KIND_LOG)
            continue;
        word = ring_cursor_repair(v, i);
        if (ring_cursor_state_of(word) == RING_CURSOR_FREE) {
            watch_inherit_floor(t, i);
            continue;
        }
        s->generation = ring_cursor_generation_of(word);
        s->uid = line->uid;
        s->kind = (uint8_t)ring_cursor_kind_of(word);
        r = adopt_name(t, i);
        if (!r)
            r = seat(t, s, line->pid, line->start);
        if (r < 0)
            return r;
        if (r)
            reap_cursor(t, i);
    }
    return 0;
}

static int
adopt_seats(struct topic *t)
{
    int r;

    topic_sign(t);
    r = adopt_publishers(t);

    if (!r)
        r = adopt_cursors(t);
    if (r || t->standing != TOPIC_SERVING)
        return r;
    TESTPOINT("adopt.seats");
    reap_settle(t);
    watch_begin(t);
    return 0;
}

/* Undoes what adopt_seats did in the daemon's own memory. What it did in shared memory, where the dead are marked as dead, is found there by the
 * next one. */
static void
leave_seats(struct topic *t)
{
    const struct ring_geometry *g = &t->memory.view.geo;

    for (uint32_t i = 0; t->publishers && i < g->max_publishers; i++) {
        (void)process_drop(t->publishers[i].process);
        t->publishers[i] = (struct topic_seat){0};
    }
    for (uint32_t i = 0; t->cursors && i < g->max_cursors; i++) {
        (void)process_drop(t->cursors[i].process);
        free(t->cursors[i].name);
        t->cursors[i] = (struct topic_seat){0};
    }
    t->lanes = 0;
}

/* --- shared memory ---------------------------------------------------------------------------- */

/* Only the data object can be damaged. The control object carries no message, and every subscriber can write in it: what it says
 * is put right when it is used. */
static void
check_ring(struct topic *t)
{
    struct ring_view data = t->memory.view;
    struct ring_report report;

    data.control = NULL;
    if (ring_check(&data, &report))
        topic_quarantine(t, "%s (%" PRIu64 ")", report.what, report.where);
}

static int
adopt_mapped(struct topic *t)
{
    struct ring_view *v = &t->memory.view;
    enum ring_topic_state state = state_get(v);
    int r;

    /* A former daemon was stopped while it took this memory away. Whether the log was to go as well is not asked here, where
     * any publisher can write: one that was removed is not found under its name any more. */
    if (state == RING_TOPIC_REMOVED) {
        memory_remove(t->bus->prefix, t->name);
        topic_close(t);
        return 0;
    }
    r = topic_prepare(t);
    if (r)
        return r;
    TESTPOINT("adopt.mapped");
    if (state == RING_TOPIC_DAMAGED) {
        char reason[sizeof ring_daemon(v)->reason + 1] = "";
        memcpy(reason, ring_daemon(v)->reason, sizeof ring_daemon(v)->reason);
        topic_quarantine(t, "%s", reason);
    } else {
        check_ring(t);
    }
    if (t->standing != TOPIC_SERVING || v->geo.durability == RING_DISK)
        return 0;
    return adopt_seats(t);
}

static void
adopt_memory(void *user, const char *name)
{
    struct adoption *a = user;
    struct topic *t;
    char why[WHY_ROOM] = "";
    int r;

    if (a->error || topic_by_name(a->bus, name))
        return;
    if (memory_is_foreign(a->bus->prefix, name)) {
        report_warning("what stands in /dev/shm under the name of topic %s was made by another "
                       "user, and is not taken over",
                       name);
        memory_remove(a->bus->prefix, name);
        return;
    }
    if (topic_add(a->bus, name, &t)) {
        a->error = -ENOMEM;
        return;
    }
    r = memory_adopt(a->bus->prefix, name, a->bus->boot_id, &t->memory, why);
    if (!r)
        a->error = adopt_mapped(t);
    else if (r == -ENOENT)
        topic_close(t);
    else
        set_aside(t, r == -EPROTONOSUPPORT ? TOPIC_REFUSED : TOPIC_DAMAGED, why);
}

/* --- logs ------------------------------------------------------------------------------------- */

/* A log without a ring: after a reboot, or a death between making the one and the other. */
static int
new_ring(struct topic *t, struct store *store, char why[WHY_ROOM])
{
    const struct log_topic *what = store_topic(store);
    struct ring_identity who = {
        .name = t->name, .topic_id = what->topic_id, .created_ns = what->created_ns};
    struct ring_geometry geo;
    int r = topic_geometry(t->bus, what, store_next(store), &geo);

    if (r)
        return why_set(why, r, "topic %s: its log was made for a topic that cannot be", t->name);
    memcpy(who.boot_id, t->bus->boot_id, sizeof who.boot_id);
    r = memory_create(t->bus->prefix, &geo, &who, &t->memory, why);
    if (r)
        return r;
    TESTPOINT("adopt.new_ring");
    r = topic_prepare(t);
    if (!r)
        return 0;
    /* It is made again when this is tried again. */
    memory_remove(t->bus->prefix, t->name);
    return why_set(why, r, "topic %s: out of memory", t->name);
}

/* Who may do what stands in the log as well, where no client can write. */
static bool
has_same_access(const struct topic *t, const struct log_topic *log)
{
    return t->access.uid == log->uid && t->access.gid == log->gid && t->access.mode == log->mode;
}

/* Joins a recovered log and its ring; takes the store over. */
static int
join_log(struct topic *t, struct store *store, char why[WHY_ROOM])
{
    int r = 0;

    if (!t->mapped)
        r = new_ring(t, store, why);
    else if (t->memory.view.geo.durability != RING_DISK)
        r = why_set(why, -EBADMSG,
                    "topic %s: its shared memory names it a memory topic, and it has a log",
                    t->name);
    else if (store_topic(store)->topic_id != t->id)
        r = why_set(why, -EBADMSG,
                    "topic %s: its log belongs to another topic of that name (id %016" PRIx64
                    ", its ring has %016" PRIx64 ")",
                    t->name, store_topic(store)->topic_id, t->id);
    else if (!has_same_access(t, store_topic(store)))
        r = why_set(why, -EBADMSG,
                    "topic %s: its shared memory names another owner or mode than its log",
                    t->name);
    if (r) {
        (void)store_close(store);
        return r;
    }
    return topic_follow(t, store, why);
}

/* Only what contradicts itself is damage. A disk in trouble, or a process without means, says nothing of a log. */
static bool
is_passing(int error)
{
    return error != -EBADMSG && error != -EPROTONOSUPPORT;
}

static void
try_later(struct topic *t)
{
    t->adopt_wait_ns = shm_min(shm_max(t->adopt_wait_ns * 2, ADOPT_RETRY_NS), ADOPT_RETRY_MAX_NS);
    t->adopt_at_ns = loop_clock() + t->adopt_wait_ns;
    loop_set_by(t->bus->loop, &t->bus->adopt_timer, t->adopt_at_ns);
}

/* The ring stays as it is: publishers are held back when it is full, and none of its messages is lost. So it does for a log that is
 * gone: a store that is not mounted yet looks like one that is empty. */
static void
wait_for_log(struct topic *t, const char *why)
{
    if (strcmp(t->why, why) != 0)
        report_error("%s; it is tried again", why);
    t->standing = TOPIC_WAITING;
    (void)snprintf(t->why, sizeof t->why, "%s", why);
    if (t->mapped)
        state_set(&t->memory.view, RING_TOPIC_LOG_FAILED, why);
    try_later(t);
}

/* Takes over a recovered log, its ring, and the seats of those who have a part in it. */
static int
take_over(struct topic *t, struct store *store, char why[WHY_ROOM])
{
    int r = join_log(t, store, why);

    if (r)
        return r;
    r = adopt_seats(t);
    return r ? why_set(why, r, "topic %s: taking over who uses it: %s", t->name,
                       report_error_text(r))
             : 0;
}

static int
adopt_log(struct bus *bus, const char *name, uint64_t patience_ns)
{
    struct topic *t = topic_by_name(bus, name);
    char reason[STORE_WHY] = "", why[WHY_ROOM];
    struct store *store = NULL;
    bool waited;
    int r;

    if (t && t->standing != TOPIC_SERVING && t->standing != TOPIC_WAITING)
        return 0;
    r = store_recover(&bus->store_env, name, patience_ns, reason, &store);
    if (r == -ENOENT) {
        if (t && t->standing == TOPIC_WAITING && bus_store_is_covered(bus)) {
            why_text(why,
                     "topic %s: %.200s was mounted after leatd had started, which has to be "
                     "started again",
                     name, bus->config.store);
            wait_for_log(t, why);
        } else if (t && t->standing == TOPIC_WAITING) {
            try_later(t);
        }
        return 0;
    }
    if (!t && topic_add(bus, name, &t)) {
        (void)store_close(store);
        return -ENOMEM;
    }
    if (r) {
        why_text(why, "topic %s: %s", name, reason[0] ? reason : report_error_text(r));
        if (is_passing(r))
            wait_for_log(t, why);
        else
            set_aside(t, r == -EPROTONOSUPPORT ? TOPIC_REFUSED : TOPIC_DAMAGED, why);
        return 0;
    }
    TESTPOINT("adopt.recovered");
    waited = t->standing == TOPIC_WAITING;
    t->standing = TOPIC_SERVING;
    r = take_over(t, store, why);
    if (!r) {
        if (waited && t->standing == TOPIC_SERVING)
            report_note("topic %s: its log can be read again", name);
        return 0;
    }
    if (is_passing(r) && (t->store || !t->mapped)) {
        leave_seats(t);
        t->store = store_close(t->store);
        wait_for_log(t, why);
    } else {
        topic_quarantine(t, "%s", why);
    }
    return 0;
}

static int
is_topic_directory(const struct dirent *entry)
{
    return !shm_name_check(entry->d_name);
}

static int
adopt_logs(struct bus *bus)
{
    struct dirent **list;
    int n = scandirat(bus->store_dirfd, ".", &list, is_topic_directory, alphasort), r = 0;

    (void)store_sweep(&bus->store_env);
    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++) {
        if (!r)
            r = adopt_log(bus, list[i]->d_name, STORE_PATIENCE_NS);
        free(list[i]);
    }
    free(list);
    return r;
}

static struct topic *
next_to_try(const struct bus *bus)
{
    struct topic *next = NULL;

    for (struct topic *t = bus->topics; t; t = t->next)
        if (t->standing == TOPIC_WAITING && (!next || t->adopt_at_ns < next->adopt_at_ns))
            next = t;
    return next;
}

/* Blocks for the disk, but for nobody else: the other topics are served meanwhile. So one topic a turn, and for writes of a dead
 * daemon that have not ended there is the next try. */
static void
try_again(struct loop_timer *timer)
{
    struct bus *bus = timer->user;
    struct topic *t = next_to_try(bus);

    if (!t || bus->stopping)
        return;
    if (t->adopt_at_ns <= loop_now(bus->loop)) {
        (void)adopt_log(bus, t->name, 0); /* only a topic that is not there yet can fail */
        watch_ask(t);
        reap_session(bus, 0);
    }
    t = next_to_try(bus);
    if (t)
        loop_set(bus->loop, timer, shm_max(t->adopt_at_ns, loop_now(bus->loop) + 1));
}

int
adopt_all(struct bus *bus, char why[WHY_ROOM])
{
    struct adoption a = {.bus = bus};
    char gone[WHY_ROOM];
    uint32_t count = 0;
    int r;

    bus->adopt_timer = (struct loop_timer){.fire = try_again, .user = bus};
    r = memory_list(bus->prefix, adopt_memory, &a);
    if (!r)
        r = a.error;
    if (!r)
        r = adopt_logs(bus);
    if (r)
        return why_set(why, r, "cannot take over what is in /dev/shm and %.200s: %s",
                       bus->config.store, strerror(-r));
    for (struct topic *t = bus->topics; t; t = t->next) {
        if (t->standing == TOPIC_SERVING && t->mapped && !t->store &&
            t->memory.view.geo.durability == RING_DISK) {
            why_text(gone, "topic %s: its log is gone from %.200s", t->name, bus->config.store);
            wait_for_log(t, gone);
        }
        count++;
    }
    if (count)
        report_note("took over %u topics", count);
    TESTPOINT("adopt.done");
    return 0;
}
