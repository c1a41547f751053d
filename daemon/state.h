/* state.h - what a topic says of itself to everybody who maps it. */
#ifndef DAEMON_STATE_H
#define DAEMON_STATE_H

#include "ring/ring.h"

/* state_set writes reason and state of a topic and wakes everybody who sleeps on it, so that they see it. Setting what is
 * already set does nothing. REMOVED and DAMAGED are final: nothing else replaces them. */
void state_set(struct ring_view *v, enum ring_topic_state state, const char *reason);

/* state_get reads it back: an unknown one counts as RING_TOPIC_DAMAGED. */
enum ring_topic_state state_get(const struct ring_view *v);

/* state_bump wakes everybody who sleeps on a topic, whatever for: after a death, and after rare changes. */
void state_bump(struct ring_view *v);

#endif
