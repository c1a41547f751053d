#include "daemon/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/access.h"
#include "shm/process.h"

/* Who asks whether a daemon is there holds the lock for a moment: so long it is tried again. The kernel closes the files of a
 * killed process after its end, one after the other, and may have to wait for the disk: a dead holder gets more time. */
#define TRY_AGAIN_NS 5000000L
#define TRIES 40
#define TRIES_DEAD 2000

static int
read_pid(int fd)
{
    char text[256];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    long pid;

    if (n <= 0)
        return 0;
    text[n] = '\0';
    if (strncmp(text, "pid ", 4) != 0)
        return 0;
    pid = strtol(text + 4, NULL, 10);
    return pid > 0 && pid <= INT32_MAX ? (int)pid : 0;
}

static bool
has_ended(int pid)
{
    struct pollfd p = {.fd = shm_process_open(pid), .events = POLLIN};
    bool ended;

    if (p.fd < 0)
        return p.fd == -ESRCH;
    ended = poll(&p, 1, 0) == 1;
    close(p.fd);
    return ended;
}

/* Locks, with patience: 0, -EWOULDBLOCK, or another error. */
static int
lock_patiently(int fd)
{
    const struct timespec pause = {.tv_nsec = TRY_AGAIN_NS};

    for (int i = 0;; i++) {
        int pid;
        if (!flock(fd, LOCK_EX | LOCK_NB))
            return 0;
        if (errno != EWOULDBLOCK)
            return -errno;
        pid = read_pid(fd);
        if (i >= (pid && has_ended(pid) ? TRIES_DEAD : TRIES))
            return -EWOULDBLOCK;
        (void)nanosleep(&pause, NULL);
    }
}

/* Whether the file that was locked still stands there: who gives a lock up for good removes it while he has it. */
static bool
is_there(int fd, const char *path)
{
    struct stat mine, now;

    return !fstat(fd, &mine) && !lstat(path, &now) && mine.st_dev == now.st_dev &&
           mine.st_ino == now.st_ino;
}

/* In a directory that anybody may write to anybody can have put it there, and have it locked. */
static int
check_owner(const struct stat *st, const char *path, char why[WHY_ROOM])
{
    if (access_is_ours(st->st_uid))
        return 0;
    return why_set(why, -EPERM, "%.200s belongs to user %u, and is no lock of ours", path,
                   st->st_uid);
}

static int
check_opened(int fd, const char *path, char why[WHY_ROOM])
{
    struct stat st;

    if (fstat(fd, &st))
        return why_set(why, -errno, "cannot look at %.200s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return why_set(why, -EINVAL, "%.200s is no file", path);
    return check_owner(&st, path, why);
}

static int
lock(int fd, const char *path, const char *what, char why[WHY_ROOM])
{
    int r = lock_patiently(fd);

    if (r == -EWOULDBLOCK)
        return why_set(why, -EBUSY, "another leatd (pid %d) serves %.200s", read_pid(fd), what);
    if (r)
        return why_set(why, r, "cannot lock %.200s: %s", path, strerror(-r));
    if (!is_there(fd, path))
        return why_set(why, -EAGAIN, "%.200s is taken away again and again", path);
    return 0;
}

static int
take(const char *path, const char *what, int *ret_fd, char why[WHY_ROOM])
{
    struct stat st;
    int fd, r = lstat(path, &st) ? 0 : check_owner(&st, path, why);

    /* Asked before, because the kernel may refuse to open such a one, and does not say why. */
    if (r)
        return r;
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return why_set(why, -errno, "cannot open %.200s: %s", path, strerror(errno));
    r = check_opened(fd, path, why);
    if (!r)
        r = lock(fd, path, what, why);
    if (r) {
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

int
lock_take(const char *path, const char *what, int *ret_fd, char why[WHY_ROOM])
{
    int r = -EAGAIN;

    for (int i = 0; r == -EAGAIN && i < TRIES; i++)
        r = take(path, what, ret_fd, why);
    return r;
}

void
lock_remove(const char *path, int *fd)
{
    if (*fd < 0)
        return;
    (void)unlink(path);
    close(*fd);
    *fd = -1;
}

int
lock_write(int fd, const char *text)
{
    size_t len = strlen(text);

    if (ftruncate(fd, 0))
        return -errno;
    return pwrite(fd, text, len, 0) == (ssize_t)len ? 0 : -EIO;
}

/* Who can write a lock's file can name any process in it, for root to stop: only one of his own is believed. */
static int
check_holder(int fd, int pid)
{
    struct stat file, process;
    char path[32];

    (void)snprintf(path, sizeof path, "/proc/%d", pid);
    if (fstat(fd, &file))
        return -errno;
    if (stat(path, &process))
        return errno == ENOENT ? -ESRCH : -errno;
    return file.st_uid == process.st_uid ? 0 : -EPERM;
}

int
lock_holder(const char *path, int *ret_pid)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), pid, r;

    if (fd < 0)
        return -errno;
    if (!flock(fd, LOCK_SH | LOCK_NB)) {
        r = -ESRCH;
    } else if (errno == EWOULDBLOCK) {
        pid = read_pid(fd);
        r = pid ? check_holder(fd, pid) : -EBADMSG;
        if (!r)
            *ret_pid = pid;
    } else {
        r = -errno;
    }
    close(fd);
    return r;
}
