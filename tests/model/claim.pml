/* claim.pml - publishing against the orphan pass, batches all or none.
 *
 * A publisher claims 1 to MAXN sequence numbers by one CAS on `tail`, then stamps its slots from the last to the
 * first: INNER on each but the first, COMMITTED on the first, last of all. A killer ends publishers (and with
 * -DDCRASH=1 the daemon) before any single step. A stopped process needs no modelling: any process may rest at any
 * step for any time. Interleaving is sequentially consistent; each memory order the rule needs has a mutation that
 * moves the step by hand.
 *
 *   pub()      ring_publish                    ring/ring_publish.c
 *   daemon()   ring_settle, ring_entry_free    ring/ring_orphan.c
 *   reader()   ring_receive                    ring/ring_receive.c
 *   seeker()   ring_receive after a seek       ring/ring_receive.c
 *
 * Stamps are seq << 3 | state, and here seq is kept modulo 32, so that the first lap's stamps, (q - depth) << 3 | EMPTY,
 * wrap below zero as they do in 64 bits.
 *
 * Asserted: no two own a slot; no stamp of a living or a finished batch is aborted; no stamp of a newer lap is
 * overwritten; what is delivered belongs to a batch whose first slot is COMMITTED; a reader that comes in order has
 * one verdict for all slots of a batch; payload is the right one; nobody is stuck (an invalid end state).
 *
 * shape      -DMAXN=2 -DNPUB=2 -DROUNDS=2 -DDEPTH=2 -DCRASHES=1 -DDCRASH=0
 *            -DLOSSY        no gating cursor: publishers may lap the reader
 *            -DTWO_DAEMONS  two passes run at once
 *            -DREUSE        a settled entry is given to a new publisher
 *            -DHANGUP       a publisher that is only cut off (it lives) is told apart from a dead one
 *            -DSEEK         one more reader starts at any sequence number, also inside a batch
 *            -DINNER_ONLY   the run that is aborted with an orphan goes over INNER slots only, not over more orphans
 *            -DFILL_FIRST   all slots of a batch are BUSY and filled before the first of them is stamped
 * mutations (each must fail):
 *   STALE_INTENT   intent is left standing while the publisher waits for space
 *   ONE_PASS       daemon makes one pass per death
 *   NO_LAPCHECK    with LOSSY: claim without looking at the slot's last owner
 *   PLAIN_STORE    with TWO_DAEMONS: daemon stamps by plain store
 *   INTENTS_FIRST  daemon reads intents before tail
 *   TAIL_FIRST     with CRASHES=2: daemon reads tail before it takes the list of the dead
 *   NO_RECHECK     with PLAIN_STORE: daemon reads stamps before intents and does not read them again
 *   INTENT_LATE    publisher stores the intent after the claim
 *   CLEAR_EARLY    publisher clears the intent before the last stamp (lost release order)
 *   HANGUP_IS_DEATH  with HANGUP: a socket hang-up counts as death
 *   FREE_EARLY     with REUSE and DCRASH=1: entry freed first, start-up pass only for entries of the dead
 *   STAMP_FORWARD  a batch is stamped from its first slot to its last
 *   NO_LOOKAHEAD   the pass aborts the orphan only and leaves INNER slots behind it standing
 *   RUN_FORWARD    the pass aborts the run front to back, the orphan before the INNER slots behind it
 *   INNER_FORWARD  with MAXN=3 DEPTH=3 DCRASH=1: the run is aborted front to back, only its first slot last
 *   NO_WALKBACK    with SEEK: a reader set inside a batch delivers an INNER slot without looking for the first
 *   NO_REREAD      with SEEK: it does not read its own slot again after it found the first's slot in use anew
 */
#ifndef MAXN
#define MAXN 2
#endif
#ifndef NPUB
#define NPUB 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef DEPTH
#define DEPTH 2
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef DCRASH
#define DCRASH 0
#endif
#ifdef REUSE
#define NINST (NPUB + 1) /* one new publisher takes over the entry of the first dead one */
#else
#define NINST NPUB
#endif

#define EMPTY 0
#define BUSY 1
#define COMMITTED 2
#define INNER 3
#define ABORTED 4
#define ST(s, x) ((((s) & 31) << 3) + (x))
#define STATE(w) ((w) & 7)
#define IX(s) ((s) % DEPTH)
/* How far the stamp's sequence number is ahead of s: 0 the same, up to 15 newer, from 16 older. */
#define AHEAD(w, s) ((((w) >> 3) - (s)) & 31)
#define NEWER(w, s) (AHEAD(w, s) >= 1 && AHEAD(w, s) <= 15)
#define FINAL(w, s) (AHEAD(w, s) == 0 && STATE(w) >= COMMITTED)
#define DONE(w, s) (FINAL(w, s) || NEWER(w, s))

/* The slot is free for s: its stamp is that of s - depth and says anything but BUSY. */
#define LAPFREE(s) (AHEAD(stamp[IX(s)], (s) - DEPTH) == 0 && STATE(stamp[IX(s)]) != BUSY)
#ifdef LOSSY
#define ROOM(s, n) ((n) <= DEPTH)
#else
#define ROOM(s, n) ((s) + (n) <= cursor + DEPTH)
#endif
#ifdef NO_LAPCHECK
#define LAP(s, n) true
#else
#define LAP(s, n) (LAPFREE(s) && ((n) < 2 || LAPFREE((s) + 1)) && ((n) < 3 || LAPFREE((s) + 2)))
#endif

/* shared memory */
byte tail = 1;
byte stamp[DEPTH];
byte bytes[DEPTH];  /* inline payload: the sequence number it was written for */
byte intent[NPUB];  /* ONE word seq * 4 + n; 0 = none */
byte cursor = 1;

/* the kernel's and the daemon's knowledge */
byte owner[NPUB];   /* entry -> instance + 1, 0 = free; in shared memory, written by the daemon */
bool dead[NINST], done[NINST], cut[NINST], started[NINST];
bool settled[NINST];
byte crashes, dcrashes;
bool dkill;

/* ghosts */
bool moved;         /* something happened since the daemon's pass began: shows a livelock as a dead end */
byte own[DEPTH];    /* instance + 1 that claimed this slot for a batch that is not decided yet, 0 = decided */
byte place[DEPTH];  /* the slot's place in the batch that claimed it last */
byte off[DEPTH];    /* the same for the batch whose stamp it bears (where it is lapped the old stamp stands on) */
bool undecided[DEPTH]; /* it bears an INNER stamp of a batch that is not decided yet */

/* One atomic block is one access to shared memory, with ghosts and private steps: `unless` switches the
 * partial-order reduction off, so private steps are folded in by hand. Conditions that only ever turn true for a
 * fixed s (ROOM, LAP) are folded too. */
inline write_slot(x)
{
    assert(own[IX(x)] == me + 1);
    stamp[IX(x)] = ST(x, BUSY);
    off[IX(x)] = place[IX(x)];
    bytes[IX(x)] = x
}

/* Slot x of the batch that begins at f: the first slot's stamp decides the whole batch. */
inline stamp_slot(x, f)
{
    assert(own[IX(x)] == me + 1 && stamp[IX(x)] == ST(x, BUSY));
    stamp[IX(x)] = ((x) == (f) -> ST(x, COMMITTED) : ST(x, INNER));
#ifdef STAMP_FORWARD
    own[IX(x)] = 0
#else
    if
    :: (x) == (f) ->
        i = 0;
        do
        :: i < n ->
            assert(own[IX(f + i)] == me + 1);
            assert(i == 0 || stamp[IX(f + i)] == ST(f + i, INNER));
            own[IX(f + i)] = 0;
            undecided[IX(f + i)] = false;
            i++
        :: else -> i = 0; break
        od
    :: else -> undecided[IX(x)] = true
    fi
#endif
}

proctype pub(byte me; byte e)
{
    byte s, n, k, r, i;
    {
        do
        :: atomic { r < ROUNDS -> select(n : 1 .. MAXN) };
again:      atomic { /* flow: tail, cursors and stamps, load acquire */
                s = tail;
                if
                :: ROOM(s, n) && LAP(s, n) -> goto go
                :: else
                fi
            };
            atomic { /* wait for space; must stand here without an intent */
                (tail != s || (ROOM(s, n) && LAP(s, n)));
                goto again
            };
go:
#ifndef INTENT_LATE
            atomic { intent[e] = s * 4 + n; moved = true }; /* store release */
#endif
            atomic { /* claim: CAS acq_rel */
                if
                :: tail == s ->
                    tail = s + n;
                    i = 0;
                    do
                    :: i < n ->
                        assert(own[IX(s + i)] == 0);
                        own[IX(s + i)] = me + 1;
                        place[IX(s + i)] = i;
                        i++
                    :: else -> i = 0; break
                    od;
                    goto won
                :: else
                fi
            };
#ifdef STALE_INTENT
            goto again;
#else
            atomic { intent[e] = 0; moved = true; goto again }; /* lost: withdraw before waiting */
#endif
won:
#ifdef INTENT_LATE
            atomic { intent[e] = s * 4 + n; moved = true };
#endif
#ifdef FILL_FIRST
            k = 0;
            do
            :: atomic { k < n -> write_slot(s + k); k++ }
            :: atomic { k == n -> break }
            od;
            do
            :: atomic { k > 1 -> k--; stamp_slot(s + k, s) }
            :: atomic { k == 1 -> k = 0; break }
            od;
#elif defined(STAMP_FORWARD)
            k = 0;
            do
            :: atomic { k < n - 1 -> write_slot(s + k) };
                atomic { stamp_slot(s + k, s); k++ }
            :: atomic { k == n - 1 -> write_slot(s + k); break }
            od;
#else
            k = n;
            do
            :: atomic { k > 1 -> k--; write_slot(s + k) };
                atomic { stamp_slot(s + k, s) }
            :: atomic { k == 1 -> k = 0; write_slot(s); break }
            od;
#endif
#ifdef CLEAR_EARLY
            intent[e] = 0;
            atomic { stamp_slot(s + k, s); r++; n = 0; s = 0; k = 0 }
#else
            atomic { stamp_slot(s + k, s); k = 0 };
            atomic { intent[e] = 0; moved = true; r++; n = 0; s = 0 } /* store release */
#endif
        :: atomic { r == ROUNDS -> done[me] = true; break }
        od
    } unless { dead[me] }
}

#ifdef HANGUP_IS_DEATH
#define ISDEAD(i) (dead[i] || cut[i])
#else
#define ISDEAD(i) (dead[i])
#endif
#define UNSET(i) (ISDEAD(i) && !settled[i])
#define OVER(i) (done[i] || (dead[i] && settled[i]))
#ifdef REUSE
#define UNSETTLED (UNSET(0) || UNSET(1) || UNSET(NINST - 1))
#define ALLOVER (OVER(0) && OVER(1) && (!started[NINST - 1] || OVER(NINST - 1)))
#elif NPUB == 3
#define UNSETTLED (UNSET(0) || UNSET(1) || UNSET(2))
#define ALLOVER (OVER(0) && OVER(1) && OVER(2))
#else
#define UNSETTLED (UNSET(0) || UNSET(1))
#define ALLOVER (OVER(0) && OVER(1))
#endif

/* The stamp of x becomes ABORTED. A slot whose batch is decided has no owner, so this catches a committed one; the
 * plain store may repeat what another pass has done. */
inline abort_slot(x)
{
#ifdef PLAIN_STORE
    assert(stamp[IX(x)] == ST(x, ABORTED) || (own[IX(x)] && dead[own[IX(x)] - 1]));
#else
    assert(own[IX(x)] && dead[own[IX(x)] - 1]);
#endif
    assert(!NEWER(stamp[IX(x)], x));
    stamp[IX(x)] = ST(x, ABORTED);
    own[IX(x)] = 0;
    off[IX(x)] = place[IX(x)];
    undecided[IX(x)] = false
}

/* One slot of the run: judged anew, then CAS from that stamp. Only another pass can come in between. */
inline judge_again(x)
{
#ifdef NO_RECHECK
    skip
#else
    w = stamp[IX(x)]
#endif
}

inline abort_judged(x)
{
    if
    :: DONE(w, x) && w != ST(x, INNER) -> skip /* another pass was here */
#ifdef PLAIN_STORE
    :: else -> abort_slot(x)
#else
    :: !(DONE(w, x) && w != ST(x, INNER)) && stamp[IX(x)] == w -> abort_slot(x)
    :: else -> open = true; moved = true /* somebody else moved it: look again */
#endif
    fi;
    w = 0
}

#ifdef INNER_ONLY
#define IN_RUN(x) (stamp[IX(x)] == ST(x, INNER))
#else
#define IN_RUN(x) (stamp[IX(x)] == ST(x, INNER) || (!DONE(stamp[IX(x)], x) && !(cov & (1 << (x)))))
#endif

proctype daemon()
{
    byte t, i, q, e, w, d;
    int cov;
    bool open;
#ifdef NO_RECHECK
    byte old[DEPTH];
#endif
restart:
    {
        do
        :: UNSETTLED ->
#ifdef FREE_EARLY
            atomic {
                i = 0;
                do
                :: i < NPUB ->
                    if
                    :: owner[i] && dead[owner[i] - 1] ->
                        settled[owner[i] - 1] = true; owner[i] = 0; intent[i] = 0
                    :: else
                    fi;
                    i++
                :: else -> break
                od;
                i = 0
            };
#endif
pass:
#ifdef TAIL_FIRST
            t = tail;
#endif
            atomic { /* who is dead, by entry: first of all */
                open = false; moved = false; cov = 0; d = 0; i = 0;
                do
                :: i < NPUB -> if :: owner[i] && !ISDEAD(owner[i] - 1) :: else -> d = d | (1 << i) fi; i++
                :: else -> break
                od;
                i = 0
            };
#if !defined(TAIL_FIRST) && !defined(INTENTS_FIRST)
            t = tail; /* load acquire; never inside a batch */
#endif
#ifdef NO_RECHECK
            atomic { q = 0; do :: q < DEPTH -> old[q] = stamp[q]; q++ :: else -> break od; q = 0 };
#endif
            do
            :: atomic { /* load acquire */
                    i < NPUB -> w = intent[i];
                    if
                    :: w && !(d & (1 << i)) -> cov = cov | (((1 << (w % 4)) - 1) << (w / 4))
                    :: else
                    fi;
                    w = 0; i++
                }
            :: atomic { i == NPUB -> i = 0; break }
            od;
#ifdef INTENTS_FIRST
            t = tail;
#endif
            atomic { q = (t > DEPTH -> t - DEPTH : 1) }; /* never more than depth slots, whatever tail says */
            do
            :: atomic {
                    q < t ->
#ifdef NO_RECHECK
                    w = old[IX(q)];
#else
                    w = stamp[IX(q)]; /* load acquire, after the intents */
#endif
                    if
                    :: DONE(w, q) -> w = 0; q++; goto next
                    :: !DONE(w, q) && (cov & (1 << q)) -> open = true; w = 0; q++; goto next
                    :: else -> e = q + 1
                    fi
                };
#if !defined(NO_LOOKAHEAD) && !defined(NO_RECHECK)
look:           atomic { /* how far the run of orphans and INNER slots goes; load acquire */
                    if
                    :: e < t && IN_RUN(e) -> e++; goto look
                    :: else
                    fi
                };
#endif
#ifdef RUN_FORWARD
                do
                :: atomic { q < e -> judge_again(q); abort_judged(q); q++ }
                :: atomic { q == e -> e = 0; break }
                od;
#elif defined(INNER_FORWARD)
                i = q + 1;
                do
                :: atomic { i < e -> judge_again(i); abort_judged(i); i++ }
                :: atomic { i == e -> judge_again(q); abort_judged(q); i = 0; q = e; e = 0; break }
                od;
#elif defined(TWO_DAEMONS)
                i = e;
                do
                :: atomic { i > q -> i--; judge_again(i) };
                    atomic { abort_judged(i) }
                :: atomic { i == q -> i = 0; q = e; e = 0; break }
                od;
#else
                i = e;
                do
                :: atomic { i > q -> i--; judge_again(i); abort_judged(i) }
                :: atomic { i == q -> i = 0; q = e; e = 0; break }
                od;
#endif
next:           skip
            :: atomic { q >= t -> q = 0; t = 0; break }
            od;
#ifndef ONE_PASS
#ifdef TWO_DAEMONS
            moved = true;
#endif
            if /* in C: again from a timer */
            :: atomic { open && moved -> goto pass }
            :: atomic { !open -> skip }
            fi;
#endif
            atomic { /* only now are the entries free: intent, then owner */
                open = false; cov = 0; i = 0;
                do
                :: i < NPUB ->
                    if
                    :: owner[i] && (d & (1 << i)) ->
                        settled[owner[i] - 1] = true;
#ifdef REUSE
                        intent[i] = 0; owner[i] = 0;
                        if
                        :: !started[NPUB] -> owner[i] = NPUB + 1; started[NPUB] = true; run pub(NPUB, i)
                        :: true
                        fi
#endif
                    :: else
                    fi;
                    i++
                :: else -> break
                od;
                i = 0; d = 0
            }
        :: ALLOVER -> break
        od
    } unless { dkill }
    if
    :: atomic {
            dkill -> dkill = false;
            t = 0; i = 0; q = 0; e = 0; w = 0; d = 0; cov = 0; open = false;
#if !defined(FREE_EARLY) && !defined(REUSE)
            settled[0] = false; settled[1] = false; /* the new daemon knows what is in shared memory, no more */
#endif
        }
        goto restart
    :: else
    fi
}

/* Comes in order from the first message on. */
active proctype reader()
{
    byte w;
    byte before; /* ghost: the verdict on the slot before: 0 not known, 1 delivered, 2 stepped over */
    do
    :: atomic { /* load acquire */
            DONE(stamp[IX(cursor)], cursor) -> w = stamp[IX(cursor)];
            if
            :: FINAL(w, cursor) ->
                assert(!undecided[IX(cursor)]);
                assert(off[IX(cursor)] == 0 || before == 0 || before == (STATE(w) == ABORTED -> 2 : 1));
                before = (STATE(w) == ABORTED -> 2 : 1)
            :: else -> before = 0
            fi
        };
        atomic {
            if
            :: FINAL(w, cursor) ->
#ifndef LOSSY
                assert(STATE(w) == ABORTED || bytes[IX(cursor)] == cursor);
#endif
                cursor++ /* store release */
            :: else ->
#ifdef LOSSY
                cursor = cursor + AHEAD(w, cursor) - DEPTH + 1 /* overrun: the oldest possible, from the stamp, not from tail */
#else
                assert(false)
#endif
            fi;
            w = 0
        }
    :: atomic { ALLOVER && cursor == tail -> break }
    od
}

#ifdef SEEK
/* Starts at any sequence number up to the tail and reads two slots. Its place may lie inside a batch that is not
 * decided: an INNER slot counts only when the batch's first slot is COMMITTED, or in use for a newer message. Once one
 * slot was final the reader is in order and looks back no more. */
active proctype seeker()
{
    byte p, k, w;
    bool in_order;
#ifdef AT
    p = AT;
#else
    atomic { select(p : 1 .. 5) };
#endif
end:
    p <= tail;
again:
    atomic {
        DONE(stamp[IX(p)], p) || (ALLOVER && p == tail) -> w = stamp[IX(p)];
        if
        :: !FINAL(w, p) -> goto out
        :: FINAL(w, p) && (STATE(w) != INNER || in_order) ->
            assert(!undecided[IX(p)]);
            w = 0;
            if
            :: in_order -> goto out
            :: else -> in_order = true; p++; goto again
            fi
        :: else -> k = p - 1; w = 0; assert(k >= 1)
        fi
    };
#ifndef NO_WALKBACK
walk:
    atomic { /* load acquire */
        w = stamp[IX(k)];
        if
        :: w == ST(k, INNER) -> k--; w = 0; goto walk
        :: w == ST(k, ABORTED) -> w = 0; k = 0; goto again /* p is aborted by now */
        :: DONE(w, k) && STATE(w) != INNER && w != ST(k, ABORTED) -> w = 0; k = 0; goto sure
        :: NEWER(w, k) && STATE(w) == INNER -> w = 0; k = 0; goto sure
        :: else -> w = 0
        fi
    };
    atomic { DONE(stamp[IX(k)], k); k = 0; goto again }; /* not decided: wait as for a message */
#endif
sure:
#if defined(NO_WALKBACK) || defined(NO_REREAD)
    assert(NEWER(stamp[IX(p)], p) || (stamp[IX(p)] == ST(p, INNER) && !undecided[IX(p)]));
#else
    atomic { /* again, after the first: it was aborted before the first's slot could be used anew */
        if
        :: stamp[IX(p)] == ST(p, INNER) -> assert(!undecided[IX(p)]); in_order = true; p++; k = 0; goto again
        :: else -> k = 0; goto again
        fi
    };
#endif
out:
    atomic { p = 0; k = 0; w = 0; in_order = false }
}
#endif

active proctype killer()
{
    byte k;
end:
    do
    :: atomic {
            crashes < CRASHES -> select(k : 0 .. NINST - 1);
            if
            :: !done[k] && !dead[k] && started[k] -> dead[k] = true; moved = true; crashes++
            :: else
            fi;
            k = 0
        }
    :: atomic { dcrashes < DCRASH && !dkill && !ALLOVER -> dkill = true; dcrashes++ }
#ifdef HANGUP
    :: atomic { !cut[0] && !done[0] -> cut[0] = true }
#endif
    od
}

init {
    atomic {
        byte k;
        for (k : 1 .. DEPTH) { stamp[IX(k)] = ST(k - DEPTH, EMPTY) }
        for (k : 0 .. NPUB - 1) { owner[k] = k + 1; started[k] = true; run pub(k, k) }
        run daemon();
#ifdef TWO_DAEMONS
        run daemon();
#endif
    }
}
