/* After a death: the orphan rule (I4), as in tests/model/claim.pml (daemon).
 *
 *   1. who lives      entries                       acquire: ENTRY
 *   2. tail                                         acquire: CLAIM
 *   3. intents of all others                        acquire: INTENT, INTENT_CLEAR
 *   4. stamps                                       acquire: COMMIT
 *
 * in this order. A slot below the tail of step 2 that step 4 finds unstamped was claimed by an intent that either stood
 * in step 3 or belonged to one who was dead in step 1: had it been withdrawn after the last stamp, step 4 would see the
 * stamp. So what no living intent covers is nobody's, and becomes ABORTED by CAS from the stamp that was judged.
 *
 * A dead one's batch may have inner slots stamped and its first not (batches are stamped from the back). They are aborted
 * with it, from the back to the front and the first slot last, so that readers, who come in order, see all of the
 * batch or nothing. A run of orphans and INNER slots behind an orphan belongs to the dead from end to end: the tail was never
 * inside a batch, so a living intent that covered an inner slot would cover the first one too. */
#include "ring/ring_private.h"

#include <errno.h>

struct pass {
    struct ring_view *v;
    uint64_t first, tail; /* the slots that are judged */
    /* What the living claim of them, ascending: offset from first on in the upper half, offset of the end in the lower. */
    const uint64_t *claims;
    uint32_t count, at; /* those before `at` begin where the pass is or earlier, */
    uint64_t reach;     /* and the furthest of them ends here */
    uint64_t aborted;
    bool open; /* somebody is still at work */
};

/* Keeps of the intents what concerns the slots from first to tail, in their order: the pass then looks at each claim once,
 * however many there are and however often they are said to lie elsewhere. */
static void
sort_claims(struct pass *s, uint64_t *intents)
{
    int64_t most = (int64_t)(s->tail - s->first);

    for (uint32_t i = 0; i < s->v->geo.max_publishers; i++) {
        uint64_t w = intents[i], claim;
        int64_t from = (int64_t)(ring_intent_seq(w, s->tail) - s->first);
        int64_t to = from + ring_intent_count(w);
        uint32_t at = s->count;

        if (!w || from >= most || to <= 0)
            continue;
        claim = (from > 0 ? (uint64_t)from : 0) << 32 | (uint64_t)(to < most ? to : most);
        for (; at && intents[at - 1] > claim; at--)
            intents[at] = intents[at - 1];
        intents[at] = claim;
        s->count++;
    }
    s->claims = intents;
}

/* Asked for ascending numbers only. */
static bool
is_covered(struct pass *s, uint64_t seq)
{
    uint64_t off = seq - s->first;

    for (; s->at < s->count && s->claims[s->at] >> 32 <= off; s->at++)
        s->reach = shm_max(s->reach, s->claims[s->at] & 0xffffffff);
    return off < s->reach;
}

enum judgement { FINAL, INNER, COVERED, ORPHAN, IMPOSSIBLE };

/* What the stamp alone says: ORPHAN if no claim covers the slot. */
static enum judgement
look(const struct pass *s, uint64_t seq, uint64_t *ret_stamp)
{
    uint64_t stamp = atom_load_acquire(&ring_slot(s->v, seq)->stamp); /* acquire: COMMIT */
    int64_t diff = ring_stamp_diff(stamp, seq), before;

    *ret_stamp = stamp;
    if (diff == RING_INNER)
        return INNER;
    if (diff >= RING_COMMITTED)
        return FINAL;
    before = ring_stamp_diff(stamp, seq - s->v->geo.depth);
    return diff == RING_BUSY || ring_diff_is_final(before) ? ORPHAN : IMPOSSIBLE;
}

static enum judgement
judge(struct pass *s, uint64_t seq)
{
    uint64_t stamp;
    enum judgement j = look(s, seq, &stamp);

    return j == ORPHAN && is_covered(s, seq) ? COVERED : j;
}

static void
abort_slot(struct pass *s, uint64_t seq)
{
    uint64_t stamp;

    if (look(s, seq, &stamp) == FINAL)
        return;
    /* release: COMMIT */
    if (atom_cas_acq_rel(&ring_slot(s->v, seq)->stamp, stamp, ring_stamp(seq, RING_ABORTED)))
        s->aborted++;
    else
        s->open = true;
    TESTPOINT("ring.aborted");
}

/* `first` is an orphan: aborts the run it begins, back to front; returns where the run ends. */
static uint64_t
abort_run(struct pass *s, uint64_t first)
{
    uint64_t end = first + 1;

    for (; end < s->tail; end++) {
        enum judgement j = judge(s, end);
        if (j != ORPHAN && j != INNER)
            break;
    }
    for (uint64_t q = end; q-- > first;)
        abort_slot(s, q);
    return end;
}

int
ring_settle(struct ring_view *v, uint64_t *scratch, uint64_t *ret_aborted)
{
    struct pass s = {.v = v};
    uint32_t n = v->geo.max_publishers;
    uint64_t q;

    for (uint32_t i = 0; i < n; i++)
        scratch[i] = atom_load_acquire(&ring_entry(v, i)->state); /* acquire: ENTRY */
    s.tail = atom_load_acquire(ring_tail(v));                     /* acquire: CLAIM */
    for (uint32_t i = 0; i < n; i++)
        /* acquire: INTENT; acquire: INTENT_CLEAR */
        scratch[i] =
            scratch[i] == RING_ENTRY_DEAD ? 0 : atom_load_acquire(&ring_line(v, i)->intent);
    if (s.tail < v->geo.origin || s.tail >> 60)
        return -EBADMSG;
    q = s.tail > v->geo.origin + v->geo.depth ? s.tail - v->geo.depth : v->geo.origin;
    s.first = q;
    sort_claims(&s, scratch);
    while (q < s.tail) {
        switch (judge(&s, q)) {
        case ORPHAN:
            q = abort_run(&s, q);
            break;
        case COVERED:
            s.open = true;
            q++;
            break;
        case IMPOSSIBLE:
            return -EBADMSG;
        default:
            q++;
        }
    }
    *ret_aborted = s.aborted;
    return s.open;
}

void
ring_entry_take(struct ring_view *v, uint32_t i, const struct ring_owner *owner)
{
    struct ring_entry *e = ring_entry(v, i);

    e->pid = owner->pid;
    e->uid = owner->uid;
    e->start = owner->start;
    e->since_ns = owner->since_ns;
    e->generation++;
    atom_store_relaxed(&ring_line(v, i)->claimed, ring__unclaimed(e->generation));
    TESTPOINT("ring.entry_filled");
    atom_store_release(&e->state, RING_ENTRY_LIVE); /* release: ENTRY */
    TESTPOINT("ring.entry_live");
}

void
ring_entry_kill(struct ring_view *v, uint32_t i)
{
    atom_store_release(&ring_entry(v, i)->state, RING_ENTRY_DEAD); /* release: ENTRY */
    TESTPOINT("ring.entry_dead");
}

void
ring_entry_free(struct ring_view *v, uint32_t i)
{
    struct ring_line *line = ring_line(v, i);

    atom_store_relaxed(&line->blocked_ns, 0);
    atom_store_release(&line->intent, 0); /* release: INTENT_CLEAR */
    TESTPOINT("ring.entry_cleared");
    atom_store_release(&ring_entry(v, i)->state, RING_ENTRY_FREE); /* release: ENTRY */
    TESTPOINT("ring.entry_free");
}

/* A word is the owner's or the daemon's, whoever came first; one that has been handed to somebody else meanwhile
 * is of another generation. */
static bool
settle_claim(atom_u64 *claimed, uint64_t generation, uint64_t as)
{
    /* release: CLAIMED; acquire: CLAIMED */
    bool won = atom_cas_acq_rel(claimed, ring__unclaimed(generation), as);

    TESTPOINT("ring.claim_settled");
    return won;
}

static int
claim(atom_u64 *claimed, uint64_t generation)
{
    return settle_claim(claimed, generation, ring__unclaimed(generation) | 1) ? 0 : -ESTALE;
}

static void
give_back(atom_u64 *claimed, uint64_t generation)
{
    uint64_t word = ring__unclaimed(generation);

    (void)atom_cas_acq_rel(claimed, word | 1, word); /* release: CLAIMED */
    TESTPOINT("ring.given_back");
}

/* A daemon may have died after it forsook and before it freed: the place is nobody's already. */
static bool
forsake(atom_u64 *claimed, uint64_t generation)
{
    return settle_claim(claimed, generation, RING_FORSAKEN) ||
           atom_load_acquire(claimed) == RING_FORSAKEN; /* acquire: CLAIMED */
}

int
ring_entry_claim(struct ring_view *v, uint32_t i, uint64_t generation)
{
    return claim(&ring_line(v, i)->claimed, generation);
}

int
ring_cursor_claim(struct ring_view *v, uint32_t i, uint64_t generation)
{
    return claim(&ring_cursor(v, i)->claimed, generation);
}

void
ring_entry_return(struct ring_view *v, uint32_t i, uint64_t generation)
{
    give_back(&ring_line(v, i)->claimed, generation);
}

void
ring_cursor_return(struct ring_view *v, uint32_t i, uint64_t generation)
{
    give_back(&ring_cursor(v, i)->claimed, generation);
}

bool
ring_entry_forsake(struct ring_view *v, uint32_t i)
{
    return forsake(&ring_line(v, i)->claimed, ring_entry(v, i)->generation);
}

bool
ring_cursor_forsake(struct ring_view *v, uint32_t i)
{
    uint64_t word = atom_load_acquire(ring_cursor_word(v, i)); /* acquire: CURSOR_STATE */

    return forsake(&ring_cursor(v, i)->claimed, ring_cursor_generation_of(word));
}
