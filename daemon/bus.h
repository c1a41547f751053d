/* bus.h - one daemon: what it holds, how it starts, serves and stops.
 *
 * Everything a bus has hangs off this struct and belongs to the one thread that runs the loop. Starting, in this order: the
 * lock of the socket, the store and its lock, storage, what a former daemon left (adopt.h), the topics the configuration
 * declares, and only then the socket: a client that can connect finds everything in place. */
#ifndef DAEMON_BUS_H
#define DAEMON_BUS_H

#include <sys/types.h>

#include "daemon/config.h"
#include "daemon/store.h"
#include "daemon/why.h"

struct process;
struct session;
struct topic;

#define BUS_BUCKETS 256

/* What the socket's lock is called, after the socket. SOCKET.lock beside it says the same to everybody. */
#define BUS_GUARD ".guard"

struct bus {
    struct config config;
    char prefix[LIMIT_SHM_PREFIX];
    uint8_t boot_id[16];
    uint64_t id;          /* of the store: stays over restarts */
    uint64_t incarnation; /* of this run */
    uint32_t pid;
    uint64_t start;
    uint32_t barrier; /* enum shm_barrier, of new topics */

    struct loop *loop;
    struct io *io;
    struct loop_source io_source;
    struct store_env store_env;
    int store_dirfd;
    int bus_lock, store_lock;
    int prefix_lock; /* of a prefix that the configuration chose; -1: it comes from the socket */

    struct loop_source listener;
    struct loop_source signals;
    int spare_fd; /* given up for a moment to turn somebody away when there are no descriptors left; -1: there was none */
    bool starved; /* nobody could be taken in, which was said */
    struct loop_timer accept_again, send_again;

    struct topic *topics;               /* all, by link */
    struct topic *by_name[BUS_BUCKETS]; /* by hash of the name */
    struct topic *by_id[BUS_BUCKETS];
    struct process *processes;
    struct session *sessions;
    uint32_t session_count;
    uint64_t sessions_begun;

    uint32_t draining; /* stores that have not finished; while stopping */
    bool stopping;
    struct loop_timer stop_timer;
    struct loop_timer adopt_timer; /* logs that could not be read are tried again */
};

/* bus_open starts a bus as `config` says, which it takes over, also on failure. 0 or a negative errno with the text in
 * `why`: -EBUSY another daemon serves this socket or this store, and `why` says which process. */
int bus_open(struct config *config, struct bus **ret, char why[WHY_ROOM]);

/* bus_run serves until SIGTERM or SIGINT, then drains the logs and returns 0; a second signal, or 10 s, ends the
 * draining. Negative: the loop failed. */
int bus_run(struct bus *bus);

/* bus_close ends everything; rings stay in shared memory unless keep = no. NULL is fine; returns NULL. */
struct bus *bus_close(struct bus *bus);

/* bus_realtime is the time of day in nanoseconds. */
uint64_t bus_realtime(void);

/* bus_random is a random number other than 0. */
uint64_t bus_random(void);

/* bus_store_is_covered says whether the store's path leads elsewhere now than to the directory that was opened: it was mounted over. */
bool bus_store_is_covered(const struct bus *bus);

#endif
