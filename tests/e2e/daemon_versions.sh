#!/bin/bash
# Shared memory or a log from a newer leat: that topic is refused, both versions are named, not a byte of it changes, and all
# others are served.
# shellcheck source=tests/e2e/tools_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/tools_lib.sh"
daemon_start
for topic in mem control disk segment floors fine; do
    kind=--disk
    case $topic in mem | control) kind=--memory ;; esac
    leat create "$topic" "$kind" --depth 64 || fail "create $topic"
    leat pub "$topic" -n 100 || fail "pub $topic"
done
leat pub mem -n 1 || fail "pub mem"
leat sub floors --name archive -n 50 --from earliest >/dev/null || fail "sub floors"
prefix=$(sed -n 's/^prefix //p' "$LEAT_BUS.lock")
kill -TERM "$daemon"
wait "$daemon"
daemon=

# set_word FILE OFFSET VALUE: a 32-bit word.
set_word() {
    printf '%b' "$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($3 & 255)) $(($3 >> 8 & 255)) $(($3 >> 16 & 255)) $(($3 >> 24)))" |
        dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
sums() {
    (cd / && find "$work/store/disk" "$work/store/segment" "$work/store/floors" "/dev/shm/$prefix".{mem,disk,floors}.* -type f |
        sort | xargs sha256sum)
}
# The version stands behind the magic, at byte 8, in every file (docs/format.md). That of a control object says nothing by
# itself, because every subscriber can write it: it is put right.
set_word "/dev/shm/$prefix.mem.data" 8 7
set_word "/dev/shm/$prefix.control.control" 8 5
set_word "$work/store/disk/topic" 8 9
set_word "$work/store/floors/cursors" 8 13
rm -f "/dev/shm/$prefix".segment.*
last=$(find "$work/store/segment" -name '*.seg' | sort | tail -1)
[ -n "$last" ] || fail "no segment: $(ls "$work/store/segment")"
set_word "$last" 8 11
sums >"$work/before"
: >"$work/leatd.log"
daemon_start
log=$(cat "$work/leatd.log")
has "memory, found" "$log" "topic mem: its shared memory has version 7"
has "memory, known" "$log" "knows version 1"
has "log, both" "$log" "topic disk: the topic file is of version 9 (bits 0), this is 1"
has "segment, both" "$log" "is of version 11 (bits 0), this is version 1"
has "floors, both" "$log" "topic floors: the cursors file is of version 13, this is 1"
for topic in mem disk segment floors; do
    refuses 1 "version" leat pub "$topic" -n 1 --no-autostart
    refuses 1 "version" leat sub "$topic" -n 1 --from earliest
    refuses 1 "version" leat rm "$topic"
done
is "others" "$(leat pub fine -n 1 --wait-durable && leat info fine --json | json tail state)" "102 ok"
is "control" "$(leat pub control -n 1 && leat info control --json | json tail state)" "102 ok"
daemon_kill
sums >"$work/after"
diff "$work/before" "$work/after" || fail "something was touched"

# And with the former daemon back, everything is there.
set_word "/dev/shm/$prefix.mem.data" 8 1
set_word "$work/store/disk/topic" 8 1
set_word "$work/store/floors/cursors" 8 1
set_word "$last" 8 1
daemon_start
is "mem" "$(leat info mem --json | json tail state)" "102 ok"
is "disk" "$(leat info disk --json | json durable tail state)" "100 101 ok"
is "floors" "$(leat sub floors --name archive -n 1 --format '%o\n')" 51
is "segment" "$(leat cat segment --format '%o\n' | tail -1)" 100
leat verify -q || fail "verify: $?"

# A client that speaks another protocol is told so: see tests/unit/daemon/test_session.c.
finish
