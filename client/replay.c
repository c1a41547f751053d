/* Reading the log, for a durable subscription that is not in the ring. The daemon hands out the
 * segment that holds a sequence number; batches are read from it up to the durable watermark, each
 * checked once, and messages are given out in place. It comes back to the ring by itself: register
 * (the cursor is), look, and if it was overtaken it is back here. */
#include "client/client.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/testpoint.h"

#define FAILURES_MAX 8      /* looks at a batch that has to be there */
#define RETRY_NS 10000000ll /* between two questions while no daemon answers */

/* --- blocks ----------------------------------------------------------------------------------- */

static struct leat__block *
new_block(struct leat_sub *s, size_t size)
{
    struct leat__block *b = malloc(sizeof *b + size);

    if (!b)
        return NULL;
    b->holders = 1;
    b->next = s->replay.blocks;
    b->link = &s->replay.blocks;
    if (b->next)
        b->next->link = &b->next;
    s->replay.blocks = b;
    return b;
}

void
leat__block_put(struct leat__block *b)
{
    if (!b || --b->holders)
        return;
    *b->link = b->next;
    if (b->next)
        b->next->link = b->link;
    free(b);
}

static void
drop_part(struct leat__replay *y)
{
    leat__block_put(y->part);
    y->part = NULL;
}

void
leat__replay_stop(struct leat_sub *s)
{
    struct leat__replay *y = &s->replay;

    if (y->fd >= 0)
        close(y->fd);
    y->fd = -1;
    y->loaded = false;
    y->ready = false;
    drop_part(y);
    leat__block_put(y->batch);
    y->batch = NULL;
}

void
leat__replay_end(struct leat_sub *s)
{
    leat__replay_stop(s);
    while (s->replay.blocks) {
        struct leat__block *b = s->replay.blocks;
        s->replay.blocks = b->next;
        free(b);
    }
}

/* --- segments --------------------------------------------------------------------------------- */

static int
damaged(struct leat_sub *s, const char *what)
{
    return leat__fail(s->bus, -EBADMSG, "topic '%s': the log at message %llu: %s", s->map.name,
                      (unsigned long long)s->ring.next, what);
}

static void
lose_until(struct leat_sub *s, uint64_t seq)
{
    s->gap_first = s->ring.next;
    s->gap_lost = seq - s->ring.next;
    s->ring.next = seq;
}

/* The log is gone with its topic: what the ring still has is all there is. */
static int
log_is_gone(struct leat_sub *s)
{
    uint64_t oldest = ring_oldest(&s->map.view);

    s->log_gone = true;
    if (s->ring.next >= oldest)
        return LEAT__TAKE_RING;
    lose_until(s, oldest);
    return LEAT__AGAIN;
}

static void
leave_segment(struct leat__replay *y)
{
    close(y->fd);
    y->fd = -1;
}

static bool
is_removed(const struct leat_sub *s)
{
    return atom_load_acquire(&ring_daemon(&s->map.view)->state) ==
           RING_TOPIC_REMOVED; /* acquire: TOPIC_STATE */
}

/* Checks the segment behind an answer, and stands at the batch that it names. */
static int
enter_segment(struct leat_sub *s, const struct wire_answer *a)
{
    struct leat__replay *y = &s->replay;
    struct log_source source = log_fd_source(&y->fd);
    struct log_index_entry entry = {.seq = a->seq, .offset = a->offset, .hash = a->hash};
    struct log_segment_header h;
    int r = log_segment_check(&source, &h);

    if (r)
        return r == -EBADMSG ? damaged(s, "its segment has no valid header")
                             : leat__fail(s->bus, r, "topic '%s': reading the log: %s", s->map.name,
                                          leat_strerror(r));
    if (h.topic_id != s->map.topic_id || h.first > a->seq || a->offset < LOG_BLOCK ||
        a->offset > h.size)
        return damaged(s, "its segment is not the one that was asked for");
    if (!y->batch)
        y->batch = new_block(s, LOG_BATCH_MAX);
    if (!y->batch)
        return leat__fail(s->bus, -ENOMEM, "no memory to read the log");
    log_walk_begin(&y->walk, &source, &h, y->batch->data);
    if (a->offset != LOG_BLOCK)
        log_walk_at(&y->walk, &entry);
    y->after = a->next;
    return 1;
}

/* Whether the ring had a message at `seq` and has it no more. A place that was aborted never was one. */
static bool
is_lost(const struct leat_sub *s, uint64_t seq)
{
    const struct ring_view *v = &s->map.view;
    struct ring_msg m;

    if (ring_glance(v, seq, &m) != RING_GAP)
        return false;
    return ring_stamp_diff(atom_load_acquire(&ring_slot(v, seq)->stamp), seq) !=
           RING_ABORTED; /* acquire: COMMIT */
}

/* What was asked for is in the log no longer, which begins with `first`. With a retention that is smaller than the ring,
 * the ring may have it still, or have more of what follows. */
static int
pass_over(struct leat_sub *s, uint64_t first)
{
    uint64_t oldest = shm_max(ring_oldest(&s->map.view), s->ring.next);

    s->log_from = first;
    /* Payloads go before their slots do: one gap for all of them, not a question to the daemon for each. */
    while (oldest < first && is_lost(s, oldest))
        oldest++;
    if (oldest >= first) {
        lose_until(s, first);
        return LEAT__AGAIN;
    }
    leave_segment(&s->replay);
    s->log_until = 0;
    if (oldest <= s->ring.next)
        return LEAT__TAKE_RING;
    lose_until(s, oldest);
    return LEAT__AGAIN;
}

/* Asks for the segment that holds the next message: 1, 0 when there is no daemon to ask, or what
 * leat__replay_ready says. */
static int
open_segment(struct leat_sub *s)
{
    struct leat__replay *y = &s->replay;
    struct leat__answer answer;
    struct wire_position request;
    int r;

    if (is_removed(s))
        return log_is_gone(s);
    if (leat__left(y->retry_at, 1) > 0)
        return 0;
    wire_begin(&request, sizeof request, WIRE_LOG_OPEN, 0);
    request.topic_id = s->map.topic_id;
    request.start = WIRE_AT_SEQ;
    request.value = s->ring.next;
    r = leat__ask(s->bus, &request, &answer);
    if (r == -ECONNREFUSED || r == -ETIMEDOUT || r == -EAGAIN) {
        y->retry_at = leat__deadline(RETRY_NS);
        return 0;
    }
    if (r)
        return is_removed(s) ? log_is_gone(s) : r;
    TESTPOINT("replay.opened");
    y->fd = answer.fds[0];
    answer.fds[0] = -1;
    leat__close_fds(answer.fds);
    if (y->fd < 0)
        return damaged(s, "the daemon's answer has no segment");
    r = enter_segment(s, &answer.a);
    if (r != 1 || answer.a.seq <= s->ring.next)
        return r;
    return pass_over(s, answer.a.seq);
}

/* No batch was found where the walk stands, although what follows is durable: the segment is over,
 * or what the page cache has of it is older than what was written past it. LEAT__AGAIN, or -EBADMSG
 * after a number of looks. */
static int
find_successor(struct leat_sub *s)
{
    struct leat__replay *y = &s->replay;
    bool over = y->after && y->walk.chain.next >= y->after;

    if (!over) {
        if (++y->failures > FAILURES_MAX)
            return damaged(s, "a batch that is durable is not there, or not valid");
        (void)posix_fadvise(y->fd, 0, 0, POSIX_FADV_DONTNEED);
    }
    leave_segment(y);
    return LEAT__AGAIN;
}

/* As log_walk_next. What stands behind the beginning of the next segment, or is not durable although
 * what was asked for is, belongs to a write that failed: that went to another file. */
static int
next_batch(struct leat_sub *s)
{
    struct leat__replay *y = &s->replay;
    int r;

    if (y->after && y->walk.chain.next >= y->after)
        return 0;
    r = log_walk_next(&y->walk);
    if (r == 1 && y->walk.chain.next - 1 >
                      atom_load_acquire(&ring_daemon(&s->map.view)->durable)) /* acquire: DURABLE */
        return 0;
    return r;
}

/* Reads the next batch: 1, or what leat__replay_ready says. */
static int
load(struct leat_sub *s)
{
    struct leat__replay *y = &s->replay;
    int r;

    if (y->fd < 0) {
        r = open_segment(s);
        if (r != 1)
            return r;
    }
    /* Messages of the last batch may still be held: then the next one needs a block of its own. */
    if (y->batch->holders > 1) {
        struct leat__block *fresh = new_block(s, LOG_BATCH_MAX);
        if (!fresh)
            return leat__fail(s->bus, -ENOMEM, "no memory to read the log");
        leat__block_put(y->batch);
        y->batch = fresh;
        y->walk.buf = fresh->data;
    }
    r = next_batch(s);
    if (r == 0 || r == -EBADMSG)
        return find_successor(s);
    if (r < 0)
        return leat__fail(s->bus, r, "topic '%s': reading the log: %s", s->map.name,
                          leat_strerror(r));
    TESTPOINT("replay.loaded");
    /* What was read before is walked over again after each look, and is no progress. */
    if (y->walk.chain.next > s->ring.next)
        y->failures = 0;
    y->loaded = true;
    log_records_begin(&y->at, y->batch->data);
    return 1;
}

/* --- messages --------------------------------------------------------------------------------- */

static void
make_ready(struct leat__replay *y, const struct log_record *head, struct leat__block *holder,
           const unsigned char *payload)
{
    y->head = *head;
    y->holder = holder;
    y->payload = payload;
    y->ready = true;
}

/* One piece of a message longer than a batch: 1 it is whole, 0 not yet. The log has checked that
 * pieces of one message follow each other. */
static int
collect(struct leat_sub *s, const struct log_record *rec, const unsigned char *payload)
{
    struct leat__replay *y = &s->replay;

    if (!rec->offset) {
        if (rec->total > ring_payload_max(&s->map.view))
            return damaged(s, "a message is longer than the topic takes");
        drop_part(y);
        y->part = new_block(s, rec->total);
        if (!y->part)
            return leat__fail(s->bus, -ENOMEM, "no memory for a message of %u bytes", rec->total);
        y->part_head = *rec;
        y->part_len = 0;
    }
    if (!y->part || rec->seq != y->part_head.seq || rec->offset != y->part_len ||
        rec->total != y->part_head.total || rec->len > rec->total - rec->offset)
        return damaged(s, "a piece of a message has no beginning");
    memcpy(y->part->data + rec->offset, payload, rec->len);
    y->part_len += rec->len;
    if (y->part_len < rec->total)
        return 0;
    make_ready(y, &y->part_head, y->part, y->part->data);
    y->head.len = rec->total;
    return 1;
}

/* The next message of the batch: 1, 0 when it has no more, or an error. */
static int
next_in_batch(struct leat_sub *s)
{
    struct leat__replay *y = &s->replay;
    const unsigned char *payload;
    struct log_record rec;
    int r;

    while (log_records_next(&y->at, &rec, &payload) == 1) {
        if (rec.seq < s->ring.next)
            continue;
        if (rec.len == rec.total) {
            make_ready(y, &rec, y->batch, payload);
            return 1;
        }
        r = collect(s, &rec, payload);
        if (r)
            return r;
    }
    y->loaded = false;
    /* Numbers without a record were aborted: they never were messages. */
    s->ring.next = shm_max(s->ring.next, y->walk.chain.next);
    return 0;
}

/* As leat__replay_ready, which see. */
static int
make_progress(struct leat_sub *s)
{
    struct leat__replay *y = &s->replay;

    for (;;) {
        int r;
        if (y->ready)
            return 1;
        if (s->gap_lost)
            return LEAT__AGAIN;
        if (y->loaded) {
            r = next_in_batch(s);
            if (r < 0)
                return r;
            continue;
        }
        if (s->ring.next >
                atom_load_acquire(&ring_daemon(&s->map.view)->durable) || /* acquire: DURABLE */
            leat__should_take_ring(s))
            return LEAT__TAKE_RING;
        r = load(s);
        if (r != 1 && (r != LEAT__AGAIN || s->gap_lost))
            return r;
    }
}

int
leat__replay_ready(struct leat_sub *s)
{
    int r = make_progress(s);

    /* Half of a step may have been made: the next call makes it anew, from the message that it is at. */
    if (r < 0)
        leat__replay_stop(s);
    return r;
}

int
leat__replay_take(struct leat_sub *s, struct leat_msg *ret)
{
    struct leat__replay *y = &s->replay;
    bool again;
    int r = leat__replay_ready(s);

    if (r != 1)
        return r;
    again = y->head.seq < s->again_until;
    *ret = (struct leat_msg){
        .data = y->payload,
        .len = y->head.len,
        .seq = y->head.seq,
        .key = y->head.key,
        .time_ns = y->head.time_ns,
        .type = y->head.type,
        .publisher = y->head.publisher,
        .attempts = 1u + again,
        .token = {0, (uintptr_t)y->holder},
    };
    if (y->holder == y->part)
        y->part = NULL; /* the message is its holder now */
    else
        y->holder->holders++;
    y->ready = false;
    s->held++;
    s->received += !again;
    s->ring.next = y->head.seq + 1;
    return 1;
}
