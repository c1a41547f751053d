/* log_private.h - shared inside the folder. */
#ifndef LOG_LOG_PRIVATE_H
#define LOG_LOG_PRIVATE_H

#include "log/scan.h"

/* log__hash_zeroed hashes len bytes as if the eight at `field` were zero: how every hash of the
 * format is checked without writing to what is checked. Equal to log_hash over a copy with zeros
 * there. */
uint64_t log__hash_zeroed(const void *data, uint64_t len, uint64_t field);

/* log__hash_two hashes two pieces of memory as one. */
uint64_t log__hash_two(const void *a, uint64_t a_len, const void *b, uint64_t b_len);

/* log__is_zero says whether len bytes are all zero. */
bool log__is_zero(const void *data, uint64_t len);

/* log__name_ok says whether a name field of `room` bytes holds a name of 1 to room - 1 bytes and
 * zeros from there on. */
bool log__name_ok(const char *name, uint32_t room);

/* log__read_all reads until len bytes are there or the source ends: how many, or its error. */
int64_t log__read_all(const struct log_source *s, unsigned char *buf, uint32_t len, uint64_t off);

/* log__batch_begins says whether this is the header of the chain's next batch. What else may stand
 * in its place are zeros, the beginning or the middle of an old batch, or nothing of ours at all.
 */
bool log__batch_begins(const struct log_batch *b, const struct log_chain *chain);

/* log__batch_sane is rule 1 without the place: all in the header that can be wrong by itself.
 * log__batch_fits is the place: at `off` of a segment of `size` bytes. */
bool log__batch_sane(const struct log_batch *b);
bool log__batch_fits(const struct log_batch *b, uint64_t off, uint64_t size);

/* log__batch_hash_ok is rule 4, of a sane batch that is all in memory. */
bool log__batch_hash_ok(const void *buf, const struct log_batch *b);

#endif
