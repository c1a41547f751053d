#include "tools/ring_draw.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/units.h"

#define MARK_ROWS 4

unsigned
ring_draw_cells(int columns)
{
    int cells = columns - 4;

    return cells < 16 ? 16 : cells > LOOK_CELLS_MAX ? LOOK_CELLS_MAX : (unsigned)cells;
}

/* --- the bar ---------------------------------------------------------------------------------- */

/* What a cell looks like: the worst that is in it. */
enum shade { SHADE_EMPTY, SHADE_DONE, SHADE_HELD, SHADE_ABORTED, SHADE_FLIGHT, SHADE_BAD };

static enum shade
shade_of(const struct look *l, const struct look_cell *c)
{
    if (c->bad)
        return SHADE_BAD;
    if (c->flight)
        return SHADE_FLIGHT;
    if (c->aborted)
        return SHADE_ABORTED;
    if (!c->messages)
        return SHADE_EMPTY;
    return l->gate_who != UINT32_MAX && c->first + c->slots > l->gate ? SHADE_HELD : SHADE_DONE;
}

static const char *
shade_text(const struct term *t, enum shade shade)
{
    static const char *const plain[] = {".", "-", "#", "x", "!", "?"};
    static const char *const fine[] = {"\u00b7", "\u2591", "\u2588", "x", "!", "?"};

    return t->utf8 ? fine[shade] : plain[shade];
}

static enum term_style
shade_style(enum shade shade)
{
    static const enum term_style styles[] = {TERM_DIM,  TERM_PLAIN, TERM_GOOD,
                                             TERM_WARN, TERM_WARN,  TERM_BAD};

    return styles[shade];
}

static void
draw_bar(struct buf *b, const struct ring_picture *p)
{
    const struct look *l = p->look;
    char low[24], tail[24];
    int room;

    (void)snprintf(low, sizeof low, "%" PRIu64, l->low);
    (void)snprintf(tail, sizeof tail, "%" PRIu64, l->low + l->all.slots);
    room = (int)l->cells + 2 - (int)strlen(low) - (int)strlen(tail);
    buf_printf(b, " %s%*s%s\n [", low, room > 1 ? room : 1, "", tail);
    for (unsigned i = 0; i < l->cells; i++) {
        enum shade shade = shade_of(l, &l->cell[i]);
        buf_printf(b, "%s%s%s", term_style(p->term, shade_style(shade)), shade_text(p->term, shade),
                   term_style(p->term, TERM_PLAIN));
    }
    buf_printf(b, "]\n");
}

struct marks {
    char row[MARK_ROWS][LOOK_CELLS_MAX + 4];
    int rows;
    unsigned width;
};

/* Puts a letter below a place; where one stands already, one row lower; a fifth one is not shown. */
static void
put_mark(struct marks *m, const struct look *l, uint64_t seq, char letter)
{
    unsigned column = seq >= l->low + l->all.slots ? l->cells : look_cell_of(l, seq);

    for (int r = 0; r < MARK_ROWS; r++) {
        if (m->row[r][column] != ' ')
            continue;
        m->row[r][column] = letter;
        m->rows = r >= m->rows ? r + 1 : m->rows;
        return;
    }
}

static void
draw_marks(struct buf *b, struct ring_picture *p)
{
    const struct look *l = p->look;
    struct marks m = {.width = l->cells + 1};
    char letter[2] = "a";
    json_t *cursor;
    size_t i;

    memset(m.row, ' ', sizeof m.row);
    put_mark(&m, l, l->tail, 'T');
    if (p->view->geo.durability == RING_DISK)
        put_mark(&m, l, l->durable + 1, 'D');
    json_array_foreach(p->cursors, i, cursor)
    {
        if (!json_is_true(json_object_get(cursor, "attached")))
            continue;
        (void)json_object_set_new(cursor, "mark", json_string(letter));
        put_mark(&m, l, (uint64_t)json_integer_value(json_object_get(cursor, "next")), letter[0]);
        letter[0] = letter[0] == 'z' ? 'a' : (char)(letter[0] + 1);
    }
    for (int r = 0; r < m.rows; r++) {
        unsigned end = m.width;
        while (end && m.row[r][end - 1] == ' ')
            end--;
        buf_printf(b, "  %.*s\n", (int)end, m.row[r]);
    }
}

static void
draw_legend(struct buf *b, const struct ring_picture *p)
{
    const struct look *l = p->look;
    const struct term *t = p->term;
    uint64_t each = l->cells ? (l->all.slots + l->cells - 1) / l->cells : 0;

    buf_printf(
        b, "\n  %s %s held for a cursor  %s done with  %s never used  %s in flight  %s aborted",
        term_style(t, TERM_PLAIN), shade_text(t, SHADE_HELD), shade_text(t, SHADE_DONE),
        shade_text(t, SHADE_EMPTY), shade_text(t, SHADE_FLIGHT), shade_text(t, SHADE_ABORTED));
    buf_printf(b, "\n  T tail%s; ",
               p->view->geo.durability == RING_DISK ? "  D durable up to here" : "");
    buf_printf(b,
               "a cell is %" PRIu64 " slot%s; %" PRIu64 " messages, %" PRIu64 " in flight, %" PRIu64
               " aborted%s\n",
               each, each == 1 ? "" : "s", l->all.messages, l->all.flight, l->all.aborted,
               l->stride > 1 ? " (of those looked at)" : "");
}

/* --- what stands below ------------------------------------------------------------------------ */

static void
draw_head(struct buf *b, const struct ring_picture *p)
{
    const struct ring_geometry *g = &p->view->geo;
    const struct look *l = p->look;
    const char *state = json_string_value(json_object_get(p->topic, "state"));
    struct units_text room;
    bool good = state && !strcmp(state, "ok");

    buf_printf(b, "%s%s%s  %s, %" PRIu64 " slots of %u bytes, lanes of %s, %s%s%s",
               term_style(p->term, TERM_BOLD),
               json_string_value(json_object_get(p->topic, "topic")),
               term_style(p->term, TERM_PLAIN), g->durability == RING_DISK ? "disk" : "memory",
               g->depth, g->slot_size, units_size(g->lane_size, &room),
               term_style(p->term, good ? TERM_GOOD : TERM_BAD), state ? state : "?",
               term_style(p->term, TERM_PLAIN));
    if (!good && l->reason[0])
        buf_printf(b, ": %s", l->reason);
    buf_printf(b, "\ntail %" PRIu64, l->tail);
    if (g->durability == RING_DISK)
        buf_printf(b,
                   ", durable %" PRIu64 " (%" PRIu64 " behind), %" PRIu64 " flushes, %" PRIu64
                   " log errors",
                   l->durable, l->tail > l->durable + 1 ? l->tail - l->durable - 1 : 0, l->flushes,
                   l->log_errors);
    buf_printf(b, "; daemon %s", json_string_value(json_object_get(p->topic, "daemon_state")));
    if (l->damage)
        buf_printf(b, "\n%sdamaged: %s%s", term_style(p->term, TERM_BAD), l->damage,
                   term_style(p->term, TERM_PLAIN));
    buf_printf(b, "\n\n");
}

static const struct table_column publisher_columns[] = {
    {"index", "#", TABLE_COUNT, NULL},
    {"pid", "PID", TABLE_COUNT, NULL},
    {"command", "COMMAND", TABLE_TEXT, NULL},
    {"process", "PROCESS", TABLE_TEXT, NULL},
    {"published", "PUBLISHED", TABLE_COUNT, NULL},
    {"rate", "RATE/S", TABLE_RATE, NULL},
    {"lane_used", "LANE", TABLE_SIZE, NULL},
    {"intent_count", "CLAIMS", TABLE_COUNT, NULL},
    {"intent_seq", "FROM", TABLE_COUNT, NULL},
    {"intent_for_ns", "SINCE", TABLE_TIME, NULL},
    {"blocked_for_ns", "BLOCKED", TABLE_TIME, NULL},
    {NULL, NULL, TABLE_TEXT, NULL},
};

static const struct table_column cursor_columns[] = {
    {"mark", " ", TABLE_TEXT, NULL},          {"index", "#", TABLE_COUNT, NULL},
    {"name", "NAME", TABLE_TEXT, NULL},       {"kind", "KIND", TABLE_TEXT, NULL},
    {"pid", "PID", TABLE_COUNT, NULL},        {"command", "COMMAND", TABLE_TEXT, NULL},
    {"process", "PROCESS", TABLE_TEXT, NULL}, {"next", "NEXT", TABLE_COUNT, NULL},
    {"lag", "LAG", TABLE_COUNT, NULL},        {"lag_bytes", "BYTES", TABLE_SIZE, NULL},
    {"lag_ns", "TIME", TABLE_TIME, NULL},     {"lost", "LOST", TABLE_COUNT, NULL},
    {"holds", "HOLDS", TABLE_TEXT, NULL},     {NULL, NULL, TABLE_TEXT, NULL},
};

static void
draw_word(struct buf *b, const char *name, uint32_t word, const char *armed)
{
    buf_printf(b, "  %-14s %u%s%s\n", name, word >> 1, word & 1 ? ", armed: " : "",
               word & 1 ? armed : "");
}

static void
draw_words(struct buf *b, const struct look *l)
{
    buf_printf(b, "\nwords\n");
    draw_word(b, "sleep", l->sleep, "a subscriber sleeps until the next message");
    draw_word(b, "space", l->space, "a publisher waits for space");
    draw_word(b, "durable", l->durable_wait, "somebody waits for the disk");
    if (l->bell_seq == RING_BELL_OFF)
        buf_printf(b, "  %-14s off\n", "bell");
    else
        buf_printf(b, "  %-14s rings at %" PRIu64 "\n", "bell", l->bell_seq);
    buf_printf(b, "  %-14s %s\n", "ack bell", l->ack_bell ? "armed" : "off");
}

static void
draw_flights(struct buf *b, const struct ring_picture *p)
{
    const struct look *l = p->look;
    unsigned most = l->flights < 8 ? l->flights : 8;

    if (!most)
        return;
    buf_printf(b, "\nin flight:");
    for (unsigned i = 0; i < most; i++)
        buf_printf(b, " %" PRIu64 "%s", l->flight[i].seq,
                   l->flight[i].stamped ? "" : " (not stamped)");
    buf_printf(b, "%s\n", l->all.flight > most ? " ..." : "");
}

void
ring_draw(struct buf *b, struct ring_picture *p)
{
    draw_head(b, p);
    if (p->look->cells) {
        draw_bar(b, p);
        draw_marks(b, p);
        draw_legend(b, p);
    }
    draw_flights(b, p);
    buf_printf(b, "\npublishers: %zu\n", json_array_size(p->publishers));
    if (json_array_size(p->publishers))
        table_rows(b, publisher_columns, p->publishers, "  ");
    buf_printf(b, "\ncursors: %zu\n", json_array_size(p->cursors));
    if (json_array_size(p->cursors))
        table_rows(b, cursor_columns, p->cursors, "  ");
    draw_words(b, p->look);
    if (*p->holder)
        buf_printf(b, "\n%s%s%s\n", term_style(p->term, TERM_WARN), p->holder,
                   term_style(p->term, TERM_PLAIN));
}

/* --- one slot --------------------------------------------------------------------------------- */

static void
draw_field(struct buf *b, const struct look_raw *raw, uint32_t at, const char *name)
{
    buf_printf(b, "  %02x  %-8s", at, name);
    for (uint32_t i = at; i < at + 8; i++)
        buf_printf(b, " %02x", raw->bytes[i]);
    buf_printf(b, "   ");
}

static void
draw_verdict(struct buf *b, const struct ring_view *v, const struct look_raw *raw)
{
    int64_t diff = ring_stamp_diff(raw->stamp, raw->seq);

    if (ring_stamp_is_message(raw->stamp, raw->seq))
        buf_printf(b, "message %" PRIu64 " stands here\n", raw->seq);
    else if (diff > 7)
        buf_printf(b,
                   "message %" PRIu64
                   " is gone: the slot holds a later lap, oldest in the ring is %" PRIu64 "\n",
                   raw->seq, ring_oldest(v));
    else if (diff < 0)
        buf_printf(b,
                   "message %" PRIu64 " has not been written yet: the slot holds an earlier lap\n",
                   raw->seq);
    else
        buf_printf(b, "place %" PRIu64 " is %s\n", raw->seq, look_state_name(raw->stamp));
    if (raw->torn)
        buf_printf(b, "the slot changed while it was looked at\n");
}

void
ring_draw_raw(struct buf *b, const struct ring_view *v, const struct look_raw *raw, uint64_t most)
{
    uint32_t len = (uint32_t)(raw->meta >> 32), in_line = ring_inline_max(v);
    struct units_text room;
    unsigned char *copy;
    uint64_t shown;

    draw_verdict(b, v, raw);
    buf_printf(
        b, "slot %" PRIu64 " of %" PRIu64 ", %u bytes at offset %" PRIu64 " of the data object\n\n",
        raw->index, v->geo.depth, v->geo.slot_size, raw->offset);
    draw_field(b, raw, 0, "stamp");
    buf_printf(b, "%" PRIu64 " << 3 | %u %s\n", ring_stamp_seq(raw->stamp),
               ring_stamp_state(raw->stamp), look_state_name(raw->stamp));
    draw_field(b, raw, 8, "time");
    buf_printf(b, "%s\n", raw->time_ns ? units_date(raw->time_ns, &room) : "-");
    draw_field(b, raw, 16, "key");
    buf_printf(b, "%" PRIu64 "\n", raw->key);
    draw_field(b, raw, 24, "meta");
    buf_printf(b, "length %u, type %u, publisher %u%s\n", len, (unsigned)(raw->meta >> 16 & 0xffff),
               (unsigned)(raw->meta & 0xffff), raw->sound ? "" : " (cannot be)");
    if (!raw->lane_offset) {
        buf_printf(b, "  20  payload, inline\n");
        buf_dump(b, raw->bytes + 32, in_line, "      ");
        return;
    }
    draw_field(b, raw, 32, "lane");
    buf_printf(b, "position %" PRIu64 ", offset %" PRIu64 " of the data object\n", raw->lane_pos,
               raw->lane_offset);
    shown = shm_min(len, most);
    copy = raw->sound ? calloc(1, shm_align(shown, 8) + 8) : NULL;
    if (!copy)
        return;
    atom_copy_out(copy, (const atom_u64 *)(const void *)(v->data + raw->lane_offset), shown);
    buf_printf(b, "      payload in the lane%s\n", shown < len ? ", its beginning" : "");
    buf_dump(b, copy, shown, "      ");
    free(copy);
}
