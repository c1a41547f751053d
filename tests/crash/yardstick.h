/* yardstick.h - a plain process that asks to be woken every millisecond and notes how late that was: how long this machine
 * keeps somebody waiting who has nothing to do with leat. */
#ifndef TESTS_CRASH_YARDSTICK_H
#define TESTS_CRASH_YARDSTICK_H

#include "shm/atomic.h"

#include <stdbool.h>
#include <sys/types.h>

struct yardstick {
    pid_t pid;
    atom_u64 *worst_ns; /* since it was opened */
};

/* yardstick_open starts it, on the core that the caller is bound to. */
bool yardstick_open(struct yardstick *ret);
void yardstick_close(struct yardstick *y);

#endif
