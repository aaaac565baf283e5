/* The public functions on a network: sizes, forward, backward, one step at a time. */

/* ---- the scratch memory of a call -------------------------------------------------------------------- */

static REAL *take_products(const call *c, arena *from) { return take(from, c->shape.bias_apart ? c->B * 3 * c->H : 0); }

/* what a forward needs beside its weights and its store */
static void take_forward_scratch(call *c, arena *from) {
    c->entering = take(from, c->shape.states * c->B * c->H);
    c->dropped = take(from, c->spec.dropout > 0 && c->L > 1 ? c->chunk * c->B * c->D * c->H : 0);
    c->kept = take(from, c->spec.recurrent_dropout > 0 ? c->B * c->H : 0);
}

static int64_t plan_forward(call *c, REAL *work, int tape) {
    arena from = arena_at(work);
    c->packed[1] = take_panels(c, &from, 1);
    take_forward_scratch(c, &from);
    c->products = take_products(c, &from);
    c->thinned = take(&from, c->spec.recurrent_dropout > 0 ? c->B * c->H : 0);
    if (tape) return from.used;
    c->moving = c->D == 1;
    c->store_steps = c->moving ? c->chunk : c->T;
    c->store = take(&from, c->L * store_layer_size(c, c->store_steps));
    return from.used;
}

static int64_t plan_backward(call *c, REAL *work) {
    arena from = arena_at(work);
    const int64_t units = c->L * c->D, rows = c->chunk * c->B, width = c->shape.width * c->H;
    const int64_t span = c->D == 2 ? c->T : c->chunk;
    const int recurrent_dropout = c->spec.recurrent_dropout > 0;
    c->packed[0] = take_panels(c, &from, 0);
    take_forward_scratch(c, &from);
    c->thinned = take(&from, recurrent_dropout ? rows * c->H : 0);
    c->dh[0] = take(&from, span * c->B * c->D * c->H);
    c->dh[1] = c->L > 1 && (c->D == 2 || !c->shape.gates) ? take(&from, span * c->B * c->D * c->H) : c->dh[0];
    c->dz = take(&from, c->shape.gates ? rows * width : 0);
    c->dz_after = take(&from, dz_stays(c) ? 0 : units * c->B * width);
    c->flow_h = take(&from, units * c->B * c->H);
    c->flow_c = take(&from, c->shape.states == 2 ? units * c->B * c->H : 0);
    c->d_reset = take(&from, c->shape.hh_apart || recurrent_dropout ? c->B * c->H : 0);
    c->learned = take(&from, c->spec.learn_state ? c->shape.states * c->state : 0);
    c->row_squares = (double *)take(&from, rows * (int64_t)(sizeof(double) / sizeof(REAL)));
    c->skip = (uint8_t *)take(&from, c->D == 2 ? rows / (int64_t)sizeof(REAL) + 1 : 0);
    if (!c->options.segment) return from.used;
    c->packed[1] = take_panels(c, &from, 1);
    c->products = take_products(c, &from);
    c->store_steps = min_of(c->options.segment, c->T);
    c->store = take(&from, c->L * store_layer_size(c, c->store_steps));
    return from.used;
}

static int64_t tape_size(const call *c) {
    const int64_t T = c->options.tape_steps ? c->options.tape_steps : c->T, k = c->options.segment;
    return k ? ((c->T - 1) / k + 1) * c->shape.states * c->state : c->L * store_layer_size(c, T);
}

/* the tape that the caller gave: everything, or with a segment the state that enters each */
static void use_tape(call *c, REAL *tape) {
    if (c->options.segment) {
        c->checkpoints = tape;
    } else {
        c->store = tape;
        c->store_steps = c->options.tape_steps ? c->options.tape_steps : c->T;
    }
}

/* ---- forward and backward ------------------------------------------------------------------------------ */

bptt_status TYPED(bptt_forward)(const bptt_spec *spec, int64_t T, int64_t B, const REAL *params, const REAL *x,
                                const REAL *state0, REAL *y, REAL *state1, REAL *tape, REAL *work,
                                const bptt_options *options) {
    call c;
    bptt_status status = begin(&c, spec, T, B, options);
    if (status) return status;
    if (!params || !x || !work) return BPTT_ERROR_NULL;
    c.params = params;
    c.x = x;
    c.state0 = state0;
    c.y = y;
    c.state1 = state1;
    plan_forward(&c, work, tape && !c.options.segment);
    if (tape) use_tape(&c, tape);
    pack_forward(&c);
    const double flops = c.step_flops * (double)T;
    const int threads = (int)min_of(useful_threads(&c, flops), max_of(1, B / ROWS_PER_THREAD));
    bptt_internal_team_run(threads, forward_body, &c);
    return c.stop ? BPTT_ERROR_INTERRUPTED : BPTT_OK;
}

bptt_status TYPED(bptt_backward)(const bptt_spec *spec, int64_t T, int64_t B, const REAL *params, const REAL *x,
                                 const REAL *tape, const REAL *dy, const REAL *dstate1, REAL *dx, REAL *dstate0,
                                 REAL *grads, REAL *work, const bptt_options *options) {
    call c;
    bptt_status status = begin(&c, spec, T, B, options);
    if (status) return status;
    if (!params || !x || !tape || !work) return BPTT_ERROR_NULL;
    c.params = params;
    c.x = x;
    c.dy = dy;
    c.dstate1 = dstate1;
    c.dx = dx;
    c.grads = grads;
    c.watches = c.options.step_clip_norm > 0 || c.options.step_clip_value > 0 || c.options.step_norms;
    plan_backward(&c, work);
    use_tape(&c, (REAL *)tape);
    c.dstate0 = dstate0 ? dstate0 : c.spec.learn_state ? c.learned : NULL;
    pack_backward(&c);
    if (c.checkpoints) pack_forward(&c);
    const int split = B >= 2 * ROWS_PER_THREAD; /* otherwise only the weight gradients are */
    const double flops = c.step_flops * (double)T * (split ? 2 : 1);
    bptt_internal_team_run(useful_threads(&c, flops), backward_body, &c);
    return c.stop ? BPTT_ERROR_INTERRUPTED : BPTT_OK;
}

/* ---- one step at a time ---------------------------------------------------------------------------- */

static bptt_status begin_step(call *c, const bptt_spec *spec, int64_t B) {
    bptt_status status = begin(c, spec, 1, B, NULL);
    return status ? status : c->spec.bidirectional ? BPTT_ERROR_OPTION : BPTT_OK;
}

static int64_t plan_step(call *c, REAL *work) {
    arena from = arena_at(work);
    c->store_steps = 1;
    c->store = take(&from, c->L * store_layer_size(c, 1));
    c->products = take_products(c, &from);
    return from.used;
}

bptt_status TYPED(bptt_pack)(const bptt_spec *spec, const REAL *params, REAL *packed) {
    call c;
    bptt_status status = begin_step(&c, spec, 1);
    if (status) return status;
    if (!params || !packed) return BPTT_ERROR_NULL;
    c.params = params;
    arena from = arena_at(packed);
    c.packed[1] = take_panels(&c, &from, 1);
    pack_forward(&c);
    return BPTT_OK;
}

bptt_status TYPED(bptt_step)(const bptt_spec *spec, int64_t B, const REAL *packed, const REAL *x, REAL *state, REAL *y,
                             REAL *work) {
    call c;
    bptt_status status = begin_step(&c, spec, B);
    if (status) return status;
    if (!packed || !x || !state || !work) return BPTT_ERROR_NULL;
    const bptt_internal_member alone = {NULL, 0, 1};
    pass p = {.call = &c, .me = &alone, .last = B};
    arena from = arena_at((REAL *)packed);
    c.packed[1] = take(&from, 0);
    plan_step(&c, work);
    c.x = x;
    c.state0 = c.state1 = state;
    c.y = y;
    load_state(&p);
    forward_chunks(&p, 0, 1);
    return BPTT_OK;
}

/* ---- sizes and the tape ------------------------------------------------------------------------------ */

bptt_status TYPED(bptt_sizes)(const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options,
                              bptt_sizes *sizes) {
    call c;
    bptt_status status = begin(&c, spec, T, B, options);
    if (status) return status;
    if (!sizes) return BPTT_ERROR_NULL;
    if (sizes->struct_size < BPTT_INTERNAL_SIZES_1 || sizes->struct_size > sizeof *sizes) return BPTT_ERROR_STRUCT;
    arena packed = arena_at(NULL);
    take_panels(&c, &packed, 1);
    bptt_sizes all = {.struct_size = sizes->struct_size};
    all.params = bptt_internal_params(&c.spec);
    all.state = c.shape.states * c.state;
    all.output = T * B * c.Y;
    all.tape = tape_size(&c);
    all.forward_work = plan_forward(&c, NULL, 0);
    all.backward_work = plan_backward(&c, NULL);
    all.packed = packed.used;
    all.step_work = plan_step(&c, NULL);
    memcpy(sizes, &all, sizes->struct_size);
    return BPTT_OK;
}

bptt_status TYPED(bptt_tape_shift)(const bptt_spec *spec, int64_t B, int64_t tape_steps, int64_t used, int64_t keep,
                                   REAL *tape) {
    call c;
    bptt_status status = begin(&c, spec, tape_steps, B, NULL);
    if (status) return status;
    if (!tape) return BPTT_ERROR_NULL;
    if (used < 1 || used > tape_steps || keep < 0 || keep > used || c.D == 2) return BPTT_ERROR_OPTION;
    use_tape(&c, tape);
    pass p = {.call = &c};
    const int64_t slot = B * c.H, gates = c.shape.gates * B * 4 * c.H;
    for (int64_t layer = 0; layer < c.L; layer++) {
        choose_unit(&p, layer, 0);
        for (int part = 0; part < c.shape.states; part++)
            memmove(state_at(&c, layer, 0, part, 0), state_at(&c, layer, 0, part, used - keep),
                    (size_t)((keep + 1) * slot) * sizeof(REAL));
        if (gates) memmove(gates_at(&p, 0), gates_at(&p, used - keep), (size_t)(keep * gates) * sizeof(REAL));
    }
    return BPTT_OK;
}
