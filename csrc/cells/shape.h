/* What the rest of the core needs to know of a cell, the same in both types: how many blocks of H elements its weights,
 * gates and states have, and its products as data. Packing, the input gradient, the weight gradients and the bias
 * gradients loop over these products. */
#ifndef BPTT_CELLS_SHAPE_H
#define BPTT_CELLS_SHAPE_H
#include "base/local.h"
#include "bptt.h"

/* A product of the cell: blocks of rows of W_ih or W_hh whose dz blocks lie side by side. Places and counts are in
 * blocks of H; a place that is not named is 0. */
typedef struct {
    int matrix;       /* WEIGHT_IH: multiplies x_t; WEIGHT_HH: multiplies h_{t-1}, unless gate_operand says otherwise */
    int row, rows;    /* blocks of rows of the matrix: the first, and how many (0: end of the list) */
    int dz;           /* block of dz that is the gradient by the first of these rows */
    int gate_operand; /* block of the gates (above 0) that is the operand instead of h_{t-1}: the cell computes this
                         product itself, forward and backward. 0: none */
} bptt_internal_cell_product;

enum { CELL_PRODUCTS_MAX = 4 };

typedef struct {
    int blocks;      /* G: blocks of rows of W_ih, of W_hh and of each bias */
    int states;      /* 1: h; 2: h and c */
    int gate_blocks; /* blocks of a step's gates on the tape, and of dz; 0: no gates, dz takes the place of dh */
    int separate_hh; /* 1: W_hh h + b_hh is kept separate from W_ih x + b_ih (GRU with the reset after the product) */
    int direct_dh;   /* 1: backward writes the part of dL/dh_{t-1} that does not pass W_hh into dh_next (GRU: z*dh), and
                        W_hhT dz is added to it */
    int peepholes;   /* 1: the cell has peepholes where the spec asks for them */
    bptt_internal_cell_product products[CELL_PRODUCTS_MAX + 1];
} bptt_internal_shape;

/* Whether a product of the cell has gates as its operand. */
LOCAL int bptt_internal_multiplies_gates(const bptt_internal_shape *shape) {
    for (const bptt_internal_cell_product *product = shape->products; product->rows; product++)
        if (product->gate_operand) return 1;
    return 0;
}

/* The shape of a spec's cell; NULL where there is no such cell, or not with this reset_before. */
const bptt_internal_shape *bptt_internal_shape_of(const bptt_spec *spec);

/* Blocks of dz: as many as of the gates, one for a cell without gates. */
LOCAL int bptt_internal_dz_blocks(const bptt_internal_shape *shape) {
    return shape->gate_blocks ? shape->gate_blocks : 1;
}
#endif
