/* The state that enters a step, and the states at the ends of the sequence and of its segments. */
#ifndef BPTT_NETWORK_STATES_H
#define BPTT_NETWORK_STATES_H
#include "network/layout.h"
#include "network/sequence.h"

/* ---- the state that enters a step -------------------------------------------------------------------- */

typedef struct {
    const REAL *h, *c; /* c NULL: the cell has none */
    int64_t ld;
} state_view;

/* The state of rows [row_begin,end) that enters step t: in place, or a copy where a reset zeroes some rows. */
LOCAL state_view entering_state(const worker *worker, int64_t t, int64_t end) {
    const call *call = worker->call;
    const int64_t H = call->H, ld = ld_state(call), row_begin = worker->row_begin, slot = entering_slot(worker, t);
    const REAL *h = in_slot(worker, worker->h, slot) + row_begin * ld;
    const REAL *c = worker->c ? in_slot(worker, worker->c, slot) + row_begin * ld : NULL;
    if (!any_enters_zero(call, worker->direction, t, row_begin, end)) return (state_view){h, c, ld};
    REAL *to_h = call->entering_state + row_begin * H, *to_c = c ? to_h + call->B * H : NULL;
    for (int64_t i = 0; i < end - row_begin; i++) {
        const int zero = enters_zero(call, worker->direction, t, row_begin + i);
        copy_or_clear(to_h + i * H, zero ? NULL : h + i * ld, H);
        if (c) copy_or_clear(to_c + i * H, zero ? NULL : c + i * ld, H);
    }
    return (state_view){to_h, to_c, H};
}

/* ---- the states at the ends -------------------------------------------------------------------------- */

/* A row's initial state: the caller's, the learned one (the same for all rows), or NULL for zeros. */
LOCAL const REAL *initial_state(const call *call, int64_t layer_dir, int part, int64_t row) {
    if (call->state0) return call->state0 + state_offset(call, layer_dir, part, row);
    const REAL *learned = network_param(call, part ? STATE_C0 : STATE_H0);
    return learned ? learned + layer_dir * call->H : NULL;
}

/* Copies the initial state of the member's rows into the entering slots of their first steps; the reverse direction
 * begins at each row's last step. */
LOCAL void load_state(const worker *worker) {
    const call *call = worker->call;
    for (int64_t layer_dir = 0; layer_dir < call->L * call->D; layer_dir++)
        for (int part = 0; part < call->shape->states; part++)
            for (int64_t row = worker->row_begin; row < worker->row_end; row++) {
                const int64_t direction = layer_dir % call->D;
                const int64_t slot = (direction ? length_of(call, row) + 1 : 0) - worker->origin;
                REAL *to = state_at(call, layer_dir / call->D, direction, part, slot) + row * ld_state(call);
                copy_or_clear(to, initial_state(call, layer_dir, part, row), call->H);
            }
}

/* Copies the final state of the rows that end in this chunk to the caller. */
LOCAL void store_final_state(const worker *worker) {
    const call *call = worker->call;
    if (!call->state1 || (worker->direction && worker->t0 > 0)) return;
    for (int64_t row = worker->row_begin; row < worker->row_end; row++) {
        const int64_t t = worker->direction ? 0 : length_of(call, row) - 1;
        if (t < worker->t0 || t >= worker->t0 + worker->steps) continue;
        for (int part = 0; part < call->shape->states; part++) {
            const REAL *states = in_slot(worker, part ? worker->c : worker->h, slot_of(worker, t));
            copy_or_clear(call->state1 + state_offset(call, worker->layer_dir, part, row),
                          states + row * ld_state(call), call->H);
        }
    }
}

/* Copies the states after the chunk's steps to the caller, zeros beyond a row's length. */
LOCAL void store_states(const worker *worker) {
    const call *call = worker->call;
    const int64_t row_begin = worker->row_begin, row_end = worker->row_end, H = call->H;
    for (int64_t t = worker->t0; call->states && t < worker->t0 + worker->steps; t++) {
        const int64_t end = active_end(call, t, row_begin, row_end), slot = slot_of(worker, t);
        for (int part = 0; part < call->shape->states; part++) {
            const REAL *from = in_slot(worker, part ? worker->c : worker->h, slot) + row_begin * ld_state(call);
            REAL *to = call->states + states_offset(call, worker->layer_dir, part, t, row_begin);
            copy_rows(end - row_begin, H, from, ld_state(call), to, H);
            copy_or_clear(to + (end - row_begin) * H, NULL, (row_end - end) * H);
        }
    }
}

/* One direction: copies the state in `slot` to slot 0, where the next chunk enters. */
LOCAL void roll_state(const worker *worker, int64_t slot) {
    const call *call = worker->call;
    const int64_t begin = worker->row_begin * ld_state(call), n = worker->row_end * ld_state(call) - begin;
    for (int64_t layer = 0; layer < call->L; layer++)
        for (int part = 0; part < call->shape->states; part++)
            memcpy(state_at(call, layer, 0, part, 0) + begin, state_at(call, layer, 0, part, slot) + begin,
                   (size_t)n * sizeof(REAL));
}

enum { SAVE, RESTORE };

/* One direction: copies the state in slot 0, which enters a segment, to the segment's checkpoint, or back. */
LOCAL void copy_checkpoint(const worker *worker, int64_t segment, int way) {
    const call *call = worker->call;
    const int64_t H = call->H, n = (worker->row_end - worker->row_begin) * H;
    REAL *checkpoint = call->checkpoints + segment * call->shape->states * call->state_size;
    for (int64_t layer = 0; layer < call->L; layer++)
        for (int part = 0; part < call->shape->states; part++) {
            REAL *saved = checkpoint + state_offset(call, layer, part, worker->row_begin);
            REAL *entering = state_at(call, layer, 0, part, 0) + worker->row_begin * H;
            memcpy(way == SAVE ? saved : entering, way == SAVE ? entering : saved, (size_t)n * sizeof(REAL));
        }
}
#endif
