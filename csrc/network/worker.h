/* One thread's part of a call: its rows of the batch, and the chunk of steps and the layer_dir that it works on. */
#ifndef BPTT_NETWORK_WORKER_H
#define BPTT_NETWORK_WORKER_H
#include "network/weights.h"

typedef struct {
    call *call;
    const bptt_internal_member *member;
    int64_t row_begin, row_end;          /* rows of the batch */
    int64_t origin;                      /* the step whose outputs lie first in the activations */
    int64_t t0, steps;                   /* the chunk: steps t0 .. t0+steps-1 */
    int64_t layer, direction, layer_dir; /* layer_dir = layer * D + direction */
    REAL *h, *c, *gates;                 /* the layer_dir's activations, step `origin` first; c, gates NULL: none */
    REAL *dh;                            /* backward: gradient by the layer's outputs, see dh_at */
    weights weights;
} worker;

/* Whether to stop; the calling thread asks the caller's poll, which may have forked. Members may learn of it at
 * different times. */
LOCAL int stopped(const worker *worker) {
    call *call = worker->call;
    const int asks = worker->member->rank == 0 && call->options.poll && !atomic_load(&call->stop);
    if (asks && (call->options.poll(call->options.poll_context) || bptt_internal_team_lost(worker->member)))
        atomic_store(&call->stop, 1);
    return atomic_load(&call->stop);
}

/* The same at a barrier: all members get the same answer, as nobody asks again before all have read this one. */
LOCAL int stopped_together(const worker *worker) {
    stopped(worker);
    bptt_internal_team_wait(worker->member);
    return atomic_load(&worker->call->stop);
}

/* The same within a chunk, at every poll_steps-th step. */
LOCAL int stopped_at_step(const worker *worker, int64_t step) {
    return step % worker->call->poll_steps == 0 ? stopped(worker) : 0;
}

/* Chooses the member's rows: nearly the same number of steps for each member, boundaries at multiples of `quantum`
 * rows. */
LOCAL void share_rows(worker *worker, int64_t quantum) {
    const bptt_internal_member *member = worker->member;
    const int64_t *lengths = worker->call->options.lengths, B = worker->call->B;
    bptt_internal_share(member, B, quantum, &worker->row_begin, &worker->row_end);
    if (!lengths) return;
    int64_t all = 0, before = 0, boundaries[2] = {0, B};
    for (int64_t row = 0; row < B; row++) all += lengths[row];
    for (int64_t row = 0; row < B; before += lengths[row++])
        for (int side = 0; side < 2; side++) {
            const double share = (double)(member->rank + side) / member->size;
            if (row % quantum == 0 && (double)before <= share * (double)all) boundaries[side] = row;
        }
    worker->row_begin = member->rank == 0 ? 0 : boundaries[0];
    worker->row_end = member->rank == member->size - 1 ? B : boundaries[1];
}
#endif
