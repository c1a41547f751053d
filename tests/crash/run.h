/* run.h - cases, and what the programs of this folder do with each: start it, go back to its start, judge its end. */
#ifndef TESTS_CRASH_RUN_H
#define TESTS_CRASH_RUN_H

#include "tests/crash/stepper.h"
#include "tests/crash/verify.h"

/* A call that is looked at. */
struct plan {
    enum world_actor who;
    void (*fn)(void *);
    struct call call;
};

/* What came before, one letter a step: i inline, l in the lane, h most of the lane, b batch of three, m batch of mixed
 * lengths (small letters P0, capitals P1); d the subscribers read all; r S0 reads one; a a sleeper is armed;
 * g the bell is armed; e S0 is evicted; x P2 dies in a batch and another follows it; q P2 publishes and leaves. */
struct test_case {
    const char *name;
    struct shape shape;
    const char *past;
    struct plan a, b;             /* b: of pairs */
    uint32_t victim[WORLD_BATCH]; /* P2 is killed while it publishes this */
    bool never_held;              /* another call succeeds whatever has become of the first */
    bool only_once;               /* too long for two preemptions */
};

struct figures {
    uint64_t cases, points, states, kills, schedules;
};

struct run {
    struct world *w;
    struct truth base, walked, truth;   /* at the start of the case, along a walk, now */
    unsigned char *start, *mid, *inner; /* images */
    struct stepper procs[WORLD_ACTORS];
    const struct test_case *tc;
    uint32_t dead; /* actors that are dead from the start */
    bool full;
    uint64_t seed, random;
    struct figures figures;
};

/* run_open makes the world and the seed (LEAT_SEED, or the time) and prints it. 0; 77 and a reason when this
 * machine does not let one process step another. */
int run_open(struct run *ret);
void run_close(struct run *r);

/* A random number below n. */
uint64_t run_random(struct run *r, uint64_t n);

/* run_prepare brings the world to the start of a case. A case with a victim has one start for each state of
 * memory that its death can leave: false when there is no start `number`. */
bool run_prepare(struct run *r, const struct test_case *tc, uint32_t number);

/* The lengths of the messages that a letter of a past stands for; NULL: it is not about messages. */
const uint32_t *run_lens(char letter);

void run_save(const struct run *r, unsigned char *image);
void run_load(struct run *r, const unsigned char *image);
void run_reset(struct run *r); /* to the start of the case */

/* run_begin readies an actor's call in its process. */
struct stepper *run_begin(struct run *r, const struct plan *plan);

/* run_judge: the actors in `dead` die now, in addition to those who were dead from the start; what then? NULL or what is wrong. */
const char *run_judge(struct run *r, uint32_t dead);

/* run_summary prints how much was tried, and the seed. */
void run_summary(const struct run *r, const char *form);

/* run_complain prints where and what; always false. */
bool run_complain(const struct run *r, const char *where, const char *what);

/* The two kinds of test, on those cases of a list (that ends with one without a name) whose name contains `part`. */
bool kill_all(struct run *r, const struct test_case *cases, const char *part);
bool preempt_all(struct run *r, const struct test_case *cases, const char *part);

extern const struct test_case kill_cases[], preempt_cases[];

/* The actors of each pair die at every pair of named points (a build without them has none). */
bool points_all(struct run *r, const struct test_case *cases, const char *part);

/* ring_format and ring_destroy at every instruction: nobody believes what is not complete. */
bool format_all(struct run *r, const char *part);

#endif
