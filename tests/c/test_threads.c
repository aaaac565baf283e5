/* Threads and the poll: the same bits for any number of threads, with every feature; which thread calls the poll, that
 * its answer stops the call, and that it may fork. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#ifndef _WIN32
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#endif
#include <stdint.h>

#include "bptt.h"
#include "check.h"
#include "problem.h"
#include "real.h"
#include "run.h"

/* ---- threads ------------------------------------------------------------------------------------------- */

/* Forward without a tape, on the same number of threads. */
static void check_threads_without_tape(const run *r) {
    run other = open_run(r->p, r->options.threads);
    CHECK_STATUS(forward_run_to(&other, NULL), BPTT_OK);
    check_same_forward(r, &other);
    close_run(&other);
}

static bptt_team *team; /* of all checks with an even number of threads, so that it grows and shrinks */

static void check_threads_of(const problem *p, int threads, int64_t segment) {
    run one = open_segmented_run(p, 1, segment), many = open_segmented_run(p, threads, segment);
    int64_t steps = 0;
    many.options.forward_steps = &steps;
    if (threads % 2 == 0) many.options.team = team;
    forward_backward(&one);
    forward_backward(&many);
    check_same(&one, &many);
    CHECK(steps == (segment ? 2 : 1) * p->T);
    many.options.forward_steps = NULL;
    if (threads == 7) check_threads_without_tape(&many);
    close_run(&one);
    close_run(&many);
}

/* Enough work for several threads, in several chunks of steps. No number of threads divides the rows or the units. */
static problem large_problem(int which, int32_t layers, int32_t directions, unsigned features) {
    const int64_t H = forms[which].cell < BPTT_CELL_LSTM ? 83 : 41, T = 241 / (layers * directions);
    bptt_spec spec = spec_of((shape){.I = 19, .H = H, .O = 17}, which, layers, directions);
    spec.learn_state = 1;
    spec.dropout = spec.recurrent_dropout = spec.noise = features & TRAINING ? 0.3 : 0;
    return problem_of(spec, T, 31, features);
}

static void check_large(int which, int32_t layers, int32_t directions, unsigned features, int threads,
                        int64_t segment) {
    problem p = large_problem(which, layers, directions, features);
    check_threads_of(&p, threads, segment);
    free_problem(&p);
}

/* Resets in one row only, which one thread has and the others have not. Wide enough for several blocks of a product. */
static void check_rare_resets(int which, int64_t H, int threads) {
    problem p = problem_of(spec_of((shape){.I = 5, .H = H, .O = 3}, which, 1, 1), 40, 29, RESET);
    for (int64_t i = 0; i < p.T * p.B; i++) p.reset[i] = i % p.B == 2 && i / p.B % 3;
    check_threads_of(&p, threads, 0);
    free_problem(&p);
}

/* Few rows, which are not split, while the gradients of the weights are. One row: sums have another order. */
static void check_few_rows(bptt_spec spec, int64_t B, int threads) {
    problem p = problem_of(spec, 330 / B, B, STATE0 | RESET);
    check_threads_of(&p, threads, 0);
    free_problem(&p);
}

/* Weights so wide that their gradients pack both operands, by several products of different heights. */
static void check_wide(int which, int threads) {
    problem p = problem_of(spec_of((shape){.I = 300, .H = 67, .O = 310}, which, 1, 1), 3, 80, STATE0);
    check_threads_of(&p, threads, 0);
    free_problem(&p);
}

static void check_team_arguments(void) {
    bptt_team *unused;
    CHECK_STATUS(bptt_team_make(NULL), BPTT_ERROR_NULL);
    CHECK_STATUS(bptt_team_make(&unused), BPTT_OK);
    bptt_team_free(unused);
    bptt_team_free(NULL);
}

/* A team serves one call at a time; others make threads of their own. A caller checks nothing: counting is the main
 * thread's. */
typedef struct {
    run r;
    REAL *work;
} caller;

static void *call_forward(void *context) {
    caller *c = context;
    const problem *p = c->r.p;
    for (int i = 0; i < 5; i++)
        TYPED(bptt_forward)(&p->spec, p->T, p->B, c->r.params, c->r.x, c->r.state0, c->r.y, c->r.state1, c->r.tape,
                            c->work, &c->r.options);
    return NULL;
}

static void check_shared_team(void) {
    enum { CALLERS = 3 };
    problem p = large_problem(TANH, 1, 1, 0);
    run one = run_of(&p, 1);
    caller callers[CALLERS];
    pthread_t threads[CALLERS];
    for (int i = 0; i < CALLERS; i++) {
        callers[i].r = open_run(&p, 2 + i);
        callers[i].r.options.team = team;
        callers[i].work = array(callers[i].r.sizes.forward_work);
    }
    for (int i = 0; i < CALLERS; i++) CHECK(!pthread_create(&threads[i], NULL, call_forward, &callers[i]));
    for (int i = 0; i < CALLERS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < CALLERS; i++) {
        check_same_forward(&one, &callers[i].r);
        release(callers[i].work);
        close_run(&callers[i].r);
    }
    close_run(&one);
    free_problem(&p);
}

/* ---- the poll -------------------------------------------------------------------------------------------- */

static _Thread_local int on_calling_thread;

typedef struct {
    int calls;
    int stop_at;   /* the call of the poll that stops; 0: none */
    int elsewhere; /* calls from other threads than the calling one */
} poll_record;

static int record_poll(void *context) {
    poll_record *record = context;
    record->calls++;
    record->elsewhere += !on_calling_thread;
    return record->calls == record->stop_at;
}

/* A call that the poll stops. Several threads share the work anew each time: where others did most of it before the
 * calling thread asked that often, the call is made again. */
static void expect_stop(run *r, bptt_status (*function)(run *), poll_record *record, int stop_at) {
    bptt_status status;
    int tries = r->options.threads > 1 ? 100 : 1;
    do {
        *record = (poll_record){.stop_at = stop_at};
        status = function(r);
    } while (!status && record->calls < stop_at && --tries);
    CHECK_STATUS(status, BPTT_ERROR_INTERRUPTED);
    CHECK(record->calls == stop_at && !record->elsewhere);
}

static void check_stop(run *r, poll_record *record, int stop_at) {
    expect_stop(r, forward_run, record, stop_at);
    *record = (poll_record){0};
    CHECK_STATUS(forward_run(r), BPTT_OK);
    expect_stop(r, backward_run, record, stop_at);
}

static void check_poll(const problem *p, int threads, int64_t segment) {
    run plain = open_segmented_run(p, threads, segment), polled = open_segmented_run(p, threads, segment);
    poll_record record = {0};
    forward_backward(&plain);
    polled.options.poll = record_poll;
    polled.options.poll_context = &record;
    CHECK_STATUS(forward_run(&polled), BPTT_OK);
    CHECK((record.calls > 1 || threads > 1) && !record.elsewhere);
    record.calls = 0;
    CHECK_STATUS(backward_run(&polled), BPTT_OK);
    const int calls = record.calls;
    CHECK((calls > 1 || threads > 1) && !record.elsewhere);
    check_same(&plain, &polled);
    check_stop(&polled, &record, 1);
    check_stop(&polled, &record, 2);
    if (threads == 1) { /* several threads share the work anew each time, and the calling one asks for its own part */
        record = (poll_record){.stop_at = calls - 1};
        CHECK_STATUS(backward_run(&polled), BPTT_ERROR_INTERRUPTED);
        CHECK(record.calls == calls - 1);
    }
    close_run(&plain);
    close_run(&polled);
}

static void check_polls(int which, int32_t layers, int32_t directions, int threads, int64_t segment) {
    problem p = large_problem(which, layers, directions, LENGTHS);
    check_poll(&p, threads, segment);
    free_problem(&p);
}

/* Backward of three steps asks before them and again before the gradients of the parameters, which can take longer. */
static void check_poll_of_few_steps(void) {
    problem p = problem_of(spec_of((shape){.I = 19, .H = 41, .O = 17}, TANH, 1, 1), 3, 31, 0);
    run r = open_run(&p, 1);
    poll_record record = {0};
    r.options.poll = record_poll;
    r.options.poll_context = &record;
    CHECK_STATUS(forward_run(&r), BPTT_OK);
    record.calls = 0;
    CHECK_STATUS(backward_run(&r), BPTT_OK);
    CHECK(record.calls == 2);
    expect_stop(&r, backward_run, &record, 2);
    close_run(&r);
    free_problem(&p);
}

static void check_all_polls(void) {
    on_calling_thread = 1;
    check_poll_of_few_steps();
    check_polls(TANH, 1, 1, 1, 0);
    check_polls(TANH, 1, 1, 3, 0);
    check_polls(LSTM, 2, 2, 1, 0);
    check_polls(LSTM, 2, 2, 3, 0);
    check_polls(GRU, 2, 1, 1, 20);
    check_polls(GRU, 2, 1, 3, 20);
}

#ifndef _WIN32
/* Forks at its second call; the child ends if it waits too long. */
static int fork_poll(void *context) {
    int *state = context; /* calls; in the child -1 */
    if (*state < 0 || ++*state != 2) return 0;
    if (fork()) return 0;
    alarm(120);
    *state = -1;
    return 0;
}

/* The same, and the child calls with the team of the call that is on: it begins anew. */
typedef struct {
    int state; /* as fork_poll has it */
    run *in_child;
} team_user;

static int fork_and_use_team(void *context) {
    team_user *user = context;
    const int before = user->state;
    fork_poll(&user->state);
    if (user->state < 0 && before >= 0) CHECK_STATUS(forward_run(user->in_child), BPTT_OK);
    return 0;
}

/* The call that goes on in the child still ends as interrupted: the team's threads there are not those it began with.
 */
static void check_fork_with_team(int32_t layers, int64_t B) {
    problem p = problem_of(spec_of((shape){.I = 19, .H = 41, .O = 17}, GRU, layers, 1), 3000 / B, B, 0);
    run plain = open_run(&p, 3), forked = open_run(&p, 3), in_child = open_run(&p, 3);
    team_user user = {.in_child = &in_child};
    int result = -1;
    name_case("fork with a team, %d layers, %d rows", (int)layers, (int)B);
    forward_backward(&plain);
    forked.options.team = in_child.options.team = team;
    CHECK_STATUS(forward_run(&forked), BPTT_OK);
    forked.options.poll = fork_and_use_team;
    forked.options.poll_context = &user;
    const bptt_status status = backward_run(&forked);
    if (user.state < 0)
        _Exit(status == BPTT_ERROR_INTERRUPTED && same_bits(plain.sizes.output, plain.y, in_child.y) ? 0 : 1);
    CHECK_STATUS(status, BPTT_OK);
    CHECK(user.state < 2 || (wait(&result) > 0 && result == 0)); /* below 2: the others did the work */
    check_same(&plain, &forked);
    close_run(&plain);
    close_run(&forked);
    close_run(&in_child);
    free_problem(&p);
}

/* A child that a poll forked ends the call as interrupted if it used threads, which the child lacks; with one thread it
 * goes on. The parent does not notice. */
static void check_fork(int threads, int backward, int64_t segment) {
    problem p = large_problem(GRU, 2, 1, 0);
    run plain = open_segmented_run(&p, threads, segment), forked = open_segmented_run(&p, threads, segment);
    int state = 0, result = -1;
    name_case("fork, %d threads, backward %d, segment %d", threads, backward, (int)segment);
    forward_backward(&plain);
    if (backward) CHECK_STATUS(forward_run(&forked), BPTT_OK);
    forked.options.poll = fork_poll;
    forked.options.poll_context = &state;
    const bptt_status status = backward ? backward_run(&forked) : forward_run(&forked);
    if (state < 0) _Exit(status == (threads > 1 ? BPTT_ERROR_INTERRUPTED : BPTT_OK) ? 0 : 1);
    CHECK_STATUS(status, BPTT_OK);
    CHECK(state < 2 ? threads > 1 /* the others did the work */ : wait(&result) > 0 && result == 0);
    forked.options.poll = NULL; /* forward may have had one poll only */
    if (!backward) CHECK_STATUS(backward_run(&forked), BPTT_OK);
    check_same(&plain, &forked);
    close_run(&plain);
    close_run(&forked);
    free_problem(&p);
}

static void check_forks(void) {
    for (int backward = 0; backward < 2; backward++) {
        check_fork(1, backward, 0);
        check_fork(3, backward, 0);
        check_fork(3, backward, 20);
    }
    check_fork_with_team(2, 31);
    check_fork_with_team(8, 15);
}
#endif

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    check_team_arguments();
    CHECK_STATUS(bptt_team_make(&team), BPTT_OK);
    const unsigned clipped = CLIP_NORM | CLIP_VALUE;
    check_large(TANH, 1, 1, 0, 3, 0);
    check_large(RELU, 1, 1, ALL_FEATURES & ~LENGTHS, 7, 0);
    check_large(TANH, 2, 2, LENGTHS | RESET | DSTATE1, 2, 0);
    check_large(SIGMOID, 3, 1, TRAINING | LENGTHS | clipped, 3, 17);
    check_large(LSTM, 1, 1, STATE0 | DSTATE1, 7, 0);
    check_large(PEEPHOLE_LSTM, 2, 1, TRAINING | RESET, 2, 17);
    check_large(PEEPHOLE_LSTM, 2, 2, ALL_FEATURES & ~(STATE0 | clipped), 3, 0);
    check_large(GRU, 2, 1, LENGTHS | RESET, 7, 0);
    check_large(GRU, 2, 2, ALL_FEATURES & ~CARRY_PER_ROW, 2, 0);
    check_large(RESET_BEFORE_GRU, 1, 2, TRAINING | RESET | CARRY, 3, 0);
    check_large(RESET_BEFORE_GRU, 2, 1, TRAINING | LENGTHS | RESET | NORMS, 7, 17);
    check_rare_resets(TANH, 271, 7);
    check_rare_resets(LSTM, 131, 3);
    const bptt_spec few = spec_of((shape){.I = 90, .H = 151, .O = 70}, LSTM, 2, 1);
    check_few_rows(few, 1, 2);
    check_few_rows(few, 5, 2);
    check_few_rows(with_tokens(few, 0, -1), 1, 2);
    check_few_rows(with_tokens(few, 40, 3), 5, 2);
    for (int threads = 2; threads <= 8; threads += 2) check_wide(threads % 4 ? GRU : RESET_BEFORE_GRU, threads);
    check_shared_team();
    if (is_best_set()) check_all_polls();
#ifndef _WIN32
    check_forks();
#endif
    bptt_team_free(team);
    return end_of_checks();
}
