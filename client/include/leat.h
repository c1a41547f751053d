/* leat.h - a message broker for one host, at the speed of shared memory.
 *
 * A publisher hands a message to a topic and goes on. A subscriber reads the topic at its own
 * speed, with its own cursor. The daemon leatd makes a topic's memory and keeps its log on disk; it
 * is on nobody's data path, and may be killed and started again without anybody noticing but who
 * opens something new.
 *
 *     leat_bus *bus; leat_pub *pub;
 *     leat_open(NULL, &bus);
 *     leat_pub_open(bus, "orders", NULL, &pub);
 *     leat_pub_send(pub, "hello", 5, NULL);
 *
 * Conventions, which every function keeps
 *
 *   - Handles are opaque, made by *_open(..., **ret) and ended by *_close(h), which takes NULL and
 *     returns NULL.
 *   - A call returns 0, a count, or a negative errno. Outputs come last and are untouched on
 *     failure.
 *   - leat_error(bus) is the text of the bus's last error and names the thing, the limit and the
 *     setting; leat_strerror(code) is that of a code.
 *   - Options begin with `size` and have an initialiser. Zero means default, NULL means all
 *     defaults. A larger struct, from a newer header, is -E2BIG when its unknown tail is not zero.
 *   - A bus may be used by any thread, a pub or a sub by one thread at a time. After fork the
 *     child's calls answer -ECHILD: it opens its own.
 *   - No callbacks. No threads, but for the one that leat_sub_fd documents.
 *   - Times are nanoseconds. A time-out of 0 polls, a negative one waits for ever.
 *   - Sequence numbers are dense from 1 in each topic.
 */
#ifndef LEAT_H
#define LEAT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LEAT_VERSION_MAJOR 0
#define LEAT_VERSION_MINOR 1

typedef struct leat_bus leat_bus;
typedef struct leat_pub leat_pub;
typedef struct leat_sub leat_sub;
typedef struct leat_inspect leat_inspect;

/* --- Bus -------------------------------------------------------------------------------------- */

/* leat_options: how to reach a bus.
 *   path      the daemon's socket; NULL: $LEAT_BUS, else the user's ($XDG_RUNTIME_DIR/leat/bus, or
 *             /tmp/leat-UID/bus) if it exists, else the system's (/run/leat/bus)
 *   flags     LEAT_AUTOSTART: if no daemon answers, start a private one (the user's, or at `path`
 *             with its store in `path`.store), which stays until `leatd --stop` or the end of the
 *             user's session. leatd is looked for as $LEATD, beside the running program, where it
 *             was installed, and in $PATH
 *   timeout_ns  how long one question to the daemon may take; 0: 5 s */
struct leat_options {
    uint32_t size;
    uint32_t flags;
    const char *path;
    int64_t timeout_ns;
};
#define LEAT_OPTIONS_INIT                                                                          \
    {                                                                                              \
        sizeof(struct leat_options), 0, NULL, 0                                                    \
    }
#define LEAT_AUTOSTART 1u

/* leat_open connects to a bus. May block for timeout_ns, with LEAT_AUTOSTART until the daemon is
 * up. -ENOENT or -ECONNREFUSED: no daemon there. -EPROTONOSUPPORT: it speaks another protocol.
 * -ETIMEDOUT, -ENOMEM, -EINVAL, -E2BIG. */
int leat_open(const struct leat_options *options, leat_bus **ret);

/* leat_close ends a bus and whatever pubs and subs are still open on it. */
leat_bus *leat_close(leat_bus *bus);

/* leat_error is the text of the last error of this bus or of a pub or sub on it, in the calling
 * thread's memory until that thread's next call of leat_error; "" if there was none. With NULL: why
 * this thread's last leat_open failed. */
const char *leat_error(leat_bus *bus);

/* leat_strerror is the text of a code (0, a negative errno). */
const char *leat_strerror(int code);

/* --- Topics ----------------------------------------------------------------------------------- */

enum leat_durability { LEAT_MEMORY = 0, LEAT_DISK = 1 };
enum leat_when_full { LEAT_BLOCK = 0, LEAT_OVERWRITE = 1 };
enum leat_timestamps { LEAT_TIME_COARSE = 0, LEAT_TIME_PRECISE = 1, LEAT_TIME_OFF = 2 };

/* leat_topic_options: what a topic is made with. 0: what the daemon's rule for the name says, else
 * the default in brackets.
 *   depth            slots, rounded up to a power of two [4096]: how many messages the ring holds
 *   slot_size        64, 128 or 256 bytes [64]: payloads up to slot_size - 32 bytes stand in the
 *                    slot itself
 *   lane_size        bytes for larger payloads of each publisher, rounded up to a power of two
 *                    [4 MiB]; the longest message is half
 *   max_publishers   [16]
 *   max_subscribers  [128]
 *   durability       LEAT_MEMORY, or LEAT_DISK: every message is also written to the log
 *   when_full        LEAT_BLOCK: publishers wait for gating subscribers; LEAT_OVERWRITE: they never
 *                    wait (memory only)
 *   retention_bytes  of the log, in whole segments [1 GiB]
 *   retention_ns     of the log; 0: no limit by age
 *   retain_until_acked  1: age does not remove what a named subscription has not acknowledged;
 *                       retention_bytes still does
 *   mode, uid, gid   who may subscribe (read bits) and publish (write bits), as of a file [0600,
 *                    the creator's]
 *   timestamps       LEAT_TIME_COARSE (about 4 ms steps, 3 ns), LEAT_TIME_PRECISE (20 ns),
 *                    LEAT_TIME_OFF
 *   lag_ns           a gating subscriber that holds publishers back for longer is evicted; 0:
 *                    never */
struct leat_topic_options {
    uint32_t size;
    uint32_t slot_size;
    uint64_t depth;
    uint64_t lane_size;
    uint32_t max_publishers;
    uint32_t max_subscribers;
    uint32_t durability;
    uint32_t when_full;
    uint64_t retention_bytes;
    int64_t retention_ns;
    uint32_t retain_until_acked;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t timestamps;
    uint32_t flags; /* LEAT_SET_UID, LEAT_SET_GID: 0 in uid, gid means root, not the creator */
    int64_t lag_ns;
};
#define LEAT_TOPIC_OPTIONS_INIT                                                                    \
    {                                                                                              \
        sizeof(struct leat_topic_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0          \
    }
#define LEAT_SET_UID 1u
#define LEAT_SET_GID 2u

/* leat_topic_create makes a topic, or says 0 when it exists with the same options. -EEXIST: with
 * others (leat_error names the first that differs). -EINVAL: a bad name or option. -ENOSPC: no room
 * in /dev/shm or on disk. -EACCES. -ECONNREFUSED: no daemon. */
int leat_topic_create(leat_bus *bus, const char *name, const struct leat_topic_options *options);

/* leat_topic_remove ends a topic: its subscribers read to the end and then get -EIDRM; publishers
 * get it at once. Its log is deleted. -ENOENT, -EACCES. */
int leat_topic_remove(leat_bus *bus, const char *name);

/* leat_topic_info: a topic as it is now. `state` is 0 when all is well, else LEAT_TOPIC_* and
 * `reason` says why. */
struct leat_topic_info {
    uint64_t topic_id;
    uint64_t depth, lane_size, payload_max;
    uint32_t slot_size, inline_max, max_publishers, max_subscribers;
    uint32_t durability, when_full, timestamps, mode, uid, gid;
    uint64_t retention_bytes;
    int64_t retention_ns, lag_ns;
    uint32_t retain_until_acked, state;
    uint64_t first;   /* oldest sequence number that can still be read, in ring or log */
    uint64_t tail;    /* next to be claimed */
    uint64_t durable; /* last on stable storage, 0: none or not a disk topic */
    uint64_t log_bytes;
    uint64_t shm_bytes;
    uint32_t publishers, subscribers; /* open now */
    char reason[256];
};
#define LEAT_TOPIC_OK 0u
#define LEAT_TOPIC_REMOVED 1u
#define LEAT_TOPIC_DAMAGED 2u
#define LEAT_TOPIC_DISK_FULL 3u
#define LEAT_TOPIC_LOG_FAILED 4u
int leat_topic_info(leat_bus *bus, const char *name, struct leat_topic_info *ret);

/* --- Publish ---------------------------------------------------------------------------------- */

/* leat_pub_options:
 *   timeout_ns   how long a full topic may hold a call up; 0 or negative: for ever; LEAT_NO_WAIT:
 *                not at all
 *   flags        LEAT_CREATE: make the topic by the daemon's rule if it is not there (a topic that
 *                a rule names is made without) */
struct leat_pub_options {
    uint32_t size;
    uint32_t flags;
    int64_t timeout_ns;
};
#define LEAT_PUB_OPTIONS_INIT                                                                      \
    {                                                                                              \
        sizeof(struct leat_pub_options), 0, 0                                                      \
    }
#define LEAT_CREATE 1u
#define LEAT_NO_WAIT 1 /* a nanosecond */

/* A loan: `len` writable bytes at `data`, in shared memory. The caller may set key and type before
 * the commit. Any number may be out, for any time, and nobody else is held up: the place in the
 * order is taken by the commit. */
struct leat_loan {
    void *data;
    size_t cap;
    uint64_t key;
    uint16_t type;
    uint16_t reserved0;
    uint32_t reserved1;
    uint64_t token[2]; /* the library's */
};

struct leat_out {
    const void *data;
    size_t len;
    uint64_t key;
    uint16_t type;
};

/* leat_pub_open: -ENOENT no such topic, -EACCES, -EBUSY all max_publishers are open, -ENOSPC no
 * memory for the lane, -EAGAIN the disk is in trouble and its log cannot be read now. */
int leat_pub_open(leat_bus *bus, const char *topic, const struct leat_pub_options *options,
                  leat_pub **ret);

/* leat_pub_loan: -EMSGSIZE longer than the topic's payload_max, -EAGAIN the lane stayed full for
 * timeout_ns. */
int leat_pub_loan(leat_pub *pub, size_t len, struct leat_loan *ret);

/* leat_pub_commit publishes a loan, `len` bytes of it, and ends it. When it returns 0 the message
 * is in the order for ever, whoever dies next; *ret_seq (may be NULL) is its place. On failure the
 * loan is still out: -EAGAIN, -EMSGSIZE (len above cap), -EIDRM the topic was removed, -EBADMSG it
 * is quarantined. The daemon's absence is no error. */
int leat_pub_commit(leat_pub *pub, struct leat_loan *loan, size_t len, uint64_t *ret_seq);

/* leat_pub_abort gives a loan back. */
void leat_pub_abort(leat_pub *pub, struct leat_loan *loan);

/* leat_pub_send copies and commits. leat_pub_send_keyed also sets key and type. */
int leat_pub_send(leat_pub *pub, const void *data, size_t len, uint64_t *ret_seq);
int leat_pub_send_keyed(leat_pub *pub, const struct leat_out *message, uint64_t *ret_seq);

/* leat_pub_send_many puts n messages at adjacent places, all or none. n is at most half the topic's
 * depth (-EINVAL). */
int leat_pub_send_many(leat_pub *pub, const struct leat_out *messages, unsigned n,
                       uint64_t *ret_first_seq);

/* leat_pub_wait_durable waits until everything up to seq is on stable storage: 0, -ETIMEDOUT,
 * -EOPNOTSUPP (a memory topic), -EIO with the topic's state in leat_error. */
int leat_pub_wait_durable(leat_pub *pub, uint64_t seq, int64_t timeout_ns);

struct leat_pub_stat {
    uint64_t published, bytes, blocked, last_seq, lane_used;
};
int leat_pub_stat(leat_pub *pub, struct leat_pub_stat *ret);

/* leat_pub_close: loans that are out are given back. */
leat_pub *leat_pub_close(leat_pub *pub);

/* --- Subscribe -------------------------------------------------------------------------------- */

enum leat_kind { LEAT_LIVE = 0, LEAT_GATING = 1, LEAT_DURABLE = 2 };
enum leat_start {
    LEAT_LATEST = 0,
    LEAT_EARLIEST = 1,
    LEAT_AT_SEQ = 2,
    LEAT_AT_TIME = 3,
    LEAT_LAST_N = 4
};
enum leat_wait { LEAT_WAIT_ADAPTIVE = 0, LEAT_WAIT_SPIN = 1, LEAT_WAIT_SLEEP = 2 };

/* Where to begin: value is the sequence number (AT_SEQ), the realtime (AT_TIME, the first message
 * not before it) or how many (LAST_N). */
struct leat_position {
    uint32_t start;
    uint32_t reserved;
    uint64_t value;
};

/* leat_sub_options:
 *   name          makes the subscription the topic's: it stays, with its floor on disk, when the
 *                 process goes. Only on disk topics, one process at a time; implies LEAT_DURABLE.
 *                 NULL: the cursor ends with the process
 *   kind          LEAT_LIVE      when too slow it loses the oldest messages and is told how many
 *                                (LEAT_GAP)
 *                 LEAT_GATING    holds publishers back: loses nothing (not on disk or overwriting
 *                                topics)
 *                 LEAT_DURABLE   reads the log when it has fallen out of the ring, holds nobody
 *                                back (disk topics)
 *   start         where a new subscription begins; a named one that exists goes on at its floor
 *   durable_only  1: is shown a message only once it is on stable storage
 *   wait          how leat_sub_wait waits: first spinning, then sleeping (ADAPTIVE), only spinning,
 *                 only sleeping
 *   flags         LEAT_CREATE as in leat_pub_options */
struct leat_sub_options {
    uint32_t size;
    uint32_t flags;
    const char *name;
    uint32_t kind;
    uint32_t durable_only;
    uint32_t start;       /* enum leat_start */
    uint32_t wait;        /* enum leat_wait */
    uint64_t start_value; /* as in leat_position */
};
#define LEAT_SUB_OPTIONS_INIT                                                                      \
    {                                                                                              \
        sizeof(struct leat_sub_options), 0, NULL, 0, 0, 0, 0, 0                                    \
    }

/* A message. `data` points into shared memory (or, when it was read from the log, into the
 * library's) and is valid until leat_sub_release; it must not be written to. In a gap `first` and
 * `lost` say what is gone. */
struct leat_msg {
    const void *data;
    size_t len;
    uint64_t seq;
    uint64_t key;
    uint64_t time_ns; /* realtime of the commit, 0: the topic keeps none */
    uint64_t first;
    uint64_t lost;
    uint16_t type;
    uint16_t publisher;
    uint32_t attempts; /* 1; 2 when it was overwritten while held and is given again */
    uint64_t token[2]; /* the library's */
};
#define LEAT_GAP 2

/* leat_sub_open: -ENOENT, -EACCES, -EBUSY (the name is in use by a process that lives, or
 * max_subscribers are open), -EINVAL (a kind the topic does not offer: leat_error says which it
 * does), -EAGAIN (as leat_pub_open). */
int leat_sub_open(leat_bus *bus, const char *topic, const struct leat_sub_options *options,
                  leat_sub **ret);

/* leat_sub_receive: 1 a message; 0 none yet; LEAT_GAP; -EIDRM the topic was removed and all has
 * been read; -ESTALE a gating cursor was evicted (leat_error says why; leat_sub_seek goes on);
 * -EBADMSG quarantined, or the log is damaged there; -ENOBUFS too many messages are held (as many
 * as the topic's depth, or one of a gating cursor a whole depth behind). Never waits (reading the
 * log may wait for the disk and the daemon). */
int leat_sub_receive(leat_sub *sub, struct leat_msg *ret);

/* leat_sub_receive_many: up to n messages, all or part of what is there; a gap comes alone
 * (LEAT_GAP is then the type of ret[0]: ret[0].lost > 0 and the result is 1). */
int leat_sub_receive_many(leat_sub *sub, struct leat_msg *ret, unsigned n);

/* leat_sub_release ends the use of a message, in any order: 0, or -ESTALE: it was overwritten while
 * held, what was read from it must be discarded (it then counts as lost; a LEAT_DURABLE
 * subscription that was not moved since goes back to it and is given it, and what came after it,
 * again). -EINVAL: it is not held. */
int leat_sub_release(leat_sub *sub, struct leat_msg *msg);

/* leat_sub_wait: 1 something to receive, 0 time-out, or what leat_sub_receive would say. */
int leat_sub_wait(leat_sub *sub, int64_t timeout_ns);

/* leat_sub_fd is a descriptor for poll, epoll and the like: readable while there is something to
 * receive, after leat_sub_receive has once said 0; now and then also when there is nothing. The
 * library's; not to be read or closed. On kernels without io_uring's futex wait (before 6.7, or
 * where io_uring is denied) the first call starts one thread for this subscription, which does
 * nothing but wait and signal. */
int leat_sub_fd(leat_sub *sub);

/* leat_sub_seek moves the cursor, to the oldest or the newest place there is if `to` lies beyond.
 * Messages held stay valid. After an eviction it asks for a new cursor. -EBUSY: an evicted
 * subscriber still holds messages. */
int leat_sub_seek(leat_sub *sub, const struct leat_position *to);

/* leat_sub_ack says that all up to seq is done with. The floor survives the process at once and the
 * machine within 100 ms, but is never ahead of what is on stable storage. -EINVAL: not named, or
 * seq was never received. */
int leat_sub_ack(leat_sub *sub, uint64_t seq);

/* `received` and `lost` count each number once, as what it was told to be first. */
struct leat_sub_stat {
    uint64_t received, lost, stale, waits;
    uint64_t next;        /* the next sequence number it will look at */
    uint64_t acked;       /* the floor of a named one: all below is done with */
    uint64_t lag;         /* messages behind the tail */
    uint64_t durable_lag; /* of the topic: messages not yet on stable storage */
    uint32_t from_log;    /* 1: it is reading the log now */
    uint32_t held;        /* messages received and not released */
};
int leat_sub_stat(leat_sub *sub, struct leat_sub_stat *ret);

/* leat_sub_close: a named subscription stays with the topic. */
leat_sub *leat_sub_close(leat_sub *sub);

/* leat_sub_remove forgets a named subscription that nobody has open. -ENOENT, -EBUSY, -EACCES. */
int leat_sub_remove(leat_bus *bus, const char *topic, const char *name);

/* --- Look ------------------------------------------------------------------------------------- */

/* Read-only inspection, without the daemon and without being a subscriber: of a live bus (path: its
 * socket, NULL as in leat_options), of what a dead daemon left, or of a directory with copies of a
 * store (and, named *.data and *.control, of shared memory). */
int leat_inspect_open(const char *path, leat_inspect **ret);
leat_inspect *leat_inspect_close(leat_inspect *i);
const char *leat_inspect_error(leat_inspect *i);

/* leat_inspect_next gives the topics' names in order: 1, or 0 after the last. `name` is "" at first
 * and the last result then; room for 201 bytes. */
int leat_inspect_next(leat_inspect *i, char *name);

int leat_inspect_topic(leat_inspect *i, const char *name, struct leat_topic_info *ret);

struct leat_inspect_pub {
    uint32_t index, pid, uid, alive;
    uint64_t since_ns, published, bytes, blocked, blocked_since_ns;
    uint64_t intent_seq, intent_count, intent_since_ns; /* a claim in flight; count 0: none */
    uint64_t lane_used;
};
/* 1 and the publisher with the lowest index not below *index, which moves behind it; 0: no more. */
int leat_inspect_pub(leat_inspect *i, const char *topic, uint32_t *index,
                     struct leat_inspect_pub *ret);

struct leat_inspect_sub {
    uint32_t index, pid, uid, kind, evicted, log_writer;
    uint64_t since_ns, next, acked, saved, received, lost, stale, waits;
    uint64_t lag, lag_bytes, lag_ns; /* messages; bytes and age of what is still in the ring */
    char name[64];
};
int leat_inspect_sub(leat_inspect *i, const char *topic, uint32_t *index,
                     struct leat_inspect_sub *ret);

/* leat_inspect_read copies the message whose number stands in msg->seq, from ring or log, and fills
 * in the rest of *msg: 1; 0: it is not there (yet), or was aborted, and msg->seq is then the next
 * that may be there; or a negative errno; -ENOBUFS: longer than `room`. */
struct leat_inspect_msg {
    uint64_t seq, key, time_ns;
    uint32_t len;
    uint16_t type, publisher;
};
int leat_inspect_read(leat_inspect *i, const char *topic, void *buf, size_t room,
                      struct leat_inspect_msg *msg);

#ifdef __cplusplus
}
#endif
#endif
