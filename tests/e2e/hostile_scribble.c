#include "tests/e2e/hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring/ring.h"

struct grip {
    struct hostile *h;
    struct prng random;
    int socket, data, control;
    uint64_t data_size, control_size, topic_id;
    unsigned char *data_map, *control_map;
    struct ring_view view;
};

static uint64_t
size_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) ? 0 : (uint64_t)st.st_size;
}

/* As a publisher of the topic: everything that can be mapped for writing is. */
static int
get_hold(struct grip *g, const char *topic)
{
    int fds[WIRE_FDS_MAX] = {-1, -1};
    struct wire_answer answer;
    struct ring_maps maps;
    union wire_any p;
    uint32_t version;

    g->socket = hostile_connect(g->h);
    HOSTILE_MUST(g->h, g->socket >= 0);
    wire_begin(&p, sizeof p.topic, WIRE_PUB_OPEN, 2);
    (void)snprintf(p.topic.name, sizeof p.topic.name, "%s", topic);
    HOSTILE_MUST(g->h, hostile_ask(g->socket, &p, &answer, fds) == 0);
    g->topic_id = answer.topic_id;
    g->data = fds[0];
    g->control = fds[1];
    g->data_size = size_of(g->data);
    g->control_size = size_of(g->control);
    g->data_map = mmap(NULL, g->data_size, PROT_READ | PROT_WRITE, MAP_SHARED, g->data, 0);
    g->control_map = mmap(NULL, g->control_size, PROT_READ | PROT_WRITE, MAP_SHARED, g->control, 0);
    HOSTILE_MUST(g->h, g->data_map != MAP_FAILED && g->control_map != MAP_FAILED);
    maps = (struct ring_maps){.data = g->data_map,
                              .control = g->control_map,
                              .data_size = g->data_size,
                              .control_size = g->control_size};
    HOSTILE_MUST(g->h, ring_join(&g->view, &maps, &version) == 0);
    return 0;
}

static void
ring(const struct grip *g)
{
    union wire_any p;

    wire_begin(&p, sizeof p.ring, WIRE_RING, 0);
    p.ring.topic_id = g->topic_id;
    (void)wire_send(g->socket, &p, NULL, 0, MSG_DONTWAIT);
}

/* Returns when the daemon has done what was asked before, whatever it says to this. */
static void
settle(const struct grip *g)
{
    struct wire_answer answer;
    union wire_any p;

    for (uint32_t i = 0; i < 2; i++) {
        ring(g);
        wire_begin(&p, sizeof p.position, WIRE_POSITION, 100 + i);
        p.position.topic_id = g->topic_id;
        (void)hostile_ask(g->socket, &p, &answer, NULL);
    }
}

static void
write_randomly(struct grip *g, unsigned char *map, uint64_t size)
{
    for (uint64_t n = prng_below(&g->random, 4000); n; n--) {
        uint64_t at = prng_below(&g->random, size / 8) * 8, word = prng_next(&g->random);
        word = prng_below(&g->random, 3) ? word >> prng_below(&g->random, 64) : 0;
        memcpy(map + at, &word, sizeof word);
        if (n % 256 == 0)
            settle(g);
    }
}

static void
write_lines(struct grip *g)
{
    for (uint32_t i = 0; i < g->view.geo.max_publishers; i++) {
        struct ring_line *line = ring_line(&g->view, i);
        atom_store_relaxed(&line->limit, prng_next(&g->random) >> prng_below(&g->random, 64));
        atom_store_relaxed(&line->intent, prng_next(&g->random));
        atom_store_relaxed(&line->blocked_ns, prng_next(&g->random));
    }
}

static void
write_cursors(struct grip *g)
{
    for (uint32_t i = 0; i < g->view.geo.max_cursors; i++) {
        struct ring_cursor *c = ring_cursor(&g->view, i);
        atom_store_relaxed(&c->pos, prng_next(&g->random) >> prng_below(&g->random, 64));
        atom_store_relaxed(&c->acked, prng_next(&g->random));
        atom_store_relaxed(ring_cursor_word(&g->view, i), prng_next(&g->random));
    }
}

static void
punch_holes(struct grip *g)
{
    (void)fallocate(g->data, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)g->data_size);
    (void)fallocate(g->control, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                    (off_t)g->control_size);
}

static void
do_harm(struct grip *g, enum harm harm)
{
    uint64_t tail = atom_load_relaxed(ring_tail(&g->view));

    switch (harm) {
    case HARM_TRUNCATE_DATA:
        (void)ftruncate(g->data, 0);
        break;
    case HARM_TRUNCATE_CONTROL:
        (void)ftruncate(g->control, SHM_PAGE);
        break;
    case HARM_LARGER:
        (void)ftruncate(g->data, (off_t)g->data_size * 2);
        break;
    case HARM_HEADER:
        memset(g->data_map + RING_GEOMETRY_AT, 0xff, 8);
        break;
    case HARM_TAIL_AHEAD:
        atom_store_relaxed(ring_tail(&g->view), tail + (1ull << 50));
        break;
    case HARM_TAIL_BACK:
        atom_store_relaxed(ring_tail(&g->view), 0);
        break;
    case HARM_LINES:
        write_lines(g);
        break;
    case HARM_CURSORS:
        write_cursors(g);
        break;
    case HARM_HOLES:
        punch_holes(g);
        break;
    default:
        write_randomly(g, g->data_map, g->view.geo.lanes);
        write_randomly(g, g->control_map, g->control_size);
        break;
    }
}

int
hostile_scribble(struct hostile *h, const char *topic, enum harm harm)
{
    struct grip g = {.h = h, .random = {h->seed}};

    if (get_hold(&g, topic))
        return 1;
    do_harm(&g, harm);
    settle(&g);
    /* And dies with it, so that the orphan rule runs on what is left. */
    (void)raise(SIGKILL);
    return 1;
}
