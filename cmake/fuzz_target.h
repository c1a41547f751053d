/* fuzz_target.h - read before every fuzz target: the entry point, which libFuzzer declares nowhere. */
#ifndef CMAKE_FUZZ_TARGET_H
#define CMAKE_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#endif
