#include "tests/crash/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 1, 2))) static const char *
wrong(const char *format, ...)
{
    static char text[256];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return text;
}

void
truth_start(struct truth *t, const struct world *w)
{
    memset(t, 0, sizeof *t);
    t->origin = w->view.geo.origin;
}

static const char *
note(struct truth *t, uint64_t seq, uint32_t id)
{
    uint64_t i = seq - t->origin;

    if (i >= TRUTH_PLACES)
        return wrong("place %" PRIu64 " is far outside the order", seq);
    if (t->order[i] == TRUTH_ABORTED && id != TRUTH_ABORTED)
        return wrong("place %" PRIu64 " was aborted and is message %u", seq, id);
    if (t->order[i] && t->order[i] != id && id == TRUTH_ABORTED)
        return wrong("place %" PRIu64 " was message %u and is aborted", seq, t->order[i]);
    if (t->order[i] && t->order[i] != id)
        return wrong("place %" PRIu64 " was message %u and is message %u", seq, t->order[i], id);
    t->order[i] = id;
    return NULL;
}

static uint32_t
known(const struct truth *t, uint64_t seq)
{
    return seq - t->origin < TRUTH_PLACES ? t->order[seq - t->origin] : 0;
}

static uint64_t
tail_of(const struct world *w)
{
    return atom_load_relaxed(ring_tail(&w->view));
}

/* Numbers [from, to) were passed over without a word: all of them must have been aborted. */
static const char *
pass_over(const struct world *w, struct truth *t, uint64_t from, uint64_t to)
{
    const char *bad = NULL;

    for (uint64_t q = from; !bad && q < to; q++) {
        uint64_t stamp = atom_load_relaxed(&ring_slot(&w->view, q)->stamp);
        if (stamp == ring_stamp(q, RING_ABORTED))
            bad = note(t, q, TRUTH_ABORTED);
        else if (known(t, q) != TRUTH_ABORTED)
            bad =
                wrong("place %" PRIu64 " is passed over in silence (message %u, stamp %" PRIx64 ")",
                      q, known(t, q), stamp);
    }
    return bad;
}

/* A message in place: whole, and what others have seen there. */
static const char *
note_message(const struct world *w, struct truth *t, const struct ring_msg *m)
{
    bool is_whole = world_is_whole(m->data, m->key, m->len);

    if (ring_validate(&w->view, m))
        return wrong("place %" PRIu64 " was overwritten with nobody there", m->seq);
    if (!is_whole)
        return wrong("message %" PRIu64 " at place %" PRIu64 " is not whole", m->key >> 16, m->seq);
    return note(t, m->seq, (uint32_t)(m->key >> 16));
}

/* The lowest place whose bytes somebody holds. */
static uint64_t
held_from(const struct world *w)
{
    uint32_t who;
    uint64_t gate = ring_gate(&w->view, &who);

    return who == UINT32_MAX ? UINT64_MAX : gate;
}

/* A new reader reads all from `from` on. With `quiet` it has to get to the tail, and whoever gates has been told where he
 * begins. */
static const char *
read_from(const struct world *w, struct truth *t, uint64_t from, bool quiet)
{
    struct ring_reader r = {.view = w->view};
    uint64_t at = from, held = quiet ? held_from(w) : UINT64_MAX;
    const char *bad = NULL;
    struct ring_msg m;
    int x;

    ring_reader_set(&r, from);
    while (!bad && (x = ring_receive(&r, &m)) != RING_NONE) {
        if (x < 0)
            return wrong("a reader at place %" PRIu64 " is told %s", at, strerror(-x));
        bad = pass_over(w, t, at, x == RING_GAP ? m.first : m.seq);
        if (!bad && x == RING_GAP && m.first + m.lost > held)
            bad = wrong("place %" PRIu64 " is gone, and was held", m.first + m.lost - 1);
        if (!bad && x == RING_MESSAGE)
            bad = note_message(w, t, &m);
        at = r.next;
    }
    if (!bad)
        bad = pass_over(w, t, at, quiet ? tail_of(w) : r.next);
    return bad;
}

static const char *
read_all(const struct world *w, struct truth *t, bool quiet)
{
    uint64_t tail = tail_of(w);
    const char *bad = NULL;

    for (uint64_t q = ring_oldest(&w->view); !bad && q <= tail; q++)
        bad = read_from(w, t, q, quiet);
    return bad;
}

static bool
is_whole(const struct seen *s)
{
    return s->len > sizeof s->data ? s->is_whole : world_is_whole(s->data, s->key, s->len);
}

/* What the actors were given by their own calls. */
static const char *
note_seen(struct world *w, struct truth *t)
{
    const char *bad = NULL;

    for (int i = 0; i < WORLD_ACTORS; i++) {
        const struct actor *a = &w->actors[i];
        for (uint32_t k = 0; !bad && k < a->seen_count; k++) {
            const struct seen *s = &a->seen[k];
            if (s->kind != SEEN_MESSAGE)
                continue;
            bad = is_whole(s) ? note(t, s->seq, (uint32_t)(s->key >> 16))
                              : wrong("a reader was given half of message %" PRIu64, s->key >> 16);
        }
    }
    return bad;
}

/* What was reported to be in the order. */
static const char *
note_sent(const struct world *w, struct truth *t)
{
    const char *bad = NULL;

    for (int i = 0; i < WORLD_ACTORS; i++) {
        const struct call *c = &w->actors[i].call;
        for (uint32_t k = 0; !bad && c->publishes && k < c->sent * c->n; k++)
            bad = note(t, c->first[k / c->n] + k % c->n, c->id + k);
    }
    return bad;
}

const char *
verify_look(struct world *w, struct truth *t)
{
    const char *bad = note_seen(w, t);

    if (!bad)
        bad = note_sent(w, t);

    return bad ? bad : read_all(w, t, false);
}

static uint32_t
entries_of(const struct world *w, uint32_t dead)
{
    uint32_t mask = 0;

    for (int i = 0; i < WORLD_ACTORS; i++)
        if (dead >> i & 1)
            mask |= (w->actors[i].publishes ? 1u << w->actors[i].index : 0) |
                    w->actors[i].call.left_entries;
    return mask;
}

static uint32_t
cursors_of(const struct world *w, uint32_t dead)
{
    uint32_t mask = 0;

    for (int i = 0; i < WORLD_ACTORS; i++)
        if (dead >> i & 1)
            mask |= (w->actors[i].subscribes ? 1u << w->actors[i].index : 0) |
                    w->actors[i].call.left_cursors;
    return mask;
}

const char *
verify_recover(struct world *w, uint32_t dead, bool *ret_open)
{
    uint32_t entries = entries_of(w, dead), cursors = cursors_of(w, dead);
    uint64_t scratch[WORLD_PUBLISHERS], aborted = 0;
    const struct ring_geometry *geo = &w->view.geo;
    int r = 1;

    for (uint32_t i = 0; i < geo->max_publishers; i++)
        if (entries >> i & 1)
            ring_entry_kill(&w->view, i);
    for (int pass = 0; pass < 4 && r == 1; pass++)
        r = ring_settle(&w->view, scratch, &aborted);
    if (r < 0)
        return wrong("settling is refused: %s", strerror(-r));
    for (uint32_t i = 0; !r && i < geo->max_publishers; i++)
        if (entries >> i & 1)
            ring_entry_free(&w->view, i);
    for (uint32_t i = 0; i < geo->max_cursors; i++)
        if (cursors >> i & 1)
            ring_cursor_free(&w->view, i);
    shm_event_bump(&ring_control(&w->view)->sleep);
    shm_event_bump(&ring_control(&w->view)->space);
    for (int i = 0; i < WORLD_ACTORS; i++)
        if (dead >> i & 1)
            w->actors[i].alive = false;
    *ret_open = r == 1;
    return NULL;
}

/* Where a message stands, UINT64_MAX: nowhere; complains when it stands twice. */
static uint64_t
place_of(const struct truth *t, uint32_t id, const char **bad)
{
    uint64_t place = UINT64_MAX;

    for (uint64_t i = 0; i < TRUTH_PLACES; i++) {
        if (t->order[i] != id)
            continue;
        if (place != UINT64_MAX)
            *bad = wrong("message %u stands at two places", id);
        place = t->origin + i;
    }
    return place;
}

static const char *
check_batch(const struct truth *t, const struct call *c, uint32_t round)
{
    uint32_t id = c->id + round * c->n;
    const char *bad = NULL;
    uint64_t first = place_of(t, id, &bad);

    if (bad)
        return bad;
    if (c->done && round >= c->sent && first != UINT64_MAX)
        return wrong("message %u was refused, and is there", id);
    for (uint32_t i = 1; !bad && i < c->n; i++) {
        uint64_t place = place_of(t, id + i, &bad);
        if (!bad && place != (first == UINT64_MAX ? first : first + i))
            bad =
                wrong("a batch is not whole: message %u is at %" PRIu64 ", message %u at %" PRIu64,
                      id, first, id + i, place);
    }
    return bad;
}

static const char *
check_call(const struct world *w, const struct truth *t, const struct actor *a)
{
    const struct call *c = &a->call;
    const char *bad = NULL;

    if (!c->publishes)
        return a->alive && c->done && c->result < 0
                   ? wrong("actor %d is told %s", (int)(a - w->actors), strerror(-c->result))
                   : NULL;
    for (uint32_t i = 0; !bad && i < world_rounds(c); i++)
        bad = check_batch(t, c, i);
    return bad;
}

/* Only messages that somebody was told to send. */
static const char *
check_strangers(const struct world *w, const struct truth *t)
{
    for (uint64_t i = 0; i < TRUTH_PLACES; i++)
        if (t->order[i] != TRUTH_ABORTED && t->order[i] >= w->next_id)
            return wrong("message %u was never sent", t->order[i]);
    return NULL;
}

/* Whether the subscriber's cursor has held publishers back all the time. */
static bool
holds(const struct world *w, const struct actor *a)
{
    uint64_t word = atom_load_relaxed(ring_cursor_word(&w->view, a->index));

    return a->gates && w->view.geo.when_full == RING_BLOCK &&
           ring_cursor_state_of(word) == RING_CURSOR_LIVE;
}

/* Each number a subscriber was told, in order, from where it stood. */
static const char *
account(struct world *w, struct truth *t, struct actor *a)
{
    const char *bad = NULL;

    for (uint32_t k = 0; !bad && k < a->seen_count; k++) {
        const struct seen *s = &a->seen[k];
        if (s->seq < a->told)
            return wrong("a reader was given place %" PRIu64 " again", s->seq);
        if (s->kind != SEEN_MESSAGE && holds(w, a))
            return wrong("a gating reader lost place %" PRIu64, s->seq);
        bad = pass_over(w, t, a->told, s->seq);
        a->told = s->seq + (s->kind == SEEN_GAP ? s->lost : 1);
    }
    a->seen_count = 0;
    if (!bad)
        bad = pass_over(w, t, a->told, a->reader.next);
    a->told = a->reader.next;
    return bad;
}

const char *
verify_drain(struct world *w, struct truth *t, struct actor *a)
{
    const char *bad = note_seen(w, t);

    if (!bad)
        bad = account(w, t, a);
    for (int i = 0; !bad && i < 4 * WORLD_DEPTH; i++) {
        a->call = (struct call){.n = WORLD_SEEN};
        call_receive(a);
        if (a->call.result)
            return wrong("a reader is told %s", strerror(-a->call.result));
        if (!a->seen_count && a->reader.next == a->told)
            break;
        bad = note_seen(w, t);
        if (!bad)
            bad = account(w, t, a);
    }
    /* The log writer says how far it is where no subscriber can write. */
    if (a->gates && w->view.geo.durability == RING_DISK)
        atom_store_release(&ring_daemon(&w->view)->durable,
                           a->reader.next - 1); /* release: DURABLE */
    if (!bad && a->reader.next != tail_of(w))
        bad = wrong("a reader stays at place %" PRIu64 ", the tail is %" PRIu64, a->reader.next,
                    tail_of(w));
    return bad;
}

/* The ring by its own check, and more: nothing may be in the making. */
static const char *
check_ring(const struct world *w)
{
    struct ring_report report;
    uint32_t who;
    uint64_t gate;

    if (ring_check(&w->view, &report))
        return wrong("%s (%" PRIu64 ")", report.what, report.where);
    if (report.busy || report.missing || report.intents)
        return wrong("%" PRIu64 " busy, %" PRIu64 " missing, %u intents are left behind",
                     report.busy, report.missing, report.intents);
    gate = ring_gate(&w->view, &who);
    if (report.tail - gate > WORLD_DEPTH)
        return wrong("cursor %u at %" PRIu64 " was overrun, the tail is %" PRIu64, who, gate,
                     report.tail);
    return NULL;
}

/* A subscriber that the daemon has attached becomes one that is looked after. */
static void
adopt(struct world *w)
{
    struct actor *a = &w->actors[S2];
    const struct call *c = &w->actors[D0].call;

    if (!w->actors[D0].alive || !c->attaches || !c->done || a->subscribes)
        return;
    a->subscribes = true;
    a->gates = c->kind == RING_KIND_GATING && !w->shape.overwrite;
    a->index = c->target;
    a->told = c->pos;
    a->reader = (struct ring_reader){.view = w->view, .line = ring_cursor(&w->view, c->target)};
    ring_reader_set(&a->reader, c->pos);
}

const char *
verify_quiet(struct world *w, struct truth *t)
{
    const char *bad = check_ring(w);

    adopt(w);
    if (!bad)
        bad = note_seen(w, t);
    if (!bad)
        bad = note_sent(w, t);
    if (!bad)
        bad = read_all(w, t, true);
    for (int i = 0; !bad && i < WORLD_ACTORS; i++)
        bad = check_call(w, t, &w->actors[i]);
    if (!bad)
        bad = check_strangers(w, t);
    for (int i = 0; !bad && i < WORLD_ACTORS; i++)
        if (w->actors[i].subscribes && w->actors[i].alive)
            bad = account(w, t, &w->actors[i]);
    return bad;
}

int
verify_publish(struct world *w, struct truth *t, enum world_actor who, const uint32_t *len)
{
    struct actor *a = &w->actors[who];
    uint32_t n = 0;

    a->call = (struct call){.publishes = true};
    for (; n < WORLD_BATCH && len[n]; n++)
        a->call.len[n] = len[n];
    a->call.n = n;
    world_number(w, a);
    call_send(a);
    for (uint32_t i = 0; !a->call.result && i < n; i++)
        if (note(t, a->call.first[0] + i, a->call.id + i))
            return -EEXIST;
    return a->call.result;
}

static const char *
revive(struct world *w)
{
    for (int i = 0; i < WORLD_ACTORS; i++) {
        struct actor *a = &w->actors[i];
        if (a->alive)
            continue;
        if (a->publishes && world_join(a, a->index))
            return wrong("nobody can follow publisher %u", a->index);
        if (a->subscribes)
            world_subscribe(a, a->index, a->gates ? RING_KIND_GATING : RING_KIND_LIVE,
                            ring_oldest(&w->view));
        a->alive = true;
    }
    return NULL;
}

/* What a publisher does next: little, a bit of everything, or it fills its lane. */
enum load { LITTLE, MIXED, LONG };
#define LOAD_CALLS 5
static const uint32_t loads[][LOAD_CALLS][WORLD_BATCH] = {
    [LITTLE] = {{8}},
    [MIXED] = {{8, 40, 1}, {1000}, {32, 33}, {900, 200, 31}, {7}},
    [LONG] = {{1000}, {1000}, {1000}, {1000}, {8, 40, 1}},
};

/* Each publisher publishes until it is held back, or has made all calls. Counts those that could not publish at
 * all. */
static const char *
publish_all(struct world *w, struct truth *t, enum load load, int *ret_held)
{
    *ret_held = 0;
    for (int i = 0; i < WORLD_ACTORS; i++) {
        int done = 0, r = 0;
        if (!w->actors[i].publishes)
            continue;
        for (; done < LOAD_CALLS && loads[load][done][0] && !r; done++)
            r = verify_publish(w, t, (enum world_actor)i, loads[load][done]);
        if (r && r != -EAGAIN)
            return wrong("publisher %d is told %s", i, strerror(-r));
        *ret_held += r && done == 1;
    }
    return NULL;
}

static const char *
drain_all(struct world *w, struct truth *t)
{
    const char *bad = NULL;

    for (int i = 0; !bad && i < WORLD_ACTORS; i++)
        if (w->actors[i].subscribes)
            bad = verify_drain(w, t, &w->actors[i]);
    return bad;
}

const char *
verify_go_on(struct world *w, struct truth *t)
{
    const char *bad = revive(w);
    int held = 0;

    if (!bad)
        bad = publish_all(w, t, LONG, &held);
    if (!bad)
        bad = verify_quiet(w, t);
    for (int round = 0; !bad && round < 4; round++) {
        bad = drain_all(w, t);
        if (!bad)
            bad = publish_all(w, t, LITTLE, &held);
        if (!bad && held)
            bad = wrong("%d publishers are held back by nobody", held);
        if (!bad)
            bad = publish_all(w, t, MIXED, &held);
        if (!bad)
            bad = verify_quiet(w, t);
    }
    return bad ? bad : drain_all(w, t);
}
