/* Index files: a cache, neither synced nor missed. One that is torn does not pass its hash, one that
 * is stale does not lead to the next segment; both are made anew by a walk. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/store_impl.h"
#include "shm/testpoint.h"

static void
written(struct io_req *req)
{
    struct store *s = store__landed(req);

    io_file_close(s->env.io, s->index.fd);
    s->index.busy = false;
}

void
store__index_write(struct store *s, struct log_index *index, const struct store_seg *seg,
                   uint64_t hash)
{
    struct store_index_file *x = &s->index;
    const struct log_index_info info = {.topic_id = s->topic.topic_id,
                                        .first = seg->first,
                                        .next = seg->next,
                                        .end = seg->end,
                                        .last_hash = hash};
    size_t entries = index->header.entries * sizeof *index->entries;
    char name[LOG_NAME_ROOM];
    struct io_file file;

    log_index_seal(index, &info);
    if (x->busy)
        return;
    log_index_name(seg->first, name);
    if (io_file_open(s->env.io, s->dir, name, IO_OPEN_CREATE | IO_OPEN_TRUNCATE, &file))
        return;
    memcpy(x->buf, &index->header, sizeof index->header);
    memcpy(x->buf + sizeof index->header, index->entries, entries);
    x->fd = file.fd;
    x->busy = true;
    x->req = (struct io_req){.verb = IO_WRITE,
                             .fd = file.fd,
                             .buf = x->buf,
                             .len = (uint32_t)(sizeof index->header + entries)};
    TESTPOINT("index.made");
    store__submit(s, &x->req, written);
}

int
store__index_load(struct store *s, uint64_t first, struct store_index_view *ret)
{
    char name[LOG_NAME_ROOM];
    struct stat st;
    void *memory = NULL;
    ssize_t n;
    int fd, r = -EBADMSG;

    log_index_name(first, name);
    fd = store__open_read(s, name);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > 1 << 20)
        goto out;
    memory = calloc(1, (size_t)st.st_size);
    if (!memory) {
        r = -ENOMEM;
        goto out;
    }
    n = pread(fd, memory, (size_t)st.st_size, 0);
    r = n < 0 ? -errno : log_index_check(memory, (uint64_t)n, s->topic.topic_id, first);
    if (!r) {
        log_index_view(&ret->index, memory);
        ret->memory = memory;
        memory = NULL;
    }
out:
    free(memory);
    close(fd);
    return r;
}

/* Walks to where `until` begins, noting on the way. */
static int
walk_to(struct log_walk *w, const struct store_seg *until, struct log_index *index)
{
    int r;

    while (w->chain.next != until->first || w->chain.hash != until->previous) {
        r = log_walk_next(w);
        if (r != 1)
            return r < 0 ? r : -EBADMSG;
        log_index_note(index, &w->batch, w->batch_offset);
    }
    return 0;
}

static int
walk(struct store *s, const struct store_seg *seg, const struct store_seg *until,
     struct log_index *index, struct log_walk *w)
{
    char name[LOG_NAME_ROOM];
    struct log_segment_header h;
    struct log_source source;
    int fd, r;

    log_segment_name(seg->first, name);
    fd = store__open_read(s, name);
    if (fd < 0)
        return fd;
    source = log_fd_source(&fd);
    r = log_segment_check(&source, &h);
    if (!r && (h.first != seg->first || h.topic_id != s->topic.topic_id))
        r = -EBADMSG;
    if (!r) {
        log_walk_begin(w, &source, &h, w->buf);
        r = walk_to(w, until, index);
    }
    close(fd);
    return r;
}

int
store__index_make(struct store *s, const struct store_seg *seg, const struct store_seg *until,
                  struct store_index_view *ret)
{
    struct log_index index = {.room = STORE_INDEX_ROOM};
    struct store_seg closed = *seg;
    struct log_walk w = {.buf = malloc(LOG_BATCH_MAX)};
    int r = -ENOMEM;

    index.entries = calloc(STORE_INDEX_ROOM, sizeof *index.entries);
    if (w.buf && index.entries)
        r = walk(s, seg, until, &index, &w);
    free(w.buf);
    if (r) {
        free(index.entries);
        return r;
    }
    closed.next = until->first;
    closed.end = w.offset;
    store__index_write(s, &index, &closed, w.chain.hash);
    ret->index = index;
    ret->memory = index.entries;
    return 0;
}
