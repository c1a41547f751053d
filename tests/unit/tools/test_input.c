#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/input.h"

static struct input
of_bytes(const void *data, size_t len)
{
    int fd = memfd_create("input", MFD_CLOEXEC);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), len);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return (struct input){.fd = fd, .separator = '\n', .max = 1u << 20};
}

static void
end(struct input *in)
{
    (void)close(in->fd);
    input_free(in);
}

static void
next_is(struct input *in, const char *want)
{
    const char *data = NULL;
    size_t len = 0;

    assert_int_equal(input_next(in, true, &data, &len), 1);
    assert_int_equal(len, strlen(want));
    assert_memory_equal(data, want, len);
}

static void
nothing_is_left(struct input *in)
{
    const char *data = NULL;
    size_t len = 0;

    assert_int_equal(input_next(in, true, &data, &len), 0);
    assert_int_equal(input_next(in, true, &data, &len), 0);
    assert_null(data);
}

static void
lines(void **state)
{
    struct input in = of_bytes("one\n\nthree\nlast", 15);

    (void)state;
    next_is(&in, "one");
    next_is(&in, "");
    next_is(&in, "three");
    next_is(&in, "last");
    nothing_is_left(&in);
    assert_int_equal(in.number, 4);
    end(&in);
    in = of_bytes("a\n", 2);
    next_is(&in, "a");
    nothing_is_left(&in);
    end(&in);
    in = of_bytes("", 0);
    nothing_is_left(&in);
    end(&in);
}

static void
a_whole_stream_is_one_message(void **state)
{
    struct input in = of_bytes("a\nb\n", 4);

    (void)state;
    in.whole = true;
    next_is(&in, "a\nb\n");
    nothing_is_left(&in);
    end(&in);
    in = of_bytes("", 0);
    in.whole = true;
    next_is(&in, "");
    nothing_is_left(&in);
    end(&in);
}

static void
what_is_too_long_is_said(void **state)
{
    struct input in = of_bytes("12345678\n123456789\n", 19);
    const char *data = NULL;
    size_t len = 0;

    (void)state;
    in.max = 8;
    next_is(&in, "12345678");
    assert_int_equal(input_next(&in, true, &data, &len), -EMSGSIZE);
    end(&in);
    in = of_bytes("123456789", 9);
    in.max = 8;
    in.whole = true;
    assert_int_equal(input_next(&in, true, &data, &len), -EMSGSIZE);
    assert_null(data);
    end(&in);
}

/* Without waiting only what has been read is given; and it stays where it is until a call that may wait. */
static void
nobody_waits_for_a_batch(void **state)
{
    const char *a, *b, *c = NULL;
    size_t len;
    int fds[2];
    struct input in = {.separator = '\n', .max = 100};

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    in.fd = fds[0];
    assert_int_equal(write(fds[1], "one\ntwo\nthr", 11), 11);
    assert_int_equal(input_next(&in, false, &c, &len), 0);
    assert_int_equal(input_next(&in, true, &a, &len), 1);
    assert_int_equal(input_next(&in, false, &b, &len), 1);
    assert_int_equal(input_next(&in, false, &c, &len), 0);
    assert_memory_equal(a, "one", 3);
    assert_memory_equal(b, "two", 3);
    assert_null(c);
    assert_int_equal(write(fds[1], "ee\n", 3), 3);
    assert_int_equal(input_next(&in, true, &c, &len), 1);
    assert_int_equal(len, 5);
    assert_memory_equal(c, "three", 5);
    (void)close(fds[1]);
    nothing_is_left(&in);
    end(&in);
}

/* Longer than what is read at once, so that lines lie over its ends. */
static void
many_lines(void **state)
{
    size_t n = 100000, len = 0;
    char *text = malloc(n * 8), want[16];
    struct input in;

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(text + len, 9, "%zu\n", i);
    in = of_bytes(text, len);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(want, sizeof want, "%zu", i);
        next_is(&in, want);
    }
    nothing_is_left(&in);
    assert_true(in.cap < 1u << 20);
    end(&in);
    free(text);
}

static void
a_failed_read_is_told(void **state)
{
    struct input in = {.fd = -1, .separator = '\n', .max = 100};
    const char *data;
    size_t len;

    (void)state;
    assert_int_equal(input_next(&in, true, &data, &len), -EBADF);
    input_free(&in);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),
        cmocka_unit_test(a_whole_stream_is_one_message),
        cmocka_unit_test(what_is_too_long_is_said),
        cmocka_unit_test(nobody_waits_for_a_batch),
        cmocka_unit_test(many_lines),
        cmocka_unit_test(a_failed_read_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
