/* What the core must compute, as plain loops in double: the network forward, the backward recursion with everything
 * that bptt_options may do to it, and a scalar loss for finite differences. */
#ifndef REFERENCE_H
#define REFERENCE_H
#include "check.h"

/* One problem with all its inputs. A NULL array is one that the call does not get. */
typedef struct {
    bptt_spec spec;
    int64_t T, B, Y;
    double *params, *x, *state0, *dy, *dstate1, *carry;
    uint8_t *reset;
    int32_t carry_per_row;
    int64_t dy_start;
    double clip_norm, clip_value;
} problem;

enum { /* what a problem has beyond parameters, inputs and dy; or-ed */
       STATE0 = 1,
       DSTATE1 = 2,
       RESET = 4,
       CARRY = 8,
       CARRY_PER_ROW = 16,
       LATE_DY = 32,
       CLIP_NORM = 64,
       CLIP_VALUE = 128,
       ALL_FEATURES = 255
};

typedef struct {
    int64_t T, B, I, H, O;
} shape;

/* where the header puts the tensors */
typedef struct {
    int64_t ih, hh, b_ih, b_hh, ho, b_o, total;
} places;

static inline places places_of(const bptt_spec *spec) {
    const int64_t I = spec->input_size, H = spec->hidden_size, O = spec->output_size, bias = spec->bias;
    places at = {.hh = H * I};
    at.b_ih = at.hh + H * H;
    at.b_hh = at.b_ih + bias * H;
    at.ho = at.b_hh + bias * H;
    at.b_o = at.ho + O * H;
    at.total = at.b_o + bias * O;
    return at;
}

/* ---- problems --------------------------------------------------------------------------------------- */

static inline double *carry_of(int64_t n) {
    double *carry = uniform_array(n, 2);
    for (int64_t i = 0; i < n; i += 5) carry[i] = 0; /* cuts among the scales */
    return carry;
}

static inline uint8_t *reset_of(int64_t n) {
    uint8_t *reset = buffer_of(n);
    for (int64_t i = 0; i < n; i++) reset[i] = uniform() > 0.6;
    return reset;
}

static inline problem problem_of(shape s, int cell, int bias, unsigned features) {
    const int carries = (features & (CARRY | CARRY_PER_ROW)) != 0, per_row = (features & CARRY_PER_ROW) != 0;
    problem p = {.spec = {sizeof p.spec, s.I, s.H, s.O, cell, bias}, .T = s.T, .B = s.B, .Y = s.O ? s.O : s.H};
    p.dy_start = features & LATE_DY ? s.T / 3 : 0;
    p.params = uniform_array(places_of(&p.spec).total, 1.5 / sqrt((double)s.H));
    p.x = uniform_array(s.T * s.B * s.I, 1);
    p.dy = uniform_array((s.T - p.dy_start) * s.B * p.Y, 1);
    p.state0 = features & STATE0 ? uniform_array(s.B * s.H, 1) : NULL;
    p.dstate1 = features & DSTATE1 ? uniform_array(s.B * s.H, 1) : NULL;
    p.reset = features & RESET ? reset_of(s.T * s.B) : NULL;
    p.carry = carries ? carry_of(per_row ? s.T * s.B : s.T) : NULL;
    p.carry_per_row = per_row;
    p.clip_norm = features & CLIP_NORM ? 0.5 * sqrt((double)s.H) : 0;
    p.clip_value = features & CLIP_VALUE ? 0.6 : 0;
    name_case("T=%lld B=%lld I=%lld H=%lld O=%lld cell=%d bias=%d features=%u", (long long)s.T, (long long)s.B,
              (long long)s.I, (long long)s.H, (long long)s.O, cell, bias, features);
    return p;
}

static inline void free_problem(problem *p) {
    free(p->params);
    free(p->x);
    free(p->dy);
    free(p->state0);
    free(p->dstate1);
    free(p->reset);
    free(p->carry);
}

static inline int resets(const problem *p, int64_t t, int64_t row) { return p->reset && p->reset[t * p->B + row]; }

/* what scales the gradient from step t+1 back into step t */
static inline double carry_at(const problem *p, int64_t t, int64_t row) {
    return p->carry ? p->carry[p->carry_per_row ? t * p->B + row : t] : 1;
}

/* ---- forward ---------------------------------------------------------------------------------------- */

static inline double activation(int cell, double z) {
    switch (cell) {
    case BPTT_CELL_TANH: return tanh(z);
    case BPTT_CELL_RELU: return z > 0 ? z : 0;
    case BPTT_CELL_SIGMOID: return 1 / (1 + exp(-z));
    default: return z;
    }
}

static inline double activation_slope(int cell, double h) {
    switch (cell) {
    case BPTT_CELL_TANH: return (1 - h) * (1 + h);
    case BPTT_CELL_RELU: return h > 0;
    case BPTT_CELL_SIGMOID: return h * (1 - h);
    default: return 1;
    }
}

static inline double dot(int64_t n, const double *a, const double *b) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* one row: h = f(W_ih x + b_ih + W_hh entering + b_hh) */
static inline void naive_step(const problem *p, const double *x, const double *entering, double *h) {
    const int64_t I = p->spec.input_size, H = p->spec.hidden_size;
    const places at = places_of(&p->spec);
    for (int64_t j = 0; j < H; j++) {
        double z = dot(I, p->params + at.ih + j * I, x) + dot(H, p->params + at.hh + j * H, entering);
        if (p->spec.bias) z += p->params[at.b_ih + j] + p->params[at.b_hh + j];
        h[j] = activation(p->spec.cell, z);
    }
}

/* one row: y = W_ho h + b_o, or h */
static inline void naive_readout(const problem *p, const double *h, double *y) {
    const int64_t H = p->spec.hidden_size, O = p->spec.output_size;
    const places at = places_of(&p->spec);
    if (!O) memcpy(y, h, (size_t)H * sizeof *y);
    for (int64_t i = 0; i < O; i++)
        y[i] = dot(H, p->params + at.ho + i * H, h) + (p->spec.bias ? p->params[at.b_o + i] : 0);
}

/* The state that enters step t. With an anchor (an unperturbed trajectory) only the share carry_at of a perturbation
 * passes on, so that the true derivative of this forward is what backward with a carry gives. */
static inline void naive_entering(const problem *p, int64_t t, int64_t row, const double *hidden, const double *anchor,
                                  double *entering) {
    const int64_t H = p->spec.hidden_size, at = (t * p->B + row) * H;
    for (int64_t j = 0; j < H; j++) {
        entering[j] = resets(p, t, row) ? 0 : hidden[at + j];
        if (anchor && t && !resets(p, t, row)) {
            const double share = carry_at(p, t - 1, row);
            entering[j] = share * hidden[at + j] + (1 - share) * anchor[at + j];
        }
    }
}

/* hidden (T+1,B,H): the entering state, then h_0 .. h_{T-1}; y (T,B,Y) */
static inline void naive_forward(const problem *p, const double *anchor, double *hidden, double *y) {
    const int64_t I = p->spec.input_size, H = p->spec.hidden_size, B = p->B;
    double *entering = buffer_of(H * (int64_t)sizeof *entering);
    for (int64_t i = 0; i < B * H; i++) hidden[i] = p->state0 ? p->state0[i] : 0;
    for (int64_t t = 0; t < p->T; t++)
        for (int64_t row = 0; row < B; row++) {
            double *h = hidden + ((t + 1) * B + row) * H;
            naive_entering(p, t, row, hidden, anchor, entering);
            naive_step(p, p->x + (t * B + row) * I, entering, h);
            naive_readout(p, h, y + (t * B + row) * p->Y);
        }
    free(entering);
}

/* the loss that dy and dstate1 are the gradients of */
static inline double naive_loss(const problem *p, const double *anchor) {
    const int64_t state = p->B * p->spec.hidden_size, skipped = p->dy_start * p->B * p->Y, outputs = p->T * p->B * p->Y;
    double *hidden = buffer_of((p->T + 1) * state * (int64_t)sizeof *hidden);
    double *y = buffer_of(outputs * (int64_t)sizeof *y);
    naive_forward(p, anchor, hidden, y);
    double loss = dot(outputs - skipped, p->dy, y + skipped);
    if (p->dstate1) loss += dot(state, p->dstate1, hidden + p->T * state);
    free(hidden);
    free(y);
    return loss;
}

/* ---- backward --------------------------------------------------------------------------------------- */

typedef struct {
    double *dx, *dstate0, *grads, *step_norms;
} gradients;

/* out += W^T v, W (rows, cols) */
static inline void add_transposed(int64_t rows, int64_t cols, const double *W, double scale, const double *v,
                                  double *out) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) out[j] += scale * W[i * cols + j] * v[i];
}

/* W += a b^T */
static inline void add_product(int64_t rows, int64_t cols, const double *a, const double *b, double *W) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) W[i * cols + j] += a[i] * b[j];
}

static inline void add_vector(int64_t n, const double *a, double *sum) {
    for (int64_t i = 0; i < n; i++) sum[i] += a[i];
}

static inline const double *dy_at(const problem *p, int64_t t, int64_t row) {
    return t < p->dy_start ? NULL : p->dy + ((t - p->dy_start) * p->B + row) * p->Y;
}

/* dL/dh_t of one row; dz_after is dz_{t+1} of the row */
static inline void naive_dh(const problem *p, int64_t t, int64_t row, const double *dz_after, double *dh) {
    const int64_t H = p->spec.hidden_size;
    const places at = places_of(&p->spec);
    const double *dy = dy_at(p, t, row);
    memset(dh, 0, (size_t)H * sizeof *dh);
    if (dy && p->spec.output_size) add_transposed(p->Y, H, p->params + at.ho, 1, dy, dh);
    else if (dy) add_vector(H, dy, dh);
    if (t == p->T - 1) {
        if (p->dstate1) add_vector(H, p->dstate1 + row * H, dh);
    } else if (!resets(p, t + 1, row)) {
        add_transposed(H, H, p->params + at.hh, carry_at(p, t, row), dz_after, dh);
    }
}

static inline void naive_clip(const problem *p, double norm, double *dh) {
    const double limit = p->clip_value;
    for (int64_t j = 0; j < p->spec.hidden_size; j++) {
        if (p->clip_norm > 0 && norm > p->clip_norm) dh[j] *= p->clip_norm / norm;
        if (limit > 0) dh[j] = fmin(limit, fmax(-limit, dh[j]));
    }
}

/* what one row of one step gives to dx and to the gradients of the parameters */
static inline void naive_share(const problem *p, int64_t t, int64_t row, const double *hidden, const double *dz,
                               gradients *out) {
    const int64_t I = p->spec.input_size, H = p->spec.hidden_size, O = p->spec.output_size, at_x = (t * p->B + row) * I;
    const places at = places_of(&p->spec);
    const double *dy = dy_at(p, t, row), *before = hidden + (t * p->B + row) * H, *h = before + p->B * H;
    add_transposed(H, I, p->params + at.ih, 1, dz, out->dx + at_x);
    add_product(H, I, dz, p->x + at_x, out->grads + at.ih);
    if (!resets(p, t, row)) add_product(H, H, dz, before, out->grads + at.hh);
    if (O && dy) add_product(O, H, dy, h, out->grads + at.ho);
    if (!p->spec.bias) return;
    add_vector(H, dz, out->grads + at.b_ih);
    add_vector(H, dz, out->grads + at.b_hh);
    if (O && dy) add_vector(O, dy, out->grads + at.b_o);
}

/* One row through one step. dz holds dz_{t+1} of the row and receives dz_t; returns ||dL/dh_t|| of the row. */
static inline double naive_backward_step(const problem *p, int64_t t, int64_t row, const double *hidden, double *dz,
                                         gradients *out) {
    const int64_t H = p->spec.hidden_size;
    const double *h = hidden + ((t + 1) * p->B + row) * H;
    double *dh = buffer_of(H * (int64_t)sizeof *dh);
    naive_dh(p, t, row, dz, dh);
    const double norm = sqrt(dot(H, dh, dh));
    naive_clip(p, norm, dh);
    for (int64_t j = 0; j < H; j++) dz[j] = activation_slope(p->spec.cell, h[j]) * dh[j];
    naive_share(p, t, row, hidden, dz, out);
    free(dh);
    return norm;
}

static inline gradients gradients_of(const problem *p) {
    return (gradients){zeros(p->T * p->B * p->spec.input_size), zeros(p->B * p->spec.hidden_size),
                       zeros(places_of(&p->spec).total), zeros(p->T)};
}

static inline void free_gradients(gradients *g) {
    free(g->dx);
    free(g->dstate0);
    free(g->grads);
    free(g->step_norms);
}

/* from the hidden states of a forward, laid out as a tape */
static inline gradients naive_backward(const problem *p, const double *hidden) {
    const int64_t H = p->spec.hidden_size;
    gradients out = gradients_of(p);
    double *dz = zeros(H);
    for (int64_t row = 0; row < p->B; row++) {
        for (int64_t t = p->T - 1; t >= 0; t--)
            out.step_norms[t] = hypot(out.step_norms[t], naive_backward_step(p, t, row, hidden, dz, &out));
        if (!resets(p, 0, row)) add_transposed(H, H, p->params + places_of(&p->spec).hh, 1, dz, out.dstate0 + row * H);
    }
    free(dz);
    return out;
}
#endif
