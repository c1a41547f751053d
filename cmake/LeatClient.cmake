# leat_client_libraries(SOURCES ... DEPS ...): the client library in its three forms.
#
#   leat_client   static, nothing hidden: for leat's own tools and tests.
#   leat          libleat.so, whose symbols are those that client/libleat.map lets out.
#   leat_archive  libleat.a, for programs that link statically. It is one object file, linked from
#                 the client and all below it, in which every symbol but leat_* is made local, so
#                 that a user's own ring_push() never meets ours. Names with two underscores
#                 (leat__x) are the client's own and stay inside too.
#
# Client sources are compiled with default visibility because the map is the one place that says
# what is exported; a second list in the form of attributes could disagree with it.

function(leat_client_libraries)
    cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "SOURCES;DEPS")
    add_library(leat_client_objects OBJECT ${arg_SOURCES})
    target_include_directories(leat_client_objects PUBLIC "${PROJECT_SOURCE_DIR}/client/include")
    target_compile_options(leat_client_objects PRIVATE -fno-semantic-interposition)
    target_link_libraries(leat_client_objects PUBLIC leat_flags ${arg_DEPS})

    add_library(leat_client STATIC $<TARGET_OBJECTS:leat_client_objects>)
    target_include_directories(leat_client PUBLIC "${PROJECT_SOURCE_DIR}/client/include")
    target_link_libraries(leat_client PUBLIC leat_flags ${arg_DEPS})

    leat_client_shared("${arg_DEPS}")
    leat_client_archive()
endfunction()

function(leat_client_shared deps)
    set(map "${PROJECT_SOURCE_DIR}/client/libleat.map")
    add_library(leat SHARED $<TARGET_OBJECTS:leat_client_objects>)
    target_link_libraries(leat PRIVATE leat_flags ${deps})
    target_link_options(leat PRIVATE "LINKER:--version-script=${map}")
    if(NOT LEAT_SANITIZE)
        target_link_options(leat PRIVATE LINKER:--no-undefined)
    endif()
    set_target_properties(leat PROPERTIES
        VERSION ${PROJECT_VERSION} SOVERSION 0 LINK_DEPENDS "${map}")
    target_include_directories(leat INTERFACE
        $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/client/include>
        $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endfunction()

function(leat_client_archive)
    set(archive "${PROJECT_BINARY_DIR}/client/libleat.a")
    set(one "${PROJECT_BINARY_DIR}/client/libleat_one.o")
    leat_existing(inner leat_client leat_log leat_wire leat_ring leat_shm)
    set(files)
    foreach(lib IN LISTS inner)
        list(APPEND files $<TARGET_FILE:${lib}>)
    endforeach()
    add_custom_command(OUTPUT "${archive}"
        COMMAND ${CMAKE_LINKER} -r -o "${one}" --whole-archive ${files}
        COMMAND ${CMAKE_OBJCOPY} --wildcard "--keep-global-symbol=leat_[a-z]*" "${one}"
        COMMAND ${CMAKE_COMMAND} -E rm -f "${archive}"
        COMMAND ${CMAKE_AR} crs "${archive}" "${one}"
        DEPENDS ${inner}
        COMMENT "Joining the client into libleat.a"
        VERBATIM)
    add_custom_target(leat_archive ALL DEPENDS "${archive}")
    set_target_properties(leat_archive PROPERTIES LEAT_FILE "${archive}")
endfunction()
