/* client.h - what the files of the library share.
 *
 * Who may touch what at once:
 *
 *   leat_bus   any thread. `lock` is held around a question and its answer, and guards the lists of
 *              what is open; ringing the daemon takes no lock. `error_lock` guards the text of the
 *              last error.
 *   leat_pub   one thread at a time. Its data path takes no lock and makes no call but into the
 *              ring.
 *   leat_sub   one thread at a time, likewise.
 *
 * After fork a child has none of this: the maps are not inherited, and the page `life` is zero in
 * it, so that every call can say -ECHILD after one load.
 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include <leat.h>

#include <errno.h>
#include <pthread.h>

#include "log/scan.h"
#include "ring/ring.h"
#include "wire/wire.h"

#define LEAT__TEXT 512 /* of an error */
#define LEAT__PATH 256 /* of a socket; the kernel takes less and says so */
#define LEAT__SPINS 256
#define LEAT__ATTEMPTS 4     /* to open what a daemon that starts may take back */
#define LEAT__EVER INT64_MAX /* a deadline that never comes */
/* How what lies in a store, or in a copy from anywhere, is opened: a pipe may stand there, and nobody waits for its other end. */
#define LEAT__READ (O_RDONLY | O_NOCTTY | O_NONBLOCK)

/* --- time and life (conn.c) ------------------------------------------------------------------- */

int64_t leat__now(void);                    /* monotonic */
uint64_t leat__realtime(void);              /* coarse */
int64_t leat__deadline(int64_t timeout_ns); /* negative: LEAT__EVER */

/* What is left until a deadline, at most `most`; 0 or less: it is over. */
int64_t leat__left(int64_t deadline, int64_t most);

/* leat__new gives zeroed memory that shares no line with anybody else's; ended by free. */
void *leat__new(size_t size);

static inline bool
leat__alive(const atom_u32 *life)
{
    return SHM_LIKELY(atom_load_relaxed(life) != 0);
}

/* --- options and names (opts.c) --------------------------------------------------------------- */

/* leat__options copies the options a caller gave (NULL: none), as large as his header had them,
 * into `ret`, as large as ours are. -EINVAL: their size is no size. -E2BIG: they ask for something
 * this library does not know. */
int leat__options(void *ret, uint32_t room, const void *given);

/* leat__bus_path finds the socket of a bus: `given`, $LEAT_BUS, the user's if it is there, the
 * system's; *ret_mine says that it is the user's own, which a private daemon may be started for.
 * -ENAMETOOLONG, -EPERM: the user's folder belongs to somebody else. */
int leat__bus_path(const char *given, char ret[LEAT__PATH], bool *ret_mine);

/* leat__user_path is the socket of the user's own bus. */
int leat__user_path(char ret[LEAT__PATH]);

/* leat__topic_name checks a name and says in the bus's error what is wrong with it: 0 or -EINVAL.
 */
int leat__topic_name(struct leat_bus *bus, const char *name);

/* --- errors (error.c) ------------------------------------------------------------------------- */

/* leat__fail notes the text of an error and returns its code. */
int leat__fail(struct leat_bus *bus, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* leat__fail_open does so for a bus that never came to be: for leat_error(NULL) in this thread. */
int leat__fail_open(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- the connection (conn.c) ------------------------------------------------------------------ */

/* A handle that was closed while no daemon was there to be told. */
struct leat__grave {
    uint64_t topic_id, generation;
    uint32_t index;
    enum wire_type type; /* WIRE_PUB_CLOSE or WIRE_SUB_CLOSE */
};

struct leat_bus {
    atom_u32 *life; /* a page of its own, zero in a forked child */
    pthread_mutex_t lock;
    int socket; /* one number for the bus's life: a new connection is put in its place by dup3 */
    bool connected; /* as far as is known */
    bool autostart;
    bool fenced; /* this process is not one whose stores a sleeper's membarrier orders */
    bool alone;  /* one processor: polling keeps the one from running that is polled for */
    uint32_t id; /* of the last request */
    int64_t timeout_ns;
    uint64_t bus_id, incarnation;
    struct leat__grave *graves;
    uint32_t grave_count, grave_room;
    struct leat_pub *pubs;
    struct leat_sub *subs;
    atom_u32 ring_owed; /* somebody could not ring: whoever has the lock does it for him */
    pthread_mutex_t error_lock;
    char error[LEAT__TEXT];
    char refusal[WIRE_TEXT]; /* what the daemon said to the last HELLO, if it said no */
    char path[LEAT__PATH];
};

struct leat__answer {
    struct wire_answer a;
    int fds[WIRE_FDS_MAX]; /* the caller's to close; -1 where there is none */
};

/* leat__ask sends a request and waits for its answer, connecting first if need be. Returns the
 * answer's status (its text is then the bus's error), -ECONNREFUSED: no daemon, or -ETIMEDOUT.
 * `fds` are open only on success. */
int leat__ask(struct leat_bus *bus, void *request, struct leat__answer *ret);

/* leat__ring tells the daemon to look at a topic. Never waits, takes no lock. 0 when it has been
 * told or there is no daemon to be told (one that starts looks at everything); -EAGAIN: the socket
 * is full. */
int leat__ring(struct leat_bus *bus, uint64_t topic_id);

/* leat__bury tells the daemon that a handle is closed, now or when there is a daemon again. */
void leat__bury(struct leat_bus *bus, const struct leat__grave *grave);

/* leat__unlock lets the lock go, and rings for those who could not meanwhile. */
void leat__unlock(struct leat_bus *bus);

void leat__close_fds(int fds[WIRE_FDS_MAX]);

/* --- starting a daemon (start.c) -------------------------------------------------------------- */

/* leat__start starts a private daemon at `path` (the user's own bus when `mine`, else with a store
 * beside it) and waits until it says that it is ready, or is gone again because another was first.
 * 0 means that connecting is worth a try. -ENOENT: there is no leatd. */
int leat__start(const char *path, bool mine, int64_t deadline);

/* --- a topic's memory (topic.c) --------------------------------------------------------------- */

struct leat__map {
    struct ring_view view;
    uint64_t data_size, control_size, topic_id;
    char name[LIMIT_TOPIC_NAME + 1];
};

enum leat__role { LEAT__LOOK, LEAT__SUBSCRIBE, LEAT__PUBLISH };

/* leat__map_open maps what an answer brought, as much of it writable as the role needs, and closes
 * the descriptors. */
int leat__map_open(struct leat_bus *bus, struct leat__answer *from, enum leat__role role,
                   struct leat__map *ret);
void leat__map_close(struct leat__map *m);

/* leat__describe fills in what a topic's memory says of it. */
void leat__describe(const struct ring_view *v, struct leat_topic_info *ret);

/* leat__topic_make makes a topic by the daemon's rule for its name. */
int leat__topic_make(struct leat_bus *bus, const char *name);

/* leat__topic_state says what the daemon thinks of a topic: 0 it works (or will again), -EIDRM,
 * -EBADMSG. */
int leat__topic_state(struct leat_bus *bus, const struct leat__map *m);

/* leat__reason copies the daemon's reason out of shared memory. */
void leat__reason(const struct ring_view *v, char ret[256]);

/* leat__blame says in words who holds the publishers of a topic back. */
void leat__blame(const struct ring_view *v, char *ret, size_t room);

/* leat__durable_sleep sleeps once, at most `left`, until more is durable. */
void leat__durable_sleep(struct leat_bus *bus, const struct leat__map *m, uint64_t seq,
                         int64_t left);

/* --- publishing (pub.c) ----------------------------------------------------------------------- */

struct leat_pub {
    struct ring_publisher ring;
    const atom_u32 *life;
    struct ring_daemon *daemon;
    int32_t clock; /* of the topic's timestamps; LEAT__NO_CLOCK */
    uint32_t inline_max;
    struct leat_bus *bus;
    int64_t timeout_ns;
    uint64_t generation, last, blocked;
    uint64_t published_before, bytes_before, blocked_before; /* by the line's former owners */
    struct ring_piece *pieces;
    struct ring_out *outs; /* room for a batch */
    struct ring_span *spans;
    uint32_t batch_room;
    struct leat__map map;
    struct leat_pub *next, **link;
};
#define LEAT__NO_CLOCK (-1)

/* --- subscribing (sub.c, wait.c, fd.c, replay.c) ---------------------------------------------- */

/* Memory that messages from the log stand in: a batch as it was read, or a message put together
 * from pieces. Lives while it is being read from and while messages in it are held. */
struct leat__block {
    struct leat__block *next, **link;
    uint64_t holders;
    uint64_t apart;
    unsigned char data[];
};

struct leat__replay {
    struct log_walk walk;
    struct log_cursor_in_batch at; /* what of the batch has not been looked at */
    bool loaded;                   /* `at` stands in a batch */
    bool ready;                    /* head, payload and holder are the next message */
    struct log_record head;
    const unsigned char *payload;
    struct leat__block *holder;
    struct leat__block *batch; /* what the walk reads into; NULL: none yet */
    struct leat__block *part;  /* a message whose pieces are being collected */
    struct log_record part_head;
    uint32_t part_len;
    struct leat__block *blocks; /* all there are */
    uint64_t after;             /* the open segment's successor begins there; 0: it is the last */
    int fd;                     /* of the segment; -1: none is open */
    uint32_t failures;          /* since the last batch */
    int64_t retry_at;           /* no daemon to ask: not again before */
};

struct leat__fd; /* fd.c */

struct leat_sub {
    struct ring_reader ring;
    uint64_t
        plain_until; /* below it a message may be taken from the ring without further thought */
    const atom_u32 *life;
    const atom_u64 *word_at; /* the cursor's state word if it gates, else our own `word` */
    atom_u64 word;           /* what it has to be */
    uint8_t *counts;         /* gating: how often the message of each slot is held */
    uint64_t floor;          /* gating: none below is held, while any is */
    uint64_t held, received, lost, stale, waits;
    uint64_t again_until; /* below it messages have been received before, but not for good */
    uint64_t high;        /* behind the newest it was at before it went back */
    uint64_t since;       /* where it was moved to last: it never goes back to what was before */
    uint64_t posted;      /* the position that others see */
    uint64_t woke;        /* and the one at which publishers were woken last */
    uint32_t owed;        /* releases since then */
    uint32_t owed_most;   /* so many make it worth telling */
    int64_t posted_ns;
    bool gating, durable, named, durable_only, fenced;
    bool attached;      /* there is a cursor */
    bool from_log;      /* it reads the log now */
    bool log_gone;      /* with its topic */
    uint64_t log_until; /* lanes were found reused in the ring: not back before this number */
    uint64_t log_from;  /* the daemon said once that the log begins here */
    uint8_t wait;       /* enum leat_wait */
    uint8_t rewinds;
    uint64_t gap_first, gap_lost; /* to be told next */
    uint64_t acked;
    /* What leat_sub_wait has learnt of how messages come (wait.c). */
    uint32_t hot, patience;
    bool streams;
    uint64_t seen;
    uint32_t index;
    uint64_t generation;
    struct leat_bus *bus;
    struct leat__replay replay;
    struct leat__fd *fd;
    struct leat__map map;
    struct leat_sub *next, **link;
};

/* Beside 1, 0 and errors: look again; go on in the ring. */
#define LEAT__AGAIN 100
#define LEAT__TAKE_RING 101

/* leat__sub_post publishes position and counters, and wakes publishers that wait for the space. */
void leat__sub_post(struct leat_sub *sub);

/* leat__sub_next is the first number of which nothing has been told: behind it may be a gap that is still to be told. */
static inline uint64_t
leat__sub_next(const struct leat_sub *sub)
{
    return sub->gap_lost ? sub->gap_first : sub->ring.next;
}

/* leat__sub_may says whether a message can be given to it at all: 0, -ESTALE evicted, -ENOBUFS too many are held. */
int leat__sub_may(struct leat_sub *sub);

/* leat__sub_ready says whether a receive would give something now: 1, 0, or what receive would say.
 */
int leat__sub_ready(struct leat_sub *sub);

/* leat__ring_ready does so for a place in the ring alone, reading nothing but shared memory; *next
 * moves over aborted places. */
bool leat__ring_ready(const struct ring_view *v, uint64_t *next, bool durable_only);

/* leat__should_leave_ring: a durable reader goes to the log while it still has a quarter of the
 * ring before it, so that what it holds is not overwritten soon. leat__should_take_ring: it comes
 * back where half of the ring is before it. */
bool leat__should_leave_ring(const struct leat_sub *sub);
bool leat__should_take_ring(const struct leat_sub *sub);

/* leat__enter_ring goes on in the ring where the log was left. */
void leat__enter_ring(struct leat_sub *sub);

/* leat__store_look stores a word so that a look at who waits for it may follow. The processor is
 * kept from looking early by the membarrier of whoever arms the other word. */
static inline void
leat__store_look(bool fenced, atom_u64 *at, uint64_t value)
{
    if (fenced)
        atom_store_seq(at, value); /* release: CURSOR; release: ACK; seq: SLEEP */
    else
        atom_store_release(at, value); /* release: CURSOR; release: ACK */
    atom_compiler_barrier();
}

/* leat__replay_ready makes the next message of the log ready: 1, 0 (not now), LEAT__AGAIN (a gap is
 * to be told), LEAT__TAKE_RING, or a negative errno. leat__replay_take gives it out. */
int leat__replay_ready(struct leat_sub *sub);
int leat__replay_take(struct leat_sub *sub, struct leat_msg *ret);

void leat__block_put(struct leat__block *block);

/* leat__replay_stop closes the segment; messages that are held stay. leat__replay_end frees those
 * too. */
void leat__replay_stop(struct leat_sub *sub);
void leat__replay_end(struct leat_sub *sub);

/* leat__fd_arm is called when receive has nothing: the descriptor is not readable then until there
 * is something. Returns 0, or LEAT__AGAIN when there is by then. leat__fd_poke makes it readable.
 * leat__fd_close ends it. */
int leat__fd_arm(struct leat_sub *sub);
void leat__fd_poke(struct leat_sub *sub);
void leat__fd_close(struct leat_sub *sub);

/* --- inspection (inspect.c, inspect_find.c, inspect_log.c) ------------------------------------ */

/* leat__scan reads a topic's segments in the store, without a daemon. */
struct leat__scan {
    char folder[LEAT__PATH + LIMIT_TOPIC_NAME + 2];
    struct log_walk walk;
    uint64_t first; /* of the open segment */
    int fd;         /* -1: none is open */
    bool loaded;    /* walk.batch stands in buf */
    unsigned char *buf;
    struct log_cursor_in_batch at; /* records of the batch before it have numbers below at_seq */
    uint64_t at_seq;               /* 0: begin at the first record */
};

/* leat__scan_open stands before a topic's folder. */
void leat__scan_open(struct leat__scan *s, const char *store, const char *topic);
void leat__scan_close(struct leat__scan *s);

/* leat__scan_first is the first number that the log's names promise, 0: there is no log; *ret_bytes
 * its size. */
uint64_t leat__scan_first(const struct leat__scan *s, uint64_t *ret_bytes);

/* leat__scan_end walks the last segment: the first number behind the log. */
int leat__scan_end(struct leat__scan *s, uint64_t *ret_next);

/* leat__scan_holds says whether a message stands, whole, in the batch that was read last. */
bool leat__scan_holds(const struct leat__scan *s, uint64_t seq);

/* leat__scan_read copies one message: 1; 0 and in ret->seq the next that may be there; -ENOBUFS,
 * -EBADMSG, ... */
struct leat__want {
    uint64_t seq;
    void *buf;
    size_t room;
};
int leat__scan_read(struct leat__scan *s, const struct leat__want *want,
                    struct leat_inspect_msg *ret);

struct leat_inspect {
    char path[LEAT__PATH];
    char store[LEAT__PATH]; /* "": not known */
    char prefix[LIMIT_SHM_PREFIX];
    bool folder; /* of copies, rather than a bus */
    /* The topic that was looked at last. */
    char name[LIMIT_TOPIC_NAME + 1];
    struct leat__map map; /* view.data is NULL when there is no shared memory */
    uint64_t device, inode;
    uint64_t topic_id; /* whose log the scan stands in; 0: not known */
    struct leat__scan scan;
    char error[LEAT__TEXT];
};

/* leat__inspect_fail notes the text of an error and returns its code. */
int leat__inspect_fail(struct leat_inspect *i, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* leat__find_bus fills in where a bus's things are: 0, -ENOENT, ... */
int leat__find_bus(struct leat_inspect *i, const char *path);

/* leat__find_next is leat_inspect_next. leat__find_memory opens a topic's objects read-only;
 * *ret_control may be -1. */
int leat__find_next(struct leat_inspect *i, const char *after, char *ret);
int leat__find_memory(struct leat_inspect *i, const char *topic, int *ret_data, int *ret_control);

/* leat__name_of_copy reads whose data a copied object is from its header: copies may have any name that ends in .data. */
bool leat__name_of_copy(const char *path, char ret[LIMIT_TOPIC_NAME + 1]);

#endif
