/* work.h - what the daemon does for guests, how it begins, how one knows that it is done, and that everybody goes on. */
#ifndef TESTS_CRASH_WORK_H
#define TESTS_CRASH_WORK_H

#include "tests/crash/trial.h"

/* What the daemon does when the call has ended, or instead of a call: the guest dies in it. */
enum after { NOTHING, DIES, ACKED };

struct work {
    struct scene scene;
    struct bus_call c;
    bool is_first; /* the guest has to open what it is about to open */
    enum after after;
};

extern const struct work works[];
extern const size_t work_count;

/* work_complain says where the daemon was killed; always false. */
bool work_complain(const struct trial *t, uint64_t k, const char *what);

/* work_prepare brings the guests to where the work begins. */
bool work_prepare(struct trial *t, const struct work *w);

/* work_die steps a publisher to somewhere in its claim, where it has stamped all, some or none of its places, a reader into its
 * call; then kills it. */
void work_die(struct trial *t, const struct work *w);

/* work_is_done says whether the daemon has done what it does after the call of the process `pid`. */
bool work_is_done(const struct trial *t, const struct work *w, pid_t pid);

/* work_go_on has everybody go on, whether the daemon was killed (at `k`) or not. */
bool work_go_on(struct trial *t, const struct work *w, uint64_t k);

/* work_is_guests says whether a named point is one that only guests pass. */
bool work_is_guests(const char *name);

/* The forms of crash_daemon. */
bool calls_form(struct trial *t, const char *part);
bool stores_form(struct trial *t, const char *part);
bool between_form(struct trial *t, const char *part);
bool points_form(struct trial *t, const char *part);
bool pairs_form(struct trial *t, const char *part);

#endif
