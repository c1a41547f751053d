/* Text of any kind against the configuration. What it refuses it refuses with file and line; what it takes it can print, and
 * takes what it printed, to the same effect. */
#include <errno.h>

#include "daemon/config.h"
#include "shm/name.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/place.h"

#define TEXT_MAX 16384
#define PRINTED_MAX (1u << 20)

static char main_file[PLACE_PATH + 16], printed_file[PLACE_PATH + 24];

/* The text in a file of its own, or shared out: the main file, and one in conf.d. */
static void
write_files(struct input *in, bool shared)
{
    const uint8_t *half = memchr(in->at, 0xff, in->left);
    size_t first = half && shared ? (size_t)(half - in->at) : in->left;

    place_file("leat.conf", in->at, first, 0);
    place_folder("conf.d");
    if (half && shared)
        place_file("conf.d/10-more.conf", half + 1, in->left - first - 1, 0);
    else
        place_clear("conf.d");
}

/* "PATH:LINE: text", where the path is one of ours. */
static void
check_error(const char *error)
{
    const char *at = strstr(error, ".conf:"), *line;

    MUST(error[0] && strlen(error) < CONFIG_ERROR &&
         !strncmp(error, place_open(), strlen(place_open())));
    MUST(at);
    line = at + strlen(".conf:");
    MUST(*line >= '1' && *line <= '9' && strstr(line, ": "));
}

static void
check_rules(const struct config *c)
{
    for (uint32_t i = 0; i < c->rule_count; i++) {
        const struct config_rule *rule = &c->rules[i];
        struct config_topic t;
        MUST(rule->pattern[0] && strlen(rule->pattern) <= LIMIT_TOPIC_NAME && rule->line);
        if (rule->topic.declare)
            MUST(!shm_name_check(rule->pattern));
        (void)config_resolve(c, rule->pattern, &t);
        MUST(t.depth >= LIMIT_DEPTH_MIN && t.depth <= LIMIT_DEPTH_MAX);
        MUST(t.lane_size >= LIMIT_LANE_MIN && t.lane_size <= LIMIT_LANE_MAX);
        MUST(t.max_publishers && t.max_publishers <= LIMIT_PUBLISHERS);
        MUST(t.max_subscribers && t.max_subscribers < LIMIT_CURSORS);
        MUST(t.slot_size == 64 || t.slot_size == 128 || t.slot_size == 256);
        MUST(t.mode <= 0777 && t.create <= 1 && t.declare <= 1);
    }
    MUST(c->socket[0] == '/' && memchr(c->socket, 0, sizeof c->socket));
    MUST(c->store[0] == '/' && memchr(c->store, 0, sizeof c->store));
}

static void
print(const struct config *c, const char *path)
{
    FILE *f = fopen(path, "we");

    MUST(f);
    config_print(c, f);
    MUST(!fclose(f));
}

/* What is printed without the lines that say where it came from. */
static size_t
printed(char *to)
{
    long n = place_read("sub/printed.conf", to, PRINTED_MAX - 1);
    char *from = to, *end, *out = to;

    MUST(n >= 0 && n < (long)PRINTED_MAX - 1);
    to[n] = '\0';
    for (; *from; from = end) {
        end = from + strcspn(from, "\n");
        end += *end == '\n';
        if (*from != '#') {
            memmove(out, from, (size_t)(end - from));
            out += end - from;
        }
    }
    return (size_t)(out - to);
}

static void
load_again(const struct config *c)
{
    static char first[PRINTED_MAX], second[PRINTED_MAX];
    char error[CONFIG_ERROR] = "";
    struct config again;
    size_t len;
    int r;

    print(c, printed_file);
    len = printed(first);
    MUST(!config_init(&again, true));
    r = config_load(&again, printed_file, true, error);
    if (r)
        (void)fprintf(stderr, "%s\n", error);
    MUST(!r);
    MUST(again.rule_count == c->rule_count);
    print(&again, printed_file);
    MUST(printed(second) == len && !memcmp(first, second, len));
    config_free(&again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {.at = data, .left = len};
    uint8_t how = input_u8(&in);
    char error[CONFIG_ERROR] = "";
    struct config c;
    int r;

    if (in.left > TEXT_MAX)
        return 0;
    if (!main_file[0]) {
        (void)snprintf(main_file, sizeof main_file, "%s/leat.conf", place_open());
        place_folder("sub");
        (void)snprintf(printed_file, sizeof printed_file, "%s/sub/printed.conf", place_open());
    }
    write_files(&in, how & 1);
    MUST(!config_init(&c, how & 2));
    r = config_load(&c, main_file, true, error);
    if (r) {
        MUST(r == -EINVAL || r == -ENOMEM);
        check_error(error);
    } else {
        check_rules(&c);
        load_again(&c);
    }
    config_free(&c);
    return 0;
}
