#include "daemon/config.h"

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <ini.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ring/ring.h"
#include "shm/name.h"

/* Longest line; what libinih takes at once by default. */
#define LINE_MAX_LEN 190

enum kind { COUNT, BYTES, TIME, OCTAL, BOOL, WORD, USER, GROUP, PATH, SOCKET, PREFIX };

struct word {
    const char *text;
    uint64_t value;
};

/* One key: where its value goes and what it may be. */
struct key {
    const char *name;
    enum kind kind;
    uint32_t at;   /* offset of the field */
    uint32_t size; /* of the field */
    uint64_t min, max;
    const struct word *words; /* ends with NULL */
};

#define FIELD(type, f) offsetof(struct type, f), sizeof(((struct type *)0)->f)

static const struct word bools[] = {{"yes", 1}, {"no", 0}, {NULL, 0}};
static const struct word offs[] = {{"auto", 1}, {"off", 0}, {NULL, 0}};
static const struct word ios[] = {{"auto", 0}, {"io_uring", 1}, {"block", 2}, {NULL, 0}};
static const struct word slots[] = {{"64", 64}, {"128", 128}, {"256", 256}, {NULL, 0}};
static const struct word durabilities[] = {{"memory", RING_MEMORY}, {"disk", RING_DISK}, {NULL, 0}};
static const struct word fulls[] = {
    {"block", RING_BLOCK}, {"overwrite", RING_OVERWRITE}, {NULL, 0}};
static const struct word times[] = {{"coarse", RING_TIME_COARSE},
                                    {"precise", RING_TIME_PRECISE},
                                    {"off", RING_TIME_OFF},
                                    {NULL, 0}};

static const struct key bus_keys[] = {
    {"socket", SOCKET, FIELD(config, socket), 0, 0, NULL},
    {"store", PATH, FIELD(config, store), 0, 0, NULL},
    {"prefix", PREFIX, FIELD(config, prefix), 0, 0, NULL},
    {"io", WORD, FIELD(config, io), 0, 0, ios},
    {"mode", OCTAL, FIELD(config, mode), 0, 0777, NULL},
    {"membarrier", WORD, FIELD(config, membarrier), 0, 0, offs},
    {"keep", BOOL, FIELD(config, keep), 0, 0, bools},
    {"user_sessions", COUNT, FIELD(config, user_sessions), 0, UINT32_MAX, NULL},
    {"user_topics", COUNT, FIELD(config, user_topics), 0, UINT32_MAX, NULL},
    {"user_shm", BYTES, FIELD(config, user_shm), 0, INT64_MAX, NULL},
    {"user_seats", COUNT, FIELD(config, user_seats), 0, UINT32_MAX, NULL},
    {NULL, COUNT, 0, 0, 0, 0, NULL},
};

/* In the order of enum config_field. */
static const struct key topic_keys[] = {
    {"depth", BYTES, FIELD(config_topic, depth), LIMIT_DEPTH_MIN, LIMIT_DEPTH_MAX, NULL},
    {"slot_size", WORD, FIELD(config_topic, slot_size), 0, 0, slots},
    {"lane_size", BYTES, FIELD(config_topic, lane_size), LIMIT_LANE_MIN, LIMIT_LANE_MAX, NULL},
    {"max_publishers", COUNT, FIELD(config_topic, max_publishers), 1, LIMIT_PUBLISHERS, NULL},
    {"max_subscribers", COUNT, FIELD(config_topic, max_subscribers), 1, LIMIT_CURSORS - 1, NULL},
    {"durability", WORD, FIELD(config_topic, durability), 0, 0, durabilities},
    {"when_full", WORD, FIELD(config_topic, when_full), 0, 0, fulls},
    {"retention_bytes", BYTES, FIELD(config_topic, retention_bytes), 0, INT64_MAX, NULL},
    {"retention_ns", TIME, FIELD(config_topic, retention_ns), 0, INT64_MAX, NULL},
    {"retain_until_acked", BOOL, FIELD(config_topic, retain_until_acked), 0, 0, bools},
    {"mode", OCTAL, FIELD(config_topic, mode), 0, 0777, NULL},
    {"owner", USER, FIELD(config_topic, owner), 0, 0, NULL},
    {"group", GROUP, FIELD(config_topic, group), 0, 0, NULL},
    {"timestamps", WORD, FIELD(config_topic, timestamps), 0, 0, times},
    {"lag", TIME, FIELD(config_topic, lag_ns), 0, INT64_MAX, NULL},
    {"create", BOOL, FIELD(config_topic, create), 0, 0, bools},
    {"declare", BOOL, FIELD(config_topic, declare), 0, 0, bools},
    {NULL, COUNT, 0, 0, 0, 0, NULL},
};
_Static_assert(sizeof topic_keys / sizeof *topic_keys == CONFIG_FIELDS + 1, "one key per field");

static const struct word byte_units[] = {
    {"K", 1ull << 10}, {"M", 1ull << 20}, {"G", 1ull << 30}, {"T", 1ull << 40}, {NULL, 0}};
static const struct word time_units[] = {
    {"ns", 1},          {"us", 1000},         {"ms", 1000000},       {"s", 1000000000},
    {"m", 60000000000}, {"h", 3600000000000}, {"d", 86400000000000}, {"w", 604800000000000},
    {NULL, 0}};

/* --- values ----------------------------------------------------------------------------------- */

static void append(char *text, size_t room, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void
append(char *text, size_t room, const char *format, ...)
{
    size_t len = strlen(text);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text + len, room - len, format, args);
    va_end(args);
}

static int
find_word(const struct word *words, const char *text, uint64_t *ret)
{
    for (; words->text; words++)
        if (!strcmp(words->text, text)) {
            *ret = words->value;
            return 0;
        }
    return -EINVAL;
}

/* Digits, and a unit if there are any; a time needs one unless it is 0. */
static int
read_number(const char *text, enum kind kind, uint64_t *ret)
{
    const struct word *units = kind == BYTES ? byte_units : kind == TIME ? time_units : NULL;
    uint64_t n, unit = 1;
    char *end;

    if (*text < '0' || *text > '9')
        return -EINVAL;
    errno = 0;
    n = strtoull(text, &end, kind == OCTAL ? 8 : 10);
    if (errno)
        return -EINVAL;
    if (*end && (!units || find_word(units, end, &unit)))
        return -EINVAL;
    if (!*end && kind == TIME && n)
        return -EINVAL;
    return __builtin_mul_overflow(n, unit, ret) ? -EINVAL : 0;
}

static int
read_user(const char *text, bool group, uint64_t *ret)
{
    if (!read_number(text, COUNT, ret))
        return *ret < UINT32_MAX ? 0 : -EINVAL;
    if (group) {
        const struct group *g = getgrnam(text);
        if (!g)
            return -EINVAL;
        *ret = g->gr_gid;
    } else {
        const struct passwd *p = getpwnam(text);
        if (!p)
            return -EINVAL;
        *ret = p->pw_uid;
    }
    return 0;
}

static int
store_number(const struct key *key, void *to, uint64_t value)
{
    uint32_t narrow = (uint32_t)value;

    if (key->size == sizeof narrow)
        memcpy((char *)to + key->at, &narrow, sizeof narrow);
    else
        memcpy((char *)to + key->at, &value, sizeof value);
    return 0;
}

static int
store_text(const struct key *key, void *to, const char *text)
{
    size_t len = strlen(text);

    if (len >= key->size)
        return -EINVAL;
    memcpy((char *)to + key->at, text, len + 1);
    return 0;
}

/* One that a socket's path gives has no guard but that socket's: whoever chose it would take over the living rings of another
 * bus. */
static bool
is_prefix(const char *text)
{
    return *text && *text != '-' && !strchr(text, '.') && !shm_name_check(text) &&
           !shm_name_is_derived(text);
}

/* Puts the value of one key into its structure: 0 or -EINVAL. */
static int
set_value(const struct key *key, void *to, const char *text)
{
    uint64_t value;

    switch (key->kind) {
    case PATH:
    case SOCKET:
        return *text == '/' ? store_text(key, to, text) : -EINVAL;
    case PREFIX:
        return is_prefix(text) ? store_text(key, to, text) : -EINVAL;
    case WORD:
    case BOOL:
        if (find_word(key->words, text, &value))
            return -EINVAL;
        return key->words == ios ? store_text(key, to, text) : store_number(key, to, value);
    case USER:
    case GROUP:
        if (read_user(text, key->kind == GROUP, &value))
            return -EINVAL;
        return store_number(key, to, value);
    case COUNT:
    case BYTES:
    case TIME:
    case OCTAL:
        if (read_number(text, key->kind, &value) || value < key->min || value > key->max)
            return -EINVAL;
        return store_number(key, to, value);
    }
    return -EINVAL;
}

/* What a key may be, in words. */
static void
allowed(const struct key *key, char *text, size_t room)
{
    switch (key->kind) {
    case PATH:
    case SOCKET:
        append(text, room, "an absolute path of at most %u bytes", key->size - 1);
        break;
    case PREFIX:
        append(
            text, room,
            "1 to %u of A-Z a-z 0-9 _ -, no dash first, and not leat- with 16 hexadecimal digits, "
            "which is what a socket's path gives",
            key->size - 1);
        break;
    case WORD:
    case BOOL:
        for (const struct word *w = key->words; w->text; w++)
            append(text, room, "%s%s", w == key->words ? "" : ", ", w->text);
        break;
    case USER:
        append(text, room, "the name or number of a user");
        break;
    case GROUP:
        append(text, room, "the name or number of a group");
        break;
    case OCTAL:
        append(text, room, "an octal number up to %" PRIo64, key->max);
        break;
    case TIME:
        append(text, room, "0, or a number with ns, us, ms, s, m, h, d or w");
        break;
    case COUNT:
    case BYTES:
        append(text, room, "a number from %" PRIu64 " to %" PRIu64 "%s", key->min, key->max,
               key->kind == BYTES ? ", with K, M, G or T if you like" : "");
        break;
    }
}

static const struct key *
find_key(const struct key *keys, const char *name)
{
    for (; keys->name; keys++)
        if (!strcmp(keys->name, name))
            return keys;
    return NULL;
}

/* Says in `error` that the key or the value is not one. */
static int
refuse(const struct key *keys, const struct key *key, const char *name, const char *value,
       char *error)
{
    if (key) {
        append(error, CONFIG_ERROR, "%s cannot be '%.80s'; allowed: ", name, value);
        allowed(key, error, CONFIG_ERROR);
        return -EINVAL;
    }
    append(error, CONFIG_ERROR, "unknown key '%.80s'; allowed: ", name);
    for (const struct key *k = keys; k->name; k++)
        append(error, CONFIG_ERROR, "%s%s", k == keys ? "" : ", ", k->name);
    return -EINVAL;
}

int
config_set(struct config *c, const char *name, const char *value, char error[CONFIG_ERROR])
{
    const struct key *key = find_key(bus_keys, name);

    if (key && !set_value(key, c, value))
        return 0;
    error[0] = '\0';
    return refuse(bus_keys, key, name, value, error);
}

/* --- files ------------------------------------------------------------------------------------ */

/* One file while it is read. libinih cuts sections at 50 bytes and lines at 200, and joins indented lines to the
 * one before; so the reader hands it lines without indentation, and keeps sections to itself. */
struct file {
    struct config *config;
    FILE *from;
    const char *path;
    uint32_t line;
    bool bus;                 /* in [bus] */
    bool topic;               /* in [topic ...]: the last rule */
    char error[CONFIG_ERROR]; /* of the first mistake; empty: none yet */
};

static int mistake(struct file *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int
mistake(struct file *f, const char *format, ...)
{
    va_list args;

    if (f->error[0])
        return 0;
    (void)snprintf(f->error, sizeof f->error, "%.200s:%u: ", f->path, f->line);
    va_start(args, format);
    (void)vsnprintf(f->error + strlen(f->error), sizeof f->error - strlen(f->error), format, args);
    va_end(args);
    return 0;
}

static int
add_rule(struct file *f, const char *pattern)
{
    static const char good[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-*?";
    struct config *c = f->config;
    size_t len = strlen(pattern);
    struct config_rule *rules, *rule;

    if (!len || len > LIMIT_TOPIC_NAME || strspn(pattern, good) != len)
        return mistake(f,
                       "'%.80s' is no pattern; allowed: 1 to %d of A-Z a-z 0-9 . _ - and * "
                       "for any run of characters, ? for one",
                       pattern, LIMIT_TOPIC_NAME);
    rules = reallocarray(c->rules, c->rule_count + 1, sizeof *rules);
    if (!rules)
        return mistake(f, "out of memory");
    c->rules = rules;
    rule = &rules[c->rule_count];
    *rule = (struct config_rule){.line = f->line, .file = strdup(f->path)};
    if (!rule->file)
        return mistake(f, "out of memory");
    memcpy(rule->pattern, pattern, len + 1);
    c->rule_count++;
    f->topic = true;
    return 0;
}

/* `text` is what stands between the brackets. */
static void
begin_section(struct file *f, char *text)
{
    char *name = text + strspn(text, " \t"), *rest;
    size_t len = strlen(name);

    while (len && strchr(" \t", name[len - 1]))
        name[--len] = '\0';
    f->bus = f->topic = false;
    rest = name + strcspn(name, " \t");
    if (!strcmp(name, "bus")) {
        f->bus = true;
        return;
    }
    if (strncmp(name, "topic", 5) != 0 || rest != name + 5) {
        mistake(f, "unknown section [%.80s]; allowed: [bus], [topic PATTERN]", name);
        return;
    }
    add_rule(f, rest + strspn(rest, " \t"));
}

/* Gives libinih the next line that is its business: the signature is that of fgets. */
static char *
next_line(char *to, int room, void *stream)
{
    struct file *f = stream;
    char line[LINE_MAX_LEN + 3], *start, *close;
    size_t len;

    if (!fgets(line, sizeof line, f->from))
        return NULL;
    f->line++;
    len = strcspn(line, "\r\n");
    if (!line[len] && !feof(f->from)) {
        mistake(f, "the line is longer than %d bytes, or has a zero byte", LINE_MAX_LEN);
        return NULL;
    }
    line[len] = '\0';
    start = line;
    if (f->line == 1 && !strncmp(start, "\xef\xbb\xbf", 3))
        start += 3;
    start += strspn(start, " \t");
    if (*start == '[') {
        close = strchr(start, ']');
        if (close && !close[1 + strspn(close + 1, " \t")]) {
            *close = '\0';
            begin_section(f, start + 1);
        } else {
            mistake(f, "a section is written [bus] or [topic PATTERN], alone on its line");
        }
        start = line + len;
    }
    (void)snprintf(to, (size_t)room, "%s\n", start);
    return to;
}

static int
take(void *user, const char *section, const char *name, const char *value)
{
    struct file *f = user;
    struct config *c = f->config;
    struct config_rule *rule = f->topic ? &c->rules[c->rule_count - 1] : NULL;
    const struct key *keys = rule ? topic_keys : bus_keys, *key = find_key(keys, name);
    char error[CONFIG_ERROR] = "";

    (void)section;
    if (!f->bus && !rule)
        return mistake(f, "'%.80s' stands in no section; allowed: [bus], [topic PATTERN]", name);
    if (!key || set_value(key, rule ? (void *)&rule->topic : (void *)c, value)) {
        (void)refuse(keys, key, name, value, error);
        return mistake(f, "%s", error);
    }
    if (rule) {
        rule->given |= 1u << (key - topic_keys);
        if (key - topic_keys == CONFIG_DECLARE && rule->topic.declare &&
            shm_name_check(rule->pattern))
            return mistake(f, "declare = yes needs a name, and [topic %.80s] %s", rule->pattern,
                           strpbrk(rule->pattern, "*?") ? "is a pattern"
                                                        : shm_name_check(rule->pattern));
    }
    return 1;
}

static int
load_file(struct config *c, const char *path, char error[CONFIG_ERROR])
{
    struct file f = {.config = c, .path = path};
    int r;

    f.from = fopen(path, "re");
    if (!f.from) {
        r = -errno;
        (void)snprintf(error, CONFIG_ERROR, "%.300s: %s", path, strerror(-r));
        return r;
    }
    r = ini_parse_stream(next_line, &f, take, &f);
    if (r && !f.error[0]) {
        f.line = r > 0 ? (uint32_t)r : f.line;
        mistake(&f, "neither [section] nor key = value");
    } else if (ferror(f.from)) {
        mistake(&f, "%s", strerror(errno));
    }
    (void)fclose(f.from);
    if (!f.error[0])
        return 0;
    memcpy(error, f.error, sizeof f.error);
    return -EINVAL;
}

static int
is_conf(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return entry->d_name[0] != '.' && len > 5 && !strcmp(entry->d_name + len - 5, ".conf");
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int
load_directory(struct config *c, const char *dir, char error[CONFIG_ERROR])
{
    struct dirent **list;
    char path[CONFIG_PATH + 300];
    int n = scandir(dir, &list, is_conf, by_name), r = 0;

    if (n < 0) {
        r = -errno;
        if (r == -ENOENT)
            return 0;
        (void)snprintf(error, CONFIG_ERROR, "%.300s: %s", dir, strerror(-r));
        return r;
    }
    for (int i = 0; i < n; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, list[i]->d_name);
        if (!r)
            r = load_file(c, path, error);
        free(list[i]);
    }
    free(list);
    return r;
}

int
config_load(struct config *c, const char *path, bool must, char error[CONFIG_ERROR])
{
    const char *slash = strrchr(path, '/');
    char dir[CONFIG_PATH];
    int r;

    if (strlen(path) + sizeof "/conf.d" > sizeof dir) {
        (void)snprintf(error, CONFIG_ERROR, "%.300s: longer than %d bytes", path, CONFIG_PATH - 8);
        return -ENAMETOOLONG;
    }
    r = load_file(c, path, error);
    if (r && (r != -ENOENT || must))
        return r;
    if (slash)
        (void)snprintf(dir, sizeof dir, "%.*s/conf.d", (int)(slash - path), path);
    else
        (void)snprintf(dir, sizeof dir, "conf.d");
    return load_directory(c, dir, error);
}

/* --- defaults and rules ----------------------------------------------------------------------- */

/* $NAME if it is an absolute path, else $HOME and `rest`. */
static void
user_directory(const char *name, const char *rest, char ret[CONFIG_PATH])
{
    const char *dir = getenv(name), *home = getenv("HOME");

    if (dir && *dir == '/')
        (void)snprintf(ret, CONFIG_PATH, "%s", dir);
    else
        (void)snprintf(ret, CONFIG_PATH, "%s%s", home && *home == '/' ? home : "", rest);
}

void
config_default_path(bool user, char ret[CONFIG_PATH])
{
    char dir[CONFIG_PATH];

    if (!user) {
        (void)snprintf(ret, CONFIG_PATH, "/etc/leat/leat.conf");
        return;
    }
    user_directory("XDG_CONFIG_HOME", "/.config", dir);
    (void)snprintf(ret, CONFIG_PATH, "%.900s/leat/leat.conf", dir);
}

int
config_init(struct config *c, bool user)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    char state[CONFIG_PATH];
    int n;

    *c = (struct config){.io = "auto",
                         .mode = user ? 0600 : 0666,
                         .membarrier = 1,
                         .keep = 1,
                         .user_sessions = 512,
                         .user_topics = 512,
                         .user_shm = 1ull << 30};
    if (!user) {
        memcpy(c->socket, "/run/leat/bus", sizeof "/run/leat/bus");
        memcpy(c->store, "/var/lib/leat", sizeof "/var/lib/leat");
        return 0;
    }
    if (runtime && *runtime == '/')
        n = snprintf(c->socket, sizeof c->socket, "%s/leat/bus", runtime);
    else
        n = snprintf(c->socket, sizeof c->socket, "/tmp/leat-%u/bus", (unsigned)getuid());
    if (n < 0 || (size_t)n >= sizeof c->socket)
        return -ENAMETOOLONG;
    user_directory("XDG_STATE_HOME", "/.local/state", state);
    n = snprintf(c->store, sizeof c->store, "%s/leat", state);
    return n < 0 || (size_t)n >= sizeof c->store ? -ENAMETOOLONG : 0;
}

void
config_free(struct config *c)
{
    for (uint32_t i = 0; i < c->rule_count; i++)
        free(c->rules[i].file);
    free(c->rules);
    c->rules = NULL;
    c->rule_count = 0;
}

struct config_topic
config_topic_default(void)
{
    return (struct config_topic){.depth = 4096,
                                 .slot_size = 64,
                                 .lane_size = 4u << 20,
                                 .max_publishers = 16,
                                 .max_subscribers = 128,
                                 .retention_bytes = 1u << 30,
                                 .mode = 0600};
}

uint32_t
config_resolve(const struct config *c, const char *name, struct config_topic *ret)
{
    struct config_topic t = config_topic_default();
    uint32_t given = 0;

    for (uint32_t i = 0; i < c->rule_count; i++) {
        const struct config_rule *rule = &c->rules[i];
        if (!shm_name_matches(rule->pattern, name))
            continue;
        given |= rule->given;
        for (const struct key *k = topic_keys; k->name; k++)
            if (rule->given & 1u << (k - topic_keys))
                memcpy((char *)&t + k->at, (const char *)&rule->topic + k->at, k->size);
    }
    *ret = t;
    return given;
}

/* --- printing --------------------------------------------------------------------------------- */

static void
print_number(const struct key *key, uint64_t value, FILE *to)
{
    const struct word *words = key->words;

    if (words) {
        while (words->text && words->value != value)
            words++;
        (void)fputs(words->text ? words->text : "?", to);
        return;
    }
    if (key->kind == OCTAL)
        (void)fprintf(to, "0%" PRIo64, value);
    else
        (void)fprintf(to, "%" PRIu64 "%s", value, key->kind == TIME && value ? "ns" : "");
}

static void
print_key(const struct key *key, const void *from, FILE *to)
{
    const char *field = (const char *)from + key->at;
    uint64_t value = 0;

    (void)fprintf(to, "%s = ", key->name);
    if (key->kind == PATH || key->kind == SOCKET || key->kind == PREFIX || key->words == ios) {
        (void)fputs(field, to);
    } else {
        memcpy(&value, field, key->size); /* little-endian, as the whole project is */
        print_number(key, value, to);
    }
    (void)fputc('\n', to);
}

void
config_print(const struct config *c, FILE *to)
{
    (void)fputs("[bus]\n", to);
    for (const struct key *k = bus_keys; k->name; k++)
        if (k->kind != PREFIX || c->prefix[0])
            print_key(k, c, to);
    for (uint32_t i = 0; i < c->rule_count; i++) {
        const struct config_rule *rule = &c->rules[i];
        (void)fprintf(to, "\n# %s:%u\n[topic %s]\n", rule->file, rule->line, rule->pattern);
        for (const struct key *k = topic_keys; k->name; k++)
            if (rule->given & 1u << (k - topic_keys))
                print_key(k, &rule->topic, to);
    }
}
