/* folder.h - what a daemon leaves of one topic in its store, built as the input says: a chain of segments, indexes, cursors,
 * topic file, spares; sound at first, and then spoilt. */
#ifndef TESTS_FUZZ_FOLDER_H
#define TESTS_FUZZ_FOLDER_H

#include "tests/fuzz/input.h"
#include "tests/fuzz/segment.h"

#define FOLDER_TOPIC_ID 0x7070707070707070ull
#define FOLDER_SEGMENTS 3

struct folder {
    const char *path; /* below the place */
    const char *name; /* of the topic */
    struct segment s; /* the one built last */
    uint64_t first[FOLDER_SEGMENTS];
    uint32_t segments;
    uint64_t next;     /* behind the last batch of the last segment */
    bool spoilt;       /* something is not as the daemon leaves it, */
    bool spoilt_below; /* ... and that is not in the last segment's batches only */
};

/* folder_build writes the files. The struct is zeroed before the first use; `path` and `name` are set. */
void folder_build(struct folder *f, struct input *in);

#endif
