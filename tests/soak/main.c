/* soak MINUTES: one bus after the other at work for a minute each, with kills, stops and sizes by chance, from one printed
 * seed (LEAT_SEED repeats it). Prints a line a bus and the sums. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/fixture.h"
#include "tests/support/party.h"

static uint32_t
sometimes(struct prng *r, uint64_t least, uint64_t most)
{
    return prng_below(r, 3) ? (uint32_t)(least + prng_below(r, most - least)) : 0;
}

static struct party_plan
some_plan(struct prng *r, double seconds)
{
    static const char *const io[] = {NULL, "io_uring", "block"};
    struct party_plan p = {.seed = prng_next(r), .seconds = seconds};
    uint64_t kind = prng_below(r, 4);

    p.io = io[prng_below(r, 3)];
    p.durability = kind < 2 ? LEAT_DISK : LEAT_MEMORY;
    p.kind = kind < 2 ? LEAT_DURABLE : kind == 2 ? LEAT_GATING : LEAT_LIVE;
    p.when_full = p.kind == LEAT_LIVE && prng_below(r, 2) ? LEAT_OVERWRITE : LEAT_BLOCK;
    p.publishers = 1 + (uint32_t)prng_below(r, 4);
    p.subscribers = 1 + (uint32_t)prng_below(r, 5);
    p.depth = 64ull << prng_below(r, 8);
    p.lane_size = 1ull << (17 + prng_below(r, 6));
    p.longest = (uint32_t)(64 + prng_below(r, p.lane_size / 16));
    p.retention_bytes = 64ull << 30;
    p.daemon_ms = sometimes(r, 150, 3000);
    p.publisher_ms = sometimes(r, 20, 1000);
    p.subscriber_ms = p.kind == LEAT_DURABLE ? sometimes(r, 30, 1000) : 0;
    p.stop_ms = sometimes(r, 50, 1000);
    return p;
}

static void
add(struct party_figures *sum, const struct party_figures *f)
{
    sum->published += f->published;
    sum->received += f->received;
    sum->lost += f->lost;
    sum->repeated += f->repeated;
    sum->daemons += f->daemons;
    sum->publishers += f->publishers;
    sum->subscribers += f->subscribers;
    sum->stops += f->stops;
}

static void
say(const char *what, const struct party_figures *f)
{
    printf("%s published %llu, received %llu, told gone %llu, repeated and skipped %llu; killed: "
           "daemons %llu, publishers %llu, "
           "subscribers %llu; stopped %llu\n",
           what, (unsigned long long)f->published, (unsigned long long)f->received,
           (unsigned long long)f->lost, (unsigned long long)f->repeated,
           (unsigned long long)f->daemons, (unsigned long long)f->publishers,
           (unsigned long long)f->subscribers, (unsigned long long)f->stops);
    (void)fflush(stdout);
}

int
main(int argc, char **argv)
{
    double minutes = argc == 2 ? strtod(argv[1], NULL) : 0;
    struct party_figures sum = {0}, f;
    struct prng random;
    uint64_t until;
    unsigned buses = 0, failed = 0;

    if (minutes <= 0) {
        (void)fprintf(stderr, "usage: soak MINUTES\n");
        return 2;
    }
    random = (struct prng){fixture_seed()};
    until = party_now_ns() + (uint64_t)(minutes * 60e9);
    while (party_now_ns() < until) {
        struct party_plan plan = some_plan(&random, minutes < 5 ? 10 : 30);
        char why[PARTY_WHY], what[160];
        int r = party_run(&plan, &f, why);
        (void)snprintf(what, sizeof what, "bus %u (%s %s, %u to %u, depth %llu, longest %u): %s;",
                       ++buses, plan.durability ? "disk" : "memory",
                       plan.kind == LEAT_LIVE     ? "live"
                       : plan.kind == LEAT_GATING ? "gating"
                                                  : "durable",
                       plan.publishers, plan.subscribers, (unsigned long long)plan.depth,
                       plan.longest, r ? "BAD" : "good");
        say(what, &f);
        if (r)
            printf("bus %u: %s\n", buses, why);
        failed += r != 0;
        add(&sum, &f);
    }
    say("all:", &sum);
    printf("%u passed, %u failed\n", buses - failed, failed);
    return failed ? 1 : 0;
}
