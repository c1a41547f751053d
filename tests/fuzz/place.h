/* place.h - a directory for the files of one fuzz target: made at the first use under $TMPDIR or /tmp, gone at the end
 * of the process. What a target that was killed left there is taken away by the next one. */
#ifndef TESTS_FUZZ_PLACE_H
#define TESTS_FUZZ_PLACE_H

#include <stddef.h>

#define PLACE_PATH 128

/* place_open makes the directory and returns its path, the same at every call. */
const char *place_open(void);

/* place_file writes a file of `len` bytes in it, or in a directory below, and lengthens it with zeros to `size` if
 * that is more; where a directory has that name nothing happens. place_read reads one back: how many bytes, -1 when there is none. */
void place_file(const char *name, const void *bytes, size_t len, size_t size);
long place_read(const char *name, void *to, size_t room);

/* place_folder makes a directory in it; one that is there is fine. place_clear removes everything in a directory in it,
 * and that directory ("": everything, but not the place itself). */
void place_folder(const char *name);
void place_clear(const char *name);

#endif
