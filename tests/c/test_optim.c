/* The optimisers against naive loops in double, several steps each. */
#include <math.h>
#include <stdint.h>

#include "bptt.h"
#include "check.h"
#include "real.h"

#define TOLERANCE (REAL_BITS == 32 ? 1e-5 : 1e-13)

enum { SGD, RMSPROP, ADAGRAD, ADAM, STEPS = 6 };

/* An optimiser with its hyperparameters. */
typedef struct {
    int kind;
    double lr;
    double a, b; /* momentum, or alpha, or both betas */
    double eps, decay;
    int flag; /* nesterov, or decoupled */
} rule;

/* One step of one parameter. v and s are its elements of the state buffers (SGD: v is the velocity). */
static void naive_update(const rule *r, int step, double *p, double g, double *v, double *s) {
    const double before = *p;
    g += r->kind == ADAM && r->flag ? 0 : r->decay * before;
    if (r->kind == SGD) {
        *v = r->a * *v + g;
        *p -= r->lr * (r->flag ? g + r->a * *v : *v);
    } else if (r->kind == RMSPROP) {
        *v = r->a * *v + (1 - r->a) * g * g;
        *p -= r->lr * g / (sqrt(*v) + r->eps);
    } else if (r->kind == ADAGRAD) {
        *v += g * g;
        *p -= r->lr * g / (sqrt(*v) + r->eps);
    } else {
        *v = r->a * *v + (1 - r->a) * g;
        *s = r->b * *s + (1 - r->b) * g * g;
        const double mean = *v / (1 - pow(r->a, step)), square = *s / (1 - pow(r->b, step));
        *p -= r->lr * mean / (sqrt(square) + r->eps) + (r->flag ? r->lr * r->decay * before : 0);
    }
}

static bptt_status update(const rule *r, int step, int64_t n, REAL *p, const REAL *g, REAL *v, REAL *s) {
    switch (r->kind) {
    case SGD: return TYPED(bptt_sgd)(n, p, g, v, r->lr, r->a, r->flag, r->decay);
    case RMSPROP: return TYPED(bptt_rmsprop)(n, p, g, v, r->lr, r->a, r->eps, r->decay);
    case ADAGRAD: return TYPED(bptt_adagrad)(n, p, g, v, r->lr, r->eps, r->decay);
    default: return TYPED(bptt_adam)(n, p, g, v, s, step, r->lr, r->a, r->b, r->eps, r->decay, r->flag);
    }
}

static void check_steps_of(const rule *r, int64_t n) {
    double *params = uniform_array(n, 1), *v = zeros(n), *s = zeros(n);
    REAL *p = copy_of(n, params), *state = copy_of(n, v), *square = copy_of(n, s);
    name_case("optimiser %d, n=%lld momentum %g flag %d decay %g", r->kind, (long long)n, r->a, r->flag, r->decay);
    for (int step = 1; step <= STEPS; step++) {
        double *g = uniform_array(n, 1);
        REAL *grads = copy_of(n, g), *unchanged = copy_of(n, g);
        CHECK_STATUS(update(r, step, n, p, grads, state, square), BPTT_OK);
        CHECK(same_bits(n, grads, unchanged));
        for (int64_t i = 0; i < n; i++) naive_update(r, step, params + i, g[i], v + i, s + i);
        release(g);
        release(grads);
        release(unchanged);
    }
    CHECK_CLOSE(n, p, params, TOLERANCE);
    CHECK_CLOSE(n, state, v, TOLERANCE);
    CHECK_CLOSE(n, square, s, TOLERANCE);
    void *const all[] = {params, v, s, p, state, square};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

/* Without momentum the velocity may be NULL, and has no effect if it is given. */
static void check_no_velocity(void) {
    const double start[] = {1, -2, 3}, gradient[] = {4, 4, -8};
    const REAL expected[] = {0, -3, 5};
    name_case("sgd without velocity");
    for (int with = 0; with < 2; with++)
        for (int nesterov = 0; nesterov < 2; nesterov++) {
            REAL *p = copy_of(3, start), *g = copy_of(3, gradient), *v = copy_of(3, start);
            CHECK_STATUS(TYPED(bptt_sgd)(3, p, g, with ? v : NULL, 0.25, 0, nesterov, 0), BPTT_OK);
            CHECK(same_bits(3, p, expected));
            release(p);
            release(g);
            release(v);
        }
}

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    static const rule rules[] = {
        {SGD, 0.1, 0, 0, 0, 0, 0},
        {SGD, 0.1, 0.9, 0, 0, 0.01, 0},
        {SGD, 0.1, 0.9, 0, 0, 0.01, 1},
        {SGD, 0, 0.9, 0, 0, 0.01, 1},
        {RMSPROP, 0.01, 0.9, 0, 1e-3, 0, 0},
        {RMSPROP, 0.01, 0.99, 0, 1e-8, 0.02, 0},
        {ADAGRAD, 0.1, 0, 0, 1e-2, 0, 0},
        {ADAGRAD, 0.1, 0, 0, 1e-10, 0.02, 0},
        {ADAM, 0.01, 0.9, 0.999, 1e-8, 0, 0},
        {ADAM, 0.01, 0.9, 0.999, 1e-2, 0.1, 0},
        {ADAM, 0.01, 0.9, 0.999, 1e-8, 0.1, 1},
        {ADAM, 0.01, 0, 0, 1e-2, 0, 0},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        check_steps_of(rules + i, 1);
        check_steps_of(rules + i, 67);
    }
    check_no_velocity();
    return end_of_checks();
}
