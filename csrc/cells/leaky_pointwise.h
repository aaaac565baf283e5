/* The arithmetic of a leak a (H): h = (1-a)*h_prev + a*f. The one block of gates is f = f(z), which the product's
 * epilogue has computed. */
#ifndef BPTT_CELLS_LEAKY_POINTWISE_H
#define BPTT_CELLS_LEAKY_POINTWISE_H
#include "cells/vanilla_pointwise.h"
#include "kernels/kernels.h"
#include "kernels/pointwise.h"

LOCAL void leaky_forward(const gate_step *given) {
    const gate_step step = *given;
    for (int64_t row = 0; row < step.rows; row++) {
        const REAL *f = step.gates + row * step.H, *h_prev = step.h_prev + row * step.ld_prev;
        REAL *h = step.h + row * step.ld;
        EACH_VECTOR(step.H, const vec leak = LOAD(step.leak + j);
                    STORE(h + j, (splat(1) - leak) * LOAD(h_prev + j) + leak * LOAD(f + j)));
    }
}

/* The vector of a row that begins at unit j: dz = a*f'*dh, dh_next = (1-a)*dh, and the term of the gradient by the
 * number whose logistic function a is: dh*(f - h_prev)*a*(1-a). */
INLINE void leaky_backward_vector(const int activation, const gate_step *step, int64_t row, int64_t j,
                                  const int64_t lanes) {
    const int64_t at = row * step->H + j;
    const vec leak = LOAD(step->leak + j), keep = splat(1) - leak, f = LOAD(step->gates + at);
    vec dh = LOAD(step->dh + row * step->ld_dh + j);
    if (step->adds_dh_next) dh += LOAD(step->dh_next + at);
    STORE(step->dh_next + at, keep * dh);
    STORE(step->dz + row * step->ld_dh + j, times_slope(activation, f, leak * dh));
    if (!step->leak_terms) return;
    STORE(step->leak_terms + at, dh * (f - LOAD(step->h_prev + row * step->ld_prev + j)) * (leak * keep));
}

INLINE void leaky_backward_rows(const int activation, const gate_step *step) {
    for (int64_t row = 0; row < step->rows; row++)
        EACH_VECTOR(step->H, leaky_backward_vector(activation, step, row, j, lanes));
}

LOCAL void leaky_backward(const gate_step *given) {
    const gate_step step = *given;
    switch (step.activation) {
    case BPTT_CELL_TANH: leaky_backward_rows(BPTT_CELL_TANH, &step); break;
    case BPTT_CELL_RELU: leaky_backward_rows(BPTT_CELL_RELU, &step); break;
    case BPTT_CELL_SIGMOID: leaky_backward_rows(BPTT_CELL_SIGMOID, &step); break;
    default: leaky_backward_rows(BPTT_CELL_IDENTITY, &step);
    }
}
#endif
