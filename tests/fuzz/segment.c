#include "tests/fuzz/segment.h"

#include "log/log_private.h"

#define HASH_OF_BATCH offsetof(struct log_batch, hash)
#define HASH_OF_HEADER offsetof(struct log_segment_header, hash)

void
segment_open(struct segment *s)
{
    if (!s->bytes)
        s->bytes = calloc(1, SEGMENT_ROOM);
    MUST(s->bytes);
}

void
segment_close(struct segment *s)
{
    free(s->bytes);
    s->bytes = NULL;
}

/* --- sound ------------------------------------------------------------------------------------ */

/* How long a message, or what of it stands in this record. */
static uint32_t
choose_len(struct input *in)
{
    uint32_t n = input_u8(in);

    if (n < 200)
        return n;
    return n < 240 ? (n - 199) * 1000 : (n - 239) * 20000;
}

/* The piece that comes next: of the message that is open, or of a new one. */
static struct log_piece
choose_piece(struct segment *s, struct input *in, const struct log_encoder *e)
{
    uint8_t how = input_u8(in);
    bool goes_on = e->open && !(how & 1);
    uint32_t len = choose_len(in), room = log_batch_room(e);
    struct log_piece p = {.seq = e->next,
                          .time_ns = s->time_ns,
                          .key = how,
                          .len = len,
                          .total = len,
                          .type = how,
                          .publisher = 2};

    if (how & 2)
        s->time_ns += input_u8(in);
    if (goes_on) {
        p.offset = e->open;
        p.total = e->open_total;
        p.len = (uint32_t)shm_min(len ? len : 1, p.total - p.offset);
        p.time_ns = 1;
        p.key = 1;
        p.type = 1;
    } else {
        p.seq += how & 4 ? input_u8(in) : 0;
        p.seq += how & 8 ? input_u32(in) : 0;
    }
    if (!goes_on && (how & 16) && len > 1) {
        p.len = 1 + input_u8(in) % (len - 1);
        p.time_ns = 1;
        p.key = 1;
        p.type = 1;
    }
    p.len = p.len > room && room ? room : p.len;
    return p;
}

static void
note_batch(struct segment *s, uint32_t at)
{
    if (s->batches < SEGMENT_BATCHES)
        s->at[s->batches++] = at;
}

/* One batch, as the writer makes them. Every number is taken from the input but what follows from the chain. */
static void
add_batch(struct segment *s, struct input *in)
{
    uint8_t how = input_u8(in);
    uint32_t records = input_u8(in) % 12, at = s->len;
    uint32_t room = how & 1 ? LOG_BATCH_MAX : LOG_BLOCK * (1u + (how >> 4));
    struct log_encoder e;
    void *payload;

    if (room > SEGMENT_ROOM - at || log_batch_begin(&e, &s->chain, s->bytes + at, room))
        return;
    for (uint32_t i = 0; i < records; i++) {
        struct log_piece p = choose_piece(s, in, &e);
        if (log_batch_add(&e, &p, &payload))
            break;
        memset(payload, (int)(p.seq & 0xff), p.len);
    }
    if (how & 2)
        log_batch_skip(&e, e.next + input_u8(in));
    s->time_ns += how & 4 ? input_u16(in) : 1;
    s->len += log_batch_end(&e, &s->chain, at, s->durable, s->time_ns);
    if (how & 8)
        s->durable = s->chain.next - 1;
    note_batch(s, at);
}

/* --- spoilt ----------------------------------------------------------------------------------- */

static void
put(struct segment *s, uint32_t at, const void *bytes, uint32_t len)
{
    if (at > SEGMENT_ROOM || len > SEGMENT_ROOM - at)
        return;
    memcpy(s->bytes + at, bytes, len);
    s->len = at + len > s->len ? at + len : s->len;
    s->spoilt = true;
}

/* Makes the hash of the batch at `at` right, as far as its length can be. Returns it. */
static uint64_t
reseal(struct segment *s, uint32_t at)
{
    struct log_batch b;

    memcpy(&b, s->bytes + at, sizeof b);
    if (b.bytes < sizeof b || b.bytes > SEGMENT_ROOM - at)
        return b.hash;
    b.hash = log__hash_zeroed(s->bytes + at, b.bytes, HASH_OF_BATCH);
    memcpy(s->bytes + at + HASH_OF_BATCH, &b.hash, sizeof b.hash);
    return b.hash;
}

/* Changes a number in a batch; perhaps makes its hash right, and perhaps those of all that follow. */
static void
spoil_batch(struct segment *s, struct input *in)
{
    uint8_t which = input_u8(in), how = input_u8(in);
    uint32_t width = 1u << (how & 3), i = s->batches ? which % s->batches : 0;
    uint32_t at = s->batches ? s->at[i] : LOG_BLOCK, place = input_u8(in);
    uint64_t value, hash;

    if (how & 4)
        place = input_u16(in);
    memcpy(&value, s->bytes + (at + place) % (SEGMENT_ROOM - 8), sizeof value);
    value = how & 8 ? input_number(in, width) : value + (uint64_t)(int64_t)(int8_t)input_u8(in);
    put(s, at + place, &value, width);
    if (!(how & 16) || !s->batches)
        return;
    hash = reseal(s, at);
    while ((how & 32) && ++i < s->batches) {
        put(s, s->at[i] + (uint32_t)offsetof(struct log_batch, previous), &hash, sizeof hash);
        hash = reseal(s, s->at[i]);
    }
    if (i >= s->batches || i + 1 == s->batches)
        s->chain.hash = hash;
}

static void
spoil_header(struct segment *s, struct input *in)
{
    uint8_t how = input_u8(in);
    uint64_t value = input_number(in, 1u << (how & 3));
    struct log_segment_header h;

    put(s, how & 4 ? input_u16(in) % LOG_BLOCK : input_u8(in) & 0x7f, &value, 1u << (how & 3));
    if (!(how & 8))
        return;
    memcpy(&h, s->bytes, sizeof h);
    h.hash = log__hash_zeroed(s->bytes, sizeof h, HASH_OF_HEADER);
    memcpy(s->bytes + HASH_OF_HEADER, &h.hash, sizeof h.hash);
}

/* Bytes of any kind behind all: the input's own, or those of a batch that is there already. */
static void
append(struct segment *s, struct input *in)
{
    uint8_t how = input_u8(in), bytes[256];
    uint32_t from = s->batches ? s->at[input_u8(in) % s->batches] : 0;
    uint32_t len = from < s->len ? s->len - from : 0, at = s->len + (how >> 4) * 8u;

    if (how & 8)
        at = (uint32_t)shm_align(at, LOG_BLOCK);
    if (how & 1) {
        len = (uint32_t)input_bytes(in, bytes, how & 2 ? 16 : sizeof bytes);
        put(s, at, bytes, len);
        return;
    }
    len = how & 2 ? len : (uint32_t)shm_min(len, 200);
    if (at <= SEGMENT_ROOM && len <= SEGMENT_ROOM - at && from + len <= at)
        put(s, at, s->bytes + from, len);
}

/* A hole, or the end: what a lost write leaves. */
static void
erase(struct segment *s, struct input *in)
{
    uint32_t from = s->batches ? s->at[input_u8(in) % s->batches] : LOG_BLOCK;
    uint8_t how = input_u8(in);
    uint32_t len;

    from += input_u8(in) * 8u;
    if (how & 1)
        from &= ~(how & 2 ? 511u : LOG_BLOCK - 1u);
    if (from >= s->len)
        return;
    len = how & 4 ? s->len - from : (uint32_t)shm_min((how >> 3) * 512ull, s->len - from);
    memset(s->bytes + from, 0, len);
    s->spoilt = true;
}

static void
lie(struct segment *s, struct input *in)
{
    uint8_t how = input_u8(in);

    s->spoilt = true;
    switch (how & 3) {
    case 0:
        s->durable = s->chain.next + (uint64_t)(int64_t)(int8_t)input_u8(in);
        break;
    case 1:
        s->chain.next = how & 4 ? input_u64(in) : s->chain.next + input_u8(in);
        s->chain.next += !s->chain.next;
        break;
    case 2:
        s->chain.hash ^= 1;
        break;
    default:
        s->chain.topic_id ^= 1;
    }
}

static bool
step(struct segment *s, struct input *in)
{
    switch (input_u8(in) % 12) {
    case 0:
        return false;
    case 6:
    case 7:
        spoil_batch(s, in);
        break;
    case 8:
        append(s, in);
        break;
    case 9:
        erase(s, in);
        break;
    case 10:
        spoil_header(s, in);
        break;
    case 11:
        lie(s, in);
        break;
    default:
        add_batch(s, in);
    }
    return true;
}

void
segment_build(struct segment *s, struct input *in, const struct log_segment_info *info)
{
    memset(s->bytes, 0, s->len);
    log_segment_begin(s->bytes, info);
    s->len = LOG_BLOCK;
    s->batches = 0;
    s->spoilt = false;
    s->durable = info->first - 1;
    s->time_ns = info->created_ns;
    s->chain =
        (struct log_chain){.topic_id = info->topic_id, .next = info->first, .hash = info->previous};
    for (int i = 0; i < SEGMENT_STEPS && step(s, in); i++)
        ;
}

static int64_t
read_file(void *user, void *buf, uint32_t len, uint64_t off)
{
    const struct segment_file *f = user;
    uint64_t n;

    if (off >= f->size)
        return 0;
    n = shm_min(len, f->size - off);
    if (f->at_most)
        n = shm_min(n, f->at_most);
    memset(buf, 0, n);
    if (off < f->len)
        memcpy(buf, f->bytes + off, shm_min(n, f->len - off));
    return (int64_t)n;
}

struct log_source
segment_source(struct segment_file *f)
{
    return (struct log_source){.read = read_file, .user = f};
}
