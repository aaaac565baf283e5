/* The checks of a spec and of a call's sizes and options. */
#include "spec/validate.h"

#include <float.h>
#include <string.h>

#include "cells/shape.h"
#include "spec/params.h"

/* Sums of a few buffers must still fit, so single buffers are held well below PTRDIFF_MAX bytes. */
static const int64_t most_elements = PTRDIFF_MAX / 64 / (int64_t)sizeof(double);

/* whether a product of sizes, each at least 1, stays below that */
static int fits(int64_t a, int64_t b, int64_t c, int64_t d) {
    return a <= most_elements / b && a * b <= most_elements / c && a * b * c <= most_elements / d;
}

enum {
    ROUNDING = 64, /* panels and chunks round sizes up by less than this */
    LAYERS_MAX = 10000,
    BLOCKS_MAX = 8 /* blocks of H that a step leaves on the tape: h, c, gates, and a margin */
};

static int is_flag(int64_t value) { return value == 0 || value == 1; }
static int is_rate(double value) { return value >= 0 && value < 1; }

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* columns of the widest array of a step: x, the states of both directions, y */
static int64_t widest(const bptt_spec *spec) {
    return larger(larger(spec->input_size, bptt_internal_directions(spec) * spec->hidden_size), spec->output_size);
}

/* blocks of as many columns that a step needs at most, in all layers and directions */
static int64_t step_blocks(const bptt_spec *spec) { return BLOCKS_MAX * bptt_internal_layer_dirs(spec); }

static bptt_status check_sizes(const bptt_spec *spec) {
    if (spec->input_size < 1 || spec->hidden_size < 1 || spec->output_size < 0) return BPTT_ERROR_SIZE;
    if (spec->num_layers < 0 || spec->num_layers > LAYERS_MAX) return BPTT_ERROR_SIZE;
    const int64_t most = most_elements / 2 - ROUNDING;
    if (spec->input_size > most || spec->hidden_size > most || spec->output_size > most) return BPTT_ERROR_OVERFLOW;
    if (spec->num_embeddings && spec->num_embeddings > most_elements / spec->input_size) return BPTT_ERROR_OVERFLOW;
    if (!fits(widest(spec) + ROUNDING, spec->hidden_size + ROUNDING, 16, bptt_internal_layer_dirs(spec)))
        return BPTT_ERROR_OVERFLOW;
    return BPTT_OK;
}

static bptt_status check_cell(const bptt_spec *spec) {
    if (!bptt_cell_name(spec->cell)) return BPTT_ERROR_CELL;
    if (!is_flag(spec->reset_before) || !is_flag(spec->peepholes)) return BPTT_ERROR_OPTION;
    if (!(spec->leak >= 0 && spec->leak <= 1) || !is_flag(spec->learn_leak)) return BPTT_ERROR_OPTION;
    const bptt_internal_shape *shape = bptt_internal_shape_of(spec);
    return !shape || (spec->peepholes && !shape->peepholes) ? BPTT_ERROR_OPTION : BPTT_OK;
}

static bptt_status check_tokens(const bptt_spec *spec) {
    if (!is_flag(spec->one_hot) || (spec->one_hot && spec->num_embeddings)) return BPTT_ERROR_OPTION;
    if (spec->num_embeddings < 0) return BPTT_ERROR_SIZE;
    return spec->padding_row < 0 || spec->padding_row > spec->num_embeddings ? BPTT_ERROR_OPTION : BPTT_OK;
}

bptt_status bptt_internal_check_spec(const bptt_spec *spec, bptt_spec *full) {
    if (!spec) return BPTT_ERROR_NULL;
    if (!bptt_internal_size_fits(spec->struct_size, sizeof *spec)) return BPTT_ERROR_STRUCT;
    memset(full, 0, sizeof *full);
    memcpy(full, spec, spec->struct_size);
    bptt_status status = check_cell(full);
    if (status) return status;
    if (!is_flag(full->bias) || !is_flag(full->bidirectional) || !is_flag(full->learn_state)) return BPTT_ERROR_OPTION;
    if (!is_rate(full->dropout) || !is_rate(full->recurrent_dropout)) return BPTT_ERROR_OPTION;
    if (!(full->noise >= 0 && full->noise <= DBL_MAX)) return BPTT_ERROR_OPTION;
    status = check_tokens(full);
    return status ? status : check_sizes(full);
}

static bptt_status check_lengths(const int64_t *lengths, int64_t T, int64_t B) {
    for (int64_t row = 0; lengths && row < B; row++)
        if (lengths[row] < 1 || lengths[row] > (row ? lengths[row - 1] : T)) return BPTT_ERROR_LENGTHS;
    return BPTT_OK;
}

static bptt_status check_options(const bptt_spec *spec, const bptt_options *options, int64_t T) {
    const int64_t tape_steps = options->tape_steps, tape_first = options->tape_first;
    if (options->threads < 0 || !is_flag(options->carry_per_row)) return BPTT_ERROR_OPTION;
    if (!is_flag(options->training) || !is_flag(options->state_given)) return BPTT_ERROR_OPTION;
    if (options->dy_start < 0 || options->dy_start > T) return BPTT_ERROR_OPTION;
    if (tape_steps < 0 || tape_first < 0 || options->segment < 0) return BPTT_ERROR_OPTION;
    if (tape_first > (tape_steps ? tape_steps : T) - T) return BPTT_ERROR_OPTION;
    /* where tape_first is not 0, tape_steps is more than T */
    if (options->segment && (spec->bidirectional || tape_steps)) return BPTT_ERROR_OPTION;
    if (spec->bidirectional && tape_steps && tape_steps != T) return BPTT_ERROR_OPTION;
    if (options->tokens && !bptt_internal_takes_tokens(spec)) return BPTT_ERROR_OPTION;
    if (!(options->step_clip_norm >= 0) || !(options->step_clip_value >= 0)) return BPTT_ERROR_THRESHOLD;
    return BPTT_OK;
}

bptt_status bptt_internal_check_call(const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options,
                                     bptt_spec *full_spec, bptt_options *full) {
    bptt_status status = bptt_internal_check_spec(spec, full_spec);
    if (status) return status;
    if (T < 1 || B < 1) return BPTT_ERROR_SIZE;
    memset(full, 0, sizeof *full);
    if (options) {
        if (!bptt_internal_size_fits(options->struct_size, sizeof *options)) return BPTT_ERROR_STRUCT;
        memcpy(full, options, options->struct_size);
        status = check_options(full_spec, full, T);
        if (status) return status;
    }
    const int64_t steps = larger(full->tape_steps, T);
    if (steps > most_elements - ROUNDING || B > most_elements - ROUNDING) return BPTT_ERROR_OVERFLOW;
    if (!fits(steps + 2, B + ROUNDING, widest(full_spec) + ROUNDING, step_blocks(full_spec)))
        return BPTT_ERROR_OVERFLOW;
    return check_lengths(full->lengths, T, B);
}

int64_t bptt_internal_most_rows(const bptt_spec *spec) {
    return most_elements / 3 / (widest(spec) + ROUNDING) / step_blocks(spec) - ROUNDING;
}
