/* Sums over many elements: of columns, of squares, of exponentials. */
#ifndef BPTT_KERNELS_REDUCE_H
#define BPTT_KERNELS_REDUCE_H
#include "kernels/vec.h"
#include "kernels/vmath.h"

/* y = exp(x - shift), returns the sum of y; in place allowed */
LOCAL REAL exp_shifted(int64_t n, const REAL *x, REAL shift, REAL *y) {
    vec sums = splat(0);
    REAL sum = 0;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const vec e = vec_exp(load(x + i) - splat(shift));
        sums += e;
        store(y + i, e);
    }
    for (int j = 0; j < LANES; j++) sum += sums[j];
    if (i == n) return sum;
    store_part(y + i, vec_exp(load_part(x + i, n - i) - splat(shift)), n - i);
    for (; i < n; i++) sum += y[i];
    return sum;
}

/* sums += the sum of each column: of `vecs` whole vectors of columns, or of the first `part` columns of one vector */
INLINE void add_sums_of_vecs(const int vecs, int64_t part, int64_t rows, const REAL *a, int64_t lda, REAL *sums) {
    vec sum[4];
    UNROLL
    for (int v = 0; v < vecs; v++) sum[v] = splat(0);
    for (int64_t row = 0; row < rows; row++, a += lda) UNROLL
    for (int v = 0; v < vecs; v++) sum[v] += part ? load_part(a, part) : load(a + v * LANES);
    if (part) store_part(sums, load_part(sums, part) + sum[0], part);
    UNROLL
    for (int v = 0; v < vecs && !part; v++) store(sums + v * LANES, load(sums + v * LANES) + sum[v]);
}

/* Four vectors at a time, so that whole cache lines of a row are read at once. */
LOCAL void add_column_sums(int64_t rows, int64_t n, const REAL *a, int64_t lda, REAL *sums) {
    int64_t j = 0;
    for (; j + 4 * LANES <= n; j += 4 * LANES) add_sums_of_vecs(4, 0, rows, a + j, lda, sums + j);
    for (; j + LANES <= n; j += LANES) add_sums_of_vecs(1, 0, rows, a + j, lda, sums + j);
    if (j < n) add_sums_of_vecs(1, n - j, rows, a + j, lda, sums + j);
}

/* A vector of doubles, and the vector of as many REALs that converts to it. */
enum { DOUBLES = VECTOR_BYTES / sizeof(double) };
typedef double vec_of_doubles __attribute__((vector_size(VECTOR_BYTES)));
typedef REAL as_many_reals __attribute__((vector_size(DOUBLES * sizeof(REAL))));
typedef REAL unaligned_as_many_reals
    __attribute__((vector_size(DOUBLES * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));

INLINE as_many_reals reals_at(const REAL *x) { return *(const unaligned_as_many_reals *)x; }

INLINE vec_of_doubles squares_of(as_many_reals x) {
    const vec_of_doubles d = __builtin_convertvector(x, vec_of_doubles);
    return d * d;
}

INLINE double sum_of_doubles(vec_of_doubles v) {
    double sum = 0;
    for (int j = 0; j < DOUBLES / 2; j++) sum += v[j] + v[j + DOUBLES / 2];
    return sum;
}

LOCAL double sum_squares(int64_t n, const REAL *x) {
    vec_of_doubles even = {0}, odd = {0};
    int64_t i = 0;
    for (; i + 2 * DOUBLES <= n; i += 2 * DOUBLES) {
        even += squares_of(reals_at(x + i));
        odd += squares_of(reals_at(x + i + DOUBLES));
    }
    double sum = sum_of_doubles(even + odd);
    for (; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

/* DOUBLES elements of squared_error: returns the squares. */
INLINE vec_of_doubles squared_errors_at(REAL scale, const REAL *a, const REAL *b, REAL *y) {
    const as_many_reals error = reals_at(a) - reals_at(b);
    if (y) *(unaligned_as_many_reals *)y = scale * error;
    return squares_of(error);
}

/* Prefetches a page ahead, which the hardware prefetcher does not cross: large arrays come from beyond L2. */
INLINE void prefetch_errors(const REAL *a, const REAL *b, const REAL *y) {
    enum { AHEAD = 4096 / sizeof(REAL) };
    __builtin_prefetch(a + AHEAD);
    __builtin_prefetch(b + AHEAD);
    if (y) __builtin_prefetch(y + AHEAD, 1);
}

LOCAL double squared_error(int64_t n, REAL scale, const REAL *a, const REAL *b, REAL *y) {
    vec_of_doubles even = {0}, odd = {0};
    int64_t i = 0;
    for (; i + 2 * DOUBLES <= n; i += 2 * DOUBLES) {
        prefetch_errors(a + i, b + i, y ? y + i : NULL);
        even += squared_errors_at(scale, a + i, b + i, y ? y + i : NULL);
        odd += squared_errors_at(scale, a + i + DOUBLES, b + i + DOUBLES, y ? y + i + DOUBLES : NULL);
    }
    double sum = sum_of_doubles(even + odd);
    /* two loops: of one GCC makes two copies, for a y that overlaps a or b and for one that does not, and only one of
     * them fuses its additions */
    for (int64_t j = i; j < n; j++) {
        const REAL error = a[j] - b[j];
        sum += (double)error * (double)error;
    }
    for (; y && i < n; i++) y[i] = scale * (a[i] - b[i]);
    return sum;
}
#endif
