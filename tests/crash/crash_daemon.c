/* crash_daemon.c - the daemon is killed while it works for guests, who go on, and goes on itself when it is started again.
 *
 *   crash_daemon calls [PART]    before and after every system call of what it does for the cases whose name contains
 *                                PART, and of its start. Between two system calls it changes shared memory, which
 *                                crash_ring kills after every instruction, and its own, which dies with it.
 *   crash_daemon points [PART]   at every named point that it passes, once
 *
 * The quick form takes a sample of the calls and of the points, LEAT_FULL=1 all; LEAT_SEED is the seed of the sample. */
#include "tests/crash/trial.h"

#include "shm/testpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define QUICK_CALLS 4   /* deaths of each case */
#define QUICK_POINTS 16 /* named points */
#define NEVER UINT64_MAX

enum after { NOTHING, DIES, ACKED };

struct work {
    struct scene scene;
    struct bus_call c;
    bool is_first; /* the guest has to open what it is about to open */
    enum after
        after; /* what the daemon does when the call has ended, or instead of a call: the guest dies in it */
};

#define SCENE(n, t, k, s, p)                                                                       \
    {                                                                                              \
        .name = (n), .topic = (t), .kind = (k), .sub = (s), .past = (p)                            \
    }
#define MEMORY(name, past) SCENE(name, "memory", LEAT_GATING, NULL, past)
#define DISK(name, past) SCENE(name, "disk", LEAT_DURABLE, "crash", past)
#define PUB(f, count, ...)                                                                         \
    {                                                                                              \
        .who = P0, .fn = (f), .call = {.publishes = true, .n = (count), .len = {__VA_ARGS__} }     \
    }
#define SUB(f, count)                                                                              \
    {                                                                                              \
        .who = S0, .fn = (f), .call = {.n = (count) }                                              \
    }

static const struct work works[] = {
    {MEMORY("open a publisher", "i"), PUB(guest_open_pub, 0, 0), true, NOTHING},
    {MEMORY("close a publisher", "il"), PUB(guest_close_pub, 0, 0), false, NOTHING},
    {MEMORY("open a gating subscriber", "iI"), SUB(guest_open_sub, 0), true, NOTHING},
    {MEMORY("close a gating subscriber", "iI"), SUB(guest_close_sub, 0), false, NOTHING},
    {DISK("open a named subscriber", "iI"), SUB(guest_open_sub, 0), true, NOTHING},
    {DISK("close a named subscriber", "iI"), SUB(guest_close_sub, 0), false, NOTHING},
    {MEMORY("death of a publisher", "iI"), PUB(guest_send, 3, 8, 40, 9), false, DIES},
    {DISK("death of a publisher, disk", "iI"), PUB(guest_send, 3, 8, 40, 9), false, DIES},
    {MEMORY("death of a gating subscriber", "iI"), SUB(guest_receive, 1), false, DIES},
    {DISK("death of a named subscriber", "iI"), SUB(guest_receive, 1), false, DIES},
    {DISK("send until it is durable", "d"), PUB(guest_durable, 3, 8, 900, 9), false, NOTHING},
    {DISK("acknowledge", "iId"), SUB(guest_ack, 0), false, ACKED},
};
#define WORKS (sizeof works / sizeof *works)

static bool
complain(const struct trial *t, uint64_t k, const char *what)
{
    char where[64];

    (void)snprintf(where, sizeof where, "daemon killed at stop %" PRIu64, k);
    return run_complain(&t->r, where, what);
}

/* --- how a work begins and ends --------------------------------------------------------------------------- */

/* Steps a publisher to where it has claimed places and stamped none, a reader into its call; then kills it. */
static void
die_in_call(struct trial *t, const struct work *w)
{
    struct stepper *s = stage_tell(&t->b, w->c.who, w->c.fn, &w->c.call);
    struct ring_view v;
    uint64_t tail;

    if (!stage_view(&t->b, &v))
        return;
    tail = atom_load_relaxed(ring_tail(&v));
    for (int i = 0; i < 5000; i++) {
        if (atom_load_relaxed(ring_tail(&v)) != tail || stepper_step(s) != STEPPER_ON)
            break;
    }
    stepper_kill(s);
}

/* Whether the daemon has done what it does after the call. */
static bool
is_done(const struct trial *t, const struct work *w, pid_t pid)
{
    struct ring_view v;

    if (w->after == DIES)
        return stage_settled(&t->b, pid);
    if (w->after != ACKED || !stage_view(&t->b, &v))
        return true;
    for (uint32_t i = 0; i < v.geo.max_cursors; i++) {
        const struct ring_cursor *c = ring_cursor(&v, i);
        if (c->pid == (uint32_t)pid &&
            atom_load_relaxed(&c->saved) < atom_load_acquire(&c->acked)) /* acquire: ACK */
            return false;
    }
    return true;
}

static bool
prepare(struct trial *t, const struct work *w)
{
    void (*close)(void *) = w->c.who == S0 ? guest_close_sub : guest_close_pub;

    if (t->scene && t->scene->topic != w->scene.topic && !stage_leave(&t->b))
        return false;
    if (!trial_enter(t, &w->scene))
        return trial_complain(t, 0, "the guests cannot enter");
    return !w->is_first || !trial_do(t, w->c.who, close, NULL);
}

/* A guest asks again where it got an error instead of an answer. Nothing of the first attempt is left then. */
static bool
ask_again(struct trial *t, const struct work *w, uint64_t k)
{
    const struct guest *g = stage_guest(&t->b, w->c.who);
    time_t until = time(NULL) + TRIAL_PATIENCE_S;
    int r = g->call.result;

    if (r && w->c.fn == guest_durable)
        return complain(t, k, "what was sent does not become durable");
    if (w->c.fn == guest_close_pub || w->c.fn == guest_close_sub || w->is_first) {
        while ((r = stage_reopen(&t->b, w->c.who)) && time(NULL) <= until && stage_tend(&t->b))
            ;
        if (r)
            return complain(t, k, leat_strerror(r));
        if (w->c.who == S0) {
            t->first_id = t->b.next_id;
            t->last_seq = 0;
        }
    }
    while (stage_lines(&t->b, g->proc.pid) != 1 && time(NULL) <= until && stage_tend(&t->b))
        (void)sched_yield();
    return stage_lines(&t->b, g->proc.pid) == 1 ||
           complain(t, k, "a guest has more lines than it knows of, or fewer");
}

/* Everybody goes on. */
static bool
go_on(struct trial *t, const struct work *w, uint64_t k)
{
    const char *bad;

    if (stage_guest(&t->b, w->c.who)->proc.pid && !ask_again(t, w, k))
        return false;
    if (trial_send(t, P1, 'i'))
        return complain(t, k, "a publisher cannot go on");
    if (!trial_enter(t, &w->scene) || !trial_drain(t) || !trial_audit(t))
        return complain(t, k, "not everybody can go on");
    bad = trial_judge(t, 0);
    return bad ? complain(t, k, bad) : true;
}

/* --- every system call -------------------------------------------------------------------------------------- */

struct chase {
    struct trial *t;
    const struct work *w;
    uint64_t kill_at, stops;
    pid_t guest;
    bool guest_done, is_late;
    bool idle; /* the daemon waits for events */
};

static bool
is_waiting(long nr)
{
    return nr == SYS_epoll_wait || nr == SYS_epoll_pwait || nr == SYS_epoll_pwait2;
}

/* The daemon has stopped at a system call: whether this one counts. */
static bool
count_stop(struct chase *c, int status)
{
    struct __ptrace_syscall_info info;

    if (WSTOPSIG(status) != (SIGTRAP | 0x80) ||
        ptrace(PTRACE_GET_SYSCALL_INFO, c->t->b.daemon, sizeof info, &info) < 0)
        return false;
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
        c->idle = is_waiting((long)info.entry.nr);
    else
        c->idle = false;
    return !c->idle;
}

static void
let_on(struct chase *c, int status)
{
    int sig = WSTOPSIG(status);
    bool is_ours = sig == (SIGTRAP | 0x80) || status >> 16;

    (void)ptrace(PTRACE_SYSCALL, c->t->b.daemon, NULL, is_ours ? 0 : (long)sig);
}

static void
let_go(struct chase *c)
{
    int status;

    (void)ptrace(PTRACE_INTERRUPT, c->t->b.daemon, NULL, NULL);
    while (waitpid(c->t->b.daemon, &status, __WALL) < 0 && errno == EINTR)
        ;
    (void)ptrace(PTRACE_DETACH, c->t->b.daemon, NULL, NULL);
}

/* Follows the daemon until it is to be killed (true) or has done its work; it is then let go. One that does not come to
 * an end is killed as well. */
static bool
follow(struct chase *c)
{
    struct stepper *s = &stage_guest(&c->t->b, c->w->c.who)->proc;
    time_t until = time(NULL) + TRIAL_PATIENCE_S;
    pid_t daemon = c->t->b.daemon;
    int status;

    for (;;) {
        c->is_late = time(NULL) > until;
        if (c->is_late)
            return true;
        if (!c->guest_done)
            c->guest_done = stepper_poll(s) != STEPPER_ASLEEP;
        if (waitpid(daemon, &status, __WALL | WNOHANG) == daemon) {
            if (!WIFSTOPPED(status))
                return true;
            if (count_stop(c, status) && ++c->stops == c->kill_at)
                return true;
            let_on(c, status);
        } else if (c->idle && c->guest_done && is_done(c->t, c->w, c->guest)) {
            let_go(c);
            return false;
        } else {
            (void)sched_yield();
        }
    }
}

static bool
seize(struct trial *t)
{
    int status;

    if (ptrace(PTRACE_SEIZE, t->b.daemon, NULL,
               (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) ||
        ptrace(PTRACE_INTERRUPT, t->b.daemon, NULL, NULL))
        return trial_complain(t, 0, "the daemon cannot be traced");
    while (waitpid(t->b.daemon, &status, __WALL) < 0 && errno == EINTR)
        ;
    (void)ptrace(PTRACE_SYSCALL, t->b.daemon, NULL, NULL);
    return true;
}

/* Does the work and kills the daemon at its stop `k`; *ret_stops: how many there were. */
static bool
work_and_kill(struct trial *t, const struct work *w, uint64_t k, uint64_t *ret_stops)
{
    struct chase c = {.t = t, .w = w, .kill_at = k, .idle = true};
    struct stepper *s;

    if (!prepare(t, w) || !seize(t))
        return false;
    c.guest = stage_guest(&t->b, w->c.who)->proc.pid;
    if (w->after == DIES) {
        die_in_call(t, w);
        c.guest_done = true;
    } else {
        s = stage_tell(&t->b, w->c.who, w->c.fn, &w->c.call);
        stepper_go(s);
    }
    if (follow(&c)) {
        stage_kill_daemon(&t->b);
        t->r.figures.kills++;
        if (c.is_late)
            return complain(t, k, "the daemon does not do its part");
        if (!stage_start_daemon(&t->b, NULL))
            return complain(t, k, "it cannot be started again");
    }
    if (!c.guest_done && stepper_await(&stage_guest(&t->b, w->c.who)->proc) != STEPPER_DONE)
        return complain(t, k, "the guest's call does not return");
    trial_note(t, w->c.who);
    *ret_stops = c.stops;
    return (w->after != DIES || trial_await_settled(t, c.guest)) && go_on(t, w, k);
}

static bool
calls_of_work(struct trial *t, const struct work *w)
{
    uint64_t all = 0, stops, kills = 0, k = 0;

    if (!work_and_kill(t, w, NEVER, &all))
        return false;
    while (all && k < all) {
        k = t->r.full ? k + 1 : 1 + run_random(&t->r, all);
        if (!work_and_kill(t, w, k, &stops))
            return false;
        if (++kills == QUICK_CALLS && !t->r.full)
            break;
    }
    t->r.figures.cases++;
    t->r.figures.points += all;
    printf("  %-40s %5" PRIu64 " stops %5" PRIu64 " kills\n", w->scene.name, all, kills);
    return true;
}

/* --- a disk that is late ---------------------------------------------------------------------------------------- */

/* What was acknowledged before it was durable is saved once it is, although nobody says so again. The daemon is stopped for
 * longer than the pause between two looks at what was acknowledged, with the flush under way. */
static bool
late_disk(struct trial *t)
{
    const struct work *w = &works[WORKS - 1];
    uint32_t rounds = t->r.full ? 50 : 5;

    for (uint32_t i = 0; i < rounds; i++) {
        time_t until = time(NULL) + TRIAL_PATIENCE_S;
        if (!prepare(t, w) || trial_send(t, P0, 'i') || !trial_drain(t) ||
            stage_do(&t->b, S0, guest_ack, NULL))
            return complain(t, 0, "nothing can be acknowledged");
        (void)kill(t->b.daemon, SIGSTOP);
        (void)poll(NULL, 0, 120 + (int)run_random(&t->r, 40));
        (void)kill(t->b.daemon, SIGCONT);
        while (!is_done(t, w, stage_guest(&t->b, S0)->proc.pid)) {
            if (time(NULL) > until)
                return complain(t, 0, "what was acknowledged is not saved when the disk is late");
            (void)sched_yield();
        }
    }
    t->r.figures.cases++;
    printf("  %-40s %5" PRIu32 " rounds\n", "acknowledge, the disk is late", rounds);
    return true;
}

/* --- its start ------------------------------------------------------------------------------------------------ */

static void
be_traced(const void *unused)
{
    (void)unused;
    (void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static bool
is_ready(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

/* Starts the daemon and kills it at its stop k: false when it was ready before. */
static bool
start_and_kill(struct trial *t, uint64_t k, uint64_t *ret_stops)
{
    uint64_t stops = 0;
    bool killed = false;
    int ready, status;

    if (!stage_fork_daemon(&t->b, be_traced, NULL, &ready))
        return false;
    while (waitpid(t->b.daemon, &status, __WALL) < 0 && errno == EINTR)
        ;
    (void)ptrace(PTRACE_SETOPTIONS, t->b.daemon, NULL,
                 (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
    while (!killed && !is_ready(ready)) {
        (void)ptrace(PTRACE_SYSCALL, t->b.daemon, NULL, NULL);
        while (waitpid(t->b.daemon, &status, __WALL) < 0 && errno == EINTR)
            ;
        killed = ++stops == k || !WIFSTOPPED(status);
    }
    (void)close(ready);
    *ret_stops = stops;
    if (killed)
        stage_kill_daemon(&t->b);
    else
        (void)ptrace(PTRACE_DETACH, t->b.daemon, NULL, NULL);
    return killed;
}

/* The daemon dies; so does a publisher, in the midst of a batch, when nobody is there to see it. */
static bool
one_start(struct trial *t, const struct work *w, uint64_t k, uint64_t *ret_stops)
{
    pid_t pid;

    if (!prepare(t, w))
        return false;
    pid = stage_guest(&t->b, w->c.who)->proc.pid;
    stage_kill_daemon(&t->b);
    die_in_call(t, w);
    trial_note(t, w->c.who);
    if (start_and_kill(t, k, ret_stops)) {
        t->r.figures.kills++;
        if (!stage_start_daemon(&t->b, NULL))
            return complain(t, k, "it cannot be started again");
    }
    return (trial_await_settled(t, pid) || complain(t, k, "in its start")) && go_on(t, w, k);
}

static bool
calls_of_start(struct trial *t, const struct work *w)
{
    uint64_t all = 0, stops, kills = 0, k = 0;

    if (!one_start(t, w, NEVER, &all))
        return false;
    while (k < all && (t->r.full || kills < 3 * QUICK_CALLS)) {
        k = t->r.full ? k + 1 + run_random(&t->r, 4) : 1 + run_random(&t->r, all - 1);
        if (!one_start(t, w, k, &stops))
            return false;
        kills++;
    }
    t->r.figures.cases++;
    t->r.figures.points += all;
    printf("  start after a %-26s %5" PRIu64 " stops %5" PRIu64 " kills\n", w->scene.name, all,
           kills);
    return true;
}

static bool
calls_form(struct trial *t, const char *part)
{
    for (size_t i = 0; i < WORKS; i++)
        if (strstr(works[i].scene.name, part) && !calls_of_work(t, &works[i]))
            return false;
    if (strstr("acknowledge, the disk is late", part) && !late_disk(t))
        return false;
    for (size_t i = 0; i < WORKS && strstr("start", part); i++)
        if (works[i].after == DIES && works[i].c.who == P0 && !calls_of_start(t, &works[i]))
            return false;
    return true;
}

/* --- every named point ------------------------------------------------------------------------------------------ */

#if defined(LEAT_TESTPOINTS)

/* The work, while the daemon may die of itself. */
static bool
work_with_point(struct trial *t, const struct work *w, uint64_t k)
{
    struct stepper *s = &stage_guest(&t->b, w->c.who)->proc;
    time_t until = time(NULL) + TRIAL_PATIENCE_S;
    bool done = w->after == DIES;
    pid_t guest = s->pid;

    if (done)
        die_in_call(t, w);
    else
        stepper_go(stage_tell(&t->b, w->c.who, w->c.fn, &w->c.call));
    while (!done || !is_done(t, w, guest) || !stage_daemon_rests(&t->b)) {
        if (!done)
            done = stepper_poll(s) != STEPPER_ASLEEP;
        if (!stage_tend(&t->b))
            return complain(t, k, "it cannot be started again");
        if (time(NULL) > until)
            return complain(t, k,
                            done ? "the daemon does not do its part" : "the call does not return");
        (void)sched_yield();
    }
    trial_note(t, w->c.who);
    return go_on(t, w, k);
}

/* A daemon that is to die at a point is started over what a former one left, and works until it has died. */
static bool
one_point(struct trial *t, const char *name, bool *ret_died)
{
    uint32_t deaths = t->b.deaths;

    if (!prepare(t, &works[0]) || stage_reopen(&t->b, P0))
        return false;
    stage_kill_daemon(&t->b);
    (void)stage_start_daemon(&t->b, name);
    if (!stage_tend(&t->b))
        return false;
    for (size_t i = 0; i < WORKS && t->b.deaths == deaths; i++)
        if (!prepare(t, &works[i]) || !work_with_point(t, &works[i], i))
            return complain(t, i, name);
    *ret_died = t->b.deaths != deaths;
    t->r.figures.kills += *ret_died;
    if (!*ret_died) {
        stage_kill_daemon(&t->b);
        return stage_start_daemon(&t->b, NULL);
    }
    return prepare(t, &works[0]) && work_with_point(t, &works[0], 0);
}

/* Guests have points of their own, which the daemon cannot pass. */
static bool
is_guests(const char *name)
{
    static const char *const theirs[] = {"conn.", "sub.", "pub.", "fd.", "replay.", "durable."};

    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
        if (!strncmp(name, theirs[i], strlen(theirs[i])))
            return true;
    return false;
}

static bool
points_form(struct trial *t, const char *part)
{
    const char *const *names = shm_testpoint_names();
    int all = 0, passed = 0, tried = 0;
    bool died = false;

    while (names[all])
        all++;
    for (int i = 0; i < all; i++) {
        if (is_guests(names[i]) || !strstr(names[i], part) ||
            (!t->r.full && run_random(&t->r, (uint64_t)all) >= QUICK_POINTS))
            continue;
        if (t->r.full)
            printf("  %s\n", names[i]);
        if (!one_point(t, names[i], &died))
            return false;
        tried++;
        passed += died;
        if (!died)
            printf("  never passed here: %s\n", names[i]);
    }
    t->r.figures.cases += (uint64_t)tried;
    printf("  %d named points tried, at %d of which the daemon died\n", tried, passed);
    return true;
}

#else

/* Guests have points of their own, which the daemon cannot pass. */
static bool
is_guests(const char *name)
{
    static const char *const theirs[] = {"conn.", "sub.", "pub.", "fd.", "replay.", "durable."};

    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
        if (!strncmp(name, theirs[i], strlen(theirs[i])))
            return true;
    return false;
}

static bool
points_form(struct trial *t, const char *part)
{
    (void)t;
    (void)part;
    return true;
}

#endif

int
main(int argc, char **argv)
{
    const char *form = argc > 1 ? argv[1] : "calls", *part = argc > 2 ? argv[2] : "";
    static struct trial t;
    bool good;
    int x;

#if !defined(LEAT_TESTPOINTS)
    if (!strcmp(form, "points")) {
        printf("skipped: this build has no named points\n");
        return 77;
    }
#endif
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    x = trial_open(&t);
    if (x)
        return x;
    good = strcmp(form, "points") ? calls_form(&t, part) : points_form(&t, part);
    if (!good)
        stage_log(&t.b);
    run_summary(&t.r, form);
    trial_close(&t);
    return !good;
}
