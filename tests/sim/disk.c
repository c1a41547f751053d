#include "tests/sim/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512u
#define PAGE 4096u

/* --- what is known ---------------------------------------------------------------------------- */

static void
moment(struct sim *sim)
{
    sim->step++;
    if (sim->moment)
        sim->moment(sim, sim->user);
}

static uint64_t
ino_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) ? 0 : (uint64_t)st.st_ino;
}

static struct sim_file *
file_of(struct sim *sim, uint64_t ino)
{
    for (unsigned i = 0; i < sim->files; i++)
        if (sim->file[i].ino == ino)
            return &sim->file[i];
    if (sim->files == SIM_FILES)
        abort();
    sim->file[sim->files] = (struct sim_file){.ino = ino};
    return &sim->file[sim->files++];
}

static void *
zeros(uint64_t size)
{
    void *p = calloc(1, size);

    if (!p)
        abort();
    return p;
}

/* Files are mostly zeros: what is not copied costs no memory. */
static void
copy_content(uint8_t *to, const uint8_t *from, uint64_t len)
{
    static const uint8_t nothing[PAGE];

    for (uint64_t at = 0; at < len; at += PAGE) {
        uint64_t n = shm_min(PAGE, len - at);
        if (memcmp(from + at, nothing, n) != 0)
            memcpy(to + at, from + at, n);
    }
}

static void
make_room(struct sim_file *f, uint64_t size)
{
    uint8_t *sure;

    if (size <= f->room)
        return;
    sure = zeros(size);
    copy_content(sure, f->sure, f->room);
    free(f->sure);
    f->sure = sure;
    f->room = size;
}

static void
become_sure(struct sim_file *f, const struct sim_write *w)
{
    make_room(f, w->off + w->len);
    memcpy(f->sure + w->off, w->bytes, w->len);
    f->sure_size = shm_max(f->sure_size, w->off + w->len);
}

static struct sim_entry *
entry_of(struct sim_entry *entries, unsigned n, const char *name)
{
    for (unsigned i = 0; i < n; i++)
        if (!strcmp(entries[i].name, name))
            return &entries[i];
    return NULL;
}

static void
apply(struct sim_entry *entries, unsigned *n, const struct sim_change *c)
{
    struct sim_entry *from = c->from[0] ? entry_of(entries, *n, c->from) : NULL;
    uint64_t ino = from ? from->ino : c->ino;
    struct sim_entry *to;

    if (c->from[0] && !from)
        return; /* what it would rename or remove is not there */
    if (from) {
        *from = entries[--*n];
    }
    if (!c->to[0])
        return;
    to = entry_of(entries, *n, c->to);
    if (!to) {
        if (*n == SIM_NAMES)
            abort();
        to = &entries[(*n)++];
        (void)snprintf(to->name, sizeof to->name, "%s", c->to);
    }
    to->ino = ino;
}

static void
change(struct sim *sim, const char *from, const char *to, uint64_t ino)
{
    struct sim_change *c = zeros(sizeof *c), **at = &sim->changes;

    c->step = sim->step;
    c->ino = ino;
    (void)snprintf(c->from, sizeof c->from, "%s", from ? from : "");
    (void)snprintf(c->to, sizeof c->to, "%s", to ? to : "");
    while (*at)
        at = &(*at)->next;
    *at = c;
}

/* --- quick verbs ------------------------------------------------------------------------------ */

static int
sim_file_open(struct io *io, int dirfd, const char *name, uint32_t flags, struct io_file *ret)
{
    struct sim *sim = (struct sim *)io;
    bool is_new = flags & IO_OPEN_CREATE && faccessat(dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW);
    int r = io__file_open(io, dirfd, name, flags & ~IO_OPEN_DIRECT, ret);

    if (!r && is_new && ino_of(dirfd) == sim->dir_ino) {
        change(sim, NULL, name, ino_of(ret->fd));
        moment(sim);
    }
    return r;
}

static int
sim_allocate(struct io *io, int fd, uint64_t size)
{
    struct sim *sim = (struct sim *)io;
    struct sim_file *f = file_of(sim, ino_of(fd));
    int r = io__file_allocate(io, fd, size);

    if (!r)
        f->size = shm_max(f->size, size);
    moment(sim);
    return r;
}

static int
sim_rename(struct io *io, int dirfd, const char *from, const char *to)
{
    struct sim *sim = (struct sim *)io;
    int r = io__file_rename(io, dirfd, from, to);

    if (!r && ino_of(dirfd) == sim->dir_ino)
        change(sim, from, to, 0);
    moment(sim);
    return r;
}

/* --- requests --------------------------------------------------------------------------------- */

/* A write in flight may reach the disk before it is done. */
static void
note_write(struct sim *sim, const struct io_req *req)
{
    struct sim_file *f = file_of(sim, ino_of(req->fd));
    struct sim_write *w = zeros(sizeof *w + req->len), **at = &f->writes;

    w->off = req->off;
    w->len = req->len;
    memcpy(w->bytes, req->buf, req->len);
    while (*at)
        at = &(*at)->next;
    *at = w;
}

static void
write_done(struct sim *sim, const struct io_req *req)
{
    struct sim_file *f = file_of(sim, ino_of(req->fd));
    struct sim_write **at = &f->writes, *w;

    while ((w = *at) && (w->done_at || w->off != req->off || w->len != req->len))
        at = &w->next;
    if (!w)
        abort();
    f->size = shm_max(f->size, w->off + w->len);
    w->done_at = sim->step;
    if (!(req->flags & IO_DURABLE))
        return;
    become_sure(f, w);
    *at = w->next;
    free(w);
}

static void
file_synced(struct sim *sim, uint64_t ino, uint64_t began)
{
    struct sim_file *f = file_of(sim, ino);
    struct sim_write **at = &f->writes, *w;

    while ((w = *at)) {
        if (!w->done_at || w->done_at >= began) {
            at = &w->next;
            continue;
        }
        become_sure(f, w);
        *at = w->next;
        free(w);
    }
    f->sure_size = shm_max(f->sure_size, f->size);
    make_room(f, f->sure_size);
}

static void
names_synced(struct sim *sim, uint64_t began)
{
    struct sim_change *c;

    while ((c = sim->changes) && c->step < began) {
        apply(sim->entry, &sim->entries, c);
        sim->changes = c->next;
        free(c);
    }
}

static int64_t
perform(struct sim *sim, const struct io_req *req)
{
    ssize_t n;

    switch (req->verb) {
    case IO_WRITE:
        n = pwrite(req->fd, req->buf, req->len, (off_t)req->off);
        if (n != (ssize_t)req->len)
            return n < 0 ? -errno : -EIO;
        if (!sim->forgets)
            write_done(sim, req);
        return n;
    case IO_SYNC:
        if (ino_of(req->fd) == sim->dir_ino)
            names_synced(sim, req->tries ? (uint64_t)(uintptr_t)req->covered : sim->step + 1);
        else
            file_synced(sim, ino_of(req->fd), (uint64_t)(uintptr_t)req->covered);
        return 0;
    case IO_REMOVE:
        if (unlinkat(req->fd, req->name, req->flags & IO_DIRECTORY ? AT_REMOVEDIR : 0))
            return -errno;
        if (ino_of(req->fd) == sim->dir_ino)
            change(sim, req->name, NULL, 0);
        return 0;
    }
    return -EINVAL;
}

static void
sim_begin(struct io *io)
{
    struct sim *sim = (struct sim *)io;
    struct io_req *req;

    while ((req = io__take(io))) {
        if (req->verb == IO_WRITE && !sim->forgets)
            note_write(sim, req);
        /* The step in which a sync began: what was done before is covered by it. */
        req->covered = (struct io_req *)(uintptr_t)(sim->step + 1);
        req->tries = 1;
        io__append(&sim->flight, req);
        moment(sim);
    }
    if (sim->flight.head)
        io__poke(io);
}

/* Takes the nth of the flight. */
static struct io_req *
pick(struct io_list *flight, uint64_t n)
{
    struct io_list rest = {NULL, NULL};
    struct io_req *req, *picked = NULL;

    while ((req = io__pop(flight))) {
        if (!n--)
            picked = req;
        else
            io__append(&rest, req);
    }
    *flight = rest;
    return picked;
}

static void
sim_collect(struct io *io)
{
    struct sim *sim = (struct sim *)io;
    uint64_t n = 0;

    io__hush(io);
    for (const struct io_req *r = sim->flight.head; r; r = r->next)
        n++;
    if (!n)
        return;
    do {
        struct io_req *req = pick(&sim->flight, prng_below(&sim->random, n--));
        int64_t r = perform(sim, req);
        req->tries = 0;
        io__result(io, req, r);
        moment(sim);
    } while (n && (sim->immediate || prng_below(&sim->random, 2)));
    if (n)
        io__poke(io);
}

static void
sim_stop(struct io *io)
{
    struct sim *sim = (struct sim *)io;
    struct sim_change *c;

    for (unsigned i = 0; i < sim->files; i++) {
        struct sim_write *w;
        while ((w = sim->file[i].writes)) {
            sim->file[i].writes = w->next;
            free(w);
        }
        free(sim->file[i].sure);
    }
    while ((c = sim->changes)) {
        sim->changes = c->next;
        free(c);
    }
    io__fini(io);
    free(sim);
}

/* --- opening: what stands there is certain ----------------------------------------------------- */

static void
load_file(struct sim *sim, int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    struct sim_entry *e = &sim->entry[sim->entries++];
    struct sim_file *f;
    struct stat st;
    off_t at = 0;

    if (fd < 0 || fstat(fd, &st) || sim->entries > SIM_NAMES)
        abort();
    (void)snprintf(e->name, sizeof e->name, "%.*s", SIM_NAME - 1, name);
    e->ino = (uint64_t)st.st_ino;
    f = file_of(sim, e->ino);
    f->size = f->sure_size = (uint64_t)st.st_size;
    make_room(f, f->size);
    while (at < st.st_size && (at = lseek(fd, at, SEEK_DATA)) >= 0) {
        ssize_t n = pread(fd, f->sure + at, f->size - (uint64_t)at, at);
        if (n <= 0)
            abort();
        at += n;
    }
    close(fd);
}

static void
load(struct sim *sim)
{
    int dir = openat(sim->store_dir, sim->topic, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = dir < 0 ? NULL : fdopendir(dir);
    const struct dirent *e;

    if (!d)
        return;
    sim->dir_ino = ino_of(dir);
    while ((e = readdir(d)))
        if (e->d_name[0] != '.')
            load_file(sim, dir, e->d_name);
    closedir(d);
}

struct sim *
sim_open(int store_dir, const char *topic, uint64_t seed)
{
    static const struct io_ops ops = {
        .name = "sim",
        .file_open = sim_file_open,
        .file_close = io__file_close,
        .make_directory = io__file_make_directory,
        .allocate = sim_allocate,
        .rename = sim_rename,
        .begin = sim_begin,
        .collect = sim_collect,
        .stop = sim_stop,
    };
    const struct io_options options = {.depth = IO_DEPTH_DEFAULT, .bufs = IO_BUFS_DEFAULT};
    struct sim *sim = calloc(1, sizeof *sim);

    if (!sim || io__init(&sim->io, &ops, &options))
        abort();
    sim->random = (struct prng){seed};
    sim->store_dir = store_dir;
    sim->step = 1;
    (void)snprintf(sim->topic, sizeof sim->topic, "%s", topic);
    load(sim);
    return sim;
}

/* --- the cut ---------------------------------------------------------------------------------- */

uint64_t
sim_choose(struct sim_choice *c, uint64_t n)
{
    if (!c->walks)
        return prng_below(&c->random, n);
    if (c->at == SIM_CHOICES || n > UINT16_MAX)
        abort();
    if (c->at == c->known) {
        c->took[c->known] = 0;
        c->of[c->known++] = (uint16_t)n;
    }
    return c->took[c->at++];
}

bool
sim_choice_next(struct sim_choice *c)
{
    c->known = c->at;
    c->at = 0;
    while (c->known && ++c->took[c->known - 1] == c->of[c->known - 1])
        c->known--;
    return c->known;
}

/* Some pieces of a write, where they make a difference; in a walk they are coarse enough to be few. */
static void
tear(struct sim_choice *c, uint8_t *image, const struct sim_write *w, uint32_t grain)
{
    if (c->walks)
        grain = w->len <= 8 * SECTOR ? SECTOR : (w->len / 8 + PAGE - 1) / PAGE * PAGE;
    for (uint32_t at = 0; at < w->len; at += grain) {
        uint32_t n = w->len - at < grain ? w->len - at : grain;
        if (memcmp(image + w->off + at, w->bytes + at, n) != 0 && sim_choose(c, 2))
            memcpy(image + w->off + at, w->bytes + at, n);
    }
}

/* A sector that is being rewritten with the durable bytes of the batch before keeps them: devices write a sector or they do not.
 * Only one that was never certain can hold garbage. */
static void
spoil(struct sim_choice *c, uint8_t *image, const struct sim_write *w)
{
    uint64_t sectors = w->len / SECTOR, few = c->walks ? shm_min(sectors, 3) : sectors;
    uint8_t *at = image + w->off + sim_choose(c, few) * (sectors / few) * SECTOR;

    for (uint32_t i = 0; i < SECTOR; i++)
        if (at[i])
            return;
    for (uint32_t i = 0; i < SECTOR; i++)
        at[i] = (uint8_t)prng_next(&c->random);
}

/* Of a write that is not certain: nothing, all, or some of its sectors, one of them perhaps garbage. In a walk the choice between the
 * sectors holds nothing and all. */
static void
maybe_write(struct sim_choice *c, uint8_t *image, const struct sim_write *w)
{
    uint64_t how = c->walks ? 2 : sim_choose(c, 4);

    if (how == 0)
        return;
    if (how == 1) {
        memcpy(image + w->off, w->bytes, w->len);
        return;
    }
    tear(c, image, w, how == 2 ? SECTOR : PAGE);
    if (w->len >= SECTOR && !sim_choose(c, c->walks ? 2 : 4))
        spoil(c, image, w);
}

static int
write_content(int fd, const uint8_t *image, uint64_t size)
{
    static const uint8_t nothing[PAGE];

    for (uint64_t at = 0; at < size; at += PAGE) {
        uint64_t n = shm_min(PAGE, size - at);
        if (memcmp(image + at, nothing, n) != 0 &&
            pwrite(fd, image + at, n, (off_t)at) != (ssize_t)n)
            return -EIO;
    }
    return ftruncate(fd, (off_t)size) ? -errno : 0;
}

static int
write_image(struct sim *sim, struct sim_choice *c, int dir, const struct sim_entry *e)
{
    const struct sim_file *f = file_of(sim, e->ino);
    uint64_t size = f->size != f->sure_size && sim_choose(c, 2) ? f->size : f->sure_size;
    uint64_t room = shm_max(f->room, shm_max(f->size, f->sure_size));
    const struct sim_write *w;
    uint8_t *image;
    int fd, r;

    for (w = f->writes; w; w = w->next)
        room = shm_max(room, w->off + w->len);
    image = zeros(room + 1);
    copy_content(image, f->sure, f->room);
    for (w = f->writes; w; w = w->next) {
        maybe_write(c, image, w);
        if (size < w->off + w->len && sim_choose(c, 2))
            size = w->off + w->len;
    }
    fd = openat(dir, e->name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    r = fd < 0 ? -errno : write_content(fd, image, size);
    free(image);
    close(fd);
    return r;
}

/* Of the names that were changed: none, all, some from the first on, or any. */
static unsigned
change_names(const struct sim *sim, struct sim_choice *c, struct sim_entry *entries)
{
    uint64_t how = c->walks ? 2 : sim_choose(c, 3);
    unsigned n = sim->entries;

    memcpy(entries, sim->entry, sizeof sim->entry);
    for (const struct sim_change *change = sim->changes; change; change = change->next) {
        if (how == 0 && !sim_choose(c, 4))
            break;
        if (how == 2 && sim_choose(c, 2))
            continue;
        apply(entries, &n, change);
    }
    return n;
}

int
sim_cut(struct sim *sim, struct sim_choice *c, int to_dir)
{
    struct sim_entry entries[SIM_NAMES];
    unsigned n = change_names(sim, c, entries);
    int dir, r = 0;

    if (mkdirat(to_dir, sim->topic, 0700))
        return -errno;
    dir = openat(to_dir, sim->topic, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (unsigned i = 0; !r && i < n; i++)
        r = write_image(sim, c, dir, &entries[i]);
    close(dir);
    return r;
}
