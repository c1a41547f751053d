/* Names: every byte, every length, every place of a dot; patterns; objects; prefixes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "shm/name.h"
#include "tests/support/fixture.h"

static void
every_byte_is_allowed_or_not(void **state)
{
    (void)state;
    for (int c = 1; c < 256; c++) {
        char name[] = {'a', (char)c, 'b', '\0'};
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '.' || c == '_' || c == '-';
        assert_int_equal(!shm_name_check(name), good);
        assert_int_equal(!shm_sub_name_check(name), good);
    }
}

static void
lengths_have_an_end(void **state)
{
    char name[512];

    (void)state;
    assert_string_equal(shm_name_check(""), "is empty");
    assert_string_equal(shm_sub_name_check(""), "is empty");
    for (size_t len = 1; len < 300; len++) {
        memset(name, 'n', len);
        name[len] = '\0';
        assert_int_equal(!shm_name_check(name), len <= LIMIT_TOPIC_NAME);
        assert_int_equal(!shm_sub_name_check(name), len <= LIMIT_SUB_NAME);
    }
    assert_non_null(strstr(shm_name_check(name), "200"));
    assert_non_null(strstr(shm_sub_name_check(name), "63"));
}

static void
dots_and_dashes_have_their_places(void **state)
{
    static const char *const good[] = {"a", "a.b", "a.b.c", "_a", "a-", "0", "a.-b", "A_B-c.9"};
    static const char *const bad[] = {".", "..", ".a",  "a.",  "a..b",
                                      "-", "-a", "a/b", "a b", "../x"};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_null(shm_name_check(good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_non_null(shm_name_check(bad[i]));
}

static void
patterns_match(void **state)
{
    static const struct {
        const char *pattern, *name;
        bool match;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "anything", true},
        {"a", "a", true},
        {"a", "b", false},
        {"a", "ab", false},
        {"ab", "a", false},
        {"?", "a", true},
        {"?", "", false},
        {"??", "a", false},
        {"a*", "a", true},
        {"a*", "abc", true},
        {"*c", "abc", true},
        {"*c", "abcd", false},
        {"a*c", "abbbc", true},
        {"a*c", "abbb", false},
        {"a*b*c", "aXbYbZc", true},
        {"*.*", "a.b", true},
        {"*.*", "ab", false},
        {"**", "x", true},
        {"*a*a*a", "aaa", true},
        {"*a*a*a", "aa", false},
        {"orders.?", "orders.1", true},
        {"orders.?", "orders.12", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (shm_name_matches(cases[i].pattern, cases[i].name) != cases[i].match)
            fail_msg("'%s' against '%s'", cases[i].pattern, cases[i].name);
}

/* The plain definition, as slow as it likes. */
static bool
slow_match(const char *p, const char *n)
{
    if (!*p)
        return !*n;
    if (*p == '*')
        return slow_match(p + 1, n) || (*n && slow_match(p, n + 1));
    return *n && (*p == '?' || *p == *n) && slow_match(p + 1, n + 1);
}

static void
patterns_match_as_defined(void **state)
{
    struct prng rng = {fixture_seed()};

    (void)state;
    for (int i = 0; i < 20000; i++) {
        char pattern[8], name[10];
        size_t plen = prng_below(&rng, sizeof pattern), nlen = prng_below(&rng, sizeof name);
        for (size_t k = 0; k < plen; k++)
            pattern[k] = "ab*?"[prng_below(&rng, 4)];
        for (size_t k = 0; k < nlen; k++)
            name[k] = "ab"[prng_below(&rng, 2)];
        pattern[plen] = name[nlen] = '\0';
        if (shm_name_matches(pattern, name) != slow_match(pattern, name))
            fail_msg("'%s' against '%s'", pattern, name);
    }
}

static void
the_longest_object_name_fits(void **state)
{
    char topic[LIMIT_TOPIC_NAME + 1], prefix[LIMIT_SHM_PREFIX], object[SHM_NAME_ROOM];

    (void)state;
    memset(topic, 't', sizeof topic - 1);
    topic[sizeof topic - 1] = '\0';
    memset(prefix, 'p', sizeof prefix - 1);
    prefix[sizeof prefix - 1] = '\0';
    shm_name_object(prefix, topic, SHM_KIND_CONTROL, object);
    assert_int_equal(strlen(object), 1 + 39 + 1 + 200 + 8);
    assert_true(strlen(object) - 1 <= 255);
    assert_string_equal(object + strlen(object) - 8, ".control");
    shm_name_object("p", "a.b", SHM_KIND_DATA, object);
    assert_string_equal(object, "/p.a.b.data");
}

static void
prefixes_differ_by_socket(void **state)
{
    char a[LIMIT_SHM_PREFIX], b[LIMIT_SHM_PREFIX];

    (void)state;
    shm_name_prefix("/run/leat/bus", a);
    shm_name_prefix("/run/leat/bus", b);
    assert_string_equal(a, b);
    shm_name_prefix("/run/leat/bux", b);
    assert_string_not_equal(a, b);
    assert_int_equal(strlen(a), 5 + 16);
    assert_memory_equal(a, "leat-", 5);
    /* The published test vector of 64-bit FNV-1a. */
    shm_name_prefix("foobar", a);
    assert_string_equal(a, "leat-85944171f73967e8");
}

static void
a_derived_prefix_is_known_by_its_form(void **state)
{
    static const char *const others[] = {"",
                                         "leat-",
                                         "leat",
                                         "leat-x",
                                         "leat-85944171f73967e",
                                         "leat-85944171f73967e88",
                                         "leat-85944171F73967E8",
                                         "leat-85944171f73967g8",
                                         "leat_85944171f73967e8",
                                         "xleat-85944171f73967e"};
    char derived[LIMIT_SHM_PREFIX];

    (void)state;
    shm_name_prefix("/run/leat/bus", derived);
    assert_true(shm_name_is_derived(derived));
    assert_true(shm_name_is_derived("leat-0000000000000000"));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(shm_name_is_derived(others[i]));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_is_allowed_or_not),
        cmocka_unit_test(lengths_have_an_end),
        cmocka_unit_test(dots_and_dashes_have_their_places),
        cmocka_unit_test(patterns_match),
        cmocka_unit_test(patterns_match_as_defined),
        cmocka_unit_test(the_longest_object_name_fits),
        cmocka_unit_test(prefixes_differ_by_socket),
        cmocka_unit_test(a_derived_prefix_is_known_by_its_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
