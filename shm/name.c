#include "shm/name.h"

#include <stdio.h>
#include <string.h>

/* Before the hash of a socket's path. */
#define DERIVED "leat-"

static const char *
check(const char *name, size_t longest, const char *too_long)
{
    static const char good[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t len = strnlen(name, longest + 1);

    if (!len)
        return "is empty";
    if (len > longest)
        return too_long;
    if (strspn(name, good) != len)
        return "has a character other than A-Z a-z 0-9 . _ -";
    if (name[0] == '.' || name[len - 1] == '.' || strstr(name, ".."))
        return "has an empty part between its dots";
    if (name[0] == '-')
        return "begins with a dash";
    return NULL;
}

const char *
shm_name_check(const char *name)
{
    return check(name, LIMIT_TOPIC_NAME, "is longer than 200 bytes");
}

const char *
shm_sub_name_check(const char *name)
{
    return check(name, LIMIT_SUB_NAME, "is longer than 63 bytes");
}

bool
shm_name_matches(const char *pattern, const char *name)
{
    const char *star = NULL, *retry = NULL;

    while (*name) {
        if (*pattern == '*') {
            star = pattern++;
            retry = name;
        } else if (*pattern == '?' || *pattern == *name) {
            pattern++;
            name++;
        } else if (star) {
            /* The last star takes one character more; earlier ones never need to. */
            pattern = star + 1;
            name = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

void
shm_name_object(const char *prefix, const char *topic, enum shm_kind kind, char ret[SHM_NAME_ROOM])
{
    (void)snprintf(ret, SHM_NAME_ROOM, "/%s.%s.%s", prefix, topic,
                   kind == SHM_KIND_DATA ? "data" : "control");
}

void
shm_name_prefix(const char *socket_path, char ret[LIMIT_SHM_PREFIX])
{
    uint64_t hash = 0xcbf29ce484222325ull;

    for (const char *c = socket_path; *c; c++)
        hash = (hash ^ (unsigned char)*c) * 0x100000001b3ull;
    (void)snprintf(ret, LIMIT_SHM_PREFIX, DERIVED "%016llx", (unsigned long long)hash);
}

bool
shm_name_is_derived(const char *prefix)
{
    size_t skip = strlen(DERIVED);

    return !strncmp(prefix, DERIVED, skip) && strlen(prefix + skip) == 16 &&
           strspn(prefix + skip, "0123456789abcdef") == 16;
}
