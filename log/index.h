/* index.h - finding a sequence number or a time in a segment without reading all of it. A cache:
 * what it says is checked by the walk that begins there. */
#ifndef LOG_INDEX_H
#define LOG_INDEX_H

#include "log/scan.h"

struct log_index {
    struct log_index_header header;
    struct log_index_entry *entries; /* the caller's, header.entries of them used */
    uint32_t room;                   /* entries; at least 2 to keep any */
    uint64_t every;                  /* bytes between entries; 0: LOG_INDEX_EVERY */
};

/* log_index_note is told of each batch as it is written or walked over, in order, and makes an
 * entry about every `every` bytes. When room is used up every second entry is dropped and `every`
 * doubled, so it never fails. Batches in which a message goes on that began before get no entry:
 * who begins at one sees whole messages. */
void log_index_note(struct log_index *x, const struct log_batch *batch, uint64_t offset);

/* What an index says about its segment, beside the entries. */
struct log_index_info {
    uint64_t topic_id, first, next, end, last_hash;
};

/* log_index_seal fills in the header for writing; the file is header then entries, and may end in
 * zeros. */
void log_index_seal(struct log_index *x, const struct log_index_info *info);

/* log_index_check checks a whole index file in memory: 0 or -EBADMSG / -EPROTONOSUPPORT. */
int log_index_check(const void *file, uint64_t size, uint64_t topic_id, uint64_t first);

/* log_index_view makes x stand on a file that log_index_check has accepted, 8-byte aligned and
 * kept by the caller as long as x. For looking up only. */
void log_index_view(struct log_index *ret, void *file);

/* log_index_seq finds the last entry at or before a number; log_index_time the last one issued
 * before a time: whatever was published since stands behind it. NULL when there is none (begin at
 * the segment's start). */
const struct log_index_entry *log_index_seq(const struct log_index *x, uint64_t seq);
const struct log_index_entry *log_index_time(const struct log_index *x, uint64_t time_ns);

#endif
