/* Learners made of bytes: any sequence of resets, steps and backwards gives the same on any number of threads and
 * in memory of exactly the sizes that the core asks for; RTRL adds up to what backward gives; a damaged call is refused
 * by every function with the same status. */
#ifndef FUZZ_LEARNER_H
#define FUZZ_LEARNER_H
#include <stdint.h>
#include <string.h>

#include "bptt.h"
#include "input.h"
#include "network.h"

/* A learner and all that its calls read and write. */
typedef struct {
    bptt_spec spec;
    bptt_method method;
    int64_t B;
    bptt_options options;
    bptt_learner_sizes sizes;
    bptt_sizes of_network; /* of one step */
    REAL *params, *state, *grads, *memory, *work, *y;
} fuzz_learner;

LOCAL fuzz_learner open_fuzz_learner(const bptt_spec *spec, bptt_method method, int64_t B, int threads) {
    fuzz_learner l = {.spec = *spec, .method = method, .B = B};
    l.options = (bptt_options){.struct_size = sizeof l.options, .threads = threads};
    l.sizes.struct_size = sizeof l.sizes;
    l.of_network.struct_size = sizeof l.of_network;
    CHECK_STATUS(TYPED(bptt_learner_sizes)(spec, method, B, &l.sizes), BPTT_OK);
    CHECK_STATUS(TYPED(bptt_sizes)(spec, 1, B, NULL, &l.of_network), BPTT_OK);
    CHECK(l.sizes.memory > 0 && l.sizes.work >= 0 && l.sizes.influence >= 0 && l.sizes.span >= 1);
    CHECK(l.sizes.influence <= l.sizes.memory);
    l.state = array(l.of_network.state);
    l.grads = array(l.of_network.params);
    l.memory = array(l.sizes.memory);
    l.work = array(l.sizes.work);
    l.y = array(l.of_network.output);
    memset(l.grads, 0, (size_t)l.of_network.params * sizeof(REAL));
    return l;
}

/* All but the parameters. */
LOCAL void close_fuzz_learner(fuzz_learner *l) {
    REAL *const all[] = {l->state, l->grads, l->memory, l->work, l->y};
    release_all(all, COUNT_OF(all));
}

LOCAL void check_same_fuzz_learners(const fuzz_learner *a, const fuzz_learner *b) {
    CHECK(same_numbers(a->of_network.state, a->state, b->state));
    CHECK(same_numbers(a->of_network.params, a->grads, b->grads));
}

/* ---- one call for two learners ------------------------------------------------------------------------ */

LOCAL void reset_both(input *in, fuzz_learner *pair, int all_rows) {
    uint8_t *rows = all_rows ? NULL : take_flags(in, pair->B);
    REAL *state0 = take_chance(in, 2) ? take_array(in, pair->of_network.state) : NULL;
    for (fuzz_learner *l = pair; l < pair + 2; l++)
        CHECK_STATUS(TYPED(bptt_learner_reset)(&l->spec, l->method, l->B, l->params, rows, state0, l->state, l->memory),
                     BPTT_OK);
    release(rows);
    release(state0);
}

LOCAL void step_both(input *in, fuzz_learner *pair) {
    const int64_t B = pair->B, V = integers_of(&pair->spec);
    int64_t *tokens = V ? buffer_of(B * (int64_t)sizeof *tokens) : NULL;
    for (int64_t i = 0; V && i < B; i++) tokens[i] = any_of(V);
    const bptt_status status = V && take_chance(in, 16) ? BPTT_ERROR_TOKEN : BPTT_OK;
    if (status) tokens[any_of(B)] = take_chance(in, 2) ? V : -1;
    REAL *x = V ? NULL : take_array(in, B * pair->spec.input_size);
    const int wanted = !take_chance(in, 4);
    for (fuzz_learner *l = pair; l < pair + 2; l++) {
        l->options.tokens = tokens;
        CHECK_STATUS(TYPED(bptt_learner_step)(&l->spec, l->method, l->B, l->params, x, l->state, wanted ? l->y : NULL,
                                              l->memory, l->work, &l->options),
                     status);
        l->options.tokens = NULL;
        l->options.first_step++;
    }
    if (wanted && !status) CHECK(same_numbers(pair->of_network.output, pair[0].y, pair[1].y));
    release(tokens);
    release(x);
}

LOCAL void backward_both(input *in, fuzz_learner *pair) {
    REAL *dy = take_array(in, pair->of_network.output);
    for (fuzz_learner *l = pair; l < pair + 2; l++)
        CHECK_STATUS(TYPED(bptt_learner_backward)(&l->spec, l->method, l->B, l->params, dy, l->grads, l->memory,
                                                  l->work, &l->options),
                     BPTT_OK);
    release(dy);
}

/* One layer in one direction that learners take. */
LOCAL bptt_spec take_learner_spec(input *in, shape s) {
    bptt_spec spec = take_spec(in, s, FORMS, 1, 1);
    spec.recurrent_dropout = 0;
    return spec;
}

LOCAL void fuzz_sequence(input *in) {
    const shape s = {.I = take_between(in, 1, 5), .H = take_between(in, 1, 12), .O = take_between(in, 0, 3)};
    const bptt_spec spec = take_learner_spec(in, s);
    const int64_t B = take_between(in, 1, 4);
    const bptt_method method = take_chance(in, 2) && !spec.reset_before ? BPTT_METHOD_SNAP1 : BPTT_METHOD_RTRL;
    name_case("a learner: cell %d, method %d, I %d, H %d, O %d, B %d", (int)spec.cell, (int)method, (int)s.I, (int)s.H,
              (int)s.O, (int)B);
    fuzz_learner pair[2] = {open_fuzz_learner(&spec, method, B, 1), open_fuzz_learner(&spec, method, B, 3)};
    REAL *params = pair[0].params = pair[1].params = take_array(in, pair->of_network.params);
    pair[1].options.team = take_team(in);
    pair[0].options.training = pair[1].options.training = take_chance(in, 2);
    reset_both(in, pair, 1);
    for (int64_t calls = take_between(in, 1, 120); calls > 0; calls--) {
        const unsigned kind = take_byte(in) % 16;
        if (kind < 10) step_both(in, pair);
        else if (kind < 14) backward_both(in, pair);
        else if (kind < 15) reset_both(in, pair, take_chance(in, 4));
        else params[any_of(pair->of_network.params)] += (REAL)0.125; /* an optimiser's step between two calls */
    }
    check_same_fuzz_learners(&pair[0], &pair[1]);
    close_fuzz_learner(&pair[0]);
    close_fuzz_learner(&pair[1]);
    release(params);
}

/* ---- against backward -------------------------------------------------------------------------------- */

/* RTRL's gradients of all steps add up to those of bptt_backward. */
LOCAL void fuzz_exactness(input *in) {
    const shape s = {.T = take_between(in, 1, 40),
                     .B = take_between(in, 1, 3),
                     .I = take_between(in, 1, 4),
                     .H = take_between(in, 1, 10),
                     .O = take_between(in, 0, 2)};
    const unsigned features = (take_chance(in, 2) ? STATE0 : 0) | (take_chance(in, 2) ? TRAINING : 0);
    problem p = problem_of(take_learner_spec(in, s), s.T, s.B, features);
    run r = open_run(&p, 1);
    fuzz_learner l = open_fuzz_learner(&p.spec, BPTT_METHOD_RTRL, s.B, 1);
    memset(r.grads, 0, (size_t)r.sizes.params * sizeof(REAL));
    forward_backward(&r);
    l.params = r.params;
    l.options.training = p.training;
    l.options.dropout_seed = p.seed;
    CHECK_STATUS(TYPED(bptt_learner_reset)(&p.spec, l.method, s.B, l.params, NULL, r.state0, l.state, l.memory),
                 BPTT_OK);
    for (int64_t t = 0; t < s.T; t++) {
        l.options.tokens = p.tokens ? p.tokens + t * s.B : NULL;
        l.options.first_step = p.first_step + t;
        CHECK_STATUS(TYPED(bptt_learner_step)(&p.spec, l.method, s.B, l.params,
                                              r.x ? r.x + t * s.B * p.spec.input_size : NULL, l.state, l.y, l.memory,
                                              l.work, &l.options),
                     BPTT_OK);
        CHECK_STATUS(TYPED(bptt_learner_backward)(&p.spec, l.method, s.B, l.params, r.dy + t * s.B * p.Y, l.grads,
                                                  l.memory, l.work, &l.options),
                     BPTT_OK);
    }
    double *expected = doubles_of(r.sizes.params, r.grads), *state = doubles_of(r.sizes.state, r.state1);
    if (!has_kinks(&p)) {
        check_near(r.sizes.params, l.grads, expected);
        check_near(r.sizes.state, l.state, state);
    }
    release(expected);
    release(state);
    close_fuzz_learner(&l);
    close_run(&r);
    free_problem(&p);
}

/* ---- damaged calls ----------------------------------------------------------------------------------- */

LOCAL void fuzz_damaged_learner(input *in) {
    enum { SMALL = 9 };
    const shape s = {.I = take_between(in, 1, 5), .H = take_between(in, 1, 6), .O = take_between(in, 0, 3)};
    bptt_spec spec = take_spec(in, s, FORMS, 2, 2);
    take_damage(in, &spec, sizeof spec);
    const bptt_method method = (bptt_method)(int32_t)take_integer(in, take_below(in, 2));
    const int64_t B = take_integer(in, take_between(in, 1, 4));
    bptt_learner_sizes sizes = {.struct_size = sizeof sizes};
    const bptt_status status = TYPED(bptt_learner_sizes)(&spec, method, B, &sizes);
    name_case("a damaged learner");
    if (!status) {
        CHECK(sizes.memory > 0 && sizes.memory <= PTRDIFF_MAX / (int64_t)sizeof(REAL) && sizes.work >= 0);
        return;
    }
    REAL *b[7];
    for (int i = 0; i < COUNT_OF(b); i++) b[i] = array(SMALL);
    CHECK(sizes.memory == 0 && sizes.work == 0);
    CHECK_STATUS(TYPED(bptt_learner_reset)(&spec, method, B, b[0], NULL, NULL, b[1], b[2]), status);
    CHECK_STATUS(TYPED(bptt_learner_step)(&spec, method, B, b[0], b[3], b[1], b[4], b[2], b[5], NULL), status);
    CHECK_STATUS(TYPED(bptt_learner_backward)(&spec, method, B, b[0], b[3], b[6], b[2], b[5], NULL), status);
    CHECK(untouched(SMALL, b, COUNT_OF(b)));
    release_all(b, COUNT_OF(b));
}
#endif
