#include "daemon/loop.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* Events taken from the kernel at once: enough to be fair, little enough to stay on the stack's scale. */
#define EVENTS_MAX 64
#define NEVER UINT64_MAX

struct loop {
    int epoll;
    int timerfd;
    uint64_t armed_ns; /* what the timerfd is set to; 0: not set */
    uint64_t now_ns;
    struct loop_timer *timers; /* a pairing heap */
    struct loop_task *first, *last;
    void (*hook)(void *user);
    void *hook_user;
    bool running;
    int result;
    int event_count; /* of this turn; a removed source's events are erased from them */
    struct epoll_event events[EVENTS_MAX];
};

uint64_t
loop_clock(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int
loop_open(struct loop **ret)
{
    struct loop *loop = calloc(1, sizeof *loop);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    int r;

    if (!loop)
        return -ENOMEM;
    loop->timerfd = -1;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll >= 0)
        loop->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (loop->timerfd < 0 || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->timerfd, &event)) {
        r = -errno;
        loop_close(loop);
        return r;
    }
    loop->now_ns = loop_clock();
    *ret = loop;
    return 0;
}

struct loop *
loop_close(struct loop *loop)
{
    if (loop) {
        if (loop->timerfd >= 0)
            close(loop->timerfd);
        if (loop->epoll >= 0)
            close(loop->epoll);
        free(loop);
    }
    return NULL;
}

/* --- sources ---------------------------------------------------------------------------------- */

static int
control(struct loop *loop, int verb, struct loop_source *source, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};

    if (epoll_ctl(loop->epoll, verb, source->fd, &event))
        return -errno;
    source->events = events;
    return 0;
}

int
loop_add(struct loop *loop, struct loop_source *source, uint32_t events)
{
    return control(loop, EPOLL_CTL_ADD, source, events);
}

int
loop_change(struct loop *loop, struct loop_source *source, uint32_t events)
{
    return source->events == events ? 0 : control(loop, EPOLL_CTL_MOD, source, events);
}

void
loop_remove(struct loop *loop, struct loop_source *source)
{
    if (!source->events)
        return;
    (void)control(loop, EPOLL_CTL_DEL, source, 0);
    source->events = 0;
    for (int i = 0; i < loop->event_count; i++)
        if (loop->events[i].data.ptr == source)
            loop->events[i].events = 0;
}

/* --- timers ----------------------------------------------------------------------------------- */

uint64_t
loop_now(const struct loop *loop)
{
    return loop->now_ns;
}

bool
loop_is_set(const struct loop_timer *timer)
{
    return timer->at_ns != 0;
}

/* A pairing heap: each timer is not later than its children. `prev` of a first child is its parent, of
 * others the elder sibling. */
static struct loop_timer *
meld(struct loop_timer *a, struct loop_timer *b)
{
    struct loop_timer *winner = a, *loser = b;

    if (!a || !b)
        return a ? a : b;
    if (b->at_ns < a->at_ns) {
        winner = b;
        loser = a;
    }
    loser->prev = winner;
    loser->next = winner->child;
    if (winner->child)
        winner->child->prev = loser;
    winner->child = loser;
    winner->next = winner->prev = NULL;
    return winner;
}

/* Melds a list of siblings in pairs, then the pairs: this is what makes removal cheap on average. */
static struct loop_timer *
meld_all(struct loop_timer *list)
{
    struct loop_timer *pairs = NULL, *all = NULL;

    while (list) {
        struct loop_timer *a = list, *b = a->next, *pair;

        list = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b)
            b->next = b->prev = NULL;
        pair = meld(a, b);
        pair->next = pairs;
        pairs = pair;
    }
    while (pairs) {
        struct loop_timer *next = pairs->next;

        pairs->next = NULL;
        all = meld(all, pairs);
        pairs = next;
    }
    return all;
}

void
loop_cancel(struct loop *loop, struct loop_timer *timer)
{
    struct loop_timer *children = meld_all(timer->child);

    if (!timer->at_ns)
        return;
    if (loop->timers == timer) {
        loop->timers = children;
    } else {
        if (timer->prev->child == timer)
            timer->prev->child = timer->next;
        else
            timer->prev->next = timer->next;
        if (timer->next)
            timer->next->prev = timer->prev;
        loop->timers = meld(loop->timers, children);
    }
    timer->at_ns = 0;
    timer->child = timer->next = timer->prev = NULL;
}

void
loop_set(struct loop *loop, struct loop_timer *timer, uint64_t at_ns)
{
    loop_cancel(loop, timer);
    timer->at_ns = at_ns ? at_ns : 1;
    loop->timers = meld(loop->timers, timer);
}

void
loop_set_by(struct loop *loop, struct loop_timer *timer, uint64_t at_ns)
{
    if (!timer->at_ns || at_ns < timer->at_ns)
        loop_set(loop, timer, at_ns);
}

/* Sets the timerfd to the earliest timer, or to nothing. */
static void
arm(struct loop *loop)
{
    uint64_t at = loop->timers ? loop->timers->at_ns : 0;
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = (long)(at % 1000000000u)}};

    if (at == loop->armed_ns)
        return;
    if (!timerfd_settime(loop->timerfd, TFD_TIMER_ABSTIME, &when, NULL))
        loop->armed_ns = at;
}

static void
fire_due(struct loop *loop)
{
    struct loop_timer *timer;

    while ((timer = loop->timers) && timer->at_ns <= loop->now_ns) {
        loop_cancel(loop, timer);
        timer->fire(timer);
    }
}

/* --- tasks ------------------------------------------------------------------------------------ */

void
loop_defer(struct loop *loop, struct loop_task *task)
{
    if (task->queued)
        return;
    task->queued = true;
    task->next = NULL;
    task->prev = loop->last;
    if (loop->last)
        loop->last->next = task;
    else
        loop->first = task;
    loop->last = task;
}

void
loop_undefer(struct loop *loop, struct loop_task *task)
{
    if (!task->queued)
        return;
    task->queued = false;
    if (task->prev)
        task->prev->next = task->next;
    else
        loop->first = task->next;
    if (task->next)
        task->next->prev = task->prev;
    else
        loop->last = task->prev;
    task->next = task->prev = NULL;
}

/* What tasks ask for waits for the next turn: the marker stands behind what was asked for before. */
static void
run_tasks(struct loop *loop)
{
    struct loop_task marker = {.run = NULL}, *task;

    if (!loop->first)
        return;
    loop_defer(loop, &marker);
    while ((task = loop->first) != &marker) {
        loop_undefer(loop, task);
        task->run(task);
    }
    loop_undefer(loop, &marker);
}

void
loop_hook(struct loop *loop, void (*hook)(void *user), void *user)
{
    loop->hook = hook;
    loop->hook_user = user;
}

/* --- turns ------------------------------------------------------------------------------------ */

static void
dispatch(struct loop *loop)
{
    for (int i = 0; i < loop->event_count; i++) {
        struct epoll_event *event = &loop->events[i];
        struct loop_source *source = event->data.ptr;
        uint64_t expired;

        if (source && event->events)
            source->ready(source, event->events);
        else if (!source && read(loop->timerfd, &expired, sizeof expired) > 0)
            loop->armed_ns = 0;
    }
    loop->event_count = 0;
}

/* How long epoll may sleep, in its milliseconds, rounded up. */
static int
patience(const struct loop *loop, uint64_t until_ns)
{
    uint64_t ms;

    if (loop->first || !until_ns)
        return 0;
    if (until_ns == NEVER)
        return -1;
    if (until_ns <= loop->now_ns)
        return 0;
    ms = (until_ns - loop->now_ns + 999999) / 1000000;
    return ms > 1000000 ? 1000000 : (int)ms;
}

int
loop_turn(struct loop *loop, uint64_t until_ns)
{
    int n;

    if (until_ns && until_ns != NEVER)
        loop->now_ns = loop_clock();
    arm(loop);
    n = epoll_wait(loop->epoll, loop->events, EVENTS_MAX, patience(loop, until_ns));
    if (n < 0 && errno != EINTR)
        return -errno;
    loop->event_count = n < 0 ? 0 : n;
    loop->now_ns = loop_clock();
    dispatch(loop);
    fire_due(loop);
    run_tasks(loop);
    if (loop->hook)
        loop->hook(loop->hook_user);
    return 0;
}

int
loop_run(struct loop *loop)
{
    loop->running = true;
    loop->result = 0;
    while (loop->running) {
        int r = loop_turn(loop, NEVER);
        if (r)
            return r;
    }
    return loop->result;
}

void
loop_stop(struct loop *loop, int result)
{
    loop->running = false;
    loop->result = result;
}
