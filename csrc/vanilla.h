/* A step of a cell, and the vanilla cell (Elman 1990): h_t = f(z_t), z_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh, f
 * tanh, relu, the logistic function or the identity. Forward and backward of one step, for some rows of the batch.
 *
 * What all steps share, the products of the inputs before and the weight gradients after, is done by forward.h and
 * backward.h for many steps at once. Shapes: h, c, dh, flow (rows, H); z, dz (rows, H), for gated cells (rows, 4*H). */

typedef struct {
    const call *call;
    int64_t t, rows;
    const weights *w;
    state_view before; /* h_{t-1}, c_{t-1} */
    const REAL *used;  /* h_{t-1} as the recurrent product takes it: thinned by recurrent dropout */
    int64_t ld_used;
    REAL *h, *c;           /* h_t, c_t; a vanilla cell's h holds z before */
    int64_t ld;            /* of h, c, dh, and of a vanilla cell's dz */
    REAL *gates;           /* gated cells: z (in GRU what x gives) before, the gates after */
    REAL *products;        /* forward, GRU: W_hh h + b_hh (rows,3*H) */
    REAL *dh;              /* backward: dL/dh_t; a vanilla cell's dz_t after */
    REAL *dz;              /* backward, gated cells */
    REAL *flow_h, *flow_c; /* what flows on into the step before in processing order, ld H */
    REAL *d_reset;         /* scratch (rows,H) */
    const REAL *kept;      /* recurrent dropout: what h_{t-1} was multiplied by (rows,H); NULL: none */
} step;

/* out = init + a W, W in panels of k rows and n columns, taken the other way at every step: what was used last is used
 * first */
static product recurrent(const step *s, int64_t k, int64_t n, const REAL *a, int64_t lda, const REAL *panels,
                         REAL *init, REAL *out, int64_t ld) {
    return (product){.m = s->rows,
                     .n = n,
                     .k = k,
                     .a = a,
                     .lda = lda,
                     .panels = panels,
                     .init = init,
                     .ldinit = ld,
                     .c = out,
                     .ldc = ld,
                     .lone = s->call->B == 1,
                     .backwards = s->t & 1};
}

/* during the product what the cell uses next of the tape comes nearer: gates, in backward the state that entered too */
static void fetch_tape(const step *s, product *p) {
    const int64_t size = s->rows * s->call->H;
    if (!s->gates) return;
    p->next[0] = (stretch){s->gates, 4 * size};
    if (s->dz && s->before.ld == s->call->H) p->next[1] = (stretch){s->before.c ? s->before.c : s->before.h, size};
}

static void vanilla_forward(const step *s) {
    const call *c = s->call;
    product p = recurrent(s, c->H, c->H, s->used, s->ld_used, s->w->hh, s->h, s->h, s->ld);
    p.finish = FINISH_ACTIVATE;
    p.cell = c->spec.cell;
    c->kernels->multiply(&p);
}

/* dh_t += W_hhT dz_after, dz_after of the step after in processing order: one product for all blocks of W_hh */
static void plain_flow(const step *s, const REAL *dz_after, int64_t ld_after) {
    const call *c = s->call;
    product p = recurrent(s, hh_rows(c), c->H, dz_after, ld_after, s->w->hh, s->dh, s->dh, s->ld);
    fetch_tape(s, &p);
    c->kernels->multiply(&p);
}

/* dz_t = f'(z_t) * (dh_t + W_hhT dz_after) */
static void vanilla_backward_through(const step *s, const REAL *dz_after, int64_t ld_after) {
    const call *c = s->call;
    product p = recurrent(s, c->H, c->H, dz_after, ld_after, s->w->hh, s->dh, s->dh, s->ld);
    p.finish = FINISH_SLOPE;
    p.cell = c->spec.cell;
    p.h = s->h;
    p.ldh = s->ld;
    c->kernels->multiply(&p);
}

/* dz_t = f'(z_t) * dh_t */
static void vanilla_backward(const step *s) {
    const call *c = s->call;
    const int flat = s->ld == c->H;
    const int64_t rows = flat ? 1 : s->rows, n = flat ? s->rows * c->H : c->H;
    for (int64_t i = 0; i < rows; i++)
        c->kernels->slope(c->spec.cell, n, s->h + i * s->ld, s->dh + i * s->ld, s->dh + i * s->ld);
}
