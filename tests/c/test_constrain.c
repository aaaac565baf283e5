/* Constraints: masks and signs, on parameters and on what an optimiser keeps. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "bptt.h"
#include "check.h"
#include "real.h"

enum { COUNT = 12 };

static const int8_t rules[COUNT] = {BPTT_RULE_ZERO,          BPTT_RULE_ZERO,          BPTT_RULE_ZERO,
                                    BPTT_RULE_AT_LEAST_ZERO, BPTT_RULE_AT_LEAST_ZERO, BPTT_RULE_AT_LEAST_ZERO,
                                    BPTT_RULE_AT_MOST_ZERO,  BPTT_RULE_AT_MOST_ZERO,  BPTT_RULE_AT_MOST_ZERO,
                                    BPTT_RULE_FREE,          BPTT_RULE_FREE,          BPTT_RULE_FREE};

static void check_constrained(int masks_only, const double *before, const double *after) {
    REAL *x = copy_of(COUNT, before);
    name_case("masks_only %d", masks_only);
    for (int i = 0; i < 2; i++) { /* once more changes nothing */
        CHECK_STATUS(TYPED(bptt_constrain)(COUNT, rules, masks_only, x), BPTT_OK);
        for (int j = 0; j < COUNT; j++)
            CHECK(isnan(after[j]) ? isnan(x[j]) : (double)x[j] == after[j] && !(after[j] == 0 && signbit(x[j])));
    }
    release(x);
}

/* Masked weights stay zero while Adam updates them, if their gradients are masked: its means of them stay zero too. */
static void check_training(void) {
    REAL *params = array(COUNT), *grads = array(COUNT), *mean = array(COUNT), *square = array(COUNT);
    name_case("training");
    for (int j = 0; j < COUNT; j++) params[j] = mean[j] = square[j] = 0;
    for (int64_t step = 1; step < 20; step++) {
        for (int j = 0; j < COUNT; j++) grads[j] = (REAL)uniform();
        CHECK_STATUS(TYPED(bptt_constrain)(COUNT, rules, 1, grads), BPTT_OK);
        CHECK_STATUS(TYPED(bptt_adam)(COUNT, params, grads, mean, square, step, 0.1, 0.9, 0.999, 1e-8, 0.01, 0),
                     BPTT_OK);
        CHECK_STATUS(TYPED(bptt_constrain)(COUNT, rules, 0, params), BPTT_OK);
        for (int j = 0; j < 3; j++) CHECK(params[j] == 0 && mean[j] == 0 && square[j] == 0);
        for (int j = 3; j < 6; j++) CHECK(params[j] >= 0 && params[j + 3] <= 0);
    }
    CHECK(params[9] != 0 && square[9] > 0);
    REAL *const all[] = {params, grads, mean, square};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    check_constrained(0, (double[]){1, NAN, -INFINITY, 2, -2, NAN, 2, -2, NAN, 2, -2, NAN},
                      (double[]){0, 0, 0, 2, 0, NAN, 0, -2, NAN, 2, -2, NAN});
    check_constrained(1, (double[]){1, NAN, -INFINITY, 2, -2, NAN, 2, -2, NAN, 2, -2, NAN},
                      (double[]){0, 0, 0, 2, -2, NAN, 2, -2, NAN, 2, -2, NAN});
    check_training();
    return end_of_checks();
}
