#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "daemon/io_impl.h"

#define FILE_MODE 0600
#define DIRECTORY_MODE 0700

/* Whether the file system would really go past the page cache, as far as it tells (Linux 6.1 and
 * later). Some accept O_DIRECT and write through the cache all the same; one that does not tell
 * is believed. */
static bool
direct_is_real(int fd)
{
    struct statx st;

    memset(&st, 0, sizeof(st));
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) || !(st.stx_mask & STATX_DIOALIGN))
        return true;
    return st.stx_dio_offset_align && st.stx_dio_offset_align <= IO_ALIGN &&
           st.stx_dio_mem_align <= IO_ALIGN;
}

/* O_DIRECT is set afterwards and not in open, which on some file systems creates the file and
 * then refuses. */
static bool
make_direct(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags >= 0 && direct_is_real(fd) && !fcntl(fd, F_SETFL, flags | O_DIRECT);
}

static int
open_flags(uint32_t flags)
{
    if (flags & IO_OPEN_DIRECTORY)
        return O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    return O_RDWR | O_NOFOLLOW | O_CLOEXEC | (flags & IO_OPEN_CREATE ? O_CREAT : 0) |
           (flags & IO_OPEN_EXCLUSIVE ? O_EXCL : 0) | (flags & IO_OPEN_TRUNCATE ? O_TRUNC : 0);
}

void
io__file_close(struct io *io, int fd)
{
    struct flock all = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

    (void)io;
    /* io_uring may keep a description for a while after its last request is done, until a worker of the kernel lets go of it: a
     * lock, of either kind, shall not wait for that. */
    (void)fcntl(fd, F_OFD_SETLK, &all);
    (void)flock(fd, LOCK_UN);
    close(fd);
}

int
io__file_make_directory(struct io *io, int dirfd, const char *name)
{
    (void)io;
    return mkdirat(dirfd, name, DIRECTORY_MODE) ? -errno : 0;
}

static int
lengthen(int fd, uint64_t size)
{
    struct stat st;

    if (fstat(fd, &st))
        return -errno;
    if ((uint64_t)st.st_size >= size)
        return 0;
    return ftruncate(fd, (off_t)size) ? -errno : 0;
}

int
io__file_allocate(struct io *io, int fd, uint64_t size)
{
    int r;

    (void)io;
    if (!size || size > INT64_MAX)
        return -EINVAL;
    do {
        r = fallocate(fd, 0, 0, (off_t)size) ? -errno : 0;
    } while (r == -EINTR);
    return r == -EOPNOTSUPP || r == -ENOSYS ? lengthen(fd, size) : r;
}

int
io__file_rename(struct io *io, int dirfd, const char *from, const char *to)
{
    (void)io;
    return renameat(dirfd, from, dirfd, to) ? -errno : 0;
}

/* A partition has no queue of its own; the link leads into the directory of its disk. */
static int
read_queue(dev_t dev, const char *what, char ret_text[16])
{
    static const char *const up[] = {"", "../"};
    char path[96];
    ssize_t n = -1;
    unsigned i;
    int fd;

    for (i = 0; i < 2 && n < 0; i++) {
        (void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/%s", major(dev),
                       minor(dev), up[i], what);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        n = read(fd, ret_text, 15);
        close(fd);
    }
    if (n < 0)
        return -ENODEV;
    ret_text[n] = '\0';
    return 0;
}

int
io__file_flushes(int fd)
{
    char cache[16], fua[16];
    struct stat st;

    if (fstat(fd, &st))
        return -errno;
    if (read_queue(st.st_dev, "write_cache", cache) || read_queue(st.st_dev, "fua", fua))
        return -ENODEV;
    return !strncmp(cache, "write back", 10) && fua[0] == '0';
}

/* A store lies on one device, so what the last file told holds for all. A device that does not tell is another machine's, or a
 * process's: beneath such file systems (FUSE, virtiofs) Linux takes RWF_DSYNC and forgets it, with direct writes that are asynchronous or
 * past its page cache, and only a sync is passed on. */
static void
note_device(struct io *io, int fd)
{
    struct stat st;

    if (fstat(fd, &st) || st.st_dev == io->device)
        return;
    io->device = st.st_dev;
    io->sync_after = io__file_flushes(fd) != 0;
}

int
io__file_open(struct io *io, int dirfd, const char *name, uint32_t flags, struct io_file *ret)
{
    int fd;

    do {
        fd = openat(dirfd, name, open_flags(flags), FILE_MODE);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return -errno;
    ret->direct = flags & IO_OPEN_DIRECT && make_direct(fd);
    ret->fd = fd;
    note_device(io, fd);
    return 0;
}
