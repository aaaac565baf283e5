/* Calls on plain arrays made of bytes: losses, clipping, constraints, optimisers; and windows. A refused call writes
 * nothing; what an accepted one gives is checked where a line of naive code says it. */
#ifndef FUZZ_ARRAYS_H
#define FUZZ_ARRAYS_H
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "bptt.h"
#include "input.h"

/* ---- losses ------------------------------------------------------------------------------------------ */

enum { MSE, BINARY_CROSS_ENTROPY, HUBER, CROSS_ENTROPY, WEIGHTED_CROSS_ENTROPY, LOSSES };

typedef struct {
    int which;
    int64_t N, C, ignore;
    double delta, smoothing;
    bptt_reduction reduction;
    REAL *y, *target, *weight;
    int64_t *labels;
    uint8_t *mask;
} loss_call;

LOCAL bptt_status call_loss(const loss_call *c, int64_t N, REAL *dy, double *loss) {
    if (c->which == MSE) return TYPED(bptt_mse)(N, c->C, c->y, c->target, c->mask, c->reduction, dy, loss);
    if (c->which == BINARY_CROSS_ENTROPY)
        return TYPED(bptt_binary_cross_entropy)(N, c->C, c->y, c->target, c->mask, c->reduction, dy, loss);
    if (c->which == HUBER)
        return TYPED(bptt_huber)(N, c->C, c->y, c->target, c->delta, c->mask, c->reduction, dy, loss);
    if (c->which == CROSS_ENTROPY)
        return TYPED(bptt_cross_entropy)(N, c->C, c->y, c->labels, c->ignore, c->mask, c->reduction, dy, loss);
    return TYPED(bptt_weighted_cross_entropy)(N, c->C, c->y, c->labels, c->ignore, c->weight, c->smoothing, c->mask,
                                              c->reduction, dy, loss);
}

/* Whether an array holds no number that is far from 1. */
LOCAL int all_common(int64_t n, const REAL *x) {
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)x[i]) <= 1e3)) return 0;
    return 1;
}

/* An element's loss, not scaled, and its gradient. */
LOCAL double naive_element(const loss_call *c, double y, double target, double *dy) {
    const double error = y - target;
    if (c->which == MSE) {
        *dy = 2 * error;
        return error * error;
    }
    if (c->which == BINARY_CROSS_ENTROPY) {
        *dy = 1 / (1 + exp(-y)) - target;
        return fmax(y, 0) - y * target + log1p(exp(-fabs(y)));
    }
    *dy = fabs(error) <= c->delta ? error : copysign(c->delta, error);
    return fabs(error) <= c->delta ? error * error / 2 : c->delta * (fabs(error) - c->delta / 2);
}

/* A row's cross-entropy, not scaled, and its gradient (C). */
LOCAL double naive_row(const loss_call *c, const REAL *y, int64_t label, double *dy) {
    const double e = c->which == WEIGHTED_CROSS_ENTROPY ? c->smoothing : 0;
    double most = (double)y[0], sum = 0, value = 0, all = 0;
    for (int64_t j = 0; j < c->C; j++) most = fmax(most, (double)y[j]);
    for (int64_t j = 0; j < c->C; j++) sum += exp((double)y[j] - most);
    for (int64_t pass = 0; pass < 2; pass++)
        for (int64_t j = 0; j < c->C; j++) {
            const double w = c->which == WEIGHTED_CROSS_ENTROPY && c->weight ? (double)c->weight[j] : 1;
            const double share = w * (e / (double)c->C + (j == label ? 1 - e : 0));
            if (pass) dy[j] = all * exp((double)y[j] - most) / sum - share;
            else value += share * (log(sum) + most - (double)y[j]);
            all += pass ? 0 : share;
        }
    return value;
}

/* Against a line of naive code for each loss, where all numbers are common. */
LOCAL void check_naive_loss(const loss_call *c, const REAL *dy, double loss) {
    const int classes = c->which >= CROSS_ENTROPY, weighted = c->which == WEIGHTED_CROSS_ENTROPY && c->weight;
    if (!all_common(c->N * c->C, c->y) || !all_common(c->N * c->C, c->target) || !(c->delta <= 1e3)) return;
    double *expected = zeros(c->N * c->C), sum = 0, count = 0;
    for (int64_t row = 0; row < c->N; row++) {
        const int64_t at = row * c->C, label = c->labels[row];
        if ((c->mask && !c->mask[row]) || (classes && label == c->ignore)) continue;
        count += weighted ? (double)c->weight[label] : classes ? 1 : (double)c->C;
        if (classes) sum += naive_row(c, c->y + at, label, expected + at);
        for (int64_t j = 0; !classes && j < c->C; j++)
            sum += naive_element(c, (double)c->y[at + j], (double)c->target[at + j], &expected[at + j]);
    }
    const double scale = c->reduction == BPTT_REDUCTION_SUM ? 1 : count > 0 ? 1 / count : 0;
    for (int64_t i = 0; i < c->N * c->C; i++) expected[i] *= scale;
    if (count > 1e-3 && count < 1e6) {
        const double digits = REAL_BITS == 32 ? 1e-4 : 1e-11;
        CHECK_WITHIN(c->N * c->C, dy, expected, digits * fmax(largest_of(c->N * c->C, expected), scale));
        CHECK(fabs(loss - sum * scale) <= digits * fmax(fabs(loss), scale));
    }
    release(expected);
}

/* Rows left out have no gradient; without a gradient the loss is the same but for the order of its sums. */
LOCAL void check_loss(const loss_call *c, const REAL *dy, double loss) {
    double alone = 0;
    check_naive_loss(c, dy, loss);
    CHECK_STATUS(call_loss(c, c->N, NULL, &alone), BPTT_OK);
    CHECK(alone == loss || (isnan(alone) && isnan(loss)) || fabs(alone - loss) <= 1e-5 * fabs(loss));
    for (int64_t row = 0; row < c->N; row++) {
        const int ignored = c->which >= CROSS_ENTROPY && c->labels[row] == c->ignore;
        if (!(c->mask && !c->mask[row]) && !ignored) continue;
        for (int64_t j = 0; j < c->C; j++) CHECK(dy[row * c->C + j] == 0);
    }
}

LOCAL void fuzz_loss(input *in) {
    loss_call c = {.which = (int)take_below(in, LOSSES),
                   .N = take_between(in, 1, 12),
                   .C = take_chance(in, 16) ? 512 + take_below(in, 20) : take_between(in, 1, 40),
                   .ignore = take_integer(in, -100),
                   .delta = take_number(in, 1),
                   .smoothing = take_number(in, take_chance(in, 2) ? 0.1 : 0),
                   .reduction = (bptt_reduction)(int32_t)take_integer(in, take_below(in, 2))};
    double loss = -77;
    name_case("loss %d of %d rows and %d columns", c.which, (int)c.N, (int)c.C);
    c.y = take_array(in, c.N * c.C);
    c.target = take_array(in, c.N * c.C);
    c.weight = take_chance(in, 2) ? take_array(in, c.C) : NULL;
    for (int64_t j = 0; c.weight && j < c.C; j++)
        c.weight[j] = take_chance(in, 12) ? c.weight[j] : (REAL)fabs(c.weight[j]);
    c.mask = take_chance(in, 2) ? take_flags(in, c.N) : NULL;
    c.labels = buffer_of(c.N * (int64_t)sizeof *c.labels);
    for (int64_t row = 0; row < c.N; row++) c.labels[row] = any_of(6) ? any_of(c.C) : c.ignore;
    c.labels[take_below(in, c.N)] = take_integer(in, 0);
    REAL *dy = array(c.N * c.C);
    const bptt_status status = call_loss(&c, c.N, dy, &loss);
    if (status) CHECK(loss == -77 && untouched(c.N * c.C, &dy, 1));
    else check_loss(&c, dy, loss);
    static const int64_t bad[] = {0, -1, INT64_MIN, INT64_MAX, INT64_MAX / 8};
    loss = -77;
    CHECK(c.C == 1 || call_loss(&c, bad[take_below(in, COUNT_OF(bad))], dy, &loss) != BPTT_OK);
    REAL *const all[] = {c.y, c.target, c.weight, dy};
    release_all(all, COUNT_OF(all));
    release(c.mask);
    release(c.labels);
}

/* ---- clipping and constraints -------------------------------------------------------------------------- */

LOCAL void check_clipped_norm(int64_t n, const REAL *x, const REAL *before, double most, double norm) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    if (!isfinite(norm) || norm <= most) CHECK(same_numbers(n, x, before));
    else if (most > 1e-30 && norm < 1e30) CHECK(sqrt(sum) <= most * (1 + (REAL_BITS == 32 ? 1e-4 : 1e-10)));
}

LOCAL void fuzz_clip(input *in) {
    const int64_t n = take_between(in, 1, 80);
    REAL *x = take_array(in, n), *before = array(n);
    const double limit = take_number(in, 0.5);
    double measured = -77;
    memcpy(before, x, (size_t)n * sizeof *x);
    name_case("clipping %d elements at %g", (int)n, limit);
    const int by_value = take_chance(in, 2), valid = (REAL)limit > 0;
    CHECK_STATUS(by_value ? TYPED(bptt_clip_value)(n, x, limit, &measured)
                          : TYPED(bptt_clip_norm)(n, x, limit, &measured),
                 valid ? BPTT_OK : BPTT_ERROR_THRESHOLD);
    if (!valid) CHECK(measured == -77 && same_bits(n, x, before));
    else if (!by_value) check_clipped_norm(n, x, before, limit, measured);
    for (int64_t i = 0; valid && by_value && i < n; i++) {
        const REAL most = (REAL)limit, was = before[i];
        CHECK(isnan(was) ? isnan(x[i]) : x[i] == (was > most ? most : was < -most ? -most : was));
    }
    release(x);
    release(before);
}

LOCAL void fuzz_scale(input *in) {
    const int64_t n = take_between(in, 1, 80);
    REAL *x = take_array(in, n);
    name_case("scaling %d elements", (int)n);
    CHECK_STATUS(TYPED(bptt_scale)(n, x, take_number(in, 0.5)), BPTT_OK);
    CHECK_STATUS(TYPED(bptt_scale)(-take_below(in, 3), x, 0.5), BPTT_ERROR_SIZE);
    release(x);
}

/* What a rule makes of a number. */
LOCAL int follows_rule(int rule, int masks_only, REAL was, REAL is) {
    if (rule == BPTT_RULE_ZERO) return is == 0;
    if (isnan(was)) return isnan(is);
    if (masks_only || (rule != BPTT_RULE_AT_LEAST_ZERO && rule != BPTT_RULE_AT_MOST_ZERO)) return is == was;
    return is == (rule == BPTT_RULE_AT_LEAST_ZERO ? (was > 0 ? was : 0) : (was < 0 ? was : 0));
}

LOCAL void fuzz_constrain(input *in) {
    const int64_t n = take_between(in, 1, 80);
    REAL *x = take_array(in, n), *before = array(n);
    int8_t *rules = buffer_of(n);
    const int masks_only = take_chance(in, 2);
    memcpy(before, x, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) rules[i] = (int8_t)any_of(5);
    rules[any_of(n)] = (int8_t)take_byte(in);
    name_case("constraining %d elements", (int)n);
    CHECK_STATUS(TYPED(bptt_constrain)(n, rules, masks_only, x), BPTT_OK);
    for (int64_t i = 0; i < n; i++) CHECK(follows_rule(rules[i], masks_only, before[i], x[i]));
    CHECK_STATUS(TYPED(bptt_constrain)(-take_below(in, 3), rules, masks_only, x), BPTT_ERROR_SIZE);
    release(x);
    release(before);
    release(rules);
}

/* ---- optimisers ---------------------------------------------------------------------------------------- */

enum { SGD, RMSPROP, ADAGRAD, ADAM, OPTIMIZERS };

/* The numbers of a step, sound ones in most cases. */
typedef struct {
    int which, flag;
    int64_t step;
    double lr, first, second, eps, decay;
} update_call;

LOCAL bptt_status call_update(const update_call *c, int64_t n, REAL *params, const REAL *grads, REAL *mean,
                              REAL *square) {
    if (c->which == SGD) return TYPED(bptt_sgd)(n, params, grads, mean, c->lr, c->first, c->flag, c->decay);
    if (c->which == RMSPROP) return TYPED(bptt_rmsprop)(n, params, grads, square, c->lr, c->second, c->eps, c->decay);
    if (c->which == ADAGRAD) return TYPED(bptt_adagrad)(n, params, grads, square, c->lr, c->eps, c->decay);
    return TYPED(bptt_adam)(n, params, grads, mean, square, c->step, c->lr, c->first, c->second, c->eps, c->decay,
                            c->flag);
}

/* Nothing of common size may become NaN or Inf by a step with such numbers. */
LOCAL int common_numbers(const update_call *c) {
    return c->lr <= 1 && c->first < 1 && c->second < 1 && c->eps >= 1e-8 && c->eps <= 1 && c->decay <= 1 &&
           c->step < 1000000;
}

LOCAL void fuzz_update(input *in) {
    const int64_t n = take_between(in, 1, 80);
    const update_call c = {.which = (int)take_below(in, OPTIMIZERS),
                           .flag = take_chance(in, 2),
                           .step = take_integer(in, take_between(in, 1, 200)),
                           .lr = take_number(in, 0.01),
                           .first = take_number(in, take_chance(in, 2) ? 0.9 : 0),
                           .second = take_number(in, 0.99),
                           .eps = take_number(in, 1e-8),
                           .decay = take_number(in, take_chance(in, 2) ? 0.01 : 0)};
    REAL *x[4], *before[4];
    for (int i = 0; i < 4; i++) {
        x[i] = take_array(in, n);
        for (int64_t j = 0; i == 3 && j < n; j++) x[i][j] = (REAL)fabs((double)x[i][j]);
        before[i] = memcpy(array(n), x[i], (size_t)n * sizeof(REAL));
    }
    name_case("optimiser %d, %d elements, lr %g, %g, %g, eps %g, decay %g, step %lld", c.which, (int)n, c.lr, c.first,
              c.second, c.eps, c.decay, (long long)c.step);
    const bptt_status status = call_update(&c, n, x[0], x[1], x[2], x[3]);
    CHECK(same_bits(n, x[1], before[1]));
    if (status) {
        CHECK(status == BPTT_ERROR_HYPERPARAMETER);
        for (int i = 0; i < 4; i++) CHECK(same_bits(n, x[i], before[i]));
    } else if (common_numbers(&c) && all_common(n, before[0]) && all_common(n, before[1]) && all_common(n, before[2]) &&
               all_common(n, before[3])) {
        for (int i = 0; i < 4; i++)
            for (int64_t j = 0; j < n; j++) CHECK(isfinite(x[i][j]));
    }
    CHECK(call_update(&c, -take_below(in, 3), x[0], x[1], x[2], x[3]) != BPTT_OK);
    release_all(x, 4);
    release_all(before, 4);
}

/* ---- windows ------------------------------------------------------------------------------------------- */

LOCAL void check_window(int64_t T, int64_t k1, int64_t k2, int64_t index, int64_t count) {
    bptt_window w = {-7, -7, -7}, next;
    const bptt_status status = bptt_window_at(T, k1, k2, index, &w);
    if (index < 0 || index >= count) {
        CHECK(status == BPTT_ERROR_WINDOW && w.start == -7 && w.stop == -7 && w.back == -7);
        return;
    }
    CHECK(status == BPTT_OK && w.back >= 0 && w.back <= w.start && w.start < w.stop && w.stop <= T);
    CHECK(w.stop - w.start <= k1 && w.stop - w.back <= k2 && (w.back == 0 || w.stop - w.back == k2));
    CHECK(index > 0 || w.start == 0);
    CHECK(index < count - 1 || w.stop == T);
    if (index < count - 1) CHECK(bptt_window_at(T, k1, k2, index + 1, &next) == BPTT_OK && next.start == w.stop);
}

LOCAL void fuzz_windows(input *in) {
    const int64_t T = take_integer(in, take_between(in, 1, 100)), k1 = take_integer(in, take_between(in, 1, 20)),
                  k2 = take_integer(in, k1 > INT64_MAX - 40 ? k1 : k1 + take_below(in, 40));
    int64_t count = -7;
    const bptt_status expected = T < 1 ? BPTT_ERROR_SIZE : k1 < 1 || k2 < k1 ? BPTT_ERROR_WINDOW : BPTT_OK;
    name_case("windows: T %lld, k1 %lld, k2 %lld", (long long)T, (long long)k1, (long long)k2);
    CHECK_STATUS(bptt_window_count(T, k1, k2, &count), expected);
    if (expected) {
        bptt_window w;
        CHECK(count == -7);
        CHECK_STATUS(bptt_window_at(T, k1, k2, 0, &w), expected);
        return;
    }
    CHECK(count >= 1 && count <= T);
    const int64_t indices[] = {0, count - 1, count, -1, count / 2, (int64_t)take_any_word(in)};
    for (int i = 0; i < COUNT_OF(indices); i++) check_window(T, k1, k2, indices[i], count);
}
#endif
