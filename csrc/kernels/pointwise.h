/* Element-by-element functions: the loop that all of them share, and those that belong to no cell. */
#ifndef BPTT_KERNELS_POINTWISE_H
#define BPTT_KERNELS_POINTWISE_H
#include "kernels/vec.h"
#include "kernels/vmath.h"

/* Statements for each vector of `count` elements. They see j, its first element, and lanes, how many of its lanes are
 * elements: the constant LANES in all vectors but perhaps the last. LOAD and STORE move that many. */
#define EACH_VECTOR(count, ...)                                                                                        \
    do {                                                                                                               \
        int64_t j = 0;                                                                                                 \
        for (; j + LANES <= (count); j += LANES) {                                                                     \
            const int64_t lanes = LANES;                                                                               \
            __VA_ARGS__;                                                                                               \
        }                                                                                                              \
        if (j < (count)) {                                                                                             \
            const int64_t lanes = (count) - j;                                                                         \
            __VA_ARGS__;                                                                                               \
        }                                                                                                              \
    } while (0)
#define LOAD(from) (lanes == LANES ? load(from) : load_part(from, lanes))
#define STORE(to, v) (lanes == LANES ? store(to, v) : store_part(to, v, lanes))

/* x += v for the first `lanes` elements, a vector at most; none where that is not above zero */
INLINE void add_part(REAL *x, vec v, int64_t lanes) {
    if (lanes >= LANES) store(x, load(x) + v);
    else if (lanes > 0) store_part(x, load_part(x, lanes) + v, lanes);
}

OUT_OF_LINE void tanh_in_place(int64_t n, REAL *x) { EACH_VECTOR(n, STORE(x + j, vec_tanh(LOAD(x + j)))); }

/* y = s(x), the logistic function; in place allowed */
OUT_OF_LINE void logistic(int64_t n, const REAL *x, REAL *y) {
    EACH_VECTOR(n, STORE(y + j, vec_logistic(LOAD(x + j))));
}

/* y += a * b */
INLINE void add_product(int64_t n, const REAL *a, const REAL *b, REAL *y) {
    EACH_VECTOR(n, STORE(y + j, LOAD(y + j) + LOAD(a + j) * LOAD(b + j)));
}

/* y += scale * x */
LOCAL void add_scaled(int64_t n, REAL scale, const REAL *x, REAL *y) {
    EACH_VECTOR(n, STORE(y + j, LOAD(y + j) + splat(scale) * LOAD(x + j)));
}

/* y = scale * (a - b); in place allowed */
LOCAL void difference(int64_t n, REAL scale, const REAL *a, const REAL *b, REAL *y) {
    EACH_VECTOR(n, STORE(y + j, splat(scale) * (LOAD(a + j) - LOAD(b + j))));
}

/* x into [-limit, limit]; NaN stays NaN */
LOCAL void clamp(int64_t n, REAL limit, REAL *x) {
    EACH_VECTOR(n, STORE(x + j, at_least(at_most(LOAD(x + j), splat(limit)), splat(-limit))));
}
#endif
