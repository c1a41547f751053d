/* feed.h - where `sub` and `cat` take messages from: a subscription, or, without a daemon, the inspector. One thread. */
#ifndef TOOLS_FEED_H
#define TOOLS_FEED_H

#include "tools/cli.h"

struct feed_options {
    const char *topic;
    const char *name; /* of a named subscription; NULL: none */
    struct leat_position from;
    int kind; /* enum leat_kind; -1: what suits the topic */
    bool durable_only, create, autostart;
    bool follow;  /* go on after the end */
    bool inspect; /* without a daemon the inspector may do */
};

struct feed {
    const struct cli *cli;
    leat_bus *bus;
    leat_sub *sub; /* NULL: it is the inspector that reads */
    leat_inspect *inspect;
    const char *topic;
    uint64_t next, end; /* [next, end) is still to come when it does not follow */
    uint64_t from_ns;   /* inspector: older messages are left out */
    uint64_t payload_max, depth;
    uint64_t lost_from, lost; /* inspector: a gap that is to be told next */
    uint64_t open;   /* places at the end of it of which nobody knows whether they will be filled */
    bool store_only; /* there is no ring, and so none of those */
    bool follow, named;
    bool again;          /* what release refuses is given once more */
    unsigned char *room; /* inspector: `cap` bytes for a message */
    size_t cap;
};

/* feed_open: 0, or an exit status after saying what is wrong. */
int feed_open(struct feed *f, const struct cli *c, const struct feed_options *o);

/* feed_next: 1 and a message, which is the caller's until feed_release; LEAT_GAP; 0: none is there now; -ENODATA: it was
 * the last; or a negative errno. Does not wait for messages. */
int feed_next(struct feed *f, struct leat_msg *ret);

/* feed_release: 0, or -ESTALE: what was read of the message must be thrown away. */
int feed_release(struct feed *f, struct leat_msg *msg);

/* feed_wait waits a while for something to come: 0, or a negative errno. */
int feed_wait(struct feed *f);

/* feed_ack says that all up to seq has been printed. No effect without a name. */
int feed_ack(struct feed *f, uint64_t seq);

/* feed_error prints why a call failed: CLI_FAILED. */
int feed_error(struct feed *f, int code);

void feed_close(struct feed *f);

/* feed_position reads latest, earliest, SEQ, last:N, time:DATE or -TIME (that long ago). 0 or -EINVAL. */
int feed_position(const char *text, uint64_t now_ns, struct leat_position *ret);

#endif
