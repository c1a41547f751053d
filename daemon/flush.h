/* flush.h - the log writer: follows the ring as its cursor 0 and puts what is committed into the
 * open segment, a batch at a time.
 *
 *     slots --copy--> staging buffer: a batch --write--> in flight --in order--> durable
 *
 * A batch starts when somebody waits for it, when FLUSH_PENDING bytes are pending, or
 * FLUSH_INTERVAL_NS after the first of them; so much the writer asks the publishers to ring for, by
 * bell_seq, and sleeps. A batch that ends on a block lets the next one be issued beside it; one that
 * ends inside a block is alone, because the next one writes that block again, with its durable
 * bytes unchanged.
 *
 * `durable` and the cursor's position advance in the order of the batches, and only over what is in
 * a file whose name is durable too. What failed is not written again to the same file: it is still
 * in the ring, because the cursor gates, and goes into a fresh segment that follows the last durable
 * batch. What stands behind that batch in the old file is nobody's. */
#ifndef DAEMON_FLUSH_H
#define DAEMON_FLUSH_H

#include "daemon/store_impl.h"

/* flush_attach takes the ring's cursor 0 at the end of the log. -EBADMSG: ring and log contradict
 * each other, `why` says how. */
int flush_attach(struct store *s, struct ring_view *view, char why[STORE_WHY]);

/* flush_work takes every step that is possible now and says what the next one waits for. */
enum flush_verdict flush_work(struct store *s);

/* flush_pending says whether messages stand in the ring that are not durable, as far as the order is
 * settled. */
bool flush_pending(const struct store *s);

#endif
