/* Memory that is taken away: zeros in that map, a mark on it, and the program goes on; elsewhere the program ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/fault.h"

#define PAGES 8u
#define PAGE 4096u

static unsigned char *
map_file(int *ret_fd)
{
    int fd = memfd_create("fault", MFD_CLOEXEC);
    unsigned char *map;

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, PAGES * PAGE), 0);
    map = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    memset(map, 7, PAGES * PAGE);
    *ret_fd = fd;
    return map;
}

static void
a_watched_range_reads_zeros_from_there_on(void **state)
{
    struct fault_range a = {.size = PAGES * PAGE}, b = {.size = PAGES * PAGE};
    int fd_a, fd_b;

    (void)state;
    a.base = map_file(&fd_a);
    b.base = map_file(&fd_b);
    assert_int_equal(fault_install(), 0);
    fault_watch(&a);
    fault_watch(&b);
    assert_false(fault_pending());
    assert_int_equal(ftruncate(fd_a, 2 * PAGE), 0);
    assert_int_equal(a.base[PAGE], 7);
    assert_false(fault_hit(&a));
    assert_int_equal(a.base[3 * PAGE + 5], 0);
    assert_true(fault_hit(&a));
    assert_false(fault_hit(&b));
    assert_true(fault_pending());
    assert_false(fault_pending());
    a.base[PAGES * PAGE - 1] = 9;
    assert_int_equal(a.base[PAGES * PAGE - 1], 9);
    /* What was not touched by it is still shared. */
    assert_int_equal(a.base[0], 7);
    assert_int_equal(b.base[3 * PAGE], 7);
    fault_unwatch(&a);
    fault_unwatch(&a);
    fault_unwatch(&b);
    munmap(a.base, a.size);
    munmap(b.base, b.size);
    close(fd_a);
    close(fd_b);
}

/* In a child: no cmocka, no core file, the parent looks at how it ended. */
static void
fault_outside(void)
{
    const struct rlimit none = {0, 0};
    int fd = memfd_create("fault", MFD_CLOEXEC);
    const unsigned char *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    struct fault_range unwatched = {.base = (unsigned char *)(uintptr_t)map, .size = PAGE};

    (void)setrlimit(RLIMIT_CORE, &none);
    if (fault_install())
        _exit(1);
    fault_watch(&unwatched);
    fault_unwatch(&unwatched);
    _exit(map[0] == 0 ? 2 : 3);
}

static void
a_fault_of_our_own_is_fatal(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    (void)fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (!pid)
        fault_outside();
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGBUS);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watched_range_reads_zeros_from_there_on),
        cmocka_unit_test(a_fault_of_our_own_is_fatal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
