#define FUSE_USE_VERSION 314
#include "tests/sim/faults.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <fuse3/fuse_lowlevel.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "shm/base.h"

#define BLOCK 4096u

/* A write that no sync has followed, and what was there before. The server's own. */
struct unsure {
    struct unsure *next;
    uint64_t ino, off, len;
    bool counts;
    uint8_t before[];
};

static struct faults *faults;
static struct unsure *unsure;

static const char *
under(const char *path, char room[PATH_MAX])
{
    (void)snprintf(room, PATH_MAX, FAULTS_UNDER "%s", path);
    return room;
}

/* --- what is asked for ------------------------------------------------------------------------ */

static bool
is_segment(const char *path)
{
    return path && strstr(path, ".seg");
}

/* One of the calls that shall fail? */
static bool
take(atom_u64 *left, const char *path)
{
    uint64_t n = atom_load_seq(left);

    if (!n || (path && !strstr(path, faults->match)))
        return false;
    if (n != FAULTS_EVER)
        atom_store_seq(left, n - 1);
    (void)atom_add_seq(&faults->hits, 1);
    return true;
}

static void
delay(void)
{
    uint64_t ms = atom_load_seq(&faults->delay_ms);

    if (!ms)
        return;
    (void)atom_add_seq(&faults->hits, 1);
    (void)poll(NULL, 0, (int)ms);
}

/* What of `len` bytes of new space there is room for. */
static uint64_t
spend(uint64_t len)
{
    uint64_t left = atom_load_seq(&faults->budget), room;

    if (left == FAULTS_EVER)
        return len;
    room = shm_min(left, len) & ~(uint64_t)(BLOCK - 1);
    atom_store_seq(&faults->budget, left - room);
    if (room < len)
        (void)atom_add_seq(&faults->hits, 1);
    return room;
}

/* --- the record ------------------------------------------------------------------------------- */

static struct faults_file *
file_of(uint64_t ino)
{
    for (uint32_t i = 0; i < faults->files; i++)
        if (faults->file[i].ino == ino)
            return &faults->file[i];
    if (faults->files == FAULTS_FILES)
        return NULL;
    faults->file[faults->files].ino = ino;
    return &faults->file[faults->files++];
}

static void
note_failed(uint64_t ino, uint64_t off, uint64_t len)
{
    struct faults_file *f = file_of(ino);

    if (!f || f->spoilt == FAULTS_RANGES)
        return;
    f->range[f->spoilt].off = off;
    f->range[f->spoilt++].len = len;
}

static void
check_again(uint64_t ino, uint64_t off, uint64_t len)
{
    const struct faults_file *f = file_of(ino);

    for (uint32_t i = 0; f && i < f->spoilt; i++)
        if (off < f->range[i].off + f->range[i].len && f->range[i].off < off + len)
            (void)atom_add_seq(&faults->again, 1);
}

/* Spares that nobody finished may stay as they are. */
static void
remember(const char *path, int fd, uint64_t off, uint64_t len)
{
    struct unsure *u = calloc(1, sizeof *u + len);
    struct stat st;

    if (!u || fstat(fd, &st) || pread(fd, u->before, len, (off_t)off) < 0) {
        free(u);
        return;
    }
    u->next = unsure;
    u->ino = st.st_ino;
    u->off = off;
    u->len = len;
    u->counts = !strstr(path, "spare");
    unsure = u;
    (void)atom_add_seq(&faults->unsure, u->counts);
}

/* Newest first: `lost` puts back what was there before all of them. */
static void
settle(int fd, uint64_t ino, bool lost)
{
    struct unsure **at = &unsure;

    while (*at) {
        struct unsure *u = *at;
        if (u->ino != ino) {
            at = &u->next;
            continue;
        }
        if (lost) {
            note_failed(ino, u->off, u->len);
            if (pwrite(fd, u->before, u->len, (off_t)u->off) < 0)
                note_failed(ino, 0, UINT64_MAX / 2);
        }
        *at = u->next;
        (void)atom_add_seq(&faults->unsure, -(uint64_t)u->counts);
        free(u);
    }
}

/* A file that goes gives its number to another one. */
static void
forget(const char *path)
{
    struct stat st;
    struct faults_file *f = lstat(path, &st) ? NULL : file_of(st.st_ino);

    if (!f)
        return;
    f->spoilt = 0;
    settle(-1, st.st_ino, false);
}

/* --- writes and syncs ------------------------------------------------------------------------- */

static int
write_some(int fd, const char *buf, size_t len, off_t off)
{
    ssize_t n = pwrite(fd, buf, len, off);

    return n < 0 ? -errno : (int)n;
}

static int
on_write(const char *path, const char *buf, size_t len, off_t off, struct fuse_file_info *fi)
{
    int fd = (int)fi->fh;
    struct stat st;
    uint64_t room = len;

    delay();
    if (fstat(fd, &st))
        return -errno;
    if (is_segment(path))
        check_again(st.st_ino, (uint64_t)off, len);
    if (take(&faults->writes, path)) {
        note_failed(st.st_ino, (uint64_t)off, len);
        (void)write_some(fd, buf, len / 2, off);
        return -EIO;
    }
    /* What a small file gives back when it is cut it can have again. */
    if (is_segment(path) && (uint64_t)st.st_blocks * 512 < (uint64_t)off + len)
        room = spend(len);
    if (!room)
        return -ENOSPC;
    if (len > BLOCK && take(&faults->shorts, path))
        room = shm_min(room, BLOCK);
    if (is_segment(path))
        remember(path, fd, (uint64_t)off, room);
    return write_some(fd, buf, room, off);
}

static int
on_sync(const char *path, int datasync, struct fuse_file_info *fi)
{
    int fd = (int)fi->fh;
    bool lost = take(&faults->syncs, path);
    struct stat st;

    (void)datasync;
    delay();
    if (fstat(fd, &st))
        return -errno;
    settle(fd, st.st_ino, lost);
    return lost ? -EIO : 0;
}

static int
on_sync_dir(const char *path, int datasync, struct fuse_file_info *fi)
{
    (void)path;
    (void)datasync;
    (void)fi;
    delay();
    return take(&faults->dir_syncs, NULL) ? -EIO : 0;
}

static int
on_allocate(const char *path, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
    (void)path;
    if (atom_load_seq(&faults->no_allocate))
        return -EOPNOTSUPP;
    if (spend((uint64_t)len) < (uint64_t)len)
        return -ENOSPC;
    return fallocate((int)fi->fh, mode, off, len) ? -errno : 0;
}

/* --- all else is passed on -------------------------------------------------------------------- */

static void *
on_init(struct fuse_conn_info *conn, struct fuse_config *config)
{
    /* Asynchronous, and past the page cache (on_create), the kernel forgets that a write was to be durable. It also makes an error, or worse, of
     * one that is short. */
    if (!faults->forgets)
        conn->want &= ~(unsigned)FUSE_CAP_ASYNC_DIO;
    config->use_ino = 1;
    config->hard_remove = 1;
    config->attr_timeout = config->entry_timeout = config->negative_timeout = 0;
    return NULL;
}

static int
on_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    char room[PATH_MAX];

    return (fi ? fstat((int)fi->fh, st) : lstat(under(path, room), st)) ? -errno : 0;
}

static int
on_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    char room[PATH_MAX];
    int fd = open(under(path, room), (fi->flags & ~O_DIRECT) | O_CLOEXEC, mode);

    if (fd < 0)
        return -errno;
    fi->fh = (uint64_t)fd;
    /* Who only reads sees the disk, and not what a page cache has kept of a write that was lost. */
    fi->direct_io = faults->forgets || (fi->flags & O_ACCMODE) == O_RDONLY;
    return 0;
}

static int
on_open(const char *path, struct fuse_file_info *fi)
{
    return on_create(path, 0, fi);
}

static int
on_release(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    return close((int)fi->fh) ? -errno : 0;
}

static int
on_read(const char *path, char *buf, size_t len, off_t off, struct fuse_file_info *fi)
{
    ssize_t n = pread((int)fi->fh, buf, len, off);

    (void)path;
    return n < 0 ? -errno : (int)n;
}

static int
on_truncate(const char *path, off_t len, struct fuse_file_info *fi)
{
    char room[PATH_MAX];

    return (fi ? ftruncate((int)fi->fh, len) : truncate(under(path, room), len)) ? -errno : 0;
}

/* libfuse has its own idea of how many parameters a function can have. */
#define READDIR                                                                                    \
    const char *path, void *buf, fuse_fill_dir_t fill, off_t off, struct fuse_file_info *fi,       \
        enum fuse_readdir_flags flags

static int
on_readdir(READDIR)
{
    char room[PATH_MAX];
    DIR *dir = opendir(under(path, room));
    const struct dirent *e;

    (void)off;
    (void)fi;
    (void)flags;
    if (!dir)
        return -errno;
    while ((e = readdir(dir)))
        if (fill(buf, e->d_name, NULL, 0, 0))
            break;
    return closedir(dir) ? -errno : 0;
}

static int
on_mkdir(const char *path, mode_t mode)
{
    char room[PATH_MAX];

    return mkdir(under(path, room), mode) ? -errno : 0;
}

static int
on_unlink(const char *path)
{
    char room[PATH_MAX];

    forget(under(path, room));
    return unlink(room) ? -errno : 0;
}

static int
on_rmdir(const char *path)
{
    char room[PATH_MAX];

    return rmdir(under(path, room)) ? -errno : 0;
}

static int
on_rename(const char *from, const char *to, unsigned flags)
{
    char one[PATH_MAX], other[PATH_MAX];

    if (flags)
        return -EINVAL;
    forget(under(to, other));
    return rename(under(from, one), other) ? -errno : 0;
}

static int
on_statfs(const char *path, struct statvfs *st)
{
    char room[PATH_MAX];

    return statvfs(under(path, room), st) ? -errno : 0;
}

static int
serve(const char *at, int ready)
{
    static const struct fuse_operations ops = {
        .init = on_init,
        .getattr = on_getattr,
        .create = on_create,
        .open = on_open,
        .release = on_release,
        .read = on_read,
        .write = on_write,
        .fsync = on_sync,
        .fsyncdir = on_sync_dir,
        .fallocate = on_allocate,
        .truncate = on_truncate,
        .readdir = on_readdir,
        .mkdir = on_mkdir,
        .unlink = on_unlink,
        .rmdir = on_rmdir,
        .rename = on_rename,
        .statfs = on_statfs,
    };
    char *argv[] = {(char *)(uintptr_t) "faults", NULL};
    struct fuse_args args = FUSE_ARGS_INIT(1, argv);
    struct fuse *fuse = fuse_new(&args, &ops, sizeof ops, NULL);

    if (!fuse || fuse_mount(fuse, at))
        return 1;
    if (!world_is_served(ready))
        return 1;
    return fuse_loop(fuse);
}

int
faults_open(bool forgets, struct faults **ret, pid_t *ret_server)
{
    if (!faults)
        faults = world_shared(sizeof *faults);
    if (!faults)
        return -ENOMEM;
    memset(faults, 0, sizeof *faults);
    faults_clear(faults);
    faults->forgets = forgets;
    *ret = faults;
    if (mkdir(FAULTS_UNDER, 0700) && errno != EEXIST)
        return -errno;
    return world_serve(FAULTS_AT, serve, ret_server);
}

void
faults_close(pid_t *server)
{
    world_kill(server);
    (void)umount2(FAULTS_AT, MNT_DETACH);
}

void
faults_forgive(struct faults *f)
{
    for (uint32_t i = 0; i < f->files; i++)
        f->file[i].spoilt = 0;
    atom_store_seq(&f->again, 0);
}

void
faults_clear(struct faults *f)
{
    atom_store_seq(&f->writes, 0);
    atom_store_seq(&f->syncs, 0);
    atom_store_seq(&f->dir_syncs, 0);
    atom_store_seq(&f->shorts, 0);
    atom_store_seq(&f->delay_ms, 0);
    atom_store_seq(&f->no_allocate, 0);
    atom_store_seq(&f->budget, FAULTS_EVER);
}
