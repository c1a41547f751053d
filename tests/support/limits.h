/* limits.h - a process that has no descriptor left, or no memory. Limits are lowered to what is in use, and put back. */
#ifndef TESTS_SUPPORT_LIMITS_H
#define TESTS_SUPPORT_LIMITS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

/* Sets a limit below what it is and remembers that, or puts it back. */
static inline bool
limits_set(int what, rlim_t *before, rlim_t limit, bool lower)
{
    struct rlimit l;

    if (getrlimit((__rlimit_resource_t)what, &l))
        return false;
    if (lower)
        *before = l.rlim_cur;
    l.rlim_cur = lower ? limit : *before;
    return !setrlimit((__rlimit_resource_t)what, &l);
}

/* So many descriptors can be opened, and no more (-1: not even in place of the newest); limits_free_descriptors ends it. */
static rlim_t limits_descriptors;

static inline bool
limits_take_descriptors(int left)
{
    int fd = dup(STDOUT_FILENO);

    if (fd < 0)
        return false;
    (void)close(fd);
    return limits_set(RLIMIT_NOFILE, &limits_descriptors, (rlim_t)(fd + left), true);
}

static inline bool
limits_free_descriptors(void)
{
    return limits_set(RLIMIT_NOFILE, &limits_descriptors, 0, false);
}

/* So many bytes can be mapped, and no more; limits_free_memory ends it. Not under a sanitizer, whose maps are vast. */
static rlim_t limits_memory;

static inline bool
limits_take_memory(uint64_t left)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (!f)
        return false;
    if (fscanf(f, "%lu", &pages) != 1)
        pages = 0;
    (void)fclose(f);
    return pages && limits_set(RLIMIT_AS, &limits_memory, pages * 4096 + left, true);
}

static inline bool
limits_free_memory(void)
{
    return limits_set(RLIMIT_AS, &limits_memory, 0, false);
}

#endif
