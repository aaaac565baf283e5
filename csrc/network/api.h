/* The public functions on a network: sizes, forward, backward, one step at a time, and what is wrong with a call. */
#ifndef BPTT_NETWORK_API_H
#define BPTT_NETWORK_API_H
#include <string.h>

#include "base/arena.h"
#include "base/threads.h"
#include "bptt.h"
#include "network/backward.h"
#include "network/forward.h"
#include "network/single_step.h"
#include "network/states.h"
#include "network/tokens.h"
#include "spec/params.h"
#include "spec/validate.h"

/* ---- the memory of a call ---------------------------------------------------------------------------- */

/* scratch that forward and backward share */
LOCAL void alloc_forward_scratch(call *call, arena *from) {
    const int64_t BH = call->B * call->H;
    call->entering_state = arena_alloc(from, call->shape->states * BH);
    call->dropped_inputs = arena_alloc(from, call->spec.dropout > 0 && call->L > 1 ? call->chunk * call->D * BH : 0);
    call->mask = arena_alloc(from, call->spec.recurrent_dropout > 0 ? BH : 0);
}

LOCAL void alloc_hh_products(call *call, arena *from) {
    call->hh_products = NULL;
    if (call->shape->separate_hh && call->B > 1)
        call->hh_products = arena_alloc(from, call->B * call->shape->blocks * call->H);
}

/* scratch for integer inputs */
LOCAL void alloc_tokens(call *call, arena *from, int pass) {
    token_scratch *scratch = &call->token_scratch[pass];
    const int forward = pass == FORWARD, embeds = call->spec.num_embeddings > 0;
    const int64_t rows = call->chunk * call->B, columns = forward ? z_columns(call) : dz_columns(call);
    const int64_t table_rows = has_token_table(call) ? (forward ? 1 : call->shards) * call->D * call->V : 0;
    if (!call->V) return;
    /* some of it is used without a table only, but sizes must not fall where T grows and a table begins to pay */
    scratch->runs = arena_alloc(from, runs_size(call));
    scratch->inputs = arena_alloc(from, embeds ? rows * call->I : 0);
    scratch->rows = arena_alloc(from, max_of(forward || embeds ? rows : 0, table_rows) * columns);
    if (!forward)
        call->d_token_inputs =
            arena_alloc(from, embeds ? max_of(rows, has_token_table(call) ? call->V : 0) * call->I : 0);
}

LOCAL void alloc_activations(call *call, arena *from, int64_t steps) {
    call->activation_steps = steps;
    call->activations = arena_alloc(from, call->L * layer_activations(call, steps));
}

LOCAL int64_t plan_forward(call *call, REAL *work, int tape) {
    arena from = arena_at(work);
    call->chunk = chunk_steps(call, 1);
    call->panels[FORWARD] = alloc_panels(call, &from, FORWARD);
    alloc_forward_scratch(call, &from);
    alloc_hh_products(call, &from);
    alloc_tokens(call, &from, FORWARD);
    call->masked_h = arena_alloc(&from, call->spec.recurrent_dropout > 0 ? call->B * call->H : 0);
    if (tape) return from.used;
    call->rolling = call->D == 1;
    alloc_activations(call, &from, call->rolling ? call->chunk : call->T);
    return from.used;
}

LOCAL int64_t plan_backward(call *call, REAL *work) {
    arena from = arena_at(work);
    call->chunk = chunk_steps(call, call->shards);
    const int64_t layer_dirs = call->L * call->D, rows = call->chunk * call->B, BH = call->B * call->H;
    const int64_t dh_size = (call->D == 2 ? call->T : call->chunk) * call->B * ld_dh(call);
    const int dz_in_place = bptt_internal_dz_in_place(call->shape),
              recurrent_dropout = call->spec.recurrent_dropout > 0;
    call->panels[BACKWARD] = alloc_panels(call, &from, BACKWARD);
    alloc_forward_scratch(call, &from);
    call->masked_h = arena_alloc(&from, recurrent_dropout ? rows * call->H : 0);
    call->outer_scratch = arena_alloc(&from, call->kernels->outer_scratch(call->shards * most_weight_rows(call)));
    call->shard_grads = arena_alloc(&from, (call->shards - 1) * call->offsets.params);
    call->dh[0] = arena_alloc(&from, dh_size);
    call->dh[1] = call->L > 1 && (call->D == 2 || dz_in_place) ? arena_alloc(&from, dh_size) : call->dh[0];
    call->shard_dy = arena_alloc(&from, call->shards > 1 ? rows * call->O : 0);
    call->dz = arena_alloc(&from, dz_in_place ? 0 : rows * ld_dz(call));
    call->leak_terms = arena_alloc(&from, call->spec.learn_leak ? rows * call->H : 0);
    call->saved_dz_next = arena_alloc(&from, dz_next_in_place(call) ? 0 : layer_dirs * call->B * dz_columns(call));
    call->dh_next = arena_alloc(&from, layer_dirs * BH);
    call->dc_next = arena_alloc(&from, call->shape->states == 2 ? layer_dirs * BH : 0);
    call->d_operand = arena_alloc(&from, bptt_internal_multiplies_gates(call->shape) || recurrent_dropout ? BH : 0);
    call->learned_state_grad = arena_alloc(&from, call->spec.learn_state ? call->shape->states * call->state_size : 0);
    alloc_tokens(call, &from, BACKWARD);
    call->dh_squares = (double *)arena_alloc(&from, rows * (int64_t)(sizeof(double) / sizeof(REAL)));
    call->shard_squares =
        (double *)arena_alloc(&from, call->shards * layer_dirs * call->T * (int64_t)(sizeof(double) / sizeof(REAL)));
    call->skip = (uint8_t *)arena_alloc(&from, call->D == 2 ? rows / (int64_t)sizeof(REAL) + 1 : 0);
    if (!call->options.segment) return from.used;
    call->panels[FORWARD] = alloc_panels(call, &from, FORWARD);
    alloc_hh_products(call, &from);
    alloc_tokens(call, &from, FORWARD);
    alloc_activations(call, &from, min_of(call->options.segment, call->T));
    return from.used;
}

LOCAL int64_t steps_of_tape(const call *call) { return call->options.tape_steps ? call->options.tape_steps : call->T; }

LOCAL int64_t tape_size(const call *call) {
    const int64_t segment = call->options.segment;
    if (segment) return ((call->T - 1) / segment + 1) * call->shape->states * call->state_size;
    return call->L * layer_activations(call, steps_of_tape(call));
}

/* Uses the caller's tape: for all activations, or for the checkpoints, if there are segments. */
LOCAL void use_tape(call *call, REAL *tape) {
    if (call->options.segment) {
        call->checkpoints = tape;
    } else {
        call->activations = tape;
        call->activation_steps = steps_of_tape(call);
    }
}

LOCAL void use_params(call *call, const REAL *params) {
    call->params = params;
    if (call->spec.num_embeddings) call->token_rows = network_param(call, EMBEDDING);
}

/* ---- forward and backward ---------------------------------------------------------------------------- */

/* bptt_forward_f32(), bptt_forward_f64() */
bptt_status TYPED(bptt_forward)(const bptt_spec *spec, int64_t T, int64_t B, const REAL *params, const REAL *x,
                                const REAL *state0, REAL *y, REAL *state1, REAL *tape, REAL *work,
                                const bptt_options *options) {
    call call;
    bptt_status status = begin_call(&call, spec, T, B, options);
    if (status) return status;
    if (!params || !work) return BPTT_ERROR_NULL;
    status = check_inputs(&call, x);
    if (status) return status;
    use_params(&call, params);
    call.x = x;
    call.state0 = state0;
    call.y = y;
    call.state1 = state1;
    call.states = call.options.states;
    plan_forward(&call, work, tape && !call.options.segment);
    if (tape) use_tape(&call, tape);
    pack_forward(&call);
    make_z_table(&call);
    const int64_t most = max_of(1, B / ROWS_PER_THREAD);
    call.tasks = useful_threads(&call, call.step_flops * (double)T, 0, min_of(most, BPTT_INTERNAL_MOST_TASKS));
    bptt_internal_team_tasks(call.options.team, call.tasks, call.tasks, forward_task, ask_poll, &call);
    return call.stop ? BPTT_ERROR_INTERRUPTED : BPTT_OK;
}

/* bptt_backward_f32(), bptt_backward_f64() */
bptt_status TYPED(bptt_backward)(const bptt_spec *spec, int64_t T, int64_t B, const REAL *params, const REAL *x,
                                 const REAL *tape, const REAL *dy, const REAL *dstate1, REAL *dx, REAL *dstate0,
                                 REAL *grads, REAL *work, const bptt_options *options) {
    call call;
    bptt_status status = begin_call(&call, spec, T, B, options);
    if (status) return status;
    if (!params || !tape || !work) return BPTT_ERROR_NULL;
    call.dx = dx;
    status = check_inputs(&call, x);
    if (status) return status;
    use_params(&call, params);
    call.x = x;
    call.dy = dy;
    call.dstate1 = dstate1;
    call.dstates = call.options.dstates;
    call.grads = grads;
    call.needs_dh_norms =
        call.options.step_clip_norm > 0 || call.options.step_clip_value > 0 || call.options.step_norms;
    plan_backward(&call, work);
    use_tape(&call, (REAL *)tape);
    call.dstate0 = dstate0 ? dstate0 : call.spec.learn_state ? call.learned_state_grad : NULL;
    pack_backward(&call);
    if (call.checkpoints) {
        pack_forward(&call);
        make_z_table(&call);
    }
    const int only_weights = B < 2 * ROWS_PER_THREAD;
    const double flops = call.step_flops * (double)T * (only_weights ? 1 : 2);
    const int64_t most = call.shards > 1 ? call.shards : BPTT_INTERNAL_MOST_THREADS;
    backward_on(&call, useful_threads(&call, flops, only_weights, most));
    return call.stop ? BPTT_ERROR_INTERRUPTED : BPTT_OK;
}

/* ---- one step at a time ------------------------------------------------------------------------------ */

/* bptt_pack_f32(), bptt_pack_f64() */
bptt_status TYPED(bptt_pack)(const bptt_spec *spec, const REAL *params, REAL *packed) {
    call call;
    bptt_status status = begin_single_step(&call, spec, 1);
    if (status) return status;
    if (!params || !packed) return BPTT_ERROR_NULL;
    call.params = params;
    pack_weights(&call, packed);
    return BPTT_OK;
}

bptt_status TYPED(bptt_internal_step)(const bptt_spec *spec, int64_t B, const REAL *packed, const REAL *x, REAL *state,
                                      REAL *y, REAL *work) {
    return take_single_step(&(single_step){.kernels = kernel_table(),
                                           .spec = spec,
                                           .packed = packed,
                                           .x = x,
                                           .state = state,
                                           .y = y,
                                           .work = work,
                                           .B = B},
                            0);
}

/* bptt_step_f32(), bptt_step_f64() */
bptt_status TYPED(bptt_step)(const bptt_spec *spec, int64_t B, const REAL *packed, const REAL *x, REAL *state, REAL *y,
                             REAL *work) {
    const kernels *kernels = atomic_load_explicit(&TYPED(bptt_internal_chosen), memory_order_acquire);
    return kernels ? kernels->step(spec, B, packed, x, state, y, work)
                   : TYPED(bptt_internal_step)(spec, B, packed, x, state, y, work);
}

/* bptt_step_tokens_f32(), bptt_step_tokens_f64() */
bptt_status TYPED(bptt_step_tokens)(const bptt_spec *spec, int64_t B, const REAL *packed, const int64_t *tokens,
                                    REAL *state, REAL *y, REAL *work) {
    return take_single_step(&(single_step){.kernels = kernel_table(),
                                           .spec = spec,
                                           .packed = packed,
                                           .tokens = tokens,
                                           .state = state,
                                           .y = y,
                                           .work = work,
                                           .B = B},
                            1);
}

/* ---- what is wrong with a call ------------------------------------------------------------------------- */

/* bptt_explain_f32(), bptt_explain_f64() */
int TYPED(bptt_explain)(const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options, char *text,
                        size_t size) {
    call call;
    bptt_internal_sentence sentence = {text, text ? size : 0, 0};
    if (sentence.size) text[0] = 0;
    const bptt_status status = check_arguments(&call, spec, T, B, options, &sentence);
    if (!status && call.options.tokens) check_tokens(&call, &sentence);
    return sentence.length;
}

/* ---- sizes and the tape ------------------------------------------------------------------------------ */

/* bptt_sizes_f32(), bptt_sizes_f64() */
bptt_status TYPED(bptt_sizes)(const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options,
                              bptt_sizes *sizes) {
    call call;
    bptt_status status = begin_call(&call, spec, T, B, options);
    if (status) return status;
    if (!sizes) return BPTT_ERROR_NULL;
    if (!bptt_internal_size_fits(sizes->struct_size, sizeof *sizes)) return BPTT_ERROR_STRUCT;
    bptt_sizes all = {.struct_size = sizes->struct_size};
    all.params = call.offsets.params;
    all.state = call.shape->states * call.state_size;
    all.output = T * B * call.Y;
    all.tape = tape_size(&call);
    all.forward_work = plan_forward(&call, NULL, 0);
    all.backward_work = plan_backward(&call, NULL);
    all.packed = packed_weights_size(call);
    all.step_work = plan_step(&call.spec, call.shape, B, NULL).size;
    memcpy(sizes, &all, sizes->struct_size);
    return BPTT_OK;
}

/* bptt_tape_shift_f32(), bptt_tape_shift_f64() */
bptt_status TYPED(bptt_tape_shift)(const bptt_spec *spec, int64_t B, int64_t tape_steps, int64_t used, int64_t keep,
                                   REAL *tape) {
    call call;
    bptt_status status = begin_call(&call, spec, tape_steps, B, NULL);
    if (status) return status;
    if (!tape) return BPTT_ERROR_NULL;
    if (used < 1 || used > tape_steps || keep < 0 || keep > used || call.D == 2) return BPTT_ERROR_OPTION;
    use_tape(&call, tape);
    worker worker = {.call = &call};
    const int64_t state = B * call.H, gates = B * gate_columns(&call);
    for (int64_t layer = 0; layer < call.L; layer++) {
        choose_layer_dir(&worker, layer, 0);
        for (int part = 0; part < call.shape->states; part++)
            memmove(state_at(&call, layer, 0, part, 0), state_at(&call, layer, 0, part, used - keep),
                    (size_t)((keep + 1) * state) * sizeof(REAL));
        if (gates) memmove(gates_at(&worker, 0), gates_at(&worker, used - keep), (size_t)(keep * gates) * sizeof(REAL));
    }
    return BPTT_OK;
}
#endif
