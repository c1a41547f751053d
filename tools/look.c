#include "tools/look.h"

#include <string.h>

#include "tools/facts.h"
#include "tools/table.h"

/* More slots than this are not all looked at every half second. The newest ones always are: claims in flight are
 * among them. */
#define LOOK_ALL (1u << 18)

/* A later lap has come while we look: then the tail is ahead of it. */
static bool
may_be_lapped(const struct ring_view *v, uint64_t stamp, uint64_t seq)
{
    uint64_t there = ring_stamp_seq(stamp);

    return !((there - seq) & v->mask) &&
           there < atom_load_acquire(ring_tail(v)); /* acquire: CLAIM */
}

static void
see(struct look *l, struct look_cell *cell, const struct ring_view *v, uint64_t seq)
{
    uint64_t stamp = atom_load_acquire(&ring_slot(v, seq)->stamp); /* acquire: COMMIT */
    int64_t diff = ring_stamp_diff(stamp, seq);

    if (seq >= l->tail) {
        cell->empty++;
        return;
    }
    if (ring_stamp_is_message(stamp, seq) || (diff > 7 && may_be_lapped(v, stamp, seq))) {
        cell->messages++;
        return;
    }
    if (diff == RING_ABORTED) {
        cell->aborted++;
        return;
    }
    if (diff != RING_BUSY &&
        (diff >= 0 || !ring_diff_is_final(ring_stamp_diff(stamp, seq - v->geo.depth)))) {
        cell->bad++;
        return;
    }
    cell->flight++;
    if (l->flights < LOOK_FLIGHT_MAX)
        l->flight[l->flights++] = (struct look_flight){seq, diff == RING_BUSY};
}

static void
see_cell(struct look *l, struct look_cell *cell, const struct ring_view *v)
{
    uint64_t end = cell->first + cell->slots, step;

    for (uint64_t q = cell->first; q < end; q += step) {
        step = l->all.first + l->all.slots - q > LOOK_ALL ? l->stride : 1;
        see(l, cell, v, q);
    }
    l->all.messages += cell->messages;
    l->all.aborted += cell->aborted;
    l->all.flight += cell->flight;
    l->all.empty += cell->empty;
    l->all.bad += cell->bad;
}

static void
look_words(const struct ring_view *v, struct look *l)
{
    const struct ring_control *c = ring_control(v);
    const struct ring_daemon *d = ring_daemon(v);

    l->sleep = atom_load_relaxed(&c->sleep);
    l->space = atom_load_relaxed(&c->space);
    l->durable_wait = atom_load_relaxed(&c->durable_wait);
    l->ack_bell = atom_load_relaxed(&c->ack_bell);
    l->bell_seq = atom_load_relaxed(&c->bell_seq);
    l->cursor_epoch = atom_load_relaxed(&c->cursor_epoch);
    l->durable = atom_load_acquire(&d->durable); /* acquire: DURABLE */
    l->state = atom_load_acquire(&d->state);     /* acquire: TOPIC_STATE */
    l->daemon_pid = atom_load_relaxed(&d->pid);
    l->incarnation = atom_load_relaxed(&d->incarnation);
    l->flushes = atom_load_relaxed(&d->flushes);
    l->log_errors = atom_load_relaxed(&d->log_errors);
    memcpy(l->reason, d->reason, sizeof l->reason);
    l->reason[sizeof l->reason - 1] = 0;
    facts_scrub(l->reason);
}

void
look_take(const struct ring_view *v, unsigned cells, struct look *ret)
{
    struct look *l = ret;
    uint64_t depth = v->geo.depth;

    *l = (struct look){.stride = depth > LOOK_ALL ? depth / LOOK_ALL : 1};
    look_words(v, l);
    l->gate = ring_gate(v, &l->gate_who);
    l->tail = atom_load_acquire(ring_tail(v)); /* acquire: CLAIM */
    if (l->tail < v->geo.origin || l->tail >> 60) {
        l->damage = "the tail is out of range";
        return;
    }
    cells = cells > LOOK_CELLS_MAX ? LOOK_CELLS_MAX : cells ? cells : 1;
    l->cells = (unsigned)shm_min(cells, depth);
    l->low = l->tail - v->geo.origin > depth ? l->tail - depth : v->geo.origin;
    l->all.first = l->low;
    l->all.slots = depth;
    for (unsigned i = 0; i < l->cells; i++) {
        uint64_t from = l->all.slots * i / l->cells, to = l->all.slots * (i + 1) / l->cells;
        l->cell[i].first = l->low + from;
        l->cell[i].slots = to - from;
        see_cell(l, &l->cell[i], v);
    }
    if (l->all.bad)
        l->damage = "a slot's stamp belongs to no lap that can be";
}

unsigned
look_cell_of(const struct look *l, uint64_t seq)
{
    unsigned i = 0;

    while (i + 1 < l->cells && seq >= l->cell[i + 1].first)
        i++;
    return i;
}

static json_t *
cell_json(const struct look_cell *c)
{
    json_t *o = json_object();

    (void)json_object_set_new(o, "first", table_u64(c->first));
    (void)json_object_set_new(o, "slots", table_u64(c->slots));
    (void)json_object_set_new(o, "messages", table_u64(c->messages));
    (void)json_object_set_new(o, "aborted", table_u64(c->aborted));
    (void)json_object_set_new(o, "in_flight", table_u64(c->flight));
    (void)json_object_set_new(o, "never_used", table_u64(c->empty));
    return o;
}

static json_t *
event_json(uint32_t word)
{
    return json_pack("{s:i, s:b}", "sequence", (int)(word >> 1), "armed", (int)(word & 1));
}

static json_t *
words_json(const struct look *l)
{
    json_t *o = json_object();

    (void)json_object_set_new(o, "sleep", event_json(l->sleep));
    (void)json_object_set_new(o, "space", event_json(l->space));
    (void)json_object_set_new(o, "durable_wait", event_json(l->durable_wait));
    (void)json_object_set_new(o, "ack_bell_armed", json_boolean(l->ack_bell));
    (void)json_object_set_new(o, "bell_armed", json_boolean(l->bell_seq != RING_BELL_OFF));
    (void)json_object_set_new(o, "bell_seq",
                              l->bell_seq == RING_BELL_OFF ? json_null() : table_u64(l->bell_seq));
    (void)json_object_set_new(o, "cursor_epoch", table_u64(l->cursor_epoch));
    return o;
}

json_t *
look_json(const struct look *l)
{
    json_t *o = json_object(), *cells = json_array(), *flights = json_array();

    for (unsigned i = 0; i < l->cells; i++)
        (void)json_array_append_new(cells, cell_json(&l->cell[i]));
    for (unsigned i = 0; i < l->flights; i++)
        (void)json_array_append_new(flights,
                                    json_pack("{s:o, s:s}", "seq", table_u64(l->flight[i].seq),
                                              "state", l->flight[i].stamped ? "busy" : "claimed"));
    (void)json_object_set_new(o, "damage", l->damage ? json_string(l->damage) : json_null());
    (void)json_object_set_new(o, "low", table_u64(l->low));
    (void)json_object_set_new(o, "tail", table_u64(l->tail));
    (void)json_object_set_new(o, "durable", table_u64(l->durable));
    (void)json_object_set_new(o, "gate",
                              l->gate_who == UINT32_MAX ? json_null() : table_u64(l->gate));
    (void)json_object_set_new(o, "gate_cursor",
                              l->gate_who == UINT32_MAX ? json_null() : table_u64(l->gate_who));
    (void)json_object_set_new(o, "stride", table_u64(l->stride));
    (void)json_object_set_new(o, "all", cell_json(&l->all));
    (void)json_object_set_new(o, "cells", cells);
    (void)json_object_set_new(o, "in_flight", flights);
    (void)json_object_set_new(o, "words", words_json(l));
    (void)json_object_set_new(o, "daemon",
                              json_pack("{s:o, s:o, s:o, s:o}", "pid", table_u64(l->daemon_pid),
                                        "incarnation", table_hex(l->incarnation), "flushes",
                                        table_u64(l->flushes), "log_errors",
                                        table_u64(l->log_errors)));
    return o;
}

const char *
look_state_name(uint64_t stamp)
{
    static const char *const names[] = {"EMPTY", "BUSY", "COMMITTED", "INNER", "ABORTED"};
    uint32_t state = ring_stamp_state(stamp);

    return state < 5 ? names[state] : "no such state";
}

void
look_raw(const struct ring_view *v, uint64_t seq, struct look_raw *ret)
{
    struct ring_slot *s = ring_slot(v, seq);
    uint32_t len, publisher;

    *ret = (struct look_raw){.seq = seq, .index = seq & v->mask};
    ret->offset = v->geo.slots + (ret->index << v->shift);
    ret->stamp = atom_load_acquire(&s->stamp); /* acquire: COMMIT */
    atom_copy_out(ret->bytes, (const atom_u64 *)(const void *)s, v->geo.slot_size);
    ret->torn = atom_load_after_reads(&s->stamp) != ret->stamp;
    memcpy(&ret->time_ns, ret->bytes + offsetof(struct ring_slot, time_ns), 8);
    memcpy(&ret->key, ret->bytes + offsetof(struct ring_slot, key), 8);
    memcpy(&ret->meta, ret->bytes + offsetof(struct ring_slot, meta), 8);
    memcpy(&ret->lane_pos, ret->bytes + offsetof(struct ring_slot, payload), 8);
    len = (uint32_t)(ret->meta >> 32);
    publisher = ret->meta & 0xffff;
    ret->sound = publisher < v->geo.max_publishers && len <= ring_payload_max(v);
    if (!ret->sound || len <= ring_inline_max(v))
        return;
    /* What is copied from there is copied in words. */
    ret->sound = !(ret->lane_pos % 64) &&
                 shm_within(ret->lane_pos & (v->geo.lane_size - 1), len, v->geo.lane_size) &&
                 atom_load_acquire(&ring_entry(v, publisher)->lane) == 1; /* acquire: LANE */
    ret->lane_offset =
        v->geo.lanes + publisher * v->geo.lane_size + (ret->lane_pos & (v->geo.lane_size - 1));
}
