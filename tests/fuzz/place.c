#include "tests/fuzz/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/input.h"

#define PREFIX "leat-fuzz-"

static char place[PLACE_PATH];

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path) && errno != ENOENT ? -1 : 0;
}

static void
remove_tree(const char *path)
{
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void
at_end(void)
{
    if (place[0])
        remove_tree(place);
}

/* A place bears the number of the process that made it, and so do its objects in shared memory. */
static void
take_away_old(const char *parent)
{
    DIR *d = opendir(parent);
    struct dirent *e;
    char path[PATH_MAX];

    while (d && (e = readdir(d))) {
        long pid;
        if (strncmp(e->d_name, PREFIX, sizeof PREFIX - 1) != 0)
            continue;
        pid = strtol(e->d_name + sizeof PREFIX - 1, NULL, 10);
        if (pid <= 0 || !kill((pid_t)pid, 0) || errno != ESRCH)
            continue;
        if (snprintf(path, sizeof path, "%s/%s", parent, e->d_name) < PATH_MAX)
            remove_tree(path);
    }
    if (d)
        (void)closedir(d);
}

const char *
place_open(void)
{
    const char *parent = getenv("TMPDIR");

    if (place[0])
        return place;
    if (!parent || strlen(parent) > 60)
        parent = "/tmp";
    take_away_old(parent);
    take_away_old("/dev/shm");
    (void)snprintf(place, sizeof place, "%s/" PREFIX "%d", parent, (int)getpid());
    MUST(!mkdir(place, 0700));
    MUST(!atexit(at_end));
    return place;
}

static void
path_of(const char *name, char ret[PATH_MAX])
{
    MUST(snprintf(ret, PATH_MAX, "%s/%s", place_open(), name) < PATH_MAX);
}

void
place_file(const char *name, const void *bytes, size_t len, size_t size)
{
    char path[PATH_MAX];
    int fd;

    path_of(name, path);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EISDIR)
        return;
    MUST(fd >= 0);
    MUST(!len || pwrite(fd, bytes, len, 0) == (ssize_t)len);
    MUST(size <= len || !ftruncate(fd, (off_t)size));
    MUST(!close(fd));
}

long
place_read(const char *name, void *to, size_t room)
{
    char path[PATH_MAX];
    ssize_t n;
    int fd;

    path_of(name, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    n = pread(fd, to, room, 0);
    (void)close(fd);
    return (long)n;
}

void
place_folder(const char *name)
{
    char path[PATH_MAX];

    path_of(name, path);
    MUST(!mkdir(path, 0700) || errno == EEXIST);
}

void
place_clear(const char *name)
{
    char path[PATH_MAX];

    path_of(name, path);
    remove_tree(path);
    if (!name[0])
        MUST(!mkdir(place, 0700) || errno == EEXIST);
}
