/* Shared memory that others scribble over, against everything in ring.h: between the calls, and where test points are compiled
 * in also in the middle of them, at each step that another process can see.
 *
 * Each role works on a map of its own, as much of it writable as in a real process: a reader that wrote, a publisher that wrote
 * outside its part, or anybody who left the object, would be killed by the kernel. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shm/testpoint.h"
#include "tests/fuzz/scribble.h"

#define OPS_MAX 96
#define HOOKS_MAX 48
#define READERS 2
#define PUBLISHERS 2

enum role { ALL, DAEMON, PUBLISHER, SUBSCRIBER, ROLES };

/* One geometry, mapped once for each role, and what it looks like when it is new. */
struct world {
    struct ring_geometry geo;
    struct ring_maps maps[ROLES];
    unsigned char *new_data, *new_control;
};

/* What one input works with. */
struct run {
    struct input in;
    struct world *w;
    struct ring_view view[ROLES];
    struct ring_publisher publisher[PUBLISHERS];
    struct ring_piece *pieces[PUBLISHERS]; /* NULL: not joined */
    struct ring_reader reader[READERS];
    struct scribble_target target;
    unsigned hooks;
};

static struct run *hooked;

/* --- maps ------------------------------------------------------------------------------------- */

/* `size` bytes of fd between two pages that nobody may touch. */
static unsigned char *
map_guarded(int fd, uint64_t size)
{
    unsigned char *at =
        mmap(NULL, size + 2ull * SHM_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    MUST(at != MAP_FAILED);
    MUST(mmap(at + SHM_PAGE, size, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == at + SHM_PAGE);
    return at + SHM_PAGE;
}

static void
allow(unsigned char *base, uint64_t from, uint64_t to)
{
    MUST(!mprotect(base + from, to - from, PROT_READ | PROT_WRITE));
}

static void
map_roles(struct world *w)
{
    const struct ring_geometry *g = &w->geo;
    int data = memfd_create("data", MFD_CLOEXEC), control = memfd_create("control", MFD_CLOEXEC);

    MUST(data >= 0 && control >= 0);
    MUST(!ftruncate(data, (off_t)g->data_size) && !ftruncate(control, (off_t)g->control_size));
    for (int i = 0; i < ROLES; i++) {
        w->maps[i] = (struct ring_maps){.data = map_guarded(data, g->data_size),
                                        .control = map_guarded(control, g->control_size),
                                        .data_size = g->data_size,
                                        .control_size = g->control_size};
        allow(w->maps[i].control, 0, g->control_size);
    }
    allow(w->maps[ALL].data, 0, g->data_size);
    allow(w->maps[DAEMON].data, 0, g->lanes);
    allow(w->maps[PUBLISHER].data, g->tail, g->data_size);
    close(data);
    close(control);
}

static void
make_world(struct world *w, const struct ring_geometry *geo)
{
    const struct ring_identity who = {.name = "fuzz.ring", .topic_id = 7, .created_ns = 1};
    const char *what = NULL;

    w->geo = *geo;
    MUST(!ring_plan(&w->geo, &what));
    map_roles(w);
    w->new_data = calloc(1, w->geo.data_size);
    w->new_control = calloc(1, w->geo.control_size);
    MUST(w->new_data && w->new_control);
    ring_format(w->new_data, w->new_control, &w->geo, &who);
}

/* Four shapes, among them numbers that are about to outgrow an intent's 48 bits. */
static struct world *
find_world(unsigned i)
{
    static const struct ring_geometry shapes[4] = {
        {.depth = 8,
         .lane_size = 4096,
         .slot_size = 64,
         .max_publishers = 2,
         .max_cursors = 3,
         .barrier = 1,
         .origin = 1},
        {.depth = 16,
         .lane_size = 4096,
         .slot_size = 128,
         .max_publishers = 1,
         .max_cursors = 2,
         .when_full = RING_OVERWRITE,
         .origin = 1},
        {.depth = 8,
         .lane_size = 8192,
         .slot_size = 256,
         .max_publishers = 3,
         .max_cursors = 4,
         .barrier = 1,
         .durability = RING_DISK,
         .origin = 1000},
        {.depth = 32,
         .lane_size = 4096,
         .slot_size = 64,
         .max_publishers = 4,
         .max_cursors = 2,
         .origin = (1ull << 48) - 5},
    };
    static struct world worlds[4];

    if (!worlds[i].new_data)
        make_world(&worlds[i], &shapes[i]);
    return &worlds[i];
}

/* --- scribbling ------------------------------------------------------------------------------- */

static uint64_t
word(void *user, bool control, uint64_t offset)
{
    const struct run *run = user;
    const struct ring_maps *m = &run->w->maps[ALL];

    return atom_load_relaxed(
        (atom_u64 *)(void *)((unsigned char *)(control ? m->control : m->data) + offset));
}

static void
scribble(struct run *run)
{
    struct scribble s = scribble_choose(&run->in, &run->target);
    const struct ring_maps *m = &run->w->maps[ALL];

    atom_store_relaxed(
        (atom_u64 *)(void *)((unsigned char *)(s.control ? m->control : m->data) + s.offset),
        s.value);
}

#if defined(LEAT_TESTPOINTS)
static void
on_step(const char *name)
{
    struct run *run = hooked;

    (void)name;
    if (!run || !run->hooks || !run->in.left)
        return;
    run->hooks--;
    if (!(input_u8(&run->in) & 3))
        scribble(run);
}
#endif

/* --- joining ---------------------------------------------------------------------------------- */

static bool
same_places(const struct ring_geometry *a, const struct ring_geometry *b)
{
    return a->tail == b->tail && a->slots == b->slots && a->lanes == b->lanes;
}

static void
check_view(const struct ring_view *v, const struct ring_maps *m)
{
    MUST(v->geo.data_size == m->data_size && v->geo.control_size == m->control_size);
    MUST(v->geo.slots + v->geo.depth * v->geo.slot_size <= v->geo.lanes);
    MUST(v->geo.lanes + v->geo.max_publishers * v->geo.lane_size == m->data_size);
    MUST(v->geo.cursors + v->geo.max_cursors * sizeof(struct ring_cursor) <= m->control_size);
}

/* A role joins what stands there now; with another geometry on the map that is all writable, because the other maps
 * were made for the first one. */
static void
join(struct run *run, enum role role)
{
    const struct ring_maps *m = &run->w->maps[role];
    struct ring_view v;
    uint32_t version = 0;
    int r = ring_join(&v, m, &version);

    MUST(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
    if (r)
        return;
    check_view(&v, m);
    if (!same_places(&v.geo, &run->w->geo)) {
        v.data = run->w->maps[ALL].data;
        v.control = run->w->maps[ALL].control;
    }
    run->view[role] = v;
}

/* Objects that are shorter than they say, in memory of exactly that size. */
static void
join_cut(struct run *run)
{
    const struct ring_maps *all = &run->w->maps[ALL];
    uint64_t n = input_u16(&run->in) % (all->data_size + 1);
    uint64_t k = input_u16(&run->in) % (all->control_size + 1);
    struct ring_maps m = {.data_size = n, .control_size = k};
    struct ring_view v;
    uint32_t version;
    int r;

    m.data = aligned_alloc(SHM_PAGE, shm_align(n ? n : 1, SHM_PAGE));
    m.control = aligned_alloc(SHM_PAGE, shm_align(k ? k : 1, SHM_PAGE));
    MUST(m.data && m.control);
    memcpy(m.data, all->data, n);
    memcpy(m.control, all->control, k);
    if (n > offsetof(struct shm_header, size) + 8 && (input_u8(&run->in) & 1))
        ((struct shm_header *)m.data)->size = n;
    r = ring_join(&v, &m, &version);
    MUST(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
    if (!r)
        check_view(&v, &m);
    free(m.data);
    free(m.control);
}

/* --- a publisher ------------------------------------------------------------------------------ */

static void
join_publisher(struct run *run, unsigned i)
{
    struct ring_view *v = &run->view[PUBLISHER];
    uint16_t index = (uint16_t)input_below(&run->in, v->geo.max_publishers + 1);
    struct ring_piece *pieces = calloc(ring_publisher_room(v), sizeof *pieces);
    struct ring_publisher p;
    int r;

    MUST(pieces);
    r = ring_publisher_join(&p, v, index, pieces, input_u8(&run->in) & 1);
    MUST(r == 0 || r == -EBADMSG || r == -EINVAL);
    if (r) {
        free(pieces);
        return;
    }
    free(run->pieces[i]);
    run->pieces[i] = pieces;
    run->publisher[i] = p;
}

static void
check_span(const struct ring_publisher *p, const struct ring_span *s, uint64_t len)
{
    MUST(s->data >= p->lane && s->data + len <= p->lane + p->view.geo.lane_size);
    MUST(!(s->pos % 64));
}

/* The next message of a batch, inline or through the lane: 0, or why there is no room for it. */
static int
choose_message(struct run *run, struct ring_publisher *p, struct ring_out *out,
               struct ring_span *span)
{
    static const unsigned char bytes[LIMIT_SLOT_MAX];
    uint32_t len = input_u8(&run->in);
    int r;

    len = len > 200 ? (uint32_t)(len - 200) * 64 : len;
    *out = (struct ring_out){.data = bytes, .len = len, .key = len, .type = 3};
    if (len <= ring_inline_max(&p->view))
        return 0;
    r = ring_reserve(p, len, span);
    MUST(r == 0 || r == -EAGAIN || r == -EMSGSIZE);
    if (r)
        return r;
    check_span(p, span, len);
    memset(span->data, 0x55, len);
    out->span = span;
    return 0;
}

/* One batch, published or abandoned. */
static void
publish(struct run *run, struct ring_publisher *p)
{
    struct ring_out out[20];
    struct ring_span spans[20];
    uint32_t n = 0, most = input_below(&run->in, 20);
    bool abandon = input_u8(&run->in) & 1;
    uint64_t first = 0;
    int r;

    while (n < most && !choose_message(run, p, &out[n], &spans[n]))
        n++;
    r = abandon ? -EAGAIN : ring_publish(p, out, n, 5, &first);
    MUST(r == 0 || r == -EAGAIN || r == -EBADMSG || r == -EINVAL);
    for (uint32_t i = 0; r && i < n; i++)
        if (out[i].span)
            ring_abandon(p, out[i].span);
    if (!r)
        MUST(!(ring_publish_due(p, first + n - 1) & ~(RING_DUE_WAKE | RING_DUE_BELL)));
}

static void
publisher_step(struct run *run)
{
    unsigned i = input_u8(&run->in) % PUBLISHERS, what = input_u8(&run->in) % 8;
    int r;

    if (!run->pieces[i] || what == 0) {
        join_publisher(run, i);
        return;
    }
    if (what == 1) {
        r = ring_publish_may(&run->publisher[i], input_u8(&run->in) % 8 + 1u, input_u16(&run->in));
        MUST(r == 0 || r == 1 || r == -EBADMSG);
        return;
    }
    publish(run, &run->publisher[i]);
}

/* --- a reader --------------------------------------------------------------------------------- */

static void
check_message(const struct ring_view *v, const struct ring_msg *m)
{
    unsigned char *copy = malloc(m->len ? m->len : 1);
    int r;

    MUST(copy);
    MUST(m->data >= v->data + v->geo.slots);
    MUST(m->data + m->len <= v->data + v->geo.data_size);
    MUST(m->len <= shm_max(ring_payload_max(v), ring_inline_max(v)));
    r = ring_validate(v, m);
    MUST(r == 0 || r == -ESTALE);
    r = ring_copy(v, m, copy);
    MUST(r == 0 || r == -ESTALE);
    free(copy);
}

static void
receive(struct run *run, struct ring_reader *reader)
{
    struct ring_msg m;

    for (unsigned n = input_u8(&run->in) % 40; n; n--) {
        uint64_t before = reader->next;
        int r = ring_receive(reader, &m);
        MUST(r == RING_NONE || r == RING_MESSAGE || r == RING_GAP || r == -EBADMSG);
        MUST(reader->next >= before);
        if (r == RING_MESSAGE) {
            MUST(reader->next == m.seq + 1 && m.seq >= before);
            check_message(&reader->view, &m);
        } else if (r == RING_GAP) {
            MUST(m.lost && m.first >= before && reader->next == m.first + m.lost);
        } else {
            return;
        }
    }
}

static void
reader_step(struct run *run)
{
    unsigned i = input_u8(&run->in) % READERS;
    struct ring_reader *reader = &run->reader[i];
    const struct ring_view *v = &run->view[SUBSCRIBER];
    uint64_t tail = atom_load_relaxed(ring_tail(v)), seq;
    struct ring_msg m;
    int r;

    switch (input_u8(&run->in) % 4) {
    case 0:
        reader->view = *v;
        seq = tail + (uint64_t)(int64_t)(int8_t)input_u8(&run->in);
        ring_reader_set(reader, seq & (UINT64_MAX >> 4));
        return;
    case 1:
        seq = input_u8(&run->in) & 1 ? input_u64(&run->in)
                                     : tail + (uint64_t)(int64_t)(int8_t)input_u8(&run->in);
        r = ring_peek(v, seq, &m);
        MUST(r == RING_NONE || r == RING_MESSAGE || r == RING_GAP || r == -EBADMSG);
        if (r == RING_MESSAGE)
            check_message(v, &m);
        return;
    default:
        receive(run, reader);
    }
}

/* --- the daemon, and others on the control object --------------------------------------------- */

static void
check_ring(const struct ring_view *v)
{
    struct ring_report report = {0};
    int r = ring_check(v, &report);

    MUST(r == 0 || r == -EBADMSG);
    MUST(!r == !report.what);
    MUST(report.committed + report.aborted + report.busy + report.missing <= v->geo.depth);
}

static void
settle(struct run *run)
{
    struct ring_view *v = &run->view[DAEMON];
    uint64_t *scratch = calloc(v->geo.max_publishers, sizeof *scratch), aborted = 0;
    int r;

    MUST(scratch);
    r = ring_settle(v, scratch, &aborted);
    MUST(r == 0 || r == 1 || r == -EBADMSG);
    MUST(aborted <= v->geo.depth);
    free(scratch);
}

static void
entry_step(struct run *run)
{
    struct ring_view *v = &run->view[DAEMON];
    const struct ring_owner owner = {.pid = 1, .uid = 2, .start = 3, .since_ns = 4};
    uint32_t i = input_below(&run->in, v->geo.max_publishers);

    switch (input_u8(&run->in) % 6) {
    case 0:
        ring_entry_take(v, i, &owner);
        atom_store_release(&ring_entry(v, i)->lane, 1);
        break;
    case 1:
        ring_entry_kill(v, i);
        break;
    case 2:
        ring_entry_free(v, i);
        break;
    case 3:
        (void)ring_entry_claim(&run->view[PUBLISHER], i % run->view[PUBLISHER].geo.max_publishers,
                               input_u8(&run->in));
        break;
    case 4:
        (void)ring_entry_forsake(v, i);
        break;
    default:
        settle(run);
    }
}

static void
cursor_step(struct run *run)
{
    struct ring_view *v = &run->view[DAEMON], *sub = &run->view[SUBSCRIBER];
    const struct ring_owner owner = {.pid = 1, .name = "a.name"};
    uint32_t i = input_below(&run->in, v->geo.max_cursors);
    uint64_t tail = atom_load_relaxed(ring_tail(v)), gate;
    uint64_t pos = tail + (uint64_t)(int64_t)(int8_t)input_u8(&run->in);
    uint32_t who = 0;

    switch (input_u8(&run->in) % 7) {
    case 0:
        ring_cursor_attach(v, i, (enum ring_cursor_kind)(input_u8(&run->in) & 3), &owner, &pos);
        break;
    case 1:
        ring_cursor_evict(v, i);
        break;
    case 2:
        ring_cursor_free(v, i);
        break;
    case 3:
        ring_cursor_seek(sub, i % sub->geo.max_cursors, &pos);
        break;
    case 4:
        (void)ring_cursor_claim(sub, i % sub->geo.max_cursors, input_u8(&run->in));
        break;
    case 5:
        (void)ring_cursor_forsake(v, i);
        break;
    default:
        gate = ring_gate(v, &who);
        MUST(who == UINT32_MAX || who < v->geo.max_cursors);
        (void)gate;
        (void)ring_oldest(v);
    }
}

/* --- one input -------------------------------------------------------------------------------- */

static void
step(struct run *run)
{
    switch (input_u8(&run->in) % 12) {
    case 0:
    case 1:
    case 2:
        scribble(run);
        break;
    case 3:
    case 4:
        publisher_step(run);
        break;
    case 5:
    case 6:
        reader_step(run);
        break;
    case 7:
        cursor_step(run);
        break;
    case 8:
        entry_step(run);
        break;
    case 9:
        check_ring(&run->view[SUBSCRIBER]);
        break;
    case 10:
        join(run, (enum role)(input_u8(&run->in) % ROLES));
        break;
    default:
        join_cut(run);
    }
}

/* A new ring, one publisher at work, one reader that looks on. */
static void
begin(struct run *run)
{
    const struct ring_maps *all = &run->w->maps[ALL];
    const struct ring_owner owner = {.pid = 1, .uid = 2, .start = 3, .since_ns = 4};

    memcpy(all->data, run->w->new_data, all->data_size);
    memcpy(all->control, run->w->new_control, all->control_size);
    run->target = (struct scribble_target){.geo = run->w->geo,
                                           .data_size = all->data_size,
                                           .control_size = all->control_size,
                                           .word = word,
                                           .user = run};
    for (int i = 0; i < ROLES; i++)
        join(run, (enum role)i);
    for (uint32_t i = 0; i < run->w->geo.max_publishers && i < 2; i++) {
        ring_entry_take(&run->view[DAEMON], i, &owner);
        atom_store_release(&ring_entry(&run->view[DAEMON], i)->lane, 1);
    }
    for (int i = 0; i < READERS; i++) {
        run->reader[i].view = run->view[SUBSCRIBER];
        ring_reader_set(&run->reader[i], run->w->geo.origin);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct run run = {.in = {.at = data, .left = len}};

    run.w = find_world(input_u8(&run.in) & 3);
    begin(&run);
#if defined(LEAT_TESTPOINTS)
    shm_testpoint_hook = on_step;
#endif
    hooked = &run;
    run.hooks = HOOKS_MAX;
    for (int i = 0; i < OPS_MAX && run.in.left; i++)
        step(&run);
    hooked = NULL;
    for (int i = 0; i < PUBLISHERS; i++)
        free(run.pieces[i]);
    return 0;
}
