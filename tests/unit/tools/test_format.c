#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "tools/format.h"

static struct format_message
message(const void *data, size_t len)
{
    return (struct format_message){.topic = "t.opic",
                                   .data = data,
                                   .len = len,
                                   .seq = 42,
                                   .key = UINT64_MAX,
                                   .time_ns = 1896091200000000001,
                                   .type = 7,
                                   .publisher = 3};
}

static void
a_format_is(const char *format, const char *want, size_t len)
{
    struct format_message m = message("pay\0load", 8);
    struct buf b = {0};

    assert_null(format_check(format));
    format_text(&b, format, &m);
    assert_int_equal(b.len, len);
    assert_memory_equal(b.data ? b.data : "", want, len);
    buf_free(&b);
}

static void
fields_and_escapes(void **state)
{
    (void)state;
    a_format_is("", "", 0);
    a_format_is("%s", "pay\0load", 8);
    a_format_is("%o %k %y %p %t %S", "42 18446744073709551615 7 3 t.opic 8", 36);
    a_format_is("%T|%D", "1896091200000000001|2030-01-31T12:00:00.000000001Z", 50);
    a_format_is("100%%\\n\\t\\r\\0\\\\\\x41\\e", "100%\n\t\r\0\\A\033", 11);
}

static void
bad_formats_are_refused(void **state)
{
    static const char *const bad[] = {"%", "x%", "\\", "%q", "\\q", "\\x4", "\\xzz", "%s%", "\\x"};

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_non_null(format_check(bad[i]));
    assert_null(format_check("%%%s\\\\%o"));
}

/* Whatever the bytes are, the line is JSON and gives them back. */
static void
json_of_any_bytes(void **state)
{
    static const char *const utf8[] = {"",
                                       "plain",
                                       "q\"\\/\b\f\n\r\t\001\037",
                                       "\302\200 \337\277",
                                       "\340\240\200\357\277\277",
                                       "\360\220\200\200\364\217\277\277"};
    static const char *const other[] = {"\377",
                                        "\200",
                                        "\300\200",
                                        "\301\277",
                                        "\340\237\277",
                                        "\355\240\200",
                                        "\360\217\277\277",
                                        "\364\220\200\200",
                                        "\365\200\200\200",
                                        "a\302",
                                        "a\360\220\200"};

    (void)state;
    for (size_t i = 0; i < sizeof utf8 / sizeof *utf8 + sizeof other / sizeof *other; i++) {
        size_t n = sizeof utf8 / sizeof *utf8;
        const char *text = i < n ? utf8[i] : other[i - n];
        struct format_message m = message(text, strlen(text));
        struct buf b = {0};
        json_t *o, *payload;

        m.key = 5;
        format_json(&b, &m);
        o = json_loadb(b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(o);
        payload = json_object_get(o, "payload");
        assert_int_equal(payload != NULL, i < n);
        assert_int_equal(json_object_get(o, "payload_base64") != NULL, i >= n);
        if (payload) {
            assert_int_equal(json_string_length(payload), m.len);
            assert_memory_equal(json_string_value(payload), text, m.len);
        }
        assert_int_equal(json_integer_value(json_object_get(o, "length")), m.len);
        assert_int_equal(b.data[b.len - 1], '\n');
        assert_null(memchr(b.data, '\n', b.len - 1));
        json_decref(o);
        buf_free(&b);
    }
}

static void
json_of_a_zero_byte(void **state)
{
    struct format_message m = message("a\0b", 3);
    struct buf b = {0};

    (void)state;
    format_json(&b, &m);
    buf_char(&b, '\0');
    assert_non_null(strstr(b.data, "\"payload\":\"a\\u0000b\"}"));
    buf_free(&b);
}

static void
base64(void **state)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\377\376\375", "//79"}};

    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct buf b = {0};
        buf_base64(&b, pairs[i][0], strlen(pairs[i][0]));
        buf_char(&b, '\0');
        assert_string_equal(b.data, pairs[i][1]);
        buf_free(&b);
    }
}

static void
a_dump_has_its_columns(void **state)
{
    struct buf b = {0};

    (void)state;
    buf_dump(&b, "0123456789abcdefXYZ\n", 20, " ");
    buf_char(&b, '\0');
    assert_string_equal(
        b.data, " 00000000  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  |0123456789abcdef|\n"
                " 00000010  58 59 5a 0a                                       |XYZ.|\n");
    buf_free(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_and_escapes),
        cmocka_unit_test(bad_formats_are_refused),
        cmocka_unit_test(json_of_any_bytes),
        cmocka_unit_test(json_of_a_zero_byte),
        cmocka_unit_test(base64),
        cmocka_unit_test(a_dump_has_its_columns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
