#include "tests/fuzz/scribble.h"

static uint64_t
clamp(uint64_t offset, uint64_t size)
{
    return (offset % (size - 7)) & ~7ull;
}

static uint64_t
slot_place(struct input *in, const struct ring_geometry *g)
{
    static const uint8_t fields[] = {0, 0, 0, 8, 16, 24, 24, 32};
    uint64_t slot = input_u8(in) % g->depth;

    return g->slots + slot * g->slot_size + fields[input_u8(in) % sizeof fields];
}

static uint64_t
line_place(struct input *in, const struct ring_geometry *g)
{
    static const uint8_t fields[] = {0, 0, 8, 16, 24, 32, 40, 48, 128, 128, 136, 136, 144};
    uint64_t line = input_u8(in) % g->max_publishers;

    return g->lines + line * sizeof(struct ring_line) + fields[input_u8(in) % sizeof fields];
}

static uint64_t
cursor_place(struct input *in, const struct ring_geometry *g)
{
    static const uint8_t fields[] = {0, 0, 0, 8, 8, 16, 48, 128, 136, 152, 160, 224};
    uint64_t cursor = input_u8(in) % g->max_cursors;

    return g->cursors + cursor * sizeof(struct ring_cursor) + fields[input_u8(in) % sizeof fields];
}

static uint64_t
word_place(struct input *in)
{
    static const uint16_t fields[] = {0, 8, 128, 256, 384};

    return RING_CONTROL_AT + fields[input_u8(in) % 5];
}

static void
choose_place(struct input *in, const struct scribble_target *t, struct scribble *s)
{
    const struct ring_geometry *g = &t->geo;
    uint8_t where = input_u8(in) % 16;

    s->control = where >= 11;
    switch (where) {
    case 0:
    case 1:
        s->offset = g->tail;
        break;
    case 2:
    case 3:
    case 4:
        s->offset = slot_place(in, g);
        break;
    case 5:
        s->offset = g->entries + input_u8(in) % g->max_publishers * sizeof(struct ring_entry) +
                    input_u8(in) % 8 * 8ull;
        break;
    case 6:
    case 7:
        s->offset = line_place(in, g);
        break;
    case 8:
        s->offset = RING_GEOMETRY_AT + input_u8(in) % 21 * 8ull;
        break;
    case 9:
        s->offset =
            input_u8(in) & 1 ? RING_DAEMON_AT + input_u8(in) % 64 * 8ull : input_u8(in) % 64 * 8ull;
        break;
    case 10:
        s->offset = input_u32(in);
        break;
    case 11:
        s->offset = word_place(in);
        break;
    case 12:
        s->offset = g->states + input_u8(in) % g->max_cursors * 8ull;
        break;
    case 13:
    case 14:
        s->offset = cursor_place(in, g);
        break;
    default:
        s->offset = input_u16(in);
        break;
    }
    s->offset = clamp(s->offset, s->control ? t->control_size : t->data_size);
}

static uint64_t
choose_value(struct input *in, const struct scribble_target *t, uint64_t now)
{
    uint64_t tail = t->word(t->user, false, clamp(t->geo.tail, t->data_size));
    uint8_t how = input_u8(in) % 16;
    uint64_t near = tail + (uint64_t)(int64_t)(int8_t)input_u8(in);

    switch (how) {
    case 0:
        return input_u64(in);
    case 1:
        return input_u8(in);
    case 2:
    case 3:
        return near;
    case 4:
    case 5:
        return ring_stamp(near, input_u8(in) & 7);
    case 6:
        return ring_stamp(near - t->geo.depth, input_u8(in) & 7);
    case 7:
        return (uint64_t)input_u16(in) << 32 | (uint64_t)input_u8(in) << 16 |
               input_u8(in) % (t->geo.max_publishers + 1);
    case 8:
        return ring_intent_pack(near, input_u8(in));
    case 9:
    case 10:
        return now + (uint64_t)(int64_t)(int8_t)input_u8(in);
    case 11:
        return (uint64_t)input_u8(in) << 8 | input_u8(in);
    case 12:
        return UINT64_MAX - input_u8(in);
    case 13:
        return (1ull << (input_u8(in) & 63)) - 1 + input_u8(in) % 3;
    case 14:
        return t->geo.lane_size * input_u8(in) + (uint64_t)input_u8(in) * 64;
    default:
        return now ^ (1ull << (input_u8(in) & 63));
    }
}

struct scribble
scribble_choose(struct input *in, const struct scribble_target *t)
{
    struct scribble s = {0};

    choose_place(in, t, &s);
    s.value = choose_value(in, t, t->word(t->user, s.control, s.offset));
    return s;
}
