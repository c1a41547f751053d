/* look.h - one look at a ring: its slots in order, gathered in cells, and the words beside them. Read-only, bounded,
 * and safe against any content: a view that ring_join has accepted. One thread. */
#ifndef TOOLS_LOOK_H
#define TOOLS_LOOK_H

#include <jansson.h>

#include "ring/ring.h"

#define LOOK_CELLS_MAX 400
#define LOOK_FLIGHT_MAX 64

/* Slots [first, first + slots) of the order. */
struct look_cell {
    uint64_t first, slots;
    uint64_t messages, aborted, flight, empty, bad;
};

/* A place that has been claimed and is not finished. */
struct look_flight {
    uint64_t seq;
    bool stamped; /* BUSY: its publisher has begun to write */
};

struct look {
    const char *damage; /* NULL, or what cannot be; the rest may then be incomplete */
    uint64_t low,
        tail; /* the ring holds at most [low, tail); before its first lap is full it has room behind */
    uint64_t durable, gate;
    uint32_t gate_who; /* the cursor that is at the gate; UINT32_MAX: none gates */
    uint64_t stride;   /* only every so many slots were looked at */
    unsigned cells;
    struct look_cell cell[LOOK_CELLS_MAX];
    struct look_cell all;
    unsigned flights;
    struct look_flight flight[LOOK_FLIGHT_MAX]; /* the oldest ones */
    uint32_t sleep, space, durable_wait, ack_bell;
    uint64_t bell_seq, cursor_epoch;
    uint64_t daemon_pid, incarnation, flushes, log_errors, state;
    char reason[256];
};

/* look_take looks, into at most `cells` cells. */
void look_take(const struct ring_view *v, unsigned cells, struct look *ret);

/* look_cell_of says which cell a sequence number falls into; those outside fall into the nearest. */
unsigned look_cell_of(const struct look *l, uint64_t seq);

/* look_json is everything as JSON. */
json_t *look_json(const struct look *l);

/* look_raw describes one slot as words and bytes. */
struct look_raw {
    uint64_t seq;    /* asked for */
    uint64_t index;  /* of the slot */
    uint64_t offset; /* in the data object */
    uint64_t stamp, time_ns, key, meta, lane_pos;
    uint64_t lane_offset; /* of the payload in the data object; 0: inline */
    bool torn;            /* it changed while it was copied */
    bool sound;           /* length, publisher and lane position can be */
    unsigned char bytes[LIMIT_SLOT_MAX];
};
void look_raw(const struct ring_view *v, uint64_t seq, struct look_raw *ret);

/* look_state_name names a stamp's state. */
const char *look_state_name(uint64_t stamp);

#endif
