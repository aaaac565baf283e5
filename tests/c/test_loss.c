/* The losses in both types. */
#define REAL_BITS 32
#include "real.h"

#include "loss.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "real.h"

#include "loss.h"

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    check_losses_f32();
    check_losses_f64();
    return end_of_checks();
}
