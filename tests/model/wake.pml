/* wake.pml - sleeping on a futex word and being woken: word = sequence << 1 | armed.
 *
 * Publishers and readers stand for any waker and any sleeper: readers that wait for messages, publishers that wait for
 * space, whoever waits for `durable`. A store waits in the publisher's store buffer until flushed by chance, by a locked
 * instruction, by death, or by the membarrier of a sleeper.
 *
 *   pub()      shm_event_claim, shm_event_wake                    shm/event.h, called through ring_publish_due
 *   reader()   shm_event_arm, shm_event_barrier, shm_event_wait   shm/event.c
 *   daemon()   shm_event_bump                                     after any death
 *
 *   publisher:  commit; v = word; if v is odd and CAS(word, v, v + 1): wake all
 *   reader:     drain; v = fetch_or(word, 1) | 1; membarrier; look again; sleep while word == v
 *   daemon:     word = (word | 1) + 1; wake all
 *
 * There are no counts and no bits of a sleeper's own, so a killed sleeper leaves nothing. Asserted at rest: no living
 * reader sleeps while a message waits. A publisher stopped between its CAS and its wake delays those it owed it to: their
 * sleep is bounded for that (not modelled).
 *
 * shape      -DNPUB=1 -DMSGS=3 (per publisher), two readers
 *            -DBOTH      the publisher's store is seq_cst, the reader pays no membarrier
 *            -DKILLS=n   publishers and readers die at any step
 * mutations (each must fail):
 *   SHARED_FLAG   only a flag, no sequence: one reader arms it again between another's look and its sleep
 *   NO_FENCE      neither side pays for the order of store and load
 *   NO_LOOK       reader does not look again after arming
 *   LOOK_FIRST    reader looks again, then arms
 *   NO_DAEMON     with KILLS=1: daemon does not wake after a death
 */
#ifndef NPUB
#define NPUB 1
#endif
#ifndef MSGS
#define MSGS 3
#endif
#ifndef KILLS
#define KILLS 0
#endif
#define R 2

byte word, com, seen[R];
byte buf[NPUB];       /* commits still in a store buffer: 0 or 1 */
bool asleep[R];
bool dead[NPUB + R], settled[NPUB + R], done[NPUB];
byte kills;

inline flush(p)
{
    com = com + buf[p];
    buf[p] = 0
}

#if NPUB == 2
#define FLUSH_ALL flush(0); flush(1)
#else
#define FLUSH_ALL flush(0)
#endif

inline wake_all()
{
    asleep[0] = false;
    asleep[1] = false
}

proctype pub(byte me)
{
    byte m, v;
    {
        do
        :: atomic { m < MSGS -> m++; flush(me) }; /* the claim's locked instruction */
#ifdef BOTH
            atomic { com++ }; /* store seq_cst */
#else
            atomic { buf[me] = 1 }; /* store release */
#endif
            atomic { /* load seq_cst */
                v = word;
                if
                :: v & 1
                :: else -> v = 0; goto next
                fi
            };
            atomic { /* CAS seq_cst: drains the store buffer */
                flush(me);
#ifdef SHARED_FLAG
                if :: word == 1 -> word = 0; v = 0 :: else -> v = 0; goto next fi
#else
                if :: word == v -> word = v + 1; v = 0 :: else -> v = 0; goto next fi
#endif
            };
            atomic { wake_all() };
next:       skip
        :: atomic { m == MSGS -> done[me] = true; break }
        od
    } unless { dead[me] }
}

proctype reader(byte me)
{
    byte v;
    {
        skip;
again:
        if
        :: atomic { seen[me] < com -> seen[me]++; goto again } /* load acquire */
        :: atomic { seen[me] == com -> skip }
        fi;
#ifdef LOOK_FIRST
        if
        :: atomic { seen[me] < com -> goto again }
        :: atomic { seen[me] == com -> skip }
        fi;
#endif
        atomic { word = word | 1; v = word }; /* RMW seq_cst */
#if !defined(BOTH) && !defined(NO_FENCE)
        atomic { FLUSH_ALL }; /* membarrier */
#endif
#if !defined(NO_LOOK) && !defined(LOOK_FIRST)
        if
        :: atomic { seen[me] < com -> v = 0; goto again }
        :: atomic { seen[me] == com -> skip }
        fi;
#endif
        atomic { /* futex_wait: compares and sleeps in one step */
            if
            :: word == v -> asleep[me] = true; v = 0
            :: else -> v = 0; goto again
            fi
        };
end:
        atomic { !asleep[me] -> goto again }
    } unless { dead[NPUB + me] }
}

/* Stores leave the buffers by themselves, a killed process's too. */
active proctype hardware()
{
end:
    do
    :: atomic { buf[0] -> flush(0) }
#if NPUB == 2
    :: atomic { buf[1] -> flush(1) }
#endif
    od
}

#define UNSETTLED(k) (dead[k] && !settled[k])
active proctype daemon()
{
    byte k;
end:
    do
    :: atomic {
            UNSETTLED(0) || UNSETTLED(1) || UNSETTLED(2) || UNSETTLED(NPUB + R - 1);
            do
            :: UNSETTLED(k) -> break
            :: else -> k++
            od;
            if /* an exit drains its stores */
            :: k < NPUB -> flush(k)
            :: else -> asleep[k - NPUB] = false
            fi
        };
#ifndef NO_DAEMON
        atomic { word = (word | 1) + 1 }; /* shm_event_bump */
        atomic { wake_all() };
#endif
        atomic { settled[k] = true; k = 0 }
    od
}

active proctype killer()
{
    byte k;
end:
    do
    :: atomic {
            kills < KILLS -> select(k : 0 .. NPUB + R - 1);
            if
            :: !dead[k] && (k >= NPUB || !done[k]) -> dead[k] = true; kills++
            :: else
            fi;
            k = 0
        }
    od
}

#define SATISFIED(r) (dead[NPUB + (r)] || seen[r] == com)
active proctype rest()
{
    atomic { timeout -> assert(SATISFIED(0) && SATISFIED(1)) }
}

init {
    atomic {
        byte k;
        for (k : 0 .. NPUB - 1) { run pub(k) }
        run reader(0);
        run reader(1)
    }
}
