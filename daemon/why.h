/* why.h - the text that goes with an error to whoever asked: it names the thing, the limit and the setting. */
#ifndef DAEMON_WHY_H
#define DAEMON_WHY_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "wire/wire.h"

#define WHY_ROOM WIRE_TEXT

static inline void why_text(char why[WHY_ROOM], const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Leaves errno alone. */
static inline void
why_text(char why[WHY_ROOM], const char *format, ...)
{
    int saved = errno;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, WHY_ROOM, format, args);
    va_end(args);
    errno = saved;
}

/* why_set(why, error, format, ...) writes the text, cut at WHY_ROOM, and is `error`, so that a refusal is one statement. */
#define why_set(why, error, ...) (why_text(why, __VA_ARGS__), (error))

#endif
