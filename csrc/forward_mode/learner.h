/* Learning at every step, forward in time: what RTRL and SnAp-1 share. Only networks of one layer in one direction.
 *
 * The memory of a learner holds, from one call to the next, how the state of each row depends on the parameters (the
 * influence), and a tape of the last steps. The tape is that of a forward of `span` steps (layout.h); beside it lie,
 * for each step, its inputs and the weights that it was computed with: the parameters may change between steps, and the
 * influence follows the path that was taken. */
#ifndef BPTT_FORWARD_MODE_LEARNER_H
#define BPTT_FORWARD_MODE_LEARNER_H
#include "cells/cells.h"
#include "network/layout.h"
#include "network/param_grads.h"

/* What the influence of a row is. */
typedef enum {
    INFLUENCE_HELD,    /* the matrix in memory */
    INFLUENCE_LEARNED, /* of the learned initial state the identity, of other parameters zero */
    INFLUENCE_NONE     /* zero */
} influence_kind;

/* The beginning of a learner's memory: what it was made for, and how far it is. */
typedef struct {
    int64_t made, rows, influence_size; /* LEARNER_MADE, B and the size of a row's influence; else it is no learner's */
    int64_t steps;                      /* on the tape */
    int64_t pending;                    /* SnAp-1: whether the influence is still that of the step before */
} learner_head;

typedef struct {
    call call; /* one step of all rows; its activations are the tape */
    bptt_method method;
    int64_t state_units;   /* elements of a row's state: h, for an LSTM also c */
    int64_t columns;       /* of an influence matrix: the parameters without those of the readout */
    int64_t ld;            /* distance of its rows */
    int64_t readout;       /* parameters of the readout */
    int64_t readout_begin; /* parameters before them */
    int64_t span;          /* most steps on the tape */
    int64_t layer[LAYER_DIR_TENSORS], network[NETWORK_TENSORS]; /* offsets of the tensors; -1: there is none */

    /* in memory */
    learner_head *head;
    int64_t *counts; /* (B,): the last steps of the tape that belong to the row's influence */
    int64_t *kinds;  /* (B,): influence_kind */
    int64_t *tokens; /* (span,B), where the inputs are integers */
    REAL *x;         /* (span,B,I): inputs, rows of an embedding; not of a one_hot network */
    REAL *panels;    /* RTRL: (span, panels_size), the weights of each step */
    int64_t panels_size;
    REAL *units;     /* SnAp-1: of each row, what the step does to each unit: snap1.h */
    REAL *influence; /* of each row: RTRL (state_units,ld); SnAp-1: snap1.h */
    int64_t influence_size;
} learner;

enum { LEARNER_MADE = 0x6c65726e };

/* The parameters of a learner's network, in their gradients or in a row of an influence matrix, which has no columns
 * for the readout: tensors before the readout are found in `first`, those behind it in `last`. */
typedef struct {
    REAL *first, *last;
} param_row;

LOCAL param_row row_of_influence(const learner *learner, REAL *row) { return (param_row){row, row - learner->readout}; }

/* A tensor in a row of parameters; NULL where the network does not have it, or without a row. */
LOCAL REAL *layer_tensor(const learner *learner, REAL *row, int tensor) {
    return row && learner->layer[tensor] >= 0 ? row + learner->layer[tensor] : NULL;
}

LOCAL REAL *network_tensor(const learner *learner, REAL *row, int tensor) {
    return row && learner->network[tensor] >= 0 ? row + learner->network[tensor] : NULL;
}

/* The same in the network's parameters. */
LOCAL const REAL *layer_weight(const learner *learner, int tensor) {
    return layer_tensor(learner, (REAL *)learner->call.params, tensor);
}

LOCAL const REAL *network_weight(const learner *learner, int tensor) {
    return network_tensor(learner, (REAL *)learner->call.params, tensor);
}

/* ---- sizes ------------------------------------------------------------------------------------------- */

enum { SPAN_MIN = 8, SPAN_MAX = 64 };

/* Steps on the tape of RTRL: longer ones take backward more time at each step, shorter ones spread the products of the
 * influence matrix over fewer steps. */
LOCAL int64_t span_of(const learner *learner) {
    return learner->method == BPTT_METHOD_RTRL ? min_of(max_of(learner->call.H / 2, SPAN_MIN), SPAN_MAX) : 1;
}

LOCAL int64_t *alloc_integers(arena *from, int64_t n) {
    return (int64_t *)arena_alloc(from, n * (int64_t)(sizeof(int64_t) / sizeof(REAL)));
}

/* The sizes that depend on the network alone. */
LOCAL void size_learner(learner *learner) {
    const call *call = &learner->call;
    for (int i = 0; i < LAYER_DIR_TENSORS; i++) learner->layer[i] = bptt_internal_layer_dir_offset(&call->spec, 0, i);
    for (int i = 0; i < NETWORK_TENSORS; i++) learner->network[i] = bptt_internal_network_offset(&call->spec, i);
    learner->state_units = call->shape->states * call->H;
    learner->readout = call->O * (call->H + (call->spec.bias != 0));
    learner->columns = bptt_internal_params(&call->spec) - learner->readout;
    learner->readout_begin = call->O ? learner->network[WEIGHT_HO] : learner->columns;
    learner->ld = (learner->columns + LINE - 1) / LINE * LINE;
    learner->span = span_of(learner);
}

/* The weights of a step as backward multiplies by them: W_hh, for an embedding also W_ih. */
LOCAL weights alloc_taped_weights(const learner *learner, arena *from) {
    const call *call = &learner->call;
    weights weights = {0};
    EACH_PRODUCT(call, listed) {
        const int input = listed->matrix == WEIGHT_IH;
        if (!input || call->spec.num_embeddings)
            weights.products[listed - call->shape->products] =
                arena_alloc(from, call->kernels->packed_size(listed->rows * call->H, input ? call->I : call->H));
    }
    if (call->spec.peepholes) weights.peepholes = arena_alloc(from, 3 * call->H);
    return weights;
}

/* elements of what SnAp-1 keeps of a step for each row: D_t and A */
LOCAL int64_t units_size(const call *call) {
    return call->shape->states * (call->shape->states * call->H + dz_columns(call));
}

LOCAL int64_t plan_memory(learner *learner, REAL *memory) {
    call *call = &learner->call;
    arena from = arena_at(memory), counted = {NULL, 0};
    const int64_t S = learner->span, B = call->B;
    const int exact = learner->method == BPTT_METHOD_RTRL;
    learner->head = (learner_head *)alloc_integers(&from, sizeof(learner_head) / sizeof(int64_t));
    learner->counts = alloc_integers(&from, B);
    learner->kinds = alloc_integers(&from, B);
    learner->tokens = alloc_integers(&from, call->V ? S * B : 0);
    learner->x = arena_alloc(&from, call->spec.one_hot ? 0 : S * B * call->I);
    call->activation_steps = S;
    call->activations = arena_alloc(&from, layer_activations(call, S));
    if (exact) alloc_taped_weights(learner, &counted);
    learner->panels_size = counted.used;
    learner->panels = arena_alloc(&from, S * learner->panels_size);
    learner->units = arena_alloc(&from, exact ? 0 : B * units_size(call));
    learner->influence = arena_alloc(&from, B * learner->influence_size);
    return from.used;
}

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
    REAL *hh_products;          /* (B,G*H) */
} forward_scratch;

LOCAL forward_scratch alloc_forward_step(const call *call, arena *from) {
    const int64_t columns = call->shape->blocks * call->H;
    forward_scratch scratch = {.input_bias = arena_alloc(from, columns)};
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
                       .peepholes = (REAL *)layer_weight(learner, PEEPHOLES)};
    EACH_PRODUCT(call, listed)
        if (listed->matrix == WEIGHT_HH)
            weights.products[listed - call->shape->products] =
                (REAL *)layer_weight(learner, WEIGHT_HH) + listed->row * call->H * call->H;
    pack_biases(call, 0, &weights);
    return weights;
}

/* W_ih x + bias of all rows at step i: into the gates, or where h will lie. */
LOCAL void multiply_step_inputs(const learner *learner, const call *by_rows, const weights *weights, int64_t i,
                                REAL *z) {
    const int64_t B = by_rows->B, I = by_rows->I, n = by_rows->shape->blocks * by_rows->H;
    const int64_t ld = by_rows->shape->gate_blocks ? gate_columns(by_rows) : n;
    if (!by_rows->spec.one_hot) {
        by_rows->kernels->multiply(&(product){.m = B,
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
        for (int64_t j = 0; j < n; j++) z[j] = column[j * by_rows->V] + weights->input_bias[j];
    }
}

LOCAL void write_step_outputs(const learner *learner, const call *by_rows, int64_t i, REAL *y) {
    const int64_t B = by_rows->B, H = by_rows->H, O = by_rows->O;
    const REAL *h = taped_state(learner, 0, i + 1, 0);
    if (!y) return;
    if (O)
        by_rows->kernels->multiply(&(product){.m = B,
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

/* One step of all rows onto the tape; overwrites `state`. */
LOCAL void forward_onto_tape(learner *learner, REAL *state, REAL *y, REAL *work) {
    arena from = arena_at(work);
    kernels kernels = *learner->call.kernels;
    call by_rows = learner->call;
    kernels.multiply = kernels.multiply_by_rows;
    by_rows.kernels = &kernels;
    const int64_t i = learner->head->steps++, B = by_rows.B, H = by_rows.H;
    const int two = by_rows.shape->states == 2, gates = by_rows.shape->gate_blocks;
    const forward_scratch scratch = alloc_forward_step(&by_rows, &from);
    const weights weights = plain_weights(learner, &scratch);
    tape_inputs(learner, i);
    if (learner->panels_size) tape_weights(learner, i);
    step step = {.call = &by_rows, .t = i, .rows = B, .weights = &weights, .ld = H};
    for (int part = 0; part <= two; part++)
        memcpy(taped_state(learner, part, i, 0), state + part * B * H, (size_t)(B * H) * sizeof(REAL));
    step.prev.h = step.operand = taped_state(learner, 0, i, 0);
    step.prev.ld = step.ld_operand = H;
    step.h = taped_state(learner, 0, i + 1, 0);
    if (two) step.prev.c = taped_state(learner, 1, i, 0);
    if (two) step.c = taped_state(learner, 1, i + 1, 0);
    if (gates) step.gates = taped_gates(learner, i, 0);
    step.hh_products = scratch.hh_products;
    multiply_step_inputs(learner, &by_rows, &weights, i, gates ? step.gates : step.h);
    cell_of(&by_rows.spec)->forward(&step);
    for (int part = 0; part <= two; part++)
        memcpy(state + part * B * H, taped_state(learner, part, i + 1, 0), (size_t)(B * H) * sizeof(REAL));
    for (int64_t row = 0; row < B; row++) learner->counts[row]++;
    write_step_outputs(learner, &by_rows, i, y);
}

/* ---- back over the steps of a row --------------------------------------------------------------------- */

/* Gradients by the state of a row, `rows` of them, which go back over its steps together. */
typedef struct {
    int64_t rows;
    REAL *dz;        /* (span,rows,dz columns): receives those by the pre-activations */
    REAL *dh, *dc;   /* (rows,H): by the row's state; receive those by the state that entered its first step */
    REAL *dh_next;   /* (rows,H): see step */
    REAL *d_operand; /* (rows,H): see step */
    REAL *copies;    /* (rows, gate columns + 4*H): the activations of a step, the same for all rows */
} state_grads;

LOCAL state_grads alloc_state_grads(const call *call, arena *from, int64_t rows, int64_t span) {
    const int64_t H = call->H, gates = gate_columns(call);
    state_grads grads = {.rows = rows};
    grads.dz = arena_alloc(from, span * rows * dz_columns(call));
    grads.dh = arena_alloc(from, rows * H);
    if (call->shape->states == 2) grads.dc = arena_alloc(from, rows * H);
    grads.dh_next = arena_alloc(from, rows * H);
    grads.d_operand = arena_alloc(from, rows * H);
    grads.copies = arena_alloc(from, rows > 1 ? rows * (gates + 4 * H) : 0);
    return grads;
}

/* Where dh of step i is expected: without gates dz_i takes its place. */
LOCAL REAL *dh_of_step(const learner *learner, const state_grads *grads, int64_t i) {
    const call *call = &learner->call;
    return call->shape->gate_blocks || i < 0 ? grads->dh : grads->dz + i * grads->rows * dz_columns(call);
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
    step step = {.call = of_rows, .t = i, .rows = rows, .weights = weights, .ld = H};
    step.prev.h = step.operand = repeated(rows, H, taped_state(learner, 0, i, row), &copies);
    step.prev.c = repeated(rows, H, two ? taped_state(learner, 1, i, row) : NULL, &copies);
    step.prev.ld = step.ld_operand = H;
    step.h = repeated(rows, H, taped_state(learner, 0, i + 1, row), &copies);
    step.c = repeated(rows, H, two ? taped_state(learner, 1, i + 1, row) : NULL, &copies);
    step.gates = gates ? repeated(rows, gates, taped_gates(learner, i, row), &copies) : NULL;
    step.dh = dh_of_step(learner, grads, i) + begin * H;
    step.dz = grads->dz + (i * grads->rows + begin) * dz_columns(of_rows);
    step.dh_next = grads->dh_next + begin * H;
    step.dc_next = two ? grads->dc + begin * H : NULL;
    step.d_operand = grads->d_operand + begin * H;
    return step;
}

/* Whether the cell's backward writes a term of dL/dh_{t-1} that does not pass W_hh into dh_next. */
LOCAL int has_direct_dh(const call *call) { return call->shape->direct_dh; }

/* out = init + W_hhT dz of a step, (rows,H) */
LOCAL void multiply_dz_w_hh(const step *step, const REAL *init, REAL *out) {
    const call *call = step->call;
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
        multiply_dz_w_hh(&step, has_direct_dh(&of_rows) ? step.dh_next : NULL,
                         dh_of_step(learner, grads, i > first ? i - 1 : -1) + begin * of_rows.H);
    }
}

/* ---- the gradients of the parameters from dz ----------------------------------------------------------- */

/* dz of the steps of a row, one of the gradients: step i's lies ld behind that of step i-1. */
typedef struct {
    int64_t row, first, steps; /* the row of the batch, its first step on the tape, and their number */
    const REAL *dz;            /* of the first step */
    int64_t ld;
} row_dz;

LOCAL row_dz dz_of_row(const learner *learner, const state_grads *grads, int64_t row, int64_t index) {
    const int64_t steps = learner->counts[row], first = learner->head->steps - steps;
    const int64_t columns = dz_columns(&learner->call);
    return (row_dz){row, first, steps, grads->dz + (first * grads->rows + index) * columns, grads->rows * columns};
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
        call->kernels->outer(
            &(outer_product){.m = listed->rows * H,
                             .n = columns,
                             .k = given->steps,
                             .a = given->dz + listed->dz * H,
                             .lda = given->ld,
                             .b = operand,
                             .ldb = B * (gate ? gates : columns),
                             .c = layer_tensor(learner, to.first, listed->matrix) + listed->row * H * columns,
                             .ldc = columns,
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

/* Adds to `to` what the steps of a row give: dz_t times the operands of its products, over all its steps. */
LOCAL void add_row_grads(const learner *learner, const row_dz *given, REAL *scratch, param_row to) {
    REAL *dx = scratch + learner->call.kernels->outer_scratch(most_weight_rows(&learner->call));
    if (!given->steps) return;
    add_row_weights(learner, given, scratch, to);
    add_row_biases(learner, given, to);
    add_row_peepholes(learner, given, to);
    add_row_tokens(learner, given, dx, to);
}

/* ---- the influence matrix ------------------------------------------------------------------------------ */

enum { FOLD_COLUMNS = 64 }; /* columns that are multiplied at a time: their panels stay in L1 or L2 */

/* elements of the panels of so many columns */
LOCAL int64_t column_panels(const learner *learner) {
    return learner->call.kernels->packed_size(learner->state_units, FOLD_COLUMNS);
}

/* Columns [begin,end) of an influence matrix J (state_units, ld apart) become those of D J, D
 * (state_units,state_units); panels: scratch of column_panels elements. */
LOCAL void transform_columns(const learner *learner, const REAL *D, int64_t begin, int64_t end, REAL *J, int64_t ld,
                             REAL *panels) {
    const kernels *kernels = learner->call.kernels;
    const int64_t n = learner->state_units;
    for (int64_t j = begin; j < end; j += FOLD_COLUMNS) {
        const int64_t columns = min_of(FOLD_COLUMNS, end - j);
        kernels->pack(n, columns, J + j, ld, 1, panels);
        kernels->multiply(
            &(product){.m = n, .n = columns, .k = n, .a = D, .lda = n, .panels = panels, .c = J + j, .ldc = ld});
    }
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
