/* Gradient clipping by norm and by value. */
#include <math.h>
#include <stdint.h>

#include "bptt.h"
#include "check.h"
#include "real.h"

static void check_norm_of(int64_t n, const double *values, double max_norm, double expected_norm,
                          const double *expected) {
    REAL *grads = copy_of(n, values);
    double norm = -1;
    CHECK_STATUS(TYPED(bptt_clip_norm)(n, grads, max_norm, &norm), BPTT_OK);
    CHECK(norm == expected_norm);
    for (int64_t i = 0; i < n; i++) CHECK((double)grads[i] == expected[i]);
    release(grads);
}

/* 3-4-5: every intermediate number is exact. */
static void check_exact_norms(void) {
    name_case("3-4-5");
    check_norm_of(2, (double[]){3, -4}, 2.5, 5, (double[]){1.5, -2});
    check_norm_of(2, (double[]){3, -4}, 5, 5, (double[]){3, -4});
    check_norm_of(2, (double[]){3, -4}, 6, 5, (double[]){3, -4});
    check_norm_of(2, (double[]){3, -4}, INFINITY, 5, (double[]){3, -4});
    check_norm_of(3, (double[]){0, 0, 0}, 1, 0, (double[]){0, 0, 0});
    check_norm_of(1, (double[]){-8}, 2, 8, (double[]){-2});
}

/* Subnormal numbers, exact as multiples of the smallest one. */
static void check_subnormal_norms(void) {
    const double least = (double)REAL_LEAST;
    name_case("subnormal");
    check_norm_of(2, (double[]){3072 * least, 4096 * least}, 2560 * least, 5120 * least,
                  (double[]){1536 * least, 2048 * least});
    check_norm_of(2, (double[]){3072 * least, 4096 * least}, 1, 5120 * least, (double[]){3072 * least, 4096 * least});
}

/* Every length up to a few vectors, against hypot element by element. */
static void check_norm_lengths(double scale) {
    name_case("norms of many lengths times %g", scale);
    for (int64_t n = 1; n < 70; n++) {
        double *values = uniform_array(n, 1), expected = 0, norm;
        for (int64_t i = 0; i < n; i++) values[i] *= scale;
        REAL *grads = copy_of(n, values);
        for (int64_t i = 0; i < n; i++) expected = hypot(expected, (double)grads[i]);
        CHECK_STATUS(TYPED(bptt_clip_norm)(n, grads, expected / 4, &norm), BPTT_OK);
        CHECK(fabs(norm - expected) <= 1e-14 * expected);
        for (int64_t i = 0; i < n; i++) values[i] = (double)(REAL)values[i] / 4;
        CHECK_CLOSE(n, grads, values, REAL_BITS == 32 ? 1e-7 : 1e-14);
        release(values);
        release(grads);
    }
}

/* Two arrays of 3-4-0 and 0-12 jointly: measured one by one, then scaled from 13 to 6.5. */
static void check_joint_norm(void) {
    REAL *one = copy_of(3, (double[]){3, -4, 0}), *two = copy_of(2, (double[]){0, 12});
    const double expected[] = {1.5, -2, 0, 0, 6};
    double norms[2], total;
    name_case("two arrays jointly");
    CHECK_STATUS(TYPED(bptt_clip_norm)(3, one, INFINITY, &norms[0]), BPTT_OK);
    CHECK_STATUS(TYPED(bptt_clip_norm)(2, two, INFINITY, &norms[1]), BPTT_OK);
    total = hypot(norms[0], norms[1]);
    CHECK(total == 13);
    CHECK_STATUS(TYPED(bptt_scale)(3, one, 6.5 / total), BPTT_OK);
    CHECK_STATUS(TYPED(bptt_scale)(2, two, 6.5 / total), BPTT_OK);
    for (int i = 0; i < 3; i++) CHECK((double)one[i] == expected[i]);
    for (int i = 0; i < 2; i++) CHECK((double)two[i] == expected[3 + i]);
    release(one);
    release(two);
}

/* With a NaN or an infinity among the gradients nothing is scaled. */
static void check_not_finite(double bad, double expected) {
    const double values[] = {1, bad, 300, -2};
    REAL *grads = copy_of(4, values), *before = copy_of(4, values);
    double norm = 0;
    name_case("norm with %g", bad);
    CHECK_STATUS(TYPED(bptt_clip_norm)(4, grads, 0.5, &norm), BPTT_OK);
    CHECK(isnan(expected) ? isnan(norm) : norm == expected);
    CHECK(same_bits(4, grads, before));
    release(grads);
    release(before);
}

static void check_value(double limit, const double *expected, double expected_largest) {
    const double values[] = {0.5, -0.5, 3, -4, 0, -INFINITY, 1};
    const int64_t n = isinf(expected_largest) ? 7 : 5; /* the first five are finite */
    REAL *grads = copy_of(n, values);
    double largest = -1;
    name_case("value clipped to %g", limit);
    CHECK_STATUS(TYPED(bptt_clip_value)(n, grads, limit, &largest), BPTT_OK);
    CHECK(largest == expected_largest);
    for (int64_t i = 0; i < n; i++) CHECK((double)grads[i] == expected[i]);
    CHECK_STATUS(TYPED(bptt_clip_value)(n, grads, limit, NULL), BPTT_OK);
    for (int64_t i = 0; i < n; i++) CHECK((double)grads[i] == expected[i]);
    release(grads);
}

/* NaN stays NaN; expected_0 and expected_2 are the other two of three values, clipped to 1. */
static void check_value_nan(double *values, double expected_0, double expected_2) {
    REAL *grads = copy_of(3, values);
    double largest = 0;
    name_case("value with NaN");
    CHECK_STATUS(TYPED(bptt_clip_value)(3, grads, 1, &largest), BPTT_OK);
    CHECK(isnan(largest));
    for (int i = 0; i < 3; i++) CHECK(isnan(values[i]) == isnan(grads[i]));
    CHECK(isnan(values[0]) || (double)grads[0] == expected_0);
    CHECK(isnan(values[2]) || (double)grads[2] == expected_2);
    release(grads);
}

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    check_exact_norms();
    check_subnormal_norms();
    check_joint_norm();
    check_norm_lengths(1);
    check_norm_lengths(REAL_BITS == 32 ? 1e30 : 1e200);   /* squares overflow the type */
    check_norm_lengths(REAL_BITS == 32 ? 1e-30 : 1e-200); /* squares underflow */
    check_not_finite(NAN, NAN);
    check_not_finite(INFINITY, INFINITY);
    check_not_finite(-INFINITY, INFINITY);
    check_value(1, (double[]){0.5, -0.5, 1, -1, 0}, 4);
    check_value(1, (double[]){0.5, -0.5, 1, -1, 0, -1, 1}, INFINITY);
    check_value(INFINITY, (double[]){0.5, -0.5, 3, -4, 0, -INFINITY, 1}, INFINITY);
    check_value_nan((double[]){NAN, 2, 3}, 0, 1);
    check_value_nan((double[]){-2, NAN, INFINITY}, -1, 1);
    check_value_nan((double[]){-2, 3, NAN}, -1, 0);
    return end_of_checks();
}
