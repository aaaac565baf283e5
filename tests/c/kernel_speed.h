/* The speed of each entry of a table. */
#ifndef KERNEL_SPEED_H
#define KERNEL_SPEED_H
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "bptt.h"
#include "kernel_buffers.h"
#include "kernels/kernels.h"

/* A job to time: one call of one entry. */
typedef struct {
    const kernels *table;
    product product;
    outer_product outer;
    gate_step step;
    update update;
    int64_t n;
    REAL *w, *x, *y;
    void (*gate)(const gate_step *);
} job;

static void run_multiply(const job *j) { j->table->multiply(&j->product); }
static void run_multiply_row(const job *j) { j->table->multiply_row(&j->product); }
static void run_outer(const job *j) { j->table->outer(&j->outer); }
static void run_pack(const job *j) { j->table->pack(128, 128, j->w, 1, 128, j->y); }
static void run_activation_grad(const job *j) { j->table->activation_grad(BPTT_CELL_TANH, j->n, j->x, j->x, j->y); }
static void run_add_column_sums(const job *j) { j->table->add_column_sums(j->n / 128, 128, j->x, 128, j->y); }
static void run_add_listed_rows(const job *j) {
    enum { ROWS = 128 };
    int64_t rows[ROWS];
    for (int64_t i = 0; i < ROWS; i++) rows[i] = i * 37 % ROWS;
    j->table->add_listed_rows(ROWS, rows, 128, j->x, 128, j->y);
}
static void run_exp_shifted(const job *j) { j->table->exp_shifted(j->n, j->x, 1, j->y); }
static void run_logistic(const job *j) { j->table->logistic(j->n, j->x, j->y); }
static void run_add_scaled(const job *j) { j->table->add_scaled(j->n, (REAL)1e-6, j->x, j->y); }
static void run_difference(const job *j) { j->table->difference(j->n, 1, j->x, j->x, j->y); }
static void run_clamp(const job *j) { j->table->clamp(j->n, 1, j->y); }
static void run_gate(const job *j) { j->gate(&j->step); }
static void run_sgd(const job *j) { j->table->sgd(&j->update); }
static void run_rmsprop(const job *j) { j->table->rmsprop(&j->update); }
static void run_adam(const job *j) { j->table->adam(&j->update); }

static double squares; /* used, so that the compiler keeps the call */
static void run_sum_squares(const job *j) { squares += j->table->sum_squares(j->n, j->x); }

/* Nanoseconds of one call: the best of some rounds of some milliseconds. */
LOCAL double nanoseconds(void (*run)(const job *), const job *j) {
    double best = INFINITY;
    int64_t calls = 1;
    for (int round = 0; round < 6;) {
        const clock_t start = clock();
        for (int64_t i = 0; i < calls; i++) run(j);
        const double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        if (seconds < .004) {
            calls *= 2;
            continue;
        }
        best = fmin(best, seconds * 1e9 / (double)calls);
        round++;
    }
    return best;
}

LOCAL void print_speed(const char *entry, const char *unit, double number) {
    printf("%-9s f%d  %-28s %9.2f %s\n", set_name, REAL_BITS, entry, number, unit);
    fflush(stdout);
}

LOCAL void print_rate(const char *entry, void (*run)(const job *), const job *j, double flops) {
    print_speed(entry, "GFLOP/s", flops / nanoseconds(run, j));
}

LOCAL void print_time(const char *entry, void (*run)(const job *), const job *j) {
    print_speed(entry, "ns/element", nanoseconds(run, j) / (double)j->n);
}

LOCAL void measure_products(job j) {
    static const struct {
        int64_t m, n, k;
        int in_units;
        const char *name;
    } sizes[] = {{1, 128, 128, 1, "multiply_row 1x128x128"}, {1, 128, 128, 0, "multiply 1x128x128"},
                 {3, 128, 128, 0, "multiply 3x128x128"},     {24, 128, 128, 0, "multiply 24x128x128"},
                 {24, 65, 128, 0, "multiply 24x65x128"},     {240, 128, 128, 0, "multiply 240x128x128"}};
    for (int i = 0; i < 6; i++) {
        j.product.m = sizes[i].m;
        j.product.n = j.product.ldc = sizes[i].n;
        if (sizes[i].in_units) j.table->pack_units(1, sizes[i].n, 128, j.w, 128, 1, j.y);
        else j.table->pack(128, sizes[i].n, j.w, 1, 128, j.y);
        print_rate(sizes[i].name, sizes[i].in_units ? run_multiply_row : run_multiply, &j,
                   2. * (double)(sizes[i].m * sizes[i].n * sizes[i].k));
    }
    print_rate("outer 128x128, 240 rows", run_outer, &j, 2. * 128 * 128 * 240);
    j.n = 128 * 128;
    print_time("pack 128x128", run_pack, &j);
}

/* rows x H units a call */
LOCAL void measure_gates(job j) {
    const gate_step backward = j.step;
    gate_step with_z = backward;
    with_z.z = with_z.gates;
    with_z.ld_z = 4 * with_z.H;
    with_z.z_rows = NULL;
    j.n = j.step.rows * j.step.H;
#define MEASURE(name)                                                                                                  \
    j.gate = j.table->name;                                                                                            \
    j.step = j.gate == j.table->gru_forward ? with_z : backward;                                                       \
    print_time(#name, run_gate, &j);
    GATE_FUNCTIONS(MEASURE)
}

LOCAL void measure_speed(const kernels *table) {
    enum { M = 240, N = 128, K = 128, H = 128, ROWS = 16 };
    REAL *x = numbers(M * N, 1), *y = numbers(table->packed_size(K, N), 1), *c = numbers(M * N, 1);
    REAL *gates = numbers(ROWS * 4 * H, .5), *dz = numbers(ROWS * 4 * H, .5), *out = numbers(4 * ROWS * H, .5);
    job j = {.table = table, .n = K * N, .w = numbers(K * N, .1), .x = x, .y = y};
    j.product = (product){.m = M, .n = N, .k = K, .a = x, .lda = K, .panels = y, .c = c, .ldc = N};
    j.outer = (outer_product){.m = N, .k = M, .a = x, .lda = N};
    j.outer.operands[0] = (outer_operand){.m = N, .n = N, .b = x, .ldb = N, .c = c, .ldc = N};
    j.outer.scratch = numbers(table->outer_scratch(N), 1);
    j.step = (gate_step){.rows = ROWS, .H = H, .gates = gates, .products = x, .h_prev = x, .c_prev = x, .ld_prev = H};
    j.step.h = out;
    j.step.c = out + ROWS * H;
    j.step.ld = H;
    j.step.dh = j.step.d_operand = x;
    j.step.dz = dz;
    j.step.ld_dz = 4 * H;
    j.step.dh_next = out + 2 * ROWS * H;
    j.step.dc_next = out + 3 * ROWS * H;
    j.update = (update){.n = K * N, .params = y, .grads = x, .mean = c, .square = c, .rate = (REAL)1e-9, .eps = 1};
    measure_products(j);
    print_time("activation_grad (tanh)", run_activation_grad, &j);
    print_time("add_column_sums", run_add_column_sums, &j);
    print_time("add_listed_rows", run_add_listed_rows, &j);
    print_time("sum_squares", run_sum_squares, &j);
    print_time("exp_shifted", run_exp_shifted, &j);
    print_time("logistic", run_logistic, &j);
    print_time("add_scaled", run_add_scaled, &j);
    print_time("difference", run_difference, &j);
    print_time("clamp", run_clamp, &j);
    measure_gates(j);
    print_time("sgd", run_sgd, &j);
    print_time("rmsprop", run_rmsprop, &j);
    print_time("adam", run_adam, &j);
    for (int i = 0; i < buffer_count; i++) buffers[i].same_as = buffers[i].data; /* nothing to compare */
    end_case();
}
#endif
