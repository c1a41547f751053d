#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/fixture.h"
#include "tests/unit/client/bus.h"
#include "tools/feed.h"

#define NOW 1896091200000000000ull

static void
a_position_is(const char *text, uint32_t start, uint64_t value)
{
    struct leat_position p = {0};

    assert_int_equal(feed_position(text, NOW, &p), 0);
    assert_int_equal(p.start, start);
    assert_true(p.value == value);
}

static void
positions_are_read(void **state)
{
    (void)state;
    a_position_is("latest", LEAT_LATEST, 0);
    a_position_is("earliest", LEAT_EARLIEST, 0);
    a_position_is("17", LEAT_AT_SEQ, 17);
    a_position_is("last:5", LEAT_LAST_N, 5);
    a_position_is("-5m", LEAT_AT_TIME, NOW - 300000000000ull);
    a_position_is("time:-5m", LEAT_AT_TIME, NOW - 300000000000ull);
    a_position_is("-10000w", LEAT_AT_TIME, 0);
    a_position_is("time:2030-01-31T12:00:00Z", LEAT_AT_TIME, NOW);
}

static void
bad_ones_are_refused(void **state)
{
    static const char *const bad[] = {"",    "newest", "last:",    "last:-1", "-",
                                      "-5q", "time:",  "time:now", "1x",      "+1"};
    struct leat_position p = {.start = 9};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(feed_position(bad[i], NOW, &p), -EINVAL);
    assert_int_equal(p.start, 9);
}

/* --- copies ----------------------------------------------------------------------------------- */

static const struct cli_verb verb = {.name = "test"};

struct copies {
    struct fixture f;
    struct ring_publisher p;
    char folder[40];
    struct cli cli;
    struct feed feed;
};

static void
write_file(const char *folder, const char *name, const void *data, uint64_t size)
{
    char path[80];
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), (ssize_t)size);
    (void)close(fd);
}

static void
begin(struct copies *c, uint32_t durability)
{
    struct ring_geometry geo = fixture_geometry();

    geo.durability = durability;
    *c = (struct copies){.folder = "/tmp/leat-feed.XXXXXX"};
    assert_int_equal(fixture_make(&c->f, &geo), 0);
    assert_int_equal(fixture_publisher(&c->f, 0, &c->p), 0);
    atom_store_relaxed(&ring_daemon(&c->f.view)->log_first, 1);
    assert_non_null(mkdtemp(c->folder));
    c->cli = (struct cli){.verb = &verb, .bus = c->folder};
}

/* Copies the ring as it is now and opens it there: the exit status. */
static int
feed(struct copies *c)
{
    struct feed_options o = {.topic = "fixture", .kind = -1, .inspect = true};

    o.from.start = LEAT_EARLIEST;
    write_file(c->folder, "x.data", c->f.maps.data, c->f.maps.data_size);
    write_file(c->folder, "x.control", c->f.maps.control, c->f.maps.control_size);
    return feed_open(&c->feed, &c->cli, &o);
}

static void
end(struct copies *c)
{
    char path[80];

    feed_close(&c->feed);
    fixture_publisher_drop(&c->p);
    fixture_destroy(&c->f);
    (void)snprintf(path, sizeof path, "%s/x.data", c->folder);
    (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s/x.control", c->folder);
    (void)unlink(path);
    (void)rmdir(c->folder);
}

static void
send(struct copies *c, unsigned n, uint32_t len)
{
    uint64_t seq;

    for (unsigned i = 0; i < n; i++)
        assert_int_equal(fixture_send(&c->p, i, len, &seq), 0);
}

static void
gives(struct copies *c, uint64_t first, uint64_t last)
{
    struct leat_msg m;

    for (uint64_t seq = first; seq <= last; seq++) {
        assert_int_equal(feed_next(&c->feed, &m), 1);
        assert_int_equal(m.seq, seq);
    }
}

static void
tells_gap(struct copies *c, uint64_t first, uint64_t lost)
{
    struct leat_msg m;

    assert_int_equal(feed_next(&c->feed, &m), LEAT_GAP);
    assert_int_equal(m.first, first);
    assert_int_equal(m.lost, lost);
}

static void
set_tail(struct copies *c, uint64_t tail)
{
    atom_store_relaxed(ring_tail(&c->f.view), tail);
}

static void
set_stamp(struct copies *c, uint64_t seq, unsigned state)
{
    atom_store_relaxed(&ring_slot(&c->f.view, seq)->stamp, ring_stamp(seq, state));
}

/* A copy of ten messages ends, whatever its tail says. */
static void
a_wrong_tail_is_no_work(void **state)
{
    static const uint64_t tails[] = {1ull << 32, 1ull << 59, (1ull << 60) - 1};
    struct leat_msg m;
    struct copies c;

    (void)state;
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        begin(&c, RING_DISK);
        send(&c, 10, 8);
        set_tail(&c, tails[i]);
        assert_int_equal(feed(&c), CLI_OK);
        gives(&c, 1, 10);
        tells_gap(&c, 11, tails[i] - 16 - 11);
        assert_int_equal(feed_next(&c.feed, &m), -ENODATA);
        end(&c);
    }
    begin(&c, RING_DISK);
    send(&c, 10, 8);
    set_tail(&c, 1ull << 60);
    assert_int_equal(feed(&c), CLI_FAILED);
    end(&c);
}

/* What a subscriber is told is lost, who reads copies is told too: here the lane holds only the last messages. */
static void
gaps_are_told(void **state)
{
    struct leat_msg m;
    struct copies c;

    (void)state;
    begin(&c, RING_MEMORY);
    send(&c, 6, 1024);
    assert_int_equal(feed(&c), CLI_OK);
    tells_gap(&c, 1, 2);
    gives(&c, 3, 6);
    assert_int_equal(feed_next(&c.feed, &m), -ENODATA);
    end(&c);
}

/* Places that were aborted are no loss, and neither are those at the end that somebody has claimed; among messages they are
 * missing. */
static void
open_places_are_no_gap_at_the_end(void **state)
{
    struct leat_msg m;
    struct copies c;

    (void)state;
    begin(&c, RING_DISK);
    send(&c, 3, 8);
    set_stamp(&c, 2, RING_ABORTED);
    set_tail(&c, 6);
    assert_int_equal(feed(&c), CLI_OK);
    gives(&c, 1, 1);
    gives(&c, 3, 3);
    assert_int_equal(feed_next(&c.feed, &m), -ENODATA);
    feed_close(&c.feed);
    send(&c, 1, 8); /* number 6 */
    assert_int_equal(feed(&c), CLI_OK);
    gives(&c, 1, 1);
    gives(&c, 3, 3);
    tells_gap(&c, 4, 2);
    gives(&c, 6, 6);
    assert_int_equal(feed_next(&c.feed, &m), -ENODATA);
    end(&c);
}

/* What release refuses is no gap where the library gives it once more: to all that are durable, and a named one is. */
static void
a_named_one_is_given_it_again(void **state)
{
    struct bus *b = *state;
    struct cli cli = {.verb = &verb, .bus = b->path};
    struct feed_options o = {.topic = "again", .kind = LEAT_LIVE, .follow = true};
    struct feed f;

    bus_topic(b, "again", 16, LEAT_DISK);
    assert_int_equal(feed_open(&f, &cli, &o), CLI_OK);
    assert_false(f.again);
    feed_close(&f);
    o.name = "service";
    assert_int_equal(feed_open(&f, &cli, &o), CLI_OK);
    assert_true(f.again);
    feed_close(&f);
    o = (struct feed_options){.topic = "again", .kind = -1, .follow = true};
    assert_int_equal(feed_open(&f, &cli, &o), CLI_OK);
    assert_true(f.again);
    feed_close(&f);
}

static void
expect_sent(leat_pub *p, uint64_t *sent)
{
    ++*sent;
    assert_int_equal(bus_send(p, *sent, 8), *sent);
}

/* The daemon is dead, its publishers live: k messages go while a cat reads. */
static void
what_goes_meanwhile_is_told(void **state)
{
    struct bus *b = *state;
    struct cli cli = {.verb = &verb, .bus = b->path};
    struct feed_options o = {.topic = "meanwhile", .kind = -1, .inspect = true};
    struct leat_msg m;
    struct feed f;
    leat_pub *p;
    uint64_t sent = 0;

    o.from.start = LEAT_EARLIEST;
    bus_topic(b, "meanwhile", 16, LEAT_MEMORY);
    p = bus_pub(b, "meanwhile", 0);
    while (sent < 40)
        expect_sent(p, &sent);
    bus_kill(b, SIGKILL);
    for (unsigned k = 2; k >= 1; k--) {
        assert_int_equal(feed_open(&f, &cli, &o), CLI_OK);
        assert_non_null(f.inspect);
        for (int i = 0; i < 3; i++)
            assert_int_equal(feed_next(&f, &m), 1);
        for (unsigned i = 0; i < 3 + k; i++)
            expect_sent(p, &sent);
        assert_int_equal(feed_next(&f, &m), LEAT_GAP);
        assert_int_equal(m.lost, k);
        feed_close(&f);
    }
    leat_pub_close(p);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions_are_read),
        cmocka_unit_test(bad_ones_are_refused),
        cmocka_unit_test(a_wrong_tail_is_no_work),
        cmocka_unit_test(gaps_are_told),
        cmocka_unit_test(open_places_are_no_gap_at_the_end),
        cmocka_unit_test_setup_teardown(what_goes_meanwhile_is_told, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(a_named_one_is_given_it_again, bus_setup, bus_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
