#!/bin/bash
# A disk that is full, for real: publishers are held back and do not fail, `leat info` says so, other topics do not notice, and when
# there is room again all goes on by itself, byte for byte. On an ext4 in a loop device where there can be one, and on a tmpfs.
# shellcheck source=tests/e2e/tools_lib.sh
if [ "${1:-}" != inside ]; then
    unshare -m --propagation private true 2>/dev/null || { echo "no mount namespace here (not root?)"; exit 77; }
    exec unshare -m --propagation private bash "${BASH_SOURCE[0]}" inside
fi
. "$(dirname "${BASH_SOURCE[0]}")/tools_lib.sh"

mkdir "$work/store"
trap 'status=$?; umount -l "$work/store" 2>/dev/null; (exit $status); cleanup' EXIT
mount_tmpfs() {
    mount -t tmpfs -o mode=0700,size=12m none "$work/store"
}
mount_ext4() {
    command -v mkfs.ext4 >/dev/null && truncate -s 64M "$work/image" && mkfs.ext4 -q -m 0 "$work/image" &&
        mount -o loop "$work/image" "$work/store"
}
state() { leat info t --json | json state; }
is_full() { [ "$(state)" = "disk full" ]; }
is_ok() { [ "$(state)" = ok ]; }
head -c 20000000 /dev/zero | tr '\0' 'a' | fold -w 4000 | awk '{ print NR, $0 }' >"$work/lines"
total=$(wc -l <"$work/lines")

# fill_and_go_on: the disk fills while somebody publishes; a filler on it is removed then.
fill_and_go_on() {
    local room pub before
    # What is left is for a few segments, the input is larger than that.
    room=$(($(df --output=avail -k "$work/store" | tail -1) - 9000))
    head -c "${room}K" /dev/zero >"$work/store/filler"
    daemon_start
    leat create t --disk --depth 64 --retention 1G || fail "create t"
    leat create other --memory --depth 64 || fail "create other"
    leat pub t --wait-durable "$work/lines" &
    pub=$!
    wait_until is_full
    text=$(leat info t)
    has "the reason" "$text" "the disk is full"
    before=$(leat info t --json | json durable)
    [ "$before" -gt 0 ] && [ "$before" -lt "$total" ] || fail "$before of $total were durable when the disk was full"
    blocked() { leat ring t --json | grep -q '"is_blocked": true'; }
    wait_until blocked
    kill -0 "$pub" || fail "the publisher did not wait"
    refuses 1 "stayed full" leat pub t -n 1 --timeout 100ms
    leat pub other -n 500 || fail "another topic noticed"
    is "it can be read" "$(leat cat t -n 3 --format '%o %s\n' | cut -c1-5 | paste -sd' ')" "1 1 a 2 2 a 3 3 a"
    # A daemon that starts on a full disk comes up, and says the same.
    daemon_kill
    daemon_start
    wait_until is_full
    kill -0 "$pub" || fail "the publisher did not live through a restart on a full disk"
    "$@"
    wait_until is_ok
    wait "$pub" || fail "the publisher: $?"
    leat pub t -n 1 --wait-durable || fail "pub afterwards"
    is "all of it" "$(leat cat t -n "$total" --format '%s\n' | cmp - "$work/lines" && echo same)" same
    is "durable" "$(leat info t --json | json durable tail)" "$((total + 1)) $((total + 2))"
    leat verify -q t || fail "verify: $?"
    leat rm t || fail "rm"
    "$LEATD" --socket "$LEAT_BUS" --store "$work/store" --stop --purge 2>/dev/null
    wait "$daemon"
    daemon=
}

remount_larger() {
    mount -o remount,size=200m "$work/store"
}
mount_tmpfs || { echo "nothing can be mounted here"; exit 77; }
fill_and_go_on remount_larger
umount "$work/store"

# As an operator would: something else is deleted.
if mount_ext4; then
    fill_and_go_on rm "$work/store/filler"
    umount "$work/store"
else
    echo "no ext4 in a loop device here: that half is left out"
fi
finish
