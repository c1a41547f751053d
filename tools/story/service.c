/* A service: reads the topic under its own name and writes each line down, with its sequence number, in a journal. It acknowledges what is
 * written. Killed in between, it is given some lines again and skips those that its journal already has. */
#include "tools/story/story.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define BUFFER (256u << 10)

struct service {
    struct story_service *figures;
    leat_bus *bus;
    leat_sub *sub;
    int journal;
    uint64_t written; /* the last sequence number in the journal */
    uint64_t lines;
    XXH3_state_t *hash;
    char *buf;
    size_t used;
};

/* Counts one journal line "SEQ\ttext\n" of `len` bytes. */
static void
count_line(struct service *s, const char *line, size_t len)
{
    const char *tab = memchr(line, '\t', len);

    if (!tab)
        return;
    s->written = strtoull(line, NULL, 10);
    s->lines++;
    (void)XXH3_64bits_update(s->hash, tab + 1, len - (size_t)(tab + 1 - line));
}

/* Reads what former lives wrote down; a last line without its end was cut by the kill and is taken off. */
static int
reopen_journal(struct service *s, const char *path)
{
    FILE *f;
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    off_t whole = 0;

    s->journal = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->journal < 0)
        return -errno;
    f = fopen(path, "re");
    if (!f)
        return -errno;
    while ((n = getline(&line, &room, f)) > 0 && line[n - 1] == '\n') {
        count_line(s, line, (size_t)n);
        whole += n;
    }
    free(line);
    (void)fclose(f);
    if (ftruncate(s->journal, whole) || lseek(s->journal, whole, SEEK_SET) < 0)
        return -errno;
    return 0;
}

static int
write_down(struct service *s)
{
    for (size_t at = 0; at < s->used;) {
        ssize_t n = write(s->journal, s->buf + at, s->used - at);
        if (n < 0)
            return -errno;
        at += (size_t)n;
    }
    s->used = 0;
    atom_store_relaxed(&s->figures->received, s->lines);
    if (s->lines && !atom_load_relaxed(&s->figures->serving_ns))
        atom_store_relaxed(&s->figures->serving_ns, story_now_ns());
    return leat_sub_ack(s->sub, s->written);
}

static int
take(struct service *s, struct leat_msg *m)
{
    int n;

    if (m->seq <= s->written) {
        (void)atom_add_relaxed(&s->figures->redelivered, 1);
        return leat_sub_release(s->sub, m);
    }
    if (m->len + 32 > BUFFER)
        return -EMSGSIZE;
    if (s->used + m->len + 32 > BUFFER) {
        int r = write_down(s);
        if (r)
            return r;
    }
    n = snprintf(s->buf + s->used, 24, "%llu\t", (unsigned long long)m->seq);
    memcpy(s->buf + s->used + n, m->data, m->len);
    s->buf[s->used + (size_t)n + m->len] = '\n';
    /* Overwritten while it was copied: it will come again. */
    if (leat_sub_release(s->sub, m))
        return 0;
    count_line(s, s->buf + s->used, (size_t)n + m->len + 1);
    s->used += (size_t)n + m->len + 1;
    atom_store_relaxed(&s->figures->last_seq, m->seq);
    return 0;
}

static bool
is_over(const struct service *s, const struct story *story)
{
    return atom_load_acquire(&story->finished) && /* acquire: STORY */
           s->written >= atom_load_relaxed(&story->last_seq);
}

static int
serve(struct service *s, const struct story *story)
{
    struct leat_msg m;
    int r = 0;

    while (r >= 0 && !is_over(s, story)) {
        r = leat_sub_receive(s->sub, &m);
        if (r == 1)
            r = take(s, &m);
        else if (r == LEAT_GAP)
            (void)atom_add_relaxed(&s->figures->gaps, m.lost);
        else if (!r && s->used)
            r = write_down(s);
        else if (!r)
            r = leat_sub_wait(s->sub, 200000000);
    }
    return r < 0 ? r : s->used ? write_down(s) : 0;
}

int
story_serve(const char *bus, const char *name, int index, const char *journal)
{
    struct leat_options o = LEAT_OPTIONS_INIT;
    struct leat_sub_options so = LEAT_SUB_OPTIONS_INIT;
    struct story *story = story_figures();
    struct service s = {
        .figures = &story->service[index], .hash = XXH3_createState(), .buf = malloc(BUFFER)};
    int r = s.hash && s.buf ? 0 : -ENOMEM;

    if (s.hash)
        (void)XXH3_64bits_reset(s.hash);
    if (!r)
        r = reopen_journal(&s, journal);
    o.path = bus;
    so.name = name;
    so.start = LEAT_EARLIEST;
    if (!r)
        r = leat_open(&o, &s.bus);
    if (!r)
        r = leat_sub_open(s.bus, STORY_TOPIC, &so, &s.sub);
    if (!r)
        r = serve(&s, story);
    if (r)
        (void)fprintf(stderr, "%s: %s (%s)\n", name, leat_strerror(r),
                      s.bus ? leat_error(s.bus) : "");
    if (s.hash)
        atom_store_relaxed(&s.figures->hash, XXH3_64bits_digest(s.hash));
    atom_store_release(&s.figures->done, 1); /* release: STORY */
    leat_sub_close(s.sub);
    leat_close(s.bus);
    (void)XXH3_freeState(s.hash);
    free(s.buf);
    return r ? 1 : 0;
}
