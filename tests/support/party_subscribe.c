#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/party_impl.h"

#define HAND 32    /* messages held at once, at most */
#define NEWS 64    /* messages between two records of the account */
#define SEEKS 2000 /* hands of messages between two seeks, on the average */
#define TYPE 7

/* What was seen last of a publisher. */
struct seen {
    uint64_t next; /* number expected of him + 1; 0: none seen in this life */
    uint64_t gone; /* the account's, at that time */
};

struct subscriber {
    struct party *p;
    struct party_sub *shared;
    struct party_reader how;
    leat_bus *bus;
    leat_sub *sub;
    struct prng random;
    struct party_account at;
    uint32_t index, news;
    bool lossless;
    bool whole;         /* this life began at number 1 */
    bool idle;          /* there was nothing to receive */
    uint64_t got, lost; /* in this life, as leat_sub_stat counts them */
    uint64_t last_ns;   /* when something was last received; 0: do not count from there */
    struct seen of[PARTY_LIVES];
};

static int
complain(struct subscriber *g, uint64_t seq, const char *what)
{
    const struct party_account *a = &g->at;

    party_fail(
        g->p,
        "subscriber %u: message %llu: %s (began at %llu, received %llu, gone %llu, aborted %llu)",
        g->index, (unsigned long long)seq, what, (unsigned long long)a->from,
        (unsigned long long)a->received, (unsigned long long)a->gone,
        (unsigned long long)a->aborted);
    return -EBADMSG;
}

/* What is acknowledged stays so, as far as it is on stable storage. */
static int
acknowledge(struct subscriber *g)
{
    struct leat_sub_stat stat;
    uint64_t seq = g->at.next - 1;
    int r = leat_sub_stat(g->sub, &stat);

    if (!r)
        r = leat_sub_ack(g->sub, seq);
    if (!r)
        atom_store_seq(&g->shared->acked,
                       shm_min(seq, stat.next + stat.lag - 1 - stat.durable_lag));
    return r;
}

/* The new account is whole before it is said to be the valid one. */
static int
record(struct subscriber *g)
{
    uint64_t other = !atom_load_relaxed(&g->shared->which);
    bool news = g->news;

    g->shared->account[other] = g->at;
    atom_store_seq(&g->shared->which, other);
    g->news = 0;
    return g->how.named && news ? acknowledge(g) : 0;
}

/* Numbers below `seq` were passed over without a word: nobody may know a message there. */
static int
step_over(struct subscriber *g, uint64_t seq)
{
    for (; g->at.next < seq; g->at.next++, g->at.aborted++)
        if (!party_know(g->p, g->at.next, PARTY_ABORTED))
            return complain(g, g->at.next, "passed over in silence");
    return 0;
}

/* What is missing of a publisher since his last message must have been reported. */
static bool
is_in_order(struct subscriber *g, const struct party_head *h)
{
    struct seen *of = &g->of[h->life];
    uint64_t expected = of->next ? of->next - 1 : 0;
    bool good = h->number >= expected;

    if (of->next || g->whole)
        good = good && h->number - expected <= g->at.gone - of->gone;
    *of = (struct seen){.next = h->number + 2, .gone = g->at.gone};
    return good;
}

/* A message whose bytes were good until its release. */
static int
accept(struct subscriber *g, uint64_t seq, const struct party_head *h)
{
    int r;

    g->got++;
    if (!party_know(g->p, seq, party_word(h->life, h->number, h->len)))
        return complain(g, seq, "others saw something else there");
    if (seq < g->at.next) {
        (void)atom_add_relaxed(&g->shared->repeated, 1);
        return g->how.named ? 0 : complain(g, seq, "given again");
    }
    r = step_over(g, seq);
    if (r)
        return r;
    if (!is_in_order(g, h))
        return complain(g, seq, "out of its publisher's order");
    g->at.next = seq + 1;
    g->at.received++;
    g->at.hash =
        party_mix(g->at.hash ^ party_mix(seq) ^ party_mix((uint64_t)h->life << 48 ^ h->number));
    return ++g->news == NEWS ? record(g) : 0;
}

static int
lose(struct subscriber *g, uint64_t first, uint64_t count)
{
    uint64_t until = first + count;
    int r;

    g->lost += count;
    if (!count || g->lossless)
        return complain(g, first, "is said to be gone");
    if (until <= g->at.next)
        return g->how.named ? 0 : complain(g, first, "is said to be gone, and was received");
    r = step_over(g, first);
    if (r)
        return r;
    g->at.gone += until - g->at.next;
    g->at.next = g->at.gone_until = until;
    g->news++;
    return 0;
}

/* Ends the use of one message: 0, or -ESTALE: it comes again, with all that followed. */
static int
take(struct subscriber *g, struct leat_msg *m)
{
    struct party_head h = {0};
    bool whole = party_is_whole(m->data, m->len, &h) && m->key == h.number && m->type == TYPE;
    uint64_t seq = m->seq;
    int r = leat_sub_release(g->sub, m);

    if (r == -ESTALE && g->how.kind == LEAT_LIVE)
        return lose(g, seq, 1);
    if (r)
        return r;
    return whole ? accept(g, seq, &h) : complain(g, seq, "is not what was sent");
}

static int
take_all(struct subscriber *g, struct leat_msg *m, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        int r = take(g, &m[i]);
        if (r == -ESTALE && g->how.kind == LEAT_DURABLE) {
            while (++i < n)
                (void)leat_sub_release(g->sub, &m[i]);
            return 0;
        }
        if (r)
            return r;
    }
    return 0;
}

/* Now and then it rests, and holds what it has; not any more when nothing new comes, and millions may be left to read. */
static void
rest(struct subscriber *g)
{
    uint64_t until;

    if (!g->how.rest_ms || atom_load_relaxed(&g->p->stop) || prng_below(&g->random, 200))
        return;
    until = party_now_ns() + 1000000 * prng_below(&g->random, g->how.rest_ms);
    while (party_now_ns() < until && !party_leaving && !atom_load_relaxed(&g->p->stop))
        party_breathe();
    g->last_ns = 0;
}

static void
time_pause(struct subscriber *g)
{
    uint64_t now = party_now_ns(), pause = g->last_ns ? now - g->last_ns : 0;

    g->last_ns = atom_load_relaxed(&g->p->stop) ? 0 : now;
    if (g->last_ns && pause > atom_load_relaxed(&g->shared->pause_ns))
        atom_store_relaxed(&g->shared->pause_ns, pause);
}

/* A named one goes on with its account: at its floor, which is behind what it acknowledged and not beyond what it had. */
static int
go_on(struct subscriber *g, uint64_t next)
{
    uint64_t acked = atom_load_seq(&g->shared->acked);

    g->at = *party_account(g->shared);
    if (next <= acked)
        return complain(g, next, "its floor went back");
    return next > g->at.next ? complain(g, next, "its floor is beyond what it had") : 0;
}

/* Any other cursor has an account of its own, from where it begins or has gone. */
static int
begin(struct subscriber *g, uint64_t next, uint32_t start)
{
    const struct party_account *old = party_account(g->shared);
    bool keeps_all = g->how.kind == LEAT_DURABLE && g->p->plan.retention_bytes == PARTY_WHOLE &&
                     !g->p->plan.retention_ns;

    (void)atom_add_relaxed(&g->shared->received, old->received);
    (void)atom_add_relaxed(&g->shared->gone, old->gone);
    (void)atom_add_relaxed(&g->shared->cursors, 1);
    g->at = (struct party_account){.from = next, .next = next};
    if (next != 1 && (!atom_load_seq(&g->p->begun) || (keeps_all && start == LEAT_EARLIEST)))
        return complain(g, next, "is where it was to begin, and not at 1");
    return record(g);
}

static const uint32_t places[] = {LEAT_EARLIEST, LEAT_LATEST, LEAT_LAST_N};

/* Goes somewhere else, where another account begins. */
static int
seek(struct subscriber *g)
{
    struct leat_position to = {.start = places[prng_below(&g->random, 3)],
                               .value = g->p->plan.depth / 2};
    struct leat_sub_stat stat;
    int r = leat_sub_seek(g->sub, &to);

    if (!r)
        r = leat_sub_stat(g->sub, &stat);
    if (r)
        return r;
    memset(g->of, 0, sizeof g->of);
    g->last_ns = 0;
    r = begin(g, stat.next, to.start);
    g->whole = g->at.from == 1;
    return r;
}

static bool
wants_to_seek(struct subscriber *g)
{
    return g->p->plan.seeks && !g->how.named && !prng_below(&g->random, SEEKS) &&
           !atom_load_relaxed(&g->p->stop);
}

static int
step(struct subscriber *g)
{
    struct leat_msg m[HAND];
    uint64_t most = shm_max(shm_min(HAND, g->p->plan.depth / 4), 1);
    uint32_t n = 1 + (uint32_t)prng_below(&g->random, most);
    int r;

    if (wants_to_seek(g))
        return seek(g);
    r = n == 1 ? leat_sub_receive(g->sub, m) : leat_sub_receive_many(g->sub, m, n);
    g->idle = !r;
    if (r > 0)
        time_pause(g);
    if (r > 0 && m[0].lost)
        return lose(g, m[0].first, m[0].lost);
    if (r > 0) {
        rest(g);
        return take_all(g, m, (uint32_t)r);
    }
    if (r)
        return r;
    if (g->news)
        r = record(g);
    if (!r)
        r = leat_sub_wait(g->sub, 20000000);
    return r < 0 ? r : 0;
}

static bool
is_over(struct subscriber *g)
{
    struct leat_sub_stat stat;
    uint64_t end = atom_load_seq(&g->p->end);

    return g->idle && end && !leat_sub_stat(g->sub, &stat) && stat.next >= end;
}

/* --- beginning and end ------------------------------------------------------------------------ */

static int
attach(struct subscriber *g)
{
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    uint64_t life = atom_add_seq(&g->shared->lives, 1);
    struct leat_sub_stat stat;
    char name[16];
    int r;

    (void)snprintf(name, sizeof name, "S%u", g->index);
    g->random.state = (g->p->plan.seed + g->index) * 2000003 + life;
    o.kind = g->how.kind;
    o.name = g->how.named ? name : NULL;
    o.durable_only = g->how.durable_only;
    o.start = life ? places[prng_below(&g->random, 3)] : LEAT_EARLIEST;
    o.start_value = g->p->plan.depth / 2;
    while (party_is_passing(r = leat_sub_open(g->bus, PARTY_TOPIC, &o, &g->sub)) && !party_leaving)
        party_breathe();
    if (party_leaving && party_is_passing(r))
        return 0;
    if (!r)
        r = leat_sub_stat(g->sub, &stat);
    if (!r)
        r = g->how.named && party_account(g->shared)->from ? go_on(g, stat.next)
                                                           : begin(g, stat.next, o.start);
    g->whole = !r && g->at.from == 1 && !g->at.received && !g->at.gone && !g->at.aborted;
    if (!r)
        atom_store_seq(&g->shared->attached, 1);
    return r;
}

/* What the library counted is what was counted here; what was stale it may have counted once more. */
static int
finish(struct subscriber *g)
{
    struct leat_sub_stat stat;
    int r = leat_sub_stat(g->sub, &stat);

    if (!r && is_over(g))
        r = step_over(g, atom_load_seq(&g->p->end));
    if (!r)
        r = record(g);
    if (!r && !stat.stale && (stat.received != g->got || stat.lost != g->lost)) {
        party_fail(
            g->p,
            "subscriber %u: the library counts %llu received and %llu lost, not %llu and %llu",
            g->index, (unsigned long long)stat.received, (unsigned long long)stat.lost,
            (unsigned long long)g->got, (unsigned long long)g->lost);
        r = -EBADMSG;
    }
    if (!r && is_over(g))
        atom_store_seq(&g->shared->done, 1);
    return r;
}

int
party_subscribe(struct party *p, uint32_t index)
{
    static struct subscriber g;
    int r;

    g = (struct subscriber){.p = p, .index = index, .shared = &p->sub[index]};
    g.how = party_reader(&p->plan, index);
    g.lossless = party_is_lossless(&p->plan, index);
    r = party_open(p, &g.bus);
    if (!r)
        r = attach(&g);
    while (!r && g.sub && !atom_load_relaxed(&p->failed) && !party_leaving && !is_over(&g))
        r = step(&g);
    if (!r && g.sub)
        r = finish(&g);
    if (r)
        party_fail(p, "subscriber %u after message %llu: %s (%s)", index,
                   (unsigned long long)g.at.next, leat_strerror(r), g.bus ? leat_error(g.bus) : "");
    leat_sub_close(g.sub);
    leat_close(g.bus);
    return r ? 1 : 0;
}
