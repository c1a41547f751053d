/* bell.pml - the doorbell: how a daemon that sleeps on its sockets learns that there is something for the log.
 *
 * One word, bell = the sequence number from which on the daemon wants to be rung, OFF = not. It is rung once: the publisher
 * that takes the word back to OFF sends one packet on its connection. Stores wait in the publisher's store buffer until
 * flushed by chance, by a locked instruction, by death, or by the membarrier of the daemon.
 *
 *   pub()     ring_publish, ring_publish_due     ring/ring_publish.c
 *   ring()    leat__ring, pay_rings              client/conn.c
 *   daemon()  flush_work: advance, rest, arm     daemon/flush.c; reap_settle, session and bus around it
 *
 *   publisher:  store COMMITTED; b = bell; if last >= b and CAS(bell, b, OFF): ring
 *   ring:       send on the connection; when it is broken connect once more and send; when nobody listens, let it be
 *   waiter:     (for `durable`) rings always, before each bounded sleep, whatever the bell says
 *   daemon:     listen; bell = OFF; then for ever: take what is committed; unless bell is next already: bell = next,
 *               membarrier, look once more; sleep on the connections and on the deaths of clients. Told of a death:
 *               settle the dead one's claim, then look. A connection that was full: look.
 *
 * Asserted at rest (nothing can move, the daemon lives): all that was committed has been seen. -DSTOP stops publisher 0
 * for ever between its CAS and its ring: then what a waiter waits for is seen all the same.
 *
 * shape      -DMSGS=2 (per publisher)   two publishers
 *            -DBOTH      the publisher's store is seq_cst, nobody pays a membarrier
 *            -DKILLS=n   publishers die at any step
 *            -DDDEATHS=n the daemon dies at any step and is started again
 *            -DWAITER    publisher 1 waits for `durable` after each message   -DSTOP with WAITER
 *            -DFULL      publisher 0's connection may have no room, full of packets about other topics
 * mutations (each must fail):
 *   NO_LOOK       daemon does not look again after arming
 *   NO_FENCE      neither side pays for the order of store and load
 *   RING_EARLY    publisher looks at the bell and rings before it commits
 *   NO_DEATH_LOOK with KILLS=1: a death is settled, but the daemon does not look after it
 *   NO_RECONNECT  with DDEATHS=1: a ring on a broken connection is dropped
 *   ARM_FIRST     with DDEATHS=1: a new daemon arms the bell and looks before it listens
 *   NO_START_LOOK with DDEATHS=1: a new daemon goes to sleep at once
 *   WAIT_BY_BELL  with WAITER STOP: the waiter rings by the bell's rule only
 *   WAIT_ONCE     with WAITER STOP: it rings before its first sleep only
 *   STOP without WAITER (a limit, not a mutation: unseen until the next ring, the publisher's end, or its going on)
 *   KEEP_BELL     with DDEATHS=1: a new daemon trusts the bell that the one before it has set
 *   REARM         with FULL: the publisher whose connection is full sets the bell again for whoever publishes next
 *   NO_BURST_LOOK with FULL: daemon does not look at the topics of a client whose connection was full
 */
#ifndef MSGS
#define MSGS 2
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef DDEATHS
#define DDEATHS 0
#endif
#define NPUB 2
#define OFF 200
#define TOP (NPUB * MSGS + 1)

/* shared memory */
byte tail = 1, bell = OFF;
byte next = 1;         /* all below is seen, and kept over the daemon's death */
bool com[TOP + 1];     /* final, for everybody to see */
byte buf[NPUB];        /* COMMITTED of this number still in the publisher's store buffer */
byte claimed[NPUB];    /* its intent */

/* the kernel */
bool listens;
bool conn[NPUB], pending[NPUB]; /* connected to the daemon that lives now; a packet is in its queue */
bool stuffed[NPUB];
bool dead[NPUB], settled[NPUB], done[NPUB];
bool dkill;
byte kills, ddeaths;
bool asleep[NPUB];     /* a waiter in its bounded sleep */
byte ticks;

inline flush(p)
{
    if
    :: buf[p] -> com[buf[p]] = true; buf[p] = 0
    :: else
    fi
}

inline ring(p)
{
    do
#ifdef FULL
    :: atomic { p == 0 && conn[p] && stuffed[p] -> owes = true; break }
#endif
    :: atomic { conn[p] && !stuffed[p] -> pending[p] = true; break }
#ifdef NO_RECONNECT
    :: atomic { !conn[p] -> break }
#else
    :: atomic { !conn[p] && listens -> conn[p] = true }
    :: atomic { !conn[p] && !listens -> break }
#endif
    od
}

proctype pub(byte me)
{
    byte s, b, m;
    bool owes;
    {
        do
        :: atomic { m < MSGS -> flush(me); s = tail; tail++; claimed[me] = s; m++ }; /* CAS on tail: drains the buffer */
#ifndef RING_EARLY
#ifdef BOTH
            atomic { flush(me); com[s] = true }; /* store seq_cst */
#else
            atomic { buf[me] = s };              /* store release */
#endif
#endif
            if
            :: atomic { s < bell || bell == OFF -> goto quiet } /* load */
            :: atomic { !(s < bell || bell == OFF) -> b = bell }
            fi;
            atomic { flush(me); if :: bell == b -> bell = OFF :: else -> goto quiet fi }; /* CAS seq_cst */
#ifdef STOP
            if
            :: atomic { me == 0 -> claimed[me] = 0; done[me] = true; goto stopped }
            :: true
            fi;
#endif
            ring(me);
#ifdef FULL
#ifdef REARM
            if /* the bell is left to whoever publishes next */
            :: atomic { owes -> owes = false; if :: bell == OFF -> bell = s + 1 :: else fi }
            :: atomic { !owes -> skip }
            fi;
#else
            atomic { owes = false };
#endif
#endif
quiet:      skip;
#ifdef RING_EARLY
            atomic { buf[me] = s };
#endif
#ifdef WAITER
            if
            :: atomic { me == 1 -> flush(me) };
#ifdef WAIT_ONCE
                ring(me);
#endif
                do
                :: atomic { next > s -> break }
                :: atomic { next <= s -> skip };
#ifdef WAIT_BY_BELL
                    if
                    :: atomic { bell != OFF && s >= bell -> bell = OFF }; ring(me)
                    :: atomic { !(bell != OFF && s >= bell) -> skip }
                    fi;
#elif !defined(WAIT_ONCE)
                    ring(me);
#endif
                    atomic { asleep[me] = true };
                    atomic { next > s || !asleep[me] -> asleep[me] = false }
                od
            :: atomic { me == 0 -> skip }
            fi;
#endif
            atomic { s = 0; b = 0 }
        :: atomic { m == MSGS -> done[me] = true; break }
        od;
stopped: skip
    } unless { dead[me] }
}

/* Stores leave the buffers by themselves, a killed process's too. */
active proctype hardware()
{
end:
    do
    :: atomic { buf[0] -> flush(0) }
    :: atomic { buf[1] -> flush(1) }
    od
}

#define NEWS (pending[0] || pending[1])
#define DEATH ((dead[0] && !settled[0]) || (dead[1] && !settled[1]))

/* What a dead one claimed and did not commit becomes ABORTED, which is final as well. */
inline settle()
{
    do
    :: atomic {
            DEATH ->
            if
            :: dead[0] && !settled[0] -> k = 0
            :: else -> k = 1
            fi;
            flush(k);
            if :: claimed[k] -> com[claimed[k]] = true :: else fi;
            settled[k] = true; conn[k] = false; pending[k] = false; k = 0
        }
    :: atomic { !DEATH -> break }
    od
}

proctype daemon()
{
    byte k;
restart:
    {
#ifndef ARM_FIRST
        atomic { listens = true };
#endif
#ifndef KEEP_BELL
        atomic { bell = OFF };
#endif
        settle();
#ifdef NO_START_LOOK
        if
        :: atomic { ddeaths > 0 -> goto nap }
        :: atomic { ddeaths == 0 -> skip }
        fi;
#endif
look:
        do
        :: atomic { com[next] -> next++ }
        :: atomic { !com[next] -> break }
        od;
        if
        :: atomic { bell == next -> goto nap } /* it stands since before the look */
        :: atomic { bell != next -> bell = next } /* store seq_cst */
        fi;
#if !defined(BOTH) && !defined(NO_FENCE)
        atomic { flush(0); flush(1) }; /* membarrier */
#endif
#ifndef NO_LOOK
        if /* load acquire */
        :: atomic { com[next] -> goto look }
        :: atomic { !com[next] -> skip }
        fi;
#endif
#ifdef ARM_FIRST
        atomic { listens = true };
#endif
nap:
end:    if
        :: atomic { pending[0] -> pending[0] = false; goto look }
        :: atomic { pending[1] -> pending[1] = false; goto look }
#ifdef FULL
#ifdef NO_BURST_LOOK
        :: atomic { stuffed[0] -> stuffed[0] = false; goto nap }
#else
        :: atomic { stuffed[0] -> stuffed[0] = false; goto look } /* nothing of this topic, but a ring may have found no room */
#endif
#endif
        :: atomic { DEATH -> skip };
            settle();
#ifdef NO_DEATH_LOOK
            goto nap
#else
            goto look
#endif
        fi
    } unless { dkill };
    atomic { /* the kernel closes what it had */
        dkill = false; listens = false; k = 0;
        conn[0] = false; conn[1] = false; pending[0] = false; pending[1] = false; stuffed[0] = false
    };
    goto restart
}

active proctype world()
{
    byte k;
end:
    do
    :: atomic {
            kills < KILLS -> select(k : 0 .. NPUB - 1);
            if :: !done[k] && !dead[k] -> dead[k] = true; kills++ :: else fi;
            k = 0
        }
    :: atomic { ddeaths < DDEATHS && !dkill -> dkill = true; ddeaths++ }
#ifdef FULL
    :: atomic { conn[0] && !stuffed[0] && !done[0] && ticks < 2 -> stuffed[0] = true; ticks++ }
#endif
    od
}

/* At rest: first a bounded sleep ends, if there is one; then all must be seen, or with STOP what is waited for. */
#ifdef STOP
#ifdef WAITER
#define GOOD (done[1])
#else
#define GOOD (next == tail)
#endif
#else
#define GOOD (next == tail && (dead[0] || done[0]) && (dead[1] || done[1]))
#endif
active proctype rest()
{
    do
#ifdef WAITER
    :: atomic { timeout && asleep[1] && ticks < 2 -> asleep[1] = false; ticks++ }
    :: atomic { timeout && !(asleep[1] && ticks < 2) -> assert(GOOD); break }
#else
    :: atomic { timeout -> assert(GOOD); break }
#endif
    od
}

init {
    atomic { conn[0] = true; conn[1] = true; run daemon(); run pub(0); run pub(1) }
}
