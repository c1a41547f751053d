/* index.h - finding a sequence number or a time in a segment without reading all of it. A cache: what it says is checked
 * by the walk that begins there. */
#ifndef LOG_INDEX_H
#define LOG_INDEX_H

#include "log/scan.h"

struct log_index {
    struct log_index_header header;
    struct log_index_entry *entries; /* the caller's or allocated by log_index_load */
    uint32_t room;
};

/* log_index_note is told of each batch as it is written or walked over, and makes an entry about every LOG_INDEX_EVERY bytes.
 * `previous` is the hash of the batch before. When room is used up every second entry is dropped, so it never fails. */
void log_index_note(struct log_index *x, const struct log_batch *batch, uint64_t offset);

/* log_index_seal fills in the header for writing; the file is header then entries. */
void log_index_seal(struct log_index *x, uint64_t topic_id, uint64_t first, uint64_t next,
                    uint64_t end, uint64_t last_hash);

/* log_index_check checks a whole index file in memory: 0 or -EBADMSG / -EPROTONOSUPPORT. */
int log_index_check(const void *file, uint64_t size, uint64_t topic_id, uint64_t first);

/* log_index_seq and _time find the last entry at or before: NULL when there is none (begin at the segment's start). */
const struct log_index_entry *log_index_seq(const struct log_index *x, uint64_t seq);
const struct log_index_entry *log_index_time(const struct log_index *x, uint64_t time_ns);

#endif
