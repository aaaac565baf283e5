/* The recurrences of SnAp-1 on the influence of each unit's own parameters. */
#ifndef BPTT_FORWARD_MODE_INFLUENCE_POINTWISE_H
#define BPTT_FORWARD_MODE_INFLUENCE_POINTWISE_H
#include "kernels/kernels.h"
#include "kernels/pointwise.h"

/* y = decay*y + scale*x, each row with numbers of its own */
LOCAL void update_influence(const influence_rows *p) {
    REAL *y = p->y[0];
    for (int64_t row = 0; row < p->rows; row++, y += p->n) {
        const vec decay = splat(p->decay[0][0][row]);
        if (p->x) {
            const vec scale = splat(p->scale[0][row]);
            EACH_VECTOR(p->n, STORE(y + j, decay * LOAD(y + j) + scale * LOAD(p->x + j)));
        } else {
            EACH_VECTOR(p->n, STORE(y + j, decay * LOAD(y + j)));
        }
    }
}

/* The same for pairs: y_i = decay_i0*y_0 + decay_i1*y_1 + scale_i*x, i = 0 and 1. */
LOCAL void update_influence_pair(const influence_rows *p) {
    REAL *y0 = p->y[0], *y1 = p->y[1];
    for (int64_t row = 0; row < p->rows; row++, y0 += p->n, y1 += p->n) {
        const vec d00 = splat(p->decay[0][0][row]), d01 = splat(p->decay[0][1][row]);
        const vec d10 = splat(p->decay[1][0][row]), d11 = splat(p->decay[1][1][row]);
        const vec s0 = splat(p->x ? p->scale[0][row] : 0), s1 = splat(p->x ? p->scale[1][row] : 0);
        if (p->x)
            EACH_VECTOR(p->n, const vec a = LOAD(y0 + j), b = LOAD(y1 + j), x = LOAD(p->x + j);
                        STORE(y0 + j, d00 * a + d01 * b + s0 * x); STORE(y1 + j, d10 * a + d11 * b + s1 * x));
        else
            EACH_VECTOR(p->n, const vec a = LOAD(y0 + j), b = LOAD(y1 + j); STORE(y0 + j, d00 * a + d01 * b);
                        STORE(y1 + j, d10 * a + d11 * b));
    }
}
#endif
