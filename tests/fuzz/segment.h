/* segment.h - segments built as the input says: by the encoder, so that they are sound, and then spoilt, with or without the
 * hashes made right again. Plain bytes would not get past the first hash. */
#ifndef TESTS_FUZZ_SEGMENT_H
#define TESTS_FUZZ_SEGMENT_H

#include "log/encode.h"
#include "log/scan.h"
#include "tests/fuzz/input.h"

#define SEGMENT_ROOM (768u << 10)
#define SEGMENT_BATCHES 64
#define SEGMENT_STEPS 48

struct segment {
    unsigned char *bytes;   /* SEGMENT_ROOM of them; zero from len on */
    uint32_t len;           /* behind the last byte that was written */
    struct log_chain chain; /* behind the last batch */
    uint64_t durable;       /* what the next batch says */
    uint64_t time_ns;
    uint32_t at[SEGMENT_BATCHES]; /* where the encoder's batches begin */
    uint32_t batches;
    bool spoilt; /* something was done that the writer never does */
};

/* segment_open makes room, once; segment_close frees it. */
void segment_open(struct segment *s);
void segment_close(struct segment *s);

/* segment_build writes a header for `info` and then what the input says, until it says that it is enough. `hash` is
 * of the batch before. */
void segment_build(struct segment *s, struct input *in, const struct log_segment_info *info);

/* A file of `size` bytes that begins with a segment's; what is behind is zero. */
struct segment_file {
    const unsigned char *bytes;
    uint32_t len;
    uint64_t size;
    uint32_t at_most; /* bytes of one read; 0: any */
};
struct log_source segment_source(struct segment_file *f);

#endif
