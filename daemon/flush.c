#include "daemon/flush.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/report.h"
#include "daemon/state.h"
#include "log/encode.h"
#include "shm/process.h"
#include "shm/testpoint.h"

#define LOOKS_MAX 8

/* --- what has become durable ------------------------------------------------------------- */

/* Tells everybody. Both words are seq_cst stores: whoever is about to wait arms and then looks. */
static void
tell(struct store *s, uint64_t next)
{
    struct flush *f = &s->flush;
    struct ring_daemon *d = ring_daemon(s->view);
    struct ring_control *c = ring_control(s->view);

    f->durable_told = next - 1;
    atom_store_seq(&d->durable, next - 1); /* release: DURABLE; seq: SLEEP */
    TESTPOINT("flush.durable");
    atom_store_seq(&ring_cursor(s->view, 0)->pos, next); /* release: CURSOR; seq: SLEEP */
    TESTPOINT("flush.passed");
    if (shm_event_claim(&c->durable_wait)) {
        shm_event_wake(&c->durable_wait);
        f->eager = true;
    }
    if (shm_event_claim(&c->space))
        shm_event_wake(&c->space);
}

static struct flush_batch *
oldest(struct flush *f)
{
    return &f->batch[f->head % FLUSH_BATCHES];
}

static void
settle_batch(struct store *s, const struct flush_batch *b)
{
    struct flush *f = &s->flush;
    struct store_seg *seg = store__seg_last(s);

    s->bytes += b->end - seg->end;
    seg->end = b->end;
    seg->next = b->after.next;
    f->durable = b->after;
    log_index_note(&f->index, &b->header, b->offset);
    f->head++;
    f->count--;
}

static void
collect(struct store *s)
{
    struct flush *f = &s->flush;
    unsigned n = 0;

    while (f->count && f->named && oldest(f)->finished && oldest(f)->req.res >= 0) {
        settle_batch(s, oldest(f));
        n++;
    }
    if (!n)
        return;
    f->failures = 0;
    (void)atom_add_relaxed(&ring_daemon(s->view)->flushes, n);
    store__say_log(s);
    store__say_state(s, RING_TOPIC_OK, "");
    if (f->durable.next - 1 != f->durable_told)
        tell(s, f->durable.next);
}

/* --- segments ---------------------------------------------------------------------------- */

/* Takes the last segment back, in which no number is complete: the next one begins with the same number, and so takes its name
 * and its file's place. It follows what this one followed. Pieces that stand here, though durable, are void and go with the
 * file: a batch that named one of them as the one before would name what is nowhere. */
static void
take_back_segment(struct store *s)
{
    struct flush *f = &s->flush;
    const struct store_seg *seg = store__seg_last(s);

    f->durable.hash = seg->previous;
    f->durable.partial = f->durable.total = 0;
    f->chain = f->durable;
    s->bytes -= seg->end;
    s->seg_cnt--;
}

/* Nothing is in flight. */
static void
close_segment(struct store *s)
{
    struct flush *f = &s->flush;

    store__close(s, &f->file);
    f->end = 0;
    f->full = false;
    f->named = false;
    if (store__seg_is_empty(store__seg_last(s)))
        take_back_segment(s);
    else
        store__index_write(s, &f->index, store__seg_last(s), f->durable.hash);
}

static void
named(struct io_req *req)
{
    struct store *s = store__landed(req);

    s->flush.naming = false;
    s->flush.named = req->res >= 0;
    if (req->res < 0 && !s->flush.error)
        s->flush.error = req->res;
}

/* Turns the spare into the segment that begins where the chain ends. All before it is durable. */
static enum flush_verdict
open_segment(struct store *s)
{
    struct flush *f = &s->flush;
    struct store_seg *seg;
    char name[LOG_NAME_ROOM];

    if (s->spare.step != SPARE_READY)
        return FLUSH_SPARE;
    if (f->file.fd >= 0)
        close_segment(s);
    log_segment_name(f->chain.next, name);
    if (store__spare_take(s, name, &f->file))
        return FLUSH_SPARE;
    seg = store__seg_push(s);
    *seg = (struct store_seg){.first = f->chain.next,
                              .next = f->chain.next,
                              .end = LOG_BLOCK,
                              .size = f->file.size,
                              .created_ns = shm_max(store__realtime(), f->chain.time_ns),
                              .previous = f->chain.hash};
    s->bytes += LOG_BLOCK;
    f->index.header.entries = 0;
    f->index.every = 0;
    f->naming = true;
    f->sync = (struct io_req){.verb = IO_SYNC, .fd = s->dir};
    store__submit(s, &f->sync, named);
    TESTPOINT("flush.rolled");
    s->again = true; /* the next spare, and what goes for it */
    return FLUSH_NOTHING;
}

/* A write or the name failed, and nothing is in flight any more. */
static void
give_up_segment(struct store *s)
{
    struct flush *f = &s->flush;

    report_error("%s: the log from message %" PRIu64 " on: %s; it is written to a new file",
                 s->topic.name, f->durable.next, report_error_text(f->error));
    (void)atom_add_relaxed(&ring_daemon(s->view)->log_errors, 1);
    f->head += f->count;
    f->count = 0;
    f->durable.partial = f->durable.total = 0;
    f->chain = f->durable;
    f->reader.next = f->durable.next;
    close_segment(s);
    TESTPOINT("flush.given_up");
    f->failures++;
    if (f->failures >= FLUSH_FILES_MAX || f->error == -ENOSPC || f->error == -EDQUOT)
        f->hold_ns = loop_clock() + STORE_RETRY_NS;
    f->why = f->error;
    f->error = 0;
}

static bool
is_finished(const struct flush *f)
{
    if (f->naming)
        return false;
    for (unsigned i = 0; i < f->count; i++)
        if (!f->batch[(f->head + i) % FLUSH_BATCHES].finished)
            return false;
    return true;
}

/* --- a batch ----------------------------------------------------------------------------- */

static void
landed(struct io_req *req)
{
    struct flush_batch *b = (struct flush_batch *)(void *)req;
    struct store *s = store__landed(req);

    io_buf_put(s->env.io, b->buf);
    b->buf = NULL;
    b->finished = true;
    if (req->res < 0 && !s->flush.error)
        s->flush.error = req->res;
}

/* Adds a message, or the next piece of one that is longer than a batch. 0; 1: this much and no more
 * for now; -ENOSPC: it begins in the next batch, or the next segment; -ERANGE; -ESTALE. */
static int
add(struct store *s, struct log_encoder *e, const struct ring_msg *m)
{
    struct flush *f = &s->flush;
    bool goes_on = !e->records && m->seq == f->chain.next && f->chain.partial;
    uint32_t done = goes_on ? f->chain.partial : 0, room = log_batch_room(e);
    struct log_piece p = {.seq = m->seq,
                          .time_ns = m->time_ns,
                          .key = m->key,
                          .len = m->len - done,
                          .total = m->len,
                          .offset = done,
                          .type = m->type,
                          .publisher = m->publisher};
    struct ring_msg piece = *m;
    void *payload;
    int r;

    if (done >= m->len && done)
        return -ESTALE;
    if (p.len > room) {
        uint64_t at = f->end ? f->end : LOG_BLOCK;
        if (e->records || (!done && log_message_bound(m->len, LOG_BATCH_MAX) > f->file.size - at))
            return -ENOSPC;
        p.len = room & ~7u;
        if (!p.len)
            return -ENOSPC;
    }
    r = log_batch_add(e, &p, &payload);
    if (r)
        return r;
    piece.data += done;
    piece.len = p.len;
    r = ring_copy(s->view, &piece, payload);
    return r ? r : done + p.len < m->len;
}

/* Fills a batch with what is committed, up to its room. 0, or what damage was met. */
static int
fill(struct store *s, struct log_encoder *e)
{
    struct flush *f = &s->flush;
    uint64_t tail = atom_load_acquire(ring_tail(s->view)); /* acquire: CLAIM */
    struct ring_msg m;
    int r;

    for (;;) {
        /* Slots that a publisher has done with come from his processor's cache: asked for some messages before. */
        if (f->reader.next + FLUSH_AHEAD < tail)
            __builtin_prefetch(ring_slot(s->view, f->reader.next + FLUSH_AHEAD));
        r = ring_receive(&f->reader, &m);
        if (r != RING_MESSAGE)
            break;
        r = add(s, e, &m);
        if (!r)
            continue;
        f->reader.next = m.seq;
        if (r == 1)
            return 0;
        log_batch_skip(e, m.seq);
        return r == -ENOSPC || r == -ERANGE ? 0 : r;
    }
    log_batch_skip(e, f->reader.next);
    if (r == RING_NONE)
        return 0;
    return r == RING_GAP ? -ESTALE : r;
}

/* The first bytes of the write: the block that the batch shares, or the segment's header. */
static uint32_t
prefix(struct store *s, unsigned char *buf)
{
    struct flush *f = &s->flush;
    const struct store_seg *seg = store__seg_last(s);
    struct log_segment_info info = {.topic_id = s->topic.topic_id,
                                    .first = seg->first,
                                    .previous = seg->previous,
                                    .size = seg->size,
                                    .created_ns = seg->created_ns,
                                    .topic = s->topic.name,
                                    .recycled = f->file.recycled};
    uint32_t len = (uint32_t)(f->end % LOG_BLOCK);

    if (!f->end) {
        log_segment_begin(buf, &info);
        return LOG_BLOCK;
    }
    memcpy(buf, f->tail, len);
    return len;
}

/* Sends the batch of `len` bytes that stands behind `before` bytes of what is there already. */
static void
send_batch(struct store *s, struct flush_batch *b, uint32_t before, uint32_t len)
{
    struct flush *f = &s->flush;
    uint32_t total = (uint32_t)shm_align(before + len, LOG_BLOCK);
    unsigned char *buf = b->buf;

    memcpy(&b->header, buf + before, sizeof b->header);
    memset(buf + before + len, 0, total - before - len);
    b->end = b->offset + len;
    b->finished = false;
    b->req = (struct io_req){.verb = IO_WRITE,
                             .fd = f->file.fd,
                             .flags = IO_DURABLE,
                             .buf = buf,
                             .len = total,
                             .off = b->offset - before};
    f->end = b->end;
    memcpy(f->tail, buf + total - LOG_BLOCK, LOG_BLOCK);
    f->count++;
    TESTPOINT("flush.issued");
    store__submit(s, &b->req, landed);
    /* At once: the disk works on this batch while the next one is put together. */
    io_flush(s->env.io);
}

static void
learn(struct flush *f, const struct log_encoder *e)
{
    if (e->records)
        f->average = (f->average * 3 + e->used / e->records) / 4 + 1;
}

static enum flush_verdict
damaged(struct store *s, int error)
{
    struct flush *f = &s->flush;

    f->damaged = true;
    (void)snprintf(s->damage, sizeof s->damage,
                   "the ring at message %" PRIu64 " contradicts itself: %s", f->reader.next,
                   report_error_text(error));
    report_error("%s: %s", s->topic.name, s->damage);
    state_set(s->view, RING_TOPIC_DAMAGED, s->damage);
    loop_defer(s->env.loop, &s->task);
    return FLUSH_STOPPED;
}

/* Issues one batch into the open segment. FLUSH_LATER: there may be more. */
static enum flush_verdict
issue(struct store *s)
{
    struct flush *f = &s->flush;
    struct flush_batch *b = &f->batch[(f->head + f->count) % FLUSH_BATCHES];
    uint64_t at = f->end ? f->end : LOG_BLOCK;
    struct log_encoder e;
    uint32_t before, len;
    int r;

    b->buf = io_buf_get(s->env.io);
    if (!b->buf)
        return FLUSH_BUFFER;
    before = prefix(s, b->buf);
    r = log_batch_begin(&e, &f->chain, (unsigned char *)b->buf + before,
                        (uint32_t)shm_min(LOG_BATCH_MAX, f->file.size - at));
    if (!r)
        r = fill(s, &e);
    if (r || (!e.records && e.next == e.first)) {
        io_buf_put(s->env.io, b->buf);
        if (r || !f->end)
            return damaged(s, r ? r : -EMSGSIZE);
        f->full = true;
        return FLUSH_LATER;
    }
    len = log_batch_end(&e, &f->chain, at, f->durable.next - 1, store__realtime());
    learn(f, &e);
    b->offset = at;
    b->after = f->chain;
    send_batch(s, b, before, len);
    f->since_ns = 0;
    f->eager = false;
    if (f->file.size - f->end < FLUSH_ROOM_MIN && !f->chain.partial)
        f->full = true;
    return FLUSH_LATER;
}

/* --- when -------------------------------------------------------------------------------- */

/* Messages that are worth a batch although nobody waits: FLUSH_PENDING bytes of them, but no more
 * than a part of what ring and lane can hold. */
static uint64_t
enough(const struct store *s)
{
    const struct flush *f = &s->flush;
    const struct ring_view *v = s->view;
    uint64_t bytes = FLUSH_PENDING;

    if (f->average > ring_inline_max(v) + sizeof(struct log_record) + 8)
        bytes = shm_min(bytes, v->geo.lane_size / 4);
    return shm_max(1, shm_min(bytes / (f->average ? f->average : 1), v->geo.depth / 4));
}

static uint64_t
waiting(const struct store *s)
{
    uint64_t tail = atom_load_acquire(ring_tail(s->view)); /* acquire: CLAIM */

    return tail > s->flush.reader.next ? tail - s->flush.reader.next : 0;
}

static bool
somebody_waits(const struct store *s)
{
    struct ring_control *c = ring_control(s->view);

    return (atom_load_relaxed(&c->durable_wait) & 1) || (atom_load_relaxed(&c->space) & 1);
}

static bool
is_due(const struct store *s)
{
    const struct flush *f = &s->flush;

    if (s->drained || f->eager || f->chain.partial || somebody_waits(s) || waiting(s) >= enough(s))
        return true;
    return f->since_ns && loop_clock() - f->since_ns >= FLUSH_INTERVAL_NS;
}

/* What stands at the next place: 1 something to be written, 0 nothing yet, or damage. */
static int
look(const struct store *s)
{
    struct ring_msg m;
    int r = ring_peek(s->view, s->flush.reader.next, &m);

    return r < 0 ? r : r != RING_NONE;
}

bool
flush_pending(const struct store *s)
{
    return s->flush.count || look(s) == 1;
}

/* While batches are in flight: whether the next one has to wait for one of them. */
static bool
is_held_up(const struct store *s)
{
    const struct flush *f = &s->flush;

    return f->count == FLUSH_BATCHES || f->full || f->end % LOG_BLOCK ||
           io_buf_left(s->env.io) <= FLUSH_BUFS_LEFT;
}

/* Issues one batch, if one is due. What completes while it is put together is looked at before the next one: the
 * publishers it makes room for then work while we do. */
static enum flush_verdict
advance(struct store *s)
{
    struct flush *f = &s->flush;

    for (;;) {
        enum flush_verdict verdict;
        int r = look(s);
        if (r < 0)
            return damaged(s, r);
        if (!r)
            return FLUSH_NOTHING;
        if (!is_due(s))
            return FLUSH_LATER;
        if (f->count && is_held_up(s))
            return FLUSH_FLIGHT;
        if (f->file.fd < 0 && f->hold_ns > loop_clock())
            return FLUSH_HOLD;
        if (f->file.fd < 0 || f->full) {
            verdict = open_segment(s);
            if (verdict)
                return verdict;
        }
        verdict = issue(s);
        if (verdict != FLUSH_LATER)
            return verdict;
        if (!f->full)
            return FLUSH_TURN;
    }
}

/* Asks to be rung for number `at`. True: the bell was not set to it before, so look once more. */
static bool
arm(struct store *s, uint64_t at)
{
    struct flush *f = &s->flush;
    atom_u64 *bell = &ring_control(s->view)->bell_seq;

    if (atom_load_relaxed(bell) == at && !f->barrier_refused)
        return false;
    atom_store_seq(bell, at); /* seq: BELL */
    TESTPOINT("flush.armed");
    f->barrier_refused = shm_event_barrier((enum shm_barrier)s->view->geo.barrier) != 0;
    if (f->barrier_refused)
        loop_set_by(s->env.loop, &f->timer, loop_clock() + FLUSH_SOON_NS);
    return !f->barrier_refused;
}

/* Prepares for sleep. True: look once more. */
static bool
rest(struct store *s, enum flush_verdict verdict)
{
    struct flush *f = &s->flush;

    switch (verdict) {
    case FLUSH_NOTHING:
        f->since_ns = 0;
        f->eager = false;
        loop_cancel(s->env.loop, &f->timer);
        return arm(s, f->reader.next);
    case FLUSH_LATER:
        f->since_ns = f->since_ns ? f->since_ns : loop_clock();
        loop_set(s->env.loop, &f->timer, f->since_ns + FLUSH_INTERVAL_NS);
        return arm(s, f->reader.next + enough(s) - 1);
    case FLUSH_TURN:
        loop_defer(s->env.loop, &s->task);
        return false;
    case FLUSH_HOLD:
        loop_set_by(s->env.loop, &s->retry, f->hold_ns);
        return false;
    case FLUSH_BUFFER:
        loop_set_by(s->env.loop, &f->timer, loop_clock() + FLUSH_SOON_NS);
        return false;
    default:
        return false;
    }
}

static bool
is_full_disk(int error)
{
    return error == -ENOSPC || error == -EDQUOT;
}

/* Says why nothing goes on, when that is not just a moment's wait. */
static void
say_trouble(struct store *s, enum flush_verdict verdict)
{
    const struct store_spare *p = &s->spare;
    char text[STORE_WHY];

    if (verdict == FLUSH_HOLD) {
        (void)snprintf(text, sizeof text, "%u log files in a row could not be written: %s",
                       s->flush.failures, report_error_text(s->flush.why));
        store__say_state(
            s, is_full_disk(s->flush.why) ? RING_TOPIC_DISK_FULL : RING_TOPIC_LOG_FAILED, text);
    } else if (verdict == FLUSH_SPARE && p->error && is_full_disk(p->error)) {
        (void)snprintf(text, sizeof text,
                       "no room for a log segment of %" PRIu64 " bytes: the disk is full",
                       store__spare_size(s));
        store__say_state(s, RING_TOPIC_DISK_FULL, text);
    } else if (verdict == FLUSH_SPARE && p->failures >= FLUSH_FILES_MAX) {
        (void)snprintf(text, sizeof text, "a log segment cannot be prepared: %s",
                       report_error_text(p->error));
        store__say_state(s, RING_TOPIC_LOG_FAILED, text);
    }
}

enum flush_verdict
flush_work(struct store *s)
{
    struct flush *f = &s->flush;
    enum flush_verdict verdict;
    unsigned looks = 0;

    if (!f->attached || f->damaged)
        return FLUSH_STOPPED;
    collect(s);
    if (f->error) {
        if (!is_finished(f))
            return FLUSH_FLIGHT;
        give_up_segment(s);
    }
    do
        verdict = advance(s);
    while (rest(s, verdict) && ++looks < LOOKS_MAX);
    /* Whoever changes the bell all the time shall not keep us here. */
    if (looks == LOOKS_MAX)
        loop_set_by(s->env.loop, &f->timer, loop_clock() + FLUSH_SOON_NS);
    say_trouble(s, verdict);
    return verdict;
}

/* --- attach ------------------------------------------------------------------------------ */

/* Does the log go on where the ring says it must? */
static bool
agree(const struct store *s, const struct ring_view *v, char why[STORE_WHY])
{
    uint64_t next = s->flush.chain.next,
             tail = atom_load_acquire(ring_tail(v));                /* acquire: CLAIM */
    uint64_t durable = atom_load_acquire(&ring_daemon(v)->durable); /* acquire: DURABLE */
    uint64_t oldest_there = ring_oldest(v);

    if (ring_header(v)->topic_id != s->topic.topic_id)
        (void)snprintf(why, STORE_WHY, "the ring belongs to another topic of that name");
    else if (v->geo.lane_size != s->topic.lane_size)
        (void)snprintf(why, STORE_WHY, "the ring has other lanes than the log was made for");
    else if (durable >= next)
        (void)snprintf(why, STORE_WHY,
                       "message %" PRIu64 " was durable, but the log ends with %" PRIu64, durable,
                       next - 1);
    else if (tail < next)
        (void)snprintf(why, STORE_WHY, "the log ends with %" PRIu64 ", but the ring with %" PRIu64,
                       next - 1, tail - 1);
    else if (oldest_there > next)
        (void)snprintf(why, STORE_WHY,
                       "the log ends with %" PRIu64 ", but the ring begins with %" PRIu64, next - 1,
                       oldest_there);
    else
        return true;
    return false;
}

int
flush_attach(struct store *s, struct ring_view *view, char why[STORE_WHY])
{
    struct flush *f = &s->flush;
    struct ring_owner owner = {
        .pid = (uint32_t)getpid(), .uid = (uint32_t)getuid(), .since_ns = store__realtime()};
    uint64_t pos = f->chain.next;

    if (!agree(s, view, why))
        return -EBADMSG;
    (void)shm_process_start(getpid(), &owner.start);
    ring_cursor_attach(view, 0, RING_KIND_LOG, &owner, &pos);
    TESTPOINT("flush.attached");
    if (pos != f->chain.next) {
        (void)snprintf(why, STORE_WHY, "publishers were promised places up to %" PRIu64, pos);
        return -EBADMSG;
    }
    s->view = view;
    /* A former daemon's bell may have been heard by nobody: it counts as not set. */
    atom_store_seq(&ring_control(view)->bell_seq, RING_BELL_OFF); /* seq: BELL */
    f->reader = (struct ring_reader){.view = *view, .next = pos};
    f->attached = true;
    store__say_log(s);
    if (state_get(view) != RING_TOPIC_OK)
        store__say_state(s, RING_TOPIC_OK, "");
    tell(s, pos);
    return 0;
}
