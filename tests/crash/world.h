/* world.h - one small topic, and those who use it, in memory that all processes of a test share at the same
 * addresses.
 *
 *   struct world | actors, with their private state and stacks | control object | data object
 *
 * Because private state and stacks lie here too, a copy of the whole is the whole state of everybody (but for
 * registers: stepper.h), and the parent may play any actor's part itself, in place. */
#ifndef TESTS_CRASH_WORLD_H
#define TESTS_CRASH_WORLD_H

#include "ring/ring.h"

#include <stdlib.h>

#define WORLD_DEPTH 8
#define WORLD_LANE 4096
#define WORLD_PUBLISHERS 4 /* entries; three are in use at first */
#define WORLD_CURSORS 4
#define WORLD_BATCH 4
#define WORLD_SEEN 4
#define WORLD_ROUNDS 4
#define WORLD_STACK 8192
#define WORLD_PAYLOAD 1024

enum world_actor {
    P0 = 0,
    P1 = 1,
    P2 = 2,
    S0 = 3, /* cursor 1 */
    S1 = 4, /* cursor 2 */
    D0 = 5, /* the daemon */
    S2 = 6, /* cursor 3, once the daemon has attached it */
    WORLD_ACTORS = 7,
};

/* What an actor is to do, and what it says of it. */
struct call {
    uint32_t n;  /* messages to publish, or to receive at most */
    uint32_t id; /* of the first message */
    uint32_t len[WORLD_BATCH];
    uint32_t target; /* a cursor, or a bit for each entry that is dead */
    uint32_t kind;   /* enum ring_cursor_kind */
    uint64_t pos;    /* where to attach or seek */
    uint32_t rounds; /* of publishing the like; 0: one */
    bool publishes, attaches, seeks;
    uint32_t left_entries, left_cursors; /* a bit each: to be cleared away if the caller dies */
    /* answers */
    bool done;
    int result;
    int slept;     /* what the wait said */
    uint32_t sent; /* rounds that succeeded */
    uint64_t first[WORLD_ROUNDS];
};

/* What a subscriber was given. */
enum seen_kind { SEEN_MESSAGE, SEEN_GAP, SEEN_STALE };

struct seen {
    uint64_t seq, key, lost;
    uint32_t len, kind;
    bool is_whole; /* one that was not copied: a guest's, or a long one */
    unsigned char data[WORLD_PAYLOAD];
};

struct actor {
    struct ring_view view;
    uint32_t index; /* of its entry or cursor */
    bool publishes, subscribes, gates;
    bool alive;
    struct ring_publisher pub;
    struct ring_piece pieces[2 * WORLD_DEPTH];
    struct ring_reader reader;
    uint64_t told; /* all below has been accounted for */
    uint64_t scratch[WORLD_PUBLISHERS];
    uint32_t seen_count;
    struct seen seen[WORLD_SEEN];
    struct call call;
    /* points.c: the call that is made, at which passage of a named point it stops, how many it has passed and the last. */
    void (*call_at)(void *);
    uint32_t stop_at, passages;
    char passed[64];
    _Alignas(64) unsigned char stack[WORLD_STACK];
};

/* How a topic differs from the usual one. */
struct shape {
    bool overwrite; /* RING_OVERWRITE */
    bool fenced;    /* SHM_BARRIER_BOTH */
    bool held;      /* S0 gates */
    uint64_t origin;
};

struct world {
    struct ring_view view;
    struct shape shape;
    uint64_t size;   /* of all */
    uint64_t shared; /* where control and data begin */
    uint32_t next_id;
    struct actor actors[WORLD_ACTORS];
};

/* world_map makes the memory, once; NULL when there is none. It is inherited by fork at the same address. */
struct world *world_map(void);

/* world_build puts a fresh topic into it: publishers P0 to P2 have joined, S0 (gating if the shape says so) and
 * S1 (live) stand at its first place. */
void world_build(struct world *w, const struct shape *shape);

/* world_join makes an actor the owner of a free entry, world_subscribe that of a free cursor, to begin at `pos`. 0 or a
 * negative errno. */
int world_join(struct actor *a, uint32_t index);
void world_subscribe(struct actor *a, uint32_t index, enum ring_cursor_kind kind, uint64_t pos);

/* The bytes that several processes see. */
static inline unsigned char *
world_shared(struct world *w)
{
    return (unsigned char *)w + w->shared;
}

static inline uint64_t
world_shared_size(const struct world *w)
{
    return w->size - w->shared;
}

/* Of these the ones before the lanes, which come last. */
static inline uint64_t
world_words_size(const struct world *w)
{
    return w->view.geo.control_size + w->view.geo.lanes;
}

static inline void *
world_stack(struct actor *a)
{
    return a->stack + WORLD_STACK;
}

/* A message says who it is: key = id << 16 | len, and every byte follows from id. */
static inline uint64_t
world_key(uint32_t id, uint32_t len)
{
    return (uint64_t)id << 16 | len;
}

void world_fill(unsigned char *to, uint32_t id, uint32_t len);
bool world_is_whole(const unsigned char *data, uint64_t key, uint32_t len);

static inline uint32_t
world_rounds(const struct call *c)
{
    return c->rounds ? c->rounds : 1;
}

/* Takes numbers for the call's messages and clears its answers. */
void world_number(struct world *w, struct actor *a);

/* The calls. Each is run by a stepper, or by the parent, on an actor. */
void call_send(void *actor);    /* reserve, fill, publish, wake */
void call_abandon(void *actor); /* reserve, fill, give back */
void call_receive(void *actor); /* receive, copy, validate, move the cursor, acknowledge */
void call_sleep(void *actor);   /* receive; arm, look again, wait, receive */
void call_seek(void *actor);
void call_attach(void *actor); /* the daemon attaches the cursor `target` */
void call_evict(void *actor);
void call_free(void *actor);
void call_enter(void *actor);  /* the daemon takes an entry, its owner joins */
void call_settle(void *actor); /* the daemon after deaths: kill, settle, free */
void call_format(void *actor);
void call_destroy(void *actor);

#endif
