/* Problems for the network: spec, sizes, options and all inputs, with the same numbers in every run. */
#ifndef PROBLEM_H
#define PROBLEM_H
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "bptt.h"
#include "check.h"

/* One problem with all its inputs. An array that is NULL is not passed to the call. */
typedef struct {
    bptt_spec spec;
    int64_t T, B, Y;
    double *params, *x, *state0, *dy, *dstate1, *carry;
    double *dstates; /* the gradient by the states after all steps (T,L*D,B,H), and behind it that by c */
    int64_t *tokens; /* the inputs of a network that takes integers, in place of x; -1 beyond a row's length */
    uint8_t *reset;
    int64_t *lengths;
    int32_t carry_per_row, training;
    int32_t norms; /* 1: step norms are wanted; the core may take another path for them */
    uint64_t seed;
    int64_t first_step;
    int64_t dy_start;
    double clip_norm, clip_value;
    /* Factors of dropout on the inputs of each layer (L,T,B,D*H) and on h_{t-1} (L*D,B,H). NULL: nothing is dropped. */
    double *input_mask, *recurrent_mask;
} problem;

enum { /* a problem's features beyond parameters, inputs and dy; combined with | */
       STATE0 = 1,
       DSTATE1 = 2,
       RESET = 4,
       CARRY = 8,
       CARRY_PER_ROW = 16,
       LATE_DY = 32,
       CLIP_NORM = 64,
       CLIP_VALUE = 128,
       LENGTHS = 256,
       TRAINING = 512,
       NORMS = 1024,
       DSTATES = 2048,
       ALL_FEATURES = 4095
};

typedef struct {
    int64_t T, B, I, H, O;
} shape;

/* A cell in one of its forms. */
typedef struct {
    int32_t cell, reset_before, peepholes;
} form;

static const form forms[] = {
    {.cell = BPTT_CELL_TANH},    {.cell = BPTT_CELL_RELU},
    {.cell = BPTT_CELL_SIGMOID}, {.cell = BPTT_CELL_IDENTITY},
    {.cell = BPTT_CELL_LSTM},    {.cell = BPTT_CELL_LSTM, .peepholes = 1},
    {.cell = BPTT_CELL_GRU},     {.cell = BPTT_CELL_GRU, .reset_before = 1},
};

enum { TANH, RELU, SIGMOID, IDENTITY, LSTM, PEEPHOLE_LSTM, GRU, RESET_BEFORE_GRU, FORMS };

LOCAL bptt_spec spec_of(shape s, int which, int32_t layers, int32_t directions) {
    return (bptt_spec){.struct_size = sizeof(bptt_spec),
                       .input_size = s.I,
                       .hidden_size = s.H,
                       .output_size = s.O,
                       .cell = forms[which].cell,
                       .bias = 1,
                       .num_layers = layers,
                       .bidirectional = directions == 2,
                       .reset_before = forms[which].reset_before,
                       .peepholes = forms[which].peepholes};
}

/* The same network with integer inputs: below I as unit vectors (V = 0), or below V as rows of an embedding, of which
 * that with number `padding` gets no gradient (-1: none). */
LOCAL bptt_spec with_tokens(bptt_spec spec, int64_t V, int64_t padding) {
    spec.one_hot = V == 0;
    spec.num_embeddings = V;
    spec.padding_row = padding + 1;
    return spec;
}

/* The number of different integers that the network takes; 0: it takes none. */
LOCAL int64_t integers_of(const bptt_spec *s) { return s->one_hot ? s->input_size : s->num_embeddings; }

/* ---- sizes ------------------------------------------------------------------------------------------ */

LOCAL int64_t layers_of(const bptt_spec *s) { return s->num_layers ? s->num_layers : 1; }
LOCAL int64_t directions_of(const bptt_spec *s) { return s->bidirectional ? 2 : 1; }
LOCAL int64_t layer_dirs_of(const bptt_spec *s) { return layers_of(s) * directions_of(s); }
LOCAL int64_t outputs_of(const bptt_spec *s) {
    return s->output_size ? s->output_size : directions_of(s) * s->hidden_size;
}

LOCAL int64_t blocks_of(const bptt_spec *s) { return s->cell == BPTT_CELL_LSTM ? 4 : s->cell == BPTT_CELL_GRU ? 3 : 1; }

/* Parts of a state: 1 is h, 2 are h and c. */
LOCAL int64_t parts_of(const bptt_spec *s) { return s->cell == BPTT_CELL_LSTM ? 2 : 1; }

LOCAL int64_t state_size(const problem *p) {
    return parts_of(&p->spec) * layer_dirs_of(&p->spec) * p->B * p->spec.hidden_size;
}

/* The place in a state of one row of a layer in one direction; part 0 is h, 1 is c. */
LOCAL int64_t state_at(const problem *p, int64_t layer_dir, int part, int64_t row) {
    return ((part * layer_dirs_of(&p->spec) + layer_dir) * p->B + row) * p->spec.hidden_size;
}

/* The place of the same in the states after all steps. */
LOCAL int64_t states_at(const problem *p, int64_t layer_dir, int part, int64_t t, int64_t row) {
    return (((part * p->T + t) * layer_dirs_of(&p->spec) + layer_dir) * p->B + row) * p->spec.hidden_size;
}

/* Offsets of the tensors of a layer in one direction, as the header says; `in` is the number of its inputs. */
typedef struct {
    int64_t in, ih, hh, b_ih, b_hh, peephole, end;
} layer_dir_tensors;

LOCAL layer_dir_tensors layer_dir_tensors_of(const bptt_spec *s, int64_t layer_dir) {
    const int64_t H = s->hidden_size, D = directions_of(s), rows = blocks_of(s) * H, bias = s->bias ? rows : 0;
    layer_dir_tensors w = {0};
    for (int64_t i = 0; i <= layer_dir; i++) {
        w.in = i < D ? s->input_size : D * H;
        w.ih = w.end;
        w.hh = w.ih + rows * w.in;
        w.b_ih = w.hh + rows * H;
        w.b_hh = w.b_ih + bias;
        w.peephole = w.b_hh + bias;
        w.end = w.peephole + (s->peepholes ? 3 * H : 0);
    }
    return w;
}

/* Offsets of the tensors behind those of all layers; state[0] is state_h0, state[1] is state_c0. */
typedef struct {
    int64_t ho, b_o, state[2], embedding, total;
} network_tensors;

LOCAL network_tensors network_tensors_of(const bptt_spec *s) {
    const int64_t H = s->hidden_size, O = s->output_size, learned = s->learn_state ? layer_dirs_of(s) * H : 0;
    network_tensors w = {.ho = layer_dir_tensors_of(s, layer_dirs_of(s) - 1).end};
    w.b_o = w.ho + O * directions_of(s) * H;
    w.state[0] = w.b_o + (s->bias ? O : 0);
    w.state[1] = w.state[0] + learned;
    w.embedding = w.state[1] + (parts_of(s) - 1) * learned;
    w.total = w.embedding + s->num_embeddings * s->input_size;
    return w;
}

/* ---- dropout masks, measured by the core in double -------------------------------------------------------- */

/* A network of identity cells whose parameters are all zero. */
LOCAL problem measuring_problem(const problem *of, int64_t layers) {
    problem m = *of;
    m.spec = spec_of((shape){.I = 1, .H = of->spec.hidden_size}, IDENTITY, (int32_t)layers, 1);
    m.spec.bidirectional = of->spec.bidirectional;
    m.spec.dropout = of->spec.dropout;
    m.params = zeros(network_tensors_of(&m.spec).total);
    m.x = zeros(m.T * m.B);
    return m;
}

/* Runs it with dropout; writes y (T,B,D*H) and state1 (L*D,B,H). */
LOCAL void measure(const problem *m, double *y, double *state1) {
    const bptt_options options = {.struct_size = sizeof options,
                                  .threads = 1,
                                  .training = 1,
                                  .dropout_seed = m->seed,
                                  .first_step = m->first_step};
    bptt_sizes sizes = {.struct_size = sizeof sizes};
    CHECK_STATUS(bptt_sizes_f64(&m->spec, m->T, m->B, &options, &sizes), BPTT_OK);
    double *work = buffer_of(sizes.forward_work * (int64_t)sizeof *work);
    CHECK_STATUS(bptt_forward_f64(&m->spec, m->T, m->B, m->params, m->x, m->state0, y, state1, NULL, work, &options),
                 BPTT_OK);
    release(work);
}

/* w (n,cols): n rows of an identity matrix, from row_begin on. */
LOCAL void set_identity(double *w, int64_t row_begin, int64_t n, int64_t cols) {
    for (int64_t i = 0; i < n; i++) w[i * cols + row_begin + i] = 1;
}

/* The mask of one layer's inputs: the layer below outputs ones, this layer outputs its inputs. */
LOCAL void measure_layer(const problem *p, int64_t layer, double *mask) {
    const int64_t H = p->spec.hidden_size, D = directions_of(&p->spec);
    problem m = measuring_problem(p, layer + 1);
    m.spec.recurrent_dropout = 0;
    m.state0 = NULL;
    for (int64_t d = 0; d < D; d++) {
        const layer_dir_tensors below = layer_dir_tensors_of(&m.spec, (layer - 1) * D + d);
        for (int64_t j = 0; j < H; j++) m.params[below.b_ih + j] = 1;
        set_identity(m.params + layer_dir_tensors_of(&m.spec, layer * D + d).ih, d * H, H, D * H);
    }
    measure(&m, mask, NULL);
    release(m.params);
    release(m.x);
}

LOCAL double *measure_input_mask(const problem *p) {
    const int64_t layers = layers_of(&p->spec), each = p->T * p->B * directions_of(&p->spec) * p->spec.hidden_size;
    double *mask = zeros(layers * each);
    for (int64_t layer = 1; layer < layers; layer++) measure_layer(p, layer, mask + layer * each);
    return mask;
}

/* The recurrent mask: every cell outputs the state that enters, which is all ones. */
LOCAL double *measure_recurrent_mask(const problem *p) {
    const int64_t H = p->spec.hidden_size, layer_dirs = layer_dirs_of(&p->spec), n = layer_dirs * p->B * H;
    double *mask = zeros(n);
    problem m = measuring_problem(p, layers_of(&p->spec));
    m.T = 1;
    m.spec.recurrent_dropout = p->spec.recurrent_dropout;
    m.state0 = zeros(n);
    for (int64_t i = 0; i < n; i++) m.state0[i] = 1;
    for (int64_t i = 0; i < layer_dirs; i++) set_identity(m.params + layer_dir_tensors_of(&m.spec, i).hh, 0, H, H);
    measure(&m, NULL, mask);
    release(m.params);
    release(m.x);
    release(m.state0);
    return mask;
}

/* ---- making problems -------------------------------------------------------------------------------- */

LOCAL double *carry_of(int64_t n) {
    double *carry = uniform_array(n, 2);
    for (int64_t i = 0; i < n; i += 5) carry[i] = 0; /* some exact zeros, which cut */
    return carry;
}

LOCAL uint8_t *reset_of(int64_t n) {
    uint8_t *reset = buffer_of(n);
    for (int64_t i = 0; i < n; i++) reset[i] = uniform() > 0.6;
    return reset;
}

/* Lengths that never rise, from T or T-1 on. */
LOCAL int64_t *lengths_of(int64_t T, int64_t B) {
    int64_t *lengths = buffer_of(B * (int64_t)sizeof *lengths), left = T > 1 ? T - any_of(2) : T;
    for (int64_t b = 0; b < B; b++) {
        lengths[b] = left;
        left -= any_of(2 * T / B + 2);
        if (left < 1) left = 1;
    }
    return lengths;
}

LOCAL int64_t length_of(const problem *p, int64_t row) { return p->lengths ? p->lengths[row] : p->T; }

/* Integers for all steps; some occur more often than others. */
LOCAL int64_t *tokens_of(const problem *p) {
    int64_t *tokens = buffer_of(p->T * p->B * (int64_t)sizeof *tokens), V = integers_of(&p->spec);
    for (int64_t i = 0; i < p->T * p->B; i++) {
        tokens[i] = any_of(1 + any_of(V));
        if (i / p->B >= length_of(p, i % p->B)) tokens[i] = -1;
    }
    return tokens;
}

LOCAL void name_problem(const problem *p, unsigned features) {
    const bptt_spec *s = &p->spec;
    name_case(
        "T=%lld B=%lld I=%lld H=%lld O=%lld cell=%d reset_before=%d peepholes=%d bias=%d L=%d D=%d learn=%d drop=%g,%g "
        "features=%u V=%lld"
        " padding=%lld",
        (long long)p->T, (long long)p->B, (long long)s->input_size, (long long)s->hidden_size,
        (long long)s->output_size, (int)s->cell, (int)s->reset_before, (int)s->peepholes, (int)s->bias,
        (int)s->num_layers, (int)s->bidirectional + 1, (int)s->learn_state, s->dropout, s->recurrent_dropout, features,
        (long long)integers_of(s), (long long)s->padding_row - 1);
}

LOCAL problem problem_of(bptt_spec spec, int64_t T, int64_t B, unsigned features) {
    const int per_row = (features & CARRY_PER_ROW) != 0, carries = per_row || features & CARRY;
    problem p = {.spec = spec, .T = T, .B = B, .Y = outputs_of(&spec), .carry_per_row = per_row};
    name_problem(&p, features);
    p.norms = (features & NORMS) != 0;
    p.dy_start = features & LATE_DY ? T / 3 : 0;
    p.params = uniform_array(network_tensors_of(&spec).total, 1.5 / sqrt((double)spec.hidden_size));
    p.x = integers_of(&spec) ? NULL : uniform_array(T * B * spec.input_size, 1);
    p.dy = uniform_array((T - p.dy_start) * B * p.Y, 1);
    p.state0 = features & STATE0 ? uniform_array(state_size(&p), 1) : NULL;
    p.dstate1 = features & DSTATE1 ? uniform_array(state_size(&p), 1) : NULL;
    p.dstates = features & DSTATES ? uniform_array(T * state_size(&p), 1) : NULL;
    p.reset = features & RESET ? reset_of(T * B) : NULL;
    p.carry = carries ? carry_of(per_row ? T * B : T) : NULL;
    p.lengths = features & LENGTHS ? lengths_of(T, B) : NULL;
    p.tokens = integers_of(&spec) ? tokens_of(&p) : NULL;
    p.clip_norm = features & CLIP_NORM ? 0.5 * sqrt((double)spec.hidden_size) : 0;
    p.clip_value = features & CLIP_VALUE ? 0.6 : 0;
    if (!(features & TRAINING)) return p;
    p.training = 1;
    p.seed = (uint64_t)any_of(1 << 20) << 40 | 77;
    p.first_step = any_of(1000);
    p.input_mask = measure_input_mask(&p);
    p.recurrent_mask = measure_recurrent_mask(&p);
    return p;
}

LOCAL void free_problem(problem *p) {
    void *const all[] = {p->params, p->x,     p->dy,      p->state0,     p->dstate1,        p->tokens,
                         p->carry,  p->reset, p->lengths, p->input_mask, p->recurrent_mask, p->dstates};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

/* ---- queries ------------------------------------------------------------------------------------------ */

LOCAL int resets(const problem *p, int64_t t, int64_t row) { return p->reset && p->reset[t * p->B + row]; }

/* The factor of carry on the gradient from step t+1 to step t. */
LOCAL double carry_at(const problem *p, int64_t t, int64_t row) {
    return p->carry ? p->carry[p->carry_per_row ? t * p->B + row : t] : 1;
}
#endif
