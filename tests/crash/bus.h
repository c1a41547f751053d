/* bus.h - a real daemon with small topics, and guests: processes that use them through the library, one instruction at a
 * time if need be (stepper.h).
 *
 * What a guest is told and what it answers stands in memory that it shares with the test; its handles are its own. The
 * test maps the topics' memory by name and judges copies of it: bus_import makes a world (world.h) of one, in which the
 * parent plays everybody. */
#ifndef TESTS_CRASH_BUS_H
#define TESTS_CRASH_BUS_H

#include "tests/crash/run.h"

#include <leat.h>

#define BUS_DIR 64
#define BUS_GUESTS 3 /* P0, P1, S0 */

struct topic_map {
    const char *name;
    void *data, *control;
    uint64_t data_size, control_size;
};

/* A process that uses the bus. */
struct guest {
    struct stepper proc;
    /* what it is told */
    char path[BUS_DIR + 8];
    const char *topic;
    uint32_t kind;    /* enum leat_kind */
    const char *name; /* of a named subscription */
    int64_t timeout_ns;
    struct call call;
    /* what it answers */
    uint64_t last; /* received */
    uint32_t seen_count;
    struct seen seen[WORLD_SEEN];
    /* its own */
    leat_bus *bus;
    leat_pub *pub;
    leat_sub *sub;
};

struct bus {
    char dir[BUS_DIR], path[BUS_DIR + 8], prefix[LIMIT_SHM_PREFIX];
    pid_t daemon;
    struct guest *guests; /* shared with them */
    uint32_t next_id;
    struct topic_map topic;
};

/* bus_open starts a daemon in a directory of its own and makes the topics `memory`, `lossy` and `disk`. False and a
 * sentence printed. */
bool bus_open(struct bus *b);
void bus_close(struct bus *b);

/* The daemon, killed and started. */
bool bus_start_daemon(struct bus *b);
void bus_kill_daemon(struct bus *b);

/* bus_use has all guests use a topic: P0 and P1 publish, S0 subscribes (as `kind`, by a name if there is one). Those
 * that are not there are made. */
bool bus_use(struct bus *b, const char *topic, uint32_t kind, const char *name);

/* bus_leave ends all guests and waits until the daemon has cleaned up after them. */
bool bus_leave(struct bus *b);

/* bus_tell readies a call of a guest; bus_do also runs it: its result, -EINTR when it did not return. */
struct stepper *bus_tell(struct bus *b, enum world_actor who, void (*fn)(void *),
                         const struct call *call);
int bus_do(struct bus *b, enum world_actor who, void (*fn)(void *), const struct call *call);

struct guest *bus_guest(struct bus *b, enum world_actor who);

/* bus_import makes `w` a copy of the topic's memory as it is now. Of the publishers the parent plays those whose
 * private state does not matter: the dead one's follower, and a new one. */
bool bus_import(struct bus *b, struct world *w, uint32_t dead);

/* bus_settled says whether nobody is left behind in the topic by the process `pid`. */
bool bus_settled(const struct bus *b, pid_t pid);

/* Whether the memory of the topic is as in the copy; bus_copy takes one (of bus_size bytes). */
uint64_t bus_size(const struct bus *b);
void bus_copy(const struct bus *b, unsigned char *to);
bool bus_is_as(const struct bus *b, const unsigned char *copy);

/* What guests do. */
void guest_open_pub(void *guest);
void guest_open_sub(void *guest);
void guest_close_pub(void *guest);
void guest_close_sub(void *guest);
void guest_send(void *guest);    /* leat_pub_send_keyed, or leat_pub_send_many */
void guest_commit(void *guest);  /* leat_pub_loan, leat_pub_commit, for each */
void guest_abort(void *guest);   /* leat_pub_loan, leat_pub_abort */
void guest_receive(void *guest); /* leat_sub_receive, leat_sub_release */
void guest_ack(void *guest);     /* leat_sub_ack of the last */
void guest_wait(void *guest);    /* leat_sub_wait */
void guest_seek(void *guest);    /* leat_sub_seek */

#endif
