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
#include "network/weights.h"

/* What the influence of a row is. */
typedef enum {
    INFLUENCE_HELD,    /* the matrix in memory */
    INFLUENCE_LEARNED, /* of the learned initial state the identity, of other parameters zero */
    INFLUENCE_NONE     /* zero */
} influence_kind;

/* What decides on the layout of a learner's memory. */
typedef struct {
    int64_t real_bits, vector_bytes, method, rows;
    bptt_spec spec; /* struct_size: that of this library */
} learner_layout;

typedef struct learner_head learner_head;

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
    REAL *units; /* SnAp-1: of each row its last_steps */
    int64_t units_size;
    int64_t *terms;  /* SnAp-1: (B,), how many of these steps the influence in memory lacks */
    REAL *influence; /* of each row: RTRL (state_units,ld); SnAp-1: snap1.h */
    int64_t influence_size;
} learner;

/* The beginning of a learner's memory, behind its tag: what it was made for, and how far it is. */
struct learner_head {
    learner_layout layout;
    int64_t steps;   /* on the tape */
    int64_t pending; /* SnAp-1: whether the influence is still that of the step before */
    learner opened;  /* sizes and places as reset derived them, which later calls take over */
    kernels by_rows; /* those of the call, but multiply is multiply_by_rows */
};

/* A tag, the first 8 bytes of memory. A reset writes it: memory with another one is no learner's, may have any size and
 * is not read. */
#define LEARNER_TAG INT64_C(0x6e7261656c545042) /* "BPTlearn" in memory */
enum { TAG_SIZE = sizeof(int64_t) / sizeof(REAL) };

LOCAL int is_tagged(const REAL *memory) {
    int64_t tag;
    memcpy(&tag, memory, sizeof tag);
    return tag == LEARNER_TAG;
}

/* Whether a reset has made the memory that of such a learner, at this address; spec: of this library's size. */
LOCAL int is_made_for(const learner_head *head, const kernels *kernels, const bptt_spec *spec, int64_t method,
                      int64_t B) {
    const learner_layout *is = &head->layout;
    return is->real_bits == REAL_BITS && is->vector_bytes == kernels->vector_bytes && is->method == method &&
           is->rows == B && memcmp(&is->spec, spec, sizeof *spec) == 0 && head->opened.head == head;
}

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
    for (int i = 0; i < LAYER_DIR_TENSORS; i++)
        learner->layer[i] = bptt_internal_layer_dir_offset(&call->offsets, 0, i);
    for (int i = 0; i < NETWORK_TENSORS; i++) learner->network[i] = call->offsets.network[i];
    learner->state_units = call->shape->states * call->H;
    learner->readout = call->O * (call->H + (call->spec.bias != 0));
    learner->columns = call->offsets.params - learner->readout;
    learner->readout_begin = call->O ? learner->network[WEIGHT_HO] : learner->columns;
    learner->ld = (learner->columns + LINE - 1) / LINE * LINE;
    learner->span = span_of(learner);
}

/* The weights of a step as backward needs them: W_hh, for an embedding also W_ih, peepholes, the leak. */
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
    if (bptt_internal_leaks(&call->spec)) weights.leak = arena_alloc(from, call->H);
    return weights;
}

/* SnAp-1: the last steps of a row, those that its influence of the weights in memory lacks, MOST_TERMS at most. A D_t
 * has a block of H for each pair of parts of the state, that of part i by part j at (j,i). */
typedef struct {
    REAL *decay;      /* D_t of the last step (states,states,H) */
    REAL *total;      /* the product of D_t of all these steps (states,states,H) */
    REAL *leak_terms; /* of the last step: h by the parameters of a trained leak (H,) */
    REAL *slopes;     /* A of each step, times D_t of the steps after it (MOST_TERMS, states, dz columns) */
    REAL *x, *h_prev; /* what A is multiplied by (MOST_TERMS,I), (MOST_TERMS,H) */
    int64_t *tokens;  /* a one_hot network: instead of x (MOST_TERMS,) */
} last_steps;

LOCAL last_steps alloc_last_steps(const call *call, arena *from) {
    const int64_t H = call->H, states = call->shape->states;
    last_steps last = {0};
    last.decay = arena_alloc(from, states * states * H);
    last.total = arena_alloc(from, states * states * H);
    if (call->spec.learn_leak) last.leak_terms = arena_alloc(from, H);
    last.slopes = arena_alloc(from, MOST_TERMS * states * dz_columns(call));
    if (call->spec.one_hot) last.tokens = alloc_integers(from, MOST_TERMS);
    else last.x = arena_alloc(from, MOST_TERMS * call->I);
    last.h_prev = arena_alloc(from, MOST_TERMS * H);
    return last;
}

LOCAL last_steps last_steps_of(const learner *learner, int64_t row) {
    arena from = {learner->units + row * learner->units_size, LINE};
    return alloc_last_steps(&learner->call, &from);
}

/* What follows the tag. */
LOCAL arena behind_tag(REAL *memory) {
    arena from = arena_at(memory ? memory + TAG_SIZE : NULL);
    from.used += memory ? 0 : TAG_SIZE;
    return from;
}

/* The head, where that begins. */
LOCAL learner_head *alloc_head(arena *from) {
    return (learner_head *)alloc_integers(from, sizeof(learner_head) / sizeof(int64_t));
}

LOCAL int64_t plan_memory(learner *learner, REAL *memory) {
    call *call = &learner->call;
    arena from = behind_tag(memory), panels = {NULL, 0}, units = {NULL, 0};
    const int64_t S = learner->span, B = call->B;
    const int exact = learner->method == BPTT_METHOD_RTRL;
    learner->head = alloc_head(&from);
    learner->counts = alloc_integers(&from, B);
    learner->kinds = alloc_integers(&from, B);
    learner->tokens = alloc_integers(&from, call->V ? S * B : 0);
    learner->x = arena_alloc(&from, call->spec.one_hot ? 0 : S * B * call->I);
    call->activation_steps = S;
    call->activations = arena_alloc(&from, layer_activations(call, S));
    if (exact) alloc_taped_weights(learner, &panels);
    else alloc_last_steps(call, &units);
    learner->panels_size = panels.used;
    learner->units_size = units.used;
    learner->panels = arena_alloc(&from, S * learner->panels_size);
    learner->units = arena_alloc(&from, B * learner->units_size);
    learner->terms = alloc_integers(&from, exact ? 0 : B);
    learner->influence = arena_alloc(&from, B * learner->influence_size);
    return from.used;
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
#endif
