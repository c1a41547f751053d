/* group.pml - the window of a consumer group: members share MSGS messages, each of which goes to one of them.
 *
 * One 64-bit word per message, {seq, state, member, attempts}; every change is a CAS on the WHOLE word (acq_rel). No
 * function has this name yet: the model says what the words have to do before they are built.
 *
 *   lease:  {s, READY, -, k} -> {s, LEASED, me, k}; a word of the last lap, {s - W, ACKED}, counts as {s, READY, 0} once
 *           the floor has passed s - W (recycling is part of the lease: no step that could be left undone)
 *   ack:    {s, LEASED, me, k} -> {s, ACKED}   nak: -> {s, READY, k + 1}
 *   floor:  anybody: word[floor] is {floor, ACKED} -> CAS floor, floor + 1
 *   death:  daemon CASes each {s, LEASED, dead member, k} -> {s, READY, k + 1}, then frees the member's id
 *
 * Asserted: no message is leased to two who both hold it; the lease that acks is the lease that holds; no word is used
 * anew before its message is acked; the floor passes only what is acked; nobody is stuck.
 *
 * shape      -DMSGS=3 -DW=2
 *            -DKILLS=n      members die at any step and come back under the same id
 *            -DFALSE_DEATH  daemon resets a member that lives
 * mutations (each must fail):
 *   NO_ATTEMPTS   with FALSE_DEATH: the CAS leaves out the attempts
 *   FLOOR_STORE   floor by plain store
 *   RESET_STORE   with FALSE_DEATH: daemon resets by plain store
 *   RECYCLE_EARLY a word is used anew before the floor has passed it
 */
#ifndef KILLS
#define KILLS 1
#endif
#ifndef MSGS
#define MSGS 3
#endif
#ifndef W
#define W 2
#endif
#define READY 0
#define LEASED 1
#define ACKED 2
#define MKW(s, x, m, k) ((s) * 32 + (x) * 8 + (m) * 4 + (k)) /* attempts end at 3 */
#define SEQ(w) ((w) / 32)
#define STA(w) (((w) / 8) % 4)
#define MEM(w) (((w) / 4) % 2)
#define ATT(w) ((w) % 4)
#define UP(k) ((k) < 3 -> (k) + 1 : 3)

short word[W];
byte floor_ = 1;
bool dead[2], lives[2];
byte kills, falses;

/* ghosts */
bool acked[MSGS + 2];
byte holder[MSGS + 2]; /* 1 + generation * 2 + member that truly works on it now */
byte gen[2];           /* how often the member was (rightly or wrongly) declared dead */
byte top = 1;

inline advance()
{
    atomic { f = floor_; w = word[f % W] }; /* load acquire */
    if
    :: atomic { f <= MSGS && SEQ(w) == f && STA(w) == ACKED -> skip };
#ifdef FLOOR_STORE
        atomic { floor_ = f + 1; assert(f == 1 || acked[f - 1]); assert(f + 1 >= top); top = f + 1 }
#else
        atomic { if :: floor_ == f -> assert(acked[f]); floor_ = f + 1 :: else fi } /* CAS acq_rel */
#endif
    :: atomic { else -> skip }
    fi
}

proctype member(byte me; byte g)
{
    byte s, f;
    short w, n;
    {
        do
        :: atomic { /* any place of the window */
                floor_ <= MSGS -> s = floor_;
                if :: s < MSGS && W > 1 -> s++ :: skip fi;
#ifdef RECYCLE_EARLY
                if :: s < MSGS -> s++ :: skip fi
#endif
            };
            atomic { w = word[s % W] }; /* load acquire */
            atomic {
                if
                :: SEQ(w) == s && STA(w) == READY -> n = MKW(s, LEASED, me, ATT(w))
#ifdef RECYCLE_EARLY
                :: s > W && SEQ(w) == s - W -> n = MKW(s, LEASED, me, 0)
#else
                :: s > W && SEQ(w) == s - W && STA(w) == ACKED && floor_ > s - W -> n = MKW(s, LEASED, me, 0)
#endif
                :: else -> goto adv
                fi
            };
            atomic { /* lease: CAS acq_rel */
                if
                :: word[s % W] == w ->
#ifdef RECYCLE_EARLY
                    assert(SEQ(w) == s || acked[s - W]);
#endif
                    word[s % W] = n;
                    assert(!acked[s]);
                    assert(holder[s] == 0);
                    holder[s] = 1 + g * 2 + me; w = n
                :: else -> goto adv
                fi
            };
            if
            :: atomic { /* ack: CAS release; else -ESTALE */
#ifdef NO_ATTEMPTS
                    if
                    :: (word[s % W] / 4) == (w / 4) ->
#else
                    if
                    :: word[s % W] == w ->
#endif
                        assert(holder[s] == 1 + g * 2 + me);
                        word[s % W] = MKW(s, ACKED, 0, 0); acked[s] = true; holder[s] = 0
                    :: else
                    fi
                }
            :: atomic { /* nak: CAS release */
                    ATT(w) < 2;
                    if
                    :: word[s % W] == w ->
                        assert(holder[s] == 1 + g * 2 + me);
                        word[s % W] = MKW(s, READY, 0, UP(ATT(w))); holder[s] = 0
                    :: else
                    fi
                }
            fi;
adv:        atomic { w = 0; n = 0; s = 0 };
            advance();
            atomic { f = 0; w = 0 }
        :: atomic { floor_ > MSGS -> break }
        od
    } unless { dead[me] && g == gen[me] };
    atomic { if :: floor_ <= MSGS -> lives[me] = false :: else fi }
}

/* Resets exactly the LEASED words of member k. */
inline reset(k)
{
    i = 0;
    do
    :: atomic {
            i < W -> w = word[i];
            if :: STA(w) == LEASED && MEM(w) == k :: else -> w = 0; i++; goto next fi
        };
        atomic {
            if
#ifdef RESET_STORE
            :: true ->
                assert(!acked[SEQ(w)] || SEQ(word[i]) != SEQ(w));
#else
            :: word[i] == w ->
#endif
                word[i] = MKW(SEQ(w), READY, 0, UP(ATT(w))); holder[SEQ(w)] = 0
            :: else
            fi;
            w = 0; i++
        };
next:   skip
    :: atomic { i == W -> i = 0; break }
    od
}

#define UNSETTLED(k) (dead[k] && !lives[k])

active proctype daemon()
{
    byte i, k;
    short w;
end:
    do
    :: atomic {
            UNSETTLED(0) || UNSETTLED(1) ->
            if :: UNSETTLED(0) -> k = 0 :: else -> k = 1 fi
        };
        reset(k);
        atomic { dead[k] = false; gen[k]++; lives[k] = true; run member(k, gen[k]) };
        k = 0
#ifdef FALSE_DEATH
    :: atomic { falses < 1 && floor_ <= MSGS -> falses++; k = 0; gen[0]++ }; /* member 0 lives on with old leases; */
        reset(k);
        atomic { run member(0, gen[0]) } /* a second one uses the same id */
#endif
    od
}

active proctype killer()
{
    byte k;
end:
    do
    :: atomic {
            kills < KILLS && floor_ <= MSGS -> if :: k = 0 :: k = 1 fi;
            if :: lives[k] && !dead[k] -> dead[k] = true; kills++ :: else fi;
            k = 0
        }
    od
}

init {
    atomic {
        byte j;
        for (j : 1 .. W) { word[j % W] = MKW(j, READY, 0, 0) }
        lives[0] = true; lives[1] = true;
        run member(0, 0);
        run member(1, 0)
    }
}
