#include "daemon/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/flush.h"
#include "daemon/recover.h"
#include "daemon/state.h"
#include "log/encode.h"
#include "shm/testpoint.h"

/* --- a turn ------------------------------------------------------------------------------ */

/* The spare that became ready lets the writer roll, which lets retention look, and so on: a few
 * rounds at most. */
#define ROUNDS_MAX 8

void
store__work(struct store *s)
{
    unsigned n = 0;

    do {
        s->again = false;
        s->verdict = flush_work(s);
        store__spare_look(s);
        store__retire_look(s);
        store__floors_look(s);
    } while (s->again && ++n < ROUNDS_MAX);
    if (s->again)
        loop_defer(s->env.loop, &s->task);
}

/* Nothing more can be saved: all is, or the log is in trouble that lasts. */
static bool
is_drained(const struct store *s)
{
    bool stuck = s->verdict == FLUSH_STOPPED || s->verdict == FLUSH_HOLD ||
                 (s->verdict == FLUSH_SPARE && s->spare.error);

    if (!stuck && (s->verdict != FLUSH_NOTHING || s->flush.count))
        return false;
    return store__floors_saved(s);
}

/* Tells the topic, which may close the store in the last of these calls only. */
static void
tell(struct store *s)
{
    void (*drained)(void *user) = s->drained && is_drained(s) ? s->drained : NULL;
    bool saved = s->floors.told, broke = s->damage[0] && !s->damage_told;

    s->floors.told = false;
    s->damage_told |= broke;
    if (drained)
        s->drained = NULL;
    if (saved && s->events.saved)
        s->events.saved(s->events.user);
    if (drained)
        drained(s->drained_user);
    else if (broke && s->events.damaged)
        s->events.damaged(s->events.user, s->damage);
}

static void
run(struct loop_task *task)
{
    struct store *s = task->user;

    store__work(s);
    tell(s);
}

static void
fire(struct loop_timer *timer)
{
    struct store *s = timer->user;

    loop_defer(s->env.loop, &s->task);
}

void
store_look(struct store *s)
{
    store__work(s);
    if (s->floors.told || s->drained)
        loop_defer(s->env.loop, &s->task);
}

bool
store_is_idle(const struct store *s)
{
    return s->verdict == FLUSH_NOTHING && !s->busy && !s->flush.count;
}

void
store_drain(struct store *s, void (*done)(void *user), void *user)
{
    s->drained = done;
    s->drained_user = user;
    store__work(s);
    loop_defer(s->env.loop, &s->task);
}

/* --- what everybody may see -------------------------------------------------------------- */

void
store__say_state(struct store *s, enum ring_topic_state state, const char *reason)
{
    if (s->view)
        state_set(s->view, state, reason);
}

void
store__say_log(struct store *s)
{
    struct ring_daemon *d;

    if (!s->view)
        return;
    d = ring_daemon(s->view);
    atom_store_relaxed(&d->log_first, store_first(s));
    atom_store_relaxed(&d->log_bytes, s->bytes);
}

const struct log_topic *
store_topic(const struct store *s)
{
    return &s->topic;
}

uint64_t
store_next(const struct store *s)
{
    return s->flush.durable.next;
}

/* A segment of which nothing is durable yet does not count; only the last can be one. */
static uint32_t
readable(const struct store *s)
{
    return s->seg_cnt && s->segs[s->seg_cnt - 1].end == LOG_BLOCK ? s->seg_cnt - 1 : s->seg_cnt;
}

uint64_t
store_first(const struct store *s)
{
    return readable(s) ? s->segs[0].first : s->flush.durable.next;
}

/* --- segments for readers ---------------------------------------------------------------- */

static bool
is_open(const struct store *s, uint32_t i)
{
    return s->flush.file.fd >= 0 && i + 1 == s->seg_cnt;
}

/* The index of segment i, from memory, file or a walk; entries 0 when there is none. */
static void
get_index(struct store *s, uint32_t i, struct store_index_view *ret)
{
    *ret = (struct store_index_view){0};
    if (is_open(s, i))
        ret->index = s->flush.index;
    else if (store__index_load(s, s->segs[i].first, ret) && i + 1 < s->seg_cnt)
        (void)store__index_make(s, &s->segs[i], &s->segs[i + 1], ret);
}

int
store_open_segment(struct store *s, uint64_t seq, struct store_segment *ret)
{
    uint32_t cnt = readable(s), i = cnt;
    const struct log_index_entry *entry;
    struct store_index_view view;
    struct store_seg *seg;
    char name[LOG_NAME_ROOM];
    int fd;

    if (!cnt)
        return -ENOENT;
    while (--i > 0 && s->segs[i].first > seq)
        ;
    seg = &s->segs[i];
    log_segment_name(seg->first, name);
    fd = store__open_read(s, name);
    if (fd < 0)
        return fd;
    seg->handed = true;
    get_index(s, i, &view);
    entry = view.index.header.entries ? log_index_seq(&view.index, seq) : NULL;
    *ret = (struct store_segment){.fd = fd,
                                  .first = seg->first,
                                  .next = is_open(s, i) ? 0 : seg->next,
                                  .seq = entry ? entry->seq : seg->first,
                                  .offset = entry ? entry->offset : LOG_BLOCK,
                                  .hash = entry ? entry->hash : seg->previous,
                                  .size = seg->size};
    free(view.memory);
    return 0;
}

int
store_seq_at(struct store *s, uint64_t time_ns, uint64_t *ret_seq)
{
    uint32_t i = readable(s);
    const struct log_index_entry *entry;
    struct store_index_view view;

    while (i > 0 && s->segs[i - 1].created_ns > time_ns)
        i--;
    if (!i) {
        *ret_seq = store_first(s);
        return 0;
    }
    get_index(s, --i, &view);
    entry = view.index.header.entries ? log_index_time(&view.index, time_ns) : NULL;
    *ret_seq = entry ? entry->seq : s->segs[i].first;
    free(view.memory);
    return 0;
}

int
store__seg_reserve(struct store *s)
{
    uint32_t room = s->seg_room ? s->seg_room * 2 : 16;
    struct store_seg *segs;

    /* The spare's place, and one for the segment that takes it before this one is given up. */
    if (s->seg_cnt + 2 <= s->seg_room)
        return 0;
    segs = realloc(s->segs, room * sizeof *segs);
    if (!segs)
        return -ENOMEM;
    s->segs = segs;
    s->seg_room = room;
    return 0;
}

struct store_seg *
store__seg_push(struct store *s)
{
    return &s->segs[s->seg_cnt++];
}

/* --- life -------------------------------------------------------------------------------- */

/* How large segments are. The longest message there can be must fit into one. */
static int
choose_sizes(struct store *s)
{
    const uint64_t longest = shm_min(s->topic.lane_size / 2, UINT32_MAX);
    uint64_t want = s->env.segment_bytes, least;

    least = LOG_BLOCK + log_message_bound((uint32_t)longest, LOG_BATCH_MAX) + FLUSH_ROOM_MIN;
    least = shm_align(shm_max(least, LOG_SEGMENT_MIN), LOG_BLOCK);
    if (least > LOG_SEGMENT_MAX)
        return -EMSGSIZE;
    if (!want && s->topic.retention_bytes)
        want = shm_min(s->topic.retention_bytes / 8, STORE_SEGMENT_LARGE);
    else if (!want)
        want = STORE_SEGMENT_LARGE;
    want = shm_min(want, LOG_SEGMENT_MAX) & ~(uint64_t)(LOG_BLOCK - 1);
    s->size_min = least;
    s->size_target = shm_max(want, least);
    return 0;
}

static void
set_up(struct store *s)
{
    struct loop_timer fires = {.fire = fire, .user = s};

    s->task = (struct loop_task){.run = run, .user = s};
    s->retry = s->expire = s->flush.timer = fires;
    s->floors.timer = (struct loop_timer){.fire = store__floors_round, .user = s};
    s->dir = s->spare.file.fd = s->floors.file.fd = s->flush.file.fd = -1;
    s->verdict = FLUSH_STOPPED;
    s->flush.chain.topic_id = s->topic.topic_id;
    s->flush.chain.next = 1;
    s->flush.durable = s->flush.chain;
    s->flush.index.room = STORE_INDEX_ROOM;
}

int
store__new(const struct store_env *env, const struct log_topic *topic, struct store **ret)
{
    struct store *s = calloc(1, sizeof *s);
    int r = -ENOMEM;

    if (!s)
        return r;
    s->env = *env;
    s->topic = *topic;
    set_up(s);
    s->index.buf = malloc(STORE_INDEX_BYTES);
    s->floors.buf = aligned_alloc(IO_ALIGN, LOG_BLOCK);
    s->flush.tail = aligned_alloc(IO_ALIGN, LOG_BLOCK);
    s->flush.index.entries = calloc(STORE_INDEX_ROOM, sizeof *s->flush.index.entries);
    if (s->index.buf && s->floors.buf && s->flush.tail && s->flush.index.entries)
        r = choose_sizes(s);
    if (r) {
        store__free(s);
        return r;
    }
    memset(s->flush.tail, 0, LOG_BLOCK);
    *ret = s;
    return 0;
}

void
store__free(struct store *s)
{
    struct loop *loop = s->env.loop;
    void (*drained)(void *user), *user;

    s->closing = true;
    store__settle(s);
    drained = s->drained;
    user = s->drained_user;
    loop_undefer(loop, &s->task);
    loop_cancel(loop, &s->retry);
    loop_cancel(loop, &s->expire);
    loop_cancel(loop, &s->flush.timer);
    store__floors_close(s);
    store__close(s, &s->flush.file);
    store__close(s, &s->spare.file);
    if (s->dir >= 0)
        io_file_close(s->env.io, s->dir);
    free(s->flush.index.entries);
    free(s->flush.tail);
    free(s->index.buf);
    free(s->segs);
    free(s);
    /* A stop that waits for this log need not wait any more. */
    if (drained)
        drained(user);
}

/* Everything of a new topic but its name, in a directory that nobody takes for one. */
static int
furnish(struct store *s, const char *draft)
{
    struct io *io = s->env.io;
    struct io_file dir;
    int r = io_file_open(io, s->env.store_dirfd, draft, IO_OPEN_DIRECTORY, &dir);

    if (r)
        return r;
    s->dir = dir.fd;
    r = store__lock_directory(s->dir, 0);
    if (!r)
        r = store__put(io, s->dir, STORE_FILE_TOPIC, &s->topic, sizeof s->topic);
    if (!r)
        r = store__floors_create(io, s->dir, s->topic.topic_id);
    if (!r)
        r = store__open(s, STORE_FILE_CURSORS, 0, &s->floors.file);
    if (!r)
        r = store__spare_begin(s, store__spare_size(s));
    TESTPOINT("store.furnished");
    return r ? r : store__sync(io, s->dir);
}

static int
establish(struct store *s, const char *draft)
{
    int dir = s->env.store_dirfd, r;

    if (!faccessat(dir, s->topic.name, F_OK, AT_SYMLINK_NOFOLLOW))
        return -EEXIST;
    r = io_rename(s->env.io, dir, draft, s->topic.name);
    if (r)
        return r == -ENOTEMPTY || r == -ENOTDIR ? -EEXIST : r;
    TESTPOINT("store.named");
    r = store__sync(s->env.io, dir);
    if (r)
        (void)io_rename(s->env.io, dir, s->topic.name, draft);
    return r;
}

int
store_create(const struct store_env *env, const struct log_topic *what, struct store **ret)
{
    struct log_topic topic = *what;
    char draft[STORE_PATH];
    struct store *s;
    int r;

    log_topic_seal(&topic);
    r = log_topic_check(&topic, sizeof topic);
    if (r)
        return -EINVAL;
    r = store__new(env, &topic, &s);
    if (r)
        return r;
    store__draft_name(topic.name, "new", draft);
    r = io_make_directory(env->io, env->store_dirfd, draft);
    if (!r) {
        r = furnish(s, draft);
        if (!r)
            r = establish(s, draft);
        if (r)
            store__clear(env, draft);
    }
    if (r) {
        store__free(s);
        return r;
    }
    loop_defer(env->loop, &s->task);
    *ret = s;
    return 0;
}

int
store_recover(const struct store_env *env, const char *name, uint64_t patience_ns,
              char why[STORE_WHY], struct store **ret)
{
    char reason[STORE_WHY] = "";
    struct store *s;
    int r = recover(env, name, patience_ns, reason, &s);

    if (r) {
        memcpy(why, reason, sizeof reason);
        return r;
    }
    loop_defer(env->loop, &s->task);
    *ret = s;
    return 0;
}

int
store_attach(struct store *s, struct ring_view *view, const struct store_events *events,
             char why[STORE_WHY])
{
    char reason[STORE_WHY] = "";
    int r = flush_attach(s, view, reason);

    if (!r)
        r = store__floors_limit(s, atom_load_acquire(ring_tail(view)), reason); /* acquire: CLAIM */
    if (r) {
        memcpy(why, reason, sizeof reason);
        return r;
    }
    s->events = *events;
    loop_defer(s->env.loop, &s->task);
    return 0;
}

struct store *
store_close(struct store *s)
{
    if (s)
        store__free(s);
    return NULL;
}

int
store_destroy(struct store *s)
{
    const struct store_env env = s->env;
    char name[sizeof s->topic.name];

    memcpy(name, s->topic.name, sizeof name);
    store__free(s);
    return store_discard(&env, name);
}
