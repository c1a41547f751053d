/* watch.h - what the daemon looks after in a topic that works: its log, floors, laggards, and signs of damage. */
#ifndef DAEMON_WATCH_H
#define DAEMON_WATCH_H

#include "daemon/topic.h"

/* Floors are saved at most this often. */
#define WATCH_ACKS_NS 100000000ull

/* watch_init sets up a new topic's task and timers. watch_ask has it looked at once in this turn. watch_begin arms what
 * subscribers ring for, once the topic serves. watch_end undoes everything. */
void watch_init(struct topic *t);
void watch_begin(struct topic *t);
void watch_ask(struct topic *t);
void watch_end(struct topic *t);

/* watch_door looks whether what somebody who comes in goes by is still whole, and quarantines the topic if it is not. */
void watch_door(struct topic *t);

/* watch_save_floor takes over what a named cursor has acknowledged. */
void watch_save_floor(struct topic *t, uint32_t cursor);

/* The line of a named cursor that was closed, or whose owner died, keeps name and floor until another takes it: a daemon that dies
 * before it has saved the floor leaves it there to the next. watch_name_of copies a line's name, false: none. watch_inherit_floor
 * takes the floor of such a line over. watch_is_owed says whether it is still needed. */
bool watch_name_of(const struct topic *t, uint32_t cursor, char ret[LIMIT_SUB_NAME + 1]);
void watch_inherit_floor(struct topic *t, uint32_t cursor);
bool watch_is_owed(const struct topic *t, uint32_t cursor);

/* watch_saved writes into the cursor lines which floors have reached the disk. */
void watch_saved(struct topic *t);

#endif
