/* limits.h - every fixed limit of the system, each with its reason. Geometry has no compile-time
 * limit but these outer bounds; what a topic really has stands in its header. */
#ifndef SHM_LIMITS_H
#define SHM_LIMITS_H

/* A topic name and ".control" and the bus's prefix fit in NAME_MAX (255). */
#define LIMIT_TOPIC_NAME 200
#define LIMIT_SHM_PREFIX 40
/* A subscription name stands in its cursor line. */
#define LIMIT_SUB_NAME 63

/* A slot ring of 8 to 2^24 slots: below, a batch would fill it; above, one settling pass after a death,
 * which looks at each slot once, would take longer than the 10 ms the project promises. */
#define LIMIT_DEPTH_MIN 8
#define LIMIT_DEPTH_MAX (1u << 24)
#define LIMIT_SLOT_MIN 64
#define LIMIT_SLOT_MAX 256

/* A lane holds at least a page, and at most 4 GiB, because the length of a message is 32 bits. */
#define LIMIT_LANE_MIN 4096
#define LIMIT_LANE_MAX (4ull << 30)

/* A slot names its publisher in 16 bits. */
#define LIMIT_PUBLISHERS 4096
#define LIMIT_CURSORS 4096

/* The intent word packs a sequence number's low 48 bits with a 16-bit count. */
#define LIMIT_BATCH 65535

/* The longest sleep in one piece: bounds the harm of a process that was stopped between claiming a wake-up
 * and delivering it. */
#define LIMIT_SLEEP_NS 100000000ll

#endif
