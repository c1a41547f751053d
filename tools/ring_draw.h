/* ring_draw.h - the picture of a ring in a terminal. */
#ifndef TOOLS_RING_DRAW_H
#define TOOLS_RING_DRAW_H

#include "tools/look.h"
#include "tools/table.h"
#include "tools/term.h"

/* What one picture shows; everything is the caller's. */
struct ring_picture {
    const struct term *term;
    const struct ring_view *view;
    const struct look *look;
    json_t *topic;      /* facts_topic */
    json_t *publishers; /* facts_publishers, with "rate" when it is known */
    json_t *cursors;    /* facts_cursors; gets "mark" and "holds" */
    const char *holder; /* who holds publishers up, in words; "" nobody */
    int columns;
};

/* ring_draw_cells says how many cells a picture of so many columns has. */
unsigned ring_draw_cells(int columns);

/* ring_draw adds the picture. */
void ring_draw(struct buf *b, struct ring_picture *p);

/* ring_draw_raw adds one slot, annotated, and up to `most` bytes of its payload if that stands in a lane. */
void ring_draw_raw(struct buf *b, const struct ring_view *v, const struct look_raw *raw,
                   uint64_t most);

#endif
