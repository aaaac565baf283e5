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

enum { WRITES = 1, TO_GRADS = 2 };

LOCAL void check_sum_influence(const kernels *table, int states, int terms, int64_t rows, int64_t n, int what) {
    kernel_case("sum_influence states=%d terms=%d rows=%d n=%d what=%d", states, terms, (int)rows, (int)n, what);
    influence_sum p = {.states = states, .terms = terms, .writes = (what & WRITES) != 0, .rows = rows, .n = n};
    REAL *grads = numbers(rows * n, 1), *weight = numbers(rows, 1);
    for (int i = 0; i < states; i++) {
        p.y[i] = numbers(rows * n, 1);
        for (int j = 0; j < states; j++) p.decay[i][j] = numbers(rows, 1);
        for (int k = 0; k < terms; k++) p.scale[i][k] = numbers(rows, 1);
    }
    for (int k = 0; k < terms; k++) p.x[k] = numbers(n, 1);
    if (what & TO_GRADS) {
        p.weight = weight;
        p.grads = grads;
    }
    for (int64_t row = 0; row < rows; row++)
        for (int64_t j = 0; j < n; j++) {
            const int64_t at = row * n + j;
            double z[2] = {0, 0};
            for (int i = 0; i < states; i++) {
                for (int part = 0; part < states; part++) z[i] += (double)p.decay[i][part][row] * (double)p.y[part][at];
                for (int k = 0; k < terms; k++) z[i] += (double)p.scale[i][k][row] * (double)p.x[k][j];
            }
            for (int i = 0; i < states && what & WRITES; i++) want(p.y[i], at, z[i], 8);
            if (what & TO_GRADS) want(grads, at, (double)grads[at] + (double)weight[row] * z[0], 9);
        }
    table->sum_influence(&p);
    end_case();
}

enum { STEPS = 1, ADDS = 2 };

LOCAL void check_step_units(const kernels *table, int states, int64_t n, int what, int to_grads) {
    kernel_case("step_units states=%d n=%d what=%d grads=%d", states, (int)n, what, to_grads);
    unit_step p = {.states = states, .n = n};
    REAL *grads = numbers(n, 1), *weight = numbers(n, 1);
    for (int i = 0; i < states; i++) {
        p.y[i] = numbers(n, 1);
        if (what & ADDS) p.add[i] = numbers(n, 1);
        for (int j = 0; j < states && what & STEPS; j++) p.decay[i][j] = numbers(n, 1);
    }
    if (to_grads) {
        p.weight = weight;
        p.grads = grads;
    }
    for (int64_t j = 0; j < n; j++) {
        double y[2] = {(double)p.y[0][j], 0};
        for (int i = 0; i < states && what & STEPS; i++) {
            y[i] = what & ADDS ? (double)p.add[i][j] : 0;
            for (int part = 0; part < states; part++) y[i] += (double)p.decay[i][part][j] * (double)p.y[part][j];
            want(p.y[i], j, y[i], 3);
        }
        if (to_grads) want(grads, j, (double)grads[j] + (double)weight[j] * y[0], 4);
    }
    table->step_units(&p);
    end_case();
}

LOCAL void check_units(const kernels *table, int states, int64_t n) {
    for (int what = 0; what <= (WRITES | TO_GRADS); what++)
        for (int terms = 0; terms <= MOST_TERMS; terms++) check_sum_influence(table, states, terms, 1 + n % 7, n, what);
    for (int to_grads = 0; to_grads < 2; to_grads++) {
        check_step_units(table, states, n, 0, to_grads);
        check_step_units(table, states, n, STEPS, to_grads);
        check_step_units(table, states, n, STEPS | ADDS, to_grads);
    }
}

LOCAL void check_learner(const kernels *table) {
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 70};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int64_t n = 1; n < 10; n++)
            check_multiply_by_rows(table, 1 + n % 3, n, sizes[i], (int)(n + (int64_t)i) % 3);
        for (int states = 1; states <= 2; states++) check_units(table, states, sizes[i]);
        check_rows_alone(table, 37, sizes[i]);
    }
}
#endif
