/* party.h - a whole bus at work: a real daemon, publisher processes and subscriber processes through libleat, of whom some are
 * killed and stopped while they work, and an audit of every byte.
 *
 * Every message says who sent it, his how-manyeth it is and how long, and its bytes follow from that. Each subscriber checks every byte, that each
 * publisher's messages come in his order without a hole, and that sequence numbers ascend; keeps a running hash of (seq, sender, number),
 * which is the same for all who lost nothing; and counts what it was told is gone. In the end, for each subscriber (I8):
 *
 *   published = received + reported as gone
 *
 * where a killed publisher's last, unanswered call may or may not count. Nothing here asserts; the verdict comes back as text.
 */
#ifndef TESTS_SUPPORT_PARTY_H
#define TESTS_SUPPORT_PARTY_H

#include <leat.h>

#include "shm/atomic.h"
#include "shm/base.h"

#define PARTY_PUBLISHERS 8
#define PARTY_SUBSCRIBERS 8
#define PARTY_LIVES 4096 /* of publishers, one after the other */
#define PARTY_WHY 512

struct party_plan {
    const char *io;      /* leatd --io; NULL: its own choice */
    uint32_t durability; /* enum leat_durability */
    uint32_t when_full;  /* enum leat_when_full */
    uint32_t kind;       /* enum leat_kind of the subscribers; DURABLE ones have names */
    uint32_t publishers, subscribers;
    uint32_t longest; /* payload */
    uint64_t depth, lane_size, retention_bytes;
    double seconds;
    uint32_t daemon_ms, publisher_ms, subscriber_ms; /* how often one is killed; 0: never */
    uint32_t stop_ms;                                /* how often one is stopped for a while */
    uint64_t seed;
};

struct party_figures {
    uint64_t published, received, lost, repeated, aborted_lives;
    uint64_t daemons, publishers, subscribers, stops; /* killed, stopped */
    uint64_t slowest_send_ns;
};

/* party_run lets it happen: 0, or -1 and why. */
int party_run(const struct party_plan *plan, struct party_figures *ret, char why[PARTY_WHY]);

/* What the processes share. */
struct party_sub {
    atom_u64 which; /* which of the two records is valid */
    struct party_progress {
        uint64_t seq, received, lost, hash;
    } progress[2];
    atom_u64 repeated; /* given again after a restart, and skipped */
    atom_u64 attached;
    atom_u64 done;
};

struct party {
    struct party_plan plan;
    char bus[128], store[128];
    atom_u64 stop; /* publishers end */
    atom_u64 end;  /* subscribers end when they have all below; 0: not yet known */
    atom_u64 failed;
    char why[PARTY_WHY];
    atom_u64 committed[PARTY_LIVES]; /* by each life of a publisher, as far as it was told */
    atom_u64 trying[PARTY_LIVES];    /* how many more its call in flight would commit */
    atom_u64 slowest_ns;
    struct party_sub sub[PARTY_SUBSCRIBERS];
};

/* The guests; each is a process of its own. */
int party_publish(struct party *p, uint32_t life);
int party_subscribe(struct party *p, uint32_t index);

/* party_fail notes the first reason. */
void party_fail(struct party *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
int party_open(struct party *p, leat_bus **ret);
/* One millisecond, for loops that wait for another process. */
void party_breathe(void);
uint64_t party_now_ns(void);

#define PARTY_TOPIC "party"

#endif
