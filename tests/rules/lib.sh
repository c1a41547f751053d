# Shared by the house rules: each is `bash tests/rules/RULE.sh ROOT ...`, prints one line per
# violation as file:line: what, and exits 1 if there was one.
# shellcheck shell=bash
set -euo pipefail

rules_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LIBRARY_FOLDERS='shm ring log wire client'
CODE_FOLDERS="$LIBRARY_FOLDERS daemon tools tests"
export LC_ALL=C LIBRARY_FOLDERS CODE_FOLDERS

# c_files FOLDER...: C sources and headers below the folders of the current directory, sorted.
c_files() {
    local folder
    for folder in "$@"; do
        [ ! -d "$folder" ] || find "$folder" -type f -name '*.[ch]'
    done | sort
}

# script_files FOLDER...: files whose first line names a shell.
script_files() {
    local folder file
    for folder in "$@"; do
        [ ! -d "$folder" ] || find "$folder" -type f -not -name '*.[ch]'
    done | sort | while read -r file; do
        if head -n 1 "$file" | grep -aqE '^#!.*[/ ](ba|da)?sh( |$)|^# shellcheck shell'; then
            echo "$file"
        fi
    done
}

# stripped FILE...: every line as file:line:text, without comments and without what strings hold.
stripped() {
    [ $# -eq 0 ] || awk -f "$rules_dir/strip.awk" "$@"
}

# verdict TEXT: the rule's result from what it printed.
verdict() {
    if [ -n "$1" ]; then
        printf '%s\n' "$1"
        exit 1
    fi
}
