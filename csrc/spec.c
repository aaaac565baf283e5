/* The checks of a spec and of a call's sizes and options, and the layout of the parameters. */
#include "spec.h"

#include <string.h>

/* Sums of a few buffers must still fit, so single buffers are held well below PTRDIFF_MAX bytes. */
static const int64_t most_elements = PTRDIFF_MAX / 64 / (int64_t)sizeof(double);

static int fits(int64_t a, int64_t b, int64_t c) { return a <= most_elements / b && a * b <= most_elements / c; }

/* panels and chunks round sizes up by less than this */
enum { ROUNDING = 64 };

static int64_t widest(const bptt_spec *spec) {
    int64_t n = spec->input_size > spec->hidden_size ? spec->input_size : spec->hidden_size;
    return n > spec->output_size ? n : spec->output_size;
}

bptt_status bptt_internal_check_spec(const bptt_spec *spec) {
    if (!spec) return BPTT_ERROR_NULL;
    if (spec->struct_size != sizeof *spec) return BPTT_ERROR_STRUCT;
    if (spec->cell < BPTT_CELL_TANH || spec->cell > BPTT_CELL_IDENTITY) return BPTT_ERROR_CELL;
    if (spec->bias != 0 && spec->bias != 1) return BPTT_ERROR_OPTION;
    if (spec->input_size < 1 || spec->hidden_size < 1 || spec->output_size < 0) return BPTT_ERROR_SIZE;
    if (widest(spec) > most_elements - ROUNDING) return BPTT_ERROR_OVERFLOW;
    if (!fits(widest(spec) + ROUNDING, spec->hidden_size + ROUNDING, 4)) return BPTT_ERROR_OVERFLOW;
    return BPTT_OK;
}

static bptt_status check_options(const bptt_options *o, int64_t T) {
    if (o->threads < 0 || (o->carry_per_row != 0 && o->carry_per_row != 1)) return BPTT_ERROR_OPTION;
    if (o->dy_start < 0 || o->dy_start > T) return BPTT_ERROR_OPTION;
    if (o->tape_steps < 0 || o->tape_first < 0) return BPTT_ERROR_OPTION;
    if (o->tape_first > (o->tape_steps ? o->tape_steps : T) - T) return BPTT_ERROR_OPTION;
    if (!(o->step_clip_norm >= 0) || !(o->step_clip_value >= 0)) return BPTT_ERROR_THRESHOLD;
    return BPTT_OK;
}

bptt_status bptt_internal_check_call(const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options,
                                     bptt_options *full) {
    bptt_status status = bptt_internal_check_spec(spec);
    if (status) return status;
    if (T < 1 || B < 1) return BPTT_ERROR_SIZE;
    memset(full, 0, sizeof *full);
    if (options) {
        if (options->struct_size != sizeof *options) return BPTT_ERROR_STRUCT;
        *full = *options;
        status = check_options(full, T);
        if (status) return status;
    }
    const int64_t steps = full->tape_steps > T ? full->tape_steps : T;
    if (steps > most_elements - ROUNDING || B > most_elements - ROUNDING) return BPTT_ERROR_OVERFLOW;
    if (!fits(steps + 1, B + ROUNDING, widest(spec) + ROUNDING)) return BPTT_ERROR_OVERFLOW;
    return BPTT_OK;
}

/* Every tensor with its place: the one spot that knows names, shapes and order. rows = 0: the network has none. */
static int64_t place_tensors(const bptt_spec *spec, bptt_tensor tensors[TENSORS]) {
    const int64_t I = spec->input_size, H = spec->hidden_size, O = spec->output_size;
    const int64_t bias = spec->bias ? H : 0;
    const bptt_tensor shapes[TENSORS] = {
        [WEIGHT_IH] = {"weight_ih_l0", 0, H, I}, [WEIGHT_HH] = {"weight_hh_l0", 0, H, H},
        [BIAS_IH] = {"bias_ih_l0", 0, bias, 0},  [BIAS_HH] = {"bias_hh_l0", 0, bias, 0},
        [WEIGHT_HO] = {"weight_ho", 0, O, H},    [BIAS_O] = {"bias_o", 0, spec->bias ? O : 0, 0},
    };
    int64_t offset = 0;
    for (int i = 0; i < TENSORS; i++) {
        tensors[i] = shapes[i];
        tensors[i].offset = offset;
        offset += shapes[i].rows * (shapes[i].cols ? shapes[i].cols : 1);
    }
    return offset;
}

bptt_internal_layout bptt_internal_layout_of(const bptt_spec *spec) {
    bptt_tensor tensors[TENSORS];
    bptt_internal_layout layout = {.total = place_tensors(spec, tensors)};
    for (int i = 0; i < TENSORS; i++) layout.offset[i] = tensors[i].rows ? tensors[i].offset : -1;
    return layout;
}

bptt_status bptt_tensor_count(const bptt_spec *spec, int64_t *count) {
    bptt_tensor tensors[TENSORS];
    bptt_status status = bptt_internal_check_spec(spec);
    if (status) return status;
    if (!count) return BPTT_ERROR_NULL;
    place_tensors(spec, tensors);
    *count = 0;
    for (int i = 0; i < TENSORS; i++) *count += tensors[i].rows > 0;
    return BPTT_OK;
}

bptt_status bptt_tensor_at(const bptt_spec *spec, int64_t index, bptt_tensor *tensor) {
    bptt_tensor tensors[TENSORS];
    int64_t count;
    bptt_status status = bptt_tensor_count(spec, &count);
    if (status) return status;
    if (!tensor) return BPTT_ERROR_NULL;
    if (index < 0 || index >= count) return BPTT_ERROR_SIZE;
    place_tensors(spec, tensors);
    for (int i = 0; i < TENSORS; i++)
        if (tensors[i].rows && index-- == 0) *tensor = tensors[i];
    return BPTT_OK;
}
