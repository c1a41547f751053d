#!/bin/bash
# ring and top: the picture agrees with what processes do, and says who holds whom up.
# shellcheck source=tests/e2e/tools_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/tools_lib.sh"
daemon_start
leat create pipe --depth 64 || fail "create"
is "an empty ring" "$(leat ring pipe --json | json ring.tail ring.all.messages ring.all.never_used ring.damage)" "1 0 64 null"
leat pub pipe -n 10 || fail "pub"
is "ten messages" "$(leat ring pipe --json | json ring.tail ring.all.messages ring.all.never_used ring.all.in_flight)" "11 10 54 0"
leat pub pipe -n 1000 || fail "pub"
is "a full ring" "$(leat ring pipe --json | json ring.low ring.tail ring.all.messages ring.all.aborted)" "947 1011 64 0"
text=$(leat ring pipe)
has "picture" "$text" "tail 1011; daemon pid $daemon"
has "picture" "$text" "never used"
is "no colours in a pipe" "$(grep -c $'\033' <<<"$text")" 0
is "ASCII where the locale is" "$(LC_ALL=C leat ring pipe | grep -c '\[-*\]')" 1

# Somebody holds somebody up, and it is said who.
leat sub pipe --gating >/dev/null &
sub=$!
gating() { leat info pipe --json | grep -q '"kind": "gating"'; }
wait_until gating
kill -STOP "$sub"
leat pub pipe -n 1000 &
pub=$!
blocked() { leat ring pipe --json | grep -q '"is_blocked": true'; }
wait_until blocked
stopped() { [ "$(leat ring pipe --json | json cursor.0.process)" = stopped ]; }
wait_until stopped
is "who publishes" "$(leat ring pipe --json | json publisher publisher.0.pid publisher.0.is_blocked)" "1 $pub true"
is "who holds it" "$(leat ring pipe --json | json cursor cursor.0.pid cursor.0.kind ring.gate_cursor)" "1 $sub gating 0"
has "in words" "$(leat ring pipe)" "cursor 0 (pid $sub, gating, stopped) stands at "
has "the word" "$(leat ring pipe)" "armed: a publisher waits for space"
is "fill in top" "$(leat top -n 1 -i 10ms --json | json topics.0.fill_percent topics.0.lag topics.0.publishers)" "100 64 1"
kill -CONT "$sub"
wait "$pub" || fail "pub: $?"
kill -INT "$sub"
wait "$sub" || fail "sub: $?"

# Watching.
is "pictures" "$(leat ring pipe -n 3 -i 10ms | grep -c '^words')" 3
is "pictures, JSON" "$(leat ring pipe -n 3 -i 10ms --json | json --lines topic)" "pipe pipe pipe"
leat pub pipe -n 1000000 --rate 2000 &
pub=$!
publishing() { leat info pipe --json | grep -q '"publishers": 1'; }
wait_until publishing
rate() { [ "$(leat ring pipe -n 2 -i 200ms --json | tail -1 | json publisher.0.rate | cut -d. -f1)" -gt 500 ]; }
wait_until rate
busy() { [ "$(leat top -n 1 -i 200ms --json | json topics.0.rate | cut -d. -f1)" -gt 500 ]; }
wait_until busy
has "top" "$(leat top -n 1 -i 10ms --sort name)" "by name"
kill -INT "$pub"
wait "$pub" || fail "an interrupted pub: $?"

# A topic that is made anew while it is watched is drawn as it is now.
leat create anew --depth 16 || fail "create"
leat pub anew -n 5 || fail "pub"
leat ring anew -i 20ms --watch --json >"$work/watch" &
watch=$!
drawn() { [ "$(tail -1 "$work/watch" | json tail ring.tail)" = "$1 $1" ]; }
wait_until drawn 6
kill -STOP "$watch"
{ leat rm anew && leat create anew --depth 32 && leat pub anew -n 3; } || fail "making it anew"
kill -CONT "$watch"
wait_until drawn 4
kill -INT "$watch"
wait "$watch" || fail "an interrupted ring: $?"

# On a terminal: full screen, colours unless NO_COLOR, ends at q and leaves the screen as it was.
if command -v script >/dev/null; then
    export TERM=xterm
    shown=$(script -qec "'$LEAT_CLI' top -n 1 -i 10ms" /dev/null </dev/null)
    has "top on a terminal" "$shown" $'\033[?1049h'
    has "top on a terminal" "$shown" $'\033[?1049l'
    shown=$(script -qec "'$LEAT_CLI' ring pipe" /dev/null </dev/null)
    has "colours" "$shown" $'\033[1m'
    shown=$(NO_COLOR=1 script -qec "'$LEAT_CLI' ring pipe" /dev/null </dev/null)
    is "NO_COLOR" "$(grep -c $'\033' <<<"$shown")" 0
fi

# One slot.
printf 'hello' | leat pub pipe -k 99 -t 3 || fail "pub"
last=$(($(leat info pipe --json | json tail) - 1))
text=$(leat ring pipe --raw "$last")
has "raw" "$text" "message $last stands here"
has "raw" "$text" "COMMITTED"
has "raw" "$text" "length 5, type 3"
has "raw" "$text" "|hello"
is "raw, JSON" "$(leat ring pipe --raw "$last" --json | json stamp_seq stamp_state length type)" "$last COMMITTED 5 3"
has "raw, gone" "$(leat ring pipe --raw 1)" "is gone"
has "raw, to come" "$(leat ring pipe --raw $((last + 10)))" "has not been written yet"
head -c 1000 /dev/zero | leat pub pipe --whole
has "raw, in a lane" "$(leat ring pipe --raw $((last + 1)))" "payload in the lane"

# A disk topic shows the log writer and how far it is.
leat create disk --disk --depth 64 || fail "create"
leat pub disk -n 100 --wait-durable || fail "pub"
is "disk" "$(leat ring disk --json | json ring.durable durable cursor.0.kind)" "100 100 log writer"
has "disk" "$(leat ring disk)" "durable 100 (0 behind)"

# Copies: a name in them may be anything, and does not speak to the terminal.
leat sub disk --name plain-name >/dev/null &
sub=$!
lags() { leat pub disk -n 1 && [ "$(leat top -n 1 -i 10ms --json --sort lag | json topics.0.who)" = plain-name ]; }
named() { leat info disk --json | grep -q plain-name; }
wait_until named
kill -STOP "$sub"
wait_until lags
mkdir "$work/copies"
for kind in data control; do
    cp "/dev/shm/$(sed -n 's/^prefix //p' "$LEAT_BUS.lock").disk.$kind" "$work/copies/disk.$kind" || fail "copying"
done
sed -i 's/plain-name/\x1b[31mnames/' "$work/copies/disk.control"
text=$(leat top -b "$work/copies" -n 1 -i 10ms --batch)
has "who lags, in copies" "$text" "[31mnames "
is "no escapes of others" "$(grep -c $'\033' <<<"$text")" 0
is "who lags, in JSON" "$(leat top -b "$work/copies" -n 1 -i 10ms --json | json topics.0.who)" "?[31mnames"
is "a process on the bus" "$(leat info disk --json | json cursor.1.pid cursor.1.process)" "$sub stopped"
for verb in info ring; do
    is "a process in copies, $verb" \
        "$(leat "$verb" -b "$work/copies" disk --json | json cursor.1.pid cursor.1.process cursor.1.command cursor.0.process)" \
        "$sub dead - dead"
done
kill -KILL "$sub"
wait "$sub" 2>/dev/null

refuses 1 "no such topic" leat ring nope
refuses 2 "not a whole number" leat ring pipe --raw first
refuses 2 "not a time" leat ring pipe -i soon
refuses 2 "--sort" leat top --sort beauty
finish
