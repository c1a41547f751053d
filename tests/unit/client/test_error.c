/* Texts of errors: of codes, of a bus, each thread its own copy. */
#include "tests/unit/client/bus.h"

#include <pthread.h>

static void
test_strerror(void **state)
{
    static const int codes[] = {
        0,       -EAGAIN, -EACCES, -EBADMSG,   -EBUSY,      -ECHILD,          -ECONNREFUSED,
        -EEXIST, -EIDRM,  -EINVAL, -EIO,       -EMSGSIZE,   -ENOBUFS,         -ENOENT,
        -ENOMEM, -ENOSPC, -ESTALE, -ETIMEDOUT, -EOPNOTSUPP, -EPROTONOSUPPORT, -E2BIG};

    (void)state;
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++)
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(leat_strerror(codes[i]), leat_strerror(codes[k]));
    assert_string_equal(leat_strerror(-EXDEV), strerror(EXDEV));
    assert_non_null(strstr(leat_strerror(5), "5"));
}

static void
test_text_names_things(void **state)
{
    struct bus *b = *state;
    leat_pub *p = NULL;

    assert_int_equal(leat_pub_open(b->bus, "error.absent", NULL, &p), -ENOENT);
    assert_non_null(strstr(leat_error(b->bus), "error.absent"));
    assert_int_equal(leat_pub_open(b->bus, "error absent", NULL, &p), -EINVAL);
    assert_non_null(strstr(leat_error(b->bus), "'error absent'"));
}

static void *
say_other(void *arg)
{
    struct bus *b = arg;
    leat_pub *p = NULL;
    int r = leat_pub_open(b->bus, "error.other", NULL, &p);

    return r == -ENOENT && strstr(leat_error(b->bus), "error.other") ? NULL : arg;
}

static void
test_copy_is_the_threads(void **state)
{
    struct bus *b = *state;
    const char *text;
    leat_pub *p = NULL;
    pthread_t thread;
    void *failed;

    assert_int_equal(leat_pub_open(b->bus, "error.mine", NULL, &p), -ENOENT);
    text = leat_error(b->bus);
    assert_int_equal(pthread_create(&thread, NULL, say_other, b), 0);
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
    assert_non_null(strstr(text, "error.mine"));
    assert_non_null(strstr(leat_error(b->bus), "error.other"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strerror),
        cmocka_unit_test(test_text_names_things),
        cmocka_unit_test(test_copy_is_the_threads),
    };

    return cmocka_run_group_tests(tests, bus_setup, bus_teardown);
}
