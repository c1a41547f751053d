/* A daemon comes back: rings, owners, logs and names are as they were; what is half made, foreign, newer or damaged is told
 * apart. */
#include "tests/unit/daemon/bus_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "daemon/attach.h"
#include "daemon/process.h"
#include "daemon/state.h"

static char prefix[LIMIT_SHM_PREFIX];

static void
write_n(struct topic *t, uint32_t index, int n)
{
    struct pen pen = pen_of(t, index);

    for (int i = 0; i < n; i++)
        assert_int_equal(pen_write(&pen, 1), 0);
    free(pen.pieces);
}

static uint64_t
tail_of(const struct topic *t)
{
    return atom_load_relaxed(ring_tail(&t->memory.view));
}

/* What a client does with an answer: says that it has it. */
static void
claim_publisher(const char *name, const struct wire_answer *a)
{
    assert_int_equal(ring_entry_claim(&topic(name)->memory.view, a->index, a->generation), 0);
}

static void
claim_cursor(const char *name, const struct wire_answer *a)
{
    assert_int_equal(ring_cursor_claim(&topic(name)->memory.view, a->index, a->generation), 0);
}

static void
rings_and_their_owners_are_taken_over(void **state)
{
    union wire_any p[] = {pub_packet("a"), sub_packet("a", NULL, RING_KIND_GATING)};
    struct wire_answer mine, pub, sub;
    struct child child;
    uint64_t id, incarnation, bus_id;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    child = child_start(p, 2);
    assert_int_equal(child_says(&child, &pub), 0);
    assert_int_equal(child_says(&child, &pub), 0);
    assert_int_equal(child_says(&child, &sub), 0);
    claim_publisher("a", &pub);
    claim_cursor("a", &sub);
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    mine = answer;
    claim_publisher("a", &mine);
    write_n(topic("a"), mine.index, 5);
    id = topic("a")->id;
    incarnation = fix.bus->incarnation;
    bus_id = fix.bus->id;
    close(c);
    bus_die();

    bus_start("");
    assert_int_equal(topic("a")->id, id);
    assert_int_equal(tail_of(topic("a")), 6);
    assert_int_equal(fix.bus->id, bus_id);
    assert_int_not_equal(fix.bus->incarnation, incarnation);
    assert_int_equal(atom_load_relaxed(&ring_daemon(&topic("a")->memory.view)->incarnation),
                     fix.bus->incarnation);
    assert_non_null(topic("a")->publishers[pub.index].process);
    assert_int_equal(topic("a")->publishers[pub.index].process->pid, child.pid);
    assert_int_equal(topic("a")->cursors[sub.index].kind, RING_KIND_GATING);
    /* What was handed out before can be closed now. */
    c = client_open();
    assert_int_equal(ask_close(c, WIRE_PUB_CLOSE, &mine), 0);
    child_kill(&child);
    TURN_UNTIL(!topic("a")->publishers[pub.index].process &&
               !topic("a")->cursors[sub.index].process);
    close(c);
}

static void
who_died_meanwhile_is_settled_at_once(void **state)
{
    union wire_any p[] = {pub_packet("a"), sub_packet("a", NULL, RING_KIND_GATING)};
    struct wire_answer pub, sub;
    struct child child;
    struct topic *t;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    child = child_start(p, 2);
    assert_int_equal(child_says(&child, &pub), 0);
    assert_int_equal(child_says(&child, &pub), 0);
    assert_int_equal(child_says(&child, &sub), 0);
    t = topic("a");
    atom_store_relaxed(&ring_line(&t->memory.view, pub.index)->limit, 100);
    atom_store_relaxed(&ring_line(&t->memory.view, pub.index)->intent, ring_intent_pack(1, 2));
    atom_store_relaxed(ring_tail(&t->memory.view), 3);
    bus_die();
    child_kill(&child);

    bus_start("");
    t = topic("a");
    assert_int_equal(atom_load_relaxed(&ring_entry(&t->memory.view, pub.index)->state),
                     RING_ENTRY_FREE);
    assert_int_equal(
        ring_cursor_state_of(atom_load_relaxed(ring_cursor_word(&t->memory.view, sub.index))),
        RING_CURSOR_FREE);
    assert_int_equal(ring_stamp_state(atom_load_relaxed(&ring_slot(&t->memory.view, 1)->stamp)),
                     RING_ABORTED);
    assert_int_equal(ring_stamp_state(atom_load_relaxed(&ring_slot(&t->memory.view, 2)->stamp)),
                     RING_ABORTED);
    assert_int_equal(t->standing, TOPIC_SERVING);
}

/* The daemon died between handing out and answering: the owner, who lives, knows of nothing and asks again. */
static void
what_was_never_claimed_is_taken_back(void **state)
{
    struct wire_answer pub, sub;
    struct topic *t;
    int c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\nmax_publishers = 1\nmax_subscribers = 1\n");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    pub = answer;
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_GATING, WIRE_LATEST), 0);
    sub = answer;
    close(c);
    bus_die();
    bus_start("");
    t = topic("a");
    c = client_open();
    assert_int_equal(ring_entry_claim(&t->memory.view, pub.index, pub.generation), -ESTALE);
    assert_int_equal(ring_cursor_claim(&t->memory.view, sub.index, sub.generation), -ESTALE);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    assert_int_equal(ask_sub(c, "a", NULL, RING_KIND_GATING, WIRE_LATEST), 0);
    close(c);
}

static void
a_log_goes_on_with_its_ring_and_without(void **state)
{
    struct topic *t;
    uint64_t id;
    int c;

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\ndepth = 64\n");
    t = topic("d");
    id = t->id;
    memcpy(prefix, fix.bus->prefix, sizeof prefix);
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "d", NULL), 0);
    write_n(t, answer.index, 10);
    ring_topic(c, t->id);
    TURN_UNTIL(atom_load_relaxed(&ring_daemon(&t->memory.view)->durable) == 10);
    write_n(t, answer.index, 3);
    close(c);
    bus_die();

    /* The ring is there: what was not on disk yet gets there. */
    bus_start("");
    t = topic("d");
    assert_int_equal(t->id, id);
    assert_int_equal(tail_of(t), 14);
    TURN_UNTIL(atom_load_relaxed(&ring_daemon(&t->memory.view)->durable) == 13);
    bus_die();
    memory_remove(prefix, "d");

    /* As after a reboot: a new ring behind the last message of the log, made as the log says. */
    bus_start("");
    t = topic("d");
    assert_int_equal(t->id, id);
    assert_int_equal(t->memory.view.geo.depth, 64);
    assert_int_equal(tail_of(t), 14);
    assert_int_equal(atom_load_relaxed(&ring_daemon(&t->memory.view)->durable), 13);
    c = client_open();
    assert_int_equal(ask_sub(c, "d", NULL, RING_KIND_DURABLE, WIRE_EARLIEST), 0);
    assert_int_equal(answer.seq, 1);
    close(c);
}

static void
a_name_keeps_its_process_over_a_restart(void **state)
{
    union wire_any p = sub_packet("d", "n", RING_KIND_DURABLE);
    struct wire_answer sub;
    struct child child;
    int c;

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\n");
    child = child_start(&p, 1);
    assert_int_equal(child_says(&child, &sub), 0);
    assert_int_equal(child_says(&child, &sub), 0);
    claim_cursor("d", &sub);
    bus_die();
    bus_start("");
    c = client_open();
    assert_int_equal(ask_sub(c, "d", "n", RING_KIND_DURABLE, WIRE_LATEST), -EBUSY);
    child_kill(&child);
    TURN_UNTIL(!topic("d")->cursors[sub.index].process);
    assert_int_equal(ask_sub(c, "d", "n", RING_KIND_DURABLE, WIRE_LATEST), 0);
    close(c);
}

/* A floor is not on disk at once; until it is, it stands in the line that its subscriber has left. */
static void
a_floor_outlives_its_subscriber_and_the_daemon(void **state)
{
    struct wire_answer sub;
    struct topic *t;
    int c;

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\ndepth = 64\n");
    t = topic("d");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "d", NULL), 0);
    write_n(t, answer.index, 10);
    ring_topic(c, t->id);
    TURN_UNTIL(atom_load_relaxed(&ring_daemon(&t->memory.view)->durable) == 10);
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "old" : "n";
        assert_int_equal(ask_sub(c, "d", name, RING_KIND_DURABLE, WIRE_EARLIEST), 0);
        sub = answer;
        claim_cursor("d", &sub);
        atom_store_release(&ring_cursor(&t->memory.view, sub.index)->acked, 8);
        assert_int_equal(ask_close(c, WIRE_SUB_CLOSE, &sub), 0);
    }
    /* The line stays for as long as it is the only one that knows. */
    assert_int_equal(ask_sub(c, "d", NULL, RING_KIND_LIVE, WIRE_LATEST), 0);
    if (answer.index == sub.index)
        assert_int_equal(store_floor_saved(t->store, "old"), 8);
    assert_int_equal(attach_forget(t, "old", answer.text), 0);
    close(c);
    bus_die();
    bus_start("");
    c = client_open();
    assert_int_equal(ask_sub(c, "d", "n", RING_KIND_DURABLE, WIRE_EARLIEST), 0);
    assert_int_equal(answer.floor, 8);
    assert_int_equal(ask_sub(c, "d", "old", RING_KIND_DURABLE, WIRE_EARLIEST), 0);
    assert_int_equal(answer.floor, 1);
    close(c);
}

/* --- what cannot be taken over --- */

/* Opens an object of topic "a" to be spoilt. */
static unsigned char *
spoil(enum shm_kind kind, int *ret_fd)
{
    char path[100], object[SHM_NAME_ROOM];
    uint64_t size;
    void *map;

    (void)snprintf(path, sizeof path, "%s/bus", fix.dir);
    shm_name_prefix(path, prefix);
    shm_name_object(prefix, "a", kind, object);
    assert_int_equal(shm_segment_open(object, true, ret_fd, &size), 0);
    map = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    return map;
}

static void
a_newer_version_is_refused_and_untouched(void **state)
{
    unsigned char *map, before[4096];
    struct shm_header *h;
    int fd, c;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n[topic b]\ndeclare = yes\n");
    bus_die();
    map = spoil(SHM_KIND_DATA, &fd);
    h = (void *)map;
    h->version = SHM_VERSION + 1;
    memcpy(before, map + 4096, sizeof before);
    bus_start("");
    assert_int_equal(topic("a")->standing, TOPIC_REFUSED);
    assert_non_null(strstr(topic("a")->why, "version 2"));
    assert_non_null(strstr(topic("a")->why, "knows version 1"));
    assert_memory_equal(map + 4096, before, sizeof before);
    assert_int_equal(topic("b")->standing, TOPIC_SERVING);
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), -EPROTONOSUPPORT);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "a", NULL), -EPROTONOSUPPORT);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_REMOVE, "a", NULL), -EPROTONOSUPPORT);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_INFO, "a", NULL), -EPROTONOSUPPORT);
    assert_int_equal(h->version, SHM_VERSION + 1);
    close(c);
    munmap(map, 65536);
    close(fd);
}

/* That a log is newer is found when its ring has been looked at: the ring stays as it is too. */
static void
a_ring_of_a_newer_log_is_untouched(void **state)
{
    static unsigned char before[65536];
    uint32_t version = LOG_VERSION + 1;
    unsigned char *map;
    char path[100];
    int fd, file;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\ndurability = disk\n");
    bus_die();
    (void)snprintf(path, sizeof path, "%s/store/a/cursors", fix.dir);
    file = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(file, &version, 4, 8), 4);
    map = spoil(SHM_KIND_DATA, &fd);
    memcpy(before, map, sizeof before);
    bus_start("");
    assert_int_equal(topic("a")->standing, TOPIC_REFUSED);
    assert_non_null(strstr(topic("a")->why, "the cursors file is of version 2, this is 1"));
    assert_memory_equal(map, before, sizeof before);
    munmap(map, 65536);
    close(fd);
    close(file);
}

/* Each way to spoil a ring: what has to become of it. */
static void
damage_is_set_aside_with_a_reason(void **state)
{
    static const struct {
        enum shm_kind kind;
        size_t at;
        uint64_t value;
        const char *reason;
    } cases[] = {
        {SHM_KIND_DATA, 0, 0x1234567, "headers"},
        {SHM_KIND_DATA, RING_GEOMETRY_AT, 7, "headers"},
        {SHM_KIND_DATA, 80, 'x', "name"},
        {SHM_KIND_DATA, 8192, 1ull << 62, "tail"},
        {SHM_KIND_DATA, RING_DAEMON_AT + 144, 77, "quarantined"},
    };
    int fd, c;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char *map;
        bus_start("[topic a]\ndeclare = yes\n[topic b]\ndeclare = yes\n");
        if (cases[i].at == 8192)
            assert_int_equal(topic("a")->memory.view.geo.tail, 8192);
        bus_die();
        map = spoil(cases[i].kind, &fd);
        memcpy(map + cases[i].at, &cases[i].value, 8);
        munmap(map, 65536);
        close(fd);
        bus_start("");
        assert_int_equal(topic("b")->standing, TOPIC_SERVING);
        assert_int_equal(topic("a")->standing, TOPIC_DAMAGED);
        if (!strstr(topic("a")->why, cases[i].reason))
            fail_msg("case %zu: %s", i, topic("a")->why);
        c = client_open();
        assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), -EBADMSG);
        close(c);
        bus_die();
        memory_remove(prefix, "a");
    }
}

/* Whoever may only read can write into the cursors, and takes no message away with it. */
static void
nonsense_in_the_cursors_is_put_right(void **state)
{
    static const char rules[] = "[topic ?]\ndeclare = no\ncreate = yes\ndepth = 8\n"
                                "[topic d]\ndurability = disk\n";
    struct ring_view v;
    struct wire_answer sub;
    int c;

    (void)state;
    for (int disk = 0; disk < 2; disk++) {
        const char *name = disk ? "d" : "a";
        bus_start(rules);
        c = client_open();
        assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, name, NULL), 0);
        claim_publisher(name, &answer);
        write_n(topic(name), answer.index, 3);
        assert_int_equal(ask_sub(c, name, NULL, RING_KIND_LIVE, WIRE_LATEST), 0);
        claim_cursor(name, &answer);
        sub = answer;
        v = topic(name)->memory.view;
        atom_store_relaxed(&ring_cursor(&v, sub.index)->pos, 1000);
        atom_store_relaxed(ring_cursor_word(&v, sub.index + 1), 3);
        atom_store_relaxed(ring_cursor_word(&v, sub.index + 2),
                           RING_KIND_LOG << 4 | RING_CURSOR_LIVE);
        if (disk) {
            atom_store_relaxed(&ring_cursor(&v, 0)->pos, 1000);
            atom_store_relaxed(ring_cursor_word(&v, 0), UINT64_MAX);
        }
        close(c);
        bus_die();

        bus_start(rules);
        if (topic(name)->standing != TOPIC_SERVING)
            fail_msg("%s", topic(name)->why);
        v = topic(name)->memory.view;
        assert_int_equal(atom_load_relaxed(&ring_cursor(&v, sub.index)->pos), 4);
        assert_non_null(topic(name)->cursors[sub.index].process);
        for (uint32_t i = sub.index + 1; i < sub.index + 3; i++) {
            assert_int_equal(ring_cursor_state_of(atom_load_relaxed(ring_cursor_word(&v, i))),
                             RING_CURSOR_FREE);
            assert_null(topic(name)->cursors[i].process);
        }
        if (disk)
            TURN_UNTIL(atom_load_relaxed(&ring_cursor(&v, 0)->pos) == 4);
        bus_die();
    }
}

/* Neither does it take the topic away, or pass it off as one of another version. */
static void
the_control_objects_header_is_written_anew(void **state)
{
    static const size_t at[] = {offsetof(struct shm_header, magic),
                                offsetof(struct shm_header, version),
                                offsetof(struct shm_header, topic_id)};
    unsigned char *map, before[sizeof(struct shm_header)];
    int fd, c;

    (void)state;
    for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
        bus_start("[topic a]\ndeclare = no\ncreate = yes\n");
        c = client_open();
        assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
        write_n(topic("a"), answer.index, 3);
        close(c);
        bus_die();
        map = spoil(SHM_KIND_CONTROL, &fd);
        memcpy(before, map, sizeof before);
        memset(map + at[i], 0, 4);
        bus_start("");
        assert_non_null(topic_by_name(fix.bus, "a"));
        assert_int_equal(topic("a")->standing, TOPIC_SERVING);
        assert_int_equal(tail_of(topic("a")), 4);
        assert_memory_equal(map, before, sizeof before);
        bus_die();
        munmap(map, 65536);
        close(fd);
        memory_remove(prefix, "a");
    }
}

static void
what_nobody_ever_saw_is_taken_away(void **state)
{
    unsigned char *map;
    char object[SHM_NAME_ROOM];
    uint64_t size;
    int fd;

    (void)state;
    /* Killed before the magic; before the other object; of a former boot; in the middle of being removed. */
    for (int i = 0; i < 4; i++) {
        bus_start("[topic a]\ndeclare = yes\n");
        bus_die();
        map = spoil(SHM_KIND_DATA, &fd);
        if (i == 0)
            memset(map, 0, 8);
        if (i == 2)
            map[48] ^= 1;
        if (i == 3)
            map[RING_DAEMON_AT + offsetof(struct ring_daemon, state)] = RING_TOPIC_REMOVED;
        munmap(map, 65536);
        close(fd);
        shm_name_object(prefix, "a", i == 1 ? SHM_KIND_DATA : SHM_KIND_CONTROL, object);
        if (i == 1)
            assert_int_equal(shm_segment_remove(object), 0);
        bus_start("");
        assert_null(topic_by_name(fix.bus, "a"));
        assert_int_equal(shm_segment_open(object, false, &fd, &size), -ENOENT);
        bus_die();
    }
}

/* Which lanes have memory is said where a publisher can write; it may be more than there is. From here on the program has
 * a small /dev/shm of its own. */
static void
lanes_that_cannot_be_are_damage_of_their_topic(void **state)
{
    struct topic *t;

    (void)state;
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("none", "/dev/shm", "tmpfs", 0, "size=2m"))
        skip();
    bus_start("[topic a]\ndeclare = yes\ndepth = 64\nlane_size = 4M\n"
              "[topic b]\ndeclare = yes\ndepth = 64\n");
    t = topic("a");
    atom_store_relaxed(&ring_entry(&t->memory.view, 3)->lane, 1);
    bus_die();
    bus_start("");
    assert_int_equal(topic("a")->standing, TOPIC_DAMAGED);
    assert_non_null(strstr(topic("a")->why, "lanes"));
    assert_int_equal(topic("b")->standing, TOPIC_SERVING);
}

static void *
tell_and_stay(void *to)
{
    pid_t id = (pid_t)syscall(SYS_gettid);

    if (write(*(const int *)to, &id, sizeof id) != sizeof id)
        return NULL;
    for (;;)
        (void)pause();
}

/* An owner died while no daemon was there, and his pid is the id of a thread now: that keeps no bus from starting. */
static void
an_owner_that_has_become_a_thread_is_dead(void **state)
{
    struct ring_entry *e;
    pthread_t thread;
    struct topic *t;
    pid_t id;
    int c, ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pthread_create(&thread, NULL, tell_and_stay, &ends[1]), 0);
    assert_int_equal(read(ends[0], &id, sizeof id), sizeof id);
    bus_start("[topic a]\ndeclare = yes\n");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "a", NULL), 0);
    claim_publisher("a", &answer);
    e = ring_entry(&topic("a")->memory.view, answer.index);
    e->pid = (uint32_t)id;
    close(c);
    bus_die();
    bus_start("");
    t = topic("a");
    assert_int_equal(t->standing, TOPIC_SERVING);
    assert_null(t->publishers[answer.index].process);
    assert_int_equal(atom_load_relaxed(&ring_entry(&t->memory.view, answer.index)->state),
                     RING_ENTRY_FREE);
    assert_int_equal(pthread_cancel(thread), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    close(ends[0]);
    close(ends[1]);
}

/* Gives an object to another user, or puts something else of his in its place. */
static void
give_away(const char *name, enum shm_kind kind, int how)
{
    char object[SHM_NAME_ROOM], path[SHM_NAME_ROOM + 16];

    shm_name_object(prefix, name, kind, object);
    (void)snprintf(path, sizeof path, "/dev/shm%s", object);
    if (how)
        assert_int_equal(unlink(path), 0);
    if (how == 1)
        assert_int_equal(mkfifo(path, 0666), 0);
    if (how == 2)
        assert_int_equal(symlink("nowhere", path), 0);
    assert_int_equal(lchown(path, 12345, 12345), 0);
}

/* Whoever makes an object before the daemon does would read and write all that goes through it, or keep a topic from being. */
static void
what_another_user_made_is_not_taken_over(void **state)
{
    (void)state;
    if (geteuid())
        skip();
    for (int i = 0; i < 6; i++) {
        enum shm_kind kind = i % 2 ? SHM_KIND_DATA : SHM_KIND_CONTROL;
        bus_start("[topic a]\ndeclare = yes\n[topic d]\ndeclare = yes\ndurability = disk\n");
        memcpy(prefix, fix.bus->prefix, sizeof prefix);
        bus_die();
        give_away("a", kind, i / 2);
        give_away("d", kind, i / 2);
        bus_start("");
        assert_null(topic_by_name(fix.bus, "a"));
        assert_int_equal(topic("d")->standing, TOPIC_SERVING);
        bus_die();
    }
}

/* It is not served, and the ring is not marked: the store may not have been mounted yet when the daemon started. */
static void
a_disk_topic_without_its_log_waits_for_it(void **state)
{
    char command[300];

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\n");
    bus_die();
    (void)snprintf(command, sizeof command, "cd '%s' && mv store s && mkdir store", fix.dir);
    assert_int_equal(system(command), 0);
    for (int i = 0; i < 2; i++) {
        bus_start("");
        assert_int_equal(topic("d")->standing, TOPIC_WAITING);
        assert_non_null(strstr(topic("d")->why, "log is gone"));
        assert_int_equal(state_get(&topic("d")->memory.view), RING_TOPIC_LOG_FAILED);
        bus_die();
    }
    (void)snprintf(command, sizeof command, "cd '%s' && rm -r store && mv s store", fix.dir);
    assert_int_equal(system(command), 0);
    bus_start("");
    assert_int_equal(topic("d")->standing, TOPIC_SERVING);
    assert_int_equal(state_get(&topic("d")->memory.view), RING_TOPIC_OK);
}

/* A log that cannot be read today may be sound: the ring is not marked, and the next start has it. */
static void
a_log_that_cannot_be_read_is_looked_at_again(void **state)
{
    char command[300];

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\n");
    bus_die();
    (void)snprintf(command, sizeof command, "cd '%s/store/d' && mv topic t && ln -s t topic",
                   fix.dir);
    assert_int_equal(system(command), 0);
    for (int i = 0; i < 2; i++) {
        bus_start("");
        assert_int_equal(topic("d")->standing, TOPIC_WAITING);
        assert_int_equal(state_get(&topic("d")->memory.view), RING_TOPIC_LOG_FAILED);
        bus_die();
    }
    (void)snprintf(command, sizeof command, "cd '%s/store/d' && mv t topic", fix.dir);
    assert_int_equal(system(command), 0);
    bus_start("");
    assert_int_equal(topic("d")->standing, TOPIC_SERVING);
    assert_int_equal(state_get(&topic("d")->memory.view), RING_TOPIC_OK);
}

/* A log that somebody else made, or can write in, is not served and not touched: until it is the daemon's again. */
static void
a_log_of_another_user_is_not_served(void **state)
{
    static const char *const takes[] = {"chown 12345", "chmod 0707"};
    static const char *const gives[] = {"chown 0", "chmod 0700"};
    static const char *const words[] = {"belongs to user 12345", "written to by anybody"};
    char command[200];
    int c;

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\n");
    memcpy(prefix, fix.bus->prefix, sizeof prefix);
    for (int i = geteuid() != 0; i < 2; i++) {
        bus_die();
        memory_remove(prefix, "d");
        (void)snprintf(command, sizeof command, "cd '%s/store' && mkdir -p stray && %s d stray",
                       fix.dir, takes[i]);
        assert_int_equal(system(command), 0);
        bus_start("");
        c = client_open();
        assert_null(topic_by_name(fix.bus, "stray"));
        assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "d", NULL), -EAGAIN);
        if (!strstr(answer.text, words[i]))
            fail_msg("%s", answer.text);
        assert_int_equal(ask_topic(c, WIRE_TOPIC_REMOVE, "d", NULL), -EBADMSG);
        (void)snprintf(command, sizeof command, "%s '%s/store/d'", gives[i], fix.dir);
        assert_int_equal(system(command), 0);
        TURN_UNTIL(topic("d")->standing == TOPIC_SERVING);
        assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "d", NULL), 0);
        close(c);
    }
}

/* This program's own fsync takes the place of libc's. */
static int sync_error;

int faulty_fsync(int fd) __asm__("fsync");

int
faulty_fsync(int fd)
{
    errno = sync_error;
    return sync_error ? -1 : (int)syscall(SYS_fsync, fd);
}

/* A disk in trouble is no damage: the ring waits for it, with what is not in the log yet. */
static void
a_log_that_cannot_be_read_now_is_tried_again(void **state)
{
    struct topic *t;
    int c;

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\ndepth = 64\n");
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "d", NULL), 0);
    write_n(topic("d"), answer.index, 3);
    close(c);
    bus_die();

    sync_error = EIO;
    bus_start("io = block\n");
    t = topic("d");
    assert_int_equal(t->standing, TOPIC_WAITING);
    assert_int_equal(state_get(&t->memory.view), RING_TOPIC_LOG_FAILED);
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "d", NULL), -EAGAIN);
    assert_non_null(strstr(answer.text, strerror(EIO)));
    sync_error = 0;
    TURN_UNTIL(t->standing == TOPIC_SERVING);
    TURN_UNTIL(atom_load_relaxed(&ring_daemon(&t->memory.view)->durable) == 3);
    assert_int_equal(state_get(&t->memory.view), RING_TOPIC_OK);
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "d", NULL), 0);
    close(c);
}

/* So it does for epoll_ctl, when something is to be waited for. */
static int watch_error;

int faulty_epoll_ctl(int epoll, int verb, int fd, struct epoll_event *event) __asm__("epoll_ctl");

int
faulty_epoll_ctl(int epoll, int verb, int fd, struct epoll_event *event)
{
    errno = watch_error;
    if (watch_error && verb == EPOLL_CTL_ADD)
        return -1;
    return (int)syscall(SYS_epoll_ctl, epoll, verb, fd, event);
}

/* The log can be read again, but there are no means to watch those who have a part in the topic: that passes, too. */
static void
seats_that_cannot_be_taken_now_are_tried_again(void **state)
{
    union wire_any p[] = {pub_packet("d"), sub_packet("d", "n", RING_KIND_DURABLE)};
    struct wire_answer pub, sub;
    struct child child;
    struct topic *t;
    uint32_t lanes;

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\ndepth = 64\n");
    child = child_start(p, 2);
    assert_int_equal(child_says(&child, &pub), 0);
    assert_int_equal(child_says(&child, &pub), 0);
    assert_int_equal(child_says(&child, &sub), 0);
    claim_publisher("d", &pub);
    claim_cursor("d", &sub);
    lanes = topic("d")->lanes;
    bus_die();

    sync_error = EIO;
    bus_start("io = block\n");
    t = topic("d");
    assert_int_equal(t->standing, TOPIC_WAITING);
    watch_error = ENOSPC;
    sync_error = 0;
    TURN_UNTIL(strstr(t->why, strerror(ENOSPC)) || t->standing != TOPIC_WAITING);
    if (t->standing != TOPIC_WAITING)
        fail_msg("%s", t->why);
    assert_int_equal(state_get(&t->memory.view), RING_TOPIC_LOG_FAILED);
    assert_null(t->store);
    assert_int_equal(t->lanes, 0);
    assert_null(t->cursors[sub.index].name);
    watch_error = 0;
    TURN_UNTIL(t->standing == TOPIC_SERVING);
    assert_int_equal(state_get(&t->memory.view), RING_TOPIC_OK);
    assert_int_equal(t->lanes, lanes);
    assert_int_equal(t->publishers[pub.index].process->pid, child.pid);
    assert_int_equal(t->cursors[sub.index].process->pid, child.pid);
    assert_string_equal(t->cursors[sub.index].name, "n");
    child_kill(&child);
    TURN_UNTIL(!t->publishers[pub.index].process && !t->cursors[sub.index].process);
}

/* No try waits for anybody, and there are fewer and fewer of them: the topics that are well are served meanwhile. */
static void
who_waits_for_a_log_holds_up_nobody(void **state)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    uint64_t begun = loop_clock(), longest = 0;
    struct topic *t;
    char path[128];
    int fd;

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\n"
              "[topic e]\ndeclare = yes\ndurability = disk\n");
    bus_die();
    sync_error = EIO;
    bus_start("io = block\n");
    t = topic("d");
    assert_int_equal(t->standing, TOPIC_WAITING);
    assert_int_equal(topic("e")->standing, TOPIC_WAITING);
    /* As a dead daemon has it whose writes do not end. */
    (void)snprintf(path, sizeof path, "%s/store/d/cursors", fix.dir);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    sync_error = 0;
    while (!strstr(t->why, strerror(EBUSY)) || topic("e")->standing != TOPIC_SERVING) {
        uint64_t now = loop_clock();
        assert_true(now - begun < PATIENCE_NS);
        assert_int_equal(loop_turn(fix.bus->loop, now + 2000000), 0);
        longest = shm_max(longest, loop_clock() - now);
    }
    assert_true(longest < STORE_PATIENCE_NS / 2);
    assert_int_equal(t->standing, TOPIC_WAITING);
    assert_int_equal(t->adopt_wait_ns, 2000000000);
    assert_true(t->adopt_at_ns > begun + 2000000000);
    close(fd);
    TURN_UNTIL(t->standing == TOPIC_SERVING);
}

/* Where nothing is left on disk there is nothing to keep from who wants the topic removed; a log that is there is kept. */
static void
a_topic_whose_log_is_gone_can_be_removed(void **state)
{
    char away[128];
    int c;

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\n");
    bus_die();
    (void)snprintf(away, sizeof away, "%s/away", fix.dir);
    sync_error = EIO;
    bus_start("io = block\n");
    assert_int_equal(topic("d")->standing, TOPIC_WAITING);
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_TOPIC_REMOVE, "d", NULL), -EBADMSG);
    assert_non_null(strstr(answer.text, "not thrown away"));
    assert_int_equal(renameat(fix.bus->store_dirfd, "d", AT_FDCWD, away), 0);
    assert_int_equal(ask_topic(c, WIRE_TOPIC_REMOVE, "d", NULL), 0);
    assert_null(topic_by_name(fix.bus, "d"));
    sync_error = 0;
    assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "d", NULL), 0);
    close(c);
}

/* So does calloc: there is no memory for this many, of whatever. */
static size_t calloc_refused;

#if defined(LEAT_SANITIZED)
void *libc_calloc(size_t n, size_t size) __asm__("__interceptor_calloc");
#else
void *libc_calloc(size_t n, size_t size) __asm__("__libc_calloc");
#endif
void *choosy_calloc(size_t n, size_t size) __asm__("calloc");

void *
choosy_calloc(size_t n, size_t size)
{
    return calloc_refused && n == calloc_refused ? NULL : libc_calloc(n, size);
}

/* A ring that the daemon has no memory to serve is not half there: nobody's death or farewell meets it. */
static void
a_ring_without_seats_is_made_again(void **state)
{
    static const size_t seats[] = {13, 18}; /* publishers; subscribers and the log's */
    union wire_any p = pub_packet("m");
    struct wire_answer said;
    struct child child;
    int c;

    (void)state;
    bus_start("[topic *]\ncreate = yes\nmax_publishers = 13\nmax_subscribers = 17\n"
              "[topic m]\nmax_publishers = 2\n[topic d]\ndeclare = yes\ndurability = disk\n");
    memcpy(prefix, fix.bus->prefix, sizeof prefix);
    for (size_t i = 0; i < sizeof seats / sizeof *seats; i++) {
        bus_die();
        memory_remove(prefix, "d");
        calloc_refused = seats[i];
        bus_start("[topic *]\ncreate = yes\nmax_publishers = 13\nmax_subscribers = 17\n"
                  "[topic m]\nmax_publishers = 2\nmax_subscribers = 2\n");
        child = child_start(&p, 1);
        assert_int_equal(child_says(&child, &said), 0);
        assert_int_equal(child_says(&child, &said), 0);
        child_kill(&child);
        TURN_UNTIL(!fix.bus->processes);
        c = client_open();
        assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "d", NULL), -EAGAIN);
        assert_non_null(strstr(answer.text, "out of memory"));
        assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "new", NULL),
                         seats[i] == 13 ? -ENOMEM : 0);
        calloc_refused = 0;
        assert_int_equal(ask_topic(c, WIRE_TOPIC_CREATE, "new", NULL), 0);
        TURN_UNTIL(topic("d")->standing == TOPIC_SERVING);
        assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "d", NULL), 0);
        assert_int_equal(ask_topic(c, WIRE_TOPIC_REMOVE, "new", NULL), 0);
        close(c);
    }
}

static void
move_in(const char *from, const char *to)
{
    char a[128], b[128];

    (void)snprintf(a, sizeof a, "%s/%s", fix.dir, from);
    (void)snprintf(b, sizeof b, "%s/%s", fix.dir, to);
    assert_int_equal(rename(a, b), 0);
}

/* What the daemon has open is hidden beneath what was mounted over it: the log is there, and not where the daemon can see it. */
static void
a_store_that_came_too_late_is_told(void **state)
{
    int c;

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\n");
    bus_die();
    move_in("store", "disk");
    bus_start("");
    assert_int_equal(topic("d")->standing, TOPIC_WAITING);
    assert_non_null(strstr(topic("d")->why, "its log is gone"));
    move_in("store", "hidden");
    move_in("disk", "store");
    TURN_UNTIL(strstr(topic("d")->why, "was mounted after leatd had started"));
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_TOPIC_REMOVE, "d", NULL), -EBADMSG);
    close(c);
    bus_die();
    bus_start("");
    assert_int_equal(topic("d")->standing, TOPIC_SERVING);
}

/* A publisher can write over the owner and mode in its topic's header, but not in the log. */
static void
a_header_gives_no_rights_to_a_log(void **state)
{
    struct ring_geometry *geo;
    unsigned char *map;
    int fd;

    (void)state;
    for (int i = 0; i < 3; i++) {
        bus_start("[topic a]\ndeclare = yes\ndurability = disk\nmode = 0620\n");
        bus_die();
        map = spoil(SHM_KIND_DATA, &fd);
        geo = (void *)(map + RING_GEOMETRY_AT);
        *(i == 0 ? &geo->mode : i == 1 ? &geo->uid : &geo->gid) ^= 4;
        bus_start("");
        assert_int_equal(topic("a")->standing, TOPIC_DAMAGED);
        assert_non_null(strstr(topic("a")->why, "another owner or mode"));
        bus_die();
        munmap(map, 65536);
        close(fd);
        memory_remove(prefix, "a");
    }
}

/* Who wrote another topic's id over its own does not get what is meant for that one. */
static void
a_borrowed_id_takes_nothing_from_its_owner(void **state)
{
    struct wire_answer mine;
    struct ring_view view;
    struct topic *t;
    uint64_t id;
    int c;

    (void)state;
    for (int thief = 0; thief < 2; thief++) {
        const char *owner = thief ? "b" : "a", *other = thief ? "a" : "b";
        bus_start("[topic a]\ndeclare = yes\n[topic b]\ndeclare = yes\n");
        memcpy(prefix, fix.bus->prefix, sizeof prefix);
        id = topic(owner)->id;
        c = client_open();
        assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, owner, NULL), 0);
        mine = answer;
        claim_publisher(owner, &mine);
        view = topic(other)->memory.view;
        ((struct shm_header *)view.data)->topic_id = id;
        ((struct shm_header *)view.control)->topic_id = id;
        close(c);
        bus_die();
        bus_start("");
        t = topic(owner);
        assert_int_equal(t->id, id);
        c = client_open();
        assert_ptr_equal(topic_by_id(fix.bus, id, t->publishers[mine.index].process), t);
        assert_int_equal(ask_close(c, WIRE_PUB_CLOSE, &mine), 0);
        close(c);
        bus_die();
        memory_remove(prefix, "a");
        memory_remove(prefix, "b");
    }
}

/* Its messages would be kept nowhere, and nobody would know. */
static void
a_header_takes_nothing_off_the_disk(void **state)
{
    struct ring_geometry *geo;
    unsigned char *map;
    const char *why;
    int fd;

    (void)state;
    bus_start("[topic a]\ndeclare = yes\ndurability = disk\n");
    bus_die();
    map = spoil(SHM_KIND_DATA, &fd);
    geo = (void *)(map + RING_GEOMETRY_AT);
    geo->durability = RING_MEMORY;
    assert_int_equal(ring_plan(geo, &why), 0);
    bus_start("");
    assert_int_equal(topic("a")->standing, TOPIC_DAMAGED);
    assert_non_null(strstr(topic("a")->why, "has a log"));
    munmap(map, 65536);
    close(fd);
}

/* A state in shared memory, where publishers can write, and where a stop with keep = no says the same, takes no log away. */
static void
a_removed_ring_leaves_its_log(void **state)
{
    struct topic *t;
    uint64_t id;
    int c;

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\n");
    t = topic("d");
    id = t->id;
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "d", NULL), 0);
    write_n(t, answer.index, 10);
    ring_topic(c, t->id);
    TURN_UNTIL(atom_load_relaxed(&ring_daemon(&t->memory.view)->durable) == 10);
    close(c);
    state_set(&t->memory.view, RING_TOPIC_REMOVED, "test");
    bus_die();
    bus_start("");
    t = topic("d");
    assert_int_equal(t->standing, TOPIC_SERVING);
    assert_int_equal(t->id, id);
    assert_int_equal(tail_of(t), 11);
    assert_int_equal(state_get(&t->memory.view), RING_TOPIC_OK);
}

/* Killed in the middle of a removal that somebody asked for: the log went first. */
static void
a_removal_that_was_cut_off_is_finished(void **state)
{
    char command[160];

    (void)state;
    bus_start("[topic d]\ndeclare = yes\ndurability = disk\n");
    state_set(&topic("d")->memory.view, RING_TOPIC_REMOVED, "test");
    bus_die();
    (void)snprintf(command, sizeof command, "cd '%s/store' && mv d d~gone-0123456789abcdef",
                   fix.dir);
    assert_int_equal(system(command), 0);
    bus_start("");
    assert_null(topic_by_name(fix.bus, "d"));
    bus_die();
    bus_start("");
    assert_null(topic_by_name(fix.bus, "d"));
    (void)snprintf(command, sizeof command, "test -z \"$(ls '%s/store')\"", fix.dir);
    assert_int_equal(system(command), 0);
}

/* --- a hostile client --- */

#define ROUNDS 60

static uint64_t dice;

static uint64_t
roll(uint64_t sides)
{
    dice = dice * 6364136223846793005ull + 1442695040888963407ull;
    return (dice >> 20) % sides;
}

static uint64_t
nonsense(uint64_t was)
{
    switch (roll(7)) {
    case 0:
        return 0;
    case 1:
        return UINT64_MAX;
    case 2:
        return was + 1;
    case 3:
        return was - 1;
    case 4:
        return was ^ 1ull << roll(64);
    case 5:
        return roll(100);
    default:
        return roll(1ull << 40) << 24 | roll(1ull << 24);
    }
}

/* Everything a client can map for writing: all of the data object through its descriptor, and the control object. */
static void
scribble(const char *name, enum shm_kind kind)
{
    char object[SHM_NAME_ROOM];
    uint64_t size, *words;
    void *map;
    int fd;

    shm_name_object(prefix, name, kind, object);
    if (shm_segment_open(object, true, &fd, &size))
        return;
    size = shm_min(size, 32768);
    assert_int_equal(shm_segment_map(fd, size, &map), 0);
    assert_int_equal(shm_segment_writable(fd, map, 0, size), 0);
    words = map;
    for (uint64_t n = 1 + roll(40); n; n--) {
        uint64_t at = roll(size / 8);
        words[at] = nonsense(words[at]);
    }
    shm_segment_unmap(map, size);
    close(fd);
}

static void
one_round(const char *rules)
{
    static const char *const victims[] = {"a", "d"};
    union wire_any p[] = {pub_packet("a"), sub_packet("a", NULL, RING_KIND_GATING), pub_packet("d"),
                          sub_packet("d", "n", RING_KIND_DURABLE)};
    struct wire_answer said;
    struct child child;
    int c;

    bus_start(rules);
    memcpy(prefix, fix.bus->prefix, sizeof prefix);
    child = child_start(p, 4);
    for (int i = 0; i < 5; i++)
        assert_int_equal(child_says(&child, &said), 0);
    c = client_open();
    assert_int_equal(ask_topic(c, WIRE_PUB_OPEN, "b", NULL), 0);
    write_n(topic("b"), answer.index, 3);
    for (uint64_t n = 1 + roll(3); n; n--) {
        const char *victim = victims[roll(2)];
        scribble(victim, roll(3) ? SHM_KIND_DATA : SHM_KIND_CONTROL);
        ring_topic(c, topic(victim)->id);
        turn();
        turn();
    }
    child_kill(&child);
    TURN_UNTIL(!fix.bus->processes->next);
    bus_die();
    scribble(victims[roll(2)], roll(3) ? SHM_KIND_DATA : SHM_KIND_CONTROL);
    bus_start(rules);
    for (int i = 0; i < 5; i++)
        turn();
    assert_int_equal(topic("b")->standing, TOPIC_SERVING);
    assert_int_equal(tail_of(topic("b")), 4);
    close(c);
    bus_die();
    (void)memory_list(prefix, remove_one, prefix);
}

static void
scribbles_hurt_their_own_topic_only(void **state)
{
    char command[128];

    (void)state;
    dice = loop_clock();
    print_message("seed %llu\n", (unsigned long long)dice);
    for (int i = 0; i < ROUNDS; i++) {
        one_round("[topic ?]\ndeclare = no\ncreate = yes\ndepth = 64\nlane_size = 4K\n"
                  "max_subscribers = 4\nmax_publishers = 4\n[topic d]\ndurability = disk\n");
        (void)snprintf(command, sizeof command, "rm -rf '%s/store'", fix.dir);
        assert_int_equal(system(command), 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rings_and_their_owners_are_taken_over, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(who_died_meanwhile_is_settled_at_once, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(what_was_never_claimed_is_taken_back, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_log_goes_on_with_its_ring_and_without, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_name_keeps_its_process_over_a_restart, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_floor_outlives_its_subscriber_and_the_daemon, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_newer_version_is_refused_and_untouched, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_ring_of_a_newer_log_is_untouched, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(damage_is_set_aside_with_a_reason, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(nonsense_in_the_cursors_is_put_right, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(the_control_objects_header_is_written_anew, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(what_nobody_ever_saw_is_taken_away, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(an_owner_that_has_become_a_thread_is_dead, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(what_another_user_made_is_not_taken_over, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_log_that_cannot_be_read_is_looked_at_again, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_log_of_another_user_is_not_served, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_log_that_cannot_be_read_now_is_tried_again, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(seats_that_cannot_be_taken_now_are_tried_again, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(who_waits_for_a_log_holds_up_nobody, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_topic_whose_log_is_gone_can_be_removed, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_store_that_came_too_late_is_told, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_disk_topic_without_its_log_waits_for_it, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_ring_without_seats_is_made_again, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(scribbles_hurt_their_own_topic_only, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_header_gives_no_rights_to_a_log, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(a_borrowed_id_takes_nothing_from_its_owner, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_header_takes_nothing_off_the_disk, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(a_removed_ring_leaves_its_log, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(a_removal_that_was_cut_off_is_finished, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(lanes_that_cannot_be_are_damage_of_their_topic, bus_setup,
                                        bus_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
