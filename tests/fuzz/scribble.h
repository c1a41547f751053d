/* scribble.h - what a hostile neighbour does to a topic's memory: one word at a time, at places that mean something, with values
 * that nearly could be. */
#ifndef TESTS_FUZZ_SCRIBBLE_H
#define TESTS_FUZZ_SCRIBBLE_H

#include "ring/ring.h"
#include "tests/fuzz/input.h"

/* A write of eight bytes into one of the two objects. */
struct scribble {
    bool control;
    uint64_t offset; /* a multiple of 8; at most size - 8 */
    uint64_t value;
};

/* What the choice is made from: the geometry and sizes of the objects, and what stands there now (read through
 * `word`, so that objects may be maps or files). */
struct scribble_target {
    struct ring_geometry geo;
    uint64_t data_size, control_size; /* at least 8 */
    uint64_t (*word)(void *user, bool control, uint64_t offset);
    void *user;
};

/* scribble_choose takes the next write from the input. */
struct scribble scribble_choose(struct input *in, const struct scribble_target *t);

#endif
