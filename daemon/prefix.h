/* prefix.h - what the names of a bus's objects in /dev/shm begin with, and who may serve and remove them.
 *
 * One that is made from a socket's path belongs to whoever has that socket's guard. One that the configuration chose may be
 * another socket's as well: it has a guard of its own. That lies among the objects, which is the one place that is the same for
 * all who can meet those: daemons of several users, with several sockets, have no other directory in common that they can write
 * in. Anybody can write in it, so what another user put there is not believed. */
#ifndef DAEMON_PREFIX_H
#define DAEMON_PREFIX_H

#include "daemon/config.h"
#include "daemon/why.h"

/* prefix_of_socket makes one from the socket's real place, so that two spellings of one path are one bus. -errno: its
 * directory cannot be resolved. */
int prefix_of_socket(const char *socket, char ret[LIMIT_SHM_PREFIX]);

/* prefix_take locks the guard of a chosen prefix. -EBUSY: another daemon serves it, and `why` says which. -EPERM: the guard is
 * another user's, or a second name of something else; with `clear`, which is for who is to serve, the former is taken away
 * instead, where the system lets us: it does not let one who is not root. */
int prefix_take(const char *prefix, bool clear, int *ret_fd, char why[WHY_ROOM]);

/* prefix_give_up unlocks it and takes its file away. */
void prefix_give_up(const char *prefix, int *fd);

#endif
