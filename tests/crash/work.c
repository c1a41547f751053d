#include "tests/crash/work.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/support/pause.h"

/* A claim of three messages takes about so many instructions. */
#define CLAIM_STEPS 200

const struct work works[] = {
    {MEMORY("open a publisher", "i"), PUB(P0, guest_open_pub, 0, 0), true, NOTHING},
    {MEMORY("close a publisher", "il"), PUB(P0, guest_close_pub, 0, 0), false, NOTHING},
    {MEMORY("open a gating subscriber", "iI"), SUB(guest_open_sub, 0), true, NOTHING},
    {MEMORY("close a gating subscriber", "iI"), SUB(guest_close_sub, 0), false, NOTHING},
    {DISK("open a named subscriber", "iI"), SUB(guest_open_sub, 0), true, NOTHING},
    {DISK("close a named subscriber", "iI"), SUB(guest_close_sub, 0), false, NOTHING},
    {MEMORY("death of a publisher", "iI"), PUB(P0, guest_send, 3, 8, 40, 9), false, DIES},
    {DISK("death of a publisher, disk", "iI"), PUB(P0, guest_send, 3, 8, 40, 9), false, DIES},
    {MEMORY("death of a gating subscriber", "iI"), SUB(guest_receive, 1), false, DIES},
    {DISK("death of a named subscriber", "iI"), SUB(guest_receive, 1), false, DIES},
    {DISK("send until it is durable", "d"), PUB(P0, guest_durable, 3, 8, 900, 9), false, NOTHING},
    {{"fill a segment", "rolls", LEAT_DURABLE, "crash", "d", {LONG_WAIT_NS, 0, 0}},
     {.who = P0,
      .fn = guest_fill,
      .call = {.publishes = true, .n = 1, .rounds = 36, .len = {60000}}},
     false,
     NOTHING},
    {DISK("acknowledge", "iId"), SUB(guest_ack, 0), false, ACKED},
};
const size_t work_count = sizeof works / sizeof *works;

bool
work_complain(const struct trial *t, uint64_t k, const char *what)
{
    char where[64];

    (void)snprintf(where, sizeof where, "daemon killed at stop %" PRIu64, k);
    return run_complain(&t->r, where, what);
}

/* --- how a work begins and ends --------------------------------------------------------------------------- */

static bool
is_claiming(const struct ring_view *v)
{
    for (uint32_t i = 0; i < v->geo.max_publishers; i++)
        if (atom_load_relaxed(&ring_line(v, i)->intent))
            return true;
    return false;
}

void
work_die(struct trial *t, const struct work *w)
{
    struct stepper *s = stage_tell(&t->b, w->c.who, w->c.fn, &w->c.call);
    uint64_t tail, more = run_random(&t->r, CLAIM_STEPS);
    struct ring_view v;

    if (!stage_view(&t->b, &v))
        return;
    tail = atom_load_relaxed(ring_tail(&v));
    for (int i = 0; i < 5000; i++) {
        if (atom_load_relaxed(ring_tail(&v)) != tail || stepper_step(s) != STEPPER_ON)
            break;
    }
    while (more-- > 0 && is_claiming(&v))
        if (stepper_step(s) != STEPPER_ON)
            break;
    stepper_kill(s);
}

/* Whether the daemon has done what it does after the call. */
bool
work_is_done(const struct trial *t, const struct work *w, pid_t pid)
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

bool
work_prepare(struct trial *t, const struct work *w)
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

    if (r && (w->c.fn == guest_durable || w->c.fn == guest_fill))
        return work_complain(t, k, "what was sent does not become durable");
    if (w->c.fn == guest_close_pub || w->c.fn == guest_close_sub || w->is_first) {
        while ((r = stage_reopen(&t->b, w->c.who)) && time(NULL) <= until && stage_tend(&t->b))
            ;
        if (r)
            return work_complain(t, k, leat_strerror(r));
        if (w->c.who == S0) {
            t->first_id = t->b.next_id;
            t->last_seq = 0;
        }
    }
    while (stage_lines(&t->b, g->proc.pid) != 1 && time(NULL) <= until && stage_tend(&t->b))
        pause_briefly();
    return stage_lines(&t->b, g->proc.pid) == 1 ||
           work_complain(t, k, "a guest has more lines than it knows of, or fewer");
}

/* Everybody goes on. */
bool
work_go_on(struct trial *t, const struct work *w, uint64_t k)
{
    const char *bad;

    if (stage_guest(&t->b, w->c.who)->proc.pid && !ask_again(t, w, k))
        return false;
    if (trial_send(t, P1, 'i'))
        return work_complain(t, k, "a publisher cannot go on");
    if (!trial_enter(t, &w->scene) || !trial_drain(t) || !trial_audit(t))
        return work_complain(t, k, "not everybody can go on");
    bad = trial_judge(t, 0);
    return bad ? work_complain(t, k, bad) : true;
}

bool
work_is_guests(const char *name)
{
    static const char *const theirs[] = {"conn.", "sub.", "pub.", "fd.", "replay.", "durable."};

    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
        if (!strncmp(name, theirs[i], strlen(theirs[i])))
            return true;
    return false;
}
