#!/bin/bash
# tidy.sh ROOT BUILD: clang-tidy over the folders that everything stands on, or, with LEAT_FULL=1,
# over all. Takes the flags of each file from the build directory's compile_commands.json.
# shellcheck source=tests/rules/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$1"
build=$2

tool=$(command -v clang-tidy-14) || { echo "clang-tidy-14 is not installed"; exit 77; }
folders='shm ring log wire'
[ -z "${LEAT_FULL:-}" ] || folders=$CODE_FOLDERS
mapfile -t files < <(c_files $folders | grep '\.c$' | while read -r file; do
    grep -qF "/$file\"" "$build/compile_commands.json" && echo "$file"
done)
[ ${#files[@]} -gt 0 ] || exit 0
echo "${#files[@]} files"
verdict "$(printf '%s\0' "${files[@]}" |
    xargs -0 -P 2 -n 4 "$tool" -p "$build" --quiet --extra-arg=-include \
    --extra-arg="$rules_dir/tidy_errno.h" 2>/dev/null | grep -E '(warning|error):' | sort -u || true)"
