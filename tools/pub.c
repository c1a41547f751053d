#include "tools/cli.h"
#include "tools/input.h"
#include "tools/units.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH_MAX 4096
/* The wait for the disk is cut into pieces of this length, so that a signal is noticed. */
#define PIECE_NS 200000000ll

enum {
    OPT_WHOLE = CLI_LONG,
    OPT_SIZE,
    OPT_RATE,
    OPT_BATCH,
    OPT_WAIT_DURABLE,
    OPT_TIMEOUT,
    OPT_NO_AUTOSTART,
    OPT_NO_CREATE,
};

static const struct cli_option options[] = {
    {OPT_WHOLE, "whole", NULL, "the file is one message"},
    {'0', "null", NULL, "messages end at a zero byte, not at a newline"},
    {'n', "count", "N", "publish at most N; without FILE: N generated messages"},
    {OPT_SIZE, "size", "SIZE", "bytes of a generated message [64]"},
    {'k', "key", "N", "the messages' key [0]"},
    {'t', "type", "N", "the messages' type, up to 65535 [0]"},
    {OPT_RATE, "rate", "N/s", "not faster than that (also N/m, N/h, 10k)"},
    {OPT_BATCH, "batch", "N",
     "publish up to N that are there at once and fit together,\n"
     "all or none [1]"},
    {OPT_WAIT_DURABLE, "wait-durable", NULL, "end only when all are on stable storage"},
    {OPT_TIMEOUT, "timeout", "TIME", "give up when the topic stays full that long [never]"},
    {OPT_NO_CREATE, "no-create", NULL, "the topic has to exist"},
    {OPT_NO_AUTOSTART, "no-autostart", NULL, "do not start a private daemon if none answers"},
    {'v', "verbose", NULL, "say at the end how many were published"},
    {0, NULL, NULL, NULL},
};

static const struct cli_verb verb = {
    .name = "pub",
    .operands = "TOPIC [FILE|-]",
    .summary = "Publishes the lines of a file or of standard input, each as a message. Makes the "
               "topic by the\n"
               "daemon's rule if it is not there, and starts a private daemon if none answers.",
    .more = "A message never waits for --batch to fill: a batch is what has been read already.",
    .options = options,
};

struct pub {
    struct cli cli;
    uint64_t count; /* 0: no limit */
    uint64_t size, batch, key;
    double rate;        /* a second; 0: no limit */
    int64_t timeout_ns; /* negative: for ever */
    uint16_t type;
    bool whole, wait_durable, verbose, generate, no_autostart, no_create;
    char separator;
    const char *topic;
    leat_bus *bus;
    leat_pub *pub;
    struct input in;
    struct leat_out *out; /* batch of them */
    char *made;           /* batch generated messages of size bytes */
    uint64_t published, last_seq, begun_ns, payload_max;
};

/* --- options ---------------------------------------------------------------------------------- */

static int
set_number(struct pub *p, int id)
{
    const struct cli *c = &p->cli;
    uint64_t n;
    int r;

    switch (id) {
    case 'n':
        r = cli_count(c, "--count", &p->count);
        return r ? r : p->count ? 0 : cli_usage(c, "--count: at least 1");
    case OPT_SIZE:
        return cli_size(c, "--size", &p->size);
    case 'k':
        return cli_count(c, "--key", &p->key);
    case 't':
        r = cli_count(c, "--type", &n);
        if (!r && n > UINT16_MAX)
            r = cli_usage(c, "--type: %s is above 65535", c->value);
        p->type = r ? 0 : (uint16_t)n;
        return r;
    case OPT_BATCH:
        r = cli_count(c, "--batch", &p->batch);
        if (!r && (!p->batch || p->batch > BATCH_MAX))
            r = cli_usage(c, "--batch: %s is not from 1 to %d", c->value, BATCH_MAX);
        return r;
    case OPT_RATE:
        r = units_parse_rate(c->value, &p->rate);
        return r ? cli_usage(c, "--rate: '%s' is not a rate, like 1000/s", c->value) : 0;
    default:
        return cli_time(c, "--timeout", &p->timeout_ns);
    }
}

static int
set(struct pub *p, int id)
{
    switch (id) {
    case OPT_WHOLE:
        p->whole = true;
        return 0;
    case '0':
        p->separator = 0;
        return 0;
    case OPT_WAIT_DURABLE:
        p->wait_durable = true;
        return 0;
    case OPT_NO_CREATE:
        p->no_create = true;
        return 0;
    case OPT_NO_AUTOSTART:
        p->no_autostart = true;
        return 0;
    case 'v':
        p->verbose = true;
        return 0;
    default:
        return set_number(p, id);
    }
}

static int
read_options(struct pub *p, int argc, char **argv)
{
    int id, r;

    cli_begin(&p->cli, &verb, argc, argv);
    while ((id = cli_next(&p->cli)) > 0) {
        r = set(p, id);
        if (r)
            return r;
    }
    if (id < 0)
        return p->cli.status ? p->cli.status : -1;
    r = cli_operands(&p->cli, 1, 2);
    if (r)
        return r;
    p->topic = p->cli.operands[0];
    p->generate = p->count && p->cli.count == 1;
    if (p->whole && (p->generate || p->batch > 1))
        return cli_usage(&p->cli, "--whole is one message: it takes neither --count nor --batch");
    return 0;
}

/* --- messages --------------------------------------------------------------------------------- */

/* Generated messages differ in their number, so that whoever reads can tell them apart. */
static int
generate(struct pub *p, unsigned slot, struct leat_out *ret)
{
    char *data = p->made + slot * p->size;
    char text[24];
    int n = snprintf(text, sizeof text, "%" PRIu64 " ", p->published + slot + 1);

    memcpy(data, text, (size_t)n < p->size ? (size_t)n : p->size);
    ret->data = data;
    ret->len = p->size;
    return 1;
}

static int
next(struct pub *p, unsigned slot, struct leat_out *ret)
{
    const char *data = "";
    size_t len = 0;
    int r;

    *ret = (struct leat_out){.key = p->key, .type = p->type};
    if (p->count && p->published + slot >= p->count)
        return 0;
    if (p->generate)
        return generate(p, slot, ret);
    r = input_next(&p->in, slot == 0, &data, &len);
    ret->data = data;
    ret->len = len;
    return r;
}

/* Fills p->out: how many, 0 at the end, or a negative errno when there is not even one. */
static int
gather(struct pub *p)
{
    unsigned n = 0;
    int r = 1;

    while (n < p->batch) {
        r = next(p, n, &p->out[n]);
        if (r != 1)
            break;
        n++;
    }
    return n ? (int)n : r;
}

/* Waits until n more may be published: 0 or -EINTR. */
static int
pace(const struct pub *p)
{
    uint64_t due = p->begun_ns + (uint64_t)((double)p->published / p->rate * 1e9);
    struct timespec at = {(time_t)(due / 1000000000u), (long)(due % 1000000000u)};
    int r = 0;

    while (!cli_interrupted() && (r = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL)))
        if (r != EINTR)
            return -r;
    return cli_interrupted() ? -EINTR : 0;
}

static int
send_batch(struct pub *p, const struct leat_out *out, unsigned n)
{
    uint64_t first = 0;
    int r = p->rate > 0 ? pace(p) : 0;

    if (r)
        return r;
    r = n == 1 ? leat_pub_send_keyed(p->pub, out, &first)
               : leat_pub_send_many(p->pub, out, n, &first);
    if (r)
        return r;
    p->published += n;
    p->last_seq = first + n - 1;
    return 0;
}

/* Each message fits, and yet all of them together may not: they are tried in halves then. */
static int
send_out(struct pub *p, unsigned n)
{
    unsigned done = 0, most = n, k;
    int r = 0;

    while (!r && done < n) {
        k = n - done < most ? n - done : most;
        r = send_batch(p, p->out + done, k);
        if (!r)
            done += k;
        if (r != -EMSGSIZE || k == 1)
            continue;
        most = k / 2;
        r = 0;
    }
    return r;
}

static int
explain(const struct pub *p, int code)
{
    struct units_text room;

    switch (code) {
    case -EMSGSIZE:
        return cli_error(&p->cli,
                         "%s: message %" PRIu64 " is longer than the topic takes, %s"
                         " (half its lane size: leat create --lane)",
                         p->topic, p->published + 1, units_size(p->payload_max, &room));
    case -EAGAIN:
        return cli_error(
            &p->cli,
            "%s: the topic stayed full for %s (--timeout); 'leat ring %s' shows who holds it",
            p->topic, units_time((uint64_t)p->timeout_ns, &room), p->topic);
    default:
        return cli_bus_error(&p->cli, p->bus, code, p->topic);
    }
}

static int
publish(struct pub *p)
{
    int n, r = 0;

    p->begun_ns = cli_tick_ns();
    while (!r && !cli_interrupted()) {
        n = gather(p);
        if (n == 0)
            break;
        if (n == -EMSGSIZE)
            return explain(p, n);
        if (n < 0 && n != -EINTR)
            return cli_error(&p->cli, "reading %s: %s", p->cli.count > 1 ? p->cli.operands[1] : "-",
                             strerror(-n));
        r = n < 0 ? n : send_out(p, (unsigned)n);
    }
    return r && r != -EINTR ? explain(p, r) : CLI_OK;
}

/* --- begin and end ---------------------------------------------------------------------------- */

static int
open_input(struct pub *p)
{
    const char *path = p->cli.count > 1 ? p->cli.operands[1] : "-";
    int fd = STDIN_FILENO;

    if (p->generate || !strcmp(path, "-"))
        fd = STDIN_FILENO;
    else
        fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cli_error(&p->cli, "%s: %s", path, strerror(errno));
    p->in = (struct input){.fd = fd, .separator = p->separator, .whole = p->whole};
    return 0;
}

static int
open_pub(struct pub *p)
{
    struct leat_pub_options o = LEAT_PUB_OPTIONS_INIT;
    struct leat_topic_info info;
    int r;

    r = cli_open(&p->cli, p->no_autostart ? 0 : LEAT_AUTOSTART, &p->bus);
    if (r)
        return r;
    o.timeout_ns = p->timeout_ns < 0 ? 0 : p->timeout_ns ? p->timeout_ns : LEAT_NO_WAIT;
    o.flags = p->no_create ? 0 : LEAT_CREATE;
    r = leat_pub_open(p->bus, p->topic, &o, &p->pub);
    r = r ? r : leat_topic_info(p->bus, p->topic, &info);
    if (r)
        return cli_bus_error(&p->cli, p->bus, r, p->topic);
    if (p->wait_durable && info.durability != LEAT_DISK)
        return cli_error(&p->cli, "%s: --wait-durable: it is a memory topic (leat create --disk)",
                         p->topic);
    p->payload_max = info.payload_max;
    p->in.max = info.payload_max;
    if (p->generate && p->size > info.payload_max)
        return explain(p, -EMSGSIZE);
    if (p->batch > info.depth / 2)
        p->batch = info.depth / 2;
    return 0;
}

static int
make_room(struct pub *p)
{
    p->out = calloc(p->batch, sizeof *p->out);
    if (p->generate)
        p->made = malloc(p->size * p->batch + 1);
    if (!p->out || (p->generate && !p->made))
        return cli_error(&p->cli, "out of memory for %" PRIu64 " messages of %" PRIu64 " bytes",
                         p->batch, p->size);
    for (uint64_t i = 0; p->made && i < p->size * p->batch; i++)
        p->made[i] = (char)('a' + i % p->size % 26);
    return 0;
}

static int
wait_durable(struct pub *p)
{
    uint64_t waited = 0;
    int r = 0;

    if (!p->wait_durable || !p->published)
        return CLI_OK;
    while ((r = leat_pub_wait_durable(p->pub, p->last_seq, PIECE_NS)) == -ETIMEDOUT) {
        waited += PIECE_NS;
        if (cli_interrupted() || (p->timeout_ns >= 0 && waited >= (uint64_t)p->timeout_ns))
            return cli_error(&p->cli,
                             "%s: message %" PRIu64 " is published, but not on stable storage yet",
                             p->topic, p->last_seq);
    }
    return r ? cli_bus_error(&p->cli, p->bus, r, p->topic) : CLI_OK;
}

static void
end(struct pub *p)
{
    if (p->verbose)
        cli_note(&p->cli, "%s: %" PRIu64 " published, last %" PRIu64, p->topic, p->published,
                 p->last_seq);
    (void)leat_pub_close(p->pub);
    (void)leat_close(p->bus);
    if (p->in.fd != STDIN_FILENO)
        (void)close(p->in.fd);
    input_free(&p->in);
    free(p->out);
    free(p->made);
}

int
verb_pub(int argc, char **argv)
{
    struct pub p = {.size = 64, .batch = 1, .separator = '\n', .timeout_ns = -1};
    int r = read_options(&p, argc, argv), status;

    if (r)
        return r < 0 ? CLI_OK : r;
    cli_interrupts();
    r = open_input(&p);
    if (r)
        return r;
    r = open_pub(&p);
    r = r ? r : make_room(&p);
    r = r ? r : publish(&p);
    status = p.published && !r ? wait_durable(&p) : r;
    end(&p);
    return status;
}
