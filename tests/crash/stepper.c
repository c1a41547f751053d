#include "tests/crash/stepper.h"

#include <elf.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shm/process.h"
#include "tests/support/pause.h"

unsigned stepper_patience_s = 5;

/* Where a call returns to, and an instruction that asks the kernel something on the parent's behalf. */
__asm__(".text\n"
        ".globl stepper_done\n"
        "stepper_done: int3\n"
        ".globl stepper_ask\n"
        "stepper_ask: syscall\n"
        "int3\n");
extern const unsigned char stepper_done[], stepper_ask[];

static uintptr_t
address(const void *p)
{
    return (uintptr_t)p;
}

void
stepper_pin(void)
{
    cpu_set_t all, one;
    int n = 0, want;

    if (sched_getaffinity(0, sizeof all, &all))
        return;
    want = getpid() % CPU_COUNT(&all);
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET((size_t)i, &all) || n++ != want)
            continue;
        CPU_ZERO(&one);
        CPU_SET((size_t)i, &one);
        (void)sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

static void
get_regs(const struct stepper *s, struct user_regs_struct *ret)
{
    (void)ptrace(PTRACE_GETREGS, s->pid, NULL, ret);
}

static void
set_regs(struct stepper *s, const struct user_regs_struct *regs)
{
    (void)ptrace(PTRACE_SETREGS, s->pid, NULL, regs);
}

/* What a stop means. */
static enum stepper_verdict
verdict(struct stepper *s, int status)
{
    struct user_regs_struct regs;

    if (!WIFSTOPPED(status)) {
        s->pid = 0;
        return STEPPER_GONE;
    }
    if (WSTOPSIG(status) != SIGTRAP)
        return STEPPER_FAULT;
    get_regs(s, &regs);
    s->at = regs.rip;
    /* By a step it stands on the breakpoint, by running it stands behind it. */
    return regs.rip == address(stepper_done) || regs.rip == address(stepper_done) + 1 ? STEPPER_DONE
                                                                                      : STEPPER_ON;
}

/* The clock that bounds every wait: each wait may be interrupted by it once. */
static void
tick(int signal)
{
    (void)signal;
}

static void
start_clock(void)
{
    struct sigaction action = {.sa_handler = tick};
    struct itimerval every = {.it_interval = {.tv_sec = stepper_patience_s},
                              .it_value = {.tv_sec = stepper_patience_s}};

    (void)sigaction(SIGALRM, &action, NULL);
    (void)setitimer(ITIMER_REAL, &every, NULL);
}

static enum stepper_verdict
await(struct stepper *s)
{
    int status, ticks = 0;

    while (waitpid(s->pid, &status, __WALL) < 0) {
        if (errno == EINTR && ++ticks < 2)
            continue;
        stepper_kill(s);
        return STEPPER_STUCK;
    }
    return verdict(s, status);
}

_Noreturn static void
live(void)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
        _exit(1);
    for (;;)
        __asm__ volatile("int3");
}

int
stepper_start(struct stepper *ret)
{
    struct stepper s = {0};
    int status;

    start_clock();
    s.pid = fork();
    if (s.pid < 0)
        return -errno;
    if (!s.pid)
        live();
    if (waitpid(s.pid, &status, __WALL) != s.pid || !WIFSTOPPED(status))
        return -EPERM;
    (void)ptrace(PTRACE_SETOPTIONS, s.pid, NULL, PTRACE_O_EXITKILL);
    get_regs(&s, &s.idle);
    *ret = s;
    return 0;
}

void
stepper_kill(struct stepper *s)
{
    int status;

    if (s->pid <= 0)
        return;
    (void)kill(s->pid, SIGKILL);
    do
        if (waitpid(s->pid, &status, __WALL) < 0 && errno != EINTR)
            break;
    while (!WIFSIGNALED(status) && !WIFEXITED(status));
    *s = (struct stepper){0};
}

void
stepper_call(struct stepper *s, void (*fn)(void *), void *arg, void *stack)
{
    struct user_regs_struct regs = s->idle;

    /* Below what the function before may have put there without moving the stack pointer. */
    regs.rsp = stack ? address(stack) : regs.rsp - 256;
    regs.rsp = (regs.rsp & ~15ull) - 8;
    regs.rip = (uintptr_t)fn;
    regs.rdi = address(arg);
    regs.rax = 0;
    (void)ptrace(PTRACE_POKEDATA, s->pid, regs.rsp, address(stepper_done));
    set_regs(s, &regs);
    s->at = regs.rip;
    s->asleep = false;
}

enum stepper_verdict
stepper_step(struct stepper *s)
{
    if (ptrace(PTRACE_SINGLESTEP, s->pid, NULL, NULL)) {
        s->pid = 0;
        return STEPPER_GONE;
    }
    return await(s);
}

enum stepper_verdict
stepper_finish(struct stepper *s)
{
    if (s->asleep) {
        s->asleep = false;
        return await(s);
    }
    if (ptrace(PTRACE_CONT, s->pid, NULL, NULL)) {
        s->pid = 0;
        return STEPPER_GONE;
    }
    return await(s);
}

enum stepper_verdict
stepper_run_to(struct stepper *s, uint64_t at)
{
    long word = ptrace(PTRACE_PEEKTEXT, s->pid, at, NULL);
    struct user_regs_struct regs;
    enum stepper_verdict v;

    (void)ptrace(PTRACE_POKETEXT, s->pid, at, (word & ~0xffl) | 0xcc);
    v = stepper_finish(s);
    if (!s->pid)
        return v;
    (void)ptrace(PTRACE_POKETEXT, s->pid, at, word);
    if (v != STEPPER_ON)
        return v;
    get_regs(s, &regs);
    regs.rip = at;
    set_regs(s, &regs);
    s->at = at;
    return v;
}

char
stepper_letter(pid_t pid)
{
    char text[SHM_PROCESS_STAT];
    const char *state;

    return shm_process_stat(pid, text, &state) ? '?' : *state;
}

enum stepper_verdict
stepper_settle(struct stepper *s)
{
    time_t deadline = time(NULL) + stepper_patience_s;
    int status;

    if (ptrace(PTRACE_CONT, s->pid, NULL, NULL)) {
        s->pid = 0;
        return STEPPER_GONE;
    }
    while (time(NULL) <= deadline) {
        pause_briefly();
        if (waitpid(s->pid, &status, __WALL | WNOHANG) == s->pid)
            return verdict(s, status);
        if (stepper_letter(s->pid) != 'S')
            continue;
        s->asleep = true;
        return STEPPER_ASLEEP;
    }
    stepper_kill(s);
    return STEPPER_STUCK;
}

void
stepper_go(struct stepper *s)
{
    (void)ptrace(PTRACE_CONT, s->pid, NULL, NULL);
}

enum stepper_verdict
stepper_await(struct stepper *s)
{
    return await(s);
}

enum stepper_verdict
stepper_poll(struct stepper *s)
{
    int status;

    return waitpid(s->pid, &status, __WALL | WNOHANG) == s->pid ? verdict(s, status)
                                                                : STEPPER_ASLEEP;
}

void
stepper_save(const struct stepper *s, struct stepper_state *ret)
{
    struct iovec iov = {.iov_base = ret->vectors, .iov_len = sizeof ret->vectors};

    get_regs(s, &ret->regs);
    ret->vectors_len = 0;
    if (!ptrace(PTRACE_GETREGSET, s->pid, (void *)(uintptr_t)NT_X86_XSTATE, &iov))
        ret->vectors_len = iov.iov_len;
}

void
stepper_load(struct stepper *s, const struct stepper_state *state)
{
    struct stepper_state copy = *state;
    struct iovec iov = {.iov_base = copy.vectors, .iov_len = copy.vectors_len};

    set_regs(s, &state->regs);
    s->at = state->regs.rip;
    if (copy.vectors_len)
        (void)ptrace(PTRACE_SETREGSET, s->pid, (void *)(uintptr_t)NT_X86_XSTATE, &iov);
}

static void
protect(struct stepper *s, void *at, size_t len, int prot)
{
    struct user_regs_struct regs, ask;

    get_regs(s, &regs);
    ask = regs;
    ask.rip = address(stepper_ask);
    ask.rax = SYS_mprotect;
    ask.rdi = address(at);
    ask.rsi = len;
    ask.rdx = (unsigned)prot;
    set_regs(s, &ask);
    (void)stepper_step(s);
    set_regs(s, &regs);
    s->at = regs.rip;
}

long
stepper_asks(const struct stepper *s)
{
    struct user_regs_struct regs;

    get_regs(s, &regs);
    if ((ptrace(PTRACE_PEEKTEXT, s->pid, regs.rip, NULL) & 0xffff) != 0x050f)
        return -1;
    return (long)regs.rax;
}

enum stepper_verdict
stepper_watch(struct stepper *s, void *at, size_t len, bool *ret_touches)
{
    struct user_regs_struct regs;
    enum stepper_verdict v;

    /* The kernel would answer EFAULT instead of a signal. */
    *ret_touches = stepper_asks(s) >= 0;
    if (*ret_touches)
        return stepper_step(s);
    get_regs(s, &regs);
    protect(s, at, len, PROT_NONE);
    v = stepper_step(s);
    protect(s, at, len, PROT_READ | PROT_WRITE);
    if (v != STEPPER_FAULT)
        return v;
    *ret_touches = true;
    set_regs(s, &regs);
    return stepper_step(s);
}
