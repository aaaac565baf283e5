/* W_ih x + bias, the product of a layer's inputs. */
#ifndef BPTT_NETWORK_INPUT_PRODUCT_H
#define BPTT_NETWORK_INPUT_PRODUCT_H
#include "network/weights.h"

/* z (rows,G*H) = W_ih x + bias of a layer; x (rows,inputs), rows of z ld apart */
LOCAL void multiply_x(const call *call, int64_t layer, const weights *weights, int64_t rows, const REAL *x, REAL *z,
                      int64_t ld) {
    const int blocks = call->shape->blocks;
    const int64_t in = layer_inputs(call, layer);
    const product product = {.m = rows,
                             .n = blocks * call->H,
                             .k = in,
                             .a = x,
                             .lda = in,
                             .panels = weights->inputs,
                             .init = weights->input_bias,
                             .c = z,
                             .ldc = ld};
    if (call->B == 1) call->kernels->multiply_units(blocks, &product);
    else call->kernels->multiply(&product);
}
#endif
