/* What learners ask of the kernels beyond the table's other functions. */
#ifndef BPTT_FORWARD_MODE_KERNELS_H
#define BPTT_FORWARD_MODE_KERNELS_H
#include "base/real.h"

/* The factors of a step of the influence of units' own parameters, n of each of `rows` units:
 *   y_i = sum_j decay_ij*y_j + scale_i*x   i and j go over the parts of the state */
typedef struct {
    const REAL *decay[2][2]; /* (rows,) each; decay[0][0] NULL: no step */
    const REAL *scale[2];    /* (rows,) each */
    const REAL *x;           /* (n,); NULL: nothing is added */
} influence_factors;

/* Such a step, and what it gives to the gradients of these parameters: grads += weight*y_0. */
typedef struct {
    int states; /* parts of the state, 1 or 2 */
    int64_t rows, n;
    influence_factors held; /* a step that comes before; only where grads are wanted and both steps add something */
    influence_factors step; /* the step */
    int keeps;              /* y stays as it is in memory, under the same condition; not with a held step */
    REAL *y[2];             /* (rows,n) each */
    const REAL *weight;     /* (rows,) */
    REAL *grads;            /* (rows,n); NULL: not wanted */
} influence_step;
#endif
