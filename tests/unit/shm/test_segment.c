/* Shared-memory objects as the kernel gives them: created, refused, reserved, mapped, never writable through a read-only
 * descriptor, never inherited. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/segment.h"

#define PAGES(n) ((uint64_t)(n)*SHM_PAGE)
#define SIZE PAGES(16)
#define CHILD_SKIPS 77

static char name[64];

static int
setup(void **state)
{
    (void)state;
    (void)snprintf(name, sizeof name, "/leat-test-segment.%d", (int)getpid());
    (void)shm_segment_remove(name);
    return 0;
}

static int
teardown(void **state)
{
    (void)state;
    (void)shm_segment_remove(name);
    return 0;
}

static int
in_child(int (*body)(void))
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(body());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void
an_object_is_made_as_asked(void **state)
{
    struct stat st;
    uint64_t size = 0;
    int fd = -1;

    (void)state;
    umask(0);
    assert_int_equal(shm_segment_create(name, SIZE, PAGES(4), &fd), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_size, SIZE);
    assert_in_range(st.st_blocks * 512, PAGES(4), SIZE - 1);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(shm_segment_size(fd, &size), 0);
    assert_int_equal(size, SIZE);
    assert_int_equal(shm_segment_reserve(fd, PAGES(8), PAGES(8)), 0);
    assert_int_equal(shm_segment_reserve(fd, 0, 0), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, SIZE);
    assert_in_range(st.st_blocks * 512, PAGES(12), SIZE);
    close(fd);
}

static void
a_name_is_taken_once(void **state)
{
    int fd = -1, second = -7;

    (void)state;
    assert_int_equal(shm_segment_create(name, SIZE, 0, &fd), 0);
    assert_int_equal(shm_segment_create(name, SIZE, 0, &second), -EEXIST);
    assert_int_equal(second, -7);
    assert_int_equal(shm_segment_remove(name), 0);
    assert_int_equal(shm_segment_remove(name), -ENOENT);
    close(fd);
}

static void
bad_sizes_are_refused(void **state)
{
    int fd = -7;
    uint64_t size = 3;

    (void)state;
    assert_int_equal(shm_segment_create(name, SIZE, SIZE + 1, &fd), -EINVAL);
    assert_int_equal(shm_segment_create(name, UINT64_MAX, 0, &fd), -EINVAL);
    assert_int_equal(fd, -7);
    assert_int_equal(shm_segment_open(name, false, &fd, &size), -ENOENT);
    assert_int_equal(fd, -7);
    assert_int_equal(size, 3);
}

static void
what_is_no_file_has_no_size(void **state)
{
    uint64_t size = 3;
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(shm_segment_size(fds[0], &size), -EBADMSG);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(shm_segment_size(fds[0], &size), -EBADF);
    assert_int_equal(size, 3);
}

static void
what_one_writes_others_see(void **state)
{
    void *a = NULL, *b = NULL;
    uint64_t size;
    int rw = -1, ro = -1;

    (void)state;
    assert_int_equal(shm_segment_create(name, SIZE, SIZE, &rw), 0);
    assert_int_equal(shm_segment_open(name, false, &ro, &size), 0);
    assert_int_equal(size, SIZE);
    assert_int_equal(shm_segment_map(rw, SIZE, &a), 0);
    assert_int_equal(shm_segment_map(ro, SIZE, &b), 0);
    assert_int_equal(shm_segment_writable(rw, a, SHM_PAGE, PAGES(2)), 0);
    shm_segment_populate(a, SHM_PAGE, PAGES(2), true);
    shm_segment_populate(b, 0, SIZE, false);
    memset((char *)a + SHM_PAGE, 0x5a, PAGES(2));
    assert_memory_equal((char *)a + SHM_PAGE, (char *)b + SHM_PAGE, PAGES(2));
    assert_int_equal(shm_segment_writable(rw, a, 1, SHM_PAGE), -EINVAL);
    assert_int_equal(shm_segment_writable(rw, a, 0, SHM_PAGE - 1), -EINVAL);
    shm_segment_unmap(a, SIZE);
    shm_segment_unmap(b, SIZE);
    shm_segment_unmap(NULL, SIZE);
    close(rw);
    close(ro);
}

/* A subscriber: handed a read-only descriptor, it tries all that the kernel offers. Exit code: which attempt worked. */
static int
try_to_write(void)
{
    uint64_t size;
    void *base;
    int fd;
    char path[32];

    if (shm_segment_open(name, false, &fd, &size) || shm_segment_map(fd, size, &base))
        return 1;
    if (mprotect(base, size, PROT_READ | PROT_WRITE) == 0 || errno != EACCES)
        return 2;
    if (shm_segment_writable(fd, base, 0, SHM_PAGE) != -EACCES)
        return 3;
    if (mmap(NULL, size, PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED)
        return 4;
    if (ftruncate(fd, 0) == 0 || pwrite(fd, "x", 1, 0) == 1 || !fallocate(fd, 0, 0, SHM_PAGE))
        return 5;
    /* As a user who does not own the object even /proc gives no way round. */
    if (geteuid() == 0) {
        if (setgid(65534) || setuid(65534))
            return CHILD_SKIPS;
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (open(path, O_RDWR | O_CLOEXEC) >= 0)
            return 6;
    }
    /* The map is still whole and readable. */
    return *(const char *)base ? 7 : 0;
}

static void
a_read_only_descriptor_stays_read_only(void **state)
{
    int fd = -1, r;

    (void)state;
    assert_int_equal(shm_segment_create(name, SIZE, SIZE, &fd), 0);
    r = in_child(try_to_write);
    close(fd);
    if (r == CHILD_SKIPS)
        skip();
    assert_int_equal(r, 0);
}

static void *inherited;

static int
is_still_mapped(void)
{
    /* msync says ENOMEM where nothing is mapped. */
    return !(msync(inherited, SIZE, MS_ASYNC) && errno == ENOMEM &&
             msync((char *)inherited + SHM_PAGE, SHM_PAGE, MS_ASYNC) && errno == ENOMEM);
}

static void
a_fork_inherits_no_map(void **state)
{
    int fd = -1;

    (void)state;
    assert_int_equal(shm_segment_create(name, SIZE, SIZE, &fd), 0);
    assert_int_equal(shm_segment_map(fd, SIZE, &inherited), 0);
    assert_int_equal(in_child(is_still_mapped), 0);
    assert_int_equal(shm_segment_writable(fd, inherited, SHM_PAGE, SHM_PAGE), 0);
    assert_int_equal(in_child(is_still_mapped), 0);
    assert_int_equal(msync(inherited, SIZE, MS_ASYNC), 0);
    shm_segment_unmap(inherited, SIZE);
    close(fd);
}

/* In a name space of its own, where /dev/shm has room for 16 pages. */
static int
fill_a_small_shm(void)
{
    uint64_t size;
    int fd = -7;

    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=65536"))
        return CHILD_SKIPS;
    if (shm_segment_create(name, PAGES(32), PAGES(32), &fd) != -ENOSPC || fd != -7)
        return 1;
    if (shm_segment_open(name, false, &fd, &size) != -ENOENT)
        return 2;
    /* Sparse it fits, and what does not fit is refused when it is reserved, not when it is touched. */
    if (shm_segment_create(name, PAGES(32), PAGES(8), &fd))
        return 3;
    if (shm_segment_reserve(fd, PAGES(8), PAGES(24)) != -ENOSPC)
        return 4;
    return shm_segment_reserve(fd, PAGES(8), PAGES(4)) ? 5 : 0;
}

static void
a_full_shm_is_said_at_creation(void **state)
{
    int r = in_child(fill_a_small_shm);

    (void)state;
    if (r == CHILD_SKIPS) {
        print_message("skipped: this user cannot mount a small /dev/shm\n");
        skip();
    }
    assert_int_equal(r, 0);
}

/* Whoever may write in /dev/shm may put there what opening waits at. */
static void
a_fifo_is_refused_at_once(void **state)
{
    char path[80];
    uint64_t size;
    int fd;

    (void)state;
    (void)snprintf(path, sizeof path, "/dev/shm%s", name);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(shm_segment_open(name, false, &fd, &size), -EBADMSG);
    assert_int_equal(shm_segment_open(name, true, &fd, &size), -EBADMSG);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_object_is_made_as_asked, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_is_taken_once, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_sizes_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_file_has_no_size, setup, teardown),
        cmocka_unit_test_setup_teardown(what_one_writes_others_see, setup, teardown),
        cmocka_unit_test_setup_teardown(a_read_only_descriptor_stays_read_only, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fork_inherits_no_map, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fifo_is_refused_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_shm_is_said_at_creation, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
