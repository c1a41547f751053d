# Whole buses at work: a test for each configuration in bus.c.
if(TARGET leat_client AND TARGET leatd)
    add_executable(stress_bus bus.c)
    target_link_libraries(stress_bus PRIVATE leat_flags leat_testsupport leat_client)
    foreach(plan IN ITEMS memory overwrite disk disk-block disk-lanes memory-daemon disk-daemon
            memory-publishers disk-all)
        leat_script_test(stress_bus_${plan} COMMAND stress_bus ${plan} LABELS stress TIMEOUT 600)
    endforeach()
endif()
