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
 * Of the weights, which are most, this pass computes the influence of every second step without writing it: the step is
 * held, its factors and operands are kept, and the next pass takes both steps one after the other. That saves a fourth
 * of the memory that is written, and gives the same bits. */
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
    int updates;             /* whether the influence takes the step on the tape */
    const REAL *dh;          /* the gradient by h_t (H,) */
    REAL *grads;             /* the gradients of the parameters, which get dh J; NULL: not wanted */
    const REAL *decay[2][2]; /* D_t: of part i of the state by part j (H,) each */
    const REAL *slopes[2];   /* A of part i (dz columns) */
    const REAL *x, *h_prev;  /* the operands of the step */
    const REAL *held;        /* the row's held step; NULL: there is none */
    int keeps;               /* whether the step becomes the held one: the influence of the weights is not written */
    int only_held;           /* whether only weights take the step of which steps are held: not those of one_hot */
    const REAL *leak_terms;  /* of h by the parameters of a trained leak (H,) */
    param_row parts[2];      /* the influence on part i */
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

/* The factors of a step: D_t of part i of the state by part j (H,); A of part i (dz columns). */
LOCAL const REAL *decay_at(const call *call, const REAL *factors, int i, int j) {
    return factors + (i * call->shape->states + j) * call->H;
}

LOCAL const REAL *slopes_at(const call *call, const REAL *factors, int i) {
    return decay_at(call, factors, call->shape->states, 0) + i * dz_columns(call);
}

/* the same of a row's step on the tape */
LOCAL REAL *factors_of_row(const learner *learner, int64_t row) {
    return learner->units + row * units_size(&learner->call);
}

LOCAL REAL *decay_of(const learner *learner, int64_t row, int i, int j) {
    return (REAL *)decay_at(&learner->call, factors_of_row(learner, row), i, j);
}

LOCAL REAL *slopes_of(const learner *learner, int64_t row, int i) {
    return (REAL *)slopes_at(&learner->call, factors_of_row(learner, row), i);
}

/* the terms of a trained leak (H,) */
LOCAL REAL *leak_terms_of(const learner *learner, int64_t row) {
    return factors_of_row(learner, row) + factors_size(&learner->call);
}

/* a row's held step: its factors, and behind them its operands */
LOCAL REAL *held_of(const learner *learner, int64_t row) { return learner->held + row * held_size(&learner->call); }

LOCAL REAL *held_x(const call *call, const REAL *held) { return (REAL *)held + factors_size(call); }

LOCAL REAL *held_h_prev(const call *call, const REAL *held) { return (REAL *)held + held_size(call) - call->H; }

/* ---- D_t and A --------------------------------------------------------------------------------------- */

/* A, and what of D_t does not pass W_hh: the cell's backward from ones. */
LOCAL void differentiate_units(const snap1 *snap1, int64_t row) {
    const learner *learner = snap1->learner;
    const call *call = &learner->call;
    const state_grads *grads = &snap1->grads;
    const int64_t H = call->H, columns = dz_columns(call);
    const int states = call->shape->states;
    const weights weights = {.peepholes = (REAL *)layer_weight(learner, PEEPHOLES), .leak = snap1->leak};
    REAL *dh = dh_of_step(learner, grads, 0);
    for (int64_t j = 0; j < states * H; j++) {
        dh[j] = j < H;
        if (states == 2) grads->dc[j] = j >= H;
    }
    const step step = step_of_row(learner, call, &weights, grads, 0, row, 0, states);
    cell_of(&call->spec)->backward(&step);
    for (int i = 0; i < states; i++) {
        memcpy(slopes_of(learner, row, i), grads->dz + i * columns, (size_t)columns * sizeof(REAL));
        copy_or_clear(decay_of(learner, row, i, 0), call->shape->direct_dh ? grads->dh_next + i * H : NULL, H);
        if (states == 2) memcpy(decay_of(learner, row, i, 1), grads->dc + i * H, (size_t)H * sizeof(REAL));
    }
    if (grads->leak_terms) memcpy(leak_terms_of(learner, row), grads->leak_terms, (size_t)H * sizeof(REAL));
}

/* D_t += A times the diagonals of the blocks of W_hh */
LOCAL void add_diagonals(const learner *learner, int64_t row) {
    const call *call = &learner->call;
    const int64_t H = call->H;
    EACH_PRODUCT(call, listed) {
        if (listed->matrix != WEIGHT_HH) continue;
        for (int block = 0; block < listed->rows; block++) {
            const REAL *weight = layer_weight(learner, WEIGHT_HH) + (listed->row + block) * H * H;
            for (int i = 0; i < call->shape->states; i++) {
                const REAL *slopes = slopes_of(learner, row, i) + (listed->dz + block) * H;
                REAL *decay = decay_of(learner, row, i, 0);
                for (int64_t j = 0; j < H; j++) decay[j] += slopes[j] * weight[j * (H + 1)];
            }
        }
    }
}

/* All of D_t: A times W_hh, and what does not pass it. */
LOCAL void fill_jacobian(const snap1 *snap1, int64_t row) {
    const learner *learner = snap1->learner;
    const call *call = &learner->call;
    const int64_t H = call->H, n = learner->state_units;
    const int states = call->shape->states;
    copy_or_clear(snap1->jacobian, NULL, n * n);
    for (int64_t i = 0; i < n; i++) {
        REAL *to = snap1->jacobian + i * n;
        const int64_t unit = i % H, part = i / H;
        if (call->shape->direct_dh) to[unit] = snap1->grads.dh_next[i];
        if (states == 2) to[H + unit] = snap1->grads.dc[i];
        EACH_PRODUCT(call, listed)
            for (int block = 0; listed->matrix == WEIGHT_HH && block < listed->rows; block++)
                call->kernels->add_scaled(H, slopes_of(learner, row, (int)part)[(listed->dz + block) * H + unit],
                                          layer_weight(learner, WEIGHT_HH) + ((listed->row + block) * H + unit) * H,
                                          to);
    }
}

/* The influence of the embedding: D_t times it, and the row that was the input gets A W_ih. */
LOCAL void step_table(const snap1 *snap1, int64_t row) {
    const learner *learner = snap1->learner;
    const call *call = &learner->call;
    const int64_t H = call->H, I = call->I, size = embedding_size(call), token = learner->tokens[row];
    fill_jacobian(snap1, row);
    transform_columns(learner, snap1->jacobian, 0, size, table_influence(learner, row, 0), size, snap1->panels);
    for (int64_t i = 0; token != call->spec.padding_row - 1 && i < learner->state_units; i++)
        EACH_PRODUCT(call, listed)
            for (int block = 0; listed->matrix == WEIGHT_IH && block < listed->rows; block++)
                call->kernels->add_scaled(I, slopes_of(learner, row, (int)(i / H))[(listed->dz + block) * H + i % H],
                                          layer_weight(learner, WEIGHT_IH) + ((listed->row + block) * H + i % H) * I,
                                          table_influence(learner, row, i) + token * I);
}

/* ---- the pass over the influence ----------------------------------------------------------------------- */

/* What A is multiplied by in a product of the held step. */
LOCAL const REAL *held_operands(const influence_pass *pass, int input) {
    const call *call = &pass->learner->call;
    return input ? held_x(call, pass->held) : held_h_prev(call, pass->held);
}

/* n parameters of each of H units: h and c, the influence on either part; slopes: the place of their A; operands, of
 * the held step too: what A is multiplied by (n,), NULL: nothing is added, and no step is held; grads: theirs, NULL:
 * not wanted. */
LOCAL void pass_units(const influence_pass *pass, int64_t n, int64_t slopes, const REAL *operands, const REAL *held,
                      REAL *h, REAL *c, REAL *grads) {
    const call *call = &pass->learner->call;
    influence_step step = {.states = call->shape->states,
                           .rows = call->H,
                           .n = n,
                           .step = {.x = operands},
                           .held = {.x = held},
                           .keeps = pass->keeps && operands,
                           .y = {h, c},
                           .weight = pass->dh,
                           .grads = grads};
    for (int i = 0; pass->updates && i < step.states; i++) {
        step.step.scale[i] = pass->slopes[i] + slopes;
        if (held) step.held.scale[i] = slopes_at(call, pass->held, i) + slopes;
        for (int j = 0; j < step.states; j++) {
            step.step.decay[i][j] = pass->decay[i][j];
            if (held) step.held.decay[i][j] = decay_at(call, pass->held, i, j);
        }
    }
    call->kernels->step_influence(&step);
}

/* y = decay*y + slopes and grads += weight*y for `count` elements; no two arrays share memory. */
LOCAL void step_elements(int count, const REAL *restrict decay, const REAL *restrict slopes,
                         const REAL *restrict weight, REAL *restrict y, REAL *restrict grads) {
    for (int j = 0; j < count; j++) {
        y[j] = decay[j] * y[j] + slopes[j];
        grads[j] += weight[j] * y[j];
    }
}

/* A single parameter of each unit, where the state has one part, A is added and gradients are wanted: the most frequent
 * case, in groups of a constant size, which compilers turn into vectors. */
LOCAL void pass_single_part(const influence_pass *pass, const REAL *slopes, REAL *h, REAL *grads) {
    enum { GROUP = 16 };
    const int64_t H = pass->learner->call.H;
    int64_t j = 0;
    for (; j + GROUP <= H; j += GROUP)
        step_elements(GROUP, pass->decay[0][0] + j, slopes + j, pass->dh + j, h + j, grads + j);
    step_elements((int)(H - j), pass->decay[0][0] + j, slopes + j, pass->dh + j, h + j, grads + j);
}

/* A single parameter of each unit; slopes: its A, by part (H,) each; NULL: nothing is added. */
LOCAL void pass_single(const influence_pass *pass, const REAL *const slopes[2], REAL *h, REAL *c, REAL *grads) {
    const REAL *const *of_h = pass->decay[0], *const *of_c = pass->decay[1];
    const int64_t H = pass->learner->call.H;
    if (pass->updates && slopes && !c && grads) {
        pass_single_part(pass, slopes[0], h, grads);
        return;
    }
    for (int64_t j = 0; pass->updates && j < H; j++) {
        const REAL was = h[j];
        h[j] = of_h[0][j] * was + (slopes ? slopes[0][j] : 0);
        if (!c) continue;
        h[j] += of_h[1][j] * c[j];
        c[j] = of_c[0][j] * was + of_c[1][j] * c[j] + (slopes ? slopes[1][j] : 0);
    }
    for (int64_t j = 0; grads && j < H; j++) grads[j] += pass->dh[j] * h[j];
}

/* A tensor from an element on; NULL for NULL. */
LOCAL REAL *from_element(REAL *tensor, int64_t offset) { return tensor ? tensor + offset : NULL; }

/* A one_hot network: the column that was the input gets A. */
LOCAL void add_column(const influence_pass *pass, int64_t slopes, REAL *h, REAL *c, REAL *grads) {
    const learner *learner = pass->learner;
    const int64_t V = learner->call.V, token = learner->tokens[pass->row];
    for (int64_t j = 0; j < learner->call.H; j++) {
        const REAL a = pass->slopes[0][slopes + j];
        h[j * V + token] += a;
        if (c) c[j * V + token] += pass->slopes[1][slopes + j];
        if (grads) grads[j * V + token] += pass->dh[j] * a;
    }
}

LOCAL void pass_weights(const influence_pass *pass) {
    const learner *learner = pass->learner;
    const call *call = &learner->call;
    const int64_t H = call->H;
    EACH_PRODUCT(call, listed) {
        const int input = listed->matrix == WEIGHT_IH, column = input && call->spec.one_hot;
        const int64_t n = input ? call->I : H;
        if (column && pass->only_held) continue;
        const REAL *operands = column ? NULL : input ? pass->x : pass->h_prev;
        const REAL *held = operands && pass->held ? held_operands(pass, input) : NULL;
        for (int block = 0; block < listed->rows; block++) {
            const int64_t offset = (listed->row + block) * H * n, slopes = (listed->dz + block) * H;
            REAL *h = from_element(layer_tensor(learner, pass->parts[0].first, listed->matrix), offset);
            REAL *c = from_element(layer_tensor(learner, pass->parts[1].first, listed->matrix), offset);
            REAL *grads = from_element(layer_tensor(learner, pass->grads, listed->matrix), offset);
            pass_units(pass, n, slopes, operands, held, h, c, grads);
            if (column && pass->updates) add_column(pass, slopes, h, c, grads);
        }
    }
}

LOCAL void pass_biases(const influence_pass *pass) {
    const learner *learner = pass->learner;
    const call *call = &learner->call;
    for (int matrix = WEIGHT_IH; call->spec.bias && matrix <= WEIGHT_HH; matrix++)
        for (int block = 0; block < call->shape->blocks; block++) {
            const int64_t dz = dz_block_of(call, matrix, block) * call->H, offset = block * call->H;
            const int bias = matrix == WEIGHT_IH ? BIAS_IH : BIAS_HH;
            const REAL *const slopes[2] = {pass->slopes[0] + dz, pass->slopes[1] + dz};
            pass_single(pass, slopes, from_element(layer_tensor(learner, pass->parts[0].first, bias), offset),
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
        pass_single(pass, NULL, from_element(parts[0], block * call->H), from_element(parts[1], block * call->H), NULL);
    for (int i = 0; pass->updates && i < 2; i++) {
        const peephole_rows rows = {.rows = 1,
                                    .H = call->H,
                                    .dz = pass->slopes[i],
                                    .c_prev = taped_state(learner, 1, 0, pass->row),
                                    .c = taped_state(learner, 1, 1, pass->row),
                                    .unit_end = call->H};
        cell_of(&call->spec)->add_peephole_grad(&rows, parts[i]);
    }
    for (int64_t j = 0; grads && j < 3 * call->H; j++) grads[j] += pass->dh[j % call->H] * parts[0][j];
}

LOCAL void pass_leak(const influence_pass *pass) {
    const learner *learner = pass->learner;
    const REAL *const terms[2] = {pass->leak_terms, NULL};
    pass_single(pass, terms, layer_tensor(learner, pass->parts[0].first, LEAK), NULL,
                layer_tensor(learner, pass->grads, LEAK));
}

LOCAL void pass_initial_state(const influence_pass *pass) {
    const learner *learner = pass->learner;
    const call *call = &learner->call;
    const int two = call->shape->states == 2;
    for (int tensor = STATE_H0; tensor <= STATE_H0 + two; tensor++)
        pass_single(pass, NULL, network_tensor(learner, pass->parts[0].last, tensor),
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

/* A pass over the influence of a row, of a step with these factors. */
LOCAL influence_pass pass_of_step(const learner *learner, int64_t row, const REAL *factors) {
    const call *call = &learner->call;
    influence_pass pass = {.learner = learner, .row = row};
    for (int i = 0; i < call->shape->states; i++) {
        pass.parts[i] = own_influence(learner, row, i);
        pass.slopes[i] = slopes_at(call, factors, i);
        for (int j = 0; j < call->shape->states; j++) pass.decay[i][j] = decay_at(call, factors, i, j);
    }
    if (call->shape->states == 1) pass.slopes[1] = pass.slopes[0];
    return pass;
}

/* The step of a pass becomes the row's held one. */
LOCAL void hold_step(const influence_pass *pass) {
    const learner *learner = pass->learner;
    const call *call = &learner->call;
    REAL *held = held_of(learner, pass->row);
    memcpy(held, factors_of_row(learner, pass->row), (size_t)factors_size(call) * sizeof(REAL));
    if (!call->spec.one_hot) memcpy(held_x(call, held), pass->x, (size_t)call->I * sizeof(REAL));
    memcpy(held_h_prev(call, held), pass->h_prev, (size_t)call->H * sizeof(REAL));
}

/* The influence in memory takes the held step of a row, if there is one. */
LOCAL void release_held_step(const learner *learner, int64_t row) {
    const call *call = &learner->call;
    const REAL *held = held_of(learner, row);
    if (!learner->holds[row]) return;
    influence_pass pass = pass_of_step(learner, row, held);
    pass.updates = pass.only_held = 1;
    pass.x = held_x(call, held);
    pass.h_prev = held_h_prev(call, held);
    pass_weights(&pass);
    learner->holds[row] = 0;
}

/* One row. */
LOCAL void pass_influence(const learner *learner, int64_t row, const REAL *dh, REAL *grads) {
    const call *call = &learner->call;
    const int updates = learner->head->pending != 0, may_hold = updates && grads;
    if (!may_hold) release_held_step(learner, row);
    influence_pass pass = pass_of_step(learner, row, factors_of_row(learner, row));
    pass.updates = updates;
    pass.dh = dh;
    pass.grads = grads;
    pass.x = learner->x + row * call->I;
    pass.h_prev = taped_state(learner, 0, 0, row);
    pass.leak_terms = leak_terms_of(learner, row);
    pass.held = learner->holds[row] ? held_of(learner, row) : NULL;
    pass.keeps = may_hold && !pass.held;
    pass_weights(&pass);
    if (pass.keeps) hold_step(&pass);
    learner->holds[row] = pass.keeps;
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

/* After a step: D_t and A of all rows. */
LOCAL void begin_step_influence(const snap1 *snap1) {
    const learner *learner = snap1->learner;
    pack_leak(&learner->call, 0, snap1->leak);
    for (int64_t row = 0; row < learner->call.B; row++) {
        differentiate_units(snap1, row);
        add_diagonals(learner, row);
        if (learner->call.spec.num_embeddings) step_table(snap1, row);
    }
    learner->head->pending = 1;
}

/* The influence on a row's state that has just been set. */
LOCAL void snap1_reset(const learner *learner, int64_t row) {
    const call *call = &learner->call;
    copy_or_clear(learner->influence + row * learner->influence_size, NULL, learner->influence_size);
    learner->holds[row] = 0;
    if (learner->kinds[row] != INFLUENCE_LEARNED) return;
    for (int part = 0; call->spec.learn_state && part < call->shape->states; part++) {
        REAL *ones = network_tensor(learner, own_influence(learner, row, part).last, part ? STATE_C0 : STATE_H0);
        for (int64_t j = 0; j < call->H; j++) ones[j] = 1;
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
