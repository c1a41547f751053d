/* access.h - who is at the other end of a socket, and what that user may do: by the kernel's word alone. */
#ifndef DAEMON_ACCESS_H
#define DAEMON_ACCESS_H

#include <stdbool.h>
#include <stdint.h>

/* A user, as the kernel knew it when the socket was connected. */
struct access_who {
    uint32_t pid, uid, gid;
    uint32_t *groups; /* owned; supplementary */
    uint32_t group_count;
};

enum access_want { ACCESS_SUBSCRIBE = 4, ACCESS_PUBLISH = 2 };

/* What a topic grants, as a file does: r is to subscribe, w to publish. */
struct access_rule {
    uint32_t uid, gid, mode;
};

/* access_read asks the kernel who connected. *ret_pidfd is a descriptor of that very process (SO_PEERPIDFD), or -1 where the
 * kernel has none to give (before 6.5): it must then be opened by pid. -ESRCH: who connected is gone, and the socket is in
 * other hands; -EACCES: the process cannot be seen from here (another pid namespace); -ENOMEM, -EMFILE. */
int access_read(int socket, struct access_who *ret, int *ret_pidfd);
void access_free(struct access_who *who);

/* access_is_ours: whether a file of this user can be believed: root's and the daemon's own user's can. */
bool access_is_ours(uint32_t uid);

/* access_is_master: root and the daemon's own user may do everything. */
bool access_is_master(const struct access_who *who);
bool access_in_group(const struct access_who *who, uint32_t gid);

/* access_may: whether all bits of `want` are granted; the first class that fits (owner, group, others) decides. */
bool access_may(const struct access_who *who, const struct access_rule *rule, uint32_t want);

#endif
