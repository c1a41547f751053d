#include "tools/cli.h"
#include "tools/facts.h"
#include "tools/table.h"

#include <stdio.h>
#include <string.h>

static const struct cli_option options[] = {{0, NULL, NULL, NULL}};

static const struct cli_verb verb = {
    .name = "ls",
    .operands = "[TOPIC]...",
    .summary = "Lists the topics of a bus, or the named ones. Needs no daemon.",
    .more = "FIRST is the oldest message that can still be read, TAIL the next to be published, "
            "DURABLE\n"
            "the last on stable storage; SHM and LOG are bytes in shared memory and on disk.",
    .options = options,
    .json = true,
};

static const struct table_column columns[] = {
    {"topic", "TOPIC", TABLE_TEXT, NULL},      {"durability", "KIND", TABLE_TEXT, NULL},
    {"depth", "DEPTH", TABLE_COUNT, NULL},     {"first", "FIRST", TABLE_COUNT, NULL},
    {"tail", "TAIL", TABLE_COUNT, NULL},       {"durable", "DURABLE", TABLE_COUNT, NULL},
    {"publishers", "PUBS", TABLE_COUNT, NULL}, {"subscribers", "SUBS", TABLE_COUNT, NULL},
    {"shm_bytes", "SHM", TABLE_SIZE, NULL},    {"log_bytes", "LOG", TABLE_SIZE, NULL},
    {"state", "STATE", TABLE_TEXT, NULL},      {NULL, NULL, TABLE_TEXT, NULL},
};

/* A topic that cannot be looked at is still listed, with the reason as its state. */
static json_t *
row(leat_inspect *i, const char *name, int code)
{
    const char *text = leat_inspect_error(i);

    return json_pack("{s:s, s:s, s:s}", "topic", name, "state", "unreadable", "reason",
                     *text ? text : leat_strerror(code));
}

static int
list(const struct cli *c, leat_inspect *i, json_t *rows)
{
    struct leat_topic_info info;
    char name[201] = "";
    int status = CLI_OK, r = 0;

    for (int k = 0; k < c->count; k++) {
        r = leat_inspect_topic(i, c->operands[k], &info);
        if (r)
            status = cli_inspect_error(c, i, r, c->operands[k]);
        else
            (void)json_array_append_new(rows, facts_topic(c->operands[k], &info));
    }
    if (c->count)
        return status;
    while ((r = leat_inspect_next(i, name)) == 1) {
        int bad = leat_inspect_topic(i, name, &info);
        (void)json_array_append_new(rows, bad ? row(i, name, bad) : facts_topic(name, &info));
    }
    return r < 0 ? cli_inspect_error(c, i, r, "listing topics") : CLI_OK;
}

int
verb_ls(int argc, char **argv)
{
    struct buf out = {0};
    leat_inspect *i;
    struct cli c;
    json_t *rows;
    int status, end;

    cli_begin(&c, &verb, argc, argv);
    if (cli_next(&c) < 0)
        return c.status;
    status = cli_inspect(&c, &i);
    if (status)
        return status;
    rows = json_array();
    status = list(&c, i, rows);
    if (c.json)
        table_json(&out, rows);
    else if (json_array_size(rows))
        table_rows(&out, columns, rows, "");
    json_decref(rows);
    (void)leat_inspect_close(i);
    end = table_end(&out, verb.name);
    return status ? status : end;
}
