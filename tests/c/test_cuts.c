/* What must not pass from step to step, NaN included (resets, carry 0, lengths), and what counts as zero (dy). */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "bptt.h"
#include "check.h"
#include "problem.h"
#include "real.h"
#include "run.h"

static int all_finite(int64_t n, const REAL *values) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(values[i])) return 0;
    return 1;
}

static bptt_spec cut_spec(int which) { return spec_of((shape){.I = 2, .H = 5, .O = 2}, which, 2, 1); }

/* A reset keeps a NaN in the entering state out of the step and of all gradients. */
static void check_reset_stops_nan(int which) {
    problem p = problem_of(cut_spec(which), 4, 3, STATE0);
    for (int64_t i = 0; i < state_size(&p); i++) p.state0[i] = NAN;
    p.reset = memset(buffer_of(12), 0, 12);
    memset(p.reset, 1, 3);
    run r = run_of(&p, 1);
    CHECK(all_finite(r.sizes.output, r.y));
    CHECK(all_finite(r.sizes.params, r.grads));
    CHECK(all_finite(r.sizes.state, r.dstate0));
    close_run(&r);
    free_problem(&p);
}

static int finite_between(const REAL *values, int64_t begin, int64_t end) {
    return all_finite(end - begin, values + begin);
}

/* A step of one row between two resets has NaN in x and dy: nothing of it reaches the gradients of W_hh and of the
 * peepholes of i and f, whatever the width and the number of rows. */
static void check_reset_stops_nan_in_gradients(int which, int64_t H, int64_t B, int32_t directions) {
    problem p = problem_of(spec_of((shape){.I = 2, .H = H, .O = 2}, which, 1, directions), 4, B, 0);
    const int64_t cut = 2 * B + B / 2; /* step 2 of a row */
    p.reset = memset(buffer_of(4 * B), 0, (size_t)(4 * B));
    p.reset[cut] = p.reset[cut + B] = 1;
    for (int64_t i = 0; i < 2; i++) p.x[2 * cut + i] = p.dy[2 * cut + i] = NAN;
    run r = run_of(&p, 1);
    for (int64_t i = 0; i < directions; i++) {
        const layer_dir_tensors w = layer_dir_tensors_of(&p.spec, i);
        CHECK(isnan(r.grads[w.ih]));
        CHECK(finite_between(r.grads, w.hh, w.b_ih));
        CHECK(finite_between(r.grads, w.peephole, w.end == w.peephole ? w.end : w.end - H));
    }
    for (int64_t i = 0; i < 8 * B; i++)
        if (i / 2 != cut) CHECK(isfinite(r.y[i]) && isfinite(r.dx[i]));
    close_run(&r);
    free_problem(&p);
}

/* In the reverse direction a reset keeps a NaN of the next sequence out of the last step of this one. */
static void check_reset_stops_nan_reverse(int which) {
    bptt_spec spec = cut_spec(which);
    spec.bidirectional = 1;
    problem p = problem_of(spec, 4, 3, 0);
    p.reset = memset(buffer_of(12), 0, 12);
    memset(p.reset + 6, 1, 3);
    for (int64_t i = 12; i < 18; i++) p.x[i] = NAN; /* step 2 */
    memset(p.dy + 12, 0, 12 * sizeof *p.dy);
    run r = run_of(&p, 1);
    CHECK(all_finite(12, r.y));
    CHECK(isnan(r.y[12]));
    CHECK(all_finite(12, r.dx));
    close_run(&r);
    free_problem(&p);
}

/* carry[1] = 0 keeps a NaN gradient of later steps out of steps 0 and 1. */
static void check_carry_stops_nan(int which) {
    problem p = problem_of(cut_spec(which), 4, 3, CARRY);
    for (int64_t t = 0; t < 4; t++) p.carry[t] = t != 1;
    for (int64_t i = 12; i < 18; i++) p.dy[i] = NAN; /* step 2 */
    run r = run_of(&p, 1);
    CHECK(all_finite(12, r.dx));
    CHECK(isnan(r.dx[12]));
    CHECK(!all_finite(r.sizes.params, r.grads));
    close_run(&r);
    free_problem(&p);
}

/* Beyond a row's length x, dy, dstates, reset and carry are not read, and the outputs, states and dx are zero. */
static void check_nothing_beyond_lengths(int which, int32_t directions) {
    bptt_spec spec = cut_spec(which);
    spec.bidirectional = directions == 2;
    problem p = problem_of(spec, 6, 4, LENGTHS | RESET | CARRY_PER_ROW | STATE0 | DSTATE1 | DSTATES);
    const int64_t H = spec.hidden_size;
    run clean = run_of(&p, 1);
    for (int64_t i = 0; i < p.T * p.B; i++) {
        const int64_t t = i / p.B, row = i % p.B;
        if (t >= p.lengths[row] - 1) p.carry[i] = NAN;
        if (t < p.lengths[row]) continue;
        p.reset[i] = !p.reset[i];
        for (int part = 0; part < parts_of(&spec); part++)
            for (int64_t j = 0; j < 2 * directions * H; j++) { /* of two layers */
                const int64_t at = states_at(&p, j / H, part, t, row) + j % H;
                p.dstates[at] = NAN;
                CHECK(clean.states[at] == 0);
            }
        p.x[2 * i] = p.x[2 * i + 1] = p.dy[2 * i] = p.dy[2 * i + 1] = NAN;
        CHECK(clean.y[2 * i] == 0 && clean.y[2 * i + 1] == 0);
        CHECK(clean.dx[2 * i] == 0 && clean.dx[2 * i + 1] == 0);
    }
    run corrupted = run_of(&p, 1);
    check_same(&clean, &corrupted);
    close_run(&clean);
    close_run(&corrupted);
    free_problem(&p);
}

/* dy = NULL gives the same as zeros. */
static void check_no_dy(int which, int32_t directions, int64_t T, int64_t B) {
    bptt_spec spec = spec_of((shape){.I = 3, .H = 4, .O = 3}, which, 2, directions);
    problem p = problem_of(spec, T, B, DSTATE1);
    memset(p.dy, 0, (size_t)(T * B * 3) * sizeof *p.dy);
    run zero = run_of(&p, 1), none = open_run(&p, 1), given = none;
    given.dy = NULL;
    forward_backward(&given);
    check_same(&zero, &none);
    close_run(&zero);
    close_run(&none);
    free_problem(&p);
}

/* dy_start = T: dy has no steps. */
static void check_late_dy(int which) {
    problem p = problem_of(cut_spec(which), 5, 2, DSTATE1);
    run none = open_run(&p, 1);
    release(none.dy);
    none.dy = NULL;
    forward_backward(&none);
    p.dy_start = 5;
    run late = run_of(&p, 1);
    check_same(&none, &late);
    close_run(&none);
    close_run(&late);
    free_problem(&p);
}

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    for (int which = 0; which < FORMS; which++) {
        name_case("cuts of form %d", which);
        check_reset_stops_nan_reverse(which);
        check_reset_stops_nan(which);
        check_carry_stops_nan(which);
        check_late_dy(which);
        for (int32_t directions = 1; directions < 3; directions++) {
            for (int64_t H = 1; H <= 20; H++)
                check_reset_stops_nan_in_gradients(which, H, H % 5 ? H % 7 + 1 : H, directions);
            check_nothing_beyond_lengths(which, directions);
            check_no_dy(which, directions, 5, 2);
            check_no_dy(which, directions, 64, 16); /* two shards */
        }
    }
    return end_of_checks();
}
