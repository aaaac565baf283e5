/* Clipping by norm and by value. Include after real.h, once per type. */

static void TYPED(check_norm_of)(int64_t n, const double *values, double max_norm, double expected_norm,
                                 const double *expected) {
    REAL *grads = TYPED(copy_of)(n, values);
    double norm = -1;
    CHECK_STATUS(TYPED(bptt_clip_norm)(n, grads, max_norm, &norm), BPTT_OK);
    CHECK(norm == expected_norm);
    for (int64_t i = 0; i < n; i++) CHECK((double)grads[i] == expected[i]);
    release(grads);
}

/* 3-4-5, where every number on the way is exact */
static void TYPED(check_exact_norms)(void) {
    name_case("3-4-5, %d bits", REAL_BITS);
    TYPED(check_norm_of)(2, (double[]){3, -4}, 2.5, 5, (double[]){1.5, -2});
    TYPED(check_norm_of)(2, (double[]){3, -4}, 5, 5, (double[]){3, -4});
    TYPED(check_norm_of)(2, (double[]){3, -4}, 6, 5, (double[]){3, -4});
    TYPED(check_norm_of)(2, (double[]){3, -4}, INFINITY, 5, (double[]){3, -4});
    TYPED(check_norm_of)(3, (double[]){0, 0, 0}, 1, 0, (double[]){0, 0, 0});
    TYPED(check_norm_of)(1, (double[]){-8}, 2, 8, (double[]){-2});
}

/* Subnormal numbers: as multiples of the least one they are exact too. */
static void TYPED(check_subnormal_norms)(void) {
    const double u = (double)REAL_LEAST;
    name_case("subnormal, %d bits", REAL_BITS);
    TYPED(check_norm_of)(2, (double[]){3072 * u, 4096 * u}, 2560 * u, 5120 * u, (double[]){1536 * u, 2048 * u});
    TYPED(check_norm_of)(2, (double[]){3072 * u, 4096 * u}, 1, 5120 * u, (double[]){3072 * u, 4096 * u});
}

/* every length up to a few vectors, against hypot element by element */
static void TYPED(check_norm_lengths)(double scale) {
    name_case("norms of many lengths times %g, %d bits", scale, REAL_BITS);
    for (int64_t n = 1; n < 70; n++) {
        double *values = uniform_array(n, 1), expected = 0, norm;
        for (int64_t i = 0; i < n; i++) values[i] *= scale;
        REAL *grads = TYPED(copy_of)(n, values);
        for (int64_t i = 0; i < n; i++) expected = hypot(expected, (double)grads[i]);
        CHECK_STATUS(TYPED(bptt_clip_norm)(n, grads, expected / 4, &norm), BPTT_OK);
        CHECK(fabs(norm - expected) <= 1e-14 * expected);
        for (int64_t i = 0; i < n; i++) values[i] = (double)(REAL)values[i] / 4;
        CHECK_CLOSE(n, grads, values, REAL_BITS == 32 ? 1e-7 : 1e-14);
        release(values);
        release(grads);
    }
}

/* what is NaN or Inf stays as evidence, and so does all beside it */
static void TYPED(check_not_finite)(double evil, double expected) {
    const double values[] = {1, evil, 300, -2};
    REAL *grads = TYPED(copy_of)(4, values), *before = TYPED(copy_of)(4, values);
    double norm = 0;
    name_case("norm with %g, %d bits", evil, REAL_BITS);
    CHECK_STATUS(TYPED(bptt_clip_norm)(4, grads, 0.5, &norm), BPTT_OK);
    CHECK(isnan(expected) ? isnan(norm) : norm == expected);
    CHECK(TYPED(same_bits)(4, grads, before));
    release(grads);
    release(before);
}

static void TYPED(check_value)(double limit, const double *expected, double expected_largest) {
    const double values[] = {0.5, -0.5, 3, -4, 0, -INFINITY, 1};
    const int64_t n = isinf(expected_largest) ? 7 : 5; /* without the infinity, or with it */
    REAL *grads = TYPED(copy_of)(n, values);
    double largest = -1;
    name_case("value clipped to %g, %d bits", limit, REAL_BITS);
    CHECK_STATUS(TYPED(bptt_clip_value)(n, grads, limit, &largest), BPTT_OK);
    CHECK(largest == expected_largest);
    for (int64_t i = 0; i < n; i++) CHECK((double)grads[i] == expected[i]);
    CHECK_STATUS(TYPED(bptt_clip_value)(n, grads, limit, NULL), BPTT_OK);
    for (int64_t i = 0; i < n; i++) CHECK((double)grads[i] == expected[i]);
    release(grads);
}

static void TYPED(check_value_nan)(double *values, double first, double last) {
    REAL *grads = TYPED(copy_of)(3, values);
    double largest = 0;
    name_case("value with NaN, %d bits", REAL_BITS);
    CHECK_STATUS(TYPED(bptt_clip_value)(3, grads, 1, &largest), BPTT_OK);
    CHECK(isnan(largest));
    for (int i = 0; i < 3; i++) CHECK(isnan(values[i]) == isnan(grads[i]));
    CHECK(isnan(values[0]) || (double)grads[0] == first);
    CHECK(isnan(values[2]) || (double)grads[2] == last);
    release(grads);
}

static void TYPED(check_clip)(void) {
    TYPED(check_exact_norms)();
    TYPED(check_subnormal_norms)();
    TYPED(check_norm_lengths)(1);
    TYPED(check_norm_lengths)(REAL_BITS == 32 ? 1e30 : 1e200);   /* squares overflow the type */
    TYPED(check_norm_lengths)(REAL_BITS == 32 ? 1e-30 : 1e-200); /* squares underflow */
    TYPED(check_not_finite)(NAN, NAN);
    TYPED(check_not_finite)(INFINITY, INFINITY);
    TYPED(check_not_finite)(-INFINITY, INFINITY);
    TYPED(check_value)(1, (double[]){0.5, -0.5, 1, -1, 0}, 4);
    TYPED(check_value)(1, (double[]){0.5, -0.5, 1, -1, 0, -1, 1}, INFINITY);
    TYPED(check_value)(INFINITY, (double[]){0.5, -0.5, 3, -4, 0, -INFINITY, 1}, INFINITY);
    TYPED(check_value_nan)((double[]){NAN, 2, 3}, 0, 1);
    TYPED(check_value_nan)((double[]){-2, NAN, INFINITY}, -1, 1);
    TYPED(check_value_nan)((double[]){-2, 3, NAN}, -1, 0);
}
