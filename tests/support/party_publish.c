#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/party_impl.h"

#define LOANS 3
#define TYPE 7

struct publisher {
    struct party *p;
    leat_pub *pub;
    struct prng random;
    uint32_t life;
    int64_t patience_ns; /* as in leat_pub_options */
    uint64_t number;
    unsigned char *buf; /* PARTY_BATCH payloads */
    struct leat_loan loan[LOANS];
    uint32_t loans; /* that are out from one call to the next */
    uint64_t last;
};

static uint32_t
some_len(struct publisher *g)
{
    uint64_t kind = prng_below(&g->random, 100), most = g->p->plan.longest, least;

    least = sizeof(struct party_head);
    most = kind < 70 ? shm_min(most, 96) : kind < 95 ? shm_min(most, 2048) : most;
    return (uint32_t)(least + prng_below(&g->random, most - least + 1));
}

static int
send_some(struct publisher *g, uint32_t n, uint64_t *ret_seq, uint32_t *len)
{
    struct leat_out out[PARTY_BATCH];
    uint32_t room = (g->p->plan.longest + 15) & ~7u;

    for (uint32_t i = 0; i < n; i++) {
        unsigned char *at = g->buf + (size_t)i * room;
        len[i] = some_len(g);
        out[i] = (struct leat_out){.data = at, .len = len[i], .key = g->number + i, .type = TYPE};
        party_fill(at, g->life, g->number + i, len[i]);
    }
    if (n == 1)
        return leat_pub_send_keyed(g->pub, &out[0], ret_seq);
    return leat_pub_send_many(g->pub, out, n, ret_seq);
}

static int
commit(struct publisher *g, struct leat_loan *loan, uint64_t *ret_seq, uint32_t *len)
{
    uint64_t least = sizeof(struct party_head);

    *len = (uint32_t)(least + prng_below(&g->random, loan->cap - least + 1));
    party_fill(loan->data, g->life, g->number, *len);
    loan->key = g->number;
    loan->type = TYPE;
    return leat_pub_commit(g->pub, loan, *len, ret_seq);
}

/* Borrows and commits in one go; what finds no room to be committed is given back. */
static int
lend_one(struct publisher *g, uint64_t *ret_seq, uint32_t *len)
{
    struct leat_loan loan;
    int r = leat_pub_loan(g->pub, some_len(g), &loan);

    if (r)
        return r;
    r = commit(g, &loan, ret_seq, len);
    if (r)
        leat_pub_abort(g->pub, &loan);
    return r;
}

/* A loan that stays out while others are sent. What is in it when it is given back, nobody may see. */
static int
borrow(struct publisher *g)
{
    struct leat_loan *loan = &g->loan[g->loans];
    int r = leat_pub_loan(g->pub, some_len(g), loan);

    if (r)
        return r;
    memset(loan->data, 0xdb, loan->cap);
    g->loans++;
    return 0;
}

/* Ends one of the loans that are out, not always the oldest: committed (1), or given back (0). */
static int
end_loan(struct publisher *g, uint64_t *ret_seq, uint32_t *len)
{
    uint32_t i = (uint32_t)prng_below(&g->random, g->loans);
    int r = 1;

    if (prng_below(&g->random, 4)) {
        r = commit(g, &g->loan[i], ret_seq, len);
        if (r)
            return r;
        r = 1;
    } else {
        leat_pub_abort(g->pub, &g->loan[i]);
        r = 0;
    }
    g->loan[i] = g->loan[--g->loans];
    return r;
}

/* All n are at adjacent places, and those are what everybody knows of them. */
static int
note(struct publisher *g, uint64_t seq, uint32_t n, const uint32_t len[PARTY_BATCH])
{
    for (uint32_t i = 0; i < n; i++) {
        if (party_know(g->p, seq + i, party_word(g->life, g->number + i, len[i])))
            continue;
        party_fail(g->p,
                   "publisher %u: message %u from his number %llu on was given a place from %llu "
                   "on, where others saw %s",
                   g->life, i, (unsigned long long)g->number, (unsigned long long)seq,
                   atom_load_relaxed(&g->p->known[(seq + i) % PARTY_NUMBERS]) == PARTY_ABORTED
                       ? "nothing"
                       : "something else");
        return -EBADMSG;
    }
    if (seq <= g->last) {
        party_fail(g->p, "publisher %u: place %llu after place %llu", g->life,
                   (unsigned long long)seq, (unsigned long long)g->last);
        return -EBADMSG;
    }
    g->last = seq + n - 1;
    g->number += n;
    return 0;
}

/* One call. How many messages it committed, or an error. */
static int
call(struct publisher *g, uint64_t *ret_seq, uint32_t len[PARTY_BATCH])
{
    uint64_t how = prng_below(&g->random, 100);
    uint32_t n = how < 70 ? 1 : 2 + (uint32_t)prng_below(&g->random, PARTY_BATCH - 1);
    int r;

    atom_store_seq(&g->p->trying[g->life], n);
    if (how < 90) {
        r = send_some(g, n, ret_seq, len);
        return r ? r : (int)n;
    }
    atom_store_seq(&g->p->trying[g->life], 1);
    /* Who holds loans and waits for ever for room in his lane may be waiting for himself. */
    if (g->patience_ns <= 0 || prng_below(&g->random, 2)) {
        r = lend_one(g, ret_seq, len);
        return r ? r : 1;
    }
    return g->loans < LOANS && prng_below(&g->random, 2) ? borrow(g)
           : g->loans                                    ? end_loan(g, ret_seq, len)
                                                         : 0;
}

static int
publish_once(struct publisher *g)
{
    uint32_t len[PARTY_BATCH] = {0};
    uint64_t seq = 0, start = party_now_ns();
    int n = call(g, &seq, len), r = 0;

    start = party_now_ns() - start;
    if (n > 0)
        r = note(g, seq, (uint32_t)n, len);
    else if (n < 0)
        r = n;
    if (!r && start > atom_load_relaxed(&g->p->slowest_ns))
        atom_store_relaxed(&g->p->slowest_ns, start);
    atom_store_seq(&g->p->committed[g->life], g->number);
    atom_store_seq(&g->p->trying[g->life], 0);
    if (r != -EAGAIN || g->patience_ns <= 0)
        return r;
    /* It may be his own loans that fill the lane. */
    while (g->loans)
        leat_pub_abort(g->pub, &g->loan[--g->loans]);
    (void)atom_add_relaxed(&g->p->refused, 1);
    party_breathe();
    return 0;
}

static int
open_pub(struct publisher *g, leat_bus *bus)
{
    struct leat_pub_options o = LEAT_PUB_OPTIONS_INIT;
    uint64_t patience = g->p->plan.impatient ? prng_below(&g->random, 3) : 0;
    int r;

    if (patience == 1)
        g->patience_ns = LEAT_NO_WAIT;
    else if (patience == 2)
        g->patience_ns = 1000000 + (int64_t)prng_below(&g->random, 20000000);
    o.timeout_ns = g->patience_ns;
    while (party_is_passing(r = leat_pub_open(bus, PARTY_TOPIC, &o, &g->pub)) && !party_leaving)
        party_breathe();
    return party_leaving && party_is_passing(r) ? 0 : r;
}

static bool
goes_on(const struct publisher *g)
{
    return g->pub && !party_leaving && !atom_load_relaxed(&g->p->stop) &&
           !atom_load_relaxed(&g->p->failed);
}

int
party_publish(struct party *p, uint32_t life)
{
    struct publisher g = {.p = p, .life = life, .random = {p->plan.seed * 1000003 + life}};
    leat_bus *bus = NULL;
    int r = party_open(p, &bus);

    g.buf = calloc(PARTY_BATCH, ((size_t)p->plan.longest + 16) & ~(size_t)7);
    if (!g.buf)
        r = -ENOMEM;
    if (!r)
        r = open_pub(&g, bus);
    while (!r && goes_on(&g)) {
        if (g.last >= PARTY_NUMBERS - PARTY_NUMBERS / 16)
            party_breathe();
        else
            r = publish_once(&g);
    }
    if (r)
        party_fail(p, "publisher %u after %llu messages: %s (%s)", life,
                   (unsigned long long)g.number, leat_strerror(r), bus ? leat_error(bus) : "");
    leat_pub_close(g.pub);
    leat_close(bus);
    free(g.buf);
    return r ? 1 : 0;
}
