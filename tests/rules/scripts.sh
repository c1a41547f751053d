#!/bin/bash
# Shell scripts pass shellcheck.
# shellcheck source=tests/rules/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$1"

command -v shellcheck >/dev/null || { echo "shellcheck is not installed"; exit 77; }
mapfile -t files < <(script_files .ci tools tests docs)
[ ${#files[@]} -gt 0 ] || exit 0
# Splitting a list of words that holds no blanks in them (SC2086) is meant where it is done.
verdict "$(shellcheck --format=gcc --severity=warning --external-sources --source-path="$PWD" \
    --exclude=SC2086 "${files[@]}" || true)"
