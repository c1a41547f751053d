/* input.h - decisions taken from the bytes that a fuzzer gives, and what has to hold whatever they are.
 *
 * Numbers are taken from the front; when no bytes are left they are 0, so that every input means something and
 * the shortest one is the tamest. Nothing else decides: an input that failed fails again. */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct input {
    const uint8_t *at;
    size_t left;
};

/* A little-endian number of so many bytes, as far as they are there. */
static inline uint64_t
input_number(struct input *in, unsigned bytes)
{
    uint64_t n = 0;
    size_t len = in->left < bytes ? in->left : bytes;

    memcpy(&n, in->at, len);
    in->at += len;
    in->left -= len;
    return n;
}

static inline uint8_t
input_u8(struct input *in)
{
    return (uint8_t)input_number(in, 1);
}

static inline uint16_t
input_u16(struct input *in)
{
    return (uint16_t)input_number(in, 2);
}

static inline uint32_t
input_u32(struct input *in)
{
    return (uint32_t)input_number(in, 4);
}

static inline uint64_t
input_u64(struct input *in)
{
    return input_number(in, 8);
}

/* In [0, n), by one byte up to 256 and by two above. */
static inline uint32_t
input_below(struct input *in, uint32_t n)
{
    return (uint32_t)(input_number(in, n > 256 ? 2 : 1) % n);
}

/* Copies up to `len` bytes and returns how many there were; the rest of `to` stays as it is. */
static inline size_t
input_bytes(struct input *in, void *to, size_t len)
{
    size_t n = in->left < len ? in->left : len;

    if (n)
        memcpy(to, in->at, n);
    in->at += n;
    in->left -= n;
    return n;
}

/* A promise of the code under test. libFuzzer keeps the input that broke it. */
#define MUST(condition) ((condition) ? (void)0 : must_not_be(__FILE__, __LINE__, #condition))

__attribute__((unused)) static void
must_not_be(const char *file, int line, const char *condition)
{
    (void)fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}

#endif
