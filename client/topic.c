#include "client/client.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/name.h"
#include "shm/segment.h"
#include "shm/testpoint.h"

#define POPULATE_MAX (64ull << 20) /* more is left to be touched when it is used */

/* --- maps ------------------------------------------------------------------------------------- */

/* The smallest part of a map that the role writes. Shared memory has one writer for each word, and
 * what is not a role's own is read-only for it, so that no accident reaches it. */
static int
make_writable(const struct leat__answer *from, enum leat__role role, const struct leat__map *m)
{
    const struct ring_geometry *g = &m->view.geo;
    int r;

    if (role == LEAT__LOOK)
        return 0;
    r = shm_segment_writable(from->fds[1], m->view.control, RING_CONTROL_AT,
                             m->control_size - RING_CONTROL_AT);
    if (r || role == LEAT__SUBSCRIBE)
        return r;
    r = shm_segment_writable(from->fds[0], m->view.data, g->tail, g->lanes - g->tail);
    if (r)
        return r;
    return shm_segment_writable(from->fds[0], m->view.data, g->lanes + from->a.index * g->lane_size,
                                g->lane_size);
}

static void
populate(const struct leat__answer *from, enum leat__role role, const struct leat__map *m)
{
    const struct ring_geometry *g = &m->view.geo;
    bool writes = role == LEAT__PUBLISH;

    if (role == LEAT__LOOK)
        return;
    shm_segment_populate(m->view.control, RING_CONTROL_AT, m->control_size - RING_CONTROL_AT, true);
    shm_segment_populate(m->view.data, g->tail, shm_min(g->lanes - g->tail, POPULATE_MAX), writes);
    if (writes)
        shm_segment_populate(m->view.data, g->lanes + from->a.index * g->lane_size,
                             shm_min(g->lane_size, POPULATE_MAX), true);
}

/* Both objects, read-only at first, and checked. */
static int
join(struct leat__answer *from, enum leat__role role, struct leat__map *m, uint32_t *ret_version)
{
    struct ring_maps maps = {0};
    int r = shm_segment_size(from->fds[0], &maps.data_size);

    if (!r)
        r = shm_segment_size(from->fds[1], &maps.control_size);
    if (!r)
        r = shm_segment_map(from->fds[0], maps.data_size, &maps.data);
    if (!r) {
        m->view.data = maps.data;
        m->data_size = maps.data_size;
        r = shm_segment_map(from->fds[1], maps.control_size, &maps.control);
    }
    if (!r) {
        m->view.control = maps.control;
        m->control_size = maps.control_size;
        r = ring_join(&m->view, &maps, ret_version);
    }
    if (r)
        return r;
    m->topic_id = ring_header(&m->view)->topic_id;
    (void)snprintf(m->name, sizeof m->name, "%.*s", LIMIT_TOPIC_NAME, ring_header(&m->view)->name);
    if (m->topic_id != from->a.topic_id ||
        (role == LEAT__PUBLISH && from->a.index >= m->view.geo.max_publishers) ||
        (role == LEAT__SUBSCRIBE && from->a.index >= m->view.geo.max_cursors))
        return -EBADMSG;
    return 0;
}

int
leat__map_open(struct leat_bus *bus, struct leat__answer *from, enum leat__role role,
               struct leat__map *ret)
{
    struct leat__map m;
    uint32_t version = 0;
    int r;

    memset(&m, 0, sizeof m);
    r = join(from, role, &m, &version);
    if (!r)
        r = make_writable(from, role, &m);
    if (!r)
        populate(from, role, &m);
    leat__close_fds(from->fds);
    if (r) {
        leat__map_close(&m);
        if (r == -EPROTONOSUPPORT)
            return leat__fail(bus, r, "the topic's memory has version %u, this library knows %u",
                              version, SHM_VERSION);
        return leat__fail(bus, r, "mapping the topic's memory: %s", leat_strerror(r));
    }
    *ret = m;
    return 0;
}

void
leat__map_close(struct leat__map *m)
{
    shm_segment_unmap(m->view.data, m->data_size);
    shm_segment_unmap(m->view.control, m->control_size);
    m->view.data = NULL;
    m->view.control = NULL;
}

/* --- what a topic says of itself -------------------------------------------------------------- */

void
leat__reason(const struct ring_view *v, char ret[256])
{
    memcpy(ret, ring_daemon(v)->reason, 256);
    ret[255] = '\0';
}

static void
describe_geometry(const struct ring_view *v, struct leat_topic_info *ret)
{
    const struct ring_geometry *g = &v->geo;

    ret->topic_id = ring_header(v)->topic_id;
    ret->depth = g->depth;
    ret->lane_size = g->lane_size;
    ret->payload_max = ring_payload_max(v);
    ret->slot_size = g->slot_size;
    ret->inline_max = ring_inline_max(v);
    ret->max_publishers = g->max_publishers;
    ret->max_subscribers =
        g->max_cursors - (g->durability == RING_DISK); /* one is the log writer's */
    ret->durability = g->durability;
    ret->when_full = g->when_full;
    ret->timestamps = g->timestamps;
    ret->mode = g->mode;
    ret->uid = g->uid;
    ret->gid = g->gid;
    ret->retention_bytes = g->retention_bytes;
    ret->retention_ns = (int64_t)shm_min(g->retention_ns, INT64_MAX);
    ret->lag_ns = (int64_t)shm_min(g->lag_ns, INT64_MAX);
    ret->retain_until_acked = g->retain_until_acked;
}

void
leat__describe(const struct ring_view *v, struct leat_topic_info *ret)
{
    const struct ring_daemon *d = ring_daemon(v);
    uint64_t log_first;

    memset(ret, 0, sizeof *ret);
    describe_geometry(v, ret);
    ret->state = (uint32_t)atom_load_acquire(&d->state); /* acquire: TOPIC_STATE */
    if (ret->state)
        leat__reason(v, ret->reason);
    ret->first = ring_oldest(v);
    ret->tail = atom_load_acquire(ring_tail(v)); /* acquire: CLAIM */
    if (v->geo.durability == RING_DISK) {
        ret->durable = atom_load_acquire(&d->durable); /* acquire: DURABLE */
        ret->log_bytes = atom_load_relaxed(&d->log_bytes);
        log_first = atom_load_relaxed(&d->log_first);
        if (log_first)
            ret->first = shm_min(ret->first, log_first);
    }
    ret->shm_bytes = v->geo.lanes + v->geo.control_size;
    for (uint32_t i = 0; i < v->geo.max_publishers; i++) {
        const struct ring_entry *e = ring_entry(v, i);
        ret->publishers += atom_load_acquire(&e->state) == RING_ENTRY_LIVE; /* acquire: ENTRY */
        if (atom_load_acquire(&e->lane) == 1)                               /* acquire: LANE */
            ret->shm_bytes += v->geo.lane_size;
    }
    for (uint32_t i = 0; v->control && i < v->geo.max_cursors; i++) {
        uint64_t word = atom_load_acquire(ring_cursor_word(v, i)); /* acquire: CURSOR_STATE */
        ret->subscribers += ring_cursor_state_of(word) == RING_CURSOR_LIVE &&
                            ring_cursor_kind_of(word) != RING_KIND_LOG;
    }
}

int
leat__topic_state(struct leat_bus *bus, const struct leat__map *m)
{
    char reason[256];

    switch (atom_load_acquire(&ring_daemon(&m->view)->state)) { /* acquire: TOPIC_STATE */
    case RING_TOPIC_REMOVED:
        return leat__fail(bus, -EIDRM, "topic '%s' was removed", m->name);
    case RING_TOPIC_DAMAGED:
        leat__reason(&m->view, reason);
        return leat__fail(bus, -EBADMSG, "topic '%s' is quarantined: %s", m->name, reason);
    default:
        return 0;
    }
}

void
leat__blame(const struct ring_view *v, char *ret, size_t room)
{
    uint64_t tail = atom_load_acquire(ring_tail(v)), pos; /* acquire: CLAIM */
    const struct ring_cursor *c;
    char name[64], reason[256];
    uint32_t who;

    (void)ring_gate(v, &who);
    if (who == UINT32_MAX) {
        (void)snprintf(ret, room,
                       "a publisher ahead has not finished, or the lane is full (lane_size %llu)",
                       (unsigned long long)v->geo.lane_size);
        return;
    }
    c = ring_cursor(v, who);
    pos = atom_load_acquire(&c->pos); /* acquire: CURSOR */
    if (ring_cursor_kind_of(atom_load_relaxed(ring_cursor_word(v, who))) == RING_KIND_LOG) {
        leat__reason(v, reason);
        (void)snprintf(ret, room, "the log has %llu messages to write (depth %llu)%s%s",
                       (unsigned long long)(tail - pos), (unsigned long long)v->geo.depth,
                       reason[0] ? ": " : "", reason);
        return;
    }
    memcpy(name, c->name, sizeof name);
    name[sizeof name - 1] = '\0';
    (void)snprintf(
        ret, room,
        "gating subscriber %u '%s' of process %u is %llu messages behind (depth %llu; lag_ns %s)",
        who, name, c->pid, (unsigned long long)(tail - pos), (unsigned long long)v->geo.depth,
        v->geo.lag_ns ? "will evict it" : "is 0: it is never evicted");
}

void
leat__durable_sleep(struct leat_bus *bus, const struct leat__map *m, uint64_t seq, int64_t left)
{
    struct ring_control *c = ring_control(&m->view);
    uint32_t v = shm_event_arm(&c->durable_wait);
    bool ordered = !shm_event_barrier((enum shm_barrier)m->view.geo.barrier);

    TESTPOINT("durable.armed");
    if (atom_load_seq(&ring_daemon(&m->view)->durable) >= seq) /* acquire: DURABLE; seq: SLEEP */
        return;
    (void)leat__ring(bus, m->topic_id);
    if (left > 0)
        (void)shm_event_wait(&c->durable_wait, v,
                             (int64_t)shm_min((uint64_t)left, ordered ? LIMIT_SLEEP_NS : 1000000));
}

/* --- calls ------------------------------------------------------------------------------------ */

static void
name_request(struct wire_topic *request, enum wire_type type, const char *name)
{
    wire_begin(request, sizeof *request, type, 0);
    memcpy(request->name, name, strlen(name) + 1);
}

/* One question about a topic that is answered by a word. */
static int
ask_topic(struct leat_bus *bus, struct wire_topic *request)
{
    struct leat__answer answer;
    int r = leat__ask(bus, request, &answer);

    if (!r)
        leat__close_fds(answer.fds);
    return r;
}

int
leat__topic_make(struct leat_bus *bus, const char *name)
{
    struct wire_topic request;

    name_request(&request, WIRE_TOPIC_CREATE, name);
    request.options.given = WIRE_GIVEN_RULE;
    return ask_topic(bus, &request);
}

static int
to_wire(struct leat_bus *bus, const struct leat_topic_options *o, struct wire_options *ret)
{
    if (o->retention_ns < 0 || o->lag_ns < 0)
        return leat__fail(bus, -EINVAL, "retention_ns and lag_ns are not negative");
    if (o->flags & ~(LEAT_SET_UID | LEAT_SET_GID))
        return leat__fail(bus, -E2BIG, "leat_topic_options.flags 0x%x: unknown", o->flags);
    *ret = (struct wire_options){
        .depth = o->depth,
        .lane_size = o->lane_size,
        .retention_bytes = o->retention_bytes,
        .retention_ns = (uint64_t)o->retention_ns,
        .lag_ns = (uint64_t)o->lag_ns,
        .slot_size = o->slot_size,
        .max_publishers = o->max_publishers,
        .max_cursors = o->max_subscribers,
        .durability = o->durability,
        .when_full = o->when_full,
        .timestamps = o->timestamps,
        .mode = o->mode,
        .uid = o->uid,
        .gid = o->gid,
        .retain_until_acked = o->retain_until_acked,
        .given = WIRE_GIVEN_RULE,
    };
    if (o->mode)
        ret->given |= WIRE_GIVEN_MODE;
    if (o->uid || o->flags & LEAT_SET_UID)
        ret->given |= WIRE_GIVEN_UID;
    if (o->gid || o->flags & LEAT_SET_GID)
        ret->given |= WIRE_GIVEN_GID;
    if (o->durability > LEAT_DISK || o->when_full > LEAT_OVERWRITE ||
        o->timestamps > LEAT_TIME_OFF || o->retain_until_acked > 1)
        return leat__fail(
            bus, -EINVAL,
            "durability, when_full, timestamps and retain_until_acked take 0 to 1, 1, 2 and 1");
    return 0;
}

int
leat_topic_create(leat_bus *bus, const char *name, const struct leat_topic_options *options)
{
    struct leat_topic_options o;
    struct wire_topic request;
    int r;

    if (!bus)
        return -EINVAL;
    if (!leat__alive(bus->life))
        return -ECHILD;
    r = leat__topic_name(bus, name);
    if (r)
        return r;
    r = leat__options(&o, sizeof o, options);
    if (r)
        return leat__fail(bus, r, "leat_topic_options: %s", leat_strerror(r));
    name_request(&request, WIRE_TOPIC_CREATE, name);
    r = to_wire(bus, &o, &request.options);
    return r ? r : ask_topic(bus, &request);
}

int
leat_topic_remove(leat_bus *bus, const char *name)
{
    struct wire_topic request;
    int r;

    if (!bus)
        return -EINVAL;
    if (!leat__alive(bus->life))
        return -ECHILD;
    r = leat__topic_name(bus, name);
    if (r)
        return r;
    name_request(&request, WIRE_TOPIC_REMOVE, name);
    return ask_topic(bus, &request);
}

int
leat_topic_info(leat_bus *bus, const char *name, struct leat_topic_info *ret)
{
    struct leat__map m = {.data_size = 0};
    struct leat__answer answer;
    struct wire_topic request;
    int r;

    if (!bus || !ret)
        return -EINVAL;
    if (!leat__alive(bus->life))
        return -ECHILD;
    r = leat__topic_name(bus, name);
    if (r)
        return r;
    name_request(&request, WIRE_TOPIC_INFO, name);
    r = leat__ask(bus, &request, &answer);
    if (!r)
        r = leat__map_open(bus, &answer, LEAT__LOOK, &m);
    if (r)
        return r;
    leat__describe(&m.view, ret);
    leat__map_close(&m);
    return 0;
}
