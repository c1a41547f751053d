#include "shm/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int
read_file(const char *path, char *buf, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = read(fd, buf, room - 1);
    if (n < 0)
        n = -errno;
    else
        buf[n] = '\0';
    close(fd);
    return (int)n;
}

/* /proc says the same of a process that is not there and of one that it hides (hidepid). */
static bool
exists(pid_t pid)
{
    int fd = shm_process_open(pid);

    if (fd >= 0)
        close(fd);
    return fd != -ESRCH;
}

int
shm_process_stat(pid_t pid, char text[SHM_PROCESS_STAT], const char **ret_state)
{
    char path[64];
    const char *end;
    int r;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    r = read_file(path, text, SHM_PROCESS_STAT);
    if (r == -ENOENT || r == -EPERM || r == -EACCES)
        return exists(pid) ? -EACCES : -ESRCH;
    if (r < 0)
        return r;
    /* The name, in parentheses, may itself hold spaces and parentheses: fields count from the last. */
    end = strrchr(text, ')');
    if (!end || end[1] != ' ')
        return -EBADMSG;
    *ret_state = end + 2;
    return 0;
}

int
shm_process_start(pid_t pid, uint64_t *ret_start)
{
    char text[SHM_PROCESS_STAT];
    const char *at;
    int r = shm_process_stat(pid, text, &at);

    if (r)
        return r;
    for (int field = 3; field < 22; field++) {
        at = strchr(at, ' ');
        if (!at)
            return -EBADMSG;
        at++;
    }
    *ret_start = strtoull(at, NULL, 10);
    return 0;
}

int
shm_process_boot_id(uint8_t ret[16])
{
    char buf[64];
    uint8_t id[16];
    int nibble = 0, r = read_file("/proc/sys/kernel/random/boot_id", buf, sizeof buf);

    if (r < 0)
        return r;
    memset(id, 0, sizeof id);
    for (const char *c = buf; *c && nibble < 32; c++) {
        const char *digits = "0123456789abcdef", *d = strchr(digits, *c);
        if (!d)
            continue;
        id[nibble / 2] = (uint8_t)(id[nibble / 2] << 4 | (d - digits));
        nibble++;
    }
    if (nibble != 32)
        return -EBADMSG;
    memcpy(ret, id, sizeof id);
    return 0;
}

int
shm_process_open(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);

    if (fd >= 0)
        return fd;
    return errno == EINVAL || errno == ENOENT ? -ESRCH : -errno;
}

int
shm_process_pidfd(pid_t pid, uint64_t start, int *ret_fd)
{
    uint64_t now;
    int r, fd = shm_process_open(pid);

    if (fd < 0)
        return fd;
    /* The pid cannot change hands while the descriptor is open and its process lives, so looking after
     * opening is conclusive. */
    r = shm_process_start(pid, &now);
    if (r == -EACCES || (!r && !start))
        r = 0;
    else if (!r && now != start)
        r = -ESRCH;
    if (r) {
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}
