/* Publishing. The path of a message that finds room is: one load for fork, one for the topic's
 * state, the ring's publish, two loads to see whether somebody sleeps. Everything else stands
 * apart. */
#include "client/client.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "shm/testpoint.h"

#define SLEEP_FIRST_NS                                                                             \
    1000000ll /* grows to LIMIT_SLEEP_NS: nobody wakes one who waits for a publisher ahead */
#define NOWHERE UINT64_MAX /* a loan that has ended */

static inline uint64_t
stamp_ns(const struct leat_pub *p)
{
    struct timespec ts;

    if (p->clock == LEAT__NO_CLOCK)
        return 0;
    (void)clock_gettime(p->clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- waiting for room ------------------------------------------------------------------------- */

/* What is waited for. */
struct need {
    uint64_t lane; /* bytes of it; 0: none */
    uint32_t n;    /* messages; 0: none */
    int64_t deadline, sleep;
    bool told; /* the line says that this publisher waits */
};

static int
still_full(struct leat_pub *p, const struct need *need)
{
    char why[256];

    leat__blame(&p->map.view, why, sizeof why);
    return leat__fail(p->bus, -EAGAIN, "topic '%s' has no room for %s (timeout_ns %lld): %s",
                      p->map.name, need->lane ? "the payload in its lane" : "the message",
                      (long long)p->timeout_ns, why);
}

/* One step of waiting: 0 when it is worth trying again, -EAGAIN, -EIDRM, -EBADMSG. No claim stands
 * while it waits. */
static int
wait_once(struct leat_pub *p, struct need *need)
{
    struct ring_control *c = p->ring.control;
    int64_t bound, left;
    uint32_t v;
    int r;

    for (int i = 0; i < LEAT__SPINS && !p->bus->alone; i++) {
        r = ring_publish_may(&p->ring, need->n, need->lane);
        if (r)
            return r < 0 ? r : 0;
        shm_pause();
    }
    v = shm_event_arm(&c->space);
    TESTPOINT("pub.space_armed");
    bound =
        shm_event_barrier((enum shm_barrier)p->map.view.geo.barrier) ? SLEEP_FIRST_NS : need->sleep;
    r = ring_publish_may(&p->ring, need->n, need->lane);
    if (!r)
        r = leat__topic_state(p->bus, &p->map);
    if (r)
        return r < 0 ? r : 0;
    /* Who holds it up may be the daemon's to judge, or the daemon itself. */
    (void)leat__ring(p->bus, p->map.topic_id);
    left = leat__left(need->deadline, bound);
    if (left <= 0)
        return still_full(p, need);
    (void)shm_event_wait(&c->space, v, left);
    need->sleep = need->sleep * 2 < LIMIT_SLEEP_NS ? need->sleep * 2 : LIMIT_SLEEP_NS;
    return 0;
}

static int
wait_room(struct leat_pub *p, struct need *need)
{
    struct ring_line *line = p->ring.line;

    if (p->timeout_ns == LEAT_NO_WAIT)
        return still_full(p, need);
    if (!need->told) {
        need->told = true;
        need->sleep = SLEEP_FIRST_NS;
        need->deadline = leat__deadline(p->timeout_ns ? p->timeout_ns : -1);
        atom_store_relaxed(&line->blocked, p->blocked_before + ++p->blocked);
        atom_store_relaxed(&line->blocked_ns, leat__realtime());
        TESTPOINT("pub.blocked");
    }
    return wait_once(p, need);
}

static int
waited(struct leat_pub *p, const struct need *need, int r)
{
    if (need->told)
        atom_store_relaxed(&p->ring.line->blocked_ns, 0);
    if (r == -EBADMSG)
        (void)leat__fail(p->bus, r, "topic '%s': its ring contradicts itself", p->map.name);
    return r;
}

/* --- putting messages in ---------------------------------------------------------------------- */

static int __attribute__((noinline))
publish_late(struct leat_pub *p, const struct ring_out *out, uint32_t n, uint64_t *ret_first)
{
    struct need need = {.n = n};
    int r = -EAGAIN;

    while (r == -EAGAIN) {
        r = wait_room(p, &need);
        if (r)
            break;
        r = ring_publish(&p->ring, out, n, stamp_ns(p), ret_first);
    }
    return waited(p, &need, r);
}

static void __attribute__((noinline)) pay(struct leat_pub *p, unsigned due)
{
    if (due & RING_DUE_WAKE) {
        shm_event_wake(&p->ring.control->sleep);
        TESTPOINT("pub.woken");
    }
    /* When the socket has no room, the daemon has more of ours to read, and looks at all our topics after such a burst. */
    if (due & RING_DUE_BELL)
        (void)leat__ring(p->bus, p->map.topic_id);
}

static inline int
publish(struct leat_pub *p, const struct ring_out *out, uint32_t n, uint64_t *ret_first)
{
    uint64_t first;
    unsigned due;
    int r;

    if (SHM_UNLIKELY(atom_load_acquire(&p->daemon->state) !=
                     RING_TOPIC_OK)) { /* acquire: TOPIC_STATE */
        r = leat__topic_state(p->bus, &p->map);
        if (r)
            return r;
    }
    r = ring_publish(&p->ring, out, n, stamp_ns(p), &first);
    if (SHM_UNLIKELY(r)) {
        if (r == -EAGAIN)
            r = publish_late(p, out, n, &first);
        if (r)
            return r;
    }
    p->last = first + n - 1;
    due = ring_publish_due(&p->ring, p->last);
    if (SHM_UNLIKELY(due))
        pay(p, due);
    if (ret_first)
        *ret_first = first;
    return 0;
}

static int
reserve(struct leat_pub *p, size_t len, struct ring_span *ret)
{
    struct need need = {.lane = len ? len : 1};
    int r = ring_reserve(&p->ring, len, ret);

    if (SHM_LIKELY(!r))
        return 0;
    if (r == -EMSGSIZE)
        return leat__fail(
            p->bus, r,
            "topic '%s': %zu bytes are more than its payload_max of %llu (half its lane_size)",
            p->map.name, len, (unsigned long long)ring_payload_max(&p->map.view));
    while (r == -EAGAIN) {
        r = wait_room(p, &need);
        if (r)
            break;
        r = ring_reserve(&p->ring, len, ret);
    }
    return waited(p, &need, r);
}

/* Reads of these bytes by others are validated afterwards. */
static void
copy_in(const struct ring_span *span, const void *data, size_t len)
{
#if defined(ATOM_TSAN)
    atom_copy_in((atom_u64 *)(void *)span->data, data, len);
#else
    memcpy(span->data, data, len);
#endif
}

static int __attribute__((noinline))
send_large(struct leat_pub *p, const struct leat_out *m, uint64_t *ret_seq)
{
    struct ring_span span;
    struct ring_out out = {.span = &span, .key = m->key, .len = (uint32_t)m->len, .type = m->type};
    int r = reserve(p, m->len, &span);

    if (r)
        return r;
    copy_in(&span, m->data, m->len);
    TESTPOINT("pub.copied");
    r = publish(p, &out, 1, ret_seq);
    if (r)
        ring_abandon(&p->ring, &span);
    return r;
}

int
leat_pub_send_keyed(leat_pub *pub, const struct leat_out *message, uint64_t *ret_seq)
{
    struct ring_out out;

    if (SHM_UNLIKELY(!pub || !message || (!message->data && message->len)))
        return -EINVAL;
    if (SHM_UNLIKELY(!leat__alive(pub->life)))
        return -ECHILD;
    if (SHM_UNLIKELY(message->len > pub->inline_max))
        return send_large(pub, message, ret_seq);
    out = (struct ring_out){.data = message->data,
                            .key = message->key,
                            .len = (uint32_t)message->len,
                            .type = message->type};
    return publish(pub, &out, 1, ret_seq);
}

int
leat_pub_send(leat_pub *pub, const void *data, size_t len, uint64_t *ret_seq)
{
    struct leat_out message = {.data = data, .len = len};

    return leat_pub_send_keyed(pub, &message, ret_seq);
}

/* --- loans ------------------------------------------------------------------------------------ */

int
leat_pub_loan(leat_pub *pub, size_t len, struct leat_loan *ret)
{
    struct ring_span span;
    int r;

    if (SHM_UNLIKELY(!pub || !ret))
        return -EINVAL;
    if (SHM_UNLIKELY(!leat__alive(pub->life)))
        return -ECHILD;
    r = reserve(pub, len, &span);
    if (SHM_UNLIKELY(r))
        return r;
    *ret = (struct leat_loan){.data = span.data, .cap = len, .token = {span.pos, span.piece}};
    return 0;
}

/* Whether a loan is out: neither ended nor anybody else's. */
static bool
is_out(const struct leat_pub *p, const struct leat_loan *loan)
{
    const struct ring_publisher *g = &p->ring;
    uint64_t piece = loan->token[1];

    return loan->token[0] != NOWHERE && piece >= g->piece_first && piece < g->piece_next &&
           g->pieces[piece & g->pieces_mask].seq == RING_PIECE_OPEN &&
           loan->data == g->lane + (loan->token[0] & (p->map.view.geo.lane_size - 1));
}

static void
end_loan(struct leat_loan *loan)
{
    loan->data = NULL;
    loan->cap = 0;
    loan->token[0] = NOWHERE;
}

int
leat_pub_commit(leat_pub *pub, struct leat_loan *loan, size_t len, uint64_t *ret_seq)
{
    struct ring_span span;
    struct ring_out out;
    int r;

    if (SHM_UNLIKELY(!pub || !loan))
        return -EINVAL;
    if (SHM_UNLIKELY(!leat__alive(pub->life)))
        return -ECHILD;
    if (SHM_UNLIKELY(!is_out(pub, loan)))
        return leat__fail(pub->bus, -EINVAL,
                          "the loan is not out: committed, aborted or another publisher's");
    if (SHM_UNLIKELY(len > loan->cap))
        return leat__fail(pub->bus, -EMSGSIZE, "commit of %zu bytes of a loan of %zu", len,
                          loan->cap);
    span = (struct ring_span){.data = loan->data, .pos = loan->token[0], .piece = loan->token[1]};
    out = (struct ring_out){
        .data = loan->data, .key = loan->key, .len = (uint32_t)len, .type = loan->type};
    if (len > pub->inline_max)
        out.span = &span;
    r = publish(pub, &out, 1, ret_seq);
    if (SHM_UNLIKELY(r))
        return r;
    if (!out.span)
        ring_abandon(&pub->ring, &span);
    end_loan(loan);
    return 0;
}

void
leat_pub_abort(leat_pub *pub, struct leat_loan *loan)
{
    struct ring_span span;

    if (!pub || !loan || !leat__alive(pub->life) || !is_out(pub, loan))
        return;
    span = (struct ring_span){.data = loan->data, .pos = loan->token[0], .piece = loan->token[1]};
    ring_abandon(&pub->ring, &span);
    end_loan(loan);
}

/* --- batches ---------------------------------------------------------------------------------- */

static int
batch_room(struct leat_pub *p, uint32_t n)
{
    void *more;

    if (n <= p->batch_room)
        return 0;
    more = realloc(p->outs, n * sizeof *p->outs);
    if (!more)
        return -ENOMEM;
    p->outs = more;
    more = realloc(p->spans, n * sizeof *p->spans);
    if (!more)
        return -ENOMEM;
    p->spans = more;
    p->batch_room = n;
    return 0;
}

/* What all payloads together take of an empty lane at most, where one piece may have to begin anew
 * at the lane's beginning. */
static int
batch_fits(struct leat_pub *p, const struct leat_out *m, uint32_t n)
{
    uint64_t all = 0, longest = 0, size = p->map.view.geo.lane_size;

    for (uint32_t i = 0; i < n; i++) {
        if (!m[i].data && m[i].len)
            return leat__fail(p->bus, -EINVAL, "message %u has a length and no data", i);
        if (m[i].len <= p->inline_max)
            continue;
        if (m[i].len > ring_payload_max(&p->map.view))
            return leat__fail(
                p->bus, -EMSGSIZE,
                "message %u of %zu bytes is longer than topic '%s' takes (half its lane_size %llu)",
                i, m[i].len, p->map.name, (unsigned long long)size);
        all += shm_align(m[i].len, SHM_LINE);
        longest = shm_max(longest, shm_align(m[i].len, SHM_LINE));
    }
    if (all && all + longest > size)
        return leat__fail(
            p->bus, -EMSGSIZE,
            "%u messages of %llu bytes together do not fit topic '%s' (lane_size %llu)", n,
            (unsigned long long)all, p->map.name, (unsigned long long)size);
    return 0;
}

static void
batch_drop(struct leat_pub *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (p->outs[i].span)
            ring_abandon(&p->ring, p->outs[i].span);
}

static int
batch_fill(struct leat_pub *p, const struct leat_out *m, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        int r;
        p->outs[i] = (struct ring_out){
            .data = m[i].data, .key = m[i].key, .len = (uint32_t)m[i].len, .type = m[i].type};
        if (m[i].len <= p->inline_max)
            continue;
        r = reserve(p, m[i].len, &p->spans[i]);
        if (r) {
            batch_drop(p, i);
            return r;
        }
        p->outs[i].span = &p->spans[i];
        copy_in(&p->spans[i], m[i].data, m[i].len);
    }
    return 0;
}

int
leat_pub_send_many(leat_pub *pub, const struct leat_out *messages, unsigned n,
                   uint64_t *ret_first_seq)
{
    int r;

    if (SHM_UNLIKELY(!pub || !messages))
        return -EINVAL;
    if (SHM_UNLIKELY(!leat__alive(pub->life)))
        return -ECHILD;
    if (SHM_UNLIKELY(!n || n > pub->map.view.geo.depth / 2 || n > LIMIT_BATCH))
        return leat__fail(pub->bus, -EINVAL,
                          "a batch of %u messages: 1 to %llu fit topic '%s' (half its depth)", n,
                          (unsigned long long)shm_min(pub->map.view.geo.depth / 2, LIMIT_BATCH),
                          pub->map.name);
    r = batch_room(pub, n);
    if (!r)
        r = batch_fits(pub, messages, n);
    if (!r)
        r = batch_fill(pub, messages, n);
    if (SHM_UNLIKELY(r))
        return r;
    r = publish(pub, pub->outs, n, ret_first_seq);
    if (SHM_UNLIKELY(r))
        batch_drop(pub, n);
    return r;
}

/* --- durable ---------------------------------------------------------------------------------- */

/* What hinders the log: 0 nothing. */
static int
log_state(struct leat_pub *p)
{
    char reason[256];
    uint64_t state = atom_load_acquire(&p->daemon->state); /* acquire: TOPIC_STATE */

    if (state != RING_TOPIC_DISK_FULL && state != RING_TOPIC_LOG_FAILED)
        return leat__topic_state(p->bus, &p->map);
    leat__reason(&p->map.view, reason);
    return leat__fail(p->bus, -EIO, "topic '%s': the log %s: %s", p->map.name,
                      state == RING_TOPIC_DISK_FULL ? "has no room" : "cannot be written", reason);
}

int
leat_pub_wait_durable(leat_pub *pub, uint64_t seq, int64_t timeout_ns)
{
    int64_t deadline, left;
    int r;

    if (!pub)
        return -EINVAL;
    if (!leat__alive(pub->life))
        return -ECHILD;
    if (pub->map.view.geo.durability != RING_DISK)
        return leat__fail(pub->bus, -EOPNOTSUPP,
                          "topic '%s' is a memory topic (durability): nothing of it is on disk",
                          pub->map.name);
    deadline = leat__deadline(timeout_ns);
    for (;;) {
        if (atom_load_acquire(&pub->daemon->durable) >= seq) /* acquire: DURABLE */
            return 0;
        r = log_state(pub);
        if (r)
            return r;
        left = leat__left(deadline, LIMIT_SLEEP_NS);
        if (left <= 0)
            return leat__fail(pub->bus, -ETIMEDOUT,
                              "topic '%s': message %llu is not durable after %lld ns (timeout_ns)",
                              pub->map.name, (unsigned long long)seq, (long long)timeout_ns);
        leat__durable_sleep(pub->bus, &pub->map, seq, left);
    }
}

/* --- open and close --------------------------------------------------------------------------- */

static void
free_pub(struct leat_pub *p)
{
    free(p->pieces);
    free(p->outs);
    free(p->spans);
    free(p);
}

static int
ask_open(struct leat_bus *bus, const char *topic, uint32_t flags, struct leat__answer *ret)
{
    struct wire_topic request;
    int r;

    wire_begin(&request, sizeof request, WIRE_PUB_OPEN, 0);
    memcpy(request.name, topic, strlen(topic) + 1);
    r = leat__ask(bus, &request, ret);
    if (r != -ENOENT || !(flags & LEAT_CREATE))
        return r;
    r = leat__topic_make(bus, topic);
    return r ? r : leat__ask(bus, &request, ret);
}

static int
clock_of(const struct ring_view *v)
{
    switch (v->geo.timestamps) {
    case RING_TIME_COARSE:
        return CLOCK_REALTIME_COARSE;
    case RING_TIME_PRECISE:
        return CLOCK_REALTIME;
    default:
        return LEAT__NO_CLOCK;
    }
}

/* The entry is ours in shared memory; makes the rest of a publisher around it. */
static int
set_up(struct leat_pub *p, const struct leat__answer *answer)
{
    int r;

    p->generation = answer->a.generation;
    p->pieces = calloc(ring_publisher_room(&p->map.view), sizeof *p->pieces);
    if (!p->pieces)
        return leat__fail(p->bus, -ENOMEM, "no memory for a publisher");
    r = ring_publisher_join(&p->ring, &p->map.view, (uint16_t)answer->a.index, p->pieces,
                            p->bus->fenced);
    if (r)
        return leat__fail(p->bus, r, "topic '%s': publisher %u's line contradicts itself",
                          p->map.name, answer->a.index);
    p->published_before = p->ring.published;
    p->bytes_before = p->ring.bytes;
    p->blocked_before = atom_load_relaxed(&p->ring.line->blocked);
    p->daemon = ring_daemon(&p->map.view);
    p->clock = clock_of(&p->map.view);
    p->inline_max = ring_inline_max(&p->map.view);
    return 0;
}

static void
bury(struct leat_bus *bus, const struct leat__answer *answer)
{
    struct leat__grave grave = {.type = WIRE_PUB_CLOSE,
                                .topic_id = answer->a.topic_id,
                                .generation = answer->a.generation,
                                .index = answer->a.index};

    leat__bury(bus, &grave);
}

/* One attempt: -ESTALE when a daemon that started meanwhile has taken the entry back. */
static int
open_once(struct leat_pub *p, const char *topic, const struct leat_pub_options *o)
{
    struct leat__answer answer;
    int r = ask_open(p->bus, topic, o->flags, &answer);

    if (r)
        return r;
    TESTPOINT("pub.attached");
    r = leat__map_open(p->bus, &answer, LEAT__PUBLISH, &p->map);
    if (!r) {
        r = ring_entry_claim(&p->map.view, answer.a.index, answer.a.generation);
        if (!r)
            r = set_up(p, &answer);
        if (r) {
            ring_entry_return(&p->map.view, answer.a.index, answer.a.generation);
            leat__map_close(&p->map);
        }
    }
    if (r && r != -ESTALE)
        bury(p->bus, &answer);
    return r;
}

static int
open_pub(struct leat_pub *p, const char *topic, const struct leat_pub_options *o)
{
    int r = -ESTALE;

    for (int attempt = 0; attempt < LEAT__ATTEMPTS && r == -ESTALE; attempt++)
        r = open_once(p, topic, o);
    return r == -ESTALE ? leat__fail(p->bus, -ECONNREFUSED, "the daemon started %d times meanwhile",
                                     LEAT__ATTEMPTS)
                        : r;
}

int
leat_pub_open(leat_bus *bus, const char *topic, const struct leat_pub_options *options,
              leat_pub **ret)
{
    struct leat_pub_options o;
    struct leat_pub *p;
    int r;

    if (!bus || !ret)
        return -EINVAL;
    if (!leat__alive(bus->life))
        return -ECHILD;
    r = leat__topic_name(bus, topic);
    if (r)
        return r;
    r = leat__options(&o, sizeof o, options);
    if (!r && o.flags & ~LEAT_CREATE)
        r = -E2BIG;
    if (r)
        return leat__fail(bus, r, "leat_pub_options: %s", leat_strerror(r));
    p = leat__new(sizeof *p);
    if (!p)
        return leat__fail(bus, -ENOMEM, "no memory for a publisher");
    p->bus = bus;
    p->life = bus->life;
    p->timeout_ns = o.timeout_ns;
    r = open_pub(p, topic, &o);
    if (r) {
        free_pub(p);
        return r;
    }
    pthread_mutex_lock(&bus->lock);
    p->next = bus->pubs;
    p->link = &bus->pubs;
    if (p->next)
        p->next->link = &p->next;
    bus->pubs = p;
    leat__unlock(bus);
    *ret = p;
    return 0;
}

static void
unlink_pub(struct leat_pub *p)
{
    *p->link = p->next;
    if (p->next)
        p->next->link = p->link;
}

leat_pub *
leat_pub_close(leat_pub *pub)
{
    struct leat__grave grave;

    if (!pub)
        return NULL;
    if (!leat__alive(pub->life)) {
        unlink_pub(pub);
        free_pub(pub);
        return NULL;
    }
    pthread_mutex_lock(&pub->bus->lock);
    unlink_pub(pub);
    leat__unlock(pub->bus);
    grave = (struct leat__grave){.type = WIRE_PUB_CLOSE,
                                 .topic_id = pub->map.topic_id,
                                 .generation = pub->generation,
                                 .index = pub->ring.index};
    ring_entry_return(&pub->map.view, grave.index, grave.generation);
    leat__map_close(&pub->map);
    TESTPOINT("pub.unmapped");
    leat__bury(pub->bus, &grave);
    free_pub(pub);
    return NULL;
}

int
leat_pub_stat(leat_pub *pub, struct leat_pub_stat *ret)
{
    if (!pub || !ret)
        return -EINVAL;
    if (!leat__alive(pub->life))
        return -ECHILD;
    *ret = (struct leat_pub_stat){
        .published = pub->ring.published - pub->published_before,
        .bytes = pub->ring.bytes - pub->bytes_before,
        .blocked = pub->blocked,
        .last_seq = pub->last,
        .lane_used = pub->ring.lane_head - pub->ring.lane_low,
    };
    return 0;
}
