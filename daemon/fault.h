/* fault.h - a mapping whose memory is taken away under the daemon poisons one topic, not the daemon.
 *
 * A publisher holds a writable descriptor of its topic's data, so it can truncate the object; the next touch behind its end is
 * SIGBUS. The handler puts private zero pages there, from the page that was touched to the end of the map, marks the range,
 * and the code that was interrupted goes on reading zeros, which every reader of shared memory survives. The topic looks
 * at its mark at the end of the turn. A fault outside every watched range is a fault of the daemon: the default action.
 *
 * The ranges are known to a signal handler: they are changed on the daemon's one thread only, which is the one that touches
 * them. */
#ifndef DAEMON_FAULT_H
#define DAEMON_FAULT_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* One watched map. The caller zeroes it and fills the first two. */
struct fault_range {
    unsigned char *base;
    uint64_t size;

    struct fault_range *next; /* private */
    volatile sig_atomic_t hit;
};

/* fault_install sets the handler; once. 0 or a negative errno. */
int fault_install(void);

/* fault_watch adds a range, fault_unwatch takes it out (also one that is not in), before it is unmapped. */
void fault_watch(struct fault_range *range);
void fault_unwatch(struct fault_range *range);

/* fault_hit: memory of this range has been replaced since it is watched. */
bool fault_hit(const struct fault_range *range);

/* fault_pending is true once after any range was hit. */
bool fault_pending(void);

#endif
