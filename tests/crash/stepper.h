/* stepper.h - a real process that makes one call, one instruction at a time.
 *
 * stepper_start forks a child that stands still until it is told to call a function. The parent then lets it take
 * single instructions (ptrace), or run to the end of the call, or kills it after exactly as many as it likes. When the call's
 * stack and all else that it writes lie in memory both share, a copy of that memory and of the registers
 * (stepper_save) is the whole state of the call, and the parent may go back to it any number of times.
 *
 * One instruction costs about 20 us when both stand on one core, which stepper_pin sees to. x86-64 only. */
#ifndef TESTS_CRASH_STEPPER_H
#define TESTS_CRASH_STEPPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

/* Room for all vector registers a processor may have. */
#define STEPPER_VECTORS 12288

/* The registers of a process in the middle of a call. */
struct stepper_state {
    struct user_regs_struct regs;
    size_t vectors_len;
    _Alignas(64) unsigned char vectors[STEPPER_VECTORS];
};

struct stepper {
    pid_t pid; /* 0: none */
    struct user_regs_struct idle;
    uint64_t at; /* the address of the next instruction */
    bool asleep; /* runs, and was seen to wait in the kernel */
};

enum stepper_verdict {
    STEPPER_ON = 0,     /* in the middle of the call */
    STEPPER_DONE = 1,   /* the call has returned */
    STEPPER_FAULT = 2,  /* a signal that the call did not want */
    STEPPER_GONE = 3,   /* the process has died */
    STEPPER_STUCK = 4,  /* the call did not return in time; the process has been killed */
    STEPPER_ASLEEP = 5, /* waits in the kernel */
};

/* A call that takes longer than this, or twice as long, is stuck. No call on memory does, by far; one that waits for a disk
 * may be given more, before the first stepper is started. */
extern unsigned stepper_patience_s;

/* stepper_pin keeps this process, and so its children, on one core. */
void stepper_pin(void);

/* stepper_start forks the child. 0, or a negative errno: tracing is not allowed here. */
int stepper_start(struct stepper *ret);

/* stepper_kill ends it by SIGKILL, wherever it stands, and waits for its death. */
void stepper_kill(struct stepper *s);

/* stepper_call prepares a call of fn(arg); nothing of it has run yet. `stack` is the end of the memory that is to be
 * the stack, NULL: the child's own. */
void stepper_call(struct stepper *s, void (*fn)(void *), void *arg, void *stack);

/* stepper_step takes one instruction. */
enum stepper_verdict stepper_step(struct stepper *s);

/* stepper_run_to runs until the instruction at `at` is the next (STEPPER_ON), or the call ends before. */
enum stepper_verdict stepper_run_to(struct stepper *s, uint64_t at);

/* stepper_finish runs to the end of the call. */
enum stepper_verdict stepper_finish(struct stepper *s);

/* stepper_settle runs until the call has ended, or waits in the kernel (STEPPER_ASLEEP); stepper_finish goes on from
 * there. */
enum stepper_verdict stepper_settle(struct stepper *s);

/* stepper_go lets the call run and does not wait for it; stepper_poll says whether it has come to an end: STEPPER_ASLEEP: not
 * yet. */
void stepper_go(struct stepper *s);
enum stepper_verdict stepper_poll(struct stepper *s);
enum stepper_verdict stepper_await(struct stepper *s); /* waits for it after all */

/* stepper_letter is what /proc says of a process: S when it sleeps in the kernel. */
char stepper_letter(pid_t pid);

void stepper_save(const struct stepper *s, struct stepper_state *ret);
void stepper_load(struct stepper *s, const struct stepper_state *state);

/* stepper_watch takes one instruction as stepper_step does, and says whether it reads or writes [at, at + len),
 * page-aligned, or is a system call. Two instructions of two processes that do not can change places without anybody
 * noticing. */
enum stepper_verdict stepper_watch(struct stepper *s, void *at, size_t len, bool *ret_touches);

/* stepper_asks is the number of the system call that the next instruction makes, -1: it makes none. */
long stepper_asks(const struct stepper *s);

#endif
