/* What follows the sums of a product: the activation of a vanilla cell, or its gradient. */
#ifndef BPTT_KERNELS_EPILOGUE_H
#define BPTT_KERNELS_EPILOGUE_H
#include "cells/vanilla_pointwise.h"
#include "kernels/kernels.h"

/* Matrices without padding between rows are treated as one long row. */
LOCAL void apply_epilogue(const product *p) {
    if (p->epilogue == EPILOGUE_NONE) return;
    const int flat = p->ldc == p->n && (p->epilogue == EPILOGUE_ACTIVATION || p->ldh == p->n);
    const int64_t rows = flat ? 1 : p->m, n = flat ? p->m * p->n : p->n;
    for (int64_t i = 0; i < rows; i++) {
        REAL *c = p->c + i * p->ldc;
        if (p->epilogue == EPILOGUE_ACTIVATION) activate(p->activation, n, c);
        else activation_grad(p->activation, n, p->h + i * p->ldh, c, c);
    }
}
#endif
