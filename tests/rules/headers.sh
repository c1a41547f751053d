#!/bin/bash
# Headers stand alone. The public one compiles as C99, C11 and C++17 without a warning and without
# any other header of ours, every internal one as C17.
# shellcheck source=tests/rules/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$1"

warnings=(-Wall -Wextra -Wpedantic -Werror -fsyntax-only)

# public COMPILER LANGUAGE STANDARD
public() {
    printf '#include <leat.h>\nextern int something;\n' |
        "$1" -x "$2" -std="$3" "${warnings[@]}" -Iclient/include - 2>&1 |
        sed "s/^/leat.h as $3 with $1: /" | head -n 5
}
internal() {
    local header
    while read -r header; do
        printf '#include "%s"\nextern int something;\n' "$header" |
            gcc -x c -std=c17 -D_GNU_SOURCE "${warnings[@]}" -Wstrict-prototypes -I. -Iclient/include - 2>&1 |
            sed "s|^|$header alone: |" | head -n 3
    done < <(c_files shm ring log wire client daemon tools tests/support | grep '\.h$' | grep -v '^client/include/')
}
verdict "$(
    if [ -e client/include/leat.h ]; then
        public gcc c c99
        public gcc c c11
        command -v g++ >/dev/null && public g++ c++ c++17
        if command -v clang-14 >/dev/null; then
            public clang-14 c c99
            public clang-14 c++ c++17
        fi
    fi
    internal || true
)"
