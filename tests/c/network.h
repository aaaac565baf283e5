/* One problem in the core against the naive loops, and against itself where two ways must agree to the bit. Include
 * after run.h, once per type. */
#undef TOLERANCE
#define TOLERANCE (REAL_BITS == 32 ? 1e-4 : 1e-13) /* tensors of one element may be sums that cancel */

static void TYPED(check_sizes)(const TYPED(run) * r) {
    const problem *p = r->p;
    CHECK(r->sizes.params == ends_of(&p->spec).total);
    CHECK(r->sizes.state == state_size(p));
    CHECK(r->sizes.output == p->T * p->B * p->Y);
}

/* one vanilla layer: the entering state, then h_0 .. h_{T-1} */
static void TYPED(check_plain_tape)(const TYPED(run) * r, const trace *expected) {
    const problem *p = r->p;
    if (blocks_of(&p->spec) > 1 || units_of(&p->spec) > 1 || p->lengths) return;
    CHECK(r->sizes.tape == (p->T + 1) * r->sizes.state);
    if (r->state0) CHECK(TYPED(same_bits)(r->sizes.state, r->tape, r->state0));
    CHECK_CLOSE(p->T * r->sizes.state, r->tape + r->sizes.state, expected->h, TOLERANCE);
    CHECK(TYPED(same_bits)(r->sizes.state, r->state1, r->tape + p->T * r->sizes.state));
}

static void TYPED(check_forward)(const TYPED(run) * r, const trace *expected) {
    CHECK_CLOSE(r->sizes.output, r->y, expected->y, TOLERANCE);
    CHECK_CLOSE(r->sizes.state, r->state1, expected->state1, TOLERANCE);
    TYPED(check_plain_tape)(r, expected);
}

/* Each tensor by itself: the gradients of a small one must not hide behind those of a large one, but for a single sum
 * of large terms that happens to come out small. */
static void TYPED(check_gradients)(const TYPED(run) * r, const gradients *expected) {
    const bptt_spec *spec = &r->p->spec;
    const double least = largest_of(r->sizes.params, expected->grads) / 20;
    int64_t count = 0, covered = 0;
    CHECK_STATUS(bptt_tensor_count(spec, &count), BPTT_OK);
    for (int64_t i = 0; i < count; i++) {
        bptt_tensor at;
        CHECK_STATUS(bptt_tensor_at(spec, i, &at), BPTT_OK);
        const int64_t n = at.rows * (at.cols ? at.cols : 1);
        double *sum = zeros(n);
        for (int64_t j = 0; j < n; j++) sum[j] = expected->grads[at.offset + j] + TYPED(grads_before)(at.offset + j);
        CHECK_WITHIN(n, r->grads + at.offset, sum, TOLERANCE * fmax(largest_of(n, sum), least));
        release(sum);
        covered += n;
    }
    CHECK(covered == r->sizes.params);
}

static void TYPED(check_backward)(const TYPED(run) * r, const gradients *expected) {
    TYPED(check_gradients)(r, expected);
    CHECK_CLOSE(TYPED(inputs)(r), r->dx, expected->dx, TOLERANCE);
    CHECK_CLOSE(r->sizes.state, r->dstate0, expected->dstate0, TOLERANCE);
    if (r->p->norms) CHECK_CLOSE(TYPED(norms)(r), r->step_norms, expected->step_norms, TOLERANCE);
}

/* without a tape, and once more with the final state written over the entering one */
static void TYPED(check_without_tape)(const TYPED(run) * r) {
    TYPED(run) other = TYPED(open)(r->p, r->options.threads);
    CHECK_STATUS(TYPED(forward_to)(&other, NULL), BPTT_OK);
    TYPED(check_same_forward)(r, &other);
    if (other.state0) {
        REAL *own = other.state1;
        other.state1 = other.state0;
        CHECK_STATUS(TYPED(forward_to)(&other, NULL), BPTT_OK);
        TYPED(check_same_forward)(r, &other);
        other.state1 = own;
    }
    TYPED(close)(&other);
}

/* every buffer `shift` elements off any alignment that malloc gives; and with finite numbers where nobody wrote */
static void TYPED(check_other_memory)(const TYPED(run) * r, int64_t shift, int fill) {
    buffer_shift = shift * (int64_t)sizeof(REAL);
    buffer_fill = fill;
    TYPED(run) other = TYPED(run_of)(r->p, r->options.threads);
    TYPED(check_same)(r, &other);
    TYPED(close)(&other);
    buffer_shift = 0;
    buffer_fill = 0xff;
}

/* with outputs that nobody wants left out, and dstate0 written over dstate1 */
static void TYPED(check_unwanted)(const TYPED(run) * r) {
    TYPED(run) other = TYPED(open)(r->p, r->options.threads), given = other;
    given.state1 = given.tape = given.dx = given.dstate0 = given.grads = NULL;
    CHECK_STATUS(TYPED(forward)(&given), BPTT_OK);
    CHECK(TYPED(same_bits)(r->sizes.output, r->y, other.y));
    given.y = NULL;
    given.state1 = other.state1;
    CHECK_STATUS(TYPED(forward)(&given), BPTT_OK);
    given.tape = r->tape;
    CHECK_STATUS(TYPED(backward)(&given), BPTT_OK);
    given.grads = other.grads;
    CHECK_STATUS(TYPED(backward)(&given), BPTT_OK);
    given.grads = NULL;
    given.dx = other.dx;
    CHECK_STATUS(TYPED(backward)(&given), BPTT_OK);
    given.dx = NULL;
    given.dstate0 = given.dstate1 ? given.dstate1 : other.dstate0;
    CHECK_STATUS(TYPED(backward)(&given), BPTT_OK);
    REAL *own = other.dstate0;
    other.dstate0 = given.dstate0;
    TYPED(check_same)(r, &(TYPED(run)){.p = r->p,
                                       .sizes = r->sizes,
                                       .y = other.y,
                                       .state1 = other.state1,
                                       .dx = other.dx,
                                       .dstate0 = other.dstate0,
                                       .grads = other.grads,
                                       .step_norms = other.step_norms});
    other.dstate0 = own;
    TYPED(close)(&other);
}

/* the plain forward, one step at a time: not for two directions, resets, lengths or dropout */
static void TYPED(check_steps)(const TYPED(run) * r, int64_t shift) {
    const problem *p = r->p;
    const int64_t inputs = p->B * p->spec.input_size, outputs = p->B * p->Y, H = p->spec.hidden_size;
    if (p->spec.bidirectional || p->reset || p->lengths || p->training) return;
    buffer_shift = shift * (int64_t)sizeof(REAL);
    REAL *packed = TYPED(array)(r->sizes.packed), *work = TYPED(array)(r->sizes.step_work);
    REAL *state = TYPED(array)(r->sizes.state), *y = TYPED(array)(outputs);
    buffer_shift = 0;
    for (int64_t i = 0; i < r->sizes.state; i++) {
        const int64_t part = i / (r->sizes.state / parts_of(&p->spec)), unit = i / (p->B * H) % units_of(&p->spec);
        const REAL *learned = p->spec.learn_state ? r->params + ends_of(&p->spec).state[part] + unit * H : NULL;
        state[i] = r->state0 ? r->state0[i] : learned ? learned[i % H] : 0;
    }
    CHECK_STATUS(TYPED(bptt_pack)(&p->spec, r->params, packed), BPTT_OK);
    for (int64_t t = 0; t < p->T; t++) {
        const int last = t == p->T - 1; /* the last output is left out: the state must go on all the same */
        CHECK_STATUS(TYPED(bptt_step)(&p->spec, p->B, packed, r->x + t * inputs, state, last ? NULL : y, work),
                     BPTT_OK);
        CHECK(last || TYPED(same_bits)(outputs, y, r->y + t * outputs));
    }
    CHECK(TYPED(same_bits)(r->sizes.state, state, r->state1));
    REAL *const all[] = {packed, work, state, y};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

/* ---- checkpoints --------------------------------------------------------------------------------------- */

/* the same but for the order in which the gradients of the parameters are summed, at twice the forward steps */
static void TYPED(check_segment)(const TYPED(run) * r, int64_t k) {
    const problem *p = r->p;
    int64_t steps = 5;
    TYPED(run) other = TYPED(open_segments)(p, r->options.threads, k);
    other.options.forward_steps = &steps;
    CHECK(other.sizes.tape == ((p->T - 1) / k + 1) * r->sizes.state);
    CHECK_STATUS(TYPED(forward)(&other), BPTT_OK);
    CHECK(steps == 5 + p->T);
    CHECK_STATUS(TYPED(backward)(&other), BPTT_OK);
    CHECK(steps == 5 + 2 * p->T);
    double *grads = TYPED(doubles_of)(r->sizes.params, r->grads);
    CHECK_CLOSE(r->sizes.params, other.grads, grads, TOLERANCE / 4);
    release(grads);
    TYPED(check_same_forward)(r, &other);
    TYPED(check_same_flow)(r, &other);
    CHECK_STATUS(TYPED(forward_to)(&other, NULL), BPTT_OK);
    TYPED(check_same_forward)(r, &other);
    TYPED(close)(&other);
}

static void TYPED(check_segments)(const TYPED(run) * r) {
    const int64_t T = r->p->T, each[] = {1, 2, 7, T, T + 3, INT64_MAX};
    if (r->p->spec.bidirectional) return;
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) TYPED(check_segment)(r, each[i]);
}

/* ---- all of one problem ---------------------------------------------------------------------------------- */

static void TYPED(check_alone)(const TYPED(run) * r) {
    TYPED(check_without_tape)(r);
    TYPED(check_other_memory)(r, 1, 0x3f);
    TYPED(check_other_memory)(r, 7, 0);
    TYPED(check_unwanted)(r);
    TYPED(check_steps)(r, 0);
    TYPED(check_steps)(r, 7);
    TYPED(check_segments)(r);
}

static void TYPED(check_problem)(const problem *p, const trace *t, const gradients *g) {
    int64_t steps = 3;
    TYPED(run) r = TYPED(open)(p, 1);
    r.options.forward_steps = &steps;
    TYPED(both)(&r);
    CHECK(steps == 3 + p->T);
    r.options.forward_steps = NULL;
    TYPED(check_sizes)(&r);
    TYPED(check_forward)(&r, t);
    TYPED(check_backward)(&r, g);
    TYPED(check_alone)(&r);
    TYPED(close)(&r);
    problem noted = *p;
    noted.norms = 1;
    TYPED(run) with_norms = TYPED(run_of)(&noted, 1);
    TYPED(check_backward)(&with_norms, g);
    TYPED(close)(&with_norms);
}
