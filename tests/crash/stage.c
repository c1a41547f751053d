#include "tests/crash/stage.h"

#include "shm/name.h"
#include "shm/segment.h"
#include "tests/support/pause.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 60

static bool
failed(const char *what, const char *why)
{
    printf("FAILED: %s: %s\n", what, why);
    return false;
}

struct guest *
stage_guest(struct stage *b, enum world_actor who)
{
    return &b->guests[who == S0 ? 2 : who];
}

/* --- the daemon --------------------------------------------------------------------------------- */

static const char *
leatd(void)
{
    const char *path = getenv("LEATD");

    return path ? path : "leatd";
}

static void
run_leatd(const struct stage *b, int ready)
{
    char fd[16], log[STAGE_DIR + 16], store[STAGE_DIR + 16];
    int out;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)snprintf(fd, sizeof fd, "%d", ready);
    (void)snprintf(log, sizeof log, "%s/leatd.log", b->dir);
    (void)snprintf(store, sizeof store, "%s/store", b->dir);
    out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (out >= 0)
        (void)dup2(out, 2);
    (void)execlp(leatd(), "leatd", "--socket", b->path, "--store", store, "--ready-fd", fd,
                 (char *)NULL);
    _exit(127);
}

bool
stage_fork_daemon(struct stage *b, void (*before)(const void *), const void *arg, int *ret_ready)
{
    int ready[2];

    if (pipe(ready))
        return failed("leatd", strerror(errno));
    (void)fflush(stdout);
    b->daemon = fork();
    if (!b->daemon) {
        (void)close(ready[0]);
        before(arg);
        run_leatd(b, ready[1]);
    }
    (void)close(ready[1]);
    *ret_ready = ready[0];
    return b->daemon > 0;
}

static void
arm_point(const void *point)
{
    char text[96];

    if (!point)
        return;
    (void)snprintf(text, sizeof text, "%s=kill", (const char *)point);
    (void)setenv("LEAT_TESTPOINT", text, 1);
}

bool
stage_start_daemon(struct stage *b, const char *point)
{
    char byte;
    ssize_t n;
    int ready;

    if (!stage_fork_daemon(b, arm_point, point, &ready))
        return false;
    do
        n = read(ready, &byte, 1);
    while (n < 0 && errno == EINTR);
    (void)close(ready);
    return n == 1 || point || failed("leatd", "it did not start");
}

bool
stage_daemon_is_dead(struct stage *b)
{
    if (b->daemon > 0 && waitpid(b->daemon, NULL, WNOHANG) == b->daemon)
        b->daemon = 0;
    return b->daemon <= 0;
}

bool
stage_tend(struct stage *b)
{
    if (!stage_daemon_is_dead(b))
        return true;
    b->deaths++;
    return stage_start_daemon(b, NULL);
}

bool
stage_daemon_rests(const struct stage *b)
{
    return b->daemon > 0 && stepper_letter(b->daemon) == 'S';
}

static void
show_lines(const struct stage *b)
{
    struct ring_view v;

    if (!stage_view(b, &v))
        return;
    printf("-- %s: tail %" PRIu64 ", durable %" PRIu64 ", state %" PRIu64 "\n", b->topic.name,
           atom_load_relaxed(ring_tail(&v)), atom_load_relaxed(&ring_daemon(&v)->durable),
           atom_load_relaxed(&ring_daemon(&v)->state));
    for (uint32_t i = 0; i < v.geo.max_publishers; i++)
        printf("   entry %" PRIu32 ": state %" PRIu64 ", pid %" PRIu32 ", intent %" PRIx64 "\n", i,
               atom_load_relaxed(&ring_entry(&v, i)->state), ring_entry(&v, i)->pid,
               atom_load_relaxed(&ring_line(&v, i)->intent));
    for (uint32_t i = 0; i < v.geo.max_cursors; i++)
        printf("   cursor %" PRIu32 ": word %" PRIx64 ", pid %" PRIu32 ", at %" PRIu64
               ", acknowledged %" PRIu64 ", saved %" PRIu64 "\n",
               i, atom_load_relaxed(ring_cursor_word(&v, i)), ring_cursor(&v, i)->pid,
               atom_load_relaxed(&ring_cursor(&v, i)->pos),
               atom_load_relaxed(&ring_cursor(&v, i)->acked),
               atom_load_relaxed(&ring_cursor(&v, i)->saved));
    for (int i = 0; i < STAGE_GUESTS; i++)
        printf("   guest %d: pid %d\n", i, (int)b->guests[i].proc.pid);
}

void
stage_log(const struct stage *b)
{
    char path[STAGE_DIR + 16], text[4096];
    FILE *f;
    size_t n;

    if (b->topic.data && b->topic.control)
        show_lines(b);
    (void)snprintf(path, sizeof path, "%s/leatd.log", b->dir);
    f = fopen(path, "r");
    if (!f)
        return;
    if (fseek(f, -(long)sizeof text, SEEK_END))
        rewind(f);
    n = fread(text, 1, sizeof text, f);
    (void)fclose(f);
    printf("-- the daemon's last words:\n%.*s\n", (int)n, text);
}

static void
end(pid_t *pid, int signal_number)
{
    if (*pid <= 0)
        return;
    (void)kill(*pid, signal_number);
    while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR)
        ;
    *pid = 0;
}

void
stage_kill_daemon(struct stage *b)
{
    end(&b->daemon, SIGKILL);
}

static const struct topic_kind {
    const char *name;
    uint64_t lane_size, retention_bytes;
    uint32_t durability, when_full;
} topic_kinds[] = {
    {"memory", WORLD_LANE, 0, LEAT_MEMORY, LEAT_BLOCK},
    {"lossy", WORLD_LANE, 0, LEAT_MEMORY, LEAT_OVERWRITE},
    {"disk", WORLD_LANE, 0, LEAT_DISK, LEAT_BLOCK},
    {"rolls", STAGE_LONG_LANE, 16 << 20, LEAT_DISK, LEAT_BLOCK},
};

static int
make_topic(leat_bus *bus, const struct topic_kind *k)
{
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;

    o.depth = WORLD_DEPTH;
    o.lane_size = k->lane_size;
    o.slot_size = 64;
    o.max_publishers = WORLD_PUBLISHERS;
    o.max_subscribers = WORLD_CURSORS - 1;
    o.durability = k->durability;
    o.when_full = k->when_full;
    o.retention_bytes = k->retention_bytes;
    return leat_topic_create(bus, k->name, &o);
}

static bool
make_topics(struct stage *b)
{
    struct leat_options options = LEAT_OPTIONS_INIT;
    leat_bus *bus;
    int r;

    options.path = b->path;
    r = leat_open(&options, &bus);
    if (r)
        return failed("leat_open", leat_error(NULL));
    for (size_t i = 0; !r && i < sizeof topic_kinds / sizeof *topic_kinds; i++)
        r = make_topic(bus, &topic_kinds[i]);
    if (r)
        (void)failed("leat_topic_create", leat_error(bus));
    leat_close(bus);
    return !r;
}

bool
stage_open(struct stage *b)
{
    *b = (struct stage){.dir = "/tmp/leat-crash.XXXXXX", .next_id = 1};
    b->guests = mmap(NULL, STAGE_GUESTS * sizeof *b->guests, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b->guests == MAP_FAILED || !mkdtemp(b->dir))
        return failed("bus", strerror(errno));
    (void)snprintf(b->path, sizeof b->path, "%s/bus", b->dir);
    shm_name_prefix(b->path, b->prefix);
    return stage_start_daemon(b, NULL) && make_topics(b);
}

static void
unmap(struct stage *b)
{
    shm_segment_unmap(b->topic.data, b->topic.data_size);
    shm_segment_unmap(b->topic.control, b->topic.control_size);
    b->topic = (struct topic_map){0};
}

void
stage_close(struct stage *b)
{
    char command[STAGE_DIR + 16];
    pid_t pid;

    for (int i = 0; i < STAGE_GUESTS; i++)
        stepper_kill(&b->guests[i].proc);
    unmap(b);
    end(&b->daemon, SIGTERM);
    (void)fflush(stdout);
    pid = fork();
    if (!pid) {
        int out = open("/dev/null", O_WRONLY);
        (void)snprintf(command, sizeof command, "%s/store", b->dir);
        (void)dup2(out, 2);
        (void)execlp(leatd(), "leatd", "--socket", b->path, "--store", command, "--stop", "--purge",
                     (char *)NULL);
        _exit(127);
    }
    end(&pid, 0);
    pid = fork();
    if (!pid) {
        (void)execlp("rm", "rm", "-rf", b->dir, (char *)NULL);
        _exit(127);
    }
    end(&pid, 0);
}

/* --- a topic's memory ----------------------------------------------------------------------------- */

static int
map(const char *prefix, const char *topic, enum shm_kind kind, struct topic_map *ret)
{
    char name[SHM_NAME_ROOM];
    void **at = kind == SHM_KIND_DATA ? &ret->data : &ret->control;
    uint64_t *size = kind == SHM_KIND_DATA ? &ret->data_size : &ret->control_size;
    int fd, r;

    shm_name_object(prefix, topic, kind, name);
    r = shm_segment_open(name, false, &fd, size);
    if (r)
        return r;
    r = shm_segment_map(fd, *size, at);
    (void)close(fd);
    return r;
}

uint64_t
stage_size(const struct stage *b)
{
    return b->topic.control_size + b->topic.data_size;
}

/* The control object first: positions are copied before the tail that they are behind. */
void
stage_copy(const struct stage *b, unsigned char *to)
{
    memcpy(to, b->topic.control, b->topic.control_size);
    memcpy(to + b->topic.control_size, b->topic.data, b->topic.data_size);
}

bool
stage_is_as(const struct stage *b, const unsigned char *copy)
{
    return !memcmp(copy, b->topic.control, b->topic.control_size) &&
           !memcmp(copy + b->topic.control_size, b->topic.data, b->topic.data_size);
}

bool
stage_view(const struct stage *b, struct ring_view *ret)
{
    struct ring_maps maps = {.data = b->topic.data,
                             .control = b->topic.control,
                             .data_size = b->topic.data_size,
                             .control_size = b->topic.control_size};
    uint32_t version;

    return !ring_join(ret, &maps, &version);
}

uint32_t
stage_lines(const struct stage *b, pid_t pid)
{
    struct ring_view v;
    uint32_t n = 0;

    if (!stage_view(b, &v))
        return UINT32_MAX;
    for (uint32_t i = 0; i < v.geo.max_publishers; i++)
        n += atom_load_acquire(&ring_entry(&v, i)->state) != RING_ENTRY_FREE && /* acquire: ENTRY */
             ring_entry(&v, i)->pid == (uint32_t)pid;
    for (uint32_t i = 0; i < v.geo.max_cursors; i++) {
        uint64_t word = atom_load_acquire(ring_cursor_word(&v, i)); /* acquire: CURSOR_STATE */
        n += ring_cursor_state_of(word) != RING_CURSOR_FREE &&
             ring_cursor(&v, i)->pid == (uint32_t)pid;
    }
    return n;
}

bool
stage_settled(const struct stage *b, pid_t pid)
{
    return !stage_lines(b, pid);
}

/* --- guests ----------------------------------------------------------------------------------------- */

struct stepper *
stage_tell(struct stage *b, enum world_actor who, void (*fn)(void *), const struct call *call)
{
    struct guest *g = stage_guest(b, who);

    if (call)
        g->call = *call;
    else
        memset(&g->call, 0, sizeof g->call);
    g->call.id = b->next_id;
    if (g->call.publishes)
        b->next_id += g->call.n * world_rounds(&g->call);
    g->seen_count = 0;
    stepper_call(&g->proc, fn, g, NULL);
    return &g->proc;
}

int
stage_do(struct stage *b, enum world_actor who, void (*fn)(void *), const struct call *call)
{
    if (stepper_finish(stage_tell(b, who, fn, call)) != STEPPER_DONE)
        return -EINTR;
    return stage_guest(b, who)->call.result;
}

static bool
bring(struct stage *b, enum world_actor who)
{
    struct guest *g = stage_guest(b, who);
    time_t until = time(NULL) + PATIENCE_S;
    int r;

    if (g->proc.pid)
        return true;
    r = stepper_start(&g->proc);
    if (r)
        return failed("ptrace", strerror(-r));
    g->pid = g->proc.pid;
    g->bus = NULL;
    g->pub = NULL;
    g->sub = NULL;
    g->last = 0;
    memcpy(g->path, b->path, sizeof g->path);
    g->topic = b->topic.name;
    /* A process that dies closes its files before its parent can see that it is dead: for a moment there is neither a daemon
     * that answers nor one to be started again. */
    do
        r = stage_do(b, who, who == S0 ? guest_open_sub : guest_open_pub, NULL);
    while ((r == -ECONNREFUSED || r == -ENOENT) && time(NULL) <= until && stage_tend(b));
    return !r || failed("a guest cannot enter", leat_strerror(r));
}

int
stage_reopen(struct stage *b, enum world_actor who)
{
    const struct guest *g = stage_guest(b, who);

    if (who == S0)
        return g->sub ? 0 : stage_do(b, who, guest_open_sub, NULL);
    return g->pub ? 0 : stage_do(b, who, guest_open_pub, NULL);
}

bool
stage_use(struct stage *b, const char *topic, uint32_t kind, const char *name)
{
    struct guest *s = stage_guest(b, S0);

    if (b->topic.name != topic) {
        unmap(b);
        b->topic.name = topic;
        if (map(b->prefix, topic, SHM_KIND_DATA, &b->topic) ||
            map(b->prefix, topic, SHM_KIND_CONTROL, &b->topic))
            return failed(topic, "its memory is not there");
    }
    s->kind = kind;
    s->name = name;
    return bring(b, P0) && bring(b, P1) && bring(b, S0);
}

bool
stage_leave(struct stage *b)
{
    time_t until = time(NULL) + PATIENCE_S;

    for (int i = 0; i < STAGE_GUESTS; i++) {
        pid_t pid = b->guests[i].proc.pid;
        stepper_kill(&b->guests[i].proc);
        while (pid && b->topic.name && !stage_settled(b, pid)) {
            if (time(NULL) > until)
                return failed(b->topic.name, "the daemon does not clean up after a guest");
            if (!stage_tend(b))
                return false;
            pause_briefly();
        }
    }
    return true;
}

/* --- a copy that is judged ---------------------------------------------------------------------------- */

/* The parent's part: who holds publishers back in the copy. */
static void
play_cursor(struct world *w, struct actor *a, uint32_t i)
{
    uint32_t kind = ring_cursor_kind_of(atom_load_relaxed(ring_cursor_word(&w->view, i)));

    a->subscribes = true;
    a->gates = kind == RING_KIND_GATING || kind == RING_KIND_LOG;
    a->index = i;
    /* The log writer holds what is not durable, whatever its cursor still says. */
    a->told = kind == RING_KIND_LOG ? ring_gate(&w->view, NULL)
                                    : atom_load_relaxed(&ring_cursor(&w->view, i)->pos);
    a->reader = (struct ring_reader){.view = w->view, .line = ring_cursor(&w->view, i)};
    ring_reader_set(&a->reader, a->told);
}

static void
play_entries(struct stage *b, struct world *w, uint32_t dead)
{
    for (uint32_t i = 0; i < w->view.geo.max_publishers; i++) {
        struct ring_entry *e = ring_entry(&w->view, i);
        if (atom_load_relaxed(&e->state) == RING_ENTRY_FREE) {
            if (!w->actors[P2].publishes)
                (void)world_join(&w->actors[P2], i);
            continue;
        }
        for (int who = P0; who <= P1; who++) {
            if (!(dead >> who & 1) || e->pid != (uint32_t)b->guests[who].pid)
                continue;
            w->actors[who].publishes = true;
            w->actors[who].index = i;
        }
    }
}

static void
play_cursors(struct stage *b, struct world *w)
{
    for (uint32_t i = 0; i < w->view.geo.max_cursors; i++) {
        uint64_t word = atom_load_relaxed(ring_cursor_word(&w->view, i));
        if (ring_cursor_state_of(word) == RING_CURSOR_FREE)
            continue;
        if (ring_cursor_kind_of(word) == RING_KIND_LOG)
            play_cursor(w, &w->actors[S2], i);
        else if (ring_cursor(&w->view, i)->pid == (uint32_t)b->guests[2].pid)
            play_cursor(w, &w->actors[S0], i);
    }
}

bool
stage_import(struct stage *b, struct world *w, uint32_t dead)
{
    struct ring_maps maps = {.data_size = b->topic.data_size,
                             .control_size = b->topic.control_size};
    uint32_t version;

    memset(w, 0, sizeof *w);
    w->shared = shm_align(sizeof *w, SHM_PAGE);
    w->size = w->shared + stage_size(b);
    w->next_id = b->next_id;
    maps.control = world_shared(w);
    maps.data = world_shared(w) + b->topic.control_size;
    stage_copy(b, world_shared(w));
    if (ring_join(&w->view, &maps, &version))
        return false;
    w->shape.overwrite = w->view.geo.when_full == RING_OVERWRITE;
    for (int i = 0; i < WORLD_ACTORS; i++) {
        w->actors[i].view = w->view;
        w->actors[i].alive = true;
    }
    play_entries(b, w, dead);
    play_cursors(b, w);
    for (int i = P0; i <= P1; i++)
        if (!b->guests[i].call.sent || (b->guests[i].call.sent <= WORLD_ROUNDS &&
                                        b->guests[i].call.first[0] >= ring_oldest(&w->view)))
            w->actors[i].call = b->guests[i].call;
    return true;
}
