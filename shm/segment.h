/* segment.h - POSIX shared-memory objects: create, open, reserve, map, remove.
 *
 * Only the daemon creates, sizes and removes objects; the inspector opens them read-only; clients
 * are handed descriptors. An object is sized once and never shrinks. What is reserved
 * (posix_fallocate) can be touched without SIGBUS, whatever else fills /dev/shm; what is not reserved is
 * never handed out. Nothing here is safe against another thread closing the same descriptor;
 * otherwise all functions may run concurrently. All return 0 or a negative errno.
 */
#ifndef SHM_SEGMENT_H
#define SHM_SEGMENT_H

#include "shm/base.h"

/* shm_segment_create makes the object `name` ("/...") of `size` bytes, mode 0600, with the first `reserve`
 * bytes reserved. -EEXIST when the name is taken, -ENOSPC when there is no room: nothing is left then. */
int shm_segment_create(const char *name, uint64_t size, uint64_t reserve, int *ret_fd);

/* shm_segment_open opens an object for reading or for reading and writing. -ENOENT, -EACCES. */
int shm_segment_open(const char *name, bool writable, int *ret_fd, uint64_t *ret_size);

/* shm_segment_size says how large the object behind a descriptor is. */
int shm_segment_size(int fd, uint64_t *ret_size);

/* shm_segment_reserve makes [off, off + len) safe to touch. -ENOSPC. */
int shm_segment_reserve(int fd, uint64_t off, uint64_t len);

/* shm_segment_map maps the whole object read-only; what of it may be written is then opened with
 * shm_segment_writable. Maps are not inherited by fork. */
int shm_segment_map(int fd, uint64_t size, void **ret_base);

/* shm_segment_writable turns the page-aligned range [off, off + len) of a map into a writable one at the
 * same addresses. -EACCES when the descriptor is read-only. */
int shm_segment_writable(int fd, void *base, uint64_t off, uint64_t len);

/* shm_segment_populate touches [off, off + len) now, so that no first touch is paid later. A hint. */
void shm_segment_populate(void *base, uint64_t off, uint64_t len, bool writable);

void shm_segment_unmap(void *base, uint64_t size);
int shm_segment_remove(const char *name);

#endif
