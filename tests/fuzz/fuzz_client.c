/* A client that uses the library as it should, while a neighbour, who was handed the same memory, scribbles over it. The daemon
 * is a real one, in a child process; it has to outlive all of it.
 *
 * Calls give what the header says they may give, or one of the errors it names; what they give can be read to the last
 * byte; and all of them come back. */
#include <errno.h>
#include <fcntl.h>
#include <leat.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/bus.h"
#include "daemon/memory.h"
#include "daemon/report.h"
#include "shm/testpoint.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/place.h"
#include "tests/fuzz/scribble.h"

#define OPS_MAX 96
#define SUBS 2
#define LOANS 4
#define HELD 8
#define MANY 12
#define HOOKS_MAX 64
#define TOPIC "t"

struct run {
    struct input in;
    leat_pub *pub;
    leat_sub *sub[SUBS];
    struct leat_loan loan[LOANS];
    bool out[LOANS];
    struct leat_msg held[SUBS][HELD];
    unsigned held_count[SUBS];
    uint64_t last;
    int fds[2];     /* the neighbour's */
    unsigned hooks; /* so often the neighbour may come in the middle of a call */
};

static struct run *hooked;
static leat_bus *bus;
static pid_t daemon_pid;
static char bus_path[PLACE_PATH + 8], prefix[LIMIT_SHM_PREFIX];

/* --- the daemon ------------------------------------------------------------------------------- */

static void
serve(int ready)
{
    char path[PLACE_PATH + 8], error[CONFIG_ERROR], why[WHY_ROOM] = "";
    struct config c;
    struct bus *b;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)snprintf(path, sizeof path, "%s/store", place_open());
    MUST(!config_init(&c, true));
    MUST(!config_set(&c, "store", path, error) && !config_set(&c, "socket", bus_path, error));
    MUST(!config_set(&c, "prefix", prefix, error) && !config_set(&c, "io", "block", error));
    report_to(-1);
    if (bus_open(&c, &b, why))
        (void)fprintf(stderr, "%s\n", why);
    else if (write(ready, "\n", 1) == 1)
        (void)bus_run(b);
    _exit(1);
}

static void
forget_object(void *user, const char *name)
{
    (void)user;
    memory_remove(prefix, name);
}

static void
stop_daemon(void)
{
    bus = leat_close(bus);
    if (daemon_pid > 0) {
        (void)kill(daemon_pid, SIGKILL);
        (void)waitpid(daemon_pid, NULL, 0);
    }
    daemon_pid = 0;
    (void)memory_list(prefix, forget_object, NULL);
    place_clear("store");
}

static void
start_daemon(void)
{
    struct leat_options options = LEAT_OPTIONS_INIT;
    int ready[2];
    ssize_t n;
    char byte;

    MUST(!pipe2(ready, O_CLOEXEC));
    daemon_pid = fork();
    MUST(daemon_pid >= 0);
    if (!daemon_pid)
        serve(ready[1]);
    (void)close(ready[1]);
    do
        n = read(ready[0], &byte, 1);
    while (n < 0 && errno == EINTR);
    MUST(n == 1);
    (void)close(ready[0]);
    options.path = bus_path;
    MUST(!leat_open(&options, &bus));
}

static void
start(void)
{
    (void)snprintf(bus_path, sizeof bus_path, "%s/bus", place_open());
    (void)snprintf(prefix, sizeof prefix, "leat-fuzz-%d", (int)getpid());
    MUST(!atexit(stop_daemon));
    start_daemon();
}

/* --- the neighbour ---------------------------------------------------------------------------- */

static int
ask(int socket, union wire_any *p, uint16_t type, int fds[WIRE_FDS_MAX])
{
    int n;

    wire_begin(p, wire_request_size(type), (enum wire_type)type, type);
    if (type == WIRE_HELLO)
        p->hello.oldest = p->hello.newest = WIRE_VERSION;
    else
        memcpy(p->topic.name, TOPIC, sizeof TOPIC);
    MUST(!wire_send(socket, p, NULL, 0, 0));
    n = wire_receive(socket, p, fds, 0);
    return n > 0 ? p->h.status : -EIO;
}

/* Publishers are handed both objects, writable. The seat goes with the topic. */
static void
move_in(struct run *run)
{
    union wire_any p;
    int s = -1, flags;

    MUST(!wire_connect(bus_path, &s));
    flags = fcntl(s, F_GETFL);
    MUST(!fcntl(s, F_SETFL, flags & ~O_NONBLOCK));
    MUST(!ask(s, &p, WIRE_HELLO, run->fds));
    MUST(!ask(s, &p, WIRE_PUB_OPEN, run->fds));
    (void)close(s);
}

static uint64_t
word(void *user, bool control, uint64_t offset)
{
    const struct run *run = user;
    uint64_t value = 0;

    (void)!pread(run->fds[control], &value, sizeof value, (off_t)offset);
    return value;
}

static void
scribble(struct run *run)
{
    struct scribble_target t = {.word = word, .user = run};
    struct stat data, control;
    const char *what;

    if (fstat(run->fds[0], &data) || fstat(run->fds[1], &control) ||
        pread(run->fds[0], &t.geo, sizeof t.geo, RING_GEOMETRY_AT) != (ssize_t)sizeof t.geo ||
        ring_plan(&t.geo, &what))
        return;
    t.data_size = (uint64_t)data.st_size;
    t.control_size = (uint64_t)control.st_size;
    for (unsigned n = 1 + (input_u8(&run->in) & 3); n; n--) {
        struct scribble s = scribble_choose(&run->in, &t);
        (void)!pwrite(run->fds[s.control], &s.value, sizeof s.value, (off_t)s.offset);
    }
}

#if defined(LEAT_TESTPOINTS)
static void
on_step(const char *name)
{
    struct run *run = hooked;

    (void)name;
    if (!run || !run->hooks || !run->in.left)
        return;
    run->hooks--;
    if (!(input_u8(&run->in) & 7))
        scribble(run);
}
#endif

/* --- the client ------------------------------------------------------------------------------- */

static uint32_t
choose_len(struct input *in)
{
    uint32_t len = input_u8(in);

    return len > 200 ? (len - 200) * 64 : len;
}

static void
check_code(int r, int most)
{
    MUST(r <= most);
    if (r < 0)
        MUST(r == -EINVAL || r == -EAGAIN || r == -EBADMSG || r == -EIDRM || r == -ESTALE ||
             r == -ENOBUFS || r == -EMSGSIZE || r == -ETIMEDOUT || r == -EOPNOTSUPP || r == -EIO ||
             r == -ENOENT || r == -EBUSY || r == -ENOSPC || r == -EPERM || r == -EPROTONOSUPPORT);
}

static void
send_many(struct run *run)
{
    static const unsigned char bytes[4096];
    struct leat_out out[MANY];
    unsigned n = 1 + input_u8(&run->in) % (MANY - 1);

    for (unsigned i = 0; i < n; i++)
        out[i] = (struct leat_out){.data = bytes, .len = choose_len(&run->in), .key = i};
    check_code(leat_pub_send_many(run->pub, out, n, &run->last), 0);
}

static void
loan_step(struct run *run)
{
    unsigned i = input_u8(&run->in) % LOANS;
    uint32_t len = choose_len(&run->in);
    int r;

    if (!run->out[i]) {
        r = leat_pub_loan(run->pub, len, &run->loan[i]);
        check_code(r, 0);
        run->out[i] = !r;
        if (!r) {
            MUST(run->loan[i].cap >= len);
            memset(run->loan[i].data, 3, run->loan[i].cap);
        }
    } else if (input_u8(&run->in) & 1) {
        leat_pub_abort(run->pub, &run->loan[i]);
        run->out[i] = false;
    } else {
        r = leat_pub_commit(run->pub, &run->loan[i], len, &run->last);
        check_code(r, 0);
        run->out[i] = r != 0;
    }
}

static void
publisher_step(struct run *run)
{
    static const unsigned char bytes[4096];
    struct leat_pub_stat stat;

    switch (input_u8(&run->in) % 5) {
    case 0:
        send_many(run);
        break;
    case 1:
        loan_step(run);
        break;
    case 2:
        check_code(leat_pub_wait_durable(run->pub, run->last, 100000), 0);
        break;
    case 3:
        check_code(leat_pub_stat(run->pub, &stat), 0);
        break;
    default:
        check_code(leat_pub_send(run->pub, bytes, choose_len(&run->in), &run->last), 0);
    }
}

/* Every byte that was promised is there. */
static void
read_all(const struct leat_msg *m)
{
    unsigned char *copy = malloc(m->len ? m->len : 1);

    MUST(copy && (m->data || !m->len));
    if (m->len)
        memcpy(copy, m->data, m->len);
    free(copy);
}

static void
release(struct run *run, unsigned s, unsigned i)
{
    struct leat_msg *held = run->held[s];

    check_code(leat_sub_release(run->sub[s], &held[i]), 0);
    held[i] = held[--run->held_count[s]];
}

static void
receive(struct run *run, unsigned s)
{
    for (unsigned n = input_u8(&run->in) % 40; n; n--) {
        struct leat_msg m = {0};
        int r = leat_sub_receive(run->sub[s], &m);
        check_code(r, LEAT_GAP);
        if (r == LEAT_GAP)
            MUST(m.lost);
        if (r == 1) {
            read_all(&m);
            run->held[s][run->held_count[s]++] = m;
            if (run->held_count[s] == HELD || !(n & 3))
                release(run, s, n % run->held_count[s]);
        }
        if (r <= 0)
            return;
    }
}

static void
receive_many(struct run *run, unsigned s)
{
    struct leat_msg m[HELD];
    int r = leat_sub_receive_many(run->sub[s], m, HELD - run->held_count[s]);

    check_code(r, HELD);
    if (r == 1 && m[0].type == LEAT_GAP && m[0].lost)
        return;
    for (int i = 0; i < r; i++) {
        read_all(&m[i]);
        run->held[s][run->held_count[s]++] = m[i];
    }
    if (run->held_count[s] == HELD)
        release(run, s, 0);
}

static void
subscriber_step(struct run *run)
{
    unsigned s = input_u8(&run->in) % SUBS;
    struct leat_position to;
    struct leat_sub_stat stat;

    if (!run->sub[s])
        return;
    switch (input_u8(&run->in) % 8) {
    case 0:
        to = (struct leat_position){.start = input_u8(&run->in) % 5,
                                    .value = input_u8(&run->in) & 1 ? input_u64(&run->in)
                                                                    : input_u8(&run->in)};
        check_code(leat_sub_seek(run->sub[s], &to), 0);
        break;
    case 1:
        if (run->held_count[s])
            release(run, s, input_u8(&run->in) % run->held_count[s]);
        break;
    case 2:
        check_code(leat_sub_wait(run->sub[s], input_u8(&run->in) & 1 ? 0 : 10000), 1);
        break;
    case 3:
        check_code(leat_sub_ack(run->sub[s], input_u8(&run->in)), 0);
        break;
    case 4:
        check_code(leat_sub_stat(run->sub[s], &stat), 0);
        break;
    case 5:
        receive_many(run, s);
        break;
    default:
        receive(run, s);
    }
}

static void
look(void)
{
    struct leat_topic_info info;
    int r = leat_topic_info(bus, TOPIC, &info);

    check_code(r, 0);
    if (!r)
        MUST(memchr(info.reason, 0, sizeof info.reason));
}

static void
step(struct run *run)
{
    switch (input_u8(&run->in) % 8) {
    case 0:
    case 1:
        scribble(run);
        break;
    case 2:
    case 3:
        publisher_step(run);
        break;
    case 7:
        look();
        break;
    default:
        subscriber_step(run);
    }
}

/* --- one input -------------------------------------------------------------------------------- */

static void
open_sub(struct run *run, unsigned s, bool disk)
{
    struct leat_sub_options options = LEAT_SUB_OPTIONS_INIT;
    uint8_t how = input_u8(&run->in);

    options.kind = how & 1 ? (disk ? LEAT_DURABLE : LEAT_GATING) : LEAT_LIVE;
    options.durable_only = disk && (how & 2);
    options.name = disk && (how & 4) ? (s ? "b" : "a") : NULL;
    options.start = how & 8 ? LEAT_EARLIEST : LEAT_LATEST;
    options.wait = LEAT_WAIT_SLEEP;
    check_code(leat_sub_open(bus, TOPIC, &options, &run->sub[s]), 0);
}

static void
begin(struct run *run)
{
    struct leat_topic_options topic = LEAT_TOPIC_OPTIONS_INIT;
    struct leat_pub_options pub = LEAT_PUB_OPTIONS_INIT;
    uint8_t how = input_u8(&run->in);
    bool disk = (how & 3) == 3;

    topic.depth = how & 4 ? 8 : 16;
    topic.slot_size = how & 8 ? 64 : 256;
    topic.lane_size = 4096;
    topic.max_publishers = 3;
    topic.max_subscribers = 3;
    topic.durability = disk ? LEAT_DISK : LEAT_MEMORY;
    topic.when_full = (how & 3) == 1 ? LEAT_OVERWRITE : LEAT_BLOCK;
    topic.retention_bytes = 16u << 20;
    MUST(!leat_topic_create(bus, TOPIC, &topic));
    pub.timeout_ns = LEAT_NO_WAIT;
    MUST(!leat_pub_open(bus, TOPIC, &pub, &run->pub));
    for (unsigned s = 0; s < SUBS; s++)
        open_sub(run, s, disk);
    move_in(run);
}

static void
end(struct run *run)
{
    for (unsigned s = 0; s < SUBS; s++)
        MUST(!leat_sub_close(run->sub[s]));
    MUST(!leat_pub_close(run->pub));
    for (int i = 0; i < 2; i++)
        if (run->fds[i] >= 0)
            (void)close(run->fds[i]);
    MUST(!waitpid(daemon_pid, NULL, WNOHANG));
    /* A damaged log is not thrown away: that is the promise, and then all begins anew. */
    if (leat_topic_remove(bus, TOPIC)) {
        stop_daemon();
        start_daemon();
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct run run = {.in = {.at = data, .left = len}, .fds = {-1, -1}};

    if (!bus)
        start();
    begin(&run);
    /* Only what says so: in the others every byte is a step's. */
    if (run.in.left && *run.in.at == 0xff) {
        run.hooks = HOOKS_MAX;
        (void)input_u8(&run.in);
    }
#if defined(LEAT_TESTPOINTS)
    shm_testpoint_hook = on_step;
#endif
    hooked = &run;
    for (int i = 0; i < OPS_MAX && run.in.left; i++)
        step(&run);
    hooked = NULL;
    end(&run);
    return 0;
}
