/* party_impl.h - what the processes of a party share. party.c begins, ends and audits; party_host.c has the processes and what
 * happens to them; party_publish.c and party_subscribe.c are the guests; party_bytes.c has the bytes, and the table of who knows
 * what. */
#ifndef TESTS_SUPPORT_PARTY_IMPL_H
#define TESTS_SUPPORT_PARTY_IMPL_H

#include <signal.h>
#include <sys/types.h>

#include "shm/atomic.h"
#include "tests/support/fixture.h"
#include "tests/support/party.h"

#define PARTY_TOPIC "party"
#define PARTY_LIVES 4096         /* of publishers, one after the other */
#define PARTY_NUMBERS (1u << 28) /* of messages; publishers rest when they are used up */
#define PARTY_BATCH 8

/* What a cursor has had: next - from == received + gone + aborted, always. */
struct party_account {
    uint64_t from, next;
    uint64_t received, gone, aborted;
    uint64_t gone_until; /* where the last gap ended */
    uint64_t hash;       /* over all that was received, in order */
};

struct party_sub {
    atom_u64 which; /* which of the two accounts is valid */
    struct party_account account[2];
    atom_u64 acked;    /* what has been said to be done with */
    atom_u64 repeated; /* given again after a restart, and skipped */
    atom_u64 lives, attached, done;
    atom_u64 received, gone; /* by earlier cursors */
    atom_u64 cursors;        /* accounts begun */
    atom_u64 pause_ns;
};

struct party {
    struct party_plan plan;
    char bus[128], store[128];
    atom_u64 begun; /* publishers are there */
    atom_u64 stop;  /* publishers end */
    atom_u64 end;   /* subscribers end when they have all below; 0: not yet known */
    atom_u64 failed;
    char why[PARTY_WHY];
    atom_u64 committed[PARTY_LIVES]; /* by each life of a publisher, as far as it was told */
    atom_u64 trying[PARTY_LIVES];    /* how many more its call in flight would commit */
    atom_u64 refused, slowest_ns;
    struct party_sub sub[PARTY_SUBSCRIBERS + 1]; /* and the fresh reader */
    atom_u32 known[PARTY_NUMBERS];
};

/* The guests; each is a process of its own. */
int party_publish(struct party *p, uint32_t life);
int party_subscribe(struct party *p, uint32_t index);

/* A guest ends in good order when he is sent PARTY_LEAVE. party_leaving is his own. */
#define PARTY_LEAVE SIGUSR1
extern volatile sig_atomic_t party_leaving;

/* party_fail notes the first reason. */
void party_fail(struct party *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The daemon may be away, or may not know yet that a former life has died. */
bool party_is_passing(int r);
int party_open(struct party *p, leat_bus **ret);
const struct party_account *party_account(const struct party_sub *sub);
/* party_is_lossless says whether reader i may be told of a gap at all. */
bool party_is_lossless(const struct party_plan *plan, uint32_t i);
struct party_reader party_reader(const struct party_plan *plan, uint32_t i);

/* --- the bytes -------------------------------------------------------------------------------- */

struct party_head {
    uint32_t life, len;
    uint64_t number;
    uint64_t check;
};

uint64_t party_mix(uint64_t x);
void party_fill(unsigned char *at, uint32_t life, uint64_t number, uint32_t len);
bool party_is_whole(const unsigned char *at, size_t len, struct party_head *ret);

/* party_know notes what number `seq` holds, as the first, or says whether it is what the others know. */
#define PARTY_ABORTED 1u
uint32_t party_word(uint32_t life, uint64_t number, uint32_t len);
bool party_know(struct party *p, uint64_t seq, uint32_t word);

/* --- the host --------------------------------------------------------------------------------- */

struct party_guest {
    pid_t pid;
    bool leaving; /* was asked to, and another comes when he is gone */
};

struct host {
    struct party *p;
    struct party_figures *figures;
    struct prng random;
    char dir[80];
    pid_t daemon;
    struct party_guest publisher[PARTY_PUBLISHERS], subscriber[PARTY_SUBSCRIBERS + 1];
    uint32_t lives;
    bool mounted, full;
};

int party_start_daemon(struct host *h);
/* party_stop_daemon ends it, in good order or not, and says when its status is not 0. */
void party_stop_daemon(struct host *h, int signal_number);
/* party_tool runs a program with standard output and error in the log: its exit status. */
int party_tool(const struct host *h, const char *const argv[]);
const char *party_leatd(void);
void party_start_publisher(struct host *h, uint32_t i);
void party_start_subscriber(struct host *h, uint32_t i);
void party_end_guest(struct party_guest *g, int signal_number);
/* party_look_after finds who has ended: begins him anew if he was asked to leave, fails if he was not. */
void party_look_after(struct host *h);
/* party_let_happen lets accidents happen for the plan's time. */
void party_let_happen(struct host *h);
void party_mount(struct host *h);
void party_unmount(struct host *h);
void party_empty_disk(struct host *h);

#endif
