/* store.h - the log of one disk topic, as the topic sees it.
 *
 * Owned by the topic, driven by the loop: a store has its own timers, and the daemon calls io_reap when io_event_fd is
 * readable and io_flush at the end of every turn. Nothing here blocks but what says so. One thread.
 *
 *     store_create | store_recover -> store_attach -> store_look ... -> store_drain -> store_close | store_destroy
 *
 * The store is cursor 0 of its ring (RING_KIND_LOG). It writes to ring_daemon what belongs to the log: durable, log_first,
 * log_bytes, flushes, log_errors, and by state_set the states DISK_FULL, LOG_FAILED, DAMAGED and back to OK.
 * Who it is told by is store_events: it reports its troubles to the operator itself. */
#ifndef DAEMON_STORE_H
#define DAEMON_STORE_H

#include "daemon/io.h"
#include "daemon/loop.h"
#include "log/format.h"
#include "ring/ring.h"

struct store;

/* What all stores of a daemon share; outlives them. */
struct store_env {
    struct loop *loop;
    struct io *io;
    int store_dirfd;        /* the store directory, one sub-directory per topic */
    uint64_t segment_bytes; /* of new segments; 0: chosen from the topic's retention */
};

/* What a store tells its topic, never from within a call of the topic's. Any may be NULL. */
struct store_events {
    void (*saved)(void *user);                       /* floors have reached the disk */
    void (*damaged)(void *user, const char *reason); /* the state is set already; stop using it */
    void *user;
};

/* store_create makes directory, topic file and first segment of a new topic. Blocks for the disk. `what` has no seal yet;
 * its topic_id is the ring's. -EEXIST: there is a log of that name. -EMSGSIZE: its lanes allow a message that is longer
 * than any segment. -ENOSPC, -EIO, ...: nothing is left then. */
int store_create(const struct store_env *env, const struct log_topic *what, struct store **ret);

/* store_recover opens what a former daemon left: waits until its last writes are done (locks on the files), walks the log,
 * cuts the torn tail and says so. Blocks for the disk, and for those writes no longer than patience_ns. -EBUSY: they are not
 * done. -ENOENT: no such directory or no topic file in it; -EPROTONOSUPPORT: of a newer
 * version, nothing was touched and `why` names both versions; -EBADMSG: damaged, nothing was removed, `why` says what;
 * -EPERM: its directory is another user's, or open to others, and nothing was touched. `why` is touched only on failure. */
#define STORE_WHY 256
#define STORE_PATIENCE_NS 30000000000ull /* of a daemon that starts */
int store_recover(const struct store_env *env, const char *name, uint64_t patience_ns,
                  char why[STORE_WHY], struct store **ret);

/* What it was made with; the sequence number after the last recovered or created one, fixed until store_attach; and the
 * oldest that can be read from the log now (== next when it is empty). */
const struct log_topic *store_topic(const struct store *s);
uint64_t store_next(const struct store *s);
uint64_t store_first(const struct store *s);

/* store_attach begins to follow the ring from store_next on: takes cursor 0 or goes on with it, publishes durable. The view is
 * the topic's and outlives the store. A floor above the ring's tail is taken back to it; blocks for the disk then. -EBADMSG: ring
 * and log contradict each other (`why`); -EIO, ...: such a floor cannot be saved. */
int store_attach(struct store *s, struct ring_view *view, const struct store_events *events,
                 char why[STORE_WHY]);

/* store_look does whatever is due: after a RING packet, and whenever something may have changed. Never blocks. */
void store_look(struct store *s);

/* store_is_idle: nothing is pending and the bell is armed. */
bool store_is_idle(const struct store *s);

/* store_drain writes everything that is committed now, saves floors, and then calls done, perhaps at once and also
 * when the log has failed for good or is closed before. For a clean stop. */
void store_drain(struct store *s, void (*done)(void *user), void *user);

/* store_open_segment opens, read-only, the segment that holds seq, or the oldest one when seq is older, or the last one
 * when it is newer; offset is where to begin to walk to meet seq. The segment counts as handed out: never recycled.
 * The descriptor becomes the caller's. -ENOENT, -EMFILE, -EIO. */
struct store_segment {
    int fd;
    uint64_t first; /* the segment's */
    uint64_t next;  /* first of the next segment; 0: this is the open one */
    uint64_t seq;   /* first sequence number of the batch at offset */
    uint64_t offset;
    uint64_t hash; /* of the batch before */
    uint64_t size;
};
int store_open_segment(struct store *s, uint64_t seq, struct store_segment *ret);

/* store_seq_at is the first sequence number of the last batch that begins at or before time_ns, store_first when there is
 * none: where a walk that looks for that time begins. Reads an index; blocks for the disk. */
int store_seq_at(struct store *s, uint64_t time_ns, uint64_t *ret_seq);

/* Floors of named subscriptions. _get: -ENOENT. _set makes or moves one (never backwards but for a new name), in memory at once and
 * on disk soon, several in one write; -ENOSPC: LIMIT_CURSORS names. _saved is the floor that is on disk (0: none yet).
 * _remove: -ENOENT. _next iterates: *index is 0 at first and moves on; 1 with a name and its floor, or 0. */
int store_floor_get(const struct store *s, const char *name, uint64_t *ret);
int store_floor_set(struct store *s, const char *name, uint64_t floor);
uint64_t store_floor_saved(const struct store *s, const char *name);
int store_floor_remove(struct store *s, const char *name);
int store_floor_next(const struct store *s, uint32_t *index, const char **ret_name,
                     uint64_t *ret_floor);

/* store_close waits for what is in flight and frees; the log stays as it is. NULL is fine; returns NULL. store_destroy also
 * removes the directory: at once for everybody who looks (it is renamed), the space soon after. 0 or the error of the
 * rename; the store is freed anyway. */
struct store *store_close(struct store *s);
int store_destroy(struct store *s);

/* store_discard does what store_destroy does to a directory that could not be opened: one that is damaged.
 * store_sweep removes what of such directories, and of topics that were being made, a former daemon left; once, at
 * the start. They are named NAME~new-TIME and NAME~gone-TIME, which is no topic's name. */
int store_discard(const struct store_env *env, const char *name);
int store_sweep(const struct store_env *env);

#endif
