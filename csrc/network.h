/* The network over time: forward and backward in chunks of steps. Within a chunk the products that all steps share
 * run as tall products over (steps * rows), split over threads by rows; the recurrence runs step by step, each
 * thread on its own rows of the batch, so no thread waits for another inside a step. */

/* ---- the weights in panels ---------------------------------------------------------------------- */

static void take_weights(call *c, arena *from, int forward) {
    const kernels *k = c->kernels;
    const int64_t I = c->I, H = c->H, O = c->O;
    c->weights.ih = take(from, forward ? k->packed_size(I, H) : k->packed_size(H, I));
    c->weights.hh = take(from, k->packed_size(H, H));
    c->weights.ho = take(from, O ? (forward ? k->packed_size(H, O) : k->packed_size(O, H)) : 0);
    c->weights.bias = take(from, forward ? H : 0);
    c->weights.bias_o = take(from, forward ? O : 0);
}

/* panels of W transposed: forward multiplies rows of inputs by it */
static void pack_forward(const call *c) {
    const int64_t I = c->I, H = c->H, O = c->O;
    const REAL *b_ih = tensor(c, BIAS_IH), *b_hh = tensor(c, BIAS_HH), *b_o = tensor(c, BIAS_O);
    c->kernels->pack(I, H, tensor(c, WEIGHT_IH), 1, I, c->weights.ih);
    c->kernels->pack(H, H, tensor(c, WEIGHT_HH), 1, H, c->weights.hh);
    if (O) c->kernels->pack(H, O, tensor(c, WEIGHT_HO), 1, H, c->weights.ho);
    for (int64_t j = 0; j < H; j++) c->weights.bias[j] = b_ih ? b_ih[j] + b_hh[j] : 0;
    for (int64_t j = 0; j < O; j++) c->weights.bias_o[j] = b_o ? b_o[j] : 0;
}

/* panels of W itself: backward multiplies rows of gradients by it */
static void pack_backward(const call *c) {
    const int64_t I = c->I, H = c->H, O = c->O;
    if (c->dx) c->kernels->pack(H, I, tensor(c, WEIGHT_IH), I, 1, c->weights.ih);
    c->kernels->pack(H, H, tensor(c, WEIGHT_HH), H, 1, c->weights.hh);
    if (O) c->kernels->pack(O, H, tensor(c, WEIGHT_HO), H, 1, c->weights.ho);
}

/* rows of x W_ihT + b_ih + b_hh */
static void project(const call *c, int64_t rows, const REAL *x, REAL *z) {
    c->kernels->multiply(&(product){.m = rows,
                                    .n = c->H,
                                    .k = c->I,
                                    .a = x,
                                    .lda = c->I,
                                    .panels = c->weights.ih,
                                    .init = c->weights.bias,
                                    .c = z,
                                    .ldc = c->H});
}

/* rows of h W_hoT + b_o, or of h where the network has no readout */
static void read_out(const call *c, int64_t rows, const REAL *h, REAL *y) {
    if (c->O)
        c->kernels->multiply(&(product){.m = rows,
                                        .n = c->O,
                                        .k = c->H,
                                        .a = h,
                                        .lda = c->H,
                                        .panels = c->weights.ho,
                                        .init = c->weights.bias_o,
                                        .c = y,
                                        .ldc = c->O});
    else memcpy(y, h, (size_t)(rows * c->H) * sizeof(REAL));
}

/* ---- small helpers ------------------------------------------------------------------------------- */

static void copy_or_clear(REAL *to, const REAL *from, int64_t n) {
    if (from == to) return;
    if (from) memcpy(to, from, (size_t)n * sizeof(REAL));
    else memset(to, 0, (size_t)n * sizeof(REAL));
}

static int reset_at(const call *c, int64_t t, int64_t row) {
    return c->options.reset && c->options.reset[t * c->B + row];
}

static int any_reset(const call *c, int64_t t, int64_t first, int64_t last) {
    for (int64_t row = first; row < last; row++)
        if (reset_at(c, t, row)) return 1;
    return 0;
}

/* Whether to stop; the calling thread asks the caller. Members may hear of it at different times. */
static int stopped(call *c, const bptt_internal_member *me) {
    const int asks = me->rank == 0 && c->options.poll && !atomic_load(&c->stop);
    if (asks && c->options.poll(c->options.poll_context)) atomic_store(&c->stop, 1);
    return atomic_load(&c->stop);
}

/* The same at a barrier: all members get the same answer, as nobody asks again before all have read this one. */
static int stopped_together(call *c, const bptt_internal_member *me) {
    stopped(c, me);
    bptt_internal_team_wait(me);
    return atomic_load(&c->stop);
}

/* Long chunks are also left in the middle: the calling thread asks after every poll_steps steps, all see the answer. */
static int stopped_at_step(call *c, const bptt_internal_member *me, int64_t s) {
    return s % c->poll_steps == 0 ? stopped(c, me) : 0;
}

/* A member's rows of the batch in a chunk of steps: blocks of rows that lie together, counted in rows of the chunk. A
 * member alone has one tall block, others a block at each step. */
typedef struct {
    int64_t count, rows, first, apart;
} blocks;

static blocks own_blocks(const call *c, int64_t steps, int64_t first, int64_t last) {
    if (last - first == c->B) return (blocks){1, steps * c->B, 0, 0};
    return (blocks){last > first ? steps : 0, last - first, first, c->B};
}

/* fewer rows than this are not worth a thread */
enum { ROWS_PER_THREAD = 4 };

/* ---- forward -------------------------------------------------------------------------------------- */

static int64_t plan_forward(call *c, REAL *work) {
    arena from = arena_at(work);
    take_weights(c, &from, 1);
    c->entering = take(&from, c->B * c->H);
    c->hidden = take(&from, (c->chunk + 1) * c->B * c->H);
    return from.used;
}

/* one step of some rows: h_before enters, z becomes h_t */
static void forward_step(const call *c, int64_t t, int64_t first, int64_t last, const REAL *h_before, REAL *h) {
    const int64_t H = c->H;
    if (any_reset(c, t, first, last)) {
        for (int64_t row = first; row < last; row++)
            copy_or_clear(c->entering + row * H, reset_at(c, t, row) ? NULL : h_before + row * H, H);
        h_before = c->entering;
    }
    vanilla_forward(c, t, last - first, h_before + first * H, h + first * H);
}

static void forward_body(void *context, const bptt_internal_member *me) {
    call *c = context;
    const int64_t B = c->B, H = c->H, slot = B * H;
    int64_t first, last;
    bptt_internal_share(me, B, 1, &first, &last);
    for (int64_t t0 = 0; t0 < c->T && !atomic_load(&c->stop); t0 += c->chunk) {
        const int64_t steps = min_of(c->chunk, c->T - t0);
        const blocks own = own_blocks(c, steps, first, last);
        REAL *h = c->tape ? c->tape + t0 * slot : c->hidden; /* slot s: the state that enters step t0+s */
        for (int64_t i = 0, row = own.first; i < own.count; i++, row += own.apart)
            project(c, own.rows, c->x + (t0 * B + row) * c->I, h + slot + row * H);
        for (int64_t s = 0; s < steps && !stopped_at_step(c, me, s); s++)
            forward_step(c, t0 + s, first, last, h + s * slot, h + (s + 1) * slot);
        for (int64_t i = 0, row = own.first; c->y && i < own.count; i++, row += own.apart)
            read_out(c, own.rows, h + slot + row * H, c->y + (t0 * B + row) * c->Y);
        if (!c->tape) copy_or_clear(h + first * H, h + steps * slot + first * H, (last - first) * H);
    }
}

bptt_status TYPED(bptt_forward)(const bptt_spec *spec, int64_t T, int64_t B, const REAL *params, const REAL *x,
                                const REAL *state0, REAL *y, REAL *state1, REAL *tape, REAL *work,
                                const bptt_options *options) {
    call c;
    bptt_status status = begin(&c, spec, T, B, options);
    if (status) return status;
    if (!params || !x || !work) return BPTT_ERROR_NULL;
    set_params(&c, params);
    c.x = x;
    c.y = y;
    c.tape = tape ? tape + c.options.tape_first * B * c.H : NULL;
    plan_forward(&c, work);
    pack_forward(&c);
    if (state0 || !tape || !c.options.tape_first) copy_or_clear(tape ? c.tape : c.hidden, state0, B * c.H);
    const double flops = 2.0 * (double)T * (double)B * (double)c.H * (double)(c.I + c.H + c.O);
    const int threads = (int)min_of(useful_threads(&c, flops), max_of(1, B / ROWS_PER_THREAD));
    bptt_internal_team_run(threads, forward_body, &c);
    if (c.stop) return BPTT_ERROR_INTERRUPTED;
    if (state1) copy_or_clear(state1, tape ? c.tape + T * B * c.H : c.hidden, B * c.H);
    return BPTT_OK;
}

/* ---- backward ------------------------------------------------------------------------------------- */

static int64_t plan_backward(call *c, REAL *work) {
    arena from = arena_at(work);
    take_weights(c, &from, 0);
    c->dz = take(&from, c->chunk * c->B * c->H);
    c->dz_after = take(&from, c->B * c->H);
    c->flow = take(&from, c->B * c->H);
    c->row_norms = (double *)take(&from, c->chunk * c->B * (int64_t)(sizeof(double) / sizeof(REAL)));
    return from.used;
}

/* the chunk's dL/dh from the outputs alone, rows [row, row_end) counted from step t0 */
static void output_gradient(const call *c, int64_t t0, int64_t row, int64_t row_end) {
    const int64_t H = c->H, given = (c->dy ? c->options.dy_start : c->T) * c->B - t0 * c->B; /* first row with a dy */
    const int64_t from = min_of(row_end, max_of(row, given));
    copy_or_clear(c->dz + row * H, NULL, (from - row) * H);
    if (from == row_end) return;
    const REAL *dy = c->dy + (from - given) * c->Y;
    if (c->O)
        c->kernels->multiply(&(product){.m = row_end - from,
                                        .n = H,
                                        .k = c->O,
                                        .a = dy,
                                        .lda = c->O,
                                        .panels = c->weights.ho,
                                        .c = c->dz + from * H,
                                        .ldc = H});
    else memcpy(c->dz + from * H, dy, (size_t)((row_end - from) * H) * sizeof(REAL));
}

/* dh_t += m_t * (what flows back from step t+1), row by row; a reset at t+1 or m_t = 0 lets nothing through */
static void add_flow(const call *c, int64_t t, int64_t first, int64_t last, const REAL *dz_after, REAL *dh) {
    const int64_t H = c->H;
    const REAL *carry = c->options.carry;
    const REAL *flow = c->dstate1;
    if (t < c->T - 1) {
        vanilla_flow(c, t, last - first, dz_after + first * H, c->flow + first * H);
        flow = c->flow;
    }
    for (int64_t row = first; row < last; row++) {
        REAL scale = 1;
        if (t < c->T - 1 && carry) scale = carry[c->options.carry_per_row ? t * c->B + row : t];
        if (scale == 0 || (t < c->T - 1 && reset_at(c, t + 1, row))) continue;
        for (int64_t j = 0; j < H; j++) dh[row * H + j] += scale * flow[row * H + j];
    }
}

/* notes the norm of each row of dh_t, then clips it */
static void clip_rows(const call *c, int64_t first, int64_t last, double *norms, REAL *dh) {
    const int64_t H = c->H;
    const double most = c->options.step_clip_norm;
    for (int64_t row = first; row < last; row++) {
        REAL *g = dh + row * H;
        if (most > 0 || c->options.step_norms) {
            const double norm = norm_of(c->kernels, H, g);
            norms[row] = norm;
            if (most > 0) scale_to(H, g, norm, most);
        }
        if (c->options.step_clip_value > 0) clamp(H, g, (REAL)c->options.step_clip_value);
    }
}

/* dz_t of some rows, from dL/dh_t by the outputs alone */
static void backward_step(const call *c, int64_t t, int64_t first, int64_t last, const REAL *dz_after, REAL *dz,
                          double *norms) {
    const int64_t H = c->H, rows = last - first;
    const REAL *h = c->tape + (t + 1) * c->B * H + first * H;
    const bptt_options *o = &c->options;
    const int clips = o->step_clip_norm > 0 || o->step_clip_value > 0 || o->step_norms;
    if (t < c->T - 1 && !clips && !o->carry && !any_reset(c, t + 1, 0, c->B)) { /* the same choice in every thread */
        vanilla_backward(c, t, rows, dz_after + first * H, h, dz + first * H);
        return;
    }
    if (t < c->T - 1 || c->dstate1) add_flow(c, t, first, last, dz_after, dz);
    if (clips) clip_rows(c, first, last, norms, dz);
    vanilla_slope(c, rows, h, dz + first * H);
}

/* bias += the column sums of a, columns [first, last) */
static void add_bias(const call *c, int64_t rows, int64_t cols, const REAL *a, int64_t first, int64_t last,
                     REAL *bias) {
    c->kernels->add_column_sums(rows, last - first, a + first, cols, bias + first);
}

/* weight += aT b over rows, this member's rows of the weight */
static void add_outer(const call *c, const bptt_internal_member *me, int64_t rows, const REAL *a, int64_t m,
                      const REAL *b, int64_t n, const uint8_t *skip, REAL *weight) {
    int64_t first, last;
    bptt_internal_share(me, m, 8, &first, &last);
    c->kernels->outer(&(outer_product){.m = last - first,
                                       .n = n,
                                       .k = rows,
                                       .a = a + first,
                                       .lda = m,
                                       .b = b,
                                       .ldb = n,
                                       .skip = skip,
                                       .c = weight + first * n,
                                       .ldc = n});
}

/* dx of some rows of the chunk that begins at step t0 */
static void input_gradient(const call *c, int64_t t0, int64_t row, int64_t rows) {
    c->kernels->multiply(&(product){.m = rows,
                                    .n = c->I,
                                    .k = c->H,
                                    .a = c->dz + row * c->H,
                                    .lda = c->H,
                                    .panels = c->weights.ih,
                                    .c = c->dx + (t0 * c->B + row) * c->I,
                                    .ldc = c->I});
}

/* what the chunk's dz and dy give to the gradients of the parameters; each member has rows of each weight */
static void add_weight_gradients(const call *c, const bptt_internal_member *me, int64_t t0, int64_t steps) {
    const int64_t B = c->B, H = c->H, rows = steps * B;
    int64_t first, last;
    const uint8_t *reset = c->options.reset ? c->options.reset + t0 * B : NULL;
    add_outer(c, me, rows, c->dz, H, c->x + t0 * B * c->I, c->I, NULL, gradient(c, WEIGHT_IH));
    add_outer(c, me, rows, c->dz, H, c->tape + t0 * B * H, H, reset, gradient(c, WEIGHT_HH));
    if (c->spec->bias) {
        bptt_internal_share(me, H, 64, &first, &last);
        add_bias(c, rows, H, c->dz, first, last, gradient(c, BIAS_IH));
        add_bias(c, rows, H, c->dz, first, last, gradient(c, BIAS_HH));
    }
    const int64_t given = max_of(t0, c->options.dy_start), counted = (t0 + steps - given) * B;
    if (!c->O || !c->dy || counted <= 0) return;
    const REAL *dy = c->dy + (given - c->options.dy_start) * B * c->O;
    add_outer(c, me, counted, dy, c->O, c->tape + (given + 1) * B * H, H, NULL, gradient(c, WEIGHT_HO));
    if (c->spec->bias) {
        bptt_internal_share(me, c->O, 64, &first, &last);
        add_bias(c, counted, c->O, dy, first, last, gradient(c, BIAS_O));
    }
}

/* ||dh_t|| of the chunk's steps from the norms of their rows, always added in the order of the rows */
static void write_step_norms(const call *c, int64_t t0, int64_t steps) {
    REAL *norms = c->options.step_norms;
    for (int64_t s = 0; s < steps; s++) norms[t0 + s] = (REAL)norm_of_norms(c->B, c->row_norms + s * c->B);
}

/* the gradient by the state that enters step 0 */
static void first_state_gradient(const call *c, int64_t first, int64_t last) {
    const int64_t H = c->H;
    vanilla_flow(c, 0, last - first, c->dz_after + first * H, c->dstate0 + first * H);
    for (int64_t row = first; row < last; row++)
        if (reset_at(c, 0, row)) copy_or_clear(c->dstate0 + row * H, NULL, H);
}

static void backward_body(void *context, const bptt_internal_member *me) {
    call *c = context;
    const int64_t B = c->B, H = c->H, slot = B * H;
    int64_t first, last;
    bptt_internal_share(me, B, ROWS_PER_THREAD, &first, &last);
    for (int64_t t1 = c->T; t1 > 0;) {
        const int64_t t0 = (t1 - 1) / c->chunk * c->chunk, steps = t1 - t0;
        const blocks own = own_blocks(c, steps, first, last);
        for (int64_t i = 0, row = own.first; i < own.count; i++, row += own.apart)
            output_gradient(c, t0, row, row + own.rows);
        for (int64_t s = steps - 1; s >= 0 && !stopped_at_step(c, me, s); s--)
            backward_step(c, t0 + s, first, last, s == steps - 1 ? c->dz_after : c->dz + (s + 1) * slot,
                          c->dz + s * slot, c->row_norms + s * B);
        copy_or_clear(c->dz_after + first * H, c->dz + first * H, (last - first) * H);
        for (int64_t i = 0, row = own.first; c->dx && i < own.count; i++, row += own.apart)
            input_gradient(c, t0, row, own.rows);
        if (stopped_together(c, me)) return;
        if (c->grads) add_weight_gradients(c, me, t0, steps);
        if (me->rank == 0 && c->options.step_norms) write_step_norms(c, t0, steps);
        bptt_internal_team_wait(me); /* the next chunk overwrites dz */
        t1 = t0;
    }
    if (c->dstate0) first_state_gradient(c, first, last);
}

bptt_status TYPED(bptt_backward)(const bptt_spec *spec, int64_t T, int64_t B, const REAL *params, const REAL *x,
                                 const REAL *tape, const REAL *dy, const REAL *dstate1, REAL *dx, REAL *dstate0,
                                 REAL *grads, REAL *work, const bptt_options *options) {
    call c;
    bptt_status status = begin(&c, spec, T, B, options);
    if (status) return status;
    if (!params || !x || !tape || !work) return BPTT_ERROR_NULL;
    set_params(&c, params);
    c.x = x;
    c.tape = (REAL *)tape + c.options.tape_first * B * c.H;
    c.dy = dy;
    c.dstate1 = dstate1;
    c.dx = dx;
    c.dstate0 = dstate0;
    c.grads = grads;
    plan_backward(&c, work);
    pack_backward(&c);
    const int split = B >= 2 * ROWS_PER_THREAD; /* otherwise only the weight gradients are */
    const double flops = 2.0 * (double)T * (double)B * (double)c.H * (double)(c.I + c.H + c.O) * (split ? 2 : 1);
    bptt_internal_team_run(useful_threads(&c, flops), backward_body, &c);
    return c.stop ? BPTT_ERROR_INTERRUPTED : BPTT_OK;
}

/* ---- one step at a time ---------------------------------------------------------------------------- */

bptt_status TYPED(bptt_pack)(const bptt_spec *spec, const REAL *params, REAL *packed) {
    call c;
    bptt_status status = begin(&c, spec, 1, 1, NULL);
    if (status) return status;
    if (!params || !packed) return BPTT_ERROR_NULL;
    set_params(&c, params);
    arena from = arena_at(packed);
    take_weights(&c, &from, 1);
    pack_forward(&c);
    return BPTT_OK;
}

bptt_status TYPED(bptt_step)(const bptt_spec *spec, int64_t B, const REAL *packed, const REAL *x, REAL *state, REAL *y,
                             REAL *work) {
    call c;
    bptt_status status = begin(&c, spec, 1, B, NULL);
    if (status) return status;
    if (!packed || !x || !state || !work) return BPTT_ERROR_NULL;
    arena from = arena_at((REAL *)packed);
    take_weights(&c, &from, 1);
    project(&c, B, x, work);
    vanilla_forward(&c, 0, B, state, work);
    copy_or_clear(state, work, B * c.H);
    if (y) read_out(&c, B, state, y);
    return BPTT_OK;
}

/* ---- sizes and the tape ------------------------------------------------------------------------------ */

bptt_status TYPED(bptt_sizes)(const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options,
                              bptt_sizes *sizes) {
    call c;
    bptt_status status = begin(&c, spec, T, B, options);
    if (status) return status;
    if (!sizes) return BPTT_ERROR_NULL;
    if (sizes->struct_size != sizeof *sizes) return BPTT_ERROR_STRUCT;
    arena packed = arena_at(NULL);
    take_weights(&c, &packed, 1);
    sizes->params = bptt_internal_layout_of(spec).total;
    sizes->state = B * c.H;
    sizes->output = T * B * c.Y;
    sizes->tape = ((c.options.tape_steps ? c.options.tape_steps : T) + 1) * B * c.H;
    sizes->forward_work = plan_forward(&c, NULL);
    sizes->backward_work = plan_backward(&c, NULL);
    sizes->packed = packed.used;
    sizes->step_work = B * c.H;
    return BPTT_OK;
}

bptt_status TYPED(bptt_tape_shift)(const bptt_spec *spec, int64_t B, int64_t used, int64_t keep, REAL *tape) {
    bptt_options full;
    bptt_status status = bptt_internal_check_call(spec, used, B, NULL, &full);
    if (status) return status;
    if (!tape) return BPTT_ERROR_NULL;
    if (keep < 0 || keep > used) return BPTT_ERROR_OPTION;
    const int64_t slot = B * spec->hidden_size;
    memmove(tape, tape + (used - keep) * slot, (size_t)((keep + 1) * slot) * sizeof(REAL));
    return BPTT_OK;
}
