/* term.h - a terminal, or what is there in its place: size, colours, frames that are redrawn, keys. One thread. */
#ifndef TOOLS_TERM_H
#define TOOLS_TERM_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/buf.h"

struct term {
    bool live;   /* frames replace each other; else they follow each other */
    bool colour; /* a terminal, and NO_COLOR is not set */
    bool utf8;
    bool keys; /* standard input gives keys */
    int frames;
};

/* term_begin finds out what standard output is; `live`: take the whole screen over, if it is one. term_end gives it back. */
void term_begin(struct term *t, bool live);
void term_end(struct term *t);

/* term_size says how large it is now: 80 columns where nobody knows. */
void term_size(const struct term *t, int *ret_columns, int *ret_rows);

/* term_show shows a frame and empties the buffer: 0 or a negative errno. */
int term_show(struct term *t, struct buf *frame);

/* term_key waits for a key: the key, 0 when the time is over, -1 when a signal asked to end. */
int term_key(const struct term *t, int64_t timeout_ns);

/* Colours, empty where there are none. */
enum term_style { TERM_PLAIN, TERM_BOLD, TERM_DIM, TERM_GOOD, TERM_WARN, TERM_BAD };
const char *term_style(const struct term *t, enum term_style style);

#endif
