/* format.h - how a topic stands on disk. docs/format.md is the same in prose for who writes a
 * second reader.
 *
 * store/<topic>/
 *   topic                    what the topic was made with (struct log_topic)
 *   <first-seq, 20 digits>.seg   segments, in order; each begins where the one before ends
 *   <first-seq, 20 digits>.idx   sparse index of a closed segment: a cache, rebuilt when missing
 *   cursors                  floors of the named subscriptions
 *   spare-<n>.seg            prepared segments: allocated and written once, waiting for their name
 *
 * Everything is little-endian; this code refuses to build elsewhere.
 *
 * A segment is a 4 KiB header and then batches, one after the other. A batch is the unit of
 * writing and hashing:
 *
 *   |header 4 KiB|batch|batch|batch......|batch|batch|pad to 4 KiB|batch ...
 *                 ^ 80-byte header, then records, each 40 bytes and its payload, 8-byte aligned
 *
 * A batch is valid if and only if
 *   1. its magic, version and topic id are right; bytes is a multiple of 8, at least 80; pad is
 *      0, or less than a block and takes the end to a multiple of LOG_BLOCK; bytes + pad is at
 *      most LOG_BATCH_MAX and lies within the segment;
 *   2. first is the sequence number that the batch before ended with (the segment's first for
 *      the first one);
 *   3. previous is the hash of the batch before (the segment header's `previous` for the first
 *      one);
 *   4. hash is XXH3-64 of [batch, batch + bytes) taken with the hash field zero;
 *   5. its records fill `bytes` exactly, are `records` many, have zeros between payload and
 *      alignment, and their numbers ascend within [first, first + count), but for pieces (below).
 * Rule 3 tells the bytes of a recycled file, or of a flush that was cut, from what belongs here:
 * the chain does not fit.
 *
 * Numbers in [first, first + count) that no record bears were aborted: they never were messages. A
 * batch without records is valid; it says what was durable.
 *
 * A message longer than a batch stands in several records (pieces) of the same number, one
 * directly after the other, the same but for len and offset, each with at least one byte and
 * beginning where the piece before ends, possibly over several batches; it is whole when offset +
 * len == total has been seen. A batch that ends inside a message counts only the whole ones
 * before: [first, first + count) then excludes it, and the next batch's first is its number.
 * `partial` of that next batch says how much of the message stands before it, and is the first
 * record's offset. If it is 0 instead, the pieces before are void: the writer was stopped there
 * and began anew, with that number or a later one. No message stands in two segments: a segment
 * begins with partial 0.
 */
#ifndef LOG_FORMAT_H
#define LOG_FORMAT_H

#include "shm/base.h"
#include "shm/limits.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "leat's disk format is little-endian"
#endif

#define LOG_BLOCK 4096
#define LOG_BATCH_MAX (1u << 20) /* of one batch with its header and pad: one write */
#define LOG_PAD_FROM                                                                               \
    (64u << 10) /* a batch this long pads to a block; shorter ones share their last block */
#define LOG_SEGMENT_MIN (1u << 21)
#define LOG_SEGMENT_MAX (1u << 30)

#define LOG_VERSION 1
#define LOG_SEGMENT_MAGIC 0x314745535441454cull /* "LEATSEG1" */
#define LOG_BATCH_MAGIC 0x4842544cu             /* "LTBH" */
#define LOG_INDEX_MAGIC 0x315844495441454cull   /* "LEATIDX1" */
#define LOG_CURSORS_MAGIC 0x315255435441454cull /* "LEATCUR1" */
#define LOG_CURSOR_MAGIC 0x315352435441454cull  /* "LEATCRS1" */
#define LOG_TOPIC_MAGIC 0x31504f545441454cull   /* "LEATTOP1" */

/* At offset 0 of a segment; the rest of the first 4 KiB is zero. */
struct log_segment_header {
    uint64_t magic;
    uint32_t version;
    uint32_t incompatible; /* bits a reader must know */
    uint64_t topic_id;
    uint64_t first; /* sequence number of its first message */
    uint64_t
        previous;  /* hash of the last batch of the segment before; 0 for the first of a topic */
    uint64_t size; /* of the file in bytes */
    uint64_t created_ns; /* realtime */
    uint64_t hash;       /* XXH3-64 of this header with the hash zero */
    char topic[208];     /* name, zero-terminated */
    uint64_t compatible; /* bits a reader may ignore: LOG_SEGMENT_RECYCLED */
};
SHM_AT(struct log_segment_header, first, 24);
SHM_AT(struct log_segment_header, hash, 56);
SHM_AT(struct log_segment_header, topic, 64);
SHM_SIZE(struct log_segment_header, 280);
/* The file was a segment before: what stands behind the last batch are old bytes, not a torn
 * write. */
#define LOG_SEGMENT_RECYCLED 1ull

struct log_batch {
    uint32_t magic;
    uint32_t version;
    uint64_t topic_id;
    uint64_t first; /* sequence numbers [first, first + count) are complete with this batch */
    uint32_t count;
    uint32_t records;
    uint32_t bytes;    /* header and records */
    uint32_t pad;      /* zero bytes after, up to a block; 0 when the next batch follows at once */
    uint64_t previous; /* hash of the batch before */
    uint64_t durable;  /* what was durable when this batch was issued */
    uint64_t time_ns;  /* realtime of the issue, never less than the batch before's */
    uint64_t hash;
    uint32_t partial;  /* bytes of message `first` in the batches before; 0: none, or void */
    uint32_t reserved; /* 0 */
};
SHM_AT(struct log_batch, first, 16);
SHM_AT(struct log_batch, bytes, 32);
SHM_AT(struct log_batch, previous, 40);
SHM_AT(struct log_batch, hash, 64);
SHM_AT(struct log_batch, partial, 72);
SHM_SIZE(struct log_batch, 80);

struct log_record {
    uint64_t seq;
    uint64_t time_ns;
    uint64_t key;
    uint32_t len;    /* bytes of payload in this record; padded to 8 with zeros */
    uint32_t total;  /* of the whole message */
    uint32_t offset; /* of this piece in it */
    uint16_t type;
    uint16_t publisher;
};
SHM_AT(struct log_record, len, 24);
SHM_AT(struct log_record, publisher, 38);
SHM_SIZE(struct log_record, 40);
_Static_assert(LIMIT_TOPIC_NAME < 208 && LIMIT_SUB_NAME < 64, "a name and its zero fit");

/* An index file: this header, then `entries` entries, ascending. */
struct log_index_header {
    uint64_t magic;
    uint32_t version;
    uint32_t entries;
    uint64_t topic_id;
    uint64_t first; /* of the segment it belongs to */
    uint64_t next;  /* first of the segment after it */
    uint64_t end;   /* offset behind the last batch */
    uint64_t last_hash;
    uint64_t hash; /* XXH3-64 of header (hash zero) and entries */
};
SHM_SIZE(struct log_index_header, 64);

struct log_index_entry {
    uint64_t seq;     /* first of a batch */
    uint64_t time_ns; /* of that batch */
    uint64_t offset;  /* of that batch in the segment */
    uint64_t hash; /* of the batch before it: a reader can begin here and still check the chain */
};
SHM_SIZE(struct log_index_entry, 32);
#define LOG_INDEX_EVERY (128u << 10) /* an entry for about this many bytes */

/* The cursors file: one 4 KiB block of header, then for each named subscription two records (A and
 * B) in different blocks; the one with the lower generation is overwritten. Record i, copy c
 * stands at LOG_BLOCK * (1 + 2 * i + c). */
struct log_cursors_header {
    uint64_t magic;
    uint32_t version;
    uint32_t reserved;
    uint64_t topic_id;
    uint64_t hash;
};
SHM_SIZE(struct log_cursors_header, 32);

struct log_cursor {
    uint64_t magic;
    uint64_t topic_id;
    uint64_t generation; /* counts the writes of this record; 0: never written */
    uint64_t floor;      /* all sequence numbers below are done with */
    uint64_t time_ns;
    uint32_t flags; /* LOG_CURSOR_REMOVED: the name is gone */
    uint32_t reserved;
    char name[64];
    uint64_t hash;
};
SHM_SIZE(struct log_cursor, 120);
#define LOG_CURSOR_REMOVED 1u

/* What a topic was made with: the user's part of ring_geometry, in words of its own so that the
 * two formats can change apart. Written to a temporary file, synced, renamed. */
struct log_topic {
    uint64_t magic;
    uint32_t version;
    uint32_t incompatible;
    uint64_t topic_id;
    uint64_t created_ns;
    uint64_t depth;
    uint64_t lane_size;
    uint32_t slot_size;
    uint32_t max_publishers;
    uint32_t max_cursors;
    uint32_t timestamps;
    uint32_t mode;
    uint32_t uid;
    uint32_t gid;
    uint32_t retain_until_acked;
    uint64_t retention_bytes;
    uint64_t retention_ns;
    uint64_t lag_ns;
    char name[208];
    uint64_t hash;
};
SHM_AT(struct log_topic, retention_bytes, 80);
SHM_AT(struct log_topic, name, 104);
SHM_SIZE(struct log_topic, 320);

#endif
