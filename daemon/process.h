/* process.h - the processes that have sessions, publishers or cursors here, and the noticing of their deaths.
 *
 * One struct per living process, known by pid and start time. A pidfd says when it has exited: nothing else counts as
 * death. Whoever refers to a process holds it; it is freed with its last hold. */
#ifndef DAEMON_PROCESS_H
#define DAEMON_PROCESS_H

#include "daemon/bus.h"

struct process {
    struct process *next, *prev;
    struct bus *bus;
    uint32_t pid;
    uint64_t start; /* 0: not known, /proc hides it */
    uint32_t holds;
    bool dead;
    struct loop_source source; /* its pidfd */
};

/* process_of_socket gives the process behind a session: `pidfd` is the kernel's (taken over in every case), or -1. Held
 * for the caller. -ESRCH: it has exited already. -ENOMEM, -EMFILE. */
int process_of_socket(struct bus *bus, uint32_t pid, int pidfd, struct process **ret);

/* process_of_record gives the process that stands in shared memory. Held for the caller. -ESRCH: it has exited. One that /proc
 * hides counts as alive until its pid's owner exits. */
int process_of_record(struct bus *bus, uint32_t pid, uint64_t start, struct process **ret);

void process_hold(struct process *p);

/* process_drop gives a hold back: NULL is fine; returns NULL. */
struct process *process_drop(struct process *p);

#endif
