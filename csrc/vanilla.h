/* The vanilla cell (Elman 1990): h_t = f(z_t), z_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh, f tanh, relu, the
 * logistic function or the identity. Forward and backward of one step, for some rows of the batch.
 *
 * Shapes: z, h, dz, dh (rows, H). What all steps share, W_ih x_t + biases before and the weight gradients after,
 * is done by network.h for many steps at once. */

/* out = init + a W, W the recurrent matrix as the call packed it; panels are taken the other way at every step */
static product recurrent(const call *c, int64_t t, int64_t rows, const REAL *a, const REAL *init, REAL *out) {
    const int64_t H = c->H;
    return (product){.m = rows,
                     .n = H,
                     .k = H,
                     .a = a,
                     .lda = H,
                     .panels = c->weights.hh,
                     .init = init,
                     .ldinit = H,
                     .c = out,
                     .ldc = H,
                     .lone = c->B == 1,
                     .backwards = t & 1};
}

/* h holds W_ih x_t + b_ih + b_hh and receives h_t */
static void vanilla_forward(const call *c, int64_t t, int64_t rows, const REAL *h_before, REAL *h) {
    product p = recurrent(c, t, rows, h_before, h, h);
    p.finish = FINISH_ACTIVATE;
    p.cell = c->spec->cell;
    c->kernels->multiply(&p);
}

/* dz holds the gradient by h_t from everything but step t+1 and receives dz_t = f'(z_t) * (dz + W_hhT dz_{t+1}) */
static void vanilla_backward(const call *c, int64_t t, int64_t rows, const REAL *dz_after, const REAL *h, REAL *dz) {
    product p = recurrent(c, t, rows, dz_after, dz, dz);
    p.finish = FINISH_SLOPE;
    p.cell = c->spec->cell;
    p.h = h;
    p.ldh = c->H;
    c->kernels->multiply(&p);
}

/* the two halves of vanilla_backward, for steps where something happens to dh_t in between */
static void vanilla_flow(const call *c, int64_t t, int64_t rows, const REAL *dz_after, REAL *flow) {
    const product p = recurrent(c, t, rows, dz_after, NULL, flow);
    c->kernels->multiply(&p);
}

static void vanilla_slope(const call *c, int64_t rows, const REAL *h, REAL *dz) {
    c->kernels->slope(c->spec->cell, rows * c->H, h, dz, dz);
}
