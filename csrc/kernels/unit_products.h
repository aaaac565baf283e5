/* Products with unit panels: that of one row, for a batch of one, and that of the inputs of many steps. */
#ifndef BPTT_KERNELS_UNIT_PRODUCTS_H
#define BPTT_KERNELS_UNIT_PRODUCTS_H
#include "kernels/epilogue.h"
#include "kernels/pointwise.h"
#include "kernels/units.h"

/* ---- one row ---------------------------------------------------------------------------------------------- */

LOCAL void multiply_row(const product *p) {
    if (p->m < 1) return; /* a thread without rows */
    multiply_one_gate(NULL, p->n, p->k, p->a, p->panels, p->init, p->c, p->reverse_panels);
    if (p->epilogue != EPILOGUE_NONE) apply_epilogue(p);
}

/* ---- the inputs of many steps ------------------------------------------------------------------------------- */

/* Rows and columns at a time: many rows by two columns, few rows one by one by four columns. */
enum { UNIT_ROWS = 4, UNIT_COLUMNS = 4 };

/* A vector of columns of c: one gate of LANES units. */
typedef struct {
    const REAL *panel, *init;
    int64_t begin, lanes;
} unit_column;

LOCAL unit_column column_of_units(int gates, const product *p, int64_t index) {
    const int64_t H = p->n / gates, v = index / gates, gate = index % gates;
    return (unit_column){.panel = p->panels + (v * gates * p->k + gate) * LANES,
                         .init = p->init + index * LANES,
                         .begin = gate * H + v * LANES,
                         .lanes = unit_lanes(H, v * LANES)};
}

/* Rows [i, i + rows) of some columns of c, whose panels have rows ld apart: sums in the order of add_terms with one
 * chain. */
INLINE void multiply_rows_of_units(const int rows, const int columns, int64_t ld, const product *p, int64_t i,
                                   const unit_column *column) {
    const REAL *a = p->a + i * p->lda;
    vec sum[UNIT_ROWS][UNIT_COLUMNS];
    UNROLL
    for (int col = 0; col < columns; col++) {
        const vec init = load(column[col].init);
        UNROLL
        for (int row = 0; row < rows; row++) sum[row][col] = init;
    }
    for (int64_t r = 0; r < p->k; r++) UNROLL
    for (int col = 0; col < columns; col++) {
        vec b = load(column[col].panel + r * ld);
        IN_REGISTER(b);
        UNROLL
        for (int row = 0; row < rows; row++) sum[row][col] += splat(a[row * p->lda + r]) * b;
    }
    UNROLL
    for (int row = 0; row < rows; row++) UNROLL
    for (int col = 0; col < columns; col++) {
        const int64_t lanes = column[col].lanes;
        STORE(p->c + (i + row) * p->ldc + column[col].begin, sum[row][col]);
    }
}

/* c = init + a b, init one row for all, packed as a panel of one row. The first rows and the last column may be
 * computed twice, as the same numbers, so that there are always as many at a time. */
LOCAL void multiply_units(int gates, const product *p) {
    const int64_t all = unit_vectors(p->n / gates) * gates, ld = (int64_t)gates * LANES;
    const int64_t columns = p->m < UNIT_ROWS ? UNIT_COLUMNS : 2;
    for (int64_t j = 0; j < all; j += columns) {
        unit_column some[UNIT_COLUMNS];
        for (int64_t i = 0; i < columns; i++) some[i] = column_of_units(gates, p, j + i < all ? j + i : all - 1);
        for (int64_t i = 0; i < p->m && p->m < UNIT_ROWS; i++) multiply_rows_of_units(1, UNIT_COLUMNS, ld, p, i, some);
        for (int64_t left = p->m; left > 0 && p->m >= UNIT_ROWS; left -= UNIT_ROWS)
            multiply_rows_of_units(UNIT_ROWS, 2, ld, p, left < UNIT_ROWS ? 0 : left - UNIT_ROWS, some);
    }
}
#endif
