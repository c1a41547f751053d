/* wire.h - what a client and the daemon say to each other, over a Unix SOCK_SEQPACKET socket.
 *
 * One packet is one message: a 16-byte header and a fixed-layout body. Requests carry an id that the answer repeats; RING is
 * one-way, and so is PUB_CLOSE or SUB_CLOSE with id 0. Descriptors come with the answer that names them. Integers are the host's: both ends are on one host.
 * Strings are zero-terminated in fixed fields. A packet of another size than its type's is refused (-EBADMSG).
 *
 *   client                                 daemon
 *     HELLO {versions it speaks}    ->
 *                                   <-       HELLO answer {version, bus, incarnation}, or -EPROTONOSUPPORT
 *     any request, in any number    ->
 *                                   <-       answers, in the order of the requests
 *     RING {topic}                  ->       (no answer)
 *     closes                        ->       what it opened stays until its process ends, or PUB_CLOSE / SUB_CLOSE
 *
 * A session holds nothing that a restart of the daemon would lose: publishers and cursors stand in shared memory
 * with their owner's pid and start time, so a client that finds its socket broken simply connects again.
 *
 * These structs are the whole protocol. wire_send and wire_receive are the only functions that touch a socket.
 */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include "shm/base.h"
#include "shm/limits.h"

#define WIRE_VERSION 1
#define WIRE_FDS_MAX 2
#define WIRE_TEXT 400

enum wire_type {
    WIRE_HELLO = 1,
    WIRE_TOPIC_CREATE = 2,
    WIRE_TOPIC_REMOVE = 3,
    WIRE_TOPIC_INFO = 4,
    WIRE_PUB_OPEN = 5,
    WIRE_PUB_CLOSE = 6,
    WIRE_SUB_OPEN = 7,
    WIRE_SUB_CLOSE = 8,
    WIRE_SUB_REMOVE = 9, /* forget a named subscription */
    WIRE_LOG_OPEN = 10,
    WIRE_POSITION = 11, /* which sequence number is at a time, or so many before the last */
    WIRE_RING = 12,     /* one-way: look at this topic */
    WIRE_TYPES
};

struct wire_header {
    uint32_t size;    /* of the whole packet */
    uint16_t version; /* WIRE_VERSION */
    uint16_t type;    /* enum wire_type; an answer has its request's */
    uint32_t id;
    int32_t status; /* of an answer: 0 or a negative errno; of a request: 0 */
};
SHM_SIZE(struct wire_header, 16);

/* Requests. */
struct wire_hello {
    struct wire_header h;
    uint16_t oldest, newest; /* versions the client speaks */
    uint32_t reserved;
};
SHM_SIZE(struct wire_hello, 24);

struct wire_options { /* of a topic; 0: the rule's, then the default */
    uint64_t depth, lane_size, retention_bytes, retention_ns, lag_ns;
    uint32_t slot_size, max_publishers, max_cursors, durability, when_full, timestamps;
    uint32_t mode, uid, gid, retain_until_acked;
    uint32_t given; /* WIRE_GIVEN_*: fields whose zero is meant */
    uint32_t reserved;
};
SHM_SIZE(struct wire_options, 88);
#define WIRE_GIVEN_MODE 1u
#define WIRE_GIVEN_UID 2u
#define WIRE_GIVEN_GID 4u
#define WIRE_GIVEN_RULE 8u /* durability, when_full, timestamps: 0 means what the rule says */

struct wire_topic { /* TOPIC_CREATE, TOPIC_REMOVE, TOPIC_INFO, PUB_OPEN */
    struct wire_header h;
    char name[208];
    struct wire_options options; /* TOPIC_CREATE only */
};
SHM_SIZE(struct wire_topic, 312);

struct wire_sub_open {
    struct wire_header h;
    char topic[208];
    char name[64];  /* empty: none */
    uint32_t kind;  /* enum ring_cursor_kind: LIVE, GATING, DURABLE */
    uint32_t start; /* enum wire_start */
    uint64_t value; /* of AT_SEQ, AT_TIME, LAST_N */
};
SHM_SIZE(struct wire_sub_open, 304);

enum wire_start {
    WIRE_LATEST = 0,
    WIRE_EARLIEST = 1,
    WIRE_AT_SEQ = 2,
    WIRE_AT_TIME = 3,
    WIRE_LAST_N = 4,
};

struct wire_handle { /* PUB_CLOSE, SUB_CLOSE */
    struct wire_header h;
    uint64_t topic_id, generation;
    uint32_t index, reserved;
};
SHM_SIZE(struct wire_handle, 40);

struct wire_sub_remove {
    struct wire_header h;
    char topic[208];
    char name[64];
};
SHM_SIZE(struct wire_sub_remove, 288);

struct wire_position { /* LOG_OPEN (the segment that holds seq `value`), POSITION */
    struct wire_header h;
    uint64_t topic_id, value;
    uint32_t start, reserved; /* enum wire_start */
};
SHM_SIZE(struct wire_position, 40);

struct wire_ring {
    struct wire_header h;
    uint64_t topic_id;
};
SHM_SIZE(struct wire_ring, 24);

/* Answers. Every answer is one struct: what a type does not use is zero. `text` says what went wrong, naming the thing, the limit
 * and the setting, when status is not 0. */
struct wire_answer {
    struct wire_header h;
    uint64_t bus_id;      /* HELLO: of the store; stays over restarts */
    uint64_t incarnation; /* HELLO: of this run of the daemon */
    uint64_t topic_id;    /* PUB_OPEN, SUB_OPEN, TOPIC_INFO */
    uint64_t generation;  /* PUB_OPEN, SUB_OPEN */
    uint64_t
        seq; /* SUB_OPEN: where to begin; POSITION; LOG_OPEN: first sequence number at `offset` */
    uint64_t floor; /* SUB_OPEN: of a named one: all below is acknowledged */
    uint64_t first,
        next; /* LOG_OPEN: the segment's first, and the next segment's (0: it is the open one) */
    uint64_t offset;   /* LOG_OPEN: begin there */
    uint64_t hash;     /* LOG_OPEN: of the batch before `offset` */
    uint64_t size;     /* LOG_OPEN: of the segment */
    uint32_t index;    /* PUB_OPEN: publisher; SUB_OPEN: cursor */
    uint32_t fds;      /* how many descriptors come with it */
    uint32_t protocol; /* HELLO: the version that is spoken */
    uint32_t pid;      /* HELLO: the daemon's */
    char text[WIRE_TEXT];
};
SHM_AT(struct wire_answer, index, 104);
SHM_SIZE(struct wire_answer, 520);
/* Descriptors: PUB_OPEN {data rw, control rw}; SUB_OPEN {data read-only, control rw}; LOG_OPEN {segment read-only};
 * TOPIC_INFO {data read-only, control rw}: everything about a topic stands in its shared memory. */

/* The largest packet there is: room to receive any. */
union wire_any {
    struct wire_header h;
    struct wire_hello hello;
    struct wire_topic topic;
    struct wire_sub_open sub_open;
    struct wire_handle handle;
    struct wire_sub_remove sub_remove;
    struct wire_position position;
    struct wire_ring ring;
    struct wire_answer answer;
};

/* wire_request_size is the size a request of this type must have; 0 for an unknown type. */
uint32_t wire_request_size(uint16_t type);

/* wire_is_one_way says whether a request is never answered, whatever becomes of it. */
bool wire_is_one_way(const struct wire_header *h);

/* wire_begin zeroes a packet of `size` bytes and fills in its header. */
void wire_begin(void *packet, uint32_t size, enum wire_type type, uint32_t id);

/* wire_check_request says whether `len` received bytes are a well-formed request: header, size, type, terminated
 * strings, known enumerators, reserved fields zero. 0, -EBADMSG, -EPROTONOSUPPORT (version). */
int wire_check_request(const union wire_any *packet, size_t len);

/* wire_check_answer does so for an answer to request `type`, `id`: 0, -EBADMSG, or -EAGAIN when it answers another
 * request (an older one that was given up). */
int wire_check_answer(const union wire_any *packet, size_t len, uint16_t type, uint32_t id);

/* wire_send sends one packet and up to WIRE_FDS_MAX descriptors. Never raises SIGPIPE. 0, -EAGAIN when the
 * socket is non-blocking (or `flags` has MSG_DONTWAIT) and full, -EPIPE, ... */
int wire_send(int socket, const void *packet, const int *fds, unsigned nfds, int flags);

/* wire_receive receives one packet; descriptors that came with it are close-on-exec. Returns its length, 0 at
 * the end, or a negative errno; -EBADMSG when it was longer than any packet (its descriptors are closed). ret_fds has
 * room for WIRE_FDS_MAX; unused ones are -1, and all are when one of those that came did not fit the process. Without ret_fds (NULL) none are taken: the kernel drops what came, so that a
 * descriptor whose closing takes for ever is never ours. */
int wire_receive(int socket, union wire_any *ret, int ret_fds[WIRE_FDS_MAX], int flags);

/* wire_listen and wire_connect make the two ends at a path (108 bytes are the kernel's limit: -ENAMETOOLONG). Both give
 * close-on-exec, non-blocking sockets. wire_listen replaces a socket nobody answers on; the caller holds the bus's lock. */
int wire_listen(const char *path, uint32_t mode, int *ret_socket);
int wire_connect(const char *path, int *ret_socket);

#endif
