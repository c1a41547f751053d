/* recover.h - what a former daemon left of a topic, read, judged and made ready to go on.
 *
 *   0. owner      a directory of somebody else's is no log: it is not even locked
 *   1. fence      nobody has a file locked as its writer: the last writes of a dead daemon have landed
 *   2. look       names and headers; a newer version ends it here, nothing has been touched
 *   3. judge      segments without a sound header: never begun, or damaged
 *   4. link       each segment leads to the next: by its index, or by a walk
 *   5. walk       the last one, synced first; then the cursors file
 *   6. take       what is torn at the end is cut, and said; one that a reader has locked is left, and followed by a fresh one
 *   7. tidy       spares, indexes of nothing
 *
 * Only the last segment can be torn, because the one before is durable in full before it is begun.
 * Nothing but indexes is written before all of it has been judged; damage leaves everything as it
 * is. */
#ifndef DAEMON_RECOVER_H
#define DAEMON_RECOVER_H

#include "daemon/store_impl.h"

/* recover does what store_recover promises. */
int recover(const struct store_env *env, const char *name, uint64_t patience_ns,
            char why[STORE_WHY], struct store **ret);

#endif
