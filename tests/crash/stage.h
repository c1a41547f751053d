/* stage.h - a real daemon with small topics, and guests: processes that use them through the library, one instruction at a
 * time if need be (stepper.h).
 *
 * What a guest is told and what it answers stands in memory that it shares with the test; its handles are its own. The
 * test maps the topics' memory by name and judges copies of it: stage_import makes a world (world.h) of one, in which the
 * parent plays everybody. */
#ifndef TESTS_CRASH_STAGE_H
#define TESTS_CRASH_STAGE_H

#include "tests/crash/run.h"

#include <leat.h>

#define STAGE_DIR 64
#define STAGE_LONG_LANE (1u << 17) /* of the topic `rolls` */
#define STAGE_GUESTS 3             /* P0, P1, S0 */

struct topic_map {
    const char *name;
    void *data, *control;
    uint64_t data_size, control_size;
};

/* A process that uses the bus. */
struct guest {
    struct stepper proc;
    pid_t pid; /* also when it has died */
    /* what it is told */
    char path[STAGE_DIR + 8];
    const char *topic;
    uint32_t kind;      /* enum leat_kind */
    const char *name;   /* of a named subscription */
    int64_t timeout_ns; /* a publisher's is taken when it opens; 0: it does not wait */
    struct call call;
    /* what it answers */
    uint64_t last; /* received */
    uint32_t seen_count;
    struct seen seen[WORLD_SEEN];
    /* At which passage of a named point it stops, how many it has passed and the last (daemon_pairs.c). */
    uint32_t stop_at, passages;
    char passed[64];
    /* its own */
    leat_bus *bus;
    leat_pub *pub;
    leat_sub *sub;
};

struct stage {
    char dir[STAGE_DIR], path[STAGE_DIR + 8], prefix[LIMIT_SHM_PREFIX];
    pid_t daemon;
    struct guest *guests; /* shared with them */
    uint32_t next_id;
    uint32_t deaths; /* of the daemon, that stage_tend has found */
    struct topic_map topic;
};

/* stage_open starts a daemon in a directory of its own and makes the topics `memory`, `lossy`, `disk`, and
 * `rolls`, which has lanes for so long messages that a few dozen fill a segment of its log. False and a
 * sentence printed. */
bool stage_open(struct stage *b);
void stage_close(struct stage *b);

/* The daemon, killed and started. `point` is a named point at which it kills itself, NULL: none. stage_daemon_is_dead
 * takes note of a death. */
bool stage_start_daemon(struct stage *b, const char *point);
void stage_kill_daemon(struct stage *b);
bool stage_daemon_is_dead(struct stage *b);

/* stage_tend starts a daemon that has died of itself; whoever waits for something calls it. False: it does not start. */
bool stage_tend(struct stage *b);

/* Whether the daemon has nothing to do for now. */
bool stage_daemon_rests(const struct stage *b);

/* stage_log prints who holds what in the topic, and the end of what the daemon has reported. */
void stage_log(const struct stage *b);

/* stage_fork_daemon makes the process that will become the daemon, with `before` called in it; *ret_ready is readable
 * when it serves, and at its end when it does not. */
bool stage_fork_daemon(struct stage *b, void (*before)(const void *), const void *arg,
                       int *ret_ready);

/* stage_use has all guests use a topic: P0 and P1 publish, S0 subscribes (as `kind`, by a name if there is one). Those
 * that are not there are made. */
bool stage_use(struct stage *b, const char *topic, uint32_t kind, const char *name);

/* stage_reopen has a guest that has closed what it had open it again: its result. */
int stage_reopen(struct stage *b, enum world_actor who);

/* stage_view joins the topic's own memory. */
bool stage_view(const struct stage *b, struct ring_view *ret);

/* stage_leave ends all guests and waits until the daemon has cleaned up after them. */
bool stage_leave(struct stage *b);

/* stage_tell readies a call of a guest; stage_do also runs it: its result, -EINTR when it did not return. */
struct stepper *stage_tell(struct stage *b, enum world_actor who, void (*fn)(void *),
                           const struct call *call);
int stage_do(struct stage *b, enum world_actor who, void (*fn)(void *), const struct call *call);

struct guest *stage_guest(struct stage *b, enum world_actor who);

/* stage_import makes `w` a copy of the topic's memory as it is now. Of the publishers the parent plays those whose
 * private state does not matter: the dead one's follower, and a new one. */
bool stage_import(struct stage *b, struct world *w, uint32_t dead);

/* stage_settled says whether nobody is left behind in the topic by the process `pid`. */
bool stage_settled(const struct stage *b, pid_t pid);

/* How many entries and cursors of the topic the process holds. */
uint32_t stage_lines(const struct stage *b, pid_t pid);

/* Whether the memory of the topic is as in the copy; stage_copy takes one (of stage_size bytes). */
uint64_t stage_size(const struct stage *b);
void stage_copy(const struct stage *b, unsigned char *to);
bool stage_is_as(const struct stage *b, const unsigned char *copy);

/* What guests do. */
void guest_open_pub(void *guest);
void guest_open_sub(void *guest);
void guest_close_pub(void *guest);
void guest_close_sub(void *guest);
void guest_send(void *guest);    /* leat_pub_send_keyed, or leat_pub_send_many */
void guest_commit(void *guest);  /* leat_pub_loan, leat_pub_commit, for each */
void guest_fill(void *guest);    /* the same, then leat_pub_wait_durable of the last */
void guest_abort(void *guest);   /* leat_pub_loan, leat_pub_abort */
void guest_receive(void *guest); /* leat_sub_receive, leat_sub_release */
void guest_ack(void *guest);     /* leat_sub_ack of the last */
void guest_durable(void *guest); /* leat_pub_send, leat_pub_wait_durable */
void guest_wait(void *guest);    /* leat_sub_wait */
void guest_seek(void *guest);    /* leat_sub_seek */

#endif
