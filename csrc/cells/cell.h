/* A cell: its shape, and one step of it, forward and backward, for some rows of the batch. The products of x and the
 * gradients of the parameters are computed for many steps at once (network/forward.h, network/param_grads.h). */
#ifndef BPTT_CELLS_CELL_H
#define BPTT_CELLS_CELL_H
#include "network/states.h"

/* One step of one member's rows; pointers are to its first row. Rows lie H apart where no distance is given. */
typedef struct {
    const kernels *kernels;
    const bptt_internal_shape *shape;
    int cell;  /* its bptt_cell */
    int alone; /* the batch has one row: the matrices are in unit panels */
    int64_t H, t, rows;
    const weights *weights;
    state_view prev;     /* h_{t-1}, c_{t-1} (rows,H) */
    const REAL *operand; /* h_{t-1} after recurrent dropout, the operand of the products of W_hh (rows,H) */
    int64_t ld_operand;
    int adds_nothing; /* forward: these products of the operand would add zeros, and are left out */
    const REAL *z;    /* forward: W_ih x_t + biases (.,G*H), rows ld_z apart; may lie where the gates or h will */
    int64_t ld_z;
    const int64_t *z_rows; /* (rows,): row i takes this row of z; NULL: row i */
    REAL *h, *c;           /* h_t, c_t (rows,H) */
    int64_t ld;            /* of h and c */
    REAL *gates;           /* (rows, gate columns) */
    REAL *hh_products;     /* forward, where the cell keeps it separate: W_hh h + b_hh (rows,G*H) */
    REAL *dh;              /* backward: dL/dh_t (rows,H) */
    int64_t ld_dh;
    REAL *dz; /* backward: receives dL/dz_t (rows, dz columns), or dh, whose place it takes */
    int64_t ld_dz;
    REAL *leak_terms; /* backward, a trained leak: receives the terms of its gradient (rows,H) */
    REAL *dh_next;    /* backward: receives the direct term of dL/dh_{t-1} where the shape has direct_dh (rows,H) */
    int adds_dh_next; /* backward: dh lacks the direct term through the next step, which dh_next holds */
    REAL *dc_next;    /* backward: dL/dc_t through the next step, becomes dL/dc_{t-1} (rows,H) */
    REAL *d_operand;  /* backward: scratch of a cell that computes a product of W_hh itself (rows,H) */
    const REAL *mask; /* backward: the recurrent dropout of h_{t-1} (rows,H); NULL: none */
} step;

/* Rows of a chunk (rows,H) whose peephole gradients are added, for units [unit_begin,unit_end). */
typedef struct {
    int64_t rows, H;
    const REAL *dz; /* (rows, dz columns) */
    int64_t ld_dz;
    const REAL *c_prev, *c;
    int64_t ld;
    const uint8_t *skip; /* (rows,), nonzero: c_prev counts as zeros and adds nothing, NaN neither; NULL: none */
    int64_t unit_begin, unit_end;
} peephole_rows;

typedef struct cell {
    bptt_internal_shape shape;
    const struct cell *reset_before; /* the form for a spec with reset_before; NULL: there is none */
    const struct cell *leaky;        /* the form for a spec with a leak; NULL: there is none */
    /* h_t, c_t and the gates from prev and W_ih x_t + biases */
    void (*forward)(const step *);
    /* the same for a batch of one, from x_t or z: a function of the kernel table */
    int row_number;
    /* dz_t from dh_t and dc_next; dc_next becomes dL/dc_{t-1}, dh_next the direct term of dL/dh_{t-1} */
    void (*backward)(const step *);
    /* dz_t from dh_t without its recurrent part, W_hhT dz_next and the direct term in dh_next, which the same call
     * adds; NULL: no such form */
    void (*backward_fused)(const step *, const REAL *dz_next, int64_t ld_dz_next);
    /* adds the gradient of the peepholes; NULL: there are none */
    void (*add_peephole_grad)(const peephole_rows *, REAL *grad);
} cell;

/* out = init + a W for the step's rows, W in panels of k rows and n columns. Every second step takes the panels in
 * reverse order: those that the step before used last are still in the cache. */
LOCAL product recurrent_product(const step *step, int64_t k, int64_t n, const REAL *a, int64_t lda, const REAL *panels,
                                const REAL *init, REAL *out, int64_t ld) {
    return (product){.m = step->rows,
                     .n = n,
                     .k = k,
                     .a = a,
                     .lda = lda,
                     .panels = panels,
                     .init = init,
                     .ldinit = ld,
                     .c = out,
                     .ldc = ld,
                     .reverse_panels = step->t & 1};
}

/* the number of terms of a forward product of the operand */
LOCAL int64_t operand_terms(const step *step) { return step->adds_nothing ? 0 : step->H; }

/* out = z + a W: what recurrent_product is in forward, with the columns of z from one on */
LOCAL product product_on_z(const step *step, int64_t column, int64_t k, int64_t n, const REAL *a, int64_t lda,
                           const REAL *panels, REAL *out, int64_t ld) {
    product product = recurrent_product(step, k, n, a, lda, panels, step->z + column, out, ld);
    product.ldinit = step->ld_z;
    product.init_rows = step->z_rows;
    return product;
}

LOCAL void multiply_state(const step *step, const product *product) {
    if (step->alone) step->kernels->multiply_row(product);
    else step->kernels->multiply(product);
}

/* Prefetches, during the product, what the cell reads of the tape after it: the gates, in backward also the entering
 * state, which the gradients of the weights read as well. A product that writes the gates itself, as in the LSTM's
 * forward step, does not need it. */
LOCAL void prefetch_tape(const step *step, product *product) {
    const int64_t size = step->rows * step->H;
    if (!step->gates) return;
    product->prefetch[0] = (span){step->gates, step->shape->gate_blocks * size};
    if (!step->dz || step->prev.ld != step->H) return;
    product->prefetch[1] = (span){step->prev.h, size};
    if (step->prev.c) product->prefetch[2] = (span){step->prev.c, size};
}

/* The arguments of a gate function of the kernel table. */
LOCAL gate_step gate_step_of(const step *step) {
    return (gate_step){.rows = step->rows,
                       .H = step->H,
                       .gates = step->gates,
                       .products = step->hh_products,
                       .h_prev = step->prev.h,
                       .c_prev = step->prev.c,
                       .ld_prev = step->prev.ld,
                       .h = step->h,
                       .c = step->c,
                       .ld = step->ld,
                       .peepholes = step->weights->peepholes,
                       .leak = step->weights->leak,
                       .activation = step->cell,
                       .dh = step->dh,
                       .dz = step->dz,
                       .ld_dz = step->ld_dz,
                       .dh_next = step->dh_next,
                       .dc_next = step->dc_next,
                       .d_operand = step->d_operand,
                       .adds_dh_next = step->adds_dh_next,
                       .leak_terms = step->leak_terms};
}

/* The first of the cell's products of W_hh. */
LOCAL int first_recurrent(const bptt_internal_shape *shape) {
    int i = 0;
    while (shape->products[i].matrix != WEIGHT_HH) i++;
    return i;
}

/* The arguments of a step of a batch of one, but for what changes from step to step. */
LOCAL row_step row_step_of(const step *step) {
    const weights *weights = step->weights;
    const int recurrent = first_recurrent(step->shape);
    return (row_step){.step = gate_step_of(step),
                      .hh_bias = weights->hh_bias,
                      .recurrent = {weights->products[recurrent], weights->products[recurrent + 1]},
                      .activation = step->cell};
}
#endif
