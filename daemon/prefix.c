#include "daemon/prefix.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/access.h"
#include "daemon/bus.h"
#include "daemon/lock.h"
#include "daemon/report.h"
#include "shm/name.h"

/* How often somebody else's guard is taken away at one start. */
#define TRIES 40

int
prefix_of_socket(const char *socket, char ret[LIMIT_SHM_PREFIX])
{
    char dir[CONFIG_SOCKET], real[PATH_MAX], path[PATH_MAX + CONFIG_SOCKET];
    const char *base = strrchr(socket, '/') + 1;

    (void)snprintf(dir, sizeof dir, "%.*s", (int)(base - socket), socket);
    if (!realpath(dir, real))
        return -errno;
    (void)snprintf(path, sizeof path, "%s/%s", real, base);
    shm_name_prefix(path, ret);
    return 0;
}

static void
guard_of(const char *prefix, char ret[PATH_MAX])
{
    (void)snprintf(ret, PATH_MAX, "/dev/shm/%s" BUS_GUARD, prefix);
}

/* Takes away what another user has put in the guard's place. A directory of his need not be empty. */
static bool
clear_away(const char *path)
{
    char aside[PATH_MAX];
    struct stat st;
    int r;

    if (lstat(path, &st) || access_is_ours(st.st_uid))
        return false;
    (void)snprintf(aside, sizeof aside, "%.200s.%016" PRIx64, path, bus_random());
    r = S_ISDIR(st.st_mode) ? rename(path, aside) : unlink(path);
    if (r)
        return false;
    report_warning("%s was made by user %u, and is taken away", path, st.st_uid);
    return true;
}

/* Whether another user's guard is held by a process of that user: his daemon's, as far as anybody can tell. Its rings are
 * living, and to go on beside it would be to take them away. */
static bool
is_served(const char *path, const char *prefix, char why[WHY_ROOM])
{
    struct stat st;
    int pid;

    if (lock_holder(path, &pid) || lstat(path, &st))
        return false;
    why_text(why, "another leatd (pid %d, of user %u) serves prefix %s", pid, st.st_uid, prefix);
    return true;
}

/* The daemon writes in its guard: a second name would be somebody's way to have it write elsewhere. */
static int
check_names(int fd, const char *path, char why[WHY_ROOM])
{
    struct stat st;

    if (fstat(fd, &st))
        return why_set(why, -errno, "cannot look at %s: %s", path, strerror(errno));
    if (st.st_nlink > 1)
        return why_set(why, -EPERM, "%s is a file that has other names, and is no lock of ours",
                       path);
    return 0;
}

int
prefix_take(const char *prefix, bool clear, int *ret_fd, char why[WHY_ROOM])
{
    char path[PATH_MAX], what[LIMIT_SHM_PREFIX + 16];
    int fd, r;

    guard_of(prefix, path);
    (void)snprintf(what, sizeof what, "prefix %s", prefix);
    r = lock_take(path, what, &fd, why);
    if (r == -EPERM && clear && is_served(path, prefix, why))
        return -EBUSY;
    /* Its maker may be quick to make it again. */
    for (int i = 0; i < TRIES && r == -EPERM && clear && clear_away(path); i++)
        r = lock_take(path, what, &fd, why);
    if (r)
        return r;
    r = check_names(fd, path, why);
    if (r) {
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

void
prefix_give_up(const char *prefix, int *fd)
{
    char path[PATH_MAX];

    guard_of(prefix, path);
    lock_remove(path, fd);
}
