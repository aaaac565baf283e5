/* The checks of a spec and of a call's sizes and options, each with the sentence that says what is wrong. */
#include "spec/validate.h"

#include <float.h>
#include <string.h>

#include "cells/shape.h"
#include "spec/params.h"

typedef bptt_internal_sentence sentence;

/* An integer as the argument of %lld. */
#define LL(value) ((long long)(value))

/* ---- rules that several fields have ------------------------------------------------------------------- */

#define FLAG(to, in, field)                                                                                            \
    REQUIRE((in)->field == 0 || (in)->field == 1, to, BPTT_ERROR_OPTION, #field " must be 0 or 1, got %lld",           \
            LL((in)->field))

#define SHARE(to, in, field)                                                                                           \
    REQUIRE((in)->field >= 0 && (in)->field < 1, to, BPTT_ERROR_OPTION, #field " must be in [0, 1), got %.9g",         \
            (in)->field)

#define NOT_BELOW(to, in, field, least, status)                                                                        \
    REQUIRE((in)->field >= (least), to, status, #field " must be at least %d, got %lld", least, LL((in)->field))

#define NOT_ABOVE(to, in, field, most, status)                                                                         \
    REQUIRE((in)->field <= (most), to, status, #field " must be at most %lld, got %lld", LL(most), LL((in)->field))

/* A number that is not 0 in the call's type unless it is 0. */
#define NOT_TOO_SMALL(to, in, field, bits, status)                                                                     \
    REQUIRE((bits) == 64 || (in)->field == 0 || (float)(in)->field > 0, to, status,                                    \
            #field " must be within the range of float32, got %.9g", (in)->field)

#define STRUCT(to, name, given)                                                                                        \
    REQUIRE(bptt_internal_size_fits((given)->struct_size, sizeof *(given)), to, BPTT_ERROR_STRUCT,                     \
            "struct_size of " name " must be sizeof(" name "), at most %llu, got %llu",                                \
            (unsigned long long)sizeof *(given), (unsigned long long)(given)->struct_size)

/* ---- sizes -------------------------------------------------------------------------------------------- */

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

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* columns of the widest array of a step: x, the states of both directions, y */
static int64_t widest(const bptt_spec *spec) {
    return larger(larger(spec->input_size, bptt_internal_directions(spec) * spec->hidden_size), spec->output_size);
}

/* blocks of as many columns that a step needs at most, in all layers and directions */
static int64_t step_blocks(const bptt_spec *spec) { return BLOCKS_MAX * bptt_internal_layer_dirs(spec); }

static bptt_status check_sizes(const bptt_spec *spec, sentence *to) {
    const int64_t most = most_elements / 2 - ROUNDING;
    NOT_BELOW(to, spec, input_size, 1, BPTT_ERROR_SIZE);
    NOT_BELOW(to, spec, hidden_size, 1, BPTT_ERROR_SIZE);
    NOT_BELOW(to, spec, output_size, 0, BPTT_ERROR_SIZE);
    NOT_BELOW(to, spec, num_layers, 0, BPTT_ERROR_SIZE);
    NOT_ABOVE(to, spec, num_layers, LAYERS_MAX, BPTT_ERROR_SIZE);
    NOT_ABOVE(to, spec, input_size, most, BPTT_ERROR_OVERFLOW);
    NOT_ABOVE(to, spec, hidden_size, most, BPTT_ERROR_OVERFLOW);
    NOT_ABOVE(to, spec, output_size, most, BPTT_ERROR_OVERFLOW);
    if (spec->num_embeddings)
        NOT_ABOVE(to, spec, num_embeddings, most_elements / spec->input_size, BPTT_ERROR_OVERFLOW);
    REQUIRE(fits(widest(spec) + ROUNDING, spec->hidden_size + ROUNDING, 16, bptt_internal_layer_dirs(spec)), to,
            BPTT_ERROR_OVERFLOW,
            "the sizes must multiply to what memory can address, got input_size=%lld, hidden_size=%lld, "
            "output_size=%lld, num_layers=%d, bidirectional=%d",
            LL(spec->input_size), LL(spec->hidden_size), LL(spec->output_size), bptt_internal_layers(spec),
            (int)spec->bidirectional);
    return BPTT_OK;
}

/* ---- the spec ----------------------------------------------------------------------------------------- */

static int last_cell(void) {
    int cell = 0;
    while (bptt_cell_name(cell + 1)) cell++;
    return cell;
}

/* The sentence where a cell does not have the form that the spec asks for: the first field without which it would. */
static bptt_status refuse_form(const bptt_spec *spec, sentence *to) {
    const char *cell = bptt_cell_name(spec->cell);
    bptt_spec without_leak = *spec;
    without_leak.learn_leak = 0;
    without_leak.leak = 0;
    if (!bptt_internal_shape_of(&without_leak))
        return bptt_internal_refuse(to, BPTT_ERROR_OPTION, "reset_before must be 0 for the cell %s, got 1", cell);
    if (spec->learn_leak)
        return bptt_internal_refuse(to, BPTT_ERROR_OPTION, "learn_leak must be 0 for the cell %s, got 1", cell);
    return bptt_internal_refuse(to, BPTT_ERROR_OPTION, "leak must be 0 or 1 for the cell %s, got %.9g", cell,
                                spec->leak);
}

static bptt_status check_cell(const bptt_spec *spec, sentence *to) {
    const char *cell = bptt_cell_name(spec->cell);
    REQUIRE(cell, to, BPTT_ERROR_CELL, "cell must be in 0..%d, got %d", last_cell(), (int)spec->cell);
    FLAG(to, spec, reset_before);
    FLAG(to, spec, peepholes);
    REQUIRE(spec->leak >= 0 && spec->leak <= 1, to, BPTT_ERROR_OPTION, "leak must be in [0, 1], got %.9g", spec->leak);
    FLAG(to, spec, learn_leak);
    const bptt_internal_shape *shape = bptt_internal_shape_of(spec);
    if (!shape) return refuse_form(spec, to);
    REQUIRE(!spec->peepholes || shape->peepholes, to, BPTT_ERROR_OPTION, "peepholes must be 0 for the cell %s, got 1",
            cell);
    return BPTT_OK;
}

static bptt_status check_tokens(const bptt_spec *spec, sentence *to) {
    FLAG(to, spec, one_hot);
    REQUIRE(!spec->one_hot || !spec->num_embeddings, to, BPTT_ERROR_OPTION,
            "num_embeddings must be 0 with one_hot=1, got %lld", LL(spec->num_embeddings));
    NOT_BELOW(to, spec, num_embeddings, 0, BPTT_ERROR_SIZE);
    REQUIRE(spec->padding_row >= 0 && spec->padding_row <= spec->num_embeddings, to, BPTT_ERROR_OPTION,
            "padding_row must be in 0..num_embeddings = 0..%lld, got %lld", LL(spec->num_embeddings),
            LL(spec->padding_row));
    return BPTT_OK;
}

bptt_status bptt_internal_check_spec(const bptt_spec *spec, bptt_spec *full, sentence *to) {
    REQUIRE(spec, to, BPTT_ERROR_NULL, "spec must be a bptt_spec, got NULL");
    STRUCT(to, "bptt_spec", spec);
    memset(full, 0, sizeof *full);
    memcpy(full, spec, spec->struct_size);
    bptt_status status = check_cell(full, to);
    if (status) return status;
    FLAG(to, full, bias);
    FLAG(to, full, bidirectional);
    FLAG(to, full, learn_state);
    SHARE(to, full, dropout);
    SHARE(to, full, recurrent_dropout);
    REQUIRE(full->noise >= 0 && full->noise <= DBL_MAX, to, BPTT_ERROR_OPTION,
            "noise must be finite and at least 0, got %.9g", full->noise);
    status = check_tokens(full, to);
    return status ? status : check_sizes(full, to);
}

/* ---- a call's options ---------------------------------------------------------------------------------- */

static bptt_status check_lengths(const int64_t *lengths, int64_t T, int64_t B, sentence *to) {
    for (int64_t row = 0; lengths && row < B; row++) {
        REQUIRE(lengths[row] >= 1 && lengths[row] <= T, to, BPTT_ERROR_LENGTHS,
                "lengths[%lld] must be in 1..T = 1..%lld, got %lld", LL(row), LL(T), LL(lengths[row]));
        REQUIRE(!row || lengths[row] <= lengths[row - 1], to, BPTT_ERROR_LENGTHS,
                "lengths[%lld] must be at most the length before it, %lld, got %lld", LL(row), LL(lengths[row - 1]),
                LL(lengths[row]));
    }
    return BPTT_OK;
}

/* Where the call's steps lie on its tape. */
static bptt_status check_tape(const bptt_spec *spec, const bptt_options *options, int64_t T, sentence *to) {
    const int64_t tape_steps = options->tape_steps;
    NOT_BELOW(to, options, tape_steps, 0, BPTT_ERROR_OPTION);
    NOT_BELOW(to, options, tape_first, 0, BPTT_ERROR_OPTION);
    NOT_BELOW(to, options, segment, 0, BPTT_ERROR_OPTION);
    REQUIRE(!tape_steps || tape_steps >= T, to, BPTT_ERROR_OPTION,
            "tape_steps must be 0 or at least T = %lld, got %lld", LL(T), LL(tape_steps));
    NOT_ABOVE(to, options, tape_first, (tape_steps ? tape_steps : T) - T, BPTT_ERROR_OPTION);
    REQUIRE(!options->segment || !spec->bidirectional, to, BPTT_ERROR_OPTION,
            "segment must be 0 with bidirectional=1, got %lld", LL(options->segment));
    REQUIRE(!options->segment || !tape_steps, to, BPTT_ERROR_OPTION, "segment must be 0 with tape_steps=%lld, got %lld",
            LL(tape_steps), LL(options->segment));
    REQUIRE(!spec->bidirectional || !tape_steps || tape_steps == T, to, BPTT_ERROR_OPTION,
            "tape_steps must be 0 or T = %lld with bidirectional=1, got %lld", LL(T), LL(tape_steps));
    return BPTT_OK;
}

static bptt_status check_options(const bptt_spec *spec, const bptt_options *options, int64_t T, sentence *to) {
    NOT_BELOW(to, options, threads, 0, BPTT_ERROR_OPTION);
    FLAG(to, options, carry_per_row);
    FLAG(to, options, training);
    FLAG(to, options, state_given);
    REQUIRE(options->dy_start >= 0 && options->dy_start <= T, to, BPTT_ERROR_OPTION,
            "dy_start must be in 0..T = 0..%lld, got %lld", LL(T), LL(options->dy_start));
    const bptt_status status = check_tape(spec, options, T, to);
    if (status) return status;
    REQUIRE(!options->tokens || bptt_internal_takes_tokens(spec), to, BPTT_ERROR_OPTION,
            "tokens must be NULL without one_hot or num_embeddings, got an array");
    REQUIRE(options->step_clip_norm >= 0, to, BPTT_ERROR_THRESHOLD, "step_clip_norm must be at least 0, got %.9g",
            options->step_clip_norm);
    REQUIRE(options->step_clip_value >= 0, to, BPTT_ERROR_THRESHOLD, "step_clip_value must be at least 0, got %.9g",
            options->step_clip_value);
    return BPTT_OK;
}

/* ---- a call ---------------------------------------------------------------------------------------------- */

static bptt_status check_steps_and_rows(const bptt_spec *spec, const bptt_options *options, int64_t T, int64_t B,
                                        sentence *to) {
    const int64_t steps = larger(options->tape_steps, T);
    const int held = steps <= most_elements - ROUNDING && B <= most_elements - ROUNDING &&
                     fits(steps + 2, B + ROUNDING, widest(spec) + ROUNDING, step_blocks(spec));
    REQUIRE(held, to, BPTT_ERROR_OVERFLOW,
            "the sizes must multiply to what memory can address, got %s=%lld, B=%lld, input_size=%lld, "
            "hidden_size=%lld, output_size=%lld, num_layers=%d, bidirectional=%d",
            steps > T ? "tape_steps" : "T", LL(steps), LL(B), LL(spec->input_size), LL(spec->hidden_size),
            LL(spec->output_size), bptt_internal_layers(spec), (int)spec->bidirectional);
    return BPTT_OK;
}

/* Numbers that are out of range in the call's type only. */
static bptt_status check_type(const bptt_spec *spec, const bptt_options *options, int bits, sentence *to) {
    NOT_TOO_SMALL(to, options, step_clip_norm, bits, BPTT_ERROR_THRESHOLD);
    NOT_TOO_SMALL(to, options, step_clip_value, bits, BPTT_ERROR_THRESHOLD);
    NOT_TOO_SMALL(to, spec, leak, bits, BPTT_ERROR_OPTION);
    NOT_TOO_SMALL(to, spec, noise, bits, BPTT_ERROR_OPTION);
    REQUIRE(bits == 64 || spec->noise <= (double)FLT_MAX, to, BPTT_ERROR_OPTION,
            "noise must be within the range of float32, got %.9g", spec->noise);
    return BPTT_OK;
}

bptt_status bptt_internal_check_options(const bptt_spec *spec, int64_t T, const bptt_options *options,
                                        bptt_options *full, sentence *to) {
    memset(full, 0, sizeof *full);
    if (!options) return BPTT_OK;
    STRUCT(to, "bptt_options", options);
    memcpy(full, options, options->struct_size);
    return check_options(spec, full, T, to);
}

bptt_status bptt_internal_check_call(const bptt_internal_arguments *call, bptt_spec *full_spec, bptt_options *full,
                                     sentence *to) {
    const int64_t T = call->T, B = call->B;
    bptt_status status = bptt_internal_check_spec(call->spec, full_spec, to);
    if (status) return status;
    NOT_BELOW(to, call, T, 1, BPTT_ERROR_SIZE);
    NOT_BELOW(to, call, B, 1, BPTT_ERROR_SIZE);
    status = bptt_internal_check_options(full_spec, T, call->options, full, to);
    if (status) return status;
    status = check_steps_and_rows(full_spec, full, T, B, to);
    if (!status) status = check_lengths(full->lengths, T, B, to);
    return status ? status : check_type(full_spec, full, call->bits, to);
}

int64_t bptt_internal_most_rows(const bptt_spec *spec) {
    return most_elements / 3 / (widest(spec) + ROUNDING) / step_blocks(spec) - ROUNDING;
}
