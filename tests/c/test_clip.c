/* Gradient clipping in both types. */
#define REAL_BITS 32
#include "real.h"

#include "clip.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "real.h"

#include "clip.h"

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    check_clip_f32();
    check_clip_f64();
    return end_of_checks();
}
