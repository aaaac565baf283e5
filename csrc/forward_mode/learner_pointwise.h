/* The inner loops of learners, compiled per instruction set: products with weights as they lie in the parameters, which
 * need not be packed where they change at every step, and the recurrences of SnAp-1. */
#ifndef BPTT_FORWARD_MODE_LEARNER_POINTWISE_H
#define BPTT_FORWARD_MODE_LEARNER_POINTWISE_H
#include "kernels/epilogue.h"
#include "kernels/kernels.h"
#include "kernels/pointwise.h"

/* ---- products ------------------------------------------------------------------------------------------- */

INLINE REAL lanes_together(vec v) {
#if VECTOR_BYTES == 0
    return v;
#else
    return sum_of_lanes(v);
#endif
}

enum { AT_ONCE = 8 }; /* dot products */

/* out[i] = init[i] + the dot product of x and row i of w (k apart), i < rows; each in the same order. */
INLINE void dot_rows(const int rows, int64_t k, const REAL *w, const REAL *x, const REAL *init, REAL *out) {
    vec sum[AT_ONCE];
    UNROLL
    for (int i = 0; i < rows; i++) sum[i] = splat(0);
    EACH_VECTOR(k, const vec of_x = LOAD(x + j);
                UNROLL for (int i = 0; i < rows; i++) sum[i] += LOAD(w + i * k + j) * of_x);
    UNROLL
    for (int i = 0; i < rows; i++) out[i] = (init ? init[i] : 0) + lanes_together(sum[i]);
}

/* The product of a table's multiply, with a matrix that is not packed: p->panels is b transposed, (n,k). */
LOCAL void multiply_by_rows(const product *p) {
    for (int64_t i = 0; i < p->m; i++) {
        const REAL *a = p->a + i * p->lda, *w = p->panels, *init = p->init ? p->init + i * p->ldinit : NULL;
        REAL *c = p->c + i * p->ldc;
        int64_t j = 0;
        for (; j + AT_ONCE <= p->n; j += AT_ONCE, w += AT_ONCE * p->k)
            dot_rows(AT_ONCE, p->k, w, a, init ? init + j : NULL, c + j);
        for (; j < p->n; j++, w += p->k) dot_rows(1, p->k, w, a, init ? init + j : NULL, c + j);
    }
    apply_epilogue(p);
}

/* ---- the influence of units' own parameters ---------------------------------------------------------------- */

/* One row of influence_step; the flags are constants. */
INLINE void influence_row(const int pair, const int adds, const int to_grads, const influence_step *p, int64_t row) {
    const vec d00 = splat(p->decay[0][0][row]), d01 = splat(pair ? p->decay[0][1][row] : 0);
    const vec d10 = splat(pair ? p->decay[1][0][row] : 0), d11 = splat(pair ? p->decay[1][1][row] : 0);
    const vec s0 = splat(adds ? p->scale[0][row] : 0), s1 = splat(adds && pair ? p->scale[1][row] : 0);
    const vec weight = splat(to_grads ? p->weight[row] : 0);
    const REAL *x = p->x;
    REAL *y0 = p->y[0] + row * p->n, *y1 = pair ? p->y[1] + row * p->n : NULL;
    REAL *grads = to_grads ? p->grads + row * p->n : NULL;
    EACH_VECTOR(
        p->n, const vec a = LOAD(y0 + j); vec new0 = d00 * a; if (pair) {
            const vec b = LOAD(y1 + j);
            vec new1 = d10 * a + d11 * b;
            new0 += d01 * b;
            if (adds) new1 += s1 * LOAD(x + j);
            STORE(y1 + j, new1);
        } if (adds) new0 += s0 * LOAD(x + j);
        STORE(y0 + j, new0); if (to_grads) STORE(grads + j, LOAD(grads + j) + weight * new0));
}

INLINE void influence_rows(const int pair, const int adds, const int to_grads, const influence_step *p) {
    for (int64_t row = 0; row < p->rows; row++) influence_row(pair, adds, to_grads, p, row);
}

LOCAL void step_influence(const influence_step *p) {
    if (!p->decay[0][0]) {
        for (int64_t row = 0; p->grads && row < p->rows; row++)
            add_scaled(p->n, p->weight[row], p->y[0] + row * p->n, p->grads + row * p->n);
        return;
    }
    switch ((p->states == 2) * 4 + (p->x != NULL) * 2 + (p->grads != NULL)) {
    case 0: influence_rows(0, 0, 0, p); break;
    case 1: influence_rows(0, 0, 1, p); break;
    case 2: influence_rows(0, 1, 0, p); break;
    case 3: influence_rows(0, 1, 1, p); break;
    case 4: influence_rows(1, 0, 0, p); break;
    case 5: influence_rows(1, 0, 1, p); break;
    case 6: influence_rows(1, 1, 0, p); break;
    case 7: influence_rows(1, 1, 1, p); break;
    }
}
#endif
