/* Networks whose inputs are integers: against the naive loops, against the same network on floats, on several threads,
 * with a large number of different integers; and integers out of range. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "bptt.h"
#include "check.h"
#include "check_problem.h"
#include "problem.h"
#include "real.h"
#include "reference.h"
#include "run.h"

enum { TOKEN_KINDS = 4 };

/* One of: unit vectors; an embedding of many rows, of one row, of a few of which one is padding. */
static bptt_spec with_kind(bptt_spec spec, int kind) {
    return kind == 0   ? with_tokens(spec, 0, -1)
           : kind == 1 ? with_tokens(spec, 300, -1)
           : kind == 2 ? with_tokens(spec, 1, -1)
                       : with_tokens(spec, 6, 2);
}

/* ---- against the naive loops --------------------------------------------------------------------------- */

static void check_network(bptt_spec spec, int64_t T, int64_t B, unsigned features) {
    problem p = problem_of(spec, T, B, features);
    check_against_naive(&p);
    free_problem(&p);
}

static void check_form(int which, int32_t layers, int32_t directions, int kind) {
    static const unsigned features[] = {
        0, STATE0 | RESET, TRAINING | LATE_DY, LENGTHS, LENGTHS | RESET | CARRY | DSTATE1 | CLIP_NORM, ALL_FEATURES};
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
        bptt_spec spec = with_kind(spec_of((shape){.I = 5, .H = 17, .O = 3}, which, layers, directions), kind);
        spec.learn_state = i % 2 == 0;
        spec.bias = i != 1;
        spec.dropout = layers > 1 ? 0.3 : 0;
        spec.recurrent_dropout = 0.25;
        spec.noise = 0.3;
        check_network(spec, 7, 3, features[i]);
    }
}

static void check_forms(void) {
    for (int which = 0; which < FORMS; which++) {
        const bptt_spec one_row = spec_of((shape){.I = 5, .H = 17, .O = 3}, which, 1 + which % 2, 2 - which % 2);
        check_network(with_kind(one_row, 0), 9, 1, RESET);
        check_network(with_kind(one_row, 3), 9, 1, STATE0);
        check_form(which, 1, 1, which % TOKEN_KINDS);
        check_form(which, 1, 1, (which + 1) % TOKEN_KINDS);
        check_form(which, 2, 1, (which + 2) % TOKEN_KINDS);
        check_form(which, 1, 2, which % 2);
        check_form(which, 2, 2, (which + 3) % TOKEN_KINDS);
    }
}

/* The smallest sizes, sizes above any tile of the kernels, more steps than a chunk, more integers than a digit of the
 * sort has values. */
static void check_sizes_of_all_kinds(void) {
    for (int kind = 0; kind < TOKEN_KINDS; kind++) {
        check_network(with_kind(spec_of((shape){.I = 1, .H = 1, .O = 1}, TANH, 1, 1), kind), 1, 1, STATE0);
        check_network(with_kind(spec_of((shape){.I = 67, .H = 33, .O = 5}, GRU, 1, 2), kind), 11, 13, LENGTHS);
        check_network(with_kind(spec_of((shape){.I = 3, .H = 71}, LSTM, 1, 1), kind), 60, 9, 0);
        check_network(with_kind(spec_of((shape){.I = 300, .H = 5}, TANH, 1, 1), kind), 40, 9, RESET);
    }
    check_network(with_tokens(spec_of((shape){.I = 70000, .H = 2}, TANH, 1, 1), 0, -1), 4, 9, 0);
    check_network(with_tokens(spec_of((shape){.I = 2, .H = 3}, RESET_BEFORE_GRU, 1, 1), 70000, 69999), 4, 9, 0);
}

/* The largest vocabularies that have a table, and those above: of a table's most rows, and of half a call's integers.
 */
static void check_ends_of_tables(void) {
    for (int64_t more = 0; more < 2; more++)
        for (int32_t directions = 1; directions < 3; directions++) {
            const int64_t most = 256 + more, all = 4 * 9 / 2 + more;
            const bptt_spec one_hot = spec_of((shape){.I = most, .H = 3}, GRU, 1, directions);
            const bptt_spec embeds = spec_of((shape){.I = 5, .H = 3, .O = 2}, LSTM, 2, directions);
            const bptt_spec few = spec_of((shape){.I = all, .H = 3}, TANH, 1, directions);
            check_network(with_tokens(one_hot, 0, -1), 33, 17, LENGTHS | RESET);
            check_network(with_tokens(embeds, most, 1), 33, 17, LENGTHS);
            check_network(with_tokens(few, 0, -1), 4, 9, 0);
            check_network(with_tokens(embeds, all, 1), 4, 9, ALL_FEATURES);
        }
}

/* ---- against the same network on floats ----------------------------------------------------------------- */

/* The problem on floats: x (T,B,I) holds unit vectors, or rows of the embedding. Borrows all other arrays. */
static problem on_floats(const problem *p) {
    const int64_t I = p->spec.input_size, embedding = network_tensors_of(&p->spec).embedding;
    problem floats = *p;
    floats.spec.one_hot = 0;
    floats.spec.num_embeddings = floats.spec.padding_row = 0;
    floats.tokens = NULL;
    floats.x = zeros(p->T * p->B * I);
    for (int64_t i = 0; i < p->T * p->B; i++)
        for (int64_t j = 0; p->tokens[i] >= 0 && j < I; j++)
            floats.x[i * I + j] = p->spec.one_hot ? p->tokens[i] == j : p->params[embedding + p->tokens[i] * I + j];
    return floats;
}

/* Outputs, states and dstate0 are the same to the bit; the gradients of all parameters but the embedding up to the
 * order of the sums, in float64 to 1e-12 of the largest. */
static void check_same_as_floats(int which, int32_t layers, int32_t directions, int kind, int64_t T, int64_t B,
                                 unsigned features) {
    problem p = problem_of(with_kind(spec_of((shape){.I = 19, .H = 41, .O = 3}, which, layers, directions), kind), T, B,
                           features);
    problem floats = on_floats(&p);
    run tokens = run_of(&p, 1), x = run_of(&floats, 1);
    CHECK(same_bits(x.sizes.output, tokens.y, x.y));
    CHECK(same_bits(x.sizes.state, tokens.state1, x.state1));
    CHECK(same_bits(x.sizes.state, tokens.dstate0, x.dstate0));
    double *grads = doubles_of(x.sizes.params, x.grads);
    CHECK_CLOSE(x.sizes.params, tokens.grads, grads, REAL_BITS == 32 ? 1e-5 : 1e-13);
    release(grads);
    release(floats.x);
    close_run(&tokens);
    close_run(&x);
    free_problem(&p);
}

static void check_all_as_floats(void) {
    for (int which = 0; which < FORMS; which++)
        for (int kind = which % 2; kind < TOKEN_KINDS; kind += 2) {
            check_same_as_floats(which, 1, 1, kind, 12, 31, STATE0 | DSTATE1);
            check_same_as_floats(which, 1, 1 + which % 2, kind, 90, 1, 0);
            check_same_as_floats(which, 2, 1 + kind % 2, kind, 9, 17, LENGTHS | RESET);
        }
}

/* ---- finite differences --------------------------------------------------------------------------------- */

/* Of the naive loss by elements of the embedding, and by some of W_ih where the inputs are unit vectors. */
static void check_differences(int which, int32_t directions, int kind) {
    problem p = problem_of(with_kind(spec_of((shape){.I = 3, .H = 4, .O = 2}, which, 1, directions), kind), 6, 3,
                           DSTATE1 | RESET);
    run r = run_of(&p, 1);
    const network_tensors w = network_tensors_of(&p.spec);
    const int64_t begin = p.spec.one_hot ? 0 : w.embedding, n = p.spec.one_hot ? 3 * 4 : w.total - w.embedding;
    const double step = 1e-5;
    for (int64_t i = begin; i < begin + n; i += n > 100 ? 7 : 1) {
        const double unmoved = p.params[i];
        const int is_padding = !p.spec.one_hot && (i - begin) / 3 == p.spec.padding_row - 1;
        p.params[i] = unmoved + step;
        const double above = naive_loss(&p, NULL);
        p.params[i] = unmoved - step;
        const double expected = is_padding ? 0 : (above - naive_loss(&p, NULL)) / (2 * step);
        p.params[i] = unmoved;
        CHECK(fabs((double)r.grads[i] - grads_before(i) - expected) <= 1e-7 * (1 + fabs(expected)));
        if (is_padding) CHECK(r.grads[i] == (REAL)grads_before(i));
    }
    close_run(&r);
    free_problem(&p);
}

/* ---- threads -------------------------------------------------------------------------------------------- */

static bptt_team *team;

static void check_threads(int which, int32_t layers, int32_t directions, int kind, int64_t T, int64_t B,
                          unsigned features, int64_t segment) {
    const int64_t H = forms[which].cell < BPTT_CELL_LSTM ? 83 : 41;
    bptt_spec spec = with_kind(spec_of((shape){.I = 19, .H = H, .O = 17}, which, layers, directions), kind);
    spec.dropout = features & TRAINING ? 0.3 : 0;
    problem p = problem_of(spec, T, B, features);
    run one = open_segmented_run(&p, 1, segment);
    forward_backward(&one);
    for (int threads = 2; threads <= 4; threads++) {
        run many = open_segmented_run(&p, threads, segment);
        many.options.team = team;
        forward_backward(&many);
        check_same(&one, &many);
        close_run(&many);
    }
    close_run(&one);
    free_problem(&p);
}

static void check_all_threads(void) {
    CHECK_STATUS(bptt_team_make(&team), BPTT_OK);
    for (int kind = 0; kind < TOKEN_KINDS; kind++) {
        check_threads(TANH, 1, 1, kind, is_best_set() ? 600 : 60, 31, 0, 0); /* many chunks: members overlap */
        if (kind == 2) continue;                                             /* one integer: too little to share out */
        check_threads(LSTM, 2, 2, kind, 12, 31, LENGTHS | RESET, 0);
        check_threads(GRU, 2, 1, kind, 30, 31, LENGTHS | TRAINING, 17);
        check_threads(RESET_BEFORE_GRU, 1, 2, kind, 30, 29, STATE0, 0);
    }
    bptt_team_free(team);
}

/* ---- shards of the batch --------------------------------------------------------------------------------- */

/* Enough rows and steps for 2 shards (B = 17, 33), 4 (64, 70) or 8 (128), over several chunks: against the naive loops
 * with all that check_problem does, and the same bits for any number of threads. */
static void check_shards_of(problem *p, int64_t segment) {
    if (REAL_BITS == 64 && is_best_set()) check_against_naive(p); /* takes longer than all else */
    p->norms = 1;
    run one = open_segmented_run(p, 1, segment);
    forward_backward(&one);
    for (int threads = 2; threads <= 5; threads += is_best_set() ? 1 : 3) {
        run many = open_segmented_run(p, threads, segment);
        many.options.team = team;
        forward_backward(&many);
        check_same(&one, &many);
        close_run(&many);
    }
    close_run(&one);
}

static void check_shards(int which, int32_t layers, int32_t directions, int kind, int64_t B, unsigned features,
                         int64_t segment) {
    const int64_t T = B == 17 ? 61 : B == 33 ? 34 : 33, H = forms[which].cell < BPTT_CELL_LSTM ? 67 : 35;
    bptt_spec spec = with_kind(spec_of((shape){.I = 9, .H = H, .O = 5}, which, layers, directions), kind);
    spec.learn_state = 1;
    spec.dropout = features & TRAINING && layers > 1 ? 0.3 : 0;
    spec.recurrent_dropout = features & TRAINING ? 0.25 : 0;
    problem p = problem_of(spec, T, B, features);
    check_shards_of(&p, segment);
    free_problem(&p);
}

/* So few long rows among short ones that some shards have no row, or no row in the last chunks. */
static void check_uneven_shards(int which, int32_t directions, int kind, int64_t B, int64_t few, unsigned features) {
    const int64_t T = 70;
    bptt_spec spec = with_kind(spec_of((shape){.I = 9, .H = 35, .O = 5}, which, 1, directions), kind);
    problem p = problem_of(spec, T, B, LENGTHS | features);
    for (int64_t row = 0; row < B; row++) p.lengths[row] = row < few ? T - row : 1 + (row < B / 2);
    for (int64_t i = 0; i < T * B; i++) p.tokens[i] = i / B < p.lengths[i % B] ? any_of(integers_of(&spec)) : INT64_MIN;
    check_shards_of(&p, 0);
    free_problem(&p);
}

static void check_all_shards(void) {
    static const int64_t rows[] = {17, 33, 64, 70, 128};
    static const unsigned features[] = {0, LENGTHS | RESET | CLIP_NORM, STATE0 | RESET | CARRY_PER_ROW,
                                        TRAINING | LENGTHS | CLIP_VALUE | DSTATE1, ALL_FEATURES};
    CHECK_STATUS(bptt_team_make(&team), BPTT_OK);
    for (int which = 0, i = 0; which < FORMS; which++)
        for (int deep = 0; deep < 3; deep++, i++) {
            if (!is_best_set() && i % 7) continue; /* all rows and features still */
            check_shards(which, deep == 1 ? 2 : 1, deep == 2 ? 2 : 1, i % 2 ? 1 + i / 2 % 3 : 0, rows[i % 5],
                         features[i * 2 % 5], deep == 2 || i % 2 ? 0 : 9);
        }
    for (int kind = 0; kind < TOKEN_KINDS; kind++) {
        check_uneven_shards(TANH, 1, kind, 17, 1, 0);
        check_uneven_shards(PEEPHOLE_LSTM, 1 + kind % 2, kind, 70, 1, RESET);
        check_uneven_shards(GRU, 2 - kind % 2, kind, 70, 3, DSTATE1 | LATE_DY);
    }
    bptt_team_free(team);
}

/* ---- memory --------------------------------------------------------------------------------------------- */

/* the sizes with a vocabulary of V */
static bptt_sizes sizes_with(bptt_spec spec, int64_t V, const bptt_options *options) {
    bptt_sizes sizes = {.struct_size = sizeof sizes};
    *(spec.one_hot ? &spec.input_size : &spec.num_embeddings) = V;
    CHECK_STATUS(TYPED(bptt_sizes)(&spec, 50, 4, options, &sizes), BPTT_OK);
    return sizes;
}

/* Scratch memory does not grow with V. A small vocabulary has a table. */
static void check_scratch(int which, int32_t directions, int64_t segment) {
    const bptt_options options = {.struct_size = sizeof options, .segment = segment};
    for (int kind = 0; kind < 2; kind++) {
        const bptt_spec spec = with_kind(spec_of((shape){.I = 10, .H = 7}, which, 2, directions), kind);
        const bptt_sizes few = sizes_with(spec, 10, &options), more = sizes_with(spec, 257, &options);
        const bptt_sizes many = sizes_with(spec, 1 << 30, &options);
        CHECK(many.forward_work <= few.forward_work && many.backward_work <= few.backward_work);
        CHECK(many.forward_work == more.forward_work && many.backward_work == more.backward_work);
        CHECK(many.tape == few.tape && many.step_work == few.step_work);
        CHECK(many.packed > more.packed && many.params > more.params);
    }
}

/* ---- integers out of range ------------------------------------------------------------------------------ */

static int unwritten(int64_t n, const REAL *values) { return all_bytes(values, n * (int64_t)sizeof(REAL), 0xff); }

/* Forward and backward with these options and x and dx: refused, and nothing written. */
static void expect_refused(const run *valid, const bptt_options *options, REAL *x, REAL *dx, bptt_status expected) {
    run r = open_run(valid->p, 1);
    r.options = *options;
    run given = r;
    given.x = x;
    given.dx = dx;
    if (!dx) CHECK_STATUS(forward_run(&given), expected);
    CHECK_STATUS(backward_run(&given), expected);
    CHECK(unwritten(r.sizes.output, r.y) && unwritten(r.sizes.state, r.state1) && unwritten(r.sizes.tape, r.tape));
    CHECK(unwritten(r.sizes.state, r.dstate0));
    for (int64_t i = 0; i < r.sizes.params; i++) CHECK(r.grads[i] == (REAL)grads_before(i));
    close_run(&r);
}

static void check_range(const run *valid) {
    const problem *p = valid->p;
    const int64_t V = integers_of(&p->spec), bad[] = {-1, V, INT64_MIN, INT64_MAX};
    const int64_t last = (p->lengths[p->B - 1] - 1) * p->B + p->B - 1; /* step of the last row */
    const int64_t places[] = {0, (p->lengths[0] - 1) * p->B, last};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        for (size_t k = 0; k < sizeof places / sizeof places[0]; k++) {
            const int64_t good = p->tokens[places[k]];
            p->tokens[places[k]] = bad[i];
            expect_refused(valid, &valid->options, NULL, NULL, BPTT_ERROR_TOKEN);
            p->tokens[places[k]] = good;
        }
}

static void check_step(const run *valid, bptt_spec spec) {
    const int64_t V = integers_of(&spec), good[] = {0, V - 1, 0, 0}, bad[][4] = {{0, 0, 0, V}, {-1, 0, 0, 0}};
    bptt_sizes sizes = {.struct_size = sizeof sizes};
    CHECK_STATUS(TYPED(bptt_sizes)(&spec, 1, 4, NULL, &sizes), BPTT_OK);
    REAL *packed = array(sizes.packed), *state = array(sizes.state), *y = array(sizes.output);
    REAL *work = array(sizes.step_work);
    CHECK_STATUS(TYPED(bptt_pack)(&spec, valid->params, packed), BPTT_OK);
    for (int i = 0; i < 2; i++)
        CHECK_STATUS(TYPED(bptt_step_tokens)(&spec, 4, packed, bad[i], state, y, work), BPTT_ERROR_TOKEN);
    CHECK_STATUS(TYPED(bptt_step_tokens)(&spec, 4, packed, NULL, state, y, work), BPTT_ERROR_NULL);
    CHECK_STATUS(TYPED(bptt_step_tokens)(&spec, 4, NULL, good, state, y, work), BPTT_ERROR_NULL);
    CHECK_STATUS(TYPED(bptt_step_tokens)(&spec, 4, packed, good, NULL, y, work), BPTT_ERROR_NULL);
    CHECK_STATUS(TYPED(bptt_step_tokens)(&spec, 4, packed, good, state, y, NULL), BPTT_ERROR_NULL);
    CHECK_STATUS(TYPED(bptt_step_tokens)(NULL, 4, packed, good, state, y, work), BPTT_ERROR_NULL);
    CHECK_STATUS(TYPED(bptt_step_tokens)(&spec, 0, packed, good, state, y, work), BPTT_ERROR_SIZE);
    CHECK_STATUS(TYPED(bptt_step)(&spec, 4, packed, valid->params, state, y, work), BPTT_ERROR_OPTION);
    spec.one_hot = 0;
    spec.num_embeddings = spec.padding_row = 0;
    CHECK_STATUS(TYPED(bptt_step_tokens)(&spec, 4, packed, good, state, y, work), BPTT_ERROR_OPTION);
    spec.bidirectional = 1;
    CHECK_STATUS(TYPED(bptt_step_tokens)(&spec, 4, packed, good, state, y, work), BPTT_ERROR_OPTION);
    CHECK(unwritten(sizes.state, state) && unwritten(sizes.output, y));
    REAL *const all[] = {packed, state, y, work};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

/* x and dx with integers, no integers, integers for a network on floats. */
static void check_arguments(const run *valid, const run *floats) {
    bptt_options none = valid->options, both = floats->options;
    REAL *x = floats->x, *dx = floats->dx;
    none.tokens = NULL;
    both.tokens = valid->p->tokens;
    expect_refused(valid, &valid->options, x, NULL, BPTT_ERROR_OPTION);
    expect_refused(valid, &none, x, NULL, BPTT_ERROR_OPTION);
    expect_refused(valid, &none, NULL, NULL, BPTT_ERROR_NULL);
    expect_refused(valid, &valid->options, NULL, dx, BPTT_ERROR_OPTION);
    expect_refused(floats, &both, x, NULL, BPTT_ERROR_OPTION);
    expect_refused(floats, &both, NULL, NULL, BPTT_ERROR_OPTION);
    expect_refused(floats, &floats->options, NULL, NULL, BPTT_ERROR_NULL);
}

static void check_bad_calls(int kind) {
    const bptt_spec spec = with_kind(spec_of((shape){.I = 5, .H = 3, .O = 2}, LSTM, 2, 1), kind);
    problem p = problem_of(spec, 6, 4, LENGTHS), floats = on_floats(&p);
    run tokens = open_run(&p, 1), x = open_run(&floats, 1);
    check_range(&tokens);
    check_arguments(&tokens, &x);
    check_step(&tokens, spec);
    close_run(&tokens);
    close_run(&x);
    release(floats.x);
    free_problem(&p);
}

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    check_forms();
    check_sizes_of_all_kinds();
    check_ends_of_tables();
    check_all_as_floats();
    for (int which = 0; REAL_BITS == 64 && is_best_set() && !SANITIZED && which < FORMS; which++)
        for (int kind = 0; kind < TOKEN_KINDS; kind++) check_differences(which, 1 + which % 2, kind);
    check_all_threads();
    check_all_shards();
    for (int which = 0; which < FORMS; which++) {
        check_scratch(which, 1, 0);
        check_scratch(which, 1, 7);
        check_scratch(which, 2, 0);
    }
    for (int kind = 0; kind < TOKEN_KINDS; kind++) check_bad_calls(kind);
    return end_of_checks();
}
