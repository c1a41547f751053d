#include "daemon/topic.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/process.h"
#include "daemon/report.h"
#include "daemon/state.h"
#include "daemon/watch.h"
#include "shm/name.h"
#include "shm/testpoint.h"

/* --- finding ---------------------------------------------------------------------------------- */

static uint32_t
bucket_of_name(const char *name)
{
    uint32_t hash = 2166136261u;

    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash % BUS_BUCKETS;
}

static uint32_t
bucket_of_id(uint64_t id)
{
    return (uint32_t)(id % BUS_BUCKETS);
}

struct topic *
topic_by_name(const struct bus *bus, const char *name)
{
    struct topic *t = bus->by_name[bucket_of_name(name)];

    while (t && strcmp(t->name, name) != 0)
        t = t->next_by_name;
    return t;
}

struct topic *
topic_by_id(const struct bus *bus, uint64_t id, const struct process *asker)
{
    struct topic *found = NULL;

    for (struct topic *t = id ? bus->by_id[bucket_of_id(id)] : NULL; t; t = t->next_by_id)
        if (t->id == id && (!found || topic_has(t, asker)))
            found = t;
    return found;
}

static void
set_id(struct topic *t, uint64_t id)
{
    struct topic **bucket = &t->bus->by_id[bucket_of_id(id)];

    t->id = id;
    t->next_by_id = *bucket;
    *bucket = t;
}

static void
unlink_all(struct topic *t)
{
    struct topic **at = &t->bus->by_name[bucket_of_name(t->name)];

    while (*at != t)
        at = &(*at)->next_by_name;
    *at = t->next_by_name;
    if (t->id) {
        for (at = &t->bus->by_id[bucket_of_id(t->id)]; *at != t;)
            at = &(*at)->next_by_id;
        *at = t->next_by_id;
    }
    if (t->prev)
        t->prev->next = t->next;
    else
        t->bus->topics = t->next;
    if (t->next)
        t->next->prev = t->prev;
}

int
topic_serves(const struct topic *t, char why[WHY_ROOM])
{
    static const int errors[] = {[TOPIC_SERVING] = 0,
                                 [TOPIC_DAMAGED] = -EBADMSG,
                                 [TOPIC_REFUSED] = -EPROTONOSUPPORT,
                                 [TOPIC_WAITING] = -EAGAIN};

    return t->standing == TOPIC_SERVING ? 0 : why_set(why, errors[t->standing], "%s", t->why);
}

/* --- what a topic is to be -------------------------------------------------------------------- */

/* Takes what the request names over what the rules said; returns which fields those are. */
static uint32_t
apply_options(struct config_topic *c, const struct wire_options *o)
{
    uint32_t fixed = 0;
    bool exact = !(o->given & WIRE_GIVEN_RULE);

#define TAKE(when, field, option, bit)                                                             \
    do {                                                                                           \
        if (when) {                                                                                \
            c->field = o->option;                                                                  \
            fixed |= 1u << (bit);                                                                  \
        }                                                                                          \
    } while (0)
    TAKE(o->depth, depth, depth, CONFIG_DEPTH);
    TAKE(o->slot_size, slot_size, slot_size, CONFIG_SLOT_SIZE);
    TAKE(o->lane_size, lane_size, lane_size, CONFIG_LANE_SIZE);
    TAKE(o->max_publishers, max_publishers, max_publishers, CONFIG_MAX_PUBLISHERS);
    TAKE(o->max_cursors, max_subscribers, max_cursors, CONFIG_MAX_SUBSCRIBERS);
    TAKE(o->durability || exact, durability, durability, CONFIG_DURABILITY);
    TAKE(o->when_full || exact, when_full, when_full, CONFIG_WHEN_FULL);
    TAKE(o->timestamps || exact, timestamps, timestamps, CONFIG_TIMESTAMPS);
    TAKE(o->retention_bytes, retention_bytes, retention_bytes, CONFIG_RETENTION_BYTES);
    TAKE(o->retention_ns, retention_ns, retention_ns, CONFIG_RETENTION_NS);
    TAKE(o->retain_until_acked, retain_until_acked, retain_until_acked, CONFIG_RETAIN_UNTIL_ACKED);
    TAKE(o->lag_ns, lag_ns, lag_ns, CONFIG_LAG);
    TAKE(o->mode || (o->given & WIRE_GIVEN_MODE), mode, mode, CONFIG_MODE);
    TAKE(o->uid || (o->given & WIRE_GIVEN_UID), owner, uid, CONFIG_OWNER);
    TAKE(o->gid || (o->given & WIRE_GIVEN_GID), group, gid, CONFIG_GROUP);
#undef TAKE
    return fixed;
}

static uint64_t
round_up(uint64_t n)
{
    return n <= 1 || n > 1ull << 62 ? n : 1ull << (64 - __builtin_clzll(n - 1));
}

/* A log writer takes one cursor more. */
static uint64_t
cursors_for(uint64_t subscribers, uint32_t durability)
{
    return subscribers + (durability == RING_DISK);
}

static uint32_t
subscribers_of(const struct ring_geometry *g)
{
    return g->max_cursors - (g->durability == RING_DISK);
}

static int
refuse_field(const char *name, const char *field, const struct ring_geometry *g, char why[WHY_ROOM])
{
    if (!strcmp(field, "depth"))
        return why_set(why, -EINVAL, "topic %s: depth is %" PRIu64 "; allowed: %d to %u", name,
                       g->depth, LIMIT_DEPTH_MIN, LIMIT_DEPTH_MAX);
    if (!strcmp(field, "lane_size"))
        return why_set(why, -EINVAL, "topic %s: lane_size is %" PRIu64 "; allowed: %d to %llu",
                       name, g->lane_size, LIMIT_LANE_MIN, LIMIT_LANE_MAX);
    if (!strcmp(field, "slot_size"))
        return why_set(why, -EINVAL, "topic %s: slot_size is %u; allowed: 64, 128 or 256", name,
                       g->slot_size);
    if (!strcmp(field, "max_publishers"))
        return why_set(why, -EINVAL, "topic %s: max_publishers is %u; allowed: 1 to %d", name,
                       g->max_publishers, LIMIT_PUBLISHERS);
    if (!strcmp(field, "max_cursors"))
        return why_set(why, -EINVAL, "topic %s: max_subscribers is %u; allowed: 1 to %d", name,
                       g->max_cursors, LIMIT_CURSORS - 1);
    if (!strcmp(field, "when_full"))
        return why_set(why, -EINVAL,
                       "topic %s: a disk topic cannot overwrite: the log writer has to have seen "
                       "every message; use when_full = block or durability = memory",
                       name);
    if (!strcmp(field, "mode"))
        return why_set(why, -EINVAL, "topic %s: mode is 0%o; allowed: up to 0777", name, g->mode);
    return why_set(why, -EINVAL, "topic %s: %s is out of range", name, field);
}

static int
plan(const struct bus *bus, const char *name, const struct config_topic *c,
     struct ring_geometry *ret, char why[WHY_ROOM])
{
    struct ring_geometry g = {.depth = round_up(c->depth),
                              .lane_size = round_up(c->lane_size),
                              .slot_size = c->slot_size,
                              .max_publishers = c->max_publishers,
                              .barrier = bus->barrier,
                              .durability = c->durability,
                              .when_full = c->when_full,
                              .timestamps = c->timestamps,
                              .mode = c->mode,
                              .uid = c->owner,
                              .gid = c->group,
                              .retention_bytes = c->retention_bytes,
                              .retention_ns = c->retention_ns,
                              .retain_until_acked = c->retain_until_acked,
                              .lag_ns = c->lag_ns,
                              .origin = 1};
    const char *field;

    g.max_cursors = (uint32_t)shm_min(cursors_for(c->max_subscribers, c->durability), UINT32_MAX);
    if (ring_plan(&g, &field))
        return refuse_field(name, field, &g, why);
    *ret = g;
    return 0;
}

int
topic_wish_of(const struct bus *bus, const struct access_who *who, const struct wire_topic *request,
              struct topic_wish *ret, char why[WHY_ROOM])
{
    struct config_topic c;
    uint32_t given = config_resolve(&bus->config, request->name, &c), fixed;
    bool master = access_is_master(who);

    if (!(given & 1u << CONFIG_OWNER))
        c.owner = who->uid;
    if (!(given & 1u << CONFIG_GROUP))
        c.group = who->gid;
    fixed = apply_options(&c, &request->options);
    if ((fixed & 1u << CONFIG_OWNER) && c.owner != who->uid && !master)
        return why_set(why, -EACCES, "topic %s: user %u cannot make it for user %u", request->name,
                       who->uid, c.owner);
    if ((fixed & 1u << CONFIG_GROUP) && !access_in_group(who, c.group) && !master)
        return why_set(why, -EACCES, "topic %s: user %u is not in group %u", request->name,
                       who->uid, c.group);
    ret->fixed = fixed;
    ret->who = who;
    return plan(bus, request->name, &c, &ret->geo, why);
}

int
topic_differs(const struct topic *t, const struct topic_wish *wish, char why[WHY_ROOM])
{
    const struct ring_geometry *is = &t->memory.view.geo, *want = &wish->geo;
    const struct {
        enum config_field bit;
        const char *name;
        uint64_t is, want;
    } fields[] = {
        {CONFIG_DEPTH, "depth", is->depth, want->depth},
        {CONFIG_SLOT_SIZE, "slot_size", is->slot_size, want->slot_size},
        {CONFIG_LANE_SIZE, "lane_size", is->lane_size, want->lane_size},
        {CONFIG_MAX_PUBLISHERS, "max_publishers", is->max_publishers, want->max_publishers},
        {CONFIG_DURABILITY, "durability (0 memory, 1 disk)", is->durability, want->durability},
        {CONFIG_MAX_SUBSCRIBERS, "max_subscribers", subscribers_of(is), subscribers_of(want)},
        {CONFIG_WHEN_FULL, "when_full (0 block, 1 overwrite)", is->when_full, want->when_full},
        {CONFIG_TIMESTAMPS, "timestamps", is->timestamps, want->timestamps},
        {CONFIG_RETENTION_BYTES, "retention_bytes", is->retention_bytes, want->retention_bytes},
        {CONFIG_RETENTION_NS, "retention_ns", is->retention_ns, want->retention_ns},
        {CONFIG_RETAIN_UNTIL_ACKED, "retain_until_acked", is->retain_until_acked,
         want->retain_until_acked},
        {CONFIG_LAG, "lag_ns", is->lag_ns, want->lag_ns},
        {CONFIG_MODE, "mode (in decimal)", is->mode, want->mode},
        {CONFIG_OWNER, "uid", is->uid, want->uid},
        {CONFIG_GROUP, "gid", is->gid, want->gid},
    };

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if ((wish->fixed & 1u << fields[i].bit) && fields[i].is != fields[i].want)
            return why_set(why, -EEXIST,
                           "topic %s exists with another %s: it is %" PRIu64
                           ", asked for was %" PRIu64,
                           t->name, fields[i].name, fields[i].is, fields[i].want);
    return 0;
}

/* --- making ----------------------------------------------------------------------------------- */

int
topic_add(struct bus *bus, const char *name, struct topic **ret)
{
    struct topic *t = calloc(1, sizeof *t);
    struct topic **bucket;

    if (!t)
        return -ENOMEM;
    t->bus = bus;
    memcpy(t->name, name, strlen(name) + 1);
    t->memory = (struct memory){.data_rw = -1, .data_ro = -1, .control = -1};
    bucket = &bus->by_name[bucket_of_name(name)];
    t->next_by_name = *bucket;
    *bucket = t;
    t->next = bus->topics;
    if (t->next)
        t->next->prev = t;
    bus->topics = t;
    watch_init(t);
    *ret = t;
    return 0;
}

static void
free_seats(struct topic *t)
{
    free(t->publishers);
    free(t->cursors);
    free(t->scratch);
    t->publishers = t->cursors = NULL;
    t->scratch = NULL;
}

int
topic_prepare(struct topic *t)
{
    const struct ring_geometry *g = &t->memory.view.geo;

    t->publishers = calloc(g->max_publishers, sizeof *t->publishers);
    t->cursors = calloc(g->max_cursors, sizeof *t->cursors);
    t->scratch = calloc(g->max_publishers, sizeof *t->scratch);
    if (!t->publishers || !t->cursors || !t->scratch) {
        free_seats(t);
        memory_close(&t->memory);
        return -ENOMEM;
    }
    t->access = (struct access_rule){.uid = g->uid, .gid = g->gid, .mode = g->mode};
    set_id(t, ring_header(&t->memory.view)->topic_id);
    t->mapped = true;
    return 0;
}

void
topic_sign(struct topic *t)
{
    struct ring_daemon *d = ring_daemon(&t->memory.view);

    atom_store_relaxed(&d->pid, t->bus->pid);
    atom_store_relaxed(&d->start, t->bus->start);
    atom_store_relaxed(&d->incarnation, t->bus->incarnation);
}

static void
on_saved(void *user)
{
    watch_saved(user);
}

static void
on_damaged(void *user, const char *reason)
{
    struct topic *t = user;

    topic_quarantine(t, "%s", reason);
}

int
topic_follow(struct topic *t, struct store *store, char why[WHY_ROOM])
{
    const struct store_events events = {.saved = on_saved, .damaged = on_damaged, .user = t};
    char reason[STORE_WHY] = "";
    int r;

    t->store = store;
    t->cursors[0].kind = RING_KIND_LOG;
    r = store_attach(store, &t->memory.view, &events, reason);
    return r ? why_set(why, r, "topic %s: %s", t->name, reason) : 0;
}

int
topic_geometry(const struct bus *bus, const struct log_topic *log, uint64_t origin,
               struct ring_geometry *ret)
{
    struct ring_geometry g = {.depth = log->depth,
                              .lane_size = log->lane_size,
                              .slot_size = log->slot_size,
                              .max_publishers = log->max_publishers,
                              .max_cursors = log->max_cursors,
                              .barrier = bus->barrier,
                              .durability = RING_DISK,
                              .when_full = RING_BLOCK,
                              .timestamps = log->timestamps,
                              .mode = log->mode,
                              .uid = log->uid,
                              .gid = log->gid,
                              .retention_bytes = log->retention_bytes,
                              .retention_ns = log->retention_ns,
                              .retain_until_acked = log->retain_until_acked,
                              .lag_ns = log->lag_ns,
                              .origin = origin};
    const char *field;

    if (ring_plan(&g, &field))
        return -EBADMSG;
    *ret = g;
    return 0;
}

static int
create_store(struct topic *t, const struct ring_geometry *g, const struct ring_identity *who,
             char why[WHY_ROOM])
{
    struct log_topic what = {.topic_id = who->topic_id,
                             .created_ns = who->created_ns,
                             .depth = g->depth,
                             .lane_size = g->lane_size,
                             .slot_size = g->slot_size,
                             .max_publishers = g->max_publishers,
                             .max_cursors = g->max_cursors,
                             .timestamps = g->timestamps,
                             .mode = g->mode,
                             .uid = g->uid,
                             .gid = g->gid,
                             .retain_until_acked = g->retain_until_acked,
                             .retention_bytes = g->retention_bytes,
                             .retention_ns = g->retention_ns,
                             .lag_ns = g->lag_ns};
    int r;

    if (g->durability != RING_DISK)
        return 0;
    memcpy(what.name, t->name, strlen(t->name) + 1);
    r = store_create(&t->bus->store_env, &what, &t->store);
    if (!r)
        return 0;
    t->store = NULL;
    return why_set(why, r, "topic %s: cannot make its log in %.200s: %s", t->name,
                   t->bus->config.store, strerror(-r));
}

/* Log first, then shared memory: whichever exists after a death at any point can be gone on with. */
static int
build(struct topic *t, const struct topic_wish *wish, char why[WHY_ROOM])
{
    struct ring_identity who = {
        .name = t->name, .topic_id = bus_random(), .created_ns = bus_realtime()};
    int r;

    memcpy(who.boot_id, t->bus->boot_id, sizeof who.boot_id);
    r = create_store(t, &wish->geo, &who, why);
    if (r)
        return r;
    TESTPOINT("topic.log_made");
    r = memory_create(t->bus->prefix, &wish->geo, &who, &t->memory, why);
    if (r)
        return r;
    r = topic_prepare(t);
    if (r) {
        memory_remove(t->bus->prefix, t->name);
        return why_set(why, r, "topic %s: out of memory", t->name);
    }
    topic_sign(t);
    TESTPOINT("topic.made");
    return t->store ? topic_follow(t, t->store, why) : 0;
}

uint64_t
topic_bytes(const struct topic *t)
{
    return memory_bytes(&t->memory.view.geo, t->lanes);
}

/* How much a user's topics take; root and the daemon's user are not asked. */
static int
check_quota(const struct bus *bus, const struct topic_wish *wish, char why[WHY_ROOM])
{
    const struct config *c = &bus->config;
    uint64_t bytes = memory_bytes(&wish->geo, 0);
    uint32_t count = 1;

    if (access_is_master(wish->who))
        return 0;
    for (const struct topic *t = bus->topics; t; t = t->next) {
        if (!t->mapped || t->access.uid != wish->geo.uid)
            continue;
        count++;
        bytes += topic_bytes(t);
    }
    if (c->user_topics && count > c->user_topics)
        return why_set(why, -EDQUOT, "user %u has %u topics; [bus] user_topics allows no more",
                       wish->geo.uid, c->user_topics);
    if (c->user_shm && bytes > c->user_shm)
        return why_set(why, -EDQUOT,
                       "user %u would have %" PRIu64 " bytes of shared memory; [bus] user_shm "
                       "allows %" PRIu64,
                       wish->geo.uid, bytes, c->user_shm);
    return 0;
}

int
topic_create(struct bus *bus, const char *name, const struct topic_wish *wish, struct topic **ret,
             char why[WHY_ROOM])
{
    struct topic *t;
    int r = wish->who ? check_quota(bus, wish, why) : 0;

    if (r)
        return r;
    if (topic_add(bus, name, &t))
        return why_set(why, -ENOMEM, "topic %s: out of memory", name);
    r = build(t, wish, why);
    if (r) {
        bool mapped = t->mapped;
        if (t->store)
            (void)store_destroy(t->store);
        t->store = NULL;
        topic_close(t);
        if (mapped)
            memory_remove(bus->prefix, name);
        return r;
    }
    watch_begin(t);
    report_note("topic %s made: %s, depth %" PRIu64 ", for user %u mode 0%o", name,
                wish->geo.durability == RING_DISK ? "disk" : "memory", wish->geo.depth,
                wish->geo.uid, wish->geo.mode);
    *ret = t;
    return 0;
}

int
topic_obtain(struct bus *bus, const char *name, const struct access_who *who, struct topic **ret,
             char why[WHY_ROOM])
{
    const char *bad = shm_name_check(name);
    struct wire_topic request = {.options = {.given = WIRE_GIVEN_RULE}};
    struct config_topic rule;
    struct topic_wish wish = {.fixed = 0};
    int r;

    if (bad)
        return why_set(why, -EINVAL, "topic name '%.60s' %s", name, bad);
    *ret = topic_by_name(bus, name);
    if (*ret)
        return 0;
    (void)config_resolve(&bus->config, name, &rule);
    if (!rule.create)
        return why_set(why, -ENOENT, "there is no topic %s", name);
    memcpy(request.name, name, strlen(name) + 1);
    r = topic_wish_of(bus, who, &request, &wish, why);
    return r ? r : topic_create(bus, name, &wish, ret, why);
}

/* --- ending ----------------------------------------------------------------------------------- */

void
topic_close(struct topic *t)
{
    const struct ring_geometry *g = &t->memory.view.geo;

    watch_end(t);
    t->store = store_close(t->store);
    for (uint32_t i = 0; t->publishers && i < g->max_publishers; i++)
        (void)process_drop(t->publishers[i].process);
    for (uint32_t i = 0; t->cursors && i < g->max_cursors; i++) {
        (void)process_drop(t->cursors[i].process);
        free(t->cursors[i].name);
    }
    unlink_all(t);
    memory_close(&t->memory);
    free_seats(t);
    free(t);
}

bool
topic_has(const struct topic *t, const struct process *p)
{
    const struct ring_geometry *g = &t->memory.view.geo;
    bool has = false;

    for (uint32_t i = 0; t->mapped && i < g->max_publishers; i++)
        has |= t->publishers[i].process == p;
    for (uint32_t i = 0; t->mapped && i < g->max_cursors; i++)
        has |= t->cursors[i].process == p;
    return has;
}

/* There may be something of it on disk that nobody has read. */
static bool
has_unread_log(const struct topic *t)
{
    return !t->store && (!t->mapped || t->memory.view.geo.durability == RING_DISK) &&
           (bus_store_is_covered(t->bus) ||
            !faccessat(t->bus->store_dirfd, t->name, F_OK, AT_SYMLINK_NOFOLLOW) || errno != ENOENT);
}

int
topic_remove(struct topic *t, char why[WHY_ROOM])
{
    struct bus *bus = t->bus;
    char name[LIMIT_TOPIC_NAME + 1];
    int r = 0;

    if (t->standing == TOPIC_REFUSED)
        return why_set(why, -EPROTONOSUPPORT, "%s", t->why);
    if (has_unread_log(t))
        return why_set(why, -EBADMSG,
                       "topic %s: its log cannot be read, and is not thrown away: move %.150s/%s "
                       "away, and remove the topic then",
                       t->name, bus->config.store, t->name);
    memcpy(name, t->name, sizeof name);
    if (t->mapped)
        state_set(&t->memory.view, RING_TOPIC_REMOVED, "the topic was removed");
    TESTPOINT("topic.removed_state");
    if (t->store) {
        r = store_destroy(t->store);
        t->store = NULL;
        TESTPOINT("topic.removed_log");
    }
    if (t->mapped)
        ring_destroy(&t->memory.view);
    memory_remove(bus->prefix, name);
    topic_close(t);
    report_note("topic %s removed", name);
    return r ? why_set(why, r, "topic %s: its log cannot be removed: %s", name, strerror(-r)) : 0;
}

void
topic_quarantine(struct topic *t, const char *format, ...)
{
    char reason[WHY_ROOM - 16];
    va_list args;

    if (t->standing != TOPIC_SERVING && t->standing != TOPIC_WAITING)
        return;
    va_start(args, format);
    (void)vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    /* What was read from memory that is not there any more is no reason. */
    if (t->mapped && memory_is_hit(&t->memory))
        (void)snprintf(reason, sizeof reason, "%s", MEMORY_TRUNCATED);
    t->standing = TOPIC_DAMAGED;
    (void)snprintf(t->why, sizeof t->why, "topic %.100s is quarantined: %.250s", t->name, reason);
    report_error("%s", t->why);
    if (t->mapped)
        state_set(&t->memory.view, RING_TOPIC_DAMAGED, reason);
    TESTPOINT("topic.quarantined");
    /* Its store may be what is calling: it is closed at the end of the turn. */
    watch_ask(t);
}
