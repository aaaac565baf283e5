/* Integer inputs of the first layer: W_ih x_t + bias. The integers of a chunk are sorted, so that each distinct one is
 * computed once, and time and scratch memory depend on their number and not on V.
 *
 * one_hot: W_ih x_t is a column of W_ih. An embedding: x_t is a row of it. */
#ifndef BPTT_NETWORK_TOKENS_H
#define BPTT_NETWORK_TOKENS_H
#include "network/layout.h"
#include "network/sequence.h"
#include "network/weights.h"

/* ---- the arguments ------------------------------------------------------------------------------------- */

/* Checks the inputs of a call: x, or integers in 0..V-1. Those beyond a row's length are not read. */
LOCAL bptt_status check_inputs(const call *call, const REAL *x) {
    const int64_t *tokens = call->options.tokens;
    if (!call->V) return x ? BPTT_OK : BPTT_ERROR_NULL;
    if (x || call->dx) return BPTT_ERROR_OPTION;
    if (!tokens) return BPTT_ERROR_NULL;
    for (int64_t t = 0; t < call->T; t++, tokens += call->B)
        for (int64_t row = 0, end = active_end(call, t, 0, call->B); row < end; row++)
            if (tokens[row] < 0 || tokens[row] >= call->V) return BPTT_ERROR_TOKEN;
    return BPTT_OK;
}

LOCAL int takes_tokens(const worker *worker) { return worker->call->V && !worker->layer; }

/* columns of a row of token_rows in packed weights */
LOCAL int64_t token_row_columns(const call *call) {
    return call->spec.one_hot ? call->shape->blocks * call->H : call->I;
}

/* ---- runs ---------------------------------------------------------------------------------------------- */

enum { DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS };

/* One pass of a radix sort of places by their integers: by one digit, places with the same digit stay in order. */
LOCAL void sort_by_digit(const int64_t *tokens, int shift, int64_t n, const int64_t *from, int64_t *to) {
    int64_t begin[DIGITS + 1] = {0};
    for (int64_t i = 0; i < n; i++) begin[(tokens[from[i]] >> shift & (DIGITS - 1)) + 1]++;
    for (int digit = 1; digit < DIGITS; digit++) begin[digit] += begin[digit - 1];
    for (int64_t i = 0; i < n; i++) to[begin[tokens[from[i]] >> shift & (DIGITS - 1)]++] = from[i];
}

/* elements of the memory of runs_of for all rows of a chunk: three arrays, of which two have an element more for each
 * member, of whom there are at most B */
LOCAL int64_t runs_size(const call *call) {
    return (3 * call->chunk + 2) * call->B * (int64_t)(sizeof(int64_t) / sizeof(REAL));
}

/* The chunk's integers in rows [row_begin,row_end), sorted. Members that sort their own rows have a part each. */
LOCAL token_runs runs_of(const worker *worker, int64_t row_begin, int64_t row_end, REAL *memory) {
    const call *call = worker->call;
    const int64_t *tokens = call->options.tokens + worker->t0 * call->B, size = call->chunk + 1;
    int64_t *run_at = (int64_t *)memory, *places = run_at + call->chunk * call->B + 2 * size * row_begin;
    int64_t *other = places + size * (row_end - row_begin), n = 0;
    EACH_BLOCK(worker, block, row_begin, row_end)
        for (int64_t i = 0; i < block.rows; i++) places[n++] = (block.t - worker->t0) * call->B + block.row + i;
    for (int shift = 0; n > 1 && (call->V - 1) >> shift; shift += DIGIT_BITS) {
        int64_t *sorted = other;
        sort_by_digit(tokens, shift, n, places, sorted);
        other = places;
        places = sorted;
    }
    token_runs runs = {.places = places, .begin = other, .run_at = run_at};
    for (int64_t i = 0; i < n; i++) {
        if (!i || tokens[places[i]] != tokens[places[i - 1]]) runs.begin[runs.count++] = i;
        run_at[places[i]] = runs.count - 1;
    }
    if (n) runs.begin[runs.count] = n;
    return runs;
}

/* the integer of a run */
LOCAL int64_t token_of(const worker *worker, const token_runs *runs, int64_t run) {
    const call *call = worker->call;
    return call->options.tokens[worker->t0 * call->B + runs->places[runs->begin[run]]];
}

/* ---- forward ------------------------------------------------------------------------------------------- */

/* out (runs,G*H) = the runs' columns of W_ih + bias. As many rows of W_ih at a time as fill a cache line of `out`. */
LOCAL void gather_columns(const worker *worker, const token_runs *runs, REAL *out) {
    const call *call = worker->call;
    const int64_t rows = call->shape->blocks * call->H, V = call->V;
    const REAL *w = layer_dir_param(call, worker->layer_dir, WEIGHT_IH), *bias = worker->weights.input_bias;
    for (int64_t begin = 0; begin < rows; begin += LINE)
        for (int64_t run = 0; run < runs->count; run++) {
            const REAL *column = w + token_of(worker, runs, run);
            for (int64_t i = begin; i < min_of(begin + LINE, rows); i++) out[run * rows + i] = column[i * V] + bias[i];
        }
}

/* out (run_end - run_begin,I) = the rows of the embedding of these runs */
LOCAL void gather_embeddings(const worker *worker, const token_runs *runs, int64_t run_begin, int64_t run_end,
                             REAL *out) {
    const call *call = worker->call;
    for (int64_t run = run_begin; run < run_end; run++, out += call->I)
        memcpy(out, call->token_rows + token_of(worker, runs, run) * call->I, (size_t)call->I * sizeof(REAL));
}

/* W_ih x + bias in a single step of a one_hot network, whose packed weights hold the sum for each integer. */
LOCAL void copy_packed_tokens(const call *call, REAL *z, int64_t ld) {
    const int64_t columns = call->shape->blocks * call->H;
    for (int64_t row = 0; row < call->B; row++)
        memcpy(z + row * ld, call->token_rows + call->options.tokens[row] * columns, (size_t)columns * sizeof(REAL));
}

/* W_ih x + bias for the chunk's rows into z, rows ld apart: of each run once, then copied to all its places. */
LOCAL void multiply_tokens(const worker *worker, REAL *z, int64_t ld) {
    const call *call = worker->call;
    const int64_t columns = call->shape->blocks * call->H, before = call->chunk * worker->row_begin;
    if (call->spec.one_hot && call->token_rows) {
        copy_packed_tokens(call, z, ld);
        return;
    }
    const token_scratch *scratch = &call->token_scratch[FORWARD];
    const token_runs runs = runs_of(worker, worker->row_begin, worker->row_end, scratch->runs);
    REAL *products = scratch->rows + before * columns, *x = scratch->inputs + before * call->I;
    if (call->spec.one_hot) {
        gather_columns(worker, &runs, products);
    } else {
        gather_embeddings(worker, &runs, 0, runs.count, x);
        call->kernels->multiply(&(product){.m = runs.count,
                                           .n = columns,
                                           .k = call->I,
                                           .a = x,
                                           .lda = call->I,
                                           .panels = worker->weights.inputs,
                                           .init = worker->weights.input_bias,
                                           .c = products,
                                           .ldc = columns});
    }
    EACH_BLOCK(worker, block, worker->row_begin, worker->row_end) {
        const int64_t begin = (block.t - worker->t0) * call->B + block.row;
        for (int64_t place = begin; place < begin + block.rows; place++)
            memcpy(z + place * ld, products + runs.run_at[place] * columns, (size_t)columns * sizeof(REAL));
    }
}

/* Packs a row for each integer: W_ih e_v + bias, or a copy of the embedding. */
LOCAL void pack_tokens(const call *call, REAL *rows) {
    const int64_t columns = token_row_columns(call), V = call->V;
    if (!call->spec.one_hot) {
        copy_or_clear(rows, network_param(call, EMBEDDING), V * columns);
        return;
    }
    const REAL *w = layer_dir_param(call, 0, WEIGHT_IH), *bias = weights_of(call, 0, FORWARD).input_bias;
    for (int64_t begin = 0; begin < columns; begin += LINE)
        for (int64_t v = 0; v < V; v++)
            for (int64_t i = begin; i < min_of(begin + LINE, columns); i++)
                rows[v * columns + i] = w[i * V + v] + bias[i];
}
#endif
