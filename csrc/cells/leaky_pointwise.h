/* The arithmetic of a leak a (H): h = (1-a)*h_prev + a*f. The one block of gates is f = f(z), which the product's
 * epilogue has computed. */
#ifndef BPTT_CELLS_LEAKY_POINTWISE_H
#define BPTT_CELLS_LEAKY_POINTWISE_H
#include "cells/vanilla_pointwise.h"
#include "kernels/kernels.h"
#include "kernels/pointwise.h"
#include "kernels/units.h"

/* h = (1-a)*h_prev + a*f of a row; h may be f */
INLINE void leaky_forward_row(int64_t H, const REAL *leaks, const REAL *h_prev, const REAL *f, REAL *h) {
    EACH_VECTOR(H, const vec leak = LOAD(leaks + j);
                STORE(h + j, (splat(1) - leak) * LOAD(h_prev + j) + leak * LOAD(f + j)));
}

LOCAL void leaky_forward(const gate_step *step) {
    for (int64_t row = 0; row < step->rows; row++)
        leaky_forward_row(step->H, step->leak, step->h_prev + row * step->ld_prev, step->gates + row * step->H,
                          step->h + row * step->ld);
}

/* dz = a*f'*dh, dh_next = (1-a)*dh, and the terms of the gradient by the number whose logistic function a is:
 * dh*(f - h_prev)*a*(1-a). The slope f' comes in a second pass, as there is one for each activation. */
LOCAL void leaky_backward(const gate_step *given) {
    const gate_step step = *given;
    for (int64_t row = 0; row < step.rows; row++) {
        const REAL *f_row = step.gates + row * step.H, *h_prev = step.h_prev + row * step.ld_prev;
        const REAL *dh_row = step.dh + row * step.ld_dz;
        REAL *dh_next = step.dh_next + row * step.H, *dz = step.dz + row * step.ld_dz;
        REAL *terms = step.leak_terms ? step.leak_terms + row * step.H : NULL;
        EACH_VECTOR(step.H, const vec leak = LOAD(step.leak + j), keep = splat(1) - leak; vec dh = LOAD(dh_row + j);
                    if (step.adds_dh_next) dh += LOAD(dh_next + j); STORE(dh_next + j, keep * dh);
                    STORE(dz + j, leak * dh);
                    if (terms) STORE(terms + j, dh * (LOAD(f_row + j) - LOAD(h_prev + j)) * (leak * keep)));
        activation_grad(step.activation, step.H, f_row, dz, dz);
    }
}

/* ---- a batch of one ------------------------------------------------------------------------------------- */

/* f(z), where the gates are wanted, and h from h_prev and W_ih x + bias */
LOCAL void leaky_row(const row_step *row) {
    REAL *f = row->step.gates ? row->step.gates : row->scratch ? row->scratch : row->step.h;
    multiply_vanilla(row, f);
    activate(row->activation, row->step.H, f);
    leaky_forward_row(row->step.H, row->step.leak, row->step.h_prev, f, row->step.h);
}
#endif
