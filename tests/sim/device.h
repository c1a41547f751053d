/* device.h - a disk with a volatile cache, as a file that a loop device can stand on.
 *
 * A write is taken into the cache; a sync of the file (which is what a loop device makes of a flush, and of a write that is to pass the cache)
 * makes all before it certain. When the power goes, at a request drawn beforehand or when the driver says so, every request from then on fails. When it
 * comes back, what stands on the disk is drawn by chance: all that was certain; of each write since, nothing, all, or a part at a grain of 512 bytes or
 * 4 KiB with garbage in one sector of it; and those that overlap in any order.
 *
 * What a file system writes in place without a journal, its own superblock and the journal's, is whole or not there: that much every file system asks of
 * a disk.
 *
 * Served by a process of its own (FUSE); everybody in the world shares the struct. */
#ifndef TESTS_SIM_DEVICE_H
#define TESTS_SIM_DEVICE_H

#include "shm/atomic.h"
#include "tests/sim/world.h"
#include "tests/support/fixture.h"

#define DEVICE_SIZE (96ull << 20)
#define DEVICE_CACHE (256ull << 20)
#define DEVICE_WRITES (1u << 16)
#define DEVICE_AT WORLD "/device"
#define DEVICE_FILE DEVICE_AT "/disk"

struct device_write {
    uint64_t off, len;
    uint64_t at; /* of its bytes, in the cache */
};

struct device {
    atom_u64 busy;      /* a request that changes something is being served */
    atom_u64 off;       /* the power is off */
    atom_u64 countdown; /* it goes with the request that makes this 0; 0: not so */
    atom_u64 users;     /* how often the file is open */
    bool lies;          /* a sync does nothing */

    /* The server's while the power is on. */
    uint64_t requests, syncs;
    uint32_t writes; /* that are not certain, in order */
    uint64_t used;   /* of the cache */
    struct device_write write[DEVICE_WRITES];
    uint8_t sure[DEVICE_SIZE], now[DEVICE_SIZE], cache[DEVICE_CACHE];
};

struct device_cut {
    uint32_t writes, lost, torn;
};

/* device_open starts the server: 0 or a negative errno. */
int device_open(struct device **ret, pid_t *ret_server);

/* device_cut takes the power at once; at its return nothing changes any more. */
void device_cut(struct device *d);

/* device_arm takes it with the n-th request that changes something, counted from here. */
void device_arm(struct device *d, uint64_t n);

/* device_power brings it back, with what chance has left; nobody has the file open. */
struct device_cut device_power(struct device *d, struct prng *random);

/* device_attach gives the name of a loop device on it, which goes when its last user has gone. The descriptor, or a negative errno. */
int device_attach(char ret_name[32]);

#endif
