#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int
shm_segment_create(const char *name, uint64_t size, uint64_t reserve, int *ret_fd)
{
    int fd, r;

    if (size > INT64_MAX || reserve > size)
        return -EINVAL;
    fd = shm_open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    r = ftruncate(fd, (off_t)size) ? -errno : shm_segment_reserve(fd, 0, reserve);
    if (r) {
        close(fd);
        shm_unlink(name);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

int
shm_segment_open(const char *name, bool writable, int *ret_fd, uint64_t *ret_size)
{
    uint64_t size;
    /* Whoever may write in /dev/shm may put a FIFO there, at which opening would wait. */
    int r, fd = shm_open(name, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    r = shm_segment_size(fd, &size);
    if (r) {
        close(fd);
        return r;
    }
    *ret_fd = fd;
    *ret_size = size;
    return 0;
}

int
shm_segment_size(int fd, uint64_t *ret_size)
{
    struct stat st;

    if (fstat(fd, &st))
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size < 0)
        return -EBADMSG;
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

int
shm_segment_reserve(int fd, uint64_t off, uint64_t len)
{
    int r;

    if (!len)
        return 0;
    do
        r = posix_fallocate(fd, (off_t)off, (off_t)len);
    while (r == EINTR);
    return -r;
}

int
shm_segment_map(int fd, uint64_t size, void **ret_base)
{
    void *base = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

    if (base == MAP_FAILED)
        return -errno;
    if (madvise(base, size, MADV_DONTFORK)) {
        int r = -errno;
        munmap(base, size);
        return r;
    }
    *ret_base = base;
    return 0;
}

int
shm_segment_writable(int fd, void *base, uint64_t off, uint64_t len)
{
    void *at = (char *)base + off;

    if (off % SHM_PAGE || len % SHM_PAGE)
        return -EINVAL;
    if (mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, (off_t)off) == MAP_FAILED)
        return -errno;
    return madvise(at, len, MADV_DONTFORK) ? -errno : 0;
}

void
shm_segment_populate(void *base, uint64_t off, uint64_t len, bool writable)
{
#if defined(MADV_POPULATE_WRITE)
    (void)madvise((char *)base + off, len, writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
#else
    (void)base, (void)off, (void)len, (void)writable;
#endif
}

void
shm_segment_unmap(void *base, uint64_t size)
{
    if (base)
        munmap(base, size);
}

int
shm_segment_remove(const char *name)
{
    return shm_unlink(name) ? -errno : 0;
}
