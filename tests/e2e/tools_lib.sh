# Shared by the end-to-end tests of the tool: a bus of its own for each script, and checks that say what they saw.
# shellcheck shell=bash
set -uo pipefail

work=$(mktemp -d "${TMPDIR:-/tmp}/leat-e2e.XXXXXX")
export LEAT_BUS=$work/bus
export XDG_STATE_HOME=$work/state XDG_CONFIG_HOME=$work/config XDG_RUNTIME_DIR=$work/run
export LEAT_DAEMON=$LEATD
unset NO_COLOR COLUMNS
# A program of this name, and not a function, so that $! is its own process.
mkdir -p "$work/run" "$work/bin"
ln -s "$LEAT_CLI" "$work/bin/leat"
PATH=$work/bin:$PATH
chmod 700 "$work/run"
touch "$work/leat.conf"
daemon=
checks=0
trap cleanup EXIT

# daemon_start: a daemon of this script's own, ready when this returns.
daemon_start() {
    local ready=$work/ready.$RANDOM
    mkfifo "$ready"
    "$LEATD" --user --config "$work/leat.conf" --socket "$LEAT_BUS" --store "$work/store" "$@" \
        --ready-fd 3 3>"$ready" 2>>"$work/leatd.log" &
    daemon=$!
    if [ -z "$(head -c 1 "$ready" | od -An -c)" ]; then
        cat "$work/leatd.log"
        fail "leatd did not become ready"
    fi
}

daemon_kill() {
    kill -KILL "$daemon"
    wait "$daemon" 2>/dev/null
    daemon=
}

cleanup() {
    local status=$? job
    trap - EXIT
    for job in $(jobs -p); do
        [ "$job" = "$daemon" ] || kill -KILL "$job" 2>/dev/null
    done
    if [ -n "$daemon" ]; then
        kill -TERM "$daemon" 2>/dev/null
        wait "$daemon" 2>/dev/null
    fi
    [ ! -e "$LEAT_BUS.lock" ] || "$LEATD" --socket "$LEAT_BUS" --store "$work/store" --stop --purge >/dev/null 2>&1
    [ "$status" -eq 0 ] || { echo "-- leatd said:"; cat "$work/leatd.log" 2>/dev/null; }
    rm -rf "$work"
    exit "$status"
}

fail() {
    echo "FAILED: $*"
    exit 1
}

# is WHAT HAVE WANT
is() {
    checks=$((checks + 1))
    [ "$2" = "$3" ] || fail "$1: got '$2', wanted '$3'"
}

# has WHAT TEXT PATTERN: a shell pattern somewhere in the text.
has() {
    checks=$((checks + 1))
    # shellcheck disable=SC2053
    [[ $2 == *$3* ]] || fail "$1: '$2' does not have '$3'"
}

# refuses STATUS PATTERN COMMAND...: fails with exactly that status, says so in one line, and prints nothing else.
refuses() {
    local want=$1 pattern=$2 status=0
    shift 2
    "$@" >"$work/out" 2>"$work/err" || status=$?
    is "exit status of '$*'" "$status" "$want"
    is "lines on standard error of '$*'" "$(wc -l <"$work/err")" 1
    has "'$*'" "$(cat "$work/err")" "$pattern"
    is "standard output of '$*'" "$(cat "$work/out")" ""
}

# json PATH...: values out of the JSON on standard input, in one line.
json() {
    "$JSON_GET" "$@" | paste -sd' '
}

# wait_until COMMAND...: until it succeeds, 20 s at most.
wait_until() {
    local i
    for ((i = 0; i < 400; i++)); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.05
    done
    fail "never came true: $*"
}

finish() {
    echo "$checks checks"
}
