/* Small helpers on sizes and on rows of elements. */
#ifndef BPTT_BASE_ROWS_H
#define BPTT_BASE_ROWS_H
#include "base/real.h"

LOCAL int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
LOCAL int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }

/* n elements; from NULL: zeros */
LOCAL void copy_or_clear(REAL *to, const REAL *from, int64_t n) {
    if (from == to) return;
    if (from) memcpy(to, from, (size_t)n * sizeof(REAL));
    else memset(to, 0, (size_t)n * sizeof(REAL));
}

/* rows of n elements; ld_from 0: the same row for all */
LOCAL void copy_rows(int64_t rows, int64_t n, const REAL *from, int64_t ld_from, REAL *to, int64_t ld_to) {
    if (ld_from == n && ld_to == n) copy_or_clear(to, from, rows * n);
    else
        for (int64_t i = 0; i < rows; i++) copy_or_clear(to + i * ld_to, from + i * ld_from, n);
}

/* Whether all n > 0 numbers are zero: the first one is, and each has the bits of the next. */
LOCAL int all_zero(int64_t n, const REAL *x) { return x[0] == 0 && !memcmp(x, x + 1, (size_t)(n - 1) * sizeof *x); }
#endif
