/* pause.h - makes way for others, in loops that wait for another thread or process.
 *
 * sched_yield is no such thing: of who does nothing else in a loop the scheduler of Linux 6.18 lets everybody else on his
 * processor wait, kernel threads that complete writes among them, for up to a minute. */
#ifndef TESTS_SUPPORT_PAUSE_H
#define TESTS_SUPPORT_PAUSE_H

#include <poll.h>
#include <stddef.h>
#include <time.h>

static inline void
pause_briefly(void)
{
    const struct timespec briefly = {.tv_nsec = 1000};

    (void)ppoll(NULL, 0, &briefly, NULL);
}

#endif
