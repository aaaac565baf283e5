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
    const REAL *input_bias, *hh_bias; /* (G*H), as they were before packing */
} row_case;

LOCAL row_case any_row(const kernels *table, const gate_step *step, int blocks, int recurrent, int64_t I, int given) {
    const int64_t H = step->H;
    row_case c = {.row = {.step = *step, .I = I, .operand = numbers(H, 1)}};
    c.ih = any_row_matrix(table, blocks, blocks * H, I);
    c.hh[0] = any_row_matrix(table, recurrent, recurrent * H, H);
    c.hh[1] = any_row_matrix(table, 1, H, H);
    c.row.inputs = c.ih.panels;
    c.row.recurrent[0] = c.hh[0].panels;
    c.row.recurrent[1] = c.hh[1].panels;
    c.row.input_bias = packed_bias(table, blocks, H, &c.input_bias);
    c.row.hh_bias = packed_bias(table, blocks, H, &c.hh_bias);
    if (given) c.row.z = numbers(blocks * H, 1);
    else c.row.x = numbers(I, 1);
    c.row.reverse_panels = (int)any_of(2);
    return c;
}

/* (W_ih x + bias) of a row of W_ih */
LOCAL double input_sum(const row_case *c, int64_t j) {
    if (!c->row.x) return (double)c->row.z[j];
    return (double)c->input_bias[j] + row_sum(&c->ih, j, c->row.x);
}

LOCAL void want_lstm_row(const row_case *c, unit *u, int64_t j) {
    const int64_t H = c->row.step.H;
    for (int g = 0; g < 4; g++) u->gate[g] = input_sum(c, g * H + j) + row_sum(&c->hh[0], g * H + j, c->row.operand);
    want_lstm_forward(&c->row.step, u);
}

LOCAL void want_gru_row(const row_case *c, unit *u, int64_t j) {
    const int64_t H = c->row.step.H;
    for (int g = 0; g < 3; g++) {
        u->z[g] = input_sum(c, g * H + j);
        u->product[g] = (double)c->hh_bias[g * H + j] + row_sum(&c->hh[0], g * H + j, c->row.operand);
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
    const gate_case both = any_gates("", 1, H, peepholes);
    const row_case c = any_row(table, &both.all_rows, check->blocks, check->recurrent, I, given);
    for (int64_t j = 0; j < H; j++) {
        unit u = unit_at(&both, 0, j);
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
    table->rows[vanilla_row_number](&c.row);
    end_case();
}

LOCAL void check_leaky_row(const kernels *table, int64_t I, int64_t H, int given, int activation) {
    const int gates = (int)(H % 3 == 0);
    kernel_case("leaky_row I=%d H=%d given %d activation %d gates %d", (int)I, (int)H, given, activation, gates);
    gate_step step = {.rows = 1, .H = H, .h = numbers(H, 1), .gates = gates ? numbers(H, 1) : NULL, .leak = shares(H)};
    row_case c = any_row(table, &step, 1, 1, I, given);
    const REAL *h_prev = c.row.step.h_prev = numbers(H, 1);
    c.row.activation = activation;
    for (int64_t j = 0; j < H; j++) {
        const double f = activation_of(activation, input_sum(&c, j) + row_sum(&c.hh[0], j, c.row.operand));
        const double leak = (double)step.leak[j];
        if (gates) want(step.gates, j, f, 3);
        want(step.h, j, (1 - leak) * (double)h_prev[j] + leak * f, 4);
    }
    table->rows[leaky_row_number](&c.row);
    end_case();
}

/* ---- a state that is replaced --------------------------------------------------------------------------------- */

/* A function whose h, and c where it has one, replaces the state that enters the step. */
typedef struct {
    const char *name;
    void (*function)(const row_step *);
    int states, blocks, recurrent, needs_gates;
} replacing_check;

LOCAL void want_anything(const REAL *data, int64_t n) {
    for (int64_t i = 0; i < n; i++) want_within(data, i, 0, INFINITY);
}

/* The bits are those of a step whose results lie elsewhere. */
LOCAL void check_replaced_state(const kernels *table, const replacing_check *check, int64_t H) {
    kernel_case("%s H=%d in place", check->name, (int)H);
    const gate_case both = any_gates("", 1, H, (int)any_of(2));
    row_step apart = any_row(table, &both.all_rows, check->blocks, check->recurrent, 1 + any_of(5), 0).row;
    row_step in_place = apart;
    apart.step.h_prev = apart.operand;
    in_place.step = both.row_by_row;
    in_place.step.h_prev = in_place.operand = in_place.step.h;
    in_place.scratch = scratch(H);
    memcpy(in_place.step.h, apart.operand, (size_t)H * sizeof(REAL));
    settle(in_place.step.h);
    want_anything(apart.step.h, H);
    if (check->states == 2) {
        in_place.step.c_prev = in_place.step.c;
        memcpy(in_place.step.c, apart.step.c_prev, (size_t)H * sizeof(REAL));
        settle(in_place.step.c);
        want_anything(apart.step.c, H);
    }
    if (check->needs_gates) want_anything(apart.step.gates, GATE_BLOCKS * H);
    else apart.step.gates = in_place.step.gates = NULL;
    check->function(&apart);
    check->function(&in_place);
    end_case();
}

LOCAL void check_replaced_states(const kernels *table) {
    const replacing_check checks[] = {{"vanilla_row", table->rows[vanilla_row_number], 1, 1, 1, 0},
                                      {"leaky_row", table->rows[leaky_row_number], 1, 1, 1, 0},
                                      {"lstm_row", table->rows[lstm_row_number], 2, 4, 4, 0},
                                      {"gru_row", table->rows[gru_row_number], 1, 3, 3, 0},
                                      {"gru_reset_before_row", table->rows[gru_reset_before_row_number], 1, 3, 2, 1}};
    for (int64_t H = 1; H <= 83; H += H < 36 ? 1 : 9)
        for (int i = 0; i < 5; i++) check_replaced_state(table, &checks[i], H);
}

/* ---- all ------------------------------------------------------------------------------------------------------- */

LOCAL void check_rows(const kernels *table) {
    const row_check checks[] = {
        {"lstm_row", table->rows[lstm_row_number], want_lstm_row, 4, 4, 0},
        {"gru_row", table->rows[gru_row_number], want_gru_row, 3, 3, 0},
        {"gru_reset_before_row", table->rows[gru_reset_before_row_number], want_gru_reset_before_row, 3, 2, 1}};
    for (int64_t H = 1; H <= 83; H += H < 36 ? 1 : 9) {
        const int given = (int)any_of(2);
        for (int i = 0; i < 3; i++) check_row(table, &checks[i], 1 + any_of(20), H, given, (int)any_of(2));
        check_vanilla_row(table, 1 + any_of(20), H, given, (int)(H % 4));
        check_leaky_row(table, 1 + any_of(20), H, given, (int)(H % 4));
    }
    check_replaced_states(table);
}
#endif
