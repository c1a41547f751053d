/* handover.pml - a seat (a publisher's entry, or a cursor) between the daemon that hands it out and the client that uses it,
 * when the daemon dies, the client gives up waiting, hangs up, closes while nobody is there, or dies.
 *
 * The daemon knows whose a seat is from its own memory, which dies with it; after that the entry in shared memory says so. What
 * neither says is whether the owner knows. That is the word `claimed`: generation << 1 when the seat is handed out, + 1 by the owner
 * when he has read the answer, back again when he closes, FORSAKEN by a daemon that must not wait for him. All by CAS.
 *
 *   client()    open_once, leat_pub_close, leat_sub_close           client/pub.c, client/subopen.c
 *               ring_entry_claim, _return (and of cursors)          ring/ring_orphan.c
 *               put_aside, leat__bury                               client/conn.c
 *   HAND_OUT    ring_entry_take, ring_cursor_attach                 called by daemon/attach.c
 *   FORSAKE     ring_entry_forsake, ring_cursor_forsake             called by reap_session, daemon/reap.c
 *   REAP        reap_publisher and free_the_dead, reap_cursor       daemon/reap.c
 *   daemon()    adopt_seats, start, session_end, attach_close_*     daemon/adopt.c, bus.c, session.c, attach.c
 *
 * One seat, two clients. Packets of one session are read in order; what a dead daemon has not read is lost, what it has
 * answered is not. A session's end is seen after all it sent. A close that finds no daemon is lost: the program may close its bus.
 *
 * Asserted: whoever uses the seat has it, alone, until he closes or dies; when all clients have let go, the seat is free,
 * although their processes live; nobody waits for ever for a seat that nobody uses.
 *
 * shape      -DROUNDS=1   how often each client opens and closes
 *            -DDDEATHS=n  the daemon dies at any step
 *            -DGIVEUPS=n  how often each client stops waiting: hangs up, or asks again on the same session
 *            -DKILLS=n    clients die at any step
 * mutations (each must fail):
 *   NO_CLAIM        the owner uses what he was answered without claiming it
 *   CLAIM_STORE     he looks, and then stores
 *   NO_GENERATION   claimed has no generation: a late answer claims the next owner's seat
 *   CLAIMED_LATE    the word is prepared after the entry is live
 *   NO_FORSAKE      a daemon that starts believes every living owner
 *   FORSAKE_BLIND   what is taken back is taken without looking at the word
 *   FORSAKE_ONCE    what a daemon forsook before it died counts as claimed
 *   NO_HANGUP       the end of a session takes nothing back
 *   NO_RETURN       who closes leaves the word claimed
 *   LOOK_FIRST      a daemon that starts looks at the words before it listens
 *   CLOSE_ANY       a close is believed whatever its generation
 */
#ifndef ROUNDS
#define ROUNDS 1
#endif
#ifndef DDEATHS
#define DDEATHS 0
#endif
#ifndef GIVEUPS
#define GIVEUPS 0
#endif
#ifndef KILLS
#define KILLS 0
#endif
#define C 2
#define FREE 0
#define LIVE 1
#define DEAD 2
#define FORSAKEN 255

/* shared memory */
byte state, owner, gen, claimed; /* owner: client + 1 */

/* the daemon's own memory: who has the seat, told over which session (0: a former daemon's), and of which generation */
byte seat, seat_session, seat_gen;

/* sockets and the kernel */
bool up;
byte session[C], sessions; /* 0: none, or broken */
byte asks[C], answer[C], bye[C], hangup[C];
byte told[C]; /* the session of what is in asks */
bool dead[C], over[C];
bool dkill;
byte ddeaths, kills;

/* ghosts */
bool uses[C];

#ifdef NO_GENERATION
#define HANDED(g) 0
#else
#define HANDED(g) ((g) * 2)
#endif
#define TAKEN(g) (HANDED(g) + 1)

inline hang_up(me)
{
    hangup[me] = session[me];
    session[me] = 0;
    answer[me] = 0
}

proctype client(byte me)
{
    byte g, round, given_up, stale;
    {
        do
        :: round < ROUNDS ->
connect:    if
            :: atomic { session[me] == 0 && up && !hangup[me] -> sessions++; session[me] = sessions; stale = 0 }
            :: atomic { session[me] != 0 -> skip }
            fi;
            if
            :: atomic { session[me] != 0 -> asks[me]++; told[me] = session[me] }
            :: atomic { session[me] == 0 -> goto connect }
            fi;
wait:       if
            :: atomic { answer[me] != 0 && stale == 0 -> g = answer[me]; answer[me] = 0 }
            :: atomic { answer[me] != 0 && stale != 0 && !bye[me] -> /* put_aside */
                stale--;
                bye[me] = answer[me];
                answer[me] = 0;
                goto wait
            }
            :: atomic { answer[me] == 0 && session[me] == 0 -> goto connect }
            :: atomic { given_up < GIVEUPS && session[me] != 0 -> given_up++; hang_up(me); goto connect }
            :: atomic { given_up < GIVEUPS && session[me] != 0 && stale == 0 -> given_up++; stale++; goto connect }
            fi;
#ifdef NO_CLAIM
#elif defined(CLAIM_STORE)
            if
            :: atomic { claimed == HANDED(g) -> skip }
            :: atomic { claimed != HANDED(g) -> g = 0; goto connect }
            fi;
            atomic { claimed = TAKEN(g) };
#else
            if
            :: atomic { claimed == HANDED(g) -> claimed = TAKEN(g) } /* CAS */
            :: atomic { claimed != HANDED(g) -> g = 0; goto connect } /* -ESTALE */
            fi;
#endif
            atomic { assert(!uses[1 - me] && state == LIVE && owner == me + 1 && gen == g); uses[me] = true };
            if
            :: atomic { given_up < GIVEUPS && session[me] != 0 -> given_up++; hang_up(me) } /* cut: he goes on */
            :: skip
            fi;
            atomic { assert(state == LIVE && owner == me + 1 && gen == g); uses[me] = false };
#ifndef NO_RETURN
            atomic { if :: claimed == TAKEN(g) -> claimed = HANDED(g) :: else fi }; /* CAS */
#endif
            if
            :: atomic { session[me] == 0 && up && !hangup[me] -> sessions++; session[me] = sessions; stale = 0 }
            :: atomic { session[me] == 0 && !up -> skip }
            :: atomic { session[me] != 0 -> skip }
            fi;
            if
            :: atomic { session[me] != 0 && !bye[me] -> bye[me] = g }
            :: atomic { session[me] == 0 -> skip }
            fi;
            atomic { g = 0; round++ }
        :: atomic { round == ROUNDS && (session[me] == 0 || hangup[me] == 0) ->
            if
            :: session[me] != 0 -> hang_up(me)
            :: else
            fi;
            over[me] = true;
            break
        }
        od
    } unless { dead[me] }
}

#ifdef FORSAKE_ONCE
#define ALREADY false
#else
#define ALREADY true
#endif
#ifdef FORSAKE_BLIND
#define FORSAKE(yes) yes = true
#else
#define FORSAKE(yes)                                            \
    if                                                          \
    :: claimed == HANDED(gen) -> claimed = FORSAKEN; yes = true \
    :: claimed == FORSAKEN -> yes = ALREADY                     \
    :: else -> yes = false                                      \
    fi
#endif

proctype daemon()
{
    byte i, g;
    bool yes;
    {
        atomic { /* adoption: whose it was, unless he is dead */
            if
            :: state == FREE -> goto listen
            :: state == DEAD || (state == LIVE && dead[owner - 1]) -> goto reap
            :: else -> seat = owner; seat_gen = gen
            fi
        };
#ifdef LOOK_FIRST
        atomic { FORSAKE(yes); if :: yes -> goto reap :: else fi };
#endif
listen: atomic { up = true };
#if !defined(NO_FORSAKE) && !defined(LOOK_FIRST)
        atomic { if :: seat != 0 -> FORSAKE(yes); if :: yes -> goto reap :: else fi :: else fi };
#endif
        goto serve;
reap:   atomic { state = DEAD; yes = false };
        atomic { state = FREE; seat = 0; if :: up :: else -> goto listen fi };
serve:  if
        :: atomic { seat == 0 && asks[0] > 0 && !dead[0] -> i = 0; g = told[0]; asks[0]-- }
        :: atomic { seat == 0 && asks[1] > 0 && !dead[1] -> i = 1; g = told[1]; asks[1]-- }
        :: atomic { bye[0] != 0 || bye[1] != 0 ->
            if :: bye[0] != 0 -> i = 0 :: bye[1] != 0 -> i = 1 fi;
            g = bye[i];
            bye[i] = 0;
#ifdef CLOSE_ANY
            g = seat_gen;
#endif
            if :: seat == i + 1 && seat_gen == g -> goto reap :: else -> goto serve fi
        }
        :: atomic { (hangup[0] != 0 && !bye[0] && !asks[0]) || (hangup[1] != 0 && !bye[1] && !asks[1]) ->
            if
            :: hangup[0] != 0 && !bye[0] && !asks[0] -> i = 0
            :: hangup[1] != 0 && !bye[1] && !asks[1] -> i = 1
            fi;
            g = hangup[i];
            hangup[i] = 0;
            yes = false;
#ifndef NO_HANGUP
            if
            :: seat == i + 1 && seat_session == g -> FORSAKE(yes)
            :: else
            fi;
#endif
            if :: yes -> goto reap :: else -> goto serve fi
        }
        :: atomic { seat != 0 && dead[seat - 1] -> goto reap }
        :: atomic { over[0] && over[1] && !bye[0] && !bye[1] && !hangup[0] && !hangup[1] && !asks[0] &&
                    !asks[1] && !(seat != 0 && dead[seat - 1]) ->
            assert(state == FREE);
            goto end
        }
        fi;
        /* HAND_OUT */
        atomic { owner = i + 1; gen++ };
#ifndef CLAIMED_LATE
        atomic { claimed = HANDED(gen) };
#endif
        atomic { state = LIVE };
#ifdef CLAIMED_LATE
        atomic { claimed = HANDED(gen) };
#endif
        atomic { seat = i + 1; seat_session = g; seat_gen = gen };
        atomic { /* the answer */
            if
            :: session[i] == g && !dead[i] -> answer[i] = gen
            :: else
            fi;
            i = 0;
            g = 0;
            goto serve
        };
end:    skip
    } unless {
        atomic {
            dkill ->
            dkill = false;
            up = false;
            seat = 0;
            seat_session = 0;
            seat_gen = 0;
            i = 0;
            do
            :: i < C -> session[i] = 0; asks[i] = 0; bye[i] = 0; hangup[i] = 0; i++
            :: else -> break
            od;
            run daemon()
        }
    }
}

proctype reaper()
{
    byte i;

    do
    :: atomic { ddeaths < DDEATHS && !dkill && !(over[0] && over[1]) -> ddeaths++; dkill = true }
    :: atomic { kills < KILLS && !over[0] -> i = 0; goto kill }
    :: atomic { kills < KILLS && !over[1] -> i = 1; goto kill }
    :: break
    od;
    goto none;
kill:
    atomic {
        kills++;
        dead[i] = true;
        over[i] = true;
        uses[i] = false;
        session[i] = 0;
        asks[i] = 0;
        answer[i] = 0;
        bye[i] = 0;
        hangup[i] = 0
    };
none:
    skip
}

init {
    atomic {
        run daemon();
        run client(0);
        run client(1);
        run reaper()
    }
}
