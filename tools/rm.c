#include "tools/cli.h"

#include <stddef.h>

static const struct cli_option options[] = {
    {'s', "sub", "NAME", "remove only this named subscription of the topic"},
    {0, NULL, NULL, NULL},
};

static const struct cli_verb verb = {
    .name = "rm",
    .operands = "TOPIC...",
    .summary = "Removes topics with all they hold, in memory and on disk: their subscribers read "
               "to the end,\n"
               "their publishers are told at once. With --sub, forgets one named subscription "
               "instead, which\n"
               "nobody may have open.",
    .options = options,
};

int
verb_rm(int argc, char **argv)
{
    const char *sub = NULL;
    leat_bus *bus;
    struct cli c;
    int id, r, status = CLI_OK;

    cli_begin(&c, &verb, argc, argv);
    while ((id = cli_next(&c)) > 0)
        sub = c.value;
    if (id < 0)
        return c.status;
    r = cli_operands(&c, 1, sub ? 1 : argc);
    r = r ? r : cli_open(&c, 0, &bus);
    if (r)
        return r;
    for (int k = 0; k < c.count; k++) {
        r = sub ? leat_sub_remove(bus, c.operands[k], sub) : leat_topic_remove(bus, c.operands[k]);
        if (r)
            status = cli_bus_error(&c, bus, r, c.operands[k]);
    }
    (void)leat_close(bus);
    return status;
}
