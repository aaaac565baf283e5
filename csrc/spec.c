/* The checks of a spec and of a call's sizes and options, and the layout of the parameters. */
#include "spec.h"

#include <stdio.h>
#include <string.h>

/* Sums of a few buffers must still fit, so single buffers are held well below PTRDIFF_MAX bytes. */
static const int64_t most_elements = PTRDIFF_MAX / 64 / (int64_t)sizeof(double);

/* whether a product of sizes, each at least 1, stays below that */
static int fits(int64_t a, int64_t b, int64_t c, int64_t d) {
    return a <= most_elements / b && a * b <= most_elements / c && a * b * c <= most_elements / d;
}

enum {
    ROUNDING = 64, /* panels and chunks round sizes up by less than this */
    MOST_LAYERS = 10000,
    STORED = 8 /* blocks of H that a step leaves on the tape: h, c, gates, and a margin */
};

static int is_flag(int32_t value) { return value == 0 || value == 1; }
static int is_rate(double value) { return value >= 0 && value < 1; }

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t widest(const bptt_spec *spec) {
    return larger(larger(spec->input_size, bptt_internal_directions(spec) * spec->hidden_size), spec->output_size);
}

static bptt_status check_sizes(const bptt_spec *spec) {
    if (spec->input_size < 1 || spec->hidden_size < 1 || spec->output_size < 0) return BPTT_ERROR_SIZE;
    if (spec->num_layers < 0 || spec->num_layers > MOST_LAYERS) return BPTT_ERROR_SIZE;
    const int64_t most = most_elements / 2 - ROUNDING;
    if (spec->input_size > most || spec->hidden_size > most || spec->output_size > most) return BPTT_ERROR_OVERFLOW;
    const int64_t units = bptt_internal_layers(spec) * bptt_internal_directions(spec);
    if (!fits(widest(spec) + ROUNDING, spec->hidden_size + ROUNDING, 16, units)) return BPTT_ERROR_OVERFLOW;
    return BPTT_OK;
}

static bptt_status check_spec(const bptt_spec *spec, bptt_spec *full) {
    if (!spec) return BPTT_ERROR_NULL;
    if (spec->struct_size < BPTT_INTERNAL_SPEC_1 || spec->struct_size > sizeof *spec) return BPTT_ERROR_STRUCT;
    memset(full, 0, sizeof *full);
    memcpy(full, spec, spec->struct_size);
    if (full->cell < BPTT_CELL_TANH || full->cell > BPTT_CELL_GRU) return BPTT_ERROR_CELL;
    if (!is_flag(full->bias) || !is_flag(full->bidirectional) || !is_flag(full->learn_state)) return BPTT_ERROR_OPTION;
    if (!is_flag(full->reset_before) || (full->reset_before && full->cell != BPTT_CELL_GRU)) return BPTT_ERROR_OPTION;
    if (!is_flag(full->peepholes) || (full->peepholes && full->cell != BPTT_CELL_LSTM)) return BPTT_ERROR_OPTION;
    if (full->reserved || !is_rate(full->dropout) || !is_rate(full->recurrent_dropout)) return BPTT_ERROR_OPTION;
    return check_sizes(full);
}

static bptt_status check_lengths(const int64_t *lengths, int64_t T, int64_t B) {
    for (int64_t b = 0; lengths && b < B; b++)
        if (lengths[b] < 1 || lengths[b] > (b ? lengths[b - 1] : T)) return BPTT_ERROR_LENGTHS;
    return BPTT_OK;
}

static bptt_status check_options(const bptt_spec *spec, const bptt_options *o, int64_t T) {
    if (o->threads < 0 || !is_flag(o->carry_per_row)) return BPTT_ERROR_OPTION;
    if (!is_flag(o->training) || !is_flag(o->state_given)) return BPTT_ERROR_OPTION;
    if (o->dy_start < 0 || o->dy_start > T) return BPTT_ERROR_OPTION;
    if (o->tape_steps < 0 || o->tape_first < 0 || o->segment < 0) return BPTT_ERROR_OPTION;
    if (o->tape_first > (o->tape_steps ? o->tape_steps : T) - T) return BPTT_ERROR_OPTION;
    if (o->segment && (spec->bidirectional || o->tape_steps || o->tape_first)) return BPTT_ERROR_OPTION;
    if (spec->bidirectional && (o->tape_first || (o->tape_steps && o->tape_steps != T))) return BPTT_ERROR_OPTION;
    if (!(o->step_clip_norm >= 0) || !(o->step_clip_value >= 0)) return BPTT_ERROR_THRESHOLD;
    return BPTT_OK;
}

bptt_status bptt_internal_check_call(const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options,
                                     bptt_spec *full_spec, bptt_options *full) {
    bptt_status status = check_spec(spec, full_spec);
    if (status) return status;
    if (T < 1 || B < 1) return BPTT_ERROR_SIZE;
    memset(full, 0, sizeof *full);
    if (options) {
        if (options->struct_size < BPTT_INTERNAL_OPTIONS_1 || options->struct_size > sizeof *options)
            return BPTT_ERROR_STRUCT;
        memcpy(full, options, options->struct_size);
        status = check_options(full_spec, full, T);
        if (status) return status;
    }
    const int64_t units = bptt_internal_layers(full_spec) * bptt_internal_directions(full_spec);
    const int64_t steps = larger(full->tape_steps, T);
    if (steps > most_elements - ROUNDING || B > most_elements - ROUNDING) return BPTT_ERROR_OVERFLOW;
    if (!fits(steps + 2, B + ROUNDING, widest(full_spec) + ROUNDING, STORED * units)) return BPTT_ERROR_OVERFLOW;
    return check_lengths(full->lengths, T, B);
}

/* ---- the cell ------------------------------------------------------------------------------------ */

bptt_internal_shape bptt_internal_shape_of(const bptt_spec *spec) {
    switch (spec->cell) {
    case BPTT_CELL_LSTM: return (bptt_internal_shape){.blocks = 4, .width = 4, .states = 2, .gates = 1};
    case BPTT_CELL_GRU: /* gates r, z, n, and W_hn h + b_hn or r*h; gradients dn, dr, dz, and dn*r */
        return (bptt_internal_shape){.blocks = 3,
                                     .width = 4,
                                     .first = 1,
                                     .ih_apart = 1,
                                     .hh_apart = spec->reset_before,
                                     .bias_apart = !spec->reset_before,
                                     .states = 1,
                                     .gates = 1};
    default: return (bptt_internal_shape){.blocks = 1, .width = 1, .states = 1};
    }
}

/* ---- the parameters ------------------------------------------------------------------------------ */

typedef struct {
    const char *name;
    int64_t rows, cols; /* rows = 0: the network has none */
} tensor_shape;

/* The one spot that knows names, shapes and order. */
static void unit_shapes(const bptt_spec *spec, int64_t unit, tensor_shape shapes[UNIT_TENSORS]) {
    const int64_t H = spec->hidden_size, D = bptt_internal_directions(spec);
    const int64_t rows = bptt_internal_shape_of(spec).blocks * H;
    shapes[WEIGHT_IH] = (tensor_shape){"weight_ih", rows, unit < D ? spec->input_size : D * H};
    shapes[WEIGHT_HH] = (tensor_shape){"weight_hh", rows, H};
    shapes[BIAS_IH] = (tensor_shape){"bias_ih", spec->bias ? rows : 0, 0};
    shapes[BIAS_HH] = (tensor_shape){"bias_hh", spec->bias ? rows : 0, 0};
    shapes[PEEPHOLES] = (tensor_shape){"weight_peephole", spec->peepholes ? 3 : 0, H};
}

static void network_shapes(const bptt_spec *spec, tensor_shape shapes[NETWORK_TENSORS]) {
    const int64_t H = spec->hidden_size, O = spec->output_size, D = bptt_internal_directions(spec);
    const int64_t units = spec->learn_state ? bptt_internal_layers(spec) * D : 0;
    shapes[WEIGHT_HO] = (tensor_shape){"weight_ho", O, D * H};
    shapes[BIAS_O] = (tensor_shape){"bias_o", spec->bias ? O : 0, 0};
    shapes[STATE_H0] = (tensor_shape){"state_h0", units, H};
    shapes[STATE_C0] = (tensor_shape){"state_c0", bptt_internal_shape_of(spec).states == 2 ? units : 0, H};
}

static int64_t elements(tensor_shape shape) { return shape.rows * (shape.cols ? shape.cols : 1); }

static int64_t total(const tensor_shape *shapes, int count) {
    int64_t sum = 0;
    for (int i = 0; i < count; i++) sum += elements(shapes[i]);
    return sum;
}

/* elements before a unit's tensors: the units of the first layer are of one size, all others of another */
static int64_t unit_start(const bptt_spec *spec, int64_t unit) {
    tensor_shape first[UNIT_TENSORS], other[UNIT_TENSORS];
    const int64_t D = bptt_internal_directions(spec), in_first = unit < D ? unit : D;
    unit_shapes(spec, 0, first);
    unit_shapes(spec, D, other);
    return in_first * total(first, UNIT_TENSORS) + (unit - in_first) * total(other, UNIT_TENSORS);
}

static int64_t units_of(const bptt_spec *spec) { return bptt_internal_layers(spec) * bptt_internal_directions(spec); }

int64_t bptt_internal_unit_offset(const bptt_spec *spec, int64_t unit, int which) {
    tensor_shape shapes[UNIT_TENSORS];
    unit_shapes(spec, unit, shapes);
    return shapes[which].rows ? unit_start(spec, unit) + total(shapes, which) : -1;
}

int64_t bptt_internal_network_offset(const bptt_spec *spec, int which) {
    tensor_shape shapes[NETWORK_TENSORS];
    network_shapes(spec, shapes);
    return shapes[which].rows ? unit_start(spec, units_of(spec)) + total(shapes, which) : -1;
}

int64_t bptt_internal_params(const bptt_spec *spec) {
    tensor_shape shapes[NETWORK_TENSORS];
    network_shapes(spec, shapes);
    return unit_start(spec, units_of(spec)) + total(shapes, NETWORK_TENSORS);
}

/* the tensors that are there */
static int64_t present(const tensor_shape *shapes, int count) {
    int64_t there = 0;
    for (int i = 0; i < count; i++) there += shapes[i].rows > 0;
    return there;
}

bptt_status bptt_tensor_count(const bptt_spec *spec, int64_t *count) {
    bptt_spec full;
    tensor_shape unit[UNIT_TENSORS], network[NETWORK_TENSORS];
    bptt_status status = check_spec(spec, &full);
    if (status) return status;
    if (!count) return BPTT_ERROR_NULL;
    unit_shapes(&full, 0, unit);
    network_shapes(&full, network);
    *count = units_of(&full) * present(unit, UNIT_TENSORS) + present(network, NETWORK_TENSORS);
    return BPTT_OK;
}

/* the index-th tensor that is there */
static bptt_tensor pick(const tensor_shape *shapes, int count, int64_t index, int64_t offset) {
    bptt_tensor found = {.offset = offset};
    for (int i = 0; i < count; i++) {
        if (shapes[i].rows && index-- == 0) {
            found.rows = shapes[i].rows;
            found.cols = shapes[i].cols;
            strcpy(found.name, shapes[i].name);
            return found;
        }
        found.offset += elements(shapes[i]);
    }
    return found;
}

bptt_status bptt_tensor_at(const bptt_spec *spec, int64_t index, bptt_tensor *tensor) {
    bptt_spec full;
    tensor_shape shapes[UNIT_TENSORS]; /* more than NETWORK_TENSORS */
    int64_t count;
    bptt_status status = bptt_tensor_count(spec, &count);
    if (status) return status;
    if (!tensor) return BPTT_ERROR_NULL;
    if (index < 0 || index >= count) return BPTT_ERROR_SIZE;
    check_spec(spec, &full);
    unit_shapes(&full, 0, shapes);
    const int64_t each = present(shapes, UNIT_TENSORS), unit = index / each, D = bptt_internal_directions(&full);
    if (unit < units_of(&full)) {
        unit_shapes(&full, unit, shapes);
        *tensor = pick(shapes, UNIT_TENSORS, index % each, unit_start(&full, unit));
        const size_t length = strlen(tensor->name);
        snprintf(tensor->name + length, sizeof tensor->name - length, "_l%d%s", (int)(unit / D),
                 unit % D ? "_reverse" : "");
    } else {
        network_shapes(&full, shapes);
        *tensor = pick(shapes, NETWORK_TENSORS, index - units_of(&full) * each, unit_start(&full, units_of(&full)));
    }
    return BPTT_OK;
}
