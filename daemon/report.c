#include "daemon/report.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Messages remembered for the limit; the one unheard for longest makes room. */
#define REMEMBERED 64

struct memory {
    const char *format;
    int64_t since_ns; /* beginning of its window */
    unsigned printed; /* in the window */
    unsigned left_out;
};

static struct {
    int fd;
    bool quiet;
    unsigned dropped; /* lines that would have blocked */
    struct memory memory[REMEMBERED];
} report = {.fd = STDERR_FILENO};

void
report_to(int fd)
{
    report.fd = fd;
    report.quiet = false;
    report.dropped = 0;
    memset(report.memory, 0, sizeof report.memory);
}

void
report_quiet(void)
{
    report.quiet = true;
}

const char *
report_error_text(int error)
{
    return strerror(error < 0 ? -error : error);
}

static int64_t
now(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

static struct memory *
recall(const char *format, int64_t now_ns)
{
    struct memory *oldest = report.memory;

    for (unsigned i = 0; i < REMEMBERED; i++) {
        struct memory *m = &report.memory[i];
        if (m->format == format)
            return m;
        if (m->since_ns < oldest->since_ns)
            oldest = m;
    }
    *oldest = (struct memory){.format = format, .since_ns = now_ns};
    return oldest;
}

/* A pipe that polls writable takes PIPE_BUF bytes at once, so a line never blocks half-way. */
static bool
put(const char *line, size_t len)
{
    struct pollfd p = {.fd = report.fd, .events = POLLOUT};

    return report.fd >= 0 && poll(&p, 1, 0) > 0 && write(report.fd, line, len) >= 0;
}

/* Room is left for the notes and the newline at the end. */
static void
print(const char *level, const char *format, va_list args)
{
    char line[REPORT_LINE];
    int64_t now_ns = now();
    struct memory *m = recall(format, now_ns);
    size_t len, room = sizeof line - 100;

    if (now_ns - m->since_ns >= REPORT_WINDOW_NS) {
        m->since_ns = now_ns;
        m->printed = 0;
    }
    if (m->printed >= REPORT_BURST) {
        m->left_out++;
        return;
    }
    m->printed++;
    (void)snprintf(line, room, "leatd: %s", level);
    len = strlen(line);
    (void)vsnprintf(line + len, room - len, format, args);
    for (char *c = line; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '?';
    len = strlen(line);
    if (m->left_out)
        len += (size_t)snprintf(line + len, sizeof line - len, " (%u more like this left out)",
                                m->left_out);
    if (report.dropped)
        len += (size_t)snprintf(line + len, sizeof line - len,
                                " (%u lines lost: standard error "
                                "was full)",
                                report.dropped);
    line[len++] = '\n';
    if (!put(line, len)) {
        report.dropped++;
        return;
    }
    m->left_out = 0;
    report.dropped = 0;
}

void
report_error(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print("error: ", format, args);
    va_end(args);
}

void
report_warning(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print("warning: ", format, args);
    va_end(args);
}

void
report_note(const char *format, ...)
{
    va_list args;

    if (report.quiet)
        return;
    va_start(args, format);
    print("", format, args);
    va_end(args);
}
