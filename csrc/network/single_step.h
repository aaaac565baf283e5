/* One step at a time, with weights that were packed before (packed.h). */
#ifndef BPTT_NETWORK_SINGLE_STEP_H
#define BPTT_NETWORK_SINGLE_STEP_H
#include "cells/cells.h"
#include "network/packed.h"
#include "network/tokens.h"
#include "network/weights.h"

/* ---- packing ------------------------------------------------------------------------------------------ */

LOCAL int64_t place_of(const REAL *packed, const REAL *piece) { return piece ? piece - packed : 0; }

LOCAL weight_places places_of(const call *call, const REAL *packed, const weights *weights) {
    weight_places places = {.inputs = place_of(packed, weights->inputs),
                            .input_bias = place_of(packed, weights->input_bias),
                            .hh_bias = place_of(packed, weights->hh_bias),
                            .peepholes = place_of(packed, weights->peepholes),
                            .leak = place_of(packed, weights->leak)};
    int recurrent = first_recurrent(call->shape);
    for (int i = 0; i < 2; i++) places.recurrent[i] = place_of(packed, weights->products[recurrent + i]);
    return places;
}

/* The pieces of packed weights in their order, on cache lines of the address that they are packed to; packed NULL:
 * only counts. The header, at the address itself, ends before the first of them. */
LOCAL arena begin_packed(call *call, REAL *packed) {
    arena from = arena_at(packed);
    arena_alloc(&from, (int64_t)(sizeof(packed_header) / sizeof(REAL)));
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
    return from.used;
}

LOCAL form_places pack_form(call *call, int form, REAL *packed, arena *from) {
    choose_form(call, form);
    call->panels[FORWARD] = alloc_panels(call, from, FORWARD);
    pack_forward(call);
    const readout_weights readout = readout_of(call, FORWARD);
    const weights first = weights_of(call, 0, FORWARD);
    const weights second = call->L > 1 ? weights_of(call, 1, FORWARD) : (weights){0};
    return (form_places){.first = places_of(call, packed, &first),
                         .second = places_of(call, packed, &second),
                         .layer_size = weights_size(call, 1, FORWARD),
                         .ho = place_of(packed, readout.ho),
                         .bias_o = place_of(packed, readout.bias_o)};
}

LOCAL int64_t lowest_bit(int64_t number) { return number & -number; }

LOCAL void pack_weights(call *call, REAL *packed) {
    const int64_t H = call->H;
    arena from = begin_packed(call, packed);
    packed_header header = {.magic = PACKED_MAGIC,
                            .layout = PACKED_LAYOUT(call->kernels),
                            .spec = call->spec,
                            .most_rows = bptt_internal_most_rows(&call->spec),
                            .token_rows = place_of(packed, call->token_rows),
                            .layers = call->L,
                            .activation = call->spec.cell,
                            .row_number = cell_of(&call->spec)->row_number,
                            .odd_bit = lowest_bit(call->V ? (int64_t)sizeof(int64_t) : call->I * (int64_t)sizeof(REAL)),
                            .gates = bptt_internal_multiplies_gates(call->shape) ? (H + LINE - 1) / LINE * LINE : 0};
    header.spec.struct_size = sizeof call->spec;
    for (int form = 0; form < FORMS; form++) header.forms[form] = pack_form(call, form, packed, &from);
    if (call->V) pack_tokens(call, (REAL *)call->token_rows);
    memcpy(packed, &header, sizeof header);
}

/* ---- opening ------------------------------------------------------------------------------------------- */

/* Checks a spec for single steps: one direction, no options. */
LOCAL bptt_status begin_single_step(call *call, const bptt_spec *spec, int64_t B) {
    bptt_status status = begin_call(call, spec, 1, B, NULL);
    return status ? status : call->spec.bidirectional ? BPTT_ERROR_OPTION : BPTT_OK;
}

/* A spec with one value for each meaning: no number of layers and no leak have two, a zero has a sign. */
LOCAL bptt_spec plain_spec(bptt_spec spec) {
    spec.num_layers = bptt_internal_layers(&spec);
    spec.leak = !spec.learn_leak && bptt_internal_leaks(&spec) ? spec.leak : 0;
    spec.noise += 0.;
    spec.dropout += 0.;
    spec.recurrent_dropout += 0.;
    return spec;
}

/* Whether they were packed for a spec with this meaning. Not compared are struct_size and, where it is shorter than
 * int64_t, the bytes up to the next member, which callers leave as they are. */
LOCAL int packed_for(const bptt_spec *spec, const REAL *packed) {
    bptt_spec of_packed;
    memcpy(&of_packed, (const char *)packed + offsetof(packed_header, spec), sizeof of_packed);
    const bptt_spec a = plain_spec(of_packed), b = plain_spec(*spec);
    const size_t begin = offsetof(bptt_spec, input_size);
    return memcmp((const char *)&a + begin, (const char *)&b + begin, sizeof a - begin) == 0;
}

/* Checks the arguments one by one: the status of the first that is wrong. `full` becomes the spec in this library's
 * size. */
LOCAL bptt_status check_single_step(const single_step *single, int takes_tokens, bptt_spec *full) {
    call call;
    bptt_status status = begin_single_step(&call, single->spec, single->B);
    if (status) return status;
    if (bptt_internal_takes_tokens(&call.spec) != takes_tokens) return BPTT_ERROR_OPTION;
    if (!single->packed || !(takes_tokens ? single->tokens != NULL : single->x != NULL) || !single->state ||
        !single->work)
        return BPTT_ERROR_NULL;
    *full = call.spec;
    full->struct_size = sizeof *full;
    return packed_here(call.kernels, single->packed) && packed_for(full, single->packed) ? BPTT_OK : BPTT_ERROR_PACKED;
}

/* ---- scratch and weights ------------------------------------------------------------------------------- */

/* The scratch of a step. */
typedef struct {
    REAL *h;           /* the new h of a layer (B,H) */
    REAL *gates;       /* its gates (B, gate columns); NULL: not needed */
    REAL *hh_products; /* of several rows where they are separate (B,G*H) */
    REAL *inputs;      /* of several rows of an embedding: those that the integers pick (B,I) */
    int64_t size;
} step_scratch;

/* h and gates come first, in this order: a step of one row knows where they lie. */
LOCAL step_scratch plan_step(const bptt_spec *spec, const bptt_internal_shape *shape, int64_t B, REAL *work) {
    arena from = arena_at(work);
    const int64_t BH = B * spec->hidden_size;
    step_scratch scratch;
    scratch.h = arena_alloc(&from, BH);
    scratch.gates = arena_alloc(&from, B > 1 || bptt_internal_multiplies_gates(shape) ? shape->gate_blocks * BH : 0);
    scratch.hh_products = arena_alloc(&from, B > 1 && shape->separate_hh ? shape->blocks * BH : 0);
    scratch.inputs = arena_alloc(&from, B > 1 && spec->num_embeddings ? B * spec->input_size : 0);
    scratch.size = from.used;
    return scratch;
}

/* What integers pick: rows of the embedding, or z of a one_hot network. */
LOCAL const REAL *token_table(const single_step *single) {
    return single->packed + HEADER_AT(single->packed, token_rows);
}

/* what a row's integer picks, of rows of so many columns */
LOCAL const REAL *token_row(const single_step *single, int64_t row, int64_t columns) {
    return token_table(single) + single->tokens[row] * columns;
}

/* ---- several rows -------------------------------------------------------------------------------------- */

/* z = W_ih x + bias of a layer; x NULL: rows of the embedding */
LOCAL void multiply_step_inputs(const single_step *single, const weights *weights, const step_scratch *scratch,
                                int64_t columns, int64_t in, const REAL *x, REAL *z, int64_t ld) {
    for (int64_t row = 0; row < single->B && !x; row++)
        memcpy(scratch->inputs + row * in, token_row(single, row, in), (size_t)in * sizeof(REAL));
    single->kernels->multiply(&(product){.m = single->B,
                                         .n = columns,
                                         .k = in,
                                         .a = x ? x : scratch->inputs,
                                         .lda = in,
                                         .panels = weights->inputs,
                                         .init = weights->input_bias,
                                         .c = z,
                                         .ldc = ld});
}

/* One layer; x NULL: tokens. h and c are overwritten. */
LOCAL void step_rows(const single_step *single, const cell *cell, int64_t layer, const step_scratch *scratch,
                     const REAL *x, REAL *h, REAL *c) {
    const int64_t H = single->spec->hidden_size, gates = cell->shape.gate_blocks * H, columns = cell->shape.blocks * H;
    const int picks_z = !x && single->spec->one_hot;
    const layer_pieces pieces = layer_at(single->packed, SEVERAL_ROWS, layer);
    weights weights = {.inputs = PIECE_OR_NULL(pieces, inputs),
                       .input_bias = PIECE_OR_NULL(pieces, input_bias),
                       .hh_bias = PIECE_OR_NULL(pieces, hh_bias),
                       .peepholes = PIECE_OR_NULL(pieces, peepholes),
                       .leak = PIECE_OR_NULL(pieces, leak)};
    const int recurrent = first_recurrent(&cell->shape);
    weights.products[recurrent] = PIECE_OR_NULL(pieces, recurrent[0]);
    weights.products[recurrent + 1] = PIECE_OR_NULL(pieces, recurrent[1]);
    REAL *z = gates ? scratch->gates : scratch->h;
    const int64_t ld_z = gates ? gates : H;
    if (!picks_z)
        multiply_step_inputs(single, &weights, scratch, columns, layer ? H : single->spec->input_size, x, z, ld_z);
    cell->forward(&(step){.kernels = single->kernels,
                          .shape = &cell->shape,
                          .cell = single->spec->cell,
                          .H = H,
                          .rows = single->B,
                          .weights = &weights,
                          .prev = {h, c, H},
                          .operand = h,
                          .ld_operand = H,
                          .z = picks_z ? token_table(single) : z,
                          .ld_z = picks_z ? columns : ld_z,
                          .z_rows = picks_z ? single->tokens : NULL,
                          .h = scratch->h,
                          .c = c,
                          .ld = H,
                          .gates = gates ? scratch->gates : NULL,
                          .hh_products = scratch->hh_products});
    memcpy(h, scratch->h, (size_t)(single->B * H) * sizeof(REAL));
}

/* All layers; returns h of the last. */
LOCAL const REAL *step_several_rows(const single_step *single, const cell *cell) {
    const int64_t L = bptt_internal_layers(single->spec), BH = single->B * single->spec->hidden_size;
    const step_scratch scratch = plan_step(single->spec, &cell->shape, single->B, single->work);
    const REAL *x = single->x;
    REAL *h = single->state;
    for (int64_t layer = 0; layer < L; layer++, x = h, h += BH)
        step_rows(single, cell, layer, &scratch, x, h, cell->shape.states == 2 ? h + L * BH : NULL);
    return x;
}

/* ---- all ------------------------------------------------------------------------------------------------- */

/* y = W_ho h + b_o, or h where the network has no readout. All members of the product are named, as clearing takes
 * time. */
LOCAL void write_several_rows(const single_step *single, const REAL *h) {
    const int64_t H = single->spec->hidden_size, O = single->spec->output_size;
    if (!O) {
        memcpy(single->y, h, (size_t)(single->B * H) * sizeof(REAL));
        return;
    }
    const product product = {.m = single->B,
                             .n = O,
                             .k = H,
                             .a = h,
                             .lda = H,
                             .panels = single->packed + HEADER_AT(single->packed, forms[SEVERAL_ROWS].ho),
                             .init = single->packed + HEADER_AT(single->packed, forms[SEVERAL_ROWS].bias_o),
                             .ldinit = 0,
                             .c = single->y,
                             .ldc = O,
                             .epilogue = EPILOGUE_NONE,
                             .activation = 0,
                             .h = NULL,
                             .ldh = 0,
                             .reverse_panels = 0,
                             .prefetch = {{NULL, 0}, {NULL, 0}, {NULL, 0}}};
    single->kernels->multiply(&product);
}

/* Whether all integers are below the size of the vocabulary. */
LOCAL int tokens_fit(const single_step *single) {
    const int64_t V = bptt_internal_vocabulary(single->spec);
    for (int64_t row = 0; row < single->B; row++)
        if (single->tokens[row] < 0 || single->tokens[row] >= V) return 0;
    return 1;
}

/* One row: what its sample stands for is the first layer's input or, of a one_hot network, its z. */
LOCAL void step_one_row(const single_step *single, const cell *cell) {
    const bptt_spec *spec = single->spec;
    const REAL *z = spec->one_hot ? token_row(single, 0, cell->shape.blocks * spec->hidden_size) : NULL;
    const REAL *x = single->x || z ? single->x : token_row(single, 0, spec->input_size);
    single->kernels->step_row(single->x ? (const void *)single->x : single->tokens, z, single->packed, x, single->state,
                              single->y, single->work);
}

/* One step, after checks of all arguments. */
LOCAL bptt_status take_single_step(const single_step *given, int takes_tokens) {
    single_step checked;
    bptt_spec full;
    if (!opens_at_once(given, takes_tokens, memcmp)) {
        const bptt_status status = check_single_step(given, takes_tokens, &full);
        if (status) return status;
        checked = *given;
        checked.spec = &full;
        given = &checked;
    }
    if (takes_tokens && !tokens_fit(given)) return BPTT_ERROR_TOKEN;
    const cell *cell = cell_of(given->spec);
    if (given->B == 1) {
        step_one_row(given, cell);
        return BPTT_OK;
    }
    const REAL *h = step_several_rows(given, cell);
    if (given->y) write_several_rows(given, h);
    return BPTT_OK;
}
#endif
