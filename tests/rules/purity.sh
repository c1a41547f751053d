#!/bin/bash
# purity.sh LIBRING LIBSHM: the ring is pure functions on mapped memory: no system call, no
# allocation, no output. Its objects, joined with those parts of shm/ that they use, may leave
# nothing undefined but the four memory functions that compilers themselves call. The hook of test
# points is taken for defined: without test points there is none.
# shellcheck source=tests/rules/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

joined=$(mktemp)
trap 'rm -f "$joined"' EXIT
ld -r --defsym shm_testpoint_hook=0 -o "$joined" --whole-archive "$1" --no-whole-archive "${@:2}"
verdict "$(nm -u "$joined" | awk '
    $NF !~ /^(memcpy|memmove|memset|memcmp|strnlen|_GLOBAL_OFFSET_TABLE_|__stack_chk_fail)$/ {
        print "ring: calls " $NF ", which is not a pure function of its arguments"
    }')"
