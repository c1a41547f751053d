#include "tools/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/cli.h"
#include "tools/facts.h"
#include "tools/table.h"
#include "tools/units.h"

static const struct cli_option options[] = {
    {'q', "quiet", NULL, "print only what was found"},
    {0, NULL, NULL, NULL},
};

static const struct cli_verb verb = {
    .name = "verify",
    .operands = "[TOPIC|DIRECTORY]...",
    .summary =
        "Checks rings in shared memory and logs on disk, byte by byte: of the whole bus, of the "
        "named\n"
        "topics, or of directories with copies. Writes nothing, takes no lock, needs no daemon.",
    .more = "Exit status: 0 clean; 1 something unfinished that the daemon cuts off or makes anew, "
            "nothing\n"
            "durable is lost; 2 damaged; 8 something could not be looked at; 16 wrong call.",
    .options = options,
    .json = true,
    .usage_exit = VERIFY_USAGE,
};

/* More of a path and a file's name is not shown. */
#define NAME_SHOWN (PATH_MAX + 300)

struct run {
    struct cli cli;
    bool quiet;
    json_t *reports;
    int status;
    struct buf out;
};

static const char *
verdict_name(enum verify_verdict verdict)
{
    switch (verdict) {
    case VERIFY_CLEAN:
        return "clean";
    case VERIFY_CUT:
        return "unfinished";
    case VERIFY_DAMAGED:
        return "damaged";
    default:
        return "unreadable";
    }
}

/* A name as it is where JSON can hold it. */
static json_t *
name_json(const char *name)
{
    json_t *o = json_string(name);
    char clean[NAME_SHOWN];

    if (o)
        return o;
    (void)snprintf(clean, sizeof clean, "%s", name);
    facts_scrub(clean);
    return json_string(clean);
}

void
verify_found(struct verify *v, enum verify_verdict verdict, const struct verify_where *where,
             const char *format, ...)
{
    json_t *o = json_object();
    char text[500];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    facts_scrub(text);
    v->verdict = verdict > v->verdict ? verdict : v->verdict;
    (void)json_object_set_new(o, "verdict", json_string(verdict_name(verdict)));
    if (where && where->file)
        (void)json_object_set_new(o, "file", name_json(where->file));
    if (where && where->offset)
        (void)json_object_set_new(o, "offset", table_u64(where->offset));
    if (where && where->seq)
        (void)json_object_set_new(o, "seq", table_u64(where->seq));
    (void)json_object_set_new(o, "what", json_string(text));
    (void)json_array_append_new(json_object_get(v->report, "findings"), o);
}

/* --- what people see -------------------------------------------------------------------------- */

static uint64_t
number(const json_t *o, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(o, key));
}

/* Whoever made a copy, or can write in a store, chose its names. */
static void
print_name(struct buf *b, const json_t *o, const char *key)
{
    const char *name = json_string_value(json_object_get(o, key));
    char clean[NAME_SHOWN];

    (void)snprintf(clean, sizeof clean, "%s", name ? name : "");
    facts_scrub(clean);
    buf_printf(b, "%s", clean);
}

static void
print_finding(struct buf *b, const json_t *f)
{
    bool file = json_object_get(f, "file") != NULL;

    buf_printf(b, "  %s:", json_string_value(json_object_get(f, "verdict")));
    if (file)
        buf_char(b, ' ');
    print_name(b, f, "file");
    if (json_object_get(f, "offset"))
        buf_printf(b, " at %" PRIu64, number(f, "offset"));
    if (json_object_get(f, "seq"))
        buf_printf(b, "%s message %" PRIu64, file ? "," : "", number(f, "seq"));
    buf_printf(b, "%s%s\n", file || json_object_get(f, "seq") ? ": " : " ",
               json_string_value(json_object_get(f, "what")));
}

static void
print_facts(struct buf *b, const json_t *report)
{
    const json_t *ring = json_object_get(report, "ring"), *log = json_object_get(report, "log");
    struct units_text room;

    if (ring)
        buf_printf(b,
                   "  ring  %" PRIu64 " slots, %" PRIu64 " messages before %" PRIu64 ", %" PRIu64
                   " aborted, %" PRIu64 " in flight\n",
                   number(ring, "depth"), number(ring, "messages"), number(ring, "tail"),
                   number(ring, "aborted"), number(ring, "in_flight"));
    if (log)
        buf_printf(b,
                   "  log   segments %zu, %" PRIu64 " messages from %" PRIu64 " to %" PRIu64
                   ", %s, subscriptions %zu\n",
                   json_array_size(json_object_get(log, "segments")), number(log, "messages"),
                   number(log, "first"), number(log, "next") ? number(log, "next") - 1 : 0,
                   units_size(number(log, "bytes"), &room),
                   json_array_size(json_object_get(log, "subscriptions")));
}

static void
print_report(struct run *run, const json_t *report, enum verify_verdict verdict)
{
    const json_t *findings = json_object_get(report, "findings"), *f;
    size_t i;

    if (run->quiet && !json_array_size(findings))
        return;
    print_name(&run->out, report, "topic");
    buf_printf(&run->out, ": %s\n", verdict_name(verdict));
    if (!run->quiet)
        print_facts(&run->out, report);
    json_array_foreach(findings, i, f) print_finding(&run->out, f);
}

/* --- what is checked -------------------------------------------------------------------------- */

/* Damage outweighs what could not be seen: the higher number wins only among the others. */
static int
worse(int a, int b)
{
    if (a == VERIFY_DAMAGED || b == VERIFY_DAMAGED)
        return VERIFY_DAMAGED;
    return a > b ? a : b;
}

/* A topic can be removed while it is looked at, and made again under the same name. */
static void
forget_removed(struct verify *v)
{
    if (v->verdict == VERIFY_CLEAN || !verify_removed(v))
        return;
    v->verdict = VERIFY_CLEAN;
    (void)json_array_clear(json_object_get(v->report, "findings"));
}

/* Looks at both halves: 0, or -ENOENT: there is neither. */
static int
look(struct verify *v)
{
    const char *store = v->place->store;
    int ring = verify_ring(v), log = verify_log(v);

    if (ring == -ENOENT && log == -ENOENT)
        return -ENOENT;
    if (log == -ENOENT && v->durable)
        verify_found(v, *store ? VERIFY_DAMAGED : VERIFY_BLIND, NULL,
                     *store ? "its log is gone from %s" : "it has a log, but where is not known%s",
                     store);
    forget_removed(v);
    return 0;
}

/* One that was `listed` just now and is not there was removed meanwhile; among copies it has no name that a topic can have. */
static void
check_topic(struct run *run, const struct place *place, const char *topic, bool listed)
{
    struct verify v = {.place = place, .topic = topic};

    v.report = json_pack("{s:o, s:[]}", "topic", name_json(topic), "findings");
    if (look(&v)) {
        json_decref(v.report);
        if (listed && !place->directory)
            return;
        (void)cli_error(&run->cli, "%s: there is no such topic, neither in memory nor in the store",
                        topic);
        run->status = worse(run->status, VERIFY_BLIND);
        return;
    }
    (void)json_object_set_new(v.report, "verdict", json_string(verdict_name(v.verdict)));
    run->status = worse(run->status, (int)v.verdict);
    if (!run->cli.json)
        print_report(run, v.report, v.verdict);
    (void)json_array_append_new(run->reports, v.report);
}

static void
check_all(struct run *run, const struct place *place)
{
    char **topics;
    int r = place_topics(place, &topics);

    if (r) {
        (void)cli_error(&run->cli, "%s: %s", place->store, strerror(-r));
        run->status = worse(run->status, VERIFY_BLIND);
        return;
    }
    for (char **t = topics; *t; t++)
        check_topic(run, place, *t, true);
    place_topics_free(topics);
}

static bool
exists(const char *folder, const char *name)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof path, "%s/%s", folder, name) < PATH_MAX && !access(path, F_OK);
}

/* A directory is a store or a copy of one, or, when it holds a topic file, one topic's log. */
static void
check_folder(struct run *run, const char *operand)
{
    struct place place = {.directory = true};
    char *name;

    if (!realpath(operand, place.store)) {
        (void)cli_error(&run->cli, "%s: %s", operand, strerror(errno));
        run->status = worse(run->status, VERIFY_BLIND);
        return;
    }
    memcpy(place.path, place.store, sizeof place.path);
    name = strrchr(place.store, '/');
    if (!exists(place.path, "topic") || !name || !name[1]) {
        check_all(run, &place);
        return;
    }
    *name = 0;
    check_topic(run, &place, name + 1, false);
}

/* What a word means: a topic of the bus if there is one of that name, else a directory. */
static bool
is_folder(const struct place *place, const char *operand)
{
    struct place_ring ring;
    char log[PATH_MAX];
    struct stat st;
    int r;

    if (strchr(operand, '/'))
        return true;
    if (stat(operand, &st) || !S_ISDIR(st.st_mode))
        return false;
    if (!place)
        return true;
    r = place_ring_open(place, operand, &ring);
    if (!r)
        place_ring_close(&ring);
    return r == -ENOENT && place_log(place, operand, log);
}

static void
check_operands(struct run *run)
{
    struct place place;
    bool found = !place_find(run->cli.bus, &place), missed = false;

    for (int k = 0; k < run->cli.count; k++) {
        const char *operand = run->cli.operands[k];
        if (is_folder(found ? &place : NULL, operand))
            check_folder(run, operand);
        else if (found)
            check_topic(run, &place, operand, false);
        else
            missed = true;
    }
    if (!run->cli.count && found)
        check_all(run, &place);
    if (missed || (!run->cli.count && !found)) {
        (void)cli_error(&run->cli,
                        "there is no bus here (set -b or LEAT_BUS, or name a directory)");
        run->status = worse(run->status, VERIFY_BLIND);
    }
}

int
verb_verify(int argc, char **argv)
{
    struct run run = {0};
    int id, r;

    cli_begin(&run.cli, &verb, argc, argv);
    while ((id = cli_next(&run.cli)) > 0)
        run.quiet = true;
    if (id < 0)
        return run.cli.status;
    place_survive();
    run.reports = json_array();
    check_operands(&run);
    if (run.cli.json)
        table_json(&run.out, run.reports);
    json_decref(run.reports);
    r = table_end(&run.out, verb.name);
    return r ? VERIFY_BLIND : run.status;
}
