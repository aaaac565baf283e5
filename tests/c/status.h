/* Every error that a call on data can give, and that it wrote nothing. Include after real.h, once per type. */

/* The arguments of all calls on a small network, right at first; a check spoils one. */
typedef struct {
    bptt_spec spec;
    bptt_options options;
    bptt_sizes sizes;
    int64_t T, B;
    REAL *memory, *in, *out, *state, *work; /* pieces of memory, each more than large enough */
} TYPED(arguments);

enum { TYPED(PIECE) = 1 << 14 };

#ifndef STATUS_SMALL
#define STATUS_SMALL
static bptt_spec small_spec(void) {
    return (bptt_spec){
        .struct_size = sizeof(bptt_spec), .input_size = 3, .hidden_size = 4, .output_size = 2, .bias = 1};
}
#endif

static TYPED(arguments) TYPED(right_arguments)(REAL *memory) {
    TYPED(arguments) a = {.spec = small_spec(), .T = 5, .B = 2, .memory = memory};
    a.options.struct_size = sizeof a.options;
    a.sizes.struct_size = sizeof a.sizes;
    a.options.threads = 1;
    a.in = memory;
    a.out = memory + TYPED(PIECE);
    a.state = memory + 2 * TYPED(PIECE);
    a.work = memory + 3 * TYPED(PIECE);
    for (int64_t i = 0; i < 4 * TYPED(PIECE); i++) memory[i] = (REAL)0.25;
    return a;
}

static bptt_status TYPED(call_sizes)(TYPED(arguments) * a) {
    return TYPED(bptt_sizes)(&a->spec, a->T, a->B, &a->options, &a->sizes);
}

static bptt_status TYPED(call_forward)(TYPED(arguments) * a) {
    return TYPED(bptt_forward)(&a->spec, a->T, a->B, a->in, a->in, NULL, a->out, NULL, a->state, a->work, &a->options);
}

static bptt_status TYPED(call_backward)(TYPED(arguments) * a) {
    return TYPED(bptt_backward)(&a->spec, a->T, a->B, a->in, a->in, a->state, NULL, NULL, NULL, NULL, a->out, a->work,
                                &a->options);
}

static bptt_status TYPED(call_shift)(TYPED(arguments) * a) {
    return TYPED(bptt_tape_shift)(&a->spec, a->B, a->T, a->T, 0, a->state);
}

static bptt_status TYPED(call_pack)(TYPED(arguments) * a) { return TYPED(bptt_pack)(&a->spec, a->in, a->out); }

static bptt_status TYPED(call_step)(TYPED(arguments) * a) {
    return TYPED(bptt_step)(&a->spec, a->B, a->in, a->in, a->state, a->out, a->work);
}

typedef bptt_status TYPED(caller)(TYPED(arguments) *);

/* nothing but the quarters of the start, in buffers and in sizes */
static int TYPED(untouched)(const TYPED(arguments) * a) {
    for (int64_t i = 0; i < 4 * TYPED(PIECE); i++)
        if (a->memory[i] != (REAL)0.25) return 0;
    return a->sizes.params == 0 && a->sizes.tape == 0;
}

static void TYPED(expect)(TYPED(caller) * call, TYPED(arguments) a, bptt_status expected) {
    CHECK_STATUS(call(&a), expected);
    CHECK(TYPED(untouched)(&a));
}

/* ---- specs ------------------------------------------------------------------------------------------- */

#ifndef STATUS_SPECS
#define STATUS_SPECS
/* the first version's structs ended here */
enum {
    SPEC_SIZE_1 = offsetof(bptt_spec, bias) + sizeof(int32_t),
    OPTIONS_SIZE_1 = offsetof(bptt_options, poll_context) + sizeof(void *)
};

typedef struct {
    bptt_spec spec;
    bptt_status expected;
} bad_spec;

/* struct size, I, H, O, cell, bias, layers, bidirectional, reset before, peepholes, learned state, reserved, dropouts
 */
static const bad_spec bad_specs[] = {
    {{0, 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_STRUCT},
    {{SPEC_SIZE_1 - 1, 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_STRUCT},
    {{sizeof(bptt_spec) + 1, 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_STRUCT},
    {{sizeof(bptt_spec) + 8, 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_STRUCT},
    {{SIZE_MAX, 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_STRUCT},
    {{sizeof(bptt_spec), 3, 4, 2, 6, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_CELL},
    {{sizeof(bptt_spec), 3, 4, 2, -1, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_CELL},
    {{sizeof(bptt_spec), 3, 4, 2, INT32_MAX, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_CELL},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 2, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 2, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_GRU, 1, 0, 0, 2, 0, 0, 0, 0, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_LSTM, 1, 0, 0, 0, 2, 0, 0, 0, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 2, 0, 0, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 2, 0, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, -1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, -1, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_GRU, 1, 0, 0, -1, 0, 0, 0, 0, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_LSTM, 1, 0, 0, 0, -1, 0, 0, 0, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, -1, 0, 0, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, -1, 0, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_LSTM, 1, 0, 0, 1, 0, 0, 0, 0, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 1, 0, 0, 0, 0, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_GRU, 1, 0, 0, 0, 1, 0, 0, 0, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 1, 0, 0, 0, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 1, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 1}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, -0.1, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, -0.1}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, NAN, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, NAN}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, INFINITY, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, INFINITY}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, -INFINITY, 0}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, -INFINITY}, BPTT_ERROR_OPTION},
    {{sizeof(bptt_spec), 0, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_SIZE},
    {{sizeof(bptt_spec), -3, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_SIZE},
    {{sizeof(bptt_spec), INT64_MIN, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_SIZE},
    {{sizeof(bptt_spec), 3, 0, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_SIZE},
    {{sizeof(bptt_spec), 3, -4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_SIZE},
    {{sizeof(bptt_spec), 3, INT64_MIN, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_SIZE},
    {{sizeof(bptt_spec), 3, 4, -1, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_SIZE},
    {{sizeof(bptt_spec), 3, 4, INT64_MIN, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_SIZE},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, -1, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_SIZE},
    {{sizeof(bptt_spec), 3, 4, 2, BPTT_CELL_TANH, 1, INT32_MIN, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_SIZE},
    {{sizeof(bptt_spec), INT64_MAX, 4, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_OVERFLOW},
    {{sizeof(bptt_spec), 3, INT64_MAX, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_OVERFLOW},
    {{sizeof(bptt_spec), 3, 4, INT64_MAX, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_OVERFLOW},
    {{sizeof(bptt_spec), 3, INT64_C(1) << 30, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_OVERFLOW},
    {{sizeof(bptt_spec), 3, INT64_C(1) << 30, 2, BPTT_CELL_LSTM, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_OVERFLOW},
    {{sizeof(bptt_spec), 3, INT64_C(1) << 30, 2, BPTT_CELL_GRU, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_OVERFLOW},
    {{sizeof(bptt_spec), INT64_C(1) << 40, 1 << 20, 2, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_OVERFLOW},
    {{sizeof(bptt_spec), 3, 1 << 20, INT64_C(1) << 40, BPTT_CELL_TANH, 1, 0, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_OVERFLOW},
    {{sizeof(bptt_spec), 3, 1 << 24, 2, BPTT_CELL_TANH, 1, 10000, 0, 0, 0, 0, 0, 0, 0}, BPTT_ERROR_OVERFLOW},
};
#endif

static void TYPED(check_specs)(const TYPED(arguments) * right) {
    TYPED(caller) *const callers[] = {TYPED(call_sizes), TYPED(call_forward), TYPED(call_backward),
                                      TYPED(call_shift), TYPED(call_pack),    TYPED(call_step)};
    for (size_t i = 0; i < sizeof bad_specs / sizeof bad_specs[0]; i++)
        for (size_t k = 0; k < sizeof callers / sizeof callers[0]; k++) {
            TYPED(arguments) a = *right;
            a.spec = bad_specs[i].spec;
            name_case("bad spec %d, call %d, %d bits", (int)i, (int)k, REAL_BITS);
            TYPED(expect)(callers[k], a, bad_specs[i].expected);
        }
}

/* ---- sizes and options of a call ----------------------------------------------------------------------- */

static void TYPED(check_steps_and_rows)(const TYPED(arguments) * right) {
    static const int64_t bad[] = {0, -1, INT64_MIN, INT64_MAX, INT64_C(1) << 56, INT64_C(1) << 52};
    TYPED(caller) *const callers[] = {TYPED(call_sizes), TYPED(call_forward), TYPED(call_backward), TYPED(call_shift),
                                      TYPED(call_step)};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        for (size_t k = 0; k < sizeof callers / sizeof callers[0]; k++) {
            TYPED(arguments) a = *right, b = *right;
            const bptt_status expected = bad[i] < 1 ? BPTT_ERROR_SIZE : BPTT_ERROR_OVERFLOW;
            name_case("T or B %lld, call %d, %d bits", (long long)bad[i], (int)k, REAL_BITS);
            a.B = bad[i];
            b.T = bad[i];
            TYPED(expect)(callers[k], a, expected);
            if (callers[k] != TYPED(call_step)) TYPED(expect)(callers[k], b, expected);
        }
}

/* the three calls that take options */
static void TYPED(expect_options)(const TYPED(arguments) * right, bptt_options options, bptt_status expected) {
    TYPED(arguments) a = *right;
    a.options = options;
    TYPED(expect)(TYPED(call_sizes), a, expected);
    TYPED(expect)(TYPED(call_forward), a, expected);
    TYPED(expect)(TYPED(call_backward), a, expected);
}

static void TYPED(check_options)(const TYPED(arguments) * right) {
    const size_t size = sizeof(bptt_options);
    const bptt_options bad[] = {
        {.struct_size = size, .threads = -1},
        {.struct_size = size, .carry_per_row = 2},
        {.struct_size = size, .carry_per_row = -1},
        {.struct_size = size, .dy_start = -1},
        {.struct_size = size, .dy_start = right->T + 1},
        {.struct_size = size, .tape_steps = -1},
        {.struct_size = size, .tape_steps = right->T - 1},
        {.struct_size = size, .tape_first = -1},
        {.struct_size = size, .tape_first = 1},
        {.struct_size = size, .tape_first = INT64_MAX},
        {.struct_size = size, .tape_first = 2, .tape_steps = right->T + 1},
        {.struct_size = size, .tape_first = INT64_MAX, .tape_steps = right->T + 1},
        {.struct_size = size, .segment = -1},
        {.struct_size = size, .segment = INT64_MIN},
        {.struct_size = size, .segment = 2, .tape_steps = right->T},
        {.struct_size = size, .segment = 2, .tape_steps = right->T + 1, .tape_first = 1},
        {.struct_size = size, .training = 2},
        {.struct_size = size, .training = -1},
        {.struct_size = size, .state_given = 2},
        {.struct_size = size, .state_given = -1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        name_case("bad options %d, %d bits", (int)i, REAL_BITS);
        TYPED(expect_options)(right, bad[i], BPTT_ERROR_OPTION);
    }
    name_case("options of another size, %d bits", REAL_BITS);
    TYPED(expect_options)(right, (bptt_options){.struct_size = 0}, BPTT_ERROR_STRUCT);
    TYPED(expect_options)(right, (bptt_options){.struct_size = OPTIONS_SIZE_1 - 1}, BPTT_ERROR_STRUCT);
    TYPED(expect_options)(right, (bptt_options){.struct_size = size + 1}, BPTT_ERROR_STRUCT);
    TYPED(expect_options)(right, (bptt_options){.struct_size = size + 8}, BPTT_ERROR_STRUCT);
    TYPED(expect_options)(right, (bptt_options){.struct_size = SIZE_MAX}, BPTT_ERROR_STRUCT);
    name_case("a tape beyond memory, %d bits", REAL_BITS);
    TYPED(expect_options)(right, (bptt_options){.struct_size = size, .tape_steps = INT64_MAX}, BPTT_ERROR_OVERFLOW);
}

static void TYPED(check_step_thresholds)(const TYPED(arguments) * right) {
    const double bad[] = {NAN, -1, -INFINITY, 1e-60};
    const size_t of_type = REAL_BITS == 32 ? 4 : 3; /* the last is zero in float32 */
    for (size_t i = 0; i < of_type; i++) {
        bptt_options norm = {.struct_size = sizeof norm, .step_clip_norm = bad[i]};
        bptt_options value = {.struct_size = sizeof value, .step_clip_value = bad[i]};
        name_case("step threshold %g, %d bits", bad[i], REAL_BITS);
        TYPED(expect_options)(right, norm, BPTT_ERROR_THRESHOLD);
        TYPED(expect_options)(right, value, BPTT_ERROR_THRESHOLD);
    }
}

/* ---- NULL ---------------------------------------------------------------------------------------------- */

static void TYPED(check_null_network)(TYPED(arguments) * a) {
    const bptt_spec *s = &a->spec;
    const bptt_status null = BPTT_ERROR_NULL;
    REAL *in = a->in, *out = a->out, *state = a->state, *work = a->work;
    name_case("NULL for the network, %d bits", REAL_BITS);
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
    CHECK(TYPED(untouched)(a));
}

static void TYPED(check_tape_shift)(TYPED(arguments) * a) {
    name_case("tape shift, %d bits", REAL_BITS);
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
    CHECK(TYPED(untouched)(a));
}

/* two directions know the whole sequence only: no tape that goes on, no segments, no single steps */
static void TYPED(check_two_directions)(const TYPED(arguments) * right) {
    TYPED(arguments) a = *right;
    const size_t size = sizeof(bptt_options);
    name_case("two directions, %d bits", REAL_BITS);
    a.spec.bidirectional = 1;
    TYPED(expect_options)(&a, (bptt_options){.struct_size = size, .segment = 2}, BPTT_ERROR_OPTION);
    TYPED(expect_options)(&a, (bptt_options){.struct_size = size, .tape_steps = 6}, BPTT_ERROR_OPTION);
    TYPED(expect_options)(&a, (bptt_options){.struct_size = size, .tape_steps = 6, .tape_first = 1}, BPTT_ERROR_OPTION);
    TYPED(expect)(TYPED(call_shift), a, BPTT_ERROR_OPTION);
    TYPED(expect)(TYPED(call_pack), a, BPTT_ERROR_OPTION);
    TYPED(expect)(TYPED(call_step), a, BPTT_ERROR_OPTION);
}

/* 5 steps, 2 rows */
static void TYPED(check_lengths)(const TYPED(arguments) * right) {
    const size_t size = sizeof(bptt_options);
    static const int64_t bad[][2] = {{0, 0}, {5, 0},  {6, 5},         {3, 4},        {-1, -1},
                                     {4, 5}, {5, -5}, {INT64_MAX, 1}, {INT64_MIN, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        name_case("lengths %lld %lld, %d bits", (long long)bad[i][0], (long long)bad[i][1], REAL_BITS);
        TYPED(expect_options)(right, (bptt_options){.struct_size = size, .lengths = bad[i]}, BPTT_ERROR_LENGTHS);
    }
    /* rows beyond memory are refused before anybody looks for their lengths */
    TYPED(arguments) a = *right;
    a.B = INT64_MAX;
    TYPED(expect_options)(&a, (bptt_options){.struct_size = size, .lengths = (int64_t[]){5}}, BPTT_ERROR_OVERFLOW);
}

/* ---- structs of an earlier version ----------------------------------------------------------------------- */

/* a struct cut to `size` bytes, in memory that ends there */
#ifndef STATUS_CUT
#define STATUS_CUT
static void *cut_struct(const void *whole, size_t size) {
    void *cut = memcpy(buffer_of((int64_t)size), whole, size);
    memcpy(cut, &size, sizeof size);
    return cut;
}
#endif

/* y of a forward with these structs */
static void TYPED(expect_output)(const TYPED(arguments) * a, const bptt_spec *spec, const bptt_options *options,
                                 const REAL *expected) {
    REAL *y = TYPED(array)(20), *work = TYPED(array)(TYPED(PIECE));
    bptt_sizes sizes = {.struct_size = sizeof sizes};
    int64_t count = 0;
    CHECK_STATUS(TYPED(bptt_sizes)(spec, 5, 2, options, &sizes), BPTT_OK);
    CHECK(sizes.params == a->sizes.params && sizes.tape == a->sizes.tape);
    CHECK_STATUS(bptt_tensor_count(spec, &count), BPTT_OK);
    CHECK(count == 6);
    CHECK_STATUS(TYPED(bptt_forward)(spec, 5, 2, a->in, a->in, NULL, y, NULL, NULL, work, options), BPTT_OK);
    CHECK(TYPED(same_bits)(20, y, expected));
    release(y);
    release(work);
}

/* What a caller of version 1 does not know counts as zero; what lies behind its struct is not looked at. */
static void TYPED(check_older_structs)(TYPED(arguments) a) {
    const size_t specs[] = {SPEC_SIZE_1, offsetof(bptt_spec, bidirectional), offsetof(bptt_spec, dropout)};
    const size_t options[] = {OPTIONS_SIZE_1, offsetof(bptt_options, segment), offsetof(bptt_options, dropout_seed)};
    REAL *y = TYPED(array)(20), *work = TYPED(array)(TYPED(PIECE));
    name_case("older structs, %d bits", REAL_BITS);
    CHECK_STATUS(TYPED(call_sizes)(&a), BPTT_OK);
    CHECK_STATUS(TYPED(bptt_forward)(&a.spec, 5, 2, a.in, a.in, NULL, y, NULL, NULL, work, &a.options), BPTT_OK);
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++)
        for (size_t k = 0; k < sizeof options / sizeof options[0]; k++) {
            bptt_spec *spec = cut_struct(&a.spec, specs[i]);
            bptt_options *o = cut_struct(&a.options, options[k]);
            TYPED(expect_output)(&a, spec, o, y);
            release(spec);
            release(o);
        }
    bptt_options too_short = a.options;
    too_short.struct_size = OPTIONS_SIZE_1 - 1;
    CHECK_STATUS(TYPED(bptt_forward)(&a.spec, 5, 2, a.in, a.in, NULL, y, NULL, NULL, work, &too_short),
                 BPTT_ERROR_STRUCT);
    release(y);
    release(work);
}

static void TYPED(check_sizes_struct)(TYPED(arguments) * a) {
    name_case("sizes of another size, %d bits", REAL_BITS);
    a->sizes.struct_size = sizeof a->sizes + 8;
    CHECK_STATUS(TYPED(call_sizes)(a), BPTT_ERROR_STRUCT);
    a->sizes.struct_size = 0;
    CHECK_STATUS(TYPED(call_sizes)(a), BPTT_ERROR_STRUCT);
    CHECK(TYPED(untouched)(a));
    a->sizes.struct_size = sizeof a->sizes;
}

/* ---- clipping, losses, optimisers ------------------------------------------------------------------------ */

static void TYPED(check_bad_clips)(TYPED(arguments) * a) {
    const double bad[] = {0, -1, NAN, -INFINITY};
    double norm = 7;
    name_case("bad clips, %d bits", REAL_BITS);
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
    CHECK(norm == 7 && TYPED(untouched)(a));
}

/* all three losses with these arguments; NULL in `y` or `target` too */
static void TYPED(expect_losses)(int64_t N, int64_t C, const REAL *y, const REAL *target, int reduction, REAL *dy,
                                 double *loss, bptt_status expected) {
    const int64_t labels[] = {0, 0, 0}, *given = target ? labels : NULL;
    const bptt_reduction r = (bptt_reduction)reduction;
    CHECK_STATUS(TYPED(bptt_mse)(N, C, y, target, NULL, r, dy, loss), expected);
    CHECK_STATUS(TYPED(bptt_cross_entropy)(N, C, y, given, -1, NULL, r, dy, loss), expected);
    CHECK_STATUS(TYPED(bptt_binary_cross_entropy)(N, C, y, target, NULL, r, dy, loss), expected);
}

static void TYPED(check_bad_losses)(TYPED(arguments) * a) {
    double loss = 7;
    name_case("bad losses, %d bits", REAL_BITS);
    TYPED(expect_losses)(3, 2, NULL, a->in, 0, a->out, &loss, BPTT_ERROR_NULL);
    TYPED(expect_losses)(3, 2, a->in, NULL, 0, a->out, &loss, BPTT_ERROR_NULL);
    TYPED(expect_losses)(3, 2, a->in, a->in, 0, a->out, NULL, BPTT_ERROR_NULL);
    TYPED(expect_losses)(0, 2, a->in, a->in, 0, a->out, &loss, BPTT_ERROR_SIZE);
    TYPED(expect_losses)(-3, 2, a->in, a->in, 0, a->out, &loss, BPTT_ERROR_SIZE);
    TYPED(expect_losses)(3, 0, a->in, a->in, 0, a->out, &loss, BPTT_ERROR_SIZE);
    TYPED(expect_losses)(3, -2, a->in, a->in, 0, a->out, &loss, BPTT_ERROR_SIZE);
    TYPED(expect_losses)(3, INT64_MAX / 2, a->in, a->in, 0, a->out, &loss, BPTT_ERROR_OVERFLOW);
    TYPED(expect_losses)(INT64_C(1) << 62, 3, a->in, a->in, 0, a->out, &loss, BPTT_ERROR_OVERFLOW);
    TYPED(expect_losses)(3, 2, a->in, a->in, 2, a->out, &loss, BPTT_ERROR_OPTION);
    TYPED(expect_losses)(3, 2, a->in, a->in, 7, a->out, &loss, BPTT_ERROR_OPTION);
    CHECK(loss == 7 && TYPED(untouched)(a));
}

/* what all optimisers ask of n, pointers, lr and weight decay */
static void TYPED(expect_optimisers)(int64_t n, REAL *p, const REAL *g, REAL *s, double lr, double decay,
                                     bptt_status expected) {
    CHECK_STATUS(TYPED(bptt_sgd)(n, p, g, s, lr, 0.5, 0, decay), expected);
    CHECK_STATUS(TYPED(bptt_rmsprop)(n, p, g, s, lr, 0.5, 0.1, decay), expected);
    CHECK_STATUS(TYPED(bptt_adagrad)(n, p, g, s, lr, 0.1, decay), expected);
    CHECK_STATUS(TYPED(bptt_adam)(n, p, g, s, s ? s + 64 : NULL, 1, lr, 0.5, 0.5, 0.1, decay, 0), expected);
}

/* numbers that no optimiser takes for anything, in every place; then those with an upper bound */
static void TYPED(check_hyperparameters)(REAL *p, const REAL *g, REAL *s, double bad) {
    const bptt_status expected = BPTT_ERROR_HYPERPARAMETER;
    name_case("hyperparameter %g, %d bits", bad, REAL_BITS);
    TYPED(expect_optimisers)(3, p, g, s, bad, 0, expected);
    TYPED(expect_optimisers)(3, p, g, s, 0.1, bad, expected);
    CHECK_STATUS(TYPED(bptt_sgd)(3, p, g, s, 0.1, bad, 0, 0), expected);
    CHECK_STATUS(TYPED(bptt_rmsprop)(3, p, g, s, 0.1, bad, 0.1, 0), expected);
    CHECK_STATUS(TYPED(bptt_rmsprop)(3, p, g, s, 0.1, 0.5, bad, 0), expected);
    CHECK_STATUS(TYPED(bptt_adagrad)(3, p, g, s, 0.1, bad, 0), expected);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, 1, 0.1, bad, 0.5, 0.1, 0, 0), expected);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, 1, 0.1, 0.5, bad, 0.1, 0, 0), expected);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, 1, 0.1, 0.5, 0.5, bad, 0, 0), expected);
}

static void TYPED(check_bad_optimisers)(TYPED(arguments) * a) {
    REAL *p = a->out, *g = a->in, *s = a->state;
    const bptt_status hyper = BPTT_ERROR_HYPERPARAMETER;
    const double bad[] = {-0.1, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) TYPED(check_hyperparameters)(p, g, s, bad[i]);
    name_case("bad optimisers, %d bits", REAL_BITS);
    TYPED(expect_optimisers)(3, NULL, g, s, 0.1, 0, BPTT_ERROR_NULL);
    TYPED(expect_optimisers)(3, p, NULL, s, 0.1, 0, BPTT_ERROR_NULL);
    TYPED(expect_optimisers)(3, p, g, NULL, 0.1, 0, BPTT_ERROR_NULL);
    TYPED(expect_optimisers)(0, p, g, s, 0.1, 0, BPTT_ERROR_SIZE);
    TYPED(expect_optimisers)(-1, p, g, s, 0.1, 0, BPTT_ERROR_SIZE);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, NULL, 1, 0.1, 0.5, 0.5, 0.1, 0, 0), BPTT_ERROR_NULL);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, NULL, s, 1, 0.1, 0.5, 0.5, 0.1, 0, 0), BPTT_ERROR_NULL);
    CHECK_STATUS(TYPED(bptt_rmsprop)(3, p, g, s, 0.1, 1.5, 0.1, 0), hyper);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, 1, 0.1, 1, 0.5, 0.1, 0, 0), hyper);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, 1, 0.1, 0.5, 1, 0.1, 0, 0), hyper);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, 0, 0.1, 0.5, 0.5, 0.1, 0, 0), hyper);
    CHECK_STATUS(TYPED(bptt_adam)(3, p, g, s, s + 64, -1, 0.1, 0.5, 0.5, 0.1, 0, 0), hyper);
    CHECK(TYPED(untouched)(a));
}

/* ---- all ----------------------------------------------------------------------------------------------- */

/* right arguments pass: what is refused above is refused for its one fault */
static void TYPED(check_right)(TYPED(arguments) a) {
    name_case("right arguments, %d bits", REAL_BITS);
    CHECK_STATUS(TYPED(call_sizes)(&a), BPTT_OK);
    CHECK(a.sizes.backward_work < TYPED(PIECE) && a.sizes.forward_work < TYPED(PIECE));
    CHECK_STATUS(TYPED(call_forward)(&a), BPTT_OK);
    CHECK_STATUS(TYPED(call_backward)(&a), BPTT_OK);
    CHECK_STATUS(TYPED(call_shift)(&a), BPTT_OK);
    CHECK_STATUS(TYPED(call_pack)(&a), BPTT_OK);
    CHECK_STATUS(TYPED(call_step)(&a), BPTT_OK);
    CHECK(!TYPED(untouched)(&a));
}

/* when BPTT_ISA names nothing that runs here, every call that needs kernels says so */
static void TYPED(check_no_kernels)(TYPED(arguments) * a) {
    double value = 7;
    name_case("no kernels, %d bits", REAL_BITS);
    TYPED(expect)(TYPED(call_sizes), *a, BPTT_ERROR_ISA);
    TYPED(expect)(TYPED(call_forward), *a, BPTT_ERROR_ISA);
    TYPED(expect)(TYPED(call_backward), *a, BPTT_ERROR_ISA);
    TYPED(expect)(TYPED(call_pack), *a, BPTT_ERROR_ISA);
    TYPED(expect)(TYPED(call_step), *a, BPTT_ERROR_ISA);
    CHECK_STATUS(TYPED(bptt_clip_norm)(3, a->out, 0.01, &value), BPTT_ERROR_ISA);
    CHECK_STATUS(TYPED(bptt_cross_entropy)(1, 2, a->in, (int64_t[]){0}, -1, NULL, 0, a->out, &value), BPTT_ERROR_ISA);
    CHECK_STATUS(TYPED(bptt_binary_cross_entropy)(1, 2, a->in, a->in, NULL, 0, a->out, &value), BPTT_ERROR_ISA);
    CHECK(value == 7 && TYPED(untouched)(a));
}

static void TYPED(check_errors)(void) {
    REAL *memory = TYPED(array)(4 * TYPED(PIECE));
    TYPED(arguments) a = TYPED(right_arguments)(memory);
    if (!bptt_isa()) {
        TYPED(check_no_kernels)(&a);
        release(memory);
        return;
    }
    TYPED(check_specs)(&a);
    TYPED(check_steps_and_rows)(&a);
    TYPED(check_options)(&a);
    TYPED(check_step_thresholds)(&a);
    TYPED(check_null_network)(&a);
    TYPED(check_tape_shift)(&a);
    TYPED(check_two_directions)(&a);
    TYPED(check_lengths)(&a);
    TYPED(check_older_structs)(a);
    TYPED(check_sizes_struct)(&a);
    TYPED(check_bad_clips)(&a);
    TYPED(check_bad_losses)(&a);
    TYPED(check_bad_optimisers)(&a);
    TYPED(check_right)(a);
    release(memory);
}
