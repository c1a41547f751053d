/* The connection to the daemon. Nothing of an attachment lives in it: a bus whose socket broke
 * connects again when it next has something to say, and says first what it could not say before. */
#include "client/client.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "shm/testpoint.h"

#define TIMEOUT_NS 5000000000ll
#define NO_WAIT (-1) /* a deadline for one who does not wait for the answer */
#define RETRY_MS 2   /* between two looks for a daemon that is starting, or whose backlog is full */

int64_t
leat__now(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

uint64_t
leat__realtime(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME_COARSE, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int64_t
leat__deadline(int64_t timeout_ns)
{
    int64_t now = leat__now();

    return timeout_ns < 0 || timeout_ns > LEAT__EVER - now ? LEAT__EVER : now + timeout_ns;
}

int64_t
leat__left(int64_t deadline, int64_t most)
{
    int64_t left;

    if (deadline == LEAT__EVER)
        return most;
    left = deadline - leat__now();
    return left < most ? left : most;
}

void *
leat__new(size_t size)
{
    size_t room = (size_t)shm_align(size, SHM_APART);
    void *new = aligned_alloc(SHM_APART, room);

    return new ? memset(new, 0, room) : NULL;
}

void
leat__close_fds(int fds[WIRE_FDS_MAX])
{
    for (int i = 0; i < WIRE_FDS_MAX; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
        fds[i] = -1;
    }
}

/* --- one packet ------------------------------------------------------------------------------- */

/* What is being waited for. */
struct call {
    uint32_t id;
    uint16_t type;
    int64_t deadline;
    struct leat__answer *answer;
};

static int
wait_socket(int socket, short events, int64_t deadline)
{
    struct pollfd p = {.fd = socket, .events = events};
    int64_t left = leat__left(deadline, 1000000000);
    int r;

    if (left <= 0)
        return -ETIMEDOUT;
    r = poll(&p, 1, (int)((left + 999999) / 1000000));
    return r < 0 && errno != EINTR ? -errno : 0;
}

static int
keep_grave(struct leat_bus *b, const struct leat__grave *grave)
{
    if (b->grave_count == b->grave_room) {
        uint32_t room = b->grave_room ? b->grave_room * 2 : 8;
        void *more = realloc(b->graves, room * sizeof *b->graves);
        if (!more)
            return -ENOMEM;
        b->graves = more;
        b->grave_room = room;
    }
    b->graves[b->grave_count++] = *grave;
    return 0;
}

/* An answer that nobody waits for any more: of a greeting that was sent ahead, of a close, or of a
 * question that was given up. What the daemon has opened for such a one is closed again. */
static void
put_aside(struct leat_bus *b, const struct wire_answer *a)
{
    struct leat__grave grave = {
        .topic_id = a->topic_id, .generation = a->generation, .index = a->index};

    if (a->h.status)
        return;
    if (a->h.type == WIRE_HELLO) {
        b->bus_id = a->bus_id;
        b->incarnation = a->incarnation;
    } else if (a->h.type == WIRE_PUB_OPEN || a->h.type == WIRE_SUB_OPEN) {
        grave.type = a->h.type == WIRE_PUB_OPEN ? WIRE_PUB_CLOSE : WIRE_SUB_CLOSE;
        (void)keep_grave(b, &grave);
    }
}

/* The number of the next question: 0 is for what is not answered. */
static uint32_t
next_id(struct leat_bus *b)
{
    b->id += b->id == UINT32_MAX ? 2 : 1;
    return b->id;
}

static int
await(struct leat_bus *b, int socket, const struct call *c)
{
    for (;;) {
        union wire_any packet;
        int fds[WIRE_FDS_MAX];
        int r, n = wire_receive(socket, &packet, fds, MSG_DONTWAIT);

        if (n == -EAGAIN) {
            r = wait_socket(socket, POLLIN, c->deadline);
            if (r)
                return r;
            continue;
        }
        if (n <= 0)
            return n ? n : -ECONNRESET;
        r = wire_check_answer(&packet, (size_t)n, c->type, c->id);
        if (!r) {
            c->answer->a = packet.answer;
            memcpy(c->answer->fds, fds, sizeof fds);
            return 0;
        }
        leat__close_fds(fds);
        if (r != -EAGAIN)
            return r;
        put_aside(b, &packet.answer);
    }
}

static int
send_all(int socket, const void *packet, int64_t deadline)
{
    for (;;) {
        int r = wire_send(socket, packet, NULL, 0, MSG_DONTWAIT);
        if (r != -EAGAIN)
            return r;
        r = wait_socket(socket, POLLOUT, deadline);
        if (r)
            return r;
    }
}

/* --- connecting ------------------------------------------------------------------------------- */

static int
greet(struct leat_bus *b, int socket, int64_t deadline)
{
    struct leat__answer answer = {.fds = {-1, -1}};
    struct wire_hello hello;
    struct call call = {.type = WIRE_HELLO, .deadline = deadline, .answer = &answer};
    int r;

    wire_begin(&hello, sizeof hello, WIRE_HELLO, next_id(b));
    hello.oldest = WIRE_VERSION;
    hello.newest = WIRE_VERSION;
    call.id = b->id;
    r = wire_send(socket, &hello, NULL, 0, MSG_DONTWAIT);
    if (r || deadline == NO_WAIT)
        return r;
    r = await(b, socket, &call);
    if (r)
        return r;
    leat__close_fds(answer.fds);
    (void)snprintf(b->refusal, sizeof b->refusal, "%s", answer.a.text);
    if (!answer.a.h.status)
        put_aside(b, &answer.a);
    return answer.a.h.status;
}

static int
send_ring(int socket, uint64_t topic_id)
{
    struct wire_ring packet;

    wire_begin(&packet, sizeof packet, WIRE_RING, 0);
    packet.topic_id = topic_id;
    return wire_send(socket, &packet, NULL, 0, MSG_DONTWAIT);
}

static void
close_packet(const struct leat__grave *grave, struct wire_handle *ret)
{
    wire_begin(ret, sizeof *ret, grave->type, 0);
    ret->topic_id = grave->topic_id;
    ret->generation = grave->generation;
    ret->index = grave->index;
}

/* Tells the daemon of handles that were closed while it could not be told, or never became anybody's.
 * One way, because there may be any number of them and nobody here who reads answers. */
static void
tell_graves(struct leat_bus *b, int64_t deadline)
{
    uint32_t told = 0;

    for (; told < b->grave_count; told++) {
        struct wire_handle packet;
        close_packet(&b->graves[told], &packet);
        if (send_all(b->socket, &packet, deadline))
            break;
    }
    b->grave_count -= told;
    if (told)
        memmove(b->graves, b->graves + told, b->grave_count * sizeof *b->graves);
}

/* What a new connection is told first: what is closed, and, because a ring may have been lost with
 * the old one, to look at everything that is open. */
static void
catch_up(struct leat_bus *b, int64_t deadline)
{
    tell_graves(b, deadline);
    for (const struct leat_pub *p = b->pubs; p; p = p->next)
        (void)send_ring(b->socket, p->map.topic_id);
    for (const struct leat_sub *s = b->subs; s; s = s->next)
        if (s->gating || s->durable || s->durable_only)
            (void)send_ring(b->socket, s->map.topic_id);
}

/* One attempt. The bus keeps its socket's number, so that those who ring without the lock never
 * meet a stranger's descriptor. */
static int
connect_once(struct leat_bus *b, int64_t deadline)
{
    int fd, r = wire_connect(b->path, &fd);

    if (r)
        return r;
    TESTPOINT("conn.connected");
    r = greet(b, fd, deadline);
    if (!r && b->socket >= 0 && dup3(fd, b->socket, O_CLOEXEC) < 0)
        r = -errno;
    if (r || b->socket >= 0)
        close(fd);
    if (r)
        return r;
    if (b->socket < 0)
        b->socket = fd;
    b->connected = true;
    TESTPOINT("conn.greeted");
    catch_up(b, deadline);
    return 0;
}

static bool
is_absence(int r)
{
    return r == -ENOENT || r == -ECONNREFUSED || r == -ECONNRESET || r == -EPIPE;
}

/* Connects, waiting while the daemon's backlog is full. */
static int
connect_patiently(struct leat_bus *b, int64_t deadline)
{
    for (;;) {
        int r = connect_once(b, deadline);
        if (r != -EAGAIN)
            return r;
        if (leat__left(deadline, 1) <= 0)
            return -ETIMEDOUT;
        (void)poll(NULL, 0, RETRY_MS);
    }
}

/* Connects, starting a daemon if that has been asked for. Of two who start one at once the daemon's
 * own lock lets one live, so what counts is only that some daemon answers in time. */
static int
reach(struct leat_bus *b, int64_t deadline)
{
    char mine[LEAT__PATH];
    int s, r = connect_patiently(b, deadline);

    if (!b->autostart || !is_absence(r))
        return r;
    s = leat__start(b->path, !leat__user_path(mine) && !strcmp(mine, b->path), deadline);
    if (s)
        return s;
    for (;;) {
        r = connect_patiently(b, deadline);
        if (!is_absence(r) || leat__left(deadline, 1) <= 0)
            return r;
        (void)poll(NULL, 0, RETRY_MS);
    }
}

/* --- rings ------------------------------------------------------------------------------------ */

/* Whoever finds the lock free connects and rings for all; whoever holds it looks here when he lets
 * go. */
static void
pay_rings(struct leat_bus *b)
{
    int r;

    while (atom_load_seq(&b->ring_owed) && !pthread_mutex_trylock(&b->lock)) { /* seq: RING_OWED */
        atom_store_seq(&b->ring_owed, 0);                                      /* seq: RING_OWED */
        b->connected = false;
        r = connect_once(b, NO_WAIT);
        pthread_mutex_unlock(&b->lock);
        /* A daemon that lives and has no time for us yet is still owed its ring, and so is one that we have no means to reach;
         * one that is away is not: it looks at everything when it comes. */
        if (r == -EAGAIN || r == -EMFILE || r == -ENFILE || r == -ENOMEM) {
            atom_store_seq(&b->ring_owed, 1); /* seq: RING_OWED */
            return;
        }
    }
}

void
leat__unlock(struct leat_bus *b)
{
    pthread_mutex_unlock(&b->lock);
    if (SHM_UNLIKELY(atom_load_seq(&b->ring_owed))) /* seq: RING_OWED */
        pay_rings(b);
}

int
leat__ring(struct leat_bus *b, uint64_t topic_id)
{
    int r = send_ring(b->socket, topic_id);

    TESTPOINT("conn.rung");
    if (!r || r == -EAGAIN)
        return r;
    atom_store_seq(&b->ring_owed, 1); /* seq: RING_OWED */
    pay_rings(b);
    return 0;
}

void
leat__bury(struct leat_bus *b, const struct leat__grave *grave)
{
    struct leat__answer answer = {.fds = {-1, -1}};
    struct wire_handle packet;
    int r;

    close_packet(grave, &packet);
    r = leat__ask(b, &packet, &answer);
    if (!r) {
        leat__close_fds(answer.fds);
        return;
    }
    /* Whether it was told cannot always be known. Twice does no harm: a handle has a generation. */
    pthread_mutex_lock(&b->lock);
    (void)keep_grave(b, grave);
    leat__unlock(b);
}

/* --- questions -------------------------------------------------------------------------------- */

/* Takes the answers to questions that were given up. What they opened is closed before the next
 * question, which may be the same once more. */
static void
hear_late(struct leat_bus *b, int64_t deadline)
{
    struct leat__answer none;
    const struct call nothing = {.id = next_id(b), .deadline = NO_WAIT, .answer = &none};

    (void)await(b, b->socket, &nothing);
    tell_graves(b, deadline);
}

/* Whether an answer has the descriptors that it speaks of. What it opened without them is nobody's, and closed again. */
static int
check_fds(struct leat_bus *b, struct leat__answer *answer)
{
    uint32_t count = 0;

    while (count < WIRE_FDS_MAX && answer->fds[count] >= 0)
        count++;
    if (answer->a.h.status || count == answer->a.fds)
        return 0;
    leat__close_fds(answer->fds);
    put_aside(b, &answer->a);
    return -EMFILE;
}

static int
exchange(struct leat_bus *b, struct wire_header *request, const struct call *half)
{
    struct call call = *half;
    int r;

    hear_late(b, call.deadline);
    request->id = next_id(b);
    call.id = request->id;
    r = send_all(b->socket, request, call.deadline);
    TESTPOINT("conn.asked");
    if (!r)
        r = await(b, b->socket, &call);
    if (!r)
        r = check_fds(b, call.answer);
    tell_graves(b, NO_WAIT);
    return r;
}

/* What went wrong on the way, in words. */
static int
away(struct leat_bus *b, int r)
{
    if (r == -ETIMEDOUT)
        return leat__fail(b, r, "the daemon at %s did not answer within %lld ms (timeout_ns)",
                          b->path, (long long)b->timeout_ns / 1000000);
    if (r == -EPROTONOSUPPORT)
        return leat__fail(b, r, "the daemon at %s does not speak protocol version %d", b->path,
                          WIRE_VERSION);
    if (r == -EDQUOT)
        return leat__fail(b, r, "the daemon at %s: %s", b->path, b->refusal);
    if (r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -EBADMSG || r == -EACCES)
        return leat__fail(b, r, "talking to the daemon at %s: %s", b->path, leat_strerror(r));
    return leat__fail(b, -ECONNREFUSED, "no daemon answers at %s (%s): start leatd", b->path,
                      leat_strerror(r));
}

static bool
is_broken(int r)
{
    return r == -ECONNRESET || r == -EPIPE || r == -ENOTCONN;
}

int
leat__ask(struct leat_bus *b, void *request, struct leat__answer *ret)
{
    struct wire_header *h = request;
    struct leat__answer answer = {.fds = {-1, -1}};
    struct call call = {.type = h->type, .answer = &answer};
    int r = 0, status;

    pthread_mutex_lock(&b->lock);
    call.deadline = leat__deadline(b->timeout_ns);
    /* A socket is found to be broken when it is used; the second attempt has a new one. */
    for (int attempt = 0; attempt < 2; attempt++) {
        r = b->connected ? 0 : reach(b, call.deadline);
        if (!r)
            r = exchange(b, h, &call);
        if (!is_broken(r))
            break;
        b->connected = false;
    }
    leat__unlock(b);
    if (r)
        return away(b, r);
    status = answer.a.h.status;
    if (status) {
        leat__close_fds(answer.fds);
        return leat__fail(b, status, "%s",
                          answer.a.text[0] ? answer.a.text : leat_strerror(status));
    }
    *ret = answer;
    return 0;
}

/* --- open and close --------------------------------------------------------------------------- */

static atom_u32 *
new_life(void)
{
    void *page = mmap(NULL, SHM_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, SHM_PAGE, MADV_WIPEONFORK)) {
        munmap(page, SHM_PAGE);
        return NULL;
    }
    atom_store_relaxed((atom_u32 *)page, 1);
    return page;
}

static void
free_bus(struct leat_bus *b)
{
    if (b->socket >= 0)
        close(b->socket);
    if (b->life)
        munmap(b->life, SHM_PAGE);
    pthread_mutex_destroy(&b->lock);
    pthread_mutex_destroy(&b->error_lock);
    free(b->graves);
    free(b);
}

static struct leat_bus *
new_bus(const struct leat_options *o)
{
    struct leat_bus *b = calloc(1, sizeof *b);

    if (!b)
        return NULL;
    b->socket = -1;
    (void)pthread_mutex_init(&b->lock, NULL);
    (void)pthread_mutex_init(&b->error_lock, NULL);
    b->life = new_life();
    if (!b->life) {
        free_bus(b);
        return NULL;
    }
    b->timeout_ns = o->timeout_ns > 0 ? o->timeout_ns : TIMEOUT_NS;
    b->autostart = o->flags & LEAT_AUTOSTART;
    b->fenced = shm_event_register() != 0;
    b->alone = sysconf(_SC_NPROCESSORS_ONLN) <= 1;
    return b;
}

static int
open_failed(const struct leat_bus *b, int r)
{
    if (r == -ETIMEDOUT)
        return leat__fail_open(r, "the daemon at %s did not answer within %lld ms (timeout_ns)",
                               b->path, (long long)b->timeout_ns / 1000000);
    if (r == -EPROTONOSUPPORT)
        return leat__fail_open(r, "the daemon at %s does not speak protocol version %d", b->path,
                               WIRE_VERSION);
    if (r == -EDQUOT)
        return leat__fail_open(r, "the daemon at %s: %s", b->path, b->refusal);
    return leat__fail_open(is_broken(r) ? -ECONNREFUSED : r,
                           "no daemon answers at %s (%s): start leatd%s", b->path, leat_strerror(r),
                           b->autostart ? "" : ", or set LEAT_AUTOSTART");
}

int
leat_open(const struct leat_options *options, leat_bus **ret)
{
    struct leat_options o;
    struct leat_bus *b;
    bool mine;
    int r;

    if (!ret)
        return -EINVAL;
    r = leat__options(&o, sizeof o, options);
    if (!r && o.flags & ~LEAT_AUTOSTART)
        r = -E2BIG;
    if (r)
        return leat__fail_open(r, "leat_options: %s", leat_strerror(r));
    b = new_bus(&o);
    if (!b)
        return leat__fail_open(-ENOMEM, "no memory for a bus");
    r = leat__bus_path(o.path, b->path, &mine);
    if (!r) {
        r = reach(b, leat__deadline(b->timeout_ns));
        if (r)
            r = open_failed(b, r);
    } else {
        (void)leat__fail_open(r, "the bus's path: %s", leat_strerror(r));
    }
    if (r) {
        free_bus(b);
        return r;
    }
    *ret = b;
    return 0;
}

leat_bus *
leat_close(leat_bus *bus)
{
    if (!bus)
        return NULL;
    while (bus->pubs)
        (void)leat_pub_close(bus->pubs);
    while (bus->subs)
        (void)leat_sub_close(bus->subs);
    free_bus(bus);
    return NULL;
}
