/* party.h - a whole bus at work: a real daemon, publisher processes and subscriber processes through libleat, of whom some are
 * killed, stopped, or end and begin again while they work, whose ring and disk fill up, and an audit of every byte.
 *
 * Every message says who sent it, his how-manyeth it is and how long, and its bytes follow from that. Whoever learns what a
 * number of the order holds (its publisher when the call returns, each subscriber when it receives it or steps over it) notes
 * it in one table, and all must agree: so nothing is lost, repeated or passed over in silence, for lossy cursors either. Each
 * subscriber also checks every byte, and that what he misses of a publisher he was told is gone. For each cursor (I8), in numbers:
 *
 *   end - where it began = received + reported as gone + aborted + what it had not had yet when it was closed or died
 *
 * where only calls of killed publishers can have left aborted numbers. In the end of a disk topic the daemon is killed once more,
 * and a fresh reader is given the log. Nothing here asserts; the verdict comes back as text.
 */
#ifndef TESTS_SUPPORT_PARTY_H
#define TESTS_SUPPORT_PARTY_H

#include <leat.h>

#include "shm/base.h"

#define PARTY_PUBLISHERS 8
#define PARTY_SUBSCRIBERS 8
#define PARTY_WHY 512

struct party_reader {
    uint32_t kind; /* enum leat_kind */
    bool named, durable_only;
    uint32_t rest_ms; /* now and then it rests for as long as this, with messages held; 0: never */
};

struct party_plan {
    const char *io;      /* leatd --io; NULL: its own choice */
    uint32_t durability; /* enum leat_durability */
    uint32_t when_full;  /* enum leat_when_full */
    uint32_t publishers, subscribers;
    struct party_reader reader[PARTY_SUBSCRIBERS];
    uint32_t longest; /* payload */
    uint64_t depth, lane_size, retention_bytes, retention_ns;
    bool retain_until_acked;
    bool seeks;     /* who has no name goes elsewhere now and then */
    bool impatient; /* some publishers wait for a while only, and hold loans meanwhile */
    uint64_t
        store_bytes; /* a file system of that size for the store, where one can be mounted; 0: none */
    double seconds;
    uint32_t daemon_ms, publisher_ms, subscriber_ms; /* how often one dies; 0: never */
    uint32_t orderly;       /* so many of a hundred end in good order instead */
    uint32_t stop_ms;       /* how often one is stopped for a while */
    uint32_t disk_ms;       /* how often the store is filled to the brim, or emptied again */
    uint64_t pause_most_ns; /* more than this between two messages is a failure; 0: never is */
    uint64_t seed;
};

/* PARTY_WHOLE is a retention that keeps everything. */
#define PARTY_WHOLE (64ull << 30)

struct party_figures {
    uint64_t published, received, gone, aborted, repeated, refused;
    uint64_t daemons, publishers, subscribers, stops; /* killed, stopped */
    uint64_t ends;                                    /* in good order */
    uint64_t fills, full; /* of the disk; and found in the state 'disk full' then */
    uint64_t reread;      /* messages given to the fresh reader */
    uint64_t cursors;     /* that were audited, those that seeked again */
    uint64_t slowest_send_ns, pause_ns,
        back_ns;    /* the longest: a send, between two messages, a start of the daemon */
    bool unmounted; /* no file system could be mounted for the store */
};

/* party_run lets it happen: 0, or -1 and why. */
int party_run(const struct party_plan *plan, struct party_figures *ret, char why[PARTY_WHY]);

uint64_t party_now_ns(void);
/* One millisecond, for loops that wait for another process. */
void party_breathe(void);

#endif
