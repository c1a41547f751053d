/* lossy.pml - what a reader may believe where publishers overwrite: the slot's stamp as a sequence lock, and the lane's
 * `reclaimed` watermark. One writer, one reader that copies two words of each and accepts only after validation.
 *
 * Reordering is modelled by hand: each missing order lets the step pass the one it should wait for. Two slots, and a
 * lane with room for one message, so a slot may say COMMITTED while its bytes in the lane are being written over.
 *
 *   writer()  ring_publish: stamp; ring_reserve: reclaim   ring/ring_publish.c, ring/ring_lane.c
 *   reader()  ring_receive, ring_copy, ring_validate       ring/ring_receive.c
 *
 *   writer: reclaimed = pos, before writes; lane bytes; [claim]; stamp BUSY, before writes; slot bytes;
 *           stamp COMMITTED (release)
 *   reader: stamp (acquire); copy; after reads: stamp again and reclaimed
 *
 * shape      -DMSGS=5
 * mutations (each must fail):
 *   NO_WFENCE    slot bytes may be written before BUSY is seen
 *   NO_RELEASE   COMMITTED may be seen before the slot bytes
 *   NO_ACQUIRE   slot bytes may be read before the stamp
 *   NO_RFENCE    the stamp may be read again before the bytes
 *   NO_LFENCE    lane bytes may be written before `reclaimed` is seen
 *   NO_RECLAIMED reader does not look at `reclaimed`
 *   LANE_RESET   a new owner of a dead publisher's lane begins at position 0 again
 */
#ifndef MSGS
#define MSGS 5
#endif
#define BUSY 1
#define COMMITTED 2
#define ST(s, x) (((s) << 3) + (x))

byte stamp[2], a[2], b[2]; /* a slot: stamp, and two words of payload = seq */
byte lpos[2];              /* a slot: position in the lane */
byte la, lb;               /* the lane: one message of two words = seq */
byte reclaimed;            /* bytes below this position are gone */

active proctype writer()
{
    byte s = 1, p = 1;
    do
    :: s <= MSGS ->
#ifdef LANE_RESET
        if :: s == 3 -> p = 1; reclaimed = 0 :: else fi;
#endif
#ifdef NO_LFENCE
        la = s; reclaimed = p; lb = s;
#else
        reclaimed = p; la = s; lb = s;
#endif
#ifdef NO_WFENCE
        a[s % 2] = s; stamp[s % 2] = ST(s, BUSY); b[s % 2] = s; lpos[s % 2] = p;
#else
        stamp[s % 2] = ST(s, BUSY); a[s % 2] = s; lpos[s % 2] = p;
#ifndef NO_RELEASE
        b[s % 2] = s;
#endif
#endif
        stamp[s % 2] = ST(s, COMMITTED);
#ifdef NO_RELEASE
        b[s % 2] = s;
#endif
        s++; p++
    :: else -> break
    od
}

active proctype reader()
{
    byte i, w, x, y, u, v, q, r;
    bool ok;
end:
    do
    :: atomic { if :: i = 0 :: i = 1 fi };
#ifdef NO_ACQUIRE
        x = a[i]; w = stamp[i];
#else
        w = stamp[i]; x = a[i];
#endif
        q = lpos[i]; u = la;
#ifdef NO_RFENCE
        ok = (stamp[i] == w); r = reclaimed; v = lb; y = b[i];
#else
        v = lb; y = b[i]; ok = (stamp[i] == w); r = reclaimed;
#endif
        if
        :: atomic {
                ok && (w & 7) == COMMITTED ->
                assert(x == w >> 3 && y == w >> 3);
#ifdef NO_RECLAIMED
                assert(u == w >> 3 && v == w >> 3)
#else
                if :: r <= q -> assert(u == w >> 3 && v == w >> 3) :: else fi
#endif
            }
        :: else
        fi;
        atomic { i = 0; w = 0; x = 0; y = 0; u = 0; v = 0; q = 0; r = 0; ok = false }
    od
}
