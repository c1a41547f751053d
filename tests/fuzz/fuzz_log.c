/* Segments, indexes, cursors and topic files of arbitrary content against log/: checks, walks, diagnosis, records, look-ups.
 * Two things are done twice and compared: a batch that the walk accepts is encoded anew from its records, and a walk that
 * begins at an index entry sees what the walk from the start saw. */
#include <errno.h>

#include "log/index.h"
#include "log/log_private.h"
#include "tests/fuzz/segment.h"

#define TOPIC 0x1122334455667788ull
#define ENTRIES 64
/* The shortest batch is a header. */
#define STEPS_MAX (SEGMENT_ROOM / sizeof(struct log_batch) + 1)

static unsigned char *walk_buf, *other_buf;

/* --- encoding anew ---------------------------------------------------------------------------- */

static void
add_again(struct log_encoder *e, const struct log_record *r, const unsigned char *payload)
{
    struct log_piece p = {.seq = r->seq,
                          .time_ns = r->time_ns,
                          .key = r->key,
                          .data = payload,
                          .len = r->len,
                          .total = r->total,
                          .offset = r->offset,
                          .type = r->type,
                          .publisher = r->publisher};

    MUST(!log_batch_add(e, &p, NULL));
}

/* `before` is what the chain was before the batch in the walk. The encoder decides on pad and time by itself, and a
 * reader ignores the reserved word: these are taken over before the hashes are compared. */
static void
encode_again(const struct log_walk *w, const struct log_chain *before)
{
    struct log_chain chain = *before;
    struct log_cursor_in_batch c;
    const unsigned char *payload;
    struct log_encoder e;
    struct log_record r;
    struct log_batch b;
    uint64_t end = w->batch.first + w->batch.count;

    MUST(!log_batch_begin(&e, &chain, other_buf, LOG_BATCH_MAX));
    e.room = LOG_BATCH_MAX + 2 * LOG_BLOCK; /* whatever pad the writer kept room for */
    log_records_begin(&c, w->buf);
    while (log_records_next(&c, &r, &payload))
        add_again(&e, &r, payload);
    MUST(c.at == c.end);
    log_batch_skip(&e, end);
    (void)log_batch_end(&e, &chain, 0, w->batch.durable, w->batch.time_ns);
    memcpy(&b, other_buf, sizeof b);
    MUST(b.bytes == w->batch.bytes && b.count == w->batch.count && b.records == w->batch.records);
    b.pad = w->batch.pad;
    b.time_ns = w->batch.time_ns;
    b.reserved = w->batch.reserved;
    memcpy(other_buf, &b, sizeof b);
    MUST(log__hash_zeroed(other_buf, b.bytes, offsetof(struct log_batch, hash)) == w->batch.hash);
    MUST(chain.next == w->chain.next && chain.partial == w->chain.partial);
    MUST(chain.total == w->chain.total);
}

/* --- a walk ----------------------------------------------------------------------------------- */

static void
check_batch(const struct log_walk *w, const struct log_chain *before)
{
    struct log_batch again;

    MUST(w->batch.first == before->next && w->batch.previous == before->hash);
    MUST(w->chain.next == w->batch.first + w->batch.count);
    MUST(w->offset > w->batch_offset && w->offset <= w->size);
    MUST(!log_batch_check(w->buf, w->batch.bytes, before, &again));
    MUST(!memcmp(&again, &w->batch, sizeof again));
    encode_again(w, before);
}

static void
diagnose(struct log_walk *w)
{
    struct log_diagnosis d = {0};
    int r = log_walk_diagnose(w, &d);

    MUST(r == 0 || r == -EBADMSG);
    if (r)
        return;
    MUST(d.offset == w->offset && d.bytes <= w->size - w->offset);
    MUST((d.end == LOG_END_DAMAGE) == (d.witness != 0));
    if (d.witness)
        MUST(d.witness >= w->offset && d.witness < w->size && d.durable >= w->chain.next);
}

/* What a walk came to. */
struct walked {
    uint64_t offset, next, hash;
    uint32_t batches;
    int end;
};

static struct walked
walk(struct log_walk *w, struct log_index *index)
{
    struct walked done = {0};

    for (;;) {
        struct log_chain before = w->chain;
        done.end = log_walk_next(w);
        MUST(done.end == 1 || done.end == 0 || done.end == -EBADMSG);
        if (done.end != 1)
            break;
        if (index) {
            check_batch(w, &before);
            log_index_note(index, &w->batch, w->batch_offset);
        }
        MUST(++done.batches < STEPS_MAX);
    }
    done.offset = w->offset;
    done.next = w->chain.next;
    done.hash = w->chain.hash;
    return done;
}

/* Through the index, sealed and read back, from each entry to the same end. */
static void
walk_by_index(const struct log_walk *start, const struct log_segment_header *h,
              struct log_index *index, const struct walked *all)
{
    const struct log_index_info info = {.topic_id = h->topic_id,
                                        .first = h->first,
                                        .next = all->next,
                                        .end = all->offset,
                                        .last_hash = all->hash};
    unsigned char file[sizeof index->header + ENTRIES * sizeof *index->entries];
    uint64_t size = sizeof index->header + index->header.entries * sizeof *index->entries;
    struct log_index view;

    log_index_seal(index, &info);
    memcpy(file, &index->header, sizeof index->header);
    memcpy(file + sizeof index->header, index->entries, size - sizeof index->header);
    if (log_index_check(file, size, h->topic_id, h->first))
        return;
    log_index_view(&view, file);
    for (uint32_t i = 0; i < view.header.entries; i++) {
        struct log_walk w = *start;
        struct walked part;
        const struct log_index_entry *e = log_index_seq(&view, view.entries[i].seq);
        MUST(e && e->seq == view.entries[i].seq);
        (void)log_index_time(&view, view.entries[i].time_ns);
        log_walk_at(&w, e);
        part = walk(&w, NULL);
        MUST(part.batches);
        MUST(part.offset == all->offset && part.next == all->next && part.hash == all->hash);
    }
}

static void
check_segment(struct input *in, struct segment_file *f, bool sound, uint32_t batches)
{
    static struct log_index_entry entries[ENTRIES];
    struct log_index index = {.entries = entries, .room = ENTRIES, .every = 1 + input_u16(in)};
    const struct log_source source = segment_source(f);
    struct log_segment_header h;
    struct log_walk w, start;
    struct walked all;
    int r = log_segment_check(&source, &h);

    MUST(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
    MUST(!sound || !r);
    /* Recovery looks for a witness also where there is no header. */
    if (r)
        h = (struct log_segment_header){
            .topic_id = TOPIC, .first = 1 + input_u8(in), .size = f->size & ~7ull};
    if (r && h.size <= LOG_BLOCK)
        return;
    log_walk_begin(&start, &source, &h, walk_buf);
    w = start;
    all = walk(&w, &index);
    MUST(!sound || (all.end == 0 && all.batches == batches && all.offset == f->len));
    diagnose(&w);
    if (!r)
        walk_by_index(&start, &h, &index, &all);
}

static void
try_segment(struct input *in)
{
    static struct segment s;
    uint8_t how = input_u8(in);
    struct log_segment_info info = {.topic_id = TOPIC,
                                    .first = 1 + (how & 1 ? input_u64(in) % (1ull << 60) : 0),
                                    .previous = how & 2,
                                    .size = LOG_SEGMENT_MIN,
                                    .created_ns = 1000,
                                    .topic = "a.topic",
                                    .recycled = how & 4};
    struct segment_file f = {.at_most = how & 8 ? 100 : 0};

    segment_open(&s);
    if (how & 16) {
        memset(s.bytes, 0, s.len);
        s.len = (uint32_t)input_bytes(in, s.bytes, SEGMENT_ROOM);
        s.spoilt = true;
    } else {
        segment_build(&s, in, &info);
    }
    f.bytes = s.bytes;
    f.len = s.len;
    f.size = (how & 0xf0) == 0xe0 ? LOG_SEGMENT_MIN : s.len;
    check_segment(in, &f, !s.spoilt && s.batches < SEGMENT_BATCHES, s.batches);
}

/* --- small files ------------------------------------------------------------------------------ */

/* Bytes of the input in memory of exactly that length, and its hash made right if the input says so. */
static void *
exact(struct input *in, size_t size, size_t hash_at, bool seal)
{
    unsigned char *p = calloc(1, size ? size : 1);
    uint64_t hash;

    MUST(p);
    (void)input_bytes(in, p, size);
    if (seal) {
        hash = log__hash_zeroed(p, size, hash_at);
        memcpy(p + hash_at, &hash, sizeof hash);
    }
    return p;
}

static void
try_topic(struct input *in)
{
    uint8_t how = input_u8(in);
    struct log_topic *t = exact(in, sizeof *t, offsetof(struct log_topic, hash), false);
    size_t size = how & 1 ? sizeof *t : input_u16(in);
    int r;

    if (how & 2)
        log_topic_seal(t);
    r = log_topic_check(t, size);
    MUST(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
    if (!r)
        MUST(size >= sizeof *t && t->name[0] && memchr(t->name, 0, sizeof t->name));
    free(t);
}

static void
try_cursors(struct input *in)
{
    uint8_t how = input_u8(in);
    struct log_cursor *c = exact(in, 2 * sizeof *c, 0, false);
    struct log_cursors_header *h =
        exact(in, sizeof *h, offsetof(struct log_cursors_header, hash), how & 8);
    int r;

    for (int i = 0; i < 2; i++)
        if (how & (1 << i)) {
            c[i].topic_id = how & 4 ? TOPIC : c[i].topic_id;
            log_cursor_seal(&c[i]);
        }
    r = log_cursor_pick(c, TOPIC);
    MUST(r == 0 || r == 1 || r == -ENODATA || r == -EBADMSG);
    if (r >= 0) {
        MUST(!log_cursor_check(&c[r], TOPIC) && memchr(c[r].name, 0, sizeof c[r].name));
        MUST(log_cursor_check(&c[!r], TOPIC) || c[!r].generation <= c[r].generation);
    }
    r = log_cursors_header_check(h, TOPIC);
    MUST(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
    free(c);
    free(h);
}

/* An index that says anything: whatever passes can be searched. */
static void
try_index(struct input *in)
{
    uint8_t how = input_u8(in);
    uint32_t entries = input_u8(in) % 8;
    size_t size = sizeof(struct log_index_header) + entries * sizeof(struct log_index_entry);
    struct log_index_header *h = exact(in, size, 0, false);
    struct log_index x;
    uint64_t value = input_u64(in);
    int r;

    if (how & 1) {
        h->magic = LOG_INDEX_MAGIC;
        h->version = LOG_VERSION;
        h->entries = entries;
        h->topic_id = TOPIC;
        h->first = 5;
    }
    if (how & 2)
        h->hash = log__hash_zeroed(h, size, offsetof(struct log_index_header, hash));
    if (how & 4)
        size = input_u16(in) % (size + 1);
    r = log_index_check(h, size, TOPIC, 5);
    MUST(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
    if (!r) {
        const struct log_index_entry *e;
        log_index_view(&x, h);
        e = log_index_seq(&x, value);
        MUST(!e || e->seq <= value);
        e = log_index_time(&x, value);
        MUST(!e || e->time_ns < value);
    }
    free(h);
}

static void
try_name(struct input *in)
{
    char name[LOG_NAME_ROOM] = "", again[LOG_NAME_ROOM];
    uint64_t first;

    (void)input_bytes(in, name, sizeof name - 1);
    if (log_segment_parse(name, &first))
        return;
    log_segment_name(first, again);
    MUST(!strcmp(name, again));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {.at = data, .left = len};

    if (!walk_buf) {
        walk_buf = malloc(LOG_BATCH_MAX);
        other_buf = malloc(LOG_BATCH_MAX + 3 * LOG_BLOCK);
        MUST(walk_buf && other_buf);
    }
    switch (input_u8(&in) % 12) {
    case 8:
        try_topic(&in);
        break;
    case 9:
        try_cursors(&in);
        break;
    case 10:
        try_index(&in);
        break;
    case 11:
        try_name(&in);
        break;
    default:
        try_segment(&in);
    }
    return 0;
}
