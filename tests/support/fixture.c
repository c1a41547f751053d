#include "tests/support/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

uint64_t
fixture_seed(void)
{
    static uint64_t seed;
    const char *text = getenv("LEAT_SEED");

    if (seed)
        return seed;
    if (text)
        seed = strtoull(text, NULL, 0);
    else if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        seed = 0x5eed;
    seed |= !seed;
    (void)printf("LEAT_SEED=0x%llx\n", (unsigned long long)seed);
    (void)fflush(stdout);
    return seed;
}

/* splitmix64 */
static uint64_t
mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

uint64_t
prng_next(struct prng *p)
{
    p->state += 0x9e3779b97f4a7c15ull;
    return mix(p->state);
}

uint64_t
prng_below(struct prng *p, uint64_t n)
{
    return prng_next(p) % n;
}

bool
fixture_is_full(void)
{
    const char *text = getenv("LEAT_FULL");

    return text && !strcmp(text, "1");
}

struct ring_geometry
fixture_geometry(void)
{
    return (struct ring_geometry){
        .depth = 16,
        .lane_size = 4096,
        .slot_size = 64,
        .max_publishers = 4,
        .max_cursors = 4,
        .barrier = SHM_BARRIER_SLEEPER,
        .mode = 0600,
        .origin = 1,
    };
}

/* What leads out of a map, ends in one of the two areas around it that nobody may touch. */
#define GUARD (1ull << 24)

static void *
map(uint64_t size)
{
    unsigned char *at =
        mmap(NULL, size + 2 * GUARD, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (at == MAP_FAILED)
        return NULL;
    if (mprotect(at + GUARD, size, PROT_READ | PROT_WRITE)) {
        munmap(at, size + 2 * GUARD);
        return NULL;
    }
    return at + GUARD;
}

static void
unmap(void *at, uint64_t size)
{
    if (at)
        munmap((unsigned char *)at - GUARD, size + 2 * GUARD);
}

int
fixture_make(struct fixture *f, const struct ring_geometry *geo)
{
    const struct ring_identity who = {.name = "fixture", .topic_id = 77, .created_ns = 1};
    struct ring_geometry plan = *geo;
    const char *what;
    uint32_t version;
    int r = ring_plan(&plan, &what);

    *f = (struct fixture){.next_pid = 1000};
    if (r)
        return r;
    f->maps.data_size = plan.data_size;
    f->maps.control_size = plan.control_size;
    f->maps.data = map(plan.data_size);
    f->maps.control = map(plan.control_size);
    f->scratch = calloc(plan.max_publishers, sizeof *f->scratch);
    if (f->maps.data && f->maps.control && f->scratch) {
        ring_format(f->maps.data, f->maps.control, &plan, &who);
        r = ring_join(&f->view, &f->maps, &version);
    } else {
        r = -ENOMEM;
    }
    if (r)
        fixture_destroy(f);
    return r;
}

void
fixture_destroy(struct fixture *f)
{
    unmap(f->maps.data, f->maps.data_size);
    unmap(f->maps.control, f->maps.control_size);
    free(f->scratch);
    *f = (struct fixture){0};
}

void
fixture_entry(struct fixture *f, uint32_t i)
{
    struct ring_owner owner = {.pid = (uint32_t)f->next_pid++, .uid = 1, .start = 7, .since_ns = 9};

    atom_store_release(&ring_entry(&f->view, i)->lane, 1);
    ring_entry_take(&f->view, i, &owner);
}

int
fixture_publisher_join(const struct ring_view *v, uint16_t i, struct ring_publisher *ret)
{
    struct ring_piece *pieces = calloc(ring_publisher_room(v), sizeof *pieces);
    int r = pieces ? ring_publisher_join(ret, v, i, pieces, false) : -ENOMEM;

    if (r)
        free(pieces);
    return r;
}

int
fixture_publisher(struct fixture *f, uint16_t i, struct ring_publisher *ret)
{
    fixture_entry(f, i);
    return fixture_publisher_join(&f->view, i, ret);
}

void
fixture_publisher_drop(struct ring_publisher *p)
{
    free(p->pieces);
    *p = (struct ring_publisher){0};
}

struct ring_reader
fixture_reader(struct fixture *f, uint32_t i, enum ring_cursor_kind kind, uint64_t pos)
{
    struct ring_owner owner = {.pid = 500 + i, .name = "reader"};
    struct ring_reader r = {.view = f->view, .line = ring_cursor(&f->view, i)};

    ring_cursor_attach(&f->view, i, kind, &owner, &pos);
    ring_reader_set(&r, pos);
    return r;
}

void
fixture_release(struct ring_reader *r)
{
    atom_store_release(&r->line->pos, r->next);
}

int
fixture_settle(struct fixture *f, uint64_t *ret_aborted)
{
    uint64_t total = 0, aborted = 0;
    int r;

    do {
        aborted = 0;
        r = ring_settle(&f->view, f->scratch, &aborted);
        total += aborted;
    } while (r == 1 && aborted);
    *ret_aborted = total;
    return r;
}

/* --- payloads ------------------------------------------------------------------------------------- */

struct head {
    uint64_t key;
    uint64_t len;
    uint64_t sum;
};

static uint64_t
word_at(uint64_t key, uint32_t len, uint64_t i)
{
    return mix(key + len * 0x9e3779b97f4a7c15ull + i * 0xd1342543de82ef95ull);
}

static uint64_t
sum_of(const unsigned char *from, size_t len)
{
    uint64_t sum = 0xcbf29ce484222325ull, word;

    for (; len >= 8; len -= 8, from += 8) {
        memcpy(&word, from, 8);
        sum = (sum ^ word) * 0x100000001b3ull;
    }
    for (; len; len--, from++)
        sum = (sum ^ *from) * 0x100000001b3ull;
    return sum;
}

void
pattern_fill(void *to, uint64_t key, uint32_t len)
{
    unsigned char *t = to;
    struct head head = {.key = key, .len = len};
    uint64_t word;

    for (uint32_t at = 0; at < len; at += 8) {
        word = word_at(key, len, at);
        memcpy(t + at, &word, len - at < 8 ? len - at : 8);
    }
    if (len < 32)
        return;
    head.sum = sum_of(t + sizeof head, len - sizeof head);
    memcpy(t, &head, sizeof head);
}

bool
pattern_is(const void *bytes, uint64_t key, uint32_t len)
{
    const unsigned char *b = bytes;
    struct head head;
    uint32_t at = 0;
    uint64_t word;

    if (len >= 32) {
        memcpy(&head, b, sizeof head);
        if (head.key != key || head.len != len ||
            head.sum != sum_of(b + sizeof head, len - sizeof head))
            return false;
        at = sizeof head;
    }
    for (; at < len; at += 8) {
        word = word_at(key, len, at);
        if (memcmp(b + at, &word, len - at < 8 ? len - at : 8) != 0)
            return false;
    }
    return true;
}

int
fixture_send(struct ring_publisher *p, uint64_t pseq, uint32_t len, uint64_t *ret_seq)
{
    return fixture_send_many(p, pseq, &len, 1, ret_seq);
}

int
fixture_send_many(struct ring_publisher *p, uint64_t pseq, const uint32_t *lens, uint32_t n,
                  uint64_t *ret_seq)
{
    unsigned char inlined[FIXTURE_BATCH][LIMIT_SLOT_MAX];
    struct ring_span spans[FIXTURE_BATCH];
    struct ring_out out[FIXTURE_BATCH];
    int r = n > FIXTURE_BATCH ? -EINVAL : 0;
    uint32_t i;

    for (i = 0; i < n && !r; i++) {
        uint64_t key = pattern_key(p->index, pseq + i);
        bool in_lane = lens[i] > ring_inline_max(&p->view);
        out[i] = (struct ring_out){.key = key, .len = lens[i], .type = (uint16_t)(n << 8 | i)};
        spans[i].data = NULL;
        if (in_lane) {
            r = ring_reserve(p, lens[i], &spans[i]);
            if (r)
                break;
        }
        out[i].span = in_lane ? &spans[i] : NULL;
        out[i].data = in_lane ? NULL : inlined[i];
        pattern_fill(in_lane ? spans[i].data : inlined[i], key, lens[i]);
    }
    if (!r)
        r = ring_publish(p, out, n, 1000 + pseq, ret_seq);
    for (uint32_t k = 0; r && k < i && k < FIXTURE_BATCH; k++)
        if (out[k].span)
            ring_abandon(p, out[k].span);
    return r;
}
