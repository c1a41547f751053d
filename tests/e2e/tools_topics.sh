#!/bin/bash
# create, ls, info, rm.
# shellcheck source=tests/e2e/tools_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/tools_lib.sh"
cat >"$work/leat.conf" <<'END'
[topic ruled.*]
durability = disk
depth = 32
END
daemon_start

is "an empty bus" "$(leat ls)" ""
is "an empty bus, JSON" "$(leat ls --json | json .)" 0
leat create orders --disk --depth 1000 --retention 64M --retention-time 7d --until-acked --mode 0640 --timestamps precise ||
    fail "create orders"
leat create ticks --memory --slot 128 --lane 64K --overwrite --publishers 3 --subscribers 5 || fail "create ticks"
leat create ruled.one || fail "create ruled.one"

is "names" "$(leat ls --json | json 0.topic 1.topic 2.topic)" "orders ruled.one ticks"
has "ls" "$(leat ls)" "TOPIC"
is "lines of ls" "$(leat ls | wc -l)" 4
is "ls TOPIC" "$(leat ls ticks --json | json . 0.topic)" "1 ticks"
is "orders" "$(leat info orders --json | json durability depth retention_bytes retention_ns retain_until_acked mode timestamps state tail first)" \
    "disk 1024 67108864 604800000000000 true 0640 precise ok 1 1"
is "ticks" "$(leat info ticks --json | json durability slot_size inline_max lane_size payload_max when_full max_publishers max_subscribers)" \
    "memory 128 96 65536 32768 overwrite 3 5"
is "a rule's topic" "$(leat info ruled.one --json | json durability depth)" "disk 32"
text=$(leat info orders)
for word in "durability" "retention time     7 d 0 h" "mode               0640" "publishers: 0" "log writer"; do
    has "info" "$text" "$word"
done

# The same again is no error; another one is, and says what differs.
leat create orders --disk --depth 1024 --retention 64M --retention-time 7d --until-acked --mode 0640 --timestamps precise ||
    fail "creating the same topic again"
refuses 1 "depth" leat create orders --disk --depth 64
refuses 1 "the daemon's rule for this name" leat create ruled.two --memory
refuses 2 "exclude each other" leat create x --memory --disk
refuses 2 "exclude each other" leat create x --block --overwrite
refuses 2 "is not a size" leat create x --lane 4Q
refuses 2 "is not a whole number" leat create x --depth lots
refuses 2 "is not a time" leat create x --retention-time 7y
refuses 2 "octal" leat create x --mode 9
refuses 2 "there is no user" leat create x --owner nobody-of-that-name
refuses 2 "there is no group" leat create x --group nobody-of-that-name
refuses 2 "not coarse" leat create x --timestamps fine
refuses 1 "slot" leat create x --slot 100
refuses 1 "topic name" leat create ../x
refuses 1 "" leat create x --disk --overwrite
is "nothing came of the refusals" "$(leat ls x --json 2>/dev/null | json .)" 0

# rm
refuses 1 "nope" leat rm nope
refuses 1 "nope" leat info nope
refuses 1 "nope" leat ls nope
leat pub orders -n 5 --wait-durable || fail "pub"
leat sub orders --name svc --from earliest -n 2 >/dev/null || fail "sub"
named() { leat info orders --json | grep -q '"name": "svc"'; }
wait_until named
leat rm orders --sub svc || fail "rm --sub"
gone() { ! named; }
wait_until gone
refuses 1 "svc" leat rm orders --sub svc
leat rm orders ticks || fail "rm"
is "what is left" "$(leat ls --json | json . 0.topic 1.topic 2>/dev/null)" "2 ruled.one ruled.two"
[ ! -e "$work/store/orders" ] || fail "the log of a removed topic is still there"
finish
