/* Random calls: networks and options of all kinds on small sizes, against the naive loops; then calls of which any
 * argument may be out of range, which all functions must refuse with the same status, or run. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "bptt.h"
#include "check.h"
#include "check_problem.h"
#include "problem.h"
#include "real.h"
#include "reference.h"

/* ---- arguments that may be out of range ------------------------------------------------------------------ */

/* The usual value in 24 cases of 25, else one of those at the edges. */
static int64_t fuzz(int64_t usual) {
    static const int64_t values[] = {0, 1, 2, 3, -1, 7, INT32_MAX, INT64_C(1) << 40, INT64_MAX, INT64_MIN};
    return any_of(25) ? usual : values[any_of(sizeof values / sizeof values[0])];
}

static int32_t fuzz32(int32_t usual) {
    static const int32_t values[] = {0, 1, 2, 5, 6, -1, 100, INT32_MAX, INT32_MIN};
    return any_of(25) ? usual : values[any_of(sizeof values / sizeof values[0])];
}

static double fuzz_number(double usual) {
    static const double values[] = {0, 0.5, 0.999, 1, 2, -0.1, 1e300, INFINITY, -INFINITY, NAN};
    return any_of(25) ? usual : values[any_of(sizeof values / sizeof values[0])];
}

static bptt_spec fuzz_spec(void) {
    const bptt_spec usual =
        spec_of((shape){.I = 3, .H = 5, .O = 2}, (int)any_of(FORMS), (int32_t)any_of(3), (int32_t)(1 + any_of(2)));
    return (bptt_spec){.struct_size = (size_t)fuzz(sizeof(bptt_spec)),
                       .input_size = fuzz(usual.input_size),
                       .hidden_size = fuzz(usual.hidden_size),
                       .output_size = fuzz(usual.output_size),
                       .cell = fuzz32(usual.cell),
                       .bias = fuzz32(usual.bias),
                       .num_layers = fuzz32(usual.num_layers),
                       .bidirectional = fuzz32(usual.bidirectional),
                       .reset_before = fuzz32(usual.reset_before),
                       .peepholes = fuzz32(usual.peepholes),
                       .learn_state = fuzz32((int32_t)any_of(2)),
                       .one_hot = fuzz32(any_of(3) == 0),
                       .dropout = fuzz_number(0.25),
                       .recurrent_dropout = fuzz_number(0.25),
                       .num_embeddings = any_of(3) ? 0 : fuzz(3),
                       .padding_row = any_of(6) ? 0 : fuzz(2),
                       .leak = fuzz_number(usual.leak),
                       .noise = fuzz_number(0.25),
                       .learn_leak = fuzz(usual.learn_leak)};
}

/* lengths (4,) or NULL, tokens or NULL. */
static bptt_options fuzz_options(const int64_t *lengths, const int64_t *tokens) {
    return (bptt_options){.struct_size = (size_t)fuzz(sizeof(bptt_options)),
                          .threads = fuzz32(1),
                          .carry_per_row = fuzz32(0),
                          .step_clip_norm = fuzz_number(0),
                          .step_clip_value = fuzz_number(0),
                          .dy_start = fuzz(1),
                          .tape_steps = fuzz(0),
                          .tape_first = fuzz(0),
                          .lengths = lengths,
                          .segment = any_of(3) ? 0 : fuzz(2),
                          .training = fuzz32((int32_t)any_of(2)),
                          .state_given = fuzz32(0),
                          .dropout_seed = (uint64_t)fuzz(1),
                          .first_step = fuzz(0),
                          .tokens = tokens};
}

/* How many fuzzed calls were not refused. */
static int accepted_calls;

/* The buffers of a call, as large as `sizes` says. A refused call gets small ones, which it must not touch. */
typedef struct {
    REAL *params, *x, *state, *dy, *y, *tape, *dx, *grads, *work;
} call_buffers;

static call_buffers buffers_for(const bptt_sizes *s, int64_t inputs) {
    const int64_t work = s->forward_work > s->backward_work ? s->forward_work : s->backward_work;
    return (call_buffers){array(s->params), array(inputs), array(s->state),  array(s->output), array(s->output),
                          array(s->tape),   array(inputs), array(s->params), array(work)};
}

static void release_buffers(call_buffers b, int untouched, const bptt_sizes *s, int64_t inputs) {
    REAL *const all[] = {b.params, b.x, b.state, b.dy, b.y, b.tape, b.dx, b.grads};
    const int64_t n[] = {s->params, inputs, s->state, s->output, s->output, s->tape, inputs, s->params};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        CHECK(!untouched || !all[i] || all_bytes(all[i], n[i] * (int64_t)sizeof(REAL), 0xff));
        release(all[i]);
    }
    release(b.work);
}

/* Integers below V; in one case of 9 the first is not, and *status becomes what is to be expected. */
static int64_t *fuzz_tokens(int64_t n, int64_t V, bptt_status *status) {
    int64_t *tokens = buffer_of(n * (int64_t)sizeof *tokens);
    for (int64_t i = 0; i < n; i++) tokens[i] = any_of(V);
    if (any_of(9) == 0) {
        tokens[0] = any_of(2) ? V + any_of(3) : -1 - any_of(3);
        *status = BPTT_ERROR_TOKEN;
    }
    return tokens;
}

/* bptt_explain has a sentence, which says what was expected and what came, exactly where a call is refused. */
static void check_explained(const bptt_spec *spec, int64_t T, int64_t B, const bptt_options *options,
                            bptt_status status) {
    char text[400];
    const int length = TYPED(bptt_explain)(spec, T, B, options, text, sizeof text);
    CHECK((length > 0) == (status != BPTT_OK));
    CHECK(length == (int)strlen(text));
    CHECK(!length || (strstr(text, " must ") && strstr(text, ", got ")));
}

/* All functions must return the same status. A refused call writes nothing, an accepted one stays within its buffers.
 */
static void check_fuzzed_call(void) {
    const int64_t lengths[] = {4, fuzz(3), 2, 2};
    const bptt_spec spec = fuzz_spec();
    bptt_options o = fuzz_options(any_of(3) ? NULL : lengths, any_of(9) ? NULL : lengths);
    const int64_t T = fuzz(4), B = o.lengths ? 4 : fuzz(4);
    const bptt_sizes small = {.params = 9, .state = 9, .output = 9, .tape = 9, .forward_work = 9, .backward_work = 9};
    bptt_sizes sizes = {.struct_size = sizeof sizes};
    name_case("fuzzed arguments");
    bptt_status status = TYPED(bptt_sizes)(&spec, T, B, &o, &sizes);
    const int64_t inputs = status ? 9 : T * B * spec.input_size;
    if (!status && (sizes.params > 200000 || sizes.backward_work > 200000 || sizes.forward_work > 200000 ||
                    sizes.tape > 200000 || inputs > 200000))
        return;
    const bptt_sizes *s = status ? &small : &sizes;
    call_buffers b = buffers_for(s, inputs);
    if (status) CHECK(sizes.params == 0 && sizes.tape == 0 && sizes.step_work == 0);
    else accepted_calls++;
    int64_t *tokens = NULL;
    if (!status && integers_of(&spec)) {
        o.tokens = tokens = fuzz_tokens(T * B, integers_of(&spec), &status);
        release(b.x);
        release(b.dx);
        b.x = b.dx = NULL;
    }
    check_explained(&spec, T, B, &o, status);
    CHECK_STATUS(TYPED(bptt_forward)(&spec, T, B, b.params, b.x, o.tape_first > 0 ? NULL : b.state, b.y, b.state,
                                     b.tape, b.work, &o),
                 status);
    CHECK_STATUS(
        TYPED(bptt_backward)(&spec, T, B, b.params, b.x, b.tape, b.dy, b.state, b.dx, b.state, b.grads, b.work, &o),
        status);
    release_buffers(b, status != BPTT_OK, s, inputs);
    release(tokens);
}

/* ---- random problems ---------------------------------------------------------------------------------- */

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
    spec.noise = any_of(3) ? 0 : 0.3;
    const int64_t V = any_of(3) ? 0 : 1 + any_of(30);
    return V ? with_tokens(spec, V, any_of(1 + V) - 1) : any_of(3) ? spec : with_tokens(spec, 0, -1);
}

/* Each feature with a chance of a third. */
static unsigned random_features(void) {
    unsigned features = 0;
    for (unsigned bit = 1; bit <= ALL_FEATURES; bit *= 2) features |= any_of(3) ? 0 : bit;
    return features;
}

static void check_random_problem(void) {
    const shape s = random_shape();
    problem p = problem_of(random_spec(s), s.T, s.B, random_features());
    check_against_naive(&p);
    free_problem(&p);
}

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    for (int i = 0; i < 400; i++) check_random_problem();
    for (int i = 0; i < 3000; i++) check_fuzzed_call();
    CHECK(accepted_calls > 100);
    return end_of_checks();
}
