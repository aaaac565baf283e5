"""Pieces of the C files that to_c writes, as they read in those of a network called "model".

`$NAME` is filled in by _c_source.py. The pieces are written for int8 weights: the arguments `layer->scale_...` and
`model_scale_...` are left out where weights are float32.
"""

HEADER = """\
/* $TITLE
 * in C99 (C++17 takes it too), written by bptt $VERSION.
 *
 *   flash  $FLASH of constants, and the code: below 3 kB on a Cortex-M4 with -O2
 *   RAM    $RAM, one model_state for each sequence that runs at the same time; less than 256 bytes of stack
 *
$ABOUT
 *
 * Arithmetic is float32. Nothing is allocated; states are independent, in threads too; the library functions memcpy and
 * memset are all that is called. With -O3 compilers vectorise the loops. The last bits depend on whether the compiler
 * contracts a*b+c to one instruction: with -ffp-contract=off they are the same everywhere.
 *
 *     #include "model.h"
 *     static model_state state;
 *     int main(void) {
$EXAMPLE
 *     }
 */
#ifndef MODEL_H
#define MODEL_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

$SIZES
#define MODEL_ID $ID /* a checksum of the network: model.c checks that the two files go together */

/* What the network keeps from one step to the next. model_reset sets it, nothing else needs to look into it. A copy of
 * it goes on by itself from the same step. */
typedef struct model_state {
$MEMBERS
} model_state;

/* The state before the first step$START. */
void model_reset(model_state *state);

$STEP

#ifdef __cplusplus
}
#endif
#endif
"""

EXAMPLE = """\
 *         float x[MODEL_INPUT_SIZE], y[MODEL_OUTPUT_SIZE];
 *         model_reset(&state);
 *         while (read_inputs(x)) {
 *             model_step(&state, x, y);
 *             write_outputs(y);
 *         }"""

TOKEN_EXAMPLE = """\
 *         float y[MODEL_OUTPUT_SIZE];
 *         model_reset(&state);
 *         for (int32_t token; read_token(&token);)
 *             if (model_step(&state, token, y) == 0) write_outputs(y);"""

STEP_DECLARATION = """\
/* One step: from the inputs x (MODEL_INPUT_SIZE) the outputs y (MODEL_OUTPUT_SIZE). y may be x. NaN and Inf pass
 * through, and may stay in the state until model_reset. */
void model_step(model_state *state, const float *x, float *y);"""

TOKEN_STEP_DECLARATION = """\
/* One step: from the integer `token`, 0..MODEL_VOCABULARY-1, the outputs y (MODEL_OUTPUT_SIZE). Returns 0; -1 for
 * any other integer, and then state and y are as they were. */
int model_step(model_state *state, int32_t token, float *y);"""

SOURCE = """\
/* $TITLE
 * in C99, written by bptt $VERSION; model.h says how to call it. A step computes for each layer, with
 * s(x) = 1 / (1 + e^-x), and * by elements:
 *
$FORMULAS
 *
 * H is MODEL_HIDDEN_SIZE. A matrix lies with one row for each input of its product, so that the inner loops go over
 * units, which lie side by side. */
#include "model.h"

#include <stddef.h>
#include <string.h>

#if MODEL_ID != $ID
#error "model.h is that of another network"
#endif

$CONSTANTS

/* The layers, the first one first. */
typedef struct model_layer {
$FIELDS
} model_layer;

static const model_layer model_layers[MODEL_NUM_LAYERS] = {
$LAYERS
};

$FUNCTIONS

void model_reset(model_state *state) {
    memset(state, 0, sizeof *state);
$LEARNED
}

$STEP
"""

# ---- activations -----------------------------------------------------------------------------------------

EXPONENTIAL = """\
/* e^r - 1 for the r of x = n ln 2 + r, |r| <= ln 2 / 2, with an integer n; *power receives 2^n. -87 <= x <= 0.
 * (Cody & Waite 1980, and the Taylor series.) */
static float model_expm1_reduced(float x, float *power) {
    const int32_t n = (int32_t)(x * 1.44269504f - 0.5f); /* x / ln 2 to the nearest */
    const float r = (x - (float)n * 0.693359375f) + (float)n * 2.12194440e-4f;
    const uint32_t bits = (uint32_t)(n + 127) << 23; /* of the float 2^n */
    float p = r * (1.0f / 5040.0f) + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    memcpy(power, &bits, sizeof bits);
    return r + r * r * p;
}"""

TANH = """\
/* tanh|x| = (1 - e) / (1 + e), e = e^-2|x|, with the sign of x; 1 from 9.1 on. Within 3 units in the last place. */
static float model_tanh(float x) {
    const float size = x < 0.0f ? -x : x;
    float power;
    const float q = model_expm1_reduced(size < 9.1f ? -2.0f * size : -18.2f, &power);
    const float minus = power * q + (power - 1.0f); /* e - 1, precise near 0 too */
    const float y = -minus / (2.0f + minus);
    return x < 0.0f ? -y : x >= 0.0f ? y : x; /* the last: NaN */
}"""

LOGISTIC = """\
/* 1 / (1 + e^-x). Within 3 units in the last place; below -87 it stays at e^-87. */
static float model_logistic(float x) {
    const float size = x < 0.0f ? -x : x;
    float power;
    const float q = model_expm1_reduced(size < 87.0f ? -size : -87.0f, &power);
    const float e = power * q + power; /* e^-|x| */
    return x < 0.0f ? e / (1.0f + e) : x >= 0.0f ? 1.0f / (1.0f + e) : x; /* the last: NaN */
}"""

# ---- products --------------------------------------------------------------------------------------------

PRODUCT = """\
/* sums += W x: `rows` sums, `inputs` numbers x; weight holds a row of `rows` weights for each number. Four numbers at
 * a time, so that each sum is loaded and stored a quarter as often. */
static void model_add_product(size_t rows, size_t inputs, const float *weight, const float *x, float *sums) {
    const size_t fours = inputs - inputs % 4;
    for (size_t k = 0; k < fours; k += 4) {
        const float x0 = x[k], x1 = x[k + 1], x2 = x[k + 2], x3 = x[k + 3];
        const float *w0 = weight + k * rows, *w1 = w0 + rows, *w2 = w1 + rows, *w3 = w2 + rows;
        for (size_t j = 0; j < rows; j++) sums[j] += w0[j] * x0 + w1[j] * x1 + w2[j] * x2 + w3[j] * x3;
    }
    for (size_t k = fours; k < inputs; k++) {
        const float *w = weight + k * rows;
        for (size_t j = 0; j < rows; j++) sums[j] += w[j] * x[k];
    }
}"""

INT8_PRODUCT = """\
/* sums += W x: `rows` sums, `inputs` numbers x; weight holds a row of `rows` int8 weights for each number, which are
 * multiples of the sum's scale. Four numbers at a time, so that each sum is loaded and stored a quarter as often. */
static void model_add_product(size_t rows, size_t inputs, const int8_t *weight, const float *scale, const float *x,
                              float *sums) {
    const size_t fours = inputs - inputs % 4;
    for (size_t k = 0; k < fours; k += 4) {
        const float x0 = x[k], x1 = x[k + 1], x2 = x[k + 2], x3 = x[k + 3];
        const int8_t *w0 = weight + k * rows, *w1 = w0 + rows, *w2 = w1 + rows, *w3 = w2 + rows;
        for (size_t j = 0; j < rows; j++)
            sums[j] += scale[j] * ((float)w0[j] * x0 + (float)w1[j] * x1 + (float)w2[j] * x2 + (float)w3[j] * x3);
    }
    for (size_t k = fours; k < inputs; k++) {
        const int8_t *w = weight + k * rows;
        for (size_t j = 0; j < rows; j++) sums[j] += scale[j] * ((float)w[j] * x[k]);
    }
}"""

# ---- a step ----------------------------------------------------------------------------------------------

STEP = """\
$SIGNATURE {
    const size_t H = MODEL_HIDDEN_SIZE;
$BEGIN
    for (size_t k = 0; k < MODEL_NUM_LAYERS; k++) {
        const model_layer *layer = &model_layers[k];
$SUMS
        model_cell($ARGUMENTS);
        x = state->h[k];
    }
$OUTPUTS
}"""

CHECK_TOKEN = "if (token < 0 || token >= MODEL_VOCABULARY) return -1;"

# the first layer's inputs, for each kind of input
NO_INPUTS = "const float *x = NULL; /* the first layer takes the integer */"
EMBEDDED = "const float *x = model_embedding + (size_t)token * MODEL_EMBEDDING_SIZE;"
INT8_EMBEDDED = """\
const int8_t *row = model_embedding + (size_t)token * MODEL_EMBEDDING_SIZE;
const float *x = state->x;
for (size_t j = 0; j < MODEL_EMBEDDING_SIZE; j++) state->x[j] = model_scale_embedding[token] * (float)row[j];"""

BIAS = "memcpy(state->sums, layer->bias, $NUMBERS * sizeof *state->sums);"
NO_BIAS = "memset(state->sums, 0, $NUMBERS * sizeof *state->sums);"

ADD_INPUTS = "model_add_product($ROWS, layer->inputs, layer->weight_ih, layer->scale_ih, x, state->sums);"
ADD_TOKEN = """\
for (size_t j = 0; j < $ROWS; j++) state->sums[j] += layer->weight_ih[(size_t)token * $ROWS + j];"""
INT8_ADD_TOKEN = """\
for (size_t j = 0; j < $ROWS; j++)
    state->sums[j] += layer->scale_ih[j] * (float)layer->weight_ih[(size_t)token * $ROWS + j];"""

OUTPUTS = "memcpy(y, x, H * sizeof *y);"
READOUT_BIAS = "memcpy(y, model_bias_o, sizeof model_bias_o);"
NO_READOUT_BIAS = "memset(y, 0, MODEL_OUTPUT_SIZE * sizeof *y);"
READOUT = "model_add_product(MODEL_OUTPUT_SIZE, H, model_weight_ho, model_scale_ho, x, y);"

# ---- cells -----------------------------------------------------------------------------------------------

VANILLA = """\
/* One step of a layer. In: sums = W_ih x + b; h of the last step. Out: h of this step. */
static void model_cell(const model_layer *layer, float *h, float *sums) {
    const size_t H = MODEL_HIDDEN_SIZE;
    model_add_product(H, H, layer->weight_hh, layer->scale_hh, h, sums);
    for (size_t j = 0; j < H; j++) h[j] = $H;
}"""

LSTM = """\
/* One step of a layer. In: sums = W_ih x + b of the gates i, f, g, o; h and c of the last step. Out: h and c of this
 * step. */
static void model_cell(const model_layer *layer, float *h, float *c, float *sums) {
    const size_t H = MODEL_HIDDEN_SIZE;
    model_add_product(4 * H, H, layer->weight_hh, layer->scale_hh, h, sums);
    for (size_t j = 0; j < H; j++) {
        const float i = model_logistic(sums[j]$PEEPHOLE_I);
        const float f = model_logistic(sums[H + j]$PEEPHOLE_F);
        const float g = model_tanh(sums[2 * H + j]);
        c[j] = f * c[j] + i * g;
        h[j] = model_logistic(sums[3 * H + j]$PEEPHOLE_O) * model_tanh(c[j]);
    }
}"""

GRU = """\
/* One step of a layer. In: sums = W_in x + b_in, W_ir x + b_r, W_iz x + b_z, b_hn, in this order, so that the product
 * with x and the one with h add to three neighbours each; h of the last step. Out: h of this step. */
static void model_cell(const model_layer *layer, float *h, float *sums) {
    const size_t H = MODEL_HIDDEN_SIZE;
    model_add_product(3 * H, H, layer->weight_hh, layer->scale_hh, h, sums + H);
    for (size_t j = 0; j < H; j++) {
        const float r = model_logistic(sums[H + j]), z = model_logistic(sums[2 * H + j]);
        const float n = model_tanh(sums[j] + r * sums[3 * H + j]);
        h[j] = (1.0f - z) * n + z * h[j];
    }
}"""

GRU_RESET_BEFORE = """\
/* One step of a layer. In: sums = W_ih x + b of r, z, n, and behind them room for r*h; h of the last step. Out: h of
 * this step. */
static void model_cell(const model_layer *layer, float *h, float *sums) {
    const size_t H = MODEL_HIDDEN_SIZE;
    model_add_product(2 * H, H, layer->weight_hh, layer->scale_hh, h, sums);
    for (size_t j = 0; j < H; j++) sums[3 * H + j] = model_logistic(sums[j]) * h[j];
    model_add_product(H, H, layer->weight_hn, layer->scale_hn, sums + 3 * H, sums + 2 * H);
    for (size_t j = 0; j < H; j++) {
        const float z = model_logistic(sums[H + j]), n = model_tanh(sums[2 * H + j]);
        h[j] = (1.0f - z) * n + z * h[j];
    }
}"""
