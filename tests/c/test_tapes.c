/* Tapes that go on and slide, in both types. */
#define REAL_BITS 32
#include "real.h"

#include "run.h"

#include "tapes.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "real.h"

#include "run.h"

#include "tapes.h"

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    check_tapes_f32();
    check_tapes_f64();
    return end_of_checks();
}
