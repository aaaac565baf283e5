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
    const REAL *gates = step->gates + row * 4 * H + j;
    const vec z = LOAD(gates + H), n = LOAD(gates + 2 * H), dh = LOAD(step->dh + row * step->ld_dh + j);
    REAL *dz = step->dz + row * 4 * H + j;
    const vec dn = dh * (splat(1) - z) * ((splat(1) - n) * (splat(1) + n));
    STORE(dz, dn);
    STORE(dz + 2 * H, dh * (LOAD(step->h_prev + row * step->ld_prev + j) - n) * (z * (splat(1) - z)));
    STORE(step->dh_next + row * H + j, dh * z);
    return dn;
}

/* ---- reset after the product ---------------------------------------------------------------------------- */

INLINE void gru_forward_row(const gate_step *step, int64_t row) {
    const int64_t H = step->H;
    const REAL *products = step->products + row * 3 * H;
    REAL *r = step->gates + row * 4 * H, *n = r + 2 * H, *q = r + 3 * H;
    EACH_VECTOR(2 * H, STORE(r + j, vec_logistic(LOAD(r + j) + LOAD(products + j)))); /* and z */
    EACH_VECTOR(H, const vec of_h = LOAD(products + 2 * H + j); STORE(q + j, of_h);
                STORE(n + j, LOAD(n + j) + LOAD(r + j) * of_h));
    tanh_in_place(H, n);
    gru_mix(step, row);
}

INLINE void gru_backward_row(const gate_step *step, int64_t row) {
    const int64_t H = step->H;
    const REAL *r = step->gates + row * 4 * H, *q = r + 3 * H;
    REAL *dr = step->dz + row * 4 * H + H, *dq = dr + 2 * H;
    EACH_VECTOR(H, const vec dn = gru_mix_backward(step, row, j, lanes), reset = LOAD(r + j);
                STORE(dr + j, dn * LOAD(q + j) * (reset * (splat(1) - reset))); STORE(dq + j, dn * reset));
}

LOCAL void gru_forward(const gate_step *step) {
    for (int64_t row = 0; row < step->rows; row++) gru_forward_row(step, row);
}

LOCAL void gru_backward(const gate_step *step) {
    for (int64_t row = 0; row < step->rows; row++) gru_backward_row(step, row);
}

/* ---- reset before the product: each direction in two parts, with the product of W_hn between them ------- */

INLINE void gru_reset_before_gates_row(const gate_step *step, int64_t row) {
    const int64_t H = step->H;
    const REAL *h_prev = step->h_prev + row * step->ld_prev;
    REAL *r = step->gates + row * 4 * H, *q = r + 3 * H;
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

INLINE void gru_reset_before_operand_row(const gate_step *step, int64_t row) {
    const int64_t H = step->H;
    const REAL *r = step->gates + row * 4 * H, *d_operand = step->d_operand + row * H;
    const REAL *h_prev = step->h_prev + row * step->ld_prev;
    REAL *dh_next = step->dh_next + row * H, *dr = step->dz + row * 4 * H + H;
    EACH_VECTOR(H, const vec reset = LOAD(r + j), dq = LOAD(d_operand + j);
                STORE(dr + j, dq * LOAD(h_prev + j) * (reset * (splat(1) - reset)));
                STORE(dh_next + j, LOAD(dh_next + j) + dq * reset));
}

/* r, z and q from the pre-activations of r and z */
LOCAL void gru_reset_before_gates(const gate_step *step) {
    for (int64_t row = 0; row < step->rows; row++) gru_reset_before_gates_row(step, row);
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
#endif
