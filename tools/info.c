#include "tools/cli.h"
#include "tools/facts.h"
#include "tools/place.h"
#include "tools/table.h"

#include <errno.h>

static const struct cli_option options[] = {{0, NULL, NULL, NULL}};

static const struct cli_verb verb = {
    .name = "info",
    .operands = "TOPIC",
    .summary = "Says everything about one topic: what it was made with, how it stands, who "
               "publishes and who\n"
               "subscribes. Needs no daemon.",
    .options = options,
    .json = true,
};

static const struct table_column words[] = {
    {"topic", "topic", TABLE_TEXT, NULL},
    {"topic_id", "id", TABLE_TEXT, NULL},
    {"state", "state", TABLE_TEXT, NULL},
    {"reason", "reason", TABLE_TEXT, NULL},
    {"durability", "durability", TABLE_TEXT, NULL},
    {"when_full", "when full", TABLE_TEXT, NULL},
    {"first", "first", TABLE_COUNT, "the oldest that can still be read"},
    {"tail", "tail", TABLE_COUNT, "the next to be published"},
    {"durable", "durable", TABLE_COUNT, "the last on stable storage"},
    {"depth", "depth", TABLE_COUNT, "slots of the ring"},
    {"slot_size", "slot size", TABLE_SIZE, NULL},
    {"inline_max", "inline up to", TABLE_SIZE, "longer payloads stand in their publisher's lane"},
    {"lane_size", "lane size", TABLE_SIZE, "of each publisher"},
    {"payload_max", "longest message", TABLE_SIZE, NULL},
    {"timestamps", "timestamps", TABLE_TEXT, NULL},
    {"lag_ns", "lag limit", TABLE_TIME, "of a subscriber that holds publishers back"},
    {"retention_bytes", "retention", TABLE_SIZE, "of the log"},
    {"retention_ns", "retention time", TABLE_TIME, "of the log"},
    {"retain_until_acked", "until acked", TABLE_TEXT, NULL},
    {"log_bytes", "log", TABLE_SIZE, NULL},
    {"shm_bytes", "shared memory", TABLE_SIZE, NULL},
    {"mode", "mode", TABLE_TEXT, "r subscribes, w publishes"},
    {"uid", "uid", TABLE_COUNT, NULL},
    {"gid", "gid", TABLE_COUNT, NULL},
    {"max_publishers", "publishers, most", TABLE_COUNT, NULL},
    {"max_subscribers", "subscribers, most", TABLE_COUNT, NULL},
    {NULL, NULL, TABLE_TEXT, NULL},
};

static const struct table_column publishers[] = {
    {"index", "#", TABLE_COUNT, NULL},
    {"pid", "PID", TABLE_COUNT, NULL},
    {"command", "COMMAND", TABLE_TEXT, NULL},
    {"uid", "UID", TABLE_COUNT, NULL},
    {"published", "PUBLISHED", TABLE_COUNT, NULL},
    {"bytes", "BYTES", TABLE_SIZE, NULL},
    {"lane_used", "LANE", TABLE_SIZE, NULL},
    {"blocked", "BLOCKED", TABLE_COUNT, NULL},
    {"since_ns", "SINCE", TABLE_DATE, NULL},
    {NULL, NULL, TABLE_TEXT, NULL},
};

static const struct table_column cursors[] = {
    {"index", "#", TABLE_COUNT, NULL},        {"name", "NAME", TABLE_TEXT, NULL},
    {"kind", "KIND", TABLE_TEXT, NULL},       {"pid", "PID", TABLE_COUNT, NULL},
    {"command", "COMMAND", TABLE_TEXT, NULL}, {"next", "NEXT", TABLE_COUNT, NULL},
    {"acked", "ACKED", TABLE_COUNT, NULL},    {"saved", "SAVED", TABLE_COUNT, NULL},
    {"lag", "LAG", TABLE_COUNT, NULL},        {"lag_ns", "BEHIND", TABLE_TIME, NULL},
    {"lost", "LOST", TABLE_COUNT, NULL},      {"evicted", "EVICTED", TABLE_TEXT, NULL},
    {NULL, NULL, TABLE_TEXT, NULL},
};

/* What says nothing for this topic is left out for people, never in JSON. */
static void
leave_out(json_t *topic, const struct leat_topic_info *info)
{
    if (!info->reason[0])
        (void)json_object_del(topic, "reason");
    if (info->durability != LEAT_DISK) {
        (void)json_object_del(topic, "durable");
        (void)json_object_del(topic, "retention_bytes");
        (void)json_object_del(topic, "retention_ns");
        (void)json_object_del(topic, "retain_until_acked");
        (void)json_object_del(topic, "log_bytes");
    }
    if (!info->retention_ns)
        (void)json_object_del(topic, "retention_ns");
    if (!info->lag_ns)
        (void)json_object_del(topic, "lag_ns");
}

static void
print(struct buf *out, json_t *topic, const struct leat_topic_info *info)
{
    const json_t *pubs = json_object_get(topic, "publisher");
    const json_t *subs = json_object_get(topic, "cursor");

    leave_out(topic, info);
    table_words(out, words, topic);
    buf_printf(out, "\npublishers: %u\n", info->publishers);
    if (json_array_size(pubs))
        table_rows(out, publishers, pubs, "  ");
    buf_printf(out, "\nsubscribers: %u\n", info->subscribers);
    if (json_array_size(subs))
        table_rows(out, cursors, subs, "  ");
}

/* Looks at the topic. Memory that cannot be read any more does not say why; the daemon does, and it
 * mends what it can of the memory before it answers: then there is a second look. */
static int
look(const struct cli *c, leat_inspect *i, const char *name, struct leat_topic_info *ret)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    leat_bus *bus = NULL;
    int asked = -ENOENT, x = CLI_OK, r = leat_inspect_topic(i, name, ret);

    if (!r)
        return CLI_OK;
    o.path = c->bus;
    if ((r == -EBADMSG || r == -EPROTONOSUPPORT) && !leat_open(&o, &bus))
        asked = leat_topic_info(bus, name, ret);
    if (asked == -EBADMSG)
        x = cli_error(c, "%s: damaged: %s", name, leat_error(bus));
    else if (asked || (r = leat_inspect_topic(i, name, ret)))
        x = cli_inspect_error(c, i, r, name);
    (void)leat_close(bus);
    return x;
}

static json_t *
cursors_of(const struct cli *c, leat_inspect *i, const char *name)
{
    json_t *all = facts_cursors(i, name);
    struct place place;

    if (!place_find(c->bus, &place) && place.directory)
        facts_copied(all);
    return all;
}

int
verb_info(int argc, char **argv)
{
    struct leat_topic_info info;
    struct buf out = {0};
    leat_inspect *i;
    const char *name;
    struct cli c;
    json_t *topic;
    int r;

    cli_begin(&c, &verb, argc, argv);
    if (cli_next(&c) < 0)
        return c.status;
    r = cli_operands(&c, 1, 1);
    r = r ? r : cli_inspect(&c, &i);
    if (r)
        return r;
    name = c.operands[0];
    r = look(&c, i, name, &info);
    if (r) {
        (void)leat_inspect_close(i);
        return r;
    }
    topic = facts_topic(name, &info);
    (void)json_object_set_new(topic, "publisher", facts_publishers(i, name, cli_now_ns()));
    (void)json_object_set_new(topic, "cursor", cursors_of(&c, i, name));
    if (c.json)
        table_json(&out, topic);
    else
        print(&out, topic, &info);
    json_decref(topic);
    (void)leat_inspect_close(i);
    return table_end(&out, verb.name);
}
