/* The calls of the fuzz target (tests/fuzz), made of random bytes: all parts, the same in every run. */
#include <stdint.h>

#include "../fuzz/calls.h"
#include "bptt.h"
#include "check.h"
#include "real.h"

enum { INPUTS = 6000, MOST_BYTES = 160 };

/* Random bytes; of every fourth input half of them are zero, which makes small problems. */
static void make_bytes(uint64_t seed, int sparse, uint8_t *bytes) {
    for (int i = 0; i < MOST_BYTES; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = sparse && seed >> 63 ? 0 : (uint8_t)(seed >> 40);
    }
}

int main(void) {
    uint8_t bytes[MOST_BYTES];
    if (!bptt_isa()) return SKIPPED;
    for (uint64_t i = 0; i < INPUTS; i++) {
        make_bytes(i << 32 | 77, i / COUNT_OF(fuzz_parts) % 4 == 0, bytes);
        bytes[0] = (uint8_t)i; /* every part as often */
        fuzz_bytes(bytes, sizeof bytes);
    }
    CHECK(accepted_calls > 100);
    bptt_team_free(fuzz_team);
    return end_of_checks();
}
