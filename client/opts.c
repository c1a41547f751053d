#include "client/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/name.h"

#define SYSTEM_SOCKET "/run/leat/bus"
#define OPTIONS_MOST 65536 /* of any version ever */

int
leat__options(void *ret, uint32_t room, const void *given)
{
    const unsigned char *from = given;
    uint32_t size = room;

    if (given) {
        memcpy(&size, given, sizeof size);
        if (size < 2 * sizeof(uint32_t))
            return -EINVAL;
        if (size > OPTIONS_MOST)
            return -E2BIG;
        for (uint32_t i = room; i < size; i++)
            if (from[i])
                return -E2BIG;
    }
    memset(ret, 0, room);
    if (given)
        memcpy(ret, given, shm_min(size, room));
    memcpy(ret, &room, sizeof room);
    return 0;
}

static int
absolute(const char *path, char ret[LEAT__PATH])
{
    char here[LEAT__PATH];
    int n;

    if (path[0] == '/') {
        n = snprintf(ret, LEAT__PATH, "%s", path);
    } else {
        if (!getcwd(here, sizeof here))
            return errno == ERANGE ? -ENAMETOOLONG : -errno;
        n = snprintf(ret, LEAT__PATH, "%s/%s", here, path);
    }
    return n < 0 || n >= LEAT__PATH ? -ENAMETOOLONG : 0;
}

int
leat__user_path(char ret[LEAT__PATH])
{
    const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
    char folder[64];
    struct stat st;
    int n;

    if (runtime && runtime[0] == '/') {
        n = snprintf(ret, LEAT__PATH, "%s/leat/bus", runtime);
        return n < 0 || n >= LEAT__PATH ? -ENAMETOOLONG : 0;
    }
    /* Anybody can make folders in /tmp: one of another user is a trap. */
    (void)snprintf(folder, sizeof folder, "/tmp/leat-%u", (unsigned)geteuid());
    if (!lstat(folder, &st) && (!S_ISDIR(st.st_mode) || st.st_uid != geteuid()))
        return -EPERM;
    (void)snprintf(ret, LEAT__PATH, "%s/bus", folder);
    return 0;
}

int
leat__bus_path(const char *given, char ret[LEAT__PATH], bool *ret_mine)
{
    char mine[LEAT__PATH];
    int r;

    if (!given)
        given = secure_getenv("LEAT_BUS");
    if (given && given[0]) {
        *ret_mine = false;
        return absolute(given, ret);
    }
    r = leat__user_path(mine);
    if (r)
        return r;
    *ret_mine = !access(mine, F_OK) || access(SYSTEM_SOCKET, F_OK) != 0;
    memcpy(ret, mine, sizeof mine);
    if (!*ret_mine)
        memcpy(ret, SYSTEM_SOCKET, sizeof SYSTEM_SOCKET);
    return 0;
}

int
leat__topic_name(struct leat_bus *bus, const char *name)
{
    const char *wrong;

    if (!name)
        return leat__fail(bus, -EINVAL, "the topic's name is NULL");
    wrong = shm_name_check(name);
    if (wrong)
        return leat__fail(bus, -EINVAL, "topic name '%.200s' %s", name, wrong);
    return 0;
}
