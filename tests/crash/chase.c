#include "tests/crash/chase.h"

#include "shm/name.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#define OPTIONS ((void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL))
#define CALL_STOP (SIGTRAP | 0x80)

/* The status of the stop it stands at is kept for chase_on. */
static int status;

static bool
await(const struct chase *c)
{
    while (waitpid(c->b->daemon, &status, __WALL) < 0)
        if (errno != EINTR)
            return false;
    return WIFSTOPPED(status);
}

/* --- protection --------------------------------------------------------------------------------------- */

/* Has the daemon make a system call of ours where it stands, which is not in the midst of one. */
static bool
protect(struct chase *c, const struct chase_map *m, int prot)
{
    struct user_regs_struct regs, ask;
    bool stopped;

    (void)ptrace(PTRACE_GETREGS, c->b->daemon, NULL, &regs);
    ask = regs;
    ask.rip = c->ask;
    ask.rax = SYS_mprotect;
    ask.orig_rax = UINT64_MAX;
    ask.rdi = m->at;
    ask.rsi = m->len;
    ask.rdx = (unsigned)prot;
    (void)ptrace(PTRACE_SETREGS, c->b->daemon, NULL, &ask);
    (void)ptrace(PTRACE_SINGLESTEP, c->b->daemon, NULL, NULL);
    stopped = await(c);
    (void)ptrace(PTRACE_SETREGS, c->b->daemon, NULL, &regs);
    return stopped;
}

static bool
is_known(const struct chase *c, uint64_t at)
{
    for (uint32_t i = 0; i < c->map_count; i++)
        if (c->maps[i].at == at)
            return true;
    return false;
}

/* Finds the daemon's maps of the topic's objects that it may write to, and takes that from it. */
static void
close_maps(struct chase *c)
{
    char path[64], line[512], perms[8], object[2][SHM_NAME_ROOM];
    uint64_t from, to;
    FILE *f;

    shm_name_object(c->b->prefix, c->b->topic.name, SHM_KIND_DATA, object[0]);
    shm_name_object(c->b->prefix, c->b->topic.name, SHM_KIND_CONTROL, object[1]);
    (void)snprintf(path, sizeof path, "/proc/%d/maps", (int)c->b->daemon);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        struct chase_map *m = &c->maps[c->map_count];
        if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s", &from, &to, perms) != 3 ||
            perms[1] != 'w' || !(strstr(line, object[0]) || strstr(line, object[1])) ||
            is_known(c, from) || c->map_count == CHASE_MAPS)
            continue;
        *m = (struct chase_map){.at = from, .len = to - from};
        c->map_count++;
        (void)protect(c, m, PROT_READ);
    }
    if (f)
        (void)fclose(f);
}

static void
open_maps(struct chase *c)
{
    for (uint32_t i = 0; i < c->map_count; i++)
        (void)protect(c, &c->maps[i], PROT_READ | PROT_WRITE);
    c->map_count = 0;
}

/* It has just come back from a system call, or from the midst of one. */
static void
learn_to_ask(struct chase *c)
{
    struct user_regs_struct regs;

    (void)ptrace(PTRACE_GETREGS, c->b->daemon, NULL, &regs);
    if ((ptrace(PTRACE_PEEKTEXT, c->b->daemon, regs.rip - 2, NULL) & 0xffff) == 0x050f)
        c->ask = regs.rip - 2;
}

static void
look_for_maps(struct chase *c)
{
    if (!c->stores)
        return;
    if (!c->ask)
        learn_to_ask(c);
    if (c->ask)
        close_maps(c);
}

/* --- beginning and end ------------------------------------------------------------------------------------ */

bool
chase_seize(struct chase *ret, struct stage *b, bool stores)
{
    struct chase c = {.b = b, .stores = stores, .idle = true};

    while (!stage_daemon_rests(b))
        if (!stage_tend(b))
            return false;
    if (ptrace(PTRACE_SEIZE, b->daemon, NULL, OPTIONS) ||
        ptrace(PTRACE_INTERRUPT, b->daemon, NULL, NULL) || !await(&c))
        return false;
    look_for_maps(&c);
    *ret = c;
    return true;
}

void
chase_traced(const void *unused)
{
    (void)unused;
    (void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

bool
chase_begin(struct chase *ret, struct stage *b, bool stores)
{
    struct chase c = {.b = b, .stores = stores};

    if (!await(&c) || ptrace(PTRACE_SETOPTIONS, b->daemon, NULL, OPTIONS))
        return false;
    *ret = c;
    return true;
}

/* --- stops -------------------------------------------------------------------------------------------------- */

static bool
is_waiting(uint64_t nr)
{
    return nr == SYS_epoll_wait || nr == SYS_epoll_pwait || nr == SYS_epoll_pwait2;
}

static enum chase_stop
at_call(struct chase *c)
{
    struct __ptrace_syscall_info info;

    c->idle = false;
    c->inside = false;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, c->b->daemon, sizeof info, &info) < 0)
        return CHASE_OTHER;
    if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
        c->inside = true;
        c->idle = is_waiting(info.entry.nr);
        return c->idle ? CHASE_WAITS : CHASE_CALL;
    }
    /* It may have mapped the topic. */
    if (!c->map_count || (info.exit.rval > 0 && (uint64_t)info.exit.rval > UINT32_MAX))
        look_for_maps(c);
    return CHASE_CALL;
}

static bool
is_store(const struct chase *c)
{
    siginfo_t info;

    if (WSTOPSIG(status) != SIGSEGV || ptrace(PTRACE_GETSIGINFO, c->b->daemon, NULL, &info))
        return false;
    for (uint32_t i = 0; i < c->map_count; i++)
        if ((uint64_t)(uintptr_t)info.si_addr - c->maps[i].at < c->maps[i].len)
            return true;
    return false;
}

enum chase_stop
chase_poll(struct chase *c)
{
    if (waitpid(c->b->daemon, &status, __WALL | WNOHANG) != c->b->daemon)
        return CHASE_NOTHING;
    if (!WIFSTOPPED(status))
        return CHASE_ENDED;
    if (WSTOPSIG(status) == CALL_STOP)
        return at_call(c);
    return is_store(c) ? CHASE_STORE : CHASE_OTHER;
}

void
chase_on(struct chase *c)
{
    int sig = WSTOPSIG(status);
    bool is_ours = sig == CALL_STOP || sig == SIGTRAP || status >> 16 || is_store(c);

    (void)ptrace(PTRACE_SYSCALL, c->b->daemon, NULL, is_ours ? 0 : (long)sig);
}

bool
chase_store(struct chase *c)
{
    bool good = true;

    for (uint32_t i = 0; good && i < c->map_count; i++)
        good = protect(c, &c->maps[i], PROT_READ | PROT_WRITE);
    good = good && !ptrace(PTRACE_SINGLESTEP, c->b->daemon, NULL, NULL) && await(c);
    for (uint32_t i = 0; good && i < c->map_count; i++)
        good = protect(c, &c->maps[i], PROT_READ);
    return good;
}

void
chase_leave(struct chase *c)
{
    open_maps(c);
    (void)ptrace(PTRACE_DETACH, c->b->daemon, NULL, NULL);
}

void
chase_let_go(struct chase *c)
{
    (void)ptrace(PTRACE_INTERRUPT, c->b->daemon, NULL, NULL);
    if (await(c))
        chase_leave(c);
}
