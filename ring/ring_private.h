/* ring_private.h - what the files of ring/ share and nobody else sees. */
#ifndef RING_RING_PRIVATE_H
#define RING_RING_PRIVATE_H

#include "ring/ring.h"
#include "shm/testpoint.h"

/* How many slots ahead of its own a publisher asks for the line (measured: 8 hides the transfer when the
 * cores are near and costs nothing when they are far). */
#define RING_AHEAD 8

/* Looks at all cursors again and publishes the new limit, by the attach hand-shake. When they do not stand
 * still, there is no room for now (limit 0). */
void ring__refresh(struct ring_publisher *p);

/* Whether a piece of `len` bytes can be reserved now, after giving up what is done. */
bool ring__lane_fits(struct ring_publisher *p, uint64_t len);

/* The slot's length, type and publisher in one word, so that they are read at once. */
static inline uint64_t
ring__meta(uint32_t len, uint16_t type, uint16_t publisher)
{
    return (uint64_t)len << 32 | (uint64_t)type << 16 | publisher;
}

/* What `claimed` says while an entry or a cursor is handed out and its owner does not know yet. */
static inline uint64_t
ring__unclaimed(uint64_t generation)
{
    return generation << 1;
}

/* Whether what a slot says of its payload lies within the topic. */
bool ring__meta_is_sound(const struct ring_view *v, uint64_t meta, uint64_t lane_pos);

#endif
