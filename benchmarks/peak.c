/* The fused multiply-add peak of one core, measured in registers: GFLOP/s of REAL in vectors of VECTOR_BYTES.
 * Build: cc -O3 -ffp-contract=fast -shared -fPIC -m... -DREAL=float -DVECTOR_BYTES=64 peak.c -o peak.so */
#define _POSIX_C_SOURCE 200809L
#include <time.h>

typedef REAL V __attribute__((vector_size(VECTOR_BYTES)));
enum { CHAINS = 12 };

/* named variables, not an array: an array would live in memory */
#define EACH(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define DECLARE(i) V sum##i = zeros + (REAL)i;
#define ADVANCE(i) sum##i = sum##i * x + y;
#define KEEP(i) total += sum##i[0];
#if defined(__x86_64__)
#define HAPPEN(i) __asm__ volatile("" : : "v"(sum##i));
#else
#define HAPPEN(i) __asm__ volatile("" : : "w"(sum##i));
#endif

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double peak(long steps);
double peak(long steps) {
    const V zeros = {0}, x = zeros + (REAL)0.999, y = zeros + (REAL)0.001;
    volatile REAL total = 0;
    EACH(DECLARE)
    const double began = seconds();
    for (long step = 0; step < steps; step++) {
        EACH(ADVANCE)
        EACH(HAPPEN) /* each of them must be computed */
    }
    const double taken = seconds() - began;
    EACH(KEEP)
    return 2.0 * (double)steps * CHAINS * (VECTOR_BYTES / sizeof(REAL)) / taken * 1e-9;
}
