/* bus.c - whole buses at work, one configuration per run (the argument names it; none: all). What is checked stands in
 * tests/support/party.h. Prints what happened; exits 0, 1 with the reason and the seed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/fixture.h"
#include "tests/support/party.h"

/* Three publishers and four subscribers; what is not said here is as in usual(). */
static const struct config {
    const char *name, *io;
    enum leat_durability durability;
    enum leat_when_full when_full;
    enum leat_kind kind;
    uint64_t depth, lane_size;
    uint32_t longest, seconds, full; /* seconds of the long form; 0: ten times the short one */
    uint32_t daemon_ms, publisher_ms, subscriber_ms, stop_ms;
} configs[] = {
    {.name = "memory", .kind = LEAT_GATING},
    {.name = "overwrite",
     .when_full = LEAT_OVERWRITE,
     .depth = 256,
     .lane_size = 1 << 18,
     .longest = 15000},
    {.name = "disk", .durability = LEAT_DISK, .longest = 300000, .lane_size = 1 << 23},
    {.name = "disk-block", .io = "block", .durability = LEAT_DISK},
    {.name = "disk-lanes", .durability = LEAT_DISK, .depth = 8192, .longest = 20000},
    {.name = "memory-daemon", .kind = LEAT_GATING, .seconds = 5, .full = 150, .daemon_ms = 200},
    {.name = "disk-daemon", .durability = LEAT_DISK, .seconds = 5, .full = 150, .daemon_ms = 200},
    {.name = "memory-publishers", .kind = LEAT_GATING, .seconds = 5, .publisher_ms = 20},
    {.name = "disk-all",
     .durability = LEAT_DISK,
     .seconds = 6,
     .daemon_ms = 400,
     .publisher_ms = 50,
     .subscriber_ms = 100,
     .stop_ms = 150},
};

/* A question to the daemon is given up after 5 s, and a client asleep looks around ten times a second: a data path that stands
 * still for longer than this while the daemon dies and comes back is waiting for something, however busy the machine. */
#define PAUSE_MOST_NS 10000000000u

static struct party_plan
usual(const struct config *c)
{
    struct party_plan p = {
        .io = c->io,
        .durability = c->durability,
        .when_full = c->when_full,
        .publishers = 3,
        .subscribers = 4,
        .longest = c->longest ? c->longest : 60000,
        .depth = c->depth ? c->depth : 1024,
        .lane_size = c->lane_size ? c->lane_size : 1 << 20,
        .retention_bytes = PARTY_WHOLE,
        .seconds = c->seconds ? c->seconds : 3,
        .daemon_ms = c->daemon_ms,
        .publisher_ms = c->publisher_ms,
        .subscriber_ms = c->subscriber_ms,
        .stop_ms = c->stop_ms,
    };

    for (uint32_t i = 0; i < p.subscribers; i++) {
        p.reader[i].kind = c->durability == LEAT_DISK ? LEAT_DURABLE : c->kind;
        p.reader[i].named = c->durability == LEAT_DISK;
    }
    if (c->daemon_ms && !c->publisher_ms)
        p.pause_most_ns = PAUSE_MOST_NS;
    if (fixture_is_full())
        p.seconds = c->full ? c->full : p.seconds * 10;
    return p;
}

static int
run(const char *name, struct party_plan plan)
{
    struct party_figures f;
    char why[PARTY_WHY];
    int r;

    plan.seed = fixture_seed();
    r = party_run(&plan, &f, why);
    printf("%s: seed 0x%llx, %.0f s, published %llu, received %llu by %u, gone %llu, aborted %llu, "
           "repeated and skipped "
           "%llu, read again %llu; killed: daemon %llu, publishers %llu, subscribers %llu; stopped "
           "%llu; longest: send "
           "%.1f ms, between two messages %.1f ms, until the daemon was back %.1f ms: %s\n",
           name, (unsigned long long)plan.seed, plan.seconds, (unsigned long long)f.published,
           (unsigned long long)f.received, plan.subscribers, (unsigned long long)f.gone,
           (unsigned long long)f.aborted, (unsigned long long)f.repeated,
           (unsigned long long)f.reread, (unsigned long long)f.daemons,
           (unsigned long long)f.publishers, (unsigned long long)f.subscribers,
           (unsigned long long)f.stops, (double)f.slowest_send_ns / 1e6, (double)f.pause_ns / 1e6,
           (double)f.back_ns / 1e6, r ? why : "good");
    (void)fflush(stdout);
    return r;
}

int
main(int argc, char **argv)
{
    int failed = 0, ran = 0;

    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        if (argc > 1 && strcmp(argv[1], configs[i].name) != 0)
            continue;
        failed |= run(configs[i].name, usual(&configs[i])) != 0;
        ran++;
    }
    if (!ran)
        (void)fprintf(stderr, "bus: no configuration '%s'\n", argv[1]);
    return failed || !ran;
}
