#include "tests/crash/world.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* The largest topic of any shape, and the pages around it. */
#define ROOM (1 << 20)

struct world *
world_map(void)
{
    void *p = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static struct ring_geometry
geometry(const struct shape *shape)
{
    struct ring_geometry geo = {.depth = WORLD_DEPTH,
                                .lane_size = WORLD_LANE,
                                .slot_size = 64,
                                .max_publishers = WORLD_PUBLISHERS,
                                .max_cursors = WORLD_CURSORS,
                                .mode = 0600};
    const char *what;

    geo.barrier = shape->fenced ? SHM_BARRIER_BOTH : SHM_BARRIER_SLEEPER;
    geo.when_full = shape->overwrite ? RING_OVERWRITE : RING_BLOCK;
    geo.origin = shape->origin ? shape->origin : 1;
    if (ring_plan(&geo, &what))
        abort();
    return geo;
}

int
world_join(struct actor *a, uint32_t index)
{
    struct ring_owner owner = {.pid = 1000 + index, .start = 1};

    a->publishes = true;
    a->index = index;
    a->alive = true;
    ring_entry_take(&a->view, index, &owner);
    atom_store_release(&ring_entry(&a->view, index)->lane, 1); /* release: LANE */
    return ring_publisher_join(&a->pub, &a->view, (uint16_t)index, a->pieces, false);
}

void
world_subscribe(struct actor *a, uint32_t index, enum ring_cursor_kind kind, uint64_t pos)
{
    struct ring_owner owner = {.pid = 2000 + index, .start = 1};

    a->subscribes = true;
    a->gates = kind == RING_KIND_GATING;
    a->index = index;
    a->alive = true;
    a->told = pos;
    a->seen_count = 0;
    ring_cursor_attach(&a->view, index, kind, &owner, &a->told);
    a->reader = (struct ring_reader){.view = a->view, .line = ring_cursor(&a->view, index)};
    ring_reader_set(&a->reader, a->told);
}

void
world_build(struct world *w, const struct shape *shape)
{
    struct ring_geometry geo = geometry(shape);
    struct ring_identity who = {.name = "crash", .topic_id = 7};
    struct ring_maps maps = {.data_size = geo.data_size, .control_size = geo.control_size};
    uint32_t version;

    memset(w, 0, ROOM);
    w->shape = *shape;
    w->shared = shm_align(sizeof *w, SHM_PAGE);
    w->size = w->shared + geo.data_size + geo.control_size;
    w->next_id = 1;
    maps.control = (unsigned char *)w + w->shared;
    maps.data = (unsigned char *)maps.control + geo.control_size;
    ring_format(maps.data, maps.control, &geo, &who);
    if (w->size > ROOM || ring_join(&w->view, &maps, &version))
        abort();
    for (int i = 0; i < WORLD_ACTORS; i++) {
        w->actors[i].view = w->view;
        w->actors[i].alive = true;
    }
    for (uint32_t i = P0; i <= P2; i++)
        if (world_join(&w->actors[i], i))
            abort();
    world_subscribe(&w->actors[S0], 1, shape->held ? RING_KIND_GATING : RING_KIND_LIVE, geo.origin);
    world_subscribe(&w->actors[S1], 2, RING_KIND_LIVE, geo.origin);
}

void
world_fill(unsigned char *to, uint32_t id, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        to[i] = (unsigned char)(id * 31 + i * 7);
}

bool
world_is_whole(const unsigned char *data, uint64_t key, uint32_t len)
{
    uint32_t id = (uint32_t)(key >> 16);

    if (len != (key & 0xffff))
        return false;
    for (uint32_t i = 0; i < len; i++)
        if (data[i] != (unsigned char)(id * 31 + i * 7))
            return false;
    return true;
}

void
world_number(struct world *w, struct actor *a)
{
    struct call *c = &a->call;

    c->id = w->next_id;
    c->done = false;
    c->result = 0;
    c->slept = 0;
    c->sent = 0;
    a->seen_count = 0;
    if (c->publishes)
        w->next_id += c->n * world_rounds(c);
}
