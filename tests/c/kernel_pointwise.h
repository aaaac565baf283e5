/* Checks of the functions that work element by element and of the sums, against formulas in double. */
#ifndef KERNEL_POINTWISE_H
#define KERNEL_POINTWISE_H
#include <float.h>
#include <math.h>
#include <stdint.h>

#include "base/mix.h"
#include "bptt.h"
#include "cells/list.h"
#include "check.h"
#include "kernel_buffers.h"
#include "kernels/kernels.h"

/* ---- formulas ------------------------------------------------------------------------------------------- */

#define COUNT(enumerator, name, cell) +1
enum { CELL_COUNT = 0 CELLS(COUNT) };

static double logistic_of(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }

LOCAL double activation_of(int activation, double z) {
    switch (activation) {
    case BPTT_CELL_TANH: return tanh(z);
    case BPTT_CELL_RELU: return z > 0 || isnan(z) ? z : 0;
    case BPTT_CELL_SIGMOID: return logistic_of(z);
    default: return z;
    }
}

LOCAL double activation_grad_of(int activation, double h) {
    switch (activation) {
    case BPTT_CELL_TANH: return 1 - h * h;
    case BPTT_CELL_RELU: return h > 0 ? 1 : h * 0;
    case BPTT_CELL_SIGMOID: return h * (1 - h);
    default: return 1;
    }
}

/* Numbers at the edges of exp, tanh and the logistic function, and beyond. */
LOCAL REAL special(int64_t i) {
    static const double values[] = {0,    -0.,  1e-30, -1e-6, .1,  -.2,  .26,  -.28, .5,   -1,  2,   -5,
                                    9,    -9.2, 17,    -20,   50,  -79,  81,   -87,  88,   -90, 100, -103,
                                    -104, -500, 699,   -708,  709, -740, -746, 1000, -1e5, 1e30};
    enum { VALUES = sizeof values / sizeof values[0] };
    i %= VALUES + 3;
    if (i == VALUES) return (REAL)NAN;
    if (i > VALUES) return (REAL)(i == VALUES + 1 ? INFINITY : -INFINITY);
    return (REAL)values[i];
}

/* some random numbers, some special ones */
LOCAL REAL *special_numbers(int64_t n) {
    const int64_t from = any_of(40);
    REAL *x = numbers(n, 4);
    for (int64_t i = 0; i < n; i++)
        if (any_of(2)) x[i] = special(from + i);
    settle(x);
    return x;
}

/* ---- the functions -------------------------------------------------------------------------------------- */

LOCAL void check_activation_grad(const kernels *table, int64_t n) {
    for (int activation = 0; activation < CELL_COUNT; activation++)
        for (int in_place = 0; in_place < 2; in_place++) {
            kernel_case("activation_grad %d n=%d in place %d", activation, (int)n, in_place);
            REAL *h = numbers(n, 1), *dh = numbers(n, 1), *dz = in_place ? dh : numbers(n, 1), *one = twin(dz);
            if (n > 2) h[n / 2] = (REAL)NAN, h[n / 3] = 0;
            settle(h);
            for (int64_t i = 0; i < n; i++) {
                double grad = activation_grad_of(activation, (double)h[i]);
                grad = activation == BPTT_CELL_RELU && !(h[i] > 0) ? grad : (double)dh[i] * grad;
                want(dz, i, grad, fabs((double)dh[i]));
            }
            REAL *copy = in_place ? one : dh;
            for (int64_t i = 0; i < n; i++) table->activation_grad(activation, 1, h + i, copy + i, one + i);
            table->activation_grad(activation, n, h, dh, dz);
            end_case();
        }
}

LOCAL void check_logistic(const kernels *table, int64_t n) {
    for (int in_place = 0; in_place < 2; in_place++) {
        kernel_case("logistic n=%d in place %d", (int)n, in_place);
        REAL *x = special_numbers(n), *y = in_place ? x : numbers(n, 1), *one = twin(y);
        for (int64_t i = 0; i < n; i++) {
            const double s = logistic_of((double)x[i]);
            want_within(y, i, s, 4 * EPSILON * s + 2 * SMALLEST);
        }
        for (int64_t i = 0; i < n; i++) table->logistic(1, x + i, one + i);
        table->logistic(n, x, y);
        end_case();
    }
}

LOCAL void check_exp_shifted(const kernels *table, int64_t n) {
    for (int in_place = 0; in_place < 2; in_place++) {
        kernel_case("exp_shifted n=%d in place %d", (int)n, in_place);
        REAL *x = n % 3 ? numbers(n, 10) : special_numbers(n), *y = in_place ? x : numbers(n, 1);
        const REAL shift = (REAL)(n % 2 ? 1.5 : 0);
        double sum = 0;
        for (int64_t i = 0; i < n; i++) {
            const double e = exp((double)(REAL)(x[i] - shift));
            want_within(y, i, e, 4 * EPSILON * e + 2 * SMALLEST);
            sum += e;
        }
        const double returned = (double)table->exp_shifted(n, x, shift, y);
        if (!(sum > LARGEST / 2))
            check_number(returned, sum, (8 + (double)n / 4) * EPSILON * sum + (double)n * SMALLEST);
        end_case();
    }
}

/* ---- arithmetic ----------------------------------------------------------------------------------------- */

LOCAL void check_add_scaled(const kernels *table, int64_t n) {
    kernel_case("add_scaled n=%d", (int)n);
    REAL *x = numbers(n, 1), *y = numbers(n, 1), *one = twin(y);
    const REAL scale = (REAL)-.7;
    for (int64_t i = 0; i < n; i++) want(y, i, (double)y[i] + (double)scale * (double)x[i], 1);
    for (int64_t i = 0; i < n; i++) table->add_scaled(1, scale, x + i, one + i);
    table->add_scaled(n, scale, x, y);
    end_case();
}

/* place of y: 0 memory of its own, 1 that of a, 2 that of b */
LOCAL void check_difference(const kernels *table, int64_t n) {
    for (int place = 0; place < 3; place++) {
        kernel_case("difference n=%d place %d", (int)n, place);
        REAL *a = numbers(n, 1), *b = numbers(n, 1), *y = place == 0 ? numbers(n, 1) : place == 1 ? a : b;
        const REAL scale = (REAL).3;
        for (int64_t i = 0; i < n; i++) want(y, i, (double)scale * ((double)a[i] - (double)b[i]), 1);
        table->difference(n, scale, a, b, y);
        end_case();
    }
}

LOCAL void check_clamp(const kernels *table, int64_t n) {
    kernel_case("clamp n=%d", (int)n);
    const REAL limit = (REAL).75;
    REAL *x = special_numbers(n);
    for (int64_t i = 0; i < n; i++) {
        const double inside = x[i] > limit ? (double)limit : x[i] < -limit ? -(double)limit : (double)x[i];
        want_within(x, i, inside, 0);
    }
    table->clamp(n, limit, x);
    end_case();
}

/* ---- random numbers ---------------------------------------------------------------------------------------- */

LOCAL UINT random_bits_of(UINT counter, uint64_t key) {
    if (REAL_BITS == 64) return (UINT)mix64(counter * 0x9e3779b97f4a7c15u + key);
    uint32_t x = (uint32_t)counter + (uint32_t)key;
    for (int round = 0; round < 2; round++) {
        x = (x ^ x >> 16) * 0x7feb352du;
        x = (x ^ x >> 15) * 0x846ca68bu;
        x ^= x >> 16;
        x += round ? 0 : (uint32_t)(key >> 32);
    }
    return x;
}

/* The pair of standard normal numbers of a counter. */
LOCAL void normal_pair(UINT counter, uint64_t key, double pair[2]) {
    const int mantissa = REAL_BITS == 32 ? 23 : 52, rest = REAL_BITS - mantissa;
    const UINT bits = random_bits_of(counter, key), angle = random_bits_of(counter, mix64(key + 0x9e3779b97f4a7c15u));
    const double low = ldexp((double)(bits & (((UINT)1 << rest) - 1)), -REAL_BITS);
    const double r = sqrt(-2 * log(1 - ldexp((double)(bits >> rest), -mantissa) - low));
    const double x = (ldexp((double)((UINT)(angle << 2) >> rest), -mantissa) - .5) * 1.57079632679489661923;
    const int exchange = (int)(angle >> (REAL_BITS - 1)), sign = angle >> (REAL_BITS - 2) & 1 ? -1 : 1;
    pair[0] = sign * r * (exchange ? sin(x) : cos(x));
    pair[1] = sign * r * (exchange ? cos(x) : sin(x));
}

LOCAL void check_add_normal(const kernels *table, int64_t n) {
    kernel_case("add_normal n=%d", (int)n);
    const uint64_t key = mix64((uint64_t)n);
    const REAL scale = (REAL).7;
    REAL *x = numbers(n, 1);
    for (int64_t i = 0; i < n - n / 2; i++) {
        double pair[2];
        normal_pair((UINT)i, key, pair);
        for (int64_t j = 0; j < 2 && i + j * (n - n / 2) < n; j++) {
            const int64_t at = i + j * (n - n / 2);
            want(x, at, (double)x[at] + (double)scale * pair[j], 16);
        }
    }
    table->add_normal(n, key, scale, x);
    end_case();
}

/* ---- constraints --------------------------------------------------------------------------------------------- */

LOCAL void check_constrain(const kernels *table, int64_t n) {
    for (int masks_only = 0; masks_only < 2; masks_only++) {
        kernel_case("constrain n=%d masks_only %d", (int)n, masks_only);
        static const int8_t all[] = {
            BPTT_RULE_ZERO, BPTT_RULE_AT_LEAST_ZERO, BPTT_RULE_AT_MOST_ZERO, BPTT_RULE_FREE, -128, 127};
        REAL *x = special_numbers(n);
        int8_t *rules = checked_malloc(n);
        for (int64_t i = 0; i < n; i++) {
            const double value = (double)x[i];
            rules[i] = all[any_of(sizeof all)];
            const int low = rules[i] == BPTT_RULE_AT_LEAST_ZERO && value < 0;
            const int high = rules[i] == BPTT_RULE_AT_MOST_ZERO && value > 0;
            const int zero = rules[i] == BPTT_RULE_ZERO || (!masks_only && (low || high));
            want_within(x, i, zero ? 0 : value, 0);
        }
        table->constrain(n, rules, masks_only, x);
        free(rules);
        end_case();
    }
}

/* ---- sums ----------------------------------------------------------------------------------------------- */

LOCAL void check_add_column_sums(const kernels *table, int64_t rows, int64_t n) {
    kernel_case("add_column_sums rows=%d n=%d", (int)rows, (int)n);
    const int64_t lda = n + any_of(3);
    REAL *a = matrix(rows, n, lda, 1), *sums = numbers(n, 1), *one = twin(sums);
    if (rows > 1) a[lda] = (REAL)NAN;
    settle(a);
    for (int64_t j = 0; j < n; j++) {
        double sum = (double)sums[j];
        for (int64_t i = 0; i < rows; i++) sum += (double)a[i * lda + j];
        want(sums, j, sum, 1 + (double)rows);
    }
    for (int64_t j = 0; j < n; j++) table->add_column_sums(rows, 1, a + j, lda, one + j);
    table->add_column_sums(rows, n, a, lda, sums);
    end_case();
}

/* Rows of 9 that a list names, some twice. The rows that it does not name hold NaN. */
LOCAL void check_add_listed_rows(const kernels *table, int64_t count, int64_t n) {
    static const int64_t rows[] = {7, 0, 7, 3, 8, 3};
    kernel_case("add_listed_rows count=%d n=%d", (int)count, (int)n);
    const int64_t lda = n + any_of(3);
    REAL *a = matrix(9, n, lda, 1), *sums = numbers(n, 1), *one = twin(sums);
    for (int64_t row = 0; row < 9; row++) {
        int listed = 0;
        for (int64_t i = 0; i < count; i++) listed |= rows[i] == row;
        for (int64_t j = 0; !listed && j < n; j++) a[row * lda + j] = (REAL)NAN;
    }
    settle(a);
    for (int64_t j = 0; j < n; j++) {
        double sum = (double)sums[j];
        for (int64_t i = 0; i < count; i++) sum += (double)a[rows[i] * lda + j];
        want(sums, j, sum, 1 + (double)count);
    }
    for (int64_t j = 0; j < n; j++) table->add_listed_rows(count, rows, 1, a + j, lda, one + j);
    table->add_listed_rows(count, rows, n, a, lda, sums);
    end_case();
}

LOCAL void check_sum_squares(const kernels *table, int64_t n) {
    kernel_case("sum_squares n=%d", (int)n);
    const REAL *x = numbers(n, 3);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    check_number(table->sum_squares(n, x), sum, 8 * DBL_EPSILON * sum * (1 + sqrt((double)n)));
    end_case();
    REAL *large = numbers(n, 1);
    fill(large, n, REAL_BITS == 32 ? (REAL)1e30 : (REAL)1e100); /* the squares are beyond float */
    const double square = (double)large[0] * (double)large[0];
    check_number(table->sum_squares(n, large), (double)n * square, 1e-12 * (double)n * square);
    end_case();
}

/* dy: of its own, in place of a, not wanted */
LOCAL void check_squared_error(const kernels *table, int64_t n) {
    for (int place = 0; place < 3; place++) {
        kernel_case("squared_error n=%d place %d", (int)n, place);
        REAL *a = numbers(n, 3), *b = numbers(n, 3), *y = place == 0 ? numbers(n, 1) : place == 1 ? a : NULL;
        const REAL scale = (REAL).3;
        double sum = 0;
        for (int64_t i = 0; i < n; i++) {
            const REAL error = a[i] - b[i];
            sum += (double)error * (double)error;
            if (y) want(y, i, (double)scale * (double)error, 1);
        }
        check_number(table->squared_error(n, scale, a, b, y), sum, 8 * DBL_EPSILON * sum * (1 + sqrt((double)n)));
        end_case();
    }
}

/* ---- optimisers ----------------------------------------------------------------------------------------- */

LOCAL update any_update(int64_t n) {
    update u = {.n = n,
                .params = numbers(n, 1),
                .grads = numbers(n, 1),
                .mean = numbers(n, 1),
                .square = numbers(n, 1),
                .rate = (REAL).25,
                .decay = (REAL)(any_of(2) * .125),
                .shrink = (REAL).875,
                .keep1 = (REAL).75,
                .take1 = (REAL).375,
                .keep2 = (REAL).625,
                .take2 = (REAL).3125,
                .root = (REAL)1.25,
                .eps = (REAL).0625};
    for (int64_t i = 0; i < n; i++) u.square[i] = (REAL)fabs((double)u.square[i]);
    settle(u.square);
    return u;
}

LOCAL double decayed_grad(const update *u, int64_t i) {
    return (double)u->grads[i] + (double)u->decay * (double)u->params[i];
}

LOCAL void check_sgd(const kernels *table, int64_t n) {
    for (int form = 0; form < 3; form++) { /* plain, momentum, Nesterov */
        kernel_case("sgd n=%d form %d", (int)n, form);
        update u = any_update(n);
        REAL *velocity = u.mean;
        u.nesterov = form == 2;
        if (!form) u.mean = NULL;
        for (int64_t i = 0; i < n; i++) {
            const double g = decayed_grad(&u, i), v = .75 * (double)velocity[i] + g;
            const double step = form == 0 ? g : form == 1 ? v : g + .75 * v;
            if (form) want(velocity, i, v, 2);
            want(u.params, i, (double)u.params[i] - .25 * step, 2);
        }
        table->sgd(&u);
        end_case();
    }
}

LOCAL void check_rmsprop(const kernels *table, int64_t n) {
    kernel_case("rmsprop n=%d", (int)n);
    const update u = any_update(n);
    for (int64_t i = 0; i < n; i++) {
        const double g = decayed_grad(&u, i), square = .625 * (double)u.square[i] + .3125 * g * g;
        want(u.square, i, square, 2);
        want(u.params, i, (double)u.params[i] - .25 * g / (sqrt(square) + .0625), 2);
    }
    table->rmsprop(&u);
    end_case();
}

LOCAL void check_adam(const kernels *table, int64_t n) {
    kernel_case("adam n=%d", (int)n);
    const update u = any_update(n);
    for (int64_t i = 0; i < n; i++) {
        const double g = decayed_grad(&u, i), mean = .75 * (double)u.mean[i] + .375 * g;
        const double square = .625 * (double)u.square[i] + .3125 * g * g;
        want(u.mean, i, mean, 2);
        want(u.square, i, square, 2);
        want(u.params, i, .875 * (double)u.params[i] - .25 * mean / (1.25 * sqrt(square) + .0625), 4);
    }
    table->adam(&u);
    end_case();
}

/* ---- all ------------------------------------------------------------------------------------------------ */

LOCAL void check_pointwise(const kernels *table) {
    for (int64_t n = 1; n <= 140; n += n < 70 ? 1 : 23) {
        check_activation_grad(table, n);
        check_logistic(table, n);
        check_exp_shifted(table, n);
        check_add_scaled(table, n);
        check_difference(table, n);
        check_clamp(table, n);
        check_add_normal(table, n);
        check_constrain(table, n);
        check_sum_squares(table, n);
        check_squared_error(table, n);
        check_sgd(table, n);
        check_rmsprop(table, n);
        check_adam(table, n);
        for (int64_t rows = 1; rows < 9; rows += 3) check_add_column_sums(table, rows, n);
        for (int64_t count = 0; count < 7; count += 3) check_add_listed_rows(table, count, n);
    }
}
#endif
