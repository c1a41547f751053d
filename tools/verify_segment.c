/* One segment: its header, its batches in their chain, what stands behind them, and its index. */
#include "tools/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/client.h"
#include "log/index.h"
#include "shm/testpoint.h"
#include "tools/table.h"

#define INDEX_MOST (64u << 20)
/* A running daemon empties an index before it writes it. */
#define LOOKS 5
#define BETWEEN_MS 2

struct walk {
    struct verify *v;
    const struct verify_segment *segment;
    char path[PATH_MAX + LOG_NAME_ROOM + 2];
    int fd;
    struct stat st;
    struct log_segment_header header;
    struct log_walk walk;
    bool joined; /* the next segment goes on where this one is now */
    uint64_t batches, messages, aborted;
    struct log_index index;
    void *index_file; /* NULL: there is none */
    uint32_t entry;   /* the first that has not been met */
    bool index_wrong;
};

static void
found(struct walk *w, enum verify_verdict verdict, const char *what)
{
    struct verify_where where = {
        .file = w->path, .offset = w->walk.offset, .seq = w->walk.chain.next};

    verify_found(w->v, verdict, &where, "%s", what);
}

/* A running daemon removes segments, and makes new ones of old ones: what was read then means nothing. */
static bool
is_still_there(const struct walk *w)
{
    struct stat st;

    return !w->v->alive || (!stat(w->path, &st) && st.st_ino == w->st.st_ino);
}

/* --- the index -------------------------------------------------------------------------------- */

/* 0: there is one, and it is of its segment; -EBADMSG: it is not; or why it cannot be read. */
static int
read_index(struct walk *w, const char *path)
{
    uint64_t size;
    int r = verify_read(path, INDEX_MOST, &w->index_file, &size);

    if (r)
        return r == -EBADMSG ? -ENODATA : r;
    r = log_index_check(w->index_file, size, w->header.topic_id, w->header.first);
    if (r) {
        free(w->index_file);
        w->index_file = NULL;
        return -EBADMSG;
    }
    log_index_view(&w->index, w->index_file);
    return 0;
}

static void
open_index(struct walk *w)
{
    char path[PATH_MAX + LOG_NAME_ROOM + 2], name[LOG_NAME_ROOM];
    struct verify_where where = {.file = path};
    int r;

    log_index_name(w->segment->first, name);
    (void)snprintf(path, sizeof path, "%s/%s", w->segment->folder, name);
    r = read_index(w, path);
    for (int i = 0; i < LOOKS && r == -EBADMSG && w->v->alive; i++) {
        (void)poll(NULL, 0, BETWEEN_MS);
        r = read_index(w, path);
    }
    if (r == -EBADMSG && !w->v->alive)
        verify_found(w->v, VERIFY_CUT, &where,
                     "it is not an index of its segment, and will be made anew");
}

/* Each entry must be met by a batch at its place. */
static void
meet_entries(struct walk *w, const struct log_batch *batch, uint64_t offset)
{
    const struct log_index_entry *e;

    for (; w->index_file && w->entry < w->index.header.entries; w->entry++) {
        e = &w->index.entries[w->entry];
        if (e->offset > offset)
            return;
        if (e->offset != offset || e->seq != batch->first || e->hash != batch->previous ||
            e->time_ns != batch->time_ns)
            w->index_wrong = true;
    }
}

static void
close_index(struct walk *w)
{
    const struct log_index_header *h = &w->index.header;
    struct verify_where where = {.file = w->path};

    if (w->index_file &&
        (w->index_wrong || w->entry < h->entries || h->next != w->walk.chain.next) &&
        is_still_there(w))
        verify_found(w->v, VERIFY_CUT, &where,
                     "its index does not agree with it, and will be made anew");
    free(w->index_file);
}

/* --- batches ---------------------------------------------------------------------------------- */

static uint64_t
whole_messages(const void *batch)
{
    struct log_cursor_in_batch c;
    const unsigned char *payload;
    struct log_record r;
    uint64_t n = 0;

    log_records_begin(&c, batch);
    while (log_records_next(&c, &r, &payload))
        n += (uint64_t)r.offset + r.len == r.total;
    return n;
}

/* Walks until the chain ends, or until the next segment takes it up. */
static int
walk_batches(struct walk *w)
{
    const struct verify_segment *s = w->segment;
    int r = 1;

    /* An empty segment may be followed at once. */
    w->joined = s->next && w->walk.chain.next == s->next && w->walk.chain.hash == s->next_hash;
    while (!w->joined && (r = log_walk_next(&w->walk)) == 1) {
        uint64_t n = whole_messages(w->walk.buf);
        meet_entries(w, &w->walk.batch, w->walk.batch_offset);
        w->batches++;
        w->messages += n;
        w->aborted += w->walk.batch.count > n ? w->walk.batch.count - n : 0;
        w->joined = s->next && w->walk.chain.next == s->next && w->walk.chain.hash == s->next_hash;
    }
    return r;
}

static void
judge_last(struct walk *w, int ended)
{
    struct log_diagnosis d;
    uint64_t next = w->walk.chain.next, durable = w->v->durable;
    int r = log_walk_diagnose(&w->walk, &d);
    char text[200];

    if (r) {
        found(w, VERIFY_BLIND, strerror(-r));
        return;
    }
    if (!is_still_there(w))
        return;
    if (d.end == LOG_END_DAMAGE) {
        (void)snprintf(text, sizeof text,
                       "message %" PRIu64 " is damaged here: the batch at %" PRIu64
                       " says that all up to %" PRIu64 " was durable",
                       next, d.witness, d.durable);
        found(w, VERIFY_DAMAGED, text);
    } else if (durable >= next) {
        (void)snprintf(text, sizeof text,
                       "the log ends here, but all up to %" PRIu64 " was reported durable",
                       durable);
        found(w, VERIFY_DAMAGED, text);
    } else if (d.end == LOG_END_TORN && !w->v->alive && !place_locked(w->fd)) {
        (void)snprintf(text, sizeof text, "a write was torn here: %" PRIu64 " bytes will be cut%s",
                       d.bytes, ended < 0 ? "" : ", none of which were durable");
        found(w, VERIFY_CUT, text);
    }
}

static void
judge_middle(struct walk *w)
{
    const struct verify_segment *s = w->segment;
    uint64_t next = w->walk.chain.next;
    char text[200];

    if (w->joined || !is_still_there(w))
        return;
    if (next < s->next)
        (void)snprintf(text, sizeof text,
                       "the batch here cannot be read: %" PRIu64 " to %" PRIu64 " are missing",
                       next, s->next - 1);
    else
        (void)snprintf(
            text, sizeof text,
            "the segment behind it, from %" PRIu64 ", does not go on where this one ends", s->next);
    found(w, VERIFY_DAMAGED, text);
}

/* --- the header ------------------------------------------------------------------------------- */

static void
judge_header(struct walk *w, const struct verify_chain *chain)
{
    const struct log_segment_header *h = &w->header;
    struct verify_where where = {.file = w->path, .seq = h->first};
    struct verify *v = w->v;

    if (!is_still_there(w))
        return;
    if (h->first != w->segment->first)
        verify_found(v, VERIFY_DAMAGED, &where, "its name says that it begins with %" PRIu64,
                     w->segment->first);
    if (v->topic_id && h->topic_id != v->topic_id)
        verify_found(v, VERIFY_DAMAGED, &where, "it belongs to another topic");
    if (h->size != (uint64_t)w->st.st_size)
        verify_found(v, VERIFY_DAMAGED, &where,
                     "it has %" PRIu64 " bytes, its header says %" PRIu64, (uint64_t)w->st.st_size,
                     h->size);
    if (chain->next && h->first > chain->next)
        verify_found(v, VERIFY_DAMAGED, &where, "%" PRIu64 " messages before it are missing",
                     h->first - chain->next);
}

/* 1 when there is something to walk over. */
static int
open_segment(struct walk *w)
{
    struct verify_where where = {.file = w->path, .seq = w->segment->first};
    char name[LOG_NAME_ROOM];
    struct log_source source;
    int r;

    log_segment_name(w->segment->first, name);
    (void)snprintf(w->path, sizeof w->path, "%s/%s", w->segment->folder, name);
    w->fd = open(w->path, LEAT__READ | O_CLOEXEC | O_NOFOLLOW);
    r = w->fd < 0 || fstat(w->fd, &w->st) ? -errno : 0;
    source = log_fd_source(&w->fd);
    r = r ? r : log_segment_check(&source, &w->header);
    if (!r)
        return 1;
    if (r == -ENOENT && w->v->alive)
        return 0;
    if (r == -EPROTONOSUPPORT)
        verify_found(w->v, VERIFY_BLIND, &where,
                     "it has version %u and needs %#x, this program knows %u", w->header.version,
                     w->header.incompatible, LOG_VERSION);
    else if (r == -EBADMSG && is_still_there(w))
        verify_found(w->v, VERIFY_DAMAGED, &where, "its header is damaged");
    else if (r != -EBADMSG)
        verify_found(w->v, VERIFY_BLIND, &where, "%s", strerror(-r));
    return 0;
}

static json_t *
segment_json(const struct walk *w)
{
    json_t *o = json_pack("{s:s}", "file", w->path);

    (void)json_object_set_new(o, "first", table_u64(w->header.first));
    (void)json_object_set_new(o, "next", table_u64(w->walk.chain.next));
    (void)json_object_set_new(o, "batches", table_u64(w->batches));
    (void)json_object_set_new(o, "messages", table_u64(w->messages));
    (void)json_object_set_new(o, "aborted", table_u64(w->aborted));
    (void)json_object_set_new(o, "used", table_u64(w->walk.offset));
    (void)json_object_set_new(o, "size", table_u64(w->header.size));
    (void)json_object_set_new(o, "created_ns", table_u64(w->header.created_ns));
    return o;
}

static json_t *
check(struct walk *w, struct verify_chain *chain)
{
    struct log_source source = log_fd_source(&w->fd);
    void *buf = malloc(LOG_BATCH_MAX);
    json_t *o;
    int r;

    if (!buf) {
        verify_found(w->v, VERIFY_BLIND, NULL, "out of memory");
        return NULL;
    }
    judge_header(w, chain);
    log_walk_begin(&w->walk, &source, &w->header, buf);
    open_index(w);
    r = walk_batches(w);
    if (r < 0 && r != -EBADMSG)
        found(w, VERIFY_BLIND, strerror(-r));
    else if (w->segment->next)
        judge_middle(w);
    else
        judge_last(w, r);
    close_index(w);
    o = segment_json(w);
    chain->first = chain->next ? chain->first : w->header.first;
    chain->next = is_still_there(w) ? w->walk.chain.next : 0;
    chain->hash = w->walk.chain.hash;
    chain->messages += w->messages;
    chain->aborted += w->aborted;
    chain->bytes += w->walk.offset;
    free(buf);
    return o;
}

json_t *
verify_segment(struct verify *v, const struct verify_segment *s, struct verify_chain *chain)
{
    struct walk *w = calloc(1, sizeof *w);
    json_t *o = NULL;

    if (!w) {
        verify_found(v, VERIFY_BLIND, NULL, "out of memory");
        return NULL;
    }
    w->v = v;
    w->segment = s;
    w->fd = -1;
    TESTPOINT("verify.segment");
    /* With one that is gone so are all before it, and the next one found is the first. */
    if (open_segment(w))
        o = check(w, chain);
    else if (!is_still_there(w))
        chain->next = 0;
    if (w->fd >= 0)
        (void)close(w->fd);
    free(w);
    return o;
}

bool
verify_unbegun(struct verify *v, const char *folder, uint64_t first)
{
    struct log_segment_header h, named = {.topic_id = v->topic_id, .first = first};
    char path[PATH_MAX + LOG_NAME_ROOM + 2], name[LOG_NAME_ROOM];
    struct verify_where where = {.file = path, .seq = first};
    struct log_diagnosis end = {.end = LOG_END_DAMAGE};
    struct log_source source;
    struct stat st;
    void *buf;
    int fd, r;

    log_segment_name(first, name);
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    fd = open(path, LEAT__READ | O_CLOEXEC | O_NOFOLLOW);
    buf = fd < 0 ? NULL : malloc(LOG_BATCH_MAX);
    if (!buf || !v->topic_id || fstat(fd, &st))
        goto out;
    source = log_fd_source(&fd);
    r = log_segment_check(&source, &h);
    named.size = (uint64_t)st.st_size;
    if (r == -EBADMSG || (!r && (h.first != first || h.topic_id != v->topic_id)))
        (void)log_segment_diagnose(&source, &named, buf, &end);
    if (end.end != LOG_END_DAMAGE && !v->alive && !place_locked(fd))
        verify_found(v, VERIFY_CUT, &where,
                     "it holds no segment: it was never begun, and will be removed");
out:
    free(buf);
    if (fd >= 0)
        (void)close(fd);
    return end.end != LOG_END_DAMAGE;
}
