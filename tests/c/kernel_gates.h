/* Checks of the gate arithmetic of the cells, against their formulas in double, one unit at a time. */
#ifndef KERNEL_GATES_H
#define KERNEL_GATES_H
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "kernel_buffers.h"
#include "kernel_pointwise.h"
#include "kernels/kernels.h"

/* The most blocks of gates and dz of any cell, the blocks of W_hh h + b_hh and of z, and the rows of a table of z. */
enum { GATE_BLOCKS = 4, HH_BLOCKS = 3, TABLE_OF_Z = 5 };

/* n numbers between 0 and 1 */
LOCAL REAL *shares(int64_t n) {
    REAL *x = numbers(n, 1);
    for (int64_t i = 0; i < n; i++) x[i] = (REAL)fabs((double)x[i]);
    settle(x);
    return x;
}

/* A step with all inputs of any cell. row_by_row is the same step with twins for its outputs: computed one row at a
 * time, it must have the same bits. */
typedef struct {
    gate_step all_rows, row_by_row;
    int blocks;  /* of the gates and dz; one is that of a leaky cell, whose dh lies as dz does */
    int takes_z; /* it has z in place of the gradients */
} gate_case;

/* z in the gates, in a matrix of its own, or in a table whose rows are chosen by number. */
LOCAL void choose_z(gate_step *step) {
    static int64_t z_rows[3];
    const int64_t columns = HH_BLOCKS * step->H, place = any_of(3);
    step->ld_z = place ? columns + any_of(3) : GATE_BLOCKS * step->H;
    step->z = place ? matrix(place == 1 ? step->rows : TABLE_OF_Z, columns, step->ld_z, 1.5) : step->gates;
    step->z_rows = place == 2 ? z_rows : NULL;
    for (int64_t row = 0; row < step->rows; row++) z_rows[row] = any_of(TABLE_OF_Z);
}

/* distance of rows of dh */
LOCAL int64_t ld_dh(const gate_step *step, int blocks) { return blocks == 1 ? step->ld_dz : step->ld; }

/* What an LSTM leaves on the tape: o from zero to one, c until tanh(c) is one, h = o*tanh(c). */
LOCAL void relate_lstm_state(const gate_step *step) {
    static const double edges[] = {0, (double)(REAL_BITS == 32 ? FLT_MIN : DBL_MIN), 1e-30, 1};
    for (int64_t row = 0; row < step->rows; row++)
        for (int64_t j = 0; j < step->H; j++) {
            REAL *o = step->gates + (row * GATE_BLOCKS + 3) * step->H + j, *c = step->c + row * step->ld + j;
            *o = (REAL)(any_of(4) ? fabs(uniform()) : edges[any_of(4)]);
            if (!any_of(4)) *c *= 20;
            step->h[row * step->ld + j] = (REAL)((double)*o * tanh((double)*c));
        }
    settle(step->gates);
    settle(step->c);
    settle(step->h);
}

/* name: of a function in the cells' list; "": of none */
LOCAL gate_case any_gates(const char *name, int64_t rows, int64_t H, int peepholes) {
    const int takes_z = strcmp(name, "gru_forward") == 0, blocks = strncmp(name, "leaky", 5) == 0 ? 1 : GATE_BLOCKS;
    const int64_t ld_prev = H + any_of(3), ld = H + any_of(3), ld_dz = blocks * H + any_of(3);
    gate_step step = {.rows = rows,
                      .H = H,
                      .gates = numbers(rows * blocks * H, 1.5),
                      .products = numbers(rows * HH_BLOCKS * H, 1.5),
                      .h_prev = matrix(rows, H, ld_prev, 1),
                      .c_prev = matrix(rows, H, ld_prev, 1),
                      .ld_prev = ld_prev,
                      .h = matrix(rows, H, ld, 1),
                      .c = matrix(rows, H, ld, 1.5),
                      .ld = ld,
                      .peepholes = peepholes ? numbers(3 * H, 1) : NULL,
                      .leak = shares(H),
                      .activation = (int)any_of(4),
                      .adds_dh_next = (int)any_of(2),
                      .leak_terms = any_of(2) ? numbers(rows * H, 1) : NULL,
                      .dh_next = numbers(rows * H, 1),
                      .dc_next = numbers(rows * H, 1),
                      .d_operand = numbers(rows * H, 1)};
    if (takes_z) {
        choose_z(&step);
    } else {
        step.ld_dz = ld_dz;
        step.dh = matrix(rows, H, ld_dh(&step, blocks), 1);
        step.dz = matrix(rows, blocks * H, ld_dz, 1);
    }
    if (strcmp(name, "lstm_backward") == 0) relate_lstm_state(&step);
    gate_case both = {step, step, blocks, takes_z};
    both.row_by_row.gates = twin(step.gates);
    both.row_by_row.h = twin(step.h);
    both.row_by_row.c = twin(step.c);
    if (!takes_z) both.row_by_row.dz = twin(step.dz);
    if (takes_z && step.z == step.gates) both.row_by_row.z = both.row_by_row.gates;
    if (step.leak_terms) both.row_by_row.leak_terms = twin(step.leak_terms);
    both.row_by_row.dh_next = twin(step.dh_next);
    both.row_by_row.dc_next = twin(step.dc_next);
    return both;
}

LOCAL void call_row_by_row(void (*function)(const gate_step *), const gate_case *both) {
    const gate_step *step = &both->row_by_row;
    for (int64_t row = 0; row < step->rows; row++) {
        gate_step one = *step;
        one.rows = 1;
        one.gates += row * both->blocks * step->H;
        one.products += row * HH_BLOCKS * step->H;
        one.h_prev += row * step->ld_prev;
        one.c_prev += row * step->ld_prev;
        one.h += row * step->ld;
        one.c += row * step->ld;
        if (!both->takes_z) {
            one.dh += row * ld_dh(step, both->blocks);
            one.dz += row * step->ld_dz;
        } else if (one.z_rows) one.z_rows += row;
        else one.z += row * step->ld_z;
        if (one.leak_terms) one.leak_terms += row * step->H;
        one.dh_next += row * step->H;
        one.dc_next += row * step->H;
        one.d_operand += row * step->H;
        function(&one);
    }
}

/* ---- one unit: its numbers, and the places of its results ------------------------------------------------------ */

typedef struct {
    int64_t gates, h, own;             /* places: of the first gate or dz; of h and c; in arrays without padding */
    int64_t dz;                        /* that of the first dz */
    double gate[4], h_prev, c_prev, c; /* numbers before the step */
    double pi, pf, po, dh, dh_next, dc_next, d_operand, leak, product[3], z[3];
} unit;

LOCAL unit unit_at(const gate_case *both, int64_t row, int64_t j) {
    const gate_step *s = &both->all_rows;
    const int64_t H = s->H;
    unit u = {.gates = row * both->blocks * H + j, .h = row * s->ld + j, .own = row * H + j};
    if (!both->takes_z) {
        u.dz = row * s->ld_dz + j;
        u.dh = (double)s->dh[row * ld_dh(s, both->blocks) + j];
    }
    for (int g = 0; both->takes_z && g < HH_BLOCKS; g++)
        u.z[g] = (double)s->z[(s->z_rows ? s->z_rows[row] : row) * s->ld_z + g * H + j];
    for (int g = 0; g < both->blocks; g++) u.gate[g] = (double)s->gates[u.gates + g * H];
    for (int g = 0; g < 3; g++) u.product[g] = (double)s->products[(row * 3 + g) * H + j];
    u.h_prev = (double)s->h_prev[row * s->ld_prev + j];
    u.c_prev = (double)s->c_prev[row * s->ld_prev + j];
    u.c = (double)s->c[u.h];
    if (s->peepholes) {
        u.pi = (double)s->peepholes[j];
        u.pf = (double)s->peepholes[H + j];
        u.po = (double)s->peepholes[2 * H + j];
    }
    u.dh_next = (double)s->dh_next[u.own];
    u.dc_next = (double)s->dc_next[u.own];
    u.d_operand = (double)s->d_operand[u.own];
    u.leak = (double)s->leak[j];
    return u;
}

LOCAL void want_gate(const gate_step *s, const unit *u, int gate, double value) {
    want(s->gates, u->gates + gate * s->H, value, 2);
}

LOCAL void want_dz(const gate_step *s, const unit *u, int block, double value) {
    want(s->dz, u->dz + block * s->H, value, 2);
}

/* dh with the direct term through the next step, where that is not in it */
LOCAL double full_dh(const gate_step *s, const unit *u) { return u->dh + (s->adds_dh_next ? u->dh_next : 0); }

/* ---- the functions of the cells' list ----------------------------------------------------------------------- */

LOCAL void want_lstm_forward(const gate_step *s, const unit *u) {
    const double i = logistic_of(u->gate[0] + u->pi * u->c_prev), f = logistic_of(u->gate[1] + u->pf * u->c_prev);
    const double g = tanh(u->gate[2]), c = f * u->c_prev + i * g, o = logistic_of(u->gate[3] + u->po * c);
    const double gates[] = {i, f, g, o};
    for (int k = 0; k < 4; k++) want_gate(s, u, k, gates[k]);
    want(s->c, u->h, c, 2);
    want(s->h, u->h, o * tanh(c), 2);
}

LOCAL void want_lstm_backward(const gate_step *s, const unit *u) {
    const double i = u->gate[0], f = u->gate[1], g = u->gate[2], o = u->gate[3], tanh_c = tanh(u->c);
    const double dzo = u->dh * tanh_c * o * (1 - o);
    const double dc = u->dc_next + u->dh * o * (1 - tanh_c * tanh_c) + dzo * u->po;
    const double dzi = dc * g * i * (1 - i), dzf = dc * u->c_prev * f * (1 - f);
    const double dz[] = {dzi, dzf, dc * i * (1 - g * g), dzo};
    for (int k = 0; k < 4; k++) want(s->dz, u->dz + k * s->H, dz[k], 20);
    want(s->dc_next, u->own, dc * f + dzi * u->pi + dzf * u->pf, 20);
}

LOCAL void want_gru_forward(const gate_step *s, const unit *u) {
    const double r = logistic_of(u->z[0] + u->product[0]), z = logistic_of(u->z[1] + u->product[1]);
    const double n = tanh(u->z[2] + r * u->product[2]);
    want_gate(s, u, 0, r);
    want_gate(s, u, 1, z);
    want_gate(s, u, 2, n);
    want_within(s->gates, u->gates + 3 * s->H, u->product[2], 0);
    want(s->h, u->h, (1 - z) * n + z * u->h_prev, 2);
}

LOCAL void want_gru_reset_before_backward(const gate_step *s, const unit *u) {
    const double z = u->gate[1], n = u->gate[2];
    const double dh = full_dh(s, u), terms = 1 + s->adds_dh_next;
    want(s->dz, u->dz, dh * (1 - z) * (1 - n * n), 10 * terms);
    want(s->dz, u->dz + 2 * s->H, dh * (u->h_prev - n) * z * (1 - z), 10 * terms);
    want(s->dh_next, u->own, dh * z, 2 * terms);
}

LOCAL void want_gru_backward(const gate_step *s, const unit *u) {
    const double r = u->gate[0], z = u->gate[1], n = u->gate[2], q = u->gate[3];
    const double dn = full_dh(s, u) * (1 - z) * (1 - n * n);
    want_gru_reset_before_backward(s, u);
    want(s->dz, u->dz + s->H, dn * q * r * (1 - r), 40);
    want(s->dz, u->dz + 3 * s->H, dn * r, 20);
}

LOCAL void want_gru_reset_before_gates(const gate_step *s, const unit *u) {
    const double r = logistic_of(u->gate[0]);
    want_gate(s, u, 0, r);
    want_gate(s, u, 1, logistic_of(u->gate[1]));
    want_gate(s, u, 3, r * u->h_prev);
}

LOCAL void want_gru_reset_before_forward(const gate_step *s, const unit *u) {
    const double z = u->gate[1], n = tanh(u->gate[2]);
    want_gate(s, u, 2, n);
    want(s->h, u->h, (1 - z) * n + z * u->h_prev, 4);
}

LOCAL void want_gru_reset_before_operand(const gate_step *s, const unit *u) {
    const double r = u->gate[0];
    want_dz(s, u, 1, u->d_operand * u->h_prev * r * (1 - r));
    want(s->dh_next, u->own, u->dh_next + u->d_operand * r, 3);
}

LOCAL void want_leaky_forward(const gate_step *s, const unit *u) {
    want(s->h, u->h, (1 - u->leak) * u->h_prev + u->leak * u->gate[0], 4);
}

LOCAL void want_leaky_backward(const gate_step *s, const unit *u) {
    const double f = u->gate[0], dh = full_dh(s, u);
    want(s->dh_next, u->own, (1 - u->leak) * dh, 4);
    want(s->dz, u->dz, u->leak * activation_grad_of(s->activation, f) * dh, 20);
    if (s->leak_terms) want(s->leak_terms, u->own, dh * (f - u->h_prev) * u->leak * (1 - u->leak), 10);
}

/* ---- all ---------------------------------------------------------------------------------------------------- */

/* One function for each name in the cells' list: a name without formulas here does not compile. */
typedef struct {
    const char *name;
    void (*function)(const gate_step *);
    void (*want_unit)(const gate_step *, const unit *);
} gate_check;

LOCAL void check_gate(const gate_check *check, int64_t rows, int64_t H, int peepholes) {
    kernel_case("%s rows=%d H=%d peepholes %d", check->name, (int)rows, (int)H, peepholes);
    const gate_case both = any_gates(check->name, rows, H, peepholes);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t j = 0; j < H; j++) {
            const unit u = unit_at(&both, row, j);
            check->want_unit(&both.all_rows, &u);
        }
    check->function(&both.all_rows);
    call_row_by_row(check->function, &both);
    end_case();
}

LOCAL void check_gates(const kernels *table) {
#define CHECK_OF(name) {#name, table->name, want_##name},
    const gate_check checks[] = {GATE_FUNCTIONS(CHECK_OF)};
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
        for (int64_t H = 1; H <= 70; H += H < 36 ? 1 : 11)
            for (int64_t rows = 1; rows < 4; rows++) check_gate(&checks[i], rows, H, (int)(H + rows) % 2);
}
#endif
