/* The vanilla cell (Elman 1990): h_t = f(z_t), z_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh, f tanh, relu, the logistic
 * function or the identity. dz_t lies where dh_t was. */
#ifndef BPTT_CELLS_VANILLA_H
#define BPTT_CELLS_VANILLA_H
#include "cells/cell.h"
#include "cells/leaky.h"

enum { VANILLA_IH, VANILLA_HH }; /* its products */

LOCAL void vanilla_forward(const step *step) {
    const int64_t H = step->H;
    product product = product_on_z(step, 0, operand_terms(step), H, step->operand, step->ld_operand,
                                   step->weights->products[VANILLA_HH], step->h, step->ld);
    product.epilogue = EPILOGUE_ACTIVATION;
    product.activation = step->cell;
    step->kernels->multiply(&product);
}

/* dz_t = f'(z_t) * dh_t */
LOCAL void vanilla_backward(const step *step) {
    const int contiguous = step->ld == step->H && step->ld_dh == step->H;
    const int64_t rows = contiguous ? 1 : step->rows, n = contiguous ? step->rows * step->H : step->H;
    for (int64_t i = 0; i < rows; i++) {
        REAL *dh = step->dh + i * step->ld_dh;
        step->kernels->activation_grad(step->cell, n, step->h + i * step->ld, dh, dh);
    }
}

/* dz_t = f'(z_t) * (dh_t + W_hhT dz_next) */
LOCAL void vanilla_backward_fused(const step *step, const REAL *dz_next, int64_t ld_dz_next) {
    const int64_t H = step->H;
    product product = recurrent_product(step, H, H, dz_next, ld_dz_next, step->weights->products[VANILLA_HH], step->dh,
                                        step->dh, step->ld_dh);
    product.epilogue = EPILOGUE_ACTIVATION_GRAD;
    product.activation = step->cell;
    product.h = step->h;
    product.ldh = step->ld;
    if (step->ld == H) product.prefetch[0] = (span){step->h, step->rows * H};
    multiply_state(step, &product);
}

LOCAL const cell vanilla = {
    .shape = {.blocks = 1,
              .states = 1,
              .products = {[VANILLA_IH] = {.matrix = WEIGHT_IH, .rows = 1},
                           [VANILLA_HH] = {.matrix = WEIGHT_HH, .rows = 1}}},
    .leaky = &leaky,
    .forward = vanilla_forward,
    .row_number = vanilla_row_number,
    .backward = vanilla_backward,
    .backward_fused = vanilla_backward_fused,
};
#endif
