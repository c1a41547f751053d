/* leat - look at, feed and read a bus from the command line. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"

static const struct verb {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} verbs[] = {
    {"ls", verb_ls, "list topics"},
    {"info", verb_info, "all about one topic"},
    {"create", verb_create, "make a topic"},
    {"rm", verb_rm, "remove a topic or a subscription"},
    {"pub", verb_pub, "publish lines, files or generated messages"},
    {"sub", verb_sub, "subscribe: print messages as they come"},
    {"cat", verb_cat, "print what a topic holds"},
    {"ring", verb_ring, "draw a topic's ring, its publishers and cursors"},
    {"top", verb_top, "all topics, with rates"},
    {"verify", verb_verify, "check rings and logs"},
    {"bench", verb_bench, "measure this machine"},
};
#define VERBS (sizeof verbs / sizeof *verbs)

static const struct verb *
find(const char *name)
{
    for (size_t i = 0; i < VERBS; i++)
        if (!strcmp(verbs[i].name, name))
            return &verbs[i];
    return NULL;
}

static void
help(void)
{
    printf("usage: leat VERB [options] ...\n\nThe command line of the message broker leat.\n\n");
    for (size_t i = 0; i < VERBS; i++)
        printf("  %-8s %s\n", verbs[i].name, verbs[i].summary);
    printf("\n'leat VERB --help' says more; so do leat(1), and leat(7) for the ideas.\n");
}

/* A standard descriptor that the caller closed would become the next file or socket that is opened, and what is printed
 * would go there. It is filled the wrong way round, so that who needs it is told: 0 cannot be read, 1 and 2 cannot be
 * written. 0 or -1. */
static int
fill_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return -1;
    return 0;
}

int
main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    const struct verb *verb;

    if (fill_standard()) {
        (void)fprintf(stderr,
                      "leat: a standard descriptor is closed, and /dev/null is not there\n");
        return CLI_FAILED;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    if (!strcmp(word, "--version")) {
        printf("leat %s\n", LEAT_VERSION_STRING);
        return cli_end(word, CLI_OK);
    }
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || (!strcmp(word, "help") && argc < 3)) {
        help();
        return cli_end("help", CLI_OK);
    }
    if (!strcmp(word, "help")) {
        static char option[] = "--help";
        argv[1] = argv[2];
        argv[2] = option;
        argc = 3;
        word = argv[1];
    }
    verb = find(word);
    if (!verb) {
        (void)fprintf(stderr, "leat: %s%s%s (try 'leat --help')\n",
                      *word ? "there is no verb '" : "which verb?", word, *word ? "'" : "");
        return CLI_USAGE;
    }
    return cli_end(verb->name, verb->run(argc - 1, argv + 1));
}
