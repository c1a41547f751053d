#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/e2e/points.h"

#define BATCH 3
#define LONGEST 3000
#define PATIENCE_NS 60000000000ull

struct body {
    uint32_t life, number;
};

int
points_fail(struct world *w, const char *format, ...)
{
    va_list args;

    if (atom_add_seq(&w->failed, 1))
        return 1;
    va_start(args, format);
    (void)vsnprintf(w->why, sizeof w->why, format, args);
    va_end(args);
    return 1;
}

bool
points_is_passing(int r)
{
    return r == -ECONNREFUSED || r == -ENOENT || r == -ECONNRESET || r == -EPIPE ||
           r == -ETIMEDOUT || r == -EBUSY;
}

void
points_breathe(void)
{
    (void)poll(NULL, 0, 1);
}

uint64_t
points_now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int
open_bus(const struct world *w, leat_bus **ret)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    uint64_t until = points_now_ns() + PATIENCE_NS;
    int r;

    o.path = w->bus;
    while (points_is_passing(r = leat_open(&o, ret)) && points_now_ns() < until)
        points_breathe();
    return r;
}

/* --- a publisher ------------------------------------------------------------------------------ */

struct publisher {
    struct world *w;
    leat_pub *pub;
    uint32_t life, number;
    uint64_t last;
    unsigned char buf[BATCH][LONGEST];
};

static uint32_t
len_of(uint32_t number)
{
    static const uint32_t lens[] = {8, 40, LONGEST, 700, 16};

    return lens[number % 5];
}

static struct leat_out
fill(struct publisher *g, uint32_t i)
{
    const struct body body = {g->life, g->number + i};
    uint32_t len = len_of(body.number);

    memset(g->buf[i], (int)(body.number & 0xff), len);
    memcpy(g->buf[i], &body, sizeof body);
    return (struct leat_out){.data = g->buf[i], .len = len};
}

static int
commit_loan(struct publisher *g)
{
    struct leat_out out = fill(g, 0);
    struct leat_loan loan;
    int r = leat_pub_loan(g->pub, out.len, &loan);

    if (r)
        return r;
    memcpy(loan.data, out.data, out.len);
    return leat_pub_commit(g->pub, &loan, out.len, &g->last);
}

/* The next message or three, in each of the ways there are. */
static int
send_some(struct publisher *g)
{
    struct leat_out out[BATCH] = {fill(g, 0), fill(g, 1), fill(g, 2)};
    uint32_t n = g->number % 7 == 3 && g->number + BATCH <= POINTS_COUNT + 1 ? BATCH : 1;
    struct leat_loan loan;
    int r = 0;

    atom_store_seq(&g->w->trying[g->life], n);
    if (g->number % 11 == 5 && !leat_pub_loan(g->pub, 100, &loan))
        leat_pub_abort(g->pub, &loan);
    if (n > 1)
        r = leat_pub_send_many(g->pub, out, n, &g->last);
    else if (g->number % 2)
        r = leat_pub_send(g->pub, out[0].data, out[0].len, &g->last);
    else
        r = commit_loan(g);
    if (r)
        return r;
    g->number += n;
    (void)atom_add_seq(&g->w->committed[g->life], n);
    atom_store_seq(&g->w->trying[g->life], 0);
    return 0;
}

static int
wait_durable(struct publisher *g)
{
    uint64_t until = points_now_ns() + PATIENCE_NS;
    int r;

    do
        r = leat_pub_wait_durable(g->pub, g->last, 100000000);
    while (points_is_passing(r) && points_now_ns() < until);
    return r;
}

int
points_publish(struct world *w, uint32_t life)
{
    static struct publisher g;
    struct leat_pub_options o = LEAT_PUB_OPTIONS_INIT;
    leat_bus *bus;
    int r = open_bus(w, &bus);

    g = (struct publisher){.w = w, .life = life, .number = 1};
    if (r)
        return points_fail(w, "publisher %u: %s", life, leat_strerror(r));
    o.flags = LEAT_CREATE;
    while (points_is_passing(r = leat_pub_open(bus, POINTS_TOPIC, &o, &g.pub)))
        points_breathe();
    if (!r)
        atom_store_seq(&w->publishing[life], 1);
    while (!r && g.number <= POINTS_COUNT)
        r = send_some(&g);
    if (!r && w->disk)
        r = wait_durable(&g);
    if (r)
        return points_fail(w, "publisher %u at %u: %d %s", life, g.number, r, leat_error(bus));
    leat_pub_close(g.pub);
    leat_close(bus);
    return 0;
}

/* --- a subscriber ----------------------------------------------------------------------------- */

struct subscriber {
    struct world *w;
    leat_bus *bus;
    leat_sub *sub;
    uint32_t index;
    bool again;
    uint64_t last;
};

/* What is looked at of a message, taken out of it: only its release says whether it was still there. */
struct taken {
    struct leat_msg msg;
    struct body body;
    unsigned char end;
};

static void
take_out(const struct leat_msg *m, struct taken *ret)
{
    *ret = (struct taken){.msg = *m};
    if (m->len >= sizeof ret->body)
        memcpy(&ret->body, m->data, sizeof ret->body);
    if (m->len)
        ret->end = ((const unsigned char *)m->data)[m->len - 1];
}

static int
take_down(struct subscriber *g, const struct taken *t)
{
    const struct leat_msg *m = &t->msg;
    struct world *w = g->w;
    uint64_t word, was;

    if (m->len < sizeof t->body || t->body.life >= POINTS_LIVES ||
        m->len != len_of(t->body.number) ||
        (m->len > sizeof t->body && t->end != (t->body.number & 0xff)))
        return points_fail(w, "subscriber %u: message %llu is not what was sent", g->index,
                           (unsigned long long)m->seq);
    if (m->seq >= POINTS_SEQS || m->seq <= g->last)
        return points_fail(w, "subscriber %u: %llu came after %llu", g->index,
                           (unsigned long long)m->seq, (unsigned long long)g->last);
    g->last = m->seq;
    word = (uint64_t)t->body.life << 32 | t->body.number;
    was = atom_load_seq(&w->seen[g->index][m->seq]);
    if (was && (was != word || !g->again))
        return points_fail(w, "subscriber %u: %llu came twice", g->index,
                           (unsigned long long)m->seq);
    atom_store_seq(&w->seen[g->index][m->seq], word);
    return 0;
}

/* 1: took one; 0: none there; -1: it failed. */
static int
take_one(struct subscriber *g)
{
    struct leat_msg m;
    struct taken t;
    int r = leat_sub_receive(g->sub, &m);

    if (!r)
        return 0;
    if (r != 1) {
        (void)points_fail(g->w, "subscriber %u behind %llu: %d %s", g->index,
                          (unsigned long long)g->last, r, leat_error(g->bus));
        return -1;
    }
    take_out(&m, &t);
    r = leat_sub_release(g->sub, &m);
    if (r == -ESTALE && g->w->disk)
        return 1; /* nobody waits for a durable reader: it is given once more, from the log */
    if (!r && take_down(g, &t))
        return -1;
    if (!r && g->w->disk && m.seq % 4 == 0)
        r = leat_sub_ack(g->sub, m.seq);
    if (!r)
        return 1;
    (void)points_fail(g->w, "subscriber %u at %llu: release or ack: %d %s", g->index,
                      (unsigned long long)g->last, r, leat_error(g->bus));
    return -1;
}

/* The first one waits in poll, the second one in the library. */
static int
rest(struct subscriber *g)
{
    struct pollfd p = {.fd = g->index ? -1 : leat_sub_fd(g->sub), .events = POLLIN};
    int r;

    if (p.fd >= 0) {
        (void)poll(&p, 1, 20);
        return 0;
    }
    r = leat_sub_wait(g->sub, 20000000);
    return r < 0 ? points_fail(g->w, "subscriber %u: wait: %d %s", g->index, r, leat_error(g->bus))
                 : 0;
}

static int
follow(struct subscriber *g)
{
    struct leat_sub_stat stat;
    int r = 0;

    while (!atom_load_seq(&g->w->failed)) {
        uint64_t end = atom_load_seq(&g->w->end);
        r = take_one(g);
        if (r < 0)
            return 1;
        (void)leat_sub_stat(g->sub, &stat);
        atom_store_seq(&g->w->at[g->index], stat.next);
        if (!r && end && stat.next >= end)
            return 0;
        if (!r && rest(g))
            return 1;
    }
    return 1;
}

int
points_subscribe(struct world *w, uint32_t index, bool again)
{
    struct subscriber g = {.w = w, .index = index, .again = again};
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    struct leat_position here = {.start = LEAT_AT_SEQ};
    struct leat_sub_stat stat;
    int r = open_bus(w, &g.bus);

    if (r)
        return points_fail(w, "subscriber %u: %s", index, leat_strerror(r));
    o.flags = LEAT_CREATE;
    o.start = LEAT_EARLIEST;
    o.kind = w->disk ? LEAT_DURABLE : LEAT_GATING;
    o.name = !w->disk ? NULL : index ? "two" : "one";
    o.wait = LEAT_WAIT_SLEEP;
    while (points_is_passing(r = leat_sub_open(g.bus, POINTS_TOPIC, &o, &g.sub)))
        points_breathe();
    if (r)
        return points_fail(w, "subscriber %u: %d %s", index, r, leat_error(g.bus));
    (void)leat_sub_stat(g.sub, &stat);
    here.value = stat.next;
    while (points_is_passing(r = leat_sub_seek(g.sub, &here)))
        points_breathe();
    if (r)
        return points_fail(w, "subscriber %u: seek: %d %s", index, r, leat_error(g.bus));
    atom_store_seq(&w->subscribed[index], 1);
    r = follow(&g);
    leat_sub_close(g.sub);
    leat_close(g.bus);
    return r;
}
