/* topic.h - the topics of a bus: finding, making, removing, setting aside.
 *
 * What decides stands in the daemon's own memory (seats, standing, geometry): shared memory, which a hostile client can
 * scribble over, is believed once, when a topic is adopted. */
#ifndef DAEMON_TOPIC_H
#define DAEMON_TOPIC_H

#include "daemon/access.h"
#include "daemon/bus.h"
#include "daemon/memory.h"

enum topic_standing {
    TOPIC_SERVING = 0,
    TOPIC_DAMAGED = 1, /* quarantined: nobody new comes in, it can be removed */
    TOPIC_REFUSED = 2, /* of another version: it is not touched at all */
    TOPIC_WAITING = 3, /* its log cannot be read now, which is no damage: it is tried again */
};

/* Who has publisher i, or cursor i. */
struct topic_seat {
    struct process *process; /* held; NULL: free, or its owner died (dying) */
    uint32_t uid;
    uint64_t generation;
    uint64_t session; /* number of the one that was told; 0: one of a former daemon */
    bool dying;       /* a publisher whose entry waits for the orphan rule */
    bool lane;        /* a publisher whose lane has memory */
    uint8_t kind;     /* of a cursor: enum ring_cursor_kind */
    char *name;       /* of a named cursor; owned */
};

struct topic {
    struct bus *bus;
    struct topic *next, *prev; /* in bus->topics */
    struct topic *next_by_name, *next_by_id;
    char name[LIMIT_TOPIC_NAME + 1];
    uint64_t id;
    enum topic_standing standing;
    char why[WHY_ROOM]; /* when it is not serving */
    struct access_rule access;

    bool mapped;    /* memory is there, and seats for it */
    uint32_t lanes; /* of which reserved */
    struct memory memory;
    struct store *store; /* NULL: a memory topic */
    struct topic_seat *publishers, *cursors;
    uint64_t *scratch; /* of ring_settle */

    uint64_t adopt_at_ns;   /* adopt.h: while waiting, when its log is tried again, */
    uint64_t adopt_wait_ns; /* ... and how long that is after the last try */

    struct loop_task look;    /* watch.h */
    struct loop_timer acks;   /* ... floors are looked at again */
    struct loop_timer lag;    /* ... a gating cursor may be evicted */
    uint64_t gate_pos;        /* ... the highest place at which publishers were held back, */
    uint64_t gate_since_ns;   /* ... and since when; 0: nobody holds them */
    struct loop_timer settle; /* reap.h: the orphan rule is tried again */
    uint64_t settle_wait_ns;
};

struct topic *topic_by_name(const struct bus *bus, const char *name);

/* topic_by_id finds what `asker` means by an id. One that was adopted stands where a publisher can write: when two topics bear
 * it, it is the one that the process has a part in. */
struct topic *topic_by_id(const struct bus *bus, uint64_t id, const struct process *asker);

/* topic_wish is what a topic is to be: rule, options and owner put together. `fixed` says which fields the asker named
 * himself (1u << enum config_field), for the comparison with one that exists. -EINVAL, -EACCES with a text. */
struct topic_wish {
    struct ring_geometry geo; /* planned; origin 1 */
    uint32_t fixed;
    const struct access_who *who; /* whose limits count; NULL: nobody's */
};
int topic_wish_of(const struct bus *bus, const struct access_who *who,
                  const struct wire_topic *request, struct topic_wish *ret, char why[WHY_ROOM]);

/* topic_create makes a topic whose name is free and good. Rights are the caller's business; limits per user are looked at
 * here. -ENOSPC, -EDQUOT, -EEXIST (a log of that name), ... with a text. */
int topic_create(struct bus *bus, const char *name, const struct topic_wish *wish,
                 struct topic **ret, char why[WHY_ROOM]);

/* topic_differs compares an existing topic with what was asked for: 0, or -EEXIST with the first field that differs. */
int topic_differs(const struct topic *t, const struct topic_wish *wish, char why[WHY_ROOM]);

/* topic_obtain finds a topic for one who wants to use it, or has it made if a rule says create = yes for its name.
 * -ENOENT, -EINVAL (the name), and what topic_create says. */
int topic_obtain(struct bus *bus, const char *name, const struct access_who *who,
                 struct topic **ret, char why[WHY_ROOM]);

/* topic_serves: 0, or -EBADMSG, -EPROTONOSUPPORT or (for now) -EAGAIN with the reason, for one who wants to come in. */
int topic_serves(const struct topic *t, char why[WHY_ROOM]);

/* topic_has says whether a process has a publisher or a cursor of the topic. */
bool topic_has(const struct topic *t, const struct process *p);

/* topic_remove ends a topic for everybody: state, names, log; frees it. -EPROTONOSUPPORT, -EBADMSG (a log that is there
 * and could not be opened is not thrown away): it stays then. */
int topic_remove(struct topic *t, char why[WHY_ROOM]);

/* topic_quarantine sets a topic aside, for good, and says why to clients and operator. Idempotent. */
void topic_quarantine(struct topic *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* For adoption: topic_add makes a bare topic under a name; topic_prepare allocates what a mapped one needs, sets its access
 * rule and id, or else closes its memory, whose names stay; topic_sign says in shared memory who serves it now, which is
 * written once nothing can refuse the topic any more. topic_follow joins it to its log. -ENOMEM, -EBADMSG. */
int topic_add(struct bus *bus, const char *name, struct topic **ret);
int topic_prepare(struct topic *t);
void topic_sign(struct topic *t);
int topic_follow(struct topic *t, struct store *store, char why[WHY_ROOM]);

/* topic_geometry is the geometry a log was made for, planned, continuing at `origin`. -EBADMSG: it cannot be. */
int topic_geometry(const struct bus *bus, const struct log_topic *log, uint64_t origin,
                   struct ring_geometry *ret);

/* topic_bytes is the shared memory a topic has reserved. */
uint64_t topic_bytes(const struct topic *t);

/* topic_close forgets a topic; shared memory and log stay as they are. */
void topic_close(struct topic *t);

#endif
