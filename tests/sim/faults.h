/* faults.h - a directory whose disk misbehaves on command.
 *
 * What stands in it is kept in another directory. Beneath leatd, calls fail as asked for, on files whose path contains `match`:
 *
 *   a write that fails     has done a part of its work
 *   a sync that fails      has lost every write to that file since the last sync that did not
 *   a short write          comes back with a block, and no error
 *   a full disk            gives what is left of the budget, then ENOSPC
 *
 * It keeps a record of its own: no segment of the log may be written at a range where a write, or the sync behind it, has failed.
 *
 * Served by a process of its own (FUSE); everybody in the world shares the struct. */
#ifndef TESTS_SIM_FAULTS_H
#define TESTS_SIM_FAULTS_H

#include "shm/atomic.h"
#include "tests/sim/world.h"

#define FAULTS_AT WORLD "/store"
#define FAULTS_UNDER WORLD "/under"
#define FAULTS_EVER UINT64_MAX
#define FAULTS_FILES 1024
#define FAULTS_RANGES 64

struct faults_file {
    uint64_t ino;
    uint32_t spoilt; /* ranges that failed */
    struct {
        uint64_t off, len;
    } range[FAULTS_RANGES];
};

struct faults {
    char match[32]; /* not changed while anything below is on */
    /* How many of the next calls; FAULTS_EVER: all. */
    atom_u64 writes, syncs, dir_syncs, shorts;
    atom_u64 delay_ms; /* of every write and sync */
    atom_u64 budget;   /* bytes that may still be taken; FAULTS_EVER: no limit */
    atom_u64 no_allocate;

    bool forgets;

    /* The record. */
    atom_u64 hits;   /* calls that did not do what they were asked */
    atom_u64 again;  /* writes to a segment where one had failed */
    atom_u64 unsure; /* writes to segments that no sync has followed */
    uint32_t files;
    struct faults_file file[FAULTS_FILES];
};

/* faults_open starts the server: 0 or a negative errno. One that forgets is mounted so that Linux takes RWF_DSYNC and does nothing; short writes
 * are not for it. */
int faults_open(bool forgets, struct faults **ret, pid_t *ret_server);
void faults_close(pid_t *server);

/* faults_forgive: what has failed so far may be written again. Nobody writes meanwhile. */
void faults_forgive(struct faults *f);

/* faults_clear ends all trouble. */
void faults_clear(struct faults *f);

#endif
