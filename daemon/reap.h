/* reap.h - after a death: publishers are settled, cursors freed, sleepers woken (I4). */
#ifndef DAEMON_REAP_H
#define DAEMON_REAP_H

#include "daemon/topic.h"

/* reap_process takes everything back that a dead process had, in every topic. */
void reap_process(struct process *p);

/* reap_session takes back what was handed out over a session that ends, or by a former daemon (0), and its process has not
 * claimed, or gave back: it never read the answer, or its close reached nobody. One that was just about to claim is told
 * -ESTALE, and asks again. */
void reap_session(struct bus *bus, uint64_t session);

/* reap_publisher and reap_cursor take one seat back, for a death or a close. A publisher's seat is free once the orphan rule
 * has passed; reap_settle runs it and comes back by timer while somebody who lives is still at work. */
void reap_publisher(struct topic *t, uint32_t i);
void reap_cursor(struct topic *t, uint32_t i);
void reap_settle(struct topic *t);

#endif
