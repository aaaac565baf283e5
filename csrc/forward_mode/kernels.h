/* What learners ask of the kernels beyond the table's other functions. */
#ifndef BPTT_FORWARD_MODE_KERNELS_H
#define BPTT_FORWARD_MODE_KERNELS_H
#include "base/real.h"

enum { MOST_TERMS = 4 }; /* of influence_sum */

/* The influence z of units' own parameters, n of each of `rows` units, from y, what it was some steps ago, and what
 * these steps added, a term for each:
 *   z_i = sum_j decay_ij*y_j + sum_k scale_ik*x_k   i and j go over the parts of the state, k over the terms
 * grads += weight*z_0, and where z is to be written y becomes z. */
typedef struct {
    int states; /* parts of the state, 1 or 2 */
    int terms;
    int writes;
    int64_t rows, n;
    const REAL *decay[2][2];          /* (rows,) each */
    const REAL *scale[2][MOST_TERMS]; /* (rows,) each */
    const REAL *x[MOST_TERMS];        /* (n,) each */
    REAL *y[2];                       /* (rows,n) each */
    const REAL *weight;               /* (rows,) */
    REAL *grads;                      /* (rows,n); NULL: not wanted */
} influence_sum;

/* A step of one number of each unit:
 *   y_i = sum_j decay_ij*y_j + add_i   i and j go over the parts of the state
 * grads += weight*y_0. */
typedef struct {
    int states; /* parts of the state, 1 or 2 */
    int64_t n;
    const REAL *decay[2][2]; /* (n,) each; decay[0][0] NULL: no step */
    const REAL *add[2];      /* (n,) each; add[0] NULL: nothing is added */
    REAL *y[2];              /* (n,) each */
    const REAL *weight;      /* (n,) */
    REAL *grads;             /* (n,); NULL: not wanted */
} unit_step;
#endif
