/* Checks of the kernels of learners: products with a matrix that is not packed, and the influence of SnAp-1. */
#ifndef KERNEL_LEARNER_H
#define KERNEL_LEARNER_H
#include <math.h>
#include <stdint.h>

#include "bptt.h"
#include "kernel_buffers.h"
#include "kernel_pointwise.h"
#include "kernels/kernels.h"

/* c = f(init + a b), b transposed (n,k); init: one row for all, a row each, or none */
LOCAL void check_multiply_by_rows(const kernels *table, int64_t m, int64_t n, int64_t k, int init_kind) {
    kernel_case("multiply_by_rows m=%d n=%d k=%d init %d", (int)m, (int)n, (int)k, init_kind);
    const int64_t lda = k + 3, ldc = n + 2;
    REAL *a = matrix(m, k, lda, 1), *b = numbers(n * k, 1), *c = matrix(m, n, ldc, 1);
    REAL *init = init_kind == 2 ? matrix(m, n, ldc, 1) : init_kind ? numbers(n, 1) : NULL;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = init ? (double)init[i * (init_kind == 2 ? ldc : 0) + j] : 0, size = fabs(sum);
            for (int64_t r = 0; r < k; r++) {
                sum += (double)a[i * lda + r] * (double)b[j * k + r];
                size += fabs((double)a[i * lda + r] * (double)b[j * k + r]);
            }
            want(c, i * ldc + j, tanh(sum), size + 1);
        }
    table->multiply_by_rows(&(product){.m = m,
                                       .n = n,
                                       .k = k,
                                       .a = a,
                                       .lda = lda,
                                       .panels = b,
                                       .init = init,
                                       .ldinit = init_kind == 2 ? ldc : 0,
                                       .c = c,
                                       .ldc = ldc,
                                       .epilogue = EPILOGUE_ACTIVATION,
                                       .activation = BPTT_CELL_TANH});
    end_case();
}

/* The rows of a product one by one have the bits that they have together. */
LOCAL void check_rows_alone(const kernels *table, int64_t n, int64_t k) {
    kernel_case("multiply_by_rows, each row alone n=%d k=%d", (int)n, (int)k);
    REAL *a = numbers(k, 1), *b = numbers(n * k, 1), *init = numbers(n, 1);
    REAL *together = scratch(n), *alone = twin(together);
    product p = {.m = 1, .n = n, .k = k, .a = a, .lda = k, .panels = b, .init = init, .c = together, .ldc = n};
    table->multiply_by_rows(&p);
    p.n = p.ldc = 1;
    for (int64_t i = 0; i < n; i++) {
        p.panels = b + i * k;
        p.init = init + i;
        p.c = alone + i;
        table->multiply_by_rows(&p);
    }
    end_case();
}

enum { UPDATES = 1, ADDS = 2, TO_GRADS = 4, HELD = 8, KEEPS = 16 };

/* y and what a step makes of it, in float64 */
LOCAL void step_naively(const influence_factors *f, int states, int64_t row, int64_t j, double y[2]) {
    double now[2] = {0, 0};
    for (int i = 0; i < states; i++) {
        now[i] = f->x ? (double)f->scale[i][row] * (double)f->x[j] : 0;
        for (int part = 0; part < states; part++) now[i] += (double)f->decay[i][part][row] * y[part];
    }
    memcpy(y, now, sizeof now);
}

LOCAL void check_step_influence(const kernels *table, int states, int64_t rows, int64_t n, int what) {
    kernel_case("step_influence states=%d rows=%d n=%d what=%d", states, (int)rows, (int)n, what);
    influence_step p = {.states = states, .rows = rows, .n = n, .keeps = (what & KEEPS) != 0};
    REAL *decay = numbers(4 * rows, 1), *scale = numbers(2 * rows, 1), *weight = numbers(rows, 1), *x = numbers(n, 1);
    REAL *grads = numbers(rows * n, 1), *y[2] = {numbers(rows * n, 1), numbers(rows * n, 1)};
    REAL *decay_before = numbers(4 * rows, 1), *scale_before = numbers(2 * rows, 1), *x_before = numbers(n, 1);
    for (int i = 0; i < states; i++) {
        p.y[i] = y[i];
        p.step.scale[i] = scale + i * rows;
        if (what & HELD) p.held.scale[i] = scale_before + i * rows;
        for (int j = 0; j < states; j++) {
            if (what & UPDATES) p.step.decay[i][j] = decay + (2 * i + j) * rows;
            if (what & HELD) p.held.decay[i][j] = decay_before + (2 * i + j) * rows;
        }
    }
    if (what & ADDS) p.step.x = x;
    if (what & HELD) p.held.x = x_before;
    if (what & TO_GRADS) p.grads = grads;
    p.weight = weight;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t j = 0; j < n; j++) {
            const int64_t at = row * n + j;
            double now[2] = {(double)y[0][at], (double)y[1][at]};
            if (what & HELD) step_naively(&p.held, states, row, j, now);
            if (what & UPDATES) step_naively(&p.step, states, row, j, now);
            for (int i = 0; i < states && what & UPDATES && !p.keeps; i++) want(y[i], at, now[i], 8);
            if (what & TO_GRADS) want(grads, at, (double)grads[at] + (double)weight[row] * now[0], 9);
        }
    table->step_influence(&p);
    end_case();
}

LOCAL void check_learner(const kernels *table) {
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 70};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int64_t n = 1; n < 10; n++)
            check_multiply_by_rows(table, 1 + n % 3, n, sizes[i], (int)(n + (int64_t)i) % 3);
        for (int states = 1; states <= 2; states++)
            for (int what = 0; what < 8; what++) check_step_influence(table, states, 3, sizes[i], what);
        for (int states = 1; states <= 2; states++)
            for (int more = HELD; more <= KEEPS; more += HELD)
                check_step_influence(table, states, 3, sizes[i], UPDATES | ADDS | TO_GRADS | more);
        check_rows_alone(table, 37, sizes[i]);
    }
}
#endif
