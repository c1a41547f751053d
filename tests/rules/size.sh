#!/bin/bash
# Functions have at most 70 lines, nest at most four braces (their own included) and take at most
# five parameters.
# shellcheck source=tests/rules/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$1"

mapfile -t files < <(c_files $CODE_FOLDERS)
verdict "$(stripped "${files[@]}" |
    awk -v LINES=70 -v DEPTH=4 -v PARAMS=5 -f "$rules_dir/size.awk")"
