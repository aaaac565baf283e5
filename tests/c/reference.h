/* The oracle: what the core must compute, as plain loops in double. Forward and backward take one row of one step at a
 * time, with every option of bptt_options; naive_loss is the scalar loss for finite differences. */
#ifndef REFERENCE_H
#define REFERENCE_H
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "bptt.h"
#include "check.h"
#include "problem.h"

/* Results of a forward: h and c (L*D,T,B,H); gates (L*D,T,B,4*H) in the order of the weights' blocks (GRU: r, z, n, and
 * in the fourth block q = W_hn h + b_hn, or r*h with reset_before); y (T,B,Y); the final state. */
typedef struct {
    double *h, *c, *gates, *y, *state1;
} trace;

LOCAL trace trace_of(const problem *p) {
    const int64_t each = layer_dirs_of(&p->spec) * p->T * p->B * p->spec.hidden_size * (int64_t)sizeof(double);
    return (trace){buffer_of(each), buffer_of(each), buffer_of(4 * each), zeros(p->T * p->B * p->Y),
                   zeros(state_size(p))};
}

LOCAL void free_trace(trace *tr) {
    double *const all[] = {tr->h, tr->c, tr->gates, tr->y, tr->state1};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

/* Working memory for one row of one step of a layer in one direction. */
typedef struct {
    const problem *p;
    const trace *trace;
    const trace *anchor; /* see entering_state; NULL: none */
    layer_dir_tensors w;
    int64_t layer_dir, layer, direction, t, row;
    double *x;            /* inputs, after dropout */
    double *prev[2];      /* h_prev and c_prev, the state that enters the step */
    double *masked;       /* h_prev after dropout, the operand of W_hh */
    double *z_ih, *z_hh;  /* W_ih x + b_ih and W_hh masked + b_hh; in backward the gradients by them */
    double *dx, *dh, *dc; /* gradients by x, h and c */
    double *dh_prev, *d_masked, *dq;
} scratch;

LOCAL scratch scratch_of(const problem *p, const trace *tr, const trace *anchor, int64_t layer_dir) {
    const int64_t H = p->spec.hidden_size, D = directions_of(&p->spec), rows = blocks_of(&p->spec) * H;
    scratch s = {
        .p = p, .trace = tr, .anchor = anchor, .w = layer_dir_tensors_of(&p->spec, layer_dir), .layer_dir = layer_dir};
    s.layer = layer_dir / D;
    s.direction = layer_dir % D;
    s.x = zeros(s.w.in);
    s.dx = zeros(s.w.in);
    s.z_ih = zeros(rows);
    s.z_hh = zeros(rows);
    double **const of_hidden[] = {&s.prev[0], &s.prev[1], &s.masked, &s.dh, &s.dc, &s.d_masked, &s.dq, &s.dh_prev};
    for (size_t i = 0; i < sizeof of_hidden / sizeof of_hidden[0]; i++) *of_hidden[i] = zeros(H);
    return s;
}

LOCAL void free_scratch(scratch *s) {
    double *const all[] = {s->x,  s->prev[0], s->prev[1], s->masked,   s->z_ih, s->z_hh,
                           s->dx, s->dh,      s->dc,      s->d_masked, s->dq,   s->dh_prev};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

/* ---- the links between steps -------------------------------------------------------------------------- */

/* The i-th step of a row in the order in which this direction takes them. */
LOCAL int64_t nth_step(const scratch *s, int64_t i) { return s->direction ? length_of(s->p, s->row) - 1 - i : i; }

/* The previous step in that order; for the first step a number that is no step: -1 or the row's length. */
LOCAL int64_t prev_step(const scratch *s) { return s->direction ? s->t + 1 : s->t - 1; }

LOCAL int is_first_step(const scratch *s) { return prev_step(s) < 0 || prev_step(s) == length_of(s->p, s->row); }

/* Whether a reset zeroes the state that enters the step. A reset at t cuts the link between t-1 and t: forward, step t
 * starts from zero; in reverse, step t-1 does, because it is the last step of another sequence. */
LOCAL int enters_zero(const scratch *s) {
    if (!s->direction) return resets(s->p, s->t, s->row);
    return !is_first_step(s) && resets(s->p, s->t + 1, s->row);
}

/* The factor of carry on the gradient from this step to the previous one. */
LOCAL double link_scale(const scratch *s) { return carry_at(s->p, s->direction ? s->t : s->t - 1, s->row); }

/* The row's place in h and c of a trace, at step t. */
LOCAL int64_t row_offset(const scratch *s, int64_t layer_dir, int64_t t) {
    return ((layer_dir * s->p->T + t) * s->p->B + s->row) * s->p->spec.hidden_size;
}

/* An element of the state that enters a row's first step. */
LOCAL double initial_state(const scratch *s, int part, int64_t j) {
    const problem *p = s->p;
    if (p->state0) return p->state0[state_at(p, s->layer_dir, part, s->row) + j];
    return p->spec.learn_state
               ? p->params[network_tensors_of(&p->spec).state[part] + s->layer_dir * p->spec.hidden_size + j]
               : 0;
}

/* An element of the state that enters the step. With an anchor (the trace of the unperturbed problem) the state is
 * anchor + carry * (state - anchor): the derivative of that forward is the gradient that backward with carry gives. */
LOCAL double entering_state(const scratch *s, int part, int64_t j) {
    if (enters_zero(s)) return 0;
    if (is_first_step(s)) return initial_state(s, part, j);
    const int64_t at = row_offset(s, s->layer_dir, prev_step(s)) + j;
    const double state = part ? s->trace->c[at] : s->trace->h[at];
    if (!s->anchor) return state;
    return link_scale(s) * state + (1 - link_scale(s)) * (part ? s->anchor->c[at] : s->anchor->h[at]);
}

/* The row's place in the dropout mask of the layer's inputs, at this step. */
LOCAL int64_t mask_offset(const scratch *s) { return ((s->layer * s->p->T + s->t) * s->p->B + s->row) * s->w.in; }

/* The place in the parameters of the row of the embedding that is the input. */
LOCAL int64_t embedding_row(const scratch *s) {
    const problem *p = s->p;
    return network_tensors_of(&p->spec).embedding + p->tokens[s->t * p->B + s->row] * p->spec.input_size;
}

/* An element of the first layer's input: of x, of a unit vector or of a row of the embedding. */
LOCAL double first_input(const scratch *s, int64_t j) {
    const problem *p = s->p;
    const int64_t place = s->t * p->B + s->row;
    if (p->spec.one_hot) return p->tokens[place] == j;
    return p->tokens ? p->params[embedding_row(s) + j] : p->x[place * s->w.in + j];
}

/* Loads the inputs and the entering state of step t, and applies the dropout masks. */
LOCAL void load_step(scratch *s, int64_t t) {
    const problem *p = s->p;
    const int64_t H = p->spec.hidden_size, D = directions_of(&p->spec);
    s->t = t;
    for (int64_t j = 0; j < s->w.in; j++) {
        if (!s->layer) s->x[j] = first_input(s, j);
        else s->x[j] = s->trace->h[row_offset(s, (s->layer - 1) * D + j / H, t) + j % H];
        if (s->layer && p->input_mask) s->x[j] *= p->input_mask[mask_offset(s) + j];
    }
    for (int64_t j = 0; j < H; j++) {
        for (int part = 0; part < parts_of(&p->spec); part++) s->prev[part][j] = entering_state(s, part, j);
        s->masked[j] = s->prev[0][j];
        if (p->recurrent_mask) s->masked[j] *= p->recurrent_mask[state_at(p, s->layer_dir, 0, s->row) + j];
    }
}

/* ---- forward ------------------------------------------------------------------------------------------ */

LOCAL double dot(int64_t n, const double *a, const double *b) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* out = W v + b for rows [row_begin,row_end) of W (rows,cols); w and b are offsets into the parameters. */
LOCAL void affine(const problem *p, int64_t row_begin, int64_t row_end, int64_t cols, int64_t w, int64_t b,
                  const double *v, double *out) {
    for (int64_t i = row_begin; i < row_end; i++)
        out[i] = dot(cols, p->params + w + i * cols, v) + (p->spec.bias ? p->params[b + i] : 0);
}

LOCAL double logistic(double z) { return 1 / (1 + exp(-z)); }

LOCAL double activation(int cell, double z) {
    switch (cell) {
    case BPTT_CELL_TANH: return tanh(z);
    case BPTT_CELL_RELU: return z > 0 ? z : 0;
    case BPTT_CELL_SIGMOID: return logistic(z);
    default: return z;
    }
}

LOCAL double peephole(const scratch *s, int64_t gate, int64_t j) {
    return s->p->spec.peepholes ? s->p->params[s->w.peephole + gate * s->p->spec.hidden_size + j] : 0;
}

LOCAL void naive_lstm(const scratch *s, double *h, double *c, double *gates) {
    const int64_t H = s->p->spec.hidden_size;
    const double *a = s->z_ih, *b = s->z_hh, *c_prev = s->prev[1];
    for (int64_t j = 0; j < H; j++) {
        const double i = logistic(a[j] + b[j] + peephole(s, 0, j) * c_prev[j]);
        const double f = logistic(a[H + j] + b[H + j] + peephole(s, 1, j) * c_prev[j]);
        const double g = tanh(a[2 * H + j] + b[2 * H + j]);
        c[j] = f * c_prev[j] + i * g;
        const double o = logistic(a[3 * H + j] + b[3 * H + j] + peephole(s, 2, j) * c[j]);
        h[j] = o * tanh(c[j]);
        gates[j] = i;
        gates[H + j] = f;
        gates[2 * H + j] = g;
        gates[3 * H + j] = o;
    }
}

LOCAL void naive_gru(const scratch *s, double *h, double *gates) {
    const int64_t H = s->p->spec.hidden_size;
    const int reset_before = s->p->spec.reset_before;
    const double *a = s->z_ih, *b = s->z_hh;
    double *r = gates, *z = gates + H, *n = gates + 2 * H, *q = gates + 3 * H;
    for (int64_t j = 0; j < H; j++) {
        r[j] = logistic(a[j] + b[j]);
        z[j] = logistic(a[H + j] + b[H + j]);
        q[j] = reset_before ? r[j] * s->masked[j] : b[2 * H + j];
    }
    if (reset_before) affine(s->p, 2 * H, 3 * H, H, s->w.hh, s->w.b_hh, q, s->z_hh);
    for (int64_t j = 0; j < H; j++) {
        n[j] = tanh(a[2 * H + j] + (reset_before ? b[2 * H + j] : r[j] * q[j]));
        h[j] = (1 - z[j]) * n[j] + z[j] * s->prev[0][j];
    }
}

LOCAL void naive_step(const scratch *s) {
    const problem *p = s->p;
    const int64_t H = p->spec.hidden_size, rows = blocks_of(&p->spec) * H, at = row_offset(s, s->layer_dir, s->t);
    double *h = s->trace->h + at, *c = s->trace->c + at, *gates = s->trace->gates + 4 * at;
    affine(p, 0, rows, s->w.in, s->w.ih, s->w.b_ih, s->x, s->z_ih);
    affine(p, 0, rows, H, s->w.hh, s->w.b_hh, s->masked, s->z_hh);
    if (p->spec.cell == BPTT_CELL_LSTM) naive_lstm(s, h, c, gates);
    else if (p->spec.cell == BPTT_CELL_GRU) naive_gru(s, h, gates);
    else
        for (int64_t j = 0; j < H; j++) h[j] = activation(p->spec.cell, s->z_ih[j] + s->z_hh[j]);
    for (int part = 0; part < parts_of(&p->spec); part++)
        memcpy(s->trace->state1 + state_at(p, s->layer_dir, part, s->row), part ? c : h, (size_t)H * sizeof *h);
}

/* h (D*H) of the last layer at a step, both directions side by side. */
LOCAL void copy_last_h(const problem *p, const trace *tr, int64_t t, int64_t row, double *h) {
    const int64_t H = p->spec.hidden_size, D = directions_of(&p->spec), last = layer_dirs_of(&p->spec) - D;
    for (int64_t d = 0; d < D; d++)
        memcpy(h + d * H, tr->h + (((last + d) * p->T + t) * p->B + row) * H, (size_t)H * sizeof *h);
}

LOCAL void naive_readout(const problem *p, const trace *tr) {
    const int64_t DH = directions_of(&p->spec) * p->spec.hidden_size;
    const network_tensors w = network_tensors_of(&p->spec);
    double *h = zeros(DH);
    for (int64_t row = 0; row < p->B; row++)
        for (int64_t t = 0; t < length_of(p, row); t++) {
            double *y = tr->y + (t * p->B + row) * p->Y;
            copy_last_h(p, tr, t, row, h);
            if (p->spec.output_size) affine(p, 0, p->Y, DH, w.ho, w.b_o, h, y);
            else memcpy(y, h, (size_t)DH * sizeof *y);
        }
    release(h);
}

LOCAL trace naive_forward(const problem *p, const trace *anchor) {
    trace result = trace_of(p);
    for (int64_t layer_dir = 0; layer_dir < layer_dirs_of(&p->spec); layer_dir++) {
        scratch s = scratch_of(p, &result, anchor, layer_dir);
        for (s.row = 0; s.row < p->B; s.row++)
            for (int64_t i = 0; i < length_of(p, s.row); i++) {
                load_step(&s, nth_step(&s, i));
                naive_step(&s);
            }
        free_scratch(&s);
    }
    naive_readout(p, &result);
    return result;
}

/* The states after all steps, laid out as dstates; zeros beyond a row's length. */
LOCAL double *naive_states(const problem *p, const trace *tr) {
    const int64_t H = p->spec.hidden_size, count = layer_dirs_of(&p->spec);
    double *states = zeros(p->T * state_size(p));
    for (int part = 0; part < parts_of(&p->spec); part++)
        for (int64_t layer_dir = 0; layer_dir < count; layer_dir++)
            for (int64_t i = 0; i < p->T * p->B; i++) {
                const int64_t t = i / p->B, row = i % p->B;
                const double *from = (part ? tr->c : tr->h) + (layer_dir * p->T * p->B + i) * H;
                if (t < length_of(p, row))
                    memcpy(states + states_at(p, layer_dir, part, t, row), from, (size_t)H * sizeof *from);
            }
    return states;
}

/* The loss whose gradients are dy, dstate1 and dstates. */
LOCAL double naive_loss(const problem *p, const trace *anchor) {
    const int64_t skipped = p->dy_start * p->B * p->Y, outputs = p->T * p->B * p->Y;
    trace result = naive_forward(p, anchor);
    double loss = dot(outputs - skipped, p->dy, result.y + skipped);
    if (p->dstate1) loss += dot(state_size(p), p->dstate1, result.state1);
    if (p->dstates) {
        double *states = naive_states(p, &result);
        loss += dot(p->T * state_size(p), p->dstates, states);
        release(states);
    }
    free_trace(&result);
    return loss;
}

/* ---- backward ----------------------------------------------------------------------------------------- */

typedef struct {
    double *dx, *dstate0, *grads, *step_norms;
} gradients;

LOCAL void free_gradients(gradients *g) {
    double *const all[] = {g->dx, g->dstate0, g->grads, g->step_norms};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

/* out += W^T v, W (rows,cols). */
LOCAL void add_transposed(int64_t rows, int64_t cols, const double *W, const double *v, double *out) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) out[j] += W[i * cols + j] * v[i];
}

/* W += a b^T, W (rows,cols). */
LOCAL void add_product(int64_t rows, int64_t cols, const double *a, const double *b, double *W) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) W[i * cols + j] += a[i] * b[j];
}

LOCAL void add_vector(int64_t n, const double *a, double *sum) {
    for (int64_t i = 0; i < n; i++) sum[i] += a[i];
}

/* The derivative of the activation, in terms of its value h. */
LOCAL double activation_grad(int cell, double h) {
    switch (cell) {
    case BPTT_CELL_TANH: return (1 - h) * (1 + h);
    case BPTT_CELL_RELU: return h > 0;
    case BPTT_CELL_SIGMOID: return h * (1 - h);
    default: return 1;
    }
}

/* The clip of one row of dL/dh_t, whose norm is `norm`. */
LOCAL void naive_clip(const problem *p, double norm, double *dh) {
    const double limit = p->clip_value;
    for (int64_t j = 0; j < p->spec.hidden_size; j++) {
        if (p->clip_norm > 0 && norm > p->clip_norm) dh[j] *= p->clip_norm / norm;
        if (limit > 0) dh[j] = fmin(limit, fmax(-limit, dh[j]));
    }
}

/* Reads dh and dc; writes z_ih as the gradient by the pre-activations, and dc as the gradient by c_prev. */
LOCAL void naive_lstm_backward(const scratch *s) {
    const int64_t H = s->p->spec.hidden_size, at = row_offset(s, s->layer_dir, s->t);
    const double *gates = s->trace->gates + 4 * at, *c = s->trace->c + at;
    for (int64_t j = 0; j < H; j++) {
        const double i = gates[j], f = gates[H + j], g = gates[2 * H + j], o = gates[3 * H + j], th = tanh(c[j]);
        const double zo = s->dh[j] * th * o * (1 - o);
        const double dc = s->dc[j] + s->dh[j] * o * (1 - th * th) + zo * peephole(s, 2, j);
        const double zi = dc * g * i * (1 - i), zf = dc * s->prev[1][j] * f * (1 - f);
        s->z_ih[j] = zi;
        s->z_ih[H + j] = zf;
        s->z_ih[2 * H + j] = dc * i * (1 - g * g);
        s->z_ih[3 * H + j] = zo;
        s->dc[j] = dc * f + zi * peephole(s, 0, j) + zf * peephole(s, 1, j);
    }
}

/* Reads dh; writes z_ih as the gradient by W_ih x + b_ih, dq as that by q, and dh_prev as its direct term z*dh. */
LOCAL void naive_gru_backward(const scratch *s) {
    const int64_t H = s->p->spec.hidden_size;
    const int reset_before = s->p->spec.reset_before;
    const double *gates = s->trace->gates + 4 * row_offset(s, s->layer_dir, s->t), *q = gates + 3 * H;
    memset(s->dq, 0, (size_t)H * sizeof *s->dq);
    for (int64_t j = 0; j < H; j++) {
        const double z = gates[H + j], n = gates[2 * H + j];
        s->z_ih[H + j] = s->dh[j] * (s->prev[0][j] - n) * z * (1 - z);
        s->z_ih[2 * H + j] = s->dh[j] * (1 - z) * (1 - n * n);
        s->dh_prev[j] = s->dh[j] * z;
    }
    if (reset_before) add_transposed(H, H, s->p->params + s->w.hh + 2 * H * H, s->z_ih + 2 * H, s->dq);
    for (int64_t j = 0; j < H; j++) {
        const double r = gates[j], dn = s->z_ih[2 * H + j];
        if (!reset_before) s->dq[j] = dn * r;
        s->z_ih[j] = (reset_before ? s->dq[j] * s->masked[j] : dn * q[j]) * r * (1 - r);
    }
}

/* d_masked: the gradient by the operand of W_hh. */
LOCAL void naive_d_masked(const scratch *s) {
    const problem *p = s->p;
    const int64_t H = p->spec.hidden_size, rows = blocks_of(&p->spec) * H;
    const double *w_hh = p->params + s->w.hh, *r = s->trace->gates + 4 * row_offset(s, s->layer_dir, s->t);
    const int reset_before = p->spec.reset_before;
    memset(s->d_masked, 0, (size_t)H * sizeof *s->d_masked);
    add_transposed(reset_before ? 2 * H : rows, H, w_hh, s->z_hh, s->d_masked);
    for (int64_t j = 0; reset_before && j < H; j++) s->d_masked[j] += s->dq[j] * r[j];
}

LOCAL void naive_cell_backward(const scratch *s) {
    const problem *p = s->p;
    const int64_t H = p->spec.hidden_size, rows = blocks_of(&p->spec) * H;
    const double *h = s->trace->h + row_offset(s, s->layer_dir, s->t);
    memset(s->dh_prev, 0, (size_t)H * sizeof *s->dh_prev);
    if (p->spec.cell == BPTT_CELL_LSTM) naive_lstm_backward(s);
    else if (p->spec.cell == BPTT_CELL_GRU) naive_gru_backward(s);
    else
        for (int64_t j = 0; j < H; j++) s->z_ih[j] = activation_grad(p->spec.cell, h[j]) * s->dh[j];
    memcpy(s->z_hh, s->z_ih, (size_t)rows * sizeof *s->z_ih);
    if (p->spec.cell == BPTT_CELL_GRU && !p->spec.reset_before)
        memcpy(s->z_hh + 2 * H, s->dq, (size_t)H * sizeof *s->dq);
    naive_d_masked(s);
    for (int64_t j = 0; j < H; j++)
        s->dh_prev[j] +=
            s->d_masked[j] * (p->recurrent_mask ? p->recurrent_mask[state_at(p, s->layer_dir, 0, s->row) + j] : 1);
}

/* Adds the terms of this row and step to the gradients of the parameters. */
LOCAL void naive_add_param_grads(const scratch *s, double *grads) {
    const problem *p = s->p;
    const int64_t H = p->spec.hidden_size, rows = blocks_of(&p->spec) * H, at = row_offset(s, s->layer_dir, s->t);
    const double *q = s->trace->gates + 4 * at + 3 * H, *c = s->trace->c + at;
    const int64_t h_rows = p->spec.reset_before ? 2 * H : rows; /* rows of W_hh whose operand is h_prev */
    add_product(rows, s->w.in, s->z_ih, s->x, grads + s->w.ih);
    add_product(h_rows, H, s->z_hh, s->masked, grads + s->w.hh);
    if (p->spec.reset_before) add_product(H, H, s->z_hh + 2 * H, q, grads + s->w.hh + 2 * H * H);
    for (int64_t j = 0; p->spec.peepholes && j < H; j++) {
        grads[s->w.peephole + j] += s->z_ih[j] * s->prev[1][j];
        grads[s->w.peephole + H + j] += s->z_ih[H + j] * s->prev[1][j];
        grads[s->w.peephole + 2 * H + j] += s->z_ih[3 * H + j] * c[j];
    }
    if (!p->spec.bias) return;
    add_vector(rows, s->z_ih, grads + s->w.b_ih);
    add_vector(rows, s->z_hh, grads + s->w.b_hh);
}

/* Adds the gradient by the inputs to `below` (T,B,inputs), and to the row of the embedding that they are. */
LOCAL void naive_add_input_grads(const scratch *s, double *below, double *grads) {
    const problem *p = s->p;
    double *to = below + (s->t * p->B + s->row) * s->w.in;
    memset(s->dx, 0, (size_t)s->w.in * sizeof *s->dx);
    add_transposed(blocks_of(&p->spec) * p->spec.hidden_size, s->w.in, p->params + s->w.ih, s->z_ih, s->dx);
    for (int64_t j = 0; j < s->w.in; j++)
        to[j] += s->dx[j] * (s->layer && p->input_mask ? p->input_mask[mask_offset(s) + j] : 1);
    if (s->layer || !p->spec.num_embeddings) return;
    if (p->tokens[s->t * p->B + s->row] != p->spec.padding_row - 1)
        add_vector(s->w.in, s->dx, grads + embedding_row(s));
}

/* Sets dh and dc to the recurrent gradient of the previous step; at the row's first step also writes dstate0. */
LOCAL void naive_grad_to_prev(const scratch *s, double *dstate0) {
    const problem *p = s->p;
    const int64_t H = p->spec.hidden_size;
    const double scale = enters_zero(s) ? 0 : is_first_step(s) ? 1 : link_scale(s);
    for (int64_t j = 0; j < H; j++) {
        s->dh[j] = scale * s->dh_prev[j];
        s->dc[j] = scale * s->dc[j];
    }
    for (int part = 0; is_first_step(s) && part < parts_of(&p->spec); part++)
        memcpy(dstate0 + state_at(p, s->layer_dir, part, s->row), part ? s->dc : s->dh, (size_t)H * sizeof *s->dh);
}

/* Backward of one row of one step; above (T,B,D*H) is the gradient by the layer's outputs. */
LOCAL void naive_step_backward(scratch *s, const double *above, double *below, gradients *out) {
    const problem *p = s->p;
    const int64_t H = p->spec.hidden_size, D = directions_of(&p->spec);
    double *norm = out->step_norms + s->layer_dir * p->T + s->t;
    add_vector(H, above + ((s->t * p->B + s->row) * D + s->direction) * H, s->dh);
    for (int part = 0; p->dstates && part < parts_of(&p->spec); part++)
        add_vector(H, p->dstates + states_at(p, s->layer_dir, part, s->t, s->row), part ? s->dc : s->dh);
    const double own = sqrt(dot(H, s->dh, s->dh));
    *norm = hypot(*norm, own);
    naive_clip(p, own, s->dh);
    naive_cell_backward(s);
    naive_add_param_grads(s, out->grads);
    naive_add_input_grads(s, below, out->grads);
    naive_grad_to_prev(s, out->dstate0);
}

LOCAL void naive_layer_dir_backward(const problem *p, const trace *tr, int64_t layer_dir, const double *above,
                                    double *below, gradients *out) {
    scratch s = scratch_of(p, tr, NULL, layer_dir);
    for (s.row = 0; s.row < p->B; s.row++) {
        for (int64_t j = 0; j < p->spec.hidden_size; j++) {
            s.dh[j] = p->dstate1 ? p->dstate1[state_at(p, layer_dir, 0, s.row) + j] : 0;
            s.dc[j] = p->dstate1 && parts_of(&p->spec) == 2 ? p->dstate1[state_at(p, layer_dir, 1, s.row) + j] : 0;
        }
        for (int64_t i = length_of(p, s.row) - 1; i >= 0; i--) {
            load_step(&s, nth_step(&s, i));
            naive_step_backward(&s, above, below, out);
        }
    }
    free_scratch(&s);
}

/* Adds the gradients of the readout; returns the gradient by the last layer's outputs (T,B,D*H). */
LOCAL double *naive_readout_backward(const problem *p, const trace *tr, double *grads) {
    const int64_t DH = directions_of(&p->spec) * p->spec.hidden_size, O = p->spec.output_size;
    const network_tensors w = network_tensors_of(&p->spec);
    double *above = zeros(p->T * p->B * DH), *h = zeros(DH);
    for (int64_t row = 0; row < p->B; row++)
        for (int64_t t = p->dy_start; t < length_of(p, row); t++) {
            const double *dy = p->dy + ((t - p->dy_start) * p->B + row) * p->Y;
            double *dh = above + (t * p->B + row) * DH;
            if (O) add_transposed(O, DH, p->params + w.ho, dy, dh);
            else add_vector(DH, dy, dh);
            if (!O) continue;
            copy_last_h(p, tr, t, row, h);
            add_product(O, DH, dy, h, grads + w.ho);
            if (p->spec.bias) add_vector(O, dy, grads + w.b_o);
        }
    release(h);
    return above;
}

/* The learned state enters every row when no state0 is given: its gradient is the sum of dstate0 over rows. */
LOCAL void naive_add_learned_state_grads(const problem *p, gradients *out) {
    const int64_t H = p->spec.hidden_size;
    if (!p->spec.learn_state || p->state0) return;
    for (int part = 0; part < parts_of(&p->spec); part++)
        for (int64_t layer_dir = 0; layer_dir < layer_dirs_of(&p->spec); layer_dir++)
            for (int64_t row = 0; row < p->B; row++)
                add_vector(H, out->dstate0 + state_at(p, layer_dir, part, row),
                           out->grads + network_tensors_of(&p->spec).state[part] + layer_dir * H);
}

LOCAL gradients naive_backward(const problem *p, const trace *tr) {
    const int64_t D = directions_of(&p->spec), steps = p->T * p->B;
    gradients out = {NULL, zeros(state_size(p)), zeros(network_tensors_of(&p->spec).total),
                     zeros(layer_dirs_of(&p->spec) * p->T)};
    double *above = naive_readout_backward(p, tr, out.grads);
    for (int64_t layer = layers_of(&p->spec) - 1; layer >= 0; layer--) {
        double *below = zeros(steps * layer_dir_tensors_of(&p->spec, layer * D).in);
        for (int64_t d = 0; d < D; d++) naive_layer_dir_backward(p, tr, layer * D + d, above, below, &out);
        release(above);
        above = below;
    }
    out.dx = above;
    naive_add_learned_state_grads(p, &out);
    return out;
}
#endif
