/* guest.c - what the guests of a bus do, each through the library. */
#include "tests/crash/stage.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* Long enough for a daemon to be started again meanwhile, and for a disk that others use. */
#define DURABLE_NS 60000000000ll

static int64_t
now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static void
answer(struct guest *g, int r)
{
    g->call.result = r < 0 ? r : 0;
    atom_compiler_barrier();
    g->call.done = true;
}

static int
enter(struct guest *g)
{
    struct leat_options options = LEAT_OPTIONS_INIT;

    options.path = g->path;
    return g->bus ? 0 : leat_open(&options, &g->bus);
}

void
guest_open_pub(void *guest)
{
    struct guest *g = guest;
    struct leat_pub_options options = LEAT_PUB_OPTIONS_INIT;
    int r = enter(g);

    options.timeout_ns = g->timeout_ns ? g->timeout_ns : LEAT_NO_WAIT;
    answer(g, r ? r : leat_pub_open(g->bus, g->topic, &options, &g->pub));
}

void
guest_open_sub(void *guest)
{
    struct guest *g = guest;
    struct leat_sub_options options = LEAT_SUB_OPTIONS_INIT;
    int r = enter(g);

    options.kind = g->kind;
    options.name = g->name;
    options.wait = LEAT_WAIT_SLEEP;
    answer(g, r ? r : leat_sub_open(g->bus, g->topic, &options, &g->sub));
}

void
guest_close_pub(void *guest)
{
    struct guest *g = guest;

    g->pub = leat_pub_close(g->pub);
    answer(g, 0);
}

void
guest_close_sub(void *guest)
{
    struct guest *g = guest;

    g->sub = leat_sub_close(g->sub);
    answer(g, 0);
}

static void
sent(struct guest *g, uint64_t first)
{
    if (g->call.sent < WORLD_ROUNDS)
        g->call.first[g->call.sent] = first;
    atom_compiler_barrier();
    g->call.sent++;
}

void
guest_send(void *guest)
{
    struct guest *g = guest;
    struct leat_out out[WORLD_BATCH];
    unsigned char bytes[WORLD_BATCH][WORLD_PAYLOAD];
    uint64_t first = 0;
    int r;

    for (uint32_t i = 0; i < g->call.n; i++) {
        uint32_t id = g->call.id + i, len = g->call.len[i];
        out[i] = (struct leat_out){.data = bytes[i], .len = len, .key = world_key(id, len)};
        world_fill(bytes[i], id, len);
    }
    r = g->call.n == 1 ? leat_pub_send_keyed(g->pub, out, &first)
                       : leat_pub_send_many(g->pub, out, g->call.n, &first);
    if (!r)
        sent(g, first);
    answer(g, r);
}

/* As long as the disk is behind, the ring may have no room. */
void
guest_durable(void *guest)
{
    struct guest *g = guest;
    int64_t until = now_ns() + DURABLE_NS;

    do
        guest_send(guest);
    while (g->call.result == -EAGAIN && now_ns() < until);
    if (!g->call.result)
        answer(g, leat_pub_wait_durable(g->pub, g->call.first[0] + g->call.n - 1, DURABLE_NS));
}

void
guest_commit(void *guest)
{
    struct guest *g = guest;
    struct leat_loan loan;
    uint64_t first = 0;
    int r = 0;

    /* Each message is a call's round of its own. */
    for (uint32_t i = 0; !r && i < g->call.rounds; i++) {
        r = leat_pub_loan(g->pub, g->call.len[0] + 7, &loan);
        if (r)
            break;
        world_fill(loan.data, g->call.id + i, g->call.len[0]);
        loan.key = world_key(g->call.id + i, g->call.len[0]);
        r = leat_pub_commit(g->pub, &loan, g->call.len[0], &first);
        if (r)
            leat_pub_abort(g->pub, &loan);
        else
            sent(g, first);
    }
    answer(g, r);
}

void
guest_fill(void *guest)
{
    struct guest *g = guest;
    struct leat_pub_stat stat;

    guest_commit(guest);
    if (!g->call.result && !leat_pub_stat(g->pub, &stat))
        answer(g, leat_pub_wait_durable(g->pub, stat.last_seq, DURABLE_NS));
}

void
guest_abort(void *guest)
{
    struct guest *g = guest;
    struct leat_loan loan;
    int r = leat_pub_loan(g->pub, g->call.len[0], &loan);

    if (!r) {
        world_fill(loan.data, g->call.id, g->call.len[0]);
        leat_pub_abort(g->pub, &loan);
    }
    answer(g, r);
}

static int
receive_one(struct guest *g)
{
    struct seen *seen = &g->seen[g->seen_count];
    struct leat_msg m;
    int r = leat_sub_receive(g->sub, &m);

    if (r <= 0)
        return r;
    seen->seq = r == LEAT_GAP ? m.first : m.seq;
    seen->lost = m.lost;
    seen->key = m.key;
    seen->len = (uint32_t)m.len;
    seen->kind = SEEN_GAP;
    if (r == 1) {
        seen->is_whole = world_is_whole(m.data, m.key, (uint32_t)m.len);
        seen->kind = leat_sub_release(g->sub, &m) ? SEEN_STALE : SEEN_MESSAGE;
        g->last = m.seq;
    }
    atom_compiler_barrier();
    g->seen_count++;
    return r;
}

void
guest_receive(void *guest)
{
    struct guest *g = guest;
    int r = 1;

    for (uint32_t i = 0; r > 0 && i < g->call.n && g->seen_count < WORLD_SEEN; i++)
        r = receive_one(g);
    answer(g, r);
}

void
guest_ack(void *guest)
{
    struct guest *g = guest;

    answer(g, leat_sub_ack(g->sub, g->last));
}

void
guest_wait(void *guest)
{
    struct guest *g = guest;
    int r = leat_sub_wait(g->sub, g->timeout_ns);

    g->call.slept = r;
    answer(g, r);
}

void
guest_seek(void *guest)
{
    struct guest *g = guest;
    struct leat_position to = {.start = LEAT_AT_SEQ, .value = g->call.pos};

    answer(g, leat_sub_seek(g->sub, &to));
}
