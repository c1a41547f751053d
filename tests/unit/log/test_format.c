/* The small files, the hashes, and bytes that must never change. */
#include "log/log_private.h"
#include "tests/unit/log/fixture.h"

/* The tables of docs/format.md: whoever moves a field has a page to change there. */
SHM_AT(struct log_segment_header, magic, 0);
SHM_AT(struct log_segment_header, version, 8);
SHM_AT(struct log_segment_header, incompatible, 12);
SHM_AT(struct log_segment_header, topic_id, 16);
SHM_AT(struct log_segment_header, first, 24);
SHM_AT(struct log_segment_header, previous, 32);
SHM_AT(struct log_segment_header, size, 40);
SHM_AT(struct log_segment_header, created_ns, 48);
SHM_AT(struct log_segment_header, hash, 56);
SHM_AT(struct log_segment_header, topic, 64);
SHM_AT(struct log_segment_header, compatible, 272);
SHM_AT(struct log_batch, magic, 0);
SHM_AT(struct log_batch, version, 4);
SHM_AT(struct log_batch, topic_id, 8);
SHM_AT(struct log_batch, first, 16);
SHM_AT(struct log_batch, count, 24);
SHM_AT(struct log_batch, records, 28);
SHM_AT(struct log_batch, bytes, 32);
SHM_AT(struct log_batch, pad, 36);
SHM_AT(struct log_batch, previous, 40);
SHM_AT(struct log_batch, durable, 48);
SHM_AT(struct log_batch, time_ns, 56);
SHM_AT(struct log_batch, hash, 64);
SHM_AT(struct log_batch, partial, 72);
SHM_AT(struct log_batch, reserved, 76);
SHM_AT(struct log_record, seq, 0);
SHM_AT(struct log_record, time_ns, 8);
SHM_AT(struct log_record, key, 16);
SHM_AT(struct log_record, len, 24);
SHM_AT(struct log_record, total, 28);
SHM_AT(struct log_record, offset, 32);
SHM_AT(struct log_record, type, 36);
SHM_AT(struct log_record, publisher, 38);
SHM_AT(struct log_index_header, magic, 0);
SHM_AT(struct log_index_header, version, 8);
SHM_AT(struct log_index_header, entries, 12);
SHM_AT(struct log_index_header, topic_id, 16);
SHM_AT(struct log_index_header, first, 24);
SHM_AT(struct log_index_header, next, 32);
SHM_AT(struct log_index_header, end, 40);
SHM_AT(struct log_index_header, last_hash, 48);
SHM_AT(struct log_index_header, hash, 56);
SHM_AT(struct log_index_entry, seq, 0);
SHM_AT(struct log_index_entry, time_ns, 8);
SHM_AT(struct log_index_entry, offset, 16);
SHM_AT(struct log_index_entry, hash, 24);
SHM_AT(struct log_topic, magic, 0);
SHM_AT(struct log_topic, version, 8);
SHM_AT(struct log_topic, incompatible, 12);
SHM_AT(struct log_topic, topic_id, 16);
SHM_AT(struct log_topic, created_ns, 24);
SHM_AT(struct log_topic, depth, 32);
SHM_AT(struct log_topic, lane_size, 40);
SHM_AT(struct log_topic, slot_size, 48);
SHM_AT(struct log_topic, max_publishers, 52);
SHM_AT(struct log_topic, max_cursors, 56);
SHM_AT(struct log_topic, timestamps, 60);
SHM_AT(struct log_topic, mode, 64);
SHM_AT(struct log_topic, uid, 68);
SHM_AT(struct log_topic, gid, 72);
SHM_AT(struct log_topic, retain_until_acked, 76);
SHM_AT(struct log_topic, retention_bytes, 80);
SHM_AT(struct log_topic, retention_ns, 88);
SHM_AT(struct log_topic, lag_ns, 96);
SHM_AT(struct log_topic, name, 104);
SHM_AT(struct log_topic, hash, 312);
SHM_AT(struct log_cursors_header, magic, 0);
SHM_AT(struct log_cursor, magic, 0);
SHM_AT(struct log_cursors_header, version, 8);
SHM_AT(struct log_cursor, topic_id, 8);
SHM_AT(struct log_cursors_header, reserved, 12);
SHM_AT(struct log_cursor, generation, 16);
SHM_AT(struct log_cursors_header, topic_id, 16);
SHM_AT(struct log_cursor, floor, 24);
SHM_AT(struct log_cursors_header, hash, 24);
SHM_AT(struct log_cursor, time_ns, 32);
SHM_AT(struct log_cursor, flags, 40);
SHM_AT(struct log_cursor, reserved, 44);
SHM_AT(struct log_cursor, name, 48);
SHM_AT(struct log_cursor, hash, 112);

static void
magics_are_readable_in_a_dump(void **state)
{
    const struct {
        uint64_t value;
        const char *text;
    } magics[] = {
        {LOG_SEGMENT_MAGIC, "LEATSEG1"}, {LOG_INDEX_MAGIC, "LEATIDX1"},
        {LOG_TOPIC_MAGIC, "LEATTOP1"},   {LOG_CURSORS_MAGIC, "LEATCUR1"},
        {LOG_CURSOR_MAGIC, "LEATCRS1"},
    };
    uint32_t batch = LOG_BATCH_MAGIC;

    (void)state;
    for (size_t i = 0; i < sizeof magics / sizeof magics[0]; i++)
        assert_memory_equal(&magics[i].value, magics[i].text, 8);
    assert_memory_equal(&batch, "LTBH", 4);
}

static void
hash_in_parts_is_the_hash_in_one(void **state)
{
    static unsigned char bytes[70000];
    unsigned char field[8];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = content(9, i);
    for (uint32_t len = 16; len <= sizeof bytes; len += len < 2000 ? 1 : 997) {
        uint32_t at = len / 3 & ~7u;
        uint64_t zeroed = log__hash_zeroed(bytes, len, at);

        assert_int_equal(log__hash_two(bytes, at, bytes + at, len - at), log_hash(bytes, len));
        memcpy(field, bytes + at, 8);
        memset(bytes + at, 0, 8);
        assert_int_equal(zeroed, XXH3_64bits(bytes, len));
        memcpy(bytes + at, field, 8);
    }
    assert_int_equal(log__hash_two(bytes, 64, NULL, 0), log_hash(bytes, 64));
}

static void
zeros_are_seen(void **state)
{
    unsigned char bytes[64] = {0};

    (void)state;
    for (uint32_t len = 0; len <= sizeof bytes; len++) {
        assert_true(log__is_zero(bytes, len));
        for (uint32_t i = 0; i < len; i++) {
            bytes[i] = 1;
            assert_false(log__is_zero(bytes, len));
            bytes[i] = 0;
        }
    }
}

static struct log_topic
a_topic(void)
{
    struct log_topic t = {
        .topic_id = TOPIC_ID,
        .created_ns = 5,
        .depth = 1024,
        .lane_size = 1 << 20,
        .slot_size = 64,
        .max_publishers = 8,
        .max_cursors = 16,
        .mode = 0660,
        .retention_bytes = 1ull << 30,
        .name = "plant.line-1",
    };

    log_topic_seal(&t);
    return t;
}

static struct log_cursor
a_cursor(uint64_t generation)
{
    struct log_cursor c = {
        .topic_id = TOPIC_ID,
        .generation = generation,
        .floor = 100 + generation,
        .time_ns = 7,
        .name = "billing",
    };

    log_cursor_seal(&c);
    return c;
}

static void
topic_file_is_checked(void **state)
{
    struct log_topic t = a_topic();
    unsigned char *bytes = (unsigned char *)&t;

    (void)state;
    assert_int_equal(log_topic_check(&t, sizeof t), 0);
    assert_int_equal(log_topic_check(&t, LOG_BLOCK), 0);
    for (size_t size = 0; size < sizeof t; size++)
        assert_int_equal(log_topic_check(&t, size), -EBADMSG);
    for (size_t i = 0; i < sizeof t; i++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] = (unsigned char)(bytes[i] ^ 1 << bit);
            assert_int_not_equal(log_topic_check(&t, sizeof t), 0);
            bytes[i] = (unsigned char)(bytes[i] ^ 1 << bit);
        }
    }
    assert_int_equal(log_topic_check(&t, sizeof t), 0);
}

static void
topic_of_another_version_is_told_apart(void **state)
{
    struct log_topic t = a_topic();

    (void)state;
    t.version = LOG_VERSION + 1;
    assert_int_equal(log_topic_check(&t, sizeof t), -EPROTONOSUPPORT);
    log_topic_seal(&t);
    t.incompatible = 1;
    log_topic_seal(&t);
    assert_int_equal(log_topic_check(&t, sizeof t), -EPROTONOSUPPORT);
    t = a_topic();
    memset(t.name, 'x', sizeof t.name);
    log_topic_seal(&t);
    assert_int_equal(log_topic_check(&t, sizeof t), -EBADMSG);
    memset(t.name, 0, sizeof t.name);
    log_topic_seal(&t);
    assert_int_equal(log_topic_check(&t, sizeof t), -EBADMSG);
    t = a_topic();
    t.name[100] = 'x';
    log_topic_seal(&t);
    assert_int_equal(log_topic_check(&t, sizeof t), -EBADMSG);
}

static void
cursors_header_is_checked(void **state)
{
    struct log_cursors_header h = {.topic_id = TOPIC_ID};
    unsigned char *bytes = (unsigned char *)&h;

    (void)state;
    log_cursors_header_seal(&h);
    assert_int_equal(log_cursors_header_check(&h, TOPIC_ID), 0);
    assert_int_equal(log_cursors_header_check(&h, TOPIC_ID + 1), -EBADMSG);
    for (size_t i = 0; i < sizeof h; i++) {
        bytes[i] ^= 0x40;
        assert_int_not_equal(log_cursors_header_check(&h, TOPIC_ID), 0);
        bytes[i] ^= 0x40;
    }
    h.version = LOG_VERSION + 1;
    assert_int_equal(log_cursors_header_check(&h, TOPIC_ID), -EPROTONOSUPPORT);
}

static void
cursor_record_is_checked(void **state)
{
    struct log_cursor c = a_cursor(3);
    unsigned char *bytes = (unsigned char *)&c;

    (void)state;
    assert_int_equal(log_cursor_check(&c, TOPIC_ID), 0);
    assert_int_equal(log_cursor_check(&c, TOPIC_ID + 1), -EBADMSG);
    for (size_t i = 0; i < sizeof c; i++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] = (unsigned char)(bytes[i] ^ 1 << bit);
            assert_int_equal(log_cursor_check(&c, TOPIC_ID), -EBADMSG);
            bytes[i] = (unsigned char)(bytes[i] ^ 1 << bit);
        }
    }
    c = a_cursor(0);
    assert_int_equal(log_cursor_check(&c, TOPIC_ID), -EBADMSG);
    c = a_cursor(1);
    memset(c.name, 'x', sizeof c.name);
    log_cursor_seal(&c);
    assert_int_equal(log_cursor_check(&c, TOPIC_ID), -EBADMSG);
    memset(&c, 0, sizeof c);
    assert_int_equal(log_cursor_check(&c, TOPIC_ID), -ENODATA);
}

static void
newer_valid_copy_counts(void **state)
{
    struct log_cursor c[2] = {a_cursor(4), a_cursor(5)};
    const struct log_cursor empty = {0};

    (void)state;
    assert_int_equal(log_cursor_pick(c, TOPIC_ID), 1);
    c[0] = a_cursor(6);
    assert_int_equal(log_cursor_pick(c, TOPIC_ID), 0);
    c[0].floor++; /* torn while it was written: the older one counts */
    assert_int_equal(log_cursor_pick(c, TOPIC_ID), 1);
    c[1].floor++;
    assert_int_equal(log_cursor_pick(c, TOPIC_ID), -EBADMSG);
    c[0] = empty;
    assert_int_equal(log_cursor_pick(c, TOPIC_ID), -EBADMSG);
    c[1] = empty;
    assert_int_equal(log_cursor_pick(c, TOPIC_ID), -ENODATA);
    c[0] = a_cursor(1);
    assert_int_equal(log_cursor_pick(c, TOPIC_ID), 0);
}

/* A torn write of a cursor record at any length, over the older content of its block, never
 * passes. */
static void
torn_copy_never_counts(void **state)
{
    struct log_cursor older = a_cursor(3), newer = a_cursor(5);

    (void)state;
    newer.floor = UINT64_MAX / 3;
    log_cursor_seal(&newer);
    for (size_t n = 0; n <= sizeof newer; n++) {
        struct log_cursor c[2] = {older, a_cursor(4)};

        memcpy(&c[0], &newer, n);
        if (!memcmp(&c[0], &newer, sizeof newer))
            assert_int_equal(log_cursor_pick(c, TOPIC_ID), 0);
        else
            assert_int_equal(log_cursor_pick(c, TOPIC_ID), 1);
    }
}

/* Hashes of structs with fixed content. If one of these changes, old stores can no longer be read:
 * that needs another version number, not another number here. */
static void
format_does_not_drift(void **state)
{
    struct log_topic t = a_topic();
    struct log_cursor c = a_cursor(3);
    struct log_cursors_header h = {.topic_id = TOPIC_ID};
    struct log_segment_header s;
    struct writer w = {0};
    struct log_batch b;

    (void)state;
    log_cursors_header_seal(&h);
    writer_open(&w, 42, 0x5555, false);
    memcpy(&s, w.m.bytes, sizeof s);
    w.durable = 41;
    (void)writer_batch(&w, 3, 100);
    memcpy(&b, w.m.bytes + LOG_BLOCK, sizeof b);
    assert_int_equal(t.hash, 0xf65d08a2ceeb88ba);
    assert_int_equal(c.hash, 0x3261b59512365b49);
    assert_int_equal(h.hash, 0xd6da47b21d4b77df);
    assert_int_equal(s.hash, 0x58bcb6f71e6b8da4);
    assert_int_equal(b.hash, 0xda5bf31c5309b18d);
    writer_close(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(magics_are_readable_in_a_dump),
        cmocka_unit_test(hash_in_parts_is_the_hash_in_one),
        cmocka_unit_test(zeros_are_seen),
        cmocka_unit_test(topic_file_is_checked),
        cmocka_unit_test(topic_of_another_version_is_told_apart),
        cmocka_unit_test(cursors_header_is_checked),
        cmocka_unit_test(cursor_record_is_checked),
        cmocka_unit_test(newer_valid_copy_counts),
        cmocka_unit_test(torn_copy_never_counts),
        cmocka_unit_test(format_does_not_drift),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
