#define XXH_STATIC_LINKING_ONLY /* for XXH3_state_t on the stack: no allocation here */
#include <errno.h>
#include <string.h>
#include <xxhash.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h> /* the same functions, by what the processor has: twice as fast with AVX2 */
#endif

#include "log/log_private.h"

uint64_t
log_hash(const void *data, size_t len)
{
    return XXH3_64bits(data, len);
}

uint64_t
log__hash_zeroed(const void *data, uint64_t len, uint64_t field)
{
    static const unsigned char zeros[8];
    const unsigned char *bytes = data;
    XXH3_state_t state;

    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, bytes, field);
    XXH3_64bits_update(&state, zeros, sizeof zeros);
    XXH3_64bits_update(&state, bytes + field + sizeof zeros, len - field - sizeof zeros);
    return XXH3_64bits_digest(&state);
}

uint64_t
log__hash_two(const void *a, uint64_t a_len, const void *b, uint64_t b_len)
{
    XXH3_state_t state;

    XXH3_64bits_reset(&state);
    XXH3_64bits_update(&state, a, a_len);
    if (b_len)
        XXH3_64bits_update(&state, b, b_len);
    return XXH3_64bits_digest(&state);
}

bool
log__is_zero(const void *data, uint64_t len)
{
    const unsigned char *bytes = data;

    /* A run of bytes that begins with zero and is equal to itself moved by one is zero throughout.
     */
    return !len || (!bytes[0] && !memcmp(bytes, bytes + 1, len - 1));
}

bool
log__name_ok(const char *name, uint32_t room)
{
    uint64_t len = strnlen(name, room);

    return len && len < room && log__is_zero(name + len, room - len);
}

/* The hash over a whole struct with its own field zero. */
#define STRUCT_HASH(s) log__hash_zeroed(s, sizeof *(s), offsetof(__typeof__(*(s)), hash))

void
log_topic_seal(struct log_topic *t)
{
    t->magic = LOG_TOPIC_MAGIC;
    t->version = LOG_VERSION;
    t->hash = STRUCT_HASH(t);
}

int
log_topic_check(const struct log_topic *t, size_t size)
{
    if (size < sizeof *t || t->magic != LOG_TOPIC_MAGIC)
        return -EBADMSG;
    if (t->version != LOG_VERSION || t->incompatible)
        return -EPROTONOSUPPORT;
    if (t->hash != STRUCT_HASH(t) || !log__name_ok(t->name, sizeof t->name))
        return -EBADMSG;
    return 0;
}

void
log_cursors_header_seal(struct log_cursors_header *h)
{
    h->magic = LOG_CURSORS_MAGIC;
    h->version = LOG_VERSION;
    h->hash = STRUCT_HASH(h);
}

int
log_cursors_header_check(const struct log_cursors_header *h, uint64_t topic_id)
{
    if (h->magic != LOG_CURSORS_MAGIC)
        return -EBADMSG;
    if (h->version != LOG_VERSION)
        return -EPROTONOSUPPORT;
    return h->hash == STRUCT_HASH(h) && h->topic_id == topic_id ? 0 : -EBADMSG;
}

void
log_cursor_seal(struct log_cursor *c)
{
    c->magic = LOG_CURSOR_MAGIC;
    c->hash = STRUCT_HASH(c);
}

int
log_cursor_check(const struct log_cursor *c, uint64_t topic_id)
{
    if (log__is_zero(c, sizeof *c))
        return -ENODATA;
    if (c->magic != LOG_CURSOR_MAGIC || c->hash != STRUCT_HASH(c) || c->topic_id != topic_id ||
        !c->generation || !log__name_ok(c->name, sizeof c->name))
        return -EBADMSG;
    return 0;
}

int
log_cursor_pick(const struct log_cursor copies[2], uint64_t topic_id)
{
    int a = log_cursor_check(&copies[0], topic_id);
    int b = log_cursor_check(&copies[1], topic_id);

    if (a && b)
        return a == -ENODATA && b == -ENODATA ? -ENODATA : -EBADMSG;
    if (a || b)
        return a ? 1 : 0;
    return copies[1].generation > copies[0].generation;
}
