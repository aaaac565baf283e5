/* Integer inputs of the first layer: W_ih x_t + bias. Where the vocabulary is too large for a table of it, the integers
 * of a chunk are sorted, so that each distinct one is computed once, and time and scratch memory depend on their number
 * and not on V.
 *
 * one_hot: W_ih x_t is a column of W_ih. An embedding: x_t is a row of it. */
#ifndef BPTT_NETWORK_TOKENS_H
#define BPTT_NETWORK_TOKENS_H
#include "network/sequence.h"
#include "network/token_table.h"
#include "network/weights.h"

/* ---- the arguments ------------------------------------------------------------------------------------- */

/* Checks that the integers of a call are in 0..V-1. Those beyond a row's length are not read. */
LOCAL bptt_status check_tokens(const call *call, bptt_internal_sentence *to) {
    const int64_t *tokens = call->options.tokens;
    for (int64_t t = 0; t < call->T; t++, tokens += call->B)
        for (int64_t row = 0, end = active_end(call, t, 0, call->B); row < end; row++)
            REQUIRE(tokens[row] >= 0 && tokens[row] < call->V, to, BPTT_ERROR_TOKEN,
                    "tokens must be in 0..%lld, got %lld at step %lld of row %lld", (long long)(call->V - 1),
                    (long long)tokens[row], (long long)t, (long long)row);
    return BPTT_OK;
}

/* Checks the inputs of a call: x, or integers. */
LOCAL bptt_status check_inputs(const call *call, const REAL *x) {
    if (!call->V) return x ? BPTT_OK : BPTT_ERROR_NULL;
    if (x || call->dx) return BPTT_ERROR_OPTION;
    return call->options.tokens ? check_tokens(call, NULL) : BPTT_ERROR_NULL;
}

/* columns of a row of token_rows in packed weights */
LOCAL int64_t token_row_columns(const call *call) { return call->spec.one_hot ? z_columns(call) : call->I; }

/* ---- runs ---------------------------------------------------------------------------------------------- */

enum { DIGIT_BITS = 8, DIGITS = 1 << DIGIT_BITS };

/* One pass of a radix sort of places by their integers: by one digit, places with the same digit stay in order. */
LOCAL void sort_by_digit(const int64_t *tokens, int shift, int64_t n, const int64_t *from, int64_t *to) {
    int64_t begin[DIGITS + 1] = {0};
    for (int64_t i = 0; i < n; i++) begin[(tokens[from[i]] >> shift & (DIGITS - 1)) + 1]++;
    for (int digit = 1; digit < DIGITS; digit++) begin[digit] += begin[digit - 1];
    for (int64_t i = 0; i < n; i++) to[begin[tokens[from[i]] >> shift & (DIGITS - 1)]++] = from[i];
}

/* Rows of a chunk whose integers are sorted together: rows [begin,end) of each step. Their places, in `tokens` and in
 * what the runs choose from, are those in an array (chunk,step_rows) that begins with row `first`. */
typedef struct {
    const int64_t *tokens;
    int64_t first, step_rows, begin, end;
} token_rows;

/* elements of the memory of runs: four arrays, of which two have an element more for each part of the rows, of which
 * there are at most B */
LOCAL int64_t runs_size(const call *call) {
    return (4 * call->chunk + 2) * call->B * (int64_t)(sizeof(int64_t) / sizeof(REAL));
}

/* the places of the chunk's rows; returns their number */
LOCAL int64_t list_places(const worker *worker, const token_rows *rows, int64_t *places) {
    int64_t n = 0;
    for (int64_t i = 0; i < worker->steps; i++)
        for (int64_t row = rows->begin, end = active_end(worker->call, worker->t0 + i, row, rows->end); row < end;
             row++)
            places[n++] = i * rows->step_rows + row - rows->first;
    return n;
}

/* The chunk's integers, sorted. Each part of the rows has its part of the memory. */
LOCAL token_runs runs_of(const worker *worker, const token_rows *rows, REAL *memory) {
    const call *call = worker->call;
    const int64_t *tokens = rows->tokens, size = call->chunk + 1;
    int64_t *run_at = (int64_t *)memory + call->chunk * rows->first;
    int64_t *places = (int64_t *)memory + call->chunk * call->B + 2 * size * rows->begin;
    int64_t *other = places + size * (rows->end - rows->begin);
    const int64_t n = list_places(worker, rows, places);
    for (int shift = 0; n > 1 && (call->V - 1) >> shift; shift += DIGIT_BITS) {
        int64_t *sorted = other;
        sort_by_digit(tokens, shift, n, places, sorted);
        other = places;
        places = sorted;
    }
    token_runs runs = {.tokens = tokens, .places = places, .begin = other, .run_at = run_at};
    for (int64_t i = 0; i < n; i++) {
        if (!i || tokens[places[i]] != tokens[places[i - 1]]) runs.begin[runs.count++] = i;
        run_at[places[i]] = runs.count - 1;
    }
    if (n) runs.begin[runs.count] = n;
    return runs;
}

/* Backward: those of all rows of the shard, whose places are the ones that dz has. */
LOCAL token_runs runs_of_shard(const worker *worker) {
    const call *call = worker->call;
    REAL *memory = call->token_scratch[BACKWARD].runs;
    token_rows rows = {.tokens = call->options.tokens + worker->t0 * call->B,
                       .first = shard_begin(call, worker->shard),
                       .step_rows = shard_rows(worker)};
    rows.begin = rows.first;
    rows.end = rows.first + rows.step_rows;
    if (call->shards > 1) {
        int64_t *gathered = (int64_t *)memory + (3 * call->chunk + 2) * call->B + call->chunk * rows.first;
        for (int64_t i = 0; i < worker->steps; i++)
            memcpy(gathered + i * rows.step_rows, rows.tokens + i * call->B + rows.first,
                   (size_t)rows.step_rows * sizeof(int64_t));
        rows.tokens = gathered;
    }
    return runs_of(worker, &rows, memory);
}

/* ---- forward ------------------------------------------------------------------------------------------- */

/* out (run_end - run_begin,I) = the rows of the embedding of these runs */
LOCAL void gather_embeddings(const call *call, const token_runs *runs, int64_t run_begin, int64_t run_end, REAL *out) {
    for (int64_t run = run_begin; run < run_end; run++, out += call->I)
        memcpy(out, call->token_rows + token_of(runs, run) * call->I, (size_t)call->I * sizeof(REAL));
}

/* z (rows, rows ld apart) = the rows of `products` that `run_at` names for each place of the chunk */
LOCAL void copy_to_places(const worker *worker, const int64_t *run_at, const REAL *products, REAL *z, int64_t ld) {
    const int64_t columns = z_columns(worker->call);
    EACH_BLOCK(worker, block) {
        const int64_t begin = (block.t - worker->t0) * worker->call->B + block.row;
        for (int64_t place = begin; place < begin + block.rows; place++)
            memcpy(z + place * ld, products + run_at[place] * columns, (size_t)columns * sizeof(REAL));
    }
}

/* W_ih x + bias for the chunk's rows into z, rows ld apart: of each run once, then copied to all its places. */
LOCAL void multiply_runs(const worker *worker, REAL *z, int64_t ld) {
    const call *call = worker->call;
    const int64_t columns = z_columns(call), before = call->chunk * worker->row_begin;
    const token_scratch *scratch = &call->token_scratch[FORWARD];
    const token_rows rows = {.tokens = call->options.tokens + worker->t0 * call->B,
                             .step_rows = call->B,
                             .begin = worker->row_begin,
                             .end = worker->row_end};
    const token_runs runs = runs_of(worker, &rows, scratch->runs);
    REAL *products = scratch->rows + before * columns, *x = scratch->inputs + before * call->I;
    if (call->spec.one_hot) {
        copy_columns(call, worker->layer_dir, &runs, products);
    } else {
        gather_embeddings(call, &runs, 0, runs.count, x);
        multiply_x(call, 0, &worker->weights, runs.count, x, products, columns);
    }
    copy_to_places(worker, runs.run_at, products, z, ld);
}

/* The same from the table, where there is one. */
LOCAL void multiply_tokens(const worker *worker, REAL *z, int64_t ld) {
    const call *call = worker->call;
    if (has_token_table(call))
        copy_to_places(worker, call->options.tokens + worker->t0 * call->B, z_table(call, worker->direction), z, ld);
    else multiply_runs(worker, z, ld);
}

/* Packs a row for each integer: W_ih e_v + bias, or a copy of the embedding. */
LOCAL void pack_tokens(const call *call, REAL *rows) {
    if (call->spec.one_hot) copy_columns(call, 0, NULL, rows);
    else copy_or_clear(rows, network_param(call, EMBEDDING), call->V * call->I);
}
#endif
