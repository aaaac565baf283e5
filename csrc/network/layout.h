/* Where states, gates and their gradients lie. The activations hold for each layer h, for an LSTM also c, (steps + D,
 * B, D*H): both directions side by side, one slot for each step and one for each state that enters from outside; then,
 * for cells with gates, each direction's gates (steps, B, gate blocks * H). Step t's outputs lie in slot t+1. Its
 * entering state lies in slot t, in the reverse direction in slot t+2. The activations are the caller's tape, or
 * scratch that holds a chunk or a segment of the sequence. */
#ifndef BPTT_NETWORK_LAYOUT_H
#define BPTT_NETWORK_LAYOUT_H
#include "network/worker.h"

/* ---- activations ------------------------------------------------------------------------------------- */

LOCAL int64_t gate_columns(const call *call) { return call->shape->gate_blocks * call->H; }

/* elements of one layer's activations of that many steps */
LOCAL int64_t layer_activations(const call *call, int64_t steps) {
    const int64_t states = call->shape->states * (steps + call->D) * call->B * call->D * call->H;
    return states + call->D * steps * call->B * gate_columns(call);
}

/* h (part 0) or c (part 1) of a layer in a slot, row 0 of the direction, rows ld_state apart */
LOCAL REAL *state_at(const call *call, int64_t layer, int64_t direction, int part, int64_t slot) {
    const int64_t slots = call->activation_steps + call->D;
    REAL *of_layer = call->activations + layer * layer_activations(call, call->activation_steps);
    return of_layer + (part * slots + slot) * call->B * call->D * call->H + direction * call->H;
}

/* Makes a layer in a direction the one that the worker works on. */
LOCAL void choose_layer_dir(worker *worker, int64_t layer, int64_t direction) {
    const call *call = worker->call;
    const int states = call->shape->states;
    worker->layer = layer;
    worker->direction = direction;
    worker->layer_dir = layer * call->D + direction;
    worker->h = state_at(call, layer, direction, 0, 0);
    worker->c = states == 2 ? state_at(call, layer, direction, 1, 0) : NULL;
    worker->gates =
        state_at(call, layer, 0, states, 0) + direction * call->activation_steps * call->B * gate_columns(call);
    worker->dh = call->dh[(call->L - 1 - layer) % 2];
}

/* the gates of step t (B, gate columns) */
LOCAL REAL *gates_at(const worker *worker, int64_t t) {
    return worker->gates + (t - worker->origin) * worker->call->B * gate_columns(worker->call);
}

/* the slot of step t's outputs, and that of its entering state */
LOCAL int64_t slot_of(const worker *worker, int64_t t) { return t - worker->origin + 1; }
LOCAL int64_t entering_slot(const worker *worker, int64_t t) {
    return slot_of(worker, t) + (worker->direction ? 1 : -1);
}

/* the worker's h or c in a slot, row 0 */
LOCAL REAL *in_slot(const worker *worker, REAL *states, int64_t slot) {
    return states + slot * worker->call->B * worker->call->D * worker->call->H;
}

/* ---- gradients --------------------------------------------------------------------------------------- */

/* Gradients of a chunk lie shard by shard, in each (steps,rows): so that its rows of all steps lie together. The place
 * of step i, counted in rows, from where row 0 of the batch would be to which a row of the shard is added. */
LOCAL int64_t shard_step(const worker *worker, int64_t steps, int64_t i) {
    return shard_begin(worker->call, worker->shard) * (steps - 1) + i * shard_rows(worker);
}

/* Distance of rows that are never a multiple of 512 bytes apart: the gradients of the weights go down columns of dz,
 * and such rows fall into few sets of L1. */
LOCAL int64_t spread_rows(int64_t columns) { return columns * (int64_t)sizeof(REAL) % 512 ? columns : columns + LINE; }

/* distance of rows of dL/dh_t (B,D*H), in whose place dz may lie, and of dz */
LOCAL int64_t ld_dh(const call *call) {
    return bptt_internal_dz_in_place(call->shape) ? spread_rows(ld_state(call)) : ld_state(call);
}

LOCAL int64_t ld_dz(const call *call) {
    return bptt_internal_dz_in_place(call->shape) ? ld_dh(call) : spread_rows(dz_columns(call));
}

/* dL/dh_t of the worker's layer, row 0 of its direction, rows ld_dh apart */
LOCAL REAL *dh_at(const worker *worker, int64_t t) {
    const call *call = worker->call;
    const int64_t step =
        call->D == 2 ? shard_step(worker, call->T, t) : shard_step(worker, call->chunk, t - worker->t0);
    return worker->dh + step * ld_dh(call) + worker->direction * call->H;
}

/* dz_t, row 0, rows ld_dz apart */
LOCAL REAL *dz_at(const worker *worker, int64_t t) {
    const call *call = worker->call;
    if (bptt_internal_dz_in_place(call->shape)) return dh_at(worker, t);
    return call->dz + shard_step(worker, call->chunk, t - worker->t0) * ld_dz(call);
}

/* dy of step t from a row on, as the caller has it */
LOCAL const REAL *callers_dy(const call *call, int64_t t, int64_t row) {
    return call->dy + ((t - call->options.dy_start) * call->B + row) * call->Y;
}

/* the same shard by shard, with a readout */
LOCAL REAL *dy_at(const worker *worker, int64_t t, int64_t row) {
    const call *call = worker->call;
    if (call->shards == 1) return (REAL *)callers_dy(call, t, row);
    return call->shard_dy + (shard_step(worker, call->chunk, t - worker->t0) + row) * call->O;
}

/* Brings the chunk's dy into that order. */
LOCAL void gather_dy(const worker *worker) {
    const call *call = worker->call;
    const int64_t row = worker->row_begin, values = (worker->row_end - row) * call->O;
    if (call->shards == 1 || !call->dy) return;
    for (int64_t t = max_of(worker->t0, call->options.dy_start); t < worker->t0 + worker->steps; t++)
        memcpy(dy_at(worker, t, row), callers_dy(call, t, row), (size_t)values * sizeof(REAL));
}

/* the terms of the gradient by a trained leak at step t (B,H), row 0 */
LOCAL REAL *leak_terms_at(const worker *worker, int64_t t) {
    const call *call = worker->call;
    return call->leak_terms + shard_step(worker, call->chunk, t - worker->t0) * call->H;
}

/* ---- states of the caller ---------------------------------------------------------------------------- */

/* h (part 0) or c (part 1) of a row in a state as the caller lays it out: (L*D,B,H), and behind it that of c */
LOCAL int64_t state_offset(const call *call, int64_t layer_dir, int part, int64_t row) {
    return part * call->state_size + (layer_dir * call->B + row) * call->H;
}

/* the same in the states of all steps (T,L*D,B,H), and behind them those of c */
LOCAL int64_t states_offset(const call *call, int64_t layer_dir, int part, int64_t t, int64_t row) {
    return (part * call->T + t) * call->state_size + (layer_dir * call->B + row) * call->H;
}
#endif
