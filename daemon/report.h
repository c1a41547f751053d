/* report.h - what the daemon tells its operator: on standard error, one line each, names and numbers in it.
 *
 * Only the top of an operation reports, once; what it calls returns errors. The same message (the same format) is
 * printed at most REPORT_BURST times in REPORT_WINDOW_NS; the next one that passes says how many were left out. A line
 * that would block is dropped and counted: nobody's full pipe stops the daemon. Control characters, which a
 * client could put into a name, become '?'. One thread. */
#ifndef DAEMON_REPORT_H
#define DAEMON_REPORT_H

#include <stdint.h>

#define REPORT_BURST 10
#define REPORT_WINDOW_NS 10000000000ll
#define REPORT_LINE 1000

#define REPORT_FORMAT(f, a) __attribute__((format(printf, f, a)))

/* report_error: something is lost or refused that should not be. report_warning: it goes on, but look.
 * report_note: for the record. `format` is a literal: it is what tells messages apart. */
void report_error(const char *format, ...) REPORT_FORMAT(1, 2);
void report_warning(const char *format, ...) REPORT_FORMAT(1, 2);
void report_note(const char *format, ...) REPORT_FORMAT(1, 2);

/* report_to sends reports to another descriptor (tests; -1: nowhere). report_quiet leaves notes out. */
void report_to(int fd);
void report_quiet(void);

/* report_error_text is strerror for a negative errno; the text is the C library's. */
const char *report_error_text(int error);

#endif
