#include "daemon/access.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

static int
read_groups(int socket, struct access_who *who)
{
    socklen_t len = 0;

    /* Without room the kernel says how much it wants. */
    if (!getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) || errno != ERANGE || !len)
        return 0;
    who->groups = malloc(len);
    if (!who->groups)
        return -ENOMEM;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, who->groups, &len))
        return -errno;
    who->group_count = (uint32_t)(len / sizeof(gid_t));
    return 0;
}

/* -1 from a kernel that has no such answer (before 6.5). From one that has, the pid is nothing to fall back on: a peer that was
 * waited for has none any more, and a socket that outlived it would be booked on whoever has the pid now. */
static int
read_pidfd(int socket, int *ret_pidfd)
{
    int pidfd = -1;
    socklen_t len = sizeof pidfd;

    if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len)) {
        if (errno != ENOPROTOOPT)
            return errno == EINVAL ? -ESRCH : -errno;
        pidfd = -1;
    }
    *ret_pidfd = pidfd;
    return 0;
}

int
access_read(int socket, struct access_who *ret, int *ret_pidfd)
{
    struct ucred cred;
    socklen_t len = sizeof cred;
    struct access_who who;
    int pidfd = -1, r;

    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &cred, &len))
        return -errno;
    if (cred.pid <= 0)
        return -EACCES;
    who = (struct access_who){.pid = (uint32_t)cred.pid, .uid = cred.uid, .gid = cred.gid};
    r = read_groups(socket, &who);
    if (!r)
        r = read_pidfd(socket, &pidfd);
    if (r) {
        access_free(&who);
        return r;
    }
    *ret = who;
    *ret_pidfd = pidfd;
    return 0;
}

void
access_free(struct access_who *who)
{
    free(who->groups);
    who->groups = NULL;
    who->group_count = 0;
}

bool
access_is_ours(uint32_t uid)
{
    return uid == 0 || uid == geteuid();
}

bool
access_is_master(const struct access_who *who)
{
    return access_is_ours(who->uid);
}

bool
access_in_group(const struct access_who *who, uint32_t gid)
{
    if (who->gid == gid)
        return true;
    for (uint32_t i = 0; i < who->group_count; i++)
        if (who->groups[i] == gid)
            return true;
    return false;
}

bool
access_may(const struct access_who *who, const struct access_rule *rule, uint32_t want)
{
    uint32_t bits = rule->mode;

    if (access_is_master(who))
        return true;
    if (who->uid == rule->uid)
        bits >>= 6;
    else if (access_in_group(who, rule->gid))
        bits >>= 3;
    return (bits & want) == want;
}
