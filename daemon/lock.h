/* lock.h - one daemon per bus, one per store: a locked file that says who. The lock lasts as long as the descriptor, so it
 * cannot outlive its process; what the file says does, for the inspector. */
#ifndef DAEMON_LOCK_H
#define DAEMON_LOCK_H

#include "daemon/why.h"

/* lock_take opens (makes, for its owner alone: who can open a file can lock it) and locks the file `path`. -EBUSY: somebody has
 * it, and `why` says who, as `what` ("socket /run/...") is held. -EPERM: what stands there belongs to another user, who is not
 * root, and it is neither locked nor believed. */
int lock_take(const char *path, const char *what, int *ret_fd, char why[WHY_ROOM]);

/* lock_remove gives a lock up for good: the file goes as well. */
void lock_remove(const char *path, int *fd);

/* lock_write replaces the content of a taken lock file. */
int lock_write(int fd, const char *text);

/* lock_holder reads a lock file: the pid of the daemon that has it locked now. -ESRCH: nobody has; -ENOENT; -EPERM: that process is
 * not of the user whose file it is. */
int lock_holder(const char *path, int *ret_pid);

#endif
