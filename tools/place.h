/* place.h - where a bus keeps its things: its socket's lock file, the shared memory of its topics, its store. For the verbs
 * that look deeper than the inspector's calls do. Everything is opened and mapped read-only; nothing here needs a daemon.
 * One thread. */
#ifndef TOOLS_PLACE_H
#define TOOLS_PLACE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "ring/ring.h"
#include "shm/name.h"

struct place {
    char path[PATH_MAX];  /* the socket, or a directory with copies */
    char store[PATH_MAX]; /* one directory per topic; "" when it is not known */
    char prefix[LIMIT_SHM_PREFIX + 1];
    bool directory;
};

/* place_find looks at the lock file behind `bus` (NULL as in leat_open). 0, -ENOENT: there is neither socket, nor lock file, nor
 * memory of such a bus. */
int place_find(const char *bus, struct place *ret);

/* place_topics gives the names of all topics that are in memory or in the store, sorted, each once, as an array ended by
 * NULL that place_topics_free takes. 0 or a negative errno. */
int place_topics(const struct place *p, char ***ret);
void place_topics_free(char **topics);

/* place_log writes the directory of a topic's log: 0, or -ENOENT. */
int place_log(const struct place *p, const char *topic, char ret[PATH_MAX]);

/* A topic's memory, mapped read-only. */
struct place_ring {
    struct ring_view view;
    uint64_t data_size, control_size;
    uint32_t version;    /* when it is another one than ours */
    bool unmade;         /* -EBADMSG: it has no header yet, or no more */
    bool twice;          /* among copies: there are others of the same topic */
    char name[PATH_MAX]; /* of the data object, for messages */
};

/* place_ring_open: in a directory it is the copy whose header has the topic's name. -ENOENT: it has none; -EBADMSG;
 * -EPROTONOSUPPORT; -EACCES. */
int place_ring_open(const struct place *p, const char *topic, struct place_ring *ret);
void place_ring_close(struct place_ring *r);

/* Memory that is cut short while it is looked at ends the program, with a line and status 1. After place_survive it does not: what
 * is gone reads as zeroes, and place_cut says that this came to pass in the ring opened last. One ring at a time is open. */
void place_survive(void);
bool place_cut(void);

/* place_alive says whether the daemon that a topic's memory names is running. */
bool place_alive(const struct ring_view *v);

/* place_locked says whether somebody has a file locked as its writer, as a daemon has the segment that it writes to. Takes no
 * lock itself. */
bool place_locked(int fd);

#endif
