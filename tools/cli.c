#include "tools/cli.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/facts.h"
#include "tools/units.h"

#define OPTIONS_MAX 40

static const struct cli_option common[] = {
    {'b', "bus", "PATH",
     "the bus: its socket, or a directory with copies [$LEAT_BUS, the\n"
     "user's, the system's]"},
    {'j', "json", NULL, "print JSON"},
    {'h', "help", NULL, "print this"},
    {0, NULL, NULL, NULL},
};

/* --- help and messages ------------------------------------------------------------------------ */

static void
print_option(const struct cli_option *o)
{
    const char *help = o->help;
    char left[48];

    if (o->id < CLI_LONG)
        (void)snprintf(left, sizeof left, "-%c, --%s%s%s", o->id, o->name, o->value ? " " : "",
                       o->value ? o->value : "");
    else
        (void)snprintf(left, sizeof left, "    --%s%s%s", o->name, o->value ? " " : "",
                       o->value ? o->value : "");
    while (*help) {
        size_t len = strcspn(help, "\n");
        printf("  %-26s %.*s\n", left, (int)len, help);
        left[0] = 0;
        help += len + (help[len] == '\n');
    }
}

static void
print_help(const struct cli_verb *v)
{
    printf("usage: leat %s [options]%s%s\n\n%s\n\noptions:\n", v->name, *v->operands ? " " : "",
           v->operands, v->summary);
    for (const struct cli_option *o = v->options; o->id; o++)
        print_option(o);
    for (const struct cli_option *o = common; o->id; o++)
        if (o->id != 'j' || v->json)
            print_option(o);
    if (v->more)
        printf("\n%s\n", v->more);
}

static void
print_line(const char *verb, const char *format, va_list args)
{
    char text[1200];

    (void)vsnprintf(text, sizeof text, format, args);
    /* Names and reasons come from files and memory that others can write. */
    facts_scrub(text);
    (void)fflush(stdout);
    (void)fprintf(stderr, "leat %s: %s\n", verb, text);
}

int
cli_error(const struct cli *c, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line(c->verb->name, format, args);
    va_end(args);
    return CLI_FAILED;
}

void
cli_note(const struct cli *c, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line(c->verb->name, format, args);
    va_end(args);
}

int
cli_usage(const struct cli *c, const char *format, ...)
{
    char text[1000];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)cli_error(c, "%s (try 'leat %s --help')", text, c->verb->name);
    return c->verb->usage_exit ? c->verb->usage_exit : CLI_USAGE;
}

/* --- options ---------------------------------------------------------------------------------- */

void
cli_begin(struct cli *c, const struct cli_verb *verb, int argc, char **argv)
{
    *c = (struct cli){.verb = verb, .argc = argc, .argv = argv};
    optind = 0; /* begins a new scan */
    opterr = 0;
}

struct tables {
    struct option longs[OPTIONS_MAX + 1];
    char shorts[2 * OPTIONS_MAX + 2];
    unsigned n, m;
};

static void
add_options(struct tables *t, const struct cli_option *o, bool json)
{
    for (; o->id && t->n < OPTIONS_MAX; o++) {
        if (o->id == 'j' && !json)
            continue;
        t->longs[t->n++] = (struct option){
            .name = o->name,
            .has_arg = o->value ? required_argument : no_argument,
            .val = o->id,
        };
        if (o->id >= CLI_LONG)
            continue;
        t->shorts[t->m++] = (char)o->id;
        if (o->value)
            t->shorts[t->m++] = ':';
    }
}

/* An option that getopt refused. */
static int
refused(struct cli *c, int id)
{
    const char *word = c->argv[optind - 1];

    if (id == ':')
        c->status = cli_usage(c, "option '%s' needs a value", word);
    else if (optopt && optopt < CLI_LONG && word[1] != '-')
        c->status = cli_usage(c, "unknown option '-%c'", optopt);
    else
        c->status = cli_usage(c, "unknown or ambiguous option '%s'", word);
    return -1;
}

int
cli_next(struct cli *c)
{
    struct tables t = {.shorts = ":", .m = 1};
    int id;

    add_options(&t, c->verb->options, true);
    add_options(&t, common, c->verb->json);
    for (;;) {
        id = getopt_long(c->argc, c->argv, t.shorts, t.longs, NULL);
        c->value = optarg;
        if (id == 'b')
            c->bus = optarg;
        else if (id == 'j' && c->verb->json)
            c->json = true;
        else
            break;
    }
    if (id == 'h') {
        print_help(c->verb);
        c->status = CLI_OK;
        return -1;
    }
    if (id == '?' || id == ':')
        return refused(c, id);
    if (id < 0) {
        c->operands = c->argv + optind;
        c->count = c->argc - optind;
        return 0;
    }
    return id;
}

int
cli_operands(const struct cli *c, int least, int most)
{
    if (c->count < least)
        return cli_usage(c, "missing operand: %s", c->verb->operands);
    if (c->count > most)
        return cli_usage(c, "one operand too many: '%s'", c->operands[most]);
    return 0;
}

static int
bad_value(const struct cli *c, const char *option, const char *what)
{
    return cli_usage(c, "%s: '%s' is not %s", option, c->value, what);
}

int
cli_size(const struct cli *c, const char *option, uint64_t *ret)
{
    return units_parse_size(c->value, ret) ? bad_value(c, option, "a size, like 4096, 64K, 4M, 1G")
                                           : 0;
}

int
cli_count(const struct cli *c, const char *option, uint64_t *ret)
{
    return units_parse_count(c->value, ret) ? bad_value(c, option, "a whole number") : 0;
}

int
cli_time(const struct cli *c, const char *option, int64_t *ret_ns)
{
    return units_parse_time(c->value, ret_ns)
               ? bad_value(c, option, "a time, like 250ms, 5s, 2h, 7d")
               : 0;
}

/* --- the bus ---------------------------------------------------------------------------------- */

static const char *
bus_name(const struct cli *c)
{
    const char *env = getenv("LEAT_BUS");

    if (c->bus)
        return c->bus;
    return env && *env ? env : "the default place";
}

/* The text of an open that failed belongs to the thread: there is no handle that could keep it. */
static int
no_bus(const struct cli *c, int code, const char *text)
{
    if (text && *text)
        return cli_error(c, "%s", text);
    return cli_error(c, "the bus at %s: %s (start leatd, or set -b or LEAT_BUS)", bus_name(c),
                     leat_strerror(code));
}

int
cli_open(const struct cli *c, uint32_t flags, leat_bus **ret)
{
    struct leat_options options = LEAT_OPTIONS_INIT;
    int r;

    options.path = c->bus;
    options.flags = flags;
    r = leat_open(&options, ret);
    return r ? no_bus(c, r, leat_error(NULL)) : 0;
}

int
cli_inspect(const struct cli *c, leat_inspect **ret)
{
    int r = leat_inspect_open(c->bus, ret);

    return r ? no_bus(c, r, leat_inspect_error(NULL)) : 0;
}

int
cli_bus_error(const struct cli *c, leat_bus *bus, int code, const char *what)
{
    const char *text = leat_error(bus);

    return cli_error(c, "%s: %s", what, text && *text ? text : leat_strerror(code));
}

int
cli_inspect_error(const struct cli *c, leat_inspect *i, int code, const char *what)
{
    const char *text = leat_inspect_error(i);

    return cli_error(c, "%s: %s", what, text && *text ? text : leat_strerror(code));
}

/* --- the end ---------------------------------------------------------------------------------- */

int
cli_write_status(const char *verb, int code)
{
    if (code == -EPIPE)
        return CLI_OK;
    (void)fprintf(stderr, "leat %s: writing to standard output: %s\n", verb, strerror(-code));
    return CLI_FAILED;
}

int
cli_end(const char *verb, int status)
{
    errno = 0;
    if (!fflush(stdout) && !ferror(stdout))
        return status;
    if (errno == EPIPE)
        return status;
    (void)cli_write_status(verb, errno ? -errno : -EIO);
    return status ? status : CLI_FAILED;
}

static volatile sig_atomic_t interrupted;

static void
on_signal(int signal)
{
    (void)signal;
    interrupted = 1;
    (void)alarm(1);
}

/* A call that waits for ever, as publishing to a full topic may, does not see the flag. */
static void
on_alarm(int signal)
{
    (void)signal;
    _exit(128 + SIGINT);
}

void
cli_interrupts(void)
{
    struct sigaction ask = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    struct sigaction force = {.sa_handler = on_alarm};

    (void)sigemptyset(&ask.sa_mask);
    (void)sigemptyset(&force.sa_mask);
    (void)sigaction(SIGINT, &ask, NULL);
    (void)sigaction(SIGTERM, &ask, NULL);
    (void)sigaction(SIGALRM, &force, NULL);
}

bool
cli_interrupted(void)
{
    return interrupted != 0;
}

static uint64_t
clock_ns(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t
cli_now_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

uint64_t
cli_tick_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}
