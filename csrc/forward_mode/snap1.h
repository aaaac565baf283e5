/* SnAp-1 (Menick et al. 2021, "Practical real time recurrent learning with a sparse approximation"): of the influence
 * matrix only the entries that a single step can fill are kept, those of each parameter for its own unit. D_t acts on
 * them by its diagonal, for an LSTM by each unit's 2 x 2 block. Biased; exact where W_hh is diagonal.
 *
 * The influence of a row: for h, and for an LSTM for c behind it, one element for each parameter but those of the
 * readout and the embedding (ld,). Each entry of an embedding acts on all units at once: behind these lies, for each
 * element of the state, one element for each entry (state_units,V*I). */
#ifndef BPTT_FORWARD_MODE_SNAP1_H
#define BPTT_FORWARD_MODE_SNAP1_H
#include "forward_mode/learner.h"

typedef struct {
    learner *learner;
    state_grads grads; /* of ones: its dz are A = d(h,c)/dz of each unit (states, dz columns) */
    REAL *decay[2][2]; /* D_t: of part i of the state by part j (H,) each */
    REAL *dh;          /* backward: the gradient by h_t of a row (H,) */
    REAL *scratch;     /* (I,) */
} snap1;

LOCAL int64_t embedding_size(const call *call) { return call->spec.num_embeddings * call->I; }

LOCAL int64_t snap1_influence_size(const learner *learner) {
    return learner->call.shape->states * learner->ld + learner->state_units * embedding_size(&learner->call);
}

LOCAL int64_t plan_snap1(snap1 *snap1, REAL *work) {
    const call *call = &snap1->learner->call;
    arena from = arena_at(work);
    snap1->grads = alloc_state_grads(call, &from, call->shape->states, 1);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) snap1->decay[i][j] = arena_alloc(&from, call->H);
    snap1->dh = arena_alloc(&from, call->H);
    snap1->scratch = arena_alloc(&from, call->I);
    return from.used;
}

/* the influence of a row on part i of its state, as a row of parameters without an embedding */
LOCAL param_row own_influence(const learner *learner, int64_t row, int i) {
    return row_of_influence(learner, learner->influence + row * learner->influence_size + i * learner->ld);
}

/* the influence of the embedding on an element of a row's state (V*I) */
LOCAL REAL *table_influence(const learner *learner, int64_t row, int64_t element) {
    const call *call = &learner->call;
    return learner->influence + row * learner->influence_size + call->shape->states * learner->ld +
           element * embedding_size(call);
}

/* A = d(h,c)/dz of part i (dz columns) */
LOCAL const REAL *coefficients(const snap1 *snap1, int i) {
    return snap1->grads.dz + i * dz_columns(&snap1->learner->call);
}

/* ---- D_t and A --------------------------------------------------------------------------------------- */

/* A, and what of D_t does not pass W_hh: the cell's backward from ones. */
LOCAL void differentiate_units(const snap1 *snap1, int64_t row) {
    const learner *learner = snap1->learner;
    const call *call = &learner->call;
    const state_grads *grads = &snap1->grads;
    const int64_t H = call->H;
    const int states = call->shape->states;
    const weights weights = {.peepholes = (REAL *)layer_dir_param(call, 0, PEEPHOLES)};
    REAL *dh = dh_of_step(learner, grads, 0);
    for (int64_t j = 0; j < states * H; j++) {
        dh[j] = j < H;
        if (states == 2) grads->dc[j] = j >= H;
    }
    const step step = step_of_row(learner, call, &weights, grads, 0, row, 0, states);
    cell_of(&call->spec)->backward(&step);
    for (int i = 0; i < states; i++) {
        copy_or_clear(snap1->decay[i][0], call->shape->direct_dh ? grads->dh_next + i * H : NULL, H);
        if (states == 2) memcpy(snap1->decay[i][1], grads->dc + i * H, (size_t)H * sizeof(REAL));
    }
}

/* D_t += A times the diagonals of the blocks of W_hh */
LOCAL void add_diagonals(const snap1 *snap1) {
    const call *call = &snap1->learner->call;
    const int64_t H = call->H;
    EACH_PRODUCT(call, listed) {
        if (listed->matrix != WEIGHT_HH) continue;
        for (int block = 0; block < listed->rows; block++) {
            const REAL *weight = layer_dir_param(call, 0, WEIGHT_HH) + (listed->row + block) * H * H;
            for (int i = 0; i < call->shape->states; i++) {
                const REAL *a = coefficients(snap1, i) + (listed->dz + block) * H;
                for (int64_t j = 0; j < H; j++) snap1->decay[i][0][j] += a[j] * weight[j * (H + 1)];
            }
        }
    }
}

/* ---- the influence ----------------------------------------------------------------------------------- */

/* Influence of the parameters of H units, n of each: D_t times it, and A times their n operands (NULL: none). */
LOCAL void update_units(const snap1 *snap1, int64_t n, int64_t dz, const REAL *operands, REAL *h, REAL *c) {
    const call *call = &snap1->learner->call;
    influence_rows rows = {.rows = call->H, .n = n, .x = operands, .y = {h, c}};
    for (int i = 0; i < call->shape->states; i++) {
        rows.scale[i] = coefficients(snap1, i) + dz;
        for (int j = 0; j < call->shape->states; j++) rows.decay[i][j] = snap1->decay[i][j];
    }
    if (c) call->kernels->update_influence_pair(&rows);
    else call->kernels->update_influence(&rows);
}

/* The same for a single parameter of each unit; a: its derivative beside A, by part (H,) each; NULL: none. */
LOCAL void update_single(const snap1 *snap1, const REAL *const a[2], REAL *h, REAL *c) {
    REAL *const *to_h = snap1->decay[0], *const *to_c = snap1->decay[1];
    for (int64_t j = 0; j < snap1->learner->call.H; j++) {
        const REAL of_h = h[j], of_c = c ? c[j] : 0;
        h[j] = to_h[0][j] * of_h + (c ? to_h[1][j] * of_c : 0) + (a ? a[0][j] : 0);
        if (c) c[j] = to_c[0][j] * of_h + to_c[1][j] * of_c + (a ? a[1][j] : 0);
    }
}

LOCAL void update_weights(const snap1 *snap1, int64_t row, param_row h, param_row c) {
    const learner *learner = snap1->learner;
    const call *call = &learner->call;
    const int64_t H = call->H;
    const int pair = call->shape->states == 2;
    EACH_PRODUCT(call, listed) {
        const int input = listed->matrix == WEIGHT_IH;
        const int64_t n = input ? call->I : H;
        const REAL *operands = !input               ? taped_state(learner, 0, 0, row)
                               : call->spec.one_hot ? NULL
                                                    : learner->x + row * n;
        for (int block = 0; block < listed->rows; block++) {
            const int64_t at = (listed->row + block) * H * n, dz = (listed->dz + block) * H;
            REAL *of_h = layer_dir_grad(call, h.first, 0, listed->matrix) + at;
            REAL *of_c = pair ? layer_dir_grad(call, c.first, 0, listed->matrix) + at : NULL;
            update_units(snap1, n, dz, operands, of_h, of_c);
            for (int64_t j = 0; !operands && j < H; j++) { /* a column of a one_hot network */
                of_h[j * n + learner->tokens[row]] += coefficients(snap1, 0)[dz + j];
                if (pair) of_c[j * n + learner->tokens[row]] += coefficients(snap1, 1)[dz + j];
            }
        }
    }
}

LOCAL void update_biases(const snap1 *snap1, param_row h, param_row c) {
    const call *call = &snap1->learner->call;
    const int pair = call->shape->states == 2;
    for (int matrix = WEIGHT_IH; call->spec.bias && matrix <= WEIGHT_HH; matrix++)
        for (int block = 0; block < call->shape->blocks; block++) {
            const int64_t dz = dz_block_of(call, matrix, block) * call->H, at = block * call->H;
            const int bias = matrix == WEIGHT_IH ? BIAS_IH : BIAS_HH;
            const REAL *const a[2] = {coefficients(snap1, 0) + dz, coefficients(snap1, pair) + dz};
            update_single(snap1, a, layer_dir_grad(call, h.first, 0, bias) + at,
                          pair ? layer_dir_grad(call, c.first, 0, bias) + at : NULL);
        }
}

LOCAL void update_peepholes(const snap1 *snap1, int64_t row, param_row h, param_row c) {
    const learner *learner = snap1->learner;
    const call *call = &learner->call;
    REAL *const of[2] = {layer_dir_grad(call, h.first, 0, PEEPHOLES), layer_dir_grad(call, c.first, 0, PEEPHOLES)};
    for (int block = 0; block < 3; block++)
        update_single(snap1, NULL, of[0] + block * call->H, of[1] + block * call->H);
    for (int i = 0; i < 2; i++) {
        const peephole_rows rows = {.rows = 1,
                                    .H = call->H,
                                    .dz = coefficients(snap1, i),
                                    .c_prev = taped_state(learner, 1, 0, row),
                                    .c = taped_state(learner, 1, 1, row),
                                    .unit_end = call->H};
        cell_of(&call->spec)->add_peephole_grad(&rows, of[i]);
    }
}

LOCAL void update_initial_state(const snap1 *snap1, param_row h, param_row c) {
    const call *call = &snap1->learner->call;
    for (int part = 0; part < call->shape->states; part++) {
        const int tensor = part ? STATE_C0 : STATE_H0;
        update_single(snap1, NULL, network_grad(call, h.last, tensor),
                      call->shape->states == 2 ? network_grad(call, c.last, tensor) : NULL);
    }
}

/* The embedding: D_t times its influence; the row that was the input gets W_ihT A of each unit. */
LOCAL void update_table(const snap1 *snap1, int64_t row) {
    const learner *learner = snap1->learner;
    const call *call = &learner->call;
    const int64_t H = call->H, I = call->I, token = learner->tokens[row];
    const int pair = call->shape->states == 2;
    for (int64_t j = 0; j < H; j++) {
        const influence_rows rows = {
            .rows = 1,
            .n = embedding_size(call),
            .y = {table_influence(learner, row, j), pair ? table_influence(learner, row, H + j) : NULL},
            .decay = {{snap1->decay[0][0] + j, snap1->decay[0][1] + j},
                      {snap1->decay[1][0] + j, snap1->decay[1][1] + j}}};
        if (pair) call->kernels->update_influence_pair(&rows);
        else call->kernels->update_influence(&rows);
        for (int i = 0; token != call->spec.padding_row - 1 && i < call->shape->states; i++)
            EACH_PRODUCT(call, listed)
                for (int block = 0; listed->matrix == WEIGHT_IH && block < listed->rows; block++)
                    call->kernels->add_scaled(I, coefficients(snap1, i)[(listed->dz + block) * H + j],
                                              layer_dir_param(call, 0, WEIGHT_IH) + ((listed->row + block) * H + j) * I,
                                              table_influence(learner, row, i * H + j) + token * I);
    }
}

/* The influence of all rows after the step on the tape. */
LOCAL void update_influence_of_rows(const snap1 *snap1) {
    const learner *learner = snap1->learner;
    const call *call = &learner->call;
    for (int64_t row = 0; row < call->B; row++) {
        const param_row h = own_influence(learner, row, 0), c = own_influence(learner, row, 1);
        differentiate_units(snap1, row);
        add_diagonals(snap1);
        update_weights(snap1, row, h, c);
        update_biases(snap1, h, c);
        if (call->spec.peepholes) update_peepholes(snap1, row, h, c);
        if (call->spec.learn_state) update_initial_state(snap1, h, c);
        if (call->spec.num_embeddings) update_table(snap1, row);
    }
}

/* The influence on a row's state that has just been set. */
LOCAL void snap1_reset(const learner *learner, int64_t row) {
    const call *call = &learner->call;
    copy_or_clear(learner->influence + row * learner->influence_size, NULL, learner->influence_size);
    if (learner->kinds[row] != INFLUENCE_LEARNED) return;
    for (int part = 0; call->spec.learn_state && part < call->shape->states; part++) {
        REAL *ones = network_grad(call, own_influence(learner, row, part).last, part ? STATE_C0 : STATE_H0);
        for (int64_t j = 0; j < call->H; j++) ones[j] = 1;
    }
}

/* ---- backward ---------------------------------------------------------------------------------------- */

/* grads += dh J, n parameters of each unit that lie together, `blocks` times H units */
LOCAL void add_unit_grads(const snap1 *snap1, int64_t blocks, int64_t n, const REAL *influence, REAL *grads) {
    const call *call = &snap1->learner->call;
    const REAL *dh = snap1->dh;
    for (int64_t block = 0; block < blocks; block++, influence += call->H * n, grads += call->H * n)
        if (n == 1)
            for (int64_t j = 0; j < call->H; j++) grads[j] += dh[j] * influence[j];
        else
            for (int64_t j = 0; j < call->H; j++) call->kernels->add_scaled(n, dh[j], influence + j * n, grads + j * n);
}

LOCAL void add_param_grads(const snap1 *snap1, int64_t row, REAL *grads) {
    const learner *learner = snap1->learner;
    const call *call = &learner->call;
    const param_row from = own_influence(learner, row, 0);
    for (int tensor = WEIGHT_IH; tensor < LAYER_DIR_TENSORS; tensor++) {
        REAL *to = layer_dir_grad(call, grads, 0, tensor);
        const int64_t n = tensor == WEIGHT_IH ? call->I : tensor == WEIGHT_HH ? call->H : 1;
        if (to)
            add_unit_grads(snap1, tensor == PEEPHOLES ? 3 : call->shape->blocks, n,
                           layer_dir_grad(call, from.first, 0, tensor), to);
    }
    for (int tensor = STATE_H0; tensor <= STATE_C0; tensor++)
        if (network_grad(call, grads, tensor))
            add_unit_grads(snap1, 1, 1, network_grad(call, from.last, tensor), network_grad(call, grads, tensor));
    for (int64_t j = 0; call->spec.num_embeddings && j < call->H; j++)
        call->kernels->add_scaled(embedding_size(call), snap1->dh[j], table_influence(learner, row, j),
                                  network_grad(call, grads, EMBEDDING));
}

LOCAL void snap1_backward(const snap1 *snap1, const REAL *dy, REAL *grads) {
    const learner *learner = snap1->learner;
    for (int64_t row = 0; row < learner->call.B; row++) {
        if (!learner->counts[row]) continue; /* it began anew after the step */
        output_grad(learner, row, dy + row * learner->call.Y, grads, snap1->dh);
        add_param_grads(snap1, row, grads);
    }
}
#endif
