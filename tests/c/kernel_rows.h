/* Checks of the functions for a batch of one, which compute a step's products and its gates, against the same formulas
 * in double as the gate arithmetic. */
#ifndef KERNEL_ROWS_H
#define KERNEL_ROWS_H
#include <math.h>
#include <stdint.h>

#include "bptt.h"
#include "check.h"
#include "kernel_buffers.h"
#include "kernel_gates.h"
#include "kernel_products.h"
#include "kernels/kernels.h"

/* A matrix in unit panels, and as it was. */
typedef struct {
    const REAL *panels, *w;
    int64_t row_stride, col_stride, k;
} row_matrix;

/* (n,k) in panels of so many gates; elements are small, so that sums stay near the linear part of the gates */
LOCAL row_matrix any_row_matrix(const kernels *table, int gates, int64_t n, int64_t k) {
    row_matrix m = {.k = k};
    REAL *w, *panels = packed(table, k, n, 1, gates, &w, &m.row_stride, &m.col_stride);
    for (int64_t j = 0; j < n; j++)
        for (int64_t r = 0; r < k; r++) w[r * m.row_stride + j * m.col_stride] *= (REAL).05;
    settle(w);
    table->pack_units(gates, n / gates, k, w, m.col_stride, m.row_stride, panels);
    settle(panels);
    m.panels = panels;
    m.w = w;
    return m;
}

/* row j of the matrix times a */
LOCAL double row_sum(const row_matrix *m, int64_t j, const REAL *a) {
    double sum = 0;
    for (int64_t r = 0; r < m->k; r++) sum += (double)m->w[r * m->row_stride + j * m->col_stride] * (double)a[r];
    return sum;
}

/* ---- forward --------------------------------------------------------------------------------------------------- */

/* The inputs of a forward step: W_ih x + bias, from x or given, and the products of W_hh. */
typedef struct {
    row_step row;
    row_matrix ih, hh[2];
} row_case;

LOCAL row_case any_row(const kernels *table, const gate_step *step, int blocks, int recurrent, int64_t I, int given) {
    const int64_t H = step->H;
    row_case c = {.row = {.step = *step, .I = I, .operand = numbers(H, 1), .hh_bias = numbers(blocks * H, 1)}};
    c.ih = any_row_matrix(table, blocks, blocks * H, I);
    c.hh[0] = any_row_matrix(table, recurrent, recurrent * H, H);
    c.hh[1] = any_row_matrix(table, 1, H, H);
    c.row.inputs = c.ih.panels;
    c.row.recurrent[0] = c.hh[0].panels;
    c.row.recurrent[1] = c.hh[1].panels;
    c.row.input_bias = numbers(blocks * H, 1);
    if (given) c.row.z = numbers(blocks * H, 1);
    else c.row.x = numbers(I, 1);
    c.row.reverse_panels = (int)any_of(2);
    return c;
}

/* (W_ih x + bias) of a row of W_ih */
LOCAL double input_sum(const row_case *c, int64_t j) {
    if (!c->row.x) return (double)c->row.z[j];
    return (double)c->row.input_bias[j] + row_sum(&c->ih, j, c->row.x);
}

LOCAL void want_lstm_row(const row_case *c, unit *u, int64_t j) {
    const int64_t H = c->row.step.H;
    for (int g = 0; g < 4; g++) u->gate[g] = input_sum(c, g * H + j) + row_sum(&c->hh[0], g * H + j, c->row.operand);
    want_lstm_forward(&c->row.step, u);
}

LOCAL void want_gru_row(const row_case *c, unit *u, int64_t j) {
    const int64_t H = c->row.step.H;
    for (int g = 0; g < 3; g++) {
        u->gate[g] = input_sum(c, g * H + j);
        u->product[g] = (double)c->row.hh_bias[g * H + j] + row_sum(&c->hh[0], g * H + j, c->row.operand);
    }
    want_gru_forward(&c->row.step, u);
    want_gate(&c->row.step, u, 3, u->product[2]);
}

LOCAL void want_gru_reset_before_row(const row_case *c, unit *u, int64_t j) {
    const gate_step *s = &c->row.step;
    const int64_t H = s->H;
    double n = input_sum(c, 2 * H + j);
    for (int64_t i = 0; i < H; i++) {
        const double r = logistic_of(input_sum(c, i) + row_sum(&c->hh[0], i, c->row.operand));
        const double w = (double)c->hh[1].w[i * c->hh[1].row_stride + j * c->hh[1].col_stride];
        n += w * r * (double)c->row.operand[i];
        if (i != j) continue;
        want_gate(s, u, 0, r);
        want_gate(s, u, 3, r * (double)c->row.operand[i]);
    }
    const double z = logistic_of(input_sum(c, H + j) + row_sum(&c->hh[0], H + j, c->row.operand));
    want_gate(s, u, 1, z);
    want_gate(s, u, 2, tanh(n));
    want(s->h, u->h, (1 - z) * tanh(n) + z * u->h_prev, 4);
}

/* Each function with x and with z, and with gates that are not wanted: h and c have the same bits then. */
typedef struct {
    const char *name;
    void (*function)(const row_step *);
    void (*want_unit)(const row_case *, unit *, int64_t j);
    int blocks, recurrent, needs_gates;
} row_check;

LOCAL void check_row(const kernels *table, const row_check *check, int64_t I, int64_t H, int given, int peepholes) {
    kernel_case("%s I=%d H=%d given %d peepholes %d", check->name, (int)I, (int)H, given, peepholes);
    const gate_case both = any_gates(1, H, peepholes);
    const row_case c = any_row(table, &both.all_rows, check->blocks, check->recurrent, I, given);
    for (int64_t j = 0; j < H; j++) {
        unit u = unit_at(&both.all_rows, 0, j);
        check->want_unit(&c, &u, j);
    }
    row_step other = c.row;
    other.step = both.row_by_row;
    other.reverse_panels = !c.row.reverse_panels;
    const int without = !check->needs_gates && any_of(2);
    if (without) {
        buffer_of_data(other.step.gates)->same_as = NULL;
        settle(other.step.gates);
        other.step.gates = NULL;
    }
    check->function(&c.row);
    check->function(&other);
    end_case();
}

LOCAL void check_vanilla_row(const kernels *table, int64_t I, int64_t H, int given, int activation) {
    kernel_case("vanilla_row I=%d H=%d given %d activation %d", (int)I, (int)H, given, activation);
    gate_step step = {.rows = 1, .H = H, .h = numbers(H, 1), .ld = H};
    row_case c = any_row(table, &step, 1, 1, I, given);
    c.row.activation = activation;
    for (int64_t j = 0; j < H; j++)
        want(step.h, j, activation_of(activation, input_sum(&c, j) + row_sum(&c.hh[0], j, c.row.operand)), 3);
    table->vanilla_row(&c.row);
    end_case();
}

/* ---- backward -------------------------------------------------------------------------------------------------- */

/* dh of unit j with what comes from dz_next, of which `k` elements from `from` on are multiplied */
LOCAL double full_dh(const row_matrix *m, const unit *u, int64_t j, const REAL *dz_next, int direct) {
    return u->dh + (direct ? u->dh_next : 0) + row_sum(m, j, dz_next);
}

LOCAL void check_row_backward(const kernels *table, int cell, int64_t H) {
    static const char *const names[] = {"lstm", "gru", "gru_reset_before"};
    static const int blocks[] = {4, 3, 2}; /* of dz_next that W_hh multiplies */
    kernel_case("%s_row_backward H=%d", names[cell], (int)H);
    const gate_case both = any_gates(1, H, cell == 0 && any_of(2));
    const gate_step *s = &both.all_rows;
    const row_matrix of_state = any_row_matrix(table, 1, H, blocks[cell] * H), of_n = any_row_matrix(table, 1, H, H);
    const REAL *dz_next = numbers(4 * H, .5);
    row_step row = {.step = *s, .recurrent = {of_state.panels, of_n.panels}, .operand = dz_next};
    row.reverse_panels = (int)any_of(2);
    double *dn = checked_malloc(H * (int64_t)sizeof(double));
    for (int64_t j = 0; j < H; j++) {
        unit u = unit_at(s, 0, j);
        u.dh = full_dh(&of_state, &u, j, dz_next + (cell ? H : 0), cell > 0);
        dn[j] = u.dh * (1 - u.gate[1]) * (1 - u.gate[2] * u.gate[2]);
        if (cell == 0) want_lstm_backward(s, &u);
        if (cell == 1) want_gru_backward(s, &u);
        if (cell == 2) want_gru_reset_before_backward(s, &u);
    }
    for (int64_t j = 0; j < H && cell == 2; j++) {
        unit u = unit_at(s, 0, j);
        u.dh_next = u.gate[1] * full_dh(&of_state, &u, j, dz_next + H, 1);
        u.d_operand = 0;
        for (int64_t i = 0; i < H; i++)
            u.d_operand += dn[i] * (double)of_n.w[i * of_n.row_stride + j * of_n.col_stride];
        want_gru_reset_before_operand(s, &u);
    }
    void (*const functions[])(const row_step *) = {table->lstm_row_backward, table->gru_row_backward,
                                                   table->gru_reset_before_row_backward};
    functions[cell](&row);
    row.step = both.row_by_row;
    row.reverse_panels = !row.reverse_panels;
    functions[cell](&row);
    free(dn);
    end_case();
}

LOCAL void check_vanilla_row_backward(const kernels *table, int64_t H, int activation) {
    kernel_case("vanilla_row_backward H=%d activation %d", (int)H, activation);
    const gate_step step = {.rows = 1, .H = H, .h = numbers(H, 1), .dh = numbers(H, 1), .dz = numbers(H, 1)};
    const row_matrix m = any_row_matrix(table, 1, H, H);
    const row_step row = {
        .step = step, .recurrent = {m.panels}, .operand = numbers(H, 1), .activation = activation, .reverse_panels = 1};
    for (int64_t j = 0; j < H; j++) {
        const double h = (double)step.h[j], grad = activation_grad_of(activation, h);
        const double sum = (double)step.dh[j] + row_sum(&m, j, row.operand);
        want(step.dz, j, activation == BPTT_CELL_RELU && !(h > 0) ? grad : grad * sum, 4);
    }
    table->vanilla_row_backward(&row);
    end_case();
}

/* ---- all ------------------------------------------------------------------------------------------------------- */

LOCAL void check_rows(const kernels *table) {
    const row_check checks[] = {
        {"lstm_row", table->lstm_row, want_lstm_row, 4, 4, 0},
        {"gru_row", table->gru_row, want_gru_row, 3, 3, 0},
        {"gru_reset_before_row", table->gru_reset_before_row, want_gru_reset_before_row, 3, 2, 1}};
    for (int64_t H = 1; H <= 83; H += H < 36 ? 1 : 9) {
        const int given = (int)any_of(2);
        for (int i = 0; i < 3; i++) check_row(table, &checks[i], 1 + any_of(20), H, given, (int)any_of(2));
        check_vanilla_row(table, 1 + any_of(20), H, given, (int)(H % 4));
        for (int cell = 0; cell < 3; cell++) check_row_backward(table, cell, H);
        check_vanilla_row_backward(table, H, (int)(H % 4));
    }
}
#endif
