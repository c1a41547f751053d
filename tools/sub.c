#include "tools/cli.h"
#include "tools/feed.h"
#include "tools/format.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What is gathered before it is written, when messages stream in. */
#define FLUSH_AT 65536

enum {
    OPT_FROM = CLI_LONG,
    OPT_NO_FOLLOW,
    OPT_NAME,
    OPT_LIVE,
    OPT_GATING,
    OPT_DURABLE,
    OPT_DURABLE_ONLY,
    OPT_HEX,
    OPT_CREATE,
    OPT_NO_AUTOSTART,
};

#define MORE                                                                                       \
    "POSITION is latest, earliest, a sequence number, last:N, time:2030-01-31T12:00:00Z, or -5m\n" \
    "(that long ago). Without --live, --gating or --durable a disk topic is read as durable, a\n"  \
    "memory topic as live: publishers never wait for a terminal.\n\n"                              \
    "In a format: %s payload, %S its length, %o sequence number, %k key, %y type, %p publisher,\n" \
    "%t topic, %T time in nanoseconds, %D as a date, %%, and \\n \\t \\r \\0 \\e \\xHH \\\\.\n"    \
    "JSON is one line for each message; a payload that is not UTF-8 stands in payload_base64."

static const struct cli_option options[] = {
    {OPT_FROM, "from", "POSITION", "where to begin [sub: latest, cat: earliest]"},
    {'n', "count", "N", "end after N messages"},
    {'f', "follow", NULL, "go on when the end is reached [sub]"},
    {OPT_NO_FOLLOW, "no-follow", NULL, "stop at what is the end now [cat]"},
    {OPT_NAME, "name", "NAME",
     "a named subscription: it stays with the topic, and goes on\n"
     "behind what was printed (disk topics)"},
    {OPT_LIVE, "live", NULL, "lose the oldest when too slow, and say how many"},
    {OPT_GATING, "gating", NULL, "hold publishers back rather than lose (memory topics)"},
    {OPT_DURABLE, "durable", NULL, "read the log when fallen behind (disk topics)"},
    {OPT_DURABLE_ONLY, "durable-only", NULL, "show a message only once it is on stable storage"},
    {'F', "format", "STRING", "how to print a message ['%s\\n']"},
    {OPT_HEX, "hex", NULL, "print a line about it and a dump of its bytes"},
    {'0', "null", NULL, "end each message with a zero byte, not a newline"},
    {'q', "quiet", NULL, "say nothing of gaps"},
    {'v', "verbose", NULL, "say at the end how many were printed"},
    {OPT_CREATE, "create", NULL, "make the topic by the daemon's rule if it is not there"},
    {OPT_NO_AUTOSTART, "no-autostart", NULL, "with --create: start no private daemon"},
    {0, NULL, NULL, NULL},
};

static const struct cli_verb sub_verb = {
    .name = "sub",
    .operands = "TOPIC",
    .summary = "Subscribes to a topic and prints messages as they come, until it is interrupted. "
               "With --name,\n"
               "what has been printed is acknowledged.",
    .more = MORE,
    .options = options,
    .json = true,
};

static const struct cli_verb cat_verb = {
    .name = "cat",
    .operands = "TOPIC",
    .summary = "Prints what a topic holds, from the oldest message to the end. Needs no daemon: "
               "reads what a\n"
               "dead one left, or a directory with copies (-b).",
    .more = MORE,
    .options = options,
    .json = true,
};

struct sub {
    struct cli cli;
    struct feed_options options;
    struct feed feed;
    const char *from, *format;
    uint64_t count; /* 0: no limit */
    uint64_t printed, lost, gaps, last_seq;
    bool hex, quiet, verbose, no_autostart;
    struct buf out;
};

/* --- options ---------------------------------------------------------------------------------- */

static int
set_kind(struct sub *s, int id)
{
    int kind = id == OPT_LIVE ? LEAT_LIVE : id == OPT_GATING ? LEAT_GATING : LEAT_DURABLE;

    if (s->options.kind >= 0 && s->options.kind != kind)
        return cli_usage(&s->cli, "--live, --gating and --durable exclude each other");
    s->options.kind = kind;
    return 0;
}

static int
set_value(struct sub *s, int id)
{
    const char *bad;
    int r;

    switch (id) {
    case 'n':
        r = cli_count(&s->cli, "--count", &s->count);
        return r ? r : s->count ? 0 : cli_usage(&s->cli, "--count: at least 1");
    case 'F':
        s->format = s->cli.value;
        bad = format_check(s->format);
        return bad ? cli_usage(&s->cli, "--format: %s", bad) : 0;
    case OPT_NAME:
        s->options.name = s->cli.value;
        return 0;
    default:
        s->from = s->cli.value;
        return 0;
    }
}

static int
set(struct sub *s, int id)
{
    switch (id) {
    case 'f':
    case OPT_NO_FOLLOW:
        s->options.follow = id == 'f';
        return 0;
    case OPT_LIVE:
    case OPT_GATING:
    case OPT_DURABLE:
        return set_kind(s, id);
    case OPT_DURABLE_ONLY:
        s->options.durable_only = true;
        return 0;
    case OPT_HEX:
        s->hex = true;
        return 0;
    case '0':
        s->format = "%s\\0";
        return 0;
    case 'q':
        s->quiet = true;
        return 0;
    case 'v':
        s->verbose = true;
        return 0;
    case OPT_CREATE:
        s->options.create = true;
        return 0;
    case OPT_NO_AUTOSTART:
        s->no_autostart = true;
        return 0;
    default:
        return set_value(s, id);
    }
}

static int
read_options(struct sub *s)
{
    int id, r;

    while ((id = cli_next(&s->cli)) > 0) {
        r = set(s, id);
        if (r)
            return r;
    }
    if (id < 0)
        return s->cli.status ? s->cli.status : -1;
    r = cli_operands(&s->cli, 1, 1);
    if (r)
        return r;
    s->options.topic = s->cli.operands[0];
    s->options.autostart = s->options.create && !s->no_autostart;
    s->options.inspect = !s->options.follow && !s->options.name && !s->options.create;
    if (feed_position(s->from, cli_now_ns(), &s->options.from))
        return cli_usage(
            &s->cli, "--from: '%s' is not latest, earliest, a number, last:N, time:DATE or -TIME",
            s->from);
    return 0;
}

/* --- messages --------------------------------------------------------------------------------- */

static void
print_message(struct sub *s, const struct leat_msg *m)
{
    struct format_message f = {
        .topic = s->options.topic,
        .data = m->data,
        .len = m->len,
        .seq = m->seq,
        .key = m->key,
        .time_ns = m->time_ns,
        .type = m->type,
        .publisher = m->publisher,
    };

    if (s->cli.json)
        format_json(&s->out, &f);
    else if (s->hex)
        format_hex(&s->out, &f);
    else
        format_text(&s->out, s->format, &f);
}

/* Writes what has been printed, and only then acknowledges it. 0, -ENODATA when nobody reads us any more, or an
 * exit status. */
static int
flush(struct sub *s)
{
    int r = buf_flush(&s->out, STDOUT_FILENO);

    if (r == -EPIPE)
        return -ENODATA;
    if (r)
        return cli_write_status(s->cli.verb->name, r);
    r = s->last_seq ? feed_ack(&s->feed, s->last_seq) : 0;
    s->last_seq = 0;
    return r ? feed_error(&s->feed, r) : 0;
}

static void
gap(struct sub *s, uint64_t first, uint64_t lost)
{
    s->lost += lost;
    s->gaps++;
    if (!s->quiet)
        cli_note(&s->cli, "%s: gap: %" PRIu64 " lost, from %" PRIu64, s->options.topic, lost,
                 first);
}

/* The message's bytes are believed only after the release: until then they can be taken back. */
static void
take(struct sub *s, struct leat_msg *m)
{
    size_t before = s->out.len;
    uint64_t seq = m->seq;

    print_message(s, m);
    if (feed_release(&s->feed, m)) {
        s->out.len = before;
        if (!s->feed.again)
            gap(s, seq, 1);
        return;
    }
    s->printed++;
    s->last_seq = seq;
}

/* One step: 0, -ENODATA at the end, or an exit status. */
static int
step(struct sub *s)
{
    struct leat_msg m;
    int r = feed_next(&s->feed, &m), x;

    switch (r) {
    case 1:
        take(s, &m);
        if (s->count && s->printed >= s->count)
            return -ENODATA;
        return s->out.len >= FLUSH_AT ? flush(s) : 0;
    case LEAT_GAP:
        x = flush(s);
        gap(s, m.first, m.lost);
        return x;
    case 0:
        x = flush(s);
        if (x)
            return x;
        r = feed_wait(&s->feed);
        return r ? feed_error(&s->feed, r) : 0;
    case -ENODATA:
        return r;
    default:
        x = flush(s);
        return x > 0 ? x : feed_error(&s->feed, r);
    }
}

static int
run(struct sub *s)
{
    int r, x;

    do
        r = step(s);
    while (!r && !cli_interrupted());
    x = r > 0 ? 0 : flush(s); /* what failed has been said */
    if (s->lost && !s->quiet)
        cli_note(&s->cli, "%s: %" PRIu64 " lost in %" PRIu64 " gaps", s->options.topic, s->lost,
                 s->gaps);
    if (s->verbose)
        cli_note(&s->cli, "%s: %" PRIu64 " messages", s->options.topic, s->printed);
    return r > 0 ? r : x > 0 ? x : CLI_OK;
}

static int
subscribe(struct sub *s, const struct cli_verb *verb, int argc, char **argv)
{
    int r;

    cli_begin(&s->cli, verb, argc, argv);
    s->format = "%s\\n";
    s->options.kind = -1;
    r = read_options(s);
    if (r)
        return r < 0 ? CLI_OK : r;
    cli_interrupts();
    r = feed_open(&s->feed, &s->cli, &s->options);
    r = r ? r : run(s);
    feed_close(&s->feed);
    buf_free(&s->out);
    return r;
}

int
verb_sub(int argc, char **argv)
{
    struct sub s = {.from = "latest", .options.follow = true};

    return subscribe(&s, &sub_verb, argc, argv);
}

int
verb_cat(int argc, char **argv)
{
    struct sub s = {.from = "earliest"};

    return subscribe(&s, &cat_verb, argc, argv);
}
