/* Calls on a network made of bytes. A sound problem: against the naive loops, and against itself where two ways must
 * agree to the bit. A damaged call: every function refuses it with the same status and writes nothing, or runs within
 * buffers of exactly the sizes that the core asks for. */
#ifndef FUZZ_NETWORK_H
#define FUZZ_NETWORK_H
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "../c/problem.h"
#include "../c/real.h"
#include "bptt.h"
#include "input.h"

/* Wider than in the test suite: some of many million problems have sums that cancel. */
#define TOLERANCE (REAL_BITS == 32 ? 1e-3 : 1e-10)
#include "../c/check_problem.h"
#include "../c/reference.h"
#include "../c/run.h"

enum { MOST_ELEMENTS = 1 << 16 }; /* of any buffer of a damaged call that runs */

/* Of all calls that get one; made by the first. */
static bptt_team *fuzz_team;

LOCAL bptt_team *take_team(input *in) {
    if (!fuzz_team) CHECK_STATUS(bptt_team_make(&fuzz_team), BPTT_OK);
    return take_chance(in, 2) ? fuzz_team : NULL;
}

LOCAL int64_t take_size(input *in) {
    static const uint8_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 11, 15, 16, 17, 24, 25, 31, 33};
    return sizes[take_below(in, sizeof sizes)];
}

/* A large one makes work for several threads and shards. */
LOCAL shape take_shape(input *in, int large) {
    shape s = {.T = take_between(in, 1, 14), .B = take_between(in, 1, 9), .I = take_size(in), .H = take_size(in)};
    s.O = take_chance(in, 2) ? take_size(in) : 0;
    if (!large) return s;
    s.T += 20;
    s.B += 32;
    s.H += 16;
    return s;
}

/* A spec that the core takes. */
LOCAL bptt_spec take_spec(input *in, shape s, int forms_end, int most_layers, int most_directions) {
    bptt_spec spec = spec_of(s, (int)take_below(in, forms_end), (int32_t)take_between(in, 0, most_layers),
                             (int32_t)take_between(in, 1, most_directions));
    spec.bias = take_chance(in, 2);
    spec.learn_state = take_chance(in, 2);
    spec.dropout = take_chance(in, 4) ? 0.3 : 0;
    spec.recurrent_dropout = take_chance(in, 4) ? 0.3 : 0;
    spec.noise = take_chance(in, 4) ? 0.3 : 0;
    if (!take_chance(in, 3)) return spec;
    const int64_t V = take_chance(in, 2) ? take_between(in, 1, 30) : 0;
    return with_tokens(spec, V, V ? take_between(in, -1, V - 1) : -1);
}

/* ---- sound problems ---------------------------------------------------------------------------------- */

/* Where a rounded pre-activation may lie on the other side of a kink, float32 and the naive loops part. */
LOCAL int has_kinks(const problem *p) { return REAL_BITS == 32 && p->spec.cell == BPTT_CELL_RELU; }

/* Relative to the largest element, or to a tenth of the common size of outputs and their gradients: behind saturated
 * units gradients are small and have few digits. */
LOCAL void check_near(int64_t n, const REAL *actual, const double *expected) {
    CHECK_WITHIN(n, actual, expected, TOLERANCE * fmax(largest_of(n, expected), 0.1));
}

LOCAL void check_naive(const run *r) {
    trace tr = naive_forward(r->p, NULL);
    gradients g = naive_backward(r->p, &tr);
    check_near(r->sizes.output, r->y, tr.y);
    check_near(r->sizes.state, r->state1, tr.state1);
    for (int64_t i = 0; i < r->sizes.params; i++) g.grads[i] += grads_before(i);
    check_near(r->sizes.params, r->grads, g.grads);
    if (r->dx) check_near(input_count(r), r->dx, g.dx);
    check_near(r->sizes.state, r->dstate0, g.dstate0);
    if (r->p->norms) check_near(norm_count(r), r->step_norms, g.step_norms);
    if (r->states) {
        double *states = naive_states(r->p, &tr);
        check_near(r->p->T * r->sizes.state, r->states, states);
        release(states);
    }
    free_gradients(&g);
    free_trace(&tr);
}

/* Whether the naive loops take a few milliseconds under sanitizers. */
LOCAL int is_quick(const problem *p) {
    const int64_t H = p->spec.hidden_size, units = layer_dirs_of(&p->spec) * H;
    return p->T * p->B * units * blocks_of(&p->spec) * (p->spec.input_size + 2 * H) < 100000;
}

LOCAL void check_threads(input *in, const run *r) {
    run other = open_run(r->p, (int)take_between(in, 2, 5));
    other.options.team = take_team(in);
    forward_backward(&other);
    check_same(r, &other);
    close_run(&other);
}

/* Steps t..t+n-1 of the outputs y, with the state that the tape holds. */
LOCAL void forward_piece(const run *r, int64_t t, int64_t n, bptt_options *options, const REAL *state0, REAL *state1,
                         REAL *tape) {
    const problem *p = r->p;
    const int64_t rows = p->B * p->Y;
    bptt_sizes sizes = {.struct_size = sizeof sizes};
    options->reset = p->reset ? p->reset + t * p->B : NULL;
    options->tokens = p->tokens ? p->tokens + t * p->B : NULL;
    options->first_step = p->first_step + t;
    CHECK_STATUS(TYPED(bptt_sizes)(&p->spec, n, p->B, options, &sizes), BPTT_OK);
    REAL *y = array(n * rows), *work = array(sizes.forward_work);
    const REAL *x = p->tokens ? NULL : r->x + t * p->B * p->spec.input_size;
    CHECK_STATUS(TYPED(bptt_forward)(&p->spec, n, p->B, r->params, x, state0, y, state1, tape, work, options), BPTT_OK);
    CHECK(same_bits(n * rows, y, r->y + t * rows));
    release(y);
    release(work);
}

/* The same outputs in pieces, on a tape that slides along the sequence. */
LOCAL void check_sliding_tape(input *in, const run *r) {
    const problem *p = r->p;
    if (p->spec.bidirectional || p->lengths) return;
    const int64_t tape_steps = take_between(in, 1, p->T + 2);
    bptt_options options = {
        .struct_size = sizeof options, .tape_steps = tape_steps, .training = p->training, .dropout_seed = p->seed};
    bptt_sizes sizes = {.struct_size = sizeof sizes};
    CHECK_STATUS(TYPED(bptt_sizes)(&p->spec, 1, p->B, &options, &sizes), BPTT_OK);
    REAL *tape = array(sizes.tape), *state = array(sizes.state);
    for (int64_t t = 0, n, used = 0; t < p->T; t += n, used += n) {
        n = take_between(in, 1, tape_steps);
        n = n < p->T - t ? n : p->T - t;
        const int64_t most = used < tape_steps - n ? used : tape_steps - n, keep = take_between(in, 0, most);
        if (used) CHECK_STATUS(TYPED(bptt_tape_shift)(&p->spec, p->B, tape_steps, used, keep, tape), BPTT_OK);
        options.tape_first = used = keep;
        /* at the front of the tape NULL would mean the begin of the sequence */
        forward_piece(r, t, n, &options, t && !keep ? state : t ? NULL : r->state0, state, tape);
    }
    CHECK(same_bits(sizes.state, state, r->state1));
    release(tape);
    release(state);
}

LOCAL void fuzz_problem(input *in) {
    const int large = take_chance(in, 64);
    const shape s = take_shape(in, large);
    const bptt_spec spec = take_spec(in, s, FORMS, large ? 1 : 3, 2);
    const unsigned features = (take_byte(in) | take_byte(in) << 8) & ALL_FEATURES;
    problem p = problem_of(spec, s.T, s.B, features);
    run r = open_run(&p, 1);
    forward_backward(&r);
    check_sizes(&r);
    if (is_quick(&p) && !has_kinks(&p)) check_naive(&r);
    check_threads(in, &r);
    const unsigned checks = take_byte(in);
    if (checks & 1) check_without_tape(&r);
    if (checks & 2) check_other_memory(&r, take_below(in, 16), (int)take_byte(in));
    if (checks & 4) check_unwanted(&r);
    if (checks & 8) check_steps(&r, take_below(in, 16));
    if (checks & 16 && !spec.bidirectional) check_segment(&r, take_between(in, 1, s.T + 2));
    if (checks & 32) check_sliding_tape(in, &r);
    close_run(&r);
    free_problem(&p);
}

/* ---- damaged calls ----------------------------------------------------------------------------------- */

/* A call whose spec, options and sizes are anything. */
typedef struct {
    bptt_spec spec;
    bptt_options options;
    int64_t T, B, inputs;
    bptt_sizes sizes;
    REAL *params, *x, *state0, *dy, *dstate1;              /* inputs */
    REAL *y, *state1, *tape, *dx, *dstate0, *grads, *work; /* outputs */
} fuzz_call;

/* The options that are no pointers. */
LOCAL void take_options(input *in, bptt_options *o, int64_t T) {
    *o = (bptt_options){.struct_size = (size_t)take_integer(in, sizeof *o),
                        .threads = (int32_t)take_integer(in, take_below(in, 4)),
                        .carry_per_row = (int32_t)take_integer(in, take_below(in, 2)),
                        .step_clip_norm = take_number(in, 0),
                        .step_clip_value = take_number(in, 0),
                        .dy_start = take_integer(in, take_below(in, 2)),
                        .tape_steps = take_integer(in, take_chance(in, 4) ? T + take_below(in, 4) : 0),
                        .tape_first = take_integer(in, take_chance(in, 4) ? take_below(in, 3) : 0),
                        .segment = take_integer(in, take_chance(in, 4) ? take_below(in, 4) : 0),
                        .training = (int32_t)take_integer(in, take_below(in, 2)),
                        .state_given = (int32_t)take_integer(in, take_below(in, 2)),
                        .dropout_seed = take_any_word(in),
                        .first_step = take_integer(in, 0)};
}

/* The tensors lie one behind another and fill the parameters. */
LOCAL void check_tensors(const bptt_spec *spec, int64_t params) {
    int64_t count = 0, end = 0;
    bptt_tensor tensor;
    CHECK_STATUS(bptt_tensor_count(spec, &count), BPTT_OK);
    CHECK(count > 0);
    CHECK_STATUS(bptt_tensor_at(spec, count, &tensor), BPTT_ERROR_SIZE);
    CHECK_STATUS(bptt_tensor_at(spec, -1, &tensor), BPTT_ERROR_SIZE);
    for (int64_t i = 0; i < count && count < 300; i++, end += tensor.rows * (tensor.cols ? tensor.cols : 1)) {
        CHECK_STATUS(bptt_tensor_at(spec, i, &tensor), BPTT_OK);
        CHECK(tensor.offset == end && tensor.rows > 0 && tensor.cols >= 0);
        CHECK(memchr(tensor.name, 0, sizeof tensor.name) && tensor.name[0]);
    }
    CHECK(count >= 300 || end == params);
}

/* No size falls as the sequence grows, and none is negative. */
LOCAL void check_larger_sizes(const fuzz_call *c) {
    const bptt_sizes *s = &c->sizes;
    const int64_t parts[] = {s->params,       s->state,         s->output, s->tape,
                             s->forward_work, s->backward_work, s->packed, s->step_work};
    bptt_sizes more = {.struct_size = sizeof more};
    for (int i = 0; i < COUNT_OF(parts); i++) CHECK(parts[i] >= 0 && parts[i] <= PTRDIFF_MAX / (int64_t)sizeof(REAL));
    CHECK(s->params > 0 && s->state > 0 && s->output > 0 && s->tape > 0);
    if (c->options.tape_steps || c->T == INT64_MAX) return;
    if (TYPED(bptt_sizes)(&c->spec, c->T + 1, c->B, &c->options, &more)) return;
    CHECK(more.tape >= s->tape && more.forward_work >= s->forward_work && more.backward_work >= s->backward_work);
}

LOCAL int64_t largest_buffer(const fuzz_call *c) {
    const bptt_sizes *s = &c->sizes;
    const int64_t parts[] = {s->params, s->output, s->tape, s->forward_work, s->backward_work, s->packed, c->inputs};
    int64_t largest = 0;
    for (int i = 0; i < COUNT_OF(parts); i++) largest = parts[i] > largest ? parts[i] : largest;
    return largest;
}

/* Arrays of the options, once the sizes are known. Some integers are out of range: *status is what to expect then. */
LOCAL void take_option_arrays(input *in, fuzz_call *c, bptt_status *status) {
    const bptt_spec *s = &c->spec;
    const int64_t n = c->T * c->B, V = integers_of(s);
    const unsigned given = take_byte(in);
    if (given & 1) c->options.reset = take_flags(in, n);
    if (given & 2) c->options.carry = take_array(in, c->options.carry_per_row ? n : c->T);
    if (given & 4) c->options.step_norms = array(layer_dirs_of(s) * c->T);
    if (given & 8) c->options.states = array(c->T * c->sizes.state);
    if (given & 16) c->options.dstates = take_array(in, c->T * c->sizes.state);
    if (given & 32) c->options.team = take_team(in);
    if (!V) return;
    int64_t *tokens = buffer_of(n * (int64_t)sizeof *tokens);
    for (int64_t i = 0; i < n; i++) tokens[i] = any_of(V);
    const int64_t bad = take_integer(in, tokens[0]); /* of the first row, which has this step whatever its length */
    if (bad < 0 || bad >= V) *status = BPTT_ERROR_TOKEN;
    tokens[0] = bad;
    c->options.tokens = tokens;
}

LOCAL void release_option_arrays(bptt_options *o) {
    const void *const all[] = {o->reset, o->carry, o->step_norms, o->states, o->dstates, o->tokens};
    for (int i = 0; i < COUNT_OF(all); i++) release((void *)all[i]);
}

LOCAL void take_inputs(input *in, fuzz_call *c) {
    const bptt_sizes *s = &c->sizes;
    const int tokens = integers_of(&c->spec) > 0;
    const unsigned given = take_byte(in);
    c->params = take_array(in, s->params);
    c->x = tokens ? NULL : take_array(in, c->inputs);
    c->state0 = given & 1 && c->options.tape_first == 0 ? take_array(in, s->state) : NULL;
    c->dy = given & 2 ? take_array(in, (c->T - c->options.dy_start) * c->B * outputs_of(&c->spec)) : NULL;
    c->dstate1 = given & 4 ? take_array(in, s->state) : NULL;
    /* a continued tape holds an entering state, and in backward steps that forward wrote before */
    c->tape = array(s->tape);
    memset(c->tape, 0, (size_t)s->tape * sizeof(REAL));
}

LOCAL void make_outputs_of_call(fuzz_call *c) {
    const bptt_sizes *s = &c->sizes;
    c->y = array(s->output);
    c->state1 = array(s->state);
    c->dx = integers_of(&c->spec) ? NULL : array(c->inputs);
    c->dstate0 = array(s->state);
    c->grads = array(s->params);
    memset(c->grads, 0, (size_t)s->params * sizeof(REAL));
}

LOCAL void run_call(fuzz_call *c, bptt_status expected) {
    const bptt_sizes *s = &c->sizes;
    c->work = array(s->forward_work);
    CHECK_STATUS(TYPED(bptt_forward)(&c->spec, c->T, c->B, c->params, c->x, c->state0, c->y, c->state1, c->tape,
                                     c->work, &c->options),
                 expected);
    release(c->work);
    c->work = array(s->backward_work);
    CHECK_STATUS(TYPED(bptt_backward)(&c->spec, c->T, c->B, c->params, c->x, c->tape, c->dy, c->dstate1, c->dx,
                                      c->dstate0, c->grads, c->work, &c->options),
                 expected);
    release(c->work);
}

/* The same call on several threads. */
LOCAL void check_call_again(input *in, const fuzz_call *c) {
    const bptt_sizes *s = &c->sizes;
    fuzz_call other = *c;
    make_outputs_of_call(&other);
    other.tape = array(s->tape);
    memset(other.tape, 0, (size_t)s->tape * sizeof(REAL));
    other.options.threads = (int32_t)take_between(in, 1, 4);
    other.options.team = take_team(in);
    /* with step norms backward goes another way, whose sums have another order */
    other.options.step_norms = c->options.step_norms ? array(layer_dirs_of(&c->spec) * c->T) : NULL;
    other.options.states = NULL;
    run_call(&other, BPTT_OK);
    CHECK(same_numbers(s->output, c->y, other.y) && same_numbers(s->state, c->state1, other.state1));
    CHECK(!c->dx || same_numbers(c->inputs, c->dx, other.dx));
    CHECK(same_numbers(s->state, c->dstate0, other.dstate0) && same_numbers(s->params, c->grads, other.grads));
    REAL *const all[] = {
        other.y, other.state1, other.tape, other.dx, other.dstate0, other.grads, other.options.step_norms};
    release_all(all, COUNT_OF(all));
}

/* Weights packed for this spec, steps with them, and what was not packed for it. */
LOCAL void check_packed(input *in, const fuzz_call *c) {
    const bptt_sizes *s = &c->sizes;
    const bptt_status expected = c->spec.bidirectional ? BPTT_ERROR_OPTION : BPTT_OK;
    const int64_t V = integers_of(&c->spec), outputs = c->B * outputs_of(&c->spec);
    REAL *packed = array(s->packed), *work = array(s->step_work), *y = array(outputs), *state = array(s->state);
    const int foreign = take_chance(in, 4);
    memset(state, 0, (size_t)s->state * sizeof(REAL));
    CHECK_STATUS(TYPED(bptt_pack)(&c->spec, c->params, packed), expected);
    if (foreign && !expected) memset(packed, (int)take_byte(in), (size_t)s->packed * sizeof(REAL));
    bptt_status of_step = expected ? expected : foreign ? BPTT_ERROR_PACKED : BPTT_OK;
    if (V) {
        int64_t *tokens = buffer_of(c->B * (int64_t)sizeof *tokens);
        for (int64_t i = 0; i < c->B; i++) tokens[i] = any_of(V);
        tokens[any_of(c->B)] = take_chance(in, 8) ? V : tokens[0];
        for (int64_t i = 0; i < c->B && !of_step; i++) of_step = tokens[i] == V ? BPTT_ERROR_TOKEN : BPTT_OK;
        CHECK_STATUS(TYPED(bptt_step_tokens)(&c->spec, c->B, packed, tokens, state, y, work), of_step);
        release(tokens);
    } else {
        CHECK_STATUS(TYPED(bptt_step)(&c->spec, c->B, packed, c->x, state, y, work), of_step);
    }
    CHECK(of_step == BPTT_OK || untouched(outputs, &y, 1));
    REAL *const all[] = {packed, work, y, state};
    release_all(all, COUNT_OF(all));
}

/* Any part of a tape may be kept; other numbers are refused. */
LOCAL void check_shift(input *in, const fuzz_call *c) {
    const int64_t steps = c->T, used = take_integer(in, take_between(in, 0, 15)),
                  keep = take_integer(in, take_between(in, 0, 15));
    const int valid = used >= 1 && used <= steps && keep >= 0 && keep <= used && !c->spec.bidirectional;
    if (c->options.tape_steps || c->options.segment) return;
    CHECK_STATUS(TYPED(bptt_tape_shift)(&c->spec, c->B, steps, used, keep, c->tape),
                 valid ? BPTT_OK : BPTT_ERROR_OPTION);
}

/* A call without what it needs is refused. */
LOCAL void check_missing(const fuzz_call *c) {
    const bptt_status missing = BPTT_ERROR_NULL;
    REAL *work = array(9);
    CHECK_STATUS(
        TYPED(bptt_forward)(&c->spec, c->T, c->B, NULL, c->x, c->state0, c->y, NULL, c->tape, work, &c->options),
        missing);
    CHECK_STATUS(
        TYPED(bptt_forward)(&c->spec, c->T, c->B, c->params, c->x, c->state0, c->y, NULL, c->tape, NULL, &c->options),
        missing);
    CHECK_STATUS(TYPED(bptt_backward)(&c->spec, c->T, c->B, c->params, c->x, NULL, c->dy, c->dstate1, c->dx, NULL,
                                      c->grads, work, &c->options),
                 missing);
    CHECK_STATUS(TYPED(bptt_tape_shift)(&c->spec, c->B, c->T, 1, 1, NULL), missing);
    CHECK_STATUS(TYPED(bptt_sizes)(&c->spec, c->T, c->B, &c->options, NULL), missing);
    if (!c->spec.bidirectional) CHECK_STATUS(TYPED(bptt_pack)(&c->spec, NULL, work), missing);
    release(work);
}

/* How many damaged calls were not refused. */
static int accepted_calls;

LOCAL void run_accepted(input *in, fuzz_call *c) {
    bptt_status status = BPTT_OK;
    accepted_calls++;
    take_option_arrays(in, c, &status);
    take_inputs(in, c);
    make_outputs_of_call(c);
    if (status) { /* the gradients begin as other buffers do, so that what is written shows */
        memset(c->grads, buffer_fill, (size_t)c->sizes.params * sizeof(REAL));
    }
    run_call(c, status);
    if (status) {
        CHECK(untouched(c->sizes.output, &c->y, 1) && untouched(c->sizes.state, &c->state1, 1));
        CHECK(untouched(c->sizes.state, &c->dstate0, 1) && untouched(c->sizes.params, &c->grads, 1));
    } else {
        check_call_again(in, c);
        check_packed(in, c);
        check_shift(in, c);
        check_missing(c);
    }
    release_option_arrays(&c->options);
    REAL *const all[] = {c->params, c->x,      c->state0, c->dy,      c->dstate1, c->y,
                         c->tape,   c->state1, c->dx,     c->dstate0, c->grads};
    release_all(all, COUNT_OF(all));
}

/* Every function returns the status and writes nothing. */
LOCAL void check_refused(fuzz_call *c, bptt_status status) {
    enum { SMALL = 9 };
    REAL *b[12];
    for (int i = 0; i < COUNT_OF(b); i++) b[i] = array(SMALL);
    CHECK(c->sizes.params == 0 && c->sizes.tape == 0 && c->sizes.step_work == 0);
    CHECK_STATUS(TYPED(bptt_forward)(&c->spec, c->T, c->B, b[0], b[1], b[2], b[3], b[4], b[5], b[6], &c->options),
                 status);
    CHECK_STATUS(
        TYPED(bptt_backward)(&c->spec, c->T, c->B, b[0], b[1], b[5], b[3], b[4], b[7], b[8], b[9], b[10], &c->options),
        status);
    CHECK(untouched(SMALL, b, COUNT_OF(b)));
    int64_t count;
    if (bptt_tensor_count(&c->spec, &count)) { /* the spec alone is refused */
        bptt_tensor tensor;
        CHECK_STATUS(bptt_tensor_count(&c->spec, &count), status);
        CHECK_STATUS(bptt_tensor_at(&c->spec, 0, &tensor), status);
        CHECK_STATUS(TYPED(bptt_pack)(&c->spec, b[0], b[11]), status);
        CHECK_STATUS(TYPED(bptt_step)(&c->spec, 1, b[11], b[0], b[1], b[2], b[3]), status);
        CHECK_STATUS(TYPED(bptt_tape_shift)(&c->spec, 1, 1, 1, 0, b[5]), status);
        CHECK(untouched(SMALL, b, COUNT_OF(b)));
    }
    release_all(b, COUNT_OF(b));
}

/* bptt_explain has a sentence exactly where a call is refused, cut off to a buffer of any size. */
LOCAL void check_explained(input *in, const fuzz_call *c, bptt_status status) {
    char whole[400];
    const size_t size = (size_t)take_below(in, 120);
    char *cut = buffer_of((int64_t)size);
    const int length = TYPED(bptt_explain)(&c->spec, c->T, c->B, &c->options, whole, sizeof whole);
    const size_t kept = size > (size_t)length ? (size_t)length : size - 1;
    CHECK((length > 0) == (status != BPTT_OK) && length == (int)strlen(whole));
    CHECK(!length || (strstr(whole, " must ") && strstr(whole, ", got ")));
    CHECK(TYPED(bptt_explain)(&c->spec, c->T, c->B, &c->options, NULL, 0) == length);
    CHECK(TYPED(bptt_explain)(&c->spec, c->T, c->B, &c->options, cut, size) == length);
    CHECK(size == 0 || (strlen(cut) == kept && memcmp(cut, whole, kept) == 0));
    release(cut);
}

LOCAL void fuzz_damaged_call(input *in) {
    const shape s = take_shape(in, 0);
    fuzz_call c = {.spec = take_spec(in, s, FORMS, 3, 2), .sizes.struct_size = sizeof c.sizes};
    name_case("a damaged call");
    take_damage(in, &c.spec, sizeof c.spec);
    c.T = take_integer(in, s.T);
    c.B = take_integer(in, s.B);
    take_options(in, &c.options, s.T);
    int64_t *lengths = c.B >= 1 && c.B <= 16 && take_chance(in, 3) ? lengths_of(s.T, c.B) : NULL;
    if (lengths) lengths[take_below(in, c.B)] = take_integer(in, lengths[0]);
    c.options.lengths = lengths;
    const bptt_status status = TYPED(bptt_sizes)(&c.spec, c.T, c.B, &c.options, &c.sizes);
    check_explained(in, &c, status);
    if (status) check_refused(&c, status);
    if (!status) {
        /* what the core sees: a short struct hides its last fields */
        bptt_spec full = {0};
        bptt_options seen = {0};
        memcpy(&full, &c.spec, c.spec.struct_size);
        memcpy(&seen, &c.options, c.options.struct_size);
        full.struct_size = sizeof full;
        seen.struct_size = sizeof seen;
        c.spec = full;
        c.options = seen;
        c.inputs = integers_of(&full) ? 0 : c.T * c.B * full.input_size;
        check_tensors(&full, c.sizes.params);
        check_larger_sizes(&c);
        if (largest_buffer(&c) <= MOST_ELEMENTS && c.T * c.B * (full.one_hot ? 1 : full.input_size) <= MOST_ELEMENTS)
            run_accepted(in, &c);
    }
    release(lengths);
}
#endif
