/* The gradients of the parameters from a chunk's dz: tall products over steps and rows, split over the threads that
 * share the rows by rows of the weight, and summed in an order that does not depend on threads. */
#ifndef BPTT_NETWORK_PARAM_GRADS_H
#define BPTT_NETWORK_PARAM_GRADS_H
#include "cells/cells.h"
#include "network/dropout.h"
#include "network/forward.h"
#include "network/layout.h"
#include "network/sequence.h"

/* ---- the terms of a sum ------------------------------------------------------------------------------- */

/* The terms: `rows` rows of the batch from `row` on, in each of `steps` steps from t on. */
typedef struct terms {
    int64_t t, row, rows, steps;
} terms;

/* All rows of the shard in the chunk; with lengths those of one step after another. */
LOCAL int next_terms(const worker *worker, terms *terms) {
    const call *call = worker->call;
    const int64_t end = worker->t0 + worker->steps, row_end = shard_begin(call, worker->shard + 1);
    terms->t = terms->steps ? terms->t + terms->steps : worker->t0;
    terms->row = shard_begin(call, worker->shard);
    terms->rows = active_end(call, terms->t, terms->row, row_end) - terms->row;
    terms->steps = call->options.lengths ? 1 : worker->steps;
    return terms->t < end && terms->rows > 0; /* after a step without rows no step has any */
}

#define EACH_TERMS(worker, name) for (terms name = {0}; next_terms(worker, &name);)

/* the first of them in an array that holds the chunk (chunk,B), in rows */
LOCAL int64_t first_term(const worker *worker, const terms *terms) {
    return (terms->t - worker->t0) * worker->call->B + terms->row;
}

/* ---- sums of one matrix, this member's share ---------------------------------------------------------- */

/* bias += the column sums of a, which lies shard by shard, rows lda apart; other gets the same (NULL: none). */
LOCAL void add_bias(const worker *worker, const terms *terms, int64_t columns, const REAL *a, int64_t lda, REAL *bias,
                    REAL *other) {
    enum { COLUMNS = 64 };
    REAL sums[COLUMNS];
    int64_t begin, end;
    bptt_internal_share(worker->sharer, columns, COLUMNS, &begin, &end);
    for (int64_t j = begin; j < end; j += COLUMNS) {
        const int64_t n = min_of(COLUMNS, end - j);
        copy_or_clear(sums, NULL, n);
        worker->call->kernels->add_column_sums(terms->steps * terms->rows, n, a + j, lda, sums);
        for (int64_t i = 0; i < n; i++) bias[j + i] += sums[i];
        for (int64_t i = 0; other && i < n; i++) other[j + i] += sums[i];
    }
}

/* The member's scratch of outer products: the part of its rows of the largest weight. Members do not wait for one
 * another between two products. */
LOCAL REAL *outer_scratch_of(const worker *worker) {
    const call *call = worker->call;
    const int64_t rows = most_weight_rows(call);
    int64_t begin, end;
    bptt_internal_share(worker->sharer, rows, WEIGHT_ROWS, &begin, &end);
    return call->outer_scratch + call->kernels->outer_scratch(worker->shard * rows + begin);
}

/* Rows [begin,end) of an operand's c, whose rows lie n apart. */
LOCAL outer_operand rows_of_operand(const outer_operand *operand, int64_t begin, int64_t end) {
    outer_operand part = *operand;
    if (operand->m <= begin) return (outer_operand){0};
    part.m = min_of(operand->m, end) - begin;
    part.c += begin * operand->n;
    part.ldc = operand->n;
    return part;
}

/* The end of the rows of c from `begin` on that are shared out together: all that some operand has where there is
 * nobody to share with, otherwise those that the same operands have, which are the same work each. */
LOCAL int64_t end_of_shared_rows(const worker *worker, int64_t begin, const outer_operand operands[OUTER_OPERANDS]) {
    int64_t end = begin;
    for (int i = 0; i < OUTER_OPERANDS; i++) {
        const int64_t m = operands[i].m;
        if (m > begin) end = end == begin || worker->sharer->size == 1 ? max_of(m, end) : min_of(m, end);
    }
    return end;
}

/* c (m,n) += aT b for each operand, this member's rows of c. a (terms, rows of the largest c) lies shard by shard, b
 * does not. */
LOCAL void add_outer(const worker *worker, const terms *terms, const REAL *a, int64_t lda,
                     const outer_operand operands[OUTER_OPERANDS]) {
    for (int64_t row = 0, row_end; (row_end = end_of_shared_rows(worker, row, operands)) > row; row = row_end) {
        int64_t begin, end;
        bptt_internal_share(worker->sharer, row_end - row, WEIGHT_ROWS, &begin, &end);
        outer_product product = {.m = end - begin,
                                 .k = terms->steps * terms->rows,
                                 .run = terms->rows,
                                 .gap = terms->steps > 1 ? worker->call->B - terms->rows : 0,
                                 .a = a + row + begin,
                                 .lda = lda,
                                 .scratch = outer_scratch_of(worker)};
        for (int i = 0; i < OUTER_OPERANDS; i++)
            product.operands[i] = rows_of_operand(operands + i, row + begin, row + end);
        worker->call->kernels->outer(&product);
    }
}

/* ---- a layer_dir --------------------------------------------------------------------------------------- */

/* of each term, whether its entering state is zero; NULL: none is */
LOCAL const uint8_t *skip_of(const worker *worker, const terms *terms) {
    const call *call = worker->call;
    if (!call->options.reset) return NULL;
    if (!worker->direction) return call->options.reset + terms->t * call->B + terms->row;
    return call->skip + first_term(worker, terms);
}

/* dz of the first term */
LOCAL const REAL *dz_of(const worker *worker, const terms *terms) {
    return dz_at(worker, terms->t) + terms->row * ld_dz(worker->call);
}

/* What the weights of a product take beside dz: b (terms,columns), rows ldb apart. NULL: there is no such product. */
LOCAL outer_operand weight_operand(const worker *worker, const bptt_internal_cell_product *cell_product, const REAL *b,
                                   int64_t ldb, int64_t columns) {
    if (!cell_product) return (outer_operand){0};
    const int64_t H = worker->call->H;
    REAL *grad = layer_dir_grad(worker->call, worker->grads, worker->layer_dir, cell_product->matrix);
    return (outer_operand){
        .m = cell_product->rows * H, .n = columns, .b = b, .ldb = ldb, .c = grad + cell_product->row * H * columns};
}

/* of W_ih: x as the product took it (terms,inputs) */
LOCAL outer_operand operand_of_ih(const worker *worker, const bptt_internal_cell_product *cell_product, const REAL *x) {
    const int64_t in = layer_inputs(worker->call, worker->layer);
    return weight_operand(worker, cell_product, x, in, in);
}

/* of W_hh: h_prev, or gates made of it */
LOCAL outer_operand operand_of_hh(const worker *worker, const bptt_internal_cell_product *cell_product,
                                  const terms *terms, const REAL *h_prev, int64_t ld_prev) {
    const call *call = worker->call;
    const int64_t H = call->H, gate = cell_product ? cell_product->gate_operand : 0;
    const REAL *gates = gate ? gates_at(worker, terms->t) + terms->row * gate_columns(call) + gate * H : NULL;
    outer_operand operand =
        weight_operand(worker, cell_product, gate ? gates : h_prev, gate ? gate_columns(call) : ld_prev, H);
    operand.skip = skip_of(worker, terms);
    return operand;
}

/* the product of the matrix whose dz begins at this block; NULL: there is none */
LOCAL const bptt_internal_cell_product *product_from_dz(const call *call, int matrix, int block) {
    EACH_PRODUCT(call, cell_product)
        if (cell_product->matrix == matrix && cell_product->dz == block) return cell_product;
    return NULL;
}

/* W_ih and W_hh, products whose dz begins at the same block together: x as the product took it (NULL: integers, whose
 * W_ih follows in token_grads.h), and h_prev, the operand of W_hh */
LOCAL void add_weight_grads(const worker *worker, const terms *terms, const REAL *x, const REAL *h_prev,
                            int64_t ld_prev) {
    const call *call = worker->call;
    for (int block = 0; block < bptt_internal_dz_blocks(call->shape); block++) {
        const bptt_internal_cell_product *ih = x ? product_from_dz(call, WEIGHT_IH, block) : NULL,
                                         *hh = product_from_dz(call, WEIGHT_HH, block);
        const outer_operand operands[OUTER_OPERANDS] = {operand_of_ih(worker, ih, x),
                                                        operand_of_hh(worker, hh, terms, h_prev, ld_prev)};
        add_outer(worker, terms, dz_of(worker, terms) + block * call->H, ld_dz(call), operands);
    }
}

/* the block of dz that is the gradient by a block of rows of a matrix */
LOCAL int dz_block_of(const call *call, int matrix, int row) {
    EACH_PRODUCT(call, cell_product)
        if (cell_product->matrix == matrix && row < cell_product->row + cell_product->rows)
            return cell_product->dz + row - cell_product->row;
    return 0; /* not reached: the products cover all rows, in ascending order */
}

/* Blocks of rows of b_ih and b_hh, from `row` to `end`, whose dz blocks lie side by side. */
typedef struct {
    int row, end;
    int dz_ih, dz_hh; /* the first of their dz blocks; where both are the same, it is summed once */
} bias_blocks;

LOCAL int next_bias_blocks(const call *call, bias_blocks *blocks) {
    blocks->row = blocks->end;
    if (blocks->row == call->shape->blocks) return 0;
    blocks->dz_ih = dz_block_of(call, WEIGHT_IH, blocks->row);
    blocks->dz_hh = dz_block_of(call, WEIGHT_HH, blocks->row);
    do blocks->end++;
    while (blocks->end < call->shape->blocks &&
           dz_block_of(call, WEIGHT_IH, blocks->end) - blocks->end == blocks->dz_ih - blocks->row &&
           dz_block_of(call, WEIGHT_HH, blocks->end) - blocks->end == blocks->dz_hh - blocks->row);
    return 1;
}

#define EACH_BIAS_BLOCKS(call, name) for (bias_blocks name = {0}; next_bias_blocks(call, &name);)

/* b_ih, and b_hh where it has the same dz */
LOCAL void add_bias_grads(const worker *worker, const terms *terms, const REAL *dz, int64_t ld) {
    const call *call = worker->call;
    const int64_t H = call->H;
    REAL *b_ih = layer_dir_grad(call, worker->grads, worker->layer_dir, BIAS_IH),
         *b_hh = layer_dir_grad(call, worker->grads, worker->layer_dir, BIAS_HH);
    if (!b_ih) return;
    EACH_BIAS_BLOCKS(call, blocks)
        add_bias(worker, terms, (blocks.end - blocks.row) * H, dz + blocks.dz_ih * H, ld, b_ih + blocks.row * H,
                 blocks.dz_ih == blocks.dz_hh ? b_hh + blocks.row * H : NULL);
}

/* b_hh where its dz differs from that of b_ih */
LOCAL void add_hh_bias_grads(const worker *worker, const terms *terms) {
    const call *call = worker->call;
    const int64_t H = call->H;
    REAL *b_hh = layer_dir_grad(call, worker->grads, worker->layer_dir, BIAS_HH);
    if (!b_hh) return;
    EACH_BIAS_BLOCKS(call, blocks)
        if (blocks.dz_ih != blocks.dz_hh)
            add_bias(worker, terms, (blocks.end - blocks.row) * H, dz_of(worker, terms) + blocks.dz_hh * H, ld_dz(call),
                     b_hh + blocks.row * H, NULL);
}

LOCAL void add_peephole_grads(const worker *worker, const terms *terms) {
    const call *call = worker->call;
    const int64_t ld = ld_state(call), at = terms->row * ld;
    const uint8_t *skip = skip_of(worker, terms);
    if (!call->spec.peepholes) return;
    for (int64_t i = 0; i < terms->steps; i++) {
        const int64_t t = terms->t + i;
        peephole_rows rows = {.rows = terms->rows,
                              .H = call->H,
                              .dz = dz_at(worker, t) + terms->row * ld_dz(call),
                              .ld_dz = ld_dz(call),
                              .c_prev = in_slot(worker, worker->c, entering_slot(worker, t)) + at,
                              .c = in_slot(worker, worker->c, slot_of(worker, t)) + at,
                              .ld = ld,
                              .skip = skip ? skip + i * call->B : NULL};
        bptt_internal_share(worker->sharer, call->H, 64, &rows.unit_begin, &rows.unit_end);
        cell_of(&call->spec)
            ->add_peephole_grad(&rows, layer_dir_grad(call, worker->grads, worker->layer_dir, PEEPHOLES));
    }
}

LOCAL void add_leak_grads(const worker *worker, const terms *terms) {
    const int64_t H = worker->call->H;
    REAL *grad = layer_dir_grad(worker->call, worker->grads, worker->layer_dir, LEAK);
    if (grad) add_bias(worker, terms, H, leak_terms_at(worker, terms->t) + terms->row * H, H, grad, NULL);
}

/* the chunk's part of the gradients of the layer_dir's parameters */
LOCAL void add_layer_dir_grads(const worker *worker) {
    const call *call = worker->call;
    const int64_t in = layer_inputs(call, worker->layer), ld = ld_state(call);
    EACH_TERMS(worker, terms) {
        const int64_t first = first_term(worker, &terms);
        const REAL *x =
            drops_inputs(worker) ? call->dropped_inputs + first * in : layer_input(worker, terms.t, terms.row);
        const REAL *h_prev = drops_recurrent(call)
                                 ? call->masked_h + first * call->H
                                 : in_slot(worker, worker->h, entering_slot(worker, terms.t)) + terms.row * ld;
        add_weight_grads(worker, &terms, x, h_prev, drops_recurrent(call) ? call->H : ld);
        if (!takes_tokens(worker) || !sums_tokens(call))
            add_bias_grads(worker, &terms, dz_of(worker, &terms), ld_dz(call));
        add_hh_bias_grads(worker, &terms);
        add_peephole_grads(worker, &terms);
        add_leak_grads(worker, &terms);
    }
}

/* ---- the readout ------------------------------------------------------------------------------------- */

/* the chunk's part of the readout's gradients, from the steps that have dy */
LOCAL void add_readout_grads(const worker *worker) {
    const call *call = worker->call;
    const int64_t DH = ld_state(call), O = call->O;
    if (!O || !call->dy) return;
    if (call->D == 2) gather_dy(worker); /* with one direction output_gradient did */
    REAL *weight = network_grad(call, worker->grads, WEIGHT_HO), *bias = network_grad(call, worker->grads, BIAS_O);
    EACH_TERMS(worker, terms) {
        const int64_t without = min_of(terms.steps, max_of(0, call->options.dy_start - terms.t));
        const struct terms with = {terms.t + without, terms.row, terms.rows, terms.steps - without};
        if (!with.steps) continue;
        const REAL *dy = dy_at(worker, with.t, with.row);
        const REAL *h = state_at(call, call->L - 1, 0, 0, slot_of(worker, with.t)) + with.row * DH;
        add_outer(worker, &with, dy, O,
                  (outer_operand[OUTER_OPERANDS]){{.m = O, .n = DH, .b = h, .ldb = DH, .c = weight}});
        if (bias) add_bias(worker, &with, O, dy, O, bias, NULL);
    }
}
#endif
