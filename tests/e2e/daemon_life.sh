#!/bin/bash
# The daemon's own life: there is one of it, it stops cleanly, it comes back, and a reboot costs the rings only.
# shellcheck source=tests/e2e/tools_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/tools_lib.sh"
daemon_start
first=$daemon
leat create mem --memory --depth 64 || fail "create mem"
leat create disk --disk --depth 64 || fail "create disk"

# One daemon to a socket, one to a store; the loser names the winner and touches nothing.
prefix=$(sed -n 's/^prefix //p' "$LEAT_BUS.lock")
sums() { find "$work/store" "$LEAT_BUS.lock" "/dev/shm/$prefix".* -type f -print0 | sort -z | xargs -0 sha256sum; }
sums >"$work/before"
refuses 1 "(pid $first)" "$LEATD" --socket "$LEAT_BUS" --store "$work/other"
has "whose socket" "$(cat "$work/err")" "$LEAT_BUS"
refuses 1 "(pid $first)" "$LEATD" --socket "$work/bus2" --store "$work/store"
has "whose store" "$(cat "$work/err")" "$work/store"
is "no second socket" "$(ls "$work"/bus2 2>/dev/null)" ""
sums >"$work/after"
diff "$work/before" "$work/after" || fail "the second daemon touched something"
leat pub mem -n 1 || fail "the first daemon does not serve any more"

# A publisher and a subscriber that live through everything below. Numbers go on, nobody is told anything.
mkfifo "$work/in"
leat pub disk <"$work/in" &
pub=$!
exec 9>"$work/in"
leat sub disk --from earliest --format '%o %s\n' >"$work/seen" &
sub=$!
have() { [ "$(wc -l <"$work/seen")" -ge "$1" ]; }
say() { local i; for ((i = $1; i <= $2; i++)); do echo "line $i"; done >&9; }
say 1 10
wait_until have 10

# A clean stop: status 0, socket and logs in order, and the log complete on disk.
kill -TERM "$daemon"
wait "$daemon"
is "status after SIGTERM" $? 0
daemon=
is "the socket is gone" "$(ls "$LEAT_BUS" 2>/dev/null)" ""
is "what is durable after a clean stop" "$(leat info disk --json | json durable tail)" "10 11"
leat verify >/dev/null || fail "verify after a clean stop: $?"
say 11 20
wait_until have 20

daemon_start
is "numbers go on, mem" "$(leat info mem --json | json tail state)" "2 ok"
is "numbers go on, disk" "$(leat info disk --json | json tail state publishers)" "21 ok 1"
durable() { [ "$(leat info disk --json | json durable)" -ge "$1" ]; }
wait_until durable 20

# The same with no chance to stop, and again with nobody to say when.
for i in 1 2 3; do
    daemon_kill
    say $((i * 10 + 11)) $((i * 10 + 15))
    wait_until have $((i * 10 + 15))
    daemon_start
    say $((i * 10 + 16)) $((i * 10 + 20))
    wait_until have $((i * 10 + 20))
    wait_until durable $((i * 10 + 20))
done
is "a new publisher's number" "$(leat pub mem -n 1 && leat info mem --json | json tail)" 3
kill -INT "$pub"
wait "$pub" || fail "the publisher: $?"
kill -INT "$sub"
wait "$sub" || fail "the subscriber: $?"
is "all, in order, once" "$(seq 1 50 | sed 's/.*/& line &/' | cmp - "$work/seen" && echo same)" same

# After a reboot there is no shared memory. What was on disk goes on behind the last message, what was in memory is gone.
before=$(ls /dev/shm)
daemon_kill
has "prefix" "$before" "$prefix.disk.data"
rm -f "/dev/shm/$prefix".*
daemon_start
is "the disk topic" "$(leat info disk --json | json first tail durable state)" "1 51 50 ok"
is "the memory topic" "$(leat ls mem --json 2>/dev/null | json .)" 0
echo "after the reboot" | leat pub disk --wait-durable || fail "pub after a reboot"
is "all of it" "$(leat cat disk --format '%o %s\n' | tail -2)" "50 line 50
51 after the reboot"
leat verify >/dev/null || fail "verify after a reboot: $?"

# The same shared memory of a former boot, left lying about by whatever: it is not believed.
daemon_kill
printf 'another boot id!' | dd of="/dev/shm/$prefix.disk.data" bs=1 seek=48 conv=notrunc status=none
daemon_start
is "memory of another boot" "$(leat info disk --json | json tail durable state)" "52 51 ok"

# Started with no standard output and error: what it says goes nowhere, and not into the first file that it opened instead.
daemon_kill
mkfifo "$work/bare"
"$LEATD" --socket "$LEAT_BUS" --store "$work/store" --ready-fd 3 3>"$work/bare" >&- 2>&- &
daemon=$!
is "ready" "$(head -c 1 "$work/bare" | wc -c)" 1
has "its guard" "$(cat "$LEAT_BUS.guard")" "pid $daemon
store"

# leatd --stop
"$LEATD" --socket "$LEAT_BUS" --store "$work/store" --stop 2>"$work/err" || fail "--stop: $(cat "$work/err")"
has "--stop" "$(cat "$work/err")" "process $daemon has stopped"
wait "$daemon"
is "status after --stop" $? 0
daemon=
finish
