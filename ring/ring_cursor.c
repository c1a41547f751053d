/* Cursors, and the hand-shake between one that begins to gate and publishers that hold a cached limit. The steps and their order
 * are those of tests/model/attach.pml. */
#include "ring/ring_private.h"

#include <string.h>

static uint64_t
word_of(uint64_t generation, enum ring_cursor_kind kind, enum ring_cursor_state state)
{
    return generation << 8 | (uint64_t)kind << 4 | (uint64_t)state;
}

static bool
gates(uint64_t word)
{
    uint32_t kind = ring_cursor_kind_of(word);

    return ring_cursor_state_of(word) == RING_CURSOR_LIVE &&
           (kind == RING_KIND_GATING || kind == RING_KIND_LOG);
}

/* The log writer alone holds a disk topic's publishers, and says how far it is where no subscriber can write. */
static uint64_t
log_gate(const struct ring_view *v)
{
    return atom_load_acquire(&ring_daemon(v)->durable) + 1; /* acquire: DURABLE */
}

static uint64_t
cursors_gate(const struct ring_view *v, uint64_t gate, uint32_t *ret_who)
{
    for (uint32_t i = 0; v->geo.when_full == RING_BLOCK && i < v->geo.max_cursors; i++) {
        uint64_t pos, word = atom_load_acquire(ring_cursor_word(v, i)); /* acquire: CURSOR_STATE */
        if (!gates(word))
            continue;
        pos = atom_load_acquire(&ring_cursor(v, i)->pos); /* acquire: CURSOR */
        if (*ret_who == UINT32_MAX || pos < gate)
            *ret_who = i;
        gate = shm_min(gate, pos);
    }
    return gate;
}

uint64_t
ring_gate(const struct ring_view *v, uint32_t *ret_who)
{
    uint64_t gate = atom_load_acquire(ring_tail(v)); /* acquire: CLAIM */
    uint32_t who = v->geo.durability == RING_DISK ? 0 : UINT32_MAX;

    gate =
        v->geo.durability == RING_DISK ? shm_min(gate, log_gate(v)) : cursors_gate(v, gate, &who);
    if (ret_who)
        *ret_who = who;
    return gate;
}

/* The cursor's position stands and is seen by every publisher that looks from now on. Those that looked before have said
 * how far they may go: their old limits are the first place that is safe. A limit above tail + depth is a lie. A limit that was shown
 * and then not used may be too high, so the answer is never above `held`, a place that nobody was ever allowed
 * to overwrite. */
static uint64_t
shake(struct ring_view *v, struct ring_cursor *line, uint64_t pos, uint64_t held)
{
    uint64_t depth = v->geo.depth, most = 0, tail;

    atom_add_seq(&ring_control(v)->cursor_epoch, 1); /* seq: ATTACH */
    TESTPOINT("ring.epoch");
    for (uint32_t i = 0; i < v->geo.max_publishers; i++)
        most = shm_max(most, atom_load_seq(&ring_line(v, i)->limit)); /* seq: ATTACH */
    tail = atom_load_acquire(ring_tail(v));                           /* acquire: CLAIM */
    /* A lowered limit hides what was claimed under the higher one; the tail does not. */
    most = shm_min(shm_max(most, tail), tail + depth);
    if (most > depth && most - depth > pos)
        pos = shm_min(most - depth, held);
    atom_store_release(&line->pos, pos); /* release: CURSOR */
    return pos;
}

void
ring_cursor_attach(struct ring_view *v, uint32_t i, enum ring_cursor_kind kind,
                   const struct ring_owner *owner, uint64_t *pos)
{
    struct ring_cursor *line = ring_cursor(v, i);
    atom_u64 *word = ring_cursor_word(v, i);
    uint64_t generation = ring_cursor_generation_of(atom_load_relaxed(word)) + 1;
    bool gating = kind == RING_KIND_GATING || kind == RING_KIND_LOG;

    /* The line of a free cursor still says what its last owner acknowledged: never under another name. */
    atom_store_relaxed(&line->acked, 0);
    atom_compiler_barrier();
    memset(line->name, 0, sizeof line->name);
    if (owner->name)
        memcpy(line->name, owner->name, strnlen(owner->name, LIMIT_SUB_NAME));
    line->pid = owner->pid;
    line->uid = owner->uid;
    line->start = owner->start;
    line->since_ns = owner->since_ns;
    line->start_pos = *pos;
    atom_store_relaxed(&line->received, 0);
    atom_store_relaxed(&line->lost, 0);
    atom_store_relaxed(&line->waits, 0);
    atom_store_relaxed(&line->stale, 0);
    atom_store_relaxed(&line->claimed, ring__unclaimed(generation));
    atom_compiler_barrier();
    atom_store_relaxed(&line->acked, *pos);
    atom_store_seq(&line->pos, *pos); /* seq: ATTACH; release: CURSOR */
    TESTPOINT("ring.cursor_pos");
    /* seq: ATTACH; release: CURSOR_STATE */
    atom_store_seq(word, word_of(generation, kind, RING_CURSOR_LIVE));
    TESTPOINT("ring.cursor_live");
    if (gating)
        *pos = shake(v, line, *pos, UINT64_MAX);
}

/* Whether the daemon can have written this word for cursor `i` of this topic. */
static bool
is_possible(const struct ring_view *v, uint32_t i, uint64_t word)
{
    bool disk = v->geo.durability == RING_DISK;

    if (ring_cursor_state_of(word) > RING_CURSOR_EVICTED)
        return false;
    switch (ring_cursor_kind_of(word)) {
    case RING_KIND_LIVE:
        return true;
    case RING_KIND_GATING:
        return !disk && v->geo.when_full == RING_BLOCK;
    case RING_KIND_DURABLE:
        return disk;
    case RING_KIND_LOG:
        return disk && !i;
    default:
        return false;
    }
}

uint64_t
ring_cursor_repair(struct ring_view *v, uint32_t i)
{
    struct ring_cursor *line = ring_cursor(v, i);
    uint64_t word = atom_load_acquire(ring_cursor_word(v, i)); /* acquire: CURSOR_STATE */
    uint64_t pos = atom_load_acquire(&line->pos);              /* acquire: CURSOR */
    uint64_t tail = atom_load_acquire(ring_tail(v));           /* acquire: CLAIM */
    uint64_t good = shm_min(pos, tail);

    if (!is_possible(v, i, word)) {
        word &= ~255ull;
        atom_store_release(ring_cursor_word(v, i), word); /* release: CURSOR_STATE */
    }
    /* Publishers go no further than a lap ahead of one that gates. */
    if (gates(word) && tail > v->geo.depth)
        good = shm_max(good, tail - v->geo.depth);
    /* Its owner may be at work, and knows better. */
    if (good != pos)
        (void)atom_cas_acq_rel(&line->pos, pos, good); /* release: CURSOR */
    return word;
}

void
ring_cursor_evict(struct ring_view *v, uint32_t i)
{
    atom_u64 *word = ring_cursor_word(v, i);
    uint64_t w = atom_load_relaxed(word);

    atom_store_release(word, (w & ~15ull) | RING_CURSOR_EVICTED); /* release: CURSOR_STATE */
    TESTPOINT("ring.cursor_evicted");
}

void
ring_cursor_free(struct ring_view *v, uint32_t i)
{
    atom_u64 *word = ring_cursor_word(v, i);
    uint64_t w = atom_load_relaxed(word);

    atom_store_release(word, (w & ~15ull) | RING_CURSOR_FREE); /* release: CURSOR_STATE */
    TESTPOINT("ring.cursor_free");
}

void
ring_cursor_seek(struct ring_view *v, uint32_t i, uint64_t *pos)
{
    struct ring_cursor *line = ring_cursor(v, i);
    uint64_t held = shm_max(atom_load_relaxed(&line->pos), *pos);

    atom_store_seq(&line->pos, *pos); /* seq: ATTACH; release: CURSOR */
    TESTPOINT("ring.seek_pos");
    if (gates(atom_load_acquire(ring_cursor_word(v, i)))) /* acquire: CURSOR_STATE */
        *pos = shake(v, line, *pos, held);
}
