/* seq.h - sequence numbers and stamps. A stamp is a sequence number and a state in one word; all arithmetic is
 * modulo 2^64, so that "one lap before the first" needs no special case. */
#ifndef RING_SEQ_H
#define RING_SEQ_H

#include <stdbool.h>
#include <stdint.h>

#define RING_STATE_BITS 3

static inline uint64_t
ring_stamp(uint64_t seq, uint32_t state)
{
    return seq << RING_STATE_BITS | state;
}

/* How far a stamp is from EMPTY of `seq`: negative: an earlier lap; 0 to 7: this one, and the state; 8 and more:
 * a later lap. */
static inline int64_t
ring_stamp_diff(uint64_t stamp, uint64_t seq)
{
    return (int64_t)(stamp - (seq << RING_STATE_BITS));
}

static inline uint32_t
ring_stamp_state(uint64_t stamp)
{
    return (uint32_t)(stamp & 7);
}

static inline uint64_t
ring_stamp_seq(uint64_t stamp)
{
    return stamp >> RING_STATE_BITS;
}

/* A message stands here for this sequence number: COMMITTED (2) or INNER (3). */
static inline bool
ring_stamp_is_message(uint64_t stamp, uint64_t seq)
{
    return (stamp >> 1) == (seq << 2 | 1);
}

/* The slot's owner of this sequence number has finished: anything but BUSY. */
static inline bool
ring_diff_is_final(int64_t diff)
{
    return diff == 0 || (diff >= 2 && diff <= 4);
}

#endif
