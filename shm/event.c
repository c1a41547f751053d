#include "shm/event.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int
shm_event_barrier(enum shm_barrier mode)
{
    if (mode == SHM_BARRIER_BOTH)
        return 0;
    return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) ? -errno : 0;
}

int
shm_event_register(void)
{
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) ? -errno : 0;
}

int
shm_event_wait(const atom_u32 *word, uint32_t value, int64_t timeout_ns)
{
    struct timespec ts = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};

    if (!syscall(SYS_futex, word, FUTEX_WAIT, value, &ts, NULL, 0) || errno == EAGAIN)
        return 0;
    return -errno;
}

void
shm_event_wake(const atom_u32 *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void
shm_event_bump(atom_u32 *word)
{
    uint32_t v;

    do
        v = atom_load_seq(word);                     /* seq: SLEEP */
    while (!atom_cas32_seq(word, v, (v | 1u) + 1u)); /* seq: SLEEP */
    shm_event_wake(word);
}
