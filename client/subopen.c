/* Opening, moving and closing a subscription: what is not on the data path. */
#include "client/client.h"

#include <stdlib.h>
#include <string.h>

#include "shm/name.h"
#include "shm/testpoint.h"

#define OWED_MOST 32

/* --- attach ----------------------------------------------------------------------------------- */

static void
bury(struct leat_bus *bus, const struct leat__answer *a)
{
    struct leat__grave grave = {.type = WIRE_SUB_CLOSE,
                                .topic_id = a->a.topic_id,
                                .generation = a->a.generation,
                                .index = a->a.index};

    leat__bury(bus, &grave);
}

static int
ask_cursor(struct leat_bus *bus, struct wire_sub_open *request, bool create,
           struct leat__answer *ret)
{
    int r = leat__ask(bus, request, ret);

    if (r == -ENOENT && create) {
        r = leat__topic_make(bus, request->topic);
        if (!r)
            r = leat__ask(bus, request, ret);
    }
    if (!r)
        TESTPOINT("sub.attached");
    return r;
}

/* The cursor that an answer brought becomes the subscription's. */
static void
take_cursor(struct leat_sub *s, const struct leat__answer *a, uint32_t kind)
{
    const struct ring_view *v = &s->map.view;

    s->index = a->a.index;
    s->generation = a->a.generation;
    atom_store_relaxed(&s->word, s->generation << 8 | (uint64_t)kind << 4 | RING_CURSOR_LIVE);
    s->word_at = s->gating ? ring_cursor_word(v, s->index) : &s->word;
    s->ring.line = ring_cursor(v, s->index);
    /* Below the ring there is only the log, which is for the durable. */
    ring_reader_set(&s->ring, s->durable ? a->a.seq : shm_max(a->a.seq, ring_oldest(v)));
    s->floor = s->ring.next;
    s->posted = a->a.seq;
    s->woke = a->a.seq;
    s->plain_until = 0;
    s->attached = true;
}

/* --- options ---------------------------------------------------------------------------------- */

static int
check(struct leat_bus *bus, const struct leat_sub_options *o)
{
    const char *wrong = o->name ? shm_sub_name_check(o->name) : NULL;

    if (o->flags & ~LEAT_CREATE)
        return leat__fail(bus, -E2BIG, "leat_sub_options.flags 0x%x: unknown", o->flags);
    if (wrong)
        return leat__fail(bus, -EINVAL, "subscription name '%.64s' %s", o->name, wrong);
    if (o->kind > LEAT_DURABLE || o->start > LEAT_LAST_N || o->wait > LEAT_WAIT_SLEEP ||
        o->durable_only > 1)
        return leat__fail(
            bus, -EINVAL,
            "leat_sub_options: kind %u (0 to 2), start %u (0 to 4), wait %u (0 to 2), "
            "durable_only %u (0, 1)",
            o->kind, o->start, o->wait, o->durable_only);
    if (o->name && o->kind == LEAT_GATING)
        return leat__fail(bus, -EINVAL,
                          "a named subscription is LEAT_DURABLE; '%s' asks for LEAT_GATING",
                          o->name);
    return 0;
}

static void
to_wire(const char *topic, const struct leat_sub_options *o, struct wire_sub_open *ret)
{
    wire_begin(ret, sizeof *ret, WIRE_SUB_OPEN, 0);
    memcpy(ret->topic, topic, strlen(topic) + 1);
    if (o->name)
        memcpy(ret->name, o->name, strlen(o->name) + 1);
    ret->kind = o->name ? RING_KIND_DURABLE : o->kind;
    ret->start = o->start;
    ret->value = o->start_value;
}

/* --- open ------------------------------------------------------------------------------------- */

static int
set_up(struct leat_sub *s, const struct leat_sub_options *o, const struct leat__answer *a,
       uint32_t kind)
{
    const struct ring_geometry *g = &s->map.view.geo;

    if (o->durable_only && g->durability != RING_DISK)
        return leat__fail(s->bus, -EINVAL,
                          "durable_only: topic '%s' is a memory topic (durability)", s->map.name);
    s->gating = kind == RING_KIND_GATING;
    s->durable = kind == RING_KIND_DURABLE;
    s->named = o->name != NULL;
    s->durable_only = o->durable_only;
    s->fenced = s->bus->fenced || g->barrier == SHM_BARRIER_BOTH;
    s->wait = (uint8_t)o->wait;
    s->acked = a->a.floor;
    s->owed_most = (uint32_t)shm_max(1, shm_min(OWED_MOST, g->depth / 16));
    s->ring.view = s->map.view;
    s->counts = s->gating ? calloc(g->depth, 1) : NULL;
    if (s->gating && !s->counts)
        return leat__fail(s->bus, -ENOMEM, "no memory for a subscriber");
    take_cursor(s, a, kind);
    s->from_log = s->durable && leat__should_leave_ring(s);
    return 0;
}

/* One attempt: -ESTALE when a daemon that started meanwhile has taken the cursor back. */
static int
open_once(struct leat_sub *s, struct wire_sub_open *request, const struct leat_sub_options *o)
{
    struct leat__answer answer;
    int r = ask_cursor(s->bus, request, o->flags & LEAT_CREATE, &answer);

    if (r)
        return r;
    r = leat__map_open(s->bus, &answer, LEAT__SUBSCRIBE, &s->map);
    if (!r) {
        r = ring_cursor_claim(&s->map.view, answer.a.index, answer.a.generation);
        if (!r)
            r = set_up(s, o, &answer, request->kind);
        if (r) {
            ring_cursor_return(&s->map.view, answer.a.index, answer.a.generation);
            leat__map_close(&s->map);
        }
    }
    if (r && r != -ESTALE)
        bury(s->bus, &answer);
    return r;
}

static int
open_sub(struct leat_sub *s, const char *topic, const struct leat_sub_options *o)
{
    struct wire_sub_open request;
    int r = -ESTALE;

    to_wire(topic, o, &request);
    for (int attempt = 0; attempt < LEAT__ATTEMPTS && r == -ESTALE; attempt++)
        r = open_once(s, &request, o);
    return r == -ESTALE ? leat__fail(s->bus, -ECONNREFUSED, "the daemon started %d times meanwhile",
                                     LEAT__ATTEMPTS)
                        : r;
}

static void
free_sub(struct leat_sub *s)
{
    free(s->counts);
    free(s);
}

int
leat_sub_open(leat_bus *bus, const char *topic, const struct leat_sub_options *options,
              leat_sub **ret)
{
    struct leat_sub_options o;
    struct leat_sub *s;
    int r;

    if (!bus || !ret)
        return -EINVAL;
    if (!leat__alive(bus->life))
        return -ECHILD;
    r = leat__topic_name(bus, topic);
    if (r)
        return r;
    r = leat__options(&o, sizeof o, options);
    if (r)
        return leat__fail(bus, r, "leat_sub_options: %s", leat_strerror(r));
    r = check(bus, &o);
    if (r)
        return r;
    s = leat__new(sizeof *s);
    if (!s)
        return leat__fail(bus, -ENOMEM, "no memory for a subscriber");
    s->bus = bus;
    s->life = bus->life;
    s->replay.fd = -1;
    r = open_sub(s, topic, &o);
    if (r) {
        free_sub(s);
        return r;
    }
    pthread_mutex_lock(&bus->lock);
    s->next = bus->subs;
    s->link = &bus->subs;
    if (s->next)
        s->next->link = &s->next;
    bus->subs = s;
    leat__unlock(bus);
    *ret = s;
    return 0;
}

/* --- seek ------------------------------------------------------------------------------------- */

/* The sequence number at a time is the daemon's to find: it has the log's index. */
static int
ask_position(struct leat_sub *s, const struct leat_position *to, uint64_t *ret)
{
    struct leat__answer answer;
    struct wire_position request;
    int r;

    wire_begin(&request, sizeof request, WIRE_POSITION, 0);
    request.topic_id = s->map.topic_id;
    request.start = to->start;
    request.value = to->value;
    r = leat__ask(s->bus, &request, &answer);
    if (r)
        return r;
    leat__close_fds(answer.fds);
    *ret = answer.a.seq;
    return 0;
}

static int
find_position(struct leat_sub *s, const struct leat_position *to, uint64_t *ret)
{
    uint64_t first = ring_oldest(&s->map.view), log, seq;
    uint64_t tail = atom_load_acquire(ring_tail(&s->map.view)); /* acquire: CLAIM */
    int r;

    log = atom_load_relaxed(&ring_daemon(&s->map.view)->log_first);
    if (s->durable && log)
        first = shm_min(first, log);
    switch (to->start) {
    case LEAT_LATEST:
        seq = tail;
        break;
    case LEAT_EARLIEST:
        seq = first;
        break;
    case LEAT_AT_SEQ:
        seq = to->value;
        break;
    case LEAT_LAST_N:
        seq = to->value < tail ? tail - to->value : 0;
        break;
    default:
        r = ask_position(s, to, &seq);
        if (r)
            return r;
    }
    *ret = shm_max(first, shm_min(seq, tail));
    return 0;
}

/* Moves a gating cursor. What is held stays protected; where publishers have been promised a place
 * already, it begins behind that. */
static int
seek_gating(struct leat_sub *s, uint64_t target)
{
    uint64_t pos = target;

    s->rewinds = s->held ? (uint8_t)(s->rewinds + (target < s->ring.next)) : 0;
    if (s->rewinds == UINT8_MAX)
        return leat__fail(s->bus, -ENOBUFS,
                          "topic '%s': release messages before seeking back again", s->map.name);
    if (s->held && target >= s->floor) {
        ring_reader_set(&s->ring, target);
        return 0;
    }
    ring_cursor_seek(&s->ring.view, s->index, &pos);
    TESTPOINT("sub.seeked");
    s->posted = pos;
    ring_reader_set(&s->ring, pos);
    if (s->held)
        s->floor = pos;
    return 0;
}

/* An evicted gating cursor is given up, and another asked for. The maps stay, and what is held in
 * them. */
static int
reattach(struct leat_sub *s, uint64_t target)
{
    struct leat__answer answer = {
        .a = {.topic_id = s->map.topic_id, .generation = s->generation, .index = s->index}};
    struct wire_sub_open request;
    int r;

    if (s->held)
        return leat__fail(
            s->bus, -EBUSY,
            "topic '%s': an evicted subscriber releases what it holds before it goes on",
            s->map.name);
    if (s->attached) {
        ring_cursor_return(&s->map.view, s->index, s->generation);
        bury(s->bus, &answer);
    }
    s->attached = false;
    wire_begin(&request, sizeof request, WIRE_SUB_OPEN, 0);
    memcpy(request.topic, s->map.name, strlen(s->map.name) + 1);
    request.kind = RING_KIND_GATING;
    request.start = WIRE_AT_SEQ;
    request.value = target;
    r = ask_cursor(s->bus, &request, false, &answer);
    if (r)
        return r;
    leat__close_fds(answer.fds);
    if (answer.a.topic_id != s->map.topic_id || answer.a.index >= s->map.view.geo.max_cursors) {
        bury(s->bus, &answer);
        return leat__fail(s->bus, -EIDRM, "topic '%s' was removed and made anew", s->map.name);
    }
    r = ring_cursor_claim(&s->map.view, answer.a.index, answer.a.generation);
    if (r)
        return leat__fail(s->bus, -ESTALE, "the daemon started meanwhile: seek again");
    take_cursor(s, &answer, RING_KIND_GATING);
    return 0;
}

int
leat_sub_seek(leat_sub *sub, const struct leat_position *to)
{
    uint64_t target;
    int r;

    if (!sub || !to)
        return -EINVAL;
    if (!leat__alive(sub->life))
        return -ECHILD;
    if (to->start > LEAT_LAST_N || to->reserved)
        return leat__fail(sub->bus, -EINVAL, "leat_position.start %u: 0 to 4", to->start);
    r = find_position(sub, to, &target);
    if (r)
        return r;
    sub->high = shm_max(sub->high, leat__sub_next(sub));
    if (atom_load_relaxed(sub->word_at) != atom_load_relaxed(&sub->word))
        r = reattach(sub, target);
    else if (sub->gating)
        r = seek_gating(sub, target);
    else
        ring_reader_set(&sub->ring, target);
    if (r)
        return r;
    leat__replay_stop(sub);
    sub->gap_lost = 0;
    sub->again_until = 0;
    sub->since = sub->ring.next;
    sub->plain_until = 0;
    sub->from_log = sub->durable && leat__should_leave_ring(sub);
    leat__sub_post(sub);
    if (sub->fd)
        leat__fd_poke(sub);
    return 0;
}

/* --- close ------------------------------------------------------------------------------------ */

static void
unlink_sub(struct leat_sub *s)
{
    *s->link = s->next;
    if (s->next)
        s->next->link = s->link;
}

leat_sub *
leat_sub_close(leat_sub *sub)
{
    struct leat__answer answer;

    if (!sub)
        return NULL;
    if (!leat__alive(sub->life)) {
        unlink_sub(sub);
        leat__fd_close(sub);
        leat__replay_end(sub);
        free_sub(sub);
        return NULL;
    }
    pthread_mutex_lock(&sub->bus->lock);
    unlink_sub(sub);
    leat__unlock(sub->bus);
    leat__sub_post(sub);
    leat__fd_close(sub);
    leat__replay_end(sub);
    answer.a.topic_id = sub->map.topic_id;
    answer.a.generation = sub->generation;
    answer.a.index = sub->index;
    if (sub->attached)
        ring_cursor_return(&sub->map.view, sub->index, sub->generation);
    leat__map_close(&sub->map);
    TESTPOINT("sub.unmapped");
    if (sub->attached)
        bury(sub->bus, &answer);
    free_sub(sub);
    return NULL;
}

int
leat_sub_remove(leat_bus *bus, const char *topic, const char *name)
{
    struct leat__answer answer;
    struct wire_sub_remove request;
    const char *wrong;
    int r;

    if (!bus)
        return -EINVAL;
    if (!leat__alive(bus->life))
        return -ECHILD;
    r = leat__topic_name(bus, topic);
    if (r)
        return r;
    wrong = name ? shm_sub_name_check(name) : "is NULL";
    if (wrong)
        return leat__fail(bus, -EINVAL, "subscription name '%.64s' %s", name ? name : "", wrong);
    wire_begin(&request, sizeof request, WIRE_SUB_REMOVE, 0);
    memcpy(request.topic, topic, strlen(topic) + 1);
    memcpy(request.name, name, strlen(name) + 1);
    r = leat__ask(bus, &request, &answer);
    if (!r)
        leat__close_fds(answer.fds);
    return r;
}
