/* The vanilla cells with a leak (Jaeger et al. 2007): h_t = (1-a)*h_{t-1} + a*f(z_t), z_t as in vanilla.h, a one number
 * or one for each unit. The tape keeps f(z_t) as the only gate: h_t does not give it back where a is small. */
#ifndef BPTT_CELLS_LEAKY_H
#define BPTT_CELLS_LEAKY_H
#include "cells/cell.h"

enum { LEAKY_IH, LEAKY_HH }; /* its products */

/* gates: f(z_t) */
LOCAL void leaky_forward(const step *step) {
    const int64_t H = step->H;
    product product = product_on_z(step, 0, operand_terms(step), H, step->operand, step->ld_operand,
                                   step->weights->products[LEAKY_HH], step->gates, H);
    product.epilogue = EPILOGUE_ACTIVATION;
    product.activation = step->cell;
    if (step->ld == H) product.prefetch[0] = (span){step->h, step->rows * H}; /* the next kernel writes it */
    const gate_step gates = gate_step_of(step);
    step->kernels->multiply(&product);
    step->kernels->leaky_forward(&gates);
}

/* dz_t from dh_t; dh_next = (1-a)*dh_t */
LOCAL void leaky_backward(const step *step) {
    const gate_step gates = gate_step_of(step);
    step->kernels->leaky_backward(&gates);
}

LOCAL void leaky_backward_fused(const step *step, const REAL *dz_next, int64_t ld_dz_next) {
    const int64_t H = step->H;
    product product = recurrent_product(step, H, H, dz_next, ld_dz_next, step->weights->products[LEAKY_HH], step->dh,
                                        step->dh, step->ld_dh);
    gate_step gates = gate_step_of(step);
    gates.adds_dh_next = 1;
    prefetch_tape(step, &product);
    multiply_state(step, &product);
    step->kernels->leaky_backward(&gates);
}

LOCAL const cell leaky = {
    .shape = {.blocks = 1,
              .states = 1,
              .gate_blocks = 1,
              .dz_in_place = 1,
              .direct_dh = 1,
              .products = {[LEAKY_IH] = {.matrix = WEIGHT_IH, .rows = 1},
                           [LEAKY_HH] = {.matrix = WEIGHT_HH, .rows = 1}}},
    .forward = leaky_forward,
    .row_number = leaky_row_number,
    .backward = leaky_backward,
    .backward_fused = leaky_backward_fused,
};
#endif
