#include "daemon/stop.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/access.h"
#include "daemon/bus.h"
#include "daemon/lock.h"
#include "daemon/memory.h"
#include "daemon/prefix.h"
#include "daemon/report.h"
#include "daemon/state.h"
#include "shm/name.h"
#include "shm/process.h"

/* A daemon drains its logs for at most 10 s. */
#define PATIENCE_MS 20000

/* The lock file's text, by the key in front of a line. */
static int
read_lock(const char *path, const char *key, char *value, size_t room)
{
    FILE *f = fopen(path, "re");
    char line[CONFIG_PATH + 64];
    size_t len = strlen(key);
    int r = -ENOENT;

    if (!f)
        return -errno;
    while (r && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, len) != 0 || line[len] != ' ')
            continue;
        line[strcspn(line, "\n")] = '\0';
        r = (size_t)snprintf(value, room, "%s", line + len + 1) < room ? 0 : -ENAMETOOLONG;
    }
    (void)fclose(f);
    return r;
}

static int
wait_for_end(int pidfd, int pid)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int n;

    if (syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0)) {
        int r = -errno;
        report_error("cannot stop process %d: %s", pid, strerror(-r));
        return r;
    }
    do
        n = poll(&p, 1, PATIENCE_MS);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        report_note("process %d has stopped", pid);
        return 0;
    }
    report_error("process %d has not stopped in %d s", pid, PATIENCE_MS / 1000);
    return -ETIMEDOUT;
}

/* The lock is looked at again once the descriptor is open: then it is the descriptor of its holder. */
static int
stop_holder(const char *lock, const char *socket)
{
    int pid, again, pidfd, r = lock_holder(lock, &pid);

    if (r == -ESRCH || r == -ENOENT) {
        report_note("nobody serves %s", socket);
        return -ESRCH;
    }
    if (r) {
        report_error("cannot read %s: %s", lock, strerror(-r));
        return r;
    }
    pidfd = shm_process_open(pid);
    if (pidfd < 0)
        return pidfd == -ESRCH ? 0 : pidfd;
    r = lock_holder(lock, &again) || again != pid ? 0 : wait_for_end(pidfd, pid);
    close(pidfd);
    return r;
}

struct purge {
    char prefix[LIMIT_SHM_PREFIX];
    uint8_t boot_id[16];
    unsigned count;
};

/* Whoever is still attached is told that the topic is gone. */
static void
purge_topic(void *user, const char *name)
{
    struct purge *p = user;
    struct memory m;
    char why[WHY_ROOM];

    if (!memory_adopt(p->prefix, name, p->boot_id, &m, why)) {
        state_set(&m.view, RING_TOPIC_REMOVED, "the daemon was stopped and its rings were purged");
        memory_close(&m);
    }
    memory_remove(p->prefix, name);
    p->count++;
}

/* Nobody may serve what is purged, and nobody begin to. The guard of the socket, which is taken, is enough for the prefix that is
 * made from its path, and for no other: one that was chosen may be served at another socket since, and a directory that was
 * moved brings the guard of another path along. */
static int
take_prefix(const char *prefix, const char *socket, int *ret_fd, char why[WHY_ROOM])
{
    char own[LIMIT_SHM_PREFIX];
    int r = prefix_of_socket(socket, own);

    if (r)
        return why_set(why, r, "cannot resolve %s: %s", socket, strerror(-r));
    if (!strcmp(prefix, own))
        return 0;
    if (shm_name_is_derived(prefix))
        return why_set(why, -EBUSY,
                       "%s" BUS_GUARD " names the prefix %s, which is made from another socket's "
                       "path; if nobody serves that, remove /dev/shm/%s.*",
                       socket, prefix, prefix);
    return prefix_take(prefix, false, ret_fd, why);
}

static int
purge_topics(const struct config *c, struct purge *p)
{
    char why[WHY_ROOM];
    int fd = -1, r = take_prefix(p->prefix, c->socket, &fd, why);

    if (r) {
        report_error("cannot purge: %s", why);
        return r;
    }
    r = shm_process_boot_id(p->boot_id);
    if (!r)
        r = memory_list(p->prefix, purge_topic, p);
    if (r)
        report_error("cannot purge: %s", strerror(-r));
    prefix_give_up(p->prefix, &fd);
    return r;
}

static int
purge_all(const struct config *c, const char *lock)
{
    struct purge p = {.count = 0};
    char why[WHY_ROOM], what[CONFIG_SOCKET + 16];
    int fd, r;

    /* Nobody has ever served here. A guard that is made now would be of whoever asks, and keep the daemon's user out. */
    if (access(lock, F_OK) && errno == ENOENT) {
        report_note("0 topics were removed from shared memory");
        return 0;
    }
    (void)snprintf(what, sizeof what, "socket %s", c->socket);
    r = lock_take(lock, what, &fd, why);
    if (r) {
        report_error("cannot purge: %s", why);
        return r;
    }
    r = read_lock(lock, "prefix", p.prefix, sizeof p.prefix);
    if (!r)
        r = purge_topics(c, &p);
    else if (r == -ENOENT)
        r = 0; /* nobody has ever served here */
    else
        report_error("cannot read %s: %s", lock, strerror(-r));
    if (!r)
        report_note("%u topics were removed from shared memory", p.count);
    close(fd);
    return r;
}

/* Who may not purge is told before anything is stopped. */
static int
check_purge(const char *lock)
{
    struct stat st;

    if (lstat(lock, &st) || access_is_ours(st.st_uid))
        return 0;
    report_error("cannot purge: %s belongs to user %u, who alone can purge that bus", lock,
                 st.st_uid);
    return -EPERM;
}

int
stop_daemon(const struct config *c, bool purge)
{
    char lock[CONFIG_SOCKET + 16];
    int r;

    (void)snprintf(lock, sizeof lock, "%s" BUS_GUARD, c->socket);
    r = purge ? check_purge(lock) : 0;
    if (r)
        return r;
    r = stop_holder(lock, c->socket);
    if (r && (r != -ESRCH || !purge))
        return r;
    return purge ? purge_all(c, lock) : 0;
}
