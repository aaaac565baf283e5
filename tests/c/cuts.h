/* What must not pass from step to step, NaN included, and what counts as zero. Include after run.h, once per type. */

static int TYPED(all_finite)(int64_t n, const REAL *values) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(values[i])) return 0;
    return 1;
}

static bptt_spec TYPED(cut_spec)(int which) { return spec_of((shape){.I = 2, .H = 5, .O = 2}, which, 2, 1); }

/* a reset lets no NaN of the state before into the step, nor into a gradient */
static void TYPED(check_reset_stops_nan)(int which) {
    problem p = problem_of(TYPED(cut_spec)(which), 4, 3, STATE0);
    for (int64_t i = 0; i < state_size(&p); i++) p.state0[i] = NAN;
    p.reset = memset(buffer_of(12), 0, 12);
    memset(p.reset, 1, 3);
    TYPED(run) r = TYPED(run_of)(&p, 1);
    CHECK(TYPED(all_finite)(r.sizes.output, r.y));
    CHECK(TYPED(all_finite)(r.sizes.params, r.grads));
    CHECK(TYPED(all_finite)(r.sizes.state, r.dstate0));
    TYPED(close)(&r);
    free_problem(&p);
}

/* the last step of a sequence is, in the reverse direction, not entered from the sequence behind it */
static void TYPED(check_reset_stops_nan_backwards)(int which) {
    bptt_spec spec = TYPED(cut_spec)(which);
    spec.bidirectional = 1;
    problem p = problem_of(spec, 4, 3, 0);
    p.reset = memset(buffer_of(12), 0, 12);
    memset(p.reset + 6, 1, 3);
    for (int64_t i = 12; i < 18; i++) p.x[i] = NAN; /* step 2 */
    memset(p.dy + 12, 0, 12 * sizeof *p.dy);
    TYPED(run) r = TYPED(run_of)(&p, 1);
    CHECK(TYPED(all_finite)(12, r.y));
    CHECK(isnan(r.y[12]));
    CHECK(TYPED(all_finite)(12, r.dx));
    TYPED(close)(&r);
    free_problem(&p);
}

/* carry 0 after step 1 lets no NaN of later steps into the steps before */
static void TYPED(check_carry_stops_nan)(int which) {
    problem p = problem_of(TYPED(cut_spec)(which), 4, 3, CARRY);
    for (int64_t t = 0; t < 4; t++) p.carry[t] = t != 1;
    for (int64_t i = 12; i < 18; i++) p.dy[i] = NAN; /* step 2 */
    TYPED(run) r = TYPED(run_of)(&p, 1);
    CHECK(TYPED(all_finite)(12, r.dx));
    CHECK(isnan(r.dx[12]));
    CHECK(!TYPED(all_finite)(r.sizes.params, r.grads));
    TYPED(close)(&r);
    free_problem(&p);
}

/* beyond a row's length nothing counts: not x, dy, reset nor carry; and the outputs and dx there are zero */
static void TYPED(check_nothing_beyond_lengths)(int which, int32_t directions) {
    bptt_spec spec = TYPED(cut_spec)(which);
    spec.bidirectional = directions == 2;
    problem p = problem_of(spec, 6, 4, LENGTHS | RESET | CARRY_PER_ROW | STATE0 | DSTATE1);
    TYPED(run) clean = TYPED(run_of)(&p, 1);
    for (int64_t i = 0; i < p.T * p.B; i++) {
        const int64_t t = i / p.B, row = i % p.B;
        if (t >= p.lengths[row] - 1) p.carry[i] = NAN;
        if (t < p.lengths[row]) continue;
        p.reset[i] = !p.reset[i];
        p.x[2 * i] = p.x[2 * i + 1] = p.dy[2 * i] = p.dy[2 * i + 1] = NAN;
        CHECK(clean.y[2 * i] == 0 && clean.y[2 * i + 1] == 0);
        CHECK(clean.dx[2 * i] == 0 && clean.dx[2 * i + 1] == 0);
    }
    TYPED(run) spoilt = TYPED(run_of)(&p, 1);
    TYPED(check_same)(&clean, &spoilt);
    TYPED(close)(&clean);
    TYPED(close)(&spoilt);
    free_problem(&p);
}

/* dy NULL counts as zeros: only dstate1 flows back */
static void TYPED(check_no_dy)(int which, int32_t directions) {
    bptt_spec spec = spec_of((shape){.I = 3, .H = 4, .O = 3}, which, 2, directions);
    problem p = problem_of(spec, 5, 2, DSTATE1);
    memset(p.dy, 0, 30 * sizeof *p.dy);
    TYPED(run) zero = TYPED(run_of)(&p, 1), none = TYPED(open)(&p, 1), given = none;
    given.dy = NULL;
    TYPED(both)(&given);
    TYPED(check_same)(&zero, &none);
    TYPED(close)(&zero);
    TYPED(close)(&none);
    free_problem(&p);
}

/* all outputs before dy_start = T: dy has no steps */
static void TYPED(check_late_dy)(int which) {
    problem p = problem_of(TYPED(cut_spec)(which), 5, 2, DSTATE1);
    TYPED(run) none = TYPED(open)(&p, 1);
    release(none.dy);
    none.dy = NULL;
    TYPED(both)(&none);
    p.dy_start = 5;
    TYPED(run) late = TYPED(run_of)(&p, 1);
    TYPED(check_same)(&none, &late);
    TYPED(close)(&none);
    TYPED(close)(&late);
    free_problem(&p);
}

static void TYPED(check_cuts)(void) {
    for (int which = 0; which < FORMS; which++) {
        name_case("cuts of form %d, %d bits", which, REAL_BITS);
        TYPED(check_reset_stops_nan_backwards)(which);
        TYPED(check_reset_stops_nan)(which);
        TYPED(check_carry_stops_nan)(which);
        TYPED(check_late_dy)(which);
        for (int32_t directions = 1; directions < 3; directions++) {
            TYPED(check_nothing_beyond_lengths)(which, directions);
            TYPED(check_no_dy)(which, directions);
        }
    }
}
