/* The type under test, and arrays of it. A program is compiled twice, with REAL_BITS 32 and 64; an editor that opens a
 * file sees float. REAL and TYPED are those of csrc/base/real.h, for a program that includes both. */
#ifndef TESTS_REAL_H
#define TESTS_REAL_H
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

#ifndef REAL_BITS
#define REAL_BITS 32
#endif

#if REAL_BITS == 32
#define REAL float
#define REAL_LEAST FLT_TRUE_MIN
#define TYPED(name) name##_f32
#elif REAL_BITS == 64
#define REAL double
#define REAL_LEAST DBL_TRUE_MIN
#define TYPED(name) name##_f64
#else
#error "REAL_BITS must be 32 or 64"
#endif

#define CHECK_WITHIN(n, actual, expected, bound) check_within(n, actual, expected, bound, __FILE__, __LINE__, #actual)
/* Every element within `tolerance` times the largest expected one: sums that cancel lose that much. */
#define CHECK_CLOSE(n, actual, expected, tolerance)                                                                    \
    CHECK_WITHIN(n, actual, expected, (tolerance) * largest_of(n, expected))

LOCAL REAL *array(int64_t n) { return buffer_of(n * (int64_t)sizeof(REAL)); }

/* An array with these values; NULL for NULL. */
LOCAL REAL *copy_of(int64_t n, const double *values) {
    if (!values) return NULL;
    REAL *copy = array(n);
    for (int64_t i = 0; i < n; i++) copy[i] = (REAL)values[i];
    return copy;
}

LOCAL double *doubles_of(int64_t n, const REAL *values) {
    double *copy = buffer_of(n * (int64_t)sizeof *copy);
    for (int64_t i = 0; i < n; i++) copy[i] = (double)values[i];
    return copy;
}

LOCAL int same_bits(int64_t n, const REAL *a, const REAL *b) { return memcmp(a, b, (size_t)n * sizeof(REAL)) == 0; }

/* Every element within `bound` of the expected one. */
LOCAL void check_within(int64_t n, const REAL *actual, const double *expected, double bound, const char *file, int line,
                        const char *text) {
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        if (fabs((double)actual[i] - expected[i]) <= bound) continue;
        if (!wrong++) printf("%s[%lld]: %.17g, expected %.17g\n", text, (long long)i, (double)actual[i], expected[i]);
    }
    check_that(wrong == 0, file, line, text);
}
#endif
