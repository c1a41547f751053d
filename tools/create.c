#include "tools/cli.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/units.h"

enum {
    OPT_SLOT = CLI_LONG,
    OPT_LANE,
    OPT_PUBLISHERS,
    OPT_SUBSCRIBERS,
    OPT_DISK,
    OPT_MEMORY,
    OPT_OVERWRITE,
    OPT_BLOCK,
    OPT_RETENTION,
    OPT_RETENTION_TIME,
    OPT_UNTIL_ACKED,
    OPT_MODE,
    OPT_OWNER,
    OPT_GROUP,
    OPT_TIMESTAMPS,
    OPT_LAG,
    OPT_NO_AUTOSTART,
};

static const struct cli_option options[] = {
    {'d', "depth", "N", "slots: how many messages the ring holds [4096]"},
    {OPT_SLOT, "slot", "64|128|256", "bytes of a slot; 32 fewer stand in it inline [64]"},
    {OPT_LANE, "lane", "SIZE",
     "bytes of each publisher for longer messages [4M]; the\n"
     "longest message is half of it"},
    {OPT_PUBLISHERS, "publishers", "N", "how many at once [16]"},
    {OPT_SUBSCRIBERS, "subscribers", "N", "how many at once [128]"},
    {OPT_DISK, "disk", NULL, "keep every message in a log on disk"},
    {OPT_MEMORY, "memory", NULL, "keep messages in memory only"},
    {OPT_OVERWRITE, "overwrite", NULL, "publishers never wait, whoever reads (memory only)"},
    {OPT_BLOCK, "block", NULL, "publishers wait for gating subscribers"},
    {OPT_RETENTION, "retention", "SIZE", "of the log [1G]"},
    {OPT_RETENTION_TIME, "retention-time", "TIME", "of the log [no limit]"},
    {OPT_UNTIL_ACKED, "until-acked", NULL,
     "age does not remove what a named subscription has not\n"
     "acknowledged"},
    {OPT_MODE, "mode", "OCTAL", "r bits: who subscribes, w bits: who publishes [0600]"},
    {OPT_OWNER, "owner", "USER", "[you]"},
    {OPT_GROUP, "group", "GROUP", "[yours]"},
    {OPT_TIMESTAMPS, "timestamps", "WHICH", "coarse, precise or off [coarse]"},
    {OPT_LAG, "lag", "TIME",
     "evict a gating subscriber that holds publishers back\n"
     "for longer [never]"},
    {OPT_NO_AUTOSTART, "no-autostart", NULL, "do not start a private daemon if none answers"},
    {0, NULL, NULL, NULL},
};

static const struct cli_verb verb = {
    .name = "create",
    .operands = "TOPIC...",
    .summary =
        "Makes topics. What is not given comes from the daemon's rule for the name, else from the\n"
        "default in brackets. It is no error if a topic exists with the same options.",
    .more = "Sizes have units K, M, G, T (of 1024); times ns, us, ms, s, m, h, d, w.",
    .options = options,
};

/* A whole number that fits 32 bits. */
static int
count32(const struct cli *c, const char *option, uint32_t *ret)
{
    uint64_t n;
    int r = cli_count(c, option, &n);

    if (!r && n > UINT32_MAX)
        r = cli_usage(c, "%s: %s is too large", option, c->value);
    if (!r)
        *ret = (uint32_t)n;
    return r;
}

static int
parse_mode(const struct cli *c, uint32_t *ret)
{
    char *end;
    unsigned long mode = strtoul(c->value, &end, 8);

    if (*end || end == c->value || mode > 0777 || !mode)
        return cli_usage(c, "--mode: '%s' is not an octal mode from 0001 to 0777", c->value);
    *ret = (uint32_t)mode;
    return 0;
}

static int
parse_owner(const struct cli *c, struct leat_topic_options *o)
{
    const struct passwd *user = getpwnam(c->value);
    uint64_t id = user ? user->pw_uid : 0;

    if (!user && (units_parse_count(c->value, &id) || id > UINT32_MAX))
        return cli_usage(c, "--owner: there is no user '%s'", c->value);
    o->uid = (uint32_t)id;
    o->flags |= LEAT_SET_UID;
    return 0;
}

static int
parse_group(const struct cli *c, struct leat_topic_options *o)
{
    const struct group *group = getgrnam(c->value);
    uint64_t id = group ? group->gr_gid : 0;

    if (!group && (units_parse_count(c->value, &id) || id > UINT32_MAX))
        return cli_usage(c, "--group: there is no group '%s'", c->value);
    o->gid = (uint32_t)id;
    o->flags |= LEAT_SET_GID;
    return 0;
}

static int
parse_timestamps(const struct cli *c, uint32_t *ret)
{
    static const char *const names[] = {"coarse", "precise", "off"};

    for (uint32_t i = 0; i < 3; i++)
        if (!strcmp(c->value, names[i])) {
            *ret = i;
            return 0;
        }
    return cli_usage(c, "--timestamps: '%s' is not coarse, precise or off", c->value);
}

static int
set_number(const struct cli *c, int id, struct leat_topic_options *o)
{
    switch (id) {
    case 'd':
        return cli_count(c, "--depth", &o->depth);
    case OPT_SLOT:
        return count32(c, "--slot", &o->slot_size);
    case OPT_LANE:
        return cli_size(c, "--lane", &o->lane_size);
    case OPT_PUBLISHERS:
        return count32(c, "--publishers", &o->max_publishers);
    case OPT_SUBSCRIBERS:
        return count32(c, "--subscribers", &o->max_subscribers);
    case OPT_RETENTION:
        return cli_size(c, "--retention", &o->retention_bytes);
    case OPT_RETENTION_TIME:
        return cli_time(c, "--retention-time", &o->retention_ns);
    default:
        return cli_time(c, "--lag", &o->lag_ns);
    }
}

/* Options that name one of two ways; `wish` remembers those whose value is the default's. */
struct wish {
    bool memory, disk, block, overwrite, no_autostart;
};

static int
set_way(int id, struct leat_topic_options *o, struct wish *wish)
{
    switch (id) {
    case OPT_DISK:
        o->durability = LEAT_DISK;
        wish->disk = true;
        return 0;
    case OPT_MEMORY:
        wish->memory = true;
        return 0;
    case OPT_OVERWRITE:
        o->when_full = LEAT_OVERWRITE;
        wish->overwrite = true;
        return 0;
    case OPT_BLOCK:
        wish->block = true;
        return 0;
    case OPT_UNTIL_ACKED:
        o->retain_until_acked = 1;
        return 0;
    default:
        wish->no_autostart = true;
        return 0;
    }
}

static int
set(const struct cli *c, int id, struct leat_topic_options *o, struct wish *wish)
{
    switch (id) {
    case OPT_MODE:
        return parse_mode(c, &o->mode);
    case OPT_OWNER:
        return parse_owner(c, o);
    case OPT_GROUP:
        return parse_group(c, o);
    case OPT_TIMESTAMPS:
        return parse_timestamps(c, &o->timestamps);
    case OPT_DISK:
    case OPT_MEMORY:
    case OPT_OVERWRITE:
    case OPT_BLOCK:
    case OPT_UNTIL_ACKED:
    case OPT_NO_AUTOSTART:
        return set_way(id, o, wish);
    default:
        return set_number(c, id, o);
    }
}

/* A rule of the daemon may turn what is zero in the options into something else: that must not pass unsaid. */
static int
confirm(const struct cli *c, leat_bus *bus, const char *name, const struct wish *wish)
{
    struct leat_topic_info info;

    if ((!wish->memory && !wish->block) || leat_topic_info(bus, name, &info))
        return CLI_OK;
    if (wish->memory && info.durability == LEAT_DISK)
        return cli_error(
            c, "%s: made, but as a disk topic: the daemon's rule for this name says so", name);
    if (wish->block && info.when_full == LEAT_OVERWRITE)
        return cli_error(
            c, "%s: made, but so that it overwrites: the daemon's rule for this name says so",
            name);
    return CLI_OK;
}

int
verb_create(int argc, char **argv)
{
    struct leat_topic_options o = LEAT_TOPIC_OPTIONS_INIT;
    struct wish wish = {0};
    leat_bus *bus;
    struct cli c;
    int id, r = 0;

    cli_begin(&c, &verb, argc, argv);
    while ((id = cli_next(&c)) > 0) {
        r = set(&c, id, &o, &wish);
        if (r)
            return r;
    }
    if (id < 0)
        return c.status;
    if (wish.memory && wish.disk)
        return cli_usage(&c, "--memory and --disk exclude each other");
    if (wish.block && wish.overwrite)
        return cli_usage(&c, "--block and --overwrite exclude each other");
    r = cli_operands(&c, 1, argc);
    r = r ? r : cli_open(&c, wish.no_autostart ? 0 : LEAT_AUTOSTART, &bus);
    if (r)
        return r;
    for (int k = 0; !r && k < c.count; k++) {
        r = leat_topic_create(bus, c.operands[k], &o);
        r = r ? cli_bus_error(&c, bus, r, c.operands[k]) : confirm(&c, bus, c.operands[k], &wish);
    }
    (void)leat_close(bus);
    return r;
}
