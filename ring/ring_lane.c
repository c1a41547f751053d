#include "ring/ring_private.h"

#include <errno.h>

#define LANE_GRAIN 64

/* Whether the oldest piece may be given up: its message, if it has one, is behind every gate. */
static bool
is_done(const struct ring_publisher *p, const struct ring_piece *piece)
{
    return piece->seq != RING_PIECE_OPEN && piece->seq < p->gate;
}

/* Where `need` contiguous bytes would begin if taken at the head. */
static uint64_t
place(const struct ring_publisher *p, uint64_t need)
{
    uint64_t size = p->view.geo.lane_size, off = p->lane_head & (size - 1);

    return off + need > size ? p->lane_head + (size - off) : p->lane_head;
}

/* Gives up done pieces from the oldest on until [low, end) fits the lane and a piece is free, and a sixteenth
 * of the lane beyond, because readers share the line where `reclaimed` stands. */
static void
reclaim(struct ring_publisher *p, uint64_t end)
{
    uint64_t size = p->view.geo.lane_size, low = p->lane_low;

    while (p->piece_first != p->piece_next) {
        const struct ring_piece *oldest = &p->pieces[p->piece_first & p->pieces_mask];
        if (end - low <= size - size / 16 && p->piece_next - p->piece_first <= p->pieces_mask / 2)
            break;
        if (!is_done(p, oldest))
            break;
        low = oldest->end;
        p->piece_first++;
    }
    if (p->piece_first == p->piece_next)
        low = p->lane_head;
    if (low == p->lane_low)
        return;
    p->lane_low = low;
    /* LANE_REUSE: seen by any reader before the first byte that is written over. */
    atom_store_before_writes(&p->line->reclaimed, low);
    TESTPOINT("ring.reclaimed");
}

static bool
fits(const struct ring_publisher *p, uint64_t end)
{
    return end - p->lane_low <= p->view.geo.lane_size &&
           p->piece_next - p->piece_first <= p->pieces_mask;
}

bool
ring__lane_fits(struct ring_publisher *p, uint64_t len)
{
    uint64_t need = shm_align(len ? len : 1, LANE_GRAIN), end = place(p, need) + need;

    if (fits(p, end))
        return true;
    reclaim(p, end);
    if (!fits(p, end)) {
        ring__refresh(p);
        reclaim(p, end);
    }
    return fits(p, end);
}

int
ring_reserve(struct ring_publisher *p, uint64_t len, struct ring_span *ret)
{
    uint64_t need = shm_align(len ? len : 1, LANE_GRAIN), start;
    struct ring_piece *piece;

    if (len > ring_payload_max(&p->view))
        return -EMSGSIZE;
    if (!ring__lane_fits(p, len))
        return -EAGAIN;
    start = place(p, need);
    piece = &p->pieces[p->piece_next & p->pieces_mask];
    piece->end = start + need;
    piece->seq = RING_PIECE_OPEN;
    p->lane_head = piece->end;
    /* Before the bytes are used, so that whoever inherits the lane after a death begins behind them. */
    atom_store_relaxed(&p->line->lane_head, piece->end);
    TESTPOINT("ring.reserved");
    ret->data = p->lane + (start & (p->view.geo.lane_size - 1));
    ret->pos = start;
    ret->piece = p->piece_next++;
    return 0;
}

void
ring_abandon(struct ring_publisher *p, const struct ring_span *span)
{
    p->pieces[span->piece & p->pieces_mask].seq = RING_PIECE_FREE;
}
