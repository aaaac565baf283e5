/* Backward over time, chunk by chunk from the end (Rumelhart, Hinton, Williams 1986; Werbos 1990). Each thread keeps to
 * its rows of the batch but for the gradients of the parameters: two barriers for each layer and chunk. */
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

/* The gradient by the outputs of the last layer from dy alone, for the chunk. */
LOCAL void output_gradient(worker last_layer) {
    const call *call = last_layer.call;
    const int64_t DH = ld_state(call);
    choose_layer_dir(&last_layer, call->L - 1, 0);
    EACH_BLOCK(&last_layer, block, last_layer.row_begin, last_layer.row_end) {
        REAL *dh = dh_at(&last_layer, block.t) + block.row * DH;
        const int64_t without = rows_without_dy(call, &block), rows = block.rows - without;
        copy_or_clear(dh, NULL, without * DH);
        if (!rows) continue;
        const REAL *dy = dy_of(call, &block, without);
        REAL *to = dh + without * DH;
        if (call->O) multiply(call, rows, DH, call->O, dy, call->O, readout_of(call, BACKWARD).ho, NULL, to, DH);
        else memcpy(to, dy, (size_t)(rows * DH) * sizeof(REAL));
    }
}

/* dL/dh_t of the layer below (B,D*H) */
LOCAL REAL *dh_below(const worker *here, int64_t t) {
    worker below = *here;
    choose_layer_dir(&below, here->layer - 1, 0);
    return dh_at(&below, t);
}

/* The gradient by the layer's inputs, W_ihT dz: dx, or dh of the layer below. The second direction adds to
 * the first. */
LOCAL void input_gradient(const worker *worker) {
    const call *call = worker->call;
    const int64_t layer = worker->layer, in = layer_inputs(call, layer), ld = ld_dz(call);
    const int last_direction = worker->direction == call->D - 1;
    if (!layer && !call->dx) return;
    EACH_BLOCK(worker, block, worker->row_begin, worker->row_end) {
        REAL *dx = (layer ? dh_below(worker, block.t) : call->dx + block.t * call->B * in) + block.row * in;
        multiply_w_ih(worker, block.rows, dz_at(worker, block.t) + block.row * ld, ld, worker->direction ? dx : NULL,
                      dx);
        if (drops_inputs(worker) && last_direction) drop_inputs(worker, block.t, block.row, block.rows, in, dx, dx);
    }
    if (!layer) clear_beyond_lengths(worker, in, call->dx);
}

/* ---- a chunk ------------------------------------------------------------------------------------------- */

/* The operands of the weight gradients beside dz, for this member's rows: inputs and states after dropout, and which
 * rows had a zero entering state. One member sorts the integer inputs of all rows. */
LOCAL void prepare_param_grads(const worker *worker) {
    call *call = worker->call;
    if (call->grads && takes_tokens(worker) && worker->member->rank == 0)
        call->runs = runs_of(worker, 0, call->B, call->token_scratch[BACKWARD].runs);
    const int64_t H = call->H, ld = ld_state(call), rows = worker->row_end - worker->row_begin;
    for (int64_t t = worker->t0; call->options.reset && worker->direction && t < worker->t0 + worker->steps; t++)
        for (int64_t row = worker->row_begin; row < worker->row_end; row++)
            call->skip[(t - worker->t0) * call->B + row] = (uint8_t)enters_zero(call, 1, t, row);
    EACH_BLOCK(worker, block, worker->row_begin, worker->row_end) {
        if (drops_inputs(worker)) block_input(worker, &block);
        for (int64_t i = 0, t = block.t; drops_recurrent(call) && i < block.rows; i += rows, t++) {
            const REAL *h_prev = in_slot(worker, worker->h, entering_slot(worker, t)) + block.row * ld;
            REAL *masked = call->masked_h + ((t - worker->t0) * call->B + block.row) * H;
            apply_mask(call, block.row, min_of(block.rows - i, rows), h_prev, ld, masked);
        }
    }
}

/* ||dh_t|| of the chunk's steps from the norms of their rows, always added in the order of the rows */
LOCAL void write_step_norms(const worker *worker) {
    const call *call = worker->call;
    REAL *norms = (REAL *)call->options.step_norms + worker->layer_dir * call->T;
    for (int64_t i = 0; i < worker->steps; i++)
        norms[worker->t0 + i] = (REAL)norm_of_rows(call->B, call->dh_squares + i * call->B);
}

/* One layer_dir over a chunk; returns whether to stop. */
LOCAL int backward_layer_dir(worker *worker) {
    const call *call = worker->call;
    worker->weights = weights_of(call, worker->layer_dir, BACKWARD);
    if (drops_recurrent(call)) draw_mask(worker);
    step step = begin_backward_steps(worker);
    for (int64_t i = 0; i < worker->steps && !stopped_at_step(worker, i); i++)
        backward_step(worker, worker->direction ? worker->t0 + i : worker->t0 + worker->steps - 1 - i, &step);
    save_dz(worker);
    input_gradient(worker);
    prepare_param_grads(worker);
    if (stopped_together(worker)) return 1;
    if (call->grads) add_layer_dir_grads(worker);
    if (call->grads && takes_tokens(worker)) add_token_grads(worker);
    if (call->grads && worker->layer == call->L - 1 && worker->direction == 0) add_readout_grads(worker);
    if (worker->member->rank == 0 && call->options.step_norms) write_step_norms(worker);
    bptt_internal_team_wait(worker->member); /* the next layer_dir or chunk overwrites dz */
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
LOCAL int backward_bidirectional(worker *worker) {
    const call *call = worker->call;
    const int64_t chunks = (call->T - 1) / call->chunk + 1;
    worker->steps = call->T;
    output_gradient(*worker);
    for (int64_t i = call->L * call->D - 1; i >= 0; i--) {
        choose_layer_dir(worker, i / call->D, 1 - i % call->D);
        for (int64_t j = 0; j < chunks; j++) {
            worker->t0 = (worker->direction ? j : chunks - 1 - j) * call->chunk;
            worker->steps = min_of(call->chunk, call->T - worker->t0);
            if (backward_layer_dir(worker)) return 1;
        }
    }
    return 0;
}

/* One direction, with checkpoints (Chen et al. 2016): computes a segment forward again, then goes back over it. */
LOCAL int backward_segments(worker *worker) {
    const call *call = worker->call;
    const int64_t steps = min_of(call->options.segment, call->T);
    for (int64_t segment = (call->T - 1) / steps; segment >= 0; segment--) {
        const int64_t begin = segment * steps, end = min_of(begin + steps, call->T);
        worker->origin = begin;
        copy_checkpoint(worker, segment, RESTORE);
        forward_chunks(worker, begin, end);
        if (backward_chunks(worker, begin, end)) return 1;
    }
    return 0;
}

/* The learned state entered all rows: its gradient is the sum of theirs. */
LOCAL void add_learned_state_grads(const call *call) {
    for (int part = 0; part < call->shape->states; part++) {
        REAL *grads = network_grad(call, part ? STATE_C0 : STATE_H0);
        for (int64_t layer_dir = 0; layer_dir < call->L * call->D; layer_dir++)
            call->kernels->add_column_sums(call->B, call->H, call->dstate0 + state_offset(call, layer_dir, part, 0),
                                           call->H, grads + layer_dir * call->H);
    }
}

/* The body of each member of the team. */
LOCAL void backward_body(void *context, const bptt_internal_member *member) {
    call *call = context;
    worker worker = {.call = call, .member = member, .origin = -call->options.tape_first};
    share_rows(&worker, ROWS_PER_THREAD);
    const int stop = call->D == 2        ? backward_bidirectional(&worker)
                     : call->checkpoints ? backward_segments(&worker)
                                         : backward_chunks(&worker, 0, call->T);
    if (stop || !call->grads || !call->spec.learn_state || call->options.state_given) return;
    bptt_internal_team_wait(member);
    if (member->rank == 0) add_learned_state_grads(call);
}
#endif
