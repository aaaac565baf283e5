/* Dropout: when it acts, on what its choice depends, how often it drops, and that backward finds the choice of forward
 * again. That it multiplies what it should is checked with the network. Include after run.h, once per type. */

static bptt_spec TYPED(dropping_spec)(int which, int32_t directions) {
    bptt_spec spec = spec_of((shape){.I = 3, .H = 9, .O = 4}, which, 3, directions);
    spec.dropout = 0.4;
    spec.recurrent_dropout = 0.3;
    return spec;
}

/* the same problem to the bit where dropout does not act: rates of 0, or not training, whatever the seed */
static void TYPED(check_idle)(int which, int32_t directions) {
    problem p = problem_of(TYPED(dropping_spec)(which, directions), 6, 5, STATE0 | DSTATE1 | RESET), q = p;
    q.spec.dropout = q.spec.recurrent_dropout = 0;
    q.training = 1;
    p.seed = 99;
    p.first_step = 3;
    TYPED(run) untrained = TYPED(run_of)(&p, 1), no_rates = TYPED(run_of)(&q, 1);
    q.training = 0;
    TYPED(run) none = TYPED(run_of)(&q, 1);
    TYPED(check_same)(&none, &untrained);
    TYPED(check_same)(&none, &no_rates);
    TYPED(close)(&none);
    TYPED(close)(&untrained);
    TYPED(close)(&no_rates);
    free_problem(&p);
}

/* the same seed gives the same again, another seed or another first step gives others */
static void TYPED(check_seeds)(int which, int32_t directions) {
    problem p = problem_of(TYPED(dropping_spec)(which, directions), 6, 5, TRAINING), q = p, s = p, untrained = p;
    q.seed++;
    s.first_step++;
    untrained.training = 0;
    TYPED(run) one = TYPED(run_of)(&p, 1), again = TYPED(run_of)(&p, 1), other = TYPED(run_of)(&q, 1);
    TYPED(run) shifted = TYPED(run_of)(&s, 1), none = TYPED(run_of)(&untrained, 1);
    TYPED(check_same)(&one, &again);
    TYPED(run) *const different[] = {&other, &shifted, &none};
    for (size_t i = 0; i < sizeof different / sizeof different[0]; i++) {
        CHECK(!TYPED(same_bits)(one.sizes.output, one.y, different[i]->y));
        CHECK(!TYPED(same_bits)(TYPED(inputs)(&one), one.dx, different[i]->dx));
    }
    TYPED(run) *const all[] = {&one, &again, &other, &shifted, &none};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) TYPED(close)(all[i]);
    free_problem(&p);
}

/* a sequence in two calls, with the steps numbered on, is the sequence in one: other inputs are dropped at each step,
 * the same recurrent units at all */
static void TYPED(check_first_step)(int which) {
    problem p = problem_of(TYPED(dropping_spec)(which, 1), 8, 5, TRAINING | STATE0), head = p, tail = p;
    head.T = 3;
    tail.T = 5;
    tail.x += 3 * p.B * 3;
    tail.first_step += 3;
    TYPED(run) whole = TYPED(run_of)(&p, 1), first = TYPED(open)(&head, 1), rest = TYPED(open)(&tail, 1);
    CHECK_STATUS(TYPED(forward)(&first), BPTT_OK);
    memcpy(rest.state0, first.state1, (size_t)first.sizes.state * sizeof(REAL));
    CHECK_STATUS(TYPED(forward)(&rest), BPTT_OK);
    CHECK(TYPED(same_bits)(first.sizes.output, first.y, whole.y));
    CHECK(TYPED(same_bits)(rest.sizes.output, rest.y, whole.y + first.sizes.output));
    CHECK(TYPED(same_bits)(rest.sizes.state, rest.state1, whole.state1));
    TYPED(close)(&whole);
    TYPED(close)(&first);
    TYPED(close)(&rest);
    free_problem(&p);
}

/* what is dropped does not count at all, not even NaN */
static void TYPED(check_dropped_nan)(int which) {
    problem p = problem_of(TYPED(dropping_spec)(which, 1), 1, 5, TRAINING | STATE0);
    const int64_t units = 3 * p.B * 9;
    int64_t dropped = 0;
    for (int64_t i = 0; i < units; i++) {
        if (p.recurrent_kept[i] != 0) continue;
        p.state0[i] = NAN;
        dropped++;
    }
    TYPED(run) r = TYPED(run_of)(&p, 1);
    CHECK(dropped > 0);
    for (int64_t i = 0; i < r.sizes.output; i++) CHECK(isfinite(r.y[i]));
    for (int64_t i = 0; i < r.sizes.params; i++) CHECK(isfinite(r.grads[i]));
    for (int64_t i = 0; i < units; i++) CHECK(isfinite(r.dstate0[i]));
    TYPED(close)(&r);
    free_problem(&p);
}

static void TYPED(check_dropout)(void) {
    for (int which = 0; which < FORMS; which++) {
        for (int32_t directions = 1; directions < 3; directions++) {
            TYPED(check_idle)(which, directions);
            TYPED(check_seeds)(which, directions);
        }
        TYPED(check_first_step)(which);
        if (forms[which].cell != BPTT_CELL_GRU) TYPED(check_dropped_nan)(which); /* z*h goes past the product */
    }
}
