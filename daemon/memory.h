/* memory.h - the two shared-memory objects of one topic, as the daemon holds them.
 *
 * Of the data object the daemon maps lanes read-only and everything before them writable; the control object is all
 * writable. Both maps are watched by fault.h. Three descriptors are kept to be handed out: data writable, data
 * read-only, control. What was written last when an object was made, the magic, tells a whole one from one whose maker was
 * killed. One thread. */
#ifndef DAEMON_MEMORY_H
#define DAEMON_MEMORY_H

#include "daemon/fault.h"
#include "daemon/why.h"
#include "ring/ring.h"

struct memory {
    struct ring_view view;
    int data_rw, data_ro, control;
    struct fault_range data_range, control_range;
};

/* memory_create makes, reserves and formats both objects. `geo` has been planned. -EEXIST, -ENOSPC (`why` has the
 * numbers), -EMFILE, -ENOMEM: nothing is left then. The struct must stay where it is until memory_close. */
int memory_create(const char *prefix, const struct ring_geometry *geo,
                  const struct ring_identity *who, struct memory *ret, char why[WHY_ROOM]);

/* memory_is_foreign says whether one of a topic's objects belongs to another user than the daemon's. Anybody may put anything into
 * /dev/shm, and goes on writing to it; what is our own nobody else can exchange there, because the directory is sticky. */
bool memory_is_foreign(const char *prefix, const char *name);

/* memory_adopt opens what a former daemon left. -ENOENT: there is nothing, or only what nobody ever got to see (half made, half
 * removed, or of a former boot), which it takes away; -EPROTONOSUPPORT: of another version, `why` names both, nothing is touched;
 * -EBADMSG: damaged, nothing is touched. */
int memory_adopt(const char *prefix, const char *name, const uint8_t boot_id[16],
                 struct memory *ret, char why[WHY_ROOM]);

/* memory_reserve_lane makes publisher i's lane safe to touch, once. -ENOSPC. */
int memory_reserve_lane(struct memory *m, uint32_t i);

/* memory_left says how many bytes /dev/shm has left. */
uint64_t memory_left(void);

/* memory_bytes is how much shared memory a topic of this geometry takes with n lanes reserved. */
uint64_t memory_bytes(const struct ring_geometry *geo, uint32_t lanes);

/* Why a topic whose pages somebody took away is quarantined. */
#define MEMORY_TRUNCATED "a part of its shared memory was taken away (truncated)"

/* memory_is_hit: some of it was taken away (fault.h). */
bool memory_is_hit(const struct memory *m);

/* memory_check looks at what clients go by when they come in, the sizes and headers of both objects: NULL, or what has become of
 * them, in words. */
const char *memory_check(struct memory *m);

/* memory_close unmaps and closes; memory_remove takes the names away: maps and descriptors of others live on. */
void memory_close(struct memory *m);
void memory_remove(const char *prefix, const char *name);

/* memory_list calls `found` with the name of each topic that has an object under this prefix. */
int memory_list(const char *prefix, void (*found)(void *user, const char *name), void *user);

#endif
