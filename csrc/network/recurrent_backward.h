/* One backward step in one layer_dir: dL/dh_t from the outputs and from the next step in processing order, its carry
 * and its clips, and the cell's backward. */
#ifndef BPTT_NETWORK_RECURRENT_BACKWARD_H
#define BPTT_NETWORK_RECURRENT_BACKWARD_H
#include "cells/cells.h"
#include "network/dropout.h"
#include "network/forward.h"
#include "network/layout.h"
#include "network/sequence.h"
#include "train/norm.h"

/* ---- dz of the next step ----------------------------------------------------------------------------- */

/* Whether saved_dz_next is a part of dz itself: no other layer overwrites dz between two chunks of a layer_dir. */
LOCAL int dz_next_in_place(const call *call) {
    return !bptt_internal_dz_in_place(call->shape) && (call->L == 1 || call->D == 2);
}

/* distance of its rows */
LOCAL int64_t ld_saved_dz(const call *call) { return dz_next_in_place(call) ? ld_dz(call) : dz_columns(call); }

/* dz of the next step in processing order (B, dz columns), saved by the previously processed chunk. May alias this
 * chunk's first dz. */
LOCAL REAL *saved_dz_next(const worker *worker) {
    const call *call = worker->call;
    const int64_t step = worker->direction ? call->chunk - 1 : 0;
    if (dz_next_in_place(call)) return call->dz + shard_step(worker, call->chunk, step) * ld_dz(call);
    return call->saved_dz_next + worker->layer_dir * call->B * dz_columns(call);
}

/* Saves dz of the step that the next chunk continues from, before other layers overwrite it. */
LOCAL void save_dz(const worker *worker) {
    const call *call = worker->call;
    const int64_t t = worker->direction ? worker->t0 + worker->steps - 1 : worker->t0, columns = dz_columns(call);
    if (dz_next_in_place(call)) return;
    copy_rows(worker->row_end - worker->row_begin, columns, dz_at(worker, t) + worker->row_begin * ld_dz(call),
              ld_dz(call), saved_dz_next(worker) + worker->row_begin * columns, columns);
}

/* ---- the recurrent gradient -------------------------------------------------------------------------- */

/* dL/dh_t and dL/dc_t through the next step (B,H); c: NULL for cells without c */
LOCAL REAL *dh_next_of(const worker *worker) {
    return worker->call->dh_next + worker->layer_dir * worker->call->B * worker->call->H;
}

LOCAL REAL *dc_next_of(const worker *worker) {
    const call *call = worker->call;
    return call->shape->states == 2 ? call->dc_next + worker->layer_dir * call->B * call->H : NULL;
}

/* The product of W_hh whose operand is h_{t-1}: out = init + dz W_hh for the step's rows. */
LOCAL product state_product(const step *step, const REAL *dz, int64_t ld_dz, REAL *init, REAL *out, int64_t ld) {
    const int64_t H = step->H;
    const bptt_internal_cell_product *listed = step->shape->products;
    while (listed->matrix != WEIGHT_HH || listed->gate_operand) listed++;
    return recurrent_product(step, listed->rows * H, H, dz + listed->dz * H, ld_dz,
                             step->weights->products[listed - step->shape->products], init, out, ld);
}

/* dh_next = W_hhT dz (GRU: plus the direct term z*dh that it holds already), for rows [row,row+rows) of the step t
 * whose dz this is. `into`: the step that dh_next flows into, NULL: out of the sequence. */
LOCAL void recurrent_backward(const worker *worker, int64_t t, int64_t row, int64_t rows, const REAL *dz, int64_t ld_dz,
                              REAL *dh_next, const step *into) {
    const call *call = worker->call;
    const int64_t H = call->H;
    const int direct = call->shape->direct_dh;
    step step = begin_steps(worker);
    step.t = t;
    step.rows = rows;
    REAL *out = drops_recurrent(call) ? call->d_operand + row * H : dh_next;
    product product = state_product(&step, dz, ld_dz, direct && out == dh_next ? dh_next : NULL, out, H);
    if (into) prefetch_tape(into, &product);
    multiply_state(&step, &product);
    if (out == dh_next) return;
    apply_mask(call, row, rows, out, H, out);
    if (direct) call->kernels->add_scaled(rows * H, 1, out, dh_next);
    else memcpy(dh_next, out, (size_t)(rows * H) * sizeof(REAL));
}

/* dh_t += W_hhT dz_next, in one product. With a direct term dh_next receives the sum of both, which the cell adds. A
 * batch of one has the new dh_t where dz_t will lie, so that dh_t is only read. */
LOCAL void add_recurrent_product(step *step, const REAL *dz_next, int64_t ld_dz_next) {
    const int direct = step->shape->direct_dh;
    REAL *init = direct ? step->dh_next : step->dh;
    REAL *out = step->alone && !direct && dz_next != step->dz ? step->dz : init;
    product product = state_product(step, dz_next, ld_dz_next, init, out, direct ? step->H : step->ld_dh);
    prefetch_tape(step, &product);
    multiply_state(step, &product);
    step->adds_dh_next = direct;
    if (!direct) step->dh = out;
}

/* Begins the recurrent gradient of rows [row,end) with the gradient by their final state. */
LOCAL void begin_recurrent_grad(const worker *worker, int64_t row, int64_t end) {
    const call *call = worker->call;
    for (int part = 0; part < call->shape->states; part++) {
        const REAL *given = call->dstate1 ? call->dstate1 + state_offset(call, worker->layer_dir, part, row) : NULL;
        copy_or_clear((part ? dc_next_of(worker) : dh_next_of(worker)) + row * call->H, given, (end - row) * call->H);
    }
}

LOCAL void scale_row(int64_t H, REAL scale, REAL *x) {
    if (scale == 1) return;
    for (int64_t j = 0; j < H; j++) x[j] = scale == 0 ? 0 : scale * x[j];
}

/* dh_t += m_t * dh_next, and dc_next scaled by m_t in place, for rows [row_begin,end); rows from `continuing` on end at
 * step t, and m_t does not scale the gradient by their final state. A reset or m_t = 0 lets nothing through. */
LOCAL void add_recurrent_grad(const worker *worker, int64_t t, int64_t continuing, int64_t end, REAL *dh) {
    const call *call = worker->call;
    const int64_t H = call->H, ld = ld_dh(call), row_begin = worker->row_begin;
    if (ld == H && carries_all(worker, t, row_begin, continuing)) {
        call->kernels->add_scaled((end - row_begin) * H, 1, dh_next_of(worker) + row_begin * H, dh);
        return;
    }
    for (int64_t row = row_begin; row < end; row++) {
        const REAL scale = row < continuing ? carry_of(worker, t, row) : 1;
        if (call->shape->states == 2) scale_row(H, scale, dc_next_of(worker) + row * H);
        if (scale != 0) call->kernels->add_scaled(H, scale, dh_next_of(worker) + row * H, dh + (row - row_begin) * ld);
    }
}

/* Writes the square of the norm of each row of dh_t, then clips the row. A norm whose square is out of range is written
 * as it is, with a minus sign (norm_from). */
LOCAL void measure_and_clip_rows(const worker *worker, int64_t t, int64_t end, REAL *dh) {
    const call *call = worker->call;
    const int64_t H = call->H;
    const double max_norm = call->options.step_clip_norm, limit = call->options.step_clip_value;
    double *squares = call->dh_squares + (t - worker->t0) * call->B;
    for (int64_t row = worker->row_begin; row < worker->row_end; row++) {
        REAL *of_row = dh + (row - worker->row_begin) * ld_dh(call);
        squares[row] = 0;
        if (row >= end) continue;
        if (max_norm > 0 || call->options.step_norms) {
            const double sum = call->kernels->sum_squares(H, of_row);
            squares[row] = square_in_range(sum) ? sum : -scaled_norm(H, of_row);
            if (max_norm > 0) scale_to(H, of_row, norm_from(squares[row]), max_norm);
        }
        if (limit > 0) call->kernels->clamp(H, (REAL)limit, of_row);
    }
}

/* ---- one step ---------------------------------------------------------------------------------------- */

/* Whether the whole recurrent part of dh_t is W_hhT dz_next and, where there is one, the direct term in dh_next, for
 * all rows of the shard: the same answer in every thread. */
LOCAL int recurrence_is_plain(const worker *worker, int64_t t) {
    const call *call = worker->call;
    if (drops_recurrent(call)) return 0;
    if (next_step(worker, t) < 0 || next_step(worker, t) == call->T) return 0;
    const int64_t begin = shard_begin(call, worker->shard), end = shard_begin(call, worker->shard + 1);
    const int64_t continuing = continuing_end(worker, t, begin, end);
    return continuing == active_end(call, t, begin, end) && carries_all(worker, t, begin, continuing);
}

/* Writes the gradient by the initial state of the rows that begin at step t. */
LOCAL void write_state_grad(const worker *worker, int64_t t, int64_t end) {
    const call *call = worker->call;
    const int64_t H = call->H, row_begin = worker->row_begin;
    const int64_t row = !worker->direction ? (t ? end : row_begin)
                        : t + 1 < call->T  ? active_end(call, t + 1, row_begin, end)
                                           : row_begin;
    if (!call->dstate0 || row == end) return;
    REAL *dh_next = dh_next_of(worker), *dc_next = dc_next_of(worker);
    recurrent_backward(worker, t, row, end - row, dz_at(worker, t) + row * ld_dz(call), ld_dz(call), dh_next + row * H,
                       NULL);
    for (int part = 0; part < call->shape->states; part++)
        for (int64_t i = row; i < end; i++) {
            const int cut = enters_zero(call, worker->direction, t, i);
            copy_or_clear(call->dstate0 + state_offset(call, worker->layer_dir, part, i),
                          cut ? NULL : (part ? dc_next : dh_next) + i * H, H);
        }
}

/* dh_t += the recurrent gradient from the next step, or from the final state where a row ends at t. */
LOCAL void complete_dh(const worker *worker, int64_t t, int64_t end, const REAL *dz_next, int64_t ld_dz_next,
                       const step *step) {
    const int64_t row_begin = worker->row_begin, continuing = continuing_end(worker, t, row_begin, end);
    if (continuing > row_begin)
        recurrent_backward(worker, t, row_begin, continuing - row_begin, dz_next, ld_dz_next, step->dh_next, step);
    if (end > continuing) begin_recurrent_grad(worker, continuing, end);
    add_recurrent_grad(worker, t, continuing, end, step->dh);
}

/* dh_t (part 0) or dL/dc_t (part 1) += the caller's gradient by the state after step t, for rows [row_begin,end). */
LOCAL void add_dstates(const worker *worker, int64_t t, int64_t end, int part, REAL *grad, int64_t ld) {
    const call *call = worker->call;
    for (int64_t row = worker->row_begin; call->dstates && row < end; row++)
        call->kernels->add_scaled(call->H, 1, call->dstates + states_offset(call, worker->layer_dir, part, t, row),
                                  grad + (row - worker->row_begin) * ld);
}

LOCAL void backward_step(const worker *worker, const cell *cell, int64_t t, step *step) {
    const call *call = worker->call;
    const int64_t end = active_end(call, t, worker->row_begin, worker->row_end), next = next_step(worker, t);
    const int in_chunk = next >= worker->t0 && next < worker->t0 + worker->steps;
    const int64_t ld_dz_next = in_chunk ? ld_dz(call) : ld_saved_dz(call);
    const REAL *dz_next = (in_chunk ? dz_at(worker, next) : saved_dz_next(worker)) + worker->row_begin * ld_dz_next;
    const int plain = recurrence_is_plain(worker, t);
    bind_step(worker, t, end, step);
    step->dh = dh_at(worker, t) + worker->row_begin * step->ld_dh;
    step->dz = dz_at(worker, t) + worker->row_begin * step->ld_dz;
    step->adds_dh_next = 0;
    add_dstates(worker, t, end, 0, step->dh, step->ld_dh);
    if (call->spec.learn_leak) step->leak_terms = leak_terms_at(worker, t) + worker->row_begin * call->H;
    if (plain && !call->needs_dh_norms && cell->backward_fused) {
        cell->backward_fused(step, dz_next, ld_dz_next);
    } else {
        if (plain && !(call->needs_dh_norms && call->shape->direct_dh))
            add_recurrent_product(step, dz_next, ld_dz_next);
        else complete_dh(worker, t, end, dz_next, ld_dz_next, step);
        if (step->dc_next) add_dstates(worker, t, end, 1, step->dc_next, call->H);
        if (call->needs_dh_norms) measure_and_clip_rows(worker, t, end, step->dh);
        if (step->rows) cell->backward(step);
    }
    write_state_grad(worker, t, end);
}

/* A step with the fields that stay the same over a chunk, in backward. */
LOCAL step begin_backward_steps(const worker *worker) {
    const call *call = worker->call;
    const int64_t begin = worker->row_begin * call->H;
    step step = begin_steps(worker);
    step.dh_next = dh_next_of(worker) + begin;
    step.dc_next = worker->c ? dc_next_of(worker) + begin : NULL;
    step.ld_dh = ld_dh(call);
    step.ld_dz = ld_dz(call);
    step.d_operand = call->d_operand + begin;
    step.mask = drops_recurrent(call) ? call->mask + begin : NULL;
    return step;
}
#endif
