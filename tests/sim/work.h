/* work.h - a bus at work on storage that will fail: the real leatd, publishers and a named subscriber through libleat, and a book of what they were
 * told, kept where no disk can lose it.
 *
 * A message's key names its publisher's life and its number in that life; length and bytes follow from the key. What stands in the log is right when
 *
 *   - the place of every message that was reported durable holds that message, byte for byte, or what retention gave up came before it;
 *   - nothing is there that nobody sent, each life's messages are there in its order and without a hole up to the end of the log;
 *   - the floor of the named subscription is not below what was reported saved and not above what was acknowledged.
 *
 * Guests are processes of their own. Nothing asserts: work_fail notes the first reason. */
#ifndef TESTS_SIM_WORK_H
#define TESTS_SIM_WORK_H

#include <leat.h>

#include "shm/atomic.h"
#include "tests/sim/world.h"
#include "tests/support/fixture.h"

#define WORK_BOOK (1u << 22)
#define WORK_LIVES (1u << 16)
#define WORK_WHY 512
#define WORK_TOPIC "t"
#define WORK_NAME "billing"

struct work {
    char bus[64], store[64], log[64];
    uint64_t depth, lane_size, retention_bytes;
    uint32_t pace_ms; /* a publisher rests so long after each message */
    bool hurry;       /* ... and waits for the disk only at its end */

    const atom_u64 *
        gone; /* says that the disk has gone: what fails from then on is nobody's fault; NULL: it never goes */
    atom_u64 stop; /* publishers end, and the subscriber when it has all */
    atom_u64 failed;
    char why[WORK_WHY];

    atom_u64 created;  /* the topic was reported made */
    atom_u64 lives;    /* of publishers; the next one's number */
    atom_u64 sent;     /* messages whose sending has come back */
    atom_u64 received; /* by the subscriber: behind its last one */
    atom_u64 durable;  /* the highest number reported durable */
    atom_u64 saved, acked, first;
    atom_u64 tried[WORK_LIVES]; /* by each life: no number above was ever sent */
    atom_u64 book[WORK_BOOK];   /* the key at each place, 0: not known */
};

/* work_new: a bus whose topic's log stands in `store`. */
struct work *work_new(const char *store);

/* work_forget: the topic has gone, and the next one of its name begins anew. */
void work_forget(struct work *w);

void work_fail(struct work *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* work_daemon starts leatd with that kind of storage: true, it serves. */
bool work_daemon(struct work *w, const char *io, pid_t *ret);

/* The guests: begun with work_guest, each ends with 0 or a failure that is noted. */
pid_t work_guest(struct work *w, int (*guest)(struct work *w));
int work_publish(struct work *w);
int work_subscribe(struct work *w);
/* work_audit reads all there is and compares it with the book, which afterwards is what the log is. */
int work_audit(struct work *w);

/* work_done runs a guest to its end. False, and noted: it failed or hung. */
bool work_done(struct work *w, int (*guest)(struct work *w), const char *what);

/* work_note_facts takes what shared memory says, with a daemon or without one. */
void work_note_facts(struct work *w);

int work_open(struct work *w, leat_bus **ret);

/* work_show prints what leatd and the tool said last. */
void work_show(struct work *w);

/* work_tool runs the tool, with the bus in its environment; its output goes to `out` (NULL: nowhere). Its exit status, or -1. */
int work_tool(struct work *w, const char *out, const char *const args[]);

#endif
