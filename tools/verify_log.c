/* The files of one topic: topic, cursors, and the order of the segments. */
#include "tools/verify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/client.h"
#include "log/scan.h"
#include "tools/table.h"

#define CURSORS_MOST (LOG_BLOCK * (1ull + 2ull * LIMIT_CURSORS))
/* A running daemon may be writing just what is read: it is read again. */
#define LOOKS 5

int
verify_read(const char *path, uint64_t most, void **ret, uint64_t *ret_size)
{
    int fd = open(path, LEAT__READ | O_CLOEXEC), r = 0;
    struct stat st;
    uint64_t have = 0;
    unsigned char *data;
    ssize_t n = 1;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st))
        r = -errno;
    else if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > most)
        r = -EBADMSG;
    data = r ? NULL : calloc(1, (size_t)st.st_size + 8);
    if (!r && !data)
        r = -ENOMEM;
    while (!r && n && have < (uint64_t)st.st_size) {
        n = pread(fd, data + have, (size_t)st.st_size - have, (off_t)have);
        if (n < 0)
            r = -errno;
        else
            have += (uint64_t)n;
    }
    (void)close(fd);
    if (r) {
        free(data);
        return r;
    }
    *ret = data;
    *ret_size = have;
    return 0;
}

/* --- topic ------------------------------------------------------------------------------------ */

static void
check_topic(struct verify *v, const char *folder)
{
    char path[PATH_MAX + 16];
    struct verify_where where = {.file = path};
    struct log_topic t;
    uint64_t size;
    void *file;
    int r;

    (void)snprintf(path, sizeof path, "%s/topic", folder);
    r = verify_read(path, 1u << 16, &file, &size);
    if (r) {
        verify_found(v, r == -ENOENT ? VERIFY_DAMAGED : VERIFY_BLIND, &where, "%s", strerror(-r));
        return;
    }
    memset(&t, 0, sizeof t);
    memcpy(&t, file, size < sizeof t ? size : sizeof t);
    free(file);
    r = log_topic_check(&t, size);
    if (r == -EPROTONOSUPPORT)
        verify_found(v, VERIFY_BLIND, &where, "it has version %u, this program knows %u", t.version,
                     LOG_VERSION);
    else if (r)
        verify_found(v, VERIFY_DAMAGED, &where, "it is not what the topic was made with");
    else if (strncmp(t.name, v->topic, sizeof t.name) != 0)
        verify_found(v, VERIFY_DAMAGED, &where, "it belongs to topic '%.200s'", t.name);
    else if (v->has_ring && v->topic_id != t.topic_id)
        verify_found(v, VERIFY_DAMAGED, &where,
                     "log and shared memory are of different topics of the same name");
    else
        v->topic_id = t.topic_id;
}

/* --- cursors ---------------------------------------------------------------------------------- */

/* A record: which copy counts, and what is wrong with it. A copy that is torn is no loss as long as the other one counts, or
 * was never written: then the first write of a new name was cut off, and nobody was told that it stood. */
struct pick {
    int which; /* -1: none counts */
    enum verify_verdict verdict;
    const char *wrong;
};

static struct pick
pick(const struct log_cursor copies[2], uint64_t topic_id)
{
    int a = log_cursor_check(&copies[0], topic_id), b = log_cursor_check(&copies[1], topic_id);
    int which = log_cursor_pick(copies, topic_id);

    if (which >= 0 && a != -EBADMSG && b != -EBADMSG)
        return (struct pick){which, VERIFY_CLEAN, NULL};
    if (which >= 0)
        return (struct pick){which, VERIFY_CUT,
                             "one copy of a subscription's floor is torn; the other one counts"};
    if (which == -ENODATA)
        return (struct pick){-1, VERIFY_CLEAN, NULL};
    if (a == -ENODATA || b == -ENODATA)
        return (struct pick){-1, VERIFY_CUT, "the first floor of a new subscription is torn"};
    return (struct pick){-1, VERIFY_DAMAGED, "neither copy of a subscription's floor is sound"};
}

static void
check_cursor(struct verify *v, const struct verify_where *where, const struct log_cursor copies[2],
             json_t *all)
{
    struct pick p = pick(copies, v->topic_id);
    const struct log_cursor *c;

    if (p.wrong)
        verify_found(v, p.verdict, where, "%s", p.wrong);
    if (p.which < 0)
        return;
    c = &copies[p.which];
    if (c->flags & LOG_CURSOR_REMOVED)
        return;
    (void)json_array_append_new(all, json_pack("{s:s#, s:o}", "name", c->name,
                                               (int)strnlen(c->name, sizeof c->name), "floor",
                                               table_u64(c->floor)));
}

/* Whether a file has a torn copy, which with a running daemon may only mean that it is being written. */
static bool
is_settled(const struct verify *v, const unsigned char *file, uint64_t size)
{
    struct log_cursor copies[2];

    for (uint64_t at = LOG_BLOCK; at + LOG_BLOCK + sizeof *copies <= size; at += 2ull * LOG_BLOCK) {
        memcpy(&copies[0], file + at, sizeof *copies);
        memcpy(&copies[1], file + at + LOG_BLOCK, sizeof *copies);
        if (pick(copies, v->topic_id).wrong)
            return false;
    }
    return true;
}

static void
check_cursor_file(struct verify *v, const char *path, const unsigned char *file, uint64_t size,
                  json_t *all)
{
    struct verify_where where = {.file = path};
    struct log_cursors_header h = {0};
    struct log_cursor copies[2];
    int r;

    memcpy(&h, file, size < sizeof h ? size : sizeof h);
    r = log_cursors_header_check(&h, v->topic_id);
    if (r == -EPROTONOSUPPORT) {
        verify_found(v, VERIFY_BLIND, &where, "it has version %u, this program knows %u", h.version,
                     LOG_VERSION);
        return;
    }
    if (r) {
        verify_found(v, VERIFY_DAMAGED, &where, "its header is not that of this topic's floors");
        return;
    }
    for (uint64_t at = LOG_BLOCK; at < size; at += 2ull * LOG_BLOCK) {
        memset(copies, 0, sizeof copies);
        for (uint64_t c = 0; c < 2; c++)
            if (shm_within(at + c * LOG_BLOCK, sizeof *copies, size))
                memcpy(&copies[c], file + at + c * LOG_BLOCK, sizeof *copies);
        where.offset = at;
        check_cursor(v, &where, copies, all);
    }
}

json_t *
verify_cursors(struct verify *v, const char *folder)
{
    json_t *all = json_array();
    char path[PATH_MAX + 16];
    struct verify_where where = {.file = path};
    void *file = NULL;
    uint64_t size = 0;
    int r = 0;

    (void)snprintf(path, sizeof path, "%s/cursors", folder);
    for (int i = 0; i < (v->alive ? LOOKS : 1); i++) {
        free(file);
        file = NULL;
        r = verify_read(path, CURSORS_MOST, &file, &size);
        if (r || is_settled(v, file, size))
            break;
    }
    if (r && r != -ENOENT)
        verify_found(v, r == -EBADMSG ? VERIFY_DAMAGED : VERIFY_BLIND, &where, "%s", strerror(-r));
    if (!r && size)
        check_cursor_file(v, path, file, size, all);
    free(file);
    return all;
}

/* --- segments --------------------------------------------------------------------------------- */

struct firsts {
    uint64_t *all;
    size_t n, room;
};

static int
by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static int
list_segments(const char *folder, struct firsts *f)
{
    DIR *d = opendir(folder);
    struct dirent *e;
    uint64_t first, *all;

    if (!d)
        return -errno;
    while ((e = readdir(d))) {
        if (log_segment_parse(e->d_name, &first))
            continue;
        if (f->n == f->room) {
            f->room = f->room ? 2 * f->room : 64;
            all = realloc(f->all, f->room * sizeof *all);
            if (!all)
                break;
            f->all = all;
        }
        f->all[f->n++] = first;
    }
    (void)closedir(d);
    if (e)
        return -ENOMEM;
    if (f->n)
        qsort(f->all, f->n, sizeof *f->all, by_number);
    return 0;
}

/* What a segment says of the last batch before it; 0: it cannot be asked. */
static uint64_t
previous_hash(const char *folder, uint64_t first)
{
    char path[PATH_MAX + LOG_NAME_ROOM + 2], name[LOG_NAME_ROOM];
    struct log_segment_header h;
    struct log_source source;
    int fd;
    uint64_t hash = 0;

    log_segment_name(first, name);
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    fd = open(path, LEAT__READ | O_CLOEXEC);
    if (fd < 0)
        return 0;
    source = log_fd_source(&fd);
    if (!log_segment_check(&source, &h))
        hash = h.previous;
    (void)close(fd);
    return hash;
}

static void
check_floors(struct verify *v, const json_t *cursors, const struct verify_chain *chain)
{
    const json_t *c;
    size_t i;

    json_array_foreach(
        cursors, i, c) if (chain->next &&
                           (uint64_t)json_integer_value(json_object_get(c, "floor")) > chain->next)
        verify_found(v, VERIFY_DAMAGED, NULL,
                     "subscription '%s' has acknowledged up to %" JSON_INTEGER_FORMAT
                     ", but the log ends before %" PRIu64,
                     json_string_value(json_object_get(c, "name")),
                     json_integer_value(json_object_get(c, "floor")) - 1, chain->next);
}

/* A topic has no segment before its first message; floors tell when there once was one. */
static void
check_segments(struct verify *v, const char *folder, struct firsts *f, json_t *log)
{
    struct verify_chain chain = {0};
    json_t *segments = json_array();

    while (f->n && verify_unbegun(v, folder, f->all[f->n - 1]))
        f->n--;
    chain.next = f->n ? 0 : 1;
    for (size_t i = 0; i < f->n; i++) {
        struct verify_segment s = {.folder = folder, .first = f->all[i]};
        json_t *o;
        if (i + 1 < f->n) {
            s.next = f->all[i + 1];
            s.next_hash = previous_hash(folder, s.next);
        }
        o = verify_segment(v, &s, &chain);
        if (o)
            (void)json_array_append_new(segments, o);
    }
    (void)json_object_set_new(log, "segments", segments);
    (void)json_object_set_new(log, "first", table_u64(chain.first));
    (void)json_object_set_new(log, "next", table_u64(chain.next));
    (void)json_object_set_new(log, "messages", table_u64(chain.messages));
    (void)json_object_set_new(log, "aborted", table_u64(chain.aborted));
    (void)json_object_set_new(log, "bytes", table_u64(chain.bytes));
    check_floors(v, json_object_get(log, "subscriptions"), &chain);
}

int
verify_log(struct verify *v)
{
    struct verify_where where = {.file = v->topic};
    struct firsts f = {0};
    char folder[PATH_MAX];
    json_t *log;
    int r = place_log(v->place, v->topic, folder);

    if (r)
        return -ENOENT;
    where.file = folder;
    check_topic(v, folder);
    log = json_pack("{s:s}", "folder", folder);
    (void)json_object_set_new(log, "subscriptions", verify_cursors(v, folder));
    r = list_segments(folder, &f);
    if (r)
        verify_found(v, VERIFY_BLIND, &where, "%s", strerror(-r));
    else
        check_segments(v, folder, &f, log);
    (void)json_object_set_new(v->report, "log", log);
    free(f.all);
    return 0;
}
