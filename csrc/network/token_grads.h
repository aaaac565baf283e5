/* Integer inputs: the gradients of W_ih and of the embedding from a chunk's dz. dz is summed over the places of each
 * distinct integer first, in the order of (t,b); what follows is done once for each. */
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

/* An embedding: the sums of dz of each run, for the member's share of their columns (runs,dz columns). */
LOCAL void sum_dz_of_runs(const worker *worker, const bptt_internal_cell_product *cell_product) {
    const call *call = worker->call;
    const token_runs *runs = &call->runs[worker->shard];
    const int64_t at = cell_product->dz * call->H;
    int64_t begin, end;
    bptt_internal_share(worker->sharer, cell_product->rows * call->H, LINE, &begin, &end);
    for (int64_t run = 0; run < runs->count && begin < end; run++) {
        const int64_t first = runs->begin[run];
        REAL *sums = summed_dz(worker) + run * dz_columns(call) + at + begin;
        copy_or_clear(sums, NULL, end - begin);
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
    multiply_w_ih(worker, end - begin, dz + begin * ld, ld, NULL, dx + begin * I);
    for (int64_t run = begin; run < end; run++) {
        const int64_t token = token_of(runs, run);
        if (token != call->spec.padding_row - 1) call->kernels->add_scaled(I, 1, dx + run * I, embedding + token * I);
    }
}

/* the chunk's part of the gradients that the integers choose */
LOCAL void add_token_grads(const worker *worker) {
    const call *call = worker->call;
    if (!call->spec.one_hot) {
        add_embedding_grads(worker);
        return;
    }
    EACH_PRODUCT(call, cell_product)
        if (cell_product->matrix == WEIGHT_IH) add_column_grads(worker, cell_product);
}
#endif
