#include "daemon/memory.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "shm/name.h"
#include "shm/segment.h"
#include "shm/testpoint.h"

/* Where the C library keeps POSIX shared memory on Linux. */
#define SHM_DIRECTORY "/dev/shm"

static const struct memory nothing = {.data_rw = -1, .data_ro = -1, .control = -1};

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void
memory_close(struct memory *m)
{
    fault_unwatch(&m->data_range);
    fault_unwatch(&m->control_range);
    shm_segment_unmap(m->data_range.base, m->data_range.size);
    shm_segment_unmap(m->control_range.base, m->control_range.size);
    close_fd(&m->data_rw);
    close_fd(&m->data_ro);
    close_fd(&m->control);
    *m = nothing;
}

void
memory_remove(const char *prefix, const char *name)
{
    char object[SHM_NAME_ROOM];

    /* Data first: a topic is listed by it, and control alone is rubbish that adoption takes away. */
    shm_name_object(prefix, name, SHM_KIND_DATA, object);
    (void)shm_segment_remove(object);
    TESTPOINT("memory.data_removed");
    shm_name_object(prefix, name, SHM_KIND_CONTROL, object);
    (void)shm_segment_remove(object);
    TESTPOINT("memory.removed");
}

uint64_t
memory_bytes(const struct ring_geometry *geo, uint32_t lanes)
{
    return geo->lanes + lanes * geo->lane_size + geo->control_size;
}

bool
memory_is_hit(const struct memory *m)
{
    return fault_hit(&m->data_range) || fault_hit(&m->control_range);
}

/* Negative: smaller than it was made; positive: larger. */
static int64_t
compare_size(int fd, uint64_t size)
{
    struct stat st;

    return fstat(fd, &st) ? -1 : st.st_size - (int64_t)size;
}

const char *
memory_check(struct memory *m)
{
    const struct ring_maps maps = {.data = m->data_range.base,
                                   .control = m->control_range.base,
                                   .data_size = m->data_range.size,
                                   .control_size = m->control_range.size};
    int64_t data = compare_size(m->data_rw, maps.data_size),
            control = compare_size(m->control, maps.control_size);
    struct ring_view now;
    uint32_t version;

    if (memory_is_hit(m) || data < 0 || control < 0)
        return MEMORY_TRUNCATED;
    if (data || control)
        return "its shared memory was made larger";
    ring_repair_header(&m->view);
    if (ring_join(&now, &maps, &version) || memcmp(&now.geo, &m->view.geo, sizeof now.geo) != 0)
        return "the headers of its shared memory were overwritten";
    return NULL;
}

int
memory_reserve_lane(struct memory *m, uint32_t i)
{
    const struct ring_geometry *geo = &m->view.geo;

    return shm_segment_reserve(m->data_rw, geo->lanes + i * geo->lane_size, geo->lane_size);
}

/* --- making ----------------------------------------------------------------------------------- */

/* Maps both objects; the sizes are those of the descriptors, `writable` that of data's part. */
static int
map_both(struct memory *m, const uint64_t sizes[2], uint64_t writable)
{
    void *data, *control;
    int r = shm_segment_map(m->data_rw, sizes[0], &data);

    if (r)
        return r;
    m->data_range = (struct fault_range){.base = data, .size = sizes[0]};
    fault_watch(&m->data_range);
    r = shm_segment_map(m->control, sizes[1], &control);
    if (r)
        return r;
    m->control_range = (struct fault_range){.base = control, .size = sizes[1]};
    fault_watch(&m->control_range);
    r = shm_segment_writable(m->control, control, 0, shm_align(sizes[1], SHM_PAGE));
    return r || !writable ? r : shm_segment_writable(m->data_rw, data, 0, writable);
}

static int
create_objects(struct memory *m, const char *prefix, const char *name,
               const struct ring_geometry *geo)
{
    char object[SHM_NAME_ROOM];
    uint64_t size;
    int r;

    shm_name_object(prefix, name, SHM_KIND_CONTROL, object);
    r = shm_segment_create(object, geo->control_size, geo->control_size, &m->control);
    if (r)
        return r;
    TESTPOINT("memory.control_made");
    shm_name_object(prefix, name, SHM_KIND_DATA, object);
    r = shm_segment_create(object, geo->data_size, geo->lanes, &m->data_rw);
    if (!r)
        r = shm_segment_open(object, false, &m->data_ro, &size);
    TESTPOINT("memory.data_made");
    return r;
}

uint64_t
memory_left(void)
{
    struct statvfs fs;

    return statvfs(SHM_DIRECTORY, &fs) ? 0 : (uint64_t)fs.f_bavail * fs.f_frsize;
}

static int
explain(int error, const char *name, const struct ring_geometry *geo, char why[WHY_ROOM])
{
    if (error == -ENOSPC)
        return why_set(why, error,
                       "topic %s needs %" PRIu64 " bytes of shared memory and %" PRIu64
                       " for each publisher, and " SHM_DIRECTORY " has %" PRIu64
                       " left: make depth or lane_size smaller, or " SHM_DIRECTORY " larger",
                       name, memory_bytes(geo, 0), geo->lane_size, memory_left());
    if (error == -EEXIST)
        return why_set(why, error,
                       "topic %s: somebody else has made an object of its name in " SHM_DIRECTORY
                       ", which has to be removed first",
                       name);
    return why_set(why, error, "topic %s: cannot make its shared memory: %s", name,
                   strerror(-error));
}

int
memory_create(const char *prefix, const struct ring_geometry *geo, const struct ring_identity *who,
              struct memory *ret, char why[WHY_ROOM])
{
    const uint64_t sizes[2] = {geo->data_size, geo->control_size};
    int r;

    *ret = nothing;
    r = create_objects(ret, prefix, who->name, geo);
    if (!r)
        r = map_both(ret, sizes, geo->lanes);
    if (r) {
        memory_close(ret);
        if (r != -EEXIST)
            memory_remove(prefix, who->name);
        return explain(r, who->name, geo, why);
    }
    ring_format(ret->data_range.base, ret->control_range.base, geo, who);
    TESTPOINT("memory.formatted");
    ret->view = (struct ring_view){.data = ret->data_range.base,
                                   .control = ret->control_range.base,
                                   .geo = *geo,
                                   .shift = (uint32_t)__builtin_ctz(geo->slot_size),
                                   .mask = geo->depth - 1};
    return 0;
}

/* --- adopting --------------------------------------------------------------------------------- */

/* Nobody was ever handed it, or it is being removed. The control object's magic comes before this one, and goes after it. */
static bool
is_half_made(const struct memory *m)
{
    const struct shm_header *d = (const void *)m->data_range.base;

    return !atom_load_acquire(&d->magic); /* acquire: MAGIC */
}

static int
open_objects(struct memory *m, const char *prefix, const char *name, uint64_t ret_sizes[2])
{
    char object[SHM_NAME_ROOM];
    uint64_t size;
    int r;

    shm_name_object(prefix, name, SHM_KIND_DATA, object);
    r = shm_segment_open(object, true, &m->data_rw, &ret_sizes[0]);
    if (!r)
        r = shm_segment_open(object, false, &m->data_ro, &size);
    if (r)
        return r;
    shm_name_object(prefix, name, SHM_KIND_CONTROL, object);
    return shm_segment_open(object, true, &m->control, &ret_sizes[1]);
}

/* What stands in the objects: 0, -ENOENT (rubbish), -EPROTONOSUPPORT, -EBADMSG. */
static int
join(struct memory *m, const char *name, const uint8_t boot_id[16], char why[WHY_ROOM])
{
    const struct ring_maps data = {.data = m->data_range.base, .data_size = m->data_range.size};
    uint32_t version = 0;
    int r;

    if (is_half_made(m))
        return -ENOENT;
    r = ring_join(&m->view, &data, &version);
    if (r == -EPROTONOSUPPORT)
        return why_set(why, r,
                       "topic %s: its shared memory has version %u or a feature this daemon does "
                       "not know; it knows version %d",
                       name, version, SHM_VERSION);
    if (r)
        return why_set(why, r, "topic %s: the headers of its shared memory are damaged", name);
    if (memcmp(ring_header(&m->view)->boot_id, boot_id, 16) != 0)
        return -ENOENT;
    if (strncmp(ring_header(&m->view)->name, name, LIMIT_TOPIC_NAME + 1) != 0)
        return why_set(why, -EBADMSG, "topic %s: its shared memory bears the name %.200s", name,
                       ring_header(&m->view)->name);
    if (m->control_range.size != m->view.geo.control_size)
        return why_set(why, -EBADMSG,
                       "topic %s: its control object has %" PRIu64
                       " bytes and should have %" PRIu64,
                       name, m->control_range.size, m->view.geo.control_size);
    m->view.control = m->control_range.base;
    ring_repair_header(&m->view);
    return 0;
}

/* The least that both objects have when they were sized at all. */
static bool
is_sized(const uint64_t sizes[2])
{
    return sizes[0] > RING_DAEMON_AT + sizeof(struct ring_daemon) &&
           sizes[1] > RING_CONTROL_AT + sizeof(struct ring_control);
}

int
memory_adopt(const char *prefix, const char *name, const uint8_t boot_id[16], struct memory *ret,
             char why[WHY_ROOM])
{
    uint64_t sizes[2];
    int r;

    *ret = nothing;
    r = open_objects(ret, prefix, name, sizes);
    if (!r && !is_sized(sizes))
        r = -ENOENT;
    if (!r) {
        r = map_both(ret, sizes, 0);
        if (r)
            why_text(why, "topic %s: cannot map its shared memory: %s", name, strerror(-r));
    } else if (r != -ENOENT) {
        why_text(why, "topic %s: cannot open its shared memory: %s", name, strerror(-r));
    }
    if (!r)
        r = join(ret, name, boot_id, why);
    if (!r) {
        r = shm_segment_writable(ret->data_rw, ret->data_range.base, 0, ret->view.geo.lanes);
        if (r)
            why_text(why, "topic %s: cannot map its shared memory: %s", name, strerror(-r));
    }
    if (r)
        memory_close(ret);
    if (r == -ENOENT)
        memory_remove(prefix, name);
    return r;
}

bool
memory_is_foreign(const char *prefix, const char *name)
{
    char object[SHM_NAME_ROOM], path[sizeof SHM_DIRECTORY + SHM_NAME_ROOM];
    struct stat st;

    for (int kind = SHM_KIND_DATA; kind <= SHM_KIND_CONTROL; kind++) {
        shm_name_object(prefix, name, (enum shm_kind)kind, object);
        (void)snprintf(path, sizeof path, SHM_DIRECTORY "%s", object);
        if (!lstat(path, &st) && st.st_uid != geteuid())
            return true;
    }
    return false;
}

/* --- listing ---------------------------------------------------------------------------------- */

/* The topic's name in "PREFIX.TOPIC.data" or ".control", or NULL. */
static const char *
topic_of(const char *entry, const char *prefix, char room[LIMIT_TOPIC_NAME + 1])
{
    size_t skip = strlen(prefix), len = strlen(entry), end;

    if (strncmp(entry, prefix, skip) != 0 || entry[skip] != '.')
        return NULL;
    end = len > 5 && !strcmp(entry + len - 5, ".data")      ? len - 5
          : len > 8 && !strcmp(entry + len - 8, ".control") ? len - 8
                                                            : 0;
    if (end <= skip + 1 || end - skip - 1 > LIMIT_TOPIC_NAME)
        return NULL;
    memcpy(room, entry + skip + 1, end - skip - 1);
    room[end - skip - 1] = '\0';
    return shm_name_check(room) ? NULL : room;
}

int
memory_list(const char *prefix, void (*found)(void *user, const char *name), void *user)
{
    struct dirent **list;
    char room[LIMIT_TOPIC_NAME + 1], last[LIMIT_TOPIC_NAME + 1] = "";
    int n = scandir(SHM_DIRECTORY, &list, NULL, alphasort);

    if (n < 0)
        return -errno;
    /* Both objects of a topic stand next to each other when sorted, or nearly; told twice does no harm to
     * who looks a name up first, but is told once where that is cheap. */
    for (int i = 0; i < n; i++) {
        const char *name = topic_of(list[i]->d_name, prefix, room);
        if (name && strcmp(name, last) != 0) {
            memcpy(last, name, strlen(name) + 1);
            found(user, name);
        }
        free(list[i]);
    }
    free(list);
    return 0;
}
