/* Products with unit panels: that of one row, for a batch of one, and that of the inputs of many steps. */
#ifndef BPTT_KERNELS_UNIT_PRODUCTS_H
#define BPTT_KERNELS_UNIT_PRODUCTS_H
#include "kernels/epilogue.h"
#include "kernels/pointwise.h"
#include "kernels/units.h"

/* ---- one row ---------------------------------------------------------------------------------------------- */

LOCAL void multiply_row(const product *p) {
    if (p->m < 1) return; /* a thread without rows */
    multiply_one_gate(&(unit_product){.n = p->n,
                                      .k = p->k,
                                      .a = p->a,
                                      .panels = p->panels,
                                      .init = p->init,
                                      .out = p->c,
                                      .reverse_panels = p->reverse_panels});
    apply_epilogue(p);
}

/* ---- the inputs of many steps ------------------------------------------------------------------------------- */

enum { UNIT_ROWS = 4 }; /* rows at a time; with two columns their sums keep the multipliers busy */

/* A vector of columns of c: one gate of LANES units. */
typedef struct {
    const REAL *panel;
    int64_t begin, lanes;
} unit_column;

LOCAL unit_column column_of_units(int gates, const product *p, int64_t index) {
    const int64_t H = (int64_t)((uint64_t)p->n / (uint64_t)gates), v = index / gates, gate = index % gates;
    return (unit_column){.panel = p->panels + (v * gates * p->k + gate) * LANES,
                         .begin = gate * H + v * LANES,
                         .lanes = unit_lanes(H, v * LANES)};
}

/* Rows [i, i + rows) of two columns of c: sums in the order of add_terms with one chain. */
INLINE void multiply_rows_of_units(const int rows, int64_t ld, const product *p, int64_t i, const unit_column column[2]) {
    const REAL *a = p->a + i * p->lda, *panel[2] = {column[0].panel, column[1].panel};
    vec sum[UNIT_ROWS][2];
    UNROLL
    for (int side = 0; side < 2; side++) {
        const int64_t lanes = column[side].lanes;
        const vec init = LOAD(p->init + column[side].begin);
        UNROLL
        for (int row = 0; row < rows; row++) sum[row][side] = init;
    }
    for (int64_t r = 0; r < p->k; r++, panel[0] += ld, panel[1] += ld) {
        const vec left = load(panel[0]), right = load(panel[1]);
        UNROLL
        for (int row = 0; row < rows; row++) {
            const vec x = splat(a[row * p->lda + r]);
            sum[row][0] += x * left;
            sum[row][1] += x * right;
        }
    }
    UNROLL
    for (int row = 0; row < rows; row++) UNROLL
    for (int side = 0; side < 2; side++) {
        const int64_t lanes = column[side].lanes;
        STORE(p->c + (i + row) * p->ldc + column[side].begin, sum[row][side]);
    }
}

/* c = init + a b, init one row for all. The last rows and the last column may be computed twice, as the same numbers,
 * to be as many as the others. */
LOCAL void multiply_units(int gates, const product *p) {
    const int64_t H = p->n / gates, columns = unit_vectors(H) * gates, ld = (int64_t)gates * LANES;
    for (int64_t j = 0; j < columns; j += 2) {
        const unit_column pair[2] = {column_of_units(gates, p, j),
                                     column_of_units(gates, p, j + 1 < columns ? j + 1 : j)};
        for (int64_t i = 0; i < p->m && p->m < UNIT_ROWS; i++) multiply_rows_of_units(1, ld, p, i, pair);
        for (int64_t left = p->m; left > 0 && p->m >= UNIT_ROWS; left -= UNIT_ROWS)
            multiply_rows_of_units(UNIT_ROWS, ld, p, left < UNIT_ROWS ? 0 : left - UNIT_ROWS, pair);
    }
}
#endif
