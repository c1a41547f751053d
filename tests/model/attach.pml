/* attach.pml - cursors that come, seek, are evicted, leave and die, against publishers with a cached limit.
 *
 * A publisher goes on without looking while seq < limit, which it computed from the cursors it saw. A cursor that
 * appears below that limit, or moves back below it, must not believe that it holds what the publisher may already
 * overwrite. Cursor line 0 gates from the start; line 1 is given out by the daemon, who runs the hand-shake for the
 * subscriber; a seek is run by the subscriber itself.
 *
 *   pub()      the limit in ring_publish          ring/ring_publish.c   (claim and commit are one step here)
 *   shake      ring_cursor_attach, _seek          ring/ring_cursor.c
 *   daemon()   ring_cursor_attach, _evict, _free  ring/ring_cursor.c, called by the daemon's session
 *   sub()      a subscriber and its session       client/
 *
 * A line has `state` (the daemon's word: FREE, LIVE, EVICTED), its owner's identity (the daemon's, before state) and
 * `pos` (the daemon's until it has answered, then the subscriber's), never one word for both.
 *   publisher:  e = epoch; l = min(tail, pos of LIVE cursors) + depth; shown = max(shown, l) (seq_cst);
 *               epoch != e -> again; limit = l
 *   attach:     owner; pos = p <= tail; state = LIVE; epoch++ (seq_cst); M = max of all shown; pos = max(p, M - depth)
 *   seek:       the same from pos = p on, without owner and state; never above `held`, the place left
 *
 * `shown` is the limit that others see, and never falls. Were it the limit itself, a publisher that claimed up to a
 * high one and then computed a lower one because of the new cursor would show only the lower one.
 *
 * Asserted: no publisher claims a slot whose old message a live cursor still needs; a cursor's first message is still
 * there when it is told where it begins; a seek never ends above where it began; nobody is stuck.
 *
 * shape      -DDEPTH=2 -DMAXT=6
 *            -DONLY      no line 0: the new cursor is the only one
 *            -DSEEK      the subscriber seeks once, backwards or forwards
 *            -DEVICT     daemon evicts line 1 at any time
 *            -DDIE       the subscriber dies at any step
 *            -DDDIE      the daemon dies at any step and is started again; the subscriber asks again
 *            -DSUBS=2    a second subscriber gets the line when it is free
 * mutations (each must fail):
 *   SWAP_P       publisher reads the epoch again before its limit is visible
 *   SWAP_S       limits are read before the cursor is visible
 *   NO_EPOCH     publisher does not look at the epoch again
 *   NO_TAIL      with ONLY: no cursor means no limit
 *   NO_CLAMP     the cursor begins where it asked to
 *   SHOWN_FALLS  the limit that others see falls with the publisher's own
 *   SEEK_STORE   with SEEK: a seek backwards is a plain store of pos
 *   SEEK_NO_EPOCH  with SEEK: a seek does not bump the epoch
 *   SEEK_OVER    with SEEK: the hand-shake may move a seek backwards over the place it left (a limit may be
 *                too high for a moment, before its publisher looks at the epoch again)
 *   ONE_WORD     with EVICT: eviction overwrites pos; the subscriber's late store brings the cursor back
 *   REUSE_EARLY  with EVICT SUBS=2: an evicted line is handed on before its owner has let go
 *   LEFT_LINE    with DDIE: a line whose attachment was never answered is left standing
 */
#ifndef DEPTH
#define DEPTH 2
#endif
#ifndef MAXT
#define MAXT 6
#endif
#ifndef SUBS
#define SUBS 1
#endif
#define NPUB 2
#define FREE 0
#define LIVE 1
#define EVICTED 2
#define INF 100
#define MIN(a, b) ((a) < (b) -> (a) : (b))
#define MAX(a, b) ((a) > (b) -> (a) : (b))

/* shared memory */
byte tail = 1, shown[NPUB], epoch;
byte state[2], pos[2];
byte owner; /* of line 1: subscriber + 1, 0 = nobody */

/* sockets and the kernel */
bool ask[SUBS], answer[SUBS], bye[SUBS], dying[SUBS], gone[SUBS];
bool dkill;
byte ddeaths;

/* ghosts */
bool attached[SUBS];
byte need[SUBS];
byte need0;

#define G(c) (state[c] == LIVE -> pos[c] : INF)
#ifdef NO_TAIL
#define TOP INF
#else
#define TOP tail
#endif
#define GATE MIN(TOP, MIN(G(0), G(1)))
#ifdef ONE_WORD
#define HOLDS(k) (attached[k] && pos[1] != INF)
#else
#define HOLDS(k) (attached[k] && state[1] == LIVE && owner == (k) + 1)
#endif

#ifdef SHOWN_FALLS
#define SHOW atomic { shown[me] = m + DEPTH }
#else
#define SHOW atomic { shown[me] = MAX(shown[me], m + DEPTH) }
#endif

proctype pub(byte me)
{
    byte s, m, e, t, limit = 1;
    do
    :: atomic { tail < MAXT -> s = tail; if :: s + 1 <= limit -> goto claim :: else fi };
again:
        atomic { e = epoch }; /* seq_cst */
        atomic { m = TOP };
        atomic { t = G(0); m = MIN(m, t) };
        atomic { t = state[1] }; /* load acquire: state, then pos */
        atomic { if :: t == LIVE -> m = MIN(m, pos[1]) :: else fi; t = 0 };
#if defined(SWAP_P)
        atomic { t = epoch };
        SHOW;
        if
        :: atomic { t != e -> t = 0; goto again }
        :: atomic { t == e -> t = 0 }
        fi;
#else
        SHOW; /* store seq_cst */
#ifndef NO_EPOCH
        if /* load seq_cst */
        :: atomic { epoch != e -> goto again }
        :: atomic { epoch == e -> skip }
        fi;
#endif
#endif
        atomic { limit = m + DEPTH; if :: s + 1 <= limit -> goto claim :: else fi };
        atomic { (GATE + DEPTH > s || tail != s || tail >= MAXT) -> goto out }; /* wait for space */
claim:
        atomic { /* CAS on tail */
            if
            :: tail == s ->
                assert(!(state[0] == LIVE) || s < need0 + DEPTH);
                assert(!HOLDS(0) || s < need[0] + DEPTH);
#if SUBS == 2
                assert(!HOLDS(1) || s < need[1] + DEPTH);
#endif
                tail++
            :: else
            fi
        };
out:
        atomic { s = 0; m = 0; e = 0 }
    :: atomic { tail >= MAXT -> break }
    od
}

/* The cursor of line 0. */
proctype old()
{
    do
    :: atomic { need0 < tail -> need0++ };
        atomic { pos[0] = need0 } /* store release */
    :: atomic { tail >= MAXT && need0 == tail -> break }
    od
}

/* Where a new or moved cursor wants to begin. */
inline pick(p)
{
    p = tail;
    if
    :: p > DEPTH -> p = p - DEPTH
    :: p > 1 -> p = p - 1
    :: skip
    fi
}

inline limits(m)
{
    atomic { m = shown[0] }; /* load seq_cst, every publisher's line, used or not */
    atomic { m = MAX(m, shown[1]) }
}

#ifdef NO_CLAMP
#define BEGIN(p, m) (p)
#else
#define BEGIN(p, m) ((m) > (p) + DEPTH -> (m) - DEPTH : (p))
#endif

/* A seek backwards never ends above the place it left, which was held all the time. */
#ifdef SEEK_OVER
#define SETTLE(p, m, held) BEGIN(p, m)
#else
#define SETTLE(p, m, held) MIN(BEGIN(p, m), held)
#endif

#define WANTED(k) (ask[k] && !dying[k])
#if SUBS == 2
#define ALLGONE (gone[0] && gone[1])
#else
#define ALLGONE gone[0]
#endif

/* The line may be handed to k: nobody's, or k's own from a daemon that died before it answered. */
#ifdef LEFT_LINE
#define MINE(k) false
#else
#define MINE(k) (owner == (k) + 1 && !attached[k])
#endif
#ifdef REUSE_EARLY
#define GRANT(k) (state[1] == FREE || state[1] == EVICTED || MINE(k))
#else
#define GRANT(k) ((state[1] == FREE && owner == 0) || MINE(k))
#endif

proctype daemon()
{
    byte p, m, k;
restart:
    {
end:    do
        :: atomic {
                (WANTED(0) && GRANT(0)) || (WANTED(SUBS - 1) && GRANT(SUBS - 1)) ->
                if
                :: WANTED(0) && GRANT(0) -> k = 0
                :: WANTED(SUBS - 1) && GRANT(SUBS - 1) -> k = SUBS - 1
                fi;
                pick(p)
            };
            atomic { state[1] = FREE }; /* of a left line; else it is already */
            atomic { owner = k + 1 };
#if defined(SWAP_S)
            limits(m);
            atomic { pos[1] = p };
            atomic { state[1] = LIVE };
            atomic { epoch++ };
#else
            atomic { pos[1] = p };
            atomic { state[1] = LIVE }; /* store seq_cst */
            atomic { epoch++ };         /* RMW seq_cst */
            limits(m);
#endif
            atomic { p = BEGIN(p, m); assert(p <= tail); pos[1] = p; m = 0 };
            atomic { /* the answer */
                if
                :: dying[k]
                :: else ->
                    assert(tail <= pos[1] + DEPTH);
                    need[k] = pos[1]; attached[k] = true; ask[k] = false; answer[k] = true
                fi;
                p = 0; k = 0
            }
        :: atomic { /* let go or died: the line is free again, whatever its state */
                (bye[0] && !gone[0]) || (bye[SUBS - 1] && !gone[SUBS - 1]) ->
                if
                :: bye[0] && !gone[0] -> k = 0
                :: bye[SUBS - 1] && !gone[SUBS - 1] -> k = SUBS - 1
                fi
            };
            atomic { if :: owner == k + 1 -> state[1] = FREE :: else fi };
            atomic { if :: owner == k + 1 -> owner = 0 :: else fi; gone[k] = true; k = 0 }
#ifdef EVICT
        :: atomic {
                state[1] == LIVE && attached[0] && owner == 1 ->
#ifdef ONE_WORD
                pos[1] = INF
#else
                state[1] = EVICTED
#endif
            }
#endif
        od
    } unless { dkill };
    atomic { dkill = false; p = 0; m = 0; k = 0; goto restart }
}

proctype sub(byte me)
{
    byte p, m, held;
    bool sought;
    {
        atomic { ask[me] = true };
        atomic { answer[me] -> answer[me] = false };
        do
        :: atomic { need[me] < tail && state[1] == LIVE -> need[me]++ }; /* read in place, then confirm state */
#ifdef ONE_WORD
            atomic { if :: pos[1] == INF -> attached[me] = false; break :: else fi };
#endif
            atomic { pos[1] = need[me] } /* store release */
        :: atomic { need[me] < tail && state[1] == EVICTED -> attached[me] = false; break } /* told */
#ifdef SEEK
        :: atomic { !sought && state[1] == LIVE -> sought = true; pick(p) };
            atomic { held = MAX(pos[1], p); pos[1] = p; need[me] = MAX(need[me], p) };
#if !defined(SEEK_NO_EPOCH) && !defined(SEEK_STORE)
            atomic { epoch++ };
#endif
#ifndef SEEK_STORE
            limits(m);
            atomic {
                p = SETTLE(p, m, held);
                assert(!HOLDS(me) || p <= need[me]);
                pos[1] = p
            };
#endif
            atomic {
                assert(p <= tail);
                assert(!HOLDS(me) || tail <= p + DEPTH);
                need[me] = p; p = 0; m = 0; held = 0
            }
#endif
        :: atomic { attached[me] = false; break } /* closes */
        :: atomic { tail >= MAXT && need[me] == tail -> attached[me] = false; break }
        od
    } unless { dying[me] };
    atomic { attached[me] = false; bye[me] = true } /* the session's word, or the kernel's */
}

#if defined(DIE) || defined(DDIE)
active proctype killer()
{
end:
    do
#ifdef DIE
    :: atomic { !gone[0] && !bye[0] && !dying[0] -> dying[0] = true }
#endif
#ifdef DDIE
    :: atomic { ddeaths < 1 && !dkill && !ALLGONE -> dkill = true; ddeaths++ }
#endif
    od
}
#endif

init {
    atomic {
        shown[0] = 1; shown[1] = 1; pos[0] = 1; need0 = 1;
#ifndef ONLY
        state[0] = LIVE; run old();
#endif
        run pub(0); run pub(1); run daemon(); run sub(0);
#if SUBS == 2
        run sub(1)
#endif
    }
}
