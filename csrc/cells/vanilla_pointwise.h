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

/* f' * dh with f' in terms of f = f(z): tanh (1-f)(1+f), sigmoid f(1-f), relu 1 where f > 0. */
INLINE vec times_slope(const int activation, vec f, vec dh) {
    switch (activation) {
    case BPTT_CELL_TANH: return dh * ((splat(1) - f) * (splat(1) + f));
    case BPTT_CELL_RELU: return select_less(splat(0), f, dh, f * splat(0)); /* f*0, so that a NaN in f stays NaN */
    case BPTT_CELL_SIGMOID: return dh * (f * (splat(1) - f));
    default: return dh;
    }
}

/* dz = f' * dh, h = f(z). In place allowed. */
LOCAL void activation_grad(int activation, int64_t n, const REAL *h, const REAL *dh, REAL *dz) {
    switch (activation) {
    case BPTT_CELL_TANH: EACH_VECTOR(n, STORE(dz + j, times_slope(BPTT_CELL_TANH, LOAD(h + j), LOAD(dh + j)))); break;
    case BPTT_CELL_RELU: EACH_VECTOR(n, STORE(dz + j, times_slope(BPTT_CELL_RELU, LOAD(h + j), LOAD(dh + j)))); break;
    case BPTT_CELL_SIGMOID:
        EACH_VECTOR(n, STORE(dz + j, times_slope(BPTT_CELL_SIGMOID, LOAD(h + j), LOAD(dh + j))));
        break;
    default:
        if (dz != dh) memcpy(dz, dh, (size_t)n * sizeof(REAL));
    }
}

/* ---- a batch of one ------------------------------------------------------------------------------------- */

/* h from h_prev and W_ih x + bias */
LOCAL void vanilla_row(const row_step *row) {
    REAL *h = new_h(row);
    multiply_vanilla(row, h);
    activate(row->activation, row->step.H, h);
    put_new_h(row, h);
}
#endif
