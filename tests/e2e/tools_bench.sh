#!/bin/bash
# bench leaves nothing behind, however it ends, and ends when one of its processes does.
# shellcheck source=tests/e2e/tools_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/tools_lib.sh"

# What runs below bench, but the daemon: the two roles, which measure something that takes hours.
roles() {
    local pid
    for pid in $(cat "/proc/$bench/task/$bench/children" 2>/dev/null); do
        [ "$(cat "/proc/$pid/comm")" = leatd ] || echo "$pid"
    done
}
measures() { [ "$(roles | wc -l)" -eq 2 ] && [ -S "$(echo "$work"/leat-bench.*/bus)" ]; }
begin() {
    leat bench throughput -r 1 -n 4000000000 -d "$work" >"$work/out" 2>"$work/err" &
    bench=$!
    wait_until measures
    socket=$(echo "$work"/leat-bench.*/bus)
    all=$(cat "/proc/$bench/task/$bench/children")
    prefix=$(sed -n 's/^prefix //p' "$socket.lock")
    has "its memory" "$(echo "/dev/shm/$prefix".*)" flood
}
gone() {
    local pid
    for pid in $all; do
        [ ! -e "/proc/$pid" ] || return 1
    done
}
# nothing_left WHY
nothing_left() {
    wait_until gone
    is "directories left, $1" "$(ls -d "$work"/leat-bench.* 2>/dev/null)" ""
    is "memory left, $1" "$(ls "/dev/shm/$prefix".* 2>/dev/null)" ""
}

for signal in TERM HUP; do
    begin
    kill -"$signal" "$bench"
    wait "$bench" && fail "a bench that got SIG$signal ended well"
    nothing_left "SIG$signal"
done
for which in head tail; do
    begin
    kill -KILL "$(roles | "$which" -1)"
    wait "$bench" && fail "a bench without its $which role ended well"
    nothing_left "a role was killed"
done

# A bench that is killed itself takes its processes along.
begin
kill -KILL "$bench"
wait "$bench" 2>/dev/null
wait_until gone
"$LEATD" --socket "$socket" --stop --purge >/dev/null 2>&1 || fail "purging what it left"
is "memory left after a purge" "$(ls "/dev/shm/$prefix".* 2>/dev/null)" ""
finish
