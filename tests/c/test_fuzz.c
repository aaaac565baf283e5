/* Random calls: networks and options of all kinds on small sizes, against the naive loops in both types; then arguments
 * of which any may be wild, which must be refused the same way by all functions, or run. */
#define REAL_BITS 32
#include "real.h"

#include "run.h"

#include "network.h"

#include "wild.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "real.h"

#include "run.h"

#include "network.h"

#include "wild.h"

static shape random_shape(void) {
    static const int64_t sizes[] = {1, 2, 3, 5, 8, 11, 17};
    const int64_t kinds = sizeof sizes / sizeof sizes[0];
    return (shape){.T = 1 + any_of(12),
                   .B = 1 + any_of(9),
                   .I = sizes[any_of(kinds)],
                   .H = sizes[any_of(kinds)],
                   .O = any_of(3) ? sizes[any_of(kinds)] : 0};
}

static bptt_spec random_spec(shape s) {
    bptt_spec spec = spec_of(s, (int)any_of(FORMS), (int32_t)any_of(4), (int32_t)(1 + any_of(2)));
    spec.bias = (int32_t)any_of(2);
    spec.learn_state = (int32_t)any_of(2);
    spec.dropout = any_of(2) ? 0 : 0.3;
    spec.recurrent_dropout = any_of(2) ? 0 : 0.3;
    return spec;
}

/* about a third of all features */
static unsigned random_features(void) {
    unsigned features = 0;
    for (unsigned bit = 1; bit <= ALL_FEATURES; bit *= 2) features |= any_of(3) ? 0 : bit;
    return features;
}

static void check_random_problem(void) {
    const shape s = random_shape();
    problem p = problem_of(random_spec(s), s.T, s.B, random_features());
    trace t = naive_forward(&p, NULL);
    gradients g = naive_backward(&p, &t);
    check_problem_f32(&p, &t, &g);
    check_problem_f64(&p, &t, &g);
    free_gradients(&g);
    free_trace(&t);
    free_problem(&p);
}

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    for (int i = 0; i < 400; i++) check_random_problem();
    for (int i = 0; i < 3000; i++) {
        check_wild_f32();
        check_wild_f64();
    }
    CHECK(wild_calls_f32 > 100 && wild_calls_f64 > 100);
    return end_of_checks();
}
