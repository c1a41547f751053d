/* log_private.h - shared inside the folder. */
#ifndef LOG_LOG_PRIVATE_H
#define LOG_LOG_PRIVATE_H

#include "log/encode.h"

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

#endif
