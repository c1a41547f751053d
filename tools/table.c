#include "tools/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"
#include "tools/units.h"

#define COLUMNS_MAX 24

json_t *
table_u64(uint64_t n)
{
    return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

json_t *
table_hex(uint64_t n)
{
    return json_sprintf("%016" PRIx64, n);
}

static const char *
number_text(const json_t *value, enum table_form form, struct units_text *room)
{
    uint64_t n = json_is_integer(value) ? (uint64_t)json_integer_value(value) : 0;

    switch (form) {
    case TABLE_SIZE:
        return units_size(n, room);
    case TABLE_TIME:
        return n ? units_time(n, room) : "-";
    case TABLE_DATE:
        return n ? units_date(n, room) : "-";
    case TABLE_RATE:
        return units_rate(json_number_value(value), room);
    default:
        (void)snprintf(room->text, sizeof room->text, "%" PRIu64, n);
        return room->text;
    }
}

static const char *
cell(const json_t *object, const struct table_column *column, struct units_text *room)
{
    const json_t *value = json_object_get(object, column->key);

    if (json_is_string(value))
        return json_string_value(value);
    if (json_is_boolean(value))
        return json_is_true(value) ? "yes" : "no";
    return json_is_number(value) ? number_text(value, column->form, room) : "-";
}

/* How many places a text takes: characters, not bytes. */
static int
places(const char *text)
{
    int n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void
add_cell(struct buf *b, const char *text, int width, enum table_form form)
{
    int blanks = width - places(text);

    if (form == TABLE_TEXT)
        buf_printf(b, "%s%*s", text, blanks > 0 ? blanks : 0, "");
    else
        buf_printf(b, "%*s%s", blanks > 0 ? blanks : 0, "", text);
}

/* Blanks at the end of a line help nobody. */
static void
end_line(struct buf *b)
{
    while (b->len && b->data[b->len - 1] == ' ')
        b->len--;
    buf_char(b, '\n');
}

void
table_rows(struct buf *b, const struct table_column *columns, const json_t *rows,
           const char *indent)
{
    int width[COLUMNS_MAX] = {0};
    struct units_text room;
    size_t n = 0, i;
    const json_t *row;

    for (; columns[n].key && n < COLUMNS_MAX; n++) {
        width[n] = places(columns[n].title);
        json_array_foreach(rows, i, row)
        {
            int w = places(cell(row, &columns[n], &room));
            width[n] = w > width[n] ? w : width[n];
        }
    }
    buf_add(b, indent, strlen(indent));
    for (size_t k = 0; k < n; k++) {
        add_cell(b, columns[k].title, width[k], columns[k].form);
        buf_add(b, "  ", 2);
    }
    end_line(b);
    json_array_foreach(rows, i, row)
    {
        buf_add(b, indent, strlen(indent));
        for (size_t k = 0; k < n; k++) {
            add_cell(b, cell(row, &columns[k], &room), width[k], columns[k].form);
            buf_add(b, "  ", 2);
        }
        end_line(b);
    }
}

void
table_words(struct buf *b, const struct table_column *words, const json_t *object)
{
    struct units_text room;
    int width = 0;

    for (const struct table_column *w = words; w->key; w++)
        if (json_object_get(object, w->key) && places(w->title) > width)
            width = places(w->title);
    for (const struct table_column *w = words; w->key; w++) {
        if (!json_object_get(object, w->key))
            continue;
        add_cell(b, w->title, width + 2, TABLE_TEXT);
        buf_printf(b, "%s", cell(object, w, &room));
        if (w->note)
            buf_printf(b, "  (%s)", w->note);
        end_line(b);
    }
}

static void
add_json(struct buf *b, const json_t *value, size_t flags)
{
    char *text = json_dumps(value, flags | JSON_ENCODE_ANY);

    if (text)
        buf_add(b, text, strlen(text));
    free(text);
    buf_char(b, '\n');
}

void
table_json(struct buf *b, const json_t *value)
{
    add_json(b, value, JSON_INDENT(2));
}

void
table_json_line(struct buf *b, const json_t *value)
{
    add_json(b, value, JSON_COMPACT);
}

int
table_end(struct buf *b, const char *verb)
{
    int r = buf_flush(b, STDOUT_FILENO);

    buf_free(b);
    return r ? cli_write_status(verb, r) : CLI_OK;
}
