/* fuzz_seeds DIR writes the inputs from which the fuzz targets start, DIR/fuzz_x/seed-*; fuzz_seeds --check DIR says whether
 * those that are there are these. They are the ordinary cases, in the words that each target reads: from them it is not
 * far to what is not ordinary. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "wire/wire.h"

#define ROOM 4096

struct seed {
    unsigned char bytes[ROOM];
    size_t len;
};

static const char *root;
static bool check;
static unsigned wrong, count;

/* --- writing ---------------------------------------------------------------------------------- */

static void
complain(const char *path, const char *what)
{
    (void)fprintf(stderr, "%s: %s\n", path, what);
    wrong++;
}

static void
compare(const char *path, const struct seed *s)
{
    unsigned char there[ROOM + 1];
    FILE *f = fopen(path, "rbe");
    size_t n;

    if (!f) {
        complain(path, strerror(errno));
        return;
    }
    n = fread(there, 1, sizeof there, f);
    (void)fclose(f);
    if (n != s->len || memcmp(there, s->bytes, n) != 0)
        complain(path, "is another one; run fuzz_seeds");
}

static void
save(const char *target, const char *name, const struct seed *s)
{
    char path[1024];
    FILE *f;

    count++;
    (void)snprintf(path, sizeof path, "%s/fuzz_%s", root, target);
    if (!check && mkdir(path, 0755) && errno != EEXIST)
        complain(path, strerror(errno));
    (void)snprintf(path, sizeof path, "%s/fuzz_%s/seed-%s", root, target, name);
    if (check) {
        compare(path, s);
        return;
    }
    f = fopen(path, "wbe");
    if (!f || fwrite(s->bytes, 1, s->len, f) != s->len)
        complain(path, strerror(errno));
    if (f && fclose(f))
        complain(path, strerror(errno));
}

static void
add(struct seed *s, const void *bytes, size_t len)
{
    if (len > ROOM - s->len)
        len = ROOM - s->len;
    memcpy(s->bytes + s->len, bytes, len);
    s->len += len;
}

static void
byte(struct seed *s, unsigned value)
{
    unsigned char b = (unsigned char)value;

    add(s, &b, 1);
}

#define BYTES(s, ...)                                                                              \
    add((s), (const unsigned char[]){__VA_ARGS__}, sizeof((const unsigned char[]){__VA_ARGS__}))

static void
save_bytes(const char *target, const char *name, const void *bytes, size_t len)
{
    struct seed s = {.len = 0};

    add(&s, bytes, len);
    save(target, name, &s);
}

#define SAVE(target, name, ...)                                                                    \
    save_bytes((target), (name), (const unsigned char[]){__VA_ARGS__},                             \
               sizeof((const unsigned char[]){__VA_ARGS__}))

/* --- fuzz_wire -------------------------------------------------------------------------------- */

/* How a packet is taken: right length, header made right; through the socket too. */
enum { WIRE_RIGHT = 32 | 64, WIRE_SOCKET = 128, WIRE_ANSWER = 16, WIRE_WHOLE = 2 };

static void
name_it(union wire_any *p)
{
    switch (p->h.type) {
    case WIRE_HELLO:
        p->hello.oldest = p->hello.newest = WIRE_VERSION;
        break;
    case WIRE_SUB_OPEN:
        memcpy(p->sub_open.topic, "orders", sizeof "orders");
        memcpy(p->sub_open.name, "billing", sizeof "billing");
        break;
    case WIRE_SUB_REMOVE:
        memcpy(p->sub_remove.topic, "orders", sizeof "orders");
        memcpy(p->sub_remove.name, "billing", sizeof "billing");
        break;
    case WIRE_LOG_OPEN:
        p->position.start = WIRE_AT_SEQ;
        break;
    case WIRE_PUB_CLOSE:
    case WIRE_SUB_CLOSE:
    case WIRE_POSITION:
    case WIRE_RING:
        break;
    default:
        memcpy(p->topic.name, "orders", sizeof "orders");
    }
}

static void
wire_seeds(void)
{
    struct seed all = {.len = 0}, answer = {.len = 0};
    union wire_any p;
    char name[32];

    for (unsigned type = 1; type < WIRE_TYPES; type++) {
        struct seed s = {.len = 0};
        uint32_t len = wire_request_size((uint16_t)type);
        wire_begin(&p, len, (enum wire_type)type, 7);
        name_it(&p);
        byte(&s, WIRE_RIGHT | type);
        byte(&s, WIRE_WHOLE);
        add(&s, &p, len);
        (void)snprintf(name, sizeof name, "type-%02u", type);
        save("wire", name, &s);
        if (len < 50)
            add(&all, s.bytes, s.len);
    }
    save("wire", "several", &all);
    wire_begin(&p, sizeof p.answer, WIRE_PUB_OPEN, 2);
    p.answer.fds = 2;
    byte(&answer, WIRE_RIGHT | WIRE_SOCKET | WIRE_ANSWER | WIRE_PUB_OPEN);
    byte(&answer, WIRE_WHOLE);
    add(&answer, &p, sizeof p.answer);
    BYTES(&answer, WIRE_PUB_OPEN, 2, 2);
    save("wire", "answer", &answer);
    SAVE("wire", "short", WIRE_SOCKET | WIRE_HELLO, 0, 8, 0, 4, 24, 0, 0, 0, 3);
    SAVE("wire", "long", WIRE_SOCKET | WIRE_HELLO, 1, 0xbc, 2, 0, 0, 4);
}

/* --- fuzz_ring -------------------------------------------------------------------------------- */

/* Steps: 0 scribble, 3 publisher, 5 reader, 7 cursor, 8 entry, 9 check, 10 join, 11 cut. */
static void
ring_seeds(void)
{
    /* Join as publisher 0, publish two batches, receive, check. */
    SAVE("ring", "in-order", 0, 3, 0, 0, 0, 0, 3, 0, 2, 3, 0, 10, 20, 30, 3, 0, 2, 2, 0, 5, 6, 5, 0,
         2, 39, 9);
    /* Through the lane, until it is full, with a cursor that gates. */
    SAVE("ring", "lane", 0, 7, 0, 1, 0, 1, 3, 0, 0, 0, 0, 3, 0, 2, 3, 0, 210, 220, 230, 3, 0, 2, 3,
         0, 210, 220, 230, 3, 0, 2, 3, 0, 210, 220, 230, 3, 0, 1, 3, 0, 4, 5, 0, 2, 39, 9);
    /* More than a lap, without anybody who gates. */
    SAVE("ring", "overrun", 1, 3, 0, 0, 0, 0, 3, 0, 2, 7, 0, 1, 1, 1, 1, 1, 1, 1, 3, 0, 2, 7, 0, 1,
         1, 1, 1, 1, 1, 1, 3, 0, 2, 7, 0, 1, 1, 1, 1, 1, 1, 1, 5, 0, 2, 39, 6, 1, 2, 39, 9);
    /* A dead publisher's claim: tail moved by hand, entry killed, settled. */
    SAVE("ring", "orphan", 0, 0, 0, 3, 2, 8, 0, 1, 8, 0, 5, 9, 5, 0, 2, 10, 8, 0, 2);
    /* A living one's intent covers it. */
    SAVE("ring", "intent", 0, 0, 6, 0, 0, 8, 0, 2, 0, 0, 3, 2, 8, 0, 5, 9);
    /* Stamps of another lap, meta that lies, positions beyond. */
    SAVE("ring", "stamps", 2, 0, 2, 0, 0, 5, 3, 2, 0, 2, 1, 3, 7, 0xff, 0xff, 0, 0, 0, 0, 3, 4, 9,
         5, 0, 2, 20);
    SAVE("ring", "cursors", 2, 7, 1, 2, 0, 2, 7, 2, 0, 0, 1, 7, 2, 3, 3, 7, 1, 0, 1, 7, 1, 0, 2, 7,
         0, 0, 4, 1, 7, 0, 0, 5, 7, 0, 0, 6, 9);
    SAVE("ring", "joins", 3, 10, 0, 10, 1, 10, 2, 10, 3, 11, 0, 2, 0, 1, 1, 0, 8, 0, 1, 4, 10, 3);
    SAVE("ring", "set-down", 0, 3, 0, 0, 0, 0, 3, 0, 2, 4, 0, 1, 2, 3, 4, 5, 0, 0, 0xfe, 5, 0, 2, 9,
         6, 1, 1, 0, 0xfd);
}

/* --- segments, in fuzz_log, fuzz_recover, fuzz_inspect ---------------------------------------- */

/* A batch of n messages of `len` bytes, which says that all before it was durable. */
static void
add_batch(struct seed *s, unsigned n, unsigned len)
{
    BYTES(s, 1, 8, (unsigned char)n);
    for (unsigned i = 0; i < n; i++)
        BYTES(s, 0, (unsigned char)len);
}

/* A message in pieces: the batch takes one, and the next ones go on. */
static void
add_pieces(struct seed *s)
{
    BYTES(s, 1, 8, 1, 16, 100, 40, 1, 8, 1, 0, 20, 1, 8, 1, 0, 255);
}

static void
add_segment(struct seed *s)
{
    add_batch(s, 3, 10);
    add_batch(s, 1, 230);
    add_pieces(s);
    add_batch(s, 2, 0);
}

static void
log_seeds(void)
{
    struct seed sound = {.len = 0}, big = {.len = 0}, spoilt = {.len = 0}, torn = {.len = 0};

    BYTES(&sound, 0, 0);
    add_segment(&sound);
    BYTES(&sound, 0, 0, 1);
    save("log", "sound", &sound);
    BYTES(&big, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0, 1, 9, 5, 0, 250, 0, 245, 0, 240, 0, 0, 1, 1, 1, 2, 0,
          255, 0, 255, 0, 0);
    save("log", "big", &big);
    BYTES(&spoilt, 0, 4);
    add_segment(&spoilt);
    BYTES(&spoilt, 6, 1, 2 | 8 | 16 | 32, 24, 9, 0, 0, 0, 0, 0, 0);
    save("log", "rehashed", &spoilt);
    BYTES(&torn, 0, 0);
    add_segment(&torn);
    BYTES(&torn, 9, 2, 4 | 1, 0, 0, 0, 0);
    save("log", "torn", &torn);
    SAVE("log", "witness", 0, 0, 1, 8, 1, 0, 5, 1, 8, 1, 0, 5, 1, 8, 1, 0, 5, 9, 1, 8, 2, 0, 0, 0);
    SAVE("log", "old-bytes", 0, 4, 1, 8, 1, 0, 5, 1, 8, 1, 0, 5, 8, 0x12, 0, 0, 0, 0);
    SAVE("log", "header", 0, 0, 10, 8 | 2, 8, 1, 0, 0, 0, 0);
    SAVE("log", "aborted", 0, 0, 1, 2 | 8, 0, 9, 1, 2 | 8, 1, 4 | 8, 5, 3, 0xff, 0, 0, 0, 7, 0, 0);
    SAVE("log", "topic", 8, 3, 0, 0);
    SAVE("log", "cursors", 9, 15, 0);
    SAVE("log", "index", 10, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0);
    save_bytes("log", "name",
               "\013"
               "00000000000000000017.seg",
               25);
}

/* What folder_build reads: one segment behind the other, topic, cursors, strangers. */
static void
add_folder(struct seed *s, bool two)
{
    BYTES(s, 0, two ? 1 : 0);
    add_segment(s);
    byte(s, 0);
    if (two) {
        BYTES(s, 0, 0, 0, 0, 0);
        add_segment(s);
        byte(s, 0);
    }
    BYTES(s, 0, 1, 0, 3, 1, 5, 0);
}

static void
recover_seeds(void)
{
    struct seed one = {.len = 0}, two = {.len = 0}, torn = {.len = 0}, strange = {.len = 0};

    add_folder(&one, false);
    BYTES(&one, 20, 5, 200, 5, 100, 5, 0, 255);
    save("recover", "one-segment", &one);
    add_folder(&two, true);
    BYTES(&two, 7, 1, 2, 3);
    save("recover", "two-segments", &two);
    BYTES(&torn, 0, 0);
    add_segment(&torn);
    BYTES(&torn, 9, 2, 4 | 1, 0, 0, 0, 0, 0, 5, 9, 9);
    save("recover", "torn", &torn);
    SAVE("recover", "never-begun", 0, 0, 0, 0, 0, 0, 3, 4);
    SAVE("recover", "missing", 0, 0xf1, 1, 8, 1, 0, 5, 0, 0, 0, 0, 0, 0, 1, 8, 1, 0, 5, 0);
    add_folder(&strange, false);
    strange.len--;
    BYTES(&strange, 3, 0xe0, 0xf7, 2, 4, 9, 9);
    save("recover", "strangers", &strange);
}

static void
inspect_seeds(void)
{
    struct seed log = {.len = 0}, both = {.len = 0};

    byte(&log, 1 | 4);
    add_folder(&log, true);
    BYTES(&log, 1, 0, 0, 0, 0, 0, 0, 0, 0, 31);
    save("inspect", "log", &log);
    byte(&both, 3 | 4);
    add_folder(&both, false);
    BYTES(&both, 0, 4 | 8, 2, 3, 10, 100, 200, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 15);
    save("inspect", "both", &both);
    SAVE("inspect", "ring", 2 | 4, 0, 0, 1, 20, 9, 9, 200, 100, 9, 9, 9, 0, 0, 0, 0, 0, 31);
    SAVE("inspect", "copy-cut", 2, 0x32, 0, 1, 3, 9, 9, 9, 0, 0, 16, 0);
    SAVE("inspect", "no-control", 2 | 4, 0x81, 0, 1, 3, 9, 9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 15);
    SAVE("inspect", "nothing", 0);
    SAVE("inspect", "intent", 2 | 4, 0, 1, 1, 2, 9, 9, 2, 6, 0, 0, 8, 0, 2, 0, 0, 3, 2, 1, 0, 0, 0,
         0, 0, 0, 0, 0, 3);
}

/* --- fuzz_config ------------------------------------------------------------------------------ */

static void
save_text(const char *name, unsigned how, const char *text)
{
    struct seed s = {.len = 0};

    byte(&s, how);
    add(&s, text, strlen(text));
    save("config", name, &s);
}

static void
config_seeds(void)
{
    save_text("bus", 0,
              "[bus]\nsocket = /run/leat/bus\nstore = /var/lib/leat\nprefix = leat-x\n"
              "io = block\nmode = 0660\nmembarrier = off\nkeep = no\nuser_sessions = 10\n"
              "user_topics = 5\nuser_shm = 64M\n");
    save_text("topic", 2,
              "# all of them\n[topic orders.*]\ndepth = 64K\nslot_size = 128\nlane_size = 1M\n"
              "max_publishers = 4\nmax_subscribers = 9\ndurability = disk\nwhen_full = block\n"
              "retention_bytes = 10G\nretention_ns = 7d\nretain_until_acked = yes\nmode = 0640\n"
              "owner = root\ngroup = 0\ntimestamps = precise\nlag = 500ms\ncreate = yes\n");
    save_text("declared", 0, "[topic ticks]\ndeclare = yes\nwhen_full = overwrite\n");
    save_text("pattern-declared", 0, "[topic t*]\ndeclare = yes\n");
    save_text("two-files", 1, "[topic *]\ndepth = 8\n\xff[topic a?c]\ndepth = 16\n; more\n");
    save_text("unknown-key", 0, "[bus]\nsockte = /x\n");
    save_text("unknown-section", 0, "[buss]\n");
    save_text("no-section", 0, "depth = 8\n");
    save_text("bad-values", 0, "[topic x]\ndepth = 7\n");
    save_text("overflow", 0, "[topic x]\nretention_bytes = 99999999999999999999T\n");
    save_text("mark-and-crlf", 0, "\xef\xbb\xbf[bus]\r\n  mode = 0600\r\n");
    save_text("no-newline", 0, "[topic x]\ndepth = 8");
    save_text("unclosed", 0, "[topic x\ndepth = 8\n");
}

/* --- fuzz_session ----------------------------------------------------------------------------- */

/* Steps are a client and what it does: 0 connect and say HELLO, 1 to 12 a request of that type, 16 truncate, 17 restart,
 * 18 die, 20 scribble, 24 work, 39 wait and take answers. After a request's type comes how it is spoilt: 0, not at all. */
static void
add_topic(struct seed *s, unsigned name)
{
    BYTES(s, 0, 0, 0, 0, 0, 0, 2, 0, (unsigned char)name, 0, 0, 0, 5, 0, (unsigned char)name, 0, 7,
          0, (unsigned char)name, 0, 0, 1, 0, 0, 39, 1, 0, 39, 1);
}

/* Publishes, waits for it to be durable, acknowledges. */
static void
add_work(struct seed *s)
{
    BYTES(s, 0, 24, 2, 7, 2, 0, 24, 2, 0, 40, 0, 24, 3, 8 | 16, 0, 39, 7, 0, 39, 7, 0, 24, 2, 0, 4,
          0, 24, 3, 8 | 32, 0, 39, 255, 0, 39, 7, 0, 24, 2, 1, 1, 0, 24, 3, 8 | 32, 0, 39, 7);
}

/* One who gates and does not move, and a publisher who fills the ring. */
static void
add_laggard(struct seed *s)
{
    BYTES(s, 0, 0, 0, 0, 0, 0, 2, 0, 5, 0, 0, 0, 5, 0, 5, 0, 7, 0, 5, 0, 1, 0, 0, 0, 39, 1, 0, 39,
          1);
    for (int i = 0; i < 6; i++)
        BYTES(s, 0, 24, 2, 3, 1);
    BYTES(s, 0, 39, 255, 0, 24, 2, 3, 1, 0, 39, 255);
}

static void
session_seeds(void)
{
    struct seed memory = {.len = 0}, disk = {.len = 0}, restart = {.len = 0}, cut = {.len = 0},
                harm = {.len = 0}, lag = {.len = 0};

    add_topic(&memory, 0);
    add_work(&memory);
    BYTES(&memory, 0, 4, 0, 0, 0, 11, 0, 2, 4, 3, 0, 12, 0, 2, 0, 2, 0, 0, 1, 0, 1, 0, 6, 0, 2, 0,
          8, 0, 3, 0, 39, 1, 0, 3, 0, 0, 0, 39, 1);
    save("session", "memory", &memory);
    add_topic(&disk, 1);
    add_work(&disk);
    BYTES(&disk, 0, 10, 0, 2, 4, 0, 39, 1, 0, 7, 0, 1, 1, 2, 1, 0, 0, 39, 1, 0, 24, 4, 32, 0, 39,
          255, 0, 11, 0, 2, 3, 3, 0, 17, 0, 9, 0, 1, 1, 0, 18, 0, 39, 7);
    save("session", "disk", &disk);
    add_topic(&restart, 1);
    add_work(&restart);
    BYTES(&restart, 0, 17, 0, 0, 0, 0, 0, 39, 1, 0, 5, 0, 1, 0, 39, 1);
    add_work(&restart);
    save("session", "restart", &restart);
    add_topic(&cut, 0);
    BYTES(&cut, 0, 16, 2, 0, 1, 0, 0, 12, 0, 2, 0, 39, 3);
    save("session", "truncated", &cut);
    add_topic(&harm, 0);
    BYTES(&harm, 0, 20, 2, 0, 0, 12, 5, 0, 0, 12, 0, 2, 0, 39, 3, 0, 18, 0, 39, 3);
    save("session", "scribbled", &harm);
    add_laggard(&lag);
    save("session", "laggard", &lag);
    SAVE("session", "stranger", 0, 0, 1, 0, 0, 0, 5, 0, 3, 0, 5, 0, 0, 0, 2, 0, 7, 0, 0, 0, 39, 1);
    SAVE("session", "garbage", 0, 19, 0, 0, 13, 20, 0, 24, 0, 0, 0, 1, 0, 1, 0, 0, 39, 1);
}

/* --- fuzz_client ------------------------------------------------------------------------------ */

/* Which topic, how two subscribers subscribe; then steps: 0 scribble, 2 publish, 4 subscribe, 7 look. */
static void
client_seeds(void)
{
    struct seed disk = {.len = 0};

    SAVE("client", "memory", 0, 9, 8, 2, 4, 10, 2, 4, 220, 2, 0, 4, 1, 2, 3, 4, 5, 4, 0, 6, 39, 4,
         1, 5, 4, 0, 4, 2, 1, 0, 100, 2, 1, 0, 100, 0, 4, 0, 2, 1, 4, 0, 7, 39, 7);
    SAVE("client", "overwrite", 1, 8, 8, 2, 0, 11, 1, 1, 1, 1, 1, 1, 1, 1, 2, 0, 7, 1, 1, 1, 1, 1,
         1, 1, 1, 2, 0, 7, 1, 1, 1, 1, 1, 1, 1, 1, 4, 0, 6, 39, 4, 1, 0, 1, 0, 0, 4, 1, 6, 39);
    BYTES(&disk, 3, 13, 9, 2, 0, 7, 1, 20, 210, 1, 1, 1, 1, 1, 2, 2, 4, 0, 6, 39, 4, 0, 3, 4, 4, 1,
          6, 39);
    for (int i = 0; i < 6; i++)
        BYTES(&disk, 2, 0, 7, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2);
    BYTES(&disk, 4, 1, 6, 39, 4, 1, 0, 1, 0, 0, 4, 1, 6, 39, 7);
    save("client", "disk", &disk);
    SAVE("client", "full", 0, 9, 8, 2, 0, 7, 1, 1, 1, 1, 1, 1, 1, 1, 2, 0, 7, 1, 1, 1, 1, 1, 1, 1,
         1, 2, 4, 1, 4, 0, 6, 39, 2, 4, 1);
    SAVE("client", "harm", 0, 9, 8, 2, 4, 10, 0, 0, 0, 2, 3, 2, 4, 220, 0, 0, 2, 0, 0, 5, 1, 2, 4,
         0, 6, 39, 4, 1, 6, 39, 2, 4, 5);
}

int
main(int argc, char **argv)
{
    check = argc == 3 && !strcmp(argv[1], "--check");
    if (argc != 2 && !check) {
        (void)fprintf(stderr, "usage: fuzz_seeds [--check] CORPUS\n");
        return 2;
    }
    root = argv[argc - 1];
    wire_seeds();
    ring_seeds();
    log_seeds();
    recover_seeds();
    inspect_seeds();
    config_seeds();
    session_seeds();
    client_seeds();
    (void)printf("%u seeds, %u wrong\n", count, wrong);
    return wrong ? 1 : 0;
}
