/* table.h - the same facts as a table, as words, or as JSON. A verb builds JSON objects; what people see is made
 * from them, so that the two can never disagree. One thread. */
#ifndef TOOLS_TABLE_H
#define TOOLS_TABLE_H

#include <jansson.h>
#include <stdint.h>

#include "tools/buf.h"

enum table_form {
    TABLE_TEXT,  /* as it is */
    TABLE_COUNT, /* a whole number */
    TABLE_SIZE,  /* bytes, with a unit */
    TABLE_TIME,  /* a number of nanoseconds, with a unit; 0: - */
    TABLE_DATE,  /* nanoseconds since 1970; 0: - */
    TABLE_RATE,  /* a number a second */
};

/* One fact: `key` in the object, `title` for people, who see it behind `note` (words only; may be NULL). */
struct table_column {
    const char *key;
    const char *title;
    enum table_form form;
    const char *note;
};

/* table_rows adds an array of objects as aligned columns below their titles; text to the left, numbers to the right.
 * Columns end with a NULL key. */
void table_rows(struct buf *b, const struct table_column *columns, const json_t *rows,
                const char *indent);

/* table_words adds one object as "title  value" lines; keys that are not there are left out. */
void table_words(struct buf *b, const struct table_column *words, const json_t *object);

/* table_json adds a JSON value over several lines, table_json_line in one. */
void table_json(struct buf *b, const json_t *value);
void table_json_line(struct buf *b, const json_t *value);

/* table_u64 is a JSON number, at most 2^63 - 1, which all numbers here are but identities and keys. */
json_t *table_u64(uint64_t n);

/* table_hex is a JSON string with 16 hexadecimal digits. */
json_t *table_hex(uint64_t n);

/* table_end prints what has been gathered on standard output and frees it: the verb's exit status. */
int table_end(struct buf *b, const char *verb);

#endif
