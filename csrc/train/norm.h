/* Euclidean norms. Squares are summed in double; if the sum leaves double's range, the norm is computed again with the
 * largest element factored out. */
#ifndef BPTT_TRAIN_NORM_H
#define BPTT_TRAIN_NORM_H
#include "kernels/kernels.h"

/* the largest absolute value; NaN if there is any NaN */
LOCAL double largest_of(int64_t n, const REAL *x) {
    REAL largest = 0;
    for (int64_t i = 0; i < n; i++) {
        const REAL size = (REAL)fabs((double)x[i]);
        if (!(size <= largest)) largest = size;
        if (largest != largest) break;
    }
    return (double)largest;
}

/* the norm as largest * sqrt(sum of (x/largest)^2) */
LOCAL double scaled_norm(int64_t n, const REAL *x) {
    const double largest = largest_of(n, x);
    if (!(largest > 0) || isinf(largest)) return largest;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += ((double)x[i] / largest) * ((double)x[i] / largest);
    return largest * sqrt(sum);
}

/* Whether a sum of squares is far from the ends of double's range: it neither overflowed nor lost precision. */
LOCAL int square_in_range(double sum) { return sum > 1e-280 && sum < 1e300; }

LOCAL double norm_of(const kernels *kernels, int64_t n, const REAL *x) {
    const double sum = kernels->sum_squares(n, x);
    return square_in_range(sum) ? sqrt(sum) : scaled_norm(n, x);
}

/* the norm of a row from its square, or from minus the norm where the square is out of range */
LOCAL double norm_from(double square) { return square > 0 ? sqrt(square) : -square; }

/* The square of the norm of a matrix from those of its rows, `stride` apart, always added in the same order; minus the
 * norm where the square is out of range. NaN wins over Inf. */
LOCAL double square_of_rows(int64_t rows, int64_t stride, const double *squares) {
    double sum = 0, total = 0;
    int all_squares = 1;
    for (int64_t i = 0; i < rows; i++) {
        sum += squares[i * stride];
        all_squares &= squares[i * stride] >= 0;
    }
    if (all_squares) return sum;
    for (int64_t i = 0; i < rows; i++) {
        const double norm = norm_from(squares[i * stride]);
        total = isnan(total) || isnan(norm) ? (double)NAN : hypot(total, norm);
    }
    return -total;
}

LOCAL void scale_by(int64_t n, REAL *x, double factor) {
    for (int64_t i = 0; i < n; i++) x[i] = (REAL)((double)x[i] * factor);
}

/* Scales x to a norm of at most max_norm. A norm that is NaN or Inf scales nothing: that would write zeros or NaN over
 * the evidence. */
LOCAL void scale_to(int64_t n, REAL *x, double norm, double max_norm) {
    if (!(norm > max_norm) || isinf(norm)) return;
    scale_by(n, x, max_norm / norm);
}
#endif
