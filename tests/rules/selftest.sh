#!/bin/bash
# selftest.sh RULE: shows that a rule accepts a small clean tree and an empty one, and that it
# reports each of the violations below, at the right place.
# shellcheck source=tests/rules/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

rule=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cases=0
wrong=0

# put FILE: writes standard input to it, in the tree under test.
put() {
    mkdir -p "$(dirname "$work/tree/$1")"
    cat >"$work/tree/$1"
}

# run_rule [ARG...]: the rule's output, in $said, and exit code, in $code. A rule that wants other
# arguments than the tree gets them from here.
run_rule() {
    code=0
    [ $# -gt 0 ] || set -- "$work/tree"
    said=$(bash "$rules_dir/$rule.sh" "$@" 2>&1) || code=$?
}

# catches NAME PATTERN [ARG...]: the rule must fail and print a line that matches; the tree is then
# emptied for the next case.
catches() {
    local name=$1 pattern=$2
    shift 2
    cases=$((cases + 1))
    run_rule "$@"
    if [ "$code" -ne 1 ] || ! grep -qE "$pattern" <<<"$said"; then
        echo "not caught: $name (exit code $code): $said"
        wrong=1
    fi
    fresh
}

# accepts NAME [ARG...]: the rule must be content.
accepts() {
    local name=$1
    shift
    cases=$((cases + 1))
    run_rule "$@"
    if [ "$code" -ne 0 ]; then
        echo "wrongly reported: $name (exit code $code): $said"
        wrong=1
    fi
    fresh
}

fresh() {
    rm -rf "$work/tree"
    mkdir -p "$work/tree"
    cp "$rules_dir/../../.clang-format" "$work/tree/"
}

# lines N: N statements, one a line.
lines() {
    local i
    for ((i = 0; i < $1; i++)); do echo '    x++;'; done
}

try_layers() {
    put shm/base.h <<<'#include <stdint.h>'
    put ring/ring.h <<<'#include "shm/base.h"'
    put ring/ring.c <<<$'#include "ring/ring.h"\n#include "ring/ring_private.h"'
    put tests/unit/ring/test_ring.c <<<$'#include "ring/ring_private.h"\n#include "client/pub.h"'
    put tools/cat.c <<<$'#include <leat.h>\n#include <linux/futex.h>'
    accepts "a clean tree"
    put shm/base.h <<<'#include "ring/ring.h"'
    catches "a higher folder" '^shm/base.h:1: .*higher'
    put log/scan.c <<<$'\n#include "wire/wire.h"'
    catches "a sibling" '^log/scan.c:2: .*sibling'
    put daemon/topic.c <<<'#include <leat.h>'
    catches "the public header in the daemon" 'sibling'
    put client/pub.c <<<'#include <daemon/topic.h>'
    catches "a sibling in angle brackets" 'sibling'
    put ring/ring.c <<<'#include "ring.h"'
    catches "an include that is not rooted" 'not rooted'
    put tests/unit/x.c <<<'#include "../support/x.h"'
    catches "a relative include" 'relative'
    put client/pub.c <<<'#include "ring/ring_private.h"'
    catches "a private header" 'private to ring'
    put client/pub.c <<<'#include "sys/mman.h"'
    catches "a foreign header in quotes" 'names no folder'
}

try_size() {
    put ring/good.c <<C
struct a { struct { int x; } y; };
static const int table[] = { 1, 2, 3 };
extern "C" {
int
f(int a, int (*b)(int, int), struct a c, int d, int e)
{
    struct a one = {.y = {.x = 1}};
    g((struct a){.y = {{{{1}}}}});
    if (a) {
        for (;;) {
            while (b) {
                d++; /* } */
            }
        }
    } else {
        switch (e) { case '{': break; }
        puts("{{{{{{");
    }
#define X {{{{{{
}
int
seventy(void)
{
$(lines 68)
}
}
C
    accepts "functions within the limits"
    put ring/long.c <<C
int
seventy_one(void)
{
$(lines 69)
}
C
    catches "71 lines" '^ring/long.c:3: seventy_one\(\) has 71 lines'
    put tests/deep.c <<<$'int f(void)\n{\n if (1) {\n for (;;) {\n do {\n if (x) {\n y();\n }\n } while (0);\n }\n }\n}'
    catches "five braces" 'f\(\) nests 5 braces'
    put client/wide.c <<<$'int\nwide(int a, int b, int c,\n     int d, int e, int f)\n{\n}'
    catches "six parameters" 'wide\(\) has 6 parameters'
    put client/two.c <<<$'int f(void)\n{\n}\n\nint g(int a, int b, int c, int d, int e, int f) {\n}'
    catches "the second function" 'g\(\) has 6'
}

try_banned() {
    put shm/atomic.h <<<$'#include <stdatomic.h>\ntypedef _Atomic int x; volatile int y;'
    put ring/ok.c <<<$'/* assert(x), printf() and volatile in a comment */\nconst char *s = "abort()";\n_Static_assert(1, "");'
    put client/ok.c <<<$'x->exit(1); snprintf(b, 1, "x"); config.abort(); my_exit(1);'
    put tools/ok.c <<<$'int main(void) { printf("x"); exit(1); }'
    put daemon/ok.c <<<$'static volatile sig_atomic_t s; assert(1);'
    put tests/ok.sh <<<$'#!/bin/bash\nuntil ready; do sleep 0.05; done'
    accepts "what is allowed"
    local word
    for word in 'volatile int x;' '__sync_synchronize();' '__atomic_load_n(p, 0);' '_Atomic int x;' \
        '#include <stdatomic.h>' 'strcpy(a, b);' 'strcat (a, b);' 'sprintf(a, b);' 'gets(a);' \
        'atoi(a);' 'strtok(a, b);'; do
        put tools/x.c <<<$'\n'"$word"
        catches "$word in tools" '^tools/x.c:2: '
    done
    for word in 'printf("x");' 'fprintf(stderr, "x");' 'abort();' 'exit(1);' 'assert(x);'; do
        put log/x.c <<<"$word"
        catches "$word in a library" '^log/x.c:1: '
    done
    for word in 'sleep(1);' 'usleep(1);' 'nanosleep(&t, NULL);' 'sched_yield();' 'srand(1);'; do
        put tests/unit/x.c <<<"$word"
        catches "$word in a test" '^tests/unit/x.c:1: '
    done
    put tests/e2e/x.sh <<<$'#!/bin/bash\nsleep 2'
    catches "a sleep in a script" '^tests/e2e/x.sh:2:'
    for word in TO''DO FIX''ME X''XX HA''CK; do
        put docs/x.md <<<"a $word: b"
        catches "$word" '^docs/x.md:1:'
    done
}

try_edges() {
    put ring/a.c <<'C'
void a(void)
{
    /* The payload is complete. release: COMMIT */
    atom_store_release(&s->stamp, 1);
    atom_store_relaxed(&s->x, 1);
    if (atom_cas_acq_rel(&s->tail,
                         a, b)) /* release: TAIL, acquire: TAIL */
        return;
    /* seq: ATTACH, the store comes before
       the load */
    atom_store_seq(&s->pos,
                   1);
}
C
    put client/b.c <<'C'
int b(void)
{
    atom_store_seq(&s->limit, 1); /* seq: ATTACH */
    return atom_load_acquire(&s->stamp) != 1; /* acquire: COMMIT */
}
C
    accepts "labels that pair up"
    put ring/a.c <<<$'void a(void)\n{\n    atom_store_release(&s->x, 1);\n}'
    catches "a release without a label" '^ring/a.c:3: atom_store_release has no label'
    put ring/a.c <<<$'void a(void)\n{\n    y(); /* acquire: A */\n\n    x = atom_load_acquire(&s->x);\n}'
    catches "a label of another line" '^ring/a.c:5: atom_load_acquire has no label'
    put ring/a.c <<<$'x = atom_load_acquire(&s->x); /* release: A */'
    catches "a label of the wrong kind" 'has no label'
    put ring/a.c <<<$'x = atom_load_seq(&s->x);'
    catches "a seq without a label" 'atom_load_seq has no label'
    put ring/a.c <<<$'x = atom_load_acquire(&s->x); /* acquire: A */'
    put log/b.c <<<$'atom_store_release(&s->x, 1); /* release: B */'
    catches "an acquire without a release" 'label A is acquired and released nowhere'
    put log/b.c <<<$'atom_store_release(&s->x, 1); /* release: B */'
    catches "a release without an acquire" 'label B is released and acquired nowhere'
    put log/b.c <<<$'atom_store_seq(&s->x, 1); /* seq: C */'
    catches "a lonely seq" 'label C has one side only'
}

try_headers() {
    put client/include/leat.h <<<$'#ifndef LEAT_H\n#define LEAT_H\n#include <stdint.h>\nint leat_x(uint64_t);\n#endif'
    put shm/a.h <<<$'#include <stdint.h>\nstatic inline uint64_t\na(void)\n{\n    return 1;\n}'
    put shm/empty.h <<<$'#define X 1'
    accepts "headers that stand alone"
    put ring/a.h <<<'uint64_t ring_x(void);'
    catches "a header that needs another" '^ring/a.h alone: .*uint64_t'
    put client/include/leat.h <<<'int leat_x(int class);'
    catches "a word of C++" '^leat.h as c\+\+17'
    put client/include/leat.h <<<'struct leat_a { int x; union { int y; }; };'
    catches "a feature that C99 lacks" '^leat.h as c99'
}

try_format() {
    command -v clang-format-14 >/dev/null || exit 77
    put shm/a.c <<<$'int\na(void)\n{\n    return 0;\n}'
    accepts "code in the right format"
    put shm/a.c <<<$'int a(void) {\n  return 0; }'
    catches "another format" '^shm/a.c:1:'
}

try_scripts() {
    command -v shellcheck >/dev/null || exit 77
    put tools/demo <<<$'#!/bin/bash\necho "$1"'
    put tools/data <<<$'echo $1'
    accepts "a clean script"
    put tools/demo <<<$'#!/bin/bash\nif [ $x = 1 ]; then\necho'
    catches "a broken script" '^tools/demo:'
}

try_packages() {
    put .ci/packages <<<$'# comment\ngcc  # build: the compiler'
    put README.md <<<'Needs gcc.'
    accepts "a README that names all"
    put .ci/packages <<<$'gcc  # build: the compiler\nspin  # test: models'
    put README.md <<<'Needs gcc.'
    catches "a package that is not named" 'package spin'
}

# archive NAME SOURCE: compiles the source into work/NAME.a.
archive() {
    gcc -O1 -fPIC -x c -c -o "$work/$1.o" - <<<"$2"
    rm -f "$work/$1.a"
    ar crs "$work/$1.a" "$work/$1.o"
}

# compile_commands FILE: what the build says about that one file of the tree.
compile_commands() {
    cat >"$work/compile_commands.json" <<JSON
[{"directory": "$work", "command": "gcc -std=c17 -I$work/tree -c $work/tree/$1", "file": "$work/tree/$1"}]
JSON
}

try_tidy() {
    command -v clang-tidy-14 >/dev/null || exit 77
    local tree=("$work/tree" "$work")
    compile_commands ring/a.c
    put ring/a.c <<<$'#include <errno.h>\nint f(int *);\nstatic int g(int *ret) { if (f(ret)) return -errno; return *ret = 0; }
        int h(void); int h(void) { int x, r = g(&x); if (r) return r; return x; }'
    accepts "an output that is set whenever errno was not returned" "${tree[@]}"
    put ring/a.c <<<$'int f(char *p);\nint f(char *p)\n{\n    return p ? 0 : *p;\n}'
    catches "a null pointer that is followed" 'ring/a.c:4:.*NullDereference' "${tree[@]}"
    put ring/a.c <<<'#include "ring/none.h"'
    catches "a file that cannot be analysed" 'ring/a.c:1:.*none.h' "${tree[@]}"
}

try_readme() {
    local args=("$work/tree" "$work")
    gcc -shared -fPIC -x c -o "$work/libleat.so" - <<<'int leat_a(void) { return 0; }'
    put client/include/leat.h <<<'int leat_a(void);'
    put README.md <<<$'```c\n#include <leat.h>\nint main(void) { return leat_a(); }\n```'
    accepts "a program that builds" "${args[@]}"
    put client/include/leat.h <<<'int leat_a(void);'
    put README.md <<<$'```c\n#include <leat.h>\nint main(void) { return leat_b(); }\n```'
    catches "a program that calls what is not there" 'does not build' "${args[@]}"
    put README.md <<<$'```sh\nmain(\n```'
    catches "a README without a program" 'has no C program' "${args[@]}"
}

try_purity() {
    local memory='#include <string.h>
        void shm_helper(void); extern void (*shm_testpoint_hook)(const char *);
        void ring_a(void *p, int n) { memset(p, 0, n); shm_helper(); if (shm_testpoint_hook) shm_testpoint_hook("x"); }'
    archive shm 'void shm_helper(void) {}'
    archive ring "$memory"
    accepts "a pure ring" "$work/ring.a" "$work/shm.a"
    archive ring '#include <stdlib.h>
        void *ring_a(void) { return malloc(1); }'
    catches "an allocation" 'calls malloc' "$work/ring.a" "$work/shm.a"
    archive ring "$memory"
    archive shm '#include <unistd.h>
        void shm_helper(void) { (void)getpid(); }'
    catches "a system call through shm" 'calls getpid' "$work/ring.a" "$work/shm.a"
}

try_exports() {
    local lib=("$work/libleat.so" "$work/libleat.a" "$work/leat.h") source
    source='int leat_a(void) { return 0; } int leat__b(void) { return 0; }'
    echo 'int leat_a(void); /* unlike leat_c() */' >"$work/leat.h"
    gcc -shared -fPIC -x c -o "$work/libleat.so" - <<<"$source" \
        -Wl,--version-script="$rules_dir/../../client/libleat.map"
    archive libleat 'int leat_a(void) { return 0; }'
    accepts "a library as declared" "${lib[@]}"
    archive libleat "$source"
    catches "an internal symbol in the archive" 'libleat.a: exports leat__b' "${lib[@]}"
    archive libleat 'int leat_a(void) { return 0; }'
    echo 'int leat_a(void); int leat_c(void);' >"$work/leat.h"
    catches "a function that is missing" 'libleat.so: lacks leat_c' "${lib[@]}"
    echo 'int leat_a(void);' >"$work/leat.h"
    gcc -shared -fPIC -x c -o "$work/libleat.so" - <<<"$source"
    catches "a library without the map" 'without a version' "${lib[@]}"
}

fresh
case $rule in
layers | size | banned | edges | headers | format | scripts) accepts "an empty tree" ;;
esac
"try_$rule"
echo "$cases cases"
exit "$wrong"
