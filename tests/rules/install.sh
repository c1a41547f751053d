#!/bin/bash
# install.sh BUILD: installs into an empty directory and builds a small program of a stranger's
# against what is there: through pkg-config, statically, and through find_package(leat).
# shellcheck source=tests/rules/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
cmake --install "$build" --prefix "$prefix" >"$work/install.log" || { cat "$work/install.log"; exit 1; }
libdir=$(dirname "$(find "$prefix" -name 'libleat.so')")

mkdir "$work/user"
cat >"$work/user/main.c" <<'C'
#include <leat.h>
#include <stdio.h>

/* A name that the library uses inside: must not meet it. */
int ring_publish(void);
int
ring_publish(void)
{
    return 0;
}

int
main(void)
{
    puts(leat_strerror(-11));
    return ring_publish();
}
C
cat >"$work/user/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.16)
project(user LANGUAGES C)
find_package(leat 0.1 REQUIRED)
add_executable(shared main.c)
target_link_libraries(shared PRIVATE leat::leat)
add_executable(static main.c)
target_link_libraries(static PRIVATE leat::leat_static)
CMAKE

export PKG_CONFIG_PATH=$libdir/pkgconfig
# shellcheck disable=SC2046
gcc "$work/user/main.c" -o "$work/by_pkgconfig" $(pkg-config --cflags --libs leat)
# shellcheck disable=SC2046
gcc "$work/user/main.c" -o "$work/by_archive" $(pkg-config --cflags leat) "$libdir/libleat.a" \
    $(pkg-config --static --libs leat | tr ' ' '\n' | grep -v '^-lleat$')
cmake -S "$work/user" -B "$work/by_cmake" -DCMAKE_PREFIX_PATH="$prefix" >"$work/cmake.log"
cmake --build "$work/by_cmake" >>"$work/cmake.log" || { cat "$work/cmake.log"; exit 1; }

LD_LIBRARY_PATH=$libdir "$work/by_pkgconfig"
"$work/by_archive"
"$work/by_cmake/shared"
"$work/by_cmake/static"
for program in leat leatd; do
    [ -x "$prefix/bin/$program" ] || { echo "install: bin/$program is missing"; exit 1; }
    "$prefix/bin/$program" --help >/dev/null || { echo "install: $program --help fails"; exit 1; }
done
soname=$(objdump -p "$libdir/libleat.so" | awk '$1 == "SONAME" { print $2 }')
[ "$soname" = libleat.so.0 ] || { echo "install: the soname is $soname"; exit 1; }
