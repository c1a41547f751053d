/* Starting a private daemon: a grandchild that belongs to nobody, holds none of our descriptors,
 * and says through a pipe when it is ready. */
#include "client/client.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_FD 3 /* what the daemon knows its end of the pipe as */

static bool
is_program(const char *path)
{
    return access(path, X_OK) == 0;
}

static bool
in_own_folder(char ret[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", ret, PATH_MAX - sizeof "leatd");
    char *slash;

    if (n <= 0)
        return false;
    ret[n] = '\0';
    slash = strrchr(ret, '/');
    if (!slash)
        return false;
    memcpy(slash + 1, "leatd", sizeof "leatd");
    return is_program(ret);
}

static bool
in_search_path(char ret[PATH_MAX])
{
    const char *at = secure_getenv("PATH");

    for (at = at ? at : "/usr/local/bin:/usr/bin:/bin"; *at; at += *at == ':') {
        size_t len = strcspn(at, ":");
        int n = snprintf(ret, PATH_MAX, "%.*s/leatd", (int)len, at);
        if (len && n > 0 && n < PATH_MAX && is_program(ret))
            return true;
        at += len;
    }
    return false;
}

static bool
find_daemon(char ret[PATH_MAX])
{
    const char *given = secure_getenv("LEATD");

    if (given && given[0]) {
        (void)snprintf(ret, PATH_MAX, "%s", given);
        return is_program(ret);
    }
    if (in_own_folder(ret))
        return true;
#if defined(LEAT_LEATD_PATH)
    (void)snprintf(ret, PATH_MAX, "%s", LEAT_LEATD_PATH);
    if (is_program(ret))
        return true;
#endif
    return in_search_path(ret);
}

/* In the grandchild, between fork and exec: only what is safe after a fork in a program with
 * threads. */
static void
become(char *const argv[], int ready)
{
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t none;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    for (int s = 1; s < NSIG; s++)
        (void)sigaction(s, &plain, NULL);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
        _exit(127);
    if (ready == READY_FD ? fcntl(ready, F_SETFD, 0) : dup2(ready, READY_FD) < 0)
        _exit(127);
    (void)close_range(READY_FD + 1, ~0u, 0);
    if (chdir("/"))
        _exit(127);
    (void)execv(argv[0], argv);
    _exit(127);
}

/* Forks twice, so that the daemon is nobody's child and never a zombie of ours. */
static int
launch(char *const argv[], int ready)
{
    pid_t child = fork();

    if (child < 0)
        return -errno;
    if (!child) {
        (void)setsid();
        child = fork();
        if (!child)
            become(argv, ready);
        _exit(child < 0);
    }
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        ;
    return 0;
}

/* The daemon writes when it serves, and its end closes when it is gone; both end the wait. */
static int
await_ready(int fd, int64_t deadline)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = leat__left(deadline, 1000000000);
        int r;
        if (left <= 0)
            return -ETIMEDOUT;
        r = poll(&p, 1, (int)((left + 999999) / 1000000));
        if (r > 0)
            return 0;
        if (r < 0 && errno != EINTR)
            return -errno;
    }
}

/* Whether the bus at this path is another daemon's, which is away for a moment: one with another store would take its place and
 * its rings, and keep it from coming back. What a daemon leaves beside its socket names its store. */
static bool
has_other_store(const char *socket, const char *store)
{
    char path[LEAT__PATH + 8], text[PATH_MAX + 256], real[PATH_MAX], *at, *end;
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof path, "%s.lock", socket);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    at = strstr(text, "\nstore ");
    end = at ? strchr(at + 1, '\n') : NULL;
    if (!end)
        return false;
    *end = '\0';
    return !realpath(store, real) || strcmp(at + strlen("\nstore "), real) != 0;
}

int
leat__start(const char *path, bool mine, int64_t deadline)
{
    char program[PATH_MAX], socket[LEAT__PATH], store[LEAT__PATH + 8], ready[] = "--ready-fd=3";
    char user[] = "--user", at[] = "--socket", in[] = "--store";
    char *own[] = {program, user, ready, NULL};
    char *named[] = {program, user, at, socket, in, store, ready, NULL};
    int pipe[2], r;

    if (!find_daemon(program))
        return -ENOENT;
    (void)snprintf(socket, sizeof socket, "%s", path);
    (void)snprintf(store, sizeof store, "%s.store", path);
    if (!mine && has_other_store(socket, store))
        return -ECONNREFUSED;
    if (pipe2(pipe, O_CLOEXEC))
        return -errno;
    r = launch(mine ? own : named, pipe[1]);
    close(pipe[1]);
    if (!r)
        r = await_ready(pipe[0], deadline);
    close(pipe[0]);
    return r;
}
