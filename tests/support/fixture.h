/* fixture.h - a ring in shared anonymous memory, publishers and cursors on it, numbers from a printed seed, and
 * payloads in which every byte can be checked.
 *
 * Nothing here asserts: functions return false or a negative errno, so that worker threads and child
 * processes may call them too.
 */
#ifndef TESTS_SUPPORT_FIXTURE_H
#define TESTS_SUPPORT_FIXTURE_H

#include "ring/ring.h"

/* --- numbers ------------------------------------------------------------------------------------ */

struct prng {
    uint64_t state;
};

/* fixture_seed is LEAT_SEED from the environment, else a new one; it is printed, once. */
uint64_t fixture_seed(void);

uint64_t prng_next(struct prng *p);
/* In [0, n). */
uint64_t prng_below(struct prng *p, uint64_t n);

/* fixture_is_full says whether the tests should take their long form (LEAT_FULL=1). */
bool fixture_is_full(void);

/* --- a ring --------------------------------------------------------------------------------------- */

struct fixture {
    struct ring_maps maps;
    struct ring_view view;
    uint64_t *scratch; /* for ring_settle */
    uint64_t next_pid; /* made up, one per entry taken */
};

/* A small one that blocks: depth 16, slots of 64, lanes of 4096, 4 publishers, 4 cursors, origin 1. */
struct ring_geometry fixture_geometry(void);

/* fixture_make plans, maps (shared, so that forks see it), formats and joins. 0 or a negative errno. */
int fixture_make(struct fixture *f, const struct ring_geometry *geo);
void fixture_destroy(struct fixture *f);

/* fixture_publisher takes entry i, reserves its lane and joins it. The pieces are freed by
 * fixture_publisher_drop, which leaves the entry as it is. */
int fixture_publisher(struct fixture *f, uint16_t i, struct ring_publisher *ret);
/* The same for one whose entry is taken already. */
int fixture_publisher_join(const struct ring_view *v, uint16_t i, struct ring_publisher *ret);
void fixture_publisher_drop(struct ring_publisher *p);

/* fixture_entry takes entry i for a made-up owner and reserves its lane. */
void fixture_entry(struct fixture *f, uint32_t i);

/* fixture_reader attaches cursor i as `kind`, to begin at `pos`, and is set down there. */
struct ring_reader fixture_reader(struct fixture *f, uint32_t i, enum ring_cursor_kind kind,
                                  uint64_t pos);
/* All before the reader's next is done with. */
void fixture_release(struct ring_reader *r);

/* fixture_settle settles until nothing is open or a living publisher covers a slot: 0, 1, -EBADMSG. */
int fixture_settle(struct fixture *f, uint64_t *ret_aborted);

/* --- payloads ------------------------------------------------------------------------------------- */

/* A key names a message: which publisher, and which of its messages. */
static inline uint64_t
pattern_key(uint32_t publisher, uint64_t pseq)
{
    return (uint64_t)publisher << 48 | pseq;
}

static inline uint32_t
pattern_publisher(uint64_t key)
{
    return (uint32_t)(key >> 48);
}

static inline uint64_t
pattern_pseq(uint64_t key)
{
    return key & 0xffffffffffffull;
}

/* pattern_fill writes `len` bytes of which each is a function of key, length and place. From 32 bytes on they
 * begin with key, length and a checksum over all that follows. */
void pattern_fill(void *to, uint64_t key, uint32_t len);

/* pattern_is says whether the bytes are those. */
bool pattern_is(const void *bytes, uint64_t key, uint32_t len);

/* fixture_send publishes one patterned message of any length, through the lane when it has to. */
int fixture_send(struct ring_publisher *p, uint64_t pseq, uint32_t len, uint64_t *ret_seq);

/* fixture_send_many publishes n (at most FIXTURE_BATCH) patterned messages whose lengths are lens[i]. Their type says
 * which of how many each is: n << 8 | i. */
#define FIXTURE_BATCH 64
int fixture_send_many(struct ring_publisher *p, uint64_t pseq, const uint32_t *lens, uint32_t n,
                      uint64_t *ret_seq);

#endif
