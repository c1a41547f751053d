/* encode.h - from messages to batches. Works on the caller's memory; no allocation, no I/O, no
 * clock. One encoder per topic; a batch is begun in a buffer, filled, and ended. Not thread-safe.
 */
#ifndef LOG_ENCODE_H
#define LOG_ENCODE_H

#include "log/format.h"

/* What goes on from batch to batch. */
struct log_chain {
    uint64_t topic_id;
    uint64_t next;    /* first sequence number of the next batch */
    uint64_t hash;    /* of the last batch */
    uint64_t time_ns; /* of the last batch */
    uint32_t partial; /* bytes of message `next` so far; 0 where a segment begins */
    uint32_t total;   /* of that message */
};

struct log_encoder {
    unsigned char *buf; /* 8-byte aligned; the batch's header stands at its beginning */
    uint32_t room;      /* at most LOG_BATCH_MAX */
    uint32_t used;      /* header and records so far */
    uint32_t records;
    uint64_t first;   /* from the chain */
    uint64_t next;    /* first + count so far */
    uint32_t partial; /* of the header */
    uint32_t open;    /* bytes so far of message `next`, if it has been begun */
    uint32_t open_total;
};

struct log_piece {
    uint64_t seq, time_ns, key;
    const void *data; /* of this piece */
    uint32_t len, total, offset;
    uint16_t type, publisher;
};

/* log_batch_begin starts a batch that follows `chain` in buf; of more than LOG_BATCH_MAX bytes of
 * room no use is made. -EINVAL when room is below 4 KiB or buf is not aligned. */
int log_batch_begin(struct log_encoder *e, const struct log_chain *chain, void *buf, uint32_t room);

/* log_batch_room says how many payload bytes one more record can take now, whatever pad the batch
 * may need (0: none, but an empty message may still fit). */
uint32_t log_batch_room(const struct log_encoder *e);

/* log_batch_add appends one record, and returns where its payload of p->len bytes is to be copied
 * by the caller when p->data is NULL (padding is already zero); ret_payload may be NULL when it is
 * not. When the piece completes its message, the batch's range ends behind it. Numbers stepped
 * over were aborted. The first record of a batch may begin a message (offset 0) though the chain
 * is inside one: that one's pieces are then void. -ENOSPC: it does not fit. -ERANGE: its number is
 * 2^32 - 1 or more above the batch's first: skip, end, and begin the next. -EINVAL: it is not the
 * piece that comes next. Nothing has happened then. */
int log_batch_add(struct log_encoder *e, const struct log_piece *p, void **ret_payload);

/* log_batch_undo takes the last added record back (the bytes were overwritten while they were
 * copied); `before` is a copy of the encoder from before the add. */
void log_batch_undo(struct log_encoder *e, const struct log_encoder *before);

/* log_batch_skip says that all numbers below `next` without a record were aborted. No effect
 * inside a message that this batch has a piece of; and no more than 2^32 - 1 numbers in one batch.
 */
void log_batch_skip(struct log_encoder *e, uint64_t next);

/* log_batch_end closes the batch: pad (0, or up to the next multiple of LOG_BLOCK counted from
 * `at`, the batch's offset in the segment, with zero bytes written) as the rule for its length
 * says, header, hash. Advances the chain. Returns the number of bytes from buf on that belong to
 * the write. */
uint32_t log_batch_end(struct log_encoder *e, struct log_chain *chain, uint64_t at,
                       uint64_t durable, uint64_t time_ns);

/* log_message_bound is how many bytes of a segment a message of `total` bytes takes at most when
 * it is cut into batches of `room` bytes: a writer rolls before it begins one that would not end
 * in the segment. */
uint64_t log_message_bound(uint32_t total, uint32_t room);

/* log_segment_begin writes a segment's 4 KiB header into buf. */
struct log_segment_info {
    uint64_t topic_id, first, previous, size, created_ns;
    const char *topic;
    bool recycled; /* the file held other batches before */
};
void log_segment_begin(void *buf, const struct log_segment_info *info);

/* log_segment_name and log_index_name write "<20 digits>.seg" and ".idx"; log_segment_parse reads
 * a name back: 0 or -EINVAL. */
#define LOG_NAME_ROOM 32
void log_segment_name(uint64_t first, char ret[LOG_NAME_ROOM]);
void log_index_name(uint64_t first, char ret[LOG_NAME_ROOM]);
int log_segment_parse(const char *name, uint64_t *ret_first);

uint64_t log_hash(const void *data, size_t len);

/* Small files: fill in magic, version and hash; check them. -EBADMSG, -EPROTONOSUPPORT (another
 * version, or bits not known). A cursor record of nothing but zeros is -ENODATA: never written. */
void log_topic_seal(struct log_topic *t);
int log_topic_check(const struct log_topic *t, size_t size);
void log_cursor_seal(struct log_cursor *c);
int log_cursor_check(const struct log_cursor *c, uint64_t topic_id);
void log_cursors_header_seal(struct log_cursors_header *h);
int log_cursors_header_check(const struct log_cursors_header *h, uint64_t topic_id);

/* log_cursor_pick says which of the two copies of a record counts: 0 or 1, the valid one of the
 * higher generation. -ENODATA: neither was ever written; -EBADMSG: no valid one, and not both
 * empty. The other one is to be overwritten. */
int log_cursor_pick(const struct log_cursor copies[2], uint64_t topic_id);

#endif
