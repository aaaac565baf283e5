/* The GRU (Cho et al. 2014): r, z = s(.);  h_t = (1-z)*n + z*h_{t-1}. The reset gate acts in one of two places:
 *   after the product   n = tanh(W_in x + b_in + r*q), q = W_hn h + b_hn: one recurrent product for r, z and q
 *   before it           n = tanh(W_in x + b_in + W_hn q + b_hn), q = r*h: two, for r and z, and then for n
 * The gates lie as r, z, n, q, their gradients as dn, dr, dz, dq (after: dq = dn*r). So dr, dz and dq lie side by side
 * for one product with W_hh, while W_in takes dn. */
#ifndef BPTT_CELLS_GRU_H
#define BPTT_CELLS_GRU_H
#include "cells/cell.h"

/* the products of either form; with the reset after it, GRU_HH is r, z and n */
enum { GRU_IH_RZ, GRU_IH_N, GRU_HH, GRU_HH_N };
/* blocks of the gates, and of dz */
enum { GATE_R, GATE_Z, GATE_N, GATE_Q };
enum { DZ_N, DZ_R, DZ_Z, DZ_Q };

LOCAL void gru_forward(const step *step) {
    const int64_t H = step->H;
    product product =
        recurrent_product(step, operand_terms(step), 3 * H, step->operand, step->ld_operand,
                          step->weights->products[GRU_HH], step->weights->hh_bias, step->hh_products, 3 * H);
    product.ldinit = 0;
    prefetch_tape(step, &product);
    gate_step gates = gate_step_of(step);
    gates.z = step->z;
    gates.ld_z = step->ld_z;
    gates.z_rows = step->z_rows;
    step->kernels->multiply(&product);
    step->kernels->gru_forward(&gates);
}

/* dz_t from dh_t; dh_next = z*dh, to which W_hhT dz_t is added later */
LOCAL void gru_backward(const step *step) {
    const gate_step gates = gate_step_of(step);
    step->kernels->gru_backward(&gates);
}

LOCAL void gru_reset_before_forward(const step *step) {
    const int64_t H = step->H;
    REAL *n = step->gates + GATE_N * H, *q = step->gates + GATE_Q * H;
    const product of_h = product_on_z(step, 0, operand_terms(step), 2 * H, step->operand, step->ld_operand,
                                      step->weights->products[GRU_HH], step->gates, 4 * H);
    /* of all H terms: where r is NaN, q is NaN although h is zero */
    const product of_q = product_on_z(step, 2 * H, H, H, q, 4 * H, step->weights->products[GRU_HH_N], n, 4 * H);
    const gate_step gates = gate_step_of(step);
    gate_step reset = gates;
    reset.h_prev = step->operand;
    reset.ld_prev = step->ld_operand;
    step->kernels->multiply(&of_h);
    step->kernels->gru_reset_before_gates(&reset);
    step->kernels->multiply(&of_q);
    step->kernels->gru_reset_before_forward(&gates);
}

/* dz_t from dh_t; d_operand = dL/dq = W_hnT dn. As q = r*h, dq gives dr, and r*dq is a second direct term. */
LOCAL void gru_reset_before_backward(const step *step) {
    const int64_t H = step->H;
    const product product = recurrent_product(step, H, H, step->dz + DZ_N * H, step->ld_dz,
                                              step->weights->products[GRU_HH_N], NULL, step->d_operand, H);
    const gate_step gates = gate_step_of(step);
    step->kernels->gru_reset_before_backward(&gates);
    multiply_state(step, &product);
    for (int64_t i = 0; step->mask && i < step->rows * H; i++)
        step->d_operand[i] = step->mask[i] == 0 ? 0 : step->d_operand[i] * step->mask[i];
    step->kernels->gru_reset_before_operand(&gates);
}

LOCAL const cell gru_reset_before = {
    .shape =
        {.blocks = 3,
         .states = 1,
         .gate_blocks = 4,
         .direct_dh = 1,
         .products = {[GRU_IH_RZ] = {.matrix = WEIGHT_IH, .row = 0, .rows = 2, .dz = DZ_R},
                      [GRU_IH_N] = {.matrix = WEIGHT_IH, .row = 2, .rows = 1, .dz = DZ_N},
                      [GRU_HH] = {.matrix = WEIGHT_HH, .row = 0, .rows = 2, .dz = DZ_R},
                      [GRU_HH_N] = {.matrix = WEIGHT_HH, .row = 2, .rows = 1, .dz = DZ_N, .gate_operand = GATE_Q}}},
    .forward = gru_reset_before_forward,
    .row_number = gru_reset_before_row_number,
    .backward = gru_reset_before_backward,
};

LOCAL const cell gru = {
    .shape = {.blocks = 3,
              .states = 1,
              .gate_blocks = 4,
              .separate_hh = 1,
              .direct_dh = 1,
              .products = {[GRU_IH_RZ] = {.matrix = WEIGHT_IH, .row = 0, .rows = 2, .dz = DZ_R},
                           [GRU_IH_N] = {.matrix = WEIGHT_IH, .row = 2, .rows = 1, .dz = DZ_N},
                           [GRU_HH] = {.matrix = WEIGHT_HH, .row = 0, .rows = 3, .dz = DZ_R}}},
    .reset_before = &gru_reset_before,
    .forward = gru_forward,
    .row_number = gru_row_number,
    .backward = gru_backward,
};
#endif
