/* The LSTM (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000; peepholes: Gers et al. 2002), gates i,f,g,o:
 * i, f, o = s(.), g = tanh(.);  c_t = f*c_{t-1} + i*g;  h_t = o*tanh(c_t). One product for all gates. */
#ifndef BPTT_CELLS_LSTM_H
#define BPTT_CELLS_LSTM_H
#include "cells/cell.h"

enum { LSTM_IH, LSTM_HH }; /* its products */

LOCAL void lstm_forward(const step *step) {
    const int64_t H = step->H;
    const product product = product_on_z(step, 0, operand_terms(step), 4 * H, step->operand, step->ld_operand,
                                         step->weights->products[LSTM_HH], step->gates, 4 * H);
    const gate_step gates = gate_step_of(step);
    step->kernels->multiply(&product);
    step->kernels->lstm_forward(&gates);
}

/* dz_t from dh_t and dc_next, which becomes dL/dc_{t-1} */
LOCAL void lstm_backward(const step *step) {
    const gate_step gates = gate_step_of(step);
    step->kernels->lstm_backward(&gates);
}

/* The gradients of the peepholes of i and f take c_{t-1}, that of o takes c_t. */
LOCAL void lstm_add_peephole_grad(const peephole_rows *given, REAL *grad) {
    const int64_t H = given->H;
    for (int64_t row = 0; row < given->rows; row++)
        for (int64_t j = given->unit_begin; j < given->unit_end; j++) {
            const REAL *dz = given->dz + row * given->ld_dz + j;
            grad[2 * H + j] += dz[3 * H] * given->c[row * given->ld + j];
            if (given->skip && given->skip[row]) continue;
            grad[j] += dz[0] * given->c_prev[row * given->ld + j];
            grad[H + j] += dz[H] * given->c_prev[row * given->ld + j];
        }
}

LOCAL const cell lstm = {
    .shape = {.blocks = 4,
              .states = 2,
              .gate_blocks = 4,
              .peepholes = 1,
              .products = {[LSTM_IH] = {.matrix = WEIGHT_IH, .rows = 4}, [LSTM_HH] = {.matrix = WEIGHT_HH, .rows = 4}}},
    .forward = lstm_forward,
    .row_number = lstm_row_number,
    .backward = lstm_backward,
    .add_peephole_grad = lstm_add_peephole_grad,
};
#endif
