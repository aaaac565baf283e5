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

/* Whether backward adds up dz for it. */
LOCAL int sums_tokens(const worker *worker) {
    return worker->call->grads && takes_tokens(worker) && has_token_table(worker->call);
}

LOCAL int64_t z_columns(const call *call) { return call->shape->blocks * call->H; }

/* W_ih x + bias of each integer, for a direction (V,G*H) */
LOCAL REAL *z_table(const call *call, int64_t direction) {
    return call->token_scratch[FORWARD].rows + direction * call->V * z_columns(call);
}

/* rows (V,G*H) = the columns of W_ih + bias, of a layer_dir of the first layer */
LOCAL void copy_columns(const call *call, int64_t layer_dir, REAL *rows) {
    const int64_t columns = z_columns(call), V = call->V;
    const REAL *w = layer_dir_param(call, layer_dir, WEIGHT_IH),
               *bias = weights_of(call, layer_dir, FORWARD).input_bias;
    for (int64_t begin = 0; begin < columns; begin += LINE)
        for (int64_t v = 0; v < V; v++)
            for (int64_t i = begin; i < min_of(begin + LINE, columns); i++)
                rows[v * columns + i] = w[i * V + v] + bias[i];
}

/* The table of a call whose weights are packed for forward. */
LOCAL void make_z_table(const call *call) {
    for (int64_t direction = 0; direction < call->D && has_token_table(call); direction++) {
        REAL *z = z_table(call, direction);
        const weights weights = weights_of(call, direction, FORWARD);
        if (call->spec.one_hot) copy_columns(call, direction, z);
        else multiply_x(call, 0, &weights, call->V, call->token_rows, z, z_columns(call));
    }
}
#endif
