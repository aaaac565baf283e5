/* The optimisers in both types. */
#define REAL_BITS 32
#include "real.h"

#include "optim.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "real.h"

#include "optim.h"

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    check_optimisers_f32();
    check_optimisers_f64();
    return end_of_checks();
}
