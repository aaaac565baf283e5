/* Backward over time, chunk by chunk from the end (Rumelhart, Hinton, Williams 1986; Werbos 1990). Each thread keeps to
 * its rows of the batch but for the gradients of the parameters: two barriers for each layer and chunk. */

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

/* dz of the step whose flow goes on to the next chunk, before others use its place */
static void keep_dz(const pass *p) {
    const call *c = p->call;
    const int64_t last = p->direction ? p->t0 + p->steps - 1 : p->t0, width = c->shape.width * c->H;
    copy_rows(p->last - p->first, width, dz_at(p, last) + p->first * ld_dz(c), ld_dz(c), dz_kept(p) + p->first * width,
              width);
}

/* one layer in one direction over a chunk; returns whether to stop */
static int backward_pass(pass *p) {
    const call *c = p->call;
    p->w = weights_of(c, p->unit, 0);
    if (drops_recurrent(c)) choose_kept(p);
    step s = begin_steps_back(p);
    for (int64_t i = 0; i < p->steps && !stopped_at_step(p, i); i++)
        backward_step(p, p->direction ? p->t0 + i : p->t0 + p->steps - 1 - i, &s);
    if (!dz_stays(c)) keep_dz(p);
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
