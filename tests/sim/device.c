#define FUSE_USE_VERSION 314
#include "tests/sim/device.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/base.h"

#define INODE 2
#define SECTOR 512u
#define BLOCK 4096u

static struct device *disk;

/* --- requests --------------------------------------------------------------------------------- */

/* Whether the disk has power for one more change; leave() says that it is made. */
static bool
enter(void)
{
    uint64_t left = atom_load_seq(&disk->countdown);

    atom_store_seq(&disk->busy, 1);
    if (left) {
        atom_store_seq(&disk->countdown, left - 1);
        if (left == 1)
            atom_store_seq(&disk->off, 1);
    }
    if (!atom_load_seq(&disk->off)) {
        disk->requests++;
        return true;
    }
    atom_store_seq(&disk->busy, 0);
    return false;
}

static void
leave(void)
{
    atom_store_seq(&disk->busy, 0);
}

static void
settle(void)
{
    for (uint32_t i = 0; i < disk->writes; i++) {
        const struct device_write *w = &disk->write[i];
        memcpy(disk->sure + w->off, disk->cache + w->at, w->len);
    }
    disk->writes = 0;
    disk->used = 0;
}

static void
take(struct fuse_bufvec *from, size_t len, uint64_t off)
{
    struct fuse_bufvec to = FUSE_BUFVEC_INIT(len);

    /* A cache that is full writes to the disk of its own accord. */
    if (disk->writes == DEVICE_WRITES || len > DEVICE_CACHE - disk->used)
        settle();
    to.buf[0].mem = disk->cache + disk->used;
    (void)fuse_buf_copy(&to, from, 0);
    memcpy(disk->now + off, disk->cache + disk->used, len);
    disk->write[disk->writes++] = (struct device_write){off, len, disk->used};
    disk->used += len;
}

static void
on_write(fuse_req_t req, fuse_ino_t ino, struct fuse_bufvec *from, off_t off,
         struct fuse_file_info *fi)
{
    size_t len = fuse_buf_size(from);

    (void)ino;
    (void)fi;
    if (off < 0 || (uint64_t)off > DEVICE_SIZE || len > DEVICE_SIZE - (uint64_t)off) {
        (void)fuse_reply_err(req, ENOSPC);
        return;
    }
    if (!enter()) {
        (void)fuse_reply_err(req, EIO);
        return;
    }
    take(from, len, (uint64_t)off);
    leave();
    (void)fuse_reply_write(req, len);
}

static void
on_sync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    (void)ino;
    (void)datasync;
    (void)fi;
    if (!enter()) {
        (void)fuse_reply_err(req, EIO);
        return;
    }
    if (!disk->lies)
        settle();
    disk->syncs++;
    leave();
    (void)fuse_reply_err(req, 0);
}

static void
on_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t off, struct fuse_file_info *fi)
{
    (void)ino;
    (void)fi;
    if (atom_load_seq(&disk->off)) {
        (void)fuse_reply_err(req, EIO);
        return;
    }
    if (off < 0 || (uint64_t)off >= DEVICE_SIZE)
        len = 0;
    else if (len > DEVICE_SIZE - (uint64_t)off)
        len = DEVICE_SIZE - (size_t)off;
    (void)fuse_reply_buf(req, len ? (const char *)disk->now + off : NULL, len);
}

/* --- one file --------------------------------------------------------------------------------- */

static struct stat
describe(fuse_ino_t ino)
{
    struct stat st = {.st_ino = ino, .st_nlink = 1, .st_blksize = BLOCK};

    st.st_mode = ino == INODE ? S_IFREG | 0600 : S_IFDIR | 0700;
    st.st_size = ino == INODE ? (off_t)DEVICE_SIZE : 0;
    return st;
}

static void
on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param e = {
        .ino = INODE, .attr = describe(INODE), .attr_timeout = 3600, .entry_timeout = 3600};

    if (parent != FUSE_ROOT_ID || strcmp(name, "disk") != 0)
        (void)fuse_reply_err(req, ENOENT);
    else
        (void)fuse_reply_entry(req, &e);
}

static void
on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st = describe(ino);

    (void)fi;
    (void)fuse_reply_attr(req, &st, 3600);
}

/* Past the page cache, which would hide what is certain. */
static void
on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    fi->direct_io = 1;
    (void)atom_add_seq(&disk->users, 1);
    (void)fuse_reply_open(req, fi);
}

static void
on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    (void)fi;
    (void)atom_add_seq(&disk->users, (uint64_t)-1);
    (void)fuse_reply_err(req, 0);
}

static int
serve(const char *at, int ready)
{
    static const struct fuse_lowlevel_ops ops = {.lookup = on_lookup,
                                                 .getattr = on_getattr,
                                                 .open = on_open,
                                                 .release = on_release,
                                                 .read = on_read,
                                                 .write_buf = on_write,
                                                 .fsync = on_sync};
    char *argv[] = {(char *)(uintptr_t) "device", NULL};
    struct fuse_args args = FUSE_ARGS_INIT(1, argv);
    struct fuse_session *session = fuse_session_new(&args, &ops, sizeof ops, NULL);

    if (!session || fuse_session_mount(session, at))
        return 1;
    if (!world_is_served(ready))
        return 1;
    return fuse_session_loop(session);
}

/* --- the driver's side ------------------------------------------------------------------------ */

int
device_open(struct device **ret, pid_t *ret_server)
{
    disk = world_shared(sizeof *disk);
    if (!disk)
        return -ENOMEM;
    *ret = disk;
    return world_serve(DEVICE_AT, serve, ret_server);
}

void
device_cut(struct device *d)
{
    atom_store_seq(&d->off, 1);
    while (atom_load_seq(&d->busy))
        ;
}

void
device_arm(struct device *d, uint64_t n)
{
    atom_store_seq(&d->countdown, n);
}

static bool
is_superblock(const struct device_write *w, const uint8_t *bytes)
{
    static const uint8_t journal[] = {0xc0, 0x3b, 0x39, 0x98, 0, 0, 0};

    return w->off < BLOCK || (w->len >= 8 && !memcmp(bytes, journal, sizeof journal) &&
                              (bytes[7] == 3 || bytes[7] == 4));
}

/* Devices write a sector or they do not. One that is written again with what certainly was in it keeps that; only one that gets new content, from
 * its beginning on, can hold garbage. */
static void
spoil(uint8_t *sector, const uint8_t *written, struct prng *random)
{
    static const uint8_t zeros[SECTOR];

    if (memcmp(sector, zeros, SECTOR) && !memcmp(sector, written, sizeof(uint64_t)))
        return;
    for (uint32_t at = 0; at < SECTOR; at += sizeof(uint64_t)) {
        uint64_t word = prng_next(random);
        memcpy(sector + at, &word, sizeof word);
    }
}

static void
tear(struct device *d, const struct device_write *w, struct prng *random)
{
    uint64_t grain = prng_below(random, 2) ? SECTOR : BLOCK;
    uint64_t bad = prng_below(random, w->len / SECTOR + 1) * SECTOR;

    for (uint64_t at = 0; at < w->len; at += grain) {
        uint64_t len = shm_min(grain, w->len - at);
        if (bad >= at && bad < at + len)
            spoil(d->sure + w->off + bad, d->cache + w->at + bad, random);
        else if (prng_below(random, 2))
            memcpy(d->sure + w->off + at, d->cache + w->at + at, len);
    }
}

/* Each cut has a temper: how much is lost, of a hundred, and how much torn. */
static const struct {
    uint32_t lost, torn;
} tempers[] = {{100, 0}, {0, 0}, {10, 0}, {50, 0}, {90, 5}, {30, 40}};

struct device_cut
device_power(struct device *d, struct prng *random)
{
    uint64_t temper = prng_below(random, sizeof tempers / sizeof *tempers);
    struct device_cut cut = {.writes = d->writes};

    for (uint32_t i = 0; i < d->writes; i++) {
        uint32_t other = i + (uint32_t)prng_below(random, shm_min(d->writes - i, 8));
        struct device_write w = d->write[other];
        uint64_t fate = prng_below(random, 100);
        d->write[other] = d->write[i];
        if (fate < tempers[temper].lost) {
            cut.lost++;
        } else if (fate < tempers[temper].lost + tempers[temper].torn &&
                   !is_superblock(&w, d->cache + w.at)) {
            cut.torn++;
            tear(d, &w, random);
        } else {
            memcpy(d->sure + w.off, d->cache + w.at, w.len);
        }
    }
    d->writes = 0;
    d->used = 0;
    memcpy(d->now, d->sure, sizeof d->now);
    atom_store_seq(&d->countdown, 0);
    atom_store_seq(&d->off, 0);
    return cut;
}

int
device_attach(char ret_name[32])
{
    struct loop_config config = {.block_size = SECTOR,
                                 .info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO};
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), fd = -1, n, r = -EBUSY;
    int file = open(DEVICE_FILE, O_RDWR | O_CLOEXEC);

    if (control < 0 || file < 0)
        r = -errno;
    config.fd = (uint32_t)file;
    /* Another test may take the same one. */
    for (unsigned tries = 0; r == -EBUSY && tries < 100; tries++) {
        n = ioctl(control, LOOP_CTL_GET_FREE);
        (void)snprintf(ret_name, 32, "/dev/loop%d", n);
        fd = n < 0 ? -1 : open(ret_name, O_RDWR | O_CLOEXEC);
        r = fd < 0 || ioctl(fd, LOOP_CONFIGURE, &config) ? -errno : 0;
        if (r && fd >= 0)
            (void)close(fd);
    }
    if (file >= 0)
        (void)close(file);
    if (control >= 0)
        (void)close(control);
    return r ? r : fd;
}
