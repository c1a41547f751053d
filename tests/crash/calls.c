/* calls.c - what the actors do, as the client library and the daemon do it. */
#include "tests/crash/world.h"

#include <errno.h>
#include <string.h>

/* A sleeper that is not woken says so soon; nobody has to wait for it in a run without faults. */
#define SLEEP_NS 300000000ll

/* The answers stand before the word that says so: the parent may look between any two instructions. */
static void
finish(struct actor *a)
{
    atom_compiler_barrier();
    a->call.done = true;
}

struct sending {
    struct ring_out out[WORLD_BATCH];
    struct ring_span spans[WORLD_BATCH];
    unsigned char bytes[WORLD_BATCH][64];
};

/* Space for all messages of the call, filled; on failure nothing is held. */
static int
prepare(struct actor *a, uint32_t id, struct sending *s)
{
    const struct call *c = &a->call;
    int r = 0;

    for (uint32_t i = 0; i < c->n; i++) {
        bool is_long = c->len[i] > ring_inline_max(&a->view);
        if (is_long && (r = ring_reserve(&a->pub, c->len[i], &s->spans[i]))) {
            while (i-- > 0)
                if (s->out[i].span)
                    ring_abandon(&a->pub, s->out[i].span);
            return r;
        }
        s->out[i] = (struct ring_out){.data = s->bytes[i],
                                      .span = is_long ? &s->spans[i] : NULL,
                                      .key = world_key(id + i, c->len[i]),
                                      .len = c->len[i],
                                      .type = (uint16_t)c->len[i]};
        world_fill(is_long ? s->spans[i].data : s->bytes[i], id + i, c->len[i]);
    }
    return 0;
}

static void
give_back(struct actor *a, struct sending *s)
{
    for (uint32_t i = 0; i < a->call.n; i++)
        if (s->out[i].span)
            ring_abandon(&a->pub, s->out[i].span);
}

static int
send_round(struct actor *a, struct sending *s)
{
    uint32_t id = a->call.id + a->call.sent * a->call.n;
    uint64_t first;
    int r = prepare(a, id, s);

    if (r)
        return r;
    r = ring_publish(&a->pub, s->out, a->call.n, 99, &first);
    if (r) {
        give_back(a, s);
        return r;
    }
    a->call.first[a->call.sent] = first;
    atom_compiler_barrier();
    a->call.sent++;
    if (ring_publish_due(&a->pub, first + a->call.n - 1) & RING_DUE_WAKE)
        shm_event_wake(&ring_control(&a->view)->sleep);
    return 0;
}

void
call_send(void *actor)
{
    struct actor *a = actor;
    struct sending s;
    int r = 0;

    for (uint32_t i = world_rounds(&a->call); !r && i > 0; i--)
        r = send_round(a, &s);
    a->call.result = r;
    finish(a);
}

void
call_abandon(void *actor)
{
    struct actor *a = actor;
    struct sending s;
    int r = prepare(a, a->call.id, &s);

    if (!r)
        give_back(a, &s);
    a->call.result = r ? r : -ECANCELED;
    finish(a);
}

/* Copies a message; one that has no room is looked at where it is. */
static int
take_bytes(struct actor *a, const struct ring_msg *m, struct seen *seen)
{
    if (m->len <= sizeof seen->data)
        return ring_copy(&a->view, m, seen->data);
    seen->is_whole = world_is_whole(m->data, m->key, m->len);
    return ring_validate(&a->view, m);
}

/* One event; false: none. */
static bool
receive_one(struct actor *a)
{
    struct seen *seen = &a->seen[a->seen_count];
    struct ring_msg m;
    int x = ring_receive(&a->reader, &m);

    if (x < 0)
        a->call.result = x;
    if (x <= 0)
        return false;
    seen->seq = m.seq;
    seen->lost = m.lost;
    seen->key = m.key;
    seen->len = m.len;
    seen->kind = SEEN_GAP;
    if (x == RING_MESSAGE)
        seen->kind = take_bytes(a, &m, seen) ? SEEN_STALE : SEEN_MESSAGE;
    atom_compiler_barrier();
    a->seen_count++;
    atom_store_release(&a->reader.line->pos, a->reader.next); /* release: CURSOR */
    return true;
}

void
call_receive(void *actor)
{
    struct actor *a = actor;

    for (uint32_t i = 0; i < a->call.n && a->seen_count < WORLD_SEEN; i++)
        if (!receive_one(a))
            break;
    atom_store_relaxed(&a->reader.line->received, a->reader.next);
    atom_store_release(&a->reader.line->acked, a->reader.next); /* release: ACK */
    finish(a);
}

void
call_sleep(void *actor)
{
    struct actor *a = actor;
    struct ring_control *c = ring_control(&a->view);
    uint32_t v;

    if (!receive_one(a)) {
        v = shm_event_arm(&c->sleep);
        if (shm_event_barrier((enum shm_barrier)a->view.geo.barrier))
            a->call.result = -ENOSYS;
        if (!receive_one(a)) {
            a->call.slept = shm_event_wait(&c->sleep, v, SLEEP_NS);
            (void)receive_one(a);
        }
    }
    finish(a);
}

void
call_seek(void *actor)
{
    struct actor *a = actor;
    uint64_t pos = a->call.pos, held = shm_max(a->told, pos);

    ring_cursor_seek(&a->view, a->index, &pos);
    ring_reader_set(&a->reader, pos);
    a->told = pos;
    /* What was held before is not lost by looking further back. */
    a->call.result = a->gates && pos > held ? -ERANGE : 0;
    finish(a);
}

void
call_attach(void *actor)
{
    struct actor *a = actor;
    struct ring_owner owner = {.pid = 3000, .start = 1, .name = "somebody"};
    uint64_t pos = a->call.pos;

    ring_cursor_attach(&a->view, a->call.target, (enum ring_cursor_kind)a->call.kind, &owner, &pos);
    a->call.pos = pos;
    finish(a);
}

void
call_evict(void *actor)
{
    struct actor *a = actor;

    ring_cursor_evict(&a->view, a->call.target);
    finish(a);
}

void
call_free(void *actor)
{
    struct actor *a = actor;

    ring_cursor_free(&a->view, a->call.target);
    finish(a);
}

void
call_enter(void *actor)
{
    struct actor *a = actor;
    struct ring_owner owner = {.pid = 1000 + a->call.target, .start = 1};

    ring_entry_take(&a->view, a->call.target, &owner);
    a->call.result =
        ring_publisher_join(&a->pub, &a->view, (uint16_t)a->call.target, a->pieces, false);
    finish(a);
}

void
call_settle(void *actor)
{
    struct actor *a = actor;
    uint64_t aborted = 0;
    int r = 1;

    for (uint32_t i = 0; i < WORLD_PUBLISHERS; i++)
        if (a->call.target >> i & 1)
            ring_entry_kill(&a->view, i);
    for (int pass = 0; pass < 3 && r == 1; pass++)
        r = ring_settle(&a->view, a->scratch, &aborted);
    for (uint32_t i = 0; !r && i < WORLD_PUBLISHERS; i++)
        if (a->call.target >> i & 1)
            ring_entry_free(&a->view, i);
    a->call.result = r;
    finish(a);
}

void
call_format(void *actor)
{
    struct actor *a = actor;
    struct ring_identity who = {.name = "again", .topic_id = 8};
    struct ring_geometry geo = a->view.geo;

    ring_format(a->view.data, a->view.control, &geo, &who);
    finish(a);
}

void
call_destroy(void *actor)
{
    struct actor *a = actor;

    ring_destroy(&a->view);
    finish(a);
}
