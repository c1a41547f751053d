#include "ring/ring.h"

#include <errno.h>
#include <string.h>

static bool
in_range(uint64_t n, uint64_t least, uint64_t most)
{
    return n >= least && n <= most;
}

static const char *
first_bad_field(const struct ring_geometry *g)
{
    if (!shm_is_power_of_two(g->depth) || !in_range(g->depth, LIMIT_DEPTH_MIN, LIMIT_DEPTH_MAX))
        return "depth";
    if (!shm_is_power_of_two(g->lane_size) ||
        !in_range(g->lane_size, LIMIT_LANE_MIN, LIMIT_LANE_MAX))
        return "lane_size";
    if (!shm_is_power_of_two(g->slot_size) ||
        !in_range(g->slot_size, LIMIT_SLOT_MIN, LIMIT_SLOT_MAX))
        return "slot_size";
    if (!in_range(g->max_publishers, 1, LIMIT_PUBLISHERS))
        return "max_publishers";
    if (!in_range(g->max_cursors, 1, LIMIT_CURSORS))
        return "max_cursors";
    if (g->barrier > SHM_BARRIER_SLEEPER)
        return "barrier";
    if (g->durability > RING_DISK)
        return "durability";
    if (g->when_full > RING_OVERWRITE || (g->durability == RING_DISK && g->when_full))
        return "when_full";
    if (g->timestamps > RING_TIME_OFF)
        return "timestamps";
    if (g->mode > 0777)
        return "mode";
    if (g->retain_until_acked > 1)
        return "retain_until_acked";
    if (g->flags)
        return "flags";
    /* Stamps have 61 bits for the sequence number; half of them are kept as distance. */
    if (!g->origin || g->origin >> 60)
        return "origin";
    return NULL;
}

int
ring_plan(struct ring_geometry *geo, const char **ret_what)
{
    const char *bad = first_bad_field(geo);

    if (bad) {
        *ret_what = bad;
        return -EINVAL;
    }
    geo->entries = RING_DAEMON_AT + sizeof(struct ring_daemon);
    geo->tail = shm_align(geo->entries + geo->max_publishers * sizeof(struct ring_entry), SHM_PAGE);
    geo->lines = geo->tail + SHM_APART;
    geo->slots = shm_align(geo->lines + geo->max_publishers * sizeof(struct ring_line), SHM_PAGE);
    geo->lanes = shm_align(geo->slots + geo->depth * geo->slot_size, SHM_PAGE);
    geo->data_size = geo->lanes + geo->max_publishers * geo->lane_size;
    geo->states = RING_CONTROL_AT + sizeof(struct ring_control);
    geo->cursors = shm_align(geo->states + geo->max_cursors * sizeof(atom_u64), SHM_APART);
    geo->control_size =
        shm_align(geo->cursors + geo->max_cursors * sizeof(struct ring_cursor), SHM_PAGE);
    return 0;
}

static void
write_header(struct shm_header *h, const struct ring_identity *who, enum shm_kind kind,
             uint64_t size)
{
    size_t len = strnlen(who->name, LIMIT_TOPIC_NAME);

    h->version = SHM_VERSION;
    h->kind = (uint32_t)kind;
    h->size = size;
    h->topic_id = who->topic_id;
    memcpy(h->boot_id, who->boot_id, sizeof h->boot_id);
    h->created_ns = who->created_ns;
    h->name_len = (uint32_t)len;
    memcpy(h->name, who->name, len);
}

static void
set_view(struct ring_view *v, void *data, void *control, const struct ring_geometry *geo)
{
    v->data = data;
    v->control = control;
    v->geo = *geo;
    v->shift = (uint32_t)__builtin_ctz(geo->slot_size);
    v->mask = geo->depth - 1;
}

void
ring_format(void *data, void *control, const struct ring_geometry *geo,
            const struct ring_identity *who)
{
    struct shm_header *dh = data, *ch = control;
    struct ring_view v;

    atom_store_relaxed(&dh->magic, 0);
    atom_store_relaxed(&ch->magic, 0);
    memset(data, 0, geo->slots);
    memset(control, 0, geo->control_size);
    set_view(&v, data, control, geo);
    write_header(dh, who, SHM_KIND_DATA, geo->data_size);
    write_header(ch, who, SHM_KIND_CONTROL, geo->control_size);
    memcpy(v.data + RING_GEOMETRY_AT, geo, sizeof *geo);

    atom_store_relaxed(ring_tail(&v), geo->origin);
    atom_store_relaxed(&ring_daemon(&v)->durable, geo->origin - 1);
    atom_store_relaxed(&ring_control(&v)->bell_seq, RING_BELL_OFF);
    for (uint32_t i = 0; i < geo->max_publishers; i++)
        atom_store_relaxed(&ring_line(&v, i)->limit, geo->origin);
    for (uint64_t q = geo->origin; q < geo->origin + geo->depth; q++)
        atom_store_relaxed(&ring_slot(&v, q)->stamp, ring_stamp(q - geo->depth, RING_EMPTY));

    atom_store_release(&ch->magic, SHM_MAGIC); /* release: MAGIC */
    atom_store_release(&dh->magic, SHM_MAGIC); /* release: MAGIC */
}

int
ring_join(struct ring_view *ret, const struct ring_maps *maps, uint32_t *ret_version)
{
    const struct shm_header *dh = maps->data, *ch = maps->control;
    struct ring_geometry geo, plan;
    const char *what;
    int r = shm_header_check(dh, maps->data_size, SHM_KIND_DATA, ret_version);

    if (!r && ch)
        r = shm_header_check(ch, maps->control_size, SHM_KIND_CONTROL, ret_version);
    if (r)
        return r;
    if (ch && ch->topic_id != dh->topic_id)
        return -EBADMSG;
    if (maps->data_size < RING_DAEMON_AT + sizeof(struct ring_daemon))
        return -EBADMSG;
    memcpy(&geo, (const unsigned char *)maps->data + RING_GEOMETRY_AT, sizeof geo);
    /* Offsets are not believed: they must be what the user's part leads to. */
    plan = geo;
    if (ring_plan(&plan, &what) || memcmp(&plan, &geo, sizeof geo) != 0 ||
        geo.data_size != maps->data_size || (ch && geo.control_size != maps->control_size))
        return -EBADMSG;
    set_view(ret, maps->data, maps->control, &geo);
    return 0;
}

void
ring_repair_header(struct ring_view *v)
{
    struct shm_header *is = (struct shm_header *)(void *)v->control, want;
    const unsigned char *bytes = (const unsigned char *)&want;

    memcpy(&want, ring_header(v), sizeof want);
    atom_store_relaxed(&want.magic, SHM_MAGIC);
    want.kind = SHM_KIND_CONTROL;
    want.size = v->geo.control_size;
    if (!memcmp(v->control, bytes, sizeof want))
        return;
    memcpy(v->control + sizeof is->magic, bytes + sizeof is->magic, sizeof want - sizeof is->magic);
    atom_store_release(&is->magic, SHM_MAGIC); /* release: MAGIC */
}

void
ring_destroy(struct ring_view *v)
{
    struct shm_header *ch = (struct shm_header *)(void *)v->control;

    atom_store_release(&ring_header(v)->magic, 0); /* release: MAGIC */
    atom_store_release(&ch->magic, 0);             /* release: MAGIC */
}
