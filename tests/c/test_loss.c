/* The losses against naive loops in double. */
#include <math.h>
#include <stdint.h>

#include "bptt.h"
#include "check.h"
#include "real.h"

#define TOLERANCE (REAL_BITS == 32 ? 2e-6 : 1e-13)

enum { MSE, CROSS_ENTROPY, BINARY_CROSS_ENTROPY, LOSSES, IGNORED = -100 };

typedef struct {
    int kind;
    int64_t N, C;
    double *y, *target;
    int64_t *labels;
    uint8_t *mask; /* NULL: every row counts */
    bptt_reduction reduction;
} loss_problem;

static int row_counts(const loss_problem *p, int64_t row) {
    return (!p->mask || p->mask[row]) && (p->kind != CROSS_ENTROPY || p->labels[row] != IGNORED);
}

/* log(1 + e^z) without overflow */
static double softplus(double z) { return fmax(z, 0) + log1p(exp(-fabs(z))); }

/* Returns the row's cross-entropy; dy receives its gradient. */
static double naive_cross_entropy(int64_t C, const double *z, int64_t label, double *dy) {
    double largest = z[0], sum = 0;
    for (int64_t j = 0; j < C; j++) largest = fmax(largest, z[j]);
    for (int64_t j = 0; j < C; j++) sum += exp(z[j] - largest);
    for (int64_t j = 0; j < C; j++) dy[j] = exp(z[j] - largest) / sum - (j == label);
    return largest + log(sum) - z[label];
}

/* Returns the loss of one row; dy receives its gradient. */
static double naive_row(const loss_problem *p, int64_t row, double *dy) {
    const double *y = p->y + row * p->C, *target = p->target + row * p->C;
    double sum = 0;
    if (p->kind == CROSS_ENTROPY) return naive_cross_entropy(p->C, y, p->labels[row], dy);
    for (int64_t j = 0; j < p->C; j++) {
        const int squares = p->kind == MSE;
        sum += squares ? pow(y[j] - target[j], 2) : softplus(y[j]) - target[j] * y[j];
        dy[j] = squares ? 2 * (y[j] - target[j]) : 1 / (1 + exp(-y[j])) - target[j];
    }
    return sum;
}

/* Returns the loss; adds its gradient to dy (N,C), which the caller sets to zero. */
static double naive_loss_of(const loss_problem *p, double *dy) {
    double sum = 0, terms = 0;
    for (int64_t row = 0; row < p->N; row++) {
        if (!row_counts(p, row)) continue;
        sum += naive_row(p, row, dy + row * p->C);
        terms += p->kind == CROSS_ENTROPY ? 1 : (double)p->C;
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
    loss_problem p = {
        kind, N,        C, uniform_array(N * C, 4), uniform_array(N * C, 1), buffer_of(N * (int64_t)sizeof(int64_t)),
        NULL, reduction};
    for (int64_t row = 0; row < N; row++) p.labels[row] = row % 4 == 2 ? IGNORED : (row * 7) % C;
    name_case("loss %d, N=%lld C=%lld reduction %d", kind, (long long)N, (long long)C, (int)reduction);
    return p;
}

static void free_loss_problem(loss_problem *p) {
    release(p->y);
    release(p->target);
    release(p->labels);
    release(p->mask);
}

static bptt_status call_loss(const loss_problem *p, const REAL *y, const REAL *target, REAL *dy, double *loss) {
    if (p->kind == MSE) return TYPED(bptt_mse)(p->N, p->C, y, target, p->mask, p->reduction, dy, loss);
    if (p->kind == BINARY_CROSS_ENTROPY)
        return TYPED(bptt_binary_cross_entropy)(p->N, p->C, y, target, p->mask, p->reduction, dy, loss);
    return TYPED(bptt_cross_entropy)(p->N, p->C, y, p->labels, IGNORED, p->mask, p->reduction, dy, loss);
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
    return end_of_checks();
}
