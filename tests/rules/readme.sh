#!/bin/bash
# readme.sh ROOT LIBDIR: each C program in README.md (a block marked c that has a main) compiles
# without a warning and links against the library.
# shellcheck source=tests/rules/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$1"

[ -e README.md ] || { echo "there is no README.md yet"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
awk -v dir="$work" '
    /^```c$/ { inside = 1; text = ""; start = NR; next }
    /^```/ && inside {
        inside = 0
        if (text ~ /main\(/)
            printf "%s", text > (dir "/line" start ".c")
        next
    }
    inside { text = text $0 "\n" }' README.md
count=0
for program in "$work"/*.c; do
    [ -e "$program" ] || break
    count=$((count + 1))
    gcc -std=c11 -Wall -Wextra -Wpedantic -Werror -Iclient/include "$program" -o "$work/a.out" \
        -L"$2" -lleat || { echo "README.md: the program at ${program##*/} does not build"; exit 1; }
done
[ "$count" -gt 0 ] || { echo "README.md: has no C program"; exit 1; }
echo "$count programs"
