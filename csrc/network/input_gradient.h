/* W_ihT dz, the gradient by a layer's inputs. */
#ifndef BPTT_NETWORK_INPUT_GRADIENT_H
#define BPTT_NETWORK_INPUT_GRADIENT_H
#include "network/layout.h"
#include "network/weights.h"

/* dx (rows,inputs) = init + W_ihT dz; dz (rows,dz columns); init: NULL for zeros, or dx */
LOCAL void multiply_w_ih(const worker *worker, int64_t rows, const REAL *dz, int64_t ld_dz, const REAL *init, REAL *dx,
                         int64_t ld_dx) {
    const call *call = worker->call;
    const int64_t in = layer_inputs(call, worker->layer);
    EACH_PRODUCT(call, cell_product) {
        if (cell_product->matrix != WEIGHT_IH) continue;
        const product product = {.m = rows,
                                 .n = in,
                                 .k = cell_product->rows * call->H,
                                 .a = dz + cell_product->dz * call->H,
                                 .lda = ld_dz,
                                 .panels = panels_of(call, &worker->weights, cell_product),
                                 .init = init,
                                 .ldinit = ld_dx,
                                 .c = dx,
                                 .ldc = ld_dx};
        call->kernels->multiply(&product);
        init = dx;
    }
}
#endif
