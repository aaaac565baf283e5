/* Gradient clipping, in place (Pascanu, Mikolov, Bengio 2013, Algorithm 1). */
#ifndef BPTT_TRAIN_CLIP_H
#define BPTT_TRAIN_CLIP_H
#include "bptt.h"
#include "train/norm.h"

/* bptt_clip_norm_f32(), bptt_clip_norm_f64() */
bptt_status TYPED(bptt_clip_norm)(int64_t n, REAL *grads, double max_norm, double *norm) {
    const kernels *kernels = kernel_table();
    if (!kernels) return BPTT_ERROR_ISA;
    if (!grads || !norm) return BPTT_ERROR_NULL;
    if (n < 1) return BPTT_ERROR_SIZE;
    if (!((REAL)max_norm > 0)) return BPTT_ERROR_THRESHOLD;
    *norm = norm_of(kernels, n, grads);
    scale_to(n, grads, *norm, max_norm);
    return BPTT_OK;
}

/* bptt_scale_f32(), bptt_scale_f64() */
bptt_status TYPED(bptt_scale)(int64_t n, REAL *x, double factor) {
    if (!x) return BPTT_ERROR_NULL;
    if (n < 1) return BPTT_ERROR_SIZE;
    scale_by(n, x, factor);
    return BPTT_OK;
}

/* bptt_clip_value_f32(), bptt_clip_value_f64() */
bptt_status TYPED(bptt_clip_value)(int64_t n, REAL *grads, double limit, double *largest) {
    const kernels *kernels = kernel_table();
    if (!kernels) return BPTT_ERROR_ISA;
    if (!grads) return BPTT_ERROR_NULL;
    if (n < 1) return BPTT_ERROR_SIZE;
    if (!((REAL)limit > 0)) return BPTT_ERROR_THRESHOLD;
    if (largest) *largest = largest_of(n, grads);
    kernels->clamp(n, (REAL)limit, grads);
    return BPTT_OK;
}
#endif
