/* Tapes that continue: forward in pieces, backward over a part, and a tape that slides along the sequence, all against
 * the tape of the whole sequence. */
#include <stdint.h>
#include <string.h>

#include "bptt.h"
#include "check.h"
#include "problem.h"
#include "real.h"
#include "run.h"

/* Steps t_begin .. t_begin+T-1 as a problem of their own, which borrows all arrays. */
static problem part_of(const problem *p, int64_t t_begin, int64_t T) {
    problem part = *p;
    part.T = T;
    part.first_step = p->first_step + t_begin;
    if (p->tokens) part.tokens += t_begin * p->B;
    else part.x += t_begin * p->B * p->spec.input_size;
    part.dy += t_begin * p->B * p->Y;
    part.reset = p->reset ? p->reset + t_begin * p->B : NULL;
    part.carry = p->carry ? p->carry + t_begin * (p->carry_per_row ? p->B : 1) : NULL;
    part.state0 = t_begin ? NULL : p->state0;
    return part;
}

/* A run on steps tape_first .. tape_first+T-1 of a borrowed tape for tape_steps steps. */
static run open_part(const problem *part, REAL *tape, int64_t tape_first, int64_t tape_steps) {
    run r = open_run(part, 1);
    release(r.tape);
    r.tape = tape;
    r.options.tape_first = tape_first;
    r.options.tape_steps = tape_steps;
    CHECK_STATUS(TYPED(bptt_sizes)(&part->spec, part->T, part->B, &r.options, &r.sizes), BPTT_OK);
    return r;
}

static void close_part(run *r) {
    r->tape = NULL;
    close_run(r);
}

/* Forward over steps t_begin .. t_begin+T-1. The state that enters is state0, or if NULL the one that the tape holds
 * (at t_begin = 0: the problem's). state1 receives the final state. */
static void forward_part(const run *whole, int64_t t_begin, int64_t T, REAL *tape, int64_t tape_first,
                         int64_t tape_steps, const REAL *state0, REAL *state1) {
    problem part = part_of(whole->p, t_begin, T);
    run r = open_part(&part, tape, tape_first, tape_steps);
    REAL *own = r.state0;
    if (state0) r.state0 = (REAL *)state0;
    CHECK_STATUS(forward_run(&r), BPTT_OK);
    CHECK(same_bits(r.sizes.output, r.y, whole->y + t_begin * part.B * part.Y));
    memcpy(state1, r.state1, (size_t)r.sizes.state * sizeof(REAL));
    r.state0 = own;
    close_part(&r);
}

/* Backward over the same steps, on the whole tape and on this one, is the same to the bit. */
static void check_part(const run *whole, int64_t t_begin, int64_t T, REAL *tape, int64_t tape_first,
                       int64_t tape_steps) {
    problem part = part_of(whole->p, t_begin, T);
    run on_whole = open_part(&part, whole->tape, t_begin, whole->p->T);
    run on_tape = open_part(&part, tape, tape_first, tape_steps);
    on_whole.options.state_given = on_tape.options.state_given = part.spec.learn_state && t_begin > 0;
    CHECK_STATUS(backward_run(&on_whole), BPTT_OK);
    CHECK_STATUS(backward_run(&on_tape), BPTT_OK);
    check_same_backward(&on_whole, &on_tape);
    close_part(&on_whole);
    close_part(&on_tape);
}

/* A part of the whole tape gives the same as a tape of these steps alone, entered with the state before them. */
static void check_part_alone(const run *whole, int64_t t_begin, int64_t T) {
    problem before = part_of(whole->p, 0, t_begin), part = part_of(whole->p, t_begin, T);
    run lead = open_run(&before, 1), alone = open_run(&part, 1);
    CHECK_STATUS(forward_run(&lead), BPTT_OK);
    REAL *own = alone.state0;
    alone.state0 = lead.state1;
    alone.options.state_given = part.spec.learn_state;
    CHECK_STATUS(forward_run(&alone), BPTT_OK);
    check_part(whole, t_begin, T, alone.tape, 0, T);
    alone.state0 = own;
    close_run(&lead);
    close_run(&alone);
}

/* A tape for tape_steps steps that slides along the whole sequence, `step` steps at a time. Each shift keeps `less`
 * steps fewer than would fit beside the next ones. */
static void check_sliding_tape(const run *whole, int64_t tape_steps, int64_t step, int64_t less) {
    const problem *p = whole->p;
    const bptt_options options = {.struct_size = sizeof options, .tape_steps = tape_steps};
    bptt_sizes sizes = {.struct_size = sizeof sizes};
    CHECK_STATUS(TYPED(bptt_sizes)(&p->spec, 1, p->B, &options, &sizes), BPTT_OK);
    REAL *tape = array(sizes.tape), *state = array(sizes.state);
    int64_t used = 0;
    for (int64_t t = 0; t + step <= p->T; t += step) {
        int64_t keep = used + step > tape_steps ? tape_steps - step - less : used;
        if (keep < 0) keep = 0;
        if (used) CHECK_STATUS(TYPED(bptt_tape_shift)(&p->spec, p->B, tape_steps, used, keep, tape), BPTT_OK);
        /* at the front of the tape state0 = NULL would mean the begin of the sequence, so it gets the last state */
        forward_part(whole, t, step, tape, keep, tape_steps, t && !keep ? state : NULL, state);
        used = keep + step;
        check_part(whole, t + step - used, used, tape, 0, tape_steps);
        check_part(whole, t, step, tape, keep, tape_steps);
    }
    release(tape);
    release(state);
}

/* Forward in pieces of 5, 1 and 6 steps on one tape; the last is given the state that the tape holds. */
static void check_pieces(const run *whole) {
    REAL *tape = array(whole->sizes.tape), *state = array(whole->sizes.state);
    forward_part(whole, 0, 5, tape, 0, 12, NULL, state);
    forward_part(whole, 5, 1, tape, 5, 12, NULL, state);
    forward_part(whole, 6, 6, tape, 6, 12, state, state);
    CHECK(same_bits(whole->sizes.state, state, whole->state1));
    CHECK(same_bits(whole->sizes.tape, whole->tape, tape));
    check_part(whole, 0, 12, tape, 0, 12);
    check_part(whole, 8, 4, tape, 8, 12);
    check_part(whole, 11, 1, tape, 11, 12);
    check_part(whole, 3, 5, tape, 3, 12);
    release(tape);
    release(state);
}

static void check_tape(bptt_spec spec, unsigned features) {
    spec.learn_state = 1;
    spec.dropout = spec.recurrent_dropout = spec.noise = 0.3;
    problem p = problem_of(spec, 12, 3, features);
    run whole = run_of(&p, 1);
    check_pieces(&whole);
    check_part_alone(&whole, 8, 4);
    check_part_alone(&whole, 11, 1);
    check_part_alone(&whole, 3, 5);
    check_sliding_tape(&whole, 7, 3, 0);
    check_sliding_tape(&whole, 7, 2, 1);
    check_sliding_tape(&whole, 4, 4, 0);
    check_sliding_tape(&whole, 5, 1, 0);
    check_sliding_tape(&whole, 5, 1, 3);
    close_run(&whole);
    free_problem(&p);
}

/* Checkpoints give the same, also where a chunk is a single step of a single row: to the bit but for the gradients by
 * the weights, whose sums are over chunks. */
static void check_segments(bptt_spec spec, int64_t B) {
    static const int64_t segments[] = {1, 2, 5, 12, 100};
    problem p = problem_of(spec, 12, B, STATE0 | DSTATE1);
    run whole = run_of(&p, 1);
    double *expected = doubles_of(whole.sizes.params, whole.grads);
    for (size_t i = 0; i < sizeof segments / sizeof segments[0]; i++) {
        name_case("segments of %d steps, cell %d, B=%d", (int)segments[i], (int)spec.cell, (int)B);
        run segmented = open_segmented_run(&p, 1, segments[i]);
        forward_backward(&segmented);
        check_same_forward(&whole, &segmented);
        check_same_input_grads(&whole, &segmented);
        CHECK_CLOSE(whole.sizes.params, segmented.grads, expected, REAL_BITS == 32 ? 1e-5 : 1e-13);
        close_run(&segmented);
    }
    release(expected);
    close_run(&whole);
    free_problem(&p);
}

/* With the same segment no size falls as T or tape_steps grow, so that buffers for the longest call fit all. */
static void check_sizes_grow(bptt_spec spec, int64_t B, int64_t segment) {
    bptt_options options = {.struct_size = sizeof options, .segment = segment};
    bptt_sizes before = {.struct_size = sizeof before}, now = before;
    spec.dropout = spec.recurrent_dropout = spec.noise = 0.3;
    name_case("sizes: cell %d, H=%d, %d directions, B=%d, segment %d", (int)spec.cell, (int)spec.hidden_size,
              (int)spec.bidirectional + 1, (int)B, (int)segment);
    for (int64_t T = 1; T < 400; T += T < 40 ? 1 : 37) {
        CHECK_STATUS(TYPED(bptt_sizes)(&spec, T, B, &options, &now), BPTT_OK);
        CHECK(now.tape >= before.tape && now.output > before.output);
        CHECK(now.forward_work >= before.forward_work && now.backward_work >= before.backward_work);
        before = now;
    }
    if (segment || spec.bidirectional) return;
    for (options.tape_steps = 400; options.tape_steps < 800; options.tape_steps += 57) {
        CHECK_STATUS(TYPED(bptt_sizes)(&spec, 300, B, &options, &now), BPTT_OK);
        CHECK(now.tape > before.tape);
        before.tape = now.tape;
    }
}

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    for (int which = 0; which < FORMS; which++) {
        const shape s = {.I = 5, .H = 7, .O = 2};
        const bptt_spec one_layer = spec_of(s, which, 1, 1), two_layers = spec_of(s, which, 2, 1);
        check_tape(one_layer, STATE0);
        check_tape(two_layers, RESET);
        check_tape(two_layers, TRAINING | STATE0 | RESET | CARRY_PER_ROW | CLIP_NORM | NORMS);
        check_tape(with_tokens(two_layers, 0, -1), STATE0 | RESET);
        check_tape(with_tokens(one_layer, 20, 3), TRAINING | STATE0);
        check_segments(one_layer, 1);
        check_segments(two_layers, 1);
        check_segments(one_layer, 3);
        const shape wide = {.I = 5, .H = 70, .O = 2};
        check_segments(spec_of(wide, which, 1, 1), 1); /* the product of one row is wider than a vector */
        check_sizes_grow(spec_of(wide, which, 2, 1), 7, 0);
        check_sizes_grow(spec_of(wide, which, 2, 1), 7, 5);
        check_sizes_grow(spec_of(wide, which, 2, 2), 7, 0);
        check_sizes_grow(spec_of(wide, which, 1, 1), 17, 0);
        check_sizes_grow(spec_of(wide, which, 1, 1), 65, 0);
    }
    for (int64_t H = 16; H <= 64; H += 16) {
        const bptt_spec embedding = with_tokens(spec_of((shape){.I = 181, .H = H}, TANH, 1, 1), 2, -1);
        for (int64_t B = 129; B < 132; B++) {
            check_sizes_grow(embedding, B, 0);
            check_sizes_grow(embedding, B, 1000);
        }
    }
    for (int64_t V = 7; V < 64; V += 15) /* a table from T*B = 2V on; the networks so small that little else grows */
        for (int32_t directions = 1; directions < 3; directions++) {
            const bptt_spec one_hot = with_tokens(spec_of((shape){.I = V, .H = 1}, TANH, 1, directions), 0, -1);
            const bptt_spec embedding = with_tokens(spec_of((shape){.I = 99, .H = 1}, TANH, 1, directions), V, -1);
            for (int64_t B = 1; B < 4; B++) {
                check_sizes_grow(one_hot, B, 0);
                check_sizes_grow(embedding, B, 0);
                if (directions == 1) check_sizes_grow(embedding, B, 20);
            }
        }
    return end_of_checks();
}
