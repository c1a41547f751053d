/* power.c - the power is cut at every moment of a log's life, and again while it recovers.
 *
 * A topic is worked with on simulated storage (disk.h): messages of all sizes, segment rolls, floors, retention, indexes, stops and
 * starts. Directories are built as a cut could have left them, and recovered by the same code that leatd runs: in long lives one after a
 * sample of the steps, drawn by chance; in short ones after every step all there can be, as far as they are not too many. Then
 *
 *   - everything that was reported durable is there, in order, byte for byte; nothing is there that was not published;
 *   - what retention had not given up is there;
 *   - the floor of a named subscription is not below what was reported saved, and not above what was acknowledged;
 *   - recovery never takes a cut for damage;
 *
 * and the same holds when the power is cut again at a moment of the recovery itself. */
#include "tests/unit/daemon/store_fixture.h"

#include "tests/sim/disk.h"

#define NAME "billing"

/* What must hold, as it was when the power went. */
struct facts {
    uint64_t durable, published, first, saved, acked;
};

struct run {
    struct rig *rig;
    struct facts facts;
    struct prng random;
    uint64_t every;       /* a cut after one step in so many */
    uint64_t again_every; /* ... of which one in so many is cut again in its recovery; 0: none */
    uint64_t states_max;  /* of one moment that are walked through; 0: one is drawn by chance */
    uint32_t len_max;     /* of a message; 0: some are long */
    uint64_t cuts, second_cuts, steps;
    uint64_t walked, moments; /* to the last state; all */
    bool active;
};

static struct run run;
static uint64_t run_seed;

/* --- one cut ---------------------------------------------------------------------------------- */

static void
note_facts(struct run *r)
{
    struct facts *f = &r->facts;

    f->durable = rig_durable(r->rig);
    f->published = r->rig->next - 1;
    f->first = atom_load_relaxed(&ring_daemon(&r->rig->view)->log_first);
    f->saved = shm_max(f->saved, store_floor_saved(r->rig->store, NAME));
}

static struct io *
open_plain(int store_dir, const char *topic)
{
    struct sim *sim = sim_open(store_dir, topic, prng_next(&run.random));

    sim->immediate = true;
    sim->forgets = true;
    return &sim->io;
}

/* A rig around a directory that is there already. */
static void
make_image_rig(struct rig *image, const struct rig *model)
{
    *image = (struct rig){
        .o = model->o, .seed = model->seed, .aborted = model->aborted, .topic = model->topic};
    image->o.make_io = open_plain;
    assert_int_equal(io_make_dir(&image->f, "/dev/shm"), 0);
}

static void
drop_image_rig(struct rig *image)
{
    rig_wipe(image->f.dir, RIG_TOPIC);
    io_drop_dir(&image->f);
}

static void
check_image(struct rig *image, const struct facts *f)
{
    char why[STORE_WHY] = "";
    struct logbook b;
    uint64_t floor = 0, next;
    int r = rig_recover(image, why);

    if (r)
        print_message("recovery after a cut: %d %s\n", r, why);
    assert_int_equal(r, 0);
    assert_in_range(store_next(image->store), f->durable + 1, f->published + 1);
    if (f->durable)
        assert_in_range(store_first(image->store), 1, shm_max(f->first, 1));
    next = store_next(image->store);
    b = rig_read(image, store_first(image->store));
    while (image->aborted[next])
        next++;
    assert_int_equal(b.next, next);
    if (store_floor_get(image->store, NAME, &floor))
        floor = 0;
    assert_true(floor >= f->saved);
    assert_true(floor <= f->acked);
}

static void
recover_and_check(struct rig *image, const struct facts *f)
{
    assert_int_equal(rig_power(image), 0);
    check_image(image, f);
    rig_unplug(image);
}

/* --- cut again, while it recovers -------------------------------------------------------------- */

struct again {
    uint64_t left; /* steps until the second cut */
    struct rig *second;
    struct sim_choice choice;
    bool taken;
};

static void
second_moment(struct sim *sim, void *user)
{
    struct again *a = user;

    if (a->taken || a->left--)
        return;
    a->taken = true;
    assert_int_equal(sim_cut(sim, &a->choice, a->second->f.dir), 0);
}

static void
recover_with_a_cut(struct run *r, struct rig *image)
{
    struct rig second;
    struct again a = {.left = prng_below(&r->random, 12),
                      .second = &second,
                      .choice.random = {prng_next(&r->random)}};
    struct sim *sim;

    make_image_rig(&second, image);
    assert_int_equal(rig_power(image), 0);
    sim = (struct sim *)image->f.io;
    sim->forgets = false;
    sim->moment = second_moment;
    sim->user = &a;
    check_image(image, &r->facts);
    rig_unplug(image);
    if (a.taken) {
        recover_and_check(&second, &r->facts);
        r->second_cuts++;
    }
    drop_image_rig(&second);
}

static void
cut_once(struct sim *sim, struct run *r, struct sim_choice *c)
{
    struct rig image;

    make_image_rig(&image, r->rig);
    assert_int_equal(sim_cut(sim, c, image.f.dir), 0);
    if (!r->again_every || prng_below(&r->random, r->again_every))
        recover_and_check(&image, &r->facts);
    else
        recover_with_a_cut(r, &image);
    drop_image_rig(&image);
    r->cuts++;
}

static void
cut(struct sim *sim, void *user)
{
    struct run *r = user;
    struct sim_choice c = {.random = {prng_next(&r->random)}, .walks = r->states_max != 0};
    uint64_t left = r->states_max;
    bool more;

    r->steps++;
    if (!r->active || prng_below(&r->random, r->every))
        return;
    r->active = false;
    note_facts(r);
    do {
        cut_once(sim, r, &c);
        more = c.walks && sim_choice_next(&c);
    } while (more && --left);
    r->moments++;
    r->walked += !more;
    r->active = true;
}

/* --- a life ----------------------------------------------------------------------------------- */

static struct io *
open_watched(int store_dir, const char *topic)
{
    struct sim *sim = sim_open(store_dir, topic, prng_next(&run.random));

    sim->moment = cut;
    sim->user = &run;
    return &sim->io;
}

static uint32_t
some_len(struct run *r)
{
    uint64_t how = prng_below(&r->random, 20);

    if (r->len_max)
        return (uint32_t)prng_below(&r->random, r->len_max);
    return (uint32_t)(how < 12   ? prng_below(&r->random, 100)
                      : how < 19 ? prng_below(&r->random, 6000)
                                 : prng_below(&r->random, 200000));
}

static void
acknowledge(struct run *r)
{
    struct rig *rig = r->rig;
    /* The daemon never lets a floor pass what is durable. */
    uint64_t most = rig_durable(rig) + 1, floor = r->facts.acked + prng_below(&r->random, 200);

    if (floor <= r->facts.acked || floor > most)
        return;
    r->facts.acked = floor;
    assert_int_equal(store_floor_set(rig->store, NAME, floor), 0);
}

static void
act(struct run *r)
{
    struct rig *rig = r->rig;
    uint64_t what = prng_below(&r->random, 100);

    if (what < 80) {
        rig_publish(rig, some_len(r));
    } else if (what < 84) {
        rig_abort(rig, 1 + (uint32_t)prng_below(&r->random, 3));
    } else if (what < 92) {
        rig_wait_durable(rig, rig->next - 1);
    } else if (what < 98) {
        acknowledge(r);
    } else {
        rig_turn(rig);
    }
}

static void
live(struct run *r, uint64_t actions)
{
    static const struct rig_options options = {.want = "sim",
                                               .parent = "/dev/shm",
                                               .depth = 256,
                                               .lane = 1 << 20,
                                               .segment = LOG_SEGMENT_MIN,
                                               .retention = 4 * LOG_SEGMENT_MIN};
    struct rig_options o = options;
    struct rig *rig;
    char why[STORE_WHY];

    o.make_io = open_watched;
    r->active = false;
    rig = r->rig = rig_new(&o);
    assert_int_equal(store_create(&rig->env, &rig->topic, &rig->store), 0);
    /* The topic's directory is there, and certain, from here on. */
    rig_unplug(rig);
    assert_int_equal(rig_power(rig), 0);
    assert_int_equal(rig_recover(rig, why), 0);
    rig_ring(rig, 1);
    assert_int_equal(rig_attach(rig), 0);
    rig_publisher(rig);
    r->active = true;
    while (actions--)
        act(r);
    r->active = false;
    rig_wait_durable(rig, rig->next - 1);
    rig_end(rig);
}

static void
run_lives(uint64_t goal, uint64_t actions)
{
    uint64_t lives = 0;

    report_to(-1);
    for (; run.cuts < goal; lives++) {
        run.facts = (struct facts){0};
        live(&run, actions);
    }
    print_message("%" PRIu64 " lives, %" PRIu64 " steps, %" PRIu64 " cuts, %" PRIu64
                  " of them cut again in recovery, seed 0x%" PRIx64 "\n",
                  lives, run.steps, run.cuts, run.second_cuts, run_seed);
}

static void
cut_anywhere(void **state)
{
    (void)state;
    run = (struct run){.random = {run_seed}, .every = 9, .again_every = 4};
    run_lives(fixture_is_full() ? 20000 : 500, 3000);
}

static void
cut_into_every_state(void **state)
{
    bool full = fixture_is_full();

    (void)state;
    run = (struct run){.random = {run_seed},
                       .every = full ? 1 : 9,
                       .states_max = full ? 4096 : 64,
                       .len_max = 1500};
    run_lives(full ? 50000 : 1000, 200);
    print_message("%" PRIu64 " moments, all states of %" PRIu64 " of them\n", run.moments,
                  run.walked);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(cut_anywhere, rig_teardown),
        cmocka_unit_test_teardown(cut_into_every_state, rig_teardown),
    };

    run_seed = fixture_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
