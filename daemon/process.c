#include "daemon/process.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "daemon/reap.h"
#include "daemon/report.h"
#include "daemon/session.h"
#include "shm/process.h"

static bool
has_exited(int pidfd)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};

    return poll(&p, 1, 0) != 0;
}

/* Where one of the two starts is not known, a process that has not exited is told by its pid. */
static bool
is_it(const struct process *p, uint32_t pid, uint64_t start)
{
    if (p->pid != pid)
        return false;
    return p->start && start ? p->start == start : !has_exited(p->source.fd);
}

static struct process *
find(const struct bus *bus, uint32_t pid, uint64_t start)
{
    struct process *p = bus->processes;

    while (p && !is_it(p, pid, start))
        p = p->next;
    return p;
}

void
process_hold(struct process *p)
{
    p->holds++;
}

struct process *
process_drop(struct process *p)
{
    if (!p || --p->holds)
        return NULL;
    if (p->prev)
        p->prev->next = p->next;
    else
        p->bus->processes = p->next;
    if (p->next)
        p->next->prev = p->prev;
    loop_remove(p->bus->loop, &p->source);
    close(p->source.fd);
    free(p);
    return NULL;
}

static void
on_exit_of(struct loop_source *source, uint32_t events)
{
    struct process *p = source->user;

    (void)events;
    loop_remove(p->bus->loop, source);
    p->dead = true;
    process_hold(p);
    reap_process(p);
    session_end_all_of(p);
    process_drop(p);
}

/* Takes pidfd over. */
static int
add(struct bus *bus, uint32_t pid, uint64_t start, int pidfd, struct process **ret)
{
    struct process *p = calloc(1, sizeof *p);
    int r = p ? 0 : -ENOMEM;

    if (p) {
        *p = (struct process){.bus = bus, .pid = pid, .start = start, .holds = 1};
        p->source = (struct loop_source){.fd = pidfd, .ready = on_exit_of, .user = p};
        r = loop_add(bus->loop, &p->source, EPOLLIN);
    }
    if (r) {
        close(pidfd);
        free(p);
        return r;
    }
    p->next = bus->processes;
    if (p->next)
        p->next->prev = p;
    bus->processes = p;
    *ret = p;
    return 0;
}

int
process_of_socket(struct bus *bus, uint32_t pid, int pidfd, struct process **ret)
{
    struct process *p;
    uint64_t start;
    int r = shm_process_start((pid_t)pid, &start);

    if (r == -EACCES) {
        start = 0;
        r = 0;
    }
    /* The start time is this process's if it still lives after we have read it. */
    if (!r && pidfd < 0)
        r = shm_process_pidfd((pid_t)pid, start, &pidfd);
    if (!r && has_exited(pidfd))
        r = -ESRCH;
    p = r ? NULL : find(bus, pid, start);
    if (p && p->dead)
        r = -ESRCH;
    if (r || p) {
        if (pidfd >= 0)
            close(pidfd);
        if (r)
            return r;
        process_hold(p);
        *ret = p;
        return 0;
    }
    return add(bus, pid, start, pidfd, ret);
}

int
process_of_record(struct bus *bus, uint32_t pid, uint64_t start, struct process **ret)
{
    struct process *p = find(bus, pid, start);
    int pidfd, r;

    if (p) {
        if (p->dead)
            return -ESRCH;
        process_hold(p);
        *ret = p;
        return 0;
    }
    if (!pid || pid > INT32_MAX)
        return -ESRCH;
    r = shm_process_pidfd((pid_t)pid, start, &pidfd);
    if (!r && has_exited(pidfd)) {
        close(pidfd);
        r = -ESRCH;
    }
    return r ? r : add(bus, pid, start, pidfd, ret);
}
