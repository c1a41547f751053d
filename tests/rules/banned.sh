#!/bin/bash
# Words that have no place in the tree, or not in that folder, each with what to use in its place.
# shellcheck source=tests/rules/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$1"

# Unfinished work stands in no file, code or not. This folder has to spell the words out.
unfinished() {
    find . -type f \( -name '*.[ch]' -o -name '*.sh' -o -name '*.awk' -o -name '*.cmake' \
        -o -name 'CMakeLists.txt' -o -name '*.pml' -o -name '*.md' -o -path './.ci/*' \) \
        -not -path './build/*' -not -path './.git/*' -not -path './tests/rules/*' \
        -exec grep -nHwE 'TODO|FIXME|XXX|HACK' {} + | sed 's/^\.\///; s/$/   <- finish it, or name the limit/'
}

# A test that waits for time to pass is slow when it is right and wrong when the machine is slow.
shell_sleeps() {
    local file
    while read -r file; do
        grep -nHE '(^|[;&|[:space:]])sleep +[1-9]' "$file" | sed 's/$/   <- wait for a condition/' || true
    done < <(script_files tests)
}

mapfile -t files < <(c_files $CODE_FOLDERS)
verdict "$(
    unfinished || true
    shell_sleeps
    stripped "${files[@]}" | awk -f "$rules_dir/banned.awk"
)"
