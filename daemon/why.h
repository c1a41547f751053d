/* why.h - the text that goes with an error to whoever asked: it names the thing, the limit and the setting. */
#ifndef DAEMON_WHY_H
#define DAEMON_WHY_H

#include <stdarg.h>
#include <stdio.h>

#include "wire/wire.h"

#define WHY_ROOM WIRE_TEXT

/* why_set writes the text and returns `error`, so that a refusal is one statement. Cut at WHY_ROOM. */
static inline int why_set(char why[WHY_ROOM], int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static inline int
why_set(char why[WHY_ROOM], int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, WHY_ROOM, format, args);
    va_end(args);
    return error;
}

#endif
