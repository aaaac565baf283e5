/* Dropout in both types, and the choice itself: shares, independence, and finite differences of the core's own loss. */
#define REAL_BITS 32
#include "real.h"

#include "run.h"

#include "dropout.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "real.h"

#include "run.h"

#include "dropout.h"

/* ---- the choice ----------------------------------------------------------------------------------------- */

enum { ROWS = 60, STEPS = 70, UNITS = 13 };

static problem choice_of(double rate, uint64_t seed, int64_t first_step) {
    bptt_spec spec = spec_of((shape){.I = 1, .H = UNITS}, TANH, 3, 2);
    spec.dropout = spec.recurrent_dropout = rate;
    problem p = problem_of(spec, STEPS, ROWS, 0);
    p.seed = seed;
    p.first_step = first_step;
    p.input_kept = measure_inputs(&p);
    p.recurrent_kept = measure_recurrent(&p);
    return p;
}

/* of n factors, 0 or 1/(1-rate) with the rate to 16 bits, a share of 1-rate is kept, to five standard deviations */
static void check_share(int64_t n, const double *kept, int64_t stride, double rate) {
    const double off = 1.01 / (1 << 17) / (1 - rate);
    int64_t some = 0, wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        const double factor = kept[i * stride];
        some += factor != 0;
        wrong += factor != 0 && fabs(factor * (1 - rate) - 1) > off;
    }
    CHECK(wrong == 0);
    CHECK(fabs((double)some - (double)n * (1 - rate)) <= 5 * sqrt((double)n * rate * (1 - rate)));
}

/* two lists of n choices agree as often as independent ones would */
static void check_independent(int64_t n, const double *a, const double *b, double rate) {
    const double chance = rate * rate + (1 - rate) * (1 - rate);
    int64_t agree = 0;
    for (int64_t i = 0; i < n; i++) agree += (a[i] != 0) == (b[i] != 0);
    CHECK(fabs((double)agree - (double)n * chance) <= 5 * sqrt((double)n * chance * (1 - chance)));
}

/* Over all, for each unit, row and step; and from layer to layer, step to step, row to row and unit to unit. */
static void check_choice(double rate) {
    const int64_t width = 2 * UNITS, step = ROWS * width, layer = STEPS * step, unit = ROWS * UNITS;
    problem p = choice_of(rate, 5, 17);
    const double *in = p.input_kept + layer, *own = p.recurrent_kept;
    name_case("the choice of dropout %g", rate);
    check_share(2 * layer, in, 1, rate);
    for (int64_t j = 0; j < width; j++) check_share(2 * STEPS * ROWS, in + j, width, rate);
    for (int64_t t = 0; t < 2 * STEPS; t++) check_share(step, in + t * step, 1, rate);
    check_independent(layer, in, in + layer, rate);
    check_independent(layer - step, in, in + step, rate);
    check_independent(layer - width, in, in + width, rate);
    for (int64_t distance = 1; distance < 9; distance++) check_independent(layer - distance, in, in + distance, rate);
    check_share(6 * unit, own, 1, rate);
    for (int64_t u = 0; u < 5; u++) check_independent(unit, own + u * unit, own + (u + 1) * unit, rate);
    check_independent(5 * unit, own, own + UNITS, rate);
    check_independent(5 * unit, own, own + 1, rate);
    check_independent(unit, own, in, rate);
    free_problem(&p);
}

/* another seed chooses anew; another first step shifts the choice of inputs and leaves that of recurrent units */
static void check_seed_and_step(void) {
    const int64_t step = ROWS * 2 * UNITS, layer = STEPS * step, recurrent = 6 * ROWS * UNITS;
    problem p = choice_of(0.5, 5, 17), other = choice_of(0.5, 6, 17), later = choice_of(0.5, 5, 20);
    name_case("dropout's seed and first step");
    check_independent(layer, p.input_kept + layer, other.input_kept + layer, 0.5);
    check_independent(recurrent, p.recurrent_kept, other.recurrent_kept, 0.5);
    CHECK(same_bits_f64(layer - 3 * step, p.input_kept + layer + 3 * step, later.input_kept + layer));
    CHECK(same_bits_f64(recurrent, p.recurrent_kept, later.recurrent_kept));
    free_problem(&p);
    free_problem(&other);
    free_problem(&later);
}

/* ---- the core's own loss ---------------------------------------------------------------------------------- */

static double loss_of(const run_f64 *r) {
    return dot(r->sizes.output, r->dy, r->y) + dot(r->sizes.state, r->dstate1, r->state1);
}

static double loss_beside(run_f64 *r, double *v, double beside) {
    const double kept = *v;
    *v = kept + beside;
    CHECK_STATUS(forward_f64(r), BPTT_OK);
    *v = kept;
    return loss_of(r);
}

/* with the seed held, dropout is a function like any other: its gradient is that of backward */
static void check_core_differences(int64_t n, int64_t stride, run_f64 *r, double *values, const double *gradient) {
    double *expected = zeros(n / stride + 1), *actual = zeros(n / stride + 1);
    for (int64_t i = 0; i < n; i += stride) {
        expected[i / stride] = (loss_beside(r, values + i, 1e-5) - loss_beside(r, values + i, -1e-5)) / 2e-5;
        actual[i / stride] = gradient[i];
    }
    CHECK_CLOSE(n / stride + 1, actual, expected, 1e-7);
    release(expected);
    release(actual);
}

static void check_against_core(int which, int32_t directions, unsigned features) {
    problem p = problem_of(dropping_spec_f64(which, directions), 5, 3, features | TRAINING | STATE0 | DSTATE1);
    run_f64 r = run_of_f64(&p, 1);
    for (int64_t i = 0; i < r.sizes.params; i++) r.grads[i] -= grads_before_f64(i);
    check_core_differences(r.sizes.params, 7, &r, r.params, r.grads);
    check_core_differences(inputs_f64(&r), 1, &r, r.x, r.dx);
    check_core_differences(r.sizes.state, 3, &r, r.state0, r.dstate0);
    close_f64(&r);
    free_problem(&p);
}

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    check_dropout_f32();
    check_dropout_f64();
    check_choice(0.5);
    check_choice(0.1);
    check_choice(0.93);
    check_seed_and_step();
    for (int which = 0; which < FORMS; which++)
        for (int32_t directions = 1; directions < 3; directions++) {
            check_against_core(which, directions, 0);
            check_against_core(which, directions, LENGTHS | RESET);
        }
    return end_of_checks();
}
