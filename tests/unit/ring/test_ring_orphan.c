/* The orphan rule: a publisher dies after every step of every kind of publish, alone, with others, in pairs; then
 * everybody sees all of what it claimed or nothing, in one order, and goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ring/ring.h"
#include "shm/testpoint.h"
#include "tests/support/fixture.h"

#define PUBS 3

static struct fixture f;
static struct ring_publisher pubs[PUBS];
static uint64_t pseqs[PUBS];

static void
begin(void)
{
    struct ring_geometry g = fixture_geometry();

    assert_int_equal(fixture_make(&f, &g), 0);
    for (uint16_t i = 0; i < PUBS; i++) {
        assert_int_equal(fixture_publisher(&f, i, &pubs[i]), 0);
        pseqs[i] = 0;
    }
}

static void
end(void)
{
    for (int i = 0; i < PUBS; i++)
        fixture_publisher_drop(&pubs[i]);
    fixture_destroy(&f);
}

static int
setup(void **state)
{
    (void)state;
    begin();
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    end();
    return 0;
}

static uint64_t
tail(void)
{
    return atom_load_acquire(ring_tail(&f.view));
}

static int
settle(uint64_t *ret_aborted)
{
    *ret_aborted = 0;
    return ring_settle(&f.view, f.scratch, ret_aborted);
}

static void
settled(uint64_t want_aborted)
{
    uint64_t aborted;

    assert_int_equal(settle(&aborted), 0);
    assert_int_equal(aborted, want_aborted);
    assert_int_equal(settle(&aborted), 0);
    assert_int_equal(aborted, 0);
}

/* What a claim that was cut off left, written down by hand: `states[i]` of each slot, 0: not touched. */
static uint64_t
cut_off(uint32_t who, const uint32_t *states, uint32_t n)
{
    uint64_t seq = tail();

    atom_store_release(&ring_line(&f.view, who)->intent, ring_intent_pack(seq, n));
    atom_store_release(ring_tail(&f.view), seq + n);
    for (uint32_t i = 0; i < n; i++) {
        struct ring_slot *s = ring_slot(&f.view, seq + i);
        if (!states[i])
            continue;
        atom_store_relaxed(&s->meta, (uint64_t)8 << 32 | who);
        atom_store_release(&s->stamp, ring_stamp(seq + i, states[i]));
    }
    return seq;
}

static uint32_t
state_at(uint64_t seq)
{
    uint64_t stamp = atom_load_acquire(&ring_slot(&f.view, seq)->stamp);

    assert_int_equal(ring_stamp_seq(stamp), seq);
    return ring_stamp_state(stamp);
}

static void
a_quiet_ring_has_no_orphans(void **state)
{
    uint64_t seq;

    (void)state;
    settled(0);
    for (uint64_t k = 0; k < 50; k++) {
        assert_int_equal(fixture_send(&pubs[k % PUBS], k, 8, &seq), 0);
        settled(0);
    }
    ring_entry_kill(&f.view, 0);
    settled(0);
}

static void
the_livings_claim_is_left_alone(void **state)
{
    static const uint32_t states[] = {0, RING_BUSY, RING_INNER};
    uint64_t seq = cut_off(1, states, 3), aborted;

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(settle(&aborted), 1);
        assert_int_equal(aborted, 0);
        assert_int_equal(state_at(seq + 2), RING_INNER);
    }
    ring_entry_kill(&f.view, 1);
    settled(3);
    for (uint64_t q = seq; q < seq + 3; q++)
        assert_int_equal(state_at(q), RING_ABORTED);
}

/* Whoever is not known to be dead counts as alive. */
static void
an_unknown_state_is_alive(void **state)
{
    static const uint64_t unknown[] = {RING_ENTRY_FREE, 3, 77, UINT64_MAX};
    static const uint32_t states[] = {0};
    uint64_t aborted;

    (void)state;
    cut_off(1, states, 1);
    for (size_t i = 0; i < 4; i++) {
        atom_store_release(&ring_entry(&f.view, 1)->state, unknown[i]);
        assert_int_equal(settle(&aborted), 1);
        assert_int_equal(aborted, 0);
    }
    ring_entry_kill(&f.view, 1);
    settled(1);
}

static void
the_deads_finished_messages_stay(void **state)
{
    static const uint32_t single[] = {RING_COMMITTED};
    static const uint32_t batch[] = {RING_COMMITTED, RING_INNER, RING_INNER};
    uint64_t a = cut_off(0, single, 1), b = cut_off(1, batch, 3);

    (void)state;
    ring_entry_kill(&f.view, 0);
    ring_entry_kill(&f.view, 1);
    settled(0);
    assert_int_equal(state_at(a), RING_COMMITTED);
    assert_int_equal(state_at(b), RING_COMMITTED);
    assert_int_equal(state_at(b + 2), RING_INNER);
}

/* Orphans side by side with finished claims: only what belongs to them goes. */
static void
only_the_orphans_go(void **state)
{
    static const uint32_t good[] = {RING_COMMITTED, RING_INNER, RING_INNER};
    static const uint32_t cut[] = {RING_BUSY, RING_INNER, RING_INNER};
    static const uint32_t open[] = {0};
    uint64_t q[6];

    (void)state;
    q[0] = cut_off(0, good, 3);
    q[1] = cut_off(0, cut, 3);
    q[2] = cut_off(0, good, 3);
    q[3] = cut_off(1, open, 1);
    q[4] = cut_off(1, cut, 3);
    q[5] = cut_off(2, good, 3);
    for (uint32_t i = 0; i < PUBS; i++)
        ring_entry_kill(&f.view, i);
    settled(7);
    for (int i = 0; i < 6; i++) {
        bool gone = i == 1 || i == 3 || i == 4;
        for (uint64_t k = q[i]; k < q[i] + (i == 3 ? 1 : 3); k++)
            assert_int_equal(state_at(k) == RING_ABORTED, gone);
    }
}

/* A living one's intent stands for a place that it lost to one that died: nobody can tell, so the place stays, until the
 * living one has looked. */
static void
a_lost_claims_intent_covers_for_a_while(void **state)
{
    static const uint32_t cut[] = {0, RING_BUSY, RING_INNER};
    uint64_t seq = cut_off(0, cut, 3), aborted;

    (void)state;
    atom_store_release(&ring_line(&f.view, 1)->intent, ring_intent_pack(seq, 2));
    ring_entry_kill(&f.view, 0);
    assert_int_equal(settle(&aborted), 1);
    assert_int_equal(aborted, 0);
    atom_store_release(&ring_line(&f.view, 1)->intent, 0);
    settled(3);
}

static void
a_tail_that_cannot_be_true_is_refused(void **state)
{
    static const uint64_t tails[] = {0, UINT64_MAX, 1ull << 60, 1 + 33, 1 + 1000, 1ull << 59};
    uint64_t seq, aborted = 4711;

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        atom_store_release(ring_tail(&f.view), tails[i]);
        assert_int_equal(ring_settle(&f.view, f.scratch, &aborted), -EBADMSG);
        assert_int_equal(aborted, 4711);
    }
    atom_store_release(ring_tail(&f.view), 1);
    assert_int_equal(fixture_send(&pubs[0], 1, 8, &seq), 0);
    settled(0);
}

static void
an_entry_has_three_steps(void **state)
{
    struct ring_entry *e = ring_entry(&f.view, 3);
    struct ring_line *line = ring_line(&f.view, 3);
    struct ring_owner owner = {.pid = 1, .uid = 2, .start = 3, .since_ns = 4};

    (void)state;
    for (uint64_t generation = 1; generation < 4; generation++) {
        assert_int_equal(atom_load_acquire(&e->state), RING_ENTRY_FREE);
        ring_entry_take(&f.view, 3, &owner);
        assert_int_equal(atom_load_acquire(&e->state), RING_ENTRY_LIVE);
        assert_true(e->pid == 1 && e->uid == 2 && e->start == 3 && e->since_ns == 4);
        assert_int_equal(e->generation, generation);
        atom_store_relaxed(&line->intent, 77);
        atom_store_relaxed(&line->blocked_ns, 77);
        ring_entry_kill(&f.view, 3);
        assert_int_equal(atom_load_acquire(&e->state), RING_ENTRY_DEAD);
        assert_int_equal(atom_load_relaxed(&line->intent), 77);
        ring_entry_free(&f.view, 3);
        assert_int_equal(atom_load_relaxed(&line->intent), 0);
        assert_int_equal(atom_load_relaxed(&line->blocked_ns), 0);
    }
}

/* Handed out, and nobody knows whether the owner knows: it is the owner's or the daemon's, never both's, and an answer that
 * is late claims nothing of the next owner. */
static void
a_claim_is_one_sides(void **state)
{
    struct ring_owner owner = {.pid = 1};

    (void)state;
    for (uint64_t generation = 1; generation < 6; generation++) {
        ring_entry_take(&f.view, 3, &owner);
        assert_int_equal(ring_entry_claim(&f.view, 3, generation - 1), -ESTALE);
        assert_int_equal(ring_entry_claim(&f.view, 3, generation + 1), -ESTALE);
        if (generation & 1) {
            assert_int_equal(ring_entry_claim(&f.view, 3, generation), 0);
            assert_int_equal(ring_entry_claim(&f.view, 3, generation), -ESTALE);
            ring_entry_return(&f.view, 3, generation - 1);
            assert_false(ring_entry_forsake(&f.view, 3));
            /* Closed, and no daemon heard of it. */
            ring_entry_return(&f.view, 3, generation);
            assert_true(ring_entry_forsake(&f.view, 3));
        } else {
            /* A daemon that dies behind this is followed by one that does it again. */
            assert_true(ring_entry_forsake(&f.view, 3));
            assert_true(ring_entry_forsake(&f.view, 3));
            assert_int_equal(ring_entry_claim(&f.view, 3, generation), -ESTALE);
            ring_entry_return(&f.view, 3, generation);
            assert_true(ring_entry_forsake(&f.view, 3));
        }
        ring_entry_kill(&f.view, 3);
        ring_entry_free(&f.view, 3);
    }
}

#if defined(LEAT_TESTPOINTS)

/* --- death after every step ------------------------------------------------------------------- */

static jmp_buf grave;
static unsigned die_at, steps, deaths;

static void
die(const char *name)
{
    (void)name;
    if (++steps != die_at)
        return;
    shm_testpoint_hook = NULL;
    longjmp(grave, 1);
}

struct job {
    uint32_t n;
    uint32_t lens[8];
};

static const struct job jobs[] = {
    {1, {8}},
    {1, {600}},
    {2, {0, 32}},
    {3, {500, 8, 200}},
    {8, {8, 8, 8, 8, 8, 8, 8, 8}},
    {8, {300, 8, 300, 8, 300, 8, 300, 8}},
};
#define JOBS (sizeof jobs / sizeof *jobs)

/* Publisher `who` does the job and dies after step k (the first: 1). False: it had no step k and has done it. */
static bool
work_and_die(uint16_t who, const struct job *job, unsigned k)
{
    uint64_t seq;

    steps = 0;
    die_at = k;
    if (setjmp(grave)) {
        deaths++;
        return true;
    }
    shm_testpoint_hook = die;
    if (fixture_send_many(&pubs[who], pseqs[who], job->lens, job->n, &seq))
        fail_msg("publisher %u has no room", who);
    shm_testpoint_hook = NULL;
    pseqs[who] += job->n;
    return false;
}

static void
work(uint16_t who, const struct job *job)
{
    assert_false(work_and_die(who, job, 0));
}

/* Reads to the end. Every message is whole and in order; counts those of each publisher from pseq[i] on. */
static void
read_all(struct ring_reader *r, uint64_t got[PUBS])
{
    struct ring_msg msg;
    int x;

    while ((x = ring_receive(r, &msg)) == RING_MESSAGE) {
        uint32_t p = pattern_publisher(msg.key);
        assert_int_equal(p, msg.publisher);
        assert_int_equal(pattern_pseq(msg.key), got[p]);
        assert_true(pattern_is(msg.data, msg.key, msg.len));
        got[p]++;
        fixture_release(r);
    }
    assert_int_equal(x, RING_NONE);
    fixture_release(r);
}

/* Everybody, and an heir of each dead one, goes on for some laps. */
static void
life_goes_on(struct ring_reader *r, uint64_t got[PUBS])
{
    static const struct job more = {3, {700, 8, 300}};
    struct ring_report report;

    for (int k = 0; k < 24; k++) {
        uint16_t who = (uint16_t)(k % PUBS);
        uint64_t before = got[who];
        work(who, &more);
        read_all(r, got);
        assert_int_equal(got[who], before + 3);
    }
    if (ring_check(&f.view, &report))
        fail_msg("%s at %llu", report.what, (unsigned long long)report.where);
    assert_true(report.busy + report.missing + report.intents == 0);
    assert_int_equal(r->next, tail());
}

static void
bury(uint16_t who)
{
    ring_entry_free(&f.view, who);
    fixture_publisher_drop(&pubs[who]);
    assert_int_equal(fixture_publisher(&f, who, &pubs[who]), 0);
}

/* All or nothing of the job: `who` has published `was` or was + n messages, and its heir goes on from there. */
static void
all_or_nothing(uint16_t who, const struct job *job, uint64_t was, const uint64_t got[PUBS])
{
    if (got[who] != was && got[who] != was + job->n)
        fail_msg("%llu of %u messages", (unsigned long long)(got[who] - was), job->n);
    pseqs[who] = got[who];
}

/* Dead after each step of each job, at every place of the ring; others publish before it is noticed. */
static void
one_dies(const struct job *job, uint64_t before, unsigned others)
{
    static const struct job one = {1, {100}};
    bool died = true;

    for (unsigned k = 1; died; k++) {
        uint64_t got[PUBS] = {0}, was, aborted;
        struct ring_reader r;
        begin();
        r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
        for (uint64_t i = 0; i < before; i++) {
            work((uint16_t)(i % PUBS), &one);
            read_all(&r, got);
        }
        was = pseqs[0];
        died = work_and_die(0, job, k);
        for (unsigned i = 0; i < others; i++)
            work((uint16_t)(1 + i % 2), &one);
        /* Up to a whole lap: then the place of the dead is the oldest there is. */
        read_all(&r, got);
        if (died) {
            ring_entry_kill(&f.view, 0);
            assert_int_equal(settle(&aborted), 0);
            assert_true(aborted == 0 || aborted == job->n);
            bury(0);
        }
        read_all(&r, got);
        assert_int_equal(r.next, tail());
        all_or_nothing(0, job, was, got);
        assert_int_equal(got[1] + got[2], pseqs[1] + pseqs[2]);
        life_goes_on(&r, got);
        end();
    }
}

static void
one_dies_after_every_step(void **state)
{
    (void)state;
    deaths = 0;
    for (size_t j = 0; j < JOBS; j++)
        for (uint64_t before = 0; before < 20; before += fixture_is_full() ? 1 : 3)
            for (unsigned others = 0; others < 3; others++)
                one_dies(&jobs[j], before, others < 2 ? others * 7 : 16 - jobs[j].n);
    print_message("%u deaths\n", deaths);
    assert_true(deaths > 500);
}

/* Two die, the second claims behind the first; they are noticed together, or one after the other. */
static void
two_die_once(const struct job *a, const struct job *b, unsigned k, unsigned l)
{
    static const struct job one = {1, {100}};
    uint64_t got[PUBS] = {0}, aborted;
    struct ring_reader r;
    bool died[2];

    begin();
    r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    for (uint16_t i = 0; i < 5; i++)
        work(i % PUBS, &one);
    read_all(&r, got);
    died[0] = work_and_die(0, a, k);
    died[1] = work_and_die(1, b, l);
    work(2, &one);
    if ((k + l) & 1 && died[0]) {
        ring_entry_kill(&f.view, 0);
        assert_true(settle(&aborted) >= 0);
        read_all(&r, got);
    }
    for (uint16_t i = 0; i < 2; i++)
        if (died[i])
            ring_entry_kill(&f.view, i);
    assert_int_equal(settle(&aborted), 0);
    for (uint16_t i = 0; i < 2; i++)
        if (died[i])
            bury(i);
    read_all(&r, got);
    assert_int_equal(r.next, tail());
    all_or_nothing(0, a, 2, got);
    all_or_nothing(1, b, 2, got);
    assert_int_equal(got[2], pseqs[2]);
    life_goes_on(&r, got);
    end();
}

static unsigned
steps_of(const struct job *job)
{
    begin();
    work(0, job);
    end();
    return steps;
}

static void
two_die_after_every_pair_of_steps(void **state)
{
    (void)state;
    deaths = 0;
    for (size_t i = 0; i < JOBS; i++) {
        for (size_t j = 0; j < JOBS; j++) {
            unsigned n = steps_of(&jobs[i]), m = steps_of(&jobs[j]);
            /* Both batches of eight do not fit beside the one that lives. */
            if (jobs[i].n + jobs[j].n > 15)
                continue;
            for (unsigned k = 1; k <= n; k++)
                for (unsigned l = 1; l <= m; l++)
                    two_die_once(&jobs[i], &jobs[j], k, l);
        }
    }
    print_message("%u deaths\n", deaths);
    assert_true(deaths > 2000);
}

/* --- others look meanwhile -------------------------------------------------------------------- */

/* What one that is set down anywhere has been shown, it keeps: no later abort takes it back. */
static bool shown[64];

static void
look_everywhere(void)
{
    for (uint64_t q = 1; q <= tail(); q++) {
        struct ring_reader r = {.view = f.view};
        struct ring_msg msg;
        ring_reader_set(&r, q);
        if (ring_receive(&r, &msg) == RING_MESSAGE)
            shown[msg.seq] = true;
        if (ring_peek(&f.view, q, &msg) == RING_MESSAGE)
            shown[q] = true;
    }
}

static void
look_at_every_step(const char *name)
{
    void (*hook)(const char *) = shm_testpoint_hook;

    shm_testpoint_hook = NULL;
    look_everywhere();
    shm_testpoint_hook = hook;
    die(name);
}

static void
watched_death(const struct job *job, unsigned k, bool *ret_died)
{
    uint64_t seq, aborted, first = tail();

    memset(shown, 0, sizeof shown);
    steps = 0;
    die_at = k;
    *ret_died = true;
    if (!setjmp(grave)) {
        shm_testpoint_hook = look_at_every_step;
        assert_int_equal(fixture_send_many(&pubs[0], 0, job->lens, job->n, &seq), 0);
        *ret_died = false;
    }
    shm_testpoint_hook = NULL;
    ring_entry_kill(&f.view, 0);
    die_at = 0;
    shm_testpoint_hook = look_at_every_step;
    assert_int_equal(settle(&aborted), 0);
    shm_testpoint_hook = NULL;
    for (uint64_t q = first; q < tail(); q++)
        assert_true(!shown[q] || state_at(q) != RING_ABORTED);
}

static void
what_was_shown_is_never_taken_back(void **state)
{
    bool died = true;

    (void)state;
    for (size_t j = 0; j < JOBS; j++) {
        died = true;
        for (unsigned k = 1; died; k++) {
            begin();
            watched_death(&jobs[j], k, &died);
            end();
        }
    }
}

/* A pass that is cut off after step k: true, or it had no step k and is through. */
static bool
settle_and_die(unsigned k)
{
    uint64_t aborted;

    steps = 0;
    die_at = k;
    if (setjmp(grave))
        return true;
    shm_testpoint_hook = die;
    (void)settle(&aborted);
    shm_testpoint_hook = NULL;
    return false;
}

/* The publisher dies after step k, the daemon after step d of its pass; the next one finishes. */
static bool
both_die(const struct job *job, unsigned k, unsigned d)
{
    uint64_t got[PUBS] = {0}, aborted;
    struct ring_reader r;
    bool cut;

    begin();
    r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    assert_true(work_and_die(0, job, k));
    ring_entry_kill(&f.view, 0);
    cut = settle_and_die(d);
    assert_int_equal(settle(&aborted), 0);
    bury(0);
    read_all(&r, got);
    all_or_nothing(0, job, 0, got);
    life_goes_on(&r, got);
    end();
    return cut;
}

static void
a_pass_can_be_cut_off(void **state)
{
    unsigned cut = 0, n = steps_of(&jobs[4]);

    (void)state;
    for (unsigned k = 1; k < n; k++)
        for (unsigned d = 1; d < 12; d++)
            cut += both_die(&jobs[4], k, d);
    assert_true(cut > 50);
}

/* Two passes at once: the second runs as a whole between any two steps of the first. */
static unsigned second_at;

static void
second_pass(const char *name)
{
    uint64_t aborted;

    (void)name;
    if (++steps != second_at)
        return;
    shm_testpoint_hook = NULL;
    assert_true(settle(&aborted) >= 0);
    shm_testpoint_hook = second_pass;
}

static void
two_passes_do_no_harm(void **state)
{
    static const struct job *job = &jobs[5];

    (void)state;
    for (unsigned k = 1; k < steps_of(job); k++) {
        for (second_at = 1; second_at < 12; second_at++) {
            uint64_t got[PUBS] = {0}, aborted;
            struct ring_reader r;
            begin();
            r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
            assert_true(work_and_die(0, job, k));
            ring_entry_kill(&f.view, 0);
            steps = 0;
            shm_testpoint_hook = second_pass;
            assert_true(settle(&aborted) >= 0);
            shm_testpoint_hook = NULL;
            assert_int_equal(settle(&aborted), 0);
            bury(0);
            read_all(&r, got);
            all_or_nothing(0, job, 0, got);
            life_goes_on(&r, got);
            end();
        }
    }
}

/* --- the living at work ----------------------------------------------------------------------- */

static const struct job *rival;
static unsigned rival_dies_at, rival_at, live_steps;
static int verdict;
static uint64_t verdict_aborted;

/* Between two steps of a living publisher, another comes and dies, and the daemon makes its pass. */
static void
rival_comes(const char *name)
{
    unsigned mine = ++live_steps;

    (void)name;
    if (mine != rival_at)
        return;
    shm_testpoint_hook = NULL;
    (void)work_and_die(0, rival, rival_dies_at);
    shm_testpoint_hook = NULL;
    ring_entry_kill(&f.view, 0);
    verdict = settle(&verdict_aborted);
    shm_testpoint_hook = rival_comes;
}

static bool
living_meets_rival(const struct job *mine)
{
    static const struct job one = {1, {100}};
    uint64_t got[PUBS] = {0}, seq, aborted;
    struct ring_reader r;

    begin();
    r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    work(0, &one);
    work(1, &one);
    read_all(&r, got);
    live_steps = 0;
    verdict = 0;
    shm_testpoint_hook = rival_comes;
    assert_int_equal(fixture_send_many(&pubs[1], 1, mine->lens, mine->n, &seq), 0);
    shm_testpoint_hook = NULL;
    pseqs[1] = 1 + mine->n;
    assert_in_range(verdict, 0, 1);
    ring_entry_kill(&f.view, 0);
    assert_int_equal(settle(&aborted), 0);
    bury(0);
    read_all(&r, got);
    assert_int_equal(r.next, tail());
    /* Nothing of the living one's was taken for the dead one's. */
    assert_int_equal(got[1], 1 + mine->n);
    all_or_nothing(0, rival, 1, got);
    life_goes_on(&r, got);
    end();
    return live_steps >= rival_at;
}

static unsigned met;

static void
meet_at_every_step(const struct job *mine, const struct job *theirs)
{
    unsigned n = steps_of(theirs);

    rival = theirs;
    for (rival_dies_at = 1; rival_dies_at <= n; rival_dies_at += fixture_is_full() ? 1 : 2) {
        rival_at = 1;
        while (living_meets_rival(mine))
            rival_at++;
        met += rival_at;
    }
}

static void
the_living_are_never_taken_for_dead(void **state)
{
    (void)state;
    met = 0;
    for (size_t i = 0; i < JOBS; i++)
        for (size_t j = 0; j < JOBS; j++)
            if (jobs[i].n + jobs[j].n <= 14)
                meet_at_every_step(&jobs[i], &jobs[j]);
    print_message("%u meetings\n", met);
    assert_true(met > 1000);
}

#endif

/* Whatever the intents say, and in whatever order they stand: exactly what they cover is left alone. */
static void
many_claims_cover_what_they_say(void **state)
{
    const struct ring_geometry *g = &f.view.geo;
    uint64_t dice = 1, aborted, first = g->origin, last = g->origin + g->depth;

    (void)state;
    for (int round = 0; round < 200; round++) {
        end();
        begin();
        atom_store_release(ring_tail(&f.view), last);
        for (uint32_t i = 0; i < g->max_publishers; i++) {
            dice = dice * 6364136223846793005ull + 1442695040888963407ull;
            uint64_t from = first + (dice >> 33) % (3 * g->depth) - g->depth;
            atom_store_release(&ring_line(&f.view, i)->intent,
                               ring_intent_pack(from, (uint32_t)(dice >> 20) % 9));
        }
        (void)settle(&aborted);
        for (uint64_t seq = first; seq < last; seq++) {
            bool covered = false;
            for (uint32_t i = 0; i < g->max_publishers; i++) {
                uint64_t w = atom_load_acquire(&ring_line(&f.view, i)->intent);
                covered |= w && seq - ring_intent_seq(w, last) < ring_intent_count(w);
            }
            assert_int_equal(atom_load_acquire(&ring_slot(&f.view, seq)->stamp) ==
                                 ring_stamp(seq, RING_ABORTED),
                             !covered);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_quiet_ring_has_no_orphans, setup, teardown),
        cmocka_unit_test_setup_teardown(the_livings_claim_is_left_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_state_is_alive, setup, teardown),
        cmocka_unit_test_setup_teardown(the_deads_finished_messages_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(only_the_orphans_go, setup, teardown),
        cmocka_unit_test_setup_teardown(a_lost_claims_intent_covers_for_a_while, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tail_that_cannot_be_true_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(an_entry_has_three_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(a_claim_is_one_sides, setup, teardown),
#if defined(LEAT_TESTPOINTS)
        cmocka_unit_test(one_dies_after_every_step),
        cmocka_unit_test(two_die_after_every_pair_of_steps),
        cmocka_unit_test(what_was_shown_is_never_taken_back),
        cmocka_unit_test(a_pass_can_be_cut_off),
        cmocka_unit_test(two_passes_do_no_harm),
        cmocka_unit_test(the_living_are_never_taken_for_dead),
#endif
        cmocka_unit_test_setup_teardown(many_claims_cover_what_they_say, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
