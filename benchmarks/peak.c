/* The fused multiply-add peak of one core, measured in registers: prints GFLOP/s of REAL in vectors of VECTOR_BYTES.
 * Build: cc -O3 -ffp-contract=fast -m... -DREAL=float -DVECTOR_BYTES=64 peak.c */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <time.h>

typedef REAL V __attribute__((vector_size(VECTOR_BYTES)));
enum { CHAINS = 12, ROUNDS = 7, STEPS = 4000000 };

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(void) {
    V sum[CHAINS], x = (V){0} + (REAL)0.999, y = (V){0} + (REAL)0.001;
    double best = 0;
    for (int i = 0; i < CHAINS; i++) sum[i] = (V){0} + (REAL)i;
    for (int round = 0; round < ROUNDS; round++) {
        const double began = seconds();
        for (int step = 0; step < STEPS; step++)
#pragma GCC unroll 12
            for (int i = 0; i < CHAINS; i++) {
                sum[i] = sum[i] * x + y;
                __asm__ volatile("" : "+v"(sum[i])); /* every one must happen */
            }
        const double rate = 2.0 * STEPS * CHAINS * (VECTOR_BYTES / sizeof(REAL)) / (seconds() - began) * 1e-9;
        if (rate > best) best = rate;
    }
    REAL total = 0;
    for (int i = 0; i < CHAINS; i++) total += sum[i][0];
    printf("%.1f\n", best);
    return total != total;
}
