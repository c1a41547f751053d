/* atomic.h - the only user of <stdatomic.h>: each access says its order in its name.
 *
 * Every releasing store in the tree carries a comment "release: LABEL", every acquiring load names
 * the same label, "acquire: LABEL", and the sleep/wake and attach hand-shakes, which need a single total
 * order, say "seq: LABEL". A test pairs them. docs/memory-model.md says for each label what would
 * break without it.
 *
 * Orders are operations, not fences, because the thread sanitizer cannot see fences. Two places
 * need more than C11's operations can say, and have a name of their own here:
 *
 *   atom_store_before_writes   a store that is visible before any later plain write, and after all
 *                              that came before it
 *   atom_load_after_reads      a load that happens after all earlier plain reads
 *
 * Neither makes a happens-before edge that race freedom depends on; both only order one word
 * against bytes that are validated afterwards, so the sanitizer loses nothing by their being a
 * compiler barrier there.
 */
#ifndef SHM_ATOMIC_H
#define SHM_ATOMIC_H

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

typedef _Atomic uint64_t atom_u64;
typedef _Atomic uint32_t atom_u32;

_Static_assert(sizeof(atom_u64) == 8 && sizeof(atom_u32) == 4, "atomics have no room for locks");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "lock-free, always");

#define atom_load_relaxed(p) atomic_load_explicit(p, memory_order_relaxed)
#define atom_load_acquire(p) atomic_load_explicit(p, memory_order_acquire)
#define atom_load_seq(p) atomic_load_explicit(p, memory_order_seq_cst)
#define atom_store_relaxed(p, v) atomic_store_explicit(p, v, memory_order_relaxed)
#define atom_store_release(p, v) atomic_store_explicit(p, v, memory_order_release)
#define atom_store_seq(p, v) atomic_store_explicit(p, v, memory_order_seq_cst)
#define atom_add_relaxed(p, v) atomic_fetch_add_explicit(p, v, memory_order_relaxed)
#define atom_add_seq(p, v) atomic_fetch_add_explicit(p, v, memory_order_seq_cst)
#define atom_or_seq(p, v) atomic_fetch_or_explicit(p, v, memory_order_seq_cst)

/* True when *p was `expected` and is `desired` now. */
static inline _Bool
atom_cas_acq_rel(atom_u64 *p, uint64_t expected, uint64_t desired)
{
    return atomic_compare_exchange_strong_explicit(p, &expected, desired, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

static inline _Bool
atom_cas_seq(atom_u64 *p, uint64_t expected, uint64_t desired)
{
    return atomic_compare_exchange_strong_explicit(p, &expected, desired, memory_order_seq_cst,
                                                   memory_order_relaxed);
}

static inline _Bool
atom_cas32_seq(atom_u32 *p, uint32_t expected, uint32_t desired)
{
    return atomic_compare_exchange_strong_explicit(p, &expected, desired, memory_order_seq_cst,
                                                   memory_order_relaxed);
}

#if defined(__SANITIZE_THREAD__)
#define ATOM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ATOM_TSAN 1
#endif
#endif

static inline void
atom_store_before_writes(atom_u64 *p, uint64_t v)
{
    atom_store_release(p, v);
#if defined(ATOM_TSAN)
    atomic_signal_fence(memory_order_seq_cst);
#else
    atomic_thread_fence(memory_order_release);
#endif
}

static inline uint64_t
atom_load_after_reads(const atom_u64 *p)
{
#if defined(ATOM_TSAN)
    atomic_signal_fence(memory_order_seq_cst);
#else
    atomic_thread_fence(memory_order_acquire);
#endif
    return atom_load_relaxed(p);
}

/* Keeps the compiler from moving a load before an earlier store; the processor is kept from it by
 * the membarrier of whoever goes to sleep (event.h). */
static inline void
atom_compiler_barrier(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

/* Bytes that another process may overwrite while they are read go word by word. The destination
 * of copy_in has room up to the next multiple of 8; bytes past `len` in the last word are zero. */
static inline void
atom_copy_in(atom_u64 *to, const void *from, size_t len)
{
    const unsigned char *f = from;
    uint64_t word;

    for (; len >= 8; len -= 8, f += 8) {
        memcpy(&word, f, 8);
        atom_store_relaxed(to++, word);
    }
    if (len) {
        word = 0;
        memcpy(&word, f, len);
        atom_store_relaxed(to, word);
    }
}

static inline void
atom_copy_out(void *to, const atom_u64 *from, size_t len)
{
    unsigned char *t = to;
    uint64_t word;

    for (; len >= 8; len -= 8, t += 8) {
        word = atom_load_relaxed(from++);
        memcpy(t, &word, 8);
    }
    if (len) {
        word = atom_load_relaxed(from);
        memcpy(t, &word, len);
    }
}

#endif
