#!/bin/bash
# Folders include themselves and lower ones: shm | ring log wire | client daemon | tools | tests.
# Folders of one rank never include each other, quoted includes start at the top of the tree, and a
# *_private.h is for its own folder and the tests.
# shellcheck source=tests/rules/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$1"

mapfile -t files < <(c_files $CODE_FOLDERS)
[ ${#files[@]} -gt 0 ] || exit 0
verdict "$(awk '
    BEGIN {
        rank["shm"] = 1
        rank["ring"] = rank["log"] = rank["wire"] = 2
        rank["client"] = rank["daemon"] = 3
        rank["tools"] = 4
        rank["tests"] = 5
    }
    function say(what) { print FILENAME ":" FNR ": " what }
    /^[ \t]*#[ \t]*include[ \t]*["<]/ {
        path = $0
        sub(/^[^"<]*["<]/, "", path)
        sub(/[">].*/, "", path)
        quoted = $0 ~ /include[ \t]*"/
        from = FILENAME
        sub(/\/.*/, "", from)
        if (path == "leat.h")
            path = "client/include/leat.h"
        to = path
        sub(/\/.*/, "", to)
        if (path !~ /\// && quoted)
            say("\"" path "\" is not rooted at the top of the tree")
        else if (path ~ /^\.\.?\//)
            say("\"" path "\" is relative; root it at the top of the tree")
        else if (quoted && !(to in rank))
            say("\"" path "\" names no folder of the tree; use <> for what is not ours")
        else if (!(to in rank) || to == from)
            next
        else if (rank[to] == rank[from])
            say(from "/ includes its sibling: \"" path "\"")
        else if (rank[to] > rank[from])
            say(from "/ includes a higher folder: \"" path "\"")
        else if (path ~ /_private\.h$/ && from != "tests")
            say("\"" path "\" is private to " to "/")
    }' "${files[@]}")"
