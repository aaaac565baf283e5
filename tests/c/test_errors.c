/* Every error that a call on data can return, and that the call then wrote nothing; and structs of other sizes. */
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "bad_specs.h"
#include "bptt.h"
#include "check.h"
#include "real.h"

/* Valid arguments of all calls on a small network; each check makes one of them invalid. */
typedef struct {
    bptt_spec spec;
    bptt_options options;
    bptt_sizes sizes;
    int64_t T, B;
    REAL *memory, *in, *out, *state, *work; /* memory (4*PIECE), and the four buffers in it */
} arguments;

enum { PIECE = 1 << 14 };

static arguments valid_arguments(REAL *memory) {
    arguments a = {.spec = small_spec(), .T = 5, .B = 2, .memory = memory};
    a.options.struct_size = sizeof a.options;
    a.sizes.struct_size = sizeof a.sizes;
    a.options.threads = 1;
    a.in = memory;
    a.out = memory + PIECE;
    a.state = memory + 2 * PIECE;
    a.work = memory + 3 * PIECE;
    for (int64_t i = 0; i < 4 * PIECE; i++) memory[i] = (REAL)0.25;
    return a;
}

static bptt_status call_sizes(arguments *a) { return TYPED(bptt_sizes)(&a->spec, a->T, a->B, &a->options, &a->sizes); }

static bptt_status call_forward(arguments *a) {
    return TYPED(bptt_forward)(&a->spec, a->T, a->B, a->in, a->in, NULL, a->out, NULL, a->state, a->work, &a->options);
}

static bptt_status call_backward(arguments *a) {
    return TYPED(bptt_backward)(&a->spec, a->T, a->B, a->in, a->in, a->state, NULL, NULL, NULL, NULL, a->out, a->work,
                                &a->options);
}

static bptt_status call_shift(arguments *a) { return TYPED(bptt_tape_shift)(&a->spec, a->B, a->T, a->T, 0, a->state); }

static bptt_status call_pack(arguments *a) { return TYPED(bptt_pack)(&a->spec, a->in, a->out); }

static bptt_status call_step(arguments *a) {
    return TYPED(bptt_step)(&a->spec, a->B, a->in, a->in, a->state, a->out, a->work);
}

static bptt_status call_step_tokens(arguments *a) {
    return TYPED(bptt_step_tokens)(&a->spec, a->B, a->in, (int64_t[]){0, 0}, a->state, a->out, a->work);
}

typedef bptt_status caller(arguments *);

/* Whether the buffers hold what valid_arguments wrote, and sizes nothing. */
static int untouched(const arguments *a) {
    for (int64_t i = 0; i < 4 * PIECE; i++)
        if (a->memory[i] != (REAL)0.25) return 0;
    return a->sizes.params == 0 && a->sizes.tape == 0;
}

static void expect(caller *call, arguments a, bptt_status expected) {
    const int asks_options = call == call_sizes || call == call_forward || call == call_backward;
    if (asks_options) CHECK((TYPED(bptt_explain)(&a.spec, a.T, a.B, &a.options, NULL, 0) > 0) == (expected != BPTT_OK));
    CHECK_STATUS(call(&a), expected);
    CHECK(untouched(&a));
}

/* ---- specs ------------------------------------------------------------------------------------------- */

static void check_specs(const arguments *valid) {
    caller *const callers[] = {call_sizes, call_forward, call_backward,   call_shift,
                               call_pack,  call_step,    call_step_tokens};
    for (size_t i = 0; i < sizeof bad_specs / sizeof bad_specs[0]; i++)
        for (size_t k = 0; k < sizeof callers / sizeof callers[0]; k++) {
            arguments a = *valid;
            a.spec = bad_specs[i].spec;
            name_case("bad spec %d, call %d", (int)i, (int)k);
            expect(callers[k], a, bad_specs[i].expected);
        }
}

/* A leak and a noise that float32 cannot tell from zero, and a noise beyond its range. */
static void check_specs_of_type(const arguments *valid) {
    caller *const callers[] = {call_sizes, call_forward, call_backward};
    arguments leak = *valid, weak = *valid, loud = *valid;
    leak.spec.leak = weak.spec.noise = 1e-60;
    loud.spec.noise = 1e60;
    name_case("leak and noise of the type");
    for (size_t k = 0; k < sizeof callers / sizeof callers[0] && REAL_BITS == 32; k++) {
        expect(callers[k], leak, BPTT_ERROR_OPTION);
        expect(callers[k], weak, BPTT_ERROR_OPTION);
        expect(callers[k], loud, BPTT_ERROR_OPTION);
    }
}

/* ---- sizes and options of a call ----------------------------------------------------------------------- */

static void check_steps_and_rows(const arguments *valid) {
    static const int64_t bad[] = {0, -1, INT64_MIN, INT64_MAX, INT64_C(1) << 56, INT64_C(1) << 52};
    caller *const callers[] = {call_sizes, call_forward, call_backward, call_shift, call_step, call_step_tokens};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        for (size_t k = 0; k < sizeof callers / sizeof callers[0]; k++) {
            arguments a = *valid, b = *valid;
            const bptt_status expected = bad[i] < 1 ? BPTT_ERROR_SIZE : BPTT_ERROR_OVERFLOW;
            name_case("T or B %lld, call %d", (long long)bad[i], (int)k);
            a.B = bad[i];
            b.T = bad[i];
            expect(callers[k], a, expected);
            if (callers[k] != call_step && callers[k] != call_step_tokens) expect(callers[k], b, expected);
        }
}

/* Sizes of which two can be multiplied, and whose whole product is 2^64, which wraps around to 0. */
static void check_products(const arguments *valid) {
    caller *const callers[] = {call_sizes, call_forward, call_backward};
    arguments a = *valid;
    a.T = (INT64_C(1) << 30) - 2; /* 2, 64 and 64 are added before */
    a.B = (INT64_C(1) << 23) - 64;
    a.spec.input_size = (INT64_C(1) << 11) - 64;
    name_case("product 2^64");
    for (size_t k = 0; k < sizeof callers / sizeof callers[0]; k++) expect(callers[k], a, BPTT_ERROR_OVERFLOW);
}

/* The three calls that take options. */
static void expect_options(const arguments *valid, bptt_options options, bptt_status expected) {
    arguments a = *valid;
    a.options = options;
    expect(call_sizes, a, expected);
    expect(call_forward, a, expected);
    expect(call_backward, a, expected);
}

static void check_options(const arguments *valid) {
    const size_t size = sizeof(bptt_options);
    const bptt_options bad[] = {
        {.struct_size = size, .threads = -1},
        {.struct_size = size, .carry_per_row = 2},
        {.struct_size = size, .carry_per_row = -1},
        {.struct_size = size, .dy_start = -1},
        {.struct_size = size, .dy_start = valid->T + 1},
        {.struct_size = size, .tape_steps = -1},
        {.struct_size = size, .tape_steps = valid->T - 1},
        {.struct_size = size, .tape_first = -1},
        {.struct_size = size, .tape_first = 1},
        {.struct_size = size, .tape_first = INT64_MAX},
        {.struct_size = size, .tape_first = 2, .tape_steps = valid->T + 1},
        {.struct_size = size, .tape_first = INT64_MAX, .tape_steps = valid->T + 1},
        {.struct_size = size, .segment = -1},
        {.struct_size = size, .segment = INT64_MIN},
        {.struct_size = size, .segment = 2, .tape_steps = valid->T},
        {.struct_size = size, .segment = 2, .tape_steps = valid->T + 1, .tape_first = 1},
        {.struct_size = size, .training = 2},
        {.struct_size = size, .training = -1},
        {.struct_size = size, .state_given = 2},
        {.struct_size = size, .state_given = -1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        name_case("bad options %d", (int)i);
        expect_options(valid, bad[i], BPTT_ERROR_OPTION);
    }
    name_case("options of another size");
    expect_options(valid, (bptt_options){.struct_size = 0}, BPTT_ERROR_STRUCT);
    expect_options(valid, (bptt_options){.struct_size = STRUCT_LEAST - 1}, BPTT_ERROR_STRUCT);
    expect_options(valid, (bptt_options){.struct_size = size + 1}, BPTT_ERROR_STRUCT);
    expect_options(valid, (bptt_options){.struct_size = size + 8}, BPTT_ERROR_STRUCT);
    expect_options(valid, (bptt_options){.struct_size = SIZE_MAX}, BPTT_ERROR_STRUCT);
    name_case("a tape beyond memory");
    expect_options(valid, (bptt_options){.struct_size = size, .tape_steps = INT64_MAX}, BPTT_ERROR_OVERFLOW);
}

static void check_step_thresholds(const arguments *valid) {
    const double bad[] = {NAN, -1, -INFINITY, 1e-60};
    const size_t of_type = REAL_BITS == 32 ? 4 : 3; /* the last is zero in float32 */
    for (size_t i = 0; i < of_type; i++) {
        bptt_options norm = {.struct_size = sizeof norm, .step_clip_norm = bad[i]};
        bptt_options value = {.struct_size = sizeof value, .step_clip_value = bad[i]};
        name_case("step threshold %g", bad[i]);
        expect_options(valid, norm, BPTT_ERROR_THRESHOLD);
        expect_options(valid, value, BPTT_ERROR_THRESHOLD);
    }
}

/* ---- NULL ---------------------------------------------------------------------------------------------- */

static void check_null_network(arguments *a) {
    const bptt_spec *s = &a->spec;
    const bptt_status null = BPTT_ERROR_NULL;
    REAL *in = a->in, *out = a->out, *state = a->state, *work = a->work;
    name_case("NULL for the network");
    CHECK_STATUS(TYPED(bptt_sizes)(NULL, 5, 2, NULL, &a->sizes), null);
    CHECK_STATUS(TYPED(bptt_sizes)(s, 5, 2, NULL, NULL), null);
    CHECK_STATUS(TYPED(bptt_forward)(NULL, 5, 2, in, in, NULL, out, NULL, NULL, work, NULL), null);
    CHECK_STATUS(TYPED(bptt_forward)(s, 5, 2, NULL, in, NULL, out, NULL, NULL, work, NULL), null);
    CHECK_STATUS(TYPED(bptt_forward)(s, 5, 2, in, NULL, NULL, out, NULL, NULL, work, NULL), null);
    CHECK_STATUS(TYPED(bptt_forward)(s, 5, 2, in, in, NULL, out, NULL, NULL, NULL, NULL), null);
    CHECK_STATUS(TYPED(bptt_backward)(NULL, 5, 2, in, in, in, NULL, NULL, NULL, NULL, out, work, NULL), null);
    CHECK_STATUS(TYPED(bptt_backward)(s, 5, 2, NULL, in, in, NULL, NULL, NULL, NULL, out, work, NULL), null);
    CHECK_STATUS(TYPED(bptt_backward)(s, 5, 2, in, NULL, in, NULL, NULL, NULL, NULL, out, work, NULL), null);
    CHECK_STATUS(TYPED(bptt_backward)(s, 5, 2, in, in, NULL, NULL, NULL, NULL, NULL, out, work, NULL), null);
    CHECK_STATUS(TYPED(bptt_backward)(s, 5, 2, in, in, in, NULL, NULL, NULL, NULL, out, NULL, NULL), null);
    CHECK_STATUS(TYPED(bptt_tape_shift)(NULL, 2, 5, 5, 1, state), null);
    CHECK_STATUS(TYPED(bptt_tape_shift)(s, 2, 5, 5, 1, NULL), null);
    CHECK_STATUS(TYPED(bptt_pack)(NULL, in, out), null);
    CHECK_STATUS(TYPED(bptt_pack)(s, NULL, out), null);
    CHECK_STATUS(TYPED(bptt_pack)(s, in, NULL), null);
    CHECK_STATUS(TYPED(bptt_step)(NULL, 2, in, in, state, out, work), null);
    CHECK_STATUS(TYPED(bptt_step)(s, 2, NULL, in, state, out, work), null);
    CHECK_STATUS(TYPED(bptt_step)(s, 2, in, NULL, state, out, work), null);
    CHECK_STATUS(TYPED(bptt_step)(s, 2, in, in, NULL, out, work), null);
    CHECK_STATUS(TYPED(bptt_step)(s, 2, in, in, state, out, NULL), null);
    CHECK(untouched(a));
}

static void check_tape_shift(arguments *a) {
    name_case("tape shift");
    static const struct {
        int64_t steps, used, keep;
        bptt_status expected;
    } bad[] = {
        {5, 5, -1, BPTT_ERROR_OPTION}, {5, 5, 6, BPTT_ERROR_OPTION},           {5, 3, 4, BPTT_ERROR_OPTION},
        {5, 6, 2, BPTT_ERROR_OPTION},  {5, 0, 0, BPTT_ERROR_OPTION},           {5, -1, -1, BPTT_ERROR_OPTION},
        {0, 0, 0, BPTT_ERROR_SIZE},    {INT64_MAX, 5, 1, BPTT_ERROR_OVERFLOW}, {-1, 5, 1, BPTT_ERROR_SIZE},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_STATUS(TYPED(bptt_tape_shift)(&a->spec, 2, bad[i].steps, bad[i].used, bad[i].keep, a->state),
                     bad[i].expected);
    CHECK(untouched(a));
}

/* Two directions need the whole sequence: no tape that continues, no segments, no single steps. */
static void check_two_directions(const arguments *valid) {
    arguments a = *valid;
    const size_t size = sizeof(bptt_options);
    name_case("two directions");
    a.spec.bidirectional = 1;
    expect_options(&a, (bptt_options){.struct_size = size, .segment = 2}, BPTT_ERROR_OPTION);
    expect_options(&a, (bptt_options){.struct_size = size, .tape_steps = 6}, BPTT_ERROR_OPTION);
    expect_options(&a, (bptt_options){.struct_size = size, .tape_steps = 6, .tape_first = 1}, BPTT_ERROR_OPTION);
    expect(call_shift, a, BPTT_ERROR_OPTION);
    expect(call_pack, a, BPTT_ERROR_OPTION);
    expect(call_step, a, BPTT_ERROR_OPTION);
    expect(call_step_tokens, a, BPTT_ERROR_OPTION);
}

/* Lengths for 5 steps and 2 rows. */
static void check_lengths(const arguments *valid) {
    const size_t size = sizeof(bptt_options);
    static const int64_t bad[][2] = {{0, 0}, {5, 0},  {6, 5},         {3, 4},        {-1, -1},
                                     {4, 5}, {5, -5}, {INT64_MAX, 1}, {INT64_MIN, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        name_case("lengths %lld %lld", (long long)bad[i][0], (long long)bad[i][1]);
        expect_options(valid, (bptt_options){.struct_size = size, .lengths = bad[i]}, BPTT_ERROR_LENGTHS);
    }
    /* too many rows are refused before their lengths are read */
    arguments a = *valid;
    a.B = INT64_MAX;
    expect_options(&a, (bptt_options){.struct_size = size, .lengths = (int64_t[]){5}}, BPTT_ERROR_OVERFLOW);
}

/* ---- structs of callers that were built with an older header ------------------------------------------------ */

/* A copy of the first `size` bytes of a struct, in memory that ends there. */
static void *shortened(const void *whole, size_t size) {
    void *copy = memcpy(buffer_of((int64_t)size), whole, size);
    memcpy(copy, &size, sizeof size);
    return copy;
}

/* y (20) and the gradients of the 46 parameters, after forward and backward with these structs. */
enum { OUTPUTS = 20, PARAMS = 46 };

static void compute(const arguments *a, const bptt_spec *spec, const bptt_options *options, REAL *y, REAL *grads) {
    REAL *tape = array(PIECE), *work = array(PIECE);
    bptt_sizes sizes = {.struct_size = sizeof sizes};
    int64_t count = 0;
    bptt_tensor tensor;
    CHECK_STATUS(TYPED(bptt_sizes)(spec, 5, 2, options, &sizes), BPTT_OK);
    CHECK(sizes.output == OUTPUTS && sizes.params == PARAMS && sizes.tape == a->sizes.tape);
    CHECK_STATUS(bptt_tensor_count(spec, &count), BPTT_OK);
    CHECK(count == 6);
    CHECK_STATUS(bptt_tensor_at(spec, 5, &tensor), BPTT_OK);
    CHECK(tensor.offset == 44);
    CHECK_STATUS(TYPED(bptt_forward)(spec, 5, 2, a->in, a->in, NULL, y, NULL, tape, work, options), BPTT_OK);
    memset(grads, 0, PARAMS * sizeof *grads);
    CHECK_STATUS(TYPED(bptt_backward)(spec, 5, 2, a->in, a->in, tape, a->in, NULL, NULL, NULL, grads, work, options),
                 BPTT_OK);
    release(tape);
    release(work);
}

/* Fields beyond the caller's struct_size count as zero, and the memory there is not read. */
static void check_older_structs(arguments a) {
    const size_t specs[] = {offsetof(bptt_spec, num_layers), offsetof(bptt_spec, bidirectional),
                            offsetof(bptt_spec, dropout), offsetof(bptt_spec, num_embeddings),
                            offsetof(bptt_spec, leak)};
    const size_t options[] = {STRUCT_LEAST, offsetof(bptt_options, segment), offsetof(bptt_options, dropout_seed),
                              offsetof(bptt_options, tokens)};
    REAL *y = array(OUTPUTS), *grads = array(PARAMS), *older_y = array(OUTPUTS), *older_grads = array(PARAMS);
    name_case("older structs");
    CHECK_STATUS(call_sizes(&a), BPTT_OK);
    compute(&a, &a.spec, &a.options, y, grads);
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++)
        for (size_t k = 0; k < sizeof options / sizeof options[0]; k++) {
            bptt_spec *older_spec = shortened(&a.spec, specs[i]);
            bptt_options *older_options = shortened(&a.options, options[k]);
            compute(&a, older_spec, older_options, older_y, older_grads);
            CHECK(same_bits(OUTPUTS, older_y, y));
            CHECK(same_bits(PARAMS, older_grads, grads));
            release(older_spec);
            release(older_options);
        }
    REAL *const all[] = {y, grads, older_y, older_grads};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

/* Forward and backward may be given the same options: neither follows the pointers that only the other uses. */
static void check_pointers_of_the_other(arguments a) {
    void *const nowhere = (void *)1;
    bptt_options forward = a.options, backward = a.options;
    REAL *y = array(OUTPUTS), *grads = array(PARAMS), *tape = array(PIECE), *work = array(PIECE);
    REAL *plain_y = array(OUTPUTS), *plain_grads = array(PARAMS);
    name_case("pointers that the other call uses");
    CHECK_STATUS(call_sizes(&a), BPTT_OK);
    compute(&a, &a.spec, &a.options, plain_y, plain_grads);
    forward.carry = forward.dstates = nowhere;
    forward.step_norms = backward.states = nowhere;
    CHECK_STATUS(TYPED(bptt_forward)(&a.spec, 5, 2, a.in, a.in, NULL, y, NULL, tape, work, &forward), BPTT_OK);
    memset(grads, 0, PARAMS * sizeof *grads);
    CHECK_STATUS(TYPED(bptt_backward)(&a.spec, 5, 2, a.in, a.in, tape, a.in, NULL, NULL, NULL, grads, work, &backward),
                 BPTT_OK);
    CHECK(same_bits(OUTPUTS, y, plain_y));
    CHECK(same_bits(PARAMS, grads, plain_grads));
    REAL *const all[] = {y, grads, tape, work, plain_y, plain_grads};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) release(all[i]);
}

/* A shorter bptt_sizes, in memory that ends there, is filled and keeps its struct_size. */
static void check_older_sizes(arguments a) {
    const size_t size = offsetof(bptt_sizes, packed);
    name_case("older sizes");
    CHECK_STATUS(call_sizes(&a), BPTT_OK);
    bptt_sizes *older = shortened(&(bptt_sizes){0}, size);
    CHECK_STATUS(TYPED(bptt_sizes)(&a.spec, a.T, a.B, &a.options, older), BPTT_OK);
    CHECK(older->struct_size == size);
    const size_t header = sizeof a.sizes.struct_size;
    CHECK(memcmp((char *)older + header, (char *)&a.sizes + header, size - header) == 0);
    release(older);
}

static void check_sizes_struct(arguments *a) {
    name_case("sizes of another size");
    a->sizes.struct_size = sizeof a->sizes + 8;
    CHECK_STATUS(call_sizes(a), BPTT_ERROR_STRUCT);
    a->sizes.struct_size = STRUCT_LEAST - 1;
    CHECK_STATUS(call_sizes(a), BPTT_ERROR_STRUCT);
    a->sizes.struct_size = 0;
    CHECK_STATUS(call_sizes(a), BPTT_ERROR_STRUCT);
    CHECK(untouched(a));
    a->sizes.struct_size = sizeof a->sizes;
}

/* ---- clipping, losses, optimisers ------------------------------------------------------------------------ */

static void check_bad_clips(arguments *a) {
    const double bad[] = {0, -1, NAN, -INFINITY};
    double norm = 7;
    name_case("bad clips");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_STATUS(TYPED(bptt_clip_norm)(3, a->out, bad[i], &norm), BPTT_ERROR_THRESHOLD);
        CHECK_STATUS(TYPED(bptt_clip_value)(3, a->out, bad[i], &norm), BPTT_ERROR_THRESHOLD);
    }
    CHECK_STATUS(TYPED(bptt_clip_norm)(3, NULL, 1, &norm), BPTT_ERROR_NULL);
    CHECK_STATUS(TYPED(bptt_clip_norm)(3, a->out, 0.01, NULL), BPTT_ERROR_NULL);
    CHECK_STATUS(TYPED(bptt_clip_norm)(0, a->out, 0.01, &norm), BPTT_ERROR_SIZE);
    CHECK_STATUS(TYPED(bptt_clip_norm)(-1, a->out, 0.01, &norm), BPTT_ERROR_SIZE);
    CHECK_STATUS(TYPED(bptt_clip_value)(3, NULL, 0.01, &norm), BPTT_ERROR_NULL);
    CHECK_STATUS(TYPED(bptt_clip_value)(0, a->out, 0.01, &norm), BPTT_ERROR_SIZE);
    CHECK_STATUS(TYPED(bptt_clip_value)(-1, a->out, 0.01, &norm), BPTT_ERROR_SIZE);
    const int8_t rules[] = {BPTT_RULE_ZERO, BPTT_RULE_ZERO, BPTT_RULE_ZERO};
    CHECK_STATUS(TYPED(bptt_constrain)(3, NULL, 0, a->out), BPTT_ERROR_NULL);
    CHECK_STATUS(TYPED(bptt_constrain)(3, rules, 0, NULL), BPTT_ERROR_NULL);
    CHECK_STATUS(TYPED(bptt_constrain)(0, rules, 0, a->out), BPTT_ERROR_SIZE);
    CHECK_STATUS(TYPED(bptt_constrain)(-1, rules, 0, a->out), BPTT_ERROR_SIZE);
    CHECK_STATUS(TYPED(bptt_constrain)(3, rules, 2, a->out), BPTT_ERROR_OPTION);
    CHECK_STATUS(TYPED(bptt_constrain)(3, rules, -1, a->out), BPTT_ERROR_OPTION);
    CHECK_STATUS(TYPED(bptt_scale)(3, NULL, 2), BPTT_ERROR_NULL);
    CHECK_STATUS(TYPED(bptt_scale)(0, a->out, 2), BPTT_ERROR_SIZE);
    CHECK_STATUS(TYPED(bptt_scale)(-1, a->out, 2), BPTT_ERROR_SIZE);
    CHECK(norm == 7 && untouched(a));
}

/* All losses with these arguments; y or target may be NULL. */
static void expect_losses(int64_t N, int64_t C, const REAL *y, const REAL *target, int reduction, REAL *dy,
                          double *loss, bptt_status expected) {
    const int64_t labels[] = {0, 0, 0}, *given = target ? labels : NULL;
    const bptt_reduction r = (bptt_reduction)reduction;
    CHECK_STATUS(TYPED(bptt_mse)(N, C, y, target, NULL, r, dy, loss), expected);
    CHECK_STATUS(TYPED(bptt_cross_entropy)(N, C, y, given, -1, NULL, r, dy, loss), expected);
    CHECK_STATUS(TYPED(bptt_binary_cross_entropy)(N, C, y, target, NULL, r, dy, loss), expected);
    CHECK_STATUS(TYPED(bptt_huber)(N, C, y, target, 1, NULL, r, dy, loss), expected);
    CHECK_STATUS(TYPED(bptt_weighted_cross_entropy)(N, C, y, given, -1, NULL, 0.1, NULL, r, dy, loss), expected);
}

static void check_bad_losses(arguments *a) {
    double loss = 7;
    name_case("bad losses");
    expect_losses(3, 2, NULL, a->in, 0, a->out, &loss, BPTT_ERROR_NULL);
    expect_losses(3, 2, a->in, NULL, 0, a->out, &loss, BPTT_ERROR_NULL);
    expect_losses(3, 2, a->in, a->in, 0, a->out, NULL, BPTT_ERROR_NULL);
    expect_losses(0, 2, a->in, a->in, 0, a->out, &loss, BPTT_ERROR_SIZE);
    expect_losses(-3, 2, a->in, a->in, 0, a->out, &loss, BPTT_ERROR_SIZE);
    expect_losses(3, 0, a->in, a->in, 0, a->out, &loss, BPTT_ERROR_SIZE);
    expect_losses(3, -2, a->in, a->in, 0, a->out, &loss, BPTT_ERROR_SIZE);
    expect_losses(3, INT64_MAX / 2, a->in, a->in, 0, a->out, &loss, BPTT_ERROR_OVERFLOW);
    expect_losses(INT64_C(1) << 62, 3, a->in, a->in, 0, a->out, &loss, BPTT_ERROR_OVERFLOW);
    expect_losses(3, 2, a->in, a->in, 2, a->out, &loss, BPTT_ERROR_OPTION);
    expect_losses(3, 2, a->in, a->in, 7, a->out, &loss, BPTT_ERROR_OPTION);
    CHECK(loss == 7 && untouched(a));
}

/* The arguments that all optimisers have: n, pointers, lr and weight decay. */
static void expect_optimisers(int64_t n, REAL *p, const REAL *g, REAL *s, double lr, double decay,
                              bptt_status expected) {
    CHECK_STATUS(TYPED(bptt_sgd)(n, p, g, s, lr, 0.5, 0, decay), expected);
    CHECK_STATUS(TYPED(bptt_rmsprop)(n, p, g, s, lr, 0.5, 0.1, decay), expected);
    CHECK_STATUS(TYPED(bptt_adagrad)(n, p, g, s, lr, 0.1, decay), expected);
    CHECK_STATUS(TYPED(bptt_adam)(n, p, g, s, s ? s + 64 : NULL, 1, lr, 0.5, 0.5, 0.1, decay, 0), expected);
}

/* A number that no hyperparameter may have, for each hyperparameter. */
static void check_hyperparameters(REAL *p, const REAL *g, REAL *s, double bad) {
    const bptt_status expected = BPTT_ERROR_HYPERPARAMETER;
    name_case("hyperparameter %g", bad);
    expect_optimisers(3, p, g, s, bad, 0, expected);
    expect_optimisers(3, p, g, s, 0.1, bad, expected);
    CHECK_STATUS(TYPED(bptt_sgd)(3, p, g, s, 0.1, bad, 0, 0), expected);
    CHECK_STATUS(TYPED(bptt_rmsprop)(3, p, g, s, 0.1, bad, 0.1, 0), expected);
    CHECK_STATUS(TYPED(bptt_rmsprop)(3, p, g, s, 0.1, 0.5, bad, 0), expected);
    CHECK_STATUS(TYPED(bptt_adagrad)(3, p, g, s, 0.1, bad, 0), expected);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, 1, 0.1, bad, 0.5, 0.1, 0, 0), expected);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, 1, 0.1, 0.5, bad, 0.1, 0, 0), expected);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, 1, 0.1, 0.5, 0.5, bad, 0, 0), expected);
}

/* Numbers that are 0 or Inf as a REAL, alone or with another. */
static void check_beyond_type(REAL *p, const REAL *g, REAL *s) {
    const bptt_status expected = BPTT_ERROR_HYPERPARAMETER;
    const double beyond[] = {1e-46, 1e-300, 1e39, 1e308}, most = REAL_BITS == 32 ? FLT_MAX : DBL_MAX;
    for (size_t i = 0; REAL_BITS == 32 && i < sizeof beyond / sizeof beyond[0]; i++) {
        name_case("hyperparameter %g as float", beyond[i]);
        expect_optimisers(3, p, g, s, beyond[i], 0, expected);
        expect_optimisers(3, p, g, s, 0.1, beyond[i], expected);
        CHECK_STATUS(TYPED(bptt_sgd)(3, p, g, s, 0.1, beyond[i], 0, 0), expected);
        CHECK_STATUS(TYPED(bptt_rmsprop)(3, p, g, s, 0.1, 0.5, beyond[i], 0), expected);
        CHECK_STATUS(TYPED(bptt_adagrad)(3, p, g, s, 0.1, beyond[i], 0), expected);
        CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, 1, 0.1, 0.5, 0.5, beyond[i], 0, 0), expected);
    }
    name_case("hyperparameters with each other");
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, 1, most, 0.5, 0.5, 0.1, 0, 0), expected);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, 1, 2, 0, 0.5, 0.1, most, 1), expected);
}

static void check_bad_optimisers(arguments *a) {
    REAL *p = a->out, *g = a->in, *s = a->state;
    const bptt_status hyper = BPTT_ERROR_HYPERPARAMETER;
    const double bad[] = {-0.1, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) check_hyperparameters(p, g, s, bad[i]);
    check_beyond_type(p, g, s);
    name_case("bad optimisers");
    expect_optimisers(3, NULL, g, s, 0.1, 0, BPTT_ERROR_NULL);
    expect_optimisers(3, p, NULL, s, 0.1, 0, BPTT_ERROR_NULL);
    expect_optimisers(3, p, g, NULL, 0.1, 0, BPTT_ERROR_NULL);
    expect_optimisers(0, p, g, s, 0.1, 0, BPTT_ERROR_SIZE);
    expect_optimisers(-1, p, g, s, 0.1, 0, BPTT_ERROR_SIZE);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, NULL, 1, 0.1, 0.5, 0.5, 0.1, 0, 0), BPTT_ERROR_NULL);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, NULL, s, 1, 0.1, 0.5, 0.5, 0.1, 0, 0), BPTT_ERROR_NULL);
    CHECK_STATUS(TYPED(bptt_rmsprop)(3, p, g, s, 0.1, 1.5, 0.1, 0), hyper);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, 1, 0.1, 1, 0.5, 0.1, 0, 0), hyper);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, 1, 0.1, 0.5, 1, 0.1, 0, 0), hyper);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, 0, 0.1, 0.5, 0.5, 0.1, 0, 0), hyper);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, -1, 0.1, 0.5, 0.5, 0.1, 0, 0), hyper);
    CHECK(untouched(a));
}

/* ---- all ----------------------------------------------------------------------------------------------- */

/* Valid arguments pass: what the checks above expect is due to the one argument that they change. */
static void check_valid(arguments a) {
    name_case("valid arguments");
    CHECK_STATUS(call_sizes(&a), BPTT_OK);
    CHECK(a.sizes.backward_work < PIECE && a.sizes.forward_work < PIECE);
    CHECK_STATUS(call_forward(&a), BPTT_OK);
    CHECK_STATUS(call_backward(&a), BPTT_OK);
    CHECK_STATUS(call_shift(&a), BPTT_OK);
    CHECK_STATUS(call_pack(&a), BPTT_OK);
    a.in = a.out; /* the packed weights */
    a.out = a.memory;
    CHECK_STATUS(call_step(&a), BPTT_OK);
    CHECK(!untouched(&a));
}

/* When BPTT_ISA names no set that runs here, every call that needs kernels returns BPTT_ERROR_ISA. */
static void check_no_kernels(arguments *a) {
    double value = 7;
    name_case("no kernels");
    expect(call_sizes, *a, BPTT_ERROR_ISA);
    expect(call_forward, *a, BPTT_ERROR_ISA);
    expect(call_backward, *a, BPTT_ERROR_ISA);
    expect(call_pack, *a, BPTT_ERROR_ISA);
    expect(call_step, *a, BPTT_ERROR_ISA);
    expect(call_step_tokens, *a, BPTT_ERROR_ISA);
    CHECK_STATUS(TYPED(bptt_clip_norm)(3, a->out, 0.01, &value), BPTT_ERROR_ISA);
    CHECK_STATUS(TYPED(bptt_constrain)(1, &(int8_t){BPTT_RULE_ZERO}, 0, a->out), BPTT_ERROR_ISA);
    CHECK_STATUS(TYPED(bptt_cross_entropy)(1, 2, a->in, (int64_t[]){0}, -1, NULL, 0, a->out, &value), BPTT_ERROR_ISA);
    CHECK_STATUS(TYPED(bptt_binary_cross_entropy)(1, 2, a->in, a->in, NULL, 0, a->out, &value), BPTT_ERROR_ISA);
    CHECK_STATUS(
        TYPED(bptt_weighted_cross_entropy)(1, 2, a->in, (int64_t[]){0}, -1, NULL, 0.1, NULL, 0, a->out, &value),
        BPTT_ERROR_ISA);
    CHECK_STATUS(TYPED(bptt_clip_value)(3, a->out, 0.01, &value), BPTT_ERROR_ISA);
    CHECK_STATUS(TYPED(bptt_mse)(1, 2, a->in, a->in, NULL, 0, a->out, &value), BPTT_ERROR_ISA);
    expect_optimisers(3, a->out, a->in, a->state, 0.1, 0, BPTT_ERROR_ISA);
    CHECK(value == 7 && untouched(a));
}

static void check_errors(arguments *a) {
    check_specs(a);
    check_specs_of_type(a);
    check_steps_and_rows(a);
    check_products(a);
    check_options(a);
    check_step_thresholds(a);
    check_null_network(a);
    check_tape_shift(a);
    check_two_directions(a);
    check_lengths(a);
    check_older_structs(*a);
    check_older_sizes(*a);
    check_pointers_of_the_other(*a);
    check_sizes_struct(a);
    check_bad_clips(a);
    check_bad_losses(a);
    check_bad_optimisers(a);
    check_valid(*a);
}

int main(void) {
    REAL *memory = array(4 * PIECE);
    arguments a = valid_arguments(memory);
    if (bptt_isa()) check_errors(&a);
    else check_no_kernels(&a);
    release(memory);
    return end_of_checks();
}
