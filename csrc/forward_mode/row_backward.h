/* Back over the steps of one row on the tape: gradients by its state, and those of the parameters from them. Backward
 * takes one gradient, of a loss; RTRL's fold one for each element of the state. */
#ifndef BPTT_FORWARD_MODE_ROW_BACKWARD_H
#define BPTT_FORWARD_MODE_ROW_BACKWARD_H
#include "cells/cells.h"
#include "forward_mode/tape.h"
#include "network/param_grads.h"

/* ---- back over the steps of a row --------------------------------------------------------------------- */

/* Gradients by the state of a row, `rows` of them, which go back over its steps together. */
typedef struct {
    int64_t rows;
    REAL *dz;         /* (span,rows,dz columns): receives those by the pre-activations */
    REAL *leak_terms; /* (span,rows,H): receives the terms of those by a trained leak; NULL: there is none */
    REAL *dh, *dc;    /* (rows,H): by the row's state; receive those by the state that entered its first step */
    REAL *dh_next;    /* (rows,H): see step */
    REAL *d_operand;  /* (rows,H): see step */
    REAL *copies;     /* (rows, gate columns + 4*H): the activations of a step, the same for all rows */
} state_grads;

LOCAL state_grads alloc_state_grads(const call *call, arena *from, int64_t rows, int64_t span) {
    const int64_t H = call->H, gates = gate_columns(call);
    state_grads grads = {.rows = rows};
    grads.dz = arena_alloc(from, span * rows * dz_columns(call));
    if (call->spec.learn_leak) grads.leak_terms = arena_alloc(from, span * rows * H);
    grads.dh = arena_alloc(from, rows * H);
    if (call->shape->states == 2) grads.dc = arena_alloc(from, rows * H);
    grads.dh_next = arena_alloc(from, rows * H);
    grads.d_operand = arena_alloc(from, rows * H);
    grads.copies = arena_alloc(from, rows > 1 ? rows * (gates + 4 * H) : 0);
    return grads;
}

/* Where dh of step i is expected: where dz_i goes, if that takes its place. */
LOCAL REAL *dh_of_step(const learner *learner, const state_grads *grads, int64_t i) {
    const call *call = &learner->call;
    const int in_place = bptt_internal_dz_in_place(call->shape) && i >= 0;
    return in_place ? grads->dz + i * grads->rows * dz_columns(call) : grads->dh;
}

/* `rows` copies of n elements; a single row is left where it is. */
LOCAL REAL *repeated(int64_t rows, int64_t n, REAL *one, REAL **memory) {
    REAL *copies = *memory;
    if (rows == 1 || !one) return one;
    copy_rows(rows, n, one, 0, copies, n);
    *memory += rows * n;
    return copies;
}

/* The part of the cell's step whose output was the state of a row in slot i+1: `rows` gradients from `begin` on. */
LOCAL step step_of_row(const learner *learner, const call *of_rows, const weights *weights, const state_grads *grads,
                       int64_t i, int64_t row, int64_t begin, int64_t rows) {
    const int64_t H = of_rows->H, gates = gate_columns(of_rows);
    const int two = of_rows->shape->states == 2;
    REAL *copies = grads->copies + begin * (gates + 4 * H);
    step step = {.kernels = of_rows->kernels,
                 .shape = of_rows->shape,
                 .cell = of_rows->spec.cell,
                 .H = H,
                 .t = i,
                 .rows = rows,
                 .weights = weights,
                 .ld = H};
    step.prev.h = step.operand = repeated(rows, H, taped_state(learner, 0, i, row), &copies);
    step.prev.c = repeated(rows, H, two ? taped_state(learner, 1, i, row) : NULL, &copies);
    step.prev.ld = step.ld_operand = H;
    step.h = repeated(rows, H, taped_state(learner, 0, i + 1, row), &copies);
    step.c = repeated(rows, H, two ? taped_state(learner, 1, i + 1, row) : NULL, &copies);
    step.gates = gates ? repeated(rows, gates, taped_gates(learner, i, row), &copies) : NULL;
    step.dh = dh_of_step(learner, grads, i) + begin * H;
    step.ld_dh = H;
    step.ld_dz = dz_columns(of_rows);
    step.dz = grads->dz + (i * grads->rows + begin) * step.ld_dz;
    if (grads->leak_terms) step.leak_terms = grads->leak_terms + (i * grads->rows + begin) * H;
    step.dh_next = grads->dh_next + begin * H;
    step.dc_next = two ? grads->dc + begin * H : NULL;
    step.d_operand = grads->d_operand + begin * H;
    return step;
}

/* out = init + W_hhT dz of a step, (rows,H) */
LOCAL void multiply_dz_w_hh(const call *call, const step *step, const REAL *init, REAL *out) {
    const int64_t H = call->H;
    EACH_PRODUCT(call, listed) {
        if (listed->matrix != WEIGHT_HH || listed->gate_operand) continue;
        call->kernels->multiply(&(product){.m = step->rows,
                                           .n = H,
                                           .k = listed->rows * H,
                                           .a = step->dz + listed->dz * H,
                                           .lda = dz_columns(call),
                                           .panels = panels_of(call, step->weights, listed),
                                           .init = init,
                                           .ldinit = H,
                                           .c = out,
                                           .ldc = H});
        init = out;
    }
}

/* Gradients [begin,end) go back over the steps of a row. Those by its state lie where dh_of_step says for its last
 * step, and in dc. */
LOCAL void go_back(const learner *learner, int64_t row, const state_grads *grads, int64_t begin, int64_t end) {
    const int64_t last = learner->head->steps - 1, first = last + 1 - learner->counts[row];
    call of_rows = learner->call;
    of_rows.B = grads->rows;
    for (int64_t i = last; i >= first; i--) {
        const weights weights = taped_weights(learner, i);
        const step step = step_of_row(learner, &of_rows, &weights, grads, i, row, begin, end - begin);
        cell_of(&of_rows.spec)->backward(&step);
        multiply_dz_w_hh(&of_rows, &step, of_rows.shape->direct_dh ? step.dh_next : NULL,
                         dh_of_step(learner, grads, i > first ? i - 1 : -1) + begin * of_rows.H);
    }
}

/* ---- the gradients of the parameters from dz ----------------------------------------------------------- */

/* dz of the steps of a row, one of the gradients: step i's lies ld behind that of step i-1. */
typedef struct {
    int64_t row, first, steps; /* the row of the batch, its first step on the tape, and their number */
    const REAL *dz;            /* of the first step */
    int64_t ld;
    const REAL *leak_terms; /* of the first step; NULL: no trained leak */
    int64_t ld_leak_terms;
} row_dz;

LOCAL row_dz dz_of_row(const learner *learner, const state_grads *grads, int64_t row, int64_t index) {
    const int64_t steps = learner->counts[row], first = learner->head->steps - steps;
    const int64_t columns = dz_columns(&learner->call), H = learner->call.H, place = first * grads->rows + index;
    return (row_dz){.row = row,
                    .first = first,
                    .steps = steps,
                    .dz = grads->dz + place * columns,
                    .ld = grads->rows * columns,
                    .leak_terms = grads->leak_terms ? grads->leak_terms + place * H : NULL,
                    .ld_leak_terms = grads->rows * H};
}

LOCAL void add_row_weights(const learner *learner, const row_dz *given, REAL *scratch, param_row to) {
    const call *call = &learner->call;
    const int64_t B = call->B, H = call->H, gates = gate_columns(call);
    EACH_PRODUCT(call, listed) {
        const int input = listed->matrix == WEIGHT_IH, gate = listed->gate_operand;
        if (input && call->spec.one_hot) continue;
        const int64_t columns = input ? call->I : H;
        const REAL *operand = input  ? learner->x + (given->first * B + given->row) * columns
                              : gate ? taped_gates(learner, given->first, given->row) + gate * H
                                     : taped_state(learner, 0, given->first, given->row);
        call->kernels->outer(&(outer_product){
            .m = listed->rows * H,
            .k = given->steps,
            .a = given->dz + listed->dz * H,
            .lda = given->ld,
            .operands = {{.m = listed->rows * H,
                          .n = columns,
                          .b = operand,
                          .ldb = B * (gate ? gates : columns),
                          .c = layer_tensor(learner, to.first, listed->matrix) + listed->row * H * columns,
                          .ldc = columns}},
            .scratch = scratch});
    }
}

LOCAL void add_row_biases(const learner *learner, const row_dz *given, param_row to) {
    const call *call = &learner->call;
    const int64_t H = call->H;
    for (int matrix = WEIGHT_IH; call->spec.bias && matrix <= WEIGHT_HH; matrix++) {
        REAL *bias = layer_tensor(learner, to.first, matrix == WEIGHT_IH ? BIAS_IH : BIAS_HH);
        for (int block = 0; block < call->shape->blocks; block++)
            call->kernels->add_column_sums(given->steps, H, given->dz + dz_block_of(call, matrix, block) * H, given->ld,
                                           bias + block * H);
    }
}

LOCAL void add_row_peepholes(const learner *learner, const row_dz *given, param_row to) {
    const call *call = &learner->call;
    for (int64_t i = 0; call->spec.peepholes && i < given->steps; i++) {
        const peephole_rows rows = {.rows = 1,
                                    .H = call->H,
                                    .dz = given->dz + i * given->ld,
                                    .c_prev = taped_state(learner, 1, given->first + i, given->row),
                                    .c = taped_state(learner, 1, given->first + i + 1, given->row),
                                    .unit_end = call->H};
        cell_of(&call->spec)->add_peephole_grad(&rows, layer_tensor(learner, to.first, PEEPHOLES));
    }
}

LOCAL void add_row_leak(const learner *learner, const row_dz *given, param_row to) {
    if (given->leak_terms)
        learner->call.kernels->add_column_sums(given->steps, learner->call.H, given->leak_terms, given->ld_leak_terms,
                                               layer_tensor(learner, to.first, LEAK));
}

/* dx (I,) = W_ihT dz of step i */
LOCAL void multiply_dz_w_ih(const learner *learner, int64_t i, const REAL *dz, REAL *dx) {
    const call *call = &learner->call;
    const weights weights = taped_weights(learner, i);
    const REAL *init = NULL;
    EACH_PRODUCT(call, listed) {
        if (listed->matrix != WEIGHT_IH) continue;
        call->kernels->multiply(&(product){.m = 1,
                                           .n = call->I,
                                           .k = listed->rows * call->H,
                                           .a = dz + listed->dz * call->H,
                                           .panels = panels_of(call, &weights, listed),
                                           .init = init,
                                           .c = dx});
        init = dx;
    }
}

/* The integers: columns of W_ih get dz, rows of an embedding W_ihT dz; dx: scratch (I,). */
LOCAL void add_row_tokens(const learner *learner, const row_dz *given, REAL *dx, param_row to) {
    const call *call = &learner->call;
    for (int64_t i = 0; call->V && i < given->steps; i++) {
        const REAL *dz = given->dz + i * given->ld;
        const int64_t token = learner->tokens[(given->first + i) * call->B + given->row];
        if (call->spec.one_hot) {
            REAL *column = layer_tensor(learner, to.first, WEIGHT_IH) + token;
            EACH_PRODUCT(call, listed)
                for (int64_t j = 0; listed->matrix == WEIGHT_IH && j < listed->rows * call->H; j++)
                    column[(listed->row * call->H + j) * call->V] += dz[listed->dz * call->H + j];
        } else if (token != call->spec.padding_row - 1) {
            multiply_dz_w_ih(learner, given->first + i, dz, dx);
            call->kernels->add_scaled(call->I, 1, dx, network_tensor(learner, to.last, EMBEDDING) + token * call->I);
        }
    }
}

/* Scratch of add_row_grads, of each thread. */
LOCAL int64_t row_grads_scratch(const call *call) {
    return call->kernels->outer_scratch(most_weight_rows(call)) + LINE + (call->spec.num_embeddings ? call->I : 0);
}

/* Adds to `to` what the steps of a row give, one or more: dz_t times the operands of its products, over all steps. */
LOCAL void add_row_grads(const learner *learner, const row_dz *given, REAL *scratch, param_row to) {
    REAL *dx = scratch + learner->call.kernels->outer_scratch(most_weight_rows(&learner->call));
    add_row_weights(learner, given, scratch, to);
    add_row_biases(learner, given, to);
    add_row_peepholes(learner, given, to);
    add_row_leak(learner, given, to);
    add_row_tokens(learner, given, dx, to);
}

/* ---- the readout ------------------------------------------------------------------------------------- */

/* dh (H,) of a row's last step from its dy (Y,); with a readout its gradients are added to grads. */
LOCAL void output_grad(const learner *learner, int64_t row, const REAL *dy, REAL *grads, REAL *dh) {
    const call *call = &learner->call;
    const kernels *kernels = call->kernels;
    const int64_t H = call->H, O = call->O;
    const REAL *h = taped_state(learner, 0, learner->head->steps, row), *weight = network_weight(learner, WEIGHT_HO);
    copy_or_clear(dh, O ? NULL : dy, H);
    for (int64_t o = 0; o < O; o++) {
        kernels->add_scaled(H, dy[o], weight + o * H, dh);
        kernels->add_scaled(H, dy[o], h, network_tensor(learner, grads, WEIGHT_HO) + o * H);
    }
    if (O && call->spec.bias) kernels->add_scaled(O, 1, dy, network_tensor(learner, grads, BIAS_O));
}
#endif
