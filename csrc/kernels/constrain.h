/* The projection of parameters onto their rules. */
#ifndef BPTT_KERNELS_CONSTRAIN_H
#define BPTT_KERNELS_CONSTRAIN_H
#include "base/real.h"
#include "bptt.h"

/* A masked NaN becomes zero, another stays NaN. Without branches, so that compilers vectorise it. */
LOCAL void constrain(int64_t n, const int8_t *rules, int masks_only, REAL *x) {
    if (masks_only) {
        for (int64_t i = 0; i < n; i++) x[i] = rules[i] == BPTT_RULE_ZERO ? 0 : x[i];
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const int masked = rules[i] == BPTT_RULE_ZERO, too_low = rules[i] == BPTT_RULE_AT_LEAST_ZERO && x[i] < 0;
        const int too_high = rules[i] == BPTT_RULE_AT_MOST_ZERO && x[i] > 0;
        x[i] = masked || too_low || too_high ? 0 : x[i];
    }
}
#endif
