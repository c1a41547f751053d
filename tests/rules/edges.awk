# First input: stripped C (file:line:text). Then the same files as they are.
#
# The order is the end of the name: atom_store_release, atom_load_acquire, atom_cas_acq_rel,
# atom_or_seq. A comment says which edge it belongs to: "release: LABEL", "acquire: LABEL" or
# "seq: LABEL", on the line of the call, on a line of the same statement, or in the comment right
# above. Each label that is released somewhere is acquired somewhere and the other way round; a seq
# access counts as both, but a label that only seq accesses name needs at least two of them.
function trimmed(s) {
    gsub(/^[ \t]+|[ \t]+$/, "", s)
    return s
}

# Collects the labels of a comment line, for one kind, into found[]; returns how many.
function take(text, kind, key,    n, label) {
    n = 0
    while (match(text, "(^|[^A-Za-z0-9_])" kind ": *[A-Za-z0-9_][A-Za-z0-9_.-]*")) {
        label = substr(text, RSTART, RLENGTH)
        sub(/.*: */, "", label)
        sub(/[.-]+$/, "", label)
        text = substr(text, RSTART + RLENGTH)
        sites[kind, label]++
        if (!((kind, label) in first))
            first[kind, label] = key
        labels[label] = 1
        n++
    }
    return n
}

# The lines that speak about line n of a file: itself, its statement, the comment above.
function spoken(file, n,    text, m) {
    text = raw[file, n]
    for (m = n - 1; m > 0 && trimmed(code[file, m]) != "" && trimmed(code[file, m]) !~ /[;{}:]$/; m--)
        text = raw[file, m] "\n" text
    for (; m > 0 && trimmed(code[file, m]) == "" && trimmed(raw[file, m]) != ""; m--)
        text = raw[file, m] "\n" text
    for (m = n; trimmed(code[file, m]) !~ /[;{}]$/ && m < n + 4; m++)
        text = text "\n" raw[file, m + 1]
    return text
}

FILENAME == "-" || FILENAME == "" {
    c1 = index($0, ":")
    rest = substr($0, c1 + 1)
    c2 = index(rest, ":")
    code[substr($0, 1, c1 - 1), substr(rest, 1, c2 - 1) + 0] = substr(rest, c2 + 1)
    next
}
{
    raw[FILENAME, FNR] = $0
    if (FNR == 1)
        names[++files] = FILENAME
    last[FILENAME] = FNR
}
END {
    for (f = 1; f <= files; f++) {
        file = names[f]
        for (n = 1; n <= last[file]; n++) {
            text = code[file, n]
            while (match(text, /atom_[a-z0-9_]+[ \t]*\(/)) {
                call = substr(text, RSTART, RLENGTH)
                text = substr(text, RSTART + RLENGTH)
                sub(/[ \t]*\($/, "", call)
                check(file, n, call)
            }
        }
    }
    for (label in labels)
        pair(label)
    for (i = 1; i <= bad; i++)
        print report[i]
}

function check(file, n, call,    said, at, ok) {
    at = file ":" n
    said = spoken(file, n)
    if (call ~ /_acq_rel$/)
        ok = take(said, "release", at) + take(said, "acquire", at) + take(said, "seq", at)
    else if (call ~ /_release$/)
        ok = take(said, "release", at)
    else if (call ~ /_acquire$/)
        ok = take(said, "acquire", at)
    else if (call ~ /_seq$/)
        ok = take(said, "seq", at) + take(said, "release", at) + take(said, "acquire", at)
    else
        return
    if (!ok)
        report[++bad] = at ": " call " has no label (release:, acquire: or seq:)"
}

function pair(label,    r, a, s) {
    r = sites["release", label] + 0
    a = sites["acquire", label] + 0
    s = sites["seq", label] + 0
    if (r && !a && !s)
        report[++bad] = first["release", label] ": label " label " is released and acquired nowhere"
    if (a && !r && !s)
        report[++bad] = first["acquire", label] ": label " label " is acquired and released nowhere"
    if (s && !a && !r && s < 2)
        report[++bad] = first["seq", label] ": label " label " has one side only"
}
