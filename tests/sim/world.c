#include "tests/sim/world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/party.h"

pid_t
world_child(void)
{
    pid_t parent = getpid(), pid;

    (void)fflush(NULL);
    pid = fork();
    if (pid)
        return pid;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent && getppid() != 0)
        _exit(1);
    return 0;
}

int
world_ended(pid_t *pid, unsigned ms)
{
    uint64_t until = party_now_ns() + ms * 1000000ull;
    int status = -1;
    pid_t r;

    do {
        r = waitpid(*pid, &status, WNOHANG);
        if (!r)
            party_breathe();
    } while (!r && party_now_ns() < until);
    if (r > 0) {
        *pid = 0;
        return status;
    }
    world_kill(pid);
    return -1;
}

void
world_kill(pid_t *pid)
{
    if (*pid <= 0)
        return;
    (void)kill(*pid, SIGKILL);
    (void)waitpid(*pid, NULL, 0);
    *pid = 0;
}

void *
world_shared(size_t size)
{
    void *at =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return at == MAP_FAILED ? NULL : at;
}

void
world_forget_memory(void)
{
    DIR *dir = opendir("/dev/shm");
    const struct dirent *e;

    while (dir && (e = readdir(dir)))
        if (e->d_name[0] != '.' && strcmp(e->d_name, strrchr(WORLD, '/') + 1) != 0)
            (void)unlinkat(dirfd(dir), e->d_name, 0);
    if (dir)
        (void)closedir(dir);
}

bool
world_has(const char *device)
{
    int fd = open(device, O_RDWR | O_CLOEXEC);

    if (fd >= 0) {
        (void)close(fd);
        return true;
    }
    printf("%s cannot be used here: %s\n", device, strerror(errno));
    return false;
}

/* Nothing of ours may reach the mounts of others, so theirs are made private first. */
static bool
furnish(void)
{
    return !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
           !mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV, NULL) &&
           !mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777") &&
           !mkdir(WORLD, 0700);
}

int
world_run(int (*inside)(void))
{
    int status;
    pid_t pid;

    if (unshare(CLONE_NEWNS | CLONE_NEWPID)) {
        printf("there can be no namespaces here: %s\n", strerror(errno));
        return 77;
    }
    pid = world_child();
    if (!pid) {
        if (!furnish()) {
            printf("nothing can be mounted here: %s\n", strerror(errno));
            exit(77);
        }
        exit(inside());
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        printf("the world ended with signal %d\n", WTERMSIG(status));
    (void)fflush(NULL);
    /* Whose children are to be born in a world that has ended can have none, and a search for leaks needs one. */
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

bool
world_is_served(int ready)
{
    bool done = !unshare(CLONE_NEWNS) && write(ready, "", 1) == 1;

    (void)close(ready);
    return done;
}

int
world_serve(const char *at, int (*serve)(const char *at, int ready), pid_t *ret)
{
    int ready[2];
    char byte;
    ssize_t n;

    if ((mkdir(at, 0700) && errno != EEXIST) || pipe2(ready, O_CLOEXEC))
        return -errno;
    *ret = world_child();
    if (!*ret) {
        (void)close(ready[0]);
        /* What the kernel asks of us to get memory free must not wait for memory. */
        (void)prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
        exit(serve(at, ready[1]));
    }
    (void)close(ready[1]);
    do
        n = read(ready[0], &byte, 1);
    while (n < 0 && errno == EINTR);
    (void)close(ready[0]);
    return n == 1 ? 0 : -EIO;
}
