/* One thread's part of a call: its rows of the batch, and the chunk of steps and the layer_dir that it works on. */
#ifndef BPTT_NETWORK_WORKER_H
#define BPTT_NETWORK_WORKER_H
#include "network/weights.h"

typedef struct {
    call *call;
    const bptt_internal_member *member;
    const bptt_internal_member *sharer;  /* backward: its place among those that share a shard's gradients and wait for
                                            one another: all members, or itself alone */
    int first;                           /* whether it counts the steps of the call: one worker does */
    int64_t shard;                       /* of the batch, in backward */
    int64_t row_begin, row_end;          /* rows of the batch */
    int64_t origin;                      /* the step whose outputs lie first in the activations */
    int64_t t0, steps;                   /* the chunk: steps t0 .. t0+steps-1 */
    int64_t layer, direction, layer_dir; /* layer_dir = layer * D + direction */
    REAL *h, *c, *gates;                 /* the layer_dir's activations, step `origin` first; c, gates NULL: none */
    REAL *dh;                            /* backward: gradient by the layer's outputs, see dh_at */
    REAL *grads;                         /* backward: those of the shard (params) */
    weights weights;
} worker;

/* Whether the worker's layer has integers as inputs. */
LOCAL int takes_tokens(const worker *worker) { return worker->call->V && !worker->layer; }

/* The calling thread asks the caller's poll, which may have forked, whether to stop. */
LOCAL void ask_poll(void *context, const bptt_internal_member *member) {
    call *call = context;
    const int asks = member->rank == 0 && call->options.poll && !atomic_load(&call->stop);
    if (asks && (call->options.poll(call->options.poll_context) || bptt_internal_team_lost(member)))
        atomic_store(&call->stop, 1);
}

/* Whether to stop. Members may learn of it at different times. */
LOCAL int stopped(const worker *worker) {
    ask_poll(worker->call, worker->member);
    return atomic_load(&worker->call->stop);
}

/* The same at a barrier: all members get the same answer, as nobody asks again before all have read this one. */
LOCAL int stopped_together(const worker *worker) {
    stopped(worker);
    bptt_internal_team_wait(worker->sharer);
    return atomic_load(&worker->call->stop);
}

/* The same within a chunk, at every poll_steps-th step. */
LOCAL int stopped_at_step(const worker *worker, int64_t step) {
    return step % worker->call->poll_steps == 0 ? stopped(worker) : 0;
}

/* the first row of the batch in a shard */
LOCAL int64_t shard_begin(const call *call, int64_t shard) { return call->shard_begins[shard]; }

LOCAL int64_t shard_rows(const worker *worker) {
    return shard_begin(worker->call, worker->shard + 1) - shard_begin(worker->call, worker->shard);
}

/* Chooses the rows of a share: whole shards, where there are enough of them. */
LOCAL void choose_share(worker *worker, int64_t index, int64_t shares) {
    const call *call = worker->call;
    const int64_t parts = max_of(call->shards, shares);
    worker->row_begin = share_begin(call, index * parts / shares, parts);
    worker->row_end = share_begin(call, (index + 1) * parts / shares, parts);
}
#endif
