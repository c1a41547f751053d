/* soak MINUTES [SEED]: one bus after the other at work for half a minute each, with kills, stops, restarts, a full ring, a full
 * disk and sizes by chance, from one printed seed (LEAT_SEED repeats them all). Each bus prints a seed of its own, and SEED lets
 * that one happen again and again. Prints a line a bus and the sums. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/support/fixture.h"
#include "tests/support/party.h"

#define ENOUGH 10 /* buses that failed: what each of them wrote is kept */

static uint32_t
sometimes(struct prng *r, uint64_t least, uint64_t most)
{
    return prng_below(r, 3) ? (uint32_t)(least + prng_below(r, most - least)) : 0;
}

/* What the topic offers, each subscriber for itself. */
static void
choose_readers(struct prng *r, struct party_plan *p)
{
    p->subscribers = 1 + (uint32_t)prng_below(r, 5);
    for (uint32_t i = 0; i < p->subscribers; i++) {
        struct party_reader *to = &p->reader[i];
        bool live = !prng_below(r, 3);
        if (p->durability == LEAT_DISK) {
            to->kind = live ? LEAT_LIVE : LEAT_DURABLE;
            to->named = !live && prng_below(r, 3);
            to->durable_only = !prng_below(r, 4);
        } else {
            to->kind = live || p->when_full == LEAT_OVERWRITE ? LEAT_LIVE : LEAT_GATING;
        }
        to->rest_ms = sometimes(r, 1, 300);
    }
}

/* A log that keeps everything, one that keeps little, or one that keeps what is not acknowledged; or a small disk. */
static void
choose_retention(struct prng *r, struct party_plan *p)
{
    uint64_t how = prng_below(r, 4);

    p->retention_bytes = PARTY_WHOLE;
    if (how == 1)
        p->retention_ns = 200000000 + prng_below(r, 2000000000);
    p->retain_until_acked = how == 1 && prng_below(r, 3);
    if (how < 2)
        return;
    p->retention_bytes = (8 + prng_below(r, 24)) << 20;
    if (how == 2)
        return;
    /* The spare, and the one segment that is more than retention allows, have room beside the rest. */
    p->store_bytes = p->retention_bytes + (16ull << 20) + 4 * p->lane_size;
    p->disk_ms = 100 + (uint32_t)prng_below(r, 2000);
}

static struct party_plan
plan_of(uint64_t seed, double seconds)
{
    static const char *const io[] = {NULL, "io_uring", "block"};
    struct party_plan p = {.seed = seed, .seconds = seconds};
    struct prng r = {seed};

    p.io = io[prng_below(&r, 3)];
    p.durability = prng_below(&r, 5) < 3 ? LEAT_DISK : LEAT_MEMORY;
    p.when_full = p.durability == LEAT_MEMORY && !prng_below(&r, 3) ? LEAT_OVERWRITE : LEAT_BLOCK;
    p.publishers = 1 + (uint32_t)prng_below(&r, 4);
    p.depth = 64ull << prng_below(&r, 8);
    p.lane_size = 1ull << (17 + prng_below(&r, 6));
    p.longest = (uint32_t)(64 + prng_below(&r, p.lane_size / 16));
    p.impatient = prng_below(&r, 2);
    p.seeks = prng_below(&r, 2);
    choose_readers(&r, &p);
    if (p.durability == LEAT_DISK)
        choose_retention(&r, &p);
    p.daemon_ms = sometimes(&r, 150, 3000);
    p.publisher_ms = sometimes(&r, 20, 1000);
    p.subscriber_ms = sometimes(&r, 30, 1000);
    p.orderly = (uint32_t)prng_below(&r, 101);
    p.stop_ms = sometimes(&r, 50, 1000);
    return p;
}

static void
add(struct party_figures *sum, const struct party_figures *f)
{
    sum->published += f->published;
    sum->received += f->received;
    sum->gone += f->gone;
    sum->aborted += f->aborted;
    sum->repeated += f->repeated;
    sum->refused += f->refused;
    sum->reread += f->reread;
    sum->cursors += f->cursors;
    sum->daemons += f->daemons;
    sum->publishers += f->publishers;
    sum->subscribers += f->subscribers;
    sum->stops += f->stops;
    sum->ends += f->ends;
    sum->fills += f->fills;
    sum->full += f->full;
    sum->unmounted |= f->unmounted;
}

static void
describe(const struct party_plan *p)
{
    printf("%s%s, %u to %u (", p->durability ? "disk" : "memory",
           p->when_full == LEAT_OVERWRITE ? " overwrite" : "", p->publishers, p->subscribers);
    for (uint32_t i = 0; i < p->subscribers; i++)
        printf("%s%s%s", i ? " " : "",
               p->reader[i].kind == LEAT_LIVE     ? "live"
               : p->reader[i].kind == LEAT_GATING ? "gating"
               : p->reader[i].named               ? "named"
                                                  : "durable",
               p->reader[i].durable_only ? "/d" : "");
    printf("), depth %llu, longest %u", (unsigned long long)p->depth, p->longest);
    if (p->retention_bytes != PARTY_WHOLE && p->durability)
        printf(", keeps %llu MiB", (unsigned long long)(p->retention_bytes >> 20));
    if (p->retention_ns)
        printf(", keeps %.1f s%s", (double)p->retention_ns / 1e9,
               p->retain_until_acked ? " until acknowledged" : "");
    if (p->store_bytes)
        printf(", disk of %llu MiB", (unsigned long long)(p->store_bytes >> 20));
    printf(":\n");
}

static void
say(const struct party_figures *f)
{
    printf("  published %llu; %llu cursors: received %llu, told gone %llu, aborted %llu, repeated "
           "and skipped "
           "%llu, refused %llu, "
           "read again %llu; killed: daemons %llu, publishers %llu, subscribers %llu; ended in "
           "order %llu; stopped %llu; "
           "disk filled %llu, found full %llu%s\n",
           (unsigned long long)f->published, (unsigned long long)f->cursors,
           (unsigned long long)f->received, (unsigned long long)f->gone,
           (unsigned long long)f->aborted, (unsigned long long)f->repeated,
           (unsigned long long)f->refused, (unsigned long long)f->reread,
           (unsigned long long)f->daemons, (unsigned long long)f->publishers,
           (unsigned long long)f->subscribers, (unsigned long long)f->ends,
           (unsigned long long)f->stops, (unsigned long long)f->fills, (unsigned long long)f->full,
           f->unmounted ? "; nothing can be mounted here: no disk was filled" : "");
    (void)fflush(stdout);
}

static int
run(unsigned bus, uint64_t seed, double seconds, struct party_figures *sum)
{
    struct party_plan plan = plan_of(seed, seconds);
    struct party_figures f;
    char why[PARTY_WHY];
    int r;

    printf("bus %u: seed 0x%llx: ", bus, (unsigned long long)seed);
    describe(&plan);
    (void)fflush(stdout);
    r = party_run(&plan, &f, why);
    say(&f);
    if (r)
        printf("bus %u FAILED (seed 0x%llx): %s\n", bus, (unsigned long long)seed, why);
    add(sum, &f);
    return r;
}

int
main(int argc, char **argv)
{
    double minutes = argc == 2 || argc == 3 ? strtod(argv[1], NULL) : 0;
    uint64_t only = argc == 3 ? strtoull(argv[2], NULL, 0) : 0, until;
    struct party_figures sum = {0};
    struct prng random;
    unsigned buses = 0, failed = 0;

    if (minutes <= 0) {
        (void)fprintf(stderr, "usage: soak MINUTES [SEED]\n");
        return 2;
    }
    random = (struct prng){only ? only : fixture_seed()};
    until = party_now_ns() + (uint64_t)(minutes * 60e9);
    while (party_now_ns() < until && failed < ENOUGH) {
        uint64_t seed = only ? only : prng_next(&random);
        failed += run(++buses, seed, minutes < 5 ? 10 : 30, &sum) != 0;
    }
    printf("all:\n");
    say(&sum);
    printf("%u passed, %u failed\n", buses - failed, failed);
    return failed ? 1 : 0;
}
