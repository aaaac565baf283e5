/* Dropout and noise: when they act, what its masks depend on, how often it drops, that backward uses the masks of
 * forward, and finite differences of the core's own loss. That it multiplies what it should is checked by test_core.c.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "bptt.h"
#include "check.h"
#include "problem.h"
#include "real.h"
#include "run.h"

static bptt_spec dropping_spec(int which, int32_t directions) {
    bptt_spec spec = spec_of((shape){.I = 3, .H = 9, .O = 4}, which, 3, directions);
    spec.dropout = 0.4;
    spec.recurrent_dropout = 0.3;
    spec.noise = 0.2;
    return spec;
}

/* Where dropout does not act (rates of 0, or not training) the results are the same to the bit, whatever the seed. */
static void check_idle(int which, int32_t directions) {
    problem p = problem_of(dropping_spec(which, directions), 6, 5, STATE0 | DSTATE1 | RESET), q = p;
    q.spec.dropout = q.spec.recurrent_dropout = q.spec.noise = 0;
    q.training = 1;
    p.seed = 99;
    p.first_step = 3;
    run untrained = run_of(&p, 1), no_rates = run_of(&q, 1);
    q.training = 0;
    run none = run_of(&q, 1);
    check_same(&none, &untrained);
    check_same(&none, &no_rates);
    close_run(&none);
    close_run(&untrained);
    close_run(&no_rates);
    free_problem(&p);
}

/* The same seed gives the same masks again; another seed or another first step gives others. */
static void check_seeds(int which, int32_t directions) {
    problem p = problem_of(dropping_spec(which, directions), 6, 5, TRAINING), q = p, s = p, untrained = p;
    q.seed++;
    s.first_step++;
    untrained.training = 0;
    run one = run_of(&p, 1), again = run_of(&p, 1), other = run_of(&q, 1);
    run shifted = run_of(&s, 1), none = run_of(&untrained, 1);
    check_same(&one, &again);
    run *const different[] = {&other, &shifted, &none};
    for (size_t i = 0; i < sizeof different / sizeof different[0]; i++) {
        CHECK(!same_bits(one.sizes.output, one.y, different[i]->y));
        CHECK(!same_bits(input_count(&one), one.dx, different[i]->dx));
    }
    run *const all[] = {&one, &again, &other, &shifted, &none};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) close_run(all[i]);
    free_problem(&p);
}

/* A sequence in two calls, first_step continued, equals the sequence in one call: the input mask differs from step to
 * step, the recurrent mask is the same at all. */
static void check_first_step(int which) {
    problem p = problem_of(dropping_spec(which, 1), 8, 5, TRAINING | STATE0), head = p, tail = p;
    head.T = 3;
    tail.T = 5;
    tail.x += 3 * p.B * 3;
    tail.first_step += 3;
    run whole = run_of(&p, 1), of_head = open_run(&head, 1), of_tail = open_run(&tail, 1);
    CHECK_STATUS(forward_run(&of_head), BPTT_OK);
    memcpy(of_tail.state0, of_head.state1, (size_t)of_head.sizes.state * sizeof(REAL));
    CHECK_STATUS(forward_run(&of_tail), BPTT_OK);
    CHECK(same_bits(of_head.sizes.output, of_head.y, whole.y));
    CHECK(same_bits(of_tail.sizes.output, of_tail.y, whole.y + of_head.sizes.output));
    CHECK(same_bits(of_tail.sizes.state, of_tail.state1, whole.state1));
    close_run(&whole);
    close_run(&of_head);
    close_run(&of_tail);
    free_problem(&p);
}

/* first_step may be any number: steps beyond the largest count on from the smallest (UBSan sees an overflow). */
static void check_largest_first_step(void) {
    problem p = problem_of(dropping_spec(LSTM, 1), 6, 5, TRAINING), next = p;
    p.first_step = INT64_MAX;
    next.T = 5;
    next.first_step = INT64_MIN;
    run r = run_of(&p, 1); /* forward and backward */
    double *mask = measure_input_mask(&p), *next_mask = measure_input_mask(&next);
    const int64_t step = p.B * 9, layer = 6 * step;
    for (int64_t i = 1; i < 3; i++)
        CHECK(memcmp(mask + i * layer + step, next_mask + i * 5 * step, (size_t)(5 * step) * sizeof *mask) == 0);
    release(mask);
    release(next_mask);
    close_run(&r);
    free_problem(&p);
}

/* A dropped element has no effect at all, even if it is NaN. */
static void check_dropped_nan(int which) {
    problem p = problem_of(dropping_spec(which, 1), 1, 5, TRAINING | STATE0);
    const int64_t n = 3 * p.B * 9;
    int64_t dropped = 0;
    for (int64_t i = 0; i < n; i++) {
        if (p.recurrent_mask[i] != 0) continue;
        p.state0[i] = NAN;
        dropped++;
    }
    run r = run_of(&p, 1);
    CHECK(dropped > 0);
    for (int64_t i = 0; i < r.sizes.output; i++) CHECK(isfinite(r.y[i]));
    for (int64_t i = 0; i < r.sizes.params; i++) CHECK(isfinite(r.grads[i]));
    for (int64_t i = 0; i < n; i++) CHECK(isfinite(r.dstate0[i]));
    close_run(&r);
    free_problem(&p);
}

static void check_networks(void) {
    check_largest_first_step();
    for (int which = 0; which < FORMS; which++) {
        for (int32_t directions = 1; directions < 3; directions++) {
            check_idle(which, directions);
            check_seeds(which, directions);
        }
        check_first_step(which);
        const int direct = forms[which].cell == BPTT_CELL_GRU || which == LEAKY || which == TRAINED_LEAK;
        if (!direct) check_dropped_nan(which); /* terms such as z*h are not dropped */
    }
}

/* ---- the masks ----------------------------------------------------------------------------------------- */

enum { ROWS = 60, STEPS = 70, UNITS = 13 };

/* A problem with the masks that these options give. */
static problem masks_of(double rate, uint64_t seed, int64_t first_step) {
    bptt_spec spec = spec_of((shape){.I = 1, .H = UNITS}, TANH, 3, 2);
    spec.dropout = spec.recurrent_dropout = rate;
    problem p = problem_of(spec, STEPS, ROWS, 0);
    p.seed = seed;
    p.first_step = first_step;
    p.input_mask = measure_input_mask(&p);
    p.recurrent_mask = measure_recurrent_mask(&p);
    return p;
}

/* Of n factors, 0 or 1/(1-rate) with the rate to 16 bits, a share of 1-rate is not 0, to five standard deviations. */
static void check_share(int64_t n, const double *mask, int64_t stride, double rate) {
    const double off = 1.01 / (1 << 17) / (1 - rate);
    int64_t kept = 0, wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        const double factor = mask[i * stride];
        kept += factor != 0;
        wrong += factor != 0 && fabs(factor * (1 - rate) - 1) > off;
    }
    CHECK(wrong == 0);
    CHECK(fabs((double)kept - (double)n * (1 - rate)) <= 5 * sqrt((double)n * rate * (1 - rate)));
}

/* Two masks of n elements agree as often as independent ones. */
static void check_independent(int64_t n, const double *a, const double *b, double rate) {
    const double chance = rate * rate + (1 - rate) * (1 - rate);
    int64_t agree = 0;
    for (int64_t i = 0; i < n; i++) agree += (a[i] != 0) == (b[i] != 0);
    CHECK(fabs((double)agree - (double)n * chance) <= 5 * sqrt((double)n * chance * (1 - chance)));
}

/* Shares over all elements and for each hidden unit and step; independence between layers, steps, rows and units. */
static void check_masks(double rate) {
    const int64_t width = 2 * UNITS, step = ROWS * width, layer = STEPS * step, each = ROWS * UNITS;
    problem p = masks_of(rate, 5, 17);
    const double *in = p.input_mask + layer, *recurrent = p.recurrent_mask;
    name_case("masks of dropout %g", rate);
    check_share(2 * layer, in, 1, rate);
    for (int64_t j = 0; j < width; j++) check_share(2 * STEPS * ROWS, in + j, width, rate);
    for (int64_t t = 0; t < 2 * STEPS; t++) check_share(step, in + t * step, 1, rate);
    check_independent(layer, in, in + layer, rate);
    check_independent(layer - step, in, in + step, rate);
    check_independent(layer - width, in, in + width, rate);
    for (int64_t distance = 1; distance < 9; distance++) check_independent(layer - distance, in, in + distance, rate);
    check_share(6 * each, recurrent, 1, rate);
    for (int64_t i = 0; i < 5; i++) check_independent(each, recurrent + i * each, recurrent + (i + 1) * each, rate);
    check_independent(5 * each, recurrent, recurrent + UNITS, rate);
    check_independent(5 * each, recurrent, recurrent + 1, rate);
    check_independent(each, recurrent, in, rate);
    free_problem(&p);
}

/* Another seed gives independent masks; another first step shifts the input mask and leaves the recurrent one. */
static void check_seed_and_step(void) {
    const int64_t step = ROWS * 2 * UNITS, layer = STEPS * step, recurrent = 6 * ROWS * UNITS;
    problem p = masks_of(0.5, 5, 17), other = masks_of(0.5, 6, 17), later = masks_of(0.5, 5, 20);
    name_case("dropout's seed and first step");
    check_independent(layer, p.input_mask + layer, other.input_mask + layer, 0.5);
    check_independent(recurrent, p.recurrent_mask, other.recurrent_mask, 0.5);
    const size_t shared = (size_t)(layer - 3 * step) * sizeof(double), all = (size_t)recurrent * sizeof(double);
    CHECK(memcmp(p.input_mask + layer + 3 * step, later.input_mask + layer, shared) == 0);
    CHECK(memcmp(p.recurrent_mask, later.recurrent_mask, all) == 0);
    free_problem(&p);
    free_problem(&other);
    free_problem(&later);
}

/* ---- noise ------------------------------------------------------------------------------------------------ */

/* The mean of products of noise values that lie so far apart. */
static double mean_product(int64_t n, const double *noise, int64_t apart) {
    double sum = 0;
    for (int64_t i = 0; i + apart < n; i++) sum += noise[i] * noise[i + apart];
    return sum / (double)(n - apart);
}

/* Standard normal times the scale, other values for each unit, row, step, direction and layer. */
static void check_noise(void) {
    bptt_spec spec = spec_of((shape){.I = 3, .H = 16}, TANH, 2, 2);
    spec.noise = 0.2;
    problem p = problem_of(spec, 20, 8, TRAINING);
    const int64_t row = 16, step = p.B * row, layer_dir = p.T * step, n = 4 * layer_dir;
    const int64_t apart[] = {1, row, step, layer_dir, 2 * layer_dir};
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += p.noise[i];
    CHECK(fabs(sum / (double)n) < 0.01);
    CHECK(fabs(mean_product(n, p.noise, 0) - 0.04) < 0.002);
    for (size_t i = 0; i < sizeof apart / sizeof apart[0]; i++) CHECK(fabs(mean_product(n, p.noise, apart[i])) < 0.002);
    free_problem(&p);
}

/* ---- finite differences of the core's own loss, in double ------------------------------------------------- */

static double loss_of(const run *r) {
    double loss = 0;
    for (int64_t i = 0; i < r->sizes.output; i++) loss += (double)r->dy[i] * (double)r->y[i];
    for (int64_t i = 0; i < r->sizes.state; i++) loss += (double)r->dstate1[i] * (double)r->state1[i];
    return loss;
}

/* The loss with one value moved by `step`. */
static double loss_beside(run *r, REAL *value, double step) {
    const REAL unmoved = *value;
    *value = unmoved + (REAL)step;
    CHECK_STATUS(forward_run(r), BPTT_OK);
    *value = unmoved;
    return loss_of(r);
}

/* With a fixed seed dropout is a function like any other, and backward gives its gradient. */
static void check_core_differences(int64_t n, int64_t stride, run *r, REAL *values, const REAL *gradient) {
    const int64_t checked = (n + stride - 1) / stride;
    double *expected = zeros(checked);
    REAL *actual = array(checked);
    for (int64_t i = 0; i < checked; i++) {
        REAL *value = values + i * stride;
        expected[i] = (loss_beside(r, value, 1e-5) - loss_beside(r, value, -1e-5)) / 2e-5;
        actual[i] = gradient[i * stride];
    }
    CHECK_CLOSE(checked, actual, expected, 1e-7);
    release(expected);
    release(actual);
}

static void check_differences(int which, int32_t directions, unsigned features) {
    problem p = problem_of(dropping_spec(which, directions), 5, 3, features | TRAINING | STATE0 | DSTATE1);
    run r = run_of(&p, 1);
    for (int64_t i = 0; i < r.sizes.params; i++) r.grads[i] -= (REAL)grads_before(i);
    check_core_differences(r.sizes.params, 7, &r, r.params, r.grads);
    check_core_differences(input_count(&r), 1, &r, r.x, r.dx);
    check_core_differences(r.sizes.state, 3, &r, r.state0, r.dstate0);
    close_run(&r);
    free_problem(&p);
}

/* What is measured in double by functions above the kernels, and so under one set. */
static void check_in_double(void) {
    check_masks(0.5);
    check_masks(0.1);
    check_masks(0.93);
    check_seed_and_step();
    for (int which = 0; !SANITIZED && which < FORMS; which++)
        for (int32_t directions = 1; directions < 3; directions++) {
            check_differences(which, directions, 0);
            check_differences(which, directions, LENGTHS | RESET);
        }
}

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    check_networks();
    check_noise();
    if (REAL_BITS == 64 && is_best_set()) check_in_double();
    return end_of_checks();
}
