/* Segments to come and segments that go.
 *
 * A spare is allocated and written over with zeros, so that a flush never meets a full disk and
 * changes nothing but bytes; synced; and waits under a name of its own. One is made when the open
 * segment is half full. A segment that retention gives up becomes the spare, if no reader may hold
 * it: its old batches do not fit the chain of the new ones. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/report.h"
#include "daemon/store_impl.h"
#include "log/encode.h"
#include "shm/testpoint.h"

/* --- preparing --------------------------------------------------------------------------- */

static void
landed(struct io_req *req)
{
    struct store *s = store__landed(req);

    s->spare.busy = false;
}

static void
submit(struct store *s, struct io_req req)
{
    struct store_spare *p = &s->spare;

    p->req = req;
    p->busy = true;
    store__submit(s, &p->req, landed);
}

static void
name_spare(struct store_spare *p)
{
    (void)snprintf(p->name, sizeof p->name, "spare-%" PRIu64 ".seg", p->number++);
}

uint64_t
store__spare_size(const struct store *s)
{
    uint64_t last = s->spare.last_size, want = last ? last * 2 : STORE_SEGMENT_FIRST;

    return shm_max(s->size_min, shm_min(s->size_target, want));
}

/* What failed is removed, and made anew after a while; a full disk is not asked again at once. */
static void
spare_failed(struct store *s, int error)
{
    struct store_spare *p = &s->spare;
    bool urgent = ++p->failures < FLUSH_FILES_MAX && error != -ENOSPC && error != -EDQUOT;

    p->error = error;
    p->retry_ns = urgent ? 0 : loop_clock() + STORE_RETRY_NS;
    report_warning("%s: preparing a segment of %" PRIu64 " bytes: %s", s->topic.name,
                   store__spare_size(s), report_error_text(error));
    if (p->file.fd < 0) {
        p->step = SPARE_NONE;
        s->again = urgent;
    } else {
        store__close(s, &p->file);
        p->step = SPARE_REMOVE;
        submit(s, (struct io_req){.verb = IO_REMOVE, .fd = s->dir, .name = p->name});
    }
    if (!urgent)
        loop_set_by(s->env.loop, &s->retry, p->retry_ns);
}

static void
write_zeros(struct store *s)
{
    struct store_spare *p = &s->spare;

    p->step = SPARE_ZERO;
    submit(s, (struct io_req){.verb = IO_WRITE,
                              .fd = p->file.fd,
                              .buf = store__zeros(),
                              .off = p->zeroed,
                              .len = (uint32_t)shm_min(STORE_ZEROS, p->file.size - p->zeroed)});
}

int
store__spare_begin(struct store *s, uint64_t size)
{
    struct store_spare *p = &s->spare;
    int r = store__seg_reserve(s);

    if (r)
        return r;
    do {
        name_spare(p);
        r = store__open(s, p->name, IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE, &p->file);
    } while (r == -EEXIST);
    if (r)
        return r;
    TESTPOINT("spare.made");
    r = io_allocate(s->env.io, p->file.fd, size);
    if (r)
        return r;
    TESTPOINT("spare.allocated");
    p->file.size = size;
    p->zeroed = 0;
    write_zeros(s);
    return 0;
}

/* The request of this step has come back. */
static void
spare_step(struct store *s)
{
    struct store_spare *p = &s->spare;

    if (p->step == SPARE_REMOVE) {
        p->step = SPARE_NONE;
        s->again = true;
        return;
    }
    if (p->req.res < 0) {
        spare_failed(s, p->req.res);
        return;
    }
    if (p->step == SPARE_ZERO) {
        p->zeroed += p->req.len;
        if (p->zeroed < p->file.size) {
            write_zeros(s);
            return;
        }
        TESTPOINT("spare.zeroed");
        p->step = SPARE_SYNC;
        submit(s, (struct io_req){.verb = IO_SYNC, .fd = p->file.fd});
    } else if (p->step == SPARE_SYNC) {
        p->step = SPARE_SYNC_DIR;
        submit(s, (struct io_req){.verb = IO_SYNC, .fd = s->dir});
    } else {
        TESTPOINT("spare.ready");
        p->step = SPARE_READY;
        p->last_size = p->file.size;
        p->failures = 0;
        p->error = 0;
        s->again = true;
    }
}

/* No sooner than the open segment is half full: a topic that is hardly used keeps one file. */
static bool
is_wanted(const struct store *s)
{
    const struct flush *f = &s->flush;

    return f->file.fd < 0 || f->full || f->end >= f->file.size / 2;
}

void
store__spare_look(struct store *s)
{
    struct store_spare *p = &s->spare;
    int r;

    if (p->busy || p->step == SPARE_READY || p->step == SPARE_RECYCLE)
        return;
    if (p->step != SPARE_NONE) {
        spare_step(s);
        return;
    }
    if (!is_wanted(s))
        return;
    /* What else waits may have taken the timer for itself. */
    if (p->retry_ns && loop_clock() < p->retry_ns) {
        loop_set_by(s->env.loop, &s->retry, p->retry_ns);
        return;
    }
    r = store__spare_begin(s, store__spare_size(s));
    if (r)
        spare_failed(s, r);
}

int
store__spare_take(struct store *s, const char *name, struct store_file *ret)
{
    struct store_spare *p = &s->spare;
    int r = io_rename(s->env.io, s->dir, p->name, name);

    if (r) {
        spare_failed(s, r);
        return r;
    }
    TESTPOINT("spare.taken");
    *ret = p->file;
    p->file.fd = -1;
    p->step = SPARE_NONE;
    return 0;
}

/* --- retention --------------------------------------------------------------------------- */

static void
retired(struct io_req *req)
{
    struct store *s = store__landed(req);

    s->retire.busy = false;
}

static void
retire_submit(struct store *s, struct io_req req)
{
    struct store_retire *t = &s->retire;

    t->req = req;
    t->busy = true;
    store__submit(s, &t->req, retired);
}

static bool
is_acked(const struct store *s, uint64_t next)
{
    uint32_t index = 0;
    const char *name;
    uint64_t floor;

    while (store_floor_next(s, &index, &name, &floor))
        if (floor < next)
            return false;
    return true;
}

/* May the oldest segment go? The open one never does, nor the only one that holds a whole message:
 * the numbers of a log without one would begin anew, for a file that has nothing but pieces may
 * have to make way for another. Age counts from the last message of a segment, which is older than
 * the next segment; subscribers may defer age, never size: one dead name must not fill the disk. */
static bool
is_due(struct store *s)
{
    uint64_t at, now;

    if (s->seg_cnt < 2 || store__seg_is_empty(&s->segs[1]))
        return false;
    if (s->topic.retention_bytes && s->bytes > s->topic.retention_bytes)
        return true;
    if (!s->topic.retention_ns)
        return false;
    at = s->segs[1].created_ns + s->topic.retention_ns;
    now = store__realtime();
    if (at < s->topic.retention_ns)
        return false;
    if (at > now) {
        loop_set(s->env.loop, &s->expire, loop_clock() + (at - now));
        return false;
    }
    return !s->topic.retain_until_acked || is_acked(s, s->segs[1].first);
}

/* Gives the file the name of a spare. What cannot be recycled is removed. */
static bool
recycle(struct store *s, const char *name)
{
    struct store_spare *p = &s->spare;
    struct store_file file;
    int r;

    if (p->step != SPARE_NONE || store__seg_reserve(s) || store__open(s, name, 0, &file))
        return false;
    name_spare(p);
    r = io_rename(s->env.io, s->dir, name, p->name);
    if (r) {
        store__close(s, &file);
        return false;
    }
    TESTPOINT("retire.recycled");
    p->step = SPARE_RECYCLE;
    p->file = file;
    p->file.recycled = true;
    return true;
}

static void
retire_begin(struct store *s)
{
    struct store_retire *t = &s->retire;
    struct store_seg seg = s->segs[0];

    s->seg_cnt--;
    memmove(s->segs, s->segs + 1, s->seg_cnt * sizeof *s->segs);
    s->bytes -= seg.end;
    store__say_log(s);
    TESTPOINT("retire.said");
    t->first = seg.first;
    log_segment_name(seg.first, t->name);
    t->recycle = !seg.handed && seg.size >= s->size_target && recycle(s, t->name);
    t->step = RETIRE_SEGMENT;
    if (!t->recycle)
        retire_submit(s, (struct io_req){.verb = IO_REMOVE, .fd = s->dir, .name = t->name});
}

/* What failed is tried again after a while, and no other segment goes before: one would be missing
 * in the middle. An index is not missed. */
static bool
is_held_up(struct store *s)
{
    struct store_retire *t = &s->retire;

    if (t->step == RETIRE_NONE || t->step == RETIRE_INDEX || t->req.res >= 0 ||
        t->req.res == -ENOENT)
        return false;
    if (!t->retry_ns) {
        report_warning("%s: removing segment %" PRIu64 ": %s", s->topic.name, t->first,
                       report_error_text(t->req.res));
        t->retry_ns = loop_clock() + STORE_RETRY_NS;
    }
    if (loop_clock() < t->retry_ns) {
        loop_set_by(s->env.loop, &s->retry, t->retry_ns);
        return true;
    }
    t->retry_ns = 0;
    retire_submit(s, t->req);
    return true;
}

static void
retire_end(struct store *s)
{
    struct store_spare *p = &s->spare;

    s->retire.step = RETIRE_NONE;
    s->again = true;
    if (!s->retire.recycle)
        return;
    TESTPOINT("retire.ready");
    p->step = SPARE_READY;
    p->last_size = p->file.size;
}

void
store__retire_look(struct store *s)
{
    struct store_retire *t = &s->retire;

    if (t->busy || is_held_up(s))
        return;
    switch (t->step) {
    case RETIRE_NONE:
        if (!is_due(s))
            break;
        retire_begin(s);
        if (!t->recycle)
            break;
        /* fall through */
    case RETIRE_SEGMENT:
        TESTPOINT("retire.removed");
        log_index_name(t->first, t->name);
        t->step = RETIRE_INDEX;
        retire_submit(s, (struct io_req){.verb = IO_REMOVE, .fd = s->dir, .name = t->name});
        break;
    case RETIRE_INDEX:
        t->step = RETIRE_SYNC;
        retire_submit(s, (struct io_req){.verb = IO_SYNC, .fd = s->dir});
        break;
    case RETIRE_SYNC:
        retire_end(s);
        break;
    }
}
