/* The losses against naive loops in double. */
#include <math.h>
#include <stdint.h>

#include "bptt.h"
#include "check.h"
#include "real.h"

#define TOLERANCE (REAL_BITS == 32 ? 2e-6 : 1e-13)

enum { MSE, BINARY_CROSS_ENTROPY, HUBER, CROSS_ENTROPY, WEIGHTED, SMOOTHED, WEIGHTED_AND_SMOOTHED, LOSSES };
enum { IGNORED = -100 };

#define DELTA 1.5
#define SMOOTHING 0.25

typedef struct {
    int kind;
    int64_t N, C;
    double *y, *target;
    int64_t *labels;
    uint8_t *mask; /* NULL: every row counts */
    bptt_reduction reduction;
    double *weight; /* (C,) of the classes */
} loss_problem;

/* whether the targets are labels */
static int of_labels(const loss_problem *p) { return p->kind >= CROSS_ENTROPY; }

static double smoothing_of(const loss_problem *p) {
    return p->kind == SMOOTHED || p->kind == WEIGHTED_AND_SMOOTHED ? SMOOTHING : 0;
}

static double weight_at(const loss_problem *p, int64_t label) {
    return p->kind == WEIGHTED || p->kind == WEIGHTED_AND_SMOOTHED ? p->weight[label] : 1;
}

static int row_counts(const loss_problem *p, int64_t row) {
    return (!p->mask || p->mask[row]) && (!of_labels(p) || p->labels[row] != IGNORED);
}

/* log(1 + e^z) without overflow */
static double softplus(double z) { return fmax(z, 0) + log1p(exp(-fabs(z))); }

/* Returns -log softmax(z)[label] times weight; adds its gradient to dy. */
static double naive_cross_entropy(int64_t C, const double *z, int64_t label, double weight, double *dy) {
    double largest = z[0], sum = 0;
    for (int64_t j = 0; j < C; j++) largest = fmax(largest, z[j]);
    for (int64_t j = 0; j < C; j++) sum += exp(z[j] - largest);
    for (int64_t j = 0; j < C; j++) dy[j] += weight * (exp(z[j] - largest) / sum - (j == label));
    return weight * (largest + log(sum) - z[label]);
}

/* The sum over all classes as if each were the label, as smoothing weighs them. */
static double naive_smoothed(const loss_problem *p, const double *z, int64_t label, double *dy) {
    const double smoothing = smoothing_of(p);
    double sum = naive_cross_entropy(p->C, z, label, (1 - smoothing) * weight_at(p, label), dy);
    for (int64_t j = 0; smoothing > 0 && j < p->C; j++)
        sum += naive_cross_entropy(p->C, z, j, smoothing / (double)p->C * weight_at(p, j), dy);
    return sum;
}

/* Returns the loss of an element; *dy receives its derivative. */
static double naive_element(int kind, double y, double target, double *dy) {
    const double error = y - target;
    if (kind == MSE) {
        *dy = 2 * error;
        return error * error;
    }
    if (kind == HUBER) {
        *dy = fmax(-DELTA, fmin(DELTA, error));
        return fabs(error) < DELTA ? error * error / 2 : DELTA * (fabs(error) - DELTA / 2);
    }
    *dy = 1 / (1 + exp(-y)) - target;
    return softplus(y) - target * y;
}

/* Returns the loss of one row; dy, which is zero, receives its gradient. */
static double naive_row(const loss_problem *p, int64_t row, double *dy) {
    const double *y = p->y + row * p->C, *target = p->target + row * p->C;
    double sum = 0;
    if (of_labels(p)) return naive_smoothed(p, y, p->labels[row], dy);
    for (int64_t j = 0; j < p->C; j++) sum += naive_element(p->kind, y[j], target[j], &dy[j]);
    return sum;
}

/* Returns the loss; adds its gradient to dy (N,C), which the caller sets to zero. */
static double naive_loss_of(const loss_problem *p, double *dy) {
    double sum = 0, terms = 0;
    for (int64_t row = 0; row < p->N; row++) {
        if (!row_counts(p, row)) continue;
        sum += naive_row(p, row, dy + row * p->C);
        terms += of_labels(p) ? weight_at(p, p->labels[row]) : (double)p->C;
    }
    const double divisor = p->reduction == BPTT_REDUCTION_MEAN && terms > 0 ? terms : 1;
    for (int64_t i = 0; i < p->N * p->C; i++) dy[i] /= divisor;
    return sum / divisor;
}

/* Masks a third of the rows, or all of them. They hold NaN and a label that is no class: nothing of them may be read.
 */
static void mask_rows(loss_problem *p, int all) {
    p->mask = buffer_of(p->N);
    for (int64_t row = 0; row < p->N; row++) {
        p->mask[row] = all || row % 3 == 1 ? 0 : (uint8_t)(row + 1);
        if (p->mask[row]) continue;
        p->labels[row] = p->C + 5;
        for (int64_t j = 0; j < p->C; j++) p->y[row * p->C + j] = p->target[row * p->C + j] = NAN;
    }
}

static loss_problem loss_problem_of(int kind, int64_t N, int64_t C, bptt_reduction reduction) {
    loss_problem p = {.kind = kind,
                      .N = N,
                      .C = C,
                      .y = uniform_array(N * C, 4),
                      .target = uniform_array(N * C, 1),
                      .labels = buffer_of(N * (int64_t)sizeof(int64_t)),
                      .reduction = reduction,
                      .weight = zeros(C)};
    for (int64_t j = 0; j < C; j++) p.weight[j] = (double)(j % 5) / 4 + (j == 0); /* some are 0 */
    for (int64_t row = 0; row < N; row++) p.labels[row] = row % 4 == 2 ? IGNORED : (row * 7) % C;
    name_case("loss %d, N=%lld C=%lld reduction %d", kind, (long long)N, (long long)C, (int)reduction);
    return p;
}

static void free_loss_problem(loss_problem *p) {
    release(p->y);
    release(p->target);
    release(p->labels);
    release(p->mask);
    release(p->weight);
}

static bptt_status call_loss(const loss_problem *p, const REAL *y, const REAL *target, REAL *dy, double *loss) {
    const int64_t N = p->N, C = p->C;
    if (p->kind == MSE) return TYPED(bptt_mse)(N, C, y, target, p->mask, p->reduction, dy, loss);
    if (p->kind == HUBER) return TYPED(bptt_huber)(N, C, y, target, DELTA, p->mask, p->reduction, dy, loss);
    if (p->kind == BINARY_CROSS_ENTROPY)
        return TYPED(bptt_binary_cross_entropy)(N, C, y, target, p->mask, p->reduction, dy, loss);
    if (p->kind == CROSS_ENTROPY)
        return TYPED(bptt_cross_entropy)(N, C, y, p->labels, IGNORED, p->mask, p->reduction, dy, loss);
    REAL *weight = copy_of(C, p->weight);
    const bptt_status status =
        TYPED(bptt_weighted_cross_entropy)(N, C, y, p->labels, IGNORED, p->kind == SMOOTHED ? NULL : weight,
                                           smoothing_of(p), p->mask, p->reduction, dy, loss);
    release(weight);
    return status;
}

static int masked_are_zero(const loss_problem *p, const REAL *dy) {
    for (int64_t i = 0; i < p->N * p->C; i++)
        if (!row_counts(p, i / p->C) && dy[i] != 0) return 0;
    return 1;
}

static void check_loss_problem(const loss_problem *p) {
    const int64_t n = p->N * p->C;
    REAL *y = copy_of(n, p->y), *target = copy_of(n, p->target), *dy = array(n);
    double loss = NAN, alone = NAN, *expected = zeros(n);
    const double expected_loss = naive_loss_of(p, expected);
    CHECK_STATUS(call_loss(p, y, target, dy, &loss), BPTT_OK);
    CHECK(fabs(loss - expected_loss) <= TOLERANCE * fabs(expected_loss));
    CHECK_CLOSE(n, dy, expected, TOLERANCE);
    CHECK(masked_are_zero(p, dy));
    CHECK_STATUS(call_loss(p, y, target, NULL, &alone), BPTT_OK);
    CHECK(fabs(alone - expected_loss) <= TOLERANCE * fabs(expected_loss));
    release(y);
    release(target);
    release(dy);
    release(expected);
}

static void check_loss_shape(int kind, int64_t N, int64_t C, bptt_reduction reduction) {
    for (int masked = 0; masked < 3; masked++) { /* no mask, some rows, all rows */
        loss_problem p = loss_problem_of(kind, N, C, reduction);
        if (masked) mask_rows(&p, masked == 2);
        check_loss_problem(&p);
        free_loss_problem(&p);
    }
}

static int same_or_nan(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

/* Logits for which a naive formula overflows: the loss is their distance, the gradient 1 or 0. */
static void check_extreme_logits(void) {
    const REAL z[] = {1000, -1000}, target[] = {0, 0};
    const int64_t wrong[] = {1}, right[] = {0};
    double loss;
    REAL *dy = array(2);
    name_case("extreme logits");
    CHECK_STATUS(TYPED(bptt_cross_entropy)(1, 2, z, wrong, -1, NULL, 0, dy, &loss), BPTT_OK);
    CHECK(loss == 2000 && dy[0] == 1 && dy[1] == -1);
    CHECK_STATUS(TYPED(bptt_cross_entropy)(1, 2, z, right, -1, NULL, 0, dy, &loss), BPTT_OK);
    CHECK(loss == 0 && dy[0] == 0 && dy[1] == 0);
    CHECK_STATUS(TYPED(bptt_binary_cross_entropy)(1, 2, z, target, NULL, BPTT_REDUCTION_SUM, dy, &loss), BPTT_OK);
    CHECK(loss == 1000 && dy[0] == 1 && dy[1] == 0);
    release(dy);
}

/* Infinite logits: the limits of the formulas, and NaN where there is none. */
static void check_infinite_logits(void) {
    static const struct {
        double z, target, loss, dy;
    } binary[] = {{INFINITY, 1, 0, 0},          {-INFINITY, 0, 0, 0},
                  {INFINITY, 0, INFINITY, 1},   {-INFINITY, 1, INFINITY, -1},
                  {INFINITY, .5, INFINITY, .5}, {-INFINITY, .5, INFINITY, -.5},
                  {INFINITY, NAN, NAN, NAN},    {NAN, 1, NAN, NAN}};
    static const struct {
        double z[3];
        int64_t label;
        double loss, dy[3];
    } classes[] = {{{0, -INFINITY, -INFINITY}, 0, 0, {0, 0, 0}},
                   {{0, -INFINITY, 0}, 1, INFINITY, {.5, -1, .5}},
                   {{INFINITY, 3, -INFINITY}, 0, 0, {0, 0, 0}},
                   {{INFINITY, 3, -INFINITY}, 1, INFINITY, {1, -1, 0}},
                   {{INFINITY, 3, -INFINITY}, 2, INFINITY, {1, 0, -1}},
                   {{INFINITY, INFINITY, 0}, 0, NAN, {NAN, NAN, NAN}},
                   {{INFINITY, NAN, 0}, 0, NAN, {NAN, NAN, NAN}},
                   {{NAN, INFINITY, 0}, 1, NAN, {NAN, NAN, NAN}},
                   {{-INFINITY, -INFINITY, -INFINITY}, 0, NAN, {NAN, NAN, NAN}}};
    double loss;
    REAL *dy = array(3);
    for (size_t i = 0; i < sizeof binary / sizeof *binary; i++) {
        const REAL z = (REAL)binary[i].z, target = (REAL)binary[i].target;
        name_case("infinite logits, binary %d", (int)i);
        CHECK_STATUS(TYPED(bptt_binary_cross_entropy)(1, 1, &z, &target, NULL, 0, dy, &loss), BPTT_OK);
        CHECK(same_or_nan(loss, binary[i].loss));
        CHECK(same_or_nan((double)dy[0], binary[i].dy));
    }
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        const REAL z[] = {(REAL)classes[i].z[0], (REAL)classes[i].z[1], (REAL)classes[i].z[2]};
        name_case("infinite logits, classes %d", (int)i);
        CHECK_STATUS(TYPED(bptt_cross_entropy)(1, 3, z, &classes[i].label, -1, NULL, 0, dy, &loss), BPTT_OK);
        CHECK(same_or_nan(loss, classes[i].loss));
        for (int j = 0; j < 3; j++) CHECK(same_or_nan((double)dy[j], classes[i].dy[j]));
        CHECK_STATUS(TYPED(bptt_cross_entropy)(1, 3, z, &classes[i].label, -1, NULL, 0, NULL, &loss), BPTT_OK);
        CHECK(same_or_nan(loss, classes[i].loss));
    }
    release(dy);
}

/* With a bad label in the last row nothing is written. */
static void check_bad_label(int64_t bad, bptt_status expected) {
    const int64_t labels[] = {0, 2, bad};
    REAL *logits = array(9), *dy = array(9);
    double loss = 77;
    name_case("label %lld", (long long)bad);
    for (int i = 0; i < 9; i++) logits[i] = (REAL)i, dy[i] = 55;
    CHECK_STATUS(TYPED(bptt_cross_entropy)(3, 3, logits, labels, IGNORED, NULL, 0, dy, &loss), expected);
    for (int i = 0; i < 9; i++) CHECK((dy[i] == 55) == (expected != BPTT_OK));
    CHECK((loss == 77) == (expected != BPTT_OK));
    release(logits);
    release(dy);
}

/* The ignored label may be a class. */
static void check_ignored_class(void) {
    const REAL logits[] = {5, 1, 2, 2};
    const int64_t labels[] = {0, 1};
    double loss;
    REAL *dy = array(4);
    name_case("class 0 ignored");
    CHECK_STATUS(TYPED(bptt_cross_entropy)(2, 2, logits, labels, 0, NULL, 0, dy, &loss), BPTT_OK);
    CHECK(fabs(loss - log(2)) < TOLERANCE);
    CHECK(dy[0] == 0 && dy[1] == 0 && fabs((double)dy[2] - 0.5) < TOLERANCE && fabs((double)dy[3] + 0.5) < TOLERANCE);
    release(dy);
}

/* A weight of 0 takes a class out, even where it is excluded or where its mean would divide by 0; smoothing counts all
 * other classes, and an excluded one makes it infinite. */
static void check_weights_at_infinite_logits(void) {
    static const struct {
        double z[3], weight[3], smoothing;
        int64_t label;
        double loss, dy[3];
    } cases[] = {{{0, -INFINITY, 0}, {1, 0, 1}, 0, 0, 0.69314718055994531, {-.5, 0, .5}},
                 {{0, -INFINITY, 0}, {1, 0, 1}, 0, 1, 0, {0, 0, 0}},
                 {{0, -INFINITY, 0}, {2, 0, 2}, .5, 0, 3.3333333333333333 * 0.69314718055994531 / 2, {-.5, 0, .5}},
                 {{0, -INFINITY, 0}, {2, 2, 2}, .75, 0, INFINITY, {0, -.5, .5}},
                 {{INFINITY, 3, 1}, {1, 2, 1}, 0, 1, INFINITY, {2, -2, 0}},
                 {{INFINITY, 3, 1}, {4, 0, 0}, .75, 0, 0, {0, 0, 0}},
                 {{INFINITY, 3, 1}, {4, 4, 0}, .75, 0, INFINITY, {1, -1, 0}},
                 {{INFINITY, INFINITY, 1}, {1, 0, 0}, 0, 0, NAN, {NAN, NAN, NAN}},
                 {{NAN, 1, 1}, {1, 0, 0}, 0, 0, NAN, {NAN, NAN, NAN}}};
    const double tolerance = TOLERANCE;
    REAL *dy = array(3);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        REAL *z = copy_of(3, cases[i].z), *weight = copy_of(3, cases[i].weight);
        double loss = 77, alone = 77;
        name_case("weights at infinite logits %d", (int)i);
        CHECK_STATUS(TYPED(bptt_weighted_cross_entropy)(1, 3, z, &cases[i].label, -1, weight, cases[i].smoothing, NULL,
                                                        BPTT_REDUCTION_SUM, dy, &loss),
                     BPTT_OK);
        CHECK(same_or_nan(loss, cases[i].loss) || fabs(loss - cases[i].loss) < tolerance);
        for (int j = 0; j < 3; j++) {
            const double expected = cases[i].dy[j];
            CHECK(same_or_nan((double)dy[j], expected) || fabs((double)dy[j] - expected) < tolerance);
        }
        CHECK_STATUS(TYPED(bptt_weighted_cross_entropy)(1, 3, z, &cases[i].label, -1, weight, cases[i].smoothing, NULL,
                                                        BPTT_REDUCTION_SUM, NULL, &alone),
                     BPTT_OK);
        CHECK(same_or_nan(loss, alone));
        release(z);
        release(weight);
    }
    release(dy);
}

/* If the labels that count weigh nothing, neither the mean nor its gradient is anything but 0. */
static void check_nothing_weighed(void) {
    const REAL z[] = {1, 2, 3, 4}, weight[] = {0, 1};
    const int64_t labels[] = {0, 0};
    double loss = 77;
    REAL *dy = array(4);
    name_case("labels without weight");
    CHECK_STATUS(
        TYPED(bptt_weighted_cross_entropy)(2, 2, z, labels, -1, weight, 0.5, NULL, BPTT_REDUCTION_MEAN, dy, &loss),
        BPTT_OK);
    CHECK(loss == 0);
    for (int i = 0; i < 4; i++) CHECK(dy[i] == 0);
    release(dy);
}

/* Weights, a smoothing and a delta out of range: an error, and nothing is written. */
static void check_bad_options(void) {
    static const struct {
        double weight, smoothing;
    } bad[] = {{-1, 0}, {NAN, 0}, {INFINITY, 0}, {1, -0.1}, {1, 1.1}, {1, NAN}, {1, INFINITY}};
    const double deltas[] = {0, -1, NAN, -INFINITY, 1e-60};
    const int64_t label = 0;
    const REAL z[] = {1, 2};
    REAL *dy = array(2);
    double loss = 77;
    dy[0] = dy[1] = 55;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const REAL weight[] = {1, (REAL)bad[i].weight};
        name_case("bad weight or smoothing %d", (int)i);
        CHECK_STATUS(
            TYPED(bptt_weighted_cross_entropy)(1, 2, z, &label, -1, weight, bad[i].smoothing, NULL, 0, dy, &loss),
            BPTT_ERROR_OPTION);
    }
    for (size_t i = 0; i < (REAL_BITS == 32 ? 5 : 4); i++) { /* the last is zero in float32 */
        name_case("bad delta %g", deltas[i]);
        CHECK_STATUS(TYPED(bptt_huber)(1, 2, z, z, deltas[i], NULL, 0, dy, &loss), BPTT_ERROR_OPTION);
    }
    CHECK(loss == 77 && dy[0] == 55 && dy[1] == 55);
    release(dy);
}

/* Both parts of huber meet at delta; infinite errors have the slope delta, an infinite delta leaves the square. */
static void check_huber_limits(void) {
    static const struct {
        double y, target, delta, loss, dy;
    } cases[] = {{3, 1, 2, 2, 2},
                 {-3, 0, 2, 4, -2},
                 {INFINITY, 1, 2, INFINITY, 2},
                 {1, INFINITY, 2, INFINITY, -2},
                 {INFINITY, INFINITY, 2, NAN, NAN},
                 {NAN, 0, 2, NAN, NAN},
                 {INFINITY, NAN, INFINITY, NAN, NAN},
                 {-8, -2, 1e30, 18, -6},
                 {8, 2, INFINITY, 18, 6}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const REAL y = (REAL)cases[i].y, target = (REAL)cases[i].target;
        double loss = 77;
        REAL dy = 55;
        name_case("huber %d", (int)i);
        CHECK_STATUS(TYPED(bptt_huber)(1, 1, &y, &target, cases[i].delta, NULL, 0, &dy, &loss), BPTT_OK);
        CHECK(same_or_nan(loss, cases[i].loss));
        CHECK(same_or_nan((double)dy, cases[i].dy));
    }
}

/* A number of (1/3, 1] whose square is rounded. */
static REAL inexact(void) { return (REAL)(1 / (2 + uniform())); }

/* The loss has the same bits wherever its gradient goes: nowhere, apart, or right behind the outputs or the targets. */
static void check_place_of_gradient(void) {
    enum { MOST = 48, DRAWS = 20 };
    REAL memory[5 * MOST] = {0};
    for (int kind = 0; kind < CROSS_ENTROPY; kind++)
        for (int64_t draw = 0; draw < MOST * DRAWS; draw++) {
            const int64_t n = 1 + draw / DRAWS;
            REAL *y = memory, *target = memory + 2 * n, *places[] = {NULL, y + n, target + n, memory + 4 * n};
            const loss_problem p = {.kind = kind, .N = 1, .C = n, .reduction = BPTT_REDUCTION_SUM};
            double losses[4];
            for (int64_t i = 0; i < n; i++) {
                y[i] = inexact();
                target[i] = inexact();
            }
            for (int i = 0; i < 4; i++) {
                CHECK_STATUS(call_loss(&p, y, target, places[i], &losses[i]), BPTT_OK);
                CHECK(losses[i] == losses[0]);
            }
        }
}

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    static const int64_t sizes[][2] = {{1, 1}, {7, 3}, {5, 17}, {3, 256}, {4, 531}, {65, 2}};
    for (int kind = 0; kind < LOSSES; kind++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            check_loss_shape(kind, sizes[i][0], sizes[i][1], BPTT_REDUCTION_MEAN);
            check_loss_shape(kind, sizes[i][0], sizes[i][1], BPTT_REDUCTION_SUM);
        }
    check_extreme_logits();
    check_infinite_logits();
    check_bad_label(-1, BPTT_ERROR_LABEL);
    check_bad_label(3, BPTT_ERROR_LABEL);
    check_bad_label(INT64_MIN, BPTT_ERROR_LABEL);
    check_bad_label(2, BPTT_OK);
    check_bad_label(IGNORED, BPTT_OK);
    check_ignored_class();
    check_weights_at_infinite_logits();
    check_nothing_weighed();
    check_bad_options();
    check_huber_limits();
    check_place_of_gradient();
    return end_of_checks();
}
