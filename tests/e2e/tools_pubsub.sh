#!/bin/bash
# pub, sub, cat: what goes in comes out, in every form.
# shellcheck source=tests/e2e/tools_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/tools_lib.sh"
daemon_start
leat create disk --disk --depth 256 || fail "create"
leat create mem --depth 4096 || fail "create"

# Lines in, lines out; the last one without its newline; an empty one is a message.
printf 'one\n\nthree\nlast' | leat pub mem -v 2>"$work/err" || fail "pub"
has "pub -v" "$(cat "$work/err")" "4 published, last 4"
is "lines" "$(leat cat mem)" $'one\n\nthree\nlast'
printf 'a\nb\0c\0' | leat pub mem -0 || fail "pub -0"
is "zero-terminated" "$(leat cat mem --from 5 -0 | od -An -c | tr -d ' \n')" 'a\nb\0c\0'
head -c 70000 /dev/urandom >"$work/file"
leat pub mem "$work/file" --whole -k 42 -t 7 || fail "pub --whole"
leat cat mem --from last:1 -F '%s' >"$work/copy"
cmp "$work/file" "$work/copy" || fail "a whole file came out changed"
: | leat pub mem || fail "pub of nothing"
: | leat pub mem --whole || fail "pub of an empty file"
is "fields" "$(leat cat mem --from 7 -F '%t %o %k %y %S\n')" $'mem 7 42 7 70000\nmem 8 0 0 0'
is "escapes" "$(leat cat mem --from 1 -n 1 -F '%s\t%%\x41\\\n')" $'one\t%A\\'
has "date" "$(leat cat mem --from 1 -n 1 -F '%D')" "20"
is "hex" "$(leat cat mem -n 1 --hex | sed -n 2p)" "  00000000  6f 6e 65                                          |one|"
is "JSON" "$(leat cat mem --json -n 1 | json --lines topic seq key length payload)" "mem 1 0 3 one"
is "JSON of bytes" "$(leat cat mem --json --from 7 -n 1 | json --lines payload_base64)" "$(base64 -w0 "$work/file")"
is "JSON of anything is JSON" "$(leat cat mem --json | json --lines seq)" "1 2 3 4 5 6 7 8"
printf 'q"\\\t\001\342\202\254\n\377\n' | leat pub mem
is "JSON string" "$(leat cat mem --json --from 9 -n 1 | json --lines payload)" $'q"\\\t\001\342\202\254'
is "JSON, not UTF-8" "$(leat cat mem --json --from 10 | json --lines payload_base64)" "/w=="

# Generated ones, with batches and a rate.
leat pub disk -n 1000 --size 100 --batch 50 --wait-durable || fail "pub -n"
is "generated" "$(leat cat disk -F '%S\n' | sort | uniq -c | tr -s ' ')" " 1000 100"
begun=$(date +%s%N)
leat pub mem -n 50 --rate 100/s || fail "pub --rate"
took=$((($(date +%s%N) - begun) / 1000000))
[ "$took" -ge 480 ] || fail "50 messages at 100/s took $took ms"
seq 1 500 | leat pub disk --batch 100 || fail "pub --batch"
is "batched lines keep their order" "$(leat cat disk --from 1001)" "$(seq 1 500)"

# A batch that is too long as a whole goes in parts; one message that is too long is named by its number.
leat create narrow --depth 256 --lane 64K || fail "create"
for ((i = 1; i <= 60; i++)); do printf '%02000d\n' "$i"; done >"$work/lines"
leat pub narrow "$work/lines" --batch 100 || fail "a batch longer than the lane"
is "what came of it" "$(leat info narrow --json | json tail)" 61
is "the last of it" "$(leat cat narrow --from 60 | cmp - <(tail -1 "$work/lines") && echo same)" same
{ head -3 "$work/lines" && printf '%040000d\n' 4; } >"$work/long"
refuses 1 "message 4 is longer than the topic takes, 32.0 KiB" leat pub narrow "$work/long" --batch 100
is "those before it" "$(leat info narrow --json | json tail)" 64

# Where to begin.
is "last:2" "$(leat cat disk --from last:2)" $'499\n500'
is "a number" "$(leat cat disk --from 1400 -n 1)" 400
is "latest" "$(leat cat disk --from latest)" ""
is "long ago" "$(leat cat disk --from -1h -F . | wc -c)" 1500
is "a date to come" "$(leat cat disk --from "time:$(date -d '+1 day' +%Y-%m-%dT%H:%M:%S)" -F . | wc -c)" 0
is "a date gone by" "$(leat cat disk --from "time:$(date -u -d '-1 day' +%Y-%m-%dT%H:%M:%SZ)" -F . | wc -c)" 1500

# Following, and named ones: what was printed is not printed again.
leat sub mem -n 3 >"$work/out" &
sub=$!
attached() { leat info mem --json | grep -q '"subscribers": 1'; }
wait_until attached
seq 1 3 | leat pub mem
wait "$sub" || fail "sub -n 3: $?"
is "followed" "$(cat "$work/out")" "$(seq 1 3)"
is "named, first" "$(leat sub disk --name svc --from earliest -n 2 -F '%o\n')" $'1\n2'
is "named, again" "$(leat sub disk --name svc --from latest -n 2 -F '%o\n')" $'3\n4'
leat sub disk --name svc >"$work/out" 2>&1 &
sub=$!
named() { leat info disk --json | grep -q "\"pid\": $sub\$\|\"pid\": $sub,"; }
wait_until named
refuses 1 "svc" leat sub disk --name svc
kill -INT "$sub"
wait "$sub" || fail "an interrupted sub: $?"

# A slow live one is told what it lost; a gating one loses nothing and holds the publisher up.
leat create small --depth 16 || fail "create"
leat sub small --gating -n 200 -F '%o\n' >"$work/out" &
sub=$!
gating() { leat info small --json | grep -q '"kind": "gating"'; }
wait_until gating
kill -STOP "$sub"
refuses 1 "stayed full for 300 ms (--timeout)" leat pub small -n 100 --timeout 300ms
kill -CONT "$sub"
leat pub small -n 200 || fail "pub"
wait "$sub" || fail "gating sub: $?"
is "a gating one loses nothing" "$(cat "$work/out")" "$(seq 1 200)"
leat sub small --live -F '%o\n' >"$work/out" 2>"$work/err" &
sub=$!
live() { leat info small --json | grep -q '"kind": "live"'; }
wait_until live
kill -STOP "$sub"
leat pub small -n 100 || fail "pub"
kill -CONT "$sub"
got_last() { grep -q "^$(($(leat info small --json | json tail) - 1))\$" "$work/out"; }
wait_until got_last
kill -INT "$sub"
wait "$sub" || fail "live sub: $?"
has "gap" "$(cat "$work/err")" "lost in 1 gaps"
is "received and lost" "$(($(wc -l <"$work/out") + $(sed -n 's/.*: \([0-9]*\) lost in.*/\1/p' "$work/err")))" 100
leat create over --depth 16 --overwrite || fail "create"
leat pub over -n 100 || fail "pub to an overwriting topic"
is "what an overwriting topic holds" "$(leat cat over -q -F '%o\n' | head -1)" 85

# Refusals.
refuses 1 "longer than the topic takes" sh -c "head -c 3000000 /dev/zero | '$LEAT_CLI' pub mem"
refuses 1 "longer than the topic takes" leat pub mem -n 1 --size 3M
refuses 1 "memory topic" leat pub mem -n 1 --wait-durable
refuses 1 "/nope" leat pub mem /nope
refuses 1 "nope" leat pub nope --no-create -n 1
refuses 1 "topic name" leat pub 'a b' -n 1
refuses 2 "not a rate" leat pub mem --rate fast
refuses 2 "65535" leat pub mem -t 70000 -n 1
refuses 2 "--batch" leat pub mem --batch 0
refuses 2 "one message" leat pub mem --whole -n 3
refuses 2 "--from" leat cat mem --from yesterday
refuses 2 "--format" leat cat mem -F '%'
refuses 2 "--format" leat cat mem -F '%q'
refuses 2 "exclude each other" leat sub mem --live --gating
refuses 1 "nope" leat sub nope
refuses 1 "nope" leat cat nope
refuses 1 "gating" leat sub disk --gating
refuses 1 "" leat sub mem --name svc

# Output that cannot be written is neither acknowledged nor called a success, also where the caller closed it: no socket
# and no file may take its number.
leat sub disk --name shut --from earliest -n 1 >"$work/out" || fail "sub --name"
for to in '>&-' '>/dev/full' '>&- 2>&-' '<&- >&- 2>&-'; do
    status=0
    (eval "exec leat sub disk --name shut -n 3 2>'$work/err' $to") || status=$?
    is "exit status of sub $to" "$status" 1
done
is "nothing was acknowledged" "$(leat sub disk --name shut -n 1 -F '%o\n')" 2
refuses 1 "writing to standard output" sh -c "'$LEAT_CLI' cat disk >&-"
refuses 1 "writing to standard output" sh -c "'$LEAT_CLI' sub disk --from earliest -n 3 >&-"
refuses 1 "writing to standard output" sh -c "'$LEAT_CLI' cat disk >/dev/full"
refuses 1 "writing to standard output" sh -c "'$LEAT_CLI' ls >&-"
refuses 1 "reading -" sh -c "'$LEAT_CLI' pub mem <&-"
leat pub mem -n 1 <&- || fail "pub that reads nothing"

# Without a daemon a private one is started, and ends when it is told.
export LEAT_BUS=$work/private
echo hello | leat pub first.topic || fail "pub with autostart"
is "through the private daemon" "$(leat cat first.topic)" hello
"$LEATD" --socket "$LEAT_BUS" --stop --purge >"$work/out" 2>&1 || fail "stopping it: $(cat "$work/out")"
LEAT_BUS=$work/bus # the one that is cleaned up
finish
