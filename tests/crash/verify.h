/* verify.h - what must be true of a topic whatever happened, and the recovery that has to make it true.
 *
 * A `truth` is what anybody has seen of the order so far. Nothing in it may ever change. All functions work on the
 * world in place and answer NULL, or a sentence that says what is wrong (in a static buffer). */
#ifndef TESTS_CRASH_VERIFY_H
#define TESTS_CRASH_VERIFY_H

#include "tests/crash/world.h"

#define TRUTH_PLACES 512
#define TRUTH_ABORTED UINT32_MAX

struct truth {
    uint64_t origin;
    uint32_t order[TRUTH_PLACES]; /* which message stands there; 0: not seen */
};

void truth_start(struct truth *t, const struct world *w);

/* verify_look notes what readers can see now, from each place at which one may be set down. */
const char *verify_look(struct world *w, struct truth *t);

/* verify_recover does what the daemon does when the actors in `dead` (a bit each) have died. Returns a sentence when
 * it cannot; sets *ret_open when a living publisher is still at work on a place. */
const char *verify_recover(struct world *w, uint32_t dead, bool *ret_open);

/* verify_quiet checks a topic in which nobody living is in the middle of a call: the ring is sound, each batch is in it
 * whole or not at all and those that were reported are, nothing else is, all readers see the same, no number is
 * unaccounted for. */
const char *verify_quiet(struct world *w, struct truth *t);

/* verify_go_on lets everybody go on for more than a lap of slots and lanes, with new owners in the places of the
 * dead. */
const char *verify_go_on(struct world *w, struct truth *t);

/* The parent publishes a batch of n messages of these lengths for an actor, and notes it: 0 or a negative errno. */
int verify_publish(struct world *w, struct truth *t, enum world_actor who, const uint32_t *len);

/* The parent reads what there is for a subscriber and accounts for it. */
const char *verify_drain(struct world *w, struct truth *t, struct actor *a);

#endif
