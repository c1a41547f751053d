#include "tools/cli.h"
#include "tools/facts.h"
#include "tools/table.h"
#include "tools/term.h"
#include "tools/units.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct cli_option options[] = {
    {'i', "interval", "TIME", "between two looks [1s]"},
    {'n', "count", "N", "end after N looks"},
    {'B', "batch", NULL, "let looks follow each other, as in a pipe"},
    {'s', "sort", "KEY", "name, rate, bytes, fill, lag or lost [rate]"},
    {0, NULL, NULL, NULL},
};

static const struct cli_verb verb = {
    .name = "top",
    .operands = "",
    .summary = "Shows all topics of a bus with their rates, again and again. Needs no daemon.",
    .more = "FILL is how much of the ring is held for cursors that hold publishers back; LAG is "
            "the worst of all\n"
            "subscribers, WHO that is; LOST counts what slow subscribers were told they lost.\n"
            "Keys: q ends; n r b f l g sort by name, rate, bytes, fill, lag, lost. With --json "
            "each look is one line.",
    .options = options,
    .json = true,
};

static const struct table_column columns[] = {
    {"topic", "TOPIC", TABLE_TEXT, NULL},         {"durability", "KIND", TABLE_TEXT, NULL},
    {"rate", "MSG/S", TABLE_RATE, NULL},          {"byte_rate", "BYTES/S", TABLE_SIZE, NULL},
    {"publishers", "PUBS", TABLE_COUNT, NULL},    {"subscribers", "SUBS", TABLE_COUNT, NULL},
    {"fill_percent", "FILL%", TABLE_COUNT, NULL}, {"lag", "LAG", TABLE_COUNT, NULL},
    {"lag_ns", "BEHIND", TABLE_TIME, NULL},       {"who", "WHO", TABLE_TEXT, NULL},
    {"lost", "LOST", TABLE_COUNT, NULL},          {"log_lag", "UNSAVED", TABLE_COUNT, NULL},
    {"state", "STATE", TABLE_TEXT, NULL},         {NULL, NULL, TABLE_TEXT, NULL},
};

/* What can be sorted by, and the key that chooses it. */
static const struct sort {
    char key;
    const char *name, *field;
} sorts[] = {
    {'n', "name", NULL},           {'r', "rate", "rate"}, {'b', "bytes", "byte_rate"},
    {'f', "fill", "fill_percent"}, {'l', "lag", "lag"},   {'g', "lost", "lost"},
};
#define SORTS (sizeof sorts / sizeof *sorts)

struct top {
    struct cli cli;
    struct term term;
    const struct sort *sort;
    int64_t interval_ns;
    uint64_t count;
    bool batch;
    leat_inspect *inspect;
    json_t *before; /* name -> what was seen last */
    uint64_t before_ns;
};

/* --- looking ---------------------------------------------------------------------------------- */

static void
put(json_t *o, const char *key, uint64_t n)
{
    (void)json_object_set_new(o, key, table_u64(n));
}

static uint64_t
get(const json_t *o, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(o, key));
}

/* The subscribers of a topic in a few numbers: the worst lag, whose it is, what was lost, how full the ring is held. */
static void
add_cursors(const struct top *t, json_t *row, const struct leat_topic_info *info)
{
    struct leat_inspect_sub s, worst = {0};
    uint64_t lost = 0, gate = info->tail;
    uint32_t index = 0;
    bool gated = false;
    char who[80] = "-";

    while (leat_inspect_sub(t->inspect, json_string_value(json_object_get(row, "topic")), &index,
                            &s) == 1) {
        if ((s.log_writer || s.kind == LEAT_GATING) && !s.evicted && s.pid) {
            gated = true;
            gate = s.next < gate ? s.next : gate;
        }
        lost += s.lost;
        if (!s.log_writer && s.lag >= worst.lag && s.lag)
            worst = s;
    }
    if (worst.lag && worst.name[0])
        (void)snprintf(who, sizeof who, "%s", worst.name);
    else if (worst.lag)
        (void)snprintf(who, sizeof who, "pid %u", worst.pid);
    facts_scrub(who);
    put(row, "lag", worst.lag);
    put(row, "lag_ns", worst.lag_ns);
    (void)json_object_set_new(row, "who", json_string(who));
    put(row, "lost", lost);
    if (gated && info->depth && info->when_full != LEAT_OVERWRITE)
        put(row, "fill_percent", (info->tail - gate) * 100 / info->depth);
}

static uint64_t
bytes_published(const struct top *t, const char *name)
{
    struct leat_inspect_pub p;
    uint32_t index = 0;
    uint64_t bytes = 0;

    while (leat_inspect_pub(t->inspect, name, &index, &p) == 1)
        bytes += p.bytes;
    return bytes;
}

static void
add_rates(const struct top *t, json_t *row, uint64_t now_ns)
{
    const char *name = json_string_value(json_object_get(row, "topic"));
    const json_t *old = json_object_get(t->before, name);
    double seconds = (double)(now_ns - t->before_ns) / 1e9;
    uint64_t tail = get(row, "tail"), bytes = get(row, "bytes");

    if (!old || seconds <= 0)
        return;
    if (tail >= get(old, "tail"))
        (void)json_object_set_new(row, "rate",
                                  json_real((double)(tail - get(old, "tail")) / seconds));
    if (bytes >= get(old, "bytes"))
        put(row, "byte_rate", (uint64_t)((double)(bytes - get(old, "bytes")) / seconds));
}

static json_t *
look_at(const struct top *t, const char *name)
{
    struct leat_topic_info info;
    json_t *row;

    if (leat_inspect_topic(t->inspect, name, &info))
        return json_pack("{s:s, s:s}", "topic", name, "state", "unreadable");
    row = json_pack("{s:s, s:s, s:s}", "topic", name, "durability",
                    info.durability == LEAT_DISK ? "disk" : "memory", "state",
                    facts_state(info.state));
    put(row, "tail", info.tail);
    put(row, "publishers", info.publishers);
    put(row, "subscribers", info.subscribers);
    put(row, "bytes", bytes_published(t, name));
    if (info.durability == LEAT_DISK)
        put(row, "log_lag", info.tail > info.durable ? info.tail - info.durable - 1 : 0);
    add_cursors(t, row, &info);
    return row;
}

/* All topics as they are now; NULL after an error that has been printed. */
static json_t *
look(struct top *t)
{
    json_t *rows = json_array(), *seen = json_object();
    uint64_t now_ns = cli_tick_ns();
    char name[201] = "";
    json_t *row;
    size_t i;
    int r;

    while ((r = leat_inspect_next(t->inspect, name)) == 1)
        (void)json_array_append_new(rows, look_at(t, name));
    if (r < 0) {
        (void)cli_inspect_error(&t->cli, t->inspect, r, "listing topics");
        json_decref(rows);
        json_decref(seen);
        return NULL;
    }
    json_array_foreach(rows, i, row)
    {
        add_rates(t, row, now_ns);
        (void)json_object_set(seen, json_string_value(json_object_get(row, "topic")), row);
    }
    json_decref(t->before);
    t->before = seen;
    t->before_ns = now_ns;
    return rows;
}

/* --- showing ---------------------------------------------------------------------------------- */

/* The index of the row that comes first among [from, n): the largest value, and where equal the first name. */
static size_t
first_of(const json_t *rows, size_t from, const char *field)
{
    size_t best = from;

    for (size_t i = from + 1; field && i < json_array_size(rows); i++)
        if (json_number_value(json_object_get(json_array_get(rows, i), field)) >
            json_number_value(json_object_get(json_array_get(rows, best), field)))
            best = i;
    return best;
}

/* Rows come in the order of their names, which stays where nothing else decides. */
static json_t *
sorted(json_t *rows, const struct sort *sort)
{
    for (size_t i = 0; sort->field && i + 1 < json_array_size(rows); i++) {
        size_t k = first_of(rows, i, sort->field);
        json_t *row = json_incref(json_array_get(rows, k));
        if (k != i) {
            (void)json_array_remove(rows, k);
            (void)json_array_insert(rows, i, row);
        }
        json_decref(row);
    }
    return rows;
}

static int
show(struct top *t, json_t *rows)
{
    struct buf out = {0};
    struct units_text room;
    json_t *line;
    int r;

    rows = sorted(rows, t->sort);
    if (t->cli.json) {
        line = json_pack("{s:o, s:O}", "time_ns", table_u64(cli_now_ns()), "topics", rows);
        table_json_line(&out, line);
        json_decref(line);
        r = buf_flush(&out, STDOUT_FILENO);
    } else {
        buf_printf(&out, "%s  %zu topics, by %s%s\n",
                   units_date(cli_now_ns() / 1000000000 * 1000000000, &room), json_array_size(rows),
                   t->sort->name, t->term.live ? "  (q n r b f l g)" : "");
        table_rows(&out, columns, rows, "");
        r = term_show(&t->term, &out);
    }
    json_decref(rows);
    buf_free(&out);
    return r;
}

/* Waits for the next look; a key may change the order. 0, or -1 to end. */
static int
pause_for(struct top *t)
{
    uint64_t end = cli_tick_ns() + (uint64_t)t->interval_ns, now;
    int key = 0;

    while (key != 'q' && key >= 0 && (now = cli_tick_ns()) < end) {
        key = term_key(&t->term, (int64_t)(end - now));
        for (size_t i = 0; i < SORTS; i++)
            if (sorts[i].key == key) {
                t->sort = &sorts[i];
                return 0;
            }
    }
    return key == 'q' || key < 0 ? -1 : 0;
}

/* The first look only says where counting begins; a terminal is shown it, so that it is not empty. */
static int
run(struct top *t)
{
    json_t *rows = look(t);
    int r = 0;

    if (!rows)
        return CLI_FAILED;
    if (t->term.live)
        r = show(t, rows);
    else
        json_decref(rows);
    for (uint64_t n = 0; !r && (!t->count || n < t->count); n++) {
        if (pause_for(t))
            break;
        rows = look(t);
        if (!rows)
            return CLI_FAILED;
        r = show(t, rows);
    }
    return r ? cli_write_status(verb.name, r) : CLI_OK;
}

static int
set_sort(struct top *t)
{
    for (size_t i = 0; i < SORTS; i++)
        if (!strcmp(sorts[i].name, t->cli.value)) {
            t->sort = &sorts[i];
            return 0;
        }
    return cli_usage(&t->cli, "--sort: '%s' is not name, rate, bytes, fill, lag or lost",
                     t->cli.value);
}

int
verb_top(int argc, char **argv)
{
    struct top t = {.interval_ns = 1000000000, .sort = &sorts[1]};
    int id, r = 0;

    cli_begin(&t.cli, &verb, argc, argv);
    while (!r && (id = cli_next(&t.cli)) > 0) {
        if (id == 'i')
            r = cli_time(&t.cli, "--interval", &t.interval_ns);
        else if (id == 'n')
            r = cli_count(&t.cli, "--count", &t.count);
        else if (id == 's')
            r = set_sort(&t);
        else
            t.batch = true;
    }
    if (r || id < 0)
        return r ? r : t.cli.status;
    r = cli_operands(&t.cli, 0, 0);
    r = r ? r : cli_inspect(&t.cli, &t.inspect);
    if (r)
        return r;
    cli_interrupts();
    term_begin(&t.term, !t.batch && !t.cli.json);
    r = run(&t);
    term_end(&t.term);
    json_decref(t.before);
    (void)leat_inspect_close(t.inspect);
    return r;
}
