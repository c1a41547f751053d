/* stress_body.h - what all stress tests of the ring do: some publish, some receive, and every byte, every place in the
 * order and every count is checked. The thin files say how many, how large, and whether as threads or as processes.
 *
 * Workers never assert: what they find is written into memory that all share, and the test that started
 * them reads it.
 */
#ifndef TESTS_STRESS_STRESS_BODY_H
#define TESTS_STRESS_STRESS_BODY_H

#include <sys/types.h>

#include "tests/support/fixture.h"

#define STRESS_WORKERS 8
#define STRESS_TEXT 200

/* A publisher's messages of one life: its entry can have many lives. */
#define STRESS_LIFE_BITS 24
#define STRESS_LIVES 4096

/* A batch of the longest fits half a lane: what does not fit an empty lane would wait for ever. */
struct stress_plan {
    uint32_t publishers;
    uint32_t readers;
    enum ring_when_full when_full;
    uint64_t messages; /* of each publisher */
    uint64_t depth;
    uint64_t lane_size;
    uint32_t slot_size;
    uint32_t len_max;
    uint32_t batch_max;
};

struct stress_worker {
    atom_u64 failed; /* release: text stands */
    char text[STRESS_TEXT];
    atom_u64 done;      /* publisher: messages acknowledged; reader: messages delivered */
    atom_u64 lost;      /* told as gaps */
    atom_u64 stale;     /* found overwritten after they were copied */
    atom_u64 hash;      /* of (seq, publisher, its sequence), in the order received */
    atom_u64 waits;     /* times it slept */
    atom_u64 timeouts;  /* sleeps that nobody ended */
    uint8_t apart[128]; /* from the next worker */
};

struct stress_shared {
    struct stress_worker publishers[STRESS_WORKERS];
    struct stress_worker readers[STRESS_WORKERS];
    atom_u64 end; /* readers stop when they come here; 0: not known yet */
    atom_u64 stop;
    atom_u64 acked[STRESS_WORKERS]
                  [STRESS_LIVES];               /* messages that a life was told are in the order */
    atom_u64 got[STRESS_WORKERS][STRESS_LIVES]; /* messages of it that reader 0 was given */
    uint64_t seen_room;
    atom_u64 seen[]; /* seq - origin -> key + 1, by whichever reader came first */
};

struct stress {
    struct stress_plan plan;
    struct fixture f;
    struct stress_shared *shared;
    uint64_t shared_size;
    uint64_t seed;
};

/* stress_make makes the ring, cursors for all readers, and entries for all publishers; `room` is for how many messages
 * the order is remembered. */
int stress_make(struct stress *s, const struct stress_plan *plan, uint64_t room);
void stress_destroy(struct stress *s);

/* Workers. A publisher lives its `life` (0: the first) until it has sent `messages` (0: until stopped). A reader reads
 * from `from` until the end; one that gates must see no gap. */
void stress_publish(struct stress *s, uint16_t index, uint32_t life, uint64_t messages);
void stress_receive(struct stress *s, uint32_t index, uint64_t from, bool gates);

/* stress_tell_the_end tells readers that all are through and nothing comes behind the tail of now. */
void stress_tell_the_end(struct stress *s);

/* stress_threads and stress_processes run the whole plan: true, or false with what was wrong printed. */
bool stress_threads(const struct stress_plan *plan);
bool stress_processes(const struct stress_plan *plan);

/* stress_fork runs a worker in a process of its own; it ends with 0. */
pid_t stress_fork(struct stress *s, void (*body)(struct stress *s, uint32_t index, uint64_t arg),
                  uint32_t index, uint64_t arg);

/* stress_passed says what the workers found wrong, if anything, and checks the counts of all. */
bool stress_passed(const struct stress *s);

#endif
