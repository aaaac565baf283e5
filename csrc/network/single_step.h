/* One step at a time, with weights that were packed before. Packed weights begin with a header that says what they were
 * made of and where each piece lies, counted from their begin: a step checks the header and goes, without a plan, and
 * packed weights may be copied to another address. They hold panels in two forms, for one row and for several, as the
 * number of rows is the step's. */
#ifndef BPTT_NETWORK_SINGLE_STEP_H
#define BPTT_NETWORK_SINGLE_STEP_H
#include <stddef.h>

#include "cells/cells.h"
#include "network/tokens.h"
#include "network/weights.h"

enum { ONE_ROW, SEVERAL_ROWS, FORMS }; /* of panels */

/* What packed weights are: a number that no other data begins with, and what decides on their layout. */
#define PACKED_MAGIC UINT64_C(0x316b636170545042)
#define PACKED_LAYOUT(kernels) (1 << 16 | (kernels)->vector_bytes << 8 | REAL_BITS)

/* Where the members of `weights` lie, in elements from the begin of the packed weights; 0: NULL. */
typedef struct {
    int64_t inputs, products[CELL_PRODUCTS_MAX], input_bias, hh_bias, peepholes;
} weight_places;

/* The panels of one form. Layers above the second follow it at a fixed distance. */
typedef struct {
    weight_places first, second;
    int64_t layer_size, ho, bias_o;
} form_places;

typedef struct {
    uint64_t magic;
    int64_t layout;
    bptt_spec spec;     /* struct_size: that of this library */
    int64_t most_rows;  /* the largest B whose sizes do not overflow */
    int64_t token_rows; /* integer inputs: where a row for each lies; 0: none */
} packed_header;

/* What packed weights begin with. Their address has the alignment of REAL only, so it is copied to be read. */
typedef struct {
    packed_header header;
    form_places forms[FORMS];
} packed_begin;

/* ---- packing ------------------------------------------------------------------------------------------ */

LOCAL int64_t place_of(const REAL *packed, const REAL *piece) { return piece ? piece - packed : 0; }

LOCAL weight_places places_of(const REAL *packed, const weights *weights) {
    weight_places places = {.inputs = place_of(packed, weights->inputs),
                            .input_bias = place_of(packed, weights->input_bias),
                            .hh_bias = place_of(packed, weights->hh_bias),
                            .peepholes = place_of(packed, weights->peepholes)};
    for (int i = 0; i < CELL_PRODUCTS_MAX; i++) places.products[i] = place_of(packed, weights->products[i]);
    return places;
}

/* The pieces of packed weights in their order; base NULL: only counts. */
LOCAL arena begin_packed(call *call, REAL *packed) {
    arena from = {packed, LINE};
    arena_alloc(&from, (int64_t)(sizeof(packed_begin) / sizeof(REAL)));
    call->token_rows = call->V ? arena_alloc(&from, call->V * token_row_columns(call)) : NULL;
    return from;
}

LOCAL void choose_form(call *call, int form) { call->B = form == ONE_ROW ? 1 : 2; }

LOCAL int64_t packed_weights_size(call call) {
    arena from = begin_packed(&call, NULL);
    for (int form = 0; form < FORMS; form++) {
        choose_form(&call, form);
        alloc_panels(&call, &from, FORWARD);
    }
    return from.used - LINE;
}

LOCAL void pack_weights(call *call, REAL *packed) {
    arena from = begin_packed(call, packed);
    packed_begin begin = {.header = {.magic = PACKED_MAGIC,
                                     .layout = PACKED_LAYOUT(call->kernels),
                                     .spec = call->spec,
                                     .most_rows = bptt_internal_most_rows(&call->spec),
                                     .token_rows = place_of(packed, call->token_rows)}};
    begin.header.spec.struct_size = sizeof call->spec;
    for (int form = 0; form < FORMS; form++) {
        choose_form(call, form);
        call->panels[FORWARD] = alloc_panels(call, &from, FORWARD);
        pack_forward(call);
        const readout_weights readout = readout_of(call, FORWARD);
        const weights first = weights_of(call, 0, FORWARD), second = weights_of(call, 1, FORWARD);
        begin.forms[form] = (form_places){.first = places_of(packed, &first),
                                          .second = places_of(packed, &second),
                                          .layer_size = weights_size(call, 1, FORWARD),
                                          .ho = place_of(packed, readout.ho),
                                          .bias_o = place_of(packed, readout.bias_o)};
    }
    if (call->V) pack_tokens(call, (REAL *)call->token_rows);
    memcpy(packed, &begin, sizeof begin);
}

/* ---- opening ------------------------------------------------------------------------------------------- */

/* Checks a spec for single steps: one direction, no options. */
LOCAL bptt_status begin_single_step(call *call, const bptt_spec *spec, int64_t B) {
    bptt_status status = begin_call(call, spec, 1, B, NULL);
    return status ? status : call->spec.bidirectional ? BPTT_ERROR_OPTION : BPTT_OK;
}

/* Whether two specs are the same number for number. */
LOCAL int same_spec(const bptt_spec *a, const bptt_spec *b) {
    enum { WORDS = sizeof(bptt_spec) / sizeof(uint64_t) };
    uint64_t of_a[WORDS], of_b[WORDS], differences = 0;
    memcpy(of_a, a, sizeof of_a);
    memcpy(of_b, b, sizeof of_b);
    for (int i = 0; i < WORDS; i++) differences |= of_a[i] ^ of_b[i];
    return !differences;
}

/* Whether weights were packed by this library for this type and kernel set. */
LOCAL int is_ours(const kernels *kernels, const packed_header *header) {
    return kernels && header->magic == PACKED_MAGIC && header->layout == PACKED_LAYOUT(kernels);
}

/* Checks the arguments of a step one by one: the status of the first that is wrong. */
LOCAL bptt_status check_step_arguments(const bptt_spec *spec, int64_t B, int takes_tokens, int any_null,
                                       const packed_header *header) {
    call call;
    bptt_status status = begin_single_step(&call, spec, B);
    if (status) return status;
    if (bptt_internal_takes_tokens(&call.spec) != takes_tokens) return BPTT_ERROR_OPTION;
    if (any_null) return BPTT_ERROR_NULL;
    call.spec.struct_size = sizeof call.spec;
    return is_ours(call.kernels, header) && same_spec(&call.spec, &header->spec) ? BPTT_OK : BPTT_ERROR_PACKED;
}

/* Checks a step's arguments (any_null: whether a required one is NULL), and that the weights were packed for its spec.
 * A spec equal to the one that was checked when they were packed needs no more than that comparison. */
LOCAL bptt_status open_packed(const bptt_spec *spec, int64_t B, const REAL *packed, int takes_tokens, int any_null,
                              packed_header *header) {
    if (any_null) return check_step_arguments(spec, B, takes_tokens, 1, NULL);
    memcpy(header, packed, sizeof *header);
    if (spec && spec->struct_size == sizeof *spec && is_ours(kernel_table(), header) &&
        same_spec(spec, &header->spec) && B >= 1 && B <= header->most_rows &&
        bptt_internal_takes_tokens(spec) == takes_tokens)
        return BPTT_OK;
    return check_step_arguments(spec, B, takes_tokens, 0, header);
}

/* ---- a step -------------------------------------------------------------------------------------------- */

/* The scratch of a step. */
typedef struct {
    REAL *h;           /* the new h of a layer (B,H) */
    REAL *gates;       /* its gates (B, gate columns); NULL: not needed */
    REAL *hh_products; /* of several rows where they are separate (B,G*H) */
    REAL *inputs;      /* of several rows of an embedding: those that the integers pick (B,I) */
    int64_t size;
} step_scratch;

LOCAL step_scratch plan_step(const bptt_spec *spec, const bptt_internal_shape *shape, int64_t B, REAL *work) {
    arena from = arena_at(work);
    const int64_t BH = B * spec->hidden_size;
    step_scratch scratch;
    scratch.h = arena_alloc(&from, BH);
    scratch.gates = B > 1 || bptt_internal_multiplies_gates(shape) ? arena_alloc(&from, shape->gate_blocks * BH) : NULL;
    scratch.hh_products = B > 1 && shape->separate_hh ? arena_alloc(&from, shape->blocks * BH) : NULL;
    scratch.inputs = B > 1 && spec->num_embeddings ? arena_alloc(&from, B * spec->input_size) : NULL;
    scratch.size = from.used;
    return scratch;
}

/* A step of packed weights. */
typedef struct {
    const kernels *kernels;
    const bptt_spec *spec;
    const REAL *packed, *token_rows;
    const form_places *places;
    const REAL *x;         /* of the network; NULL: tokens */
    const int64_t *tokens; /* the other way round */
    int64_t B, H;
    step_scratch scratch;
} single_step;

LOCAL REAL *piece_at(const REAL *packed, int64_t place) { return place ? (REAL *)packed + place : NULL; }

LOCAL const weight_places *places_of_layer(const single_step *single, int64_t layer) {
    return layer ? &single->places->second : &single->places->first;
}

LOCAL const REAL *packed_layer(const single_step *single, int64_t layer) {
    return single->packed + (layer ? (layer - 1) * single->places->layer_size : 0);
}

/* The weights of a layer, which nobody writes. */
LOCAL weights weights_at(const single_step *single, int64_t layer) {
    const weight_places *at = places_of_layer(single, layer);
    const REAL *packed = packed_layer(single, layer);
    weights weights = {.inputs = piece_at(packed, at->inputs),
                       .input_bias = piece_at(packed, at->input_bias),
                       .hh_bias = piece_at(packed, at->hh_bias),
                       .peepholes = piece_at(packed, at->peepholes)};
    for (int i = 0; i < CELL_PRODUCTS_MAX; i++) weights.products[i] = piece_at(packed, at->products[i]);
    return weights;
}

/* What an integer picks: a row of the embedding, or z of a one_hot network. */
LOCAL const REAL *token_row(const single_step *single, int64_t row, int64_t columns) {
    return single->token_rows + single->tokens[row] * columns;
}

/* One layer of several rows; x: its inputs, NULL: those of the network. h and c are overwritten. */
LOCAL void step_rows(const single_step *single, const cell *cell, int64_t layer, const REAL *x, REAL *h, REAL *c) {
    const int64_t H = single->H, B = single->B, I = layer ? H : single->spec->input_size;
    const int64_t columns = cell->shape.blocks * H, gates = cell->shape.gate_blocks * H, ld = gates ? gates : H;
    const step_scratch *scratch = &single->scratch;
    const weights weights = weights_at(single, layer);
    REAL *z = gates ? scratch->gates : scratch->h;
    if (!layer && single->tokens) {
        const int64_t size = single->spec->one_hot ? columns : I;
        REAL *rows = single->spec->one_hot ? z : scratch->inputs;
        for (int64_t row = 0; row < B; row++)
            memcpy(rows + row * (rows == z ? ld : I), token_row(single, row, size), (size_t)size * sizeof(REAL));
        x = scratch->inputs;
    }
    if (weights.inputs)
        single->kernels->multiply(&(product){.m = B,
                                             .n = columns,
                                             .k = I,
                                             .a = x,
                                             .lda = I,
                                             .panels = weights.inputs,
                                             .init = weights.input_bias,
                                             .c = z,
                                             .ldc = ld});
    cell->forward(&(step){.kernels = single->kernels,
                          .shape = &cell->shape,
                          .cell = single->spec->cell,
                          .H = H,
                          .rows = B,
                          .weights = &weights,
                          .prev = {h, c, H},
                          .operand = h,
                          .ld_operand = H,
                          .h = scratch->h,
                          .c = c,
                          .ld = H,
                          .gates = scratch->gates,
                          .hh_products = scratch->hh_products});
    memcpy(h, scratch->h, (size_t)(B * H) * sizeof(REAL));
}

/* The same for one row. All members are named: clearing the others first would take as long as a small layer. */
LOCAL void step_row(const single_step *single, const cell *cell, int recurrent, int64_t layer, const REAL *x, REAL *h,
                    REAL *c) {
    const int64_t H = single->H, I = layer ? H : single->spec->input_size;
    const weight_places *at = places_of_layer(single, layer);
    const REAL *packed = packed_layer(single, layer), *z = NULL;
    if (!layer && single->tokens) {
        if (at->inputs) x = token_row(single, 0, I);
        else z = token_row(single, 0, cell->shape.blocks * H);
    }
    const row_step row = {.step = {.rows = 1,
                                   .H = H,
                                   .gates = single->scratch.gates,
                                   .products = NULL,
                                   .h_prev = h,
                                   .c_prev = c,
                                   .ld_prev = H,
                                   .h = single->scratch.h,
                                   .c = c,
                                   .ld = H,
                                   .peepholes = piece_at(packed, at->peepholes),
                                   .dh = NULL,
                                   .ld_dh = H,
                                   .dz = NULL,
                                   .dh_next = NULL,
                                   .dc_next = NULL,
                                   .d_operand = NULL},
                          .I = I,
                          .x = x,
                          .inputs = packed + at->inputs,
                          .input_bias = packed + at->input_bias,
                          .hh_bias = packed + at->hh_bias,
                          .z = z,
                          .recurrent = {packed + at->products[recurrent], packed + at->products[recurrent + 1]},
                          .operand = h,
                          .activation = single->spec->cell,
                          .reverse_panels = 0};
    cell->forward_row(single->kernels, &row);
    memcpy(h, single->scratch.h, (size_t)H * sizeof(REAL));
}

/* y = W_ho h + b_o, or h where the network has no readout */
LOCAL void write_step_output(const single_step *single, const REAL *h, REAL *y) {
    const int64_t H = single->H, O = single->spec->output_size;
    if (!O) {
        memcpy(y, h, (size_t)(single->B * H) * sizeof(REAL));
        return;
    }
    const product product = {.m = single->B,
                             .n = O,
                             .k = H,
                             .a = h,
                             .lda = H,
                             .panels = piece_at(single->packed, single->places->ho),
                             .init = piece_at(single->packed, single->places->bias_o),
                             .ldinit = 0,
                             .c = y,
                             .ldc = O,
                             .epilogue = EPILOGUE_NONE,
                             .activation = 0,
                             .h = NULL,
                             .ldh = 0,
                             .reverse_panels = 0,
                             .prefetch = {{NULL, 0}, {NULL, 0}}};
    single->kernels->multiply(&product);
}

/* One step of x or of tokens; all arguments are checked. */
LOCAL void run_single_step(const packed_header *header, int64_t B, const REAL *packed, const REAL *x,
                           const int64_t *tokens, REAL *state, REAL *y, REAL *work) {
    const bptt_spec *spec = &header->spec;
    const cell *cell = cell_of(spec);
    const int recurrent = first_recurrent(&cell->shape);
    const int64_t H = spec->hidden_size, L = bptt_internal_layers(spec);
    form_places places;
    const char *of_forms = (const char *)packed + offsetof(packed_begin, forms);
    memcpy(&places, of_forms + (size_t)(B > 1 ? SEVERAL_ROWS : ONE_ROW) * sizeof places, sizeof places);
    const single_step single = {.kernels = kernel_table(),
                                .spec = spec,
                                .packed = packed,
                                .token_rows = packed + header->token_rows,
                                .places = &places,
                                .x = x,
                                .tokens = tokens,
                                .B = B,
                                .H = H,
                                .scratch = plan_step(spec, &cell->shape, B, work)};
    REAL *h = state, *c = cell->shape.states == 2 ? state + L * B * H : NULL;
    for (int64_t layer = 0; layer < L; layer++, h += B * H, c += c ? B * H : 0) {
        if (B == 1) step_row(&single, cell, recurrent, layer, x, h, c);
        else step_rows(&single, cell, layer, x, h, c);
        x = h;
    }
    if (y) write_step_output(&single, x, y);
}
#endif
