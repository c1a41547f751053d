# One interface target, leat_flags, carries what every object file is compiled with: the language,
# the warnings, the sanitizers and the include root. Nothing else sets flags, so that two folders
# can never disagree on them.
#
# There are two build types. Release is -O2 -g and keeps asserts (NDEBUG is never defined); Debug is
# -O1 -g3. No build type given means Release.

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Release or Debug" FORCE)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")
set(CMAKE_C_FLAGS_DEBUG "-O1 -g3")

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

find_package(Threads REQUIRED)

add_library(leat_flags INTERFACE)
target_include_directories(leat_flags INTERFACE "${PROJECT_SOURCE_DIR}")
target_compile_definitions(leat_flags INTERFACE _GNU_SOURCE LEAT_VERSION_STRING="${PROJECT_VERSION}")
target_compile_options(leat_flags INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
    -Wvla -Wundef -Wwrite-strings
    -fno-strict-aliasing -fno-common $<$<CONFIG:Debug>:-fno-omit-frame-pointer>)
target_link_options(leat_flags INTERFACE LINKER:-z,relro LINKER:-z,now)
target_link_libraries(leat_flags INTERFACE Threads::Threads)

if(LEAT_WERROR)
    target_compile_options(leat_flags INTERFACE -Werror)
endif()
if(LEAT_TESTPOINTS)
    target_compile_definitions(leat_flags INTERFACE LEAT_TESTPOINTS=1)
endif()
if(LEAT_SANITIZE)
    target_compile_options(leat_flags INTERFACE
        -fsanitize=${LEAT_SANITIZE} -fno-sanitize-recover=all)
    target_link_options(leat_flags INTERFACE -fsanitize=${LEAT_SANITIZE})
    target_compile_definitions(leat_flags INTERFACE LEAT_SANITIZED=1)
endif()
if(LEAT_FUZZ)
    target_compile_options(leat_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
