#include "ring/ring_private.h"

#include <errno.h>

static int
found(struct ring_report *r, const char *what, uint64_t where)
{
    r->what = what;
    r->where = where;
    return -EBADMSG;
}

/* Limits and positions are read before the tail: each was at most what the tail then was (plus depth). */
static int
check_lines(const struct ring_view *v, struct ring_report *r, uint64_t *ret_most)
{
    uint64_t most = 0;

    for (uint32_t i = 0; i < v->geo.max_publishers; i++) {
        uint64_t state = atom_load_acquire(&ring_entry(v, i)->state); /* acquire: ENTRY */
        uint64_t intent = atom_load_acquire(
            &ring_line(v, i)->intent); /* acquire: INTENT; acquire: INTENT_CLEAR */
        uint32_t n = ring_intent_count(intent);
        if (state > RING_ENTRY_DEAD)
            return found(r, "a publisher entry's state is unknown", i);
        if (intent && (!n || n > v->geo.depth / 2))
            return found(r, "an intent's count cannot be", i);
        r->publishers += state == RING_ENTRY_LIVE;
        r->intents += intent != 0;
        most = shm_max(most, atom_load_seq(&ring_line(v, i)->limit)); /* seq: ATTACH */
    }
    *ret_most = most;
    return 0;
}

static int
check_cursors(const struct ring_view *v, struct ring_report *r, uint64_t *ret_most)
{
    uint64_t most = 0;

    for (uint32_t i = 0; v->control && i < v->geo.max_cursors; i++) {
        uint64_t word = atom_load_acquire(ring_cursor_word(v, i)); /* acquire: CURSOR_STATE */
        if (ring_cursor_state_of(word) > RING_CURSOR_EVICTED ||
            ring_cursor_kind_of(word) > RING_KIND_LOG)
            return found(r, "a cursor's state is unknown", i);
        if (ring_cursor_state_of(word) == RING_CURSOR_FREE)
            continue;
        r->cursors++;
        most = shm_max(most, atom_load_acquire(&ring_cursor(v, i)->pos)); /* acquire: CURSOR */
    }
    *ret_most = most;
    return 0;
}

static int
check_slot(const struct ring_view *v, struct ring_report *r, uint64_t seq)
{
    struct ring_slot *s = ring_slot(v, seq);
    uint64_t stamp = atom_load_acquire(&s->stamp); /* acquire: COMMIT */
    int64_t diff = ring_stamp_diff(stamp, seq);
    int64_t before = ring_stamp_diff(stamp, seq - v->geo.depth);

    if (diff > 7) { /* lapped while we look, if that can be */
        uint64_t there = ring_stamp_seq(stamp);
        uint64_t tail = atom_load_acquire(ring_tail(v)); /* acquire: CLAIM */
        if (((there - seq) & v->mask) || there >= tail)
            return found(r, "a slot's stamp is ahead of the tail, or in the wrong slot", seq);
        return 0;
    }
    if (ring_stamp_is_message(stamp, seq)) {
        uint64_t meta = atom_load_relaxed(&s->meta), pos = atom_load_relaxed(&s->payload[0]);
        if (atom_load_after_reads(&s->stamp) == stamp && !ring__meta_is_sound(v, meta, pos))
            return found(r, "a message's length, publisher or lane position cannot be", seq);
        r->committed++;
    } else if (diff == RING_ABORTED) {
        r->aborted++;
    } else if (diff == RING_BUSY) {
        r->busy++;
    } else if (diff < 0 && ring_diff_is_final(before)) {
        r->missing++;
    } else {
        return found(r, "a slot's stamp belongs to no lap that can be", seq);
    }
    return 0;
}

int
ring_check(const struct ring_view *v, struct ring_report *ret)
{
    struct ring_report r = {0};
    uint64_t limit = 0, pos = 0;
    int x = check_lines(v, &r, &limit);

    if (!x)
        x = check_cursors(v, &r, &pos);
    r.tail = atom_load_acquire(ring_tail(v)); /* acquire: CLAIM */
    /* Of the same tail, so that the walk has an end whatever happens to it meanwhile. */
    r.oldest = r.tail > v->geo.origin + v->geo.depth ? r.tail - v->geo.depth : v->geo.origin;
    if (!x && (r.tail < v->geo.origin || r.tail >> 60))
        x = found(&r, "the tail is out of range", r.tail);
    if (!x && limit > r.tail + v->geo.depth)
        x = found(&r, "a publisher's limit is more than a lap ahead of the tail", limit);
    if (!x && pos > r.tail)
        x = found(&r, "a cursor stands ahead of the tail", pos);
    for (uint64_t q = shm_min(r.oldest, r.tail); !x && q < r.tail; q++)
        x = check_slot(v, &r, q);
    *ret = r;
    return x;
}
