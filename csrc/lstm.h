/* The LSTM (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000; peepholes: Gers et al. 2002), gates i,f,g,o:
 * i, f, o = s(.), g = tanh(.);  c_t = f*c_{t-1} + i*g;  h_t = o*tanh(c_t). One product for all gates. */

static gated_step gated(const step *s) {
    return (gated_step){.rows = s->rows,
                        .H = s->call->H,
                        .gates = s->gates,
                        .products = s->products,
                        .h_before = s->before.h,
                        .c_before = s->before.c,
                        .ld_before = s->before.ld,
                        .h = s->h,
                        .c = s->c,
                        .ld = s->ld,
                        .peepholes = s->w->peepholes,
                        .dh = s->dh,
                        .ld_dh = s->ld,
                        .dz = s->dz,
                        .flow_h = s->flow_h,
                        .flow_c = s->flow_c,
                        .d_reset = s->d_reset};
}

/* gates holds W_ih x_t + biases */
static void lstm_forward(const step *s) {
    const call *c = s->call;
    const product p = recurrent(s, c->H, 4 * c->H, s->used, s->ld_used, s->w->hh, s->gates, s->gates, 4 * c->H);
    const gated_step g = gated(s);
    c->kernels->multiply(&p);
    c->kernels->lstm_forward(&g);
}

/* dz_t from dh_t and the gradient by c_t in flow_c, which becomes that by c_{t-1} */
static void lstm_backward(const step *s) {
    const gated_step g = gated(s);
    s->call->kernels->lstm_backward(&g);
}

/* peephole gradients of some rows, units [first,last): i and f saw c_{t-1}, o saw c_t */
static void lstm_peephole_gradient(const call *c, int64_t rows, const REAL *dz, const REAL *c_before, const REAL *c_now,
                                   int64_t ld, const uint8_t *skip, int64_t first, int64_t last, REAL *grads) {
    const int64_t H = c->H;
    for (int64_t row = 0; row < rows; row++)
        for (int64_t j = first; j < last; j++) {
            const REAL *d = dz + row * 4 * H + j, before = skip && skip[row] ? 0 : c_before[row * ld + j];
            grads[j] += d[0] * before;
            grads[H + j] += d[H] * before;
            grads[2 * H + j] += d[3 * H] * c_now[row * ld + j];
        }
}
