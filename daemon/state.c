#include "daemon/state.h"

#include <string.h>

#include "shm/testpoint.h"

enum ring_topic_state
state_get(const struct ring_view *v)
{
    /* acquire: TOPIC_STATE; the reason is read after it. */
    uint64_t state = atom_load_acquire(&ring_daemon(v)->state);

    return state <= RING_TOPIC_LOG_FAILED ? (enum ring_topic_state)state : RING_TOPIC_DAMAGED;
}

void
state_bump(struct ring_view *v)
{
    struct ring_control *c = ring_control(v);

    shm_event_bump(&c->sleep);
    shm_event_bump(&c->space);
    shm_event_bump(&c->durable_wait);
}

void
state_set(struct ring_view *v, enum ring_topic_state state, const char *reason)
{
    struct ring_daemon *d = ring_daemon(v);
    enum ring_topic_state now = state_get(v);
    size_t len = strnlen(reason, sizeof d->reason - 1);

    if (now == RING_TOPIC_REMOVED || (now == RING_TOPIC_DAMAGED && state != RING_TOPIC_REMOVED) ||
        (now == state && !strncmp(d->reason, reason, sizeof d->reason)))
        return;
    memcpy(d->reason, reason, len);
    memset(d->reason + len, 0, sizeof d->reason - len);
    atom_store_release(&d->state, state); /* release: TOPIC_STATE */
    TESTPOINT("state.set");
    state_bump(v);
}
