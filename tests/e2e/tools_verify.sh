#!/bin/bash
# verify: says clean of what is, and names file, place and message of what is not. The other verbs on what a dead daemon left.
# shellcheck source=tests/e2e/tools_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/tools_lib.sh"
daemon_start
leat create orders --disk --depth 256 || fail "create"
leat create ticks --depth 64 || fail "create"
leat create unused --disk || fail "create"
is "a log without a message" "$(leat verify unused --json | json 0.verdict 0.log.next)" "clean 1"
leat rm unused || fail "rm"
seq 1 5000 | leat pub orders --batch 20 --wait-durable || fail "pub"
leat pub ticks -n 100 || fail "pub"
is "named" "$(leat sub orders --name svc --from earliest -n 10 | wc -l)" 10
saved() { leat verify orders --json | grep -q '"name": "svc"'; }
wait_until saved

verdict() {
    local status=0
    leat verify "$@" >"$work/out" 2>"$work/err" || status=$?
    echo "$status"
}

# Live, also while messages stream in.
is "a live bus" "$(verdict)" 0
is "in JSON" "$(leat verify --json | json . 0.topic 0.verdict 0.log.messages 0.log.next 0.log.subscriptions.0.floor 1.topic 1.ring.messages)" \
    "2 orders clean 5000 5001 11 ticks 64"
leat pub orders -n 1000000 &
pub=$!
publishing() { [ "$(leat info orders --json | json tail)" -gt 6000 ]; }
wait_until publishing
for i in 1 2 3; do
    is "while it is written to, $i" "$(verdict) $(cat "$work/out")" "0 $(cat "$work/out")"
done
kill -KILL "$pub"
wait "$pub" 2>/dev/null
is "silence" "$(leat verify -q)" ""

# Dead: everything is still there to be read.
daemon_kill
is "dead: ls" "$(leat ls --json | json 0.topic 1.topic)" "orders ticks"
is "dead: info" "$(leat info ticks --json | json tail state)" "101 ok"
has "dead: ring" "$(leat ring ticks)" "is not running"
is "dead: cat" "$(leat cat orders -n 5000)" "$(seq 1 5000)"
is "dead: cat of memory" "$(leat cat ticks -F '%o\n')" "$(seq 37 100)"
is "dead: cat from" "$(leat cat orders --from 4999 -n 2)" $'4999\n5000'
is "dead: top" "$(leat top -n 1 -i 10ms --json | json topics)" 2
refuses 1 "no daemon" leat sub orders --no-autostart
status=$(verdict)
[ "$status" -le 1 ] || fail "what a killed daemon leaves: $status: $(cat "$work/out")"

# It comes back, and all is clean again. Then a copy of the store, which is no longer written to.
daemon_start
settled() { [ "$(verdict)" -eq 0 ]; }
wait_until settled
kill -TERM "$daemon"
wait "$daemon"
daemon=
is "a stopped bus" "$(verdict)" 0
copy() {
    rm -rf "$work/copy"
    cp -r "$work/store" "$work/copy"
    seg=$(find "$work/copy/orders" -name '0*.seg' | sort | tail -1)
}
copy
is "a copy" "$(verdict "$work/copy")" 0
is "one topic of a copy" "$(verdict "$work/copy/orders")" 0
is "cat of a copy" "$(leat cat -b "$work/copy" orders --from 4998 -n 2)" $'4998\n4999'
is "ls of a copy" "$(leat ls -b "$work/copy" --json | json 0.topic 0.durability)" "orders disk"
find "$work/copy" -type f -exec sha256sum {} + | sort >"$work/before"
leat verify "$work/copy" >/dev/null
find "$work/copy" -type f -exec sha256sum {} + | sort >"$work/after"
cmp "$work/before" "$work/after" || fail "verify wrote to a copy"

# The end of the last batch torn: to be cut, nothing durable is lost.
used() { leat verify "$work/copy" --json | json "0.log.segments.$1.used"; }
segments=$(leat verify "$work/copy" --json | json 0.log.segments)
end=$(used $((segments - 1)))
scribble() { # FILE OFFSET BYTES
    printf '%b' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
scribble "$seg" $((end - 12)) '\x5a\xa5'
is "a torn end" "$(verdict "$work/copy")" 1
has "a torn end" "$(cat "$work/out")" "a write was torn here"
has "where" "$(cat "$work/out")" "$seg at "
is "a torn end, JSON" "$(leat verify "$work/copy" --json | json 0.verdict 0.findings.0.verdict 0.findings.0.file)" \
    "unfinished unfinished $seg"

# A message in the middle: damage, with its number, because later batches knew it to be durable.
copy
first=$(find "$work/copy/orders" -name '0*.seg' | sort | head -1)
scribble "$first" 9000 '\x5a\xa5\x5a'
is "damage" "$(verdict "$work/copy")" 2
has "damage" "$(cat "$work/out")" "damaged: $first at "
offset=$(leat verify "$work/copy" --json | json 0.findings.0.offset)
[ "$offset" -gt 4000 ] && [ "$offset" -le 9000 ] || fail "damage at 9000 is said to be at $offset"
is "damage, JSON" "$(leat verify "$work/copy" --json | json 0.verdict)" damaged
is "damage, quietly" "$(leat verify -q "$work/copy" | grep -c segments)" 0

# Headers, names, small files.
copy
scribble "$first" 30 '\xff'
is "a header" "$(verdict "$work/copy")" 2
has "a header" "$(cat "$work/out")" "its header is damaged"

# A name that was given before the header was written, to new space or to an old segment: no part of the log.
copy
never="$work/copy/orders/$(printf %020d "$(leat verify "$work/copy" --json | json 0.log.next)").seg"
truncate -s 2M "$never"
is "never begun" "$(verdict "$work/copy")" 1
has "never begun" "$(cat "$work/out")" "$never"
is "never begun, JSON" "$(leat verify "$work/copy" --json | json 0.log.segments 0.findings)" "$segments 1"
cp "$first" "$never"
is "never begun, recycled" "$(verdict "$work/copy")" 1
has "never begun, recycled" "$(cat "$work/out")" "it was never begun"
copy
truncate -s -4096 "$seg"
is "a short file" "$(verdict "$work/copy")" 2
copy
scribble "$work/copy/orders/topic" 100 '\xff\xff'
is "the topic file" "$(verdict "$work/copy")" 2
has "the topic file" "$(cat "$work/out")" "orders/topic"
copy
scribble "$work/copy/orders/topic" 8 '\x63'
is "another version" "$(verdict "$work/copy")" 8
has "another version" "$(cat "$work/out")" "version 99, this program knows 1"
copy
mv "$work/copy/orders" "$work/copy/renamed"
is "under another name" "$(verdict "$work/copy")" 2
copy
scribble "$work/copy/orders/cursors" 4100 '\xff\xff'
scribble "$work/copy/orders/cursors" 8196 '\xff\xff'
status=$(verdict "$work/copy")
[ "$status" -eq 1 ] || [ "$status" -eq 2 ] || fail "scribbled cursors: $status"
has "cursors" "$(cat "$work/out")" "orders/cursors"
copy
index=$(find "$work/copy/orders" -name '*.idx' | head -1)
if [ -n "$index" ]; then
    scribble "$index" 70 '\xff'
    is "an index" "$(verdict "$work/copy")" 1
    has "an index" "$(cat "$work/out")" "made anew"
fi

# A ring, copied and scribbled upon.
daemon_start
leat pub ticks -n 10 || fail "pub"
mkdir "$work/rings"
prefix=$(sed -n 's/^prefix //p' "$LEAT_BUS.lock")
cp /dev/shm/"$prefix".ticks.* "$work/rings"
is "a copied ring" "$(verdict "$work/rings")" 0
is "a copied ring is drawn" "$(leat ring -b "$work/rings" ticks --json | json topic)" ticks

# A copy may have any name, also one that looks like another topic's: its header says whose it is.
leat create leat-demo.orders --depth 64 || fail "create"
leat pub leat-demo.orders -n 5 || fail "pub"
mkdir -p "$work/named"
for kind in data control; do
    cp /dev/shm/"$prefix.leat-demo.orders.$kind" "$work/named/leat-demo.orders.$kind"
    cp /dev/shm/"$prefix.ticks.$kind" "$work/named/snapshot.$kind"
done
is "copies of any name" "$(verdict "$work/named")" 0
is "their topics" "$(leat verify "$work/named" --json | json . 0.topic 1.topic)" "2 leat-demo.orders ticks"
is "drawn by the header's name" "$(leat ring -b "$work/named" ticks --json | json topic)" ticks
mkdir "$work/named/ticks.data" && cp "$work/copy/orders/topic" "$work/named/ticks.data"
is "a log's folder that looks like a copy" "$(leat verify "$work/named" --json | json . 1.topic 2.topic 1.verdict)" \
    "3 ticks ticks.data clean"
rm -r "$work/named/ticks.data"
truncate -s 100 "$work/named/snapshot.data"
is "a copy without a header" "$(verdict "$work/named")" 2
has "a copy without a header" "$(cat "$work/out")" "damaged: $work/named/snapshot.data"
cp "$work/named/leat-demo.orders.data" "$work/named/again.data"
cp "$work/named/leat-demo.orders.control" "$work/named/again.control"
rm "$work/named"/snapshot.*
is "two copies of one topic" "$(verdict "$work/named")" 8
has "two copies of one topic" "$(cat "$work/out")" "there are other copies"
leat rm leat-demo.orders || fail "rm"

# A topic that is being made has its name before its header: nothing is damaged, and one that comes meanwhile is as any other.
made=/dev/shm/$prefix.making
truncate -s 1M "$made.control" "$made.data"
is "a topic without a header yet" "$(verdict making)" 1
has "a topic without a header yet" "$(cat "$work/out")" "it is being made or removed"
truncate -s 0 "$made.data"
is "a topic without room yet" "$(verdict making)" 1
scribble "$made.data" 0 "$(printf '%05000d' 1)"
is "a topic with something else" "$(verdict making)" 2
rm "$made.control" "$made.data"

# Anybody can put a name into /dev/shm: it does not speak to the terminal. Nor do names among copies, which are what somebody made.
quiet() { # WHAT
    is "$1: what is not printable" "$(cat "$work/out" "$work/err" | LC_ALL=C tr -d '\n -~' | wc -c)" 0
}
red=$'\e]0;red\a'
: >"/dev/shm/$prefix.$red.data"
status=$(verdict)
rm "/dev/shm/$prefix.$red.data"
is "a name that is none" "$status" 0
quiet "a name that is none"
mkdir "$work/$red" "$work/$red/$red"
cp "$work/copy/orders/topic" "$work/$red/$red"
for kind in data control; do cp "$work/rings"/*.ticks.$kind "$work/$red/$red.$kind"; done
scribble "$work/$red/$red.data" 40 xxxx
is "copies with strange names" "$(verdict "$work/$red")" 2
quiet "copies with strange names"
is "a topic with a strange name" "$(verdict "$work/$red/$red")" 2
quiet "a topic with a strange name"
has "a topic with a strange name" "$(cat "$work/out")" "?]0;red?: damaged"
rm -r "${work:?}/$red/$red"
: >"$work/$red/$red.data"
is "nothing with a strange name" "$(verdict "$work/$red")" 8
quiet "nothing with a strange name"
data=$(find "$work/rings" -name '*.data')
offset=$(leat ring -b "$work/rings" ticks --raw "$(($(leat info ticks --json | json tail) - 1))" --json | json offset)
scribble "$data" $((offset + 3)) '\x77'
is "a ring's stamp" "$(verdict "$work/rings")" 2
has "a ring's stamp" "$(cat "$work/out")" "$data"
has "and drawn" "$(leat ring -b "$work/rings" ticks)" "damaged"
scribble "$data" 0 '\x00\x00'
is "a ring's magic" "$(verdict "$work/rings")" 2

# A pipe in a copy, of which nobody holds the other end, keeps nobody waiting.
copy
rm "$seg" "$work/copy/orders/cursors" && mkfifo "$seg" "$work/copy/orders/cursors"
is "a pipe in a copy" "$(verdict "$work/copy")" 8
leat cat -b "$work/copy" orders -n 1 >"$work/out" 2>&1
rm "$work/copy/orders/topic" && mkfifo "$work/copy/orders/topic" "$work/rings/x.data"
leat ls -b "$work/copy" >"$work/out" 2>&1
leat ls -b "$work/rings" >"$work/out" 2>&1

# Nor does one in the lock file's place.
mkfifo "$work/pipe.lock"
refuses 1 "there is no bus here" timeout 10 leat ring -b "$work/pipe" ticks
refuses 8 "there is no bus here" timeout 10 leat verify -b "$work/pipe"

refuses 8 "no such topic" leat verify nope
refuses 8 "/nowhere" leat verify /nowhere
finish
