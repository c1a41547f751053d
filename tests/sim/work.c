#include "tests/sim/work.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/client.h"
#include "shm/base.h"
#include "tests/support/party.h"

#define PATIENCE_MS 120000
#define LONGEST 15000

struct work *
work_new(const char *store)
{
    struct work *w = world_shared(sizeof *w);

    if (!w)
        return NULL;
    (void)snprintf(w->bus, sizeof w->bus, WORLD "/bus");
    (void)snprintf(w->log, sizeof w->log, WORLD "/leatd.log");
    (void)snprintf(w->store, sizeof w->store, "%s", store);
    atom_store_seq(&w->lives, 1);
    return w;
}

void
work_forget(struct work *w)
{
    atom_store_seq(&w->created, 0);
    atom_store_seq(&w->received, 0);
    atom_store_seq(&w->durable, 0);
    atom_store_seq(&w->saved, 0);
    atom_store_seq(&w->acked, 0);
    atom_store_seq(&w->first, 0);
    for (uint32_t seq = 0; seq < WORK_BOOK; seq++)
        if (atom_load_relaxed(&w->book[seq]))
            atom_store_relaxed(&w->book[seq], 0);
}

void
work_fail(struct work *w, const char *format, ...)
{
    va_list args;

    if (atom_add_seq(&w->failed, 1))
        return;
    va_start(args, format);
    (void)vsnprintf(w->why, sizeof w->why, format, args);
    va_end(args);
}

/* A call that failed. On a disk that has gone everything may. */
static int
refused(struct work *w, const char *what, const char *text)
{
    if (!w->gone || !atom_load_seq(w->gone))
        work_fail(w, "%s: %s", what, text);
    return 1;
}

/* --- processes -------------------------------------------------------------------------------- */

static void
say_into(const char *path)
{
    int out = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);

    if (out >= 0)
        (void)dup2(out, 2);
}

bool
work_daemon(struct work *w, const char *io, pid_t *ret)
{
    const char *leatd = getenv("LEATD");
    int ready[2];
    char byte, fd[16];
    ssize_t n;

    if (pipe(ready))
        return false;
    *ret = world_child();
    if (!*ret) {
        (void)close(ready[0]);
        (void)snprintf(fd, sizeof fd, "%d", ready[1]);
        say_into(w->log);
        (void)execlp(leatd ? leatd : "leatd", "leatd", "--socket", w->bus, "--store", w->store,
                     "--io", io, "--ready-fd", fd, (char *)NULL);
        _exit(127);
    }
    (void)close(ready[1]);
    do
        n = read(ready[0], &byte, 1);
    while (n < 0 && errno == EINTR);
    (void)close(ready[0]);
    return n == 1;
}

pid_t
work_guest(struct work *w, int (*guest)(struct work *w))
{
    pid_t pid = world_child();

    if (!pid)
        exit(guest(w));
    return pid;
}

bool
work_done(struct work *w, int (*guest)(struct work *w), const char *what)
{
    pid_t pid = work_guest(w, guest);
    int status = world_ended(&pid, PATIENCE_MS);

    if (status == -1)
        work_fail(w, "%s hung", what);
    else if (status)
        work_fail(w, "%s ended with status 0x%x", what, (unsigned)status);
    return !status && !atom_load_seq(&w->failed);
}

int
work_tool(struct work *w, const char *out, const char *const args[])
{
    const char *leat = getenv("LEAT_CLI"), *argv[12] = {"leat"};
    pid_t pid = world_child();
    int status, fd;

    if (!pid) {
        for (unsigned i = 0; i < 10 && args[i]; i++)
            argv[i + 1] = args[i];
        fd = open(out ? out : "/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0600);
        (void)dup2(fd, 1);
        (void)dup2(fd, 2);
        (void)setenv("LEAT_BUS", w->bus, 1);
        (void)execvp(leat ? leat : "leat", (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    status = world_ended(&pid, PATIENCE_MS);
    return status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void
work_show(struct work *w)
{
    char command[160];

    (void)snprintf(command, sizeof command, "tail -n 20 %s " WORLD "/verify 2>/dev/null", w->log);
    (void)fflush(stdout);
    if (system(command))
        printf("(nothing more is known)\n");
}

/* --- facts ------------------------------------------------------------------------------------ */

static void
raise_to(atom_u64 *word, uint64_t value)
{
    uint64_t now;

    do
        now = atom_load_seq(word);
    while (now < value && !atom_cas_seq(word, now, value));
}

/* Of a subscription that nobody has open the file is shown, which is no report of leatd's. */
static void
note_floor(struct work *w, leat_inspect *i)
{
    struct leat_inspect_sub sub;
    uint32_t index = 0;

    while (leat_inspect_sub(i, WORK_TOPIC, &index, &sub) == 1)
        if (sub.pid && !strcmp(sub.name, WORK_NAME))
            raise_to(&w->saved, sub.saved);
}

void
work_note_facts(struct work *w)
{
    struct leat_topic_info info;
    leat_inspect *i;

    if (leat_inspect_open(w->bus, &i))
        return;
    if (!leat_inspect_topic(i, WORK_TOPIC, &info) && i->map.view.data) {
        raise_to(&w->durable, info.durable);
        raise_to(&w->first, atom_load_relaxed(&ring_daemon(&i->map.view)->log_first));
        note_floor(w, i);
    }
    (void)leat_inspect_close(i);
}

/* --- messages --------------------------------------------------------------------------------- */

static uint32_t
len_of(uint64_t key)
{
    struct prng p = {key};
    uint64_t how = prng_below(&p, 20);

    return (uint32_t)(how < 12   ? prng_below(&p, 100)
                      : how < 19 ? prng_below(&p, 6000)
                                 : prng_below(&p, LONGEST));
}

static bool
is_right(const struct leat_msg *m)
{
    return m->len == len_of(m->key) && pattern_is(m->data, m->key, (uint32_t)m->len);
}

static void
enter(struct work *w, uint64_t seq, uint64_t key)
{
    if (seq < WORK_BOOK)
        atom_store_seq(&w->book[seq], key);
}

int
work_open(struct work *w, leat_bus **ret)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    uint64_t until = party_now_ns() + 60000000000u;
    int r;

    o.path = w->bus;
    while ((r = leat_open(&o, ret)) && party_now_ns() < until)
        party_breathe();
    if (r)
        (void)refused(w, "leat_open", leat_error(NULL));
    return r;
}

/* leatd may be away, or may not have seen yet that a former guest has died. */
static bool
is_passing(int r)
{
    return r == -ECONNREFUSED || r == -ENOENT || r == -ECONNRESET || r == -ETIMEDOUT ||
           r == -EBUSY || r == -EPIPE;
}

static int
create(struct work *w, leat_bus *bus)
{
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    int r;

    o.durability = LEAT_DISK;
    o.depth = w->depth;
    o.lane_size = w->lane_size;
    o.retention_bytes = w->retention_bytes;
    while (is_passing(r = leat_topic_create(bus, WORK_TOPIC, &o)))
        party_breathe();
    if (!r)
        atom_store_seq(&w->created, 1);
    return r;
}

/* --- publisher -------------------------------------------------------------------------------- */

struct sender {
    struct work *w;
    leat_bus *bus;
    leat_pub *pub;
    uint64_t life, number;
    struct prng random;
};

#define BATCH 8

static uint64_t
send_some(struct sender *s, unsigned n)
{
    static unsigned char bytes[BATCH][LONGEST];
    struct leat_out out[BATCH];
    uint64_t first = 0;
    int r;

    for (unsigned i = 0; i < n; i++) {
        uint64_t key = pattern_key((uint32_t)s->life, s->number + 1 + i);
        out[i] = (struct leat_out){.data = bytes[i], .len = len_of(key), .key = key};
        pattern_fill(bytes[i], key, (uint32_t)out[i].len);
    }
    atom_store_seq(&s->w->tried[s->life], s->number + n);
    r = n == 1 ? leat_pub_send_keyed(s->pub, out, &first)
               : leat_pub_send_many(s->pub, out, n, &first);
    if (r) {
        (void)refused(s->w, "a publisher failed", leat_error(s->bus));
        return 0;
    }
    for (unsigned i = 0; i < n; i++)
        enter(s->w, first + i, out[i].key);
    s->number += n;
    (void)atom_add_seq(&s->w->sent, n);
    return first + n - 1;
}

/* Until it is durable, or this process is asked to end: the disk may be in trouble for long. */
static bool
wait_durable(struct sender *s, uint64_t seq)
{
    int r;

    do {
        r = leat_pub_wait_durable(s->pub, seq, 100000000);
        if (r == -EIO)
            party_breathe();
    } while (r == -EIO || r == -ETIMEDOUT);
    if (r)
        return !refused(s->w, "waiting for durability failed", leat_error(s->bus));
    raise_to(&s->w->durable, seq);
    return true;
}

int
work_publish(struct work *w)
{
    struct sender s = {.w = w, .life = atom_add_seq(&w->lives, 1)};
    uint64_t seq = 1, often;
    int r;

    if (s.life >= WORK_LIVES || work_open(w, &s.bus))
        return 1;
    r = create(w, s.bus);
    if (!r)
        while (is_passing(r = leat_pub_open(s.bus, WORK_TOPIC, NULL, &s.pub)))
            party_breathe();
    if (r)
        return refused(w, "a publisher could not begin", leat_error(s.bus));
    s.random.state = s.life;
    often = 1 + prng_below(&s.random, 3) * 10;
    while (seq && !atom_load_seq(&w->stop) && !atom_load_seq(&w->failed)) {
        unsigned n = prng_below(&s.random, 10) ? 1 : 2 + (unsigned)prng_below(&s.random, BATCH - 1);
        seq = send_some(&s, n);
        if (seq && !w->hurry && !prng_below(&s.random, often) && !wait_durable(&s, seq))
            seq = 0;
        for (uint32_t i = 0; i < w->pace_ms; i++)
            party_breathe();
    }
    if (!seq || !wait_durable(&s, seq))
        return 1;
    leat_close(s.bus);
    return atom_load_seq(&w->failed) != 0;
}

/* --- subscriber ------------------------------------------------------------------------------- */

/* One that was overwritten while it was looked at is given again. */
static int
check_news(struct work *w, leat_sub *sub, struct leat_msg *m, uint64_t *ret_last)
{
    uint64_t known = m->seq < WORK_BOOK ? atom_load_seq(&w->book[m->seq]) : m->key;
    bool right = is_right(m) && (!known || known == m->key);

    if (leat_sub_release(sub, m) == -ESTALE)
        return 0;
    *ret_last = m->seq;
    atom_store_seq(&w->received, m->seq + 1);
    if (right)
        return 0;
    work_fail(
        w, "the subscriber was given at %llu a message of key %llx and length %zu, there was %llx",
        (unsigned long long)m->seq, (unsigned long long)m->key, m->len, (unsigned long long)known);
    return 1;
}

/* One message, or a while without any. */
static int
receive(struct work *w, leat_sub *sub, uint64_t *ret_last)
{
    struct leat_msg m;
    int r = leat_sub_receive(sub, &m);

    if (r == 1)
        return check_news(w, sub, &m, ret_last);
    if (r == LEAT_GAP && w->retention_bytes)
        return 0;
    if (!r)
        r = leat_sub_wait(sub, 20000000) < 0;
    else if (r == LEAT_GAP)
        work_fail(w, "the subscriber was told that %llu messages are gone",
                  (unsigned long long)m.lost);
    return r;
}

static bool
is_over(struct work *w, leat_sub *sub, leat_bus *bus)
{
    struct leat_topic_info info;
    struct leat_sub_stat stat;

    if (atom_load_seq(&w->failed))
        return true;
    /* Publishers have ended, and the last word is durable: what was told is all there will be. */
    return atom_load_seq(&w->stop) == 2 && !leat_topic_info(bus, WORK_TOPIC, &info) &&
           !leat_sub_stat(sub, &stat) && stat.next >= info.tail;
}

static void
acknowledge(struct work *w, leat_sub *sub, leat_inspect *look, uint64_t seq)
{
    raise_to(&w->acked, seq + 1);
    (void)leat_sub_ack(sub, seq);
    note_floor(w, look);
}

int
work_subscribe(struct work *w)
{
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    uint64_t last = 0, acked = 0, until = party_now_ns() + 10000000000u;
    leat_inspect *look;
    leat_bus *bus;
    leat_sub *sub;
    int r;

    o.name = WORK_NAME;
    o.start = LEAT_EARLIEST;
    if (work_open(w, &bus))
        return 1;
    r = create(w, bus);
    if (!r)
        while (is_passing(r = leat_sub_open(bus, WORK_TOPIC, &o, &sub)))
            party_breathe();
    if (!r)
        while ((r = leat_inspect_open(w->bus, &look)) && party_now_ns() < until)
            party_breathe();
    if (r)
        return refused(w, "the subscriber could not begin", r ? leat_strerror(r) : "?");
    while (!is_over(w, sub, bus)) {
        if (receive(w, sub, &last))
            return refused(w, "the subscriber failed", leat_error(bus));
        if (last >= acked + 20 || (atom_load_seq(&w->stop) && last > acked)) {
            acknowledge(w, sub, look, last);
            acked = last;
        }
    }
    (void)leat_inspect_close(look);
    leat_close(bus);
    return atom_load_seq(&w->failed) != 0;
}

/* --- the audit -------------------------------------------------------------------------------- */

struct audit {
    struct work *w;
    leat_bus *bus;
    uint64_t *number; /* of each life, its last message here */
    uint64_t next, tail;
};

/* Between the last message and `seq` stands nothing that is in the book and was durable. */
static int
check_hole(struct audit *a, uint64_t seq)
{
    for (; a->next < seq && a->next < WORK_BOOK; a->next++) {
        uint64_t key = atom_load_seq(&a->w->book[a->next]);
        if (!key)
            continue;
        work_fail(a->w, "message %llu is gone: %llx", (unsigned long long)a->next,
                  (unsigned long long)key);
        return 1;
    }
    return 0;
}

static int
check_message(struct audit *a, const struct leat_msg *m)
{
    uint64_t life = pattern_publisher(m->key), number = pattern_pseq(m->key);
    uint64_t *before = &a->number[life], known = 0;

    if (m->seq < WORK_BOOK)
        known = atom_load_seq(&a->w->book[m->seq]);
    if (!is_right(m))
        work_fail(a->w, "the bytes of message %llu are wrong (key %llx, length %zu)",
                  (unsigned long long)m->seq, (unsigned long long)m->key, m->len);
    else if (known && known != m->key)
        work_fail(a->w, "at %llu stands %llx and not %llx", (unsigned long long)m->seq,
                  (unsigned long long)m->key, (unsigned long long)known);
    else if (!number || number > atom_load_seq(&a->w->tried[life]))
        work_fail(a->w, "message %llu was never sent: %llx", (unsigned long long)m->seq,
                  (unsigned long long)m->key);
    else if (*before && number != *before + 1)
        work_fail(a->w, "of publisher %llu, %llu follows %llu", (unsigned long long)life,
                  (unsigned long long)number, (unsigned long long)*before);
    *before = number;
    enter(a->w, m->seq, m->key);
    return atom_load_seq(&a->w->failed) != 0;
}

static int
read_all(struct audit *a, leat_sub *sub)
{
    uint64_t until = party_now_ns() + 60000000000u;
    struct leat_sub_stat stat;
    struct leat_msg m;
    int r = 0;

    while (!leat_sub_stat(sub, &stat) && stat.next < a->tail && party_now_ns() < until) {
        r = leat_sub_receive(sub, &m);
        if (!r)
            r = leat_sub_wait(sub, 100000000);
        else if (r == 1)
            r = check_hole(a, m.seq) || check_message(a, &m) || leat_sub_release(sub, &m) ? -EBADMSG
                                                                                          : 0;
        else if (r == LEAT_GAP)
            r = -ENODATA;
        if (r < 0)
            break;
        if (a->next == m.seq)
            a->next++;
    }
    if (r >= 0 && stat.next < a->tail)
        r = -ETIMEDOUT;
    if (r < 0)
        work_fail(a->w, "reading at %llu of %llu: %d %s", (unsigned long long)a->next,
                  (unsigned long long)a->tail, r, leat_error(a->bus));
    return r < 0 ? 1 : check_hole(a, a->tail);
}

static int
check_info(struct audit *a)
{
    uint64_t durable = atom_load_seq(&a->w->durable), first = atom_load_seq(&a->w->first);
    struct leat_topic_info info;

    if (leat_topic_info(a->bus, WORK_TOPIC, &info)) {
        work_fail(a->w, "the topic is not there: %s", leat_error(a->bus));
        return 1;
    }
    if (info.state)
        work_fail(a->w, "the topic is in state %u: %s", info.state, info.reason);
    else if (info.tail <= durable)
        work_fail(a->w, "the log ends before %llu, but %llu was durable",
                  (unsigned long long)info.tail, (unsigned long long)durable);
    else if (info.first > shm_max(first, 1) && info.log_bytes < a->w->retention_bytes / 2)
        work_fail(a->w, "the log begins with %llu, but had %llu", (unsigned long long)info.first,
                  (unsigned long long)first);
    a->tail = info.tail;
    a->next = info.first;
    for (uint64_t seq = info.tail; seq < WORK_BOOK && atom_load_seq(&a->w->book[seq]); seq++)
        atom_store_seq(&a->w->book[seq], 0);
    return atom_load_seq(&a->w->failed) != 0;
}

static int
check_floor(struct audit *a)
{
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    struct leat_sub_stat stat;
    leat_sub *sub;
    uint64_t saved = atom_load_seq(&a->w->saved), acked = shm_max(atom_load_seq(&a->w->acked), 1);

    o.name = WORK_NAME;
    o.start = LEAT_EARLIEST;
    if (leat_sub_open(a->bus, WORK_TOPIC, &o, &sub) || leat_sub_stat(sub, &stat))
        work_fail(a->w, "the named subscription: %s", leat_error(a->bus));
    else if (stat.acked < saved || stat.acked > shm_max(acked, atom_load_seq(&a->w->first)))
        work_fail(a->w, "the floor is %llu, saved was %llu, acknowledged %llu",
                  (unsigned long long)stat.acked, (unsigned long long)saved,
                  (unsigned long long)acked);
    else
        leat_sub_close(sub);
    return atom_load_seq(&a->w->failed) != 0;
}

int
work_audit(struct work *w)
{
    struct audit a = {.w = w, .number = calloc(WORK_LIVES, sizeof(uint64_t))};
    struct leat_sub_options o = LEAT_SUB_OPTIONS_INIT;
    leat_sub *sub;
    int r;

    if (!a.number || work_open(w, &a.bus))
        return 1;
    if (!atom_load_seq(&w->created) && create(w, a.bus)) {
        work_fail(w, "the topic: %s", leat_error(a.bus));
        return 1;
    }
    o.kind = LEAT_DURABLE;
    o.start = LEAT_EARLIEST;
    r = check_info(&a);
    if (!r && leat_sub_open(a.bus, WORK_TOPIC, &o, &sub)) {
        work_fail(w, "the audit: %s", leat_error(a.bus));
        r = 1;
    }
    r = r || read_all(&a, sub) || check_floor(&a);
    leat_close(a.bus);
    free(a.number);
    return r;
}
