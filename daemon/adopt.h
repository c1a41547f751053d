/* adopt.h - taking over what a former daemon left, before anybody is served.
 *
 * Every topic whose objects are in shared memory is mapped, checked, settled and gets back its publishers and cursors, which
 * stand there with their owners' pid and start time. Then every log in the store: one whose ring is there goes on with
 * it; one without (after a reboot) gets a new ring that begins behind the last recovered message. What is damaged or
 * of another version is set aside with a reason, and the others start. A log that a disk in trouble does not let us read is tried
 * again after a second, two, four and so on to half a minute, one topic a turn of the loop; its topic waits meanwhile, in the
 * state "log failed". The start waits for a dead daemon's last writes, a later try does not. */
#ifndef DAEMON_ADOPT_H
#define DAEMON_ADOPT_H

#include "daemon/topic.h"

/* adopt_all does it. Negative only when nothing can work: the directories cannot be read, -ENOMEM. */
int adopt_all(struct bus *bus, char why[WHY_ROOM]);

#endif
