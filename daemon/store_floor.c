/* The cursors file. A floor is in memory at once and on disk soon: its record has two copies in
 * different blocks, and the older one is written over, so that whatever becomes of a write, one of
 * them is whole. One record at a time is written; at most every STORE_SAVE_NS a round begins. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/report.h"
#include "daemon/store_impl.h"
#include "log/encode.h"
#include "shm/testpoint.h"

static uint64_t
place(uint32_t i, uint32_t copy)
{
    return (uint64_t)LOG_BLOCK * (1 + 2 * (uint64_t)i + copy);
}

/* --- in memory --------------------------------------------------------------------------- */

static struct store_floor *
find(const struct store *s, const char *name)
{
    const struct store_floors *f = &s->floors;

    for (uint32_t i = 0; i < f->cnt; i++)
        if (f->list[i].state == FLOOR_USED && !strcmp(f->list[i].name, name))
            return &f->list[i];
    return NULL;
}

static int
grow(struct store_floors *f, uint32_t cnt)
{
    uint32_t room = f->room ? f->room : 8;
    struct store_floor *list;

    while (room < cnt)
        room *= 2;
    if (room == f->room)
        return 0;
    list = realloc(f->list, room * sizeof *list);
    if (!list)
        return -ENOMEM;
    memset(list + f->room, 0, (room - f->room) * sizeof *list);
    f->list = list;
    f->room = room;
    return 0;
}

/* A record for a new name. */
static int
take(struct store_floors *f, struct store_floor **ret)
{
    uint32_t i = 0;
    int r;

    while (i < f->cnt && f->list[i].state != FLOOR_FREE)
        i++;
    if (i == LIMIT_CURSORS)
        return -ENOSPC;
    r = grow(f, i + 1);
    if (r)
        return r;
    f->cnt = i < f->cnt ? f->cnt : i + 1;
    *ret = &f->list[i];
    return 0;
}

static void
touch(struct store *s, struct store_floor *floor)
{
    struct store_floors *f = &s->floors;

    floor->dirty = true;
    loop_set_by(s->env.loop, &f->timer, loop_clock() + STORE_SAVE_NS);
}

int
store_floor_get(const struct store *s, const char *name, uint64_t *ret)
{
    const struct store_floor *floor = find(s, name);

    if (!floor)
        return -ENOENT;
    *ret = floor->floor;
    return 0;
}

uint64_t
store_floor_saved(const struct store *s, const char *name)
{
    const struct store_floor *floor = find(s, name);

    return floor && floor->known ? floor->saved : 0;
}

int
store_floor_set(struct store *s, const char *name, uint64_t floor)
{
    struct store_floor *record = find(s, name);
    size_t len = strnlen(name, sizeof record->name);
    int r;

    if (!len || len > LIMIT_SUB_NAME)
        return -EINVAL;
    if (record && floor <= record->floor)
        return 0;
    if (!record) {
        r = take(&s->floors, &record);
        if (r)
            return r;
        memset(record->name, 0, sizeof record->name);
        memcpy(record->name, name, len);
        record->state = FLOOR_USED;
        record->known = false;
    }
    record->floor = floor;
    touch(s, record);
    return 0;
}

int
store_floor_remove(struct store *s, const char *name)
{
    struct store_floor *floor = find(s, name);

    if (!floor)
        return -ENOENT;
    floor->state = FLOOR_REMOVED;
    touch(s, floor);
    return 0;
}

int
store_floor_next(const struct store *s, uint32_t *index, const char **ret_name, uint64_t *ret_floor)
{
    const struct store_floors *f = &s->floors;

    while (*index < f->cnt) {
        const struct store_floor *floor = &f->list[(*index)++];

        if (floor->state == FLOOR_USED) {
            *ret_name = floor->name;
            *ret_floor = floor->floor;
            return 1;
        }
    }
    return 0;
}

/* --- saving ------------------------------------------------------------------------------ */

static void
landed(struct io_req *req)
{
    struct store *s = store__landed(req);

    s->floors.busy = false;
}

static void
write_record(struct store *s, uint32_t i)
{
    struct store_floors *f = &s->floors;
    struct store_floor *floor = &f->list[i];
    struct log_cursor record = {
        .magic = LOG_CURSOR_MAGIC,
        .topic_id = s->topic.topic_id,
        .generation = floor->generation + 1,
        .floor = floor->floor,
        .time_ns = store__realtime(),
        .flags = floor->state == FLOOR_REMOVED ? LOG_CURSOR_REMOVED : 0,
    };

    memcpy(record.name, floor->name, sizeof record.name);
    log_cursor_seal(&record);
    memset(f->buf, 0, LOG_BLOCK);
    memcpy(f->buf, &record, sizeof record);
    f->at = i;
    f->writing = floor->floor;
    f->removing = floor->state == FLOOR_REMOVED;
    f->busy = f->flying = true;
    floor->dirty = false;
    f->req = (struct io_req){.verb = IO_WRITE,
                             .fd = f->file.fd,
                             .flags = IO_DURABLE,
                             .buf = f->buf,
                             .len = LOG_BLOCK,
                             .off = place(i, !floor->copy)};
    TESTPOINT("floor.issued");
    store__submit(s, &f->req, landed);
}

/* Which copy is the good one does not change when a write fails: the other one is tried again, in a later round. */
static void
write_failed(struct store *s, struct store_floor *floor)
{
    struct store_floors *f = &s->floors;

    /* One that fails is seldom alone: it speaks for all of its round. */
    if (!f->error)
        report_warning("%s: saving the floor of %s: %s", s->topic.name, floor->name,
                       report_error_text(f->req.res));
    f->error = f->req.res;
    floor->dirty = floor->late = true;
    loop_set_by(s->env.loop, &f->timer, loop_clock() + STORE_RETRY_NS);
}

static void
record_written(struct store *s)
{
    struct store_floors *f = &s->floors;
    struct store_floor *floor = &f->list[f->at];

    f->flying = false;
    if (f->req.res < 0) {
        write_failed(s, floor);
        return;
    }
    TESTPOINT("floor.saved");
    floor->copy = !floor->copy;
    floor->generation++;
    f->told = true;
    if (f->removing) {
        floor->state = FLOOR_FREE;
        return;
    }
    floor->saved = f->writing;
    floor->known = true;
}

/* A name that was made again has another record, and would be there twice without its removal. */
static bool
is_removal_late(const struct store_floors *f, const char *name)
{
    for (uint32_t i = 0; i < f->cnt; i++)
        if (f->list[i].late && f->list[i].state == FLOOR_REMOVED && !strcmp(f->list[i].name, name))
            return true;
    return false;
}

static bool
is_due(const struct store_floors *f, const struct store_floor *floor)
{
    return floor->dirty && !floor->late &&
           (floor->state == FLOOR_REMOVED || !is_removal_late(f, floor->name));
}

static bool
save_one(struct store *s, enum floor_state state)
{
    struct store_floors *f = &s->floors;

    for (uint32_t i = 0; i < f->cnt; i++) {
        if (f->list[i].state != state || !is_due(f, &f->list[i]))
            continue;
        write_record(s, i);
        return true;
    }
    return false;
}

/* Removals go first, for the sake of names that were made again meanwhile. */
static bool
save_next(struct store *s)
{
    return save_one(s, FLOOR_REMOVED) || save_one(s, FLOOR_USED);
}

void
store__floors_round(struct loop_timer *timer)
{
    struct store *s = timer->user;
    struct store_floors *f = &s->floors;

    for (uint32_t i = 0; i < f->cnt; i++)
        f->list[i].late = false;
    f->error = 0;
    f->round = true;
    loop_defer(s->env.loop, &s->task);
}

void
store__floors_look(struct store *s)
{
    struct store_floors *f = &s->floors;

    if (f->busy)
        return;
    if (f->flying)
        record_written(s);
    if (s->drained)
        f->round = true;
    if (f->round && !save_next(s))
        f->round = false;
}

bool
store__floors_saved(const struct store *s)
{
    const struct store_floors *f = &s->floors;

    if (f->busy || f->flying)
        return false;
    for (uint32_t i = 0; i < f->cnt; i++)
        if (is_due(f, &f->list[i]))
            return false;
    return true;
}

/* --- the file ---------------------------------------------------------------------------- */

int
store__floors_create(struct io *io, int dir, uint64_t topic_id)
{
    struct log_cursors_header h = {
        .magic = LOG_CURSORS_MAGIC, .version = LOG_VERSION, .topic_id = topic_id};
    unsigned char block[LOG_BLOCK] = {0};
    int r;

    log_cursors_header_seal(&h);
    memcpy(block, &h, sizeof h);
    r = store__put(io, dir, STORE_FILE_DRAFT, block, sizeof block);
    return r ? r : io_rename(io, dir, STORE_FILE_DRAFT, STORE_FILE_CURSORS);
}

static bool
is_zero(const void *data, size_t len)
{
    const unsigned char *at = data;

    while (len && !*at) {
        at++;
        len--;
    }
    return !len;
}

/* One copy of a record, by itself: what is wrong with its block is no reason not to read the other one. One that cannot be
 * read is made one that is neither valid nor zeros, and *ret_lost true. 1; 0: the file ends before it. */
static int
read_copy(int fd, uint64_t off, struct log_cursor *ret, bool *ret_lost)
{
    ssize_t n;

    memset(ret, 0, sizeof *ret);
    n = pread(fd, ret, sizeof *ret, (off_t)off);
    if (n >= 0)
        return n > 0;
    if (errno != EIO)
        return -errno;
    memset(ret, 0xff, sizeof *ret);
    *ret_lost = true;
    return 1;
}

/* Which copy counts, or that none does. A copy that is not valid beside one of zeros is the first write of a name that was
 * cut: nobody was told of it. Of one that cannot be read nobody knows that: beside another one of a living name it is an older floor, a
 * newer one, or its removal, and to go on with what is there does no more than to deliver again; but it may be all there
 * is of a name, and then the topic waits for it. */
static int
pick(const struct store *s, const struct log_cursor copies[2], bool lost)
{
    int which = log_cursor_pick(copies, s->topic.topic_id);

    if (lost && (which < 0 || copies[which].flags & LOG_CURSOR_REMOVED))
        return -EIO;
    if (which == -EBADMSG &&
        (is_zero(&copies[0], sizeof copies[0]) || is_zero(&copies[1], sizeof copies[1])))
        return -ENODATA;
    return which;
}

/* Takes one record in. */
static int
load_record(struct store *s, const struct log_cursor copies[2], bool lost)
{
    struct store_floors *f = &s->floors;
    int which = pick(s, copies, lost), r = grow(f, f->cnt + 1);
    struct store_floor *floor;

    if (r || (which < 0 && which != -ENODATA))
        return r ? r : which;
    floor = &f->list[f->cnt++];
    if (which < 0)
        return 0;
    floor->copy = (uint8_t)which;
    floor->generation = copies[which].generation;
    memcpy(floor->name, copies[which].name, sizeof floor->name);
    floor->name[sizeof floor->name - 1] = '\0';
    if (copies[which].flags & LOG_CURSOR_REMOVED || !floor->name[0])
        return 0;
    floor->state = FLOOR_USED;
    floor->known = true;
    floor->doubted = lost;
    floor->floor = floor->saved = copies[which].floor;
    if (lost)
        report_warning("%s: one of the two copies of the floor of %s cannot be read; it goes on "
                       "with the other, at %" PRIu64,
                       s->topic.name, floor->name, floor->floor);
    return 0;
}

/* A name that has another record was removed from this one: that is what could not be read. Of two such records
 * the lower floor does less harm. */
static bool
is_outdated(const struct store_floors *f, uint32_t i)
{
    const struct store_floor *floor = &f->list[i];

    if (floor->state != FLOOR_USED || !floor->doubted)
        return false;
    for (uint32_t k = 0; k < f->cnt; k++) {
        const struct store_floor *other = &f->list[k];
        if (k != i && other->state == FLOOR_USED && !strcmp(other->name, floor->name) &&
            (!other->doubted || other->floor <= floor->floor))
            return true;
    }
    return false;
}

static void
drop_outdated(struct store *s)
{
    struct store_floors *f = &s->floors;

    for (uint32_t i = 0; i < f->cnt; i++) {
        if (!is_outdated(f, i))
            continue;
        f->list[i].state = FLOOR_REMOVED;
        touch(s, &f->list[i]);
    }
}

static int
check_header(struct store *s, int fd, char why[STORE_WHY])
{
    struct log_cursors_header h = {0};
    unsigned char block[LOG_BLOCK];
    ssize_t n = pread(fd, block, sizeof block, 0);
    int r;

    if (n < 0)
        return -errno;
    if (n == LOG_BLOCK)
        memcpy(&h, block, sizeof h);
    r = log_cursors_header_check(&h, s->topic.topic_id);
    if (r == -EPROTONOSUPPORT)
        (void)snprintf(why, STORE_WHY, "the cursors file is of version %u, this is %u", h.version,
                       LOG_VERSION);
    else if (r)
        (void)snprintf(why, STORE_WHY, "the cursors file: %s", report_error_text(r));
    return r;
}

static int
load_all(struct store *s, int fd, char why[STORE_WHY])
{
    struct log_cursor copies[2];
    int r = check_header(s, fd, why);

    if (r)
        return r;
    for (uint32_t i = 0; i < LIMIT_CURSORS; i++) {
        bool lost = false;
        r = read_copy(fd, place(i, 0), &copies[0], &lost);
        if (r <= 0)
            break;
        r = read_copy(fd, place(i, 1), &copies[1], &lost);
        if (r >= 0)
            r = load_record(s, copies, lost);
        if (r) {
            (void)snprintf(why, STORE_WHY, "%s of record %u of the cursors file: %s",
                           r == -EBADMSG ? "both copies" : "a copy", i, report_error_text(r));
            return r;
        }
    }
    if (!r)
        drop_outdated(s);
    return r;
}

int
store__floors_load(struct store *s, char why[STORE_WHY])
{
    int fd, r = store__open(s, STORE_FILE_CURSORS, 0, &s->floors.file);

    if (r == -ENOENT) {
        report_warning("%s: there is no cursors file; every named subscription begins anew",
                       s->topic.name);
        r = store__floors_create(s->env.io, s->dir, s->topic.topic_id);
        if (!r)
            r = store__sync(s->env.io, s->dir);
        if (!r)
            r = store__open(s, STORE_FILE_CURSORS, 0, &s->floors.file);
    }
    if (!r)
        r = store__from_disk(s->env.io, s->floors.file.fd);
    if (r)
        goto out;
    fd = store__open_read(s, STORE_FILE_CURSORS);
    if (fd < 0) {
        r = fd;
        goto out;
    }
    r = load_all(s, fd, why);
    close(fd);
out:
    if (r && !why[0])
        (void)snprintf(why, STORE_WHY, "the cursors file: %s", report_error_text(r));
    return r;
}

int
store__floors_limit(struct store *s, uint64_t tail, char why[STORE_WHY])
{
    struct store_floors *f = &s->floors;

    for (uint32_t i = 0; i < f->cnt; i++) {
        struct store_floor *floor = &f->list[i];
        if (floor->state != FLOOR_USED || floor->floor <= tail)
            continue;
        report_warning("%s: %s had seen messages up to %" PRIu64
                       " that did not reach the disk; it goes on at %" PRIu64,
                       s->topic.name, floor->name, floor->floor - 1, tail);
        floor->floor = tail;
        write_record(s, i);
        store__settle(s);
        record_written(s);
        if (f->error) {
            (void)snprintf(why, STORE_WHY, "saving the floor of %s: %s", floor->name,
                           report_error_text(f->error));
            return f->error;
        }
    }
    return 0;
}

void
store__floors_close(struct store *s)
{
    struct store_floors *f = &s->floors;

    loop_cancel(s->env.loop, &f->timer);
    store__close(s, &f->file);
    free(f->list);
    free(f->buf);
    f->list = NULL;
    f->buf = NULL;
}
