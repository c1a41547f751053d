#include "daemon/bus.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "daemon/access.h"
#include "daemon/adopt.h"
#include "daemon/lock.h"
#include "daemon/prefix.h"
#include "daemon/reap.h"
#include "daemon/report.h"
#include "daemon/session.h"
#include "daemon/state.h"
#include "daemon/topic.h"
#include "daemon/watch.h"
#include "shm/process.h"
#include "shm/testpoint.h"

/* How long a clean stop waits for the disk. */
#define DRAIN_NS 10000000000ull

/* Files of the daemon's own in the store; no topic's name begins with a dot. */
#define STORE_LOCK ".lock"
#define STORE_ID ".bus"

uint64_t
bus_realtime(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t
bus_random(void)
{
    uint64_t n = 0;

    while (!n)
        if (getrandom(&n, sizeof n, 0) != (ssize_t)sizeof n)
            n = bus_realtime() * 0x9e3779b97f4a7c15ull;
    return n;
}

/* --- places ----------------------------------------------------------------------------------- */

/* Makes `path` with all directories above it. */
static int
make_directories(const char *path, mode_t mode)
{
    char copy[CONFIG_PATH];
    size_t len = strlen(path);

    if (len >= sizeof copy)
        return -ENAMETOOLONG;
    memcpy(copy, path, len + 1);
    for (char *at = copy + 1;; at++) {
        char was = *at;
        if (was && was != '/')
            continue;
        *at = '\0';
        if (mkdir(copy, mode) && errno != EEXIST)
            return -errno;
        if (!was)
            return 0;
        *at = was;
    }
}

/* A directory that anybody could rename things in is no place for a socket or a store: somebody else could stand in for the
 * daemon, or put his own logs in place of ours. In a sticky one he can only add to what is there, which is too much for a
 * store. What a link leads to is as good as the link. */
static int
check_directory(const char *path, bool may_be_sticky, char why[WHY_ROOM])
{
    struct stat named, st;

    if (lstat(path, &named) || stat(path, &st))
        return why_set(why, -errno, "cannot look at %.200s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return why_set(why, -ENOTDIR, "%.200s is no directory", path);
    if (!access_is_ours(named.st_uid) || !access_is_ours(st.st_uid))
        return why_set(why, -EPERM, "%.200s belongs to user %u", path,
                       access_is_ours(named.st_uid) ? st.st_uid : named.st_uid);
    if ((st.st_mode & S_IWOTH) && !(may_be_sticky && (st.st_mode & S_ISVTX)))
        return why_set(why, -EPERM, "%.200s may be written to by anybody", path);
    return 0;
}

static int
directory_of(const char *path, char ret[CONFIG_PATH])
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == path ? 1 : (size_t)(slash - path);

    memcpy(ret, path, len);
    ret[len] = '\0';
    return 0;
}

static int
open_socket_place(struct bus *bus, char why[WHY_ROOM])
{
    struct config *c = &bus->config;
    char dir[CONFIG_PATH], path[CONFIG_SOCKET + 8], what[160];
    int r;

    if (!strrchr(c->socket, '/')[1])
        return why_set(why, -EINVAL, "socket %s is a directory's name", c->socket);
    (void)directory_of(c->socket, dir);
    r = make_directories(dir, c->mode & 0077 ? 0755 : 0700);
    if (r)
        return why_set(why, r, "cannot make %.200s: %s", dir, strerror(-r));
    r = check_directory(dir, true, why);
    if (r)
        return r;
    memcpy(bus->prefix, c->prefix, sizeof bus->prefix);
    if (!c->prefix[0])
        r = prefix_of_socket(c->socket, bus->prefix);
    if (r)
        return why_set(why, r, "cannot resolve %.200s: %s", dir, strerror(-r));
    (void)snprintf(path, sizeof path, "%s" BUS_GUARD, c->socket);
    (void)snprintf(what, sizeof what, "socket %s", c->socket);
    r = lock_take(path, what, &bus->bus_lock, why);
    if (r || !c->prefix[0])
        return r;
    return prefix_take(c->prefix, true, &bus->prefix_lock, why);
}

/* The store's own name, and those of the directories that were made for it, must be as durable as what will stand in it. A
 * directory that may not be read, or that cannot be synced, was not made by us. */
static int
sync_above(int dir)
{
    int fd = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC), up, r = 0;
    struct stat below, st;

    if (fstat(dir, &below))
        r = -errno;
    while (fd >= 0 && !r && !fstat(fd, &st) && st.st_dev == below.st_dev &&
           st.st_ino != below.st_ino) {
        if (fsync(fd) && errno == EIO)
            r = -EIO;
        below = st;
        up = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = up;
    }
    if (fd >= 0)
        close(fd);
    return r;
}

/* The identity of the store: made once, whole or not at all. */
static int
read_id(struct bus *bus)
{
    char text[32] = "";
    int fd = openat(bus->store_dirfd, STORE_ID, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), r = 0;

    if (fd >= 0) {
        if (read(fd, text, sizeof text - 1) > 0)
            bus->id = strtoull(text, NULL, 16);
        close(fd);
    }
    if (bus->id)
        return 0;
    r = sync_above(bus->store_dirfd);
    if (r)
        return r;
    bus->id = bus_random();
    (void)snprintf(text, sizeof text, "%016" PRIx64 "\n", bus->id);
    fd = openat(bus->store_dirfd, STORE_ID ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fsync(fd))
        r = errno ? -errno : -EIO;
    close(fd);
    if (!r && (renameat(bus->store_dirfd, STORE_ID ".new", bus->store_dirfd, STORE_ID) ||
               fsync(bus->store_dirfd)))
        r = -errno;
    return r;
}

bool
bus_store_is_covered(const struct bus *bus)
{
    struct stat mine, now;

    return !fstat(bus->store_dirfd, &mine) && !stat(bus->config.store, &now) &&
           (mine.st_dev != now.st_dev || mine.st_ino != now.st_ino);
}

static int
open_store_place(struct bus *bus, char why[WHY_ROOM])
{
    const char *store = bus->config.store;
    char path[CONFIG_PATH + 16], what[CONFIG_PATH + 16];
    int r = make_directories(store, 0700);

    if (r)
        return why_set(why, r, "cannot make the store %.200s: %s", store, strerror(-r));
    r = check_directory(store, false, why);
    if (r)
        return r;
    bus->store_dirfd = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (bus->store_dirfd < 0)
        return why_set(why, -errno, "cannot open the store %.200s: %s", store, strerror(errno));
    (void)snprintf(path, sizeof path, "%s/" STORE_LOCK, store);
    (void)snprintf(what, sizeof what, "store %s", store);
    r = lock_take(path, what, &bus->store_lock, why);
    if (r)
        return r;
    r = read_id(bus);
    return r ? why_set(why, r, "cannot write in the store %.200s: %s", store, strerror(-r)) : 0;
}

/* The same for everybody to read, in a file that nothing depends on: whoever can open a file can hold a lock on it, and
 * keep a daemon from starting. In a sticky directory anybody may have put something else there before: a FIFO is no reason to
 * wait, and nothing but a file is written to. */
static int
tell_inspectors(const struct bus *bus, const char *text)
{
    char path[CONFIG_SOCKET + 16];
    int fd, r;

    (void)snprintf(path, sizeof path, "%s.lock", bus->config.socket);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
    if (fd < 0)
        return -errno;
    r = lock_write(fd, text);
    close(fd);
    return r;
}

static int
write_locks(struct bus *bus, char why[WHY_ROOM])
{
    char text[CONFIG_PATH + 256], real[PATH_MAX];
    int r;

    if (!realpath(bus->config.store, real))
        return why_set(why, -errno, "cannot resolve %.200s", bus->config.store);
    (void)snprintf(text, sizeof text,
                   "pid %u\nstore %.1000s\nprefix %s\nincarnation %016" PRIx64 "\n", bus->pid, real,
                   bus->prefix, bus->incarnation);
    r = lock_write(bus->bus_lock, text);
    if (!r)
        r = lock_write(bus->store_lock, text);
    if (!r && bus->prefix_lock >= 0)
        r = lock_write(bus->prefix_lock, text);
    if (!r)
        r = tell_inspectors(bus, text);
    return r ? why_set(why, r, "cannot write the lock file: %s", strerror(-r)) : 0;
}

/* --- machinery -------------------------------------------------------------------------------- */

static void
on_io(struct loop_source *source, uint32_t events)
{
    struct bus *bus = source->user;

    (void)events;
    (void)io_reap(bus->io);
}

/* The end of every turn. */
static void
on_turn(void *user)
{
    struct bus *bus = user;

    io_flush(bus->io);
    if (!fault_pending())
        return;
    for (struct topic *t = bus->topics; t; t = t->next)
        if (t->mapped && memory_is_hit(&t->memory))
            watch_ask(t);
}

static void
drained(void *user)
{
    struct bus *bus = user;

    if (!--bus->draining)
        loop_stop(bus->loop, 0);
}

static void
on_stop_timer(struct loop_timer *timer)
{
    struct bus *bus = timer->user;

    report_error(
        "%u logs could not be written to the end in %llu s; what is missing stays in shared "
        "memory for the next start",
        bus->draining, DRAIN_NS / 1000000000);
    loop_stop(bus->loop, 0);
}

static void
stop(struct bus *bus)
{
    bus->stopping = true;
    loop_cancel(bus->loop, &bus->accept_again);
    loop_remove(bus->loop, &bus->listener);
    (void)unlink(bus->config.socket);
    TESTPOINT("bus.stopping");
    /* One more than there are stores, so that it ends here when all are done at once. */
    bus->draining = 1;
    for (struct topic *t = bus->topics; t; t = t->next) {
        if (!t->store || t->standing != TOPIC_SERVING)
            continue;
        bus->draining++;
        store_drain(t->store, drained, bus);
    }
    loop_set(bus->loop, &bus->stop_timer, loop_now(bus->loop) + DRAIN_NS);
    drained(bus);
}

static void
on_signal(struct loop_source *source, uint32_t events)
{
    struct bus *bus = source->user;
    struct signalfd_siginfo info;

    (void)events;
    if (read(source->fd, &info, sizeof info) != (ssize_t)sizeof info)
        return;
    if (bus->stopping) {
        loop_stop(bus->loop, 0);
        return;
    }
    report_note("stopping: signal %u from process %u", info.ssi_signo, info.ssi_pid);
    stop(bus);
}

static int
open_signals(struct bus *bus)
{
    sigset_t set;

    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL))
        return -errno;
    bus->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return bus->signals.fd < 0 ? -errno : 0;
}

static void
raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int
open_machinery(struct bus *bus, char why[WHY_ROOM])
{
    const struct io_options options = {.want = bus->config.io};
    int r = loop_open(&bus->loop);

    if (!r)
        r = open_signals(bus);
    if (!r)
        r = fault_install();
    if (r)
        return why_set(why, r, "cannot start: %s", strerror(-r));
    r = io_open(&options, &bus->io);
    if (r)
        return why_set(why, r, "cannot open storage io = %s: %s", bus->config.io, strerror(-r));
    bus->io_source = (struct loop_source){.fd = io_event_fd(bus->io), .ready = on_io, .user = bus};
    r = loop_add(bus->loop, &bus->io_source, EPOLLIN);
    if (r)
        return why_set(why, r, "cannot start: %s", strerror(-r));
    loop_hook(bus->loop, on_turn, bus);
    bus->store_env =
        (struct store_env){.loop = bus->loop, .io = bus->io, .store_dirfd = bus->store_dirfd};
    bus->barrier = SHM_BARRIER_BOTH;
    if (bus->config.membarrier && !shm_event_register() && !shm_event_barrier(SHM_BARRIER_SLEEPER))
        bus->barrier = SHM_BARRIER_SLEEPER;
    return 0;
}

/* --- start ------------------------------------------------------------------------------------ */

/* Topics the configuration names. One that cannot be made is reported; the others and the bus start. */
static void
declare_topics(struct bus *bus)
{
    const struct access_who self = {.uid = geteuid(), .gid = getegid()};

    for (uint32_t i = 0; i < bus->config.rule_count; i++) {
        const struct config_rule *rule = &bus->config.rules[i];
        struct wire_topic request = {.options = {.given = WIRE_GIVEN_RULE}};
        char why[WHY_ROOM] = "";
        struct topic_wish wish = {.fixed = 0};
        struct topic *t;
        int r;

        if (!(rule->given & 1u << CONFIG_DECLARE) || !rule->topic.declare ||
            topic_by_name(bus, rule->pattern))
            continue;
        memcpy(request.name, rule->pattern, strlen(rule->pattern) + 1);
        r = topic_wish_of(bus, &self, &request, &wish, why);
        wish.who = NULL;
        if (!r)
            r = topic_create(bus, rule->pattern, &wish, &t, why);
        if (r)
            report_error("%s:%u: %s", rule->file, rule->line, why);
    }
}

static int
listen_at(struct bus *bus, char why[WHY_ROOM])
{
    int r = wire_listen(bus->config.socket, bus->config.mode, &bus->listener.fd);

    if (r)
        return why_set(why, r, "cannot listen at %s: %s", bus->config.socket, strerror(-r));
    TESTPOINT("bus.listening");
    r = loop_add(bus->loop, &bus->listener, EPOLLIN);
    /* A stop that was asked for meanwhile waits until now: one that is handled before there is a socket to take away, and
     * a loop to end, is forgotten. */
    if (!r)
        r = loop_add(bus->loop, &bus->signals, EPOLLIN);
    return r ? why_set(why, r, "cannot watch the socket: %s", strerror(-r)) : 0;
}

static int
start(struct bus *bus, char why[WHY_ROOM])
{
    int r = open_socket_place(bus, why);

    if (!r)
        r = open_store_place(bus, why);
    if (!r)
        r = write_locks(bus, why);
    if (!r)
        r = open_machinery(bus, why);
    if (!r)
        r = adopt_all(bus, why);
    if (r)
        return r;
    declare_topics(bus);
    /* Adoption has put off what it found: all of it is begun before the first client comes. */
    (void)loop_turn(bus->loop, 0);
    r = listen_at(bus, why);
    /* What a former daemon handed out, and its owner does not know of: he asks again. Not before whoever closes something is
     * heard. */
    if (!r)
        reap_session(bus, 0);
    /* Bells are armed since then, and who rang found nobody: all is looked at once more now that rings arrive. */
    for (struct topic *t = bus->topics; !r && t; t = t->next)
        watch_ask(t);
    return r;
}

int
bus_open(struct config *config, struct bus **ret, char why[WHY_ROOM])
{
    struct bus *bus = calloc(1, sizeof *bus);
    int r;

    if (!bus) {
        config_free(config);
        return why_set(why, -ENOMEM, "out of memory");
    }
    bus->config = *config;
    bus->pid = (uint32_t)getpid();
    bus->incarnation = bus_random();
    bus->store_dirfd = bus->bus_lock = bus->store_lock = bus->prefix_lock = -1;
    bus->listener = (struct loop_source){.fd = -1, .ready = session_accept, .user = bus};
    bus->signals = (struct loop_source){.fd = -1, .ready = on_signal, .user = bus};
    bus->accept_again = (struct loop_timer){.fire = session_accept_again, .user = bus};
    bus->send_again = (struct loop_timer){.fire = session_send_again, .user = bus};
    bus->stop_timer = (struct loop_timer){.fire = on_stop_timer, .user = bus};
    raise_descriptors();
    bus->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    r = shm_process_start(getpid(), &bus->start);
    if (!r)
        r = shm_process_boot_id(bus->boot_id);
    if (r)
        why_text(why, "cannot read /proc: %s", strerror(-r));
    else
        r = start(bus, why);
    if (r) {
        bus_close(bus);
        return r;
    }
    report_note("serves %s, store %s, shared memory /dev/shm/%s.*, %s, %s", bus->config.socket,
                bus->config.store, bus->prefix, io_why(bus->io),
                bus->barrier == SHM_BARRIER_SLEEPER ? "membarrier" : "no membarrier");
    *ret = bus;
    return 0;
}

int
bus_run(struct bus *bus)
{
    return loop_run(bus->loop);
}

/* --- end -------------------------------------------------------------------------------------- */

static void
close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void
close_topics(struct bus *bus, bool keep)
{
    while (bus->topics) {
        struct topic *t = bus->topics;
        char name[LIMIT_TOPIC_NAME + 1];

        memcpy(name, t->name, sizeof name);
        if (keep || !t->mapped || t->standing != TOPIC_SERVING) {
            topic_close(t);
            continue;
        }
        state_set(&t->memory.view, RING_TOPIC_REMOVED, "the daemon was stopped, and keep = no");
        memory_remove(bus->prefix, name);
        topic_close(t);
    }
}

struct bus *
bus_close(struct bus *bus)
{
    if (!bus)
        return NULL;
    if (bus->loop) {
        session_end_all(bus);
        close_topics(bus, bus->config.keep || !bus->stopping);
        loop_remove(bus->loop, &bus->io_source);
        bus->io = io_close(bus->io);
    }
    bus->loop = loop_close(bus->loop);
    close_fd(&bus->listener.fd);
    close_fd(&bus->signals.fd);
    close_fd(&bus->spare_fd);
    close_fd(&bus->store_dirfd);
    close_fd(&bus->store_lock);
    prefix_give_up(bus->prefix, &bus->prefix_lock);
    close_fd(&bus->bus_lock);
    config_free(&bus->config);
    free(bus);
    return NULL;
}
