#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/support/fixture.h"
#include "tests/support/party.h"

#define BATCH 8
#define NEWS 64 /* messages between two records of progress */

struct head {
    uint32_t life, len;
    uint64_t number;
    uint64_t check;
};

void
party_breathe(void)
{
    (void)poll(NULL, 0, 1);
}

uint64_t
party_now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void
party_fail(struct party *p, const char *format, ...)
{
    va_list args;

    if (atom_add_seq(&p->failed, 1))
        return;
    va_start(args, format);
    (void)vsnprintf(p->why, sizeof p->why, format, args);
    va_end(args);
}

/* The daemon may be away, or may not know yet that a former life has died. */
static bool
is_passing(int r)
{
    return r == -ECONNREFUSED || r == -ENOENT || r == -ECONNRESET || r == -ETIMEDOUT ||
           r == -EBUSY || r == -EPIPE;
}

int
party_open(struct party *p, leat_bus **ret)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    uint64_t end = party_now_ns() + 30000000000u;
    int r;

    o.path = p->bus;
    while (is_passing(r = leat_open(&o, ret)) && party_now_ns() < end)
        party_breathe();
    return r;
}

/* --- the bytes -------------------------------------------------------------------------------- */

static uint64_t
mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static uint64_t
check_of(const struct head *h)
{
    return mix(h->number ^ (uint64_t)h->life << 40 ^ (uint64_t)h->len << 20 ^
               0x9e3779b97f4a7c15ull);
}

static void
fill(unsigned char *at, uint32_t life, uint64_t number, uint32_t len)
{
    struct head h = {.life = life, .len = len, .number = number};
    uint64_t word = h.check = check_of(&h);

    memcpy(at, &h, sizeof h);
    for (uint32_t i = sizeof h; i < len; i += 8) {
        word = word * 6364136223846793005ull + 1442695040888963407ull;
        memcpy(at + i, &word, len - i < 8 ? len - i : 8);
    }
}

static bool
is_whole(const unsigned char *at, size_t len, struct head *ret)
{
    uint64_t word;

    if (len < sizeof *ret)
        return false;
    memcpy(ret, at, sizeof *ret);
    if (ret->len != len || ret->check != check_of(ret) || ret->life >= PARTY_LIVES)
        return false;
    word = ret->check;
    for (size_t i = sizeof *ret; i < len; i += 8) {
        word = word * 6364136223846793005ull + 1442695040888963407ull;
        if (memcmp(at + i, &word, len - i < 8 ? len - i : 8) != 0)
            return false;
    }
    return true;
}

/* --- a publisher ------------------------------------------------------------------------------ */

struct publisher {
    struct party *p;
    leat_pub *pub;
    struct prng random;
    uint32_t life;
    uint64_t number;
    unsigned char *buf; /* BATCH payloads */
};

static uint32_t
some_len(struct publisher *g)
{
    uint64_t kind = prng_below(&g->random, 100), most = g->p->plan.longest;

    most = kind < 70 ? shm_min(most, 96) : kind < 95 ? shm_min(most, 2048) : most;
    return (uint32_t)(sizeof(struct head) + prng_below(&g->random, most - sizeof(struct head) + 1));
}

static int
send_some(struct publisher *g, uint32_t n)
{
    struct leat_out out[BATCH];
    uint32_t room = (g->p->plan.longest + 15) & ~7u;

    for (uint32_t i = 0; i < n; i++) {
        unsigned char *at = g->buf + (size_t)i * room;
        out[i] = (struct leat_out){.data = at, .len = some_len(g), .key = g->number + i, .type = 7};
        fill(at, g->life, g->number + i, (uint32_t)out[i].len);
    }
    if (n == 1)
        return leat_pub_send_keyed(g->pub, &out[0], NULL);
    return leat_pub_send_many(g->pub, out, n, NULL);
}

static int
lend_one(struct publisher *g)
{
    struct leat_loan loan;
    uint32_t len = some_len(g);
    int r = leat_pub_loan(g->pub, len, &loan);

    if (r)
        return r;
    fill(loan.data, g->life, g->number, len);
    loan.key = g->number;
    loan.type = 7;
    return leat_pub_commit(g->pub, &loan, len, NULL);
}

static int
publish_once(struct publisher *g)
{
    atom_u64 *committed = &g->p->committed[g->life];
    uint64_t how = prng_below(&g->random, 10), start;
    uint32_t n = how < 7 ? 1 : how < 9 ? 2 + (uint32_t)prng_below(&g->random, BATCH - 1) : 1;
    int r;

    atom_store_seq(&g->p->trying[g->life], n);
    start = party_now_ns();
    r = how == 9 ? lend_one(g) : send_some(g, n);
    if (r)
        return r;
    start = party_now_ns() - start;
    if (start > atom_load_relaxed(&g->p->slowest_ns))
        atom_store_relaxed(&g->p->slowest_ns, start);
    g->number += n;
    atom_store_seq(committed, g->number);
    atom_store_seq(&g->p->trying[g->life], 0);
    return 0;
}

int
party_publish(struct party *p, uint32_t life)
{
    struct publisher g = {.p = p, .life = life, .random = {p->plan.seed * 1000003 + life}};
    leat_bus *bus = NULL;
    int r = party_open(p, &bus);

    g.buf = calloc(BATCH, ((size_t)p->plan.longest + 16) & ~(size_t)7);
    if (!g.buf)
        r = -ENOMEM;
    if (!r)
        while (is_passing(r = leat_pub_open(bus, PARTY_TOPIC, NULL, &g.pub)))
            party_breathe();
    while (!r && !atom_load_relaxed(&p->stop) && !atom_load_relaxed(&p->failed))
        r = publish_once(&g);
    if (r)
        party_fail(p, "publisher %u after %llu messages: %s (%s)", life,
                   (unsigned long long)g.number, leat_strerror(r), bus ? leat_error(bus) : "");
    leat_pub_close(g.pub);
    leat_close(bus);
    free(g.buf);
    return r ? 1 : 0;
}

/* --- a subscriber ----------------------------------------------------------------------------- */

struct subscriber {
    struct party *p;
    struct party_sub *shared;
    leat_bus *bus;
    leat_sub *sub;
    struct party_progress at;
    uint32_t index, news;
    bool named, lossless;
    uint64_t
        next[PARTY_LIVES]; /* number expected of each publisher + 1; 0: none seen in this life */
};

/* The new record is whole before it is said to be the valid one. */
static void
record(struct subscriber *g)
{
    uint64_t other = !atom_load_relaxed(&g->shared->which);

    g->shared->progress[other] = g->at;
    atom_store_seq(&g->shared->which, other);
    g->news = 0;
    if (g->named && g->at.seq)
        (void)leat_sub_ack(g->sub, g->at.seq);
}

static bool
is_in_order(struct subscriber *g, const struct head *h)
{
    uint64_t *next = &g->next[h->life];
    bool good = !*next || (g->lossless ? h->number + 1 == *next : h->number + 1 >= *next);

    /* The first of a life that is seen from the beginning. */
    if (!*next && g->lossless && !g->at.received)
        good = h->number == 0;
    *next = h->number + 2;
    return good;
}

static int
take(struct subscriber *g, struct leat_msg *m)
{
    struct head h;
    bool whole = is_whole(m->data, m->len, &h) && m->key == h.number && m->type == 7;
    uint64_t seq = m->seq;
    int r = leat_sub_release(g->sub, m);

    if (r == -ESTALE) {
        g->at.lost += !g->named;
        return 0;
    }
    if (r)
        return r;
    if (seq <= g->at.seq) {
        (void)atom_add_relaxed(&g->shared->repeated, 1);
        return g->named ? 0 : -ERANGE;
    }
    if (!whole) {
        party_fail(g->p, "subscriber %u: message %llu is not what was sent", g->index,
                   (unsigned long long)seq);
        return -EBADMSG;
    }
    if (!is_in_order(g, &h)) {
        party_fail(g->p,
                   "subscriber %u: message %llu: publisher %u's number %llu came out of his order",
                   g->index, (unsigned long long)seq, h.life, (unsigned long long)h.number);
        return -EBADMSG;
    }
    g->at.seq = seq;
    g->at.received++;
    g->at.hash = mix(g->at.hash ^ mix(seq) ^ mix((uint64_t)h.life << 48 ^ h.number));
    if (++g->news == NEWS)
        record(g);
    return 0;
}

static bool
is_over(struct subscriber *g)
{
    struct leat_sub_stat stat;
    uint64_t end = atom_load_seq(&g->p->end);

    return end && !leat_sub_stat(g->sub, &stat) && stat.next >= end;
}

static int
step(struct subscriber *g)
{
    struct leat_msg m;
    int r = leat_sub_receive(g->sub, &m);

    if (r == 1)
        return take(g, &m);
    if (r == LEAT_GAP) {
        g->at.lost += m.lost;
        if (g->lossless)
            party_fail(g->p, "subscriber %u: %llu messages from %llu on are said to be gone",
                       g->index, (unsigned long long)m.lost, (unsigned long long)m.first);
        return g->lossless ? -EBADMSG : 0;
    }
    if (r)
        return r;
    if (g->news)
        record(g);
    r = leat_sub_wait(g->sub, 20000000);
    return r < 0 ? r : 0;
}

static int
attach(struct subscriber *g)
{
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    char name[16];
    int r;

    (void)snprintf(name, sizeof name, "S%u", g->index);
    o.kind = g->p->plan.kind;
    o.name = g->named ? name : NULL;
    o.start = LEAT_EARLIEST;
    while (is_passing(r = leat_sub_open(g->bus, PARTY_TOPIC, &o, &g->sub)))
        party_breathe();
    if (!r)
        atom_store_seq(&g->shared->attached, 1);
    return r;
}

int
party_subscribe(struct party *p, uint32_t index)
{
    static struct subscriber g;
    int r;

    g = (struct subscriber){.p = p, .index = index, .shared = &p->sub[index]};
    g.named = p->plan.kind == LEAT_DURABLE;
    g.lossless = p->plan.kind != LEAT_LIVE;
    g.at = g.shared->progress[atom_load_seq(&g.shared->which)];
    r = party_open(p, &g.bus);
    if (!r)
        r = attach(&g);
    while (!r && !atom_load_relaxed(&p->failed) && !is_over(&g))
        r = step(&g);
    if (r)
        party_fail(p, "subscriber %u after message %llu: %s (%s)", index,
                   (unsigned long long)g.at.seq, leat_strerror(r), g.bus ? leat_error(g.bus) : "");
    else
        record(&g);
    atom_store_seq(&g.shared->done, 1);
    leat_sub_close(g.sub);
    leat_close(g.bus);
    return r ? 1 : 0;
}
