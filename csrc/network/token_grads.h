/* Integer inputs: the gradients of W_ih and of the embedding. The dz of a chunk is summed over the places of each
 * distinct integer first, in the order of (t,b), and what follows is done once for each. With a table the sums go on
 * over all chunks, and the gradient of b_ih comes from them too. */
#ifndef BPTT_NETWORK_TOKEN_GRADS_H
#define BPTT_NETWORK_TOKEN_GRADS_H
#include "network/input_gradient.h"
#include "network/param_grads.h"
#include "network/tokens.h"

/* dz of the chunk, from which the runs choose rows */
LOCAL const REAL *shard_dz(const worker *worker) {
    return dz_at(worker, worker->t0) + shard_begin(worker->call, worker->shard) * ld_dz(worker->call);
}

/* the first run of the shard in scratch that has a row for each place of the chunk */
LOCAL int64_t first_run(const worker *worker) { return worker->call->chunk * shard_begin(worker->call, worker->shard); }

/* an embedding: the sums of dz of each run (runs,dz columns) */
LOCAL REAL *summed_dz(const worker *worker) {
    const call *call = worker->call;
    return call->token_scratch[BACKWARD].rows + first_run(worker) * dz_columns(call);
}

/* a table: the sums of dz of each integer in a shard, for a direction (V,dz columns) */
LOCAL REAL *token_sums(const call *call, int64_t shard, int64_t direction) {
    return call->token_scratch[BACKWARD].rows + (shard * call->D + direction) * call->V * dz_columns(call);
}

/* one_hot: column v of W_ih += the sum of dz where the integer is v. The member's share of the rows of W_ih. */
LOCAL void add_column_grads(const worker *worker, const bptt_internal_cell_product *cell_product) {
    enum { AT_ONCE = 4 * LINE };
    const call *call = worker->call;
    const token_runs *runs = &call->runs[worker->shard];
    const REAL *dz = shard_dz(worker) + cell_product->dz * call->H;
    REAL *grad =
        layer_dir_grad(call, worker->grads, worker->layer_dir, WEIGHT_IH) + cell_product->row * call->H * call->V;
    REAL sums[AT_ONCE];
    int64_t begin, end;
    bptt_internal_share(worker->sharer, cell_product->rows * call->H, LINE, &begin, &end);
    for (int64_t j = begin; j < end; j += AT_ONCE)
        for (int64_t run = 0; run < runs->count; run++) {
            const int64_t n = min_of(AT_ONCE, end - j), first = runs->begin[run];
            REAL *column = grad + j * call->V + token_of(runs, run);
            copy_or_clear(sums, NULL, n);
            call->kernels->add_listed_rows(runs->begin[run + 1] - first, runs->places + first, n, dz + j, ld_dz(call),
                                           sums);
            for (int64_t i = 0; i < n; i++) column[i * call->V] += sums[i];
        }
}

/* The sums of dz of each run, for the member's share of their columns: added to those of the table, or, of an
 * embedding, on their own (runs,dz columns). */
LOCAL void sum_dz_of_runs(const worker *worker, const bptt_internal_cell_product *cell_product) {
    const call *call = worker->call;
    const token_runs *runs = &call->runs[worker->shard];
    const int64_t at = cell_product->dz * call->H, ld = dz_columns(call);
    const int table = has_token_table(call);
    int64_t begin, end;
    bptt_internal_share(worker->sharer, cell_product->rows * call->H, LINE, &begin, &end);
    for (int64_t run = 0; run < runs->count && begin < end; run++) {
        const int64_t first = runs->begin[run];
        REAL *sums = (table ? token_sums(call, worker->shard, worker->direction) + token_of(runs, run) * ld
                            : summed_dz(worker) + run * ld) +
                     at + begin;
        if (!table) copy_or_clear(sums, NULL, end - begin);
        call->kernels->add_listed_rows(runs->begin[run + 1] - first, runs->places + first, end - begin,
                                       shard_dz(worker) + at + begin, ld_dz(call), sums);
    }
}

/* An embedding: W_ih += dzT x and dx = W_ihT dz, which the rows of the embedding get, from the sums of dz. The sums are
 * shared out by columns, W_ih by rows, dx by runs: one barrier. */
LOCAL void add_embedding_grads(const worker *worker) {
    const call *call = worker->call;
    const token_runs *runs = &call->runs[worker->shard];
    const int64_t I = call->I, H = call->H, ld = dz_columns(call);
    REAL *dz = summed_dz(worker), *x = call->token_scratch[BACKWARD].inputs + first_run(worker) * I;
    REAL *dx = call->d_token_inputs + first_run(worker) * I, *embedding = network_grad(call, worker->grads, EMBEDDING);
    const terms all = {.rows = runs->count, .steps = 1};
    int64_t begin, end;
    bptt_internal_share(worker->sharer, runs->count, WEIGHT_ROWS, &begin, &end);
    EACH_PRODUCT(call, cell_product)
        if (cell_product->matrix == WEIGHT_IH) sum_dz_of_runs(worker, cell_product);
    gather_embeddings(call, runs, begin, end, x + begin * I);
    bptt_internal_team_wait(worker->sharer);
    EACH_PRODUCT(call, cell_product)
        if (cell_product->matrix == WEIGHT_IH)
            add_outer(worker, &all, dz + cell_product->dz * H, ld,
                      (outer_operand[OUTER_OPERANDS]){operand_of_ih(worker, cell_product, x)});
    multiply_w_ih(worker, end - begin, dz + begin * ld, ld, NULL, dx + begin * I, I);
    for (int64_t run = begin; run < end; run++) {
        const int64_t token = token_of(runs, run);
        if (token != call->spec.padding_row - 1) call->kernels->add_scaled(I, 1, dx + run * I, embedding + token * I);
    }
}

/* the chunk's part of the gradients that the integers choose, or of the sums in the table */
LOCAL void add_token_grads(const worker *worker) {
    const call *call = worker->call;
    const int table = has_token_table(call);
    if (!call->spec.one_hot && !table) {
        add_embedding_grads(worker);
        return;
    }
    EACH_PRODUCT(call, cell_product) {
        if (cell_product->matrix != WEIGHT_IH) continue;
        if (table) sum_dz_of_runs(worker, cell_product);
        else add_column_grads(worker, cell_product);
    }
}

/* ---- a table: before and after all chunks ---------------------------------------------------------------- */

/* Clears the member's share of the sums of its shard. */
LOCAL void clear_token_sums(const worker *worker) {
    const call *call = worker->call;
    const int64_t ld = dz_columns(call);
    if (!sums_tokens(call)) return;
    EACH_PRODUCT(call, cell_product) {
        int64_t begin, end;
        if (cell_product->matrix != WEIGHT_IH) continue;
        bptt_internal_share(worker->sharer, cell_product->rows * call->H, LINE, &begin, &end);
        for (int64_t row = 0; row < call->D * call->V; row++)
            copy_or_clear(token_sums(call, worker->shard, 0) + row * ld + cell_product->dz * call->H + begin, NULL,
                          end - begin);
    }
}

/* The sums of the first shard become those of all: the member's share of their rows, of all directions. */
LOCAL void add_token_sums_of_shards(const worker *worker) {
    const call *call = worker->call;
    const int64_t ld = dz_columns(call), H = call->H;
    int64_t begin, end;
    bptt_internal_share(worker->sharer, call->D * call->V, 1, &begin, &end);
    for (int64_t shard = 1; shard < call->shards; shard++)
        for (int64_t row = begin; row < end; row++)
            EACH_PRODUCT(call, cell_product) {
                const int64_t at = row * ld + cell_product->dz * H;
                if (cell_product->matrix == WEIGHT_IH)
                    call->kernels->add_scaled(cell_product->rows * H, 1, token_sums(call, shard, 0) + at,
                                              token_sums(call, 0, 0) + at);
            }
}

/* one_hot: W_ih += the sums transposed, the member's share of its rows */
LOCAL void add_columns_of_sums(const worker *worker, const bptt_internal_cell_product *cell_product, const REAL *sums) {
    const call *call = worker->call;
    const int64_t V = call->V, ld = dz_columns(call);
    REAL *grad = layer_dir_grad(call, worker->grads, worker->layer_dir, WEIGHT_IH) + cell_product->row * call->H * V;
    int64_t begin, end;
    sums += cell_product->dz * call->H;
    bptt_internal_share(worker->sharer, cell_product->rows * call->H, LINE, &begin, &end);
    for (; begin < end; begin += LINE)
        for (int64_t v = 0; v < V; v++)
            for (int64_t j = begin; j < min_of(begin + LINE, end); j++) grad[j * V + v] += sums[v * ld + j];
}

/* which integers the call does not have */
LOCAL void find_unused(const call *call, uint8_t unused[TABLE_ROWS]) {
    memset(unused, 1, TABLE_ROWS);
    for (int64_t t = 0; t < call->T; t++)
        for (int64_t row = 0, end = active_end(call, t, 0, call->B); row < end; row++)
            unused[call->options.tokens[t * call->B + row]] = 0;
}

/* An embedding: W_ih += sumsT embedding, the member's share of its rows, and the gradient of the embedding
 * += W_ihT sums, the member's share of the integers. Those that were not used add nothing, NaN neither. */
LOCAL void add_embedding_of_sums(const worker *worker, const terms *all, const REAL *sums) {
    const call *call = worker->call;
    const int64_t I = call->I, ld = dz_columns(call);
    REAL *dx = call->d_token_inputs, *grad = network_grad(call, worker->grads, EMBEDDING);
    uint8_t unused[TABLE_ROWS];
    int64_t begin, end;
    find_unused(call, unused);
    EACH_PRODUCT(call, cell_product) {
        if (cell_product->matrix != WEIGHT_IH) continue;
        outer_operand operand = operand_of_ih(worker, cell_product, call->token_rows);
        operand.skip = unused;
        add_outer(worker, all, sums + cell_product->dz * call->H, ld, (outer_operand[OUTER_OPERANDS]){operand});
    }
    bptt_internal_share(worker->sharer, call->V, WEIGHT_ROWS, &begin, &end);
    multiply_w_ih(worker, end - begin, sums + begin * ld, ld, NULL, dx + begin * I, I);
    for (int64_t v = begin; v < end; v++)
        if (!unused[v] && v != call->spec.padding_row - 1) call->kernels->add_scaled(I, 1, dx + v * I, grad + v * I);
}

/* The gradients from the sums over all chunks and shards. */
LOCAL void add_grads_of_sums(worker *worker) {
    const call *call = worker->call;
    const terms all = {.rows = call->V, .steps = 1};
    add_token_sums_of_shards(worker);
    bptt_internal_team_wait(worker->sharer);
    for (int direction = 0; direction < call->D; direction++) {
        const REAL *sums = token_sums(call, 0, direction);
        choose_layer_dir(worker, 0, direction);
        worker->weights = weights_of(call, worker->layer_dir, BACKWARD);
        add_bias_grads(worker, &all, sums, dz_columns(call));
        if (!call->spec.one_hot) add_embedding_of_sums(worker, &all, sums);
        EACH_PRODUCT(call, cell_product)
            if (call->spec.one_hot && cell_product->matrix == WEIGHT_IH)
                add_columns_of_sums(worker, cell_product, sums);
    }
}
#endif
