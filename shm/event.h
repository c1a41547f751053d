/* event.h - sleeping until another process has done something, and waking it.
 *
 * One 32-bit word per cause:   sequence << 1 | armed
 *
 *   sleeper                                      waker
 *     v = arm(word)           sets armed            makes its change visible (release or seq)
 *     barrier(mode)                                 if claim(word): wake(word)
 *     looks once more, goes on if there is work
 *     wait(word, v, bounded)
 *
 * No counts and no bits per sleeper: a killed sleeper leaves nothing behind. The daemon bumps and
 * wakes all words of a topic after any death, which mends a waker that died between claim and wake; every
 * wait is bounded by LIMIT_SLEEP_NS, which covers one that was stopped there.
 * Checked: tests/model/wake.pml.
 *
 * The waker's change and its look at the word must not be reordered (store, then load). Either the waker pays for
 * it (SHM_BARRIER_BOTH: a seq_cst store), or the sleeper does (SHM_BARRIER_SLEEPER: a membarrier that interrupts
 * every registered process, 1 to 6 us, paid only by who is about to sleep). The topic's header says which.
 */
#ifndef SHM_EVENT_H
#define SHM_EVENT_H

#include "shm/atomic.h"
#include "shm/base.h"

enum shm_barrier { SHM_BARRIER_BOTH = 0, SHM_BARRIER_SLEEPER = 1 };

/* shm_event_arm says that the caller is about to sleep; returns the value to wait on. Pure. */
static inline uint32_t
shm_event_arm(atom_u32 *word)
{
    return atom_or_seq(word, 1u) | 1u; /* seq: SLEEP */
}

/* shm_event_claim is true when the caller has to call shm_event_wake. `seq` where the caller's change was a
 * seq_cst store (SHM_BARRIER_BOTH). Pure. */
static inline bool
shm_event_claim(atom_u32 *word)
{
    uint32_t v = atom_load_seq(word); /* seq: SLEEP */

    return SHM_UNLIKELY(v & 1u) && atom_cas32_seq(word, v, v + 1); /* seq: SLEEP */
}

/* shm_event_barrier: what the sleeper owes between arming and its last look. 0, or -ENOSYS and the
 * like when the kernel refuses: the caller then bounds its sleep by a millisecond. */
int shm_event_barrier(enum shm_barrier mode);

/* shm_event_register makes this process one whose stores a sleeper's membarrier orders. Once is enough. 0 or a
 * negative errno: the caller must then use seq_cst stores whatever the topic's mode says. */
int shm_event_register(void);

/* shm_event_wait sleeps while *word is `value`, at most `timeout_ns` (bounded by the caller). 0 woken
 * or changed, -ETIMEDOUT, -EINTR. The word may be in a read-only map. */
int shm_event_wait(const atom_u32 *word, uint32_t value, int64_t timeout_ns);

/* shm_event_wake wakes all that sleep on the word. */
void shm_event_wake(const atom_u32 *word);

/* shm_event_bump wakes all, whether anybody is known to sleep or not: after a death, and for changes that
 * are so rare that no look is worth it. */
void shm_event_bump(atom_u32 *word);

#endif
