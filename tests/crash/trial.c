#include "tests/crash/trial.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/support/pause.h"

#define READS_MAX 100000
#define UNACKED_MAX 32
#define SENT 1
#define SEEN 2

int64_t
trial_now_ns(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

int
trial_open(struct trial *ret)
{
    int x;

    stepper_patience_s = TRIAL_PATIENCE_S / 2;
    x = run_open(&ret->r);
    if (x)
        return x;
    ret->tc.name = "bus";
    ret->r.tc = &ret->tc;
    ret->last = malloc(1 << 20);
    ret->fate = calloc(TRIAL_IDS, 1);
    if (!ret->last || !ret->fate || !stage_open(&ret->b)) {
        trial_close(ret);
        return 1;
    }
    return 0;
}

void
trial_close(struct trial *t)
{
    stage_close(&t->b);
    run_close(&t->r);
    free(t->last);
    free(t->fate);
}

bool
trial_complain(const struct trial *t, uint64_t n, const char *what)
{
    char where[64];

    (void)snprintf(where, sizeof where, "at %" PRIu64, n);
    return run_complain(&t->r, where, what);
}

void
trial_note(struct trial *t, enum world_actor who)
{
    const struct call *c = &stage_guest(&t->b, who)->call;

    for (uint32_t i = 0; c->publishes && i < c->sent * c->n && c->id + i < TRIAL_IDS; i++)
        t->fate[c->id + i] |= SENT;
}

int
trial_do(struct trial *t, enum world_actor who, void (*fn)(void *), const struct call *call)
{
    int r = stage_do(&t->b, who, fn, call);

    trial_note(t, who);
    return r;
}

bool
trial_seen(struct trial *t)
{
    struct guest *g = stage_guest(&t->b, S0);
    bool is_lossless = t->scene->kind != LEAT_LIVE;

    for (uint32_t i = 0; i < g->seen_count; i++) {
        const struct seen *s = &g->seen[i];
        if (s->seq <= t->last_seq)
            return trial_complain(t, s->seq, "a reader was given a place again");
        if (is_lossless && s->kind != SEEN_MESSAGE)
            return trial_complain(t, s->seq, "a lossless reader has lost a place");
        t->last_seq = s->kind == SEEN_GAP ? s->seq + s->lost - 1 : s->seq;
        if (s->kind != SEEN_MESSAGE)
            continue;
        if (!s->is_whole)
            return trial_complain(t, s->seq, "a reader was given half a message");
        if (s->key >> 16 < TRIAL_IDS)
            t->fate[s->key >> 16] |= SEEN;
    }
    t->unacked += g->seen_count;
    g->seen_count = 0;
    return true;
}

bool
trial_drain(struct trial *t)
{
    const struct call all = {.n = WORLD_SEEN};

    for (int i = 0; i < READS_MAX; i++) {
        int r = stage_do(&t->b, S0, guest_receive, &all);
        if (r)
            return trial_complain(t, t->last_seq, leat_strerror(r));
        if (!stage_guest(&t->b, S0)->seen_count)
            return true;
        if (!trial_seen(t))
            return false;
    }
    return trial_complain(t, t->last_seq, "there is no end of messages");
}

bool
trial_audit(struct trial *t)
{
    if (t->scene->kind == LEAT_LIVE)
        return true;
    for (uint32_t i = t->first_id; i < t->b.next_id && i < TRIAL_IDS; i++)
        if (t->fate[i] == SENT)
            return trial_complain(t, i, "a message of this number was sent and not received");
    return true;
}

int
trial_send(struct trial *t, enum world_actor who, char letter)
{
    const uint32_t *lens = run_lens(letter);
    time_t until = time(NULL) + TRIAL_PATIENCE_S;
    struct call call = {.publishes = true};
    int r;

    for (; call.n < WORLD_BATCH && lens[call.n]; call.n++)
        call.len[call.n] = lens[call.n];
    /* On disk there is room again when the daemon has written. */
    do
        r = trial_do(t, who, guest_send, &call);
    while (r == -EAGAIN && time(NULL) <= until && stage_tend(&t->b));
    return r;
}

bool
trial_enter(struct trial *t, const struct scene *scene)
{
    pid_t before = t->reader;

    t->scene = scene;
    t->tc.name = scene->name;
    for (int i = 0; i < STAGE_GUESTS; i++)
        t->b.guests[i].timeout_ns = scene->wait_ns[i];
    if (!stage_guest(&t->b, S0)->timeout_ns)
        stage_guest(&t->b, S0)->timeout_ns = SHORT_WAIT_NS;
    if (!stage_use(&t->b, scene->topic, scene->kind, scene->sub))
        return false;
    t->reader = stage_guest(&t->b, S0)->proc.pid;
    if (t->reader != before) {
        t->first_id = t->b.next_id;
        t->last_seq = 0;
        t->unacked = 0;
    }
    if (!trial_drain(t))
        return false;
    /* A named subscription begins where it was acknowledged: it need not read all from the log each time. */
    if (scene->sub && t->unacked > UNACKED_MAX) {
        t->unacked = 0;
        if (stage_do(&t->b, S0, guest_ack, NULL))
            return trial_complain(t, t->last_seq, "what was received cannot be acknowledged");
    }
    for (const char *c = scene->past; *c; c++)
        if (*c == 'd' ? !trial_drain(t) : trial_send(t, *c & 0x20 ? P0 : P1, (char)(*c | 0x20)))
            return trial_complain(t, 0, "what has to come before does not");
    return true;
}

const char *
trial_judge(struct trial *t, uint32_t dead)
{
    struct run *r = &t->r;

    if (!stage_import(&t->b, r->w, dead))
        return "a copy of the topic cannot be joined";
    truth_start(&r->truth, r->w);
    r->truth.origin = ring_oldest(&r->w->view);
    return run_judge(r, dead);
}

bool
trial_await_settled(struct trial *t, pid_t pid)
{
    time_t until = time(NULL) + TRIAL_PATIENCE_S;

    while (!stage_settled(&t->b, pid)) {
        if (time(NULL) > until)
            return trial_complain(t, 0, "the daemon leaves something behind of a dead process");
        if (!stage_tend(&t->b))
            return false;
        pause_briefly();
    }
    return true;
}
