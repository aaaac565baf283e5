/* The network: forward, backward, tapes, single steps, threads and the poll, in both types. */
#define REAL_BITS 32
#include "real.h"

#include "run.h"

#include "network.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "real.h"

#include "run.h"

#include "network.h"

/* ---- gradients against finite differences ---------------------------------------------------------- */

/* (L(v + step) - L(v - step)) / 2 step for one input v of the problem */
static double central_difference(const problem *p, const double *anchor, double *v) {
    const double step = 1e-5, kept = *v;
    *v = kept + step;
    const double above = naive_loss(p, anchor);
    *v = kept - step;
    const double below = naive_loss(p, anchor);
    *v = kept;
    return (above - below) / (2 * step);
}

/* every stride-th element, signs and all: an element is off by less than 1e-7 of the largest */
static void check_differences(const problem *p, const double *anchor, int64_t n, int64_t stride, double *values,
                              const double *gradient) {
    const int64_t checked = (n + stride - 1) / stride;
    double *expected = zeros(checked), *actual = zeros(checked);
    for (int64_t i = 0; i < checked; i++) {
        expected[i] = central_difference(p, anchor, values + i * stride);
        actual[i] = gradient[i * stride];
    }
    CHECK_CLOSE(checked, actual, expected, 1e-7);
    free(expected);
    free(actual);
}

static void check_against_differences(shape s, int cell, unsigned features, int64_t stride) {
    problem p = problem_of(s, cell, 1, features | STATE0);
    run_f64 r = run_of_f64(&p, 1);
    double *hidden = zeros(r.sizes.tape), *y = zeros(r.sizes.output);
    naive_forward(&p, NULL, hidden, y);
    for (int64_t i = 0; i < r.sizes.params; i++) r.grads[i] -= grads_before_f64(i);
    check_differences(&p, hidden, r.sizes.params, stride, p.params, r.grads);
    check_differences(&p, hidden, s.T * s.B * s.I, stride, p.x, r.dx);
    check_differences(&p, hidden, r.sizes.state, stride, p.state0, r.dstate0);
    free(hidden);
    free(y);
    close_f64(&r);
    free_problem(&p);
}

static void check_gradients(void) {
    const unsigned features[] = {0, RESET, DSTATE1 | LATE_DY, CARRY | RESET, CARRY_PER_ROW | RESET | DSTATE1 | LATE_DY};
    for (int cell = BPTT_CELL_TANH; cell <= BPTT_CELL_IDENTITY; cell++) {
        for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
            check_against_differences((shape){1, 1, 1, 1, 1}, cell, features[i], 1);
            check_against_differences((shape){5, 3, 2, 4, 3}, cell, features[i], 1);
            check_against_differences((shape){7, 3, 5, 17, 0}, cell, features[i], 7);
        }
        check_against_differences((shape){40, 13, 9, 33, 35}, cell, ALL_FEATURES & ~(CLIP_NORM | CLIP_VALUE), 401);
    }
}

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    check_network_f32();
    check_network_f64();
    check_gradients();
    return end_of_checks();
}
