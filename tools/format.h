/* format.h - one message as text: a format string, a dump, or JSON. Pure functions on a struct buf. */
#ifndef TOOLS_FORMAT_H
#define TOOLS_FORMAT_H

#include <stdint.h>

#include "tools/buf.h"

/* A message as it is printed. */
struct format_message {
    const char *topic;
    const void *data;
    size_t len;
    uint64_t seq, key, time_ns;
    uint16_t type, publisher;
};

/* format_check says what is wrong with a format string: NULL when it is good. */
const char *format_check(const char *format);

/* format_text prints by a format string that has been checked:
 *   %s payload  %S its length  %o sequence number  %k key  %y type  %p publisher  %t topic
 *   %T time in nanoseconds  %D time as a date  %%   and \n \t \r \0 \e \xHH \\ */
void format_text(struct buf *b, const char *format, const struct format_message *m);

/* format_hex prints a line about the message and a dump of its payload. */
void format_hex(struct buf *b, const struct format_message *m);

/* format_json prints one line of JSON: the payload as a string when it is UTF-8, else as payload_base64. */
void format_json(struct buf *b, const struct format_message *m);

#endif
