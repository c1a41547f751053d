# The words in which the folders describe themselves.
#
# leat_library(NAME SOURCES a.c b.c DEPS leat_shm PkgConfig::XXHASH)
#     A static library of position-independent code with hidden symbols. Whoever links it also gets
#     its DEPS.
#
# leat_program(NAME OUTPUT name SOURCES main.c DEPS leat_daemon)
#     An executable, put into <build>/bin.
#
# leat_test(NAME SOURCES test_x.c LABELS unit DEPS leat_ring [TIMEOUT s] [SERIAL] [ARGS ...]
#           [ENV K=V ...])
#     One test program and the ctest test of the same name. It links cmocka and, if there is one,
#     leat_testsupport. Its first label is the folder of tests/ it stands in (unit, stress, crash,
#     sim, fuzz, e2e, model). Two labels have a meaning of their own: `tsan` also runs it under
#     ThreadSanitizer, `full` keeps it for tests/run --full. Exit code 77 means skipped. SERIAL keeps
#     other tests from running beside it.
#
# leat_script_test(NAME COMMAND ... LABELS e2e [TIMEOUT s] [SERIAL] [ENV K=V ...])
#     The same for a test that is a script or that runs something already built.
#
# leat_fuzzer(NAME SOURCES x.c DEPS leat_wire [CORPUS dir] [SECONDS s])
#     A fuzz target, that is an LLVMFuzzerTestOneInput, and its test, label `fuzz`. With LEAT_FUZZ (the
#     fuzz preset) libFuzzer starts from the corpus and looks for new inputs for that long (60 s
#     unless told); what it finds stays in the build directory. In all other builds the test
#     replays the corpus, the directory corpus/NAME beside the source unless told.
#
# Every test finds in its environment: LEATD and LEAT_CLI, the paths of the daemon and of the tool;
# LEAT_SOURCE_DIR and LEAT_BUILD_DIR; LEAT_SANITIZED, the sanitizers of this build or empty;
# LEAT_TESTPOINTS, 1 if the build has test points, else 0. LEAT_FULL=1 is set by the caller when
# tests should take their long form.

function(leat_library name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;DEPS")
    add_library(${name} STATIC ${arg_SOURCES})
    set_target_properties(${name} PROPERTIES C_VISIBILITY_PRESET hidden)
    target_link_libraries(${name} PUBLIC leat_flags ${arg_DEPS})
endfunction()

function(leat_program name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "OUTPUT" "SOURCES;DEPS")
    add_executable(${name} ${arg_SOURCES})
    set_target_properties(${name} PROPERTIES
        OUTPUT_NAME "${arg_OUTPUT}"
        RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin"
        C_VISIBILITY_PRESET hidden)
    target_link_libraries(${name} PRIVATE leat_flags ${arg_DEPS})
endfunction()

# Gives the test its labels, limits and environment; shared by leat_test and leat_script_test.
function(leat_test_properties name labels timeout serial env)
    if(NOT timeout)
        set(timeout 120)
    endif()
    if(LEAT_SANITIZE)
        math(EXPR timeout "${timeout} * 4")
    endif()
    set(full_env
        "LEATD=${PROJECT_BINARY_DIR}/bin/leatd"
        "LEAT_CLI=${PROJECT_BINARY_DIR}/bin/leat"
        "LEAT_SOURCE_DIR=${PROJECT_SOURCE_DIR}"
        "LEAT_BUILD_DIR=${PROJECT_BINARY_DIR}"
        "LEAT_SANITIZED=${LEAT_SANITIZE}"
        "LEAT_TESTPOINTS=$<BOOL:${LEAT_TESTPOINTS}>"
        "ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:exitcode=99"
        "UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1"
        "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:exitcode=99"
        ${env})
    set_tests_properties(${name} PROPERTIES
        LABELS "${labels}"
        TIMEOUT ${timeout}
        RUN_SERIAL ${serial}
        SKIP_RETURN_CODE 77
        ENVIRONMENT "${full_env}")
endfunction()

function(leat_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "SERIAL" "TIMEOUT" "SOURCES;DEPS;LABELS;ARGS;ENV")
    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE leat_flags)
    if(TARGET leat_testsupport)
        target_link_libraries(${name} PRIVATE leat_testsupport)
    endif()
    target_link_libraries(${name} PRIVATE ${arg_DEPS} PkgConfig::CMOCKA)
    add_test(NAME ${name} COMMAND ${name} ${arg_ARGS})
    leat_test_properties(${name} "${arg_LABELS}" "${arg_TIMEOUT}" "${arg_SERIAL}" "${arg_ENV}")
endfunction()

function(leat_script_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "SERIAL" "TIMEOUT" "COMMAND;LABELS;ENV")
    add_test(NAME ${name} COMMAND ${arg_COMMAND})
    leat_test_properties(${name} "${arg_LABELS}" "${arg_TIMEOUT}" "${arg_SERIAL}" "${arg_ENV}")
endfunction()

function(leat_fuzzer name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "CORPUS;SECONDS" "SOURCES;DEPS")
    if(NOT arg_CORPUS)
        set(arg_CORPUS "${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name}")
    endif()
    if(NOT arg_SECONDS)
        set(arg_SECONDS 60)
    endif()
    add_executable(${name} ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE leat_flags ${arg_DEPS})
    target_compile_options(${name} PRIVATE "SHELL:-include ${PROJECT_SOURCE_DIR}/cmake/fuzz_target.h")
    if(LEAT_FUZZ)
        set(found "${CMAKE_CURRENT_BINARY_DIR}/found/${name}")
        file(MAKE_DIRECTORY "${found}")
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
        add_test(NAME ${name} COMMAND ${name}
            -max_total_time=${arg_SECONDS} -timeout=10 -print_final_stats=1
            "-artifact_prefix=${found}/" "${found}" "${arg_CORPUS}")
    else()
        target_sources(${name} PRIVATE "${PROJECT_SOURCE_DIR}/cmake/fuzz_replay.c")
        add_test(NAME ${name} COMMAND ${name} "${arg_CORPUS}")
    endif()
    math(EXPR timeout "${arg_SECONDS} + 120")
    leat_test_properties(${name} "fuzz" "${timeout}" FALSE "")
endfunction()

# leat_existing(VAR target...): those of the targets that exist, so that a folder whose neighbours
# are still empty configures.
function(leat_existing var)
    set(found)
    foreach(target IN LISTS ARGN)
        if(TARGET ${target})
            list(APPEND found ${target})
        endif()
    endforeach()
    set(${var} "${found}" PARENT_SCOPE)
endfunction()
