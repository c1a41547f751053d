/* trial.h - guests of a real daemon, put to a test: what they sent and were given is written down and has to agree. */
#ifndef TESTS_CRASH_TRIAL_H
#define TESTS_CRASH_TRIAL_H

#include "tests/crash/stage.h"

#define TRIAL_IDS (1u << 22)
/* A disk that others keep busy has been seen to stand still for 20 s. */
#define TRIAL_PATIENCE_S 60
#define SHORT_WAIT_NS 300000000
#define LONG_WAIT_NS 60000000000

struct bus_call {
    enum world_actor who;
    void (*fn)(void *);
    struct call call;
};

/* How a case begins. The past is written in the letters of run.h that are about messages, and d. */
struct scene {
    const char *name, *topic;
    uint32_t kind;   /* of S0 */
    const char *sub; /* its name */
    const char *past;
    /* How long P0, P1 and S0 wait in a call that has to; 0: publishers not at all, S0 for SHORT_WAIT_NS. */
    int64_t wait_ns[STAGE_GUESTS];
};

/* Scenes and calls, as lists of cases write them. */
#define SCENE(n, t, k, s, p)                                                                       \
    {                                                                                              \
        .name = (n), .topic = (t), .kind = (k), .sub = (s), .past = (p)                            \
    }
#define MEMORY(name, past) SCENE(name, "memory", LEAT_GATING, NULL, past)
#define LOSSY(name, past) SCENE(name, "lossy", LEAT_LIVE, NULL, past)
#define DISK(name, past) SCENE(name, "disk", LEAT_DURABLE, "crash", past)

#define PUB(p, f, count, ...)                                                                      \
    {                                                                                              \
        .who = (p), .fn = (f), .call = {                                                           \
            .publishes = (count) > 0,                                                              \
            .n = (count),                                                                          \
            .len = {__VA_ARGS__}                                                                   \
        }                                                                                          \
    }
#define LOANS(p, count, size)                                                                      \
    {                                                                                              \
        .who = (p), .fn = guest_commit, .call = {                                                  \
            .publishes = true,                                                                     \
            .n = 1,                                                                                \
            .rounds = (count),                                                                     \
            .len = {size}                                                                          \
        }                                                                                          \
    }
#define SUB(f, count)                                                                              \
    {                                                                                              \
        .who = S0, .fn = (f), .call = {.n = (count) }                                              \
    }

struct trial {
    struct run r;
    struct stage b;
    const struct scene *scene;
    struct test_case tc; /* of the scene's name */
    unsigned char *last; /* a copy of the topic */
    /* What has become of each message since S0 came: said to be sent, received. */
    unsigned char *fate;
    pid_t reader;
    uint32_t first_id;
    uint64_t last_seq;
    uint32_t unacked;
};

/* trial_open starts all; 0, 77 (skip), or 1. */
int trial_open(struct trial *ret);
void trial_close(struct trial *t);

/* trial_complain prints where and what; always false. */
bool trial_complain(const struct trial *t, uint64_t n, const char *what);

/* trial_do has a guest make a call to its end and writes down what it sent: its result. trial_note does the latter
 * for a call that has ended otherwise. */
int trial_do(struct trial *t, enum world_actor who, void (*fn)(void *), const struct call *call);
void trial_note(struct trial *t, enum world_actor who);

/* trial_seen writes down what S0 was given by its last call; false when that cannot be. */
bool trial_seen(struct trial *t);

/* trial_drain has S0 read all there is; trial_audit says that it has been given all that was sent since it came. */
bool trial_drain(struct trial *t);
bool trial_audit(struct trial *t);

/* trial_enter brings the guests that are not there, and lets the past happen. */
bool trial_enter(struct trial *t, const struct scene *scene);

/* trial_send publishes the like of a letter, however long it takes: 0 or an error. */
int trial_send(struct trial *t, enum world_actor who, char letter);

/* trial_judge checks a copy of the topic in which the actors of `dead` (a bit each) have died: NULL or what is wrong. */
const char *trial_judge(struct trial *t, uint32_t dead);

/* trial_await_settled waits until the daemon has cleaned up after a process that died. */
bool trial_await_settled(struct trial *t, pid_t pid);

int64_t trial_now_ns(void);

#endif
