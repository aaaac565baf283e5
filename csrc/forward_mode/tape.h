/* The tape of a learner, and a step forward onto it: by products with weights as they lie in the parameters, as packing
 * them would take as long as the step. */
#ifndef BPTT_FORWARD_MODE_TAPE_H
#define BPTT_FORWARD_MODE_TAPE_H
#include "cells/cells.h"
#include "forward_mode/learner.h"
#include "network/noise.h"

/* ---- the tape ---------------------------------------------------------------------------------------- */

/* h (part 0) or c (part 1) of a row in a slot: step i's outputs lie in slot i+1, its entering state in slot i */
LOCAL REAL *taped_state(const learner *learner, int part, int64_t slot, int64_t row) {
    return state_at(&learner->call, 0, 0, part, slot) + row * learner->call.H;
}

/* the gates of a row at step i */
LOCAL REAL *taped_gates(const learner *learner, int64_t i, int64_t row) {
    const call *call = &learner->call;
    return state_at(call, 0, 0, call->shape->states, 0) + (i * call->B + row) * gate_columns(call);
}

LOCAL weights taped_weights(const learner *learner, int64_t i) {
    arena from = {learner->panels + i * learner->panels_size, LINE};
    return alloc_taped_weights(learner, &from);
}

LOCAL void tape_weights(const learner *learner, int64_t i) {
    const call *call = &learner->call;
    const weights weights = taped_weights(learner, i);
    EACH_PRODUCT(call, listed) {
        const int64_t columns = listed->matrix == WEIGHT_IH ? call->I : call->H;
        const REAL *w = layer_weight(learner, listed->matrix) + listed->row * call->H * columns;
        if (panels_of(call, &weights, listed))
            call->kernels->pack(listed->rows * call->H, columns, w, columns, 1, panels_of(call, &weights, listed));
    }
    pack_peepholes(call, 0, weights.peepholes);
    pack_leak(call, 0, weights.leak);
}

/* The inputs of step i: x or integers, and the rows of an embedding that these pick. */
LOCAL void tape_inputs(const learner *learner, int64_t i) {
    const call *call = &learner->call;
    const int64_t B = call->B, I = call->I, *tokens = call->options.tokens;
    if (call->V) memcpy(learner->tokens + i * B, tokens, (size_t)B * sizeof(int64_t));
    else memcpy(learner->x + i * B * I, call->x, (size_t)(B * I) * sizeof(REAL));
    for (int64_t row = 0; call->spec.num_embeddings && row < B; row++)
        memcpy(learner->x + (i * B + row) * I, call->token_rows + tokens[row] * I, (size_t)I * sizeof(REAL));
}

/* ---- forward ----------------------------------------------------------------------------------------- */

/* Scratch of a forward step. */
typedef struct {
    REAL *input_bias, *hh_bias; /* (G*H) */
    REAL *leak;                 /* (H,); NULL: none */
    REAL *hh_products;          /* (B,G*H) */
} forward_scratch;

LOCAL forward_scratch alloc_forward_step(const call *call, arena *from) {
    const int64_t columns = call->shape->blocks * call->H;
    forward_scratch scratch = {.input_bias = arena_alloc(from, columns)};
    if (bptt_internal_leaks(&call->spec)) scratch.leak = arena_alloc(from, call->H);
    if (!call->shape->separate_hh) return scratch;
    scratch.hh_bias = arena_alloc(from, columns);
    scratch.hh_products = arena_alloc(from, call->B * columns);
    return scratch;
}

/* The weights as they lie in the parameters, for kernels that multiply by rows. */
LOCAL weights plain_weights(const learner *learner, const forward_scratch *scratch) {
    const call *call = &learner->call;
    weights weights = {.inputs = (REAL *)layer_weight(learner, WEIGHT_IH),
                       .input_bias = scratch->input_bias,
                       .hh_bias = scratch->hh_bias,
                       .peepholes = (REAL *)layer_weight(learner, PEEPHOLES),
                       .leak = scratch->leak};
    EACH_PRODUCT(call, listed)
        if (listed->matrix == WEIGHT_HH)
            weights.products[listed - call->shape->products] =
                (REAL *)layer_weight(learner, WEIGHT_HH) + listed->row * call->H * call->H;
    pack_biases(call, 0, 0, &weights);
    pack_leak(call, 0, weights.leak);
    return weights;
}

/* W_ih x + bias of all rows at step i: into the gates, or where h will lie, rows ld apart. */
LOCAL void multiply_inputs_by_rows(const learner *learner, const weights *weights, int64_t i, REAL *z, int64_t ld) {
    const call *call = &learner->call;
    const int64_t B = call->B, I = call->I, n = call->shape->blocks * call->H;
    if (!call->spec.one_hot) {
        call->kernels->multiply_by_rows(&(product){.m = B,
                                                   .n = n,
                                                   .k = I,
                                                   .a = learner->x + i * B * I,
                                                   .lda = I,
                                                   .panels = weights->inputs,
                                                   .init = weights->input_bias,
                                                   .c = z,
                                                   .ldc = ld});
        return;
    }
    for (int64_t row = 0; row < B; row++, z += ld) {
        const REAL *column = weights->inputs + learner->tokens[i * B + row];
        for (int64_t j = 0; j < n; j++) z[j] = column[j * call->V] + weights->input_bias[j];
    }
}

/* Noise of all rows, that of step 0 of a forward with the same options. */
LOCAL void add_step_noise(call *call, REAL *z, int64_t ld) {
    if (!adds_noise(call)) return;
    const worker worker = {.call = call};
    const block block = {.rows = call->B};
    add_noise(&worker, &block, z, ld);
}

LOCAL void write_outputs_by_rows(const learner *learner, int64_t i, REAL *y) {
    const int64_t B = learner->call.B, H = learner->call.H, O = learner->call.O;
    const REAL *h = taped_state(learner, 0, i + 1, 0);
    if (!y) return;
    if (O)
        learner->call.kernels->multiply_by_rows(&(product){.m = B,
                                                           .n = O,
                                                           .k = H,
                                                           .a = h,
                                                           .lda = H,
                                                           .panels = network_weight(learner, WEIGHT_HO),
                                                           .init = network_weight(learner, BIAS_O),
                                                           .c = y,
                                                           .ldc = O});
    else memcpy(y, h, (size_t)(B * H) * sizeof(REAL));
}

/* Step i of the cell, from the entering states on the tape to those behind it. */
LOCAL void step_cell(learner *learner, const weights *weights, REAL *hh_products, int64_t i) {
    call *call = &learner->call;
    const int64_t H = call->H;
    const int two = call->shape->states == 2, gates = call->shape->gate_blocks;
    step step = {.kernels = &learner->head->by_rows,
                 .shape = call->shape,
                 .cell = call->spec.cell,
                 .H = H,
                 .t = i,
                 .rows = call->B,
                 .weights = weights,
                 .ld = H,
                 .hh_products = hh_products};
    step.prev.h = step.operand = taped_state(learner, 0, i, 0);
    step.prev.ld = step.ld_operand = H;
    step.h = taped_state(learner, 0, i + 1, 0);
    if (two) step.prev.c = taped_state(learner, 1, i, 0);
    if (two) step.c = taped_state(learner, 1, i + 1, 0);
    if (gates) step.gates = taped_gates(learner, i, 0);
    REAL *z = gates ? step.gates : step.h;
    const int64_t ld_z = gates ? gate_columns(call) : H;
    step.z = z;
    step.ld_z = ld_z;
    multiply_inputs_by_rows(learner, weights, i, z, ld_z);
    add_step_noise(call, z, ld_z);
    cell_of(&call->spec)->forward(&step);
}

/* One step of all rows onto the tape; overwrites `state`. */
LOCAL void forward_onto_tape(learner *learner, REAL *state, REAL *y, REAL *work) {
    arena from = arena_at(work);
    const call *call = &learner->call;
    const int64_t i = learner->head->steps++, BH = call->B * call->H;
    const forward_scratch scratch = alloc_forward_step(call, &from);
    const weights weights = plain_weights(learner, &scratch);
    tape_inputs(learner, i);
    if (learner->panels_size) tape_weights(learner, i);
    for (int part = 0; part < call->shape->states; part++)
        memcpy(taped_state(learner, part, i, 0), state + part * BH, (size_t)BH * sizeof(REAL));
    step_cell(learner, &weights, scratch.hh_products, i);
    for (int part = 0; part < call->shape->states; part++)
        memcpy(state + part * BH, taped_state(learner, part, i + 1, 0), (size_t)BH * sizeof(REAL));
    for (int64_t row = 0; row < call->B; row++) learner->counts[row]++;
    write_outputs_by_rows(learner, i, y);
}
#endif
