/* The activations f of the vanilla cells, h = f(z), and their gradients, dz = f'(z) * dh. */
#ifndef BPTT_CELLS_VANILLA_POINTWISE_H
#define BPTT_CELLS_VANILLA_POINTWISE_H
#include "bptt.h"
#include "kernels/pointwise.h"

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
#endif
