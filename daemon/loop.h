/* loop.h - the daemon's one thread: descriptors, timers and tasks in one epoll loop.
 *
 *     turn:  sleep until a descriptor is ready or a timer is due
 *            -> ready() of each ready source, in the order in which the kernel names them
 *            -> fire() of each timer that is due, earliest first
 *            -> run() of each deferred task, first come first served
 *            -> the hook (io_flush), and sleep again
 *
 * Sources, timers and tasks are the caller's memory, embedded in what they belong to; nothing is allocated after
 * loop_open, so nothing here fails but the kernel. Any of them may be removed, cancelled or freed from any
 * callback, its own included. With no timer set the loop sleeps without end: an idle daemon makes no
 * wake-ups.
 *
 * One loop belongs to one thread. Times are CLOCK_MONOTONIC nanoseconds. */
#ifndef DAEMON_LOOP_H
#define DAEMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;

/* A descriptor. The caller zeroes it and fills the first three; the descriptor stays the caller's. */
struct loop_source {
    int fd;
    void (*ready)(struct loop_source *source,
                  uint32_t events); /* EPOLLIN, EPOLLOUT, EPOLLHUP, ... */
    void *user;

    uint32_t events; /* private: 0 while not added */
};

/* A moment. The caller zeroes it and fills the first two. */
struct loop_timer {
    void (*fire)(struct loop_timer *timer);
    void *user;

    uint64_t at_ns; /* private: 0 while not set */
    struct loop_timer *child, *next, *prev;
};

/* Something to be done at the end of this turn, once, however often it is asked for. */
struct loop_task {
    void (*run)(struct loop_task *task);
    void *user;

    bool queued; /* private */
    struct loop_task *next, *prev;
};

/* loop_open makes a loop. -ENOMEM, -EMFILE. loop_close frees it: NULL is fine; returns NULL. Sources, timers and
 * tasks that are still known to it are forgotten. */
int loop_open(struct loop **ret);
struct loop *loop_close(struct loop *loop);

/* loop_add begins to watch a source (level-triggered), loop_change changes for what, loop_remove ends it: also one
 * that was never added, and before its descriptor is closed. -ENOMEM, -ENOSPC (max_user_watches), -EPERM. */
int loop_add(struct loop *loop, struct loop_source *source, uint32_t events);
int loop_change(struct loop *loop, struct loop_source *source, uint32_t events);
void loop_remove(struct loop *loop, struct loop_source *source);

/* loop_now is the time as of the beginning of this turn's work; loop_clock asks the kernel. */
uint64_t loop_now(const struct loop *loop);
uint64_t loop_clock(void);

/* loop_set makes a timer fire once, at at_ns (in the past: this turn or the next), whatever it was set to before.
 * loop_set_by does so only when it is not set or set to later. loop_cancel unsets it; one that is not set is fine. */
void loop_set(struct loop *loop, struct loop_timer *timer, uint64_t at_ns);
void loop_set_by(struct loop *loop, struct loop_timer *timer, uint64_t at_ns);
void loop_cancel(struct loop *loop, struct loop_timer *timer);
bool loop_is_set(const struct loop_timer *timer);

/* loop_defer runs a task at the end of this turn; asked for in a task, at the end of the next, before which
 * the loop does not sleep. loop_undefer takes it back. */
void loop_defer(struct loop *loop, struct loop_task *task);
void loop_undefer(struct loop *loop, struct loop_task *task);

/* loop_hook sets what runs last in every turn. */
void loop_hook(struct loop *loop, void (*hook)(void *user), void *user);

/* loop_turn makes one turn, sleeping at most until until_ns (0: not at all; UINT64_MAX: without end). 0, or what epoll
 * said. loop_run turns until loop_stop, and returns what it was given. */
int loop_turn(struct loop *loop, uint64_t until_ns);
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop, int result);

#endif
