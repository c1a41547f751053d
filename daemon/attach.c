#include "daemon/attach.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/position.h"
#include "daemon/reap.h"
#include "daemon/state.h"
#include "daemon/watch.h"
#include "shm/name.h"
#include "shm/testpoint.h"

static struct ring_owner
owner_of(const struct attach_asker *asker, const char *name)
{
    return (struct ring_owner){.pid = asker->process->pid,
                               .uid = asker->who->uid,
                               .start = asker->process->start,
                               .since_ns = bus_realtime(),
                               .name = name};
}

/* Rights come first: whoever has none does not even hear that the topic is damaged. */
static int
check_access(const struct topic *t, const struct attach_asker *asker, enum access_want want,
             char why[WHY_ROOM])
{
    if (!t->mapped || access_may(asker->who, &t->access, want))
        return topic_serves(t, why);
    return why_set(why, -EACCES, "topic %s: user %u may not %s (owner %u, group %u, mode 0%o)",
                   t->name, asker->who->uid, want == ACCESS_PUBLISH ? "publish" : "subscribe",
                   t->access.uid, t->access.gid, t->access.mode);
}

/* Nobody but its owner may take all of a topic's places. One that waits for the orphan rule is nobody else's yet: whoever holds
 * the rule up, by an intent that stays open, would have all of them by opening and closing. */
static int
check_seats(const struct topic *t, const struct topic_seat *seats, uint32_t count,
            const struct attach_asker *asker, char why[WHY_ROOM])
{
    uint32_t most = t->bus->config.user_seats, uid = asker->who->uid, n = 0;

    if (!most || uid == t->access.uid || access_is_master(asker->who))
        return 0;
    for (uint32_t i = 0; i < count; i++)
        n += (seats[i].process || seats[i].dying) && seats[i].uid == uid;
    if (n < most)
        return 0;
    return why_set(why, -EDQUOT, "topic %s: user %u has %u %s; [bus] user_seats allows no more",
                   t->name, uid, n, seats == t->cursors ? "subscribers" : "publishers");
}

/* --- publishers ------------------------------------------------------------------------------- */

/* A free publisher, rather one whose lane has memory already; UINT32_MAX: none. */
static uint32_t
free_publisher(const struct topic *t)
{
    const struct ring_view *v = &t->memory.view;
    uint32_t any = UINT32_MAX;

    for (uint32_t i = 0; i < v->geo.max_publishers; i++) {
        if (t->publishers[i].process || t->publishers[i].dying)
            continue;
        if (t->publishers[i].lane)
            return i;
        any = any == UINT32_MAX ? i : any;
    }
    return any;
}

static int
check_lane_quota(const struct topic *t, char why[WHY_ROOM])
{
    uint64_t limit = t->bus->config.user_shm, bytes = t->memory.view.geo.lane_size;
    const struct access_who owner = {.uid = t->access.uid};

    if (!limit || access_is_master(&owner))
        return 0;
    for (const struct topic *o = t->bus->topics; o; o = o->next)
        if (o->mapped && o->access.uid == t->access.uid)
            bytes += topic_bytes(o);
    if (bytes <= limit)
        return 0;
    return why_set(why, -EDQUOT,
                   "topic %s: another publisher's lane would make it %" PRIu64
                   " bytes of shared memory for user %u; [bus] user_shm allows %" PRIu64,
                   t->name, bytes, t->access.uid, limit);
}

/* Memory for the lane, once; what was said about it in shared memory is not believed. */
static int
ready_lane(struct topic *t, uint32_t i, char why[WHY_ROOM])
{
    int r;

    if (t->publishers[i].lane)
        return 0;
    r = check_lane_quota(t, why);
    if (r)
        return r;
    r = memory_reserve_lane(&t->memory, i);
    if (r == -ENOSPC)
        return why_set(why, r,
                       "topic %s: another publisher's lane needs %" PRIu64
                       " bytes (lane_size), and /dev/shm has %" PRIu64
                       " left: make lane_size smaller, or /dev/shm larger",
                       t->name, t->memory.view.geo.lane_size, memory_left());
    if (r)
        return why_set(why, r, "topic %s: cannot reserve another publisher's lane: %s", t->name,
                       strerror(-r));
    TESTPOINT("attach.lane_reserved");
    t->publishers[i].lane = true;
    t->lanes++;
    atom_store_release(&ring_entry(&t->memory.view, i)->lane, 1); /* release: LANE */
    return 0;
}

/* A line that its last owner ruined would be handed to every next one, who can only refuse it. */
static int
ready_line(struct topic *t, uint32_t i, char why[WHY_ROOM])
{
    if (!ring_line_check(&t->memory.view, i))
        topic_quarantine(t, "the line of publisher %u contradicts itself", i);
    return topic_serves(t, why);
}

int
attach_publisher(struct topic *t, const struct attach_asker *asker, struct wire_answer *answer)
{
    const struct ring_owner owner = owner_of(asker, NULL);
    struct ring_view *v = &t->memory.view;
    struct topic_seat *seat;
    uint32_t i;
    int r;

    watch_door(t);
    r = check_access(t, asker, ACCESS_PUBLISH, answer->text);
    if (!r)
        r = check_seats(t, t->publishers, v->geo.max_publishers, asker, answer->text);
    if (r)
        return r;
    i = free_publisher(t);
    if (i == UINT32_MAX)
        return why_set(answer->text, -EBUSY,
                       "topic %s: all %u publishers are open (max_publishers)", t->name,
                       v->geo.max_publishers);
    r = ready_line(t, i, answer->text);
    if (!r)
        r = ready_lane(t, i, answer->text);
    if (r)
        return r;
    seat = &t->publishers[i];
    seat->process = asker->process;
    seat->session = asker->session;
    seat->uid = asker->who->uid;
    process_hold(asker->process);
    ring_entry_take(v, i, &owner);
    TESTPOINT("attach.publisher");
    seat->generation = ring_entry(v, i)->generation;
    answer->index = i;
    answer->generation = seat->generation;
    answer->topic_id = t->id;
    return 0;
}

static int
not_yours(const struct topic *t, const char *what, const struct wire_handle *request,
          char why[WHY_ROOM])
{
    return why_set(why, -ENOENT, "topic %s: %s %u of generation %" PRIu64 " is not yours", t->name,
                   what, request->index, request->generation);
}

int
attach_close_publisher(struct topic *t, const struct process *p, const struct wire_handle *request,
                       char why[WHY_ROOM])
{
    uint32_t i = request->index;

    if (!t->mapped || i >= t->memory.view.geo.max_publishers || t->publishers[i].process != p ||
        t->publishers[i].generation != request->generation)
        return not_yours(t, "publisher", request, why);
    /* A client that leaves in the middle of a claim leaves the same as one that dies there. */
    reap_publisher(t, i);
    reap_settle(t);
    return 0;
}

/* --- cursors ---------------------------------------------------------------------------------- */

/* One that is free, and rather one whose line nobody needs any more. */
static uint32_t
free_cursor(const struct topic *t)
{
    uint32_t any = UINT32_MAX;

    for (uint32_t i = 0; i < t->memory.view.geo.max_cursors; i++) {
        if (t->cursors[i].process || t->cursors[i].kind == RING_KIND_LOG)
            continue;
        if (!watch_is_owed(t, i))
            return i;
        any = i;
    }
    return any;
}

static const char *
kinds_of(const struct topic *t)
{
    if (t->store)
        return "live and durable: it is a disk topic, and nobody but the log holds its publishers "
               "back";
    return t->memory.view.geo.when_full == RING_OVERWRITE
               ? "live: it overwrites, so nobody can hold its publishers back"
               : "live and gating: it has no log (durability = memory)";
}

/* Which kind the cursor will be; a name makes it durable. */
static int
choose_kind(const struct topic *t, const struct wire_sub_open *request,
            enum ring_cursor_kind *ret_kind, char why[WHY_ROOM])
{
    static const char *const names[] = {"live", "gating", "durable"};
    uint32_t kind = request->kind;
    const char *bad;

    if (request->name[0]) {
        bad = shm_sub_name_check(request->name);
        if (bad)
            return why_set(why, -EINVAL, "subscription name '%.70s' %s", request->name, bad);
        kind = kind == RING_KIND_LIVE ? RING_KIND_DURABLE : kind;
        if (!t->store)
            return why_set(why, -EINVAL,
                           "topic %s: a named subscription needs a log, and this topic has none "
                           "(durability = memory)",
                           t->name);
    }
    if ((kind == RING_KIND_DURABLE && !t->store) ||
        (kind == RING_KIND_GATING && (t->store || t->memory.view.geo.when_full == RING_OVERWRITE)))
        return why_set(why, -EINVAL, "topic %s offers no %s subscription, only %s", t->name,
                       names[kind], kinds_of(t));
    *ret_kind = (enum ring_cursor_kind)kind;
    return 0;
}

static int
check_name_is_free(const struct topic *t, const char *name, char why[WHY_ROOM])
{
    for (uint32_t i = 0; i < t->memory.view.geo.max_cursors; i++)
        if (t->cursors[i].name && !strcmp(t->cursors[i].name, name))
            return why_set(why, -EBUSY, "topic %s: subscription %s is open in process %u", t->name,
                           name, t->cursors[i].process ? t->cursors[i].process->pid : 0);
    return 0;
}

/* Where it begins: a named one that exists at its floor, all others where they want to. A new name is written down. */
static int
choose_start(struct topic *t, const struct wire_sub_open *request, uint64_t *ret_seq,
             char why[WHY_ROOM])
{
    int r;

    if (request->name[0] && !store_floor_get(t->store, request->name, ret_seq)) {
        uint64_t tail = atom_load_acquire(ring_tail(&t->memory.view)); /* acquire: CLAIM */
        *ret_seq = shm_min(*ret_seq, tail);
        return 0;
    }
    if (request->start == WIRE_AT_TIME && t->memory.view.geo.timestamps == RING_TIME_OFF)
        return why_set(why, -EINVAL, "topic %s keeps no times (timestamps = off)", t->name);
    r = position_find(t, (enum wire_start)request->start, request->value, ret_seq);
    if (r)
        return why_set(why, r, "topic %s: cannot find where to begin: %s", t->name, strerror(-r));
    if (!request->name[0])
        return 0;
    r = store_floor_set(t->store, request->name, *ret_seq);
    if (r)
        return why_set(why, r, "topic %s: cannot keep subscription %s: %s", t->name, request->name,
                       r == -ENOSPC ? "it has as many names as there can be" : strerror(-r));
    TESTPOINT("attach.named");
    return 0;
}

static int
take_cursor(struct topic *t, const struct attach_asker *asker, const char *name, uint32_t *ret,
            char why[WHY_ROOM])
{
    uint32_t i = free_cursor(t);
    struct topic_seat *seat;
    char *copy = NULL;

    if (i == UINT32_MAX)
        return why_set(why, -EBUSY, "topic %s: all %u subscribers are open (max_subscribers)",
                       t->name, t->memory.view.geo.max_cursors - (t->store ? 1 : 0));
    if (name) {
        copy = strdup(name);
        if (!copy)
            return why_set(why, -ENOMEM, "topic %s: out of memory", t->name);
    }
    seat = &t->cursors[i];
    seat->process = asker->process;
    seat->session = asker->session;
    seat->uid = asker->who->uid;
    seat->name = copy;
    process_hold(asker->process);
    *ret = i;
    return 0;
}

int
attach_cursor(struct topic *t, const struct attach_asker *asker,
              const struct wire_sub_open *request, struct wire_answer *answer)
{
    const char *name = request->name[0] ? request->name : NULL;
    const struct ring_owner owner = owner_of(asker, name);
    struct ring_view *v = &t->memory.view;
    enum ring_cursor_kind kind = RING_KIND_LIVE;
    uint64_t seq = 0;
    uint32_t i = 0;
    int r;

    watch_door(t);
    r = check_access(t, asker, ACCESS_SUBSCRIBE, answer->text);
    if (!r)
        r = check_seats(t, t->cursors, v->geo.max_cursors, asker, answer->text);
    if (!r)
        r = choose_kind(t, request, &kind, answer->text);
    if (!r && name)
        r = check_name_is_free(t, name, answer->text);
    if (!r)
        r = choose_start(t, request, &seq, answer->text);
    if (!r)
        r = take_cursor(t, asker, name, &i, answer->text);
    if (r)
        return r;
    answer->floor = seq;
    ring_cursor_attach(v, i, kind, &owner, &seq);
    TESTPOINT("attach.cursor");
    t->cursors[i].kind = (uint8_t)kind;
    t->cursors[i].generation = ring_cursor_generation_of(atom_load_relaxed(ring_cursor_word(v, i)));
    answer->seq = seq;
    answer->index = i;
    answer->generation = t->cursors[i].generation;
    answer->topic_id = t->id;
    if (name)
        watch_saved(t);
    return 0;
}

int
attach_close_cursor(struct topic *t, const struct process *p, const struct wire_handle *request,
                    char why[WHY_ROOM])
{
    uint32_t i = request->index;

    if (!t->mapped || i >= t->memory.view.geo.max_cursors || t->cursors[i].process != p ||
        t->cursors[i].generation != request->generation)
        return not_yours(t, "subscriber", request, why);
    reap_cursor(t, i);
    state_bump(&t->memory.view);
    watch_ask(t);
    return 0;
}

/* No line may bring a name back that is forgotten. */
static void
forget_lines(struct topic *t, const char *name)
{
    char is[LIMIT_SUB_NAME + 1];

    for (uint32_t i = 0; i < t->memory.view.geo.max_cursors; i++)
        if (watch_name_of(t, i, is) && !strcmp(is, name))
            ring_cursor(&t->memory.view, i)->name[0] = '\0';
}

int
attach_forget(struct topic *t, const char *name, char why[WHY_ROOM])
{
    int r = t->store ? check_name_is_free(t, name, why) : -ENOENT;

    if (!r) {
        forget_lines(t, name);
        r = store_floor_remove(t->store, name);
    }
    if (r == -ENOENT)
        return why_set(why, r, "topic %s has no subscription %.70s", t->name, name);
    return r;
}
