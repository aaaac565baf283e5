/* Products with unit panels: that of one row, for a batch of one, and that of the inputs of many steps. */
#ifndef BPTT_KERNELS_UNIT_PRODUCTS_H
#define BPTT_KERNELS_UNIT_PRODUCTS_H
#include "kernels/epilogue.h"
#include "kernels/pointwise.h"
#include "kernels/units.h"

/* ---- one row ---------------------------------------------------------------------------------------------- */

/* `vectors` vectors of c from column j on */
INLINE void multiply_row_group(const int vectors, const product *p, int64_t j) {
    unit_sums sum;
    UNROLL
    for (int v = 0; v < vectors; v++) sum[v][0] = splat(0);
    add_terms(1, vectors, CHAINS(1, vectors), p->k, p->a, p->panels + j * p->k, sum);
    UNROLL
    for (int v = 0; v < vectors; v++, j += LANES) {
        const int64_t lanes = v < vectors - 1 ? LANES : unit_lanes(p->n, j);
        STORE(p->c + j, p->init ? LOAD(p->init + j) + sum[v][0] : sum[v][0]);
    }
}

LOCAL void multiply_row(const product *p) {
    if (p->m < 1) return; /* a thread without rows */
#define ROW_GROUP(vectors, j) multiply_row_group(vectors, p, j)
    EACH_GROUP(p->n, p->reverse_panels, MOST_UNITS, ROW_GROUP);
#undef ROW_GROUP
    apply_epilogue(p);
}

/* ---- the inputs of many steps ------------------------------------------------------------------------------- */

/* rows at a time: few enough that their sums and a row of the panel fit the registers */
#if VECTOR_BYTES == 64
#define ROWS_OF(gates) ((gates) > 1 ? 4 : 8)
#else
#define ROWS_OF(gates) ((gates) > 1 ? 2 : 8)
#endif

/* Rows [i, i + rows) of c for the vector of units that begins at j: sums in the order of add_terms with one chain. */
INLINE void multiply_rows_of_units(const int gates, const int rows, const product *p, int64_t i, int64_t j) {
    const int64_t H = p->n / gates, lanes = unit_lanes(H, j);
    const REAL *a = p->a + i * p->lda, *panel = p->panels + j * gates * p->k;
    vec sum[8][MOST_GATES];
    UNROLL
    for (int row = 0; row < rows; row++) UNROLL
    for (int gate = 0; gate < gates; gate++) sum[row][gate] = LOAD(p->init + gate * H + j);
    for (int64_t r = 0; r < p->k; r++, panel += gates * LANES) UNROLL
    for (int gate = 0; gate < gates; gate++) {
        vec b = load(panel + gate * LANES);
        IN_REGISTER(b);
        UNROLL
        for (int row = 0; row < rows; row++) sum[row][gate] += splat(a[row * p->lda + r]) * b;
    }
    UNROLL
    for (int row = 0; row < rows; row++) UNROLL
    for (int gate = 0; gate < gates; gate++) STORE(p->c + (i + row) * p->ldc + gate * H + j, sum[row][gate]);
}

INLINE void multiply_units_of(const int gates, const product *p) {
    for (int64_t j = 0; j < p->n / gates; j += LANES) {
        int64_t i = 0;
        for (; i + ROWS_OF(gates) <= p->m; i += ROWS_OF(gates)) multiply_rows_of_units(gates, ROWS_OF(gates), p, i, j);
        for (; i < p->m; i++) multiply_rows_of_units(gates, 1, p, i, j);
    }
}

/* c = init + a b, init one row for all */
LOCAL void multiply_units(int gates, const product *p) {
    switch (gates) {
    case 1: multiply_units_of(1, p); break;
    case 3: multiply_units_of(3, p); break;
    case 4: multiply_units_of(4, p); break;
    }
}
#endif
