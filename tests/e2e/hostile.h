/* hostile.h - what hostile.c, its neighbours and its attackers share. */
#ifndef TESTS_E2E_HOSTILE_H
#define TESTS_E2E_HOSTILE_H

#include <stdbool.h>
#include <sys/types.h>

#include <leat.h>

#include "shm/atomic.h"
#include "tests/support/fixture.h"
#include "wire/wire.h"

#define HOSTILE_WHY 512
#define HOSTILE_UID 65534u
#define HOSTILE_SESSIONS 8 /* [bus] user_sessions */
#define HOSTILE_TOPICS 4   /* [bus] user_topics */
#define HOSTILE_SEATS 3    /* [bus] user_seats; a topic has more */

/* In memory that all processes share. */
struct hostile {
    char bus[80], store[80];
    pid_t daemon;
    bool root;          /* attackers are another user */
    uint64_t closed_id; /* of the topic that is closed to everybody else */
    uint64_t ruined_id; /* of another one, which is quarantined as well */
    uint64_t seed;
    atom_u64 crossed;  /* messages between the neighbours */
    atom_u64 worst_ns; /* ... the longest of them took, since somebody set this to 0 */
    atom_u64 settled;  /* the tenant of a topic that will be ruined uses it */
    atom_u64 moved;    /* ... and may leave it */
    atom_u64 failed;
    char why[HOSTILE_WHY];
};

/* hostile_fail notes the first reason; returns 1. HOSTILE_MUST is one line of a check. */
int hostile_fail(struct hostile *h, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define HOSTILE_MUST(h, condition)                                                                 \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return hostile_fail(h, "%s:%d: not so: %s", __func__, __LINE__, #condition);           \
    } while (0)

/* A raw client: connects and says HELLO; -1: it was not let in. */
int hostile_connect(const struct hostile *h);
/* One question; its answer's descriptors are the caller's. Negative when there was no answer. */
int hostile_ask(int socket, union wire_any *packet, struct wire_answer *ret, int fds[WIRE_FDS_MAX]);

/* The attacks, each the life of a process that has become somebody else; 0, or 1 after saying why. */
struct attack {
    const char *name;
    int (*run)(struct hostile *h);
    bool stranger; /* only as another user */
};
extern const struct attack hostile_attacks[]; /* ends with a NULL name */

/* What hostile_scribble.c does to topic `topic`, which it may publish to. */
enum harm {
    HARM_TRUNCATE_DATA, /* up to HARM_TAIL_BACK: the topic is certainly lost */
    HARM_TRUNCATE_CONTROL,
    HARM_LARGER,
    HARM_HEADER,
    HARM_TAIL_AHEAD,
    HARM_TAIL_BACK,
    HARM_LINES,
    HARM_CURSORS,
    HARM_HOLES,
    HARM_RANDOM,
    HARM_KINDS
};
int hostile_scribble(struct hostile *h, const char *topic, enum harm harm);

#endif
