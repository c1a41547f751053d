#!/bin/bash
# Stopped in the middle of a claim: readers wait at that very place, `leat ring` says for whom and since when, nobody is taken for
# dead, and all is complete when he goes on. Killed there instead, the place is given up. (Every other point: points.c.)
# shellcheck source=tests/e2e/tools_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/tools_lib.sh"
[ "${LEAT_TESTPOINTS:-0}" = 1 ] || { echo "this build has no test points"; exit 77; }
daemon_start
leat create t --memory --depth 64 || fail "create"
leat sub t --gating --format '%o %s\n' >"$work/seen" &
sub=$!
gating() { leat info t --json | grep -q '"kind": "gating"'; }
wait_until gating
seq 1 5 | LEAT_TESTPOINT=ring.claimed:3=stop leat pub t &
pub=$!
stopped() { [ "$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/$pub/status")" = T ]; }
wait_until stopped
leat pub t -n 10 --size 8 || fail "another publisher had to wait"
is "the picture" "$(leat ring t --json | json ring.tail ring.all.messages ring.all.in_flight)" "14 12 1"
long_enough() { [ "$(leat ring t --json | json publisher.0.intent_for_ns)" -gt 1000000000 ]; }
wait_until long_enough
text=$(leat ring t)
has "who, since when" "$text" "place 3 was claimed "
has "who, since when" "$text" " s ago by publisher 0 (pid $pub, leat, stopped) and is not finished; readers wait there"
has "the same for programs" "$(leat ring t --json | json holder)" "publisher 0 (pid $pub, leat, stopped)"
is "who and what" "$(leat ring t --json | json publisher.0.pid publisher.0.alive publisher.0.process publisher.0.intent_seq publisher.0.intent_count)" \
    "$pub true stopped 3 1"
two() { [ "$(wc -l <"$work/seen")" -eq 2 ]; }
wait_until two
is "state" "$(leat info t --json | json state publishers)" "ok 1"
kill -CONT "$pub"
wait "$pub" || fail "pub: $?"
is "nobody holds anybody up" "$(leat ring t --json | json holder)" ""
all() { [ "$(wc -l <"$work/seen")" -eq 15 ]; }
wait_until all
is "the order" "$(sed -n 3p "$work/seen")" "3 3"

seq 1 5 | LEAT_TESTPOINT=ring.claimed:3=kill leat pub t &
wait $! 2>/dev/null
is "killed" $? 137
leat pub t -n 1 || fail "pub after a death"
rest() { [ "$(wc -l <"$work/seen")" -eq 18 ]; }
wait_until rest
is "the gap it left" "$(sed -n '17,18p' "$work/seen" | cut -d' ' -f1 | paste -sd' ')" "17 19"

# The daemon: whoever has what he needs goes on without it.
kill -STOP "$daemon"
said_so() { leat ring t | grep -q "daemon pid $daemon is stopped"; }
(wait_until said_so)
said=$?
kill -CONT "$daemon"
is "leat ring says so" "$said" 0
kill -INT "$sub"
wait "$sub" || fail "sub: $?"
finish
