/* session.h - one connected client: its packets in, its answers out.
 *
 * The socket never blocks. Answers that do not fit wait, at most SESSION_QUEUE of them; one more ends the session: who never
 * reads gets cut, and holds nobody up. Both the queue and the socket are small, because every answer may carry descriptors: those
 * on their way count against the daemon's user, whoever does not take them, and above RLIMIT_NOFILE nobody gets any (ETOOMANYREFS,
 * which is waited out: it is not the fault of the session that is told so). A session handles at most SESSION_PACKETS packets a turn, and none after it has had
 * SESSION_TURN_NS, so a flood from one does not keep others waiting. A user's first session above [bus] user_sessions is let in
 * to be told so, whatever comes above that is closed at once. What was opened over a session belongs to its process and outlives
 * it, unless the process never claimed it: the answer did not reach it, or nobody waited for it any more. */
#ifndef DAEMON_SESSION_H
#define DAEMON_SESSION_H

#include "daemon/access.h"
#include "daemon/process.h"

#define SESSION_QUEUE 8
#define SESSION_SEND_BYTES 4096 /* room for some answers in the socket; the kernel doubles it */
#define SESSION_AGAIN_NS 10000000ull
#define SESSION_PACKETS 32
#define SESSION_TURN_NS 1000000
#define SESSION_ACCEPTS 16
#define SESSION_PAUSE_NS 100000000ull

struct session_answer {
    struct wire_answer packet;
    int fds[WIRE_FDS_MAX]; /* duplicates, owned while they wait */
};

struct session {
    struct session *next, *prev;
    struct bus *bus;
    uint64_t number; /* the how manyth of this daemon */
    struct access_who who;
    struct process *process; /* held */
    struct loop_source source;
    bool hello;  /* versions have been agreed on */
    bool opened; /* publishers or cursors were handed out over it */
    bool ended;
    bool crowded;                 /* one more than [bus] user_sessions: it is told so and ended */
    bool busy;                    /* its packets are being handled: freed afterwards */
    struct session_answer *queue; /* SESSION_QUEUE of them, allocated when first needed */
    uint32_t queue_first, queue_count;
};

/* session_accept takes in who waits at the bus's listener; where that cannot be, not even to turn him away, the listener is let
 * alone for SESSION_PAUSE_NS, after which session_accept_again comes back to it. Signatures of a source and a timer. */
void session_accept(struct loop_source *listener, uint32_t events);
void session_accept_again(struct loop_timer *timer);

/* session_answer sends an answer with descriptors (not taken over), or lets it wait, or ends the session. */
void session_answer(struct session *s, const struct wire_answer *answer, const int *fds);

/* session_send_again tries to send what waits. Its signature is a timer's. */
void session_send_again(struct loop_timer *timer);

/* session_end ends one; session_end_all_of those of a process, session_end_all all. */
void session_end(struct session *s);
void session_end_all_of(const struct process *p);
void session_end_all(struct bus *bus);

#endif
