/* story.h - what tools/demo shows: a daemon, a publisher and four services, some of whom are killed.
 *
 * One program in three roles, each a process of its own (started by exec, so that nothing is inherited but one page of shared
 * figures): the teller, who starts and kills the others and prints; the publisher; the services.
 */
#ifndef TOOLS_STORY_STORY_H
#define TOOLS_STORY_STORY_H

#include "leat.h"
#include "shm/atomic.h"
#include "shm/base.h"

#define STORY_TOPIC "story.lines"
#define STORY_SERVICES 4
#define STORY_FIGURES_FD 3

enum story_phase { PHASE_WELL, PHASE_SERVICE_DEAD, PHASE_DAEMON_DEAD, PHASE_BACK, PHASES };

/* What a service counts. It starts from what it finds written down, so a restarted one goes on. */
struct story_service {
    atom_u64 started_ns;  /* of this life */
    atom_u64 serving_ns;  /* when it wrote down its first new line of this life */
    atom_u64 received;    /* lines written down, by all lives */
    atom_u64 redelivered; /* lines it was given again and skipped */
    atom_u64 gaps;        /* lines the bus said were gone */
    atom_u64 last_seq;
    atom_u64 hash; /* of all lines written down, valid when done */
    atom_u64 done;
};

struct story_latency {
    uint64_t n;
    double p50, p99, p999;
};

struct story {
    atom_u64 phase;      /* teller */
    atom_u64 stop;       /* teller: the publisher ends */
    atom_u64 published;  /* publisher */
    atom_u64 last_seq;   /* publisher, valid when finished */
    atom_u64 hash;       /* publisher: of all lines published, valid when finished */
    atom_u64 finished;   /* publisher */
    atom_u64 slowest_ns; /* publisher: the longest single send */
    struct story_latency latency[PHASES]; /* publisher, valid when finished */
    struct story_service service[STORY_SERVICES];
};

struct story_options {
    const char *input; /* a file, or - for standard input */
    const char *dir;
    const char *leatd;
    uint64_t rate; /* lines a second */
    double seconds;
};

uint64_t story_now_ns(void);
struct story *story_figures(void);

/* The roles; each returns an exit status. */
int story_publish(const char *bus, const char *input, uint64_t rate);
int story_serve(const char *bus, const char *name, int index, const char *journal);
int story_tell(const struct story_options *options, const char *self);

#endif
