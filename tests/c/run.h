/* A run: one problem in the core's type, with buffers of exactly the sizes that the core asks for. */
#ifndef RUN_H
#define RUN_H
#include <stdint.h>

#include "bptt.h"
#include "check.h"
#include "problem.h"
#include "real.h"

typedef struct {
    const problem *p;
    bptt_options options;
    bptt_sizes sizes;
    REAL *params, *x, *state0, *dy, *dstate1, *dstates, *carry;           /* inputs */
    REAL *y, *state1, *states, *tape, *dx, *dstate0, *grads, *step_norms; /* outputs; states NULL: not wanted */
} run;

/* What grads hold before backward, which adds to them; eighths, so that the sum is exact in both types. */
LOCAL double grads_before(int64_t i) { return 0.125 * (double)(i % 5); }

/* elements of x and dx; none where the inputs are integers */
LOCAL int64_t input_count(const run *r) { return r->p->tokens ? 0 : r->p->T * r->p->B * r->p->spec.input_size; }
LOCAL int64_t norm_count(const run *r) { return layer_dirs_of(&r->p->spec) * r->p->T; }

LOCAL void make_outputs(run *r) {
    r->y = array(r->sizes.output);
    r->state1 = array(r->sizes.state);
    r->states = r->p->dstates ? array(r->p->T * r->sizes.state) : NULL;
    r->tape = array(r->sizes.tape);
    r->dx = r->p->tokens ? NULL : array(input_count(r));
    r->dstate0 = array(r->sizes.state);
    r->grads = array(r->sizes.params);
    for (int64_t i = 0; i < r->sizes.params; i++) r->grads[i] = (REAL)grads_before(i);
}

LOCAL bptt_options options_of(const problem *p, const REAL *carry, int threads) {
    return (bptt_options){.struct_size = sizeof(bptt_options),
                          .threads = threads,
                          .carry_per_row = p->carry_per_row,
                          .reset = p->reset,
                          .carry = carry,
                          .step_clip_norm = p->clip_norm,
                          .step_clip_value = p->clip_value,
                          .dy_start = p->dy_start,
                          .lengths = p->lengths,
                          .training = p->training,
                          .state_given = p->spec.learn_state && p->state0,
                          .dropout_seed = p->seed,
                          .first_step = p->first_step,
                          .tokens = p->tokens};
}

/* A run with a checkpoint at every `segment` steps; 0: with the whole tape. */
LOCAL run open_segmented_run(const problem *p, int threads, int64_t segment) {
    run r = {.p = p, .sizes.struct_size = sizeof r.sizes};
    r.params = copy_of(network_tensors_of(&p->spec).total, p->params);
    r.x = copy_of(input_count(&r), p->x);
    r.state0 = copy_of(state_size(p), p->state0);
    r.dy = copy_of((p->T - p->dy_start) * p->B * p->Y, p->dy);
    r.dstate1 = copy_of(state_size(p), p->dstate1);
    r.dstates = copy_of(p->T * state_size(p), p->dstates);
    r.carry = copy_of(p->carry_per_row ? p->T * p->B : p->T, p->carry);
    r.step_norms = array(norm_count(&r));
    r.options = options_of(p, r.carry, threads);
    r.options.step_norms = p->norms ? r.step_norms : NULL;
    r.options.segment = segment;
    CHECK_STATUS(TYPED(bptt_sizes)(&p->spec, p->T, p->B, &r.options, &r.sizes), BPTT_OK);
    make_outputs(&r);
    r.options.states = r.states;
    r.options.dstates = r.dstates;
    return r;
}

LOCAL run open_run(const problem *p, int threads) { return open_segmented_run(p, threads, 0); }

LOCAL void close_run(run *r) {
    REAL *const all[] = {r->params, r->x,    r->state0, r->dy,      r->dstate1, r->carry,      r->y,     r->dstates,
                         r->state1, r->tape, r->dx,     r->dstate0, r->grads,   r->step_norms, r->states};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

/* Forward with this tape, which may be NULL. */
LOCAL bptt_status forward_run_to(run *r, REAL *tape) {
    REAL *work = array(r->sizes.forward_work);
    const bptt_status status = TYPED(bptt_forward)(&r->p->spec, r->p->T, r->p->B, r->params, r->x, r->state0, r->y,
                                                   r->state1, tape, work, &r->options);
    release(work);
    return status;
}

LOCAL bptt_status backward_run(run *r) {
    REAL *work = array(r->sizes.backward_work);
    const bptt_status status = TYPED(bptt_backward)(&r->p->spec, r->p->T, r->p->B, r->params, r->x, r->tape, r->dy,
                                                    r->dstate1, r->dx, r->dstate0, r->grads, work, &r->options);
    release(work);
    return status;
}

LOCAL bptt_status forward_run(run *r) { return forward_run_to(r, r->tape); }

LOCAL void forward_backward(run *r) {
    CHECK_STATUS(forward_run(r), BPTT_OK);
    CHECK_STATUS(backward_run(r), BPTT_OK);
}

/* A run after forward and backward. */
LOCAL run run_of(const problem *p, int threads) {
    run r = open_run(p, threads);
    forward_backward(&r);
    return r;
}

LOCAL void check_same_forward(const run *a, const run *b) {
    CHECK(same_bits(a->sizes.output, a->y, b->y));
    CHECK(same_bits(a->sizes.state, a->state1, b->state1));
    if (a->states && b->states) CHECK(same_bits(a->p->T * a->sizes.state, a->states, b->states));
}

LOCAL void check_same_input_grads(const run *a, const run *b) {
    if (a->dx) CHECK(same_bits(input_count(a), a->dx, b->dx));
    CHECK(same_bits(a->sizes.state, a->dstate0, b->dstate0));
    if (a->p->norms) CHECK(same_bits(norm_count(a), a->step_norms, b->step_norms));
}

LOCAL void check_same_backward(const run *a, const run *b) {
    check_same_input_grads(a, b);
    CHECK(same_bits(a->sizes.params, a->grads, b->grads));
}

LOCAL void check_same(const run *a, const run *b) {
    check_same_forward(a, b);
    check_same_backward(a, b);
}
#endif
