/* config.h - what the operator decided: one file, and what stands in conf.d beside it.
 *
 *   [bus]                  the daemon itself
 *   socket = /run/leat/bus
 *
 *   [topic orders.*]       a rule: what topics are made with whose name matches the pattern ('*' any run of characters,
 *   depth = 64K            '?' one)
 *   durability = disk
 *
 * A topic takes every key from the last matching rule that has it, in the order in which the files are read: the main file,
 * then conf.d/ *.conf in the order of their names. Unknown sections, keys and values are errors which name file, line and
 * what is allowed. Sizes take K, M, G, T (powers of 1024), times ns, us, ms, s, m, h, d, w. All of it happens at start;
 * nothing here is reread. docs/man/leatd.8 lists the keys. */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include <stdio.h>

#include "shm/base.h"
#include "shm/limits.h"

#define CONFIG_SOCKET 108 /* what a socket address holds */
#define CONFIG_PATH 1024
#define CONFIG_ERROR 600

/* What a topic is made with, in the words of the file. */
struct config_topic {
    uint64_t depth, lane_size;
    uint64_t retention_bytes, retention_ns; /* 0: no limit */
    uint64_t lag_ns;                        /* 0: never evict */
    uint32_t slot_size, max_publishers, max_subscribers;
    uint32_t durability, when_full, timestamps; /* the enums of ring.h */
    uint32_t retain_until_acked;
    uint32_t mode, owner, group;
    uint32_t create;  /* anybody who reaches the socket may have it made */
    uint32_t declare; /* made at start; the pattern is a name */
};

/* Which fields a rule gives: bit i is the i-th of these. */
enum config_field {
    CONFIG_DEPTH,
    CONFIG_SLOT_SIZE,
    CONFIG_LANE_SIZE,
    CONFIG_MAX_PUBLISHERS,
    CONFIG_MAX_SUBSCRIBERS,
    CONFIG_DURABILITY,
    CONFIG_WHEN_FULL,
    CONFIG_RETENTION_BYTES,
    CONFIG_RETENTION_NS,
    CONFIG_RETAIN_UNTIL_ACKED,
    CONFIG_MODE,
    CONFIG_OWNER,
    CONFIG_GROUP,
    CONFIG_TIMESTAMPS,
    CONFIG_LAG,
    CONFIG_CREATE,
    CONFIG_DECLARE,
    CONFIG_FIELDS
};

struct config_rule {
    char pattern[LIMIT_TOPIC_NAME + 1];
    uint32_t given; /* 1u << enum config_field */
    uint32_t line;  /* where it stands, for messages */
    char *file;
    struct config_topic topic;
};

struct config {
    char socket[CONFIG_SOCKET];
    char store[CONFIG_PATH];
    char prefix[LIMIT_SHM_PREFIX]; /* empty: derived from the socket */
    char io[16];                   /* auto, io_uring, block */
    uint32_t mode;                 /* of the socket */
    uint32_t membarrier;           /* 1: where the kernel has it */
    uint32_t keep;                 /* 1: rings stay in shared memory after a clean stop */
    uint32_t user_sessions; /* per user who is neither root nor the daemon's own; 0: no limit */
    uint32_t user_topics;
    uint64_t user_shm;   /* bytes */
    uint32_t user_seats; /* publishers, and subscribers, of a topic that is another's */
    struct config_rule *rules;
    uint32_t rule_count;
};

/* config_init fills in the defaults: of the system's bus, or of the calling user's own. -ENAMETOOLONG. */
int config_init(struct config *c, bool user);

/* config_default_path is the file that is read when none is named. */
void config_default_path(bool user, char ret[CONFIG_PATH]);

/* config_load reads `path` and conf.d beside it. A path that is not there is an error only when `must` is set. 0, or -EINVAL,
 * -ENOENT, -EACCES, -ENOMEM, ... with a text that names file and line in `error`. */
int config_load(struct config *c, const char *path, bool must, char error[CONFIG_ERROR]);

/* config_set sets one key of [bus] from its text, for options of the command line. -EINVAL with a text. */
int config_set(struct config *c, const char *name, const char *value, char error[CONFIG_ERROR]);

void config_free(struct config *c);

/* config_topic_default is a topic made without any rule. config_resolve is that and then every matching rule; returns
 * the fields that rules gave. */
struct config_topic config_topic_default(void);
uint32_t config_resolve(const struct config *c, const char *name, struct config_topic *ret);

/* config_print writes the whole configuration as a file that would load to the same. */
void config_print(const struct config *c, FILE *to);

#endif
