#!/bin/bash
# Every ordered access to shared memory carries its label, and the labels pair up: see edges.awk.
# shellcheck source=tests/rules/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$1"

mapfile -t files < <(c_files shm ring log wire client daemon tools | grep -vx 'shm/atomic.h' || true)
[ ${#files[@]} -gt 0 ] || exit 0
verdict "$(stripped "${files[@]}" | awk -f "$rules_dir/edges.awk" - "${files[@]}")"
