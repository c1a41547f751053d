/* stop.h - ending another leatd, and taking away what it left in shared memory. */
#ifndef DAEMON_STOP_H
#define DAEMON_STOP_H

#include "daemon/config.h"

/* stop_daemon stops the daemon that serves the configured socket, and waits until it has ended; with `purge` also removes the
 * bus's rings from shared memory, whether a daemon was there or not. Says what it did. 0 or a negative errno (reported):
 * -ESRCH nobody was there to be stopped (fine with purge). */
int stop_daemon(const struct config *c, bool purge);

#endif
