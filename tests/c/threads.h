/* Threads and the poll: the same bits for any number, with every feature; who asks whether to stop, and that it stops.
 * Include after run.h, once per type. */

/* ---- threads ------------------------------------------------------------------------------------------- */

/* without a tape, on as many threads */
static void TYPED(check_threads_without_tape)(const TYPED(run) * r) {
    TYPED(run) other = TYPED(open)(r->p, r->options.threads);
    CHECK_STATUS(TYPED(forward_to)(&other, NULL), BPTT_OK);
    TYPED(check_same_forward)(r, &other);
    TYPED(close)(&other);
}

static void TYPED(check_threads_of)(const problem *p, int64_t segment) {
    static const int counts[] = {2, 3, 7};
    TYPED(run) one = TYPED(open_segments)(p, 1, segment);
    TYPED(both)(&one);
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        TYPED(run) many = TYPED(open_segments)(p, counts[i], segment);
        TYPED(both)(&many);
        TYPED(check_same)(&one, &many);
        if (i == 2) TYPED(check_threads_without_tape)(&many);
        TYPED(close)(&many);
    }
    TYPED(close)(&one);
}

/* enough work for all threads to run, in several chunks of steps; rows and units that no number of threads divides */
static problem TYPED(large_problem)(int which, int32_t layers, int32_t directions, unsigned features) {
    const int64_t H = forms[which].cell < BPTT_CELL_LSTM ? 83 : 41, T = 241 / (layers * directions);
    bptt_spec spec = spec_of((shape){.I = 19, .H = H, .O = 17}, which, layers, directions);
    spec.learn_state = 1;
    spec.dropout = spec.recurrent_dropout = features & TRAINING ? 0.3 : 0;
    return problem_of(spec, T, 31, features);
}

static void TYPED(check_large)(int which, int32_t layers, int32_t directions, unsigned features, int64_t segment) {
    problem p = TYPED(large_problem)(which, layers, directions, features);
    TYPED(check_threads_of)(&p, segment);
    free_problem(&p);
}

/* Resets in one row only: some threads meet them and others do not. Wide enough for several blocks of a product. */
static void TYPED(check_rare_resets)(int which, int64_t H) {
    problem p = problem_of(spec_of((shape){.I = 5, .H = H, .O = 3}, which, 1, 1), 40, 29, RESET);
    for (int64_t i = 0; i < p.T * p.B; i++) p.reset[i] = i % p.B == 2 && i / p.B % 3;
    TYPED(check_threads_of)(&p, 0);
    free_problem(&p);
}

/* few rows: they are not split, but the gradients of the weights are; one row: sums have an order of their own */
static void TYPED(check_few_rows)(int64_t B) {
    problem p = problem_of(spec_of((shape){.I = 90, .H = 151, .O = 70}, LSTM, 2, 1), 60 / B, B, STATE0 | RESET);
    TYPED(check_threads_of)(&p, 0);
    free_problem(&p);
}

/* ---- the poll -------------------------------------------------------------------------------------------- */

#ifndef THREADS_POLL
#define THREADS_POLL
static _Thread_local int on_calling_thread;

typedef struct {
    int calls, stop_at, strayed; /* stop_at 0: never */
} poll_record;

static int record_poll(void *context) {
    poll_record *record = context;
    record->calls++;
    record->strayed += !on_calling_thread;
    return record->calls == record->stop_at;
}
#endif

static void TYPED(check_stop)(TYPED(run) * r, poll_record *record, int stop_at) {
    *record = (poll_record){.stop_at = stop_at};
    CHECK_STATUS(TYPED(forward)(r), BPTT_ERROR_INTERRUPTED);
    CHECK(record->calls == stop_at && !record->strayed);
    *record = (poll_record){0};
    CHECK_STATUS(TYPED(forward)(r), BPTT_OK);
    *record = (poll_record){.stop_at = stop_at};
    CHECK_STATUS(TYPED(backward)(r), BPTT_ERROR_INTERRUPTED);
    CHECK(record->calls == stop_at && !record->strayed);
}

static void TYPED(check_poll)(const problem *p, int threads, int64_t segment) {
    TYPED(run) plain = TYPED(open_segments)(p, threads, segment), polled = TYPED(open_segments)(p, threads, segment);
    poll_record record = {0};
    on_calling_thread = 1;
    TYPED(both)(&plain);
    polled.options.poll = record_poll;
    polled.options.poll_context = &record;
    CHECK_STATUS(TYPED(forward)(&polled), BPTT_OK);
    CHECK(record.calls > 1 && !record.strayed);
    record.calls = 0;
    CHECK_STATUS(TYPED(backward)(&polled), BPTT_OK);
    const int asked = record.calls;
    CHECK(asked > 1 && !record.strayed);
    TYPED(check_same)(&plain, &polled);
    TYPED(check_stop)(&polled, &record, 1);
    TYPED(check_stop)(&polled, &record, 2);
    record = (poll_record){.stop_at = asked - 1};
    CHECK_STATUS(TYPED(backward)(&polled), BPTT_ERROR_INTERRUPTED);
    CHECK(record.calls == asked - 1);
    TYPED(close)(&plain);
    TYPED(close)(&polled);
}

static void TYPED(check_polls)(int which, int32_t layers, int32_t directions, int64_t segment) {
    problem p = TYPED(large_problem)(which, layers, directions, LENGTHS);
    TYPED(check_poll)(&p, 1, segment);
    TYPED(check_poll)(&p, 3, segment);
    free_problem(&p);
}

static void TYPED(check_threads)(void) {
    const unsigned clipped = CLIP_NORM | CLIP_VALUE;
    TYPED(check_large)(TANH, 1, 1, 0, 0);
    TYPED(check_large)(RELU, 1, 1, ALL_FEATURES & ~LENGTHS, 0);
    TYPED(check_large)(TANH, 2, 2, LENGTHS | RESET | DSTATE1, 0);
    TYPED(check_large)(SIGMOID, 3, 1, TRAINING | LENGTHS | clipped, 17);
    TYPED(check_large)(LSTM, 1, 1, STATE0 | DSTATE1, 0);
    TYPED(check_large)(PEEPHOLE_LSTM, 2, 1, TRAINING | RESET, 17);
    TYPED(check_large)(PEEPHOLE_LSTM, 2, 2, ALL_FEATURES & ~(STATE0 | clipped), 0);
    TYPED(check_large)(GRU, 2, 1, LENGTHS | RESET, 0);
    TYPED(check_large)(GRU, 2, 2, ALL_FEATURES & ~CARRY_PER_ROW, 0);
    TYPED(check_large)(RESET_BEFORE_GRU, 1, 2, TRAINING | RESET | CARRY, 0);
    TYPED(check_large)(RESET_BEFORE_GRU, 2, 1, TRAINING | LENGTHS | RESET | NORMS, 17);
    TYPED(check_rare_resets)(TANH, 271);
    TYPED(check_rare_resets)(LSTM, 131);
    TYPED(check_few_rows)(1);
    TYPED(check_few_rows)(5);
    TYPED(check_polls)(TANH, 1, 1, 0);
    TYPED(check_polls)(LSTM, 2, 2, 0);
    TYPED(check_polls)(GRU, 2, 1, 20);
}
