/* prefix.h - what the names of a bus's objects in /dev/shm begin with, and who may serve and remove them.
 *
 * One that is made from a socket's path belongs to whoever has that socket's guard. One that the configuration chose may be
 * another socket's as well: it has a guard of its own, and among the objects, because whoever can meet those can see it there. */
#ifndef DAEMON_PREFIX_H
#define DAEMON_PREFIX_H

#include "daemon/config.h"
#include "daemon/why.h"

/* prefix_of_socket makes one from the socket's real place, so that two spellings of one path are one bus. -errno: its
 * directory cannot be resolved. */
int prefix_of_socket(const char *socket, char ret[LIMIT_SHM_PREFIX]);

/* prefix_take locks the guard of a chosen prefix. -EBUSY: another daemon serves it, and `why` says which. */
int prefix_take(const char *prefix, int *ret_fd, char why[WHY_ROOM]);

/* prefix_give_up unlocks it and takes its file away. */
void prefix_give_up(const char *prefix, int *fd);

#endif
