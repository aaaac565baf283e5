/* Forward over time, in chunks of steps: within a chunk the products that all steps share (inputs, readout) are tall,
 * the recurrence runs step by step, each thread on its own rows of the batch, so that no thread waits for another.
 * With one direction all layers go over a chunk before the next, so that without a tape memory does not grow with T. */

/* the inputs of the pass's layer at step t, row 0 */
static const REAL *layer_input(const pass *p, int64_t t) {
    const call *c = p->call;
    return p->layer ? state_at(c, p->layer - 1, 0, 0, slot_of(p, t)) : c->x + t * c->B * c->I;
}

/* the same for the rows of a block, after dropout */
static const REAL *block_input(const pass *p, const block *b) {
    const call *c = p->call;
    const int64_t in = inputs_of(c, p->layer);
    const REAL *x = layer_input(p, b->t) + b->row * in;
    if (!drops_inputs(p)) return x;
    REAL *out = c->dropped + ((b->t - p->t0) * c->B + b->row) * in;
    drop_inputs(p, b->t, b->row, b->rows, in, x, out);
    return out;
}

/* c = init (a row for all) + a panels */
static void multiply(const call *c, int64_t rows, int64_t n, int64_t k, const REAL *a, int64_t lda, const REAL *panels,
                     const REAL *init, REAL *out, int64_t ldout) {
    c->kernels->multiply(&(product){
        .m = rows, .n = n, .k = k, .a = a, .lda = lda, .panels = panels, .init = init, .c = out, .ldc = ldout});
}

/* z = x W_ihT + bias for the chunk's rows; z of a vanilla cell lies where h will, of others where gates will */
static void project(const pass *p) {
    const call *c = p->call;
    const weights *w = &p->w;
    const int64_t in = inputs_of(c, p->layer), ld = c->shape.gates ? 4 * c->H : ld_state(c);
    EACH_BLOCK(p, b, p->first, p->last) {
        const REAL *x = block_input(p, &b);
        REAL *z = c->shape.gates ? gates_at(p, b.t) : in_slot(p, p->h, slot_of(p, b.t));
        multiply(c, b.rows, c->shape.blocks * c->H, in, x, in, w->ih, w->bias_ih, z + b.row * ld, ld);
    }
}

/* What forward and backward know of all steps of a pass, and what changes from step to step: rows p->first .. end. */
static step begin_steps(const pass *p) { return (step){.call = p->call, .w = &p->w, .ld = ld_state(p->call)}; }

static void take_step(const pass *p, int64_t t, int64_t end, step *s) {
    const call *c = p->call;
    const int64_t slot = slot_of(p, t), first = p->first * s->ld;
    s->t = t;
    s->rows = end - p->first;
    s->before = entering_state(p, t, end);
    s->used = s->before.h;
    s->ld_used = s->before.ld;
    s->h = in_slot(p, p->h, slot) + first;
    if (p->c) s->c = in_slot(p, p->c, slot) + first;
    if (c->shape.gates) s->gates = gates_at(p, t) + p->first * 4 * c->H;
    if (c->products) s->products = c->products + p->first * 3 * c->H;
}

static void cell_forward(const step *s) {
    switch (s->call->spec.cell) {
    case BPTT_CELL_LSTM: lstm_forward(s); break;
    case BPTT_CELL_GRU: gru_forward(s); break;
    default: vanilla_forward(s);
    }
}

static void forward_step(const pass *p, int64_t t, step *s) {
    const call *c = p->call;
    const int64_t end = active(c, t, p->first, p->last);
    if (end == p->first) return;
    take_step(p, t, end, s);
    if (drops_recurrent(c)) {
        REAL *thinned = c->thinned + p->first * c->H;
        thin(c, p->first, s->rows, s->before.h, s->before.ld, thinned);
        s->used = thinned;
        s->ld_used = c->H;
    }
    cell_forward(s);
}

/* one layer in one direction over a chunk */
static void forward_pass(pass *p) {
    p->w = weights_of(p->call, p->unit, 1);
    if (drops_recurrent(p->call)) choose_kept(p);
    project(p);
    step s = begin_steps(p);
    for (int64_t i = 0; i < p->steps && !stopped_at_step(p, i); i++)
        forward_step(p, p->direction ? p->t0 + p->steps - 1 - i : p->t0 + i, &s);
    keep_final_state(p);
}

/* y = h W_hoT + b_o, or h where the network has no readout; zero beyond a row's length */
static void read_out(const pass *p) {
    const call *c = p->call;
    const int64_t DH = ld_state(c), Y = c->Y;
    const readout_weights w = readout_of(c, 1);
    if (!c->y) return;
    EACH_BLOCK(p, b, p->first, p->last) {
        const REAL *h = state_at(c, c->L - 1, 0, 0, slot_of(p, b.t)) + b.row * DH;
        REAL *y = c->y + (b.t * c->B + b.row) * Y;
        if (c->O) multiply(c, b.rows, Y, DH, h, DH, w.ho, w.bias_o, y, Y);
        else memcpy(y, h, (size_t)(b.rows * Y) * sizeof(REAL));
    }
    for (int64_t t = p->t0; c->options.lengths && t < p->t0 + p->steps; t++) {
        const int64_t end = active(c, t, p->first, p->last);
        copy_or_clear(c->y + (t * c->B + end) * Y, NULL, (p->last - end) * Y);
    }
}

static void count_steps(const pass *p) {
    if (p->me->rank == 0 && p->call->options.forward_steps) *p->call->options.forward_steps += p->steps;
}

/* one direction: all layers over steps [from,to), chunk by chunk; a store that moves holds one chunk at a time */
static void forward_chunks(pass *p, int64_t from, int64_t to) {
    const call *c = p->call;
    for (p->t0 = from; p->t0 < to && !atomic_load(&c->stop); p->t0 += p->steps) {
        p->steps = min_of(c->chunk, to - p->t0);
        if (c->moving) p->origin = p->t0;
        for (int64_t layer = 0; layer < c->L; layer++) {
            choose_unit(p, layer, 0);
            forward_pass(p);
        }
        read_out(p);
        count_steps(p);
        if (c->moving) move_state(p, p->steps);
    }
}

/* two directions: a layer's outputs are complete only after both went over all steps */
static void forward_both(pass *p) {
    const call *c = p->call;
    const int64_t chunks = (c->T - 1) / c->chunk + 1;
    for (int64_t unit = 0; unit < c->L * c->D; unit++) {
        choose_unit(p, unit / c->D, unit % c->D);
        for (int64_t i = 0; i < chunks && !atomic_load(&c->stop); i++) {
            p->t0 = (p->direction ? chunks - 1 - i : i) * c->chunk;
            p->steps = min_of(c->chunk, c->T - p->t0);
            forward_pass(p);
        }
    }
    p->t0 = 0;
    p->steps = c->T;
    read_out(p);
    count_steps(p);
}

static void forward_body(void *context, const bptt_internal_member *me) {
    call *c = context;
    pass p = {.call = c, .me = me, .origin = c->moving ? 0 : -c->options.tape_first};
    share_rows(&p, 1);
    if (c->state0 || p.origin == 0) load_state(&p);
    if (c->D == 2) {
        forward_both(&p);
        return;
    }
    const int64_t piece = c->checkpoints ? c->options.segment : c->T;
    for (int64_t t = 0; t < c->T && !atomic_load(&c->stop); t += min_of(piece, c->T - t)) {
        if (c->checkpoints) copy_checkpoint(&p, t / piece, 0);
        forward_chunks(&p, t, min_of(t + min_of(piece, c->T), c->T));
    }
}
