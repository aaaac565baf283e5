/* A step of the influence of units' own parameters, as the kernels take it. */
#ifndef BPTT_FORWARD_MODE_INFLUENCE_H
#define BPTT_FORWARD_MODE_INFLUENCE_H
#include "base/real.h"

/* y_i = sum_j decay_ij*y_j + scale_i*x for each of `rows` rows of n elements, with numbers of its own; i and j go over
 * the parts of the state. */
typedef struct {
    int64_t rows, n;
    const REAL *decay[2][2]; /* (rows,) */
    const REAL *scale[2];    /* (rows,) */
    const REAL *x;           /* (n,); NULL: nothing is added */
    REAL *y[2];              /* (rows,n) */
} influence_rows;
#endif
