/* Backward over time, chunk by chunk from the end (Rumelhart, Hinton, Williams 1986; Werbos 1990). Each thread keeps to
 * its rows of the batch but for the weight gradients, tall products over steps and rows that are split by rows of the
 * weight: two barriers for each layer and chunk. "After" a step is what came after it in processing order. */

/* ---- what comes from above ----------------------------------------------------------------------------- */

/* dL/dh_t of the pass's layer, row 0 of its direction; dz of a vanilla cell takes its place */
static REAL *dh_at(const pass *p, int64_t t) {
    const call *c = p->call;
    const int64_t base = c->D == 2 ? 0 : p->t0;
    return p->dh + (t - base) * c->B * ld_state(c) + p->direction * c->H;
}

/* dz_t, row 0, `ld_dz` apart */
static REAL *dz_at(const pass *p, int64_t t) {
    const call *c = p->call;
    return c->shape.gates ? c->dz + (t - p->t0) * c->B * 4 * c->H : dh_at(p, t);
}

static int64_t ld_dz(const call *c) { return c->shape.gates ? 4 * c->H : ld_state(c); }

/* dz of the step after the chunk, kept from the chunk before */
static REAL *dz_kept(const pass *p) {
    return p->call->dz_after + p->unit * p->call->B * p->call->shape.width * p->call->H;
}

/* the gradient by the outputs of the last layer from dy alone; steps before dy_start have none */
static void output_gradient(const pass *p) {
    const call *c = p->call;
    const int64_t DH = ld_state(c), given = c->dy ? c->options.dy_start : c->T;
    pass part = *p;
    choose_unit(&part, c->L - 1, 0);
    EACH_BLOCK(p, b, p->first, p->last) {
        REAL *dh = dh_at(&part, b.t) + b.row * DH;
        const int64_t without = min_of(b.rows, max_of(0, given - b.t) * c->B), rows = b.rows - without;
        copy_or_clear(dh, NULL, without * DH);
        if (!rows) continue;
        const REAL *dy = c->dy + ((b.t - given) * c->B + b.row + without) * c->Y;
        if (c->O) multiply(c, rows, DH, c->O, dy, c->O, readout_of(c, 0).ho, NULL, dh + without * DH, DH);
        else memcpy(dh + without * DH, dy, (size_t)(rows * DH) * sizeof(REAL));
    }
}

/* ---- what flows between steps ---------------------------------------------------------------------------- */

/* flow_h = what the step whose dz this is sends back: the products of W_hh, and in GRU what passed them by */
static void cell_flow(const pass *p, int64_t t, int64_t row, int64_t rows, const REAL *dz, int64_t ld, REAL *flow) {
    const call *c = p->call;
    const int64_t H = c->H, first = c->shape.first * H, k = hh_rows(c);
    const int direct = c->shape.ih_apart;
    step s = {.call = c, .t = t, .rows = rows};
    REAL *out = drops_recurrent(c) ? c->d_reset + row * H : flow;
    const product product_of_dz =
        recurrent(&s, k, H, dz + first, ld, p->w.hh, direct && out == flow ? flow : NULL, out, H);
    c->kernels->multiply(&product_of_dz);
    if (out == flow) return;
    thin(c, row, rows, out, H, out);
    if (direct) c->kernels->add_scaled(rows * H, 1, out, flow);
    else memcpy(flow, out, (size_t)(rows * H) * sizeof(REAL));
}

static REAL *flow_h_of(const pass *p) { return p->call->flow_h + p->unit * p->call->B * p->call->H; }

static REAL *flow_c_of(const pass *p) {
    return p->call->shape.states == 2 ? p->call->flow_c + p->unit * p->call->B * p->call->H : NULL;
}

static void scale_row(int64_t H, REAL scale, REAL *x) {
    if (scale == 1) return;
    for (int64_t j = 0; j < H; j++) x[j] = scale == 0 ? 0 : scale * x[j];
}

/* the gradient by the final state begins the flow of rows [row,end) */
static void begin_flow(const pass *p, int64_t row, int64_t end) {
    const call *c = p->call;
    for (int part = 0; part < c->shape.states; part++)
        copy_or_clear((part ? flow_c_of(p) : flow_h_of(p)) + row * c->H,
                      c->dstate1 ? c->dstate1 + state_offset(c, p->unit, part, row) : NULL, (end - row) * c->H);
}

/* dh_t += m_t * (what flows back from the step after), row by row: a reset or m_t = 0 lets nothing through. Rows from
 * `going` on end here. flow_c is scaled in place. */
static void add_flow(const pass *p, int64_t t, int64_t going, int64_t end, REAL *dh) {
    const call *c = p->call;
    const int64_t H = c->H;
    for (int64_t row = p->first; row < end; row++) {
        const REAL scale = row < going ? carried(c, p->direction, t, row) : 1;
        if (c->shape.states == 2) scale_row(H, scale, flow_c_of(p) + row * H);
        if (scale != 0) c->kernels->add_scaled(H, scale, flow_h_of(p) + row * H, dh + (row - p->first) * ld_state(c));
    }
}

/* Notes the square of the norm of each row of dh_t, then clips it. A norm whose square is beyond the range is noted as
 * it is, with a minus sign. */
static void watch_rows(const pass *p, int64_t t, int64_t end, REAL *dh) {
    const call *c = p->call;
    const int64_t H = c->H;
    const double most = c->options.step_clip_norm;
    double *squares = c->row_squares + (t - p->t0) * c->B;
    for (int64_t row = p->first; row < p->last; row++) {
        REAL *g = dh + (row - p->first) * ld_state(c);
        squares[row] = 0;
        if (row >= end) continue;
        if (most > 0 || c->options.step_norms) {
            const double sum = c->kernels->sum_squares(H, g);
            squares[row] = is_square(sum) ? sum : -scaled_norm(H, g);
            if (most > 0) scale_to(H, g, norm_from(squares[row]), most);
        }
        if (c->options.step_clip_value > 0) c->kernels->clamp(H, (REAL)c->options.step_clip_value, g);
    }
}

/* ---- one step --------------------------------------------------------------------------------------------- */

/* a step's neighbour in processing order whose flow comes back to it; T or -1 at the end */
static int64_t after(const pass *p, int64_t t) { return p->direction ? t - 1 : t + 1; }

/* the end of the rows of [first,last) that go on after step t */
static int64_t going_on(const pass *p, int64_t t, int64_t first, int64_t last) {
    const call *c = p->call;
    if (p->direction) return t > 0 ? active(c, t, first, last) : first;
    return t < c->T - 1 ? active(c, t + 1, first, last) : first;
}

/* whether all that flows into dh_t from the step after is W_hhT dz as it is: the same choice in every thread */
static int flows_plainly(const pass *p, int64_t t) {
    const call *c = p->call;
    if (c->options.carry || drops_recurrent(c) || c->shape.ih_apart) return 0;
    if (after(p, t) < 0 || after(p, t) == c->T) return 0;
    return going_on(p, t, 0, c->B) == active(c, t, 0, c->B) && !any_enters_zero(c, p->direction, after(p, t), 0, c->B);
}

static void cell_backward(const step *s) {
    switch (s->call->spec.cell) {
    case BPTT_CELL_LSTM: lstm_backward(s); break;
    case BPTT_CELL_GRU: gru_backward(s); break;
    default: vanilla_backward(s);
    }
}

/* hands out the gradient by the entering state of the rows that begin at step t */
static void state_gradient(const pass *p, int64_t t, int64_t end) {
    const call *c = p->call;
    const int64_t H = c->H;
    const int64_t row = !p->direction  ? (t ? end : p->first)
                        : t + 1 < c->T ? active(c, t + 1, p->first, end)
                                       : p->first;
    REAL *flow = flow_h_of(p) + row * H;
    if (!c->dstate0 || row == end) return;
    cell_flow(p, t, row, end - row, dz_at(p, t) + row * ld_dz(c), ld_dz(c), flow);
    for (int part = 0; part < c->shape.states; part++)
        for (int64_t i = row; i < end; i++)
            copy_or_clear(c->dstate0 + state_offset(c, p->unit, part, i),
                          enters_zero(c, p->direction, t, i) ? NULL : (part ? flow_c_of(p) : flow_h_of(p)) + i * H, H);
}

/* dh_t += what flows back from the step after */
static void complete_dh(const pass *p, int64_t t, int64_t end, const REAL *dz_after, int64_t ld_after, step *s) {
    const int64_t going = going_on(p, t, p->first, end);
    if (going > p->first) cell_flow(p, t, p->first, going - p->first, dz_after, ld_after, s->flow_h);
    if (end > going) begin_flow(p, going, end);
    add_flow(p, t, going, end, s->dh);
}

static void backward_step(const pass *p, int64_t t, step *s) {
    const call *c = p->call;
    const int64_t end = active(c, t, p->first, p->last), next = after(p, t);
    const int inside = next >= p->t0 && next < p->t0 + p->steps, plain = flows_plainly(p, t);
    const int64_t ld_after = inside ? ld_dz(c) : c->shape.width * c->H;
    const REAL *dz_after = (inside ? dz_at(p, next) : dz_kept(p)) + p->first * ld_after;
    take_step(p, t, end, s);
    s->dh = dh_at(p, t) + p->first * s->ld;
    s->dz = dz_at(p, t) + p->first * ld_dz(c);
    if (plain && !c->watches && !c->shape.gates) {
        vanilla_backward_through(s, dz_after, ld_after);
    } else {
        if (plain) plain_flow(s, dz_after, ld_after);
        else complete_dh(p, t, end, dz_after, ld_after, s);
        if (c->watches) watch_rows(p, t, end, s->dh);
        if (s->rows) cell_backward(s);
    }
    state_gradient(p, t, end);
}

/* what backward knows of all steps of a pass beside what forward does */
static step begin_steps_back(const pass *p) {
    const call *c = p->call;
    const int64_t first = p->first * c->H;
    step s = begin_steps(p);
    s.flow_h = flow_h_of(p) + first;
    s.flow_c = p->c ? flow_c_of(p) + first : NULL;
    s.d_reset = c->d_reset + first;
    s.kept = drops_recurrent(c) ? c->kept + first : NULL;
    return s;
}

/* ---- the gradients of the parameters ----------------------------------------------------------------------- */

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

/* ---- what goes down ------------------------------------------------------------------------------------------ */

/* the gradient by the layer's inputs: dx, or dh of the layer below after its dropout; directions add up */
static void input_gradient(const pass *p) {
    const call *c = p->call;
    const weights *w = &p->w;
    const int64_t H = c->H, in = inputs_of(c, p->layer), ld = ld_dz(c);
    pass below = *p;
    if (p->layer) choose_unit(&below, p->layer - 1, 0);
    else if (!c->dx) return;
    EACH_BLOCK(p, b, p->first, p->last) {
        const REAL *dz = dz_at(p, b.t) + b.row * ld;
        REAL *to = (p->layer ? dh_at(&below, b.t) : c->dx + b.t * c->B * in) + b.row * in;
        const product together = {.m = b.rows,
                                  .n = in,
                                  .k = ih_rows(c),
                                  .a = dz + c->shape.first * H,
                                  .lda = ld,
                                  .panels = w->ih,
                                  .init = p->direction ? to : NULL,
                                  .ldinit = in,
                                  .c = to,
                                  .ldc = in};
        product apart = together;
        c->kernels->multiply(&together);
        apart.k = H;
        apart.a = dz;
        apart.panels = w->ih_apart;
        apart.init = to;
        if (c->shape.ih_apart) c->kernels->multiply(&apart);
        if (drops_inputs(p) && p->direction == c->D - 1) drop_inputs(p, b.t, b.row, b.rows, in, to, to);
    }
    for (int64_t t = p->t0; !p->layer && c->options.lengths && t < p->t0 + p->steps; t++) {
        const int64_t end = active(c, t, p->first, p->last);
        copy_or_clear(c->dx + (t * c->B + end) * in, NULL, (p->last - end) * in);
    }
}

/* ---- a chunk ------------------------------------------------------------------------------------------------- */

/* what the weight gradients need of this member's rows beside dz: inputs and states as dropout left them, and the rows
 * whose entering state was zero */
static void prepare_weight_gradients(const pass *p) {
    const call *c = p->call;
    for (int64_t t = p->t0; c->options.reset && p->direction && t < p->t0 + p->steps; t++)
        for (int64_t row = p->first; row < p->last; row++)
            c->skip[(t - p->t0) * c->B + row] = (uint8_t)enters_zero(c, 1, t, row);
    EACH_BLOCK(p, b, p->first, p->last) {
        if (drops_inputs(p)) block_input(p, &b);
        if (drops_recurrent(c))
            for (int64_t i = 0, t = b.t, row = b.row; i < b.rows; i += p->last - p->first, t++) {
                const int64_t rows = min_of(b.rows - i, p->last - p->first);
                thin(c, row, rows, in_slot(p, p->h, slot_before(p, t)) + row * ld_state(c), ld_state(c),
                     c->thinned + ((t - p->t0) * c->B + row) * c->H);
            }
    }
}

/* ||dh_t|| of the chunk's steps from the norms of their rows, always added in the order of the rows */
static void write_step_norms(const pass *p) {
    const call *c = p->call;
    REAL *norms = (REAL *)c->options.step_norms + p->unit * c->T;
    for (int64_t s = 0; s < p->steps; s++) norms[p->t0 + s] = (REAL)norm_of_rows(c->B, c->row_squares + s * c->B);
}

/* one layer in one direction over a chunk; returns whether to stop */
static int backward_pass(pass *p) {
    const call *c = p->call;
    p->w = weights_of(c, p->unit, 0);
    const int64_t last = p->direction ? p->t0 + p->steps - 1 : p->t0, width = c->shape.width * c->H;
    if (drops_recurrent(c)) choose_kept(p);
    step s = begin_steps_back(p);
    for (int64_t i = 0; i < p->steps && !stopped_at_step(p, i); i++)
        backward_step(p, p->direction ? p->t0 + i : p->t0 + p->steps - 1 - i, &s);
    copy_rows(p->last - p->first, width, dz_at(p, last) + p->first * ld_dz(c), ld_dz(c), dz_kept(p) + p->first * width,
              width);
    input_gradient(p);
    prepare_weight_gradients(p);
    if (stopped_together(p)) return 1;
    if (c->grads) add_unit_gradients(p);
    if (c->grads && p->layer == c->L - 1 && p->direction == 0) add_readout_gradients(p);
    if (p->me->rank == 0 && c->options.step_norms) write_step_norms(p);
    bptt_internal_team_wait(p->me); /* what comes next overwrites dz */
    return 0;
}

/* one direction: all layers over the chunks of steps [from,to), from the end */
static int backward_chunks(pass *p, int64_t from, int64_t to) {
    const call *c = p->call;
    for (int64_t end = to; end > from; end = p->t0) {
        p->t0 = from + (end - 1 - from) / c->chunk * c->chunk;
        p->steps = end - p->t0;
        output_gradient(p);
        for (int64_t layer = c->L - 1; layer >= 0; layer--) {
            choose_unit(p, layer, 0);
            if (backward_pass(p)) return 1;
        }
    }
    return 0;
}

/* two directions: each over all steps before the layer below */
static int backward_both(pass *p) {
    const call *c = p->call;
    const int64_t chunks = (c->T - 1) / c->chunk + 1;
    p->steps = c->T;
    output_gradient(p);
    for (int64_t unit = c->L * c->D - 1; unit >= 0; unit--) {
        choose_unit(p, unit / c->D,
                    1 - unit % c->D); /* the first direction's inputs are overwritten, the second's add */
        for (int64_t i = 0; i < chunks; i++) {
            p->t0 = (p->direction ? i : chunks - 1 - i) * c->chunk;
            p->steps = min_of(c->chunk, c->T - p->t0);
            if (backward_pass(p)) return 1;
        }
    }
    return 0;
}

/* one direction, with checkpoints: computes a segment again, then goes back over it */
static int backward_segments(pass *p) {
    const call *c = p->call;
    const int64_t k = min_of(c->options.segment, c->T);
    for (int64_t segment = (c->T - 1) / k; segment >= 0; segment--) {
        const int64_t from = segment * k, to = min_of(from + k, c->T);
        p->origin = from;
        copy_checkpoint(p, segment, 1);
        forward_chunks(p, from, to);
        if (backward_chunks(p, from, to)) return 1;
    }
    return 0;
}

/* the learned state entered all rows: its gradient is the sum over them */
static void add_learned_gradient(const pass *p) {
    const call *c = p->call;
    for (int part = 0; part < c->shape.states; part++) {
        REAL *grads = gradient(c, bptt_internal_network_offset(&c->spec, part ? STATE_C0 : STATE_H0));
        for (int64_t unit = 0; unit < c->L * c->D; unit++)
            c->kernels->add_column_sums(c->B, c->H, c->dstate0 + state_offset(c, unit, part, 0), c->H,
                                        grads + unit * c->H);
    }
}

static void backward_body(void *context, const bptt_internal_member *me) {
    call *c = context;
    pass p = {.call = c, .me = me, .origin = -c->options.tape_first};
    share_rows(&p, ROWS_PER_THREAD);
    const int stop = c->D == 2        ? backward_both(&p)
                     : c->checkpoints ? backward_segments(&p)
                                      : backward_chunks(&p, 0, c->T);
    if (stop || !c->grads || !c->spec.learn_state || c->options.state_given) return;
    bptt_internal_team_wait(me);
    if (me->rank == 0) add_learned_gradient(&p);
}
