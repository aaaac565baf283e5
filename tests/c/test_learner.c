/* Learning forward in time: RTRL against backward over the whole sequence, SnAp-1 against RTRL where W_hh is diagonal;
 * buffers of exactly the sizes that the core asks for, any number of threads, and every error. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "bad_specs.h"
#include "bptt.h"
#include "check.h"
#include "problem.h"
#include "real.h"
#include "run.h"

#define TOLERANCE (REAL_BITS == 32 ? 2e-4 : 1e-12)

/* A learner of one problem. */
typedef struct {
    const problem *p;
    bptt_method method;
    bptt_options options;
    bptt_learner_sizes sizes;
    REAL *params, *state, *grads, *memory, *work;
    REAL *y; /* (T,B,Y) */
} learner;

static learner open_learner(const problem *p, bptt_method method, int threads) {
    learner l = {.p = p, .method = method, .sizes.struct_size = sizeof l.sizes};
    const int64_t params = network_tensors_of(&p->spec).total;
    CHECK_STATUS(TYPED(bptt_learner_sizes)(&p->spec, method, p->B, &l.sizes), BPTT_OK);
    l.options = (bptt_options){
        .struct_size = sizeof l.options, .threads = threads, .training = p->training, .dropout_seed = p->seed};
    l.params = copy_of(params, p->params);
    l.state = array(state_size(p));
    l.grads = array(params);
    l.memory = array(l.sizes.memory);
    l.work = array(l.sizes.work);
    l.y = array(p->T * p->B * p->Y);
    memset(l.grads, 0, (size_t)params * sizeof(REAL));
    return l;
}

static void close_learner(learner *l) {
    REAL *const all[] = {l->params, l->state, l->grads, l->memory, l->work, l->y};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

static void begin_learner(learner *l) {
    REAL *state0 = copy_of(state_size(l->p), l->p->state0);
    CHECK_STATUS(
        TYPED(bptt_learner_reset)(&l->p->spec, l->method, l->p->B, l->params, NULL, state0, l->state, l->memory),
        BPTT_OK);
    release(state0);
}

/* All steps, each with its backward. */
static void learn(learner *l) {
    const problem *p = l->p;
    REAL *x = copy_of(p->T * p->B * p->spec.input_size, p->x), *dy = copy_of(p->T * p->B * p->Y, p->dy);
    begin_learner(l);
    for (int64_t t = 0; t < p->T; t++) {
        l->options.tokens = p->tokens ? p->tokens + t * p->B : NULL;
        l->options.first_step = p->first_step + t;
        CHECK_STATUS(TYPED(bptt_learner_step)(&p->spec, l->method, p->B, l->params,
                                              x ? x + t * p->B * p->spec.input_size : NULL, l->state,
                                              t % 5 ? l->y + t * p->B * p->Y : NULL, l->memory, l->work, &l->options),
                     BPTT_OK);
        CHECK_STATUS(TYPED(bptt_learner_backward)(&p->spec, l->method, p->B, l->params, dy + t * p->B * p->Y, l->grads,
                                                  l->memory, l->work, &l->options),
                     BPTT_OK);
    }
    release(x);
    release(dy);
}

static void check_close(int64_t n, const REAL *actual, const REAL *expected) {
    double *values = doubles_of(n, expected);
    CHECK_CLOSE(n, actual, values, TOLERANCE);
    release(values);
}

static void check_same_learners(const learner *a, const learner *b) {
    CHECK(same_bits(a->sizes.memory ? state_size(a->p) : 0, a->state, b->state));
    CHECK(same_bits(network_tensors_of(&a->p->spec).total, a->grads, b->grads));
}

/* RTRL adds up to what backward gives. */
static void check_adds_up(const learner *l) {
    const problem *p = l->p;
    const int64_t params = network_tensors_of(&p->spec).total;
    run r = open_run(p, 1);
    memset(r.grads, 0, (size_t)params * sizeof(REAL));
    forward_backward(&r);
    check_close(params, l->grads, r.grads);
    check_close(state_size(p), l->state, r.state1);
    for (int64_t t = 0; t < p->T; t++)
        if (t % 5) check_close(p->B * p->Y, l->y + t * p->B * p->Y, r.y + t * p->B * p->Y);
    close_run(&r);
}

/* The same; memory at another alignment and other numbers in it change nothing. */
static void check_exact(const problem *p) {
    learner l = open_learner(p, BPTT_METHOD_RTRL, 1);
    learn(&l);
    check_adds_up(&l);
    buffer_shift = 3 * (int64_t)sizeof(REAL);
    buffer_fill = 0x3f;
    learner moved = open_learner(p, BPTT_METHOD_RTRL, 3);
    buffer_shift = 0;
    buffer_fill = 0xff;
    learn(&moved);
    check_same_learners(&l, &moved);
    close_learner(&moved);
    close_learner(&l);
}

/* With blocks of W_hh that are diagonal SnAp-1 is exact too. */
static void check_diagonal(problem *p) {
    const layer_dir_tensors w = layer_dir_tensors_of(&p->spec, 0);
    const int64_t H = p->spec.hidden_size, params = network_tensors_of(&p->spec).total;
    for (int64_t i = 0; i < blocks_of(&p->spec) * H; i++)
        for (int64_t j = 0; j < H; j++)
            if (j != i % H) p->params[w.hh + i * H + j] = 0;
    learner exact = open_learner(p, BPTT_METHOD_RTRL, 1), snap = open_learner(p, BPTT_METHOD_SNAP1, 2);
    learn(&exact);
    learn(&snap);
    check_close(params, snap.grads, exact.grads);
    CHECK(same_bits(state_size(p), snap.state, exact.state));
    close_learner(&exact);
    close_learner(&snap);
}

static void check_network(bptt_spec spec, int64_t T, int64_t B, unsigned features) {
    problem p = problem_of(spec, T, B, features);
    check_exact(&p);
    if (!spec.reset_before) check_diagonal(&p);
    free_problem(&p);
}

static void check_forms(void) {
    for (int which = 0; which < FORMS; which++) {
        bptt_spec spec = spec_of((shape){.I = 3, .H = 7, .O = 2}, which, 1, 1);
        check_network(spec, 19, 3, STATE0);
        check_network(with_tokens(spec, 0, -1), 17, 2, 0);
        spec.learn_state = 1;
        check_network(with_tokens(spec, 6, 1), 11, 2, 0);
        spec.noise = 0.3;
        check_network(with_tokens(spec, 0, -1), 14, 2, TRAINING);
        spec.bias = 0;
        check_network(spec, 9, 1, TRAINING);
        check_network(spec, 9, 1, 0); /* without noise, as it does not train */
        check_network(spec_of((shape){.I = 1, .H = 33}, which, 1, 1), 40, 1, 0);
    }
    check_network(spec_of((shape){.I = 1, .H = 1, .O = 1}, TANH, 1, 1), 30, 1, 0);
}

/* Enough units for threads to share the products of the influence matrix. */
static void check_threads(int which) {
    problem p = problem_of(spec_of((shape){.I = 4, .H = 66, .O = 2}, which, 1, 1), 40, 2, 0);
    bptt_team *team;
    CHECK_STATUS(bptt_team_make(&team), BPTT_OK);
    learner one = open_learner(&p, BPTT_METHOD_RTRL, 1);
    learn(&one);
    check_adds_up(&one);
    for (int threads = 2; threads <= 9; threads += 3) {
        learner many = open_learner(&p, BPTT_METHOD_RTRL, threads);
        many.options.team = team;
        learn(&many);
        check_same_learners(&one, &many);
        close_learner(&many);
    }
    close_learner(&one);
    bptt_team_free(team);
    free_problem(&p);
}

/* ---- steps without a backward -------------------------------------------------------------------------- */

typedef struct {
    REAL *x, *dy;
} inputs; /* of all steps */

static void step_once(learner *l, int64_t t, const inputs *in) {
    const problem *p = l->p;
    l->options.tokens = p->tokens ? p->tokens + t * p->B : NULL;
    l->options.first_step = p->first_step + t;
    CHECK_STATUS(TYPED(bptt_learner_step)(&p->spec, l->method, p->B, l->params,
                                          in->x ? in->x + t * p->B * p->spec.input_size : NULL, l->state, l->y,
                                          l->memory, l->work, &l->options),
                 BPTT_OK);
}

static void add_grads(learner *l, int64_t t, const inputs *in, REAL *grads) {
    const problem *p = l->p;
    CHECK_STATUS(TYPED(bptt_learner_backward)(&p->spec, l->method, p->B, l->params, in->dy + t * p->B * p->Y, grads,
                                              l->memory, l->work, &l->options),
                 BPTT_OK);
}

static void reset_some_rows(learner *l, const uint8_t *rows) {
    CHECK_STATUS(TYPED(bptt_learner_reset)(&l->p->spec, l->method, l->p->B, l->params, rows, NULL, l->state, l->memory),
                 BPTT_OK);
}

/* A learner whose backwards come at some steps, twice at a few, gives the bits of one that has a backward at every
 * step, of which those at the other steps go elsewhere. Rows begin anew after random steps, before or after their
 * backward. */
static void check_skipped(const problem *p, bptt_method method) {
    const int64_t params = network_tensors_of(&p->spec).total;
    const inputs in = {copy_of(p->T * p->B * p->spec.input_size, p->x), copy_of(p->T * p->B * p->Y, p->dy)};
    learner some = open_learner(p, method, 1), all = open_learner(p, method, 1);
    learner *const both[] = {&some, &all};
    REAL *elsewhere = array(params), *first = array(params);
    uint8_t rows[3] = {0};
    memset(elsewhere, 0, (size_t)params * sizeof(REAL));
    for (int i = 0; i < 2; i++) begin_learner(both[i]);
    memcpy(first, some.grads, (size_t)params * sizeof(REAL));
    for (int64_t t = 0; t < p->T; t++) {
        const int64_t backwards = any_of(3) ? 0 : 1 + any_of(2), reset_first = any_of(2);
        for (int64_t row = 0; row < p->B; row++) rows[row] = any_of(6) == 0;
        for (int i = 0; i < 2; i++) {
            step_once(both[i], t, &in);
            if (reset_first) reset_some_rows(both[i], rows);
            for (int64_t n = 0; n < backwards; n++) add_grads(both[i], t, &in, both[i]->grads);
            if (i && !backwards) add_grads(&all, t, &in, elsewhere);
            if (!reset_first) reset_some_rows(both[i], rows);
        }
    }
    check_same_learners(&some, &all);
    CHECK(!same_bits(params, some.grads, first));
    bptt_learner_sizes sizes = {.struct_size = sizeof sizes};
    CHECK_STATUS(TYPED(bptt_learner_sizes)(&p->spec, method, p->B, &sizes), BPTT_OK);
    CHECK(memcmp(&sizes, &some.sizes, sizeof sizes) == 0);
    REAL *const buffers[] = {in.x, in.dy, elsewhere, first};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) release(buffers[i]);
    close_learner(&some);
    close_learner(&all);
}

static void check_skips(void) {
    for (int which = 0; which < FORMS; which++)
        for (int method = 0; method < 2; method++) {
            bptt_spec spec = spec_of((shape){.I = 3, .H = 21, .O = 2}, which, 1, 1);
            for (int form = 0; form < 3; form++) {
                if (method == BPTT_METHOD_SNAP1 && spec.reset_before) continue;
                spec.learn_state = form == 1;
                const bptt_spec formed = form == 1   ? with_tokens(spec, 0, -1)
                                         : form == 2 ? with_tokens(spec, 6, 1)
                                                     : spec;
                problem p = problem_of(formed, 40, 3, STATE0);
                check_skipped(&p, (bptt_method)method);
                free_problem(&p);
            }
        }
}

/* ---- rows that begin anew ------------------------------------------------------------------------------- */

/* Whether row 1 begins anew after step t, before its backward: now and then, and where the tape is full. */
static int restarts(const learner *l, int64_t t) { return t % 7 == 6 || t % l->sizes.span == l->sizes.span - 1; }

/* All steps of rows [row, row + l->p->B) of a problem of two rows, each with no backward, one or two. */
static void learn_rows(learner *l, const problem *both, int64_t row) {
    const problem *p = l->p;
    const int64_t B = p->B, I = p->spec.input_size;
    CHECK_STATUS(TYPED(bptt_learner_reset)(&p->spec, l->method, B, l->params, NULL, NULL, l->state, l->memory),
                 BPTT_OK);
    for (int64_t t = 0; t < both->T; t++) {
        REAL *x = copy_of(B * I, both->x + (t * both->B + row) * I);
        REAL *dy = copy_of(B * p->Y, both->dy + (t * both->B + row) * p->Y);
        const int restart = row + B == 2 && restarts(l, t);
        CHECK_STATUS(TYPED(bptt_learner_step)(&p->spec, l->method, B, l->params, x, l->state, NULL, l->memory, l->work,
                                              &l->options),
                     BPTT_OK);
        if (restart)
            CHECK_STATUS(TYPED(bptt_learner_reset)(&p->spec, l->method, B, l->params,
                                                   B == 2 ? (const uint8_t[]){0, 1} : NULL, NULL, l->state, l->memory),
                         BPTT_OK);
        for (int64_t i = 0; i < t % 3 && !(restart && B == 1); i++)
            CHECK_STATUS(TYPED(bptt_learner_backward)(&p->spec, l->method, B, l->params, dy, l->grads, l->memory,
                                                      l->work, &l->options),
                         BPTT_OK);
        release(x);
        release(dy);
    }
}

/* The gradients of both rows are the sums of those of learners of one row each. */
static void check_restarts(int which, int method, int32_t learn_state) {
    bptt_spec spec = spec_of((shape){.I = 3, .H = 5, .O = 2}, which, 1, 1);
    spec.learn_state = learn_state;
    problem both = problem_of(spec, 60, 2, 0), one = both;
    const int64_t params = network_tensors_of(&spec).total;
    one.B = 1;
    name_case("rows that begin anew: form %d, method %d", which, method);
    learner l = open_learner(&both, (bptt_method)method, 1);
    learner first = open_learner(&one, (bptt_method)method, 1), second = open_learner(&one, (bptt_method)method, 1);
    learn_rows(&l, &both, 0);
    learn_rows(&first, &both, 0);
    learn_rows(&second, &both, 1);
    for (int64_t i = 0; i < params; i++) first.grads[i] += second.grads[i];
    check_close(params, l.grads, first.grads);
    close_learner(&l);
    close_learner(&first);
    close_learner(&second);
    free_problem(&both);
}

static void check_all_restarts(void) {
    const int which[] = {TANH, PEEPHOLE_LSTM, GRU};
    for (int i = 0; i < 6; i++) {
        check_restarts(which[i / 2], BPTT_METHOD_RTRL, i % 2);
        check_restarts(which[i / 2], BPTT_METHOD_SNAP1, i % 2);
    }
}

/* ---- errors ---------------------------------------------------------------------------------------------- */

/* What every call returns for a spec, a method and a number of rows. */
static void expect_all(learner *l, const bptt_spec *spec, int method, int64_t B, bptt_status expected) {
    const bptt_method m = (bptt_method)method;
    CHECK_STATUS(TYPED(bptt_learner_sizes)(spec, m, B, &l->sizes), expected);
    CHECK_STATUS(TYPED(bptt_learner_reset)(spec, m, B, l->params, NULL, NULL, l->state, l->memory), expected);
    CHECK_STATUS(TYPED(bptt_learner_step)(spec, m, B, l->params, l->params, l->state, l->y, l->memory, l->work, NULL),
                 expected);
    CHECK_STATUS(TYPED(bptt_learner_backward)(spec, m, B, l->params, l->params, l->grads, l->memory, l->work, NULL),
                 expected);
}

static void check_bad_networks(learner *l) {
    const bptt_spec valid = l->p->spec;
    bptt_spec deep = valid, both = valid, dropping = valid, before = valid;
    deep.num_layers = 2;
    both.bidirectional = 1;
    dropping.recurrent_dropout = 0.5;
    before.cell = BPTT_CELL_GRU;
    before.reset_before = 1;
    name_case("bad networks");
    for (size_t i = 0; i < sizeof bad_specs / sizeof bad_specs[0]; i++)
        expect_all(l, &bad_specs[i].spec, BPTT_METHOD_RTRL, 2, bad_specs[i].expected);
    for (int method = 0; method < 2; method++) {
        expect_all(l, &deep, method, 2, BPTT_ERROR_OPTION);
        expect_all(l, &both, method, 2, BPTT_ERROR_OPTION);
        expect_all(l, &dropping, method, 2, BPTT_ERROR_OPTION);
        expect_all(l, NULL, method, 2, BPTT_ERROR_NULL);
        expect_all(l, &valid, method, 0, BPTT_ERROR_SIZE);
        expect_all(l, &valid, method, -1, BPTT_ERROR_SIZE);
        expect_all(l, &valid, method, INT64_MAX, BPTT_ERROR_OVERFLOW);
        expect_all(l, &valid, method, INT64_MAX / 4096, BPTT_ERROR_OVERFLOW);
    }
    expect_all(l, &before, BPTT_METHOD_SNAP1, 2, BPTT_ERROR_OPTION);
    expect_all(l, &valid, 2, 2, BPTT_ERROR_OPTION);
    expect_all(l, &valid, -1, 2, BPTT_ERROR_OPTION);
    bptt_spec large =
        spec_of((shape){.I = 1, .H = 1 << 20}, TANH, 1, 1); /* a square of H that fits, a cube that does not */
    expect_all(l, &large, BPTT_METHOD_RTRL, 2, BPTT_ERROR_OVERFLOW);
}

static void check_null(learner *l) {
    const bptt_spec *s = &l->p->spec;
    const bptt_method m = l->method;
    const bptt_status null = BPTT_ERROR_NULL;
    REAL *p = l->params, *x = l->params, *state = l->state, *y = l->y, *memory = l->memory, *work = l->work;
    name_case("NULL");
    CHECK_STATUS(TYPED(bptt_learner_sizes)(s, m, 2, NULL), null);
    CHECK_STATUS(TYPED(bptt_learner_reset)(s, m, 2, NULL, NULL, NULL, state, memory), null);
    CHECK_STATUS(TYPED(bptt_learner_reset)(s, m, 2, p, NULL, NULL, NULL, memory), null);
    CHECK_STATUS(TYPED(bptt_learner_reset)(s, m, 2, p, NULL, NULL, state, NULL), null);
    CHECK_STATUS(TYPED(bptt_learner_step)(s, m, 2, NULL, x, state, y, memory, work, NULL), null);
    CHECK_STATUS(TYPED(bptt_learner_step)(s, m, 2, p, NULL, state, y, memory, work, NULL), null);
    CHECK_STATUS(TYPED(bptt_learner_step)(s, m, 2, p, x, NULL, y, memory, work, NULL), null);
    CHECK_STATUS(TYPED(bptt_learner_step)(s, m, 2, p, x, state, y, NULL, work, NULL), null);
    CHECK_STATUS(TYPED(bptt_learner_step)(s, m, 2, p, x, state, y, memory, NULL, NULL), null);
    CHECK_STATUS(TYPED(bptt_learner_backward)(s, m, 2, NULL, x, l->grads, memory, work, NULL), null);
    CHECK_STATUS(TYPED(bptt_learner_backward)(s, m, 2, p, NULL, l->grads, memory, work, NULL), null);
    CHECK_STATUS(TYPED(bptt_learner_backward)(s, m, 2, p, x, NULL, memory, work, NULL), null);
    CHECK_STATUS(TYPED(bptt_learner_backward)(s, m, 2, p, x, l->grads, NULL, work, NULL), null);
    CHECK_STATUS(TYPED(bptt_learner_backward)(s, m, 2, p, x, l->grads, memory, NULL, NULL), null);
}

/* Memory that no reset has filled, structs of other sizes, tokens of a network that takes none. */
static void check_unusual(learner *l) {
    const bptt_spec *s = &l->p->spec;
    const uint8_t rows[2] = {1, 0};
    bptt_options unset = {0};
    bptt_learner_sizes short_sizes = {.struct_size = offsetof(bptt_learner_sizes, work), .work = 77};
    name_case("unusual arguments");
    CHECK_STATUS(TYPED(bptt_learner_reset)(s, l->method, 2, l->params, rows, NULL, l->state, l->memory),
                 BPTT_ERROR_OPTION);
    CHECK_STATUS(
        TYPED(bptt_learner_step)(s, l->method, 2, l->params, l->params, l->state, l->y, l->memory, l->work, NULL),
        BPTT_ERROR_OPTION);
    CHECK_STATUS(
        TYPED(bptt_learner_backward)(s, l->method, 2, l->params, l->params, l->grads, l->memory, l->work, NULL),
        BPTT_ERROR_OPTION);
    begin_learner(l);
    CHECK_STATUS(
        TYPED(bptt_learner_step)(s, l->method, 2, l->params, l->params, l->state, l->y, l->memory, l->work, &unset),
        BPTT_ERROR_STRUCT);
    CHECK_STATUS(
        TYPED(bptt_learner_backward)(s, l->method, 1, l->params, l->params, l->grads, l->memory, l->work, NULL),
        BPTT_ERROR_OPTION); /* memory of two rows */
    CHECK_STATUS(TYPED(bptt_learner_sizes)(s, l->method, 2, &short_sizes), BPTT_OK);
    CHECK(short_sizes.memory == l->sizes.memory && short_sizes.work == 77);
    short_sizes.struct_size = 0;
    CHECK_STATUS(TYPED(bptt_learner_sizes)(s, l->method, 2, &short_sizes), BPTT_ERROR_STRUCT);
    short_sizes.struct_size = sizeof short_sizes + 1;
    CHECK_STATUS(TYPED(bptt_learner_sizes)(s, l->method, 2, &short_sizes), BPTT_ERROR_STRUCT);
}

/* A reset to the state that is there: it stays. */
static void check_same_state(learner *l) {
    REAL *given = array(state_size(l->p));
    name_case("a state that lies where it was");
    begin_learner(l);
    for (int64_t i = 0; i < state_size(l->p); i++) l->state[i] = given[i] = (REAL)(i + 1) / 8;
    CHECK_STATUS(TYPED(bptt_learner_reset)(&l->p->spec, l->method, 2, l->params, NULL, l->state, l->state, l->memory),
                 BPTT_OK);
    CHECK(same_bits(state_size(l->p), l->state, given));
    release(given);
}

static int never(void *context) { return context != NULL; }

/* Options that a learner does not use, and tokens of a network that takes none: each alone is an error. */
static void check_bad_options(learner *l) {
    const bptt_spec *s = &l->p->spec;
    const size_t size = sizeof(bptt_options);
    const uint8_t reset[2] = {0, 0};
    const int64_t integers[2] = {1, 1};
    int64_t steps = 0;
    REAL numbers[64] = {0};
    const bptt_options bad[] = {
        {.struct_size = size, .tokens = integers},
        {.struct_size = size, .reset = reset},
        {.struct_size = size, .lengths = integers},
        {.struct_size = size, .carry = numbers},
        {.struct_size = size, .carry_per_row = 1},
        {.struct_size = size, .step_clip_norm = 1},
        {.struct_size = size, .step_clip_value = 1},
        {.struct_size = size, .step_norms = numbers},
        {.struct_size = size, .dy_start = 1},
        {.struct_size = size, .tape_steps = 9},
        {.struct_size = size, .tape_steps = 9, .tape_first = 3},
        {.struct_size = size, .segment = 1},
        {.struct_size = size, .poll = never},
        {.struct_size = size, .forward_steps = &steps},
        {.struct_size = size, .state_given = 1},
        {.struct_size = size, .states = numbers},
        {.struct_size = size, .dstates = numbers},
        {.struct_size = size, .threads = -1},
        {.struct_size = size, .training = 2},
    };
    name_case("options");
    begin_learner(l);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_STATUS(TYPED(bptt_learner_step)(s, l->method, 2, l->params, l->params, l->state, l->y, l->memory, l->work,
                                              &bad[i]),
                     BPTT_ERROR_OPTION);
        CHECK_STATUS(
            TYPED(bptt_learner_backward)(s, l->method, 2, l->params, l->params, l->grads, l->memory, l->work, &bad[i]),
            BPTT_ERROR_OPTION);
    }
    CHECK(never(NULL) == 0 && steps == 0);
}

/* ---- memory of another learner ------------------------------------------------------------------------- */

#if REAL_BITS == 32
#define OTHER_REAL double
#define OTHER_TYPED(name) name##_f64
#else
#define OTHER_REAL float
#define OTHER_TYPED(name) name##_f32
#endif

/* What memory is made for. */
typedef struct {
    bptt_spec spec;
    bptt_method method;
    int64_t B;
} learner_kind;

/* Buffers that are large enough for each of these learners, in either type. */
typedef struct {
    double *params, *state, *dy, *grads, *memory, *work;
} large_buffers;

enum { LARGE = 1 << 16 };

static bptt_status reset_as(const learner_kind *k, const large_buffers *b) {
    return TYPED(bptt_learner_reset)(&k->spec, k->method, k->B, (REAL *)b->params, NULL, NULL, (REAL *)b->state,
                                     (REAL *)b->memory);
}

static bptt_status step_as(const learner_kind *k, const large_buffers *b) {
    return TYPED(bptt_learner_step)(&k->spec, k->method, k->B, (REAL *)b->params, (REAL *)b->dy, (REAL *)b->state, NULL,
                                    (REAL *)b->memory, (REAL *)b->work, NULL);
}

/* Every call but a reset of all rows refuses the memory, and leaves it as it was. */
static void check_foreign(const learner_kind *k, const large_buffers *b) {
    static char before[LARGE * sizeof(double)];
    const uint8_t rows[] = {1, 1, 1};
    memcpy(before, b->memory, sizeof before);
    CHECK_STATUS(step_as(k, b), BPTT_ERROR_OPTION);
    CHECK_STATUS(TYPED(bptt_learner_backward)(&k->spec, k->method, k->B, (REAL *)b->params, (REAL *)b->dy,
                                              (REAL *)b->grads, (REAL *)b->memory, (REAL *)b->work, NULL),
                 BPTT_ERROR_OPTION);
    CHECK_STATUS(TYPED(bptt_learner_reset)(&k->spec, k->method, k->B, (REAL *)b->params, rows, NULL, (REAL *)b->state,
                                           (REAL *)b->memory),
                 BPTT_ERROR_OPTION);
    CHECK(memcmp(before, b->memory, sizeof before) == 0);
}

/* Learners whose influence has as many elements as that of a tanh cell of one unit by RTRL. */
static void check_foreign_memory(void) {
    const size_t bytes = LARGE * sizeof(double);
    double *all[6];
    for (int i = 0; i < 6; i++) all[i] = memset(buffer_of((int64_t)bytes), 0, bytes);
    const large_buffers b = {all[0], all[1], all[2], all[3], all[4], all[5]};
    const bptt_spec spec = spec_of((shape){.I = 1, .H = 1, .O = 1}, TANH, 1, 1);
    const learner_kind one = {spec, BPTT_METHOD_RTRL, 2};
    learner_kind others[] = {one, one, one, one, one, one, one};
    others[0].method = BPTT_METHOD_SNAP1;
    others[1].spec.cell = BPTT_CELL_RELU;
    others[2].spec.output_size = 3;
    others[3].spec.input_size = 2;
    others[4].spec.leak = 0.5;
    others[5].spec.learn_leak = 1;
    others[6].B = 3;
    name_case("memory of another learner");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        CHECK_STATUS(reset_as(&others[i], &b), BPTT_OK);
        check_foreign(&one, &b);
        CHECK_STATUS(reset_as(&one, &b), BPTT_OK);
        check_foreign(&others[i], &b);
    }
    CHECK_STATUS(OTHER_TYPED(bptt_learner_reset)(&spec, one.method, one.B, (OTHER_REAL *)b.params, NULL, NULL,
                                                 (OTHER_REAL *)b.state, (OTHER_REAL *)b.memory),
                 BPTT_OK);
    check_foreign(&one, &b);
    CHECK_STATUS(reset_as(&one, &b), BPTT_OK);
    CHECK_STATUS(step_as(&one, &b), BPTT_OK);
    memmove((char *)b.memory + 64, b.memory, bytes - 64); /* to another address */
    const large_buffers moved = {b.params, b.state, b.dy, b.grads, b.memory + 8, b.work};
    CHECK_STATUS(step_as(&one, &moved), BPTT_ERROR_OPTION);
    learner_kind short_one = one; /* a caller's struct that ends before fields that are zero */
    short_one.spec.struct_size = offsetof(bptt_spec, leak);
    CHECK_STATUS(reset_as(&short_one, &b), BPTT_OK);
    CHECK_STATUS(step_as(&one, &b), BPTT_OK);
    CHECK_STATUS(step_as(&short_one, &b), BPTT_OK);
    for (int i = 0; i < 6; i++) release(all[i]);
}

static void check_bad_tokens(void) {
    problem p = problem_of(with_tokens(spec_of((shape){.I = 3, .H = 4, .O = 2}, GRU, 1, 1), 0, -1), 5, 2, 0);
    learner l = open_learner(&p, BPTT_METHOD_SNAP1, 1);
    REAL *before = array(l.sizes.memory);
    int64_t bad[] = {0, 3};
    memset(l.memory, 0, (size_t)l.sizes.memory * sizeof(REAL)); /* a reset writes a part of it */
    begin_learner(&l);
    memcpy(before, l.memory, (size_t)l.sizes.memory * sizeof(REAL));
    name_case("bad tokens");
    for (int i = 0; i < 2; i++) {
        bad[1] = i ? -1 : 3;
        l.options.tokens = bad;
        CHECK_STATUS(
            TYPED(bptt_learner_step)(&p.spec, l.method, 2, l.params, NULL, l.state, l.y, l.memory, l.work, &l.options),
            BPTT_ERROR_TOKEN);
    }
    CHECK_STATUS(TYPED(bptt_learner_step)(&p.spec, l.method, 2, l.params, NULL, l.state, l.y, l.memory, l.work, NULL),
                 BPTT_ERROR_NULL);
    CHECK(same_bits(l.sizes.memory, l.memory, before));
    release(before);
    close_learner(&l);
    free_problem(&p);
}

/* The steps on the tape, as bptt.h has them. */
static void check_span(void) {
    static const int64_t spans[][2] = {{1, 8}, {16, 8}, {17, 8}, {18, 9}, {126, 63}, {128, 64}, {300, 64}};
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
        const bptt_spec spec = spec_of((shape){.I = 3, .H = spans[i][0], .O = 2}, TANH, 1, 1);
        bptt_learner_sizes sizes = {.struct_size = sizeof sizes};
        name_case("span of %d units", (int)spans[i][0]);
        CHECK_STATUS(TYPED(bptt_learner_sizes)(&spec, BPTT_METHOD_RTRL, 2, &sizes), BPTT_OK);
        CHECK(sizes.span == spans[i][1]);
        CHECK_STATUS(TYPED(bptt_learner_sizes)(&spec, BPTT_METHOD_SNAP1, 2, &sizes), BPTT_OK);
        CHECK(sizes.span == 1);
    }
}

static void check_errors(void) {
    problem p = problem_of(spec_of((shape){.I = 3, .H = 4, .O = 2}, TANH, 1, 1), 5, 2, 0);
    for (int method = 0; method < 2; method++) {
        learner l = open_learner(&p, (bptt_method)method, 1);
        check_unusual(&l);
        check_same_state(&l);
        check_bad_options(&l);
        check_null(&l);
        check_bad_networks(&l);
        close_learner(&l);
    }
    check_bad_tokens();
    check_foreign_memory();
    free_problem(&p);
}

int main(void) {
    if (!bptt_isa()) {
        bptt_spec spec = spec_of((shape){.I = 3, .H = 4, .O = 2}, TANH, 1, 1);
        bptt_learner_sizes sizes = {.struct_size = sizeof sizes};
        CHECK_STATUS(TYPED(bptt_learner_sizes)(&spec, BPTT_METHOD_RTRL, 2, &sizes), BPTT_ERROR_ISA);
        return end_of_checks();
    }
    check_forms();
    check_threads(TANH);
    check_threads(LSTM);
    check_threads(RESET_BEFORE_GRU);
    check_skips();
    check_all_restarts();
    check_span();
    check_errors();
    return end_of_checks();
}
