#include "tools/units.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define SECOND 1000000000ull

/* Reads digits at *text and moves behind them: 0, -EINVAL (there are none), -ERANGE. */
static int
take_digits(const char **text, uint64_t *ret)
{
    const char *p = *text;
    uint64_t n = 0;

    if (!isdigit((unsigned char)*p))
        return -EINVAL;
    for (; isdigit((unsigned char)*p); p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (n > (UINT64_MAX - digit) / 10)
            return -ERANGE;
        n = n * 10 + digit;
    }
    *text = p;
    *ret = n;
    return 0;
}

int
units_parse_count(const char *text, uint64_t *ret)
{
    uint64_t n;
    int r = take_digits(&text, &n);

    if (r)
        return r;
    if (*text)
        return -EINVAL;
    *ret = n;
    return 0;
}

/* "K", "MiB", "gb", "B", "": by how many bits it shifts; -EINVAL when it is no unit. */
static int
size_unit(const char *name)
{
    static const char letters[] = "kmgtKMGT";
    const char *at = *name ? strchr(letters, *name) : NULL;

    if (!at)
        return *name && strcasecmp(name, "B") != 0 ? -EINVAL : 0;
    if (name[1] && strcasecmp(name + 1, "B") != 0 && strcasecmp(name + 1, "iB") != 0)
        return -EINVAL;
    return 10 * ((int)(at - letters) % 4 + 1);
}

int
units_parse_size(const char *text, uint64_t *ret)
{
    uint64_t n;
    int shift, r = take_digits(&text, &n);

    if (r)
        return r;
    shift = size_unit(text + (*text == ' ' && text[1]));
    if (shift < 0)
        return shift;
    if (n > UINT64_MAX >> shift)
        return -ERANGE;
    *ret = n << shift;
    return 0;
}

static const struct time_unit {
    const char *name;
    uint64_t ns;
} time_units[] = {
    {"ns", 1},
    {"us", 1000},
    {"ms", 1000000},
    {"s", SECOND},
    {"m", 60 * SECOND},
    {"min", 60 * SECOND},
    {"h", 3600 * SECOND},
    {"d", 86400 * SECOND},
    {"w", 604800 * SECOND},
};

static uint64_t
time_unit_ns(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof time_units / sizeof *time_units; i++)
        if (strlen(time_units[i].name) == len && !strncmp(time_units[i].name, name, len))
            return time_units[i].ns;
    return 0;
}

/* ".25" of a unit, at most nine digits of it. */
static uint64_t
take_fraction(const char **text, uint64_t unit)
{
    uint64_t n = 0, one = 1;

    if (**text != '.')
        return 0;
    for (++*text; isdigit((unsigned char)**text); ++*text)
        if (one < SECOND) {
            n = n * 10 + (uint64_t)(**text - '0');
            one *= 10;
        }
    return (uint64_t)((double)n / (double)one * (double)unit + 0.5);
}

int
units_parse_time(const char *text, int64_t *ret_ns)
{
    const char *begin = text;
    uint64_t sum = 0, n, unit, part;

    do {
        const char *fraction, *name;
        bool first = text == begin;
        int r = take_digits(&text, &n);
        if (r)
            return r;
        fraction = text;
        (void)take_fraction(&text, 1);
        for (name = text; isalpha((unsigned char)*text);)
            text++;
        unit = text > name       ? time_unit_ns(name, (size_t)(text - name))
               : *text || !first ? 0
                                 : SECOND;
        if (!unit)
            return -EINVAL;
        if (n > (uint64_t)INT64_MAX / unit)
            return -ERANGE;
        part = n * unit + take_fraction(&fraction, unit);
        if (part > (uint64_t)INT64_MAX - sum)
            return -ERANGE;
        sum += part;
    } while (*text);
    *ret_ns = (int64_t)sum;
    return 0;
}

int
units_parse_rate(const char *text, double *ret_hz)
{
    char *end;
    double n;

    if (!isdigit((unsigned char)*text))
        return -EINVAL;
    n = strtod(text, &end);
    if (*end == 'k' || *end == 'M')
        n *= *end++ == 'k' ? 1e3 : 1e6;
    if (!strcmp(end, "/m"))
        n /= 60;
    else if (!strcmp(end, "/h"))
        n /= 3600;
    else if (*end && strcmp(end, "/s") != 0)
        return -EINVAL;
    if (!isfinite(n) || n <= 0)
        return -EINVAL;
    *ret_hz = n;
    return 0;
}

/* Z, +hh:mm, -hhmm; *ret_local when there is none. 0 or -EINVAL. */
static int
take_zone(const char *text, int64_t *ret_seconds, int *ret_local)
{
    int sign = *text == '-' ? -1 : 1;
    unsigned hours, minutes = 0;
    int used = 0;

    *ret_seconds = 0;
    *ret_local = !*text;
    if (!*text || !strcmp(text, "Z"))
        return 0;
    if (*text != '+' && *text != '-')
        return -EINVAL;
    if (sscanf(text + 1, "%2u:%2u%n", &hours, &minutes, &used) != 2 &&
        sscanf(text + 1, "%2u%2u%n", &hours, &minutes, &used) != 2)
        return -EINVAL;
    if (!used || text[1 + used] || hours > 23 || minutes > 59)
        return -EINVAL;
    *ret_seconds = sign * (int64_t)(hours * 3600 + minutes * 60);
    return 0;
}

int
units_parse_date(const char *text, uint64_t *ret_ns)
{
    static const char *const forms[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M",
                                        "%Y-%m-%d %H:%M", "%Y-%m-%d"};
    struct tm tm;
    const char *rest = NULL;
    uint64_t fraction = 0;
    int64_t zone, seconds;
    int local;

    for (size_t i = 0; !rest && i < sizeof forms / sizeof *forms; i++) {
        memset(&tm, 0, sizeof tm);
        rest = strptime(text, forms[i], &tm);
        if (rest && i < 2)
            fraction = take_fraction(&rest, SECOND);
    }
    if (!rest || take_zone(rest, &zone, &local))
        return -EINVAL;
    tm.tm_isdst = -1;
    seconds = local ? mktime(&tm) : timegm(&tm) - zone;
    if (seconds < 0 || (uint64_t)seconds > UINT64_MAX / SECOND - 1)
        return -EINVAL;
    *ret_ns = (uint64_t)seconds * SECOND + fraction;
    return 0;
}

const char *
units_size(uint64_t bytes, struct units_text *room)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double n = (double)bytes;
    unsigned i = 0;

    for (; n >= 1023.95 && i < 6; i++)
        n /= 1024;
    if (!i)
        (void)snprintf(room->text, sizeof room->text, "%u B", (unsigned)bytes);
    else
        (void)snprintf(room->text, sizeof room->text, "%.*f %s", n < 99.95 ? 1 : 0, n, names[i]);
    return room->text;
}

const char *
units_time(uint64_t ns, struct units_text *room)
{
    uint64_t s = ns / SECOND;
    double n = (double)ns;
    char *to = room->text;

    if (ns < 1000)
        (void)snprintf(to, sizeof room->text, "%u ns", (unsigned)ns);
    else if (ns < 1000000)
        (void)snprintf(to, sizeof room->text, "%.*f us", n < 99950 ? 1 : 0, n / 1e3);
    else if (ns < SECOND)
        (void)snprintf(to, sizeof room->text, "%.*f ms", n < 99950000 ? 1 : 0, n / 1e6);
    else if (s < 60)
        (void)snprintf(to, sizeof room->text, "%.1f s", n / 1e9);
    else if (s < 3600)
        (void)snprintf(to, sizeof room->text, "%u m %u s", (unsigned)(s / 60), (unsigned)(s % 60));
    else if (s < 86400)
        (void)snprintf(to, sizeof room->text, "%u h %u m", (unsigned)(s / 3600),
                       (unsigned)(s / 60 % 60));
    else
        (void)snprintf(to, sizeof room->text, "%u d %u h", (unsigned)(s / 86400),
                       (unsigned)(s / 3600 % 24));
    return room->text;
}

const char *
units_date(uint64_t ns, struct units_text *room)
{
    time_t seconds = (time_t)(ns / SECOND);
    struct tm tm;
    size_t n;

    if (!gmtime_r(&seconds, &tm)) {
        (void)snprintf(room->text, sizeof room->text, "%llu ns", (unsigned long long)ns);
        return room->text;
    }
    n = strftime(room->text, sizeof room->text, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(room->text + n, sizeof room->text - n, ".%09uZ", (unsigned)(ns % SECOND));
    return room->text;
}

const char *
units_rate(double hz, struct units_text *room)
{
    const char *unit = hz < 9999.5 ? "" : hz < 999500 ? " k" : " M";
    double n = hz < 9999.5 ? hz : hz < 999500 ? hz / 1e3 : hz / 1e6;

    (void)snprintf(room->text, sizeof room->text, "%.*f%s", n < 99.95 && (n >= 0.05 || *unit), n,
                   unit);
    return room->text;
}
