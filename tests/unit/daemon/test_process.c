/* Processes: one struct for each, known by pid and start time, gone with the last hold or never begun for a dead one. */
#include "tests/unit/daemon/bus_fixture.h"

#include "daemon/process.h"

static void
one_for_each_process(void **state)
{
    struct process *a, *b;

    (void)state;
    bus_start("");
    assert_int_equal(process_of_record(fix.bus, (uint32_t)getpid(), fix.bus->start, &a), 0);
    assert_int_equal(process_of_socket(fix.bus, (uint32_t)getpid(), -1, &b), 0);
    assert_ptr_equal(a, b);
    assert_int_equal(a->holds, 2);
    assert_null(process_drop(b));
    assert_ptr_equal(fix.bus->processes, a);
    assert_null(process_drop(a));
    assert_null(fix.bus->processes);
    assert_null(process_drop(NULL));
}

static void
a_pid_of_another_time_is_nobody(void **state)
{
    struct process *p;

    (void)state;
    bus_start("");
    assert_int_equal(process_of_record(fix.bus, (uint32_t)getpid(), fix.bus->start + 1, &p),
                     -ESRCH);
    assert_int_equal(process_of_record(fix.bus, 0, 0, &p), -ESRCH);
    assert_int_equal(process_of_record(fix.bus, UINT32_MAX, 0, &p), -ESRCH);
    assert_null(fix.bus->processes);
}

/* Not even when nobody has waited for it yet. */
static void
who_has_exited_is_nobody(void **state)
{
    struct process *p;
    siginfo_t info;
    pid_t pid;

    (void)state;
    bus_start("");
    (void)fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid)
        _exit(0);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(process_of_socket(fix.bus, (uint32_t)pid, -1, &p), -ESRCH);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(process_of_socket(fix.bus, (uint32_t)pid, -1, &p), -ESRCH);
    assert_null(fix.bus->processes);
}

/* Many processes end at once: each is noticed. */
static void
many_deaths_in_one_turn(void **state)
{
    union wire_any p = pub_packet("a");
    struct wire_answer said;
    struct child children[8];

    (void)state;
    bus_start("[topic a]\ndeclare = yes\n");
    for (int i = 0; i < 8; i++) {
        children[i] = child_start(&p, 1);
        assert_int_equal(child_says(&children[i], &said), 0);
        assert_int_equal(child_says(&children[i], &said), 0);
    }
    for (int i = 0; i < 8; i++)
        child_kill(&children[i]);
    TURN_UNTIL(!fix.bus->processes && !fix.bus->sessions);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(atom_load_relaxed(&ring_entry(&topic("a")->memory.view, i)->state),
                         RING_ENTRY_FREE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_for_each_process, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(a_pid_of_another_time_is_nobody, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(who_has_exited_is_nobody, bus_setup, bus_teardown),
        cmocka_unit_test_setup_teardown(many_deaths_in_one_turn, bus_setup, bus_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
