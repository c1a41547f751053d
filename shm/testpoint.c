#include "shm/testpoint.h"

#if defined(LEAT_TESTPOINTS)

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARMED_MAX 8
#define NAMES_MAX 256

extern const struct shm_testpoint __start_leat_testpoints[], __stop_leat_testpoints[];

static struct armed {
    char name[64];
    unsigned long left;
    int signal;
} armed[ARMED_MAX];
static int armed_count;

void (*shm_testpoint_hook)(const char *name);

static void
pass(const char *name)
{
    for (int i = 0; i < armed_count; i++)
        if (armed[i].left && !strcmp(armed[i].name, name) && !--armed[i].left)
            (void)kill(getpid(), armed[i].signal);
}

static void
arm(const char *text)
{
    struct armed *a = &armed[armed_count];
    const char *equals = strchr(text, '='), *colon = memchr(text, ':', (size_t)(equals - text));
    size_t len = (size_t)((colon ? colon : equals) - text);

    if (len >= sizeof a->name)
        return;
    memcpy(a->name, text, len);
    a->name[len] = '\0';
    a->left = colon ? strtoul(colon + 1, NULL, 10) : 1;
    a->signal = strncmp(equals + 1, "stop", 4) ? SIGKILL : SIGSTOP;
    armed_count++;
}

__attribute__((constructor)) static void
start(void)
{
    const char *text = getenv("LEAT_TESTPOINT");

    while (text && *text && armed_count < ARMED_MAX) {
        const char *comma = strchr(text, ',');
        if (strchr(text, '='))
            arm(text);
        text = comma ? comma + 1 : NULL;
    }
    if (armed_count)
        shm_testpoint_hook = pass;
    TESTPOINT("shm.started");
}

const char *const *
shm_testpoint_names(void)
{
    static const char *names[NAMES_MAX + 1];
    size_t n = 0;

    for (const struct shm_testpoint *t = __start_leat_testpoints; t < __stop_leat_testpoints; t++) {
        size_t i = 0;
        while (i < n && strcmp(names[i], t->name) != 0)
            i++;
        if (i == n && n < NAMES_MAX)
            names[n++] = t->name;
    }
    names[n] = NULL;
    return names;
}

#else
/* ISO C forbids an empty translation unit. */
typedef int shm_testpoints_are_off;
#endif
