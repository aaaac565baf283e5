/* The inner loops of learners, compiled per instruction set: products with weights as they lie in the parameters, which
 * need not be packed where they change at every step, and the recurrences of SnAp-1. */
#ifndef BPTT_FORWARD_MODE_LEARNER_POINTWISE_H
#define BPTT_FORWARD_MODE_LEARNER_POINTWISE_H
#include "kernels/epilogue.h"
#include "kernels/kernels.h"
#include "kernels/lane_sums.h"
#include "kernels/pointwise.h"

/* ---- products ------------------------------------------------------------------------------------------- */

INLINE REAL lanes_together(vec v) {
#if VECTOR_BYTES == 0
    return v;
#else
    return sum_of_lanes(v);
#endif
}

/* dot products */
#ifdef SUMS_AT_ONCE
enum { AT_ONCE = SUMS_AT_ONCE };
#else
enum { AT_ONCE = 8 };
#endif

/* out[i] = init[i] + sum of the lanes of sums[i] */
INLINE void finish_dots(const int rows, const vec *sums, const REAL *init, REAL *out) {
#ifdef SUMS_AT_ONCE
    if (rows == SUMS_AT_ONCE) {
        store(out, (init ? load(init) : splat(0)) + sums_of_lanes(sums));
        return;
    }
#endif
    UNROLL
    for (int i = 0; i < rows; i++) out[i] = (init ? init[i] : 0) + lanes_together(sums[i]);
}

/* out[i] = init[i] + the dot product of x and row i of w (k apart), i < rows; each in the same order. */
INLINE void dot_rows(const int rows, int64_t k, const REAL *w, const REAL *x, const REAL *init, REAL *out) {
    vec sums[AT_ONCE];
    UNROLL
    for (int i = 0; i < rows; i++) sums[i] = splat(0);
    EACH_VECTOR(k, const vec of_x = LOAD(x + j);
                UNROLL for (int i = 0; i < rows; i++) sums[i] += LOAD(w + i * k + j) * of_x);
    finish_dots(rows, sums, init, out);
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

/* z_i of a vector of a row, any number of terms. */
INLINE vec sum_any_terms(const influence_sum *p, int i, int64_t row, const vec *y, int64_t j, int64_t lanes) {
    vec sum = splat(p->decay[i][0][row]) * y[0];
    if (p->states == 2) sum += splat(p->decay[i][1][row]) * y[1];
    for (int k = 0; k < p->terms; k++) sum += splat(p->scale[i][k][row]) * LOAD(p->x[k] + j);
    return sum;
}

/* A row from column `begin` on: what does not fill vectors, or rows. */
OUT_OF_LINE void sum_rest_of_row(const influence_sum *p, int64_t row, int64_t begin) {
    const int pair = p->states == 2;
    const int64_t n = p->n - begin, first = row * p->n + begin;
    REAL *of_h = p->y[0] + first, *of_c = pair ? p->y[1] + first : NULL, *grads = p->grads ? p->grads + first : NULL;
    EACH_VECTOR(
        n, const vec y[2] = {LOAD(of_h + j), pair ? LOAD(of_c + j) : splat(0)};
        const vec z = sum_any_terms(p, 0, row, y, begin + j, lanes);
        if (grads) STORE(grads + j, LOAD(grads + j) + splat(p->weight[row]) * z); if (p->writes) {
            if (pair) STORE(of_c + j, sum_any_terms(p, 1, row, y, begin + j, lanes));
            STORE(of_h + j, z);
        });
}

/* The factors of a unit. */
typedef struct {
    vec decay[2][2], scale[2][MOST_TERMS], weight;
} unit_factors;

INLINE unit_factors factors_of(const int states, const int terms, const influence_sum *p, int64_t row) {
    unit_factors factors;
    UNROLL
    for (int i = 0; i < states; i++) {
        UNROLL
        for (int j = 0; j < states; j++) factors.decay[i][j] = splat(p->decay[i][j][row]);
        UNROLL
        for (int k = 0; k < terms; k++) factors.scale[i][k] = splat(p->scale[i][k][row]);
    }
    factors.weight = splat(p->grads ? p->weight[row] : 0);
    return factors;
}

/* z_i of a vector; states and terms are constants. */
INLINE vec sum_terms(const int states, const int terms, const unit_factors *factors, int i, const vec *y,
                     const vec *x) {
    vec sum = factors->decay[i][0] * y[0];
    if (states == 2) sum += factors->decay[i][1] * y[1];
    UNROLL
    for (int k = 0; k < terms; k++) sum += factors->scale[i][k] * x[k];
    return sum;
}

#if VECTOR_BYTES == 0
#define FETCH(from) (void)(from)
#else
#define FETCH(from) __builtin_prefetch(from)
#endif

/* Rows that are computed together share what they read of x: as many as have their factors in registers. Memory is read
 * ahead by so many elements of each. */
enum { MOST_ROWS = VECTOR_BYTES == 64 ? 4 : 2, INFLUENCE_AHEAD = 512 / (int)sizeof(REAL) };

/* So many rows from `row` on; returns how many columns it has done, all that fill vectors. */
INLINE int64_t sum_rows(const int rows, const int states, const int terms, const influence_sum *p, int64_t row) {
    unit_factors factors[MOST_ROWS];
    vec x[MOST_TERMS];
    const int writes = p->writes; /* as the pointers below: the compiler would read them again after each store */
    const int64_t n = p->n;
    const REAL *x_rows[MOST_TERMS];
    REAL *of_h = p->y[0] + row * n, *of_c = states == 2 ? p->y[1] + row * n : NULL;
    REAL *grads = p->grads ? p->grads + row * n : NULL;
    UNROLL
    for (int i = 0; i < rows; i++) factors[i] = factors_of(states, terms, p, row + i);
    UNROLL
    for (int k = 0; k < terms; k++) x_rows[k] = p->x[k];
    int64_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        UNROLL
        for (int k = 0; k < terms; k++) x[k] = load(x_rows[k] + j);
        UNROLL
        for (int i = 0; i < rows; i++) {
            const int64_t at = i * n + j, later = at + rows * INFLUENCE_AHEAD;
            FETCH(of_h + later);
            if (states == 2) FETCH(of_c + later);
            const vec y[2] = {load(of_h + at), states == 2 ? load(of_c + at) : splat(0)};
            const vec z = sum_terms(states, terms, &factors[i], 0, y, x);
            if (grads) {
                FETCH(grads + later);
                store(grads + at, load(grads + at) + factors[i].weight * z);
            }
            if (writes) {
                if (states == 2) store(of_c + at, sum_terms(states, terms, &factors[i], 1, y, x));
                store(of_h + at, z);
            }
        }
    }
    return j;
}

INLINE void sum_influence_of(const int states, const int terms, const influence_sum *p) {
    const int together = states == 2 ? 2 : MOST_ROWS;
    int64_t row = 0;
    for (; row + together <= p->rows; row += together) {
        const int64_t done = sum_rows(together, states, terms, p, row);
        for (int i = 0; i < together && done < p->n; i++) sum_rest_of_row(p, row + i, done);
    }
    for (; row < p->rows; row++) sum_rest_of_row(p, row, 0);
}

LOCAL void sum_influence(const influence_sum *p) {
    switch (p->terms * 2 + p->states - 1) {
    case 0: sum_influence_of(1, 0, p); break;
    case 1: sum_influence_of(2, 0, p); break;
    case 2: sum_influence_of(1, 1, p); break;
    case 3: sum_influence_of(2, 1, p); break;
    case 4: sum_influence_of(1, 2, p); break;
    case 5: sum_influence_of(2, 2, p); break;
    case 6: sum_influence_of(1, 3, p); break;
    case 7: sum_influence_of(2, 3, p); break;
    case 8: sum_influence_of(1, 4, p); break;
    case 9: sum_influence_of(2, 4, p); break;
    }
}

/* The step itself. */
INLINE void advance_units(const int pair, const unit_step *p) {
    const REAL *const *of_h = p->decay[0], *const *of_c = p->decay[1];
    EACH_VECTOR(
        p->n, const vec y0 = LOAD(p->y[0] + j), y1 = pair ? LOAD(p->y[1] + j) : splat(0);
        vec z0 = p->add[0] ? LOAD(p->add[0] + j) : splat(0), z1 = pair && p->add[0] ? LOAD(p->add[1] + j) : splat(0);
        if (pair) {
            z0 += LOAD(of_h[1] + j) * y1;
            z1 += LOAD(of_c[0] + j) * y0;
            STORE(p->y[1] + j, z1 + LOAD(of_c[1] + j) * y1);
        } STORE(p->y[0] + j, z0 + LOAD(of_h[0] + j) * y0));
}

LOCAL void step_units(const unit_step *p) {
    if (p->decay[0][0]) p->states == 2 ? advance_units(1, p) : advance_units(0, p);
    if (p->grads) add_product(p->n, p->weight, p->y[0], p->grads);
}
#endif
