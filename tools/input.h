/* input.h - a stream cut into messages at a separator. One thread. */
#ifndef TOOLS_INPUT_H
#define TOOLS_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct input {
    int fd;
    char separator;
    bool whole; /* the stream is one message; separators mean nothing */
    bool ended;
    size_t max; /* the longest message */
    char *data;
    size_t start, len, cap; /* data[start, len) has not been given out */
    uint64_t number;        /* of the message given last, from 1 */
};

/* input_next gives the next message, without its separator, valid until the next call that may wait. An end without a
 * separator ends the last message; an empty stream has none, a whole one always exactly one. 1; 0: the end, or, when
 * `wait` is false, no message is complete yet; -EMSGSIZE: it is longer than max; -EINTR; a negative errno. */
int input_next(struct input *in, bool wait, const char **ret_data, size_t *ret_len);

void input_free(struct input *in);

#endif
