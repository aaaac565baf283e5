/* Checks of packing, of the product with its epilogues (and through them of tanh), and of the outer product, against
 * plain loops in double. */
#ifndef KERNEL_PRODUCTS_H
#define KERNEL_PRODUCTS_H
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bptt.h"
#include "check.h"
#include "kernel_buffers.h"
#include "kernel_pointwise.h"
#include "kernels/kernels.h"

/* The error allowed in a sum of k terms: far fewer than the k roundings of the worst case. */
LOCAL double sum_tolerance(int64_t k, double magnitude) {
    return (8 + sqrt((double)k)) * EPSILON * magnitude + 2 * SMALLEST;
}

/* Bounds of the relative errors of vmath.h's functions, in units of EPSILON. In double they contain the errors of the C
 * library, which the results are compared with. */
#if REAL_BITS == 32
#define TANH_ERROR 1.3
#define EXP_ERROR .8
#define LOGISTIC_ERROR 1.
#else
#define TANH_ERROR 3.
#define EXP_ERROR 1.5
#define LOGISTIC_ERROR 2.5
#endif

/* All elements of panels that were NaN must be numbers now, which stay. */
LOCAL void check_written(REAL *panels, int64_t size) {
    int64_t unwritten = 0;
    for (int64_t i = 0; i < size; i++) unwritten += isnan(panels[i]) != 0;
    CHECK(unwritten == 0);
    /* not settle(): the guards must be as they were before packing */
    memcpy(buffer_of_data(panels)->before + buffer_of_data(panels)->front, panels, (size_t)size * sizeof(REAL));
}

/* Panels of w (k,n), stored by rows or by columns with some distance; all of the panels must be written. gates: those
 * of unit panels, where n is gates*H; 0: panels of the other kind. */
LOCAL REAL *packed(const kernels *table, int64_t k, int64_t n, int by_columns, int gates, REAL **w, int64_t *row_stride,
                   int64_t *col_stride) {
    const int64_t ld = (by_columns ? k : n) + any_of(3);
    const int64_t size = gates ? table->unit_panels_size(gates, n / gates, k) : table->packed_size(k, n);
    *w = by_columns ? matrix(n, k, ld, 1) : matrix(k, n, ld, 1);
    *row_stride = by_columns ? 1 : ld;
    *col_stride = by_columns ? ld : 1;
    REAL *panels = numbers(size, 1);
    fill(panels, size, (REAL)NAN);
    if (gates) table->pack_units(gates, n / gates, k, *w, *col_stride, *row_stride, panels);
    else table->pack(k, n, *w, *row_stride, *col_stride, panels);
    CHECK(size >= k * n);
    check_written(panels, size);
    return panels;
}

/* A bias a + b of gates*H elements in unit panels; *bias: as it is. NULL in place of a or b means zeros. */
LOCAL const REAL *packed_bias(const kernels *table, int gates, int64_t H, const REAL **bias) {
    const int64_t n = gates * H, size = table->unit_panels_size(gates, H, 1);
    const REAL *a = any_of(4) ? numbers(n, 1) : NULL, *b = any_of(2) ? numbers(n, 1) : NULL;
    REAL *sum = numbers(n, 1), *panels = numbers(size, 1);
    for (int64_t i = 0; i < n; i++) sum[i] = (a ? a[i] : 0) + (b ? b[i] : 0);
    settle(sum);
    fill(panels, size, (REAL)NAN);
    table->pack_bias_units(gates, H, a, b, panels);
    check_written(panels, size);
    *bias = sum;
    return panels;
}

typedef enum { INIT_NONE, INIT_ROW, INIT_OWN, INIT_C, INIT_TABLE } init_kind;

typedef struct {
    int64_t m, n, k;
    init_kind init;
    epilogue epilogue;
    int activation;
    int by_columns, in_units, reverse_panels, prefetch, padding;
} product_case;

/* Expects an element after its epilogue, given the sum before it. */
LOCAL void want_product(const product *p, int64_t i, int64_t j, double sum, double tolerance) {
    const REAL *c = p->c;
    const int64_t at = i * p->ldc + j;
    if (p->epilogue == EPILOGUE_ACTIVATION) {
        const double f = activation_of(p->activation, sum);
        want_within(c, at, f, tolerance + 8 * EPSILON * fabs(f));
    } else if (p->epilogue == EPILOGUE_ACTIVATION_GRAD) {
        const double grad = activation_grad_of(p->activation, (double)p->h[i * p->ldh + j]);
        want_within(c, at, grad * sum, 2 * tolerance + 8 * EPSILON * fabs(sum));
    } else want_within(c, at, sum, tolerance);
}

LOCAL void want_products(const product *p, const REAL *w, int64_t row_stride, int64_t col_stride) {
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) {
            double sum = p->init ? (double)init_row(p, i)[j] : 0, magnitude = fabs(sum);
            for (int64_t r = 0; r < p->k; r++) {
                const double term = (double)p->a[i * p->lda + r] * (double)w[r * row_stride + j * col_stride];
                sum += term;
                magnitude += fabs(term);
            }
            want_product(p, i, j, sum, sum_tolerance(p->k, magnitude));
        }
}

/* The same product row by row: where a row lies in the block, and which function computes it, must not change its
 * bits. */
LOCAL void multiply_rows(const kernels *table, const product *p, REAL *c) {
    for (int64_t i = 0; i < p->m; i++) {
        product row = *p;
        row.m = 1;
        row.a += i * p->lda;
        row.c = c + i * p->ldc;
        row.init = p->init == p->c ? row.c : p->init ? init_row(p, i) : NULL;
        row.init_rows = NULL;
        row.h = p->h + i * p->ldh;
        table->multiply(&row);
    }
}

/* init: a table, of which each row takes one by its number */
LOCAL void choose_init_rows(product *p) {
    enum { ROWS = 7, MOST = 512 };
    static int64_t rows[MOST];
    if (p->m > MOST) exit(2);
    p->init = matrix(ROWS, p->n, p->ldc, 1);
    p->init_rows = rows;
    for (int64_t i = 0; i < p->m; i++) rows[i] = any_of(ROWS);
}

LOCAL void check_multiply(const kernels *table, product_case s) {
    kernel_case("multiply m=%d n=%d k=%d init %d epilogue %d activation %d%s%s%s%s padding %d", (int)s.m, (int)s.n,
                (int)s.k, s.init, s.epilogue, s.activation, s.by_columns ? " by columns" : "",
                s.in_units ? " in units" : "", s.reverse_panels ? " reversed" : "", s.prefetch ? " prefetch" : "",
                s.padding);
    REAL *w;
    int64_t row_stride, col_stride;
    const REAL *panels = packed(table, s.k, s.n, s.by_columns, s.in_units, &w, &row_stride, &col_stride);
    const int64_t lda = s.k + any_of(3), ldc = s.n + s.padding, ldh = s.n + any_of(3);
    const int64_t next = any_of(3000);
    REAL *c = matrix(s.m, s.n, ldc, 1), *rows = s.in_units ? NULL : twin(c);
    product p = {.m = s.m,
                 .n = s.n,
                 .k = s.k,
                 .a = matrix(s.m, s.k, lda, 1),
                 .lda = lda,
                 .panels = panels,
                 .c = c,
                 .ldc = ldc,
                 .ldinit = s.init == INIT_ROW ? 0 : ldc,
                 .epilogue = s.epilogue,
                 .activation = s.activation,
                 .h = matrix(s.m, s.n, ldh, 1),
                 .ldh = ldh,
                 .reverse_panels = s.reverse_panels};
    if (s.init == INIT_ROW) p.init = numbers(s.n, 1);
    if (s.init == INIT_OWN) p.init = matrix(s.m, s.n, ldc, 1);
    if (s.init == INIT_C) p.init = c;
    if (s.init == INIT_TABLE && !s.in_units) choose_init_rows(&p);
    if (s.prefetch) p.prefetch[0] = (span){numbers(next, 1), next};
    if (s.prefetch > 1) p.prefetch[1] = (span){p.a, s.k};
    if (s.prefetch > 2) p.prefetch[2] = p.prefetch[0];
    want_products(&p, w, row_stride, col_stride);
    if (s.in_units) table->multiply_row(&p);
    else table->multiply(&p);
    if (rows) multiply_rows(table, &p, rows);
    end_case();
}

/* The product of the inputs of many steps, in unit panels: each row has the bits that it has alone. */
LOCAL void check_multiply_units(const kernels *table, int64_t m, int gates, int64_t H, int64_t k) {
    const int64_t n = gates * H, lda = k + any_of(3), ldc = n + any_of(3);
    REAL *w;
    int64_t row_stride, col_stride;
    kernel_case("multiply_units m=%d gates=%d H=%d k=%d", (int)m, gates, (int)H, (int)k);
    const REAL *panels = packed(table, k, n, 1, gates, &w, &row_stride, &col_stride);
    REAL *c = matrix(m, n, ldc, 1), *rows = twin(c);
    product p = {.m = m, .n = n, .k = k, .a = matrix(m, k, lda, 1), .lda = lda, .panels = panels, .c = c, .ldc = ldc};
    const REAL *init = packed_bias(table, gates, H, &p.init);
    want_products(&p, w, row_stride, col_stride);
    p.init = init;
    table->multiply_units(gates, &p);
    for (int64_t i = 0; i < m; i++) {
        product row = p;
        row.m = 1;
        row.a += i * lda;
        row.c = rows + i * ldc;
        table->multiply_units(gates, &row);
    }
    end_case();
}

LOCAL product_case any_product(int64_t m, int64_t n, int64_t k) {
    return (product_case){.m = m,
                          .n = n,
                          .k = k,
                          .init = (init_kind)any_of(INIT_TABLE + 1),
                          .epilogue = (epilogue)any_of(3),
                          .activation = (int)any_of(CELL_COUNT),
                          .by_columns = (int)any_of(2),
                          .in_units = m == 1 && any_of(2),
                          .reverse_panels = (int)any_of(2),
                          .prefetch = (int)any_of(PREFETCHES + 1),
                          .padding = (int)any_of(3)};
}

/* around the lanes, the panels and the tail columns of every set */
static const int64_t widths[] = {1,  2,  3,  4,  5,  7,  8,  9,  15, 16, 17,  18,
                                 31, 32, 33, 34, 35, 63, 64, 65, 66, 97, 130, 161};
enum { WIDTHS = sizeof widths / sizeof widths[0] };

LOCAL void check_small_products(const kernels *table) {
    static const int64_t depths[] = {1, 2, 3, 4, 5, 7, 16, 33, 70};
    static const int64_t tall[] = {16, 24, 25, 26, 37};
    for (int64_t i = 0; i < 18; i++)
        for (int j = 0; j < WIDTHS; j++)
            for (int d = 0; d < 3; d++)
                check_multiply(table, any_product(i < 13 ? i + 1 : tall[i - 13], widths[j], depths[any_of(9)]));
    for (int i = 0; i < 18 * WIDTHS; i++) { /* no terms: c = init */
        product_case s = any_product(i < 13 * WIDTHS ? i % 13 + 1 : tall[i % 5], widths[i % WIDTHS], 0);
        s.in_units = 0;
        check_multiply(table, s);
    }
    for (int j = 0; j < WIDTHS; j++)
        for (int d = 0; d < 18; d++) { /* a batch of one */
            product_case s = any_product(1, widths[j], depths[d / 2]);
            s.in_units = d % 2;
            check_multiply(table, s);
        }
}

LOCAL void check_unit_products(const kernels *table) {
    static const int gates[] = {1, 3, 4};
    for (int64_t H = 1; H <= 67; H += H < 35 ? 1 : 16)
        for (int g = 0; g < 3; g++) check_multiply_units(table, 1 + any_of(12), gates[g], H, 1 + any_of(40));
    for (int g = 0; g < 3; g++) check_multiply_units(table, 21, gates[g], 33, 300);
}

/* Beyond a block of k, beyond L1 (one panel at a time), rows of a beyond L2, panels beyond L2. */
LOCAL void check_deep_products(const kernels *table) {
    static const int64_t deep[] = {255, 256, 257, 513, 1030};
    for (int d = 0; d < 5; d++)
        for (int64_t m = 1; m <= 13; m += 3) check_multiply(table, any_product(m, 33 + m, deep[d]));
    product_case large[] = {any_product(1, 530, 1030),  any_product(1, 530, 1030),  any_product(3, 530, 1030),
                            any_product(13, 530, 1030), any_product(12, 530, 1100), any_product(130, 65, 1030),
                            any_product(130, 40, 1030), any_product(33, 133, 4120)};
    large[0].in_units = 1;
    large[1].in_units = 0;
    for (int i = 0; i < 8; i++) check_multiply(table, large[i]);
    for (int r = 0; r < 2; r++) {
        product_case one = any_product(1, 133, 130);
        one.in_units = 1;
        one.reverse_panels = r;
        check_multiply(table, one);
    }
}

/* NaN and infinities pass through sums and activations: with k = 1 and a = 1 the sums are the special values. */
LOCAL void check_special_products(const kernels *table) {
    for (int activation = 0; activation < CELL_COUNT; activation++)
        for (int64_t m = 1; m < 3; m++) {
            enum { N = 35 };
            kernel_case("multiply, special values, activation %d m=%d", activation, (int)m);
            REAL *w = numbers(N, 1), *a = numbers(m, 1), *c = matrix(m, N, N, 1);
            for (int64_t j = 0; j < N; j++) w[j] = special(j);
            settle(w);
            fill(a, m, 1);
            REAL *panels = numbers(table->packed_size(1, N), 1);
            table->pack(1, N, w, N, 1, panels);
            settle(panels);
            const product p = {.m = m,
                               .n = N,
                               .k = 1,
                               .a = a,
                               .lda = 1,
                               .panels = panels,
                               .c = c,
                               .ldc = N,
                               .epilogue = EPILOGUE_ACTIVATION,
                               .activation = activation};
            want_products(&p, w, N, 1);
            table->multiply(&p);
            end_case();
        }
}

/* Many values through tanh, as the epilogue of a product by 1, through exp and through the logistic function. */
LOCAL void check_accuracy(const kernels *table) {
    enum { N = 4000 };
    static const double scales[] = {.3, 2, 20};
    for (int s = 0; s < 3; s++) {
        kernel_case("accuracy of tanh, exp_shifted and logistic, |x| < %g", scales[s]);
        REAL *x = numbers(N, scales[s]), *one = numbers(1, 1), *panels = numbers(table->packed_size(1, N), 1);
        REAL *tanh_x = numbers(N, 1), *exp_x = numbers(N, 1), *logistic_x = numbers(N, 1);
        fill(one, 1, 1);
        table->pack(1, N, x, N, 1, panels);
        settle(panels);
        for (int64_t i = 0; i < N; i++) {
            const double t = tanh((double)x[i]), e = exp((double)x[i]), l = logistic_of((double)x[i]);
            want_within(tanh_x, i, t, TANH_ERROR * EPSILON * fabs(t));
            want_within(exp_x, i, e, EXP_ERROR * EPSILON * e);
            want_within(logistic_x, i, l, LOGISTIC_ERROR * EPSILON * l);
        }
        const product p = {.m = 1,
                           .n = N,
                           .k = 1,
                           .a = one,
                           .lda = 1,
                           .panels = panels,
                           .c = tanh_x,
                           .ldc = N,
                           .epilogue = EPILOGUE_ACTIVATION,
                           .activation = BPTT_CELL_TANH};
        table->multiply(&p);
        table->exp_shifted(N, x, 0, exp_x);
        table->logistic(N, x, logistic_x);
        end_case();
    }
}

LOCAL void check_no_rows(const kernels *table) {
    kernel_case("multiply without rows");
    REAL *c = numbers(20, 1), *w = numbers(20, 1), *panels = numbers(table->packed_size(1, 20), 1);
    table->pack(1, 20, w, 20, 1, panels);
    settle(panels);
    const product p = {.n = 20, .k = 1, .a = w, .lda = 1, .panels = panels, .c = c, .ldc = 20};
    table->multiply(&p);
    end_case();
}

/* ---- outer product -------------------------------------------------------------------------------------- */

LOCAL void want_outer(const outer_product *p, const outer_operand *operand) {
    for (int64_t i = 0; i < operand->m; i++)
        for (int64_t j = 0; j < operand->n; j++) {
            double sum = (double)operand->c[i * operand->ldc + j], magnitude = fabs(sum);
            for (int64_t r = 0; r < p->k; r++) {
                const int64_t at = p->gap ? r / p->run * (p->run + p->gap) + r % p->run : r;
                if (operand->skip && operand->skip[at]) continue;
                const double term = (double)p->a[r * p->lda + i] * (double)operand->b[at * operand->ldb + j];
                sum += term;
                magnitude += fabs(term);
            }
            want_within(operand->c, i * operand->ldc + j, sum, sum_tolerance(p->k, magnitude));
        }
}

/* rows of b that belong to others: after each `run`, `gap` of them */
LOCAL int in_gap(int64_t run, int64_t gap, int64_t row) { return run && row % (run + gap) >= run; }

/* An operand whose b is NaN in gaps and in skipped rows (NULL: none). */
LOCAL outer_operand random_operand(int64_t m, int64_t n, int64_t rows_of_b, int64_t run, int64_t gap,
                                   const uint8_t *skip) {
    const int64_t ldb = n + any_of(3), ldc = n + any_of(3);
    REAL *b = matrix(rows_of_b, n, ldb, 1);
    for (int64_t row = 0; row < rows_of_b; row++)
        for (int64_t j = 0; j < n && (in_gap(run, gap, row) || (skip && skip[row])); j++) b[row * ldb + j] = (REAL)NAN;
    settle(b);
    return (outer_operand){.m = m, .n = n, .b = b, .ldb = ldb, .skip = skip, .c = matrix(m, n, ldc, 1), .ldc = ldc};
}

/* The same, row by row and for one operand alone, into rows: the same bits. */
LOCAL void outer_by_rows(const kernels *table, const outer_product *p, const outer_operand *operand, REAL *rows) {
    for (int64_t i = 0; i < operand->m; i++) {
        outer_product row = *p;
        row.m = 1;
        row.a += i;
        row.operands[0] = *operand;
        row.operands[1] = (outer_operand){0};
        row.operands[0].m = 1;
        row.operands[0].c = rows + i * operand->ldc;
        table->outer(&row);
    }
}

/* The other operand of a product: none, one with the same rows of c and of b, one with fewer rows of c and no skip. */
enum { NO_OTHER, OTHER, SMALLER_OTHER, OTHERS };

/* skipped: 0 none, 1 some, 2 all rows; what is skipped is NaN in b, and in one element of a unless another operand
 * takes it. run: rows of b that lie together, 0 for all; those in the gaps are NaN. */
LOCAL void check_outer(const kernels *table, int64_t m, int64_t n, int64_t k, int skipped, int64_t run, int other) {
    const int64_t gap = run ? 1 + any_of(4) : 0, rows_of_b = run ? k + (k - 1) / run * gap : k;
    kernel_case("outer m=%d n=%d k=%d skipped %d run %d gap %d other %d", (int)m, (int)n, (int)k, skipped, (int)run,
                (int)gap, other);
    const int64_t lda = m + any_of(3), other_n = 1 + any_of(n), other_m = other == SMALLER_OTHER ? 1 + any_of(m) : m;
    REAL *a = matrix(k, m, lda, 1);
    uint8_t *skip = checked_malloc(rows_of_b);
    for (int64_t row = 0, r = 0; row < rows_of_b; row++) {
        const int others = in_gap(run, gap, row);
        skip[row] = others ? 0 : skipped == 2 ? 255 : skipped ? (uint8_t)any_of(3) : 0;
        if (skip[row] && other != SMALLER_OTHER) a[r * lda + any_of(m)] = (REAL)(r % 2 ? NAN : INFINITY);
        r += !others;
    }
    settle(a);
    outer_product p = {
        .m = m, .k = k, .run = run, .gap = gap, .a = a, .lda = lda, .scratch = scratch(table->outer_scratch(m))};
    const int place = other && any_of(2); /* of the operand of n columns */
    p.operands[place] = random_operand(m, n, rows_of_b, run, gap, skipped ? skip : NULL);
    if (other)
        p.operands[!place] =
            random_operand(other_m, other_n, rows_of_b, run, gap, other == OTHER && skipped ? skip : NULL);
    REAL *rows[OUTER_OPERANDS];
    for (int i = 0; i < OUTER_OPERANDS; i++) {
        rows[i] = p.operands[i].m ? twin(p.operands[i].c) : NULL;
        want_outer(&p, p.operands + i);
    }
    table->outer(&p);
    for (int i = 0; i < OUTER_OPERANDS; i++) outer_by_rows(table, &p, p.operands + i, rows[i]);
    free(skip);
    end_case();
}

LOCAL void check_outers(const kernels *table) {
    static const int64_t heights[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 25, 31, 65, 71};
    static const int64_t deep[] = {255, 256, 257, 513, 1030}, runs[] = {0, 1, 2, 5, 16, 300};
    for (int i = 0; i < 17; i++)
        for (int j = 0; j < WIDTHS; j++)
            check_outer(table, heights[i], widths[j], (int64_t[]){1, 2, 3, 7, 20, 41}[any_of(6)], (int)any_of(3),
                        runs[any_of(6)], (int)any_of(OTHERS));
    for (int d = 0; d < 5; d++) check_outer(table, 14, 35, deep[d], 1, runs[d + 1], d % OTHERS);
    for (int d = 0; d < 10; d++) check_outer(table, d % 2 ? 65 : 26, 128, deep[d / 2], 0, runs[d / 2], d % OTHERS);
    for (int n = 16; n <= 34; n += 9) check_outer(table, 530, n, 260, 1, 0, n % OTHERS);
    check_outer(table, 530, 33, 2, 0, 1, NO_OTHER);
    for (int i = 0; i < 17; i++) /* wide */
        check_outer(table, heights[i], 261, any_of(2) ? 3 : 40, 1, runs[i % 6], i % OTHERS);
    for (int other = 0; other < OTHERS; other++) {
        check_outer(table, 300, 257, 260, 1, 25, other);
        check_outer(table, 530, 410, 131, 1, 40, other); /* in parts of its rows and of its columns */
    }
}
#endif
