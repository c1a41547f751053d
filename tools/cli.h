/* cli.h - what all verbs of `leat` share: options, messages, exit codes, output.
 *
 * A verb is a struct cli_verb that describes it and a function `int verb_x(int argc, char **argv)` that returns its exit
 * status; argv[0] is the verb's name. The description is the only source of its --help. One thread. */
#ifndef TOOLS_CLI_H
#define TOOLS_CLI_H

#include <leat.h>
#include <stdbool.h>
#include <stdint.h>

enum cli_exit { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct cli_option {
    int id;            /* its letter; 256 and up: it has none. 0 ends the table */
    const char *name;  /* the long one */
    const char *value; /* the word for its value in the help; NULL: it takes none */
    const char *help;  /* may have several lines */
};
#define CLI_LONG 256

struct cli_verb {
    const char *name;
    const char *operands; /* "TOPIC [FILE|-]" */
    const char *summary;  /* a sentence or more */
    const char *more;     /* after the options; may be NULL */
    const struct cli_option *options;
    bool json;      /* it has --json */
    int usage_exit; /* its exit status for a wrong call; 0: CLI_USAGE */
};

/* One call of a verb. */
struct cli {
    const struct cli_verb *verb;
    int argc;
    char **argv;
    const char *bus;   /* -b; NULL: the default */
    const char *value; /* of the option cli_next has given */
    char **operands;   /* after the last option: count of them, then NULL */
    int count;
    int status; /* when cli_next says stop: the exit status */
    bool json;
};

/* cli_begin prepares to read a call's options. */
void cli_begin(struct cli *c, const struct cli_verb *verb, int argc, char **argv);

/* cli_next gives the next option's id. 0: no more, operands and count are set. -1: stop, return c->status (after --help,
 * or an error that has been printed). -b, -j and -h are dealt with inside. */
int cli_next(struct cli *c);

/* cli_operands checks how many there are: 0, or an exit status after saying what is missing or too much. */
int cli_operands(const struct cli *c, int least, int most);

/* cli_error prints "leat VERB: ..." as one line of printable ASCII and returns CLI_FAILED; cli_usage adds where help
 * is and returns the verb's status for a wrong call; cli_note only prints. */
int cli_error(const struct cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_usage(const struct cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cli_note(const struct cli *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Values of the option just given: 0, or the exit status after saying what is wrong. */
int cli_size(const struct cli *c, const char *option, uint64_t *ret);
int cli_count(const struct cli *c, const char *option, uint64_t *ret);
int cli_time(const struct cli *c, const char *option, int64_t *ret_ns);

/* cli_open connects to the bus, cli_inspect opens it for looking: 0, or the exit status after saying why not. */
int cli_open(const struct cli *c, uint32_t flags, leat_bus **ret);
int cli_inspect(const struct cli *c, leat_inspect **ret);

/* cli_bus_error and cli_inspect_error say why a call failed, in the library's words: CLI_FAILED. */
int cli_bus_error(const struct cli *c, leat_bus *bus, int code, const char *what);
int cli_inspect_error(const struct cli *c, leat_inspect *i, int code, const char *what);

/* cli_end flushes standard output. A closed pipe ends quietly; any other failure is said and makes the status CLI_FAILED. */
int cli_end(const char *verb, int status);

/* cli_write_status is what a failed write to standard output means: CLI_OK when it was a closed pipe, else CLI_FAILED
 * after saying so. */
int cli_write_status(const char *verb, int code);

/* cli_interrupts makes SIGINT and SIGTERM set a flag, once. A second one ends the program, and so does a second that
 * passes: some calls wait for ever. */
void cli_interrupts(void);
bool cli_interrupted(void);

/* cli_now_ns is realtime, cli_tick_ns a clock that only goes forward. */
uint64_t cli_now_ns(void);
uint64_t cli_tick_ns(void);

/* The verbs. */
int verb_ls(int argc, char **argv);
int verb_info(int argc, char **argv);
int verb_create(int argc, char **argv);
int verb_rm(int argc, char **argv);
int verb_pub(int argc, char **argv);
int verb_sub(int argc, char **argv);
int verb_cat(int argc, char **argv);
int verb_ring(int argc, char **argv);
int verb_top(int argc, char **argv);
int verb_verify(int argc, char **argv);
int verb_bench(int argc, char **argv);

#endif
