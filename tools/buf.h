/* buf.h - bytes on their way out: grows, can be cut back, is written in one piece.
 *
 * A message is formatted straight from shared memory, and only releasing it tells whether those were its bytes; so
 * what is printed has to be taken back when they were not, which stdio cannot. One thread. Out of memory ends
 * the program with a line on standard error. */
#ifndef TOOLS_BUF_H
#define TOOLS_BUF_H

#include <stddef.h>

struct buf {
    char *data;
    size_t len, cap;
};

void buf_add(struct buf *b, const void *data, size_t len);
void buf_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* buf_base64 adds an encoding; buf_dump adds lines of offset, hexadecimal and characters. */
void buf_base64(struct buf *b, const void *data, size_t len);
void buf_dump(struct buf *b, const void *data, size_t len, const char *indent);

/* buf_json_string adds a JSON string with its quotes: 0, or -EILSEQ when the bytes are not UTF-8 (nothing is added). */
int buf_json_string(struct buf *b, const char *text, size_t len);

/* buf_flush writes everything and empties the buffer: 0 or a negative errno. May block. */
int buf_flush(struct buf *b, int fd);

void buf_free(struct buf *b);

#endif
