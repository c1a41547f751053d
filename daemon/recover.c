#include "daemon/recover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/access.h"
#include "daemon/report.h"
#include "log/encode.h"
#include "shm/testpoint.h"

/* A file that is named like a segment. */
enum found_kind {
    FOUND_SOUND = 0,
    FOUND_BAD,     /* no header of ours, or of another number */
    FOUND_DROPPED, /* gone, or never begun: to be tidied away */
};

struct found {
    uint64_t first; /* by its name */
    uint64_t file_size;
    enum found_kind kind;
    struct log_segment_header h;
};

struct recovery {
    struct store *s;
    char *why;
    unsigned char *buf; /* LOG_BATCH_MAX */
    struct found *found;
    uint32_t cnt, room;
    char (*spares)[STORE_NAME_ROOM];
    uint32_t spare_cnt;
    uint64_t *indexes; /* index files, by the segments they are named for */
    uint32_t index_cnt;
    struct log_walk walk; /* of the last segment, at its end */
    struct log_diagnosis end;
};

static int say(struct recovery *rec, int error, const char *format, ...) REPORT_FORMAT(3, 4);

static int
say(struct recovery *rec, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(rec->why, STORE_WHY, format, args);
    va_end(args);
    return error;
}

/* --- names ------------------------------------------------------------------------------- */

static int
by_first(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

static int
note_segment(struct recovery *rec, uint64_t first)
{
    struct found *more;

    if (rec->cnt == rec->room) {
        rec->room = rec->room ? rec->room * 2 : 16;
        more = realloc(rec->found, rec->room * sizeof *more);
        if (!more)
            return -ENOMEM;
        rec->found = more;
    }
    rec->found[rec->cnt++] = (struct found){.first = first};
    return 0;
}

static int
note_spare(struct recovery *rec, const char *name)
{
    void *more = realloc(rec->spares, (rec->spare_cnt + 1) * sizeof *rec->spares);
    uint64_t number = strtoull(name + strlen("spare-"), NULL, 10);

    if (!more)
        return -ENOMEM;
    rec->spares = more;
    memcpy(rec->spares[rec->spare_cnt++], name, strlen(name) + 1);
    if (number < UINT64_MAX / 2)
        rec->s->spare.number = shm_max(rec->s->spare.number, number + 1);
    return 0;
}

static int
note_index(struct recovery *rec, uint64_t first)
{
    uint64_t *more = realloc(rec->indexes, (rec->index_cnt + 1) * sizeof *more);

    if (!more)
        return -ENOMEM;
    rec->indexes = more;
    more[rec->index_cnt++] = first;
    return 0;
}

static bool
is_index(const char *name, uint64_t *ret_first)
{
    char as_segment[LOG_NAME_ROOM];

    if (strlen(name) != 24 || strcmp(name + 20, ".idx") != 0)
        return false;
    (void)snprintf(as_segment, sizeof as_segment, "%.20s.seg", name);
    return !log_segment_parse(as_segment, ret_first);
}

static int
note_name(struct recovery *rec, const char *name)
{
    size_t len = strlen(name);
    uint64_t first;

    if (name[0] == '.' || !strcmp(name, STORE_FILE_TOPIC) || !strcmp(name, STORE_FILE_CURSORS) ||
        !strcmp(name, STORE_FILE_DRAFT))
        return 0;
    if (len == 24 && !log_segment_parse(name, &first))
        return note_segment(rec, first);
    if (is_index(name, &first))
        return note_index(rec, first);
    if (!strncmp(name, "spare-", 6) && len < STORE_NAME_ROOM && len > 10 &&
        !strcmp(name + len - 4, ".seg"))
        return note_spare(rec, name);
    report_note("%s: the file %s is none of ours and is left alone", rec->s->topic.name, name);
    return 0;
}

static int
list(struct recovery *rec)
{
    int fd = openat(rec->s->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *e;

    if (!d) {
        r = -errno;
        if (fd >= 0)
            close(fd);
        return say(rec, r, "listing the directory: %s", report_error_text(r));
    }
    while (!r && (e = readdir(d)))
        r = note_name(rec, e->d_name);
    closedir(d);
    if (rec->cnt)
        qsort(rec->found, rec->cnt, sizeof *rec->found, by_first);
    return r;
}

/* --- headers ----------------------------------------------------------------------------- */

static int
open_found(const struct recovery *rec, const struct found *f)
{
    char name[LOG_NAME_ROOM];

    log_segment_name(f->first, name);
    return store__open_read(rec->s, name);
}

/* Opens a segment, waits until nobody writes to it, and reads its header. What the page cache has of the last one must be on the disk before it is
 * believed; all before it were durable when it was begun. */
static int
look_at(struct recovery *rec, struct found *f, bool last)
{
    struct log_source source;
    struct stat st;
    int fd = open_found(rec, f), r;

    /* What the dead daemon was removing may be gone by now. */
    f->kind = FOUND_DROPPED;
    if (fd == -ENOENT)
        return 0;
    if (fd < 0)
        return say(rec, fd, "segment %" PRIu64 ": %s", f->first, report_error_text(fd));
    source = log_fd_source(&fd);
    r = store__fence(fd, rec->s->wait_until_ns);
    if (!r && last)
        r = store__from_disk(rec->s->env.io, fd);
    if (!r && fstat(fd, &st))
        r = -errno;
    if (!r) {
        f->file_size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
        r = f->file_size ? log_segment_check(&source, &f->h) : -EBADMSG;
    }
    close(fd);
    f->kind = FOUND_BAD;
    if (!r && f->h.first == f->first && f->h.topic_id == rec->s->topic.topic_id)
        f->kind = FOUND_SOUND;
    if (!r || r == -EBADMSG)
        return 0;
    if (r == -EPROTONOSUPPORT)
        return say(rec, r, "segment %" PRIu64 " is of version %u (bits %x), this is version %u",
                   f->first, f->h.version, f->h.incompatible, LOG_VERSION);
    return say(rec, r, "segment %" PRIu64 ": %s", f->first, report_error_text(r));
}

static int
look_at_all(struct recovery *rec)
{
    bool last = true;
    int r = 0;

    for (uint32_t i = rec->cnt; i-- > 0 && !r;) {
        r = look_at(rec, &rec->found[i], last);
        last = last && rec->found[i].kind != FOUND_SOUND;
    }
    return r;
}

/* Does anything in a segment without a header say that it was durable here once? */
static int
find_witness(struct recovery *rec, const struct found *f)
{
    const struct log_segment_header named = {
        .topic_id = rec->s->topic.topic_id, .first = f->first, .size = f->file_size};
    struct log_diagnosis end;
    struct log_source source;
    int fd = open_found(rec, f), r;

    if (fd < 0)
        return fd;
    source = log_fd_source(&fd);
    r = log_segment_diagnose(&source, &named, rec->buf, &end);
    close(fd);
    if (!r && end.end == LOG_END_DAMAGE)
        r = say(rec, -EBADMSG,
                "segment %" PRIu64 " has no header, but what stands at %" PRIu64
                " says that message %" PRIu64 " was durable",
                f->first, end.witness, end.durable);
    return r;
}

/* What has no sound header and no witness was never begun: a spare that got its name, and then the
 * power went. Where it stands last the next segment may want its name. */
static int
judge(struct recovery *rec)
{
    bool last = true;

    for (uint32_t i = rec->cnt; i-- > 0;) {
        struct found *f = &rec->found[i];
        int r;
        last = last && f->kind != FOUND_SOUND;
        if (f->kind != FOUND_BAD)
            continue;
        r = find_witness(rec, f);
        if (r)
            return r;
        report_warning("%s: the file of segment %" PRIu64 " (%" PRIu64
                       " bytes) holds no segment; it is %s",
                       rec->s->topic.name, f->first, f->file_size, last ? "removed" : "left alone");
        if (last)
            f->kind = FOUND_DROPPED;
    }
    return 0;
}

/* --- the list ---------------------------------------------------------------------------- */

static int
adopt(struct recovery *rec)
{
    struct store *s = rec->s;

    for (uint32_t i = 0; i < rec->cnt; i++) {
        const struct found *f = &rec->found[i];
        int r;
        if (f->kind != FOUND_SOUND)
            continue;
        r = store__seg_reserve(s);
        if (r)
            return r;
        *store__seg_push(s) = (struct store_seg){.first = f->first,
                                                 .next = f->first,
                                                 .end = f->file_size,
                                                 .size = f->h.size,
                                                 .created_ns = f->h.created_ns,
                                                 .previous = f->h.previous,
                                                 .handed = true};
    }
    return 0;
}

/* Does a closed segment lead to the next one? Its index says so, or a walk. */
static int
link_one(struct recovery *rec, struct store_seg *seg, const struct store_seg *next)
{
    struct store *s = rec->s;
    struct store_index_view view;
    int r = store__index_load(s, seg->first, &view);

    if (!r && (view.index.header.next != next->first ||
               view.index.header.last_hash != next->previous || view.index.header.end > seg->end)) {
        free(view.memory);
        r = -EBADMSG;
    }
    if (r) {
        r = store__index_make(s, seg, next, &view);
        store__settle(s);
    }
    if (r == -EBADMSG)
        return say(rec, r,
                   "segment %" PRIu64 " does not lead to segment %" PRIu64
                   ": one is broken, or one between is missing",
                   seg->first, next->first);
    if (r)
        return say(rec, r, "segment %" PRIu64 ": %s", seg->first, report_error_text(r));
    seg->next = next->first;
    seg->end = view.index.header.end;
    free(view.memory);
    return 0;
}

static int
link_all(struct recovery *rec)
{
    struct store *s = rec->s;
    int r = 0;

    for (uint32_t i = 0; i + 1 < s->seg_cnt && !r; i++)
        r = link_one(rec, &s->segs[i], &s->segs[i + 1]);
    return r;
}

/* --- the last segment -------------------------------------------------------------------- */

static int
walk_last(struct recovery *rec, const struct found *f, int fd)
{
    struct flush *flush = &rec->s->flush;
    struct log_source source = log_fd_source(&fd);
    struct log_walk *w = &rec->walk;
    int r;

    log_walk_begin(w, &source, &f->h, rec->buf);
    while ((r = log_walk_next(w)) == 1)
        log_index_note(&flush->index, &w->batch, w->batch_offset);
    if (!r || r == -EBADMSG)
        r = log_walk_diagnose(w, &rec->end);
    if (r)
        return say(rec, r, "segment %" PRIu64 ": %s", f->first, report_error_text(r));
    if (rec->end.end == LOG_END_DAMAGE)
        return say(rec, -EBADMSG,
                   "segment %" PRIu64 " is broken at %" PRIu64 ", after message %" PRIu64
                   ", but what stands at %" PRIu64 " says that %" PRIu64 " was durable",
                   f->first, w->offset, w->chain.next - 1, rec->end.witness, rec->end.durable);
    flush->chain = w->chain;
    /* A message whose last piece is missing begins anew. */
    flush->chain.partial = flush->chain.total = 0;
    flush->durable = flush->chain;
    return 0;
}

/* Reads the block back in which the next batch will begin. */
static int
read_tail(struct recovery *rec, int fd)
{
    uint64_t at = rec->walk.offset & ~(uint64_t)(LOG_BLOCK - 1);
    uint32_t len = (uint32_t)(rec->walk.offset - at);
    unsigned char *tail = rec->s->flush.tail;
    ssize_t n;

    memset(tail, 0, LOG_BLOCK);
    n = len ? pread(fd, tail, len, (off_t)at) : 0;
    return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EIO;
}

static int
overwrite(struct recovery *rec, const void *buf, uint32_t len, uint64_t off)
{
    struct io_req req = {.verb = IO_WRITE,
                         .fd = rec->s->flush.file.fd,
                         .flags = IO_DURABLE,
                         .buf = buf,
                         .len = len,
                         .off = off};

    return store__run(rec->s->env.io, &req);
}

/* Writes zeros over what is torn; the block that holds the end keeps what is before it. In a
 * recycled file old batches stand behind it, and one block is enough to take the torn one away. */
static int
cut(struct recovery *rec)
{
    const struct log_walk *w = &rec->walk;
    uint64_t at = w->offset & ~(uint64_t)(LOG_BLOCK - 1);
    uint64_t end = shm_align(w->offset + rec->end.bytes, LOG_BLOCK);
    int r = 0;

    if (rec->end.end != LOG_END_TORN)
        return 0;
    if (w->recycled)
        end = at + LOG_BLOCK;
    report_warning("%s: cut %" PRIu64 " bytes at %" PRIu64 " of segment %" PRIu64
                   " that had not reached the disk; the log ends with message %" PRIu64,
                   rec->s->topic.name, rec->end.bytes, w->offset, store__seg_last(rec->s)->first,
                   w->chain.next - 1);
    if (w->offset != at) {
        r = overwrite(rec, rec->s->flush.tail, LOG_BLOCK, at);
        TESTPOINT("recover.cut_begun");
        at += LOG_BLOCK;
    }
    while (!r && at < end) {
        uint32_t len = (uint32_t)shm_min(STORE_ZEROS, end - at);
        r = overwrite(rec, store__zeros(), len, at);
        at += len;
    }
    TESTPOINT("recover.cut");
    return r;
}

/* A reader has locked the last segment, so it cannot be written under a lock that would tell the next daemon of writes under
 * way. It is not waited for: the log goes on in a fresh file, which nobody has a descriptor of. What is torn stays, and is
 * not read, since the fresh one begins before it. */
static void
leave_last(struct recovery *rec)
{
    struct store *s = rec->s;
    const struct store_seg *seg = store__seg_last(s);
    struct flush *flush = &s->flush;

    report_note("%s: a reader has locked segment %" PRIu64 "; the log goes on in a fresh one",
                s->topic.name, seg->first);
    if (!store__seg_is_empty(seg))
        return;
    /* No message ends in it: the fresh one begins with the same number, takes its name, and follows what it followed. */
    flush->chain.hash = seg->previous;
    flush->durable = flush->chain;
    s->seg_cnt--;
}

/* Opens the last segment for writing. A file that is shorter than its header says was cut short by
 * somebody, and is made whole again if there is room. */
static int
take_last(struct recovery *rec, const struct found *f)
{
    struct store *s = rec->s;
    struct store_seg *seg = store__seg_last(s);
    struct flush *flush = &s->flush;
    char name[LOG_NAME_ROOM];
    int r;

    log_segment_name(f->first, name);
    seg->end = rec->walk.offset;
    seg->next = flush->chain.next;
    r = store__open(s, name, 0, &flush->file);
    if (r == -EAGAIN) {
        leave_last(rec);
        return 0;
    }
    if (r)
        return r;
    if (flush->file.size < f->h.size && !io_allocate(s->env.io, flush->file.fd, f->h.size))
        flush->file.size = f->h.size;
    flush->file.size = shm_min(flush->file.size, f->h.size) & ~(uint64_t)(LOG_BLOCK - 1);
    flush->file.recycled = rec->walk.recycled;
    flush->end = rec->walk.offset;
    flush->full = flush->file.size < flush->end + FLUSH_ROOM_MIN;
    flush->named = true;
    return cut(rec);
}

static const struct found *
find_last(const struct recovery *rec)
{
    for (uint32_t i = rec->cnt; i-- > 0;)
        if (rec->found[i].kind == FOUND_SOUND)
            return &rec->found[i];
    return NULL;
}

/* Judges the last segment. */
static int
read_last(struct recovery *rec, const struct found *f)
{
    int fd = open_found(rec, f), r;

    if (fd < 0)
        return fd;
    r = walk_last(rec, f, fd);
    if (!r)
        r = read_tail(rec, fd);
    close(fd);
    return r;
}

/* --- tidying ----------------------------------------------------------------------------- */

static int
drop(struct recovery *rec, const char *name)
{
    int r = store__remove(rec->s->env.io, rec->s->dir, name, 0);

    return r == -ENOENT ? 0 : r;
}

/* A segment whose name was lost with the power is a spare again, and what stands in it fits the end of the log: as if it had never been lost, it would
 * be believed, under numbers that are given out anew by then, if this daemon died between the name and the first batch, or in the first write. That
 * write's header may be there without its batch, or its batch without the header: either tells, and the batch alone decides what is believed later.
 * What cannot be read is not trusted: a spare is not needed. */
static int
may_follow(const struct recovery *rec, const char *name, bool *ret)
{
    const struct log_chain *end = &rec->s->flush.chain;
    struct log_segment_header h;
    struct log_batch b;
    int fd = store__open_read(rec->s, name), r;
    struct log_source source = log_fd_source(&fd);
    bool whole;

    if (fd < 0)
        return fd;
    r = log_segment_check(&source, &h);
    whole = pread(fd, &b, sizeof b, LOG_BLOCK) == sizeof b &&
            (!r || r == -EBADMSG || r == -EPROTONOSUPPORT);
    close(fd);
    *ret = !whole || (!r && h.first >= end->next) ||
           (b.magic == LOG_BATCH_MAGIC && b.topic_id == end->topic_id && b.first >= end->next);
    return 0;
}

/* The first that is large enough is used; whether all of it was written over does not matter for
 * more than speed. */
static int
take_spare(struct recovery *rec, const char *name)
{
    struct store *s = rec->s;
    struct store_spare *p = &s->spare;
    struct store_file file;
    bool follows = false;
    int r = p->step == SPARE_READY ? 0 : may_follow(rec, name, &follows);

    if (r)
        return r;
    if (p->step == SPARE_READY || follows)
        return drop(rec, name);
    r = store__seg_reserve(s);
    if (!r)
        r = store__open(s, name, 0, &file);
    if (r)
        return r;
    if (file.size < s->size_min || file.size > LOG_SEGMENT_MAX || file.size % LOG_BLOCK ||
        io_allocate(s->env.io, file.fd, file.size)) {
        store__close(s, &file);
        return drop(rec, name);
    }
    p->step = SPARE_READY;
    p->file = file;
    p->file.recycled = true;
    p->last_size = file.size;
    (void)snprintf(p->name, sizeof p->name, "%s", name);
    return 0;
}

static bool
has_segment(const struct recovery *rec, uint64_t first)
{
    for (uint32_t i = 0; i < rec->cnt; i++)
        if (rec->found[i].first == first)
            return rec->found[i].kind != FOUND_DROPPED;
    return false;
}

/* An index is of a closed segment. The last one is open again: what it had when it was closed before, by a death or a failure, is wrong
 * with the next batch. */
static bool
is_index_wanted(const struct recovery *rec, uint64_t first)
{
    const struct found *last = find_last(rec);

    return has_segment(rec, first) && last && last->first != first;
}

static int
tidy(struct recovery *rec)
{
    char name[LOG_NAME_ROOM];
    int r = 0;

    for (uint32_t i = 0; i < rec->cnt && !r; i++) {
        if (rec->found[i].kind != FOUND_DROPPED)
            continue;
        log_segment_name(rec->found[i].first, name);
        r = drop(rec, name);
    }
    for (uint32_t i = 0; i < rec->spare_cnt && !r; i++)
        r = take_spare(rec, rec->spares[i]);
    for (uint32_t i = 0; i < rec->index_cnt && !r; i++) {
        if (is_index_wanted(rec, rec->indexes[i]))
            continue;
        log_index_name(rec->indexes[i], name);
        r = drop(rec, name);
    }
    TESTPOINT("recover.tidied");
    return r ? r : store__sync(rec->s->env.io, rec->s->dir);
}

/* --- all of it --------------------------------------------------------------------------- */

static int
read_topic(int dir, const char *name, char why[STORE_WHY], struct log_topic *ret)
{
    int fd = openat(dir, STORE_FILE_TOPIC, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), r;
    struct log_topic topic = {0};
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = pread(fd, &topic, sizeof topic, 0);
    r = n < 0 ? -errno : log_topic_check(&topic, (size_t)n);
    close(fd);
    if (!r && strcmp(topic.name, name) != 0)
        r = -EBADMSG;
    if (r == -EPROTONOSUPPORT)
        (void)snprintf(why, STORE_WHY, "the topic file is of version %u (bits %x), this is %u",
                       topic.version, topic.incompatible, LOG_VERSION);
    else if (r)
        (void)snprintf(why, STORE_WHY, "the topic file: %s", report_error_text(r));
    else
        *ret = topic;
    return r;
}

static int
recover_store(struct recovery *rec)
{
    struct store *s = rec->s;
    const struct found *f;
    int r;

    r = list(rec);
    if (!r)
        r = look_at_all(rec);
    if (!r)
        r = store__sync(s->env.io, s->dir);
    if (!r)
        r = judge(rec);
    if (!r)
        r = adopt(rec);
    if (!r)
        r = link_all(rec);
    f = find_last(rec);
    if (!r && f)
        r = read_last(rec, f);
    if (!r)
        r = store__floors_load(s, rec->why);
    TESTPOINT("recover.judged");
    if (!r && f)
        r = take_last(rec, f);
    if (!r)
        r = tidy(rec);
    for (uint32_t i = 0; i < s->seg_cnt; i++)
        s->bytes += s->segs[i].end;
    return r;
}

/* Whoever made the directory, or may write in it, can put anything in the place of a log. */
static int
check_owner(int dir, char why[STORE_WHY])
{
    struct stat st;

    if (fstat(dir, &st))
        return -errno;
    if (!access_is_ours(st.st_uid))
        (void)snprintf(why, STORE_WHY, "its directory belongs to user %u", st.st_uid);
    else if (st.st_mode & S_IWOTH)
        (void)snprintf(why, STORE_WHY, "its directory may be written to by anybody");
    else
        return 0;
    /* Without a topic file it does not even want to be one. */
    return faccessat(dir, STORE_FILE_TOPIC, F_OK, AT_SYMLINK_NOFOLLOW) ? -errno : -EPERM;
}

int
recover(const struct store_env *env, const char *name, uint64_t patience_ns, char why[STORE_WHY],
        struct store **ret)
{
    const uint64_t until = patience_ns ? loop_clock() + patience_ns : 0;
    struct recovery rec = {.why = why};
    struct log_topic topic;
    struct io_file dir;
    int r = io_file_open(env->io, env->store_dirfd, name, IO_OPEN_DIRECTORY, &dir);

    if (r)
        goto out;
    r = check_owner(dir.fd, why);
    if (!r)
        r = store__lock_directory(dir.fd, until);
    if (!r)
        r = read_topic(dir.fd, name, why, &topic);
    if (!r)
        r = store__new(env, &topic, &rec.s);
    if (r) {
        io_file_close(env->io, dir.fd);
        goto out;
    }
    rec.s->dir = dir.fd;
    rec.s->wait_until_ns = until;
    rec.buf = malloc(LOG_BATCH_MAX);
    r = rec.buf ? recover_store(&rec) : -ENOMEM;
    rec.s->wait_until_ns = 0;
    free(rec.buf);
    free(rec.found);
    free(rec.spares);
    free(rec.indexes);
    if (r)
        store__free(rec.s);
    else
        *ret = rec.s;
out:
    if (r && !why[0])
        (void)snprintf(why, STORE_WHY, "%s", report_error_text(r));
    return r;
}
