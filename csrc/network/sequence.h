/* Lengths, resets and carries: which rows have a step, and what crosses from one step to the next. Rows are sorted
 * longest first, so that the rows that have step t are the first ones. */
#ifndef BPTT_NETWORK_SEQUENCE_H
#define BPTT_NETWORK_SEQUENCE_H
#include "network/worker.h"

/* ---- lengths ----------------------------------------------------------------------------------------- */

LOCAL int64_t length_of(const call *call, int64_t row) {
    return call->options.lengths ? call->options.lengths[row] : call->T;
}

/* One past the last row in [row_begin,row_end) whose length exceeds t. */
LOCAL int64_t active_end(const call *call, int64_t t, int64_t row_begin, int64_t row_end) {
    if (call->options.lengths)
        while (row_end > row_begin && call->options.lengths[row_end - 1] <= t) row_end--;
    return row_end;
}

/* The step after step t in processing order; T or -1 at the end. */
LOCAL int64_t next_step(const worker *worker, int64_t t) { return worker->direction ? t - 1 : t + 1; }

/* One past the last row in [row_begin,row_end) that has a next step; row_begin: none has. */
LOCAL int64_t continuing_end(const worker *worker, int64_t t, int64_t row_begin, int64_t row_end) {
    const call *call = worker->call;
    if (worker->direction) return t > 0 ? active_end(call, t, row_begin, row_end) : row_begin;
    return t < call->T - 1 ? active_end(call, t + 1, row_begin, row_end) : row_begin;
}

/* Clears the member's rows of the chunk's steps beyond their lengths, in an array (T,B,columns). */
LOCAL void clear_beyond_lengths(const worker *worker, int64_t columns, REAL *array) {
    const call *call = worker->call;
    for (int64_t t = worker->t0; call->options.lengths && t < worker->t0 + worker->steps; t++) {
        const int64_t end = active_end(call, t, worker->row_begin, worker->row_end);
        copy_or_clear(array + (t * call->B + end) * columns, NULL, (worker->row_end - end) * columns);
    }
}

/* The worker's rows that lie together: those of the whole chunk where they are all rows of an array, otherwise those of
 * one step. */
typedef struct {
    int64_t t, row, rows; /* from row `row` of step t on */
} block;

/* array_rows: of each step of the array, the whole batch or a shard */
LOCAL int next_block(const worker *worker, block *block, int64_t array_rows) {
    const call *call = worker->call;
    const int64_t end = worker->t0 + worker->steps, rows = worker->row_end - worker->row_begin;
    const int whole = rows == array_rows && !call->options.lengths;
    block->t = block->rows < 0 ? worker->t0 : whole ? end : block->t + 1;
    block->row = worker->row_begin;
    block->rows = whole            ? worker->steps * rows
                  : block->t < end ? active_end(call, block->t, worker->row_begin, worker->row_end) - block->row
                                   : 0;
    return block->t < end && block->rows > 0; /* after a step without rows no step has any */
}

/* the blocks of the worker's chunk, in arrays of the whole batch and in those that lie shard by shard */
#define EACH_BLOCK(worker, name) for (block name = {.rows = -1}; next_block(worker, &name, (worker)->call->B);)
#define EACH_SHARD_BLOCK(worker, name) for (block name = {.rows = -1}; next_block(worker, &name, shard_rows(worker));)

/* ---- links between steps: resets and carries --------------------------------------------------------- */

LOCAL int reset_at(const call *call, int64_t t, int64_t row) {
    return call->options.reset && call->options.reset[t * call->B + row];
}

/* Whether the state that enters step t is zero for a row: a sequence begins there, in the reverse direction at t+1. */
LOCAL int enters_zero(const call *call, int64_t direction, int64_t t, int64_t row) {
    if (!direction) return reset_at(call, t, row);
    return t + 1 < length_of(call, row) && reset_at(call, t + 1, row);
}

LOCAL int any_enters_zero(const call *call, int64_t direction, int64_t t, int64_t row_begin, int64_t row_end) {
    for (int64_t row = row_begin; call->options.reset && row < row_end; row++)
        if (enters_zero(call, direction, t, row)) return 1;
    return 0;
}

/* The scale m_t of the gradient that flows from the next step back into step t; 0 cuts. */
LOCAL REAL carry_of(const worker *worker, int64_t t, int64_t row) {
    const call *call = worker->call;
    const int64_t next = next_step(worker, t), link = worker->direction ? t - 1 : t;
    const REAL *carry = call->options.carry;
    if (enters_zero(call, worker->direction, next, row)) return 0;
    return carry ? carry[call->options.carry_per_row ? link * call->B + row : link] : 1;
}

/* Whether the gradient that flows back into rows [row_begin,row_end) of step t is neither cut nor scaled. */
LOCAL int carries_all(const worker *worker, int64_t t, int64_t row_begin, int64_t row_end) {
    const call *call = worker->call;
    const int64_t next = next_step(worker, t);
    return !call->options.carry &&
           !(row_end > row_begin && any_enters_zero(call, worker->direction, next, row_begin, row_end));
}
#endif
