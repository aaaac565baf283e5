/* Forward over time, in chunks of steps: within a chunk the products that all steps share (inputs, readout) are tall,
 * the recurrence runs step by step. Each thread works on its own rows of the batch, so that none waits for another.
 * With one direction all layers go over a chunk before the next chunk, so that without a tape memory does not grow with
 * T. */
#ifndef BPTT_NETWORK_FORWARD_H
#define BPTT_NETWORK_FORWARD_H
#include "cells/cells.h"
#include "network/dropout.h"
#include "network/input_product.h"
#include "network/layout.h"
#include "network/noise.h"
#include "network/sequence.h"
#include "network/states.h"
#include "network/token_table.h"
#include "network/tokens.h"
#include "network/weights.h"

/* the inputs of the worker's layer at step t, of this row and those after it; NULL: they are integers */
LOCAL const REAL *layer_input(const worker *worker, int64_t t, int64_t row) {
    const call *call = worker->call;
    if (takes_tokens(worker)) return NULL;
    const REAL *x =
        worker->layer ? state_at(call, worker->layer - 1, 0, 0, slot_of(worker, t)) : call->x + t * call->B * call->I;
    return x + row * layer_inputs(call, worker->layer);
}

/* the same for the rows of a block, after dropout */
LOCAL const REAL *block_input(const worker *worker, const block *block) {
    const call *call = worker->call;
    const int64_t in = layer_inputs(call, worker->layer);
    const REAL *x = layer_input(worker, block->t, block->row);
    if (!drops_inputs(worker)) return x;
    REAL *out = call->dropped_inputs + ((block->t - worker->t0) * call->B + block->row) * in;
    drop_inputs(worker, block->t, block->row, block->rows, in, x, out, in);
    return out;
}

/* out = init (one row for all) + a panels */
LOCAL void multiply(const call *call, int64_t rows, int64_t n, int64_t k, const REAL *a, int64_t lda,
                    const REAL *panels, const REAL *init, REAL *out, int64_t ld_out) {
    call->kernels->multiply(&(product){
        .m = rows, .n = n, .k = k, .a = a, .lda = lda, .panels = panels, .init = init, .c = out, .ldc = ld_out});
}

/* where W_ih x_t + bias lies, row 0, rows ld_z apart: in the gates, or where h_t will lie */
LOCAL REAL *z_at(const worker *worker, int64_t t) {
    if (worker->call->shape->gate_blocks) return gates_at(worker, t);
    return in_slot(worker, worker->h, slot_of(worker, t));
}

LOCAL int64_t ld_z(const call *call) { return call->shape->gate_blocks ? gate_columns(call) : ld_state(call); }

/* W_ih x + bias for the chunk's rows, and noise */
LOCAL void multiply_inputs(const worker *worker) {
    const call *call = worker->call;
    const int64_t ld = ld_z(call);
    const int tokens = takes_tokens(worker);
    if (takes_z_from_table(worker)) return;
    if (tokens) multiply_tokens(worker, z_at(worker, worker->t0), ld);
    EACH_BLOCK(worker, block) {
        REAL *z = z_at(worker, block.t) + block.row * ld;
        if (!tokens) multiply_x(call, worker->layer, &worker->weights, block.rows, block_input(worker, &block), z, ld);
        if (adds_noise(call)) add_noise(worker, &block, z, ld);
    }
}

/* A step with the fields that stay the same over a chunk, in forward and backward. */
LOCAL step begin_steps(const worker *worker) {
    const call *call = worker->call;
    return (step){.kernels = call->kernels,
                  .shape = call->shape,
                  .cell = call->spec.cell,
                  .alone = call->B == 1,
                  .H = call->H,
                  .weights = &worker->weights,
                  .ld = ld_state(call)};
}

/* Where the step finds z: in the table of integers, or where multiply_inputs put it. */
LOCAL void bind_z(const worker *worker, int64_t t, int64_t row, step *step) {
    const call *call = worker->call;
    const int from_table = takes_z_from_table(worker);
    step->ld_z = from_table ? z_columns(call) : ld_z(call);
    step->z = from_table ? z_table(call, worker->direction) : z_at(worker, t) + row * step->ld_z;
    step->z_rows = from_table ? call->options.tokens + t * call->B + row : NULL;
}

/* Sets the fields that change from step to step, for rows [row_begin,end). */
LOCAL void bind_step(const worker *worker, int64_t t, int64_t end, step *step) {
    const call *call = worker->call;
    const int64_t slot = slot_of(worker, t), row = worker->row_begin;
    step->t = t;
    step->rows = end - row;
    step->prev = entering_state(worker, t, end);
    step->operand = step->prev.h;
    step->ld_operand = step->prev.ld;
    step->h = in_slot(worker, worker->h, slot) + row * step->ld;
    if (worker->c) step->c = in_slot(worker, worker->c, slot) + row * step->ld;
    if (call->shape->gate_blocks) step->gates = gates_at(worker, t) + row * gate_columns(call);
    if (call->hh_products) step->hh_products = call->hh_products + row * call->shape->blocks * call->H;
}

/* Whether the products of W_hh at step t can be left out and the bits stay the same: the step goes first and all rows
 * begin with zeros. Zero times NaN or Inf is NaN, so W_hh must be finite. In the portable set sums begin with z, where
 * a zero that is added makes 0 of -0. */
LOCAL int operand_adds_nothing(const worker *worker, int64_t t, const step *step) {
    const call *call = worker->call;
    const int64_t H = call->H, first = worker->direction ? call->T - 1 : 0;
    if (t != first || step->alone || !call->kernels->vector_bytes) return 0;
    for (int64_t row = 0; row < step->rows; row++)
        if (!all_zero(H, step->prev.h + row * step->prev.ld)) return 0;
    const REAL *w = layer_dir_param(call, worker->layer_dir, WEIGHT_HH);
    return isfinite(call->kernels->sum_squares(call->shape->blocks * H * H, w));
}

/* A step of a batch of one, from what changes from step to step. */
LOCAL void forward_row(const cell *cell, const step *step, row_step *row) {
    row->z = step->z_rows ? step->z + step->z_rows[0] * step->ld_z : step->z;
    row->operand = step->operand;
    row->reverse_panels = step->t & 1;
    row->step.gates = step->gates;
    row->step.h_prev = step->prev.h;
    row->step.c_prev = step->prev.c;
    row->step.h = step->h;
    row->step.c = step->c;
    step->kernels->rows[cell->row_number](row);
}

LOCAL void forward_step(const worker *worker, const cell *cell, int64_t t, step *step, row_step *row) {
    const call *call = worker->call;
    const int64_t end = active_end(call, t, worker->row_begin, worker->row_end);
    if (end == worker->row_begin) return;
    bind_step(worker, t, end, step);
    bind_z(worker, t, worker->row_begin, step);
    step->adds_nothing = operand_adds_nothing(worker, t, step);
    if (drops_recurrent(call)) {
        REAL *masked = call->masked_h + worker->row_begin * call->H;
        apply_mask(call, worker->row_begin, step->rows, step->prev.h, step->prev.ld, masked);
        step->operand = masked;
        step->ld_operand = call->H;
    }
    if (step->alone) forward_row(cell, step, row);
    else cell->forward(step);
}

/* One layer_dir over a chunk. */
LOCAL void forward_layer_dir(worker *worker) {
    worker->weights = weights_of(worker->call, worker->layer_dir, FORWARD);
    if (drops_recurrent(worker->call)) draw_mask(worker);
    multiply_inputs(worker);
    const cell *cell = cell_of(&worker->call->spec);
    step step = begin_steps(worker);
    row_step row = row_step_of(&step);
    for (int64_t i = 0; i < worker->steps && !stopped_at_step(worker, i); i++)
        forward_step(worker, cell, worker->direction ? worker->t0 + worker->steps - 1 - i : worker->t0 + i, &step,
                     &row);
    store_final_state(worker);
    store_states(worker);
}

/* y = W_ho h + b_o, or h where the network has no readout; zero beyond a row's length. */
LOCAL void write_outputs(const worker *worker) {
    const call *call = worker->call;
    const int64_t DH = ld_state(call), Y = call->Y;
    if (!call->y) return;
    const readout_weights readout = readout_of(call, FORWARD);
    EACH_BLOCK(worker, block) {
        const REAL *h = state_at(call, call->L - 1, 0, 0, slot_of(worker, block.t)) + block.row * DH;
        REAL *y = call->y + (block.t * call->B + block.row) * Y;
        if (call->O) multiply(call, block.rows, Y, DH, h, DH, readout.ho, readout.bias_o, y, Y);
        else memcpy(y, h, (size_t)(block.rows * Y) * sizeof(REAL));
    }
    clear_beyond_lengths(worker, Y, call->y);
}

LOCAL void count_steps(const worker *worker) {
    const bptt_options *options = &worker->call->options;
    if (worker->first && options->forward_steps) *options->forward_steps += worker->steps;
}

/* One direction: all layers over steps [begin,end), chunk by chunk. */
LOCAL void forward_chunks(worker *worker, int64_t begin, int64_t end) {
    const call *call = worker->call;
    for (worker->t0 = begin; worker->t0 < end && !atomic_load(&call->stop); worker->t0 += worker->steps) {
        worker->steps = min_of(call->chunk, end - worker->t0);
        if (call->rolling) worker->origin = worker->t0;
        for (int64_t layer = 0; layer < call->L; layer++) {
            choose_layer_dir(worker, layer, 0);
            forward_layer_dir(worker);
        }
        write_outputs(worker);
        count_steps(worker);
        if (call->rolling) roll_state(worker, worker->steps);
    }
}

/* Makes a chunk of the sequence the one that the worker works on. */
LOCAL void choose_chunk(worker *worker, int64_t chunk) {
    const call *call = worker->call;
    worker->t0 = chunk * call->chunk;
    worker->steps = min_of(call->chunk, call->T - worker->t0);
}

/* Two directions: the outputs of a layer are complete only after both went over all steps. */
LOCAL void forward_bidirectional(worker *worker) {
    const call *call = worker->call;
    const int64_t chunks = (call->T - 1) / call->chunk + 1;
    for (int64_t layer_dir = 0; layer_dir < call->L * call->D; layer_dir++) {
        choose_layer_dir(worker, layer_dir / call->D, layer_dir % call->D);
        for (int64_t i = 0; i < chunks && !atomic_load(&call->stop); i++) {
            choose_chunk(worker, worker->direction ? chunks - 1 - i : i);
            forward_layer_dir(worker);
        }
    }
    worker->t0 = 0;
    worker->steps = call->T;
    write_outputs(worker);
    count_steps(worker);
}

/* One of call->tasks shares of the rows. */
LOCAL void forward_task(void *context, const bptt_internal_member *member, int task) {
    call *call = context;
    worker worker = {
        .call = call, .member = member, .first = task == 0, .origin = call->rolling ? 0 : -call->options.tape_first};
    choose_share(&worker, task, call->tasks);
    if (call->state0 || worker.origin == 0) load_state(&worker);
    if (call->D == 2) {
        forward_bidirectional(&worker);
        return;
    }
    const int64_t segment = call->checkpoints ? min_of(call->options.segment, call->T) : call->T;
    for (int64_t t = 0; t < call->T && !atomic_load(&call->stop); t += min_of(segment, call->T - t)) {
        if (call->checkpoints) copy_checkpoint(&worker, t / segment, SAVE);
        forward_chunks(&worker, t, min_of(t + segment, call->T));
    }
}
#endif
