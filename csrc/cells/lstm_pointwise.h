/* The gate arithmetic of the LSTM: what remains of a step after its products. Blocks of gates and of dz: i, f, g, o.
 *   i = s(zi + pi*c_prev)   f = s(zf + pf*c_prev)   g = tanh(zg)   c = f*c_prev + i*g   o = s(zo + po*c)
 *   h = o * tanh(c)         peepholes (pi, pf, po) only where there are any
 * Forward passes over a row once per function: an exponential takes about a hundred cycles, and within a pass the
 * processor works on those of many vectors at once. */
#ifndef BPTT_CELLS_LSTM_POINTWISE_H
#define BPTT_CELLS_LSTM_POINTWISE_H
#include "kernels/kernels.h"
#include "kernels/pointwise.h"
#include "kernels/units.h"

OUT_OF_LINE void lstm_forward_row(const gate_step *step, int64_t row) {
    const int64_t H = step->H;
    REAL *i = step->gates + row * 4 * H, *f = i + H, *g = f + H, *o = g + H;
    REAL *c = step->c + row * step->ld, *h = step->h + row * step->ld;
    const REAL *c_prev = step->c_prev + row * step->ld_prev, *peepholes = step->peepholes;
    if (peepholes) add_product(H, peepholes, c_prev, i);
    if (peepholes) add_product(H, peepholes + H, c_prev, f);
    logistic(2 * H, i, i); /* and f */
    tanh_in_place(H, g);
    EACH_VECTOR(H, STORE(c + j, LOAD(f + j) * LOAD(c_prev + j) + LOAD(i + j) * LOAD(g + j)));
    if (peepholes) add_product(H, peepholes + 2 * H, c, o);
    logistic(H, o, o);
    EACH_VECTOR(H, STORE(h + j, LOAD(o + j) * vec_tanh(LOAD(c + j))));
}

/* The vector of a row that begins at unit j, from its dh. From h = o*tanh(c) follows o*tanh'(c) = (o-h)*(o+h)/o, which
 * needs no tanh. Where o is zero, h is; a subnormal o counts for less, by less than the smallest normal number. */
INLINE void lstm_backward_vector(const gate_step *step, int64_t row, int64_t j, const int64_t lanes, const vec dh) {
    const int64_t H = step->H;
    const REAL *gates = step->gates + row * 4 * H + j, *peepholes = step->peepholes ? step->peepholes + j : NULL;
    const vec i = LOAD(gates), f = LOAD(gates + H), g = LOAD(gates + 2 * H), o = LOAD(gates + 3 * H);
    const vec h = LOAD(step->h + row * step->ld + j), divisor = at_least(o, splat(REAL_SMALLEST_NORMAL));
    REAL *dc_next = step->dc_next + row * H + j, *dz = step->dz + row * step->ld_dz + j;
    const vec dzo = dh * h * (splat(1) - o);
    vec dc = LOAD(dc_next) + dh * ((o - h) * quotient(o + h, divisor));
    if (peepholes) dc += dzo * LOAD(peepholes + 2 * H);
    const vec dzi = dc * g * (i * (splat(1) - i));
    const vec dzf = dc * LOAD(step->c_prev + row * step->ld_prev + j) * (f * (splat(1) - f));
    vec dc_prev = dc * f;
    if (peepholes) dc_prev += dzi * LOAD(peepholes) + dzf * LOAD(peepholes + H);
    STORE(dz, dzi);
    STORE(dz + H, dzf);
    STORE(dz + 2 * H, dc * i * ((splat(1) - g) * (splat(1) + g)));
    STORE(dz + 3 * H, dzo);
    STORE(dc_next, dc_prev);
}

INLINE void lstm_backward_row(const gate_step *step, int64_t row) {
    EACH_VECTOR(step->H, lstm_backward_vector(step, row, j, lanes, LOAD(step->dh + row * step->ld + j)));
}

LOCAL void lstm_forward(const gate_step *step) {
    for (int64_t row = 0; row < step->rows; row++) lstm_forward_row(step, row);
}

/* dz from dh and dc_next, which becomes the gradient by c_prev */
LOCAL void lstm_backward(const gate_step *step) {
    for (int64_t row = 0; row < step->rows; row++) lstm_backward_row(step, row);
}

/* ---- a batch of one: with the products, all gates of some units in registers ---------------------------------
 * Where there are many units and the gates are wanted, the sums of all units come first and the arithmetic above goes
 * over the whole row: the weights then come from L2, and passes over many vectors disturb that less. The bits are the
 * same. */

LOCAL int lstm_in_passes(const row_step *row) { return row->step.gates && row->step.H > 2 * LANES; }

/* i, f, g and o of units j.., or their sums */
INLINE void store_gates(const gate_step *step, int64_t j, int64_t lanes, vec i, vec f, vec g, vec o) {
    const int64_t H = step->H;
    STORE(step->gates + j, i);
    STORE(step->gates + H + j, f);
    STORE(step->gates + 2 * H + j, g);
    STORE(step->gates + 3 * H + j, o);
}

/* new_h and c of units j.. from the sums of their gates */
UNIT_FUNCTION void lstm_units(const gate_step *step, REAL *new_h, int64_t j, int64_t lanes, vec i, vec f, vec g,
                              vec o) {
    const int64_t H = step->H;
    const REAL *peepholes = step->peepholes ? step->peepholes + j : NULL;
    const vec c_prev = LOAD(step->c_prev + j);
    if (peepholes) i += LOAD(peepholes) * c_prev;
    if (peepholes) f += LOAD(peepholes + H) * c_prev;
    i = vec_logistic(i);
    f = vec_logistic(f);
    g = vec_tanh(g);
    const vec c = f * c_prev + i * g;
    if (peepholes) o += LOAD(peepholes + 2 * H) * c;
    o = vec_logistic(o);
    const vec h = o * vec_tanh(c);
    STORE(step->c + j, c);
    STORE(new_h + j, h);
    if (step->gates) store_gates(step, j, lanes, i, f, g, o);
}

/* The same of the only vector of a group: in line a step would load the constants before its sums and wait. */
OUT_OF_LINE void lstm_lone_units(const gate_step *step, REAL *new_h, int64_t j, int64_t lanes, vec i, vec f, vec g,
                                 vec o) {
    lstm_units(step, new_h, j, lanes, i, f, g, o);
}

/* h NULL: the sums of the gates in place of h and c. */
INLINE void lstm_group(const int vectors, const row_step *row, REAL *h, int64_t j) {
    const int64_t H = row->step.H;
    unit_sums z;
    begin_sums(4, vectors, row, j, z);
    ADD_RECURRENT(4, vectors, H, row->operand, row->recurrent[0], j, z);
    UNROLL
    for (int v = 0; v < vectors; v++, j += LANES) {
        const int64_t lanes = v < vectors - 1 ? LANES : unit_lanes(H, j);
        if (h && vectors == 1) lstm_lone_units(&row->step, h, j, lanes, z[v][0], z[v][1], z[v][2], z[v][3]);
        else if (h) lstm_units(&row->step, h, j, lanes, z[v][0], z[v][1], z[v][2], z[v][3]);
        else store_gates(&row->step, j, lanes, z[v][0], z[v][1], z[v][2], z[v][3]);
    }
}

LOCAL void lstm_row(const row_step *row) {
    REAL *h = lstm_in_passes(row) ? NULL : new_h(row);
#define GROUP(vectors, j) lstm_group(vectors, row, h, j)
    EACH_GROUP(row->step.H, row->reverse_panels, 2, GROUP);
#undef GROUP
    if (h) put_new_h(row, h);
    else lstm_forward_row(&row->step, 0);
}
#endif
