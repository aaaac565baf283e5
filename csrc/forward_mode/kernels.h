/* What learners ask of the kernels beyond the table's other functions. */
#ifndef BPTT_FORWARD_MODE_KERNELS_H
#define BPTT_FORWARD_MODE_KERNELS_H
#include "base/real.h"

/* One step of the influence of units' own parameters, n of each of `rows` units, and what it gives to their gradients:
 *   y_i = sum_j decay_ij*y_j + scale_i*x   i and j go over the parts of the state
 *   grads += weight*y_0 */
typedef struct {
    int states; /* parts of the state, 1 or 2 */
    int64_t rows, n;
    const REAL *decay[2][2]; /* (rows,) each; decay[0][0] NULL: y stays as it is */
    const REAL *scale[2];    /* (rows,) each */
    const REAL *x;           /* (n,); NULL: nothing is added */
    REAL *y[2];              /* (rows,n) each */
    const REAL *weight;      /* (rows,) */
    REAL *grads;             /* (rows,n); NULL: not wanted */
} influence_step;
#endif
