#include "tools/feed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/units.h"

/* A wait is cut into pieces of this length, so that a signal is noticed. */
#define PIECE_NS 500000000ll

int
feed_position(const char *text, uint64_t now_ns, struct leat_position *ret)
{
    uint64_t n = 0;
    int64_t ago;
    uint32_t start;
    int r = 0;

    if (!strcmp(text, "latest")) {
        start = LEAT_LATEST;
    } else if (!strcmp(text, "earliest")) {
        start = LEAT_EARLIEST;
    } else if (!strncmp(text, "last:", 5)) {
        start = LEAT_LAST_N;
        r = units_parse_count(text + 5, &n);
    } else if (*text == '-' || !strncmp(text, "time:-", 6)) {
        start = LEAT_AT_TIME;
        r = units_parse_time(strchr(text, '-') + 1, &ago);
        n = !r && (uint64_t)ago < now_ns ? now_ns - (uint64_t)ago : 0;
    } else if (!strncmp(text, "time:", 5)) {
        start = LEAT_AT_TIME;
        r = units_parse_date(text + 5, &n);
    } else {
        start = LEAT_AT_SEQ;
        r = units_parse_count(text, &n);
    }
    if (r)
        return -EINVAL;
    *ret = (struct leat_position){.start = start, .value = n};
    return 0;
}

/* --- the inspector ---------------------------------------------------------------------------- */

static void
place_inspector(struct feed *f, const struct leat_position *from,
                const struct leat_topic_info *info)
{
    f->end = info->tail;
    f->payload_max = info->payload_max;
    f->depth = info->depth;
    f->store_only = !info->shm_bytes;
    f->next = info->first ? info->first : 1;
    switch (from->start) {
    case LEAT_LATEST:
        f->next = info->tail;
        break;
    case LEAT_AT_SEQ:
        f->next = from->value > f->next ? from->value : f->next;
        break;
    case LEAT_LAST_N:
        if (from->value < info->tail && info->tail - from->value > f->next)
            f->next = info->tail - from->value;
        break;
    case LEAT_AT_TIME:
        f->from_ns = from->value;
        break;
    default:
        break;
    }
}

static int
open_inspector(struct feed *f, const struct feed_options *o)
{
    struct leat_topic_info info;
    int r = cli_inspect(f->cli, &f->inspect);

    if (r)
        return r;
    r = leat_inspect_topic(f->inspect, o->topic, &info);
    if (r)
        return cli_inspect_error(f->cli, f->inspect, r, o->topic);
    if (info.tail >> 60)
        return cli_error(f->cli, "%s: its tail cannot be %" PRIu64 " ('leat verify' says more)",
                         o->topic, info.tail);
    place_inspector(f, &o->from, &info);
    f->cap = 65536;
    f->room = malloc(f->cap);
    return f->room ? 0 : cli_error(f->cli, "out of memory");
}

static int
grow(struct feed *f)
{
    unsigned char *room;
    size_t cap = f->cap * 4;

    if (f->cap >= f->payload_max && f->cap >= (1u << 30))
        return -EBADMSG;
    room = realloc(f->room, cap);
    if (!room)
        return -ENOMEM;
    f->room = room;
    f->cap = cap;
    return 0;
}

/* Whether a number is before all that there is now. The inspector says the same of one message that has just gone as of one
 * that was aborted: the next may have one. */
static bool
is_gone(const struct feed *f, uint64_t seq)
{
    struct leat_topic_info info;

    return !f->store_only && !leat_inspect_topic(f->inspect, f->topic, &info) && info.first > seq;
}

/* Goes on behind a place that has no message, which is lost unless it was aborted; `seq` is the next that may have one, as
 * far as the inspector can say. Where it cannot, the ring has at most its depth still before it, whatever its tail says: a
 * wrong one must not become as many steps. */
static void
step_over(struct feed *f, uint64_t seq)
{
    uint64_t oldest = f->end > f->depth ? f->end - f->depth : 1, from = f->next;
    bool aborted = seq == from + 1 && !is_gone(f, from), unsure = seq <= from;

    if (unsure)
        seq = from + 1 > oldest ? from + 1 : oldest;
    f->next = seq < f->end ? seq : f->end;
    if (aborted)
        return;
    if (!f->lost && !f->open)
        f->lost_from = from;
    if (unsure && !f->store_only && f->next == from + 1) {
        f->open++;
        return;
    }
    f->lost += f->open + f->next - from;
    f->open = 0;
}

/* Tells what is lost before the place where the feed is now. */
static int
gap(struct feed *f, struct leat_msg *ret)
{
    *ret = (struct leat_msg){.first = f->lost_from, .lost = f->lost};
    f->lost = 0;
    f->open = 0;
    return LEAT_GAP;
}

/* Of one message: 1; 0: look at the next place; LEAT_GAP; or a negative errno. */
static int
look(struct feed *f, struct leat_msg *ret)
{
    struct leat_inspect_msg m = {.seq = f->next};
    int r = leat_inspect_read(f->inspect, f->topic, f->room, f->cap, &m);

    if (r == -ENOBUFS)
        return grow(f);
    if (r == 0)
        step_over(f, m.seq);
    if (r != 1)
        return r;
    f->lost += f->open; /* others came behind them: they are missing here */
    f->open = 0;
    if (m.time_ns < f->from_ns) {
        f->lost = 0;
        f->next = m.seq + 1;
        return 0;
    }
    if (f->lost)
        return gap(f, ret); /* and the message is read again */
    f->next = m.seq + 1;
    *ret = (struct leat_msg){.data = f->room,
                             .len = m.len,
                             .seq = m.seq,
                             .key = m.key,
                             .time_ns = m.time_ns,
                             .type = m.type,
                             .publisher = m.publisher};
    return 1;
}

/* Places that are still open at the end are not lost: somebody may be writing there. */
static int
next_inspected(struct feed *f, struct leat_msg *ret)
{
    int r = 0;

    while (!r && f->next < f->end)
        r = look(f, ret);
    if (r)
        return r;
    return f->lost ? gap(f, ret) : -ENODATA;
}

/* --- a subscription --------------------------------------------------------------------------- */

static bool
is_directory(const char *path)
{
    struct stat st;

    return path && !stat(path, &st) && S_ISDIR(st.st_mode);
}

static int
subscribe(struct feed *f, const struct feed_options *o, int kind)
{
    struct leat_sub_options so = LEAT_SUB_OPTIONS_INIT;

    so.name = o->name;
    so.kind = (uint32_t)kind;
    so.durable_only = o->durable_only;
    so.start = o->from.start;
    so.start_value = o->from.value;
    so.flags = o->create ? LEAT_CREATE : 0;
    f->again = kind == LEAT_DURABLE || o->name; /* a named one is durable, whatever is asked for */
    return leat_sub_open(f->bus, o->topic, &so, &f->sub);
}

/* Without a wish, the kind that loses nothing and holds nobody up where the topic offers one. A topic that a rule
 * makes only now is asked for again once it is there. */
static int
subscribe_suitably(struct feed *f, const struct feed_options *o, struct leat_topic_info *info)
{
    int found = leat_topic_info(f->bus, o->topic, info);
    int kind = o->kind, r;

    if (kind < 0)
        kind = o->name || (!found && info->durability == LEAT_DISK) ? LEAT_DURABLE : LEAT_LIVE;
    r = subscribe(f, o, kind);
    if (r || !found)
        return r;
    r = leat_topic_info(f->bus, o->topic, info);
    if (r || o->kind >= 0 || o->name || info->durability != LEAT_DISK)
        return r;
    f->sub = leat_sub_close(f->sub);
    return subscribe(f, o, LEAT_DURABLE);
}

int
feed_open(struct feed *f, const struct cli *c, const struct feed_options *o)
{
    struct leat_options options = LEAT_OPTIONS_INIT;
    struct leat_topic_info info;
    int r;

    *f = (struct feed){.cli = c, .topic = o->topic, .follow = o->follow, .named = o->name != NULL};
    if (o->inspect && is_directory(c->bus))
        return open_inspector(f, o);
    options.path = c->bus;
    options.flags = o->autostart ? LEAT_AUTOSTART : 0;
    if (!o->inspect) {
        r = cli_open(c, options.flags, &f->bus);
        if (r)
            return r;
    } else if (leat_open(&options, &f->bus)) {
        return open_inspector(f, o);
    }
    r = subscribe_suitably(f, o, &info);
    if (r)
        return cli_bus_error(c, f->bus, r, o->topic);
    f->end = info.tail;
    return 0;
}

int
feed_next(struct feed *f, struct leat_msg *ret)
{
    struct leat_sub_stat stat;
    int r;

    if (!f->sub)
        return next_inspected(f, ret);
    if (!f->follow && f->next >= f->end)
        return -ENODATA;
    r = leat_sub_receive(f->sub, ret);
    if (r == 1)
        f->next = ret->seq + 1;
    else if (r == LEAT_GAP)
        f->next = ret->first + ret->lost;
    else if (!r && !f->follow && !leat_sub_stat(f->sub, &stat))
        f->next = stat.next;
    if (!f->follow && r == 1 && ret->seq >= f->end) {
        (void)leat_sub_release(f->sub, ret);
        return -ENODATA;
    }
    return !r && !f->follow && f->next >= f->end ? -ENODATA : r;
}

int
feed_release(struct feed *f, struct leat_msg *msg)
{
    return f->sub ? leat_sub_release(f->sub, msg) : 0;
}

int
feed_wait(struct feed *f)
{
    int r = f->sub ? leat_sub_wait(f->sub, PIECE_NS) : 0;

    return r < 0 && r != -EINTR ? r : 0;
}

int
feed_ack(struct feed *f, uint64_t seq)
{
    return f->named ? leat_sub_ack(f->sub, seq) : 0;
}

int
feed_error(struct feed *f, int code)
{
    if (f->inspect)
        return cli_inspect_error(f->cli, f->inspect, code, f->topic);
    return cli_bus_error(f->cli, f->bus, code, f->topic);
}

void
feed_close(struct feed *f)
{
    f->sub = leat_sub_close(f->sub);
    f->bus = leat_close(f->bus);
    f->inspect = leat_inspect_close(f->inspect);
    free(f->room);
    f->room = NULL;
}
