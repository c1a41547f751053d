/* Read before every file that clang-tidy analyses, and by nothing else. The analyser does not know
 * that errno is positive after a failure, and cannot reason about the sign of a negation, so that
 * every `return -errno` looks to it like a possible 0. Here errno is one of a few real values. */
#ifndef TESTS_RULES_TIDY_ERRNO_H
#define TESTS_RULES_TIDY_ERRNO_H

#include <errno.h>

int tidy_any(void);

static inline int *
tidy_errno(void)
{
    static int value;

    switch (tidy_any()) {
    case 0:
        value = EINTR;
        break;
    case 1:
        value = EAGAIN;
        break;
    case 2:
        value = ENOENT;
        break;
    case 3:
        value = EEXIST;
        break;
    default:
        value = EIO;
        break;
    }
    return &value;
}

#undef errno
#define errno (*tidy_errno())

#endif
