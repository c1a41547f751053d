/* base.h - the few words that every other file speaks: alignment, checked arithmetic, compiler hints. */
#ifndef SHM_BASE_H
#define SHM_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Two writers are kept this far apart: a line is 64 bytes, and processors fetch lines in pairs. */
#define SHM_APART 128
#define SHM_LINE 64
#define SHM_PAGE 4096

#define SHM_LIKELY(x) __builtin_expect(!!(x), 1)
#define SHM_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* The layout tables in the headers are made true by these. */
#define SHM_AT(type, field, offset)                                                                \
    _Static_assert(offsetof(type, field) == (offset), #type "." #field " has moved")
#define SHM_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " has changed its size")

static inline uint64_t
shm_align(uint64_t n, uint64_t to)
{
    return (n + to - 1) & ~(to - 1);
}

static inline bool
shm_is_power_of_two(uint64_t n)
{
    return n && !(n & (n - 1));
}

static inline uint64_t
shm_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t
shm_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* True when [off, off + len) lies inside [0, size), without overflow. */
static inline bool
shm_within(uint64_t off, uint64_t len, uint64_t size)
{
    return off <= size && len <= size - off;
}

/* Asks for a line to write, some messages before it is needed, so that the claim's locked
 * instruction does not wait for the stores of the message before. The instruction is a hint and
 * never faults; processors without it ignore it. */
static inline void
shm_prefetch_write(const void *at)
{
#if defined(__x86_64__)
    __asm__("prefetchw %0" ::"m"(*(const char *)at));
#else
    __builtin_prefetch(at, 1, 3);
#endif
}

/* One breath of a polling loop. */
static inline void
shm_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__("yield");
#endif
}

#endif
