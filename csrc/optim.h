/* Optimiser steps over flat arrays, in place. g = grads + weight_decay * params throughout. */

static int at_least_zero(double x) { return x >= 0 && x <= DBL_MAX; }
static int below_one(double x) { return x >= 0 && x < 1; }

static bptt_status check_step(int64_t n, const void *params, const void *grads, double lr, double weight_decay) {
    if (!params || !grads) return BPTT_ERROR_NULL;
    if (n < 1) return BPTT_ERROR_SIZE;
    return at_least_zero(lr) && at_least_zero(weight_decay) ? BPTT_OK : BPTT_ERROR_HYPERPARAMETER;
}

bptt_status TYPED(bptt_sgd)(int64_t n, REAL *params, const REAL *grads, REAL *velocity, double lr, double momentum,
                            int nesterov, double weight_decay) {
    bptt_status status = check_step(n, params, grads, lr, weight_decay);
    if (status) return status;
    if (!at_least_zero(momentum)) return BPTT_ERROR_HYPERPARAMETER;
    if (momentum > 0 && !velocity) return BPTT_ERROR_NULL;
    const REAL rate = (REAL)lr, decay = (REAL)weight_decay, mu = (REAL)momentum;
    for (int64_t i = 0; i < n; i++) {
        const REAL g = grads[i] + decay * params[i];
        REAL step = g;
        if (velocity) {
            velocity[i] = mu * velocity[i] + g;
            step = nesterov ? g + mu * velocity[i] : velocity[i];
        }
        params[i] -= rate * step;
    }
    return BPTT_OK;
}

bptt_status TYPED(bptt_rmsprop)(int64_t n, REAL *params, const REAL *grads, REAL *square, double lr, double alpha,
                                double eps, double weight_decay) {
    bptt_status status = check_step(n, params, grads, lr, weight_decay);
    if (status) return status;
    if (!square) return BPTT_ERROR_NULL;
    if (!(alpha >= 0 && alpha <= 1) || !at_least_zero(eps)) return BPTT_ERROR_HYPERPARAMETER;
    const REAL rate = (REAL)lr, decay = (REAL)weight_decay, keep = (REAL)alpha, take = (REAL)(1 - alpha);
    const REAL small = (REAL)eps;
    for (int64_t i = 0; i < n; i++) {
        const REAL g = grads[i] + decay * params[i];
        square[i] = keep * square[i] + take * g * g;
        params[i] -= rate * g / (SQRT(square[i]) + small);
    }
    return BPTT_OK;
}

bptt_status TYPED(bptt_adagrad)(int64_t n, REAL *params, const REAL *grads, REAL *square, double lr, double eps,
                                double weight_decay) {
    bptt_status status = check_step(n, params, grads, lr, weight_decay);
    if (status) return status;
    if (!square) return BPTT_ERROR_NULL;
    if (!at_least_zero(eps)) return BPTT_ERROR_HYPERPARAMETER;
    const REAL rate = (REAL)lr, decay = (REAL)weight_decay, small = (REAL)eps;
    for (int64_t i = 0; i < n; i++) {
        const REAL g = grads[i] + decay * params[i];
        square[i] += g * g;
        params[i] -= rate * g / (SQRT(square[i]) + small);
    }
    return BPTT_OK;
}

bptt_status TYPED(bptt_adam)(int64_t n, REAL *params, const REAL *grads, REAL *mean, REAL *square, int64_t step,
                             double lr, double beta1, double beta2, double eps, double weight_decay, int decoupled) {
    bptt_status status = check_step(n, params, grads, lr, weight_decay);
    if (status) return status;
    if (!mean || !square) return BPTT_ERROR_NULL;
    if (step < 1 || !below_one(beta1) || !below_one(beta2) || !at_least_zero(eps)) return BPTT_ERROR_HYPERPARAMETER;
    const double correction1 = 1 - pow(beta1, (double)step), correction2 = 1 - pow(beta2, (double)step);
    const REAL rate = (REAL)(lr / correction1), root = (REAL)(1 / sqrt(correction2)), small = (REAL)eps;
    const REAL keep1 = (REAL)beta1, keep2 = (REAL)beta2, take1 = (REAL)(1 - beta1), take2 = (REAL)(1 - beta2);
    const REAL decay = decoupled ? 0 : (REAL)weight_decay;
    const REAL shrink = decoupled ? (REAL)(1 - lr * weight_decay) : 1;
    for (int64_t i = 0; i < n; i++) {
        const REAL g = grads[i] + decay * params[i];
        mean[i] = keep1 * mean[i] + take1 * g;
        square[i] = keep2 * square[i] + take2 * g * g;
        params[i] = shrink * params[i] - rate * mean[i] / (SQRT(square[i]) * root + small);
    }
    return BPTT_OK;
}
