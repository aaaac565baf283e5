/* W_ih x + bias, the product of a layer's inputs. */
#ifndef BPTT_NETWORK_INPUT_PRODUCT_H
#define BPTT_NETWORK_INPUT_PRODUCT_H
#include "network/layout.h"
#include "network/weights.h"

/* z (rows,G*H) = W_ih x + bias; x (rows,inputs), rows of z ld apart */
LOCAL void multiply_x(const worker *worker, int64_t rows, const REAL *x, REAL *z, int64_t ld) {
    const call *call = worker->call;
    const int blocks = call->shape->blocks;
    const int64_t in = layer_inputs(call, worker->layer);
    const product product = {.m = rows,
                             .n = blocks * call->H,
                             .k = in,
                             .a = x,
                             .lda = in,
                             .panels = worker->weights.inputs,
                             .init = worker->weights.input_bias,
                             .c = z,
                             .ldc = ld};
    if (call->B == 1) call->kernels->multiply_units(blocks, &product);
    else call->kernels->multiply(&product);
}
#endif
