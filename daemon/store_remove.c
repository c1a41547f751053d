/* Directories that go: renamed at once to a name that no topic can have, then emptied by and by. The
 * job belongs to nobody but its own requests; io_close waits for it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/report.h"
#include "daemon/store_impl.h"
#include "shm/testpoint.h"

/* NAME~new-TIME, NAME~gone-TIME: '~' stands in no topic's name, and what else a user may have put
 * there does not end like this. */
#define DRAFT_DIGITS 16

struct removal {
    struct io *io;
    struct io_req req;
    int parent, dir; /* own descriptors */
    char name[STORE_PATH];
    char *names; /* of its files, each with its zero, and an empty one last */
    char *at;
};

void
store__draft_name(const char *name, const char *what, char ret[STORE_PATH])
{
    (void)snprintf(ret, STORE_PATH, "%.*s~%s-%016" PRIx64, LIMIT_TOPIC_NAME, name, what,
                   store__realtime());
}

static void
removal_end(struct removal *m)
{
    if (m->dir >= 0)
        io_file_close(m->io, m->dir);
    if (m->parent >= 0)
        io_file_close(m->io, m->parent);
    free(m->names);
    free(m);
}

static void
removed(struct io_req *req)
{
    struct removal *m = req->user;

    if (req->fd == m->parent) {
        if (req->res)
            report_warning("removing the directory %s: %s", m->name, report_error_text(req->res));
        removal_end(m);
        return;
    }
    TESTPOINT("remove.file");
    m->req = (struct io_req){.verb = IO_REMOVE, .fd = m->dir, .user = m, .done = removed};
    m->req.name = m->at;
    m->at += strlen(m->at) + 1;
    if (!*m->req.name) {
        m->req.fd = m->parent;
        m->req.flags = IO_DIRECTORY;
        m->req.name = m->name;
    }
    io_submit(m->io, &m->req);
}

/* The names in a directory, in one piece of memory. */
static int
list(int dir, char **ret)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    size_t used = 0;
    char *names = calloc(1, 1), *more;
    struct dirent *e;

    while (d && names && (e = readdir(d))) {
        size_t len = strlen(e->d_name) + 1;
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        more = realloc(names, used + len + 1);
        if (!more) {
            free(names);
            names = NULL;
            break;
        }
        names = more;
        memcpy(names + used, e->d_name, len);
        used += len;
        names[used] = '\0';
    }
    if (d)
        closedir(d);
    else if (fd >= 0)
        close(fd);
    *ret = names;
    return names ? 0 : -ENOMEM;
}

static int
open_directory(const struct store_env *env, const char *name)
{
    struct io_file file;
    int r = io_file_open(env->io, env->store_dirfd, name, IO_OPEN_DIRECTORY, &file);

    return r ? r : file.fd;
}

void
store__clear(const struct store_env *env, const char *name)
{
    struct removal *m = calloc(1, sizeof *m);
    bool ready = false;

    if (m) {
        m->io = env->io;
        (void)snprintf(m->name, sizeof m->name, "%s", name);
        m->parent = open_directory(env, ".");
        m->dir = open_directory(env, name);
        ready = m->parent >= 0 && m->dir >= 0 && !list(m->dir, &m->names);
    }
    if (!ready) {
        report_warning("the directory %s cannot be removed", name);
        if (m)
            removal_end(m);
        return;
    }
    m->at = m->names;
    m->req = (struct io_req){.fd = -1, .user = m};
    removed(&m->req);
}

int
store_discard(const struct store_env *env, const char *name)
{
    char draft[STORE_PATH];
    int r;

    store__draft_name(name, "gone", draft);
    r = io_rename(env->io, env->store_dirfd, name, draft);
    if (r)
        return r;
    TESTPOINT("store.discarded");
    r = store__sync(env->io, env->store_dirfd);
    store__clear(env, draft);
    return r;
}

static bool
is_draft(const char *name)
{
    const char *mark = strrchr(name, '~');

    if (!mark || (strncmp(mark, "~new-", 5) != 0 && strncmp(mark, "~gone-", 6) != 0))
        return false;
    mark = strchr(mark, '-') + 1;
    return strlen(mark) == DRAFT_DIGITS && strspn(mark, "0123456789abcdef") == DRAFT_DIGITS;
}

int
store_sweep(const struct store_env *env)
{
    char *names;
    int r = list(env->store_dirfd, &names);

    if (r)
        return r;
    for (const char *at = names; *at; at += strlen(at) + 1)
        if (is_draft(at))
            store__clear(env, at);
    free(names);
    return 0;
}
