/* Where the things of a bus are: in /dev/shm under its prefix and in its store, as the lock file
 * beside the socket says also after the daemon's death; or in a folder that somebody copied them
 * to. */
#include "client/client.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/name.h"
#include "shm/segment.h"

#define SHM_FOLDER "/dev/shm"
#define DATA ".data"
#define CONTROL ".control"

/* --- names ------------------------------------------------------------------------------------ */

/* Calls for each name in a folder; a folder that cannot be read has none. */
struct visit {
    struct leat_inspect *i;
    const char *folder;
    const char *after; /* the name that was given last */
    char *best;        /* the least one behind it so far */
};

static void
consider(const struct visit *v, const char *name)
{
    if (shm_name_check(name) || strcmp(name, v->after) <= 0)
        return;
    if (!v->best[0] || strcmp(name, v->best) < 0)
        memcpy(v->best, name, strlen(name) + 1);
}

static bool
ends_in(const char *name, const char *suffix, size_t *ret_len)
{
    size_t n = strlen(name), m = strlen(suffix);

    if (n <= m || strcmp(name + n - m, suffix) != 0)
        return false;
    *ret_len = n - m;
    return true;
}

/* "PREFIX.TOPIC.data" */
static void
visit_object(const struct visit *v, const char *entry)
{
    char name[LIMIT_TOPIC_NAME + 1];
    size_t skip = strlen(v->i->prefix), len;

    if (strncmp(entry, v->i->prefix, skip) != 0 || entry[skip] != '.' ||
        !ends_in(entry, DATA, &len) || len <= skip + 1)
        return;
    len -= skip + 1;
    if (len >= sizeof name)
        return;
    memcpy(name, entry + skip + 1, len);
    name[len] = '\0';
    consider(v, name);
}

/* A topic's folder in the store is one that says what it was made with. */
static void
visit_store(const struct visit *v, const char *entry)
{
    char path[2 * LEAT__PATH];
    int n;

    if (shm_name_check(entry))
        return;
    n = snprintf(path, sizeof path, "%s/%s/topic", v->folder, entry);
    if (n > 0 && n < (int)sizeof path && !access(path, F_OK))
        consider(v, entry);
}

bool
leat__name_of_copy(const char *path, char ret[LIMIT_TOPIC_NAME + 1])
{
    int fd = open(path, LEAT__READ | O_CLOEXEC);
    struct shm_header h;
    bool good;

    if (fd < 0)
        return false;
    good = pread(fd, &h, sizeof h, 0) == (ssize_t)sizeof h &&
           memchr(h.name, 0, LIMIT_TOPIC_NAME + 1) && !shm_name_check(h.name);
    close(fd);
    if (good)
        memcpy(ret, h.name, strlen(h.name) + 1);
    return good;
}

static bool
name_of_entry(const char *folder, const char *entry, char ret[LIMIT_TOPIC_NAME + 1])
{
    char path[2 * LEAT__PATH];
    size_t len;
    int n;

    if (!ends_in(entry, DATA, &len))
        return false;
    n = snprintf(path, sizeof path, "%s/%s", folder, entry);
    return n > 0 && n < (int)sizeof path && leat__name_of_copy(path, ret);
}

static void
visit_copy(const struct visit *v, const char *entry)
{
    char name[LIMIT_TOPIC_NAME + 1];

    if (name_of_entry(v->folder, entry, name))
        consider(v, name);
    visit_store(v, entry);
}

static int
visit_folder(const struct visit *v, void (*each)(const struct visit *, const char *))
{
    DIR *d = opendir(v->folder);
    const struct dirent *e;

    if (!d)
        return -errno;
    while ((e = readdir(d)))
        each(v, e->d_name);
    closedir(d);
    return 0;
}

int
leat__find_next(struct leat_inspect *i, const char *after, char *ret)
{
    char best[LIMIT_TOPIC_NAME + 1] = "";
    struct visit v = {.i = i, .after = after, .best = best};
    int r;

    v.folder = i->folder ? i->path : SHM_FOLDER;
    r = visit_folder(&v, i->folder ? visit_copy : visit_object);
    if (r)
        return leat__inspect_fail(i, r, "%s: %s", v.folder, leat_strerror(r));
    if (!i->folder && i->store[0]) {
        v.folder = i->store;
        r = visit_folder(&v, visit_store);
        if (r && r != -ENOENT)
            return leat__inspect_fail(i, r, "%s: %s", v.folder, leat_strerror(r));
    }
    if (!best[0])
        return 0;
    memcpy(ret, best, strlen(best) + 1);
    return 1;
}

/* --- objects ---------------------------------------------------------------------------------- */

/* The copy of a topic's data object, and beside it the control object of the same name. Of several the first by name, as the
 * tools take it, and the same one on every call. */
static int
find_copies(const struct leat_inspect *i, const char *topic, int *ret_data, int *ret_control)
{
    char path[2 * LEAT__PATH], name[LIMIT_TOPIC_NAME + 1], best[NAME_MAX + 1] = "";
    DIR *d = opendir(i->path);
    const struct dirent *e;
    int n = -1, r;

    if (!d)
        return -errno;
    while ((e = readdir(d)))
        if ((!best[0] || strcmp(e->d_name, best) < 0) && name_of_entry(i->path, e->d_name, name) &&
            !strcmp(name, topic))
            (void)snprintf(best, sizeof best, "%s", e->d_name);
    closedir(d);
    if (best[0])
        n = snprintf(path, sizeof path - sizeof CONTROL, "%s/%s", i->path, best);
    if (n < 0 || n >= (int)(sizeof path - sizeof CONTROL))
        return -ENOENT;
    *ret_data = open(path, LEAT__READ | O_CLOEXEC);
    r = *ret_data < 0 ? -errno : 0;
    memcpy(path + n - (sizeof DATA - 1), CONTROL, sizeof CONTROL);
    *ret_control = open(path, LEAT__READ | O_CLOEXEC);
    return r;
}

int
leat__find_memory(struct leat_inspect *i, const char *topic, int *ret_data, int *ret_control)
{
    char object[SHM_NAME_ROOM];
    uint64_t size;
    int r;

    *ret_data = -1;
    *ret_control = -1;
    if (i->folder) {
        r = find_copies(i, topic, ret_data, ret_control);
    } else {
        shm_name_object(i->prefix, topic, SHM_KIND_DATA, object);
        r = shm_segment_open(object, false, ret_data, &size);
        shm_name_object(i->prefix, topic, SHM_KIND_CONTROL, object);
        (void)shm_segment_open(object, false, ret_control, &size);
    }
    if (r && *ret_control >= 0)
        close(*ret_control);
    return r;
}

/* --- the bus ---------------------------------------------------------------------------------- */

/* One line "KEY VALUE" of the lock file. */
static void
take_line(struct leat_inspect *i, const char *line)
{
    static const char store[] = "store ", prefix[] = "prefix ";
    size_t len = strlen(line);

    if (!strncmp(line, store, sizeof store - 1) && line[sizeof store - 1] == '/' &&
        len - (sizeof store - 1) < sizeof i->store)
        memcpy(i->store, line + sizeof store - 1, len - (sizeof store - 1) + 1);
    if (!strncmp(line, prefix, sizeof prefix - 1) && len - (sizeof prefix - 1) < sizeof i->prefix &&
        !strchr(line, '/'))
        memcpy(i->prefix, line + sizeof prefix - 1, len - (sizeof prefix - 1) + 1);
}

/* The lock file's text stays when the daemon is gone. */
static int
read_lock(struct leat_inspect *i)
{
    char path[LEAT__PATH + sizeof ".lock"], text[4 * LEAT__PATH];
    char *rest = text, *line;
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof path, "%s.lock", i->path);
    fd = open(path, LEAT__READ | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    while ((line = strsep(&rest, "\n")))
        take_line(i, line);
    return 0;
}

int
leat__find_bus(struct leat_inspect *i, const char *path)
{
    char name[LIMIT_TOPIC_NAME + 1];
    struct stat st;
    bool mine;
    int r = leat__bus_path(path, i->path, &mine);

    if (r)
        return leat__fail_open(r, "the bus's path: %s", leat_strerror(r));
    r = stat(i->path, &st) ? -errno : 0;
    if (!r && S_ISDIR(st.st_mode)) {
        i->folder = true;
        memcpy(i->store, i->path, sizeof i->store);
        return 0;
    }
    shm_name_prefix(i->path, i->prefix);
    if (read_lock(i) == 0 || (!r && S_ISSOCK(st.st_mode)) || leat__find_next(i, "", name) == 1)
        return 0;
    return leat__fail_open(-ENOENT, "%s is neither a bus, alive or dead, nor a folder", i->path);
}
