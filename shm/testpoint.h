/* testpoint.h - named places where a test may kill or stop the process.
 *
 * After every step that another process can see stands one TESTPOINT("area.step"). Without LEAT_TESTPOINTS
 * they are nothing. With it, each puts its name into a linker section, so that the tests take
 * their list from the code, and asks whether it has been armed by the environment:
 *
 *   LEAT_TESTPOINT=NAME[:COUNT]=kill|stop[,...]   at the COUNTth passage (first: 1) SIGKILL or SIGSTOP oneself
 */
#ifndef SHM_TESTPOINT_H
#define SHM_TESTPOINT_H

#if defined(LEAT_TESTPOINTS)

struct shm_testpoint {
    const char *name;
};

/* Where each testpoint calls; NULL while nothing is armed. */
extern void (*shm_testpoint_hook)(const char *name);

/* The names in this program, each once; ends with NULL. */
const char *const *shm_testpoint_names(void);

#define TESTPOINT(text)                                                                            \
    do {                                                                                           \
        static const struct shm_testpoint here                                                     \
            __attribute__((section("leat_testpoints"), used)) = {text};                            \
        if (shm_testpoint_hook)                                                                    \
            shm_testpoint_hook(here.name);                                                         \
    } while (0)

#else
#define TESTPOINT(text) ((void)0)
#endif

#endif
