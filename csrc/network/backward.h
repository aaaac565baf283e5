/* Backward over time, chunk by chunk from the end (Rumelhart, Hinton, Williams 1986; Werbos 1990). A thread goes over
 * its shards of the batch one after another; the gradients of the shards are added up at the end. Where the whole batch
 * is one shard, each thread keeps to its rows of it but for the gradients of the parameters: two barriers for each
 * layer and chunk. */
#ifndef BPTT_NETWORK_BACKWARD_H
#define BPTT_NETWORK_BACKWARD_H
#include "network/dropout.h"
#include "network/forward.h"
#include "network/input_gradient.h"
#include "network/param_grads.h"
#include "network/recurrent_backward.h"
#include "network/states.h"
#include "network/token_grads.h"
#include "train/norm.h"

/* ---- from the outputs, and to the inputs --------------------------------------------------------------- */

/* dh of the last layer in a block's rows, zeros where they belong to steps before dy_start; the block becomes the
 * others. */
LOCAL REAL *begin_dh(const worker *last_layer, block *block) {
    const call *call = last_layer->call;
    const int64_t ld = ld_dh(call), start = call->dy ? call->options.dy_start : call->T;
    const int64_t without = min_of(block->rows, max_of(0, start - block->t) * shard_rows(last_layer));
    REAL *dh = dh_at(last_layer, block->t) + block->row * ld;
    copy_or_clear(dh, NULL, without * ld);
    block->row += without;
    block->rows -= without;
    return dh + without * ld;
}

/* with a readout: dh = dy W_ho */
LOCAL void multiply_dy(const worker *last_layer) {
    const call *call = last_layer->call;
    const int64_t DH = ld_state(call), O = call->O;
    const REAL *ho = readout_of(call, BACKWARD).ho;
    gather_dy(last_layer);
    EACH_SHARD_BLOCK(last_layer, each) {
        block block = each;
        REAL *dh = begin_dh(last_layer, &block);
        if (block.rows)
            multiply(call, block.rows, DH, O, dy_at(last_layer, block.t, block.row), O, ho, NULL, dh, ld_dh(call));
    }
}

/* without one: dh = dy */
LOCAL void copy_dy(const worker *last_layer) {
    const call *call = last_layer->call;
    const int64_t DH = ld_state(call);
    EACH_BLOCK(last_layer, each) {
        block block = each;
        REAL *dh = begin_dh(last_layer, &block);
        if (!block.rows) continue;
        copy_rows(block.rows, DH, callers_dy(call, block.t, block.row), DH, dh, ld_dh(call));
    }
}

/* The gradient by the outputs of the last layer from dy alone, for the chunk. */
LOCAL void output_gradient(worker last_layer) {
    choose_layer_dir(&last_layer, last_layer.call->L - 1, 0);
    if (last_layer.call->O) multiply_dy(&last_layer);
    else copy_dy(&last_layer);
}

/* dL/dh_t of the layer below (B,D*H), rows ld_dh apart */
LOCAL REAL *dh_below(const worker *here, int64_t t) {
    worker below = *here;
    choose_layer_dir(&below, here->layer - 1, 0);
    return dh_at(&below, t);
}

/* The rows of a block of the gradient by the layer's inputs, ld_dx apart; the second direction adds to the first. */
LOCAL void multiply_dz(const worker *worker, const block *block, REAL *dx, int64_t ld_dx) {
    const int64_t ld = ld_dz(worker->call);
    multiply_w_ih(worker, block->rows, dz_at(worker, block->t) + block->row * ld, ld, worker->direction ? dx : NULL, dx,
                  ld_dx);
}

/* The gradient by the layer's inputs: dh of the layer below, or dx. */
LOCAL void input_gradient(const worker *worker) {
    const call *call = worker->call;
    const int64_t in = layer_inputs(call, worker->layer), ld = ld_dh(call);
    if (worker->layer) {
        EACH_SHARD_BLOCK(worker, block) multiply_dz(worker, &block, dh_below(worker, block.t) + block.row * ld, ld);
    } else if (call->dx) {
        EACH_BLOCK(worker, block) multiply_dz(worker, &block, call->dx + (block.t * call->B + block.row) * in, in);
        clear_beyond_lengths(worker, in, call->dx);
    }
    if (!drops_inputs(worker) || worker->direction < call->D - 1) return;
    EACH_BLOCK(worker, block) {
        REAL *dh = dh_below(worker, block.t) + block.row * ld;
        drop_inputs(worker, block.t, block.row, block.rows, in, dh, dh, ld);
    }
}

/* ---- a chunk ------------------------------------------------------------------------------------------- */

/* The operands of the weight gradients beside dz, for this member's rows: inputs and states after dropout, and which
 * rows had a zero entering state. One member sorts the integer inputs of all rows of the shard. */
LOCAL void prepare_param_grads(const worker *worker) {
    call *call = worker->call;
    if (call->grads && takes_tokens(worker) && worker->sharer->rank == 0)
        call->runs[worker->shard] = runs_of_shard(worker);
    const int64_t H = call->H, ld = ld_state(call), rows = worker->row_end - worker->row_begin;
    for (int64_t t = worker->t0; call->options.reset && worker->direction && t < worker->t0 + worker->steps; t++)
        for (int64_t row = worker->row_begin; row < worker->row_end; row++)
            call->skip[(t - worker->t0) * call->B + row] = (uint8_t)enters_zero(call, 1, t, row);
    EACH_BLOCK(worker, block) {
        if (drops_inputs(worker)) block_input(worker, &block);
        for (int64_t i = 0, t = block.t; drops_recurrent(call) && i < block.rows; i += rows, t++) {
            const REAL *h_prev = in_slot(worker, worker->h, entering_slot(worker, t)) + block.row * ld;
            REAL *masked = call->masked_h + ((t - worker->t0) * call->B + block.row) * H;
            apply_mask(call, block.row, min_of(block.rows - i, rows), h_prev, ld, masked);
        }
    }
}

/* ||dh_t||^2 of the shard in the chunk's steps */
LOCAL void write_shard_squares(const worker *worker) {
    const call *call = worker->call;
    const int64_t begin = shard_begin(call, worker->shard), end = shard_begin(call, worker->shard + 1);
    double *squares = call->shard_squares + (worker->shard * call->L * call->D + worker->layer_dir) * call->T;
    for (int64_t i = 0; i < worker->steps; i++)
        squares[worker->t0 + i] = square_of_rows(end - begin, 1, call->dh_squares + i * call->B + begin);
}

/* One layer_dir over a chunk; returns whether to stop. */
LOCAL int backward_layer_dir(worker *worker) {
    const call *call = worker->call;
    worker->weights = weights_of(call, worker->layer_dir, BACKWARD);
    if (drops_recurrent(call)) draw_mask(worker);
    const cell *cell = cell_of(&call->spec);
    step step = begin_backward_steps(worker);
    for (int64_t i = 0; i < worker->steps && !stopped_at_step(worker, i); i++)
        backward_step(worker, cell, worker->direction ? worker->t0 + i : worker->t0 + worker->steps - 1 - i, &step);
    save_dz(worker);
    input_gradient(worker);
    prepare_param_grads(worker);
    if (stopped_together(worker)) return 1;
    if (call->grads) add_layer_dir_grads(worker);
    if (call->grads && takes_tokens(worker)) add_token_grads(worker);
    if (call->grads && worker->layer == call->L - 1 && worker->direction == 0) add_readout_grads(worker);
    if (worker->sharer->rank == 0 && call->options.step_norms) write_shard_squares(worker);
    bptt_internal_team_wait(worker->sharer); /* the next layer_dir or chunk overwrites dz */
    return 0;
}

/* ---- all chunks ---------------------------------------------------------------------------------------- */

/* One direction: all layers over the chunks of steps [begin,end), from the end; returns whether to stop. */
LOCAL int backward_chunks(worker *worker, int64_t begin, int64_t end) {
    const call *call = worker->call;
    for (; end > begin; end = worker->t0) {
        worker->t0 = begin + (end - 1 - begin) / call->chunk * call->chunk;
        worker->steps = end - worker->t0;
        output_gradient(*worker);
        for (int64_t layer = call->L - 1; layer >= 0; layer--) {
            choose_layer_dir(worker, layer, 0);
            if (backward_layer_dir(worker)) return 1;
        }
    }
    return 0;
}

/* Two directions: each over all steps before the layer below. The first direction goes first: it overwrites the
 * gradient by the inputs, to which the second adds. */
LOCAL void backward_bidirectional(worker *worker) {
    const call *call = worker->call;
    const int64_t chunks = (call->T - 1) / call->chunk + 1;
    for (int64_t j = 0; j < chunks; j++) {
        choose_chunk(worker, j);
        output_gradient(*worker);
    }
    for (int64_t i = call->L * call->D - 1; i >= 0; i--) {
        choose_layer_dir(worker, i / call->D, 1 - i % call->D);
        for (int64_t j = 0; j < chunks; j++) {
            choose_chunk(worker, worker->direction ? j : chunks - 1 - j);
            if (backward_layer_dir(worker)) return;
        }
    }
}

/* One direction, with checkpoints (Chen et al. 2016): computes a segment forward again, then goes back over it. */
LOCAL void backward_segments(worker *worker) {
    const call *call = worker->call;
    const int64_t steps = min_of(call->options.segment, call->T);
    for (int64_t segment = (call->T - 1) / steps; segment >= 0; segment--) {
        const int64_t begin = segment * steps, end = min_of(begin + steps, call->T);
        worker->origin = begin;
        copy_checkpoint(worker, segment, RESTORE);
        forward_chunks(worker, begin, end);
        if (backward_chunks(worker, begin, end)) return;
    }
}

/* A worker for a shard, all of its rows. */
LOCAL worker begin_backward(call *call, const bptt_internal_member *member, const bptt_internal_member *sharer,
                            int64_t shard) {
    return (worker){.call = call,
                    .member = member,
                    .sharer = sharer,
                    .first = shard == 0 && sharer->rank == 0,
                    .shard = shard,
                    .row_begin = shard_begin(call, shard),
                    .row_end = shard_begin(call, shard + 1),
                    .grads = call->grads,
                    .origin = -call->options.tape_first};
}

/* The worker's rows of a shard, over all steps. */
LOCAL void backward_shard(worker *worker) {
    const call *call = worker->call;
    clear_token_sums(worker);
    if (call->D == 2) backward_bidirectional(worker);
    else if (call->checkpoints) backward_segments(worker);
    else backward_chunks(worker, 0, call->T);
}

/* One shard as a task. */
LOCAL void backward_task(void *context, const bptt_internal_member *member, int shard) {
    call *call = context;
    const bptt_internal_member alone = {.size = 1};
    const int64_t params = call->offsets.params;
    worker worker = begin_backward(call, member, &alone, shard);
    if (call->grads && shard > 0) {
        worker.grads = call->shard_grads + (shard - 1) * params;
        copy_or_clear(worker.grads, NULL, params);
    }
    backward_shard(&worker);
}

/* The only shard, which all members share. */
LOCAL void backward_body(void *context, const bptt_internal_member *member) {
    call *call = context;
    worker worker = begin_backward(call, member, member, 0);
    choose_share(&worker, member->rank, member->size);
    backward_shard(&worker);
}

/* ---- after all steps ----------------------------------------------------------------------------------- */

/* Adds the gradients of the other shards to those of the first: one of call->tasks parts of the parameters. */
LOCAL void add_shard_grads(void *context, const bptt_internal_member *member, int task) {
    const call *call = context;
    const int64_t params = call->offsets.params;
    const bptt_internal_member part = {.rank = task, .size = call->tasks};
    int64_t begin, end;
    (void)member;
    bptt_internal_share(&part, params, LINE, &begin, &end);
    for (int64_t shard = 1; shard < call->shards; shard++)
        call->kernels->add_scaled(end - begin, 1, call->shard_grads + (shard - 1) * params + begin,
                                  call->grads + begin);
}

/* A table's part of the gradients, shared by all members. */
LOCAL void add_table_grads(void *context, const bptt_internal_member *member) {
    worker worker = begin_backward(context, member, member, 0);
    add_grads_of_sums(&worker);
}

/* ||dh_t|| of each layer_dir and step from those of the shards */
LOCAL void write_step_norms(const call *call) {
    const int64_t norms = call->L * call->D * call->T;
    for (int64_t i = 0; i < norms; i++)
        ((REAL *)call->options.step_norms)[i] =
            (REAL)norm_from(square_of_rows(call->shards, norms, call->shard_squares + i));
}

/* The learned state entered all rows: its gradient is the sum of theirs. */
LOCAL void add_learned_state_grads(const call *call) {
    for (int part = 0; part < call->shape->states; part++) {
        REAL *grads = network_grad(call, call->grads, part ? STATE_C0 : STATE_H0);
        for (int64_t layer_dir = 0; layer_dir < call->L * call->D; layer_dir++)
            call->kernels->add_column_sums(call->B, call->H, call->dstate0 + state_offset(call, layer_dir, part, 0),
                                           call->H, grads + layer_dir * call->H);
    }
}

/* Backward on that many threads. */
LOCAL void backward_on(call *call, int threads) {
    bptt_team *team = call->options.team;
    call->tasks = threads;
    if (call->shards > 1) bptt_internal_team_tasks(team, threads, (int)call->shards, backward_task, ask_poll, call);
    else bptt_internal_team_run(team, threads, backward_body, call);
    if (atomic_load(&call->stop)) return;
    if (call->grads && call->shards > 1)
        bptt_internal_team_tasks(team, threads, call->tasks, add_shard_grads, NULL, call);
    if (sums_tokens(call)) bptt_internal_team_run(team, threads, add_table_grads, call);
    if (call->options.step_norms) write_step_norms(call);
    if (call->grads && call->spec.learn_state && !call->options.state_given) add_learned_state_grads(call);
}
#endif
