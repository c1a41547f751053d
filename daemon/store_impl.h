/* store_impl.h - the inside of a store. Only store*.c, flush.c, recover.c and their tests include
 * this.
 *
 *   store.c        life, segments as readers see them, who is told what
 *   store_remove.c directories that go
 *   store_disk.c   small files, names, locks, waiting for the disk where that is allowed
 *   store_spare.c  segments to come and segments that go: preparing, recycling, retention
 *   store_index.c  index files
 *   store_floor.c  the cursors file
 *   flush.c        the log writer: from the ring to the open segment
 *   recover.c      what a former daemon left
 *
 * How it moves: a done() only writes down what came of its request and defers the store's task; all
 * steps are made by store__work, from the task, from store_look, or from a timer's task. So nothing
 * is entered twice, and a store that is being closed takes no further step.
 *
 * The directory at every moment: `topic` and `cursors` are there; segments are in order and each
 * but the last is durable in full; a number that was reported durable stands in a segment whose
 * name is durable too. One segment at a time goes, and the directory is synced before the next
 * one does, so that never one in the middle is missing. */
#ifndef DAEMON_STORE_IMPL_H
#define DAEMON_STORE_IMPL_H

#include "daemon/store.h"
#include "log/index.h"

/* A batch starts when so much waits for it, or after so long. */
#define FLUSH_PENDING (256u << 10)
#define FLUSH_INTERVAL_NS 5000000ull
/* Slots are asked for so many messages ahead: about as long as a line takes from another core. */
#define FLUSH_AHEAD 8
/* Batches of one topic in flight: enough to keep a disk busy. A topic that has some in flight leaves
 * the last staging buffers to those that have none. */
#define FLUSH_BATCHES 8
#define FLUSH_BUFS_LEFT 4
/* After so many files in a row that failed, the topic says so and is tried once a second. */
#define FLUSH_FILES_MAX 3
#define STORE_RETRY_NS 1000000000ull
/* When no staging buffer is free, or the kernel refuses the barrier that arming needs. */
#define FLUSH_SOON_NS 1000000ull
/* A segment that has less room than this is full: a longer tail is not worth a short batch. */
#define FLUSH_ROOM_MIN (72u << 10)

/* Floors are saved at most so often. */
#define STORE_SAVE_NS 100000000ull

/* New segments are an eighth of what is retained, within these; the first of a topic is small, and
 * each new one twice as large as the last, so that a topic that is hardly used takes little. */
#define STORE_SEGMENT_LARGE (64u << 20)
#define STORE_SEGMENT_FIRST (4u << 20)

/* An index in memory; 512 entries of 128 KiB are one of the largest segments, and more are
 * thinned. */
#define STORE_INDEX_ROOM 512
#define STORE_INDEX_BYTES                                                                          \
    (sizeof(struct log_index_header) + STORE_INDEX_ROOM * sizeof(struct log_index_entry))

#define STORE_NAME_ROOM 64
#define STORE_FILE_TOPIC "topic"
#define STORE_FILE_CURSORS "cursors"
#define STORE_FILE_DRAFT "cursors~new" /* until all of it is there */

/* A segment file that is open for writing; fd -1: none. Locked (F_OFD_SETLK, F_WRLCK) as long as it is open. */
struct store_file {
    int fd;
    bool recycled; /* may hold old batches */
    uint64_t size;
};

/* A segment of the list. The last one is the open one while flush.file is open. */
struct store_seg {
    uint64_t first;
    uint64_t next; /* behind its last durable message */
    uint64_t end;  /* offset behind its last durable batch; LOG_BLOCK: none yet */
    uint64_t size;
    uint64_t created_ns;
    uint64_t previous; /* from its header */
    bool handed;       /* a reader may hold it: unlinked one day, never recycled */
};

enum spare_step {
    SPARE_NONE = 0,
    SPARE_ZERO,     /* writing zeros */
    SPARE_SYNC,     /* the file */
    SPARE_SYNC_DIR, /* its name */
    SPARE_READY,
    SPARE_RECYCLE, /* to come from a segment that goes */
    SPARE_REMOVE,  /* it failed */
};

struct store_spare {
    enum spare_step step;
    bool busy;
    struct io_req req;
    struct store_file file;
    char name[STORE_NAME_ROOM];
    uint64_t zeroed;
    uint64_t number; /* of the next name */
    uint64_t last_size;
    uint64_t retry_ns; /* not before; 0: at once */
    int error;         /* of the last attempt; 0: it went well */
    unsigned failures; /* in a row */
};

enum retire_step { RETIRE_NONE = 0, RETIRE_SEGMENT, RETIRE_INDEX, RETIRE_SYNC };

struct store_retire {
    enum retire_step step;
    bool busy;
    bool recycle;
    struct io_req req;
    uint64_t retry_ns; /* the request failed, and is not made again before; 0: it did not */
    uint64_t first;
    char name[STORE_NAME_ROOM];
};

/* An index file on its way to the disk. */
struct store_index_file {
    bool busy;
    struct io_req req;
    int fd;
    unsigned char *buf; /* STORE_INDEX_BYTES */
};

/* Record i of the cursors file. A removed one is used again after the disk knows of the removal. */
enum floor_state { FLOOR_FREE = 0, FLOOR_USED, FLOOR_REMOVED };

struct store_floor {
    enum floor_state state;
    bool dirty;
    bool late;    /* its write failed: the next round tries it again, this one goes on without it */
    bool known;   /* `saved` has reached the disk */
    bool doubted; /* its other copy could not be read, and may have been the newer one */
    uint8_t copy; /* the valid one of A and B */
    uint64_t floor, saved, generation;
    char name[64];
};

struct store_floors {
    struct store_floor *list;
    uint32_t cnt, room;
    struct store_file file;
    struct io_req req;
    bool round;         /* saving goes on until nothing is dirty */
    bool busy;          /* in flight */
    bool flying;        /* in flight, or come back and not looked at */
    bool told;          /* something was saved that store_events.saved does not know yet */
    uint32_t at;        /* the record that is being written */
    uint64_t writing;   /* its floor */
    bool removing;      /* its removal */
    int error;          /* of a write of this round */
    unsigned char *buf; /* LOG_BLOCK */
    struct loop_timer timer;
};

struct flush_batch {
    struct io_req req;
    void *buf;
    struct log_chain after;
    struct log_batch header;
    uint64_t offset, end; /* of the batch in its segment */
    bool finished;
};

struct flush {
    struct ring_reader reader; /* the next message to be taken */
    struct log_chain chain;    /* behind the last batch issued */
    struct log_chain durable;  /* behind the last durable one */
    struct flush_batch batch[FLUSH_BATCHES];
    unsigned head, count;   /* in flight: batch[head % FLUSH_BATCHES] is the oldest */
    struct store_file file; /* the open segment */
    uint64_t end;           /* behind the last batch issued; 0: not even a header */
    unsigned char *tail;    /* the block in which `end` lies, up to there */
    struct log_index index; /* of the open segment, durable batches */
    struct io_req sync;     /* of the open segment's name */
    bool naming, named;     /* it is under way; it is done */
    bool full;              /* what comes next does not fit into the open segment */
    bool attached, damaged;
    bool eager; /* whoever waited was just woken and will be back */
    bool barrier_refused;
    int error;             /* a write or the name's sync failed: give this file up */
    int why;               /* ... and what it was the last time */
    unsigned failures;     /* files in a row */
    uint64_t hold_ns;      /* no new file before */
    uint64_t since_ns;     /* something has been pending since */
    uint32_t average;      /* bytes of a message in the log */
    uint64_t durable_told; /* what ring_daemon says */
    struct loop_timer timer;
};

/* What the writer waits for. */
enum flush_verdict {
    FLUSH_NOTHING = 0, /* a message */
    FLUSH_LATER,       /* more messages, or the interval */
    FLUSH_TURN,        /* the loop's next turn: what has completed meanwhile goes first */
    FLUSH_FLIGHT,      /* a write */
    FLUSH_SPARE,       /* a segment */
    FLUSH_HOLD,        /* the time after too many failures */
    FLUSH_BUFFER,      /* a staging buffer */
    FLUSH_STOPPED,     /* nothing: not attached, or damaged */
};

struct store {
    struct store_env env;
    struct log_topic topic;
    struct ring_view *view; /* NULL until store_attach */
    struct store_events events;
    char damage[STORE_WHY]; /* why it is damaged; empty: it is not */
    bool damage_told;
    int dir;       /* its directory, locked (flock) */
    unsigned busy; /* requests in flight */
    bool again;    /* a step made another one possible */
    uint64_t
        wait_until_ns; /* recovery waits so long for writes of a dead daemon; 0: nobody waits */
    bool closing;
    struct loop_task task;
    struct loop_timer retry, expire;
    void (*drained)(void *user); /* NULL: not draining */
    void *drained_user;

    struct store_seg *segs;
    uint32_t seg_cnt, seg_room;
    uint64_t bytes; /* of all segments, durable */
    uint64_t size_min, size_target;

    struct store_spare spare;
    struct store_retire retire;
    struct store_index_file index;
    struct store_floors floors;
    struct flush flush;
    enum flush_verdict verdict;
};

/* --- store.c ----------------------------------------------------------------------------- */

/* store__new makes an empty store for the topic; store__free is its opposite, nothing in flight.
 * -ENOMEM; -EMSGSIZE: its messages can be longer than any segment. */
int store__new(const struct store_env *env, const struct log_topic *topic, struct store **ret);
void store__free(struct store *s);
void store__work(struct store *s);
/* store__say_state writes the topic's state, unless nobody has attached. */
void store__say_state(struct store *s, enum ring_topic_state state, const char *reason);
/* store__say_log writes log_first and log_bytes. */
void store__say_log(struct store *s);
/* store__seg_push appends a segment; there is room, store__seg_reserve made it. */
int store__seg_reserve(struct store *s);
struct store_seg *store__seg_push(struct store *s);
static inline struct store_seg *
store__seg_last(struct store *s)
{
    return s->seg_cnt ? &s->segs[s->seg_cnt - 1] : NULL;
}
/* store__seg_is_empty: no number is complete in it; there may be pieces of its first message. Only
 * the last segment can be so: the one after it would have its name. */
static inline bool
store__seg_is_empty(const struct store_seg *seg)
{
    return seg->next == seg->first;
}

/* --- store_disk.c ------------------------------------------------------------------------ */

/* store__submit hands a request over; its done() begins with store__landed, which gives the store
 * and defers its task. */
void store__submit(struct store *s, struct io_req *req, void (*done)(struct io_req *req));
struct store *store__landed(struct io_req *req);

/* store__settle blocks until nothing of this store is in flight. */
void store__settle(struct store *s);

/* These block, for start and stop: the request's result, 0 or negative. store__put writes a small
 * file whole and syncs it, the directory not. store__from_disk syncs a file and drops what the page cache has of it, so
 * that what is read then is what the disk has. */
int store__run(struct io *io, struct io_req *req);
int store__sync(struct io *io, int fd);
int store__from_disk(struct io *io, int fd);
int store__remove(struct io *io, int dir, const char *name, uint32_t flags);
int store__put(struct io *io, int dir, const char *name, const void *data, uint32_t len);

/* Locks. A description that writes holds an open file description lock of its file, F_WRLCK, which lives as long as the
 * description does, and that is until its last write has ended, also when its process was killed. Readers have descriptors of
 * segments: they can lock, too, but only as readers. So nobody waits for a lock that a reader can hold. Directories, which
 * can be opened for reading only and are handed out to nobody, are locked with flock.
 *
 * store__open opens a segment, spare or cursors file for direct writing and locks it. -EBUSY: a dead daemon's writes have not
 * ended; recovery waits for that, nobody else does. -EAGAIN: a reader has locked it.
 * store__fence waits until nobody writes to a file, store__lock_directory until a directory is ours: to until_ns at the
 * latest, and only look when that is past. -EBUSY. */
int store__open(struct store *s, const char *name, uint32_t flags, struct store_file *ret);
void store__close(struct store *s, struct store_file *file);
int store__fence(int fd, uint64_t until_ns);
int store__lock_directory(int fd, uint64_t until_ns);
/* store__open_read opens for reading only, through the page cache. A descriptor or negative. */
int store__open_read(const struct store *s, const char *name);

/* store__zeros is a megabyte of zeros, aligned for direct writes. */
#define STORE_ZEROS (1u << 20)
const unsigned char *store__zeros(void);

uint64_t store__realtime(void);

/* --- store_remove.c ---------------------------------------------------------------------- */

/* store__draft_name makes a directory name that is no topic's: while it is not yet, or no more.
 * store__clear removes such a directory with its files, by and by. */
#define STORE_PATH 256
void store__draft_name(const char *name, const char *what, char ret[STORE_PATH]);
void store__clear(const struct store_env *env, const char *name);

/* --- store_spare.c ----------------------------------------------------------------------- */

/* store__spare_begin makes and allocates the next spare, store__spare_look takes its next step.
 * store__spare_take gives the ready one the name of a segment: 0, or an error, and it is gone. */
int store__spare_begin(struct store *s, uint64_t size);
void store__spare_look(struct store *s);
int store__spare_take(struct store *s, const char *name, struct store_file *ret);
uint64_t store__spare_size(const struct store *s);
void store__retire_look(struct store *s);

/* --- store_index.c ----------------------------------------------------------------------- */

/* store__index_write begins to write the index file of a segment; when one is being written
 * already it is left out, and made anew when somebody needs it. */
void store__index_write(struct store *s, struct log_index *index, const struct store_seg *seg,
                        uint64_t hash);
/* store__index_load reads the index file of a closed segment into memory, calloc'ed, to be freed
 * with free. -ENOENT, -EBADMSG, -ENOMEM, -EIO. store__index_make walks the segment instead, up to
 * where `until` begins; blocks. -EBADMSG: it does not lead there. */
struct store_index_view {
    struct log_index index;
    void *memory;
};
int store__index_load(struct store *s, uint64_t first, struct store_index_view *ret);
int store__index_make(struct store *s, const struct store_seg *seg, const struct store_seg *until,
                      struct store_index_view *ret);

/* --- store_floor.c ----------------------------------------------------------------------- */

/* store__floors_create makes an empty cursors file, whole or not at all, store__floors_load opens the one that is there
 * and reads it. store__floors_limit takes floors above the tail back: they are of messages that were
 * lost, and their numbers are given out again, so it is on the disk before the first of them is. All
 * block. */
int store__floors_create(struct io *io, int dir, uint64_t topic_id);
int store__floors_load(struct store *s, char why[STORE_WHY]);
int store__floors_limit(struct store *s, uint64_t tail, char why[STORE_WHY]);
void store__floors_look(struct store *s);
void store__floors_round(struct loop_timer *timer);
void store__floors_close(struct store *s);
/* store__floors_saved: what was to be saved is, or cannot be. */
bool store__floors_saved(const struct store *s);

#endif
