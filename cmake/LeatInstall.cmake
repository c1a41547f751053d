# What `cmake --install` lays down: the daemon, the tool, the library in both forms with its header,
# pkg-config file and CMake package, and the manual pages. Each part only when it was built.

include(CMakePackageConfigHelpers)

if(TARGET leatd)
    install(TARGETS leatd RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
if(TARGET leat-cli)
    install(TARGETS leat-cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

if(TARGET leat)
    get_target_property(leat_archive_file leat_archive LEAT_FILE)
    install(TARGETS leat EXPORT leatTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(FILES "${leat_archive_file}" DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(FILES client/include/leat.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

    # The pkg-config file finds its prefix from its own place, so that an installation can be moved.
    file(RELATIVE_PATH leat_pc_to_prefix
        "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
    configure_file(cmake/leat.pc.in leat.pc @ONLY)
    install(FILES "${PROJECT_BINARY_DIR}/leat.pc"
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

    set(leat_package ${CMAKE_INSTALL_LIBDIR}/cmake/leat)
    configure_package_config_file(cmake/leatConfig.cmake.in leatConfig.cmake
        INSTALL_DESTINATION ${leat_package}
        PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
    write_basic_package_version_file(leatConfigVersion.cmake COMPATIBILITY SameMinorVersion)
    install(FILES
        "${PROJECT_BINARY_DIR}/leatConfig.cmake" "${PROJECT_BINARY_DIR}/leatConfigVersion.cmake"
        DESTINATION ${leat_package})
    install(EXPORT leatTargets NAMESPACE leat:: DESTINATION ${leat_package})
endif()

foreach(section RANGE 1 8)
    file(GLOB pages CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/docs/man/*.${section}")
    if(pages)
        install(FILES ${pages} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
    endif()
endforeach()
