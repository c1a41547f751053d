#include "daemon/prefix.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/lock.h"
#include "shm/name.h"

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

int
prefix_take(const char *prefix, int *ret_fd, char why[WHY_ROOM])
{
    char path[PATH_MAX], what[LIMIT_SHM_PREFIX + 16];

    guard_of(prefix, path);
    (void)snprintf(what, sizeof what, "prefix %s", prefix);
    return lock_take(path, what, ret_fd, why);
}

void
prefix_give_up(const char *prefix, int *fd)
{
    char path[PATH_MAX];

    guard_of(prefix, path);
    lock_remove(path, fd);
}
