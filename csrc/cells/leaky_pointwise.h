/* The arithmetic of a leak a (H): h = (1-a)*h_prev + a*f. The one block of gates is f = f(z), which the product's
 * epilogue has computed. */
#ifndef BPTT_CELLS_LEAKY_POINTWISE_H
#define BPTT_CELLS_LEAKY_POINTWISE_H
#include "cells/vanilla_pointwise.h"
#include "kernels/kernels.h"
#include "kernels/pointwise.h"
#include "kernels/units.h"

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

/* ---- a batch of one ------------------------------------------------------------------------------------- */

/* z of units j.., in out */
INLINE void leaky_group(const int vectors, const row_step *row, int64_t j, REAL *out) {
    const int64_t H = row->step.H;
    unit_sums z;
    begin_sums(1, vectors, row, j, z);
    ADD_RECURRENT(1, vectors, H, row->operand, row->recurrent[0], j, z);
    UNROLL
    for (int v = 0; v < vectors; v++, j += LANES) {
        const int64_t lanes = v < vectors - 1 ? LANES : unit_lanes(H, j);
        STORE(out + j, z[v][0]);
    }
}

/* f(z), where the gates are wanted, and h from h_prev and W_ih x + bias */
LOCAL void leaky_row(const row_step *row) {
    const int64_t H = row->step.H;
    REAL *h = row->step.h, *f = row->step.gates ? row->step.gates : h;
    const REAL *h_prev = row->step.h_prev, *leaks = row->step.leak;
#define GROUP(vectors, j) leaky_group(vectors, row, j, f)
    EACH_GROUP(H, row->reverse_panels, MOST_UNITS, GROUP);
#undef GROUP
    activate(row->activation, H, f);
    EACH_VECTOR(H, const vec leak = LOAD(leaks + j);
                STORE(h + j, (splat(1) - leak) * LOAD(h_prev + j) + leak * LOAD(f + j)));
}

/* dh + W_hhT dz_next of units j.., in dz */
INLINE void leaky_backward_group(const int vectors, const row_step *row, int64_t j) {
    const int64_t H = row->step.H;
    unit_sums dh = {{splat(0)}, {splat(0)}, {splat(0)}, {splat(0)}};
    ADD_RECURRENT(1, vectors, H, row->operand, row->recurrent[0], j, dh);
    UNROLL
    for (int v = 0; v < vectors; v++, j += LANES) {
        const int64_t lanes = v < vectors - 1 ? LANES : unit_lanes(H, j);
        STORE(row->step.dz + j, LOAD(row->step.dh + j) + dh[v][0]);
    }
}

/* dz from dh, dz_next and dh_next, which becomes the direct term of the gradient by h_prev */
LOCAL void leaky_row_backward(const row_step *row) {
    gate_step step = row->step;
#define GROUP(vectors, j) leaky_backward_group(vectors, row, j)
    EACH_GROUP(step.H, row->reverse_panels, MOST_UNITS, GROUP);
#undef GROUP
    step.rows = 1;
    step.dh = step.dz;
    step.adds_dh_next = 1;
    leaky_backward(&step);
}
#endif
