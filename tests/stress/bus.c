/* bus.c - whole buses at work, one configuration per run (the argument names it; none: all). What is checked stands in
 * tests/support/party.h. Prints what happened; exits 0, 1 with the reason and the seed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/fixture.h"
#include "tests/support/party.h"

static const struct {
    const char *name;
    struct party_plan plan;
} plans[] = {
    {"memory",
     {.kind = LEAT_GATING,
      .publishers = 3,
      .subscribers = 4,
      .longest = 60000,
      .depth = 1024,
      .lane_size = 1 << 20,
      .seconds = 3}},
    {"overwrite",
     {.when_full = LEAT_OVERWRITE,
      .publishers = 3,
      .subscribers = 4,
      .longest = 60000,
      .depth = 256,
      .lane_size = 1 << 18,
      .seconds = 3}},
    {"disk",
     {.durability = LEAT_DISK,
      .kind = LEAT_DURABLE,
      .publishers = 3,
      .subscribers = 4,
      .longest = 300000,
      .depth = 1024,
      .lane_size = 1 << 23,
      .retention_bytes = 4ull << 30,
      .seconds = 3}},
    {"disk-block",
     {.io = "block",
      .durability = LEAT_DISK,
      .kind = LEAT_DURABLE,
      .publishers = 3,
      .subscribers = 4,
      .longest = 60000,
      .depth = 1024,
      .lane_size = 1 << 20,
      .retention_bytes = 4ull << 30,
      .seconds = 3}},
    {"memory-daemon",
     {.kind = LEAT_GATING,
      .publishers = 3,
      .subscribers = 4,
      .longest = 20000,
      .depth = 1024,
      .lane_size = 1 << 20,
      .seconds = 5,
      .daemon_ms = 200}},
    {"disk-daemon",
     {.durability = LEAT_DISK,
      .kind = LEAT_DURABLE,
      .publishers = 3,
      .subscribers = 4,
      .longest = 20000,
      .depth = 4096,
      .lane_size = 1 << 22,
      .retention_bytes = 4ull << 30,
      .seconds = 5,
      .daemon_ms = 200}},
    {"memory-publishers",
     {.kind = LEAT_GATING,
      .publishers = 3,
      .subscribers = 4,
      .longest = 20000,
      .depth = 1024,
      .lane_size = 1 << 20,
      .seconds = 5,
      .publisher_ms = 20}},
    {"disk-all",
     {.durability = LEAT_DISK,
      .kind = LEAT_DURABLE,
      .publishers = 3,
      .subscribers = 4,
      .longest = 20000,
      .depth = 1024,
      .lane_size = 1 << 20,
      .retention_bytes = 4ull << 30,
      .seconds = 6,
      .daemon_ms = 400,
      .publisher_ms = 50,
      .subscriber_ms = 100,
      .stop_ms = 150}},
};

static int
run(const char *name, struct party_plan plan)
{
    struct party_figures f;
    char why[PARTY_WHY];
    int r;

    plan.seed = fixture_seed();
    if (fixture_is_full())
        plan.seconds *= 10;
    r = party_run(&plan, &f, why);
    printf("%s: seed %llu, %.0f s, published %llu, received %llu by %u, gone %llu, repeated and "
           "skipped %llu; killed: daemon %llu, "
           "publishers %llu, subscribers %llu; stopped %llu; longest send %.1f ms: %s\n",
           name, (unsigned long long)plan.seed, plan.seconds, (unsigned long long)f.published,
           (unsigned long long)f.received, plan.subscribers, (unsigned long long)f.lost,
           (unsigned long long)f.repeated, (unsigned long long)f.daemons,
           (unsigned long long)f.publishers, (unsigned long long)f.subscribers,
           (unsigned long long)f.stops, (double)f.slowest_send_ns / 1e6, r ? why : "good");
    (void)fflush(stdout);
    return r;
}

int
main(int argc, char **argv)
{
    int failed = 0, ran = 0;

    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        if (argc > 1 && strcmp(argv[1], plans[i].name) != 0)
            continue;
        failed |= run(plans[i].name, plans[i].plan) != 0;
        ran++;
    }
    if (!ran)
        (void)fprintf(stderr, "bus: no configuration '%s'\n", argv[1]);
    return failed || !ran;
}
