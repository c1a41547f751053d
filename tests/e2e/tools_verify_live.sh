#!/bin/bash
# verify between two steps of a living daemon, which is stopped there: what is half made or half removed is not damaged.
# shellcheck source=tests/e2e/tools_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/tools_lib.sh"
[ "${LEAT_TESTPOINTS:-0}" = 1 ] || { echo "this build has no test points"; exit 77; }
stopped() { [ "$(sed -n 's/^State:\t\(.\).*/\1/p' "/proc/${1:-$daemon}/status")" = T ]; }
verdict() {
    local status=0
    leat verify "$@" >"$work/out" 2>"$work/err" || status=$?
    echo "$status"
}

LEAT_TESTPOINT=memory.data_made:2=stop,topic.removed_log=stop,index.made=stop daemon_start
leat create orders --disk --depth 64 || fail "create"
seq 1 100 | leat pub orders --wait-durable || fail "pub"
is "a whole bus" "$(verdict)" 0

# while_stopped COMMAND...: has the daemon begin it, and looks when it has been stopped there. It goes on before anything is
# judged: a stopped one does not end.
while_stopped() {
    local asked
    "$@" &
    asked=$!
    wait_until stopped
    seen=$(verdict)
    kill -CONT "$daemon"
    wait "$asked" || fail "$*: $?"
}

# Its names are there, its headers are not.
while_stopped leat create ticks --depth 64
is "a topic that is being made: $(cat "$work/out")" "$seen" 1
has "a topic that is being made" "$(cat "$work/out")" "it is being made or removed"
is "made" "$(verdict)" 0

# Its log is gone, its ring is not.
while_stopped leat rm orders
is "a topic that is being removed: $(cat "$work/out")" "$seen" 0
is "removed" "$(verdict -q) $(cat "$work/out")" "0 "

# An index is empty until it is written. Left so by a daemon that died, it is made anew.
leat create big --disk --retention 16M || fail "create"
while_stopped leat pub big -n 4000 --size 1000
is "an index that is being written: $(cat "$work/out")" "$seen" 0
daemon_kill
index=$(find "$work/store/big" -name '*.idx' | head -1)
: >"$index"
is "an index that was not written" "$(verdict "$work/store/big")" 1
has "an index that was not written" "$(cat "$work/out")" "it is not an index of its segment"

# Segments that were listed become too old before their turn comes.
daemon_start
leat create long --disk --retention 16M || fail "create"
leat pub long -n 20000 --size 1000 --wait-durable >/dev/null || fail "pub"
LEAT_TESTPOINT=verify.segment:3=stop leat verify long >"$work/out" &
verify=$!
wait_until stopped "$verify"
fourth=$(find "$work/store/long" -name '0*.seg' | sort | sed -n 4p)
while [ -e "$fourth" ]; do leat pub long -n 1000 --size 1000 --wait-durable >/dev/null || fail "pub"; done
kill -CONT "$verify"
wait "$verify"
seen=$?
is "segments that go: $(cat "$work/out")" "$seen" 0
leat rm long || fail "rm"

# Memory that is cut short under verify's eyes costs neither what it has found nor what it has still to look at.
mkdir "$work/copies"
prefix=$(sed -n 's/^prefix //p' "$LEAT_BUS.lock")
leat create a --depth 1024 && leat create b --depth 1024 && leat create c --depth 1024 || fail "create"
cp /dev/shm/"$prefix".[abc].* "$work/copies"
scribble() { printf '%b' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
cut_under() { # NTH of the rings that can be opened
    local verify
    LEAT_TESTPOINT=verify.mapped:$1=stop leat verify --json "$work/copies" >"$work/out" &
    verify=$!
    wait_until stopped "$verify"
    truncate -s 4096 "$work/copies/$prefix.b.data"
    kill -CONT "$verify"
    wait "$verify"
}
cut_under 2
is "cut short" "$?" 8
is "cut short: all of it" "$(json . 0.verdict 1.verdict 2.verdict <"$work/out")" "3 clean unreadable clean"
has "cut short" "$(cat "$work/out")" "it was cut short while it was looked at"
cp /dev/shm/"$prefix".b.* "$work/copies"
scribble "$work/copies/$prefix.a.data" 40 'xxxx'
cut_under 1
is "cut short beside damage" "$?" 2
is "cut short beside damage: all of it" "$(json . 0.verdict 1.verdict 2.verdict <"$work/out")" "3 damaged unreadable clean"
finish
