/* position.h - where in a topic somebody wants to be. */
#ifndef DAEMON_POSITION_H
#define DAEMON_POSITION_H

#include "daemon/topic.h"

/* position_oldest is the oldest sequence number that can be read from ring or log. */
uint64_t position_oldest(const struct topic *t);

/* position_find turns a wish into a sequence number in [oldest, tail]: AT_TIME gives the first message not before that
 * time. May read the log's index and one of its batches. */
int position_find(struct topic *t, enum wire_start start, uint64_t value, uint64_t *ret_seq);

#endif
