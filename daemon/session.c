#include "daemon/session.h"
#include "daemon/topic.h"
#include "daemon/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/reap.h"
#include "daemon/report.h"
#include "daemon/request.h"
#include "shm/testpoint.h"

/* --- ends ------------------------------------------------------------------------------------- */

static void
close_all(int fds[WIRE_FDS_MAX])
{
    for (unsigned i = 0; i < WIRE_FDS_MAX; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

static void
free_session(struct session *s)
{
    for (uint32_t i = 0; i < s->queue_count; i++)
        close_all(s->queue[(s->queue_first + i) % SESSION_QUEUE].fds);
    free(s->queue);
    access_free(&s->who);
    (void)process_drop(s->process);
    free(s);
}

static void
end(struct session *s)
{
    s->ended = true;
    if (s->prev)
        s->prev->next = s->next;
    else
        s->bus->sessions = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->bus->session_count--;
    loop_remove(s->bus->loop, &s->source);
    close(s->source.fd);
    /* Whoever works on it now frees it when done. */
    if (!s->busy)
        free_session(s);
}

void
session_end(struct session *s)
{
    if (s->ended)
        return;
    if (s->opened)
        reap_session(s->bus, s->number);
    end(s);
}

void
session_end_all_of(const struct process *p)
{
    struct session *next;

    for (struct session *s = p->bus->sessions; s; s = next) {
        next = s->next;
        if (s->process == p)
            session_end(s);
    }
}

void
session_end_all(struct bus *bus)
{
    while (bus->sessions)
        end(bus->sessions);
}

/* --- answers ---------------------------------------------------------------------------------- */

/* What could not be sent waits for room in the socket; or, where the kernel counts too many descriptors on their way to all
 * clients together, for others to take theirs, of which nobody tells. Other errors are the session's end. */
static int
wait_to_send(struct session *s, int error)
{
    struct loop *loop = s->bus->loop;

    if (error == -EAGAIN)
        return loop_change(loop, &s->source, EPOLLIN | EPOLLOUT);
    if (error != -ETOOMANYREFS)
        return error;
    loop_set_by(loop, &s->bus->send_again, loop_now(loop) + SESSION_AGAIN_NS);
    return loop_change(loop, &s->source, EPOLLIN);
}

/* Sends what waits, as far as it can be: 0, or why not all of it. */
static int
send_waiting(struct session *s)
{
    while (s->queue_count) {
        struct session_answer *a = &s->queue[s->queue_first];
        int r = wire_send(s->source.fd, &a->packet, a->fds, a->packet.fds, MSG_DONTWAIT);
        if (r)
            return r;
        close_all(a->fds);
        s->queue_first = (s->queue_first + 1) % SESSION_QUEUE;
        s->queue_count--;
    }
    return 0;
}

static void
go_on_sending(struct session *s)
{
    int r = send_waiting(s);

    r = r ? wait_to_send(s, r) : loop_change(s->bus->loop, &s->source, EPOLLIN);
    if (r)
        session_end(s);
}

void
session_send_again(struct loop_timer *timer)
{
    struct bus *bus = timer->user;
    struct session *next;

    for (struct session *s = bus->sessions; s; s = next) {
        next = s->next;
        if (s->queue_count)
            go_on_sending(s);
    }
}

/* Lets an answer wait, with descriptors of its own. */
static int
keep(struct session *s, const struct wire_answer *answer, const int *fds)
{
    struct session_answer *a;

    if (!s->queue)
        s->queue = calloc(SESSION_QUEUE, sizeof *s->queue);
    if (!s->queue)
        return -ENOMEM;
    if (s->queue_count == SESSION_QUEUE)
        return -EOVERFLOW;
    a = &s->queue[(s->queue_first + s->queue_count) % SESSION_QUEUE];
    *a = (struct session_answer){.packet = *answer, .fds = {-1, -1}};
    for (uint32_t i = 0; fds && i < answer->fds; i++) {
        a->fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
        if (a->fds[i] < 0) {
            int r = -errno;
            close_all(a->fds);
            return r;
        }
    }
    s->queue_count++;
    return 0;
}

void
session_answer(struct session *s, const struct wire_answer *answer, const int *fds)
{
    int r = -EAGAIN;

    if (s->ended)
        return;
    if (!s->queue_count)
        r = wire_send(s->source.fd, answer, fds, answer->fds, MSG_DONTWAIT);
    if (r == -EAGAIN || r == -ETOOMANYREFS) {
        int kept = keep(s, answer, fds);
        r = kept ? kept : wait_to_send(s, r);
    }
    if (!r)
        return;
    if (r == -EOVERFLOW)
        report_warning(
            "process %u (user %u) does not read its answers: %d wait; its session is cut",
            s->who.pid, s->who.uid, SESSION_QUEUE);
    session_end(s);
}

/* --- packets ---------------------------------------------------------------------------------- */

/* Refuses a packet that is none; one-way ones get no answer. */
static void
refuse(struct session *s, const union wire_any *packet, int len, int error)
{
    struct wire_answer answer;

    if (len < (int)sizeof packet->h) {
        session_end(s);
        return;
    }
    wire_begin(&answer, sizeof answer, (enum wire_type)packet->h.type, packet->h.id);
    answer.h.status = error;
    if (error == -EPROTONOSUPPORT)
        why_text(answer.text, "the message has protocol version %u, this daemon speaks %d",
                 packet->h.version, WIRE_VERSION);
    else
        why_text(answer.text, "a message of type %u and %d bytes is malformed", packet->h.type,
                 len);
    if (!wire_is_one_way(&packet->h))
        session_answer(s, &answer, NULL);
}

/* One packet: false when there is none or the session has ended. */
static bool
handle_one(struct session *s)
{
    union wire_any packet;
    int n = wire_receive(s->source.fd, &packet, NULL, MSG_DONTWAIT), r;

    if (n == -EAGAIN)
        return false;
    if (n <= 0) {
        session_end(s);
        return false;
    }
    r = wire_check_request(&packet, (size_t)n);
    if (r)
        refuse(s, &packet, n, r);
    else
        request_handle(s, &packet);
    if (s->crowded)
        session_end(s);
    return !s->ended;
}

/* Looks at every topic that the session's process has a part in. */
static void
look_for(const struct session *s)
{
    for (struct topic *t = s->bus->topics; t; t = t->next)
        if (topic_has(t, s->process))
            watch_ask(t);
}

/* Handles what has come, for so long or so many: whether there may be more. */
static bool
handle_some(struct session *s)
{
    uint64_t until = loop_clock() + SESSION_TURN_NS;
    int left = SESSION_PACKETS;

    do
        if (s->ended || !handle_one(s))
            return false;
    while (--left && loop_clock() < until);
    return true;
}

static void
on_ready(struct loop_source *source, uint32_t events)
{
    struct session *s = source->user;

    s->busy = true;
    if (events & EPOLLOUT)
        go_on_sending(s);
    /* Perhaps its socket was full, and a ring of this process found no room: it is answered unheard. */
    if (handle_some(s))
        look_for(s);
    s->busy = false;
    if (s->ended)
        free_session(s);
}

/* --- beginnings ------------------------------------------------------------------------------- */

/* One above what its user may have is let in, to be told so; -EDQUOT: that one is there already. */
static int
count_in(const struct bus *bus, struct session *s)
{
    uint32_t most = bus->config.user_sessions, n = 0;

    if (!most || access_is_master(&s->who))
        return 0;
    for (const struct session *o = bus->sessions; o; o = o->next)
        n += o->who.uid == s->who.uid;
    if (n < most)
        return 0;
    report_warning("user %u (process %u) has %u sessions; [bus] user_sessions allows no more",
                   s->who.uid, s->who.pid, most);
    s->crowded = true;
    return n == most ? 0 : -EDQUOT;
}

/* Takes the socket over only with 0. */
static int
begin(struct bus *bus, int socket)
{
    struct session *s = calloc(1, sizeof *s);
    const int room = SESSION_SEND_BYTES;
    int pidfd = -1, r = s ? access_read(socket, &s->who, &pidfd) : -ENOMEM;

    if (!r)
        r = count_in(bus, s);
    if (!r && setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &room, sizeof room))
        r = -errno;
    if (r && pidfd >= 0)
        close(pidfd);
    if (!r)
        r = process_of_socket(bus, s->who.pid, pidfd, &s->process);
    if (!r) {
        s->bus = bus;
        s->number = ++bus->sessions_begun;
        s->source = (struct loop_source){.fd = socket, .ready = on_ready, .user = s};
        r = loop_add(bus->loop, &s->source, EPOLLIN);
    }
    if (r) {
        if (s)
            free_session(s);
        return r;
    }
    s->next = bus->sessions;
    if (s->next)
        s->next->prev = s;
    bus->sessions = s;
    bus->session_count++;
    TESTPOINT("session.begun");
    return 0;
}

static void
take_spare(struct bus *bus)
{
    if (bus->spare_fd < 0)
        bus->spare_fd = fcntl(bus->listener.fd, F_DUPFD_CLOEXEC, 0);
}

/* Without descriptors left the queue of the listener would keep the loop awake: one is given up to accept and close. False: there
 * was none to give up, or somebody else was faster to take it. */
static bool
turn_away(struct bus *bus)
{
    int s = -1;

    if (bus->spare_fd >= 0) {
        close(bus->spare_fd);
        bus->spare_fd = -1;
        s = accept4(bus->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    }
    if (s >= 0) {
        report_error(
            "no descriptors left (RLIMIT_NOFILE); %u sessions are open, a new one was refused",
            bus->session_count);
        close(s);
    }
    take_spare(bus);
    return s >= 0;
}

/* Who waits to be taken in goes on waiting, and the loop does not turn without end for him. */
static void
pause_accepting(struct bus *bus, int error)
{
    if (!bus->starved)
        report_error("nobody can be taken in now: %s; %u sessions are open",
                     report_error_text(error), bus->session_count);
    bus->starved = true;
    loop_remove(bus->loop, &bus->listener);
    loop_set(bus->loop, &bus->accept_again, loop_now(bus->loop) + SESSION_PAUSE_NS);
}

void
session_accept_again(struct loop_timer *timer)
{
    struct bus *bus = timer->user;

    take_spare(bus);
    if (loop_add(bus->loop, &bus->listener, EPOLLIN))
        loop_set(bus->loop, timer, loop_now(bus->loop) + SESSION_PAUSE_NS);
}

static void
take_in(struct bus *bus, int socket)
{
    int r = begin(bus, socket);

    bus->starved = false;
    if (!r)
        return;
    close(socket);
    if (r != -ESRCH && r != -EDQUOT)
        report_error("a client could not be taken in: %s", report_error_text(r));
}

void
session_accept(struct loop_source *listener, uint32_t events)
{
    struct bus *bus = listener->user;

    (void)events;
    for (int i = 0; i < SESSION_ACCEPTS; i++) {
        int s = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        int error = s < 0 ? errno : 0;
        if (error == EAGAIN)
            return;
        if (error == EINTR || error == ECONNABORTED)
            continue;
        if (!error) {
            take_in(bus, s);
        } else if ((error != EMFILE && error != ENFILE) || !turn_away(bus)) {
            pause_accepting(bus, -error);
            return;
        }
    }
}
