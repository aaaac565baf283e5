/* The network on several threads, in both types. */
#define REAL_BITS 32
#include "real.h"

#include "run.h"

#include "threads.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "real.h"

#include "run.h"

#include "threads.h"

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    check_threads_f32();
    check_threads_f64();
    return end_of_checks();
}
