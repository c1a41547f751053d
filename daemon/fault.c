#include "daemon/fault.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "shm/base.h"

static struct fault_range *ranges;
static volatile sig_atomic_t pending;

static struct fault_range *
range_of(const unsigned char *at)
{
    struct fault_range *r = ranges;

    while (r && (at < r->base || at >= r->base + r->size))
        r = r->next;
    return r;
}

/* mmap is no function that POSIX calls safe in handlers, but on Linux it is a bare system call, and this signal comes from
 * the very instruction that touched the map, never from inside the allocator. */
static void
on_fault(int signal, siginfo_t *info, void *context)
{
    unsigned char *at = info->si_addr;
    struct fault_range *r = info->si_code > 0 ? range_of(at) : NULL;
    int saved = errno;
    uint64_t off;
    void *got;

    (void)context;
    if (!r)
        goto fatal;
    off = (uint64_t)(at - r->base) & ~(uint64_t)(SHM_PAGE - 1);
    got = mmap(r->base + off, shm_align(r->size, SHM_PAGE) - off, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED)
        goto fatal;
    r->hit = 1;
    pending = 1;
    errno = saved;
    return;

fatal:
    /* Back to the default: the instruction faults again and the process ends as it should. */
    (void)sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
}

int
fault_install(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};

    (void)sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, NULL) ? -errno : 0;
}

void
fault_watch(struct fault_range *range)
{
    range->hit = 0;
    range->next = ranges;
    ranges = range;
}

void
fault_unwatch(struct fault_range *range)
{
    struct fault_range **at = &ranges;

    while (*at && *at != range)
        at = &(*at)->next;
    if (*at)
        *at = range->next;
    range->next = NULL;
}

bool
fault_hit(const struct fault_range *range)
{
    return range->hit != 0;
}

bool
fault_pending(void)
{
    bool was = pending != 0;

    pending = 0;
    return was;
}
