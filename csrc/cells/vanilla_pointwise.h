/* The activations f of the vanilla cells, h = f(z), and their gradients, dz = f'(z) * dh. */
#ifndef BPTT_CELLS_VANILLA_POINTWISE_H
#define BPTT_CELLS_VANILLA_POINTWISE_H
#include "bptt.h"
#include "kernels/pointwise.h"
#include "kernels/units.h"

/* z becomes f(z); `activation` is a bptt_cell, the identity where it names no other function here. */
LOCAL void activate(int activation, int64_t n, REAL *z) {
    switch (activation) {
    case BPTT_CELL_TANH: tanh_in_place(n, z); break;
    case BPTT_CELL_RELU: EACH_VECTOR(n, STORE(z + j, at_least(LOAD(z + j), splat(0)))); break;
    case BPTT_CELL_SIGMOID: logistic(n, z, z); break;
    }
}

/* dz = f' * dh with f' in terms of h = f(z): tanh (1-h)(1+h), sigmoid h(1-h), relu 1 where h > 0. In place allowed. */
LOCAL void activation_grad(int activation, int64_t n, const REAL *h, const REAL *dh, REAL *dz) {
    switch (activation) {
    case BPTT_CELL_TANH:
        EACH_VECTOR(n, const vec f = LOAD(h + j); STORE(dz + j, LOAD(dh + j) * ((splat(1) - f) * (splat(1) + f))));
        break;
    case BPTT_CELL_RELU: /* h*0 instead of 0, so that a NaN in h stays NaN */
        EACH_VECTOR(n, const vec f = LOAD(h + j); STORE(dz + j, select_less(splat(0), f, LOAD(dh + j), f * splat(0))));
        break;
    case BPTT_CELL_SIGMOID:
        EACH_VECTOR(n, const vec f = LOAD(h + j); STORE(dz + j, LOAD(dh + j) * (f * (splat(1) - f))));
        break;
    default:
        if (dz != dh) memcpy(dz, dh, (size_t)n * sizeof(REAL));
    }
}

/* ---- a batch of one ------------------------------------------------------------------------------------- */

INLINE void vanilla_group(const int vectors, const row_step *row, int64_t j) {
    const int64_t H = row->step.H;
    unit_sums z;
    begin_sums(1, vectors, row, j, z);
    ADD_RECURRENT(1, vectors, H, row->operand, row->recurrent[0], j, z);
    UNROLL
    for (int v = 0; v < vectors; v++, j += LANES) {
        const int64_t lanes = v < vectors - 1 ? LANES : unit_lanes(H, j);
        STORE(row->step.h + j, z[v][0]);
    }
}

/* h from h_prev and W_ih x + bias */
LOCAL void vanilla_row(const row_step *row) {
#define GROUP(vectors, j) vanilla_group(vectors, row, j)
    EACH_GROUP(row->step.H, row->reverse_panels, MOST_UNITS, GROUP);
#undef GROUP
    activate(row->activation, row->step.H, row->step.h);
}

INLINE void vanilla_backward_group(const int vectors, const row_step *row, int64_t j) {
    const int64_t H = row->step.H;
    unit_sums dh = {{splat(0)}, {splat(0)}, {splat(0)}, {splat(0)}};
    ADD_RECURRENT(1, vectors, H, row->operand, row->recurrent[0], j, dh);
    UNROLL
    for (int v = 0; v < vectors; v++, j += LANES) {
        const int64_t lanes = v < vectors - 1 ? LANES : unit_lanes(H, j);
        STORE(row->step.dz + j, LOAD(row->step.dh + j) + dh[v][0]);
    }
}

/* dz from dh and dz_next */
LOCAL void vanilla_row_backward(const row_step *row) {
    REAL *dz = row->step.dz;
#define GROUP(vectors, j) vanilla_backward_group(vectors, row, j)
    EACH_GROUP(row->step.H, row->reverse_panels, MOST_UNITS, GROUP);
#undef GROUP
    activation_grad(row->activation, row->step.H, row->step.h, dz, dz);
}
#endif
