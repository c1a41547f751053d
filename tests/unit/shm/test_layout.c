/* The header check: what is good passes, and each field that is wrong is refused with its own verdict. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "shm/layout.h"

#define SIZE 8192

static struct shm_header
good(void)
{
    struct shm_header h;

    memset(&h, 0, sizeof h);
    h.version = SHM_VERSION;
    h.kind = SHM_KIND_CONTROL;
    h.size = SIZE;
    h.name_len = 4;
    memcpy(h.name, "name", 4);
    atom_store_release(&h.magic, SHM_MAGIC);
    return h;
}

static int
check(const struct shm_header *h)
{
    uint32_t version = 999;
    int r = shm_header_check(h, SIZE, SHM_KIND_CONTROL, &version);

    assert_int_equal(version, r == -EPROTONOSUPPORT ? h->version : 999);
    return r;
}

static void
a_good_header_passes(void **state)
{
    struct shm_header h = good();

    (void)state;
    assert_int_equal(check(&h), 0);
    h.compatible = UINT64_MAX;
    assert_int_equal(check(&h), 0);
}

static void
an_object_smaller_than_a_header_is_refused(void **state)
{
    struct shm_header h = good();
    uint32_t version;

    (void)state;
    h.size = sizeof h;
    assert_int_equal(shm_header_check(&h, sizeof h, SHM_KIND_CONTROL, &version), 0);
    h.size = sizeof h - 1;
    assert_int_equal(shm_header_check(&h, sizeof h - 1, SHM_KIND_CONTROL, &version), -EBADMSG);
    assert_int_equal(shm_header_check(&h, 0, SHM_KIND_CONTROL, &version), -EBADMSG);
}

static void
every_bit_of_the_magic_counts(void **state)
{
    (void)state;
    for (int bit = 0; bit < 64; bit++) {
        struct shm_header h = good();
        atom_store_release(&h.magic, SHM_MAGIC ^ 1ull << bit);
        assert_int_equal(check(&h), -EBADMSG);
    }
}

static void
another_version_is_named(void **state)
{
    static const uint32_t versions[] = {0, 2, UINT32_MAX};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct shm_header h = good();
        h.version = versions[i];
        assert_int_equal(check(&h), -EPROTONOSUPPORT);
    }
}

static void
an_unknown_incompatible_bit_is_refused(void **state)
{
    (void)state;
    for (int bit = 0; bit < 64; bit++) {
        struct shm_header h = good();
        h.incompatible = 1ull << bit;
        assert_int_equal(check(&h), SHM_INCOMPATIBLE_KNOWN >> bit & 1 ? 0 : -EPROTONOSUPPORT);
    }
}

static void
kind_and_size_must_be_what_was_mapped(void **state)
{
    struct shm_header h = good();

    (void)state;
    h.kind = SHM_KIND_DATA;
    assert_int_equal(check(&h), -EBADMSG);
    h = good();
    h.size = SIZE - 1;
    assert_int_equal(check(&h), -EBADMSG);
    h.size = SIZE + 4096;
    assert_int_equal(check(&h), -EBADMSG);
}

static void
the_name_has_a_length_and_an_end(void **state)
{
    struct shm_header h = good();

    (void)state;
    h.name_len = 0;
    assert_int_equal(check(&h), -EBADMSG);
    h.name_len = LIMIT_TOPIC_NAME + 1;
    assert_int_equal(check(&h), -EBADMSG);
    h.name_len = UINT32_MAX;
    assert_int_equal(check(&h), -EBADMSG);
    h = good();
    memset(h.name, 'x', sizeof h.name);
    h.name_len = LIMIT_TOPIC_NAME;
    assert_int_equal(check(&h), -EBADMSG);
    h.name[LIMIT_TOPIC_NAME] = '\0';
    assert_int_equal(check(&h), 0);
}

static void
alignment_and_ranges_do_not_overflow(void **state)
{
    (void)state;
    assert_int_equal(shm_align(0, 64), 0);
    assert_int_equal(shm_align(1, 64), 64);
    assert_int_equal(shm_align(64, 64), 64);
    assert_true(shm_within(0, 10, 10));
    assert_false(shm_within(1, 10, 10));
    assert_true(shm_within(10, 0, 10));
    assert_false(shm_within(11, 0, 10));
    assert_false(shm_within(UINT64_MAX, 2, 10));
    assert_false(shm_within(2, UINT64_MAX, 10));
    assert_false(shm_is_power_of_two(0));
    assert_true(shm_is_power_of_two(1ull << 63));
    assert_false(shm_is_power_of_two(UINT64_MAX));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_header_passes),
        cmocka_unit_test(an_object_smaller_than_a_header_is_refused),
        cmocka_unit_test(every_bit_of_the_magic_counts),
        cmocka_unit_test(another_version_is_named),
        cmocka_unit_test(an_unknown_incompatible_bit_is_refused),
        cmocka_unit_test(kind_and_size_must_be_what_was_mapped),
        cmocka_unit_test(the_name_has_a_length_and_an_end),
        cmocka_unit_test(alignment_and_ranges_do_not_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
