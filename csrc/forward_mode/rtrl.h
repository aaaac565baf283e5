/* Real-time recurrent learning (Williams & Zipser 1989): the influence matrix J_t = ds_t/dtheta = D_t J_{t-1} + I_t of
 * each row, and the gradient dl_t/dtheta = (dl_t/ds_t) J_t of each step's loss.
 *
 * J is not multiplied by D at every step. The matrix in memory is that of the state that enters the tape; backward goes
 * from dl_t/ds_t back over the steps of the tape and multiplies what arrives there by J. When the tape is full its
 * steps are folded into J: the rows of the identity go back over them together, which gives M = D_t ... D_{t-S+1} and
 * the terms that are added to M J (Schmidhuber 1992). So the product that costs states^2 * P, which bounds RTRL, comes
 * once in S steps; the gradients are the same. */
#ifndef BPTT_FORWARD_MODE_RTRL_H
#define BPTT_FORWARD_MODE_RTRL_H
#include "forward_mode/row_backward.h"

enum {
    LEARNER_TASKS = 8,  /* of a run, at most: each has scratch of its own */
    SUM_COLUMNS = 1024, /* of J that are summed at a time: the sums stay in L1 */
    READ_FLOPS = 8      /* flops in the time that an element of J takes to come from memory */
};

/* A call on a learner, and its scratch. */
typedef struct {
    learner *learner;
    state_grads grads; /* of the identity, or of a loss */
    REAL *transition;  /* M (state_units,state_units), rows of it are gradients */
    REAL *panels;      /* of each task: FOLD_COLUMNS columns of J */
    REAL *row_scratch; /* of each task: row_grads_scratch */
    const REAL *dy;    /* backward: (B,Y) */
    REAL *state_grad;  /* backward: gradient by the state that entered the tape, of each row (B,state_units) */
    REAL *to;          /* backward: the gradients of the parameters (P,) */
    int64_t row;       /* fold: the row of the batch */
    int tasks;
} rtrl;

LOCAL REAL *influence_of(const learner *learner, int64_t row) {
    return learner->influence + row * learner->influence_size;
}

/* Scratch of the fold, and of backward, which take the same memory in turn. */
LOCAL int64_t plan_rtrl(rtrl *rtrl, REAL *work, int backward) {
    learner *learner = rtrl->learner;
    const call *call = &learner->call;
    arena from = arena_at(work);
    const int64_t rows = backward ? 1 : learner->state_units;
    rtrl->grads = alloc_state_grads(call, &from, rows, learner->span);
    rtrl->transition = arena_alloc(&from, rows * learner->state_units);
    rtrl->row_scratch = arena_alloc(&from, row_grads_scratch(call) * LEARNER_TASKS);
    rtrl->panels = arena_alloc(&from, backward ? 0 : column_panels(learner) * LEARNER_TASKS);
    rtrl->state_grad = arena_alloc(&from, backward ? call->B * learner->state_units : 0);
    return from.used;
}

/* The part of `total` that a task has, in multiples of `quantum`. */
LOCAL void task_share(const rtrl *rtrl, int task, int64_t total, int64_t quantum, int64_t *begin, int64_t *end) {
    const bptt_internal_member part = {.rank = task, .size = rtrl->tasks};
    bptt_internal_share(&part, total, quantum, begin, end);
}

LOCAL void run_tasks(rtrl *rtrl, double flops, bptt_internal_task *task) {
    const call *call = &rtrl->learner->call;
    rtrl->tasks = useful_threads(call, flops, 0, LEARNER_TASKS);
    bptt_internal_team_tasks(call->options.team, rtrl->tasks, rtrl->tasks, task, NULL, rtrl);
}

/* ---- the fold ---------------------------------------------------------------------------------------- */

/* Rows of the identity go back over the row's steps. */
LOCAL void transition_task(void *context, const bptt_internal_member *member, int task) {
    rtrl *rtrl = context;
    const learner *learner = rtrl->learner;
    const int64_t H = learner->call.H, n = learner->state_units, last = learner->head->steps - 1;
    int64_t begin, end;
    (void)member;
    task_share(rtrl, task, n, LINE, &begin, &end);
    if (begin == end) return;
    REAL *dh = dh_of_step(learner, &rtrl->grads, last), *dc = rtrl->grads.dc;
    for (int64_t i = begin; i < end; i++) {
        copy_or_clear(dh + i * H, NULL, H);
        if (n > H) copy_or_clear(dc + i * H, NULL, H);
        (i < H ? dh : dc)[i * H + i % H] = 1;
    }
    go_back(learner, rtrl->row, &rtrl->grads, begin, end);
    copy_rows(end - begin, H, rtrl->grads.dh + begin * H, H, rtrl->transition + begin * n, n);
    if (n > H) copy_rows(end - begin, H, dc + begin * H, H, rtrl->transition + begin * n + H, n);
}

/* Columns of J become those of M J. */
LOCAL void influence_task(void *context, const bptt_internal_member *member, int task) {
    const rtrl *rtrl = context;
    const learner *learner = rtrl->learner;
    int64_t begin, end;
    (void)member;
    task_share(rtrl, task, learner->columns, FOLD_COLUMNS, &begin, &end);
    transform_columns(learner, rtrl->transition, begin, end, influence_of(learner, rtrl->row), learner->ld,
                      rtrl->panels + task * column_panels(learner));
}

/* Rows of M J of a row whose influence before the tape is the identity for its learned initial state, or zero. */
LOCAL void begin_influence(const rtrl *rtrl, int64_t begin, int64_t end) {
    const learner *learner = rtrl->learner;
    const call *call = &learner->call;
    const int64_t H = call->H, n = learner->state_units, ld = learner->ld;
    for (int64_t i = begin; i < end; i++) {
        REAL *row = influence_of(learner, rtrl->row) + i * ld;
        copy_or_clear(row, NULL, ld);
        if (!call->spec.learn_state || learner->kinds[rtrl->row] != INFLUENCE_LEARNED) continue;
        for (int part = 0; part < call->shape->states; part++)
            copy_or_clear(network_tensor(learner, row_of_influence(learner, row).last, part ? STATE_C0 : STATE_H0),
                          rtrl->transition + i * n + part * H, H);
    }
}

/* Rows of J get what the tape adds. */
LOCAL void addition_task(void *context, const bptt_internal_member *member, int task) {
    const rtrl *rtrl = context;
    const learner *learner = rtrl->learner;
    int64_t begin, end;
    (void)member;
    task_share(rtrl, task, learner->state_units, 1, &begin, &end);
    if (learner->kinds[rtrl->row] != INFLUENCE_HELD) begin_influence(rtrl, begin, end);
    for (int64_t i = begin; i < end; i++) {
        const row_dz dz = dz_of_row(learner, &rtrl->grads, rtrl->row, i);
        add_row_grads(learner, &dz, rtrl->row_scratch + task * row_grads_scratch(&learner->call),
                      row_of_influence(learner, influence_of(learner, rtrl->row) + i * learner->ld));
    }
}

/* Folds the tape into the influence of all rows: it is empty afterwards. */
LOCAL void fold(rtrl *rtrl) {
    learner *learner = rtrl->learner;
    const double n = (double)learner->state_units, columns = (double)learner->columns;
    for (rtrl->row = 0; rtrl->row < learner->call.B; rtrl->row++) {
        const double steps = (double)learner->counts[rtrl->row];
        if (steps == 0) continue; /* J is that of the state as it is */
        run_tasks(rtrl, 2 * n * n * steps * (double)dz_columns(&learner->call), transition_task);
        if (learner->kinds[rtrl->row] == INFLUENCE_HELD) run_tasks(rtrl, 2 * n * n * columns, influence_task);
        run_tasks(rtrl, 2 * n * steps * columns, addition_task);
        learner->kinds[rtrl->row] = INFLUENCE_HELD;
        learner->counts[rtrl->row] = 0;
    }
    learner->head->steps = 0;
}

/* ---- backward ---------------------------------------------------------------------------------------- */

/* A row's gradients from its steps on the tape; its state_grad for what came before them. */
LOCAL void back_over_tape(rtrl *rtrl, int64_t row) {
    const learner *learner = rtrl->learner;
    const call *call = &learner->call;
    const int64_t H = call->H, last = learner->head->steps - 1;
    state_grads *grads = &rtrl->grads;
    REAL *state_grad = rtrl->state_grad + row * learner->state_units;
    output_grad(learner, row, rtrl->dy + row * call->Y, rtrl->to, dh_of_step(learner, grads, last));
    if (grads->dc) copy_or_clear(grads->dc, NULL, H);
    go_back(learner, row, grads, 0, 1);
    const row_dz dz = dz_of_row(learner, grads, row, 0);
    add_row_grads(learner, &dz, rtrl->row_scratch, (param_row){rtrl->to, rtrl->to});
    copy_or_clear(state_grad, grads->dh, H);
    if (grads->dc) copy_or_clear(state_grad + H, grads->dc, H);
}

/* sums (n,) += u J, for n columns of a row's J from `column` on */
LOCAL void add_influence(const rtrl *rtrl, int64_t row, int64_t column, int64_t n, REAL *sums) {
    const learner *learner = rtrl->learner;
    const REAL *u = rtrl->state_grad + row * learner->state_units, *influence = influence_of(learner, row) + column;
    for (int64_t i = 0; i < learner->state_units; i++, influence += learner->ld)
        learner->call.kernels->add_scaled(n, u[i], influence, sums);
}

/* Gradients of some parameters through the influence of all rows. */
LOCAL void gradient_task(void *context, const bptt_internal_member *member, int task) {
    const rtrl *rtrl = context;
    const learner *learner = rtrl->learner;
    const call *call = &learner->call;
    REAL sums[SUM_COLUMNS];
    int64_t begin, end;
    (void)member;
    task_share(rtrl, task, learner->columns, SUM_COLUMNS, &begin, &end);
    for (int64_t j = begin; j < end; j += SUM_COLUMNS) {
        const int64_t n = min_of(SUM_COLUMNS, end - j), before = min_of(n, max_of(0, learner->readout_begin - j));
        copy_or_clear(sums, NULL, n);
        for (int64_t row = 0; row < call->B; row++)
            if (learner->counts[row] && learner->kinds[row] == INFLUENCE_HELD) add_influence(rtrl, row, j, n, sums);
        call->kernels->add_scaled(before, 1, sums, rtrl->to + j);
        call->kernels->add_scaled(n - before, 1, sums + before, rtrl->to + learner->readout + j + before);
    }
}

/* Rows that began on the tape from the learned initial state. */
LOCAL void add_initial_state_grads(const rtrl *rtrl) {
    const learner *learner = rtrl->learner;
    const call *call = &learner->call;
    for (int64_t row = 0; call->spec.learn_state && row < call->B; row++)
        for (int part = 0; part < call->shape->states; part++)
            if (learner->counts[row] && learner->kinds[row] == INFLUENCE_LEARNED)
                call->kernels->add_scaled(call->H, 1, rtrl->state_grad + row * learner->state_units + part * call->H,
                                          network_tensor(learner, rtrl->to, part ? STATE_C0 : STATE_H0));
}

LOCAL void rtrl_backward(rtrl *rtrl) {
    const learner *learner = rtrl->learner;
    int64_t held = 0;
    for (int64_t row = 0; row < learner->call.B; row++) {
        if (!learner->counts[row]) continue; /* it began anew after the step */
        back_over_tape(rtrl, row);
        held += learner->kinds[row] == INFLUENCE_HELD;
    }
    add_initial_state_grads(rtrl);
    if (held)
        run_tasks(rtrl, READ_FLOPS * (double)held * (double)learner->state_units * (double)learner->columns,
                  gradient_task);
}
#endif
