/* What flows back through time in one layer and direction: dL/dh_t from above and from the step that came after it in
 * processing order ("after" a step, in either direction), what is done to it on the way, and a cell's step backward. */

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

/* whether no other layer uses dz between two chunks of a unit: then dz of the step after stays where it was */
static int dz_stays(const call *c) { return c->shape.gates && (c->L == 1 || c->D == 2); }

/* dz of the step after the chunk, out of the chunk before; it may lie where that of the chunk's own first goes */
static REAL *dz_kept(const pass *p) {
    const call *c = p->call;
    const int64_t size = c->B * c->shape.width * c->H;
    if (dz_stays(c)) return c->dz + (p->direction ? (c->chunk - 1) * size : 0);
    return c->dz_after + p->unit * size;
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

/* flow_h = what the step whose dz this is sends back: the products of W_hh, and in GRU what passed them by. `to` is the
 * step that it flows into, or NULL. */
static void cell_flow(const pass *p, int64_t t, int64_t row, int64_t rows, const REAL *dz, int64_t ld, REAL *flow,
                      const step *to) {
    const call *c = p->call;
    const int64_t H = c->H, first = c->shape.first * H, k = hh_rows(c);
    const int direct = c->shape.ih_apart;
    step s = {.call = c, .t = t, .rows = rows};
    REAL *out = drops_recurrent(c) ? c->d_reset + row * H : flow;
    product product_of_dz = recurrent(&s, k, H, dz + first, ld, p->w.hh, direct && out == flow ? flow : NULL, out, H);
    if (to) fetch_tape(to, &product_of_dz);
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

/* a step's neighbour in processing order whose flow comes back to it; T or -1 at the end */
static int64_t after(const pass *p, int64_t t) { return p->direction ? t - 1 : t + 1; }

/* whether what flows back into rows [first,going) of step t is neither cut nor scaled */
static int flows_uncut(const pass *p, int64_t t, int64_t first, int64_t going) {
    const call *c = p->call;
    return !c->options.carry && !(going > first && any_enters_zero(c, p->direction, after(p, t), first, going));
}

/* dh_t += m_t * (what flows back from the step after): a reset or m_t = 0 lets nothing through. Rows from `going` on
 * end here. flow_c is scaled in place. */
static void add_flow(const pass *p, int64_t t, int64_t going, int64_t end, REAL *dh) {
    const call *c = p->call;
    const int64_t H = c->H, ld = ld_state(c);
    if (ld == H && flows_uncut(p, t, p->first, going)) {
        c->kernels->add_scaled((end - p->first) * H, 1, flow_h_of(p) + p->first * H, dh);
        return;
    }
    for (int64_t row = p->first; row < end; row++) {
        const REAL scale = row < going ? carried(c, p->direction, t, row) : 1;
        if (c->shape.states == 2) scale_row(H, scale, flow_c_of(p) + row * H);
        if (scale != 0) c->kernels->add_scaled(H, scale, flow_h_of(p) + row * H, dh + (row - p->first) * ld);
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

/* the end of the rows of [first,last) that go on after step t */
static int64_t going_on(const pass *p, int64_t t, int64_t first, int64_t last) {
    const call *c = p->call;
    if (p->direction) return t > 0 ? active(c, t, first, last) : first;
    return t < c->T - 1 ? active(c, t + 1, first, last) : first;
}

/* whether all that flows into dh_t from the step after is W_hhT dz as it is: the same choice in every thread */
static int flows_plainly(const pass *p, int64_t t) {
    const call *c = p->call;
    if (drops_recurrent(c) || c->shape.ih_apart) return 0;
    if (after(p, t) < 0 || after(p, t) == c->T) return 0;
    const int64_t going = going_on(p, t, 0, c->B);
    return going == active(c, t, 0, c->B) && flows_uncut(p, t, 0, going);
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
    cell_flow(p, t, row, end - row, dz_at(p, t) + row * ld_dz(c), ld_dz(c), flow, NULL);
    for (int part = 0; part < c->shape.states; part++)
        for (int64_t i = row; i < end; i++)
            copy_or_clear(c->dstate0 + state_offset(c, p->unit, part, i),
                          enters_zero(c, p->direction, t, i) ? NULL : (part ? flow_c_of(p) : flow_h_of(p)) + i * H, H);
}

/* dh_t += what flows back from the step after */
static void complete_dh(const pass *p, int64_t t, int64_t end, const REAL *dz_after, int64_t ld_after, step *s) {
    const int64_t going = going_on(p, t, p->first, end);
    if (going > p->first) cell_flow(p, t, p->first, going - p->first, dz_after, ld_after, s->flow_h, s);
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
