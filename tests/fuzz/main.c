/* The libFuzzer target of the C core: the first byte picks the type, the others make the calls. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "bptt.h"

void fuzz_input_f32(const uint8_t *bytes, size_t size);
void fuzz_input_f64(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (!bptt_isa()) abort(); /* BPTT_ISA names no kernel set that runs here */
    if (size == 0) return 0;
    (bytes[0] % 2 ? fuzz_input_f64 : fuzz_input_f32)(bytes + 1, size - 1);
    return 0;
}
