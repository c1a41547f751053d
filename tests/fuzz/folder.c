#include "tests/fuzz/folder.h"

#include <inttypes.h>

#include "log/index.h"
#include "log/log_private.h"
#include "tests/fuzz/place.h"

#define NAME_MAX_LEN 200
#define ENTRIES 32
#define CURSORS 4

static void
write_file(const struct folder *f, const char *name, const void *bytes, size_t len, size_t size)
{
    char path[NAME_MAX_LEN];

    (void)snprintf(path, sizeof path, "%s/%s", f->path, name);
    place_file(path, bytes, len, size);
}

/* Changes some of the bytes. */
static void
spoil(struct folder *f, struct input *in, void *bytes, size_t len)
{
    unsigned char *at = bytes;

    for (unsigned n = 1 + (input_u8(in) & 3); n && len; n--)
        at[input_u16(in) % len] = input_u8(in);
    f->spoilt = f->spoilt_below = true;
}

/* --- small files ------------------------------------------------------------------------------ */

static void
write_topic(struct folder *f, struct input *in)
{
    uint8_t how = input_u8(in);
    struct log_topic t = {.topic_id = FOLDER_TOPIC_ID,
                          .created_ns = 1,
                          .depth = 16,
                          .lane_size = 4096,
                          .slot_size = 64,
                          .max_publishers = 2,
                          .max_cursors = 4,
                          .mode = 0600,
                          .retention_bytes = 16u << 20};

    memcpy(t.name, f->name, strlen(f->name));
    if ((how & 15) == 15)
        spoil(f, in, &t, sizeof t);
    log_topic_seal(&t);
    if ((how & 0xf0) == 0xf0)
        spoil(f, in, &t, sizeof t);
    write_file(f, "topic", &t, (how & 0xf0) == 0xe0 ? input_u16(in) % sizeof t : sizeof t, 0);
    f->spoilt |= (how & 0xf0) == 0xe0;
    f->spoilt_below |= (how & 0xf0) == 0xe0;
}

static void
fill_cursor(struct folder *f, struct input *in, uint32_t i, struct log_cursor *c)
{
    uint8_t how = input_u8(in);

    *c = (struct log_cursor){.topic_id = FOLDER_TOPIC_ID,
                             .generation = 1 + (how & 3),
                             .floor = 1 + input_u8(in),
                             .flags = how & 4 ? LOG_CURSOR_REMOVED : 0,
                             .name = "sub"};
    c->name[3] = (char)('0' + i);
    if (how & 8) {
        memset(c, 0, sizeof *c);
        return;
    }
    if ((how & 0xf0) == 0xf0)
        spoil(f, in, c, sizeof *c);
    log_cursor_seal(c);
    if ((how & 0xf0) == 0xe0)
        spoil(f, in, c, sizeof *c);
}

static void
write_cursors(struct folder *f, struct input *in)
{
    static unsigned char file[LOG_BLOCK * (1 + 2 * CURSORS)];
    uint8_t how = input_u8(in);
    uint32_t n = how & 3;
    struct log_cursors_header h = {.topic_id = FOLDER_TOPIC_ID};
    struct log_cursor c;
    size_t len = LOG_BLOCK * (1ull + 2ull * n);

    memset(file, 0, sizeof file);
    log_cursors_header_seal(&h);
    memcpy(file, &h, sizeof h);
    for (uint32_t i = 0; i < 2 * n; i++) {
        fill_cursor(f, in, i / 2, &c);
        memcpy(file + LOG_BLOCK * (1ull + i), &c, sizeof c);
    }
    if ((how & 0xf0) == 0xf0)
        spoil(f, in, file, len);
    if ((how & 0xf0) == 0xe0) {
        len = input_u16(in) % len;
        f->spoilt = f->spoilt_below = true;
    }
    write_file(f, "cursors", file, len, 0);
}

/* --- segments --------------------------------------------------------------------------------- */

/* The index that the daemon writes when it closes a segment. */
static void
write_index(struct folder *f, struct input *in, uint64_t first, uint8_t how)
{
    static unsigned char buf[LOG_BATCH_MAX];
    struct log_index_entry entries[ENTRIES];
    struct log_index index = {.entries = entries, .room = ENTRIES, .every = 1 + input_u16(in)};
    struct segment_file file = {.bytes = f->s.bytes, .len = f->s.len, .size = f->s.len};
    const struct log_source source = segment_source(&file);
    struct log_segment_header h;
    struct log_index_info info;
    unsigned char out[sizeof index.header + sizeof entries];
    char name[LOG_NAME_ROOM];
    struct log_walk w;
    size_t len;

    if (log_segment_check(&source, &h))
        return;
    log_walk_begin(&w, &source, &h, buf);
    while (log_walk_next(&w) == 1)
        log_index_note(&index, &w.batch, w.batch_offset);
    info = (struct log_index_info){.topic_id = h.topic_id,
                                   .first = h.first,
                                   .next = w.chain.next,
                                   .end = w.offset,
                                   .last_hash = w.chain.hash};
    if ((how & 0x30) == 0x30)
        spoil(f, in, entries, index.header.entries * sizeof *entries);
    log_index_seal(&index, &info);
    len = sizeof index.header + index.header.entries * sizeof *entries;
    memcpy(out, &index.header, sizeof index.header);
    memcpy(out + sizeof index.header, entries, len - sizeof index.header);
    if ((how & 0xc0) == 0xc0)
        spoil(f, in, out, len);
    log_index_name(first, name);
    write_file(f, name, out, len, 0);
}

/* One segment and, when another follows, its index. True: another may follow. */
static bool
write_segment(struct folder *f, struct input *in, const struct log_segment_info *info)
{
    uint8_t how = input_u8(in);
    char name[LOG_NAME_ROOM];
    bool more = how & 1;
    size_t size = LOG_SEGMENT_MIN;

    segment_build(&f->s, in, info);
    more = more && f->s.chain.next > info->first && f->segments < FOLDER_SEGMENTS;
    f->spoilt |= f->s.spoilt;
    f->spoilt_below |= f->s.spoilt && more;
    if ((how & 0xe) == 0xe) {
        size = input_u16(in) * 8ull;
        f->s.len = (uint32_t)shm_min(f->s.len, size);
        f->spoilt = f->spoilt_below = true;
    }
    log_segment_name(info->first, name);
    if ((how & 0xf0) == 0xf0)
        f->spoilt = f->spoilt_below = true; /* it is missing */
    else
        write_file(f, name, f->s.bytes, f->s.len, size);
    if (more || (how & 0xf0) == 0xe0)
        write_index(f, in, info->first, input_u8(in));
    return more;
}

static void
write_segments(struct folder *f, struct input *in)
{
    struct log_segment_info info = {.topic_id = FOLDER_TOPIC_ID,
                                    .first = 1,
                                    .size = LOG_SEGMENT_MIN,
                                    .created_ns = 1000,
                                    .topic = f->name};
    bool more = true;

    segment_open(&f->s);
    while (more && f->segments < FOLDER_SEGMENTS) {
        uint8_t how = input_u8(in);
        info.recycled = how & 1;
        if (!f->segments)
            info.first = 1 + (how >> 1);
        f->first[f->segments++] = info.first;
        more = write_segment(f, in, &info);
        info.first = f->s.chain.next;
        info.previous = f->s.chain.hash;
        info.created_ns = f->s.time_ns + 1;
        f->next = f->s.chain.next;
    }
}

/* --- what does not belong there --------------------------------------------------------------- */

static void
write_strange(struct folder *f, struct input *in)
{
    static const char *const names[] = {"spare-0.seg",
                                        "spare-18446744073709551615.seg",
                                        "00000000000000000000.seg",
                                        "18446744073709551615.seg",
                                        "00000000000000000007.idx",
                                        "00000000000000000099.seg",
                                        "topic.new",
                                        "strange"};
    uint8_t how = input_u8(in), bytes[64];
    char path[NAME_MAX_LEN];
    size_t len = input_bytes(in, bytes, how & 8 ? sizeof bytes : 0);

    if ((how & 0xf0) == 0xf0) {
        (void)snprintf(path, sizeof path, "%s/%s", f->path, names[how & 7]);
        place_folder(path);
    } else {
        write_file(f, names[how & 7], bytes, len, (how & 0xf0) == 0xe0 ? LOG_SEGMENT_MIN : len);
    }
    f->spoilt = f->spoilt_below = true;
}

void
folder_build(struct folder *f, struct input *in)
{
    f->segments = 0;
    f->spoilt = f->spoilt_below = false;
    place_clear(f->path);
    place_folder(f->path);
    write_segments(f, in);
    write_topic(f, in);
    write_cursors(f, in);
    for (unsigned n = input_u8(in) & 3; n; n--)
        write_strange(f, in);
}
