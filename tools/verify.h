/* verify.h - checking what a bus left: rings and logs. Never writes, needs no daemon, takes no lock. */
#ifndef TOOLS_VERIFY_H
#define TOOLS_VERIFY_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "tools/place.h"

/* Verdicts, which are exit statuses too. */
enum verify_verdict {
    VERIFY_CLEAN = 0,
    VERIFY_CUT =
        1, /* something unfinished, which the daemon cuts off or makes anew; nothing durable is lost */
    VERIFY_DAMAGED = 2, /* something that was there is not, or cannot be believed */
    VERIFY_BLIND = 8,   /* something could not be looked at */
    VERIFY_USAGE = 16,
};

/* One topic being checked. */
struct verify {
    const struct place *place;
    const char *topic;
    json_t *report; /* of the topic: what was found is appended to its "findings" */
    enum verify_verdict verdict;
    uint64_t topic_id; /* 0: not known yet */
    uint64_t ring_id;  /* the same, as the ring had it */
    bool alive;        /* the daemon is running: the log's end is being written */
    bool has_ring;
    uint64_t durable; /* what the ring says; 0: it has none */
};

/* Where something was found. 0, NULL: it has no such place. */
struct verify_where {
    const char *file;
    uint64_t offset, seq;
};

/* verify_found notes a finding and lifts the verdict. `where` may be NULL. */
void verify_found(struct verify *v, enum verify_verdict verdict, const struct verify_where *where,
                  const char *format, ...) __attribute__((format(printf, 4, 5)));

/* verify_ring and verify_log check one half each: 0, or -ENOENT: the topic has none. All else they note. The ring goes
 * first: it says what the log must hold. */
int verify_ring(struct verify *v);
int verify_log(struct verify *v);

/* verify_removed looks once more: is the topic whose ring was seen gone, or another one's by now, or being removed? Then what
 * was found says nothing. */
bool verify_removed(const struct verify *v);

/* Parts of verify_log. */
struct verify_chain {
    uint64_t next; /* first number behind what has been walked; 0: nothing has */
    uint64_t hash; /* of the last batch */
    uint64_t first;
    uint64_t messages, aborted, bytes;
};

/* A segment, and the one behind it. */
struct verify_segment {
    const char *folder;
    uint64_t first, next; /* by their names; next 0: it is the last */
    uint64_t next_hash;   /* what the next one says of this one's last batch; 0: not known */
};
json_t *verify_segment(struct verify *v, const struct verify_segment *s,
                       struct verify_chain *chain);
/* verify_unbegun: is the segment of that name, which is the last, none? Then it is noted what the daemon does with it. */
bool verify_unbegun(struct verify *v, const char *folder, uint64_t first);
json_t *verify_cursors(struct verify *v, const char *folder);

/* verify_read reads a whole small file of at most `most` bytes into memory the caller frees. 0 or a negative errno. */
int verify_read(const char *path, uint64_t most, void **ret, uint64_t *ret_size);

#endif
