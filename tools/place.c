#include "tools/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/client.h"
#include "shm/process.h"
#include "shm/segment.h"

#define SHM_FOLDER "/dev/shm"
#define SYSTEM_SOCKET "/run/leat/bus"
#define SYSTEM_STORE "/var/lib/leat"

/* --- where ------------------------------------------------------------------------------------ */

static bool
is_directory(const char *path)
{
    struct stat st;

    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

/* A line "key value" of the lock file, if this is it. */
static bool
line_value(const char *line, const char *key, char *ret, size_t room)
{
    size_t n = strlen(key);

    if (strncmp(line, key, n) != 0 || line[n] != ' ')
        return false;
    (void)snprintf(ret, room, "%s", line + n + 1);
    ret[strcspn(ret, "\n")] = 0;
    return true;
}

/* A pipe may stand there, and nobody waits for its other end. NULL: there is no such file. */
static FILE *
open_file(const char *path)
{
    int fd = open(path, LEAT__READ | O_CLOEXEC);
    struct stat st;
    FILE *f = NULL;

    if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode))
        f = fdopen(fd, "r");
    if (fd >= 0 && !f)
        (void)close(fd);
    return f;
}

static bool
read_lock(struct place *p)
{
    char path[PATH_MAX + 8], line[PATH_MAX + 16];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s.lock", p->path);
    f = open_file(path);
    if (!f)
        return false;
    while (fgets(line, sizeof line, f))
        if (!line_value(line, "store", p->store, sizeof p->store))
            (void)line_value(line, "prefix", p->prefix, sizeof p->prefix);
    (void)fclose(f);
    return true;
}

/* Without a lock file: where a daemon would put its things if nothing else were said. */
static void
default_store(struct place *p)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    char mine[LEAT__PATH];

    if (!strcmp(p->path, SYSTEM_SOCKET))
        (void)snprintf(p->store, sizeof p->store, "%s", SYSTEM_STORE);
    else if (leat__user_path(mine) || strcmp(p->path, mine) != 0)
        p->store[0] = 0;
    else if (state && *state == '/')
        (void)snprintf(p->store, sizeof p->store, "%s/leat", state);
    else if (home && *home == '/')
        (void)snprintf(p->store, sizeof p->store, "%s/.local/state/leat", home);
}

static bool
has_memory(const struct place *p)
{
    char **topics;
    bool any;

    if (place_topics(p, &topics))
        return false;
    any = topics[0] != NULL;
    place_topics_free(topics);
    return any;
}

int
place_find(const char *bus, struct place *ret)
{
    struct place p = {0};
    char path[LEAT__PATH];
    bool mine;
    int r = leat__bus_path(bus, path, &mine);

    if (r)
        return r;
    (void)snprintf(p.path, sizeof p.path, "%s", path);
    if (is_directory(path)) {
        p.directory = true;
        (void)snprintf(p.store, sizeof p.store, "%s", path);
        *ret = p;
        return 0;
    }
    shm_name_prefix(p.path, p.prefix);
    if (!read_lock(&p)) {
        default_store(&p);
        if (access(p.path, F_OK) && !has_memory(&p))
            return -ENOENT;
    }
    *ret = p;
    return 0;
}

/* --- which topics ----------------------------------------------------------------------------- */

struct names {
    char **all;
    size_t n, room;
};

static int
add_name(struct names *l, const char *name, size_t len)
{
    char **all;

    if (l->n + 1 >= l->room) {
        l->room = l->room ? 2 * l->room : 64;
        all = realloc(l->all, l->room * sizeof *all);
        if (!all)
            return -ENOMEM;
        l->all = all;
    }
    l->all[l->n] = strndup(name, len);
    return l->all[l->n++] ? 0 : -ENOMEM;
}

/* The topic of a file name "PREFIX.TOPIC.data", or of "TOPIC.data" when there is no prefix. */
static bool
data_name(const char *file, const char *prefix, const char **ret, size_t *ret_len)
{
    size_t len = strlen(file), skip = strlen(prefix);

    if (len < 6 || strcmp(file + len - 5, ".data") != 0)
        return false;
    if (skip && (strncmp(file, prefix, skip) != 0 || file[skip] != '.'))
        return false;
    skip += skip != 0;
    if (len - 5 <= skip)
        return false;
    *ret = file + skip;
    *ret_len = len - 5 - skip;
    return true;
}

/* What a copied object is called says its header: copies may have any name that ends in .data. One whose header names no
 * topic goes by its file's name, with or without a prefix, so that it is not passed over. */
static bool
copy_name(const char *folder, const char *file, char ret[NAME_MAX + 1])
{
    char path[PATH_MAX + NAME_MAX + 2];
    const char *name, *dot;
    size_t len;

    if (!data_name(file, "", &name, &len))
        return false;
    (void)snprintf(path, sizeof path, "%s/%s", folder, file);
    /* A topic's name may end so too, and then its log's folder does. */
    if (is_directory(path))
        return false;
    if (leat__name_of_copy(path, ret))
        return true;
    dot = strchr(name, '.');
    if (!strncmp(name, "leat-", 5) && dot && (size_t)(dot - name) + 1 < len) {
        len -= (size_t)(dot + 1 - name);
        name = dot + 1;
    }
    (void)snprintf(ret, NAME_MAX + 1, "%.*s", (int)len, name);
    return true;
}

/* Anybody can put a name into /dev/shm; and in a store, topics that are being made or removed have names that no topic can have.
 * Among copies a folder has the name that somebody gave it: what is not a topic's is not passed over. */
static bool
is_topic_name(const char *name, size_t len)
{
    char topic[LIMIT_TOPIC_NAME + 1];

    if (len >= sizeof topic)
        return false;
    memcpy(topic, name, len);
    topic[len] = 0;
    return !shm_name_check(topic);
}

/* A log's folder that a daemon is making or removing, or left so when it died. */
static bool
is_passing(const char *name)
{
    const char *mark = strrchr(name, '~');

    return mark && (!strncmp(mark, "~new-", 5) || !strncmp(mark, "~gone-", 6));
}

static bool
is_log(const char *folder, const char *name)
{
    char path[PATH_MAX];
    struct dirent *e;
    bool found = false;
    DIR *d;

    if (name[0] == '.' || snprintf(path, sizeof path, "%s/%s", folder, name) >= PATH_MAX)
        return false;
    d = opendir(path);
    while (d && !found && (e = readdir(d))) {
        const char *end = strrchr(e->d_name, '.');
        found = !strcmp(e->d_name, "topic") || (end && !strcmp(end, ".seg"));
    }
    if (d)
        (void)closedir(d);
    return found;
}

static int
list_folder(const struct place *p, const char *folder, bool memory, struct names *l)
{
    char copy[NAME_MAX + 1];
    struct dirent *e;
    const char *name;
    size_t len;
    int r = 0;
    DIR *d = opendir(folder);

    if (!d)
        return errno == ENOENT ? 0 : -errno;
    while (!r && (e = readdir(d))) {
        name = e->d_name;
        len = strlen(name);
        if ((memory ? data_name(name, p->prefix, &name, &len) : is_log(folder, name)) &&
            (p->directory ? !is_passing(name) : is_topic_name(name, len)))
            r = add_name(l, name, len);
        else if (p->directory && copy_name(folder, name, copy))
            r = add_name(l, copy, strlen(copy));
    }
    (void)closedir(d);
    return r;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int
place_topics(const struct place *p, char ***ret)
{
    struct names l = {0};
    size_t n = 0;
    int r = add_name(&l, "", 0);

    if (!r && !p->directory)
        r = list_folder(p, SHM_FOLDER, true, &l);
    if (!r && p->store[0])
        r = list_folder(p, p->store, false, &l);
    if (r) {
        for (size_t i = 0; i < l.n; i++)
            free(l.all[i]);
        free(l.all);
        return r;
    }
    qsort(l.all, l.n, sizeof *l.all, by_name);
    for (size_t i = 0; i < l.n; i++) {
        bool again = !*l.all[i] || (n && !strcmp(l.all[i], l.all[n - 1]));
        if (again)
            free(l.all[i]);
        else
            l.all[n++] = l.all[i];
    }
    l.all[n] = NULL;
    *ret = l.all;
    return 0;
}

void
place_topics_free(char **topics)
{
    for (char **t = topics; t && *t; t++)
        free(*t);
    free(topics);
}

int
place_log(const struct place *p, const char *topic, char ret[PATH_MAX])
{
    char path[PATH_MAX];

    if (!p->store[0] || !*topic || strchr(topic, '/') || topic[0] == '.')
        return -ENOENT;
    if (snprintf(path, sizeof path, "%s/%s", p->store, topic) >= PATH_MAX)
        return -ENAMETOOLONG;
    if (!is_directory(path))
        return -ENOENT;
    memcpy(ret, path, sizeof path);
    return 0;
}

/* --- a topic's memory ------------------------------------------------------------------------- */

/* Shared memory that somebody cut short under us can only be noticed by touching it. */
static struct {
    unsigned char *base;
    uint64_t size;
} watched[2]; /* of the ring that is open */
static volatile sig_atomic_t surviving, cut;

/* Zeroes in place of all from there to the end of what is mapped: nothing behind the first byte that is gone is there. */
static bool
cover(unsigned char *at)
{
    for (size_t i = 0; i < 2; i++) {
        uint64_t off = (uint64_t)(at - watched[i].base) & ~(uint64_t)(SHM_PAGE - 1);

        if (!watched[i].base || at < watched[i].base || at >= watched[i].base + watched[i].size)
            continue;
        return mmap(watched[i].base + off, shm_align(watched[i].size, SHM_PAGE) - off, PROT_READ,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
    }
    return false;
}

/* mmap is a bare system call, and the signal comes from the very instruction that touched the map. */
static void
on_bus_error(int signal, siginfo_t *info, void *context)
{
    static const char text[] =
        "leat: a topic's shared memory was cut short while it was looked at\n";
    int saved = errno;

    (void)context;
    if (!surviving) {
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
        _exit(1);
    }
    if (info->si_code > 0 && cover(info->si_addr))
        cut = 1;
    else /* the instruction faults again, and the program ends as it should */
        (void)sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    errno = saved;
}

void
place_survive(void)
{
    surviving = 1;
}

bool
place_cut(void)
{
    return cut != 0;
}

/* From here on, what was mapped may be touched. */
static void
watch(const struct ring_maps *maps)
{
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};

    watched[0].base = maps->data;
    watched[0].size = maps->data_size;
    watched[1].base = maps->control;
    watched[1].size = maps->control_size;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, NULL);
}

/* The data file among copies. There may be more than one of a topic: then the first by name, on every call. */
static int
find_copy(const struct place *p, const char *topic, struct place_ring *ret)
{
    char name[NAME_MAX + 1], best[NAME_MAX + 1] = "";
    DIR *d = opendir(p->store);
    struct dirent *e;

    while (d && (e = readdir(d))) {
        if (!copy_name(p->store, e->d_name, name) || strcmp(name, topic) != 0)
            continue;
        ret->twice = *best != 0;
        if (!*best || strcmp(e->d_name, best) < 0)
            (void)snprintf(best, sizeof best, "%s", e->d_name);
    }
    if (d)
        (void)closedir(d);
    if (!*best || snprintf(ret->name, sizeof ret->name, "%s/%s", p->store, best) >= PATH_MAX)
        return -ENOENT;
    return 0;
}

/* The file of the control object, given that of the data object. */
static void
control_name(const char *data, char ret[PATH_MAX])
{
    size_t len = strlen(data) - strlen(".data");

    (void)snprintf(ret, PATH_MAX, "%.*s.control", (int)len, data);
}

static int
map_file(const char *path, void **ret, uint64_t *ret_size)
{
    int fd = open(path, LEAT__READ | O_CLOEXEC), r;

    if (fd < 0)
        return -errno;
    r = shm_segment_size(fd, ret_size);
    if (!r && *ret_size < SHM_PAGE)
        r = -ENODATA;
    if (!r)
        r = shm_segment_map(fd, *ret_size, ret);
    (void)close(fd);
    return r;
}

/* The magic of data is written last and taken away first. */
static bool
has_magic(const struct ring_maps *maps)
{
    const struct shm_header *h = maps->data;

    return atom_load_acquire(&h->magic) != 0; /* acquire: MAGIC */
}

int
place_ring_open(const struct place *p, const char *topic, struct place_ring *ret)
{
    struct place_ring ring = {0};
    char control[PATH_MAX], object[SHM_NAME_ROOM];
    struct ring_maps maps = {0};
    int r = 0;

    cut = 0;
    if (shm_name_check(topic))
        return -ENOENT;
    shm_name_object(p->prefix, topic, SHM_KIND_DATA, object);
    if (p->directory)
        r = find_copy(p, topic, &ring);
    else
        (void)snprintf(ring.name, sizeof ring.name, "%s%s", SHM_FOLDER, object);
    if (r)
        return r;
    control_name(ring.name, control);
    r = map_file(ring.name, &maps.data, &maps.data_size);
    if (!r)
        r = map_file(control, &maps.control, &maps.control_size);
    watch(&maps);
    if (!r)
        r = ring_join(&ring.view, &maps, &ring.version);
    ring.unmade = r == -ENODATA || (r == -EBADMSG && maps.data && !has_magic(&maps));
    r = r == -ENODATA ? -EBADMSG : r;
    ring.view.data = maps.data;
    ring.view.control = maps.control;
    ring.data_size = maps.data_size;
    ring.control_size = maps.control_size;
    if (!r &&
        strncmp(ring_header(&ring.view)->name, topic, sizeof ring_header(&ring.view)->name) != 0)
        r = -EBADMSG;
    if (r)
        place_ring_close(&ring);
    *ret = ring;
    return r;
}

void
place_ring_close(struct place_ring *r)
{
    if (r->view.data)
        shm_segment_unmap(r->view.data, r->data_size);
    if (r->view.control)
        shm_segment_unmap(r->view.control, r->control_size);
    r->view.data = NULL;
    r->view.control = NULL;
    watched[0].base = NULL;
    watched[1].base = NULL;
}

bool
place_alive(const struct ring_view *v)
{
    uint64_t pid = atom_load_relaxed(&ring_daemon(v)->pid);
    uint64_t start = atom_load_relaxed(&ring_daemon(v)->start);
    struct pollfd poller = {.fd = -1, .events = POLLIN};
    bool alive;

    if (!pid || pid > INT32_MAX || shm_process_pidfd((pid_t)pid, start, &poller.fd))
        return false;
    alive = poll(&poller, 1, 0) == 0;
    (void)close(poller.fd);
    return alive;
}

bool
place_locked(int fd)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

    return !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
}
