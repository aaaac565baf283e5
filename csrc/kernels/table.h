/* The table of one set for one type: the only initialiser of `kernels`. A set's file, such as avx2_f32.c, defines
 * REAL_BITS, TABLE (the table's symbol), VECTOR_BYTES (0: plain C) and, where tile.h's default does not fit its
 * registers, TILE_ROWS (a height that tile.h lists), and includes this. */
#ifndef BPTT_KERNELS_TABLE_H
#define BPTT_KERNELS_TABLE_H
#ifndef TABLE
#define TABLE bptt_internal_generic_f32
#endif
#include "kernels/vec.h"
#if VECTOR_BYTES == 0
#include "kernels/portable.h"
#else
#include "kernels/gemm.h"
#include "kernels/outer.h"
#include "kernels/reduce.h"
#endif
#include "forward_mode/learner_pointwise.h"
#include "kernels/constrain.h"
#include "kernels/listed_rows.h"
#include "kernels/normal.h"
#include "kernels/optim_pointwise.h"
#include "kernels/unit_products.h"

/* the gate arithmetic of all cells */
#define QUOTED(name) #name
#define CELL_FILE(name) QUOTED(name##_pointwise.h)
#include "cells/list.h"

#include "kernels/step_row.h"

#define ENTRY(name) .name = name,
#define ROW_ENTRY(name) [name##_number] = name,

const kernels TABLE = {.vector_bytes = VECTOR_BYTES,
                       .packed_size = packed_size,
                       .pack = pack,
                       .multiply = multiply,
                       .unit_panels_size = unit_panels_size,
                       .pack_units = pack_units,
                       .pack_bias_units = pack_bias_units,
                       .multiply_row = multiply_row,
                       .multiply_units = multiply_units,
                       .outer = outer,
                       .outer_scratch = outer_scratch,
                       .activation_grad = activation_grad,
                       .add_column_sums = add_column_sums,
                       .add_listed_rows = add_listed_rows,
                       .sum_squares = sum_squares,
                       .squared_error = squared_error,
                       .exp_shifted = exp_shifted,
                       .logistic = logistic,
                       .add_scaled = add_scaled,
                       .difference = difference,
                       .clamp = clamp,
                       .add_normal = add_normal,
                       .constrain = constrain,
                       .multiply_by_rows = multiply_by_rows,
                       .sum_influence = sum_influence,
                       .step_units = step_units,
                       .sgd = sgd,
                       .rmsprop = rmsprop,
                       .adam = adam,
                       GATE_FUNCTIONS(ENTRY).rows = {ROW_FUNCTIONS(ROW_ENTRY)},
                       .step = step,
                       .step_row = step_row};
#endif
