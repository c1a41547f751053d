#include "tools/cli.h"
#include "tools/facts.h"
#include "tools/place.h"
#include "tools/ring_draw.h"
#include "tools/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RAW_MOST 512       /* bytes of a lane's payload that --raw shows */
#define SLOW_NS 100000000u /* a claim that has been open for less holds nobody up worth a word */
#define HOLDER_ROOM 400

enum { OPT_RAW = CLI_LONG };

static const struct cli_option options[] = {
    {'w', "watch", NULL, "draw again and again; q ends it"},
    {'i', "interval", "TIME", "between two pictures [500ms]; implies --watch"},
    {'n', "count", "N", "end after N pictures; implies --watch"},
    {OPT_RAW, "raw", "SEQ", "show the slot of one message, byte by byte"},
    {0, NULL, NULL, NULL},
};

static const struct cli_verb verb = {
    .name = "ring",
    .operands = "TOPIC",
    .summary = "Draws a topic's ring from its shared memory: what is held, in flight and aborted, "
               "where each\n"
               "cursor stands, who publishes, who waits and who holds whom up. Reads only; needs "
               "no daemon.",
    .options = options,
    .json = true,
};

struct ring {
    struct cli cli;
    struct term term;
    const char *topic;
    int64_t interval_ns;
    uint64_t count, raw;
    bool watch, has_raw;
    bool copied; /* what is looked at is a directory with copies */
    leat_inspect *inspect;
    struct place_ring map;
    struct look *look;
    json_t *before; /* publishers of the picture before; NULL: none */
    uint64_t before_ns;
};

/* --- the memory ------------------------------------------------------------------------------- */

static int
open_map(struct ring *r)
{
    struct place place;
    int x = place_find(r->cli.bus, &place);

    if (x)
        return cli_error(&r->cli, "there is no bus here (set -b or LEAT_BUS)");
    r->copied = place.directory;
    x = place_ring_open(&place, r->topic, &r->map);
    switch (x) {
    case 0:
        return 0;
    case -ENOENT:
        return cli_error(&r->cli,
                         "%s: there is no such topic in memory ('leat ls' shows which there are)",
                         r->topic);
    case -EPROTONOSUPPORT:
        return cli_error(&r->cli, "%s: its memory has version %u, this program knows %u", r->topic,
                         r->map.version, SHM_VERSION);
    case -EBADMSG:
        return cli_error(&r->cli, "%s: %s is not a ring ('leat verify' says more)", r->topic,
                         r->map.name);
    default:
        return cli_error(&r->cli, "%s: %s", r->map.name, strerror(-x));
    }
}

/* A topic that was removed and made anew while it is watched has other memory: maps that. */
static int
follow_map(struct ring *r, const struct leat_topic_info *info)
{
    const struct ring_view *v = &r->map.view;
    uint64_t state = atom_load_acquire(&ring_daemon(v)->state); /* acquire: TOPIC_STATE */

    if (state != RING_TOPIC_REMOVED && ring_header(v)->topic_id == info->topic_id)
        return 0;
    place_ring_close(&r->map);
    json_decref(r->before);
    r->before = NULL;
    return open_map(r);
}

/* --- what there is to say --------------------------------------------------------------------- */

static uint64_t
number(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

static void
add_rates(struct ring *r, json_t *publishers)
{
    uint64_t now = cli_tick_ns();
    json_t *p, *old;
    size_t i, k;

    json_array_foreach(publishers, i, p)
    {
        json_array_foreach(r->before, k, old)
        {
            uint64_t n = number(p, "published"), m = number(old, "published");
            if (number(p, "index") != number(old, "index") || n < m || now <= r->before_ns)
                continue;
            (void)json_object_set_new(
                p, "rate", json_real((double)(n - m) * 1e9 / (double)(now - r->before_ns)));
        }
    }
    json_decref(r->before);
    r->before = json_incref(publishers);
    r->before_ns = now;
}

/* The publisher that has been waiting longest, or NULL. */
static const json_t *
longest_blocked(const json_t *publishers)
{
    const json_t *p, *found = NULL;
    size_t i;

    json_array_foreach(publishers, i, p) if (json_is_true(json_object_get(p, "is_blocked")) &&
                                             (!found || number(p, "blocked_for_ns") >
                                                            number(found, "blocked_for_ns")))
        found = p;
    return found;
}

static json_t *
cursor_at(json_t *cursors, uint32_t index)
{
    json_t *c;
    size_t i;

    json_array_foreach(cursors, i, c) if (number(c, "index") == index &&
                                          json_is_true(json_object_get(c, "attached"))) return c;
    return NULL;
}

/* The publisher whose claim covers a place, or NULL. */
static const json_t *
claimer_of(const json_t *publishers, uint64_t seq)
{
    const json_t *p;
    size_t i;

    json_array_foreach(publishers, i,
                       p) if (seq - number(p, "intent_seq") < number(p, "intent_count")) return p;
    return NULL;
}

static const char *
text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));

    return value ? value : "";
}

/* The oldest place that was claimed and is not finished, in words; "" when it is as good as done. */
static void
tell_flight(const struct ring *r, const json_t *publishers, bool blocked, char ret[HOLDER_ROOM])
{
    uint64_t seq = r->look->flight[0].seq, age;
    const json_t *p = claimer_of(publishers, seq);
    struct units_text room;

    /* Finished since we looked. */
    (void)snprintf(ret, HOLDER_ROOM, "%s", blocked ? "nothing holds it any more" : "");
    if (!p &&
        ring_diff_is_final(ring_stamp_diff(atom_load_acquire(&ring_slot(&r->map.view, seq)->stamp),
                                           seq))) /* acquire: COMMIT */
        return;
    if (!p) {
        (void)snprintf(ret, HOLDER_ROOM,
                       "place %" PRIu64 " was claimed by one who died, and waits for the daemon; "
                       "readers wait there",
                       seq);
        return;
    }
    age = number(p, "intent_for_ns");
    if (!blocked && age < SLOW_NS && !strcmp(text(p, "process"), "running"))
        return;
    (void)snprintf(ret, HOLDER_ROOM,
                   "place %" PRIu64 " was claimed%s%s%s by publisher %" PRIu64 " (pid %" PRIu64
                   ", %s, %s) and is not finished; readers wait there",
                   seq, age ? " " : "", age ? units_time(age, &room) : "", age ? " ago" : "",
                   number(p, "index"), number(p, "pid"), text(p, "command"), text(p, "process"));
}

static void
tell_cursor(const struct ring *r, const json_t *cursor, char ret[HOLDER_ROOM])
{
    const char *name = text(cursor, "name");
    bool runs = !strcmp(text(cursor, "process"), "running");

    (void)snprintf(ret, HOLDER_ROOM,
                   "cursor %u (%s%spid %" PRIu64 ", %s%s%s) stands at %" PRIu64 ", %" PRIu64
                   " behind the tail",
                   r->look->gate_who, name, *name ? ", " : "", number(cursor, "pid"),
                   text(cursor, "kind"), runs ? "" : ", ", runs ? "" : text(cursor, "process"),
                   r->look->gate, r->look->tail - r->look->gate);
}

/* Who holds others up, and since when, in words; "" when nobody waits. A cursor that stands at an unfinished place is held up itself. */
static void
find_holder(const struct ring *r, const json_t *publishers, json_t *cursors, char ret[HOLDER_ROOM])
{
    const struct look *l = r->look;
    const json_t *blocked = longest_blocked(publishers);
    json_t *cursor = l->gate_who == UINT32_MAX ? NULL : cursor_at(cursors, l->gate_who);
    char what[HOLDER_ROOM] = "nothing holds it any more";
    struct units_text room;
    bool holds = cursor && l->gate < l->tail;

    ret[0] = 0;
    if (holds)
        (void)json_object_set_new(cursor, "holds", json_sprintf("%" PRIu64, l->tail - l->gate));
    if (blocked && (l->state == RING_TOPIC_DISK_FULL || l->state == RING_TOPIC_LOG_FAILED)) {
        (void)snprintf(ret, HOLDER_ROOM, "publishers wait for the log: %s", l->reason);
        return;
    }
    if (l->flights && !(holds && blocked && l->gate < l->flight[0].seq))
        tell_flight(r, publishers, blocked, what);
    else if (holds && blocked)
        tell_cursor(r, cursor, what);
    else if (!blocked)
        return;
    if (blocked)
        (void)snprintf(ret, HOLDER_ROOM, "publisher %" PRIu64 " has waited for %s: %.*s",
                       number(blocked, "index"),
                       units_time(number(blocked, "blocked_for_ns"), &room), HOLDER_ROOM - 64,
                       what);
    else
        (void)snprintf(ret, HOLDER_ROOM, "%s", what);
}

static void
add_daemon_state(const struct ring *r, json_t *topic)
{
    uint64_t pid = r->look->daemon_pid;

    if (!pid)
        (void)json_object_set_new(topic, "daemon_state", json_string("unknown"));
    else
        (void)json_object_set_new(topic, "daemon_state",
                                  json_sprintf("pid %" PRIu64 "%s", pid,
                                               !place_alive(&r->map.view) ? " is not running"
                                               : strcmp(facts_process((uint32_t)pid), "stopped")
                                                   ? ""
                                                   : " is stopped"));
}

/* --- pictures --------------------------------------------------------------------------------- */

static int
draw(struct ring *r, struct buf *out)
{
    struct leat_topic_info info;
    struct ring_picture p = {.term = &r->term, .look = r->look};
    char holder[HOLDER_ROOM];
    int rows, x = leat_inspect_topic(r->inspect, r->topic, &info);

    if (x)
        return cli_inspect_error(&r->cli, r->inspect, x, r->topic);
    x = follow_map(r, &info);
    if (x)
        return x;
    p.view = &r->map.view;
    term_size(&r->term, &p.columns, &rows);
    look_take(&r->map.view, ring_draw_cells(p.columns), r->look);
    p.topic = facts_topic(r->topic, &info);
    p.publishers = facts_publishers(r->inspect, r->topic, cli_now_ns());
    p.cursors = facts_cursors(r->inspect, r->topic);
    if (r->copied)
        facts_copied(p.cursors);
    p.holder = holder;
    add_daemon_state(r, p.topic);
    add_rates(r, p.publishers);
    find_holder(r, p.publishers, p.cursors, holder);
    if (r->cli.json) {
        (void)json_object_set_new(p.topic, "ring", look_json(r->look));
        (void)json_object_set(p.topic, "publisher", p.publishers);
        (void)json_object_set(p.topic, "cursor", p.cursors);
        (void)json_object_set_new(p.topic, "holder", json_string(holder));
        if (r->watch)
            table_json_line(out, p.topic);
        else
            table_json(out, p.topic);
    } else {
        ring_draw(out, &p);
    }
    json_decref(p.topic);
    json_decref(p.publishers);
    json_decref(p.cursors);
    return CLI_OK;
}

static int
watch(struct ring *r, struct buf *out)
{
    int x, key;

    for (uint64_t n = 1;; n++) {
        x = draw(r, out);
        if (x)
            return x;
        x = r->cli.json ? buf_flush(out, STDOUT_FILENO) : term_show(&r->term, out);
        if (x)
            return cli_write_status(verb.name, x);
        if (!r->watch || (r->count && n >= r->count))
            return CLI_OK;
        key = term_key(&r->term, r->interval_ns);
        if (key < 0 || key == 'q')
            return CLI_OK;
    }
}

static json_t *
raw_json(const struct look_raw *raw)
{
    json_t *o = json_pack("{s:o, s:o, s:o, s:o, s:o, s:s, s:b, s:b}", "seq", table_u64(raw->seq),
                          "slot", table_u64(raw->index), "offset", table_u64(raw->offset), "stamp",
                          table_hex(raw->stamp), "stamp_seq", table_u64(ring_stamp_seq(raw->stamp)),
                          "stamp_state", look_state_name(raw->stamp), "torn", (int)raw->torn,
                          "sound", (int)raw->sound);
    struct buf hex = {0};

    (void)json_object_set_new(o, "time_ns", table_u64(raw->time_ns));
    (void)json_object_set_new(o, "key_hex", table_hex(raw->key));
    (void)json_object_set_new(o, "length", table_u64(raw->meta >> 32));
    (void)json_object_set_new(o, "type", table_u64(raw->meta >> 16 & 0xffff));
    (void)json_object_set_new(o, "publisher", table_u64(raw->meta & 0xffff));
    if (raw->lane_offset)
        (void)json_object_set_new(o, "lane_offset", table_u64(raw->lane_offset));
    buf_base64(&hex, raw->bytes + 32, 32);
    (void)json_object_set_new(o, "first_bytes_base64", json_stringn(hex.data, hex.len));
    buf_free(&hex);
    return o;
}

static int
show_raw(struct ring *r, struct buf *out)
{
    struct look_raw raw;
    json_t *o;

    look_raw(&r->map.view, r->raw, &raw);
    if (r->cli.json) {
        o = raw_json(&raw);
        table_json(out, o);
        json_decref(o);
    } else {
        ring_draw_raw(out, &r->map.view, &raw, RAW_MOST);
    }
    return table_end(out, verb.name);
}

/* --- begin and end ---------------------------------------------------------------------------- */

static int
read_options(struct ring *r, int argc, char **argv)
{
    int id, x = 0;

    cli_begin(&r->cli, &verb, argc, argv);
    while (!x && (id = cli_next(&r->cli)) > 0) {
        r->watch |= id != OPT_RAW;
        if (id == OPT_RAW) {
            r->has_raw = true;
            x = cli_count(&r->cli, "--raw", &r->raw);
        } else if (id == 'i') {
            x = cli_time(&r->cli, "--interval", &r->interval_ns);
        } else if (id == 'n') {
            x = cli_count(&r->cli, "--count", &r->count);
        }
    }
    if (x)
        return x;
    if (id < 0)
        return r->cli.status ? r->cli.status : -1;
    x = cli_operands(&r->cli, 1, 1);
    r->topic = x ? NULL : r->cli.operands[0];
    return x;
}

static int
open_all(struct ring *r)
{
    int x = open_map(r);

    if (x)
        return x;
    r->look = calloc(1, sizeof *r->look);
    if (!r->look)
        return cli_error(&r->cli, "out of memory");
    return r->has_raw ? 0 : cli_inspect(&r->cli, &r->inspect);
}

int
verb_ring(int argc, char **argv)
{
    struct ring r = {.interval_ns = 500000000};
    struct buf out = {0};
    int x = read_options(&r, argc, argv);

    if (x)
        return x < 0 ? CLI_OK : x;
    x = open_all(&r);
    if (!x && r.has_raw) {
        x = show_raw(&r, &out);
    } else if (!x) {
        cli_interrupts();
        term_begin(&r.term, r.watch && !r.cli.json);
        x = watch(&r, &out);
        term_end(&r.term);
    }
    (void)leat_inspect_close(r.inspect);
    place_ring_close(&r.map);
    json_decref(r.before);
    buf_free(&out);
    free(r.look);
    return x;
}
