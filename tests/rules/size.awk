# Reads stripped C (file:line:text) and reports functions that are too long, too deep or take too
# many parameters. Lines are counted from { to }, braces of code include the function's own, and
# braces of initialisers and compound literals do not count.
function say(what) { print file ":" start ": " name "() " what }

# The name and the number of parameters of a definition, from the text before its brace.
function head_of(text,    i, c, depth, open) {
    depth = 0
    open = 0
    for (i = length(text); i >= 1; i--) {
        c = substr(text, i, 1)
        if (c == ")")
            depth++
        else if (c == "(" && --depth == 0) {
            open = i
            break
        }
    }
    params = 0
    args = substr(text, open + 1, length(text) - open - 1)
    gsub(/[ \t]/, "", args)
    if (args != "" && args != "void") {
        params = 1
        depth = 0
        for (i = 1; i <= length(args); i++) {
            c = substr(args, i, 1)
            if (c == "(")
                depth++
            else if (c == ")")
                depth--
            else if (c == "," && depth == 0)
                params++
        }
    }
    name = substr(text, 1, open - 1)
    sub(/[ \t]+$/, "", name)
    sub(/.*[^A-Za-z0-9_]/, "", name)
}

# What an opening brace begins: f function, c code, i initialiser, o anything else (struct, extern).
function kind_of(text, inside,    t) {
    t = text
    sub(/[ \t]+$/, "", t)
    if (inside == "i")
        return "i"
    if (inside == "" || inside == "x") {
        if (t ~ /extern ""$/)
            return "x"
        if (t ~ /\)$/ && t !~ /=/ && t !~ /^[ \t]*(struct|union|enum|typedef)[^(]*$/)
            return "f"
        return t ~ /=$/ ? "i" : "o"
    }
    if (t ~ /(=|,|return|\[[^]]*\])$/)
        return "i"
    if (text ~ /\)$/)
        return "i"
    if (t ~ /(struct|union|enum)[ \t]*[A-Za-z0-9_]*$/)
        return "o"
    return "c"
}

{
    c1 = index($0, ":")
    rest = substr($0, c1 + 1)
    c2 = index(rest, ":")
    now = substr($0, 1, c1 - 1)
    line = substr(rest, 1, c2 - 1) + 0
    text = substr(rest, c2 + 1)
    if (now != file) {
        file = now
        depth = code = continued = 0
        before = ""
        delete kinds
    }
    directive = continued || text ~ /^[ \t]*#/
    continued = directive && text ~ /\\$/
    if (directive)
        next

    n = length(text)
    for (i = 1; i <= n; i++) {
        c = substr(text, i, 1)
        if (c == "{") {
            k = kind_of(before, depth ? kinds[depth] : "")
            kinds[++depth] = k
            if (k == "f") {
                head_of(before)
                start = line
                code = deepest = 1
                if (params > PARAMS)
                    say("has " params " parameters; at most " PARAMS)
            } else if (k == "c" && code && ++code > deepest) {
                deepest = code
            }
            before = ""
        } else if (c == "}") {
            k = depth ? kinds[depth--] : ""
            if (k == "f") {
                if (line - start + 1 > LINES)
                    say("has " (line - start + 1) " lines; at most " LINES)
                if (deepest > DEPTH)
                    say("nests " deepest " braces; at most " DEPTH)
                code = 0
            } else if (k == "c" && code) {
                code--
            }
            before = k == "i" ? before "}" : ""
        } else if (c == ";") {
            before = ""
        } else {
            before = before c
        }
    }
    if (before != "")
        before = before " "
}
