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

/* The factors of a unit. */
typedef struct {
    vec decay[2][2], scale[2];
} unit_factors;

INLINE unit_factors factors_of(const int pair, const int adds, const influence_factors *from, int64_t row) {
    unit_factors factors;
    for (int i = 0; i < 2; i++) {
        const int used = i == 0 || pair;
        for (int j = 0; j < 2; j++) factors.decay[i][j] = splat(used && (j == 0 || pair) ? from->decay[i][j][row] : 0);
        factors.scale[i] = splat(used && adds ? from->scale[i][row] : 0);
    }
    return factors;
}

/* Rounds a product: it is not fused with an addition that follows. Of a sum of two products compilers fuse either, not
 * the same one in each function, and a step must have the same bits in all of them. */
#if defined(__x86_64__) && defined(GNU_C)
#define ROUND_PRODUCT(v) __asm__("" : "+v"(v))
#elif defined(__aarch64__) && defined(GNU_C)
#define ROUND_PRODUCT(v) __asm__("" : "+w"(v))
#else
#define ROUND_PRODUCT(v) (void)(v)
#endif

/* a*x + b*y, b*y rounded */
INLINE vec sum_of_products(vec a, vec x, vec b, vec y) {
    vec product = b * y;
    ROUND_PRODUCT(product);
    return a * x + product;
}

/* A step of y_0 and, of a pair, y_1. */
INLINE void step_pair(const int pair, const int adds, const unit_factors *f, vec x, vec *y0, vec *y1) {
    const vec was = *y0;
    if (!pair) {
        *y0 = adds ? sum_of_products(f->decay[0][0], was, f->scale[0], x) : f->decay[0][0] * was;
        return;
    }
    *y0 = sum_of_products(f->decay[0][0], was, f->decay[0][1], *y1);
    *y1 = sum_of_products(f->decay[1][0], was, f->decay[1][1], *y1);
    if (adds) *y0 += f->scale[0] * x;
    if (adds) *y1 += f->scale[1] * x;
}

/* One row of influence_step; the flags are constants. */
INLINE void influence_row(const int pair, const int adds, const int to_grads, const int held, const int keeps,
                          const influence_step *p, int64_t row) {
    const unit_factors before = held ? factors_of(pair, 1, &p->held, row) : (unit_factors){.scale = {splat(0)}};
    const unit_factors now = factors_of(pair, adds, &p->step, row);
    const vec weight = splat(to_grads ? p->weight[row] : 0);
    const int64_t n = p->n; /* as the pointers below: the compiler would read them again after each store */
    const REAL *x_before = p->held.x, *x_now = p->step.x;
    REAL *of_h = p->y[0] + row * n, *of_c = pair ? p->y[1] + row * n : NULL;
    REAL *grads = to_grads ? p->grads + row * n : NULL;
    EACH_VECTOR(
        n, vec y0 = LOAD(of_h + j), y1 = pair ? LOAD(of_c + j) : splat(0);
        if (held) step_pair(pair, 1, &before, LOAD(x_before + j), &y0, &y1);
        step_pair(pair, adds, &now, adds ? LOAD(x_now + j) : splat(0), &y0, &y1); if (!keeps) {
            if (pair) STORE(of_c + j, y1);
            STORE(of_h + j, y0);
        } if (to_grads) STORE(grads + j, LOAD(grads + j) + weight * y0));
}

INLINE void influence_rows(const int pair, const int adds, const int to_grads, const int held, const int keeps,
                           const influence_step *p) {
    for (int64_t row = 0; row < p->rows; row++) influence_row(pair, adds, to_grads, held, keeps, p, row);
}

LOCAL void step_influence(const influence_step *p) {
    const int pair = p->states == 2, held = p->held.decay[0][0] != NULL;
    if (!p->step.decay[0][0]) {
        for (int64_t row = 0; p->grads && row < p->rows; row++)
            add_scaled(p->n, p->weight[row], p->y[0] + row * p->n, p->grads + row * p->n);
        return;
    }
    switch (held ? 8 + pair : p->keeps ? 10 + pair : pair * 4 + (p->step.x != NULL) * 2 + (p->grads != NULL)) {
    case 0: influence_rows(0, 0, 0, 0, 0, p); break;
    case 1: influence_rows(0, 0, 1, 0, 0, p); break;
    case 2: influence_rows(0, 1, 0, 0, 0, p); break;
    case 3: influence_rows(0, 1, 1, 0, 0, p); break;
    case 4: influence_rows(1, 0, 0, 0, 0, p); break;
    case 5: influence_rows(1, 0, 1, 0, 0, p); break;
    case 6: influence_rows(1, 1, 0, 0, 0, p); break;
    case 7: influence_rows(1, 1, 1, 0, 0, p); break;
    case 8: influence_rows(0, 1, 1, 1, 0, p); break;
    case 9: influence_rows(1, 1, 1, 1, 0, p); break;
    case 10: influence_rows(0, 1, 1, 0, 1, p); break;
    case 11: influence_rows(1, 1, 1, 0, 1, p); break;
    }
}
#endif
