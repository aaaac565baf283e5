/* The network: forward and backward of every cell against the naive loops, and the gradients in double against finite
 * differences of the naive loss. */
#include <math.h>
#include <stdint.h>

#include "bptt.h"
#include "check.h"
#include "check_problem.h"
#include "problem.h"
#include "real.h"
#include "reference.h"
#include "run.h"

/* ---- against the naive loops ------------------------------------------------------------------------- */

static void check_network(bptt_spec spec, int64_t T, int64_t B, unsigned features) {
    problem p = problem_of(spec, T, B, features);
    check_against_naive(&p);
    free_problem(&p);
}

/* Every feature alone, some together, all. */
static void check_form(int which, int32_t layers, int32_t directions) {
    static const unsigned alone[] = {0,         STATE0,
                                     DSTATE1,   RESET,
                                     CARRY,     CARRY_PER_ROW,
                                     CLIP_NORM, CLIP_VALUE,
                                     TRAINING,  LATE_DY,
                                     LENGTHS,   LENGTHS | RESET | CARRY | DSTATE1,
                                     DSTATES,   DSTATES | LENGTHS | RESET};
    const shape s = {7, 3, 5, 17, 3};
    bptt_spec spec = spec_of(s, which, layers, directions);
    for (size_t i = 0; i < sizeof alone / sizeof alone[0]; i++) {
        bptt_spec other = spec;
        other.learn_state = i % 2 == 0;
        other.dropout = layers > 1 ? 0.3 : 0;
        other.recurrent_dropout = layers > 1 && i % 3 ? 0 : 0.25;
        check_network(other, s.T, s.B, alone[i]);
    }
    spec.dropout = 0.4;
    spec.recurrent_dropout = 0.2;
    spec.noise = 0.3;
    check_network(spec, s.T, s.B, ALL_FEATURES);
    spec.learn_state = 1;
    check_network(spec, 11, 4, ALL_FEATURES & ~(CARRY_PER_ROW | STATE0));
    spec.output_size = 0;
    spec.bias = 0;
    check_network(spec, 11, 4, STATE0 | DSTATE1 | DSTATES | LENGTHS | RESET);
    check_network(spec, 4, 9, STATE0 | DSTATE1 | CARRY_PER_ROW | LATE_DY);
}

static void check_forms(void) {
    for (int which = 0; which < FORMS; which++) {
        check_form(which, 1, 1);
        check_form(which, 2, 1);
        check_form(which, 1, 2);
        check_form(which, 3, 2);
    }
}

/* The smallest sizes, sizes above any tile of the kernels, products deeper than any of their blocks. */
static void check_sizes_of_all_kinds(void) {
    for (int which = 0; which < FORMS; which++) {
        for (int32_t directions = 1; directions < 3; directions++) {
            check_network(spec_of((shape){.I = 1, .H = 1, .O = 1}, which, 1, directions), 1, 1, STATE0 | DSTATE1);
            check_network(spec_of((shape){.I = 1, .H = 1}, which, 2, directions), 3, 1, RESET);
        }
        bptt_spec wide = spec_of((shape){.I = 9, .H = 33, .O = 35}, which, 2, 1 + which % 2);
        check_network(wide, 40, 13, STATE0 | DSTATE1 | LENGTHS | RESET);
        check_network(wide, 40, 13, ALL_FEATURES & ~(CARRY_PER_ROW | LENGTHS | CLIP_NORM | CLIP_VALUE));
    }
    check_network(spec_of((shape){.I = 301, .H = 267, .O = 1}, TANH, 1, 1), 2, 3, STATE0);
    check_network(spec_of((shape){.I = 301, .H = 267, .O = 1}, LSTM, 1, 1), 2, 3, STATE0 | RESET);
    check_network(spec_of((shape){.I = 3, .H = 139, .O = 1}, GRU, 2, 2), 2, 3, STATE0);
    check_network(spec_of((shape){.I = 271, .H = 7, .O = 141}, RESET_BEFORE_GRU, 2, 1), 3, 5, LENGTHS);
    check_network(spec_of((shape){.I = 2, .H = 3, .O = 2}, LSTM, 9, 2), 4, 2, LENGTHS | DSTATE1);
}

/* Units whose gradients would lie a multiple of 512 bytes apart, so that their rows are spread: with and without what
 * goes over rows one by one, and a batch of two shards. */
static void check_spread_rows(void) {
    enum { UNITS = 512 / sizeof(REAL) };
    for (int which = 0; which < FORMS; which++) {
        for (int32_t directions = 1; directions < 3; directions++) {
            bptt_spec spec = spec_of((shape){.I = 3, .H = UNITS, .O = directions}, which, 2, directions);
            check_network(spec, 3, 2, 0);
            spec.dropout = 0.3;
            spec.recurrent_dropout = 0.25;
            check_network(spec, 3, 2, ALL_FEATURES);
        }
    }
    check_network(spec_of((shape){.I = 2, .H = UNITS}, TANH, 1, 1), 61, 17, 0);
    check_network(spec_of((shape){.I = 2, .H = UNITS}, GRU, 1, 1), 61, 17, 0);
}

/* Segments that are longer than a chunk of steps and end within one. */
static void check_long_segments(void) {
    problem p = problem_of(spec_of((shape){.I = 3, .H = 83, .O = 2}, LSTM, 2, 1), 23, 64, RESET);
    run r = run_of(&p, 1);
    check_segment(&r, 10);
    close_run(&r);
    free_problem(&p);
}

/* ---- gradients against finite differences ---------------------------------------------------------- */

/* (L(v + step) - L(v - step)) / (2 step) for one input v of the problem. */
static double central_difference(const problem *p, const trace *anchor, double *v) {
    const double step = 1e-5, unmoved = *v;
    *v = unmoved + step;
    const double above = naive_loss(p, anchor);
    *v = unmoved - step;
    const double below = naive_loss(p, anchor);
    *v = unmoved;
    return (above - below) / (2 * step);
}

/* Every stride-th element, with its sign, within 1e-7 of the largest. */
static void check_differences(const problem *p, const trace *anchor, int64_t n, int64_t stride, double *values,
                              const REAL *gradient) {
    const int64_t checked = (n + stride - 1) / stride;
    double *expected = zeros(checked);
    REAL *actual = array(checked);
    for (int64_t i = 0; i < checked; i++) {
        expected[i] = central_difference(p, anchor, values + i * stride);
        actual[i] = gradient[i * stride];
    }
    CHECK_CLOSE(checked, actual, expected, 1e-7);
    release(expected);
    release(actual);
}

static void check_against_differences(bptt_spec spec, int64_t T, int64_t B, unsigned features, int64_t stride) {
    problem p = problem_of(spec, T, B, features);
    run r = run_of(&p, 1);
    trace anchor = naive_forward(&p, NULL);
    for (int64_t i = 0; i < r.sizes.params; i++) r.grads[i] -= (REAL)grads_before(i);
    check_differences(&p, &anchor, r.sizes.params, stride, p.params, r.grads);
    check_differences(&p, &anchor, input_count(&r), stride, p.x, r.dx);
    if (p.state0) check_differences(&p, &anchor, r.sizes.state, stride, p.state0, r.dstate0);
    free_trace(&anchor);
    close_run(&r);
    free_problem(&p);
}

static void check_finite_differences(void) {
    const unsigned features[] = {STATE0, RESET, DSTATE1 | LATE_DY, CARRY | RESET | TRAINING,
                                 STATE0 | CARRY_PER_ROW | RESET | DSTATE1 | LATE_DY | LENGTHS | DSTATES};
    for (int which = 0; which < FORMS; which++)
        for (size_t i = 0; i < sizeof features / sizeof features[0]; i++)
            for (int32_t directions = 1; directions < 3; directions++) {
                check_against_differences(spec_of((shape){.I = 1, .H = 1, .O = 1}, which, 1, directions), 1, 1,
                                          features[i], 1);
                bptt_spec spec = spec_of((shape){.I = 2, .H = 4, .O = 3}, which, 1 + i % 3, directions);
                spec.learn_state = 1;
                spec.dropout = spec.recurrent_dropout = spec.noise = 0.3;
                check_against_differences(spec, 5, 3, features[i], 5);
            }
}

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    check_forms();
    check_sizes_of_all_kinds();
    check_spread_rows();
    check_long_segments();
    if (REAL_BITS == 64 && is_best_set() && !SANITIZED) check_finite_differences();
    return end_of_checks();
}
