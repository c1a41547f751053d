#!/bin/bash
# A /dev/shm that is too small: who makes a topic or opens a publisher is told, with numbers; nobody ever gets SIGBUS; what was made
# before does not notice.
# shellcheck source=tests/e2e/tools_lib.sh
if [ "${1:-}" != inside ]; then
    unshare -m --propagation private true 2>/dev/null || { echo "no mount namespace here (not root?)"; exit 77; }
    exec unshare -m --propagation private bash "${BASH_SOURCE[0]}" inside
fi
mount -t tmpfs -o size=2m none /dev/shm || { echo "nothing can be mounted here"; exit 77; }
. "$(dirname "${BASH_SOURCE[0]}")/tools_lib.sh"
daemon_start

refuses 1 "bytes of shared memory" leat create big --memory --depth 65536 --lane 64K
has "numbers" "$(cat "$work/err")" "/dev/shm has "
refuses 1 "bytes of shared memory" leat create big --disk --depth 65536 --lane 64K
is "nothing is left of it" "$(leat ls --json | json .)" 0
is "nor of its log" "$(ls "$work/store/big" 2>/dev/null)" ""

# The slots fit, but not the lane of a publisher.
leat create slots --memory --depth 64 --lane 4M || fail "create slots"
refuses 1 "lane needs 4194304 bytes (lane_size), and /dev/shm has " leat pub slots -n 1
is "no publisher of it" "$(leat info slots --json | json publishers state)" "0 ok"
leat rm slots || fail "rm slots"

# One that is complete goes on when somebody else fills what is left, its lane to the last byte.
leat create fine --memory --depth 64 --lane 256K || fail "create fine"
leat create kept --disk --depth 64 --lane 64K && leat pub kept -n 3 --wait-durable || fail "kept"
leat sub fine --gating --format '%S\n' >"$work/seen" &
sub=$!
gating() { leat info fine --json | grep -q '"kind": "gating"'; }
wait_until gating
leat pub fine -n 1 || fail "pub fine"

# A publisher that comes later needs a lane more, and this one is not there; the one that has its own does not notice.
leat create second --memory --depth 64 --lane 128K || fail "create second"
seq 1 2000 | leat pub second --rate 500 &
pub=$!
publishing() { [ "$(leat info second --json | json publishers)" = 1 ]; }
wait_until publishing
head -c 4M /dev/zero >/dev/shm/rest 2>/dev/null
refuses 1 "lane needs 131072 bytes (lane_size), and /dev/shm has 0 left" leat pub second -n 1
is "nobody was let in" "$(leat info second --json | json publishers state)" "1 ok"
kill -0 "$pub" || fail "the publisher of second noticed"
rm /dev/shm/rest
leat pub second -n 1 || fail "a second publisher, with room again"
kill -INT "$pub"
wait "$pub" || fail "pub second: $?"
leat rm second || fail "rm second"

head -c 4M /dev/zero >/dev/shm/filler 2>/dev/null
is "room left" "$(df --output=avail -k /dev/shm | tail -1 | tr -d ' ')" 0
leat pub fine -n 300 --size 60000 || fail "pub into a lane, with /dev/shm full: $?"
all() { [ "$(wc -l <"$work/seen")" -eq 301 ]; }
wait_until all
refuses 1 "/dev/shm has 0 left" leat create more --memory --depth 64
kill -INT "$sub"
wait "$sub" || fail "sub: $?"

# Not even a restart needs more than there is.
daemon_kill
daemon_start
is "after a restart" "$(leat info fine --json | json tail state)" "302 ok"
leat pub fine -n 5 || fail "pub after a restart"
rm /dev/shm/filler
leat create more --memory --depth 64 || fail "create more, with room again"
leat rm more

# A log whose ring has no room after a reboot: the others are served, this one says why, and is there again when there is room.
prefix=$(sed -n 's/^prefix //p' "$LEAT_BUS.lock")
daemon_kill
rm "/dev/shm/$prefix".kept.*
head -c 4M /dev/zero >/dev/shm/filler 2>/dev/null
daemon_start
refuses 1 "/dev/shm has 0 left" leat pub kept -n 1
leat pub fine -n 1 || fail "pub fine beside a topic without room"
rm /dev/shm/filler
daemon_kill
daemon_start
is "the log's topic" "$(leat info kept --json | json tail durable state)" "4 3 ok"
finish
