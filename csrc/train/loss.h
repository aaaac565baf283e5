/* Losses over N rows of C columns: the value and its gradient in one pass. Rows whose mask is zero do not count. */
#ifndef BPTT_TRAIN_LOSS_H
#define BPTT_TRAIN_LOSS_H
#include "base/rows.h"
#include "bptt.h"
#include "kernels/kernels.h"

LOCAL int counts(const uint8_t *mask, int64_t row) { return !mask || mask[row]; }

LOCAL int64_t counted_rows(int64_t N, const uint8_t *mask) {
    int64_t rows = 0;
    for (int64_t row = 0; row < N; row++) rows += counts(mask, row);
    return rows;
}

LOCAL bptt_status check_loss(int64_t N, int64_t C, const void *y, const void *target, bptt_reduction reduction,
                             const double *loss) {
    if (!y || !target || !loss) return BPTT_ERROR_NULL;
    if (N < 1 || C < 1) return BPTT_ERROR_SIZE;
    if (reduction != BPTT_REDUCTION_MEAN && reduction != BPTT_REDUCTION_SUM) return BPTT_ERROR_OPTION;
    return N > PTRDIFF_MAX / (int64_t)sizeof(double) / C ? BPTT_ERROR_OVERFLOW : BPTT_OK;
}

/* what each term is multiplied by: 1, or one over the number of terms (0 where there are none) */
LOCAL double weight_of(bptt_reduction reduction, int64_t terms) {
    return reduction == BPTT_REDUCTION_SUM ? 1.0 : terms ? 1.0 / (double)terms : 0.0;
}

LOCAL void clear_row(int64_t C, REAL *dy) {
    if (dy) memset(dy, 0, (size_t)C * sizeof(REAL));
}

LOCAL REAL *row_of(REAL *dy, int64_t row, int64_t C) { return dy ? dy + row * C : NULL; }

enum { PIECE = 512 }; /* elements of scratch */

/* sum (y-t)^2, gradient 2 weight (y-t) */
LOCAL double mse_row(const kernels *kernels, int64_t C, const REAL *y, const REAL *target, REAL weight, REAL *dy) {
    REAL error[PIECE];
    double sum = 0;
    for (int64_t j = 0; j < C; j += PIECE) {
        const int64_t n = C - j < PIECE ? C - j : PIECE;
        kernels->difference(n, 1, y + j, target + j, error);
        sum += kernels->sum_squares(n, error);
        if (dy) kernels->difference(n, 2 * weight, y + j, target + j, dy + j);
    }
    return sum;
}

/* bptt_mse_f32(), bptt_mse_f64() */
bptt_status TYPED(bptt_mse)(int64_t N, int64_t C, const REAL *y, const REAL *target, const uint8_t *mask,
                            bptt_reduction reduction, REAL *dy, double *loss) {
    const kernels *kernels = kernel_table();
    if (!kernels) return BPTT_ERROR_ISA;
    bptt_status status = check_loss(N, C, y, target, reduction, loss);
    if (status) return status;
    const double weight = weight_of(reduction, counted_rows(N, mask) * C);
    if (!mask) { /* as one long row */
        C *= N;
        N = 1;
    }
    double sum = 0;
    for (int64_t row = 0; row < N; row++) {
        if (counts(mask, row))
            sum += mse_row(kernels, C, y + row * C, target + row * C, (REAL)weight, row_of(dy, row, C));
        else clear_row(C, row_of(dy, row, C));
    }
    *loss = sum * weight;
    return BPTT_OK;
}

/* The class of the only logit of +Inf; -1 where there is none, another one, or NaN. */
LOCAL int64_t certain_class(int64_t C, const REAL *logits) {
    int64_t certain = -1;
    for (int64_t j = 0; j < C; j++) {
        if (isnan(logits[j]) || (certain >= 0 && logits[j] == logits[certain])) return -1;
        if (isinf(logits[j]) && logits[j] > 0) certain = j;
    }
    return certain;
}

/* The limit where one logit grows beyond all others: the softmax is 1 at this class and 0 elsewhere. */
LOCAL double certain_row(int64_t C, int64_t label, int64_t certain, REAL weight, REAL *dy) {
    clear_row(C, dy);
    if (dy) dy[certain] += weight;
    if (dy) dy[label] -= weight;
    return label == certain ? 0 : (double)INFINITY;
}

/* log sum exp(z) - z[label], gradient weight (softmax(z) - onehot(label)); the largest logit is taken out first */
LOCAL double cross_entropy_row(const kernels *kernels, int64_t C, const REAL *logits, int64_t label, REAL weight,
                               REAL *dy) {
    REAL piece[PIECE], largest = logits[0], sum = 0;
    for (int64_t j = 1; j < C; j++)
        if (!(logits[j] <= largest)) largest = logits[j];
    const int64_t certain = isinf(largest) ? certain_class(C, logits) : -1;
    if (certain >= 0) return certain_row(C, label, certain, weight, dy);
    if (dy) sum = kernels->exp_shifted(C, logits, largest, dy);
    for (int64_t j = 0; !dy && j < C; j += PIECE)
        sum += kernels->exp_shifted(C - j < PIECE ? C - j : PIECE, logits + j, largest, piece);
    const double value = log((double)sum) + ((double)largest - (double)logits[label]);
    for (int64_t j = 0; dy && j < C; j++) dy[j] *= weight / sum;
    if (dy) dy[label] -= weight;
    return value;
}

/* bptt_cross_entropy_f32(), bptt_cross_entropy_f64() */
bptt_status TYPED(bptt_cross_entropy)(int64_t N, int64_t C, const REAL *logits, const int64_t *labels, int64_t ignore,
                                      const uint8_t *mask, bptt_reduction reduction, REAL *dy, double *loss) {
    const kernels *kernels = kernel_table();
    if (!kernels) return BPTT_ERROR_ISA;
    bptt_status status = check_loss(N, C, logits, labels, reduction, loss);
    if (status) return status;
    int64_t rows = 0;
    for (int64_t row = 0; row < N; row++) {
        if (!counts(mask, row) || labels[row] == ignore) continue;
        if (labels[row] < 0 || labels[row] >= C) return BPTT_ERROR_LABEL;
        rows++;
    }
    const double weight = weight_of(reduction, rows);
    double sum = 0;
    for (int64_t row = 0; row < N; row++) {
        REAL *out = row_of(dy, row, C);
        if (counts(mask, row) && labels[row] != ignore)
            sum += cross_entropy_row(kernels, C, logits + row * C, labels[row], (REAL)weight, out);
        else clear_row(C, out);
    }
    *loss = sum * weight;
    return BPTT_OK;
}

/* max(z,0) - z t + log(1 + e^-|z|). At an infinite logit its limit: 0 where the target is the class that the logit is
 * certain of, otherwise infinite. */
LOCAL double binary_cross_entropy_of(double z, double target) {
    if (!isinf(z)) return (z < 0 ? 0 : z) - z * target + log1p(exp(-fabs(z)));
    const double wrong = z < 0 ? target : 1 - target;
    return wrong == 0 ? 0 : wrong * fabs(z);
}

/* the sum of these, gradient weight (s(z) - t) */
LOCAL double binary_cross_entropy_row(const kernels *kernels, int64_t C, const REAL *logits, const REAL *target,
                                      REAL weight, REAL *dy) {
    double sum = 0;
    for (int64_t j = 0; j < C; j++) sum += binary_cross_entropy_of((double)logits[j], (double)target[j]);
    if (!dy) return sum;
    kernels->logistic(C, logits, dy);
    kernels->difference(C, weight, dy, target, dy);
    return sum;
}

/* bptt_binary_cross_entropy_f32(), bptt_binary_cross_entropy_f64() */
bptt_status TYPED(bptt_binary_cross_entropy)(int64_t N, int64_t C, const REAL *logits, const REAL *target,
                                             const uint8_t *mask, bptt_reduction reduction, REAL *dy, double *loss) {
    const kernels *kernels = kernel_table();
    if (!kernels) return BPTT_ERROR_ISA;
    bptt_status status = check_loss(N, C, logits, target, reduction, loss);
    if (status) return status;
    const double weight = weight_of(reduction, counted_rows(N, mask) * C);
    double sum = 0;
    for (int64_t row = 0; row < N; row++) {
        REAL *out = row_of(dy, row, C);
        if (counts(mask, row))
            sum += binary_cross_entropy_row(kernels, C, logits + row * C, target + row * C, (REAL)weight, out);
        else clear_row(C, out);
    }
    *loss = sum * weight;
    return BPTT_OK;
}
#endif
