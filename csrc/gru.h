/* The GRU (Cho et al. 2014): r, z = s(.);  h_t = (1-z)*n + z*h_{t-1}, where the reset gate acts
 *   after the product,   n = tanh(W_in x + b_in + r*(W_hn h + b_hn))    (one recurrent product for r, z and q = W_hn
 * h), or before the product,  n = tanh(W_in x + b_in + W_hn (r*h) + b_hn)    (two: r and z, then n from q = r*h). Gates
 * lie as r, z, n, q, their gradients as dn, dr, dz, dq = dn*r: so dr, dz, dq side by side, and dn apart. */

static void gru_forward(const step *s) {
    const call *c = s->call;
    const int64_t H = c->H;
    gated_step g = gated(s);
    if (!c->shape.hh_apart) {
        product all = recurrent(s, H, 3 * H, s->used, s->ld_used, s->w->hh, s->w->bias_hh, s->products, 3 * H);
        all.ldinit = 0;
        fetch_tape(s, &all);
        c->kernels->multiply(&all);
        c->kernels->gru_forward(&g);
        return;
    }
    REAL *new = s->gates + 2 * H;
    const product gates = recurrent(s, H, 2 * H, s->used, s->ld_used, s->w->hh, s->gates, s->gates, 4 * H);
    const product n = recurrent(s, H, H, s->gates + 3 * H, 4 * H, s->w->hh_apart, new, new, 4 * H);
    gated_step first = g;
    first.h_before = s->used;
    first.ld_before = s->ld_used;
    c->kernels->multiply(&gates);
    c->kernels->gru_before_gates(&first);
    c->kernels->multiply(&n);
    c->kernels->gru_before_forward(&g);
}

/* dz_t from dh_t; flow_h receives what flows into h_{t-1} past the products of W_hh */
static void gru_backward(const step *s) {
    const call *c = s->call;
    const int64_t H = c->H;
    const gated_step g = gated(s);
    if (!c->shape.hh_apart) {
        c->kernels->gru_backward(&g);
        return;
    }
    const product p = recurrent(s, H, H, s->dz, 4 * H, s->w->hh_apart, NULL, s->d_reset, H);
    c->kernels->gru_before_backward(&g);
    c->kernels->multiply(&p);
    for (int64_t i = 0; s->kept && i < s->rows * H; i++)
        s->d_reset[i] = s->kept[i] == 0 ? 0 : s->d_reset[i] * s->kept[i];
    c->kernels->gru_before_reset(&g);
}
