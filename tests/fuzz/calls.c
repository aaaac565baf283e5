/* All calls in one type: compiled with REAL_BITS 32 and 64. */
#include "calls.h"

void TYPED(fuzz_input)(const uint8_t *bytes, size_t size);

void TYPED(fuzz_input)(const uint8_t *bytes, size_t size) { fuzz_bytes(bytes, size); }
