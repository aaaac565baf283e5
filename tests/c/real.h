/* The type under test: include after defining REAL_BITS as 32 or 64, as often as there are types. */
#include <float.h>

#include "check.h"

#undef REAL
#undef TYPED
#undef REAL_LEAST
#if REAL_BITS == 32
#define REAL float
#define REAL_LEAST FLT_TRUE_MIN
#define TYPED(name) name##_f32
#else
#define REAL double
#define REAL_LEAST DBL_TRUE_MIN
#define TYPED(name) name##_f64
#endif
#define CHECK_WITHIN(n, actual, expected, bound)                                                                       \
    TYPED(check_within)(n, actual, expected, bound, __FILE__, __LINE__, #actual)
/* every element within tolerance times the largest expected one: sums that cancel lose that much */
#define CHECK_CLOSE(n, actual, expected, tolerance)                                                                    \
    CHECK_WITHIN(n, actual, expected, (tolerance) * largest_of(n, expected))

static inline REAL *TYPED(array)(int64_t n) { return buffer_of(n * (int64_t)sizeof(REAL)); }

static inline REAL *TYPED(copy_of)(int64_t n, const double *values) {
    if (!values) return NULL;
    REAL *copy = TYPED(array)(n);
    for (int64_t i = 0; i < n; i++) copy[i] = (REAL)values[i];
    return copy;
}

static inline double *TYPED(doubles_of)(int64_t n, const REAL *values) {
    double *copy = buffer_of(n * (int64_t)sizeof *copy);
    for (int64_t i = 0; i < n; i++) copy[i] = (double)values[i];
    return copy;
}

static inline int TYPED(same_bits)(int64_t n, const REAL *a, const REAL *b) {
    return memcmp(a, b, (size_t)n * sizeof(REAL)) == 0;
}

/* every element within `bound` of the expected one */
static inline void TYPED(check_within)(int64_t n, const REAL *actual, const double *expected, double bound,
                                       const char *file, int line, const char *text) {
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        if (fabs((double)actual[i] - expected[i]) <= bound) continue;
        if (!wrong++) printf("%s[%lld]: %.17g, expected %.17g\n", text, (long long)i, (double)actual[i], expected[i]);
    }
    check_that(wrong == 0, file, line, text);
}
