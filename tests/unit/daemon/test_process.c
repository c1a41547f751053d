/* Processes: one struct for each, known by pid and start time, gone with the last hold or never begun for a dead one. */
#include "tests/unit/daemon/bus_fixture.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include "daemon/process.h"

/* Stands before the C library's: /proc as it is mounted with hidepid=2, for one process. */
static pid_t hidden;

int
open(const char *path, int flags, ...)
{
    char stat[64];
    mode_t mode = 0;
    va_list args;

    (void)snprintf(stat, sizeof stat, "/proc/%d/stat", (int)hidden);
    if (hidden && !strcmp(path, stat)) {
        errno = ENOENT;
        return -1;
    }
    va_start(args, flags);
    if (flags & O_CREAT)
        mode = va_arg(args, mode_t);
    va_end(args);
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

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

/* One that /proc hides is served, is known again by its pid, is alive for a daemon that comes back, and dies when it dies. */
static void
who_is_hidden_is_served_and_not_reaped(void **state)
{
    union wire_any p = pub_packet("a");
    struct wire_answer said;
    struct process *again;
    struct ring_view *v;
    struct child child;

    (void)state;
    for (int late = 0; late < 2; late++) {
        hidden = 0;
        bus_start("[topic a]\ndeclare = yes\n");
        child = child_start(&p, 1);
        /* Hidden from the first daemon too, or from the second alone. */
        hidden = late ? 0 : child.pid;
        assert_int_equal(child_says(&child, &said), 0);
        assert_int_equal(child_says(&child, &said), 0);
        v = &topic("a")->memory.view;
        assert_int_equal(ring_entry_claim(v, said.index, said.generation), 0);
        assert_true(late == (ring_entry(v, said.index)->start != 0));
        hidden = child.pid;
        assert_int_equal(process_of_socket(fix.bus, (uint32_t)child.pid, -1, &again), 0);
        assert_ptr_equal(again, topic("a")->publishers[said.index].process);
        assert_null(process_drop(again));
        bus_die();

        bus_start("");
        v = &topic("a")->memory.view;
        assert_non_null(topic("a")->publishers[said.index].process);
        assert_int_equal(atom_load_relaxed(&ring_entry(v, said.index)->state), RING_ENTRY_LIVE);
        child_kill(&child);
        TURN_UNTIL(atom_load_relaxed(&ring_entry(v, said.index)->state) == RING_ENTRY_FREE);
        bus_die();
        hidden = 0;
    }
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
        cmocka_unit_test_setup_teardown(who_is_hidden_is_served_and_not_reaped, bus_setup,
                                        bus_teardown),
        cmocka_unit_test_setup_teardown(many_deaths_in_one_turn, bus_setup, bus_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
