/* The gradients of the parameters from a chunk's dz: tall products over steps and rows, split over threads by rows of
 * the weight, and summed in an order that does not depend on threads. */

/* bias (and a second one that gets the same, or NULL) += the column sums of rows of a, this member's columns */
static void add_bias(const pass *p, int64_t rows, int64_t cols, const REAL *a, int64_t lda, REAL *bias, REAL *second) {
    REAL sums[64];
    int64_t first, last;
    bptt_internal_share(p->me, cols, 64, &first, &last);
    for (int64_t j = first; j < last; j += 64) {
        const int64_t n = min_of(64, last - j);
        copy_or_clear(sums, NULL, n);
        p->call->kernels->add_column_sums(rows, n, a + j, lda, sums);
        for (int64_t i = 0; i < n; i++) bias[j + i] += sums[i];
        for (int64_t i = 0; second && i < n; i++) second[j + i] += sums[i];
    }
}

/* weight (m,n) += aT b over rows, this member's rows of the weight */
static void add_outer(const pass *p, int64_t rows, const REAL *a, int64_t lda, int64_t m, const REAL *b, int64_t ldb,
                      int64_t n, const uint8_t *skip, REAL *weight) {
    int64_t first, last;
    bptt_internal_share(p->me, m, 8, &first, &last);
    p->call->kernels->outer(&(outer_product){.m = last - first,
                                             .n = n,
                                             .k = rows,
                                             .a = a + first,
                                             .lda = lda,
                                             .b = b,
                                             .ldb = ldb,
                                             .skip = skip,
                                             .c = weight + first * n,
                                             .ldc = n});
}

/* rows of a block whose entering state is zero; NULL: none */
static const uint8_t *skipped(const pass *p, const block *b) {
    const call *c = p->call;
    if (!c->options.reset) return NULL;
    if (!p->direction) return c->options.reset + b->t * c->B;
    return c->skip + (b->t - p->t0) * c->B;
}

static REAL *unit_gradient(const pass *p, int which) {
    return gradient(p->call, bptt_internal_unit_offset(&p->call->spec, p->unit, which));
}

/* what a block of dz gives to W_ih and W_hh; x and h_before as the products took them */
static void add_weights(const pass *p, const block *b, const REAL *x, const REAL *h_before, int64_t ld_before) {
    const call *c = p->call;
    const int64_t H = c->H, in = inputs_of(c, p->layer), ih = ih_rows(c), hh = hh_rows(c), ld = ld_dz(c);
    const REAL *dz = dz_at(p, b->t), *main = dz + c->shape.first * H;
    REAL *w_ih = unit_gradient(p, WEIGHT_IH), *w_hh = unit_gradient(p, WEIGHT_HH);
    add_outer(p, b->rows, main, ld, ih, x, in, in, NULL, w_ih);
    if (c->shape.ih_apart) add_outer(p, b->rows, dz, ld, H, x, in, in, NULL, w_ih + ih * in);
    add_outer(p, b->rows, main, ld, hh, h_before, ld_before, H, skipped(p, b), w_hh);
    if (c->shape.hh_apart) add_outer(p, b->rows, dz, ld, H, gates_at(p, b->t) + 3 * H, 4 * H, H, NULL, w_hh + hh * H);
}

/* b_ih and b_hh get the same but for what is apart: blocks of a vanilla cell and of an LSTM, r and z of a GRU */
static void add_biases(const pass *p, const block *b) {
    const call *c = p->call;
    const int64_t H = c->H, ih = ih_rows(c), ld = ld_dz(c);
    const REAL *dz = dz_at(p, b->t), *main = dz + c->shape.first * H;
    REAL *b_ih = unit_gradient(p, BIAS_IH), *b_hh = unit_gradient(p, BIAS_HH);
    if (!b_ih) return;
    add_bias(p, b->rows, ih, main, ld, b_ih, b_hh);
    if (!c->shape.ih_apart) return;
    add_bias(p, b->rows, H, dz, ld, b_ih + ih, c->shape.hh_apart ? b_hh + ih : NULL);
    if (!c->shape.hh_apart) add_bias(p, b->rows, H, main + ih, ld, b_hh + ih, NULL);
}

static void add_peepholes(const pass *p, const block *b) {
    const call *c = p->call;
    int64_t first, last;
    if (!c->spec.peepholes) return;
    bptt_internal_share(p->me, c->H, 64, &first, &last);
    lstm_peephole_gradient(c, b->rows, dz_at(p, b->t), in_slot(p, p->c, slot_before(p, b->t)),
                           in_slot(p, p->c, slot_of(p, b->t)), ld_state(c), skipped(p, b), first, last,
                           unit_gradient(p, PEEPHOLES));
}

/* the chunk's part of the gradients of the layer's parameters, in an order that does not depend on threads */
static void add_unit_gradients(const pass *p) {
    const call *c = p->call;
    EACH_BLOCK(p, b, 0, c->B) {
        const int64_t at = (b.t - p->t0) * c->B, in = inputs_of(c, p->layer);
        const REAL *x = drops_inputs(p) ? c->dropped + at * in : layer_input(p, b.t);
        if (drops_recurrent(c)) add_weights(p, &b, x, c->thinned + at * c->H, c->H);
        else add_weights(p, &b, x, in_slot(p, p->h, slot_before(p, b.t)), ld_state(c));
        add_biases(p, &b);
        add_peepholes(p, &b);
    }
}

/* the chunk's part of the readout's gradients */
static void add_readout_gradients(const pass *p) {
    const call *c = p->call;
    const int64_t DH = ld_state(c), given = c->options.dy_start;
    if (!c->O || !c->dy) return;
    REAL *w = gradient(c, bptt_internal_network_offset(&c->spec, WEIGHT_HO));
    REAL *bias = gradient(c, bptt_internal_network_offset(&c->spec, BIAS_O));
    EACH_BLOCK(p, b, 0, c->B) {
        const int64_t without = min_of(b.rows, max_of(0, given - b.t) * c->B), rows = b.rows - without;
        if (!rows) continue;
        const REAL *dy = c->dy + ((b.t - given) * c->B + without) * c->O;
        const REAL *h = state_at(c, c->L - 1, 0, 0, slot_of(p, b.t)) + without * DH;
        add_outer(p, rows, dy, c->O, c->O, h, DH, DH, NULL, w);
        if (bias) add_bias(p, rows, c->O, dy, c->O, bias, NULL);
    }
}
