/* Constraints on parameters, in place. */
#ifndef BPTT_TRAIN_CONSTRAIN_H
#define BPTT_TRAIN_CONSTRAIN_H
#include "bptt.h"
#include "kernels/kernels.h"

/* bptt_constrain_f32(), bptt_constrain_f64() */
bptt_status TYPED(bptt_constrain)(int64_t n, const int8_t *rules, int masks_only, REAL *x) {
    const kernels *kernels = kernel_table();
    if (!kernels) return BPTT_ERROR_ISA;
    if (!rules || !x) return BPTT_ERROR_NULL;
    if (n < 1) return BPTT_ERROR_SIZE;
    if (masks_only != 0 && masks_only != 1) return BPTT_ERROR_OPTION;
    kernels->constrain(n, rules, masks_only, x);
    return BPTT_OK;
}
#endif
