#include "client/client.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char said[LEAT__TEXT];       /* what leat_error gave last */
static _Thread_local char not_opened[LEAT__TEXT]; /* why leat_open failed */
static _Thread_local char unknown[64];

int
leat__fail(struct leat_bus *bus, int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    pthread_mutex_lock(&bus->error_lock);
    (void)vsnprintf(bus->error, sizeof bus->error, format, args);
    pthread_mutex_unlock(&bus->error_lock);
    va_end(args);
    return code;
}

int
leat__fail_open(int code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(not_opened, sizeof not_opened, format, args);
    va_end(args);
    return code;
}

const char *
leat_error(leat_bus *bus)
{
    if (!bus)
        return not_opened;
    if (!leat__alive(bus->life))
        return leat_strerror(-ECHILD);
    pthread_mutex_lock(&bus->error_lock);
    memcpy(said, bus->error, sizeof said);
    pthread_mutex_unlock(&bus->error_lock);
    return said;
}

const char *
leat_strerror(int code)
{
    static const struct {
        int code;
        const char *text;
    } texts[] = {
        {0, "success"},
        {-E2BIG, "the options ask for something this version does not know"},
        {-EACCES, "the topic's access rule does not allow it"},
        {-EAGAIN, "the topic stayed full"},
        {-EBADMSG, "what stands in shared memory, in the log or in an answer contradicts itself"},
        {-EBUSY, "all places are taken, or the name is in use"},
        {-ECHILD, "the handle is the parent process's; a forked child opens its own"},
        {-ECONNREFUSED, "no daemon answers"},
        {-EEXIST, "the topic exists with other options"},
        {-EIDRM, "the topic was removed"},
        {-EINVAL, "an argument or option has no meaning here"},
        {-EIO, "the topic's log cannot be written"},
        {-EMSGSIZE, "the message is longer than the topic takes"},
        {-ENOBUFS, "too many messages are held"},
        {-ENOENT, "there is no such topic, subscription or bus"},
        {-ENOMEM, "no memory"},
        {-ENOSPC, "no room in shared memory or on disk"},
        {-EOPNOTSUPP, "the topic does not offer it"},
        {-EPROTONOSUPPORT, "the other side speaks another version"},
        {-ESTALE, "overwritten while held, or the subscriber was evicted"},
        {-ETIMEDOUT, "it did not happen in time"},
    };
    char system[48];

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i].code == code)
            return texts[i].text;
    if (code > 0)
        (void)snprintf(unknown, sizeof unknown, "%d is no error", code);
    else
        (void)snprintf(unknown, sizeof unknown, "%s", strerror_r(-code, system, sizeof system));
    return unknown;
}
