#include "log/encode.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define HEADER ((uint32_t)sizeof(struct log_batch))
#define RECORD ((uint32_t)sizeof(struct log_record))

/* How far the records may go. Where the batch will stand, and so how long its pad will be, is
 * known only at its end: from LOG_PAD_FROM on the longest pad is kept free. */
static uint32_t
encoder_limit(const struct log_encoder *e)
{
    uint32_t room = e->room & ~7u;

    if (room < LOG_PAD_FROM)
        return room;
    return (uint32_t)shm_max(LOG_PAD_FROM - 8, room - (LOG_BLOCK - 8));
}

int
log_batch_begin(struct log_encoder *e, const struct log_chain *chain, void *buf, uint32_t room)
{
    if (room < LOG_BLOCK || (uintptr_t)buf % 8)
        return -EINVAL;
    *e = (struct log_encoder){
        .buf = buf,
        .room = (uint32_t)shm_min(room, LOG_BATCH_MAX),
        .used = HEADER,
        .first = chain->next,
        .next = chain->next,
        .open = chain->partial,
        .open_total = chain->total,
    };
    return 0;
}

uint32_t
log_batch_room(const struct log_encoder *e)
{
    uint32_t left = encoder_limit(e) - e->used;

    return left < RECORD ? 0 : left - RECORD;
}

/* Is this the piece that comes next? */
static int
piece_check(const struct log_encoder *e, const struct log_piece *p)
{
    if ((uint64_t)p->offset + p->len > p->total || (p->total && !p->len))
        return -EINVAL;
    if (p->offset && (p->offset != e->open || p->seq != e->next || p->total != e->open_total))
        return -EINVAL;
    if (!p->offset && (p->seq < e->next || (e->open && e->records)))
        return -EINVAL;
    return p->seq - e->first < UINT32_MAX && p->seq < UINT64_MAX ? 0 : -ERANGE;
}

int
log_batch_add(struct log_encoder *e, const struct log_piece *p, void **ret_payload)
{
    uint64_t padded = shm_align(p->len, 8);
    unsigned char *payload = e->buf + e->used + RECORD;
    struct log_record record;
    int r = piece_check(e, p);

    if (r)
        return r;
    if (RECORD + padded > encoder_limit(e) - e->used)
        return -ENOSPC;

    record = (struct log_record){
        .seq = p->seq,
        .time_ns = p->time_ns,
        .key = p->key,
        .len = p->len,
        .total = p->total,
        .offset = p->offset,
        .type = p->type,
        .publisher = p->publisher,
    };
    memcpy(payload - RECORD, &record, RECORD);
    memset(payload + p->len, 0, padded - p->len);
    if (p->data && p->len)
        memcpy(payload, p->data, p->len);

    if (!e->records)
        e->partial = p->offset;
    e->open = p->offset + p->len < p->total ? p->offset + p->len : 0;
    e->open_total = e->open ? p->total : 0;
    e->next = e->open ? p->seq : p->seq + 1;
    e->used += RECORD + (uint32_t)padded;
    e->records++;
    if (ret_payload)
        *ret_payload = payload;
    return 0;
}

void
log_batch_undo(struct log_encoder *e, const struct log_encoder *before)
{
    *e = *before;
}

void
log_batch_skip(struct log_encoder *e, uint64_t next)
{
    uint64_t last = e->first > UINT64_MAX - UINT32_MAX ? UINT64_MAX : e->first + UINT32_MAX;

    next = shm_min(next, last);
    if (next <= e->next || (e->open && e->records))
        return;
    e->next = next;
    e->open = e->open_total = 0;
}

uint32_t
log_batch_end(struct log_encoder *e, struct log_chain *chain, uint64_t at, uint64_t durable,
              uint64_t time_ns)
{
    uint64_t end = at + e->used;
    uint32_t pad = e->used < LOG_PAD_FROM ? 0 : (uint32_t)(shm_align(end, LOG_BLOCK) - end);
    struct log_batch batch = {
        .magic = LOG_BATCH_MAGIC,
        .version = LOG_VERSION,
        .topic_id = chain->topic_id,
        .first = e->first,
        .count = (uint32_t)(e->next - e->first),
        .records = e->records,
        .bytes = e->used,
        .pad = pad,
        .previous = chain->hash,
        .durable = durable,
        .time_ns = shm_max(time_ns, chain->time_ns),
        .partial = e->partial,
    };

    memcpy(e->buf, &batch, sizeof batch);
    memset(e->buf + e->used, 0, pad);
    batch.hash = log_hash(e->buf, e->used);
    memcpy(e->buf + offsetof(struct log_batch, hash), &batch.hash, sizeof batch.hash);

    chain->next = e->next;
    chain->hash = batch.hash;
    chain->time_ns = batch.time_ns;
    chain->partial = e->open;
    chain->total = e->open_total;
    return e->used + pad;
}

uint64_t
log_message_bound(uint32_t total, uint32_t room)
{
    struct log_encoder e = {.room = (uint32_t)shm_min(room, LOG_BATCH_MAX), .used = HEADER};
    uint64_t piece = shm_max(log_batch_room(&e), 1);
    uint64_t pieces =
        total / piece + 2; /* the first may stand at the end of a batch begun before */

    return total + pieces * (HEADER + RECORD + 8 + LOG_BLOCK);
}

void
log_segment_begin(void *buf, const struct log_segment_info *info)
{
    struct log_segment_header h = {
        .magic = LOG_SEGMENT_MAGIC,
        .version = LOG_VERSION,
        .topic_id = info->topic_id,
        .first = info->first,
        .previous = info->previous,
        .size = info->size,
        .created_ns = info->created_ns,
        .compatible = info->recycled ? LOG_SEGMENT_RECYCLED : 0,
    };

    memcpy(h.topic, info->topic, strnlen(info->topic, LIMIT_TOPIC_NAME));
    h.hash = log_hash(&h, sizeof h);
    memset(buf, 0, LOG_BLOCK);
    memcpy(buf, &h, sizeof h);
}

void
log_segment_name(uint64_t first, char ret[LOG_NAME_ROOM])
{
    (void)snprintf(ret, LOG_NAME_ROOM, "%020" PRIu64 ".seg", first);
}

void
log_index_name(uint64_t first, char ret[LOG_NAME_ROOM])
{
    (void)snprintf(ret, LOG_NAME_ROOM, "%020" PRIu64 ".idx", first);
}

int
log_segment_parse(const char *name, uint64_t *ret_first)
{
    uint64_t n = 0;

    for (int i = 0; i < 20; i++) {
        uint64_t digit = (uint64_t)(unsigned char)name[i] - '0';

        if (digit > 9 || n > (UINT64_MAX - digit) / 10)
            return -EINVAL;
        n = n * 10 + digit;
    }
    if (strcmp(name + 20, ".seg"))
        return -EINVAL;
    *ret_first = n;
    return 0;
}
