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

/* what each term is multiplied by: 1, or one over the sum of what counts (0 where nothing does) */
LOCAL double scale_of(bptt_reduction reduction, double counted) {
    return reduction == BPTT_REDUCTION_SUM ? 1.0 : counted > 0 ? 1.0 / counted : 0.0;
}

LOCAL void clear_row(int64_t C, REAL *dy) {
    if (dy) memset(dy, 0, (size_t)C * sizeof(REAL));
}

LOCAL REAL *row_of(REAL *dy, int64_t row, int64_t C) { return dy ? dy + row * C : NULL; }

/* ---- losses by elements ---------------------------------------------------------------------------- */

/* what the loss of a row needs beside its arrays */
typedef struct {
    const kernels *kernels;
    double delta; /* of huber */
} loss_tools;

/* The loss of a row of C elements, not scaled; its gradient times scale (NULL: not wanted). */
typedef double row_loss(const loss_tools *tools, int64_t C, const REAL *y, const REAL *target, REAL scale, REAL *dy);

LOCAL bptt_status loss_by_elements(row_loss *of_row, const loss_tools *tools, int64_t N, int64_t C, const REAL *y,
                                   const REAL *target, const uint8_t *mask, bptt_reduction reduction, REAL *dy,
                                   double *loss) {
    const double scale = scale_of(reduction, (double)(counted_rows(N, mask) * C));
    double sum = 0;
    for (int64_t row = 0; row < N; row++) {
        REAL *out = row_of(dy, row, C);
        if (counts(mask, row)) sum += of_row(tools, C, y + row * C, target + row * C, (REAL)scale, out);
        else clear_row(C, out);
    }
    *loss = sum * scale;
    return BPTT_OK;
}

/* sum (y-t)^2, gradient 2 scale (y-t) */
LOCAL double mse_row(const loss_tools *tools, int64_t C, const REAL *y, const REAL *target, REAL scale, REAL *dy) {
    return tools->kernels->squared_error(C, 2 * scale, y, target, dy);
}

/* bptt_mse_f32(), bptt_mse_f64() */
bptt_status TYPED(bptt_mse)(int64_t N, int64_t C, const REAL *y, const REAL *target, const uint8_t *mask,
                            bptt_reduction reduction, REAL *dy, double *loss) {
    const loss_tools tools = {.kernels = kernel_table()};
    if (!tools.kernels) return BPTT_ERROR_ISA;
    bptt_status status = check_loss(N, C, y, target, reduction, loss);
    if (status) return status;
    if (!mask) { /* as one long row */
        C *= N;
        N = 1;
    }
    return loss_by_elements(mse_row, &tools, N, C, y, target, mask, reduction, dy, loss);
}

/* sum (y-t)^2/2 up to delta, delta (|y-t| - delta/2) beyond: with the error clamped to +-delta both are one formula.
 * Minimum and maximum are instructions, which branches are not, and keep NaN in this order of operands. */
LOCAL double huber_row(const loss_tools *tools, int64_t C, const REAL *y, const REAL *target, REAL scale, REAL *dy) {
    const double delta = tools->delta;
    double sum = 0;
    for (int64_t j = 0; j < C; j++) {
        const double error = (double)y[j] - (double)target[j], below = delta < error ? delta : error;
        const double clamped = -delta > below ? -delta : below;
        sum += clamped * (error - clamped / 2);
        if (dy) dy[j] = scale * (REAL)clamped;
    }
    return sum;
}

/* bptt_huber_f32(), bptt_huber_f64() */
bptt_status TYPED(bptt_huber)(int64_t N, int64_t C, const REAL *y, const REAL *target, double delta,
                              const uint8_t *mask, bptt_reduction reduction, REAL *dy, double *loss) {
    bptt_status status = check_loss(N, C, y, target, reduction, loss);
    if (status) return status;
    if (!((REAL)delta > 0)) return BPTT_ERROR_OPTION;
    const loss_tools tools = {.delta = isinf(delta) ? REAL_LARGEST : delta};
    return loss_by_elements(huber_row, &tools, N, C, y, target, mask, reduction, dy, loss);
}

/* max(z,0) - z t + log(1 + e^-|z|). At an infinite logit its limit: 0 where the target is the class that the logit is
 * certain of, otherwise infinite. */
LOCAL double binary_cross_entropy_of(double z, double target) {
    if (!isinf(z)) return (z < 0 ? 0 : z) - z * target + log1p(exp(-fabs(z)));
    const double wrong = z < 0 ? target : 1 - target;
    return wrong == 0 ? 0 : wrong * fabs(z);
}

/* the sum of these, gradient scale (s(z) - t) */
LOCAL double binary_cross_entropy_row(const loss_tools *tools, int64_t C, const REAL *logits, const REAL *target,
                                      REAL scale, REAL *dy) {
    double sum = 0;
    for (int64_t j = 0; j < C; j++) sum += binary_cross_entropy_of((double)logits[j], (double)target[j]);
    if (!dy) return sum;
    tools->kernels->logistic(C, logits, dy);
    tools->kernels->difference(C, scale, dy, target, dy);
    return sum;
}

/* bptt_binary_cross_entropy_f32(), bptt_binary_cross_entropy_f64() */
bptt_status TYPED(bptt_binary_cross_entropy)(int64_t N, int64_t C, const REAL *logits, const REAL *target,
                                             const uint8_t *mask, bptt_reduction reduction, REAL *dy, double *loss) {
    const loss_tools tools = {.kernels = kernel_table()};
    if (!tools.kernels) return BPTT_ERROR_ISA;
    bptt_status status = check_loss(N, C, logits, target, reduction, loss);
    if (status) return status;
    return loss_by_elements(binary_cross_entropy_row, &tools, N, C, logits, target, mask, reduction, dy, loss);
}

/* ---- cross-entropy on labels ----------------------------------------------------------------------- */

/* With smoothing e a row of label k has the loss (1-e) w_k (-log p_k) + e/C sum_c w_c (-log p_c). */
typedef struct {
    const REAL *weight; /* w (C,); NULL: all 1 */
    double weight_sum;
    double smoothing;
} class_weights;

LOCAL double weight_at(const class_weights *classes, int64_t label) {
    return classes->weight ? (double)classes->weight[label] : 1.0;
}

/* Sets the sum; an error for a weight or a smoothing out of range. */
LOCAL bptt_status check_classes(int64_t C, class_weights *classes) {
    if (!(classes->smoothing >= 0 && classes->smoothing <= 1)) return BPTT_ERROR_OPTION;
    classes->weight_sum = 0;
    for (int64_t j = 0; j < C; j++) {
        const double weight = weight_at(classes, j);
        if (!(weight >= 0) || isinf(weight)) return BPTT_ERROR_OPTION;
        classes->weight_sum += weight;
    }
    return BPTT_OK;
}

/* The sum of the weights of the labels that count; an error for one that is no class. */
LOCAL bptt_status counted_labels(int64_t N, int64_t C, const int64_t *labels, int64_t ignore, const uint8_t *mask,
                                 const class_weights *classes, double *counted) {
    *counted = 0;
    for (int64_t row = 0; row < N; row++) {
        if (!counts(mask, row) || labels[row] == ignore) continue;
        if (labels[row] < 0 || labels[row] >= C) return BPTT_ERROR_LABEL;
        *counted += weight_at(classes, labels[row]);
    }
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

enum { PIECE = 512 }; /* elements of scratch */

/* dy = factor * softmax(logits) (NULL: not wanted), and the numbers of which -log p is made: the largest logit, and the
 * log of the sum of exponentials without it. The only logit of +Inf has a softmax of 1, the limit where it grows. */
LOCAL void softmax_row(const kernels *kernels, int64_t C, const REAL *logits, REAL factor, REAL *dy, double *largest,
                       double *log_sum) {
    REAL piece[PIECE], most = logits[0], sum = 0;
    for (int64_t j = 1; j < C; j++)
        if (!(logits[j] <= most)) most = logits[j];
    const int64_t certain = isinf(most) ? certain_class(C, logits) : -1;
    *largest = (double)most;
    *log_sum = 0;
    if (certain >= 0) {
        clear_row(C, dy);
        if (dy) dy[certain] = factor;
        return;
    }
    if (dy) sum = kernels->exp_shifted(C, logits, most, dy);
    for (int64_t j = 0; !dy && j < C; j += PIECE)
        sum += kernels->exp_shifted(C - j < PIECE ? C - j : PIECE, logits + j, most, piece);
    *log_sum = log((double)sum);
    for (int64_t j = 0; dy && j < C; j++) dy[j] *= factor / sum;
}

/* factor times -log p of a logit; 0 for a factor of 0, even where the class is excluded */
LOCAL double class_cost(double factor, double logit, double largest, double log_sum) {
    const double cost = log_sum + (logit == largest ? 0 : largest - logit);
    return factor == 0 && isinf(cost) ? 0 : factor * cost;
}

/* the loss of a row, not scaled; its gradient times scale: the softmax minus the share of each class */
LOCAL double cross_entropy_row(const kernels *kernels, int64_t C, const REAL *logits, int64_t label,
                               const class_weights *classes, double scale, REAL *dy) {
    const double own = (1 - classes->smoothing) * weight_at(classes, label), each = classes->smoothing / (double)C;
    double largest, log_sum;
    softmax_row(kernels, C, logits, (REAL)(scale * (own + each * classes->weight_sum)), dy, &largest, &log_sum);
    double value = class_cost(own, (double)logits[label], largest, log_sum);
    if (dy) dy[label] -= (REAL)(scale * own);
    for (int64_t j = 0; each > 0 && j < C; j++) {
        const double share = each * weight_at(classes, j);
        value += class_cost(share, (double)logits[j], largest, log_sum);
        if (dy) dy[j] -= (REAL)(scale * share);
    }
    return value;
}

/* Both public functions; classes come without their sum. */
LOCAL bptt_status cross_entropy(int64_t N, int64_t C, const REAL *logits, const int64_t *labels, int64_t ignore,
                                class_weights classes, const uint8_t *mask, bptt_reduction reduction, REAL *dy,
                                double *loss) {
    const kernels *kernels = kernel_table();
    if (!kernels) return BPTT_ERROR_ISA;
    bptt_status status = check_loss(N, C, logits, labels, reduction, loss);
    if (status) return status;
    status = check_classes(C, &classes);
    if (status) return status;
    double counted, sum = 0;
    status = counted_labels(N, C, labels, ignore, mask, &classes, &counted);
    if (status) return status;
    const double scale = scale_of(reduction, counted);
    for (int64_t row = 0; row < N; row++) {
        REAL *out = row_of(dy, row, C);
        if (scale > 0 && counts(mask, row) && labels[row] != ignore)
            sum += cross_entropy_row(kernels, C, logits + row * C, labels[row], &classes, scale, out);
        else clear_row(C, out);
    }
    *loss = sum * scale;
    return BPTT_OK;
}

/* bptt_cross_entropy_f32(), bptt_cross_entropy_f64() */
bptt_status TYPED(bptt_cross_entropy)(int64_t N, int64_t C, const REAL *logits, const int64_t *labels, int64_t ignore,
                                      const uint8_t *mask, bptt_reduction reduction, REAL *dy, double *loss) {
    return cross_entropy(N, C, logits, labels, ignore, (class_weights){0}, mask, reduction, dy, loss);
}

/* bptt_weighted_cross_entropy_f32(), bptt_weighted_cross_entropy_f64() */
bptt_status TYPED(bptt_weighted_cross_entropy)(int64_t N, int64_t C, const REAL *logits, const int64_t *labels,
                                               int64_t ignore, const REAL *weight, double label_smoothing,
                                               const uint8_t *mask, bptt_reduction reduction, REAL *dy, double *loss) {
    const class_weights classes = {.weight = weight, .smoothing = label_smoothing};
    return cross_entropy(N, C, logits, labels, ignore, classes, mask, reduction, dy, loss);
}
#endif
