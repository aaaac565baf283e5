/* A tape that goes on: forward in pieces, backward over a part, and a tape that slides along, against the tape of the
 * whole. Include after run.h, once per type. */

/* the problem's steps first .. first+T-1 as a problem of its own; borrows all arrays */
static problem TYPED(part_of)(const problem *p, int64_t first, int64_t T) {
    problem part = *p;
    part.T = T;
    part.first_step = p->first_step + first;
    part.x += first * p->B * p->spec.input_size;
    part.dy += first * p->B * p->Y;
    part.reset = p->reset ? p->reset + first * p->B : NULL;
    part.carry = p->carry ? p->carry + first * (p->carry_per_row ? p->B : 1) : NULL;
    part.state0 = first ? NULL : p->state0;
    return part;
}

/* A run on steps tape_first .. of a tape for tape_steps, which it borrows. */
static TYPED(run) TYPED(open_part)(const problem *part, REAL *tape, int64_t tape_first, int64_t tape_steps) {
    TYPED(run) r = TYPED(open)(part, 1);
    release(r.tape);
    r.tape = tape;
    r.options.tape_first = tape_first;
    r.options.tape_steps = tape_steps;
    CHECK_STATUS(TYPED(bptt_sizes)(&part->spec, part->T, part->B, &r.options, &r.sizes), BPTT_OK);
    return r;
}

static void TYPED(close_part)(TYPED(run) * r) {
    r->tape = NULL;
    TYPED(close)(r);
}

/* Forward over some steps; a state that is handed over enters, otherwise the tape's own. Leaves the final state there.
 */
static void TYPED(forward_part)(const TYPED(run) * whole, int64_t first, int64_t T, REAL *tape, int64_t tape_first,
                                int64_t tape_steps, const REAL *enters, REAL *leaves) {
    problem part = TYPED(part_of)(whole->p, first, T);
    TYPED(run) r = TYPED(open_part)(&part, tape, tape_first, tape_steps);
    REAL *own = r.state0;
    if (enters) r.state0 = (REAL *)enters;
    CHECK_STATUS(TYPED(forward)(&r), BPTT_OK);
    CHECK(TYPED(same_bits)(r.sizes.output, r.y, whole->y + first * part.B * part.Y));
    memcpy(leaves, r.state1, (size_t)r.sizes.state * sizeof(REAL));
    r.state0 = own;
    TYPED(close_part)(&r);
}

/* backward over the same steps on two tapes is the same to the bit */
static void TYPED(check_part)(const TYPED(run) * whole, int64_t first, int64_t T, REAL *tape, int64_t tape_first,
                              int64_t tape_steps) {
    problem part = TYPED(part_of)(whole->p, first, T);
    TYPED(run) there = TYPED(open_part)(&part, whole->tape, first, whole->p->T);
    TYPED(run) here = TYPED(open_part)(&part, tape, tape_first, tape_steps);
    there.options.state_given = here.options.state_given = part.spec.learn_state && first > 0;
    CHECK_STATUS(TYPED(backward)(&there), BPTT_OK);
    CHECK_STATUS(TYPED(backward)(&here), BPTT_OK);
    TYPED(check_same_backward)(&there, &here);
    TYPED(close_part)(&there);
    TYPED(close_part)(&here);
}

/* a part of the tape is as good as a tape of its own, on which the state before entered */
static void TYPED(check_part_alone)(const TYPED(run) * whole, int64_t first, int64_t T) {
    problem before = TYPED(part_of)(whole->p, 0, first), part = TYPED(part_of)(whole->p, first, T);
    TYPED(run) lead = TYPED(open)(&before, 1), alone = TYPED(open)(&part, 1);
    CHECK_STATUS(TYPED(forward)(&lead), BPTT_OK);
    REAL *none = alone.state0;
    alone.state0 = lead.state1;
    alone.options.state_given = part.spec.learn_state;
    CHECK_STATUS(TYPED(forward)(&alone), BPTT_OK);
    TYPED(check_part)(whole, first, T, alone.tape, 0, T);
    alone.state0 = none;
    TYPED(close)(&lead);
    TYPED(close)(&alone);
}

/* A tape for `room` steps that slides over the whole sequence: after every `step` steps it keeps as many as leave room
 * for the next, `less` fewer than it could. */
static void TYPED(check_sliding_tape)(const TYPED(run) * whole, int64_t room, int64_t step, int64_t less) {
    const problem *p = whole->p;
    const bptt_options options = {.struct_size = sizeof options, .tape_steps = room};
    bptt_sizes sizes = {.struct_size = sizeof sizes};
    CHECK_STATUS(TYPED(bptt_sizes)(&p->spec, 1, p->B, &options, &sizes), BPTT_OK);
    REAL *tape = TYPED(array)(sizes.tape), *state = TYPED(array)(sizes.state);
    int64_t used = 0;
    for (int64_t t = 0; t + step <= p->T; t += step) {
        int64_t keep = used + step > room ? room - step - less : used;
        if (keep < 0) keep = 0;
        if (used) CHECK_STATUS(TYPED(bptt_tape_shift)(&p->spec, p->B, room, used, keep, tape), BPTT_OK);
        /* at the front of the tape a NULL state0 would mean a beginning, so the state of before is handed over */
        TYPED(forward_part)(whole, t, step, tape, keep, room, t && !keep ? state : NULL, state);
        used = keep + step;
        TYPED(check_part)(whole, t + step - used, used, tape, 0, room);
        TYPED(check_part)(whole, t, step, tape, keep, room);
    }
    release(tape);
    release(state);
}

/* pieces of 5, 1 and 6 steps on one tape */
static void TYPED(check_pieces)(const TYPED(run) * whole) {
    REAL *tape = TYPED(array)(whole->sizes.tape), *state = TYPED(array)(whole->sizes.state);
    TYPED(forward_part)(whole, 0, 5, tape, 0, 12, NULL, state);
    TYPED(forward_part)(whole, 5, 1, tape, 5, 12, NULL, state);
    TYPED(forward_part)(whole, 6, 6, tape, 6, 12, NULL, state);
    CHECK(TYPED(same_bits)(whole->sizes.state, state, whole->state1));
    CHECK(TYPED(same_bits)(whole->sizes.tape, whole->tape, tape));
    TYPED(check_part)(whole, 0, 12, tape, 0, 12);
    TYPED(check_part)(whole, 8, 4, tape, 8, 12);
    TYPED(check_part)(whole, 11, 1, tape, 11, 12);
    TYPED(check_part)(whole, 3, 5, tape, 3, 12);
    release(tape);
    release(state);
}

static void TYPED(check_tape)(int which, int32_t layers, unsigned features) {
    bptt_spec spec = spec_of((shape){.I = 5, .H = 7, .O = 2}, which, layers, 1);
    spec.learn_state = 1;
    spec.dropout = spec.recurrent_dropout = 0.3;
    problem p = problem_of(spec, 12, 3, features);
    TYPED(run) whole = TYPED(run_of)(&p, 1);
    TYPED(check_pieces)(&whole);
    TYPED(check_part_alone)(&whole, 8, 4);
    TYPED(check_part_alone)(&whole, 11, 1);
    TYPED(check_part_alone)(&whole, 3, 5);
    TYPED(check_sliding_tape)(&whole, 7, 3, 0);
    TYPED(check_sliding_tape)(&whole, 7, 2, 1);
    TYPED(check_sliding_tape)(&whole, 4, 4, 0);
    TYPED(check_sliding_tape)(&whole, 5, 1, 0);
    TYPED(check_sliding_tape)(&whole, 5, 1, 3);
    TYPED(close)(&whole);
    free_problem(&p);
}

/* With the same segment no size falls as T or tape_steps grow, so that buffers for the longest serve all. */
static void TYPED(check_sizes_grow)(int which, int32_t directions, int64_t segment) {
    bptt_spec spec = spec_of((shape){.I = 5, .H = 70, .O = 2}, which, 2, directions);
    bptt_options options = {.struct_size = sizeof options, .segment = segment};
    bptt_sizes before = {.struct_size = sizeof before}, now = before;
    spec.dropout = spec.recurrent_dropout = 0.3;
    name_case("sizes of form %d, %d directions, segment %d", which, (int)directions, (int)segment);
    for (int64_t T = 1; T < 400; T += T < 40 ? 1 : 37) {
        CHECK_STATUS(TYPED(bptt_sizes)(&spec, T, 7, &options, &now), BPTT_OK);
        CHECK(now.tape >= before.tape && now.output > before.output);
        CHECK(now.forward_work >= before.forward_work && now.backward_work >= before.backward_work);
        before = now;
    }
    if (segment || directions == 2) return;
    for (options.tape_steps = 400; options.tape_steps < 800; options.tape_steps += 57) {
        CHECK_STATUS(TYPED(bptt_sizes)(&spec, 300, 7, &options, &now), BPTT_OK);
        CHECK(now.tape > before.tape);
        before.tape = now.tape;
    }
}

static void TYPED(check_tapes)(void) {
    for (int which = 0; which < FORMS; which++) {
        TYPED(check_tape)(which, 1, STATE0);
        TYPED(check_tape)(which, 2, RESET);
        TYPED(check_tape)(which, 2, TRAINING | STATE0 | RESET | CARRY_PER_ROW | CLIP_NORM | NORMS);
        TYPED(check_sizes_grow)(which, 1, 0);
        TYPED(check_sizes_grow)(which, 1, 5);
        TYPED(check_sizes_grow)(which, 2, 0);
    }
}
