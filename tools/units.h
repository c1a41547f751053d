/* units.h - sizes, times and rates as people write and read them. Pure functions, but for the time zone. */
#ifndef TOOLS_UNITS_H
#define TOOLS_UNITS_H

#include <stdint.h>

/* units_parse_size reads "4096", "64K", "4M", "1GiB": powers of 1024, in any case. 0 or -EINVAL, -ERANGE. */
int units_parse_size(const char *text, uint64_t *ret);

/* units_parse_count reads a whole number without a unit. 0 or -EINVAL, -ERANGE. */
int units_parse_count(const char *text, uint64_t *ret);

/* units_parse_time reads "250ms", "1h30m", "7d", "2w"; a bare number is seconds, and may have a fraction. 0 or
 * -EINVAL, -ERANGE. */
int units_parse_time(const char *text, int64_t *ret_ns);

/* units_parse_rate reads "1000", "1000/s", "20/m", "5/h" as events a second. 0 or -EINVAL. */
int units_parse_rate(const char *text, double *ret_hz);

/* units_parse_date reads ISO 8601: a date, or a date and a time with T or a blank between, seconds and their
 * fraction if wanted, then Z, +hh:mm, or nothing for local time. 0 or -EINVAL. */
int units_parse_date(const char *text, uint64_t *ret_ns);

/* Room for any of the texts below. */
struct units_text {
    char text[48];
};

/* The functions that write return room->text. */
const char *units_size(uint64_t bytes, struct units_text *room); /* "512 B", "4.0 MiB" */
const char *units_time(uint64_t ns, struct units_text *room);    /* "250 ms", "3.2 s", "2 d 4 h" */
const char *units_date(uint64_t ns, struct units_text *room); /* "2030-01-31T12:00:00.123456789Z" */
const char *units_rate(double hz, struct units_text *room);   /* "12.3 k" */

#endif
