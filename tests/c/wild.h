/* Calls of which any argument may be wild. Include after run.h, once per type. */

#ifndef WILD
#define WILD
/* mostly the tame value */
static int64_t wild(int64_t tame) {
    static const int64_t values[] = {0, 1, 2, 3, -1, 7, INT32_MAX, INT64_C(1) << 40, INT64_MAX, INT64_MIN};
    return any_of(25) ? tame : values[any_of(sizeof values / sizeof values[0])];
}

static int32_t wild32(int32_t tame) {
    static const int32_t values[] = {0, 1, 2, 5, 6, -1, 100, INT32_MAX, INT32_MIN};
    return any_of(25) ? tame : values[any_of(sizeof values / sizeof values[0])];
}

static double wild_number(double tame) {
    static const double values[] = {0, 0.5, 0.999, 1, 2, -0.1, 1e300, INFINITY, -INFINITY, NAN};
    return any_of(25) ? tame : values[any_of(sizeof values / sizeof values[0])];
}

static bptt_spec wild_spec(void) {
    const bptt_spec tame =
        spec_of((shape){.I = 3, .H = 5, .O = 2}, (int)any_of(FORMS), (int32_t)any_of(3), (int32_t)(1 + any_of(2)));
    return (bptt_spec){.struct_size = (size_t)wild(sizeof(bptt_spec)),
                       .input_size = wild(tame.input_size),
                       .hidden_size = wild(tame.hidden_size),
                       .output_size = wild(tame.output_size),
                       .cell = wild32(tame.cell),
                       .bias = wild32(tame.bias),
                       .num_layers = wild32(tame.num_layers),
                       .bidirectional = wild32(tame.bidirectional),
                       .reset_before = wild32(tame.reset_before),
                       .peepholes = wild32(tame.peepholes),
                       .learn_state = wild32((int32_t)any_of(2)),
                       .reserved = wild32(0),
                       .dropout = wild_number(0.25),
                       .recurrent_dropout = wild_number(0.25)};
}

/* lengths, where any, are given for 4 rows */
static bptt_options wild_options(const int64_t *lengths) {
    return (bptt_options){.struct_size = (size_t)wild(sizeof(bptt_options)),
                          .threads = wild32(1),
                          .carry_per_row = wild32(0),
                          .step_clip_norm = wild_number(0),
                          .step_clip_value = wild_number(0),
                          .dy_start = wild(1),
                          .tape_steps = wild(0),
                          .tape_first = wild(0),
                          .lengths = lengths,
                          .segment = any_of(3) ? 0 : wild(2),
                          .training = wild32((int32_t)any_of(2)),
                          .state_given = wild32(0),
                          .dropout_seed = (uint64_t)wild(1),
                          .first_step = wild(0)};
}
#endif

/* how many wild calls were not refused */
static int TYPED(wild_calls);

/* the buffers of a call, as large as the sizes say; a refused call gets some that it must not touch */
typedef struct {
    REAL *params, *x, *state, *dy, *y, *tape, *dx, *grads, *work;
} TYPED(wild_buffers);

static TYPED(wild_buffers) TYPED(wild_buffers_of)(const bptt_sizes *s, int64_t inputs) {
    const int64_t work = s->forward_work > s->backward_work ? s->forward_work : s->backward_work;
    return (TYPED(wild_buffers)){TYPED(array)(s->params), TYPED(array)(inputs),    TYPED(array)(s->state),
                                 TYPED(array)(s->output), TYPED(array)(s->output), TYPED(array)(s->tape),
                                 TYPED(array)(inputs),    TYPED(array)(s->params), TYPED(array)(work)};
}

static void TYPED(release_wild)(TYPED(wild_buffers) b, int untouched, const bptt_sizes *s, int64_t inputs) {
    REAL *const all[] = {b.params, b.x, b.state, b.dy, b.y, b.tape, b.dx, b.grads};
    const int64_t n[] = {s->params, inputs, s->state, s->output, s->output, s->tape, inputs, s->params};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        CHECK(!untouched || all_bytes(all[i], n[i] * (int64_t)sizeof(REAL), 0xff));
        release(all[i]);
    }
    release(b.work);
}

/* Any status is right, but all functions must agree; a refusal writes nothing, a call keeps within its buffers. */
static void TYPED(check_wild)(void) {
    const int64_t lengths[] = {4, wild(3), 2, 2};
    const bptt_spec spec = wild_spec();
    const bptt_options o = wild_options(any_of(3) ? NULL : lengths);
    const int64_t T = wild(4), B = o.lengths ? 4 : wild(4);
    const bptt_sizes small = {.params = 9, .state = 9, .output = 9, .tape = 9, .forward_work = 9, .backward_work = 9};
    bptt_sizes sizes = {.struct_size = sizeof sizes};
    name_case("wild arguments, %d bits", REAL_BITS);
    const bptt_status status = TYPED(bptt_sizes)(&spec, T, B, &o, &sizes);
    const int64_t inputs = status ? 9 : T * B * spec.input_size;
    if (!status && (sizes.params > 200000 || sizes.backward_work > 200000 || sizes.forward_work > 200000 ||
                    sizes.tape > 200000 || inputs > 200000))
        return;
    const bptt_sizes *s = status ? &small : &sizes;
    TYPED(wild_buffers) b = TYPED(wild_buffers_of)(s, inputs);
    if (status) CHECK(sizes.params == 0 && sizes.tape == 0 && sizes.step_work == 0);
    else TYPED(wild_calls)++;
    CHECK_STATUS(TYPED(bptt_forward)(&spec, T, B, b.params, b.x, o.tape_first > 0 ? NULL : b.state, b.y, b.state,
                                     b.tape, b.work, &o),
                 status);
    CHECK_STATUS(
        TYPED(bptt_backward)(&spec, T, B, b.params, b.x, b.tape, b.dy, b.state, b.dx, b.state, b.grads, b.work, &o),
        status);
    TYPED(release_wild)(b, status != BPTT_OK, s, inputs);
}
