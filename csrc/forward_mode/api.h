/* The public functions of learners: sizes, reset, a step, its backward. */
#ifndef BPTT_FORWARD_MODE_API_H
#define BPTT_FORWARD_MODE_API_H
#include "forward_mode/rtrl.h"
#include "forward_mode/snap1.h"
#include "network/tokens.h"
#include "spec/validate.h"

/* ---- the arguments and the memory of a call ---------------------------------------------------------- */

/* Whether the buffers of a learner, each of a few such sizes, can be addressed. */
LOCAL int learner_fits(const learner *learner) {
    const call *call = &learner->call;
    const double B = (double)call->B, S = (double)learner->span, n = (double)learner->state_units;
    const double most = (double)(PTRDIFF_MAX / 64 / (int64_t)sizeof(double)), columns = (double)learner->ld + LINE;
    const double of_step = B * (double)(call->I + 8 * call->H) + 2 * columns + 2 * (double)learner->readout;
    return fmax(n * columns * B, S * fmax(of_step, n * (double)(8 * call->H))) < most;
}

/* Whether no option is set but those that a learner uses. */
LOCAL int only_learner_options(const bptt_options *options) {
    const uintptr_t arrays = (uintptr_t)options->reset | (uintptr_t)options->lengths | (uintptr_t)options->carry |
                             (uintptr_t)options->states | (uintptr_t)options->dstates | (uintptr_t)options->step_norms |
                             (uintptr_t)options->forward_steps;
    const int64_t numbers = options->carry_per_row | options->state_given | options->dy_start | options->tape_steps |
                            options->tape_first | options->segment;
    const int others = (options->poll != NULL) | (options->step_clip_norm > 0) | (options->step_clip_value > 0);
    return !(arrays | (uint64_t)numbers) & !others;
}

/* Whether the method trains networks of a spec that is right. */
LOCAL int is_learnable(const bptt_spec *spec, int32_t method) {
    if (method != BPTT_METHOD_RTRL && method != BPTT_METHOD_SNAP1) return 0;
    if (spec->num_layers > 1 || spec->bidirectional || spec->recurrent_dropout > 0) return 0;
    return method == BPTT_METHOD_RTRL || !bptt_internal_multiplies_gates(bptt_internal_shape_of(spec));
}

/* Checks the arguments that all calls share and derives the sizes; no pointers yet. */
LOCAL bptt_status begin_learner(learner *learner, const bptt_spec *spec, int32_t method, int64_t B,
                                const bptt_options *options) {
    call *call = &learner->call;
    memset(learner, 0, sizeof *learner); /* a reset copies all of it to the memory, what lies between members too */
    const bptt_status status = begin_call(call, spec, 1, B, options);
    if (status) return status;
    if (!is_learnable(&call->spec, method)) return BPTT_ERROR_OPTION;
    if (!only_learner_options(&call->options)) return BPTT_ERROR_OPTION;
    call->spec.struct_size = sizeof call->spec;
    learner->method = method;
    size_learner(learner);
    if (!learner_fits(learner)) return BPTT_ERROR_OVERFLOW;
    learner->influence_size =
        method == BPTT_METHOD_RTRL ? learner->state_units * learner->ld : snap1_influence_size(learner);
    return BPTT_OK;
}

LOCAL void use_learner_params(learner *learner, const REAL *params) {
    learner->call.params = params;
    if (learner->call.spec.num_embeddings) learner->call.token_rows = network_weight(learner, EMBEDDING);
}

/* Checks all arguments that the calls share, one by one: the status of the first that is wrong. */
LOCAL bptt_status open_learner(learner *learner, const bptt_spec *spec, int32_t method, int64_t B, const REAL *params,
                               REAL *memory, const bptt_options *options) {
    const bptt_status status = begin_learner(learner, spec, method, B, options);
    if (status) return status;
    if (!params || !memory) return BPTT_ERROR_NULL;
    plan_memory(learner, memory);
    use_learner_params(learner, params);
    return BPTT_OK;
}

/* Whether a reset has made the memory that of such a learner. */
LOCAL int is_made(const learner *learner, const REAL *memory) {
    const call *call = &learner->call;
    const learner_head *head = learner->head;
    if (learner != &head->opened &&
        !(is_tagged(memory) && is_made_for(head, call->kernels, &call->spec, learner->method, call->B)))
        return 0;
    return head->steps >= 0 && head->steps <= learner->span;
}

/* Makes the memory that of this learner. */
LOCAL void make_memory(const learner *learner, REAL *memory) {
    const call *call = &learner->call;
    const int64_t tag = LEARNER_TAG;
    learner_head *head = learner->head;
    memcpy(memory, &tag, sizeof tag);
    memset(head, 0, sizeof *head);
    head->opened = *learner;
    head->by_rows = *call->kernels;
    head->by_rows.multiply = call->kernels->multiply_by_rows;
    head->layout = (learner_layout){.real_bits = REAL_BITS,
                                    .vector_bytes = call->kernels->vector_bytes,
                                    .method = learner->method,
                                    .rows = call->B,
                                    .spec = call->spec};
}

/* open_learner for a step or its backward: `opened` becomes `own`, or the learner in memory where the spec equals that
 * of reset, whose sizes and places are right. */
LOCAL bptt_status reopen_learner(learner *own, learner **opened, const bptt_spec *spec, int32_t method, int64_t B,
                                 const REAL *params, REAL *memory, const bptt_options *options) {
    const kernels *kernels = kernel_table();
    arena from = behind_tag(memory);
    learner_head *head = alloc_head(&from);
    bptt_options full;
    *opened = own;
    if (kernels && spec && params && memory && spec->struct_size == sizeof *spec && is_tagged(memory) &&
        is_made_for(head, kernels, spec, method, B) && !bptt_internal_check_options(spec, 1, options, &full, NULL) &&
        only_learner_options(&full)) {
        *opened = &head->opened;
        head->opened.call.options = full;
        use_learner_params(&head->opened, params);
        return BPTT_OK;
    }
    return open_learner(own, spec, method, B, params, memory, options);
}

/* Elements of the scratch of any call. */
LOCAL int64_t learner_work(learner *learner) {
    arena forward = {NULL, LINE};
    rtrl rtrl = {.learner = learner};
    snap1 snap1 = {.learner = learner};
    alloc_forward_step(&learner->call, &forward);
    if (learner->method == BPTT_METHOD_SNAP1) return max_of(forward.used, plan_snap1(&snap1, NULL));
    return max_of(forward.used, max_of(plan_rtrl(&rtrl, NULL, 0), plan_rtrl(&rtrl, NULL, 1)));
}

/* What must be done before another step goes onto the tape. */
LOCAL void make_room_on_tape(learner *learner, REAL *work) {
    rtrl rtrl = {.learner = learner};
    if (learner->head->steps < learner->span) return;
    if (learner->method == BPTT_METHOD_RTRL) {
        plan_rtrl(&rtrl, work, 0);
        fold(&rtrl);
        return;
    }
    finish_step(learner);
    learner->head->steps = 0;
    for (int64_t row = 0; row < learner->call.B; row++) learner->counts[row] = 0;
}

/* ---- the functions ----------------------------------------------------------------------------------- */

/* bptt_learner_sizes_f32(), bptt_learner_sizes_f64() */
bptt_status TYPED(bptt_learner_sizes)(const bptt_spec *spec, bptt_method method, int64_t B, bptt_learner_sizes *sizes) {
    learner learner;
    const bptt_status status = begin_learner(&learner, spec, method, B, NULL);
    if (status) return status;
    if (!sizes) return BPTT_ERROR_NULL;
    if (!bptt_internal_size_fits(sizes->struct_size, sizeof *sizes)) return BPTT_ERROR_STRUCT;
    const bptt_learner_sizes all = {.struct_size = sizes->struct_size,
                                    .memory = plan_memory(&learner, NULL),
                                    .work = learner_work(&learner),
                                    .influence = B * learner.influence_size,
                                    .span = learner.span};
    memcpy(sizes, &all, sizes->struct_size);
    return BPTT_OK;
}

/* A row's state becomes the one given, which may lie where it does, or the first one of a sequence. */
LOCAL void set_row_state(const learner *learner, int64_t row, const REAL *state0, REAL *state) {
    const call *call = &learner->call;
    for (int part = 0; part < call->shape->states; part++) {
        const int64_t at = state_offset(call, 0, part, row);
        copy_or_clear(state + at, state0 ? state0 + at : network_weight(learner, part ? STATE_C0 : STATE_H0), call->H);
    }
}

/* bptt_learner_reset_f32(), bptt_learner_reset_f64() */
bptt_status TYPED(bptt_learner_reset)(const bptt_spec *spec, bptt_method method, int64_t B, const REAL *params,
                                      const uint8_t *rows, const REAL *state0, REAL *state, REAL *memory) {
    learner learner;
    const bptt_status status = open_learner(&learner, spec, method, B, params, memory, NULL);
    if (status) return status;
    if (!state) return BPTT_ERROR_NULL;
    if (rows && !is_made(&learner, memory)) return BPTT_ERROR_OPTION;
    if (!rows) make_memory(&learner, memory);
    for (int64_t row = 0; row < B; row++) {
        if (rows && !rows[row]) continue;
        set_row_state(&learner, row, state0, state);
        learner.counts[row] = 0;
        learner.kinds[row] = state0 ? INFLUENCE_NONE : INFLUENCE_LEARNED;
        if (method == BPTT_METHOD_SNAP1) snap1_reset(&learner, row);
    }
    return BPTT_OK;
}

/* bptt_learner_step_f32(), bptt_learner_step_f64() */
bptt_status TYPED(bptt_learner_step)(const bptt_spec *spec, bptt_method method, int64_t B, const REAL *params,
                                     const REAL *x, REAL *state, REAL *y, REAL *memory, REAL *work,
                                     const bptt_options *options) {
    learner own, *learner;
    bptt_status status = reopen_learner(&own, &learner, spec, method, B, params, memory, options);
    if (status) return status;
    if (!state || !work) return BPTT_ERROR_NULL;
    status = check_inputs(&learner->call, x);
    if (status) return status;
    if (!is_made(learner, memory)) return BPTT_ERROR_OPTION;
    learner->call.x = x;
    make_room_on_tape(learner, work);
    forward_onto_tape(learner, state, y, work);
    if (method == BPTT_METHOD_SNAP1) {
        snap1 snap1 = {.learner = learner};
        plan_snap1(&snap1, work);
        begin_step_influence(&snap1);
    }
    return BPTT_OK;
}

/* bptt_learner_backward_f32(), bptt_learner_backward_f64() */
bptt_status TYPED(bptt_learner_backward)(const bptt_spec *spec, bptt_method method, int64_t B, const REAL *params,
                                         const REAL *dy, REAL *grads, REAL *memory, REAL *work,
                                         const bptt_options *options) {
    learner own, *learner;
    const bptt_status status = reopen_learner(&own, &learner, spec, method, B, params, memory, options);
    if (status) return status;
    if (!dy || !grads || !work) return BPTT_ERROR_NULL;
    if (!is_made(learner, memory)) return BPTT_ERROR_OPTION;
    if (method == BPTT_METHOD_SNAP1) {
        snap1 snap1 = {.learner = learner};
        plan_snap1(&snap1, work);
        snap1_backward(&snap1, dy, grads);
    } else {
        rtrl rtrl = {.learner = learner, .dy = dy, .to = grads};
        plan_rtrl(&rtrl, work, 1);
        rtrl_backward(&rtrl);
    }
    return BPTT_OK;
}
#endif
