#include "daemon/request.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "daemon/attach.h"
#include "daemon/position.h"
#include "daemon/watch.h"
#include "shm/name.h"
#include "shm/testpoint.h"

_Static_assert(RING_KIND_DURABLE == 2 && RING_DISK == 1 && RING_OVERWRITE == 1 &&
                   RING_TIME_OFF == 2,
               "wire.c knows the enumerators of ring.h by their highest values");

/* One request on its way. The handlers return 0 or a negative errno with the text in answer.text. */
struct request {
    struct session *s;
    const union wire_any *packet;
    struct wire_answer answer;
    int fds[WIRE_FDS_MAX];
    int opened; /* a descriptor that is the request's own; -1: none */
};

static int
hello(struct request *q)
{
    const struct wire_hello *h = &q->packet->hello;
    struct bus *bus = q->s->bus;

    if (q->s->crowded)
        return why_set(q->answer.text, -EDQUOT,
                       "user %u has %u sessions; [bus] user_sessions allows no more", q->s->who.uid,
                       bus->config.user_sessions);
    if (h->oldest > WIRE_VERSION || h->newest < WIRE_VERSION)
        return why_set(q->answer.text, -EPROTONOSUPPORT,
                       "the client speaks protocol versions %u to %u, this daemon %d", h->oldest,
                       h->newest, WIRE_VERSION);
    q->s->hello = true;
    q->answer.bus_id = bus->id;
    q->answer.incarnation = bus->incarnation;
    q->answer.protocol = WIRE_VERSION;
    q->answer.pid = bus->pid;
    return 0;
}

/* The topic of this name, for one who must have some right to it. */
static int
find_named(struct request *q, const char *name, struct topic **ret)
{
    const char *bad = shm_name_check(name);
    struct topic *t;

    if (bad)
        return why_set(q->answer.text, -EINVAL, "topic name '%.60s' %s", name, bad);
    t = topic_by_name(q->s->bus, name);
    if (!t)
        return why_set(q->answer.text, -ENOENT, "there is no topic %s", name);
    *ret = t;
    return 0;
}

static int
check_any_right(struct request *q, const struct topic *t)
{
    if (access_may(&q->s->who, &t->access, ACCESS_SUBSCRIBE) ||
        access_may(&q->s->who, &t->access, ACCESS_PUBLISH))
        return 0;
    return why_set(q->answer.text, -EACCES,
                   "topic %s: user %u has no right to it (owner %u, group %u, mode 0%o)", t->name,
                   q->s->who.uid, t->access.uid, t->access.gid, t->access.mode);
}

static int
find_by_id(struct request *q, uint64_t id, struct topic **ret)
{
    struct topic *t = topic_by_id(q->s->bus, id, q->s->process);
    int r;

    if (!t)
        return why_set(q->answer.text, -ENOENT, "there is no topic with id %016" PRIx64, id);
    r = t->mapped ? check_any_right(q, t) : 0;
    if (!r)
        r = topic_serves(t, q->answer.text);
    if (!r)
        *ret = t;
    return r;
}

static int
topic_create_request(struct request *q)
{
    const struct wire_topic *p = &q->packet->topic;
    const struct access_who *who = &q->s->who;
    const char *bad = shm_name_check(p->name);
    struct config_topic rule;
    struct topic_wish wish = {.fixed = 0};
    struct topic *t;
    int r;

    if (bad)
        return why_set(q->answer.text, -EINVAL, "topic name '%.60s' %s", p->name, bad);
    r = topic_wish_of(q->s->bus, who, p, &wish, q->answer.text);
    t = topic_by_name(q->s->bus, p->name);
    if (t) {
        int access = t->mapped ? check_any_right(q, t) : 0;
        if (!access)
            access = topic_serves(t, q->answer.text);
        q->answer.topic_id = t->id;
        return access || r ? (access ? access : r) : topic_differs(t, &wish, q->answer.text);
    }
    if (r)
        return r;
    (void)config_resolve(&q->s->bus->config, p->name, &rule);
    if (!rule.create && !access_is_master(who))
        return why_set(q->answer.text, -EACCES,
                       "user %u may not make topic %s: no [topic PATTERN] with create = yes "
                       "matches it",
                       who->uid, p->name);
    r = topic_create(q->s->bus, p->name, &wish, &t, q->answer.text);
    if (!r)
        q->answer.topic_id = t->id;
    return r;
}

static int
topic_remove_request(struct request *q)
{
    struct topic *t;
    int r = find_named(q, q->packet->topic.name, &t);

    if (r)
        return r;
    if (!access_is_master(&q->s->who) && (!t->mapped || t->access.uid != q->s->who.uid))
        return why_set(q->answer.text, -EACCES,
                       "topic %s: only its owner may remove it, user %u; you are user %u", t->name,
                       t->access.uid, q->s->who.uid);
    return topic_remove(t, q->answer.text);
}

static void
attach_fds(struct request *q, int data, int control)
{
    q->fds[0] = data;
    q->fds[1] = control;
    q->answer.fds = 2;
}

/* Also of one that is quarantined: why it is stands in its memory, if that can still be mapped. */
static int
topic_info(struct request *q)
{
    struct topic *t;
    int r = find_named(q, q->packet->topic.name, &t);

    if (r)
        return r;
    r = t->mapped ? check_any_right(q, t) : 0;
    if (r)
        return r;
    watch_door(t);
    if (!t->mapped || (t->standing != TOPIC_SERVING && memory_check(&t->memory)))
        return topic_serves(t, q->answer.text);
    q->answer.topic_id = t->id;
    attach_fds(q, t->memory.data_ro, t->memory.control);
    return 0;
}

static struct attach_asker
asker_of(const struct session *s)
{
    return (struct attach_asker){.who = &s->who, .process = s->process, .session = s->number};
}

static void
hand_out(struct request *q, int data, int control)
{
    q->s->opened = true;
    attach_fds(q, data, control);
}

static int
pub_open(struct request *q)
{
    const struct attach_asker asker = asker_of(q->s);
    struct topic *t;
    int r = topic_obtain(q->s->bus, q->packet->topic.name, &q->s->who, &t, q->answer.text);

    if (!r)
        r = attach_publisher(t, &asker, &q->answer);
    if (!r)
        hand_out(q, t->memory.data_rw, t->memory.control);
    return r;
}

static int
pub_close(struct request *q)
{
    const struct wire_handle *h = &q->packet->handle;
    struct topic *t = topic_by_id(q->s->bus, h->topic_id, q->s->process);

    if (!t)
        return why_set(q->answer.text, -ENOENT, "there is no topic with id %016" PRIx64,
                       h->topic_id);
    return attach_close_publisher(t, q->s->process, h, q->answer.text);
}

static int
sub_open(struct request *q)
{
    const struct attach_asker asker = asker_of(q->s);
    struct topic *t;
    int r = topic_obtain(q->s->bus, q->packet->sub_open.topic, &q->s->who, &t, q->answer.text);

    if (!r)
        r = attach_cursor(t, &asker, &q->packet->sub_open, &q->answer);
    if (!r)
        hand_out(q, t->memory.data_ro, t->memory.control);
    return r;
}

static int
sub_close(struct request *q)
{
    const struct wire_handle *h = &q->packet->handle;
    struct topic *t = topic_by_id(q->s->bus, h->topic_id, q->s->process);

    if (!t)
        return why_set(q->answer.text, -ENOENT, "there is no topic with id %016" PRIx64,
                       h->topic_id);
    return attach_close_cursor(t, q->s->process, h, q->answer.text);
}

static int
check_may_read(struct request *q, const struct topic *t)
{
    if (access_may(&q->s->who, &t->access, ACCESS_SUBSCRIBE))
        return 0;
    return why_set(q->answer.text, -EACCES,
                   "topic %s: user %u may not subscribe (owner %u, group %u, mode 0%o)", t->name,
                   q->s->who.uid, t->access.uid, t->access.gid, t->access.mode);
}

static int
sub_remove(struct request *q)
{
    const struct wire_sub_remove *p = &q->packet->sub_remove;
    const char *bad = shm_sub_name_check(p->name);
    struct topic *t;
    int r = find_named(q, p->topic, &t);

    if (!r && bad)
        r = why_set(q->answer.text, -EINVAL, "subscription name '%.70s' %s", p->name, bad);
    if (!r && t->mapped)
        r = check_may_read(q, t);
    if (!r)
        r = topic_serves(t, q->answer.text);
    return r ? r : attach_forget(t, p->name, q->answer.text);
}

static int
log_open(struct request *q)
{
    const struct wire_position *p = &q->packet->position;
    struct store_segment segment;
    struct topic *t;
    int r = find_by_id(q, p->topic_id, &t);

    if (!r)
        r = check_may_read(q, t);
    if (r)
        return r;
    if (!t->store)
        return why_set(q->answer.text, -EOPNOTSUPP, "topic %s has no log (durability = memory)",
                       t->name);
    r = store_open_segment(t->store, p->value, &segment);
    if (r)
        return why_set(q->answer.text, r, "topic %s: cannot open the log at %" PRIu64 ": %s",
                       t->name, p->value, strerror(-r));
    q->opened = segment.fd;
    q->fds[0] = segment.fd;
    q->answer.fds = 1;
    q->answer.topic_id = t->id;
    q->answer.seq = segment.seq;
    q->answer.first = segment.first;
    q->answer.next = segment.next;
    q->answer.offset = segment.offset;
    q->answer.hash = segment.hash;
    q->answer.size = segment.size;
    return 0;
}

static int
position(struct request *q)
{
    const struct wire_position *p = &q->packet->position;
    struct topic *t;
    int r = find_by_id(q, p->topic_id, &t);

    if (!r)
        r = check_may_read(q, t);
    if (r)
        return r;
    if (p->start == WIRE_AT_TIME && t->memory.view.geo.timestamps == RING_TIME_OFF)
        return why_set(q->answer.text, -EINVAL, "topic %s keeps no times (timestamps = off)",
                       t->name);
    r = position_find(t, (enum wire_start)p->start, p->value, &q->answer.seq);
    q->answer.topic_id = t->id;
    return r ? why_set(q->answer.text, r, "topic %s: cannot find the place: %s", t->name,
                       strerror(-r))
             : 0;
}

/* One-way: whoever rings for what is not there, or not his, is not told. */
static void
ring(struct session *s, const struct wire_ring *p)
{
    struct topic *t = topic_by_id(s->bus, p->topic_id, s->process);

    if (t && (access_may(&s->who, &t->access, ACCESS_SUBSCRIBE) ||
              access_may(&s->who, &t->access, ACCESS_PUBLISH)))
        watch_ask(t);
}

void
request_handle(struct session *s, const union wire_any *packet)
{
    static int (*const handlers[WIRE_TYPES])(struct request *) = {
        [WIRE_HELLO] = hello,
        [WIRE_TOPIC_CREATE] = topic_create_request,
        [WIRE_TOPIC_REMOVE] = topic_remove_request,
        [WIRE_TOPIC_INFO] = topic_info,
        [WIRE_PUB_OPEN] = pub_open,
        [WIRE_PUB_CLOSE] = pub_close,
        [WIRE_SUB_OPEN] = sub_open,
        [WIRE_SUB_CLOSE] = sub_close,
        [WIRE_SUB_REMOVE] = sub_remove,
        [WIRE_LOG_OPEN] = log_open,
        [WIRE_POSITION] = position,
    };
    struct request q = {.s = s, .packet = packet, .fds = {-1, -1}, .opened = -1};

    if (packet->h.type == WIRE_RING) {
        if (s->hello)
            ring(s, &packet->ring);
        return;
    }
    wire_begin(&q.answer, sizeof q.answer, (enum wire_type)packet->h.type, packet->h.id);
    if (!s->hello && packet->h.type != WIRE_HELLO)
        q.answer.h.status = why_set(q.answer.text, -EPROTO, "HELLO comes first");
    else
        q.answer.h.status = handlers[packet->h.type](&q);
    if (q.answer.h.status)
        q.answer.fds = 0;
    TESTPOINT("request.done");
    if (wire_is_one_way(&packet->h))
        return;
    session_answer(s, &q.answer, q.fds);
    TESTPOINT("request.answered");
    if (q.opened >= 0)
        close(q.opened);
}
