/* The network against the naive loops, and against itself where two ways must agree to the bit. Include after run.h,
 * once per type. */
#undef TOLERANCE
#define TOLERANCE (REAL_BITS == 32 ? 1e-5 : 1e-13)

static void TYPED(check_sizes)(const TYPED(run) * r) {
    const problem *p = r->p;
    CHECK(r->sizes.params == places_of(&p->spec).total);
    CHECK(r->sizes.state == p->B * p->spec.hidden_size);
    CHECK(r->sizes.output == p->T * p->B * p->Y);
    CHECK(r->sizes.tape == (p->T + 1) * r->sizes.state);
}

static void TYPED(check_forward)(const TYPED(run) * r) {
    double *hidden = zeros(r->sizes.tape), *y = zeros(r->sizes.output);
    naive_forward(r->p, NULL, hidden, y);
    CHECK_CLOSE(r->sizes.tape, r->tape, hidden, TOLERANCE);
    CHECK_CLOSE(r->sizes.output, r->y, y, TOLERANCE);
    CHECK(TYPED(same_bits)(r->sizes.state, r->state1, r->tape + r->p->T * r->sizes.state));
    free(hidden);
    free(y);
}

/* The recursion starts from the core's own tape: a relu that rounds to the other side of zero is not an error. */
static void TYPED(check_backward)(const TYPED(run) * r) {
    double *hidden = TYPED(doubles_of)(r->sizes.tape, r->tape);
    gradients expected = naive_backward(r->p, hidden);
    for (int64_t i = 0; i < r->sizes.params; i++) expected.grads[i] += TYPED(grads_before)(i);
    CHECK_CLOSE(r->sizes.params, r->grads, expected.grads, TOLERANCE);
    CHECK_CLOSE(r->p->T * r->p->B * r->p->spec.input_size, r->dx, expected.dx, TOLERANCE);
    CHECK_CLOSE(r->sizes.state, r->dstate0, expected.dstate0, TOLERANCE);
    CHECK_CLOSE(r->p->T, r->step_norms, expected.step_norms, TOLERANCE);
    free_gradients(&expected);
    free(hidden);
}

/* without a tape, and once more with the final state written over the entering one */
static void TYPED(check_without_tape)(const TYPED(run) * r) {
    TYPED(run) other = TYPED(open)(r->p, r->options.threads);
    CHECK_STATUS(TYPED(forward_shifted)(&other, NULL, 0), BPTT_OK);
    TYPED(check_same_forward)(r, &other);
    if (other.state0) {
        REAL *own = other.state1;
        other.state1 = other.state0;
        CHECK_STATUS(TYPED(forward_shifted)(&other, NULL, 0), BPTT_OK);
        TYPED(check_same_forward)(r, &other);
        other.state1 = own;
    }
    TYPED(close)(&other);
}

/* off any alignment that malloc gives */
static void TYPED(check_unaligned)(const TYPED(run) * r, int64_t shift) {
    TYPED(run) other = TYPED(open)(r->p, r->options.threads);
    other.options.step_norms = other.step_norms;
    CHECK_STATUS(TYPED(forward_shifted)(&other, other.tape, shift), BPTT_OK);
    CHECK_STATUS(TYPED(backward_shifted)(&other, shift), BPTT_OK);
    TYPED(check_same)(r, &other);
    TYPED(close)(&other);
}

/* y wanted alone, no outputs of backward, and dstate0 written over dstate1 */
static void TYPED(check_unwanted)(const TYPED(run) * r) {
    TYPED(run) other = TYPED(open)(r->p, r->options.threads), given = other;
    given.options.step_norms = other.step_norms;
    given.state1 = given.tape = given.dx = given.dstate0 = given.grads = NULL;
    CHECK_STATUS(TYPED(forward)(&given), BPTT_OK);
    CHECK(TYPED(same_bits)(r->sizes.output, r->y, other.y));
    given.tape = r->tape;
    CHECK_STATUS(TYPED(backward)(&given), BPTT_OK);
    given.grads = other.grads;
    CHECK_STATUS(TYPED(backward)(&given), BPTT_OK);
    CHECK(TYPED(same_bits)(r->sizes.params, r->grads, other.grads));
    given.grads = NULL;
    given.dstate0 = given.dstate1 ? given.dstate1 : other.dstate0;
    CHECK_STATUS(TYPED(backward)(&given), BPTT_OK);
    CHECK(TYPED(same_bits)(r->sizes.state, r->dstate0, given.dstate0));
    TYPED(close)(&other);
}

/* the plain forward, one step at a time */
static void TYPED(check_steps)(const TYPED(run) * r, int64_t shift) {
    const problem *p = r->p;
    const int64_t inputs = p->B * p->spec.input_size, outputs = p->B * p->Y;
    REAL *packed = TYPED(array)(r->sizes.packed + shift), *work = TYPED(array)(r->sizes.step_work + shift);
    REAL *state = TYPED(array)(r->sizes.state), *y = TYPED(array)(outputs);
    for (int64_t i = 0; i < r->sizes.state; i++) state[i] = r->state0 ? r->state0[i] : 0;
    CHECK_STATUS(TYPED(bptt_pack)(&p->spec, r->params, packed + shift), BPTT_OK);
    for (int64_t t = 0; t < p->T; t++) {
        const int last = t == p->T - 1; /* the last output is left out: the state must go on all the same */
        CHECK_STATUS(
            TYPED(bptt_step)(&p->spec, p->B, packed + shift, r->x + t * inputs, state, last ? NULL : y, work + shift),
            BPTT_OK);
        CHECK(last || TYPED(same_bits)(outputs, y, r->y + t * outputs));
    }
    CHECK(TYPED(same_bits)(r->sizes.state, state, r->state1));
    CHECK(TYPED(fresh)(shift, packed) && TYPED(fresh)(shift, work));
    free(packed);
    free(work);
    free(state);
    free(y);
}

static void TYPED(check_problem)(shape s, int cell, int bias, unsigned features) {
    problem p = problem_of(s, cell, bias, features);
    TYPED(run) r = TYPED(run_of)(&p, 1);
    TYPED(check_sizes)(&r);
    TYPED(check_forward)(&r);
    TYPED(check_backward)(&r);
    TYPED(check_without_tape)(&r);
    TYPED(check_unaligned)(&r, 1);
    TYPED(check_unaligned)(&r, 7);
    TYPED(check_unwanted)(&r);
    if (!p.reset) TYPED(check_steps)(&r, 0);
    if (!p.reset) TYPED(check_steps)(&r, 7);
    TYPED(close)(&r);
    free_problem(&p);
}

/* ---- threads and the poll ------------------------------------------------------------------------------ */

#ifndef NETWORK_POLL
#define NETWORK_POLL
static _Thread_local int on_calling_thread;

typedef struct {
    int calls, stop_at, strayed; /* stop_at 0: never */
} poll_record;

static int record_poll(void *context) {
    poll_record *record = context;
    record->calls++;
    record->strayed += !on_calling_thread;
    return record->calls == record->stop_at;
}
#endif

/* enough work for all threads to run, in several chunks of steps; rows and units that no number of threads divides */
static problem TYPED(large_problem)(int cell, unsigned features) {
    return problem_of((shape){101, 67, 31, 97, 37}, cell, 1, features);
}

static void TYPED(check_threads)(const problem *p) {
    static const int counts[] = {2, 3, 7};
    TYPED(run) one = TYPED(open)(p, 1);
    CHECK_STATUS(TYPED(forward)(&one), BPTT_OK);
    CHECK_STATUS(TYPED(backward)(&one), BPTT_OK);
    TYPED(check_forward)(&one);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        TYPED(run) many = TYPED(open)(p, counts[i]);
        CHECK_STATUS(TYPED(forward)(&many), BPTT_OK);
        CHECK_STATUS(TYPED(backward)(&many), BPTT_OK);
        TYPED(check_same_forward)(&one, &many);
        TYPED(check_same_backward)(&one, &many);
        TYPED(check_without_tape)(&many);
        TYPED(close)(&many);
    }
    TYPED(close)(&one);
}

/* step norms besides: a step that notes them may go another way */
static void TYPED(check_threads_with_norms)(const problem *p) {
    TYPED(run) one = TYPED(run_of)(p, 1), many = TYPED(run_of)(p, 3);
    TYPED(check_backward)(&one);
    TYPED(check_same)(&one, &many);
    TYPED(close)(&one);
    TYPED(close)(&many);
}

static void TYPED(check_large)(int cell, unsigned features) {
    problem p = TYPED(large_problem)(cell, features);
    TYPED(check_threads)(&p);
    TYPED(check_threads_with_norms)(&p);
    free_problem(&p);
}

/* Resets in one row only: some threads meet them and others do not. Wide enough for several blocks of a product. */
static void TYPED(check_rare_resets)(void) {
    problem p = problem_of((shape){40, 19, 5, 271, 3}, BPTT_CELL_TANH, 1, RESET);
    for (int64_t i = 0; i < p.T * p.B; i++) p.reset[i] = i % p.B == 2 && i / p.B % 3;
    TYPED(check_threads)(&p);
    free_problem(&p);
}

static void TYPED(check_stop)(TYPED(run) * r, poll_record *record, int stop_at) {
    *record = (poll_record){.stop_at = stop_at};
    CHECK_STATUS(TYPED(forward)(r), BPTT_ERROR_INTERRUPTED);
    CHECK(record->calls == stop_at && !record->strayed);
    *record = (poll_record){.stop_at = stop_at};
    CHECK_STATUS(TYPED(backward)(r), BPTT_ERROR_INTERRUPTED);
    CHECK(record->calls == stop_at && !record->strayed);
}

static void TYPED(check_poll)(int threads) {
    problem p = TYPED(large_problem)(BPTT_CELL_TANH, 0);
    TYPED(run) plain = TYPED(run_of)(&p, threads), polled = TYPED(open)(&p, threads);
    poll_record record = {0};
    on_calling_thread = 1;
    polled.options.poll = record_poll;
    polled.options.poll_context = &record;
    polled.options.step_norms = polled.step_norms;
    CHECK_STATUS(TYPED(forward)(&polled), BPTT_OK);
    CHECK(record.calls > 1 && !record.strayed);
    record.calls = 0;
    CHECK_STATUS(TYPED(backward)(&polled), BPTT_OK);
    CHECK(record.calls > 1 && !record.strayed);
    TYPED(check_same)(&plain, &polled);
    TYPED(check_stop)(&polled, &record, 1);
    TYPED(check_stop)(&polled, &record, 2);
    TYPED(close)(&plain);
    TYPED(close)(&polled);
    free_problem(&p);
}

/* ---- a tape that goes on ------------------------------------------------------------------------------- */

/* the problem's steps first .. first+T-1 as a problem of its own; borrows all arrays */
static problem TYPED(part_of)(const problem *p, int64_t first, int64_t T) {
    problem part = *p;
    part.T = T;
    part.x += first * p->B * p->spec.input_size;
    part.dy += first * p->B * p->Y;
    part.reset = p->reset ? p->reset + first * p->B : NULL;
    part.state0 = first ? NULL : p->state0;
    return part;
}

static void TYPED(forward_part)(const problem *whole, int64_t first, int64_t T, int64_t tape_first, TYPED(run) * to) {
    problem part = TYPED(part_of)(whole, first, T);
    TYPED(run) r = TYPED(open)(&part, 1);
    r.options.tape_first = tape_first;
    r.options.tape_steps = to->p->T;
    CHECK_STATUS(TYPED(bptt_sizes)(&part.spec, T, part.B, &r.options, &r.sizes), BPTT_OK);
    CHECK(r.sizes.tape == to->sizes.tape);
    CHECK_STATUS(TYPED(forward_shifted)(&r, to->tape, 0), BPTT_OK);
    memcpy(to->y + first * part.B * part.Y, r.y, (size_t)r.sizes.output * sizeof(REAL));
    memcpy(to->state1, r.state1, (size_t)r.sizes.state * sizeof(REAL));
    TYPED(close)(&r);
}

/* backward over the last T steps of a longer tape equals backward over a tape that holds only them */
static void TYPED(check_last_steps)(const TYPED(run) * whole, int64_t T) {
    const int64_t first = whole->p->T - T, slot = whole->sizes.state;
    problem part = TYPED(part_of)(whole->p, first, T);
    TYPED(run) alone = TYPED(open)(&part, 1), within = TYPED(open)(&part, 1);
    memcpy(alone.tape, whole->tape + first * slot, (size_t)alone.sizes.tape * sizeof(REAL));
    CHECK_STATUS(TYPED(backward)(&alone), BPTT_OK);
    free(within.tape);
    within.tape = whole->tape;
    within.options.tape_first = first;
    within.options.tape_steps = whole->p->T;
    CHECK_STATUS(TYPED(backward)(&within), BPTT_OK);
    TYPED(check_same_backward)(&alone, &within);
    within.tape = NULL;
    TYPED(close)(&alone);
    TYPED(close)(&within);
}

/* A tape for `room` steps that slides over the whole sequence: after every `step` steps it keeps as many as leave
 * room for the next, and must then hold the same states as the tape of the whole. */
static void TYPED(check_shifting_tape)(const TYPED(run) * whole, int64_t room, int64_t step) {
    const problem *p = whole->p;
    const int64_t slot = whole->sizes.state;
    problem window = TYPED(part_of)(p, 0, room);
    TYPED(run) slide = TYPED(open)(&window, 1);
    int64_t used = 0;
    for (int64_t t = 0; t + step <= p->T; t += step) {
        const int64_t keep = used + step > room ? room - step : used;
        if (used) CHECK_STATUS(TYPED(bptt_tape_shift)(&p->spec, p->B, used, keep, slide.tape), BPTT_OK);
        problem part = TYPED(part_of)(p, t, step);
        if (t && !keep) part.state0 = NULL;
        TYPED(run) r = TYPED(open)(&part, 1);
        r.options.tape_first = keep;
        r.options.tape_steps = room;
        /* at the front of the tape a NULL state0 would mean zeros, so hand it the state of before */
        if (t && !keep) r.state0 = memcpy(TYPED(array)(slot), slide.tape, (size_t)slot * sizeof(REAL));
        CHECK_STATUS(TYPED(forward_shifted)(&r, slide.tape, 0), BPTT_OK);
        used = keep + step;
        CHECK(TYPED(same_bits)((used + 1) * slot, slide.tape, whole->tape + (t + step - used) * slot));
        TYPED(close)(&r);
    }
    TYPED(close)(&slide);
}

static void TYPED(check_tapes)(unsigned features) {
    problem p = problem_of((shape){12, 3, 5, 7, 2}, BPTT_CELL_TANH, 1, features);
    TYPED(run) whole = TYPED(run_of)(&p, 1), pieces = TYPED(open)(&p, 1);
    TYPED(forward_part)(&p, 0, 5, 0, &pieces);
    TYPED(forward_part)(&p, 5, 1, 5, &pieces);
    TYPED(forward_part)(&p, 6, 6, 6, &pieces);
    TYPED(check_same_forward)(&whole, &pieces);
    CHECK(TYPED(same_bits)(whole.sizes.tape, whole.tape, pieces.tape));
    TYPED(check_last_steps)(&whole, 4);
    TYPED(check_last_steps)(&whole, 1);
    TYPED(check_shifting_tape)(&whole, 7, 3);
    TYPED(check_shifting_tape)(&whole, 4, 4);
    TYPED(check_shifting_tape)(&whole, 5, 1);
    TYPED(close)(&whole);
    TYPED(close)(&pieces);
    free_problem(&p);
}

/* ---- what must not pass --------------------------------------------------------------------------------- */

static int TYPED(all_finite)(int64_t n, const REAL *values) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(values[i])) return 0;
    return 1;
}

/* a reset lets no NaN of the state before into the step, nor into a gradient */
static void TYPED(check_reset_stops_nan)(void) {
    problem p = problem_of((shape){4, 3, 2, 5, 2}, BPTT_CELL_TANH, 1, STATE0);
    for (int64_t i = 0; i < 15; i++) p.state0[i] = NAN;
    p.reset = memset(buffer_of(12), 0, 12);
    memset(p.reset, 1, 3);
    TYPED(run) r = TYPED(run_of)(&p, 1);
    CHECK(TYPED(all_finite)(r.sizes.output, r.y));
    CHECK(TYPED(all_finite)(r.sizes.params, r.grads));
    CHECK(TYPED(all_finite)(r.sizes.state, r.dstate0));
    TYPED(close)(&r);
    free_problem(&p);
}

/* carry 0 after step 1 lets no NaN of later steps into the steps before */
static void TYPED(check_carry_stops_nan)(void) {
    problem p = problem_of((shape){4, 3, 2, 5, 2}, BPTT_CELL_TANH, 1, CARRY);
    for (int64_t t = 0; t < 4; t++) p.carry[t] = t != 1;
    for (int64_t i = 12; i < 18; i++) p.dy[i] = NAN; /* step 2 */
    TYPED(run) r = TYPED(run_of)(&p, 1);
    CHECK(TYPED(all_finite)(12, r.dx));
    CHECK(isnan(r.dx[12]));
    CHECK(!TYPED(all_finite)(r.sizes.params, r.grads));
    TYPED(close)(&r);
    free_problem(&p);
}

/* dy NULL counts as zeros: only dstate1 flows back */
static void TYPED(check_no_dy)(void) {
    problem p = problem_of((shape){5, 2, 3, 4, 3}, BPTT_CELL_SIGMOID, 1, DSTATE1);
    memset(p.dy, 0, 30 * sizeof *p.dy);
    TYPED(run) zero = TYPED(run_of)(&p, 1), none = TYPED(open)(&p, 1), given = none;
    given.options.step_norms = none.step_norms;
    given.dy = NULL;
    CHECK_STATUS(TYPED(forward)(&given), BPTT_OK);
    CHECK_STATUS(TYPED(backward)(&given), BPTT_OK);
    TYPED(check_same)(&zero, &none);
    TYPED(check_backward)(&none);
    TYPED(close)(&zero);
    TYPED(close)(&none);
    free_problem(&p);
}

/* ---- all ----------------------------------------------------------------------------------------------- */

static void TYPED(check_shape)(shape s) {
    for (int cell = BPTT_CELL_TANH; cell <= BPTT_CELL_IDENTITY; cell++)
        for (int bias = 0; bias < 2; bias++) {
            TYPED(check_problem)(s, cell, bias, STATE0 | DSTATE1);
            TYPED(check_problem)((shape){s.T, s.B, s.I, s.H, 0}, cell, bias, ALL_FEATURES & ~CARRY_PER_ROW);
        }
}

static void TYPED(check_network)(void) {
    static const shape shapes[] = {{1, 1, 1, 1, 1}, {7, 3, 5, 17, 3}, {40, 13, 9, 33, 35}};
    static const unsigned features[] = {0,       STATE0,    DSTATE1,   RESET, CARRY, CARRY_PER_ROW,
                                        LATE_DY, CLIP_NORM, CLIP_VALUE};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) TYPED(check_shape)(shapes[i]);
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++)
        TYPED(check_problem)((shape){7, 3, 5, 17, 3}, BPTT_CELL_TANH, 1, features[i]);
    TYPED(check_problem)((shape){7, 3, 5, 17, 3}, BPTT_CELL_RELU, 1, ALL_FEATURES);
    /* products deeper than any block of the kernels */
    TYPED(check_problem)((shape){2, 3, 301, 267, 1}, BPTT_CELL_TANH, 1, STATE0);
    TYPED(check_large)(BPTT_CELL_TANH, 0);
    TYPED(check_large)(BPTT_CELL_RELU, ALL_FEATURES);
    TYPED(check_rare_resets)();
    TYPED(check_poll)(1);
    TYPED(check_poll)(3);
    TYPED(check_tapes)(STATE0);
    TYPED(check_tapes)(STATE0 | RESET);
    TYPED(check_reset_stops_nan)();
    TYPED(check_carry_stops_nan)();
    TYPED(check_no_dy)();
}
