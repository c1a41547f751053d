#include "tools/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
reserve(struct buf *b, size_t more)
{
    size_t cap = b->cap ? b->cap : 4096;
    char *data;

    if (b->cap - b->len >= more)
        return;
    while (cap - b->len < more && cap <= SIZE_MAX / 2)
        cap *= 2;
    data = realloc(b->data, cap);
    if (!data || cap - b->len < more) {
        (void)fprintf(stderr, "leat: out of memory (%zu bytes wanted)\n", cap);
        exit(1);
    }
    b->data = data;
    b->cap = cap;
}

void
buf_add(struct buf *b, const void *data, size_t len)
{
    if (!len)
        return;
    reserve(b, len);
    memcpy(b->data + b->len, data, len);
    b->len += len;
}

void
buf_char(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void
buf_printf(struct buf *b, const char *format, ...)
{
    va_list args, again;
    int n;

    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, args);
    if (n > 0) {
        reserve(b, (size_t)n + 1);
        (void)vsnprintf(b->data + b->len, (size_t)n + 1, format, again);
        b->len += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

void
buf_base64(struct buf *b, const void *data, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = data;

    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t v = (uint32_t)p[i] << 16 | (uint32_t)(left > 1 ? p[i + 1] : 0) << 8 |
                     (uint32_t)(left > 2 ? p[i + 2] : 0);
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
                        left > 2 ? digits[v & 63] : '='};
        buf_add(b, four, sizeof four);
    }
}

void
buf_dump(struct buf *b, const void *data, size_t len, const char *indent)
{
    const unsigned char *p = data;

    for (size_t at = 0; at < len; at += 16) {
        buf_printf(b, "%s%08zx ", indent, at);
        for (size_t i = at; i < at + 16; i++)
            if (i < len)
                buf_printf(b, "%s%02x", i == at + 8 ? "  " : " ", p[i]);
            else
                buf_printf(b, "%s", i == at + 8 ? "    " : "   ");
        buf_printf(b, "  |");
        for (size_t i = at; i < at + 16 && i < len; i++)
            buf_char(b, p[i] >= 32 && p[i] < 127 ? (char)p[i] : '.');
        buf_printf(b, "|\n");
    }
}

/* The length of the UTF-8 character at p of at most `len` bytes; 0: it is none. */
static size_t
utf8_length(const unsigned char *p, size_t len)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
    uint32_t c;

    if (n < 2 || n > len)
        return n > len ? 0 : n;
    c = *p & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

int
buf_json_string(struct buf *b, const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t before = b->len, n;

    buf_char(b, '"');
    for (size_t i = 0; i < len; i += n) {
        n = utf8_length(p + i, len - i);
        if (!n) {
            b->len = before;
            return -EILSEQ;
        }
        if (p[i] == '"' || p[i] == '\\')
            buf_printf(b, "\\%c", p[i]);
        else if (p[i] == '\n')
            buf_add(b, "\\n", 2);
        else if (p[i] == '\t')
            buf_add(b, "\\t", 2);
        else if (p[i] < 32)
            buf_printf(b, "\\u%04x", p[i]);
        else
            buf_add(b, p + i, n);
    }
    buf_char(b, '"');
    return 0;
}

int
buf_flush(struct buf *b, int fd)
{
    size_t done = 0;

    while (done < b->len) {
        ssize_t n = write(fd, b->data + done, b->len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int error = errno;
            memmove(b->data, b->data + done, b->len - done);
            b->len -= done;
            return -error;
        }
        done += (size_t)n;
    }
    b->len = 0;
    return 0;
}

void
buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}
