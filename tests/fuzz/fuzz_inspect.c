/* A directory with what somebody copied from a bus, in any state, against whoever looks at it: the library's inspection, and the
 * tool's verbs that show and check.
 *
 * Whatever is there, every list ends, every text is terminated, and a reader that follows the numbers it is given gets on. */
#include <errno.h>
#include <fcntl.h>
#include <leat.h>
#include <signal.h>
#include <unistd.h>

#include "tests/fuzz/folder.h"
#include "tests/fuzz/place.h"
#include "tests/fuzz/scribble.h"
#include "tools/cli.h"
#include "tools/verify.h"

#define TOPIC "a.topic"
#define COPY "copy"
#define TOPICS_MAX 16
#define READS_MAX 200
/* A message's room: some are longer. */
#define ROOM 1000

#if defined(LEAT_SANITIZED)
extern void __sanitizer_set_report_fd(void *fd);
#define REPORT_TO(fd) __sanitizer_set_report_fd((void *)(intptr_t)(fd))
#else
#define REPORT_TO(fd) ((void)0)
#endif

static struct folder folder = {.path = COPY "/" TOPIC, .name = TOPIC};
static char copy_path[PLACE_PATH + 8];

/* --- the memory ------------------------------------------------------------------------------- */

struct objects {
    struct ring_view view;
    struct ring_maps maps;
};

static uint64_t
word(void *user, bool control, uint64_t offset)
{
    const struct objects *o = user;
    uint64_t value;

    memcpy(&value, (char *)(control ? o->maps.control : o->maps.data) + offset, sizeof value);
    return value;
}

static void
make_objects(struct input *in, struct objects *o)
{
    uint8_t how = input_u8(in);
    const struct ring_identity who = {.name = TOPIC, .topic_id = FOLDER_TOPIC_ID, .created_ns = 1};
    struct ring_geometry g = {.depth = how & 1 ? 8 : 32,
                              .lane_size = 4096,
                              .slot_size = how & 2 ? 64 : 256,
                              .max_publishers = 2,
                              .max_cursors = 3,
                              .durability = how & 4 ? RING_DISK : RING_MEMORY,
                              .origin = how & 8 ? folder.next + !folder.next : 1};
    const char *what;
    uint32_t version;

    g.origin = g.origin >> 60 ? 1 : g.origin;
    MUST(!ring_plan(&g, &what));
    o->maps = (struct ring_maps){.data = aligned_alloc(SHM_PAGE, g.data_size),
                                 .control = aligned_alloc(SHM_PAGE, g.control_size),
                                 .data_size = g.data_size,
                                 .control_size = g.control_size};
    MUST(o->maps.data && o->maps.control);
    memset(o->maps.data, 0, g.data_size);
    memset(o->maps.control, 0, g.control_size);
    ring_format(o->maps.data, o->maps.control, &g, &who);
    MUST(!ring_join(&o->view, &o->maps, &version));
}

/* Some messages, a subscriber or two. */
static void
use_objects(struct input *in, struct objects *o)
{
    static const unsigned char bytes[LIMIT_SLOT_MAX];
    const struct ring_owner owner = {.pid = 1, .uid = 2, .start = 3, .name = "sub0"};
    struct ring_piece *pieces = calloc(ring_publisher_room(&o->view), sizeof *pieces);
    struct ring_out out = {.data = bytes};
    struct ring_publisher p;
    struct ring_span span;
    uint64_t pos = o->view.geo.origin, first;

    MUST(pieces);
    ring_entry_take(&o->view, 0, &owner);
    atom_store_release(&ring_entry(&o->view, 0)->lane, 1);
    ring_cursor_attach(&o->view, 1, (enum ring_cursor_kind)(input_u8(in) % 3), &owner, &pos);
    MUST(!ring_publisher_join(&p, &o->view, 0, pieces, true));
    for (unsigned n = input_u8(in) % 64; n; n--) {
        out.len = input_u8(in);
        out.span = NULL;
        if (out.len > ring_inline_max(&o->view)) {
            if (ring_reserve(&p, out.len, &span))
                break;
            memset(span.data, 7, out.len);
            out.span = &span;
        }
        if (ring_publish(&p, &out, 1, n, &first))
            break;
    }
    free(pieces);
}

static void
scribble(struct input *in, struct objects *o)
{
    struct scribble_target t = {.geo = o->view.geo,
                                .data_size = o->maps.data_size,
                                .control_size = o->maps.control_size,
                                .word = word,
                                .user = o};

    for (unsigned n = input_u8(in) & 15; n; n--) {
        struct scribble s = scribble_choose(in, &t);
        memcpy((char *)(s.control ? o->maps.control : o->maps.data) + s.offset, &s.value,
               sizeof s.value);
    }
}

/* Writes both, or one, cut or not, and the state as the daemon would say it. */
static void
write_objects(struct input *in)
{
    static const char *const names[] = {COPY "/leat-0123." TOPIC, COPY "/" TOPIC, COPY "/x"};
    uint8_t how = input_u8(in);
    const char *name = names[how % 3];
    struct objects o = {0};
    char path[64];

    make_objects(in, &o);
    use_objects(in, &o);
    if (how & 4) {
        struct ring_daemon *d = ring_daemon(&o.view);
        (void)input_bytes(in, d->reason, 16);
        atom_store_relaxed(&d->state, input_u8(in) % 6);
        atom_store_relaxed(&d->durable, input_u8(in));
    }
    scribble(in, &o);
    if ((how & 0x30) == 0x30)
        o.maps.data_size = input_u16(in) % o.maps.data_size;
    if ((how & 0xc0) == 0xc0)
        o.maps.control_size = input_u16(in) % o.maps.control_size;
    (void)snprintf(path, sizeof path, "%s.data", name);
    place_file(path, o.maps.data, o.maps.data_size, 0);
    (void)snprintf(path, sizeof path, "%s.control", name);
    if ((how & 0xc0) != 0x80)
        place_file(path, o.maps.control, o.maps.control_size, 0);
    free(o.maps.data);
    free(o.maps.control);
}

/* --- the library ------------------------------------------------------------------------------ */

static void
check_error(leat_inspect *i, int r)
{
    if (r < 0 && !leat_inspect_error(i)[0])
        (void)fprintf(stderr, "%d\n", r);
    MUST(r >= 0 || leat_inspect_error(i)[0]);
}

static void
look_at_handles(leat_inspect *i, const char *name)
{
    struct leat_inspect_pub pub;
    struct leat_inspect_sub sub;
    uint32_t at = 0, before;
    int r;

    do {
        before = at;
        r = leat_inspect_pub(i, name, &at, &pub);
        MUST(r != 1 || (at > before && pub.index >= before));
    } while (r == 1);
    check_error(i, r);
    at = 0;
    do {
        before = at;
        r = leat_inspect_sub(i, name, &at, &sub);
        MUST(r != 1 || (at > before && sub.index >= before));
        MUST(r != 1 || memchr(sub.name, 0, sizeof sub.name));
    } while (r == 1);
    check_error(i, r);
}

/* From a number on, as `leat cat` would. */
static void
read_messages(leat_inspect *i, const char *name, uint64_t from)
{
    unsigned char *buf = malloc(ROOM);
    struct leat_inspect_msg m = {.seq = from};

    MUST(buf);
    for (int n = 0; n < READS_MAX; n++) {
        uint64_t asked = m.seq ? m.seq : 1;
        int r = leat_inspect_read(i, name, buf, ROOM, &m);
        MUST(r <= 1);
        check_error(i, r);
        if (r < 0 || (!r && m.seq <= asked)) {
            MUST(r < 0 || m.seq == asked);
            break;
        }
        if (r == 1)
            MUST(m.seq == asked && m.len <= ROOM);
        m.seq += r == 1;
        if (!m.seq)
            break;
    }
    free(buf);
}

static void
look_at_topic(struct input *in, leat_inspect *i, const char *name)
{
    struct leat_topic_info info = {0};
    int r = leat_inspect_topic(i, name, &info);

    check_error(i, r);
    if (!r)
        MUST(memchr(info.reason, 0, sizeof info.reason));
    look_at_handles(i, name);
    read_messages(i, name, r ? 1 : info.first);
    read_messages(i, name, input_u8(in));
    read_messages(i, name, input_u64(in));
}

static void
look(struct input *in)
{
    char name[201] = "", before[201];
    leat_inspect *i = NULL;
    int r;

    MUST(!leat_inspect_open(copy_path, &i));
    for (int n = 0; n < TOPICS_MAX; n++) {
        memcpy(before, name, sizeof before);
        r = leat_inspect_next(i, name);
        check_error(i, r);
        if (r != 1)
            break;
        MUST(memchr(name, 0, sizeof name) && strcmp(name, before) > 0);
        look_at_topic(in, i, name);
    }
    look_at_topic(in, i, TOPIC);
    MUST(!leat_inspect_close(i));
}

/* --- the tool --------------------------------------------------------------------------------- */

/* `leat ring` takes the signals that stop a program for itself, and the alarm, by which the fuzzer watches the time. */
static void
show_ring(int argc, char **argv)
{
    static const int taken[] = {SIGINT, SIGTERM, SIGALRM};
    struct sigaction before[3];
    sigset_t alarm_only;

    (void)sigemptyset(&alarm_only);
    (void)sigaddset(&alarm_only, SIGALRM);
    for (int i = 0; i < 3; i++)
        (void)sigaction(taken[i], NULL, &before[i]);
    (void)sigprocmask(SIG_BLOCK, &alarm_only, NULL);
    (void)verb_ring(argc, argv);
    for (int i = 0; i < 3; i++)
        (void)sigaction(taken[i], &before[i], NULL);
    (void)sigprocmask(SIG_UNBLOCK, &alarm_only, NULL);
}

static void
show(struct input *in)
{
    char bus[] = "-b", json[] = "--json", topic[] = TOPIC, path[sizeof copy_path], verb[] = "verb";
    char *with[] = {verb, bus, path, topic, NULL},
         *with_json[] = {verb, bus, path, json, topic, NULL};
    char *check[] = {verb, path, NULL}, *check_json[] = {verb, json, path, NULL};
    uint8_t how = input_u8(in);
    int r = 0;

    memcpy(path, copy_path, sizeof path);
    if (how & 1)
        r = how & 16 ? verb_verify(3, check_json) : verb_verify(2, check);
    MUST(r == VERIFY_CLEAN || r == VERIFY_CUT || r == VERIFY_DAMAGED || r == VERIFY_BLIND);
    if (how & 2)
        show_ring(how & 16 ? 5 : 4, how & 16 ? with_json : with);
    if (how & 4)
        (void)(how & 16 ? verb_info(5, with_json) : verb_info(4, with));
    if (how & 8)
        (void)verb_ls(3, with);
    (void)fflush(stdout);
}

/* The verbs print, and what they refuse they say: both are read by nobody here. A sanitizer's report is. */
static void
hush(bool quiet)
{
    static int kept = -1;
    int null;

    (void)fflush(stderr);
    if (quiet) {
        kept = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        MUST(kept >= 0 && null >= 0);
        REPORT_TO(kept);
        (void)dup2(null, STDERR_FILENO);
        (void)dup2(null, STDOUT_FILENO);
        close(null);
    } else {
        (void)dup2(kept, STDERR_FILENO);
        REPORT_TO(STDERR_FILENO);
        close(kept);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {.at = data, .left = len};
    uint8_t how = input_u8(&in);

    if (!copy_path[0])
        (void)snprintf(copy_path, sizeof copy_path, "%s/" COPY, place_open());
    place_clear(COPY);
    place_folder(COPY);
    folder.next = 0;
    if (how & 1)
        folder_build(&folder, &in);
    if (how & 2)
        write_objects(&in);
    look(&in);
    if (how & 4) {
        hush(true);
        show(&in);
        hush(false);
    }
    return 0;
}
