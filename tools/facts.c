#include "tools/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "shm/process.h"
#include "tools/table.h"

const char *
facts_state(uint32_t state)
{
    static const char *const names[] = {"ok", "removed", "damaged", "disk full", "log failed"};

    return state < sizeof names / sizeof *names ? names[state] : "unknown";
}

static const char *
kind_name(uint32_t kind)
{
    return kind == LEAT_GATING ? "gating" : kind == LEAT_DURABLE ? "durable" : "live";
}

static const char *
timestamps_name(uint32_t timestamps)
{
    return timestamps == LEAT_TIME_PRECISE ? "precise"
           : timestamps == LEAT_TIME_OFF   ? "off"
                                           : "coarse";
}

void
facts_scrub(char *text)
{
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 32 || (unsigned char)*p > 126)
            *p = '?';
}

void
facts_command(uint32_t pid, char ret[32])
{
    char path[40];
    ssize_t n;
    int fd;

    memcpy(ret, "-", 2);
    (void)snprintf(path, sizeof path, "/proc/%u/comm", (unsigned)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    n = read(fd, ret, 31);
    (void)close(fd);
    ret[n > 0 ? n : 0] = 0;
    ret[strcspn(ret, "\n")] = 0;
    facts_scrub(ret);
}

/* A process whose first thread has ended looks like one that has ended altogether. */
static bool
has_ended(pid_t pid)
{
    struct pollfd p = {.fd = shm_process_open(pid), .events = POLLIN};
    bool ended = p.fd == -ESRCH;

    if (p.fd >= 0) {
        ended = poll(&p, 1, 0) == 1;
        (void)close(p.fd);
    }
    return ended;
}

const char *
facts_process(uint32_t pid)
{
    char text[SHM_PROCESS_STAT];
    const char *state;
    int r = pid <= INT32_MAX ? shm_process_stat((pid_t)pid, text, &state) : -ESRCH;

    if (r == -EACCES)
        return "hidden";
    if (r || (strchr("ZXx", *state) && has_ended((pid_t)pid)))
        return "dead";
    return *state == 'T' || *state == 't' ? "stopped" : "running";
}

static void
put(json_t *object, const char *key, uint64_t n)
{
    (void)json_object_set_new(object, key, table_u64(n));
}

static void
put_text(json_t *object, const char *key, const char *text)
{
    char clean[256];

    (void)snprintf(clean, sizeof clean, "%.255s", text);
    facts_scrub(clean);
    (void)json_object_set_new(object, key, json_string(clean));
}

json_t *
facts_topic(const char *name, const struct leat_topic_info *info)
{
    json_t *o = json_object();

    put_text(o, "topic", name);
    (void)json_object_set_new(o, "topic_id", table_hex(info->topic_id));
    put_text(o, "state", facts_state(info->state));
    put_text(o, "reason", info->reason);
    put_text(o, "durability", info->durability == LEAT_DISK ? "disk" : "memory");
    put_text(o, "when_full", info->when_full == LEAT_OVERWRITE ? "overwrite" : "block");
    put_text(o, "timestamps", timestamps_name(info->timestamps));
    put(o, "depth", info->depth);
    put(o, "slot_size", info->slot_size);
    put(o, "inline_max", info->inline_max);
    put(o, "lane_size", info->lane_size);
    put(o, "payload_max", info->payload_max);
    put(o, "max_publishers", info->max_publishers);
    put(o, "max_subscribers", info->max_subscribers);
    put(o, "retention_bytes", info->retention_bytes);
    put(o, "retention_ns", info->retention_ns > 0 ? (uint64_t)info->retention_ns : 0);
    (void)json_object_set_new(o, "retain_until_acked", json_boolean(info->retain_until_acked));
    put(o, "lag_ns", info->lag_ns > 0 ? (uint64_t)info->lag_ns : 0);
    (void)json_object_set_new(o, "mode", json_sprintf("%04o", info->mode & 07777));
    put(o, "uid", info->uid);
    put(o, "gid", info->gid);
    put(o, "first", info->first);
    put(o, "tail", info->tail);
    put(o, "durable", info->durable);
    put(o, "log_bytes", info->log_bytes);
    put(o, "shm_bytes", info->shm_bytes);
    put(o, "publishers", info->publishers);
    put(o, "subscribers", info->subscribers);
    return o;
}

static uint64_t
age(uint64_t now_ns, uint64_t since_ns)
{
    return since_ns && now_ns > since_ns ? now_ns - since_ns : 0;
}

static json_t *
publisher(const struct leat_inspect_pub *p, uint64_t now_ns)
{
    json_t *o = json_object();
    char command[32];

    facts_command(p->alive ? p->pid : 0, command);
    put(o, "index", p->index);
    put(o, "pid", p->pid);
    put_text(o, "command", command);
    put(o, "uid", p->uid);
    (void)json_object_set_new(o, "alive", json_boolean(p->alive));
    put_text(o, "process", p->alive ? facts_process(p->pid) : "dead");
    put(o, "since_ns", p->since_ns);
    put(o, "published", p->published);
    put(o, "bytes", p->bytes);
    put(o, "lane_used", p->lane_used);
    put(o, "blocked", p->blocked);
    put(o, "blocked_for_ns", age(now_ns, p->blocked_since_ns));
    (void)json_object_set_new(o, "is_blocked", json_boolean(p->blocked_since_ns));
    put(o, "intent_seq", p->intent_count ? p->intent_seq : 0);
    put(o, "intent_count", p->intent_count);
    put(o, "intent_for_ns", p->intent_count ? age(now_ns, p->intent_since_ns) : 0);
    return o;
}

json_t *
facts_publishers(leat_inspect *i, const char *topic, uint64_t now_ns)
{
    json_t *all = json_array();
    struct leat_inspect_pub p;
    uint32_t index = 0;

    while (leat_inspect_pub(i, topic, &index, &p) == 1)
        (void)json_array_append_new(all, publisher(&p, now_ns));
    return all;
}

static json_t *
cursor(const struct leat_inspect_sub *s)
{
    json_t *o = json_object();
    char command[32];

    facts_command(s->pid, command);
    put(o, "index", s->index);
    put_text(o, "name", s->name);
    put(o, "pid", s->pid);
    put_text(o, "command", command);
    put(o, "uid", s->uid);
    put_text(o, "process", s->pid ? facts_process(s->pid) : "-");
    put_text(o, "kind", s->log_writer ? "log writer" : kind_name(s->kind));
    (void)json_object_set_new(o, "evicted", json_boolean(s->evicted));
    (void)json_object_set_new(o, "attached", json_boolean(s->pid));
    put(o, "since_ns", s->since_ns);
    put(o, "next", s->next);
    put(o, "acked", s->acked);
    put(o, "saved", s->saved);
    put(o, "received", s->received);
    put(o, "lost", s->lost);
    put(o, "stale", s->stale);
    put(o, "waits", s->waits);
    put(o, "lag", s->lag);
    put(o, "lag_bytes", s->lag_bytes);
    put(o, "lag_ns", s->lag_ns);
    return o;
}

json_t *
facts_cursors(leat_inspect *i, const char *topic)
{
    json_t *all = json_array();
    struct leat_inspect_sub s;
    uint32_t index = 0;

    while (leat_inspect_sub(i, topic, &index, &s) == 1)
        (void)json_array_append_new(all, cursor(&s));
    return all;
}

void
facts_copied(json_t *cursors)
{
    json_t *c;
    size_t i;

    json_array_foreach(cursors, i, c)
    {
        put_text(c, "command", "-");
        if (json_is_true(json_object_get(c, "attached")))
            put_text(c, "process", "dead");
    }
}
