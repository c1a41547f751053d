/* Messages in any sequence against a real daemon, in this process: its bus, its loop, its sessions over real sockets, its topics
 * in shared memory and in a store of its own; and what its clients do to the memory they were handed. Some clients are
 * other users. The daemon is restarted and its clients die whenever the input says so.
 *
 * Afterwards the bus has to serve a topic that nobody touched, and nothing may be left: no session, process, descriptor, object. */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/memory.h"
#include "daemon/process.h"
#include "daemon/report.h"
#include "daemon/session.h"
#include "daemon/topic.h"
#include "shm/segment.h"
#include "shm/testpoint.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/place.h"
#include "tests/fuzz/scribble.h"

#define OPS_MAX 64
#define CLIENTS 4
#define HANDLES 8
#define HOOKS_MAX 64
#define ASKED_MAX 64
#define STRANGER 12345
#define DESCRIPTORS_MAX 128
/* Topics that the input asks for may be as large as it likes: the kernel refuses. */
#define FILE_MAX (16u << 20)

static const char configuration[] = "[topic *]\ndepth = 16\nlane_size = 4K\nmax_publishers = 2\n"
                                    "max_subscribers = 3\n"
                                    "[topic disk*]\ndurability = disk\nretention_bytes = 16M\n"
                                    "[topic open*]\ncreate = yes\nmode = 0666\n"
                                    "[topic over*]\nwhen_full = overwrite\nmode = 0640\n"
                                    "[topic lag*]\nlag = 1ms\nmode = 0666\ncreate = yes\n"
                                    "[topic made]\ndeclare = yes\nmode = 0664\n";

struct asked {
    uint32_t id;
    uint16_t type;
};

struct client {
    int socket; /* -1: not connected */
    struct asked asked[ASKED_MAX];
    uint32_t first, count;
};

/* What an answer brought. */
struct handle {
    uint64_t topic_id, generation;
    uint32_t index;
    uint16_t type;
    int fds[WIRE_FDS_MAX];
};

struct run {
    struct input in;
    struct client client[CLIENTS];
    struct handle handle[HANDLES];
    uint32_t handles, id;
    unsigned hooks; /* so often something may happen in the middle of a step of the daemon's */
};

static struct bus *bus;
static struct run *hooked;
static char bus_path[PLACE_PATH + 8];
static int descriptors_before;

/* --- the daemon ------------------------------------------------------------------------------- */

static void
start_bus(void)
{
    char path[PLACE_PATH + 16], error[CONFIG_ERROR] = "", why[WHY_ROOM] = "";
    struct config c;

    (void)snprintf(path, sizeof path, "%s/leat.conf", place_open());
    MUST(!config_init(&c, true));
    MUST(!config_load(&c, path, true, error));
    (void)snprintf(path, sizeof path, "%s/store", place_open());
    MUST(!config_set(&c, "store", path, error) && !config_set(&c, "socket", bus_path, error));
    MUST(!config_set(&c, "io", "block", error));
    (void)snprintf(path, sizeof path, "leat-fuzz-%d", (int)getpid());
    MUST(!config_set(&c, "prefix", path, error));
    MUST(!config_set(&c, "user_sessions", "2", error));
    MUST(!config_set(&c, "user_topics", "3", error));
    MUST(!config_set(&c, "user_shm", "1M", error));
    if (bus_open(&c, &bus, why)) {
        (void)fprintf(stderr, "%s\n", why);
        MUST(!bus);
        abort();
    }
    bus->store_env.segment_bytes = LOG_SEGMENT_MIN;
}

/* How many descriptors are open. */
static int
count_descriptors(void)
{
    int n = 0;

    for (int fd = 0; fd < DESCRIPTORS_MAX; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void
turn(unsigned n)
{
    while (n--)
        MUST(!loop_turn(bus->loop, 0));
}

static void
count_object(void *user, const char *name)
{
    (void)name;
    ++*(unsigned *)user;
}

static void
forget_object(void *user, const char *name)
{
    (void)user;
    memory_remove(bus->prefix, name);
}

static void
at_end(void)
{
    char prefix[LIMIT_SHM_PREFIX];

    memcpy(prefix, bus->prefix, sizeof prefix);
    (void)memory_list(prefix, forget_object, NULL);
    bus = bus_close(bus);
}

static void
remove_topics(void)
{
    struct topic *next;
    char why[WHY_ROOM], path[LIMIT_TOPIC_NAME + 16];

    for (struct topic *t = bus->topics; t; t = next) {
        char name[LIMIT_TOPIC_NAME + 1];
        next = t->next;
        memcpy(name, t->name, sizeof name);
        if (!topic_remove(t, why))
            continue;
        /* Damaged, or of another version: that it is left alone is the promise. */
        topic_close(t);
        memory_remove(bus->prefix, name);
        (void)snprintf(path, sizeof path, "store/%s", name);
        place_clear(path);
    }
}

static void
settle(void)
{
    for (int i = 0; i < 3; i++) {
        io_drain(bus->io);
        turn(2);
    }
}

static void
start(void)
{
    const struct rlimit files = {FILE_MAX, FILE_MAX};

    MUST(!setrlimit(RLIMIT_FSIZE, &files));
    report_to(-1);
    (void)snprintf(bus_path, sizeof bus_path, "%s/bus", place_open());
    place_file("leat.conf", configuration, sizeof configuration - 1, 0);
    start_bus();
    MUST(!atexit(at_end));
    remove_topics();
    settle();
}

/* --- clients ---------------------------------------------------------------------------------- */

static void
hang_up(struct client *c)
{
    if (c->socket >= 0)
        close(c->socket);
    *c = (struct client){.socket = -1};
}

static void
drop_handle(struct handle *h)
{
    for (int i = 0; i < WIRE_FDS_MAX; i++)
        if (h->fds[i] >= 0)
            close(h->fds[i]);
    *h = (struct handle){.fds = {-1, -1}};
}

static void
connect_client(struct run *run, struct client *c)
{
    uint32_t before = bus->session_count;
    uint8_t how = input_u8(&run->in);

    hang_up(c);
    if (wire_connect(bus_path, &c->socket)) {
        c->socket = -1;
        return;
    }
    turn(1);
    if (bus->session_count <= before || !(how & 1))
        return;
    /* The session that came is the first of the list. */
    bus->sessions->who.uid = bus->sessions->who.gid = STRANGER;
    bus->sessions->who.group_count = 0;
}

/* --- packets ---------------------------------------------------------------------------------- */

static const char *
choose_name(struct input *in)
{
    static const char *const names[] = {"mem",  "disk", "disk.2", "open.1", "over", "lag.1",
                                        "made", "none", "",       "-bad",   "a..b", "open.2"};

    return names[input_u8(in) % 12];
}

static uint64_t
choose_number(struct input *in)
{
    uint8_t how = input_u8(in);

    switch (how & 3) {
    case 0:
        return how >> 2;
    case 1:
        return 1ull << (how >> 2);
    case 2:
        return input_u64(in);
    default:
        return UINT64_MAX - (how >> 2);
    }
}

static void
choose_options(struct input *in, struct wire_options *o)
{
    uint16_t which = input_u16(in);
    uint64_t *wide[] = {&o->depth, &o->lane_size, &o->retention_bytes, &o->retention_ns,
                        &o->lag_ns};
    uint32_t *narrow[] = {&o->slot_size, &o->max_publishers,    &o->max_cursors, &o->durability,
                          &o->when_full, &o->timestamps,        &o->mode,        &o->uid,
                          &o->gid,       &o->retain_until_acked};

    for (unsigned i = 0; i < 5; i++)
        if (which & 1u << i)
            *wide[i] = choose_number(in);
    for (unsigned i = 0; i < 10; i++)
        if (which & 32u << i)
            *narrow[i] = (uint32_t)choose_number(in);
    o->given = which & 0x8000 ? input_u8(in) & 15 : WIRE_GIVEN_RULE;
}

static const struct handle *
choose_handle(struct run *run)
{
    return &run->handle[input_u8(&run->in) % HANDLES];
}

static void
copy_name(char *to, size_t room, const char *name)
{
    size_t len = strlen(name);

    memcpy(to, name, len < room ? len : room - 1);
}

static void
fill_packet(struct run *run, union wire_any *p)
{
    static const char *const subs[] = {"", "one", "two", "-x"};
    struct input *in = &run->in;
    const struct handle *h;

    switch (p->h.type) {
    case WIRE_HELLO:
        p->hello.oldest = 1;
        p->hello.newest = (uint16_t)(input_u8(in) % 3 + 1);
        break;
    case WIRE_TOPIC_CREATE:
        copy_name(p->topic.name, sizeof p->topic.name, choose_name(in));
        choose_options(in, &p->topic.options);
        break;
    case WIRE_TOPIC_REMOVE:
    case WIRE_TOPIC_INFO:
    case WIRE_PUB_OPEN:
        copy_name(p->topic.name, sizeof p->topic.name, choose_name(in));
        break;
    case WIRE_SUB_OPEN:
        copy_name(p->sub_open.topic, sizeof p->sub_open.topic, choose_name(in));
        copy_name(p->sub_open.name, sizeof p->sub_open.name, subs[input_u8(in) & 3]);
        p->sub_open.kind = input_u8(in) & 3;
        p->sub_open.start = input_u8(in) % 6;
        p->sub_open.value = choose_number(in);
        break;
    case WIRE_PUB_CLOSE:
    case WIRE_SUB_CLOSE:
        h = choose_handle(run);
        p->handle.topic_id = h->topic_id;
        p->handle.generation = h->generation;
        p->handle.index = h->index;
        break;
    case WIRE_SUB_REMOVE:
        copy_name(p->sub_remove.topic, sizeof p->sub_remove.topic, choose_name(in));
        copy_name(p->sub_remove.name, sizeof p->sub_remove.name, subs[input_u8(in) & 3]);
        break;
    case WIRE_LOG_OPEN:
        p->position.topic_id = choose_handle(run)->topic_id;
        p->position.value = choose_number(in);
        p->position.start = WIRE_AT_SEQ;
        break;
    case WIRE_POSITION:
        p->position.topic_id = choose_handle(run)->topic_id;
        p->position.value = choose_number(in);
        p->position.start = input_u8(in) % 5;
        break;
    default:
        p->ring.topic_id = choose_handle(run)->topic_id;
    }
}

/* A packet that is answered leaves a note of what the answer has to be. */
static void
send_packet(struct client *c, const union wire_any *p, size_t len)
{
    if (c->socket < 0 || c->count == ASKED_MAX)
        return;
    if (send(c->socket, p, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len)
        return;
    if (len < sizeof p->h || wire_is_one_way(&p->h))
        return;
    c->asked[(c->first + c->count++) % ASKED_MAX] =
        (struct asked){.id = p->h.id, .type = p->h.type};
}

static void
ask(struct run *run, struct client *c, uint16_t type)
{
    union wire_any p;
    uint8_t how = input_u8(&run->in);
    size_t len = wire_request_size(type);

    memset(&p, 0, sizeof p);
    if (!len)
        len = sizeof p.h + how;
    wire_begin(&p, (uint32_t)len, (enum wire_type)type, ++run->id);
    fill_packet(run, &p);
    if ((how & 15) == 15)
        ((unsigned char *)&p)[input_u16(&run->in) % len] = input_u8(&run->in);
    if ((how & 0xf0) == 0xf0)
        len = 1 + input_u16(&run->in) % sizeof p;
    send_packet(c, &p, len);
}

static void
send_bytes(struct run *run, struct client *c)
{
    union wire_any p;
    size_t len = 1 + input_u16(&run->in) % sizeof p;

    memset(&p, 0, sizeof p);
    (void)input_bytes(&run->in, &p, len);
    send_packet(c, &p, len);
}

/* --- answers ---------------------------------------------------------------------------------- */

static void
keep(struct run *run, const struct wire_answer *a, const int fds[WIRE_FDS_MAX])
{
    struct handle *h = &run->handle[run->handles++ % HANDLES];

    drop_handle(h);
    *h = (struct handle){.topic_id = a->topic_id,
                         .generation = a->generation,
                         .index = a->index,
                         .type = a->h.type,
                         .fds = {fds[0], fds[1]}};
}

static void
check_answer(const struct wire_answer *a, int n, const struct asked *asked)
{
    unsigned fds = 0;

    MUST(n == (int)sizeof *a && a->h.size == sizeof *a && a->h.version == WIRE_VERSION);
    MUST(a->h.id == asked->id && a->h.type == asked->type && a->h.status <= 0);
    MUST(memchr(a->text, 0, sizeof a->text));
    MUST(!a->h.status || (a->text[0] && !a->fds));
    if (!a->h.status && (a->h.type == WIRE_PUB_OPEN || a->h.type == WIRE_SUB_OPEN))
        fds = 2;
    MUST(a->fds >= fds);
}

static void
take_answers(struct run *run, struct client *c)
{
    union wire_any p;
    int fds[WIRE_FDS_MAX], n;

    while (c->socket >= 0) {
        n = wire_receive(c->socket, &p, fds, MSG_DONTWAIT);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            hang_up(c);
            return;
        }
        MUST(c->count);
        check_answer(&p.answer, n, &c->asked[c->first]);
        c->first = (c->first + 1) % ASKED_MAX;
        c->count--;
        for (unsigned i = 0; i < WIRE_FDS_MAX; i++)
            MUST((fds[i] >= 0) == (i < p.answer.fds));
        keep(run, &p.answer, fds);
    }
}

/* --- memory that was handed out --------------------------------------------------------------- */

static uint64_t
word(void *user, bool control, uint64_t offset)
{
    const struct handle *h = user;
    uint64_t value = 0;

    (void)!pread(h->fds[control], &value, sizeof value, (off_t)offset);
    return value;
}

static bool
size_of(int fd, uint64_t *ret)
{
    struct stat st;

    if (fd < 0 || fstat(fd, &st) || st.st_size < 8)
        return false;
    *ret = (uint64_t)st.st_size;
    return true;
}

static void
scribble(struct run *run)
{
    struct handle *h = &run->handle[input_u8(&run->in) % HANDLES];
    struct scribble_target t = {.word = word, .user = h};
    struct ring_geometry plan;
    struct scribble s;
    const char *what;

    if (!size_of(h->fds[0], &t.data_size) || !size_of(h->fds[1], &t.control_size) ||
        pread(h->fds[0], &t.geo, sizeof t.geo, RING_GEOMETRY_AT) != (ssize_t)sizeof t.geo)
        return;
    plan = t.geo;
    if (ring_plan(&plan, &what))
        return;
    t.geo = plan;
    for (unsigned n = 1 + (input_u8(&run->in) & 3); n; n--) {
        s = scribble_choose(&run->in, &t);
        (void)!pwrite(h->fds[s.control], &s.value, sizeof s.value, (off_t)s.offset);
    }
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
    if (!(input_u8(&run->in) & 7))
        scribble(run);
}
#endif

static void
truncate_object(struct run *run)
{
    const struct handle *h = &run->handle[input_u8(&run->in) % HANDLES];
    int fd = h->fds[input_u8(&run->in) & 1];
    uint64_t size;

    if (size_of(fd, &size))
        (void)!ftruncate(fd, (off_t)(input_u16(&run->in) % (size / 64 + 2) * 64));
}

/* One way, and to nobody in particular: the first client that is connected says it. */
static void
ring_bell(struct run *run, const struct handle *h)
{
    union wire_any p;

    wire_begin(&p, sizeof p.ring, WIRE_RING, ++run->id);
    p.ring.topic_id = h->topic_id;
    for (int i = 0; i < CLIENTS; i++)
        if (run->client[i].socket >= 0) {
            send_packet(&run->client[i], &p, sizeof p.ring);
            return;
        }
}

/* A batch, and what a publisher does when there is no room for it. */
static void
publish(struct run *run, const struct ring_view *v, const struct handle *h)
{
    struct ring_piece *pieces = calloc(ring_publisher_room(v), sizeof *pieces);
    static const unsigned char bytes[LIMIT_SLOT_MAX];
    struct ring_out out[4];
    struct ring_publisher p;
    struct ring_span span = {0};
    uint8_t how = input_u8(&run->in);
    uint32_t n = 1 + (how & 3), len = input_u8(&run->in) * 8u;
    uint64_t first = 0;
    int r;

    MUST(pieces);
    if (how & 4)
        (void)ring_entry_claim((struct ring_view *)(uintptr_t)v, h->index, h->generation);
    r = ring_publisher_join(&p, v, (uint16_t)h->index, pieces, true);
    if (!r && len > ring_inline_max(v)) {
        n = 1;
        r = ring_reserve(&p, len, &span);
    }
    for (uint32_t i = 0; i < n; i++)
        out[i] = (struct ring_out){
            .data = bytes, .len = len, .span = len > ring_inline_max(v) ? &span : NULL};
    if (!r)
        r = ring_publish(&p, out, n, bus_realtime(), &first);
    if (r == -EAGAIN)
        atom_store_relaxed(&p.line->blocked_ns, bus_realtime());
    if (r ? r == -EAGAIN : ring_publish_due(&p, first + n - 1) & RING_DUE_BELL)
        ring_bell(run, h);
    free(pieces);
}

/* Takes what is there and acknowledges some of it; may wait for it to be durable. */
static void
acknowledge(struct run *run, const struct ring_view *v, const struct handle *h)
{
    struct ring_cursor *line = ring_cursor(v, h->index);
    uint8_t how = input_u8(&run->in);
    uint64_t to = atom_load_relaxed(ring_tail(v)) - (how & 7);

    if (how & 16)
        (void)ring_cursor_claim((struct ring_view *)(uintptr_t)v, h->index, h->generation);
    if (how & 8)
        (void)shm_event_arm(&ring_control(v)->durable_wait);
    if (how & 32) {
        atom_store_release(&line->pos, to);
        atom_store_release(&line->acked, to);
        if (atom_cas32_seq(&ring_control(v)->ack_bell, 1, 0))
            ring_bell(run, h);
    }
    if (how & 8)
        ring_bell(run, h);
}

/* A client that behaves: maps what it was handed, and publishes or acknowledges. */
static void
work(struct run *run)
{
    const struct handle *h = &run->handle[input_u8(&run->in) % HANDLES];
    struct ring_maps maps = {0};
    struct ring_view v;
    uint32_t version;
    bool writes = h->type == WIRE_PUB_OPEN;

    if (!size_of(h->fds[0], &maps.data_size) || !size_of(h->fds[1], &maps.control_size))
        return;
    if (!shm_segment_map(h->fds[0], maps.data_size, &maps.data) &&
        !shm_segment_map(h->fds[1], maps.control_size, &maps.control) &&
        !shm_segment_writable(h->fds[1], maps.control, 0, maps.control_size) &&
        (!writes || !shm_segment_writable(h->fds[0], maps.data, 0, maps.data_size)) &&
        !ring_join(&v, &maps, &version)) {
        if (writes && h->index < v.geo.max_publishers)
            publish(run, &v, h);
        if (h->type == WIRE_SUB_OPEN && h->index < v.geo.max_cursors)
            acknowledge(run, &v, h);
    }
    shm_segment_unmap(maps.data, maps.data_size);
    shm_segment_unmap(maps.control, maps.control_size);
}

/* --- what happens to the daemon --------------------------------------------------------------- */

static void
restart(struct run *run)
{
    for (int i = 0; i < CLIENTS; i++)
        hang_up(&run->client[i]);
    bus = bus_close(bus);
    start_bus();
}

/* The kernel says that a client has exited. */
static void
die(void)
{
    struct process *p = bus->processes;

    if (p && !p->dead)
        p->source.ready(&p->source, EPOLLIN);
}

static void
wait_a_moment(struct run *run)
{
    uint8_t how = input_u8(&run->in);

    if (how & 1)
        io_drain(bus->io);
    turn(1 + (how >> 1 & 3));
    if (how > 250)
        MUST(!loop_turn(bus->loop, loop_clock() + 2000000));
}

static void
step(struct run *run)
{
    struct client *c = &run->client[input_u8(&run->in) % CLIENTS];
    uint8_t what = input_u8(&run->in) % 40;

    if (what >= 1 && what <= 12) {
        ask(run, c, what);
        return;
    }
    switch (what) {
    case 0:
        connect_client(run, c);
        ask(run, c, WIRE_HELLO);
        break;
    case 13:
        send_bytes(run, c);
        break;
    case 14:
        ask(run, c, WIRE_TYPES);
        break;
    case 15:
        hang_up(c);
        break;
    case 16:
        truncate_object(run);
        break;
    case 17:
        restart(run);
        break;
    case 18:
        die();
        break;
    case 19:
        connect_client(run, c);
        break;
    case 20:
    case 21:
    case 22:
    case 23:
        scribble(run);
        break;
    case 24:
    case 25:
    case 26:
    case 27:
    case 28:
        work(run);
        break;
    default:
        wait_a_moment(run);
        take_answers(run, c);
    }
}

/* --- afterwards ------------------------------------------------------------------------------- */

static int
request(int socket, union wire_any *p, uint16_t type, const char *name)
{
    int fds[WIRE_FDS_MAX], n;

    wire_begin(p, wire_request_size(type), (enum wire_type)type, type);
    if (type == WIRE_HELLO)
        p->hello.oldest = p->hello.newest = WIRE_VERSION;
    else
        copy_name(p->topic.name, sizeof p->topic.name, name);
    if (type == WIRE_TOPIC_CREATE)
        p->topic.options.given = WIRE_GIVEN_RULE;
    MUST(!wire_send(socket, p, NULL, 0, 0));
    turn(1);
    n = wire_receive(socket, p, fds, MSG_DONTWAIT);
    MUST(n > 0 && !wire_check_answer(p, (size_t)n, type, type));
    for (int i = 0; i < WIRE_FDS_MAX; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    if (p->h.status)
        (void)fprintf(stderr, "%s\n", p->answer.text);
    return p->h.status;
}

/* The bus goes on with a topic that nobody touched. */
static void
probe(void)
{
    union wire_any p;
    int s = -1;

    MUST(!wire_connect(bus_path, &s));
    turn(1);
    MUST(!request(s, &p, WIRE_HELLO, ""));
    MUST(!request(s, &p, WIRE_TOPIC_CREATE, "probe"));
    MUST(!request(s, &p, WIRE_PUB_OPEN, "probe"));
    MUST(!request(s, &p, WIRE_TOPIC_REMOVE, "probe"));
    close(s);
}

static void
finish(struct run *run)
{
    unsigned objects = 0;

    for (int i = 0; i < CLIENTS; i++)
        hang_up(&run->client[i]);
    turn(3);
    MUST(!bus->sessions && !bus->session_count);
    if (!bus->processes || !bus->processes->dead)
        probe();
    for (int i = 0; i < HANDLES; i++)
        drop_handle(&run->handle[i]);
    turn(2);
    settle();
    remove_topics();
    settle();
    MUST(!bus->topics && !bus->sessions && !bus->processes);
    MUST(!io_pending(bus->io));
    MUST(!memory_list(bus->prefix, count_object, &objects) && !objects);
    MUST(count_descriptors() == descriptors_before);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct run run = {.in = {.at = data, .left = len}};

    if (!bus)
        start();
    descriptors_before = count_descriptors();
    for (int i = 0; i < CLIENTS; i++)
        run.client[i].socket = -1;
    for (int i = 0; i < HANDLES; i++)
        run.handle[i] = (struct handle){.fds = {-1, -1}};
    /* Only what says so by its first byte: in the others every byte is a step's. */
    if (run.in.left && *run.in.at == 0xff) {
        run.hooks = HOOKS_MAX;
        (void)input_u8(&run.in);
    }
#if defined(LEAT_TESTPOINTS)
    shm_testpoint_hook = on_step;
#endif
    hooked = &run;
    for (int i = 0; i < OPS_MAX && run.in.left; i++)
        step(&run);
    hooked = NULL;
    finish(&run);
    return 0;
}
