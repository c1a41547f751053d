/* What a dead daemon left of a topic, in any state, against start-up recovery and a reader of the log.
 *
 * What recovery takes it must not change: the messages that stood in the segments are all there afterwards, a second recovery
 * finds the same, and the log goes on behind them. What it refuses it leaves as it is. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/report.h"
#include "daemon/store.h"
#include "log/log_private.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/place.h"

#define TOPIC "a.topic"
#define PATH "store/" TOPIC
#define MEMORY_MAX (1u << 20)
#define TURNS_MAX 2000

static struct store_env env;
static struct folder folder = {.path = PATH, .name = TOPIC};
static unsigned char *walk_buf;

/* --- what is there ---------------------------------------------------------------------------- */

/* The whole messages of a log, in order, by a hash over all of them. */
struct content {
    uint64_t hash, messages;
    uint64_t part; /* of the message whose pieces are being met */
    uint64_t next; /* behind the last batch */
};

static void
add_batch(struct content *c, const void *batch)
{
    struct log_cursor_in_batch at;
    const unsigned char *payload;
    struct log_record r;

    log_records_begin(&at, batch);
    while (log_records_next(&at, &r, &payload)) {
        c->part = r.offset ? c->part : 0;
        c->part = log__hash_two(&c->part, sizeof c->part, &r, sizeof r);
        c->part = log__hash_two(&c->part, sizeof c->part, payload, r.len);
        if (r.offset + r.len < r.total)
            continue;
        c->messages++;
        c->hash = log__hash_two(&c->hash, sizeof c->hash, &c->part, sizeof c->part);
    }
}

static void
add_walk(struct content *c, struct log_walk *w)
{
    while (log_walk_next(w) == 1)
        add_batch(c, w->buf);
    c->next = w->chain.next;
}

/* Reads the segments that were built, by their names, without the daemon. */
static struct content
read_files(void)
{
    struct content c = {.next = 1};
    char name[LOG_NAME_ROOM], path[PLACE_PATH + 64];
    struct log_segment_header h;
    struct log_walk w;

    for (uint32_t i = 0; i < folder.segments; i++) {
        struct log_source source;
        int fd;
        log_segment_name(folder.first[i], name);
        (void)snprintf(path, sizeof path, "%s/" PATH "/%s", place_open(), name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        source = log_fd_source(&fd);
        if (!log_segment_check(&source, &h) && h.first == folder.first[i] &&
            h.topic_id == FOLDER_TOPIC_ID) {
            log_walk_begin(&w, &source, &h, walk_buf);
            add_walk(&c, &w);
        }
        close(fd);
    }
    return c;
}

/* Reads as a subscriber does, from segment to segment. */
static struct content
read_store(struct store *s)
{
    struct content c = {.next = store_next(s)};
    uint64_t seq = store_first(s), end = store_next(s);

    while (seq < end) {
        struct store_segment segment;
        struct log_segment_header h;
        struct log_source source;
        struct log_walk w;
        int r = store_open_segment(s, seq, &segment);
        MUST(r != -EBADMSG && segment.fd >= 0);
        source = log_fd_source(&segment.fd);
        r = log_segment_check(&source, &h);
        if (!r) {
            const struct log_index_entry entry = {
                .seq = segment.seq, .offset = segment.offset, .hash = segment.hash};
            log_walk_begin(&w, &source, &h, walk_buf);
            log_walk_at(&w, &entry);
            add_walk(&c, &w);
        }
        close(segment.fd);
        if (r || !segment.next || segment.next <= seq)
            break;
        seq = segment.next;
    }
    return c;
}

/* All files but indexes, which are only a cache: names, sizes, bytes. */
static uint64_t
look_at_files(void)
{
    static unsigned char bytes[SEGMENT_ROOM];
    char path[PLACE_PATH + 300];
    const struct dirent *e;
    uint64_t sum = 0;
    DIR *d;

    (void)snprintf(path, sizeof path, "%s/" PATH, place_open());
    d = opendir(path);
    while (d && (e = readdir(d))) {
        const char *dot = strrchr(e->d_name, '.');
        uint64_t hash = log_hash(e->d_name, strlen(e->d_name));
        struct stat st;
        long n;
        if (e->d_name[0] == '.' || (dot && !strcmp(dot, ".idx")))
            continue;
        (void)snprintf(path, sizeof path, PATH "/%.200s", e->d_name);
        n = place_read(path, bytes, sizeof bytes);
        (void)snprintf(path, sizeof path, "%s/" PATH "/%.200s", place_open(), e->d_name);
        if (!stat(path, &st) && n > 0)
            hash = log__hash_two(&hash, sizeof hash, bytes, (uint64_t)n) + (uint64_t)st.st_size;
        sum += hash;
    }
    if (d)
        (void)closedir(d);
    return sum;
}

/* --- the daemon's side ------------------------------------------------------------------------ */

static void
turn(void)
{
    io_drain(env.io);
    MUST(!loop_turn(env.loop, 0));
    io_flush(env.io);
}

/* A floor may be above the end of the log until the ring is there: its messages may stand in it. */
static void
check_floors(struct store *s, uint64_t most)
{
    const char *name;
    uint64_t floor;
    uint32_t i = 0, n = 0;

    while (store_floor_next(s, &i, &name, &floor)) {
        uint64_t again;
        MUST(name[0] && strlen(name) <= LIMIT_SUB_NAME);
        MUST(floor <= most);
        MUST(!store_floor_get(s, name, &again));
        MUST(++n <= LIMIT_CURSORS);
    }
}

static int
recover_once(struct store **ret)
{
    char why[STORE_WHY] = "";
    uint64_t before = look_at_files();
    int r = store_recover(&env, TOPIC, 0, why, ret);

    MUST(r <= 0);
    if (!r) {
        MUST(store_first(*ret) <= store_next(*ret));
        check_floors(*ret, UINT64_MAX);
        return 0;
    }
    MUST(memchr(why, 0, sizeof why) && why[0]);
    if (r == -EBADMSG || r == -EPROTONOSUPPORT)
        MUST(look_at_files() == before);
    return r;
}

static struct store *
close_store(struct store *s)
{
    (void)store_close(s);
    turn();
    return NULL;
}

/* --- going on --------------------------------------------------------------------------------- */

struct ring {
    struct ring_view view;
    struct ring_piece *pieces;
    struct ring_publisher publisher;
};

/* A new ring behind the log, as after a reboot. False: the topic file asks for one that is too large, or cannot be. */
static bool
make_ring(struct ring *ring, const struct store *s)
{
    const struct log_topic *t = store_topic(s);
    const struct ring_owner owner = {.pid = 1};
    const struct ring_identity who = {.name = t->name, .topic_id = t->topic_id, .created_ns = 1};
    struct ring_geometry g = {.depth = t->depth,
                              .lane_size = t->lane_size,
                              .slot_size = t->slot_size,
                              .max_publishers = t->max_publishers,
                              .max_cursors = t->max_cursors,
                              .durability = RING_DISK,
                              .origin = store_next(s)};
    struct ring_maps maps;
    const char *what;
    uint32_t version;

    if (ring_plan(&g, &what) || g.data_size > MEMORY_MAX || g.control_size > MEMORY_MAX)
        return false;
    maps = (struct ring_maps){.data = aligned_alloc(SHM_PAGE, g.data_size),
                              .control = aligned_alloc(SHM_PAGE, g.control_size),
                              .data_size = g.data_size,
                              .control_size = g.control_size};
    MUST(maps.data && maps.control);
    memset(maps.data, 0, g.data_size);
    memset(maps.control, 0, g.control_size);
    ring_format(maps.data, maps.control, &g, &who);
    MUST(!ring_join(&ring->view, &maps, &version));
    ring_entry_take(&ring->view, 0, &owner);
    atom_store_release(&ring_entry(&ring->view, 0)->lane, 1);
    ring->pieces = calloc(ring_publisher_room(&ring->view), sizeof *ring->pieces);
    MUST(ring->pieces);
    return true;
}

static void
drop_ring(struct ring *ring)
{
    free(ring->view.data);
    free(ring->view.control);
    free(ring->pieces);
}

static void
publish(struct input *in, struct ring *ring)
{
    static const unsigned char bytes[LIMIT_SLOT_MAX];
    struct ring_out out = {.data = bytes, .len = input_u8(in)};
    struct ring_span span;
    uint64_t first;

    if (out.len > ring_inline_max(&ring->view)) {
        if (ring_reserve(&ring->publisher, out.len, &span))
            return;
        memset(span.data, 7, out.len);
        out.span = &span;
    }
    (void)ring_publish(&ring->publisher, &out, 1, 9, &first);
}

static void
note_drained(void *user)
{
    *(bool *)user = true;
}

/* Follows the ring for a while, and drains. */
static uint64_t
go_on(struct input *in, struct store *s, struct ring *ring)
{
    char why[STORE_WHY] = "";
    const struct store_events events = {0};
    bool drained = false;

    MUST(!store_attach(s, &ring->view, &events, why));
    check_floors(s, atom_load_relaxed(ring_tail(&ring->view)));
    MUST(!ring_publisher_join(&ring->publisher, &ring->view, 0, ring->pieces, true));
    for (unsigned n = input_u8(in) & 31; n; n--) {
        publish(in, ring);
        store_look(s);
        if (!(n & 3))
            turn();
    }
    (void)store_floor_set(s, "went.on", store_next(s));
    store_drain(s, note_drained, &drained);
    for (int i = 0; !drained && i < TURNS_MAX; i++)
        turn();
    MUST(drained);
    MUST(atom_load_relaxed(&ring_daemon(&ring->view)->state) == RING_TOPIC_OK);
    MUST(atom_load_relaxed(&ring_daemon(&ring->view)->durable) + 1 ==
         atom_load_relaxed(ring_tail(&ring->view)));
    return atom_load_relaxed(ring_tail(&ring->view));
}

static void
go_on_and_recover(struct input *in, struct store *s)
{
    struct ring ring;
    uint64_t next, floor = 0;

    if (!make_ring(&ring, s)) {
        (void)close_store(s);
        return;
    }
    next = go_on(in, s, &ring);
    (void)close_store(s);
    MUST(!recover_once(&s));
    MUST(store_next(s) == next);
    MUST(!store_floor_get(s, "went.on", &floor));
    (void)close_store(s);
    drop_ring(&ring);
}

/* --- one input -------------------------------------------------------------------------------- */

static void
start(void)
{
    const struct io_options options = {.want = "block"};
    char path[PLACE_PATH + 8];

    report_to(-1);
    walk_buf = malloc(LOG_BATCH_MAX);
    place_folder("store");
    (void)snprintf(path, sizeof path, "%s/store", place_open());
    MUST(walk_buf && !loop_open(&env.loop) && !io_open(&options, &env.io));
    env.store_dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    env.segment_bytes = LOG_SEGMENT_MIN;
    MUST(env.store_dirfd >= 0);
}

static void
check_same(const struct content *a, const struct content *b)
{
    MUST(a->next == b->next && a->messages == b->messages && a->hash == b->hash);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {.at = data, .left = len};
    struct content files, first, second;
    struct store *s = NULL;
    int r;

    if (!walk_buf)
        start();
    folder_build(&folder, &in);
    files = read_files();
    r = recover_once(&s);
    MUST(folder.spoilt || !r);
    if (r)
        return 0;
    first = read_store(s);
    if (!folder.spoilt_below)
        check_same(&files, &first);
    s = close_store(s);
    MUST(!recover_once(&s));
    second = read_store(s);
    check_same(&first, &second);
    go_on_and_recover(&in, s);
    return 0;
}
