/* The gradients of the parameters from a chunk's dz: tall products over steps and rows, split over threads by rows of
 * the weight, and summed in an order that does not depend on threads. */
#ifndef BPTT_NETWORK_PARAM_GRADS_H
#define BPTT_NETWORK_PARAM_GRADS_H
#include "cells/cells.h"
#include "network/dropout.h"
#include "network/forward.h"
#include "network/layout.h"
#include "network/sequence.h"

/* ---- sums of one matrix, this member's share ---------------------------------------------------------- */

/* bias += the column sums of a (rows,columns); other gets the same (NULL: none). */
LOCAL void add_bias(const worker *worker, int64_t rows, int64_t columns, const REAL *a, int64_t lda, REAL *bias,
                    REAL *other) {
    enum { COLUMNS = 64 };
    REAL sums[COLUMNS];
    int64_t begin, end;
    bptt_internal_share(worker->member, columns, COLUMNS, &begin, &end);
    for (int64_t j = begin; j < end; j += COLUMNS) {
        const int64_t n = min_of(COLUMNS, end - j);
        copy_or_clear(sums, NULL, n);
        worker->call->kernels->add_column_sums(rows, n, a + j, lda, sums);
        for (int64_t i = 0; i < n; i++) bias[j + i] += sums[i];
        for (int64_t i = 0; other && i < n; i++) other[j + i] += sums[i];
    }
}

/* The member's part of the scratch of outer products: that of its rows of the largest weight. Members do not wait for
 * one another between two products. */
LOCAL REAL *outer_scratch_of(const worker *worker) {
    const call *call = worker->call;
    int64_t begin, end;
    bptt_internal_share(worker->member, most_weight_rows(call), WEIGHT_ROWS, &begin, &end);
    return call->outer_scratch + call->kernels->outer_scratch(begin);
}

/* weight (m,n) += aT b over rows; rows with skip[row] != 0 add nothing, NaN neither (NULL: none) */
LOCAL void add_outer(const worker *worker, int64_t rows, const REAL *a, int64_t lda, int64_t m, const REAL *b,
                     int64_t ldb, int64_t n, const uint8_t *skip, REAL *weight) {
    int64_t begin, end;
    bptt_internal_share(worker->member, m, WEIGHT_ROWS, &begin, &end);
    worker->call->kernels->outer(&(outer_product){.m = end - begin,
                                                  .n = n,
                                                  .k = rows,
                                                  .a = a + begin,
                                                  .lda = lda,
                                                  .b = b,
                                                  .ldb = ldb,
                                                  .skip = skip,
                                                  .c = weight + begin * n,
                                                  .ldc = n,
                                                  .scratch = outer_scratch_of(worker)});
}

/* ---- a layer_dir --------------------------------------------------------------------------------------- */

/* rows of a block whose entering state is zero; NULL: none */
LOCAL const uint8_t *skip_of(const worker *worker, const block *block) {
    const call *call = worker->call;
    if (!call->options.reset) return NULL;
    if (!worker->direction) return call->options.reset + block->t * call->B;
    return call->skip + (block->t - worker->t0) * call->B;
}

/* W_ih and W_hh from a block: x as the product took it (NULL: integers, whose W_ih follows in token_grads.h), and
 * h_prev, the operand of W_hh, or gates made of it */
LOCAL void add_weight_grads(const worker *worker, const block *block, const REAL *x, const REAL *h_prev,
                            int64_t ld_prev) {
    const call *call = worker->call;
    const int64_t H = call->H, ld = ld_dz(call);
    EACH_PRODUCT(call, cell_product) {
        const int input = cell_product->matrix == WEIGHT_IH, gate = cell_product->gate_operand;
        if (input && takes_tokens(worker)) continue;
        const int64_t columns = input ? layer_inputs(call, worker->layer) : H, rows = cell_product->rows * H;
        const REAL *dz = dz_at(worker, block->t) + cell_product->dz * H;
        const REAL *operand = input ? x : gate ? gates_at(worker, block->t) + gate * H : h_prev;
        const int64_t ld_operand = input ? columns : gate ? gate_columns(call) : ld_prev;
        REAL *grad = layer_dir_grad(call, worker->layer_dir, cell_product->matrix) + cell_product->row * H * columns;
        add_outer(worker, block->rows, dz, ld, rows, operand, ld_operand, columns,
                  input ? NULL : skip_of(worker, block), grad);
    }
}

/* the block of dz that is the gradient by a block of rows of a matrix */
LOCAL int dz_block_of(const call *call, int matrix, int row) {
    EACH_PRODUCT(call, cell_product)
        if (cell_product->matrix == matrix && row >= cell_product->row && row < cell_product->row + cell_product->rows)
            return cell_product->dz + row - cell_product->row;
    return 0; /* not reached: the products cover all rows */
}

/* b_ih and b_hh, in runs of blocks whose dz blocks lie side by side. Where both have the same dz it is summed once. */
LOCAL void add_bias_grads(const worker *worker, const block *block) {
    const call *call = worker->call;
    const int64_t H = call->H, ld = ld_dz(call);
    const REAL *dz = dz_at(worker, block->t);
    REAL *b_ih = layer_dir_grad(call, worker->layer_dir, BIAS_IH),
         *b_hh = layer_dir_grad(call, worker->layer_dir, BIAS_HH);
    if (!b_ih) return;
    for (int row = 0, end; row < call->shape->blocks; row = end) {
        const int dz_ih = dz_block_of(call, WEIGHT_IH, row), dz_hh = dz_block_of(call, WEIGHT_HH, row);
        end = row + 1;
        while (end < call->shape->blocks && dz_block_of(call, WEIGHT_IH, end) - end == dz_ih - row &&
               dz_block_of(call, WEIGHT_HH, end) - end == dz_hh - row)
            end++;
        const int64_t columns = (end - row) * H, at = row * H;
        add_bias(worker, block->rows, columns, dz + dz_ih * H, ld, b_ih + at, dz_ih == dz_hh ? b_hh + at : NULL);
        if (dz_ih != dz_hh) add_bias(worker, block->rows, columns, dz + dz_hh * H, ld, b_hh + at, NULL);
    }
}

LOCAL void add_peephole_grads(const worker *worker, const block *block) {
    const call *call = worker->call;
    if (!call->spec.peepholes) return;
    peephole_rows rows = {.rows = block->rows,
                          .H = call->H,
                          .dz = dz_at(worker, block->t),
                          .c_prev = in_slot(worker, worker->c, entering_slot(worker, block->t)),
                          .c = in_slot(worker, worker->c, slot_of(worker, block->t)),
                          .ld = ld_state(call),
                          .skip = skip_of(worker, block)};
    bptt_internal_share(worker->member, call->H, 64, &rows.unit_begin, &rows.unit_end);
    cell_of(&call->spec)->add_peephole_grad(&rows, layer_dir_grad(call, worker->layer_dir, PEEPHOLES));
}

/* the chunk's part of the gradients of the layer_dir's parameters */
LOCAL void add_layer_dir_grads(const worker *worker) {
    const call *call = worker->call;
    EACH_BLOCK(worker, block, 0, call->B) {
        const int64_t row = (block.t - worker->t0) * call->B;
        const REAL *x = drops_inputs(worker) ? call->dropped_inputs + row * layer_inputs(call, worker->layer)
                                             : layer_input(worker, block.t);
        const REAL *h_prev = drops_recurrent(call) ? call->masked_h + row * call->H
                                                   : in_slot(worker, worker->h, entering_slot(worker, block.t));
        add_weight_grads(worker, &block, x, h_prev, drops_recurrent(call) ? call->H : ld_state(call));
        add_bias_grads(worker, &block);
        add_peephole_grads(worker, &block);
    }
}

/* ---- the readout ------------------------------------------------------------------------------------- */

/* Rows at the front of a block that belong to steps before dy_start: their outputs have no gradient. */
LOCAL int64_t rows_without_dy(const call *call, const block *block) {
    const int64_t start = call->dy ? call->options.dy_start : call->T;
    return min_of(block->rows, max_of(0, start - block->t) * call->B);
}

/* dy of a block from that row on */
LOCAL const REAL *dy_of(const call *call, const block *block, int64_t row) {
    return call->dy + ((block->t - call->options.dy_start) * call->B + block->row + row) * call->Y;
}

/* the chunk's part of the readout's gradients */
LOCAL void add_readout_grads(const worker *worker) {
    const call *call = worker->call;
    const int64_t DH = ld_state(call), O = call->O;
    if (!O || !call->dy) return;
    REAL *weight = network_grad(call, WEIGHT_HO), *bias = network_grad(call, BIAS_O);
    EACH_BLOCK(worker, block, 0, call->B) {
        const int64_t without = rows_without_dy(call, &block), rows = block.rows - without;
        if (!rows) continue;
        const REAL *dy = dy_of(call, &block, without);
        const REAL *h = state_at(call, call->L - 1, 0, 0, slot_of(worker, block.t)) + without * DH;
        add_outer(worker, rows, dy, O, O, h, DH, DH, NULL, weight);
        if (bias) add_bias(worker, rows, O, dy, O, bias, NULL);
    }
}
#endif
