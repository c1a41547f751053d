#include "tools/story/story.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

uint64_t
story_now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct story *
story_figures(void)
{
    void *p =
        mmap(NULL, sizeof(struct story), PROT_READ | PROT_WRITE, MAP_SHARED, STORY_FIGURES_FD, 0);

    if (p == MAP_FAILED) {
        perror("demo: shared figures");
        exit(1);
    }
    return p;
}

static void
usage(FILE *to)
{
    (void)fputs("usage: tools/demo [options] [FILE|-]\n"
                "Streams the lines of FILE (default: /var/lib/dpkg/status) over a private bus to "
                "four services,\n"
                "kills one service and the daemon with -9, starts both again, and shows that "
                "nothing was lost.\n"
                "  -s, --seconds N   how long to stream (12)\n"
                "  -r, --rate N      lines a second (20000)\n"
                "  -d, --dir DIR     where the bus keeps its files (/var/tmp)\n",
                to);
}

static const char *
beside(const char *self, const char *name)
{
    static char path[4096];
    const char *slash = strrchr(self, '/');

    (void)snprintf(path, sizeof path, "%.*s/%s", slash ? (int)(slash - self) : 1,
                   slash ? self : ".", name);
    return path;
}

static int
tell(int argc, char **argv, const char *self)
{
    static const struct option longs[] = {{"seconds", 1, NULL, 's'}, {"rate", 1, NULL, 'r'},
                                          {"dir", 1, NULL, 'd'},     {"leatd", 1, NULL, 'l'},
                                          {"help", 0, NULL, 'h'},    {NULL, 0, NULL, 0}};
    struct story_options o = {.input = "/var/lib/dpkg/status",
                              .dir = "/var/tmp",
                              .leatd = beside(self, "leatd"),
                              .rate = 20000,
                              .seconds = 12};
    int c;

    while ((c = getopt_long(argc, argv, "s:r:d:h", longs, NULL)) != -1) {
        if (c == 's')
            o.seconds = strtod(optarg, NULL);
        else if (c == 'r')
            o.rate = strtoull(optarg, NULL, 10);
        else if (c == 'd')
            o.dir = optarg;
        else if (c == 'l')
            o.leatd = optarg;
        else
            return usage(c == 'h' ? stdout : stderr), c == 'h' ? 0 : 2;
    }
    if (optind < argc)
        o.input = argv[optind];
    if (o.seconds < 1 || o.seconds > 3600 || o.rate < 1 || o.rate > 1000000) {
        (void)fprintf(stderr, "demo: seconds go from 1 to 3600, the rate from 1 to 1000000\n");
        return 2;
    }
    return story_tell(&o, self);
}

int
main(int argc, char **argv)
{
    static char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    if (n < 0)
        return 1;
    self[n] = '\0';
    if (argc == 5 && !strcmp(argv[1], "--publish"))
        return story_publish(argv[2], argv[3], strtoull(argv[4], NULL, 10));
    if (argc == 6 && !strcmp(argv[1], "--serve"))
        return story_serve(argv[2], argv[3], (int)strtol(argv[4], NULL, 10), argv[5]);
    return tell(argc, argv, self);
}
