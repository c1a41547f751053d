/* ring.h - one topic in shared memory: slots in a total order, lanes for large payloads, cursors.
 *
 * Pure functions on mapped memory: no system call, no allocation, no clock. Waiting, waking and time are the
 * caller's. Checked by tests/model/claim.pml (claim, commit, orphans), attach.pml and lossy.pml.
 *
 * 1. What there is
 *
 *   A topic is a total order of messages with dense 64-bit sequence numbers. Sequence s stands in
 *   slot s % depth until s + depth takes its place. A small payload stands in the slot itself, a larger one
 *   in its publisher's own ring of bytes, the lane, and the slot says where.
 *
 *          slots                        tail (next to be claimed)
 *   ... [ 41 ][ 42 ][ 43 ][ 44 ][ 45 ]  46
 *          ^            |
 *       cursor          +--> lane of publisher 2:  ....[ payload of 43 ]....
 *
 *   stamp = sequence << 3 | state, and says in one word all that a reader, a publisher one lap later and the
 *   daemon after a death need to know:
 *
 *     EMPTY 0      never used (the ring was made one lap after this sequence number)
 *     BUSY 1       claimed, being written
 *     COMMITTED 2  a message, first (or only) of its claim
 *     INNER 3      a message, not the first of its claim
 *     ABORTED 4    nobody's: its publisher died; readers step over it
 *
 *     (s - depth, final) --claim--> BUSY --commit--> COMMITTED | INNER       publisher
 *                \------------------- orphan rule -------------> ABORTED     daemon, by CAS
 *     INNER ------------ orphan rule, batch cut off by a death -> ABORTED     daemon, by CAS
 *
 * 2. The data object (publisher: rw slots, lines and own lane; subscriber: read-only descriptor)
 *
 *   from            what                 writer
 *   0               shm_header           daemon, once
 *   512             ring_geometry        daemon, once
 *   4096            ring_daemon          daemon
 *   geo.entries     ring_entry[]         daemon            one per publisher
 *   geo.tail        tail line            publishers (CAS)
 *   geo.lines       ring_line[]          its publisher
 *   geo.slots       slots                publishers
 *   geo.lanes       lanes                its publisher     page-aligned, each lane_size bytes
 *
 *   Everything up to geo.tail is mapped read-only by clients; geo.tail, geo.slots and geo.lanes are
 *   multiples of a page.
 *
 * 3. The control object (rw for all clients: it carries no message)
 *
 *   0               shm_header           daemon, once
 *   4096            ring_control         see there
 *   geo.states      u64[max_cursors]     daemon            kind, state and generation of a cursor
 *   geo.cursors     ring_cursor[]        subscriber / daemon, one line each
 *
 * 4. What may run at once
 *
 *                 publish  receive  cursor_attach  seek  settle  check
 *   publish         yes      yes        yes         yes    yes     yes
 *   receive                  yes        yes         yes    yes     yes
 *   cursor_attach                       one         yes    yes     yes   (the daemon is one thread)
 *   settle                                                 yes     yes
 *
 *   A ring_publisher, ring_lane or ring_reader object belongs to one thread at a time.
 */
#ifndef RING_RING_H
#define RING_RING_H

#include "ring/seq.h"
#include "shm/event.h"
#include "shm/layout.h"

/* --- layout ----------------------------------------------------------------------------------- */

enum ring_durability { RING_MEMORY = 0, RING_DISK = 1 };
enum ring_when_full { RING_BLOCK = 0, RING_OVERWRITE = 1 };
enum ring_timestamps { RING_TIME_COARSE = 0, RING_TIME_PRECISE = 1, RING_TIME_OFF = 2 };

/* What a topic is made with, and where its parts are. Written once by the daemon before the magic. */
struct ring_geometry {
    uint64_t depth;     /* slots, a power of two */
    uint64_t lane_size; /* bytes per publisher, a power of two */
    uint32_t slot_size; /* 64, 128 or 256 */
    uint32_t max_publishers;
    uint32_t max_cursors;
    uint32_t barrier;    /* enum shm_barrier */
    uint32_t durability; /* enum ring_durability */
    uint32_t when_full;  /* enum ring_when_full */
    uint32_t timestamps; /* enum ring_timestamps */
    uint32_t mode;       /* access: like a file's, r = subscribe, w = publish */
    uint32_t uid;
    uint32_t gid;
    uint64_t retention_bytes; /* of the log; 0: no limit */
    uint64_t retention_ns;    /* of the log; 0: no limit */
    uint32_t retain_until_acked;
    uint32_t flags;
    uint64_t
        lag_ns; /* a gating cursor that holds publishers back for longer is evicted; 0: never */
    uint64_t origin;  /* the first sequence number this ring can hold */
    uint64_t entries; /* offsets in the data object */
    uint64_t tail;
    uint64_t lines;
    uint64_t slots;
    uint64_t lanes;
    uint64_t data_size;
    uint64_t states; /* offsets in the control object */
    uint64_t cursors;
    uint64_t control_size;
};
SHM_AT(struct ring_geometry, slot_size, 16);
SHM_AT(struct ring_geometry, retention_bytes, 56);
SHM_AT(struct ring_geometry, origin, 88);
SHM_AT(struct ring_geometry, data_size, 136);
SHM_SIZE(struct ring_geometry, 168);
#define RING_GEOMETRY_AT 512

/* ring_daemon: what the daemon says about the topic. Page 1 of the data object.
 *
 *   offset field        writer  readers           order
 *        0 durable      daemon  all               release: DURABLE
 *      128 log_first    daemon  all               relaxed; oldest sequence number in the log, 0: no log
 *      136 log_bytes    daemon  inspector         relaxed
 *      144 state        daemon  all               release: TOPIC_STATE, after reason
 *      152 incarnation  daemon  all               relaxed; random, new at every start of a daemon
 *      160 pid          daemon  inspector         relaxed
 *      168 start        daemon  inspector         relaxed
 *      176 flushes      daemon  inspector         relaxed; batches written since the start
 *      184 log_errors   daemon  inspector         relaxed
 *      256 reason       daemon  all               before TOPIC_STATE
 */
struct ring_daemon {
    atom_u64 durable; /* last sequence number on stable storage */
    uint8_t apart0[120];
    atom_u64 log_first;
    atom_u64 log_bytes;
    atom_u64 state; /* enum ring_topic_state */
    atom_u64 incarnation;
    atom_u64 pid;
    atom_u64 start;
    atom_u64 flushes;
    atom_u64 log_errors;
    uint8_t apart1[64];
    char reason[256];
};
SHM_AT(struct ring_daemon, log_first, 128);
SHM_AT(struct ring_daemon, state, 144);
SHM_AT(struct ring_daemon, incarnation, 152);
SHM_AT(struct ring_daemon, log_errors, 184);
SHM_AT(struct ring_daemon, reason, 256);
SHM_SIZE(struct ring_daemon, 512);
#define RING_DAEMON_AT 4096

enum ring_topic_state {
    RING_TOPIC_OK = 0,
    RING_TOPIC_REMOVED = 1,   /* -EIDRM after the last message */
    RING_TOPIC_DAMAGED = 2,   /* -EBADMSG; quarantined, reason says why */
    RING_TOPIC_DISK_FULL = 3, /* publishers are held back until there is room */
    RING_TOPIC_LOG_FAILED =
        4, /* writes fail; publishers are held back, the daemon goes on trying */
};

/* ring_entry: who a publisher is. The owner's identity stands here before the entry is handed out.
 *
 *   offset field       order
 *        0 state       release: ENTRY
 *        8 pid,        before ENTRY
 *       12 uid         "
 *       16 start       "  clock ticks since boot; 0: not known
 *       24 generation  "  counts the owners
 *       32 lane        release: LANE; 1 once the lane's memory is reserved, never taken back
 *       40 since_ns    "  realtime of the attachment
 */
struct ring_entry {
    atom_u64 state; /* enum ring_entry_state */
    uint32_t pid;
    uint32_t uid;
    uint64_t start;
    uint64_t generation;
    atom_u64 lane;
    uint64_t since_ns;
    uint8_t reserved[16];
};
SHM_AT(struct ring_entry, pid, 8);
SHM_AT(struct ring_entry, start, 16);
SHM_AT(struct ring_entry, lane, 32);
SHM_SIZE(struct ring_entry, 64);

enum ring_entry_state { RING_ENTRY_FREE = 0, RING_ENTRY_LIVE = 1, RING_ENTRY_DEAD = 2 };

/* ring_line: what a publisher says of itself. Two parts: what it touches with every message, and what
 * others read.
 *
 *   offset field        writer     readers            order
 *        0 intent       publisher  daemon, inspector  release: INTENT (set), INTENT_CLEAR
 *        8 intent_ns    publisher  inspector          relaxed; commit time of the claim in flight
 *       16 lane_head    publisher  next owner         relaxed; all below has been given out
 *       24 published    publisher  inspector          relaxed; messages
 *       32 bytes        publisher  inspector          relaxed; payload
 *       40 blocked      publisher  inspector          relaxed; times it had to wait for space
 *       48 blocked_ns   publisher  inspector, daemon  relaxed; since when it waits, 0: it does not
 *      128 limit        publisher  cursor_attach      seq: ATTACH; never goes down: slots and lane
 *                                                     up to a lap below may be reused already
 *      136 reclaimed    publisher  readers            before the bytes are reused; LANE_REUSE
 *      144 claimed      both, CAS  both               see ring_entry_claim
 *
 * intent packs the low 48 bits of the first sequence number and the count in the high 16.
 */
struct ring_line {
    atom_u64 intent;
    atom_u64 intent_ns;
    atom_u64 lane_head;
    atom_u64 published;
    atom_u64 bytes;
    atom_u64 blocked;
    atom_u64 blocked_ns;
    uint8_t apart0[72];
    atom_u64 limit;
    atom_u64 reclaimed;
    atom_u64 claimed;
    uint8_t apart1[104];
};
SHM_AT(struct ring_line, lane_head, 16);
SHM_AT(struct ring_line, blocked_ns, 48);
SHM_AT(struct ring_line, limit, 128);
SHM_AT(struct ring_line, reclaimed, 136);
SHM_AT(struct ring_line, claimed, 144);
SHM_SIZE(struct ring_line, 256);

/* ring_slot: the first 32 bytes of a slot; the rest of slot_size is payload.
 *
 *   offset field      writer               readers      order
 *        0 stamp      publisher, daemon    all          release: COMMIT; BUSY before the fields
 *        8 time_ns    publisher            readers      before COMMIT; realtime, 0 when the topic keeps none
 *       16 key        publisher            "            "   the user's
 *       24 meta       publisher            "            "   len 32 | type 16 | publisher 16
 *       32 payload    publisher            "            "   inline bytes, or u64 position in the lane
 */
struct ring_slot {
    atom_u64 stamp;
    atom_u64 time_ns;
    atom_u64 key;
    atom_u64 meta;
    atom_u64 payload[4];
};
SHM_AT(struct ring_slot, payload, 32);
SHM_SIZE(struct ring_slot, 64);
#define RING_SLOT_HEADER 32

enum ring_state {
    RING_EMPTY = 0,
    RING_BUSY = 1,
    RING_COMMITTED = 2,
    RING_INNER = 3,
    RING_ABORTED = 4,
};

/* ring_control: words that wake, and the attach hand-shake. At 4096 of the control object.
 *
 *   offset field         writer                 readers        order
 *        0 sleep         all (event.h)          all            seq: SLEEP; subscribers wait for messages
 *        8 bell_seq      daemon; publisher CAS  publishers     seq: BELL; ring the daemon from this seq on
 *      128 space         all (event.h)          publishers     seq: SLEEP; publishers wait for space
 *      256 durable_wait  all (event.h)          all            seq: SLEEP; waiting for `durable`
 *      260 ack_bell      daemon; sub CAS        subscribers    seq: BELL; 1: ring when a floor moved
 *      384 cursor_epoch  cursor_attach, seek    publishers     seq: ATTACH
 */
struct ring_control {
    atom_u32 sleep;
    uint32_t reserved0;
    atom_u64 bell_seq;
    uint8_t apart0[112];
    atom_u32 space;
    uint8_t apart1[124];
    atom_u32 durable_wait;
    atom_u32 ack_bell;
    uint8_t apart2[120];
    atom_u64 cursor_epoch;
    uint8_t apart3[120];
};
SHM_AT(struct ring_control, bell_seq, 8);
SHM_AT(struct ring_control, space, 128);
SHM_AT(struct ring_control, durable_wait, 256);
SHM_AT(struct ring_control, ack_bell, 260);
SHM_AT(struct ring_control, cursor_epoch, 384);
SHM_SIZE(struct ring_control, 512);
#define RING_CONTROL_AT 4096
#define RING_BELL_OFF UINT64_MAX

/* A cursor's state word (u64, the daemon's): generation << 8 | kind << 4 | state. */
enum ring_cursor_state { RING_CURSOR_FREE = 0, RING_CURSOR_LIVE = 1, RING_CURSOR_EVICTED = 2 };
enum ring_cursor_kind {
    RING_KIND_LIVE = 0,    /* loses the oldest and is told */
    RING_KIND_GATING = 1,  /* holds publishers back */
    RING_KIND_DURABLE = 2, /* falls back to the log */
    RING_KIND_LOG = 3,     /* the log writer: gates by `durable`, belongs to the daemon, index 0 */
};

static inline uint32_t
ring_cursor_state_of(uint64_t word)
{
    return (uint32_t)(word & 15);
}

static inline uint32_t
ring_cursor_kind_of(uint64_t word)
{
    return (uint32_t)(word >> 4 & 15);
}

static inline uint64_t
ring_cursor_generation_of(uint64_t word)
{
    return word >> 8;
}

/* ring_cursor: one subscriber. First line the subscriber's, second the daemon's.
 *
 *   offset field       writer      readers               order
 *        0 pos         subscriber  publishers, daemon    release: CURSOR; all below is done with
 *        8 acked       subscriber  daemon                release: ACK; named: all below is acknowledged. A free line keeps it,
 *                                                        with the name
 *       16 received    subscriber  inspector             relaxed
 *       24 lost        subscriber  inspector             relaxed
 *       32 waits       subscriber  inspector             relaxed
 *       40 stale       subscriber  inspector             relaxed; messages overwritten while held
 *       48 claimed     both, CAS   both                  see ring_cursor_claim
 *      128 pid         daemon      inspector             before the state word
 *      132 uid         daemon      "                     "
 *      136 start       daemon      "                     "
 *      144 since_ns    daemon      "                     "  realtime of the attachment
 *      152 start_pos   daemon      "                     "  where it began
 *      160 name        daemon      "                     "  zero-terminated; empty: no name
 *      224 saved       daemon      "                     relaxed; the floor on disk
 */
struct ring_cursor {
    atom_u64 pos;
    atom_u64 acked;
    atom_u64 received;
    atom_u64 lost;
    atom_u64 waits;
    atom_u64 stale;
    atom_u64 claimed;
    uint8_t apart0[72];
    uint32_t pid;
    uint32_t uid;
    uint64_t start;
    uint64_t since_ns;
    uint64_t start_pos;
    char name[64];
    atom_u64 saved;
    uint8_t apart1[24];
};
SHM_AT(struct ring_cursor, acked, 8);
SHM_AT(struct ring_cursor, pid, 128);
SHM_AT(struct ring_cursor, start, 136);
SHM_AT(struct ring_cursor, name, 160);
SHM_AT(struct ring_cursor, saved, 224);
SHM_SIZE(struct ring_cursor, 256);
_Static_assert(LIMIT_SUB_NAME < 64, "a subscription's name and its zero fit");

/* --- views ------------------------------------------------------------------------------------ */

/* A process's way into one topic: two maps, and a private copy of the geometry, checked once. */
struct ring_view {
    unsigned char *data;
    unsigned char *control;
    struct ring_geometry geo;
    uint32_t shift; /* log2 slot_size */
    uint64_t mask;  /* depth - 1 */
};

/* ring_plan completes a geometry: the user's part (depth to origin) is given and checked, offsets and sizes
 * are computed. 0 or -EINVAL; *ret_what then names the first field that is out of range. */
int ring_plan(struct ring_geometry *geo, const char **ret_what);

/* ring_format writes headers, an empty ring whose first sequence number is geo->origin, and last both magics.
 * The memory is zero or a former ring of the same size; at least everything up to geo->lanes is writable. */
struct ring_identity {
    const char *name;
    uint64_t topic_id;
    uint64_t created_ns;
    uint8_t boot_id[16];
};
void ring_format(void *data, void *control, const struct ring_geometry *geo,
                 const struct ring_identity *who);

/* ring_join checks both objects (sizes as mapped) and fills the view. `control` may be NULL for one who only
 * looks at messages. 0, -EBADMSG, or -EPROTONOSUPPORT with the version found in *ret_version. */
struct ring_maps {
    void *data, *control;
    uint64_t data_size, control_size;
};
int ring_join(struct ring_view *ret, const struct ring_maps *maps, uint32_t *ret_version);

/* ring_repair_header makes the control object's header, where every subscriber can write, say what the data object's says. Both
 * are mapped, and large enough. */
void ring_repair_header(struct ring_view *v);

/* ring_destroy clears both magics: nobody new joins. */
void ring_destroy(struct ring_view *v);

static inline struct shm_header *
ring_header(const struct ring_view *v)
{
    return (struct shm_header *)(void *)v->data;
}

static inline struct ring_daemon *
ring_daemon(const struct ring_view *v)
{
    return (struct ring_daemon *)(void *)(v->data + RING_DAEMON_AT);
}

static inline struct ring_entry *
ring_entry(const struct ring_view *v, uint32_t i)
{
    return (struct ring_entry *)(void *)(v->data + v->geo.entries) + i;
}

static inline struct ring_line *
ring_line(const struct ring_view *v, uint32_t i)
{
    return (struct ring_line *)(void *)(v->data + v->geo.lines) + i;
}

static inline atom_u64 *
ring_tail(const struct ring_view *v)
{
    return (atom_u64 *)(void *)(v->data + v->geo.tail);
}

static inline struct ring_slot *
ring_slot(const struct ring_view *v, uint64_t seq)
{
    return (struct ring_slot *)(void *)(v->data + v->geo.slots + ((seq & v->mask) << v->shift));
}

static inline unsigned char *
ring_lane(const struct ring_view *v, uint32_t publisher)
{
    return v->data + v->geo.lanes + publisher * v->geo.lane_size;
}

static inline struct ring_control *
ring_control(const struct ring_view *v)
{
    return (struct ring_control *)(void *)(v->control + RING_CONTROL_AT);
}

static inline atom_u64 *
ring_cursor_word(const struct ring_view *v, uint32_t i)
{
    return (atom_u64 *)(void *)(v->control + v->geo.states) + i;
}

static inline struct ring_cursor *
ring_cursor(const struct ring_view *v, uint32_t i)
{
    return (struct ring_cursor *)(void *)(v->control + v->geo.cursors) + i;
}

/* The longest payload that stands in the slot, and the longest there is (half a lane, so that one always fits
 * an empty lane wherever its head is). */
static inline uint32_t
ring_inline_max(const struct ring_view *v)
{
    return v->geo.slot_size - RING_SLOT_HEADER;
}

static inline uint64_t
ring_payload_max(const struct ring_view *v)
{
    return shm_min(v->geo.lane_size / 2, UINT32_MAX);
}

/* --- publish (ring_publish.c, ring_lane.c) ---------------------------------------------------- */

/* What a publisher remembers of each piece of lane it gave out, in order. */
struct ring_piece {
    uint64_t end; /* lane position after it */
    uint64_t seq; /* the message that refers to it; RING_PIECE_OPEN, RING_PIECE_FREE */
};
#define RING_PIECE_OPEN UINT64_MAX
#define RING_PIECE_FREE 0

struct ring_publisher {
    struct ring_view view;
    struct ring_line *line;
    atom_u64 *tail;
    struct ring_control *control;
    unsigned char *lane;
    struct ring_piece *pieces; /* piece i stands at i & pieces_mask */
    uint64_t pieces_mask;
    uint64_t piece_first, piece_next; /* oldest not reclaimed, next to be given out */
    uint64_t lane_head, lane_low;     /* [low, head) is in use */
    uint64_t limit;                   /* go on while seq + n <= limit; 0: look again first */
    uint64_t shown;                   /* the highest limit ever: what the line says */
    uint64_t gate;                    /* no cursor that gates needs anything below */
    uint64_t published, bytes;
    uint16_t index;
    bool fenced; /* this process pays for the store-load order itself */
};

/* ring_publisher_room says how many pieces of private memory ring_publisher_join wants (2 * depth). */
uint64_t ring_publisher_room(const struct ring_view *v);

/* ring_line_check says whether a line that nobody owns can be handed to the next publisher. */
bool ring_line_check(const struct ring_view *v, uint32_t index);

/* ring_publisher_join makes the caller publisher `index`; its entry is already its own. The lane continues where
 * its former owner left it; what that owner's messages still use is reused only once every gating cursor has
 * passed the tail of now (I6). `pieces` lives as long as the publisher. */
int ring_publisher_join(struct ring_publisher *p, const struct ring_view *v, uint16_t index,
                        struct ring_piece *pieces, bool fenced);

/* ring_reserve gives `len` contiguous bytes of the own lane, 64-byte aligned, without a place in the order.
 * 0, -EMSGSIZE, or -EAGAIN: the lane is full. */
struct ring_span {
    unsigned char *data;
    uint64_t pos;   /* in the lane */
    uint64_t piece; /* which piece */
};
int ring_reserve(struct ring_publisher *p, uint64_t len, struct ring_span *ret);

/* ring_abandon gives a span back without a message. */
void ring_abandon(struct ring_publisher *p, const struct ring_span *span);

/* One message to publish: inline bytes (len <= ring_inline_max) or a span of the lane. */
struct ring_out {
    const void *data; /* inline bytes; ignored when span is not NULL */
    const struct ring_span *span;
    uint64_t key;
    uint32_t len;
    uint16_t type;
};

/* ring_publish puts n messages at n adjacent places of the order, all or none, and returns the first one's number.
 * -EAGAIN: no room yet (or a publisher ahead has not finished); -EBADMSG: the ring contradicts itself;
 * -EINVAL: n is 0 or more than depth / 2 or LIMIT_BATCH. Nothing has happened then, spans stay the caller's. */
int ring_publish(struct ring_publisher *p, const struct ring_out *out, uint32_t n, uint64_t time_ns,
                 uint64_t *ret_first);

/* ring_publish_due says what the publisher owes after a publish whose last number was `last`: 0 or bits. */
#define RING_DUE_WAKE 1u /* shm_event_wake(&control->sleep) */
#define RING_DUE_BELL 2u /* ring the daemon */
unsigned ring_publish_due(struct ring_publisher *p, uint64_t last);

/* ring_publish_may says whether a publish of n messages and a reserve of `lane` bytes would find room now: for one
 * who waits. 1, 0, or -EBADMSG. */
int ring_publish_may(struct ring_publisher *p, uint32_t n, uint64_t lane);

/* --- receive (ring_receive.c) ----------------------------------------------------------------- */

struct ring_reader {
    struct ring_view view;
    struct ring_cursor *line; /* NULL: nobody sees this reader (inspector) */
    uint64_t next;            /* the next sequence number to be looked at */
    bool landed;              /* set down at `next`, maybe inside a batch */
};

struct ring_msg {
    const unsigned char *data; /* in place */
    uint64_t seq, time_ns, key;
    uint64_t lane_pos;    /* UINT64_MAX: inline */
    uint64_t first, lost; /* of a gap */
    uint32_t len;
    uint16_t type, publisher;
};

/* ring_reader_set sets a reader down at any place: one that comes from elsewhere than the place before may stand
 * inside a batch whose first slot is not stamped yet, and must not be shown half of it. */
void ring_reader_set(struct ring_reader *r, uint64_t next);

enum ring_verdict { RING_NONE = 0, RING_MESSAGE = 1, RING_GAP = 2 };

/* ring_receive looks at the place `next`: RING_MESSAGE (next moves on), RING_NONE, RING_GAP (first, lost: these are gone
 * from the ring; next moves behind them), or -EBADMSG. Steps over aborted places, at most depth a call. A
 * message of a lane whose bytes are gone already counts as lost. */
int ring_receive(struct ring_reader *r, struct ring_msg *ret);

/* ring_peek says what stands at `seq` without moving: RING_MESSAGE, RING_NONE (not yet), RING_GAP (no longer, or aborted),
 * or -EBADMSG. */
int ring_peek(const struct ring_view *v, uint64_t seq, struct ring_msg *ret);

/* ring_glance says the same for one who looks at many: it does not walk back to see whether the first slot of a batch
 * is stamped, so that each look costs the same, and gives inner messages a moment before readers see them. */
int ring_glance(const struct ring_view *v, uint64_t seq, struct ring_msg *ret);

/* ring_validate says, after the bytes have been read, whether they were the message's: 0 or -ESTALE. */
int ring_validate(const struct ring_view *v, const struct ring_msg *msg);

/* ring_copy copies a message's bytes and validates: 0 or -ESTALE. */
int ring_copy(const struct ring_view *v, const struct ring_msg *msg, void *to);

/* ring_oldest is the oldest sequence number the ring can still hold, given its tail now. */
uint64_t ring_oldest(const struct ring_view *v);

/* --- cursors (ring_cursor.c) ------------------------------------------------------------------ */

/* What the daemon knows of a subscriber before it hands a cursor out. */
struct ring_owner {
    uint32_t pid, uid;
    uint64_t start, since_ns;
    const char *name; /* NULL: none */
};

/* ring_cursor_attach hands free cursor `i` to `owner`, to begin at `pos` or, where publishers may already have been
 * promised that place, at the first that they have not; returns where in *ret_pos. The hand-shake of
 * attach.pml; the daemon runs it for the subscriber. */
void ring_cursor_attach(struct ring_view *v, uint32_t i, enum ring_cursor_kind kind,
                        const struct ring_owner *owner, uint64_t *pos);

/* ring_cursor_repair looks at what a daemon finds in cursor `i`, where every subscriber can write: a state word that nobody can have
 * given it becomes FREE, and a position that it cannot have is put to the nearest that it can. Returns the word. */
uint64_t ring_cursor_repair(struct ring_view *v, uint32_t i);

/* ring_cursor_evict takes a gating cursor's right to hold publishers back; its owner is told at its next look. */
void ring_cursor_evict(struct ring_view *v, uint32_t i);

/* ring_cursor_free makes the line the daemon's again: its owner closed it or died. */
void ring_cursor_free(struct ring_view *v, uint32_t i);

/* ring_cursor_seek moves a subscriber's own cursor to *pos, forwards or backwards, by the same hand-shake; *pos
 * comes back as where it may begin. */
void ring_cursor_seek(struct ring_view *v, uint32_t i, uint64_t *pos);

/* ring_gate is the lowest position of all cursors that gate, at most tail; of a disk topic the log writer's, which is what
 * is durable. *ret_who (may be NULL): which cursor, or UINT32_MAX when none gates. */
uint64_t ring_gate(const struct ring_view *v, uint32_t *ret_who);

/* --- after a death (ring_orphan.c) ------------------------------------------------------------ */

/* ring_settle makes one pass of the orphan rule (I4). Entries in state DEAD are the dead; the caller has marked them
 * before. `scratch` holds max_publishers words. Returns 0: every slot below the tail of this pass is final, the dead
 * entries may be freed; 1: a living publisher is still at work on one, call again later; -EBADMSG: the tail
 * cannot be true. *ret_aborted counts what this pass aborted. Several may run at once. */
int ring_settle(struct ring_view *v, uint64_t *scratch, uint64_t *ret_aborted);

/* ring_entry_take, _kill, _free: the daemon's three steps in an entry's life. FREE -> LIVE -> DEAD -> FREE. */
void ring_entry_take(struct ring_view *v, uint32_t i, const struct ring_owner *owner);
void ring_entry_kill(struct ring_view *v, uint32_t i);
void ring_entry_free(struct ring_view *v, uint32_t i);

/* Between handing an entry or a cursor out and the owner's knowing of it the daemon may die, or the owner may have stopped
 * waiting for the answer. `claimed` is generation << 1 when it is handed out. The owner adds a 1; a daemon that finds none
 * and may not wait for it makes it RING_FORSAKEN; both by CAS, so exactly one has it, and an answer that comes late
 * claims nothing of whoever has been given the place since. Who closes takes his 1 away before he says so, for a daemon that
 * never hears of it. Checked by tests/model/handover.pml.
 *
 * ring_entry_claim, ring_cursor_claim (the owner): 0, or -ESTALE: it is not yours any more, ask again.
 * ring_entry_return, ring_cursor_return (the owner): it is not used any more, not even read.
 * ring_entry_forsake, ring_cursor_forsake (the daemon, at its start, and when a session ends): true when nobody
 * claimed it; to be freed. Also when a daemon has said so before, and died. */
#define RING_FORSAKEN UINT64_MAX
int ring_entry_claim(struct ring_view *v, uint32_t i, uint64_t generation);
int ring_cursor_claim(struct ring_view *v, uint32_t i, uint64_t generation);
void ring_entry_return(struct ring_view *v, uint32_t i, uint64_t generation);
void ring_cursor_return(struct ring_view *v, uint32_t i, uint64_t generation);
bool ring_entry_forsake(struct ring_view *v, uint32_t i);
bool ring_cursor_forsake(struct ring_view *v, uint32_t i);

/* --- check (ring_check.c) --------------------------------------------------------------------- */

struct ring_report {
    uint64_t tail, oldest;
    uint64_t committed, aborted, busy, missing; /* among the slots below tail */
    uint32_t publishers, intents, cursors;
    const char *what; /* NULL, or the first contradiction found */
    uint64_t where;   /* its sequence number, publisher or cursor */
};

/* ring_check looks at a whole ring, read-only, in bounded time: 0, or -EBADMSG with what and where. A running
 * ring may show busy and missing slots; a settled one without publishers at work shows none. */
int ring_check(const struct ring_view *v, struct ring_report *ret);

/* Intents, for the daemon, the inspector and tests. */
static inline uint64_t
ring_intent_pack(uint64_t seq, uint32_t n)
{
    return (uint64_t)n << 48 | (seq & 0xffffffffffffull);
}

/* The intent's first sequence number, given a tail that is less than 2^47 away from it. */
static inline uint64_t
ring_intent_seq(uint64_t intent, uint64_t tail)
{
    uint64_t low = intent & 0xffffffffffffull;
    int64_t away = (int64_t)((low - tail) << 16) >> 16;

    return tail + (uint64_t)away;
}

static inline uint32_t
ring_intent_count(uint64_t intent)
{
    return (uint32_t)(intent >> 48);
}

#endif
