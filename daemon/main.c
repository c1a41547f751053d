/* leatd - the daemon of a leat bus. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/bus.h"
#include "daemon/report.h"
#include "daemon/stop.h"

static const char help[] =
    "leatd - the daemon of a leat bus\n"
    "\n"
    "usage: leatd [options]\n"
    "\n"
    "  --user             the calling user's own bus: socket in $XDG_RUNTIME_DIR/leat or\n"
    "                     /tmp/leat-UID, store in $XDG_STATE_HOME/leat or ~/.local/state/leat;\n"
    "                     the default for everybody but root\n"
    "  --system           the system's bus: /run/leat/bus, /var/lib/leat; root's default\n"
    "  --config FILE      read this file (default: /etc/leat/leat.conf, with --user\n"
    "                     ~/.config/leat/leat.conf, if it is there), then conf.d/*.conf beside it\n"
    "  --socket PATH      instead of [bus] socket\n"
    "  --store DIR        instead of [bus] store\n"
    "  --io KIND          auto, io_uring or block, instead of [bus] io\n"
    "  --ready-fd N       write a byte to descriptor N and close it when the bus is served\n"
    "  --quiet            report errors and warnings only\n"
    "  --check            read the configuration, say whether it is good, and end\n"
    "  --print-config     print the configuration as it is understood, and end\n"
    "  --stop             stop the daemon that serves this bus, wait for it, and end;\n"
    "                     with --purge also remove its rings from shared memory\n"
    "  --version, --help\n"
    "\n"
    "leatd stays in the foreground and reports on standard error. SIGTERM and SIGINT stop it\n"
    "cleanly; publishers and subscribers that are attached go on without it. See leatd(8).\n";

enum action { SERVE, CHECK, PRINT, STOP };

struct options {
    enum action action;
    bool user, purge, quiet;
    const char *config, *socket, *store, *io;
    int ready_fd;
};

enum {
    USER = 256,
    SYSTEM,
    CONFIG,
    SOCKET,
    STORE,
    IO,
    READY,
    QUIET,
    DO_CHECK,
    DO_PRINT,
    DO_STOP,
    PURGE,
    VERSION,
    HELP
};

static const struct option long_options[] = {
    {"user", no_argument, NULL, USER},
    {"system", no_argument, NULL, SYSTEM},
    {"config", required_argument, NULL, CONFIG},
    {"socket", required_argument, NULL, SOCKET},
    {"store", required_argument, NULL, STORE},
    {"io", required_argument, NULL, IO},
    {"ready-fd", required_argument, NULL, READY},
    {"quiet", no_argument, NULL, QUIET},
    {"check", no_argument, NULL, DO_CHECK},
    {"print-config", no_argument, NULL, DO_PRINT},
    {"stop", no_argument, NULL, DO_STOP},
    {"purge", no_argument, NULL, PURGE},
    {"version", no_argument, NULL, VERSION},
    {"help", no_argument, NULL, HELP},
    {NULL, 0, NULL, 0},
};

static int
descriptor_of(const char *text)
{
    char *end;
    long n;

    errno = 0;
    n = strtol(text, &end, 10);
    if (errno || *end || end == text || n < 0 || n > 65535) {
        (void)fprintf(stderr, "leatd: --ready-fd %s: a number of an open descriptor is wanted\n",
                      text);
        return -1;
    }
    return (int)n;
}

/* Takes one option: 0 go on, 1 end well, -1 end badly. */
static int
take(struct options *o, int option)
{
    switch (option) {
    case USER:
    case SYSTEM:
        o->user = option == USER;
        return 0;
    case CONFIG:
        o->config = optarg;
        return 0;
    case SOCKET:
        o->socket = optarg;
        return 0;
    case STORE:
        o->store = optarg;
        return 0;
    case IO:
        o->io = optarg;
        return 0;
    case READY:
        o->ready_fd = descriptor_of(optarg);
        return o->ready_fd < 0 ? -1 : 0;
    case QUIET:
        o->quiet = true;
        return 0;
    case DO_CHECK:
        o->action = CHECK;
        return 0;
    case DO_PRINT:
        o->action = PRINT;
        return 0;
    case DO_STOP:
        o->action = STOP;
        return 0;
    case PURGE:
        o->purge = true;
        return 0;
    case VERSION:
        (void)printf("leatd %s (protocol %d, shared memory %d, log %d)\n", LEAT_VERSION_STRING,
                     WIRE_VERSION, SHM_VERSION, LOG_VERSION);
        return 1;
    case HELP:
        (void)fputs(help, stdout);
        return 1;
    default:
        (void)fputs("leatd: try --help\n", stderr);
        return -1;
    }
}

static int
read_options(int argc, char **argv, struct options *o)
{
    int option, r;

    *o = (struct options){.user = geteuid() != 0, .ready_fd = -1};
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
        r = take(o, option);
        if (r)
            return r;
    }
    if (optind < argc) {
        (void)fprintf(stderr, "leatd: '%s' is no option; try --help\n", argv[optind]);
        return -1;
    }
    if (o->purge && o->action != STOP) {
        (void)fputs("leatd: --purge goes with --stop\n", stderr);
        return -1;
    }
    return 0;
}

/* A path of the command line is relative to where we are. */
static int
set_path(struct config *c, const char *key, const char *path, char error[CONFIG_ERROR])
{
    char absolute[CONFIG_PATH * 2], dir[CONFIG_PATH];

    if (!path)
        return 0;
    if (*path == '/' || !*path)
        return config_set(c, key, path, error);
    if (!getcwd(dir, sizeof dir))
        return -errno;
    (void)snprintf(absolute, sizeof absolute, "%s/%s", dir, path);
    return config_set(c, key, absolute, error);
}

/* Defaults, then the file, then the command line. */
static int
configure(const struct options *o, struct config *c)
{
    char error[CONFIG_ERROR] = "", path[CONFIG_PATH];
    int r = config_init(c, o->user);

    if (r) {
        (void)fprintf(stderr, "leatd: the default socket's path is too long; use --socket\n");
        return r;
    }
    config_default_path(o->user, path);
    r = config_load(c, o->config ? o->config : path, o->config != NULL, error);
    if (!r)
        r = set_path(c, "socket", o->socket, error);
    if (!r)
        r = set_path(c, "store", o->store, error);
    if (!r && o->io)
        r = config_set(c, "io", o->io, error);
    if (r) {
        (void)fprintf(stderr, "leatd: %s\n", error[0] ? error : strerror(-r));
        config_free(c);
    }
    return r;
}

static int
serve(const struct options *o, struct config *c)
{
    char why[WHY_ROOM] = "";
    struct bus *bus;
    int r = bus_open(c, &bus, why);

    if (r) {
        report_error("%s", why);
        return EXIT_FAILURE;
    }
    if (o->ready_fd >= 0) {
        if (write(o->ready_fd, "\n", 1) != 1)
            report_warning("nobody reads --ready-fd %d: %s", o->ready_fd, strerror(errno));
        close(o->ready_fd);
    }
    r = bus_run(bus);
    if (r)
        report_error("the loop failed: %s", strerror(-r));
    bus_close(bus);
    return r ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Whoever starts it with standard descriptors closed would have its reports in the first file that takes their place. */
static void
fill_standard_descriptors(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

int
main(int argc, char **argv)
{
    struct options o;
    struct config c;
    int r = read_options(argc, argv, &o);

    if (r)
        return r > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    fill_standard_descriptors();
    (void)signal(SIGPIPE, SIG_IGN);
    if (o.quiet)
        report_quiet();
    if (configure(&o, &c))
        return EXIT_FAILURE;
    switch (o.action) {
    case CHECK:
        (void)printf("the configuration is good: %" PRIu32 " topic rules\n", c.rule_count);
        break;
    case PRINT:
        config_print(&c, stdout);
        break;
    case STOP:
        r = stop_daemon(&c, o.purge) ? EXIT_FAILURE : EXIT_SUCCESS;
        config_free(&c);
        return r;
    case SERVE:
        return serve(&o, &c);
    }
    config_free(&c);
    return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
