/* Optimiser steps over flat arrays, in place: their checks, and the numbers that the kernels take
 * (kernels/optim_pointwise.h). g = grads + weight_decay * params throughout. */
#ifndef BPTT_TRAIN_OPTIM_H
#define BPTT_TRAIN_OPTIM_H
#include "bptt.h"
#include "kernels/kernels.h"

#define REAL_SMALLEST (REAL_BITS == 32 ? 0x1p-149 : 0x1p-1074)

/* whether x is at least 0 and, as a REAL, neither Inf nor a 0 that it was not */
LOCAL int at_least_zero(double x) { return x == 0 || (x >= REAL_SMALLEST && x <= REAL_LARGEST); }
LOCAL int below_one(double x) { return x >= 0 && x < 1; }

LOCAL bptt_status check_step(int64_t n, const void *params, const void *grads, double lr, double weight_decay) {
    if (!params || !grads) return BPTT_ERROR_NULL;
    if (n < 1) return BPTT_ERROR_SIZE;
    return at_least_zero(lr) && at_least_zero(weight_decay) ? BPTT_OK : BPTT_ERROR_HYPERPARAMETER;
}

/* bptt_sgd_f32(), bptt_sgd_f64() */
bptt_status TYPED(bptt_sgd)(int64_t n, REAL *params, const REAL *grads, REAL *velocity, double lr, double momentum,
                            int nesterov, double weight_decay) {
    bptt_status status = check_step(n, params, grads, lr, weight_decay);
    if (status) return status;
    if (!at_least_zero(momentum)) return BPTT_ERROR_HYPERPARAMETER;
    if (momentum > 0 && !velocity) return BPTT_ERROR_NULL;
    const kernels *kernels = kernel_table();
    if (!kernels) return BPTT_ERROR_ISA;
    kernels->sgd(&(update){.n = n,
                           .params = params,
                           .grads = grads,
                           .mean = velocity,
                           .rate = (REAL)lr,
                           .decay = (REAL)weight_decay,
                           .keep1 = (REAL)momentum,
                           .nesterov = nesterov});
    return BPTT_OK;
}

/* params -= lr * g / (sqrt(square) + eps), square = keep * square + take * g^2 */
LOCAL bptt_status step_by_square(int64_t n, REAL *params, const REAL *grads, REAL *square, double lr, double keep,
                                 double take, double eps, double weight_decay) {
    bptt_status status = check_step(n, params, grads, lr, weight_decay);
    if (status) return status;
    if (!square) return BPTT_ERROR_NULL;
    if (!(keep >= 0 && keep <= 1) || !at_least_zero(eps)) return BPTT_ERROR_HYPERPARAMETER;
    const kernels *kernels = kernel_table();
    if (!kernels) return BPTT_ERROR_ISA;
    kernels->rmsprop(&(update){.n = n,
                               .params = params,
                               .grads = grads,
                               .square = square,
                               .rate = (REAL)lr,
                               .decay = (REAL)weight_decay,
                               .keep2 = (REAL)keep,
                               .take2 = (REAL)take,
                               .eps = (REAL)eps});
    return BPTT_OK;
}

/* bptt_rmsprop_f32(), bptt_rmsprop_f64() */
bptt_status TYPED(bptt_rmsprop)(int64_t n, REAL *params, const REAL *grads, REAL *square, double lr, double alpha,
                                double eps, double weight_decay) {
    return step_by_square(n, params, grads, square, lr, alpha, 1 - alpha, eps, weight_decay);
}

/* bptt_adagrad_f32(), bptt_adagrad_f64() */
bptt_status TYPED(bptt_adagrad)(int64_t n, REAL *params, const REAL *grads, REAL *square, double lr, double eps,
                                double weight_decay) {
    return step_by_square(n, params, grads, square, lr, 1, 1, eps, weight_decay);
}

/* bptt_adam_f32(), bptt_adam_f64() */
bptt_status TYPED(bptt_adam)(int64_t n, REAL *params, const REAL *grads, REAL *mean, REAL *square, int64_t step,
                             double lr, double beta1, double beta2, double eps, double weight_decay, int decoupled) {
    bptt_status status = check_step(n, params, grads, lr, weight_decay);
    if (status) return status;
    if (!mean || !square) return BPTT_ERROR_NULL;
    if (step < 1 || !below_one(beta1) || !below_one(beta2) || !at_least_zero(eps)) return BPTT_ERROR_HYPERPARAMETER;
    const double correction1 = 1 - pow(beta1, (double)step), correction2 = 1 - pow(beta2, (double)step);
    if (lr / correction1 > REAL_LARGEST) return BPTT_ERROR_HYPERPARAMETER;
    if (decoupled && lr * weight_decay > REAL_LARGEST) return BPTT_ERROR_HYPERPARAMETER;
    const kernels *kernels = kernel_table();
    if (!kernels) return BPTT_ERROR_ISA;
    kernels->adam(&(update){.n = n,
                            .params = params,
                            .grads = grads,
                            .mean = mean,
                            .square = square,
                            .rate = (REAL)(lr / correction1),
                            .decay = decoupled ? 0 : (REAL)weight_decay,
                            .shrink = decoupled ? (REAL)(1 - lr * weight_decay) : 1,
                            .keep1 = (REAL)beta1,
                            .take1 = (REAL)(1 - beta1),
                            .keep2 = (REAL)beta2,
                            .take2 = (REAL)(1 - beta2),
                            .root = (REAL)(1 / sqrt(correction2)),
                            .eps = (REAL)eps});
    return BPTT_OK;
}
#endif
