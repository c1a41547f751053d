/* cut.c - the power of a real file system is cut, and what leatd makes of what is left.
 *
 *     sim_cut [lie]
 *
 * An ext4 on a loop device on a disk that loses its cache (device.h). A bus works on it (work.h); at a request drawn beforehand the disk is gone, everything
 * is killed, and what was in memory is forgotten. Then the disk comes back with what chance has left of the writes that no flush
 * had made certain, ext4 replays its journal, leatd starts, and everything it had ever reported is held against what is there. Some cuts come while ext4 or leatd recover,
 * some soon after leatd was killed and started again, and sometimes the bus goes on for a while on a disk that has gone, and must not believe it.
 *
 * lie: the same on a disk that says of a flush that it is done, and does nothing. That has to be found out, else nothing here proves anything. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/base.h"
#include "tests/sim/device.h"
#include "tests/sim/work.h"
#include "tests/support/party.h"

#define STORE WORLD "/store"
#define CUTS_PER_DISK 25
#define LIES_MAX 30

struct machine {
    struct work *w;
    struct device *disk;
    struct prng random;
    pid_t server, daemon, guest[3];
    bool lies;
    uint64_t cuts, in_recovery, daemons, writes, lost, torn;
};

static const char *const kinds[] = {"io_uring", "block"};

static bool
chance(struct machine *m, uint64_t of)
{
    return !prng_below(&m->random, of);
}

static bool
is_off(const struct machine *m)
{
    return atom_load_seq(&m->disk->off);
}

/* --- a disk ----------------------------------------------------------------------------------- */

static bool
attach(char name[32], int *ret)
{
    *ret = device_attach(name);
    return *ret >= 0;
}

static bool
make_file_system(struct machine *m)
{
    const char *block = chance(m, 4) ? "1024" : "4096";
    char name[32];
    pid_t pid;
    int loop, status = -1;

    if (!attach(name, &loop))
        return false;
    pid = world_child();
    if (!pid) {
        (void)execlp("mkfs.ext4", "mkfs.ext4", "-q", "-F", "-b", block, "-m", "0", "-E",
                     "nodiscard,lazy_itable_init=0,lazy_journal_init=0", name, (char *)NULL);
        _exit(127);
    }
    if (pid > 0)
        status = world_ended(&pid, 60000);
    if (fsync(loop))
        status = -1;
    (void)close(loop);
    return !status;
}

/* False: the power went meanwhile, or there is something wrong, and noted. */
static bool
mount_store(struct machine *m)
{
    static const char *const options[] = {NULL, "data=writeback", "nodelalloc", "commit=1"};
    const char *how = options[prng_below(&m->random, sizeof options / sizeof *options)];
    char name[32];
    int loop, r;

    if (!attach(name, &loop)) {
        work_fail(m->w, "no loop device: %s", strerror(-loop));
        return false;
    }
    r = mount(name, STORE, "ext4", MS_NOATIME, how) ? -errno : 0;
    (void)close(loop);
    if (r && !is_off(m))
        work_fail(m->w, "ext4 cannot be mounted after a cut: %s", strerror(-r));
    return !r;
}

/* What was in flight for a process that has died keeps its file system busy for a moment. */
static void
unmount_store(struct machine *m)
{
    uint64_t until = party_now_ns() + 20000000000u;
    int r;

    while ((r = umount2(STORE, 0)) && errno == EBUSY && party_now_ns() < until)
        party_breathe();
    if (r && errno != EINVAL)
        work_fail(m->w, "unmounting: %s", strerror(errno));
    while (atom_load_seq(&m->disk->users) && party_now_ns() < until)
        party_breathe();
    if (atom_load_seq(&m->disk->users))
        work_fail(m->w, "the loop device does not go");
}

/* --- a cut ------------------------------------------------------------------------------------ */

static void
wait_ms(uint64_t ms)
{
    uint64_t until = party_now_ns() + ms * 1000000;

    while (party_now_ns() < until)
        party_breathe();
}

static void
wait_off(struct machine *m, uint64_t ms)
{
    uint64_t until = party_now_ns() + ms * 1000000;

    while (!is_off(m) && party_now_ns() < until && !atom_load_seq(&m->w->failed))
        party_breathe();
    device_cut(m->disk);
}

static void
power_cycle(struct machine *m)
{
    struct device_cut cut;

    for (unsigned i = 0; i < sizeof m->guest / sizeof *m->guest; i++)
        world_kill(&m->guest[i]);
    world_kill(&m->daemon);
    work_note_facts(m->w);
    world_forget_memory();
    unmount_store(m);
    cut = device_power(m->disk, &m->random);
    m->cuts++;
    m->writes += cut.writes;
    m->lost += cut.lost;
    m->torn += cut.torn;
}

/* --- a life of the bus ------------------------------------------------------------------------ */

static bool
start_daemon(struct machine *m)
{
    if (work_daemon(m->w, kinds[prng_below(&m->random, 2)], &m->daemon))
        return true;
    if (!is_off(m))
        work_fail(m->w, "leatd did not start after a cut");
    return false;
}

/* Everything comes back, and is looked at; or is cut short in that. */
static bool
recover(struct machine *m)
{
    bool again = chance(m, 4);
    const char *const verify[] = {"verify", "-q", WORK_TOPIC, NULL};

    if (again)
        device_arm(m->disk, 1 + prng_below(&m->random, 30));
    if (!mount_store(m) || !start_daemon(m) || again) {
        if (again)
            wait_off(m, 100);
        m->in_recovery += is_off(m);
        return false;
    }
    if (!work_done(m->w, work_audit, "the audit"))
        return false;
    if (!m->lies && work_tool(m->w, WORLD "/verify", verify) > 1)
        work_fail(m->w, "leat verify is not content");
    return !atom_load_seq(&m->w->failed);
}

static void
work(struct machine *m)
{
    m->guest[0] = work_guest(m->w, work_publish);
    m->guest[1] = work_guest(m->w, work_publish);
    m->guest[2] = work_guest(m->w, work_subscribe);
    if (chance(m, 3)) {
        wait_ms(prng_below(&m->random, 100));
        world_kill(&m->daemon);
        m->daemons++;
        device_arm(m->disk, 1 + prng_below(&m->random, chance(m, 2) ? 20 : 500));
        (void)start_daemon(m);
    } else {
        device_arm(m->disk, 1 + prng_below(&m->random, chance(m, 4) ? 2000 : 200));
    }
    wait_off(m, 1000);
    if (chance(m, 3))
        wait_ms(prng_below(&m->random, 50));
}

static void
reset(struct machine *m)
{
    struct work *w = m->w;

    w->depth = chance(m, 2) ? 64 : 1024;
    w->lane_size = 256 << 10;
    w->retention_bytes = 4 << 20;
    work_forget(w);
}

static void
live(struct machine *m, uint64_t cuts)
{
    m->disk->lies = false;
    if (!make_file_system(m))
        work_fail(m->w, "no ext4 could be made");
    m->disk->lies = m->lies;
    reset(m);
    for (uint64_t i = 0; i < cuts && !atom_load_seq(&m->w->failed); i++) {
        if (recover(m))
            work(m);
        else
            device_cut(m->disk);
        if (!atom_load_seq(&m->w->failed))
            power_cycle(m);
    }
}

static int
run(bool lies)
{
    static struct machine m;
    uint64_t goal = lies ? LIES_MAX : fixture_is_full() ? 300 : 30;

    m = (struct machine){.random = {fixture_seed()}, .lies = lies, .w = work_new(STORE)};
    if (!m.w || mkdir(STORE, 0700) || device_open(&m.disk, &m.server)) {
        printf("no file system in user space can be had here\n");
        return 77;
    }
    m.w->gone = &m.disk->off;
    while (m.cuts < goal && !atom_load_seq(&m.w->failed))
        live(&m, shm_min(goal - m.cuts, CUTS_PER_DISK));
    printf("%" PRIu64 " cuts, %" PRIu64 " of them in recovery, %" PRIu64
           " behind a death of leatd; of %" PRIu64 " writes that were not certain %" PRIu64
           " were lost, %" PRIu64 " torn; %" PRIu64 " messages sent\n",
           m.cuts, m.in_recovery, m.daemons, m.writes, m.lost, m.torn, atom_load_seq(&m.w->sent));
    if (atom_load_seq(&m.w->failed))
        printf("%s: %s\n", lies ? "found out" : "FAILED", m.w->why);
    if (!lies && atom_load_seq(&m.w->failed))
        work_show(m.w);
    return lies == !atom_load_seq(&m.w->failed);
}

static bool lie;

static int
inside(void)
{
    return run(lie);
}

int
main(int argc, char **argv)
{
    lie = argc > 1 && !strcmp(argv[1], "lie");
    return world_has("/dev/fuse") && world_has("/dev/loop-control") ? world_run(inside) : 77;
}
