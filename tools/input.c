#include "tools/input.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK 65536

/* Reads some more, at the end of what has not been given out. 0 or a negative errno; ended is set at the end. */
static int
fill(struct input *in)
{
    ssize_t n;

    if (in->start && in->start + CHUNK > in->cap / 2) {
        memmove(in->data, in->data + in->start, in->len - in->start);
        in->len -= in->start;
        in->start = 0;
    }
    if (in->cap - in->len < CHUNK) {
        size_t cap = in->cap ? in->cap * 2 : 4 * (size_t)CHUNK;
        char *data = realloc(in->data, cap);
        if (!data)
            return -ENOMEM;
        in->data = data;
        in->cap = cap;
    }
    n = read(in->fd, in->data + in->len, in->cap - in->len);
    if (n < 0)
        return -errno;
    in->ended = n == 0;
    in->len += (size_t)n;
    return 0;
}

static int
give(struct input *in, size_t len, size_t skip, const char **ret_data, size_t *ret_len)
{
    if (len > in->max)
        return -EMSGSIZE;
    *ret_data = in->data + in->start;
    *ret_len = len;
    in->start += len + skip;
    in->number++;
    return 1;
}

int
input_next(struct input *in, bool wait, const char **ret_data, size_t *ret_len)
{
    size_t seen = 0;

    for (;;) {
        size_t left = in->len - in->start;
        int r;

        if (!in->whole && left > seen) {
            const char *from = in->data + in->start;
            const char *end = memchr(from + seen, in->separator, left - seen);
            if (end)
                return give(in, (size_t)(end - from), 1, ret_data, ret_len);
        }
        seen = left;
        if (left > in->max)
            return -EMSGSIZE;
        if (in->ended && (left || (in->whole && !in->number)))
            return give(in, left, 0, ret_data, ret_len);
        if (in->ended || !wait)
            return 0;
        r = fill(in);
        if (r)
            return r;
    }
}

void
input_free(struct input *in)
{
    free(in->data);
    in->data = NULL;
}
