/* attach.h - handing out publishers and cursors, and taking them back from who closes them. */
#ifndef DAEMON_ATTACH_H
#define DAEMON_ATTACH_H

#include "daemon/process.h"
#include "daemon/topic.h"

/* Who asks. */
struct attach_asker {
    const struct access_who *who;
    struct process *process;
    uint64_t session; /* number of the session that is answered */
};

/* attach_publisher gives a free publisher of the topic to the asker, its lane reserved: index and generation go into the answer.
 * -EACCES, -EBUSY (max_publishers), -ENOSPC. attach_cursor gives a cursor: -EACCES, -EINVAL (the topic does not offer the
 * kind), -EBUSY (max_subscribers; or a living process has the name). Texts in answer->text. */
int attach_publisher(struct topic *t, const struct attach_asker *asker, struct wire_answer *answer);
int attach_cursor(struct topic *t, const struct attach_asker *asker,
                  const struct wire_sub_open *request, struct wire_answer *answer);

/* attach_close_publisher and _cursor take a seat back from its owner. -ENOENT: it is not the asker's (any more). */
int attach_close_publisher(struct topic *t, const struct process *p,
                           const struct wire_handle *request, char why[WHY_ROOM]);
int attach_close_cursor(struct topic *t, const struct process *p, const struct wire_handle *request,
                        char why[WHY_ROOM]);

/* attach_forget removes a named subscription that nobody has open. -ENOENT, -EBUSY. */
int attach_forget(struct topic *t, const char *name, char why[WHY_ROOM]);

#endif
