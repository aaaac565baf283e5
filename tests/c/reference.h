/* What the core must compute, as plain loops in double: the network forward, one row of one step at a time, the
 * backward recursion with everything that bptt_options may do to it, and a scalar loss for finite differences. */
#ifndef REFERENCE_H
#define REFERENCE_H
#include "problem.h"

/* what a forward leaves: h, c (L*D,T,B,H), the gates (L*D,T,B,4*H) in the order of the weights' blocks (GRU: then
 * W_hn h + b_hn or r*h), y (T,B,Y) and the final state */
typedef struct {
    double *h, *c, *gates, *y, *state1;
} trace;

static inline trace trace_of(const problem *p) {
    const int64_t each = units_of(&p->spec) * p->T * p->B * p->spec.hidden_size * (int64_t)sizeof(double);
    return (trace){buffer_of(each), buffer_of(each), buffer_of(4 * each), zeros(p->T * p->B * p->Y),
                   zeros(state_size(p))};
}

static inline void free_trace(trace *t) {
    double *const all[] = {t->h, t->c, t->gates, t->y, t->state1};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

/* one row of one step of a unit: what it is entered with, and in backward the gradients by that */
typedef struct {
    const problem *p;
    const trace *trace, *anchor;
    places at;
    int64_t unit, layer, direction, t, row;
    double *x, *before[2], *used; /* inputs; h and c before; h as the products take it, after dropout */
    double *in, *recurrent;       /* W_ih x + b_ih, W_hh used + b_hh; in backward the gradients by them */
    double *dx, *dh, *dc, *dused, *dq, *dbefore;
} desk;

static inline desk desk_of(const problem *p, const trace *t, const trace *anchor, int64_t unit) {
    const int64_t H = p->spec.hidden_size, D = directions_of(&p->spec), rows = blocks_of(&p->spec) * H;
    desk d = {.p = p, .trace = t, .anchor = anchor, .at = places_of(&p->spec, unit), .unit = unit};
    d.layer = unit / D;
    d.direction = unit % D;
    d.x = zeros(d.at.in);
    d.dx = zeros(d.at.in);
    d.in = zeros(rows);
    d.recurrent = zeros(rows);
    double **const of_units[] = {&d.before[0], &d.before[1], &d.used, &d.dh, &d.dc, &d.dused, &d.dq, &d.dbefore};
    for (size_t i = 0; i < sizeof of_units / sizeof of_units[0]; i++) *of_units[i] = zeros(H);
    return d;
}

static inline void free_desk(desk *d) {
    double *const all[] = {d->x,  d->before[0], d->before[1], d->used,  d->in, d->recurrent,
                           d->dx, d->dh,        d->dc,        d->dused, d->dq, d->dbefore};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

/* ---- the links between steps -------------------------------------------------------------------------- */

/* the i-th step of a row in the order that the unit takes them */
static inline int64_t step_at(const desk *d, int64_t i) { return d->direction ? length_of(d->p, d->row) - 1 - i : i; }

/* the step that came before in that order; -1 or the row's length at the beginning */
static inline int64_t step_before(const desk *d) { return d->direction ? d->t + 1 : d->t - 1; }

static inline int begins(const desk *d) { return step_before(d) < 0 || step_before(d) == length_of(d->p, d->row); }

/* a sequence that begins at step t is entered from zero there; in the reverse direction the step before it is, for
 * that is the last of another sequence */
static inline int enters_zero(const desk *d) {
    if (!d->direction) return resets(d->p, d->t, d->row);
    return !begins(d) && resets(d->p, d->t + 1, d->row);
}

/* what scales the gradient that flows from this step to the one before */
static inline double link_scale(const desk *d) { return carry_at(d->p, d->direction ? d->t : d->t - 1, d->row); }

static inline int64_t place(const desk *d, int64_t unit, int64_t t) {
    return ((unit * d->p->T + t) * d->p->B + d->row) * d->p->spec.hidden_size;
}

/* the state that enters a row's first step */
static inline double first_state(const desk *d, int part, int64_t j) {
    const problem *p = d->p;
    if (p->state0) return p->state0[state_at(p, d->unit, part, d->row) + j];
    return p->spec.learn_state ? p->params[ends_of(&p->spec).state[part] + d->unit * p->spec.hidden_size + j] : 0;
}

/* The state that enters the step. With an anchor (an unperturbed trajectory) only the share of a perturbation that the
 * carry lets through passes on, so that the true derivative of this forward is what backward with a carry gives. */
static inline double entering(const desk *d, int part, int64_t j) {
    if (enters_zero(d)) return 0;
    if (begins(d)) return first_state(d, part, j);
    const int64_t at = place(d, d->unit, step_before(d)) + j;
    const double state = part ? d->trace->c[at] : d->trace->h[at];
    if (!d->anchor) return state;
    return link_scale(d) * state + (1 - link_scale(d)) * (part ? d->anchor->c[at] : d->anchor->h[at]);
}

/* where the factors of dropout for this step's inputs lie */
static inline int64_t kept_place(const desk *d) { return ((d->layer * d->p->T + d->t) * d->p->B + d->row) * d->at.in; }

/* sets the desk for a step: inputs and entering state, after dropout */
static inline void look_up(desk *d, int64_t t) {
    const problem *p = d->p;
    const int64_t H = p->spec.hidden_size, D = directions_of(&p->spec);
    d->t = t;
    for (int64_t j = 0; j < d->at.in; j++) {
        if (!d->layer) d->x[j] = p->x[(t * p->B + d->row) * d->at.in + j];
        else d->x[j] = d->trace->h[place(d, (d->layer - 1) * D + j / H, t) + j % H];
        if (d->layer && p->input_kept) d->x[j] *= p->input_kept[kept_place(d) + j];
    }
    for (int64_t j = 0; j < H; j++) {
        for (int part = 0; part < parts_of(&p->spec); part++) d->before[part][j] = entering(d, part, j);
        d->used[j] = d->before[0][j];
        if (p->recurrent_kept) d->used[j] *= p->recurrent_kept[state_at(p, d->unit, 0, d->row) + j];
    }
}

/* ---- forward ------------------------------------------------------------------------------------------ */

static inline double dot(int64_t n, const double *a, const double *b) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* out = W v + b, rows first..last-1 */
static inline void affine(const problem *p, int64_t first, int64_t last, int64_t cols, int64_t w, int64_t b,
                          const double *v, double *out) {
    for (int64_t i = first; i < last; i++)
        out[i] = dot(cols, p->params + w + i * cols, v) + (p->spec.bias ? p->params[b + i] : 0);
}

static inline double logistic(double z) { return 1 / (1 + exp(-z)); }

static inline double activation(int cell, double z) {
    switch (cell) {
    case BPTT_CELL_TANH: return tanh(z);
    case BPTT_CELL_RELU: return z > 0 ? z : 0;
    case BPTT_CELL_SIGMOID: return logistic(z);
    default: return z;
    }
}

static inline double peephole(const desk *d, int64_t gate, int64_t j) {
    return d->p->spec.peepholes ? d->p->params[d->at.peephole + gate * d->p->spec.hidden_size + j] : 0;
}

static inline void naive_lstm(const desk *d, double *h, double *c, double *gates) {
    const int64_t H = d->p->spec.hidden_size;
    const double *a = d->in, *b = d->recurrent, *before = d->before[1];
    for (int64_t j = 0; j < H; j++) {
        const double i = logistic(a[j] + b[j] + peephole(d, 0, j) * before[j]);
        const double f = logistic(a[H + j] + b[H + j] + peephole(d, 1, j) * before[j]);
        const double g = tanh(a[2 * H + j] + b[2 * H + j]);
        c[j] = f * before[j] + i * g;
        const double o = logistic(a[3 * H + j] + b[3 * H + j] + peephole(d, 2, j) * c[j]);
        h[j] = o * tanh(c[j]);
        gates[j] = i;
        gates[H + j] = f;
        gates[2 * H + j] = g;
        gates[3 * H + j] = o;
    }
}

static inline void naive_gru(const desk *d, double *h, double *gates) {
    const int64_t H = d->p->spec.hidden_size;
    const int before = d->p->spec.reset_before;
    const double *a = d->in, *b = d->recurrent;
    double *r = gates, *z = gates + H, *n = gates + 2 * H, *q = gates + 3 * H;
    for (int64_t j = 0; j < H; j++) {
        r[j] = logistic(a[j] + b[j]);
        z[j] = logistic(a[H + j] + b[H + j]);
        q[j] = before ? r[j] * d->used[j] : b[2 * H + j];
    }
    if (before) affine(d->p, 2 * H, 3 * H, H, d->at.hh, d->at.b_hh, q, d->recurrent);
    for (int64_t j = 0; j < H; j++) {
        n[j] = tanh(a[2 * H + j] + (before ? b[2 * H + j] : r[j] * q[j]));
        h[j] = (1 - z[j]) * n[j] + z[j] * d->before[0][j];
    }
}

static inline void naive_step(const desk *d) {
    const problem *p = d->p;
    const int64_t H = p->spec.hidden_size, rows = blocks_of(&p->spec) * H, at = place(d, d->unit, d->t);
    double *h = d->trace->h + at, *c = d->trace->c + at, *gates = d->trace->gates + 4 * at;
    affine(p, 0, rows, d->at.in, d->at.ih, d->at.b_ih, d->x, d->in);
    affine(p, 0, rows, H, d->at.hh, d->at.b_hh, d->used, d->recurrent);
    if (p->spec.cell == BPTT_CELL_LSTM) naive_lstm(d, h, c, gates);
    else if (p->spec.cell == BPTT_CELL_GRU) naive_gru(d, h, gates);
    else
        for (int64_t j = 0; j < H; j++) h[j] = activation(p->spec.cell, d->in[j] + d->recurrent[j]);
    for (int part = 0; part < parts_of(&p->spec); part++)
        memcpy(d->trace->state1 + state_at(p, d->unit, part, d->row), part ? c : h, (size_t)H * sizeof *h);
}

/* the last layer's states at a step, both directions side by side, receive or give */
static inline void last_layer(const problem *p, const trace *tr, int64_t t, int64_t row, double *h) {
    const int64_t H = p->spec.hidden_size, D = directions_of(&p->spec), first = units_of(&p->spec) - D;
    for (int64_t d = 0; d < D; d++)
        memcpy(h + d * H, tr->h + (((first + d) * p->T + t) * p->B + row) * H, (size_t)H * sizeof *h);
}

static inline void naive_readout(const problem *p, const trace *tr) {
    const int64_t width = directions_of(&p->spec) * p->spec.hidden_size;
    const ends at = ends_of(&p->spec);
    double *h = zeros(width);
    for (int64_t row = 0; row < p->B; row++)
        for (int64_t t = 0; t < length_of(p, row); t++) {
            double *y = tr->y + (t * p->B + row) * p->Y;
            last_layer(p, tr, t, row, h);
            if (p->spec.output_size) affine(p, 0, p->Y, width, at.ho, at.b_o, h, y);
            else memcpy(y, h, (size_t)width * sizeof *y);
        }
    release(h);
}

static inline trace naive_forward(const problem *p, const trace *anchor) {
    trace result = trace_of(p);
    for (int64_t unit = 0; unit < units_of(&p->spec); unit++) {
        desk d = desk_of(p, &result, anchor, unit);
        for (d.row = 0; d.row < p->B; d.row++)
            for (int64_t i = 0; i < length_of(p, d.row); i++) {
                look_up(&d, step_at(&d, i));
                naive_step(&d);
            }
        free_desk(&d);
    }
    naive_readout(p, &result);
    return result;
}

/* the loss that dy and dstate1 are the gradients of */
static inline double naive_loss(const problem *p, const trace *anchor) {
    const int64_t skipped = p->dy_start * p->B * p->Y, outputs = p->T * p->B * p->Y;
    trace result = naive_forward(p, anchor);
    double loss = dot(outputs - skipped, p->dy, result.y + skipped);
    if (p->dstate1) loss += dot(state_size(p), p->dstate1, result.state1);
    free_trace(&result);
    return loss;
}

/* ---- backward ----------------------------------------------------------------------------------------- */

typedef struct {
    double *dx, *dstate0, *grads, *step_norms;
} gradients;

static inline void free_gradients(gradients *g) {
    double *const all[] = {g->dx, g->dstate0, g->grads, g->step_norms};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

/* out += W^T v, W (rows, cols) */
static inline void add_transposed(int64_t rows, int64_t cols, const double *W, const double *v, double *out) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) out[j] += W[i * cols + j] * v[i];
}

/* W += a b^T */
static inline void add_product(int64_t rows, int64_t cols, const double *a, const double *b, double *W) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) W[i * cols + j] += a[i] * b[j];
}

static inline void add_vector(int64_t n, const double *a, double *sum) {
    for (int64_t i = 0; i < n; i++) sum[i] += a[i];
}

static inline double slope(int cell, double h) {
    switch (cell) {
    case BPTT_CELL_TANH: return (1 - h) * (1 + h);
    case BPTT_CELL_RELU: return h > 0;
    case BPTT_CELL_SIGMOID: return h * (1 - h);
    default: return 1;
    }
}

static inline void naive_clip(const problem *p, double norm, double *dh) {
    const double limit = p->clip_value;
    for (int64_t j = 0; j < p->spec.hidden_size; j++) {
        if (p->clip_norm > 0 && norm > p->clip_norm) dh[j] *= p->clip_norm / norm;
        if (limit > 0) dh[j] = fmin(limit, fmax(-limit, dh[j]));
    }
}

/* from dh and dc: the gradients by W_ih x + b_ih, and by c before */
static inline void naive_lstm_back(const desk *d) {
    const int64_t H = d->p->spec.hidden_size, at = place(d, d->unit, d->t);
    const double *gates = d->trace->gates + 4 * at, *c = d->trace->c + at;
    for (int64_t j = 0; j < H; j++) {
        const double i = gates[j], f = gates[H + j], g = gates[2 * H + j], o = gates[3 * H + j], th = tanh(c[j]);
        const double zo = d->dh[j] * th * o * (1 - o);
        const double dc = d->dc[j] + d->dh[j] * o * (1 - th * th) + zo * peephole(d, 2, j);
        const double zi = dc * g * i * (1 - i), zf = dc * d->before[1][j] * f * (1 - f);
        d->in[j] = zi;
        d->in[H + j] = zf;
        d->in[2 * H + j] = dc * i * (1 - g * g);
        d->in[3 * H + j] = zo;
        d->dc[j] = dc * f + zi * peephole(d, 0, j) + zf * peephole(d, 1, j);
    }
}

/* from dh: the gradients by W_ih x + b_ih, dq by W_hn h + b_hn or by r*h, and by h before past the products */
static inline void naive_gru_back(const desk *d) {
    const int64_t H = d->p->spec.hidden_size;
    const int before = d->p->spec.reset_before;
    const double *gates = d->trace->gates + 4 * place(d, d->unit, d->t), *q = gates + 3 * H;
    memset(d->dq, 0, (size_t)H * sizeof *d->dq);
    for (int64_t j = 0; j < H; j++) {
        const double z = gates[H + j], n = gates[2 * H + j];
        d->in[H + j] = d->dh[j] * (d->before[0][j] - n) * z * (1 - z);
        d->in[2 * H + j] = d->dh[j] * (1 - z) * (1 - n * n);
        d->dbefore[j] = d->dh[j] * z;
    }
    if (before) add_transposed(H, H, d->p->params + d->at.hh + 2 * H * H, d->in + 2 * H, d->dq);
    for (int64_t j = 0; j < H; j++) {
        const double r = gates[j], dn = d->in[2 * H + j];
        if (!before) d->dq[j] = dn * r;
        d->in[j] = (before ? d->dq[j] * d->used[j] : dn * q[j]) * r * (1 - r);
    }
}

/* the gradient by h as the products took it */
static inline void naive_dused(const desk *d) {
    const problem *p = d->p;
    const int64_t H = p->spec.hidden_size, rows = blocks_of(&p->spec) * H;
    const double *w_hh = p->params + d->at.hh, *r = d->trace->gates + 4 * place(d, d->unit, d->t);
    const int before = p->spec.reset_before;
    memset(d->dused, 0, (size_t)H * sizeof *d->dused);
    add_transposed(before ? 2 * H : rows, H, w_hh, d->recurrent, d->dused);
    for (int64_t j = 0; before && j < H; j++) d->dused[j] += d->dq[j] * r[j];
}

static inline void naive_cell_back(const desk *d) {
    const problem *p = d->p;
    const int64_t H = p->spec.hidden_size, rows = blocks_of(&p->spec) * H;
    const double *h = d->trace->h + place(d, d->unit, d->t);
    memset(d->dbefore, 0, (size_t)H * sizeof *d->dbefore);
    if (p->spec.cell == BPTT_CELL_LSTM) naive_lstm_back(d);
    else if (p->spec.cell == BPTT_CELL_GRU) naive_gru_back(d);
    else
        for (int64_t j = 0; j < H; j++) d->in[j] = slope(p->spec.cell, h[j]) * d->dh[j];
    memcpy(d->recurrent, d->in, (size_t)rows * sizeof *d->in);
    if (p->spec.cell == BPTT_CELL_GRU && !p->spec.reset_before)
        memcpy(d->recurrent + 2 * H, d->dq, (size_t)H * sizeof *d->dq);
    naive_dused(d);
    for (int64_t j = 0; j < H; j++)
        d->dbefore[j] += d->dused[j] * (p->recurrent_kept ? p->recurrent_kept[state_at(p, d->unit, 0, d->row) + j] : 1);
}

/* what one row of one step gives to the gradients of the unit's parameters */
static inline void naive_share(const desk *d, double *grads) {
    const problem *p = d->p;
    const int64_t H = p->spec.hidden_size, rows = blocks_of(&p->spec) * H, at = place(d, d->unit, d->t);
    const double *q = d->trace->gates + 4 * at + 3 * H, *c = d->trace->c + at;
    const int64_t together = p->spec.reset_before ? 2 * H : rows;
    add_product(rows, d->at.in, d->in, d->x, grads + d->at.ih);
    add_product(together, H, d->recurrent, d->used, grads + d->at.hh);
    if (p->spec.reset_before) add_product(H, H, d->recurrent + 2 * H, q, grads + d->at.hh + 2 * H * H);
    for (int64_t j = 0; p->spec.peepholes && j < H; j++) {
        grads[d->at.peephole + j] += d->in[j] * d->before[1][j];
        grads[d->at.peephole + H + j] += d->in[H + j] * d->before[1][j];
        grads[d->at.peephole + 2 * H + j] += d->in[3 * H + j] * c[j];
    }
    if (!p->spec.bias) return;
    add_vector(rows, d->in, grads + d->at.b_ih);
    add_vector(rows, d->recurrent, grads + d->at.b_hh);
}

/* the gradient by the unit's inputs, added to `below` (T,B,in) */
static inline void naive_pass_down(const desk *d, double *below) {
    const problem *p = d->p;
    double *to = below + (d->t * p->B + d->row) * d->at.in;
    memset(d->dx, 0, (size_t)d->at.in * sizeof *d->dx);
    add_transposed(blocks_of(&p->spec) * p->spec.hidden_size, d->at.in, p->params + d->at.ih, d->in, d->dx);
    for (int64_t j = 0; j < d->at.in; j++)
        to[j] += d->dx[j] * (d->layer && p->input_kept ? p->input_kept[kept_place(d) + j] : 1);
}

/* dh and dc become what flows into the step before, or at the row's beginning the gradient by the entering state */
static inline void naive_flow(const desk *d, double *dstate0) {
    const problem *p = d->p;
    const int64_t H = p->spec.hidden_size;
    const double scale = enters_zero(d) ? 0 : begins(d) ? 1 : link_scale(d);
    for (int64_t j = 0; j < H; j++) {
        d->dh[j] = scale * d->dbefore[j];
        d->dc[j] = scale * d->dc[j];
    }
    for (int part = 0; begins(d) && part < parts_of(&p->spec); part++)
        memcpy(dstate0 + state_at(p, d->unit, part, d->row), part ? d->dc : d->dh, (size_t)H * sizeof *d->dh);
}

/* One row through one step; above (T,B,D*H) is the gradient by the layer's outputs. */
static inline void naive_step_back(desk *d, const double *above, double *below, gradients *out) {
    const problem *p = d->p;
    const int64_t H = p->spec.hidden_size, D = directions_of(&p->spec);
    double *norm = out->step_norms + d->unit * p->T + d->t;
    add_vector(H, above + ((d->t * p->B + d->row) * D + d->direction) * H, d->dh);
    const double own = sqrt(dot(H, d->dh, d->dh));
    *norm = hypot(*norm, own);
    naive_clip(p, own, d->dh);
    naive_cell_back(d);
    naive_share(d, out->grads);
    naive_pass_down(d, below);
    naive_flow(d, out->dstate0);
}

static inline void naive_unit_back(const problem *p, const trace *tr, int64_t unit, const double *above, double *below,
                                   gradients *out) {
    desk d = desk_of(p, tr, NULL, unit);
    for (d.row = 0; d.row < p->B; d.row++) {
        for (int64_t j = 0; j < p->spec.hidden_size; j++) {
            d.dh[j] = p->dstate1 ? p->dstate1[state_at(p, unit, 0, d.row) + j] : 0;
            d.dc[j] = p->dstate1 && parts_of(&p->spec) == 2 ? p->dstate1[state_at(p, unit, 1, d.row) + j] : 0;
        }
        for (int64_t i = length_of(p, d.row) - 1; i >= 0; i--) {
            look_up(&d, step_at(&d, i));
            naive_step_back(&d, above, below, out);
        }
    }
    free_desk(&d);
}

/* the gradients of the readout; returns that by the last layer's outputs (T,B,D*H) */
static inline double *naive_readout_back(const problem *p, const trace *tr, double *grads) {
    const int64_t width = directions_of(&p->spec) * p->spec.hidden_size, O = p->spec.output_size;
    const ends at = ends_of(&p->spec);
    double *above = zeros(p->T * p->B * width), *h = zeros(width);
    for (int64_t row = 0; row < p->B; row++)
        for (int64_t t = p->dy_start; t < length_of(p, row); t++) {
            const double *dy = p->dy + ((t - p->dy_start) * p->B + row) * p->Y;
            double *dh = above + (t * p->B + row) * width;
            if (O) add_transposed(O, width, p->params + at.ho, dy, dh);
            else add_vector(width, dy, dh);
            if (!O) continue;
            last_layer(p, tr, t, row, h);
            add_product(O, width, dy, h, grads + at.ho);
            if (p->spec.bias) add_vector(O, dy, grads + at.b_o);
        }
    release(h);
    return above;
}

/* a learned state enters all rows where none is given */
static inline void naive_learned(const problem *p, gradients *out) {
    const int64_t H = p->spec.hidden_size;
    if (!p->spec.learn_state || p->state0) return;
    for (int part = 0; part < parts_of(&p->spec); part++)
        for (int64_t unit = 0; unit < units_of(&p->spec); unit++)
            for (int64_t row = 0; row < p->B; row++)
                add_vector(H, out->dstate0 + state_at(p, unit, part, row),
                           out->grads + ends_of(&p->spec).state[part] + unit * H);
}

static inline gradients naive_backward(const problem *p, const trace *tr) {
    const int64_t D = directions_of(&p->spec), steps = p->T * p->B;
    gradients out = {NULL, zeros(state_size(p)), zeros(ends_of(&p->spec).total), zeros(units_of(&p->spec) * p->T)};
    double *above = naive_readout_back(p, tr, out.grads);
    for (int64_t layer = layers_of(&p->spec) - 1; layer >= 0; layer--) {
        double *below = zeros(steps * places_of(&p->spec, layer * D).in);
        for (int64_t d = 0; d < D; d++) naive_unit_back(p, tr, layer * D + d, above, below, &out);
        release(above);
        above = below;
    }
    out.dx = above;
    naive_learned(p, &out);
    return out;
}
#endif
