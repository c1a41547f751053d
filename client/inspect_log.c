/* Reading segments in the store by name: for whoever has no daemon to ask. */
#include "client/client.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log/index.h"

#define INDEX_MAX (4u << 20) /* of a file that is only a help */

void
leat__scan_open(struct leat__scan *s, const char *store, const char *topic)
{
    leat__scan_close(s);
    (void)snprintf(s->folder, sizeof s->folder, "%s/%s", store, topic);
}

static void
close_segment(struct leat__scan *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->loaded = false;
}

void
leat__scan_close(struct leat__scan *s)
{
    close_segment(s);
    free(s->buf);
    s->buf = NULL;
    s->folder[0] = '\0';
}

/* --- names ------------------------------------------------------------------------------------ */

/* Which segments there are around a number. */
struct found {
    uint64_t least, most; /* firsts of all */
    uint64_t at;          /* the greatest first that is not above the number; 0: none */
    uint64_t above;       /* the least that is; 0: none */
    uint64_t bytes;
};

static uint64_t
size_of(const struct leat__scan *s, const char *name)
{
    char path[sizeof s->folder + LOG_NAME_ROOM];
    struct stat st;

    (void)snprintf(path, sizeof path, "%s/%.31s", s->folder, name);
    return stat(path, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

static int
find(const struct leat__scan *s, uint64_t seq, struct found *ret)
{
    DIR *d = s->folder[0] ? opendir(s->folder) : NULL;
    const struct dirent *e;
    uint64_t first;

    memset(ret, 0, sizeof *ret);
    if (!d)
        return s->folder[0] ? -errno : -ENOENT;
    while ((e = readdir(d))) {
        if (log_segment_parse(e->d_name, &first))
            continue;
        ret->bytes += size_of(s, e->d_name);
        ret->least = ret->least ? shm_min(ret->least, first) : first;
        ret->most = shm_max(ret->most, first);
        if (first <= seq)
            ret->at = shm_max(ret->at, first);
        else
            ret->above = ret->above ? shm_min(ret->above, first) : first;
    }
    closedir(d);
    return 0;
}

uint64_t
leat__scan_first(const struct leat__scan *s, uint64_t *ret_bytes)
{
    struct found f;

    *ret_bytes = 0;
    if (find(s, 0, &f))
        return 0;
    *ret_bytes = f.bytes;
    return f.least;
}

/* --- segments --------------------------------------------------------------------------------- */

/* Moves the walk forward by the segment's index, if it has one that is sound. */
static void
use_index(struct leat__scan *s, uint64_t seq)
{
    char name[LOG_NAME_ROOM], path[sizeof s->folder + LOG_NAME_ROOM];
    const struct log_index_entry *entry;
    struct log_index index;
    struct stat st;
    void *file;
    int fd;

    log_index_name(s->first, name);
    (void)snprintf(path, sizeof path, "%s/%s", s->folder, name);
    fd = open(path, LEAT__READ | O_CLOEXEC);
    if (fd < 0)
        return;
    file = !fstat(fd, &st) && st.st_size > 0 && st.st_size <= INDEX_MAX ? malloc((size_t)st.st_size)
                                                                        : NULL;
    if (file && pread(fd, file, (size_t)st.st_size, 0) == st.st_size &&
        !log_index_check(file, (uint64_t)st.st_size, s->walk.chain.topic_id, s->first)) {
        log_index_view(&index, file);
        entry = log_index_seq(&index, seq);
        if (entry)
            log_walk_at(&s->walk, entry);
    }
    free(file);
    close(fd);
}

static int
open_segment(struct leat__scan *s, uint64_t first)
{
    char name[LOG_NAME_ROOM], path[sizeof s->folder + LOG_NAME_ROOM];
    struct log_segment_header h;
    struct log_source source;
    int r;

    close_segment(s);
    if (!s->buf)
        s->buf = malloc(LOG_BATCH_MAX);
    if (!s->buf)
        return -ENOMEM;
    log_segment_name(first, name);
    (void)snprintf(path, sizeof path, "%s/%s", s->folder, name);
    s->fd = open(path, LEAT__READ | O_CLOEXEC);
    if (s->fd < 0)
        return -errno;
    source = log_fd_source(&s->fd);
    r = log_segment_check(&source, &h);
    if (!r && h.first != first)
        r = -EBADMSG;
    if (r) {
        close_segment(s);
        return r;
    }
    s->first = first;
    log_walk_begin(&s->walk, &source, &h, s->buf);
    return 0;
}

int
leat__scan_end(struct leat__scan *s, uint64_t *ret_next)
{
    struct found f;
    int r = find(s, UINT64_MAX, &f);

    if (!r && !f.most)
        r = -ENOENT;
    if (!r)
        r = open_segment(s, f.most);
    if (r)
        return r;
    use_index(s, UINT64_MAX);
    while (log_walk_next(&s->walk) == 1)
        ;
    *ret_next = s->walk.chain.next;
    close_segment(s);
    return 0;
}

/* --- messages --------------------------------------------------------------------------------- */

/* The pieces of one message that have been copied. */
struct taken {
    struct leat_inspect_msg msg;
    uint32_t len;
    bool begun;
};

/* Copies what the loaded batch has of the message: 1 it is whole, 0, or an error. */
static int
take(struct leat__scan *s, const struct leat__want *want, struct taken *t)
{
    struct log_cursor_in_batch c = s->at;
    const unsigned char *payload;
    struct log_record rec;

    if (!s->at_seq || want->seq < s->at_seq)
        log_records_begin(&c, s->buf);
    while (log_records_next(&c, &rec, &payload) == 1) {
        if (rec.seq != want->seq)
            continue;
        if (!rec.offset) {
            if (rec.total > want->room)
                return -ENOBUFS;
            *t = (struct taken){.msg = {.seq = rec.seq,
                                        .key = rec.key,
                                        .time_ns = rec.time_ns,
                                        .len = rec.total,
                                        .type = rec.type,
                                        .publisher = rec.publisher},
                                .begun = true};
        }
        if (!t->begun || rec.offset != t->len || rec.total != t->msg.len ||
            rec.len > rec.total - rec.offset)
            return -EBADMSG;
        if (rec.len)
            memcpy((char *)want->buf + rec.offset, payload, rec.len);
        t->len += rec.len;
        if (t->len == rec.total) {
            s->at = c;
            s->at_seq = rec.seq + 1;
            return 1;
        }
    }
    return 0;
}

bool
leat__scan_holds(const struct leat__scan *s, uint64_t seq)
{
    const struct log_batch *b = &s->walk.batch;

    return s->loaded && seq >= b->first + (b->partial != 0) && seq < b->first + b->count;
}

/* Whether the open segment still has its name. Another one may have it, which begins with the same number and goes on where
 * this one failed; that it may have other names besides, as a hard link in a snapshot, says nothing. */
static bool
is_named(const struct leat__scan *s)
{
    char name[LOG_NAME_ROOM], path[sizeof s->folder + LOG_NAME_ROOM];
    struct stat open, named;

    log_segment_name(s->first, name);
    (void)snprintf(path, sizeof path, "%s/%s", s->folder, name);
    return !fstat(s->fd, &open) && !stat(path, &named) && open.st_dev == named.st_dev &&
           open.st_ino == named.st_ino;
}

/* Whether the walk can go on to the message from where it is, so that reading one after the other
 * does not begin anew each time. */
static bool
is_before(const struct leat__scan *s, uint64_t first, uint64_t seq)
{
    if (s->fd < 0 || s->first != first || !is_named(s))
        return false;
    return s->loaded ? seq >= s->walk.batch.first + (s->walk.batch.partial != 0)
                     : seq >= s->walk.chain.next && !s->walk.chain.partial;
}

/* Walks on until the message has been seen whole, or is behind: 1, 0 (it is not there), or an
 * error. */
static int
walk_to(struct leat__scan *s, const struct leat__want *want, struct taken *t)
{
    for (;;) {
        int r;
        if (!s->loaded) {
            r = log_walk_next(&s->walk);
            if (r != 1)
                return r;
            s->loaded = true;
            s->at_seq = 0;
        }
        r = take(s, want, t);
        if (r || want->seq < s->walk.batch.first + s->walk.batch.count)
            return r;
        s->loaded = false;
    }
}

/* Makes the walk one that comes by the message, if a segment says that it has it. */
static int
walk_from(struct leat__scan *s, uint64_t seq, const struct found *f)
{
    int r;

    if (!f->at || is_before(s, f->at, seq))
        return 0;
    r = open_segment(s, f->at);
    if (!r)
        use_index(s, seq);
    return r;
}

int
leat__scan_read(struct leat__scan *s, const struct leat__want *want, struct leat_inspect_msg *ret)
{
    struct found f = {.at = 1};
    struct taken t = {.len = 0};
    int r = 0;

    if (!leat__scan_holds(s, want->seq)) {
        r = find(s, want->seq, &f);
        if (!r)
            r = walk_from(s, want->seq, &f);
    }
    if (!r && f.at)
        r = walk_to(s, want, &t);
    if (r == 1)
        *ret = t.msg;
    else if (!r && f.at && s->loaded)
        ret->seq = want->seq + 1; /* aborted: the batch has the numbers on both sides of it */
    else if (!r)
        ret->seq = f.above ? f.above : want->seq;
    return r;
}
