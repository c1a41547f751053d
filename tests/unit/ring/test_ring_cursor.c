/* Cursors: who gates, what is told when one comes, and that whoever comes, seeks or goes at any instant of whatever the
 * publishers do is never promised a message that is not there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "ring/ring.h"
#include "shm/testpoint.h"
#include "tests/support/fixture.h"

static struct fixture f;
static struct ring_publisher pubs[2];
static uint64_t sent;
static uint32_t lens[512]; /* by sequence number */

static void
begin(enum ring_when_full when_full)
{
    struct ring_geometry g = fixture_geometry();

    g.when_full = (uint32_t)when_full;
    sent = 0;
    assert_int_equal(fixture_make(&f, &g), 0);
    assert_int_equal(fixture_publisher(&f, 0, &pubs[0]), 0);
    assert_int_equal(fixture_publisher(&f, 1, &pubs[1]), 0);
}

static void
end(void)
{
    fixture_publisher_drop(&pubs[0]);
    fixture_publisher_drop(&pubs[1]);
    fixture_destroy(&f);
}

static int
setup(void **state)
{
    (void)state;
    begin(RING_BLOCK);
    return 0;
}

static int
teardown(void **state)
{
    struct ring_report report;
    int r = ring_check(&f.view, &report);

    (void)state;
    end();
    return r;
}

/* The payload's pattern names the message by its sequence number. */
static int
send(int who, uint32_t len)
{
    uint64_t seq;
    int r = fixture_send(&pubs[who], sent, len, &seq);

    if (r)
        return r;
    sent++;
    lens[seq % 512] = len;
    return 0;
}

static void
send_all(int who, uint64_t n, uint32_t len)
{
    for (uint64_t k = 0; k < n; k++)
        assert_int_equal(send(who, len), 0);
}

static uint64_t
attach(uint32_t i, enum ring_cursor_kind kind, uint64_t pos)
{
    return fixture_reader(&f, i, kind, pos).next;
}

static void
move(uint32_t i, uint64_t pos)
{
    atom_store_release(&ring_cursor(&f.view, i)->pos, pos);
}

static void
the_lowest_that_gates_is_the_gate(void **state)
{
    uint32_t who = 4711;

    (void)state;
    assert_int_equal(ring_gate(&f.view, &who), 1);
    assert_int_equal(who, UINT32_MAX);
    send_all(0, 10, 8);
    assert_int_equal(ring_gate(&f.view, NULL), 11);
    attach(2, RING_KIND_GATING, 11);
    attach(1, RING_KIND_LOG, 11);
    attach(0, RING_KIND_LIVE, 2);
    attach(3, RING_KIND_DURABLE, 3);
    move(2, 9);
    assert_int_equal(ring_gate(&f.view, &who), 9);
    assert_int_equal(who, 2);
    move(1, 7);
    assert_int_equal(ring_gate(&f.view, &who), 7);
    assert_int_equal(who, 1);
    ring_cursor_evict(&f.view, 1);
    assert_int_equal(ring_gate(&f.view, &who), 9);
    ring_cursor_free(&f.view, 2);
    assert_int_equal(ring_gate(&f.view, &who), 11);
    assert_int_equal(who, UINT32_MAX);
}

/* One that says it is ahead of the tail gates at the tail. */
static void
a_cursor_ahead_of_the_tail_holds_it(void **state)
{
    uint32_t who;

    (void)state;
    attach(0, RING_KIND_GATING, 1);
    move(0, UINT64_MAX);
    assert_int_equal(ring_gate(&f.view, &who), 1);
    assert_int_equal(who, 0);
    send_all(0, 40, 8);
    assert_int_equal(ring_gate(&f.view, &who), 41);
    move(0, 0);
    assert_int_equal(ring_gate(&f.view, &who), 0);
    assert_int_equal(send(1, 8), -EAGAIN);
    move(0, 41);
}

/* A daemon that comes back believes no more of control memory than can be. */
static void
what_cannot_be_of_a_cursor_is_put_right(void **state)
{
    static const struct {
        uint32_t durability, when_full, i, kind;
        bool can_be;
    } kinds[] = {
        {RING_MEMORY, RING_BLOCK, 1, RING_KIND_LIVE, true},
        {RING_MEMORY, RING_BLOCK, 1, RING_KIND_GATING, true},
        {RING_MEMORY, RING_BLOCK, 1, RING_KIND_DURABLE, false},
        {RING_MEMORY, RING_BLOCK, 0, RING_KIND_LOG, false},
        {RING_MEMORY, RING_BLOCK, 1, 4, false},
        {RING_MEMORY, RING_OVERWRITE, 1, RING_KIND_GATING, false},
        {RING_DISK, RING_BLOCK, 0, RING_KIND_LOG, true},
        {RING_DISK, RING_BLOCK, 1, RING_KIND_LOG, false},
        {RING_DISK, RING_BLOCK, 1, RING_KIND_GATING, false},
        {RING_DISK, RING_BLOCK, 1, RING_KIND_DURABLE, true},
    };
    static const struct {
        enum ring_cursor_kind kind;
        uint64_t pos, good;
    } places[] = {
        {RING_KIND_LIVE, 42, 41},   {RING_KIND_LIVE, UINT64_MAX, 41}, {RING_KIND_LIVE, 3, 3},
        {RING_KIND_GATING, 42, 41}, {RING_KIND_GATING, 41, 41},       {RING_KIND_GATING, 30, 30},
        {RING_KIND_GATING, 25, 25}, {RING_KIND_GATING, 24, 25},       {RING_KIND_GATING, 0, 25},
    };

    (void)state;
    send_all(0, 40, 8);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        uint64_t word = 7u << 8 | kinds[k].kind << 4 | RING_CURSOR_LIVE;
        uint64_t good = kinds[k].can_be ? word : 7u << 8;
        struct ring_view v = f.view;
        v.geo.durability = kinds[k].durability;
        v.geo.when_full = kinds[k].when_full;
        atom_store_relaxed(ring_cursor_word(&v, kinds[k].i), word);
        assert_int_equal(ring_cursor_repair(&v, kinds[k].i), good);
        assert_int_equal(atom_load_relaxed(ring_cursor_word(&v, kinds[k].i)), good);
        atom_store_relaxed(ring_cursor_word(&v, kinds[k].i), 0);
    }
    atom_store_relaxed(ring_cursor_word(&f.view, 1), 7u << 8 | 3);
    assert_int_equal(ring_cursor_repair(&f.view, 1), 7u << 8);
    for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
        attach(1, places[k].kind, 41);
        move(1, places[k].pos);
        (void)ring_cursor_repair(&f.view, 1);
        assert_int_equal(atom_load_relaxed(&ring_cursor(&f.view, 1)->pos), places[k].good);
        ring_cursor_free(&f.view, 1);
    }
}

/* Control memory is every subscriber's to write: on a disk topic nothing in it holds publishers or lets them go on. */
static void
a_disk_topic_is_gated_by_what_is_durable(void **state)
{
    struct ring_geometry g = fixture_geometry();
    atom_u64 *durable;
    uint32_t who;

    (void)state;
    g.durability = RING_DISK;
    sent = 0;
    assert_int_equal(fixture_make(&f, &g), 0);
    durable = &ring_daemon(&f.view)->durable;
    attach(0, RING_KIND_LOG, 1);
    assert_int_equal(fixture_publisher(&f, 0, &pubs[0]), 0);
    assert_int_equal(fixture_publisher(&f, 1, &pubs[1]), 0);
    send_all(0, 16, 8);
    move(0, 17);
    assert_int_equal(send(0, 8), -EAGAIN);
    assert_int_equal(ring_gate(&f.view, &who), 1);
    assert_int_equal(who, 0);
    attach(1, RING_KIND_GATING, 1);
    atom_store_seq(durable, 16);
    send_all(0, 16, 8);
    assert_int_equal(send(0, 8), -EAGAIN);
    assert_int_equal(ring_gate(&f.view, NULL), 17);
    end();
}

static void
an_overwriting_topic_has_no_gate(void **state)
{
    uint32_t who;

    (void)state;
    begin(RING_OVERWRITE);
    attach(0, RING_KIND_GATING, 1);
    attach(1, RING_KIND_LOG, 1);
    send_all(0, 40, 8);
    assert_int_equal(ring_gate(&f.view, &who), 41);
    assert_int_equal(who, UINT32_MAX);
    end();
}

static void
a_cursor_is_its_owners(void **state)
{
    struct ring_owner owner = {
        .pid = 12, .uid = 34, .start = 56, .since_ns = 78, .name = "billing"};
    struct ring_cursor *c = ring_cursor(&f.view, 1);
    atom_u64 *word = ring_cursor_word(&f.view, 1);
    uint64_t pos = 1;

    (void)state;
    assert_int_equal(ring_cursor_state_of(atom_load_acquire(word)), RING_CURSOR_FREE);
    for (uint64_t generation = 1; generation < 5; generation++) {
        atom_store_relaxed(&c->received, 99);
        atom_store_relaxed(&c->lost, 99);
        atom_store_relaxed(&c->stale, 99);
        atom_store_relaxed(&c->waits, 99);
        ring_cursor_attach(&f.view, 1, RING_KIND_DURABLE, &owner, &pos);
        assert_int_equal(pos, 1);
        assert_int_equal(ring_cursor_state_of(atom_load_acquire(word)), RING_CURSOR_LIVE);
        assert_int_equal(ring_cursor_kind_of(atom_load_acquire(word)), RING_KIND_DURABLE);
        assert_int_equal(ring_cursor_generation_of(atom_load_acquire(word)), generation);
        assert_true(c->pid == 12 && c->uid == 34 && c->start == 56 && c->since_ns == 78);
        assert_string_equal(c->name, "billing");
        assert_int_equal(atom_load_relaxed(&c->pos), 1);
        assert_int_equal(atom_load_relaxed(&c->acked), 1);
        assert_int_equal(atom_load_relaxed(&c->received) + atom_load_relaxed(&c->lost) +
                             atom_load_relaxed(&c->stale) + atom_load_relaxed(&c->waits),
                         0);
        if (generation & 1)
            ring_cursor_evict(&f.view, 1);
        assert_int_equal(ring_cursor_generation_of(atom_load_acquire(word)), generation);
        ring_cursor_free(&f.view, 1);
        assert_int_equal(ring_cursor_state_of(atom_load_acquire(word)), RING_CURSOR_FREE);
        assert_int_equal(ring_cursor_generation_of(atom_load_acquire(word)), generation);
    }
    owner.name = NULL;
    ring_cursor_attach(&f.view, 1, RING_KIND_LIVE, &owner, &pos);
    assert_string_equal(c->name, "");
}

/* As for an entry: the owner's or the daemon's, and only of this generation. */
static void
a_claim_is_one_sides(void **state)
{
    (void)state;
    for (uint64_t generation = 1; generation < 6; generation++) {
        attach(2, RING_KIND_LIVE, 1);
        assert_int_equal(ring_cursor_claim(&f.view, 2, generation - 1), -ESTALE);
        assert_int_equal(ring_cursor_claim(&f.view, 2, generation + 1), -ESTALE);
        if (generation & 1) {
            assert_int_equal(ring_cursor_claim(&f.view, 2, generation), 0);
            assert_int_equal(ring_cursor_claim(&f.view, 2, generation), -ESTALE);
            assert_false(ring_cursor_forsake(&f.view, 2));
            ring_cursor_return(&f.view, 2, generation);
            assert_true(ring_cursor_forsake(&f.view, 2));
        } else {
            assert_true(ring_cursor_forsake(&f.view, 2));
            assert_true(ring_cursor_forsake(&f.view, 2));
            assert_int_equal(ring_cursor_claim(&f.view, 2, generation), -ESTALE);
        }
        ring_cursor_free(&f.view, 2);
    }
}

static void
the_longest_name_fits(void **state)
{
    char name[LIMIT_SUB_NAME + 20];
    struct ring_owner owner = {.pid = 12, .name = name};
    uint64_t pos = 1;

    (void)state;
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    ring_cursor_attach(&f.view, 1, RING_KIND_LIVE, &owner, &pos);
    assert_int_equal(strnlen(ring_cursor(&f.view, 1)->name, 64), LIMIT_SUB_NAME);
}

/* One comes at `pos` when `before` are published: it is told a place from which all is there, and from which on exactly
 * the ring's depth can be published. */
static void
one_comes(uint64_t before, uint64_t pos)
{
    struct ring_reader r;
    struct ring_msg msg;
    uint64_t room = 0;

    begin(RING_BLOCK);
    send_all(0, before, 8);
    r = fixture_reader(&f, 0, RING_KIND_GATING, pos);
    assert_true(r.next >= pos && r.next <= before + 1);
    while (send(0, 8) == 0 || send(1, 8) == 0)
        room++;
    assert_int_equal(before + 1 + room, r.next + 16);
    for (uint64_t q = r.next; q <= before + room; q++) {
        assert_int_equal(ring_receive(&r, &msg), RING_MESSAGE);
        assert_int_equal(msg.seq, q);
        assert_int_equal(pattern_pseq(msg.key), q - 1);
    }
    end();
}

/* A publisher that holds a cached limit has been promised all up to it: one that comes below begins where the promise does. */
static void
a_cached_limit_is_honoured(void **state)
{
    (void)state;
    for (uint64_t before = 0; before < 60; before++)
        for (uint64_t pos = before > 15 ? before - 15 : 1; pos <= before + 1; pos++)
            one_comes(before, pos);
}

static void
an_evicted_cursor_holds_nobody(void **state)
{
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    struct ring_msg msg;

    (void)state;
    send_all(0, 16, 8);
    assert_int_equal(send(0, 8), -EAGAIN);
    ring_cursor_evict(&f.view, 0);
    send_all(0, 20, 8);
    /* Its late store does not bring it back. */
    move(0, 3);
    send_all(1, 40, 8);
    assert_int_equal(ring_receive(&r, &msg), RING_GAP);
    assert_int_equal(msg.first, 1);
    move(0, sent + 1);
}

static void
a_seek_goes_both_ways(void **state)
{
    struct ring_msg msg;
    uint64_t pos;

    (void)state;
    for (uint64_t kind = RING_KIND_LIVE; kind <= RING_KIND_DURABLE; kind++) {
        struct ring_reader r;
        begin(RING_BLOCK);
        r = fixture_reader(&f, 0, (enum ring_cursor_kind)kind, 1);
        send_all(0, 16, 8);
        /* A gating cursor that stands at the beginning has been promised all of it, back and forth. */
        for (pos = 1; pos <= 17; pos++) {
            uint64_t at = pos;
            ring_cursor_seek(&f.view, 0, &at);
            assert_int_equal(at, pos);
            ring_reader_set(&r, at);
            assert_int_equal(ring_receive(&r, &msg), pos < 17 ? RING_MESSAGE : RING_NONE);
            at = 1;
            ring_cursor_seek(&f.view, 0, &at);
            assert_int_equal(at, 1);
        }
        end();
    }
}

/* What a seek forwards gave up cannot be had back once publishers went on with it. */
static void
a_seek_back_is_told_where_it_ends(void **state)
{
    struct ring_reader r = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    struct ring_msg msg;
    uint64_t pos = 9;

    (void)state;
    send_all(0, 16, 8);
    ring_cursor_seek(&f.view, 0, &pos);
    assert_int_equal(pos, 9);
    send_all(0, 8, 8);
    pos = 3;
    ring_cursor_seek(&f.view, 0, &pos);
    assert_int_equal(pos, 9);
    assert_int_equal(atom_load_relaxed(&ring_cursor(&f.view, 0)->pos), 9);
    assert_int_equal(send(0, 8), -EAGAIN);
    ring_reader_set(&r, pos);
    for (uint64_t q = 9; q <= 24; q++) {
        assert_int_equal(ring_receive(&r, &msg), RING_MESSAGE);
        assert_int_equal(msg.seq, q);
    }
    move(0, 25);
}

/* A limit that no publisher can have been given delays nobody's beginning for ever, and ends at the tail. */
static void
a_wild_limit_costs_no_more_than_the_past(void **state)
{
    static const uint64_t limits[] = {UINT64_MAX, 1ull << 63, 1000, 11 + 16};
    struct ring_report report;

    (void)state;
    send_all(0, 10, 8);
    for (size_t i = 0; i < 4; i++) {
        atom_store_seq(&ring_line(&f.view, 3)->limit, limits[i]);
        assert_int_equal(attach(0, RING_KIND_GATING, 1), 11);
        assert_int_equal(ring_check(&f.view, &report), i < 3 ? -EBADMSG : 0);
        ring_cursor_free(&f.view, 0);
    }
    end();
}

#if defined(LEAT_TESTPOINTS)

/* --- every single preemption ------------------------------------------------------------------ */

static void (*intruder)(void);
static unsigned at, passed;

static void
preempt(const char *name)
{
    (void)name;
    if (passed++ != at)
        return;
    shm_testpoint_hook = NULL;
    intruder();
    shm_testpoint_hook = preempt;
}

static struct ring_reader late;
static uint32_t len;
static uint64_t wish;

/* Until somebody holds it, or long enough that nothing of before is left. */
static void
flood(void)
{
    for (int i = 0; i < 18 && send(0, len) == 0; i++)
        ;
}

static void
flood_both(void)
{
    for (int i = 0; i < 18 && (send(0, len) == 0 || send(1, len) == 0); i++)
        ;
}

static void
send_three(void)
{
    for (int i = 0; i < 3; i++)
        (void)send(1, len);
}

/* Looks at the cursors again long before the limit is reached. */
static void
look_for_lane(void)
{
    (void)ring_publish_may(&pubs[0], 1, 2048);
    (void)ring_publish_may(&pubs[1], 8, 2048);
}

static void
heir_comes(void)
{
    fixture_publisher_drop(&pubs[0]);
    ring_entry_kill(&f.view, 0);
    ring_entry_free(&f.view, 0);
    if (fixture_publisher(&f, 0, &pubs[0]))
        fail_msg("no heir");
    flood();
}

static void
look_and_flood(void)
{
    look_for_lane();
    flood_both();
}

static void
come(void)
{
    late = fixture_reader(&f, 1, RING_KIND_GATING, wish);
}

static void
seek(void)
{
    uint64_t pos = wish;

    ring_cursor_seek(&f.view, 1, &pos);
    ring_reader_set(&late, pos);
}

static void
come_and_seek(void)
{
    late = fixture_reader(&f, 1, RING_KIND_GATING, sent + 1);
    seek();
}

/* From where it was told to begin, everything is there, and stays there while publishers do what they can. */
static void
nothing_is_missing(void)
{
    uint64_t tail;
    struct ring_msg msg;

    flood_both();
    tail = atom_load_relaxed(ring_tail(&f.view));
    assert_true(late.next <= tail && late.next + 16 >= tail);
    assert_true(atom_load_relaxed(&late.line->pos) == late.next);
    for (uint64_t q = late.next; q < tail; q++) {
        int x = ring_receive(&late, &msg);
        if (x != RING_MESSAGE)
            fail_msg("preempted at %u: %d at %llu, tail %llu, wish %llu", at, x,
                     (unsigned long long)q, (unsigned long long)tail, (unsigned long long)wish);
        assert_int_equal(msg.seq, q);
        assert_true(pattern_is(msg.data, msg.key, msg.len));
        assert_int_equal(ring_validate(&f.view, &msg), 0);
        assert_int_equal(msg.len, lens[q % 512]);
    }
}

/* `before` messages are there, and perhaps a reader that has kept up with them. */
static void
prepare(uint64_t before, bool old_reader)
{
    struct ring_reader old = {.line = NULL};

    begin(RING_BLOCK);
    if (old_reader)
        old = fixture_reader(&f, 0, RING_KIND_GATING, 1);
    for (uint64_t k = 0; k < before; k++) {
        assert_int_equal(send(0, len), 0);
        old.next = sent + 1;
        if (old_reader)
            fixture_release(&old);
    }
    passed = 0;
    late.line = NULL;
}

/* Runs `body` once for each of its steps, interrupted there by `by`; returns how many steps there were. */
static unsigned
at_every_step(void (*body)(void), void (*by)(void), uint64_t before, bool old_reader)
{
    intruder = by;
    for (at = 0;; at++) {
        prepare(before, old_reader);
        shm_testpoint_hook = preempt;
        body();
        shm_testpoint_hook = NULL;
        if (!late.line)
            by();
        nothing_is_missing();
        end();
        if (passed <= at)
            return at;
    }
}

static unsigned schedules;

/* `step`: how coarsely the beginnings are chosen; the long form does it three times as finely. */
static void
try_all_of_length(void (*body)(void), void (*by)(void), uint64_t step)
{
    if (fixture_is_full())
        step = (step + 2) / 3;
    for (uint64_t before = 0; before < 36; before += step) {
        for (uint64_t back = 0; back <= 16 && back <= before; back += step) {
            wish = before + 1 - back;
            schedules += at_every_step(body, by, before, back & 1);
        }
    }
}

static void
try_all(void (*body)(void), void (*by)(void), uint64_t step)
{
    static const uint32_t sizes[] = {8, 300, 1000};

    for (int s = 0; s < 3; s++) {
        len = sizes[s];
        try_all_of_length(body, by, step);
    }
}

static void
nobody_breaks_in_on_one_that_comes(void **state)
{
    static void (*const others[])(void) = {flood,         flood_both, send_three,
                                           look_for_lane, heir_comes, look_and_flood};

    (void)state;
    schedules = 0;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        try_all(come, others[i], 3);
    print_message("%u schedules\n", schedules);
    assert_true(schedules > 1000);
}

static void
nobody_breaks_in_on_one_that_seeks(void **state)
{
    static void (*const others[])(void) = {flood, flood_both, send_three, look_and_flood};

    (void)state;
    schedules = 0;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        try_all(come_and_seek, others[i], 3);
    print_message("%u schedules\n", schedules);
    assert_true(schedules > 1000);
}

static void
one_that_comes_breaks_in_on_nobody(void **state)
{
    static void (*const others[])(void) = {flood, flood_both, send_three, look_and_flood,
                                           heir_comes};

    (void)state;
    schedules = 0;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        try_all(others[i], come, 7);
    print_message("%u schedules\n", schedules);
    assert_true(schedules > 1000);
}

/* Whatever happens, the limit that stands in a line never goes down. */
static uint64_t highest;

static void
watch_limit(const char *name)
{
    uint64_t limit = atom_load_relaxed(&ring_line(&f.view, 0)->limit);

    (void)name;
    assert_true(limit >= highest);
    highest = limit;
}

static void
a_limit_never_goes_down(void **state)
{
    (void)state;
    highest = 0;
    shm_testpoint_hook = watch_limit;
    send_all(0, 20, 300);
    attach(1, RING_KIND_GATING, 12);
    look_for_lane();
    flood();
    ring_cursor_evict(&f.view, 1);
    flood_both();
    fixture_publisher_drop(&pubs[0]);
    ring_entry_kill(&f.view, 0);
    ring_entry_free(&f.view, 0);
    move(1, 5);
    attach(0, RING_KIND_LIVE, 1);
    assert_int_equal(fixture_publisher(&f, 0, &pubs[0]), 0);
    shm_testpoint_hook = NULL;
    assert_true(highest > 36);
    ring_cursor_free(&f.view, 1);
}

#endif

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_lowest_that_gates_is_the_gate, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cursor_ahead_of_the_tail_holds_it, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_of_a_cursor_is_put_right, setup, teardown),
        cmocka_unit_test(a_disk_topic_is_gated_by_what_is_durable),
        cmocka_unit_test(an_overwriting_topic_has_no_gate),
        cmocka_unit_test_setup_teardown(a_cursor_is_its_owners, setup, teardown),
        cmocka_unit_test_setup_teardown(a_claim_is_one_sides, setup, teardown),
        cmocka_unit_test_setup_teardown(the_longest_name_fits, setup, teardown),
        cmocka_unit_test(a_cached_limit_is_honoured),
        cmocka_unit_test_setup_teardown(an_evicted_cursor_holds_nobody, setup, teardown),
        cmocka_unit_test(a_seek_goes_both_ways),
        cmocka_unit_test_setup_teardown(a_seek_back_is_told_where_it_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wild_limit_costs_no_more_than_the_past, setup, NULL),
#if defined(LEAT_TESTPOINTS)
        cmocka_unit_test(nobody_breaks_in_on_one_that_comes),
        cmocka_unit_test(nobody_breaks_in_on_one_that_seeks),
        cmocka_unit_test(one_that_comes_breaks_in_on_nobody),
        cmocka_unit_test_setup_teardown(a_limit_never_goes_down, setup, teardown),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
