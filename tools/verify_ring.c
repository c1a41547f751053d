#include "tools/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "shm/testpoint.h"
#include "tools/table.h"

/* A publisher in the middle of a claim looks like one that died there: it is looked at again, after a while. */
#define LOOKS 5
#define BETWEEN_MS 2
/* A daemon that makes a topic gives it its name first and its header last; room for a large one takes a while. */
#define MAKE_LOOKS 50

static json_t *
report_json(const struct ring_view *v, const struct ring_report *r)
{
    json_t *o = json_object();

    (void)json_object_set_new(o, "depth", table_u64(v->geo.depth));
    (void)json_object_set_new(o, "oldest", table_u64(r->oldest));
    (void)json_object_set_new(o, "tail", table_u64(r->tail));
    (void)json_object_set_new(o, "messages", table_u64(r->committed));
    (void)json_object_set_new(o, "aborted", table_u64(r->aborted));
    (void)json_object_set_new(o, "in_flight", table_u64(r->busy + r->missing));
    (void)json_object_set_new(o, "publishers", table_u64(r->publishers));
    (void)json_object_set_new(o, "cursors", table_u64(r->cursors));
    return o;
}

static void
check(struct verify *v, const struct place_ring *ring)
{
    const struct ring_view *view = &ring->view;
    struct verify_where where = {.file = ring->name};
    struct ring_report report = {0};
    uint64_t state;
    int r = 0;

    for (int i = 0; i < LOOKS; i++) {
        r = ring_check(view, &report);
        if (!r && !(report.busy + report.missing))
            break;
        (void)poll(NULL, 0, BETWEEN_MS);
    }
    state = atom_load_acquire(&ring_daemon(view)->state); /* acquire: TOPIC_STATE */
    if (place_cut())
        return;
    (void)json_object_set_new(v->report, "ring", report_json(view, &report));
    where.seq = report.where;
    if (r)
        verify_found(v, VERIFY_DAMAGED, &where, "%s",
                     report.what ? report.what : "it contradicts itself");
    else if (report.busy + report.missing && !v->alive)
        verify_found(v, VERIFY_CUT, NULL,
                     "%" PRIu64 " places in the ring were claimed and are not finished: the daemon "
                     "settles them when it starts",
                     report.busy + report.missing);
    where.seq = 0;
    if (state == RING_TOPIC_DAMAGED)
        verify_found(v, VERIFY_DAMAGED, &where, "the daemon has set it aside: %.255s",
                     ring_daemon(view)->reason);
    else if (state > RING_TOPIC_LOG_FAILED)
        verify_found(v, VERIFY_DAMAGED, &where, "its state is unknown: %" PRIu64, state);
}

/* In a copy nothing will come any more. */
static int
open_made(const struct verify *v, struct place_ring *ret)
{
    int r = place_ring_open(v->place, v->topic, ret);

    for (int i = 0; i < MAKE_LOOKS && r == -EBADMSG && ret->unmade && !v->place->directory; i++) {
        (void)poll(NULL, 0, BETWEEN_MS);
        r = place_ring_open(v->place, v->topic, ret);
    }
    return r;
}

/* Why there is no ring to be checked. */
static void
not_open(struct verify *v, const struct place_ring *ring, int r)
{
    struct verify_where where = {.file = ring->name};

    if (place_cut())
        verify_found(v, VERIFY_BLIND, &where, "it was cut short while it was looked at");
    else if (r == -EBADMSG && ring->unmade && !v->place->directory)
        verify_found(v, VERIFY_CUT, &where,
                     "it has no header: it is being made or removed, or the daemon takes it away "
                     "when it starts");
    else if (r == -EBADMSG)
        verify_found(v, VERIFY_DAMAGED, &where,
                     "it is not the memory of this topic, or its header is damaged");
    else if (r == -EPROTONOSUPPORT)
        verify_found(v, VERIFY_BLIND, &where, "it has version %u, this program knows %u",
                     ring->version, SHM_VERSION);
    else
        verify_found(v, VERIFY_BLIND, &where, "%s", strerror(-r));
}

int
verify_ring(struct verify *v)
{
    const struct verify before = *v;
    struct place_ring ring;
    struct verify_where where = {.file = ring.name};
    int r = open_made(v, &ring);

    if (r == -ENOENT)
        return r;
    if (r) {
        not_open(v, &ring, r);
        return 0;
    }
    TESTPOINT("verify.mapped");
    if (ring.twice)
        verify_found(v, VERIFY_BLIND, &where,
                     "there are other copies of this topic's memory beside this one, which were "
                     "not looked at");
    v->has_ring = true;
    v->alive = !v->place->directory && place_alive(&ring.view);
    v->ring_id = ring_header(&ring.view)->topic_id;
    v->topic_id = v->ring_id;
    if (ring.view.geo.durability == RING_DISK)
        v->durable = atom_load_acquire(&ring_daemon(&ring.view)->durable); /* acquire: DURABLE */
    check(v, &ring);
    place_ring_close(&ring);
    /* Then nothing that was read is known to have been there. */
    if (place_cut()) {
        *v = before;
        (void)json_array_clear(json_object_get(v->report, "findings"));
        (void)json_object_del(v->report, "ring");
        not_open(v, &ring, 0);
    }
    return 0;
}

/* Any publisher can write all of it, cut it short, or take its header away: what it says is believed only when the log has
 * gone too, which is removed first, or is another topic's. */
static bool
is_log_gone(const struct verify *v)
{
    char folder[PATH_MAX], path[PATH_MAX + 8];
    struct log_topic t;
    void *file;
    uint64_t size;

    if (place_log(v->place, v->topic, folder))
        return true;
    (void)snprintf(path, sizeof path, "%s/topic", folder);
    if (verify_read(path, 1u << 16, &file, &size))
        return false;
    memset(&t, 0, sizeof t);
    memcpy(&t, file, size < sizeof t ? size : sizeof t);
    free(file);
    return !log_topic_check(&t, size) && t.topic_id != v->ring_id;
}

static bool
is_removed(const struct ring_view *view, uint64_t id)
{
    return ring_header(view)->topic_id != id || atom_load_acquire(&ring_daemon(view)->state) ==
                                                    RING_TOPIC_REMOVED; /* acquire: TOPIC_STATE */
}

bool
verify_removed(const struct verify *v)
{
    struct place_ring ring;
    bool removed;
    int r;

    if (!v->has_ring || v->place->directory)
        return false;
    r = place_ring_open(v->place, v->topic, &ring);
    if (r)
        return r == -ENOENT || (r == -EBADMSG && ring.unmade && is_log_gone(v));
    removed = is_removed(&ring.view, v->ring_id) && is_log_gone(v);
    place_ring_close(&ring);
    return removed;
}
