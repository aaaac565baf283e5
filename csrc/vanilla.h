/* The vanilla cell (Elman 1990): h_t = f(z_t), z_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh, f tanh, relu, the
 * logistic function or the identity. Forward and backward of one step, for some rows of the batch.
 *
 * Shapes: z, h, dz, dh (rows, H). What all steps share, W_ih x_t + biases before and the weight gradients after,
 * is done by network.h for many steps at once. */

/* h holds W_ih x_t + b_ih + b_hh and receives h_t */
static void vanilla_forward(const call *c, int64_t rows, const REAL *h_before, REAL *h) {
    const int64_t H = c->H;
    c->kernels->multiply(&(product){.m = rows,
                                    .n = H,
                                    .k = H,
                                    .a = h_before,
                                    .lda = H,
                                    .panels = c->weights.hh,
                                    .init = h,
                                    .ldinit = H,
                                    .c = h,
                                    .ldc = H,
                                    .finish = FINISH_ACTIVATE,
                                    .cell = c->spec->cell});
}

/* dz holds the gradient by h_t from everything but step t+1 and receives dz_t = f'(z_t) * (dz + W_hhT dz_{t+1}) */
static void vanilla_backward(const call *c, int64_t rows, const REAL *dz_after, const REAL *h, REAL *dz) {
    const int64_t H = c->H;
    c->kernels->multiply(&(product){.m = rows,
                                    .n = H,
                                    .k = H,
                                    .a = dz_after,
                                    .lda = H,
                                    .panels = c->weights.hh,
                                    .init = dz,
                                    .ldinit = H,
                                    .c = dz,
                                    .ldc = H,
                                    .finish = FINISH_SLOPE,
                                    .cell = c->spec->cell,
                                    .h = h,
                                    .ldh = H});
}

/* the two halves of vanilla_backward, for steps where something happens to dh_t in between */
static void vanilla_flow(const call *c, int64_t rows, const REAL *dz_after, REAL *flow) {
    const int64_t H = c->H;
    c->kernels->multiply(
        &(product){.m = rows, .n = H, .k = H, .a = dz_after, .lda = H, .panels = c->weights.hh, .c = flow, .ldc = H});
}

static void vanilla_slope(const call *c, int64_t rows, const REAL *h, REAL *dz) {
    c->kernels->slope(c->spec->cell, rows * c->H, h, dz, dz);
}
