/* chase.h - a daemon that is followed by ptrace: it stops before and after each of its system calls and, if that is asked
 * for, before each instruction that writes to the topic's memory.
 *
 * The latter by write protection: its maps of the topic's two objects are made read-only, an instruction that writes
 * to them faults, is taken alone while they may be written to, and they are made read-only again. So no instruction
 * has to be decoded and none that does not write costs anything. The kernel writes nothing there. */
#ifndef TESTS_CRASH_CHASE_H
#define TESTS_CRASH_CHASE_H

#include "tests/crash/stage.h"

#define CHASE_MAPS 8

struct chase_map {
    uint64_t at, len;
};

struct chase {
    struct stage *b;
    bool stores; /* stops at them too */
    bool idle;   /* waits for events, as far as is known */
    bool inside; /* has stopped before a system call, not behind it */
    uint64_t
        ask; /* the address of an instruction in the daemon that makes a system call; 0: not known yet */
    struct chase_map maps[CHASE_MAPS];
    uint32_t map_count;
};

enum chase_stop {
    CHASE_NOTHING, /* it runs, or sleeps */
    CHASE_CALL,    /* before or after a system call other than the one that waits for events */
    CHASE_WAITS,   /* before that one */
    CHASE_STORE,   /* before an instruction that writes */
    CHASE_OTHER,
    CHASE_ENDED,
};

/* chase_seize begins to follow a daemon that rests; chase_begin one that stage_fork_daemon has made with chase_traced. It
 * stands still then. */
bool chase_seize(struct chase *ret, struct stage *b, bool stores);
bool chase_begin(struct chase *ret, struct stage *b, bool stores);
void chase_traced(const void *unused);

/* chase_poll says at what it has stopped; chase_on lets it go on from there. */
enum chase_stop chase_poll(struct chase *c);
void chase_on(struct chase *c);

/* chase_store takes the instruction that writes; it stands behind it then. False: it has died. */
bool chase_store(struct chase *c);

/* chase_let_go ends it, for one that was seized and waits for events; chase_leave for one that has stopped, and not inside
 * a system call. It runs on alone. */
void chase_let_go(struct chase *c);
void chase_leave(struct chase *c);

#endif
