/* The gate arithmetic of the GRU, in both forms: what remains of a step after its products.
 *   h = (1-z)*n + z*h_prev,   r = s(.), z = s(.)
 *   reset after the product:   n = tanh(W_in x + b_in + r*q),   q = W_hn h_prev + b_hn
 *   reset before the product:  n = tanh(W_in x + b_in + W_hn q + b_hn),   q = r*h_prev
 * Blocks of gates: r, z, n, q. Blocks of dz: dn, dr, dz and, with the reset after, dq.
 * Forward passes over a row once per function: an exponential takes about a hundred cycles, and within a pass the
 * processor works on those of many vectors at once. */
#ifndef BPTT_CELLS_GRU_POINTWISE_H
#define BPTT_CELLS_GRU_POINTWISE_H
#include "kernels/kernels.h"
#include "kernels/pointwise.h"
#include "kernels/units.h"

/* ---- both forms ----------------------------------------------------------------------------------------- */

/* h = (1-z)*n + z*h_prev */
INLINE void gru_mix(const gate_step *step, int64_t row) {
    const int64_t H = step->H;
    const REAL *z = step->gates + row * 4 * H + H, *n = z + H, *h_prev = step->h_prev + row * step->ld_prev;
    REAL *h = step->h + row * step->ld;
    EACH_VECTOR(H, const vec share = LOAD(z + j);
                STORE(h + j, (splat(1) - share) * LOAD(n + j) + share * LOAD(h_prev + j)));
}

/* The vector of a row that begins at unit j: stores dn, dz and dh_next = z*dh, returns dn. */
INLINE vec gru_mix_backward(const gate_step *step, int64_t row, int64_t j, const int64_t lanes) {
    const int64_t H = step->H;
    vec dh = LOAD(step->dh + row * step->ld + j);
    if (step->adds_dh_next) dh += LOAD(step->dh_next + row * H + j);
    const REAL *gates = step->gates + row * 4 * H + j;
    const vec z = LOAD(gates + H), n = LOAD(gates + 2 * H);
    REAL *dz = step->dz + row * step->ld_dz + j;
    const vec dn = dh * (splat(1) - z) * ((splat(1) - n) * (splat(1) + n));
    STORE(dz, dn);
    STORE(dz + 2 * H, dh * (LOAD(step->h_prev + row * step->ld_prev + j) - n) * (z * (splat(1) - z)));
    STORE(step->dh_next + row * H + j, dh * z);
    return dn;
}

/* ---- reset after the product ---------------------------------------------------------------------------- */

INLINE void gru_forward_row(const gate_step *step, int64_t row) {
    const int64_t H = step->H;
    const REAL *of_x = step->z + (step->z_rows ? step->z_rows[row] : row) * step->ld_z;
    const REAL *products = step->products + row * 3 * H;
    REAL *r = step->gates + row * 4 * H, *n = r + 2 * H, *q = r + 3 * H;
    EACH_VECTOR(2 * H, STORE(r + j, vec_logistic(LOAD(of_x + j) + LOAD(products + j)))); /* and z */
    EACH_VECTOR(H, const vec of_h = LOAD(products + 2 * H + j); STORE(q + j, of_h);
                STORE(n + j, LOAD(of_x + 2 * H + j) + LOAD(r + j) * of_h));
    tanh_in_place(H, n);
    gru_mix(step, row);
}

INLINE void gru_backward_vector(const gate_step *step, int64_t row, int64_t j, const int64_t lanes) {
    const int64_t H = step->H;
    const REAL *gates = step->gates + row * 4 * H + j;
    REAL *dz = step->dz + row * step->ld_dz + j;
    const vec dn = gru_mix_backward(step, row, j, lanes), r = LOAD(gates), q = LOAD(gates + 3 * H);
    STORE(dz + H, dn * q * (r * (splat(1) - r)));
    STORE(dz + 3 * H, dn * r);
}

INLINE void gru_backward_row(const gate_step *step, int64_t row) {
    EACH_VECTOR(step->H, gru_backward_vector(step, row, j, lanes));
}

LOCAL void gru_forward(const gate_step *step) {
    for (int64_t row = 0; row < step->rows; row++) gru_forward_row(step, row);
}

LOCAL void gru_backward(const gate_step *step) {
    for (int64_t row = 0; row < step->rows; row++) gru_backward_row(step, row);
}

/* ---- reset before the product: each direction in two parts, with the product of W_hn between them ------- */

INLINE void gru_reset_before_gates_row(int64_t H, const REAL *h_prev, REAL *r) {
    REAL *q = r + 3 * H;
    logistic(2 * H, r, r); /* and z */
    EACH_VECTOR(H, STORE(q + j, LOAD(r + j) * LOAD(h_prev + j)));
}

INLINE void gru_reset_before_forward_row(const gate_step *step, int64_t row) {
    tanh_in_place(step->H, step->gates + row * 4 * step->H + 2 * step->H);
    gru_mix(step, row);
}

INLINE void gru_reset_before_backward_row(const gate_step *step, int64_t row) {
    EACH_VECTOR(step->H, gru_mix_backward(step, row, j, lanes));
}

/* dr and r*dq of the vector of a row that begins at unit j */
INLINE void gru_operand_vector(const gate_step *step, int64_t row, int64_t j, const int64_t lanes, const vec dq) {
    const int64_t H = step->H;
    const vec r = LOAD(step->gates + row * 4 * H + j), h_prev = LOAD(step->h_prev + row * step->ld_prev + j);
    REAL *dh_next = step->dh_next + row * H + j;
    STORE(step->dz + row * step->ld_dz + H + j, dq * h_prev * (r * (splat(1) - r)));
    STORE(dh_next, LOAD(dh_next) + dq * r);
}

INLINE void gru_reset_before_operand_row(const gate_step *step, int64_t row) {
    EACH_VECTOR(step->H, gru_operand_vector(step, row, j, lanes, LOAD(step->d_operand + row * step->H + j)));
}

/* r, z and q from the pre-activations of r and z */
LOCAL void gru_reset_before_gates(const gate_step *step) {
    for (int64_t row = 0; row < step->rows; row++)
        gru_reset_before_gates_row(step->H, step->h_prev + row * step->ld_prev, step->gates + row * 4 * step->H);
}

/* n and h from the pre-activation of n */
LOCAL void gru_reset_before_forward(const gate_step *step) {
    for (int64_t row = 0; row < step->rows; row++) gru_reset_before_forward_row(step, row);
}

/* dn, dz and dh_next = z*dh from dh */
LOCAL void gru_reset_before_backward(const gate_step *step) {
    for (int64_t row = 0; row < step->rows; row++) gru_reset_before_backward_row(step, row);
}

/* dr from d_operand, the gradient by q; adds r*d_operand to dh_next */
LOCAL void gru_reset_before_operand(const gate_step *step) {
    for (int64_t row = 0; row < step->rows; row++) gru_reset_before_operand_row(step, row);
}

/* ---- a batch of one: with the products, all gates of some units in registers ------------------------------------ */

/* new_h of units j.. from the sums of r, z, W_in x + b_in and q */
UNIT_FUNCTION void gru_units(const gate_step *step, REAL *new_h, int64_t j, int64_t lanes, vec r, vec z, vec n, vec q) {
    const int64_t H = step->H;
    r = vec_logistic(r);
    z = vec_logistic(z);
    n = vec_tanh(n + r * q);
    STORE(new_h + j, (splat(1) - z) * n + z * LOAD(step->h_prev + j));
    if (!step->gates) return;
    STORE(step->gates + j, r);
    STORE(step->gates + H + j, z);
    STORE(step->gates + 2 * H + j, n);
    STORE(step->gates + 3 * H + j, q);
}

/* The same of the only vector of a group: in line a step would load the constants before its sums and wait. */
OUT_OF_LINE void gru_lone_units(const gate_step *step, REAL *new_h, int64_t j, int64_t lanes, vec r, vec z, vec n,
                                vec q) {
    gru_units(step, new_h, j, lanes, r, z, n, q);
}

INLINE void gru_group(const int vectors, const row_step *row, REAL *h, int64_t j) {
    const int64_t H = row->step.H;
    unit_sums z, hh_bias; /* r, z, n, and in place of n later q */
    vec n[MOST_UNITS];
    begin_sums(3, vectors, row, j, z);
    load_bias(3, vectors, row->hh_bias, j, hh_bias);
    UNROLL
    for (int v = 0; v < vectors; v++) {
        n[v] = z[v][2];
        z[v][0] += hh_bias[v][0];
        z[v][1] += hh_bias[v][1];
        z[v][2] = hh_bias[v][2];
    }
    ADD_RECURRENT(3, vectors, H, row->operand, row->recurrent[0], j, z);
    UNROLL
    for (int v = 0; v < vectors; v++, j += LANES) {
        const int64_t lanes = v < vectors - 1 ? LANES : unit_lanes(H, j);
        if (vectors == 1) gru_lone_units(&row->step, h, j, lanes, z[v][0], z[v][1], n[v], z[v][2]);
        else gru_units(&row->step, h, j, lanes, z[v][0], z[v][1], n[v], z[v][2]);
    }
}

LOCAL void gru_row(const row_step *row) {
    REAL *h = new_h(row);
#define GROUP(vectors, j) gru_group(vectors, row, h, j)
    EACH_GROUP(row->step.H, row->reverse_panels, 2, GROUP);
#undef GROUP
    put_new_h(row, h);
}

INLINE void gru_reset_before_group(const int vectors, const row_step *row, int64_t j) {
    unit_sums z; /* r, z, n */
    begin_sums(3, vectors, row, j, z);
    ADD_RECURRENT(2, vectors, row->step.H, row->operand, row->recurrent[0], j, z);
    store_sums(3, vectors, row->step.H, j, z, row->step.gates);
}

LOCAL void gru_reset_before_row(const row_step *row) {
    const int64_t H = row->step.H;
    REAL *n = row->step.gates + 2 * H, *q = n + H;
#define GROUP(vectors, j) gru_reset_before_group(vectors, row, j)
    EACH_GROUP(H, row->reverse_panels, 2, GROUP);
#undef GROUP
    gru_reset_before_gates_row(H, row->operand, row->step.gates);
    multiply_one_gate(NULL, H, H, q, row->recurrent[1], n, n, row->reverse_panels);
    gru_reset_before_forward_row(&row->step, 0);
}
#endif
