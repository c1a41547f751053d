/* disk.h - storage whose power can be cut: the verbs of daemon/io.h, done on real files and remembered.
 *
 * For the files of one topic it knows what is certainly on the disk and what is not yet: writes begun or done and not synced, names
 * made, changed or removed and not synced, lengths. From that it builds, at any moment, directories as a cut could leave them: what
 * is certain is there; of everything else any part may be there, in any order; a write may be torn at 512 bytes or at 4 KiB, with
 * garbage in one sector of it.
 *
 *   write, IO_DURABLE   certain when it is done           write          certain after a sync of the file that began later
 *   sync of a file      certain: what was done before it began, and the length
 *   sync of a directory certain: the names as they were when it began
 *   rename, remove, create                                uncertain until the directory is synced; a rename is one step
 *
 * Requests are completed one by one in an order drawn by chance, so that several are in flight at every moment.
 * sim->moment is called after every step that a cut could follow. */
#ifndef TESTS_SIM_DISK_H
#define TESTS_SIM_DISK_H

#include "daemon/io_impl.h"
#include "tests/support/fixture.h"

#define SIM_FILES 64
#define SIM_NAMES 64
#define SIM_NAME 40

struct sim_write {
    struct sim_write *next;
    uint64_t done_at; /* step in which it was done; 0: in flight */
    uint64_t off;
    uint32_t len;
    uint8_t bytes[];
};

struct sim_file {
    uint64_t ino;
    uint8_t *sure; /* content that is certain, `room` bytes */
    uint64_t room, sure_size, size;
    struct sim_write *writes; /* that are not certain, oldest first */
};

struct sim_entry {
    char name[SIM_NAME];
    uint64_t ino;
};

/* Not certain yet: `to` is ino (create), or from's file (rename), or nothing (remove). */
struct sim_change {
    struct sim_change *next;
    uint64_t step, ino;
    char from[SIM_NAME], to[SIM_NAME];
};

struct sim {
    struct io io;
    struct prng random;
    int store_dir;
    char topic[64];
    uint64_t dir_ino;
    uint64_t step;
    struct sim_file file[SIM_FILES];
    struct sim_entry entry[SIM_NAMES];
    unsigned files, entries;
    struct sim_change *changes;
    struct io_list flight;
    bool immediate; /* complete everything at once (recovery waits for each) */
    bool forgets;   /* keeps nothing for a cut: it will not be cut again */
    void (*moment)(struct sim *sim, void *user);
    void *user;
};

/* A cut leaves much open. A choice is made by chance, or, in a walk, each in its turn: from one state to the next the last choice that
 * has another answer left takes it, and those behind it begin anew. */
#define SIM_CHOICES 256

struct sim_choice {
    struct prng random;
    bool walks;
    unsigned at, known;
    uint16_t took[SIM_CHOICES], of[SIM_CHOICES];
};

/* sim_choose answers with a number below n. */
uint64_t sim_choose(struct sim_choice *c, uint64_t n);

/* sim_choice_next turns to the next state of a walk: false when there is none. */
bool sim_choice_next(struct sim_choice *c);

/* sim_open takes what stands in store_dir/topic as certain. */
struct sim *sim_open(int store_dir, const char *topic, uint64_t seed);

/* sim_cut builds a directory `topic` in to_dir as a cut at this moment could leave it. 0 or a negative errno. */
int sim_cut(struct sim *sim, struct sim_choice *c, int to_dir);

#endif
