/* Backward in 2, 4 and 8 shards of the batch, as its size has them: against the naive loops, and the same bits for any
 * number of threads. */
#include <stdint.h>

#include "bptt.h"
#include "check.h"
#include "check_problem.h"
#include "problem.h"
#include "real.h"
#include "reference.h"
#include "run.h"

static bptt_team *team; /* of all checks with an even number of threads */

/* Enough work for nine threads; `segment` as open_segmented_run takes it. */
static void check_threads(const problem *p, int64_t segment) {
    run one = open_segmented_run(p, 1, segment);
    forward_backward(&one);
    for (int threads = 2; threads <= 9; threads++) {
        run many = open_segmented_run(p, threads, segment);
        if (threads % 2 == 0) many.options.team = team;
        forward_backward(&many);
        check_same(&one, &many);
        close_run(&many);
    }
    close_run(&one);
}

static void check_shards_of(const problem *p) {
    check_against_naive(p);
    check_threads(p, 0);
    if (!p->spec.bidirectional) check_threads(p, p->T / 3);
}

static void check_shards(bptt_spec spec, int64_t T, int64_t B, unsigned features) {
    spec.dropout = spec.recurrent_dropout = features & TRAINING ? 0.3 : 0;
    problem p = problem_of(spec, T, B, features);
    check_shards_of(&p);
    free_problem(&p);
}

/* One row has nearly all steps: the first shard has no rows, the second that row and all others. */
static void check_long_row(int which, int32_t directions, unsigned features) {
    problem p = problem_of(spec_of((shape){.I = 7, .H = 21, .O = 5}, which, 1, directions), 70, 16, LENGTHS | features);
    for (int64_t row = 0; row < p.B; row++) p.lengths[row] = row ? 1 : p.T;
    check_shards_of(&p);
    free_problem(&p);
}

static bptt_spec learning(bptt_spec spec) {
    spec.learn_state = 1;
    return spec;
}

int main(void) {
    if (!bptt_isa()) return SKIPPED;
    CHECK_STATUS(bptt_team_make(&team), BPTT_OK);
    const shape s = {.I = 9, .H = 19, .O = 6}, outputless = {.I = 9, .H = 19};
    check_shards(spec_of(s, TANH, 2, 2), 61, 17, LENGTHS | RESET | DSTATE1 | NORMS);
    check_shards(learning(spec_of(s, PEEPHOLE_LSTM, 2, 1)), 65, 16, TRAINING | RESET | LATE_DY);
    check_shards(spec_of(outputless, GRU, 1, 2), 61, 17, ALL_FEATURES & ~(LENGTHS | CARRY_PER_ROW));
    check_shards(spec_of(s, LSTM, 1, 1), 33, 65, STATE0 | DSTATE1 | LATE_DY);
    check_shards(spec_of(outputless, RESET_BEFORE_GRU, 2, 1), 32, 64, LENGTHS | RESET | CLIP_NORM | CLIP_VALUE | NORMS);
    check_shards(with_tokens(spec_of(s, LSTM, 2, 1), 30, 3), 33, 65, LENGTHS | RESET);
    check_shards(learning(spec_of(s, GRU, 2, 2)), 32, 131, ALL_FEATURES & ~STATE0);
    check_shards(spec_of(s, TANH, 1, 1), 32, 129, 0);
    check_shards(with_tokens(spec_of(s, RELU, 1, 2), 0, -1), 32, 131, CARRY_PER_ROW | NORMS);
    check_long_row(LSTM, 1, RESET | NORMS);
    check_long_row(TANH, 2, DSTATE1);
    bptt_team_free(team);
    return end_of_checks();
}
