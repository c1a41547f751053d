#!/bin/bash
# exports.sh LIBLEAT.SO LIBLEAT.A LEAT.H: both forms of the library give out exactly the functions
# that the public header declares.
# shellcheck source=tests/rules/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

declared=$(gcc -E -P "$3" | awk '{ while (match($0, /leat_[a-z0-9_]+[ \t]*\(/)) {
        name = substr($0, RSTART, RLENGTH); sub(/[ \t]*\(/, "", name); print name
        $0 = substr($0, RSTART + RLENGTH) } }' | sort -u)
shared=$(nm -D --defined-only "$1" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u)
static=$(nm -g --defined-only "$2" | awk 'NF == 3 { print $3 }' | sort -u)
unversioned=$(nm -D --defined-only "$1" | awk '$2 != "A" && $3 !~ /@@LEAT_[0-9.]+$/ { print $3 }')

# differ NAME SYMBOLS: what NAME has and leat.h has not, and the other way round.
differ() {
    diff <(echo "$declared") <(echo "$2") | sed -n \
        "s/^> \(..*\)/$1: exports \1, which leat.h does not declare/p
         s/^< \(..*\)/$1: lacks \1, which leat.h declares/p"
}
verdict "$(
    differ libleat.so "$shared"
    differ libleat.a "$static"
    [ -z "$unversioned" ] || echo "libleat.so: without a version: $unversioned"
)"
