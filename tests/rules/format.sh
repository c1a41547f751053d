#!/bin/bash
# format.sh ROOT [--fix]: code is laid out as clang-format 14 lays it out; another version would differ in details.
# With --fix it lays it out.
# shellcheck source=tests/rules/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$1"

tool=$(command -v clang-format-14) || { echo "clang-format-14 is not installed"; exit 77; }
mapfile -t files < <(c_files $CODE_FOLDERS docs)
[ ${#files[@]} -gt 0 ] || exit 0
if [ "${2:-}" = --fix ]; then
    exec "$tool" --style=file -i "${files[@]}"
fi
verdict "$("$tool" --style=file --dry-run "${files[@]}" 2>&1 |
    sed -n 's/^\([^ :]*:[0-9]*\):[0-9]*: .*/\1: not as clang-format-14 writes it/p' | uniq)"
