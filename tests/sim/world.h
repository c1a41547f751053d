/* world.h - a small world to be broken: namespaces of its own for mounts, processes and shared memory, so that whatever is mounted,
 * attached or started in it goes with it, however it ends; and file systems in user space, each served by a process of its own. */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A tmpfs that nobody else sees; leatd's shared memory stands beside this directory. */
#define WORLD "/dev/shm/world"

/* world_run runs `inside` in a new world and ends this process with its exit status; it returns 77, and says why, where there cannot be
 * one. */
int world_run(int (*inside)(void));

/* world_has says whether a device that a test needs may be opened; prints why not. */
bool world_has(const char *device);

/* world_child forks a process that does not outlive this one. */
pid_t world_child(void);

/* world_ended waits for the process: its wait status, or -1 when it has not ended within the time, and is killed. */
int world_ended(pid_t *pid, unsigned ms);
void world_kill(pid_t *pid);

/* world_shared is memory that all processes of the world share, zeroed; pages that nobody touches cost nothing. */
void *world_shared(size_t size);

/* world_forget_memory is what a loss of power does to shared memory. */
void world_forget_memory(void);

/* world_serve starts a process that mounts a file system at `at` and serves it until it is killed: `serve` mounts, says
 * so with world_is_served, and returns when the file system has gone. 0: it is mounted. */
int world_serve(const char *at, int (*serve)(const char *at, int ready), pid_t *ret);

/* What is mounted from here on the server has no part in: were it the last to leave the world, it would have to write out a file system that
 * stands on itself, and could not end. */
bool world_is_served(int ready);

#endif
