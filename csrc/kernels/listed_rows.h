/* The sum of rows of a matrix that a list names. */
#ifndef BPTT_KERNELS_LISTED_ROWS_H
#define BPTT_KERNELS_LISTED_ROWS_H
#include "kernels/vec.h"

/* sums += the listed rows of `vecs` whole vectors of columns, or of the first `part` columns of one vector */
INLINE void add_listed_vecs(const int vecs, int64_t part, int64_t count, const int64_t *rows, const REAL *a,
                            int64_t lda, REAL *sums) {
    vec sum[4];
    UNROLL
    for (int v = 0; v < vecs; v++) sum[v] = splat(0);
    for (int64_t i = 0; i < count; i++) UNROLL
    for (int v = 0; v < vecs; v++)
        sum[v] += part ? load_part(a + rows[i] * lda, part) : load(a + rows[i] * lda + v * LANES);
    if (part) store_part(sums, load_part(sums, part) + sum[0], part);
    UNROLL
    for (int v = 0; v < vecs; v++)
        if (!part) store(sums + v * LANES, load(sums + v * LANES) + sum[v]);
}

/* Each element is one sum in the order of the list: the same bits however the columns are shared out. */
LOCAL void add_listed_rows(int64_t count, const int64_t *rows, int64_t n, const REAL *a, int64_t lda, REAL *sums) {
    int64_t j = 0;
    for (; j + 4 * LANES <= n; j += 4 * LANES) add_listed_vecs(4, 0, count, rows, a + j, lda, sums + j);
    for (; j + LANES <= n; j += LANES) add_listed_vecs(1, 0, count, rows, a + j, lda, sums + j);
    if (j < n) add_listed_vecs(1, n - j, count, rows, a + j, lda, sums + j);
}
#endif
