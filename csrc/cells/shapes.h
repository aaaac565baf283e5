/* The cells' names and shapes. They are the same in both types, so core_f32.c alone includes this. */
#ifndef BPTT_CELLS_SHAPES_H
#define BPTT_CELLS_SHAPES_H
#include "cells/cells.h"

const char *bptt_cell_name(int cell) {
    return cell < 0 || cell >= (int)(sizeof cells / sizeof *cells) ? NULL : cells[cell].name;
}

const bptt_internal_shape *bptt_internal_shape_of(const bptt_spec *spec) {
    const cell *cell = cell_of(spec);
    return cell ? &cell->shape : NULL;
}
#endif
