/* The table of a small vocabulary: a row for each integer. Forward computes W_ih x + bias of each once for the call,
 * and its steps take their rows; backward adds up dz of each over all steps and makes the gradients from the sums at
 * the end (token_grads.h). A larger vocabulary goes chunk by chunk (tokens.h), so that memory does not grow with it. */
#ifndef BPTT_NETWORK_TOKEN_TABLE_H
#define BPTT_NETWORK_TOKEN_TABLE_H
#include "network/input_product.h"
#include "network/layout.h"
#include "network/noise.h"

enum { TABLE_ROWS = 256 }; /* of the largest table: as many as a byte has values */

/* Whether there is one: the vocabulary is small, and at most half as large as the number of integers in the call, as
 * one thread makes the table for all. */
LOCAL int has_token_table(const call *call) { return call->V && call->V <= min_of(TABLE_ROWS, call->T * call->B / 2); }

/* Whether steps take z from it: not with noise, which each step adds to its own z. */
LOCAL int takes_z_from_table(const worker *worker) {
    return takes_tokens(worker) && has_token_table(worker->call) && !adds_noise(worker->call);
}

/* Whether backward adds up dz of the first layer for it. */
LOCAL int sums_tokens(const call *call) { return call->grads && has_token_table(call); }

LOCAL int64_t z_columns(const call *call) { return call->shape->blocks * call->H; }

/* W_ih x + bias of each integer, for a direction (V,G*H) */
LOCAL REAL *z_table(const call *call, int64_t direction) {
    return call->token_scratch[FORWARD].rows + direction * call->V * z_columns(call);
}

/* the integer of a run */
LOCAL int64_t token_of(const token_runs *runs, int64_t run) { return runs->tokens[runs->places[runs->begin[run]]]; }

/* rows (.,G*H) = the columns of W_ih + bias of each run's integer, NULL: of all integers, of a layer_dir of the first
 * layer. As many rows of W_ih at a time as fill a cache line. */
LOCAL void copy_columns(const call *call, int64_t layer_dir, const token_runs *runs, REAL *rows) {
    const int64_t columns = z_columns(call), V = call->V, count = runs ? runs->count : V;
    const REAL *w = layer_dir_param(call, layer_dir, WEIGHT_IH),
               *bias = weights_of(call, layer_dir, FORWARD).input_bias;
    for (int64_t begin = 0; begin < columns; begin += LINE)
        for (int64_t row = 0; row < count; row++) {
            const REAL *column = w + (runs ? token_of(runs, row) : row);
            for (int64_t i = begin; i < min_of(begin + LINE, columns); i++)
                rows[row * columns + i] = column[i * V] + bias[i];
        }
}

/* The table of a call whose weights are packed for forward. */
LOCAL void make_z_table(const call *call) {
    for (int64_t direction = 0; direction < call->D && has_token_table(call); direction++) {
        REAL *z = z_table(call, direction);
        const weights weights = weights_of(call, direction, FORWARD);
        if (call->spec.one_hot) copy_columns(call, direction, NULL, z);
        else multiply_x(call, 0, &weights, call->V, call->token_rows, z, z_columns(call));
    }
}
#endif
