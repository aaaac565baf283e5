/* SnAp-1 (Menick et al. 2021, "Practical real time recurrent learning with a sparse approximation"): of the influence
 * matrix only the entries that a single step can fill are kept, those of each parameter for its own unit. D_t acts on
 * them by its diagonal, for an LSTM by each unit's 2 x 2 block. Biased; exact where W_hh is diagonal.
 *
 * The influence of a row: for h, and for an LSTM for c behind it, one element for each parameter but those of the
 * readout and the embedding (own_size,). Each entry of an embedding acts on all units within a step, so that nothing of
 * its influence is left out: behind these lies the matrix of the entries (state_units,V*I), on which D_t acts as in
 * RTRL.
 *
 * A step computes what of D_t is used and A = ds_t/dz_t of each unit. The influence follows later, in one pass with the
 * gradients that the step's backward adds, or else before the next step; that of the embedding at once.
 *
 * That of the weights, which are most, is written every MOST_TERMS steps only. What lies in memory is the influence
 * some steps ago, and the pass computes that of now from it: times the product of D_t of the steps since, plus the
 * product of A and its operands for each of them. */
#ifndef BPTT_FORWARD_MODE_SNAP1_H
#define BPTT_FORWARD_MODE_SNAP1_H
#include "forward_mode/row_backward.h"

typedef struct {
    learner *learner;
    state_grads grads; /* a step: of ones */
    REAL *leak;        /* a step (H,); NULL: none */
    REAL *jacobian;    /* a step, with an embedding: D_t (state_units,state_units) */
    REAL *panels;      /* with it: scratch of column_panels */
    REAL *dh;          /* backward: the gradient by h_t of a row (H,) */
} snap1;

/* A pass over the influence of a row. */
typedef struct {
    const learner *learner;
    int64_t row;
    last_steps last;
    int64_t terms;      /* their number: steps that the influence of the weights in memory lacks */
    int writes;         /* whether it takes them */
    int updates;        /* whether the influence of the other parameters takes the step on the tape */
    const REAL *dh;     /* the gradient by h_t (H,) */
    REAL *grads;        /* the gradients of the parameters, which get dh J; NULL: not wanted */
    param_row parts[2]; /* the influence on each part of the state */
} influence_pass;

LOCAL int64_t embedding_size(const call *call) { return call->spec.num_embeddings * call->I; }

/* elements of the influence on a part of the state, without that of the embedding, whose columns would be the last */
LOCAL int64_t own_size(const learner *learner) {
    return (learner->columns - embedding_size(&learner->call) + LINE - 1) / LINE * LINE;
}

LOCAL int64_t snap1_influence_size(const learner *learner) {
    return learner->call.shape->states * own_size(learner) + learner->state_units * embedding_size(&learner->call);
}

LOCAL int64_t plan_snap1(snap1 *snap1, REAL *work) {
    const call *call = &snap1->learner->call;
    arena from = arena_at(work);
    snap1->grads = alloc_state_grads(call, &from, call->shape->states, 1);
    if (bptt_internal_leaks(&call->spec)) snap1->leak = arena_alloc(&from, call->H);
    snap1->dh = arena_alloc(&from, call->H);
    if (!call->spec.num_embeddings) return from.used;
    snap1->jacobian = arena_alloc(&from, snap1->learner->state_units * snap1->learner->state_units);
    snap1->panels = arena_alloc(&from, column_panels(snap1->learner));
    return from.used;
}

/* the influence of a row on part i of its state */
LOCAL param_row own_influence(const learner *learner, int64_t row, int i) {
    return row_of_influence(learner, learner->influence + row * learner->influence_size + i * own_size(learner));
}

/* the influence of the embedding on an element of a row's state (V*I) */
LOCAL REAL *table_influence(const learner *learner, int64_t row, int64_t element) {
    const call *call = &learner->call;
    return learner->influence + row * learner->influence_size + call->shape->states * own_size(learner) +
           element * embedding_size(call);
}

/* D_t, or a product of several: of part i of the state by part j (H,) */
LOCAL REAL *decay_at(const call *call, REAL *decay, int i, int j) {
    return decay + (j * call->shape->states + i) * call->H;
}

/* A of part i of the state, of one of the last steps (dz columns) */
LOCAL REAL *slopes_at(const call *call, const last_steps *last, int64_t step, int i) {
    return last->slopes + (step * call->shape->states + i) * dz_columns(call);
}

/* ---- D_t and A --------------------------------------------------------------------------------------- */

/* By cache lines: compilers turn a loop of a constant size into vectors. */
LOCAL void fill(int64_t n, REAL value, REAL *x) {
    int64_t j = 0;
    for (; j + LINE <= n; j += LINE)
        for (int i = 0; i < LINE; i++) x[j + i] = value;
    for (; j < n; j++) x[j] = value;
}

/* A of the step on the tape, and what of D_t does not pass W_hh: the cell's backward from ones. */
LOCAL void differentiate_units(const snap1 *snap1, int64_t row, const last_steps *last, REAL *slopes) {
    const learner *learner = snap1->learner;
    const call *call = &learner->call;
    const int64_t H = call->H;
    const int states = call->shape->states;
    const weights weights = {.peepholes = (REAL *)layer_weight(learner, PEEPHOLES), .leak = snap1->leak};
    state_grads grads = snap1->grads;
    grads.dz = slopes;
    grads.leak_terms = last->leak_terms;
    grads.dh_next = last->decay;
    if (states == 2) grads.dc = last->decay + states * H;
    copy_or_clear(grads.dh_next, NULL, states * H); /* where the shape has no direct_dh it stays as it is */
    REAL *dh = dh_of_step(learner, &grads, 0);
    for (int part = 0; part < states; part++) {
        fill(H, part == 0, dh + part * H);
        if (grads.dc) fill(H, part == 1, grads.dc + part * H);
    }
    const step step = step_of_row(learner, call, &weights, &grads, 0, row, 0, states);
    cell_of(&call->spec)->backward(&step);
}

/* D_t += A times the diagonals of the blocks of W_hh */
LOCAL void add_diagonals(const learner *learner, const last_steps *last, const REAL *slopes) {
    const call *call = &learner->call;
    const int64_t H = call->H, columns = dz_columns(call);
    EACH_PRODUCT(call, listed) {
        if (listed->matrix != WEIGHT_HH) continue;
        for (int block = 0; block < listed->rows; block++) {
            const REAL *weight = layer_weight(learner, WEIGHT_HH) + (listed->row + block) * H * H;
            for (int i = 0; i < call->shape->states; i++) {
                const REAL *of_block = slopes + i * columns + (listed->dz + block) * H;
                REAL *decay = decay_at(call, last->decay, i, 0);
                for (int64_t j = 0; j < H; j++) decay[j] += of_block[j] * weight[j * (H + 1)];
            }
        }
    }
}

/* All of D_t from what of it does not pass W_hh: A times W_hh is added. */
LOCAL void fill_jacobian(const snap1 *snap1, const last_steps *last, const REAL *slopes) {
    const learner *learner = snap1->learner;
    const call *call = &learner->call;
    const int64_t H = call->H, n = learner->state_units, columns = dz_columns(call);
    const int states = call->shape->states;
    copy_or_clear(snap1->jacobian, NULL, n * n);
    for (int64_t i = 0; i < n; i++) {
        REAL *to = snap1->jacobian + i * n;
        const int64_t unit = i % H, part = i / H;
        for (int j = 0; j < states; j++) to[j * H + unit] = decay_at(call, last->decay, (int)part, j)[unit];
        EACH_PRODUCT(call, listed)
            for (int block = 0; listed->matrix == WEIGHT_HH && block < listed->rows; block++)
                call->kernels->add_scaled(H, slopes[part * columns + (listed->dz + block) * H + unit],
                                          layer_weight(learner, WEIGHT_HH) + ((listed->row + block) * H + unit) * H,
                                          to);
    }
}

/* The influence of the embedding: D_t times it, and the row that was the input gets A W_ih. */
LOCAL void step_table(const snap1 *snap1, int64_t row, const last_steps *last, const REAL *slopes) {
    const learner *learner = snap1->learner;
    const call *call = &learner->call;
    const int64_t H = call->H, I = call->I, size = embedding_size(call), token = learner->tokens[row];
    const int64_t columns = dz_columns(call);
    fill_jacobian(snap1, last, slopes);
    transform_columns(learner, snap1->jacobian, 0, size, table_influence(learner, row, 0), size, snap1->panels);
    for (int64_t i = 0; token != call->spec.padding_row - 1 && i < learner->state_units; i++)
        EACH_PRODUCT(call, listed)
            for (int block = 0; listed->matrix == WEIGHT_IH && block < listed->rows; block++)
                call->kernels->add_scaled(I, slopes[i / H * columns + (listed->dz + block) * H + i % H],
                                          layer_weight(learner, WEIGHT_IH) + ((listed->row + block) * H + i % H) * I,
                                          table_influence(learner, row, i) + token * I);
}

/* ---- the last steps ------------------------------------------------------------------------------------ */

/* The influence in memory lacks no step. */
LOCAL void clear_last_steps(const learner *learner, int64_t row) {
    const call *call = &learner->call;
    const int states = call->shape->states;
    const last_steps last = last_steps_of(learner, row);
    learner->terms[row] = 0;
    for (int i = 0; i < states; i++)
        for (int j = 0; j < states; j++) fill(call->H, i == j, decay_at(call, last.total, i, j));
}

/* D_t times a number of each unit for each part of the state; decay: a step of D_t */
LOCAL void apply_decay(const call *call, unit_step *decay, REAL *of_h, REAL *of_c) {
    decay->y[0] = of_h;
    decay->y[1] = of_c;
    call->kernels->step_units(decay);
}

/* What is kept of the steps before takes D_t. */
LOCAL void decay_last_steps(const call *call, const last_steps *last, int64_t terms) {
    const int pair = call->shape->states == 2;
    const int64_t columns = dz_columns(call);
    unit_step decay = {.states = call->shape->states, .n = call->H};
    for (int i = 0; i <= pair; i++)
        for (int j = 0; j <= pair; j++) decay.decay[i][j] = decay_at(call, last->decay, i, j);
    for (int64_t step = 0; step < terms; step++)
        for (int64_t block = 0; block < columns; block += call->H) {
            REAL *slopes = slopes_at(call, last, step, 0) + block;
            apply_decay(call, &decay, slopes, pair ? slopes + columns : NULL);
        }
    for (int j = 0; j <= pair; j++)
        apply_decay(call, &decay, decay_at(call, last->total, 0, j), pair ? decay_at(call, last->total, 1, j) : NULL);
}

LOCAL void keep_operands(const learner *learner, int64_t row, const last_steps *last, int64_t term) {
    const call *call = &learner->call;
    const int64_t I = call->I, H = call->H;
    if (last->tokens) last->tokens[term] = learner->tokens[row];
    else memcpy(last->x + term * I, learner->x + row * I, (size_t)I * sizeof(REAL));
    memcpy(last->h_prev + term * H, taped_state(learner, 0, 0, row), (size_t)H * sizeof(REAL));
}

/* The step on the tape becomes the last one of a row. */
LOCAL void take_last_step(const snap1 *snap1, int64_t row) {
    const learner *learner = snap1->learner;
    const last_steps last = last_steps_of(learner, row);
    const int64_t term = learner->terms[row]++;
    REAL *slopes = slopes_at(&learner->call, &last, term, 0);
    differentiate_units(snap1, row, &last, slopes);
    if (learner->call.spec.num_embeddings) step_table(snap1, row, &last, slopes);
    add_diagonals(learner, &last, slopes);
    decay_last_steps(&learner->call, &last, term);
    keep_operands(learner, row, &last, term);
}

/* ---- the pass over the influence ----------------------------------------------------------------------- */

/* n parameters of each of H units: h and c, the influence on either part; slopes: the place of their A; operands, of
 * all last steps: what A is multiplied by (terms,n), NULL: nothing is added; grads: theirs, NULL: not wanted. */
LOCAL void pass_units(const influence_pass *pass, int64_t n, int64_t slopes, const REAL *operands, REAL *h, REAL *c,
                      REAL *grads) {
    const call *call = &pass->learner->call;
    influence_sum sum = {.states = call->shape->states,
                         .terms = operands ? (int)pass->terms : 0,
                         .writes = pass->writes,
                         .rows = call->H,
                         .n = n,
                         .y = {h, c},
                         .weight = pass->dh,
                         .grads = grads};
    for (int k = 0; k < sum.terms; k++) sum.x[k] = operands + k * n;
    for (int i = 0; i < sum.states; i++) {
        for (int k = 0; k < sum.terms; k++) sum.scale[i][k] = slopes_at(call, &pass->last, k, i) + slopes;
        for (int j = 0; j < sum.states; j++) sum.decay[i][j] = decay_at(call, pass->last.total, i, j);
    }
    call->kernels->sum_influence(&sum);
}

/* A single parameter of each unit; h_terms, c_terms: what the step adds (H,), NULL: nothing. */
LOCAL void pass_single(const influence_pass *pass, const REAL *h_terms, const REAL *c_terms, REAL *h, REAL *c,
                       REAL *grads) {
    const call *call = &pass->learner->call;
    unit_step step = {.states = call->shape->states,
                      .n = call->H,
                      .add = {h_terms, c_terms},
                      .y = {h, c},
                      .weight = pass->dh,
                      .grads = grads};
    for (int i = 0; pass->updates && i < step.states; i++)
        for (int j = 0; j < step.states; j++) step.decay[i][j] = decay_at(call, pass->last.decay, i, j);
    call->kernels->step_units(&step);
}

/* A tensor from an element on; NULL for NULL. */
LOCAL REAL *from_element(REAL *tensor, int64_t offset) { return tensor ? tensor + offset : NULL; }

/* A one_hot network: the columns that were inputs of the last steps get A. */
LOCAL void add_columns(const influence_pass *pass, int64_t slopes, REAL *h, REAL *c, REAL *grads) {
    const call *call = &pass->learner->call;
    for (int64_t k = 0; k < pass->terms; k++) {
        const REAL *of_h = slopes_at(call, &pass->last, k, 0) + slopes;
        const REAL *of_c = c ? slopes_at(call, &pass->last, k, 1) + slopes : NULL;
        for (int64_t j = 0; j < call->H; j++) {
            const int64_t at = j * call->V + pass->last.tokens[k];
            if (pass->writes) h[at] += of_h[j];
            if (pass->writes && c) c[at] += of_c[j];
            if (grads) grads[at] += pass->dh[j] * of_h[j];
        }
    }
}

LOCAL void pass_weights(const influence_pass *pass) {
    const learner *learner = pass->learner;
    const call *call = &learner->call;
    const int64_t H = call->H;
    EACH_PRODUCT(call, listed) {
        const int input = listed->matrix == WEIGHT_IH, columns = input && call->spec.one_hot;
        const int64_t n = input ? call->I : H;
        const REAL *operands = columns ? NULL : input ? pass->last.x : pass->last.h_prev;
        for (int block = 0; block < listed->rows; block++) {
            const int64_t offset = (listed->row + block) * H * n, slopes = (listed->dz + block) * H;
            REAL *h = from_element(layer_tensor(learner, pass->parts[0].first, listed->matrix), offset);
            REAL *c = from_element(layer_tensor(learner, pass->parts[1].first, listed->matrix), offset);
            REAL *grads = from_element(layer_tensor(learner, pass->grads, listed->matrix), offset);
            pass_units(pass, n, slopes, operands, h, c, grads);
            if (columns) add_columns(pass, slopes, h, c, grads);
        }
    }
}

/* A of the step on the tape, of part i of the state; NULL where the state has no such part, or nothing is updated. */
LOCAL const REAL *slopes_of_step(const influence_pass *pass, int i) {
    const call *call = &pass->learner->call;
    return pass->updates && i < call->shape->states ? slopes_at(call, &pass->last, pass->terms - 1, i) : NULL;
}

LOCAL void pass_biases(const influence_pass *pass) {
    const learner *learner = pass->learner;
    const call *call = &learner->call;
    const REAL *of_h = slopes_of_step(pass, 0), *of_c = slopes_of_step(pass, 1);
    for (int matrix = WEIGHT_IH; call->spec.bias && matrix <= WEIGHT_HH; matrix++)
        for (int block = 0; block < call->shape->blocks; block++) {
            const int64_t dz = dz_block_of(call, matrix, block) * call->H, offset = block * call->H;
            const int bias = matrix == WEIGHT_IH ? BIAS_IH : BIAS_HH;
            pass_single(pass, of_h ? of_h + dz : NULL, of_c ? of_c + dz : NULL,
                        from_element(layer_tensor(learner, pass->parts[0].first, bias), offset),
                        from_element(layer_tensor(learner, pass->parts[1].first, bias), offset),
                        from_element(layer_tensor(learner, pass->grads, bias), offset));
        }
}

LOCAL void pass_peepholes(const influence_pass *pass) {
    const learner *learner = pass->learner;
    const call *call = &learner->call;
    REAL *const parts[2] = {layer_tensor(learner, pass->parts[0].first, PEEPHOLES),
                            layer_tensor(learner, pass->parts[1].first, PEEPHOLES)};
    REAL *grads = layer_tensor(learner, pass->grads, PEEPHOLES);
    for (int block = 0; block < 3; block++)
        pass_single(pass, NULL, NULL, from_element(parts[0], block * call->H), from_element(parts[1], block * call->H),
                    NULL);
    for (int i = 0; pass->updates && i < 2; i++) {
        const peephole_rows rows = {.rows = 1,
                                    .H = call->H,
                                    .dz = slopes_of_step(pass, i),
                                    .c_prev = taped_state(learner, 1, 0, pass->row),
                                    .c = taped_state(learner, 1, 1, pass->row),
                                    .unit_end = call->H};
        cell_of(&call->spec)->add_peephole_grad(&rows, parts[i]);
    }
    for (int64_t j = 0; grads && j < 3 * call->H; j++) grads[j] += pass->dh[j % call->H] * parts[0][j];
}

LOCAL void pass_leak(const influence_pass *pass) {
    const learner *learner = pass->learner;
    pass_single(pass, pass->last.leak_terms, NULL, layer_tensor(learner, pass->parts[0].first, LEAK), NULL,
                layer_tensor(learner, pass->grads, LEAK));
}

LOCAL void pass_initial_state(const influence_pass *pass) {
    const learner *learner = pass->learner;
    const call *call = &learner->call;
    const int two = call->shape->states == 2;
    for (int tensor = STATE_H0; tensor <= STATE_H0 + two; tensor++)
        pass_single(pass, NULL, NULL, network_tensor(learner, pass->parts[0].last, tensor),
                    network_tensor(learner, pass->parts[1].last, tensor), network_tensor(learner, pass->grads, tensor));
}

/* The embedding, whose influence has taken the step already. */
LOCAL void pass_table(const influence_pass *pass) {
    const learner *learner = pass->learner;
    const call *call = &learner->call;
    for (int64_t unit = 0; pass->grads && unit < call->H; unit++)
        call->kernels->add_scaled(embedding_size(call), pass->dh[unit], table_influence(learner, pass->row, unit),
                                  network_tensor(learner, pass->grads, EMBEDDING));
}

/* One row. */
LOCAL void pass_influence(const learner *learner, int64_t row, const REAL *dh, REAL *grads) {
    const call *call = &learner->call;
    influence_pass pass = {.learner = learner,
                           .row = row,
                           .last = last_steps_of(learner, row),
                           .terms = learner->terms[row],
                           .writes = learner->terms[row] == MOST_TERMS,
                           .updates = learner->head->pending != 0,
                           .dh = dh,
                           .grads = grads};
    for (int i = 0; i < call->shape->states; i++) pass.parts[i] = own_influence(learner, row, i);
    if (grads || pass.writes) pass_weights(&pass);
    if (pass.writes) clear_last_steps(learner, row);
    pass_biases(&pass);
    if (call->spec.peepholes) pass_peepholes(&pass);
    if (call->spec.learn_leak) pass_leak(&pass);
    if (call->spec.learn_state) pass_initial_state(&pass);
    if (call->spec.num_embeddings) pass_table(&pass);
}

/* ---- the calls --------------------------------------------------------------------------------------- */

/* The influence takes the step on the tape, if it has not: before the next step overwrites it. */
LOCAL void finish_step(const learner *learner) {
    if (!learner->head->pending) return;
    for (int64_t row = 0; row < learner->call.B; row++)
        if (learner->counts[row]) pass_influence(learner, row, NULL, NULL);
    learner->head->pending = 0;
}

/* After a step. */
LOCAL void begin_step_influence(const snap1 *snap1) {
    const learner *learner = snap1->learner;
    pack_leak(&learner->call, 0, snap1->leak);
    for (int64_t row = 0; row < learner->call.B; row++) take_last_step(snap1, row);
    learner->head->pending = 1;
}

/* The influence on a row's state that has just been set. */
LOCAL void snap1_reset(const learner *learner, int64_t row) {
    const call *call = &learner->call;
    copy_or_clear(learner->influence + row * learner->influence_size, NULL, learner->influence_size);
    clear_last_steps(learner, row);
    if (learner->kinds[row] != INFLUENCE_LEARNED) return;
    for (int part = 0; call->spec.learn_state && part < call->shape->states; part++) {
        REAL *ones = network_tensor(learner, own_influence(learner, row, part).last, part ? STATE_C0 : STATE_H0);
        fill(call->H, 1, ones);
    }
}

LOCAL void snap1_backward(const snap1 *snap1, const REAL *dy, REAL *grads) {
    const learner *learner = snap1->learner;
    for (int64_t row = 0; row < learner->call.B; row++) {
        if (!learner->counts[row]) continue; /* it began anew after the step */
        output_grad(learner, row, dy + row * learner->call.Y, grads, snap1->dh);
        pass_influence(learner, row, snap1->dh, grads);
    }
    learner->head->pending = 0;
}
#endif
