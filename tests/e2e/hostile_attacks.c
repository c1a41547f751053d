#include "tests/e2e/hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ring/ring.h"

#define PATIENCE_MS 20000

int
hostile_connect(const struct hostile *h)
{
    struct wire_answer answer;
    union wire_any p;
    int s;

    if (wire_connect(h->bus, &s))
        return -1;
    wire_begin(&p, sizeof p.hello, WIRE_HELLO, 1);
    p.hello.oldest = p.hello.newest = WIRE_VERSION;
    if (!hostile_ask(s, &p, &answer, NULL))
        return s;
    close(s);
    return -1;
}

int
hostile_ask(int socket, union wire_any *packet, struct wire_answer *ret, int fds[WIRE_FDS_MAX])
{
    struct pollfd p = {.fd = socket, .events = POLLIN};
    union wire_any got;
    int own[WIRE_FDS_MAX], n, r = wire_send(socket, packet, NULL, 0, 0);

    if (r)
        return r;
    do {
        if (poll(&p, 1, PATIENCE_MS) != 1)
            return -ETIMEDOUT;
        n = wire_receive(socket, &got, own, 0);
        if (n <= 0)
            return n ? n : -EPIPE;
        r = wire_check_answer(&got, (size_t)n, packet->h.type, packet->h.id);
    } while (r == -EAGAIN);
    if (r)
        return r;
    *ret = got.answer;
    for (int i = 0; i < WIRE_FDS_MAX; i++) {
        if (fds)
            fds[i] = own[i];
        else if (own[i] >= 0)
            close(own[i]);
    }
    return ret->h.status;
}

/* --- no rule allows it ------------------------------------------------------------------------ */

/* Status and no descriptor, whatever is asked about the closed topic. */
static int
ask_closed(int s, enum wire_type type, const char *name, uint64_t id)
{
    struct wire_answer answer = {.fds = 0};
    union wire_any p;
    int fds[WIRE_FDS_MAX] = {-1, -1}, r;

    wire_begin(&p, wire_request_size((uint16_t)type), type, 7);
    switch (type) {
    case WIRE_SUB_OPEN:
        (void)snprintf(p.sub_open.topic, sizeof p.sub_open.topic, "%s", name);
        break;
    case WIRE_SUB_REMOVE:
        (void)snprintf(p.sub_remove.topic, sizeof p.sub_remove.topic, "%s", name);
        (void)snprintf(p.sub_remove.name, sizeof p.sub_remove.name, "name");
        break;
    case WIRE_LOG_OPEN:
    case WIRE_POSITION:
        p.position.topic_id = id;
        p.position.start = WIRE_AT_SEQ;
        p.position.value = 1;
        break;
    default:
        (void)snprintf(p.topic.name, sizeof p.topic.name, "%s", name);
        break;
    }
    r = hostile_ask(s, &p, &answer, fds);
    return answer.fds || fds[0] >= 0 || fds[1] >= 0 ? -EBADFD : r;
}

static int
is_refused_everywhere(struct hostile *h)
{
    static const enum wire_type types[] = {WIRE_TOPIC_CREATE, WIRE_TOPIC_REMOVE, WIRE_TOPIC_INFO,
                                           WIRE_PUB_OPEN,     WIRE_SUB_OPEN,     WIRE_SUB_REMOVE,
                                           WIRE_LOG_OPEN,     WIRE_POSITION};
    struct leat_options o = LEAT_OPTIONS_INIT;
    leat_bus *bus;
    int s = hostile_connect(h);

    HOSTILE_MUST(h, s >= 0);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        int r = ask_closed(s, types[i], "closed", h->closed_id);
        if (r != -EACCES)
            return hostile_fail(h, "request %d about a closed topic: %d", types[i], r);
        r = ask_closed(s, types[i], "closed.ruined", h->ruined_id);
        if (r != -EACCES)
            return hostile_fail(h, "request %d about a closed topic that is damaged: %d", types[i],
                                r);
    }
    close(s);
    o.path = h->bus;
    HOSTILE_MUST(h, leat_open(&o, &bus) == 0);
    HOSTILE_MUST(h, leat_topic_create(bus, "nothing.allows.this", NULL) == -EACCES);
    HOSTILE_MUST(h, leat_topic_remove(bus, "shared") == -EACCES);
    HOSTILE_MUST(h, strstr(leat_error(bus), "owner") != NULL);
    leat_close(bus);
    /* Nor past the daemon. */
    HOSTILE_MUST(h, open(h->store, O_RDONLY) < 0 && errno == EACCES);
    return 0;
}

/* --- limits ----------------------------------------------------------------------------------- */

/* What is wanted, how much of it there may be, and where that is set. */
static bool
names(leat_bus *bus, const char *thing, const char *limit, const char *setting)
{
    const char *text = leat_error(bus);

    return strstr(text, thing) && strstr(text, limit) && strstr(text, setting);
}

/* The lanes of a topic that is theirs count as well: two publishers fit in 4M, no third one. */
static int
has_limited_lanes(struct hostile *h, leat_bus *bus)
{
    struct leat_topic_options t = LEAT_TOPIC_OPTIONS_INIT;
    leat_pub *pub[3];

    t.lane_size = 1 << 20;
    t.depth = 1 << 14;
    HOSTILE_MUST(h, leat_topic_create(bus, "open.lanes", &t) == 0);
    HOSTILE_MUST(h, leat_pub_open(bus, "open.lanes", NULL, &pub[0]) == 0);
    HOSTILE_MUST(h, leat_pub_open(bus, "open.lanes", NULL, &pub[1]) == 0);
    HOSTILE_MUST(h, leat_pub_open(bus, "open.lanes", NULL, &pub[2]) == -EDQUOT);
    HOSTILE_MUST(h, names(bus, "lane", "4194304", "[bus] user_shm"));
    leat_pub_close(pub[0]);
    HOSTILE_MUST(h, leat_pub_open(bus, "open.lanes", NULL, &pub[2]) == 0);
    HOSTILE_MUST(h, leat_topic_remove(bus, "open.lanes") == 0);
    return 0;
}

/* Of a topic that is another's they get some places, and not all. */
static int
has_limited_seats(struct hostile *h, leat_bus *bus)
{
    leat_pub *pub[HOSTILE_SEATS], *more;
    leat_sub *sub[HOSTILE_SEATS], *another;

    for (int i = 0; i < HOSTILE_SEATS; i++) {
        HOSTILE_MUST(h, leat_pub_open(bus, "shared", NULL, &pub[i]) == 0);
        HOSTILE_MUST(h, leat_sub_open(bus, "shared", NULL, &sub[i]) == 0);
    }
    HOSTILE_MUST(h, leat_pub_open(bus, "shared", NULL, &more) == -EDQUOT);
    HOSTILE_MUST(h, names(bus, "publishers", "3", "[bus] user_seats"));
    HOSTILE_MUST(h, leat_sub_open(bus, "shared", NULL, &another) == -EDQUOT);
    HOSTILE_MUST(h, names(bus, "subscribers", "3", "[bus] user_seats"));
    leat_pub_close(pub[0]);
    HOSTILE_MUST(h, leat_pub_open(bus, "shared", NULL, &more) == 0);
    leat_pub_close(more);
    for (int i = 1; i < HOSTILE_SEATS; i++)
        leat_pub_close(pub[i]);
    for (int i = 0; i < HOSTILE_SEATS; i++)
        leat_sub_close(sub[i]);
    return 0;
}

static int
has_limits(struct hostile *h)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    struct leat_topic_options t = LEAT_TOPIC_OPTIONS_INIT;
    leat_bus *bus[HOSTILE_SESSIONS], *more;
    char name[32];

    o.path = h->bus;
    for (int i = 0; i < HOSTILE_SESSIONS; i++)
        HOSTILE_MUST(h, leat_open(&o, &bus[i]) == 0);
    HOSTILE_MUST(h, leat_open(&o, &more) == -EDQUOT);
    HOSTILE_MUST(h, names(NULL, "sessions", "8", "[bus] user_sessions"));
    for (int i = 1; i < HOSTILE_SESSIONS; i++)
        leat_close(bus[i]);
    t.depth = 1 << 20;
    HOSTILE_MUST(h, leat_topic_create(bus[0], "open.large", &t) == -EDQUOT);
    HOSTILE_MUST(h, names(bus[0], "shared memory", "4194304", "[bus] user_shm"));
    for (int i = 0; i < HOSTILE_TOPICS; i++) {
        (void)snprintf(name, sizeof name, "open.%d", i);
        HOSTILE_MUST(h, leat_topic_create(bus[0], name, NULL) == 0);
    }
    HOSTILE_MUST(h, leat_topic_create(bus[0], "open.more", NULL) == -EDQUOT);
    HOSTILE_MUST(h, names(bus[0], "topics", "4", "[bus] user_topics"));
    for (int i = 0; i < HOSTILE_TOPICS; i++) {
        (void)snprintf(name, sizeof name, "open.%d", i);
        HOSTILE_MUST(h, leat_topic_remove(bus[0], name) == 0);
    }
    if (has_limited_lanes(h, bus[0]) || has_limited_seats(h, bus[0]))
        return 1;
    leat_close(bus[0]);
    return 0;
}

/* --- floods ----------------------------------------------------------------------------------- */

static int
flood_connections(struct hostile *h)
{
    int held[64], s;

    for (int i = 0; i < 3000; i++) {
        int at = i % 64;
        if (i >= 64 && held[at] >= 0)
            close(held[at]);
        held[at] = wire_connect(h->bus, &s) ? -1 : s;
    }
    return 0;
}

static int
flood_requests(struct hostile *h)
{
    int s = hostile_connect(h), r = 0;
    union wire_any p;

    HOSTILE_MUST(h, s >= 0);
    /* Answers are never read: the daemon cuts the session after so many. */
    wire_begin(&p, sizeof p.topic, WIRE_TOPIC_INFO, 9);
    (void)snprintf(p.topic.name, sizeof p.topic.name, "shared");
    for (uint32_t i = 0; i < 1000000 && (!r || r == -EAGAIN); i++) {
        struct pollfd ready = {.fd = s, .events = POLLOUT};
        if (r)
            (void)poll(&ready, 1, PATIENCE_MS);
        r = wire_send(s, &p, NULL, 0, MSG_DONTWAIT);
    }
    HOSTILE_MUST(h, r == -EPIPE || r == -ECONNRESET);
    close(s);
    s = hostile_connect(h);
    HOSTILE_MUST(h, s >= 0);
    wire_begin(&p, sizeof p.ring, WIRE_RING, 0);
    p.ring.topic_id = h->closed_id;
    for (int i = 0; i < 20000; i++)
        (void)wire_send(s, &p, NULL, 0, MSG_DONTWAIT);
    close(s);
    return 0;
}

static int
flood_topics(struct hostile *h)
{
    struct wire_answer answer;
    union wire_any p;
    int s = hostile_connect(h), made = 0, r;

    HOSTILE_MUST(h, s >= 0);
    for (uint32_t i = 0; i < 2000; i++) {
        wire_begin(&p, sizeof p.topic, i % 2 ? WIRE_TOPIC_CREATE : WIRE_PUB_OPEN, i + 2);
        (void)snprintf(p.topic.name, sizeof p.topic.name, "open.flood.%u", i);
        r = hostile_ask(s, &p, &answer, NULL);
        HOSTILE_MUST(h, !r || r == -EDQUOT);
        made += !r;
    }
    HOSTILE_MUST(h, made == HOSTILE_TOPICS || !h->root);
    for (uint32_t i = 0; i < 2000; i++) {
        wire_begin(&p, sizeof p.topic, WIRE_TOPIC_REMOVE, i + 5000);
        (void)snprintf(p.topic.name, sizeof p.topic.name, "open.flood.%u", i);
        made -= !hostile_ask(s, &p, &answer, NULL);
    }
    HOSTILE_MUST(h, !made);
    close(s);
    return 0;
}

/* --- packets ---------------------------------------------------------------------------------- */

/* Sends bytes, and perhaps descriptors of all kinds with them. */
static int
send_bytes(int s, const void *bytes, size_t len, unsigned nfds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 32)];
    } control = {.bytes = {0}};
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
    struct msghdr msg = {.msg_iov = &part, .msg_iovlen = 1};
    int fds[32];

    if (nfds) {
        struct cmsghdr *c = &control.align;
        for (unsigned i = 0; i < nfds; i++)
            fds[i] = s;
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
    }
    return sendmsg(s, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Now and then a header that is nearly right, so that the rest is looked at. */
static size_t
make_packet(struct prng *random, unsigned char *bytes)
{
    uint16_t type = (uint16_t)prng_below(random, WIRE_TYPES + 2u);
    size_t len = prng_below(random, 700), right = wire_request_size(type);

    for (size_t i = 0; i < len; i++)
        bytes[i] = (unsigned char)prng_next(random);
    if (prng_below(random, 4) && right) {
        struct wire_header header = {
            .size = (uint32_t)right, .version = WIRE_VERSION, .type = type, .id = 3};
        len = right;
        if (prng_below(random, 2))
            memset(bytes, 0, len);
        memcpy(bytes, &header, sizeof header);
        for (uint64_t n = prng_below(random, 9); n; n--)
            bytes[sizeof header + prng_below(random, len - sizeof header)] =
                (unsigned char)prng_next(random);
    }
    return len;
}

static int
send_nonsense(struct hostile *h)
{
    static unsigned char bytes[200000];
    struct prng random = {h->seed};
    int s = -1, sent = 0, r;

    for (int i = 0; i < 6000; i++) {
        union wire_any drop;
        size_t len = prng_below(&random, 200) ? make_packet(&random, bytes) : sizeof bytes;
        if (s < 0)
            s = prng_below(&random, 8) ? hostile_connect(h) : wire_connect(h->bus, &s) ? -1 : s;
        if (s < 0)
            continue;
        if (prng_below(&random, 10) == 0)
            len = 1 + prng_below(&random, 15);
        r = send_bytes(s, bytes, len, (unsigned)prng_below(&random, 3) * 3);
        sent += !r;
        while (recv(s, &drop, sizeof drop, MSG_DONTWAIT) > 0)
            ;
        if ((r && r != -EAGAIN) || prng_below(&random, 20) == 0) {
            close(s);
            s = -1;
        }
    }
    HOSTILE_MUST(h, sent > 3000);
    return 0;
}

/* Nothing but nonsense between two good questions: each of these ends the session or is refused, and none is taken for another. */
static int
send_half(struct hostile *h)
{
    static const size_t lens[] = {0, 1, sizeof(struct wire_header) - 1, sizeof(struct wire_header)};
    struct wire_answer answer;
    union wire_any p;
    int s, r;

    wire_begin(&p, sizeof p.topic, WIRE_TOPIC_INFO, 2);
    (void)snprintf(p.topic.name, sizeof p.topic.name, "shared");
    for (unsigned nfds = 0; nfds < 33; nfds += 8)
        for (size_t i = 0; i < 2 * sizeof lens / sizeof *lens; i++) {
            size_t len = i % 2 ? sizeof p.topic - lens[i / 2] - 1 : lens[i / 2];
            s = hostile_connect(h);
            HOSTILE_MUST(h, s >= 0);
            r = send_bytes(s, &p, len, nfds > 32 ? 32 : nfds);
            HOSTILE_MUST(h, !r);
            r = hostile_ask(s, &p, &answer, NULL);
            HOSTILE_MUST(h, r == -EPIPE || r == -ECONNRESET || r == -EBADMSG || !r);
            close(s);
        }
    return 0;
}

/* --- a subscriber ----------------------------------------------------------------------------- */

/* Past the map's protection, the descriptor's mode and the name. */
static int
stays_read_only_elsewhere(struct hostile *h, int fd, unsigned char *map)
{
    unsigned char was = map[0], byte = (unsigned char)~was;
    struct iovec from = {&byte, 1}, to = {map, 1};
    char path[64];
    void *private;
    int mem = open("/proc/self/mem", O_RDWR), own;

    if (mem >= 0)
        HOSTILE_MUST(h, pwrite(mem, &byte, 1, (off_t)(uintptr_t)map) < 0);
    HOSTILE_MUST(h, process_vm_writev(getpid(), &from, 1, &to, 1, 0) < 0);
    HOSTILE_MUST(h, madvise(map, SHM_PAGE, MADV_REMOVE) && errno == EACCES);
    HOSTILE_MUST(h, fcntl(fd, F_SETFL, O_RDWR) == 0 && pwrite(fd, "x", 1, 0) < 0);
    HOSTILE_MUST(h, fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0);
    HOSTILE_MUST(h, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SHM_PAGE));
    own = memfd_create("own", 0);
    HOSTILE_MUST(h, own >= 0 && pwrite(own, "x", 1, 0) == 1);
    HOSTILE_MUST(h, copy_file_range(own, &(off_t){0}, fd, &(off_t){0}, 1, 0) < 0);
    /* A copy of one's own may be changed: it is nobody else's. */
    private = mmap(NULL, SHM_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    HOSTILE_MUST(h, private != MAP_FAILED);
    memset(private, byte, 1);
    HOSTILE_MUST(h, map[0] == was);
    if (h->root) {
        (void)snprintf(path, sizeof path, "/proc/%d/fd", h->daemon);
        HOSTILE_MUST(h, open(path, O_RDONLY) < 0 && errno == EACCES);
    }
    return 0;
}

static int
stay_read_only(struct hostile *h)
{
    int s = hostile_connect(h), fds[WIRE_FDS_MAX] = {-1, -1}, again;
    struct wire_answer answer;
    union wire_any p;
    char path[64];
    void *map;

    HOSTILE_MUST(h, s >= 0);
    wire_begin(&p, sizeof p.sub_open, WIRE_SUB_OPEN, 2);
    (void)snprintf(p.sub_open.topic, sizeof p.sub_open.topic, "shared");
    HOSTILE_MUST(h, hostile_ask(s, &p, &answer, fds) == 0);
    map = mmap(NULL, SHM_PAGE, PROT_READ, MAP_SHARED, fds[0], 0);
    HOSTILE_MUST(h, map != MAP_FAILED);
    if (stays_read_only_elsewhere(h, fds[0], map))
        return 1;
    HOSTILE_MUST(h, mprotect(map, SHM_PAGE, PROT_READ | PROT_WRITE) && errno == EACCES);
    HOSTILE_MUST(h, mmap(NULL, SHM_PAGE, PROT_WRITE, MAP_SHARED, fds[0], 0) == MAP_FAILED);
    HOSTILE_MUST(h, pwrite(fds[0], "x", 1, 0) < 0 && errno == EBADF);
    HOSTILE_MUST(h, ftruncate(fds[0], 0) && errno == EINVAL);
    HOSTILE_MUST(h, fallocate(fds[0], 0, 0, 1 << 30) && errno == EBADF);
    if (h->root) {
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fds[0]);
        again = open(path, O_RDWR);
        HOSTILE_MUST(h, again < 0 && errno == EACCES);
        HOSTILE_MUST(h, fchmod(fds[0], 0666) && errno == EPERM);
    }
    close(s);
    return 0;
}

const struct attack hostile_attacks[] = {
    {"no rule allows it", is_refused_everywhere, true},
    {"limits of a user", has_limits, true},
    {"a flood of connections", flood_connections, false},
    {"a flood of requests", flood_requests, false},
    {"a flood of topics", flood_topics, true},
    {"random packets and descriptors", send_nonsense, false},
    {"half packets and descriptors nobody asked for", send_half, false},
    {"a subscriber that wants to write", stay_read_only, false},
    {NULL, NULL, false},
};
