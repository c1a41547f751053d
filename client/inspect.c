/* Looking at a bus from outside: read-only maps, the store's files, no daemon, no cursor.
 * Everything that is read may be anything. */
#include "client/client.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/name.h"
#include "shm/process.h"
#include "shm/segment.h"

int
leat__inspect_fail(struct leat_inspect *i, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(i->error, sizeof i->error, format, args);
    va_end(args);
    return code;
}

const char *
leat_inspect_error(leat_inspect *i)
{
    return i ? i->error : leat_error(NULL);
}

int
leat_inspect_open(const char *path, leat_inspect **ret)
{
    struct leat_inspect *i;
    int r;

    if (!ret)
        return -EINVAL;
    i = calloc(1, sizeof *i);
    if (!i)
        return leat__fail_open(-ENOMEM, "no memory to inspect");
    i->scan.fd = -1;
    r = leat__find_bus(i, path);
    if (r) {
        free(i);
        return r;
    }
    *ret = i;
    return 0;
}

static void
forget(struct leat_inspect *i)
{
    leat__map_close(&i->map);
    leat__scan_close(&i->scan);
    i->name[0] = '\0';
}

leat_inspect *
leat_inspect_close(leat_inspect *i)
{
    if (!i)
        return NULL;
    forget(i);
    free(i);
    return NULL;
}

int
leat_inspect_next(leat_inspect *i, char *name)
{
    if (!i || !name)
        return -EINVAL;
    return leat__find_next(i, name, name);
}

/* --- one topic -------------------------------------------------------------------------------- */

static int
map_object(int fd, uint64_t *ret_size, void **ret_base)
{
    int r = shm_segment_size(fd, ret_size);

    if (!r && !*ret_size)
        r = -EBADMSG;
    return r ? r : shm_segment_map(fd, *ret_size, ret_base);
}

static int
map_topic(struct leat_inspect *i, int data, int control)
{
    struct ring_maps maps = {0};
    struct leat__map *m = &i->map;
    uint32_t version = 0;
    int r = map_object(data, &maps.data_size, &maps.data);

    if (!r && control >= 0)
        r = map_object(control, &maps.control_size, &maps.control);
    if (!r)
        r = ring_join(&m->view, &maps, &version);
    m->view.data = maps.data;
    m->view.control = maps.control;
    m->data_size = maps.data_size;
    m->control_size = maps.control_size;
    if (r)
        leat__map_close(m);
    if (r == -EPROTONOSUPPORT && version == SHM_VERSION)
        return leat__inspect_fail(i, r,
                                  "the shared memory has features this library does not know");
    if (r == -EPROTONOSUPPORT)
        return leat__inspect_fail(i, r, "the shared memory has version %u, this library knows %u",
                                  version, SHM_VERSION);
    return r ? leat__inspect_fail(i, r, "the shared memory: %s", leat_strerror(r)) : 0;
}

/* Maps the topic's memory if it is another than the one at hand: names can come to mean something
 * new at any time. */
static int
refresh(struct leat_inspect *i, const char *name)
{
    struct stat st = {0};
    int data, control, r = leat__find_memory(i, name, &data, &control);

    if (r == -ENOENT) {
        leat__map_close(&i->map);
        return 0;
    }
    if (r)
        return leat__inspect_fail(i, r, "the shared memory of topic '%s': %s", name,
                                  leat_strerror(r));
    if (fstat(data, &st))
        r = -errno;
    if (!r && (!i->map.view.data || st.st_dev != i->device || st.st_ino != i->inode ||
               (uint64_t)st.st_size != i->map.data_size)) {
        leat__map_close(&i->map);
        r = map_topic(i, data, control);
        i->device = st.st_dev;
        i->inode = st.st_ino;
    }
    close(data);
    if (control >= 0)
        close(control);
    return r;
}

static int
read_small(const char *folder, const char *name, void *buf, size_t size)
{
    char path[LEAT__PATH + LIMIT_TOPIC_NAME + 32];
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    fd = open(path, LEAT__READ | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    n = pread(fd, buf, size, 0);
    close(fd);
    return n == (ssize_t)size ? 0 : -EBADMSG;
}

/* Which topic it is that goes by the name now, as far as one may go on in what was opened of its log; 0: none. */
static uint64_t
identity(const struct leat_inspect *i)
{
    const struct ring_view *v = &i->map.view;
    struct log_topic t;

    if (v->data && atom_load_acquire(&ring_daemon(v)->state) == /* acquire: TOPIC_STATE */
                       RING_TOPIC_REMOVED)
        return 0;
    if (v->data)
        return ring_header(v)->topic_id;
    if (!i->scan.folder[0] || read_small(i->scan.folder, "topic", &t, sizeof t) ||
        log_topic_check(&t, sizeof t))
        return 0;
    return t.topic_id;
}

static bool
is_in_store(const struct leat_inspect *i)
{
    char path[sizeof i->scan.folder + sizeof "/topic"];

    (void)snprintf(path, sizeof path, "%s/topic", i->scan.folder);
    return i->scan.folder[0] && !access(path, F_OK);
}

/* Makes `name` the topic at hand: 0, -ENOENT, -EINVAL, or what is wrong with its memory. */
static int
look_at(struct leat_inspect *i, const char *name)
{
    const char *wrong = name ? shm_name_check(name) : "is NULL";
    uint64_t id;
    int r;

    if (wrong)
        return leat__inspect_fail(i, -EINVAL, "topic name '%.200s' %s", name ? name : "", wrong);
    if (strcmp(name, i->name) != 0) {
        forget(i);
        memcpy(i->name, name, strlen(name) + 1);
        if (i->store[0])
            leat__scan_open(&i->scan, i->store, name);
    }
    r = refresh(i, name);
    if (r)
        return r;
    /* Made anew under its name, it has another log, of which nothing has been read. */
    id = identity(i);
    if (id != i->topic_id && i->store[0])
        leat__scan_open(&i->scan, i->store, name);
    i->topic_id = id;
    if (!i->map.view.data && !is_in_store(i))
        return leat__inspect_fail(i, -ENOENT, "there is no topic '%s'", name);
    return 0;
}

/* --- topics ----------------------------------------------------------------------------------- */

/* A topic of which there is only the log. */
static int
describe_store(struct leat_inspect *i, struct leat_topic_info *ret)
{
    struct log_topic t;
    int r = read_small(i->scan.folder, "topic", &t, sizeof t);

    if (!r)
        r = log_topic_check(&t, sizeof t);
    if (r)
        return leat__inspect_fail(i, r, "%s/topic: %s", i->scan.folder, leat_strerror(r));
    memset(ret, 0, sizeof *ret);
    ret->topic_id = t.topic_id;
    ret->depth = t.depth;
    ret->lane_size = t.lane_size;
    ret->payload_max = shm_min(t.lane_size / 2, UINT32_MAX);
    ret->slot_size = t.slot_size;
    ret->inline_max = t.slot_size > RING_SLOT_HEADER ? t.slot_size - RING_SLOT_HEADER : 0;
    ret->max_publishers = t.max_publishers;
    ret->max_subscribers = t.max_cursors - 1; /* one is the log writer's */
    ret->durability = LEAT_DISK;
    ret->timestamps = t.timestamps;
    ret->mode = t.mode;
    ret->uid = t.uid;
    ret->gid = t.gid;
    ret->retention_bytes = t.retention_bytes;
    ret->retention_ns = (int64_t)shm_min(t.retention_ns, INT64_MAX);
    ret->lag_ns = (int64_t)shm_min(t.lag_ns, INT64_MAX);
    ret->retain_until_acked = t.retain_until_acked;
    ret->first = leat__scan_first(&i->scan, &ret->log_bytes);
    ret->tail = 1;
    if (ret->first && !leat__scan_end(&i->scan, &ret->tail))
        ret->durable = ret->tail - 1;
    return 0;
}

int
leat_inspect_topic(leat_inspect *i, const char *name, struct leat_topic_info *ret)
{
    int r;

    if (!i || !ret)
        return -EINVAL;
    r = look_at(i, name);
    if (r)
        return r;
    if (!i->map.view.data)
        return describe_store(i, ret);
    leat__describe(&i->map.view, ret);
    return 0;
}

/* --- publishers ------------------------------------------------------------------------------- */

static bool
is_alive(const struct leat_inspect *i, uint32_t pid, uint64_t start)
{
    uint64_t now = start;
    int r;

    if (i->folder || !pid || pid > INT32_MAX)
        return false;
    /* Where one of the two starts is not known, because /proc hides the process, its pid has to do. */
    r = shm_process_start((pid_t)pid, &now);
    return r == -EACCES || (!r && (!start || now == start));
}

static void
describe_pub(const struct leat_inspect *i, uint32_t index, struct leat_inspect_pub *ret)
{
    const struct ring_view *v = &i->map.view;
    const struct ring_entry *e = ring_entry(v, index);
    const struct ring_line *l = ring_line(v, index);
    uint64_t intent = atom_load_acquire(&l->intent),
             tail = atom_load_acquire(ring_tail(v)); /* acquire: INTENT; acquire: CLAIM */
    uint64_t head = atom_load_relaxed(&l->lane_head), low = atom_load_relaxed(&l->reclaimed);

    *ret = (struct leat_inspect_pub){
        .index = index,
        .pid = e->pid,
        .uid = e->uid,
        .alive = is_alive(i, e->pid, e->start),
        .since_ns = e->since_ns,
        .published = atom_load_relaxed(&l->published),
        .bytes = atom_load_relaxed(&l->bytes),
        .blocked = atom_load_relaxed(&l->blocked),
        .blocked_since_ns = atom_load_relaxed(&l->blocked_ns),
        .lane_used = head > low ? shm_min(head - low, v->geo.lane_size) : 0,
    };
    if (intent) {
        ret->intent_seq = ring_intent_seq(intent, tail);
        ret->intent_count = ring_intent_count(intent);
        ret->intent_since_ns = atom_load_relaxed(&l->intent_ns);
    }
}

int
leat_inspect_pub(leat_inspect *i, const char *topic, uint32_t *index, struct leat_inspect_pub *ret)
{
    const struct ring_view *v;
    int r;

    if (!i || !index || !ret)
        return -EINVAL;
    r = look_at(i, topic);
    if (r)
        return r;
    v = &i->map.view;
    for (uint32_t n = *index; v->data && n < v->geo.max_publishers; n++) {
        if (atom_load_acquire(&ring_entry(v, n)->state) == RING_ENTRY_FREE) /* acquire: ENTRY */
            continue;
        describe_pub(i, n, ret);
        *index = n + 1;
        return 1;
    }
    return 0;
}

/* --- subscribers ------------------------------------------------------------------------------ */

/* What of the ring a cursor has still before it. */
static void
measure_lag(const struct leat_inspect *i, struct leat_inspect_sub *ret)
{
    const struct ring_view *v = &i->map.view;
    uint64_t tail = atom_load_acquire(ring_tail(v)), now = leat__realtime(); /* acquire: CLAIM */
    uint64_t from = shm_max(ret->next, ring_oldest(v));
    struct ring_msg m;

    ret->lag = tail > ret->next ? tail - ret->next : 0;
    for (uint64_t seq = from; seq < tail && seq - from < v->geo.depth; seq++) {
        if (ring_glance(v, seq, &m) != RING_MESSAGE)
            continue;
        ret->lag_bytes += m.len;
        if (!ret->lag_ns && m.time_ns && m.time_ns < now)
            ret->lag_ns = now - m.time_ns;
    }
}

static void
describe_sub(const struct leat_inspect *i, uint32_t index, uint64_t word,
             struct leat_inspect_sub *ret)
{
    const struct ring_cursor *c = ring_cursor(&i->map.view, index);
    uint32_t kind = ring_cursor_kind_of(word);

    *ret = (struct leat_inspect_sub){
        .index = index,
        .pid = c->pid,
        .uid = c->uid,
        .kind = kind == RING_KIND_LOG ? LEAT_GATING : kind,
        .evicted = ring_cursor_state_of(word) == RING_CURSOR_EVICTED,
        .log_writer = kind == RING_KIND_LOG,
        .since_ns = c->since_ns,
        .next = atom_load_acquire(&c->pos),    /* acquire: CURSOR */
        .acked = atom_load_acquire(&c->acked), /* acquire: ACK */
        .saved = atom_load_relaxed(&c->saved),
        .received = atom_load_relaxed(&c->received),
        .lost = atom_load_relaxed(&c->lost),
        .stale = atom_load_relaxed(&c->stale),
        .waits = atom_load_relaxed(&c->waits),
    };
    memcpy(ret->name, c->name, sizeof ret->name);
    ret->name[sizeof ret->name - 1] = '\0';
    measure_lag(i, ret);
}

/* Whether a named subscription has a cursor now, and so has been shown. */
static bool
is_attached(const struct leat_inspect *i, const char *name)
{
    const struct ring_view *v = &i->map.view;

    for (uint32_t n = 0; v->control && n < v->geo.max_cursors; n++) {
        uint64_t word = atom_load_acquire(ring_cursor_word(v, n)); /* acquire: CURSOR_STATE */
        if (ring_cursor_state_of(word) != RING_CURSOR_FREE &&
            !strncmp(ring_cursor(v, n)->name, name, 63))
            return true;
    }
    return false;
}

/* One record of the cursors file, the newer of its two copies: 1, 0 there is none that counts, or
 * -ENODATA at the file's end. */
static int
read_record(const struct leat_inspect *i, int fd, uint32_t n, struct log_cursor *ret)
{
    struct log_cursor copy[2];
    bool good[2];

    for (uint32_t c = 0; c < 2; c++) {
        off_t at = (off_t)LOG_BLOCK * (1 + 2 * (off_t)n + c);
        ssize_t got = pread(fd, &copy[c], sizeof copy[c], at);
        if (!c && got <= 0)
            return -ENODATA;
        good[c] = got == (ssize_t)sizeof copy[c] && !log_cursor_check(&copy[c], copy[c].topic_id);
    }
    if (!good[0] && !good[1])
        return 0;
    *ret = good[1] && (!good[0] || copy[1].generation > copy[0].generation) ? copy[1] : copy[0];
    return !(ret->flags & LOG_CURSOR_REMOVED) && ret->name[0] && !is_attached(i, ret->name);
}

/* Named subscriptions that nobody has open stand in the store. Their indices follow those of the
 * cursors. */
static int
next_kept(struct leat_inspect *i, uint32_t *index, struct leat_inspect_sub *ret)
{
    char path[sizeof i->scan.folder + sizeof "/cursors"];
    uint32_t base = i->map.view.data ? i->map.view.geo.max_cursors : 0;
    struct log_cursor record;
    int fd, r = 0;

    if (!i->scan.folder[0])
        return 0;
    (void)snprintf(path, sizeof path, "%s/cursors", i->scan.folder);
    fd = open(path, LEAT__READ | O_CLOEXEC);
    if (fd < 0)
        return 0;
    for (uint32_t n = (uint32_t)shm_max(*index, base) - base; n < LIMIT_CURSORS * 16; n++) {
        r = read_record(i, fd, n, &record);
        if (r < 0)
            break;
        if (r != 1)
            continue;
        *ret = (struct leat_inspect_sub){.index = base + n,
                                         .kind = LEAT_DURABLE,
                                         .next = record.floor,
                                         .acked = record.floor,
                                         .saved = record.floor};
        memcpy(ret->name, record.name, sizeof ret->name);
        ret->name[sizeof ret->name - 1] = '\0';
        if (i->map.view.data)
            measure_lag(i, ret);
        *index = base + n + 1;
        break;
    }
    close(fd);
    return r == 1;
}

int
leat_inspect_sub(leat_inspect *i, const char *topic, uint32_t *index, struct leat_inspect_sub *ret)
{
    const struct ring_view *v;
    int r;

    if (!i || !index || !ret)
        return -EINVAL;
    r = look_at(i, topic);
    if (r)
        return r;
    v = &i->map.view;
    for (uint32_t n = *index; v->data && v->control && n < v->geo.max_cursors; n++) {
        uint64_t word = atom_load_acquire(ring_cursor_word(v, n)); /* acquire: CURSOR_STATE */
        if (ring_cursor_state_of(word) == RING_CURSOR_FREE)
            continue;
        describe_sub(i, n, word, ret);
        *index = n + 1;
        return 1;
    }
    return next_kept(i, index, ret);
}

/* --- messages --------------------------------------------------------------------------------- */

#define OVERWRITTEN 2 /* not in the ring any more */

static int
read_ring(const struct leat_inspect *i, const struct leat__want *want, struct leat_inspect_msg *ret)
{
    const struct ring_view *v = &i->map.view;
    uint64_t stamp = atom_load_acquire(&ring_slot(v, want->seq)->stamp); /* acquire: COMMIT */
    struct ring_msg m;
    int r;

    if (ring_stamp_diff(stamp, want->seq) == RING_ABORTED) {
        ret->seq = want->seq + 1;
        return 0;
    }
    r = ring_peek(v, want->seq, &m);
    if (r == RING_NONE) {
        ret->seq = want->seq;
        return 0;
    }
    if (r != RING_MESSAGE)
        return r < 0 ? r : OVERWRITTEN;
    if (m.len > want->room)
        return -ENOBUFS;
    if (ring_copy(v, &m, want->buf))
        return OVERWRITTEN;
    *ret = (struct leat_inspect_msg){.seq = m.seq,
                                     .key = m.key,
                                     .time_ns = m.time_ns,
                                     .len = m.len,
                                     .type = m.type,
                                     .publisher = m.publisher};
    return 1;
}

/* What reading the log came to, with a text when it failed. */
static int
said(struct leat_inspect *i, int r, uint64_t seq)
{
    return r < 0 ? leat__inspect_fail(i, r, "message %llu of topic '%s' in the log: %s",
                                      (unsigned long long)seq, i->name, leat_strerror(r))
                 : r;
}

/* Who reads a log from end to end finds most messages where the last one was: nothing need be looked up again, but whether it
 * still is that topic. Memory says so for nothing; without it, who goes on in a batch is given the rest of what he began. */
static bool
is_at_hand(const struct leat_inspect *i, const char *topic, uint64_t seq)
{
    if (!topic || strcmp(topic, i->name) != 0 || !i->topic_id || !leat__scan_holds(&i->scan, seq))
        return false;
    return (!i->map.view.data && seq == i->scan.at_seq) || identity(i) == i->topic_id;
}

int
leat_inspect_read(leat_inspect *i, const char *topic, void *buf, size_t room,
                  struct leat_inspect_msg *msg)
{
    struct leat__want want = {.buf = buf, .room = room};
    uint64_t seq;
    int r;

    if (!i || !msg || (!buf && room))
        return -EINVAL;
    seq = shm_max(msg->seq, 1);
    want.seq = seq;
    if (is_at_hand(i, topic, seq))
        return said(i, leat__scan_read(&i->scan, &want, msg), seq);
    r = look_at(i, topic);
    if (r)
        return r;
    r = i->map.view.data ? read_ring(i, &want, msg) : OVERWRITTEN;
    if (r != OVERWRITTEN)
        return r < 0 ? leat__inspect_fail(i, r, "message %llu of topic '%s': %s",
                                          (unsigned long long)seq, topic, leat_strerror(r))
                     : r;
    r = leat__scan_read(&i->scan, &want, msg);
    if (r == -ENOENT || (!r && msg->seq == want.seq)) {
        /* No log, or it ends before: what the ring has comes next. */
        msg->seq = i->map.view.data ? shm_max(want.seq, ring_oldest(&i->map.view)) : want.seq;
        return 0;
    }
    return said(i, r, seq);
}
