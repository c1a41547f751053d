/* process.h - who a process is: its pid and the time it started, which together are never used
 * twice until the machine reboots. Death is decided by pidfd alone, in the daemon. */
#ifndef SHM_PROCESS_H
#define SHM_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

/* shm_process_stat reads what the kernel says of a process, and finds in it what follows the name: the letter of its state, and
 * numbers. Errors are those of shm_process_start. */
#define SHM_PROCESS_STAT 1024
int shm_process_stat(pid_t pid, char text[SHM_PROCESS_STAT], const char **ret_state);

/* shm_process_start says when a process started, in clock ticks since boot. -ESRCH when there is none; -EACCES when there is one
 * that must not be looked at (/proc is mounted with hidepid, or ProtectProc= does so for a service). */
int shm_process_start(pid_t pid, uint64_t *ret_start);

/* shm_process_boot_id reads the identity of the running kernel. */
int shm_process_boot_id(uint8_t ret[16]);

/* shm_process_open opens the pidfd of whatever process has this pid now, or says -ESRCH: also when the pid has become the id of
 * a thread of some other process, for which kernels have had several words. */
int shm_process_open(pid_t pid);

/* shm_process_pidfd opens a descriptor that is readable once the process (pid, start) has exited. -ESRCH when
 * it has already, or when the pid is somebody else's now. Where that cannot be known, because it must not be looked at or
 * `start` is not known (0), whoever has the pid counts as the one: nobody who lives is taken for dead. */
int shm_process_pidfd(pid_t pid, uint64_t start, int *ret_fd);

#endif
