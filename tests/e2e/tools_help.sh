#!/bin/bash
# Every verb explains itself, refuses what it does not know, and ends as told when nobody reads its output.
# shellcheck source=tests/e2e/tools_lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/tools_lib.sh"

verbs='ls info create rm pub sub cat ring top verify bench'
for verb in $verbs; do
    text=$(leat "$verb" --help) || fail "leat $verb --help: $?"
    has "help of $verb" "$text" "usage: leat $verb"
    has "help of leat" "$(leat --help)" "$verb"
done
# The manual page knows every option of every verb.
page=$(sed 's/\\-/-/g' "$LEAT_SOURCE_DIR/docs/man/leat.1")
for verb in ls info create rm pub sub cat ring top verify; do
    has "leat(1)" "$page" "leat $verb"
    for option in $(leat "$verb" --help | sed -n 's/^  .*\(--[a-z-]*\).*  .*/\1/p'); do
        has "leat(1), $verb" "$page" "$option"
    done
done
is "leat help VERB" "$(leat help ring)" "$(leat ring --help)"
has "version" "$(leat --version)" "leat 0."
for verb in ls info create rm pub sub cat ring top; do
    refuses 2 "unknown or ambiguous option '--bogus'" leat "$verb" --bogus
    refuses 2 "unknown option '-Z'" leat "$verb" -Z
    refuses 2 "option '-b' needs a value" leat "$verb" -b
done
refuses 16 "unknown or ambiguous option '--bogus'" leat verify --bogus
refuses 2 "there is no verb 'frob'" leat frob
refuses 2 "which verb?" leat
for verb in info create rm pub sub cat ring; do
    refuses 2 "missing operand" leat "$verb"
done
refuses 2 "one operand too many: 'b'" leat info a b

# Nobody there.
for verb in ls "info x" "cat x" "ring x" top; do
    refuses 1 "" leat $verb
done
refuses 1 "no daemon" leat sub x
refuses 1 "no daemon" leat rm x
refuses 1 "no daemon" leat pub x --no-autostart -n 1
refuses 1 "no daemon" leat create x --no-autostart
refuses 8 "no bus here" leat verify

# Nobody listens.
daemon_start
leat pub lines -n 50000 || fail "pub"
leat create deep --depth 65536 || fail "create"
leat pub deep -n 60000 || fail "pub"
set +o pipefail
is "cat into a closed pipe" "$(leat cat deep 2>&1 | head -c 5)" "1 cde"
leat cat deep 2>"$work/err" | true
is "messages of a cat that nobody reads" "$(cat "$work/err")" ""
leat top -n 2 -i 10ms 2>"$work/err" | true
is "messages of a top that nobody reads" "$(cat "$work/err")" ""
set -o pipefail
for verb in ls "info deep" "cat deep" "ring deep" "verify" "top -n 1 -i 1ms"; do
    status=0
    leat $verb >/dev/full 2>"$work/err" || status=$?
    [ "$status" -ne 0 ] || fail "leat $verb to a full disk: succeeded"
    has "leat $verb to a full disk" "$(cat "$work/err")" "No space left on device"
done
finish
