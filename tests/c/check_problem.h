/* check_problem: one problem in the core against the naive loops, and against itself where two calls must agree to the
 * bit. */
#ifndef CHECK_PROBLEM_H
#define CHECK_PROBLEM_H
#include <math.h>
#include <stdint.h>

#include "bptt.h"
#include "check.h"
#include "problem.h"
#include "real.h"
#include "reference.h"
#include "run.h"

/* Relative to the largest element of a tensor; not smaller, because a tensor of one element may be a sum that cancels.
 */
#ifndef TOLERANCE
#define TOLERANCE (REAL_BITS == 32 ? 1e-4 : 1e-13)
#endif

LOCAL void check_sizes(const run *r) {
    const problem *p = r->p;
    CHECK(r->sizes.params == network_tensors_of(&p->spec).total);
    CHECK(r->sizes.state == state_size(p));
    CHECK(r->sizes.output == p->T * p->B * p->Y);
}

/* The tape of one vanilla layer without a leak: the initial state, then h_0 .. h_{T-1}. */
LOCAL void check_plain_tape(const run *r, const trace *expected) {
    const problem *p = r->p;
    if (blocks_of(&p->spec) > 1 || layer_dirs_of(&p->spec) > 1 || p->lengths) return;
    if (p->spec.leak > 0 || p->spec.learn_leak) return;
    CHECK(r->sizes.tape == (p->T + 1) * r->sizes.state);
    if (r->state0) CHECK(same_bits(r->sizes.state, r->tape, r->state0));
    CHECK_CLOSE(p->T * r->sizes.state, r->tape + r->sizes.state, expected->h, TOLERANCE);
    CHECK(same_bits(r->sizes.state, r->state1, r->tape + p->T * r->sizes.state));
}

LOCAL void check_forward(const run *r, const trace *expected) {
    CHECK_CLOSE(r->sizes.output, r->y, expected->y, TOLERANCE);
    CHECK_CLOSE(r->sizes.state, r->state1, expected->state1, TOLERANCE);
    if (r->states) {
        double *states = naive_states(r->p, expected);
        CHECK_CLOSE(r->p->T * r->sizes.state, r->states, states, TOLERANCE);
        release(states);
    }
    check_plain_tape(r, expected);
}

/* Each tensor against its own largest element, so that errors in small gradients do not hide behind large ones. The
 * bound has a floor for a tensor whose single element is a small sum of large terms. */
LOCAL void check_gradients(const run *r, const gradients *expected) {
    const bptt_spec *spec = &r->p->spec;
    const double floor = largest_of(r->sizes.params, expected->grads) / 20;
    int64_t count = 0, covered = 0;
    CHECK_STATUS(bptt_tensor_count(spec, &count), BPTT_OK);
    for (int64_t i = 0; i < count; i++) {
        bptt_tensor tensor;
        CHECK_STATUS(bptt_tensor_at(spec, i, &tensor), BPTT_OK);
        const int64_t n = tensor.rows * (tensor.cols ? tensor.cols : 1);
        double *sum = zeros(n);
        for (int64_t j = 0; j < n; j++) sum[j] = expected->grads[tensor.offset + j] + grads_before(tensor.offset + j);
        CHECK_WITHIN(n, r->grads + tensor.offset, sum, TOLERANCE * fmax(largest_of(n, sum), floor));
        release(sum);
        covered += n;
    }
    CHECK(covered == r->sizes.params);
}

LOCAL void check_backward(const run *r, const gradients *expected) {
    check_gradients(r, expected);
    if (r->dx) CHECK_CLOSE(input_count(r), r->dx, expected->dx, TOLERANCE);
    CHECK_CLOSE(r->sizes.state, r->dstate0, expected->dstate0, TOLERANCE);
    if (r->p->norms) CHECK_CLOSE(norm_count(r), r->step_norms, expected->step_norms, TOLERANCE);
}

/* Forward without a tape, and once more with state1 = state0. */
LOCAL void check_without_tape(const run *r) {
    run other = open_run(r->p, r->options.threads);
    CHECK_STATUS(forward_run_to(&other, NULL), BPTT_OK);
    check_same_forward(r, &other);
    if (other.state0) {
        REAL *own = other.state1;
        other.state1 = other.state0;
        CHECK_STATUS(forward_run_to(&other, NULL), BPTT_OK);
        check_same_forward(r, &other);
        other.state1 = own;
    }
    close_run(&other);
}

/* Every buffer `shift` elements off the alignment of malloc, and filled with a finite number instead of NaN. */
LOCAL void check_other_memory(const run *r, int64_t shift, int fill) {
    buffer_shift = shift * (int64_t)sizeof(REAL);
    buffer_fill = fill;
    run other = run_of(r->p, r->options.threads);
    check_same(r, &other);
    close_run(&other);
    buffer_shift = 0;
    buffer_fill = 0xff;
}

/* Unwanted outputs (NULL), and dstate0 = dstate1. */
LOCAL void check_unwanted(const run *r) {
    run other = open_run(r->p, r->options.threads), given = other;
    given.state1 = given.tape = given.dx = given.dstate0 = given.grads = NULL;
    CHECK_STATUS(forward_run(&given), BPTT_OK);
    CHECK(same_bits(r->sizes.output, r->y, other.y));
    given.y = NULL;
    given.state1 = other.state1;
    CHECK_STATUS(forward_run(&given), BPTT_OK);
    given.tape = r->tape;
    CHECK_STATUS(backward_run(&given), BPTT_OK);
    given.grads = other.grads;
    CHECK_STATUS(backward_run(&given), BPTT_OK);
    given.grads = NULL;
    given.dx = other.dx;
    CHECK_STATUS(backward_run(&given), BPTT_OK);
    given.dx = NULL;
    given.dstate0 = given.dstate1 ? given.dstate1 : other.dstate0;
    CHECK_STATUS(backward_run(&given), BPTT_OK);
    REAL *own = other.dstate0;
    other.dstate0 = given.dstate0;
    check_same(r, &(run){.p = r->p,
                         .sizes = r->sizes,
                         .y = other.y,
                         .state1 = other.state1,
                         .dx = other.dx,
                         .dstate0 = other.dstate0,
                         .grads = other.grads,
                         .step_norms = other.step_norms});
    other.dstate0 = own;
    close_run(&other);
}

/* The same outputs one step at a time; at odd steps y overlaps x. Not for two directions, resets, lengths or dropout.
 */
LOCAL void check_steps(const run *r, int64_t shift) {
    const problem *p = r->p;
    const int64_t step_inputs = p->tokens ? 0 : p->B * p->spec.input_size, step_outputs = p->B * p->Y,
                  H = p->spec.hidden_size;
    if (p->spec.bidirectional || p->reset || p->lengths || p->training) return;
    buffer_shift = shift * (int64_t)sizeof(REAL);
    REAL *packed = array(r->sizes.packed), *work = array(r->sizes.step_work);
    REAL *state = array(r->sizes.state), *y = array(step_outputs + step_inputs);
    buffer_shift = 0;
    for (int64_t i = 0; i < r->sizes.state; i++) {
        const int64_t part = i / (r->sizes.state / parts_of(&p->spec)),
                      layer_dir = i / (p->B * H) % layer_dirs_of(&p->spec);
        const REAL *learned =
            p->spec.learn_state ? r->params + network_tensors_of(&p->spec).state[part] + layer_dir * H : NULL;
        state[i] = r->state0 ? r->state0[i] : learned ? learned[i % H] : 0;
    }
    CHECK_STATUS(TYPED(bptt_pack)(&p->spec, r->params, packed), BPTT_OK);
    for (int64_t t = 0; t < p->T; t++) {
        const int last = t == p->T - 1; /* whose output is not wanted: the state must be computed all the same */
        const REAL *x = p->tokens ? NULL : r->x + t * step_inputs;
        if (x && t % 2) x = memcpy(y + t / 2 % 2, x, (size_t)step_inputs * sizeof(REAL));
        CHECK_STATUS(
            x ? TYPED(bptt_step)(&p->spec, p->B, packed, x, state, last ? NULL : y, work)
              : TYPED(bptt_step_tokens)(&p->spec, p->B, packed, p->tokens + t * p->B, state, last ? NULL : y, work),
            BPTT_OK);
        CHECK(last || same_bits(step_outputs, y, r->y + t * step_outputs));
    }
    CHECK(same_bits(r->sizes.state, state, r->state1));
    REAL *const all[] = {packed, work, state, y};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

/* ---- checkpoints --------------------------------------------------------------------------------------- */

/* The same bits but for the gradients of the parameters, which are summed in another order; backward computes all steps
 * forward again. */
LOCAL void check_segment(const run *r, int64_t k) {
    const problem *p = r->p;
    int64_t steps = 5;
    run other = open_segmented_run(p, r->options.threads, k);
    other.options.forward_steps = &steps;
    CHECK(other.sizes.tape == ((p->T - 1) / k + 1) * r->sizes.state);
    CHECK_STATUS(forward_run(&other), BPTT_OK);
    CHECK(steps == 5 + p->T);
    CHECK_STATUS(backward_run(&other), BPTT_OK);
    CHECK(steps == 5 + 2 * p->T);
    double *grads = doubles_of(r->sizes.params, r->grads);
    CHECK_CLOSE(r->sizes.params, other.grads, grads, TOLERANCE / 4);
    release(grads);
    check_same_forward(r, &other);
    check_same_input_grads(r, &other);
    CHECK_STATUS(forward_run_to(&other, NULL), BPTT_OK);
    check_same_forward(r, &other);
    close_run(&other);
}

/* Three lengths of six, those with this parity. */
LOCAL void check_segments(const run *r, int odd) {
    const int64_t T = r->p->T, lengths[] = {1, 2, 7, T, INT64_MAX, T + 3};
    if (r->p->spec.bidirectional) return;
    for (int i = odd; i < 6; i += 2) check_segment(r, lengths[i]);
}

/* ---- all of one problem ---------------------------------------------------------------------------------- */

/* Against itself. Every other problem gets the other half of the shifts and of the segments, which saves half the time.
 */
LOCAL void check_alone(const run *r) {
    static int problems;
    const int odd = (problems + problems / 16) % 2; /* shifted after 16, so that lists of 16 problems get both halves */
    problems++;
    check_without_tape(r);
    check_other_memory(r, odd ? 1 : 7, odd ? 0x3f : 0);
    check_unwanted(r);
    check_steps(r, odd ? 0 : 7);
    check_segments(r, odd);
}

LOCAL void check_problem(const problem *p, const trace *tr, const gradients *g) {
    int64_t steps = 3;
    run r = open_run(p, 1);
    r.options.forward_steps = &steps;
    forward_backward(&r);
    CHECK(steps == 3 + p->T);
    r.options.forward_steps = NULL;
    check_sizes(&r);
    check_forward(&r, tr);
    check_backward(&r, g);
    check_alone(&r);
    close_run(&r);
    problem noted = *p;
    noted.norms = 1;
    run with_norms = run_of(&noted, 1);
    check_backward(&with_norms, g);
    close_run(&with_norms);
}

/* The same, with the expected results computed first. */
LOCAL void check_against_naive(const problem *p) {
    trace tr = naive_forward(p, NULL);
    gradients g = naive_backward(p, &tr);
    check_problem(p, &tr, &g);
    free_gradients(&g);
    free_trace(&tr);
}
#endif
