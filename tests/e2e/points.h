/* points.h - what the processes of points.c share, and its guests. */
#ifndef TESTS_E2E_POINTS_H
#define TESTS_E2E_POINTS_H

#include <stdbool.h>

#include <leat.h>

#include "shm/atomic.h"
#include "shm/base.h"

#define POINTS_NAMES 256
#define POINTS_SEQS 2048
#define POINTS_COUNT 60u /* messages of one life of a publisher */
#define POINTS_LIVES 4 /* of publishers: two, the first one's second, and the one that comes late */
#define POINTS_WHY 512
#define POINTS_TOPIC "points"
#define POINTS_NONE UINT32_MAX

enum role { DAEMON, PUBLISHER, SUBSCRIBER, ROLES };

/* In memory that all processes share. */
struct world {
    const char *const *names;
    char dir[64], bus[80];
    bool disk;
    uint64_t depth;

    /* Who is to have the accident, where, at which passage, and what it is. */
    enum role role;
    uint32_t name, nth;
    int signal;
    uint32_t dwell_ms; /* how long somebody who is stopped stays so, beyond what is looked at */
    uint32_t heard;    /* answers of the tool */
    atom_u64 hits, fired;
    atom_u64 passed[ROLES][POINTS_NAMES];

    atom_u64 ready; /* the daemon serves */
    atom_u64 publishing[POINTS_LIVES], subscribed[2];
    atom_u64 committed[POINTS_LIVES], trying[POINTS_LIVES];
    atom_u64 at[2];                /* where each subscriber is */
    atom_u64 seen[2][POINTS_SEQS]; /* life << 32 | number of the message, by sequence number */
    atom_u64 end;                  /* subscribers end there; 0: not known yet */

    atom_u64 failed;
    char why[POINTS_WHY];
};

/* points_fail notes the first reason; returns 1. */
int points_fail(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What a daemon that is just being killed, stopped or started again says. */
bool points_is_passing(int r);
void points_breathe(void);
uint64_t points_now_ns(void);

/* The guests: each the whole life of a process, and its exit status. `again`: it had an accident before. */
int points_publish(struct world *w, uint32_t life);
int points_subscribe(struct world *w, uint32_t index, bool again);

#endif
