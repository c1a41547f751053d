/* The publisher: sends the lines of a file, again from the start when it ends, at an even rate; remembers how long each send took. */
#include "tools/story/story.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

/* Latencies in steps of 1/16 of a power of two, 1 ns to 4 s: percentiles within 6 % and no memory that grows. */
#define STEPS 16
#define BUCKETS (33 * STEPS)

static uint32_t bucket_of[PHASES][BUCKETS];

static size_t
bucket(uint64_t ns)
{
    unsigned power;

    if (ns < STEPS)
        return (size_t)ns;
    power = 63u - (unsigned)__builtin_clzll(ns);
    if (power > 31)
        return BUCKETS - 1;
    return (size_t)((power - 3) * STEPS + ((ns >> (power - 4)) & (STEPS - 1)));
}

static double
bucket_ns(size_t b)
{
    size_t power = b / STEPS + 3, step = b % STEPS;

    return b < STEPS ? (double)b : ldexp(1.0 + (double)step / STEPS, (int)power);
}

static double
quantile(const uint32_t *counts, uint64_t n, double q)
{
    uint64_t want = (uint64_t)((double)n * q), seen = 0;

    for (size_t b = 0; b < BUCKETS; b++) {
        seen += counts[b];
        if (seen > want)
            return bucket_ns(b);
    }
    return 0;
}

static void
write_latencies(struct story *s)
{
    for (int p = 0; p < PHASES; p++) {
        struct story_latency *l = &s->latency[p];
        l->n = 0;
        for (size_t b = 0; b < BUCKETS; b++)
            l->n += bucket_of[p][b];
        l->p50 = quantile(bucket_of[p], l->n, 0.50);
        l->p99 = quantile(bucket_of[p], l->n, 0.99);
        l->p999 = quantile(bucket_of[p], l->n, 0.999);
    }
}

struct source {
    FILE *file;
    char *line;
    size_t room;
};

/* The next line without its end: its length, or -1 when a pipe or an empty file has ended. */
static ssize_t
next_line(struct source *s)
{
    ssize_t n = getline(&s->line, &s->room, s->file);

    if (n < 0 && !fseek(s->file, 0, SEEK_SET))
        n = getline(&s->line, &s->room, s->file);
    if (n > 0 && s->line[n - 1] == '\n')
        n--;
    return n;
}

static void
pace(uint64_t start_ns, uint64_t sent, uint64_t rate)
{
    uint64_t due = start_ns + (uint64_t)((double)sent * 1e9 / (double)rate), now = story_now_ns();
    struct timespec nap = {0, 500000};

    /* Half a millisecond at a time: the sends in between come as a burst, as from a real source. */
    while (due > now + 500000) {
        (void)nanosleep(&nap, NULL);
        now = story_now_ns();
    }
}

static int
send_line(leat_pub *pub, struct story *s, const struct source *in, size_t len)
{
    uint64_t seq, took, phase = atom_load_relaxed(&s->phase), start = story_now_ns();
    int r = leat_pub_send(pub, in->line, len, &seq);

    if (r)
        return r;
    took = story_now_ns() - start;
    bucket_of[phase < PHASES ? phase : PHASE_BACK][bucket(took)]++;
    if (took > atom_load_relaxed(&s->slowest_ns))
        atom_store_relaxed(&s->slowest_ns, took);
    atom_store_relaxed(&s->last_seq, seq);
    return 0;
}

static int
stream(leat_pub *pub, struct story *s, struct source *in, uint64_t rate)
{
    XXH3_state_t *hash = XXH3_createState();
    uint64_t sent = 0, start = story_now_ns();
    ssize_t len;
    int r = hash ? 0 : -ENOMEM;

    if (hash)
        (void)XXH3_64bits_reset(hash);
    while (!r && !atom_load_relaxed(&s->stop) && (len = next_line(in)) >= 0) {
        r = send_line(pub, s, in, (size_t)len);
        if (r)
            break;
        (void)XXH3_64bits_update(hash, in->line, (size_t)len);
        (void)XXH3_64bits_update(hash, "\n", 1);
        atom_store_relaxed(&s->published, ++sent);
        pace(start, sent, rate);
    }
    if (hash)
        atom_store_relaxed(&s->hash, XXH3_64bits_digest(hash));
    (void)XXH3_freeState(hash);
    return r;
}

int
story_publish(const char *bus, const char *input, uint64_t rate)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    struct story *s = story_figures();
    struct source in = {.file = strcmp(input, "-") ? fopen(input, "re") : stdin};
    leat_bus *b = NULL;
    leat_pub *pub = NULL;
    int r;

    if (!in.file) {
        (void)fprintf(stderr, "publisher: %s: %s\n", input, strerror(errno));
        return 1;
    }
    o.path = bus;
    r = leat_open(&o, &b);
    if (!r)
        r = leat_pub_open(b, STORY_TOPIC, NULL, &pub);
    if (!r)
        r = stream(pub, s, &in, rate);
    if (!r)
        r = leat_pub_wait_durable(pub, atom_load_relaxed(&s->last_seq), 10000000000);
    if (r)
        (void)fprintf(stderr, "publisher: %s (%s)\n", leat_strerror(r), b ? leat_error(b) : "");
    write_latencies(s);
    atom_store_release(&s->finished, 1); /* release: STORY */
    leat_pub_close(pub);
    leat_close(b);
    free(in.line);
    (void)fclose(in.file);
    return r ? 1 : 0;
}
