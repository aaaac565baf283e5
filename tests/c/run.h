/* One problem given to the core: buffers of exactly the sizes it asks for, and what it made of them. Include after
 * real.h, once per type. */
#include "reference.h"

typedef struct {
    const problem *p;
    bptt_options options;
    bptt_sizes sizes;
    REAL *params, *x, *state0, *dy, *dstate1, *carry;            /* inputs */
    REAL *y, *state1, *tape, *dx, *dstate0, *grads, *step_norms; /* outputs */
    int64_t forward_steps;
} TYPED(run);

/* grads are added to, so they start at something; eighths, so that adding is exact in both types */
static inline double TYPED(grads_before)(int64_t i) { return 0.125 * (double)(i % 5); }

static inline int64_t TYPED(inputs)(const TYPED(run) * r) { return r->p->T * r->p->B * r->p->spec.input_size; }
static inline int64_t TYPED(norms)(const TYPED(run) * r) { return units_of(&r->p->spec) * r->p->T; }

static inline void TYPED(make_outputs)(TYPED(run) * r) {
    r->y = TYPED(array)(r->sizes.output);
    r->state1 = TYPED(array)(r->sizes.state);
    r->tape = TYPED(array)(r->sizes.tape);
    r->dx = TYPED(array)(TYPED(inputs)(r));
    r->dstate0 = TYPED(array)(r->sizes.state);
    r->grads = TYPED(array)(r->sizes.params);
    for (int64_t i = 0; i < r->sizes.params; i++) r->grads[i] = (REAL)TYPED(grads_before)(i);
}

static inline bptt_options TYPED(options_of)(const problem *p, const REAL *carry, int threads) {
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
                          .first_step = p->first_step};
}

/* with checkpoints every `segment` steps, 0: with the whole tape */
static inline TYPED(run) TYPED(open_segments)(const problem *p, int threads, int64_t segment) {
    TYPED(run) r = {.p = p, .sizes.struct_size = sizeof r.sizes};
    r.params = TYPED(copy_of)(ends_of(&p->spec).total, p->params);
    r.x = TYPED(copy_of)(TYPED(inputs)(&r), p->x);
    r.state0 = TYPED(copy_of)(state_size(p), p->state0);
    r.dy = TYPED(copy_of)((p->T - p->dy_start) * p->B * p->Y, p->dy);
    r.dstate1 = TYPED(copy_of)(state_size(p), p->dstate1);
    r.carry = TYPED(copy_of)(p->carry_per_row ? p->T * p->B : p->T, p->carry);
    r.step_norms = TYPED(array)(TYPED(norms)(&r));
    r.options = TYPED(options_of)(p, r.carry, threads);
    r.options.step_norms = p->norms ? r.step_norms : NULL;
    r.options.segment = segment;
    CHECK_STATUS(TYPED(bptt_sizes)(&p->spec, p->T, p->B, &r.options, &r.sizes), BPTT_OK);
    TYPED(make_outputs)(&r);
    return r;
}

static inline TYPED(run) TYPED(open)(const problem *p, int threads) { return TYPED(open_segments)(p, threads, 0); }

static inline void TYPED(close)(TYPED(run) * r) {
    REAL *const all[] = {r->params, r->x,    r->state0, r->dy,      r->dstate1, r->carry,     r->y,
                         r->state1, r->tape, r->dx,     r->dstate0, r->grads,   r->step_norms};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

/* with scratch memory of exactly the size asked */
static inline bptt_status TYPED(forward_to)(TYPED(run) * r, REAL *tape) {
    REAL *work = TYPED(array)(r->sizes.forward_work);
    const bptt_status status = TYPED(bptt_forward)(&r->p->spec, r->p->T, r->p->B, r->params, r->x, r->state0, r->y,
                                                   r->state1, tape, work, &r->options);
    release(work);
    return status;
}

static inline bptt_status TYPED(backward)(TYPED(run) * r) {
    REAL *work = TYPED(array)(r->sizes.backward_work);
    const bptt_status status = TYPED(bptt_backward)(&r->p->spec, r->p->T, r->p->B, r->params, r->x, r->tape, r->dy,
                                                    r->dstate1, r->dx, r->dstate0, r->grads, work, &r->options);
    release(work);
    return status;
}

static inline bptt_status TYPED(forward)(TYPED(run) * r) { return TYPED(forward_to)(r, r->tape); }

static inline void TYPED(both)(TYPED(run) * r) {
    CHECK_STATUS(TYPED(forward)(r), BPTT_OK);
    CHECK_STATUS(TYPED(backward)(r), BPTT_OK);
}

/* forward, then backward */
static inline TYPED(run) TYPED(run_of)(const problem *p, int threads) {
    TYPED(run) r = TYPED(open)(p, threads);
    TYPED(both)(&r);
    return r;
}

static inline void TYPED(check_same_forward)(const TYPED(run) * a, const TYPED(run) * b) {
    CHECK(TYPED(same_bits)(a->sizes.output, a->y, b->y));
    CHECK(TYPED(same_bits)(a->sizes.state, a->state1, b->state1));
}

static inline void TYPED(check_same_flow)(const TYPED(run) * a, const TYPED(run) * b) {
    CHECK(TYPED(same_bits)(TYPED(inputs)(a), a->dx, b->dx));
    CHECK(TYPED(same_bits)(a->sizes.state, a->dstate0, b->dstate0));
    if (a->p->norms) CHECK(TYPED(same_bits)(TYPED(norms)(a), a->step_norms, b->step_norms));
}

static inline void TYPED(check_same_backward)(const TYPED(run) * a, const TYPED(run) * b) {
    TYPED(check_same_flow)(a, b);
    CHECK(TYPED(same_bits)(a->sizes.params, a->grads, b->grads));
}

static inline void TYPED(check_same)(const TYPED(run) * a, const TYPED(run) * b) {
    TYPED(check_same_forward)(a, b);
    TYPED(check_same_backward)(a, b);
}
